//! `GetExecutionHistory`.

use serde_json::Value;

use super::paging::{self, page_size};
use super::{StepFunctions, events, unreadable};
use crate::error::{Answer, ApiError};
use crate::wire::members::{ARN, Members, PAGE_SIZE, PAGE_TOKEN};
use crate::wire::values::object;

pub(super) struct Get {
    arn: String,
    size: usize,
    is_reversed: bool,
    has_data: bool,
    token: Option<String>,
}

impl Get {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            arn: members.required("executionArn", ARN)?.to_owned(),
            size: page_size(members.integer("maxResults", PAGE_SIZE)?),
            is_reversed: members.boolean("reverseOrder")?.unwrap_or(false),
            has_data: members.boolean("includeExecutionData")?.unwrap_or(true),
            token: members.string("nextToken", PAGE_TOKEN)?.map(str::to_owned),
        })
    }
}

impl StepFunctions {
    pub(super) fn get_execution_history(&self, get: &Get) -> Answer {
        let record = self.named_execution(&get.arn)?;
        let (question, now) = (format!("GetExecutionHistory {} {}", get.arn, get.is_reversed), self.now());
        let from = paging::key(&question, get.token.as_deref(), now)?.and_then(|key| key.parse().ok());
        let rows = match get.is_reversed {
            false => self.reader.history(record.id, from.unwrap_or(0), get.size + 1),
            true => self.reader.history_backward(record.id, from.unwrap_or(u64::MAX), get.size + 1),
        };
        let mut rows = rows.map_err(unreadable)?;
        let has_more = rows.len() > get.size;
        rows.truncate(get.size);
        let last = rows.last().filter(|_| has_more).map(|last| last.id.to_string());
        let region = &self.engine.naming().region;
        let mut events: Vec<Value> = rows.into_iter().map(|row| events::event(row, get.has_data, region)).collect();
        let started = events.iter_mut().find_map(|event| event.get_mut("executionStartedEventDetails"));
        if let Some(Value::Object(started)) = started {
            let by = [("stateMachineVersionArn", &record.version_arn), ("stateMachineAliasArn", &record.alias_arn)];
            for (name, arn) in by {
                started.extend(arn.iter().map(|arn| (name.to_owned(), Value::from(arn.as_str()))));
            }
        }
        let next = last.map(|last| paging::token(&question, &last, now));
        Ok(object([("events", Some(Value::Array(events))), ("nextToken", next.map(Value::String))]))
    }
}
