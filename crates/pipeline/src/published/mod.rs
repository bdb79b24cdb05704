//! The published tables as data: 464 rows, each with its definitions and with what is known to be wrong with it.

use std::sync::LazyLock;

use serde::{Deserialize, Deserializer, Serialize};

use crate::summary::Legacy;

/// The table as collected; `README.md` beside it says from where.
const RESULTS: &str = include_str!("results.csv");

/// One published row. What a row does not say is `None`; figures mean what their `_def` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the columns of the table, explained in its README")]
pub struct Row {
    pub row_id: u32,
    pub source_repo: String,
    pub source_path: String,
    pub team: String,
    pub table: String,
    pub platform: String,
    #[serde(deserialize_with = "figure")]
    pub partition_mb: Option<f64>,
    #[serde(deserialize_with = "figure")]
    pub files: Option<f64>,
    #[serde(deserialize_with = "figure")]
    pub world_size: Option<f64>,
    #[serde(deserialize_with = "figure")]
    pub data_gb: Option<f64>,
    #[serde(deserialize_with = "figure")]
    pub batch: Option<f64>,
    #[serde(deserialize_with = "figure")]
    pub runtime_s: Option<f64>,
    pub runtime_def: String,
    #[serde(deserialize_with = "figure")]
    pub wall_s: Option<f64>,
    pub wall_def: String,
    #[serde(deserialize_with = "figure")]
    pub memory_mb: Option<f64>,
    pub memory_def: String,
    #[serde(deserialize_with = "figure")]
    pub cost_usd: Option<f64>,
    pub cost_def: String,
    #[serde(deserialize_with = "figure")]
    pub throughput: Option<f64>,
    pub throughput_unit: String,
    pub throughput_def: String,
    #[serde(deserialize_with = "figure")]
    pub samples: Option<f64>,
    #[serde(deserialize_with = "figure")]
    pub max_runtime_s: Option<f64>,
    pub validity: String,
    pub notes: String,
}

/// A cell that is not a number ("Error" stands in one) says nothing.
fn figure<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Ok(String::deserialize(deserializer)?.trim().parse().ok())
}

impl Row {
    /// Whether nothing that is known speaks against the row's figures.
    pub fn is_sound(&self) -> bool {
        let doubts = ["INVALID", "WRONG", "wrong", "suspect", "incomplete", "contaminated", "crashed", "error"];
        !doubts.iter().any(|doubt| self.validity.contains(doubt))
    }

    /// What to mind with the row: its validity, and its notes if there are any.
    pub fn remark(&self) -> String {
        let notes = self.notes.trim_start_matches("; ");
        if notes.is_empty() { self.validity.clone() } else { format!("{}; {notes}", self.validity) }
    }
}

/// All rows, in the order of their ids.
pub fn rows() -> &'static [Row] {
    static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
        let mut reader = csv::Reader::from_reader(RESULTS.as_bytes());
        reader.deserialize().collect::<Result<_, _>>().expect("a test reads the table that ships")
    });
    &ROWS
}

/// The rows that are nearest to a run in partition size, number of files and batch size, nearest first.
pub fn nearest<'a>(legacy: &Legacy, rows: impl Iterator<Item = &'a Row>, count: usize) -> Vec<&'a Row> {
    let away = |of: Option<f64>, from: f64| Some((of.filter(|of| *of > 0.0)? / from).ln().abs());
    let distance = |row: &Row| {
        let partition = away(row.partition_mb, legacy.partition_mb)?;
        let files = away(row.files.or(row.world_size), legacy.files as f64)?;
        // Partition size decides most of what an item takes; the batch size matters least, and not all rows have one.
        Some(3.0 * partition + files + 0.3 * away(row.batch, legacy.batch_size as f64).unwrap_or(1.0))
    };
    let mut measured: Vec<(f64, &Row)> = rows.filter_map(|row| Some((distance(row)?, row))).collect();
    measured.sort_by(|a, b| a.0.total_cmp(&b.0));
    measured.into_iter().take(count).map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::legacy;

    #[test]
    fn the_table_that_ships_is_whole() {
        assert_eq!(rows().len(), 464);
        assert!(rows().iter().zip(1..).all(|(row, id)| row.row_id == id));
        assert!(rows().iter().all(|row| !row.validity.is_empty() && !row.source_path.is_empty()));
        let unsound = rows().iter().filter(|row| !row.is_sound()).count();
        assert!((30..200).contains(&unsound), "{unsound}");
    }

    #[test]
    fn the_legacy_columns_reproduce_the_rows_that_have_all_of_them() {
        let seed = rows().iter().filter(|row| row.table == "SEED Step 1");
        let mut compared = 0;
        for row in seed {
            let (Some(files), Some(runtime_s), Some(memory_mb)) = (row.files, row.runtime_s, row.memory_mb) else {
                continue;
            };
            let cost = legacy::cost(files as u64, runtime_s, memory_mb);
            assert_eq!(format!("{cost:.4}"), format!("{:.4}", row.cost_usd.unwrap()), "row {}", row.row_id);
            let throughput = legacy::throughput(row.partition_mb.unwrap(), files as u64, runtime_s);
            assert_eq!(format!("{throughput:.4}"), format!("{:.4}", row.throughput.unwrap()), "row {}", row.row_id);
            compared += 1;
        }
        assert_eq!(compared, 8);
    }

    #[test]
    fn the_nearest_rows_are_those_of_the_same_partition_size() {
        let legacy = Legacy {
            partition_mb: 25.0,
            files: 500,
            runtime_s_mean: 2.0,
            memory_mb_mean: 100.0,
            data_size_gb: 12.0,
            legacy_cost: 0.0,
            legacy_throughput: 0.0,
            batch_size: 256,
        };
        let near = nearest(&legacy, rows().iter(), 6);
        assert!(near.iter().all(|row| row.partition_mb == Some(25.0)), "{near:?}");
        assert!(near.iter().any(|row| row.row_id == 1), "{:?}", near.iter().map(|row| row.row_id).collect::<Vec<_>>());
    }
}
