//! What a planner may choose, which choices nothing beats, and which one to take.

use starmap_engine::billing::{Architecture, Prices};
use starmap_pipeline::plan::{GALAXIES_PER_MB, Profile, Work};

/// One way to run the work.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Galaxies per partition.
    pub per_partition: u64,
    /// Number of partitions.
    pub partitions: u64,
    /// Number of ranks.
    pub ranks: u64,
    /// Galaxies per forward pass.
    pub batch: u64,
    /// In how many bits the model's large layers multiply.
    pub precision: String,
    /// Memory of a function, MiB.
    pub memory_mib: u32,
    /// Workers that run at once.
    pub concurrency: usize,
    /// The functions' processor.
    pub architecture: Architecture,
}

impl Choice {
    /// Size of a partition in MB, as partitions are called after.
    pub fn partition_mb(&self) -> f64 {
        self.per_partition as f64 / GALAXIES_PER_MB
    }

    /// The work that it shares out.
    pub fn work(&self, galaxies: u64) -> Work {
        Work::even(galaxies, self.per_partition, Some(self.ranks))
    }
}

/// What is predicted of a choice.
#[derive(Debug, Clone, PartialEq)]
pub struct Outlook {
    /// The choice.
    pub choice: Choice,
    /// Simulated seconds of Initialize, of the map and of Summarize.
    pub parts_s: (f64, f64, f64),
    /// Wall time in seconds: the middle, and the ends of the interval that holds nine in ten.
    pub wall_s: (f64, f64, f64),
    /// What it costs: the middle, and the least and the most of a few simulated runs. USD, or core hours where nobody pays.
    pub cost: (f64, f64, f64),
    /// Limits that it comes near to.
    pub warnings: Vec<String>,
    /// Whether it ends well.
    pub succeeds: bool,
}

/// What may be chosen from.
#[derive(Debug, Clone)]
pub struct Space {
    /// Galaxies in all.
    pub galaxies: u64,
    /// Galaxies per partition.
    pub per_partition: Vec<u64>,
    /// Ranks that were asked for.
    pub ranks: Option<u64>,
    /// Galaxies per forward pass, with precisions.
    pub rates: Vec<(u64, String)>,
    /// Memory of a function, MiB.
    pub memory_mib: Vec<u32>,
    /// Workers that run at once.
    pub concurrency: Vec<usize>,
    /// Processors.
    pub architectures: Vec<Architecture>,
    /// The longest that an item may take.
    pub item_s_max: f64,
}

/// Ranks above which several partitions are given to one: a Distributed Map's children at once.
const RANKS_MAX: u64 = 10_000;
/// Share of the time limit of a function that the slowest item is planned to take at most.
const ITEM_SHARE: f64 = 0.75;

impl Space {
    /// All choices. Those that differ in the processor only follow one another.
    pub fn choices(&self, profile: &Profile, slowness: impl Fn(u32) -> f64) -> Vec<Choice> {
        let mut choices = Vec::new();
        for &per_partition in &self.per_partition {
            let partitions = self.galaxies.div_ceil(per_partition).max(1);
            for (batch, precision) in &self.rates {
                for &memory_mib in &self.memory_mib {
                    let worst = profile.scatter.iter().copied().fold(1.0, f64::max);
                    let item_s =
                        profile.item_s_mean(per_partition as f64, *batch, precision) * slowness(memory_mib) * worst;
                    // As many partitions per rank as its time allows, where there are more partitions than ranks.
                    let fits = (self.item_s_max * ITEM_SHARE / item_s.max(1e-9)).floor().max(1.0) as u64;
                    let least = partitions.div_ceil(fits);
                    let ranks = self.ranks.unwrap_or(partitions.min(RANKS_MAX.max(least))).clamp(1, partitions);
                    let mut seen = Vec::new();
                    for &concurrency in &self.concurrency {
                        // More workers than ranks have nothing to do.
                        let concurrency = concurrency.min(usize::try_from(ranks).unwrap_or(usize::MAX));
                        if seen.contains(&concurrency) {
                            continue;
                        }
                        seen.push(concurrency);
                        choices.extend(self.architectures.iter().map(|&architecture| Choice {
                            per_partition,
                            partitions,
                            ranks,
                            batch: *batch,
                            precision: precision.clone(),
                            memory_mib,
                            concurrency,
                            architecture,
                        }));
                    }
                }
            }
        }
        choices
    }
}

