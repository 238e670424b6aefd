//! Reads one field: its type and format with their options, missing values, and what only describes it.

use std::ops::Range;

use super::Field;
use super::constraints::Members;
use super::faults::{Faults, nearest};
use super::json::{Json, Member, Node};
use super::quick::Quick;
use super::read::as_string;
use super::read_constraints::{self, CONSTRAINTS};
use super::words::Words;

/// What a field takes from the schema around it.
pub(super) struct Scope<'t> {
    pub text: &'t str,
    /// The schema's missing values; none for the default.
    pub missing: Option<Vec<String>>,
    /// A field without a type is a string in version 1, of any type in version 2.
    pub first_version: bool,
}

const TYPES: &[&str] = &[
    "string",
    "number",
    "integer",
    "boolean",
    "object",
    "array",
    "list",
    "date",
    "time",
    "datetime",
    "year",
    "yearmonth",
    "duration",
    "geopoint",
    "geojson",
    "any",
];

const KNOWN: &[&str] = &[
    "name",
    "type",
    "format",
    "title",
    "description",
    "example",
    "constraints",
    "categories",
    "categoriesOrdered",
    "missingValues",
    "rdfType",
    "decimalChar",
    "groupChar",
    "bareNumber",
    "trueValues",
    "falseValues",
    "delimiter",
    "itemType",
];

/// Properties that only some types have.
const OF_TYPES: &[(&str, &[&str])] = &[
    ("decimalChar", &["number"]),
    ("groupChar", &["number", "integer"]),
    ("bareNumber", &["number", "integer"]),
    ("trueValues", &["boolean"]),
    ("falseValues", &["boolean"]),
    ("delimiter", &["list"]),
    ("itemType", &["list"]),
    ("categories", &["string", "integer"]),
    ("categoriesOrdered", &["string", "integer"]),
];

/// The field and the place of its name.
pub(super) fn read(node: &Node, scope: &Scope<'_>, faults: &mut Faults) -> Option<(Field, Range<usize>)> {
    let members = faults.object("a field", node)?;
    let property = Properties { members };
    check_names(members, faults);
    let Some(name_node) = property.find("name") else {
        faults.error(&node.span, "a field has no name", "write the label that its column has: \"name\": \"...\"");
        return None;
    };
    let name = faults.string("a field's name", name_node)?.to_owned();
    if name.trim().is_empty() {
        faults.error(&name_node.span, "a field's name is blank", "write the label that its column has");
        return None;
    }
    let type_name = property.type_name(scope, faults)?;
    property.check_owners(&type_name, faults);
    let kind = property.kind(&type_name, scope, faults)?;
    let missing = match property.find("missingValues") {
        Some(node) => missing_values(node, faults)?,
        None => scope.missing.clone().unwrap_or_else(|| vec![String::new()]),
    };
    let mut field = Field {
        name,
        title: property.find("title").and_then(as_string),
        description: property.find("description").and_then(as_string),
        required: false,
        unique: false,
        free_text: false,
        missing: Words::new(missing.iter().map(String::as_str)),
        kind,
        constraints: Default::default(),
        quick: Default::default(),
    };
    if let Some(node) = property.find("constraints") {
        read_constraints::read(node, &mut field, scope.text, faults);
    }
    if let Some(node) = property.find("categories") {
        read_categories(node, &mut field, property.find("constraints"), faults);
    }
    let bound = field.constraints.pattern.is_some() || field.constraints.members.is_some();
    field.free_text = field.kind.is_free_text() && !bound;
    field.quick = Quick::of(&field);
    Some((field, name_node.span.clone()))
}

fn check_names(members: &[Member], faults: &mut Faults) {
    for member in members {
        match member.key.as_str() {
            name @ ("title" | "description" | "rdfType") => {
                faults.string(name, &member.value);
            }
            name @ "categoriesOrdered" => {
                faults.boolean(name, &member.value);
            }
            name if KNOWN.contains(&name) => {}
            name if CONSTRAINTS.contains(&name) => {
                let help = "move it into \"constraints\": { ... }";
                faults.error(
                    &member.key_span,
                    format!("{name:?} is a constraint, but stands outside of constraints"),
                    help,
                );
            }
            _ => {
                let all: Vec<&str> = KNOWN.iter().chain(CONSTRAINTS).copied().collect();
                faults.unknown(member, &all, "a field");
            }
        }
    }
}

/// A field's properties.
pub(super) struct Properties<'n> {
    members: &'n [Member],
}

