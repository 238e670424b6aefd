//! An event as syslog (RFC 5424) and the journal's native protocol take it.
//!
//! Pure. Whatever stands in an event, it cannot forge a second one: a syslog message is one line of ASCII, and the journal is
//! told how long each value is. Called by `copy`.

use std::fmt::Write as _;

use crate::audit::{Kind, leaf};
use crate::ledger::Logged;

/// Facility 13, "log audit" (RFC 5424, table 1).
const FACILITY: u8 = 13;
/// Says in the journal that an entry is an event of the audit log (systemd.journal-fields(7)).
pub(super) const MESSAGE_ID: &str = "a75a748afca380e2a1dee14e41da51b8";
const APP: &str = "nightsafe";

/// How grave an event is (RFC 5424, table 2).
fn severity(kind: Kind) -> u8 {
    match kind {
        Kind::RecoveryMissing | Kind::LogContradicted => 3,
        Kind::RecoveryRemoved
        | Kind::ConfigRefused
        | Kind::SessionRefused
        | Kind::RequestRefused
        | Kind::UploadRejected
        | Kind::UploadAborted
        | Kind::DeliveryReturned
        | Kind::DeliveryExpired
        | Kind::DeliveryDead => 4,
        // Notice: normal, and of significance.
        _ => 5,
    }
}

/// The event as JSON in ASCII, on one line: as `nightsafe audit list --json` prints it, but for escapes.
fn json(logged: &Logged) -> String {
    let text = serde_json::to_string(logged).unwrap_or_default();
    let mut ascii = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' '..='~' => ascii.push(c),
            // JSON has escaped what is below a space.
            _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                let _ = write!(ascii, "\\u{unit:04x}");
            }),
        }
    }
    ascii
}

/// One message for syslog. Without `whole`, the event's body is left out: the ledger has it.
pub(super) fn syslog(logged: &Logged, host: &str, process: u32, whole: bool) -> Vec<u8> {
    let (kind, at) = (logged.event.kind, leaf::moment(logged.event.at));
    let priority = FACILITY * 8 + severity(kind);
    // The standard field ends at 2^31 - 1 (RFC 5424, section 7.3.1).
    let sequence = match i32::try_from(logged.sequence) {
        Ok(sequence) => format!("[meta sequenceId=\"{sequence}\"]"),
        Err(_) => "-".into(),
    };
    let body = if whole { json(logged) } else { format!("{{\"sequence\":{}}}", logged.sequence) };
    format!("<{priority}>1 {at} {host} {APP} {process} {kind} {sequence} {body}", kind = kind.as_str()).into_bytes()
}

/// One entry for the journal (systemd, "Native Journal Protocol"). Without `whole`, the event's body is left out.
pub(super) fn journal(logged: &Logged, whole: bool) -> Vec<u8> {
    let event = &logged.event;
    let mut entry = Vec::new();
    let mut field = |name: &str, value: Option<String>| {
        let Some(value) = value else { return };
        entry.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            entry.push(b'\n');
            entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            entry.push(b'=');
        }
        entry.extend_from_slice(value.as_bytes());
        entry.push(b'\n');
    };
    let actor = &event.actor;
    let text = |value: Option<&dyn std::fmt::Display>| value.map(|value| value.to_string());
    field("MESSAGE", Some(line(logged)));
    field("MESSAGE_ID", Some(MESSAGE_ID.into()));
    field("PRIORITY", Some(severity(event.kind).to_string()));
    field("SYSLOG_FACILITY", Some(FACILITY.to_string()));
    field("SYSLOG_IDENTIFIER", Some(APP.into()));
    field("NIGHTSAFE_SEQUENCE", Some(logged.sequence.to_string()));
    field("NIGHTSAFE_AT", Some(leaf::moment(event.at)));
    field("NIGHTSAFE_KIND", Some(event.kind.as_str().into()));
    field("NIGHTSAFE_ORG", text(event.org.as_ref().map(|org| org as _)));
    field("NIGHTSAFE_DATASET", text(event.dataset.as_ref().map(|dataset| dataset as _)));
    field("NIGHTSAFE_UPLOAD", text(event.upload.as_ref().map(|id| id as _)));
    field("NIGHTSAFE_DELIVERY", text(event.delivery.as_ref().map(|id| id as _)));
    field("NIGHTSAFE_ACCOUNT", Some(actor.account.clone()));
    field("NIGHTSAFE_ADDRESS", text(actor.address.as_ref().map(|address| address as _)));
    field("NIGHTSAFE_SESSION", text(actor.session.as_ref().map(|id| id as _)));
    field("NIGHTSAFE_FINGERPRINT", text(actor.fingerprint.as_ref().map(|key| key as _)));
    field("NIGHTSAFE_CLIENT", actor.client.clone());
    if whole {
        field("NIGHTSAFE_EVENT", Some(json(logged)));
    }
    entry
}

