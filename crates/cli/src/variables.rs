//! Every environment variable that the command line reads. (Workers get theirs from `functions`.)

/// Where the journal, the logs and, by default, the buckets are. Default `starmap-data`.
pub const DATA: &str = "STARMAP_DATA";
/// Folder whose subfolders are buckets. Default `buckets` in the data root.
pub const BUCKETS: &str = "STARMAP_BUCKETS";
/// Kernel set to compute with, see `starmap kernels`. Default: the best one of this CPU.
pub const KERNEL: &str = starmap_pipeline::lambda::KERNEL_VARIABLE;
/// Where traces are sent, see `--otlp`. Default: nowhere.
pub const OTLP: &str = "STARMAP_OTLP_ENDPOINT";
/// Any value switches colour off.
pub const NO_COLOR: &str = "NO_COLOR";
/// Endpoint of all AWS services; `--s3` needs this, the next one, or credentials.
pub const AWS_ENDPOINT_URL: &str = "AWS_ENDPOINT_URL";
/// Endpoint of S3 alone.
pub const AWS_ENDPOINT_URL_S3: &str = "AWS_ENDPOINT_URL_S3";
/// Credentials, as every AWS tool takes them.
pub const AWS_ACCESS_KEY_ID: &str = "AWS_ACCESS_KEY_ID";
/// The secret to it; together with it the administrator's key under `serve --auth`.
pub const AWS_SECRET_ACCESS_KEY: &str = "AWS_SECRET_ACCESS_KEY";
/// Credentials from a profile, a web identity or a container: any of these is enough to try.
pub const AWS_OTHER_CREDENTIALS: [&str; 4] = [
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];
