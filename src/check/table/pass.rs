//! The records of one file in turn: the header, then the rows.
//!
//! Decides when the header is judged: a first record that does not fit waits for the next, which may be the header below
//! a title. A wrong header is final. Called by `table`.

use std::borrow::Cow;
use std::sync::Arc;

use super::body::{Body, Column};
use super::header::{self, Aligned, LabelFault, Wanted, align};
use super::line_ends::LineEnds;
use super::records::{Broken, Record};
use super::{Context, RulesOutcome, TableRules};
use crate::check::{At, Collector, ErrorType, Fault, Severity};

/// Rows that may stand between a title and the header for it to be told as one: blank, or narrower than the table.
const BETWEEN_TITLE_AND_HEADER: u64 = 8;

/// One file's way through its records.
pub(super) struct Pass {
    rules: Arc<TableRules>,
    context: Context,
    /// Records so far.
    number: u64,
    columns: Option<u64>,
    ends: LineEnds,
    stage: Stage,
}

enum Stage {
    Header,
    /// What is wrong with the first record, unless the header is still to come.
    Doubt(Vec<LabelFault>),
    Rows(Box<Body>),
}

impl Pass {
    pub(super) fn new(rules: Arc<TableRules>, context: &Context) -> Self {
        let mut pass = Self {
            rules,
            context: context.clone(),
            number: 0,
            columns: None,
            ends: LineEnds::default(),
            stage: Stage::Header,
        };
        if let (false, Some(schema)) = (pass.rules.dialect.header, &pass.rules.schema) {
            let columns = (0..schema.fields.len()).map(|field| Column { field: Some(field), label: None }).collect();
            pass.begin_rows(columns, Vec::new());
        }
        pass
    }

    /// # Errors
    /// A final fault, which is in `out`.
    pub(super) fn record(&mut self, record: Record<'_>, out: &mut Collector) -> Result<(), Fault> {
        self.number += 1;
        if !self.ends.is_usual(record.end) {
            // What is to be said of rows before comes first.
            self.flush(out)?;
        }
        self.ends.note(record.end, self.number, out);
        match &mut self.stage {
            Stage::Rows(body) => body.record(self.number, &record, out),
            Stage::Header if self.rules.dialect.header => self.header(&record, out),
            Stage::Header => {
                // Neither labels nor a schema: the first record says how many columns there are.
                let blank = |_| Column { field: None, label: None };
                self.check_width(&record, out)?;
                self.begin_rows((0..record.count).map(blank).collect(), Vec::new());
                self.number -= 1;
                self.record(record, out)
            }
            Stage::Doubt(_) => self.below_title(&record, out),
        }
    }

    /// Tells what is wrong with the records so far.
    ///
    /// # Errors
    /// As [`Pass::record`].
    pub(super) fn flush(&mut self, out: &mut Collector) -> Result<(), Fault> {
        if let Stage::Rows(body) = &mut self.stage { body.flush(out) } else { Ok(()) }
    }

    /// The end of the file, after [`Pass::flush`]. `over`: a final fault came before.
    pub(super) fn finish(self, over: bool, out: &mut Collector) -> RulesOutcome {
        if let (Stage::Doubt(faults), false) = (&self.stage, over) {
            report(faults, out);
            out.stopped();
        }
        if let (Stage::Header, false, true) = (&self.stage, over, self.rules.dialect.header) {
            no_header(out);
        }
        if over {
            out.stopped();
        }
        let Stage::Rows(mut body) = self.stage else {
            out.counted(None, self.columns);
            return RulesOutcome::default();
        };
        if over {
            body.settle(out);
            out.counted(Some(body.rows()), self.columns);
            return RulesOutcome::default();
        }
        let policy = &self.rules.policy;
        let cut = body.cut();
        let (rows, outcome) = body.finish(out);
        self.ends.finish(policy, cut, out);
        out.counted(Some(rows), self.columns);
        outcome
    }

