//! `report.html`: a run on one page, for people.
//!
//! One file without any request: styles and figures are inline, so it can be mailed, archived and opened offline. Light
//! and dark by the reader's setting; prints. Every figure is also told in text (`<title>`, captions, tables), and every
//! number carries its definition. The size depends on bins and items, not on galaxies.

mod figures;
pub(crate) mod svg;
pub(crate) mod text;

use std::fmt::Write as _;

use self::text::{bytes, count, escape, number, seconds};
use crate::plots::Plots;
use crate::quality::{Bin, Figures, Metrics, Quality};
use crate::statistics::Statistics;
use crate::summary::{ItemTimes, Summary};

/// Renders the page.
pub fn html(summary: &Summary, plots: &Plots) -> String {
    let mut page = String::with_capacity(128 << 10);
    let title = format!("{} galaxies, run {}", count(summary.galaxies), escape(&summary.run_id));
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>{title}</title><style>{}</style></head><body><main>",
        include_str!("style.css")
    );
    header(&mut page, summary);
    if let Some(quality) = &summary.quality {
        quality_section(&mut page, summary, quality);
    }
    redshift_figures(&mut page, summary, plots);
    time_section(&mut page, summary, plots);
    run_section(&mut page, summary);
    legacy_section(&mut page, summary);
    let _ = writeln!(page, "<footer>{}</footer></main></body></html>", escape(&summary.created_by));
    page
}

fn header(page: &mut String, summary: &Summary) {
    let _ = write!(
        page,
        "<header><p class=\"over\">Photometric redshifts · <code>{}</code></p><h1>{} galaxies, every one accounted for</h1>\
         <p class=\"lead\">Proven complete: {} ranks, {} partitions, each row once, all of this run.{}{}</p><dl class=\"tiles\">",
        escape(&summary.run_id),
        count(summary.galaxies),
        count(summary.world_size),
        count(summary.partitions),
        fewer_partitions(summary),
        flagged(summary),
    );
    let figure = |of: &dyn Fn(&Figures) -> Option<f64>| {
        let all = &summary.quality.as_ref()?.all;
        let error = all.standard_error.as_ref().and_then(of);
        let value = text::known(of(&all.figures)?, error, 5);
        Some(match error {
            Some(error) => format!("{value}<small> ± {}</small>", text::error(error)),
            None => value,
        })
    };
    let unknown = || "–".to_owned();
    let tiles = [
        ("R²", "1 − mean (z_phot − z_spec)² / variance of z_spec", figure(&|f| f.r2).unwrap_or_else(unknown)),
        (
            "NMAD",
            "1.4826 · median |dz − median(dz)|, dz = (z_phot − z_spec)/(1 + z_spec)",
            figure(&|f| Some(f.nmad)).unwrap_or_else(unknown),
        ),
        ("Bias", "median of dz", figure(&|f| Some(f.bias_median)).unwrap_or_else(unknown)),
        (
            "Outliers",
            "share of |dz| > 0.15",
            summary.quality.as_ref().map_or_else(unknown, |q| text::percent(q.all.figures.outliers_15)),
        ),
        ("Wall time", "from the start of the execution to its end", summary.wall_s.map_or_else(unknown, seconds)),
        (
            "Galaxies/s",
            "galaxies predicted / wall time",
            summary.throughput.galaxies_per_s.map_or_else(unknown, number),
        ),
    ];
    for (name, definition, value) in tiles {
        let _ = write!(page, "<div title=\"{definition}\"><dt>{name}</dt><dd>{value}</dd></div>");
    }
    page.push_str("</dl></header>");
}

fn fewer_partitions(summary: &Summary) -> String {
    if summary.partitions_found >= summary.partitions_requested {
        return String::new();
    }
    format!(
        " <strong>{} partitions were asked for, {} are there.</strong>",
        count(summary.partitions_requested),
        count(summary.partitions_found)
    )
}

fn flagged(summary: &Summary) -> String {
    if summary.galaxies_flagged == 0 {
        return String::new();
    }
    format!(" <strong>{} galaxies are flagged and have no redshift.</strong>", count(summary.galaxies_flagged))
}

/// A figure of [`Figures`]: name, definition, value.
type Row = (&'static str, &'static str, fn(&Figures) -> Option<f64>);

