"""boto3, unmodified, against a server: sdk.py ENDPOINT

Every function is one story; all of them are told, and one that fails fails the program.
"""
import base64
import io
import json
import sys
import threading
import time
import zipfile

import boto3
import botocore
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT = sys.argv[1]
SESSION = boto3.session.Session("test", "test", region_name="us-east-1")
ROLE = "arn:aws:iam::000000000000:role/test"


def client(service, **options):
    return SESSION.client(service, endpoint_url=ENDPOINT, config=Config(retries={"total_max_attempts": 1}, **options))


sfn = client("stepfunctions", inject_host_prefix=False)
s3 = client("s3")
functions = client("lambda")


def machine(name, definition, **more):
    return sfn.create_state_machine(name=name, definition=json.dumps(definition), roleArn=ROLE, **more)["stateMachineArn"]


def one(state):
    return {"StartAt": "Only", "States": {"Only": state}}


def ended(arn):
    while True:
        execution = sfn.describe_execution(executionArn=arn)
        if execution["status"] != "RUNNING":
            return execution
        time.sleep(0.01)


def run(arn, input=None):
    return ended(sfn.start_execution(stateMachineArn=arn, input=json.dumps(input or {}))["executionArn"])


def refused(error_name, call, **parameters):
    try:
        call(**parameters)
    except ClientError as error:
        assert error.response["Error"]["Code"] == error_name, error.response["Error"]
        return error.response["Error"]["Message"]
    raise AssertionError(f"{call} was accepted, expected {error_name}")


def identity():
    assert client("sts").get_caller_identity()["Account"].isdigit()


def lifecycle():
    """Create, start, wait, history with pages and in reverse, idempotent start, delete."""
    states = {f"S{i}": {"Type": "Pass", "Next": f"S{i + 1}"} for i in range(9)}
    states["S9"] = {"Type": "Pass", "Result": {"done": True}, "End": True}
    arn = machine("lifecycle", {"StartAt": "S0", "States": states})
    assert sfn.describe_state_machine(stateMachineArn=arn)["status"] == "ACTIVE"
    started = sfn.start_execution(stateMachineArn=arn, name="one", input='{"a":1}')
    execution = ended(started["executionArn"])
    assert execution["status"] == "SUCCEEDED" and json.loads(execution["output"]) == {"done": True}
    refused("ExecutionAlreadyExists", sfn.start_execution, stateMachineArn=arn, name="one", input='{"a":2}')

    pages = sfn.get_paginator("get_execution_history").paginate(
        executionArn=execution["executionArn"], PaginationConfig={"PageSize": 5})
    pages = [page["events"] for page in pages]
    assert len(pages) > 1
    events = [event for page in pages for event in page]
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert (events[0]["type"], events[-1]["type"]) == ("ExecutionStarted", "ExecutionSucceeded")
    backwards = sfn.get_execution_history(executionArn=execution["executionArn"], reverseOrder=True, maxResults=3)
    assert [event["id"] for event in backwards["events"]] == [len(events), len(events) - 1, len(events) - 2]
    bare = sfn.get_execution_history(executionArn=execution["executionArn"], includeExecutionData=False)["events"]
    assert "input" not in bare[0]["executionStartedEventDetails"]

    assert sfn.describe_state_machine_for_execution(executionArn=execution["executionArn"])["name"] == "lifecycle"
    sfn.delete_state_machine(stateMachineArn=arn)
    refused("ExecutionDoesNotExist", sfn.describe_execution, executionArn=execution["executionArn"] + "x")


def stop_and_redrive():
    waiting = machine("waiting", one({"Type": "Wait", "Seconds": 3600, "End": True}))
    arn = sfn.start_execution(stateMachineArn=waiting, name="one", input='{"a":1}')["executionArn"]
    again = sfn.start_execution(stateMachineArn=waiting, name="one", input='{"a":1}')
    assert again["executionArn"] == arn, "as long as it runs, the same start is the same execution"
    sfn.stop_execution(executionArn=arn, error="Enough", cause="of this")
    stopped = ended(arn)
    assert (stopped["status"], stopped["error"], stopped["cause"]) == ("ABORTED", "Enough", "of this")

    activity = sfn.create_activity(name="flaky")["activityArn"]
    flaky = machine("flaky", one({"Type": "Task", "Resource": activity, "End": True}))
    arn = sfn.start_execution(stateMachineArn=flaky, input='{"n":1}')["executionArn"]
    task = sfn.get_activity_task(activityArn=activity, workerName="first")
    sfn.send_task_failure(taskToken=task["taskToken"], error="Bad", cause="day")
    failed = ended(arn)
    assert (failed["status"], failed["error"], failed["redriveStatus"]) == ("FAILED", "Bad", "REDRIVABLE")
    sfn.redrive_execution(executionArn=arn)
    task = sfn.get_activity_task(activityArn=activity, workerName="second")
    assert json.loads(task["input"]) == {"n": 1}
    sfn.send_task_success(taskToken=task["taskToken"], output='"good"')
    assert ended(arn)["status"] == "SUCCEEDED"
    assert sfn.describe_execution(executionArn=arn)["redriveCount"] == 1
    sfn.delete_activity(activityArn=activity)


