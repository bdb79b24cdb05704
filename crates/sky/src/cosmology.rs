//! Distances in a flat ΛCDM universe with H0 = 70 km/s/Mpc and Ωm = 0.3 (Hogg 1999, astro-ph/9905116).

/// Speed of light over the Hubble constant, in Mpc.
const HUBBLE_DISTANCE: f64 = 299_792.458 / 70.0;
const MATTER: f64 = 0.3;
/// Spacing of the table in redshift.
const STEP: f64 = 0.001;
/// The table's last redshift, past every galaxy of this sky.
pub(crate) const MAX_REDSHIFT: f64 = 0.8;

/// Comoving distances, integrated once.
#[derive(Clone, Debug)]
pub(crate) struct Cosmology {
    comoving: Vec<f64>,
}

fn inverse_expansion(z: f64) -> f64 {
    1.0 / (MATTER * (1.0 + z).powi(3) + 1.0 - MATTER).sqrt()
}

impl Cosmology {
    pub(crate) fn new() -> Self {
        let mut comoving = vec![0.0];
        let (mut z, mut sum) = (0.0, 0.0);
        while z < MAX_REDSHIFT {
            // Simpson's rule over one step.
            sum += STEP / 6.0
                * (inverse_expansion(z) + 4.0 * inverse_expansion(z + STEP / 2.0) + inverse_expansion(z + STEP));
            comoving.push(HUBBLE_DISTANCE * sum);
            z += STEP;
        }
        Self { comoving }
    }

    /// Line-of-sight comoving distance in Mpc.
    pub(crate) fn comoving_distance(&self, z: f64) -> f64 {
        let x = (z / STEP).clamp(0.0, (self.comoving.len() - 2) as f64);
        let i = x as usize;
        self.comoving[i] + (x - i as f64) * (self.comoving[i + 1] - self.comoving[i])
    }

    /// `m − M` without K-correction: `5 log10(D_L / 10 pc)`.
    pub(crate) fn distance_modulus(&self, z: f64) -> f64 {
        25.0 + 5.0 * ((1.0 + z) * self.comoving_distance(z)).log10()
    }

    /// Arcseconds that one kpc spans at `z` (from the angular diameter distance).
    pub(crate) fn arcsec_per_kpc(&self, z: f64) -> f64 {
        206_264.806 * (1.0 + z) / (1000.0 * self.comoving_distance(z))
    }

    /// Comoving volume per unit redshift and steradian, Mpc³.
    pub(crate) fn volume_element(&self, z: f64) -> f64 {
        HUBBLE_DISTANCE * self.comoving_distance(z).powi(2) * inverse_expansion(z)
    }
}

#[cfg(test)]
mod tests {
    use super::Cosmology;

    #[test]
    fn distances_agree_with_published_calculators() {
        let cosmology = Cosmology::new();
        // Ned Wright's calculator (2006, PASP 118, 1711), H0 70, Ωm 0.3, flat: comoving radial distance in Mpc.
        for (z, mpc) in [(0.1, 418.5), (0.3, 1194.4), (0.5, 1888.6)] {
            let found = cosmology.comoving_distance(z);
            assert!((found / mpc - 1.0).abs() < 2e-3, "z {z}: {found} Mpc, expected {mpc}");
        }
        assert!((cosmology.arcsec_per_kpc(0.1) - 1.0 / 1.844).abs() < 2e-3);
        assert!((cosmology.distance_modulus(0.1) - 38.315).abs() < 5e-3);
    }
}
