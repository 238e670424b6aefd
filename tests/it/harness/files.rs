//! Content to send, and what became of it: generated files, digests, directory walks, opening sealed objects.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

pub use tempfile::TempDir;

use super::process::run;
use super::{PATIENCE, keys};

/// A directory that is removed with the value; on the build tree's disk, since `/tmp` may be small.
pub fn fresh_dir(what: &str) -> TempDir {
    tempfile::Builder::new().prefix(&format!("{what}-")).tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A well-formed extract of exactly `size` bytes (at least 128), different for each `seed`.
pub fn csv(size: usize, seed: u64) -> Vec<u8> {
    assert!(size >= 128, "a header and two rows need 128 bytes");
    let mut text = String::with_capacity(size);
    text.push_str("client_id,date,intervention,note\n");
    let mut row = seed.wrapping_mul(1_000_003);
    while size - text.len() > 128 {
        row = row.wrapping_add(1);
        text.push_str(&format!("C{:010},2024-03-{:02},visit,row {row:020}\n", row % 10_000_000_000, row % 28 + 1));
    }
    text.push_str(&format!("C{:010},2024-03-31,visit,", seed % 10_000_000_000));
    while text.len() < size - 1 {
        text.push('x');
    }
    text.push('\n');
    text.into_bytes()
}

/// A file of `size` bytes in which no two mebibytes are alike, so that a swapped or repeated block shows. Returns its digest.
pub fn patterned_file(file: &Path, size: u64) -> String {
    let mut out = File::create(file).unwrap();
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut block: Vec<u8> = (0..1u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut left = size;
    while left > 0 {
        block[..8].copy_from_slice(&left.to_be_bytes());
        let part = &block[..left.min(1 << 20) as usize];
        out.write_all(part).unwrap();
        context.update(part);
        left -= part.len() as u64;
    }
    data_encoding::HEXLOWER.encode(context.finish().as_ref())
}

/// SHA-256 in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

/// SHA-256 of a file in hexadecimal, without holding the file in memory.
pub fn digest_of_file(file: &Path) -> String {
    digest_of(File::open(file).unwrap())
}

fn digest_of(mut from: impl Read) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match from.read(&mut buffer).unwrap() {
            0 => return data_encoding::HEXLOWER.encode(context.finish().as_ref()),
            count => context.update(&buffer[..count]),
        }
    }
}

/// Every regular file under `dir`, in every depth; nothing when `dir` does not exist. What vanishes meanwhile is left out.
pub fn files_under(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else { return found };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_under(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found.sort();
    found
}

/// Whether `file` contains `needle` anywhere; a file that vanished does not.
pub fn find_bytes(file: &Path, needle: &[u8]) -> bool {
    let Ok(mut from) = File::open(file) else { return false };
    let mut held = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let Ok(count) = from.read(&mut buffer) else { return false };
        if count == 0 {
            return false;
        }
        held.extend_from_slice(&buffer[..count]);
        if contains(&held, needle) {
            return true;
        }
        // The needle may lie across two reads.
        held.drain(..held.len().saturating_sub(needle.len() - 1));
    }
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    let mut rest = hay;
    while let Some(at) = rest.iter().position(|byte| *byte == needle[0]) {
        if rest[at..].starts_with(needle) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// Opens a sealed object with the `age` program and gives the plaintext's digest. `identity` is an age identity file or
/// a private SSH key.
pub fn open_with_age(object: &Path, identity: &Path) -> String {
    let dir = fresh_dir("opened");
    let plain = dir.path().join("plain");
    let mut age = Command::new("age");
    age.args(["--decrypt", "--identity"]).arg(identity).arg("--output").arg(&plain).arg(object);
    run(age, b"", 5 * PATIENCE).ok();
    // `age` makes no file for an empty plaintext.
    if plain.exists() { digest_of_file(&plain) } else { digest(b"") }
}

/// Opens a sealed object with this project's own library and gives the plaintext's digest: quicker than a process for
/// each, where there are hundreds.
pub fn open_with_library(object: &Path, org: &str) -> String {
    digest(&opened(object, org))
}

/// What an object opens to, with this project's own code.
pub fn opened(object: &Path, org: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(keys().identity(org)).unwrap();
    let identities = nightsafe::seal::Identities::parse(&text, org).unwrap();
    let mut file = Vec::new();
    identities.open(File::open(object).unwrap()).unwrap().read_to_end(&mut file).unwrap();
    file
}
