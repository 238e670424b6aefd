//! `nightsafe audit list`: events, a line each, and on with them as they come.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use serde_json::Value;

use super::super::output::tame;
use super::super::over_ledger::limit;
use super::which::{PAGE, Which};
use crate::ledger::{Filter, Ledger, Logged};

/// How often `--follow` looks for new ones.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    which: Which,
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

impl List {
    pub async fn run(&self, ledger: &Ledger) -> anyhow::Result<()> {
        let mut last = self.print_there(ledger, &mut io::stdout()).await?;
        if !self.follow {
            return Ok(());
        }
        loop {
            tokio::time::sleep(LOOK).await;
            last = self.print_after(ledger, last, &mut io::stdout()).await?;
        }
    }

    /// Prints what is there; returns the number of the last event that was looked at.
    async fn print_there(&self, ledger: &Ledger, out: &mut impl Write) -> anyhow::Result<u64> {
        let Some(limit) = limit(self.limit) else { return self.print_after(ledger, 0, out).await };
        let end = ledger.last_event().await?;
        let events = ledger.events(&Filter { limit: Some(limit), ..self.which.filter() }).await?;
        self.print(&events, out)?;
        Ok(events.last().map_or(end, |event| event.sequence.max(end)))
    }

    /// Prints all that came after `last`, page by page; returns the number of the last event that was looked at.
    async fn print_after(&self, ledger: &Ledger, mut last: u64, out: &mut impl Write) -> anyhow::Result<u64> {
        // Asked first: what comes meanwhile may be printed, and is never passed over. Who follows what is rare would read
        // from the last match on each time.
        let end = ledger.last_event().await?;
        while last < end {
            let events = self.which.page(ledger, last).await?;
            self.print(&events, out)?;
            last = events.last().map_or(last, |event| event.sequence);
            if events.len() < PAGE {
                return Ok(last.max(end));
            }
        }
        Ok(last)
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

/// Time, sequence, kind, account, address, upload and details, in one line.
pub(in crate::cli) fn event_line(logged: &Logged) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Kind;
    use crate::ledger::testing::{Desk, at, event};
    use crate::types::Actor;

    fn everything(limit: usize) -> List {
        List { which: Which::default(), limit, follow: false, json: false }
    }

    async fn printed(desk: &Desk, list: &List) -> (u64, Vec<String>) {
        let mut out = Vec::new();
        let last = list.print_there(&desk.ledger, &mut out).await.unwrap();
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
        assert_eq!(everything(2).print_after(&desk.ledger, last, &mut out).await.unwrap(), last + 1);
        assert!(String::from_utf8(out).unwrap().contains(" upload.accepted harbour-nightly "));
    }

    #[tokio::test]
    async fn following_does_not_look_again_at_what_did_not_match() {
        let desk = Desk::new();
        for _ in 0..5 {
            desk.ledger.record(event(Kind::SessionEnded)).await.unwrap();
        }
        let rare =
            |limit| List { which: Which { kind: Some(Kind::UploadAccepted), ..Which::default() }, ..everything(limit) };
        assert_eq!(printed(&desk, &rare(0)).await, (5, vec![]));
        assert_eq!(printed(&desk, &rare(9)).await, (5, vec![]));
        desk.ledger.record(event(Kind::SessionEnded)).await.unwrap();
        assert_eq!(rare(9).print_after(&desk.ledger, 5, &mut Vec::new()).await.unwrap(), 6);
        desk.accept("a.csv", at(1)).await;
        desk.ledger.record(event(Kind::SessionEnded)).await.unwrap();
        let mut out = Vec::new();
        let end = rare(9).print_after(&desk.ledger, 6, &mut out).await.unwrap();
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 1);
        // To the end, past the one that was printed.
        assert_eq!(rare(9).print_after(&desk.ledger, end, &mut Vec::new()).await.unwrap(), end);
        assert!(end >= 8, "{end}");
    }

    #[tokio::test]
    async fn filters_narrow_the_log() {
        let desk = Desk::new();
        desk.ledger.record(event(Kind::DaemonStarted)).await.unwrap();
        let (receipt, delivery) = desk.accept("a.csv", at(1)).await;
        for which in [
            Which { kind: Some(Kind::UploadAccepted), ..Which::default() },
            Which { upload: Some(receipt.upload), ..Which::default() },
            Which { org: Some(receipt.organisation.clone()), ..Which::default() },
            Which { dataset: Some(receipt.dataset.clone()), ..Which::default() },
            Which { delivery: Some(delivery), ..Which::default() },
            Which { account: Some("harbour-nightly".into()), ..Which::default() },
            Which { since: Some(at(1)), ..Which::default() },
            Which { until: Some(at(1)), ..Which::default() },
        ] {
            let list = List { which, ..everything(9) };
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
}
