output "state_machine_arn" {
  description = "What `starmap run --target aws` and `aws stepfunctions start-execution` start."
  value       = aws_sfn_state_machine.redshift.arn
}

output "definition" {
  description = "The definition, with the ARNs of the functions."
  value       = local.definition
}

output "account_id" {
  description = "The account that all of this is in."
  value       = local.account
}

output "region" {
  description = "The region that all of this is in."
  value       = local.region
}

output "data_bucket" {
  description = "`data_bucket` of inputs: the partitions."
  value       = local.data_bucket
}

output "result_bucket" {
  description = "`bucket` of inputs: the model and the results."
  value       = local.result_bucket
}

output "function_arns" {
  description = "The functions, by handler."
  value       = { for handler in keys(local.handlers) : handler => aws_lambda_function.function[handler].arn }
}

output "role_arns" {
  description = "The roles, by function; state_machine is the state machine's."
  value = merge(
    { for handler in keys(local.handlers) : handler => aws_iam_role.function[handler].arn },
    { state_machine = aws_iam_role.state_machine.arn },
  )
}

output "log_groups" {
  description = "The log groups, by function; state_machine is the state machine's."
  value = merge(
    { for handler in keys(local.handlers) : handler => aws_cloudwatch_log_group.function[handler].name },
    { state_machine = aws_cloudwatch_log_group.state_machine.name },
  )
}
