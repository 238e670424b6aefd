//! What the scanner hands on: a record, its cells, and what is wrong with its shape.
//!
//! Borrowed from the scanner's buffers. Made by `records`; read by `table` and `body`.

/// A record as it stands in the file, without its line end.
#[derive(Debug, Clone, Copy)]
pub(in crate::check::table) struct Record<'r> {
    pub(in crate::check::table) bytes: &'r [u8],
    /// None when it is not valid UTF-8.
    pub(in crate::check::table) text: Option<&'r str>,
    /// The first cells, as many as are wanted; those before the opening quote when the record is broken.
    pub(in crate::check::table) cells: &'r [Cell],
    /// All cells; those before the opening quote when the record is broken.
    pub(in crate::check::table) count: usize,
    pub(in crate::check::table) end: LineEnd,
    pub(in crate::check::table) marks: Marks,
    pub(in crate::check::table) broken: Option<Broken>,
    /// The dialect's quote; any character when it has none.
    pub(in crate::check::table) quote: char,
}

impl<'r> Record<'r> {
    pub(super) fn broken(bytes: &'r [u8], cells: &'r [Cell], quote: char, broken: Broken) -> Self {
        Self {
            bytes,
            text: std::str::from_utf8(bytes).ok(),
            cells,
            count: cells.len(),
            end: LineEnd::None,
            marks: Marks { rewrite: true, control: true },
            broken: Some(broken),
            quote,
        }
    }
}

/// A cell's place in its record, without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::check::table) struct Cell {
    pub(in crate::check::table) start: u32,
    pub(in crate::check::table) end: u32,
    /// It holds doubled quotes, which stand for one each.
    pub(in crate::check::table) doubled: bool,
    /// A quote stands inside an unquoted cell, or text behind a closing quote; the place is then the whole cell's.
    pub(in crate::check::table) stray: bool,
}

/// Why a record needs a closer look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::check::table) struct Marks {
    /// A cell has doubled or stray quotes.
    pub(in crate::check::table) rewrite: bool,
    /// It holds an ASCII control other than tab and line ends.
    pub(in crate::check::table) control: bool,
}

/// A record that could not be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::check::table) enum Broken {
    /// The quote that opens cell `count` does not close.
    Unclosed,
    /// The same, once too often: nothing more is handed on.
    Hopeless,
    TooLong,
}

/// How a record ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::check::table) enum LineEnd {
    Lf,
    CrLf,
    Cr,
    /// CR CR LF: line ends that were converted twice.
    CrCrLf,
    /// The end of the file.
    None,
    /// Inside the quotes that did not close.
    Swallowed,
}

/// The kind of the line end that begins here, and its length. All its bytes must be there.
#[inline]
pub(super) fn line_end_at(bytes: &[u8], here: usize) -> (LineEnd, usize) {
    match &bytes[here..] {
        [b'\n', ..] => (LineEnd::Lf, 1),
        [_, b'\n', ..] => (LineEnd::CrLf, 2),
        [_, b'\r', b'\n', ..] => (LineEnd::CrCrLf, 3),
        _ => (LineEnd::Cr, 1),
    }
}

/// A stretch of the pushed bytes that is known to be UTF-8: records in it need no look of their own.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Valid<'c> {
    from: usize,
    text: &'c str,
    /// The stretch ends at a byte that is not.
    checked: bool,
}

impl<'c> Valid<'c> {
    /// The text from `begin` to `end`, if it is UTF-8. Each byte is looked at twice at most.
    #[inline]
    pub(super) fn text(&mut self, bytes: &'c [u8], begin: usize, end: usize) -> Option<&'c str> {
        if !self.checked || begin > self.from + self.text.len() {
            self.look(bytes, begin);
        }
        let text = self.text.get(begin - self.from..end - self.from);
        if text.is_none() && begin > self.from {
            // The record holds the stretch's end: the next one begins a new stretch.
            self.checked = false;
        }
        text
    }

    fn look(&mut self, bytes: &'c [u8], from: usize) {
        let bytes = &bytes[from..];
        let length = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
        self.text = std::str::from_utf8(&bytes[..length]).unwrap_or_default();
        self.from = from;
        self.checked = true;
    }
}
