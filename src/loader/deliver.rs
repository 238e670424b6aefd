//! One delivery from claim to its end: fetch, verify, hand over, acknowledge or give back.
//!
//! Must never acknowledge before the hand-over is done, nor say anything under a lease that is lost. Called by `run`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::disk::{Disk, Part};
use super::fetch;
use super::gateway::Address;
use super::link::{Backoff, Keeper, Link, Told, Verb};
use super::open::{Keys, OpenError};
use super::proof::{Demand, Unproven};
use super::queue::{Claimed, VerbError};
use super::restricted::Rows;
use super::{Enclosed, Event, HandOver, Observer, exec, into};
use crate::seal::header_digest;
use crate::types::{Clock, Sha256};

/// How a delivery ended, for this loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Handed over and acknowledged.
    Loaded,
    /// It failed here and went back to the queue, or (`dead`) to the dead letters.
    GivenBack { reason: String, dead: bool },
    /// The lease was lost or the gateway could not be told: the delivery comes again by itself.
    Abandoned { reason: String },
}

/// A delivery's end, with its story.
#[derive(Debug, Clone)]
pub struct Ended {
    pub claimed: Arc<Claimed>,
    pub outcome: Outcome,
    pub took: Duration,
}

/// Witnesses cosign a few seconds behind: what takes longer is told, ever more rarely.
const USUAL: Duration = Duration::from_secs(10);
/// The longest pause before it is looked again whether they have.
const LOOK: Duration = Duration::from_secs(5);

/// What each delivery of a loader needs.
pub(super) struct Setting {
    pub disk: Disk,
    pub keys: Keys,
    pub hand_over: HandOver,
    pub demand: Option<Demand>,
    pub lease: Duration,
    pub clock: Clock,
    pub observer: Observer,
    pub address: Address,
    /// The loader is to end now: what is in hand is given back.
    pub hard_stop: CancellationToken,
}

/// Why a delivery was not loaded.
enum Failure {
    /// For the delivery's history.
    Reason(String),
    /// `cancel` ended it.
    Interrupted,
}

/// `claimed_at` is when the claim was answered.
pub(super) async fn deliver(setting: &Setting, link: &Arc<Link>, claimed: Claimed, claimed_at: Instant) -> Ended {
    let claimed = Arc::new(claimed);
    let keeper =
        Keeper::start(Arc::clone(link), Arc::clone(&claimed), setting.lease, claimed_at, setting.clock.clone());
    let cancel = CancellationToken::new();
    let outcome = {
        let work = work(setting, link, &claimed, &cancel);
        tokio::pin!(work);
        tokio::select! {
            done = &mut work => end(link, &claimed, &keeper, done).await,
            () = keeper.lost.cancelled() => {
                cancel.cancel();
                let _ = work.await;
                Outcome::Abandoned { reason: "the lease was lost: the work was ended, nothing was acknowledged".into() }
            }
            () = setting.hard_stop.cancelled() => {
                cancel.cancel();
                // It may have come to its end all the same.
                let done = match work.await {
                    Err(Failure::Interrupted) => Err(Failure::Reason("the loader was stopped".into())),
                    done => done,
                };
                end(link, &claimed, &keeper, done).await
            }
        }
    };
    Ended { claimed, outcome, took: claimed_at.elapsed() }
}

/// Tells the gateway, for as long as the lease lives.
async fn end(link: &Link, claimed: &Claimed, keeper: &Keeper, done: Result<Part, Failure>) -> Outcome {
    if keeper.lost.is_cancelled() {
        return Outcome::Abandoned { reason: "the lease was lost: nothing was acknowledged".into() };
    }
    keeper.stop();
    let deadline = keeper.expires();
    let part = match done {
        Ok(part) => part,
        Err(failure) => {
            let reason = match failure {
                Failure::Reason(reason) => reason,
                Failure::Interrupted => "the loader was stopped".into(),
            };
            return match link.insist(&Verb::GiveBack(&reason), claimed, deadline).await {
                Ok(told) => Outcome::GivenBack { reason, dead: matches!(told, Told::GivenBack { dead: true }) },
                Err(error) => Outcome::Abandoned { reason: format!("{reason}; it could not be given back: {error}") },
            };
        }
    };
    match link.insist(&Verb::Acknowledge, claimed, deadline).await {
        Ok(_) => {
            part.remove();
            Outcome::Loaded
        }
        Err(error) => {
            let why = match error {
                VerbError::No(why) => why,
                error => error.to_string(),
            };
            let reason = format!("it was handed over, but the acknowledgement failed, so it will come again: {why}");
            Outcome::Abandoned { reason }
        }
    }
}

