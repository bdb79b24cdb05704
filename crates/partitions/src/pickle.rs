//! A restricted pickle reader: it builds inert values and runs nothing.
//!
//! A pickle is a program that builds objects by calling whatever it names. This reader knows the opcodes and calls
//! nothing: `REDUCE` and its relatives make an [`Node::Object`] that remembers what should have been called. A name
//! outside the allow-list ends the reading, at the opcode that refers to it.
//!
//! Memory is linear in the input: every opcode makes at most one node, nodes refer to each other by index, and there
//! is no recursion.

use std::collections::HashMap;

use crate::error::Error;

/// Bytes of the largest pickle that is read. The published checkpoint's has 140,635, a partition's 361; since an empty
/// list takes one byte, memory can be some sixty times that.
pub const BYTES_MAX: usize = 4 << 20;

/// What kind of file a pickle is in, and so which names it may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Tensors in containers.
    Partition,
    /// A whole `torch.nn.Module`, whose classes are kept as names.
    Checkpoint,
}

/// A node's place in a [`Pickle`].
pub type Ref = u32;

/// An inert value.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer; those beyond 64 bits are cut to the nearest.
    Int(i64),
    /// A float.
    Float(f64),
    /// A string.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list, a set or a frozen set.
    List(Vec<Ref>),
    /// A tuple.
    Tuple(Vec<Ref>),
    /// A dictionary, in the order of insertion.
    Dict(Vec<(Ref, Ref)>),
    /// A class or function, named and never looked up.
    Global(String, String),
    /// What calling `class` with `arguments` would have made.
    Object(Box<Object>),
    /// A persistent id: in torch's files a storage.
    Persistent(Ref),
}

/// See [`Node::Object`].
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// What should have been called.
    pub class: Ref,
    /// With which arguments.
    pub arguments: Ref,
    /// What `__setstate__` should have got.
    pub state: Option<Ref>,
    /// Items that were set, as on an `OrderedDict`.
    pub items: Vec<(Ref, Ref)>,
}

/// A pickle that has been read.
#[derive(Debug)]
pub struct Pickle {
    nodes: Vec<Node>,
    root: Ref,
}

