//! A policy and a request, apart by a line that begins with `--`: `principal action resource key=value …`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use starmap_iam::evaluate::{Named, Policies, evaluate, evaluate_trust};
use starmap_iam::{Caller, Effect, Kind, Policy, Request};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (policy, asked) = text.split_once("\n--").unwrap_or((&text, "kim s3:GetObject arn:aws:s3:::sky/a"));
    let mut words = asked.split_whitespace();
    let mut word = || words.next().unwrap_or_default().to_owned();
    let arn = format!("arn:aws:iam::123456789012:user/{}", word());
    let mut request = Request::new(Caller::User { arn, id: "AIDA".to_owned() }, word(), word());
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        request.context.set(key, value.split(','));
    }
    for kind in [Kind::Identity, Kind::Trust, Kind::Resource] {
        match Policy::parse(policy, kind) {
            Err(problems) => assert!(!problems.is_empty() && problems.iter().all(|problem| !problem.message.is_empty())),
            Ok(parsed) => decide(&request, parsed, kind),
        }
    }
});

fn decide(request: &Request, policy: Policy, kind: Kind) {
    let kept = serde_json::to_string(&policy).expect("a policy can be written");
    assert_eq!(serde_json::from_str::<Policy>(&kept).expect("what was written can be read"), policy);
    let everything = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
    let everything = Named::new("everything", Policy::parse(everything, Kind::Identity).expect("it is a policy"));
    let named = Named::new("fuzzed", policy.clone());
    match kind {
        Kind::Identity => {
            let alone = evaluate(request, &Policies { identity: vec![named.clone()], ..Policies::default() });
            assert_eq!(alone.refusal().is_empty(), alone.is_allowed());
            // An Allow more takes nothing away, and no Allow helps against a Deny.
            let both = vec![named.clone(), everything.clone()];
            let more = evaluate(request, &Policies { identity: both, ..Policies::default() });
            assert_eq!(more.effect == Effect::ExplicitDeny, alone.effect == Effect::ExplicitDeny);
            assert!(!alone.is_allowed() || more.is_allowed());
            // As a boundary it never allows more.
            let limited = Policies { identity: vec![everything], boundary: Some(named), ..Policies::default() };
            assert_eq!(evaluate(request, &limited).is_allowed(), alone.is_allowed());
        }
        Kind::Trust => drop(evaluate_trust(request, &policy, &Policies::default())),
        Kind::Resource => drop(evaluate(request, &Policies { resource: Some(named), ..Policies::default() })),
    }
}
