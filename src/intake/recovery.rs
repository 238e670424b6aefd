//! Start-up: what a killed daemon left half is removed, and told. Runs before anything listens.
//!
//! Uses the vault's and the ledger's own verbs, as every upload does. Called by `daemon`.

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::{Event, Kind};
use crate::ledger::Ledger;
use crate::types::*;
use crate::vault::Vault;

/// What recovery found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Uploads that were still being written: their spool files are removed.
    pub spooled: Vec<UploadId>,
    /// Objects that were kept, but never recorded: removed.
    pub unrecorded: Vec<UploadId>,
    /// Uploads that had begun and not ended: told as aborted.
    pub aborted: Vec<UploadId>,
    /// Accepted or quarantined uploads whose object is not in the vault: an operator must look.
    pub missing: Vec<UploadId>,
}

/// Makes vault and ledger agree: each object has its row, and the spool is empty. Each step may be repeated, should
/// this be killed too.
///
/// # Errors
/// The vault or the ledger cannot be read or written; nothing may listen then.
pub async fn recover(vault: &Vault, ledger: &Ledger, clock: &Clock) -> anyhow::Result<Recovered> {
    let expected = ledger.expected_objects().await?;
    let (spooled, objects) = {
        let vault = vault.clone();
        let found =
            tokio::task::spawn_blocking(move || -> std::io::Result<_> { Ok((vault.clear_spool()?, vault.objects()?)) });
        found.await??
    };
    let objects: BTreeSet<UploadId> = objects.into_iter().collect();
    let unrecorded: Vec<UploadId> = objects.difference(&expected).copied().collect();
    let missing: Vec<UploadId> = expected.difference(&objects).copied().collect();

    // Those in memory when the daemon was killed left no file, and are known from the audit log alone.
    let begun = ledger.unfinished().await?;
    let begun: BTreeMap<UploadId, Event> = begun.into_iter().filter_map(|event| Some((event.upload?, event))).collect();
    for upload in &spooled {
        ledger.record(told(Kind::RecoveryRemoved, *upload, &begun, clock).with("what", "spool")).await?;
    }
    for upload in &unrecorded {
        let (vault, upload) = (vault.clone(), *upload);
        tokio::task::spawn_blocking(move || vault.remove(upload)).await??;
        ledger.record(told(Kind::RecoveryRemoved, upload, &begun, clock).with("what", "object")).await?;
    }
    for (upload, begun_event) in &begun {
        let mut event = told(Kind::UploadAborted, *upload, &begun, clock).with("reason", "the gateway stopped");
        for fact in ["name", "place"] {
            if let Some(value) = begun_event.detail.get(fact) {
                event = event.with(fact, value.clone());
            }
        }
        ledger.record(event).await?;
    }
    for upload in &missing {
        tracing::error!(upload.id = %upload, "an upload that was kept has no object in the vault: restore it from a backup");
        ledger.record(told(Kind::RecoveryMissing, *upload, &begun, clock)).await?;
    }
    let recovered = Recovered { spooled, unrecorded, aborted: begun.into_keys().collect(), missing };
    tracing::info!(
        spooled = recovered.spooled.len(),
        unrecorded = recovered.unrecorded.len(),
        aborted = recovered.aborted.len(),
        missing = recovered.missing.len(),
        "recovered"
    );
    Ok(recovered)
}

/// An event by the gateway about an upload, with its organisation and dataset where its beginning is known.
fn told(kind: Kind, upload: UploadId, begun: &BTreeMap<UploadId, Event>, clock: &Clock) -> Event {
    let mut event = Event::new(clock.now(), kind, Actor::gateway()).upload(upload);
    if let Some(known) = begun.get(&upload) {
        event.org = known.org.clone();
        event.dataset = known.dataset.clone();
    }
    event
}
