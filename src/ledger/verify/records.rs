//! What the ledger records of an upload, a delivery and an object, against the event that recorded it.
//!
//! Looks each record up when its event is read, and compares field by field, as the values are spelt: no JSON is built
//! unless something differs. What has a record without an event is found by counting (`facts`). Called by `log`.

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::Result;
use super::{Finding, found};
use crate::audit::Kind;
use crate::audit::leaf::Fields;
use crate::types::{Sha256, Timestamp};

const ENDS: &str = "every end in the log is an upload, as it was recorded";
const QUEUED: &str = "every accepted upload has one delivery and one object";
const OF_UPLOADS: &str = "every delivery is of an accepted upload, every object of one that is kept";
const ACKNOWLEDGED: &str = "every acknowledgement in the log is of a delivery that is loaded";
pub(super) const REMOVED: &str = "every removal of an object is in the log once";

/// Columns 0 to 20 are the upload's, 21 to 24 its delivery's, 25 to 27 its object's.
const UPLOAD: &str =
    "SELECT u.number, u.verdict, u.org, u.dataset, u.time, u.size, u.sha256, u.sealed_size, u.supersedes,
         u.quarantined, u.gateway, u.account, u.fingerprint, u.place, u.name, u.reasons, u.report, u.scan, u.restricted,
         u.md5, u.sha1, d.number, d.id, d.org, d.dataset, o.upload, o.org, o.sealed_size
     FROM uploads u LEFT JOIN deliveries d ON d.upload = u.id LEFT JOIN objects o ON o.upload = u.id WHERE u.id = ?";
const DELIVERY: &str = "SELECT upload, loaded, holder FROM deliveries WHERE id = ?";
const OBJECT: &str = "SELECT removed FROM objects WHERE upload = ?";

/// An event as it is compared: the leaf's text and fields, and the private part unless it was erased.
pub(super) struct Told<'a> {
    pub fields: &'a Fields<'a>,
    pub leaf: &'a str,
    pub body: Option<&'a str>,
}

/// The places that an upload's end has in the order of recording.
#[derive(Clone, Copy)]
pub(super) struct Numbers {
    pub event: u64,
    pub upload: i64,
    pub delivery: Option<i64>,
}

pub(super) struct Records<'c> {
    uploads: CachedStatement<'c>,
    deliveries: CachedStatement<'c>,
    objects: CachedStatement<'c>,
    pub findings: Vec<Finding>,
    pub numbers: Vec<Numbers>,
}

/// What a leaf says of an upload's end, besides what all leaves say.
#[derive(Default, Deserialize)]
struct End<'a> {
    #[serde(borrow)]
    size: Option<&'a RawValue>,
    #[serde(borrow)]
    sha256: Option<&'a RawValue>,
    #[serde(borrow)]
    sealed_size: Option<&'a RawValue>,
    #[serde(borrow)]
    supersedes: Option<&'a RawValue>,
    #[serde(borrow)]
    quarantined: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Hidden<'a> {
    #[serde(borrow, default)]
    detail: Detail<'a>,
    #[serde(borrow, default)]
    actor: Who<'a>,
}

#[derive(Default, Deserialize)]
struct Who<'a> {
    #[serde(borrow)]
    account: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Detail<'a> {
    #[serde(borrow)]
    gateway: Option<&'a RawValue>,
    #[serde(borrow)]
    account: Option<&'a RawValue>,
    #[serde(borrow)]
    fingerprint: Option<&'a RawValue>,
    #[serde(borrow)]
    place: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    reasons: Option<&'a RawValue>,
    #[serde(borrow)]
    scan: Option<&'a RawValue>,
    #[serde(borrow)]
    report: Option<&'a RawValue>,
    #[serde(borrow)]
    restricted_rows: Option<&'a RawValue>,
    #[serde(borrow)]
    md5: Option<&'a RawValue>,
    #[serde(borrow)]
    sha1: Option<&'a RawValue>,
}

impl<'c> Records<'c> {
    pub fn new(connection: &'c Connection) -> Result<Self> {
        Ok(Self {
            uploads: connection.prepare_cached(UPLOAD)?,
            deliveries: connection.prepare_cached(DELIVERY)?,
            objects: connection.prepare_cached(OBJECT)?,
            findings: Vec::new(),
            numbers: Vec::new(),
        })
    }

