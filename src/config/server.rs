//! `nightsafe.toml`: the server, its limits and paths, intake, queue and log.
//!
//! Reads and bounds every setting; where a bound is not plain from the name, it says why. Called by [`super::load`].

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::diagnostic::Findings;
use super::model::*;
use super::scan;
use super::section::{At, Section, Wrong, document};
use super::source::{Source, absolute, tidy};
use super::value::{choice, duration, line, size, text, whole};
use crate::types::Role;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const DAY: Duration = Duration::from_secs(86_400);
const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Where systemd puts the credentials of the service of this name (systemd.exec(5), "LoadCredential="), for commands that
/// run outside of it.
const CREDENTIALS: &str = "/run/credentials/nightsafe.service";

/// What the file says; anything missing or wrong is a default here and an error among the findings.
pub(super) struct Read {
    pub server: Server,
    pub limits: Limits,
    pub paths: Paths,
    /// `paths.keys` as diagnostics should show it.
    pub keys: PathBuf,
    pub intake: IntakeSettings,
    pub queue: QueueSettings,
    /// None also when it is there and wrong: `has_scan` tells.
    pub scan: Option<ScanSettings>,
    /// Whether there is a `[scan]`, right or wrong.
    pub has_scan: bool,
    pub log: LogSettings,
}

/// Reads the file. None when it is not TOML.
pub(super) fn read(source: &Source, findings: &Findings) -> Option<Read> {
    let table = document(source, findings)?;
    let base = source.path.parent().unwrap_or(Path::new("."));
    let mut file = Section::root(source, findings, &table);
    let server = server(file.table("server"), base);
    let limits = limits(file.table("limits"));
    let (paths, keys) = paths(file.table("paths"), base);
    let intake = intake(file.table("intake"));
    let queue = queue(file.table("queue"));
    let has_scan = file.stands("scan").is_some();
    let scan = scan::read(file.table("scan"), base);
    let log = log(file.table("log"));
    file.finish();
    Some(Read { server, limits, paths, keys, intake, queue, scan, has_scan, log })
}

fn server(mut section: Section<'_>, base: &Path) -> Server {
    let name = section.required("name", "name = \"sftp.example.org\"", host_name);
    let contact = section.required("contact", "contact = \"Data team, data@example.org\"", line);
    let listeners = listeners(&mut section);
    let example = "host_keys = [\"ssh_host_ed25519_key\"], the path of a private key that ssh-keygen made";
    let host_keys = match section.list("host_keys", |value| host_key(value, base)) {
        Some(list) if list.value.is_empty() => {
            section.error(Some(list.span), "host_keys is empty", format!("write {example}"));
            Vec::new()
        }
        Some(list) => list.value,
        None => {
            // A value of the wrong type was told already; only an absent one is missing.
            section.absent("host_keys", example);
            Vec::new()
        }
    };
    let mut seen = BTreeSet::new();
    for key in &host_keys {
        if !seen.insert(&key.value) {
            section.error(Some(key.span.clone()), "the same host key twice", "keep one of the two");
        }
    }
    let algorithms =
        [("strict", AlgorithmSet::Strict), ("standard", AlgorithmSet::Standard), ("legacy", AlgorithmSet::Legacy)];
    let server = Server {
        name: name.map(|at| at.value).unwrap_or_default(),
        contact: contact.map(|at| at.value).unwrap_or_default(),
        listeners,
        host_keys: host_keys.into_iter().map(|at| at.value).collect(),
        algorithms: section.or("algorithms", AlgorithmSet::Standard, choice(&algorithms)),
        drain: section.or("drain", seconds(60), duration(Duration::ZERO..=seconds(3600))),
    };
    section.finish();
    server
}

/// A name that can stand in known_hosts, URLs and receipts.
fn host_name(value: &DeValue<'_>) -> Result<String, Wrong> {
    let name = text(value)?;
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if name.is_empty() || name.len() > 253 || !name.chars().all(good) {
        return Err(Wrong::new(
            format!("{name:?} is not a host name"),
            "write the name that clients connect to, such as \"sftp.example.org\"",
        ));
    }
    Ok(name.to_owned())
}

fn host_key(value: &DeValue<'_>, base: &Path) -> Result<PathBuf, Wrong> {
    let text = text(value)?;
    let Some(name) = text.strip_prefix("credential:") else { return path(value, base) };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err(Wrong::new(
            format!("{name:?} is not a credential's name"),
            "write \"credential:NAME\" with the NAME of LoadCredential= in the service's unit",
        ));
    }
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").unwrap_or_else(|| CREDENTIALS.into());
    Ok(Path::new(&folder).join(name))
}

/// A path, absolute; a relative one starts at the folder of nightsafe.toml.
pub(super) fn path(value: &DeValue<'_>, base: &Path) -> Result<PathBuf, Wrong> {
    let text = text(value)?;
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(Wrong::new("is not a path", "write a path; a relative one starts at the folder of nightsafe.toml"));
    }
    Ok(absolute(&base.join(text)))
}

