//! The redshift pipeline: initialize, infer, summarize, and the Lambda bootstrap
