//! A changed configuration, validated whole and swapped whole; an invalid one is refused and the old one stays.
//!
//! Must never swap in anything that [`super::load`] would refuse, nor end with the first thing that goes wrong: a daemon
//! that no longer reads its configuration would keep a key that was taken away. Called by `daemon`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::diagnostic::{Diagnostic, Warning};
use super::load::{Loaded, load_with_warnings};
use super::model::Config;
use super::watched::Watcher;

/// The files are read when nothing changed for this long...
const QUIET: Duration = Duration::from_millis(100);
/// ...or when the first change was this long ago: a key that is taken away must act within a second.
const PATIENCE: Duration = Duration::from_millis(500);

/// The configuration in force, and the way to learn of a new one.
pub type Live = watch::Receiver<Arc<Config>>;

/// What a reload came to, for the audit log.
#[derive(Debug, Clone)]
pub enum Reload {
    /// In force as soon as this was heard.
    Swapped {
        config: Arc<Config>,
        /// Settings that the files say otherwise than the daemon runs: these take effect when it is started anew, and
        /// `config` has the old values.
        restart_needed: Vec<&'static str>,
        warnings: Vec<Warning>,
    },
    /// The old configuration stays.
    Refused(Vec<Diagnostic>),
    /// Somebody asked, but the files say what they said before. Never told of a change on disk.
    Unchanged,
}

/// Watches the files of the configuration in `current` and swaps a changed one in whole; `poke` (SIGHUP) reads it at
/// once (`notify_one`, so that none is lost). `report` hears of each reload, and is done, before the swap is visible. Where the system cannot tell of changes,
/// the files are looked at every 500 ms. Runs until `stop`, and does not fail.
pub async fn watch<F>(
    current: watch::Sender<Arc<Config>>,
    poke: Arc<Notify>,
    report: impl Fn(Reload) -> F + Send + Sync,
    stop: CancellationToken,
) where
    F: Future<Output = ()> + Send,
{
    let changed = Arc::new(Notify::new());
    let mut state = State { current, good: None, refused: Vec::new() };
    let mut watcher = state.rewatch(None, &changed).await;
    // What changed between the start's reading and the first watch would otherwise never be seen.
    state.look(false, &report).await;
    loop {
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            () = poke.notified() => true,
            () = changed.notified() => match settle(&changed, &poke, &stop).await {
                Some(asked) => asked,
                None => return,
            },
            () = watcher.poll(&changed) => false,
        };
        // Anew, and before reading: directories may have been replaced, and what changes from here on is heard of.
        watcher = state.rewatch(Some(watcher), &changed).await;
        if state.look(asked, &report).await {
            // The new configuration may live in other places: once more, with these watched.
            changed.notify_one();
        }
    }
}

/// Waits until the files are quiet. Whether somebody asked meanwhile; none at the stop.
async fn settle(changed: &Notify, poke: &Notify, stop: &CancellationToken) -> Option<bool> {
    let last = Instant::now() + PATIENCE;
    loop {
        let quiet = (Instant::now() + QUIET).min(last);
        tokio::select! {
            () = stop.cancelled() => return None,
            () = poke.notified() => return Some(true),
            () = changed.notified() => {}
            () = sleep_until(quiet) => return Some(false),
        }
        if Instant::now() >= last {
            return Some(false);
        }
    }
}

struct State {
    current: watch::Sender<Arc<Config>>,
    /// What the files said when they were last valid; none until they were read here.
    good: Option<Loaded>,
    /// What was wrong with the files when they were last read; empty when nothing was.
    refused: Vec<Diagnostic>,
}

impl State {
    fn running(&self) -> Arc<Config> {
        self.current.borrow().clone()
    }

    /// A watcher for the places of the configuration in force; the old one goes first.
    async fn rewatch(&self, old: Option<Watcher>, changed: &Arc<Notify>) -> Watcher {
        let (config, changed) = (self.running(), changed.clone());
        let made = tokio::task::spawn_blocking({
            let config = config.clone();
            move || Watcher::new(&config, &changed, old)
        });
        // It fails only when the runtime is shutting down, or on a panic that was logged.
        made.await.unwrap_or_else(|_| Watcher::polling(&config))
    }

    /// Reads the files; whether another configuration is in force now.
    async fn look<F: Future<Output = ()> + Send>(
        &mut self,
        asked: bool,
        report: &(impl Fn(Reload) -> F + Sync),
    ) -> bool {
        let running = self.running();
        let file = running.file.clone();
        let read = tokio::task::spawn_blocking(move || load_with_warnings(&file)).await.unwrap_or_else(|failed| {
            let help = "this is a fault of the gateway: report it with its log; the old configuration stays";
            Err((vec![Diagnostic::of_file(&running.file, format!("reading it failed: {failed}"), help)], Vec::new()))
        });
        match read {
            Err((errors, _)) => {
                if asked || self.refused != errors {
                    report(Reload::Refused(errors.clone())).await;
                }
                self.refused = errors;
                false
            }
            Ok(loaded) => {
                let same = match &self.good {
                    Some(good) => good.says_the_same_as(&loaded),
                    None => loaded.is(&running),
                };
                // After a refusal the log's last word must not be that one.
                if same && self.refused.is_empty() {
                    self.good = Some(loaded);
                    if asked {
                        report(Reload::Unchanged).await;
                    }
                    return false;
                }
                self.refused.clear();
                let (config, restart_needed) = keep_what_runs(&running, loaded.config.clone());
                let config = Arc::new(config);
                let warnings = loaded.warnings.clone();
                self.good = Some(loaded);
                report(Reload::Swapped { config: config.clone(), restart_needed, warnings }).await;
                self.current.send_replace(config);
                true
            }
        }
    }
}

/// Puts the old values back where only a start takes the new ones, and names these settings.
fn keep_what_runs(running: &Config, mut new: Config) -> (Config, Vec<&'static str>) {
    fn keep<T: PartialEq + Clone>(name: &'static str, old: &T, new: &mut T, kept: &mut Vec<&'static str>) {
        if old != new {
            *new = old.clone();
            kept.push(name);
        }
    }
    let mut kept = Vec::new();
    keep("server.listeners", &running.server.listeners, &mut new.server.listeners, &mut kept);
    keep("server.host_keys", &running.server.host_keys, &mut new.server.host_keys, &mut kept);
    keep("paths.state", &running.paths.state, &mut new.paths.state, &mut kept);
    keep("paths.runtime", &running.paths.runtime, &mut new.paths.runtime, &mut kept);
    keep("audit.key", &running.audit.key, &mut new.audit.key, &mut kept);
    keep("audit.origin", &running.audit.origin, &mut new.audit.origin, &mut kept);
    keep("log", &running.log, &mut new.log, &mut kept);
    (new, kept)
}
