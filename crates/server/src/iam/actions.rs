//! What each action of IAM does.
//!
//! # Source
//! <https://docs.aws.amazon.com/IAM/latest/APIReference/API_Operations.html>, read 2026-11.

use std::sync::Arc;

use starmap_iam::Directory;
use starmap_iam::directory::{Error, NewRole, Owner, RoleUpdate, Stamp};

use super::answers::{self, list};
use super::{ChangeError, Store, simulate};
use crate::query::{Form, Refusal, Result};
use crate::xml::Writer;

/// Members of a page unless told otherwise.
const PAGE_SIZE_DEFAULT: usize = 100;
/// Members of a page at most.
const PAGE_SIZE_MAX: u32 = 1_000;

/// The actions of IAM.
#[derive(Debug)]
pub struct Iam {
    pub(super) store: Arc<Store>,
}

impl Iam {
    /// Over this directory.
    pub fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    pub(crate) fn call(&self, action: &str, form: &Form) -> Result {
        let parsed = Named::of(action);
        match parsed.as_ref().map_or(action, |named| named.action.as_str()) {
            // Roles.
            "CreateRole" => self.create_role(form),
            "GetRole" => self.read(form.required("RoleName")?, |directory, name, xml| {
                let role = directory.role(name)?;
                xml.element("Role", |xml| answers::role(xml, role, false));
                Ok(())
            }),
            "UpdateRole" => self.update_role(form),
            "UpdateRoleDescription" => self.update_role_description(form),
            "UpdateAssumeRolePolicy" => {
                let (name, trust) = (form.required("RoleName")?, form.required("PolicyDocument")?);
                self.change(|directory, _| directory.update_trust(name, trust))
            }
            "DeleteRole" => {
                let name = form.required("RoleName")?;
                self.change(|directory, _| directory.delete_role(name))
            }
            "ListRoles" => self.list_roles(form),
            "TagRole" => {
                let name = form.required("RoleName")?;
                self.change(|directory, _| directory.tag_role(name, form.tags()))
            }
            "UntagRole" => {
                let name = form.required("RoleName")?;
                self.change(|directory, _| directory.untag_role(name, &form.list("TagKeys")))
            }
            "ListRoleTags" => {
                let name = form.required("RoleName")?;
                let tags = self.store.read(|directory| directory.role(name).map(|role| role.tags.clone()))?;
                tag_page(form, tags)
            }
            "ListInstanceProfilesForRole" => {
                let name = form.required("RoleName")?;
                self.store.read(|directory| directory.role(name).map(drop))?;
                nothing("InstanceProfiles")
            }

            // Of roles and users.
            "PutPolicy" => {
                let owner = owner(parsed.as_ref(), form)?;
                let (name, text) = (form.required("PolicyName")?, form.required("PolicyDocument")?);
                self.change(|directory, _| directory.put_inline(owner, name, text))
            }
            "GetPolicyOf" => self.get_inline(owner(parsed.as_ref(), form)?, form.required("PolicyName")?),
            "DeletePolicyOf" => {
                let (owner, name) = (owner(parsed.as_ref(), form)?, form.required("PolicyName")?);
                self.change(|directory, _| directory.delete_inline(owner, name))
            }
            "ListPoliciesOf" => {
                let owner = owner(parsed.as_ref(), form)?;
                let names: Vec<String> = self
                    .store
                    .read(|directory| Ok::<_, Error>(directory.grants(owner)?.inline.keys().cloned().collect()))?;
                paged(form, names, Clone::clone, |xml, names| answers::names(xml, "PolicyNames", names))
            }
            "AttachPolicy" => {
                let (owner, arn) = (owner(parsed.as_ref(), form)?, form.required("PolicyArn")?);
                self.change(|directory, _| directory.attach(owner, arn))
            }
            "DetachPolicy" => {
                let (owner, arn) = (owner(parsed.as_ref(), form)?, form.required("PolicyArn")?);
                self.change(|directory, _| directory.detach(owner, arn))
            }
            "ListAttachedPolicies" => {
                let owner = owner(parsed.as_ref(), form)?;
                let mut arns =
                    self.store.read(|directory| Ok::<_, Error>(directory.grants(owner)?.attached.clone()))?;
                arns.sort();
                paged(form, arns, Clone::clone, |xml, arns| answers::attached(xml, "AttachedPolicies", arns))
            }
            "PutPermissionsBoundary" => {
                let (owner, arn) = (owner(parsed.as_ref(), form)?, form.required("PermissionsBoundary")?);
                self.change(|directory, _| directory.set_boundary(owner, Some(arn)))
            }
            "DeletePermissionsBoundary" => {
                let owner = owner(parsed.as_ref(), form)?;
                self.change(|directory, _| directory.set_boundary(owner, None))
            }

            // Managed policies.
            "CreatePolicy" => self.create_policy(form),
            "GetPolicy" => self.read(form.required("PolicyArn")?, |directory, arn, xml| {
                let policy = directory.policy(arn)?;
                xml.element("Policy", |xml| answers::policy(xml, &policy, false));
                Ok(())
            }),
            "DeletePolicy" => {
                let arn = form.required("PolicyArn")?;
                self.change(|directory, _| directory.delete_policy(arn))
            }
            "ListPolicies" => self.list_policies(form),
            "CreatePolicyVersion" => self.create_policy_version(form),
            "GetPolicyVersion" => {
                let id = form.required("VersionId")?;
                self.read(form.required("PolicyArn")?, |directory, arn, xml| {
                    let (policy, version) = (directory.policy(arn)?, directory.policy_version(arn, id)?);
                    xml.element("PolicyVersion", |xml| answers::version(xml, &version, &policy.default_version, true));
                    Ok(())
                })
            }
            "ListPolicyVersions" => {
                let arn = form.required("PolicyArn")?;
                let (default, versions) = self.store.read(|directory| {
                    Ok::<_, Error>((directory.policy(arn)?.default_version, directory.policy_versions(arn)?))
                })?;
                let mut xml = Writer::inside();
                list(&mut xml, "Versions", versions, |xml, version| answers::version(xml, &version, &default, false));
                xml.text("IsTruncated", "false");
                Ok(Some(xml))
            }
            "SetDefaultPolicyVersion" => {
                let (arn, id) = (form.required("PolicyArn")?, form.required("VersionId")?);
                self.change(|directory, stamp| directory.set_default_version(arn, id, stamp.at_ms))
            }
            "DeletePolicyVersion" => {
                let (arn, id) = (form.required("PolicyArn")?, form.required("VersionId")?);
                self.change(|directory, _| directory.delete_policy_version(arn, id))
            }
            "TagPolicy" => {
                let arn = form.required("PolicyArn")?;
                self.change(|directory, _| directory.tag_policy(arn, form.tags()))
            }
            "UntagPolicy" => {
                let arn = form.required("PolicyArn")?;
                self.change(|directory, _| directory.untag_policy(arn, &form.list("TagKeys")))
            }
            "ListPolicyTags" => {
                let arn = form.required("PolicyArn")?;
                let tags = self.store.read(|directory| directory.policy(arn).map(|policy| policy.tags))?;
                tag_page(form, tags)
            }
            "ListEntitiesForPolicy" => self.list_entities(form.required("PolicyArn")?, form),

            // Users and their keys.
            "CreateUser" => {
                let name = form.required("UserName")?;
                let made = self.store.change(|directory, stamp| {
                    directory.create_user(name, form.get("Path"), form.tags(), stamp)?;
                    if let Some(arn) = form.get("PermissionsBoundary") {
                        directory.set_boundary(Owner::User(name), Some(arn))?;
                    }
                    directory.user(name).cloned()
                })?;
                one("User", |xml| answers::user(xml, &made, false))
            }
            "GetUser" => self.read(form.required("UserName")?, |directory, name, xml| {
                let user = directory.user(name)?;
                xml.element("User", |xml| answers::user(xml, user, false));
                Ok(())
            }),
            "DeleteUser" => {
                let name = form.required("UserName")?;
                self.change(|directory, _| directory.delete_user(name))
            }
            "ListUsers" => {
                let prefix = form.get("PathPrefix").unwrap_or("/");
                let of = |directory: &Directory| {
                    directory.users.values().filter(|user| user.path.starts_with(prefix)).cloned().collect()
                };
                let users: Vec<_> = self.store.read(of);
                paged(
                    form,
                    users,
                    |user| user.name.clone(),
                    |xml, users| {
                        list(xml, "Users", users, |xml, user| answers::user(xml, &user, true));
                    },
                )
            }
            "TagUser" => {
                let name = form.required("UserName")?;
                self.change(|directory, _| {
                    directory.user_mut(name)?.tags.extend(form.tags());
                    Ok(())
                })
            }
            "UntagUser" => {
                let (name, keys) = (form.required("UserName")?, form.list("TagKeys"));
                self.change(|directory, _| {
                    directory.user_mut(name)?.tags.retain(|key, _| !keys.contains(key));
                    Ok(())
                })
            }
            "ListUserTags" => {
                let name = form.required("UserName")?;
                let tags = self.store.read(|directory| directory.user(name).map(|user| user.tags.clone()))?;
                tag_page(form, tags)
            }
            "CreateAccessKey" => self.create_access_key(form.required("UserName")?),
            "UpdateAccessKey" => {
                let (name, id) = (form.required("UserName")?, form.required("AccessKeyId")?);
                let is_active = form.required("Status")? == "Active";
                self.change(|directory, _| directory.set_access_key(name, id, is_active))
            }
            "DeleteAccessKey" => {
                let (name, id) = (form.required("UserName")?, form.required("AccessKeyId")?);
                self.change(|directory, _| directory.delete_access_key(name, id))
            }
            "ListAccessKeys" => {
                let name = form.required("UserName")?;
                let keys = self.store.read(|directory| directory.user(name).map(|user| user.keys.clone()))?;
                paged(
                    form,
                    keys,
                    |key| key.id.clone(),
                    |xml, keys| {
                        list(xml, "AccessKeyMetadata", keys, |xml, key| answers::access_key(xml, name, &key, false));
                    },
                )
            }
            "GetAccessKeyLastUsed" => self.read(form.required("AccessKeyId")?, |directory, id, xml| {
                let missing = || Error::NoSuchEntity(format!("The Access Key with id {id} cannot be found."));
                let (user, key) = directory.user_of_key(id).ok_or_else(missing)?;
                xml.text("UserName", &user.name);
                answers::access_key_last_used(xml, key.last_used.as_ref());
                Ok(())
            }),
            // There are none; Terraform asks before it deletes a user.
            "ListGroupsForUser" => nothing("Groups"),
            "ListMFADevices" => nothing("MFADevices"),
            "ListSSHPublicKeys" => nothing("SSHPublicKeys"),
            "ListSigningCertificates" => nothing("Certificates"),
            "ListServiceSpecificCredentials" => nothing("ServiceSpecificCredentials"),
            "GetLoginProfile" | "DeleteLoginProfile" => {
                let name = form.required("UserName")?;
                Err(Refusal::new("NoSuchEntity", 404, format!("Login Profile for User {name} cannot be found.")))
            }

            "SimulatePrincipalPolicy" => self.store.read(|directory| simulate::principal(directory, form)).map(Some),
            "SimulateCustomPolicy" => self.store.read(|directory| simulate::custom(directory, form)).map(Some),
            "GetAccountAuthorizationDetails" => Ok(Some(self.store.read(authorization_details))),
            _ => Err(Refusal::unknown_action(action, form)),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Directory, Stamp) -> std::result::Result<(), Error>) -> Result {
        self.store.change(change)?;
        Ok(None)
    }