async fn work(
    setting: &Setting,
    link: &Link,
    claimed: &Arc<Claimed>,
    cancel: &CancellationToken,
) -> Result<Part, Failure> {
    let part = Arc::new(setting.disk.part(claimed.manifest.delivery).map_err(Failure::Reason)?);
    // First, since nothing may be handed over without it.
    let restricted = restricted(setting, link, claimed, cancel).await?;
    let (header, proof) = proven(setting, link, claimed, cancel).await?.unzip();
    let resumed = fetch(setting, link, claimed, &part, cancel).await?;
    match verify(setting, claimed, &part, cancel).await {
        // What an earlier run left may be damaged, by a crash for one: fetch all of it, once.
        Err(Failure::Reason(_)) if resumed > 0 => {
            part.restart().map_err(|e| Failure::Reason(format!("the loader's disk failed: {e}")))?;
            fetch(setting, link, claimed, &part, cancel).await?;
            verified_or_removed(verify(setting, claimed, &part, cancel).await, &part)?;
        }
        verified => verified_or_removed(verified, &part)?,
    }
    if let Some(header) = header {
        is_sealed_as_logged(&part, header)?;
    }
    hand_over(setting, claimed, &part, Enclosed { restricted, proof }, cancel).await?;
    // Every helper thread is done with it: they were awaited, or hold it no longer than their next piece.
    let mut part = part;
    loop {
        match Arc::try_unwrap(part) {
            Ok(part) => return Ok(part),
            Err(shared) => part = shared,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn restricted(
    setting: &Setting,
    link: &Link,
    claimed: &Arc<Claimed>,
    cancel: &CancellationToken,
) -> Result<Rows, Failure> {
    let trouble = |why: &str, wait| {
        (setting.observer)(Event::Trouble { address: &setting.address, why, retry_in: wait });
    };
    tokio::select! {
        fetched = fetch::restricted(link, claimed, trouble) => fetched.map_err(Failure::Reason),
        () = cancel.cancelled() => Err(Failure::Interrupted),
    }
}

/// Holds the delivery's proof against what the loader demands; the digest that its age header must have, and the proof. None
/// where nothing is demanded. A witness that has not cosigned yet is waited for, as long as it takes: the lease is kept, and
/// to give it back would count an attempt of a delivery with which nothing is wrong.
async fn proven(
    setting: &Setting,
    link: &Link,
    claimed: &Arc<Claimed>,
    cancel: &CancellationToken,
) -> Result<Option<(Sha256, Vec<u8>)>, Failure> {
    let Some(demand) = &setting.demand else { return Ok(None) };
    let trouble = |why: &str, wait| {
        (setting.observer)(Event::Trouble { address: &setting.address, why, retry_in: wait });
    };
    let (since, mut told, mut backoff) = (Instant::now(), USUAL, Backoff::new());
    loop {
        let proof = tokio::select! {
            fetched = fetch::proof(link, claimed, trouble) => fetched.map_err(Failure::Reason)?,
            () = cancel.cancelled() => return Err(Failure::Interrupted),
        };
        match demand.check(&proof, &claimed.manifest) {
            Ok(header) => return Ok(Some((header, proof))),
            Err(Unproven::Refused(why)) => return Err(Failure::Reason(why)),
            Err(Unproven::Awaits(names)) if since.elapsed() >= told => {
                told *= 2;
                let why = format!("its proof has not the word of {names} yet");
                (setting.observer)(Event::Waiting { claimed, why: &why });
            }
            Err(Unproven::Awaits(_)) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next().min(LOOK)) => {}
            () = cancel.cancelled() => return Err(Failure::Interrupted),
        }
    }
}

fn is_sealed_as_logged(part: &Part, logged: Sha256) -> Result<(), Failure> {
    let found = part.handle(0).and_then(header_digest);
    match found.map_err(|e| Failure::Reason(format!("the loader's disk failed: {e}")))? {
        Some(found) if found == logged => Ok(()),
        _ => Err(Failure::Reason("the object's age header is not the one in the log: it was sealed anew".into())),
    }
}

async fn fetch(
    setting: &Setting,
    link: &Link,
    claimed: &Arc<Claimed>,
    part: &Part,
    cancel: &CancellationToken,
) -> Result<u64, Failure> {
    let progress = |done| (setting.observer)(Event::Fetching { claimed, done });
    let trouble = |why: &str, wait| {
        (setting.observer)(Event::Trouble { address: &setting.address, why, retry_in: wait });
    };
    tokio::select! {
        fetched = fetch::fetch(link, claimed, part, progress, trouble) => fetched.map_err(Failure::Reason),
        () = cancel.cancelled() => Err(Failure::Interrupted),
    }
}

async fn verify(
    setting: &Setting,
    claimed: &Arc<Claimed>,
    part: &Arc<Part>,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let (keys, claimed, part, cancel) = (setting.keys.clone(), Arc::clone(claimed), Arc::clone(part), cancel.clone());
    in_a_thread(move || keys.verify(&part, &claimed.manifest, &cancel)).await
}

/// An object that does not verify is not resumed from.
fn verified_or_removed(verified: Result<(), Failure>, part: &Part) -> Result<(), Failure> {
    if matches!(verified, Err(Failure::Reason(_))) {
        let _ = part.restart();
    }
    verified
}

async fn hand_over(
    setting: &Setting,
    claimed: &Arc<Claimed>,
    part: &Arc<Part>,
    enclosed: Enclosed,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    match &setting.hand_over {
        HandOver::Exec(command) => match exec::run(command, &setting.keys, part, claimed, &enclosed, cancel).await {
            Err(_) if cancel.is_cancelled() => Err(Failure::Interrupted),
            done => done.map_err(Failure::Reason),
        },
        HandOver::Into(folder) => {
            let (folder, keys, cancel) = (folder.clone(), setting.keys.clone(), cancel.clone());
            let (claimed, part) = (Arc::clone(claimed), Arc::clone(part));
            in_a_thread(move || into::hand_over(&folder, &keys, &part, &claimed, &enclosed, &cancel).map(drop)).await
        }
    }
}

async fn in_a_thread(work: impl FnOnce() -> Result<(), OpenError> + Send + 'static) -> Result<(), Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(OpenError::Interrupted)) => Err(Failure::Interrupted),
        Ok(Err(error @ (OpenError::Wrong(_) | OpenError::Sink(_)))) => Err(Failure::Reason(error.to_string())),
        Err(error) => Err(Failure::Reason(format!("the loader failed: {error}"))),
    }
}
