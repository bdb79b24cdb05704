//! What holds of every set of policies.

use proptest::prelude::*;
use serde_json::{Value, json};
use starmap_iam::evaluate::{Named, Policies, evaluate};
use starmap_iam::{Caller, Effect, Kind, Policy, Request};

fn action() -> impl Strategy<Value = String> {
    let names = vec!["s3:GetObject", "s3:PutObject", "s3:Get*", "s3:*", "*", "sqs:SendMessage", "s3:?etObject"];
    prop::sample::select(names).prop_map(str::to_owned)
}

fn resource() -> impl Strategy<Value = String> {
    let arns =
        vec!["*", "arn:aws:s3:::sky/*", "arn:aws:s3:::sky/a", "arn:aws:s3:::*", "arn:aws:s3:::sky/${aws:username}"];
    prop::sample::select(arns).prop_map(str::to_owned)
}

fn condition() -> impl Strategy<Value = Option<Value>> {
    let operators = vec![
        "StringEquals",
        "StringNotEquals",
        "StringLikeIfExists",
        "ForAllValues:StringEquals",
        "ForAnyValue:StringLike",
    ];
    let one = (prop::sample::select(operators), prop::sample::select(vec!["sky", "sea", "s*"]))
        .prop_map(|(operator, value)| json!({ operator: { "aws:PrincipalTag/team": value } }));
    prop::option::of(one)
}

fn statement(effect: &'static str) -> impl Strategy<Value = Value> {
    (prop::collection::vec(action(), 1..3), resource(), condition(), any::<bool>(), any::<bool>()).prop_map(
        move |(actions, resource, condition, not_action, not_resource)| {
            let mut statement = json!({ "Effect": effect });
            statement[if not_action { "NotAction" } else { "Action" }] = json!(actions);
            statement[if not_resource { "NotResource" } else { "Resource" }] = json!(resource);
            if let Some(condition) = condition {
                statement["Condition"] = condition;
            }
            statement
        },
    )
}

fn statements() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(prop_oneof![3 => statement("Allow"), 1 => statement("Deny")], 1..6)
}

fn request() -> impl Strategy<Value = Request> {
    let actions = vec!["s3:GetObject", "s3:PutObject", "sqs:SendMessage", "s3:ListBucket"];
    let arns = vec!["arn:aws:s3:::sky/a", "arn:aws:s3:::sky/kim", "arn:aws:s3:::sky", "*"];
    let team = prop::option::of(prop::sample::select(vec!["sky", "sea"]));
    (prop::sample::select(actions), prop::sample::select(arns), team).prop_map(|(action, arn, team)| {
        let arn_of_caller = "arn:aws:iam::123456789012:user/kim".to_owned();
        let caller = Caller::User { arn: arn_of_caller, id: "AIDA".to_owned() };
        Request::new(caller, action, arn).with("aws:PrincipalTag/team", team)
    })
}

fn named(statements: &[Value]) -> Named {
    let text = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
    Named::new("p", Policy::parse(&text, Kind::Identity).unwrap())
}

fn effect(request: &Request, statements: &[Value], boundary: Option<&[Value]>) -> Effect {
    let boundary = boundary.map(named);
    evaluate(request, &Policies { identity: vec![named(statements)], boundary, ..Policies::default() }).effect
}

proptest! {
    #[test]
    fn a_deny_more_never_allows_more(
        request in request(), before in statements(), deny in statement("Deny"), at in any::<prop::sample::Index>(),
    ) {
        let mut after = before.clone();
        after.insert(at.index(before.len() + 1), deny);
        let (before, after) = (effect(&request, &before, None), effect(&request, &after, None));
        prop_assert!(before == Effect::Allowed || after != Effect::Allowed);
        prop_assert!(before != Effect::ExplicitDeny || after == Effect::ExplicitDeny);
    }

    #[test]
    fn a_deny_of_everything_decides(request in request(), mut statements in statements(), at in any::<prop::sample::Index>()) {
        let deny = json!({ "Effect": "Deny", "Action": "*", "Resource": "*" });
        statements.insert(at.index(statements.len() + 1), deny);
        prop_assert_eq!(effect(&request, &statements, None), Effect::ExplicitDeny);
    }

    #[test]
    fn an_allow_more_never_takes_a_permission_away(
        request in request(), before in statements(), allow in statement("Allow"), at in any::<prop::sample::Index>(),
    ) {
        let mut after = before.clone();
        after.insert(at.index(before.len() + 1), allow);
        let (before, after) = (effect(&request, &before, None), effect(&request, &after, None));
        prop_assert!(before != Effect::Allowed || after == Effect::Allowed);
        prop_assert_eq!(before == Effect::ExplicitDeny, after == Effect::ExplicitDeny);
    }

    #[test]
    fn the_order_of_statements_is_nothing(request in request(), statements in statements(), seed in any::<u64>()) {
        let mut shuffled = statements.clone();
        let length = shuffled.len();
        for i in (1..length).rev() {
            shuffled.swap(i, (seed.rotate_left(i as u32) as usize) % (i + 1));
        }
        prop_assert_eq!(effect(&request, &statements, None), effect(&request, &shuffled, None));
    }

    #[test]
    fn policies_apart_are_as_one(request in request(), one in statements(), other in statements()) {
        let apart = Policies { identity: vec![named(&one), named(&other)], ..Policies::default() };
        let together: Vec<Value> = one.into_iter().chain(other).collect();
        prop_assert_eq!(evaluate(&request, &apart).effect, effect(&request, &together, None));
    }

    #[test]
    fn a_boundary_never_allows_more(request in request(), statements in statements(), boundary in statements()) {
        let limited = effect(&request, &statements, Some(&boundary));
        prop_assert!(limited != Effect::Allowed || effect(&request, &statements, None) == Effect::Allowed);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,200}") {
        let _ = Policy::parse(&text, Kind::Identity);
    }
}

#[test]
fn a_negated_operator_holds_only_if_none_of_several_values_matches() {
    let caller = Caller::User { arn: "arn:aws:iam::123456789012:user/kim".to_owned(), id: "AIDA".to_owned() };
    let asked = |teams: &[&str]| {
        let request = Request::new(caller.clone(), "s3:GetObject", "arn:aws:s3:::sky/a");
        let allow = json!({ "Effect": "Allow", "Action": "*", "Resource": "*",
            "Condition": { "StringNotEquals": { "aws:PrincipalTag/team": "sky" } } });
        effect(&request.with("aws:PrincipalTag/team", teams.iter().copied()), &[allow], None)
    };
    assert_eq!(asked(&["sea", "land"]), Effect::Allowed);
    assert_eq!(asked(&["sea", "sky"]), Effect::ImplicitDeny);
}
