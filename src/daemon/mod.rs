//! The composition root: puts the rooms together, starts the named tasks, recovers, serves, drains.
//!
//! Owns the order of start and stop, and nothing else: no protocol, no rule about uploads. Called by `cli` (`serve`,
//! `quickstart`).

mod housekeeping;
mod mark;
mod notices;
mod presence;
mod sockets;
mod spool_key;
mod tasks;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::audit::{Event, Kind, Recorder};
use crate::config::{self, Config, Diagnostic, Reload};
use crate::intake::Intake;
use crate::ledger::Ledger;
use crate::types::{Actor, Clock};
use crate::vault::Vault;
use crate::{intake, publish, queue, sftp, ssh};
pub use presence::runs_on;
pub use spool_key::is_in_memory;
use tasks::Tasks;

/// The configuration cannot be used; the daemon did not start.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} error{}", .0.len(), if .0.len() == 1 { "" } else { "s" })]
pub struct InvalidConfig(pub Vec<Diagnostic>);

/// How long a session has to say good-bye once the drain is over.
const FAREWELL: Duration = Duration::from_secs(3);
/// What a client that closed under a working name gets, within the drain, for the RENAME that completes its upload.
const RENAME: Duration = Duration::from_secs(5);
/// From the last upload's end to the end of its session, so that the answer to its CLOSE is read.
const ANSWER: Duration = Duration::from_millis(250);