    fn read(
        &self,
        name: &str,
        write: impl FnOnce(&Directory, &str, &mut Writer) -> std::result::Result<(), Error>,
    ) -> Result {
        let mut xml = Writer::inside();
        self.store.read(|directory| write(directory, name, &mut xml))?;
        Ok(Some(xml))
    }

    fn create_role(&self, form: &Form) -> Result {
        let new = NewRole {
            name: form.required("RoleName")?.to_owned(),
            path: form.get("Path").map(str::to_owned),
            trust: form.required("AssumeRolePolicyDocument")?.to_owned(),
            description: form.get("Description").map(str::to_owned),
            session_s_max: form.number("MaxSessionDuration")?,
            boundary: form.get("PermissionsBoundary").map(str::to_owned),
            tags: form.tags(),
        };
        let role = self.store.change(|directory, stamp| directory.create_role(new, stamp).cloned())?;
        one("Role", |xml| answers::role(xml, &role, false))
    }

    fn update_role(&self, form: &Form) -> Result {
        let name = form.required("RoleName")?;
        let update = RoleUpdate {
            description: form.get("Description").map(str::to_owned),
            session_s_max: form.number("MaxSessionDuration")?,
        };
        self.store.change(|directory, _| directory.update_role(name, update))?;
        // It has a result, and nothing in it.
        Ok(Some(Writer::inside()))
    }

