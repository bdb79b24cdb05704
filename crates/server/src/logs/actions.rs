//! What each action of CloudWatch Logs does.

use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::io;

use serde_json::{Map, Value, json};

use super::pattern::Pattern;
use super::store::{Event, Group, Place, Store, Stream};
use crate::auth::Ask;
use crate::error::{Answer, ApiError};
use crate::wire::members::parse;
use crate::wire::values::object;

/// Events of an answer at most.
const EVENTS_MAX: usize = 10_000;
/// Bytes of an answer's messages at most, and what AWS counts beside each.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const EVENT_BYTES: usize = 26;
/// Events of one `PutLogEvents`.
const BATCH_MAX: usize = 10_000;
/// How far a put event may be from now.
const FUTURE_MS: i64 = 2 * 60 * 60 * 1000;
const PAST_MS: i64 = 14 * 24 * 60 * 60 * 1000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Tags on one group.
const TAGS_MAX: usize = 50;
/// What retention may be, days.
const RETENTIONS: [i64; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

/// The actions of CloudWatch Logs.
pub struct Logs {
    store: Store,
}

impl std::fmt::Debug for Logs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logs").field("folder", &self.store.place.folder).finish_non_exhaustive()
    }
}

type Members = Map<String, Value>;

impl Logs {
    /// Reads what is known of groups.
    ///
    /// # Errors
    /// When it is there and can't be read.
    pub fn open(place: Place) -> io::Result<Self> {
        Ok(Self { store: Store::open(place)? })
    }

    /// Carries out an action; `body` is the JSON text of its members. Blocks.
    ///
    /// # Errors
    /// What AWS answers when it refuses.
    pub fn call(&self, action: &str, body: &[u8]) -> Answer {
        let members = parse(body)?;
        match action {
            "CreateLogGroup" => self.create_group(&members),
            "DescribeLogGroups" => self.describe_groups(&members),
            "DeleteLogGroup" => {
                let (name, _) = self.group(&members)?;
                self.store.remove(&name).map_err(|error| failed("deleting a log group", &error))?;
                Ok(json!({}))
            }
            "PutRetentionPolicy" => self.put_retention(&members),
            "DeleteRetentionPolicy" => self.change(&members, |group| group.retention_days = None),
            "TagLogGroup" | "TagResource" => self.tag(&members),
            "UntagLogGroup" => {
                let keys = texts(&members, "tags")?;
                self.change(&members, |group| group.tags.retain(|key, _| !keys.contains(key)))
            }
            "UntagResource" => {
                let keys = texts(&members, "tagKeys")?;
                self.change(&members, |group| group.tags.retain(|key, _| !keys.contains(key)))
            }
            "ListTagsForResource" | "ListTagsLogGroup" => Ok(json!({ "tags": self.group(&members)?.1.tags })),
            "AssociateKmsKey" => {
                let key = required(&members, "kmsKeyId")?.to_owned();
                self.change(&members, |group| group.kms_key_id = Some(key))
            }
            "DisassociateKmsKey" => self.change(&members, |group| group.kms_key_id = None),
            "CreateLogStream" => self.create_stream(&members),
            "DeleteLogStream" => {
                let (name, group) = self.group(&members)?;
                let stream = self.stream(&members, &name, &group)?;
                self.store.remove_stream(&name, &stream).map_err(|error| failed("deleting a log stream", &error))?;
                Ok(json!({}))
            }
            "DescribeLogStreams" => self.describe_streams(&members),
            "PutLogEvents" => self.put_events(&members),
            "GetLogEvents" => self.get_events(&members),
            "FilterLogEvents" => self.filter_events(&members),
            // There are none of these; Terraform and the console of AWS ask.
            "DescribeMetricFilters" => Ok(json!({ "metricFilters": [] })),
            "DescribeSubscriptionFilters" => Ok(json!({ "subscriptionFilters": [] })),
            "DescribeResourcePolicies" => Ok(json!({ "resourcePolicies": [] })),
            _ => Err(crate::aws_json::unknown_operation()),
        }
    }

