# A function with its role, its policies and its log group, a state machine that logs and a bucket, as people keep them in Terraform;
# applied, changed and destroyed by tests/clients.rs.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "endpoint" { type = string }
variable "result" { type = string }
variable "access_key" { type = string }
variable "secret_key" { type = string }

provider "aws" {
  region                  = "us-east-1"
  access_key              = var.access_key
  secret_key              = var.secret_key
  skip_metadata_api_check = true
  s3_use_path_style       = true
  endpoints {
    iam    = var.endpoint
    lambda = var.endpoint
    logs   = var.endpoint
    s3     = var.endpoint
    sfn    = var.endpoint
    sts    = var.endpoint
  }
}

data "aws_caller_identity" "own" {}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com", "states.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "own" {
  name               = "own"
  assume_role_policy = data.aws_iam_policy_document.trust.json
  description        = var.result
  tags               = { team = "sky" }
}

resource "aws_iam_role_policy" "inline" {
  name = "inline"
  role = aws_iam_role.own.id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "s3:GetObject", Resource = "arn:aws:s3:::${var.result}/*" }]
  })
}

resource "aws_iam_policy" "managed" {
  name = "managed"
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "lambda:InvokeFunction", Resource = aws_lambda_function.own.arn }]
  })
}

resource "aws_iam_role_policy_attachment" "managed" {
  role       = aws_iam_role.own.name
  policy_arn = aws_iam_policy.managed.arn
}

resource "aws_cloudwatch_log_group" "own" {
  name              = "/aws/lambda/own"
  retention_in_days = 14
  tags              = { team = "sky" }
}

resource "aws_cloudwatch_log_group" "machine" {
  name = "/aws/vendedlogs/states/own"
}

resource "aws_lambda_function" "own" {
  function_name                  = "own"
  role                           = aws_iam_role.own.arn
  runtime                        = "provided.al2023"
  handler                        = "bootstrap"
  filename                       = "${path.module}/code.zip"
  memory_size                    = 256
  reserved_concurrent_executions = 2
  tracing_config { mode = "Active" }
  environment { variables = { RESULT = var.result } }
  depends_on = [aws_cloudwatch_log_group.own]
}

resource "aws_lambda_permission" "machine" {
  statement_id  = "machine"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.own.function_name
  principal     = "states.amazonaws.com"
  source_arn    = aws_sfn_state_machine.own.arn
}

resource "aws_sfn_state_machine" "own" {
  name     = "own"
  role_arn = aws_iam_role.own.arn
  definition = jsonencode({
    StartAt = "Only"
    States  = { Only = { Type = "Pass", Result = var.result, End = true } }
  })
  logging_configuration {
    log_destination        = "${aws_cloudwatch_log_group.machine.arn}:*"
    include_execution_data = true
    level                  = "ERROR"
  }
  tracing_configuration { enabled = true }
}

resource "aws_s3_bucket" "own" {
  bucket = "own-results"
  tags   = { team = "sky" }
}

resource "aws_s3_bucket_public_access_block" "own" {
  bucket                  = aws_s3_bucket.own.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "own" {
  bucket = aws_s3_bucket.own.id
  rule {
    apply_server_side_encryption_by_default { sse_algorithm = "AES256" }
  }
}
