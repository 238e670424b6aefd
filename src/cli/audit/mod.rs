//! `nightsafe audit`: the audit log, read and checked.
//!
//! Changes nothing but that `key --new` makes a file. Called by `cli`.

pub mod key;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::config_file::ConfigFile;
use super::outcome::Stop;
use super::output::{self, line, tame};
use super::over_ledger::{self, limit, since};
use crate::audit::Kind;
use crate::ledger::{Filter, Finding, Ledger, Logged};
use crate::types::{OrgId, Timestamp, UploadId};

/// Events read at a time.
const PAGE: usize = 1000;

/// How often `--follow` looks for new ones.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// List events, in the order of the log
    List(List),
    /// Print the verifier key of the log, for providers and auditors; or make a new key
    Key(key::Key),
    /// Check that the log and the ledger are complete and agree with each other; exit status 1 if they do not
    ///
    /// Checks completeness and consistency: no event is missing from the sequence, every upload has its event and its
    /// delivery and the record of its object, and the ledger's file is not damaged. The objects themselves are looked
    /// at when the daemon starts. Nothing in the log is signed: it does not prove that nobody who can write the file
    /// has rewritten it as a whole.
    Verify {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only about this organisation
    #[arg(long, value_name = "ORG")]
    org: Option<OrgId>,
    /// Only by this account; operators are `operator:NAME`, the gateway itself is `gateway`
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// Only of this kind, such as upload.accepted
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    /// Only about this upload
    #[arg(long, value_name = "UPLOAD")]
    upload: Option<UploadId>,
    /// Only from this time on: 2025-03-01, 2025-03-01T12:00:00Z, or how long ago: 24h, 7d
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// At most this many, the newest; 0 for all
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Go on with events as they come, until interrupted
    #[arg(long)]
    follow: bool,
    /// Print JSON, one event a line
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let AuditCommand::Key(key) = &args.command {
        key::run(&args.config, key)?;
        return Ok(ExitCode::SUCCESS);
    }
    over_ledger::run(&args.config, async |ledger, _| match &args.command {
        AuditCommand::List(list) => {
            let mut last = print_list(ledger, list, &mut io::stdout()).await?;
            if !list.follow {
                return Ok(());
            }
            loop {
                tokio::time::sleep(LOOK).await;
                last = print_after(ledger, list, last, &mut io::stdout()).await?;
            }
        }
        AuditCommand::Verify { json } => verify(ledger, *json).await,
        AuditCommand::Key(_) => Ok(()),
    })?;
    Ok(ExitCode::SUCCESS)
}

impl List {
    fn filter(&self) -> Filter {
        Filter {
            org: self.org.clone(),
            account: self.account.clone(),
            kind: self.kind,
            upload: self.upload,
            since: self.since,
            ..Filter::default()
        }
    }

    fn print(&self, events: &[Logged], out: &mut impl Write) -> anyhow::Result<()> {
        for event in events {
            match self.json {
                true => writeln!(out, "{}", serde_json::to_string(event)?)?,
                false => writeln!(out, "{}", event_line(event))?,
            }
        }
        Ok(out.flush()?)
    }
}

/// Prints what is there; returns the last sequence number printed.
async fn print_list(ledger: &Ledger, list: &List, out: &mut impl Write) -> anyhow::Result<u64> {
    let Some(limit) = limit(list.limit) else { return print_after(ledger, list, 0, out).await };
    let events = ledger.events(&Filter { limit: Some(limit), ..list.filter() }).await?;
    list.print(&events, out)?;
    Ok(events.last().map_or(0, |event| event.sequence))
}

/// Prints all that came after `last`, page by page: the whole log never is in memory.
async fn print_after(ledger: &Ledger, list: &List, mut last: u64, out: &mut impl Write) -> anyhow::Result<u64> {
    loop {
        let page = Filter { after: Some(last), limit: Some(PAGE), ..list.filter() };
        let events = ledger.events(&page).await?;
        list.print(&events, out)?;
        last = events.last().map_or(last, |event| event.sequence);
        if events.len() < PAGE {
            return Ok(last);
        }
    }
}

/// Time, sequence, kind, account, address, upload and details, in one line.
pub(super) fn event_line(logged: &Logged) -> String {
    let event = &logged.event;
    let address = event.actor.address.map_or("-".to_owned(), |address| address.to_string());
    let upload = event.upload.map_or("-".to_owned(), |upload| upload.to_string());
    let mut text =
        format!("{} {} {} {} {address} {upload}", event.at, logged.sequence, event.kind.as_str(), event.actor.account);
    let about = event.org.as_ref().filter(|org| event.actor.org.as_ref() != Some(org));
    let facts = about.map(|org| ("org", Value::from(org.as_str()))).into_iter();
    let facts = facts.chain(event.delivery.map(|delivery| ("delivery", Value::from(delivery.to_string()))));
    let details = event.detail.iter().map(|(name, value)| (name.as_str(), value.clone()));
    for (name, value) in facts.chain(details) {
        let value = match value {
            Value::Null => continue,
            Value::Array(list) if list.is_empty() => continue,
            // Bare where that is plain.
            Value::String(word) if !word.is_empty() && !word.contains([' ', '"', '=']) => word,
            other => other.to_string(),
        };
        // Writing to a String cannot fail.
        let _ = write!(text, " {name}={value}");
    }
    tame(&text)
}

