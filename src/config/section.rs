//! Tables of a TOML file, read key by key: each value with its place, each fault to the findings, unknown keys refused.
//!
//! Knows TOML and its types, not what any key means. A reader asks for every key that it knows and then calls
//! [`Section::finish`]; a value that is wrong reads as absent, and the finding keeps the configuration from being used.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Findings, nearest};
use super::source::Source;
use crate::types::Invalid;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub value: T,
    pub span: Range<usize>,
}

/// A table of the operator's own words, with their values.
pub(super) type Entries<T> = At<Vec<(At<String>, T)>>;

/// Why a value is not what its key wants.
#[derive(Debug)]
pub(super) struct Wrong {
    pub message: String,
    pub help: String,
}

impl Wrong {
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

/// The vocabulary's errors say what is wrong, a colon, and what to write instead.
impl From<Invalid> for Wrong {
    fn from(Invalid(text): Invalid) -> Self {
        let from = text.find(" is not ").unwrap_or(0);
        match text[from..].find(": ") {
            Some(at) => Self::new(&text[..from + at], &text[from + at + 2..]),
            None => Self::new(text, ""),
        }
    }
}

/// Parses the file. None when it is not TOML: its faults are found, and what else it says would only mislead.
pub(super) fn document<'a>(source: &'a Source, findings: &Findings) -> Option<Spanned<DeTable<'a>>> {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    let mut last_line = 0;
    let mut good = true;
    for error in errors {
        good = false;
        let fault = source.at(error.span().unwrap_or(0..0), format!("not TOML: {}", error.message()), "");
        // A second fault on a line is mostly the first one's echo.
        if fault.line == last_line {
            continue;
        }
        last_line = fault.line;
        let help = syntax_help(&fault.source, error.message());
        findings.error(Diagnostic { help, ..fault });
    }
    good.then_some(table)
}

fn syntax_help(line: &str, message: &str) -> String {
    if message.contains("duplicate") {
        return "keep one of the two".into();
    }
    match line.split_once('=') {
        Some((key, value)) if !value.trim().is_empty() && !value.contains(['"', '\'', '[', '{']) => {
            format!("texts stand in double quotes: {} = \"{}\"", key.trim(), value.trim())
        }
        _ => "write key = value, with texts in double quotes, lists in [ ], and tables under a [header]".into(),
    }
}

