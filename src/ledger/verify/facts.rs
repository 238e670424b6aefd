//! The facts that the ledger records, against the events that tell them, and against each other.

use rusqlite::{Connection, Row};
use serde_json::Value;

use super::super::Result;
use super::super::rows::Count;
use super::{Finding, SHOWN, found};
use crate::types::{Sha256, Timestamp};

/// Each promise, and a query whose rows (one text each) break it.
pub(super) const CHECKS: &[(&str, &str)] = &[
    (
        "every reference leads somewhere",
        "SELECT \"table\" || ', row ' || coalesce(rowid, '?') || ' refers to a missing row of ' || parent
         FROM pragma_foreign_key_check",
    ),
    (
        "every upload has exactly one event of its end",
        "SELECT 'upload ' || u.id || ' (' || u.verdict || ') has ' || count(e.sequence)
         FROM uploads u LEFT JOIN events e ON e.upload = u.id AND +e.kind IN ('upload.accepted', 'upload.rejected')
         GROUP BY u.id HAVING count(e.sequence) <> 1 OR max(e.kind) <> 'upload.' || u.verdict",
    ),
    (
        "every accepted upload has one delivery and one object",
        "SELECT 'upload ' || u.id || CASE WHEN d.id IS NULL THEN ' has no delivery' ELSE ' has no object' END
         FROM uploads u LEFT JOIN deliveries d ON d.upload = u.id LEFT JOIN objects o ON o.upload = u.id
         WHERE u.verdict = 'accepted' AND (d.id IS NULL OR o.upload IS NULL)",
    ),
    (
        "every delivery is of an accepted upload, every object of one that is kept",
        "SELECT 'delivery ' || d.id FROM deliveries d LEFT JOIN uploads u ON u.id = d.upload
         WHERE u.verdict IS NOT 'accepted' OR u.org <> d.org OR u.dataset <> d.dataset
         UNION ALL
         SELECT 'object ' || o.upload FROM objects o LEFT JOIN uploads u ON u.id = o.upload
         WHERE (u.verdict IS NOT 'accepted' AND u.quarantined IS NOT 1) OR u.org <> o.org
            OR u.sealed_size <> o.sealed_size",
    ),
    (
        "every quarantined upload was rejected and has one object",
        "SELECT 'upload ' || u.id FROM uploads u LEFT JOIN objects o ON o.upload = u.id
         WHERE u.quarantined = 1 AND (u.verdict <> 'rejected' OR o.upload IS NULL)",
    ),
    (
        "every companion is in the log, and vouched for an accepted upload of its name",
        "SELECT 'companion ' || c.upload FROM companions c LEFT JOIN uploads u ON u.id = c.used
         WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.upload = c.upload AND +e.kind = 'companion.received')
            OR (c.used IS NOT NULL AND (u.verdict IS NOT 'accepted'
                OR (u.org, u.dataset, u.place, u.name) <> (c.org, c.dataset, c.place, c.name)))",
    ),
    (
        "every delivery's state fits its lease",
        "SELECT 'delivery ' || id || ' (' || state || ')' FROM deliveries
         WHERE (lease IS NOT NULL) <> (state IN ('leased', 'loaded')) OR (lease_expires IS NOT NULL) <> (state = 'leased')
            OR (loaded IS NOT NULL) <> (state = 'loaded') OR (lease IS NOT NULL AND holder IS NULL)
            OR (attempt = 0 AND state <> 'ready')",
    ),
    (
        "every delivery was acknowledged once if loaded, and never otherwise",
        "SELECT 'delivery ' || d.id || ' (' || d.state || ') was acknowledged ' || count(e.sequence) || ' times'
         FROM deliveries d LEFT JOIN events e ON e.delivery = d.id AND e.kind = 'delivery.acknowledged'
         GROUP BY d.id HAVING count(e.sequence) <> (d.state = 'loaded')",
    ),
    (
        "every attempt is in the log",
        "SELECT 'delivery ' || d.id || ' (' || d.state || ', attempt ' || d.attempt || ')' FROM deliveries d
         WHERE d.attempt > (SELECT count(*) FROM events e WHERE e.delivery = d.id AND e.kind = 'delivery.claimed')
            OR (d.state = 'dead' AND NOT EXISTS
                   (SELECT 1 FROM events e WHERE e.delivery = d.id AND e.kind = 'delivery.dead'))",
    ),
    (
        "every removal of an object is in the log once",
        "SELECT 'object ' || o.upload || ' has ' || count(e.sequence)
         FROM objects o LEFT JOIN events e ON e.upload = o.upload AND +e.kind = 'object.removed'
         GROUP BY o.upload HAVING count(e.sequence) <> (o.removed IS NOT NULL)",
    ),
    (
        "what an organisation stores is the sum of its objects",
        "SELECT 'organisation ' || org FROM
             (SELECT org, sealed_size AS bytes FROM objects WHERE removed IS NULL
              UNION ALL SELECT org, -bytes FROM stored)
         GROUP BY org HAVING sum(bytes) <> 0",
    ),
    (
        "every listed name is that of its newest accepted upload",
        "SELECT 'upload ' || newest.id FROM
             (SELECT id, org, place, name, max(number) FROM uploads WHERE verdict = 'accepted' AND erased IS NULL
              GROUP BY org, place, name) AS newest
         LEFT JOIN names n ON (n.org, n.place, n.name) = (newest.org, newest.place, newest.name)
         WHERE n.upload IS NOT newest.id
           AND newest.id NOT IN (SELECT supersedes FROM uploads WHERE erased IS NOT NULL AND supersedes IS NOT NULL)
         UNION ALL
         SELECT 'upload ' || n.upload FROM names n LEFT JOIN uploads u ON u.id = n.upload
         WHERE u.verdict IS NOT 'accepted' OR (u.org, u.place, u.name) <> (n.org, n.place, n.name)",
    ),
    (
        "an upload takes the place of an earlier one of its name",
        "SELECT 'upload ' || u.id FROM uploads u LEFT JOIN uploads e ON e.id = u.supersedes
         WHERE u.supersedes IS NOT NULL
           AND (e.id IS NULL OR e.verdict <> 'accepted' OR e.number >= u.number
                OR (u.erased IS NULL AND e.erased IS NULL AND (e.org, e.place, e.name) <> (u.org, u.place, u.name)))",
    ),
    (
        "every erased upload has its tombstone in the log",
        "SELECT 'upload ' || u.id FROM uploads u WHERE (u.erased IS NOT NULL) <>
             EXISTS (SELECT 1 FROM events e WHERE e.upload = u.id AND +e.kind = 'upload.erased')",
    ),
];

