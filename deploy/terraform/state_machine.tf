# The state machine that runs locally, from the same file: names of functions become ARNs, the children become Express
# executions, and nothing else is different.

locals {
  state_machine_arn = "arn:${local.partition}:states:${local.region}:${local.account}:stateMachine:${var.name}"
  execution_arn     = "arn:${local.partition}:states:${local.region}:${local.account}:execution:${var.name}"

  # `starmap deploy` writes it beside this file; in the repository it is the example's.
  beside          = "${path.module}/state-machine.asl.json"
  definition_file = fileexists(local.beside) ? local.beside : "${path.module}/../../examples/redshift/state-machine.asl.json"
  as_it_is        = file(local.definition_file)

  with_initialize = replace(local.as_it_is, "\"starmap-initialize\"", jsonencode(aws_lambda_function.function["initialize"].arn))
  with_infer      = replace(local.with_initialize, "\"starmap-infer\"", jsonencode(aws_lambda_function.function["infer"].arn))
  with_summarize  = replace(local.with_infer, "\"starmap-summarize\"", jsonencode(aws_lambda_function.function["summarize"].arn))
  with_children   = replace(local.with_summarize, "/\"ExecutionType\": *\"[A-Z]+\"/", "\"ExecutionType\": \"${var.child_execution_type}\"")
  definition      = var.max_concurrency == null ? local.with_children : replace(local.with_children, "/\"MaxConcurrency\": *[0-9]+/", "\"MaxConcurrency\": ${coalesce(var.max_concurrency, 1)}")
}

resource "aws_cloudwatch_log_group" "state_machine" {
  # Groups under this prefix are spared the limit on the size of Logs' resource policies.
  name              = "/aws/vendedlogs/states/${var.name}"
  retention_in_days = var.log_retention_days
  tags              = var.tags
}

resource "aws_sfn_state_machine" "redshift" {
  name       = var.name
  type       = "STANDARD"
  role_arn   = aws_iam_role.state_machine.arn
  definition = local.definition

  logging_configuration {
    level                  = var.log_level
    include_execution_data = false
    log_destination        = var.log_level == "OFF" ? null : "${aws_cloudwatch_log_group.state_machine.arn}:*"
  }

  tracing_configuration {
    enabled = var.xray
  }

  tags = var.tags

  # Step Functions tries the role when it sets up the log.
  depends_on = [aws_iam_role_policy.state_machine]

  lifecycle {
    precondition {
      condition     = alltrue([for handler in keys(local.handlers) : !strcontains(local.definition, "\"starmap-${handler}\"") && strcontains(local.definition, ":function:${var.name}-${handler}\"")])
      error_message = "${local.definition_file} does not call each of starmap-initialize, starmap-infer and starmap-summarize by these names."
    }
  }
}
