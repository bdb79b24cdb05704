//! A five-band cutout as a colour image.
//!
//! # Source
//! Lupton et al., "Preparing Red-Green-Blue Images from CCD Data", PASP 116 (2004): one arcsinh stretch of the sum of
//! the bands, so that a pixel's colour does not depend on its brightness. Red is i and z, green r, blue u and g.

use starmap_partitions::SIDE;

/// Pixels of one band.
const PIXELS: usize = SIDE * SIDE;
/// How soon the stretch bends.
const SOFTENING: f32 = 8.0;

/// A PNG of `[5, 32, 32]`; bands u, g, r, i, z.
pub fn png(image: &[f32]) -> Vec<u8> {
    encode(&rgb(image))
}

/// `[32, 32, 3]`
fn rgb(image: &[f32]) -> Vec<u8> {
    // What is no brighter than the sky and its noise is dark.
    let sky: Vec<f32> = image.chunks_exact(PIXELS).map(|band| median(band) + 1.5 * noise(band)).collect();
    let at = |band: usize, pixel: usize| {
        let value = image.get(band * PIXELS + pixel).copied().unwrap_or(0.0) - sky.get(band).copied().unwrap_or(0.0);
        if value.is_finite() { value.max(0.0) } else { 0.0 }
    };
    let colours: Vec<[f32; 3]> = (0..PIXELS)
        .map(|pixel| [(at(3, pixel) + at(4, pixel)) / 2.0, at(2, pixel), (at(0, pixel) + at(1, pixel)) / 2.0])
        .collect();
    // Blue light is faint in galaxies: each colour counts as much as the others over the whole image.
    let sums =
        colours.iter().fold([0.0_f32; 3], |sums, colour| std::array::from_fn(|index| sums[index] + colour[index]));
    let mean = sums.iter().sum::<f32>() / 3.0;
    let weights: [f32; 3] = sums.map(|sum| if sum > 0.0 { (mean / sum).clamp(0.25, 4.0).sqrt() } else { 1.0 });
    let weighted =
        colours.iter().map(|colour| -> [f32; 3] { std::array::from_fn(|index| colour[index] * weights[index]) });
    let weighted: Vec<[f32; 3]> = weighted.collect();
    let bright = |colour: &[f32; 3]| colour.iter().sum::<f32>() / 3.0;
    let most = weighted.iter().map(bright).fold(0.0, f32::max).max(f32::MIN_POSITIVE);
    let mut bytes = Vec::with_capacity(PIXELS * 3);
    for colour in &weighted {
        let light = bright(colour) / most;
        let stretched = asinh(light * SOFTENING) / asinh(SOFTENING);
        let scale = if light > 0.0 { stretched / (light * most) } else { 0.0 };
        let shown = colour.map(|value| value * scale);
        // Too bright in one colour is too bright in all, so that it keeps its colour.
        let top = shown.iter().copied().fold(1.0, f32::max);
        bytes.extend(shown.map(|value| (value / top * 255.0).round() as u8));
    }
    bytes
}

/// In double precision: see there why it is not the standard library's.
fn asinh(x: f32) -> f32 {
    starmap_sky::asinh(f64::from(x)) as f32
}

/// The standard deviation of a band's sky: 1.4826 · median |x − median(x)|.
fn noise(values: &[f32]) -> f32 {
    let middle = median(values);
    1.4826 * median(&values.iter().map(|value| (value - middle).abs()).collect::<Vec<_>>())
}

fn median(values: &[f32]) -> f32 {
    let mut sorted: Vec<f32> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f32::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// The smallest PNG writer: three bytes per pixel, one block that is not compressed.
///
/// # Source
/// <https://www.w3.org/TR/png-3/> and RFC 1950, read 2026-11.
fn encode(rgb: &[u8]) -> Vec<u8> {
    let side = SIDE as u32;
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut head = [side.to_be_bytes(), side.to_be_bytes()].concat();
    head.extend([8, 2, 0, 0, 0]);
    chunk(&mut png, b"IHDR", &head);
    let rows: Vec<u8> = rgb.chunks(SIDE * 3).flat_map(|row| std::iter::once(0).chain(row.iter().copied())).collect();
    let length = u16::try_from(rows.len()).unwrap_or(u16::MAX);
    let mut data = vec![0x78, 0x01, 0x01];
    data.extend(length.to_le_bytes());
    data.extend((!length).to_le_bytes());
    data.extend(&rows);
    let (a, b) = rows.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    data.extend((b << 16 | a).to_be_bytes());
    chunk(&mut png, b"IDAT", &data);
    chunk(&mut png, b"IEND", &[]);
    png
}

fn chunk(png: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    png.extend(u32::try_from(data.len()).unwrap_or(0).to_be_bytes());
    let mut crc = u32::MAX;
    for byte in kind.iter().chain(data) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    png.extend(kind);
    png.extend(data);
    png.extend((!crc).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use starmap_partitions::BANDS;

    use super::*;

    #[test]
    fn a_red_galaxy_is_red_and_its_sky_is_dark() {
        let mut image = vec![0.1; BANDS * PIXELS];
        let middle = 16 * SIDE + 16;
        for (band, light) in [1.0, 2.0, 6.0, 9.0, 11.0].into_iter().enumerate() {
            image[band * PIXELS + middle] += light;
            image[band * PIXELS] += 0.5;
        }
        let rgb = rgb(&image);
        let pixel = |index: usize| &rgb[index * 3..index * 3 + 3];
        assert_eq!(pixel(40), [0, 0, 0]);
        assert!(pixel(middle)[0] > pixel(middle)[2], "{:?}", pixel(middle));
        assert!(pixel(middle)[0] > 200, "{:?}", pixel(middle));
    }

    #[test]
    fn values_that_are_none_make_a_picture_all_the_same() {
        let png = png(&[f32::NAN; BANDS * PIXELS]);
        assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
        assert_eq!(&png[png.len() - 8..], b"IEND\xae\x42\x60\x82", "a checksum that others write, too");
    }
}