    /// Compares the record that this event made, if it is of a kind that makes one.
    pub fn compare(&mut self, told: &Told<'_>) -> Result<()> {
        let kind = told.fields.kind;
        if kind == Kind::UploadAccepted.as_str() || kind == Kind::UploadRejected.as_str() {
            self.end(told)
        } else if kind == Kind::DeliveryAcknowledged.as_str() {
            self.acknowledged(told)
        } else if kind == Kind::ObjectRemoved.as_str() {
            self.removed(told)
        } else {
            Ok(())
        }
    }

    fn end(&mut self, told: &Told<'_>) -> Result<()> {
        let (event, upload) = (told.fields.sequence, told.fields.upload.unwrap_or_default());
        let mut rows = self.uploads.query([upload])?;
        let Some(row) = rows.next()? else {
            self.findings.push(found(ENDS, format!("event {event}: its upload is not recorded"), Some(event)));
            return Ok(());
        };
        self.numbers.push(Numbers { event, upload: row.get(0)?, delivery: row.get(21)? });
        let mut compared = Compared::default();
        let accepted = told.fields.kind == Kind::UploadAccepted.as_str();
        compared.same("kind", text(row, 1)?, Some(if accepted { "accepted" } else { "rejected" }));
        compared.same("organisation", text(row, 2)?, told.fields.org);
        compared.same("dataset", text(row, 3)?, told.fields.dataset);
        let time = moment(row.get(4)?);
        compared.same("time", time.as_deref(), Some(told.fields.at));
        // No JSON, or another than this: it then differs from the record in each field.
        let leaf: End<'_> = serde_json::from_str(told.leaf).unwrap_or_default();
        compared.number("size", row.get(5)?, leaf.size);
        compared.text("SHA-256", text(row, 6)?, leaf.sha256);
        compared.number("sealed size", row.get(7)?, leaf.sealed_size);
        compared.text("earlier upload", text(row, 8)?, leaf.supersedes);
        let quarantined = row.get::<_, i64>(9)? != 0;
        compared.same("quarantine", Some(word(quarantined)), Some(leaf.quarantined.map_or("false", RawValue::get)));
        // What was erased is compared with nothing.
        if let Some(body) = told.body {
            let Hidden { detail, .. } = serde_json::from_str(body).unwrap_or_default();
            compared.text("gateway", text(row, 10)?, detail.gateway);
            compared.text("account", text(row, 11)?, detail.account);
            compared.text("fingerprint", text(row, 12)?, detail.fingerprint);
            compared.text("place", text(row, 13)?, detail.place);
            compared.text("name", text(row, 14)?, detail.name);
            compared.value("reasons", text(row, 15)?, detail.reasons);
            compared.digest("report's digest", Some(text(row, 16)?.unwrap_or_default()), detail.report);
            compared.value("scan", text(row, 17)?, detail.scan);
            compared.digest("restricted rows' digest", text(row, 18)?, detail.restricted_rows);
            compared.text("MD5", text(row, 19)?, detail.md5);
            compared.text("SHA-1", text(row, 20)?, detail.sha1);
        }
        let delivery = text(row, 22)?;
        if accepted && delivery.is_some() {
            compared.same("delivery", delivery, told.fields.delivery);
        }
        for (name, recorded, said) in compared.0 {
            let what = format!("event {event} (upload {upload}): its {name} is {said}, and is recorded as {recorded}");
            self.findings.push(found(ENDS, what, Some(event)));
        }
        match delivery {
            None if accepted => {
                self.findings.push(found(QUEUED, format!("upload {upload} has no delivery"), Some(event)));
            }
            Some(delivery) if (text(row, 23)?, text(row, 24)?) != (text(row, 2)?, text(row, 3)?) => {
                self.findings.push(found(OF_UPLOADS, format!("delivery {delivery}"), Some(event)));
            }
            _ => {}
        }
        match text(row, 25)? {
            None if accepted => {
                self.findings.push(found(QUEUED, format!("upload {upload} has no object"), Some(event)));
            }
            Some(_) if text(row, 26)? != text(row, 2)? || row.get::<_, i64>(27)? != row.get::<_, i64>(7)? => {
                self.findings.push(found(OF_UPLOADS, format!("object {upload}"), Some(event)));
            }
            _ => {}
        }
        Ok(())
    }

