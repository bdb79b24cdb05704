//! How roles, users and policies are written.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use starmap_asl::Timestamp;
use starmap_iam::Policy;
use starmap_iam::directory::{AccessKey, Grants, LastUsed, PolicyVersion, PolicyView, Role, User};

use crate::times::iso_seconds;
use crate::xml::Writer;

/// Documents are percent-encoded as RFC 3986 has it.
const DOCUMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

pub(super) fn document(policy: &Policy) -> String {
    utf8_percent_encode(policy.text(), DOCUMENT).to_string()
}

pub(super) fn time(at_ms: i64) -> String {
    iso_seconds(Timestamp(at_ms))
}

/// A list: each of its members in an element of that name.
pub(super) fn list<T>(
    xml: &mut Writer,
    name: &str,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Writer, T),
) {
    xml.element(name, |list| {
        for item in items {
            list.element("member", |member| write(member, item));
        }
    });
}

pub(super) fn names(xml: &mut Writer, name: &str, items: impl IntoIterator<Item = String>) {
    xml.element(name, |list| {
        for item in items {
            list.text("member", item);
        }
    });
}

pub(super) fn tags<'a>(xml: &mut Writer, tags: impl IntoIterator<Item = (&'a String, &'a String)>) {
    list(xml, "Tags", tags, |member, (key, value)| {
        member.text("Key", key).text("Value", value);
    });
}

fn boundary(xml: &mut Writer, grants: &Grants) {
    if let Some(arn) = &grants.boundary {
        xml.element("PermissionsBoundary", |boundary| {
            boundary.text("PermissionsBoundaryType", "Policy").text("PermissionsBoundaryArn", arn);
        });
    }
}

fn maybe_tags(xml: &mut Writer, own: &BTreeMap<String, String>) {
    if !own.is_empty() {
        tags(xml, own);
    }
}

fn last_used(xml: &mut Writer, name: &str, used: Option<&LastUsed>) {
    xml.element(name, |last| {
        if let Some(used) = used {
            last.text("LastUsedDate", time(used.at_ms)).text("Region", &used.region);
        }
    });
}

/// A role; listings leave out what has to be asked for one by one.
pub(super) fn role(xml: &mut Writer, role: &Role, is_listed: bool) {
    xml.text("Path", &role.path).text("RoleName", &role.name).text("RoleId", &role.id).text("Arn", &role.arn);
    xml.text("CreateDate", time(role.created_at_ms)).text("AssumeRolePolicyDocument", document(&role.trust));
    xml.optional("Description", role.description.as_ref());
    xml.text("MaxSessionDuration", role.session_s_max.to_string());
    if !is_listed {
        boundary(xml, &role.grants);
        maybe_tags(xml, &role.tags);
        last_used(xml, "RoleLastUsed", role.last_used.as_ref());
    }
}

pub(super) fn user(xml: &mut Writer, user: &User, is_listed: bool) {
    xml.text("Path", &user.path).text("UserName", &user.name).text("UserId", &user.id).text("Arn", &user.arn);
    xml.text("CreateDate", time(user.created_at_ms));
    if !is_listed {
        boundary(xml, &user.grants);
        maybe_tags(xml, &user.tags);
    }
}

/// An access key; its secret is told once, when it is made.
pub(super) fn access_key(xml: &mut Writer, user: &str, key: &AccessKey, with_secret: bool) {
    xml.text("UserName", user).text("AccessKeyId", &key.id);
    xml.text("Status", if key.is_active { "Active" } else { "Inactive" });
    if with_secret {
        xml.text("SecretAccessKey", &key.secret);
    }
    xml.text("CreateDate", time(key.created_at_ms));
}

pub(super) fn access_key_last_used(xml: &mut Writer, used: Option<&LastUsed>) {
    xml.element("AccessKeyLastUsed", |last| {
        if let Some(used) = used {
            last.text("LastUsedDate", time(used.at_ms));
        }
        last.text("ServiceName", used.map_or("N/A", |used| used.service.as_str()));
        last.text("Region", used.map_or("N/A", |used| used.region.as_str()));
    });
}

pub(super) fn policy(xml: &mut Writer, policy: &PolicyView, is_listed: bool) {
    xml.text("PolicyName", &policy.name).text("PolicyId", &policy.id).text("Arn", &policy.arn);
    xml.text("Path", &policy.path).text("DefaultVersionId", &policy.default_version);
    xml.text("AttachmentCount", policy.attachments.to_string());
    xml.text("PermissionsBoundaryUsageCount", policy.boundaries.to_string()).text("IsAttachable", "true");
    if !is_listed {
        xml.optional("Description", policy.description.as_ref());
        maybe_tags(xml, &policy.tags);
    }
    xml.text("CreateDate", time(policy.created_at_ms)).text("UpdateDate", time(policy.updated_at_ms));
}

pub(super) fn version(xml: &mut Writer, version: &PolicyVersion, default: &str, with_document: bool) {
    if with_document {
        xml.text("Document", document(&version.policy));
    }
    xml.text("VersionId", &version.id).text("IsDefaultVersion", (version.id == default).to_string());
    xml.text("CreateDate", time(version.created_at_ms));
}

pub(super) fn attached(xml: &mut Writer, name: &str, arns: impl IntoIterator<Item = String>) {
    list(xml, name, arns, |member, arn| {
        member.text("PolicyName", arn.rsplit('/').next().unwrap_or_default()).text("PolicyArn", &arn);
    });
}

pub(super) fn inline(xml: &mut Writer, name: &str, grants: &Grants) {
    list(xml, name, &grants.inline, |member, (name, policy)| {
        member.text("PolicyName", name).text("PolicyDocument", document(policy));
    });
}