impl Pickle {
    /// Reads a pickle.
    ///
    /// # Errors
    /// [`Error::Refused`] for a name outside the allow-list, [`Error::Format`] for anything that is not a pickle of
    /// protocol 0 to 5.
    pub fn read(bytes: &[u8], kind: Kind, name: &str) -> Result<Self, Error> {
        if bytes.len() > BYTES_MAX {
            let reason = format!("its pickle has {} bytes, expected at most {BYTES_MAX}", bytes.len());
            return Err(Error::format(name, reason));
        }
        let mut machine = Machine {
            bytes,
            at: 0,
            kind,
            name,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        let root = machine.run()?;
        Ok(Self { nodes: machine.nodes, root })
    }

    /// The value that the pickle is of.
    pub fn root(&self) -> Ref {
        self.root
    }

    /// The value at a place.
    pub fn node(&self, at: Ref) -> &Node {
        &self.nodes[at as usize]
    }

    /// Module and name, if that is what is there.
    pub fn global(&self, at: Ref) -> Option<(&str, &str)> {
        match self.node(at) {
            Node::Global(module, name) => Some((module, name)),
            _ => None,
        }
    }

    /// The string that is there.
    pub fn text(&self, at: Ref) -> Option<&str> {
        match self.node(at) {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The integer that is there.
    pub fn int(&self, at: Ref) -> Option<i64> {
        match self.node(at) {
            Node::Int(int) => Some(*int),
            _ => None,
        }
    }

    /// The elements of a list or tuple.
    pub fn elements(&self, at: Ref) -> Option<&[Ref]> {
        match self.node(at) {
            Node::List(elements) | Node::Tuple(elements) => Some(elements),
            _ => None,
        }
    }

    /// The items of a dictionary or `OrderedDict`.
    pub fn items(&self, at: Ref) -> Option<&[(Ref, Ref)]> {
        match self.node(at) {
            Node::Dict(items) => Some(items),
            Node::Object(object) if self.global(object.class) == Some(("collections", "OrderedDict")) => {
                Some(&object.items)
            }
            _ => None,
        }
    }

    /// What is under a string key of a dictionary or `OrderedDict`; of several the last.
    pub fn get(&self, at: Ref, key: &str) -> Option<Ref> {
        self.items(at)?.iter().rev().find(|(k, _)| self.text(*k) == Some(key)).map(|(_, value)| *value)
    }
}

/// Storages as torch calls them, one per element type.
const STORAGES: [&str; 10] = [
    "FloatStorage",
    "DoubleStorage",
    "HalfStorage",
    "BFloat16Storage",
    "LongStorage",
    "IntStorage",
    "ShortStorage",
    "CharStorage",
    "ByteStorage",
    "BoolStorage",
];

/// Whether a pickle of this kind may refer to a name.
fn allowed(kind: Kind, module: &str, name: &str) -> bool {
    let for_tensors = match module {
        "torch" => STORAGES.contains(&name) || name == "Size",
        "torch._utils" => ["_rebuild_tensor", "_rebuild_tensor_v2"].contains(&name),
        "torch.serialization" => name == "_get_layout",
        "torch.utils.data.dataset" => name == "TensorDataset",
        "collections" => name == "OrderedDict",
        _ => false,
    };
    for_tensors || (kind == Kind::Checkpoint && allowed_in_modules(module, name))
}

/// Names in a whole `torch.nn.Module`, beside those of its tensors. Classes only become names here, so the point of
/// the list is to notice what does not belong into a model.
fn allowed_in_modules(module: &str, name: &str) -> bool {
    match module {
        "torch" => ["device", "float32", "float64", "float16", "bfloat16", "int64"].contains(&name),
        "torch._utils" => ["_rebuild_parameter", "_rebuild_parameter_with_state"].contains(&name),
        "torch.nn.parameter" => name == "Parameter",
        "torch.nn.parallel.data_parallel" => name == "DataParallel",
        "torch.nn.parallel.distributed" => name == "DistributedDataParallel",
        "__builtin__" | "builtins" => name == "set",
        // The published model's own modules.
        "NormalCell" => ["NormalCell", "Attention", "Mlp"].contains(&name),
        _ => {
            let is_class = name.starts_with(|c: char| c.is_ascii_uppercase())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            let known = ["torch.nn.modules.", "timm.models.", "timm.layers.", "blocks."];
            is_class && known.iter().any(|prefix| module.starts_with(prefix))
        }
    }
}

/// A piece of a hostile file, fit for a message: short, and without control characters.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        shown.push('…');
    }
    shown
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    kind: Kind,
    name: &'a str,
    nodes: Vec<Node>,
    stack: Vec<Ref>,
    marks: Vec<usize>,
    memo: HashMap<u64, Ref>,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Ref, Error> {
        loop {
            let opcode = self.byte()?;
            match opcode {
                0x80 => {
                    let protocol = self.byte()?;
                    if protocol > 5 {
                        return Err(self.damaged(format!("protocol {protocol}, expected at most 5")));
                    }
                }
                0x95 => drop(self.take(8)?),
                b'.' => return self.pop(),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => match self.marks.last() {
                    Some(&mark) if mark == self.stack.len() => drop(self.marks.pop()),
                    _ => drop(self.pop()?),
                },
                b'1' => drop(self.since_mark()?),
                b'2' => {
                    let top = self.top()?;
                    self.stack.push(top);
                }
                b'N' => self.push(Node::None),
                0x88 => self.push(Node::Bool(true)),
                0x89 => self.push(Node::Bool(false)),
                b'K' => {
                    let int = i64::from(self.byte()?);
                    self.push(Node::Int(int));
                }
                b'M' => {
                    let int = i64::from(u16::from_le_bytes(self.array()?));
                    self.push(Node::Int(int));
                }
                b'J' => {
                    let int = i64::from(i32::from_le_bytes(self.array()?));
                    self.push(Node::Int(int));
                }
                0x8a => {
                    let length = usize::from(self.byte()?);
                    self.long(length)?;
                }
                0x8b => {
                    let length = self.length4()?;
                    self.long(length)?;
                }
                b'I' => {
                    let node = match self.line()? {
                        "00" => Node::Bool(false),
                        "01" => Node::Bool(true),
                        text => Node::Int(self.number(text)?),
                    };
                    self.push(node);
                }
                b'L' => {
                    let text = self.line()?;
                    let int = self.number(text.strip_suffix('L').unwrap_or(text))?;
                    self.push(Node::Int(int));
                }
                b'F' => {
                    let text = self.line()?;
                    let float = text.parse().map_err(|_| self.damaged(format!("'{}' is not a float", shown(text))))?;
                    self.push(Node::Float(float));
                }
                b'G' => {
                    let float = f64::from_be_bytes(self.array()?);
                    self.push(Node::Float(float));
                }
                b'X' | 0x8c | 0x8d | b'T' | b'U' => {
                    let length = self.length(opcode)?;
                    let text = String::from_utf8_lossy(self.take(length)?).into_owned();
                    self.push(Node::Text(text));
                }
                b'V' | b'S' => {
                    let text = self.line()?.trim_matches(|c| c == '\'' || c == '"').to_owned();
                    self.push(Node::Text(text));
                }
                b'B' | b'C' | 0x8e | 0x96 => {
                    let length = self.length(opcode)?;
                    let bytes = self.take(length)?.to_vec();
                    self.push(Node::Bytes(bytes));
                }
                b']' | 0x8f => self.push(Node::List(Vec::new())),
                b')' => self.push(Node::Tuple(Vec::new())),
                b'}' => self.push(Node::Dict(Vec::new())),
                b'l' | 0x91 => {
                    let elements = self.since_mark()?;
                    self.push(Node::List(elements));
                }
                b't' => {
                    let elements = self.since_mark()?;
                    self.push(Node::Tuple(elements));
                }
                0x85..=0x87 => {
                    let count = usize::from(opcode - 0x84);
                    let from = self.stack.len().checked_sub(count).filter(|&from| from >= self.floor());
                    let from = from.ok_or_else(|| self.damaged("a tuple of more than there is"))?;
                    let elements = self.stack.split_off(from);
                    self.push(Node::Tuple(elements));
                }
                b'd' => {
                    let items = self.pairs()?;
                    self.push(Node::Dict(items));
                }
                b'a' => {
                    let element = self.pop()?;
                    self.append(vec![element])?;
                }
                b'e' | 0x90 => {
                    let elements = self.since_mark()?;
                    self.append(elements)?;
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set(vec![(key, value)])?;
                }
                b'u' => {
                    let items = self.pairs()?;
                    self.set(items)?;
                }
                b'p' | b'q' | b'r' | 0x94 => {
                    let key = match opcode {
                        0x94 => self.memo.len() as u64,
                        _ => self.memo_key(opcode)?,
                    };
                    let top = self.top()?;
                    self.memo.insert(key, top);
                }
                b'g' | b'h' | b'j' => {
                    let key = self.memo_key(opcode)?;
                    let value = self.memo.get(&key).copied();
                    let value = value.ok_or_else(|| self.damaged(format!("memo {key} is used before it is set")))?;
                    self.stack.push(value);
                }
                b'c' => {
                    let start = self.at - 1;
                    let (module, name) = (self.line()?.to_owned(), self.line()?.to_owned());
                    self.global(module, name, start)?;
                }
                0x93 => {
                    let start = self.at - 1;
                    let (name, module) = (self.pop()?, self.pop()?);
                    let text = |at: Ref| match &self.nodes[at as usize] {
                        Node::Text(text) => Some(text.clone()),
                        _ => None,
                    };
                    let named = text(module).zip(text(name));
                    let (module, name) = named.ok_or_else(|| self.damaged("a global whose name is not text"))?;
                    self.global(module, name, start)?;
                }
                b'R' | 0x81 => {
                    let (arguments, class) = (self.pop()?, self.pop()?);
                    self.object(class, arguments);
                }
                0x92 => {
                    let (_, arguments, class) = (self.pop()?, self.pop()?, self.pop()?);
                    self.object(class, arguments);
                }
                b'i' => {
                    let start = self.at - 1;
                    let (module, name) = (self.line()?.to_owned(), self.line()?.to_owned());
                    let arguments = self.since_mark()?;
                    self.global(module, name, start)?;
                    let class = self.pop()?;
                    let arguments = self.add(Node::Tuple(arguments));
                    self.object(class, arguments);
                }
                b'o' => {
                    let mut arguments = self.since_mark()?;
                    if arguments.is_empty() {
                        return Err(self.damaged("an object without a class"));
                    }
                    let class = arguments.remove(0);
                    let arguments = self.add(Node::Tuple(arguments));
                    self.object(class, arguments);
                }
                b'b' => {
                    let state = self.pop()?;
                    let object = self.top()?;
                    // State of anything else (a dictionary that was made by a name) has no meaning for tensors.
                    if let Node::Object(object) = &mut self.nodes[object as usize] {
                        object.state = Some(state);
                    }
                }
                b'P' => {
                    let text = Node::Text(self.line()?.to_owned());
                    let id = self.add(text);
                    self.push(Node::Persistent(id));
                }
                b'Q' => {
                    let id = self.pop()?;
                    self.push(Node::Persistent(id));
                }
                other => return Err(self.damaged(format!("opcode {other:#04x} is not one that torch writes"))),
            }
        }
    }

    fn global(&mut self, module: String, name: String, offset: usize) -> Result<(), Error> {
        if !allowed(self.kind, &module, &name) {
            return Err(Error::Refused {
                name: self.name.to_owned(),
                global: shown(&format!("{module}.{name}")),
                offset,
            });
        }
        self.push(Node::Global(module, name));
        Ok(())
    }

    fn object(&mut self, class: Ref, arguments: Ref) {
        self.push(Node::Object(Box::new(Object { class, arguments, state: None, items: Vec::new() })));
    }

    fn append(&mut self, elements: Vec<Ref>) -> Result<(), Error> {
        let list = self.top()?;
        match &mut self.nodes[list as usize] {
            Node::List(list) => list.extend(elements),
            // A subclass of list that was made by a name; its elements have no meaning for tensors.
            Node::Object(_) => {}
            _ => return Err(self.damaged("something is appended to what is no list")),
        }
        Ok(())
    }

    fn set(&mut self, new: Vec<(Ref, Ref)>) -> Result<(), Error> {
        let dict = self.top()?;
        match &mut self.nodes[dict as usize] {
            Node::Dict(items) => items.extend(new),
            Node::Object(object) => object.items.extend(new),
            _ => return Err(self.damaged("an item is set on what is no dictionary")),
        }
        Ok(())
    }

    fn long(&mut self, length: usize) -> Result<(), Error> {
        let bytes = self.take(length)?;
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let sign = if negative { 0xff } else { 0 };
        let mut wide = [sign; 8];
        let kept = bytes.len().min(8);
        wide[..kept].copy_from_slice(&bytes[..kept]);
        let narrow = i64::from_le_bytes(wide);
        // What is beyond eight bytes must repeat the sign.
        let fits = bytes.iter().skip(8).all(|byte| *byte == sign) && (narrow < 0) == negative;
        let int = match (fits, negative) {
            (true, _) => narrow,
            (false, true) => i64::MIN,
            (false, false) => i64::MAX,
        };
        self.push(Node::Int(int));
        Ok(())
    }

    fn pairs(&mut self) -> Result<Vec<(Ref, Ref)>, Error> {
        let flat = self.since_mark()?;
        let (pairs, rest) = flat.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(self.damaged("a key without a value"));
        }
        Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
    }

