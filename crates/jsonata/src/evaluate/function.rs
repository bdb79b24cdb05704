//! Functions as values: what they are and how they are called.

use std::rc::Rc;

use super::{Evaluator, FrameId};
use crate::ast::{Kind, Lambda, Node, Transform};
use crate::error::Error;
use crate::functions::{self, Builtin};
use crate::regex::Regex;
use crate::value::{Object, Text, Value, deeper};

#[derive(Debug)]
pub(crate) enum Function<'v> {
    Builtin(&'static Builtin),
    Lambda {
        lambda: &'v Lambda,
        frame: FrameId,
        /// The context where it was made.
        input: Value<'v>,
        depth: u32,
    },
    /// With arguments filled in; None for the `?`.
    Partial {
        function: Rc<Function<'v>>,
        arguments: Vec<Option<Value<'v>>>,
        depth: u32,
    },
    /// `f ~> g`
    Composed {
        first: Rc<Function<'v>>,
        second: Rc<Function<'v>>,
        depth: u32,
    },
    Regex(&'v Regex),
    /// `next` of a match: the matches from `from` (bytes) on.
    NextMatch {
        regex: &'v Regex,
        text: Text<'v>,
        from: usize,
    },
    Transform {
        transform: &'v Transform,
        frame: FrameId,
        position: usize,
    },
}

/// Where an evaluation in tail position ends: with a value, or with a call that the caller is to make.
enum Tail<'v> {
    Value(Value<'v>),
    Call { function: Rc<Function<'v>>, arguments: Vec<Value<'v>>, input: Value<'v>, node: &'v Node },
}

impl<'v> Function<'v> {
    pub(crate) fn lambda(lambda: &'v Lambda, frame: FrameId, input: &Value<'v>) -> Result<Function<'v>, Error> {
        let depth = deeper(input.depth())?;
        Ok(Function::Lambda { lambda, frame, input: input.clone(), depth })
    }

    /// How many arguments a function that calls back gives it.
    pub(crate) fn arity(&self) -> usize {
        match self {
            Function::Builtin(builtin) => builtin.arity,
            Function::Lambda { lambda, .. } => lambda.parameters.len(),
            Function::Partial { arguments, .. } => arguments.iter().filter(|argument| argument.is_none()).count(),
            Function::Composed { .. } | Function::Regex(_) | Function::Transform { .. } => 1,
            Function::NextMatch { .. } => 0,
        }
    }

    pub(crate) fn depth(&self) -> u32 {
        match self {
            Function::Lambda { depth, .. } | Function::Partial { depth, .. } | Function::Composed { depth, .. } => {
                *depth
            }
            _ => 0,
        }
    }
}

/// The name a message gives to what is called.
fn callee<'v>(evaluator: &Evaluator<'v>, procedure: &'v Node) -> Option<&'v str> {
    match &procedure.kind {
        Kind::Path { steps, .. } => match &steps[0].kind {
            Kind::Name(name) => Some(name),
            Kind::Variable(symbol) => Some(&evaluator.parsed.names[symbol.0 as usize]),
            _ => None,
        },
        Kind::Variable(symbol) => Some(&evaluator.parsed.names[symbol.0 as usize]),
        _ => None,
    }
}

impl<'v> Evaluator<'v> {
    /// What is called, or the error that says it cannot be.
    fn procedure(
        &mut self,
        node: &'v Node,
        procedure: &'v Node,
        codes: [&'static str; 2],
        input: &Value<'v>,
        frame: FrameId,
    ) -> Result<Rc<Function<'v>>, Error> {
        let value = self.eval(procedure, input, frame)?;
        if let Value::Function(function) = value {
            return Ok(function);
        }
        let [did_you_mean, no_function] = codes;
        let name = callee(self, procedure);
        let is_name = matches!(&procedure.kind, Kind::Path { steps, .. } if matches!(steps[0].kind, Kind::Name(_)));
        let is_known = is_name && value.is_undefined() && name.is_some_and(|name| self.is_known(name, frame));
        let error = Error::new(if is_known { did_you_mean } else { no_function }).at(node.position);
        Err(match name {
            Some(name) => error.token(name),
            None => error,
        })
    }

    fn is_known(&self, name: &str, frame: FrameId) -> bool {
        let symbol = self.parsed.names.iter().position(|other| &**other == name);
        let is_bound = symbol.is_some_and(|index| !self.lookup(frame, crate::ast::Symbol(index as u32)).is_undefined());
        is_bound || self.bindings.get(name).is_some() || functions::find(name).is_some()
    }

