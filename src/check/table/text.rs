//! Bytes as the dataset declares them, made UTF-8 piece by piece.
//!
//! Never guesses an encoding and never repairs: a malformed byte becomes a byte that no UTF-8 has, so that the record
//! and the cell that hold it are found by the same code for all encodings. Holds one small buffer. Called by `table`.

use encoding_rs::{Decoder, DecoderResult, UTF_16BE, UTF_16LE, WINDOWS_1252};

use super::Encoding;
use crate::check::Fault;

/// Bytes of UTF-8 made at once.
const PIECE: usize = 32 * 1024;

/// Stands for a malformed sequence; no UTF-8 holds it.
const MALFORMED: u8 = 0xFF;

const UTF8_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One file's text under way.
pub(super) struct Text {
    state: State,
}

enum State {
    /// At the start of UTF-8: that many bytes of a byte order mark came.
    Mark(usize),
    /// UTF-8 past its start.
    Plain,
    /// At the start of UTF-16: the first byte, if it came.
    Order(Option<u8>),
    Coded {
        decoder: Box<Decoder>,
        piece: Vec<u8>,
    },
}

impl State {
    fn coded(decoder: Decoder) -> Self {
        Self::Coded { decoder: Box::new(decoder), piece: vec![0; PIECE] }
    }
}

/// UTF-16 was declared with a byte order mark, and there is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unmarked;

