//! Events in the Open Cybersecurity Schema Framework 1.3.0 (schema.ocsf.io), for a SIEM.
//!
//! Files and objects are File System Activity (1001), sessions Authentication (3002), the daemon's own life Application
//! Lifecycle (6002), what loaders and operators do to the queue and the configuration API Activity (6003). What the schema
//! has no place for stands under `unmapped`, by our own names. Called by `export`.

use serde_json::{Map, Value, json};

use crate::audit::{Event, Kind};
use crate::ledger::Logged;

const VERSION: &str = "1.3.0";

/// Who exports.
pub(super) struct Gateway<'g> {
    /// Its name as people know it.
    pub name: &'g str,
    /// The log's name: with the sequence number it names an event for ever.
    pub origin: &'g str,
}

/// `class_uid`, with its category and its name.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Class {
    uid: u64,
    category: u64,
    name: &'static str,
}

const FILE: Class = Class { uid: 1001, category: 1, name: "File System Activity" };
const AUTHENTICATION: Class = Class { uid: 3002, category: 3, name: "Authentication" };
const LIFECYCLE: Class = Class { uid: 6002, category: 6, name: "Application Lifecycle" };
const API: Class = Class { uid: 6003, category: 6, name: "API Activity" };

/// `severity_id`
const INFORMATIONAL: u64 = 1;
const LOW: u64 = 2;
const MEDIUM: u64 = 3;
const HIGH: u64 = 4;

/// `activity_id` of what a class has no number for; its name is our own then.
const OTHER: u64 = 99;

struct Meaning {
    class: Class,
    activity: u64,
    activity_name: &'static str,
    success: bool,
    severity: u64,
}

const fn meaning(class: Class, activity: u64, activity_name: &'static str) -> Meaning {
    Meaning { class, activity, activity_name, success: true, severity: INFORMATIONAL }
}

const fn failed(class: Class, activity: u64, activity_name: &'static str, severity: u64) -> Meaning {
    Meaning { class, activity, activity_name, success: false, severity }
}

fn meaning_of(kind: Kind) -> Meaning {
    match kind {
        Kind::DaemonStarted => meaning(LIFECYCLE, 3, "Start"),
        Kind::DaemonStopped => meaning(LIFECYCLE, 4, "Stop"),
        Kind::ConfigReloaded => meaning(LIFECYCLE, OTHER, "Reload"),
        Kind::ConfigRefused => failed(LIFECYCLE, OTHER, "Reload", MEDIUM),
        Kind::SessionAdmitted => meaning(AUTHENTICATION, 1, "Logon"),
        Kind::SessionRefused => failed(AUTHENTICATION, 1, "Logon", LOW),
        Kind::SessionEnded => meaning(AUTHENTICATION, 2, "Logoff"),
        Kind::RequestRefused => failed(API, OTHER, "Refuse", LOW),
        Kind::UploadBegun => meaning(FILE, 14, "Open"),
        Kind::UploadAccepted => meaning(FILE, 1, "Create"),
        Kind::UploadRejected => failed(FILE, 1, "Create", LOW),
        Kind::UploadAborted => failed(FILE, 1, "Create", LOW),
        Kind::UploadErased => meaning(FILE, 4, "Delete"),
        Kind::CompanionReceived => meaning(FILE, 1, "Create"),
        Kind::CompanionRemoved => meaning(FILE, 4, "Delete"),
        Kind::DraftClosed => meaning(FILE, 3, "Update"),
        Kind::DraftRenamed => meaning(FILE, 5, "Rename"),
        Kind::DraftRemoved => meaning(FILE, 4, "Delete"),
        Kind::ReceiptRead | Kind::ObjectRead => meaning(FILE, 2, "Read"),
        Kind::ObjectRemoved | Kind::RecoveryRemoved => meaning(FILE, 4, "Delete"),
        Kind::RecoveryMissing => failed(FILE, OTHER, "Missing", HIGH),
        Kind::DeliveryClaimed
        | Kind::DeliveryExtended
        | Kind::DeliveryAcknowledged
        | Kind::DeliveryRetried
        | Kind::DeliveryReleased
        | Kind::OperatorCommand => meaning(API, 3, "Update"),
        Kind::DeliveryReturned | Kind::DeliveryExpired => failed(API, 3, "Update", LOW),
        Kind::DeliveryDead => failed(API, 3, "Update", HIGH),
        Kind::LogContradicted => failed(LIFECYCLE, OTHER, "Contradict", HIGH),
    }
}

