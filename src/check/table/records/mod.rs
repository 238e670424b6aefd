//! Records and cells by RFC 4180, strictly, out of text that is cut anywhere.
//!
//! A record that lies whole in the pushed bytes is handed on in place; only one that is cut is copied, up to the limit.
//! Knows nothing of labels or types and never repairs: a quote that does not close, text beside quotes and a record past
//! the limit are handed on as such, and reading goes on behind them. Whatever the cuts, the records are the same: nothing
//! is decided before the bytes it depends on are there. Linear time; called by `table`.

mod record;
mod specials;
#[cfg(test)]
mod tests;
mod unclosed;

use super::Dialect;
use crate::check::Fault;
pub(super) use record::{Broken, Cell, LineEnd, Marks, Record};
use record::{Valid, line_end_at};
use specials::{BLOCK, Wanted};
use unclosed::Resume;

const LF: u8 = b'\n';
const CR: u8 = b'\r';
const TAB: u8 = b'\t';

/// The scanner of one table. Positions are bytes from the start of the current record, unless they are said to be in the
/// pushed bytes.
pub(super) struct Records {
    wanted: Wanted,
    delimiter: u8,
    quote: Option<u8>,
    /// Bytes of one record.
    limit: usize,
    /// Cells of a record that are kept; the rest are counted.
    most_cells: usize,
    /// CRs at the end of what was pushed: what they are depends on what follows. At most 2.
    held: usize,
    /// The current record's bytes from earlier pushes; empty when it is too long.
    carry: Vec<u8>,
    /// How many bytes of the current record came in earlier pushes.
    carried: usize,
    cells: Vec<Cell>,
    /// Cells of the current record that have ended.
    count: usize,
    marks: Marks,
    too_long: bool,
    mode: Mode,
    /// The current cell's start.
    start: usize,
    doubled: bool,
    stray: bool,
    /// The first line end inside the current cell's quotes: where it begins and what comes after it.
    line: Option<(usize, usize)>,
    rewinds: usize,
}

/// Where in a cell the scanner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Outside quotes.
    Plain,
    Quoted,
    /// Behind a quote, at this place, that closes the cell or is the first of two.
    Closed(usize),
    /// Behind text that follows a closing quote, or a quote inside plain text: up to the delimiter, quotes are only
    /// characters.
    Stray,
}

/// What is left to read after [`Records::run`].
enum Rest {
    Nothing,
    /// These bytes again, from the carry, and then all that was pushed.
    Replay(Vec<u8>),
}

/// A bit for each byte of a block from this one on.
#[inline]
fn behind(place: usize) -> u64 {
    if place < BLOCK { u64::MAX << place } else { 0 }
}

impl Records {
    /// `limit`: bytes of one record. `most_cells`: cells of one record that are handed on.
    pub(super) fn new(dialect: Dialect, limit: usize, most_cells: usize) -> Self {
        Self {
            wanted: Wanted::new(dialect.delimiter, dialect.quote),
            delimiter: dialect.delimiter,
            quote: dialect.quote,
            // A cell's place is kept in 32 bits.
            limit: limit.min(1 << 30),
            most_cells,
            held: 0,
            carry: Vec::new(),
            carried: 0,
            cells: Vec::new(),
            count: 0,
            marks: Marks::default(),
            too_long: false,
            mode: Mode::Plain,
            start: 0,
            doubled: false,
            stray: false,
            line: None,
            rewinds: 0,
        }
    }

