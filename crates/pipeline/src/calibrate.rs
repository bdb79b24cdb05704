//! What a reduced precision does to redshifts, found out on the user's own first partition before any work starts.
//!
//! Both models predict the same galaxies, the reference in `f32`. What differs is recorded with the run, and a precision
//! that changes redshifts more than its bound is refused, unless the input says `"force_precision": true`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use starmap_astromae::kernels::Set;
use starmap_astromae::{Precision, Predictor};
use starmap_partitions::{BANDS, Batch, IMAGE, Partition};

use crate::checkpoint::{Loaded, Loader};
use crate::error::{Error, with_causes};
use crate::payload::Input;
use crate::quality::{Figures, Galaxy, quality};
use crate::results::PartitionFile;
use crate::store::{Object, Store, url};

/// Galaxies that are compared, at most: enough for a median, and two seconds of a core.
const GALAXIES_MAX: usize = 1_024;
/// Galaxies per forward pass.
const BATCH: usize = 256;
/// By how much of itself NMAD may change, where there are redshifts to compare with.
const NMAD_CHANGE_MAX: f64 = 0.01;

/// How much redshifts may change at most, by precision: `|Δz|` of any galaxy.
fn dz_bound(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 0.0,
        Precision::Int16 => 5e-4,
        Precision::Bf16 => 3e-3,
        Precision::Int8 => 1e-2,
    }
}

/// The report: what changes from `f32` to the precision that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The precision.
    pub precision: String,
    /// Kernel set that both were computed with.
    pub kernels: String,
    /// Key of the partition.
    pub partition: String,
    /// Galaxies that were compared: the first of the partition that have finite values.
    pub galaxies: u64,
    /// Greatest change of a redshift.
    pub dz_max: f64,
    /// Root of the mean square of the changes.
    pub dz_rms: f64,
    /// Mean of the changes.
    pub dz_mean: f64,
    /// What `dz_max` must not exceed.
    pub dz_bound: f64,
    /// By how much of itself NMAD must not change.
    pub nmad_change_bound: f64,
    /// The figures in `f32`, where there are spectroscopic redshifts.
    pub before: Option<Compared>,
    /// The same in the reduced precision.
    pub after: Option<Compared>,
    /// Whether both bounds hold.
    pub passed: bool,
    /// Whether the input said that the precision is to be used in any case.
    pub forced: bool,
}

/// The figures that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// 1.4826 · median |dz − median(dz)|.
    pub nmad: f64,
    /// Mean of dz.
    pub bias_mean: f64,
    /// Share of |dz| > 0.15.
    pub outliers_15: f64,
}

impl From<Figures> for Compared {
    fn from(figures: Figures) -> Self {
        Self { nmad: figures.nmad, bias_mean: figures.bias_mean, outliers_15: figures.outliers_15 }
    }
}

/// Compares, and refuses what changes too much.
///
/// # Errors
/// [`Error::PrecisionRefused`]; whatever is wrong with the model, the partition or the storage.
pub async fn calibrate(
    store: &Store,
    input: &Input,
    model: &Object,
    partition: &PartitionFile,
    loader: &Loader,
) -> Result<Calibration, Error> {
    let kernels = loader.kernels;
    let galaxies = read(store, input, partition).await?;
    let mut redshifts = Vec::new();
    for precision in [Precision::F32, input.precision] {
        let loaded = loader.load(store, &input.bucket, model, precision).await?;
        let batch = Arc::clone(&galaxies);
        let predicted = tokio::task::spawn_blocking(move || predict(&loaded, &batch, kernels)).await;
        redshifts.push(predicted.map_err(|error| Error::Internal(format!("calibrating ended early: {error}")))??);
    }
    let calibration = compare(input, partition, &galaxies, &redshifts[0], &redshifts[1], kernels);
    if calibration.passed || calibration.forced {
        return Ok(calibration);
    }
    Err(Error::PrecisionRefused {
        location: url(&input.data_bucket, &partition.key),
        calibration: Box::new(calibration),
    })
}

