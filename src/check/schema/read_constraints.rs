//! Reads a field's constraints: which types have them, and their values, read by the field's own type and format.

use super::constraints::{Bound, Bounds, Constraints, Members, compare};
use super::faults::{Faults, nearest};
use super::json::{Json, Member, Node, place_in_string};
use super::kind::Kind;
use super::number::NumberForm;
use super::pattern::Pattern;
use super::{Field, Value};

/// Members of an enum.
const MOST_MEMBERS: usize = 100_000;

pub(super) const CONSTRAINTS: &[&str] = &[
    "required",
    "unique",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "jsonSchema",
    "enum",
    "pattern",
];

/// Reads `constraints` into the field, whose type and missing values are read already.
pub(super) fn read(node: &Node, field: &mut Field, text: &str, faults: &mut Faults) {
    let Some(members) = faults.object("constraints", node) else { return };
    for member in members {
        check_name(member, &field.kind, faults);
    }
    let find = |name: &str| members.iter().find(|member| member.key == name).map(|member| &member.value);
    let fits = |name: &str| find(name).filter(|_| belongs(name, &field.kind));
    field.required = find("required").and_then(|node| faults.boolean("required", node)).unwrap_or(false);
    field.unique = find("unique").and_then(|node| faults.boolean("unique", node)).unwrap_or(false);
    let mut read = Constraints {
        min_length: fits("minLength").and_then(|node| faults.length("minLength", node)),
        max_length: fits("maxLength").and_then(|node| faults.length("maxLength", node)),
        bounds: None,
        members: None,
        pattern: fits("pattern").and_then(|node| pattern(node, text, faults)),
    };
    if let (Some(least), Some(most), Some(node)) = (read.min_length, read.max_length, find("minLength"))
        && least > most
    {
        faults.error(&node.span, "minLength is larger than maxLength", "no value can have both: change one of them");
    }
    let mut bound = |name| fits(name).and_then(|node| bound(name, node, field, faults));
    let bounds = [bound("minimum"), bound("maximum"), bound("exclusiveMinimum"), bound("exclusiveMaximum")];
    check_order(&bounds, &field.kind, members, faults);
    let [minimum, maximum, exclusive_minimum, exclusive_maximum] = bounds;
    if minimum.is_some() || maximum.is_some() || exclusive_minimum.is_some() || exclusive_maximum.is_some() {
        read.bounds = Some(Box::new(Bounds::new(minimum, maximum, exclusive_minimum, exclusive_maximum)));
    }
    field.constraints = read;
    // Last, since the members must obey all else.
    if let Some(node) = find("enum")
        && let Some(items) = faults.array("enum", node)
    {
        let values: Vec<&Node> = items.iter().collect();
        field.constraints.members = members_of_enum(node, &values, field, faults);
    }
}

fn members_of_enum(node: &Node, values: &[&Node], field: &Field, faults: &mut Faults) -> Option<Box<Members>> {
    members("enum", node, values, field, faults).map(Box::new)
}

fn check_name(member: &Member, kind: &Kind, faults: &mut Faults) {
    let name = member.key.as_str();
    if name == "jsonSchema" {
        faults.error(
            &member.key_span,
            "the constraint jsonSchema is not supported",
            "leave it out, and let the loader check it",
        );
    } else if !CONSTRAINTS.contains(&name) {
        let help = match nearest(name, CONSTRAINTS) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("known are {}", CONSTRAINTS.join(", ")),
        };
        faults.error(&member.key_span, format!("there is no constraint {name:?}"), help);
    } else if !belongs(name, kind) {
        let message = format!("the constraint {name} does not apply to the type {}", kind.name());
        faults.error(&member.key_span, message, "leave it out, or change the type");
    }
}

/// The table of the specification (https://datapackage.org/standard/table-schema/#field-constraints); a list counts as a
/// collection.
fn belongs(name: &str, kind: &Kind) -> bool {
    match name {
        "minLength" | "maxLength" => kind.is_collection(),
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => kind.is_ordered(),
        "pattern" => matches!(kind, Kind::String(_)),
        _ => true,
    }
}

fn pattern(node: &Node, text: &str, faults: &mut Faults) -> Option<Pattern> {
    let written = faults.string("pattern", node)?;
    match Pattern::compile(written) {
        Ok((pattern, anchors)) => {
            for anchor in anchors {
                let message = "a pattern always matches the whole value: this anchor is not needed";
                faults.warning(&place_in_string(text, &node.span, &anchor), message, "leave it out");
            }
            Some(pattern)
        }
        Err(fault) => {
            let place = place_in_string(text, &node.span, &fault.at);
            faults.error(&place, format!("the pattern cannot be used: {}", fault.message), fault.help);
            None
        }
    }
}