/// Serves until `stop` is cancelled, then drains and leaves everything consistent; `hurry` cuts the drain short. `ready`
/// gets the addresses that listen, once they do.
///
/// # Errors
/// [`InvalidConfig`], another daemon on the same state directory, a disk, key or address that cannot be used, or a task
/// that ended when it should not have.
pub async fn run(
    config_file: PathBuf,
    ready: oneshot::Sender<Vec<SocketAddr>>,
    stop: CancellationToken,
    hurry: CancellationToken,
) -> anyhow::Result<()> {
    let clock = Clock::system();
    let config = Arc::new(config::load(&config_file).map_err(InvalidConfig)?);
    let presence = presence::Presence::claim(&config.paths)?;
    let keys = Arc::new(ssh::HostKeys::read(&config)?);
    let vault = Vault::open(&config.paths.state)
        .with_context(|| format!("cannot open the vault in {}", config.paths.state.display()))?;
    let log_keys = config::log_keys(&config.audit)?;
    let verifier_key = log_keys.signer.verifier_key().clone();
    let ledger = Ledger::open(&config.paths.state.join("ledger.sqlite"), log_keys)
        .with_context(|| format!("cannot open the ledger in {}", config.paths.state.display()))?;
    let mark = mark::Mark::new(&config.paths.state);
    mark.check(&ledger).await?;
    // Whether it can be gone on with: recovery removes what the ledger does not know.
    ledger
        .answers()
        .await
        .with_context(|| format!("cannot go on with the ledger in {}", config.paths.state.display()))?;
    finish_erasures(&ledger).await;
    let spool_key = spool_key::keep(&config.paths.runtime)?;
    let recovered = intake::recover(&vault, &ledger, &clock, &spool_key, &config).await;
    let mut recovered = recovered.context("start-up recovery failed")?;
    // After the recovery, which frees the spool's space, and whose mark it is: what began before it has its end.
    let started = Event::new(clock.now(), Kind::DaemonStarted, Actor::gateway())
        .with("version", env!("CARGO_PKG_VERSION"))
        .with("config", config.file.display().to_string());
    ledger.record(started).await.context("the start could not be audited")?;
    note(&mark, &ledger).await;

    // Everything is consistent from here on: sockets may open.
    let sockets = sockets::open(&config).await?;
    let addresses: Vec<SocketAddr> = sockets.iter().map(|(_, _, address)| *address).collect();
    presence.announce(&addresses)?;

    let (swap, live) = watch::channel(config.clone());
    let recorder = ledger.recorder();
    let access = Access::new(live.clone(), recorder.clone(), clock.clone());
    let intake = Intake::new(live.clone(), vault.clone(), ledger.clone(), clock.clone(), spool_key);
    intake.adopt(&mut recovered).await;
    let services = Arc::new(ssh::Services {
        config: live.clone(),
        access: access.clone(),
        recorder: recorder.clone(),
        sftp: Arc::new(sftp::Services {
            config: live.clone(),
            intake: intake.clone(),
            ledger: ledger.clone(),
            vault: vault.clone(),
            recorder: recorder.clone(),
            clock: clock.clone(),
            contract: sftp::ContractSince::default(),
        }),
        queue: Arc::new(queue::Services { config: live.clone(), ledger: ledger.clone(), clock: clock.clone() }),
        clock: clock.clone(),
    });

    // `stop` ends the taking of connections; `end` ends the connections; `quit` ends what must outlive them.
    let (end, quit) = (CancellationToken::new(), CancellationToken::new());
    let mut tasks = Tasks::default();
    for (socket, listener, address) in sockets {
        let roles: Vec<&str> = listener.roles.iter().map(|role| role.as_str()).collect();
        tracing::info!(listener.address = %address, listener.roles = roles.join(","), "listening");
        let served = ssh::serve(socket, listener, services.clone(), keys.clone(), stop.clone(), end.clone());
        tasks.spawn("listener", async move {
            served.await;
            Ok(())
        });
    }
    let poke = Arc::new(Notify::new());
    tasks.spawn("hangup", hangups(poke.clone(), quit.clone()));
    tasks.spawn("reload", reload(swap, poke, recorder.clone(), clock.clone(), quit.clone()));
    let follower = (access.clone(), quit.clone());
    tasks.spawn("sessions", async move {
        follower.0.follow_reloads(follower.1).await;
        Ok(())
    });
    tasks.spawn(
        "housekeeping",
        housekeeping::run(
            live.clone(),
            ledger.clone(),
            vault.clone(),
            intake.clone(),
            mark.clone(),
            clock.clone(),
            quit.clone(),
        ),
    );
    let source =
        publish::Source { config: live.clone(), ledger: ledger.clone(), key: verifier_key, clock: clock.clone() };
    tasks.spawn("tiles", publish::tiles(source.clone(), quit.clone()));
    tasks.spawn("witnesses", publish::witnesses(source.clone(), quit.clone()));
    tasks.spawn("copy", publish::copy(source, quit.clone()));
    tasks.spawn("watchdog", notices::watchdog(ledger.clone(), quit.clone()));

    tracing::info!("ready");
    notices::ready(&addresses);
    // Nobody may be waiting for the addresses.
    let _ = ready.send(addresses);

    let failed = tokio::select! {
        // First: listeners end because of `stop`, and that is no failure.
        biased;
        () = stop.cancelled() => None,
        () = hurry.cancelled() => None,
        failed = tasks.first_end() => Some(failed),
    };
    notices::stopping();
    stop.cancel();
    intake.begin_no_more();
    let drain = live.borrow().server.drain;
    tokio::select! {
        () = drained(&intake, drain) => {}
        () = hurry.cancelled() => tracing::warn!(uploads = intake.under_way(), "told to hurry: what still runs is aborted"),
    }
    end.cancel();
    // Sessions end, their uploads become drafts; what a CLOSE began still comes to its end.
    let _ = tokio::time::timeout(FAREWELL, async {
        while access.sessions() > 0 || intake.under_way() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // It waits for the audit log, which a full disk may hold up: closing the ledger then writes what is left to the
    // process's log.
    let _ = tokio::time::timeout(FAREWELL, intake.leave_all("the gateway was stopped")).await;
    quit.cancel();
    tasks.join(FAREWELL).await;
    let why = failed.as_ref().map_or("asked to", |_| "a task failed");
    let told = ledger.record(Event::new(clock.now(), Kind::DaemonStopped, Actor::gateway()).with("reason", why)).await;
    note(&mark, &ledger).await;
    let closed = ledger.close().await;
    drop(presence);
    tracing::info!(reason = why, "stopped");
    failed.map_or(Ok(()), Err)?;
    Ok(told.and(closed)?)
}

/// What an erasure that was cut short left in the ledger's free space. When this fails it is still owed: no reason to take
/// nothing in.
async fn finish_erasures(ledger: &Ledger) {
    match ledger.finish_erasures().await {
        Ok(false) => {}
        Ok(true) => tracing::info!("an erasure that was cut short is finished: the ledger's file was written anew"),
        Err(error) => tracing::error!(%error, "an erasure that was cut short could not be finished"),
    }
}

/// A mark that was not noted is no reason to stop: the one before it still holds.
async fn note(mark: &mark::Mark, ledger: &Ledger) {
    if let Err(error) = mark.set(ledger).await {
        tracing::error!(error = format!("{error:#}"), "how far the ledger has come was not noted");
    }
}

/// Waits until no upload is under way, nor one about to be renamed, at most `limit`.
async fn drained(intake: &Intake, limit: Duration) {
    let running = intake.unsettled(RENAME);
    if running == 0 {
        return;
    }
    tracing::info!(uploads = running, limit_seconds = limit.as_secs(), "draining: running uploads may finish");
    let done = tokio::time::timeout(limit, async {
        while intake.unsettled(RENAME) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(ANSWER).await;
    });
    if done.await.is_err() {
        tracing::warn!(uploads = intake.under_way(), "the drain's time is over: what still runs is aborted");
    }
}

async fn hangups(poke: Arc<Notify>, quit: CancellationToken) -> anyhow::Result<()> {
    let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
    loop {
        tokio::select! {
            () = quit.cancelled() => return Ok(()),
            _ = hangup.recv() => poke.notify_one(),
        }
    }
}

/// Follows the files of the configuration; what came of it is logged and audited before it is in force.
async fn reload(
    swap: watch::Sender<Arc<Config>>,
    poke: Arc<Notify>,
    recorder: Recorder,
    clock: Clock,
    quit: CancellationToken,
) -> anyhow::Result<()> {
    let report = |reload: Reload| {
        let event = told(&reload, &clock);
        let recorder = &recorder;
        async move { recorder.record(event).await }
    };
    config::watch(swap, poke, report, quit).await;
    Ok(())
}

fn told(reload: &Reload, clock: &Clock) -> Event {
    let event = |kind| Event::new(clock.now(), kind, Actor::gateway());
    match reload {
        Reload::Swapped { config, restart_needed, warnings } => {
            for warning in warnings {
                tracing::warn!(reason = %warning.0.message, file = %warning.0.file.display(), line = warning.0.line,
                    "the configuration is valid, but odd");
            }
            if !restart_needed.is_empty() {
                tracing::warn!(settings = ?restart_needed, "these settings changed, and take effect at the next start");
            }
            tracing::info!(orgs = config.orgs.len(), accounts = config.accounts.len(), "configuration reloaded");
            event(Kind::ConfigReloaded).with("restart_needed", restart_needed.clone())
        }
        Reload::Unchanged => {
            tracing::info!("configuration read again: nothing changed");
            event(Kind::ConfigReloaded).with("unchanged", true)
        }
        Reload::Refused(diagnostics) => {
            for fault in diagnostics {
                tracing::error!(reason = %fault.message, file = %fault.file.display(), line = fault.line,
                    column = fault.column, "configuration refused; the one in force stays");
            }
            let first =
                diagnostics.first().map(|d| format!("{}:{}:{}: {}", d.file.display(), d.line, d.column, d.message));
            event(Kind::ConfigRefused).with("errors", diagnostics.len()).with("first", first.unwrap_or_default())
        }
    }
}

/// Makes a directory that only this user can enter, with its parents.
fn private_dir(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the directory {}", path.display()))
}
