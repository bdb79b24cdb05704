//! The weights as the forward pass wants them: BatchNorm folded, layers with nothing between them merged.

use starmap_kernels::matrix::{Rows, Then, Weights, multiply};
use starmap_kernels::{LANES, Lanes, Set};

use crate::config::{Config, MAGNITUDES, VIS};
use crate::error::Error;
use crate::inception::{self, Inception};
use crate::packed::{PackedArray, PackedSource, Packer, Unpacker};
use crate::precision::{Linear, Precision};
use crate::source::TensorSource;
use crate::transformer::Transformer;

/// A loaded model: about one copy of the weights in memory.
#[derive(Debug)]
pub struct Model {
    config: Config,
    precision: Precision,
    pub(crate) transformer: Transformer,
    pub(crate) inception: Inception,
    /// Linear layers of the magnitude branch, all but the last, each followed by ReLU.
    pub(crate) magnitudes: Vec<Linear>,
    /// What `fc_norm` scales by, `head` and `vit_block.0` as one layer, followed by ReLU.
    pub(crate) vit: Weights,
    /// The first linear layer of the Inception branch, followed by ReLU.
    pub(crate) vis: Weights,
    /// The last layers of the three branches merged with `concat_block.0`: transformer, Inception, magnitudes.
    pub(crate) fusion: [Weights; 3],
    pub(crate) last: Weights,
}

impl Model {
    /// Loads a model in `f32`, tensor by tensor.
    ///
    /// # Errors
    /// [`Error::Tensors`] with everything that is missing or mis-shaped, [`Error::Heads`], [`Error::Read`],
    /// [`Error::NotFinite`].
    pub fn load(source: &dyn TensorSource) -> Result<Self, Error> {
        Self::load_in(source, Precision::F32, Set::best())
    }

