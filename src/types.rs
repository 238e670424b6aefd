//! The vocabulary: ids, names and facts as newtypes, parsed once at the edge and trusted afterwards.
//!
//! Owns no state and does no input or output, but for [`Clock`], the one place that reads the clock.
//! Everybody uses it; it uses nobody.

mod digests;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

pub use digests::{DigestKind, Digests, Envelope, Sha256};
pub use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not the name or id that it should be, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// Names that operators choose: lower-case letters, digits, `-`, `_` and `.`, a letter or digit first, 1 to 63 bytes.
fn operator_name(kind: &str, text: &str) -> Result<String, Invalid> {
    let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let first = text.chars().next().is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if text.len() > 63 || !first || !text.chars().all(ok) {
        return Err(Invalid(format!(
            "{text:?} is not {kind}: use 1 to 63 lower-case letters, digits, '-', '_' or '.', starting with a letter or digit"
        )));
    }
    Ok(text.to_owned())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $type {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                operator_name($kind, text).map(|name| Self(name.into()))
            }
        }
        impl TryFrom<String> for $type {
            type Error = Invalid;
            fn try_from(text: String) -> Result<Self, Invalid> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.to_string()
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// An organisation: a tenant. Also the name of its configuration file and its folder of keys.
    OrgId,
    "an organisation's id"
);
name!(
    /// A login of one organisation; unique in the whole gateway.
    AccountName,
    "an account's name"
);
name!(
    /// A kind of extract: naming, schema, rules. Also a directory that providers see.
    DatasetName,
    "a dataset's name"
);

macro_rules! id {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(Uuid);

        impl $type {
            /// A new id, UUID version 7 (RFC 9562, section 5.7): ids sort by the time of their making.
            pub fn new(now: Timestamp) -> Self {
                let seconds = u64::try_from(now.as_second()).unwrap_or(0);
                let nanoseconds = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
                Self(Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanoseconds)))
            }
            /// When it was made, to the millisecond; none for an id that was not made here.
            pub fn time(&self) -> Option<Timestamp> {
                let (seconds, nanoseconds) = self.0.get_timestamp()?.to_unix();
                Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanoseconds).ok()?).ok()
            }
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
        impl FromStr for $type {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                // Hyphenated lower case only: an id has one spelling.
                match Uuid::try_parse(text) {
                    Ok(id) if id.hyphenated().to_string() == text => Ok(Self(id)),
                    _ => Err(Invalid(format!("{text:?} is not an id"))),
                }
            }
        }
    };
}

id!(
    /// One upload, from OPEN on; its object and receipt carry it too.
    UploadId
);
id!(
    /// One queue entry; stable over every attempt to load it.
    DeliveryId
);
id!(
    /// One connection that authenticated.
    SessionId
);
id!(
    /// One claim of a delivery: who holds it may extend, acknowledge or give back.
    LeaseId
);

/// Most bytes in a file name.
pub const FILE_NAME_MAX: usize = 255;

/// A file name that a client sent, checked: UTF-8, 1 to 255 bytes, no `/`, no control or bidirectional characters, not
/// `.` or `..`. It is a label: it never becomes a path of the operating system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileName(Arc<str>);

impl FileName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses bytes from the wire.
    ///
    /// # Errors
    /// Says which rule the name breaks, and how to mend it.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, Invalid> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Invalid("the file name is not UTF-8: set your client's file name encoding to UTF-8".into()))?;
        text.parse()
    }
}

/// Characters that reorder or hide text on a screen: a name with one could show as another name
/// (Unicode UAX #9 explicit formatting, plus zero-width and byte-order marks).
pub fn deceives(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

impl FromStr for FileName {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = |why: &str| Err(Invalid(why.to_owned()));
        if text.is_empty() {
            return wrong("the file name is empty");
        }
        if text.len() > FILE_NAME_MAX {
            return wrong("the file name is longer than 255 bytes: use a shorter one");
        }
        if text == "." || text == ".." {
            return wrong("'.' and '..' are not file names");
        }
        if text.contains('/') {
            return wrong("the file name contains '/': there are no directories of your own here");
        }
        if text.chars().any(char::is_control) {
            return wrong("the file name contains a control character: use letters, digits, '-', '_' and '.'");
        }
        if text.chars().any(deceives) {
            return wrong(
                "the file name contains a character that hides or reorders text: use letters, digits, '-', '_' and '.'",
            );
        }
        Ok(Self(text.into()))
    }
}
impl TryFrom<String> for FileName {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}
impl From<FileName> for String {
    fn from(name: FileName) -> String {
        name.0.to_string()
    }
}
impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A public key's fingerprint as OpenSSH shows it: `SHA256:` and 43 characters of base64.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub String);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an account is for. A listener names the roles that it admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Puts extracts; sees an inbox.
    Provider,
    /// Takes deliveries; sees a queue.
    Loader,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Provider => "provider",
            Role::Loader => "loader",
        }
    }
}