    /// Takes the next text, cut anywhere, and gives each record that is complete to `sink`.
    ///
    /// # Errors
    /// The first error of `sink`; nothing may be pushed then.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        sink: &mut dyn FnMut(Record<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut rest = bytes;
        while self.held > 0 && !rest.is_empty() {
            // The CRs held back, and as much as settles what they are.
            let mut small = [CR; 4];
            let held = std::mem::take(&mut self.held);
            let few = rest.len().min(2);
            small[held..held + few].copy_from_slice(&rest[..few]);
            rest = &rest[few..];
            self.feed(&small[..held + few], false, sink)?;
        }
        if rest.is_empty() { Ok(()) } else { self.feed(rest, false, sink) }
    }

    /// The end of the text: gives the last record when no line end closed it.
    ///
    /// # Errors
    /// As for [`Records::push`].
    pub(super) fn finish(&mut self, sink: &mut dyn FnMut(Record<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
        loop {
            let held = std::mem::take(&mut self.held);
            self.feed(&[CR; 2][..held], true, sink)?;
            if self.held > 0 {
                continue;
            }
            let open = match self.mode {
                Mode::Quoted => true,
                Mode::Closed(at) => at + 1 < self.carried && self.line.is_some(),
                Mode::Plain | Mode::Stray => false,
            };
            if !open {
                if self.carried > 0 {
                    self.end(&[], 0, 0, LineEnd::None, sink)?;
                }
                return Ok(());
            }
            if self.line.is_none() || self.too_long {
                let count = self.count;
                let record =
                    Record { count, ..Record::broken(&self.carry, &self.cells, self.quote_char(), Broken::Unclosed) };
                return sink(record);
            }
            if let Resume::Replay(bytes) = self.unclosed(&[], 0, sink)? {
                self.push(&bytes, sink)?;
            }
        }
    }

    fn feed(
        &mut self,
        bytes: &[u8],
        last: bool,
        sink: &mut dyn FnMut(Record<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        match self.run(bytes, last, sink)? {
            Rest::Nothing => Ok(()),
            // No deeper than REWINDS: each replay used up one.
            Rest::Replay(replay) => {
                self.push(&replay, sink)?;
                self.push(bytes, sink)
            }
        }
    }

    /// The machine: one step for each byte that matters, none for the others.
    fn run(
        &mut self,
        bytes: &[u8],
        last: bool,
        sink: &mut dyn FnMut(Record<'_>) -> Result<(), Fault>,
    ) -> Result<Rest, Fault> {
        let held = if last { 0 } else { bytes.iter().rev().take(2).take_while(|byte| **byte == CR).count() };
        let chunk = &bytes[..bytes.len() - held];
        let mut valid = Valid::default();
        // Where the current record begins in the chunk; 0 when it began earlier.
        let mut begin = 0;
        let mut at = 0;
        'blocks: while at < chunk.len() {
            let mut found = match chunk[at..].first_chunk::<BLOCK>() {
                Some(block) => self.wanted.find(block),
                None => {
                    let mut block = [b'a'; BLOCK];
                    block[..chunk.len() - at].copy_from_slice(&chunk[at..]);
                    self.wanted.find(&block)
                }
            };
            if begin > at {
                // The rest of a line end, or more that was passed over.
                found &= behind(begin - at);
            }
            while found != 0 {
                if self.mode == Mode::Plain {
                    found = self.plain_cells(chunk, at, begin, found);
                    if found == 0 {
                        break;
                    }
                }
                let here = at + found.trailing_zeros() as usize;
                found &= found - 1;
                let byte = chunk[here];
                let place = here - begin + self.carried;
                if place > self.limit && !self.too_long && self.overflow() {
                    match self.unclosed(chunk, begin, sink)? {
                        Resume::Replay(bytes) => return Ok(Rest::Replay(bytes)),
                        Resume::At(next) => (begin, at) = (next, next),
                    }
                    continue 'blocks;
                }
                if self.mode == Mode::Plain && byte == self.delimiter {
                    // The one that is past the limit.
                    self.count += 1;
                    self.start = place + 1;
                    continue;
                }
                if let Mode::Closed(quote) = self.mode
                    && place > quote + 1
                {
                    if self.line.is_some() && !self.too_long {
                        match self.unclosed(chunk, begin, sink)? {
                            Resume::Replay(bytes) => return Ok(Rest::Replay(bytes)),
                            Resume::At(next) => (begin, at) = (next, next),
                        }
                        continue 'blocks;
                    }
                    self.stray = true;
                    self.mode = Mode::Stray;
                }
                if byte == LF || byte == CR {
                    let (kind, length) = line_end_at(bytes, here);
                    if self.mode == Mode::Quoted && !self.too_long {
                        self.line.get_or_insert((place, place + length));
                        continue;
                    }
                    valid = self.end_in(chunk, begin, here, kind, valid, sink)?;
                    begin = here + length;
                    found &= behind(begin - at);
                    continue;
                }
                self.step(byte, place);
            }
            at += BLOCK;
        }
        if self.carried + (chunk.len() - begin) > self.limit && !self.too_long && self.overflow() {
            match self.unclosed(chunk, begin, sink)? {
                Resume::Replay(bytes) => return Ok(Rest::Replay(bytes)),
                // Bounded by REWINDS, as a replay is.
                Resume::At(next) => {
                    self.feed(&bytes[next..], last, sink)?;
                    return Ok(Rest::Nothing);
                }
            }
        }
        if !self.too_long {
            self.carry.extend_from_slice(&chunk[begin..]);
        }
        self.carried += chunk.len() - begin;
        self.held = held;
        Ok(Rest::Nothing)
    }

    /// What a quote, a delimiter that ends no plain cell or a control means here. Line ends are not for it.
    fn step(&mut self, byte: u8, place: usize) {
        let quote = self.quote == Some(byte);
        let delimiter = byte == self.delimiter;
        if !quote && !delimiter && byte != TAB {
            self.marks.control = true;
        }
        match self.mode {
            Mode::Plain if quote && place == self.start => self.mode = Mode::Quoted,
            Mode::Plain if quote => {
                self.stray = true;
                self.mode = Mode::Stray;
            }
            Mode::Quoted if quote => self.mode = Mode::Closed(place),
            Mode::Closed(_) if quote => {
                self.doubled = true;
                self.mode = Mode::Quoted;
            }
            Mode::Closed(at) if delimiter => {
                self.end_cell(self.start + 1, at);
                self.start = place + 1;
            }
            Mode::Closed(_) => {
                // A control right behind the quote.
                self.stray = true;
                self.mode = Mode::Stray;
            }
            Mode::Stray if delimiter => {
                self.end_cell(self.start, place);
                self.start = place + 1;
            }
            Mode::Plain | Mode::Quoted | Mode::Stray => {}
        }
    }

    /// The usual: cells outside quotes, up to the first byte that is no delimiter, or past the limit. Gives what is left of
    /// the places that were found.
    #[inline]
    fn plain_cells(&mut self, chunk: &[u8], at: usize, begin: usize, mut found: u64) -> u64 {
        // Kept at hand: each is asked for at every cell.
        let (delimiter, carried, cells) = (self.delimiter, self.carried, &mut self.cells);
        let (mut start, mut count) = (self.start, self.count);
        let (most, limit) = if self.too_long { (0, usize::MAX) } else { (self.most_cells, self.limit) };
        while found != 0 {
            let here = at + found.trailing_zeros() as usize;
            let place = here - begin + carried;
            if chunk[here] != delimiter || place > limit {
                break;
            }
            if count < most {
                // Within `limit`, which is less than 2^30.
                cells.push(Cell { start: start as u32, end: place as u32, doubled: false, stray: false });
            }
            count += 1;
            start = place + 1;
            found &= found - 1;
        }
        (self.start, self.count) = (start, count);
        found
    }

    #[inline]
    fn end_cell(&mut self, start: usize, end: usize) {
        if self.count < self.most_cells && !self.too_long {
            // Within `limit`, which is less than 2^30.
            self.cells.push(Cell { start: start as u32, end: end as u32, doubled: self.doubled, stray: self.stray });
        }
        self.count += 1;
        self.marks.rewrite |= self.doubled | self.stray;
        self.mode = Mode::Plain;
        self.doubled = false;
        self.stray = false;
        self.line = None;
    }

    /// Ends the current record at `here` in the chunk, in place when it lies in it whole.
    #[inline]
    fn end_in<'c>(
        &mut self,
        chunk: &'c [u8],
        begin: usize,
        here: usize,
        kind: LineEnd,
        mut valid: Valid<'c>,
        sink: &mut dyn FnMut(Record<'_>) -> Result<(), Fault>,
    ) -> Result<Valid<'c>, Fault> {
        if self.carried > 0 || self.too_long {
            self.end(chunk, begin, here, kind, sink)?;
            return Ok(valid);
        }
        self.end_last_cell(here - begin);
        let text = valid.text(chunk, begin, here);
        sink(Record {
            bytes: &chunk[begin..here],
            text,
            cells: &self.cells,
            count: self.count,
            end: kind,
            marks: self.marks,
            broken: None,
            quote: self.quote_char(),
        })?;
        self.reset();
        Ok(valid)
    }

    /// Ends the current record, which began in earlier bytes, at `here` in the chunk.
    fn end(
        &mut self,
        chunk: &[u8],
        begin: usize,
        here: usize,
        kind: LineEnd,
        sink: &mut dyn FnMut(Record<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if self.too_long {
            let broken = if self.mode == Mode::Quoted { Broken::Unclosed } else { Broken::TooLong };
            let record = Record { count: self.count, end: kind, ..Record::broken(&[], &[], self.quote_char(), broken) };
            sink(record)?;
            self.reset();
            return Ok(());
        }
        self.carry.extend_from_slice(&chunk[begin..here]);
        self.end_last_cell(self.carry.len());
        sink(Record {
            bytes: &self.carry,
            text: std::str::from_utf8(&self.carry).ok(),
            cells: &self.cells,
            count: self.count,
            end: kind,
            marks: self.marks,
            broken: None,
            quote: self.quote_char(),
        })?;
        self.reset();
        Ok(())
    }

    fn quote_char(&self) -> char {
        char::from(self.quote.unwrap_or(b'"'))
    }

    #[inline]
    fn end_last_cell(&mut self, place: usize) {
        match self.mode {
            Mode::Closed(quote) if quote + 1 == place => self.end_cell(self.start + 1, quote),
            Mode::Closed(_) => {
                self.stray = true;
                self.end_cell(self.start, place);
            }
            _ => self.end_cell(self.start, place),
        }
    }

    #[inline]
    fn reset(&mut self) {
        self.carry.clear();
        self.carried = 0;
        self.cells.clear();
        self.count = 0;
        self.marks = Marks::default();
        self.too_long = false;
        self.mode = Mode::Plain;
        self.start = 0;
        self.doubled = false;
        self.stray = false;
        self.line = None;
    }
}