    fn update_role_description(&self, form: &Form) -> Result {
        let (name, description) = (form.required("RoleName")?, form.required("Description")?.to_owned());
        let update = RoleUpdate { description: Some(description), session_s_max: None };
        let role = self.store.change(|directory, _| {
            directory.update_role(name, update)?;
            directory.role(name).cloned()
        })?;
        one("Role", |xml| answers::role(xml, &role, false))
    }

    fn list_roles(&self, form: &Form) -> Result {
        let prefix = form.get("PathPrefix").unwrap_or("/");
        let roles: Vec<_> = self.store.read(|directory| directory.list_roles(prefix).cloned().collect());
        paged(
            form,
            roles,
            |role| role.name.clone(),
            |xml, roles| {
                list(xml, "Roles", roles, |xml, role| answers::role(xml, &role, true));
            },
        )
    }

    fn get_inline(&self, owner: Owner<'_>, name: &str) -> Result {
        let policy = self.store.read(|directory| directory.inline(owner, name).cloned())?;
        let mut xml = Writer::inside();
        match owner {
            Owner::Role(role) => xml.text("RoleName", role),
            Owner::User(user) => xml.text("UserName", user),
        };
        xml.text("PolicyName", name).text("PolicyDocument", answers::document(&policy));
        Ok(Some(xml))
    }

