//! The records of a sample, read leniently: for guesses alone. Whether the sample is sound is `check`'s to say.
//!
//! Holds one record, of at most [`RECORD_MAX`] bytes.

/// A longer record is no record; the check refuses it long before.
const RECORD_MAX: usize = 4 << 20;

/// Text comes in pieces, records go out.
pub struct Records {
    delimiter: u8,
    state: State,
    text: Vec<u8>,
    /// Where each finished cell ends in `text`.
    ends: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    CellStart,
    Plain,
    Quoted,
    /// Behind a quote inside quotes: the end, or the first of two.
    QuoteInQuoted,
}

impl Records {
    pub fn new(delimiter: u8) -> Self {
        Self { delimiter, state: State::CellStart, text: Vec::new(), ends: Vec::new() }
    }

    /// Takes the next piece, cut between characters; `sink` gets each record that ends in it.
    pub fn push(&mut self, piece: &str, sink: &mut dyn FnMut(&[&str])) {
        for byte in piece.bytes() {
            match (self.state, byte) {
                (State::CellStart, b'"') => self.state = State::Quoted,
                (State::Quoted, b'"') => self.state = State::QuoteInQuoted,
                (State::QuoteInQuoted, b'"') => {
                    self.text.push(byte);
                    self.state = State::Quoted;
                }
                (State::Quoted, _) => self.text.push(byte),
                (_, b'\n' | b'\r') => self.end(sink),
                (_, byte) if byte == self.delimiter => {
                    self.ends.push(self.text.len());
                    self.state = State::CellStart;
                }
                (_, byte) => {
                    self.text.push(byte);
                    self.state = State::Plain;
                }
            }
            if self.text.len() > RECORD_MAX {
                self.text.clear();
                self.ends.clear();
                self.state = State::Plain;
            }
        }
    }

    pub fn finish(mut self, sink: &mut dyn FnMut(&[&str])) {
        self.end(sink);
    }

    /// Blank lines, and what stands between CR and LF, are no records.
    fn end(&mut self, sink: &mut dyn FnMut(&[&str])) {
        if !self.ends.is_empty() || !self.text.is_empty() || self.state == State::QuoteInQuoted {
            self.ends.push(self.text.len());
            let mut start = 0;
            // Cut at ASCII out of whole characters: each cell is UTF-8.
            let cells: Vec<&str> = self
                .ends
                .iter()
                .map(|end| {
                    std::str::from_utf8(&self.text[std::mem::replace(&mut start, *end)..*end]).unwrap_or_default()
                })
                .collect();
            sink(&cells);
        }
        self.text.clear();
        self.ends.clear();
        self.state = State::CellStart;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(text: &str, cut: usize) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        let mut sink = |cells: &[&str]| all.push(cells.iter().map(|cell| (*cell).to_owned()).collect());
        let mut records = Records::new(b',');
        let chars: Vec<char> = text.chars().collect();
        for piece in chars.chunks(cut) {
            records.push(&piece.iter().collect::<String>(), &mut sink);
        }
        records.finish(&mut sink);
        all
    }

    #[test]
    fn quotes_line_ends_and_empty_cells_are_understood_however_the_text_is_cut() {
        let text = "a,\"b \"\"c\"\"\",\r\n\r\n\"é,\nx\",,\n\"\"\n,\nlast";
        let wanted: Vec<Vec<&str>> =
            vec![vec!["a", "b \"c\"", ""], vec!["é,\nx", "", ""], vec![""], vec!["", ""], vec!["last"]];
        for cut in [1, 2, 3, 100] {
            assert_eq!(records(text, cut), wanted, "{cut}");
        }
    }
}
