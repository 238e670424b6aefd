//! What was found in an extract: errors and flags, counted by rule and column, with the first rows of each. Never a value
//! of a cell.
//!
//! [`Report`] is what receipts and reports carry; [`Collector`] is how it comes to be, bounded whatever the bytes. A
//! message is made from the rule and the field alone, so none can hold a cell's content. Filled by the demands of this
//! room; shown by `audit`, `sftp`, `cli`.

mod sentences;

use std::borrow::Cow;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Severity;

/// What kind of error it is; names of Frictionless' errors (https://framework.frictionlessdata.io/docs/errors/), as
/// far as there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorType {
    /// The bytes are not what the dataset takes: a wrong type of file, a quote that does not close, a row too long.
    SourceError,
    FormatError,
    CompressionError,
    EncodingError,
    HashCount,
    ByteCount,
    RowCount,
    /// There is no header, or its row is blank.
    BlankHeader,
    BlankLabel,
    DuplicateLabel,
    ExtraLabel,
    MissingLabel,
    IncorrectLabel,
    BlankRow,
    ExtraCell,
    MissingCell,
    TypeError,
    /// `rule` is the constraint's name: required, unique, minLength, ...
    ConstraintError,
    UniqueError,
    PrimaryKey,
    ForeignKey,
    /// A rule beyond the schema that looks at one cell or several of a row.
    RowConstraint,
    /// A rule beyond the schema on one value, such as a check digit.
    ForbiddenValue,
}

/// The verdict on the content, as receipts carry it. Field order is the order in the JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Records after the header; none when they were not counted (opaque files).
    pub rows: Option<u64>,
    /// Labels of the header.
    pub columns: Option<u64>,
    /// Whether everything was looked at; a final fault ends the looking.
    pub complete: bool,
    /// All errors, also those that `groups` and `first` have no room for.
    pub errors: u64,
    /// Errors by type, rule and field, in the order in which each first came.
    pub groups: Vec<Group>,
    /// The first errors, one by one, in the order of the file; at most the dataset's `errors` limit.
    pub first: Vec<Problem>,
    /// Remarks that do not stop it from loading, by rule and field.
    pub flags: Vec<Group>,
    /// Rows whose subject has objected or not consented.
    pub restricted: u64,
}

/// One error at its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: ErrorType,
    /// More precisely: a constraint's name, `unclosed-quote`, `repeated-header`, a rule of the dataset, ...
    pub rule: String,
    /// Record number, the header being 1; blank lines count, line breaks inside quotes do not.
    pub row: Option<u64>,
    /// The schema's name of the field (or an undeclared label, when the header makes sure that it is one).
    pub field: Option<String>,
    /// From 1, as it stands in the file.
    pub column: Option<u64>,
    pub message: String,
}

/// All errors (or flags) of one type, rule and field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    #[serde(rename = "type")]
    pub kind: ErrorType,
    pub rule: String,
    pub field: Option<String>,
    pub column: Option<u64>,
    pub count: u64,
    /// The first of them, at most [`ROWS_SHOWN`].
    pub rows: Vec<u64>,
    pub message: String,
}

/// Rows that a group names.
pub const ROWS_SHOWN: usize = 10;

/// Where something was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct At<'a> {
    pub row: Option<u64>,
    pub field: Option<&'a str>,
    /// From 1.
    pub column: Option<u64>,
}

/// Gathers what is found, within bounds: one entry for each type, rule and field; the first errors up to a limit.
#[derive(Debug)]
pub struct Collector {
    report: Report,
    /// Single errors that are kept.
    limit: usize,
    /// Where each type, rule, column and field stands in the groups: errors, then flags.
    errors: Index,
    flags: Index,
}

