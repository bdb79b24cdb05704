//! A definition as boxes and arrows. Reads the JSON itself: what is drawn need not be valid.

use serde_json::Value;

/// States that are drawn at most; of more no one would see anything.
const STATES_MAX: usize = 400;
/// Containers in containers.
const DEPTH_MAX: usize = 12;
/// Letters of a condition beside an arrow.
const LABEL_LETTERS: usize = 30;

/// A machine, a branch or a processor.
#[derive(Debug, Default)]
pub(super) struct Scope {
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
}

/// A box.
#[derive(Debug)]
pub(super) struct Node {
    /// `Start` and `End`, or the state's `Type`.
    pub(super) kind: String,
    pub(super) is_state: bool,
    pub(super) name: String,
    /// What it does, in a few words.
    pub(super) detail: String,
    /// Which sign it has.
    pub(super) sign: &'static str,
    /// Branches, or the processor.
    pub(super) inner: Vec<Scope>,
}

/// An arrow, by the boxes' indices.
#[derive(Debug)]
pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) to: usize,
    /// When it is taken, if that depends.
    pub(super) label: String,
    /// Taken after errors only.
    pub(super) is_catch: bool,
}

impl Scope {
    pub(super) fn each_state<'a>(&'a self, see: &mut dyn FnMut(&'a Node)) {
        for node in self.nodes.iter().filter(|node| node.is_state) {
            see(node);
            for inner in &node.inner {
                inner.each_state(see);
            }
        }
    }

    fn link(&mut self, from: usize, to: usize, label: String, is_catch: bool) {
        match self.edges.iter_mut().find(|edge| (edge.from, edge.to) == (from, to)) {
            // One arrow between two boxes is enough.
            Some(edge) => {
                edge.is_catch &= is_catch;
                if !label.is_empty() {
                    let separator = if edge.label.is_empty() { "" } else { " · " };
                    edge.label = shortened(&format!("{}{separator}{label}", edge.label), LABEL_LETTERS);
                }
            }
            None => self.edges.push(Edge { from, to, label, is_catch }),
        }
    }
}

/// Reads a definition.
pub(super) fn read(definition: &str) -> Result<Scope, String> {
    let value: Value =
        serde_json::from_str(definition).map_err(|error| format!("the definition is not JSON: {error}"))?;
    let mut left = STATES_MAX;
    let mut scope = scope(&value, true, 0, &mut left)?;
    if !scope.nodes.iter().any(|node| node.is_state) {
        return Err("there are no states in the definition".to_owned());
    }
    // An End that nothing leads to says nothing.
    if let Some(end) = scope.nodes.iter().position(|node| node.kind == "End" && !node.is_state)
        && !scope.edges.iter().any(|edge| edge.to == end)
    {
        scope.nodes.truncate(end);
    }
    Ok(scope)
}

fn scope(value: &Value, is_outermost: bool, depth: usize, left: &mut usize) -> Result<Scope, String> {
    let mut scope = Scope::default();
    let Some(states) = value.get("States").and_then(Value::as_object) else { return Ok(scope) };
    if depth > DEPTH_MAX {
        return Err(format!("there are more than {DEPTH_MAX} containers in one another"));
    }
    if is_outermost {
        scope.nodes.push(terminal("Start"));
    }
    // What begins comes first: the layout goes by this order where nothing else decides.
    let start_at = value.get("StartAt").and_then(Value::as_str).unwrap_or_default();
    let mut ordered: Vec<(&String, &Value)> = states.iter().collect();
    ordered.sort_by_key(|(name, _)| *name != start_at);
    let first = scope.nodes.len();
    for (name, state) in &ordered {
        *left = left.checked_sub(1).ok_or_else(|| format!("there are more than {STATES_MAX} states"))?;
        let mut node = node(name, state);
        for inner in inner_scopes(state) {
            node.inner.push(self::scope(inner, false, depth + 1, left)?);
        }
        node.inner.retain(|inner| !inner.nodes.is_empty());
        scope.nodes.push(node);
    }
    let index_of = |name: &str| ordered.iter().position(|(there, _)| *there == name).map(|index| index + first);
    let end = is_outermost.then(|| {
        scope.nodes.push(terminal("End"));
        scope.nodes.len() - 1
    });
    if let (true, Some(start)) = (is_outermost, index_of(start_at)) {
        scope.link(0, start, String::new(), false);
    }
    for (index, (_, state)) in ordered.iter().enumerate() {
        for (target, label, is_catch) in transitions(state) {
            if let Some(target) = index_of(target) {
                scope.link(index + first, target, label, is_catch);
            }
        }
        let is_last = state.get("End").and_then(Value::as_bool) == Some(true)
            || matches!(state.get("Type").and_then(Value::as_str), Some("Succeed" | "Fail"));
        if let Some(end) = end.filter(|_| is_last) {
            scope.link(index + first, end, String::new(), false);
        }
    }
    Ok(scope)
}

