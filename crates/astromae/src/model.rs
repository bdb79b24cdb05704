//! The weights as the forward pass wants them: BatchNorm folded, layers with nothing between them merged.

use starmap_kernels::elementwise::add_bias;
use starmap_kernels::gemm::{Into, Matrix, gemm};

use crate::config::{Config, MAGNITUDES, VIS};
use crate::error::Error;
use crate::inception::Inception;
use crate::source::TensorSource;
use crate::transformer::Transformer;

/// A loaded model: about one copy of the weights in memory.
#[derive(Debug)]
pub struct Model {
    config: Config,
    pub(crate) transformer: Transformer,
    pub(crate) inception: Inception,
    /// Linear layers of the magnitude branch, all but the last, each followed by ReLU.
    pub(crate) magnitudes: Vec<Linear>,
    /// `head` and `vit_block.0` as one layer.
    pub(crate) vit: Linear,
    /// The last layers of the three branches merged with `concat_block.0`: transformer, Inception, magnitudes.
    pub(crate) fusion: [Linear; 3],
    pub(crate) last: Linear,
}

impl Model {
    /// Loads a model, tensor by tensor.
    ///
    /// # Errors
    /// [`Error::Tensors`] with everything that is missing or mis-shaped, [`Error::Read`], [`Error::NotFinite`].
    pub fn load(source: &dyn TensorSource) -> Result<Self, Error> {
        let heads = source.metadata("heads").and_then(|text| text.parse().ok());
        let config = Config::infer(&source.tensors(), heads)?;
        let reader = Reader { source };
        let head = reader.linear("head", config.width, config.head)?;
        let vit = head.then(&reader.linear("vit_block.0", config.head, config.vit[0])?);
        let mut magnitudes = Vec::new();
        let mut inputs = config.bands;
        for (k, &outputs) in config.magnitudes.iter().enumerate() {
            magnitudes.push(reader.linear(&format!("{MAGNITUDES}{}", 2 * k), inputs, outputs)?);
            inputs = outputs;
        }
        let sizes = [config.vit[1], config.vis[1], inputs];
        let concatenated = reader.linear("concat_block.0", sizes.iter().sum(), config.fusion)?;
        let [from_vit, from_vis, from_magnitudes] = concatenated.split(sizes);
        let vit_last = reader.linear("vit_block.2", config.vit[0], config.vit[1])?.then(&from_vit);
        let vis = format!("{VIS}{}", config.first_linear() + 2);
        let vis_last = reader.linear(&vis, config.vis[0], config.vis[1])?.then(&from_vis);
        let magnitudes_last = match magnitudes.pop() {
            Some(last) => last.then(&from_magnitudes),
            None => from_magnitudes,
        };
        Ok(Self {
            transformer: Transformer::load(&reader, &config)?,
            inception: Inception::load(&reader, &config)?,
            magnitudes,
            vit,
            fusion: [vit_last, vis_last, magnitudes_last],
            last: reader.linear("concat_block.2", config.fusion, 1)?,
            config,
        })
    }

    /// The model's dimensions.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// `y = x·Wᵀ + b`.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    /// `[outputs, inputs]`, row-major, as PyTorch has it.
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
    pub inputs: usize,
    pub outputs: usize,
}

impl Linear {
    /// Applies the layer to `x`, `[rows, inputs]`; `out` is `[rows, outputs]`.
    pub fn apply(&self, x: &[f32], rows: usize, out: &mut [f32]) {
        self.multiply(x, rows, out, Into::Replace);
        add_bias(&mut out[..rows * self.outputs], &self.bias);
    }

    /// Adds the layer's result to `out`.
    pub fn apply_add(&self, x: &[f32], rows: usize, out: &mut [f32]) {
        self.multiply(x, rows, out, Into::Add);
        add_bias(&mut out[..rows * self.outputs], &self.bias);
    }

    fn multiply(&self, x: &[f32], rows: usize, out: &mut [f32], into: Into) {
        let weight = Matrix::new(&self.weight, self.outputs, self.inputs).transposed();
        gemm(Matrix::new(x, rows, self.inputs), weight, out, self.outputs, into);
    }

    /// This layer and then `next`, as one layer. Exact in real arithmetic; in `f32` each weight is rounded about as
    /// often as a forward pass through both would.
    fn then(&self, next: &Self) -> Self {
        let mut weight = vec![0.0; next.outputs * self.inputs];
        let inner = Matrix::new(&self.weight, self.outputs, self.inputs);
        gemm(Matrix::new(&next.weight, next.outputs, next.inputs), inner, &mut weight, self.inputs, Into::Replace);
        let carried = |row: &[f32]| row.iter().zip(&self.bias).map(|(w, b)| f64::from(*w) * f64::from(*b)).sum::<f64>();
        let rows = next.weight.chunks_exact(next.inputs).zip(&next.bias);
        let bias = rows.map(|(row, bias)| (f64::from(*bias) + carried(row)) as f32).collect();
        Self { weight, bias, inputs: self.inputs, outputs: next.outputs }
    }

    /// The layer's parts for inputs that are three vectors one after the other; the bias goes to the first.
    fn split(self, sizes: [usize; 3]) -> [Self; 3] {
        let mut start = 0;
        sizes.map(|size| {
            let columns = start..start + size;
            let bias = if start == 0 { self.bias.clone() } else { vec![0.0; self.outputs] };
            let rows = self.weight.chunks_exact(self.inputs);
            let weight = rows.flat_map(|row| row[columns.clone()].iter().copied()).collect();
            start += size;
            Self { weight, bias, inputs: size, outputs: self.outputs }
        })
    }
}

/// Reads tensors whose shapes have been checked, and refuses what is not finite.
pub(crate) struct Reader<'a> {
    source: &'a dyn TensorSource,
}

/// BatchNorm's epsilon in PyTorch.
const BATCH_NORM_EPSILON: f64 = 1e-5;

impl Reader<'_> {
    pub fn take(&self, name: &str) -> Result<Vec<f32>, Error> {
        let mut values = Vec::new();
        let read = self.source.read(name, &mut values);
        read.map_err(|source| Error::Read { name: name.to_owned(), source })?;
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(Error::NotFinite { name: name.to_owned(), index, value: values[index] }),
            None => Ok(values),
        }
    }

    pub fn linear(&self, prefix: &str, inputs: usize, outputs: usize) -> Result<Linear, Error> {
        let weight = self.take(&format!("{prefix}.weight"))?;
        Ok(Linear { weight, bias: self.take(&format!("{prefix}.bias"))?, inputs, outputs })
    }

    /// A convolution (weights `[outputs, inputs·kernel²]`) with the BatchNorm that follows it folded in.
    pub fn folded(&self, conv: &str, norm: &str) -> Result<(Vec<f32>, Vec<f32>), Error> {
        let mut weight = self.take(&format!("{conv}.weight"))?;
        let mut bias = self.take(&format!("{conv}.bias"))?;
        let [gamma, beta, mean, variance] =
            ["weight", "bias", "running_mean", "running_var"].map(|part| self.take(&format!("{norm}.{part}")));
        let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
        let per_output = weight.len() / bias.len().max(1);
        for (o, (bias, weight)) in bias.iter_mut().zip(weight.chunks_exact_mut(per_output.max(1))).enumerate() {
            let scale = f64::from(gamma[o]) / (f64::from(variance[o]) + BATCH_NORM_EPSILON).sqrt();
            weight.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * scale) as f32);
            *bias = ((f64::from(*bias) - f64::from(mean[o])) * scale + f64::from(beta[o])) as f32;
        }
        Ok((weight, bias))
    }
}
