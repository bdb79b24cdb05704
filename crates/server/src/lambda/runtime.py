"""A client of the Lambda Runtime API in plain Python 3: python_runtime.py module.function

Steps aside for AWS's own client (awslambdaric) when that can be imported.
"""
import http.client
import importlib
import json
import logging
import os
import sys
import threading
import time
import traceback

API = os.environ["AWS_LAMBDA_RUNTIME_API"]
ROOT = os.environ.get("LAMBDA_TASK_ROOT", ".")
PATH = "/2018-06-01/runtime/"


def end_with_parent():
    """The server holds our standard input open; when it is gone, so are we."""
    os.read(0, 1)
    os._exit(0)


class Context:
    identity = client_context = None

    def __init__(self, headers):
        variable = os.environ.get
        self.aws_request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        self.invoked_function_arn = headers["Lambda-Runtime-Invoked-Function-Arn"]
        self._deadline_ms = int(headers["Lambda-Runtime-Deadline-Ms"])
        self.function_name = variable("AWS_LAMBDA_FUNCTION_NAME")
        self.function_version = variable("AWS_LAMBDA_FUNCTION_VERSION")
        self.memory_limit_in_mb = variable("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.log_group_name = variable("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = variable("AWS_LAMBDA_LOG_STREAM_NAME")

    def get_remaining_time_in_millis(self):
        return max(0, self._deadline_ms - int(time.time() * 1000))


class LogHandler(logging.Handler):
    request_id = ""

    def emit(self, record):
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        print(f"[{record.levelname}]\t{at}.{int(record.msecs):03d}Z\t{self.request_id}\t{record.getMessage()}")
        if record.exc_info:
            traceback.print_exception(*record.exc_info, file=sys.stdout)


class Api:
    def __init__(self):
        self.connection = http.client.HTTPConnection(API)

    def call(self, method, path, body=None, headers=None):
        self.connection.request(method, PATH + path, body, headers or {})
        answer = self.connection.getresponse()
        return answer, answer.read()

    def fail(self, path, kind, message, trace=(), request_id=""):
        error = {"errorMessage": message, "errorType": kind, "requestId": request_id, "stackTrace": list(trace)}
        print(f"[ERROR] {kind}: {message}\n" + "".join(trace), end="" if trace else "\n")
        headers = {"Lambda-Runtime-Function-Error-Type": kind, "Content-Type": "application/json"}
        self.call("POST", path, json.dumps(error).encode(), headers)


def load(api, name):
    module_name, _, function = name.rpartition(".")
    try:
        module = importlib.import_module(module_name.replace("/", "."))
        return getattr(module, function)
    except AttributeError:
        kind, message = "Runtime.HandlerNotFound", f"Handler '{function}' missing on module '{module_name}'"
    except ImportError as error:
        kind, message = "Runtime.ImportModuleError", f"Unable to import module '{module_name}': {error}"
    except SyntaxError as error:
        kind = "Runtime.UserCodeSyntaxError"
        message = f"Syntax error in module '{module_name}': {error}"
    except ValueError as error:
        kind, message = "Runtime.MalformedHandlerName", f"Bad handler '{name}': {error}"
    except Exception as error:
        kind, message = type(error).__name__, str(error)
    api.fail("init/error", kind, message)
    sys.exit(1)


def serve(name):
    api = Api()
    log = LogHandler()
    logging.root.handlers = [log]
    handler = load(api, name)
    while True:
        answer, body = api.call("GET", "invocation/next")
        context = Context(answer.headers)
        log.request_id = request_id = context.aws_request_id
        if answer.headers.get("Lambda-Runtime-Trace-Id"):
            os.environ["_X_AMZN_TRACE_ID"] = answer.headers["Lambda-Runtime-Trace-Id"]
        path = f"invocation/{request_id}/"
        try:
            result = handler(json.loads(body or b"null"), context)
        except Exception as error:
            trace = traceback.format_tb(error.__traceback__)[1:]
            api.fail(path + "error", type(error).__name__, str(error), trace, request_id)
            continue
        try:
            result = json.dumps(result, ensure_ascii=False).encode()
        except (TypeError, ValueError) as error:
            api.fail(path + "error", "Runtime.MarshalError", f"Unable to marshal response: {error}", (), request_id)
            continue
        api.call("POST", path + "response", result, {"Content-Type": "application/json"})


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    sys.path[0:1] = [ROOT]
    try:
        theirs = importlib.import_module("awslambdaric.__main__")
    except ImportError:
        serve(sys.argv[1])
    else:
        theirs.main(sys.argv)