    fn create_policy(&self, form: &Form) -> Result {
        let (name, text) = (form.required("PolicyName")?, form.required("PolicyDocument")?);
        let (path, description) = (form.get("Path"), form.get("Description").map(str::to_owned));
        let policy = self
            .store
            .change(|directory, stamp| directory.create_policy(name, path, text, description, form.tags(), stamp))?;
        one("Policy", |xml| answers::policy(xml, &policy, false))
    }

    fn create_policy_version(&self, form: &Form) -> Result {
        let (arn, text) = (form.required("PolicyArn")?, form.required("PolicyDocument")?);
        let is_default = form.is_true("SetAsDefault");
        let (default, version) = self.store.change(|directory, stamp| {
            let version = directory.create_policy_version(arn, text, is_default, stamp.at_ms)?;
            Ok((directory.policy(arn)?.default_version, version))
        })?;
        one("PolicyVersion", |xml| answers::version(xml, &version, &default, false))
    }

    fn list_policies(&self, form: &Form) -> Result {
        let (scope, prefix) = (form.get("Scope").unwrap_or("All"), form.get("PathPrefix").unwrap_or("/"));
        let only_attached = form.is_true("OnlyAttached");
        let policies: Vec<_> = self.store.read(|directory| {
            let policies = directory.policy_arns().filter_map(|arn| directory.policy(arn).ok());
            let is_aws = |arn: &str| arn.starts_with("arn:aws:iam::aws:");
            let in_scope = |arn: &str| scope == "All" || (scope == "AWS") == is_aws(arn);
            let wanted = policies.filter(|policy| in_scope(&policy.arn) && policy.path.starts_with(prefix));
            wanted.filter(|policy| !only_attached || policy.attachments > 0).collect()
        });
        paged(
            form,
            policies,
            |policy| policy.arn.clone(),
            |xml, policies| {
                list(xml, "Policies", policies, |xml, policy| answers::policy(xml, &policy, true));
            },
        )
    }

