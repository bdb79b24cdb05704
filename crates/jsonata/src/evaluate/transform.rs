//! `| pattern | update, delete |`: a copy of a value with some of its objects changed.

use std::collections::HashMap;
use std::rc::Rc;

use super::{Evaluator, FrameId};
use crate::ast::Transform;
use crate::error::Error;
use crate::value::{Array, Object, Text, Value};

/// What happens to one object of the copy.
#[derive(Default)]
struct Change<'v> {
    set: Vec<(Text<'v>, Value<'v>)>,
    delete: Vec<Text<'v>>,
}

impl<'v> Evaluator<'v> {
    pub(super) fn transform(
        &mut self,
        transform: &'v Transform,
        value: Value<'v>,
        frame: FrameId,
        position: usize,
    ) -> Result<Value<'v>, Error> {
        if value.is_undefined() {
            return Ok(value);
        }
        if !value.is_array() && value.as_fields().is_none() {
            return Err(Error::new("T0410").token("clone").at(position).detail("index", "1"));
        }
        let copy = self.unshared(&value)?;
        let matches = self.eval(&transform.pattern, &copy, frame)?.items();
        let mut changes: HashMap<*const Object<'v>, Change<'v>> = HashMap::new();
        for found in matches {
            let mut change = Change::default();
            let update = self.eval(&transform.update, &found, frame)?;
            match update.as_fields() {
                Some(fields) => change.set = fields.entries(),
                None if update.is_undefined() => {}
                None => return Err(Error::new("T2011").at(transform.update.position).value(update.shown())),
            }
            if let Some(delete) = &transform.delete {
                let names = self.eval(delete, &found, frame)?;
                for name in names.items() {
                    match name {
                        Value::String(name) => change.delete.push(name),
                        _ => return Err(Error::new("T2012").at(delete.position).value(names.shown())),
                    }
                }
            }
            if let Value::Object(object) = &found {
                let entry = changes.entry(Rc::as_ptr(object)).or_default();
                entry.set.extend(change.set);
                entry.delete.extend(change.delete);
            }
        }
        self.changed(&copy, &changes)
    }

    /// A copy in which every object is its own, so that its address tells it from all others.
    fn unshared(&mut self, value: &Value<'v>) -> Result<Value<'v>, Error> {
        self.charge(1)?;
        if let Some(list) = value.as_list() {
            let items: Vec<_> = list.iter().map(|item| self.unshared(&item)).collect::<Result<_, _>>()?;
            return self.array(items);
        }
        let Some(fields) = value.as_fields() else { return Ok(value.clone()) };
        let mut object = Object::default();
        for (key, value) in fields.entries() {
            object.insert(key, self.unshared(&value)?)?;
        }
        Ok(Value::from(object))
    }

    fn changed(
        &mut self,
        value: &Value<'v>,
        changes: &HashMap<*const Object<'v>, Change<'v>>,
    ) -> Result<Value<'v>, Error> {
        match value {
            Value::Array(array) => {
                let items: Vec<_> =
                    array.items.iter().map(|item| self.changed(item, changes)).collect::<Result<_, _>>()?;
                Ok(Value::from(Array::new(items)?))
            }
            Value::Object(object) => {
                let mut copy = Object::default();
                for (key, value) in &object.fields {
                    copy.insert(key.clone(), self.changed(value, changes)?)?;
                }
                if let Some(change) = changes.get(&Rc::as_ptr(object)) {
                    for (key, value) in &change.set {
                        copy.insert(key.clone(), value.clone())?;
                    }
                    for key in &change.delete {
                        copy.fields.shift_remove(key);
                    }
                }
                Ok(Value::from(copy))
            }
            _ => Ok(value.clone()),
        }
    }
}
