//! What commands print: aligned tables, lines and JSON, on standard output, without colour.
//!
//! Must never let a name from outside move the cursor or reorder text on the operator's screen, nor panic because the
//! reader of a pipe went away. Called by every command that lists or shows.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use crate::types::deceives;

/// An aligned table: a header line and rows, two spaces between columns, nothing after the last.
#[derive(Debug, Clone)]
pub struct Table {
    headers: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(headers: &[&'static str]) -> Self {
        Self { headers: headers.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty, further ones are left out.
    pub fn row<I, S>(&mut self, cells: I)
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let mut cells: Vec<String> = cells.into_iter().map(|cell| tame(&cell.into())).collect();
        cells.resize(self.headers.len(), String::new());
        self.rows.push(cells);
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Prints the table, or `nothing` in its place when it has no rows.
    ///
    /// # Errors
    /// When standard output cannot be written to.
    pub fn print(&self, nothing: &str) -> io::Result<()> {
        line(if self.is_empty() { nothing.to_owned() } else { self.to_string() }.trim_end())
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut widths: Vec<usize> = self.headers.iter().map(|header| header.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let headers = self.headers.iter().map(|header| (*header).to_owned()).collect();
        for row in std::iter::once(&headers).chain(&self.rows) {
            let mut text = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                write!(text, "{cell:<width$}  ")?;
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

/// The text with characters that could deceive on a screen shown as escapes.
pub fn tame(text: &str) -> String {
    let mut tamed = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || deceives(c) { tamed.extend(c.escape_unicode()) } else { tamed.push(c) }
    }
    tamed
}

/// Prints one line (or several, when the text holds line ends). A reader that went away is no error: `head` does that.
///
/// # Errors
/// When standard output cannot be written to.
pub fn line(text: impl AsRef<str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush()) {
        Err(gone) if gone.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// Prints a value as indented JSON.
///
/// # Errors
/// When standard output cannot be written to.
pub fn json(value: &impl serde::Serialize) -> io::Result<()> {
    line(serde_json::to_string_pretty(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["ORG", "NAME"]);
        table.row(["harbour", "Harbour Street Services"]);
        table.row(["élan", "Élan"]);
        assert_eq!(table.to_string(), "ORG      NAME\nharbour  Harbour Street Services\nélan     Élan\n");
    }

    #[test]
    fn a_name_cannot_reorder_the_screen() {
        let mut table = Table::new(&["NAME"]);
        table.row(["a\u{202E}gpj.exe\u{1b}[2J"]);
        assert!(table.to_string().contains("a\\u{202e}gpj.exe\\u{1b}[2J"));
    }
}
