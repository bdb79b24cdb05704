//! From galaxies one after the other to galaxies side by side.

use crate::simd::{LANES, Lanes};

/// Puts up to sixteen galaxies side by side: number i of galaxy g becomes lane g of element `place(i)`.
///
/// `from` is `[galaxies, each]`, row-major. Lanes without a galaxy get those of the last one, so that they are numbers as
/// good as any. Sixteen numbers of each galaxy are taken at a time: a whole line of the cache.
///
/// # Panics
/// If there is no galaxy, more than sixteen, or a place is outside of `out`.
pub fn side_by_side(from: &[f32], each: usize, out: &mut [Lanes], place: impl Fn(usize) -> usize) {
    let galaxies = from.len() / each.max(1);
    assert!((1..=LANES).contains(&galaxies), "{galaxies} galaxies do not fit into {LANES} lanes");
    let mut block = [Lanes::ZERO; LANES];
    for start in (0..each).step_by(LANES) {
        let count = LANES.min(each - start);
        for (lane, galaxy) in (0..LANES).map(|lane| (lane, lane.min(galaxies - 1))) {
            let numbers = &from[galaxy * each + start..][..count];
            for (lanes, number) in block.iter_mut().zip(numbers) {
                lanes.0[lane] = *number;
            }
        }
        for (i, lanes) in block[..count].iter().enumerate() {
            out[place(start + i)] = *lanes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_gets_to_its_place_and_empty_lanes_are_filled() {
        for galaxies in [1, 3, 16] {
            for each in [0, 1, 5, 16, 37] {
                if each == 0 {
                    continue;
                }
                let from: Vec<f32> = (0..galaxies * each).map(|i| i as f32).collect();
                let mut out = vec![Lanes::ZERO; each];
                side_by_side(&from, each, &mut out, |i| each - 1 - i);
                for (at, lanes) in out.iter().enumerate() {
                    for (lane, x) in lanes.0.iter().enumerate() {
                        let galaxy = lane.min(galaxies - 1);
                        assert_eq!(*x, (galaxy * each + each - 1 - at) as f32, "{galaxies} galaxies, lane {lane}");
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "17 galaxies do not fit into 16 lanes")]
    fn seventeen_are_too_many() {
        side_by_side(&[0.0; 17], 1, &mut [Lanes::ZERO], |i| i);
    }
}
