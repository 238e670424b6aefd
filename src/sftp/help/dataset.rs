//! What one dataset demands of a file, in plain words: form, name, size, content, companions, what becomes of it.
//!
//! Must never leave out a demand that can get a file rejected. Does no input or output. Called by `help`.

use std::fmt::Write as _;

use super::{habits, list, size, span, table};
use crate::config::{
    CompanionKind, Completion, Compression, Config, Dataset, Encoding, Format, OnReject, Org, Rules, Severity,
    TableRules,
};

pub(super) fn describe(text: &mut String, config: &Config, org: &Org, dataset: &Dataset) {
    let rules = &dataset.rules;
    let table = rules.table.as_deref();
    let _ = writeln!(text, "/{}/  {}", dataset.name, dataset.title);
    if !dataset.description.is_empty() {
        let _ = writeln!(text, "    {}", dataset.description.trim().replace('\n', "\n    "));
    }
    entry(text, "Format", &form(rules));
    if let Some(table) = table {
        entry(text, "Encoding", encoding(table));
    }
    entry(text, "Packed", &packed(rules));
    entry(text, "File name", &naming(rules));
    for part in parts(rules, org) {
        entry(text, "", &part);
    }
    entry(text, "Size", &sizes(rules));
    if let Some(table) = table {
        table::describe(text, table);
        habits::describe(text, &table.policy);
    }
    entry(text, "Same again", repeated(dataset.repeated));
    for line in companions(dataset) {
        entry(text, "Companion", &line);
    }
    entry(text, "Complete", &complete(dataset));
    entry(text, "Interrupted", interrupted(dataset.interrupted));
    entry(text, "Malware", &scan(config, dataset));
    entry(text, "If rejected", &rejected(dataset, org));
    entry(text, "Before sending", &precheck(dataset));
    text.push('\n');
}

/// `    Label           text`; nothing for no text. Further lines of the text stand under its first.
pub(super) fn entry(text: &mut String, label: &str, value: &str) {
    if !value.is_empty() {
        let _ = writeln!(text, "    {label:<16}{}", value.replace('\n', "\n                    "));
    }
}

fn form(rules: &Rules) -> String {
    let Some(table) = rules.table.as_deref().filter(|_| rules.format == Format::Csv) else {
        return match rules.format {
            Format::Csv => "CSV text (no spreadsheet, archive, document or program)".into(),
            Format::Opaque => "any file".into(),
        };
    };
    let dialect = &table.dialect;
    let delimiter = match dialect.delimiter {
        b',' => "commas".to_owned(),
        b';' => "semicolons (;)".to_owned(),
        b'\t' => "tabs".to_owned(),
        b'|' => "vertical bars (|)".to_owned(),
        other => format!("the character {:?}", char::from(other)),
    };
    let quote = match dialect.quote {
        Some(b'"') => "a cell with a comma, quote or line break stands in double quotes, quotes in it doubled"
            .replace("comma", if dialect.delimiter == b',' { "comma" } else { "delimiter" }),
        Some(other) => format!(
            "a cell with a delimiter, quote or line break stands between {:?}, which are doubled in it",
            char::from(other)
        ),
        None => "cells are never quoted: none can hold a delimiter or line break".to_owned(),
    };
    let header = if dialect.header { "the first row has the labels" } else { "there is no header row" };
    format!(
        "CSV text (no spreadsheet, archive, document or program), cells divided by {delimiter};\n{quote};\n{header}"
    )
}

fn encoding(table: &TableRules) -> &'static str {
    match table.encoding {
        Encoding::Utf8 => "UTF-8, with or without a byte order mark",
        Encoding::Windows1252 => "windows-1252 (Western European \"ANSI\"), not UTF-8",
        Encoding::Utf16 => "UTF-16 with a byte order mark, not UTF-8",
        Encoding::Utf16Le => "UTF-16, little-endian, not UTF-8",
        Encoding::Utf16Be => "UTF-16, big-endian, not UTF-8",
    }
}