/// For people who read the journal.
fn line(logged: &Logged) -> String {
    let event = &logged.event;
    let mut line = format!("audit {}: {} by {}", logged.sequence, event.kind.as_str(), event.actor.account);
    let mut about = |what: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = write!(line, ", {what} {value}");
        }
    };
    about("org", event.org.as_ref().map(ToString::to_string));
    about("dataset", event.dataset.as_ref().map(ToString::to_string));
    about("upload", event.upload.map(|id| id.to_string()));
    about("delivery", event.delivery.map(|id| id.to_string()));
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Event;
    use crate::types::{Actor, Timestamp};

    fn logged() -> Logged {
        let actor =
            Actor { account: "harbour-nightly".into(), client: Some("x\nPRIORITY=0".into()), ..Actor::gateway() };
        let event =
            Event::new(Timestamp::from_microsecond(1_700_000_000_250_000).unwrap(), Kind::UploadRejected, actor)
                .org(&"harbour".parse().unwrap())
                .with("name", "März\n<14>1 forged 😀.csv");
        Logged { sequence: 17, event }
    }

    #[test]
    fn a_syslog_message_is_one_line_of_ascii_that_nothing_in_it_can_forge() {
        let message = String::from_utf8(syslog(&logged(), "sftp.example.org", 42, true)).unwrap();
        let head = "<108>1 2023-11-14T22:13:20.250000Z sftp.example.org nightsafe 42 upload.rejected [meta sequenceId=\"17\"] ";
        let body = message.strip_prefix(head).unwrap_or_else(|| panic!("{message}"));
        assert!(message.chars().all(|c| (' '..='~').contains(&c)), "{message}");
        let value: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(value["sequence"], 17);
        assert_eq!(value["detail"]["name"], "März\n<14>1 forged 😀.csv");
        let short = String::from_utf8(syslog(&logged(), "sftp.example.org", 42, false)).unwrap();
        assert_eq!(short, format!("{head}{{\"sequence\":17}}"));
        let late = Logged { sequence: 1 << 31, ..logged() };
        assert!(String::from_utf8(syslog(&late, "h", 42, true)).unwrap().contains(" upload.rejected - {"));
    }

    /// Reads an entry as journald does.
    pub fn read(mut entry: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        while !entry.is_empty() {
            let end = entry.iter().position(|b| matches!(b, b'=' | b'\n')).unwrap();
            let name = String::from_utf8(entry[..end].to_vec()).unwrap();
            let (value, rest) = match entry[end] {
                b'=' => {
                    let rest = &entry[end + 1..];
                    let end = rest.iter().position(|b| *b == b'\n').unwrap();
                    (&rest[..end], &rest[end..])
                }
                _ => {
                    let (length, rest) = entry[end + 1..].split_first_chunk::<8>().unwrap();
                    rest.split_at(u64::from_le_bytes(*length) as usize)
                }
            };
            fields.push((name, String::from_utf8(value.to_vec()).unwrap()));
            entry = rest.strip_prefix(b"\n").unwrap();
        }
        fields
    }

    #[test]
    fn a_journal_entry_has_a_field_for_each_fact_and_nothing_can_add_one() {
        let fields = read(&journal(&logged(), true));
        let value = |name: &str| {
            let found: Vec<_> =
                fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str()).collect();
            assert!(found.len() <= 1, "{name} twice");
            found.first().copied()
        };
        assert_eq!(value("MESSAGE"), Some("audit 17: upload.rejected by harbour-nightly, org harbour"));
        assert_eq!((value("MESSAGE_ID"), value("PRIORITY")), (Some(MESSAGE_ID), Some("4")));
        assert_eq!((value("NIGHTSAFE_SEQUENCE"), value("NIGHTSAFE_KIND")), (Some("17"), Some("upload.rejected")));
        assert_eq!((value("NIGHTSAFE_ORG"), value("NIGHTSAFE_UPLOAD")), (Some("harbour"), None));
        assert_eq!(value("NIGHTSAFE_CLIENT"), Some("x\nPRIORITY=0"));
        assert!(value("NIGHTSAFE_EVENT").unwrap().contains("\\u00e4"));
        assert!(!read(&journal(&logged(), false)).iter().any(|(name, _)| name == "NIGHTSAFE_EVENT"));
    }
}
