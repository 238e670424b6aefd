//! What a proof proves, in words for a person and as JSON; and where a receipt differs from it.

use serde_json::{Value, json};

use super::super::output::tame;
use crate::audit::evidence::Verified;
use crate::audit::{Kind, Receipt, grouped};

/// The story for a person: what was recorded, by whom, when, and what that proves. `further` are lines of the caller's.
pub fn story(evidence: &Verified, further: &[(&str, String)]) -> String {
    let event = &evidence.event;
    let detail = |name: &str| event.detail.get(name);
    let text = |name: &str| detail(name).and_then(Value::as_str).map(str::to_owned);
    let mut lines: Vec<(&str, String)> = Vec::new();
    let mut add = |name, value: Option<String>| lines.extend(value.map(|value| (name, value)));
    add("File", text("name"));
    add("Place", text("place"));
    add("Size", detail("size").and_then(Value::as_u64).map(|size| format!("{} bytes", grouped(size))));
    add("SHA-256", text("sha256"));
    add("Recorded", Some(event.at.to_string()));
    add("Gateway", text("gateway"));
    add("Organisation", event.org.as_ref().map(ToString::to_string));
    add("Dataset", event.dataset.as_ref().map(ToString::to_string));
    add("Upload", event.upload.map(|upload| upload.to_string()));
    add("Delivery", event.delivery.map(|delivery| delivery.to_string()));
    if evidence.private.is_some() {
        add(
            if event.kind == Kind::DeliveryAcknowledged { "Loader" } else { "Account" },
            Some(event.actor.account.clone()),
        );
        add("Key", event.actor.fingerprint.as_ref().map(ToString::to_string));
    } else {
        add("Account", Some("not told by this proof: only what is public was shown".into()));
    }
    for reason in detail("reasons").and_then(Value::as_array).into_iter().flatten() {
        add("Reason", reason.as_str().map(str::to_owned));
    }
    let checkpoint = &evidence.checkpoint;
    add("Log", Some(checkpoint.origin.clone()));
    let entry = format!("number {} of {}", grouped(evidence.sequence), grouped(checkpoint.size));
    add("Entry", Some(entry));
    add("Root", Some(checkpoint.root.to_string()));
    add("Signed by", Some(evidence.key.to_string()));
    for witnessed in &evidence.witnessed {
        let whom =
            if witnessed.trusted { "" } else { " (a witness that you did not name: give its key with --witness)" };
        add("Cosigned by", Some(format!("{} at {}{whom}", witnessed.key.name(), witnessed.at)));
    }
    lines.extend(further.iter().cloned());

    let mut story = format!("PROVEN{}\n\n", headline(event.kind));
    for (name, value) in lines {
        story.push_str(&format!("{:<15}{}\n", format!("{name}:"), tame(&value)));
    }
    story.push('\n');
    story.push_str(&meaning(evidence));
    story.push('\n');
    story
}

/// What follows the word: who reads no further must not take a rejection for anything else.
fn headline(kind: Kind) -> String {
    match kind {
        Kind::UploadAccepted => ": this file was received whole, accepted and queued for loading".into(),
        Kind::UploadRejected => ", and it was REJECTED: this file was received, not accepted, and is not loaded".into(),
        Kind::DeliveryAcknowledged => ": this file was loaded by the data team".into(),
        Kind::UploadErased => ": this upload was erased".into(),
        other => format!(": this stands in the log: {}", other.as_str()),
    }
}

fn meaning(evidence: &Verified) -> String {
    let origin = &evidence.checkpoint.origin;
    let trusted: Vec<&str> =
        evidence.witnessed.iter().filter(|witnessed| witnessed.trusted).map(|witnessed| witnessed.key.name()).collect();
    let seen = match trusted.as_slice() {
        [] => {
            "That everybody is shown the same log is not proven: for that, name a witness whom you trust (--witness)."
                .into()
        }
        names => format!("{} saw this very tree: the log cannot be another one for somebody else.", names.join(", ")),
    };
    format!(
        "Whoever holds the key of {origin} signed a log that has this entry at this place. It cannot be taken out or changed\n\
         without a break with this proof, which stays valid as long as you keep it.\n{seen}"
    )
}

pub(super) fn json(evidence: &Verified) -> Value {
    let cosigned = evidence.witnessed.iter().map(
        |witnessed| json!({ "witness": witnessed.key.to_string(), "at": witnessed.at, "trusted": witnessed.trusted }),
    );
    json!({
        "proven": true,
        "kind": evidence.event.kind,
        "sequence": evidence.sequence,
        "event": evidence.event,
        "private": evidence.private.is_some(),
        "checkpoint": {
            "origin": evidence.checkpoint.origin,
            "size": evidence.checkpoint.size,
            "root": evidence.checkpoint.root.to_string(),
        },
        "key": evidence.key.to_string(),
        "cosigned": cosigned.collect::<Vec<_>>(),
    })
}

