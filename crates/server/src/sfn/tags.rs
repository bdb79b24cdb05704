//! Tags of state machines and activities.

use serde_json::{Value, json};
use starmap_engine::registry::{Change, Resources, Tag};

use super::arn::{Named, named};
use super::{StepFunctions, unexpected};
use crate::error::{Answer, ApiError};
use crate::wire::members::{ARN, Is, Members};

/// Tags that a resource may have.
/// <https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>, read 2026-11.
const TAGS_MAX: usize = 50;

const KEY: Is = Is::Length(1, 128);
const VALUE: Is = Is::Length(0, 256);

pub(super) struct TagResource {
    arn: String,
    tags: Vec<Tag>,
}

impl TagResource {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        let tags = read_tags(members)?;
        if tags.is_none() {
            members.missing("tags");
        }
        Ok(Self { arn: members.required("resourceArn", ARN)?.to_owned(), tags: tags.unwrap_or_default() })
    }
}

pub(super) struct UntagResource {
    arn: String,
    keys: Vec<String>,
}

impl UntagResource {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        let keys = members.list("tagKeys")?;
        if keys.is_none() {
            members.missing("tagKeys");
        }
        let keys = keys.unwrap_or_default().iter().filter_map(Value::as_str).map(str::to_owned);
        Ok(Self { arn: members.required("resourceArn", ARN)?.to_owned(), keys: keys.collect() })
    }
}

pub(super) struct ListTags {
    arn: String,
}

impl ListTags {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self { arn: members.required("resourceArn", ARN)?.to_owned() })
    }
}

/// Reads `tags`; of two with one key the later one counts.
pub(super) fn read_tags(members: &Members<'_>) -> Result<Option<Vec<Tag>>, ApiError> {
    let Some(items) = members.structures("tags")? else { return Ok(None) };
    let mut tags = Vec::new();
    for item in items {
        let key = item.string("key", KEY)?.unwrap_or_default().to_owned();
        let value = item.string("value", VALUE)?.unwrap_or_default().to_owned();
        put(&mut tags, Tag { key, value });
    }
    Ok(Some(tags))
}

/// Refuses more tags than a resource may have.
pub(super) fn check_tags(tags: &[Tag]) -> Result<(), ApiError> {
    if tags.len() <= TAGS_MAX {
        return Ok(());
    }
    Err(ApiError::new("TooManyTags", format!("Too many tags: a resource can have at most {TAGS_MAX}")))
}

/// What AWS answers when there is nothing of that ARN.
pub(super) fn resource_not_found(arn: &str) -> ApiError {
    ApiError::new("ResourceNotFound", format!("Resource not found: '{arn}'")).with("resourceName", arn)
}

impl StepFunctions {
    pub(super) async fn tag_resource(&self, request: &TagResource) -> Answer {
        let arn = request.arn.as_str();
        named(arn)?;
        let tagged = self.engine.change(|resources| {
            let mut tags = tags_of(resources, arn)?.to_vec();
            for tag in &request.tags {
                put(&mut tags, tag.clone());
            }
            check_tags(&tags).map_err(|error| error.with("resourceName", arn))?;
            Ok::<_, ApiError>(((), vec![Change::Tags { arn: arn.to_owned(), tags }]))
        });
        tagged.await.map_err(unexpected("tagging a resource"))??;
        Ok(json!({}))
    }

    pub(super) async fn untag_resource(&self, request: &UntagResource) -> Answer {
        let arn = request.arn.as_str();
        named(arn)?;
        let untagged = self.engine.change(|resources| {
            let mut tags = tags_of(resources, arn)?.to_vec();
            tags.retain(|tag| !request.keys.contains(&tag.key));
            Ok::<_, ApiError>(((), vec![Change::Tags { arn: arn.to_owned(), tags }]))
        });
        untagged.await.map_err(unexpected("untagging a resource"))??;
        Ok(json!({}))
    }

    pub(super) fn list_tags_for_resource(&self, request: &ListTags) -> Answer {
        named(&request.arn)?;
        let tags = self.engine.resources(|resources| tags_of(resources, &request.arn).map(<[Tag]>::to_vec))?;
        let listed = tags.into_iter().map(|tag| json!({ "key": tag.key, "value": tag.value }));
        Ok(json!({ "tags": listed.collect::<Vec<_>>() }))
    }
}

fn tags_of<'a>(resources: &'a Resources, arn: &str) -> Result<&'a [Tag], ApiError> {
    let is_there = match named(arn)? {
        Named::StateMachine => resources.state_machine(arn).is_some(),
        Named::Activity => resources.activity(arn).is_some(),
        // Versions, aliases and executions have no tags of their own.
        _ => false,
    };
    if is_there { Ok(resources.tags(arn)) } else { Err(resource_not_found(arn)) }
}

fn put(tags: &mut Vec<Tag>, tag: Tag) {
    match tags.iter_mut().find(|there| there.key == tag.key) {
        Some(there) => *there = tag,
        None => tags.push(tag),
    }
}
