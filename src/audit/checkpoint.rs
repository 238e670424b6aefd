//! Checkpoints (c2sp.org/tlog-checkpoint): the tree's size and root, signed by the log and cosigned by witnesses.
//!
//! Does no input or output. Made by `ledger` with each group commit; verified by whoever holds a proof.

use std::fmt;
use std::str::FromStr;

use super::note::{KeyKind, Note, Signed, Signer, VerifierKey};
use super::tree::{Hash, SIZE_MAX, Wrong};
use crate::types::Invalid;

/// What a log says of itself at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, which is its key's too.
    pub origin: String,
    /// How many leaves the tree has.
    pub size: u64,
    pub root: Hash,
    /// Further lines, each with its newline; the logs of Nightsafe have none.
    pub extension: String,
}

/// Who signs the log, and whose signatures on what it says so far are believed.
#[derive(Debug, Clone)]
pub struct LogKeys {
    pub signer: Signer,
    /// The keys that signed before this one.
    pub former: Vec<VerifierKey>,
}

impl LogKeys {
    /// # Errors
    /// The note is no checkpoint of the log, or not signed by one of its keys.
    pub fn verify(&self, note: &str) -> Result<Checkpoint, Wrong> {
        Checkpoint::verify_by_any(note, std::iter::once(self.signer.verifier_key()).chain(&self.former))
    }
}

/// A log whose key never changed.
impl From<Signer> for LogKeys {
    fn from(signer: Signer) -> Self {
        Self { signer, former: Vec::new() }
    }
}

/// Reads a number as C2SP's formats write it: decimal, no leading zeroes, no sign.
///
/// # Errors
/// Any other spelling, or a number beyond 2^63 - 1.
pub(super) fn parse_number(text: &str) -> Result<u64, Invalid> {
    let number = text.parse::<u64>().ok().filter(|number| *number <= SIZE_MAX && number.to_string() == text);
    number.ok_or_else(|| Invalid(format!("{text:?} is no number: decimal digits, no leading zeroes, at most 2^63 - 1")))
}

impl Checkpoint {
    /// The checkpoint as a signed note, which is how it is stored and handed out.
    pub fn sign(&self, signer: &Signer) -> String {
        let text = self.to_string();
        let signatures = vec![signer.sign(&text)];
        Note { text, signatures }.to_string()
    }

    /// Reads a signed checkpoint without believing it.
    ///
    /// # Errors
    /// It is no signed note, or its text no checkpoint.
    pub fn read(note: &str) -> Result<(Self, Note), Invalid> {
        let note: Note = note.parse()?;
        Ok((note.text.parse()?, note))
    }

    /// Reads a signed checkpoint and verifies the log's signature.
    ///
    /// # Errors
    /// It is no signed checkpoint, of another log, or not signed by this key.
    pub fn verify(note: &str, key: &VerifierKey) -> Result<Self, Wrong> {
        let (checkpoint, note) = Self::read(note).map_err(|e| Wrong(e.0))?;
        if key.kind() != KeyKind::Ed25519 {
            return Err(Wrong(format!("the key of {} is a witness's: give the log's own key", key.name())));
        }
        if checkpoint.origin != key.name() {
            let (origin, name) = (&checkpoint.origin, key.name());
            return Err(Wrong(format!("the checkpoint is of the log {origin}, and the key is that of {name}")));
        }
        note.verify(std::slice::from_ref(key))?;
        Ok(checkpoint)
    }

    /// As [`Checkpoint::verify`], by any of these: the log's present key, then its former ones.
    ///
    /// # Errors
    /// No key verifies it; the reason is that of the first one.
    pub fn verify_by_any<'k>(note: &str, keys: impl IntoIterator<Item = &'k VerifierKey>) -> Result<Self, Wrong> {
        let mut wrong = None;
        for key in keys {
            match Self::verify(note, key) {
                Ok(checkpoint) => return Ok(checkpoint),
                Err(why) => wrong = wrong.or(Some(why)),
            }
        }
        Err(wrong.unwrap_or_else(|| Wrong("there is no key to verify it by".into())))
    }

    /// The cosignatures of these witnesses on a signed checkpoint, verified; none is no error.
    ///
    /// # Errors
    /// It is no signed note, or a cosignature by one of the keys is wrong.
    pub fn cosignatures(note: &str, witnesses: &[VerifierKey]) -> Result<Vec<Signed>, Wrong> {
        let note: Note = note.parse().map_err(|e: Invalid| Wrong(e.0))?;
        let signed = note.signed(witnesses)?;
        Ok(signed.into_iter().filter(|signed| signed.at.is_some()).collect())
    }
}

/// The text that is signed.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n{}", self.origin, self.size, self.root, self.extension)
    }
}

impl FromStr for Checkpoint {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = |what: &str| Err(Invalid(format!("this is no checkpoint: {what}")));
        let mut parts = text.splitn(4, '\n');
        let (Some(origin), Some(size), Some(root), Some(extension)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return wrong("its text has fewer than three lines");
        };
        if origin.is_empty() {
            return wrong("its first line, the log's origin, is empty");
        }
        if !extension.is_empty() && (!extension.ends_with('\n') || extension.split_terminator('\n').any(str::is_empty))
        {
            return wrong("a line after the third is empty");
        }
        let (size, root) = (parse_number(size)?, root.parse()?);
        Ok(Self { origin: origin.to_owned(), size, root, extension: extension.to_owned() })
    }
}
