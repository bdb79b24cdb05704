//! Finds the tensors in a zip that `torch.save` wrote: partitions, state dicts and whole modules.

use std::collections::HashMap;

use crate::error::Error;
use crate::located::{Dtype, Located, Region};
use crate::pickle::{BYTES_MAX, Kind, Node, Object, Pickle, Ref};
use crate::source::ByteSource;
use crate::zip::Zip;

/// Keys under which training scripts keep a model beside its optimizer.
const MODEL_KEYS: [&str; 6] = ["state_dict", "model_state_dict", "model", "net", "module", "params"];
/// A module graph may share modules, so a small file can describe a walk that does not end. Larger models than this
/// exist, but are not saved as one pickle.
const STEPS_MAX: usize = 1_000_000;
const TENSORS_MAX: usize = 65_536;
const NAME_BYTES_MAX: usize = 1_024;

/// A `.pt` whose pickle has been read.
#[derive(Debug)]
pub(crate) struct Torch {
    zip: Zip,
    pickle: Pickle,
    folder: String,
    regions: HashMap<String, Region>,
}

/// A tensor as the pickle describes it.
struct Described<'a> {
    /// Of its storage.
    key: &'a str,
    dtype: Dtype,
    /// In elements, as are the strides.
    offset: u64,
    shape: Vec<u64>,
    strides: Vec<u64>,
}

impl Torch {
    pub fn open(zip: Zip, source: &dyn ByteSource, name: &str, kind: Kind) -> Result<Self, Error> {
        // The folder is called as the file was; a renamed file keeps it. Of several the first by name, to be certain.
        let folder = zip.names().filter_map(|path| path.strip_suffix("/data.pkl")).min().map(str::to_owned);
        let entry = folder.as_ref().and_then(|folder| zip.get(&format!("{folder}/data.pkl")));
        let (Some(folder), Some(entry)) = (&folder, entry) else {
            let mut present: Vec<&str> = zip.names().collect();
            present.sort_unstable();
            let shown =
                present.iter().take(3).map(|path| path.escape_debug().to_string()).collect::<Vec<_>>().join(", ");
            let reason = format!(
                "a zip without data.pkl, which torch.save always writes; it has {} entries: {shown}",
                present.len()
            );
            return Err(Error::format(name, reason));
        };
        if let Some(order) = zip.get(&format!("{folder}/byteorder")) {
            let order = zip.read(source, name, order, 16)?;
            if order != b"little" {
                let reason = format!(
                    "its byte order is \"{}\", expected \"little\"\n\
                     hint: load it on a little-endian machine and save it again",
                    order.escape_ascii()
                );
                return Err(Error::format(name, reason));
            }
        }
        let pickle = Pickle::read(&zip.read(source, name, entry, BYTES_MAX as u64)?, kind, name)?;
        let folder = folder.clone();
        Ok(Self { zip, pickle, folder, regions: HashMap::new() })
    }

    /// The tensors of a `TensorDataset`, of a tuple or list, or of a dictionary with names.
    pub fn partition(&mut self, source: &dyn ByteSource, name: &str) -> Result<Vec<Located>, Error> {
        let root = self.pickle.root();
        let tensors = match self.pickle.node(root) {
            Node::Object(object) if self.is(object, "torch.utils.data.dataset", "TensorDataset") => {
                let tensors = object.state.and_then(|state| self.pickle.get(state, "tensors"));
                tensors.ok_or_else(|| Error::format(name, "its TensorDataset has no tensors"))?
            }
            _ => root,
        };
        let mut labelled = Vec::new();
        if let Some(elements) = self.pickle.elements(tensors) {
            if elements.len() > 16 {
                let reason = format!("it has {} tensors, expected images, magnitudes and redshifts", elements.len());
                return Err(Error::layout(name, reason));
            }
            labelled.extend(elements.iter().enumerate().map(|(index, at)| (format!("tensor {index}"), *at)));
        } else if let Some(items) = self.pickle.items(tensors) {
            for label in ["images", "magnitudes", "redshifts"] {
                let found = items.iter().rev().find(|(key, _)| self.pickle.text(*key) == Some(label));
                labelled.extend(found.map(|(_, at)| (label.to_owned(), *at)));
            }
        } else {
            let reason = "its pickle holds neither a TensorDataset nor a tuple, list or dictionary of tensors\n\
                          hint: save torch.utils.data.TensorDataset(images, magnitudes, redshifts) with torch.save";
            return Err(Error::format(name, reason));
        }
        let mut located = Vec::new();
        for (label, at) in labelled {
            match self.tensor(source, name, at, &label)? {
                Some(tensor) => located.push(tensor),
                None => return Err(Error::format(name, format!("{label} is not a tensor"))),
            }
        }
        Ok(located)
    }

