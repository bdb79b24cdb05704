//! What an account allows its functions, asked before anything is made: new ones are capped far below what is documented.

use serde_json::{Map, Value};

/// Invocations at once of an account that AWS knows: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>,
/// read 2026-11. One with fewer is new, or limited on purpose.
const CONCURRENCY_USUAL: u64 = 1_000;
/// Most memory of a function in a new account, MB. No API says so; creating a larger one fails.
const NEW_MEMORY_MB_MAX: u64 = 3_008;
/// The definition's own limit, unless `max_concurrency` says otherwise.
const MAP_CONCURRENCY: u64 = 1_000;
/// What Lambda keeps of an account's concurrency for functions that reserve nothing, at the least.
const UNRESERVED_MIN: u64 = 10;
/// Memory of a function unless it is chosen, MB.
const MEMORY_MB: u64 = 1_769;

/// What of these choices an account is too small for. `settings` is Lambda's answer to `GetAccountSettings`.
pub fn warnings(settings: &Value, choices: &Map<String, Value>) -> Vec<String> {
    let chosen = |name: &str| choices.get(name).and_then(Value::as_u64);
    let Some(concurrency) = settings["AccountLimit"]["ConcurrentExecutions"].as_u64() else { return Vec::new() };
    let unreserved = settings["AccountLimit"]["UnreservedConcurrentExecutions"].as_u64().unwrap_or(concurrency);
    let mut warnings = Vec::new();
    let map = chosen("max_concurrency").unwrap_or(MAP_CONCURRENCY);
    if map > unreserved && chosen("infer_concurrency").is_none() {
        warnings.push(format!(
            "this account runs {unreserved} invocations at once and the Distributed Map would start {map}: those above are refused \
             (Lambda.TooManyRequestsException), tried again three times, and then fail the run\n\
             hint: --var max_concurrency={unreserved}, or ask for more at Service Quotas: Lambda, Concurrent executions"
        ));
    }
    if let Some(reserved) = chosen("infer_concurrency") {
        // Of what is reserved now, some may be this function's own: only what can never be is certain.
        if reserved + UNRESERVED_MIN > concurrency {
            warnings.push(format!(
                "infer_concurrency={reserved} can't be reserved: this account runs {concurrency} invocations at once, and Lambda keeps at least \
                 {UNRESERVED_MIN} of them for functions that reserve nothing\n\
                 hint: take the choice back with --var infer_concurrency=null, or ask for more at Service Quotas: Lambda, Concurrent \
                 executions"
            ));
        }
        if map > reserved {
            warnings.push(format!(
                "the Distributed Map would start {map} invocations at once, and {reserved} are reserved: those above are refused\n\
                 hint: --var max_concurrency={reserved}"
            ));
        }
    }
    for name in ["infer_memory_mb", "memory_mb"] {
        let memory_mb = chosen(name).unwrap_or(MEMORY_MB);
        if concurrency < CONCURRENCY_USUAL && memory_mb > NEW_MEMORY_MB_MAX {
            warnings.push(format!(
                "{name}={memory_mb}: this account runs {concurrency} invocations at once, as new ones do, and functions of new accounts are \
                 capped at {NEW_MEMORY_MB_MAX} MB\n\
                 hint: --var {name}={NEW_MEMORY_MB_MAX}, if creating the function fails with MemorySize"
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn warned(concurrency: u64, unreserved: u64, choices: Value) -> String {
        let settings = json!({ "AccountLimit": {
            "ConcurrentExecutions": concurrency, "UnreservedConcurrentExecutions": unreserved
        } });
        warnings(&settings, choices.as_object().unwrap()).join("\n")
    }

    #[test]
    fn a_new_account_is_told_what_it_is_too_small_for() {
        let text = warned(10, 10, json!({ "infer_memory_mb": 10_240 }));
        assert!(text.contains("10 invocations at once and the Distributed Map would start 1000"), "{text}");
        assert!(text.contains("--var max_concurrency=10,") && text.contains("infer_memory_mb=10240: "), "{text}");
        assert!(!text.contains("memory_mb=1769"), "{text}");
        assert_eq!(warned(10, 10, json!({ "max_concurrency": 10 })), "");
        let text = warned(10, 10, json!({ "max_concurrency": 5, "infer_concurrency": 5 }));
        assert!(text.contains("infer_concurrency=5 can't be reserved"), "{text}");
    }

    #[test]
    fn a_usual_account_is_told_nothing() {
        assert_eq!(warned(1_000, 1_000, json!({ "infer_memory_mb": 10_240 })), "");
        assert_eq!(warnings(&json!({}), &Map::new()), Vec::<String>::new());
        let text = warned(1_000, 1_000, json!({ "infer_concurrency": 500 }));
        assert!(text.contains("500 are reserved") && text.contains("max_concurrency=500"), "{text}");
    }
}
