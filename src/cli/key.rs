//! `nightsafe key`: the public keys of accounts, as `keys/<org>/authorized_keys` holds them.
//!
//! Must never take in anything secret, or a key that somebody holds already. Reading a key that a person hands in is
//! [`pasted`]'s work. Called by `cli`.

mod pasted;

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use serde_json::json;

use super::account::{check_network, find, only_account};
use super::config_file::ConfigFile;
use super::edit::keyfile::{self, KeyLine};
use super::edit::{self, Change, Editor, FileChange};
use super::org::told_changes;
use super::outcome::Stop;
use super::output::{self, Table};
use crate::config::Config;
use crate::types::{AccountName, Clock, Fingerprint, OrgId, Timestamp};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Give an account a public key
    Add(Add),
    /// List keys, the disabled too
    List {
        /// Of this account alone
        #[arg(long)]
        account: Option<AccountName>,
        /// Of this organisation alone
        #[arg(long)]
        org: Option<OrgId>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one key
    Show {
        /// SHA256:..., as `ssh-keygen -l` shows it
        fingerprint: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Comment a key out; sessions that it opened end within a second
    Disable {
        /// SHA256:..., as `nightsafe key list` shows it
        fingerprint: String,
    },
    /// Bring a disabled key back
    Enable {
        /// SHA256:..., as `nightsafe key list` shows it
        fingerprint: String,
    },
    /// Remove a key
    Remove {
        /// SHA256:..., as `nightsafe key list` shows it
        fingerprint: String,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// The account that it lets in
    #[arg(long)]
    account: AccountName,
    /// A file with the public key, `-` for standard input, or the key itself in quotes
    key: String,
    /// A network that it may be used from, such as 192.0.2.0/24; may be repeated
    #[arg(long, value_name = "NETWORK")]
    from: Vec<String>,
    /// The last moment that it lets in, in UTC: 2027-12-31 or 2027-12-31T18:00:00Z
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
}

/// One key of the gateway, where it stands.
struct Found {
    org: OrgId,
    account: Option<String>,
    line: KeyLine,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let edit = || Editor::open(&args.config);
    match &args.command {
        KeyCommand::Add(add) => add_key(edit()?, add)?,
        KeyCommand::List { account, org, json } => {
            list(&args.config.load()?, account.as_ref(), org.as_ref(), *json)?;
        }
        KeyCommand::Show { fingerprint, json } => show(&args.config.load()?, fingerprint, *json)?,
        KeyCommand::Disable { fingerprint } => {
            let editor = edit()?;
            let day = editor.now().to_string()[..10].to_owned();
            change_line(editor, fingerprint, "disable", |text, key| keyfile::disable(text, key, &day))?;
        }
        KeyCommand::Enable { fingerprint } => change_line(edit()?, fingerprint, "enable", keyfile::enable)?,
        KeyCommand::Remove { fingerprint } => change_line(edit()?, fingerprint, "remove", |text, key| {
            keyfile::remove(text, |line| line.fingerprint() == *key)
        })?,
    }
    Ok(ExitCode::SUCCESS)
}

fn add_key(editor: Editor, add: &Add) -> anyhow::Result<()> {
    let config = &editor.config;
    let account = find(config, &add.account)?;
    let (key, comment) = pasted::parse(&handed_in(&add.key)?)?;
    let fingerprint = keyfile::fingerprint(&key);
    if let Some(there) = all(config)?.into_iter().find(|found| found.line.fingerprint() == fingerprint) {
        return Err(Stop::No(already_used(config, &there)).into());
    }
    for network in &add.from {
        check_network(network)?;
    }
    let mut options = format!("account=\"{}\"", add.account);
    if !add.from.is_empty() {
        options.push_str(&format!(",from=\"{}\"", add.from.join(",")));
    }
    if let Some(expires) = &add.expires {
        options.push_str(&format!(",expiry-time=\"{}\"", pasted::expiry(expires, editor.now())?));
    }
    let openssh = key.to_openssh().context("the key cannot be written as OpenSSH writes it")?;
    let line = format!("{options} {openssh} {comment}");
    let mut file = FileChange::read(edit::key_file(config, &account.org))?;
    let text = file.before.as_deref().unwrap_or(keyfile::HEADER);
    file.after = Some(keyfile::add(text, line.trim_end()));
    let org = account.org.clone();
    let change = Change::about(&org)
        .fact("account", add.account.as_str())
        .fact("fingerprint", fingerprint.to_string())
        .fact("options", options)
        .file(file);
    editor.apply(&format!("key add --account {} {fingerprint}", add.account), &change)?;
    told_changes(&format!("key {fingerprint} ({}) lets account {} in", keyfile::kind(&key), add.account), &change)
}

/// The text that the argument stands for.
fn handed_in(argument: &str) -> anyhow::Result<String> {
    // A key, not a path; a private one too, so that it is refused for what it is.
    if argument.contains(char::is_whitespace) && !Path::new(argument).exists() {
        return Ok(argument.to_owned());
    }
    let mut bytes = Vec::new();
    let reader: Box<dyn Read> = if argument == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(argument).map_err(|error| {
            Stop::Usage(format!(
                "{argument} cannot be read ({error}): give a file with the public key, -, or the key in quotes"
            ))
        })?)
    };
    reader.take(pasted::LARGEST + 1).read_to_end(&mut bytes).with_context(|| format!("{argument} cannot be read"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn already_used(config: &Config, there: &Found) -> String {
    let (account, file) = (there.account.as_deref().unwrap_or("no account"), edit::key_file(config, &there.org));
    let place = format!("{}:{}", file.display(), there.line.number);
    match &there.line.disabled {
        None => format!("this key lets {account} in already ({place}): each account needs a key of its own"),
        Some(day) => format!(
            "this key of {account} was disabled on {day} ({place}): if it may be used again, nightsafe key enable {}",
            there.line.fingerprint()
        ),
    }
}

/// Every key of every organisation, as its file has it.
fn all(config: &Config) -> anyhow::Result<Vec<Found>> {
    let mut found = Vec::new();
    for org in config.orgs.keys() {
        let text = edit::files::read(&edit::key_file(config, org))?.unwrap_or_default();
        let only = only_account(config, org);
        for line in keyfile::keys(&text) {
            found.push(Found { org: org.clone(), account: line.account(only).map(str::to_owned), line });
        }
    }
    Ok(found)
}

fn find_key(config: &Config, text: &str) -> anyhow::Result<Found> {
    let wanted = if text.starts_with("SHA256:") { text.to_owned() } else { format!("SHA256:{text}") };
    let found = all(config)?.into_iter().find(|found| found.line.fingerprint().0 == wanted);
    Ok(found.ok_or_else(|| Stop::No(format!("there is no key {wanted}: nightsafe key list shows all")))?)
}

fn change_line(
    editor: Editor,
    text: &str,
    command: &str,
    edit_text: impl FnOnce(&str, &Fingerprint) -> String,
) -> anyhow::Result<()> {
    let found = find_key(&editor.config, text)?;
    let fingerprint = found.line.fingerprint();
    let mut file = FileChange::read(edit::key_file(&editor.config, &found.org))?;
    file.after = Some(edit_text(file.text(), &fingerprint));
    let change = Change::about(&found.org)
        .fact("account", found.account.clone().unwrap_or_default())
        .fact("fingerprint", fingerprint.to_string())
        .file(file);
    if change.is_empty() {
        return Ok(output::line(format!("key {fingerprint}: nothing to {command}, it is so already"))?);
    }
    editor.apply(&format!("key {command} {fingerprint}"), &change)?;
    let account = found.account.as_deref().unwrap_or("no account");
    told_changes(&format!("key {fingerprint} of {account}: {command}d"), &change)?;
    if command == "remove" {
        output::line(format!("  it was: {}", output::tame(&found.line.text)))?;
    }
    Ok(())
}

fn list(config: &Config, account: Option<&AccountName>, org: Option<&OrgId>, as_json: bool) -> anyhow::Result<()> {
    if let Some(account) = account {
        find(config, account)?;
    }
    if let Some(org) = org {
        edit::find_org(config, org)?;
    }
    let now = Clock::system().now();
    let mut keys = all(config)?;
    keys.retain(|key| {
        org.is_none_or(|org| key.org == *org)
            && account.is_none_or(|name| key.account.as_deref() == Some(name.as_str()))
    });
    if as_json {
        return Ok(output::json(&keys.iter().map(|key| described(config, key, now)).collect::<Vec<_>>())?);
    }
    let mut table = Table::new(&["FINGERPRINT", "TYPE", "ACCOUNT", "ORG", "STATE", "FROM", "EXPIRES", "COMMENT"]);
    for key in &keys {
        table.row([
            key.line.fingerprint().to_string(),
            keyfile::kind(&key.line.key),
            key.account.clone().unwrap_or_default(),
            key.org.to_string(),
            state(config, key, now).into(),
            key.line.option("from").unwrap_or("anywhere").into(),
            key.line.option("expiry-time").unwrap_or("never").into(),
            key.line.comment.clone(),
        ]);
    }
    Ok(table.print("no keys yet: nightsafe key add --account NAME FILE.pub")?)
}

fn show(config: &Config, fingerprint: &str, as_json: bool) -> anyhow::Result<()> {
    let key = find_key(config, fingerprint)?;
    let now = Clock::system().now();
    if as_json {
        return Ok(output::json(&described(config, &key, now))?);
    }
    let rows = [
        ("fingerprint", key.line.fingerprint().to_string()),
        ("type", keyfile::kind(&key.line.key)),
        ("account", key.account.clone().unwrap_or_default()),
        ("organisation", key.org.to_string()),
        ("state", state(config, &key, now).into()),
        ("from", key.line.option("from").unwrap_or("anywhere").into()),
        ("expires", key.line.option("expiry-time").unwrap_or("never").into()),
        ("comment", key.line.comment.clone()),
        ("stands in", format!("{}:{}", edit::key_file(config, &key.org).display(), key.line.number)),
    ];
    Ok(output::fields(rows)?)
}

fn described(config: &Config, key: &Found, now: Timestamp) -> serde_json::Value {
    let from = key.line.option("from").map(|from| from.split(',').collect::<Vec<_>>()).unwrap_or_default();
    json!({
        "fingerprint": key.line.fingerprint(),
        "type": keyfile::kind(&key.line.key),
        "account": key.account,
        "org": key.org,
        "state": state(config, key, now),
        "disabled": key.line.disabled,
        "from": from,
        "expires": in_force(config, key).and_then(|own| own.expires),
        "comment": key.line.comment,
        "file": edit::key_file(config, &key.org),
        "line": key.line.number,
    })
}

/// Whether the key lets in now, or why not.
fn state(config: &Config, key: &Found, now: Timestamp) -> &'static str {
    if key.line.disabled.is_some() {
        return "disabled";
    }
    if in_force(config, key).and_then(|own| own.expires).is_some_and(|expires| expires <= now) {
        return "expired";
    }
    match config.accounts.values().find(|account| Some(account.name.as_str()) == key.account.as_deref()) {
        Some(account) if account.disabled => "account disabled",
        _ => "enabled",
    }
}

/// The key as the configuration in force has it; none for a disabled one.
fn in_force<'c>(config: &'c Config, key: &Found) -> Option<&'c crate::config::AuthorizedKey> {
    let own = key.line.fingerprint();
    config.accounts.values().flat_map(|account| &account.keys).find(|key| key.fingerprint == own)
}
