//! What the console shows of redshifts: the science half's results as the server's figures.

mod cutout;
mod published;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde_json::Value;
use starmap_partitions::{Batch, Partition};
use starmap_pipeline::payload::{Input, ResultPlace};
use starmap_pipeline::plots::Plots;
use starmap_pipeline::predictions;
use starmap_pipeline::quality::{Figures, Galaxy, Metrics, quality};
use starmap_pipeline::results::{Manifest, RankResult, names};
use starmap_pipeline::store::Store;
use starmap_pipeline::summary::Summary;
use starmap_server::console::{Bar, Density, Findings, Histogram, Metric, Outlier, Place, Published, Reading, Science};

/// Galaxies that figures of a run under way are computed of, at most.
const GALAXIES_MAX: usize = 200_000;
/// Of these, those that metrics are computed of, evenly spaced: standard errors take their time.
const METRICS_GALAXIES_MAX: usize = 4_000;
/// Files of predictions that one look at a run under way reads.
const FILES_AT_ONCE: usize = 64;
/// The largest file of predictions that outliers are looked for in.
const PREDICTIONS_BYTES_MAX: u64 = 256 << 20;
/// Runs that are kept.
const KEPT_MAX: usize = 4;

/// See the [module](self).
#[derive(Debug)]
pub struct Redshifts {
    store: Store,
    under_way: Mutex<VecDeque<(Place, Arc<Mutex<UnderWay>>)>>,
    outliers: Mutex<VecDeque<(Place, String, Vec<Outlier>)>>,
    ranks: Mutex<VecDeque<(Place, Ranks)>>,
}

/// By the name of each rank's object: its etag, and what it says.
type Ranks = BTreeMap<String, (String, RankResult)>;

/// What was read of a run that has not ended.
#[derive(Debug, Default)]
struct UnderWay {
    files: BTreeSet<String>,
    galaxies: Vec<Galaxy>,
    predicted: u64,
}

impl Redshifts {
    /// Of results in this store.
    pub fn new(store: Store) -> Self {
        Self { store, under_way: Mutex::default(), outliers: Mutex::default(), ranks: Mutex::default() }
    }

    async fn json<T: DeserializeOwned>(&self, place: &Place, name: &str) -> Result<Option<T>, String> {
        let key = format!("{}/{name}", place.prefix);
        let found = self.store.get(&place.bucket, &key).await.map_err(|error| error.to_string())?;
        let read = |bytes: bytes::Bytes| {
            serde_json::from_slice(&bytes).map_err(|error| format!("s3://{}/{key}: {error}", place.bucket))
        };
        found.map(read).transpose()
    }

