//! A copy of each event for syslog or the journal, as it happens.
//!
//! Read from the ledger in order of sequence, so that events of other processes come too and nothing is lost while the
//! receiver is away: how far it has come, and over which events, is noted in the state directory. After a crash a second's
//! worth may come twice. Must never hold anyone up, nor go on in silence from a ledger that is not the one that was copied.
//! Called by `daemon`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixDatagram;
use tokio_util::sync::CancellationToken;

use super::message::{journal, syslog};
use super::trouble::Trouble;
use super::{Seen, Source};
use crate::audit::Kind;
use crate::config::EventCopy;
use crate::ledger::{Filter, Logged};

/// How often the ledger is looked at for new events.
const EVERY: Duration = Duration::from_millis(250);
/// How long a receiver whose buffer is full is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest pause after a fault.
const LONGEST: Duration = Duration::from_secs(30);
/// Events read at once, and sent before it is noted how far the copy has come.
const BATCH: usize = 256;
/// Where the journal takes entries (systemd, "Native Journal Protocol").
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Copies until told to quit; while nothing is configured, waits for it.
///
/// # Errors
/// None: what fails is told, and tried again.
pub async fn run(source: Source, quit: CancellationToken) -> anyhow::Result<()> {
    let mut copy = Copier { source, position: None, trouble: Trouble::new(LONGEST) };
    loop {
        let pause = copy.follow().await;
        tokio::select! {
            () = quit.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    // What the end of the others recorded; `daemon.stopped` comes with the next start.
    let _ = tokio::time::timeout(PATIENCE, copy.follow()).await;
    Ok(())
}

struct Copier {
    source: Source,
    /// The log up to the last event that was copied; none until it was read.
    position: Option<Seen>,
    trouble: Trouble,
}

impl Copier {
    /// Copies what is new; returns how long to wait before the next time.
    async fn follow(&mut self) -> Duration {
        let config = self.source.config.borrow().clone();
        let Some(to) = config.audit.syslog.clone() else {
            self.position = None;
            return EVERY;
        };
        let receiver = match &to {
            EventCopy::Journal => Path::new(JOURNAL),
            EventCopy::Socket(path) => path,
        };
        match self.copy_all(&to, receiver, &config.paths.state, &config.server.name).await {
            Ok(()) => {
                if self.trouble.is_over() {
                    tracing::info!(path = %receiver.display(), "events are copied again, with those that were missed");
                }
                EVERY
            }
            Err(error) => {
                let why = format!("{error:#}");
                if self.trouble.is_news(&why) {
                    tracing::warn!(path = %receiver.display(), error = why, "events are not copied; they are sent once that is mended");
                }
                self.trouble.pause()
            }
        }
    }

    async fn copy_all(&mut self, to: &EventCopy, receiver: &Path, state: &Path, host: &str) -> anyhow::Result<()> {
        let file = state.join("audit.copied");
        let known = match self.position {
            Some(known) => known,
            None => self.start(&file).await?,
        };
        let mut position = self.continued(known, receiver).await?;
        let socket = UnixDatagram::unbound()?;
        loop {
            let filter = Filter { after: Some(position), limit: Some(BATCH), ..Filter::default() };
            let events = self.source.ledger.events(&filter).await?;
            if events.is_empty() {
                return Ok(());
            }
            let before = position;
            let mut sent = Ok(());
            for logged in &events {
                sent = send(&socket, to, receiver, host, logged).await;
                if sent.is_err() {
                    break;
                }
                position = logged.sequence;
            }
            if position != before {
                let (seen, file) = (self.seen(position).await?, file.clone());
                self.position = Some(seen);
                tokio::task::spawn_blocking(move || note(&file, seen)).await??;
            }
            sent?;
        }
    }

    /// Where to go on: where the copy ended, if the ledger has gone on from there. If it has not, that is told, and the copy
    /// goes on with what is new, at the ledger's end at the latest.
    async fn continued(&mut self, known: Seen, receiver: &Path) -> anyhow::Result<u64> {
        let last = self.source.ledger.last_event().await?;
        if last == known.size {
            self.position = Some(known);
            return Ok(last);
        }
        let Some(why) = self.source.contradicts(known, "copied").await? else {
            self.position = Some(known);
            return Ok(known.size);
        };
        let position = last.min(known.size);
        self.position = Some(self.seen(position).await?);
        self.source.contradicted(&receiver.display().to_string(), &why).await;
        Ok(position)
    }

    async fn seen(&self, size: u64) -> anyhow::Result<Seen> {
        Ok(Seen { size, root: self.source.ledger.root(size).await? })
    }

    /// What was copied before: up to what is noted. Without a note, all before the daemon's present start: a log of years is
    /// not poured into syslog because somebody configured it today.
    async fn start(&self, file: &Path) -> anyhow::Result<Seen> {
        let path = file.to_owned();
        let noted = match tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await? {
            Ok(text) => noted(&text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(anyhow::Error::new(error).context(format!("cannot read {}", file.display()))),
        };
        if let Some(noted) = noted {
            return Ok(noted);
        }
        let last = self.source.ledger.last_event().await?;
        let started = Filter { kind: Some(Kind::DaemonStarted), limit: Some(1), ..Filter::default() };
        let started = self.source.ledger.events(&started).await?;
        self.seen(started.first().map_or(last, |logged| logged.sequence - 1)).await
    }
}

/// Sends one event. One that is too large for a datagram goes without its body.
async fn send(
    socket: &UnixDatagram,
    to: &EventCopy,
    receiver: &Path,
    host: &str,
    logged: &Logged,
) -> std::io::Result<()> {
    for whole in [true, false] {
        let message = match to {
            EventCopy::Journal => journal(logged, whole),
            EventCopy::Socket(_) => syslog(logged, host, std::process::id(), whole),
        };
        let sent = tokio::time::timeout(PATIENCE, socket.send_to(&message, receiver)).await;
        match sent {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) if whole && error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(std::io::Error::new(ErrorKind::TimedOut, "its buffer stays full")),
        }
    }
    Ok(())
}

/// What [`note`] wrote; none when it is anything else.
fn noted(text: &str) -> Option<Seen> {
    let (size, root) = text.trim().split_once(' ')?;
    Some(Seen { size: size.parse().ok()?, root: root.parse().ok()? })
}

/// Notes how far the copy has come. After a power cut it may be what it was before: then some events come twice.
fn note(file: &Path, Seen { size, root }: Seen) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let new: PathBuf = file.with_extension("copied.new");
    let mut opened = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    std::io::Write::write_all(&mut opened, format!("{size} {root}\n").as_bytes())?;
    std::fs::rename(&new, file)
}

#[cfg(test)]
mod tests;