    /// What the caller has to be allowed.
    pub(super) fn asks(&self, action: &str, body: &[u8]) -> Vec<Ask> {
        let members = parse(body).unwrap_or_default();
        let action = format!("logs:{action}");
        let Some(name) = group_name(&members) else { return vec![Ask::new(action, self.arn("*"))] };
        let group = self.arn(&name);
        match text(&members, "logStreamName").ok().flatten() {
            Some(stream) => vec![Ask::new(action, format!("{group}:log-stream:{stream}"))],
            // Policies name a group with and without `:*`.
            None => vec![Ask::new(action, format!("{group}:*")).also(group)],
        }
    }

    fn arn(&self, group: &str) -> String {
        let naming = &self.store.place.naming;
        format!("arn:aws:logs:{}:{}:log-group:{group}", naming.region, naming.account)
    }

    fn now_ms(&self) -> i64 {
        (self.store.place.clock)().0
    }

    fn group(&self, members: &Members) -> Result<(String, Group), ApiError> {
        let name = group_name(members).ok_or_else(|| missing("logGroupName"))?;
        let found = self.store.group(&name);
        found.map(|group| (name, group)).ok_or_else(|| not_found("The specified log group does not exist."))
    }

    fn stream(&self, members: &Members, name: &str, group: &Group) -> Result<Stream, ApiError> {
        let wanted = required(members, "logStreamName")?;
        let found = self.store.streams(name, group).into_iter().find(|stream| stream.name == wanted);
        found.ok_or_else(|| not_found("The specified log stream does not exist."))
    }

    fn change(&self, members: &Members, change: impl FnOnce(&mut Group)) -> Answer {
        let (name, mut group) = self.group(members)?;
        change(&mut group);
        self.store.set(&name, Some(group)).map_err(|error| failed("changing a log group", &error))?;
        Ok(json!({}))
    }

    fn create_group(&self, members: &Members) -> Answer {
        let name = required(members, "logGroupName")?;
        let is_valid = (1..=512).contains(&name.len())
            && name.chars().all(|char| char.is_ascii_alphanumeric() || "._-/#".contains(char));
        if !is_valid {
            return Err(invalid(format!(
                "1 validation error detected: Value '{name}' at 'logGroupName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\.\\-_/#A-Za-z0-9]+"
            )));
        }
        let tags = tags(members)?;
        if self.store.group(name).is_some() {
            return Err(ApiError::new("ResourceAlreadyExistsException", "The specified log group already exists"));
        }
        let group = Group {
            created_at_ms: self.now_ms(),
            tags,
            class: text(members, "logGroupClass")?.map(str::to_owned),
            kms_key_id: text(members, "kmsKeyId")?.map(str::to_owned),
            ..Group::default()
        };
        self.store.set(name, Some(group)).map_err(|error| failed("making a log group", &error))?;
        Ok(json!({}))
    }

    fn describe_groups(&self, members: &Members) -> Answer {
        let prefix = text(members, "logGroupNamePrefix")?.unwrap_or_default();
        let within = text(members, "logGroupNamePattern")?.unwrap_or_default().to_lowercase();
        let identifiers: Vec<String> =
            texts(members, "logGroupIdentifiers")?.iter().map(|identifier| name_of(identifier)).collect();
        let limit = limit(members, 50)?;
        let mut groups: Vec<(String, Group)> = self.store.groups().into_iter().collect();
        groups.retain(|(name, _)| {
            name.starts_with(prefix)
                && name.to_lowercase().contains(&within)
                && (identifiers.is_empty() || identifiers.contains(name))
        });
        let (page, next) = page(groups, |(name, _)| name.clone(), text(members, "nextToken")?, limit)?;
        let told = page.iter().map(|(name, group)| {
            let bytes: u64 = self.store.streams(name, group).iter().map(Stream::bytes).sum();
            object([
                ("logGroupName", Some(json!(name))),
                ("creationTime", Some(json!(group.created_at_ms))),
                ("retentionInDays", group.retention_days.map(Value::from)),
                ("metricFilterCount", Some(json!(0))),
                ("arn", Some(json!(format!("{}:*", self.arn(name))))),
                ("logGroupArn", Some(json!(self.arn(name)))),
                ("storedBytes", Some(json!(bytes))),
                ("kmsKeyId", group.kms_key_id.clone().map(Value::from)),
                ("logGroupClass", Some(json!(group.class.as_deref().unwrap_or("STANDARD")))),
            ])
        });
        let told: Vec<Value> = told.collect();
        Ok(object([("logGroups", Some(Value::from(told))), ("nextToken", next.map(Value::from))]))
    }

