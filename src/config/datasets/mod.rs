//! `datasets/<dataset>.toml`, with the schema and the code lists beside it.
//!
//! Reads; what a dataset's rules mean is `check`'s. Must never let through what cannot be obeyed, nor a combination that
//! says one thing and does another. Called by [`super::load`]; `table` reads how rows are told apart and how strictly they
//! are judged, `rules` what is demanded beyond the schema, `schema` and `codes` the files beside, `companion` the small
//! files that vouch for an extract, `completion` when it is whole, `contract` makes of all this what providers may read.

mod codes;
mod companion;
mod completion;
mod contract;
mod rules;
mod schema;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use regex::RegexBuilder;
use toml::de::DeValue;

use super::diagnostic::Findings;
use super::model::{Companion, CompanionKind, Completion, ContractFile, Dataset, Marker, OnReject};
use super::section::{At, Section, Wrong, document};
use super::source::{Source, absolute};
use super::units::format_size;
use super::value::{boolean, choice, line, prose, size, text};
use crate::check::{Compression, Format, Rules, Severity, UnpackLimits};
use crate::types::{DatasetName, Sha256};
pub(super) use contract::{Contract, unite};
pub(super) use schema::code_list;

/// 20 GiB.
const MAX_SIZE: u64 = 20 << 30;
/// Beyond it, no disk here would take the file: 1 PiB.
const LARGEST: u64 = 1 << 50;
/// Bytes of a compiled file name pattern.
const PATTERN_MAX: usize = 1 << 20;

pub(super) const SEVERITIES: [(&str, Severity); 3] =
    [("accept", Severity::Accept), ("flag", Severity::Flag), ("reject", Severity::Reject)];

/// What a dataset is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A gateway whose clamd scans files up to this size whole; none is no `[scan]`.
    Gateway { scans: Option<u64> },
    /// By itself: what a gateway has is unknown, and need not be known.
    Alone,
}

/// A dataset, what its schema's content was, and what providers may read of it.
pub(super) struct Read {
    pub dataset: Dataset,
    pub schema: Option<Sha256>,
    pub contract: Contract,
}

/// Reads one file. It always gives a dataset, so that what names it elsewhere is no second fault.
pub(super) fn read(source: &Source, name: DatasetName, place: Place, findings: &Findings) -> Read {
    let contract = Contract::of(&name);
    let mut read = Read { dataset: Dataset::of(name, Rules::of(Format::Csv, MAX_SIZE)), schema: None, contract };
    let Some(table) = document(source, findings) else { return read };
    let before = findings.errors();
    let mut file = Section::root(source, findings, &table);
    let dataset = &mut read.dataset;
    if let Some(title) = file.required("title", "title = \"...\"", line) {
        dataset.title = title.value;
    }
    dataset.description = file.or("description", String::new(), prose);
    let format = file.optional("format", choice(&[("csv", Format::Csv), ("opaque", Format::Opaque)]));
    // A format that was refused says nothing of which other keys are out of place.
    let unknown = format.is_none() && file.stands("format").is_some();
    let format = format.map_or(Format::Csv, |at| at.value);
    dataset.rules.format = format;
    let pattern_at = file.optional("name", pattern);
    dataset.rules.name = pattern_at.as_ref().map(|at| at.value.clone());
    dataset.rules.name_hint = file.optional("name_hint", line).map(|at| at.value);
    dataset.rules.min_size = u64::from(!file.or("allow_empty", false, boolean));
    let max_size = file.optional("max_size", size(1..=LARGEST));
    dataset.rules.max_size = max_size.as_ref().map_or(MAX_SIZE, |at| at.value);
    dataset.rules.unpack.size = dataset.rules.max_size;
    let on_reject = [("discard", OnReject::Discard), ("quarantine", OnReject::Quarantine)];
    dataset.on_reject = file.or("on_reject", OnReject::Discard, choice(&on_reject));
    dataset.repeated = file.or("repeated", Severity::Flag, choice(&SEVERITIES));
    completion::read(&mut file, dataset);
    dataset.scan = scan(&mut file, place, max_size.as_ref(), dataset.rules.max_size);

    let opaque = format == Format::Opaque && !unknown;
    if opaque {
        refuse_what_needs_rows(&file);
    }
    let (mut table, unpack) = table::read(&mut file, dataset.rules.unpack);
    let compression = compression(&mut file, unpack);
    let specs = rules::read(&mut file);
    let (companion, kinds) = companion::read(&mut file);
    let schema = file.optional("schema", |value| Ok(text(value)?.to_owned()));
    if !opaque {
        dataset.rules.unpack = unpack.limits;
        if let (true, Place::Gateway { scans: Some(scanned) }) = (dataset.scan, place) {
            // clamd unpacks for itself, within limits of its own: past them it may call clean what it left out.
            dataset.rules.unpack.size = dataset.rules.unpack.size.min(scanned);
        }
        dataset.rules.compression = compression;
        let found = schema.as_ref().and_then(|at| schema::find(&file, source, at));
        let good = schema.is_none() == found.is_none() && file.stands("schema").is_some() == schema.is_some();
        if let Some(found) = found {
            read.schema = Some(digest(&found.source.text));
            dataset.schema = Some(absolute(&found.source.path));
            let read_schema = schema::read(&found, findings);
            read.contract.schema =
                Some((found.source, read_schema.as_ref().map_or_else(Vec::new, |read| read.lists.clone())));
            table.schema = read_schema.map(|read| read.schema);
        }
        table::look(&file, &table);
        // Rules against half a schema would only mislead.
        if good && table.schema.is_some() == schema.is_some() {
            table.rules = rules::compile(&file, &specs, &table, pattern_at.as_ref());
        }
        dataset.rules.table = Some(Arc::new(table));
    }
    companion::look(&file, &companion, kinds, dataset, specs.totals());
    dataset.companion = companion;
    if dataset.rules.name.is_some() || file.stands("name").is_none() {
        completion::look(&file, dataset, |before, after| companion::takes(dataset, before, after));
    }
    file.finish();
    // A TOML with faults is never shown to anyone.
    read.contract.toml = (findings.errors() == before).then(|| source.text.clone());
    read
}

