//! An event as a leaf of the audit log's tree: what of it is public, what is private, and the commitment between the two.
//!
//! The leaf is the canonical JSON of the public part. It holds `private`: SHA-256 over 32 random bytes (the salt) and the
//! canonical JSON of the private part. Who knows salt and private part can prove that they belong to the leaf; once both
//! are forgotten, nobody can guess them from it, and the tree stands as it stood. What a detail is not known to be is
//! private. Does no input or output. Called by `ledger`, and by `evidence` the other way round.

use std::fmt::Write as _;
use std::net::SocketAddr;

use ring::digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::canonical::{self, INTEGER_MAX};
use super::tree::{Hash, leaf_hash};
use super::{Event, Kind};
use crate::types::{
    Actor, DatasetName, DeliveryId, Fingerprint, Invalid, OrgId, SessionId, Sha256, Timestamp, UploadId,
};

/// Most bytes in a leaf: what an entry of a bundle may have (c2sp.org/tlog-tiles).
pub const LEAF_MAX: usize = 65_535;

/// What stands in the place of an account, a name or a place that was erased.
pub const ERASED: &str = "erased";

/// Details that are told to everybody: numbers, digests and ids. All others are private.
const PUBLIC: &[&str] = &[
    "size",
    "sha256",
    "sealed_size",
    "supersedes",
    "rows",
    "errors",
    "quarantined",
    // Of the age file's header, and of each recipient.
    "header",
    "recipients",
    // Of an erasure: the events whose private parts went.
    "parts",
    "erased",
];

/// The public part of an event, as it stands in the log for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Canonical JSON, at most [`LEAF_MAX`] bytes.
    pub text: String,
    pub hash: Hash,
}

/// The private part of an event, until it is erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Private {
    pub salt: [u8; 32],
    /// Canonical JSON.
    pub body: String,
}

impl Private {
    /// SHA-256(salt, body).
    pub fn commitment(&self) -> Sha256 {
        commitment(&self.salt, self.body.as_bytes())
    }
}

/// SHA-256(salt, body).
pub fn commitment(salt: &[u8], body: &[u8]) -> Sha256 {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(salt);
    context.update(body);
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(context.finish().as_ref());
    Sha256(sha256)
}

/// The fields of a leaf, borrowed from its text: what the ledger copies into columns, and the commitment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Fields<'a> {
    pub sequence: u64,
    pub at: &'a str,
    pub kind: &'a str,
    pub org: Option<&'a str>,
    pub dataset: Option<&'a str>,
    pub upload: Option<&'a str>,
    pub delivery: Option<&'a str>,
    /// The commitment to the private part, in hex.
    pub private: &'a str,
}

impl<'a> Fields<'a> {
    /// Reads a leaf's text. Names and ids hold nothing that JSON escapes.
    ///
    /// # Errors
    /// It is no leaf of an event.
    pub fn of(leaf: &'a str) -> Result<Self, Invalid> {
        serde_json::from_str(leaf).map_err(|error| Invalid(format!("this is no leaf of the audit log: {error}")))
    }
}

/// A leaf as it is written and read.
#[derive(Serialize, Deserialize)]
struct Public {
    sequence: u64,
    at: Timestamp,
    kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    org: Option<OrgId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dataset: Option<DatasetName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upload: Option<UploadId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delivery: Option<DeliveryId>,
    private: Sha256,
    #[serde(flatten)]
    detail: Map<String, Value>,
}

/// A private part as it is read.
#[derive(Deserialize)]
struct Hidden {
    actor: Who,
    #[serde(default)]
    detail: Map<String, Value>,
}

/// Who acted. `org` stands there only when it is another than the event's.
#[derive(Deserialize)]
struct Who {
    account: String,
    #[serde(default, deserialize_with = "told")]
    org: Option<Option<OrgId>>,
    fingerprint: Option<Fingerprint>,
    address: Option<SocketAddr>,
    session: Option<SessionId>,
    client: Option<String>,
}

/// A field that is there, be it null.
fn told<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<OrgId>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Divides an event into its leaf and its private part. The time is kept in whole microseconds; what the event has not
/// got, and details that are null, are left out. `salt` must be fresh and random.
///
/// # Errors
/// A detail is nested too deeply, or what is public has more than [`LEAF_MAX`] bytes.
pub fn divide(event: &Event, sequence: u64, salt: [u8; 32]) -> Result<(Leaf, Private), Invalid> {
    match divided(event, sequence, salt, PUBLIC) {
        // A list of recipients may be of any length: it is then proven by the private part.
        Ok((leaf, _)) if leaf.text.len() > LEAF_MAX => {
            let fewer: Vec<&str> = PUBLIC.iter().copied().filter(|name| *name != "recipients").collect();
            let (leaf, private) = divided(event, sequence, salt, &fewer)?;
            match leaf.text.len() <= LEAF_MAX {
                true => Ok((leaf, private)),
                false => Err(Invalid(format!("the public part of an event has at most {LEAF_MAX} bytes"))),
            }
        }
        done => done,
    }
}

