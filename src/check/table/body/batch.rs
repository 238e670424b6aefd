//! Rows that wait to be judged together, column by column: a copy of their text, and where their cells are.
//!
//! Takes only rows that need no closer look: of the right width, without quotes astray or controls. Bounded in rows,
//! bytes and cells; what does not fit is judged by itself. Called by `body`.

use crate::check::row::Span;
use crate::check::schema::Cells;
use crate::check::table::records::{Cell, LineEnd, Marks, Record};

/// Bytes of all rows.
const MOST_TEXT: usize = 64 << 10;
/// Cells of all rows.
const MOST_CELLS: usize = 16 << 10;

#[cfg(test)]
thread_local! {
    /// Lets no row wait: what is judged together must be as if each were judged by itself.
    pub(in crate::check::table) static EACH_AT_ONCE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// The rows.
#[derive(Debug, Default)]
pub(super) struct Batch {
    text: String,
    /// By column, `most` for each.
    spans: Vec<Span>,
    rows: Vec<Waiting>,
    /// Rows.
    most: usize,
    /// Reused for each row that is taken out.
    cells: Vec<Cell>,
}

/// One of them.
#[derive(Debug, Clone, Copy, Default)]
struct Waiting {
    number: u64,
    start: u32,
    end: u32,
    /// All of its characters are.
    ascii: bool,
}

impl Batch {
    pub fn new(columns: usize) -> Self {
        let most = (MOST_CELLS / columns.max(1)).min(Cells::MOST);
        #[cfg(test)]
        let most = if EACH_AT_ONCE.get() { 0 } else { most };
        Self {
            text: String::new(),
            spans: vec![Span::default(); most * columns],
            rows: Vec::with_capacity(most),
            most,
            cells: Vec::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether the row is one that can wait, unless its quotes are astray.
    pub fn takes(&self, record: &Record<'_>, columns: usize) -> bool {
        let plain = record.broken.is_none() && !record.marks.control && record.text.is_some();
        plain
            && record.count == columns
            && record.cells.len() == columns
            && record.bytes.len() < MOST_TEXT
            && self.most > 0
    }

    pub fn has_room(&self, bytes: usize) -> bool {
        self.rows.len() < self.most && self.text.len() + bytes <= MOST_TEXT
    }

    /// Adds a row that the batch takes and has room for: its text and its cells in it, quotes undone.
    #[inline]
    pub fn add(&mut self, number: u64, text: &str, cells: impl Iterator<Item = Span>) {
        // Both are bounded by far less than 2^32.
        let start = self.text.len() as u32;
        let place = self.rows.len();
        self.text.push_str(text);
        let (spans, most) = (self.spans.as_mut_slice(), self.most);
        let mut at = place;
        for cell in cells {
            if let Some(span) = spans.get_mut(at) {
                *span = Span { start: start + cell.start, end: start + cell.end };
            }
            at += most;
        }
        self.rows.push(Waiting { number, start, end: self.text.len() as u32, ascii: text.is_ascii() });
    }

    /// No more rows come: makes the cells of the last as quick to read as the others.
    pub fn close(&mut self) {
        self.text.extend([' '; Cells::PADDING]);
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The row's record number.
    pub fn number(&self, place: usize) -> u64 {
        self.rows.get(place).map_or(0, |row| row.number)
    }

    /// Rows that are more than ASCII.
    pub fn beyond_ascii(&self) -> impl Iterator<Item = usize> {
        self.rows.iter().enumerate().filter(|(_, row)| !row.ascii).map(|(place, _)| place)
    }

    /// A column by its index.
    pub fn column(&self, column: usize) -> Cells<'_> {
        let spans = self.spans.get(column * self.most..).and_then(|spans| spans.get(..self.rows.len()));
        Cells { text: &self.text, spans: spans.unwrap_or_default() }
    }

    pub fn span(&self, place: usize, column: usize) -> Span {
        self.spans.get(column * self.most + place).copied().unwrap_or_default()
    }

    pub fn cell(&self, place: usize, column: usize) -> &str {
        let span = self.span(place, column);
        self.text.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// The row with its number, as it came but for its line end.
    pub fn record(&mut self, place: usize) -> (u64, Record<'_>) {
        let Waiting { number, start, end, .. } = self.rows.get(place).copied().unwrap_or_default();
        let spans = self.spans.chunks_exact(self.most.max(1)).filter_map(|column| column.get(place));
        self.cells.clear();
        self.cells.extend(spans.map(|span| Cell {
            start: span.start - start,
            end: span.end - start,
            doubled: false,
            stray: false,
        }));
        let text = self.text.get(start as usize..end as usize).unwrap_or_default();
        let record = Record {
            bytes: text.as_bytes(),
            text: Some(text),
            cells: &self.cells,
            count: self.cells.len(),
            end: LineEnd::Lf,
            marks: Marks::default(),
            broken: None,
            quote: '"',
        };
        (number, record)
    }

    pub fn clear(&mut self) {
        self.text.clear();
        self.rows.clear();
    }
}
