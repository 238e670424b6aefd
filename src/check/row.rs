//! One record as the demands see it: cells by the schema's fields, and what their types made of them.
//!
//! Borrowed from the driver's buffers; nothing here outlives the record. Made by `table`; read by `rules` and `keys`.

use super::schema::Value;

/// A piece of [`Row::text`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

/// A record with the right number of cells.
#[derive(Debug, Clone, Copy)]
pub struct Row<'r> {
    /// Record number, the header being 1.
    pub number: u64,
    /// The record's text, with quotes undone.
    pub text: &'r str,
    /// By field of the schema; none for a field that the file does not have.
    pub cells: &'r [Option<Span>],
    /// By field of the schema; [`Value::Missing`] for a field that the file does not have.
    pub values: &'r [Value],
    /// By field: the column in the file, from 1; 0 when the file does not have it.
    pub columns: &'r [u32],
}

impl<'r> Row<'r> {
    /// The cell of a field as it stands; empty when the file does not have the field.
    pub fn cell(&self, field: usize) -> &'r str {
        let span = self.cells.get(field).copied().flatten().unwrap_or_default();
        self.text.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    pub fn value(&self, field: usize) -> Value {
        self.values.get(field).copied().unwrap_or(Value::Missing)
    }

    /// The column in the file, from 1.
    pub fn column(&self, field: usize) -> Option<u64> {
        self.columns.get(field).copied().filter(|column| *column > 0).map(u64::from)
    }
}
