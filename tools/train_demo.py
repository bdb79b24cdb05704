#!/usr/bin/env python3
"""Trains the demo model: a small AstroMAE on partitions of a synthetic sky.

    starmap data synth --out train --galaxies 30000 --partitions 8 --seed 20260701
    starmap data synth --out test  --galaxies 4000  --partitions 1 --seed 20260702
    python3 tools/train_demo.py --data train --test test --epochs 1 --out models/demo/starmap-demo.safetensors

The predictions that the Rust model is compared with, of the sky that `starmap demo` makes:

    starmap data synth --out demo --galaxies 4000 --partitions 8 --seed 2026
    python3 tools/train_demo.py --out models/demo/starmap-demo.safetensors --test demo \\
        --reference models/demo/reference.json --reference-seed 2026

Needs Python 3.11, torch 2.15, numpy 2.4 and safetensors 0.8 (`pip install torch==2.15 numpy==2.4 safetensors==0.8`).

The network has the published model's layers and state-dict names with smaller dimensions, all of which can be read off
the weights' shapes. It takes what is in a partition (nanomaggies and magnitudes); training needs inputs of about unit
size, so they are normalised in front of the first layers, and that linear map is folded into those layers' weights when
they are written. What the file says of itself (seed, epochs, metrics) is measured after folding.
"""
import argparse, json, math, os, pathlib, re, time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import TensorDataset

PATCH, WIDTH, HEADS, DEPTH, MLP = 8, 64, 1, 3, 256
PCM_GROUPS, PCM_HIDDEN = 16, 128
VIS, BRANCH, MAGNITUDES, FUSION = 8, 128, 256, 256
# Position in the Inception network, channels of each branch, with a 5x5 branch; missing positions are poolings.
INCEPTION = [(2, 4, True), (3, 4, True), (5, 8, True), (6, 8, True), (8, 8, False)]


