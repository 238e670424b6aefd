//! age files (age-encryption.org/v1): header, payload, opening. The only place that knows age.
//!
//! Does no input or output of its own: bytes in, bytes out. The sealing half must never hold an identity. Called by
//! `intake` (sealing), `loader` (opening) and `config` (parsing recipients).

/// Plaintext bytes in one chunk of the payload (age v1, "Payload").
pub const CHUNK: usize = 64 * 1024;
/// Bytes that sealing adds to each chunk.
pub const TAG: usize = 16;

/// One age recipient: X25519 (`age1...`) or SSH (`ssh-ed25519 ...`, `ssh-rsa ...`).
#[derive(Clone)]
pub struct Recipient {}

impl std::fmt::Debug for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}
impl std::fmt::Display for Recipient {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        unimplemented!()
    }
}
impl std::str::FromStr for Recipient {
    type Err = crate::types::Invalid;
    fn from_str(_line: &str) -> Result<Self, Self::Err> {
        unimplemented!()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SealError(pub String);

/// Seals one age file's payload, chunk by chunk, under a file key of its own. Wiped when dropped.
pub struct Sealer {}

impl Sealer {
    /// Draws a file key; returns the header with the payload's nonce, to be written first.
    pub fn begin(_recipients: &[Recipient]) -> Result<(Vec<u8>, Sealer), SealError> {
        unimplemented!()
    }

    /// Seals `chunk` in place and appends its tag. Every chunk but the last is exactly [`CHUNK`] bytes; the last is 1 to
    /// [`CHUNK`] bytes, or empty when the whole file is. After `last` nothing may follow.
    pub fn seal(&mut self, _chunk: &mut Vec<u8>, _last: bool) -> Result<(), SealError> {
        unimplemented!()
    }
}

/// Identities that can open: an age identity file or an SSH private key. Only loaders hold any.
pub struct Identities {}

impl Identities {
    /// Parses the text of an age identity file or an unencrypted SSH private key. `name` is for error messages.
    pub fn parse(_text: &str, _name: &str) -> Result<Self, SealError> {
        unimplemented!()
    }

    /// Opens an age file: what is read from the result is authentic up to that byte; an error means tampering or a cut.
    pub fn open<R: std::io::Read + Send + 'static>(
        &self,
        _sealed: R,
    ) -> Result<Box<dyn std::io::Read + Send>, SealError> {
        unimplemented!()
    }
}

/// A new X25519 identity and its recipient, as age-keygen writes them: (`AGE-SECRET-KEY-1...`, `age1...`).
pub fn generate_identity() -> (zeroize::Zeroizing<String>, String) {
    unimplemented!()
}
