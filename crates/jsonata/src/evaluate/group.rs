//! Object constructors and group-by: `{ key: value }`.

use indexmap::IndexMap;

use super::tuple::Tuple;
use super::{Evaluator, FrameId};
use crate::ast::{Node, Pairs, Symbol};
use crate::error::{Error, quoted};
use crate::value::{Object, Text, Value};

/// What came together under one key.
struct Group<'v, T> {
    items: Vec<T>,
    pair: &'v (Node, Node),
    index: usize,
}

impl<'v> Evaluator<'v> {
    pub(super) fn group(&mut self, pairs: &'v Pairs, value: Value<'v>, frame: FrameId) -> Result<Value<'v>, Error> {
        if let Value::Tuples(tuples) = value {
            return self.group_tuples(pairs, tuples.to_vec(), frame);
        }
        let items = match &value {
            Value::Undefined => vec![Value::Undefined],
            _ => value.items(),
        };
        let items = if items.is_empty() { vec![Value::Undefined] } else { items };
        let mut groups: IndexMap<Text<'v>, Group<'v, Value<'v>>> = IndexMap::new();
        for item in items {
            for (index, pair) in pairs.iter().enumerate() {
                let Some(key) = self.key(pair, &item, frame)? else { continue };
                add(&mut groups, key, pair, index, item.clone())?;
            }
        }
        let mut object = Object::default();
        for (key, group) in groups {
            let context = self.gathered(group.items)?;
            let value = self.eval(&group.pair.1, &context, frame)?;
            object.insert(key, value)?;
        }
        Ok(Value::from(object))
    }

    pub(super) fn group_tuples(
        &mut self,
        pairs: &'v Pairs,
        tuples: Vec<Tuple<'v>>,
        frame: FrameId,
    ) -> Result<Value<'v>, Error> {
        let mut groups: IndexMap<Text<'v>, Group<'v, Tuple<'v>>> = IndexMap::new();
        for tuple in tuples {
            let inner = self.open(frame, tuple.variables.clone());
            for (index, pair) in pairs.iter().enumerate() {
                let Some(key) = self.key(pair, &tuple.value, inner)? else { continue };
                add(&mut groups, key, pair, index, tuple.clone())?;
            }
            self.close(inner);
        }
        let mut object = Object::default();
        for (key, group) in groups {
            let pair = group.pair;
            let merged = self.merged(group.items)?;
            let inner = self.open(frame, merged.variables);
            let value = self.eval(&pair.1, &merged.value, inner)?;
            self.close(inner);
            object.insert(key, value)?;
        }
        Ok(Value::from(object))
    }

    fn key(&mut self, pair: &'v (Node, Node), item: &Value<'v>, frame: FrameId) -> Result<Option<Text<'v>>, Error> {
        match self.eval(&pair.0, item, frame)? {
            Value::Undefined => Ok(None),
            Value::String(key) => Ok(Some(key)),
            other => Err(Error::new("T1003").at(pair.0.position).value(other.shown())),
        }
    }

    /// One value by itself, several as an array.
    fn gathered(&mut self, mut values: Vec<Value<'v>>) -> Result<Value<'v>, Error> {
        if values.len() == 1 {
            return Ok(values.remove(0));
        }
        let mut flat = Vec::with_capacity(values.len());
        for value in values {
            match value.is_array() {
                true => flat.extend(value.items()),
                false => flat.push(value),
            }
        }
        self.array(flat)
    }

    fn merged(&mut self, mut tuples: Vec<Tuple<'v>>) -> Result<Tuple<'v>, Error> {
        if tuples.len() == 1 {
            return Ok(tuples.remove(0));
        }
        let symbols: Vec<Symbol> = tuples[0].variables.iter().map(|(symbol, _)| *symbol).collect();
        let mut variables = Vec::with_capacity(symbols.len());
        for symbol in symbols {
            let of_symbol = |tuple: &Tuple<'v>| {
                tuple.variables.iter().find(|(other, _)| *other == symbol).map(|(_, value)| value.clone())
            };
            variables.push((symbol, self.gathered(tuples.iter().filter_map(of_symbol).collect())?));
        }
        let value = self.gathered(tuples.into_iter().map(|tuple| tuple.value).collect())?;
        Ok(Tuple { value, variables })
    }
}

fn add<'v, T>(
    groups: &mut IndexMap<Text<'v>, Group<'v, T>>,
    key: Text<'v>,
    pair: &'v (Node, Node),
    index: usize,
    item: T,
) -> Result<(), Error> {
    match groups.get_mut(&key) {
        None => {
            groups.insert(key, Group { items: vec![item], pair, index });
        }
        Some(group) if group.index != index => {
            return Err(Error::new("D1009").at(pair.0.position).value(quoted(&key)));
        }
        Some(group) => group.items.push(item),
    }
    Ok(())
}
