//! `nightsafe org`: organisations, as `orgs/<org>.toml` and `keys/<org>/` hold them.
//!
//! Must never remove what a person did not agree to lose, and never touches uploads or the audit log. Called by `cli`.

#![allow(clippy::print_stderr, reason = "commands speak to people on standard error")]

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::config_file::{self, ConfigFile};
use super::edit::{self, Change, Editor, FileChange, document, keyfile};
use super::outcome::Stop;
use super::output::{self, Table};
use crate::config::units::{format_duration, format_size};
use crate::config::{Config, Org};
use crate::seal::Recipient;
use crate::types::{DatasetName, OrgId};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    command: OrgCommand,
}

#[derive(Debug, Subcommand)]
enum OrgCommand {
    /// Add an organisation
    Add(Add),
    /// List all organisations
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one organisation
    Show {
        /// Its id
        org: OrgId,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Shut an organisation out; its sessions end within a second, its files and keys stay
    Disable {
        /// Its id
        org: OrgId,
    },
    /// Let a disabled organisation in again
    Enable {
        /// Its id
        org: OrgId,
    },
    /// Remove an organisation's configuration and keys
    Remove {
        /// Its id
        org: OrgId,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// Its id: the name of its file and of its folder of keys
    org: OrgId,
    /// Its name, as people know it
    #[arg(long)]
    name: String,
    /// A dataset that it may send; may be repeated
    #[arg(long = "dataset", value_name = "DATASET")]
    datasets: Vec<DatasetName>,
    /// The dataset of files put into `/` whose name does not decide it
    #[arg(long, value_name = "DATASET")]
    default_dataset: Option<DatasetName>,
    /// Who can open its uploads: `age1...`, or an SSH public key in quotes; may be repeated
    #[arg(long = "recipient", value_name = "RECIPIENT")]
    recipients: Vec<String>,
    /// Most bytes in the vault, such as "100GiB"
    #[arg(long, value_name = "SIZE")]
    quota: Option<String>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let edit = || Editor::open(&args.config);
    match &args.command {
        OrgCommand::Add(add) => add_org(edit()?, add)?,
        OrgCommand::List { json } => list(&args.config.load()?, *json)?,
        OrgCommand::Show { org, json } => show(&args.config.load()?, org, *json)?,
        OrgCommand::Disable { org } => set_disabled(edit()?, org, true)?,
        OrgCommand::Enable { org } => set_disabled(edit()?, org, false)?,
        OrgCommand::Remove { org, yes } => remove(edit()?, org, *yes)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn add_org(editor: Editor, add: &Add) -> anyhow::Result<()> {
    let (config, id) = (&editor.config, &add.org);
    if config.orgs.contains_key(id) {
        return Err(Stop::No(format!("there is an organisation {:?} already", id.as_str())).into());
    }
    if id.as_str() == "host" {
        return Err(Stop::Usage("\"host\" is the folder of the gateway's own keys: choose another id".into()).into());
    }
    for dataset in add.datasets.iter().chain(&add.default_dataset) {
        if !config.datasets.contains_key(dataset) {
            let near = edit::nearest(dataset.as_str(), config.datasets.keys());
            let what = format!(
                "there is no dataset {:?}{near} A dataset is a file in datasets/: make it first",
                dataset.as_str()
            );
            return Err(Stop::No(what).into());
        }
    }
    let recipients = recipients(&add.recipients)?;
    if !add.datasets.is_empty() && recipients.is_empty() {
        return Err(Stop::Usage(
            "an organisation that sends datasets needs --recipient, or nobody could open its uploads: the data team \
             makes one with age-keygen, and gives you the line that begins with age1"
                .into(),
        )
        .into());
    }
    let keys = edit::key_folder(config, id);
    let mut change = Change::about(id).fact("organisation", id.as_str()).fact("datasets", names(&add.datasets));
    let mut files = vec![FileChange::read(keys.join("authorized_keys"))?];
    files[0].after = Some(keyfile::HEADER.to_owned());
    if !recipients.is_empty() {
        let mut file = FileChange::read(keys.join("recipients.txt"))?;
        file.after = Some(recipients_text(&recipients));
        files.push(file);
    }
    // The organisation's own file comes last: all that it needs is there by then.
    let mut own = FileChange::read(editor.org_file(id))?;
    own.after = Some(org_text(add));
    files.push(own);
    if let Some(left) = files.iter().find(|file| file.before.is_some()) {
        let what = format!("{} is there already: move it away first, or edit it by hand", left.path.display());
        return Err(Stop::No(what).into());
    }
    for file in files {
        change = change.file(file);
    }
    change = change.fact("recipients", recipients.join(", "));
    let config_option = config_file::option(config);
    editor.apply(&format!("org add {id}"), &change)?;
    told_changes(&format!("organisation {id} added"), &change)?;
    let role = if add.datasets.is_empty() { "-loader --role loader --take-org '*'" } else { "-nightly" };
    Ok(output::line(format!("next: nightsafe account add {id}{role} --org {id}{config_option}"))?)
}

/// Each recipient checked, in its one spelling.
fn recipients(lines: &[String]) -> Result<Vec<String>, Stop> {
    let parse = |line: &String| {
        if line.contains("AGE-SECRET-KEY-") || line.contains("PRIVATE KEY") {
            return Err(Stop::Usage(
                "that is a secret identity, not a recipient: it must never come near the gateway. Give the public \
                 half, which begins with age1 or ssh-; and since the secret is in your shell's history now, make a new one"
                    .into(),
            ));
        }
        let line = line.trim();
        match line.parse::<Recipient>() {
            Ok(_) => Ok(line.to_owned()),
            Err(error) => Err(Stop::Usage(format!("--recipient: {error}"))),
        }
    };
    lines.iter().map(parse).collect()
}

fn recipients_text(recipients: &[String]) -> String {
    let header = "\
# Who can open this organisation's uploads, one age recipient a line: age1..., or an SSH public key.
# Each upload is sealed to all of them. A change holds for uploads that begin after it.
";
    format!("{header}{}\n", recipients.join("\n"))
}

fn org_text(add: &Add) -> String {
    let mut settings = format!("name = {}\n", document::quoted(add.name.trim()));
    if !add.datasets.is_empty() {
        let datasets = document::list(add.datasets.iter().map(DatasetName::as_str));
        settings.push_str(&format!("datasets = {datasets}\n"));
    }
    if let Some(dataset) = &add.default_dataset {
        settings.push_str(&format!("default_dataset = {}\n", document::quoted(dataset.as_str())));
    }
    if let Some(quota) = &add.quota {
        settings.push_str(&format!("quota = {}\n", document::quoted(quota)));
    }
    include_str!("template/org.toml").replace("{{settings}}", &settings)
}

fn list(config: &Config, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let all: Vec<_> = config.orgs.values().map(|org| described(config, org)).collect();
        return Ok(output::json(&all)?);
    }
    let mut table = Table::new(&["ORG", "NAME", "STATE", "DATASETS", "ACCOUNTS", "KEYS", "RECIPIENTS"]);
    for org in config.orgs.values() {
        let (accounts, keys) = counts(config, org);
        table.row([
            org.id.to_string(),
            org.name.clone(),
            state(org.disabled).into(),
            names(&org.datasets),
            accounts.to_string(),
            keys.to_string(),
            org.recipients.len().to_string(),
        ]);
    }
    Ok(table.print("no organisations yet: nightsafe org add ID --name \"...\"")?)
}

fn show(config: &Config, id: &OrgId, as_json: bool) -> anyhow::Result<()> {
    let org = edit::find_org(config, id)?;
    if as_json {
        return Ok(output::json(&described(config, org))?);
    }
    let (accounts, keys) = counts(config, org);
    let recipients: Vec<String> = org.recipients.iter().map(ToString::to_string).collect();
    let rows = [
        ("organisation", org.id.to_string()),
        ("name", org.name.clone()),
        ("state", state(org.disabled).into()),
        ("datasets", names(&org.datasets)),
        ("default dataset", org.default_dataset.as_ref().map_or("none".into(), ToString::to_string)),
        ("quota", format_size(org.quota)),
        ("digests", org.digests.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ")),
        ("listed for", format_duration(org.retention.listed)),
        ("kept when loaded", format_duration(org.retention.loaded)),
        ("accounts", accounts.to_string()),
        ("keys", keys.to_string()),
        ("recipients", recipients.join("\n")),
        ("file", edit::org_file(config, id).display().to_string()),
        ("keys in", edit::key_folder(config, id).display().to_string()),
    ];
    Ok(output::fields(rows)?)
}

fn described(config: &Config, org: &Org) -> serde_json::Value {
    let own = config.accounts.values().filter(|account| account.org == org.id);
    json!({
        "org": org.id,
        "name": org.name,
        "disabled": org.disabled,
        "datasets": org.datasets,
        "default_dataset": org.default_dataset,
        "quota_bytes": org.quota,
        "digests": org.digests.iter().map(|kind| kind.as_str()).collect::<Vec<_>>(),
        "retention": { "listed_s": org.retention.listed.as_secs(), "loaded_s": org.retention.loaded.as_secs() },
        "accounts": own.map(|account| account.name.as_str()).collect::<Vec<_>>(),
        "recipients": org.recipients.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn set_disabled(editor: Editor, id: &OrgId, disabled: bool) -> anyhow::Result<()> {
    edit::find_org(&editor.config, id)?;
    let mut file = FileChange::read(editor.org_file(id))?;
    file.after = Some(document::set_org_disabled(file.text(), disabled)?);
    let change = Change::about(id).fact("organisation", id.as_str()).file(file);
    if change.is_empty() {
        return Ok(output::line(format!("organisation {id} is {} already", state(disabled)))?);
    }
    let command = if disabled { "disable" } else { "enable" };
    editor.apply(&format!("org {command} {id}"), &change)?;
    told_changes(&format!("organisation {id} is {} now", state(disabled)), &change)
}

fn remove(editor: Editor, id: &OrgId, yes: bool) -> anyhow::Result<()> {
    let config = &editor.config;
    edit::find_org(config, id)?;
    let (org_file, folder) = (editor.org_file(id), edit::key_folder(config, id));
    let own = config.accounts.values().filter(|account| account.org == *id);
    let accounts: Vec<&str> = own.map(|account| account.name.as_str()).collect();
    let own = config.accounts.values().filter(|account| account.org == *id);
    let keys: Vec<&str> = own.flat_map(|account| &account.keys).map(|key| key.fingerprint.0.as_str()).collect();
    let waiting = editor.waiting(id)?;
    eprintln!("This removes organisation {id}: {} and the key files in {}.", org_file.display(), folder.display());
    if !accounts.is_empty() {
        eprintln!("Its accounts go with it: {}.", accounts.join(", "));
    }
    eprintln!("Its uploads, receipts and audit events stay in the ledger, its sealed files in the vault.");
    if waiting > 0 {
        eprintln!("Not loaded yet: {waiting} of its deliveries. Loaders that take it by name must be changed first.");
    }
    if !yes && !agreed()? {
        return Err(Stop::No("nothing was removed".into()).into());
    }
    // The organisation's own file goes first: keys without one mean nothing.
    let mut change = Change::about(id).fact("organisation", id.as_str()).fact("accounts", accounts.join(", "));
    change = change.fact("keys", keys.join(", "));
    for path in [org_file, folder.join("authorized_keys"), folder.join("recipients.txt")] {
        let file = FileChange::read(path)?;
        change = change.file(FileChange { after: None, ..file });
    }
    change.folders.push(folder.clone());
    editor.apply(&format!("org remove {id}"), &change)?;
    told_changes(&format!("organisation {id} removed"), &change)?;
    if folder.exists() {
        output::line(format!("{} holds other files, and stays", folder.display()))?;
    }
    Ok(())
}

/// Asks on a terminal; without one the answer is in `--yes` alone.
fn agreed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Stop::Usage("nobody is here to ask: add --yes to remove it; nothing was removed".into()).into());
    }
    eprint!("Remove it? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// What was done, and to which files.
pub(super) fn told_changes(done: &str, change: &Change) -> anyhow::Result<()> {
    output::line(done)?;
    for file in &change.files {
        let what = match (&file.before, &file.after) {
            (None, _) => "written",
            (_, None) => "removed",
            _ => "changed",
        };
        output::line(format!("  {what} {}", file.path.display()))?;
    }
    Ok(())
}

pub(super) fn state(disabled: bool) -> &'static str {
    if disabled { "disabled" } else { "enabled" }
}

fn counts(config: &Config, org: &Org) -> (usize, usize) {
    let own = || config.accounts.values().filter(|account| account.org == org.id);
    (own().count(), own().map(|account| account.keys.len()).sum())
}

fn names<'n>(names: impl IntoIterator<Item = &'n DatasetName>) -> String {
    names.into_iter().map(DatasetName::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(datasets: &[&str]) -> Add {
        Add {
            org: "harbour".parse().unwrap(),
            name: "Harbour \"Street\" Services".into(),
            datasets: datasets.iter().map(|name| name.parse().unwrap()).collect(),
            default_dataset: None,
            recipients: vec![],
            quota: Some("5GiB".into()),
        }
    }

    #[test]
    fn a_new_organisations_file_says_what_was_asked_and_nothing_else() {
        let text = org_text(&add(&["ims", "gp"]));
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["name"].as_str(), Some("Harbour \"Street\" Services"));
        assert_eq!(table["datasets"].as_array().map(Vec::len), Some(2));
        assert_eq!(table["quota"].as_str(), Some("5GiB"));
        assert_eq!(table.len(), 3, "{text}");
        assert!(!text.contains("{{"));
    }

    #[test]
    fn every_setting_that_the_template_offers_reads_as_toml_once_uncommented() {
        let text = org_text(&add(&["ims"])).replace("quota = \"5GiB\"\n", "");
        let open: String = text
            .lines()
            .map(|line| line.strip_prefix('#').filter(|l| !l.starts_with(' ')).unwrap_or(line))
            .map(|line| format!("{line}\n"))
            .collect();
        let table: toml::Table = open.parse().unwrap();
        for key in ["disabled", "quota", "default_dataset", "retention", "accounts"] {
            assert!(table.contains_key(key), "{key} in\n{open}");
        }
    }

    #[test]
    fn a_secret_given_as_recipient_is_refused_for_what_it_is() {
        let refused = recipients(&["AGE-SECRET-KEY-1QQQ".into()]).unwrap_err().to_string();
        assert!(refused.contains("secret identity") && !refused.contains("1QQQ"));
    }
}
