//! Paths: each step maps over the results of the one before.

use serde_json::Value as Json;

use super::{Evaluator, FrameId};
use crate::ast::{Kind, Node, Stage};
use crate::error::Error;
use crate::value::{Array, List, Value};

/// What a step is applied to.
enum Context<'v> {
    One(Value<'v>),
    /// Each element of an array.
    Each(Value<'v>),
}

impl<'v> Context<'v> {
    fn items(self) -> Vec<Value<'v>> {
        match self {
            Context::One(value) => vec![value],
            Context::Each(array) => array.items(),
        }
    }
}

impl<'v> Evaluator<'v> {
    pub(super) fn path(
        &mut self,
        node: &'v Node,
        steps: &'v [Node],
        keep_singleton: bool,
        input: &Value<'v>,
        frame: FrameId,
    ) -> Result<Value<'v>, Error> {
        let is_variable = matches!(steps[0].kind, Kind::Variable(_));
        let mut context = match input.is_array() && !is_variable {
            true => Context::Each(input.clone()),
            false => Context::One(input.clone()),
        };
        let mut result = Value::Undefined;
        for (index, step) in steps.iter().enumerate() {
            if step.step.is_tuple {
                return self.tuple_path(node, steps, index, context.items(), keep_singleton, frame);
            }
            let is_last = index + 1 == steps.len();
            result = match &context {
                _ if index == 0 && step.is_array => {
                    let whole = match &context {
                        Context::One(value) => self.wrap(value.clone())?,
                        Context::Each(array) => array.clone(),
                    };
                    self.eval(step, &whole, frame)?
                }
                // Most paths are names in objects: no sequence has to be built for them.
                Context::One(value) if is_plain(step) && !value.is_array() => {
                    let found = self.plain_step(step, value, frame)?;
                    match &found {
                        Value::Array(array) if array.is_sequence => self.step_result(vec![found], is_last)?,
                        Value::Array(array) if array.is_constructed && !is_last => self.sequence(vec![found])?,
                        _ => found,
                    }
                }
                _ => self.step(step, &context, is_last, frame)?,
            };
            match &result {
                Value::Undefined => break,
                value if value.as_list().is_some_and(|list| list.len() == 0) => break,
                _ => {}
            }
            context = match result.is_array() {
                true => Context::Each(result.clone()),
                false => Context::One(result.clone()),
            };
        }
        if keep_singleton {
            result = self.keep_singleton(result)?;
        }
        match &node.group {
            Some(pairs) => self.group(pairs, result, frame),
            None => Ok(result),
        }
    }

    fn wrap(&mut self, value: Value<'v>) -> Result<Value<'v>, Error> {
        self.sequence(vec![value])
    }

    /// Marks a path's result as an array whatever its length.
    pub(super) fn keep_singleton(&mut self, value: Value<'v>) -> Result<Value<'v>, Error> {
        let mut array = match &value {
            Value::Undefined => return Ok(value),
            Value::Array(array) if array.is_sequence => Array::clone(array),
            Value::Array(array) if array.is_constructed => Array::new(vec![value])?,
            _ if value.is_array() => return Ok(value),
            // The steps without a sequence leave a single value bare.
            _ => Array::new(vec![value])?,
        };
        array.is_sequence = true;
        array.keep_singleton = true;
        Ok(Value::from(array))
    }

    /// A step without filters on a value that is no array.
    fn plain_step(&mut self, step: &'v Node, value: &Value<'v>, frame: FrameId) -> Result<Value<'v>, Error> {
        self.enter()?;
        let found = match &step.kind {
            Kind::Name(name) => value.as_fields().map_or(Value::Undefined, |fields| fields.get(name)),
            Kind::Variable(symbol) => self.variable(*symbol, value, frame),
            _ => Value::Undefined,
        };
        self.leave();
        Ok(found)
    }

    fn step(
        &mut self,
        step: &'v Node,
        context: &Context<'v>,
        is_last: bool,
        frame: FrameId,
    ) -> Result<Value<'v>, Error> {
        if let Kind::Sort(terms) = &step.kind {
            let items = match context {
                Context::One(value) => vec![value.clone()],
                Context::Each(array) => array.items(),
            };
            let mut result = self.sort(step, terms, items, frame)?;
            for stage in &step.step.stages {
                if let Stage::Filter(predicate) = stage {
                    result = self.filter(predicate, result, frame)?;
                }
            }
            return Ok(result);
        }
        let mut results = Vec::new();
        match context {
            Context::One(value) => self.step_on(step, value, frame, &mut results)?,
            Context::Each(array) => {
                let list = array.as_list().unwrap_or(List::Owned(&[]));
                for item in list.iter() {
                    self.step_on(step, &item, frame, &mut results)?;
                }
            }
        }
        self.step_result(results, is_last)
    }

    fn step_on(
        &mut self,
        step: &'v Node,
        item: &Value<'v>,
        frame: FrameId,
        results: &mut Vec<Value<'v>>,
    ) -> Result<(), Error> {
        let mut value = self.eval(step, item, frame)?;
        for stage in &step.step.stages {
            if let Stage::Filter(predicate) = stage {
                value = self.filter(predicate, value, frame)?;
            }
        }
        if !value.is_undefined() {
            results.push(value);
        }
        Ok(())
    }

    /// Flattens a step's results; the only one of a path's last step stays as it is if it is an array by itself.
    fn step_result(&mut self, mut results: Vec<Value<'v>>, is_last: bool) -> Result<Value<'v>, Error> {
        if is_last && results.len() == 1 && results[0].is_array() && !results[0].is_sequence() {
            return Ok(results.remove(0));
        }
        let mut flat = Vec::with_capacity(results.len());
        for result in results {
            match &result {
                Value::Array(array) if array.is_constructed => flat.push(result),
                _ => match result.as_list() {
                    None => flat.push(result),
                    Some(list) => {
                        self.charge_items(flat.len().max(list.len()))?;
                        flat.extend(list.iter());
                    }
                },
            }
        }
        self.sequence(flat)
    }

    /// `value[predicate]`
    pub(super) fn filter(&mut self, predicate: &'v Node, value: Value<'v>, frame: FrameId) -> Result<Value<'v>, Error> {
        if value.is_undefined() {
            return Ok(value);
        }
        if let Value::Tuples(tuples) = &value {
            let kept = self.filter_tuples(predicate, tuples.to_vec(), frame)?;
            return Ok(Value::Tuples(kept.into()));
        }
        let single = [value.clone()];
        let list = value.as_list().unwrap_or(List::Owned(&single));
        if let Kind::Number(number) = &predicate.kind
            && predicate.predicates.is_empty()
        {
            let item = place(number.as_f64(), list.len()).and_then(|index| list.get(index));
            return match item {
                None => self.sequence(Vec::new()),
                Some(item) if item.is_array() => Ok(item),
                Some(item) => self.sequence(vec![item]),
            };
        }
        let mut kept = Vec::new();
        for (index, item) in list.iter().enumerate() {
            let times = self.keeps(predicate, &item, index, list.len(), frame)?;
            kept.extend(std::iter::repeat_n(item, times));
        }
        self.sequence(kept)
    }

    /// How often a predicate selects an element: numbers are positions, anything else is true or false.
    pub(super) fn keeps(
        &mut self,
        predicate: &'v Node,
        item: &Value<'v>,
        index: usize,
        length: usize,
        frame: FrameId,
    ) -> Result<usize, Error> {
        let result = self.eval(predicate, item, frame)?;
        if let Value::Number(number) = result {
            return Ok(usize::from(place(number.as_f64(), length) == Some(index)));
        }
        if let Some(list) = result.as_list()
            && list.iter().all(|item| matches!(item, Value::Number(_)))
        {
            self.charge(list.len() as u64 / 8)?;
            let places = list.iter().filter_map(|item| place(item.as_number()?.as_f64(), length));
            return Ok(places.filter(|place| *place == index).count());
        }
        Ok(usize::from(result.is_truthy()))
    }

    // What a step selects.

    pub(crate) fn field(&mut self, value: &Value<'v>, name: &str) -> Result<Value<'v>, Error> {
        if let Some(fields) = value.as_fields() {
            return Ok(fields.get(name));
        }
        let Some(list) = value.as_list() else { return Ok(Value::Undefined) };
        let mut found = Vec::new();
        for item in list.iter() {
            self.charge(1)?;
            collect_field(&item, name, &mut found);
        }
        self.sequence(found)
    }

    pub(super) fn wildcard(&mut self, input: &Value<'v>) -> Result<Value<'v>, Error> {
        let input = match input {
            Value::Array(array) if array.is_outer => array.items.first().cloned().unwrap_or(Value::Undefined),
            _ => input.clone(),
        };
        let values = match (input.as_fields(), input.as_list()) {
            (Some(fields), _) => fields.entries().into_iter().map(|(_, value)| value).collect(),
            (_, Some(list)) => list.iter().collect(),
            _ => Vec::new(),
        };
        let mut found = Vec::new();
        let has_array = values.iter().any(Value::is_array);
        for value in values {
            self.flatten(value, &mut found)?;
        }
        // The reference joins arrays to what it has, which yields an array that is no sequence.
        if has_array { self.array(found) } else { self.sequence(found) }
    }

    fn flatten(&mut self, value: Value<'v>, found: &mut Vec<Value<'v>>) -> Result<(), Error> {
        self.charge(1)?;
        match value.as_list() {
            None => found.push(value),
            Some(list) => {
                for item in list.iter() {
                    self.flatten(item, found)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn descendants(&mut self, input: &Value<'v>) -> Result<Value<'v>, Error> {
        if input.is_undefined() {
            return Ok(Value::Undefined);
        }
        let mut found = Vec::new();
        self.descend(input, &mut found)?;
        self.sequence(found)
    }

    fn descend(&mut self, value: &Value<'v>, found: &mut Vec<Value<'v>>) -> Result<(), Error> {
        self.charge(1)?;
        if let Some(list) = value.as_list() {
            for item in list.iter() {
                self.descend(&item, found)?;
            }
            return Ok(());
        }
        found.push(value.clone());
        if let Some(fields) = value.as_fields() {
            for (_, value) in fields.entries() {
                self.descend(&value, found)?;
            }
        }
        Ok(())
    }
}

fn is_plain(step: &Node) -> bool {
    matches!(step.kind, Kind::Name(_) | Kind::Variable(_))
        && step.step.stages.is_empty()
        && step.predicates.is_empty()
        && step.group.is_none()
        && !step.keep_array
}

/// The element that a number selects: rounded down, and from the end if negative.
fn place(number: f64, length: usize) -> Option<usize> {
    let floor = number.floor();
    let index = if floor < 0.0 { floor + length as f64 } else { floor };
    (index >= 0.0 && index < length as f64).then_some(index as usize)
}

/// A field of every object in (arrays of) a value; arrays found are flattened by one level.
fn collect_field<'v>(value: &Value<'v>, name: &str, found: &mut Vec<Value<'v>>) {
    if let Some(list) = value.as_list() {
        for item in list.iter() {
            collect_field(&item, name, found);
        }
        return;
    }
    let Some(fields) = value.as_fields() else { return };
    match fields.get(name) {
        Value::Undefined => {}
        Value::Borrowed(Json::Array(items)) => found.extend(items.iter().map(Value::borrowed)),
        Value::Array(array) => found.extend(array.items.iter().cloned()),
        other => found.push(other),
    }
}
