"""boto3 and the AWS CLI, unmodified, against a server with --auth: auth.py ENDPOINT ACCESS_KEY SECRET

What is signed by a known key, and allowed by its owner's policies, is answered; everything else is refused as AWS refuses it.
"""
import datetime
import hashlib
import io
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.credentials
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT, KEY, SECRET = sys.argv[1:4]
REGION = "us-east-1"
ACCOUNT = "000000000000"
# Where a session is kept for the program that runs after the server was killed.
SESSION_FILE = os.path.join(os.environ.get("STARMAP_TEST_FOLDER", "/nonexistent"), "session.json")
CONFIG = Config(retries={"total_max_attempts": 1}, inject_host_prefix=False, s3={"addressing_style": "path"})


def client(service, key=KEY, secret=SECRET, token=None, region=REGION, config=CONFIG):
    return boto3.session.Session(key, secret, token, region_name=region).client(
        service, endpoint_url=ENDPOINT, config=config)


def refused(code, status, call, **parameters):
    try:
        call(**parameters)
    except ClientError as error:
        found = (error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"])
        assert found == (code, status), error.response
        return error.response["Error"].get("Message", "")
    raise AssertionError(f"{call} was accepted, expected {code}")


def asked(method, path, headers=None, body=None):
    """A request without an SDK: status and body."""
    request = urllib.request.Request(ENDPOINT + path, data=body, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def signed(service, method, path, body=b"", at=None, drop=(), headers=None, region=REGION, secret=SECRET, sends=None):
    """The same, signed by botocore as if it were `at`; `sends` is sent in place of the body that was signed."""
    now = at or datetime.datetime.now(datetime.timezone.utc)
    kind = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
    original = botocore.auth.get_current_datetime if hasattr(botocore.auth, "get_current_datetime") else None
    request = botocore.awsrequest.AWSRequest(method, ENDPOINT + path, data=body, headers=headers or {})
    signer = kind(botocore.credentials.Credentials(KEY, secret), service, region)
    if original:
        botocore.auth.get_current_datetime = lambda **_: now.replace(tzinfo=None)
    try:
        signer.add_auth(request)
    finally:
        if original:
            botocore.auth.get_current_datetime = original
    sent = {name: value for name, value in request.headers.items() if name.lower() not in drop}
    return asked(method, path, sent, body if sends is None else sends)


def who():
    identity = client("sts").get_caller_identity()
    assert identity["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/administrator", identity
    for service, call in [("stepfunctions", "list_state_machines"), ("lambda", "list_functions"),
                          ("s3", "list_buckets"), ("iam", "list_roles"), ("logs", "describe_log_groups")]:
        getattr(client(service), call)()


def wrong_secret():
    wrong = dict(secret="wrong")
    refused("InvalidSignatureException", 400, client("stepfunctions", **wrong).list_state_machines)
    refused("InvalidSignatureException", 403, client("lambda", **wrong).list_functions)
    refused("InvalidSignatureException", 400, client("logs", **wrong).describe_log_groups)
    refused("SignatureDoesNotMatch", 403, client("s3", **wrong).list_buckets)
    refused("SignatureDoesNotMatch", 403, client("iam", **wrong).list_roles)
    message = refused("SignatureDoesNotMatch", 403, client("sts", **wrong).get_caller_identity)
    assert "The request signature we calculated does not match" in message, message


def unknown_key():
    unknown = dict(key="AKIAUNKNOWN")
    message = refused("UnrecognizedClientException", 400, client("stepfunctions", **unknown).list_state_machines)
    assert message == "The security token included in the request is invalid.", message
    refused("UnrecognizedClientException", 403, client("lambda", **unknown).list_functions)
    refused("InvalidAccessKeyId", 403, client("s3", **unknown).list_buckets)
    refused("InvalidClientTokenId", 403, client("sts", **unknown).get_caller_identity)
    refused("InvalidClientTokenId", 403, client("sts", token="none").get_caller_identity)


def not_signed():
    json_headers = {"X-Amz-Target": "AWSStepFunctions.ListStateMachines", "Content-Type": "application/x-amz-json-1.0"}
    status, body = asked("POST", "/", json_headers, b"{}")
    assert (status, json.loads(body)["__type"]) == (400, "MissingAuthenticationTokenException"), body
    status, body = asked("GET", "/2015-03-31/functions")
    assert status == 403 and "Missing Authentication Token" in body, body
    status, body = asked("GET", "/bucket/key")
    assert status == 403 and "<Code>AccessDenied</Code>" in body, body
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    status, body = asked("POST", "/", form, b"Action=GetCallerIdentity&Version=2011-06-15")
    assert status == 403 and "<Code>MissingAuthenticationToken</Code>" in body, body
    status, body = asked("GET", "/2015-03-31/functions", {"Authorization": "Bearer x"})
    assert status == 403 and "Authorization header requires 'Credential' parameter." in body, body
    assert asked("GET", "/health")[0] == 200
    assert asked("GET", "/console/")[0] == 401


def skewed_clock():
    now = datetime.datetime.now(datetime.timezone.utc)
    target = {"X-Amz-Target": "AWSStepFunctions.ListStateMachines", "Content-Type": "application/x-amz-json-1.0"}
    minutes = lambda count: now + datetime.timedelta(minutes=count)
    assert signed("states", "POST", "/", b"{}", minutes(-4), headers=target)[0] == 200
    status, body = signed("states", "POST", "/", b"{}", minutes(-6), headers=target)
    assert status == 400 and "Signature expired: " in body and "- 5 min.)" in body, body
    status, body = signed("states", "POST", "/", b"{}", minutes(6), headers=target)
    assert status == 400 and "Signature not yet current: " in body, body
    assert signed("s3", "GET", "/", at=minutes(-14))[0] == 200
    status, body = signed("s3", "GET", "/", at=minutes(-16))
    assert status == 403 and "<Code>RequestTimeTooSkewed</Code>" in body, body
    assert "<MaxAllowedSkewMilliseconds>900000</MaxAllowedSkewMilliseconds>" in body, body


def scopes():
    message = refused("InvalidSignatureException", 400, client("stepfunctions", region="eu-west-1").list_state_machines)
    assert "Credential should be scoped to a valid region" in message, message
    message = refused("AuthorizationHeaderMalformed", 400, client("s3", region="eu-west-1").list_buckets)
    assert "the region 'eu-west-1' is wrong; expecting 'us-east-1'" in message, message
    target = {"X-Amz-Target": "AWSStepFunctions.ListStateMachines", "Content-Type": "application/x-amz-json-1.0"}
    status, body = signed("lambda", "POST", "/", b"{}", headers=target)
    assert status == 400 and "Credential should be scoped to correct service: 'states'." in body, body
    # A signature for STS is none for IAM, although both are asked at one address.
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    status, body = signed("sts", "POST", "/", b"Action=ListRoles&Version=2010-05-08", headers=form)
    assert status == 403 and "correct service: 'iam'" in body, body
    status, body = signed("states", "POST", "/", b"{}", headers=target, drop=("x-amz-date",))
    assert status == 400 and "IncompleteSignatureException" in body, body


def objects():
    s3 = client("s3")
    s3.create_bucket(Bucket="guarded")
    data = os.urandom(100_000)
    # Bodies in signed or unsigned chunks, with checksums after them.
    for algorithm in ("CRC32", "SHA256"):
        s3.put_object(Bucket="guarded", Key=f"a b/{algorithm}+é", Body=io.BytesIO(data), ChecksumAlgorithm=algorithm)
        got = s3.get_object(Bucket="guarded", Key=f"a b/{algorithm}+é", ChecksumMode="ENABLED")["Body"].read()
        assert got == data
    s3.upload_fileobj(io.BytesIO(data * 120), "guarded", "large")
    assert s3.head_object(Bucket="guarded", Key="large")["ContentLength"] == 12_000_000
    # Unless told otherwise boto3 presigns for S3 in us-east-1 by a signature of version 2.
    old = s3.generate_presigned_url("get_object", {"Bucket": "guarded", "Key": "large"}, ExpiresIn=60)
    status, body = asked("GET", old[len(ENDPOINT):])
    assert status == 400 and "Please use AWS4-HMAC-SHA256" in body, body
    s3 = client("s3", config=CONFIG.merge(Config(signature_version="s3v4")))
    url = s3.generate_presigned_url("get_object", {"Bucket": "guarded", "Key": "large"}, ExpiresIn=60)
    path = url[len(ENDPOINT):]
    status, _ = asked("GET", path, {"Range": "bytes=0-9"})
    assert status == 206, status
    assert asked("GET", path.replace("/large", "/other"))[0] == 403
    status, body = asked("GET", path.replace("X-Amz-Expires=60", "X-Amz-Expires=61"))
    assert status == 403 and "SignatureDoesNotMatch" in body, body
    put = s3.generate_presigned_url("put_object", {"Bucket": "guarded", "Key": "put"}, ExpiresIn=60)
    assert asked("PUT", put[len(ENDPOINT):], body=b"hello")[0] == 200
    short = s3.generate_presigned_url("get_object", {"Bucket": "guarded", "Key": "put"}, ExpiresIn=1)
    deadline = time.time() + 30
    while True:
        status, body = asked("GET", short[len(ENDPOINT):])
        if status != 200:
            break
        assert time.time() < deadline, "a presigned URL does not expire"
        time.sleep(0.1)
    assert status == 403 and "<Message>Request has expired</Message>" in body, body
    # A body that is not what was signed.
    status, body = signed("s3", "PUT", "/guarded/x", b"one", sends=b"two")
    assert status == 400 and "<Code>XAmzContentSHA256Mismatch</Code>" in body, body
    status, body = signed("states", "POST", "/", b"{}", sends=b'{"a":1}',
                          headers={"X-Amz-Target": "AWSStepFunctions.ListStateMachines"})
    assert status == 400 and "InvalidSignatureException" in body, body


def chunked():
    """A body in signed chunks, as the SDKs for Java send it."""
    import hmac
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{now[:8]}/{REGION}/s3/aws4_request"
    host = ENDPOINT.split("//")[1]
    sha = lambda data: hashlib.sha256(data).hexdigest()
    mac = lambda key, text: hmac.new(key, text.encode(), hashlib.sha256).digest()
    key = ("AWS4" + SECRET).encode()
    for part in scope.split("/"):
        key = mac(key, part)
    chunks = [b"a" * 8192, b"bc", b""]
    headers = {"content-encoding": "aws-chunked", "host": host, "x-amz-date": now,
               "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "x-amz-decoded-content-length": "8194"}
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    canonical = f"PUT\n/guarded/chunked\n\n{lines}\n{names}\n{headers['x-amz-content-sha256']}"
    seed = mac(key, f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{sha(canonical.encode())}").hex()
    headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={names}, Signature={seed}")

    def body(change=lambda chunk: chunk):
        before, framed = seed, b""
        for chunk in chunks:
            text = f"AWS4-HMAC-SHA256-PAYLOAD\n{now}\n{scope}\n{before}\n{sha(b'')}\n{sha(chunk)}"
            before = mac(key, text).hex()
            framed += f"{len(chunk):x};chunk-signature={before}\r\n".encode() + change(chunk) + b"\r\n"
        return framed

    assert asked("PUT", "/guarded/chunked", headers, body())[0] == 200
    assert client("s3").get_object(Bucket="guarded", Key="chunked")["Body"].read() == b"a" * 8192 + b"bc"
    status, answer = asked("PUT", "/guarded/chunked", headers, body(lambda chunk: chunk.replace(b"c", b"d")))
    assert status == 403 and "SignatureDoesNotMatch" in answer, answer


TRUST = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": ["states.amazonaws.com", "lambda.amazonaws.com"]},
     "Action": "sts:AssumeRole"},
    {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}]}


def allow(actions, resource="*"):
    return json.dumps({"Version": "2012-10-17",
                       "Statement": [{"Effect": "Allow", "Action": actions, "Resource": resource}]})


def policies():
    iam, states = client("iam"), client("stepfunctions")
    role = iam.create_role(RoleName="machine", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    definition = json.dumps({"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}})
    machine = states.create_state_machine(name="guarded", definition=definition, roleArn=role)["stateMachineArn"]
    iam.create_user(UserName="kim")
    key = iam.create_access_key(UserName="kim")["AccessKey"]
    kim = lambda service: client(service, key["AccessKeyId"], key["SecretAccessKey"])
    message = refused("AccessDeniedException", 400, kim("stepfunctions").start_execution, stateMachineArn=machine)
    assert message == (
        f"User: arn:aws:iam::{ACCOUNT}:user/kim is not authorized to perform: states:StartExecution on resource: "
        f"{machine} because no identity-based policy allows the states:StartExecution action"), message
    iam.put_user_policy(UserName="kim", PolicyName="start", PolicyDocument=allow("states:StartExecution", machine))
    kim("stepfunctions").start_execution(stateMachineArn=machine)
    refused("AccessDeniedException", 400, kim("stepfunctions").list_state_machines)
    refused("AccessDeniedException", 403, kim("lambda").list_functions)
    refused("AccessDenied", 403, kim("s3").list_objects_v2, Bucket="guarded")
    refused("AccessDenied", 403, kim("iam").list_roles)
    refused("AccessDeniedException", 400, kim("logs").describe_log_groups)
    # Whoever gives a machine a role has to be allowed to pass it.
    iam.put_user_policy(UserName="kim", PolicyName="make", PolicyDocument=allow("states:*"))
    message = refused("AccessDeniedException", 400, kim("stepfunctions").create_state_machine, name="other",
                      definition=definition, roleArn=role)
    assert "iam:PassRole" in message, message
    iam.put_user_policy(UserName="kim", PolicyName="s3", PolicyDocument=allow("s3:GetObject", "arn:aws:s3:::guarded/*"))
    kim("s3").get_object(Bucket="guarded", Key="put")
    refused("AccessDenied", 403, kim("s3").put_object, Bucket="guarded", Key="put", Body=b"")
    refused("AccessDenied", 403, kim("s3").delete_objects, Bucket="guarded",
            Delete={"Objects": [{"Key": "put"}]})
    iam.update_access_key(UserName="kim", AccessKeyId=key["AccessKeyId"], Status="Inactive")
    refused("InvalidClientTokenId", 403, kim("sts").get_caller_identity)


def sessions():
    iam, sts = client("iam"), client("sts")
    iam.put_role_policy(RoleName="machine", PolicyName="read", PolicyDocument=allow("s3:*"))
    role = iam.get_role(RoleName="machine")["Role"]["Arn"]
    narrow = allow("s3:GetObject")
    given = sts.assume_role(RoleArn=role, RoleSessionName="try", DurationSeconds=900, Policy=narrow)["Credentials"]
    as_role = lambda service, token=given["SessionToken"]: client(
        service, given["AccessKeyId"], given["SecretAccessKey"], token)
    if os.path.isdir(os.path.dirname(SESSION_FILE)):
        with open(SESSION_FILE, "w") as file:
            json.dump({name: given[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")}, file)
    arn = as_role("sts").get_caller_identity()["Arn"]
    assert arn == f"arn:aws:sts::{ACCOUNT}:assumed-role/machine/try", arn
    as_role("s3").get_object(Bucket="guarded", Key="put")
    message = refused("AccessDenied", 403, as_role("s3").put_object, Bucket="guarded", Key="put", Body=b"")
    assert "no session policy allows" in message, message
    refused("InvalidToken", 400, as_role("s3", "another").list_buckets)
    refused("InvalidClientTokenId", 403, as_role("sts", None).get_caller_identity)
    refused("AccessDenied", 403, sts.assume_role, RoleArn=role + "x", RoleSessionName="try")
    refused("ValidationError", 400, sts.assume_role, RoleArn=role, RoleSessionName="try", DurationSeconds=43200)
    assert "LastUsedDate" in iam.get_role(RoleName="machine")["Role"]["RoleLastUsed"]


def functions():
    """A function asks this server as its role."""
    import zipfile
    iam, functions = client("iam"), client("lambda")
    code = ("import boto3\n"
            "def go(event, context):\n"
            "    who = boto3.client('sts').get_caller_identity()['Arn']\n"
            "    try:\n"
            "        boto3.client('stepfunctions').list_state_machines()\n"
            "        return [who, 'allowed']\n"
            "    except Exception as error:\n"
            "        return [who, error.response['Error']['Code']]\n")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("code.py", code)
    role = iam.get_role(RoleName="machine")["Role"]["Arn"]
    functions.create_function(FunctionName="asks", Runtime="python3.12", Handler="code.go", Role=role, Timeout=60,
                              MemorySize=512, Code={"ZipFile": archive.getvalue()})
    answer = json.loads(functions.invoke(FunctionName="asks")["Payload"].read())
    assert answer == [f"arn:aws:sts::{ACCOUNT}:assumed-role/machine/asks-LATEST", "AccessDeniedException"], answer
    iam.put_role_policy(RoleName="machine", PolicyName="list", PolicyDocument=allow("states:ListStateMachines"))
    assert json.loads(functions.invoke(FunctionName="asks")["Payload"].read())[1] == "allowed"


def command_line():
    aws = os.path.join(os.path.dirname(sys.executable), "aws")
    if not os.path.exists(aws):
        print("SKIPPED: no aws beside this Python")
        return
    environment = dict(os.environ, AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET, AWS_DEFAULT_REGION=REGION,
                       AWS_ENDPOINT_URL=ENDPOINT)
    run = lambda *words: subprocess.run([aws, *words], env=environment, capture_output=True, text=True)
    told = run("sts", "get-caller-identity", "--output", "json")
    assert told.returncode == 0 and "user/administrator" in told.stdout, told
    assert run("s3", "ls", "s3://guarded").returncode == 0
    environment["AWS_SECRET_ACCESS_KEY"] = "wrong"
    told = run("stepfunctions", "list-state-machines")
    assert "(InvalidSignatureException) when calling the ListStateMachines operation" in told.stderr, told


def again():
    """After a restart: what was made is there."""
    iam = client("iam")
    assert iam.get_role_policy(RoleName="machine", PolicyName="list")["PolicyName"] == "list"
    assert iam.list_access_keys(UserName="kim")["AccessKeyMetadata"][0]["Status"] == "Inactive"
    given = json.load(open(SESSION_FILE)) if os.path.exists(SESSION_FILE) else None
    if given:
        arn = client("sts", given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"]).get_caller_identity()
        assert arn["Arn"].endswith(":assumed-role/machine/try"), arn
        os.remove(SESSION_FILE)


STORIES = [who, wrong_secret, unknown_key, not_signed, skewed_clock, scopes, objects, chunked, policies, sessions,
           functions, command_line]

if __name__ == "__main__":
    wanted = sys.argv[4:]
    told = [story for story in [*STORIES, again] if story.__name__ in wanted] if wanted else STORIES
    failures = 0
    for story in told:
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
