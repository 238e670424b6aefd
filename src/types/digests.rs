//! Digests of files: the one that everything stands on, those that clients compare by, and what an object is sealed with.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Invalid;

/// A SHA-256 digest (FIPS 180-4), shown as 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
        Self(sha256)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}
impl FromStr for Sha256 {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok().and_then(|b| <[u8; 32]>::try_from(b).ok());
        bytes.map(Self).ok_or_else(|| Invalid(format!("{text:?} is not a SHA-256: 64 lower-case hexadecimal digits")))
    }
}
impl TryFrom<String> for Sha256 {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}
impl From<Sha256> for String {
    fn from(digest: Sha256) -> String {
        digest.to_string()
    }
}

/// What an object is sealed with: enough to prove later that it was to these recipients, and to no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Of the age file's header: from `age-encryption.org/v1` to the newline that ends the MAC's line. The 16 bytes of
    /// nonce behind it belong to the payload (age v1, "File format").
    pub header: Sha256,
    /// Of each recipient's text (`age1...`, `ssh-ed25519 AAAA...` without a comment), without a newline; sorted.
    pub recipients: Vec<Sha256>,
}

/// The kinds of digests that a provider may ask for. SHA-256 is always recorded, the others as an organisation's
/// `digests` say: clients compare with them, and nothing is trusted for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DigestKind {
    Sha256,
    Sha1,
    Md5,
}

impl DigestKind {
    pub const ALL: [DigestKind; 3] = [DigestKind::Sha256, DigestKind::Sha1, DigestKind::Md5];

    /// As in `digests`, and in the hash lists of `check-file`.
    pub fn as_str(self) -> &'static str {
        match self {
            DigestKind::Sha256 => "sha256",
            DigestKind::Sha1 => "sha1",
            DigestKind::Md5 => "md5",
        }
    }

    /// The name that people know: `SHA-256`.
    pub fn title(self) -> &'static str {
        match self {
            DigestKind::Sha256 => "SHA-256",
            DigestKind::Sha1 => "SHA-1",
            DigestKind::Md5 => "MD5",
        }
    }
}

/// The recorded digests of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    pub sha256: Sha256,
    /// In hex; none when nobody had asked for it as the file came.
    pub sha1: Option<String>,
    /// In hex; none when nobody had asked for it as the file came.
    pub md5: Option<String>,
}

impl Digests {
    /// 32 to 64 lower-case hexadecimal digits.
    pub fn hex(&self, kind: DigestKind) -> Option<String> {
        match kind {
            DigestKind::Sha256 => Some(self.sha256.to_string()),
            DigestKind::Sha1 => self.sha1.clone(),
            DigestKind::Md5 => self.md5.clone(),
        }
    }
}
