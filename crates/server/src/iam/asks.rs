//! Which action on which resource a request to IAM asks for.
//!
//! # Source
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsidentityandaccessmanagementiam.html>, read
//! 2026-11.

use super::Iam;
use crate::auth::Ask;
use crate::query::Form;

impl Iam {
    /// What the caller has to be allowed.
    pub(crate) fn asks(&self, action: &str, form: &Form) -> Vec<Ask> {
        let path = form.get("Path").unwrap_or("/");
        let resource = self.store.read(|directory| {
            let account = &directory.account;
            if let Some(name) = form.get("RoleName") {
                let made = || format!("arn:aws:iam::{account}:role{path}{name}");
                return directory.role(name).map_or_else(|_| made(), |role| role.arn.clone());
            }
            if let Some(name) = form.get("UserName") {
                let made = || format!("arn:aws:iam::{account}:user{path}{name}");
                return directory.user(name).map_or_else(|_| made(), |user| user.arn.clone());
            }
            if let Some(name) = form.get("PolicyName").filter(|_| action == "CreatePolicy") {
                return format!("arn:aws:iam::{account}:policy{path}{name}");
            }
            let named = form.get("PolicyArn").or_else(|| form.get("PolicySourceArn"));
            named.unwrap_or("*").to_owned()
        });
        let mut ask = Ask::new(format!("iam:{action}"), resource);
        for (parameter, key) in [("PolicyArn", "iam:PolicyARN"), ("PermissionsBoundary", "iam:PermissionsBoundary")] {
            if let Some(value) = form.get(parameter) {
                ask = ask.with(key, value);
            }
        }
        vec![ask]
    }
}
