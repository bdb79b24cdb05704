//! How galaxies are shared among partitions, and partitions among ranks.

/// Bytes of a galaxy in a partition: an image of 5 × 32 × 32 and five magnitudes.
pub const GALAXY_BYTES: u64 = 20_520;
/// Galaxies in a partition, per MB that it is called after (MB as published: 2²⁰ bytes).
pub const GALAXIES_PER_MB: f64 = 1_048_576.0 / GALAXY_BYTES as f64;

/// The work of a run, by rank.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// Galaxies of each partition.
    partitions: Vec<u64>,
    /// The first partition of each rank; ranks take them in order.
    starts: Vec<usize>,
    galaxies: u64,
}

impl Work {
    /// Of partitions that are there, shared among `ranks` ranks as Initialize does: each takes ⌈left / ranks left⌉.
    pub fn of(partitions: Vec<u64>, ranks: u64) -> Self {
        let mut starts = Vec::new();
        let ranks = usize::try_from(ranks).unwrap_or(usize::MAX).clamp(1, partitions.len().max(1));
        let mut from = 0;
        for rank in 0..ranks {
            starts.push(from);
            from += (partitions.len() - from).div_ceil(ranks - rank);
        }
        let galaxies = partitions.iter().sum();
        Self { partitions, starts, galaxies }
    }

    /// Of so many galaxies in partitions of `per_partition`, the last one smaller.
    pub fn even(galaxies: u64, per_partition: u64, ranks: Option<u64>) -> Self {
        let per_partition = per_partition.max(1);
        let count = galaxies.div_ceil(per_partition).max(1);
        let mut partitions = vec![per_partition; usize::try_from(count).unwrap_or(usize::MAX)];
        if let Some(last) = partitions.last_mut() {
            *last = galaxies - per_partition * (count - 1);
        }
        Self::of(partitions, ranks.unwrap_or(count))
    }

    /// Number of ranks.
    pub fn ranks(&self) -> usize {
        self.starts.len()
    }

    /// Number of partitions.
    pub fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// Galaxies in all.
    pub fn galaxies(&self) -> u64 {
        self.galaxies
    }

    /// Galaxies and partitions of a rank; nothing for one that there is not.
    pub fn of_rank(&self, rank: usize) -> (u64, u64) {
        let Some(&from) = self.starts.get(rank) else { return (0, 0) };
        let to = self.starts.get(rank + 1).copied().unwrap_or(self.partitions.len());
        (self.partitions[from..to].iter().sum(), (to - from) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_galaxy_is_some_rank_s() {
        for (galaxies, per_partition, ranks) in
            [(659_817, 1_278, None), (10, 3, Some(2)), (5, 100, Some(9)), (7, 1, Some(3))]
        {
            let work = Work::even(galaxies, per_partition, ranks);
            let shared: (u64, u64) =
                (0..work.ranks()).map(|rank| work.of_rank(rank)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
            assert_eq!(shared, (galaxies, work.partitions() as u64));
        }
        let work = Work::even(659_817, 1_278, None);
        assert_eq!((work.partitions(), work.ranks(), work.of_rank(0)), (517, 517, (1_278, 1)));
        let shares: Vec<u64> = (0..3).map(|rank| Work::even(7, 1, Some(3)).of_rank(rank).1).collect();
        assert_eq!(shares, [3, 2, 2]);
    }
}