    fn put_retention(&self, members: &Members) -> Answer {
        let days = number(members, "retentionInDays")?.ok_or_else(|| missing("retentionInDays"))?;
        if !RETENTIONS.contains(&days) {
            let known: Vec<String> = RETENTIONS.iter().map(ToString::to_string).collect();
            return Err(invalid(format!(
                "1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: Member must satisfy enum value set: [{}]",
                known.join(", ")
            )));
        }
        self.change(members, |group| group.retention_days = Some(days))
    }

    fn tag(&self, members: &Members) -> Answer {
        let (_, group) = self.group(members)?;
        let new = tags(members)?;
        let mut all = group.tags;
        all.extend(new);
        if all.len() > TAGS_MAX {
            return Err(ApiError::new("TooManyTagsException", format!("a log group has at most {TAGS_MAX} tags")));
        }
        self.change(members, |group| group.tags = all)
    }

    fn create_stream(&self, members: &Members) -> Answer {
        let (name, group) = self.group(members)?;
        let stream = required(members, "logStreamName")?.to_owned();
        if !(1..=512).contains(&stream.len()) || stream.contains([':', '*']) {
            return Err(invalid(format!(
                "1 validation error detected: Value '{stream}' at 'logStreamName' failed to satisfy constraint: Member must satisfy regular expression pattern: [^:*]*"
            )));
        }
        if self.store.streams(&name, &group).iter().any(|other| other.name == stream) {
            return Err(ApiError::new("ResourceAlreadyExistsException", "The specified log stream already exists"));
        }
        let now = self.now_ms();
        self.change(members, |group| {
            group.streams.insert(stream, now);
        })
    }