impl<'n> Properties<'n> {
    pub fn find(&self, name: &str) -> Option<&'n Node> {
        self.members.iter().find(|member| member.key == name).map(|member| &member.value)
    }

    fn type_name(&self, scope: &Scope<'_>, faults: &mut Faults) -> Option<String> {
        let Some(node) = self.find("type") else {
            return Some(if scope.first_version { "string" } else { "any" }.to_owned());
        };
        let name = faults.string("type", node)?;
        if TYPES.contains(&name) {
            return Some(name.to_owned());
        }
        let help = nearest(name, TYPES)
            .map_or(format!("write one of {}", TYPES.join(", ")), |near| format!("did you mean {near:?}?"));
        faults.error(&node.span, format!("there is no type {name:?}"), help);
        None
    }

    /// Properties of other types have no effect here, or would be taken for demands that nobody checks.
    fn check_owners(&self, type_name: &str, faults: &mut Faults) {
        for member in self.members {
            let Some((name, owners)) = OF_TYPES.iter().find(|(name, _)| *name == member.key) else { continue };
            if owners.contains(&type_name) {
                continue;
            }
            let message = format!("{name} has no meaning for the type {type_name}");
            if *name == "categories" {
                faults.error(&member.key_span, message, "use the constraint enum");
            } else {
                faults.warning(&member.key_span, message, format!("it is for the type {}", owners.join(" or ")));
            }
        }
    }
}

/// `missingValues`: strings, or objects with a value and a label.
pub(super) fn missing_values(node: &Node, faults: &mut Faults) -> Option<Vec<String>> {
    let items = faults.array("missingValues", node)?;
    let mut values: Vec<String> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for item in items {
        let (value, label) = match &item.json {
            Json::Object(_) => labelled(item, "a missing value", faults)?,
            _ => (item, None),
        };
        if let Some(label) = label {
            faults.string("a label", label)?;
        }
        let text = faults.string("a missing value", value)?;
        if !seen.insert(text) {
            faults.warning(&value.span, format!("the missing value {text:?} stands here twice"), "list it once");
        }
        values.push(text.to_owned());
    }
    Some(values)
}

/// The value and label of `{"value": ..., "label": ...}`.
fn labelled<'n>(node: &'n Node, what: &str, faults: &mut Faults) -> Option<(&'n Node, Option<&'n Node>)> {
    let members = faults.object(what, node)?;
    let find = |name: &str| members.iter().find(|member| member.key == name).map(|member| &member.value);
    for member in members.iter().filter(|member| !["value", "label"].contains(&member.key.as_str())) {
        faults.unknown(member, &["value", "label"], what);
    }
    let Some(value) = find("value") else {
        faults.error(&node.span, format!("{what} lacks its value"), "write {\"value\": ..., \"label\": ...}");
        return None;
    };
    Some((value, find("label")))
}

/// `categories` (v2): an enum whose members may have labels; an `enum` beside it is a part of it.
fn read_categories(node: &Node, field: &mut Field, constraints: Option<&Node>, faults: &mut Faults) {
    let Some(items) = faults.array("categories", node) else { return };
    let mut values = Vec::new();
    for item in items {
        let (value, label) = match &item.json {
            Json::Object(_) => match labelled(item, "a category", faults) {
                Some(found) => found,
                None => return,
            },
            _ => (item, None),
        };
        if label.is_some_and(|label| faults.string("a label", label).is_none()) {
            return;
        }
        values.push(value);
    }
    let narrower = field.constraints.members.take();
    let Some(categories) = read_constraints::members("categories", node, &values, field, faults) else { return };
    field.constraints.members = match narrower {
        None => Some(Box::new(categories)),
        Some(members) => {
            check_subset(&categories, field, constraints, faults);
            Some(members)
        }
    };
}

fn check_subset(categories: &Members, field: &Field, constraints: Option<&Node>, faults: &mut Faults) {
    let Some(Json::Object(constraints)) = constraints.map(|node| &node.json) else { return };
    let Some(member) = constraints.iter().find(|member| member.key == "enum") else { return };
    let Json::Array(items) = &member.value.json else { return };
    for item in items {
        let Some((text, value)) = read_constraints::value_of(item, field) else { continue };
        if !categories.has(&field.kind, value, &text) {
            faults.error(
                &item.span,
                "this member of enum is not among the categories",
                "add it to categories, or take it out here",
            );
        }
    }
}