async fn read(store: &Store, input: &Input, partition: &PartitionFile) -> Result<Arc<Batch>, Error> {
    let location = url(&input.data_bucket, &partition.key);
    let invalid = |problem: String| {
        let mut problems = crate::error::Problems::alone();
        problems.push(problem);
        Error::PartitionInvalid(problems)
    };
    let Some((_, source)) = store.source(&input.data_bucket, &partition.key).await? else {
        return Err(invalid(format!("{location}: is gone since it was listed")));
    };
    let name = location.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let mut batch = Batch::default();
        let read = Partition::open(source.clone(), &name).and_then(|mut partition| {
            let rows = partition.galaxies().min(GALAXIES_MAX);
            partition.read(0..rows, &mut batch)
        });
        read.map(|()| batch).map_err(|error| (source.failure(), with_causes(&error)))
    });
    let read = reading.await.map_err(|error| Error::Internal(format!("{location}: reading ended early: {error}")))?;
    read.map(Arc::new).map_err(|(failure, problem)| match failure {
        Some(reason) => Error::Storage { doing: "reading", location, reason },
        None => invalid(problem),
    })
}

fn predict(loaded: &Loaded, batch: &Batch, kernels: Set) -> Result<Vec<f32>, Error> {
    let mut redshifts = vec![0.0; batch.magnitudes.len() / BANDS];
    let mut predictor = Predictor::with_kernels(&loaded.model, BATCH, kernels);
    let parts = batch.images.chunks(BATCH * IMAGE).zip(batch.magnitudes.chunks(BATCH * BANDS));
    for ((images, magnitudes), redshifts) in parts.zip(redshifts.chunks_mut(BATCH)) {
        predictor.predict(images, magnitudes, redshifts).map_err(|error| Error::Internal(error.to_string()))?;
    }
    Ok(redshifts)
}

fn compare(
    input: &Input,
    partition: &PartitionFile,
    batch: &Batch,
    full: &[f32],
    reduced: &[f32],
    kernels: Set,
) -> Calibration {
    let pairs = || full.iter().zip(reduced).enumerate().filter(|(_, (full, reduced))| (*full - *reduced).is_finite());
    let changes: Vec<f64> = pairs().map(|(_, (full, reduced))| f64::from(*reduced) - f64::from(*full)).collect();
    let count = changes.len().max(1) as f64;
    let dz_max = changes.iter().fold(0.0_f64, |max, change| max.max(change.abs()));
    let figures = |of: fn((f32, f32)) -> f32| {
        let z_spec = batch.redshifts.as_ref()?;
        let both = pairs().filter(|(row, _)| z_spec[*row].is_finite());
        let galaxies = both.map(|(row, (full, reduced))| Galaxy {
            z_phot: of((*full, *reduced)),
            z_spec: z_spec[row],
            magnitude_r: 0.0,
        });
        quality(&galaxies.collect::<Vec<_>>()).map(|quality| Compared::from(quality.all.figures))
    };
    let (before, after) = (figures(|(full, _)| full), figures(|(_, reduced)| reduced));
    let dz_bound = dz_bound(input.precision);
    let nmad_holds = match (&before, &after) {
        (Some(before), Some(after)) => (after.nmad - before.nmad).abs() <= NMAD_CHANGE_MAX * before.nmad,
        _ => true,
    };
    // A galaxy that only the reduced precision gives no redshift for is beyond every bound.
    let lost = full.iter().zip(reduced).any(|(full, reduced)| full.is_finite() && !reduced.is_finite());
    Calibration {
        precision: input.precision.name().to_owned(),
        kernels: kernels.name().to_owned(),
        partition: partition.key.clone(),
        galaxies: changes.len() as u64,
        dz_max,
        dz_rms: (changes.iter().map(|change| change * change).sum::<f64>() / count).sqrt(),
        dz_mean: changes.iter().sum::<f64>() / count,
        dz_bound,
        nmad_change_bound: NMAD_CHANGE_MAX,
        before,
        after,
        passed: dz_max <= dz_bound && nmad_holds && !lost,
        forced: input.force_precision,
    }
}
