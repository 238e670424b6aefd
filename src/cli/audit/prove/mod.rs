//! `nightsafe audit prove`: all that there is of one upload, for whoever has to judge a dispute.
//!
//! Must never leave out an event of it. What is in the pack is personal: it is written for its owner alone. Called by
//! `audit`.

mod pack;

use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::json;
use uuid::Uuid;

use super::super::outcome::Stop;
use super::super::output::{self, line};
use crate::audit::{Form, Kind, Verdict, VerifierKey};
use crate::config::{self, Config};
use crate::ledger::{Delivery, Filter, Ledger, Logged, ProofOf, UploadRow};
use crate::types::{Clock, SessionId, Timestamp, UploadId};
use pack::Files;

/// Events of sessions that are looked through for the one that sent it.
const SESSIONS: usize = 1000;

#[derive(Debug, clap::Args)]
pub(super) struct Prove {
    /// An upload's id, or its delivery's
    id: Uuid,
    /// Where to: a folder that is not there yet, or a file that ends in .zip [default: proof-<upload>]
    #[arg(long, value_name = "DIR|FILE.zip")]
    out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What the ledger has of it.
struct Story {
    upload: UploadId,
    row: Option<UploadRow>,
    deliveries: Vec<Delivery>,
    events: Vec<Logged>,
    /// Of the session that sent it: its admission, its end.
    session: Vec<Logged>,
}

impl Prove {
    pub async fn run(&self, ledger: &Ledger, config: &Config) -> anyhow::Result<()> {
        let story = self.story(ledger).await?;
        let key = config::verifier_key(&config.audit)?;
        let files = files(ledger, config, &key, &story, Clock::system().now()).await?;
        let out = self.out.clone().unwrap_or_else(|| format!("proof-{}", story.upload).into());
        match pack::write(&out, &files) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let what = format!("{} is there already, and was left alone: name another with --out", out.display());
                return Err(Stop::No(what).into());
            }
            written => written.with_context(|| format!("cannot write {}", out.display()))?,
        }
        if self.json {
            let names: Vec<&String> = files.iter().map(|(name, _)| name).collect();
            return Ok(output::json(&json!({ "upload": story.upload, "out": out, "files": names }))?);
        }
        Ok(line(format!(
            "{}: {} files; README.txt says what they are and how to check them",
            out.display(),
            files.len()
        ))?)
    }

    async fn story(&self, ledger: &Ledger) -> anyhow::Result<Story> {
        let text = self.id.to_string();
        let by_delivery = Filter { delivery: text.parse().ok(), ..Filter::default() };
        let delivery = ledger.deliveries(&by_delivery).await?.into_iter().next();
        let upload = match delivery {
            Some(delivery) => Some(delivery.receipt.upload),
            None => text.parse().ok(),
        };
        let about = Filter { upload, ..Filter::default() };
        let events = if upload.is_some() { ledger.events(&about).await? } else { Vec::new() };
        let (Some(upload), false) = (upload, events.is_empty()) else {
            let what = format!("there is no upload and no delivery {}: `nightsafe upload list` shows uploads", self.id);
            return Err(Stop::No(what).into());
        };
        let row = ledger.uploads(&about).await?.into_iter().next();
        let deliveries = ledger.deliveries(&about).await?;
        let session = session(ledger, &events).await?;
        Ok(Story { upload, row, deliveries, events, session })
    }
}

/// The events of the session that began the upload; none when what tells of it was erased.
async fn session(ledger: &Ledger, events: &[Logged]) -> anyhow::Result<Vec<Logged>> {
    let began = events.iter().find(|logged| logged.event.kind == Kind::UploadBegun).or(events.first());
    let Some((began, session)) = began.and_then(|logged| Some((logged, logged.event.actor.session?))) else {
        return Ok(Vec::new());
    };
    let account = Some(began.event.actor.account.clone());
    let admitted = Filter {
        account: account.clone(),
        kind: Some(Kind::SessionAdmitted),
        until: began.event.at.checked_add(std::time::Duration::from_micros(1)).ok(),
        limit: Some(SESSIONS),
        ..Filter::default()
    };
    let ended = Filter {
        account,
        kind: Some(Kind::SessionEnded),
        after: Some(began.sequence),
        limit: Some(SESSIONS),
        ..Filter::default()
    };
    let mut found = ledger.events(&admitted).await?;
    found.extend(ledger.events(&ended).await?);
    found.retain(|logged| logged.event.actor.session == Some::<SessionId>(session));
    Ok(found)
}

async fn files(
    ledger: &Ledger,
    config: &Config,
    key: &VerifierKey,
    story: &Story,
    now: Timestamp,
) -> anyhow::Result<Files> {
    let mut files: Files = Vec::new();
    let mut add = |name: &str, content: String| files.push((name.to_owned(), content.into_bytes()));
    let row = story.row.as_ref().filter(|row| row.erased.is_none());
    if let Some(row) = row {
        for form in Form::ALL {
            let extension = if form == Form::Json { "json" } else { "txt" };
            let noun = if row.receipt.verdict == Verdict::Accepted { "receipt" } else { "report" };
            add(&format!("{noun}.{extension}"), row.receipt.file(form));
        }
    }
    for logged in story.session.iter().chain(&story.events) {
        if let Some(proven) = ledger.proof(ProofOf::Event(logged.sequence)).await? {
            let name = format!("proofs/{:08}.{}.tlog-proof", logged.sequence, logged.event.kind.as_str());
            add(&name, proven.file().to_string());
        }
    }
    add("events.jsonl", lines(&story.events)?);
    add("session.jsonl", lines(&story.session)?);
    add("deliveries.json", format!("{:#}\n", json!(story.deliveries)));
    let former: String = config.audit.former_keys.iter().map(|former| format!("{former}\n")).collect();
    let heading = if former.is_empty() { String::new() } else { "# signed before the key was changed:\n".to_owned() };
    add("verifier-keys.txt", format!("# of the log {}\n{key}\n{heading}{former}", config.audit.origin));
    if let Some(checkpoint) = ledger.checkpoint().await? {
        add("checkpoint", checkpoint);
    }
    add("verify.py", include_str!("../../../../docs/examples/verify.py").to_owned());
    add("README.txt", readme(config, key, story, now));
    Ok(files)
}

