//! Paths that carry variables along: `@$v`, `#$i` and the contexts that `%` refers to.

use std::rc::Rc;

use super::{Evaluator, FrameId};
use crate::ast::{Kind, Node, Stage, Symbol};
use crate::error::Error;
use crate::value::Value;

/// One result on its way along a path, with the variables bound so far.
#[derive(Clone, Debug)]
pub(crate) struct Tuple<'v> {
    pub(crate) value: Value<'v>,
    pub(crate) variables: Vec<(Symbol, Value<'v>)>,
}

impl<'v> Tuple<'v> {
    fn bare(value: Value<'v>) -> Tuple<'v> {
        Tuple { value, variables: Vec::new() }
    }

    fn bind(&mut self, symbol: Symbol, value: Value<'v>) {
        match self.variables.iter_mut().find(|(other, _)| *other == symbol) {
            Some((_, old)) => *old = value,
            None => self.variables.push((symbol, value)),
        }
    }
}

impl<'v> Evaluator<'v> {
    /// The rest of a path from its first step that binds something.
    pub(super) fn tuple_path(
        &mut self,
        node: &'v Node,
        steps: &'v [Node],
        first: usize,
        items: Vec<Value<'v>>,
        keep_singleton: bool,
        frame: FrameId,
    ) -> Result<Value<'v>, Error> {
        let mut tuples: Vec<Tuple<'v>> = items.into_iter().map(Tuple::bare).collect();
        let mut is_fresh = true;
        for step in &steps[first..] {
            tuples = self.tuple_step(step, tuples, is_fresh, frame)?;
            is_fresh = false;
        }
        if let Some(pairs) = &node.group {
            return self.group_tuples(pairs, tuples, frame);
        }
        if node.step.is_tuple {
            return Ok(Value::Tuples(Rc::new(tuples)));
        }
        let values = tuples.into_iter().map(|tuple| tuple.value).collect();
        let result = self.sequence(values)?;
        if keep_singleton { self.keep_singleton(result) } else { Ok(result) }
    }

    fn tuple_step(
        &mut self,
        step: &'v Node,
        tuples: Vec<Tuple<'v>>,
        is_fresh: bool,
        frame: FrameId,
    ) -> Result<Vec<Tuple<'v>>, Error> {
        self.charge_items(tuples.len())?;
        let mut results: Vec<Tuple<'v>> = Vec::new();
        if let Kind::Sort(terms) = &step.kind {
            results = self.sort_tuples(step, terms, tuples, frame)?;
            if is_fresh && let Some(index) = step.step.index {
                for (place, tuple) in results.iter_mut().enumerate() {
                    tuple.bind(index, Value::from(place));
                }
            }
        } else {
            for tuple in tuples {
                self.tuple_step_on(step, tuple, frame, &mut results)?;
                self.charge_items(results.len() / 1024)?;
            }
        }
        for stage in &step.step.stages {
            match stage {
                Stage::Filter(predicate) => results = self.filter_tuples(predicate, results, frame)?,
                Stage::Index(symbol) => {
                    for (place, tuple) in results.iter_mut().enumerate() {
                        tuple.bind(*symbol, Value::from(place));
                    }
                }
            }
        }
        Ok(results)
    }

    fn tuple_step_on(
        &mut self,
        step: &'v Node,
        tuple: Tuple<'v>,
        frame: FrameId,
        results: &mut Vec<Tuple<'v>>,
    ) -> Result<(), Error> {
        let inner = self.open(frame, tuple.variables.clone());
        let found = self.eval(step, &tuple.value, inner)?;
        self.close(inner);
        if let Value::Tuples(found) = &found {
            for other in found.iter() {
                let mut merged = tuple.clone();
                merged.value = other.value.clone();
                for (symbol, value) in &other.variables {
                    merged.bind(*symbol, value.clone());
                }
                results.push(merged);
            }
            return Ok(());
        }
        let items = found.items();
        self.charge(items.len() as u64)?;
        for (place, item) in items.into_iter().enumerate() {
            let mut next = tuple.clone();
            match step.step.focus {
                Some(focus) => next.bind(focus, item),
                None => next.value = item,
            }
            if let Some(index) = step.step.index {
                next.bind(index, Value::from(place));
            }
            if let Some(slot) = step.step.ancestor {
                next.bind(self.parsed.slots[slot], tuple.value.clone());
            }
            results.push(next);
        }
        Ok(())
    }

    pub(super) fn filter_tuples(
        &mut self,
        predicate: &'v Node,
        tuples: Vec<Tuple<'v>>,
        frame: FrameId,
    ) -> Result<Vec<Tuple<'v>>, Error> {
        let length = tuples.len();
        let mut kept = Vec::new();
        for (index, tuple) in tuples.into_iter().enumerate() {
            let inner = self.open(frame, tuple.variables.clone());
            let times = self.keeps(predicate, &tuple.value, index, length, inner)?;
            self.close(inner);
            kept.extend(std::iter::repeat_n(tuple, times));
        }
        Ok(kept)
    }
}
