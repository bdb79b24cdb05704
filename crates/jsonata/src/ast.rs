//! The tree of an expression, as the evaluator wants it: paths flat, parents resolved, names interned.

use crate::regex::Regex;
use crate::signature::Signature;
use crate::value::Number;

/// A `$name`, by its place in the expression's table of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Symbol(pub(crate) u32);

impl Symbol {
    /// `$`: the context.
    pub(crate) const CONTEXT: Symbol = Symbol(0);
    /// `$$`: the input.
    pub(crate) const ROOT: Symbol = Symbol(1);
}

/// An ancestor that some `%` refers to, by its place in the expression's table of slots.
pub(crate) type Slot = usize;

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// In characters, behind the token that made the node.
    pub(crate) position: usize,
    /// `[]` follows: a single result stays an array.
    pub(crate) keep_array: bool,
    /// Filters of something that is not a step of a path.
    pub(crate) predicates: Vec<Node>,
    pub(crate) group: Option<Pairs>,
    /// An array constructor at the edge of a path, whose array is one value and not a sequence.
    pub(crate) is_array: bool,
    /// What applies to a step of a path only.
    pub(crate) step: Step,
    /// The ancestors that a `%` below looks for and has not found.
    pub(crate) seeking: Vec<Slot>,
    /// Of the tree below.
    pub(crate) height: u32,
}

/// What a step of a path does beside selecting.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) stages: Vec<Stage>,
    /// `@$v`
    pub(crate) focus: Option<Symbol>,
    /// `#$i`
    pub(crate) index: Option<Symbol>,
    /// Some `%` refers to this step's context.
    pub(crate) ancestor: Option<Slot>,
    /// The path carries variables along from here on.
    pub(crate) is_tuple: bool,
}

#[derive(Debug)]
pub(crate) enum Stage {
    Filter(Node),
    Index(Symbol),
}

pub(crate) type Pairs = Vec<(Node, Node)>;

#[derive(Debug)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    String(Box<str>),
    Regex(Regex),
    /// A field of the context.
    Name(Box<str>),
    Variable(Symbol),
    Wildcard,
    Descendants,
    Parent(Slot),
    Path {
        steps: Vec<Node>,
        keep_singleton: bool,
    },
    Negate(Box<Node>),
    Array(Vec<Node>),
    Object(Pairs),
    Binary(Operator, Box<Node>, Box<Node>),
    Apply(Box<Node>, Box<Node>),
    Bind(Symbol, Box<Node>),
    Condition {
        condition: Box<Node>,
        then: Box<Node>,
        otherwise: Option<Box<Node>>,
    },
    Block(Vec<Node>),
    Call {
        procedure: Box<Node>,
        arguments: Vec<Node>,
    },
    /// A call with `?` for some arguments.
    Partial {
        procedure: Box<Node>,
        arguments: Vec<Option<Node>>,
    },
    Lambda(Box<Lambda>),
    Sort(Vec<Term>),
    Transform(Box<Transform>),
}

#[derive(Debug)]
pub(crate) struct Lambda {
    pub(crate) parameters: Vec<Symbol>,
    pub(crate) signature: Option<Signature>,
    pub(crate) body: Node,
}

#[derive(Debug)]
pub(crate) struct Term {
    pub(crate) descending: bool,
    pub(crate) expression: Node,
}

#[derive(Debug)]
pub(crate) struct Transform {
    pub(crate) pattern: Node,
    pub(crate) update: Node,
    pub(crate) delete: Option<Node>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
    In,
    Concatenate,
    Range,
}

impl Operator {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Operator::Add => "+",
            Operator::Subtract => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
            Operator::Remainder => "%",
            Operator::Equal => "=",
            Operator::NotEqual => "!=",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
            Operator::And => "and",
            Operator::Or => "or",
            Operator::In => "in",
            Operator::Concatenate => "&",
            Operator::Range => "..",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Operator> {
        Some(match text {
            "+" => Operator::Add,
            "-" => Operator::Subtract,
            "*" => Operator::Multiply,
            "/" => Operator::Divide,
            "%" => Operator::Remainder,
            "=" => Operator::Equal,
            "!=" => Operator::NotEqual,
            "<" => Operator::Less,
            "<=" => Operator::LessOrEqual,
            ">" => Operator::Greater,
            ">=" => Operator::GreaterOrEqual,
            "and" => Operator::And,
            "or" => Operator::Or,
            "in" => Operator::In,
            "&" => Operator::Concatenate,
            ".." => Operator::Range,
            _ => return None,
        })
    }
}