class Attention(nn.Module):
    """Self-attention whose keys have no bias."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(WIDTH))
        self.v_bias = nn.Parameter(torch.zeros(WIDTH))
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        n, tokens, _ = x.shape
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = F.linear(x, self.qkv.weight, bias).reshape(n, tokens, 3, HEADS, WIDTH // HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, tokens, WIDTH))


class Block(nn.Module):
    """Pre-norm transformer block; a convolution branch (PCM) on the patch grid runs beside the attention."""

    def __init__(self):
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH, eps=1e-6)
        self.attn = Attention()
        self.PCM = nn.Sequential(
            nn.Conv2d(WIDTH, PCM_HIDDEN, 1, groups=PCM_GROUPS),
            nn.BatchNorm2d(PCM_HIDDEN),
            nn.SiLU(),
            nn.Conv2d(PCM_HIDDEN, WIDTH, 1, groups=PCM_GROUPS),
        )
        self.norm2 = nn.LayerNorm(WIDTH, eps=1e-6)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(WIDTH, MLP), "fc2": nn.Linear(MLP, WIDTH)})

    def forward(self, x):
        n, tokens, _ = x.shape
        side = math.isqrt(tokens - 1)
        grid = x[:, 1:].transpose(1, 2).reshape(n, WIDTH, side, side)
        local = self.PCM(grid).flatten(2).transpose(1, 2)
        x = x + self.attn(self.norm1(x)) + F.pad(local, (0, 0, 1, 0))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class ConvNorm(nn.Module):
    def __init__(self, inputs, outputs, kernel):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class InceptionBlock(nn.Module):
    def __init__(self, inputs, branch, has_five):
        super().__init__()
        self.branch1 = ConvNorm(inputs, branch, 1)
        self.branch2 = nn.Sequential(ConvNorm(inputs, branch, 1), ConvNorm(branch, branch, 3))
        self.branch3 = nn.Sequential(ConvNorm(inputs, branch, 1), ConvNorm(branch, branch, 5)) if has_five else None
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), ConvNorm(inputs, branch, 1))

    def forward(self, x):
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(x) for branch in branches if branch is not None], 1)


def vis_inception():
    layers, channels = [nn.Conv2d(5, VIS, 1), nn.AvgPool2d(2)], VIS
    for position, branch, has_five in INCEPTION:
        while len(layers) < position:
            layers.append(nn.AvgPool2d(2))
        layers.append(InceptionBlock(channels, branch, has_five))
        channels = branch * (4 if has_five else 3)
    last = channels * 4 * 4
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(last, BRANCH), nn.ReLU(), nn.Linear(BRANCH, BRANCH))


class AstroMAE(nn.Module):
    """Images `[n, 5, 32, 32]` and magnitudes `[n, 5]` to redshifts `[n]`."""

    def __init__(self):
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, WIDTH) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, (32 // PATCH) ** 2 + 1, WIDTH) * 0.02)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(5, WIDTH, PATCH, stride=PATCH)})
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.fc_norm = nn.LayerNorm(WIDTH, eps=1e-6)
        self.head = nn.Linear(WIDTH, WIDTH)
        self.vit_block = nn.Sequential(nn.Linear(WIDTH, BRANCH), nn.ReLU(), nn.Linear(BRANCH, BRANCH))
        layers = [nn.Linear(5, MAGNITUDES)]
        for _ in range(4):
            layers += [nn.ReLU(), nn.Linear(MAGNITUDES, MAGNITUDES)]
        self.inception_model = nn.ModuleDict(
            {"vis_inception": vis_inception(), "magnitude_block": nn.Sequential(*layers)}
        )
        self.concat_block = nn.Sequential(nn.Linear(2 * BRANCH + MAGNITUDES, FUSION), nn.ReLU(), nn.Linear(FUSION, 1))

    def forward(self, images, magnitudes):
        x = self.patch_embed["proj"](images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        vit = self.vit_block(self.head(self.fc_norm(x[:, 1:].mean(1))))
        vis = self.inception_model["vis_inception"](images)
        magnitudes = self.inception_model["magnitude_block"](magnitudes)
        return self.concat_block(torch.cat([vit, vis, magnitudes], 1))[:, 0]


def load(folder):
    """All galaxies of a folder of partitions, in the order of their numbers."""
    files = sorted(pathlib.Path(folder).glob("*.pt"), key=lambda file: int(re.sub(r"\D", "", file.stem) or 0))
    if not files:
        raise SystemExit(f"no partitions (*.pt) in {folder}; make them with `starmap data synth`")
    # Data only: of all classes a pickle could name, just the one that a partition is may be built.
    with torch.serialization.safe_globals([TensorDataset]):
        parts = [torch.load(file, weights_only=True).tensors for file in files]
    images, magnitudes, redshifts = (torch.cat(tensors).float() for tensors in zip(*parts))
    return images, magnitudes, redshifts


def normalisation(images, magnitudes):
    """Per-band image scales [5], and the matrix [5, 5] and centre [5] that make magnitudes and colours of unit size."""
    scale = images.std((0, 2, 3))
    centre = magnitudes.double().mean(0)
    colours = torch.zeros(5, 5, dtype=torch.float64)
    for band in range(4):  # u-g, g-r, r-i, i-z, and r itself
        colours[band, band], colours[band, band + 1] = 1, -1
    colours[4, 2] = 1
    size = ((magnitudes.double() - centre) @ colours.T).std(0)
    return scale, colours / size[:, None], centre


@torch.no_grad()
def fold(model, scale, matrix, centre):
    """Lets the first layers take raw inputs: W (A (x - c)) + b = (W A) x + (b - W A c)."""
    for layer in (model.patch_embed["proj"], model.inception_model["vis_inception"][0]):
        layer.weight /= scale[None, :, None, None]
    first = model.inception_model["magnitude_block"][0]
    weight = first.weight.double() @ matrix
    first.bias.copy_(first.bias.double() - weight @ centre)
    first.weight.copy_(weight)


@torch.no_grad()
def predict(model, images, magnitudes):
    model.eval()
    batches = zip(images.split(256), magnitudes.split(256))
    return torch.cat([model(*batch) for batch in batches])


def quality(found, true):
    """The figures of the project's quality table."""
    found, true = found.double().numpy(), true.double().numpy()
    dz = (found - true) / (1 + true)
    figures = {
        "r2": 1 - ((found - true) ** 2).sum() / ((true - true.mean()) ** 2).sum(),
        "mae": np.abs(found - true).mean(),
        "mse": ((found - true) ** 2).mean(),
        "bias_mean": dz.mean(),
        "nmad": 1.4826 * np.median(np.abs(dz - np.median(dz))),
        "outliers_05": (np.abs(dz) > 0.05).mean(),
        "outliers_15": (np.abs(dz) > 0.15).mean(),
    }
    return {"galaxies": len(true)} | {name: round(float(value), 6) for name, value in figures.items()}


def orient(images, generator):
    """One of the eight orientations, the same for a batch: the sky has no preferred one."""
    choice = int(torch.randint(8, (1,), generator=generator))
    images = images.rot90(choice % 4, (2, 3))
    return images.flip(3) if choice >= 4 else images


