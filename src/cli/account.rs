//! `nightsafe account`: logins of organisations, as `orgs/<org>.toml` holds them.
//!
//! Must never leave a key that would belong to two accounts, or to none. Called by `cli`.

use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::config_file::{self, ConfigFile};
use super::edit::document::{self, NewAccount};
use super::edit::{self, Change, Editor, FileChange, keyfile};
use super::org::{state, told_changes};
use super::outcome::Stop;
use super::output::{self, Table};
use crate::config::{Account, Config, Network};
use crate::types::{AccountName, DatasetName, OrgId, Role};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    command: AccountCommand,
}

#[derive(Debug, Subcommand)]
enum AccountCommand {
    /// Add an account to an organisation
    Add(Add),
    /// List accounts
    List {
        /// Of this organisation alone
        #[arg(long)]
        org: Option<OrgId>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one account
    Show {
        /// Its name
        account: AccountName,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Shut an account out; its sessions end within a second, its keys stay
    Disable {
        /// Its name
        account: AccountName,
    },
    /// Let a disabled account in again
    Enable {
        /// Its name
        account: AccountName,
    },
    /// Remove an account and its keys
    Remove {
        /// Its name
        account: AccountName,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// Its name: what a client gives as user name; unique in the gateway
    account: AccountName,
    /// The organisation that it belongs to
    #[arg(long)]
    org: OrgId,
    /// What it is for
    #[arg(long, value_enum, default_value = "provider")]
    role: RoleName,
    /// For loaders: an organisation that it may take from, or '*' for all; may be repeated
    #[arg(long = "take-org", value_name = "ORG")]
    take_orgs: Vec<String>,
    /// For loaders: a dataset that it may take; all when left out; may be repeated
    #[arg(long = "take-dataset", value_name = "DATASET")]
    take_datasets: Vec<String>,
    /// A network that it may come from, such as 192.0.2.0/24; may be repeated
    #[arg(long, value_name = "NETWORK")]
    from: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleName {
    Provider,
    Loader,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let edit = || Editor::open(&args.config);
    match &args.command {
        AccountCommand::Add(add) => add_account(edit()?, add)?,
        AccountCommand::List { org, json } => list(&args.config.load()?, org.as_ref(), *json)?,
        AccountCommand::Show { account, json } => show(&args.config.load()?, account, *json)?,
        AccountCommand::Disable { account } => set_disabled(edit()?, account, true)?,
        AccountCommand::Enable { account } => set_disabled(edit()?, account, false)?,
        AccountCommand::Remove { account } => remove(edit()?, account)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn add_account(editor: Editor, add: &Add) -> anyhow::Result<()> {
    let (config, name) = (&editor.config, &add.account);
    edit::find_org(config, &add.org)?;
    if let Some(there) = config.accounts.get(name) {
        let org = &there.org;
        return Err(
            Stop::No(format!("there is an account {name} already, of organisation {org}: names are unique")).into()
        );
    }
    let account = new_account(add)?;
    let mut change = Change::about(&add.org).fact("account", name.as_str()).fact("role", account.role.as_str());
    // While the organisation had one account its keys needed no name: from now on they do, and first of all.
    if let Some(only) = only_account(config, &add.org) {
        let mut keys = FileChange::read(edit::key_file(config, &add.org))?;
        keys.after = keys.after.map(|text| keyfile::name_account(&text, only));
        change = change.file(keys);
    }
    let mut file = FileChange::read(editor.org_file(&add.org))?;
    file.after = Some(document::add_account(file.text(), &account)?);
    change = change.file(file);
    for (name, value) in [("from", &add.from), ("take_orgs", &add.take_orgs), ("take_datasets", &add.take_datasets)] {
        if !value.is_empty() {
            change = change.fact(name, value.join(", "));
        }
    }
    let config_option = config_file::option(config);
    editor.apply(&format!("account add {name} --org {}", add.org), &change)?;
    told_changes(&format!("account {name} added to organisation {}", add.org), &change)?;
    output::line(format!("next: nightsafe key add --account {name} FILE.pub{config_option}"))?;
    Ok(())
}

fn new_account(add: &Add) -> Result<NewAccount, Stop> {
    let usage = |error: &dyn std::fmt::Display| Stop::Usage(error.to_string());
    let role = match add.role {
        RoleName::Provider => Role::Provider,
        RoleName::Loader => Role::Loader,
    };
    let takes = !add.take_orgs.is_empty() || !add.take_datasets.is_empty();
    if role == Role::Provider && takes {
        return Err(Stop::Usage("--take-org and --take-dataset are for loaders: add --role loader".into()));
    }
    if role == Role::Loader && add.take_orgs.is_empty() {
        return Err(Stop::Usage(
            "say which organisations the loader may take from: --take-org ORG, or --take-org '*'".into(),
        ));
    }
    let star = |names: &[String]| names.iter().any(|name| name == "*");
    let take_orgs: Result<Vec<OrgId>, _> =
        if star(&add.take_orgs) { Ok(Vec::new()) } else { add.take_orgs.iter().map(|name| name.parse()).collect() };
    let take_datasets: Result<Vec<DatasetName>, _> = if star(&add.take_datasets) {
        Ok(Vec::new())
    } else {
        add.take_datasets.iter().map(|name| name.parse()).collect()
    };
    for network in &add.from {
        check_network(network)?;
    }
    Ok(NewAccount {
        name: add.account.clone(),
        role,
        take_orgs: take_orgs.map_err(|error| usage(&error))?,
        take_datasets: take_datasets.map_err(|error| usage(&error))?,
        from: add.from.clone(),
    })
}

/// An address, or an address and how many leading bits of it count.
pub(super) fn check_network(text: &str) -> Result<(), Stop> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let most = match address.parse() {
        Ok(std::net::IpAddr::V4(_)) => Some(32),
        Ok(std::net::IpAddr::V6(_)) => Some(128),
        Err(_) => None,
    };
    let fits = |most: u8| prefix.is_none_or(|prefix| prefix.parse::<u8>().is_ok_and(|bits| bits <= most));
    if most.is_some_and(fits) {
        return Ok(());
    }
    Err(Stop::Usage(format!(
        "--from {text:?} is not a network: write such as 192.0.2.0/24, 2001:db8::/32 or 192.0.2.7"
    )))
}

/// The account of an organisation that has just one.
pub(super) fn only_account<'c>(config: &'c Config, org: &OrgId) -> Option<&'c AccountName> {
    let mut own = config.accounts.values().filter(|account| account.org == *org);
    let first = own.next()?;
    own.next().is_none().then_some(&first.name)
}

pub(super) fn find<'c>(config: &'c Config, name: &AccountName) -> Result<&'c Account, Stop> {
    config.accounts.get(name).ok_or_else(|| {
        let near = edit::nearest(name.as_str(), config.accounts.keys());
        Stop::No(format!("there is no account {:?}{near}", name.as_str()))
    })
}

fn list(config: &Config, org: Option<&OrgId>, as_json: bool) -> anyhow::Result<()> {
    if let Some(org) = org {
        edit::find_org(config, org)?;
    }
    let wanted = || config.accounts.values().filter(|account| org.is_none_or(|org| account.org == *org));
    if as_json {
        return Ok(output::json(&wanted().map(described).collect::<Vec<_>>())?);
    }
    let mut table = Table::new(&["ACCOUNT", "ORG", "ROLE", "STATE", "KEYS", "FROM", "TAKES"]);
    for account in wanted() {
        table.row([
            account.name.to_string(),
            account.org.to_string(),
            account.role.as_str().into(),
            state(account.disabled).into(),
            account.keys.len().to_string(),
            networks(&account.from),
            takes(account),
        ]);
    }
    Ok(table.print("no accounts yet: nightsafe account add NAME --org ORG")?)
}

fn show(config: &Config, name: &AccountName, as_json: bool) -> anyhow::Result<()> {
    let account = find(config, name)?;
    if as_json {
        return Ok(output::json(&described(account))?);
    }
    let mut rows = vec![
        ("account", account.name.to_string()),
        ("organisation", account.org.to_string()),
        ("role", account.role.as_str().into()),
        ("state", state(account.disabled).into()),
        ("from", networks(&account.from)),
    ];
    if account.role == Role::Loader {
        rows.push(("takes", takes(account)));
    }
    for key in &account.keys {
        rows.push(("key", format!("{} {} {}", key.fingerprint, keyfile::kind(&key.key), key.comment)));
    }
    rows.push(("file", edit::org_file(config, &account.org).display().to_string()));
    Ok(output::fields(rows)?)
}

fn described(account: &Account) -> serde_json::Value {
    let mut value = json!({
        "account": account.name,
        "org": account.org,
        "role": account.role,
        "disabled": account.disabled,
        "from": account.from.iter().map(network).collect::<Vec<_>>(),
        "keys": account.keys.iter().map(|key| &key.fingerprint).collect::<Vec<_>>(),
    });
    if account.role == Role::Loader {
        value["take"] = json!({
            "orgs": account.take.orgs.as_ref().map_or(json!(["*"]), |orgs| json!(orgs)),
            "datasets": account.take.datasets.as_ref().map_or(json!(["*"]), |datasets| json!(datasets)),
        });
    }
    value
}

fn set_disabled(editor: Editor, name: &AccountName, disabled: bool) -> anyhow::Result<()> {
    let org = find(&editor.config, name)?.org.clone();
    let mut file = FileChange::read(editor.org_file(&org))?;
    file.after = Some(document::set_account_disabled(file.text(), name, disabled)?);
    let change = Change::about(&org).fact("account", name.as_str()).file(file);
    let org_disabled = editor.config.orgs.get(&org).is_some_and(|org| org.disabled);
    if change.is_empty() {
        output::line(format!("account {name} is {} already", state(disabled)))?;
    } else {
        let command = if disabled { "disable" } else { "enable" };
        editor.apply(&format!("account {command} {name}"), &change)?;
        told_changes(&format!("account {name} is {} now", state(disabled)), &change)?;
    }
    if org_disabled && !disabled {
        output::line(format!("but its organisation is disabled: nightsafe org enable {org}"))?;
    }
    Ok(())
}

fn remove(editor: Editor, name: &AccountName) -> anyhow::Result<()> {
    let config = &editor.config;
    let org = find(config, name)?.org.clone();
    let only = only_account(config, &org);
    // Its keys go first: a key whose account is gone is a fault.
    let mut keys = FileChange::read(edit::key_file(config, &org))?;
    let own = |key: &keyfile::KeyLine| key.account(only) == Some(name.as_str());
    let gone: Vec<keyfile::KeyLine> = keyfile::keys(keys.text()).into_iter().filter(own).collect();
    keys.after = keys.after.map(|text| keyfile::remove(&text, own));
    let mut file = FileChange::read(editor.org_file(&org))?;
    file.after = Some(document::remove_account(file.text(), name)?);
    let fingerprints: Vec<String> = gone.iter().map(|key| key.fingerprint().to_string()).collect();
    let change =
        Change::about(&org).fact("account", name.as_str()).fact("keys", fingerprints.join(", ")).file(keys).file(file);
    editor.apply(&format!("account remove {name}"), &change)?;
    told_changes(&format!("account {name} removed; its uploads and audit events stay"), &change)?;
    for key in gone {
        output::line(format!("  key removed: {}", output::tame(&key.text)))?;
    }
    Ok(())
}

fn takes(account: &Account) -> String {
    if account.role != Role::Loader {
        return String::new();
    }
    let all = |names: Option<Vec<&str>>| names.map_or_else(|| "*".to_owned(), |names| names.join(","));
    let orgs = account.take.orgs.as_ref().map(|orgs| orgs.iter().map(OrgId::as_str).collect());
    let datasets = account.take.datasets.as_ref().map(|names| names.iter().map(DatasetName::as_str).collect());
    format!("orgs {}; datasets {}", all(orgs), all(datasets))
}

pub(super) fn networks(networks: &[Network]) -> String {
    if networks.is_empty() { "anywhere".into() } else { networks.iter().map(network).collect::<Vec<_>>().join(", ") }
}

fn network(network: &Network) -> String {
    let width = if network.address.is_ipv4() { 32 } else { 128 };
    if network.prefix == width {
        network.address.to_string()
    } else {
        format!("{}/{}", network.address, network.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(role: RoleName, orgs: &[&str], from: &[&str]) -> Add {
        Add {
            account: "a".parse().unwrap(),
            org: "o".parse().unwrap(),
            role,
            take_orgs: orgs.iter().map(|name| (*name).to_owned()).collect(),
            take_datasets: vec![],
            from: from.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn a_loader_must_say_what_it_takes_and_a_provider_must_not() {
        assert!(new_account(&add(RoleName::Loader, &[], &[])).is_err());
        assert!(new_account(&add(RoleName::Provider, &["*"], &[])).is_err());
        assert!(new_account(&add(RoleName::Loader, &["*"], &[])).unwrap().take_orgs.is_empty());
        assert_eq!(new_account(&add(RoleName::Loader, &["x"], &[])).unwrap().take_orgs.len(), 1);
        assert!(new_account(&add(RoleName::Loader, &["NOT ONE"], &[])).is_err());
    }

    #[test]
    fn networks_are_checked_before_anything_is_written() {
        for good in ["192.0.2.0/24", "192.0.2.7", "2001:db8::/32", "::1", "0.0.0.0/0"] {
            check_network(good).unwrap();
        }
        for bad in ["192.0.2.0/33", "example.org", "192.0.2/24", "192.0.2.0/", "", "\" restrict"] {
            assert!(check_network(bad).is_err(), "{bad}");
        }
    }
}
