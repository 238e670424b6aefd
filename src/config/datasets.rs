//! `datasets/<dataset>.toml` and the schemas beside them.
//!
//! Reads; what a dataset's rules mean is `check`'s. Called by [`super::load`].

use std::collections::BTreeMap;
use std::path::Path;

use regex::RegexBuilder;
use toml::de::DeValue;

use super::diagnostic::{Diagnostic, Findings};
use super::model::Dataset;
use super::section::{Section, Wrong, document};
use super::source::{Source, absolute, tidy};
use super::value::{boolean, choice, line, prose, size, text};
use crate::check::{Format, Rules};
use crate::types::{DatasetName, Sha256};

/// 20 GiB.
const MAX_SIZE: u64 = 20 << 30;
/// Beyond it, no disk here would take the file: 1 PiB.
const LARGEST: u64 = 1 << 50;
/// Bytes of a compiled file name pattern.
const PATTERN_MAX: usize = 1 << 20;

/// A dataset, and what its schema's content was.
pub(super) struct Read {
    pub dataset: Dataset,
    pub schema: Option<Sha256>,
}

/// Reads one file. It always gives a dataset, so that what names it elsewhere is no second fault.
pub(super) fn read(source: &Source, name: DatasetName, findings: &Findings) -> Read {
    let mut read = Read { dataset: Dataset::of(name, Rules::of(Format::Csv, MAX_SIZE)), schema: None };
    let Some(table) = document(source, findings) else { return read };
    let mut file = Section::root(source, findings, &table);
    let dataset = &mut read.dataset;
    if let Some(title) = file.required("title", "title = \"...\"", line) {
        dataset.title = title.value;
    }
    dataset.description = file.or("description", String::new(), prose);
    dataset.rules.format = file.or("format", Format::Csv, choice(&[("csv", Format::Csv), ("opaque", Format::Opaque)]));
    dataset.rules.name = file.optional("name", pattern).map(|at| at.value);
    dataset.rules.name_hint = file.optional("name_hint", line).map(|at| at.value);
    dataset.rules.min_size = u64::from(!file.or("allow_empty", false, boolean));
    dataset.rules.max_size = file.or("max_size", MAX_SIZE, size(1..=LARGEST));
    let schema = file.optional("schema", |value| Ok(text(value)?.to_owned()));
    if let Some(schema) = &schema {
        let path = tidy(&source.path.parent().unwrap_or(Path::new(".")).join(&schema.value));
        let span = Some(schema.span.clone());
        if dataset.rules.format == Format::Opaque {
            file.error(
                span,
                "schema: an opaque dataset has no columns to describe",
                "take schema away, or write format = \"csv\"",
            );
        } else {
            let before = findings.errors();
            match Source::open(&path, findings) {
                Some(schema) => {
                    check_schema(&schema, findings);
                    read.schema = Some(digest(&schema.text));
                    dataset.schema = Some(absolute(&path));
                }
                None if findings.errors() == before => file.error(
                    span,
                    format!("schema: there is no file {}", path.display()),
                    "put a Table Schema (JSON) there; the path is relative to this folder",
                ),
                None => {}
            }
        }
    }
    file.finish();
    read
}

fn digest(text: &str) -> Sha256 {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    Sha256(bytes)
}

/// A pattern for the whole of a file name, anchored at both ends.
fn pattern(value: &DeValue<'_>) -> Result<regex::Regex, Wrong> {
    let text = text(value)?;
    let compile = |pattern: &str| RegexBuilder::new(pattern).size_limit(PATTERN_MAX).build();
    // Alone first: "a)(b" must not become a pattern by the parentheses around it.
    compile(text).and_then(|_| compile(&format!("^(?:{text})$"))).map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
        let help =
            "write a regular expression for the whole name; in double quotes a dot is \\\\., in single quotes \\.";
        Wrong::new(format!("not a pattern: {reason}"), help)
    })
}

/// A schema must be a JSON object whose `fields` are objects with names of their own (Table Schema, "fields").
fn check_schema(source: &Source, findings: &Findings) {
    let fault = |span, message: String, help: &str| findings.error(source.at(span, message, help));
    let schema: serde_json::Value = match serde_json::from_str(&source.text) {
        Ok(schema) => schema,
        Err(error) => {
            let at = source.offset(error.line(), error.column());
            let reason = error.to_string();
            let reason = reason.split(" at line ").next().unwrap_or_default();
            return fault(
                at..at + 1,
                format!("not JSON: {reason}"),
                "a schema is a JSON object with a \"fields\" array",
            );
        }
    };
    let Some(fields) = schema.get("fields").and_then(serde_json::Value::as_array) else {
        return findings.error(Diagnostic::of_file(
            &source.path,
            "the schema has no \"fields\" array",
            "list the columns: {\"fields\": [{\"name\": \"...\", \"type\": \"string\"}]}",
        ));
    };
    if fields.is_empty() {
        findings.error(Diagnostic::of_file(&source.path, "the schema's \"fields\" are empty", "list the columns"));
    }
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, field) in fields.iter().enumerate() {
        let Some(name) = field.get("name").and_then(serde_json::Value::as_str).filter(|name| !name.is_empty()) else {
            let message = format!("field {} of the schema has no name", index + 1);
            findings.error(Diagnostic::of_file(
                &source.path,
                message,
                "give each field a \"name\", the column's heading",
            ));
            continue;
        };
        let times = seen.entry(name).or_default();
        *times += 1;
        if *times > 1 {
            let span = name_value(&source.text, name, *times).unwrap_or(0..0);
            fault(span, format!("the field {name:?} is there twice"), "give each field a name of its own");
        }
    }
}

/// Where the `nth` `"name": NAME` of a JSON text has its value; the parsed form has lost the places.
fn name_value(text: &str, name: &str, nth: usize) -> Option<std::ops::Range<usize>> {
    let wanted = serde_json::to_string(name).ok()?;
    let values = text.match_indices("\"name\"").filter_map(|(at, key)| {
        let after = &text[at + key.len()..];
        let value = after.trim_start().strip_prefix(':')?.trim_start();
        let start = text.len() - value.len();
        value.starts_with(&wanted).then(|| start..start + wanted.len())
    });
    values.into_iter().nth(nth - 1)
}