const QUALITY_ROWS: [Row; 11] = [
    ("mae", "mean |z_phot − z_spec|", |f| Some(f.mae)),
    ("mse", "mean (z_phot − z_spec)²", |f| Some(f.mse)),
    ("r2", "1 − mse / variance of z_spec", |f| f.r2),
    ("bias_mean", "mean of dz; the published table's bias", |f| Some(f.bias_mean)),
    ("bias_median", "median of dz; RAIL's bias", |f| Some(f.bias_median)),
    ("nmad", "1.4826 · median |dz − median(dz)|", |f| Some(f.nmad)),
    ("nmad_148", "the same with 1.48; the published table's precision", |f| Some(f.nmad_148)),
    ("sigma_iqr", "(p75 − p25)/1.349 of dz", |f| Some(f.sigma_iqr)),
    ("outliers_15", "share of |dz| > 0.15", |f| Some(f.outliers_15)),
    ("outliers_05", "share of |dz| > 0.05", |f| Some(f.outliers_05)),
    ("outliers_rail", "share of |dz| > max(0.06, 3 · sigma_iqr)", |f| Some(f.outliers_rail)),
];

fn quality_section(page: &mut String, summary: &Summary, quality: &Quality) {
    let Metrics { galaxies, figures, standard_error } = &quality.all;
    let sample = match summary.quality_sample {
        Some(sample) => format!(", on a uniform sample of {}", count(sample)),
        None => String::new(),
    };
    let _ = write!(
        page,
        "<section><h2>Redshift quality</h2><p>{} galaxies with a spectroscopic redshift{sample}; \
         dz = (z_phot − z_spec)/(1 + z_spec); standard errors by bootstrap.</p>\
         <div class=\"scroll\"><table><thead><tr><th>figure</th><th class=\"n\">value</th><th class=\"n\">standard error</th>\
         <th>definition</th></tr></thead><tbody>",
        count(*galaxies)
    );
    for (name, definition, of) in QUALITY_ROWS {
        let error = standard_error.as_ref().and_then(of);
        let value = of(figures).map_or_else(|| "–".to_owned(), |value| text::known(value, error, 9));
        let error = error.map_or_else(|| "–".to_owned(), text::error);
        let _ = write!(
            page,
            "<tr><th scope=\"row\"><code>{name}</code></th><td class=\"n\">{value}</td><td class=\"n\">{error}</td><td>{definition}</td></tr>"
        );
    }
    page.push_str("</tbody></table></div>");
    for (name, bins) in
        [("z_spec", &quality.bins.z_spec), ("z_phot", &quality.bins.z_phot), ("r magnitude", &quality.bins.magnitude_r)]
    {
        bins_table(page, name, bins);
    }
    page.push_str("</section>");
}

fn bins_table(page: &mut String, name: &str, bins: &[Bin]) {
    let _ = write!(
        page,
        "<details><summary>In bins of {name}</summary><div class=\"scroll\"><table><thead><tr><th class=\"n\">from</th>\
         <th class=\"n\">to</th><th class=\"n\">galaxies</th><th class=\"n\">bias_median</th><th class=\"n\">nmad</th>\
         <th class=\"n\">sigma_iqr</th><th class=\"n\">outliers_15</th></tr></thead><tbody>"
    );
    for bin in bins {
        let Metrics { galaxies, figures, standard_error } = &bin.metrics;
        let with_error = |of: fn(&Figures) -> f64| match standard_error {
            Some(error) => {
                let (value, error) = (of(figures), of(error));
                format!("{} <small>± {}</small>", text::known(value, Some(error), 9), text::error(error))
            }
            None => number(of(figures)),
        };
        let _ = write!(
            page,
            "<tr><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            number(bin.from),
            number(bin.to),
            count(*galaxies),
            with_error(|f| f.bias_median),
            with_error(|f| f.nmad),
            with_error(|f| f.sigma_iqr),
            text::percent(figures.outliers_15)
        );
    }
    page.push_str("</tbody></table></div></details>");
}

fn redshift_figures(page: &mut String, summary: &Summary, plots: &Plots) {
    let mut drawn = Vec::new();
    if let Some(density) = &plots.density {
        drawn.push((
            figures::density(density),
            "Predicted against spectroscopic redshift. Stronger colour is more galaxies, on a logarithmic scale; the line is 1:1.",
        ));
    }
    if let Some(histogram) = &plots.dz {
        drawn.push((figures::dz_histogram(histogram), "Histogram of dz = (z_phot − z_spec)/(1 + z_spec)."));
    }
    if let Some(quality) = &summary.quality {
        let bins = &quality.bins;
        drawn.push((
            figures::dz_band("spectroscopic redshift", &bins.z_spec),
            "dz against spectroscopic redshift: median (line) and the middle 68 % of the galaxies (band) in each bin.",
        ));
        drawn.push((
            figures::dz_band("predicted redshift", &bins.z_phot),
            "dz against predicted redshift: median (line) and the middle 68 % of the galaxies (band) in each bin.",
        ));
        drawn.push((
            figures::dz_band("r magnitude (mag)", &bins.magnitude_r),
            "dz against magnitude in the r band: median (line) and the middle 68 % of the galaxies (band) in each bin.",
        ));
    }
    if let Some(n_z) = &plots.n_z {
        let caption = if n_z.z_spec.is_some() {
            "How many galaxies there are at each redshift: predicted (filled) and spectroscopic (line)."
        } else {
            "How many galaxies there are at each predicted redshift."
        };
        drawn.push((figures::n_z(n_z), caption));
    }
    page.push_str("<section class=\"figures\">");
    for (svg, caption) in drawn {
        let _ = write!(page, "<figure>{svg}<figcaption>{caption}</figcaption></figure>");
    }
    page.push_str("</section>");
}

