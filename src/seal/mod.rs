//! age files (age-encryption.org/v1): header, payload, opening. The only place that knows age.
//!
//! Does no input or output of its own: bytes in, bytes out. The sealing half must never hold an identity. Called by
//! `intake` (sealing), `loader` (opening) and `config` (parsing recipients).
//!
//! The header comes from the `age` crate, the payload is sealed with `ring`, at twice the crate's speed. The crate's
//! `Decryptor` and the `age` program are the oracles in the tests.

mod header;
mod identity;
mod recipient;
mod sealer;

pub use header::header_digest;
pub use identity::{Identities, generate_identity};
pub use recipient::Recipient;
pub use sealer::{Sealer, envelope, sealed_size};

/// Plaintext bytes in one chunk of the payload (age v1, "Payload").
pub const CHUNK: usize = 64 * 1024;
/// Bytes that sealing adds to each chunk.
pub const TAG: usize = 16;

/// Why something could not be sealed or opened, in words; never with key material or content in them.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SealError(pub String);
