//! An expression, ready to be evaluated any number of times.

use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::ast::{Kind, Node, Symbol};
use crate::bindings::Bindings;
use crate::error::Error;
use crate::evaluate::Evaluator;
use crate::functions;
use crate::host::Host;
use crate::limits::Limits;
use crate::parser::{self, Parsed};
use crate::value::Value;

/// A parsed expression. Cheap to clone; equal to another if their sources are.
#[derive(Clone)]
pub struct Expression(Arc<Inner>);

struct Inner {
    source: String,
    parsed: Parsed,
}

/// What an evaluation yields.
#[derive(Clone, Debug, PartialEq)]
pub enum Evaluated {
    /// Nothing: JSONata's "undefined".
    Nothing,
    /// A function, which JSON has no value for.
    Function,
    /// A value. Functions within it are empty texts; what JSON has no number for is a text such as `"Infinity"`.
    Value(Json),
}

/// A `$name` that nothing in the expression binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Without the `$`.
    pub name: String,
    /// Just behind the name, in characters from the start.
    pub position: usize,
    /// The names of the fields that follow it directly: `["input", "a"]` for `$states.input.a[0].b`.
    pub fields: Vec<String>,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// The first error, with its position.
    pub fn parse(source: &str) -> Result<Expression, Error> {
        let parsed = parser::parse(source)?;
        Ok(Expression(Arc::new(Inner { source: source.to_owned(), parsed })))
    }

    /// The text it was read from.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Every use of a variable that is neither bound in the expression, nor a built-in function, nor `$` or `$$`.
    pub fn variables(&self) -> Vec<Reference> {
        let mut free = Free { parsed: &self.0.parsed, bound: Vec::new(), found: Vec::new() };
        free.visit(&self.0.parsed.root);
        free.found
    }

    /// Whether it refers to its input, by `$$` anywhere or by `$` or a bare field where the context is the input.
    pub fn uses_input(&self) -> bool {
        self.input_reference().is_some()
    }

    /// The first thing by which it refers to its input: `$`, `$$` or the name of a field (`*`, `**` and `%` too).
    ///
    /// AWS gives an expression no input and refuses those: `Reference to 'phone' at the top level is not supported.`
    pub fn input_reference(&self) -> Option<String> {
        input_reference(&self.0.parsed.root, true)
    }

    /// Evaluates it within AWS's bounds.
    ///
    /// # Errors
    /// What the expression ran into, or the bound it reached.
    pub fn evaluate(&self, input: Option<&Json>, bindings: &Bindings, host: &mut dyn Host) -> Result<Evaluated, Error> {
        self.evaluate_within(Limits::default(), input, bindings, host)
    }

    /// Evaluates it within other bounds.
    ///
    /// # Errors
    /// As [`Expression::evaluate`].
    pub fn evaluate_within(
        &self,
        limits: Limits,
        input: Option<&Json>,
        bindings: &Bindings,
        host: &mut dyn Host,
    ) -> Result<Evaluated, Error> {
        let mut evaluator = Evaluator::new(&self.0.parsed, bindings, host, limits);
        let value = evaluator.run(input.map_or(Value::Undefined, Value::borrowed))?;
        match &value {
            Value::Undefined => return Ok(Evaluated::Nothing),
            Value::Function(_) => return Ok(Evaluated::Function),
            Value::Number(number) if !number.as_f64().is_finite() => {
                return Err(Error::new("D1001").value(number.to_string()));
            }
            _ => {}
        }
        let json = value.to_json(evaluator.steps_left())?;
        Ok(json.map_or(Evaluated::Nothing, Evaluated::Value))
    }
}

/// Looks for variables, scope by scope.
struct Free<'a> {
    parsed: &'a Parsed,
    bound: Vec<Symbol>,
    found: Vec<Reference>,
}

