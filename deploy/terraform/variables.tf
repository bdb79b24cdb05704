# What can be chosen. Everything has a default that works in a new account, but for the zip.

variable "name" {
  description = "Beginning of every name that is made: functions are NAME-initialize, NAME-infer and NAME-summarize, the state machine is NAME."
  type        = string
  default     = "starmap"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,22}[a-z0-9]$", var.name))
    error_message = "The name must have 3 to 24 lower-case letters, digits and hyphens, and begin with a letter: buckets are named after it."
  }
}

variable "bootstrap_zip" {
  description = "The zip that `starmap deploy package` has written. One zip is the code of all three functions."
  type        = string

  validation {
    condition     = fileexists(var.bootstrap_zip)
    error_message = "There is no such file. `starmap deploy package --out FILE` writes it."
  }
}

variable "architecture" {
  description = "Instruction set of the functions, as the zip was packaged for: x86_64 or arm64 (a fifth cheaper per GB-second)."
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "The architecture must be x86_64 or arm64."
  }
}

variable "allowed_account_ids" {
  description = "Accounts that this may be made in; with any other credentials nothing is planned, let alone made. Empty: any account."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.allowed_account_ids : can(regex("^[0-9]{12}$", id))])
    error_message = "An account id has twelve digits."
  }
}

# Buckets.

variable "data_bucket" {
  description = "An existing bucket with the partitions (`data_bucket` of the input). null: one is made."
  type        = string
  default     = null

  validation {
    condition     = var.data_bucket == null || can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.data_bucket))
    error_message = "The name of a bucket has 3 to 63 lower-case letters, digits, dots and hyphens; it is neither a URL nor an ARN."
  }
}

variable "result_bucket" {
  description = "An existing bucket for the model and the results (`bucket` of the input). It may be the data bucket. null: one is made."
  type        = string
  default     = null

  validation {
    condition     = var.result_bucket == null || can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.result_bucket))
    error_message = "The name of a bucket has 3 to 63 lower-case letters, digits, dots and hyphens; it is neither a URL nor an ARN."
  }
}

variable "data_prefix" {
  description = "The functions may read partitions whose keys begin with this. Empty: all of the data bucket."
  type        = string
  default     = ""

  validation {
    condition     = !startswith(var.data_prefix, "/") && !strcontains(var.data_prefix, "*")
    error_message = "A prefix begins without a slash and has no wildcard; one is put behind it."
  }
}

variable "model_prefix" {
  description = "The functions may read models whose keys begin with this. Empty: all of the result bucket."
  type        = string
  default     = ""

  validation {
    condition     = !startswith(var.model_prefix, "/") && !strcontains(var.model_prefix, "*")
    error_message = "A prefix begins without a slash and has no wildcard; one is put behind it."
  }
}

variable "result_prefix" {
  description = "The functions may write results whose keys begin with this. Empty: anywhere in the result bucket."
  type        = string
  default     = ""

  validation {
    condition     = !startswith(var.result_prefix, "/") && !strcontains(var.result_prefix, "*")
    error_message = "A prefix begins without a slash and has no wildcard; one is put behind it."
  }
}

variable "kms_key_arn" {
  description = "Key that the buckets are encrypted with; the functions may then use it. null: S3's own keys (SSE-S3)."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.kms_key_arn))
    error_message = "The key must be the ARN of a KMS key: arn:aws:kms:REGION:ACCOUNT:key/ID."
  }
}

variable "results_expire_days" {
  description = "After how many days results under result_prefix are deleted, in a bucket that is made here. null: never."
  type        = number
  default     = null

  validation {
    condition     = var.results_expire_days == null ? true : var.results_expire_days >= 1 && floor(var.results_expire_days) == var.results_expire_days
    error_message = "Days are a whole number, at least 1."
  }

  validation {
    condition     = var.results_expire_days == null || var.result_prefix != ""
    error_message = "Without a result_prefix the model, which is in the same bucket, would be deleted too: set result_prefix."
  }
}

