//! What a file is, told by its bytes and not by its name: for datasets that take text in rows.
//!
//! Holds the first [`HEAD`] bytes back until they are judged, so that nobody complains of the rows of what is no table.
//! What follows them is the matter of `table`. Called by `pass`.

mod marks;

use super::unpack::Compression;
use super::{Encoding, Fault};
use marks::recognise;

/// Bytes kept to recognise a file by; a tar archive's mark, the furthest, ends at 262.
pub(super) const HEAD: usize = 512;

/// The demand that the bytes be of one kind.
pub(super) struct TypeCheck {
    wanted: Wanted,
    head: Vec<u8>,
    /// The head was looked at, and nothing speaks against it.
    passed: bool,
}

enum Wanted {
    Text {
        encoding: Encoding,
        /// What the dataset opens when a name says so: what the advice says of a packed file with a plain name.
        opened: Vec<Compression>,
    },
    Packed(Compression),
}

impl TypeCheck {
    pub(super) fn text(encoding: Encoding, opened: &[Compression]) -> Self {
        Self { wanted: Wanted::Text { encoding, opened: opened.to_vec() }, head: Vec::new(), passed: false }
    }

    pub(super) fn packed(compression: Compression) -> Self {
        Self { wanted: Wanted::Packed(compression), head: Vec::new(), passed: false }
    }

    /// Takes bytes and gives those on that are judged: the head, once, and what follows it.
    ///
    /// # Errors
    /// What it is instead, and what to do.
    pub(super) fn push<'b>(&mut self, bytes: &'b [u8]) -> Result<(Vec<u8>, &'b [u8]), Fault> {
        if self.passed {
            return Ok((Vec::new(), bytes));
        }
        let (head, rest) = bytes.split_at(bytes.len().min(HEAD - self.head.len()));
        self.head.extend_from_slice(head);
        if self.head.len() < HEAD {
            return Ok((Vec::new(), &[]));
        }
        Ok((self.judge()?, rest))
    }

    /// No more bytes come: what was held back.
    ///
    /// # Errors
    /// As [`TypeCheck::push`].
    pub(super) fn finish(&mut self) -> Result<Vec<u8>, Fault> {
        if self.passed { Ok(Vec::new()) } else { self.judge() }
    }

    fn judge(&mut self) -> Result<Vec<u8>, Fault> {
        let head = std::mem::take(&mut self.head);
        match &self.wanted {
            Wanted::Text { encoding, opened } => text(&head, *encoding, opened)?,
            Wanted::Packed(compression) => packed(&head, *compression)?,
        }
        self.passed = true;
        Ok(head)
    }
}

fn text(head: &[u8], encoding: Encoding, opened: &[Compression]) -> Result<(), Fault> {
    let Some(kind) = recognise(head, encoding) else { return Ok(()) };
    let rename = kind.packed.filter(|compression| opened.contains(compression));
    Err(Fault(match rename {
        Some(compression) => format!(
            "this is {}, not CSV: give it a name that ends in {}, so that it is opened, or {}",
            kind.what,
            compression.ending(),
            kind.instead
        ),
        None => format!("this is {}, not CSV: {}", kind.what, kind.instead),
    }))
}

