//! Two small linear layers with SiLU between them, added to their own input: one group of a grouped 1×1 convolution
//! pair.
//!
//! A layer of four numbers is too small for a tile: loading and storing cost more than the product. Here a row's four
//! inputs, its hidden numbers and its four sums stay in registers from the first layer to the last.

use crate::Set;
use crate::activation::silu_of;
use crate::matrix::{Rows, Then, Weights, multiply};
use crate::simd::{Lanes, Simd, dispatch};

/// Inputs and outputs of a group that stays in registers.
const WIDTH: usize = 4;

/// `row += second(silu(first(row)))` for `count` rows that are `stride` elements apart; a row is as many elements as
/// the first layer has inputs and the second has outputs.
///
/// The bits are those of [`multiply`] with [`Then::StoreSilu`] and then with [`Then::Add`]. NaN and infinity stay in
/// their row and lane. `hidden` is scratch, `[count, first.outputs()]`.
///
/// # Panics
/// If the layers do not fit each other, or a slice is too short.
pub fn bottleneck(
    set: Set,
    rows: &mut [Lanes],
    count: usize,
    stride: usize,
    [first, second]: [&Weights; 2],
    hidden: &mut [Lanes],
) {
    let (width, channels) = (first.inputs(), first.outputs());
    assert!(
        second.inputs() == channels && second.outputs() == width,
        "layers {width}→{channels} and {}→{} are not there and back",
        second.inputs(),
        second.outputs()
    );
    if width == WIDTH && channels.is_multiple_of(WIDTH) {
        return in_registers(set, rows, count, stride, first, second);
    }
    multiply(set, Rows::new(rows, count, stride), first, hidden, channels, Then::StoreSilu);
    multiply(set, Rows::new(hidden, count, channels), second, rows, stride, Then::Add);
}

dispatch! {
    fn in_registers(rows: &mut [Lanes], count: usize, stride: usize, first: &Weights, second: &Weights) = in_registers_with;
}

#[inline(always)]
fn in_registers_with<S: Simd>(
    s: S,
    rows: &mut [Lanes],
    count: usize,
    stride: usize,
    first: &Weights,
    second: &Weights,
) {
    assert!(stride >= WIDTH, "rows of {WIDTH} overlap");
    let columns = count * S::PARTS;
    let mut column = 0;
    while column < columns {
        if S::HAS_32 && columns - column >= 2 {
            strip::<S, 2>(s, column, rows, stride, first, second);
            column += 2;
        } else {
            strip::<S, 1>(s, column, rows, stride, first, second);
            column += 1;
        }
    }
}

/// C registers of galaxies, from one register of the rows on.
#[inline(always)]
fn strip<S: Simd, const C: usize>(
    s: S,
    column: usize,
    rows: &mut [Lanes],
    stride: usize,
    first: &Weights,
    second: &Weights,
) {
    let (mut starts, mut parts) = ([0; C], [0; C]);
    let mut x = [[s.splat(0.0); C]; WIDTH];
    let mut sums = [[s.splat(0.0); C]; WIDTH];
    for c in 0..C {
        starts[c] = (column + c) / S::PARTS * stride;
        parts[c] = (column + c) % S::PARTS;
        for i in 0..WIDTH {
            x[i][c] = s.load(&rows[starts[c] + i], parts[c]);
            sums[i][c] = s.add(s.splat(second.bias()[0][i]), x[i][c]);
        }
    }
    let groups = first.panels().chunks_exact(WIDTH).zip(first.bias());
    let outward = second.panels().as_chunks::<WIDTH>().0;
    for (at, outward) in outward.iter().enumerate() {
        // Half a panel of the first layer: four hidden numbers, their weights side by side.
        let half = at % 2 * WIDTH;
        let Some((inward, bias)) = groups.clone().nth(at / 2) else { return };
        let mut hidden = [[s.splat(0.0); C]; WIDTH];
        for r in 0..WIDTH {
            for c in 0..C {
                hidden[r][c] = s.splat(bias[half + r]);
            }
            for i in 0..WIDTH {
                let weight = s.splat(inward[i][half + r]);
                for c in 0..C {
                    hidden[r][c] = s.fma(weight, x[i][c], hidden[r][c]);
                }
            }
        }
        for r in 0..WIDTH {
            for c in 0..C {
                hidden[r][c] = silu_of(s, hidden[r][c]);
            }
        }
        for r in 0..WIDTH {
            for i in 0..WIDTH {
                let weight = s.splat(outward[r][i]);
                for c in 0..C {
                    sums[i][c] = s.fma(weight, hidden[r][c], sums[i][c]);
                }
            }
        }
    }
    for c in 0..C {
        for i in 0..WIDTH {
            s.store(&mut rows[starts[c] + i], parts[c], sums[i][c]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{lanes, on_every_set, values};

    #[test]
    fn the_bits_are_those_of_two_products() {
        for (width, channels, gap) in [(4, 16, 188), (4, 4, 0), (4, 8, 1), (4, 12, 3), (4, 6, 2), (3, 8, 0), (8, 32, 5)]
        {
            let first = Weights::new(&values(width * channels, 1), &values(channels, 2));
            let second = Weights::new(&values(width * channels, 3), &values(width, 4));
            for count in 0..6 {
                on_every_set(|set| {
                    let stride = width + gap;
                    let mut rows = lanes(count * stride + width, 5);
                    if count > 1 {
                        rows[stride].0[7] = f32::NAN;
                    }
                    let mut expected = rows.clone();
                    let mut hidden = lanes(count * channels, 6);
                    let x = Rows::new(&expected, count, stride);
                    multiply(set, x, &first, &mut hidden, channels, Then::StoreSilu);
                    multiply(set, Rows::new(&hidden, count, channels), &second, &mut expected, stride, Then::Add);
                    bottleneck(set, &mut rows, count, stride, [&first, &second], &mut hidden);
                    let bits = |x: &[Lanes]| x.iter().flat_map(|x| x.0.map(f32::to_bits)).collect::<Vec<_>>();
                    assert!(bits(&rows) == bits(&expected), "{} {count} rows, {width}→{channels}", set.name());
                });
            }
        }
    }
}