    /// Of a run that has not ended, or not well: what its ranks have stored so far.
    async fn so_far(&self, place: &Place) -> Result<Option<Findings>, String> {
        let kept = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            match under_way.iter().find(|(there, _)| there == place) {
                Some((_, kept)) => Arc::clone(kept),
                None => {
                    let kept = Arc::<Mutex<UnderWay>>::default();
                    under_way.push_back((place.clone(), Arc::clone(&kept)));
                    if under_way.len() > KEPT_MAX {
                        under_way.pop_front();
                    }
                    kept
                }
            }
        };
        let prefix = format!("{}/predictions/", place.prefix);
        let listed =
            self.store.list_keys(&place.bucket, &prefix, None, 1_000).await.map_err(|error| error.to_string())?;
        let known = kept.lock().unwrap_or_else(PoisonError::into_inner).files.clone();
        let new =
            listed.objects.iter().filter(|object| object.key.ends_with(".parquet") && !known.contains(&object.key));
        for object in new.take(FILES_AT_ONCE) {
            let bytes = self.store.get(&place.bucket, &object.key).await.map_err(|error| error.to_string())?;
            let Some(bytes) = bytes else { continue };
            let read =
                tokio::task::spawn_blocking(move || galaxies_of(bytes)).await.map_err(|error| error.to_string())??;
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            // Another look may have read it meanwhile.
            if kept.files.insert(object.key.clone()) {
                kept.predicted += read.len() as u64;
                let room = GALAXIES_MAX.saturating_sub(kept.galaxies.len());
                kept.galaxies.extend(read.into_iter().take(room));
            }
        }
        let (galaxies, files, predicted) = {
            let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            (kept.galaxies.clone(), kept.files.len(), kept.predicted)
        };
        if galaxies.is_empty() {
            return Ok(None);
        }
        let computed = tokio::task::spawn_blocking(move || {
            let both: Vec<Galaxy> = galaxies.iter().filter(|galaxy| galaxy.z_spec.is_finite()).copied().collect();
            let step = both.len().div_ceil(METRICS_GALAXIES_MAX).max(1);
            let sample: Vec<Galaxy> = both.iter().step_by(step).copied().collect();
            (Plots::of(&galaxies, &[]), quality(&sample).map(|quality| quality.all))
        });
        let (plots, metrics) = computed.await.map_err(|error| error.to_string())?;
        let lead = format!("{predicted} galaxies of the {files} ranks that have stored their predictions so far.");
        Ok(Some(findings(lead, false, metrics.as_ref(), &plots)))
    }

    /// Who worked when in a run that has not ended, or not well: what its ranks have stored so far.
    async fn timeline_so_far(&self, place: &Place) -> Result<Vec<starmap_pipeline::plots::Bar>, String> {
        let prefix = format!("{}/", place.prefix);
        let listed =
            self.store.list_keys(&place.bucket, &prefix, None, 1_000).await.map_err(|error| error.to_string())?;
        let mut known = {
            let mut ranks = self.ranks.lock().unwrap_or_else(PoisonError::into_inner);
            let at = ranks.iter().position(|(there, _)| there == place);
            at.and_then(|at| ranks.remove(at)).map(|(_, known)| known).unwrap_or_default()
        };
        let mut there = BTreeMap::new();
        for object in &listed.objects {
            let name = object.key.strip_prefix(&prefix).unwrap_or_default();
            if names::rank_of(name).is_some() {
                there.insert(name.to_owned(), object.etag.clone());
            }
        }
        // What was taken away or replaced, as by a run with the same result path, is not known any more.
        known.retain(|name, (etag, _)| there.get(name) == Some(etag));
        there.retain(|name, _| !known.contains_key(name));
        for (name, etag) in there.into_iter().take(FILES_AT_ONCE) {
            // One that is being replaced is read with the next look.
            if let Ok(Some(rank)) = self.json::<RankResult>(place, &name).await {
                known.insert(name, (etag, rank));
            }
        }
        let so_far: Vec<RankResult> = known.values().map(|(_, rank)| rank.clone()).collect();
        let mut ranks = self.ranks.lock().unwrap_or_else(PoisonError::into_inner);
        ranks.push_back((place.clone(), known));
        if ranks.len() > KEPT_MAX {
            ranks.pop_front();
        }
        Ok(Plots::of(&[], &so_far).timeline)
    }

    async fn find_outliers(&self, place: &Place, count: usize) -> Result<Vec<Outlier>, String> {
        let key = format!("{}/{}", place.prefix, names::PREDICTIONS);
        let head = self.store.head(&place.bucket, &key).await.map_err(|error| error.to_string())?;
        let Some(head) = head else { return Ok(Vec::new()) };
        let kept = |outliers: &VecDeque<(Place, String, Vec<Outlier>)>| {
            outliers
                .iter()
                .find(|(there, etag, _)| there == place && *etag == head.etag)
                .map(|(.., found)| found.clone())
        };
        if let Some(found) = kept(&self.outliers.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(found);
        }
        if head.bytes > PREDICTIONS_BYTES_MAX {
            return Err(format!("{} bytes of predictions are too many to look for outliers here", head.bytes));
        }
        let manifest = self.store.get(&place.bucket, &format!("{}/{}", place.prefix, names::PAYLOAD)).await;
        let manifest = manifest.map_err(|error| error.to_string())?.ok_or("payload.json is not there")?;
        let data_bucket = Manifest::parse(&manifest)?.plan.data_bucket;
        let bytes = self.store.get(&place.bucket, &key).await.map_err(|error| error.to_string())?;
        let Some(bytes) = bytes else { return Ok(Vec::new()) };
        let largest = tokio::task::spawn_blocking(move || largest(bytes, count));
        let largest = largest.await.map_err(|error| error.to_string())??;
        let mut images: BTreeMap<(String, u64), Vec<f32>> = BTreeMap::new();
        let partitions: BTreeSet<String> = largest.iter().map(|far| far.partition.clone()).collect();
        for partition in partitions {
            let rows: Vec<u64> = largest.iter().filter(|far| far.partition == partition).map(|far| far.row).collect();
            let source = self.store.source(&data_bucket, &partition).await.map_err(|error| error.to_string())?;
            let Some((_, source)) = source else { continue };
            let name = partition.clone();
            let read = tokio::task::spawn_blocking(move || cutouts(source, &name, &rows)).await;
            // A partition that has gone or changed since leaves its galaxies without pictures.
            for (row, pixels) in read.map_err(|error| error.to_string())?.unwrap_or_default() {
                images.insert((partition.clone(), row), pixels);
            }
        }
        let outlier = |far: Far| {
            let image = images.get(&(far.partition.clone(), far.row));
            Outlier {
                name: predictions::galaxy_id(&far.partition, far.row),
                facts: vec![
                    ("z_phot".to_owned(), format!("{:.4}", far.galaxy.z_phot)),
                    ("z_spec".to_owned(), format!("{:.4}", far.galaxy.z_spec)),
                    ("dz".to_owned(), format!("{:+.4}", far.galaxy.dz())),
                    ("r".to_owned(), format!("{:.2} mag", far.galaxy.magnitude_r)),
                ],
                png: image.map(|image| cutout::png(image)),
            }
        };
        let found: Vec<Outlier> = largest.into_iter().map(outlier).collect();
        let mut outliers = self.outliers.lock().unwrap_or_else(PoisonError::into_inner);
        outliers.push_back((place.clone(), head.etag.clone(), found.clone()));
        if outliers.len() > KEPT_MAX {
            outliers.pop_front();
        }
        Ok(found)
    }
}

