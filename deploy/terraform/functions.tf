# Three functions from one zip: the handler's name says which one a process is.

resource "aws_cloudwatch_log_group" "function" {
  for_each = local.handlers

  # Lambda would make it by itself, with lines that are kept for ever.
  name              = "/aws/lambda/${var.name}-${each.key}"
  retention_in_days = var.log_retention_days
  tags              = var.tags
}

resource "aws_lambda_function" "function" {
  for_each = local.handlers

  function_name = "${var.name}-${each.key}"
  description   = "Starmap: ${each.key}"
  role          = aws_iam_role.function[each.key].arn

  runtime          = "provided.al2023"
  architectures    = [var.architecture]
  handler          = each.key
  filename         = var.bootstrap_zip
  source_code_hash = filebase64sha256(var.bootstrap_zip)

  memory_size                    = each.value.memory_mb
  timeout                        = var.timeout_s
  reserved_concurrent_executions = each.value.concurrency

  tracing_config {
    mode = var.xray ? "Active" : "PassThrough"
  }

  tags = var.tags

  # A function that runs before it may write its log makes a log group, or nothing at all.
  depends_on = [aws_cloudwatch_log_group.function, aws_iam_role_policy.function]
}