/// Where a receipt's JSON is not what the receipt that was read from it says: additions, omissions, other spellings.
pub(super) fn strange(file: &Value, receipt: &Receipt) -> Vec<String> {
    let mut found = Vec::new();
    // Every field is text, a number or a list: that always has a JSON form.
    compare("", file, &serde_json::to_value(receipt).unwrap_or_default(), &mut found);
    found
}

/// `path` leads to the two values, with dots: `report.groups.2.rule`.
fn compare(path: &str, file: &Value, read: &Value, found: &mut Vec<String>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (file, read) {
        (Value::Object(file), Value::Object(read)) => {
            let added = file.keys().filter(|name| !read.contains_key(*name));
            found.extend(added.map(|name| format!("{} is added, receipts have no such field", below(name))));
            for (name, read) in read {
                match file.get(name) {
                    Some(file) => compare(&below(name), file, read, found),
                    None => found.push(format!("{} is left out", below(name))),
                }
            }
        }
        (Value::Array(file), Value::Array(read)) if file.len() == read.len() => {
            for (place, (file, read)) in file.iter().zip(read).enumerate() {
                compare(&below(&place.to_string()), file, read, found);
            }
        }
        _ if file == read => {}
        _ => found.push(format!("{path} is written {file}, receipts write it {read}")),
    }
}

/// What a receipt says otherwise than the evidence of its upload's end; the report is compared by its digest.
pub fn differences(receipt: &Receipt, evidence: &Verified) -> Vec<String> {
    let event = &evidence.event;
    if evidence.private.is_none() {
        return vec!["the proof does not show the private part of the entry".into()];
    }
    let verdict = match event.kind {
        Kind::UploadAccepted => "accepted",
        Kind::UploadRejected => "rejected",
        other => return vec![format!("the proof is of {}, not of an acceptance or rejection", other.as_str())],
    };
    let report = receipt.report_digest().map(|digest| json!(digest)).unwrap_or_default();
    let logged = |name: &str| event.detail.get(name).cloned().unwrap_or_default();
    let is_empty = |value: &Value| value.is_null() || *value == json!([]) || *value == json!(false);
    let pairs = [
        ("verdict", json!(receipt.verdict), json!(verdict)),
        ("upload", json!(receipt.upload), json!(event.upload)),
        ("organisation", json!(receipt.organisation), json!(event.org)),
        ("dataset", json!(receipt.dataset), json!(event.dataset)),
        ("time", json!(receipt.time), json!(event.at)),
        ("gateway", json!(receipt.gateway), logged("gateway")),
        ("name", json!(receipt.name), logged("name")),
        ("size", json!(receipt.size), logged("size")),
        ("sha256", json!(receipt.sha256), logged("sha256")),
        ("account", json!(receipt.account), logged("account")),
        ("fingerprint", json!(receipt.fingerprint), logged("fingerprint")),
        ("reasons", json!(receipt.reasons), logged("reasons")),
        ("supersedes", json!(receipt.supersedes), logged("supersedes")),
        ("scan", json!(receipt.scan), logged("scan")),
        ("quarantined", json!(receipt.quarantined), logged("quarantined")),
        ("report", report, logged("report")),
    ];
    let differs = |(name, said, logged): &(&str, Value, Value)| {
        (said != logged && !(is_empty(said) && is_empty(logged)))
            .then(|| format!("{name} is {said}, the log has {logged}"))
    };
    pairs.iter().filter_map(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::testing::{Desk, at};

    #[tokio::test]
    async fn a_receipt_says_nothing_but_what_was_read_of_it() {
        let (mut receipt, _) = Desk::new().accept("a.csv", at(1)).await;
        receipt.report.flags.push(crate::check::Group {
            kind: crate::check::ErrorType::ForbiddenValue,
            rule: "formula".into(),
            field: None,
            column: None,
            count: 1,
            rows: vec![2],
            message: "begins like a formula".into(),
        });
        let good = serde_json::to_value(&receipt).unwrap();
        assert_eq!(strange(&good, &receipt), Vec::<String>::new());
        let bent = |path: &str, value: Value| {
            let mut bent = good.clone();
            let (parent, name) = path.rsplit_once('/').unwrap();
            bent.pointer_mut(parent).unwrap()[name] = value;
            strange(&bent, &receipt)
        };
        for (path, value, word) in [
            ("/loaded", json!("all rows, confirmed"), "loaded is added"),
            ("/report/note", json!(1), "report.note is added"),
            ("/report/flags/0/value", json!("x"), "report.flags.0.value is added"),
            ("/time", json!("2023-11-14T23:13:21+01:00"), "time is written"),
        ] {
            let found = bent(path, value);
            assert!(found.len() == 1 && found[0].starts_with(word), "{path}: {found:?}");
        }
        let mut fewer = good.clone();
        fewer.as_object_mut().unwrap().remove("scan");
        assert_eq!(strange(&fewer, &receipt), ["scan is left out"]);
    }
}