    /// The named tensors of a module or of a state dict, in PyTorch's order.
    pub fn checkpoint(&mut self, source: &dyn ByteSource, name: &str) -> Result<Vec<Located>, Error> {
        let root = self.model_root().ok_or_else(|| {
            Error::format(
                name,
                "its pickle holds neither a module nor a dictionary of tensors\n\
                 hint: save model.state_dict() with torch.save",
            )
        })?;
        let mut named = if self.module_state(root).is_some() { self.walk(name, root)? } else { self.state_dict(root) };
        // `DataParallel` keeps the model as its only child, and its state dict has the same prefix.
        if !named.is_empty() && named.iter().all(|(tensor, _)| tensor.starts_with("module.")) {
            for (tensor, _) in &mut named {
                tensor.drain(.."module.".len());
            }
        }
        let mut located = Vec::with_capacity(named.len());
        for (label, at) in named {
            located.extend(self.tensor(source, name, at, &label)?);
            if located.len() > TENSORS_MAX {
                return Err(Error::format(name, format!("it has more than {TENSORS_MAX} tensors")));
            }
        }
        Ok(located)
    }

    fn model_root(&self) -> Option<Ref> {
        let root = self.pickle.root();
        if self.module_state(root).is_some() {
            return Some(root);
        }
        let items = self.pickle.items(root)?;
        if items.iter().any(|(_, value)| self.is_tensor(*value)) {
            return Some(root);
        }
        let inner = MODEL_KEYS.iter().find_map(|key| self.pickle.get(root, key))?;
        (self.module_state(inner).is_some() || self.pickle.items(inner).is_some()).then_some(inner)
    }

    fn state_dict(&self, at: Ref) -> Vec<(String, Ref)> {
        let items = self.pickle.items(at).unwrap_or_default().iter();
        items.filter_map(|(key, value)| Some((self.pickle.text(*key)?.to_owned(), *value))).collect()
    }

    /// The attributes of a module.
    fn module_state(&self, at: Ref) -> Option<Ref> {
        let Node::Object(object) = self.pickle.node(at) else { return None };
        object.state.filter(|state| self.pickle.get(*state, "_modules").is_some())
    }

    /// Parameters, then buffers, then children of every module, as `state_dict` does.
    fn walk(&self, name: &str, root: Ref) -> Result<Vec<(String, Ref)>, Error> {
        let too_large =
            |what: String| Error::format(name, format!("its modules are nested or shared too often: {what}"));
        let mut named = Vec::new();
        let mut pending = vec![(String::new(), root)];
        let mut steps = 0usize;
        while let Some((prefix, module)) = pending.pop() {
            let Some(state) = self.module_state(module) else { continue };
            steps += 1 + self.pickle.items(state).unwrap_or_default().len();
            let not_saved = self.names_in(self.pickle.get(state, "_non_persistent_buffers_set"));
            let mut children = Vec::new();
            for kind in ["_parameters", "_buffers", "_modules"] {
                let items = self.pickle.get(state, kind).and_then(|at| self.pickle.items(at)).unwrap_or_default();
                steps += items.len() + not_saved.len();
                if steps > STEPS_MAX {
                    return Err(too_large(format!("more than {STEPS_MAX} steps")));
                }
                for (key, value) in items {
                    let Some(key) = self.pickle.text(*key) else { continue };
                    if prefix.len() + key.len() > NAME_BYTES_MAX {
                        return Err(too_large(format!("a name has more than {NAME_BYTES_MAX} bytes")));
                    }
                    match kind {
                        "_modules" => children.push((format!("{prefix}{key}."), *value)),
                        "_buffers" if not_saved.contains(&key) => {}
                        _ => named.push((format!("{prefix}{key}"), *value)),
                    }
                }
            }
            pending.extend(children.into_iter().rev());
        }
        Ok(named)
    }

