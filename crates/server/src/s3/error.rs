//! S3's errors: code, sentence, status.
//!
//! # Source
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>, read 2026-11.

use starmap_engine::objects::ObjectError;

/// Why S3 refuses something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Error {
    /// For programs, as in `NoSuchKey`.
    pub code: &'static str,
    /// For people, in AWS's words.
    pub message: String,
    /// The HTTP status.
    pub status: u16,
    /// More elements of the answer, as in `Key`.
    pub members: Vec<(&'static str, String)>,
}

impl Error {
    pub(crate) fn new(code: &'static str, status: u16, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), status, members: Vec::new() }
    }

    pub(crate) fn with(mut self, member: &'static str, value: impl Into<String>) -> Self {
        self.members.push((member, value.into()));
        self
    }

    pub(crate) fn no_such_bucket(bucket: &str) -> Self {
        Self::new("NoSuchBucket", 404, "The specified bucket does not exist").with("BucketName", bucket)
    }

    pub(crate) fn no_such_key(key: &str) -> Self {
        Self::new("NoSuchKey", 404, "The specified key does not exist.").with("Key", key)
    }

    pub(crate) fn no_such_upload(upload_id: &str) -> Self {
        let message = "The specified upload does not exist. The upload ID may be invalid, or the upload may have been \
                       aborted or completed.";
        Self::new("NoSuchUpload", 404, message).with("UploadId", upload_id)
    }

    pub(crate) fn precondition_failed(condition: &str) -> Self {
        Self::new("PreconditionFailed", 412, "At least one of the pre-conditions you specified did not hold")
            .with("Condition", condition)
    }

    pub(crate) fn invalid_argument(name: &str, value: &str, message: impl Into<String>) -> Self {
        Self::new("InvalidArgument", 400, message).with("ArgumentName", name).with("ArgumentValue", value)
    }

    pub(crate) fn malformed_xml() -> Self {
        let message = "The XML you provided was not well-formed or did not validate against our published schema";
        Self::new("MalformedXML", 400, message)
    }

    pub(crate) fn not_implemented(what: &str) -> Self {
        let message = format!("A header or query you provided implies functionality that is not implemented: {what}");
        Self::new("NotImplemented", 501, message)
    }

    pub(crate) fn internal(doing: &str, error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, doing, "request failed");
        Self::new("InternalError", 500, "We encountered an internal error. Please try again.")
    }
}

impl From<ObjectError> for Error {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::NoSuchBucket { bucket } => Self::no_such_bucket(&bucket),
            ObjectError::NoSuchKey { key, .. } => Self::no_such_key(&key),
            ObjectError::BucketExists { bucket } => {
                let message = "Your previous request to create the named bucket succeeded and you already own it.";
                Self::new("BucketAlreadyOwnedByYou", 409, message).with("BucketName", bucket)
            }
            ObjectError::BucketNotEmpty { bucket } => {
                let message = "The bucket you tried to delete is not empty";
                Self::new("BucketNotEmpty", 409, message).with("BucketName", bucket)
            }
            // What we can't keep that S3 can; it says what and why.
            ObjectError::Invalid { ref key, ref reason, .. } => {
                Self::invalid_argument("key", key, format!("this key can't be kept here: {reason}"))
            }
            ObjectError::Changed { .. } => {
                let message = "At least one of the pre-conditions you specified did not hold";
                Self::new("PreconditionFailed", 412, message)
            }
            ObjectError::Storage { .. } => Self::internal("storage", &error),
        }
    }
}