/// Why [`Text::push`] stopped.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Unmarked(Unmarked),
    /// What the reader of the text said.
    Fault(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Text {
    pub(super) fn new(encoding: Encoding) -> Self {
        let state = match encoding {
            Encoding::Utf8 => State::Mark(0),
            Encoding::Windows1252 => State::coded(WINDOWS_1252.new_decoder_without_bom_handling()),
            Encoding::Utf16 => State::Order(None),
            Encoding::Utf16Le => State::coded(UTF_16LE.new_decoder_with_bom_removal()),
            Encoding::Utf16Be => State::coded(UTF_16BE.new_decoder_with_bom_removal()),
        };
        Self { state }
    }

    /// Takes the next bytes, cut anywhere, and gives text to `sink`, cut anywhere. One byte order mark at the start is
    /// left out.
    ///
    /// # Errors
    /// The first error of `sink`, or a byte order mark that is missing.
    pub(super) fn push(&mut self, bytes: &[u8], sink: &mut impl FnMut(&[u8]) -> Result<(), Fault>) -> Result<(), Stop> {
        match &mut self.state {
            State::Plain => Ok(sink(bytes)?),
            State::Mark(seen) => {
                let rest = &UTF8_MARK[*seen..];
                let same = rest.iter().zip(bytes).take_while(|(wanted, byte)| wanted == byte).count();
                if same == bytes.len() && same < rest.len() {
                    *seen += same;
                    return Ok(());
                }
                let before = *seen;
                self.state = State::Plain;
                if same == rest.len() {
                    return Ok(sink(&bytes[same..])?);
                }
                sink(&UTF8_MARK[..before])?;
                Ok(sink(bytes)?)
            }
            State::Order(first) => {
                let (mark, rest) = match (*first, bytes) {
                    (_, []) => return Ok(()),
                    (None, [first]) => {
                        self.state = State::Order(Some(*first));
                        return Ok(());
                    }
                    (None, [first, second, rest @ ..]) => ([*first, *second], rest),
                    (Some(first), [second, rest @ ..]) => ([first, *second], rest),
                };
                let encoding = match mark {
                    [0xFF, 0xFE] => UTF_16LE,
                    [0xFE, 0xFF] => UTF_16BE,
                    _ => return Err(Stop::Unmarked(Unmarked)),
                };
                self.state = State::coded(encoding.new_decoder_without_bom_handling());
                self.push(rest, sink)
            }
            State::Coded { decoder, piece } => Ok(decode(decoder, piece, bytes, false, sink)?),
        }
    }

    /// The end: gives what was held back.
    ///
    /// # Errors
    /// As for [`Text::push`].
    pub(super) fn finish(mut self, sink: &mut impl FnMut(&[u8]) -> Result<(), Fault>) -> Result<(), Stop> {
        match &mut self.state {
            State::Plain | State::Order(None) => Ok(()),
            State::Mark(seen) => Ok(sink(&UTF8_MARK[..*seen])?),
            State::Order(Some(_)) => Err(Stop::Unmarked(Unmarked)),
            State::Coded { decoder, piece } => Ok(decode(decoder, piece, &[], true, sink)?),
        }
    }
}

fn decode(
    decoder: &mut Decoder,
    piece: &mut [u8],
    mut bytes: &[u8],
    last: bool,
    sink: &mut impl FnMut(&[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    loop {
        // One byte of the piece is kept for the mark of a malformed sequence.
        let room = piece.len() - 1;
        let (result, read, mut written) = decoder.decode_to_utf8_without_replacement(bytes, &mut piece[..room], last);
        bytes = &bytes[read..];
        if let DecoderResult::Malformed(..) = result {
            piece[written] = MALFORMED;
            written += 1;
        }
        if written > 0 {
            sink(&piece[..written])?;
        }
        if result == DecoderResult::InputEmpty {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(encoding: Encoding, bytes: &[u8], cut: usize) -> Result<Vec<u8>, Stop> {
        let mut text = Text::new(encoding);
        let mut out = Vec::new();
        let mut sink = |piece: &[u8]| {
            out.extend_from_slice(piece);
            Ok(())
        };
        for piece in bytes.chunks(cut) {
            text.push(piece, &mut sink)?;
        }
        text.finish(&mut sink)?;
        Ok(out)
    }

    #[test]
    fn every_encoding_becomes_utf8_however_it_is_cut() {
        let le: Vec<u8> = "é€😀a".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let be: Vec<u8> = "é€😀a".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let marked = |mark: &[u8], text: &[u8]| [mark, text].concat();
        for cut in 1..12 {
            let same = |encoding, bytes: &[u8], text: &str| {
                assert_eq!(read(encoding, bytes, cut).unwrap(), text.as_bytes(), "{encoding:?} cut at {cut}");
            };
            same(Encoding::Utf8, "é€😀a".as_bytes(), "é€😀a");
            same(Encoding::Utf8, "\u{FEFF}a".as_bytes(), "a");
            same(Encoding::Utf8, "\u{FEFF}\u{FEFF}a".as_bytes(), "\u{FEFF}a");
            same(Encoding::Windows1252, b"\xE9\x80a", "é€a");
            same(Encoding::Utf16Le, &le, "é€😀a");
            same(Encoding::Utf16Be, &be, "é€😀a");
            same(Encoding::Utf16Le, &marked(b"\xFF\xFE", &le), "é€😀a");
            same(Encoding::Utf16, &marked(b"\xFF\xFE", &le), "é€😀a");
            same(Encoding::Utf16, &marked(b"\xFE\xFF", &be), "é€😀a");
            same(Encoding::Utf16, &[], "");
            assert_eq!(read(Encoding::Utf8, b"\xEF\xBBa", cut).unwrap(), b"\xEF\xBBa");
            assert_eq!(read(Encoding::Utf8, b"\xEF\xBB", cut).unwrap(), b"\xEF\xBB");
            assert_eq!(read(Encoding::Utf16, &le, cut), Err(Stop::Unmarked(Unmarked)));
            assert_eq!(read(Encoding::Utf16, b"a", cut), Err(Stop::Unmarked(Unmarked)));
        }
    }

    #[test]
    fn a_malformed_sequence_stays_visible_at_its_place() {
        for cut in 1..8 {
            // A lone surrogate between two letters, then half a unit.
            assert_eq!(read(Encoding::Utf16Le, b"a\0\0\xD8b\0c", cut).unwrap(), b"a\xFFb\xFF");
        }
    }

    #[test]
    fn text_larger_than_a_piece_is_whole() {
        let wide = vec![0xE9; 3 * PIECE + 5];
        assert_eq!(read(Encoding::Windows1252, &wide, PIECE * 2).unwrap(), "é".repeat(wide.len()).as_bytes());
    }
}
