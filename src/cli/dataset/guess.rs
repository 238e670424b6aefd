//! What a sample's encoding and delimiter seem to be. An operator reads the result: here, and only here, is guessing allowed.

use encoding_rs::{UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use super::records::Records;
use crate::check::Encoding;

/// Records that are compared.
const RECORDS: usize = 200;

/// From the first bytes: a byte order mark, or NULs where UTF-16 has them, or UTF-8. That it is windows-1252 shows when
/// bytes are no UTF-8, which may be late.
pub fn encoding(head: &[u8]) -> Encoding {
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return Encoding::Utf16;
    }
    let nuls = |odd: usize| head.chunks_exact(2).take(512).filter(|pair| pair[odd] == 0 && pair[1 - odd] != 0).count();
    let most = head.chunks_exact(2).take(512).count() * 9 / 10;
    match (nuls(0), nuls(1)) {
        (_, second) if most > 2 && second >= most => Encoding::Utf16Le,
        (first, _) if most > 2 && first >= most => Encoding::Utf16Be,
        _ => Encoding::Utf8,
    }
}

/// The decoder for an encoding; `head` settles the byte order of UTF-16.
pub fn decoder(encoding: Encoding, head: &[u8]) -> encoding_rs::Decoder {
    let coding = match encoding {
        Encoding::Utf8 => UTF_8,
        Encoding::Windows1252 => return WINDOWS_1252.new_decoder_without_bom_handling(),
        Encoding::Utf16 if head.starts_with(b"\xfe\xff") => UTF_16BE,
        Encoding::Utf16 | Encoding::Utf16Le => UTF_16LE,
        Encoding::Utf16Be => UTF_16BE,
    };
    coding.new_decoder_with_bom_removal()
}

/// The separator under which most records have as many cells as the first, two at the least; a comma when there is none.
/// `whole`: the text is all of the file, so that its last record is complete.
pub fn delimiter(text: &str, whole: bool) -> u8 {
    let score = |delimiter: u8| {
        let mut counts = Vec::new();
        let mut records = Records::new(delimiter);
        let mut sink = |cells: &[&str]| {
            if counts.len() < RECORDS {
                counts.push(cells.len());
            }
        };
        records.push(text, &mut sink);
        if whole {
            records.finish(&mut sink);
        }
        let first = counts.first().copied().unwrap_or(0);
        let like = counts.iter().filter(|count| **count == first).count();
        if first < 2 { (0, 0) } else { (like * 1000 / counts.len(), first) }
    };
    // The first of equals is the more usual one.
    let candidates = [b'|', b'\t', b';', b','];
    candidates.into_iter().max_by_key(|delimiter| score(*delimiter)).filter(|best| score(*best).1 > 1).unwrap_or(b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_separator_is_the_one_that_makes_a_table() {
        assert_eq!(delimiter("a;b\n1,5;2\n3,7;4\n", true), b';');
        assert_eq!(delimiter("a\tb,c\n1\t2\n", true), b'\t');
        assert_eq!(delimiter("a,b\n\"x;y;z\",1\n", true), b',');
        assert_eq!(delimiter("a|b|c\n1|2|3\n", true), b'|');
        assert_eq!(delimiter("alone\nx\n", true), b',');
    }

    #[test]
    fn encodings_are_told_by_their_first_bytes() {
        assert_eq!(encoding(b"a,b\n"), Encoding::Utf8);
        assert_eq!(encoding(b"\xff\xfea\0"), Encoding::Utf16);
        let le: Vec<u8> = "id,name\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let be: Vec<u8> = "id,name\r\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!((encoding(&le), encoding(&be)), (Encoding::Utf16Le, Encoding::Utf16Be));
    }
}