/// One event, as the schema has it.
pub(super) fn event(logged: &Logged, gateway: &Gateway<'_>) -> Value {
    let event = &logged.event;
    let Meaning { class, activity, activity_name, success, severity } = meaning_of(event.kind);
    let mut details = Details(event.detail.clone());
    let mut out = json!({
        "class_uid": class.uid,
        "class_name": class.name,
        "category_uid": class.category,
        "activity_id": activity,
        "activity_name": activity_name,
        "type_uid": class.uid * 100 + activity,
        "time": event.at.as_millisecond(),
        "severity_id": severity,
        "status_id": if success { 1 } else { 2 },
        "message": event.kind.as_str(),
        "metadata": metadata(logged, gateway),
    });
    let (user, session) = (user(event), event.actor.session.map(|session| json!({ "uid": session.to_string() })));
    let actor = pruned(json!({ "user": user, "session": session, "app_name": event.actor.client }));
    let from = match event.actor.address {
        Some(address) => json!({ "ip": address.ip().to_string(), "port": address.port() }),
        None => json!({ "hostname": gateway.name }),
    };
    let server = json!({ "hostname": gateway.name, "type_id": 1 });
    match class {
        FILE => {
            out["actor"] = actor;
            out["device"] = server;
            let to = (details.text("to_place"), details.text("to_name"));
            out["file"] = file(event, &mut details);
            if let (place, Some(name)) = to {
                let path = place.map(|place| format!("{place}{name}"));
                out["file_result"] = pruned(json!({ "name": name, "path": path, "type_id": 1 }));
            }
        }
        AUTHENTICATION => {
            out["user"] = user;
            out["src_endpoint"] = from;
            out["dst_endpoint"] = json!({ "hostname": gateway.name });
            out["is_remote"] = true.into();
            out["auth_protocol_id"] = OTHER.into();
            out["auth_protocol"] = "SSH public key".into();
            if let Some(session) = session {
                out["session"] = session;
            }
        }
        LIFECYCLE => out["app"] = product(),
        _ => {
            out["actor"] = actor;
            out["src_endpoint"] = from;
            out["dst_endpoint"] = json!({ "hostname": gateway.name });
            let asked = details.text("request").or_else(|| details.text("command"));
            out["api"] = json!({ "operation": asked.as_deref().unwrap_or(event.kind.as_str()) });
            if let Some(delivery) = event.delivery {
                out["resources"] = json!([{ "type": "delivery", "uid": delivery.to_string() }]);
            }
        }
    }
    if let Some(reason) = details.reason() {
        out["status_detail"] = reason.into();
    }
    details.keep("delivery", event.delivery.filter(|_| class != API));
    details.keep("upload", event.upload);
    details.keep("dataset", event.dataset.as_ref());
    details.keep("organisation", event.org.as_ref());
    details.0.retain(|_, value| !value.is_null());
    if !details.0.is_empty() {
        out["unmapped"] = Value::Object(details.0);
    }
    out
}

fn metadata(logged: &Logged, gateway: &Gateway<'_>) -> Value {
    let event = &logged.event;
    pruned(json!({
        "version": VERSION,
        "product": product(),
        "uid": format!("{}#{}", gateway.origin, logged.sequence),
        "sequence": logged.sequence,
        "event_code": event.kind.as_str(),
        "log_name": gateway.origin,
        "log_provider": gateway.name,
        "original_time": event.at.to_string(),
        "correlation_uid": event.upload.map(|upload| upload.to_string()),
    }))
}

fn product() -> Value {
    json!({ "name": "Nightsafe", "vendor_name": "Nightsafe", "version": env!("CARGO_PKG_VERSION") })
}

fn user(event: &Event) -> Value {
    let actor = &event.actor;
    // 1 is a user, 2 an administrator, 3 the system.
    let kind = match actor.account.as_str() {
        "gateway" => 3,
        operator if operator.starts_with("operator:") => 2,
        _ => 1,
    };
    pruned(json!({
        "name": actor.account,
        "type_id": kind,
        "credential_uid": actor.fingerprint.as_ref().map(ToString::to_string),
        "org": actor.org.as_ref().map(|org| json!({ "uid": org.to_string() })),
    }))
}

fn file(event: &Event, details: &mut Details) -> Value {
    let (name, place) = (details.text("name"), details.text("place"));
    let object = event.upload.map(|upload| format!("{upload}.age"));
    let path = place.zip(name.as_ref()).map(|(place, name)| format!("{place}{name}"));
    let sha256 =
        details.text("sha256").map(|value| json!([{ "algorithm_id": 3, "algorithm": "SHA-256", "value": value }]));
    pruned(json!({
        "name": name.or(object).unwrap_or_else(|| "unknown".into()),
        "path": path,
        "type_id": 1,
        "uid": event.upload.map(|upload| upload.to_string()),
        "size": details.0.remove("size"),
        "hashes": sha256,
    }))
}

/// What an event says besides, each taken out when it has its place.
struct Details(Map<String, Value>);

