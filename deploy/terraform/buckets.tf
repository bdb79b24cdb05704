# Buckets that are made here. An existing one is left as it is: the functions are only allowed to use it.

locals {
  made_buckets = merge(
    var.data_bucket == null ? { data = "${var.name}-data-${local.account}-${local.region}" } : {},
    var.result_bucket == null ? { results = "${var.name}-results-${local.account}-${local.region}" } : {},
  )

  data_bucket   = var.data_bucket == null ? aws_s3_bucket.made["data"].bucket : var.data_bucket
  result_bucket = var.result_bucket == null ? aws_s3_bucket.made["results"].bucket : var.result_bucket
}

resource "aws_s3_bucket" "made" {
  for_each = local.made_buckets

  bucket        = each.value
  force_destroy = var.force_destroy
  tags          = var.tags
}

resource "aws_s3_bucket_public_access_block" "made" {
  for_each = aws_s3_bucket.made

  bucket                  = each.value.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "made" {
  for_each = aws_s3_bucket.made

  bucket = each.value.id

  rule {
    # Without it every object would ask KMS by itself.
    bucket_key_enabled = var.kms_key_arn != null

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

data "aws_iam_policy_document" "only_encrypted_transport" {
  for_each = aws_s3_bucket.made

  statement {
    sid       = "OnlyEncryptedTransport"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [each.value.arn, "${each.value.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "made" {
  for_each = aws_s3_bucket.made

  bucket = each.value.id
  policy = data.aws_iam_policy_document.only_encrypted_transport[each.key].json

  # Both change the bucket's policy, and one of two at once is refused.
  depends_on = [aws_s3_bucket_public_access_block.made]
}

resource "aws_s3_bucket_lifecycle_configuration" "results" {
  count = var.results_expire_days != null && var.result_bucket == null ? 1 : 0

  bucket = aws_s3_bucket.made["results"].id

  rule {
    id     = "expire-results"
    status = "Enabled"

    filter {
      prefix = var.result_prefix
    }

    expiration {
      days = var.results_expire_days
    }

    # Parts of uploads that were never finished are paid for and not seen.
    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }
}
