//! Reads a schema: fields, keys, fieldsMatch, missing values; everything at its place.
//!
//! Called by `config` through [`Schema::read`].

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::faults::{Faults, nearest};
use super::json::{self, Json, Member, Node};
use super::read_field;
use super::{Field, FieldsMatch, ForeignKey, Schema, SchemaFault};

/// Bytes of a schema's text.
const MOST_TEXT: usize = 4 << 20;
const MOST_FIELDS: usize = 4096;

const KNOWN: &[&str] = &[
    "fields",
    "fieldsMatch",
    "primaryKey",
    "uniqueKeys",
    "foreignKeys",
    "missingValues",
    "$schema",
    "profile",
    "name",
    "title",
    "description",
    "homepage",
    "version",
    "created",
    "keywords",
    "contributors",
    "examples",
];

impl Schema {
    /// Reads a schema. Faults come all at once, each with its place; warnings come with a schema. At most 4 MiB of text and
    /// 4096 fields.
    ///
    /// # Errors
    /// Everything that is not a Table Schema, or that this program does not support.
    pub fn read(json: &str) -> Result<(Schema, Vec<SchemaFault>), Vec<SchemaFault>> {
        let mut faults = Faults::default();
        let schema = read(json, &mut faults);
        match schema {
            Some(schema) if !faults.failed() => Ok((schema, faults.all)),
            _ => Err(faults.all),
        }
    }
}

fn read(text: &str, faults: &mut Faults) -> Option<Schema> {
    if text.len() > MOST_TEXT {
        faults.error(&(0..0), "the schema is larger than 4 MiB", "put long lists of codes into a code list");
        return None;
    }
    let root = match json::parse(text) {
        Ok(root) => root,
        Err((span, what)) => {
            faults.error(&span, format!("this is not JSON: {what}"), "mend the JSON here");
            return None;
        }
    };
    let members = faults.object("the schema", &root)?;
    let find = |name: &str| members.iter().find(|member| member.key == name).map(|member| &member.value);
    for member in members {
        check_descriptive(member, faults);
    }
    let scope = read_field::Scope {
        text,
        missing: find("missingValues").and_then(|node| read_field::missing_values(node, faults)),
        first_version: find("$schema")
            .is_none_or(|node| matches!(&node.json, Json::String(text) if text.contains("/1."))),
    };
    let Some(fields_node) = find("fields") else {
        faults.error(&root.span, "the schema has no fields", "add \"fields\": [ ... ]");
        return None;
    };
    let fields = read_fields(fields_node, &scope, faults)?;
    let names: HashMap<&str, usize> =
        fields.iter().enumerate().map(|(index, field)| (field.name.as_str(), index)).collect();
    let keys = Keys { names: &names };
    let fields_match = find("fieldsMatch").and_then(|node| fields_match(node, faults)).unwrap_or_default();
    let primary_key = find("primaryKey").map(|node| keys.list("primaryKey", node, true, faults)).unwrap_or_default();
    let unique_keys = find("uniqueKeys").map(|node| keys.unique_keys(node, faults)).unwrap_or_default();
    let foreign_keys = find("foreignKeys").map(|node| keys.foreign_keys(node, faults)).unwrap_or_default();
    let title = find("title").and_then(as_string);
    let description = find("description").and_then(as_string);
    Some(Schema { fields, fields_match, primary_key, unique_keys, foreign_keys, title, description })
}

pub(super) fn as_string(node: &Node) -> Option<String> {
    if let Json::String(text) = &node.json { Some(text.clone()) } else { None }
}

fn check_descriptive(member: &Member, faults: &mut Faults) {
    let name = member.key.as_str();
    match name {
        "$schema" | "profile" | "name" | "title" | "description" | "homepage" | "version" | "created" => {
            faults.string(name, &member.value);
        }
        "keywords" | "contributors" | "examples" => {
            faults.array(name, &member.value);
        }
        name if KNOWN.contains(&name) => {}
        _ => faults.unknown(member, KNOWN, "a schema"),
    }
}

fn read_fields(node: &Node, scope: &read_field::Scope<'_>, faults: &mut Faults) -> Option<Vec<Field>> {
    let items = faults.array("fields", node)?;
    if items.is_empty() || items.len() > MOST_FIELDS {
        faults.error(
            &node.span,
            format!("the schema has {} fields", items.len()),
            format!("write 1 to {MOST_FIELDS} fields"),
        );
        return None;
    }
    let mut seen: HashMap<String, ()> = HashMap::new();
    let mut fields = Vec::new();
    for item in items {
        let Some((field, name_span)) = read_field::read(item, scope, faults) else { continue };
        if seen.insert(field.name.clone(), ()).is_some() {
            let help = "each field needs a name of its own";
            faults.error(&name_span, format!("the field {:?} stands here twice", field.name), help);
        }
        fields.push(field);
    }
    Some(fields)
}

fn fields_match(node: &Node, faults: &mut Faults) -> Option<FieldsMatch> {
    // Some write it as an array of one.
    let node = match &node.json {
        Json::Array(items) if items.len() == 1 => items.first()?,
        _ => node,
    };
    match faults.string("fieldsMatch", node)? {
        "exact" => Some(FieldsMatch::Exact),
        "equal" => Some(FieldsMatch::Equal),
        "subset" => Some(FieldsMatch::Subset),
        "superset" => Some(FieldsMatch::Superset),
        "partial" => Some(FieldsMatch::Partial),
        other => {
            faults.error(
                &node.span,
                format!("fieldsMatch cannot be {other:?}"),
                "write exact, equal, subset, superset or partial",
            );
            None
        }
    }
}