fn listeners(server: &mut Section<'_>) -> Vec<Listener> {
    let mut read: Vec<At<Listener>> = Vec::new();
    let sections = server.tables("listeners");
    let example = "[[server.listeners]] with address = \"0.0.0.0:2222\"";
    server.absent("listeners", example);
    if let (Some(span), true, 0) = (server.stands("listeners"), sections.is_empty(), server.items("listeners")) {
        server.error(Some(span), "there is no listener, so nobody could come in", format!("add {example}"));
    }
    for mut section in sections {
        let address = section.required("address", "address = \"0.0.0.0:2222\"", address);
        let roles = section.list("roles", choice(&[("provider", Role::Provider), ("loader", Role::Loader)]));
        if let Some(roles) = roles.as_ref().filter(|roles| roles.value.is_empty()) {
            section.error(
                Some(roles.span.clone()),
                "this listener admits nobody",
                "write roles = [\"provider\", \"loader\"], or one of the two",
            );
        }
        let roles = match roles {
            Some(roles) => roles.value.into_iter().map(|role| role.value).collect(),
            None => BTreeSet::from([Role::Provider, Role::Loader]),
        };
        if let Some(At { value: address, span }) = address {
            if let Some(other) = read.iter().find(|other| clash(other.value.address, address)) {
                let message = format!("{address} is taken by the listener on {}", other.value.address);
                section.error(Some(span.clone()), message, "give each listener an address or port of its own");
            }
            read.push(At { value: Listener { address, roles }, span });
        }
        section.finish();
    }
    read.into_iter().map(|at| at.value).collect()
}

fn address(value: &DeValue<'_>) -> Result<SocketAddr, Wrong> {
    let text = text(value)?;
    text.parse().map_err(|_| {
        let help = match text.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(address)) => format!("add a port: \"{address}:2222\""),
            Ok(std::net::IpAddr::V6(address)) => format!("add brackets and a port: \"[{address}]:2222\""),
            Err(_) => "write an IP address and a port, such as \"0.0.0.0:2222\" or \"[::]:2222\"".to_owned(),
        };
        Wrong::new(format!("{text:?} is not an address to listen on"), help)
    })
}

/// Whether the second address could not be bound beside the first. Port 0 takes a free port each time.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() != 0
        && one.port() == other.port()
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

fn limits(mut section: Section<'_>) -> Limits {
    let connections = section.or("connections", 512, whole(1..=1_000_000));
    let mut part = |key, default| {
        let at = section.optional(key, whole(1..=1_000_000));
        if let Some(at) = at.as_ref().filter(|at| at.value > connections) {
            let message = format!("{key} is larger than connections ({connections}), which applies first");
            section.warning(
                Some(at.span.clone()),
                message,
                format!("write {key} = {connections}, or raise connections"),
            );
        }
        at.map_or(default, |at| at.value)
    };
    let limits = Limits {
        connections_per_address: part("connections_per_address", 64),
        unauthenticated: part("unauthenticated", 64),
        connections,
        authentication: section.or("authentication", seconds(20), duration(seconds(1)..=seconds(600))),
        sessions_per_account: section.or("sessions_per_account", 64, whole(1..=1_000_000)),
        channels_per_connection: section.or("channels_per_connection", 8, whole(1..=1000)),
        handles_per_session: section.or("handles_per_session", 64, whole(1..=10_000)),
        // Below 64 KiB a client that asks for a few directory pages at once would be taken for one that never reads.
        reply_debt: bytes(section.or("reply_debt", MIB, size(64 * KIB..=64 * MIB))),
        idle: section.or("idle", seconds(600), duration(seconds(1)..=7 * DAY)),
        keepalive: section.or("keepalive", seconds(30), duration(seconds(1)..=seconds(3600))),
    };
    section.finish();
    limits
}

