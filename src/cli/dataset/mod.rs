//! `nightsafe dataset`: what each dataset demands, and a draft of a new one from a sample extract.
//!
//! Must never print a cell of a sample. Called by `cli`; `demands` finds the words, `new` drafts.

mod columns;
pub mod demands;
mod draft;
mod guess;
mod new;
mod records;

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::config_file::ConfigFile;
use super::outcome::Stop;
use super::output::{self, Table};
use crate::check::Format;
use crate::config::units::format_size;
use crate::config::{Config, Dataset};
use crate::types::DatasetName;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    command: DatasetCommand,
}

#[derive(Debug, Subcommand)]
enum DatasetCommand {
    /// List datasets
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what a dataset demands, in words
    Show {
        name: DatasetName,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Draft a dataset and its schema from a sample extract, to be edited
    New(new::Args),
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        DatasetCommand::List { json } => list(&args.config.load()?, *json)?,
        DatasetCommand::Show { name, json } => show(&args.config.load()?, name, *json)?,
        DatasetCommand::New(args) => new::run(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn senders<'c>(config: &'c Config, dataset: &'c DatasetName) -> impl Iterator<Item = &'c str> {
    config.orgs.values().filter(move |org| org.datasets.contains(dataset)).map(|org| org.id.as_str())
}

fn list(config: &Config, json: bool) -> anyhow::Result<()> {
    if json {
        let all: Vec<_> = config.datasets.values().map(|dataset| as_json(config, dataset)).collect();
        return Ok(output::json(&all)?);
    }
    let mut table = Table::new(&["DATASET", "TITLE", "FORMAT", "FIELDS", "LARGEST", "SENT BY"]);
    for dataset in config.datasets.values() {
        let fields = demands::schema(dataset).map(|schema| schema.fields.len().to_string());
        table.row([
            dataset.name.to_string(),
            dataset.title.clone(),
            demands::format(dataset).to_owned(),
            fields.unwrap_or_else(|| "-".into()),
            format_size(dataset.rules.max_size),
            senders(config, &dataset.name).collect::<Vec<_>>().join(", "),
        ]);
    }
    Ok(table.print("no datasets: nightsafe dataset new FILE drafts one from a sample extract")?)
}

fn as_json(config: &Config, dataset: &Dataset) -> serde_json::Value {
    let mut value = demands::json(dataset);
    value["organisations"] = json!(senders(config, &dataset.name).collect::<Vec<_>>());
    value
}

fn show(config: &Config, name: &DatasetName, json: bool) -> anyhow::Result<()> {
    let Some(dataset) = config.datasets.get(name) else {
        let there: Vec<&str> = config.datasets.keys().map(DatasetName::as_str).collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        return Err(Stop::No(format!("there is no dataset {name}; there are: {there}")).into());
    };
    if json {
        return Ok(output::json(&as_json(config, dataset))?);
    }
    output::line(format!("{name}: {}", output::tame(&dataset.title)))?;
    if !dataset.description.is_empty() {
        output::line(output::tame(&dataset.description))?;
    }
    output::line("")?;
    let senders = senders(config, name).collect::<Vec<_>>().join(", ");
    let sent = if senders.is_empty() { "nobody yet".to_owned() } else { senders };
    let lines = demands::lines(dataset).into_iter().chain([("sent by", sent)]);
    output::fields(lines)?;
    if let Some(schema) = demands::schema(dataset) {
        output::line("\nFields:")?;
        let mut table = Table::new(&["FIELD", "WHAT IT MUST BE"]);
        for field in &schema.fields {
            table.row([field.name.clone(), field.describe()]);
        }
        table.print("none")?;
    }
    let rules = demands::rules(dataset);
    if !rules.is_empty() {
        output::line("\nRules:")?;
        rules.iter().try_for_each(|rule| output::line(format!("  {}", output::tame(rule))))?;
    }
    if dataset.rules.format == Format::Csv {
        let deviations = demands::deviations(dataset);
        let words = if deviations.is_empty() { "as strict as by default".to_owned() } else { deviations.join(", ") };
        output::line(format!("\nPolicy: {words}"))?;
    }
    Ok(())
}