fn divided(event: &Event, sequence: u64, salt: [u8; 32], public: &[&str]) -> Result<(Leaf, Private), Invalid> {
    let mut leaf = Map::new();
    let mut detail = Map::new();
    for (name, value) in &event.detail {
        match value {
            Value::Null => continue,
            _ if public.contains(&name.as_str()) && tells_nothing(value) => leaf.insert(name.clone(), whole(value)),
            _ => detail.insert(name.clone(), whole(value)),
        };
    }
    let body = canonical::to_string(&hidden(event, detail))?;
    let private = Private { salt, body };

    leaf.insert("sequence".into(), sequence.into());
    leaf.insert("at".into(), moment(event.at).into());
    leaf.insert("kind".into(), event.kind.as_str().into());
    let mut id = |name: &str, value: Option<String>| value.map(|value| leaf.insert(name.into(), value.into()));
    id("org", event.org.as_ref().map(ToString::to_string));
    id("dataset", event.dataset.as_ref().map(ToString::to_string));
    id("upload", event.upload.map(|id| id.to_string()));
    id("delivery", event.delivery.map(|id| id.to_string()));
    id("private", Some(private.commitment().to_string()));
    let text = canonical::to_string(&Value::Object(leaf))?;
    let hash = leaf_hash(text.as_bytes());
    Ok((Leaf { text, hash }, private))
}

/// The private part: who, and the details that are not public.
fn hidden(event: &Event, detail: Map<String, Value>) -> Value {
    let actor = &event.actor;
    let mut who = Map::new();
    who.insert("account".into(), actor.account.clone().into());
    if actor.org != event.org {
        who.insert("org".into(), actor.org.as_ref().map(ToString::to_string).into());
    }
    let mut add = |name: &str, value: Option<String>| value.map(|value| who.insert(name.into(), value.into()));
    add("fingerprint", actor.fingerprint.as_ref().map(ToString::to_string));
    add("address", actor.address.map(|address| address.to_string()));
    add("session", actor.session.map(|session| session.to_string()));
    add("client", actor.client.clone());
    let mut hidden = Map::new();
    hidden.insert("actor".into(), who.into());
    if !detail.is_empty() {
        hidden.insert("detail".into(), detail.into());
    }
    hidden.into()
}

/// A number, a truth, or text of digits, hexadecimal letters and separators: digests, ids, runs of numbers.
fn tells_nothing(value: &Value) -> bool {
    match value {
        Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f' | b'-' | b',')),
        Value::Array(list) => list.iter().all(|item| item.is_string() && tells_nothing(item)),
        Value::Null | Value::Object(_) => false,
    }
}

/// With numbers that canonical JSON has not got (fractions, or beyond 2^53 - 1) as text: an event is never lost for one.
fn whole(value: &Value) -> Value {
    match value {
        Value::Number(number) => {
            let size = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            match size {
                Some(size) if size <= INTEGER_MAX => value.clone(),
                _ => number.to_string().into(),
            }
        }
        Value::Array(list) => list.iter().map(whole).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), whole(value))).collect::<Map<_, _>>().into()
        }
        _ => value.clone(),
    }
}

/// RFC 3339 in UTC with six digits of a second: the spelling that leaves have.
pub fn moment(at: Timestamp) -> String {
    let micros = Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at);
    let mut text = String::with_capacity(27);
    // Writing to a String cannot fail.
    let _ = write!(text, "{micros:.6}");
    text
}

