# State machines as people keep them in Terraform; applied, changed and destroyed by tests/clients.rs.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "endpoint" { type = string }
variable "result" { type = string }

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_metadata_api_check     = true
  s3_use_path_style           = true
  endpoints {
    iam    = var.endpoint
    lambda = var.endpoint
    s3     = var.endpoint
    sfn    = var.endpoint
    sts    = var.endpoint
  }
}

resource "aws_sfn_state_machine" "published" {
  name     = "published"
  role_arn = "arn:aws:iam::000000000000:role/machines"
  publish  = true
  definition = jsonencode({
    StartAt = "Only"
    States  = { Only = { Type = "Pass", Result = var.result, End = true } }
  })
  tags = { team = "sky" }
}

resource "aws_sfn_alias" "live" {
  name = "live"
  routing_configuration {
    state_machine_version_arn = aws_sfn_state_machine.published.state_machine_version_arn
    weight                    = 100
  }
}

resource "aws_sfn_state_machine" "express" {
  name     = "express"
  role_arn = "arn:aws:iam::000000000000:role/machines"
  type     = "EXPRESS"
  definition = jsonencode({
    StartAt = "Only"
    States  = { Only = { Type = "Succeed" } }
  })
}

resource "aws_sfn_activity" "work" {
  name = "work"
}

output "version" {
  value = aws_sfn_state_machine.published.state_machine_version_arn
}