/// Runs check number `number`.
pub(super) fn check(connection: &Connection, number: usize) -> Result<Vec<Finding>> {
    let (check, query) = CHECKS[number];
    let mut statement = connection.prepare(query)?;
    let mut rows = statement.query([])?;
    let mut findings = Vec::new();
    let mut more = 0;
    while let Some(row) = rows.next()? {
        match findings.len() < SHOWN {
            true => findings.push(found(check, row.get(0)?, None)),
            false => more += 1,
        }
    }
    if more > 0 {
        findings.push(found(check, format!("and {more} more"), None));
    }
    Ok(findings)
}

const WHOLE: &str = "the file is whole";

/// The tables whose pages SQLite itself looks through, with their indexes. Of the audit log every row and every entry of
/// every index is read by `log`.
pub(super) const TABLES: &[&str] = &[
    "uploads",
    "objects",
    "stored",
    "names",
    "companions",
    "deliveries",
    "scrubs",
    "tree",
    "nodes",
    "checkpoints",
    "cosignatures",
];

pub(super) fn whole(connection: &Connection, table: &str) -> Result<Vec<Finding>> {
    let mut statement = connection.prepare("SELECT * FROM pragma_integrity_check(?) WHERE integrity_check <> 'ok'")?;
    let mut rows = statement.query([table])?;
    let mut findings = Vec::new();
    while let Some(row) = rows.next()? {
        findings.push(found(WHOLE, row.get(0)?, None));
    }
    Ok(findings)
}

const ENDS: &str = "every end in the log is an upload, as it was recorded";

