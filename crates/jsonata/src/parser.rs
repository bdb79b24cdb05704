//! From tokens to the tree: an operator-precedence parser that builds nodes bottom-up and flattens paths as it goes.

use std::collections::HashMap;

use crate::ancestry::Ancestry;
use crate::ast::{Kind, Lambda, Node, Operator, Pairs, Stage, Symbol, Term, Transform};
use crate::error::{Error, quoted};
use crate::lexer::{Lexer, Token};
use crate::limits::{HEIGHT_MAX, NESTING_MAX};
use crate::regex::Regex;
use crate::signature::Signature;
use crate::value::Number;

/// What parsing yields beside the tree.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) root: Node,
    /// Of every [`Symbol`], without the `$`.
    pub(crate) names: Vec<Box<str>>,
    /// For every ancestor's slot, the variable that carries it.
    pub(crate) slots: Vec<Symbol>,
}

pub(crate) fn parse(source: &str) -> Result<Parsed, Error> {
    let mut parser = Parser {
        lexer: Lexer::new(source),
        token: Token::End,
        position: 0,
        names: Vec::new(),
        symbols: HashMap::new(),
        ancestry: Ancestry::default(),
        nesting: 0,
        late_error: None,
    };
    parser.symbol("");
    parser.symbol("$");
    parser.advance(true)?;
    let root = parser.expression(0)?;
    if parser.token != Token::End {
        return Err(Error::new("S0201").at(parser.position).token(&parser.token.shown()));
    }
    if let Some(error) = parser.late_error {
        return Err(error);
    }
    let is_parent = matches!(root.kind, Kind::Parent(_));
    if is_parent || !root.seeking.is_empty() {
        return Err(Error::new("S0217").token(root.type_name()).at(root.position));
    }
    let labels = parser.ancestry.labels();
    let slots = labels.into_iter().map(|label| parser.symbol(&format!("!{label}"))).collect();
    Ok(Parsed { root, names: parser.names, slots })
}

struct Parser {
    lexer: Lexer,
    /// The token under consideration.
    token: Token,
    /// Just behind it, in characters.
    position: usize,
    names: Vec<Box<str>>,
    symbols: HashMap<String, Symbol>,
    ancestry: Ancestry,
    nesting: u32,
    /// What the reference finds in a second pass, when the whole text has been read.
    late_error: Option<Error>,
}

/// How tightly an operator binds its left side.
fn binding_power(token: &Token) -> u32 {
    let Token::Operator(operator) = token else { return 0 };
    match *operator {
        "[" | "(" | "@" | "#" => 80,
        "." => 75,
        "{" => 70,
        "*" | "/" | "%" => 60,
        "+" | "-" | "&" => 50,
        "=" | "<" | ">" | "^" | "!=" | "<=" | ">=" | "~>" | "in" => 40,
        "and" => 30,
        "or" => 25,
        "?" => 20,
        ":=" => 10,
        _ => 0,
    }
}

impl Parser {
    fn symbol(&mut self, name: &str) -> Symbol {
        if let Some(symbol) = self.symbols.get(name) {
            return *symbol;
        }
        let symbol = Symbol(self.names.len() as u32);
        self.names.push(name.into());
        self.symbols.insert(name.to_owned(), symbol);
        symbol
    }

    /// Steps to the next token; `prefix` says that an operand should come.
    fn advance(&mut self, prefix: bool) -> Result<(), Error> {
        self.token = self.lexer.next(prefix)?;
        self.position = self.lexer.position.min(self.lexer.length());
        Ok(())
    }

    fn is(&self, operator: &str) -> bool {
        matches!(self.token, Token::Operator(other) if other == operator)
    }

    /// Takes an operator that has to be here.
    fn expect(&mut self, operator: &'static str, prefix: bool) -> Result<(), Error> {
        if self.is(operator) {
            return self.advance(prefix);
        }
        let code = if self.token == Token::End { "S0203" } else { "S0202" };
        Err(Error::new(code).at(self.position).value(quoted(operator)).token(&self.token.shown()))
    }