    fn memo_key(&mut self, opcode: u8) -> Result<u64, Error> {
        Ok(match opcode {
            b'q' | b'h' => u64::from(self.byte()?),
            b'r' | b'j' => u64::from(u32::from_le_bytes(self.array()?)),
            _ => {
                let text = self.line()?;
                u64::try_from(self.number(text)?).map_err(|_| self.damaged("a negative memo"))?
            }
        })
    }

    fn number(&self, text: &str) -> Result<i64, Error> {
        text.parse().map_err(|_| self.damaged(format!("'{}' is not an integer", shown(text))))
    }

    fn length(&mut self, opcode: u8) -> Result<usize, Error> {
        match opcode {
            0x8c | b'U' | b'C' => Ok(usize::from(self.byte()?)),
            b'X' | b'T' | b'B' => self.length4(),
            _ => {
                let length = u64::from_le_bytes(self.array()?);
                usize::try_from(length).map_err(|_| self.damaged("a length beyond the address space"))
            }
        }
    }

    fn length4(&mut self) -> Result<usize, Error> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn add(&mut self, node: Node) -> Ref {
        self.nodes.push(node);
        // `read` limits the bytes, and every byte makes two nodes at most.
        (self.nodes.len() - 1) as Ref
    }

    fn push(&mut self, node: Node) {
        let at = self.add(node);
        self.stack.push(at);
    }