def lists():
    """Filters and pages."""
    succeed = machine("lists", {"StartAt": "Which", "States": {
        "Which": {"Type": "Choice", "Default": "Good",
                  "Choices": [{"Variable": "$.bad", "BooleanEquals": True, "Next": "Bad"}]},
        "Good": {"Type": "Succeed"}, "Bad": {"Type": "Fail", "Error": "E"}}})
    for bad in (True, False, False, True, False):
        run(succeed, {"bad": bad})
    count = lambda **filters: sum(
        len(page["executions"]) for page in sfn.get_paginator("list_executions").paginate(
            stateMachineArn=succeed, PaginationConfig={"PageSize": 2}, **filters))
    assert (count(), count(statusFilter="FAILED"), count(statusFilter="RUNNING")) == (5, 2, 0)
    names = [machine["name"] for page in sfn.get_paginator("list_state_machines").paginate(
        PaginationConfig={"PageSize": 1}) for machine in page["stateMachines"]]
    assert "lists" in names and len(names) == len(set(names))


def tags_versions_aliases():
    arn = machine("versions", one({"Type": "Pass", "Result": 1, "End": True}), tags=[{"key": "a", "value": "1"}])
    sfn.tag_resource(resourceArn=arn, tags=[{"key": "b", "value": "2"}])
    sfn.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert sfn.list_tags_for_resource(resourceArn=arn)["tags"] == [{"key": "b", "value": "2"}]

    first = sfn.publish_state_machine_version(stateMachineArn=arn)["stateMachineVersionArn"]
    updated = sfn.update_state_machine(stateMachineArn=arn, publish=True,
                                       definition=json.dumps(one({"Type": "Pass", "Result": 2, "End": True})))
    second = updated["stateMachineVersionArn"]
    assert (first.rsplit(":", 1)[1], second.rsplit(":", 1)[1]) == ("1", "2")
    alias = sfn.create_state_machine_alias(
        name="live", routingConfiguration=[{"stateMachineVersionArn": first, "weight": 100}])["stateMachineAliasArn"]
    assert (run(first)["output"], run(second)["output"], run(alias)["output"]) == ("1", "2", "1")
    sfn.update_state_machine_alias(
        stateMachineAliasArn=alias, routingConfiguration=[{"stateMachineVersionArn": second, "weight": 100}])
    assert run(alias)["output"] == "2"
    refused("ConflictException", sfn.delete_state_machine_version, stateMachineVersionArn=second)
    assert len(sfn.list_state_machine_versions(stateMachineArn=arn)["stateMachineVersions"]) == 2
    sfn.delete_state_machine_alias(stateMachineAliasArn=alias)
    sfn.delete_state_machine_version(stateMachineVersionArn=first)
    sfn.delete_state_machine(stateMachineArn=arn)


def activity_worker():
    activity = sfn.create_activity(name="worker")["activityArn"]
    arn = machine("worker", {"StartAt": "Each", "States": {"Each": {
        "Type": "Map", "End": True, "ItemProcessor": one({"Type": "Task", "Resource": activity, "End": True})}}})
    arn = sfn.start_execution(stateMachineArn=arn, input="[1,2,3]")["executionArn"]

    def work():
        for _ in range(3):
            task = sfn.get_activity_task(activityArn=activity, workerName="w")
            sfn.send_task_heartbeat(taskToken=task["taskToken"])
            sfn.send_task_success(taskToken=task["taskToken"], output=str(int(task["input"]) * 10))

    worker = threading.Thread(target=work)
    worker.start()
    assert json.loads(ended(arn)["output"]) == [10, 20, 30]
    worker.join()


