//! The table of decisions: `cases.json` has one case per line, each with the page of AWS's documentation that it comes
//! from.

use serde_json::Value;
use starmap_iam::evaluate::{Decision, Named, Policies, evaluate, evaluate_trust};
use starmap_iam::{Caller, Effect, Kind, Policy, Request};

const ACCOUNT: &str = "123456789012";

#[test]
fn requests_are_decided_as_documented() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("cases.json")).unwrap();
    assert!(cases.len() >= 150, "{} cases", cases.len());
    let wrong: Vec<String> = cases.iter().filter_map(check).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn every_case_has_a_page_and_a_name_of_its_own() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("cases.json")).unwrap();
    let mut names: Vec<&str> = cases.iter().map(|case| case["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    for case in &cases {
        assert!(case["page"].as_str().unwrap().starts_with("https://docs.aws.amazon.com/"), "{}", case["name"]);
    }
}

/// What differs from what is expected, if anything does.
fn check(case: &Value) -> Option<String> {
    let decision = decide(case);
    let found = match decision.effect {
        Effect::Allowed => "Allowed",
        Effect::ExplicitDeny => "ExplicitDeny",
        Effect::ImplicitDeny => "ImplicitDeny",
    };
    let (name, expected) = (case["name"].as_str().unwrap(), case["expected"].as_str().unwrap());
    // An explanation goes with every decision, and a refusal with what is not allowed.
    assert!(!decision.explanation.is_empty(), "{name}");
    assert_eq!(decision.refusal().is_empty(), decision.is_allowed(), "{name}");
    assert_eq!(decision.decided_by.is_empty(), found == "ImplicitDeny" || case["principal"] == "root", "{name}");
    (found != expected).then(|| format!("{name}: {found}, expected {expected}: {}", decision.explanation))
}

fn decide(case: &Value) -> Decision {
    let text = |name: &str| case[name].as_str().unwrap();
    let mut request = Request::new(caller(text("principal")), text("action"), text("resource"));
    for (key, values) in case["context"].as_object().into_iter().flatten() {
        let values: Vec<&str> = match values {
            Value::Array(values) => values.iter().map(|value| value.as_str().unwrap()).collect(),
            value => vec![value.as_str().unwrap()],
        };
        request.context.set(key, values);
    }
    let named = |value: &Value, kind| {
        let policy = Policy::parse(&value.to_string(), kind);
        Named::new("of the case", policy.unwrap_or_else(|problems| panic!("{}: {problems:?}", text("name"))))
    };
    let list = |name: &str| case[name].as_array().map(|list| list.iter().map(|p| named(p, Kind::Identity)).collect());
    let policies = Policies {
        identity: list("identity").unwrap_or_default(),
        boundary: case.get("boundary").map(|policy| named(policy, Kind::Identity)),
        session: list("session"),
        resource: case.get("resource_policy").map(|policy| named(policy, Kind::Resource)),
    };
    match case.get("trust") {
        Some(trust) => evaluate_trust(&request, &named(trust, Kind::Trust).policy, &policies),
        None => evaluate(&request, &policies),
    }
}

/// `root`, `anonymous`, `user/name`, `session/role/name` or `service/name`.
fn caller(text: &str) -> Caller {
    match text.split('/').collect::<Vec<_>>()[..] {
        ["root"] => Caller::Root { account: ACCOUNT.to_owned() },
        ["anonymous"] => Caller::Anonymous,
        ["user", name] => Caller::User { arn: format!("arn:aws:iam::{ACCOUNT}:user/{name}"), id: "AIDA".to_owned() },
        ["session", role, session] => Caller::Session {
            role_arn: format!("arn:aws:iam::{ACCOUNT}:role/{role}"),
            role_id: format!("AROA{}", role.to_uppercase()),
            session: session.to_owned(),
        },
        ["service", name] => Caller::Service { name: name.to_owned() },
        _ => panic!("{text} is no caller"),
    }
}
