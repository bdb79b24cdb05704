# Where this is, under which names.

data "aws_partition" "current" {}

data "aws_region" "current" {}

data "aws_caller_identity" "current" {
  lifecycle {
    postcondition {
      condition     = length(var.allowed_account_ids) == 0 || contains(var.allowed_account_ids, self.account_id)
      error_message = "These credentials are of account ${self.account_id}, which is not among allowed_account_ids (${join(", ", var.allowed_account_ids)}). Nothing was made. Choose the other profile (AWS_PROFILE), or allow this account."
    }
  }
}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.name

  handlers = {
    initialize = { memory_mb = var.memory_mb, concurrency = -1 }
    infer      = { memory_mb = var.infer_memory_mb, concurrency = var.infer_concurrency == null ? -1 : var.infer_concurrency }
    summarize  = { memory_mb = var.memory_mb, concurrency = -1 }
  }
}