/// Puts an event together again, with its number in the log. Without its private part it has what is public, and the
/// account [`ERASED`].
///
/// # Errors
/// One of them is not what [`divide`] makes. Whether they belong together is not looked at: see [`commitment`].
pub fn join(leaf: &str, private: Option<&str>) -> Result<(u64, Event), Invalid> {
    let wrong = |error: serde_json::Error| Invalid(format!("this is no event of the audit log: {error}"));
    let public: Public = serde_json::from_str(leaf).map_err(wrong)?;
    let Public { sequence, at, kind, org, dataset, upload, delivery, mut detail, private: _ } = public;
    let actor = match private.map(serde_json::from_str::<Hidden>).transpose().map_err(wrong)? {
        Some(Hidden { actor, detail: further }) => {
            detail.extend(further);
            Actor {
                org: actor.org.unwrap_or_else(|| org.clone()),
                account: actor.account,
                fingerprint: actor.fingerprint,
                address: actor.address,
                session: actor.session,
                client: actor.client,
            }
        }
        None => Actor { org: org.clone(), account: ERASED.into(), ..Actor::gateway() },
    };
    Ok((sequence, Event { at, kind, actor, org, dataset, upload, delivery, detail }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event() -> Event {
        let actor = Actor {
            org: Some("harbour".parse().unwrap()),
            account: "harbour-nightly".into(),
            fingerprint: Some(Fingerprint("SHA256:abc".into())),
            address: Some("192.0.2.7:50122".parse().unwrap()),
            session: Some("01930e3a-4b5c-7d6e-8f70-8192a3b4c5d7".parse().unwrap()),
            client: Some("OpenSSH_9.6".into()),
        };
        Event::new("2025-03-01T02:03:04.5Z".parse().unwrap(), Kind::UploadAccepted, actor)
            .dataset(&"ims".parse().unwrap())
            .upload("01930e3a-4b5c-7d6e-8f70-8192a3b4c5d6".parse().unwrap())
            .with("size", 10)
            .with("sha256", "ab".repeat(32))
            .with("quarantined", false)
            .with("recipients", json!(["cd".repeat(32)]))
            .with("name", "a.csv")
            .with("scan", json!({"found": null}))
    }

    #[test]
    fn a_leaf_has_ids_numbers_and_digests_alone() {
        let (leaf, private) = divide(&event(), 7, [9; 32]).unwrap();
        let expected = format!(
            "{{\"at\":\"2025-03-01T02:03:04.500000Z\",\"dataset\":\"ims\",\"kind\":\"upload.accepted\",\"org\":\"harbour\",\
             \"private\":\"{}\",\"quarantined\":false,\"recipients\":[\"{}\"],\"sequence\":7,\"sha256\":\"{}\",\"size\":10,\
             \"upload\":\"01930e3a-4b5c-7d6e-8f70-8192a3b4c5d6\"}}",
            private.commitment(),
            "cd".repeat(32),
            "ab".repeat(32)
        );
        assert_eq!(leaf.text, expected);
        assert_eq!(leaf.hash, leaf_hash(expected.as_bytes()));
        assert_eq!(
            private.body,
            "{\"actor\":{\"account\":\"harbour-nightly\",\"address\":\"192.0.2.7:50122\",\"client\":\"OpenSSH_9.6\",\
             \"fingerprint\":\"SHA256:abc\",\"session\":\"01930e3a-4b5c-7d6e-8f70-8192a3b4c5d7\"},\
             \"detail\":{\"name\":\"a.csv\",\"scan\":{\"found\":null}}}"
        );
        let by_hand = digest::digest(&digest::SHA256, &[&[9; 32], private.body.as_bytes()].concat());
        assert_eq!(private.commitment().0, by_hand.as_ref());
    }

    #[test]
    fn an_event_comes_back_whole_and_without_its_private_part_as_erased() {
        let mut strange = event();
        strange.actor.org = Some("elsewhere".parse().unwrap());
        let mut nobody = event();
        nobody.actor = Actor::gateway();
        for event in [event(), strange, nobody] {
            let (leaf, private) = divide(&event, 7, [9; 32]).unwrap();
            assert_eq!(join(&leaf.text, Some(&private.body)).unwrap(), (7, event.clone()));
            let fields = Fields::of(&leaf.text).unwrap();
            assert_eq!((fields.sequence, fields.kind, fields.org), (7, "upload.accepted", Some("harbour")));
            assert_eq!((fields.at, fields.delivery), ("2025-03-01T02:03:04.500000Z", None));
            assert_eq!(fields.private, private.commitment().to_string());

            let (_, rest) = join(&leaf.text, None).unwrap();
            assert_eq!((rest.actor.account.as_str(), rest.actor.session), (ERASED, None));
            assert_eq!((rest.upload, rest.at, &rest.detail["size"]), (event.upload, event.at, &10.into()));
            assert!(!rest.detail.contains_key("name"));
        }
    }

    #[test]
    fn what_could_tell_of_a_person_is_private_under_whatever_name() {
        for value in [json!("Alice"), json!({"a": 1}), json!(["x y"]), json!([1]), json!("2025-03-01T02:03:04Z")] {
            let (leaf, private) = divide(&event().with("errors", value.clone()), 1, [0; 32]).unwrap();
            assert!(!leaf.text.contains("errors"), "{value}");
            assert!(private.body.contains("errors"), "{value}");
        }
    }

    #[test]
    fn a_long_list_of_recipients_is_proven_by_the_private_part() {
        let many: Vec<String> = (0..2000).map(|n| format!("{n:064x}")).collect();
        let event = event().with("recipients", many);
        let (leaf, private) = divide(&event, 1, [0; 32]).unwrap();
        assert!(leaf.text.len() < LEAF_MAX && private.body.contains("recipients"));
        assert_eq!(join(&leaf.text, Some(&private.body)).unwrap().1, event);
        let parts = event.with("parts", "1,".repeat(40_000));
        assert!(divide(&parts, 1, [0; 32]).is_err());
    }

    #[test]
    fn numbers_that_canonical_json_has_not_got_are_told_as_text() {
        let event = event().with("size", 1u64 << 53).with("share", 0.5).with("nothing", Value::Null);
        let (leaf, private) = divide(&event, 1, [0; 32]).unwrap();
        assert!(leaf.text.contains("\"size\":\"9007199254740992\""), "{}", leaf.text);
        assert!(private.body.contains("\"share\":\"0.5\"") && !private.body.contains("nothing"), "{}", private.body);
    }
}