    /// Loads a model in a precision; `set` is what it will be computed with.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load_in(source: &dyn TensorSource, precision: Precision, set: Set) -> Result<Self, Error> {
        let config = Config::read(source)?;
        let reader = Reader { source };
        let head = reader.after_norm("fc_norm", reader.layer("head")?)?;
        let vit = head.then(&reader.layer("vit_block.0")?).packed();
        let mut magnitudes = Vec::new();
        for k in 0..config.magnitudes.len() - 1 {
            let layer = reader.layer(&format!("{MAGNITUDES}{}", 2 * k))?;
            // Magnitudes themselves are too few to gain by, and are what everything hangs on.
            let precision = if k == 0 { Precision::F32 } else { precision };
            magnitudes.push(Linear::new(&layer, precision, set));
        }
        let of_magnitudes = config.magnitudes.len() - 1;
        let sizes = [config.vit[1], config.vis[1], config.magnitudes[of_magnitudes]];
        let [from_vit, from_vis, from_magnitudes] = reader.layer("concat_block.0")?.split(sizes);
        let vis_last = format!("{VIS}{}", config.first_linear() + 2);
        let fusion = [
            reader.layer("vit_block.2")?.then(&from_vit).packed(),
            reader.layer(&vis_last)?.then(&from_vis).packed(),
            reader.layer(&format!("{MAGNITUDES}{}", 2 * of_magnitudes))?.then(&from_magnitudes).packed(),
        ];
        Ok(Self {
            transformer: Transformer::load(&reader, &config, precision, set)?,
            inception: Inception::load(&reader, &config)?,
            magnitudes,
            vit,
            vis: inception::flattened(&reader, &config)?.packed(),
            fusion,
            last: reader.layer("concat_block.2")?.packed(),
            precision,
            config,
        })
    }

    /// Everything that was packed, to be stored and given to [`Model::load_packed`] another time.
    pub fn packed(&self) -> Vec<PackedArray<'_>> {
        let mut packer = Packer::default();
        self.transformer.pack(&mut packer);
        self.inception.pack(&mut packer);
        for (k, layer) in self.magnitudes.iter().enumerate() {
            // The first one is in full precision always, see `load_in`.
            packer.linear(&format!("magnitudes.{k}"), layer);
        }
        packer.weights("vit", &self.vit);
        packer.weights("vis", &self.vis);
        for (k, layer) in self.fusion.iter().enumerate() {
            packer.weights(&format!("fusion.{k}"), layer);
        }
        packer.weights("last", &self.last);
        packer.0
    }

    /// Loads a model from the arrays that [`Model::packed`] gave, in the same [`layout`](crate::packed::layout).
    ///
    /// # Errors
    /// As [`Model::load`]; an array that is missing or of another size is [`Error::Read`].
    pub fn load_packed(source: &dyn PackedSource, precision: Precision, set: Set) -> Result<Self, Error> {
        let config = Config::read(source)?;
        let unpacker = Unpacker { source, precision, set };
        let mut magnitudes = Vec::new();
        let mut inputs = config.bands;
        for (k, &outputs) in config.magnitudes[..config.magnitudes.len() - 1].iter().enumerate() {
            let name = format!("magnitudes.{k}");
            magnitudes.push(match k {
                0 => Linear::Full(unpacker.weights(&name, inputs, outputs)?),
                _ => unpacker.linear(&name, inputs, outputs)?,
            });
            inputs = outputs;
        }
        Ok(Self {
            transformer: Transformer::unpack(&unpacker, &config)?,
            inception: Inception::unpack(&unpacker, &config)?,
            magnitudes,
            vit: unpacker.weights("vit", config.width, config.vit[0])?,
            vis: unpacker.weights("vis", config.flat(), config.vis[0])?,
            fusion: [
                unpacker.weights("fusion.0", config.vit[0], config.fusion)?,
                unpacker.weights("fusion.1", config.vis[0], config.fusion)?,
                unpacker.weights("fusion.2", inputs, config.fusion)?,
            ],
            last: unpacker.weights("last", config.fusion, 1)?,
            precision,
            config,
        })
    }

    /// The longest row of inputs that a layer in fewer bits takes; 0 where there is none.
    pub(crate) fn reduced_inputs(&self) -> usize {
        if self.precision == Precision::F32 {
            return 0;
        }
        let magnitudes = self.magnitudes.iter().map(Linear::inputs);
        magnitudes.chain([self.config.width, self.config.mlp]).max().unwrap_or(0)
    }

    /// In how many bits its large layers multiply.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The model's dimensions.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// A linear layer as it is in the file: `y = x·Wᵀ + b`.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// `[outputs, inputs]`, row-major.
    pub weight: Vec<f32>,
    /// `[outputs]`.
    pub bias: Vec<f32>,
}

impl Layer {
    fn inputs(&self) -> usize {
        self.weight.len() / self.bias.len().max(1)
    }

    pub fn packed(&self) -> Weights {
        Weights::new(&self.weight, &self.bias)
    }

    /// This layer and then `next`, as one layer. Exact in real arithmetic; in `f32` a weight is rounded about as often
    /// as a forward pass through both would round.
    fn then(&self, next: &Self) -> Self {
        let (inputs, between, outputs) = (self.inputs(), self.bias.len(), next.bias.len());
        // Sixteen columns of this layer's weights side by side are what sixteen galaxies are elsewhere.
        let chunks = inputs.div_ceil(LANES);
        let mut columns = vec![Lanes::ZERO; chunks * between];
        for (row, weights) in self.weight.chunks_exact(inputs).enumerate() {
            for (chunk, weights) in weights.chunks(LANES).enumerate() {
                columns[chunk * between + row].0[..weights.len()].copy_from_slice(weights);
            }
        }
        let packed = Weights::new(&next.weight, &vec![0.0; outputs]);
        let mut merged = vec![Lanes::ZERO; chunks * outputs];
        multiply(Set::best(), Rows::new(&columns, chunks, between), &packed, &mut merged, outputs, Then::Store);
        let mut weight = vec![0.0; outputs * inputs];
        for (output, row) in weight.chunks_exact_mut(inputs).enumerate() {
            for (chunk, row) in row.chunks_mut(LANES).enumerate() {
                row.copy_from_slice(&merged[chunk * outputs + output].0[..row.len()]);
            }
        }
        let carried = |row: &[f32]| row.iter().zip(&self.bias).map(|(w, b)| f64::from(*w) * f64::from(*b)).sum::<f64>();
        let rows = next.weight.chunks_exact(between).zip(&next.bias);
        let bias = rows.map(|(row, bias)| (f64::from(*bias) + carried(row)) as f32).collect();
        Self { weight, bias }
    }

