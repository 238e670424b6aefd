//! What a dataset demands, in words and as JSON: for `dataset` and `check`.

use serde_json::{Value, json};

use crate::check::schema::{FieldsMatch, Schema};
use crate::check::{Compression, Dialect, Encoding, Format, Policy, Severity, TableRules};
use crate::config::units::format_size;
use crate::config::{CompanionKind, Completion, Dataset, OnReject};

pub fn format(dataset: &Dataset) -> &'static str {
    match dataset.rules.format {
        Format::Csv => "csv",
        Format::Opaque => "opaque",
    }
}

fn table(dataset: &Dataset) -> Option<&TableRules> {
    dataset.rules.table.as_deref()
}

pub fn schema(dataset: &Dataset) -> Option<&Schema> {
    table(dataset)?.schema.as_ref()
}

/// The rules beyond the schema, a sentence each.
pub fn rules(dataset: &Dataset) -> Vec<String> {
    table(dataset).map(|table| table.rules.describe()).unwrap_or_default()
}

pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Accept => "accept",
        Severity::Flag => "flag",
        Severity::Reject => "reject",
    }
}

fn policy(policy: &Policy) -> [(&'static str, Severity); 11] {
    [
        ("formulas", policy.formulas),
        ("hidden_characters", policy.hidden_characters),
        ("mojibake", policy.mojibake),
        ("control_characters", policy.control_characters),
        ("mixed_line_ends", policy.mixed_line_ends),
        ("cr_line_ends", policy.cr_line_ends),
        ("no_final_line_end", policy.no_final_line_end),
        ("trailing_blank_rows", policy.trailing_blank_rows),
        ("label_spaces", policy.label_spaces),
        ("value_spaces", policy.value_spaces),
        ("unpadded_dates", policy.unpadded_dates),
    ]
}

/// Where `[policy]` is not the default: `cr_line_ends = accept`.
pub fn deviations(dataset: &Dataset) -> Vec<String> {
    let Some(table) = table(dataset) else { return Vec::new() };
    let (own, usual) = (policy(&table.policy), policy(&Policy::default()));
    let differ = own.iter().zip(usual).filter(|(own, usual)| own.1 != usual.1);
    differ.map(|((name, own), _)| format!("{name} = {}", severity(*own))).collect()
}

pub fn encoding(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Utf8 => "utf-8",
        Encoding::Windows1252 => "windows-1252",
        Encoding::Utf16 => "utf-16",
        Encoding::Utf16Le => "utf-16le",
        Encoding::Utf16Be => "utf-16be",
    }
}

pub fn delimiter(delimiter: u8) -> String {
    match delimiter {
        b',' => "comma".into(),
        b';' => "semicolon".into(),
        b'\t' => "tab".into(),
        b' ' => "blank".into(),
        other => char::from(other).to_string(),
    }
}

fn packing(dataset: &Dataset) -> Vec<&'static str> {
    let name = |kind: &Compression| match kind {
        Compression::Gzip => "gzip",
        Compression::Zip => "zip",
    };
    dataset.rules.compression.iter().map(name).collect()
}

fn companions(dataset: &Dataset) -> Vec<&'static str> {
    let name = |kind: &CompanionKind| match kind {
        CompanionKind::Sha256 => "sha256",
        CompanionKind::Md5 => "md5",
        CompanionKind::Totals => "totals",
    };
    dataset.companion.kinds.iter().map(name).collect()
}

/// The name pattern as it was written; compiled, it is anchored at both ends.
pub fn pattern(dataset: &Dataset) -> Option<&str> {
    let text = dataset.rules.name.as_ref()?.as_str();
    Some(text.strip_prefix("^(?:").and_then(|text| text.strip_suffix(")$")).unwrap_or(text))
}

/// One line of what the file is: `csv of at most 2GiB, utf-8, comma, or packed with gzip or zip`.
pub fn file(dataset: &Dataset) -> String {
    let mut parts = vec![format!("{} of at most {}", format(dataset), format_size(dataset.rules.max_size))];
    if dataset.rules.min_size == 0 {
        parts.push("may be empty".into());
    }
    if let Some(table) = table(dataset) {
        parts.push(encoding(table.encoding).into());
        let Dialect { delimiter: separator, quote, header } = table.dialect;
        parts.push(format!("cells separated by {}", delimiter(separator)));
        match quote {
            Some(b'"') => {}
            Some(other) => parts.push(format!("quoted with {}", char::from(other))),
            None => parts.push("without quotes".into()),
        }
        if !header {
            parts.push("without a header".into());
        }
    }
    let packing = packing(dataset);
    if !packing.is_empty() {
        parts.push(format!("or packed with {}", packing.join(" or ")));
    }
    parts.join(", ")
}