/// Sizes held in memory are bounded far below the largest `usize`.
fn bytes(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

fn paths(mut section: Section<'_>, base: &Path) -> (Paths, PathBuf) {
    let state = section.required("state", "state = \"/var/lib/nightsafe\"", |value| path(value, base));
    let runtime = section.required("runtime", "runtime = \"/run/nightsafe\"", |value| path(value, base));
    let shown = |value: &DeValue<'_>| path(value, base).and(text(value)).map(|text| tidy(&base.join(text)));
    let keys = section.required("keys", "keys = \"../keys\"", shown);
    if let (Some(state), Some(runtime)) = (&state, &runtime)
        && state.value == runtime.value
    {
        let help = "give runtime a folder of its own, on a tmpfs such as /run/nightsafe";
        section.error(Some(runtime.span.clone()), "runtime is the same folder as state", help);
    }
    // Providers' objects and operators' keys have different owners, modes and backups.
    if let (Some(state), Some(keys)) = (&state, &keys)
        && absolute(&keys.value).starts_with(&state.value)
    {
        let help = "give keys a folder outside of state, which only the gateway writes to";
        section.error(Some(keys.span.clone()), "keys lies inside state", help);
    }
    section.finish();
    let keys = keys.map(|at| at.value).unwrap_or_default();
    let or_empty = |at: Option<At<PathBuf>>| at.map(|at| at.value).unwrap_or_default();
    (Paths { state: or_empty(state), runtime: or_empty(runtime), keys: absolute(&keys) }, keys)
}

fn intake(mut section: Section<'_>) -> IntakeSettings {
    let suffixes = section.list("working_suffixes", working_suffix).map(|list| list.value);
    let settings = IntakeSettings {
        drafts_expire: section.or("drafts_expire", DAY, duration(seconds(1)..=365 * DAY)),
        // Two is the least with which one resumption is possible; each is a file, and a line of its draft's ticket.
        segments: section.or("segments", 256, whole(2..=4096)),
        // A write of most clients is 32 KiB, of OpenSSH's at most 255 KiB: less than one of them absorbs nothing.
        reorder_window: bytes(section.or("reorder_window", MIB, size(32 * KIB..=64 * MIB))),
        uploads_per_org: section.or("uploads_per_org", 256, whole(1..=1_000_000)),
        working_suffixes: match suffixes {
            Some(list) => list.into_iter().map(|at| at.value).collect(),
            None => [".filepart", ".part", ".partial", ".tmp"].map(str::to_owned).to_vec(),
        },
        reserve: section.or("reserve", 256 * MIB, size(0..=1 << 50)),
    };
    section.finish();
    settings
}

fn working_suffix(value: &DeValue<'_>) -> Result<String, Wrong> {
    let suffix = text(value)?;
    if suffix.len() < 2 || suffix.len() > 32 || suffix.chars().any(|c| c.is_control() || c == '/') {
        return Err(Wrong::new(format!("{suffix:?} is not a suffix of file names"), "write one such as \".filepart\""));
    }
    Ok(suffix.to_owned())
}

fn queue(mut section: Section<'_>) -> QueueSettings {
    let short = Duration::from_millis(100);
    let lease = section.optional("lease", duration(seconds(1)..=30 * DAY));
    let lease_max = section.optional("lease_max", duration(seconds(1)..=30 * DAY));
    let attempts = section.or("attempts", 10, whole(1..=1000));
    let backoff = section.optional("backoff", duration(short..=7 * DAY));
    let backoff_max = section.optional("backoff_max", duration(short..=30 * DAY));
    let lease = ordered(&section, ("lease", lease, seconds(900)), ("lease_max", lease_max, DAY));
    let backoff = ordered(&section, ("backoff", backoff, seconds(30)), ("backoff_max", backoff_max, seconds(3600)));
    section.finish();
    QueueSettings { lease: lease.0, lease_max: lease.1, attempts, backoff: backoff.0, backoff_max: backoff.1 }
}

type Setting = (&'static str, Option<At<Duration>>, Duration);

/// Two durations of which the first must not be the longer one; the fault stands where the file has one of them.
fn ordered(section: &Section<'_>, low: Setting, high: Setting) -> (Duration, Duration) {
    let value = |setting: &Setting| setting.1.as_ref().map_or(setting.2, |at| at.value);
    if value(&low) > value(&high) {
        let [low_text, high_text] = [&low, &high].map(|setting| super::units::format_duration(value(setting)));
        let span = low.1.as_ref().or(high.1.as_ref()).map(|at| at.span.clone());
        let message = format!("{} ({low_text}) is longer than {} ({high_text})", low.0, high.0);
        section.error(span, message, format!("lower {} or raise {}", low.0, high.0));
    }
    (value(&low), value(&high))
}

fn log(mut section: Section<'_>) -> LogSettings {
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let settings = LogSettings {
        format: section.or("format", LogFormat::Text, choice(&formats)),
        level: section.or("level", "info".to_owned(), |value| {
            let text = text(value)?;
            match text.parse::<tracing_subscriber::EnvFilter>() {
                Ok(_) if text.split(',').all(level_or_target) => Ok(text.to_owned()),
                _ => Err(Wrong::new(
                    format!("{text:?} is not a log level"),
                    "write \"error\", \"warn\", \"info\", \"debug\" or \"trace\", or a filter such as \"info,nightsafe::ssh=debug\"",
                )),
            }
        }),
    };
    section.finish();
    settings
}

/// A bare word is a level: tracing would take a slip such as `inof` for a target, and log nothing else.
fn level_or_target(directive: &str) -> bool {
    let word = directive.trim();
    word.contains(['=', '[']) || word.contains("::") || word.parse::<tracing_subscriber::filter::LevelFilter>().is_ok()
}
