//! What the ledger proves: leaves, checkpoints, proofs, verification; and what it forgets with proof.
//!
//! The verbs alone; `tree`, `verify` and `erase` do the work. Called as the facade's other verbs are.

use super::erase::scrub;
use super::*;

impl Ledger {
    /// Leaves from event number `from` (from 1) on, in order, at most `limit`.
    pub async fn leaves(&self, from: u64, limit: usize) -> Result<Vec<LeafRow>> {
        self.0.readers.read(move |connection| events::leaves(connection, from, limit)).await
    }

    /// The newest checkpoint, a signed note; none while the log is empty.
    pub async fn checkpoint(&self) -> Result<Option<String>> {
        self.0.readers.read(tree::checkpoint).await
    }

    /// The checkpoint of that size, if it was kept: those of commits that recorded an upload's end or its loading, those
    /// that first cross a multiple of 256, those that were cosigned, and the newest.
    pub async fn checkpoint_of(&self, size: u64) -> Result<Option<String>> {
        self.0.readers.read(move |connection| tree::checkpoint_of(connection, size)).await
    }

    /// All that proves an event; none when there is no such event. With witnesses against the first checkpoint that covers it
    /// and was cosigned by all of them (by fewer until there is one); without, against the first that was kept, which for
    /// the end of an upload and its loading is that of its own commit, for ever.
    pub async fn proof(&self, about: ProofOf) -> Result<Option<Proven>> {
        let read = move |connection: &_| match tree::event_of(connection, about)? {
            Some(sequence) => tree::proven(connection, sequence),
            None => Ok(None),
        };
        self.0.readers.read(read).await
    }

    /// As [`Ledger::proof`] for many, without the hashes: what a listing needs to know.
    pub async fn proof_outlines(&self, about: Vec<ProofOf>) -> Result<Vec<Option<Proven>>> {
        self.0.readers.read(move |connection| tree::outlines(connection, &about)).await
    }

    /// The root over the first `size` events.
    pub async fn root(&self, size: u64) -> Result<Hash> {
        self.0.readers.read(move |connection| crate::audit::tree::root(&tree::Stored(connection), size)).await
    }

    /// The proof that leaf number `index` (from 0) is in the tree of `size` leaves (RFC 6962, section 2.1.1).
    pub async fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>> {
        let read = move |connection: &_| crate::audit::tree::inclusion(&tree::Stored(connection), index, size);
        self.0.readers.read(read).await
    }

    /// The proof that the tree of `new` leaves begins with that of `old` (RFC 6962, section 2.1.2).
    pub async fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>> {
        let read = move |connection: &_| crate::audit::tree::consistency(&tree::Stored(connection), old, new);
        self.0.readers.read(read).await
    }

    /// The roots of complete subtrees that are stored, of level 8, 16, ..., from number `first` on, at most `count`; for
    /// level 0 hashes of leaves.
    pub async fn nodes(&self, level: u32, first: u64, count: usize) -> Result<Vec<Hash>> {
        use crate::audit::Nodes as _;
        self.0.readers.read(move |connection| tree::Stored(connection).hashes(level, first, count)).await
    }

    /// Keeps what witnesses said of a checkpoint of this log; the caller has verified it.
    ///
    /// # Errors
    /// The checkpoint is none of this log.
    pub async fn cosigned(&self, checkpoint: String, signatures: Vec<(VerifierKey, Signature)>) -> Result<()> {
        self.write(move |tx| tree::cosigned(tx.connection, &checkpoint, &signatures)).await
    }

    /// The newest cosignature of each witness.
    pub async fn cosignatures(&self) -> Result<Vec<Cosignature>> {
        self.0.readers.read(tree::newest_cosignatures).await
    }

    /// Whether the ledger keeps its promises: everything is recomputed from the leaves, and compared with what was signed,
    /// with the facts, and with what was kept elsewhere. Reads everything, on two threads.
    pub async fn verify(&self, verification: Verification) -> Result<Verified> {
        let file = self.0.readers.file().to_owned();
        self.0.readers.read(move |_| verify::verify(&file, verification)).await
    }

    /// Whether an upload could be erased now; an erasure looks once more.
    pub async fn erasable(
        &self,
        upload: UploadId,
        daemon_runs: bool,
        now: Timestamp,
    ) -> Result<std::result::Result<(), NotErased>> {
        let refusal = move |connection: &_| erase::refusal(connection, upload, daemon_runs, now);
        Ok(self.0.readers.read(refusal).await?.map_or(Ok(()), Err))
    }

    /// Operator: erases what is private of an upload: its object is marked as removed (the caller then removes the file),
    /// its names and the private parts of all events that tell of it are deleted, a tombstone is recorded. Again is fine: it
    /// takes what came since. The caller then calls [`Ledger::scrub`].
    pub async fn erase(&self, erasure: Erasure, now: Timestamp) -> Result<std::result::Result<Taken, NotErased>> {
        self.write(move |tx| erase::erase(tx, erasure, now)).await
    }

    /// Sees to it that no copy of what was erased is in the ledger's files. `step` is told what takes long.
    ///
    /// # Errors
    /// A copy may be left in the files; the words say what to do. The same upload may be erased again, and
    /// [`Ledger::finish_erasures`] finishes it too.
    pub async fn scrub(&self, taken: Taken, mut step: impl FnMut(ErasureStep) + Send + 'static) -> Result<Erased> {
        let file = self.0.readers.file().to_owned();
        let scrub = move |_: &_| scrub::scrub(&file, &taken, scrub::PATIENCE, &mut step).map(|()| taken.erased);
        self.0.readers.read(scrub).await
    }

    /// For the daemon's start: finishes scrubs that were cut short. Whether there were such.
    ///
    /// # Errors
    /// As [`Ledger::scrub`].
    pub async fn finish_erasures(&self) -> Result<bool> {
        let file = self.0.readers.file().to_owned();
        self.0.readers.read(move |_| scrub::finish(&file, scrub::PATIENCE)).await
    }
}
