//! `nightsafe audit verify`: everything recomputed from the leaves, and what is wrong named; `audit checkpoint` prints what
//! to keep elsewhere for it.
//!
//! Must never call a log whole that was only compared with itself without saying so.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::super::outcome::Stop;
use super::super::output::{self, line, tame};
use super::super::progress::Progress;
use super::super::receipt;
use super::tiles;
use crate::audit::{Checkpoint, VerifierKey, grouped};
use crate::config::{self, Config};
use crate::ledger::{Ledger, Verification, Verified};
use crate::types::Timestamp;

/// A signed note is far smaller.
const NOTE_MAX: u64 = 1 << 20;

#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// A checkpoint that was kept elsewhere, - for standard input: the log must continue it; may be given more than once
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// A copy of the published tiles that was kept elsewhere: the first entry that differs is named
    #[arg(long, value_name = "DIR")]
    tiles: Option<PathBuf>,
    /// A verifier key of the log, or a file that has it, in the place of the configured ones; may be given more than once
    #[arg(long, value_name = "VKEY")]
    key: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Newest {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Newest {
    pub async fn run(&self, ledger: &Ledger) -> anyhow::Result<()> {
        let Some(note) = ledger.checkpoint().await? else {
            return Err(Stop::No("the log has no event yet, and so no checkpoint".into()).into());
        };
        if !self.json {
            return Ok(line(note.trim_end())?);
        }
        let (checkpoint, _) =
            Checkpoint::read(&note).map_err(|error| anyhow::anyhow!("the newest checkpoint: {error}"))?;
        let Checkpoint { origin, size, root, .. } = checkpoint;
        Ok(output::json(&json!({ "origin": origin, "size": size, "root": root.to_string(), "note": note }))?)
    }
}

/// One thing that the log was compared with.
struct Against {
    what: String,
    size: u64,
}

/// A witness, the newest tree that it saw, and when.
struct Seen {
    witness: String,
    size: u64,
    at: Option<Timestamp>,
}

impl Verify {
    pub async fn run(&self, ledger: &Ledger, config: &Config) -> anyhow::Result<()> {
        let keys = self.keys(config)?;
        let mut kept = Vec::new();
        let mut against = Vec::new();
        for file in &self.checkpoint {
            let note = read_note(file)?;
            let named = match file.to_str() {
                Some("-") => "the checkpoint on standard input".to_owned(),
                _ => format!("the checkpoint {}", file.display()),
            };
            let read = Checkpoint::read(&note).map_err(|error| Stop::Usage(format!("{named}: {error}")))?;
            against.push(Against { what: named, size: read.0.size });
            kept.push(note);
        }
        let mut copy = None;
        if let Some(folder) = &self.tiles {
            let opened = tiles::Copy::open(folder)?;
            against.push(Against { what: format!("the tiles in {}", folder.display()), size: opened.size });
            kept.push(opened.note.clone());
            copy = Some(opened.leaves());
        }
        let bar = Progress::of_count("verifying", 0, true);
        let progress = Box::new(move |done, all| bar.at_of(done, all));
        let verification = Verification { keys: keys.clone(), kept, copy, progress: Some(progress) };
        let verified = ledger.verify(verification).await?;
        let seen = match seen(ledger).await {
            Ok(seen) => seen,
            // That they cannot be read is among the findings.
            Err(_) if !verified.findings.is_empty() => Vec::new(),
            Err(error) => return Err(error),
        };
        match self.json {
            true => output::json(&shown(&verified, &keys, &against, &seen))?,
            false => line(verdict(&verified, &keys, &against, &seen).trim_end())?,
        }
        if verified.findings.is_empty() { Ok(()) } else { Err(Stop::Told.into()) }
    }

    /// The log's present key first.
    fn keys(&self, config: &Config) -> anyhow::Result<Vec<VerifierKey>> {
        if !self.key.is_empty() {
            return Ok(receipt::keys(&self.key)?);
        }
        let present = config::verifier_key(&config.audit).context("--key VKEY verifies without it")?;
        Ok(std::iter::once(present).chain(config.audit.former_keys.iter().cloned()).collect())
    }
}

fn read_note(file: &Path) -> anyhow::Result<String> {
    let unreadable = |error: io::Error| Stop::Usage(format!("{} cannot be read: {error}", file.display()));
    let mut note = String::new();
    match file.to_str() {
        Some("-") => io::stdin().take(NOTE_MAX).read_to_string(&mut note),
        _ => std::fs::File::open(file).map_err(unreadable)?.take(NOTE_MAX).read_to_string(&mut note),
    }
    .map_err(unreadable)?;
    Ok(note)
}

/// What the witnesses said last, each verified by its key.
async fn seen(ledger: &Ledger) -> anyhow::Result<Vec<Seen>> {
    let mut seen = Vec::new();
    for cosignature in ledger.cosignatures().await? {
        let size = cosignature.size;
        let Some(note) = ledger.checkpoint_of(size).await? else { continue };
        let note = format!("{note}{}\n", cosignature.signature);
        let signed = Checkpoint::cosignatures(&note, std::slice::from_ref(&cosignature.witness)).unwrap_or_default();
        let witness = cosignature.witness.name().to_owned();
        seen.push(Seen { witness, size, at: signed.first().and_then(|signed| signed.at) });
    }
    Ok(seen)
}

fn shown(verified: &Verified, keys: &[VerifierKey], against: &[Against], seen: &[Seen]) -> Value {
    let against = against.iter().map(|one| json!({ "what": one.what, "size": one.size }));
    let seen = seen.iter().map(|one| json!({ "witness": one.witness, "size": one.size, "at": one.at }));
    json!({
        "whole": verified.findings.is_empty(),
        "findings": verified.findings,
        "events": verified.events,
        "erased": verified.erased,
        "checkpoints": verified.checkpoints,
        "keys": keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "against": against.collect::<Vec<_>>(),
        "witnessed": seen.collect::<Vec<_>>(),
        "newest": verified.newest,
    })
}

fn verdict(verified: &Verified, keys: &[VerifierKey], against: &[Against], seen: &[Seen]) -> String {
    let mut lines = vec![("Events", grouped(verified.events))];
    if verified.erased > 0 {
        lines.push(("Erased", format!("the private parts of {}", grouped(verified.erased))));
    }
    lines.push(("Checkpoints", grouped(verified.checkpoints)));
    lines.extend(keys.iter().map(|key| ("Key", key.to_string())));
    lines.extend(against.iter().map(|one| ("Against", format!("{}, of {} events", one.what, grouped(one.size)))));
    for Seen { witness, size, at } in seen {
        let told = match at {
            Some(at) => format!("{witness} saw {} events at {at}", grouped(*size)),
            None => format!("NOT BY {witness}: its cosignature of {} events does not hold", grouped(*size)),
        };
        lines.push(("Witnessed", told));
    }
    let mut text = String::new();
    for (name, value) in lines {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<15}{}", format!("{name}:"), tame(&value));
    }
    text.push('\n');
    for finding in &verified.findings {
        let _ = writeln!(text, "NOT SO: {}: {}", finding.check, tame(&finding.what));
    }
    if let Some(first) = verified.findings.iter().filter_map(|finding| finding.event).min() {
        let _ = writeln!(
            text,
            "\nWhat comes before event {} is as it was signed, as far as this was compared.",
            grouped(first)
        );
    }
    text.push_str(match (verified.findings.is_empty(), against.is_empty()) {
        (false, _) => "\nThe log or the ledger is not whole: keep the files as they are, and compare them with your backups.\n",
        (true, false) => {
            "The log is whole: every entry is as it was signed, agrees with the ledger, and continues what was kept elsewhere.\n"
        }
        (true, true) => {
            "The log is whole: every entry is as it was signed, and agrees with the ledger.\n\
             (Compared with itself alone: whoever has the signing key could have written all of it anew. Keep what `nightsafe\n\
             audit checkpoint` prints on another machine, and compare with --checkpoint.)\n"
        }
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Finding;
    use crate::ledger::testing::{Desk, at, signer};

    fn verification(keys: Vec<VerifierKey>, kept: Vec<String>) -> Verification {
        Verification { keys, kept, ..Verification::default() }
    }

    #[tokio::test]
    async fn the_verdict_says_what_was_compared_with_what_and_what_was_not() {
        let desk = Desk::new();
        desk.accept("a.csv", at(0)).await;
        let kept = desk.ledger.checkpoint().await.unwrap().unwrap();
        desk.accept("b.csv", at(1)).await;
        let keys = vec![signer().verifier_key().clone()];
        let alone = desk.ledger.verify(verification(keys.clone(), vec![])).await.unwrap();
        let text = verdict(&alone, &keys, &[], &[]);
        assert!(text.starts_with("Events:        2\n") && text.contains("Compared with itself alone"), "{text}");
        assert!(text.contains(&format!("\nKey:           {}\n", keys[0])), "{text}");

        let against = [Against { what: "the checkpoint kept".into(), size: 1 }];
        let continued = desk.ledger.verify(verification(keys.clone(), vec![kept])).await.unwrap();
        let text = verdict(&continued, &keys, &against, &[]);
        assert!(text.contains("Against:       the checkpoint kept, of 1 events\n"), "{text}");
        assert!(text.contains("continues what was kept elsewhere") && !text.contains("itself alone"), "{text}");
        assert_eq!(shown(&continued, &keys, &against, &[])["whole"], true);
    }

    #[test]
    fn what_is_wrong_is_named_with_where_it_begins() {
        let finding = |event| Finding { check: "a leaf has its hash", what: format!("event {event:?}"), event };
        let verified = Verified { findings: vec![finding(Some(7)), finding(None)], events: 9, ..Verified::default() };
        let text = verdict(&verified, &[], &[], &[]);
        assert!(text.contains("\nNOT SO: a leaf has its hash: event Some(7)\n"), "{text}");
        assert!(text.contains("before event 7 is as it was signed") && text.contains("is not whole"), "{text}");
    }
}