struct Keys<'f> {
    names: &'f HashMap<&'f str, usize>,
}

impl Keys<'_> {
    /// Indices of the fields that a string (`single`: allowed) or an array of strings names.
    fn list(&self, name: &str, node: &Node, single: bool, faults: &mut Faults) -> Vec<usize> {
        let words = strings(name, node, single, faults);
        if words.is_empty() && matches!(&node.json, Json::Array(items) if items.is_empty()) {
            faults.warning(&node.span, format!("{name} names no field"), "leave it out, or name its fields");
        }
        let mut found = Vec::new();
        for (word, span) in words {
            match self.names.get(word.as_str()) {
                Some(index) if found.contains(index) => {
                    faults.error(&span, format!("{name} names the field {word:?} twice"), "name it once");
                }
                Some(index) => found.push(*index),
                None => {
                    let names: Vec<&str> = self.names.keys().copied().collect();
                    let help = nearest(&word, &names)
                        .map_or("name a field of this schema".into(), |near| format!("did you mean {near:?}?"));
                    faults.error(&span, format!("{name} names {word:?}, which is no field of this schema"), help);
                }
            }
        }
        found
    }

    fn unique_keys(&self, node: &Node, faults: &mut Faults) -> Vec<Vec<usize>> {
        let Some(items) = faults.array("uniqueKeys", node) else { return Vec::new() };
        if items.is_empty() {
            faults.warning(&node.span, "uniqueKeys has no key", "leave it out, or name the fields of a key");
        }
        items
            .iter()
            .map(|item| self.list("a key of uniqueKeys", item, false, faults))
            .filter(|key| !key.is_empty())
            .collect()
    }

    fn foreign_keys(&self, node: &Node, faults: &mut Faults) -> Vec<ForeignKey> {
        let Some(items) = faults.array("foreignKeys", node) else { return Vec::new() };
        items.iter().filter_map(|item| self.foreign_key(item, faults)).collect()
    }

    fn foreign_key(&self, node: &Node, faults: &mut Faults) -> Option<ForeignKey> {
        let members = faults.object("a foreign key", node)?;
        let find = |name: &str| members.iter().find(|member| member.key == name).map(|member| &member.value);
        for member in members
            .iter()
            .filter(|member| !["fields", "reference", "name", "title", "description"].contains(&member.key.as_str()))
        {
            faults.unknown(member, &["fields", "reference"], "a foreign key");
        }
        let (Some(fields), Some(reference)) = (find("fields"), find("reference")) else {
            faults.error(
                &node.span,
                "a foreign key lacks its fields or its reference",
                "write both \"fields\" and \"reference\"",
            );
            return None;
        };
        let fields_span = fields.span.clone();
        let fields = self.list("a foreign key's fields", fields, true, faults);
        let (resource, labels) = reference_of(reference, faults)?;
        if fields.is_empty() {
            return None;
        }
        if fields.len() != labels.len() {
            let message = format!("a foreign key has {} fields, but refers to {}", fields.len(), labels.len());
            faults.error(&fields_span, message, "name as many fields here as in the reference");
            return None;
        }
        Some(ForeignKey { fields, resource, reference: labels, codes: Arc::default() })
    }
}

fn reference_of(node: &Node, faults: &mut Faults) -> Option<(String, Vec<String>)> {
    let members = faults.object("a foreign key's reference", node)?;
    let find = |name: &str| members.iter().find(|member| member.key == name).map(|member| &member.value);
    for member in members.iter().filter(|member| !["fields", "resource"].contains(&member.key.as_str())) {
        if member.key == "package" {
            faults.error(
                &member.key_span,
                "a reference to another package is not supported",
                "put the code list beside the schema",
            );
        } else {
            faults.unknown(member, &["fields", "resource"], "a reference");
        }
    }
    let resource = match find("resource") {
        Some(node) => (faults.string("the reference's resource", node)?.to_owned(), node.span.clone()),
        None => (String::new(), node.span.clone()),
    };
    let (name, span) = resource;
    if name.is_empty() {
        let help = "refer to a code list beside the schema, by its name without .csv";
        faults.error(&span, "a foreign key to the same table is not supported", help);
        return None;
    }
    if name.starts_with('.') || name.contains(['/', '\\']) || name.contains(char::is_control) {
        faults.error(
            &span,
            "a resource's name is no path",
            "write the code list's name alone, without folders and .csv",
        );
        return None;
    }
    let Some(fields) = find("fields") else {
        faults.error(&node.span, "a reference lacks its fields", "name the columns of the code list");
        return None;
    };
    let labels = strings("the reference's fields", fields, true, faults);
    Some((name, labels.into_iter().map(|(label, _)| label).collect()))
}

/// The strings of an array, or one string where that is allowed.
fn strings(name: &str, node: &Node, single: bool, faults: &mut Faults) -> Vec<(String, Range<usize>)> {
    if single && let Json::String(text) = &node.json {
        return vec![(text.clone(), node.span.clone())];
    }
    let items = faults.array(name, node).unwrap_or_default();
    items.iter().filter_map(|item| Some((faults.string(name, item)?.to_owned(), item.span.clone()))).collect()
}