impl Node {
    pub(crate) fn new(kind: Kind, position: usize) -> Node {
        let mut node = Node {
            kind,
            position,
            keep_array: false,
            predicates: Vec::new(),
            group: None,
            is_array: false,
            step: Step::default(),
            seeking: Vec::new(),
            height: 1,
        };
        let mut tallest = 0;
        node.children(&mut |child| tallest = tallest.max(child.height));
        node.height = tallest + 1;
        node
    }

    /// Visits every node directly below, in the order of the text as far as the tree keeps it.
    pub(crate) fn children<'a>(&'a self, visit: &mut dyn FnMut(&'a Node)) {
        match &self.kind {
            Kind::Null
            | Kind::Bool(_)
            | Kind::Number(_)
            | Kind::String(_)
            | Kind::Regex(_)
            | Kind::Name(_)
            | Kind::Variable(_)
            | Kind::Wildcard
            | Kind::Descendants
            | Kind::Parent(_) => {}
            Kind::Path { steps, .. } => steps.iter().for_each(&mut *visit),
            Kind::Negate(node) | Kind::Bind(_, node) => visit(node),
            Kind::Array(nodes) | Kind::Block(nodes) => nodes.iter().for_each(&mut *visit),
            Kind::Object(pairs) => pairs.iter().for_each(|(key, value)| {
                visit(key);
                visit(value);
            }),
            Kind::Binary(_, left, right) | Kind::Apply(left, right) => {
                visit(left);
                visit(right);
            }
            Kind::Condition { condition, then, otherwise } => {
                visit(condition);
                visit(then);
                otherwise.iter().for_each(|node| visit(node));
            }
            Kind::Call { procedure, arguments } => {
                visit(procedure);
                arguments.iter().for_each(&mut *visit);
            }
            Kind::Partial { procedure, arguments } => {
                visit(procedure);
                arguments.iter().flatten().for_each(&mut *visit);
            }
            Kind::Lambda(lambda) => visit(&lambda.body),
            Kind::Sort(terms) => terms.iter().for_each(|term| visit(&term.expression)),
            Kind::Transform(transform) => {
                visit(&transform.pattern);
                visit(&transform.update);
                transform.delete.iter().for_each(&mut *visit);
            }
        }
        for stage in &self.step.stages {
            if let Stage::Filter(node) = stage {
                visit(node);
            }
        }
        self.predicates.iter().for_each(&mut *visit);
        self.group.iter().flatten().for_each(|(key, value)| {
            visit(key);
            visit(value);
        });
    }

    /// What the reference implementation calls this kind of node, for its messages.
    pub(crate) fn type_name(&self) -> &'static str {
        match &self.kind {
            Kind::Null | Kind::Bool(_) => "value",
            Kind::Number(_) => "number",
            Kind::String(_) => "string",
            Kind::Regex(_) => "regex",
            Kind::Name(_) => "name",
            Kind::Variable(_) => "variable",
            Kind::Wildcard => "wildcard",
            Kind::Descendants => "descendant",
            Kind::Parent(_) => "parent",
            Kind::Path { .. } => "path",
            Kind::Negate(_) | Kind::Array(_) | Kind::Object(_) => "unary",
            Kind::Binary(..) => "binary",
            Kind::Apply(..) => "apply",
            Kind::Bind(..) => "bind",
            Kind::Condition { .. } => "condition",
            Kind::Block(_) => "block",
            Kind::Call { .. } => "function",
            Kind::Partial { .. } => "partial",
            Kind::Lambda(_) => "lambda",
            Kind::Sort(_) => "sort",
            Kind::Transform(_) => "transform",
        }
    }
}