    fn list_entities(&self, arn: &str, form: &Form) -> Result {
        let is_boundary = form.get("PolicyUsageFilter") == Some("PermissionsBoundary");
        let filter = form.get("EntityFilter");
        let mut xml = Writer::inside();
        self.store.read(|directory| {
            directory.policy(arn)?;
            let has = |grants: &starmap_iam::directory::Grants| match is_boundary {
                true => grants.boundary.as_deref() == Some(arn),
                false => grants.attached.iter().any(|attached| attached == arn),
            };
            let wants = |kind| filter.is_none_or(|filter| filter == kind);
            list(&mut xml, "PolicyGroups", [(); 0], |_, ()| {});
            let users = directory.users.values().filter(|user| wants("User") && has(&user.grants));
            list(&mut xml, "PolicyUsers", users, |xml, user| {
                xml.text("UserName", &user.name).text("UserId", &user.id);
            });
            let roles = directory.roles.values().filter(|role| wants("Role") && has(&role.grants));
            list(&mut xml, "PolicyRoles", roles, |xml, role| {
                xml.text("RoleName", &role.name).text("RoleId", &role.id);
            });
            Ok::<_, Error>(())
        })?;
        xml.text("IsTruncated", "false");
        Ok(Some(xml))
    }

    fn create_access_key(&self, user: &str) -> Result {
        let made = self
            .store
            .change(|directory, stamp| directory.create_access_key(user, super::store::secret(), stamp).cloned());
        let key = made.map_err(|error: ChangeError| Refusal::from(error))?;
        one("AccessKey", |xml| answers::access_key(xml, user, &key, true))
    }
}

/// An action that there is for roles and for users.
struct Named {
    action: String,
    is_role: bool,
}

impl Named {
    /// `PutRolePolicy` is `PutPolicy` of a role; where that would be an action of its own, it ends with `Of`.
    fn of(action: &str) -> Option<Self> {
        const BOTH: [&str; 9] = [
            "PutPolicy",
            "GetPolicy",
            "DeletePolicy",
            "ListPolicies",
            "AttachPolicy",
            "DetachPolicy",
            "ListAttachedPolicies",
            "PutPermissionsBoundary",
            "DeletePermissionsBoundary",
        ];
        let (is_role, kind) = if action.contains("Role") { (true, "Role") } else { (false, "User") };
        let plain = action.replacen(kind, "", 1);
        if plain == action || !BOTH.contains(&plain.as_str()) {
            return None;
        }
        let is_taken = ["GetPolicy", "DeletePolicy", "ListPolicies"].contains(&plain.as_str());
        Some(Self { action: if is_taken { format!("{plain}Of") } else { plain }, is_role })
    }
}

fn owner<'a>(named: Option<&Named>, form: &'a Form) -> std::result::Result<Owner<'a>, Refusal> {
    match named {
        None => Err(Refusal::unknown_action(form.get("Action").unwrap_or_default(), form)),
        Some(named) if named.is_role => form.required("RoleName").map(Owner::Role),
        Some(_) => form.required("UserName").map(Owner::User),
    }
}

fn one(name: &str, write: impl FnOnce(&mut Writer)) -> Result {
    let mut xml = Writer::inside();
    xml.element(name, write);
    Ok(Some(xml))
}

/// A listing of what there is none of.
fn nothing(name: &str) -> Result {
    let mut xml = Writer::inside();
    xml.element(name, |_| {}).text("IsTruncated", "false");
    Ok(Some(xml))
}

fn tag_page(form: &Form, tags: std::collections::BTreeMap<String, String>) -> Result {
    let tags: Vec<_> = tags.into_iter().collect();
    paged(
        form,
        tags,
        |(key, _)| key.clone(),
        |xml, tags| answers::tags(xml, tags.iter().map(|(key, value)| (key, value))),
    )
}

