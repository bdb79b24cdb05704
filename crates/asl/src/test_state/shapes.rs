//! Response shapes of AWS services: which fields a response has and what may be in them.
//!
//! The shapes are data (`shapes/*.txt`), written by `tools/aws_response_shapes.py`, which says what the lines mean.
//! They come from the service models that botocore carries (Apache-2.0, Copyright Amazon.com, Inc. or its affiliates).
//! A file is split into lines when it is first asked for, and a line is read when a value is compared with it.

use std::collections::HashMap;

macro_rules! services {
    ($($name:literal),* $(,)?) => {
        /// The text of a service's shapes, by botocore's name.
        fn text(service: &str) -> Option<&'static str> {
            match service {
                $($name => Some(include_str!(concat!("shapes/", $name, ".txt"))),)*
                _ => None,
            }
        }

        #[cfg(test)]
        const NAMES: &[&str] = &[$($name),*];
    };
}

services!(
    "athena",
    "batch",
    "bedrock-runtime",
    "cloudwatch",
    "codebuild",
    "dynamodb",
    "ecs",
    "emr",
    "emr-serverless",
    "events",
    "glue",
    "kinesis",
    "kms",
    "lambda",
    "logs",
    "rds-data",
    "redshift-data",
    "s3",
    "scheduler",
    "secretsmanager",
    "sns",
    "sqs",
    "ssm",
    "stepfunctions",
    "sts",
);

/// The response shapes of one service.
pub(super) struct Shapes {
    /// Shape number or `@Operation` → the rest of its line.
    lines: HashMap<&'static str, &'static str>,
}

/// One shape, read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Structure(Vec<Field>),
    List(&'static str),
    Map(&'static str),
    Enumeration(Vec<&'static str>),
    Scalar(Scalar, Limits),
    /// A document, or a type this program does not know.
    Anything,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    /// As in the service's own model.
    pub(super) name: &'static str,
    /// A letter or a number: see [`Shapes::shape`].
    pub(super) shape: &'static str,
    pub(super) is_required: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    String,
    Boolean,
    Number,
    Blob,
    Timestamp,
}

/// Least and greatest value or length, both included.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Limits {
    pub(super) least: Option<f64>,
    pub(super) most: Option<f64>,
}

impl Shapes {
    /// The shapes of a service by botocore's name.
    pub(super) fn of(service: &str) -> Option<Shapes> {
        let lines = text(service)?.lines().map(|line| line.split_once(' ').unwrap_or((line, ""))).collect();
        Some(Shapes { lines })
    }

    /// The shape of an operation's response. `None`: no such operation; `Some(None)`: it answers nothing.
    pub(super) fn response(&self, operation: &str) -> Option<Option<&'static str>> {
        let shape = self.lines.get(format!("@{operation}").as_str())?;
        Some(Some(*shape).filter(|shape| !shape.is_empty()))
    }

    /// The shape of a type, which is a letter or a number.
    pub(super) fn shape(&self, of: &str) -> Shape {
        if let Some(scalar) = scalar(of) {
            return Shape::Scalar(scalar, Limits::default());
        }
        let Some(line) = self.lines.get(of) else { return Shape::Anything };
        let (kind, rest) = line.split_at_checked(1).unwrap_or_default();
        match kind {
            "{" => Shape::Structure(rest.split(' ').filter_map(field).collect()),
            "[" => Shape::List(rest),
            "<" => Shape::Map(rest),
            "|" => Shape::Enumeration(rest.split('|').collect()),
            letter => match (scalar(letter), rest.split_once(',')) {
                (Some(scalar), Some((least, most))) => {
                    Shape::Scalar(scalar, Limits { least: least.parse().ok(), most: most.parse().ok() })
                }
                _ => Shape::Anything,
            },
        }
    }
}

fn scalar(letter: &str) -> Option<Scalar> {
    Some(match letter {
        "s" => Scalar::String,
        "t" => Scalar::Boolean,
        "n" => Scalar::Number,
        "b" => Scalar::Blob,
        "m" => Scalar::Timestamp,
        _ => return None,
    })
}

fn field(text: &'static str) -> Option<Field> {
    let (name, shape) = text.split_once('=')?;
    let is_required = name.starts_with('*');
    Some(Field { name: name.trim_start_matches('*'), shape, is_required })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_every_service_can_be_read() {
        for name in NAMES {
            let shapes = Shapes::of(name).unwrap();
            for (key, rest) in &shapes.lines {
                match key.strip_prefix('@') {
                    Some(_) if rest.is_empty() => {}
                    Some(operation) => {
                        let response = shapes.response(operation).unwrap().unwrap();
                        assert!(matches!(shapes.shape(response), Shape::Structure(_)), "{name} {operation}");
                    }
                    None if *key == "!" => {}
                    None => assert_ne!(shapes.shape(key), Shape::Anything, "{name} {key} {rest}"),
                }
            }
        }
    }

    #[test]
    fn a_shape_says_what_the_model_says() {
        let shapes = Shapes::of("stepfunctions").unwrap();
        let Shape::Structure(fields) = shapes.shape(shapes.response("StartExecution").unwrap().unwrap()) else {
            panic!()
        };
        let told: Vec<_> = fields.iter().map(|field| (field.name, field.is_required)).collect();
        assert_eq!(told, [("executionArn", true), ("startDate", true)]);
        assert_eq!(
            shapes.shape(fields[0].shape),
            Shape::Scalar(Scalar::String, Limits { least: Some(1.0), most: Some(256.0) })
        );
        assert_eq!(shapes.shape(fields[1].shape), Shape::Scalar(Scalar::Timestamp, Limits::default()));
        assert_eq!(shapes.response("NoSuchThing"), None);
        assert!(Shapes::of("nonsense").is_none());
    }
}
