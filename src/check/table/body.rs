//! The rows below the header: shape, cells, keys and rules of each.
//!
//! A row that needs no closer look is copied and waits for a few dozen others, so that all are judged column by column; one
//! that turns out not to be right is judged again by itself, in its turn, and that way has the word. Everything is told in
//! the order of the rows. A row with doubled quotes or malformed text is written anew first. Allocates nothing for a good row.
//! Never puts a cell into a message. Called by `pass`.

pub(super) mod batch;
mod shape;
mod together;

use std::sync::Arc;

use super::habits::{self, Oddities};
use super::pass::hopeless;
use super::records::{Cell, LineEnd, Record};
use super::{Context, RulesOutcome, TableRules};
use crate::check::keys::Keys;
use crate::check::row::{Row, Span};
use crate::check::rules::RowChecks;
use crate::check::schema::{Schema, Value, Violations};
use crate::check::{At, Collector, ErrorType, Fault, Severity};
use batch::Batch;
use shape::{Blanks, Rewritten, Short, Unfit};
pub(super) use shape::{broken, undouble};
use together::Needed;

/// One column of the file.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) field: Option<usize>,
    /// What it may be called in a report when it has no field.
    pub(super) label: Option<String>,
}

/// The rows of one file.
pub(super) struct Body {
    rules: Arc<TableRules>,
    columns: Vec<Column>,
    /// To know the header when it comes again; empty when there is none.
    labels: Vec<String>,
    /// By field: its column from 1, or 0.
    places: Vec<u32>,
    /// By field, of the current row.
    cells: Vec<Option<Span>>,
    values: Vec<Value>,
    /// Rows that are still to be judged.
    batch: Batch,
    /// What keys and rules look at.
    needed: Vec<Needed>,
    /// The current row when it could not be used as it stands.
    rewritten: Rewritten,
    keys: Option<Keys>,
    checks: RowChecks,
    rows: u64,
    blanks: Blanks,
    short: Short,
    cut: bool,
}

impl Body {
    pub(super) fn new(rules: Arc<TableRules>, columns: Vec<Column>, labels: Vec<String>, context: &Context) -> Self {
        let fields = rules.schema.as_ref().map_or(0, |schema| schema.fields.len());
        let mut places = vec![0; fields];
        for (column, place) in columns.iter().zip(1..) {
            if let Some(field) = column.field {
                places[field] = place;
            }
        }
        let keys = rules.schema.as_ref().map(|schema| Keys::begin(schema, rules.limits.keys));
        let checks = rules.rules.begin(context);
        let used = keys.iter().flat_map(Keys::fields).chain(checks.fields()).collect();
        Self {
            keys,
            checks,
            batch: Batch::new(columns.len()),
            needed: Needed::among(&columns, &used),
            columns,
            labels,
            places,
            cells: vec![None; fields],
            values: vec![Value::Missing; fields],
            rewritten: Rewritten::default(),
            rows: 0,
            blanks: Blanks::default(),
            short: Short::default(),
            cut: false,
            rules,
        }
    }

    /// Rows so far; blank ones and repeated headers are none.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// The last row was reported as cut.
    pub(super) fn cut(&self) -> bool {
        self.cut
    }

    /// Takes a record. What is wrong with it is told at the latest by [`Body::flush`].
    ///
    /// # Errors
    /// A final fault, which is in `out`.
    #[inline]
    pub(super) fn record(&mut self, number: u64, record: &Record<'_>, out: &mut Collector) -> Result<(), Fault> {
        let waits = self.batch.takes(record, self.columns.len())
            && !self.blanks.any()
            && !self.is_blank(record)
            && !self.is_header(record);
        if waits && record.marks.rewrite {
            self.rewritten.write(record);
        }
        if !waits || (record.marks.rewrite && self.rewritten.any_unfit()) {
            self.flush(out)?;
            return self.at_once(number, record, out);
        }
        if !self.batch.has_room(record.bytes.len()) {
            self.flush(out)?;
        }
        match record.text {
            Some(text) if !record.marks.rewrite => {
                let span = |cell: &Cell| Span { start: cell.start, end: cell.end };
                self.batch.add(number, text, record.cells.iter().map(span));
            }
            _ => self.batch.add(number, self.rewritten.text(), self.rewritten.spans()),
        }
        Ok(())
    }

    fn at_once(&mut self, number: u64, record: &Record<'_>, out: &mut Collector) -> Result<(), Fault> {
        if record.broken.is_none() && self.is_blank(record) {
            self.blanks.add(number);
            return Ok(());
        }
        self.blanks.inside(out);
        if record.broken.is_none() && self.is_header(record) {
            let at = At { row: Some(number), ..At::default() };
            out.error(ErrorType::SourceError, "repeated-header", at, || {
                "the header stands here again: files may have been joined; send each by itself, or without it".into()
            });
            return Ok(());
        }
        self.rows += 1;
        let whole = record.broken.is_none() && record.count == self.columns.len();
        if !whole {
            self.misshapen(number, record, out);
        }
        self.cells(number, record, whole, out);
        let compared = match record.broken {
            Some(broken) => hopeless(broken, out),
            None if whole => self.compare(number, record, out),
            None => Ok(()),
        };
        if compared.is_err() {
            self.settle(out);
        }
        compared
    }

