//! `nightsafe upload`: what was uploaded, accepted and rejected, and what became of it.
//!
//! Changes nothing. Called by `cli`.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::audit::event_line;
use super::config_file::ConfigFile;
use super::outcome::Stop;
use super::output::{self, Table, line, short, tame};
use super::over_ledger::{self, limit, since};
use crate::ledger::{Delivery, Filter, Ledger, Logged, UploadRow};
use crate::types::{AccountName, DatasetName, OrgId, Timestamp, UploadId};

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
    over_ledger::run(&args.config, async |ledger, _| match &args.command {
        UploadCommand::List(list) => print_list(ledger, list).await,
        UploadCommand::Show { upload, json } => show(ledger, *upload, *json).await,
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn print_list(ledger: &Ledger, list: &List) -> anyhow::Result<()> {
    let filter = Filter {
        org: list.org.clone(),
        dataset: list.dataset.clone(),
        account: list.account.as_ref().map(ToString::to_string),
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

fn table(uploads: &[UploadRow]) -> Table {
    let mut table = Table::new(&["TIME", "UPLOAD", "VERDICT", "ORGANISATION", "DATASET", "ACCOUNT", "BYTES", "NAME"]);
    for UploadRow { receipt, .. } in uploads {
        table.row([
            short(receipt.time),
            receipt.upload.to_string(),
            receipt.verdict.as_str().to_owned(),
            receipt.organisation.to_string(),
            receipt.dataset.to_string(),
            receipt.account.to_string(),
            receipt.size.to_string(),
            receipt.name.to_string(),
        ]);
    }
    table
}

async fn show(ledger: &Ledger, upload: UploadId, as_json: bool) -> anyhow::Result<()> {
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
    if as_json {
        let shown = json!({ "upload": row, "delivery": deliveries.first(), "events": events });
        return Ok(output::json(&shown)?);
    }
    Ok(line(text(row, deliveries.first(), &events).trim_end())?)
}

fn text(row: &UploadRow, delivery: Option<&Delivery>, events: &[Logged]) -> String {
    let mut text = row.receipt.text();
    let mut field = |name: &str, value: String| text.push_str(&format!("{:<15}{}\n", format!("{name}:"), tame(&value)));
    field("\nPlace", row.place.clone());
    if let Some(delivery) = delivery {
        field("Sealed", format!("{} bytes", row.sealed_size));
        field("Object", row.removed.map_or("in the vault".into(), |at| format!("removed {}", short(at))));
        field("Delivery", delivery.delivery.to_string());
        field("State", delivery.state.as_str().to_owned());
        field("Attempts", delivery.attempt.to_string());
        if let Some(holder) = &delivery.holder {
            field("Loader", holder.to_string());
        }
        if let Some(reason) = &delivery.last_reason {
            field("Last reason", reason.clone());
        }
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
    use crate::ledger::testing::{Desk, at, ended};

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
        let text = text(&uploads[0], deliveries.first(), &events);
        assert!(text.contains(&format!("\nDelivery:      {delivery}\nState:         leased\n")), "{text}");
        assert!(text.contains("\nLoader:        datateam-loader\n"), "{text}");
        assert!(text.contains(" upload.accepted ") && text.contains(" delivery.claimed "), "{text}");
    }

    #[tokio::test]
    async fn an_unknown_upload_is_answered_with_no() {
        let desk = Desk::new();
        let error = show(&desk.ledger, UploadId::new(at(0)), false).await.unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Stop::No(_))));
    }
}
