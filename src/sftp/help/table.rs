//! What a table must be: its columns, each in plain words, its keys, its rules and its bounds.
//!
//! Must never shorten the list of columns: who reads it makes the export from it. Does no input or output. Called by
//! `dataset`.

use super::dataset::entry;
use super::{list, size};
use crate::audit::grouped;
use crate::config::{FieldsMatch, Schema, TableLimits, TableRules};

pub(super) fn describe(text: &mut String, table: &TableRules) {
    match &table.schema {
        Some(schema) => {
            columns(text, schema, table.dialect.header);
            keys(text, schema);
        }
        None => entry(text, "Columns", "any; each row must have as many cells as the first"),
    }
    let mut label = "Rules";
    for rule in table.rules.describe() {
        entry(text, label, &format!("- {rule}"));
        label = "";
    }
    entry(text, "Limits", &limits(&table.limits));
}

fn columns(text: &mut String, schema: &Schema, header: bool) {
    let fields = schema.fields.len();
    let all = match fields {
        1 => "this one".to_owned(),
        fields => format!("these {}", grouped(fields as u64)),
    };
    let which = match schema.fields_match {
        _ if !header => format!("{all}, in this order"),
        FieldsMatch::Exact => format!("{all}, in this order, and no others; labels exactly as here"),
        FieldsMatch::Equal => format!("{all}, in any order, and no others; labels exactly as here"),
        FieldsMatch::Subset => format!("all of {all}, in any order; others may be there too; labels exactly as here"),
        FieldsMatch::Superset => format!("any of {all}, in any order, and no others; labels exactly as here"),
        FieldsMatch::Partial => {
            format!("at least one of {all}, in any order; others may be there too; labels exactly as here")
        }
    };
    entry(text, "Columns", &which);
    for field in &schema.fields {
        entry(text, "", &format!("{:?}: {}", field.name, field.describe()));
    }
}

fn keys(text: &mut String, schema: &Schema) {
    let labels = |fields: &[usize]| {
        let labels: Vec<String> = fields
            .iter()
            .filter_map(|field| schema.fields.get(*field))
            .map(|field| format!("{:?}", field.name))
            .collect();
        list(&labels, "and")
    };
    let together = |fields: &[usize]| if fields.len() > 1 { " together" } else { "" };
    let mut lines = Vec::new();
    if !schema.primary_key.is_empty() {
        let key = &schema.primary_key;
        lines.push(format!("{}{}: in every row, and no two rows alike", labels(key), together(key)));
    }
    for key in &schema.unique_keys {
        lines.push(format!("{}{}: no two rows alike", labels(key), together(key)));
    }
    for key in &schema.foreign_keys {
        let list = &key.resource;
        lines.push(format!(
            "{}{}: must be in the code list \"{list}\", see /contract/",
            labels(&key.fields),
            together(&key.fields)
        ));
    }
    let mut label = "Keys";
    for line in lines {
        entry(text, label, &line);
        label = "";
    }
}

/// The bounds that a file could run into, as far as they are not the usual ones.
fn limits(limits: &TableLimits) -> String {
    let usual = TableLimits::default();
    let mut bounds = Vec::new();
    if limits.row != usual.row {
        bounds.push(format!("a row of at most {}", size(limits.row as u64)));
    }
    if limits.columns != usual.columns {
        bounds.push(format!("at most {} columns", grouped(limits.columns as u64)));
    }
    bounds.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(schema: &str, change: impl FnOnce(&mut TableRules)) -> String {
        let (schema, _) = Schema::read(schema).expect("a schema");
        let mut table = TableRules { schema: Some(schema), ..TableRules::default() };
        change(&mut table);
        let mut text = String::new();
        describe(&mut text, &table);
        text
    }

    const SCHEMA: &str = r#"{
        "fields": [
            {"name": "Agency Code", "type": "string", "constraints": {"required": true}},
            {"name": "Client \"Ref\"", "type": "string"},
            {"name": "Start", "type": "date", "format": "%d/%m/%Y"}
        ],
        "primaryKey": ["Agency Code", "Client \"Ref\""],
        "uniqueKeys": [["Start"]]
    }"#;

    #[test]
    fn every_column_stands_on_a_line_with_its_demands() {
        let text = words(SCHEMA, |_| {});
        assert!(text.contains("Columns         these 3, in this order, and no others"), "{text}");
        for start in ["\"Agency Code\": ", "\"Client \\\"Ref\\\"\": ", "\"Start\": "] {
            let line = text.lines().find(|line| line.trim_start().starts_with(start));
            assert!(line.is_some_and(|line| line.trim().len() > start.len()), "{start} in:\n{text}");
        }
        assert!(
            text.contains("Keys            \"Agency Code\" and \"Client \\\"Ref\\\"\" together: in every row"),
            "{text}"
        );
        assert!(text.contains("                    \"Start\": no two rows alike"), "{text}");
        assert!(!text.contains("Limits"), "{text}");
    }

    #[test]
    fn a_wide_schema_is_listed_whole() {
        let fields: Vec<String> = (0..300).map(|n| format!(r#"{{"name": "F{n}", "type": "integer"}}"#)).collect();
        let text = words(&format!(r#"{{"fields": [{}]}}"#, fields.join(",")), |_| {});
        assert_eq!(text.lines().filter(|line| line.trim_start().starts_with("\"F")).count(), 300);
    }

    #[test]
    fn what_may_be_left_out_or_added_is_said() {
        for (fields_match, part) in [
            (FieldsMatch::Equal, "these 3, in any order, and no others"),
            (FieldsMatch::Subset, "all of these 3, in any order; others may be there too"),
            (FieldsMatch::Superset, "any of these 3, in any order, and no others"),
            (FieldsMatch::Partial, "at least one of these 3, in any order; others"),
        ] {
            let text = words(SCHEMA, |table| {
                if let Some(schema) = &mut table.schema {
                    schema.fields_match = fields_match;
                }
            });
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }

    #[test]
    fn limits_of_its_own_are_said() {
        let own = TableLimits { row: 4096, columns: 1000, ..TableLimits::default() };
        assert_eq!(limits(&own), "a row of at most 4 KiB; at most 1,000 columns");
        assert_eq!(limits(&TableLimits::default()), "");
    }
}
