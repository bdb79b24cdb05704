//! Task tokens: what whoever carries out a task answers with.

use std::fmt;

use crate::event::TaskId;

/// The token of one attempt of a task: says which execution and attempt it is for, and cannot be guessed.
///
/// Written as `AQ` and 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TaskToken {
    /// [`ExecutionContext::token_key`](crate::ExecutionContext::token_key) of the execution.
    pub key: u64,
    /// Which attempt.
    pub task: TaskId,
    /// Random, the same in every replay.
    pub secret: u128,
}

impl TaskToken {
    /// Reads a token; `None` for a text that was never one.
    pub fn parse(text: &str) -> Option<TaskToken> {
        let digits = text.strip_prefix("AQ").filter(|digits| digits.len() == 64)?;
        // `from_str_radix` would take a sign.
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let number = |range| u64::from_str_radix(&digits[range], 16).ok();
        Some(TaskToken {
            key: number(0..16)?,
            task: TaskId(number(16..32)?),
            secret: u128::from_str_radix(&digits[32..], 16).ok()?,
        })
    }
}

impl fmt::Display for TaskToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AQ{:016x}{:016x}{:032x}", self.key, self.task.0, self.secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back_and_nothing_else_does() {
        let token = TaskToken { key: 7, task: TaskId(3), secret: u128::MAX - 1 };
        let text = token.to_string();
        assert_eq!(TaskToken::parse(&text), Some(token));
        for wrong in
            ["", "AQ", "NoSuchTaskToken", &text[1..], &text.replace("AQ", "AB"), &text.replacen("AQ0", "AQ+", 1)]
        {
            assert_eq!(TaskToken::parse(wrong), None, "{wrong}");
        }
    }
}