def train(args, images, magnitudes, redshifts, check):
    scale, matrix, centre = normalisation(images, magnitudes)
    prepare = lambda im, mag: (im / scale[None, :, None, None], ((mag.double() - centre) @ matrix.T).float())
    held_out = prepare(check[0], check[1])
    model = AstroMAE().to(memory_format=torch.channels_last)
    with torch.no_grad():
        model.concat_block[2].bias.fill_(redshifts.mean())
    steps_per_epoch = len(images) // args.batch
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, args.rate, total_steps=args.epochs * steps_per_epoch, pct_start=0.15
    )
    generator = torch.Generator().manual_seed(args.seed)
    began = time.monotonic()
    for epoch in range(args.epochs):
        model.train()
        total = 0.0
        for rows in torch.randperm(len(images), generator=generator)[: steps_per_epoch * args.batch].split(args.batch):
            image, magnitude = prepare(images[rows], magnitudes[rows])
            image = orient(image, generator).contiguous(memory_format=torch.channels_last)
            found = model(image, magnitude)
            # Robust against the few galaxies whose colours say nothing; linear beyond 0.03 in dz.
            loss = F.smooth_l1_loss(found / (1 + redshifts[rows]), redshifts[rows] / (1 + redshifts[rows]), beta=0.03)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        now = quality(predict(model, *held_out), check[2])
        print(
            f"epoch {epoch + 1}/{args.epochs}  loss {total / steps_per_epoch:.5f}  R2 {now['r2']:.4f}  "
            f"nmad {now['nmad']:.4f}  {time.monotonic() - began:.0f} s",
            flush=True,
        )
    fold(model, scale, matrix, centre)
    return model, time.monotonic() - began


def reference(model, folder, seed, count=32):
    """What this model says of the first galaxies of a sky: for a test that another implementation agrees."""
    images, magnitudes, redshifts = (tensor[:count] for tensor in load(folder))
    found = predict(model, images, magnitudes)
    return {"sky_seed": seed, "galaxies": count, "z_spec": redshifts.tolist(), "z_phot_torch_f32": found.tolist()}


def write_reference(args):
    """`reference.json` from weights that are there already, read back from the file."""
    model = AstroMAE()
    missing, unexpected = model.load_state_dict(load_file(args.out), strict=False)
    if unexpected or any("num_batches_tracked" not in name for name in missing):
        raise SystemExit(f"{args.out}: unexpected {unexpected}, missing {missing}")
    everything = load(args.test)
    figures = quality(predict(model, everything[0], everything[1]), everything[2])
    print(json.dumps(figures, indent=1))
    with open(args.reference, "w") as file:
        json.dump(reference(model, args.test, args.reference_seed), file, indent=1)
        file.write("\n")


def main():
    parser = argparse.ArgumentParser(description="Trains the demo model on partitions of a synthetic sky.")
    parser.add_argument("--data", help="folder of partitions to learn from")
    parser.add_argument("--test", required=True, help="folder of partitions of another seed, only to measure")
    parser.add_argument("--out", required=True, help="safetensors file to write")
    parser.add_argument("--epochs", type=int, default=6, help="the demo model had 1")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="more than idle cores are much slower")
    parser.add_argument("--reference", help="do not train: write what --out says of the first galaxies of --test to this file")
    parser.add_argument("--reference-seed", type=int, help="the seed that --test was made with, for --reference")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.reference:
        if args.reference_seed is None:
            parser.error("--reference needs --reference-seed")
        return write_reference(args)
    if not args.data:
        parser.error("--data is required for training")
    torch.manual_seed(args.seed)
    learn, test = load(args.data), load(args.test)
    # What is watched while training is the end of the training folder; the test folder is looked at once, at the end.
    watch = len(learn[0]) // 20
    check = [tensor[-watch:] for tensor in learn]
    model, seconds = train(args, *(tensor[:-watch] for tensor in learn), check)
    figures = quality(predict(model, test[0], test[1]), test[2])
    metadata = {
        "heads": HEADS,
        "seed": args.seed,
        "epochs": args.epochs,
        "batch": args.batch,
        "rate": args.rate,
        "galaxies": len(learn[0]) - watch,
        "wall_seconds": round(seconds),
        "cpu_seconds": round(time.process_time()),
        "torch": torch.__version__.split("+")[0],
        "test": json.dumps(figures),
    }
    tensors = {
        name: tensor.contiguous(memory_format=torch.contiguous_format) for name, tensor in model.state_dict().items() if "num_batches_tracked" not in name
    }
    partial = args.out + ".partial"
    save_file(tensors, partial, metadata={key: str(value) for key, value in metadata.items()})
    os.chmod(partial, 0o644)  # safetensors makes files that only their owner can read
    os.replace(partial, args.out)
    print(json.dumps(metadata, indent=1))


if __name__ == "__main__":
    main()