variable "force_destroy" {
  description = "Whether destroying takes buckets that were made here with everything in them. false: they must be empty."
  type        = bool
  default     = false
}

# The functions.

variable "infer_memory_mb" {
  description = "Memory of the inference function. 1,769 MB is one vCPU; a worker needs less than 400 MB. New accounts are capped at 3,008."
  type        = number
  default     = 1769

  validation {
    condition     = var.infer_memory_mb >= 128 && var.infer_memory_mb <= 10240
    error_message = "Lambda takes 128 to 10,240 MB (new accounts: at most 3,008)."
  }
}

variable "memory_mb" {
  description = "Memory of the functions that check and merge. Merging a survey of millions of rows is the larger of both."
  type        = number
  default     = 1769

  validation {
    condition     = var.memory_mb >= 128 && var.memory_mb <= 10240
    error_message = "Lambda takes 128 to 10,240 MB (new accounts: at most 3,008)."
  }
}

variable "timeout_s" {
  description = "Time limit of one invocation."
  type        = number
  default     = 900

  validation {
    condition     = var.timeout_s >= 1 && var.timeout_s <= 900
    error_message = "Lambda takes 1 to 900 seconds."
  }
}

variable "infer_concurrency" {
  description = "Invocations of inference at once, reserved from the account's. null: none are reserved. New accounts have too few to reserve any."
  type        = number
  default     = null

  validation {
    condition     = var.infer_concurrency == null ? true : var.infer_concurrency >= 1
    error_message = "At least one invocation must be possible."
  }
}

variable "max_concurrency" {
  description = "Children of the Distributed Map at once, in place of the definition's own MaxConcurrency. null: as the definition says. Set it to what your account can run at once: an invocation above that is refused, tried again three times and then fails the run."
  type        = number
  default     = null

  validation {
    condition     = var.max_concurrency == null ? true : var.max_concurrency >= 1 && var.max_concurrency <= 10000
    error_message = "A Distributed Map runs 1 to 10,000 children at once."
  }
}

variable "child_execution_type" {
  description = "Type of the Distributed Map's children: EXPRESS costs less and ends after five minutes, STANDARD keeps each child's history and lasts as long as it takes."
  type        = string
  default     = "EXPRESS"

  validation {
    condition     = contains(["EXPRESS", "STANDARD"], var.child_execution_type)
    error_message = "The type must be EXPRESS or STANDARD."
  }
}

# Watching.

variable "log_retention_days" {
  description = "How long log lines are kept."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "CloudWatch Logs keeps lines for 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653 days."
  }
}

variable "log_level" {
  description = "Which events of executions are logged: ALL, ERROR, FATAL or OFF. The history of Express children is only in the log."
  type        = string
  default     = "ERROR"

  validation {
    condition     = contains(["ALL", "ERROR", "FATAL", "OFF"], var.log_level)
    error_message = "The level must be ALL, ERROR, FATAL or OFF."
  }
}

variable "xray" {
  description = "Whether executions and invocations are traced with X-Ray."
  type        = bool
  default     = true
}

variable "budget_usd" {
  description = "Monthly cost of the account, in USD, at which a mail is sent: at 80 % of it, and when it is forecast to be passed. null: no budget is made."
  type        = number
  default     = null

  validation {
    condition     = var.budget_usd == null ? true : var.budget_usd > 0
    error_message = "A budget is more than nothing."
  }
}

variable "budget_emails" {
  description = "Where the budget's mails go."
  type        = list(string)
  default     = []

  validation {
    condition     = var.budget_usd == null || length(var.budget_emails) > 0
    error_message = "A budget that tells nobody is none: set budget_emails."
  }
}

variable "tags" {
  description = "Tags of everything that can have some."
  type        = map(string)
  default     = { project = "starmap" }
}
