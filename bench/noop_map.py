#!/usr/bin/env python3
"""A Distributed Map of N items that each run a function that does nothing, on warm workers, behind the AWS API.

    target/python/bin/python bench/noop_map.py --starmap target/release/starmap [--items 10000]

Needs boto3 (`cargo xtask tests` makes target/python with it). Starts `starmap serve` on a port and a data root of its own, creates
the function and the state machine with boto3, warms the workers up with a map of 100 items, then runs the map that counts.
The function is a program on Python's standard library that speaks the Lambda Runtime API over one connection.
"""
import argparse, json, os, stat, subprocess, tempfile, time
from pathlib import Path

import boto3

WORKER = '''#!/usr/bin/env python3
import http.client, os
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
while True:
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    event = api.getresponse()
    event.read()
    name = event.headers["Lambda-Runtime-Aws-Request-Id"]
    api.request("POST", f"/2018-06-01/runtime/invocation/{name}/response", b"null")
    api.getresponse().read()
'''


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starmap", type=Path, required=True)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--child-type", default="EXPRESS", choices=["EXPRESS", "STANDARD"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        worker = Path(folder) / "bootstrap"
        worker.write_text(WORKER)
        worker.chmod(worker.stat().st_mode | stat.S_IXUSR)
        command = [arguments.starmap, "serve", "--listen", "127.0.0.1:0", "--data", f"{folder}/data"]
        server = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
        try:
            measure(arguments, worker, server)
        finally:
            server.terminate()
            server.wait()


def measure(arguments, worker, server):
    line = server.stdout.readline()
    endpoint = next(word for word in line.split() if word.startswith("http://")).rstrip("/")
    keys = dict(region_name="us-east-1", aws_access_key_id="local", aws_secret_access_key="local", endpoint_url=endpoint)
    functions, states = boto3.client("lambda", **keys), boto3.client("stepfunctions", **keys)
    role = "arn:aws:iam::123456789012:role/any"
    function = functions.create_function(
        FunctionName="noop", Role=role, PackageType="Image", Code={"ImageUri": f"file://{worker}"})["FunctionArn"]
    child = {"Type": "Task", "Resource": function, "End": True}
    each = {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": arguments.child_type}, "StartAt": "Work", "States": {"Work": child}}
    definition = {"StartAt": "Map", "States": {"Map": {"Type": "Map", "ItemsPath": "$.items", "ItemProcessor": each,
                                                       "ResultPath": None, "End": True}}}
    machine = states.create_state_machine(name="noop", definition=json.dumps(definition), roleArn=role)["stateMachineArn"]
    for items in (100, arguments.items):
        since = time.monotonic()
        execution = states.start_execution(stateMachineArn=machine, input=json.dumps({"items": list(range(items))}))["executionArn"]
        while (found := states.describe_execution(executionArn=execution))["status"] == "RUNNING":
            time.sleep(0.02)
        wall = time.monotonic() - since
        print(f"{items} items: {found['status']} in {wall:.2f} s, {wall / items * 1000:.3f} ms per item, "
              f"server {rss_mib(server.pid)} MiB resident", found.get("cause", ""), flush=True)


def rss_mib(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) // 1024
    return 0


if __name__ == "__main__":
    main()
