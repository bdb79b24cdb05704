#!/usr/bin/env python3
"""Writes the response shapes of AWS services as compact text, for checking mocked results.

    python3 tools/aws_response_shapes.py crates/asl/src/test_state/shapes

Reads the service models that come with botocore (Apache-2.0, Copyright Amazon.com, Inc. or its affiliates) and keeps
facts only: operations, and of their responses the fields, types, enumerations and limits. One file per service:

    ! dynamodb 2012-08-10
    @PutItem 4                  operation, shape of its response
    4 {Attributes=7 ...         structure: field=type, a required field with a `*` before it
    5 [s                        list of strings
    6 <9                        map of shape 9
    7 |ON|OFF                   string with these values
    8 s1,64                     string with a least and a greatest length (a number has a least and a greatest value)

A type is a shape's number or one letter: s string, t true or false, n number, b blob, m timestamp, * anything.
"""

import argparse
import pathlib

from botocore.loaders import Loader

# By botocore's name. What a definition calls them is in mock.rs.
SERVICES = (
    "athena batch bedrock-runtime cloudwatch codebuild dynamodb ecs emr emr-serverless events glue kinesis kms lambda "
    "logs rds-data redshift-data s3 scheduler secretsmanager sns sqs ssm stepfunctions sts"
).split()

# Where AWS's TestState was seen to hold a mock to another limit than the model has that botocore carries today.
RECORDED = {("lambda", "MemorySize"): {"max": 10240}}

SCALARS = {
    "string": "s", "character": "s", "boolean": "t", "integer": "n", "long": "n", "float": "n", "double": "n",
    "blob": "b", "timestamp": "m",
}


class Writer:
    def __init__(self, name, model):
        self.name = name
        self.model = model
        self.numbers = {}
        self.lines = {}

    def type_of(self, name):
        """The letter or number of a shape; a shape with anything to say gets a line."""
        if name in self.numbers:
            return self.numbers[name]
        shape = self.model["shapes"][name] | RECORDED.get((self.name, name), {})
        kind = shape["type"]
        letter = SCALARS.get(kind)
        limits = "min" in shape or "max" in shape
        if shape.get("document"):
            return "*"
        if letter and not shape.get("enum") and not limits:
            return letter
        if letter and limits and letter not in "snb":
            return letter
        number = self.numbers[name] = str(len(self.numbers) + 1)
        if shape.get("enum"):
            text = "|" + "|".join(shape["enum"])
        elif letter:
            text = f"{letter}{shape.get('min', '')},{shape.get('max', '')}"
        elif kind == "structure":
            required = set(shape.get("required", []))
            fields = (
                f"{'*' if field in required else ''}{field}={self.type_of(member['shape'])}"
                for field, member in shape["members"].items()
            )
            text = "{" + " ".join(fields)
        elif kind == "list":
            text = "[" + self.type_of(shape["member"]["shape"])
        elif kind == "map":
            text = "<" + self.type_of(shape["value"]["shape"])
        else:
            raise ValueError(f"shape {name} has the unknown type {kind}")
        self.lines[number] = text
        return number


def render(name, model):
    writer = Writer(name, model)
    operations = []
    for operation, described in sorted(model["operations"].items()):
        output = described.get("output", {}).get("shape")
        operations.append(f"@{operation}" + (f" {writer.type_of(output)}" if output else ""))
    shapes = [f"{number} {writer.lines[number]}" for number in sorted(writer.lines, key=int)]
    return "\n".join([f"! {name} {model['metadata']['apiVersion']}", *operations, *shapes]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    loader = Loader()
    for name in SERVICES:
        text = render(name, loader.load_service_model(name, "service-2"))
        (folder / f"{name}.txt").write_text(text)
        print(f"{name}: {len(text)} bytes")


if __name__ == "__main__":
    main()