/// The choices that are not worse than another one in time and cost, fastest first.
pub fn pareto(outlooks: &[Outlook]) -> Vec<&Outlook> {
    let mut sorted: Vec<&Outlook> = outlooks.iter().filter(|outlook| outlook.succeeds).collect();
    sorted.sort_by(|a, b| a.wall_s.0.total_cmp(&b.wall_s.0).then(a.cost.0.total_cmp(&b.cost.0)));
    let mut front: Vec<&Outlook> = Vec::new();
    for outlook in sorted {
        if front.last().is_none_or(|last| outlook.cost.0 < last.cost.0 * (1.0 - 1e-9)) {
            front.push(outlook);
        }
    }
    front
}

/// The choice to take, and why.
pub fn recommended<'a>(
    front: &[&'a Outlook],
    deadline_s: Option<f64>,
    budget: Option<f64>,
    cost_unit: &str,
) -> Option<(&'a Outlook, String)> {
    let in_time = |outlook: &Outlook| deadline_s.is_none_or(|deadline_s| outlook.wall_s.2 <= deadline_s);
    let in_budget = |outlook: &Outlook| budget.is_none_or(|budget| outlook.cost.2 <= budget);
    let fits: Vec<&'a Outlook> = front.iter().copied().filter(|o| in_time(o) && in_budget(o)).collect();
    let cheapest = |of: &[&'a Outlook]| of.iter().copied().min_by(|a, b| a.cost.0.total_cmp(&b.cost.0));
    let fastest = |of: &[&'a Outlook]| of.iter().copied().min_by(|a, b| a.wall_s.0.total_cmp(&b.wall_s.0));
    match (deadline_s, budget, fits.is_empty()) {
        (Some(_), _, false) => {
            Some((cheapest(&fits)?, format!("the least {cost_unit} of those whose upper end is within the deadline")))
        }
        (None, Some(_), false) => Some((fastest(&fits)?, "the fastest of those within the budget".to_owned())),
        (None, None, _) => {
            let balance = |outlook: &Outlook| outlook.wall_s.0.max(1e-9).ln() + outlook.cost.0.max(1e-12).ln();
            let best = front.iter().copied().min_by(|a, b| balance(a).total_cmp(&balance(b)))?;
            Some((best, format!("the least product of time and {cost_unit}: no deadline and no budget was given")))
        }
        (Some(_), _, true) => Some((
            fastest(front)?,
            "the fastest there is: no choice is within the deadline and the budget at the upper end of its interval"
                .to_owned(),
        )),
        (None, Some(_), true) => {
            Some((cheapest(front)?, format!("the least {cost_unit} there is: no choice is within the budget")))
        }
    }
}

/// What a choice may come near to a limit with.
#[derive(Debug, Clone, Copy)]
pub struct NearTo {
    /// Bytes of one item of Initialize's answer.
    pub item_bytes: f64,
    /// Seconds of the slowest items.
    pub item_s: f64,
    /// Seconds of Initialize and of Summarize.
    pub ends_s: (f64, f64),
    /// Entries of the execution's history.
    pub events: u64,
    /// Reads of partitions per second.
    pub reads_per_s: f64,
}

/// Limits of AWS that a choice comes near to: from four fifths on.
pub fn warnings(choice: &Choice, near_to: &NearTo, prices: &Prices) -> Vec<String> {
    let NearTo { item_bytes, item_s, ends_s, events, reads_per_s } = *near_to;
    let mut warnings = Vec::new();
    let mut near = |value: f64, limit: &str, what: &str, try_this: &str| {
        let limit = prices.number(limit);
        if value > limit {
            warnings.push(format!("{what}: {value:.0}, AWS allows {limit:.0}; {try_this}"));
        } else if value > 0.8 * limit {
            warnings.push(format!("{what}: {value:.0}, near the {limit:.0} that AWS allows; {try_this}"));
        }
    };
    let payload = choice.ranks as f64 * item_bytes;
    let fit = (prices.number("sfn.payload.bytes_max") / item_bytes).floor();
    near(
        payload,
        "sfn.payload.bytes_max",
        "bytes of Initialize's answer",
        &format!("a world_size of {fit:.0} or less fits, or items read from S3 (ItemReader)"),
    );
    near(choice.concurrency as f64, "sfn.map.children_max", "children at once", "a lower MaxConcurrency");
    near(
        choice.concurrency as f64 + 1.0,
        "lambda.concurrency",
        "invocations at once",
        "have the quota raised, or lower MaxConcurrency",
    );
    near(
        item_s,
        "lambda.timeout.s_max",
        "seconds of the slowest items",
        "smaller partitions, fewer per rank, or more memory",
    );
    near(
        ends_s.0,
        "lambda.timeout.s_max",
        "seconds of Initialize, which opens every partition",
        "fewer and larger partitions, or several runs",
    );
    near(
        ends_s.1,
        "lambda.timeout.s_max",
        "seconds of Summarize, which reads every row",
        "several runs over parts of the survey",
    );
    near(events as f64, "sfn.history.events_max", "events of the execution", "fewer ranks");
    near(reads_per_s, "s3.prefix.get_per_s", "reads per second under one prefix", "more prefixes, or fewer workers");
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(concurrency: usize) -> Choice {
        Choice {
            per_partition: 1_278,
            partitions: 517,
            ranks: 517,
            batch: 256,
            precision: "f32".to_owned(),
            memory_mib: 1_769,
            concurrency,
            architecture: Architecture::X86,
        }
    }

    fn outlook(wall_s: f64, cost: f64) -> Outlook {
        let (wall_s, cost) = ((wall_s, wall_s * 0.8, wall_s * 1.5), (cost, cost, cost));
        Outlook { choice: choice(10), parts_s: (0.0, 0.0, 0.0), wall_s, cost, warnings: Vec::new(), succeeds: true }
    }

    #[test]
    fn the_front_has_what_nothing_beats() {
        let mut all =
            vec![outlook(10.0, 4.0), outlook(20.0, 1.0), outlook(15.0, 5.0), outlook(12.0, 2.0), outlook(30.0, 1.0)];
        all.push(Outlook { succeeds: false, ..outlook(1.0, 0.1) });
        let front = pareto(&all);
        let found: Vec<(f64, f64)> = front.iter().map(|outlook| (outlook.wall_s.0, outlook.cost.0)).collect();
        assert_eq!(found, [(10.0, 4.0), (12.0, 2.0), (20.0, 1.0)]);
        let take = |deadline_s, budget| {
            let (taken, why) = recommended(&front, deadline_s, budget, "cost").unwrap();
            (taken.wall_s.0, why.split(':').next().unwrap().to_owned())
        };
        // The upper end counts: 12 s may become 18.
        assert_eq!(take(Some(18.0), None).0, 12.0);
        assert_eq!(take(Some(17.0), None).0, 10.0);
        assert_eq!(take(None, Some(2.5)).0, 12.0);
        assert_eq!(take(Some(18.0), Some(2.0)).0, 12.0);
        assert_eq!(take(None, None).0, 20.0);
        assert_eq!(take(Some(1.0), None), (10.0, "the fastest there is".to_owned()));
        assert_eq!(take(None, Some(0.5)).0, 20.0);
        assert!(recommended(&[], None, None, "cost").is_none());
    }

    #[test]
    fn limits_are_told_before_they_bite() {
        let prices = Prices::default();
        assert_eq!(
            warnings(
                &choice(500),
                &NearTo { item_bytes: 300.0, item_s: 100.0, ends_s: (1.0, 2.0), events: 20, reads_per_s: 100.0 },
                &prices
            ),
            Vec::<String>::new()
        );
        let near = warnings(
            &choice(900),
            &NearTo { item_bytes: 420.0, item_s: 800.0, ends_s: (1.0, 2.0), events: 20, reads_per_s: 5_000.0 },
            &prices,
        );
        assert_eq!(near.len(), 4, "{near:?}");
        assert!(near.iter().all(|warning| warning.contains("near the")), "{near:?}");
        let over = warnings(
            &choice(1_000),
            &NearTo { item_bytes: 600.0, item_s: 901.0, ends_s: (1.0, 2.0), events: 30_000, reads_per_s: 6_000.0 },
            &prices,
        )
        .join("\n");
        assert!(
            over.contains("bytes of Initialize's answer: 310200, AWS allows 262144; a world_size of 436 or less"),
            "{over}"
        );
        let near_to = NearTo { item_bytes: 1.0, item_s: 1.0, ends_s: (800.0, 5_000.0), events: 1, reads_per_s: 1.0 };
        let ends = warnings(&choice(10), &near_to, &prices).join("\n");
        assert!(
            ends.contains("Initialize, which opens every partition: 800, near") && ends.contains("Summarize"),
            "{ends}"
        );
        assert!(over.contains("invocations at once: 1001, AWS allows 1000"), "{over}");
    }
}
