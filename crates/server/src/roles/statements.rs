//! Permissions as the statements of a policy: as few as say the same.

use serde_json::{Map, Value, json};
use starmap_iam::pattern::Pattern;

use super::required::Permission;

/// A policy that allows these permissions and nothing else. `None` for no permissions: a policy can't be empty.
pub fn policy(permissions: &[Permission]) -> Option<Value> {
    let mut grouped: Vec<Group> = Vec::new();
    for Permission { action, resource, context } in minimal(permissions) {
        let actions = vec![action];
        match grouped.iter_mut().find(|group| group.resources == [resource.clone()] && group.context == context) {
            Some(group) if service(&group.actions[0]) == service(&actions[0]) => group.actions.extend(actions),
            _ => grouped.push(Group { actions, resources: vec![resource], context }),
        }
    }
    let mut statements: Vec<Group> = Vec::new();
    for mut group in grouped {
        group.actions.sort();
        match statements.iter_mut().find(|other| other.actions == group.actions && other.context == group.context) {
            Some(other) => other.resources.extend(group.resources),
            None => statements.push(group),
        }
    }
    let mut sids: Vec<String> = Vec::new();
    let statements: Vec<Value> = statements.into_iter().map(|group| group.statement(&mut sids)).collect();
    (!statements.is_empty()).then(|| json!({ "Version": "2012-10-17", "Statement": statements }))
}

struct Group {
    actions: Vec<String>,
    resources: Vec<String>,
    context: Vec<(String, String)>,
}

impl Group {
    fn statement(self, sids: &mut Vec<String>) -> Value {
        let Self { actions, mut resources, context } = self;
        resources.sort();
        let letters = |text: &str| -> String {
            let words =
                text.split(|char: char| !char.is_ascii_alphanumeric()).filter_map(|word| word.split_at_checked(1));
            words.map(|(first, rest)| first.to_ascii_uppercase() + rest).collect()
        };
        let name = letters(&actions[0]);
        let taken = sids.iter().filter(|sid| sid.trim_end_matches(|char: char| char.is_ascii_digit()) == name).count();
        let sid = if taken == 0 { name } else { format!("{name}{}", taken + 1) };
        sids.push(sid.clone());
        let mut statement = json!({ "Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources });
        let mut conditions = Map::new();
        for (key, value) in context {
            let operator = if value.contains('*') { "StringLike" } else { "StringEquals" };
            conditions.entry(operator).or_insert_with(|| json!({}))[&key] = json!(value);
        }
        if !conditions.is_empty() {
            statement["Condition"] = Value::Object(conditions);
        }
        statement
    }
}

/// Each once, and none that another one covers.
fn minimal(permissions: &[Permission]) -> Vec<Permission> {
    let mut kept: Vec<Permission> = Vec::new();
    for (index, needed) in permissions.iter().enumerate() {
        let covers = |(other, wider): (usize, &Permission)| {
            other != index
                && wider.action == needed.action
                && wider.context.is_empty()
                && wider.resource != needed.resource
                && Pattern::plain(&wider.resource).matches_arn(&needed.resource)
        };
        if !kept.contains(needed) && !permissions.iter().enumerate().any(covers) {
            kept.push(needed.clone());
        }
    }
    kept
}

fn service(action: &str) -> &str {
    action.split(':').next().unwrap_or_default()
}

/// A trust policy for one service.
pub fn trust(service: &str) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Principal": { "Service": service }, "Action": "sts:AssumeRole" }],
    })
}

#[cfg(test)]
mod tests {
    use starmap_iam::{Kind, Policy};

    use super::*;

    #[test]
    fn statements_are_few_and_keep_to_the_grammar() {
        let needed = |action: &str, resource: &str| Permission::new(action, resource);
        let list = [
            needed("lambda:InvokeFunction", "arn:aws:lambda:r:1:function:a"),
            needed("lambda:InvokeFunction", "arn:aws:lambda:r:1:function:b"),
            needed("lambda:InvokeFunction", "arn:aws:lambda:r:1:function:a"),
            needed("s3:GetObject", "arn:aws:s3:::sky/*"),
            needed("s3:PutObject", "arn:aws:s3:::sky/*"),
            needed("s3:GetObject", "arn:aws:s3:::sky/a"),
        ];
        let policy = policy(&list).unwrap();
        assert_eq!(
            policy["Statement"],
            json!([
                {
                    "Sid": "LambdaInvokeFunction", "Effect": "Allow", "Action": ["lambda:InvokeFunction"],
                    "Resource": ["arn:aws:lambda:r:1:function:a", "arn:aws:lambda:r:1:function:b"],
                },
                { "Sid": "S3GetObject", "Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": ["arn:aws:s3:::sky/*"] },
            ])
        );
        Policy::parse(&policy.to_string(), Kind::Identity).unwrap();
        Policy::parse(&trust("states.amazonaws.com").to_string(), Kind::Trust).unwrap();
        assert_eq!(super::policy(&[]), None);
    }
}
