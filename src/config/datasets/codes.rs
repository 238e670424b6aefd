//! A code list: a CSV file (RFC 4180, UTF-8, comma, a header) beside a schema that refers to it.
//!
//! Strict, as the operator wrote it and can mend it. Bounded by the size of the file and [`ROWS_MAX`]. Called by
//! [`super::schema`].

use std::ops::Range;

use super::super::diagnostic::{Findings, nearest};
use super::super::source::Source;
use crate::check::Codes;

/// Most rows of a code list.
const ROWS_MAX: usize = 1_000_000;

/// The cells of the columns `reference`, a row each. None when the list cannot be used, which was said.
pub(super) fn read(list: &Source, reference: &[String], findings: &Findings) -> Option<Codes> {
    let fault = |Fault { span, message, help }| findings.error(list.at(span, message, help));
    read_rows(list, reference, findings).map_err(fault).ok()
}

struct Fault {
    span: Range<usize>,
    message: String,
    help: String,
}

fn fault(span: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Fault {
    Fault { span, message: message.into(), help: help.into() }
}

fn read_rows(list: &Source, reference: &[String], findings: &Findings) -> Result<Codes, Fault> {
    let mut records = Records { text: &list.text, next: 0 };
    let header = records.next().transpose()?.filter(|header| !header.is_blank());
    let header = header.ok_or_else(|| {
        fault(0..1, "the code list has no header", "write the columns' labels in its first line: code,name")
    })?;
    let mut columns = Vec::new();
    for label in reference {
        let mut found = header.cells.iter().enumerate().filter(|(_, cell)| cell.text == *label);
        let Some((index, _)) = found.next() else {
            let message = format!("the code list has no column {label:?}, which the schema's foreign key refers to");
            let labels = header.cells.iter().map(|cell| cell.text.as_str());
            return Err(fault(header.span.clone(), message, nearest(label, labels)));
        };
        if let Some((_, twice)) = found.next() {
            return Err(fault(
                twice.span.clone(),
                format!("the column {label:?} is there twice"),
                "keep one of the two",
            ));
        }
        columns.push(index);
    }
    let mut codes = Codes::default();
    let mut rows = 0;
    let mut spaced = None;
    let mut blank: Option<Range<usize>> = None;
    for record in records {
        let record = record?;
        if let Some(span) = blank.take() {
            return Err(fault(span, "a blank line in the code list", "take it out"));
        }
        if record.is_blank() {
            blank = Some(record.span);
            continue;
        }
        rows += 1;
        if rows > ROWS_MAX {
            let help = "a list so long is better looked up where the extracts are loaded";
            return Err(fault(record.span, format!("the code list has more than {ROWS_MAX} rows"), help));
        }
        if record.cells.len() != header.cells.len() {
            let (cells, labels) = (record.cells.len(), header.cells.len());
            let message = format!("this row has {cells} cells, the header has {labels}");
            return Err(fault(
                record.span,
                message,
                "quote cells with commas in them, and give each row all its cells",
            ));
        }
        for index in &columns {
            let cell = &record.cells[*index];
            if spaced.is_none() && cell.text.trim() != cell.text {
                spaced = Some(cell.span.clone());
            }
        }
        codes.rows.insert(columns.iter().map(|index| record.cells[*index].text.clone()).collect());
    }
    if rows == 0 {
        let help = "add its rows; as it is, every row of every extract would be rejected";
        return Err(fault(header.span, "the code list is empty", help));
    }
    if let Some(span) = spaced {
        let help = "take the blanks away, unless extracts have them, too";
        findings.warning(list.at(span, "a code with blanks around it: it fits only a cell with the same blanks", help));
    }
    Ok(codes)
}

struct Cell {
    text: String,
    span: Range<usize>,
}

struct Record {
    cells: Vec<Cell>,
    span: Range<usize>,
}

impl Record {
    fn is_blank(&self) -> bool {
        self.span.is_empty()
    }
}

/// The records of a text; ends after the first fault.
struct Records<'a> {
    text: &'a str,
    next: usize,
}

impl Iterator for Records<'_> {
    type Item = Result<Record, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.text.len() {
            return None;
        }
        let read = self.record();
        if read.is_err() {
            self.next = self.text.len();
        }
        Some(read)
    }
}

