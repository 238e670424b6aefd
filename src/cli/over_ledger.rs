//! What the commands over the ledger share: finding and opening it, times and limits on the command line.
//!
//! Must never make a ledger: the daemon does. Called by `upload`, `queue` and `audit`.

use std::io;
use std::path::Path;

use anyhow::Context;
use jiff::tz::TimeZone;

use super::config_file::ConfigFile;
use super::outcome::Stop;
use crate::config::{self, Config};
use crate::ledger::{self, Ledger};
use crate::types::{Clock, Invalid, Timestamp};

/// Runs a command that only reads the ledger that the configuration leads to: it needs nobody's key.
pub fn read(
    config: &ConfigFile,
    command: impl AsyncFnOnce(&Ledger, &Config) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    with(config, |file, _| open(file, Ledger::open_to_read), command)
}

/// Runs a command that writes to the ledger that the configuration leads to, signed by the configured key, and closes it:
/// what the command recorded is stored when this returns.
pub fn run(
    config: &ConfigFile,
    command: impl AsyncFnOnce(&Ledger, &Config) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let opened = |file: &Path, config: &Config| {
        let keys = config::log_keys(&config.audit)?;
        open(file, |file| Ledger::open(file, keys))
    };
    with(config, opened, command)
}

fn with(
    config: &ConfigFile,
    opened: impl FnOnce(&Path, &Config) -> anyhow::Result<Ledger>,
    command: impl AsyncFnOnce(&Ledger, &Config) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let config = config.load()?;
    let file = config.paths.state.join("ledger.sqlite");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let ledger = opened(&file, &config)?;
        let done = command(&ledger, &config).await;
        let closed = ledger.close().await.with_context(|| format!("closing the ledger {}", file.display()));
        done.and(closed)
    })
}

fn open(file: &Path, opened: impl FnOnce(&Path) -> ledger::Result<Ledger>) -> anyhow::Result<Ledger> {
    if let Err(error) = std::fs::metadata(file) {
        return Err(match error.kind() {
            io::ErrorKind::NotFound => {
                let what =
                    format!("there is no ledger at {}: the daemon makes it when it first starts", file.display());
                Stop::No(what).into()
            }
            _ => anyhow::Error::new(error).context(format!(
                "the ledger {} cannot be reached: run this as the daemon's user or as root",
                file.display()
            )),
        });
    }
    opened(file)
        .with_context(|| format!("opening the ledger {}: run this as the daemon's user or as root", file.display()))
}

/// A moment (`2025-03-01T12:00:00Z`), a day (`2025-03-01`, from midnight UTC) or how long ago (`90m`, `24h`, `7d`).
///
/// # Errors
/// Says how it is written.
pub fn since(text: &str) -> Result<Timestamp, Invalid> {
    since_at(text, Clock::system().now())
}

fn since_at(text: &str, now: Timestamp) -> Result<Timestamp, Invalid> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    if let Ok(midnight) = text.parse::<jiff::civil::Date>().and_then(|date| date.to_zoned_datetime(TimeZone::UTC)) {
        return Ok(midnight.timestamp());
    }
    let ago = text.parse::<jiff::Span>().ok().filter(|span| span.is_positive() || span.is_zero());
    let moment = ago.and_then(|ago| now.to_zoned_datetime(TimeZone::UTC).checked_sub(ago).ok());
    moment.map(|moment| moment.timestamp()).ok_or_else(|| {
        Invalid(format!(
            "{text:?} is no time: write a day (2025-03-01), a moment (2025-03-01T12:00:00Z) or how long ago (24h, 7d)"
        ))
    })
}

/// `--limit`: 0 is all.
pub fn limit(number: usize) -> Option<usize> {
    (number > 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_a_moment_a_day_or_how_long_ago() {
        let now: Timestamp = "2025-03-10T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2025-03-01T01:02:03Z", "2025-03-01T01:02:03Z"),
            ("2025-03-01T01:02:03+01:00", "2025-03-01T00:02:03Z"),
            ("2025-03-01", "2025-03-01T00:00:00Z"),
            ("90m", "2025-03-10T10:30:00Z"),
            ("7d", "2025-03-03T12:00:00Z"),
        ] {
            assert_eq!(since_at(text, now).unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "yesterday", "-7d", "24", "99999999y"] {
            assert!(since_at(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn no_ledger_is_made_by_looking_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ledger.sqlite");
        let error = open(&file, Ledger::open_to_read).err().unwrap();
        assert!(matches!(error.downcast_ref(), Some(Stop::No(_))), "{error:#}");
        assert!(!file.exists());
    }

    #[derive(Debug, clap::Parser)]
    enum Command {
        Upload(crate::cli::upload::Args),
        Queue(crate::cli::queue::Args),
        Audit(crate::cli::audit::Args),
    }

    #[test]
    fn the_command_lines_are_sound() {
        use clap::{CommandFactory, Parser};
        Command::command().debug_assert();
        let id = "01930e3a-4b5c-7d6e-8f70-8192a3b4c5d6";
        let reads = |line: &str| Command::try_parse_from(std::iter::once("nightsafe").chain(line.split(' '))).is_ok();
        for line in [
            "upload list --org harbour --since 7d --limit 0 --json --config x.toml",
            "upload list --rejected --quarantined",
            &format!("upload show {id}"),
            &format!("upload discard {id} --why x"),
            "queue list --state dead",
            &format!("queue retry {id}"),
            "queue retry --all-dead",
            &format!("queue release {id}"),
            "audit list --kind upload.accepted --follow",
            "audit --config x.toml verify --json",
        ] {
            assert!(reads(line), "{line}");
        }
        for line in [
            "queue retry",
            &format!("queue retry {id} --all-dead"),
            "queue list --state lost",
            "audit list --kind upload.eaten",
            "upload list --org Harbour",
            "upload show x",
            &format!("upload discard {id}"),
        ] {
            assert!(!reads(line), "{line}");
        }
    }
}
