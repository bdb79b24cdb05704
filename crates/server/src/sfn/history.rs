//! `GetExecutionHistory`.

use serde_json::{Value, json};

use super::events;
use super::executions::page_size;
use super::{StepFunctions, unreadable};
use crate::error::{Answer, ApiError};
use crate::wire::members::{ARN, Members, PAGE_SIZE};

pub(super) struct Get {
    arn: String,
    max_results: usize,
    is_reversed: bool,
    has_data: bool,
}

impl Get {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            arn: members.required("executionArn", ARN)?.to_owned(),
            max_results: page_size(members.integer("maxResults", PAGE_SIZE)?),
            is_reversed: members.boolean("reverseOrder")?.unwrap_or(false),
            has_data: members.boolean("includeExecutionData")?.unwrap_or(true),
        })
    }
}

impl StepFunctions {
    pub(super) fn get_execution_history(&self, get: &Get) -> Answer {
        let record = self.find_execution(&get.arn)?;
        let rows = match get.is_reversed {
            false => self.reader.history(record.id, 0, get.max_results),
            true => self.reader.history_backward(record.id, u64::MAX, get.max_results),
        };
        let rows = rows.map_err(unreadable)?;
        let region = &self.engine.naming().region;
        let events: Vec<Value> = rows.into_iter().map(|row| events::event(row, get.has_data, region)).collect();
        Ok(json!({ "events": events }))
    }
}