    fn expression(&mut self, power: u32) -> Result<Node, Error> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return Err(Error::stack_overflow().at(self.position));
        }
        let mut left = self.prefix()?;
        while power < binding_power(&self.token) {
            left = self.infix(left)?;
            if left.height > HEIGHT_MAX {
                return Err(Error::stack_overflow().at(self.position));
            }
        }
        self.nesting -= 1;
        Ok(left)
    }

    /// An operand.
    fn prefix(&mut self) -> Result<Node, Error> {
        let position = self.position;
        let token = std::mem::replace(&mut self.token, Token::End);
        let kind = match token {
            Token::Operator(operator) => return self.prefix_operator(operator, position),
            Token::End => return Err(Error::new("S0207").at(position).token("(end)")),
            Token::Name(name) => {
                self.advance(false)?;
                if (name == "function" || name == "λ") && self.is("(") {
                    return self.lambda();
                }
                return Ok(name_path(name, position));
            }
            Token::Variable(name) => Kind::Variable(self.symbol(&name)),
            Token::String(text) => Kind::String(text.into()),
            Token::Number(number) => Kind::Number(number),
            Token::True => Kind::Bool(true),
            Token::False => Kind::Bool(false),
            Token::Null => Kind::Null,
            Token::Regex { pattern, flags } => match Regex::compile(&pattern, &flags) {
                Some(regex) => Kind::Regex(regex),
                None => return Err(Error::new("S0201").at(position).token(&format!("/{pattern}/{flags}"))),
            },
        };
        self.advance(false)?;
        Ok(Node::new(kind, position))
    }

    fn prefix_operator(&mut self, operator: &'static str, position: usize) -> Result<Node, Error> {
        match operator {
            // Words of operators are names where an operand should be.
            "and" | "or" | "in" => {
                self.advance(false)?;
                Ok(name_path(operator.to_owned(), position))
            }
            "*" | "**" => {
                self.advance(false)?;
                Ok(Node::new(if operator == "*" { Kind::Wildcard } else { Kind::Descendants }, position))
            }
            "%" => {
                self.advance(false)?;
                let slot = self.ancestry.new_slot();
                Ok(Node::new(Kind::Parent(slot), position))
            }
            "-" => {
                self.advance(true)?;
                let operand = self.expression(70)?;
                Ok(match operand.kind {
                    Kind::Number(number) => {
                        let negated = match number {
                            Number::Int(number) => {
                                number.checked_neg().map_or(Number::Float(-(number as f64)), Number::Int)
                            }
                            Number::Float(number) => Number::Float(-number),
                        };
                        Node { kind: Kind::Number(negated), ..operand }
                    }
                    _ => self.adopting(Kind::Negate(Box::new(operand)), position),
                })
            }
            "(" => self.block(position),
            "[" => self.array(position),
            "{" => {
                let pairs = self.pairs()?;
                Ok(self.adopting(Kind::Object(pairs), position))
            }
            "|" => self.transform(position),
            _ => Err(Error::new("S0211").at(position).token(operator)),
        }
    }

    fn block(&mut self, position: usize) -> Result<Node, Error> {
        self.advance(true)?;
        let mut expressions = Vec::new();
        while !self.is(")") {
            expressions.push(self.expression(0)?);
            if !self.is(";") {
                break;
            }
            self.advance(true)?;
        }
        self.expect(")", false)?;
        let is_array = expressions.iter().any(|node| match &node.kind {
            Kind::Path { steps, .. } => node.is_array || steps[0].is_array,
            _ => node.is_array,
        });
        let mut node = self.adopting(Kind::Block(expressions), position);
        node.is_array = is_array;
        Ok(node)
    }

    fn array(&mut self, position: usize) -> Result<Node, Error> {
        self.advance(true)?;
        let mut items = Vec::new();
        if !self.is("]") {
            loop {
                let mut item = self.expression(0)?;
                if self.is("..") {
                    let position = self.position;
                    self.advance(true)?;
                    let end = self.expression(0)?;
                    item = self.adopting(Kind::Binary(Operator::Range, Box::new(item), Box::new(end)), position);
                }
                items.push(item);
                if !self.is(",") {
                    break;
                }
                self.advance(true)?;
            }
        }
        self.expect("]", false)?;
        Ok(self.adopting(Kind::Array(items), position))
    }

    /// `{ key: value, … }` from the brace on.
    fn pairs(&mut self) -> Result<Pairs, Error> {
        self.advance(true)?;
        let mut pairs = Vec::new();
        if !self.is("}") {
            loop {
                let key = self.expression(0)?;
                self.expect(":", true)?;
                let value = self.expression(0)?;
                pairs.push((key, value));
                if !self.is(",") {
                    break;
                }
                self.advance(true)?;
            }
        }
        self.expect("}", false)?;
        Ok(pairs)
    }

    fn transform(&mut self, position: usize) -> Result<Node, Error> {
        self.advance(true)?;
        let pattern = self.expression(0)?;
        self.expect("|", true)?;
        let update = self.expression(0)?;
        let mut delete = None;
        if self.is(",") {
            self.advance(true)?;
            delete = Some(self.expression(0)?);
        }
        self.expect("|", false)?;
        Ok(Node::new(Kind::Transform(Box::new(Transform { pattern, update, delete })), position))
    }

    /// `function` has been read and `(` is here.
    fn lambda(&mut self) -> Result<Node, Error> {
        let position = self.position;
        self.advance(true)?;
        let mut parameters = Vec::new();
        if !self.is(")") {
            loop {
                let Token::Variable(name) = &self.token else {
                    let error = Error::new("S0208").value((parameters.len() + 1).to_string());
                    return Err(error.at(self.position).token(&self.token.shown()));
                };
                let name = name.clone();
                parameters.push(self.symbol(&name));
                self.advance(false)?;
                if !self.is(",") {
                    break;
                }
                self.advance(true)?;
            }
        }
        self.expect(")", false)?;
        let mut signature = None;
        if self.is("<") {
            let text = self.lexer.signature()?;
            signature = Some(Signature::parse(&text).map_err(|error| error.at(self.lexer.position))?);
            self.advance(false)?;
        }
        self.expect("{", true)?;
        let body = self.expression(0)?;
        self.expect("}", false)?;
        Ok(Node::new(Kind::Lambda(Box::new(Lambda { parameters, signature, body })), position))
    }

    fn infix(&mut self, left: Node) -> Result<Node, Error> {
        let position = self.position;
        let Token::Operator(operator) = self.token else { return Ok(left) };
        match operator {
            "(" => self.call(left, position),
            "[" => self.filter(left, position),
            "{" => {
                let pairs = self.pairs()?;
                self.group(left, pairs, position)
            }
            "." => {
                self.advance(true)?;
                let right = self.expression(75)?;
                self.path(left, right)
            }
            "^" => self.sort(left, position),
            "@" => self.focus(left, position),
            "#" => self.index(left),
            "?" => self.condition(left, position),
            ":=" => {
                let is_bare = left.predicates.is_empty() && !left.keep_array;
                let Some(symbol) = variable(&left).filter(|_| is_bare) else {
                    let token = match &left.kind {
                        Kind::Path { steps, .. } => match &steps[0].kind {
                            Kind::Name(name) => name.to_string(),
                            _ => String::new(),
                        },
                        _ => String::new(),
                    };
                    return Err(Error::new("S0212").at(left.position).token(&token));
                };
                self.advance(true)?;
                // One less than its own power: it binds to the right.
                let right = self.expression(9)?;
                Ok(self.adopting(Kind::Bind(symbol, Box::new(right)), position))
            }
            "~>" => {
                self.advance(true)?;
                let right = self.expression(40)?;
                let keep_array = left.keep_array || right.keep_array;
                let mut node = Node::new(Kind::Apply(Box::new(left), Box::new(right)), position);
                node.keep_array = keep_array;
                Ok(node)
            }
            _ => {
                let power = binding_power(&self.token);
                let Some(operator) = Operator::parse(operator) else {
                    return Err(Error::new("S0201").at(position).token(operator));
                };
                self.advance(true)?;
                let right = self.expression(power)?;
                Ok(self.adopting(Kind::Binary(operator, Box::new(left), Box::new(right)), position))
            }
        }
    }

    fn call(&mut self, left: Node, position: usize) -> Result<Node, Error> {
        self.advance(true)?;
        let mut arguments = Vec::new();
        if !self.is(")") {
            loop {
                if self.is("?") {
                    self.advance(false)?;
                    arguments.push(None);
                } else {
                    arguments.push(Some(self.expression(0)?));
                }
                if !self.is(",") {
                    break;
                }
                self.advance(true)?;
            }
        }
        self.expect(")", false)?;
        let procedure = Box::new(left);
        let seeking = arguments.iter().flatten().flat_map(|node| self.ancestry.sought(node)).collect();
        let kind = match arguments.iter().all(Option::is_some) {
            true => Kind::Call { procedure, arguments: arguments.into_iter().flatten().collect() },
            false => Kind::Partial { procedure, arguments },
        };
        let mut node = Node::new(kind, position);
        node.seeking = seeking;
        Ok(node)
    }

    fn condition(&mut self, condition: Node, position: usize) -> Result<Node, Error> {
        self.advance(true)?;
        let condition = Box::new(condition);
        let then = Box::new(self.expression(0)?);
        let mut otherwise = None;
        if self.is(":") {
            self.advance(true)?;
            otherwise = Some(Box::new(self.expression(0)?));
        }
        Ok(self.adopting(Kind::Condition { condition, then, otherwise }, position))
    }

    /// `left[…]`
    fn filter(&mut self, mut left: Node, position: usize) -> Result<Node, Error> {
        self.advance(true)?;
        if self.is("]") {
            self.advance(false)?;
            keep_array(&mut left);
            return Ok(left);
        }
        let mut predicate = self.expression(0)?;
        self.expect("]", false)?;
        if left.group.is_some() {
            return Err(Error::new("S0209").at(position));
        }
        let mut seeking = Vec::new();
        let step = last_step(&mut left);
        for slot in std::mem::take(&mut predicate.seeking) {
            if self.ancestry.level(slot) == 1 {
                self.ancestry.seek(step, slot)?;
            } else {
                self.ancestry.lower(slot);
            }
            seeking.push(slot);
        }
        step.seeking.extend(seeking);
        let height = left.height.max(predicate.height + 1);
        match &mut left.kind {
            Kind::Path { steps, .. } => {
                let last = steps.last_mut().expect("a path has steps");
                last.step.stages.push(Stage::Filter(predicate));
            }
            _ => left.predicates.push(predicate),
        }
        left.height = height + 1;
        Ok(left)
    }

    fn group(&mut self, mut left: Node, pairs: Pairs, position: usize) -> Result<Node, Error> {
        if left.group.is_some() {
            return Err(Error::new("S0210").at(position));
        }
        let tallest = pairs.iter().map(|(key, value)| key.height.max(value.height)).max().unwrap_or(0);
        left.height = left.height.max(tallest) + 1;
        left.group = Some(pairs);
        Ok(left)
    }

    fn sort(&mut self, left: Node, position: usize) -> Result<Node, Error> {
        self.advance(true)?;
        self.expect("(", true)?;
        let mut terms = Vec::new();
        loop {
            let descending = self.is(">");
            if descending || self.is("<") {
                self.advance(true)?;
            }
            terms.push(Term { descending, expression: self.expression(0)? });
            if !self.is(",") {
                break;
            }
            self.advance(true)?;
        }
        self.expect(")", false)?;
        let seeking = terms.iter().flat_map(|term| self.ancestry.sought(&term.expression)).collect();
        let mut sort = Node::new(Kind::Sort(terms), position);
        sort.seeking = seeking;
        let mut path = into_path(left);
        self.append(&mut path, vec![sort]);
        self.ancestry.resolve(&mut path)?;
        Ok(path)
    }

    fn variable_after(&mut self, operator: &'static str) -> Result<Symbol, Error> {
        self.advance(true)?;
        let position = self.position;
        let right = self.expression(80)?;
        match right.kind {
            Kind::Variable(symbol) => Ok(symbol),
            _ => Err(Error::new("S0214").at(position).token(operator)),
        }
    }

    /// `left@$name`
    fn focus(&mut self, left: Node, position: usize) -> Result<Node, Error> {
        let symbol = self.variable_after("@")?;
        let keep = left.keep_array;
        // By itself, what is not a path stays what it is; as a step of one it binds.
        let mut left = left;
        let step = last_step(&mut left);
        if !step.step.stages.is_empty() || !step.predicates.is_empty() {
            return Err(Error::new("S0215").at(position));
        }
        if matches!(step.kind, Kind::Sort(_)) {
            return Err(Error::new("S0216").at(position));
        }
        step.keep_array |= keep;
        step.step.focus = Some(symbol);
        step.step.is_tuple = true;
        Ok(left)
    }

    /// `left#$name`
    fn index(&mut self, left: Node) -> Result<Node, Error> {
        let symbol = self.variable_after("#")?;
        let mut path = into_path(left);
        let step = last_step(&mut path);
        predicates_to_stages(step);
        if step.step.stages.is_empty() {
            step.step.index = Some(symbol);
        } else {
            step.step.stages.push(Stage::Index(symbol));
        }
        step.step.is_tuple = true;
        Ok(path)
    }

    fn path(&mut self, left: Node, mut right: Node) -> Result<Node, Error> {
        let mut path = into_path(left);
        // Of a long path only the new steps are looked at.
        let known = match &path.kind {
            Kind::Path { steps, .. } if steps.len() > 1 => steps.len(),
            _ => 0,
        };
        match right.kind {
            Kind::Path { steps, .. } => self.append(&mut path, steps),
            _ => {
                predicates_to_stages(&mut right);
                self.append(&mut path, vec![right]);
            }
        }
        let Kind::Path { steps, keep_singleton } = &mut path.kind else { return Ok(path) };
        for step in steps.iter_mut().skip(known) {
            match &step.kind {
                Kind::Number(number) => {
                    let error = Error::new("S0213").at(step.position).value(number.to_string());
                    self.late_error.get_or_insert(error);
                }
                Kind::Null | Kind::Bool(_) => {
                    let value = match step.kind {
                        Kind::Bool(bool) => bool.to_string(),
                        _ => "null".to_owned(),
                    };
                    let error = Error::new("S0213").at(step.position).value(value);
                    self.late_error.get_or_insert(error);
                }
                Kind::String(name) => step.kind = Kind::Name(name.clone()),
                _ => {}
            }
            *keep_singleton |= step.keep_array;
        }
        let last = steps.len() - 1;
        for edge in [0, last] {
            if matches!(steps[edge].kind, Kind::Array(_)) {
                steps[edge].is_array = true;
            }
        }
        self.ancestry.resolve(&mut path)?;
        Ok(path)
    }

    fn append(&self, path: &mut Node, more: Vec<Node>) {
        let tallest = more.iter().map(|node| node.height).max().unwrap_or(0);
        path.height = path.height.max(tallest + 1);
        if let Kind::Path { steps, .. } = &mut path.kind {
            steps.extend(more);
        }
    }

    /// A node that takes over what its children still look for.
    fn adopting(&self, kind: Kind, position: usize) -> Node {
        let mut node = Node::new(kind, position);
        let mut seeking = Vec::new();
        node.children(&mut |child| seeking.extend(self.ancestry.sought(child)));
        node.seeking = seeking;
        node
    }
}