impl Science for Redshifts {
    fn place(&self, input: &Value, output: Option<&Value>) -> Option<Place> {
        let by_input = Input::parse(input).ok().map(|input| input.results());
        let place = by_input.or_else(|| ResultPlace::find(output?).ok())?;
        Some(Place { bucket: place.bucket, prefix: place.path })
    }

    fn findings<'a>(&'a self, place: &'a Place) -> Reading<'a, Option<Findings>> {
        Box::pin(async move {
            let summary: Option<Summary> = self.json(place, names::SUMMARY).await?;
            let Some(summary) = summary else { return self.so_far(place).await };
            let plots: Plots = self.json(place, names::PLOTS).await?.unwrap_or_default();
            let lead = format!(
                "{} galaxies in {} partitions, every one with its stored row; {} have a z_spec to compare with.",
                summary.galaxies, summary.partitions, summary.galaxies_with_z_spec
            );
            Ok(Some(findings(lead, true, summary.quality.as_ref().map(|quality| &quality.all), &plots)))
        })
    }

    fn timeline<'a>(&'a self, place: &'a Place) -> Reading<'a, Vec<Bar>> {
        Box::pin(async move {
            let plots: Option<Plots> = self.json(place, names::PLOTS).await?;
            let bar = |bar: starmap_pipeline::plots::Bar| {
                let phases = bar.phases;
                let init = phases.init.unwrap_or(0.0);
                let named = [
                    ("init", init),
                    ("load", phases.load_model),
                    ("read", phases.read),
                    ("decode", phases.decode),
                    ("infer", phases.infer),
                    ("write", phases.write),
                ];
                Bar {
                    worker: bar.log_stream,
                    label: format!("rank {}", bar.rank),
                    started_at_ms: bar.started_at - init * 1e3,
                    phases: named.into_iter().map(|(name, s)| (name.to_owned(), s)).collect(),
                }
            };
            let timeline = match plots {
                Some(plots) => plots.timeline,
                None => self.timeline_so_far(place).await?,
            };
            Ok(timeline.into_iter().map(bar).collect())
        })
    }

    fn published<'a>(&'a self, places: &'a [Option<Place>], count: usize) -> Reading<'a, Option<Published>> {
        Box::pin(async move {
            let mut summaries = Vec::new();
            for place in places {
                summaries.push(match place {
                    Some(place) => self.json::<Summary>(place, names::SUMMARY).await?,
                    None => None,
                });
            }
            Ok(published::beside(&summaries, count))
        })
    }

    fn outliers<'a>(&'a self, place: &'a Place, count: usize) -> Reading<'a, Vec<Outlier>> {
        Box::pin(self.find_outliers(place, count))
    }
}

/// The figures of the report as the server has them.
fn findings(lead: String, is_whole: bool, metrics: Option<&Metrics>, plots: &Plots) -> Findings {
    let density = plots.density.as_ref().map(|density| Density {
        x: "z_spec".to_owned(),
        y: "z_phot".to_owned(),
        max: density.z_max,
        bins: density.bins,
        counts: density.counts.clone(),
    });
    let mut histograms = Vec::new();
    if let Some(dz) = &plots.dz {
        histograms.push(Histogram {
            title: "dz = (z_phot − z_spec)/(1 + z_spec)".to_owned(),
            x: "dz".to_owned(),
            edges: dz.edges.clone(),
            series: vec![("dz".to_owned(), dz.counts.clone())],
        });
    }
    if let Some(n_z) = &plots.n_z {
        let mut series = vec![("z_phot".to_owned(), n_z.z_phot.clone())];
        series.extend(n_z.z_spec.clone().map(|counts| ("z_spec".to_owned(), counts)));
        let (title, x) = ("N(z)".to_owned(), "z".to_owned());
        histograms.push(Histogram { title, x, edges: n_z.edges.clone(), series });
    }
    Findings { lead, is_whole, metrics: metrics.map(named).unwrap_or_default(), density, histograms }
}

