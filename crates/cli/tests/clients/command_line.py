"""The AWS CLI, unmodified, against a server: command_line.py ENDPOINT AWS_PROGRAM"""
import json
import os
import subprocess
import sys
import tempfile
import time

ENDPOINT, AWS = sys.argv[1:3]
ROLE = "arn:aws:iam::000000000000:role/test"
ENVIRONMENT = {**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
               "AWS_DEFAULT_REGION": "us-east-1", "AWS_PAGER": "", "AWS_CONFIG_FILE": os.devnull,
               "AWS_SHARED_CREDENTIALS_FILE": os.devnull}


def aws(*arguments, fails=None):
    done = subprocess.run([AWS, "--endpoint-url", ENDPOINT, "--output", "json", *arguments], env=ENVIRONMENT,
                          capture_output=True, text=True)
    if fails:
        assert done.returncode != 0 and fails in done.stderr, (arguments, done.stdout, done.stderr)
        return None
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return done.stdout


def state_machines():
    definition = {"StartAt": "P", "States": {"P": {"Type": "Pass", "Next": "W"},
                                             "W": {"Type": "Wait", "Seconds": 0, "End": True}}}
    arn = aws("stepfunctions", "create-state-machine", "--name", "cli", "--role-arn", ROLE,
              "--definition", json.dumps(definition), "--tags", "key=a,value=1")["stateMachineArn"]
    execution = aws("stepfunctions", "start-execution", "--state-machine-arn", arn, "--input", '{"x": 1}')
    execution = execution["executionArn"]
    while aws("stepfunctions", "describe-execution", "--execution-arn", execution)["status"] == "RUNNING":
        time.sleep(0.05)
    events = aws("stepfunctions", "get-execution-history", "--execution-arn", execution, "--page-size", "2")["events"]
    assert [events[0]["type"], events[-1]["type"]] == ["ExecutionStarted", "ExecutionSucceeded"]
    last = aws("stepfunctions", "get-execution-history", "--execution-arn", execution, "--reverse-order",
               "--max-items", "1")["events"]
    assert last[0]["id"] == len(events)
    listed = aws("stepfunctions", "list-executions", "--state-machine-arn", arn, "--status-filter", "SUCCEEDED")
    assert [item["executionArn"] for item in listed["executions"]] == [execution]
    version = aws("stepfunctions", "publish-state-machine-version", "--state-machine-arn", arn)
    alias = aws("stepfunctions", "create-state-machine-alias", "--name", "live", "--routing-configuration",
                f"stateMachineVersionArn={version['stateMachineVersionArn']},weight=100")
    aws("stepfunctions", "start-execution", "--state-machine-arn", alias["stateMachineAliasArn"])
    aws("stepfunctions", "tag-resource", "--resource-arn", arn, "--tags", "key=b,value=2")
    tags = aws("stepfunctions", "list-tags-for-resource", "--resource-arn", arn)["tags"]
    assert {tag["key"] for tag in tags} == {"a", "b"}

    waiting = {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 3600, "End": True}}}
    waiting = aws("stepfunctions", "create-state-machine", "--name", "cli-waiting", "--role-arn", ROLE,
                  "--definition", json.dumps(waiting))["stateMachineArn"]
    execution = aws("stepfunctions", "start-execution", "--state-machine-arn", waiting)["executionArn"]
    aws("stepfunctions", "stop-execution", "--execution-arn", execution, "--cause", "enough")
    stopped = aws("stepfunctions", "describe-execution", "--execution-arn", execution)
    assert (stopped["status"], stopped["cause"]) == ("ABORTED", "enough")
    aws("stepfunctions", "redrive-execution", "--execution-arn", execution)
    assert aws("stepfunctions", "describe-execution", "--execution-arn", execution)["redriveCount"] == 1
    aws("stepfunctions", "stop-execution", "--execution-arn", execution)
    for machine in (arn, waiting):
        aws("stepfunctions", "delete-state-machine", "--state-machine-arn", machine)
    aws("stepfunctions", "describe-execution", "--execution-arn", execution + "x", fails="ExecutionDoesNotExist")
    checked = aws("stepfunctions", "validate-state-machine-definition", "--definition", "{}")
    assert checked["result"] == "FAIL" and checked["diagnostics"]


def buckets():
    with tempfile.TemporaryDirectory() as folder:
        inside = os.path.join(folder, "from", "deep er")
        os.makedirs(inside)
        for i in range(3):
            with open(os.path.join(inside, f"{i}.txt"), "w") as file:
                file.write("x" * i)
        with open(os.path.join(folder, "large"), "wb") as file:
            file.write(os.urandom(20 << 20))
        aws("s3", "mb", "s3://command-line")
        aws("s3", "sync", os.path.join(folder, "from"), "s3://command-line/tree")
        aws("s3", "cp", os.path.join(folder, "large"), "s3://command-line/large")
        assert "3.txt" not in aws("s3", "ls", "s3://command-line/tree/deep er/")
        assert "PRE tree/" in aws("s3", "ls", "s3://command-line")
        listed = aws("s3", "ls", "--recursive", "--summarize", "s3://command-line")
        assert "Total Objects: 4" in listed, listed
        aws("s3", "cp", "s3://command-line/large", os.path.join(folder, "back"))
        with open(os.path.join(folder, "large"), "rb") as a, open(os.path.join(folder, "back"), "rb") as b:
            assert a.read() == b.read()
        assert not aws("s3", "sync", os.path.join(folder, "from"), "s3://command-line/tree"), "nothing is new"
        aws("s3", "mv", "s3://command-line/tree/deep er/2.txt", "s3://command-line/moved")
        head = aws("s3api", "head-object", "--bucket", "command-line", "--key", "moved")
        assert head["ContentLength"] == 2 and head["ContentType"] == "text/plain"
        aws("s3", "rb", "--force", "s3://command-line")
        aws("s3", "ls", "s3://command-line", fails="NoSuchBucket")


def functions():
    with tempfile.TemporaryDirectory() as folder:
        archive = os.path.join(folder, "code.zip")
        import zipfile
        with zipfile.ZipFile(archive, "w") as writer:
            writer.writestr("code.py", "def go(event, context):\n    return event\n")
        aws("lambda", "create-function", "--function-name", "cli", "--runtime", "python3.12", "--handler", "code.go",
            "--role", ROLE, "--zip-file", f"fileb://{archive}", "--timeout", "60")
        aws("lambda", "wait", "function-active-v2", "--function-name", "cli")
        out = os.path.join(folder, "out.json")
        aws("lambda", "invoke", "--function-name", "cli", "--payload", '{"a": 1}', out)
        with open(out) as file:
            assert json.load(file) == {"a": 1}
        aws("lambda", "update-function-configuration", "--function-name", "cli", "--memory-size", "256")
        aws("lambda", "wait", "function-updated-v2", "--function-name", "cli")
        shown = aws("lambda", "get-function", "--function-name", "cli")["Configuration"]
        assert (shown["MemorySize"], shown["State"]) == (256, "Active")
        aws("lambda", "delete-function", "--function-name", "cli")
        aws("lambda", "get-function", "--function-name", "cli", fails="ResourceNotFoundException")


if __name__ == "__main__":
    print(subprocess.run([AWS, "--version"], env=ENVIRONMENT, capture_output=True, text=True).stdout.strip())
    assert aws("sts", "get-caller-identity")["Account"].isdigit()
    for story in (state_machines, buckets, functions):
        began = time.time()
        story()
        print(f"ok {story.__name__} ({time.time() - began:.2f} s)", flush=True)