/// A rule on several fields stands at the column of the first, where another may stand too: the field tells them apart.
type Index = HashMap<(ErrorType, Cow<'static, str>, Option<u64>), Vec<usize>>;

/// Groups of one list; a schema has no more fields and rules than that by far. What comes past it is counted alone.
const GROUPS: usize = 10_000;

impl Collector {
    /// `limit`: how many single errors are kept.
    pub fn new(limit: usize) -> Self {
        let report = Report { complete: true, ..Report::default() };
        Self { report, limit, errors: Index::new(), flags: Index::new() }
    }

    /// An error. `message` is asked for only when it will be kept; it must be made of the rule and the field, never of a
    /// cell, and reads on from the place: "is not a date of the form %d/%m/%Y".
    pub fn error(
        &mut self,
        kind: ErrorType,
        rule: impl Into<Cow<'static, str>>,
        at: At<'_>,
        message: impl FnOnce() -> String,
    ) {
        let rule = rule.into();
        self.report.errors += 1;
        let place = self.place(at.row);
        if place < self.limit {
            let message = message();
            let made = message.clone();
            // Something that is found late, such as a key, may take the place of the last.
            self.report.first.truncate(self.limit - 1);
            self.report.first.insert(
                place,
                Problem {
                    kind,
                    rule: rule.to_string(),
                    row: at.row,
                    field: at.field.map(str::to_owned),
                    column: at.column,
                    message,
                },
            );
            group(&mut self.report.groups, &mut self.errors, kind, rule, at, || made);
        } else {
            group(&mut self.report.groups, &mut self.errors, kind, rule, at, message);
        }
    }

    /// Where an error in this row belongs in the list: after all of its row and of those before.
    fn place(&self, row: Option<u64>) -> usize {
        let Some(row) = row else { return self.report.first.len() };
        let later = |problem: &&Problem| problem.row.is_some_and(|other| other > row);
        self.report.first.len() - self.report.first.iter().rev().take_while(later).count()
    }

    /// Whether errors of this row, and so of all later ones, are only counted: the list is full of earlier ones.
    pub fn only_counts(&self, row: u64) -> bool {
        self.place(Some(row)) >= self.limit
    }

    /// So many more errors of a kind that was told before, in rows that need not be named. They cost as
    /// much as one.
    pub fn more_errors(&mut self, count: u64, kind: ErrorType, rule: &'static str, at: At<'_>) {
        self.report.errors += count;
        more(&mut self.report.groups, &self.errors, count, kind, rule, at);
    }

    /// As [`Collector::more_errors`], as the policy says.
    pub fn more_found(&mut self, severity: Severity, count: u64, kind: ErrorType, rule: &'static str, at: At<'_>) {
        match severity {
            Severity::Accept => {}
            Severity::Flag => more(&mut self.report.flags, &self.flags, count, kind, rule, at),
            Severity::Reject => self.more_errors(count, kind, rule, at),
        }
    }

    /// A remark that does not stop the upload; counted in groups only.
    pub fn flag(
        &mut self,
        kind: ErrorType,
        rule: impl Into<Cow<'static, str>>,
        at: At<'_>,
        message: impl FnOnce() -> String,
    ) {
        group(&mut self.report.flags, &mut self.flags, kind, rule.into(), at, message);
    }

    /// Error or flag or nothing, as the policy says.
    pub fn found(
        &mut self,
        severity: Severity,
        kind: ErrorType,
        rule: impl Into<Cow<'static, str>>,
        at: At<'_>,
        message: impl FnOnce() -> String,
    ) {
        match severity {
            Severity::Accept => {}
            Severity::Flag => self.flag(kind, rule, at, message),
            Severity::Reject => self.error(kind, rule, at, message),
        }
    }

    /// Errors so far.
    pub fn errors(&self) -> u64 {
        self.report.errors
    }

    /// What is known of the table's size.
    pub fn counted(&mut self, rows: Option<u64>, columns: Option<u64>) {
        self.report.rows = rows;
        self.report.columns = columns;
    }

    /// Not everything was looked at.
    pub fn stopped(&mut self) {
        self.report.complete = false;
    }

    /// As [`Report::reasons`], of what was found so far.
    pub fn reasons(&self, most: usize) -> Vec<String> {
        self.report.reasons(most)
    }

    pub fn finish(self) -> Report {
        self.report
    }
}

fn more(groups: &mut [Group], index: &Index, count: u64, kind: ErrorType, rule: &'static str, at: At<'_>) {
    let places = index.get(&(kind, Cow::Borrowed(rule), at.column)).map_or(&[][..], Vec::as_slice);
    if let Some(place) = places.iter().find(|place| groups[**place].field.as_deref() == at.field) {
        groups[*place].count += count;
    }
}

fn group(
    groups: &mut Vec<Group>,
    index: &mut Index,
    kind: ErrorType,
    rule: Cow<'static, str>,
    at: At<'_>,
    message: impl FnOnce() -> String,
) {
    let key = (kind, rule, at.column);
    let places = index.get(&key).map_or(&[][..], Vec::as_slice);
    let place = match places.iter().find(|place| groups[**place].field.as_deref() == at.field) {
        Some(place) => *place,
        None if groups.len() >= GROUPS => return,
        None => {
            groups.push(Group {
                kind,
                rule: key.1.to_string(),
                field: at.field.map(str::to_owned),
                column: at.column,
                count: 0,
                rows: Vec::new(),
                message: message(),
            });
            index.entry(key).or_default().push(groups.len() - 1);
            groups.len() - 1
        }
    };
    let group = &mut groups[place];
    group.count += 1;
    if let Some(row) = at.row
        && group.rows.len() < ROWS_SHOWN
        && group.rows.last() != Some(&row)
    {
        group.rows.push(row);
    }
}

impl Report {
    pub fn acceptable(&self) -> bool {
        self.errors == 0
    }

    /// The rules of the flags, each once, in the order in which they came: what scripts ask for.
    pub fn flag_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for flag in &self.flags {
            if !names.contains(&flag.rule) {
                names.push(flag.rule.clone());
            }
        }
        names
    }
}

