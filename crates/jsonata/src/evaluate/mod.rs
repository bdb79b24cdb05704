//! Evaluation: a walk over the tree with a stack of frames, within bounds.

pub(crate) mod function;
mod group;
mod operators;
mod path;
mod sort;
mod transform;
pub(crate) mod tuple;

use crate::ast::{Kind, Node, Symbol};
use crate::bindings::Bindings;
use crate::error::Error;
use crate::evaluate::function::Function;
use crate::functions;
use crate::host::Host;
use crate::limits::Limits;
use crate::parser::Parsed;
use crate::value::{Array, Value};

pub(crate) use sort::compare_texts;

/// Where variables are looked up: an index into [`Evaluator::frames`].
pub(crate) type FrameId = u32;

const ROOT: FrameId = 0;

pub(crate) struct Evaluator<'v> {
    parsed: &'v Parsed,
    bindings: &'v Bindings,
    pub(crate) host: &'v mut (dyn Host + 'v),
    limits: Limits,
    frames: Vec<Frame<'v>>,
    /// Frames that nobody can see any more.
    free: Vec<FrameId>,
    depth: u32,
    steps_left: u64,
    /// The time of the first question, so that one evaluation has one time.
    now_ms: Option<i64>,
    /// `$$`
    input: Value<'v>,
}

struct Frame<'v> {
    parent: Option<FrameId>,
    variables: Vec<(Symbol, Value<'v>)>,
    /// A function was made here, or below: the frame outlives the block that opened it.
    is_captured: bool,
}

