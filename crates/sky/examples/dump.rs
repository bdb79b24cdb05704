//! Writes galaxies as raw little-endian numbers, for looking at them with other tools:
//! `cargo run --release -p starmap-sky --example dump -- OUT_DIR FIRST COUNT SEED`.
//!
//! `images.f32` `[n, 5, 32, 32]`, `magnitudes.f64` `[n, 5]`, `redshifts.f64` `[n]`.

use std::{
    error::Error,
    fs::{self, File},
    io::{BufWriter, Write},
    path::PathBuf,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |name: &str| arguments.next().ok_or(format!("{name} is missing: OUT_DIR FIRST COUNT SEED"));
    let folder = PathBuf::from(next("OUT_DIR")?);
    let (first, count, seed): (u64, u64, u64) =
        (next("FIRST")?.parse()?, next("COUNT")?.parse()?, next("SEED")?.parse()?);
    fs::create_dir_all(&folder)?;
    let create = |name| File::create(folder.join(name)).map(BufWriter::new);
    let (mut images, mut magnitudes, mut redshifts) =
        (create("images.f32")?, create("magnitudes.f64")?, create("redshifts.f64")?);
    let sky = starmap_sky::Sky::new(seed);
    for index in first..first + count {
        let galaxy = sky.galaxy(index);
        for pixel in galaxy.image {
            images.write_all(&pixel.to_le_bytes())?;
        }
        for magnitude in galaxy.magnitudes {
            magnitudes.write_all(&magnitude.to_le_bytes())?;
        }
        redshifts.write_all(&galaxy.redshift.to_le_bytes())?;
    }
    for mut file in [images, magnitudes, redshifts] {
        file.flush()?;
    }
    Ok(())
}