/// One page of a listing, sorted by its keys. The marker is the last key of the page before.
fn paged<T>(
    form: &Form,
    mut items: Vec<T>,
    key: impl Fn(&T) -> String,
    write: impl FnOnce(&mut Writer, Vec<T>),
) -> Result {
    let size = form.number("MaxItems")?;
    if let Some(size) = size.filter(|size| !(1..=PAGE_SIZE_MAX).contains(size)) {
        let end = if size == 0 { "greater than or equal to 1" } else { "less than or equal to 1000" };
        return Err(Refusal::validation(format!(
            "1 validation error detected: Value '{size}' at 'maxItems' failed to satisfy constraint: Member must have value {end}"
        )));
    }
    let size = size.map_or(PAGE_SIZE_DEFAULT, |size| size as usize);
    items.sort_by_key(&key);
    if let Some(marker) = form.get("Marker") {
        let after = unmarked(marker).ok_or_else(|| Refusal::validation(format!("Invalid Marker: {marker}")))?;
        items.retain(|item| key(item) > after);
    }
    let is_truncated = items.len() > size;
    items.truncate(size);
    let marker = items.last().filter(|_| is_truncated).map(|last| marked(&key(last)));
    let mut xml = Writer::inside();
    write(&mut xml, items);
    xml.text("IsTruncated", is_truncated.to_string()).optional("Marker", marker);
    Ok(Some(xml))
}