impl<'v> Evaluator<'v> {
    pub(crate) fn new(
        parsed: &'v Parsed,
        bindings: &'v Bindings,
        host: &'v mut (dyn Host + 'v),
        limits: Limits,
    ) -> Evaluator<'v> {
        let root = Frame { parent: None, variables: Vec::new(), is_captured: true };
        Evaluator {
            parsed,
            bindings,
            host,
            limits,
            frames: vec![root],
            free: Vec::new(),
            depth: 0,
            steps_left: limits.steps,
            now_ms: None,
            input: Value::Undefined,
        }
    }

    pub(crate) fn run(&mut self, input: Value<'v>) -> Result<Value<'v>, Error> {
        // An input that is an array is one value, not a sequence.
        self.input = match input.is_array() {
            false => input,
            true => {
                let mut outer = Array::new(vec![input])?;
                outer.is_sequence = true;
                outer.is_outer = true;
                Value::from(outer)
            }
        };
        let parsed = self.parsed;
        let input = self.input.clone();
        self.eval(&parsed.root, &input, ROOT)
    }

    pub(crate) fn steps_left(&mut self) -> &mut u64 {
        &mut self.steps_left
    }

    /// Pays for work.
    pub(crate) fn charge(&mut self, steps: u64) -> Result<(), Error> {
        self.steps_left = self.steps_left.checked_sub(steps).ok_or_else(Error::too_many_steps)?;
        Ok(())
    }

    /// Pays for an array of this many elements, which may not be too large.
    pub(crate) fn charge_items(&mut self, count: usize) -> Result<(), Error> {
        if count.saturating_mul(8) > self.limits.value_bytes {
            return Err(Error::too_much_memory());
        }
        self.charge(count as u64 / 4)
    }

    /// Pays for a text of this many bytes, which may not be too long.
    pub(crate) fn charge_text(&mut self, bytes: usize) -> Result<(), Error> {
        if bytes > self.limits.value_bytes {
            return Err(Error::too_much_memory());
        }
        self.charge(bytes as u64 / 64)
    }

    pub(crate) fn text(&mut self, text: String) -> Result<Value<'v>, Error> {
        self.charge_text(text.len())?;
        Ok(Value::from(text))
    }

    pub(crate) fn array(&mut self, items: Vec<Value<'v>>) -> Result<Value<'v>, Error> {
        self.charge_items(items.len())?;
        Value::array(items)
    }

    pub(crate) fn sequence(&mut self, items: Vec<Value<'v>>) -> Result<Value<'v>, Error> {
        self.charge_items(items.len())?;
        Value::sequence(items)
    }

    pub(crate) fn now_ms(&mut self) -> i64 {
        let host = &mut self.host;
        *self.now_ms.get_or_insert_with(|| host.now_ms())
    }

    /// One level deeper. Errors end the evaluation, so only success has to come back up.
    fn enter(&mut self) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > self.limits.depth {
            return Err(Error::stack_overflow());
        }
        self.charge(1)
    }

    fn leave(&mut self) {
        self.depth -= 1;
    }

    // Variables.

    fn open(&mut self, parent: FrameId, variables: Vec<(Symbol, Value<'v>)>) -> FrameId {
        let frame = Frame { parent: Some(parent), variables, is_captured: false };
        match self.free.pop() {
            Some(id) => {
                self.frames[id as usize] = frame;
                id
            }
            None => {
                self.frames.push(frame);
                (self.frames.len() - 1) as FrameId
            }
        }
    }

    fn close(&mut self, id: FrameId) {
        let frame = &mut self.frames[id as usize];
        if !frame.is_captured {
            frame.variables = Vec::new();
            self.free.push(id);
        }
    }

    /// Keeps a frame, and those around it, for a function made in it.
    fn capture(&mut self, id: FrameId) {
        let mut next = Some(id);
        while let Some(id) = next {
            let frame = &mut self.frames[id as usize];
            if frame.is_captured {
                break;
            }
            frame.is_captured = true;
            next = frame.parent;
        }
    }

    fn bind(&mut self, id: FrameId, symbol: Symbol, value: Value<'v>) {
        let variables = &mut self.frames[id as usize].variables;
        match variables.iter_mut().find(|(other, _)| *other == symbol) {
            Some((_, old)) => *old = value,
            None => variables.push((symbol, value)),
        }
    }

    fn lookup(&self, id: FrameId, symbol: Symbol) -> Value<'v> {
        let mut next = Some(id);
        while let Some(id) = next {
            let frame = &self.frames[id as usize];
            if let Some((_, value)) = frame.variables.iter().find(|(other, _)| *other == symbol) {
                return value.clone();
            }
            next = frame.parent;
        }
        if symbol == Symbol::ROOT {
            return self.input.clone();
        }
        let name = &*self.parsed.names[symbol.0 as usize];
        if let Some(value) = self.bindings.get(name) {
            return value;
        }
        functions::find(name).map_or(Value::Undefined, |builtin| Value::from(Function::Builtin(builtin)))
    }

    fn variable(&self, symbol: Symbol, input: &Value<'v>, frame: FrameId) -> Value<'v> {
        if symbol != Symbol::CONTEXT {
            return self.lookup(frame, symbol);
        }
        match input {
            Value::Array(array) if array.is_outer => array.items.first().cloned().unwrap_or(Value::Undefined),
            _ => input.clone(),
        }
    }

    // The walk.

    pub(crate) fn eval(&mut self, node: &'v Node, input: &Value<'v>, frame: FrameId) -> Result<Value<'v>, Error> {
        self.enter()?;
        let value = self.eval_kind(node, input, frame)?;
        let value = self.finish(node, value, input, frame)?;
        self.leave();
        Ok(value)
    }

    /// Filters and groups what a node yielded, and makes of a sequence what it stands for.
    fn finish(
        &mut self,
        node: &'v Node,
        mut value: Value<'v>,
        _: &Value<'v>,
        frame: FrameId,
    ) -> Result<Value<'v>, Error> {
        for predicate in &node.predicates {
            value = self.filter(predicate, value, frame)?;
        }
        if let Some(pairs) = &node.group
            && !matches!(node.kind, Kind::Path { .. })
        {
            value = self.group(pairs, value, frame)?;
        }
        Ok(settle(value, node.keep_array))
    }

    fn eval_kind(&mut self, node: &'v Node, input: &Value<'v>, frame: FrameId) -> Result<Value<'v>, Error> {
        match &node.kind {
            Kind::Null => Ok(Value::Null),
            Kind::Bool(bool) => Ok(Value::Bool(*bool)),
            Kind::Number(number) => Ok(Value::Number(*number)),
            Kind::String(text) => Ok(Value::String(crate::value::Text::Borrowed(text))),
            Kind::Regex(regex) => Ok(Value::from(Function::Regex(regex))),
            Kind::Name(name) => self.field(input, name),
            Kind::Variable(symbol) => Ok(self.variable(*symbol, input, frame)),
            Kind::Wildcard => self.wildcard(input),
            Kind::Descendants => self.descendants(input),
            Kind::Parent(slot) => Ok(self.lookup(frame, self.parsed.slots[*slot])),
            Kind::Path { steps, keep_singleton } => self.path(node, steps, *keep_singleton, input, frame),
            Kind::Negate(operand) => self.negate(node, operand, input, frame),
            Kind::Array(items) => self.array_constructor(node, items, input, frame),
            Kind::Object(pairs) => self.group(pairs, input.clone(), frame),
            Kind::Binary(operator, left, right) => self.binary(node, *operator, left, right, input, frame),
            Kind::Apply(left, right) => self.apply_operator(node, left, right, input, frame),
            Kind::Bind(symbol, right) => {
                let value = self.eval(right, input, frame)?;
                self.bind(frame, *symbol, value.clone());
                Ok(value)
            }
            Kind::Condition { condition, then, otherwise } => {
                if self.eval(condition, input, frame)?.is_truthy() {
                    return self.eval(then, input, frame);
                }
                otherwise.as_ref().map_or(Ok(Value::Undefined), |otherwise| self.eval(otherwise, input, frame))
            }
            Kind::Block(expressions) => self.block(expressions, input, frame),
            Kind::Call { procedure, arguments } => self.call(node, procedure, arguments, None, input, frame),
            Kind::Partial { procedure, arguments } => self.partial(node, procedure, arguments, input, frame),
            Kind::Lambda(lambda) => {
                self.capture(frame);
                Ok(Value::from(Function::lambda(lambda, frame, input)?))
            }
            Kind::Sort(_) => Ok(Value::Undefined),
            Kind::Transform(transform) => {
                self.capture(frame);
                Ok(Value::from(Function::Transform { transform, frame, position: node.position }))
            }
        }
    }

    fn block(&mut self, expressions: &'v [Node], input: &Value<'v>, frame: FrameId) -> Result<Value<'v>, Error> {
        let inner = self.open(frame, Vec::new());
        let mut value = Value::Undefined;
        for expression in expressions {
            value = self.eval(expression, input, inner)?;
        }
        self.close(inner);
        Ok(value)
    }

    fn array_constructor(
        &mut self,
        node: &'v Node,
        items: &'v [Node],
        input: &Value<'v>,
        frame: FrameId,
    ) -> Result<Value<'v>, Error> {
        let mut array = Vec::new();
        for item in items {
            let value = self.eval(item, input, frame)?;
            if matches!(item.kind, Kind::Array(_)) || !(value.is_array() || matches!(value, Value::Tuples(_))) {
                if !value.is_undefined() {
                    array.push(value);
                }
            } else {
                array.extend(value.items());
            }
            self.charge_items(array.len() / items.len().max(1))?;
        }
        self.charge_items(array.len())?;
        let mut array = Array::new(array)?;
        array.is_constructed = node.is_array;
        Ok(Value::from(array))
    }
}

/// A sequence of one is its element, an empty one is nothing.
fn settle(value: Value<'_>, keep_array: bool) -> Value<'_> {
    let Value::Array(array) = &value else { return value };
    if !array.is_sequence {
        return value;
    }
    match array.items.as_slice() {
        [] => Value::Undefined,
        [only] if !array.keep_singleton && !keep_array => only.clone(),
        _ if keep_array && !array.keep_singleton => {
            let mut array = Array::clone(array);
            array.keep_singleton = true;
            Value::from(array)
        }
        _ => value,
    }
}