    pub(super) fn call(
        &mut self,
        node: &'v Node,
        procedure: &'v Node,
        arguments: &'v [Node],
        first: Option<Value<'v>>,
        input: &Value<'v>,
        frame: FrameId,
    ) -> Result<Value<'v>, Error> {
        let function = self.procedure(node, procedure, ["T1005", "T1006"], input, frame)?;
        let arguments = self.arguments(arguments, first, input, frame)?;
        self.apply(&function, arguments, input).map_err(|error| self.named(error, node))
    }

    fn arguments(
        &mut self,
        arguments: &'v [Node],
        first: Option<Value<'v>>,
        input: &Value<'v>,
        frame: FrameId,
    ) -> Result<Vec<Value<'v>>, Error> {
        let mut values: Vec<Value<'v>> = first.into_iter().collect();
        for argument in arguments {
            values.push(self.eval(argument, input, frame)?);
        }
        Ok(values)
    }

    /// Puts a call's position and name into an error that has none yet.
    fn named(&self, error: Error, node: &'v Node) -> Error {
        let procedure = match &node.kind {
            Kind::Call { procedure, .. } => procedure,
            _ => return error.at(node.position),
        };
        let error = error.at(node.position);
        match callee(self, procedure) {
            Some(name) => error.token(name),
            None => error,
        }
    }

    pub(super) fn partial(
        &mut self,
        node: &'v Node,
        procedure: &'v Node,
        arguments: &'v [Option<Node>],
        input: &Value<'v>,
        frame: FrameId,
    ) -> Result<Value<'v>, Error> {
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments {
            values.push(match argument {
                Some(argument) => Some(self.eval(argument, input, frame)?),
                None => None,
            });
        }
        let function = self.procedure(node, procedure, ["T1007", "T1008"], input, frame)?;
        let below = values.iter().flatten().map(Value::depth).max().unwrap_or(0).max(function.depth());
        Ok(Value::from(Function::Partial { function, arguments: values, depth: deeper(below)? }))
    }

    /// `left ~> right`
    pub(super) fn apply_operator(
        &mut self,
        node: &'v Node,
        left: &'v Node,
        right: &'v Node,
        input: &Value<'v>,
        frame: FrameId,
    ) -> Result<Value<'v>, Error> {
        let value = self.eval(left, input, frame)?;
        if let Kind::Call { procedure, arguments } = &right.kind
            && right.predicates.is_empty()
        {
            return self.call(right, procedure, arguments, Some(value), input, frame);
        }
        let function = self.eval(right, input, frame)?;
        let Value::Function(second) = function else {
            return Err(Error::new("T2006").at(node.position).value(function.shown()));
        };
        if let Value::Function(first) = value {
            let depth = deeper(first.depth().max(second.depth()))?;
            return Ok(Value::from(Function::Composed { first, second, depth }));
        }
        self.apply(&second, vec![value], input).map_err(|error| error.at(node.position))
    }

    /// Calls a function; calls in tail position do not nest.
    pub(crate) fn apply(
        &mut self,
        function: &Rc<Function<'v>>,
        arguments: Vec<Value<'v>>,
        input: &Value<'v>,
    ) -> Result<Value<'v>, Error> {
        let (mut function, mut arguments, mut input) = (Rc::clone(function), arguments, input.clone());
        let mut caller: Option<&'v Node> = None;
        loop {
            let result = self.apply_once(&function, arguments, &input);
            match result.map_err(|error| caller.map_or(error.clone(), |node| self.named(error, node)))? {
                Tail::Value(value) => return Ok(value),
                Tail::Call { function: next, arguments: given, input: context, node } => {
                    self.charge(1)?;
                    (function, arguments, input, caller) = (next, given, context, Some(node));
                }
            }
        }
    }

    fn apply_once(
        &mut self,
        function: &Rc<Function<'v>>,
        arguments: Vec<Value<'v>>,
        input: &Value<'v>,
    ) -> Result<Tail<'v>, Error> {
        match &**function {
            // A built-in function may call back, in which case nothing else counts the levels.
            Function::Builtin(builtin) => {
                self.enter()?;
                let value = self.apply_builtin(builtin, arguments, input)?;
                self.leave();
                Ok(Tail::Value(value))
            }
            Function::Lambda { lambda, frame, input: context, .. } => {
                let arguments = match &lambda.signature {
                    Some(signature) => signature.apply(arguments, input)?,
                    None => arguments,
                };
                let mut arguments = arguments.into_iter();
                let variables =
                    lambda.parameters.iter().map(|symbol| (*symbol, arguments.next().unwrap_or(Value::Undefined)));
                let variables = variables.collect();
                let inner = self.open(*frame, variables);
                let tail = self.eval_tail(&lambda.body, context, inner)?;
                self.close(inner);
                Ok(tail)
            }
            Function::Partial { function, arguments: given, .. } => {
                let mut rest = arguments.into_iter();
                let fill = |value: &Option<Value<'v>>| {
                    value.clone().unwrap_or_else(|| rest.next().unwrap_or(Value::Undefined))
                };
                let arguments = given.iter().map(fill).collect();
                self.enter()?;
                let value = self.apply(function, arguments, input)?;
                self.leave();
                Ok(Tail::Value(value))
            }
            Function::Composed { first, second, .. } => {
                self.enter()?;
                let value = self.apply(first, arguments, input)?;
                let value = self.apply(second, vec![value], input)?;
                self.leave();
                Ok(Tail::Value(value))
            }
            Function::Regex(regex) => {
                let Some(Value::String(text)) = arguments.into_iter().next() else {
                    return Ok(Tail::Value(Value::Undefined));
                };
                self.next_match(regex, text, 0).map(Tail::Value)
            }
            Function::NextMatch { regex, text, from } => self.next_match(regex, text.clone(), *from).map(Tail::Value),
            Function::Transform { transform, frame, position } => {
                let object = arguments.into_iter().next().unwrap_or(Value::Undefined);
                self.enter()?;
                let value = self.transform(transform, object, *frame, *position)?;
                self.leave();
                Ok(Tail::Value(value))
            }
        }
    }

    fn apply_builtin(
        &mut self,
        builtin: &'static Builtin,
        arguments: Vec<Value<'v>>,
        input: &Value<'v>,
    ) -> Result<Value<'v>, Error> {
        let context = match input {
            Value::Array(array) if array.is_outer => array.items.first().cloned().unwrap_or(Value::Undefined),
            _ => input.clone(),
        };
        let arguments = match &builtin.signature {
            Some(signature) => signature.apply(arguments, &context)?,
            None => arguments,
        };
        (builtin.function)(self, arguments)
    }

    /// Evaluates what a function's result is, but leaves its last call to the caller.
    fn eval_tail(&mut self, node: &'v Node, input: &Value<'v>, frame: FrameId) -> Result<Tail<'v>, Error> {
        let is_bare = node.predicates.is_empty() && node.group.is_none() && !node.keep_array;
        self.enter()?;
        let tail = match &node.kind {
            Kind::Condition { condition, then, otherwise } if is_bare => {
                let branch = match self.eval(condition, input, frame)?.is_truthy() {
                    true => Some(then),
                    false => otherwise.as_ref(),
                };
                branch.map_or(Ok(Tail::Value(Value::Undefined)), |branch| self.eval_tail(branch, input, frame))?
            }
            Kind::Block(expressions) if is_bare && !expressions.is_empty() => {
                let inner = self.open(frame, Vec::new());
                let last = expressions.len() - 1;
                for expression in &expressions[..last] {
                    self.eval(expression, input, inner)?;
                }
                let tail = self.eval_tail(&expressions[last], input, inner)?;
                self.close(inner);
                tail
            }
            Kind::Call { procedure, arguments } if is_bare => {
                let function = self.procedure(node, procedure, ["T1005", "T1006"], input, frame)?;
                let arguments = self.arguments(arguments, None, input, frame)?;
                Tail::Call { function, arguments, input: input.clone(), node }
            }
            _ => {
                self.leave();
                return self.eval(node, input, frame).map(Tail::Value);
            }
        };
        self.leave();
        Ok(match tail {
            Tail::Value(value) => Tail::Value(super::settle(value, false)),
            call => call,
        })
    }

    /// The object that describes the next match, from `from` (bytes) on.
    pub(crate) fn next_match(&mut self, regex: &'v Regex, text: Text<'v>, from: usize) -> Result<Value<'v>, Error> {
        self.charge(1 + text.len() as u64 / 64)?;
        let Some(found) = regex.find(&text, from)? else { return Ok(Value::Undefined) };
        if found.start == found.end {
            return Err(Error::new("D1004"));
        }
        let units = |bytes: usize| text[..bytes].encode_utf16().count();
        let groups = found.groups.into_iter().map(|group| group.map_or(Value::Undefined, Value::from)).collect();
        let mut object = Object::default();
        object.insert(Text::from("match".to_owned()), Value::from(&text[found.start..found.end]))?;
        object.insert(Text::from("start".to_owned()), Value::from(units(found.start)))?;
        object.insert(Text::from("end".to_owned()), Value::from(units(found.end)))?;
        object.insert(Text::from("groups".to_owned()), Value::array(groups)?)?;
        let next = Function::NextMatch { regex, text: text.clone(), from: found.end };
        object.insert(Text::from("next".to_owned()), Value::from(next))?;
        Ok(Value::from(object))
    }
}
