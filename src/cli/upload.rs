//! `nightsafe upload`: what was uploaded, accepted and rejected, and what became of it; discarding from the quarantine, and
//! erasing.
//!
//! Must never remove what a loader may still want: only quarantined objects can be discarded, and erasing asks. Called by
//! `cli`.

mod erase;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use serde_json::json;

use super::audit::event_line;
use super::config_file::ConfigFile;
use super::operator::operator;
use super::outcome::Stop;
use super::output::{self, Table, line, short, tame};
use super::over_ledger::{self, limit, since};
use crate::audit::{Verdict, grouped};
use crate::intake::{self, Waiting};
use crate::ledger::{Delivery, DeliveryState, Filter, Ledger, Logged, UploadRow};
use crate::types::{AccountName, Clock, DatasetName, Invalid, OrgId, Timestamp, UploadId};
use crate::vault::Vault;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    command: UploadCommand,
}

#[derive(Debug, Subcommand)]
enum UploadCommand {
    /// List uploads, in the order in which they were recorded
    List(List),
    /// Show one upload: its receipt, its delivery and its events
    Show {
        /// Its id, as the receipt and the listing have it
        upload: UploadId,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Forget an upload: delete its sealed object and all that names a person, and print a confirmation
    ///
    /// For requests under data protection law. The sealed object, the name of the file, the account, key, address and client
    /// of who sent it, and what the check found are deleted, from the ledger's free space too. The log stays verifiable: it
    /// keeps that a file of this size and digest was there, and a tombstone that it was erased. What loaders have taken is
    /// not reached from here.
    ///
    /// Uploads that were aborted or removed are erased as well. One that is under way, a draft, in a loader's hand, or sent
    /// in a session that is still open is refused, with what to do. An erasure that was cut short is finished by erasing
    /// again, or when the daemon starts.
    Erase(erase::Erase),
    /// Remove a quarantined upload's sealed object before its time; the report and the audit log stay
    Discard {
        /// Its id, as the report and the listing have it
        upload: UploadId,
        /// Why, for the audit log
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        why: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Bytes of a reason.
const WHY_MAX: usize = 500;

fn reason(text: &str) -> Result<String, Invalid> {
    match text.trim() {
        "" => Err(Invalid("say why, for those who read the audit log".into())),
        long if long.len() > WHY_MAX => Err(Invalid(format!("at most {WHY_MAX} bytes"))),
        text => Ok(text.to_owned()),
    }
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only of this organisation
    #[arg(long, value_name = "ORG")]
    org: Option<OrgId>,
    /// Only of this dataset
    #[arg(long, value_name = "DATASET")]
    dataset: Option<DatasetName>,
    /// Only by this account
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<AccountName>,
    /// Only those that were rejected
    #[arg(long)]
    rejected: bool,
    /// Only those in quarantine: rejected, and still kept
    #[arg(long)]
    quarantined: bool,
    /// Instead of what was recorded, what is not finished: uploads under way, and drafts that wait to be gone on with or
    /// completed
    #[arg(long, conflicts_with_all = ["rejected", "quarantined", "since", "limit"])]
    drafts: bool,
    /// Only from this time on: 2025-03-01, 2025-03-01T12:00:00Z, or how long ago: 24h, 7d
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// At most this many, the newest; 0 for all
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        UploadCommand::List(list) if list.drafts => print_drafts(&args.config.load()?.paths.state, list)?,
        UploadCommand::List(list) => over_ledger::read(&args.config, async |ledger, _| print_list(ledger, list).await)?,
        UploadCommand::Show { upload, json } => over_ledger::read(&args.config, async |ledger, config| {
            show(ledger, &config.paths.state, *upload, *json).await
        })?,
        UploadCommand::Erase(erase) => {
            over_ledger::run(&args.config, async |ledger, config| erase.run(ledger, config).await)?;
        }
        UploadCommand::Discard { upload, why, json } => over_ledger::run(&args.config, async |ledger, config| {
            discard(ledger, &config.paths.state, *upload, why, Clock::system().now()).await?;
            match json {
                true => Ok(output::json(&json!({ "upload": upload, "discarded": true }))?),
                false => Ok(line(format!("{upload} is discarded; its report and the audit log stay"))?),
            }
        })?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn print_list(ledger: &Ledger, list: &List) -> anyhow::Result<()> {
    let filter = Filter {
        org: list.org.clone(),
        dataset: list.dataset.clone(),
        account: list.account.as_ref().map(ToString::to_string),
        verdict: list.rejected.then_some(Verdict::Rejected),
        quarantined: list.quarantined,
        since: list.since,
        limit: limit(list.limit),
        ..Filter::default()
    };
    let uploads = ledger.uploads(&filter).await?;
    if list.json {
        return Ok(output::json(&uploads)?);
    }
    Ok(table(&uploads).print("No uploads.")?)
}

/// From the tickets in the spool: those of uploads that have sealed something.
fn print_drafts(state: &Path, list: &List) -> anyhow::Result<()> {
    let mut drafts = intake::waiting(&Vault::open(state)?)?;
    drafts.retain(|draft| {
        list.org.as_ref().is_none_or(|org| *org == draft.organisation)
            && list.dataset.as_ref().is_none_or(|dataset| *dataset == draft.dataset)
            && list.account.as_ref().is_none_or(|account| *account == draft.account)
    });
    if list.json {
        return Ok(output::json(&drafts)?);
    }
    Ok(drafts_table(&drafts).print("No drafts.")?)
}

fn drafts_table(drafts: &[Waiting]) -> Table {
    let mut table = Table::new(&["SINCE", "UPLOAD", "STATE", "ORGANISATION", "DATASET", "ACCOUNT", "BYTES", "NAME"]);
    for draft in drafts {
        table.row([
            short(draft.since),
            draft.upload.to_string(),
            draft.state.as_str().to_owned(),
            draft.organisation.to_string(),
            draft.dataset.to_string(),
            draft.account.to_string(),
            draft.size.to_string(),
            draft.name.to_string(),
        ]);
    }
    table
}

fn table(uploads: &[UploadRow]) -> Table {
    let mut table = Table::new(&["TIME", "UPLOAD", "VERDICT", "ORGANISATION", "DATASET", "ACCOUNT", "BYTES", "NAME"]);
    for row in uploads {
        let receipt = &row.receipt;
        table.row([
            short(receipt.time),
            receipt.upload.to_string(),
            match row.erased {
                Some(_) => "erased".into(),
                None if is_kept(row) => "quarantined".into(),
                None => receipt.verdict.as_str().to_owned(),
            },
            receipt.organisation.to_string(),
            receipt.dataset.to_string(),
            receipt.account.to_string(),
            receipt.size.to_string(),
            receipt.name.to_string(),
        ]);
    }
    table
}

/// In quarantine, and still there.
fn is_kept(row: &UploadRow) -> bool {
    row.receipt.quarantined && row.removed.is_none()
}

/// The ledger says first that the object leaves, then it leaves; should this be interrupted in between, the daemon's next
/// start removes the file.
async fn discard(ledger: &Ledger, state: &Path, upload: UploadId, why: &str, now: Timestamp) -> anyhow::Result<()> {
    if !ledger.discard(upload, operator(), why, now).await? {
        return Err(Stop::No(format!(
            "the upload {upload} is not in quarantine: `nightsafe upload list --quarantined` shows those that are"
        ))
        .into());
    }
    let vault = Vault::open(state)?;
    vault.remove(upload).with_context(|| {
        format!(
            "the ledger has it, but the file is still there: remove {} by hand",
            vault.object_path(upload).display()
        )
    })
}

async fn show(ledger: &Ledger, state: &Path, upload: UploadId, as_json: bool) -> anyhow::Result<()> {
    let filter = Filter { upload: Some(upload), ..Filter::default() };
    let uploads = ledger.uploads(&filter).await?;
    let Some(row) = uploads.first() else {
        // One that was begun and aborted has events all the same.
        let what =
            format!("no upload {upload} was recorded; `nightsafe audit list --upload {upload}` tells of aborted ones");
        return Err(Stop::No(what).into());
    };
    let deliveries = ledger.deliveries(&filter).await?;
    let events = ledger.events(&filter).await?;
    let object = match is_kept(row) {
        true => Some(Vault::open(state)?.object_path(upload)),
        false => None,
    };
    if as_json {
        let shown = json!({ "upload": row, "delivery": deliveries.first(), "object": object, "events": events });
        return Ok(output::json(&shown)?);
    }
    Ok(line(text(row, deliveries.first(), object.as_deref(), &events).trim_end())?)
}

/// What stays of one that was erased.
fn erased(row: &UploadRow, at: Timestamp) -> String {
    let receipt = &row.receipt;
    let lines = [
        ("Upload", receipt.upload.to_string()),
        ("Size", format!("{} bytes", grouped(receipt.size))),
        ("SHA-256", receipt.sha256.to_string()),
        ("Recorded", receipt.time.to_string()),
        ("Organisation", receipt.organisation.to_string()),
        ("Dataset", receipt.dataset.to_string()),
        ("Verdict", receipt.verdict.as_str().to_owned()),
        ("Erased", at.to_string()),
    ];
    let lines = lines.map(|(name, value)| format!("{:<15}{value}\n", format!("{name}:")));
    format!(
        "An upload that was erased: who sent it, and under which name, is not known any more\n\n{}\n",
        lines.concat()
    )
}

/// `object`: where the sealed object of a quarantined upload lies.
fn text(row: &UploadRow, delivery: Option<&Delivery>, object: Option<&Path>, events: &[Logged]) -> String {
    let mut text = match row.erased {
        Some(at) => erased(row, at),
        None => row.receipt.text(),
    };
    let mut field = |name: &str, value: String| text.push_str(&format!("{:<15}{}\n", format!("{name}:"), tame(&value)));
    if row.erased.is_none() {
        field("\nPlace", row.place.clone());
    }
    if let Some(delivery) = delivery {
        field("Sealed", format!("{} bytes", row.sealed_size));
        field("Object", row.removed.map_or("in the vault".into(), |at| format!("removed {}", short(at))));
        field("Delivery", delivery.delivery.to_string());
        // Nobody can claim what was erased.
        let waits = row.erased.is_none() || delivery.state == DeliveryState::Loaded;
        field("State", if waits { delivery.state.as_str() } else { "erased" }.to_owned());
        field("Attempts", delivery.attempt.to_string());
        if let Some(holder) = &delivery.holder {
            field("Loader", holder.to_string());
        }
        if let Some(reason) = &delivery.last_reason {
            field("Last reason", reason.clone());
        }
    }
    if row.receipt.quarantined {
        field("Sealed", format!("{} bytes", row.sealed_size));
        let removed = |at| format!("removed {}", short(at));
        field(
            "Object",
            object.map_or_else(|| row.removed.map_or("-".into(), removed), |path| path.display().to_string()),
        );
    }
    if object.is_some() {
        text.push_str(
            "\nOnly the data team can open it: copy the object to their machine and, with what the report says in mind, run\n  \
             age --decrypt -i IDENTITY OBJECT\n",
        );
    }
    text.push('\n');
    for event in events {
        text.push_str(&event_line(event));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::testing::{Desk, at, ended, rejected};

    #[tokio::test]
    async fn uploads_are_listed_and_shown_with_all_that_belongs_to_them() {
        let desk = Desk::new();
        let (receipt, delivery) = desk.accept("a b.csv", at(0)).await;
        desk.ledger.reject(ended("harbour", "bad.csv", at(1))).await.unwrap();
        desk.claim("datateam-loader", 1, at(2)).await;
        let uploads = desk.ledger.uploads(&Filter::default()).await.unwrap();
        let table = table(&uploads).to_string();
        let mut lines = table.lines();
        assert!(lines.next().unwrap().starts_with("TIME                  UPLOAD"), "{table}");
        assert!(lines.next().unwrap().ends_with("harbour-nightly  10     a b.csv"), "{table}");
        assert!(lines.next().unwrap().contains("rejected"), "{table}");

        let filter = Filter { upload: Some(receipt.upload), ..Filter::default() };
        let deliveries = desk.ledger.deliveries(&filter).await.unwrap();
        let events = desk.ledger.events(&filter).await.unwrap();
        let text = text(&uploads[0], deliveries.first(), None, &events);
        assert!(text.contains(&format!("\nDelivery:      {delivery}\nState:         leased\n")), "{text}");
        assert!(text.contains("\nLoader:        datateam-loader\n"), "{text}");
        assert!(text.contains(" upload.accepted ") && text.contains(" delivery.claimed "), "{text}");
    }

    #[tokio::test]
    async fn an_unknown_upload_is_answered_with_no() {
        let desk = Desk::new();
        let error = show(&desk.ledger, desk._dir.path(), UploadId::new(at(0)), false).await.unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Stop::No(_))));
    }

    #[tokio::test]
    async fn what_is_quarantined_is_shown_with_its_place_and_can_be_discarded_once() {
        let desk = Desk::new();
        let state = desk._dir.path();
        desk.ledger.reject(rejected("harbour", "gone.csv", at(0), false)).await.unwrap();
        let upload = desk.ledger.reject(rejected("harbour", "kept.csv", at(1), true)).await.unwrap().upload;
        let vault = Vault::open(state).unwrap();
        vault.create(upload, 0).unwrap().keep().unwrap();
        let kept = async || {
            let filter = Filter { quarantined: true, verdict: Some(Verdict::Rejected), ..Filter::default() };
            desk.ledger.uploads(&filter).await.unwrap()
        };
        let rows = kept().await;
        assert!(rows.len() == 1 && table(&rows).to_string().contains("quarantined"));
        let object = vault.object_path(upload);
        let shown = text(&rows[0], None, Some(&object), &[]);
        assert!(shown.contains("\nReason:        the file is empty\n"), "{shown}");
        assert!(shown.contains(&format!("\nObject:        {}\n", object.display())) && shown.contains("age --decrypt"));

        discard(&desk.ledger, state, upload, "looked at", at(9)).await.unwrap();
        assert!(!object.exists() && kept().await.is_empty());
        let again = discard(&desk.ledger, state, upload, "looked at", at(10)).await.unwrap_err();
        assert!(matches!(again.downcast_ref(), Some(Stop::No(_))));
        let events = desk.ledger.events(&Filter { upload: Some(upload), ..Filter::default() }).await.unwrap();
        let told = events.iter().find(|logged| logged.event.kind == crate::audit::Kind::ObjectRemoved).unwrap();
        assert_eq!(told.event.detail["reason"], "looked at");
        desk.assert_whole().await;

        let (accepted, _) = desk.accept("good.csv", at(20)).await;
        assert!(discard(&desk.ledger, state, accepted.upload, "x", at(21)).await.is_err(), "a loader wants it");
    }
}
