//! What a run will take: how long items last, from runs that were measured or published, and how work is shared.
//!
//! Pure: durations are sampled with a seed. Who simulates the run with them, and what it costs, is not known here.

mod calibration;
mod profile;
mod random;
mod work;

pub use self::calibration::{Calibrated, Observation, interval, observations};
pub use self::profile::{Fitted, MeasuredRun, Profile};
pub use self::random::Random;
pub use self::work::{GALAXIES_PER_MB, GALAXY_BYTES, Work};
