//! The network as it is defined, for one galaxy, in `f64`, with nothing merged, folded or reordered: slow and plain,
//! so that it can be read beside the published PyTorch code. Grids are `[channels, side, side]`.

use starmap_astromae::{Config, TensorSource};

struct Weights<'a>(&'a dyn TensorSource);

type Grid = Vec<f64>;

impl Weights<'_> {
    fn get(&self, name: &str) -> Vec<f64> {
        let mut values = Vec::new();
        self.0.read(name, &mut values).unwrap();
        values.into_iter().map(f64::from).collect()
    }

    fn linear(&self, prefix: &str, x: &[f64]) -> Vec<f64> {
        affine(&self.get(&format!("{prefix}.weight")), &self.get(&format!("{prefix}.bias")), x)
    }

    fn layer_norm(&self, prefix: &str, x: &[f64]) -> Vec<f64> {
        let (weight, bias) = (self.get(&format!("{prefix}.weight")), self.get(&format!("{prefix}.bias")));
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
        let normed = x.iter().map(|x| (x - mean) / (variance + 1e-6).sqrt());
        normed.zip(weight).zip(bias).map(|((x, w), b)| x * w + b).collect()
    }

    fn batch_norm(&self, prefix: &str, x: &[f64], pixels: usize) -> Grid {
        let [weight, bias, mean, variance] =
            ["weight", "bias", "running_mean", "running_var"].map(|part| self.get(&format!("{prefix}.{part}")));
        let normed = |(i, x): (usize, &f64)| {
            let c = i / pixels;
            (x - mean[c]) / (variance[c] + 1e-5).sqrt() * weight[c] + bias[c]
        };
        x.iter().enumerate().map(normed).collect()
    }

    fn conv(&self, prefix: &str, x: &[f64], side: usize, kernel: usize, groups: usize) -> Grid {
        let (weight, bias) = (self.get(&format!("{prefix}.weight")), self.get(&format!("{prefix}.bias")));
        let (inputs, outputs) = (x.len() / side / side / groups, bias.len());
        let reach = (kernel / 2) as isize;
        let mut out = Vec::new();
        for o in 0..outputs {
            let group = o / (outputs / groups);
            for y in 0..side as isize {
                for px in 0..side as isize {
                    let mut sum = bias[o];
                    for c in 0..inputs {
                        for ky in 0..kernel {
                            for kx in 0..kernel {
                                let (yy, xx) = (y + ky as isize - reach, px + kx as isize - reach);
                                let inside = 0..side as isize;
                                if inside.contains(&yy) && inside.contains(&xx) {
                                    let at = ((group * inputs + c) * side + yy as usize) * side + xx as usize;
                                    sum += x[at] * weight[((o * inputs + c) * kernel + ky) * kernel + kx];
                                }
                            }
                        }
                    }
                    out.push(sum);
                }
            }
        }
        out
    }

    fn conv_bn_relu(&self, prefix: &str, x: &[f64], side: usize, kernel: usize) -> Grid {
        let y = self.conv(&format!("{prefix}.conv"), x, side, kernel, 1);
        relu(self.batch_norm(&format!("{prefix}.bn"), &y, side * side))
    }
}

fn affine(weight: &[f64], bias: &[f64], x: &[f64]) -> Vec<f64> {
    let rows = weight.chunks(x.len()).zip(bias);
    rows.map(|(row, bias)| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + bias).collect()
}

fn relu(x: Vec<f64>) -> Vec<f64> {
    x.into_iter().map(|x| x.max(0.0)).collect()
}

