//! What commands print: aligned tables, lines and JSON, on standard output, without colour.
//!
//! Must never let a name from outside move the cursor or reorder text on the operator's screen, nor panic because the
//! reader of a pipe went away. Called by every command that lists or shows.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use crate::types::{Timestamp, deceives};

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

    /// Prints the table, or `nothing` in its place when it has no rows.
    ///
    /// # Errors
    /// When standard output cannot be written to.
    pub fn print(&self, nothing: &str) -> io::Result<()> {
        line(if self.rows.is_empty() { nothing.to_owned() } else { self.to_string() }.trim_end())
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let headers: Vec<String> = self.headers.iter().map(|header| (*header).to_owned()).collect();
        let lines = || std::iter::once(&headers).chain(&self.rows);
        let widths: Vec<usize> = (0..headers.len())
            .map(|column| lines().map(|row| row[column].chars().count()).max().unwrap_or(0))
            .collect();
        for row in lines() {
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

/// Prints one line (or several, when the text holds line ends).
///
/// # Errors
/// When standard output cannot be written to. That its reader went away is told apart in `outcome`.
pub fn line(text: impl AsRef<str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush())
}

/// Prints a value as indented JSON.
///
/// # Errors
/// When standard output cannot be written to.
pub fn json(value: &impl serde::Serialize) -> io::Result<()> {
    line(serde_json::to_string_pretty(value)?)
}

/// Prints `name: value` for each, the values in one column; a value of several lines stays in it.
///
/// # Errors
/// When standard output cannot be written to.
pub fn fields<'n>(fields: impl IntoIterator<Item = (&'n str, String)>) -> io::Result<()> {
    let fields: Vec<_> = fields.into_iter().collect();
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 3;
    for (name, value) in fields {
        let value: Vec<String> = value.split('\n').map(tame).collect();
        let between = format!("\n{}", " ".repeat(width));
        line(format!("{:<width$}{}", format!("{name}:"), value.join(&between)).trim_end())?;
    }
    Ok(())
}

/// A moment for a column: whole seconds.
pub fn short(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
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