/// Each acceptance and rejection in the log against the upload's record.
pub(super) fn ends(connection: &Connection) -> Result<Vec<Finding>> {
    let mut statement = connection.prepare(
        "SELECT e.sequence, e.kind, e.org, e.dataset, e.at, e.leaf, d.body, u.id, u.verdict, u.org AS u_org,
             u.dataset AS u_dataset, u.time, u.size, u.sha256, u.sealed_size, u.supersedes, u.quarantined, u.gateway,
             u.account, u.fingerprint, u.place, u.name, u.reasons, u.report, u.scan
         FROM events e LEFT JOIN details d ON d.sequence = e.sequence LEFT JOIN uploads u ON u.id = e.upload
         WHERE e.kind IN ('upload.accepted', 'upload.rejected')",
    )?;
    let mut rows = statement.query([])?;
    let mut findings = Vec::new();
    while let Some(row) = rows.next()? {
        let sequence = row.get::<_, Count>("sequence")?.0;
        let Some(upload) = row.get::<_, Option<String>>("id")? else {
            findings.push(found(ENDS, format!("event {sequence}: its upload is not recorded"), Some(sequence)));
            continue;
        };
        for (name, recorded, told) in differences(row)? {
            let what =
                format!("event {sequence} (upload {upload}): its {name} is {told}, and is recorded as {recorded}");
            findings.push(found(ENDS, what, Some(sequence)));
        }
    }
    Ok(findings)
}

/// Name, value in the record, value in the log.
type Difference = (&'static str, String, String);

fn differences(row: &Row<'_>) -> Result<Vec<Difference>> {
    let text = |column: &str| -> Result<Option<String>> { Ok(row.get(column)?) };
    let leaf: Value = read(&text("leaf")?.unwrap_or_default());
    let mut pairs: Vec<(&str, Option<String>, Option<String>)> = Vec::with_capacity(20);
    let verdict = text("verdict")?.map(|verdict| format!("upload.{verdict}"));
    pairs.push(("kind", verdict, text("kind")?));
    pairs.push(("organisation", text("u_org")?, text("org")?));
    pairs.push(("dataset", text("u_dataset")?, text("dataset")?));
    let moment = |micros: i64| Timestamp::from_microsecond(micros).ok().map(|at| at.to_string());
    pairs.push(("time", moment(row.get("time")?), moment(row.get("at")?)));
    pairs.push(("size", Some(row.get::<_, i64>("size")?.to_string()), shown(&leaf["size"])));
    pairs.push(("SHA-256", text("sha256")?, shown(&leaf["sha256"])));
    pairs.push(("sealed size", Some(row.get::<_, i64>("sealed_size")?.to_string()), shown(&leaf["sealed_size"])));
    pairs.push(("earlier upload", text("supersedes")?, shown(&leaf["supersedes"])));
    let quarantined = row.get::<_, bool>("quarantined")?.to_string();
    pairs.push(("quarantine", Some(quarantined), shown(&leaf["quarantined"]).or(Some("false".into()))));
    // What was erased is compared with nothing.
    if let Some(body) = text("body")? {
        let body: Value = read(&body);
        let detail = &body["detail"];
        for name in ["gateway", "account", "fingerprint", "place", "name"] {
            pairs.push((name, text(name)?, shown(&detail[name])));
        }
        let reasons = read(&text("reasons")?.unwrap_or_default());
        pairs.push(("reasons", shown(&reasons), shown(&detail["reasons"])));
        let scan = text("scan")?.map(|scan| read(&scan)).unwrap_or_default();
        pairs.push(("scan", shown(&scan), shown(&detail["scan"])));
        let digest = ring::digest::digest(&ring::digest::SHA256, text("report")?.unwrap_or_default().as_bytes());
        let digest = <[u8; 32]>::try_from(digest.as_ref()).map(|digest| Sha256(digest).to_string());
        pairs.push(("report's digest", digest.ok(), shown(&detail["report"])));
    }
    let differing = pairs.into_iter().filter(|(_, recorded, told)| recorded != told);
    let none = |value: Option<String>| value.unwrap_or_else(|| "none".into());
    Ok(differing.map(|(name, recorded, told)| (name, none(recorded), none(told))).collect())
}

/// Null for what is no JSON: it then differs from what it should be.
fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