    /// Puts into the report what was only counted so far.
    pub(super) fn settle(&mut self, out: &mut Collector) {
        let Self { rules, columns, short, .. } = self;
        let schema = rules.schema.as_ref();
        let at =
            |column: usize| At { row: None, field: name(schema, columns, column), column: Some(column as u64 + 1) };
        short.settle(columns.len(), at, out);
    }

    /// The end of the file: data rows, and what the rules found.
    pub(super) fn finish(mut self, out: &mut Collector) -> (u64, RulesOutcome) {
        self.settle(out);
        self.blanks.at_the_end(self.rules.policy.trailing_blank_rows, out);
        // The bound may be reached by the last rows: it is in `out` then.
        if self.keys.is_some_and(|keys| keys.finish(out).is_err()) {
            out.stopped();
            return (self.rows, RulesOutcome::default());
        }
        (self.rows, self.checks.finish(self.rows, out))
    }

    /// An empty line, or all cells empty.
    #[inline]
    fn is_blank(&self, record: &Record<'_>) -> bool {
        record.bytes.is_empty()
            || (record.count == self.columns.len() && record.cells.iter().all(|cell| cell.start == cell.end))
    }

    #[inline]
    fn is_header(&self, record: &Record<'_>) -> bool {
        let Some(label) = self.labels.first() else { return false };
        let Some(cell) = record.cells.first() else { return false };
        // Most rows are told from the header by their first cell's length, or by its bytes.
        if record.count != self.labels.len() || record.bytes.get(cell.start as usize) == Some(&0) {
            return false;
        }
        let bytes = &record.bytes[cell.start as usize..cell.end as usize];
        (bytes == label.as_bytes() || cell.doubled || bytes.starts_with(b"\xEF\xBB\xBF"))
            && shape::is_header(record, &self.labels)
    }

    /// Cells of the row, each by its field. In a row of the wrong shape only up to the first that is wrong: those after
    /// a lost cell have moved.
    fn cells(&mut self, number: u64, record: &Record<'_>, whole: bool, out: &mut Collector) {
        let Self { rules, columns, cells, values, rewritten, .. } = self;
        let plain = record.text.filter(|_| !record.marks.rewrite);
        if plain.is_none() {
            rewritten.write(record);
        }
        let rewritten = &*rewritten;
        let text = plain.unwrap_or(rewritten.text());
        let control = record.marks.control;
        let ascii = text.is_ascii();
        let fields = rules.schema.as_ref().map_or(&[][..], |schema| &schema.fields);
        if fields.is_empty() && plain.is_some() && ascii && !control {
            return;
        }
        let formulas = rules.policy.formulas != Severity::Accept;
        let short = record.broken.is_none() && record.count < columns.len();
        let swallower = if short { swallower(record, rules.dialect.delimiter) } else { None };
        let cut = short && record.end == LineEnd::None && swallower.is_none();
        for (place, (column, cell)) in columns.iter().zip(record.cells).enumerate() {
            let span = match plain {
                Some(_) => Span { start: cell.start, end: cell.end },
                None => rewritten.span(place),
            };
            let content = text.get(span.start as usize..span.end as usize).unwrap_or_default();
            let field = column.field.and_then(|index| Some((index, fields.get(index)?)));
            let unfit = match plain {
                Some(_) => None,
                None => rewritten.unfit(place),
            };
            let at = || At {
                row: Some(number),
                field: field.map(|(_, field)| field.name.as_str()).or(column.label.as_deref()),
                column: Some(place as u64 + 1),
            };
            let mut right = true;
            if unfit.is_some() || control || !ascii {
                right = notable(content, unfit, control, &rules.policy, at(), out);
            }
            if cut && place + 1 == record.count {
                // Half a cell, perhaps: its type says nothing.
                return;
            }
            if let Some((index, field)) = field {
                if right {
                    let mut violations = Violations::default();
                    field.judge_into(content, &rules.policy, &mut violations, &mut values[index]);
                    if !violations.is_empty() {
                        field.tell(violations.flags(), &mut |kind, rule, words| out.flag(kind, rule, at(), words));
                        field.tell(violations.errors(), &mut |kind, rule, words| out.error(kind, rule, at(), words));
                        right = violations.errors().is_empty();
                    }
                } else {
                    values[index] = Value::Wrong;
                }
                cells[index] = Some(span);
                if field.free_text && formulas && habits::is_formula(content) {
                    out.found(rules.policy.formulas, ErrorType::ForbiddenValue, "formula", at(), || {
                        "begins like a formula, which a spreadsheet would execute".into()
                    });
                }
            }
            let moved = match swallower {
                Some(swallower) => place == swallower,
                None => !whole && !right,
            };
            if moved {
                return;
            }
        }
    }