    fn acknowledged(&mut self, told: &Told<'_>) -> Result<()> {
        let (event, delivery) = (told.fields.sequence, told.fields.delivery.unwrap_or_default());
        let mut rows = self.deliveries.query([delivery])?;
        let Some(row) = rows.next()? else {
            let what = format!("event {event}: the delivery {delivery} is not recorded");
            self.findings.push(found(ACKNOWLEDGED, what, Some(event)));
            return Ok(());
        };
        let mut compared = Compared::default();
        compared.same("upload", text(row, 0)?, told.fields.upload);
        let loaded = row.get::<_, Option<i64>>(1)?.and_then(moment);
        compared.same("time", loaded.as_deref(), Some(told.fields.at));
        if let Some(body) = told.body {
            let Hidden { actor, .. } = serde_json::from_str(body).unwrap_or_default();
            compared.text("holder", text(row, 2)?, actor.account);
        }
        for (name, recorded, said) in compared.0 {
            let what =
                format!("event {event} (delivery {delivery}): its {name} is {said}, and is recorded as {recorded}");
            self.findings.push(found(ACKNOWLEDGED, what, Some(event)));
        }
        Ok(())
    }

    fn removed(&mut self, told: &Told<'_>) -> Result<()> {
        let (event, upload) = (told.fields.sequence, told.fields.upload.unwrap_or_default());
        let removed: Option<Option<i64>> = self.objects.query_row([upload], |row| row.get(0)).optional()?;
        let what = match removed {
            None => "is not recorded".to_owned(),
            Some(None) => "is recorded as one that is kept".to_owned(),
            Some(Some(at)) => match moment(at) {
                Some(at) if at == told.fields.at => return Ok(()),
                at => format!("is recorded as removed at {}", at.as_deref().unwrap_or("no time")),
            },
        };
        let what = format!("event {event} tells of the removal of object {upload}, and it {what}");
        self.findings.push(found(REMOVED, what, Some(event)));
        Ok(())
    }
}

/// Fields that differ: name, value in the record, value in the log.
#[derive(Default)]
struct Compared(Vec<(&'static str, String, String)>);

impl Compared {
    fn same(&mut self, name: &'static str, recorded: Option<&str>, said: Option<&str>) {
        if recorded != said {
            let shown = |value: Option<&str>| value.unwrap_or("none").to_owned();
            self.0.push((name, shown(recorded), shown(said)));
        }
    }

    fn text(&mut self, name: &'static str, recorded: Option<&str>, said: Option<&RawValue>) {
        let inside = said.and_then(|said| said.get().strip_prefix('"')?.strip_suffix('"'));
        // A text without a backslash stands for itself.
        if inside == recorded && !inside.is_some_and(|inside| inside.contains('\\')) {
            return;
        }
        let read = said.map(|said| match serde_json::from_str(said.get()) {
            Ok(Value::String(text)) => text,
            _ => said.get().to_owned(),
        });
        self.same(name, recorded, read.as_deref());
    }

    fn number(&mut self, name: &'static str, recorded: i64, said: Option<&RawValue>) {
        // A number beyond what canonical JSON holds is told as text.
        let said = said.map(|said| said.get().trim_matches('"'));
        if said.and_then(|said| said.parse().ok()) != Some(recorded) {
            self.same(name, Some(&recorded.to_string()), said);
        }
    }

    /// JSON, whose spelling may differ.
    fn value(&mut self, name: &'static str, recorded: Option<&str>, said: Option<&RawValue>) {
        if recorded == said.map(RawValue::get) {
            return;
        }
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        let shown = |value: Option<Value>| value.filter(|value| !value.is_null()).map(|value| value.to_string());
        let (recorded, said) = (shown(recorded.map(read)), shown(said.map(RawValue::get).map(read)));
        self.same(name, recorded.as_deref(), said.as_deref());
    }

    /// A text that is told by its SHA-256.
    fn digest(&mut self, name: &'static str, recorded: Option<&str>, said: Option<&RawValue>) {
        let digest = recorded.map(|text| Sha256::of(text.as_bytes()).to_string());
        self.text(name, digest.as_deref(), said);
    }
}

/// Text that somebody made no UTF-8 of is another than any that is told.
fn text<'r>(row: &'r Row<'_>, column: usize) -> Result<Option<&'r str>> {
    Ok(row.get_ref(column)?.as_str_or_null().unwrap_or(Some("\u{fffd}")))
}

fn word(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

fn moment(micros: i64) -> Option<String> {
    Timestamp::from_microsecond(micros).ok().map(crate::audit::leaf::moment)
}
