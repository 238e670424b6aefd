//! `[audit]`: what signs the log, and where copies of it go.
//!
//! Reads; the private key itself is for [`super::signing_key`], and only whoever writes the log needs it. Called by
//! [`super::server`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::model::{AuditSettings, EventCopy, Witness};
use super::section::{At, Section, Wrong};
use super::server::{path, secret_file};
use super::value::{parsed, text};
use crate::audit::VerifierKey;
use crate::audit::note::{KeyKind, check_name};

/// A log is witnessed by a few: each further one is asked at every checkpoint.
const WITNESSES_MAX: usize = 16;
/// Keys that signed before a rotation; one a year for a working life.
const FORMER_KEYS_MAX: usize = 64;
const URL_MAX: usize = 2000;

/// `server`: its name, for the log's default name. `state`: where the ledger lies, which nobody else may read.
pub(super) fn read(mut section: Section<'_>, base: &Path, server: &str, state: &Path) -> AuditSettings {
    let example = "key = \"../keys/audit/signing.key\" (`nightsafe audit key --new FILE` makes the key)";
    let key = section.required("key", example, |value| secret_file(value, base));
    let origin = section.optional("origin", origin);
    let fallback = || if server.is_empty() { String::new() } else { format!("{server}/audit") };
    let origin = origin.map_or_else(fallback, |at| at.value);
    let former_keys = former_keys(&mut section, &origin);
    let tiles = section.optional("tiles", |value| path(value, base));
    if let Some(at) = tiles.as_ref().filter(|at| !state.as_os_str().is_empty() && at.value.starts_with(state)) {
        section.warning(
            Some(at.span.clone()),
            "tiles lies inside state, which nobody but the gateway can read: nobody could fetch what is published",
            "give tiles a folder of its own, which a web server may read",
        );
    }
    let syslog = section.optional("syslog", copy).map(|at| at.value);
    let witnesses = witnesses(&mut section);
    section.finish();
    let or_empty = |at: Option<At<PathBuf>>| at.map(|at| at.value).unwrap_or_default();
    AuditSettings { key: or_empty(key), origin, former_keys, tiles: tiles.map(|at| at.value), syslog, witnesses }
}

/// A log's name is the first line of its checkpoints and the name of its key (c2sp.org/tlog-checkpoint).
fn origin(value: &DeValue<'_>) -> Result<String, Wrong> {
    let name = text(value)?;
    check_name(name)?;
    Ok(name.to_owned())
}

fn former_keys(section: &mut Section<'_>, origin: &str) -> Vec<VerifierKey> {
    let Some(list) = section.list("former_keys", |value| verifier_key(value, KeyKind::Ed25519)) else {
        return Vec::new();
    };
    if list.value.len() > FORMER_KEYS_MAX {
        let message = format!("former_keys has more than {FORMER_KEYS_MAX} keys");
        section.error(Some(list.span), message, "leave out those whose checkpoints nobody keeps any more");
        return Vec::new();
    }
    for at in &list.value {
        if at.value.name() != origin {
            section.error(
                Some(at.span.clone()),
                format!("this key signed for {:?}, and this log is {origin:?}", at.value.name()),
                "a log keeps its name when its key changes: set origin to the name in the keys",
            );
        }
    }
    list.value.into_iter().map(|at| at.value).collect()
}

fn verifier_key(value: &DeValue<'_>, wanted: KeyKind) -> Result<VerifierKey, Wrong> {
    let key: VerifierKey = parsed(value)?;
    if key.kind() == wanted {
        return Ok(key);
    }
    Err(match wanted {
        KeyKind::Ed25519 => Wrong::new("this is a witness's key", "write a verifier key of this log's own"),
        KeyKind::Cosignature => Wrong::new(
            "this is a log's key, not a witness's",
            "write the witness's verifier key for cosignatures (cosignature/v1, type 4)",
        ),
    })
}

fn copy(value: &DeValue<'_>) -> Result<EventCopy, Wrong> {
    let help = "write \"journal\", or a datagram socket such as \"unix:/dev/log\"";
    match text(value)? {
        "journal" => Ok(EventCopy::Journal),
        text => match text.strip_prefix("unix:") {
            Some(socket) if socket.starts_with('/') && !socket.chars().any(char::is_control) => {
                Ok(EventCopy::Socket(PathBuf::from(socket)))
            }
            _ => Err(Wrong::new(format!("{text:?} is not where events can be copied to"), help)),
        },
    }
}

fn witnesses(section: &mut Section<'_>) -> Vec<Witness> {
    let tables = section.tables("witnesses");
    if let (Some(span), true) = (section.stands("witnesses"), tables.len() > WITNESSES_MAX) {
        let message = format!("there are more than {WITNESSES_MAX} witnesses");
        section.error(Some(span), message, "keep those that you mean to trust");
    }
    let mut seen = BTreeSet::new();
    let mut witnesses = Vec::new();
    for mut table in tables {
        let url = table.required("url", "url = \"https://witness.example.org\"", url);
        let key = table.required("key", "key = \"witness.example.org+...+...\"", |value| {
            verifier_key(value, KeyKind::Cosignature)
        });
        if let Some(at) = key.as_ref().filter(|at| !seen.insert(at.value.to_string())) {
            table.error(Some(at.span.clone()), "the same witness twice", "keep one of the two");
        }
        table.finish();
        if let (Some(url), Some(key)) = (url, key) {
            witnesses.push(Witness { url: url.value, key: key.value });
        }
    }
    witnesses
}