fn gelu(x: f64) -> f64 {
    // erf(t) by the Taylor series, whose cancellation costs 1e-9 at 4; beyond, erf is ±1 to 2e-8.
    let t = x / std::f64::consts::SQRT_2;
    if t.abs() > 4.0 {
        return x.max(0.0);
    }
    let (mut term, mut sum) = (t, t);
    for n in 1..120 {
        term *= -t * t / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    0.5 * x * (1.0 + sum * std::f64::consts::FRAC_2_SQRT_PI)
}

fn mean_pool(x: &[f64], side: usize) -> Grid {
    let half = side / 2;
    let mean = |c: usize, y: usize, px: usize| {
        let at = |dy: usize, dx: usize| x[(c * side + 2 * y + dy) * side + 2 * px + dx];
        (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4.0
    };
    let channels = x.len() / side / side;
    (0..channels * half * half).map(|i| mean(i / half / half, i / half % half, i % half)).collect()
}

fn max_pool(x: &[f64], side: usize) -> Grid {
    let max = |i: usize| {
        let (c, y, px) = (i / side / side, i / side % side, i % side);
        let near = |p: &usize| (p / side).abs_diff(y) < 2 && (p % side).abs_diff(px) < 2;
        (0..side * side).filter(near).map(|p| x[c * side * side + p]).fold(f64::MIN, f64::max)
    };
    (0..x.len()).map(max).collect()
}

pub fn redshift(source: &dyn TensorSource, config: &Config, image: &[f64], magnitudes: &[f64]) -> f64 {
    let w = Weights(source);
    let fused =
        [transformer(&w, config, image), inception(&w, config, image), magnitude_branch(&w, config, magnitudes)];
    w.linear("concat_block.2", &relu(w.linear("concat_block.0", &fused.concat())))[0]
}

fn transformer(w: &Weights<'_>, config: &Config, image: &[f64]) -> Vec<f64> {
    let (side, patch, grid, width) = (config.side, config.patch, config.grid(), config.width);
    let mut tokens = vec![w.get("cls_token")];
    for token in 0..grid * grid {
        let (gy, gx) = (token / grid, token % grid);
        let pixels = (0..config.bands * patch * patch).map(|i| {
            let (band, y, x) = (i / patch / patch, i / patch % patch, i % patch);
            image[(band * side + gy * patch + y) * side + gx * patch + x]
        });
        tokens.push(w.linear("patch_embed.proj", &pixels.collect::<Vec<_>>()));
    }
    for (token, position) in tokens.iter_mut().zip(w.get("pos_embed").chunks(width)) {
        token.iter_mut().zip(position).for_each(|(token, position)| *token += position);
    }
    for block in 0..config.depth {
        let p = format!("blocks.{block}.");
        let beside = beside(w, config, &p, &tokens[1..]);
        let dimension = width / config.heads;
        let bias = [w.get(&format!("{p}attn.q_bias")), vec![0.0; width], w.get(&format!("{p}attn.v_bias"))].concat();
        let weight = w.get(&format!("{p}attn.qkv.weight"));
        let qkv: Vec<Vec<f64>> =
            tokens.iter().map(|token| affine(&weight, &bias, &w.layer_norm(&format!("{p}norm1"), token))).collect();
        for (i, token) in tokens.iter_mut().enumerate() {
            let mut mixed = vec![0.0; width];
            for head in 0..config.heads {
                let part = |j: usize, which: usize| &qkv[j][which * width + head * dimension..][..dimension];
                let score = |j: usize| part(i, 0).iter().zip(part(j, 1)).map(|(q, k)| q * k).sum::<f64>();
                let exp: Vec<f64> = (0..qkv.len()).map(|j| (score(j) / (dimension as f64).sqrt()).exp()).collect();
                let sum: f64 = exp.iter().sum();
                for (j, exp) in exp.iter().enumerate() {
                    let out = &mut mixed[head * dimension..][..dimension];
                    out.iter_mut().zip(part(j, 2)).for_each(|(out, v)| *out += exp / sum * v);
                }
            }
            let projected = w.linear(&format!("{p}attn.proj"), &mixed);
            token.iter_mut().zip(projected).for_each(|(token, x)| *token += x);
            if i > 0 {
                token.iter_mut().zip(&beside[i - 1]).for_each(|(token, x)| *token += x);
            }
            let hidden = w.linear(&format!("{p}mlp.fc1"), &w.layer_norm(&format!("{p}norm2"), token));
            let out = w.linear(&format!("{p}mlp.fc2"), &hidden.into_iter().map(gelu).collect::<Vec<_>>());
            token.iter_mut().zip(out).for_each(|(token, x)| *token += x);
        }
    }
    let mean: Vec<f64> =
        (0..width).map(|i| tokens[1..].iter().map(|token| token[i]).sum::<f64>() / (grid * grid) as f64).collect();
    let head = w.linear("head", &w.layer_norm("fc_norm", &mean));
    w.linear("vit_block.2", &relu(w.linear("vit_block.0", &head)))
}

/// The parallel convolution branch of a block, token by token.
fn beside(w: &Weights<'_>, config: &Config, p: &str, patches: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let convolved = |token: &Vec<f64>| {
        let x = w.conv(&format!("{p}PCM.0"), token, 1, 1, config.pcm_groups);
        let x = w.batch_norm(&format!("{p}PCM.1"), &x, 1);
        let x: Vec<f64> = x.into_iter().map(|x| x / (1.0 + (-x).exp())).collect();
        w.conv(&format!("{p}PCM.3"), &x, 1, 1, config.pcm_groups)
    };
    patches.iter().map(convolved).collect()
}

fn inception(w: &Weights<'_>, config: &Config, image: &[f64]) -> Vec<f64> {
    let vis = "inception_model.vis_inception.";
    let mut grid = mean_pool(&w.conv(&format!("{vis}0"), image, config.side, 1, 1), config.side);
    let mut side = config.side / 2;
    let mut previous = None;
    for block in &config.inception {
        if previous.is_some_and(|previous| block.index > previous + 1) {
            grid = mean_pool(&grid, side);
            side /= 2;
        }
        previous = Some(block.index);
        let p = format!("{vis}{}.", block.index);
        let branch = |name: &str, x: &[f64], kernel: usize| w.conv_bn_relu(&format!("{p}{name}"), x, side, kernel);
        let mut parts = vec![branch("branch1", &grid, 1), branch("branch2.1", &branch("branch2.0", &grid, 1), 3)];
        if block.has_five {
            parts.push(branch("branch3.1", &branch("branch3.0", &grid, 1), 5));
        }
        parts.push(branch("branch4.1", &max_pool(&grid, side), 1));
        grid = parts.concat();
    }
    let first = config.inception.last().unwrap().index + 2;
    w.linear(&format!("{vis}{}", first + 2), &relu(w.linear(&format!("{vis}{first}"), &grid)))
}

fn magnitude_branch(w: &Weights<'_>, config: &Config, magnitudes: &[f64]) -> Vec<f64> {
    let mut x = magnitudes.to_vec();
    for k in 0..config.magnitudes.len() {
        let y = w.linear(&format!("inception_model.magnitude_block.{}", 2 * k), &x);
        x = if k + 1 < config.magnitudes.len() { relu(y) } else { y };
    }
    x
}