/// What is known of the whole file besides its content; told by whoever knows it, after the check.
impl Report {
    /// An error of the whole file. The message may hold no cell's value.
    pub fn add(&mut self, kind: ErrorType, rule: &str, message: String) {
        self.errors += 1;
        let rule = rule.to_owned();
        let problem =
            Problem { kind, rule: rule.clone(), row: None, field: None, column: None, message: message.clone() };
        self.first.push(problem);
        self.groups.push(Group { kind, rule, field: None, column: None, count: 1, rows: Vec::new(), message });
    }

    /// A remark on the whole file, likewise.
    pub fn remark(&mut self, kind: ErrorType, rule: &str, message: String) {
        let rule = rule.to_owned();
        self.flags.push(Group { kind, rule, field: None, column: None, count: 1, rows: Vec::new(), message });
    }
}

/// Record numbers of restricted rows, as ranges in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restricted {
    /// First and last record number of each run, both included.
    pub ranges: Vec<(u64, u64)>,
    /// Rows in all.
    pub count: u64,
}

impl Restricted {
    /// Ranges that are kept; past it the upload is rejected, with words. 16 bytes each.
    pub const MOST: usize = 1 << 20;

    /// Adds a row, which must come after all before. False when there is no more room.
    pub fn add(&mut self, row: u64) -> bool {
        let room = self.ranges.len() < Self::MOST;
        match self.ranges.last_mut() {
            Some((_, last)) if *last + 1 == row => *last = row,
            _ if room => self.ranges.push((row, row)),
            _ => return false,
        }
        self.count += 1;
        true
    }

    /// A line for each run: `17` or `20-24`. The content of /queue/<delivery>/restricted.txt.
    pub fn text(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        for (first, last) in &self.ranges {
            // Writing to a String cannot fail.
            let _ = if first == last { writeln!(text, "{first}") } else { writeln!(text, "{first}-{last}") };
        }
        text
    }
}
