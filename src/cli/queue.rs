//! `nightsafe queue`: what waits to be loaded, and an operator's hand in it.
//!
//! Must never touch a delivery without the audit log naming the operator. Called by `cli`.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::config_file::ConfigFile;
use super::operator::operator;
use super::outcome::Stop;
use super::output::{self, Table, line, short};
use super::over_ledger::{self, limit};
use crate::ledger::{Delivery, DeliveryState, Filter, Ledger};
use crate::types::{Actor, Clock, DatasetName, DeliveryId, OrgId};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    command: QueueCommand,
}

#[derive(Debug, Subcommand)]
enum QueueCommand {
    /// List deliveries that are not loaded, or those of one state
    List(List),
    /// Let a dead or waiting delivery be claimed at once, with its attempts forgotten
    #[command(group = clap::ArgGroup::new("which").required(true).args(["delivery", "all_dead"]))]
    Retry {
        /// Its id, as the listing has it
        delivery: Option<DeliveryId>,
        /// Every delivery in the dead letters
        #[arg(long)]
        all_dead: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a lease away: the delivery may be claimed at once, its holder can no longer acknowledge it
    Release {
        /// Its id, as the listing has it
        delivery: DeliveryId,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only of this state: ready, leased, loaded or dead
    #[arg(long, value_name = "STATE")]
    state: Option<DeliveryState>,
    /// Only of this organisation
    #[arg(long, value_name = "ORG")]
    org: Option<OrgId>,
    /// Only of this dataset
    #[arg(long, value_name = "DATASET")]
    dataset: Option<DatasetName>,
    /// At most this many, the newest; 0 for all
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let clock = Clock::system();
    if let QueueCommand::List(list) = &args.command {
        over_ledger::read(&args.config, async |ledger, _| print_list(ledger, list).await)?;
        return Ok(ExitCode::SUCCESS);
    }
    over_ledger::run(&args.config, async |ledger, _| match &args.command {
        QueueCommand::List(_) => Ok(()),
        QueueCommand::Retry { delivery: Some(delivery), json, .. } => {
            if !ledger.retry(*delivery, operator(), clock.now()).await? {
                return Err(not_possible(ledger, *delivery, "neither dead nor waiting").await?.into());
            }
            told(&[*delivery], "may be claimed now", *json)
        }
        QueueCommand::Retry { json, .. } => {
            let retried = retry_dead(ledger, &operator(), &clock).await?;
            told(&retried, "may be claimed now", *json)
        }
        QueueCommand::Release { delivery, json } => {
            if !ledger.release(*delivery, operator(), clock.now()).await? {
                return Err(not_possible(ledger, *delivery, "not leased").await?.into());
            }
            told(&[*delivery], "may be claimed now", *json)
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn print_list(ledger: &Ledger, list: &List) -> anyhow::Result<()> {
    let deliveries = select(ledger, list).await?;
    if list.json {
        return Ok(output::json(&deliveries)?);
    }
    let nothing = match list.state {
        None => "Everything is loaded.",
        Some(_) => "No deliveries.",
    };
    Ok(table(&deliveries).print(nothing)?)
}

async fn select(ledger: &Ledger, list: &List) -> anyhow::Result<Vec<Delivery>> {
    let states = match list.state {
        Some(state) => vec![state],
        None => vec![DeliveryState::Ready, DeliveryState::Leased, DeliveryState::Dead],
    };
    let mut deliveries = Vec::new();
    for state in states {
        let filter = Filter {
            state: Some(state),
            org: list.org.clone(),
            dataset: list.dataset.clone(),
            limit: limit(list.limit),
            ..Filter::default()
        };
        deliveries.extend(ledger.deliveries(&filter).await?);
    }
    // By time of acceptance; a delivery that changed its state between the queries is shown once.
    deliveries.sort_by_key(|delivery| delivery.delivery);
    deliveries.dedup_by_key(|delivery| delivery.delivery);
    if let Some(limit) = limit(list.limit) {
        deliveries.drain(..deliveries.len().saturating_sub(limit));
    }
    Ok(deliveries)
}

fn table(deliveries: &[Delivery]) -> Table {
    let mut table = Table::new(&[
        "DELIVERY",
        "STATE",
        "ATTEMPTS",
        "UNTIL",
        "LOADER",
        "ORGANISATION",
        "DATASET",
        "BYTES",
        "NAME",
        "LAST REASON",
    ]);
    for delivery in deliveries {
        let until = match delivery.state {
            DeliveryState::Leased => delivery.lease_expires,
            DeliveryState::Ready if delivery.attempt > 0 => Some(delivery.available),
            _ => None,
        };
        table.row([
            delivery.delivery.to_string(),
            delivery.state.as_str().to_owned(),
            delivery.attempt.to_string(),
            until.map_or("-".into(), short),
            delivery.holder.as_ref().map_or("-".into(), ToString::to_string),
            delivery.receipt.organisation.to_string(),
            delivery.receipt.dataset.to_string(),
            delivery.receipt.size.to_string(),
            delivery.receipt.name.to_string(),
            delivery.last_reason.clone().unwrap_or_default(),
        ]);
    }
    table
}

async fn retry_dead(ledger: &Ledger, actor: &Actor, clock: &Clock) -> anyhow::Result<Vec<DeliveryId>> {
    let dead = Filter { state: Some(DeliveryState::Dead), ..Filter::default() };
    let mut retried = Vec::new();
    for delivery in ledger.deliveries(&dead).await? {
        if ledger.retry(delivery.delivery, actor.clone(), clock.now()).await? {
            retried.push(delivery.delivery);
        }
    }
    Ok(retried)
}

/// Why a delivery is not what the command is for.
async fn not_possible(ledger: &Ledger, delivery: DeliveryId, needed: &str) -> anyhow::Result<Stop> {
    Ok(Stop::No(match ledger.delivery(delivery).await? {
        None => format!("there is no delivery {delivery}: `nightsafe queue list` shows those there are"),
        Some(found) if !found.object => format!("the object of delivery {delivery} is no longer in the vault"),
        Some(found) => format!("delivery {delivery} is {}: it is {needed}", found.state.as_str()),
    }))
}

fn told(deliveries: &[DeliveryId], what: &str, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return Ok(output::json(&json!({ "deliveries": deliveries }))?);
    }
    if deliveries.is_empty() {
        return Ok(line("No dead deliveries.")?);
    }
    for delivery in deliveries {
        line(format!("{delivery} {what}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ledger::Policy;
    use crate::ledger::testing::{Desk, at};
    use crate::types::LeaseId;

    fn everything(state: Option<DeliveryState>) -> List {
        List { state, org: None, dataset: None, limit: 100, json: false }
    }

    async fn dead(desk: &Desk, name: &str) -> DeliveryId {
        let (_, id) = desk.accept(name, at(0)).await;
        let claimed = desk.claim("loader", 1, at(1)).await;
        let lease: LeaseId = claimed[0].lease.unwrap();
        let policy = Policy { attempts: 1, backoff: Duration::ZERO, backoff_max: Duration::ZERO };
        let actor = Actor { account: "loader".into(), ..Actor::gateway() };
        desk.ledger.give_back(id, lease, "no such table", actor, policy, at(2)).await.unwrap().unwrap();
        id
    }

    #[tokio::test]
    async fn the_list_shows_what_is_not_loaded_with_its_state() {
        let desk = Desk::new();
        let letter = dead(&desk, "dead.csv").await;
        desk.accept("ready.csv", at(3)).await;
        let shown = select(&desk.ledger, &everything(None)).await.unwrap();
        let names: Vec<&str> = shown.iter().map(|delivery| delivery.receipt.name.as_str()).collect();
        assert_eq!(names, ["dead.csv", "ready.csv"]);
        assert_eq!(
            select(&desk.ledger, &List { limit: 1, ..everything(None) }).await.unwrap()[0].delivery,
            shown[1].delivery
        );
        assert_eq!(select(&desk.ledger, &everything(Some(DeliveryState::Dead))).await.unwrap().len(), 1);
        let table = table(&shown).to_string();
        let row = table.lines().nth(1).unwrap();
        assert!(
            row.starts_with(&format!("{letter}  dead   1 ")) && row.ends_with("dead.csv   no such table"),
            "{table}"
        );
    }

    #[tokio::test]
    async fn every_dead_letter_is_retried_in_the_operators_name() {
        let desk = Desk::new();
        let letters = [dead(&desk, "a.csv").await, dead(&desk, "b.csv").await];
        let clock = Clock::fixed(at(10));
        assert_eq!(retry_dead(&desk.ledger, &Actor::operator("eve"), &clock).await.unwrap(), letters);
        assert_eq!(desk.claim("loader", 9, at(10)).await.len(), 2);
        let by_eve = Filter { account: Some("operator:eve".into()), ..Filter::default() };
        assert_eq!(desk.ledger.events(&by_eve).await.unwrap().len(), 2);
        assert_eq!(retry_dead(&desk.ledger, &Actor::operator("eve"), &clock).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_refusal_says_what_the_delivery_is() {
        let desk = Desk::new();
        let letter = dead(&desk, "a.csv").await;
        let why = not_possible(&desk.ledger, letter, "not leased").await.unwrap().to_string();
        assert_eq!(why, format!("delivery {letter} is dead: it is not leased"));
        let why = not_possible(&desk.ledger, DeliveryId::new(at(0)), "not leased").await.unwrap().to_string();
        assert!(why.starts_with("there is no delivery"), "{why}");
    }
}