/// An empty head, and one that was cut off in its mark, pass: unpacking tells that it is cut off.
fn packed(head: &[u8], compression: Compression) -> Result<(), Fault> {
    let mark: &[u8] = match compression {
        Compression::Gzip => b"\x1f\x8b",
        Compression::Zip => b"PK\x03\x04",
    };
    let kind = recognise(head, Encoding::Utf8);
    if mark.starts_with(head) || kind.as_ref().is_some_and(|kind| kind.packed == Some(compression)) {
        return Ok(());
    }
    let ending = compression.ending();
    Err(Fault(match kind {
        Some(kind) => format!("the name ends in {ending}, but this is {}: {}", kind.what, kind.instead),
        None => format!(
            "the name ends in {ending}, but the file is not packed so: give it its own name (without {ending}), or pack it, and send it again"
        ),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told_as(encoding: Encoding, bytes: &[u8]) -> Option<String> {
        let whole = |piece: usize| {
            let mut check = TypeCheck::text(encoding, &[Compression::Gzip]);
            let mut given = Vec::new();
            for piece in bytes.chunks(piece.max(1)) {
                let (head, rest) = check.push(piece)?;
                given.extend([&head, rest].concat());
            }
            given.extend(check.finish()?);
            assert_eq!(given, bytes, "what is held back comes after all");
            Ok::<(), Fault>(())
        };
        let (one, many) = (whole(bytes.len()), whole(1));
        assert_eq!(one, many, "the verdict depends on how the bytes are cut");
        one.err().map(|fault| fault.0)
    }

    fn told(bytes: &[u8]) -> Option<String> {
        told_as(Encoding::Utf8, bytes)
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
            (b"\0\x01\0\0Standard Jet DB\0", "Access"),
            (b"\0\x01\0\0Standard ACE DB\0", "Access"),
            (b"$FL2@(#) SPSS DATA FILE", "SPSS"),
            (b"<stata_dta><header><release>118", "Stata"),
            (b"\x73\x02\x01\0\x12\0", "Stata"),
            (&[vec![0; 128], b"DICM\x02\0\0\0".to_vec()].concat(), "DICOM"),
            (b"\x4c\0\0\0\x01\x14\x02\0", "shortcut"),
            (b"\xca\xfe\xba\xbe\0\0\0\x41", "Java"),
            (b"@ECHO OFF\r\ndir", "script"),
            (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", "a private key"),
            (b"AGE-SECRET-KEY-1QQQ", "a private key"),
            (b"-----BEGIN CERTIFICATE-----\n", "PEM"),
            (b"Salted__\x01\x02", "OpenSSL"),
            (&[b"\x03\x7e\x05\x11".as_slice(), &[9; 8], &[0; 20]].concat(), "dBASE"),
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
            "@echo off,name\n",
            "ID;Patient\n",
            "BMI,BM\n",
            "RIFF,id,WAVE\n",
            "ID3,ID4\n",
            "LZIP,x\n",
            "Object,x\n",
            "-----\n",
            "caf\u{e9},\u{1F600}\n",
        ] {
            assert_eq!(told(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(told(b"name\ncaf\xe9\n"), None, "Latin-1 is for the checks of content");
    }

    #[test]
    fn declared_utf16_is_text_and_still_no_page_or_program() {
        let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        let marked = |text: &str| [b"\xff\xfe".to_vec(), wide(text)].concat();
        for encoding in [Encoding::Utf16, Encoding::Utf16Le, Encoding::Utf16Be] {
            assert_eq!(told_as(encoding, &marked("id,name\r\n1,x\r\n")), None);
            assert_eq!(told_as(encoding, &wide("id,name\r\n1,x\r\n")), None);
            assert!(told_as(encoding, &marked("<!DOCTYPE html><title>")).unwrap().contains("HTML"));
            assert!(told_as(encoding, b"\x7fELF\x02").unwrap().contains("ELF"));
            assert!(told_as(encoding, b"\xff\xfe\0\0i\0\0\0").unwrap().contains("UTF-32"));
        }
    }

    #[test]
    fn a_packed_file_with_a_plain_name_is_told_which_name_it_should_have() {
        assert!(told(b"\x1f\x8b\x08\0").unwrap().contains("a name that ends in .gz"));
        let zip = told(b"PK\x03\x04\x14\0").unwrap();
        assert!(!zip.contains("name that ends") && zip.contains("unpack it"), "not opened here: {zip}");
    }

    #[test]
    fn a_name_that_says_packed_is_held_to_it() {
        let told = |compression, bytes: &[u8]| {
            let mut check = TypeCheck::packed(compression);
            check.push(bytes).and_then(|_| check.finish()).err().map(|fault| fault.0)
        };
        assert_eq!(told(Compression::Gzip, b"\x1f\x8b\x08\0\0\0"), None);
        assert_eq!(told(Compression::Zip, b"PK\x03\x04\x14\0"), None);
        for cut in [&b""[..], b"P", b"PK\x03"] {
            assert_eq!(told(Compression::Zip, cut), None, "unpacking says that it is cut off");
        }
        assert!(told(Compression::Gzip, b"PK\x03\x04\x14\0").unwrap().contains(".gz, but this is a ZIP archive"));
        assert!(told(Compression::Gzip, b"id,name\n1,x\n").unwrap().contains("without .gz"));
        let workbook = [b"PK\x03\x04".as_slice(), &[0; 26], b"[Content_Types].xml"].concat();
        assert!(told(Compression::Zip, &workbook).unwrap().contains("XLSX workbook"));
    }

    #[test]
    fn memory_stays_at_the_head() {
        let mut check = TypeCheck::text(Encoding::Utf8, &[]);
        for _ in 0..1000 {
            check.push(&[b'x'; 1000]).unwrap();
        }
        assert_eq!(check.head.capacity(), 0);
    }
}