def map_run():
    arn = machine("mapping", {"StartAt": "Each", "States": {"Each": {
        "Type": "Map", "Label": "Each", "MaxConcurrency": 5, "End": True, "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            **one({"Type": "Pass", "End": True})}}}})
    execution = ended(sfn.start_execution(stateMachineArn=arn, input=json.dumps(list(range(20))))["executionArn"])
    assert json.loads(execution["output"]) == list(range(20))
    runs = sfn.list_map_runs(executionArn=execution["executionArn"])["mapRuns"]
    described = sfn.describe_map_run(mapRunArn=runs[0]["mapRunArn"])
    assert (described["status"], described["itemCounts"]["succeeded"]) == ("SUCCEEDED", 20)
    children = sfn.list_executions(mapRunArn=runs[0]["mapRunArn"])["executions"]
    assert len(children) == 20


def buckets():
    """Upload, list, ranges, parts, presigned URLs."""
    s3.create_bucket(Bucket="clients")
    s3.put_object(Bucket="clients", Key="a b/ü.txt", Body=b"hello", ContentType="text/plain", Metadata={"who": "me"})
    got = s3.get_object(Bucket="clients", Key="a b/ü.txt")
    assert (got["Body"].read(), got["ContentType"], got["Metadata"]) == (b"hello", "text/plain", {"who": "me"})
    assert s3.get_object(Bucket="clients", Key="a b/ü.txt", Range="bytes=1-2")["Body"].read() == b"el"
    large = bytes(range(256)) * 4096 * 20
    s3.upload_fileobj(io.BytesIO(large), "clients", "large")
    assert s3.head_object(Bucket="clients", Key="large")["ETag"].endswith('-3"')
    back = io.BytesIO()
    s3.download_fileobj("clients", "large", back)
    assert back.getvalue() == large
    for i in range(25):
        s3.put_object(Bucket="clients", Key=f"many/{i:02}", Body=b"x")
    keys = [item["Key"] for page in s3.get_paginator("list_objects_v2").paginate(
        Bucket="clients", Prefix="many/", PaginationConfig={"PageSize": 10}) for item in page["Contents"]]
    assert keys == [f"many/{i:02}" for i in range(25)]
    folders = s3.list_objects_v2(Bucket="clients", Delimiter="/")
    assert [one["Prefix"] for one in folders["CommonPrefixes"]] == ["a b/", "many/"]
    s3.copy_object(Bucket="clients", Key="copy", CopySource={"Bucket": "clients", "Key": "a b/ü.txt"})
    assert s3.head_object(Bucket="clients", Key="copy")["Metadata"] == {"who": "me"}
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "clients", "Key": "copy"})
    answer = botocore.httpsession.URLLib3Session().send(botocore.awsrequest.AWSRequest("GET", url).prepare())
    assert answer.content == b"hello"
    refused("NoSuchKey", s3.get_object, Bucket="clients", Key="no")
    refused("BucketNotEmpty", s3.delete_bucket, Bucket="clients")
    every = [{"Key": item["Key"]} for item in s3.list_objects_v2(Bucket="clients")["Contents"]]
    assert len(s3.delete_objects(Bucket="clients", Delete={"Objects": every})["Deleted"]) == 28
    s3.delete_bucket(Bucket="clients")


def archive(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as writer:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name.replace("__", "."), (2020, 1, 1, 0, 0, 0))
            entry.external_attr = 0o755 << 16
            writer.writestr(entry, text)
    return buffer.getvalue()


BOOTSTRAP = """#!/usr/bin/env python3
import http.client, os
while True:
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    event = api.getresponse()
    body = event.read()
    path = "/2018-06-01/runtime/invocation/%s/response" % event.headers["Lambda-Runtime-Aws-Request-Id"]
    api.request("POST", path, body)
    api.getresponse().read()
"""


def lambda_functions():
    """A function in Python and one in an executable, called directly and by a state machine."""
    source = "def double(event, context):\n    print('doubling')\n    return {'n': event['n'] * 2}\n"
    functions.create_function(FunctionName="double", Runtime="python3.12", Handler="code.double", Role=ROLE,
                              Code={"ZipFile": archive(code__py=source)}, Timeout=60)
    functions.get_waiter("function_active_v2").wait(FunctionName="double")
    answer = functions.invoke(FunctionName="double", Payload=b'{"n": 21}', LogType="Tail")
    assert json.loads(answer["Payload"].read()) == {"n": 42} and answer["ExecutedVersion"] == "$LATEST"
    assert b"doubling" in base64.b64decode(answer["LogResult"])
    failed = functions.invoke(FunctionName="double", Payload=b"{}")
    assert failed["FunctionError"] == "Unhandled"
    assert json.loads(failed["Payload"].read())["errorType"] == "KeyError"
    assert functions.invoke(FunctionName="double", InvocationType="DryRun")["StatusCode"] == 204

    functions.create_function(FunctionName="echo", Runtime="provided.al2023", Handler="none", Role=ROLE,
                              Code={"ZipFile": archive(bootstrap=BOOTSTRAP)}, Timeout=60)
    arn = machine("functions", {"StartAt": "Double", "States": {
        "Double": {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Next": "Echo",
                   "Parameters": {"FunctionName": "double", "Payload.$": "$"}, "OutputPath": "$.Payload"},
        "Echo": {"Type": "Task", "End": True, "Resource": functions.get_function(
            FunctionName="echo")["Configuration"]["FunctionArn"]}}})
    assert json.loads(run(arn, {"n": 4})["output"]) == {"n": 8}
    missing = machine("missing", one({"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": True,
                                      "Parameters": {"FunctionName": "nobody"}}))
    assert run(missing)["error"] == "Lambda.ResourceNotFoundException"

    functions.publish_version(FunctionName="double")
    functions.create_alias(FunctionName="double", Name="live", FunctionVersion="1")
    functions.update_function_code(FunctionName="double", ZipFile=archive(code__py=source.replace("* 2", "* 3")))
    functions.get_waiter("function_updated_v2").wait(FunctionName="double")
    tripled = json.loads(functions.invoke(FunctionName="double", Payload=b'{"n": 1}')["Payload"].read())
    live = json.loads(functions.invoke(FunctionName="double:live", Payload=b'{"n": 1}')["Payload"].read())
    assert (tripled, live) == ({"n": 3}, {"n": 2})
    names = [item["FunctionName"] for page in functions.get_paginator("list_functions").paginate()
             for item in page["Functions"]]
    assert {"double", "echo", "starmap-infer"} <= set(names), names
    for name in ("double", "echo"):
        functions.delete_function(FunctionName=name)
    refused("ResourceNotFoundException", functions.get_function, FunctionName="double")


def services():
    """aws-sdk tasks: S3, Lambda, Step Functions itself."""
    s3.create_bucket(Bucket="tasks")
    arn = machine("tasks", {"StartAt": "Put", "States": {
        "Put": {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:s3:putObject", "Next": "Get",
                "Parameters": {"Bucket": "tasks", "Key": "k", "Body": {"a": 1}}, "ResultPath": None},
        "Get": {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:s3:getObject", "Next": "None",
                "Parameters": {"Bucket": "tasks", "Key": "k"}, "ResultSelector": {"Body.$": "$.Body"},
                "ResultPath": "$.got"},
        "None": {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:s3:getObject", "End": True,
                 "Parameters": {"Bucket": "tasks", "Key": "none"},
                 "Catch": [{"ErrorEquals": ["S3.NoSuchKeyException"], "ResultPath": "$.none", "Next": "List"}]},
        "List": {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:sfn:listStateMachines", "End": True,
                 "ResultSelector": {"names.$": "$.StateMachines[*].Name"}, "Parameters": {}, "ResultPath": "$.list"}}})
    execution = run(arn)
    assert execution["status"] == "SUCCEEDED", execution
    output = json.loads(execution["output"])
    assert output["got"]["Body"] == '{"a":1}' and "tasks" in output["list"]["names"], output
    assert output["none"]["Error"] == "S3.NoSuchKeyException"


def limits():
    refused("InvalidArn", sfn.describe_state_machine, stateMachineArn="nothing")
    refused("StateMachineDoesNotExist", sfn.describe_state_machine,
            stateMachineArn="arn:aws:states:us-east-1:000000000000:stateMachine:nobody")
    refused("InvalidDefinition", sfn.create_state_machine, name="x", roleArn=ROLE, definition="{}")
    refused("InvalidName", sfn.create_state_machine, name="a b", roleArn=ROLE,
            definition=json.dumps(one({"Type": "Succeed"})))


TRUST = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]})
GRANT = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "arn:aws:s3:::sky/*"}]})
S3_POLICY = "arn:aws:iam::aws:policy/AmazonS3FullAccess"


