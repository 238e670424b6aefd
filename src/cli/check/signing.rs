//! What `check` says of the audit log: its name, its key, and where its copies go.
//!
//! Looks at the key's file, and shows of it the verifier key only. Called by `check`.

use serde_json::{Value, json};

use crate::config::{AuditSettings, Config, Diagnostic, EventCopy, Warning, signing_key, signing_key_mode};

/// What keeps the log from being signed, if something does.
pub(super) fn warning(config: &Config) -> Option<Warning> {
    let audit = &config.audit;
    let warn = |message: String, help: String| Some(Warning(Diagnostic::of_file(&config.file, message, help)));
    if let Some(mode) = signing_key_mode(audit) {
        let file = audit.key.display();
        return warn(
            format!("the audit log's signing key {file} can be read by others (mode {mode:04o})"),
            format!("chmod 600 {file}; if somebody else may have read it, make a new one (nightsafe audit key --new)"),
        );
    }
    match signing_key(audit) {
        // A credential is there while the service runs only, and a key may be readable for the service alone.
        Err(error) if error.missing && !error.credential => warn(
            format!("the audit log's signing key {} is not there: serve will need it", audit.key.display()),
            format!("nightsafe audit key --new {}", audit.key.display()),
        ),
        Err(error) if !error.missing && !error.forbidden => {
            warn(error.to_string(), "until then the gateway does not start".into())
        }
        _ => None,
    }
}

pub(super) fn json(audit: &AuditSettings) -> Value {
    let witnesses = audit.witnesses.iter().map(|witness| json!({"name": witness.key.name(), "url": witness.url}));
    json!({
        "origin": audit.origin,
        "key": audit.key.to_string_lossy(),
        "present": audit.key.exists(),
        "verifier_key": signing_key(audit).ok().map(|signer| signer.verifier_key().to_string()),
        "former_keys": audit.former_keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "tiles": audit.tiles.as_ref().map(|folder| folder.to_string_lossy()),
        "syslog": audit.syslog.as_ref().map(|copy| match copy {
            EventCopy::Journal => "journal".to_owned(),
            EventCopy::Socket(path) => format!("unix:{}", path.display()),
        }),
        "witnesses": witnesses.collect::<Vec<_>>(),
    })
}

/// The same for a person.
pub(super) fn lines(it: &Value) -> Vec<String> {
    let text = |name: &str| it[name].as_str().unwrap_or_default();
    let missing = if it["present"] == true { "" } else { " (not there yet: serve will need it)" };
    let mut lines = vec![format!("audit log {}, signed with {}{missing}", text("origin"), text("key"))];
    lines.extend(it["verifier_key"].as_str().map(|key| format!("verifier key {key}")));
    match it["former_keys"].as_array().map_or(0, Vec::len) {
        0 => {}
        1 => lines.push("1 former key".into()),
        more => lines.push(format!("{more} former keys")),
    }
    lines.extend(it["tiles"].as_str().map(|folder| format!("published as tiles in {folder}")));
    lines.extend(it["syslog"].as_str().map(|copy| format!("each event is copied to {copy}")));
    for witness in it["witnesses"].as_array().into_iter().flatten() {
        let (name, url) = (witness["name"].as_str().unwrap_or_default(), witness["url"].as_str().unwrap_or_default());
        lines.push(format!("witnessed by {name} at {url}"));
    }
    lines
}
