//! `nightsafe check`: everything the configuration says, or everything that is wrong with it and where.
//!
//! Reads files, and asks the scanner whether it is there; it neither starts nor asks a daemon. The summary is made once, as JSON, and the text is a view of it.

use std::io::Write;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::config_file::ConfigFile;
use super::dataset::demands;
use crate::config::units::{format_duration, format_size};
use crate::config::{
    self, Account, AlgorithmSet, ClamdAddress, Dataset, Diagnostic, Loaded, Network, OnReject, Org, Warning,
};
use crate::daemon::is_in_memory;
use crate::scan;
use crate::types::{Clock, Role, Timestamp};

/// Says what the configuration means, or what is wrong with it
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Exit status 0 when the configuration is valid, 2 when it is not.
///
/// # Errors
/// Standard output or standard error could not be written to.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let now = Clock::system().now();
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    match config::load_with_warnings(&args.config.path) {
        Ok(mut loaded) => {
            let scanner = match scanner(&loaded) {
                None => Value::Null,
                Some(Ok((engine, signatures))) => json!({"engine": engine, "signatures": signatures}),
                Some(Err(warning)) => {
                    loaded.warnings.push(warning);
                    json!({"engine": null, "signatures": null})
                }
            };
            loaded.warnings.extend(runtime_on_a_disk(&loaded));
            let mut summary = summary(&loaded, now);
            summary["scanner"] = scanner;
            if args.json {
                writeln!(out, "{summary:#}")?;
            } else {
                show_warnings(&mut err, &loaded.warnings)?;
                show(&mut out, &summary)?;
            }
        }
        Err((errors, warnings)) => {
            if args.json {
                let warnings: Vec<Value> = warnings.iter().map(|warning| place(&warning.0)).collect();
                let errors: Vec<Value> = errors.iter().map(place).collect();
                writeln!(out, "{:#}", json!({"valid": false, "errors": errors, "warnings": warnings}))?;
            } else {
                show_warnings(&mut err, &warnings)?;
                for error in &errors {
                    writeln!(err, "{error}\n")?;
                }
                writeln!(err, "{}: {} in the configuration", args.config.path.display(), count(errors.len(), "error"))?;
            }
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show_warnings(err: &mut impl Write, warnings: &[Warning]) -> std::io::Result<()> {
    warnings.iter().try_for_each(|warning| writeln!(err, "{warning}\n"))
}

fn place(diagnostic: &Diagnostic) -> Value {
    json!({
        "file": diagnostic.file.to_string_lossy(),
        "line": diagnostic.line,
        "column": diagnostic.column,
        "message": diagnostic.message,
        "help": diagnostic.help,
        "source": diagnostic.source,
        "width": diagnostic.width,
    })
}

fn summary(loaded: &Loaded, now: Timestamp) -> Value {
    let config = &loaded.config;
    let server = &config.server;
    let listeners = server.listeners.iter().map(|listener| {
        let roles: Vec<_> = listener.roles.iter().map(|role| role.as_str()).collect();
        json!({"address": listener.address.to_string(), "roles": roles})
    });
    let host_keys = server.host_keys.iter().map(|path| {
        // The key itself may be readable for the service alone: its presence is all that is looked at here.
        json!({"path": path.to_string_lossy(), "present": path.exists()})
    });
    let algorithms = match server.algorithms {
        AlgorithmSet::Strict => "strict",
        AlgorithmSet::Standard => "standard",
        AlgorithmSet::Legacy => "legacy",
    };
    let accounts = |org: &Org| -> Vec<Value> {
        let own = config.accounts.values().filter(|account| account.org == org.id);
        own.map(|account| describe_account(account, now)).collect()
    };
    json!({
        "valid": true,
        "file": config.file.to_string_lossy(),
        "warnings": loaded.warnings.iter().map(|warning| place(&warning.0)).collect::<Vec<_>>(),
        "server": {
            "name": server.name,
            "contact": server.contact,
            "listeners": listeners.collect::<Vec<_>>(),
            "host_keys": host_keys.collect::<Vec<_>>(),
            "algorithms": algorithms,
            "drain": format_duration(server.drain),
        },
        "paths": {
            "state": config.paths.state.to_string_lossy(),
            "runtime": config.paths.runtime.to_string_lossy(),
            "keys": config.paths.keys.to_string_lossy(),
        },
        "datasets": config.datasets.values().map(|dataset| describe_dataset(dataset, loaded)).collect::<Vec<_>>(),
        "organisations": config.orgs.values().map(|org| json!({
            "id": org.id.as_str(),
            "name": org.name,
            "disabled": org.disabled,
            "datasets": org.datasets,
            "default_dataset": org.default_dataset,
            "recipients": org.recipients.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "quota_bytes": org.quota,
            "listed": format_duration(org.retention.listed),
            "loaded": format_duration(org.retention.loaded),
            "quarantined": format_duration(org.retention.quarantined),
            "codes": org.codes,
            "disabled_keys": loaded.disabled_keys.get(&org.id).copied().unwrap_or(0),
            "accounts": accounts(org),
        })).collect::<Vec<_>>(),
    })
}

fn describe_dataset(dataset: &Dataset, loaded: &Loaded) -> Value {
    let mut value = demands::json(dataset);
    value["schema_sha256"] = json!(loaded.schemas.get(&dataset.name));
    value["lines"] = json!(lines(dataset));
    value
}

/// What it demands, in a few lines.
fn lines(dataset: &Dataset) -> Vec<String> {
    let mut lines = vec![demands::file(dataset)];
    let name = dataset.rules.name_hint.as_deref().or(demands::pattern(dataset));
    lines.extend(name.map(|name| format!("named {name}")));
    if let (Some(columns), Some(path)) = (demands::columns(dataset), &dataset.schema) {
        lines.push(format!("schema {}: {columns}", path.display()));
    }
    let rules = demands::rules(dataset).len();
    let mut judged = vec![if rules == 0 { "no rules beyond it".to_owned() } else { count(rules, "rule") }];
    judged.extend(demands::deviations(dataset));
    if dataset.rules.table.is_some() {
        lines.push(judged.join(", "));
    }
    let scan = if dataset.scan { "scanned for malware" } else { "not scanned for malware" };
    let rejected = match dataset.on_reject {
        OnReject::Discard => "discarded",
        OnReject::Quarantine => "quarantined",
    };
    lines.push(format!("{scan}, {rejected} when rejected"));
    lines
}

/// Whether clamd answers, when there should be one.
fn scanner(loaded: &Loaded) -> Option<Result<(String, String), Warning>> {
    let scan = loaded.config.scan.as_ref()?;
    let (address, shown) = match &scan.clamd {
        ClamdAddress::Path(path) => (scan::Address::Path(path.clone()), path.display().to_string()),
        ClamdAddress::Tcp(address) => (scan::Address::Tcp(*address), address.to_string()),
    };
    // Long enough for a scanner that is busy, short enough for a person.
    let timeout = scan.timeout.min(std::time::Duration::from_secs(5));
    let settings = scan::Settings { address, max_size: scan.max_size, timeout };
    Some(scan::ping(&settings).map_err(|unscanned| {
        let message = format!("clamd at {shown} does not answer: {}", unscanned.detail);
        let help = "start it, or see that the gateway's user may use its socket; until then uploads that must be scanned are refused";
        Warning(Diagnostic::of_file(&loaded.config.file, message, help))
    }))
}

/// One that is not there yet is the service manager's to make: nothing is known of it.
fn runtime_on_a_disk(loaded: &Loaded) -> Option<Warning> {
    let runtime = &loaded.config.paths.runtime;
    if is_in_memory(runtime).unwrap_or(true) {
        return None;
    }
    let message = format!("runtime: {} is on a disk, and no tmpfs", runtime.display());
    let help = "put it on one, such as /run/nightsafe: the key to unfinished uploads is kept there, so that they outlive a \
                restart of the daemon; on a disk it is not kept at all, and they do not";
    Some(Warning(Diagnostic::of_file(&loaded.config.file, message, help)))
}

fn describe_account(account: &Account, now: Timestamp) -> Value {
    let networks =
        |from: &[Network]| -> Vec<String> { from.iter().map(|n| format!("{}/{}", n.address, n.prefix)).collect() };
    let keys = account.keys.iter().map(|key| {
        json!({
            "type": key.key.algorithm().as_str(),
            "fingerprint": key.fingerprint,
            "comment": key.comment,
            "from": networks(&key.from),
            "expires": key.expires,
            "expired": key.expires.is_some_and(|at| at <= now),
        })
    });
    let take = (account.role == Role::Loader).then(|| {
        let all = || json!("*");
        json!({
            "orgs": account.take.orgs.as_ref().map_or_else(all, |orgs| json!(orgs)),
            "datasets": account.take.datasets.as_ref().map_or_else(all, |datasets| json!(datasets)),
        })
    });
    json!({
        "name": account.name.as_str(),
        "role": account.role.as_str(),
        "disabled": account.disabled,
        "from": networks(&account.from),
        "keys": keys.collect::<Vec<_>>(),
        "take": take,
    })
}

/// The summary for a person.
fn show(out: &mut impl Write, it: &Value) -> std::io::Result<()> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (orgs, datasets) = (list(&it["organisations"]), list(&it["datasets"]));
    let accounts: usize = orgs.iter().map(|org| list(&org["accounts"]).len()).sum();
    let counts = [count(orgs.len(), "organisation"), count(accounts, "account"), count(datasets.len(), "dataset")];
    writeln!(out, "{} is valid: {}", text(&it["file"]), counts.join(", "))?;

    let server = &it["server"];
    writeln!(out, "\ngateway {} ({})", text(&server["name"]), text(&server["contact"]))?;
    for listener in list(&server["listeners"]) {
        writeln!(out, "  listens on {} for {}s", text(&listener["address"]), words(&listener["roles"], "s and "))?;
    }
    for key in list(&server["host_keys"]) {
        let missing = if key["present"] == true { "" } else { " (not there yet: serve will need it)" };
        writeln!(out, "  host key {}{missing}", text(&key["path"]))?;
    }
    writeln!(out, "  algorithms {}", text(&server["algorithms"]))?;
    writeln!(out, "  state in {}, keys in {}", text(&it["paths"]["state"]), text(&it["paths"]["keys"]))?;

    if let (Some(engine), Some(signatures)) = (it["scanner"]["engine"].as_str(), it["scanner"]["signatures"].as_str()) {
        writeln!(out, "  scanned by {engine}, signatures {signatures}")?;
    }

    for dataset in datasets {
        writeln!(out, "\ndataset {}: {}", text(&dataset["name"]), text(&dataset["title"]))?;
        list(&dataset["lines"]).iter().try_for_each(|line| writeln!(out, "  {}", text(line)))?;
    }
    orgs.iter().try_for_each(|org| show_org(out, org))
}

fn show_org(out: &mut impl Write, org: &Value) -> std::io::Result<()> {
    let disabled = |it: &Value| if it["disabled"] == true { " (disabled)" } else { "" };
    writeln!(out, "\norganisation {}: {}{}", text(&org["id"]), text(&org["name"]), disabled(org))?;
    if org["datasets"].as_array().is_some_and(|datasets| !datasets.is_empty()) {
        let default = org["default_dataset"].as_str().map(|name| format!(" ({name} by default)")).unwrap_or_default();
        writeln!(out, "  sends {}{default}", words(&org["datasets"], ", "))?;
        let recipients = org["recipients"].as_array().map_or(0, Vec::len);
        let quota = format_size(org["quota_bytes"].as_u64().unwrap_or(0));
        writeln!(out, "  sealed for {}, quota {quota}", count(recipients, "recipient"))?;
        writeln!(out, "  listed for {}, kept {} after loading", text(&org["listed"]), text(&org["loaded"]))?;
    }
    for account in org["accounts"].as_array().into_iter().flatten() {
        let keys = account["keys"].as_array().cloned().unwrap_or_default();
        let expired = keys.iter().filter(|key| key["expired"] == true).count();
        let expired = if expired > 0 { format!(" ({expired} expired)") } else { String::new() };
        let from = match words(&account["from"], ", ") {
            networks if networks.is_empty() => String::new(),
            networks => format!(", from {networks}"),
        };
        let takes = match &account["take"] {
            Value::Null => String::new(),
            take => format!(", takes datasets {} of {}", words(&take["datasets"], ", "), words(&take["orgs"], ", ")),
        };
        let (name, role) = (text(&account["name"]), text(&account["role"]));
        let keys = count(keys.len(), "key");
        writeln!(out, "  account {name}{}: {role}, {keys}{expired}{from}{takes}", disabled(account))?;
    }
    match org["disabled_keys"].as_u64() {
        Some(number @ 1..) => writeln!(out, "  {} disabled", count(usize::try_from(number).unwrap_or(0), "key")),
        _ => Ok(()),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A list in words; a plain text (`*`) as itself.
fn words(value: &Value, between: &str) -> String {
    match value.as_array() {
        Some(list) => list.iter().map(text).collect::<Vec<_>>().join(between),
        None => text(value).to_owned(),
    }
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
