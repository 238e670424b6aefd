//! The validated configuration: what the daemon runs on. Every name in it resolves, every key parsed, every pattern
//! compiled; whoever holds a [`Config`] need not check again.
//!
//! Never changed in place: a reload makes a new one and swaps it whole. Everyone reads it; only `config` makes it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::audit::VerifierKey;
/// What a dataset demands; for whoever reads a [`Dataset`] without knowing the check.
pub use crate::check::schema::{Field, FieldsMatch, Schema};
pub use crate::check::{
    Compression, Dialect, Encoding, Format, Limits as TableLimits, Policy, RuleSet, Rules, Severity, TableRules,
};
use crate::seal::Recipient;
use crate::types::{AccountName, DatasetName, DigestKind, FileName, Fingerprint, OrgId, Role, Take};

#[derive(Debug, Clone)]
pub struct Config {
    /// The nightsafe.toml that this was read from, absolute.
    pub file: PathBuf,
    pub server: Server,
    pub limits: Limits,
    pub paths: Paths,
    pub intake: IntakeSettings,
    pub queue: QueueSettings,
    /// None: no malware scanner is configured, and no dataset may ask for one.
    pub scan: Option<ScanSettings>,
    pub audit: AuditSettings,
    pub log: LogSettings,
    pub orgs: BTreeMap<OrgId, Org>,
    pub datasets: BTreeMap<DatasetName, Dataset>,
    /// Every account of every organisation, the disabled too.
    pub accounts: BTreeMap<AccountName, Account>,
}

/// `[server]`
#[derive(Debug, Clone)]
pub struct Server {
    /// The gateway's name as people and receipts know it, such as `sftp.example.org`.
    pub name: String,
    /// Whom a provider may ask; a line in /help.txt and in refusals.
    pub contact: String,
    /// `[[server.listeners]]`, at least one.
    pub listeners: Vec<Listener>,
    /// Private host keys, absolute paths; at least one. A path `credential:NAME` was resolved to systemd's credentials directory.
    pub host_keys: Vec<PathBuf>,
    pub algorithms: AlgorithmSet,
    /// `drain`: what running uploads get at SIGTERM.
    pub drain: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Port 0 takes a free one and logs it.
    pub address: SocketAddr,
    pub roles: BTreeSet<Role>,
}

/// Which peers can connect: `strict` is AEAD ciphers and modern exchanges only, `standard` adds what common clients of
/// the last ten years need, `legacy` a little more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlgorithmSet {
    Strict,
    Standard,
    Legacy,
}

/// `[limits]`: the numbers that bound what peers can make grow.
#[derive(Debug, Clone)]
pub struct Limits {
    pub connections: usize,
    pub connections_per_address: usize,
    /// Connections that have not authenticated yet.
    pub unauthenticated: usize,
    /// From accept to authenticated.
    pub authentication: Duration,
    pub sessions_per_account: usize,
    pub channels_per_connection: usize,
    pub handles_per_session: usize,
    /// Bytes of replies that a client has not made room for, before its session ends.
    pub reply_debt: usize,
    /// No packet for this long ends the connection.
    pub idle: Duration,
    /// A keepalive is sent after this much silence.
    pub keepalive: Duration,
}

/// `[paths]`, absolute.
#[derive(Debug, Clone)]
pub struct Paths {
    /// Ledger, vault and spool; one file system.
    pub state: PathBuf,
    /// tmpfs for what must not survive a reboot.
    pub runtime: PathBuf,
    /// One folder for each organisation.
    pub keys: PathBuf,
}

/// `[intake]`
#[derive(Debug, Clone)]
pub struct IntakeSettings {
    /// A draft that nobody goes on with, or completes, is removed after this.
    pub drafts_expire: Duration,
    /// Segments of one draft: places where its bytes broke off.
    pub segments: usize,
    /// Bytes of out-of-order writes held for one upload.
    pub reorder_window: usize,
    /// Uploads under way and closed drafts of one organisation, together.
    pub uploads_per_org: usize,
    /// Suffixes that mark work in progress, such as `.filepart`; `.in.NAME.` and rclone's are built in.
    pub working_suffixes: Vec<String>,
    /// Free space that the state's file system must keep; an upload is refused below it. Bytes.
    pub reserve: u64,
}

/// `[queue]`
#[derive(Debug, Clone)]
pub struct QueueSettings {
    /// A claim's lease when the loader names none.
    pub lease: Duration,
    pub lease_max: Duration,
    /// A delivery that was claimed this often without an acknowledgement goes to the dead letters.
    pub attempts: u32,
    /// Wait after the first failure; doubles with each further one.
    pub backoff: Duration,
    pub backoff_max: Duration,
}