    /// The rows break off, by no fault of theirs.
    pub(super) fn break_off(self, out: &mut Collector) {
        if let Stage::Rows(mut body) = self.stage {
            body.settle(out);
        }
    }

    fn header(&mut self, record: &Record<'_>, out: &mut Collector) -> Result<(), Fault> {
        self.check_width(record, out)?;
        if let Some(broken) = record.broken {
            let column = record.count as u64 + 1;
            let at = At { row: Some(1), column: Some(column), field: None };
            super::body::broken(broken, at, self.rules.limits.row, out);
            return Err(ended(out));
        }
        let labels = Labels::read(record);
        if labels.text.iter().all(|label| label.trim().is_empty()) {
            no_header(out);
            return Err(ended(out));
        }
        self.columns = Some(record.count as u64);
        let (aligned, faults) = self.judge(&labels);
        if faults.iter().all(|fault| fault.severity != Severity::Reject) {
            report(&faults, out);
            let columns = labels.text.iter().zip(&aligned.fields);
            let columns = columns
                .map(|(label, field)| Column { field: *field, label: aligned.certain.then(|| header::shown(label)) });
            self.begin_rows(columns.collect(), labels.text.iter().map(|label| label.to_string()).collect());
            return Ok(());
        }
        self.stage = Stage::Doubt(faults);
        // Without a schema there is nothing that the next record could fit.
        if self.rules.schema.is_none() { self.wrong_header(out) } else { Ok(()) }
    }

    fn below_title(&mut self, record: &Record<'_>, out: &mut Collector) -> Result<(), Fault> {
        let labels = Labels::read(record);
        let fits =
            record.broken.is_none() && self.judge(&labels).1.iter().all(|fault| fault.severity != Severity::Reject);
        if !fits {
            let fields = self.rules.schema.as_ref().map_or(0, |schema| schema.fields.len());
            let blank = labels.text.iter().all(|label| label.is_empty());
            let title = record.broken.is_none() && (blank || record.count < fields);
            let waits = title && self.number <= 1 + BETWEEN_TITLE_AND_HEADER;
            return if waits { Ok(()) } else { self.wrong_header(out) };
        }
        let first = self.rules.schema.as_ref().and_then(|schema| schema.fields.first());
        let at = At { row: Some(1), column: Some(1), field: first.map(|field| field.name.as_str()) };
        let header = self.number;
        out.error(ErrorType::IncorrectLabel, "title-above-header", at, || {
            format!("this row is not the header, which comes in row {header}: begin the file with the header")
        });
        Err(ended(out))
    }

    fn wrong_header(&mut self, out: &mut Collector) -> Result<(), Fault> {
        if let Stage::Doubt(faults) = std::mem::replace(&mut self.stage, Stage::Header) {
            report(&faults, out);
        }
        Err(ended(out))
    }

    /// The labels against the schema, and against what must not be there.
    fn judge(&self, labels: &Labels<'_>) -> (Aligned, Vec<LabelFault>) {
        let text: Vec<&str> = labels.text.iter().map(AsRef::as_ref).collect();
        let mut aligned = match &self.rules.schema {
            None => header::alone(&text),
            Some(schema) => {
                let demanded = |place: usize| schema.fields[place].required || schema.primary_key.contains(&place);
                let names = schema.fields.iter().enumerate();
                let wanted: Vec<Wanted<'_>> =
                    names.map(|(place, field)| Wanted { name: &field.name, demanded: demanded(place) }).collect();
                align(&wanted, schema.fields_match, &text, self.rules.policy.label_spaces)
            }
        };
        let mut faults = labels.faults.clone();
        // A label in another encoding cannot be the right one: that is one fault, and it has the field's name.
        aligned.faults.retain(|wrong| {
            let same = |fault: &&mut LabelFault| fault.column == wrong.column && fault.kind == ErrorType::EncodingError;
            let cause = faults.iter_mut().find(same).filter(|_| wrong.kind == ErrorType::IncorrectLabel);
            let Some(cause) = cause else { return true };
            cause.field.clone_from(&wrong.field);
            false
        });
        faults.append(&mut aligned.faults);
        for (column, what) in self.rules.rules.forbidden(&text) {
            // One reason for a column is enough, and this is the better one.
            faults.retain(|fault| fault.column != Some(column) || fault.kind != ErrorType::ExtraLabel);
            faults.push(LabelFault {
                kind: ErrorType::ExtraLabel,
                rule: "forbidden-column",
                column: Some(column),
                // It is one of the labels that the dataset's rules name.
                field: column.checked_sub(1).and_then(|place| text.get(place)).map(|label| header::shown(label)),
                message: format!("must not be sent ({what}): leave the column out"),
                severity: Severity::Reject,
            });
        }
        (aligned, faults)
    }

