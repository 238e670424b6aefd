//! Proofs as files: what stands in them, and how long they are without their hashes being read.
//!
//! Called by `provider` and `loader`.

use super::attrs::Stat;
use super::handles::File;
use super::shared::{Shared, ledger_failed};
use super::tree::missing;
use crate::audit::tree::inclusion_length;
use crate::audit::{Hash, leaf};
use crate::ledger::{ProofOf, Proven};
use crate::types::{Refusal, Timestamp};

/// # Errors
/// There is no such event, or what was private of it was erased.
pub(super) async fn file(shared: &Shared, of: ProofOf) -> Result<File, Refusal> {
    let proven = shared.services.ledger.proof(of).await.map_err(ledger_failed)?;
    let proven = proven.filter(|proven| proven.private.is_some()).ok_or_else(missing)?;
    Ok(File::text(proven.file().to_string(), at(&proven)))
}

/// What a listing shows of each of these: its size and its event's time; none where there is no file.
pub(super) async fn stats(shared: &Shared, of: Vec<ProofOf>) -> Result<Vec<Option<Stat>>, Refusal> {
    let outlines = shared.services.ledger.proof_outlines(of).await.map_err(ledger_failed)?;
    let stat = |outline: Option<Proven>| {
        let mut proven = outline.filter(|outline| outline.private.is_some())?;
        // Every hash is as long as any other.
        proven.hashes = vec![Hash([0; 32]); inclusion_length(proven.index, proven.size)];
        Some(Stat::file(proven.file().to_string().len() as u64, at(&proven)))
    };
    Ok(outlines.into_iter().map(stat).collect())
}

/// # Errors
/// As [`file`].
pub(super) async fn stat(shared: &Shared, of: ProofOf) -> Result<Stat, Refusal> {
    stats(shared, vec![of]).await?.pop().flatten().ok_or_else(missing)
}

/// When the event was.
fn at(proven: &Proven) -> Timestamp {
    let at = leaf::Fields::of(&proven.leaf).ok().and_then(|fields| fields.at.parse().ok());
    at.unwrap_or(Timestamp::UNIX_EPOCH)
}
