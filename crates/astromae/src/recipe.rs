//! Seeded weights and inputs, made from names alone: for tests and benchmarks no weight file is needed.
//!
//! A tensor's values follow from its state-dict name: seed = FNV-1a-64 of the name; value i is
//! `scale·u + offset` with u in [-1, 1) from splitmix64 of `seed + (i + 1)·0x9E3779B97F4A7C15`, the upper 24 bits.

use std::error::Error as StdError;

use crate::config::Config;
use crate::source::{Tensor, TensorSource};

/// The recipe's weights for a model of any dimensions.
#[derive(Debug, Clone)]
pub struct Recipe {
    config: Config,
}

impl Recipe {
    /// Weights for a model of these dimensions.
    pub fn new(config: Config) -> Self {
        Self { config }
    }
}

impl TensorSource for Recipe {
    fn tensors(&self) -> Vec<Tensor> {
        self.config.tensors()
    }

    fn metadata(&self, key: &str) -> Option<String> {
        (key == "heads").then(|| self.config.heads.to_string())
    }

    fn read(&self, name: &str, out: &mut Vec<f32>) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let tensor = self.config.tensors().into_iter().find(|tensor| tensor.name == name);
        let tensor = tensor.ok_or_else(|| format!("{name} is not in the recipe"))?;
        let (scale, offset) = scale_offset(name, &tensor.shape);
        let count = tensor.shape.iter().product();
        out.clear();
        out.extend(uniform(name).take(count).map(|u| (scale * u + offset) as f32));
        Ok(())
    }
}

/// Cutouts `[n, 5, 32, 32]` and magnitudes `[n, 5]`: noise, and a blob that is brighter from band to band.
pub fn inputs(n: usize) -> (Vec<f32>, Vec<f32>) {
    let mut noise = uniform("images");
    let mut images = Vec::with_capacity(n * 5 * 32 * 32);
    for _ in 0..n {
        for band in 0..5 {
            for pixel in 0..32 * 32 {
                let (y, x) = ((pixel / 32) as f64 - 15.5, (pixel % 32) as f64 - 15.5);
                let blob = 3.0 * (-(y * y + x * x) / 18.0).exp() * (1.0 + 0.2 * f64::from(band));
                images.push((0.5 * noise.next().unwrap_or(0.0) + blob) as f32);
            }
        }
    }
    let magnitudes = uniform("magnitudes").take(n * 5).map(|u| (18.0 + 3.0 * u) as f32).collect();
    (images, magnitudes)
}

/// The numbers in [-1, 1) that belong to a name, without end.
fn uniform(name: &str) -> impl Iterator<Item = f64> {
    let seed = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    (1_u64..).map(move |i| {
        let mut x = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        (x >> 40) as f64 / f64::from(1 << 23) - 1.0
    })
}

/// How far a tensor's values spread, and around what: chosen so that activations neither die nor explode.
fn scale_offset(name: &str, shape: &[usize]) -> (f64, f64) {
    if name.ends_with("running_var") {
        return (0.5, 1.0);
    }
    if name.ends_with("running_mean") {
        return (0.2, 0.0);
    }
    match name {
        "cls_token" => return (0.02, 0.0),
        "pos_embed" => return (0.5, 0.0),
        _ => {}
    }
    if shape.len() == 1 {
        let is_norm = ["norm", ".bn.", "PCM.1."].iter().any(|part| name.contains(part));
        return if is_norm && name.ends_with("weight") { (0.2, 1.0) } else { (0.1, 0.0) };
    }
    let fan_in: usize = shape[1..].iter().product();
    let gain = if ["PCM.3", "attn.proj", "mlp.fc2"].iter().any(|part| name.contains(part)) {
        0.25
    } else if name == "concat_block.2.weight" {
        0.3
    } else if name.starts_with("inception_model.magnitude_block.0") {
        0.05
    } else {
        1.0
    };
    (gain * (4.5 / fan_in as f64).sqrt(), 0.0)
}