    fn describe_streams(&self, members: &Members) -> Answer {
        let (name, group) = self.group(members)?;
        let prefix = text(members, "logStreamNamePrefix")?.unwrap_or_default();
        let by_time = text(members, "orderBy")? == Some("LastEventTime");
        if by_time && !prefix.is_empty() {
            return Err(invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
        }
        let limit = limit(members, 50)?;
        let mut streams = Vec::new();
        for stream in self.store.streams(&name, &group) {
            if stream.name.starts_with(prefix) {
                let told = stream.told().map_err(|error| failed("reading a log stream", &error))?;
                let order = if by_time { format!("{:020}", told.last_ms.unwrap_or(0)) } else { String::new() };
                streams.push((format!("{order}{}", stream.name), stream, told));
            }
        }
        streams.sort_by(|a, b| a.0.cmp(&b.0));
        let key = |(key, ..): &(String, Stream, _)| key.clone();
        let is_descending = members.get("descending") == Some(&Value::Bool(true));
        if is_descending {
            streams.reverse();
        }
        let token = text(members, "nextToken")?;
        let (page, next) = page_in_order(streams, key, token, limit, is_descending)?;
        let told = page.iter().map(|(_, stream, told)| {
            object([
                ("logStreamName", Some(json!(stream.name))),
                ("creationTime", Some(json!(told.created_at_ms))),
                ("firstEventTimestamp", told.first_ms.map(Value::from)),
                ("lastEventTimestamp", told.last_ms.map(Value::from)),
                ("lastIngestionTime", told.ingested_ms.map(Value::from)),
                ("uploadSequenceToken", Some(json!(SEQUENCE_TOKEN))),
                ("arn", Some(json!(format!("{}:log-stream:{}", self.arn(&name), stream.name)))),
                ("storedBytes", Some(json!(0))),
            ])
        });
        let told: Vec<Value> = told.collect();
        Ok(object([("logStreams", Some(Value::from(told))), ("nextToken", next.map(Value::from))]))
    }

    fn put_events(&self, members: &Members) -> Answer {
        let (name, group) = self.group(members)?;
        let stream = self.stream(members, &name, &group)?;
        if !group.streams.contains_key(&stream.name) {
            return Err(invalid("The log stream is a worker's; make one with CreateLogStream."));
        }
        let Some(Value::Array(given)) = members.get("logEvents") else { return Err(missing("logEvents")) };
        if !(1..=BATCH_MAX).contains(&given.len()) {
            let constraint =
                if given.is_empty() { "greater than or equal to 1" } else { "less than or equal to 10000" };
            return Err(invalid(format!(
                "1 validation error detected: Value at 'logEvents' failed to satisfy constraint: Member must have length {constraint}"
            )));
        }
        let now = self.now_ms();
        let mut events = Vec::new();
        for event in given {
            let parts = (event.get("timestamp").and_then(Value::as_i64), event.get("message").and_then(Value::as_str));
            let (Some(at_ms), Some(message)) = parts else { return Err(missing("logEvents.1.member.message")) };
            events.push(Event { at_ms, ingested_at_ms: now, message: message.to_owned() });
        }
        if !events.is_sorted_by_key(|event| event.at_ms) {
            return Err(invalid("Log events in a single PutLogEvents request must be in chronological order."));
        }
        let too_old = events.iter().take_while(|event| event.at_ms < now - PAST_MS).count();
        let too_new = events.iter().position(|event| event.at_ms > now + FUTURE_MS);
        let kept = &events[too_old..too_new.unwrap_or(events.len()).max(too_old)];
        self.store.put(&name, &stream.name, kept).map_err(|error| failed("keeping log events", &error))?;
        let rejected = object([
            ("tooOldLogEventEndIndex", (too_old > 0).then(|| json!(too_old))),
            ("tooNewLogEventStartIndex", too_new.map(Value::from)),
        ]);
        let is_all = kept.len() == events.len();
        Ok(object([
            ("nextSequenceToken", Some(json!(SEQUENCE_TOKEN))),
            ("rejectedLogEventsInfo", (!is_all).then_some(rejected)),
        ]))
    }

    fn get_events(&self, members: &Members) -> Answer {
        let (name, group) = self.group(members)?;
        let stream = self.stream(members, &name, &group)?;
        let range = self.range(members, &group)?;
        let limit = limit(members, EVENTS_MAX)?;
        let bad_token = || invalid("The specified nextToken is invalid.");
        // Where a page begins (`f/`) or ends (`b/`): a number of events from the stream's beginning.
        let token = match text(members, "nextToken")? {
            None => None,
            Some(token) => {
                let (kind, number) = token.split_once('/').ok_or_else(bad_token)?;
                let number: usize = number.parse().map_err(|_| bad_token())?;
                match kind {
                    "f" => Some((true, number)),
                    "b" => Some((false, number)),
                    _ => return Err(bad_token()),
                }
            }
        };
        let from_head = members.get("startFromHead") == Some(&Value::Bool(true));
        let (is_forward, bound) = token.unwrap_or((from_head, if from_head { 0 } else { usize::MAX }));
        let (mut page, mut bytes, mut index): (VecDeque<(usize, Event)>, usize, usize) = (VecDeque::new(), 0, 0);
        let size = |event: &Event| event.message.len() + EVENT_BYTES;
        let read = stream.events(|event| {
            let at = index;
            index += 1;
            if !range.contains(&event.at_ms) || is_forward && at < bound {
                return true;
            }
            if !is_forward && at >= bound {
                return false;
            }
            if is_forward && (page.len() >= limit || !page.is_empty() && bytes + size(&event) > ANSWER_BYTES_MAX) {
                return false;
            }
            bytes += size(&event);
            page.push_back((at, event));
            while !is_forward && (page.len() > limit || page.len() > 1 && bytes > ANSWER_BYTES_MAX) {
                bytes -= page.pop_front().map_or(0, |(_, event)| size(&event));
            }
            true
        });
        read.map_err(|error| failed("reading a log stream", &error))?;
        // An empty page leads to itself: that is how a client knows that there is no more.
        let here = if bound == usize::MAX { index } else { bound };
        let first = page.front().map_or(here, |(index, _)| *index);
        let next = page.back().map_or(here, |(index, _)| index + 1);
        let events: Vec<Value> = page.iter().map(|(_, event)| told(event)).collect();
        Ok(json!({
            "events": events, "nextForwardToken": format!("f/{next:056}"), "nextBackwardToken": format!("b/{first:056}"),
        }))
    }

    fn filter_events(&self, members: &Members) -> Answer {
        let (name, group) = self.group(members)?;
        let range = self.range(members, &group)?;
        let limit = limit(members, EVENTS_MAX)?;
        let pattern = Pattern::parse(text(members, "filterPattern")?.unwrap_or_default()).map_err(invalid)?;
        let (names, prefix) = (texts(members, "logStreamNames")?, text(members, "logStreamNamePrefix")?);
        if !names.is_empty() && prefix.is_some() {
            return Err(invalid("Either logStreamNames or logStreamNamePrefix may be specified, not both."));
        }
        let after = match text(members, "nextToken")? {
            Some(token) => {
                Some(Found::from_token(token).ok_or_else(|| invalid("The specified nextToken is invalid."))?)
            }
            None => None,
        };
        let mut streams = self.store.streams(&name, &group);
        streams.retain(|stream| {
            (names.is_empty() || names.contains(&stream.name))
                && prefix.is_none_or(|prefix| stream.name.starts_with(prefix))
                && stream.changed_at_ms() >= range.start
        });
        // The earliest events that come after the token, one more than are answered. The latest of them is on top.
        let mut page: BinaryHeap<Found> = BinaryHeap::new();
        for stream in &streams {
            let mut index = 0;
            let read = stream.events(|event| {
                let at = index;
                index += 1;
                if range.contains(&event.at_ms) && pattern.matches(&event.message) {
                    let found =
                        Found { at_ms: event.at_ms, stream: stream.name.clone(), index: at, event: Some(event) };
                    let is_before = page.len() <= limit || page.peek().is_some_and(|last| found < *last);
                    if is_before && after.as_ref().is_none_or(|after| found > *after) {
                        page.push(found);
                        if page.len() > limit + 1 {
                            page.pop();
                        }
                    }
                }
                true
            });
            read.map_err(|error| failed("reading a log stream", &error))?;
        }
        let found = page.into_sorted_vec();
        let mut bytes = 0;
        let fitting = found.iter().take(limit).take_while(|found| {
            let own = found.event.as_ref().map_or(0, |event| event.message.len() + EVENT_BYTES);
            let fits = bytes == 0 || bytes + own <= ANSWER_BYTES_MAX;
            bytes += own;
            fits
        });
        let count = fitting.count();
        let next = (count < found.len()).then(|| found.get(count.wrapping_sub(1)).map(Found::token)).flatten();
        let events: Vec<Value> = found[..count].iter().map(|found| found.told()).collect();
        Ok(object([
            ("events", Some(Value::from(events))),
            ("searchedLogStreams", Some(json!([]))),
            ("nextToken", next.map(Value::from)),
        ]))
    }

    /// Which times are wanted and not older than is kept.
    fn range(&self, members: &Members, group: &Group) -> Result<std::ops::Range<i64>, ApiError> {
        let (start, end) = (number(members, "startTime")?, number(members, "endTime")?);
        let kept_from = group.retention_days.map_or(0, |days| self.now_ms() - days * DAY_MS);
        Ok(start.unwrap_or(0).max(kept_from)..end.unwrap_or(i64::MAX))
    }
}

/// AWS asks for none any more, and still answers one.
const SEQUENCE_TOKEN: &str = "49039859604189553412021412345678901234567890123456789012";

/// An event of `FilterLogEvents`, in the order of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    at_ms: i64,
    stream: String,
    index: usize,
    event: Option<Event>,
}

