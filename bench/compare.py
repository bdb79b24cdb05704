#!/usr/bin/env python3
"""Inference with PyTorch, ONNX Runtime, OpenVINO and starmap in turn, on the same weights and inputs.

    python3 bench/compare.py --starmap target/release/starmap --engines ENGINES [--batches 32,256,512] [--threads 1,2]

ENGINES is a folder of virtual environments, outside of the repository; those that are missing are left out:

    python3 -m venv ENGINES/torch   && ENGINES/torch/bin/pip install numpy torch
    python3 -m venv ENGINES/torch22 && ENGINES/torch22/bin/pip install 'numpy<2' torch==2.2.2 'onnx<1.17'
    python3 -m venv ENGINES/ort     && ENGINES/ort/bin/pip install numpy onnxruntime
    python3 -m venv ENGINES/ov      && ENGINES/ov/bin/pip install numpy openvino

Every engine is a process of its own that stays; in each round each of them predicts in turn, so that what else the
machine does disturbs all alike. Reported is the median over the rounds of galaxies per second of CPU time (all threads
of the process) and on the wall, and ratios to it. Weights are those of `starmap model init`, inputs those of the recipe.
"""
import argparse, json, math, os, statistics, struct, subprocess, sys, tempfile, time

WIDTH, DEPTH, HEADS, GROUPS = 192, 12, 3, 48
INCEPTION = [(2, False), (3, False), (5, False), (6, False), (8, True)]
ENGINES = [
    # name, environment, precision
    ("PyTorch 2.2", "torch22", "f32"),
    ("PyTorch", "torch", "f32"),
    ("ONNX Runtime", "ort", "f32"),
    ("OpenVINO", "ov", "f32"),
    ("starmap", "starmap", "f32"),
    ("starmap", "starmap", "int16"),
    ("PyTorch", "torch", "bf16"),
    ("OpenVINO", "ov", "bf16"),
    ("starmap", "starmap", "bf16"),
    ("starmap", "starmap", "int8"),
]


def read_safetensors(path):
    import numpy as np
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        body = f.read()
    header.pop("__metadata__", None)
    return {name: np.frombuffer(body[slice(*entry["data_offsets"])], dtype="<f4").reshape(entry["shape"]).copy()
            for name, entry in header.items()}


def inputs(n):
    """The recipe's cutouts and magnitudes, as `starmap_astromae::recipe` makes them."""
    import numpy as np

    def uniform(name, count):
        seed = 0xCBF29CE484222325
        for byte in name.encode():
            seed = ((seed ^ byte) * 0x100000001B3) & ((1 << 64) - 1)
        with np.errstate(over="ignore"):
            x = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            x = x ^ (x >> np.uint64(31))
        return (x >> np.uint64(40)).astype(np.float64) / (1 << 23) - 1.0

    y, x = np.mgrid[0:32, 0:32]
    blob = 3 * np.exp(-((y - 15.5) ** 2 + (x - 15.5) ** 2) / 18)
    blob = blob[None] * (1 + 0.2 * np.arange(5))[:, None, None]
    images = (0.5 * uniform("images", n * 5 * 32 * 32).reshape(n, 5, 32, 32) + blob).astype(np.float32)
    return images, (18 + 3 * uniform("magnitudes", n * 5).reshape(n, 5)).astype(np.float32)


