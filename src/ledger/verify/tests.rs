//! Tests of `verify`.

mod adversary;

use super::super::Filter;
use super::super::testing::{Desk, POLICY, actor, at, believing, ended, rejected};
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
        "INSERT OR REPLACE INTO events SELECT sequence, 0, kind, org, dataset, upload, delivery, '{}', hash FROM events",
        "INSERT INTO events SELECT 999, at, kind, org, dataset, upload, delivery, leaf, hash FROM events WHERE sequence = 1",
        "DELETE FROM details",
        "UPDATE details SET body = '{}'",
        "INSERT OR REPLACE INTO details SELECT sequence, account, salt, '{}' FROM details",
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

/// What is found in a ledger that somebody changed by hand, every guard dropped.
fn found_after(desk: &Desk, sql: &str) -> Vec<Finding> {
    unguarded(&desk.file).execute_batch(sql).unwrap();
    verify(&desk.file, believing()).unwrap().findings
}

/// A connection for which neither triggers nor constraints hold.
fn unguarded(file: &Path) -> Connection {
    let raw = Connection::open(file).unwrap();
    raw.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
    raw.execute_batch("PRAGMA ignore_check_constraints = 1; PRAGMA foreign_keys = 0;").unwrap();
    raw
}

const OF_UPLOADS: &str = "every delivery is of an accepted upload, every object of one that is kept";
const WHERE_LEFT: &str = "every delivery that is not loaded stands where its last event left it";

#[tokio::test]
async fn each_broken_promise_is_found() {
    for (sql, check) in [
        ("DELETE FROM events WHERE sequence = 2", "the sequence of events has no gaps"),
        ("DELETE FROM events WHERE sequence = 1", "every upload has exactly one event of its end"),
        ("UPDATE events SET kind = 'session.ended' WHERE sequence = 3", "every event is searched by what it says"),
        ("UPDATE details SET account = 'eve' WHERE sequence = 3", "every event is searched by what it says"),
        ("UPDATE uploads SET size = 99 WHERE number = 1", "every end in the log is an upload, as it was recorded"),
        ("UPDATE uploads SET report = '{}' WHERE number = 6", "every end in the log is an upload, as it was recorded"),
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
        (
            "UPDATE uploads SET supersedes = 'gone' WHERE number = 5",
            "an upload takes the place of an earlier one of its name",
        ),
        ("UPDATE uploads SET erased = 1 WHERE number = 5", "every erased upload has its tombstone in the log"),
        ("DELETE FROM details WHERE sequence = 3", "every private part that is missing was erased"),
        ("DROP INDEX details_of_account", "every event is found under what it says"),
        (
            "DROP INDEX events_of_kind; CREATE INDEX events_of_kind ON events (kind) WHERE sequence <> 3",
            "every event is found under what it says",
        ),
        (
            "UPDATE uploads SET restricted = '7' WHERE number = 1",
            "every end in the log is an upload, as it was recorded",
        ),
        ("UPDATE uploads SET md5 = 'x' WHERE number = 1", "every end in the log is an upload, as it was recorded"),
        ("UPDATE uploads SET sha1 = 'x' WHERE number = 6", "every end in the log is an upload, as it was recorded"),
        (
            "UPDATE uploads SET name = CAST(x'ff' AS TEXT) WHERE number = 1",
            "every end in the log is an upload, as it was recorded",
        ),
        ("UPDATE uploads SET number = 99 WHERE number = 1", "uploads and deliveries stand in the order of the log"),
        ("UPDATE deliveries SET number = 99 WHERE number = 3", "uploads and deliveries stand in the order of the log"),
        ("UPDATE deliveries SET id = 'x' WHERE number = 3", "every end in the log is an upload, as it was recorded"),
        ("UPDATE deliveries SET dataset = 'x' WHERE number = 3", OF_UPLOADS),
        ("UPDATE objects SET sealed_size = sealed_size + 1", OF_UPLOADS),
        ("UPDATE deliveries SET available = 9000000000000000 WHERE number = 3", WHERE_LEFT),
        ("UPDATE deliveries SET holder = 'eve' WHERE state = 'leased'", WHERE_LEFT),
        (
            "UPDATE deliveries SET state = 'ready', lease = NULL, lease_expires = NULL WHERE state = 'leased'",
            WHERE_LEFT,
        ),
        (
            "UPDATE deliveries SET loaded = loaded + 1 WHERE state = 'loaded'",
            "every acknowledgement in the log is of a delivery that is loaded",
        ),
        ("UPDATE objects SET removed = removed + 1", "every removal of an object is in the log once"),
        ("UPDATE objects SET removed = 7", "every removal of an object is in the log once"),
        (
            "UPDATE names SET name = 'other.csv' WHERE name = '3.csv'",
            "every listed name is that of its newest accepted upload",
        ),
        ("DELETE FROM names WHERE name = '3.csv'", "every listed name is that of its newest accepted upload"),
        ("DELETE FROM checkpoints", "every checkpoint covers the log as it is"),
        (
            "INSERT INTO checkpoints SELECT -1, note FROM checkpoints LIMIT 1",
            "every checkpoint covers the log as it is",
        ),
        (
            "INSERT INTO cosignatures SELECT size, 'witness.example+00000000+AA', 'x' FROM checkpoints LIMIT 1",
            "every cosignature is one of its witness",
        ),
        ("INSERT INTO nodes VALUES (8, 0, zeroblob(32))", "the tree is that of the leaves"),
        ("UPDATE events SET sequence = 9000000000000000000 WHERE sequence = 11", "the sequence of events has no gaps"),
        ("UPDATE events SET sequence = -1 WHERE sequence = 3", "the sequence of events has no gaps"),
        (
            "UPDATE details SET sequence = 9000000000000000000 WHERE sequence = 11",
            "every private part is the one that its leaf commits to",
        ),
        ("UPDATE tree SET checkpoint = CAST(x'ff' AS TEXT)", "the file is whole"),
        ("UPDATE tree SET size = -1", "the file is whole"),
        ("DROP TABLE cosignatures", "the file is whole"),
        ("DROP TRIGGER events_keep", "the file is whole"),
        ("CREATE TRIGGER evil AFTER INSERT ON deliveries BEGIN DELETE FROM names; END", "the file is whole"),
        ("CREATE TABLE other (x)", "the file is whole"),
    ] {
        let desk = busy().await;
        desk.assert_whole().await;
        desk.ledger.close().await.unwrap();
        let findings = found_after(&desk, sql);
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
    let findings = found_after(&desk, "DELETE FROM deliveries");
    let of_deliveries = findings.iter().filter(|f| f.check.contains("one delivery")).collect::<Vec<_>>();
    assert_eq!(of_deliveries.len(), SHOWN + 1);
    assert_eq!(of_deliveries[SHOWN].what, "and 30 more");
}
