//! Reads one field: its type and format with their options, missing values, and what only describes it.

use std::ops::Range;

use super::Field;
use super::compound::PointFormat;
use super::constraints::Members;
use super::faults::{Faults, nearest};
use super::json::{Json, Member, Node, place_in_string};
use super::kind::{Booleans, Kind, List, When};
use super::number::NumberForm;
use super::read::as_string;
use super::read_constraints::{self, CONSTRAINTS};
use super::temporal::{For, Pattern};
use super::text::TextFormat;
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
    };
    if let Some(node) = property.find("constraints") {
        read_constraints::read(node, &mut field, scope.text, faults);
    }
    if let Some(node) = property.find("categories") {
        read_categories(node, &mut field, property.find("constraints"), faults);
    }
    let bound = field.constraints.pattern.is_some() || field.constraints.members.is_some();
    field.free_text = field.kind.is_free_text() && !bound;
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

struct Properties<'n> {
    members: &'n [Member],
}

impl<'n> Properties<'n> {
    fn find(&self, name: &str) -> Option<&'n Node> {
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

    fn kind(&self, type_name: &str, scope: &Scope<'_>, faults: &mut Faults) -> Option<Kind> {
        let format = match self.find("format") {
            // "fmt:" was version 0's way to write patterns.
            Some(node) => faults.string("format", node).map(|text| text.strip_prefix("fmt:").unwrap_or(text))?,
            None => "default",
        };
        let found = match (type_name, format) {
            ("string", "default") => Kind::String(TextFormat::Default),
            ("string", "email") => Kind::String(TextFormat::Email),
            ("string", "uri") => Kind::String(TextFormat::Uri),
            ("string", "binary") => Kind::String(TextFormat::Binary),
            ("string", "uuid") => Kind::String(TextFormat::Uuid),
            ("number", "default") => Kind::Number(self.number_form(faults)?),
            ("integer", "default") => Kind::Integer(NumberForm { decimal: '.', ..self.number_form(faults)? }),
            ("boolean", "default") => Kind::Boolean(self.booleans(faults)?),
            ("object", "default") => Kind::Object,
            ("array", "default") => Kind::Array,
            ("list", "default") => Kind::List(self.list(faults)?),
            ("date", format) => Kind::Date(self.when(format, For::Date, scope, faults)?),
            ("time", format) => Kind::Time(self.when(format, For::Time, scope, faults)?),
            ("datetime", format) => Kind::DateTime(self.when(format, For::DateTime, scope, faults)?),
            ("year", "default") => Kind::Year,
            ("yearmonth", "default") => Kind::YearMonth,
            ("duration", "default") => Kind::Duration,
            ("geopoint", "default") => Kind::Point(PointFormat::Default),
            ("geopoint", "array") => Kind::Point(PointFormat::Array),
            ("geopoint", "object") => Kind::Point(PointFormat::Object),
            ("geojson", "default") => Kind::GeoJson { topo: false },
            ("geojson", "topojson") => Kind::GeoJson { topo: true },
            ("any", "default") => Kind::Any,
            (_, other) => {
                let known: &[&str] = match type_name {
                    "string" => &["default", "email", "uri", "binary", "uuid"],
                    "geopoint" => &["default", "array", "object"],
                    "geojson" => &["default", "topojson"],
                    _ => &["default"],
                };
                let node = self.find("format")?;
                let message = format!("the type {type_name} has no format {other:?}");
                faults.error(&node.span, message, format!("write one of {}, or leave it out", known.join(", ")));
                return None;
            }
        };
        Some(found)
    }