def torch_model(weights):
    import torch
    import torch.nn.functional as F

    class Model(torch.nn.Module):
        """The network as it is defined; nothing merged or folded."""

        def __init__(self):
            super().__init__()
            self.names, self.reach = {}, {}
            for name, value in weights.items():
                self.names[name] = name.replace(".", "_")
                self.reach[name] = value.shape[-1] // 2
                self.register_buffer(self.names[name], torch.from_numpy(value))

        def w(self, name):
            return getattr(self, self.names[name])

        def linear(self, p, x):
            return F.linear(x, self.w(p + ".weight"), self.w(p + ".bias"))

        def norm(self, p, x):
            return F.layer_norm(x, (WIDTH,), self.w(p + ".weight"), self.w(p + ".bias"), 1e-6)

        def batch_norm(self, p, x):
            parts = [self.w(f"{p}.{part}") for part in ("running_mean", "running_var", "weight", "bias")]
            return F.batch_norm(x, *parts, False, 0.0, 1e-5)

        def conv(self, p, x, groups=1):
            reach = self.reach[p + ".weight"]
            return F.conv2d(x, self.w(p + ".weight"), self.w(p + ".bias"), padding=reach, groups=groups)

        def block(self, p, x):
            return torch.relu(self.batch_norm(p + ".bn", self.conv(p + ".conv", x)))

        def forward(self, images, magnitudes):
            n = images.shape[0]
            t = F.conv2d(images, self.w("patch_embed.proj.weight"), self.w("patch_embed.proj.bias"), stride=8)
            t = t.flatten(2).transpose(1, 2)
            t = torch.cat([self.w("cls_token").expand(n, -1, -1), t], 1) + self.w("pos_embed")
            for b in range(DEPTH):
                p = f"blocks.{b}."
                grid = t[:, 1:].transpose(1, 2).reshape(n, WIDTH, 4, 4)
                pcm = F.silu(self.batch_norm(p + "PCM.1", self.conv(p + "PCM.0", grid, GROUPS)))
                pcm = self.conv(p + "PCM.3", pcm, GROUPS).flatten(2).transpose(1, 2)
                bias = torch.cat([self.w(p + "attn.q_bias"), torch.zeros(WIDTH), self.w(p + "attn.v_bias")])
                qkv = F.linear(self.norm(p + "norm1", t), self.w(p + "attn.qkv.weight"), bias)
                q, k, v = qkv.reshape(n, 17, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
                a = ((q * (WIDTH // HEADS) ** -0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
                t = t + self.linear(p + "attn.proj", a.transpose(1, 2).reshape(n, 17, WIDTH))
                t = torch.cat([t[:, :1], t[:, 1:] + pcm], 1)
                t = t + self.linear(p + "mlp.fc2", F.gelu(self.linear(p + "mlp.fc1", self.norm(p + "norm2", t))))
            vit = self.linear("head", self.norm("fc_norm", t[:, 1:].mean(1)))
            vit = self.linear("vit_block.2", torch.relu(self.linear("vit_block.0", vit)))
            v = "inception_model.vis_inception."
            y = F.avg_pool2d(self.conv(v + "0", images), 2)
            for index, is_last in INCEPTION:
                p = f"{v}{index}."
                parts = [self.block(p + "branch1", y), self.block(p + "branch2.1", self.block(p + "branch2.0", y))]
                if not is_last:
                    parts.append(self.block(p + "branch3.1", self.block(p + "branch3.0", y)))
                parts.append(self.block(p + "branch4.1", F.max_pool2d(y, 3, 1, 1)))
                y = torch.cat(parts, 1)
                if index in (3, 6):
                    y = F.avg_pool2d(y, 2)
            y = self.linear(v + "12", torch.relu(self.linear(v + "10", y.flatten(1))))
            m = magnitudes
            for k in (0, 2, 4, 6):
                m = torch.relu(self.linear(f"inception_model.magnitude_block.{k}", m))
            m = self.linear("inception_model.magnitude_block.8", m)
            z = torch.relu(self.linear("concat_block.0", torch.cat([vit, y, m], 1)))
            return self.linear("concat_block.2", z)[:, 0]

    return Model().eval()


def worker(engine, precision, folder, batch, threads):
    """Answers every line on standard input with one round's figures."""
    import numpy as np
    images, magnitudes = inputs(batch)
    onnx = os.path.join(folder, f"model-{batch}.onnx")
    if engine.startswith("torch"):
        import torch
        torch.set_num_threads(threads)
        model = torch_model(read_safetensors(os.path.join(folder, "model.safetensors")))
        x, m = torch.from_numpy(images), torch.from_numpy(magnitudes)
        version = torch.__version__

        def predict():
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                return model(x, m).float().numpy()

        if precision == "f32" and not os.path.exists(onnx) and engine == "torch22":
            torch.onnx.export(model, (x, m), onnx, input_names=["images", "magnitudes"], opset_version=17)
    elif engine == "ort":
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        version = onnxruntime.__version__
        predict = lambda: session.run(None, {"images": images, "magnitudes": magnitudes})[0]
    else:
        import openvino
        hints = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
        request = openvino.Core().compile_model(onnx, "CPU", hints).create_infer_request()
        version = openvino.__version__.split("-")[0]
        predict = lambda: request.infer({"images": images, "magnitudes": magnitudes})[0]
    z = predict()
    np.save(os.path.join(folder, f"z-{engine}-{precision}-{batch}.npy"), z)
    print(json.dumps({"version": version}), flush=True)
    for _ in sys.stdin:
        calls = max(1, 512 // batch)
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(calls):
            predict()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        print(json.dumps({"cpu": calls * batch / cpu, "wall": calls * batch / wall}), flush=True)


class Engine:
    """An engine's process for one precision, batch and number of threads."""

    def __init__(self, args, folder, name, environment, precision, batch, threads):
        self.name, self.environment, self.precision = name, environment, precision
        self.rounds, self.process, self.args = [], None, args
        self.command = [args.starmap, "bench", "--json", "--rounds", "3", "--precision", precision, "--batch", str(batch),
                        "--threads", str(threads), "--model", os.path.join(folder, "model.safetensors")]
        self.details = {}
        if environment == "starmap":
            return
        python = os.path.join(args.engines, environment, "bin", "python")
        if not os.path.exists(python):
            raise FileNotFoundError(python)
        command = [python, __file__, "--worker", environment, precision, folder, str(batch), str(threads)]
        variables = dict(os.environ, OMP_NUM_THREADS=str(threads))
        for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
            variables.pop(name, None)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables,
                                        stderr=subprocess.DEVNULL)
        self.details = json.loads(self.process.stdout.readline() or '{"failed": true}')

    def round(self):
        if self.process is None:
            out = json.loads(subprocess.run(self.command, capture_output=True, text=True, check=True).stdout)
            self.details = out
            self.rounds.append({"cpu": out["galaxies_per_cpu_s"] / out["threads"], "wall": out["galaxies_per_s"]})
            return
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self.rounds.append(json.loads(self.process.stdout.readline()))

    def close(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()

    def median(self, what):
        return statistics.median(round[what] for round in self.rounds)


def greatest_difference(python, folder, batch, engine):
    """Between an engine's redshifts and those of PyTorch in float32."""
    code = ("import sys, numpy as np; a, b = map(np.load, sys.argv[1:]); "
            "print(float(np.abs(a.ravel() - b.ravel()).max()))")
    base = next((p for p in (os.path.join(folder, f"z-{e}-f32-{batch}.npy") for e in ("torch22", "torch")) if os.path.exists(p)), None)
    own = os.path.join(folder, f"z-{engine.environment}-{engine.precision}-{batch}.npy")
    if base is None or not os.path.exists(own):
        return engine.details.get("dz_max")
    return float(subprocess.run([python, "-c", code, own, base], capture_output=True, text=True, check=True).stdout)


def compare(args, folder, batch, threads):
    engines = []
    for name, environment, precision in ENGINES:
        if args.only and not any(f"{environment}:{precision}".startswith(only) for only in args.only.split(",")):
            continue
        try:
            engine = Engine(args, folder, name, environment, precision, batch, threads)
            if engine.details.get("failed"):
                raise RuntimeError("the engine did not start")
            engines.append(engine)
        except Exception as error:
            print(f"left out: {name} {precision}: {error}", file=sys.stderr)
    for _ in range(args.rounds):
        for engine in list(engines):
            engine.round()
    for engine in engines:
        engine.close()
    python = next((os.path.join(args.engines, e, "bin", "python") for e in ("torch22", "torch", "ort", "ov")
                   if os.path.exists(os.path.join(args.engines, e, "bin", "python"))), sys.executable)
    ours = next((e.median("cpu") for e in engines if (e.environment, e.precision) == ("starmap", "f32")), None)
    rows = []
    for engine in engines:
        cpu, wall = engine.median("cpu"), engine.median("wall")
        dz = greatest_difference(python, folder, batch, engine)
        rows.append({"engine": engine.name, "version": engine.details.get("version", engine.details.get("kernels", "")),
                     "precision": engine.precision, "batch": batch, "threads": threads, "galaxies_per_cpu_s": cpu,
                     "galaxies_per_s": wall, "ours_f32_over_it": ours / cpu if ours else None, "dz_max": dz})
    return rows


def table(rows):
    lines = ["| engine | precision | batch | threads | galaxies per CPU s | on the wall, per s | starmap f32 is | max \\|Δz\\| to PyTorch f32 |",
             "|---|---|---|---|---|---|---|---|"]
    for r in rows:
        ratio = f"{r['ours_f32_over_it']:.2f}×" if r["ours_f32_over_it"] else ""
        dz = f"{r['dz_max']:.1e}" if r["dz_max"] is not None else ""
        lines.append(f"| {r['engine']} {r['version']} | {r['precision']} | {r['batch']} | {r['threads']} | {r['galaxies_per_cpu_s']:.0f} "
                     f"| {r['galaxies_per_s']:.0f} | {ratio} | {dz} |")
    return "\n".join(lines)


def main():
    if sys.argv[1:2] == ["--worker"]:
        engine, precision, folder, batch, threads = sys.argv[2:7]
        return worker(engine, precision, folder, int(batch), int(threads))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starmap", default="target/release/starmap", help="the program")
    parser.add_argument("--engines", required=True, help="folder of virtual environments")
    parser.add_argument("--batches", default="32,256,512", help="galaxies per call")
    parser.add_argument("--threads", default="1,2", help="threads")
    parser.add_argument("--rounds", type=int, default=9, help="rounds; the median is reported")
    parser.add_argument("--only", help="only these, as environment:precision, e.g. torch22:f32,starmap:")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    args.starmap = os.path.abspath(args.starmap)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([args.starmap, "model", "init", os.path.join(folder, "model.safetensors")], check=True, stdout=subprocess.DEVNULL)
        for threads in map(int, args.threads.split(",")):
            for batch in map(int, args.batches.split(",")):
                rows += compare(args, folder, batch, threads)
    print(json.dumps(rows) if args.json else table(rows))


if __name__ == "__main__":
    main()