fn time_section(page: &mut String, summary: &Summary, plots: &Plots) {
    let time = &summary.time;
    page.push_str("<section><h2>Where the time went</h2>");
    let mut facts = vec![
        format!("slowest item {}× the median", number(time.straggler_ratio)),
        format!("at least one worker inferring for {}", seconds(time.inferring_s)),
    ];
    facts.extend(time.overhead_s.map(|overhead_s| format!("{} of the wall time without", seconds(overhead_s))));
    let share = time.initialize_and_summarize_share;
    facts.extend(share.map(|share| format!("Initialize and Summarize {} of it", text::percent(share))));
    let _ = write!(page, "<p>{}.</p>", facts.join("; "));
    let _ = write!(
        page,
        "<figure class=\"wide\">{}<figcaption>Workers over time, one row each, one bar per item, split by phase. Waiting for \
         galaxies and inference of an item alternate; they are drawn one after the other, as long as each was in all.\
         </figcaption></figure>",
        figures::timeline(&plots.timeline)
    );
    page.push_str(
        "<div class=\"scroll\"><table><thead><tr><th>seconds per item</th><th class=\"n\">p50</th><th class=\"n\">p95</th>\
         <th class=\"n\">max</th><th class=\"n\">sum</th><th>what it is</th></tr></thead><tbody>",
    );
    let ItemTimes { queued, init, read, decode, wait, load_model, infer, write, total, cpu, .. } = &time.items;
    let mut row = |name: &str, statistics: Option<&Statistics>, definition: &str| {
        let Some(s) = statistics else { return };
        let _ = write!(
            page,
            "<tr><th scope=\"row\">{name}</th><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{definition}</td></tr>",
            number(s.p50),
            number(s.p95),
            number(s.max),
            number(s.sum)
        );
    };
    row("queued", queued.as_ref(), "ready to handed to a worker");
    row("init", init.as_ref(), "process start to first poll; cold items only");
    row("load_model", Some(load_model), "model file to packed weights, once per process");
    row("read", Some(read), "waiting for object storage, beside infer");
    row("decode", Some(decode), "bytes to batches, beside infer");
    row("wait", wait.as_ref(), "forward passes waiting for galaxies: what of read and decode did not overlap");
    row("infer", Some(infer), "forward passes");
    row("write", Some(write), "encoding and storing predictions");
    row("total", Some(total), "the whole item");
    row("total, cold", time.cold.as_ref().map(|items| &items.total), "items that were their process's first");
    row("total, warm", time.warm.as_ref().map(|items| &items.total), "the others");
    row("CPU", Some(cpu), "user and system, of the whole process");
    page.push_str("</tbody></table></div></section>");
}

