//! The facts that the ledger records, against each other, and counted against the events that tell them.

use rusqlite::Connection;

use super::super::Result;
use super::{Finding, SHOWN, found};

/// A promise, and the query whose rows (one text each) break it.
pub(super) struct Check {
    pub promise: &'static str,
    /// 1 if the numbers alone say that it is kept: each event is compared with its record (`records`), so as many records
    /// as events are right ones. Spares naming what is not there.
    kept: Option<&'static str>,
    broken: &'static str,
}

const fn check(promise: &'static str, broken: &'static str) -> Check {
    Check { promise, kept: None, broken }
}

const fn counted(promise: &'static str, kept: &'static str, broken: &'static str) -> Check {
    Check { promise, kept: Some(kept), broken }
}

pub(super) const CHECKS: &[Check] = &[
    counted(
        "every upload has exactly one event of its end",
        "SELECT (SELECT count(*) FROM uploads)
             = (SELECT count(*) FROM events WHERE kind IN ('upload.accepted', 'upload.rejected'))",
        "SELECT 'upload ' || u.id || ' (' || u.verdict || ') has ' || count(e.sequence)
         FROM uploads u LEFT JOIN events e ON e.upload = u.id AND +e.kind IN ('upload.accepted', 'upload.rejected')
         GROUP BY u.id HAVING count(e.sequence) <> 1 OR max(e.kind) <> 'upload.' || u.verdict",
    ),
    counted(
        "every delivery is of an accepted upload, every object of one that is kept",
        "SELECT (SELECT count(*) FROM uploads WHERE verdict = 'accepted') = (SELECT count(*) FROM deliveries)
            AND (SELECT count(*) FROM uploads WHERE verdict = 'accepted' OR quarantined = 1) = (SELECT count(*) FROM objects)",
        "SELECT 'delivery ' || d.id FROM deliveries d LEFT JOIN uploads u ON u.id = d.upload
         WHERE u.verdict IS NOT 'accepted'
         UNION ALL
         SELECT 'object ' || o.upload FROM objects o LEFT JOIN uploads u ON u.id = o.upload
         WHERE u.verdict IS NOT 'accepted' AND u.quarantined IS NOT 1",
    ),
    check(
        "every quarantined upload was rejected and has one object",
        "SELECT 'upload ' || u.id FROM uploads u LEFT JOIN objects o ON o.upload = u.id
         WHERE u.quarantined = 1 AND (u.verdict <> 'rejected' OR o.upload IS NULL)",
    ),
    check(
        "every companion is in the log, and vouched for an accepted upload of its name",
        "SELECT 'companion ' || c.upload FROM companions c LEFT JOIN uploads u ON u.id = c.used
         WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.upload = c.upload AND +e.kind = 'companion.received')
            OR (c.used IS NOT NULL AND (u.verdict IS NOT 'accepted'
                OR (u.org, u.dataset, u.place, u.name) <> (c.org, c.dataset, c.place, c.name)))",
    ),
    check(
        "every delivery's state fits its lease",
        "SELECT 'delivery ' || id || ' (' || state || ')' FROM deliveries
         WHERE (lease IS NOT NULL) <> (state IN ('leased', 'loaded')) OR (lease_expires IS NOT NULL) <> (state = 'leased')
            OR (loaded IS NOT NULL) <> (state = 'loaded') OR (lease IS NOT NULL AND holder IS NULL)
            OR (attempt = 0 AND state <> 'ready')",
    ),
    check(
        "every delivery was acknowledged once if loaded, and never otherwise",
        "SELECT 'delivery ' || d.id || ' (' || d.state || ') was acknowledged ' || count(e.sequence) || ' times'
         FROM deliveries d LEFT JOIN events e ON e.delivery = d.id AND e.kind = 'delivery.acknowledged'
         GROUP BY d.id HAVING count(e.sequence) <> (d.state = 'loaded')",
    ),
    check(
        "every attempt is in the log",
        "SELECT 'delivery ' || d.id || ' (' || d.state || ', attempt ' || d.attempt || ')' FROM deliveries d
         WHERE d.attempt > (SELECT count(*) FROM events e WHERE e.delivery = d.id AND e.kind = 'delivery.claimed')
            OR (d.state = 'dead' AND NOT EXISTS
                   (SELECT 1 FROM events e WHERE e.delivery = d.id AND e.kind = 'delivery.dead'))",
    ),
    // Few among many: what is loaded is compared with its event (`records`).
    check(
        "every delivery that is not loaded stands where its last event left it",
        "WITH last AS
             (SELECT d.id, d.state, d.available, d.holder, u.time AS accepted,
                  (SELECT max(e.sequence) FROM events e WHERE e.delivery = d.id AND e.kind IN ('delivery.claimed',
                       'delivery.returned', 'delivery.expired', 'delivery.dead', 'delivery.retried', 'delivery.released'))
                      AS sequence
              FROM deliveries d JOIN uploads u ON u.id = d.upload WHERE d.state <> 'loaded')
         SELECT 'delivery ' || last.id || ' is ' || last.state || ' from ' || last.available || ' on, after '
             || coalesce(e.kind, 'its acceptance')
         FROM last LEFT JOIN events e ON e.sequence = last.sequence LEFT JOIN details p ON p.sequence = last.sequence
         WHERE last.state <> CASE e.kind WHEN 'delivery.claimed' THEN 'leased' WHEN 'delivery.dead' THEN 'dead' ELSE 'ready' END
            OR (last.state = 'leased' AND last.holder <> p.account)
            OR (e.kind IS NULL AND last.available <> last.accepted)
            OR (e.kind IN ('delivery.retried', 'delivery.released') AND last.available <> e.at)",
    ),
    counted(
        super::records::REMOVED,
        "SELECT (SELECT count(*) FROM objects WHERE removed IS NOT NULL)
             = (SELECT count(*) FROM events WHERE kind = 'object.removed')",
        "SELECT 'object ' || o.upload || ' has ' || count(e.sequence)
         FROM objects o LEFT JOIN events e ON e.upload = o.upload AND +e.kind = 'object.removed'
         GROUP BY o.upload HAVING count(e.sequence) <> (o.removed IS NOT NULL)",
    ),
    check(
        "what an organisation stores is the sum of its objects",
        "SELECT 'organisation ' || org FROM
             (SELECT org, sealed_size AS bytes FROM objects WHERE removed IS NULL
              UNION ALL SELECT org, -bytes FROM stored)
         GROUP BY org HAVING sum(bytes) <> 0",
    ),
    check(
        "every listed name is that of its newest accepted upload",
        // An upload whose name is not listed, or under which another is, gave way to a later one.
        "SELECT 'upload ' || u.id FROM uploads u
         WHERE u.verdict = 'accepted' AND u.erased IS NULL
           AND NOT EXISTS (SELECT 1 FROM names n WHERE (n.org, n.place, n.name) = (u.org, u.place, u.name) AND n.upload = u.id)
           AND u.id NOT IN (SELECT supersedes FROM uploads WHERE supersedes IS NOT NULL)
         UNION ALL
         SELECT 'upload ' || n.upload FROM names n LEFT JOIN uploads u ON u.id = n.upload
         WHERE u.verdict IS NOT 'accepted' OR (u.org, u.place, u.name) <> (n.org, n.place, n.name)
            OR n.upload IN (SELECT supersedes FROM uploads WHERE supersedes IS NOT NULL)",
    ),
    check(
        "an upload takes the place of an earlier one of its name",
        "SELECT 'upload ' || u.id FROM uploads u LEFT JOIN uploads e ON e.id = u.supersedes
         WHERE u.supersedes IS NOT NULL
           AND (e.id IS NULL OR e.verdict <> 'accepted' OR e.number >= u.number
                OR (u.erased IS NULL AND e.erased IS NULL AND (e.org, e.place, e.name) <> (u.org, u.place, u.name)))",
    ),
    check(
        "every erased upload has its tombstone in the log",
        "SELECT 'upload ' || u.id FROM uploads u WHERE u.erased IS NOT NULL AND NOT EXISTS
             (SELECT 1 FROM events e WHERE e.upload = u.id AND +e.kind = 'upload.erased')
         UNION
         SELECT 'upload ' || u.id FROM events e JOIN uploads u ON u.id = e.upload
         WHERE e.kind = 'upload.erased' AND u.erased IS NULL",
    ),
];

/// Runs check number `number`.
pub(super) fn run(connection: &Connection, number: usize) -> Result<Vec<Finding>> {
    let check = &CHECKS[number];
    if let Some(kept) = check.kept
        && connection.query_row(kept, [], |row| row.get::<_, bool>(0))?
    {
        return Ok(Vec::new());
    }
    rows(connection, check.promise, check.broken, [])
}

/// What a query names, as many as are shown.
fn rows(
    connection: &Connection,
    promise: &'static str,
    query: &str,
    of: impl rusqlite::Params,
) -> Result<Vec<Finding>> {
    let mut statement = connection.prepare(query)?;
    let mut rows = statement.query(of)?;
    let mut findings = Vec::new();
    let mut more = 0;
    while let Some(row) = rows.next()? {
        match findings.len() < SHOWN {
            true => findings.push(found(promise, row.get(0)?, None)),
            false => more += 1,
        }
    }
    if more > 0 {
        findings.push(found(promise, format!("and {more} more"), None));
    }
    Ok(findings)
}

pub(super) const WHOLE: &str = "the file is whole";

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
    let query = "SELECT integrity_check FROM pragma_integrity_check(?) WHERE integrity_check <> 'ok'";
    rows(connection, WHOLE, query, [table])
}
