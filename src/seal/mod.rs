//! age files (age-encryption.org/v1): header, payload, opening. The only place that knows age.
//!
//! Does no input or output of its own: bytes in, bytes out. The sealing half must never hold an identity. Called by
//! `intake` (sealing; opening its own drafts, by the keys that it keeps of them), `loader` (opening) and `config` (parsing recipients).
//!
//! The header comes from the `age` crate, the payload is sealed with `ring`, at twice the crate's speed. The crate's
//! `Decryptor` and the `age` program are the oracles in the tests.

mod identity;
mod recipient;
mod run;
mod sealer;

pub use identity::{Identities, generate_identity};
pub use recipient::Recipient;
pub use run::{RUN_KEY, RunKey};
pub use sealer::{Sealer, sealed_size};

/// Plaintext bytes in one chunk of the payload (age v1, "Payload").
pub const CHUNK: usize = 64 * 1024;
/// Bytes that sealing adds to each chunk.
pub const TAG: usize = 16;

/// Why something could not be sealed or opened, in words; never with key material or content in them.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SealError(pub String);