fn terminal(name: &str) -> Node {
    Node {
        kind: name.to_owned(),
        is_state: false,
        name: name.to_owned(),
        detail: String::new(),
        sign: "",
        inner: Vec::new(),
    }
}

fn inner_scopes(state: &Value) -> Vec<&Value> {
    let mut inner: Vec<&Value> = ["ItemProcessor", "Iterator"].iter().filter_map(|field| state.get(field)).collect();
    inner.extend(state.get("Branches").and_then(Value::as_array).into_iter().flatten());
    inner
}

fn node(name: &str, state: &Value) -> Node {
    let kind = state.get("Type").and_then(Value::as_str).unwrap_or("?").to_owned();
    let (detail, sign) = described(&kind, state);
    Node { kind, is_state: true, name: name.to_owned(), detail, sign, inner: Vec::new() }
}

/// What a state does, and its sign.
fn described(kind: &str, state: &Value) -> (String, &'static str) {
    match kind {
        "Task" => task(state),
        "Map" => {
            let processor = state.get("ItemProcessor").or_else(|| state.get("Iterator"));
            let mode = processor.and_then(|processor| processor.get("ProcessorConfig")?.get("Mode")?.as_str());
            let is_distributed = mode == Some("DISTRIBUTED");
            ((if is_distributed { "Distributed map" } else { "Map, inline" }).to_owned(), "map")
        }
        "Parallel" => ("Parallel".to_owned(), "parallel"),
        "Choice" => ("Choice".to_owned(), "choice"),
        "Wait" => {
            let detail = match (state.get("Seconds"), state.get("Timestamp")) {
                (Some(Value::Number(seconds)), _) => format!("Wait {seconds} s"),
                (_, Some(Value::String(until))) => format!("Wait until {}", shortened(until, 24)),
                _ => "Wait".to_owned(),
            };
            (detail, "wait")
        }
        "Pass" => ("Pass".to_owned(), "pass"),
        "Succeed" => ("Succeed".to_owned(), "succeed"),
        "Fail" => (state.get("Error").and_then(Value::as_str).unwrap_or("Fail").to_owned(), "fail"),
        other => (other.to_owned(), "pass"),
    }
}

/// `Lambda: starmap-infer`, `sqs: sendMessage`, `Activity: name`.
fn task(state: &Value) -> (String, &'static str) {
    let resource = state.get("Resource").and_then(Value::as_str).unwrap_or_default();
    let function = |field: &str| state.get(field)?.get("FunctionName")?.as_str();
    let own_name = |arn: &str| {
        let rest = arn.splitn(7, ':').nth(6).unwrap_or(arn);
        rest.split(':').next().unwrap_or(rest).to_owned()
    };
    if resource.contains(":::lambda:invoke") {
        let function = function("Parameters").or_else(|| function("Arguments"));
        return (function.map_or("Lambda: invoke".to_owned(), |name| format!("Lambda: {}", own_name(name))), "lambda");
    }
    if resource.contains(":lambda:") {
        return (format!("Lambda: {}", own_name(resource)), "lambda");
    }
    if resource.contains(":activity:") {
        return (format!("Activity: {}", own_name(resource)), "task");
    }
    let service = resource.strip_prefix("arn:aws:states:::").unwrap_or(resource);
    (service.trim_start_matches("aws-sdk:").replacen(':', ": ", 1), "task")
}

/// Where a state leads: the target, when, and whether only after an error.
fn transitions(state: &Value) -> Vec<(&str, String, bool)> {
    let mut found = Vec::new();
    for rule in state.get("Choices").and_then(Value::as_array).into_iter().flatten() {
        if let Some(target) = rule.get("Next").and_then(Value::as_str) {
            found.push((target, shortened(&condition(rule), LABEL_LETTERS), false));
        }
    }
    if let Some(target) = state.get("Default").and_then(Value::as_str) {
        found.push((target, "Default".to_owned(), false));
    }
    if let Some(target) = state.get("Next").and_then(Value::as_str) {
        found.push((target, String::new(), false));
    }
    for catcher in state.get("Catch").and_then(Value::as_array).into_iter().flatten() {
        if let Some(target) = catcher.get("Next").and_then(Value::as_str) {
            let errors: Vec<&str> = catcher
                .get("ErrorEquals")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            found.push((target, shortened(&format!("Catch {}", errors.join(", ")), LABEL_LETTERS), true));
        }
    }
    found
}