    fn when(&self, format: &str, purpose: For, scope: &Scope<'_>, faults: &mut Faults) -> Option<When> {
        match format {
            "default" => return Some(When::Default),
            "any" => return Some(When::Any),
            _ => {}
        }
        match Pattern::compile(format, purpose) {
            Ok(pattern) => Some(When::Pattern(Box::new(pattern))),
            Err((inside, why)) => {
                let node = self.find("format")?;
                let prefix = as_string(node)?.len() - format.len();
                let inside = inside.start + prefix..inside.end + prefix;
                let help = if format.contains('%') {
                    "known are %d %m %Y %y %b %B %a %A %j %H %I %p %M %S %f %z %F %T %D %R %%".to_owned()
                } else {
                    "write default, any or a pattern such as %d/%m/%Y".to_owned()
                };
                let message = format!("the format {format:?} cannot be used: {why}");
                faults.error(&place_in_string(scope.text, &node.span, &inside), message, help);
                None
            }
        }
    }

    fn number_form(&self, faults: &mut Faults) -> Option<NumberForm> {
        let mut form = NumberForm::default();
        let mut character = |name: &str| match self.find(name) {
            Some(node) => faults.character(name, node).map(|c| Some((c, node.span.clone()))),
            None => Some(None),
        };
        let (decimal, group) = (character("decimalChar")?, character("groupChar")?);
        for (name, found) in [("decimalChar", &decimal), ("groupChar", &group)] {
            if let Some((c, span)) = found
                && (c.is_ascii_alphanumeric() || ['+', '-'].contains(c))
            {
                faults.error(span, format!("{name} cannot be {c:?}"), "write a character that no number has otherwise");
                return None;
            }
        }
        form.decimal = decimal.map_or('.', |(c, _)| c);
        form.group = group.as_ref().map(|(c, _)| *c);
        // An integer has no decimal character that could be mistaken.
        let is_number = self.find("type").and_then(as_string).is_some_and(|name| name == "number");
        if let Some((c, span)) = group
            && is_number
            && c == form.decimal
        {
            faults.error(&span, "groupChar and decimalChar are the same character", "write two different characters");
            return None;
        }
        if let Some(node) = self.find("bareNumber") {
            form.bare = faults.boolean("bareNumber", node)?;
        }
        Some(form)
    }

    fn booleans(&self, faults: &mut Faults) -> Option<Booleans> {
        let default = Booleans::default();
        let mut words = |name: &str, default: Vec<String>| {
            let Some(node) = self.find(name) else { return Some(default) };
            let items = faults.array(name, node)?;
            if items.is_empty() {
                faults.error(&node.span, format!("{name} has no value"), "list the words that cells hold");
                return None;
            }
            items.iter().map(|item| faults.string(name, item).map(str::to_owned)).collect()
        };
        let (yes, no) = (words("trueValues", default.yes_words)?, words("falseValues", default.no_words)?);
        if let Some(both) = yes.iter().find(|word| no.contains(word)) {
            let span = self.find("trueValues").or_else(|| self.find("falseValues"))?.span.clone();
            faults.error(
                &span,
                format!("{both:?} means both true and false"),
                "list it once; trueValues and falseValues left out keep their defaults",
            );
            return None;
        }
        Some(Booleans::new(yes, no))
    }

    fn list(&self, faults: &mut Faults) -> Option<List> {
        let delimiter = match self.find("delimiter") {
            Some(node) => {
                let text = faults.string("delimiter", node)?;
                if text.is_empty() {
                    faults.error(&node.span, "delimiter is empty", "write what stands between two items");
                    return None;
                }
                text.to_owned()
            }
            None => ",".to_owned(),
        };
        let Some(node) = self.find("itemType") else {
            return Some(List { delimiter, item: Box::new(Kind::String(TextFormat::Default)) });
        };
        let item = match faults.string("itemType", node)? {
            "string" => Kind::String(TextFormat::Default),
            "integer" => Kind::Integer(NumberForm::default()),
            "number" => Kind::Number(NumberForm::default()),
            "boolean" => Kind::Boolean(Booleans::default()),
            "datetime" => Kind::DateTime(When::Default),
            "date" => Kind::Date(When::Default),
            "time" => Kind::Time(When::Default),
            other => {
                let help = "write string, integer, number, boolean, datetime, date or time";
                faults.error(&node.span, format!("a list cannot hold items of the type {other:?}"), help);
                return None;
            }
        };
        Some(List { delimiter, item: Box::new(item) })
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