/// The metrics with their definitions, as METRICS.md and the report have them.
fn named(metrics: &Metrics) -> Vec<Metric> {
    type Figure = fn(&Figures) -> Option<f64>;
    let all: [(&str, bool, Figure, &str); 9] = [
        ("R²", false, |f| f.r2, "1 − MSE / variance of z_spec"),
        ("MAE", false, |f| Some(f.mae), "mean |z_phot − z_spec|"),
        ("MSE", false, |f| Some(f.mse), "mean (z_phot − z_spec)²"),
        ("Bias, mean", false, |f| Some(f.bias_mean), "mean of dz"),
        ("Bias, median", false, |f| Some(f.bias_median), "median of dz"),
        ("NMAD", false, |f| Some(f.nmad), "1.4826 · median |dz − median(dz)|"),
        ("σ_IQR", false, |f| Some(f.sigma_iqr), "(p75 − p25)/1.349 of dz"),
        ("Outliers, 0.15", true, |f| Some(f.outliers_15), "share of |dz| > 0.15"),
        ("Outliers, 0.05", true, |f| Some(f.outliers_05), "share of |dz| > 0.05"),
    ];
    let metric = |(name, is_share, figure, definition): (&str, bool, Figure, &str)| {
        Some(Metric {
            name: name.to_owned(),
            value: figure(&metrics.figures)?,
            error: metrics.standard_error.as_ref().and_then(figure),
            is_share,
            definition: definition.to_owned(),
        })
    };
    all.into_iter().filter_map(metric).collect()
}

fn galaxies_of(bytes: bytes::Bytes) -> Result<Vec<Galaxy>, String> {
    let reader = predictions::Reader::new(bytes).map_err(|error| error.to_string())?;
    let mut galaxies = Vec::new();
    for group in 0..reader.groups() {
        let rows = reader.group(group).map_err(|error| error.to_string())?;
        galaxies.extend(rows.predictions.iter().filter_map(|row| {
            let z_spec = row.z_spec.unwrap_or(f64::NAN);
            Some(Galaxy { z_phot: row.z_phot?, z_spec, magnitude_r: row.magnitude_r })
        }));
    }
    Ok(galaxies)
}

/// A galaxy whose z_phot is far from its z_spec.
struct Far {
    galaxy: Galaxy,
    partition: String,
    row: u64,
}

fn largest(bytes: bytes::Bytes, count: usize) -> Result<Vec<Far>, String> {
    let reader = predictions::Reader::new(bytes).map_err(|error| error.to_string())?;
    let mut largest: Vec<Far> = Vec::new();
    for group in 0..reader.groups() {
        let rows = reader.group(group).map_err(|error| error.to_string())?;
        for (row, partition) in rows.predictions.iter().zip(&rows.partition) {
            let (Some(z_phot), Some(z_spec)) = (row.z_phot, row.z_spec) else { continue };
            let galaxy = Galaxy { z_phot, z_spec, magnitude_r: row.magnitude_r };
            if !galaxy.dz().is_finite() {
                continue;
            }
            let is_far =
                largest.len() < count || largest.last().is_some_and(|last| last.galaxy.dz().abs() < galaxy.dz().abs());
            if is_far {
                let partition = String::from_utf8_lossy(partition.data()).into_owned();
                let at = largest.partition_point(|there| there.galaxy.dz().abs() >= galaxy.dz().abs());
                largest.insert(at, Far { galaxy, partition, row: row.row });
                largest.truncate(count);
            }
        }
    }
    Ok(largest)
}

/// `[5, 32, 32]` of each row.
fn cutouts<S: starmap_partitions::ByteSource>(
    source: S,
    name: &str,
    rows: &[u64],
) -> Result<Vec<(u64, Vec<f32>)>, String> {
    let mut partition = Partition::open(source, name).map_err(|error| error.to_string())?;
    let mut batch = Batch::default();
    let mut found = Vec::new();
    for &row in rows {
        let index = usize::try_from(row).map_err(|error| error.to_string())?;
        partition.read(index..index + 1, &mut batch).map_err(|error| error.to_string())?;
        found.push((row, batch.images.clone()));
    }
    Ok(found)
}