impl Details {
    fn text(&mut self, name: &str) -> Option<String> {
        match self.0.get(name) {
            Some(Value::String(_)) => match self.0.remove(name) {
                Some(Value::String(text)) => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    /// Why, in a sentence or several.
    fn reason(&mut self) -> Option<String> {
        if let Some(reason) = self.text("reason") {
            return Some(reason);
        }
        let reasons = self.0.remove("reasons")?;
        let reasons: Vec<&str> = reasons.as_array()?.iter().filter_map(Value::as_str).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    fn keep(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.to_string().into());
        }
    }
}

/// The object without what is null.
fn pruned(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::testing::{at, ended};
    use crate::types::{Actor, DeliveryId, Fingerprint};

    const GATEWAY: Gateway<'_> = Gateway { name: "sftp.example.org", origin: "sftp.example.org/audit" };

    /// What the published schema demands.
    fn schema() -> Value {
        serde_json::from_str(include_str!("ocsf-1.3.0.json")).unwrap()
    }

    /// Faults of `value` against one class or object of the schema.
    fn faults(schema: &Value, rules: &Value, value: &Value, place: &str) -> Vec<String> {
        let fields = value.as_object().unwrap();
        let list = |name: &str| rules[name].as_array().cloned().unwrap_or_default();
        let has = |name: &Value| fields.contains_key(name.as_str().unwrap());
        let mut faults: Vec<String> =
            list("required").iter().filter(|name| !has(name)).map(|n| format!("{place}: no {n}")).collect();
        if !list("at_least_one").is_empty() && !list("at_least_one").iter().any(has) {
            faults.push(format!("{place}: none of {}", rules["at_least_one"]));
        }
        for (name, value) in fields {
            let place = format!("{place}.{name}");
            let Some(kind) = rules["attributes"][name].as_str() else {
                faults.push(format!("{place} is not in the schema"));
                continue;
            };
            if let Some(allowed) = rules["values"][name].as_array().filter(|allowed| !allowed.contains(value)) {
                faults.push(format!("{place} is {value}, not of {allowed:?}"));
            }
            let (kind, items) = match kind.strip_prefix('[') {
                Some(kind) => (kind.trim_end_matches(']'), value.as_array().cloned().unwrap_or_default()),
                None => (kind, vec![value.clone()]),
            };
            for item in &items {
                match kind.strip_prefix("object:") {
                    Some("object") => assert!(item.is_object(), "{place}"),
                    Some(object) => {
                        let rules = &schema["objects"][object];
                        assert!(rules.is_object(), "{place}: the extract of the schema lacks {object}");
                        faults.extend(self::faults(schema, rules, item, &place));
                    }
                    None => {
                        let fits = match kind {
                            "integer" | "long" | "timestamp" | "port" => item.is_u64(),
                            "boolean" => item.is_boolean(),
                            _ => item.is_string(),
                        };
                        if !fits {
                            faults.push(format!("{place} is {item}, not of type {kind}"));
                        }
                    }
                }
            }
        }
        faults
    }

    /// An event of that kind, with and without all that one may have.
    fn samples(kind: Kind) -> [Event; 2] {
        let actor = Actor {
            account: "harbour-nightly".into(),
            org: Some("harbour".parse().unwrap()),
            fingerprint: Some(Fingerprint("SHA256:abc".into())),
            address: "192.0.2.7:5022".parse().ok(),
            session: Some(crate::types::SessionId::new(at(0))),
            client: Some("OpenSSH_9.2".into()),
        };
        let receipt = ended("harbour", "a.csv", at(0)).receipt;
        let full = Event::new(at(0), kind, actor)
            .dataset(&receipt.dataset)
            .upload(receipt.upload)
            .delivery(DeliveryId::new(at(0)))
            .with("name", "a.csv")
            .with("place", "/")
            .with("to_name", "b.csv")
            .with("to_place", "/")
            .with("size", 10)
            .with("sha256", receipt.sha256.to_string())
            .with("reasons", vec!["the file is empty"])
            .with("request", "mkdir")
            .with("rows", Value::Null);
        [full, Event::new(at(0), kind, Actor::gateway())]
    }

    #[test]
    fn every_kind_has_what_the_published_schema_requires_and_nothing_that_it_does_not_know() {
        let schema = schema();
        for kind in Kind::ALL {
            for sample in samples(*kind) {
                let event = event(&Logged { sequence: 9, event: sample }, &GATEWAY);
                let rules = &schema["classes"][event["class_uid"].to_string()];
                let faults = faults(&schema, rules, &event, kind.as_str());
                assert!(faults.is_empty(), "{faults:#?} in {event:#}");
            }
        }
    }

    #[test]
    fn an_accepted_upload_is_a_created_file_with_its_digest() {
        let [sample, _] = samples(Kind::UploadAccepted);
        let upload = sample.upload.unwrap().to_string();
        let event = event(&Logged { sequence: 9, event: sample }, &GATEWAY);
        assert_eq!(
            (&event["class_uid"], &event["activity_id"], &event["type_uid"]),
            (&1001.into(), &1.into(), &100101.into())
        );
        assert_eq!((&event["time"], &event["status_id"]), (&1_700_000_000_000_i64.into(), &1.into()));
        assert_eq!(event["metadata"]["uid"], "sftp.example.org/audit#9");
        assert_eq!((&event["file"]["uid"], &event["file"]["path"]), (&upload.clone().into(), &"/a.csv".into()));
        assert_eq!(event["file"]["hashes"][0]["value"].as_str().unwrap().len(), 64);
        assert_eq!(event["actor"]["user"]["name"], "harbour-nightly");
        assert_eq!(
            (&event["unmapped"]["upload"], &event["unmapped"]["organisation"]),
            (&upload.into(), &"harbour".into())
        );
        assert!(event["unmapped"].get("rows").is_none() && event["unmapped"].get("size").is_none());
    }
}