impl Ord for Found {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ms, &self.stream, self.index).cmp(&(other.at_ms, &other.stream, other.index))
    }
}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Found {
    fn told(&self) -> Value {
        let hash = self
            .stream
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let id = format!("{:020}{hash:020}{:016}", self.at_ms.max(0), self.index);
        let event = self.event.as_ref();
        json!({
            "logStreamName": self.stream, "timestamp": self.at_ms,
            "message": event.map_or("", |event| event.message.as_str()),
            "ingestionTime": event.map_or(0, |event| event.ingested_at_ms), "eventId": id,
        })
    }

    fn token(&self) -> String {
        hex(&format!("{} {} {}", self.at_ms, self.index, self.stream))
    }

    fn from_token(token: &str) -> Option<Self> {
        let text = unhex(token)?;
        let mut parts = text.splitn(3, ' ');
        let (at_ms, index) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { at_ms, index, stream: parts.next()?.to_owned(), event: None })
    }
}

fn told(event: &Event) -> Value {
    json!({ "timestamp": event.at_ms, "message": event.message, "ingestionTime": event.ingested_at_ms })
}

/// The name in an ARN of a group, or the name itself.
fn name_of(identifier: &str) -> String {
    let name = identifier.split_once(":log-group:").map_or(identifier, |(_, name)| name);
    name.strip_suffix(":*").unwrap_or(name).to_owned()
}

