//! Operators on two values, and the minus sign.

use super::sort::compare_texts;
use super::{Evaluator, FrameId};
use crate::ast::{Node, Operator};
use crate::error::Error;
use crate::functions::strings;
use crate::limits::RANGE_MAX;
use crate::value::{Number, Value};

impl<'v> Evaluator<'v> {
    pub(super) fn negate(
        &mut self,
        node: &'v Node,
        operand: &'v Node,
        input: &Value<'v>,
        frame: FrameId,
    ) -> Result<Value<'v>, Error> {
        match self.eval(operand, input, frame)? {
            Value::Undefined => Ok(Value::Undefined),
            Value::Number(number) => Ok(Value::from(-number.as_f64())),
            other => Err(Error::new("D1002").at(node.position).token("-").value(other.shown())),
        }
    }

    pub(super) fn binary(
        &mut self,
        node: &'v Node,
        operator: Operator,
        left: &'v Node,
        right: &'v Node,
        input: &Value<'v>,
        frame: FrameId,
    ) -> Result<Value<'v>, Error> {
        let left = self.eval(left, input, frame)?;
        match operator {
            Operator::And if !left.is_truthy() => return Ok(Value::Bool(false)),
            Operator::Or if left.is_truthy() => return Ok(Value::Bool(true)),
            _ => {}
        }
        let right = self.eval(right, input, frame)?;
        let result = match operator {
            Operator::And | Operator::Or => Ok(Value::Bool(right.is_truthy())),
            Operator::Add | Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Remainder => {
                arithmetic(operator, &left, &right)
            }
            Operator::Equal | Operator::NotEqual => {
                // Nothing is neither equal nor unequal to anything.
                if left.is_undefined() || right.is_undefined() {
                    return Ok(Value::Bool(false));
                }
                let equal = left.equals(&right, self.steps_left())?;
                Ok(Value::Bool(equal == (operator == Operator::Equal)))
            }
            Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
                comparison(operator, &left, &right)
            }
            Operator::In => {
                if left.is_undefined() || right.is_undefined() {
                    return Ok(Value::Bool(false));
                }
                let items = right.items();
                self.charge(items.len() as u64 / 4)?;
                Ok(Value::Bool(items.iter().any(|item| is_same(&left, item))))
            }
            Operator::Concatenate => {
                let mut text = strings::to_text(self, &left, false)?;
                text.push_str(&strings::to_text(self, &right, false)?);
                self.text(text)
            }
            Operator::Range => self.range(&left, &right),
        };
        result.map_err(|error| error.at(node.position).token(operator.as_str()))
    }

    fn range(&mut self, left: &Value<'v>, right: &Value<'v>) -> Result<Value<'v>, Error> {
        let integer = |value: &Value<'v>, code| match value {
            Value::Undefined => Ok(None),
            Value::Number(number) if number.as_f64().fract() == 0.0 => Ok(Some(number.as_f64())),
            other => Err(Error::new(code).value(other.shown())),
        };
        let (left, right) = (integer(left, "T2003")?, integer(right, "T2004")?);
        let (Some(left), Some(right)) = (left, right) else { return Ok(Value::Undefined) };
        if left > right {
            return Ok(Value::Undefined);
        }
        let size = right - left + 1.0;
        if size > RANGE_MAX {
            return Err(Error::new("D2014").value(Number::from(size).to_string()));
        }
        self.charge_items(size as usize)?;
        self.sequence((0..size as u64).map(|step| Value::from(left + step as f64)).collect())
    }
}

fn arithmetic<'v>(operator: Operator, left: &Value<'v>, right: &Value<'v>) -> Result<Value<'v>, Error> {
    let number = |value: &Value<'v>, code| match value {
        Value::Undefined => Ok(None),
        Value::Number(number) if number.as_f64().is_finite() => Ok(Some(number.as_f64())),
        Value::Number(number) => Err(Error::new("D1001").value(number.to_string())),
        other => Err(Error::new(code).value(other.shown())),
    };
    let (left, right) = (number(left, "T2001")?, number(right, "T2002")?);
    let (Some(left), Some(right)) = (left, right) else { return Ok(Value::Undefined) };
    Ok(Value::from(match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide => left / right,
        _ => left % right,
    }))
}

fn comparison<'v>(operator: Operator, left: &Value<'v>, right: &Value<'v>) -> Result<Value<'v>, Error> {
    let comparable = |value: &Value<'v>| matches!(value, Value::Undefined | Value::Number(_) | Value::String(_));
    if !comparable(left) || !comparable(right) {
        let value = if comparable(left) { right } else { left };
        return Err(Error::new("T2010").value(value.shown()));
    }
    let order = match (left, right) {
        (Value::Undefined, _) | (_, Value::Undefined) => return Ok(Value::Undefined),
        (Value::Number(left), Value::Number(right)) => left.as_f64().partial_cmp(&right.as_f64()),
        (Value::String(left), Value::String(right)) => Some(compare_texts(left, right)),
        _ => return Err(Error::new("T2009").value(left.shown()).detail("value2", right.shown())),
    };
    let Some(order) = order else { return Ok(Value::Bool(false)) };
    Ok(Value::Bool(match operator {
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        _ => order.is_ge(),
    }))
}

/// Equality of `in`: arrays and objects are equal to nothing.
fn is_same(left: &Value<'_>, right: &Value<'_>) -> bool {
    match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Number(left), Value::Number(right)) => left == right,
        (Value::String(left), Value::String(right)) => left == right,
        _ => false,
    }
}