/// The parts that a dataset's file names have.
pub(super) fn parts(dataset: &Dataset) -> BTreeSet<String> {
    let names = dataset.rules.name.iter().flat_map(|pattern| pattern.capture_names().flatten());
    names.map(str::to_owned).collect()
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

/// Whether clamd must have called an upload clean.
fn scan(file: &mut Section<'_>, place: Place, max_size: Option<&At<u64>>, most: u64) -> bool {
    let asked = file.optional("scan", choice(&[("required", true), ("off", false)]));
    let Place::Gateway { scans } = place else { return asked.is_some_and(|at| at.value) };
    match (asked, scans) {
        (Some(At { value: true, span }), None) => {
            let help = "say in nightsafe.toml where clamd listens: [scan] with clamd = \"/run/clamav/clamd.ctl\"; or write scan = \"off\"";
            file.error(Some(span), "scan: no scanner is configured, so nothing could be accepted", help);
            true
        }
        (Some(At { value: false, .. }), _) | (None, None) => false,
        (Some(At { value: true, .. }) | None, Some(scanned)) => {
            if let Some(at) = max_size.filter(|_| most > scanned) {
                let (most, scanned) = (format_size(most), format_size(scanned));
                let message = format!("max_size is {most}, but what clamd cannot scan whole is refused: {scanned}");
                let help = "raise max_size in [scan] and clamd's own limits with it, or write scan = \"off\"";
                file.warning(Some(at.span.clone()), message, help);
            }
            true
        }
    }
}

/// Keys that only make sense for rows and columns.
fn refuse_what_needs_rows(file: &Section<'_>) {
    let keys = [
        ("schema", "columns to describe"),
        ("encoding", "text"),
        ("compression", "table inside"),
        ("dialect", "cells"),
        ("limits", "rows or columns"),
        ("policy", "rows or cells"),
        ("rows", "rows"),
        ("totals", "columns"),
        ("forbidden_columns", "columns"),
        ("rules", "columns"),
    ];
    for (key, what) in keys {
        if let Some(span) = file.stands(key) {
            let help = format!("take {key} away, or write format = \"csv\"");
            file.error(Some(span), format!("{key}: an opaque dataset has no {what}"), help);
        }
    }
}

/// What is opened by the ending of its name; gzip and zip when nothing is said.
fn compression(file: &mut Section<'_>, unpack: table::Unpacking) -> Vec<Compression> {
    let kinds = [("gzip", Compression::Gzip), ("zip", Compression::Zip)];
    let Some(list) = file.list("compression", choice(&kinds)) else { return kinds.map(|(_, kind)| kind).to_vec() };
    let mut compression = Vec::new();
    for At { value, span } in list.value {
        if compression.contains(&value) {
            file.error(Some(span), "compression: the same kind twice", "list each once");
        }
        compression.push(value);
    }
    if compression.is_empty() && unpack.said {
        let message = "compression is empty, so limits.unpacked and limits.ratio mean nothing";
        file.error(Some(list.span), message, "take the two away, or write compression = [\"gzip\", \"zip\"]");
    }
    compression
}
