//! Partition sizes as the published study names them.
//!
//! Its "25MB", "50MB", "75MB" and "100MB" partitions have 1,278, 2,556, 3,834 and 5,113 galaxies. All four, and the
//! 659,817 galaxies of the survey in 516, 258, 173 and 129 files (the last of which may be short or left out), follow
//! from one rule: a unit is 2²⁰ bytes, a galaxy counts as 20,508 bytes (5×32×32 pixels, five magnitudes and two more
//! values of four bytes each), and what does not fill a galaxy is dropped. Files are a little larger than their name
//! says, because magnitudes are stored in eight bytes.

/// Bytes that a galaxy counts as in the name of a size. A galaxy takes 20,520 bytes of images and magnitudes in a file.
pub const GALAXY_BYTES: u64 = 20_508;

/// See [`galaxies`].
#[derive(Debug, thiserror::Error)]
#[error("size {found:?}: {reason}\nhint: a number and a unit, as in 25MB; KB, MB and GB are 2¹⁰, 2²⁰ and 2³⁰ bytes")]
pub struct BadSize {
    found: String,
    reason: &'static str,
}

/// Galaxies in a partition of a size such as `25MB`.
///
/// Units are KB, MB and GB (or KiB, MiB, GiB, which mean the same here), in any case.
///
/// # Errors
/// If the text is not a whole number and a unit, or too small for one galaxy.
///
/// ```
/// assert_eq!(starmap_partitions::size::galaxies("25MB").unwrap(), 1_278);
/// ```
pub fn galaxies(size: &str) -> Result<u64, BadSize> {
    let bad = |reason| BadSize { found: size.chars().take(40).collect(), reason };
    let text = size.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "kb" | "kib" => 10,
        "mb" | "mib" => 20,
        "gb" | "gib" => 30,
        _ => return Err(bad("expected a unit: KB, MB or GB")),
    };
    let number: u64 = number.parse().map_err(|_| bad("expected a whole number"))?;
    let bytes = number.checked_mul(1 << shift).ok_or_else(|| bad("more than 2⁶⁴ bytes"))?;
    match bytes / GALAXY_BYTES {
        0 => Err(bad("a galaxy takes 20,508 bytes, so there is no room for one")),
        galaxies => Ok(galaxies),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_sizes_have_the_published_galaxies() {
        for (size, expected) in [("25MB", 1_278), ("50MB", 2_556), ("75MB", 3_834), ("100MB", 5_113)] {
            assert_eq!(galaxies(size).unwrap(), expected, "{size}");
        }
        assert_eq!(galaxies(" 25 MiB").unwrap(), 1_278);
        assert_eq!(galaxies("1gb").unwrap(), 52_357);
    }

    #[test]
    fn other_text_is_refused_with_what_is_wrong() {
        let message = |size| galaxies(size).unwrap_err().to_string();
        assert!(message("25").starts_with("size \"25\": expected a unit: KB, MB or GB\nhint: "));
        assert!(message("MB").starts_with("size \"MB\": expected a whole number\n"));
        assert!(message("2.5MB").starts_with("size \"2.5MB\": expected a unit"));
        assert!(message("1KB").contains("there is no room for one"));
        assert!(message("99999999999999999GB").contains("more than 2⁶⁴ bytes"));
    }
}