    /// The layer's groups: one small layer for each, of weights `[groups·outputs, inputs]`.
    pub fn groups(&self, groups: usize) -> Vec<Weights> {
        let outputs = self.bias.len() / groups;
        let parts = self.weight.chunks_exact(self.inputs() * outputs).zip(self.bias.chunks_exact(outputs));
        parts.map(|(weight, bias)| Weights::new(weight, bias)).collect()
    }

    /// The layer's parts for inputs that are three vectors one after the other; the bias goes to the first.
    fn split(self, sizes: [usize; 3]) -> [Self; 3] {
        let (inputs, mut start) = (self.inputs(), 0);
        sizes.map(|size| {
            let columns = start..start + size;
            let bias = if start == 0 { self.bias.clone() } else { vec![0.0; self.bias.len()] };
            let rows = self.weight.chunks_exact(inputs);
            let weight = rows.flat_map(|row| row[columns.clone()].iter().copied()).collect();
            start += size;
            Self { weight, bias }
        })
    }
}

/// `[rows, columns]` as `[columns, rows]`.
pub(crate) fn transposed(matrix: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut turned = Vec::with_capacity(matrix.len());
    for column in 0..columns {
        turned.extend((0..rows).map(|row| matrix[row * columns + column]));
    }
    turned
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

    pub fn layer(&self, prefix: &str) -> Result<Layer, Error> {
        Ok(Layer { weight: self.take(&format!("{prefix}.weight"))?, bias: self.take(&format!("{prefix}.bias"))? })
    }

    /// A layer whose inputs come from a layer norm, with the norm's scale and shift folded in.
    pub fn after_norm(&self, norm: &str, layer: Layer) -> Result<Layer, Error> {
        let (scale, shift) = (self.take(&format!("{norm}.weight"))?, self.take(&format!("{norm}.bias"))?);
        let Layer { mut weight, mut bias } = layer;
        for (row, bias) in weight.chunks_exact_mut(scale.len()).zip(&mut bias) {
            let carried: f64 = row.iter().zip(&shift).map(|(w, shift)| f64::from(*w) * f64::from(*shift)).sum();
            *bias = (f64::from(*bias) + carried) as f32;
            row.iter_mut().zip(&scale).for_each(|(weight, scale)| *weight *= scale);
        }
        Ok(Layer { weight, bias })
    }

    /// A convolution (weights `[outputs, inputs·kernel²]`) with the BatchNorm that follows it folded in.
    pub fn folded(&self, conv: &str, norm: &str) -> Result<Layer, Error> {
        let Layer { mut weight, mut bias } = self.layer(conv)?;
        let [gamma, beta, mean, variance] =
            ["weight", "bias", "running_mean", "running_var"].map(|part| self.take(&format!("{norm}.{part}")));
        let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
        let per_output = weight.len() / bias.len().max(1);
        for (o, (bias, weight)) in bias.iter_mut().zip(weight.chunks_exact_mut(per_output.max(1))).enumerate() {
            let scale = f64::from(gamma[o]) / (f64::from(variance[o]) + BATCH_NORM_EPSILON).sqrt();
            weight.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * scale) as f32);
            *bias = ((f64::from(*bias) - f64::from(mean[o])) * scale + f64::from(beta[o])) as f32;
        }
        Ok(Layer { weight, bias })
    }
}