fn lines(events: &[Logged]) -> anyhow::Result<String> {
    let lines = events.iter().map(|event| Ok(serde_json::to_string(event)? + "\n"));
    lines.collect()
}

fn readme(config: &Config, key: &VerifierKey, story: &Story, now: Timestamp) -> String {
    let end = |logged: &&Logged| matches!(logged.event.kind, Kind::UploadAccepted | Kind::UploadRejected);
    let main = story.events.iter().find(end).or(story.events.last());
    let proof = main.map_or_else(String::new, |logged| {
        format!("proofs/{:08}.{}.tlog-proof", logged.sequence, logged.event.kind.as_str())
    });
    let receipt = match story.row.as_ref() {
        Some(row) if row.erased.is_some() => {
            "This upload was erased: what was private of it is gone, and the proofs show what is public."
        }
        Some(_) => "receipt.json, receipt.txt   what the provider can read under /receipts (report.* for a rejection)",
        None => "This upload came to no end that has a receipt: it was aborted, or is still under way.",
    };
    // As `receipt verify` takes them: the receipt is a file of the pack, and a rejection is to be asked for.
    let (options, rejected) = match story.row.as_ref().map(|row| (row.erased.is_none(), row.receipt.verdict)) {
        Some((true, Verdict::Accepted)) => (" --receipt receipt.json", ""),
        Some((true, Verdict::Rejected)) => (" --receipt report.json --rejected", "--rejected "),
        Some((false, Verdict::Rejected)) => (" --rejected", "--rejected "),
        Some((false, Verdict::Accepted)) | None => ("", ""),
    };
    include_str!("README.txt")
        .replace("{{gateway}}", &config.server.name)
        .replace("{{contact}}", &config.server.contact)
        .replace("{{upload}}", &story.upload.to_string())
        .replace("{{made}}", &now.to_string())
        .replace("{{receipt}}", receipt)
        .replace("{{proof}}", &proof)
        .replace("{{options}}", options)
        .replace("{{rejected}}", rejected)
        .replace("{{key}}", &key.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::fixture;
    use crate::audit::evidence;
    use crate::ledger::testing::{Desk, POLICY, actor, at, rejected, signer};

    #[tokio::test]
    async fn a_pack_has_each_event_with_a_proof_that_holds() {
        let desk = Desk::new();
        let (receipt, delivery) = desk.accept("a.csv", at(0)).await;
        desk.accept("other.csv", at(1)).await;
        let claimed = desk.claim("loader", 1, at(2)).await.remove(0);
        let lease = claimed.lease.unwrap();
        desk.ledger.acknowledge(delivery, lease, actor("loader"), POLICY, at(3)).await.unwrap().unwrap();
        let key = signer().verifier_key().clone();
        for id in [receipt.upload.to_string(), delivery.to_string()] {
            let prove = Prove { id: id.parse().unwrap(), out: None, json: false };
            let story = prove.story(&desk.ledger).await.unwrap();
            assert_eq!((story.upload, story.deliveries.len(), story.events.len()), (receipt.upload, 1, 3));
            let files = files(&desk.ledger, &fixture::config([]), &key, &story, at(9)).await.unwrap();
            let proofs: Vec<_> = files.iter().filter(|(name, _)| name.ends_with(".tlog-proof")).collect();
            assert_eq!(proofs.len(), 3);
            for (name, proof) in proofs {
                let verified = evidence::verify(proof, std::slice::from_ref(&key), &[]).unwrap();
                assert!(name.contains(verified.event.kind.as_str()), "{name}");
                assert_eq!(verified.event.upload, Some(receipt.upload));
            }
            let readme = files.iter().find(|(name, _)| name == "README.txt").unwrap();
            let readme = String::from_utf8(readme.1.clone()).unwrap();
            assert!(readme.contains("YOUR-FILE --receipt receipt.json\n") && !readme.contains("verify.py --rejected"));
            assert!(!readme.contains("{{") && readme.contains(&key.to_string()), "{readme}");
            for name in
                ["receipt.json", "receipt.txt", "events.jsonl", "deliveries.json", "verifier-keys.txt", "checkpoint"]
            {
                assert!(files.iter().any(|(file, _)| file == name), "{name}");
            }
        }
        let unknown = Prove { id: Uuid::nil(), out: None, json: false };
        let error = unknown.story(&desk.ledger).await.err().unwrap();
        assert!(matches!(error.downcast_ref(), Some(Stop::No(_))));
    }

    #[tokio::test]
    async fn of_a_rejection_the_pack_says_how_to_ask_for_it() {
        let desk = Desk::new();
        let upload = desk.ledger.reject(rejected("harbour", "bad.csv", at(1), true)).await.unwrap().upload;
        let prove = Prove { id: upload.to_string().parse().unwrap(), out: None, json: false };
        let story = prove.story(&desk.ledger).await.unwrap();
        let readme = readme(&fixture::config([]), signer().verifier_key(), &story, at(9));
        assert!(readme.contains("YOUR-FILE --receipt report.json --rejected\n"), "{readme}");
        assert!(readme.contains("verify.py --rejected proofs/") && !readme.contains("{{"), "{readme}");
    }
}