def roles_and_policies():
    """IAM: roles, inline and managed policies, simulation."""
    iam = client("iam")
    role = iam.create_role(RoleName="sky", AssumeRolePolicyDocument=TRUST, Description="d", MaxSessionDuration=7200,
                           Tags=[{"Key": "team", "Value": "a"}])["Role"]
    assert role["Arn"] == "arn:aws:iam::000000000000:role/sky" and role["AssumeRolePolicyDocument"]["Statement"]
    refused("EntityAlreadyExists", iam.create_role, RoleName="sky", AssumeRolePolicyDocument=TRUST)
    refused("MalformedPolicyDocument", iam.create_role, RoleName="x", AssumeRolePolicyDocument="{}")
    iam.update_role(RoleName="sky", Description="e")
    iam.tag_role(RoleName="sky", Tags=[{"Key": "b", "Value": "c"}])
    iam.untag_role(RoleName="sky", TagKeys=["team"])
    assert iam.list_role_tags(RoleName="sky")["Tags"] == [{"Key": "b", "Value": "c"}]
    iam.put_role_policy(RoleName="sky", PolicyName="own", PolicyDocument=GRANT)
    assert iam.get_role_policy(RoleName="sky", PolicyName="own")["PolicyDocument"] == json.loads(GRANT)
    policy = iam.create_policy(PolicyName="made", PolicyDocument=GRANT)["Policy"]["Arn"]
    version = iam.create_policy_version(PolicyArn=policy, PolicyDocument=GRANT, SetAsDefault=True)["PolicyVersion"]
    assert version["VersionId"] == "v2" and version["IsDefaultVersion"]
    assert iam.get_policy_version(PolicyArn=policy, VersionId="v1")["PolicyVersion"]["Document"] == json.loads(GRANT)
    for arn in (policy, S3_POLICY):
        iam.attach_role_policy(RoleName="sky", PolicyArn=arn)
    attached = iam.list_attached_role_policies(RoleName="sky")["AttachedPolicies"]
    assert [one["PolicyName"] for one in attached] == ["made", "AmazonS3FullAccess"] or len(attached) == 2, attached
    iam.put_role_permissions_boundary(RoleName="sky", PermissionsBoundary=S3_POLICY)
    assert iam.get_role(RoleName="sky")["Role"]["PermissionsBoundary"]["PermissionsBoundaryArn"] == S3_POLICY
    iam.delete_role_permissions_boundary(RoleName="sky")
    assert iam.list_entities_for_policy(PolicyArn=policy)["PolicyRoles"][0]["RoleName"] == "sky"
    decided = iam.simulate_principal_policy(
        PolicySourceArn=role["Arn"], ActionNames=["s3:GetObject", "sqs:SendMessage"],
        ResourceArns=["arn:aws:s3:::sky/a"])["EvaluationResults"]
    assert [one["EvalDecision"] for one in decided] == ["allowed", "implicitDeny"], decided
    decided = iam.simulate_custom_policy(PolicyInputList=[GRANT], ActionNames=["s3:PutObject"])["EvaluationResults"]
    assert decided[0]["EvalDecision"] == "implicitDeny"
    for index in range(5):
        iam.create_role(RoleName=f"page{index}", AssumeRolePolicyDocument=TRUST)
    pages = list(iam.get_paginator("list_roles").paginate(PaginationConfig={"PageSize": 2}))
    assert len(pages) == 3 and sum(len(page["Roles"]) for page in pages) == 6
    local = iam.list_policies(Scope="Local")["Policies"]
    assert [one["PolicyName"] for one in local] == ["made"]
    refused("DeleteConflict", iam.delete_role, RoleName="sky")
    refused("DeleteConflict", iam.delete_policy, PolicyArn=policy)
    for arn in (policy, S3_POLICY):
        iam.detach_role_policy(RoleName="sky", PolicyArn=arn)
    iam.delete_policy_version(PolicyArn=policy, VersionId="v1")
    iam.delete_policy(PolicyArn=policy)
    iam.delete_role_policy(RoleName="sky", PolicyName="own")
    iam.delete_role(RoleName="sky")
    refused("NoSuchEntity", iam.get_role, RoleName="sky")
    assert iam.get_account_authorization_details()["RoleDetailList"]


