//! What the commands over the ledger share: finding and opening it, times and limits on the command line, printing.
//!
//! Must never make a ledger (the daemon does), nor let a name from outside move the cursor or reorder text on the
//! operator's screen. Called by `upload`, `queue` and `audit`.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use jiff::tz::TimeZone;

use crate::config::{self, Config, Diagnostic};
use crate::ledger::Ledger;
use crate::types::{Actor, Clock, Invalid, Timestamp, deceives};

/// `--config`, as every command takes it.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfigFile {
    /// The configuration to use
    #[arg(long = "config", value_name = "FILE", global = true, default_value = "/etc/nightsafe/nightsafe.toml")]
    pub path: PathBuf,
}

/// Why a command stops without having failed.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The answer is no. Exit status 1.
    #[error("{0}")]
    No(String),
    /// As `No`, and all was said on standard output. Exit status 1.
    #[error("the answer is no")]
    Told,
    /// Usage or configuration. Exit status 2.
    #[error("{0}")]
    Usage(String),
}

/// Turns what a command came to into its exit status: a [`Stop`] is told on standard error here, a failure is the
/// caller's to tell. A reader that went away (`| head`) is no failure.
pub fn finish(result: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    let Err(error) = result else { return Ok(ExitCode::SUCCESS) };
    if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return Ok(ExitCode::SUCCESS);
    }
    let status = match error.downcast_ref::<Stop>() {
        Some(Stop::Told) => return Ok(ExitCode::from(1)),
        Some(Stop::No(_)) => 1,
        Some(Stop::Usage(_)) => 2,
        None => return Err(error),
    };
    // Nobody can be told that standard error is gone.
    let _ = writeln!(io::stderr(), "nightsafe: {error:#}");
    Ok(ExitCode::from(status))
}

/// Runs a command over the ledger that the configuration leads to, and closes it: what the command recorded is stored
/// when this returns.
pub fn with_ledger(
    config: &ConfigFile,
    command: impl AsyncFnOnce(&Ledger, &Config) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let config = config::load(&config.path).map_err(|faults| Stop::Usage(told(&faults)))?;
    let file = config.paths.state.join("ledger.sqlite");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let ledger = open(&file)?;
        let done = command(&ledger, &config).await;
        let closed = ledger.close().await.with_context(|| format!("closing the ledger {}", file.display()));
        done.and(closed)
    })
}

fn open(file: &Path) -> anyhow::Result<Ledger> {
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
    Ledger::open(file)
        .with_context(|| format!("opening the ledger {}: run this as the daemon's user or as root", file.display()))
}

fn told(faults: &[Diagnostic]) -> String {
    let mut text = String::from("the configuration is not valid");
    for fault in faults {
        let place = if fault.line > 0 { format!(":{}:{}", fault.line, fault.column) } else { String::new() };
        text.push_str(&format!("\n{}{place}: {}", fault.file.display(), tame(&fault.message)));
        if !fault.help.is_empty() {
            text.push_str(&format!("\n    {}", tame(&fault.help)));
        }
    }
    text
}

/// Who runs this, for the audit log: the user behind sudo, the user, or the number of one.
pub fn operator() -> Actor {
    let named = |variable| std::env::var(variable).ok().filter(|name: &String| !name.trim().is_empty());
    let user =
        named("SUDO_USER").or_else(|| named("USER")).unwrap_or_else(|| rustix::process::getuid().as_raw().to_string());
    let user: String = user.chars().filter(|c| !c.is_control() && !deceives(*c)).take(64).collect();
    Actor::operator(&user)
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

/// An aligned table: a header line and rows, two spaces between columns, nothing after the last.
#[derive(Debug, Clone)]
pub struct Table {
    headers: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(headers: &[&'static str]) -> Self {
        Self { headers: headers.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty, further ones are left out.
    pub fn row<I, S>(&mut self, cells: I)
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let mut cells: Vec<String> = cells.into_iter().map(|cell| tame(&cell.into())).collect();
        cells.resize(self.headers.len(), String::new());
        self.rows.push(cells);
    }

    /// Prints the table, or `nothing` in its place when it has no rows.
    pub fn print(&self, nothing: &str) -> io::Result<()> {
        line(if self.rows.is_empty() { nothing.to_owned() } else { self.to_string() }.trim_end())
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let headers: Vec<String> = self.headers.iter().map(|header| (*header).to_owned()).collect();
        let lines = || std::iter::once(&headers).chain(&self.rows);
        let widths: Vec<usize> = (0..headers.len())
            .map(|column| lines().map(|row| row[column].chars().count()).max().unwrap_or(0))
            .collect();
        for row in lines() {
            let mut text = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                write!(text, "{cell:<width$}  ")?;
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

/// The text with characters that could deceive on a screen shown as escapes.
pub fn tame(text: &str) -> String {
    let mut tamed = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || deceives(c) { tamed.extend(c.escape_unicode()) } else { tamed.push(c) }
    }
    tamed
}

/// Prints a line (or several, when the text holds line ends).
pub fn line(text: impl AsRef<str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush())
}

/// Prints a value as indented JSON.
pub fn json(value: &impl serde::Serialize) -> io::Result<()> {
    line(serde_json::to_string_pretty(value)?)
}

/// A moment for a column: whole seconds.
pub fn short(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
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
    fn a_cell_cannot_reorder_the_screen_and_the_last_column_has_no_tail() {
        let mut table = Table::new(&["ORG", "NAME"]);
        table.row(["élan", "a\u{202E}gpj.exe\u{1b}[2J"]);
        table.row(["harbour"]);
        assert_eq!(table.to_string(), "ORG      NAME\nélan     a\\u{202e}gpj.exe\\u{1b}[2J\nharbour\n");
    }

    #[test]
    fn no_ledger_is_made_by_looking_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ledger.sqlite");
        let error = open(&file).err().unwrap();
        assert!(matches!(error.downcast_ref(), Some(Stop::No(_))), "{error:#}");
        assert!(!file.exists());
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let gone = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(format!("{:?}", finish(Err(gone)).unwrap()), format!("{:?}", ExitCode::SUCCESS));
        assert!(finish(Err(anyhow::anyhow!("broken"))).is_err());
    }

    #[derive(Debug, clap::Parser)]
    enum Command {
        Upload(crate::cli::upload::UploadArgs),
        Queue(crate::cli::queue::QueueArgs),
        Audit(crate::cli::audit::AuditArgs),
    }

    #[test]
    fn the_command_lines_are_sound() {
        use clap::{CommandFactory, Parser};
        Command::command().debug_assert();
        let id = "01930e3a-4b5c-7d6e-8f70-8192a3b4c5d6";
        let reads = |line: &str| Command::try_parse_from(std::iter::once("nightsafe").chain(line.split(' '))).is_ok();
        for line in [
            "upload list --org harbour --since 7d --limit 0 --json --config x.toml",
            &format!("upload show {id}"),
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
        ] {
            assert!(!reads(line), "{line}");
        }
    }
}