fn run_section(page: &mut String, summary: &Summary) {
    page.push_str("<section><h2>The run</h2><dl class=\"facts\">");
    let mut fact = |name: &str, value: String| {
        let _ = write!(page, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    };
    let code = |text: &str| format!("<code>{}</code>", escape(text));
    fact(
        "Partitions",
        format!("{} of {}, {}", count(summary.partitions), code(&summary.data), bytes(summary.data_bytes as f64)),
    );
    fact("Results", code(&summary.results));
    fact(
        "Predictions",
        format!(
            "{}, {} rows, {}",
            code(&summary.predictions.key),
            count(summary.predictions.rows),
            bytes(summary.predictions.bytes as f64)
        ),
    );
    fact("Model", format!("{}, SHA-256 {}", code(&summary.model.key), code(&summary.model.sha256)));
    fact("Ranks", format!("{}, {} galaxies per forward pass", count(summary.world_size), count(summary.batch_size)));
    let infer = &summary.throughput.infer_galaxies_per_s;
    fact("Inference", format!("{} galaxies/s per worker (median; {} at most)", number(infer.p50), number(infer.max)));
    if let Some(bytes_per_s) = summary.throughput.bytes_per_s {
        fact("Data rate", format!("{}/s of wall time", bytes(bytes_per_s)));
    }
    let memory = &summary.memory;
    let allocated =
        memory.allocated_mib.map(|mib| format!(" of {} MiB allocated", count(mib.into()))).unwrap_or_default();
    fact(
        "Memory",
        format!(
            "{} MiB resident at most, {} MiB median{allocated}",
            number(memory.peak_rss_mib.max),
            number(memory.peak_rss_mib.p50)
        ),
    );
    let retries = summary.storage_retries;
    if retries.total() > 0 {
        fact("Object storage", format!("{} requests were repeated ({})", count(retries.total()), retries.told()));
    }
    if let Some(execution) = &summary.execution {
        fact("Execution", code(&execution.arn));
        fact(
            "Invocations",
            format!(
                "{}, {} of them failed; {} GB-s billed",
                count(execution.attempts),
                count(execution.attempts_failed),
                number(execution.billed_gb_s)
            ),
        );
    }
    if let Some(aws) = &summary.aws {
        fact(
            "On AWS",
            format!(
                "${:.4}: Lambda ${:.4} for {} GB-s, Step Functions ${:.4} for {} transitions, S3 ${:.4}; prices of {}, {}, {}",
                aws.total_usd,
                aws.lambda_usd,
                number(aws.gb_s),
                aws.step_functions_usd,
                count(aws.transitions),
                aws.s3_usd,
                escape(&aws.prices_as_of),
                escape(&aws.region),
                escape(&aws.architecture)
            ),
        );
    }
    page.push_str("</dl></section>");
}

fn legacy_section(page: &mut String, summary: &Summary) {
    let legacy = &summary.legacy;
    let _ = write!(
        page,
        "<section><h2>As in the published tables</h2><p>Computed as they were, to compare line by line. The runtime is CPU \
         time, the memory what was used and not what is billed, the throughput, headed MB/s there, is GiB/s of one \
         average worker, and the cost leaves out start-up, requests and transitions.</p><div class=\"scroll\"><table><thead><tr>\
         <th class=\"n\">Partition (MB)</th><th class=\"n\">Lambda/File Limit</th><th class=\"n\">Avg Runtime (s)</th>\
         <th class=\"n\">Memory (MB)</th><th class=\"n\">Data Size (GB)</th><th class=\"n\">Cost ($)</th>\
         <th class=\"n\">Throughput</th><th class=\"n\">Batch Size</th></tr></thead><tbody><tr><td class=\"n\">{}</td>\
         <td class=\"n\">{}</td><td class=\"n\">{:.6}</td><td class=\"n\">{:.5}</td><td class=\"n\">{:.2}</td>\
         <td class=\"n\">{:.4}</td><td class=\"n\">{:.4}</td><td class=\"n\">{}</td></tr></tbody></table></div></section>",
        number(legacy.partition_mb),
        legacy.files,
        legacy.runtime_s_mean,
        legacy.memory_mb_mean,
        legacy.data_size_gb,
        legacy.legacy_cost,
        legacy.legacy_throughput,
        legacy.batch_size
    );
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn a_page_is_whole_small_and_asks_for_nothing() {
        let (summary, plots) = crate::summary::tests::example(516);
        let page = html(&summary, &plots);
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
        assert!(page.len() < 1_000_000, "{} bytes", page.len());
        for asks in ["src=", "href=", "url(", "@import", "<script", "http://", "https://"] {
            assert!(!page.contains(asks), "the page has {asks}");
        }
        assert!(!page.contains("NaN") && !page.contains("inf<"), "a number is not finite");
        for tag in ["figure", "svg", "table", "section", "dl", "g", "details"] {
            assert_eq!(
                page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count(),
                page.matches(&format!("</{tag}>")).count(),
                "<{tag}> is not closed everywhere"
            );
        }
    }

    #[test]
    fn what_users_wrote_is_escaped() {
        let (mut summary, plots) = crate::summary::tests::example(2);
        summary.run_id = "<script>alert(1)</script>".to_owned();
        summary.data = "s3://a/\"b\"&c/".to_owned();
        let page = html(&summary, &plots);
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;") && page.contains("&quot;b&quot;&amp;c"));
    }

    #[test]
    fn a_run_without_spectroscopic_redshifts_has_a_page_too() {
        let (mut summary, mut plots) = crate::summary::tests::example(2);
        (summary.quality, plots.density, plots.dz) = (None, None, None);
        let page = html(&summary, &plots);
        assert!(page.contains("<dt>R²</dt><dd>–</dd>") && !page.contains("Redshift quality"));
    }
}
