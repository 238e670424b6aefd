//! A dataset's Table Schema: found beside its TOML, read by `check`, its code lists loaded.
//!
//! Called by [`super::read`].

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::diagnostic::{Diagnostic, Findings};
use super::super::section::{At, Section};
use super::super::source::{Source, tidy};
use super::codes;
use super::contract::List;
use crate::check::schema::{Schema, SchemaFault};

/// Most bytes of a code list.
const LIST_MAX: u64 = 16 << 20;

/// A schema's file.
pub(super) struct Found {
    pub source: Source,
}

/// A schema that can be used.
pub(super) struct Read {
    pub schema: Schema,
    pub lists: Vec<List>,
}

/// Opens the file that `schema = "..."` names. None when it cannot be read, which was said.
pub(super) fn find(file: &Section<'_>, dataset: &Source, at: &At<String>) -> Option<Found> {
    let path = tidy(&dataset.path.parent().unwrap_or(Path::new(".")).join(&at.value));
    let before = file.findings().errors();
    let source = Source::open(&path, file.findings());
    if source.is_none() && file.findings().errors() == before {
        file.error(
            Some(at.span.clone()),
            format!("schema: there is no file {}", path.display()),
            "put a Table Schema (JSON) there; the path is relative to this folder",
        );
    }
    Some(Found { source: source? })
}

/// Reads it, and the code lists that it refers to.
pub(super) fn read(found: &Found, findings: &Findings) -> Option<Read> {
    let source = &found.source;
    let told = |fault: &SchemaFault| source.at(fault.span.clone(), fault.message.clone(), fault.help.clone());
    let mut schema = match Schema::read(&source.text) {
        Ok((schema, warnings)) => {
            warnings.iter().for_each(|warning| findings.warning(told(warning)));
            schema
        }
        Err(faults) => {
            for fault in &faults {
                if fault.warning { findings.warning(told(fault)) } else { findings.error(told(fault)) }
            }
            // A reader that refuses without a reason must not pass for one that found nothing wrong.
            if faults.iter().all(|fault| fault.warning) {
                let message = "the schema cannot be used";
                findings.error(Diagnostic::of_file(&source.path, message, "look at its warnings"));
            }
            return None;
        }
    };
    let before = findings.errors();
    let mut files: BTreeMap<String, Option<Source>> = BTreeMap::new();
    for key in &mut schema.foreign_keys {
        let span = resources(&source.text, &key.resource).next();
        let list =
            files.entry(key.resource.clone()).or_insert_with(|| open(source, &key.resource, span.clone(), findings));
        let Some(list) = list else { continue };
        if let Some(codes) = codes::read(list, &key.reference, findings) {
            key.codes = Arc::new(codes);
        }
    }
    let lists = files.into_iter().filter_map(|(resource, list)| Some(List { resource, text: list?.text.into() }));
    let lists = lists.collect();
    (findings.errors() == before).then_some(Read { schema, lists })
}

fn open(schema: &Source, resource: &str, span: Option<Range<usize>>, findings: &Findings) -> Option<Source> {
    let fault = |message: String, help: &str| {
        findings.error(match span.clone() {
            Some(span) => schema.at(span, message, help),
            None => Diagnostic::of_file(&schema.path, message, help),
        });
    };
    let Some(path) = code_list(&schema.path, resource) else {
        let message = format!("{resource:?} is not the name of a code list");
        fault(
            message,
            "write letters, digits, dots, hyphens and underscores: \"practices\" is the file practices.csv beside the schema",
        );
        return None;
    };
    let before = findings.errors();
    let list = Source::open_up_to(LIST_MAX, &path, findings);
    if list.is_none() && findings.errors() == before {
        fault(format!("there is no code list {}", path.display()), "put a CSV file with a header there, in UTF-8");
    }
    list
}

/// The file of a code list; none when the name could lead elsewhere.
pub(in crate::config) fn code_list(schema: &Path, resource: &str) -> Option<PathBuf> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let good =
        !resource.is_empty() && resource.len() <= 100 && !resource.starts_with('.') && resource.chars().all(plain);
    good.then(|| schema.with_file_name(format!("{resource}.csv")))
}

/// Where a schema's text refers to a code list: the bytes of each value, quotes and all. In a JSON text the characters
/// `"resource": "x"` can only be that: inside a text its quotes would be escaped.
pub(super) fn resources<'a>(text: &'a str, resource: &str) -> impl Iterator<Item = Range<usize>> + use<'a> {
    let wanted = serde_json::Value::from(resource).to_string();
    text.match_indices("\"resource\"").filter_map(move |(at, key)| {
        let value = text[at + key.len()..].trim_start().strip_prefix(':')?.trim_start();
        let start = text.len() - value.len();
        value.starts_with(&wanted).then(|| start..start + wanted.len())
    })
}