impl<'a> Free<'a> {
    fn visit(&mut self, node: &'a Node) {
        let outside = self.bound.len();
        match &node.kind {
            Kind::Variable(symbol) => self.refer(*symbol, node.position, Vec::new()),
            Kind::Path { steps, .. } => {
                for (index, step) in steps.iter().enumerate() {
                    self.bound.extend(step.step.focus);
                    self.bound.extend(step.step.index);
                    for stage in &step.step.stages {
                        if let crate::ast::Stage::Index(symbol) = stage {
                            self.bound.push(*symbol);
                        }
                    }
                    match &step.kind {
                        Kind::Variable(symbol) => {
                            let is_bare = step.step.stages.is_empty() && step.predicates.is_empty();
                            let rest = if is_bare { &steps[index + 1..] } else { &[] };
                            self.refer(*symbol, step.position, names(rest));
                            step.children(&mut |child| self.visit(child));
                        }
                        _ => self.visit(step),
                    }
                }
                node.group.iter().flatten().for_each(|(key, value)| {
                    self.visit(key);
                    self.visit(value);
                });
                self.bound.truncate(outside);
                return;
            }
            Kind::Lambda(lambda) => self.bound.extend(&lambda.parameters),
            _ => {}
        }
        // A variable bound in a block is there from then on, and in the functions made before it too.
        if let Kind::Block(expressions) = &node.kind {
            for expression in expressions {
                if let Kind::Bind(symbol, _) = &expression.kind {
                    self.bound.push(*symbol);
                }
            }
        }
        node.children(&mut |child| self.visit(child));
        match &node.kind {
            // What is bound elsewhere than at the top of a block is known from here on.
            Kind::Bind(symbol, _) if !self.bound.contains(symbol) => self.bound.push(*symbol),
            Kind::Lambda(_) | Kind::Block(_) => self.bound.truncate(outside),
            _ => {}
        }
    }

    fn refer(&mut self, symbol: Symbol, position: usize, fields: Vec<String>) {
        let name = &*self.parsed.names[symbol.0 as usize];
        let is_known = symbol == Symbol::CONTEXT || symbol == Symbol::ROOT || functions::find(name).is_some();
        if !is_known && !self.bound.contains(&symbol) {
            self.found.push(Reference { name: name.to_owned(), position, fields });
        }
    }
}

/// The plain names at the start of some steps.
fn names(steps: &[Node]) -> Vec<String> {
    let mut names = Vec::new();
    for step in steps {
        let Kind::Name(name) = &step.kind else { break };
        names.push(name.to_string());
        if !step.step.stages.is_empty() {
            break;
        }
    }
    names
}

fn input_reference(node: &Node, at_top: bool) -> Option<String> {
    match &node.kind {
        Kind::Variable(Symbol::ROOT) => return Some("$$".to_owned()),
        Kind::Variable(Symbol::CONTEXT) if at_top => return Some("$".to_owned()),
        Kind::Name(name) if at_top => return Some(name.to_string()),
        Kind::Wildcard if at_top => return Some("*".to_owned()),
        Kind::Descendants if at_top => return Some("**".to_owned()),
        Kind::Parent(_) if at_top => return Some("%".to_owned()),
        _ => {}
    }
    if let Kind::Path { steps, .. } = &node.kind {
        for (index, step) in steps.iter().enumerate() {
            let found = input_reference(step, at_top && index == 0);
            if found.is_some() {
                return found;
            }
        }
        return in_pairs(node, false);
    }
    // What filters or groups a value has that value as its context; the rest has ours.
    let filters: Vec<*const Node> = node.predicates.iter().map(std::ptr::from_ref).collect();
    let stages = node.step.stages.iter().filter_map(|stage| match stage {
        crate::ast::Stage::Filter(filter) => Some(std::ptr::from_ref(filter)),
        crate::ast::Stage::Index(_) => None,
    });
    let filters: Vec<*const Node> = filters.into_iter().chain(stages).collect();
    let mut found = None;
    node.children(&mut |child| {
        if found.is_none() {
            let is_filter = filters.contains(&std::ptr::from_ref(child));
            let is_grouped =
                node.group.iter().flatten().any(|(key, value)| std::ptr::eq(key, child) || std::ptr::eq(value, child));
            let is_own = matches!(node.kind, Kind::Transform(_) | Kind::Sort(_));
            found = input_reference(child, at_top && !is_filter && !is_grouped && !is_own);
        }
    });
    found
}

fn in_pairs(node: &Node, at_top: bool) -> Option<String> {
    node.group
        .iter()
        .flatten()
        .find_map(|(key, value)| input_reference(key, at_top).or_else(|| input_reference(value, at_top)))
}

impl PartialEq for Expression {
    fn eq(&self, other: &Expression) -> bool {
        self.0.source == other.0.source
    }
}

impl Eq for Expression {}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.0.source).finish()
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.source)
    }
}