fn group_name(members: &Members) -> Option<String> {
    let given =
        ["logGroupName", "logGroupIdentifier", "resourceArn"].iter().find_map(|name| members.get(*name)?.as_str());
    given.filter(|name| !name.is_empty()).map(name_of)
}

fn text<'a>(members: &'a Members, name: &str) -> Result<Option<&'a str>, ApiError> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(ApiError::new("SerializationException", format!("{name} must be a string, found {other}"))),
    }
}

fn required<'a>(members: &'a Members, name: &str) -> Result<&'a str, ApiError> {
    text(members, name)?.ok_or_else(|| missing(name))
}

fn texts(members: &Members, name: &str) -> Result<Vec<String>, ApiError> {
    let wrong = || ApiError::new("SerializationException", format!("{name} must be a list of strings"));
    match members.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(values)) => {
            values.iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

fn number(members: &Members, name: &str) -> Result<Option<i64>, ApiError> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let wrong =
                || ApiError::new("SerializationException", format!("{name} must be a whole number, found {value}"));
            value.as_i64().map(Some).ok_or_else(wrong)
        }
    }
}

fn limit(members: &Members, max: usize) -> Result<usize, ApiError> {
    let Some(limit) = number(members, "limit")? else { return Ok(max) };
    let found = usize::try_from(limit).ok().filter(|limit| (1..=max).contains(limit));
    found.ok_or_else(|| {
        let end = if limit < 1 { "greater than or equal to 1".to_owned() } else { format!("less than or equal to {max}") };
        invalid(format!(
            "1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: Member must have value {end}"
        ))
    })
}

fn tags(members: &Members) -> Result<BTreeMap<String, String>, ApiError> {
    let wrong = || ApiError::new("SerializationException", "tags must be an object of strings");
    match members.get("tags") {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(Value::Object(tags)) => {
            tags.iter().map(|(key, value)| Ok((key.clone(), value.as_str().ok_or_else(wrong)?.to_owned()))).collect()
        }
        Some(_) => Err(wrong()),
    }
}

fn page<T>(
    items: Vec<T>,
    key: impl Fn(&T) -> String,
    token: Option<&str>,
    limit: usize,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    page_in_order(items, key, token, limit, false)
}

/// One page of sorted items, and what leads to the next.
fn page_in_order<T>(
    mut items: Vec<T>,
    key: impl Fn(&T) -> String,
    token: Option<&str>,
    limit: usize,
    is_descending: bool,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    if let Some(token) = token {
        let after = unhex(token).ok_or_else(|| invalid("The specified nextToken is invalid."))?;
        items.retain(|item| if is_descending { key(item) < after } else { key(item) > after });
    }
    let has_more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| has_more).map(|last| hex(&key(last)));
    Ok((items, next))
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<String> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    String::from_utf8(pairs.iter().map(byte).collect::<Option<_>>()?).ok()
}

fn not_found(message: &str) -> ApiError {
    ApiError::new("ResourceNotFoundException", message)
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterException", message)
}

fn missing(name: &str) -> ApiError {
    invalid(format!(
        "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
    ))
}