fn packed(rules: &Rules) -> String {
    if rules.format == Format::Opaque {
        return String::new();
    }
    let endings: Vec<&str> = rules.compression.iter().map(|compression| ending(*compression)).collect();
    if endings.is_empty() {
        return "not taken: send the file itself".into();
    }
    format!(
        "may also be sent as {}, under its name with that added: one file in it, at most {} unpacked\n\
         and {} times as large as packed",
        list(&endings, "or"),
        size(rules.unpack.size),
        rules.unpack.ratio
    )
}

fn ending(compression: Compression) -> &'static str {
    match compression {
        Compression::Gzip => ".gz",
        Compression::Zip => ".zip",
    }
}

fn naming(rules: &Rules) -> String {
    match (&rules.name_hint, &rules.name, rules.format) {
        (Some(hint), ..) => hint.clone(),
        (None, Some(pattern), _) => format!("must match {}", pattern.as_str()),
        (None, None, Format::Csv) => "any that ends in .csv".into(),
        (None, None, Format::Opaque) => "any".into(),
    }
}

/// Parts of the name that are bound to the organisation's codes.
fn parts(rules: &Rules, org: &Org) -> Vec<String> {
    let names = rules.name.iter().flat_map(|pattern| pattern.capture_names()).flatten();
    let bound = names.filter_map(|part| Some((part, org.codes.get(part)?)));
    bound
        .map(|(part, codes)| {
            let codes: Vec<&String> = codes.iter().collect();
            format!("its part \"{part}\" must be {}", list(&codes, "or"))
        })
        .collect()
}

fn sizes(rules: &Rules) -> String {
    match rules.min_size {
        0 => format!("up to {}; empty files are taken", size(rules.max_size)),
        1 => format!("up to {}; empty files are rejected", size(rules.max_size)),
        least => format!("{} to {}", size(least), size(rules.max_size)),
    }
}

fn repeated(severity: Severity) -> &'static str {
    match severity {
        Severity::Accept => "",
        Severity::Flag => "a file with the same bytes as an accepted one is taken, with a remark",
        Severity::Reject => "a file with the same bytes as an accepted one is rejected",
    }
}

/// Nothing when a file is complete as soon as it is sent.
fn complete(dataset: &Dataset) -> String {
    match &dataset.complete {
        Completion::Close => String::new(),
        Completion::Companion => "a file waits until one of its companions has come, and is judged then".into(),
        Completion::Marker(marker) => {
            format!("a file waits until {} (of any content) is sent after it, and is judged then", marker.of("FILE"))
        }
    }
}

fn interrupted(severity: Severity) -> &'static str {
    match severity {
        // What is taken with a remark at most needs no preparation.
        Severity::Accept | Severity::Flag => "",
        Severity::Reject => {
            "a file that looks broken off (it ends with a full-size write) is rejected, unless it is renamed from a working \
             name such as FILE.part, or something beside it vouches for it"
        }
    }
}

fn companions(dataset: &Dataset) -> Vec<String> {
    let kinds = &dataset.companion.kinds;
    if kinds.is_empty() {
        return Vec::new();
    }
    let name = |kind: &CompanionKind| match kind {
        CompanionKind::Sha256 => "FILE.sha256",
        CompanionKind::Md5 => "FILE.md5",
        CompanionKind::Totals => "FILE.totals",
    };
    let names: Vec<&str> = kinds.iter().map(name).collect();
    let names = list(&names, "or");
    let mut lines = vec![match dataset.companion.required {
        _ if dataset.complete == Completion::Companion => format!("{names} must be sent, before the file or after it"),
        true => format!("{names} must be sent first: a file without is rejected"),
        false => format!("{names} may be sent first: then the file must agree with it"),
    }];
    if kinds.contains(&CompanionKind::Sha256) || kinds.contains(&CompanionKind::Md5) {
        lines.push("checksums as sha256sum and md5sum write them, or the digest alone".into());
    }
    if kinds.contains(&CompanionKind::Totals) {
        lines.push(
            "totals: a line \"rows = 1234\", and lines \"sum LABEL = 56.70\" for the columns that are summed".into(),
        );
    }
    lines
}

