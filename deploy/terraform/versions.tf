# No provider is configured here: region and credentials are those of the environment (AWS_REGION, AWS_PROFILE, …), and the
# module can be called from another one.

terraform {
  # `strcontains` and variables' conditions over several of them.
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80"
    }
  }
}
