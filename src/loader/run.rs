//! The loop: workers that claim, each on a connection of its own, until the queue is empty or the loader is stopped.
//!
//! Must never die of a network that comes and goes, nor go on when only a person can help. Called by `loader::run`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::deliver::{Outcome, Setting, deliver};
use super::disk::Disk;
use super::gateway::GatewayError;
use super::link::{Backoff, Link};
use super::queue::{self, Request, VerbError};
use super::{Event, LoadError, Observer, Options, Summary};

/// How long a claim waits at the gateway before it is asked again.
const WAIT: Duration = Duration::from_secs(60);
/// With `--once`: failures in a row before a worker gives up.
const TRIES: u32 = 5;

#[derive(Default)]
struct Counts {
    loaded: AtomicU64,
    failed: AtomicU64,
}

pub(super) async fn run(options: Options, observer: Observer, stop: CancellationToken) -> Result<Summary, LoadError> {
    let disk = Disk::open(&options.work).map_err(LoadError::System)?;
    disk.clean(options.clock.now());
    let hard_stop = options.hard_stop.clone();
    // Ends the other workers when one meets what only a person can mend.
    let stop = stop.child_token();
    let setting = Arc::new(Setting {
        disk,
        keys: options.keys.clone(),
        hand_over: options.hand_over.clone(),
        demand: options.demand.clone(),
        lease: options.lease,
        clock: options.clock.clone(),
        observer,
        address: options.door.address.clone(),
        hard_stop: hard_stop.clone(),
    });
    let grace = tokio::spawn({
        let (stop, grace) = (stop.clone(), options.grace);
        async move {
            stop.cancelled().await;
            tokio::time::sleep(grace).await;
            hard_stop.cancel();
        }
    });

    let counts = Arc::new(Counts::default());
    let options = Arc::new(options);
    let mut workers = JoinSet::new();
    for _ in 0..options.jobs.max(1) {
        let (options, setting) = (Arc::clone(&options), Arc::clone(&setting));
        workers.spawn(worker(options, setting, Arc::clone(&counts), stop.clone()));
    }
    let mut first_error = None;
    while let Some(ended) = workers.join_next().await {
        let ended = ended.unwrap_or_else(|e| Err(LoadError::System(format!("a worker failed: {e}"))));
        if let Err(error) = ended {
            stop.cancel();
            first_error.get_or_insert(error);
        }
    }
    grace.abort();
    match first_error {
        Some(error) => Err(error),
        None => {
            Ok(Summary { loaded: counts.loaded.load(Ordering::Relaxed), failed: counts.failed.load(Ordering::Relaxed) })
        }
    }
}

async fn worker(
    options: Arc<Options>,
    setting: Arc<Setting>,
    counts: Arc<Counts>,
    stop: CancellationToken,
) -> Result<(), LoadError> {
    let link = Arc::new(Link::new(Arc::clone(&options.door)));
    let request = Request {
        orgs: options.orgs.clone(),
        datasets: options.datasets.clone(),
        lease: options.lease,
        wait: (!options.once).then_some(WAIT),
    };
    let mut backoff = Backoff::new();
    let mut failures = 0;
    let mut connected = false;
    let outcome = loop {
        let asked = Instant::now();
        let claimed = tokio::select! {
            claimed = claim(&link, &request) => claimed,
            // A claim whose answer is under way is lost with it; its lease runs out and the delivery comes again.
            () = stop.cancelled() => break Ok(()),
        };
        let error = match claimed {
            Ok(Some(claimed)) => {
                (connected, failures, backoff) = (true, 0, Backoff::new());
                // From now, not from when it was asked: a claim may have waited. What the answer took on its way is
                // little beside the third of a lease after which it is extended.
                let ended = deliver(&setting, &link, claimed, Instant::now()).await;
                let count = if ended.outcome == Outcome::Loaded { &counts.loaded } else { &counts.failed };
                count.fetch_add(1, Ordering::Relaxed);
                (setting.observer)(Event::Ended(&ended));
                if stop.is_cancelled() {
                    break Ok(());
                }
                continue;
            }
            Ok(None) if options.once => break Ok(()),
            Ok(None) => {
                (connected, failures) = (true, 0);
                // A gateway that does not wait is not to be asked in a tight loop.
                if asked.elapsed() >= Duration::from_secs(1) {
                    backoff = Backoff::new();
                    continue;
                }
                tokio::select! {
                    () = tokio::time::sleep(backoff.next()) => continue,
                    () = stop.cancelled() => break Ok(()),
                }
            }
            Err(error) => error,
        };
        let why = match error {
            VerbError::Gateway(GatewayError::Setup(why)) => break Err(LoadError::Setup(why)),
            VerbError::Usage(_) => break Err(LoadError::Setup(error.to_string())),
            VerbError::No(why) => break Err(LoadError::Declined(format!("the gateway declines the claim: {why}"))),
            VerbError::Gateway(GatewayError::Broken(why)) => why,
            VerbError::Failed(_) => error.to_string(),
        };
        failures += 1;
        if options.once && (!connected || failures >= TRIES) {
            break Err(LoadError::System(why));
        }
        let wait = backoff.next();
        (setting.observer)(Event::Trouble { address: &setting.address, why: &why, retry_in: wait });
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => break Ok(()),
        }
    };
    link.close().await;
    outcome
}

async fn claim(link: &Link, request: &Request) -> Result<Option<queue::Claimed>, VerbError> {
    let gateway = link.gateway().await?;
    let claimed = queue::claim(&gateway, request).await;
    if matches!(claimed, Err(VerbError::Gateway(_))) {
        link.drop_broken(&gateway).await;
    }
    claimed
}
