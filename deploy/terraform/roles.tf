# One role for each function and one for the state machine, each with what it needs and nothing else.
#
# Every "*" as a resource is one for which IAM knows no finer one (X-Ray; the delivery of logs that Step Functions sets up):
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html and
# https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html, read 2026-11.

locals {
  data_arn   = "arn:${local.partition}:s3:::${local.data_bucket}"
  result_arn = "arn:${local.partition}:s3:::${local.result_bucket}"

  data_objects   = "${local.data_arn}/${var.data_prefix}*"
  model_objects  = "${local.result_arn}/${var.model_prefix}*"
  result_objects = "${local.result_arn}/${var.result_prefix}*"

  # Initialize takes results of an earlier run away (`overwrite`); Summarize may have to give up a large upload.
  object_actions = {
    initialize = { read = [local.data_objects, local.model_objects, local.result_objects], write = ["s3:PutObject", "s3:DeleteObject"] }
    infer      = { read = [local.data_objects, local.model_objects, local.result_objects], write = ["s3:PutObject"] }
    summarize  = { read = [local.result_objects], write = ["s3:PutObject", "s3:AbortMultipartUpload"] }
  }

  listed_buckets = {
    initialize = distinct([local.data_arn, local.result_arn])
    infer      = distinct([local.data_arn, local.result_arn])
    summarize  = [local.result_arn]
  }
}

# The functions.

data "aws_iam_policy_document" "function_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "function" {
  for_each = local.handlers

  name               = "${var.name}-${each.key}"
  description        = "What ${var.name}-${each.key} may do"
  assume_role_policy = data.aws_iam_policy_document.function_trust.json
  tags               = var.tags
}

data "aws_iam_policy_document" "function" {
  for_each = local.handlers

  # Without s3:ListBucket, S3 answers "403 Access Denied" for an object that is not there, and a result that has not been
  # written yet looks like a missing permission. A condition on s3:prefix would do the same: a GetObject has none.
  statement {
    sid       = "ListBuckets"
    actions   = ["s3:ListBucket"]
    resources = local.listed_buckets[each.key]
  }

  statement {
    sid       = "ReadObjects"
    actions   = ["s3:GetObject"]
    resources = distinct(local.object_actions[each.key].read)
  }

  statement {
    sid       = "WriteResults"
    actions   = local.object_actions[each.key].write
    resources = [local.result_objects]
  }

  statement {
    sid       = "WriteLog"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.function[each.key].arn}:*"]
  }

  dynamic "statement" {
    for_each = var.kms_key_arn == null ? [] : [var.kms_key_arn]

    content {
      sid       = "UseKey"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [statement.value]
    }
  }

  dynamic "statement" {
    for_each = var.xray ? ["*"] : []

    content {
      sid       = "SendTraces"
      actions   = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
      resources = [statement.value]
    }
  }
}

resource "aws_iam_role_policy" "function" {
  for_each = local.handlers

  name   = each.key
  role   = aws_iam_role.function[each.key].id
  policy = data.aws_iam_policy_document.function[each.key].json
}

# The state machine.

data "aws_iam_policy_document" "state_machine_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["states.amazonaws.com"]
    }

    # The confused deputy: nobody else's state machine has this role taken for it.
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }

    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = ["arn:${local.partition}:states:${local.region}:${local.account}:stateMachine:*"]
    }
  }
}

resource "aws_iam_role" "state_machine" {
  name               = "${var.name}-state-machine"
  description        = "What the state machine ${var.name} may do"
  assume_role_policy = data.aws_iam_policy_document.state_machine_trust.json
  tags               = var.tags
}

data "aws_iam_policy_document" "state_machine" {
  statement {
    sid       = "InvokeFunctions"
    actions   = ["lambda:InvokeFunction"]
    resources = [for handler in sort(keys(local.handlers)) : aws_lambda_function.function[handler].arn]
  }

  # A Distributed Map starts its children as executions of the state machine itself, and redrives them with it:
  # https://docs.aws.amazon.com/step-functions/latest/dg/iam-policies-eg-dist-map.html, read 2026-11.
  statement {
    sid       = "StartChildren"
    actions   = ["states:StartExecution"]
    resources = [local.state_machine_arn]
  }

  statement {
    sid       = "FollowChildren"
    actions   = ["states:DescribeExecution", "states:StopExecution"]
    resources = ["${local.execution_arn}:*", "${local.execution_arn}/*"]
  }

  statement {
    sid       = "RedriveChildren"
    actions   = ["states:RedriveExecution"]
    resources = ["${local.execution_arn}/*"]
  }

  dynamic "statement" {
    for_each = var.log_level == "OFF" ? [] : ["*"]

    content {
      sid = "DeliverLog"
      actions = [
        "logs:CreateLogDelivery",
        "logs:DeleteLogDelivery",
        "logs:DescribeLogGroups",
        "logs:DescribeResourcePolicies",
        "logs:GetLogDelivery",
        "logs:ListLogDeliveries",
        "logs:PutResourcePolicy",
        "logs:UpdateLogDelivery",
      ]
      resources = [statement.value]
    }
  }

  dynamic "statement" {
    for_each = var.xray ? ["*"] : []

    content {
      sid = "SendTraces"
      actions = [
        "xray:GetSamplingRules",
        "xray:GetSamplingTargets",
        "xray:PutTelemetryRecords",
        "xray:PutTraceSegments",
      ]
      resources = [statement.value]
    }
  }
}

resource "aws_iam_role_policy" "state_machine" {
  name   = "state-machine"
  role   = aws_iam_role.state_machine.id
  policy = data.aws_iam_policy_document.state_machine.json
}
