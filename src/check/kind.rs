//! What a file is, told by its bytes and not by its name: for datasets that take text in rows.
//!
//! Keeps the first [`HEAD`] bytes and looks for NUL bytes in all of them. Recognises only what is beyond doubt: an
//! unusual CSV must pass.

use super::Fault;

/// Bytes kept to recognise a file by; a tar archive's mark, the furthest, ends at 262.
const HEAD: usize = 512;

/// The demand that the file be text.
#[derive(Default)]
pub(super) struct TypeCheck {
    head: Vec<u8>,
    /// The head was looked at, and nothing was recognised.
    passed: bool,
    /// Bytes seen.
    seen: u64,
    /// Where the first NUL byte is, while the head is not complete.
    nul: Option<u64>,
}

impl TypeCheck {
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if self.nul.is_none() {
            // `contains` is a vectorised search; only when there is one do we look where.
            let found = bytes.contains(&0).then(|| bytes.iter().position(|b| *b == 0)).flatten();
            self.nul = found.map(|at| self.seen + at as u64);
        }
        self.seen += bytes.len() as u64;
        if !self.passed {
            let missing = HEAD - self.head.len();
            self.head.extend_from_slice(&bytes[..bytes.len().min(missing)]);
            if self.head.len() < HEAD {
                return Ok(());
            }
        }
        self.judge()
    }

    pub(super) fn finish(mut self) -> Result<(), Fault> {
        self.judge()
    }

    fn judge(&mut self) -> Result<(), Fault> {
        if !self.passed {
            if let Some(kind) = recognise(&self.head) {
                return Err(Fault(format!("this is {}, not CSV: {}", kind.what, kind.instead)));
            }
            self.passed = true;
            self.head = Vec::new();
        }
        match self.nul {
            None => Ok(()),
            Some(at) => Err(Fault(format!(
                "byte {} of the file is NUL, which no text has: it is binary or damaged; export it as CSV (UTF-8) and send it again",
                at + 1
            ))),
        }
    }
}

/// What a file is instead of CSV, in words.
#[derive(Debug, PartialEq, Eq)]
struct Kind {
    what: &'static str,
    instead: &'static str,
}

const EXPORT: &str = "open it, save or export it as \"CSV UTF-8\", and send that file";
const UNPACK: &str = "unpack it and send the CSV file that is in it";
const DECRYPT: &str = "send the CSV file itself; the connection is encrypted, and the gateway encrypts the file again before it stores it";
const WRONG_FILE: &str = "the wrong file may have been chosen; send the exported CSV file";
const UTF8: &str = "export it as \"CSV UTF-8\" and send that file";