    /// Keys and rules, for a row whose cells are all there.
    fn compare(&mut self, number: u64, record: &Record<'_>, out: &mut Collector) -> Result<(), Fault> {
        let text = match record.text {
            Some(text) if !record.marks.rewrite => text,
            _ => self.rewritten.text(),
        };
        let row = Row { number, text, cells: &self.cells, values: &self.values, columns: &self.places };
        compare(&self.rules, &mut self.keys, &mut self.checks, &row, out)
    }

    /// Says what is wrong with the row's shape.
    fn misshapen(&mut self, number: u64, record: &Record<'_>, out: &mut Collector) {
        let Self { rules, columns, short, .. } = self;
        let schema = rules.schema.as_ref();
        let at = |column: usize| At {
            row: Some(number),
            field: name(schema, columns, column),
            column: Some(column as u64 + 1),
        };
        if let Some(kind) = record.broken {
            return broken(kind, at(record.count), rules.limits.row, out);
        }
        let wanted = columns.len();
        if record.count > wanted {
            let surplus = record.count - wanted;
            out.error(ErrorType::ExtraCell, "extra-cell", At { row: Some(number), ..At::default() }, || {
                let cells = if surplus == 1 { "1 cell" } else { &format!("{surplus} cells") };
                format!("the row has {cells} more than the header has labels: quote cells that hold the delimiter")
            });
            return;
        }
        // A quote that closes in another cell has taken the cells between with it: they are not missing.
        if swallower(record, rules.dialect.delimiter).is_some() {
            return;
        }
        self.cut = record.end == LineEnd::None;
        if !self.cut && !short.tell(number, record.count, out) {
            return;
        }
        for column in record.count..wanted {
            if self.cut {
                out.error(ErrorType::MissingCell, "cut-row", at(column), || {
                    "the cell is not there: the file ends in the middle of this row".into()
                });
            } else {
                out.error(ErrorType::MissingCell, "missing-cell", at(column), || {
                    "the cell is not there: the row is shorter than the header".into()
                });
            }
        }
    }
}

fn compare(
    rules: &TableRules,
    keys: &mut Option<Keys>,
    checks: &mut RowChecks,
    row: &Row<'_>,
    out: &mut Collector,
) -> Result<(), Fault> {
    if let (Some(keys), Some(schema)) = (keys, &rules.schema) {
        keys.row(schema, row, out)?;
    }
    checks.row(row, out)
}

/// What a column is called in a report.
fn name<'n>(schema: Option<&'n Schema>, columns: &'n [Column], column: usize) -> Option<&'n str> {
    let column = columns.get(column)?;
    let field = column.field.and_then(|field| schema?.fields.get(field));
    field.map(|field| field.name.as_str()).or(column.label.as_deref())
}

/// The first cell whose opening quote was closed in a later cell, so that it holds the delimiters between.
fn swallower(record: &Record<'_>, delimiter: u8) -> Option<usize> {
    record.cells.iter().position(|cell| {
        let bytes = record.bytes.get(cell.start as usize..cell.end as usize).unwrap_or_default();
        cell.stray && bytes.first() == Some(&(record.quote as u8)) && bytes.contains(&delimiter)
    })
}

/// Judges what a cell should not hold whatever its type. False when it need not be judged further.
fn notable(
    content: &str,
    unfit: Option<Unfit>,
    control: bool,
    policy: &crate::check::Policy,
    at: At<'_>,
    out: &mut Collector,
) -> bool {
    match unfit {
        Some(Unfit::Malformed) => {
            out.error(ErrorType::EncodingError, "encoding", at, || {
                "holds bytes that are not in the encoding which the dataset demands".into()
            });
            return false;
        }
        Some(Unfit::Stray) => {
            out.error(ErrorType::SourceError, "stray-quote", at, || {
                "has a quote inside an unquoted cell, or text behind its closing quote: quote the cell and double its quotes"
                    .into()
            });
            return false;
        }
        None => {}
    }
    if control && content.contains('\0') {
        let message = || "holds a NUL byte, which no text has: the file is damaged or binary".into();
        out.error(ErrorType::SourceError, "nul", at, message);
        return false;
    }
    // Tab, LF, VT, FF and CR are white space.
    let c0 = |byte: u8| byte.is_ascii_control() && !matches!(byte, b'\t'..=b'\r');
    let odd = if content.is_ascii() { Oddities::default() } else { habits::oddities(content) };
    let mut right = true;
    if odd.control || (control && content.bytes().any(c0)) {
        out.found(policy.control_characters, ErrorType::SourceError, "control-character", at, || {
            "holds a control character, which no text needs".into()
        });
        right = policy.control_characters != Severity::Reject;
    }
    if odd.hidden {
        out.found(policy.hidden_characters, ErrorType::ForbiddenValue, "hidden-character", at, || {
            "holds a character that hides or reorders text".into()
        });
    }
    if odd.mojibake {
        out.found(policy.mojibake, ErrorType::EncodingError, "mojibake", at, || {
            "holds text that seems to have been encoded twice, such as a sign before each accent or pound sign".into()
        });
    }
    right
}
