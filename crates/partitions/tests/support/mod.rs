//! Files as other programs write them, and as attackers do.

/// A tensor of zeros.
#[derive(Clone, Copy)]
pub struct Tensor {
    pub class: &'static str,
    pub shape: &'static [u64],
    /// Row-major if not said otherwise.
    pub strides: Option<&'static [u64]>,
}

impl Tensor {
    pub const fn new(class: &'static str, shape: &'static [u64]) -> Self {
        Self { class, shape, strides: None }
    }

    fn bytes(&self) -> usize {
        let element = match self.class {
            "DoubleStorage" | "LongStorage" => 8,
            "FloatStorage" => 4,
            "HalfStorage" | "BFloat16Storage" => 2,
            _ => 1,
        };
        self.shape.iter().product::<u64>() as usize * element
    }

    /// The call that makes it, its data in storage `key`.
    pub fn pickle(&self, key: usize) -> Vec<u8> {
        let row_major: Vec<u64> = (1..=self.shape.len()).map(|from| self.shape[from..].iter().product()).collect();
        let tuple =
            |values: &[u64]| format!("({}t", values.iter().map(|value| format!("I{value}\n")).collect::<String>());
        let (class, shape, strides) = (self.class, tuple(self.shape), tuple(self.strides.unwrap_or(&row_major)));
        format!(
            "ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\n{class}\nS'{key}'\nS'cpu'\nI1\ntQI0\n{shape}{strides}\
             I00\nccollections\nOrderedDict\n)RtR"
        )
        .into_bytes()
    }
}

/// The pickle of a tuple of tensors.
pub fn tuple(tensors: &[Tensor]) -> Vec<u8> {
    let tensors = tensors.iter().enumerate().flat_map(|(key, tensor)| tensor.pickle(key));
    b"\x80\x02(".iter().copied().chain(tensors).chain(*b"t.").collect()
}

/// The pickle of a dictionary of tensors.
pub fn dictionary(tensors: &[(&str, Tensor)]) -> Vec<u8> {
    let mut out = b"\x80\x02}(".to_vec();
    for (key, (name, tensor)) in tensors.iter().enumerate() {
        out.extend(format!("S'{name}'\n").bytes());
        out.extend(tensor.pickle(key));
    }
    out.extend(b"u.");
    out
}

/// A file of a tuple of tensors.
pub fn torch_file(tensors: &[Tensor]) -> Vec<u8> {
    pt(&tuple(tensors), &tensors.iter().map(Tensor::bytes).collect::<Vec<_>>())
}

/// A zip like torch's of a pickle and storages of zeros.
pub fn pt(pickle: &[u8], storages: &[usize]) -> Vec<u8> {
    let mut entries = vec![("a/data.pkl".to_owned(), pickle.to_vec())];
    entries.extend(storages.iter().enumerate().map(|(key, bytes)| (format!("a/data/{key}"), vec![0; *bytes])));
    zip(&entries, 0)
}

/// A zip whose entries claim a compression method.
pub fn zip(entries: &[(String, Vec<u8>)], method: u8) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let mut fields = vec![10, 0, 0, 0, method, 0, 0, 0, 0, 0];
        fields.extend(crc32fast::hash(data).to_le_bytes());
        fields.extend((data.len() as u32).to_le_bytes());
        fields.extend((data.len() as u32).to_le_bytes());
        fields.extend((name.len() as u16).to_le_bytes());
        fields.extend([0, 0]);
        directory.extend(b"PK\x01\x02\x0a\x00");
        directory.extend(&fields);
        // Comment, disk, attributes.
        directory.extend([0; 10]);
        directory.extend((out.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        out.extend(b"PK\x03\x04");
        out.extend(&fields);
        out.extend(name.as_bytes());
        out.extend(data);
    }
    let start = out.len() as u32;
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend((entries.len() as u16).to_le_bytes());
    out.extend((entries.len() as u16).to_le_bytes());
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0, 0]);
    out
}

/// A NumPy array.
pub fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    let text = format!("{text:<117}\n");
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((text.len() as u16).to_le_bytes());
    out.extend(text.bytes());
    out.extend(data);
    out
}
