#!/usr/bin/env python3
"""The published 12.6 GB campaign, once undisturbed and once with workers killed at random.

Makes synthetic partitions of 25 MB and full-size weights, runs `starmap run` over them twice, and compares the
predictions byte for byte: both runs have one name in data roots of their own, so even the ids in the files are the same.
Prints wall time, overhead outside of inference, the share of Initialize and Summarize, and the straggler ratio; exits
with 1 if the predictions differ, a run fails or `starmap verify` finds anything. An item whose worker is killed four
times fails, as its `Retry` says: on a slow machine let kills be rarer than items are long.

    cargo build --release && python3 bench/campaign.py --out campaign               # 516 partitions, some 13 GB
    python3 bench/campaign.py --out small --partitions 8 --galaxies 128             # the same in a minute

Needs nothing but Python's standard library, and Linux: killed are processes that /proc names as workers of `infer`.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

RUN = "campaign"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for partitions, weights, results and figures")
    parser.add_argument("--starmap", type=Path, default=Path("target/release/starmap"))
    parser.add_argument("--partitions", type=int, default=516)
    parser.add_argument("--galaxies", type=int, default=1278, help="galaxies in a partition; 1,278 are 25 MB")
    parser.add_argument("--distinct", type=int, help="make only so many, and link them under further names [default: all]")
    parser.add_argument("--concurrency", type=int, default=os.cpu_count())
    parser.add_argument("--precision", default="f32", choices=["f32", "int16", "bf16", "int8"])
    parser.add_argument("--force-precision", action="store_true", help="whatever it changes: random weights are sensitive")
    parser.add_argument("--kill-every", type=float, default=20.0, help="mean seconds between kills in the second run")
    parser.add_argument("--seed", type=int, default=1, help="of the sky and of the kills")
    arguments = parser.parse_args()
    arguments.starmap = arguments.starmap.resolve()
    arguments.out.mkdir(parents=True, exist_ok=True)
    arguments.out = arguments.out.resolve()

    prepare(arguments)
    calm = run(arguments, "calm", None)
    killer = Killer(arguments.kill_every, arguments.seed)
    disturbed = run(arguments, "disturbed", killer)
    same = calm["predictions_sha256"] == disturbed["predictions_sha256"]
    report = {"partitions": arguments.partitions, "concurrency": arguments.concurrency, "identical": same}
    report |= {"kills": killer.kills, "calm": calm, "disturbed": disturbed}
    (arguments.out / "campaign.json").write_text(json.dumps(report, indent=2))
    show(report)
    if not same:
        sys.exit("the predictions differ")
    if killer.kills == 0:
        sys.exit("no worker was killed: nothing is shown by the second run; use more partitions or a lower --kill-every")


def starmap(arguments, *command):
    done = subprocess.run([arguments.starmap, *map(str, command)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"starmap {' '.join(map(str, command))} exited with {done.returncode}:\n{done.stderr}")
    return done.stdout


def prepare(arguments):
    """Partitions and weights, unless they are there from another time."""
    bucket = arguments.out / "buckets" / "sky"
    parts, model = bucket / "25MB", bucket / "models" / "full.safetensors"
    if not model.exists():
        model.parent.mkdir(parents=True, exist_ok=True)
        starmap(arguments, "model", "init", model)
    if len(list(parts.glob("*.pt"))) == arguments.partitions:
        return
    begun = time.monotonic()
    distinct = min(arguments.distinct or arguments.partitions, arguments.partitions)
    made, galaxies = arguments.out / "made", distinct * arguments.galaxies
    starmap(arguments, "data", "synth", "--galaxies", galaxies, "--partitions", distinct, "--seed", arguments.seed, "--out", made)
    parts.mkdir(parents=True, exist_ok=True)
    for partition in range(arguments.partitions):
        # Links: they are files of their own to whoever reads them.
        place = parts / f"{partition + 1}.pt"
        if not place.exists():
            os.link(made / f"{partition % distinct + 1}.pt", place)
    print(f"made {galaxies} galaxies in {distinct} partitions, {time.monotonic() - begun:.0f} s", file=sys.stderr)


def run(arguments, kind, killer):
    """One run in a data root of its own; its figures."""
    results = f"results/{kind}"
    payload = {
        "bucket": "sky", "file_limit": str(arguments.partitions), "batch_size": 256, "object_type": "file",
        "S3_object_name": "models/full.safetensors", "script": "inference.py", "result_path": results,
        "data_bucket": "sky", "data_prefix": "25MB", "precision": arguments.precision,
        "force_precision": arguments.force_precision,
    }
    path = arguments.out / f"{kind}.json"
    path.write_text(json.dumps(payload, indent=2))
    data = arguments.out / f"data-{kind}"
    command = [arguments.starmap, "run", path, "--json", "--name", RUN, "--data", data, "--overwrite",
               "--buckets", arguments.out / "buckets", "--concurrency", str(arguments.concurrency)]
    # A name is used once in a data root.
    subprocess.run(["rm", "-rf", data / "journal.sqlite", data / "journal.sqlite-wal", data / "journal.sqlite-shm"], check=True)
    with open(arguments.out / f"{kind}.log", "w") as log:
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=log, text=True)
        if killer:
            killer.start(process.pid)
        output, _ = process.communicate()
        if killer:
            killer.stop()
    if process.returncode != 0:
        sys.exit(f"run {kind} exited with {process.returncode}, see {arguments.out / (kind + '.log')}:\n{output}")
    verified = json.loads(starmap(arguments, "verify", RUN, "--json", "--data", data, "--buckets", arguments.out / "buckets"))
    folder = arguments.out / "buckets" / "sky" / results
    return figures(json.loads((folder / "summary.json").read_text()), folder, verified)


def figures(summary, folder, verified):
    times, wall = summary["time"], summary["wall_s"]
    warm = times["warm"] or times["items"]
    digest = hashlib.sha256()
    with open(folder / "predictions.parquet", "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    cold = times["cold"]
    return {
        "status": verified["status"], "galaxies": summary["galaxies"], "bytes": summary["data_bytes"],
        "wall_s": wall, "galaxies_per_s": summary["galaxies"] / wall,
        "overhead_share": times["overhead_s"] / wall,
        "initialize_and_summarize_share": times["initialize_and_summarize_share"],
        "straggler_ratio": times["straggler_ratio"],
        "infer_share_of_items": times["items"]["infer"]["sum"] / times["items"]["total"]["sum"],
        "infer_share_of_warm_items": warm["infer"]["sum"] / warm["total"]["sum"],
        "wait_share_of_warm_items": warm["wait"]["sum"] / warm["total"]["sum"],
        "write_share_of_warm_items": warm["write"]["sum"] / warm["total"]["sum"],
        "cold_init_p50_s": cold and cold["init"] and cold["init"]["p50"],
        "cold_load_model_p50_s": cold and cold["load_model"]["p50"],
        "attempts": summary["execution"]["attempts"], "attempts_failed": summary["execution"]["attempts_failed"],
        "peak_rss_mib_max": summary["memory"]["peak_rss_mib"]["max"],
        "predictions_sha256": digest.hexdigest(),
    }


class Killer:
    """Kills a random worker of `infer` below a process, at random times."""

    def __init__(self, mean_s, seed):
        self.mean_s, self.random, self.kills = mean_s, random.Random(seed), 0
        self.stopping = threading.Event()

    def start(self, pid):
        self.thread = threading.Thread(target=self.kill, args=(pid,), daemon=True)
        self.thread.start()

    def stop(self):
        self.stopping.set()
        self.thread.join()

    def kill(self, pid):
        while not self.stopping.wait(self.random.expovariate(1 / self.mean_s)):
            workers = [child for child in children(pid) if b"_HANDLER=infer" in environment(child)]
            if workers:
                try:
                    os.kill(self.random.choice(workers), signal.SIGKILL)
                    self.kills += 1
                except ProcessLookupError:
                    pass


def children(pid):
    found = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, thread.read_text().split())
        except OSError:
            pass
    return sorted(found)


def environment(pid):
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def show(report):
    print(f"{report['partitions']} partitions, {report['concurrency']} workers, {report['kills']} workers killed; "
          f"predictions {'identical' if report['identical'] else 'DIFFERENT'}")
    rows = [key for key in report["calm"] if key != "predictions_sha256"]
    width = max(map(len, rows))
    print(f"| {'':{width}} | undisturbed | workers killed |")
    print(f"|{'-' * (width + 2)}|---|---|")
    for key in rows:
        cells = [value(report[kind][key]) for kind in ("calm", "disturbed")]
        print(f"| {key:{width}} | {cells[0]} | {cells[1]} |")


def value(found):
    return f"{found:.4g}" if isinstance(found, float) else str(found)


if __name__ == "__main__":
    main()
