//! Order-by clauses `^(…)`, and the merge sort under them and under `$sort`.

use std::cmp::Ordering;

use super::tuple::Tuple;
use super::{Evaluator, FrameId};
use crate::ast::{Node, Term};
use crate::error::Error;
use crate::value::Value;

impl<'v> Evaluator<'v> {
    pub(super) fn sort(
        &mut self,
        node: &'v Node,
        terms: &'v [Term],
        items: Vec<Value<'v>>,
        frame: FrameId,
    ) -> Result<Value<'v>, Error> {
        let mut keyed = Vec::with_capacity(items.len());
        for item in items {
            let keys = self.keys(terms, &item, frame)?;
            keyed.push((keys, item));
        }
        let sorted = self.merge_sort(keyed, &mut |_, left, right| compare(node, terms, &left.0, &right.0))?;
        self.sequence(sorted.into_iter().map(|(_, item)| item).collect())
    }

    pub(super) fn sort_tuples(
        &mut self,
        node: &'v Node,
        terms: &'v [Term],
        tuples: Vec<Tuple<'v>>,
        frame: FrameId,
    ) -> Result<Vec<Tuple<'v>>, Error> {
        let mut keyed = Vec::with_capacity(tuples.len());
        for tuple in tuples {
            let inner = self.open(frame, tuple.variables.clone());
            let keys = self.keys(terms, &tuple.value, inner)?;
            self.close(inner);
            keyed.push((keys, tuple));
        }
        let sorted = self.merge_sort(keyed, &mut |_, left, right| compare(node, terms, &left.0, &right.0))?;
        Ok(sorted.into_iter().map(|(_, tuple)| tuple).collect())
    }

    fn keys(&mut self, terms: &'v [Term], item: &Value<'v>, frame: FrameId) -> Result<Vec<Value<'v>>, Error> {
        terms.iter().map(|term| self.eval(&term.expression, item, frame)).collect()
    }

    /// Sorts with a comparison that may fail and need not be consistent: true means that `left` goes behind `right`.
    pub(crate) fn merge_sort<T: Clone>(
        &mut self,
        items: Vec<T>,
        is_behind: &mut dyn FnMut(&mut Self, &T, &T) -> Result<bool, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut sorted = items;
        let mut width = 1;
        while width < sorted.len() {
            let mut merged = Vec::with_capacity(sorted.len());
            for chunk in sorted.chunks(2 * width) {
                let (left, right) = chunk.split_at(width.min(chunk.len()));
                let (mut l, mut r) = (0, 0);
                while l < left.len() && r < right.len() {
                    self.charge(1)?;
                    if is_behind(self, &left[l], &right[r])? {
                        merged.push(right[r].clone());
                        r += 1;
                    } else {
                        merged.push(left[l].clone());
                        l += 1;
                    }
                }
                merged.extend_from_slice(&left[l..]);
                merged.extend_from_slice(&right[r..]);
            }
            sorted = merged;
            width *= 2;
        }
        Ok(sorted)
    }
}

fn compare(node: &Node, terms: &[Term], left: &[Value<'_>], right: &[Value<'_>]) -> Result<bool, Error> {
    for (term, (left, right)) in terms.iter().zip(left.iter().zip(right)) {
        let order = match (left, right) {
            (Value::Undefined, Value::Undefined) => Ordering::Equal,
            // What has no key goes last, in either direction.
            (Value::Undefined, _) => return Ok(true),
            (_, Value::Undefined) => return Ok(false),
            (Value::Number(left), Value::Number(right)) => {
                left.as_f64().partial_cmp(&right.as_f64()).unwrap_or(Ordering::Equal)
            }
            (Value::String(left), Value::String(right)) => compare_texts(left, right),
            (Value::Number(_) | Value::String(_), Value::Number(_) | Value::String(_)) => {
                let error = Error::new("T2007").at(node.position).value(left.shown());
                return Err(error.detail("value2", right.shown()));
            }
            _ => {
                let is_left = !matches!(left, Value::Number(_) | Value::String(_));
                let value = if is_left { left } else { right };
                return Err(Error::new("T2008").at(node.position).value(value.shown()));
            }
        };
        let order = if term.descending { order.reverse() } else { order };
        if order != Ordering::Equal {
            return Ok(order == Ordering::Greater);
        }
    }
    Ok(false)
}

/// By UTF-16 units, as JavaScript and Java compare.
pub(crate) fn compare_texts(left: &str, right: &str) -> Ordering {
    if left.is_ascii() || right.is_ascii() { left.cmp(right) } else { left.encode_utf16().cmp(right.encode_utf16()) }
}
