//! `nightsafe audit export`: events for other programs.
//!
//! A file is written whole or not at all, for its owner alone: events name people's accounts and addresses. Called by
//! `audit`.

mod csv;
mod ocsf;

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::NamedTempFile;

use super::super::outcome::say;
use super::super::progress::Progress;
use super::which::{PAGE, Which};
use crate::config::Config;
use crate::ledger::{Filter, Ledger, Logged};

#[derive(Debug, clap::Args)]
pub(super) struct Export {
    /// jsonl: one JSON object a line; csv: for spreadsheets, safe to open; ocsf: OCSF 1.3.0, one JSON object a line
    #[arg(long, value_enum)]
    format: Format,
    #[command(flatten)]
    which: Which,
    /// Write to FILE (mode 0600, in the place of an earlier one) and not to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Jsonl,
    Csv,
    Ocsf,
}

impl Export {
    pub async fn run(&self, ledger: &Ledger, config: &Config) -> anyhow::Result<()> {
        let gateway = ocsf::Gateway { name: &config.server.name, origin: &config.audit.origin };
        let Some(file) = &self.out else {
            // On a terminal the lines themselves are the progress.
            let shown = !io::stdout().is_terminal();
            let mut out = BufWriter::new(io::stdout().lock());
            self.write(ledger, &gateway, &mut out, shown).await?;
            return Ok(out.flush()?);
        };
        let failed = || format!("cannot write {}", file.display());
        let mut out = BufWriter::new(beside(file).with_context(failed)?);
        let count = self.write(ledger, &gateway, &mut out, true).await?;
        let new = out.into_inner().map_err(|error| error.into_error()).with_context(failed)?;
        new.as_file().sync_all().with_context(failed)?;
        new.persist(file).map_err(|error| error.error).with_context(failed)?;
        say(&format!("nightsafe: {count} {} in {}", plural(count), file.display()));
        Ok(())
    }

    /// Returns how many events were written.
    async fn write(
        &self,
        ledger: &Ledger,
        gateway: &ocsf::Gateway<'_>,
        out: &mut impl Write,
        shown: bool,
    ) -> anyhow::Result<u64> {
        if self.format == Format::Csv {
            out.write_all(csv::line(csv::HEADER).as_bytes())?;
        }
        // Nothing of what comes from here on: the log grows while it is read.
        let newest = ledger.events(&Filter { limit: Some(1), ..Filter::default() }).await?;
        let end = newest.last().map_or(0, |event| event.sequence);
        let progress = Progress::of_count("exporting", end, shown);
        let (mut last, mut count) = (0, 0);
        loop {
            let events = self.which.page(ledger, last).await?;
            for event in events.iter().take_while(|event| event.sequence <= end) {
                out.write_all(self.line(event, gateway)?.as_bytes())?;
                count += 1;
            }
            last = events.last().map_or(end, |event| event.sequence);
            progress.at(last.min(end));
            if events.len() < PAGE || last >= end {
                return Ok(count);
            }
        }
    }

    fn line(&self, event: &Logged, gateway: &ocsf::Gateway<'_>) -> anyhow::Result<String> {
        Ok(match self.format {
            Format::Jsonl => serde_json::to_string(event)? + "\n",
            Format::Csv => csv::line(csv::cells(event)),
            Format::Ocsf => ocsf::event(event, gateway).to_string() + "\n",
        })
    }
}

/// A new file in the same folder, under a name that nobody could foresee, mode 0600; gone when it is dropped, since half an
/// export is of no use.
fn beside(file: &Path) -> io::Result<NamedTempFile> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::Builder::new().prefix(".nightsafe-export-").tempfile_in(folder)
}

fn plural(count: u64) -> &'static str {
    if count == 1 { "event" } else { "events" }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::audit::Kind;
    use crate::ledger::testing::{Desk, at, event};

    fn export(format: Format, which: Which) -> Export {
        Export { format, which, out: None }
    }

    async fn exported(desk: &Desk, export: &Export) -> String {
        let gateway = ocsf::Gateway { name: "sftp.example.org", origin: "sftp.example.org/audit" };
        let mut out = Vec::new();
        export.write(&desk.ledger, &gateway, &mut out, false).await.unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn every_format_has_each_event_once_past_the_first_page_too() {
        let desk = Desk::new();
        let recorder = desk.ledger.recorder();
        for _ in 0..PAGE + 10 {
            recorder.record(event(Kind::SessionEnded)).await;
        }
        desk.ledger.record(event(Kind::DaemonStarted)).await.unwrap();
        for (format, heads) in [(Format::Jsonl, 0), (Format::Csv, 1), (Format::Ocsf, 0)] {
            let text = exported(&desk, &export(format, Which::default())).await;
            assert_eq!(text.lines().count(), PAGE + 11 + heads, "{format:?}");
        }
        let one = Which { kind: Some(Kind::DaemonStarted), ..Which::default() };
        let text = exported(&desk, &export(Format::Jsonl, one)).await;
        let read: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!((&read["sequence"], &read["kind"]), (&((PAGE + 11) as u64).into(), &"daemon.started".into()));
    }

    #[tokio::test]
    async fn a_filter_that_matches_nothing_gives_an_empty_export() {
        let desk = Desk::new();
        desk.accept("a.csv", at(0)).await;
        let none = || Which { account: Some("nobody".into()), ..Which::default() };
        assert_eq!(exported(&desk, &export(Format::Jsonl, none())).await, "");
        assert_eq!(exported(&desk, &export(Format::Csv, none())).await.lines().count(), 1);
    }

    #[tokio::test]
    async fn a_file_is_for_its_owner_alone_whatever_lies_beside_it() {
        let desk = Desk::new();
        desk.accept("a.csv", at(0)).await;
        let folder = tempfile::tempdir().unwrap();
        let (out, victim) = (folder.path().join("x.csv"), folder.path().join("victim"));
        // What the file was called while it is written, by a name that others could foresee.
        let beside = folder.path().join("x.csv.new");
        let mode = |file: &Path| std::fs::metadata(file).unwrap().permissions().mode() & 0o777;
        let export = Export { out: Some(out.clone()), ..export(Format::Csv, Which::default()) };
        let config = crate::access::fixture::config([]);

        std::fs::write(&beside, "theirs").unwrap();
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o666)).unwrap();
        export.run(&desk.ledger, &config).await.unwrap();
        assert_eq!((mode(&out), std::fs::read_to_string(&beside).unwrap().as_str()), (0o600, "theirs"));

        std::fs::write(&victim, "theirs").unwrap();
        std::fs::remove_file(&beside).unwrap();
        std::os::unix::fs::symlink(&victim, &beside).unwrap();
        std::fs::set_permissions(&out, std::fs::Permissions::from_mode(0o644)).unwrap();
        export.run(&desk.ledger, &config).await.unwrap();
        assert_eq!((mode(&out), std::fs::read_to_string(&victim).unwrap().as_str()), (0o600, "theirs"));
        assert_eq!(std::fs::read_to_string(&out).unwrap().lines().count(), 2);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "nothing else is left");

        // One that cannot be put in its place leaves nothing either.
        std::fs::remove_file(&out).unwrap();
        std::fs::create_dir(&out).unwrap();
        assert!(export.run(&desk.ledger, &config).await.unwrap_err().to_string().contains("cannot write"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