    /// The strings in a set, which is a list here or a call of `set` with a list.
    fn names_in(&self, set: Option<Ref>) -> Vec<&str> {
        let Some(set) = set else { return Vec::new() };
        let list = match self.pickle.node(set) {
            Node::Object(object) => {
                self.pickle.elements(object.arguments).and_then(|arguments| arguments.first()).copied()
            }
            _ => Some(set),
        };
        let elements = list.and_then(|list| self.pickle.elements(list)).unwrap_or_default();
        elements.iter().filter_map(|at| self.pickle.text(*at)).collect()
    }

    fn is(&self, object: &Object, module: &str, name: &str) -> bool {
        self.pickle.global(object.class) == Some((module, name))
    }

    fn is_tensor(&self, at: Ref) -> bool {
        self.rebuilt(at).is_some()
    }

    /// The arguments of the call that makes a tensor, be it a parameter or not.
    fn rebuilt(&self, at: Ref) -> Option<&[Ref]> {
        let call = |at: Ref| match self.pickle.node(at) {
            Node::Object(object) => Some((self.pickle.global(object.class)?, self.pickle.elements(object.arguments)?)),
            _ => None,
        };
        let mut found = call(at)?;
        if let ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state")
        | ("torch.nn.parameter", "Parameter") = found.0
        {
            found = call(*found.1.first()?)?;
        }
        match found {
            (("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2"), arguments) => Some(arguments),
            _ => None,
        }
    }

    /// Where a tensor is; `None` if there is something else (a bias that is `None`, a number).
    fn tensor(&mut self, source: &dyn ByteSource, name: &str, at: Ref, label: &str) -> Result<Option<Located>, Error> {
        let Some(arguments) = self.rebuilt(at) else { return Ok(None) };
        let described = self.describe(arguments);
        let Described { key, dtype, offset, shape, strides } = described.ok_or_else(|| {
            Error::format(
                name,
                format!("{label} is described in a way that torch does not (storage, offset, shape, strides)"),
            )
        })?;
        let key = key.to_owned();
        let region = match self.regions.get(&key) {
            Some(region) => region.clone(),
            None => {
                let path = format!("{}/data/{key}", self.folder);
                let entry = self.zip.get(&path).ok_or_else(|| {
                    Error::format(name, format!("{label} is in {}, which is missing from the zip", path.escape_debug()))
                })?;
                let region = self.zip.region(source, name, entry)?;
                self.regions.insert(key, region.clone());
                region
            }
        };
        let offset = offset.saturating_mul(dtype.bytes());
        Located::new(name, label.to_owned(), dtype, shape, Some(strides), offset, region).map(Some)
    }

    fn describe(&self, arguments: &[Ref]) -> Option<Described<'_>> {
        let [storage, offset, shape, strides, ..] = arguments else { return None };
        let Node::Persistent(id) = self.pickle.node(*storage) else { return None };
        let [kind, class, key, ..] = self.pickle.elements(*id)? else { return None };
        if self.pickle.text(*kind) != Some("storage") {
            return None;
        }
        let dtype = match self.pickle.global(*class)? {
            ("torch", "DoubleStorage") => Dtype::F64,
            ("torch", "FloatStorage") => Dtype::F32,
            ("torch", "HalfStorage") => Dtype::F16,
            ("torch", "BFloat16Storage") => Dtype::Bf16,
            ("torch", "LongStorage") => Dtype::I64,
            ("torch", "IntStorage") => Dtype::I32,
            ("torch", "ShortStorage") => Dtype::I16,
            ("torch", "CharStorage") => Dtype::I8,
            ("torch", "ByteStorage") => Dtype::U8,
            ("torch", "BoolStorage") => Dtype::Bool,
            _ => return None,
        };
        let numbers = |at: &Ref| -> Option<Vec<u64>> {
            let elements = match self.pickle.node(*at) {
                // `torch.Size` of a tuple.
                Node::Object(object) => self.pickle.elements(*self.pickle.elements(object.arguments)?.first()?)?,
                _ => self.pickle.elements(*at)?,
            };
            let number = |at: &Ref| u64::try_from(self.pickle.int(*at)?).ok();
            elements.iter().take(65).map(number).collect()
        };
        let (shape, strides) = (numbers(shape)?, numbers(strides)?);
        if shape.len() != strides.len() || shape.len() > 64 {
            return None;
        }
        let offset = u64::try_from(self.pickle.int(*offset)?).ok()?;
        Some(Described { key: self.pickle.text(*key)?, dtype, offset, shape, strides })
    }
}