/// One line of what the columns are: `18 fields, 10 required, primary key Activity ID`; none without a schema.
pub fn columns(dataset: &Dataset) -> Option<String> {
    let schema = schema(dataset)?;
    let names = |key: &[usize]| {
        let names = key.iter().filter_map(|index| schema.fields.get(*index)).map(|field| field.name.as_str());
        names.collect::<Vec<_>>().join(" + ")
    };
    let required = schema.fields.iter().filter(|field| field.required).count();
    let mut parts = vec![count(schema.fields.len(), "field"), format!("{required} required")];
    if schema.fields_match != FieldsMatch::Exact {
        parts.push(format!("match {}", format!("{:?}", schema.fields_match).to_lowercase()));
    }
    if !schema.primary_key.is_empty() {
        parts.push(format!("primary key {}", names(&schema.primary_key)));
    }
    let unique = schema.fields.iter().filter(|field| field.unique).map(|field| field.name.clone());
    let unique: Vec<String> = unique.chain(schema.unique_keys.iter().map(|key| names(key))).collect();
    if !unique.is_empty() {
        parts.push(format!("unique {}", unique.join(", ")));
    }
    for key in &schema.foreign_keys {
        let codes = count(key.codes.rows.len(), "code");
        parts.push(format!("{} in {}.csv ({codes})", names(&key.fields), key.resource));
    }
    Some(parts.join(", "))
}

/// Everything but fields, rules and policy, as names and words.
pub fn lines(dataset: &Dataset) -> Vec<(&'static str, String)> {
    let mut lines = vec![("file", file(dataset))];
    if let Some(name) = pattern(dataset) {
        lines.push(("pattern", name.to_owned()));
    }
    if let Some(hint) = &dataset.rules.name_hint {
        lines.push(("named", hint.clone()));
    }
    if let Some(columns) = columns(dataset) {
        lines.push(("columns", columns));
    }
    let rejected = match dataset.on_reject {
        OnReject::Discard => "discarded",
        OnReject::Quarantine => "quarantined",
    };
    lines.push(("rejected", rejected.into()));
    lines.push(("repeated", severity(dataset.repeated).into()));
    match &dataset.complete {
        Completion::Close => {}
        Completion::Companion => lines.push(("complete", "when a companion has come".into())),
        Completion::Marker(marker) => lines.push(("complete", format!("when {} has come", marker.of("NAME")))),
    }
    lines.push(("interrupted", severity(dataset.interrupted).into()));
    lines.push(("scan", if dataset.scan { "required" } else { "off" }.into()));
    let companions = companions(dataset);
    if !companions.is_empty() {
        let must = if dataset.companion.required { "required: " } else { "may come before: " };
        lines.push(("companion", format!("{must}.{}", companions.join(", ."))));
    }
    lines
}

/// All of it.
pub fn json(dataset: &Dataset) -> Value {
    let schema = schema(dataset);
    let fields = schema.map(|schema| {
        let fields = schema.fields.iter();
        let field = |field: &crate::check::schema::Field| {
            json!({
                "name": field.name, "title": field.title, "description": field.description,
                "required": field.required, "unique": field.unique, "demands": field.describe(),
            })
        };
        fields.map(field).collect::<Vec<_>>()
    });
    let names = |key: &[usize]| -> Vec<&str> {
        let fields = schema.map_or(&[][..], |schema| &schema.fields[..]);
        key.iter().filter_map(|index| fields.get(*index)).map(|field| field.name.as_str()).collect()
    };
    let keys = |keys: &[Vec<usize>]| keys.iter().map(|key| json!(names(key))).collect::<Vec<_>>();
    let lists = schema.map(|schema| {
        let lists = schema.foreign_keys.iter();
        let list =
            lists.map(|key| json!({"fields": names(&key.fields), "list": key.resource, "codes": key.codes.rows.len()}));
        list.collect::<Vec<_>>()
    });
    json!({
        "name": dataset.name.as_str(),
        "title": dataset.title,
        "description": dataset.description,
        "format": format(dataset),
        "pattern": pattern(dataset),
        "name_hint": dataset.rules.name_hint,
        "allow_empty": dataset.rules.min_size == 0,
        "max_size_bytes": dataset.rules.max_size,
        "compression": packing(dataset),
        "encoding": table(dataset).map(|table| encoding(table.encoding)),
        "delimiter": table(dataset).map(|table| char::from(table.dialect.delimiter)),
        "quote": table(dataset).and_then(|table| table.dialect.quote).map(char::from),
        "header": table(dataset).map(|table| table.dialect.header),
        "schema": dataset.schema.as_ref().map(|path| path.to_string_lossy()),
        "fields": fields,
        "primary_key": schema.map(|schema| names(&schema.primary_key)),
        "unique_keys": schema.map(|schema| keys(&schema.unique_keys)),
        "code_lists": lists,
        "rules": rules(dataset),
        "policy_deviations": deviations(dataset),
        "on_reject": match dataset.on_reject { OnReject::Discard => "discard", OnReject::Quarantine => "quarantine" },
        "repeated": severity(dataset.repeated),
        "interrupted": severity(dataset.interrupted),
        "complete": match &dataset.complete {
            Completion::Close => "close",
            Completion::Companion => "companion",
            Completion::Marker(_) => "marker",
        },
        "marker": match &dataset.complete {
            Completion::Marker(marker) => Some(marker.of("{name}")),
            Completion::Close | Completion::Companion => None,
        },
        "scan": if dataset.scan { "required" } else { "off" },
        "companion": {"kinds": companions(dataset), "required": dataset.companion.required},
        "contract": dataset.contract.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(),
    })
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