/// A submission prefix (c2sp.org/tlog-witness): `/add-checkpoint` is put behind it.
fn url(value: &DeValue<'_>) -> Result<String, Wrong> {
    let url = text(value)?.trim_end_matches('/');
    let help = "write the witness's submission prefix, such as \"https://witness.example.org\"";
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}');
    if host.is_empty() || host.contains('@') || url.len() > URL_MAX || !url.chars().all(plain) {
        return Err(Wrong::new(format!("{url:?} is not a witness's address"), help));
    }
    if url.contains(['?', '#']) {
        return Err(Wrong::new("a submission prefix has no query and no fragment", help));
    }
    Ok(url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::diagnostic::Findings;
    use super::super::section::document;
    use super::super::source::Source;
    use super::*;
    use crate::audit::Signer;

    fn keys() -> (String, String) {
        let (signer, _) = Signer::generate("sftp.example.org/audit").unwrap();
        // c2sp.org/signed-note, "Signatures": the id is the beginning of SHA-256(name, newline, type, key).
        let (name, key) = ("witness.example.org", [&[4], &[9; 32][..]].concat());
        let id = ring::digest::digest(&ring::digest::SHA256, &[name.as_bytes(), b"\n", &key].concat());
        let (id, key) = (data_encoding::HEXLOWER.encode(&id.as_ref()[..4]), data_encoding::BASE64.encode(&key));
        (signer.verifier_key().to_string(), format!("{name}+{id}+{key}"))
    }

    fn table(toml: &str) -> Result<(AuditSettings, Vec<String>), Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nightsafe.toml");
        std::fs::write(&file, toml).unwrap();
        let findings = Findings::default();
        let source = Source::open(&file, &findings).unwrap();
        let document = document(&source, &findings).unwrap();
        let mut root = Section::root(&source, &findings, &document);
        let read = read(root.table("audit"), Path::new("/etc/x"), "sftp.example.org", Path::new("/var/lib/x"));
        let (errors, warnings) = findings.sorted(&file);
        let told = |d: &super::super::Diagnostic| format!("{}:{} {}: {}", d.line, d.column, d.message, d.help);
        match errors.is_empty() {
            true => Ok((read, warnings.iter().map(|warning| told(&warning.0)).collect())),
            false => Err(errors.iter().map(told).collect()),
        }
    }

    #[test]
    fn a_key_alone_is_enough_and_names_the_log_after_the_server() {
        let (read, warnings) = table("[audit]\nkey = \"../keys/audit/signing.key\"\n").unwrap();
        assert_eq!(
            (read.key.to_str(), read.origin.as_str()),
            (Some("/etc/keys/audit/signing.key"), "sftp.example.org/audit")
        );
        assert!(
            read.former_keys.is_empty() && read.tiles.is_none() && read.syslog.is_none() && read.witnesses.is_empty()
        );
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn every_key_is_read() {
        let (log, witness) = keys();
        let (read, _) = table(&format!(
            "[audit]\nkey = \"/k\"\norigin = \"sftp.example.org/audit\"\nformer_keys = [\"{log}\"]\ntiles = \"/srv/tiles\"\n\
             syslog = \"unix:/dev/log\"\n[[audit.witnesses]]\nurl = \"https://witness.example.org/w1/\"\nkey = \"{witness}\"\n"
        ))
        .unwrap();
        assert_eq!(read.former_keys[0].to_string(), log);
        assert_eq!(read.tiles, Some("/srv/tiles".into()));
        assert_eq!(read.syslog, Some(EventCopy::Socket("/dev/log".into())));
        assert_eq!(
            (read.witnesses[0].url.as_str(), read.witnesses[0].key.to_string()),
            ("https://witness.example.org/w1", witness)
        );
        let (read, _) = table("[audit]\nkey = \"/k\"\nsyslog = \"journal\"\n").unwrap();
        assert_eq!(read.syslog, Some(EventCopy::Journal));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_what_to_write() {
        let (log, witness) = keys();
        let other = Signer::generate("other.example/audit").unwrap().0.verifier_key().to_string();
        for (toml, place, word) in [
            (String::new(), "", "audit key --new"),
            ("[audit]\n".into(), "1:1 key is missing", "signing.key"),
            ("[audit]\nkey = \"/k\"\norigin = \"a b\"\n".into(), "3:10", "no spaces"),
            ("[audit]\nkey = \"/k\"\nformer_keys = [\"x\"]\n".into(), "3:16", "NAME+HASH+KEY"),
            (format!("[audit]\nkey = \"/k\"\nformer_keys = [\"{other}\"]\n"), "3:16", "other.example/audit"),
            (format!("[audit]\nkey = \"/k\"\nformer_keys = [\"{witness}\"]\n"), "3:16", "witness's key"),
            ("[audit]\nkey = \"/k\"\nsyslog = \"udp:1.2.3.4\"\n".into(), "3:10", "unix:/dev/log"),
            (
                format!("[audit]\nkey = \"/k\"\n[[audit.witnesses]]\nurl = \"https://w\"\nkey = \"{log}\"\n"),
                "5:7",
                "a log's key",
            ),
            (
                format!("[audit]\nkey = \"/k\"\n[[audit.witnesses]]\nurl = \"ftp://w\"\nkey = \"{witness}\"\n"),
                "4:7",
                "submission prefix",
            ),
            ("[audit]\nkey = \"/k\"\norigon = \"x\"\n".into(), "3:1 unknown key", "origin"),
        ]
        .map(|(toml, place, word): (String, _, _)| (toml, place, word))
        {
            let told = table(&toml).unwrap_err().join("\n");
            assert!(told.contains(place) && told.contains(word), "{toml}: {told}");
        }
    }

    #[test]
    fn tiles_where_nobody_can_fetch_them_are_warned_of() {
        let (_, warnings) = table("[audit]\nkey = \"/k\"\ntiles = \"/var/lib/x/tiles\"\n").unwrap();
        assert!(warnings[0].starts_with("3:9") && warnings[0].contains("inside state"), "{warnings:?}");
    }
}