    /// Where the innermost mark is: nothing below may be taken off.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Ref, Error> {
        if self.stack.len() <= self.floor() {
            return Err(self.damaged("the stack is empty"));
        }
        self.stack.pop().ok_or_else(|| self.damaged("the stack is empty"))
    }

    fn top(&self) -> Result<Ref, Error> {
        self.stack.last().copied().ok_or_else(|| self.damaged("the stack is empty"))
    }

    fn since_mark(&mut self) -> Result<Vec<Ref>, Error> {
        let mark = self.marks.pop().ok_or_else(|| self.damaged("a mark is missing"))?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let bytes = self.take(N)?;
        let mut array = [0; N];
        array.copy_from_slice(bytes);
        Ok(array)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let end = self.at.checked_add(count);
        let bytes = end.and_then(|end| self.bytes.get(self.at..end));
        let bytes = bytes.ok_or_else(|| self.damaged("it ends inside an opcode"))?;
        self.at += count;
        Ok(bytes)
    }

    fn line(&mut self) -> Result<&'a str, Error> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|&byte| byte == b'\n');
        let length = length.ok_or_else(|| self.damaged("a line does not end"))?;
        self.at += length + 1;
        std::str::from_utf8(&rest[..length]).map_err(|_| self.damaged("a line is not text"))
    }

    fn damaged(&self, what: impl AsRef<str>) -> Error {
        Error::format(self.name, format!("damaged pickle at byte {}: {}", self.at, what.as_ref()))
    }
}