async fn verify(ledger: &Ledger, as_json: bool) -> anyhow::Result<()> {
    let findings = ledger.verify().await?;
    if as_json {
        output::json(&json!({ "whole": findings.is_empty(), "findings": findings }))?;
    } else {
        line(verdict(&findings).trim_end())?;
    }
    if findings.is_empty() { Ok(()) } else { Err(Stop::Told.into()) }
}

fn verdict(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let _ = writeln!(text, "NOT SO: {}: {}", finding.check, tame(&finding.what));
    }
    text.push_str(match findings.is_empty() {
        true => "The audit log and the ledger are complete and consistent.\n",
        false => {
            "The audit log or the ledger is not whole: keep the file as it is, and compare it with your backups.\n"
        }
    });
    text.push_str("(Checked for completeness and consistency; events are not signed, so this is no proof against whoever can write the file.)\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::testing::{Desk, at, event};
    use crate::types::Actor;

    fn everything(limit: usize) -> List {
        List { org: None, account: None, kind: None, upload: None, since: None, limit, follow: false, json: false }
    }

    async fn printed(desk: &Desk, list: &List) -> (u64, Vec<String>) {
        let mut out = Vec::new();
        let last = print_list(&desk.ledger, list, &mut out).await.unwrap();
        (last, String::from_utf8(out).unwrap().lines().map(str::to_owned).collect())
    }

    #[tokio::test]
    async fn the_whole_log_prints_page_by_page_and_following_goes_on_where_it_ended() {
        let desk = Desk::new();
        let recorder = desk.ledger.recorder();
        for _ in 0..(2 * PAGE + 10) {
            recorder.record(event(Kind::SessionEnded)).await;
        }
        desk.ledger.record(event(Kind::DaemonStarted)).await.unwrap();
        let (last, lines) = printed(&desk, &everything(0)).await;
        assert_eq!((last as usize, lines.len()), (2 * PAGE + 11, 2 * PAGE + 11));
        let (last, lines) = printed(&desk, &everything(2)).await;
        assert_eq!((last as usize, lines.len()), (2 * PAGE + 11, 2));
        desk.accept("a.csv", at(1)).await;
        let mut out = Vec::new();
        assert_eq!(print_after(&desk.ledger, &everything(2), last, &mut out).await.unwrap(), last + 1);
        assert!(String::from_utf8(out).unwrap().contains(" upload.accepted harbour-nightly "));
    }

    #[tokio::test]
    async fn filters_narrow_the_log() {
        let desk = Desk::new();
        desk.ledger.record(event(Kind::DaemonStarted)).await.unwrap();
        let (receipt, _) = desk.accept("a.csv", at(1)).await;
        for list in [
            List { kind: Some(Kind::UploadAccepted), ..everything(0) },
            List { upload: Some(receipt.upload), ..everything(9) },
            List { org: Some(receipt.organisation.clone()), ..everything(9) },
            List { account: Some("harbour-nightly".into()), ..everything(9) },
            List { since: Some(at(1)), ..everything(9) },
        ] {
            assert_eq!(printed(&desk, &list).await.1.len(), 1, "{list:?}");
        }
        let (_, lines) = printed(&desk, &List { json: true, ..everything(9) }).await;
        let parsed: Value = serde_json::from_str(&lines[1]).unwrap();
        assert_eq!((&parsed["sequence"], &parsed["kind"]), (&2.into(), &"upload.accepted".into()));
        assert_eq!(parsed["actor"]["account"], "harbour-nightly");
    }

    #[test]
    fn a_line_tells_the_event_in_short_and_cannot_be_forged() {
        let actor = Actor { account: "ev\u{1b}il\n".into(), address: "192.0.2.7:5".parse().ok(), ..Actor::gateway() };
        let event = crate::audit::Event::new(at(0), Kind::SessionRefused, actor)
            .with("reason", "no such key")
            .with("count", 3)
            .with("name", "plain")
            .with("nothing", Value::Null);
        assert_eq!(
            event_line(&Logged { sequence: 7, event }),
            "2023-11-14T22:13:20Z 7 session.refused ev\\u{1b}il\\u{a} 192.0.2.7:5 - count=3 name=plain reason=\"no such key\""
        );
    }

    #[test]
    fn the_verdict_says_what_was_and_was_not_checked() {
        assert!(verdict(&[]).starts_with("The audit log and the ledger are complete and consistent.\n(Checked for"));
        let finding = Finding { check: "the sequence of events has no gaps", what: "after event 1 comes 3".into() };
        let text = verdict(&[finding]);
        assert!(text.starts_with("NOT SO: the sequence of events has no gaps: after event 1 comes 3\n"), "{text}");
        assert!(text.contains("not signed"));
    }
}
