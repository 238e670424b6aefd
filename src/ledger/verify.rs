//! Whether the ledger keeps its promises, looked at from outside the code that keeps them.
//!
//! Must never change anything. Proves completeness and consistency of what is there; that nobody rewrote the whole file
//! is for signed checkpoints to prove. Called by the facade, for `nightsafe audit verify` and the tests.

use rusqlite::Connection;

use super::{Finding, Result};

/// Most findings shown of one check.
const SHOWN: usize = 20;

/// Each promise, and a query whose rows (one text each) break it.
const CHECKS: &[(&str, &str)] = &[
    ("the file is whole", "SELECT * FROM pragma_integrity_check WHERE integrity_check <> 'ok'"),
    (
        "every reference leads somewhere",
        "SELECT \"table\" || ', row ' || coalesce(rowid, '?') || ' refers to a missing row of ' || parent
         FROM pragma_foreign_key_check",
    ),
    (
        "the sequence of events has no gaps",
        "SELECT 'after event ' || before || ' comes ' || sequence FROM
             (SELECT sequence, lag(sequence, 1, 0) OVER (ORDER BY sequence) AS before FROM events)
         WHERE sequence <> before + 1",
    ),
    (
        "every event is searched by what it says",
        "SELECT 'event ' || sequence FROM events
         WHERE NOT json_valid(body)
            OR kind IS NOT body ->> '$.kind' OR account IS NOT body ->> '$.actor.account' OR org IS NOT body ->> '$.org'
            OR dataset IS NOT body ->> '$.dataset' OR upload IS NOT body ->> '$.upload'
            OR delivery IS NOT body ->> '$.delivery'",
    ),
    (
        "every upload has exactly one event of its end",
        "SELECT 'upload ' || u.id || ' (' || u.verdict || ') has ' || count(e.sequence)
         FROM uploads u LEFT JOIN events e ON e.upload = u.id AND e.kind IN ('upload.accepted', 'upload.rejected')
         GROUP BY u.id HAVING count(e.sequence) <> 1 OR max(e.kind) <> 'upload.' || u.verdict",
    ),
    (
        "every end in the log is an upload, as it was recorded",
        "SELECT 'event ' || e.sequence FROM events e LEFT JOIN uploads u ON u.id = e.upload
         WHERE e.kind IN ('upload.accepted', 'upload.rejected')
           AND (u.id IS NULL OR u.org IS NOT e.org OR u.dataset IS NOT e.dataset
                OR u.sha256 IS NOT e.body ->> '$.detail.sha256' OR u.name IS NOT e.body ->> '$.detail.name'
                OR u.size IS NOT e.body ->> '$.detail.size')",
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
         WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.upload = c.upload AND e.kind = 'companion.received')
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
         FROM objects o LEFT JOIN events e ON e.upload = o.upload AND e.kind = 'object.removed'
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
             (SELECT id, org, place, name, max(number) FROM uploads WHERE verdict = 'accepted' GROUP BY org, place, name)
             AS newest
         LEFT JOIN names n ON (n.org, n.place, n.name) = (newest.org, newest.place, newest.name)
         WHERE n.upload IS NOT newest.id
         UNION ALL
         SELECT 'upload ' || n.upload FROM names n LEFT JOIN uploads u ON u.id = n.upload
         WHERE u.verdict IS NOT 'accepted' OR (u.org, u.place, u.name) <> (n.org, n.place, n.name)",
    ),
    (
        "an upload takes the place of an earlier one of its name",
        "SELECT 'upload ' || u.id FROM uploads u LEFT JOIN uploads e ON e.id = u.supersedes
         WHERE u.supersedes IS NOT NULL
           AND (e.id IS NULL OR e.verdict <> 'accepted' OR e.number >= u.number
                OR (e.org, e.place, e.name) <> (u.org, u.place, u.name))",
    ),
];