/// `[scan]`: clamd, asked for uploads of datasets with `scan = "required"` (the default where this table stands).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanSettings {
    pub clamd: ClamdAddress,
    /// Bytes: what clamd is set to scan whole (the least of its StreamMaxLength, MaxFileSize and MaxScanSize). A larger
    /// upload is refused where a scan is required, for clamd would call it clean unseen. 25 MiB.
    pub max_size: u64,
    /// For connecting, for each write, and for the verdict after the last byte. 2 minutes.
    pub timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClamdAddress {
    /// A unix socket, absolute.
    Path(PathBuf),
    /// TCP, for a scanner on another machine; only loopback is without a warning.
    Tcp(SocketAddr),
}

/// `[audit]`: what signs the log of events, and where copies of it go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditSettings {
    /// The private Ed25519 key's file, absolute; `credential:NAME` was resolved to systemd's credentials directory. Read by
    /// [`super::signing_key`].
    pub key: PathBuf,
    /// The log's name: the first line of its checkpoints, and its key's name. The server's name and `/audit` by default.
    pub origin: String,
    /// Keys that signed checkpoints before the present one, all of the log's name; at most 64.
    pub former_keys: Vec<VerifierKey>,
    /// Where the log is published as static files (c2sp.org/tlog-tiles), absolute.
    pub tiles: Option<PathBuf>,
    /// Where each event is told as it happens.
    pub syslog: Option<EventCopy>,
    /// Who is asked to cosign checkpoints; at most 16.
    pub witnesses: Vec<Witness>,
}

/// `audit.syslog`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventCopy {
    /// systemd's journal.
    Journal,
    /// A datagram socket that takes syslog's messages, such as /dev/log; absolute.
    Socket(PathBuf),
}

/// `[[audit.witnesses]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// The submission prefix (c2sp.org/tlog-witness), http or https, without a slash at its end.
    pub url: String,
    /// Its key for cosignatures.
    pub key: VerifierKey,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    pub format: LogFormat,
    /// A tracing filter such as `info` or `nightsafe::ssh=debug,info`.
    pub level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For a terminal; without time and colour when the journal reads.
    Text,
    Json,
}

/// `orgs/<org>.toml`
#[derive(Debug, Clone)]
pub struct Org {
    pub id: OrgId,
    /// As people know it.
    pub name: String,
    pub disabled: bool,
    /// What its providers may send.
    pub datasets: BTreeSet<DatasetName>,
    /// Takes files put into `/` whose name matches no dataset's pattern, or several.
    pub default_dataset: Option<DatasetName>,
    /// From recipients.txt; at least one when `datasets` is not empty.
    pub recipients: Vec<Recipient>,
    /// Sealed bytes of accepted uploads that are still in the vault, and of uploads under way.
    pub quota: u64,
    /// What its clients may compare uploads by; others than SHA-256 are computed only when they stand here.
    pub digests: BTreeSet<DigestKind>,
    pub retention: Retention,
    /// `[codes]`: what the named parts of its files' names may be, such as `agency = ["LIV0123"]`. A part that is not
    /// here is not compared.
    pub codes: BTreeMap<String, BTreeSet<String>>,
}

/// `[retention]` of an organisation.
#[derive(Debug, Clone)]
pub struct Retention {
    /// How long an accepted upload stays listed in the provider's directories, and its receipt under /receipts.
    pub listed: Duration,
    /// How long a loaded object stays in the vault after its acknowledgement.
    pub loaded: Duration,
    /// How long a rejected upload that was quarantined stays in the vault. 30 days.
    pub quarantined: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 24 * 3600);
        Self { listed: days(30), loaded: days(7), quarantined: days(30) }
    }
}

/// `[[accounts]]` of an organisation, with its lines of authorized_keys.
#[derive(Debug, Clone)]
pub struct Account {
    pub name: AccountName,
    pub org: OrgId,
    pub role: Role,
    /// Its own, or its organisation's.
    pub disabled: bool,
    /// Networks it may come from; empty is anywhere.
    pub from: Vec<Network>,
    pub keys: Vec<AuthorizedKey>,
    /// For loaders: what they may take.
    pub take: Take,
}

/// An address range such as `192.0.2.0/24` or `2001:db8::1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    pub address: std::net::IpAddr,
    /// Leading bits that count.
    pub prefix: u8,
}

