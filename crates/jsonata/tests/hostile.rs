//! Expressions from strangers: none may panic, overflow a worker's stack or run on.

use proptest::prelude::*;
use serde_json::{Value, json};
use starmap_jsonata::{Bindings, Error, Evaluated, Expression, Host, Limits};

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

/// Evaluates on three quarters of the stack that a worker thread of the engine has.
fn evaluate(source: String, limits: Limits) -> Result<Evaluated, Error> {
    let worker = std::thread::Builder::new().stack_size(3 << 19).spawn(move || {
        let input: Value = json!({ "a": [1, { "b": "x" }, [2, 3]], "c": { "d": null } });
        Expression::parse(&source)?.evaluate_within(limits, Some(&input), &Bindings::new(), &mut Fixed)
    });
    worker.expect("a thread").join().expect("no panic")
}

fn message(source: &str, limits: Limits) -> String {
    match evaluate(source.to_owned(), limits) {
        Err(error) => error.to_string(),
        Ok(value) => format!("{value:?}").chars().take(100).collect(),
    }
}

const STACK: &str =
    "Stack overflow error: Check for non-terminating recursive function. Consider rewriting as tail-recursive";
const MEMORY: &str = "Expression evaluation memory limit exceeded: Check for excessive memory usage";
const TIME: &str = "Expression evaluation timeout: Check for infinite loop";

#[test]
fn nesting_ends_in_an_error_and_not_in_a_crash() {
    for source in [
        "(".repeat(100_000),
        "[".repeat(100_000),
        "-".repeat(100_000),
        "a[".repeat(100_000),
        "{\"a\":".repeat(100_000),
        "function($x){".repeat(100_000),
        "$f(".repeat(100_000),
        "|".repeat(100_000),
        format!("{}1{}", "(".repeat(95), ")".repeat(95)),
        format!("1{}", "+1".repeat(100_000)),
        format!("1{}", "+1".repeat(900)),
        format!("$x{}", " ~> $x".repeat(100_000)),
        format!("a{}", "[0]".repeat(100_000)),
        format!("a{}", ".a".repeat(100_000)),
        format!("a{}", "?a:a".repeat(100_000)),
    ] {
        let _ = evaluate(source, Limits::default());
    }
    for source in [
        "($f := function($n) { 1 + $f($n) }; $f(1))",
        "($f := function($n) { [$f($n)] }; $f(1))",
        "($f := function($n) { {'a': $f($n)} }; $f(1))",
        "($f := function($n) { $map([1], $f) }; $f(1))",
        "($f := function($n) { $string($f($n)) & 'a' }; $f(1))",
        "($f := function($n) { a[$f($n)].b }; $f(1))",
        "($f := function($n) { [1, 2]^($f($)) }; $f(1))",
        "($f := function($n) { $sort([1, 2], $f) }; $f(1))",
        "($f := function($n, $m) { $reduce([1, 2], $f) }; $f(1, 2))",
        "($f := function($n) { ($n ~> |$|{'a': $f($)}|) }; $f({'b': 1}))",
        "($f := function($n) { $n#$i[$f($i)] }; $f(1))",
        "($f := function($n) { $replace('a', /a/, $f) }; $f(1))",
        "($f := function($n) { ($g := $f(?); $g(1) & '') }; $f(1))",
        "($f := function($a, $n) { $n = 0 ? $a : $f({'a': $a}, $n - 1) }; $f(1, 100000))",
        "($f := function($a, $n) { $n = 0 ? $a : $f($a ~> $string, $n - 1) }; $f($string, 100000))",
        "($f := function($a, $n) { $n = 0 ? $a : $f(function($x) { $a($x) + 1 }, $n - 1) }; $f($sum, 100000)(1))",
    ] {
        assert_eq!(message(source, Limits::default()), STACK, "{source}");
    }
}

#[test]
fn work_ends_in_an_error_too() {
    let some = Limits { steps: 1_000_000, ..Limits::default() };
    for (source, expected) in [
        ("($f := function($n) { $f($n + 1) }; $f(1))", TIME),
        ("($f := function($x, $n) { $f(function() { $x }, $n) }; $f(1, 2))", TIME),
        ("$map([1..800000], function($v) { $map([1..800000], function($w) { $w }) })", TIME),
        ("$string([1..900000])", MEMORY),
        ("[1..873783]", MEMORY),
        ("$pad('', 1e9)", MEMORY),
        ("$range(0, 1e12, 1)", MEMORY),
        ("$formatInteger(1e15, 'I')", MEMORY),
        ("($p := function($s, $n) { $n = 0 ? $s : $p($s & $s, $n - 1) }; $length($p('x', 23)))", MEMORY),
        ("($p := function($s, $n) { $n = 0 ? $s : $p([$s, $s], $n - 1) }; $p(['x'], 60))", MEMORY),
        ("($p := function($s, $n) { $n = 0 ? $s : $p({'a': $s, 'b': $s}, $n - 1) }; $p('x', 60))", MEMORY),
        ("($p := function($s, $n) { $n = 0 ? $s : $p({'a': $s, 'b': $s}, $n - 1) }; $p('x', 60) = $p('x', 60))", TIME),
        ("($p := function($s, $n) { $n = 0 ? $s : $p({'a': $s, 'b': $s}, $n - 1) }; $string($p('x', 60)))", TIME),
        ("($p := function($s, $n) { $n = 0 ? $s : $p({'a': $s, 'b': $s}, $n - 1) }; $count($p('x', 60).**))", TIME),
        ("$match($pad('', 40, 'a') & 'b', /^(a|a)+(?=c)\\1/)", TIME),
    ] {
        assert_eq!(message(source, some), expected, "{source}");
    }
    assert!(message("[1..873782] ~> $count()", Limits::default()).contains("873782"));
}