pub(super) fn verify(connection: &Connection) -> Result<Vec<Finding>> {
    // One snapshot: what is committed meanwhile is not half seen.
    let snapshot = connection.unchecked_transaction()?;
    let mut findings = Vec::new();
    for (check, query) in CHECKS {
        let mut statement = snapshot.prepare(query)?;
        let mut rows = statement.query([])?;
        let mut found = 0;
        while let Some(row) = rows.next()? {
            found += 1;
            if found <= SHOWN {
                findings.push(Finding { check, what: row.get(0)? });
            }
        }
        if found > SHOWN {
            findings.push(Finding { check, what: format!("and {} more", found - SHOWN) });
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Desk, POLICY, actor, at, ended, rejected};
    use super::super::{Filter, file};
    use super::*;
    use crate::types::Actor;

    /// A ledger with something of everything in it.
    async fn busy() -> Desk {
        let desk = Desk::new();
        for i in 0..4 {
            desk.accept(&format!("{i}.csv"), at(i)).await;
        }
        desk.accept("0.csv", at(9)).await;
        desk.ledger.reject(ended("harbour", "bad.csv", at(10))).await.unwrap();
        desk.ledger.reject(rejected("harbour", "kept.csv", at(10), true)).await.unwrap();
        let got = desk.claim("loader", 2, at(11)).await;
        desk.ledger
            .acknowledge(got[0].delivery, got[0].lease.unwrap(), actor("loader"), POLICY, at(12))
            .await
            .unwrap()
            .unwrap();
        desk.ledger.object_removed(got[0].receipt.upload, "retention", at(13)).await.unwrap();
        desk
    }

    #[tokio::test]
    async fn what_is_recorded_cannot_be_changed_or_deleted_by_anyone() {
        let desk = busy().await;
        let before = desk.ledger.events(&Filter::default()).await.unwrap();
        // As another program would: without our settings.
        let raw = rusqlite::Connection::open(&desk.file).unwrap();
        for sql in [
            "DELETE FROM events",
            "UPDATE events SET at = 0",
            "INSERT OR REPLACE INTO events SELECT sequence, 0, kind, org, dataset, account, upload, delivery, '{}' FROM events",
            "INSERT INTO events SELECT 999, at, kind, org, dataset, account, upload, delivery, body FROM events WHERE sequence = 1",
            "DELETE FROM uploads",
            "UPDATE uploads SET size = 0",
            "INSERT OR REPLACE INTO uploads SELECT * FROM uploads",
            "DELETE FROM objects",
            "UPDATE objects SET sealed_size = 0",
            "UPDATE objects SET removed = NULL WHERE removed IS NOT NULL",
            "DELETE FROM deliveries",
            "UPDATE deliveries SET upload = 'x'",
            "UPDATE deliveries SET state = 'ready', loaded = NULL, lease = NULL WHERE state = 'loaded'",
            "UPDATE deliveries SET state = 'lost'",
        ] {
            assert!(raw.execute(sql, []).is_err(), "{sql}");
        }
        assert_eq!(desk.ledger.events(&Filter::default()).await.unwrap(), before);
        desk.assert_whole().await;
    }

    #[tokio::test]
    async fn each_broken_promise_is_found() {
        for (sql, check) in [
            ("DELETE FROM events WHERE sequence = 2", "the sequence of events has no gaps"),
            ("DELETE FROM events WHERE sequence = 1", "every upload has exactly one event of its end"),
            ("UPDATE events SET kind = 'session.ended' WHERE sequence = 3", "every event is searched by what it says"),
            ("UPDATE uploads SET size = 99 WHERE number = 1", "every end in the log is an upload, as it was recorded"),
            ("DELETE FROM deliveries WHERE number = 3", "every accepted upload has one delivery and one object"),
            (
                "UPDATE uploads SET verdict = 'rejected' WHERE number = 1",
                "every delivery is of an accepted upload, every object of one that is kept",
            ),
            ("UPDATE deliveries SET state = 'loaded' WHERE number = 3", "every delivery's state fits its lease"),
            (
                "UPDATE deliveries SET state = 'loaded', loaded = 1, lease_expires = NULL WHERE number = 2",
                "every delivery was acknowledged once if loaded, and never otherwise",
            ),
            ("UPDATE stored SET bytes = bytes + 1", "what an organisation stores is the sum of its objects"),
            ("UPDATE deliveries SET attempt = 7 WHERE number = 2", "every attempt is in the log"),
            (
                "DELETE FROM objects WHERE upload = (SELECT id FROM uploads WHERE quarantined = 1)",
                "every quarantined upload was rejected and has one object",
            ),
            (
                "INSERT INTO companions SELECT org, dataset, place, 'x', 'md5', 'u', 'null', 0, id FROM uploads LIMIT 1",
                "every companion is in the log, and vouched for an accepted upload of its name",
            ),
            ("UPDATE objects SET removed = NULL", "every removal of an object is in the log once"),
            (
                "UPDATE names SET upload = (SELECT id FROM uploads LIMIT 1)",
                "every listed name is that of its newest accepted upload",
            ),
            ("UPDATE uploads SET supersedes = 'gone' WHERE number = 5", "every reference leads somewhere"),
        ] {
            let desk = busy().await;
            desk.assert_whole().await;
            desk.ledger.close().await.unwrap();
            let raw = rusqlite::Connection::open(&desk.file).unwrap();
            let mut guards =
                raw.prepare("SELECT 'DROP TRIGGER ' || name FROM sqlite_schema WHERE type = 'trigger'").unwrap();
            let drops: Vec<String> = guards.query_map([], |row| row.get(0)).unwrap().map(|row| row.unwrap()).collect();
            drop(guards);
            raw.execute_batch(&format!(
                "PRAGMA ignore_check_constraints = 1; PRAGMA foreign_keys = 0; {}; {sql}",
                drops.join(";")
            ))
            .unwrap();
            drop(raw);
            let reader = file::open_reader(&desk.file).unwrap();
            let findings = verify(&reader).unwrap();
            assert!(findings.iter().any(|finding| finding.check == check), "{sql}: {findings:#?}");
        }
    }

    #[tokio::test]
    async fn a_long_list_of_findings_is_cut() {
        let desk = Desk::new();
        let fill = |tx: &super::super::writer::Tx<'_>| {
            for i in 0..50 {
                super::super::uploads::accept(tx, ended("harbour", &format!("{i}.csv"), at(i)))?;
            }
            Ok(())
        };
        desk.ledger.write(fill).await.unwrap();
        desk.ledger
            .release(desk.claim("loader", 1, at(99)).await[0].delivery, Actor::operator("eve"), at(99))
            .await
            .unwrap();
        desk.assert_whole().await;
        desk.ledger.close().await.unwrap();
        let raw = rusqlite::Connection::open(&desk.file).unwrap();
        raw.execute_batch("DROP TRIGGER deliveries_keep; PRAGMA foreign_keys = 0; DELETE FROM deliveries").unwrap();
        drop(raw);
        let findings = verify(&file::open_reader(&desk.file).unwrap()).unwrap();
        let of_deliveries = findings.iter().filter(|f| f.check.contains("one delivery")).collect::<Vec<_>>();
        assert_eq!(of_deliveries.len(), SHOWN + 1);
        assert_eq!(of_deliveries[SHOWN].what, "and 30 more");
    }
}
