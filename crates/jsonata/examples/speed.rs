//! How long evaluations take: `cargo run --release -p starmap-jsonata --example speed`.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::Instant;

use serde_json::json;
use starmap_jsonata::{Bindings, Expression, Host};

struct Fixed;

impl Host for Fixed {
    fn now_ms(&self) -> i64 {
        0
    }

    fn random(&mut self) -> f64 {
        0.5
    }

    fn uuid(&mut self) -> String {
        String::new()
    }
}

fn main() {
    let galaxies: Vec<_> = (0..1000).map(|index| json!({ "id": index, "z": f64::from(index) / 1000.0 })).collect();
    let states = json!({ "input": { "a": { "b": 42 }, "galaxies": galaxies }, "context": {} });
    let bindings = Bindings::from_iter([("states", states)]);
    for source in [
        "$states.input.a.b",
        "$states.input.a.b > 40 and $exists($states.input.a)",
        "{'a': $states.input.a.b, 'b': 'x' & $string($states.input.a.b)}",
        "$count($states.input.galaxies[z > 0.5])",
        "$map($states.input.galaxies, function($g) { $g.id + 1 }) ~> $sum()",
    ] {
        let parsed_at = Instant::now();
        for _ in 0..1000 {
            black_box(Expression::parse(black_box(source)).expect("it is well-formed"));
        }
        let parse_ns = parsed_at.elapsed().as_nanos() / 1000;
        let expression = Expression::parse(source).expect("it is well-formed");
        let rounds = if source.contains("galaxies") { 300 } else { 300_000 };
        let started = Instant::now();
        for _ in 0..rounds {
            black_box(expression.evaluate(None, black_box(&bindings), &mut Fixed).expect("it evaluates"));
        }
        println!("{:>9} ns to evaluate, {parse_ns:>6} ns to parse: {source}", started.elapsed().as_nanos() / rounds);
    }
}