/// Pieces of expressions, in any order.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b",
        "$",
        "$$",
        "$x",
        "$f",
        "1",
        "-2",
        "0.5",
        "1e300",
        "'x'",
        "\"é😀\"",
        "null",
        "true",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ";",
        ":",
        ":=",
        ".",
        "..",
        "*",
        "**",
        "%",
        "#$i",
        "@$v",
        "^(",
        "<",
        ">",
        "=",
        "!=",
        "in",
        "and",
        "or",
        "&",
        "+",
        "-",
        "/",
        "?",
        "~>",
        "|",
        "function($x){",
        "λ($x)<s-n?:s>{",
        "$map(",
        "$string(",
        "$sum(",
        "$substring(",
        "$pad(",
        "$formatNumber(",
        "'#,##0.00;(0)'",
        "$fromMillis(",
        "'[Y]-[MNn]-[D1o] [F,3-3] [z]'",
        "$toMillis(",
        "$formatInteger(",
        "'w;o'",
        "$parseInteger(",
        "$replace(",
        "/a(.)?/",
        "$split(",
        "$match(",
        "$zip(",
        "$sort(",
        "$reduce(",
        "$each(",
        "$sift(",
        "$spread(",
        "$merge(",
        "$append(",
        "$distinct(",
        "$round(",
        "$formatBase(",
        "$number(",
        "$power(",
        "$partition(",
        "$range(",
        "$hash(",
        "'MD5'",
        "$parse(",
        "$base64decode(",
        "$decodeUrl(",
        "'%C3'",
        "$error(",
        "$lookup(",
        "$type(",
        "$now(",
        "$random(",
        "[]",
        "()",
        "[0]",
        "[[0..1]]",
    ]);
    prop::collection::vec(piece, 1..24).prop_map(|pieces| pieces.join(" "))
}

/// Closes what is open, so that more of it can be read.
fn closed(source: &str) -> String {
    let mut open = Vec::new();
    for char in source.chars() {
        match char {
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' if open.last() == Some(&char) => {
                open.pop();
            }
            _ => {}
        }
    }
    source.to_owned() + &open.into_iter().rev().collect::<String>()
}

fn try_everything(source: &str) {
    let input = json!({ "a": [1, { "b": "x" }, [2, 3]], "b": { "a": null, "c": -1.5 } });
    let bindings = Bindings::from_iter([("x", json!([{ "a": 1 }, "2", 3]))]);
    let limits = Limits { steps: 20_000, value_bytes: 1 << 16, ..Limits::default() };
    if let Ok(expression) = Expression::parse(source) {
        let _ = (expression.variables(), expression.input_reference());
        let _ = expression.evaluate_within(limits, Some(&input), &bindings, &mut Fixed);
        let _ = expression.evaluate_within(limits, None, &bindings, &mut Fixed).map_err(|error| error.to_string());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_text_can_be_tried(source in "\\PC{0,40}") {
        try_everything(&source);
    }

    #[test]
    fn any_order_of_pieces_can_be_tried(source in soup()) {
        try_everything(&source);
        try_everything(&closed(&source));
    }

    #[test]
    fn any_argument_can_be_tried(
        function in prop::sample::select(vec!["formatNumber", "fromMillis", "toMillis", "formatInteger", "parseInteger", "formatBase",
            "round", "power", "substring", "pad", "split", "replace", "range", "partition", "random", "number", "hash"]),
        first in prop_oneof![any::<f64>().prop_map(|number| json!(number)), "\\PC{0,8}".prop_map(|text| json!(text)), Just(json!([1, 2, 3]))],
        second in prop_oneof![any::<f64>().prop_map(|number| json!(number)), "[-#0,.;%eYMDdFWwXxHhPmsfZzCE\\[\\]nNoItaA 1*]{0,12}".prop_map(|text| json!(text))],
        third in prop_oneof![-10.0..10.0_f64, any::<f64>()],
    ) {
        let bindings = Bindings::from_iter([("p", first), ("q", second), ("r", json!(third))]);
        let limits = Limits { steps: 20_000, value_bytes: 1 << 16, ..Limits::default() };
        for arguments in ["$p", "$p, $q", "$p, $q, $r", "$p, $r", "$r, $q", "$p, $r, $r", "$string($p), $q"] {
            let expression = Expression::parse(&format!("${function}({arguments})")).expect("it is well-formed");
            let _ = expression.evaluate_within(limits, None, &bindings, &mut Fixed);
        }
    }
}