/// Marks at the very start of a file.
#[rustfmt::skip]
const MARKS: &[(&[u8], &str, &str)] = &[
    (b"\x1f\x8b", "a gzip archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (b"\xfd7zXZ\0", "an xz archive", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", UNPACK),
    (b"%PDF-", "a PDF document", "export the data itself as CSV and send that file"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document (such as an .xls workbook)", EXPORT),
    (b"{\\rtf", "an RTF document", EXPORT),
    (b"\x7fELF", "a program (ELF)", WRONG_FILE),
    (b"\xfe\xed\xfa\xce", "a program (Mach-O)", WRONG_FILE),
    (b"\xfe\xed\xfa\xcf", "a program (Mach-O)", WRONG_FILE),
    (b"\xce\xfa\xed\xfe", "a program (Mach-O)", WRONG_FILE),
    (b"\xcf\xfa\xed\xfe", "a program (Mach-O)", WRONG_FILE),
    (b"\xca\xfe\xba\xbe", "a program (Mach-O or Java)", WRONG_FILE),
    (b"#!/", "a program (a script)", WRONG_FILE),
    (b"#! /", "a program (a script)", WRONG_FILE),
    (b"age-encryption.org/v", "a file encrypted with age", DECRYPT),
    (b"-----BEGIN AGE ENCRYPTED FILE-----", "a file encrypted with age", DECRYPT),
    (b"-----BEGIN PGP MESSAGE-----", "a file encrypted with PGP", DECRYPT),
    (b"-----BEGIN PGP ", "a PGP key or signature", WRONG_FILE),
    (b"\x89PNG\r\n\x1a\n", "a PNG image", WRONG_FILE),
    (b"\xff\xd8\xff", "a JPEG image", WRONG_FILE),
    (b"GIF87a", "a GIF image", WRONG_FILE),
    (b"GIF89a", "a GIF image", WRONG_FILE),
    (b"SQLite format 3\0", "an SQLite database", EXPORT),
    (b"\xff\xfe\0\0", "text in UTF-32", UTF8),
    (b"\0\0\xfe\xff", "text in UTF-32", UTF8),
    (b"\xff\xfe", "text in UTF-16 (\"Unicode text\" in some programs)", UTF8),
    (b"\xfe\xff", "text in UTF-16 (\"Unicode text\" in some programs)", UTF8),
];

/// What the file that begins with `head` is, if that is beyond doubt; none for text, and for what is unknown.
fn recognise(head: &[u8]) -> Option<Kind> {
    if let Some((_, what, instead)) = MARKS.iter().find(|(mark, ..)| head.starts_with(mark)) {
        return Some(Kind { what, instead });
    }
    zip(head).or_else(|| binary(head)).or_else(|| markup(head))
}

/// ZIP (APPNOTE 4.3.7): the first member's name, at byte 30, tells Office documents from plain archives.
fn zip(head: &[u8]) -> Option<Kind> {
    let archive = Kind { what: "a ZIP archive", instead: UNPACK };
    if head.starts_with(b"PK\x05\x06") || head.starts_with(b"PK\x07\x08") {
        return Some(archive);
    }
    if !head.starts_with(b"PK\x03\x04") {
        return None;
    }
    let member = head.get(30..).unwrap_or_default();
    let contains = |needle: &[u8]| head.windows(needle.len()).any(|window| window == needle);
    if member.starts_with(b"mimetypeapplication/vnd.oasis.opendocument") {
        return Some(Kind { what: "an OpenDocument file (such as an .ods workbook)", instead: EXPORT });
    }
    if member.starts_with(b"[Content_Types].xml") || member.starts_with(b"_rels/") || member.starts_with(b"docProps/") {
        let what = if contains(b"word/") { "a Word document" } else { "an Office document (such as an XLSX workbook)" };
        return Some(Kind { what, instead: EXPORT });
    }
    if member.starts_with(b"xl/") {
        return Some(Kind { what: "an XLSX workbook", instead: EXPORT });
    }
    Some(archive)
}

/// Binary formats whose mark could begin a text, so that a second sign is asked for.
fn binary(head: &[u8]) -> Option<Kind> {
    if head.starts_with(b"MZ") && head.len() >= 64 && head[..64].contains(&0) {
        return Some(Kind { what: "a program (for Windows)", instead: WRONG_FILE });
    }
    if head.starts_with(b"BZh") && head.get(4..10) == Some(b"\x31\x41\x59\x26\x53\x59") {
        return Some(Kind { what: "a bzip2 archive", instead: UNPACK });
    }
    if head.starts_with(b"PAR1\x15") {
        return Some(Kind { what: "a Parquet file", instead: EXPORT });
    }
    if head.get(257..262) == Some(b"ustar") {
        return Some(Kind { what: "a tar archive", instead: UNPACK });
    }
    // A public-key encrypted session key, version 3 (RFC 9580, section 5.1): in the old packet format with a length of
    // one or two bytes, or in the new one.
    let pgp =
        matches!(head, [0x84, _, 3, ..] | [0x85, _, _, 3, ..] | [0xc1, 0..=191, 3, ..] | [0xc1, 192..=223, _, 3, ..]);
    if pgp {
        return Some(Kind { what: "a file encrypted with PGP", instead: DECRYPT });
    }
    // UTF-16 without its mark: the letters of Western text have a NUL as one of their two bytes.
    let pairs = head.len() / 2;
    let nuls = |odd: usize| head.chunks_exact(2).filter(|pair| pair[odd] == 0 && pair[1 - odd] != 0).count();
    if pairs >= 4 && (nuls(0) * 10 >= pairs * 9 || nuls(1) * 10 >= pairs * 9) {
        return Some(Kind { what: "text in UTF-16 (\"Unicode text\" in some programs)", instead: UTF8 });
    }
    None
}

/// HTML, XML and JSON, where the first characters leave no doubt.
fn markup(head: &[u8]) -> Option<Kind> {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let begins = |with: &str| text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()));
    if begins("<!doctype html") || begins("<html>") || begins("<html ") || begins("<head>") {
        let instead = "a page was saved instead of the data, perhaps one that asks to log in; export the data as CSV";
        return Some(Kind { what: "an HTML page", instead });
    }
    if begins("<?xml ") || begins("<!doctype ") || begins("<svg ") {
        return Some(Kind { what: "an XML document", instead: EXPORT });
    }
    if is_json(text) {
        return Some(Kind { what: "JSON", instead: "export the data as CSV and send that file" });
    }
    None
}