/// One line of authorized_keys.
#[derive(Debug, Clone)]
pub struct AuthorizedKey {
    pub key: russh::keys::PublicKey,
    pub fingerprint: Fingerprint,
    pub comment: String,
    /// `from="..."` of the line.
    pub from: Vec<Network>,
    /// `expiry-time="..."` of the line.
    pub expires: Option<crate::types::Timestamp>,
}

/// `datasets/<dataset>.toml`
#[derive(Debug, Clone)]
pub struct Dataset {
    pub name: DatasetName,
    pub title: String,
    /// A sentence or two for /help.txt.
    pub description: String,
    /// What an upload must be; compiled, ready for the check.
    pub rules: Rules,
    /// The Table Schema, absolute, when there is one.
    pub schema: Option<PathBuf>,
    pub on_reject: OnReject,
    /// Whether clamd must have called it clean.
    pub scan: bool,
    /// `repeated`: an accepted upload of this organisation and dataset had the same bytes.
    pub repeated: Severity,
    /// `interrupted`: it ends where a full-size write ends, and nothing vouches for it.
    pub interrupted: Severity,
    pub companion: Companion,
    pub complete: Completion,
    /// The files that say what is demanded, for /contract: this dataset's TOML, its schema and code lists.
    pub contract: Vec<ContractFile>,
}

impl Dataset {
    /// A dataset with these rules, and the defaults in everything else.
    pub fn of(name: DatasetName, rules: Rules) -> Self {
        Self {
            title: name.to_string(),
            name,
            description: String::new(),
            rules,
            schema: None,
            on_reject: OnReject::Discard,
            scan: false,
            repeated: Severity::Flag,
            interrupted: Severity::Flag,
            companion: Companion::default(),
            complete: Completion::Close,
            contract: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnReject {
    /// Nothing of it is kept.
    #[default]
    Discard,
    /// Sealed and kept for `retention.quarantined`, never queued.
    Quarantine,
}

/// `[companion]`: small files beside an extract that vouch for it, sent before it: `NAME.sha256`, `NAME.md5` (the
/// formats of `sha256sum` and `md5sum`, or the digest alone), `NAME.totals` (lines `rows = 12`, `sum LABEL = 34.50`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Companion {
    /// Kinds that are taken; empty is none.
    pub kinds: BTreeSet<CompanionKind>,
    /// An extract without one is rejected.
    pub required: bool,
}

/// `complete`: what makes an upload whole, besides its own CLOSE and, from a working name, its RENAME.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Completion {
    #[default]
    Close,
    /// A companion of it, before or after it.
    Companion,
    /// A marker file, after it.
    Marker(Marker),
}

/// `marker`, such as `{name}.done`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// Before the extract's name.
    pub before: String,
    /// After it.
    pub after: String,
}

impl Marker {
    /// The extract that a file of this name is the marker of, if it is one.
    pub fn about(&self, name: &FileName) -> Option<FileName> {
        name.as_str().strip_prefix(self.before.as_str())?.strip_suffix(self.after.as_str())?.parse().ok()
    }

    /// The marker's name for an extract's.
    pub fn of(&self, name: &str) -> String {
        format!("{}{name}{}", self.before, self.after)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CompanionKind {
    Sha256,
    Md5,
    Totals,
}

/// A file that providers may read under /contract.
#[derive(Clone, PartialEq, Eq)]
pub struct ContractFile {
    /// Its name under /contract: `ims-interventions.toml`, `ims-interventions.schema.json`, a code list's.
    pub name: String,
    /// As it was when the configuration was read: what is shown is what is in force.
    pub content: std::sync::Arc<str>,
}

/// By what it holds, and short: two configurations are compared by this form, and a code list may be megabytes.
impl std::fmt::Debug for ContractFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.content.as_bytes());
        f.debug_struct("ContractFile").field("name", &self.name).field("content", &digest).finish()
    }
}

impl Network {
    /// Whether `address` lies in this network; an IPv4-mapped IPv6 address counts as the IPv4 one.
    pub fn contains(&self, address: std::net::IpAddr) -> bool {
        let bits = |a: std::net::IpAddr| match a.to_canonical() {
            std::net::IpAddr::V4(a) => (32u8, u128::from(u32::from(a)) << 96),
            std::net::IpAddr::V6(a) => (128u8, u128::from(a)),
        };
        let ((width, own), (other_width, other)) = (bits(self.address), bits(address));
        let mask = if self.prefix == 0 { 0 } else { u128::MAX << (128 - u32::from(self.prefix)) };
        width == other_width && own & mask == other & mask
    }
}
