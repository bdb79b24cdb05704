//! Resource policies of functions: who else may invoke them.
//!
//! They are kept and told, as Terraform and the console of AWS expect; whoever signs here is of this account, and decided
//! about by their own policies.
//!
//! # Source
//! <https://docs.aws.amazon.com/lambda/latest/api/API_AddPermission.html>, read 2026-11.

use serde_json::{Map, Value, json};
use starmap_workers::function::split;

use super::actions::Reply;
use super::catalog::Catalog;
use super::check::{self, Members, required, text};
use super::error::Error;
use super::record::Permission;

impl Catalog {
    pub(crate) fn add_permission(&self, members: &Members) -> Result<Reply, Error> {
        let name = self.changeable(members)?;
        let qualifier = qualifier(members)?;
        let (id, action, principal) =
            (required(members, "StatementId")?, required(members, "Action")?, required(members, "Principal")?);
        let is_id = (1..=100).contains(&id.len())
            && id.chars().all(|char| char.is_ascii_alphanumeric() || "-_.".contains(char));
        if !is_id {
            return Err(Error::constraint("statementId", id, "satisfy regular expression pattern: ([a-zA-Z0-9-_.]+)"));
        }
        let mut conditions = Map::new();
        if let Some(arn) = text(members, "SourceArn")? {
            conditions.insert("ArnLike".to_owned(), json!({ "AWS:SourceArn": arn }));
        }
        let mut equal = Map::new();
        for (member, key) in [
            ("SourceAccount", "AWS:SourceAccount"),
            ("PrincipalOrgID", "aws:PrincipalOrgID"),
            ("FunctionUrlAuthType", "lambda:FunctionUrlAuthType"),
            ("EventSourceToken", "lambda:EventSourceToken"),
        ] {
            if let Some(value) = text(members, member)? {
                equal.insert(key.to_owned(), json!(value));
            }
        }
        if !equal.is_empty() {
            conditions.insert("StringEquals".to_owned(), Value::Object(equal));
        }
        let principal = match principal {
            "*" => json!("*"),
            service if service.contains(".amazonaws.com") => json!({ "Service": service }),
            account if account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()) => {
                json!({ "AWS": format!("arn:aws:iam::{account}:root") })
            }
            other => json!({ "AWS": other }),
        };
        let resource = self.arn(&name, qualifier.as_deref());
        let mut statement =
            json!({ "Sid": id, "Effect": "Allow", "Principal": principal, "Action": action, "Resource": resource });
        if !conditions.is_empty() {
            statement["Condition"] = Value::Object(conditions);
        }
        let told = statement.to_string();
        self.change(&name, |record| {
            if record.permissions.iter().any(|other| other.qualifier == qualifier && other.statement["Sid"] == id) {
                return Err(Error::conflict(format!(
                    "The statement id ({id}) provided already exists. Please provide a new statement id, or remove the existing statement."
                )));
            }
            record.permissions.push(Permission { qualifier, statement });
            Ok(())
        })?;
        Ok(Reply { status: 201, body: Some(json!({ "Statement": told })) })
    }

    pub(crate) fn get_policy(&self, members: &Members) -> Result<Reply, Error> {
        let name = self.existing(members)?;
        let qualifier = qualifier(members)?;
        let records = self.records();
        let record = records.get(&name);
        let permissions = record.into_iter().flat_map(|record| &record.permissions);
        let statements: Vec<&Value> =
            permissions.filter(|other| other.qualifier == qualifier).map(|other| &other.statement).collect();
        if statements.is_empty() {
            return Err(Error::not_found("The resource you requested does not exist."));
        }
        let policy = json!({ "Version": "2012-10-17", "Id": "default", "Statement": statements }).to_string();
        let revision = record.map_or("", |record| record.latest.revision_id.as_str());
        Ok(Reply::ok(json!({ "Policy": policy, "RevisionId": revision })))
    }

    pub(crate) fn remove_permission(&self, members: &Members) -> Result<Reply, Error> {
        let name = self.changeable(members)?;
        let (qualifier, id) = (qualifier(members)?, required(members, "StatementId")?);
        self.change(&name, |record| {
            let before = record.permissions.len();
            record.permissions.retain(|other| other.qualifier != qualifier || other.statement["Sid"] != id);
            if record.permissions.len() == before {
                return Err(Error::not_found(format!("Statement {id} is not found in resource policy.")));
            }
            Ok(())
        })?;
        Ok(Reply { status: 204, body: None })
    }
}

/// Of the request, or of the function's name.
fn qualifier(members: &Members) -> Result<Option<String>, Error> {
    let (_, in_name) = split(check::function_name(members)?);
    Ok(text(members, "Qualifier")?.or(in_name).map(str::to_owned))
}
