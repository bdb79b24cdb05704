//! Any text as an expression, within small bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use starmap_jsonata::{Bindings, Expression, Host, Limits};

struct Fixed;

impl Host for Fixed {
    fn now_ms(&self) -> i64 {
        1_700_000_000_000
    }

    fn random(&mut self) -> f64 {
        0.25
    }

    fn uuid(&mut self) -> String {
        "11111111-2222-4333-8444-555555555555".to_owned()
    }
}

fuzz_target!(|source: &str| {
    let limits = Limits { steps: 20_000, value_bytes: 1 << 16, ..Limits::default() };
    let bindings = Bindings::from_iter([("states", serde_json::json!({ "input": { "a": [1, { "b": "x" }, null] } }))]);
    if let Ok(expression) = Expression::parse(source) {
        let _ = expression.variables();
        let _ = expression.evaluate_within(limits, None, &bindings, &mut Fixed);
    }
});
