//! A counter-based random stream: cheap to start, one per galaxy.

/// A stream of random numbers whose `i`-th draw depends only on the key it was started with.
///
/// The finaliser is splitmix64 (Steele, Lea and Flood 2014, OOPSLA).
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
    spare: Option<f64>,
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

impl Random {
    /// The stream of galaxy `index` of the sky `seed`.
    pub(crate) fn new(seed: u64, index: u64) -> Self {
        let key = mix(seed.wrapping_add(GOLDEN));
        Self { state: mix(key ^ mix(index.wrapping_mul(GOLDEN).wrapping_add(1))), spare: None }
    }

    /// Uniform in `[0, 1)`, 53 bits.
    pub(crate) fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(GOLDEN);
        (mix(self.state) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in `[low, high)`.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Standard normal (Box and Muller 1958); draws come in pairs and the second is kept.
    pub(crate) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        // `1 - u` is in (0, 1], so the logarithm is finite.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.uniform()).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn the_normal_has_unit_variance_and_no_mean() {
        let mut random = Random::new(1, 2);
        let draws: Vec<f64> = (0..100_000).map(|_| random.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 1e5;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e5;
        let tails = draws.iter().filter(|x| x.abs() > 2.0).count() as f64 / 1e5;
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.03, "mean {mean}, variance {variance}");
        assert!((tails - 0.0455).abs() < 0.004, "{tails} beyond two sigma");
    }

    #[test]
    fn neighbouring_streams_do_not_resemble_each_other() {
        let first = |seed, index| Random::new(seed, index).uniform();
        let product: f64 = (0..10_000).map(|i| (first(7, i) - 0.5) * (first(7, i + 1) - 0.5)).sum::<f64>() / 1e4;
        assert!(product.abs() < 0.004, "covariance {product}");
        assert_ne!(first(7, 0), first(8, 0));
    }
}