fn failed(doing: &'static str, error: &io::Error) -> ApiError {
    ApiError::internal(doing, error)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use starmap_asl::Timestamp;
    use starmap_engine::names::Naming;

    use super::*;

    const NOW: i64 = 1_795_739_289_123;

    fn open(place: &std::path::Path) -> Logs {
        let (workers, folder) = (place.join("logs"), place.join("cloudwatch"));
        Logs::open(Place { workers, folder, naming: Naming::default(), clock: Arc::new(|| Timestamp(NOW)) }).unwrap()
    }

    fn call(logs: &Logs, action: &str, members: Value) -> Value {
        logs.call(action, members.to_string().as_bytes()).unwrap()
    }

    fn refused(logs: &Logs, action: &str, members: Value) -> String {
        logs.call(action, members.to_string().as_bytes()).unwrap_err().name.into_owned()
    }

    fn messages(answer: &Value) -> Vec<String> {
        let events = answer["events"].as_array().unwrap();
        events.iter().map(|event| event["message"].as_str().unwrap().trim().to_owned()).collect()
    }

    #[test]
    fn groups_are_made_changed_kept_and_deleted() {
        let place = tempfile::tempdir().unwrap();
        let logs = open(place.path());
        call(&logs, "CreateLogGroup", json!({ "logGroupName": "/a/b", "tags": { "k": "v" } }));
        assert_eq!(
            refused(&logs, "CreateLogGroup", json!({ "logGroupName": "/a/b" })),
            "ResourceAlreadyExistsException"
        );
        assert_eq!(refused(&logs, "CreateLogGroup", json!({ "logGroupName": "a b" })), "InvalidParameterException");
        call(&logs, "PutRetentionPolicy", json!({ "logGroupName": "/a/b", "retentionInDays": 14 }));
        assert_eq!(
            refused(&logs, "PutRetentionPolicy", json!({ "logGroupName": "/a/b", "retentionInDays": 15 })),
            "InvalidParameterException"
        );
        let arn = "arn:aws:logs:us-east-1:000000000000:log-group:/a/b";
        call(&logs, "TagResource", json!({ "resourceArn": arn, "tags": { "l": "w" } }));
        call(&logs, "UntagResource", json!({ "resourceArn": format!("{arn}:*"), "tagKeys": ["k"] }));

        let again = open(place.path());
        assert_eq!(call(&again, "ListTagsForResource", json!({ "resourceArn": arn })), json!({ "tags": { "l": "w" } }));
        let told = call(&again, "DescribeLogGroups", json!({ "logGroupNamePrefix": "/a" }));
        assert_eq!(told["logGroups"][0]["retentionInDays"], 14);
        assert_eq!(told["logGroups"][0]["arn"], format!("{arn}:*"));
        call(&again, "DeleteLogGroup", json!({ "logGroupName": "/a/b" }));
        assert_eq!(refused(&again, "DeleteLogGroup", json!({ "logGroupName": "/a/b" })), "ResourceNotFoundException");
        assert_eq!(call(&again, "DescribeLogGroups", json!({})), json!({ "logGroups": [] }));
    }

    #[test]
    fn events_are_put_read_in_pages_and_filtered() {
        let place = tempfile::tempdir().unwrap();
        let logs = open(place.path());
        call(&logs, "CreateLogGroup", json!({ "logGroupName": "g" }));
        for stream in ["s", "t"] {
            call(&logs, "CreateLogStream", json!({ "logGroupName": "g", "logStreamName": stream }));
        }
        let put = |stream: &str, events: Value| {
            call(&logs, "PutLogEvents", json!({ "logGroupName": "g", "logStreamName": stream, "logEvents": events }))
        };
        put("s", json!([1, 2, 3, 4, 5].map(|n| json!({ "timestamp": NOW + n, "message": format!("s{n} ERROR") }))));
        put("t", json!([{ "timestamp": NOW + 2, "message": "t2 INFO" }]));
        let old = put("t", json!([{ "timestamp": 5, "message": "old" }, { "timestamp": NOW, "message": "t0" }]));
        assert_eq!(old["rejectedLogEventsInfo"]["tooOldLogEventEndIndex"], 1);
        let unsorted = json!([{ "timestamp": NOW, "message": "b" }, { "timestamp": NOW - 1, "message": "a" }]);
        let members = json!({ "logGroupName": "g", "logStreamName": "s", "logEvents": unsorted });
        assert_eq!(refused(&logs, "PutLogEvents", members), "InvalidParameterException");

        let get = |more: Value| {
            let mut members = json!({ "logGroupName": "g", "logStreamName": "s", "limit": 2 });
            members.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            call(&logs, "GetLogEvents", members)
        };
        let last = get(json!({}));
        assert_eq!(messages(&last), ["s4 ERROR", "s5 ERROR"]);
        let before = get(json!({ "nextToken": last["nextBackwardToken"] }));
        assert_eq!(messages(&before), ["s2 ERROR", "s3 ERROR"]);
        let end = get(json!({ "nextToken": last["nextForwardToken"] }));
        assert_eq!((messages(&end).len(), &end["nextForwardToken"]), (0, &last["nextForwardToken"]));
        let (mut token, mut read) = (json!({ "startFromHead": true }), Vec::new());
        loop {
            let page = get(token.clone());
            if page["events"].as_array().unwrap().is_empty() {
                break;
            }
            read.extend(messages(&page));
            token = json!({ "nextToken": page["nextForwardToken"] });
        }
        assert_eq!(read.len(), 5);
        let ranged = get(json!({ "startTime": NOW + 2, "endTime": NOW + 3, "startFromHead": true }));
        assert_eq!(messages(&ranged), ["s2 ERROR"]);

        let (mut token, mut all) = (Value::Null, Vec::new());
        loop {
            let page = call(&logs, "FilterLogEvents", json!({ "logGroupName": "g", "limit": 2, "nextToken": token }));
            all.extend(messages(&page));
            token = page["nextToken"].clone();
            if token.is_null() {
                break;
            }
        }
        assert_eq!(all, ["t0", "s1 ERROR", "s2 ERROR", "t2 INFO", "s3 ERROR", "s4 ERROR", "s5 ERROR"]);
        let errors = call(&logs, "FilterLogEvents", json!({ "logGroupName": "g", "filterPattern": "-ERROR" }));
        assert_eq!(messages(&errors), ["t0", "t2 INFO"]);
        let streams = call(
            &logs,
            "DescribeLogStreams",
            json!({ "logGroupName": "g", "orderBy": "LastEventTime", "descending": true }),
        );
        assert_eq!(streams["logStreams"][0]["logStreamName"], "s");
        assert_eq!(streams["logStreams"][0]["lastEventTimestamp"], NOW + 5);
        assert_eq!(
            refused(&logs, "FilterLogEvents", json!({ "logGroupName": "g", "filterPattern": "[a]" })),
            "InvalidParameterException"
        );
    }

    #[test]
    fn what_functions_print_is_there() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("logs").join("infer");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("2026-11-27-[$LATEST]0f3c.log"), "START RequestId: 1\nhello\n\nEND RequestId: 1\n")
            .unwrap();
        let logs = open(place.path());
        let told = call(&logs, "DescribeLogGroups", json!({}));
        assert_eq!(told["logGroups"][0]["logGroupName"], "/aws/lambda/infer");
        let streams = call(&logs, "DescribeLogStreams", json!({ "logGroupName": "/aws/lambda/infer" }));
        assert_eq!(streams["logStreams"][0]["logStreamName"], "2026/11/27/[$LATEST]0f3c");
        let events = call(&logs, "FilterLogEvents", json!({ "logGroupName": "/aws/lambda/infer" }));
        assert_eq!(messages(&events), ["START RequestId: 1", "hello", "END RequestId: 1"]);
        // What clients may name leads nowhere else.
        for name in ["/aws/lambda/..", "/aws/lambda/", "/aws/lambda/infer/.."] {
            assert_eq!(
                refused(&logs, "DescribeLogStreams", json!({ "logGroupName": name })),
                "ResourceNotFoundException"
            );
        }
        call(&logs, "DeleteLogGroup", json!({ "logGroupName": "/aws/lambda/infer" }));
        assert!(!folder.exists());
    }
}
