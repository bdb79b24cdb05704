//! The elements of a JSON array, one at a time, also of one deep inside a document.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{Content, Emit, Failed, Stop, unreadable};

/// AWS's words for a document, or a place in it, that is no array.
const NOT_ITERABLE: &str = "Attempting to map over non-iterable node.";

/// `pointer` is a JSON pointer to the array.
pub(super) fn read(content: Content<'_>, pointer: Option<&str>, emit: &mut Emit<'_>) -> Result<(), Stop> {
    let steps = steps(pointer.unwrap_or_default())?;
    let stop = RefCell::new(None);
    let found = RefCell::new(false);
    let mut deserializer = serde_json::Deserializer::from_reader(content);
    let walk = Walk { steps: &steps, emit: &RefCell::new(emit), stop: &stop, found: &found };
    let walked = walk.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    match (stop.into_inner(), walked) {
        (Some(stop), _) => Err(stop),
        (None, Err(error)) if error.is_io() => {
            let error = std::io::Error::from(error);
            Err(unreadable(&error, || format!("The JSON file could not be read: {error}")))
        }
        (None, Err(error)) => Err(Failed::new(format!("Unable to parse the JSON file: {error}")).into()),
        (None, Ok(())) if !found.into_inner() => {
            let pointer = pointer.unwrap_or_default();
            Err(Failed::new(format!("The ItemsPointer '{pointer}' does not lead to anything in the JSON file.")).into())
        }
        (None, Ok(())) => Ok(()),
    }
}

fn steps(pointer: &str) -> Result<Vec<String>, Failed> {
    // AWS's default, the document itself, is written both ways.
    if pointer.is_empty() || pointer == "/" {
        return Ok(Vec::new());
    }
    let Some(rest) = pointer.strip_prefix('/') else {
        return Err(Failed::new(format!("The ItemsPointer '{pointer}' is not a JSON pointer: it must begin with a /")));
    };
    Ok(rest.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect())
}

/// Follows the steps through the document and hands on the elements of what they lead to.
struct Walk<'w, 'e, 'f> {
    steps: &'w [String],
    emit: &'w RefCell<&'e mut Emit<'f>>,
    stop: &'w RefCell<Option<Stop>>,
    found: &'w RefCell<bool>,
}

impl Walk<'_, '_, '_> {
    fn further(&self) -> Self {
        Self { steps: &self.steps[1..], ..*self }
    }

    fn end<E: serde::de::Error>(&self, stop: Stop) -> E {
        *self.stop.borrow_mut() = Some(stop);
        E::custom("reading ended")
    }

    fn no_array<T, E: serde::de::Error>(&self) -> Result<T, E> {
        Err(self.end(Failed::new(NOT_ITERABLE).into()))
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        let Some(step) = self.steps.first() else {
            *self.found.borrow_mut() = true;
            while let Some(item) = sequence.next_element::<Value>()? {
                let emitted = (self.emit.borrow_mut())(item);
                emitted.map_err(|stop| self.end(stop))?;
            }
            return Ok(());
        };
        let wanted: Option<usize> = step.parse().ok();
        let mut index = 0;
        loop {
            let there = if Some(index) == wanted {
                sequence.next_element_seed(self.further())?
            } else {
                sequence.next_element::<IgnoredAny>()?.map(drop)
            };
            if there.is_none() {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some(step) = self.steps.first() else { return self.no_array() };
        while let Some(key) = map.next_key::<String>()? {
            if key == *step {
                map.next_value_seed(self.further())?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.no_array()
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.no_array()
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.no_array()
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.no_array()
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        self.no_array()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.no_array()
    }
}