/// One table.
pub(super) struct Section<'a> {
    source: &'a Source,
    findings: &'a Findings,
    /// As the file writes its header, such as `[limits]`; empty for the file itself.
    name: String,
    /// What to point at when a key is missing; none for the file itself and for a table that is not there.
    span: Option<Range<usize>>,
    table: Option<&'a DeTable<'a>>,
    /// Stands there but is no table: that was said, and missing keys need not be.
    broken: bool,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub fn root(source: &'a Source, findings: &'a Findings, table: &'a Spanned<DeTable<'a>>) -> Self {
        Self {
            source,
            findings,
            name: String::new(),
            span: None,
            table: Some(table.get_ref()),
            broken: false,
            known: Vec::new(),
        }
    }

    /// The place of the table, for a fault of the whole of it.
    pub fn error(&self, span: Option<Range<usize>>, message: impl Into<String>, help: impl Into<String>) {
        self.findings.error(self.diagnostic(span, message, help));
    }

    pub fn warning(&self, span: Option<Range<usize>>, message: impl Into<String>, help: impl Into<String>) {
        self.findings.warning(self.diagnostic(span, message, help));
    }

    fn diagnostic(
        &self,
        span: Option<Range<usize>>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Diagnostic {
        match span.or_else(|| self.span.clone()) {
            Some(span) => self.source.at(span, message, help),
            None => Diagnostic::of_file(&self.source.path, message, help),
        }
    }

    fn find(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.look(key)
    }

    /// The value of `key` as `parse` reads it.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&DeValue<'a>) -> Result<T, Wrong>,
    ) -> Option<At<T>> {
        let found = self.find(key)?;
        self.take(key, found, parse)
    }

    /// As [`Section::optional`]; its absence is a fault. `example` is a line to add.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&DeValue<'a>) -> Result<T, Wrong>,
    ) -> Option<At<T>> {
        let found = self.find(key);
        if found.is_none() {
            self.missing(key, example);
        }
        self.take(key, found?, parse)
    }

    /// As [`Section::optional`], with a default.
    pub fn or<T>(&mut self, key: &'static str, default: T, parse: impl FnOnce(&DeValue<'a>) -> Result<T, Wrong>) -> T {
        self.optional(key, parse).map_or(default, |at| at.value)
    }

    /// The items of a list; each wrong one is a fault of its own and is left out.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        mut parse: impl FnMut(&DeValue<'a>) -> Result<T, Wrong>,
    ) -> Option<At<Vec<At<T>>>> {
        let found = self.find(key)?;
        let DeValue::Array(items) = found.get_ref() else {
            let help = format!("write it in brackets: {key} = [...]");
            self.error(Some(found.span()), format!("{key} is {}, not a list", kind(found.get_ref())), help);
            return None;
        };
        let value = items.iter().filter_map(|item| self.take(key, item, &mut parse)).collect();
        Some(At { value, span: found.span() })
    }

    /// A table whose keys are the operator's own words: each with its value, in the order of the file.
    pub fn entries<T>(
        &mut self,
        key: &'static str,
        mut parse: impl FnMut(&DeValue<'a>) -> Result<T, Wrong>,
    ) -> Option<Entries<T>> {
        let found = self.find(key)?;
        let DeValue::Table(table) = found.get_ref() else {
            let help = format!("write it in braces: {key} = {{ \"...\" = ... }}");
            self.error(Some(found.span()), format!("{key} is {}, not a table", kind(found.get_ref())), help);
            return None;
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let read = entries.into_iter().filter_map(|(name, value)| {
            let word = name.get_ref().to_string();
            let read = self.take(&format!("{key}.{word}"), value, &mut parse)?;
            Some((At { value: word, span: name.span() }, read.value))
        });
        let value = read.collect();
        Some(At { value, span: found.span() })
    }

    /// The table under `key`; an empty one when it is not there.
    pub fn table(&mut self, key: &'static str) -> Section<'a> {
        let name = self.below(key, "[", "]");
        let found = self.find(key);
        self.section(name, found)
    }

    /// The tables of an array of tables.
    pub fn tables(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let name = self.below(key, "[[", "]]");
        match self.find(key) {
            None => Vec::new(),
            Some(found) => match found.get_ref() {
                DeValue::Array(items) => items.iter().map(|item| self.section(name.clone(), Some(item))).collect(),
                _ => {
                    self.error(Some(found.span()), format!("{key} is a single table"), format!("write {name}"));
                    Vec::new()
                }
            },
        }
    }

    /// Faults the keys that nobody asked for.
    pub fn finish(self) {
        for (key, _) in self.table.into_iter().flat_map(DeTable::iter) {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let place = if self.name.is_empty() { String::new() } else { format!(" in {}", self.name) };
            let help = nearest(name, self.known.iter().copied());
            self.error(Some(key.span()), format!("unknown key {name:?}{place}"), help);
        }
    }

    /// That `key` must be there.
    pub fn missing(&self, key: &str, example: &str) {
        if self.broken {
            return;
        }
        let under = if self.name.is_empty() { String::new() } else { format!(" under {}", self.name) };
        self.error(None, format!("{key} is missing{under}"), format!("add {example}"));
    }

    /// As [`Section::missing`], but not where the key stands with a value that was refused.
    pub fn absent(&self, key: &str, example: &str) {
        if self.stands(key).is_none() {
            self.missing(key, example);
        }
    }

    /// Where the table stands; none for the file itself and for a table that is not there.
    pub fn place(&self) -> Option<Range<usize>> {
        self.span.clone()
    }

    /// Where faults go, for a reader of another file that this one leads to.
    pub fn findings(&self) -> &'a Findings {
        self.findings
    }

    /// No key of this table is unknown: what it is could not be told.
    pub fn know_all(&mut self) {
        self.table = None;
    }

    /// Whether the table stands in the file, and is one.
    pub fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// Where the value of `key` stands, right or wrong.
    pub fn stands(&self, key: &str) -> Option<Range<usize>> {
        self.look(key).map(Spanned::span)
    }

    /// How many items the list `key` has, right or wrong.
    pub fn items(&self, key: &str) -> usize {
        match self.look(key).map(Spanned::get_ref) {
            Some(DeValue::Array(items)) => items.len(),
            _ => 0,
        }
    }

    fn look(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table?.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    fn take<T>(
        &self,
        key: &str,
        found: &'a Spanned<DeValue<'a>>,
        parse: impl FnOnce(&DeValue<'a>) -> Result<T, Wrong>,
    ) -> Option<At<T>> {
        match parse(found.get_ref()) {
            Ok(value) => Some(At { value, span: found.span() }),
            Err(wrong) => {
                self.error(Some(found.span()), format!("{key}: {}", wrong.message), wrong.help);
                None
            }
        }
    }

    fn below(&self, key: &str, open: &str, close: &str) -> String {
        let outer = self.name.trim_matches(['[', ']']);
        let dot = if outer.is_empty() { "" } else { "." };
        format!("{open}{outer}{dot}{key}{close}")
    }

    fn section(&self, name: String, found: Option<&'a Spanned<DeValue<'a>>>) -> Section<'a> {
        let table = match found.map(Spanned::get_ref) {
            Some(DeValue::Table(table)) => Some(table),
            Some(other) => {
                let help = format!("write it under a header of its own: {name}");
                self.error(found.map(Spanned::span), format!("{name} is {}, not a table", kind(other)), help);
                None
            }
            None => None,
        };
        let broken = found.is_some() && table.is_none();
        let span = found.map(Spanned::span);
        Section { source: self.source, findings: self.findings, name, span, table, broken, known: Vec::new() }
    }
}

/// What a value is, in words.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
