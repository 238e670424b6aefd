//! What falls due by itself: leases that ran out, drafts that nobody completed, loaded objects past their retention, the ledger's mark.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::mark::Mark;
use crate::config::Live;
use crate::intake::Intake;
use crate::ledger::{Ledger, Policy};
use crate::types::Clock;
use crate::vault::Vault;

const LEASES: Duration = Duration::from_secs(1);
const DRAFTS: Duration = Duration::from_secs(10);
const RETENTION: Duration = Duration::from_secs(60);
const MARK: Duration = Duration::from_secs(60);

/// Runs until `quit`. A failure of one round is logged and tried again with the next: a full disk must not end it.
pub async fn run(
    config: Live,
    ledger: Ledger,
    vault: Vault,
    intake: Intake,
    mark: Mark,
    clock: Clock,
    quit: CancellationToken,
) -> anyhow::Result<()> {
    let mut leases = tokio::time::interval(LEASES);
    let mut drafts = tokio::time::interval(DRAFTS);
    let mut retention = tokio::time::interval(RETENTION);
    let mut marks = tokio::time::interval(MARK);
    for interval in [&mut leases, &mut drafts, &mut retention, &mut marks] {
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    }
    loop {
        tokio::select! {
            () = quit.cancelled() => return Ok(()),
            _ = leases.tick() => {
                let queue = config.borrow().queue.clone();
                let policy = Policy { attempts: queue.attempts, backoff: queue.backoff, backoff_max: queue.backoff_max };
                if let Err(error) = ledger.expire(policy, clock.now()).await {
                    tracing::error!(reason = %error, "leases that ran out could not be put back");
                }
            }
            _ = drafts.tick() => intake.expire_drafts().await,
            _ = marks.tick() => super::note(&mark, &ledger).await,
            _ = retention.tick() => {
                if let Err(error) = remove_loaded(&config, &ledger, &vault, &clock).await {
                    tracing::error!(reason = format!("{error:#}"), "loaded objects past their retention could not be removed");
                }
            }
        }
    }
}

/// The ledger says first that an object leaves, then it leaves: a crash in between leaves a file that recovery removes.
async fn remove_loaded(config: &Live, ledger: &Ledger, vault: &Vault, clock: &Clock) -> anyhow::Result<()> {
    let orgs: Vec<_> = config.borrow().orgs.values().map(|org| (org.id.clone(), org.retention.loaded)).collect();
    for (org, keep) in orgs {
        let Ok(before) = clock.now().checked_sub(jiff::SignedDuration::try_from(keep)?) else { continue };
        for upload in ledger.loaded_before(&org, before).await? {
            ledger.object_removed(upload, "loaded, and past its retention", clock.now()).await?;
            let vault = vault.clone();
            tokio::task::spawn_blocking(move || vault.remove(upload)).await??;
            tracing::info!(upload.id = %upload, org = %org, "object removed: loaded, and past its retention");
        }
    }
    Ok(())
}