def log_groups():
    """CloudWatch Logs: groups, streams, events; what functions print."""
    logs = client("logs")
    logs.create_log_group(logGroupName="/own/group", tags={"a": "b"})
    refused("ResourceAlreadyExistsException", logs.create_log_group, logGroupName="/own/group")
    logs.put_retention_policy(logGroupName="/own/group", retentionInDays=30)
    group = logs.describe_log_groups(logGroupNamePrefix="/own")["logGroups"][0]
    assert group["retentionInDays"] == 30 and group["arn"].endswith(":log-group:/own/group:*")
    assert logs.list_tags_for_resource(resourceArn=group["logGroupArn"])["tags"] == {"a": "b"}
    logs.create_log_stream(logGroupName="/own/group", logStreamName="s")
    now = int(time.time() * 1000)
    events = [{"timestamp": now + i, "message": json.dumps({"n": i, "level": "ERROR" if i % 2 else "INFO"})}
              for i in range(10)]
    logs.put_log_events(logGroupName="/own/group", logStreamName="s", logEvents=events)
    found = logs.filter_log_events(logGroupName="/own/group", filterPattern='{ $.level = "ERROR" && $.n > 4 }')
    assert [json.loads(event["message"])["n"] for event in found["events"]] == [5, 7, 9]
    pages = list(logs.get_paginator("filter_log_events").paginate(logGroupName="/own/group",
                                                                  PaginationConfig={"PageSize": 3}))
    assert sum(len(page["events"]) for page in pages) == 10 and len(pages) == 4
    head = logs.get_log_events(logGroupName="/own/group", logStreamName="s", startFromHead=True, limit=4)
    assert [json.loads(event["message"])["n"] for event in head["events"]] == [0, 1, 2, 3]
    logs.delete_log_group(logGroupName="/own/group")
    refused("ResourceNotFoundException", logs.describe_log_streams, logGroupName="/own/group")

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("code.py", "def go(event, context):\n    print('said', event['n'])\n    return 1\n")
    functions.create_function(FunctionName="talks", Runtime="python3.12", Handler="code.go", Role=ROLE, Timeout=60,
                              MemorySize=256, Code={"ZipFile": archive.getvalue()})
    began = int(time.time() * 1000)
    for n in range(2):
        functions.invoke(FunctionName="talks", Payload=json.dumps({"n": n}))
    group = "/aws/lambda/talks"
    said = logs.filter_log_events(logGroupName=group, filterPattern="said", startTime=began)["events"]
    assert [event["message"] for event in said] == ["said 0\n", "said 1\n"], said
    assert all(began <= event["timestamp"] <= time.time() * 1000 for event in said), said
    assert len(logs.filter_log_events(logGroupName=group, filterPattern="REPORT")["events"]) == 2
    stream = logs.describe_log_streams(logGroupName=group, orderBy="LastEventTime", descending=True)["logStreams"][0]
    lines = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"])["events"]
    assert any(line["message"].startswith("START RequestId: ") for line in lines), lines
    functions.add_permission(FunctionName="talks", StatementId="s", Action="lambda:InvokeFunction",
                             Principal="events.amazonaws.com", SourceArn="arn:aws:events:us-east-1:000000000000:rule/r")
    refused("ResourceConflictException", functions.add_permission, FunctionName="talks", StatementId="s",
            Action="lambda:InvokeFunction", Principal="events.amazonaws.com")
    policy = json.loads(functions.get_policy(FunctionName="talks")["Policy"])
    assert policy["Statement"][0]["Principal"] == {"Service": "events.amazonaws.com"}, policy
    functions.remove_permission(FunctionName="talks", StatementId="s")
    refused("ResourceNotFoundException", functions.get_policy, FunctionName="talks")
    functions.delete_function(FunctionName="talks")


STORIES = [roles_and_policies, log_groups, identity, lifecycle, stop_and_redrive, lists, tags_versions_aliases, activity_worker, map_run, buckets,
           lambda_functions, services, limits]

if __name__ == "__main__":
    wanted = sys.argv[2:]
    print(f"boto3 {boto3.__version__}, botocore {botocore.__version__}, Python {sys.version.split()[0]}", flush=True)
    failures = 0
    for story in STORIES:
        if wanted and story.__name__ not in wanted:
            continue
        began = time.time()
        try:
            story()
            print(f"ok {story.__name__} ({time.time() - began:.2f} s)", flush=True)
        except Exception:
            import traceback
            failures += 1
            print(f"FAILED {story.__name__}", flush=True)
            traceback.print_exc(file=sys.stdout)
    sys.exit(1 if failures else 0)