fn variable(node: &Node) -> Option<Symbol> {
    match node.kind {
        Kind::Variable(symbol) => Some(symbol),
        _ => None,
    }
}

fn name_path(name: String, position: usize) -> Node {
    into_path(Node::new(Kind::Name(name.into()), position))
}

/// A path whose only step is the node, unless it is a path already.
fn into_path(node: Node) -> Node {
    if matches!(node.kind, Kind::Path { .. }) {
        return node;
    }
    let (position, keep_singleton) = (node.position, node.keep_array);
    let seeking = match node.kind {
        Kind::Parent(slot) => vec![slot],
        _ => Vec::new(),
    };
    let mut path = Node::new(Kind::Path { steps: vec![node], keep_singleton }, position);
    path.seeking = seeking;
    path
}

/// The step that a predicate or a binding behind `node` belongs to: the last of a path, else the node.
fn last_step(node: &mut Node) -> &mut Node {
    if matches!(node.kind, Kind::Path { .. }) {
        let Kind::Path { steps, .. } = &mut node.kind else { unreachable!("just checked") };
        return steps.last_mut().expect("a path has steps");
    }
    node
}

/// Filters of a node that has become a step apply to each of its results.
fn predicates_to_stages(node: &mut Node) {
    node.step.stages.extend(std::mem::take(&mut node.predicates).into_iter().map(Stage::Filter));
}

/// `left[]`: of a lone name, the name and the path it is; of anything else, the whole.
fn keep_array(left: &mut Node) {
    let is_grouped = left.group.is_some();
    if let Kind::Path { steps, keep_singleton } = &mut left.kind
        && !is_grouped
        && let [step] = steps.as_mut_slice()
        && step.step.index.is_none()
    {
        step.keep_array = true;
        // A step that binds waits for the path it becomes a part of.
        *keep_singleton |= step.step.focus.is_none();
        return;
    }
    left.keep_array = true;
}