/// A rule as people write conditions.
fn condition(rule: &Value) -> String {
    if let Some(condition) = rule.get("Condition").and_then(Value::as_str) {
        return condition.trim().trim_start_matches("{%").trim_end_matches("%}").trim().to_owned();
    }
    for (field, word) in [("And", " and "), ("Or", " or ")] {
        if let Some(rules) = rule.get(field).and_then(Value::as_array) {
            return rules.iter().take(8).map(condition).collect::<Vec<_>>().join(word);
        }
    }
    if let Some(rule) = rule.get("Not") {
        return format!("not ({})", condition(rule));
    }
    let variable = rule.get("Variable").and_then(Value::as_str).unwrap_or("?");
    let operator = rule
        .as_object()
        .into_iter()
        .flatten()
        .find(|(name, _)| !["Variable", "Next", "Comment", "Assign", "Output"].contains(&name.as_str()));
    let Some((name, value)) = operator else { return variable.to_owned() };
    let signs = [
        ("GreaterThanEquals", "≥"),
        ("LessThanEquals", "≤"),
        ("GreaterThan", ">"),
        ("LessThan", "<"),
        ("Equals", "="),
        ("Matches", "matches"),
    ];
    let plain = name.trim_end_matches("Path");
    match signs.iter().find(|(ending, _)| plain.ends_with(ending)) {
        Some((_, sign)) => format!("{variable} {sign} {value}"),
        None if value == &Value::Bool(true) => format!("{variable} {name}"),
        None => format!("{variable} {name} {value}"),
    }
}

/// At most so many letters, the last one an ellipsis if some are missing.
pub(super) fn shortened(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(letters.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(definition: &str) -> Vec<String> {
        let scope = read(definition).unwrap();
        let name = |index: usize| scope.nodes[index].name.as_str();
        let edge = |edge: &Edge| {
            format!("{} → {} [{}]{}", name(edge.from), name(edge.to), edge.label, if edge.is_catch { " !" } else { "" })
        };
        scope.edges.iter().map(edge).collect()
    }

    #[test]
    fn a_definition_becomes_boxes_and_arrows() {
        let definition = r#"{"StartAt":"A","States":{
            "F":{"Type":"Fail","Error":"No"},
            "A":{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke","Parameters":{"FunctionName":"f"},
                 "Catch":[{"ErrorEquals":["States.ALL"],"Next":"F"}],"Next":"C"},
            "C":{"Type":"Choice","Choices":[{"Variable":"$.z","NumericGreaterThan":0.5,"Next":"A"},
                 {"Condition":"{% $x = 1 %}","Next":"F"},{"Not":{"Variable":"$.a","IsPresent":true},"Next":"F"}],"Default":"M"},
            "M":{"Type":"Map","ItemProcessor":{"StartAt":"I","States":{"I":{"Type":"Pass","End":true}}},"End":true}}}"#;
        assert_eq!(
            edges(definition),
            [
                "Start → A []",
                "A → C []",
                "A → F [Catch States.ALL] !",
                "F → End []",
                "C → A [$.z > 0.5]",
                "C → F [$x = 1 · not ($.a IsPresent)]",
                "C → M [Default]",
                "M → End []"
            ]
        );
        let scope = read(definition).unwrap();
        assert_eq!(scope.nodes[1].detail, "Lambda: f");
        assert_eq!(scope.nodes[4].inner[0].nodes[0].name, "I");
    }

    #[test]
    fn what_can_not_be_drawn_says_why() {
        assert!(read("{").unwrap_err().starts_with("the definition is not JSON"));
        assert_eq!(read("{}").unwrap_err(), "there are no states in the definition");
        let states: Vec<String> = (0..=STATES_MAX).map(|index| format!(r#""s{index}":{{"Type":"Pass"}}"#)).collect();
        let many = format!(r#"{{"StartAt":"s0","States":{{{}}}}}"#, states.join(","));
        assert_eq!(read(&many).unwrap_err(), "there are more than 400 states");
        // Targets that are not there, states that are no objects.
        read(r#"{"StartAt":"x","States":{"a":1,"b":{"Type":"Pass","Next":"c"},"d":{"Type":"Map","Iterator":3}}}"#)
            .unwrap();
    }
}