fn scan(config: &Config, dataset: &Dataset) -> String {
    match &config.scan {
        Some(scan) if dataset.scan => format!(
            "every file is scanned; one of more than {} cannot be, and is rejected",
            size(scan.max_size.min(dataset.rules.max_size))
        ),
        _ => String::new(),
    }
}

fn rejected(dataset: &Dataset, org: &Org) -> String {
    match dataset.on_reject {
        OnReject::Discard => "nothing of the file is kept, only the report".into(),
        OnReject::Quarantine => format!(
            "the file is kept, sealed, for {} for the data team to look at; it is never loaded",
            span(org.retention.quarantined)
        ),
    }
}

fn precheck(dataset: &Dataset) -> String {
    let toml = format!("{}.toml", dataset.name);
    match dataset.contract.iter().any(|file| file.name == toml) {
        true => format!("get the files in /contract/, then: nightsafe precheck --dataset {toml} FILE"),
        false => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::{config, dataset, org};
    use super::*;
    use crate::config::{ClamdAddress, Companion, ContractFile, Dialect, Marker, ScanSettings};

    fn words(change: impl FnOnce(&mut Dataset, &mut Org, &mut Config)) -> String {
        let (mut dataset, mut org, mut config) = (dataset("ims-interventions", "IMS"), org(), config());
        change(&mut dataset, &mut org, &mut config);
        let mut text = String::new();
        describe(&mut text, &config, &org, &dataset);
        text
    }

    fn table(rules: TableRules) -> Option<Arc<TableRules>> {
        Some(Arc::new(rules))
    }

    #[track_caller]
    fn says(text: &str, parts: &[&str]) {
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }

    #[test]
    fn a_plain_dataset_says_little() {
        let text = words(|_, _, _| {});
        says(&text, &["AGENCY_YYYY-MM.csv", "Packed          not taken", "nothing of the file is kept"]);
        for absent in ["Malware", "Companion", "Encoding", "Columns", "precheck", "Strictness"] {
            assert!(!text.contains(absent), "{absent} is in:\n{text}");
        }
    }

    #[test]
    fn what_is_not_the_default_is_said() {
        let text = words(|dataset, org, config| {
            let dialect = Dialect { delimiter: b'\t', quote: None, header: false };
            let encoding = Encoding::Windows1252;
            dataset.rules.table = table(TableRules { encoding, dialect, ..TableRules::default() });
            dataset.rules.compression = vec![Compression::Gzip, Compression::Zip];
            dataset.rules.name = Some(regex::Regex::new("^(?P<agency>[A-Z]+)_(?P<period>[0-9]+)$").unwrap());
            org.codes.insert("agency".into(), ["LIV0124".into(), "LIV0123".into()].into());
            org.codes.insert("other".into(), ["X".into()].into());
            dataset.companion =
                Companion { kinds: [CompanionKind::Sha256, CompanionKind::Totals].into(), required: true };
            let clamd = ClamdAddress::Path("/c".into());
            config.scan = Some(ScanSettings { clamd, max_size: 25 << 20, timeout: std::time::Duration::ZERO });
            dataset.scan = true;
            dataset.repeated = Severity::Reject;
            dataset.interrupted = Severity::Reject;
            dataset.complete = Completion::Marker(Marker { before: String::new(), after: ".done".into() });
            dataset.on_reject = OnReject::Quarantine;
            dataset.contract = vec![ContractFile { name: "ims-interventions.toml".into(), content: "".into() }];
        });
        says(
            &text,
            &[
                "divided by tabs",
                "never quoted",
                "no header row",
                "windows-1252",
                "as .gz or .zip, under its name",
                "at most 2 GiB unpacked",
                "its part \"agency\" must be LIV0123 or LIV0124",
                "same bytes as an accepted one is rejected",
                "waits until FILE.done (of any content)",
                "looks broken off",
                "FILE.sha256 or FILE.totals must be sent first",
                "sha256sum",
                "rows = 1234",
                "more than 25 MiB cannot be",
                "kept, sealed, for 30 days",
                "nightsafe precheck --dataset ims-interventions.toml FILE",
            ],
        );
        assert!(!text.contains("\"other\""), "a code that binds no part of this name:\n{text}");
    }
}