impl Records<'_> {
    fn record(&mut self) -> Result<Record, Fault> {
        let start = self.next;
        let mut cells = Vec::new();
        loop {
            let cell = self.cell()?;
            cells.push(cell);
            let rest = &self.text[self.next..];
            let end = self.next;
            if rest.starts_with(',') {
                self.next += 1;
                continue;
            }
            // `cell` stops at a comma, a line end, or the end of the text.
            self.next += if rest.starts_with("\r\n") { 2 } else { rest.len().min(1) };
            return Ok(Record { cells, span: start..end });
        }
    }

    fn cell(&mut self) -> Result<Cell, Fault> {
        let start = self.next;
        let rest = &self.text[start..];
        let Some(quoted) = rest.strip_prefix('"') else {
            let end = rest.find([',', '\r', '\n']).unwrap_or(rest.len());
            if let Some(at) = rest[..end].find('"') {
                let at = start + at;
                let help = "quote the whole cell, and double the quotes in it";
                return Err(fault(at..at + 1, "a quote inside a cell that is not quoted", help));
            }
            self.next = start + end;
            return Ok(Cell { text: rest[..end].to_owned(), span: start..self.next });
        };
        let mut text = String::new();
        let mut left = quoted;
        loop {
            let Some(at) = left.find('"') else {
                return Err(fault(
                    start..start + 1,
                    "this quote never ends",
                    "close it, or double the quotes in the cell",
                ));
            };
            text.push_str(&left[..at]);
            left = &left[at + 1..];
            if let Some(after) = left.strip_prefix('"') {
                text.push('"');
                left = after;
                continue;
            }
            self.next = self.text.len() - left.len();
            if !left.is_empty() && !left.starts_with([',', '\r', '\n']) {
                let message = "something stands behind the end of a quoted cell";
                return Err(fault(self.next..self.next + 1, message, "double the quotes that belong to the cell"));
            }
            return Ok(Cell { text, span: start..self.next });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str, reference: &[&str]) -> (Result<Vec<Vec<String>>, String>, usize) {
        let list = Source { path: "practices.csv".into(), text: text.into() };
        let findings = Findings::default();
        let reference: Vec<String> = reference.iter().map(|label| (*label).to_owned()).collect();
        let read = read(&list, &reference, &findings);
        let (errors, warnings) = findings.sorted(&list.path);
        let told = || errors.first().map(|e| format!("{}:{} {}", e.line, e.column, e.message)).unwrap_or_default();
        assert_eq!(read.is_none(), errors.len() == 1);
        (read.map(|codes| codes.rows.into_iter().collect()).ok_or_else(told), warnings.len())
    }

    #[test]
    fn the_referenced_columns_are_kept_in_the_order_of_the_reference() {
        let text = "name,code\r\n\"Hill, North\",N1\r\n\"The \"\"Old\"\" one\",N2\r\nHill,N1\r\n";
        let (rows, warnings) = codes(text, &["code", "name"]);
        assert_eq!(rows.unwrap(), [["N1", "Hill"], ["N1", "Hill, North"], ["N2", "The \"Old\" one"]]);
        assert_eq!(warnings, 0);
        assert_eq!(codes("code\nN1\nN1\n\n", &["code"]).0.unwrap(), [["N1"]], "twice, and a blank last line");
        assert_eq!(codes("code\nN1", &["code"]).0.unwrap(), [["N1"]], "no final line end");
        assert_eq!(codes("code\n N1\n", &["code"]), (Ok(vec![vec![" N1".into()]]), 1));
        assert_eq!(codes("code\n\"a\nb\"\n", &["code"]).0.unwrap(), [["a\nb"]]);
    }

    #[test]
    fn what_is_wrong_is_told_by_its_place() {
        for (text, told) in [
            ("", "1:1 the code list has no header"),
            ("\ncode\n", "1:1 the code list has no header"),
            ("kode\nN1\n", "1:1 the code list has no column \"code\""),
            ("code,code\nN1,N2\n", "1:6 the column \"code\" is there twice"),
            ("code\n", "1:1 the code list is empty"),
            ("code,x\nN1\n", "2:1 this row has 1 cells"),
            ("code\nN1\n\nN2\n", "3:1 a blank line"),
            ("code\nN\"1\n", "2:2 a quote inside"),
            ("code\n\"N1\n", "2:1 this quote never ends"),
            ("code\n\"N1\"x\n", "2:5 something stands behind"),
        ] {
            let got = codes(text, &["code"]).0.unwrap_err();
            assert!(got.starts_with(told), "{text:?}: {got}");
        }
    }
}
