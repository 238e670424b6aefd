//! Marks by which files are recognised: only what is beyond doubt, so that an unusual CSV passes.
//!
//! Looks at a file's first bytes and knows nothing of datasets. Called by `kind`.

use crate::check::{Compression, Encoding};

/// What a file is instead of CSV, in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub what: &'static str,
    /// What to do.
    pub instead: &'static str,
    /// What it is packed with, when that is one that can be opened.
    pub packed: Option<Compression>,
}

impl Kind {
    const fn new(what: &'static str, instead: &'static str) -> Self {
        Self { what, instead, packed: None }
    }
}

const EXPORT: &str = "open it, save or export it as \"CSV UTF-8\", and send that file";
const UNPACK: &str = "unpack it and send the CSV file that is in it";
const DECRYPT: &str = "send the CSV file itself; the connection is encrypted, and the gateway encrypts the file again before it stores it";
const WRONG_FILE: &str = "the wrong file may have been chosen; send the exported CSV file";
const SECRET: &str = "a private key belongs on no other machine: make a new one, have the old one removed, and send the exported CSV file";
const UTF16: &str = "text in UTF-16 (\"Unicode text\" in some programs)";
const UTF8: &str = "export it as \"CSV UTF-8\" and send that file";

/// Marks at the very start of a file.
#[rustfmt::skip]
const MARKS: &[(&[u8], &str, &str)] = &[
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (b"\xfd7zXZ\0", "an xz archive", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", UNPACK),
    (b"\x04\x22\x4d\x18", "an LZ4 archive", UNPACK),
    (b"LZIP\x01", "an lzip archive", UNPACK),
    (b"\x1f\x9d", "an archive (of compress)", UNPACK),
    (b"MSCF\0\0\0\0", "a cabinet archive (.cab)", UNPACK),
    (b"!<arch>\n", "an archive (of ar, or a Debian package)", WRONG_FILE),
    (b"%PDF-", "a PDF document", "export the data itself as CSV and send that file"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document (such as an .xls workbook)", EXPORT),
    (b"%!PS-", "a PostScript document", "export the data itself as CSV and send that file"),
    (b"ID;PWXL;", "a SYLK workbook", EXPORT),
    (b"\0\x01\0\0Standard Jet DB", "an Access database", EXPORT),
    (b"\0\x01\0\0Standard ACE DB", "an Access database", EXPORT),
    (b"\0\0\0\0\0\0\0\0\0\0\0\0\xc2\xea\x81\x60", "a SAS data set", EXPORT),
    (b"HEADER RECORD*******LIB", "a SAS transport file", EXPORT),
    (b"$FL2@(#)", "an SPSS file (.sav)", EXPORT),
    (b"$FL3@(#)", "an SPSS file (.zsav)", EXPORT),
    (b"<stata_dta>", "a Stata file", EXPORT),
    (b"RDX2\n", "an R workspace", EXPORT),
    (b"RDX3\n", "an R workspace", EXPORT),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", EXPORT),
    (b"ARROW1\0\0", "an Arrow file", EXPORT),
    (b"Obj\x01", "an Avro file", EXPORT),
    (b"!BDN", "an Outlook mailbox (.pst)", WRONG_FILE),
    (b"\x78\x9f\x3e\x22", "a mail's winmail.dat", "save the attachment itself, and send it if it is the CSV file"),
    (b"MIME-Version: 1.", "a mail or a saved web page", WRONG_FILE),
    (b"BEGIN:VCALENDAR", "a calendar", WRONG_FILE),
    (b"BEGIN:VCARD", "contacts (a vCard)", WRONG_FILE),
    (b"{\\rtf", "an RTF document", EXPORT),
    (b"\x7fELF", "a program (ELF)", WRONG_FILE),
    (b"\xfe\xed\xfa\xce", "a program (Mach-O)", WRONG_FILE),
    (b"\xfe\xed\xfa\xcf", "a program (Mach-O)", WRONG_FILE),
    (b"\xce\xfa\xed\xfe", "a program (Mach-O)", WRONG_FILE),
    (b"\xcf\xfa\xed\xfe", "a program (Mach-O)", WRONG_FILE),
    (b"\xca\xfe\xba\xbe", "a program (Mach-O or Java)", WRONG_FILE),
    (b"\x4c\0\0\0\x01\x14\x02\0", "a Windows shortcut (.lnk)", "it only points to the file; send the file itself"),
    (b"#!/", "a program (a script)", WRONG_FILE),
    (b"#! /", "a program (a script)", WRONG_FILE),
    (b"age-encryption.org/v", "a file encrypted with age", DECRYPT),
    (b"-----BEGIN AGE ENCRYPTED FILE-----", "a file encrypted with age", DECRYPT),
    (b"-----BEGIN PGP MESSAGE-----", "a file encrypted with PGP", DECRYPT),
    (b"-----BEGIN PGP ", "a PGP key or signature", WRONG_FILE),
    (b"Salted__", "a file encrypted with OpenSSL", DECRYPT),
    (b"LUKS\xba\xbe", "an encrypted disk (LUKS)", WRONG_FILE),
    (b"-----BEGIN OPENSSH PRIVATE KEY", "a private key", SECRET),
    (b"-----BEGIN PRIVATE KEY", "a private key", SECRET),
    (b"-----BEGIN ENCRYPTED PRIVATE KEY", "a private key", SECRET),
    (b"-----BEGIN RSA PRIVATE KEY", "a private key", SECRET),
    (b"-----BEGIN EC PRIVATE KEY", "a private key", SECRET),
    (b"AGE-SECRET-KEY-1", "a private key (of age)", SECRET),
    (b"PuTTY-User-Key-File-", "a private key (of PuTTY)", SECRET),
    (b"-----BEGIN ", "a key or certificate (PEM)", WRONG_FILE),
    (b"\x89PNG\r\n\x1a\n", "a PNG image", WRONG_FILE),
    (b"\xff\xd8\xff", "a JPEG image", WRONG_FILE),
    (b"GIF87a", "a GIF image", WRONG_FILE),
    (b"GIF89a", "a GIF image", WRONG_FILE),
    (b"II*\0", "a TIFF image", WRONG_FILE),
    (b"MM\0*", "a TIFF image", WRONG_FILE),
    (b"OggS\0", "a sound or film (Ogg)", WRONG_FILE),
    (b"\x1a\x45\xdf\xa3", "a film (Matroska)", WRONG_FILE),
    (b"SQLite format 3\0", "an SQLite database", EXPORT),
    (b"\xff\xfe\0\0", "text in UTF-32", UTF8),
    (b"\0\0\xfe\xff", "text in UTF-32", UTF8),
];

/// What the file that begins with `head` is, if that is beyond doubt; none for text in the `encoding` that the dataset
/// declares, and for what is unknown.
pub(super) fn recognise(head: &[u8], encoding: Encoding) -> Option<Kind> {
    if let Some((_, what, instead)) = MARKS.iter().find(|(mark, ..)| head.starts_with(mark)) {
        return Some(Kind::new(what, instead));
    }
    if let Some(kind) = packed(head).or_else(|| binary(head)) {
        return Some(kind);
    }
    match encoding {
        Encoding::Utf8 | Encoding::Windows1252 => {
            utf16(head).then_some(Kind::new(UTF16, UTF8)).or_else(|| markup(head))
        }
        // Markup is ASCII: every other byte is enough to know it by.
        Encoding::Utf16 | Encoding::Utf16Le | Encoding::Utf16Be => {
            let text = head.strip_prefix(b"\xff\xfe").or_else(|| head.strip_prefix(b"\xfe\xff")).unwrap_or(head);
            let narrow: Vec<u8> = text.iter().copied().filter(|byte| *byte != 0).collect();
            markup(&narrow)
        }
    }
}

/// gzip, and ZIP (APPNOTE 4.3.7): the first member's name, at byte 30, tells Office documents from plain archives.
fn packed(head: &[u8]) -> Option<Kind> {
    let archive = |what, compression| Kind { what, instead: UNPACK, packed: Some(compression) };
    if head.starts_with(b"\x1f\x8b") {
        return Some(archive("a gzip archive", Compression::Gzip));
    }
    let archive = archive("a ZIP archive", Compression::Zip);
    if head.starts_with(b"PK\x05\x06") || head.starts_with(b"PK\x07\x08") {
        return Some(archive);
    }
    if !head.starts_with(b"PK\x03\x04") {
        return None;
    }
    let member = head.get(30..).unwrap_or_default();
    let contains = |needle: &[u8]| head.windows(needle.len()).any(|window| window == needle);
    if member.starts_with(b"mimetypeapplication/vnd.oasis.opendocument") {
        return Some(Kind::new("an OpenDocument file (such as an .ods workbook)", EXPORT));
    }
    if member.starts_with(b"[Content_Types].xml") || member.starts_with(b"_rels/") || member.starts_with(b"docProps/") {
        let what = if contains(b"word/") { "a Word document" } else { "an Office document (such as an XLSX workbook)" };
        return Some(Kind::new(what, EXPORT));
    }
    if member.starts_with(b"xl/") {
        return Some(Kind::new("an XLSX workbook", EXPORT));
    }
    if member.starts_with(b"Index/") && contains(b".iwa") {
        return Some(Kind::new("a Numbers or Pages document", EXPORT));
    }
    Some(archive)
}

/// Binary formats whose mark could begin a text, so that a second sign is asked for.
fn binary(head: &[u8]) -> Option<Kind> {
    if head.starts_with(b"MZ") && head.len() >= 64 && head[..64].contains(&0) {
        return Some(Kind::new("a program (for Windows)", WRONG_FILE));
    }
    if head.starts_with(b"BZh") && head.get(4..10) == Some(b"\x31\x41\x59\x26\x53\x59") {
        return Some(Kind::new("a bzip2 archive", UNPACK));
    }
    if head.starts_with(b"PAR1\x15") {
        return Some(Kind::new("a Parquet file", EXPORT));
    }
    if head.get(257..262) == Some(b"ustar") {
        return Some(Kind::new("a tar archive", UNPACK));
    }
    // After a preamble of 128 bytes; the file's group 0002 follows (DICOM PS3.10, 7.1).
    if head.get(128..134) == Some(b"DICM\x02\0") {
        return Some(Kind::new("a DICOM image", WRONG_FILE));
    }
    // Stata 8 to 12: release, byte order, type 1, a zero.
    if matches!(head, [113..=115, 1 | 2, 1, 0, ..]) {
        return Some(Kind::new("a Stata file", EXPORT));
    }
    // dBASE III: version, and the date of the last change.
    if matches!(head, [3 | 0x83, _, 1..=12, 1..=31, ..]) && head.get(12..24) == Some(&[0; 12]) {
        return Some(Kind::new("a dBASE file (.dbf)", EXPORT));
    }
    // Its length, in four bytes, is below half a GiB.
    if head.starts_with(b"RIFF")
        && head.get(7).is_some_and(|byte| *byte < 32)
        && matches!(head.get(8..12), Some(b"WAVE" | b"AVI " | b"WEBP"))
    {
        return Some(Kind::new("a sound, film or image", WRONG_FILE));
    }
    if head.first() == Some(&0) && head.get(4..8) == Some(b"ftyp") {
        return Some(Kind::new("a film or image (MP4, HEIC)", WRONG_FILE));
    }
    if head.starts_with(b"BM") && head.get(6..10) == Some(&[0; 4]) {
        return Some(Kind::new("a bitmap image", WRONG_FILE));
    }
    if matches!(head, [b'I', b'D', b'3', 2..=4, ..]) {
        return Some(Kind::new("a sound (MP3)", WRONG_FILE));
    }
    if head.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"@echo off"))
        && matches!(head.get(9), Some(b'\r' | b'\n'))
    {
        return Some(Kind::new("a program (a script for Windows)", WRONG_FILE));
    }
    // A public-key encrypted session key, version 3 (RFC 9580, section 5.1): in the old packet format with a length of
    // one or two bytes, or in the new one.
    let pgp =
        matches!(head, [0x84, _, 3, ..] | [0x85, _, _, 3, ..] | [0xc1, 0..=191, 3, ..] | [0xc1, 192..=223, _, 3, ..]);
    pgp.then_some(Kind::new("a file encrypted with PGP", DECRYPT))
}

/// UTF-16 by its mark; without one, the letters of Western text have a NUL as one of their two bytes.
fn utf16(head: &[u8]) -> bool {
    let pairs = head.len() / 2;
    let nuls = |odd: usize| head.chunks_exact(2).filter(|pair| pair[odd] == 0 && pair[1 - odd] != 0).count();
    let marked = head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff");
    marked || (pairs >= 4 && (nuls(0) * 10 >= pairs * 9 || nuls(1) * 10 >= pairs * 9))
}

/// HTML, XML and JSON, where the first characters leave no doubt.
fn markup(head: &[u8]) -> Option<Kind> {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let begins = |with: &str| text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()));
    if begins("<!doctype html") || begins("<html>") || begins("<html ") || begins("<head>") {
        let instead = "a page was saved instead of the data, perhaps one that asks to log in; export the data as CSV";
        return Some(Kind::new("an HTML page", instead));
    }
    if begins("<?xml ") || begins("<!doctype ") || begins("<svg ") {
        return Some(Kind::new("an XML document", EXPORT));
    }
    if is_json(text) {
        return Some(Kind::new("JSON", "export the data as CSV and send that file"));
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
