//! Valid requests of every kind, about random ones of the paths and handles that there are.

use crate::harness::{Dice, kind, packet, string};

/// Ids from here on are the fuzzer's own questions; no request made here has one.
pub const QUESTIONS: u32 = 0xf000_0000;

const READ: u8 = 5;
const LSTAT: u8 = 7;
const FSTAT: u8 = 8;
const SETSTAT: u8 = 9;
const FSETSTAT: u8 = 10;
pub const READDIR: u8 = 12;
const MKDIR: u8 = 14;
const RMDIR: u8 = 15;
const READLINK: u8 = 19;
const SYMLINK: u8 = 20;
pub const EXTENDED: u8 = 200;

const EXTENSIONS: [&str; 9] = [
    "posix-rename@openssh.com",
    "fsync@openssh.com",
    "statvfs@openssh.com",
    "fstatvfs@openssh.com",
    "lsetstat@openssh.com",
    "limits@openssh.com",
    "expand-path@openssh.com",
    "home-directory",
    "hardlink@openssh.com",
];

/// A handle, what is to be written to it, and how far that has come.
pub struct Held {
    pub handle: Vec<u8>,
    pub content: Vec<u8>,
    pub at: usize,
}

/// One valid request about what there is.
pub fn request(dice: &mut Dice, paths: &[String], held: &mut [Held]) -> Vec<u8> {
    let path = string(&any_path(dice, paths));
    let chosen = dice.within(0..held.len().max(1) as u64) as usize;
    let handle = match held.get(chosen) {
        Some(held) if dice.within(0..10) > 0 => held.handle.clone(),
        // A guess: handles count up.
        Some(held) => {
            let near = u64::from_be_bytes(held.handle[..].try_into().unwrap());
            near.wrapping_add(dice.within(0..4)).wrapping_sub(1).to_be_bytes().to_vec()
        }
        None => (0..dice.within(0..12)).map(|_| dice.within(0..256) as u8).collect(),
    };
    let handle = string(&handle);
    let (kind, fields) = match dice.within(0..22) {
        0..2 => {
            let flags = (dice.within(0..64) as u32).to_be_bytes().to_vec();
            (kind::OPEN, [path, flags, attributes(dice)].concat())
        }
        2 => (kind::CLOSE, handle),
        3..7 => match held.get_mut(chosen) {
            Some(held) if held.at < held.content.len() => (kind::WRITE, held.next(dice)),
            _ => (kind::WRITE, [handle, odd(dice).to_be_bytes().to_vec(), string(b"odd bytes")].concat()),
        },
        7 => (READ, [handle, odd(dice).to_be_bytes().to_vec(), (odd(dice) as u32).to_be_bytes().to_vec()].concat()),
        8 => (LSTAT, path),
        9 => (FSTAT, handle),
        10 => (SETSTAT, [path, attributes(dice)].concat()),
        11 => (FSETSTAT, [handle, attributes(dice)].concat()),
        12 => (kind::OPENDIR, path),
        13 => (READDIR, handle),
        14 => (kind::REMOVE, path),
        15 => ([MKDIR, SETSTAT][dice.within(0..2) as usize], [path, attributes(dice)].concat()),
        16 => ([RMDIR, READLINK][dice.within(0..2) as usize], path),
        17 => ([kind::REALPATH, kind::STAT][dice.within(0..2) as usize], path),
        18 => ([kind::RENAME, SYMLINK][dice.within(0..2) as usize], [path, string(&any_path(dice, paths))].concat()),
        _ => {
            let name = EXTENSIONS[dice.within(0..EXTENSIONS.len() as u64) as usize];
            let fields = match name {
                "posix-rename@openssh.com" | "hardlink@openssh.com" => [path, string(&any_path(dice, paths))].concat(),
                "fsync@openssh.com" | "fstatvfs@openssh.com" => handle,
                "lsetstat@openssh.com" => [path, attributes(dice)].concat(),
                "limits@openssh.com" => Vec::new(),
                _ => path,
            };
            (EXTENDED, [string(name.as_bytes()), fields].concat())
        }
    };
    numbered(dice, kind, &fields)
}

/// One of the paths.
pub fn any_path(dice: &mut Dice, paths: &[String]) -> Vec<u8> {
    paths[dice.within(0..paths.len() as u64) as usize].clone().into_bytes()
}

impl Held {
    /// The fields of the WRITE that goes on.
    pub fn next(&mut self, dice: &mut Dice) -> Vec<u8> {
        let end = (self.at + dice.within(1..40_000) as usize).min(self.content.len());
        let fields = writing(&self.handle, self.at as u64, &self.content[self.at..end]);
        self.at = end;
        fields
    }
}

pub fn opening(path: &[u8], flags: u32) -> Vec<u8> {
    [&string(path)[..], &flags.to_be_bytes(), &0u32.to_be_bytes()].concat()
}

pub fn writing(handle: &[u8], offset: u64, data: &[u8]) -> Vec<u8> {
    [&string(handle)[..], &offset.to_be_bytes(), &string(data)].concat()
}

pub fn numbered(dice: &mut Dice, kind: u8, fields: &[u8]) -> Vec<u8> {
    let id = dice.within(0..u64::from(QUESTIONS)) as u32;
    packet(kind, &[&id.to_be_bytes(), fields].concat())
}

/// Attributes of version 3, well-formed or with a count of extensions that lies.
fn attributes(dice: &mut Dice) -> Vec<u8> {
    let flags = dice.within(0..16) as u32;
    let mut bytes = Vec::new();
    for (bit, length) in [(1, 8), (2, 8), (4, 4), (8, 8)] {
        if flags & bit != 0 {
            bytes.extend_from_slice(&odd(dice).to_be_bytes()[8 - length..]);
        }
    }
    if dice.within(0..10) > 0 {
        return [&flags.to_be_bytes()[..], &bytes].concat();
    }
    let pairs = (0..dice.within(0..3)).flat_map(|_| [string(b"x@example.org"), string(b"y")].concat());
    let pairs: Vec<u8> = pairs.collect();
    [&(flags | 0x8000_0000).to_be_bytes()[..], &bytes, &(odd(dice) as u32).to_be_bytes(), &pairs].concat()
}

/// Numbers at which something ends.
pub fn odd(dice: &mut Dice) -> u64 {
    let near = [0, 1 << 15, 255 << 10, 256 << 10, 257 << 10, 1 << 20, 1 << 31, 1 << 32, 1 << 63, u64::MAX, 8, 256];
    near[dice.within(0..near.len() as u64) as usize].wrapping_add(dice.within(0..5)).wrapping_sub(2)
}