/// What a JSON value means as a value of the field: a string by the field's format, a number or boolean as itself.
pub(super) fn value_of(node: &Node, field: &Field) -> Option<(String, Value)> {
    let json_number = |text: &str| match &field.kind {
        Kind::Number(_) => NumberForm::default().number(text),
        Kind::Integer(_) => NumberForm::default().integer(text),
        Kind::Year => field.kind.read(text, false),
        Kind::Any => Some(Value::Text),
        _ => None,
    };
    let (text, value) = match &node.json {
        Json::String(text) => (text.clone(), field.kind.read(text, false)?),
        Json::Number(text) => (text.clone(), json_number(text)?),
        Json::Bool(value) if matches!(field.kind, Kind::Boolean(_)) => (value.to_string(), Value::Boolean(*value)),
        Json::Object(_) | Json::Array(_) if matches!(field.kind, Kind::Object | Kind::Array | Kind::GeoJson { .. }) => {
            let text = written(node);
            let value = field.kind.read(&text, false)?;
            (text, value)
        }
        _ => return None,
    };
    Some((text, value))
}

/// A value as JSON again.
fn written(node: &Node) -> String {
    let join = |parts: Vec<String>| parts.join(",");
    match &node.json {
        Json::Null => "null".into(),
        Json::Bool(value) => value.to_string(),
        Json::Number(text) => text.clone(),
        Json::String(text) => serde_json::Value::from(text.as_str()).to_string(),
        Json::Array(items) => format!("[{}]", join(items.iter().map(written).collect())),
        Json::Object(members) => {
            let member = |member: &Member| {
                format!("{}:{}", serde_json::Value::from(member.key.as_str()), written(&member.value))
            };
            format!("{{{}}}", join(members.iter().map(member).collect()))
        }
    }
}

fn bound(name: &str, node: &Node, field: &Field, faults: &mut Faults) -> Option<Bound> {
    match value_of(node, field) {
        Some((_, Value::Wide)) => {
            faults.error(&node.span, format!("{name} is no number of up to 38 digits"), "write a smaller number");
            None
        }
        Some((text, value)) => Some(Bound { value, text }),
        None => {
            let message = format!("{name} is not a {} as the field's own type and format write it", field.kind.name());
            faults.error(&node.span, message, "write it as the cells of this field do");
            None
        }
    }
}

/// Whether any value can lie between the bounds (minimum, maximum, exclusiveMinimum, exclusiveMaximum).
fn check_order(bounds: &[Option<Bound>; 4], kind: &Kind, members: &[Member], faults: &mut Faults) {
    let [minimum, maximum, exclusive_minimum, exclusive_maximum] = bounds;
    let pairs = [
        ("minimum", minimum, "maximum", maximum, false),
        ("minimum", minimum, "exclusiveMaximum", exclusive_maximum, true),
        ("exclusiveMinimum", exclusive_minimum, "maximum", maximum, true),
        ("exclusiveMinimum", exclusive_minimum, "exclusiveMaximum", exclusive_maximum, true),
    ];
    for (low_name, low, high_name, high, strict) in pairs {
        let (Some(low), Some(high)) = (low, high) else { continue };
        let order = compare(kind, (low.value, &low.text), (high.value, &high.text));
        if !order.is_some_and(|order| order.is_gt() || (strict && order.is_eq())) {
            continue;
        }
        let Some(member) = members.iter().find(|member| member.key == low_name) else { continue };
        let message = format!("no value can satisfy both {low_name} and {high_name}");
        faults.error(&member.value.span, message, "change one of them");
    }
}

/// The members of `enum` or `categories`, each of which the field itself must take.
pub(super) fn members(
    name: &str,
    node: &Node,
    values: &[&Node],
    field: &Field,
    faults: &mut Faults,
) -> Option<Members> {
    if values.is_empty() || values.len() > MOST_MEMBERS {
        let message = format!("{name} has {} values", values.len());
        faults.error(
            &node.span,
            message,
            format!("write 1 to {MOST_MEMBERS} values; longer lists belong into a code list"),
        );
        return None;
    }
    let mut found = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for item in values {
        let Some((text, value)) = value_of(item, field) else {
            let help = match (&field.kind, &item.json) {
                (Kind::String(_), Json::Number(text)) => format!("write it as a string: \"{text}\""),
                _ => "write it as the cells of this field do".into(),
            };
            let message = format!(
                "this value of {name} is not of the field's type ({}): it could never occur",
                field.kind.name()
            );
            faults.error(&item.span, message, help);
            continue;
        };
        if matches!(item.json, Json::String(_)) && field.missing.has(&text) {
            let message = format!("this value of {name} is a missing value, which is never compared");
            faults.warning(&item.span, message, "leave it out; required says whether the value may be missing");
            continue;
        }
        if value == Value::Wide {
            faults.error(&item.span, format!("this value of {name} is no number of up to 38 digits"), "leave it out");
            continue;
        }
        let violated = field.constraints.check(&field.kind, &value, &text);
        if let Some((_, rule, _)) = field.explain(violated).first() {
            let message = format!("this value of {name} violates the field's own {rule}: it could never occur");
            faults.error(&item.span, message, format!("take it out, or change {rule}"));
        }
        let mut bytes = Vec::new();
        match value {
            Value::Text => bytes = field.kind.canonical(&text),
            value => value.canonical(&text, &mut bytes),
        }
        if !seen.insert(bytes) {
            faults.warning(&item.span, format!("this value of {name} stands here twice"), "list it once");
            continue;
        }
        found.push((text, value));
    }
    if found.is_empty() && !faults.failed() {
        faults.error(&node.span, format!("{name} has no value that could occur"), "list the allowed values");
        return None;
    }
    Some(Members::new(&field.kind, &found))
}