fn marked(key: &str) -> String {
    key.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn unmarked(marker: &str) -> Option<String> {
    let (pairs, []) = marker.as_bytes().as_chunks::<2>() else { return None };
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    String::from_utf8(pairs.iter().map(byte).collect::<Option<_>>()?).ok()
}

fn authorization_details(directory: &Directory) -> Writer {
    let mut xml = Writer::inside();
    list(&mut xml, "UserDetailList", directory.users.values(), |xml, user| {
        answers::user(xml, user, false);
        answers::inline(xml, "UserPolicyList", &user.grants);
        answers::attached(xml, "AttachedManagedPolicies", user.grants.attached.iter().cloned());
        xml.element("GroupList", |_| {});
    });
    xml.element("GroupDetailList", |_| {});
    list(&mut xml, "RoleDetailList", directory.roles.values(), |xml, role| {
        answers::role(xml, role, false);
        answers::inline(xml, "RolePolicyList", &role.grants);
        answers::attached(xml, "AttachedManagedPolicies", role.grants.attached.iter().cloned());
        xml.element("InstanceProfileList", |_| {});
    });
    let arns = directory
        .policy_arns()
        .filter_map(|arn| Some((directory.policy(arn).ok()?, directory.policy_versions(arn).ok()?)));
    list(&mut xml, "Policies", arns, |xml, (policy, versions)| {
        answers::policy(xml, &policy, false);
        list(xml, "PolicyVersionList", versions, |xml, version| {
            answers::version(xml, &version, &policy.default_version, true);
        });
    });
    xml.text("IsTruncated", "false");
    xml
}

#[cfg(test)]
mod tests {
    use starmap_asl::Timestamp;

    use super::*;

    fn iam(place: &std::path::Path) -> Iam {
        let store = Store::open(place, "000000000000", Arc::new(|| Timestamp(1_795_739_289_123))).unwrap();
        Iam::new(Arc::new(store))
    }

    fn call(iam: &Iam, action: &str, form: &str) -> std::result::Result<String, Refusal> {
        let answered = iam.call(action, &Form::parse(form.as_bytes()))?;
        Ok(answered.map(Writer::finish).unwrap_or_default())
    }

    const TRUST: &str = "AssumeRolePolicyDocument=%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Principal%22%3A%7B%22Service%22%3A%22states.amazonaws.com%22%7D%2C%22Action%22%3A%22sts%3AAssumeRole%22%7D%5D%7D";
    const POLICY: &str = "PolicyDocument=%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22s3%3AGet%2A%22%2C%22Resource%22%3A%22%2A%22%7D%5D%7D";

    #[test]
    fn a_role_is_made_told_and_deleted() {
        let place = tempfile::tempdir().unwrap();
        let iam = iam(place.path());
        let made = call(&iam, "CreateRole", &format!("RoleName=sky&{TRUST}&Tags.member.1.Key=k&Tags.member.1.Value=v"))
            .unwrap();
        assert!(
            made.contains("<Arn>arn:aws:iam::000000000000:role/sky</Arn><CreateDate>2026-11-27T00:28:09Z</CreateDate>"),
            "{made}"
        );
        assert!(made.contains("<AssumeRolePolicyDocument>%7B%22Version%22%3A%222012-10-17%22"), "{made}");
        assert_eq!(call(&iam, "CreateRole", &format!("RoleName=sky&{TRUST}")).unwrap_err().code, "EntityAlreadyExists");
        call(&iam, "PutRolePolicy", &format!("RoleName=sky&PolicyName=own&{POLICY}")).unwrap();
        let got = call(&iam, "GetRolePolicy", "RoleName=sky&PolicyName=own").unwrap();
        assert!(got.contains("<RoleName>sky</RoleName><PolicyName>own</PolicyName><PolicyDocument>%7B%22"), "{got}");
        let listed = call(&iam, "ListRolePolicies", "RoleName=sky").unwrap();
        assert!(
            listed.contains("<PolicyNames><member>own</member></PolicyNames><IsTruncated>false</IsTruncated>"),
            "{listed}"
        );
        call(&iam, "AttachRolePolicy", "RoleName=sky&PolicyArn=arn:aws:iam::aws:policy/AmazonS3FullAccess").unwrap();
        let attached = call(&iam, "ListAttachedRolePolicies", "RoleName=sky").unwrap();
        assert!(attached.contains("<PolicyName>AmazonS3FullAccess</PolicyName>"), "{attached}");
        assert_eq!(call(&iam, "DeleteRole", "RoleName=sky").unwrap_err().status, 409);
        call(&iam, "DetachRolePolicy", "RoleName=sky&PolicyArn=arn:aws:iam::aws:policy/AmazonS3FullAccess").unwrap();
        call(&iam, "DeleteRolePolicy", "RoleName=sky&PolicyName=own").unwrap();
        call(&iam, "DeleteRole", "RoleName=sky").unwrap();
        let gone = call(&iam, "GetRole", "RoleName=sky").unwrap_err();
        assert_eq!((gone.code, gone.status), ("NoSuchEntity", 404));
        assert_eq!(gone.message, "The role with name sky cannot be found.");
        assert_eq!(call(&iam, "GetRole", "").unwrap_err().code, "ValidationError");
        assert_eq!(call(&iam, "CreateGroup", "").unwrap_err().code, "InvalidAction");
    }

    #[test]
    fn listings_come_in_pages() {
        let place = tempfile::tempdir().unwrap();
        let iam = iam(place.path());
        for name in ["c", "a", "b"] {
            call(&iam, "CreateRole", &format!("RoleName={name}&{TRUST}")).unwrap();
        }
        let (mut marker, mut names) = (String::new(), Vec::new());
        loop {
            let page = call(&iam, "ListRoles", &format!("MaxItems=2{marker}")).unwrap();
            names.extend(page.split("<RoleName>").skip(1).map(|rest| rest[..1].to_owned()));
            let Some((_, rest)) = page.split_once("<Marker>") else { break };
            marker = format!("&Marker={}", rest.split('<').next().unwrap());
        }
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(call(&iam, "ListRoles", "MaxItems=0").unwrap_err().code, "ValidationError");
        assert_eq!(call(&iam, "ListRoles", "Marker=x").unwrap_err().code, "ValidationError");
    }

    #[test]
    fn policies_are_simulated() {
        let place = tempfile::tempdir().unwrap();
        let iam = iam(place.path());
        call(&iam, "CreateRole", &format!("RoleName=sky&{TRUST}")).unwrap();
        call(&iam, "PutRolePolicy", &format!("RoleName=sky&PolicyName=own&{POLICY}")).unwrap();
        let asked = "PolicySourceArn=arn:aws:iam::000000000000:role/sky&ActionNames.member.1=s3:GetObject&ActionNames.member.2=s3:PutObject&ResourceArns.member.1=arn:aws:s3:::sky/a";
        let told = call(&iam, "SimulatePrincipalPolicy", asked).unwrap();
        let decisions: Vec<&str> =
            told.split("<EvalDecision>").skip(1).map(|rest| rest.split('<').next().unwrap()).collect();
        assert_eq!(decisions, ["allowed", "implicitDeny"]);
        assert!(told.contains("<SourcePolicyId>own</SourcePolicyId>"), "{told}");
        let details = call(&iam, "GetAccountAuthorizationDetails", "").unwrap();
        assert!(details.contains("<RolePolicyList><member><PolicyName>own</PolicyName>"), "{details}");
    }
}