/// What a loader may take; `*` in the configuration is `None` here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Take {
    pub orgs: Option<BTreeSet<OrgId>>,
    pub datasets: Option<BTreeSet<DatasetName>>,
}

impl Take {
    pub fn covers(&self, org: &OrgId, dataset: &DatasetName) -> bool {
        self.orgs.as_ref().is_none_or(|orgs| orgs.contains(org))
            && self.datasets.as_ref().is_none_or(|datasets| datasets.contains(dataset))
    }
}

/// Where a provider put a file: `/`, or a dataset's directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    Inbox,
    Dataset(DatasetName),
}

impl Place {
    /// The directory as the provider sees it, ending in `/`.
    pub fn path(&self) -> String {
        match self {
            Place::Inbox => "/".into(),
            Place::Dataset(dataset) => format!("/{dataset}/"),
        }
    }
}

/// Who did something and from where, as audit events and receipts tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The organisation of the account; none for the gateway itself, an operator, or a peer that was not admitted.
    pub org: Option<OrgId>,
    /// The account; for an operator `operator:NAME`, for the gateway itself `gateway`; for a peer that was not
    /// admitted what it called itself, cut to 64 characters.
    pub account: String,
    pub fingerprint: Option<Fingerprint>,
    pub address: Option<SocketAddr>,
    pub session: Option<SessionId>,
    /// The peer's identification line without `SSH-2.0-`, printable ASCII only, at most 100 bytes.
    pub client: Option<String>,
}

impl Actor {
    /// The gateway acting by itself: recovery, expiry, retention.
    pub fn gateway() -> Self {
        Self { org: None, account: "gateway".into(), fingerprint: None, address: None, session: None, client: None }
    }

    /// An operator at this machine.
    pub fn operator(user: &str) -> Self {
        Self { account: format!("operator:{user}"), ..Self::gateway() }
    }
}

/// Why something was not done, in words for a person: what happened, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    pub kind: RefusalKind,
    /// One or two sentences, no line breaks, no cell's value, no name of another organisation.
    pub reason: String,
}

/// The kinds of refusal, as far as the wire tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// No such file or directory.
    NotFound,
    /// Exists, or would, but not for this account or not in this way.
    Denied,
    /// This gateway does not do that.
    Unsupported,
    /// The content, name or size is not what the dataset wants.
    Rejected,
    /// The gateway failed (disk, database); the same may work later.
    Failure,
}

impl Refusal {
    pub fn new(kind: RefusalKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }
    pub fn not_found(reason: impl Into<String>) -> Self {
        Self::new(RefusalKind::NotFound, reason)
    }
    pub fn denied(reason: impl Into<String>) -> Self {
        Self::new(RefusalKind::Denied, reason)
    }
    pub fn unsupported(reason: impl Into<String>) -> Self {
        Self::new(RefusalKind::Unsupported, reason)
    }
    pub fn rejected(reason: impl Into<String>) -> Self {
        Self::new(RefusalKind::Rejected, reason)
    }
    pub fn failure(reason: impl Into<String>) -> Self {
        Self::new(RefusalKind::Failure, reason)
    }
}

/// The one reader of the clock. Tests stop it and move it by hand.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// Microseconds since the Unix epoch; none means the machine's clock.
    fixed: Option<Arc<AtomicI64>>,
}

impl Clock {
    pub fn system() -> Self {
        Self { fixed: None }
    }

    pub fn fixed(at: Timestamp) -> Self {
        Self { fixed: Some(Arc::new(AtomicI64::new(at.as_microsecond()))) }
    }

    /// Moves a fixed clock on; the machine's clock cannot be moved.
    pub fn advance(&self, by: std::time::Duration) {
        if let Some(fixed) = &self.fixed {
            fixed.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }

    /// The time now, in whole microseconds.
    #[allow(clippy::disallowed_methods, reason = "this is the one reader of the clock")]
    pub fn now(&self) -> Timestamp {
        let micros = match &self.fixed {
            Some(fixed) => fixed.load(Ordering::SeqCst),
            None => Timestamp::now().as_microsecond(),
        };
        Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}