/// `{ "key" :`, alone or as the first element of an array. In a CSV file a quote inside a cell would be doubled.
fn is_json(text: &[u8]) -> bool {
    let object = text.strip_prefix(b"[").map_or(text, <[u8]>::trim_ascii_start);
    let Some(key) = object.strip_prefix(b"{").map(<[u8]>::trim_ascii_start).and_then(|t| t.strip_prefix(b"\"")) else {
        return false;
    };
    let Some(end) = key.iter().position(|b| matches!(b, b'"' | b'\n')) else { return false };
    key[end] == b'"' && key[end + 1..].trim_ascii_start().starts_with(b":")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bytes: &[u8]) -> Option<String> {
        let whole = |pieces: usize| {
            let mut check = TypeCheck::default();
            for piece in bytes.chunks(pieces.max(1)) {
                check.push(piece)?;
            }
            check.finish()
        };
        let (one, many) = (whole(bytes.len()), whole(1));
        assert_eq!(one, many, "the verdict depends on how the bytes are cut");
        one.err().map(|fault| fault.0)
    }

    #[test]
    fn each_kind_is_named() {
        let mut exe = b"MZ\x90\0\x03\0\0\0".to_vec();
        exe.resize(100, 0);
        let mut tar = b"extract.csv".to_vec();
        tar.resize(257, 0);
        tar.extend(b"ustar\x0000");
        let member = |name: &[u8]| [b"PK\x03\x04".as_slice(), &[0; 26], name].concat();
        let utf16: Vec<u8> = "id,name\r\n1,x\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let cases: &[(&[u8], &str)] = &[
            (&member(b"[Content_Types].xml"), "XLSX workbook"),
            (&member(b"xl/workbook.xml"), "XLSX workbook"),
            (&member(b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet"), "OpenDocument"),
            (&member(b"extract.csv"), "a ZIP archive"),
            (b"PK\x05\x06\0\0", "a ZIP archive"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"%PDF-1.7\n", "PDF"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0", "old Office"),
            (b"\x7fELF\x02", "program (ELF)"),
            (&exe, "program (for Windows)"),
            (b"\xcf\xfa\xed\xfe\x07", "Mach-O"),
            (b"#!/bin/sh\n", "script"),
            (b"age-encryption.org/v1\n-> X25519", "encrypted with age"),
            (b"-----BEGIN PGP MESSAGE-----\n", "encrypted with PGP"),
            (b"\x85\x02\x0c\x03\x11", "encrypted with PGP"),
            (b"\x89PNG\r\n\x1a\n\0", "PNG"),
            (b"\xff\xd8\xff\xe0", "JPEG"),
            (b"\n <!DOCTYPE HTML><title>", "HTML"),
            (b"<?xml version=\"1.0\"?>", "XML"),
            (b"[\n  {\"id\": 1}]", "JSON"),
            (b"{\"id\":1}", "JSON"),
            (b"\xff\xfei\0d\0", "UTF-16"),
            (&utf16, "UTF-16"),
            (b"\xff\xfe\0\0i\0\0\0", "UTF-32"),
            (&tar, "tar archive"),
        ];
        for (bytes, words) in cases {
            let told = told(bytes).unwrap_or_else(|| panic!("{words} passed"));
            assert!(told.contains(words) && told.contains("not CSV: "), "{words}: {told}");
        }
    }

    #[test]
    fn unusual_text_passes() {
        for text in [
            "MZone,name\n1,2\n",
            "PK,name\n",
            "PAR1,PAR2\n",
            "BZh9,x\n",
            "%PDF\n",
            "#id,name\n",
            "{curly},name\n",
            "[1],[2]\n",
            "\"{\"\"id\"\":1}\",x\n",
            "<id>,name\n",
            "x\n",
            "caf\u{e9},\u{1F600}\n",
        ] {
            assert_eq!(told(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(told(b"name\ncaf\xe9\n"), None, "Latin-1 is for the checks of content");
    }

    #[test]
    fn a_nul_byte_is_found_anywhere_and_told_by_its_place() {
        for at in [3, 511, 512, 513, 4000] {
            let mut text = b"a,b,c\n".repeat(1000);
            text[at] = 0;
            let told = told(&text).unwrap();
            assert!(told.contains(&format!("byte {} ", at + 1)), "{told}");
        }
    }

    #[test]
    fn memory_stays_at_the_head() {
        let mut check = TypeCheck::default();
        for _ in 0..1000 {
            check.push(&[b'x'; 1000]).unwrap();
        }
        assert_eq!(check.head.capacity(), 0);
    }
}
