//! Rows that are not as they should be before any type is asked: blank, repeated, broken, or in need of rewriting.
//!
//! Slow paths only, each linear. Called by `body`.

use crate::check::report::ROWS_SHOWN;
use crate::check::row::Span;
use crate::check::table::records::{Broken, Record};
use crate::check::{At, Collector, ErrorType, Severity};

/// Blank rows whose meaning is open: inside the table, or after its last row.
#[derive(Debug, Default)]
pub(super) struct Blanks {
    first: u64,
    count: u64,
}

impl Blanks {
    /// Blank rows come one after the other.
    pub(super) fn add(&mut self, number: u64) {
        if self.count == 0 {
            self.first = number;
        }
        self.count += 1;
    }

    pub(super) fn any(&self) -> bool {
        self.count > 0
    }

    /// A row that is not blank came.
    #[inline]
    pub(super) fn inside(&mut self, out: &mut Collector) {
        if self.count > 0 {
            self.report(Severity::Reject, "blank-row", "the row is blank: leave it out", out);
            self.count = 0;
        }
    }

    pub(super) fn at_the_end(&self, severity: Severity, out: &mut Collector) {
        let message = "the row is blank and no row follows it: end the file after the last row";
        self.report(severity, "trailing-blank-row", message, out);
    }

    fn report(&self, severity: Severity, rule: &'static str, message: &str, out: &mut Collector) {
        for (told, number) in (0..self.count).zip(self.first..) {
            let at = At { row: Some(number), ..At::default() };
            let counted = severity != Severity::Reject || out.only_counts(number);
            if told >= ROWS_SHOWN as u64 && counted {
                let rest = self.count - told;
                return out.more_found(severity, rest, ErrorType::BlankRow, rule, At::default());
            }
            out.found(severity, ErrorType::BlankRow, rule, at, || message.to_owned());
        }
    }
}

/// Rows that are too short, of which there may be more by far than the file has bytes of missing cells: counted by where
/// they end once they need not be told one by one, so that a row costs its own length and not that of the header.
#[derive(Debug, Default)]
pub(super) struct Short {
    /// By number of cells: rows that were told, and rows that were only counted.
    ends: Vec<(usize, u64)>,
}

impl Short {
    /// Whether the row must be told cell by cell. The first rows of each length suffice to name the first of each column.
    pub(super) fn tell(&mut self, number: u64, cells: usize, out: &Collector) -> bool {
        if self.ends.len() <= cells {
            self.ends.resize(cells + 1, (0, 0));
        }
        let (told, counted) = &mut self.ends[cells];
        if *told >= ROWS_SHOWN && out.only_counts(number) {
            *counted += 1;
            return false;
        }
        *told += 1;
        true
    }

    /// Adds what was only counted: each row lacks all columns from its end on. `at`: a column by its index.
    pub(super) fn settle<'n>(&mut self, columns: usize, at: impl Fn(usize) -> At<'n>, out: &mut Collector) {
        let mut ends = std::mem::take(&mut self.ends).into_iter();
        let mut rows = 0;
        for column in 0..columns {
            rows += ends.next().map_or(0, |(_, counted)| counted);
            if rows > 0 {
                out.more_errors(rows, ErrorType::MissingCell, "missing-cell", at(column));
            }
        }
    }
}

/// Why a cell is not judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Its bytes are not UTF-8.
    Malformed,
    Stray,
}

/// A row with its quotes undone, cell by cell.
#[derive(Debug, Default)]
pub(super) struct Rewritten {
    text: String,
    cells: Vec<(Span, Option<Unfit>)>,
}

impl Rewritten {
    pub(super) fn write(&mut self, record: &Record<'_>) {
        self.text.clear();
        self.cells.clear();
        for cell in record.cells {
            let start = self.text.len();
            let bytes = record.bytes.get(cell.start as usize..cell.end as usize).unwrap_or_default();
            let unfit = match std::str::from_utf8(bytes) {
                Err(_) => Some(Unfit::Malformed),
                Ok(_) if cell.stray => Some(Unfit::Stray),
                Ok(content) if cell.doubled => {
                    undouble(content, record.quote, &mut self.text);
                    None
                }
                Ok(content) => {
                    self.text.push_str(content);
                    None
                }
            };
            // No longer than the record, whose places fit.
            let span = Span { start: start as u32, end: self.text.len() as u32 };
            self.cells.push((span, unfit));
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn spans(&self) -> impl Iterator<Item = Span> {
        self.cells.iter().map(|cell| cell.0)
    }

    pub(super) fn any_unfit(&self) -> bool {
        self.cells.iter().any(|cell| cell.1.is_some())
    }

    pub(super) fn span(&self, place: usize) -> Span {
        self.cells.get(place).map(|cell| cell.0).unwrap_or_default()
    }

    pub(super) fn unfit(&self, place: usize) -> Option<Unfit> {
        self.cells.get(place).and_then(|cell| cell.1)
    }
}

/// Appends the content of a quoted cell, in which each quote is doubled.
pub(in crate::check::table) fn undouble(content: &str, quote: char, into: &mut String) {
    let mut rest = content;
    while let Some(at) = rest.find(quote) {
        // The quote is ASCII, and the one that follows it is left out.
        into.push_str(&rest[..=at]);
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    into.push_str(rest);
}

/// Whether the row is the header again, also with a byte order mark in front, which makes its quotes look stray.
pub(super) fn is_header(record: &Record<'_>, labels: &[String]) -> bool {
    let mut text = String::new();
    record.cells.iter().zip(labels).enumerate().all(|(place, (cell, label))| {
        let bytes = &record.bytes[cell.start as usize..cell.end as usize];
        let Ok(content) = std::str::from_utf8(bytes) else { return false };
        if content == label {
            return true;
        }
        let bare = content.strip_prefix('\u{FEFF}').filter(|_| place == 0).unwrap_or(content);
        let unquoted = bare.strip_prefix(record.quote).and_then(|rest| rest.strip_suffix(record.quote));
        let (inner, doubled) = match unquoted.filter(|_| cell.stray) {
            Some(inner) => (inner, true),
            None => (bare, cell.doubled),
        };
        if !doubled {
            return inner == label;
        }
        text.clear();
        undouble(inner, record.quote, &mut text);
        text == *label
    })
}

/// A record that could not be read to its end. `at`: where the quote opened, if there is one.
pub(in crate::check::table) fn broken(broken: Broken, at: At<'_>, limit: usize, out: &mut Collector) {
    let row = At { row: at.row, ..At::default() };
    match broken {
        Broken::TooLong => out.error(ErrorType::SourceError, "row-too-long", row, || {
            format!("the row is longer than {limit} bytes, the most that this dataset takes")
        }),
        Broken::Unclosed => out.error(ErrorType::SourceError, "unclosed-quote", at, || {
            "opens a quote that is not closed where the cell ends: close it, and double the quotes inside".into()
        }),
        Broken::Hopeless => out.error(ErrorType::SourceError, "unclosed-quote", at, || {
            "opens a quote that is not closed, as too many cells before it: the rest was not looked at".into()
        }),
    }
}