    fn check_width(&self, record: &Record<'_>, out: &mut Collector) -> Result<(), Fault> {
        let most = self.rules.limits.columns;
        if record.count <= most {
            return Ok(());
        }
        let at = At { row: Some(self.number), ..At::default() };
        out.error(ErrorType::SourceError, "too-many-columns", at, || {
            format!("the row has {} cells, more than the {most} columns that this dataset may have", record.count)
        });
        Err(ended(out))
    }

    fn begin_rows(&mut self, columns: Vec<Column>, labels: Vec<String>) {
        self.columns = Some(columns.len() as u64);
        let body = Body::new(Arc::clone(&self.rules), columns, labels, &self.context);
        self.stage = Stage::Rows(Box::new(body));
    }
}

/// The cells of a header.
struct Labels<'r> {
    text: Vec<Cow<'r, str>>,
    /// Labels that are no text, or with stray quotes.
    faults: Vec<LabelFault>,
}

impl<'r> Labels<'r> {
    fn read(record: &Record<'r>) -> Self {
        let mut faults = Vec::new();
        let mut text = Vec::with_capacity(record.cells.len());
        for (cell, column) in record.cells.iter().zip(1..) {
            let bytes = record.bytes.get(cell.start as usize..cell.end as usize).unwrap_or_default();
            let mut fault = |kind, rule, message: &str| {
                let message = message.to_owned();
                faults.push(LabelFault {
                    kind,
                    rule,
                    column: Some(column),
                    field: None,
                    message,
                    severity: Severity::Reject,
                });
            };
            let label = String::from_utf8_lossy(bytes);
            if std::str::from_utf8(bytes).is_err() {
                fault(
                    ErrorType::EncodingError,
                    "encoding",
                    "its label is not in the encoding that the dataset demands",
                );
            }
            if cell.stray {
                fault(
                    ErrorType::SourceError,
                    "stray-quote",
                    "its label has a quote in its middle, or text behind its quotes",
                );
            }
            if bytes.contains(&0) {
                fault(ErrorType::SourceError, "nul", "its label holds a NUL byte, which no text has");
            }
            text.push(match cell.doubled {
                false => label,
                true => {
                    let mut content = String::new();
                    super::body::undouble(&label, record.quote, &mut content);
                    Cow::Owned(content)
                }
            });
        }
        Self { text, faults }
    }
}

fn report(faults: &[LabelFault], out: &mut Collector) {
    for fault in faults {
        let at = At { row: Some(1), field: fault.field.as_deref(), column: fault.column.map(|column| column as u64) };
        out.found(fault.severity, fault.kind, fault.rule, at, || fault.message.clone());
    }
}

fn no_header(out: &mut Collector) {
    let at = At { row: Some(1), ..At::default() };
    out.error(ErrorType::BlankHeader, "blank-header", at, || {
        "there is no header: the first row must hold the labels of the columns".into()
    });
}

/// What a final fault says: the first reasons of the report.
fn ended(out: &Collector) -> Fault {
    Fault(out.reasons(3).join("; "))
}

/// Whether a broken record means that nothing more is handed on.
pub(super) fn hopeless(broken: Broken, out: &Collector) -> Result<(), Fault> {
    if broken == Broken::Hopeless { Err(ended(out)) } else { Ok(()) }
}
