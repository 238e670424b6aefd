//! Somebody who can write the ledger's file: one change at a time, plain, and then with all hashes and nodes recomputed,
//! and at last with the signing key. Each is found, and named.

use std::path::PathBuf;

use rusqlite::params;

use super::super::super::LeafCopy;
use super::super::super::testing::{event, signer};
use super::*;
use crate::audit::leaf::{Fields, commitment};
use crate::audit::tree::leaf_hash;
use crate::audit::{Frontier, Kind, Signer};

/// A ledger of eleven events, closed: 1 to 5 acceptances, 6 and 7 rejections, 8 and 9 claims in one commit, 10 an
/// acknowledgement, 11 a removal; and its newest checkpoint, as it was kept elsewhere.
async fn closed() -> (Desk, String) {
    let desk = busy().await;
    desk.assert_whole().await;
    let kept = desk.ledger.checkpoint().await.unwrap().unwrap();
    desk.ledger.close().await.unwrap();
    settle(&desk.file);
    (desk, kept)
}

/// Takes the write-ahead log in, so that the file alone is the ledger.
fn settle(file: &Path) {
    let raw = Connection::open(file).unwrap();
    raw.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}

fn texts(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|finding| format!("{}: {}", finding.check, finding.what)).collect()
}

fn find(file: &Path, kept: &[&str]) -> Vec<String> {
    let kept = kept.iter().map(|note| (*note).to_owned()).collect();
    texts(&verify(file, Verification { kept, ..believing() }).unwrap().findings)
}

#[track_caller]
fn assert_found(findings: &[String], expected: &[&str], change: &str) {
    assert!(!findings.is_empty(), "{change}: nothing was found");
    for expected in expected {
        assert!(findings.iter().any(|found| found.contains(expected)), "{change}: not {expected:?} in {findings:#?}");
    }
}

/// Makes columns, leaves' numbers and commitments, hashes, nodes and the tree's end fit each other again: all that needs
/// no key.
fn recompute(raw: &Connection) {
    let mut rows = raw
        .prepare(
            "SELECT e.sequence, e.leaf, d.salt, d.body FROM events e LEFT JOIN details d USING (sequence) ORDER BY 1",
        )
        .unwrap();
    type Row = (u64, String, Option<Vec<u8>>, Option<String>);
    let rows: Vec<Row> = rows
        .query_map([], |row| Ok((row.get::<_, i64>(0)? as u64, row.get(1)?, row.get(2)?, row.get(3)?)))
        .unwrap()
        .map(|row| row.unwrap())
        .collect();
    raw.execute_batch("DELETE FROM nodes").unwrap();
    let mut frontier = Frontier::new();
    for (sequence, leaf, salt, body) in rows {
        let mut value: serde_json::Value = serde_json::from_str(&leaf).unwrap();
        value["sequence"] = sequence.into();
        if let (Some(salt), Some(body)) = (salt, body) {
            value["private"] = commitment(&salt, body.as_bytes()).to_string().into();
        }
        let leaf = crate::audit::canonical::to_string(&value).unwrap();
        let hash = leaf_hash(leaf.as_bytes());
        frontier.push(hash, |_, _, _| {});
        let fields = Fields::of(&leaf).unwrap();
        raw.execute(
            "UPDATE events SET leaf = ?, hash = ?, kind = ?, upload = ?, org = ? WHERE sequence = ?",
            params![leaf, hash.0, fields.kind, fields.upload, fields.org, sequence as i64],
        )
        .unwrap();
    }
    let end = params![frontier.size() as i64, frontier.to_bytes()];
    raw.execute("UPDATE tree SET size = ?, frontier = ?", end).unwrap();
}

/// Signs every stored checkpoint anew, over the log as it is now.
fn sign_again(raw: &Connection, signer: &Signer) {
    let hashes: Vec<Hash> = {
        let mut rows = raw.prepare("SELECT hash FROM events ORDER BY sequence").unwrap();
        rows.query_map([], |row| Ok(Hash(row.get(0)?))).unwrap().map(|row| row.unwrap()).collect()
    };
    let mut frontier = Frontier::new();
    for hash in hashes {
        frontier.push(hash, |_, _, _| {});
        let (size, origin) = (frontier.size(), signer.name().to_owned());
        let note = Checkpoint { origin, size, root: frontier.root(), extension: String::new() }.sign(signer);
        raw.execute("UPDATE checkpoints SET note = ? WHERE size = ?", params![note, size as i64]).unwrap();
        raw.execute("UPDATE tree SET checkpoint = ? WHERE size = ?", params![note, size as i64]).unwrap();
    }
}

/// Moves events from number `from` on by `by` places, with their private parts.
fn shift(raw: &Connection, from: i64, by: i64) {
    for table in ["events", "details"] {
        raw.execute(&format!("UPDATE {table} SET sequence = -sequence WHERE sequence >= ?"), [from]).unwrap();
        raw.execute(&format!("UPDATE {table} SET sequence = ? - sequence WHERE sequence < 0"), [by]).unwrap();
    }
}

struct Change {
    name: &'static str,
    sql: &'static str,
    /// What is found of it as it is.
    plain: &'static [&'static str],
    /// What is found when everything that needs no key was made to fit.
    recomputed: &'static [&'static str],
}

const SWAP: &str =
    "UPDATE details SET sequence = -3 WHERE sequence = 3; UPDATE details SET sequence = 3 WHERE sequence = 4;
     UPDATE details SET sequence = 4 WHERE sequence = -3;";

const CHANGES: &[Change] = &[
    Change {
        name: "edit a leaf",
        sql: "UPDATE events SET leaf = replace(leaf, '\"size\":10', '\"size\":11') WHERE sequence = 3",
        plain: &["event 3: its leaf was changed", "its size is 11, and is recorded as 10"],
        recomputed: &[
            "the checkpoint of 3 events (2023-11-14T22:13:22Z) was signed over other events: between event 3 and 3 the log was",
            "(6 later checkpoints say so too)",
            "its size is 11, and is recorded as 10",
        ],
    },
    Change {
        name: "edit a private part",
        sql: "UPDATE details SET body = replace(body, '3.csv', '7.csv') WHERE sequence = 4",
        plain: &["event 4: its private part is not the one that its leaf commits to"],
        recomputed: &[
            "the checkpoint of 4 events",
            "between event 4 and 4",
            "its name is 7.csv, and is recorded as 3.csv",
        ],
    },
    Change {
        name: "edit a column",
        sql: "UPDATE events SET kind = 'session.ended' WHERE sequence = 8",
        plain: &["event 8: its kind is session.ended, and its leaf says delivery.claimed"],
        // Made to fit its leaf, it is what it was: nothing is left to find.
        recomputed: &[],
    },
    Change {
        name: "edit a column and its leaf",
        sql: "UPDATE events SET leaf = replace(leaf, 'delivery.claimed', 'session.ended') WHERE sequence = 8",
        plain: &[
            "event 8: its leaf was changed",
            "event 8: its kind is delivery.claimed, and its leaf says session.ended",
        ],
        recomputed: &["the checkpoint of 10 events", "between event 8 and 10"],
    },
    Change {
        name: "edit a fact",
        sql: "UPDATE uploads SET size = 99 WHERE number = 2",
        plain: &["event 2 (upload ", "its size is 10, and is recorded as 99"],
        recomputed: &["its size is 10, and is recorded as 99"],
    },
    Change {
        name: "edit a fact and its leaf",
        sql: "UPDATE uploads SET size = 99 WHERE number = 2;
              UPDATE events SET leaf = replace(leaf, '\"size\":10', '\"size\":99') WHERE sequence = 2",
        plain: &["event 2: its leaf was changed"],
        recomputed: &["the checkpoint of 2 events", "between event 2 and 2"],
    },
    Change {
        name: "delete an event in the middle",
        sql: "DELETE FROM events WHERE sequence = 9; DELETE FROM details WHERE sequence = 9",
        plain: &["event 9 is missing"],
        recomputed: &[],
    },
    Change {
        name: "swap two private parts",
        sql: SWAP,
        plain: &[
            "event 3: its private part is not the one that its leaf commits to",
            "event 4: its private part is not the one that its leaf commits to",
        ],
        recomputed: &["the checkpoint of 3 events", "between event 3 and 3"],
    },
    Change {
        name: "take a private part away",
        sql: "DELETE FROM details WHERE sequence = 8",
        plain: &["event 8: its private part is missing, and no erasure tells of it"],
        recomputed: &["event 8: its private part is missing, and no erasure tells of it"],
    },
    Change {
        name: "take a node away, or the end of the tree",
        sql: "UPDATE tree SET frontier = zeroblob(length(frontier))",
        plain: &["the stored end of the tree is not that of 11 events"],
        recomputed: &[],
    },
    Change {
        name: "take the newest checkpoint away",
        sql: "DELETE FROM tree",
        plain: &["the newest checkpoint is of 0: nobody signed those after it"],
        recomputed: &["the newest checkpoint is of 0"],
    },
    Change {
        name: "damage a signature",
        sql: "UPDATE checkpoints SET note = replace(note, ' ', ' A') WHERE size = 4",
        plain: &["every checkpoint is signed by the log's key: the checkpoint of 4 events"],
        recomputed: &["every checkpoint is signed by the log's key: the checkpoint of 4 events"],
    },
];

#[tokio::test]
async fn each_change_is_found_and_named() {
    for Change { name, sql, plain, recomputed } in CHANGES {
        let (desk, kept) = closed().await;
        let raw = unguarded(&desk.file);
        raw.execute_batch(sql).unwrap();
        assert_found(&find(&desk.file, &[]), plain, name);
        if !recomputed.is_empty() {
            recompute(&raw);
            assert_found(&find(&desk.file, &[]), recomputed, &format!("{name}, recomputed"));
            assert_found(&find(&desk.file, &[&kept]), recomputed, &format!("{name}, recomputed, with a checkpoint"));
        }
    }
}

#[tokio::test]
async fn a_deleted_event_is_found_though_all_after_it_move_up() {
    let (desk, _) = closed().await;
    let raw = unguarded(&desk.file);
    raw.execute_batch("DELETE FROM events WHERE sequence = 9; DELETE FROM details WHERE sequence = 9").unwrap();
    shift(&raw, 9, -1);
    let moved = "event 9: it stands at this number, and its leaf says 10";
    assert_found(&find(&desk.file, &[]), &[moved, "the log ends with event 10, and 11 were signed"], "moved up");
    recompute(&raw);
    let signed =
        "the checkpoint of 10 events (2023-11-14T22:13:33Z) was signed over other events: between event 8 and 10";
    assert_found(&find(&desk.file, &[]), &[signed], "recomputed");
}

#[tokio::test]
async fn an_inserted_event_is_found_at_the_end_and_in_the_middle() {
    let (desk, _) = closed().await;
    let raw = unguarded(&desk.file);
    let insert = |at: i64| {
        let copy = |table: &str, columns: &str| {
            format!("INSERT INTO {table} (sequence, {columns}) SELECT {at}, {columns} FROM {table} WHERE sequence = 7")
        };
        raw.execute_batch(&copy("events", "at, kind, org, dataset, upload, delivery, leaf, hash")).unwrap();
        raw.execute_batch(&copy("details", "account, salt, body")).unwrap();
    };
    insert(12);
    let unsigned = "the log ends with event 12, and the newest checkpoint is of 11: nobody signed those after it";
    assert_found(&find(&desk.file, &[]), &["event 12: it stands at this number, and its leaf says 7", unsigned], "end");
    raw.execute_batch("DELETE FROM events WHERE sequence = 12; DELETE FROM details WHERE sequence = 12").unwrap();

    shift(&raw, 9, 1);
    insert(9);
    recompute(&raw);
    let signed =
        "the checkpoint of 10 events (2023-11-14T22:13:31Z) was signed over other events: between event 8 and 10";
    assert_found(&find(&desk.file, &[]), &[signed], "middle");
}

#[tokio::test]
async fn two_events_in_the_other_order_are_found() {
    let (desk, _) = closed().await;
    let raw = unguarded(&desk.file);
    raw.execute_batch(&format!("{SWAP} {}", SWAP.replace("details", "events"))).unwrap();
    let expected = [
        "event 3: it stands at this number, and its leaf says 4",
        "event 4: it stands at this number, and its leaf says 3",
    ];
    assert_found(&find(&desk.file, &[]), &expected, "reordered");
    recompute(&raw);
    assert_found(&find(&desk.file, &[]), &["the checkpoint of 3 events", "between event 3 and 3"], "recomputed");
}

#[tokio::test]
async fn a_tail_that_was_cut_off_is_found_and_if_all_of_it_went_by_a_checkpoint_kept_elsewhere() {
    let (desk, kept) = closed().await;
    let raw = unguarded(&desk.file);
    raw.execute_batch("DELETE FROM events WHERE sequence > 9; DELETE FROM details WHERE sequence > 9").unwrap();
    let cut = "the log ends with event 9, and 11 were signed: events 10 to 11 are missing";
    assert_found(&find(&desk.file, &[]), &[cut], "cut");
    recompute(&raw);
    let beyond = "there are 1 checkpoints of more events than the log has, up to 10";
    assert_found(&find(&desk.file, &[]), &[beyond, "the checkpoint of 9 events"], "recomputed");

    // Back to the moment after the seventh event, with every fact of later undone, as if it had never been.
    raw.execute_batch(
        "DELETE FROM events WHERE sequence > 7; DELETE FROM details WHERE sequence > 7;
         DELETE FROM checkpoints WHERE size > 7; UPDATE objects SET removed = NULL;
         UPDATE deliveries SET state = 'ready', attempt = 0, lease = NULL, lease_expires = NULL, holder = NULL, loaded = NULL;
         UPDATE stored SET bytes = (SELECT sum(sealed_size) FROM objects);
         UPDATE tree SET checkpoint = (SELECT note FROM checkpoints WHERE size = 7)",
    )
    .unwrap();
    recompute(&raw);
    assert_eq!(find(&desk.file, &[]), [""; 0], "nothing in the file tells");
    let older = "the log ends with event 7, and the checkpoint kept elsewhere covers 11: its end was cut off, or an older copy was put back";
    assert_found(&find(&desk.file, &[&kept]), &[older], "undone");
}

#[tokio::test]
async fn yesterdays_copy_is_found_by_a_checkpoint_kept_elsewhere() {
    let (desk, _) = closed().await;
    let copy = desk.file.with_extension("copy");
    std::fs::copy(&desk.file, &copy).unwrap();
    let today = crate::ledger::Ledger::open(&desk.file, signer()).unwrap();
    today.record(event(Kind::DaemonStopped)).await.unwrap();
    let kept = today.checkpoint().await.unwrap().unwrap();
    today.close().await.unwrap();
    settle(&desk.file);
    std::fs::rename(&copy, &desk.file).unwrap();
    assert_eq!(find(&desk.file, &[]), [""; 0]);
    let older = "the log ends with event 11, and the checkpoint kept elsewhere covers 12";
    assert_found(&find(&desk.file, &[&kept]), &[older], "yesterday's copy");
}

#[tokio::test]
async fn checkpoints_signed_by_another_key_are_found() {
    let (desk, kept) = closed().await;
    sign_again(&unguarded(&desk.file), &Signer::generate("sftp.example.org/audit").unwrap().0);
    let findings = find(&desk.file, &[&kept]);
    for size in [1, 2, 3, 4, 5, 6, 7, 10, 11] {
        let text = format!("every checkpoint is signed by the log's key: the checkpoint of {size} events");
        assert_found(&findings, &[&text, "it is signed by a key of sftp.example.org/audit"], "another key");
    }
    // And with the name of another log.
    sign_again(&unguarded(&desk.file), &Signer::generate("evil.example/audit").unwrap().0);
    assert_found(&find(&desk.file, &[]), &["it is signed by a key of evil.example/audit, not by"], "another name");
}

#[tokio::test]
async fn a_history_rewritten_with_the_true_key_is_found_by_what_was_kept_elsewhere() {
    let (desk, kept) = closed().await;
    let ours: Vec<Hash> = crate::ledger::Ledger::open(&desk.file, signer()).unwrap().nodes(0, 0, 11).await.unwrap();
    let raw = unguarded(&desk.file);
    raw.execute_batch(
        "UPDATE uploads SET size = 99 WHERE number = 3;
         UPDATE events SET leaf = replace(leaf, '\"size\":10', '\"size\":99') WHERE sequence = 3",
    )
    .unwrap();
    recompute(&raw);
    sign_again(&raw, &signer());
    assert_eq!(find(&desk.file, &[]), [""; 0], "the file alone cannot tell");

    let rewritten =
        "the log was rewritten: its first 11 events are not those of the checkpoint of 11 events that was kept";
    assert_found(&find(&desk.file, &[&kept]), &[rewritten], "fork");
    let copy = |size: usize| {
        let ours = ours[..size].to_vec();
        let hashes = move |first: u64, count: usize| Ok(ours[first as usize..][..count].to_vec());
        Some(LeafCopy { size: size as u64, hashes: Box::new(hashes) })
    };
    let findings = texts(&verify(&desk.file, Verification { copy: copy(11), ..believing() }).unwrap().findings);
    assert_found(&findings, &["event 3 is the first that differs from the copy kept elsewhere"], "fork");
    let findings = verify(&desk.file, Verification { copy: copy(2), ..believing() }).unwrap().findings;
    assert_eq!(texts(&findings), [""; 0], "what the copy has is not changed");
}

#[tokio::test]
async fn what_was_kept_and_is_no_checkpoint_of_this_log_is_told() {
    let (desk, kept) = closed().await;
    let stranger = Signer::generate("sftp.example.org/audit").unwrap().0;
    let (checkpoint, _) = Checkpoint::read(&kept).unwrap();
    for note in ["nonsense".to_owned(), kept.replace('\n', "\n\n"), checkpoint.sign(&stranger)] {
        let findings = find(&desk.file, &[&note]);
        assert_found(&findings, &["the checkpoint kept elsewhere cannot be used"], &note);
    }
    assert_eq!(find(&desk.file, &[&kept]), [""; 0]);
}

/// A checkpoint of the tree's end as it is now, with the true key's name and id before a signature of something else: what
/// somebody without the key can make.
fn forged(raw: &Connection) -> String {
    let end = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, Vec<u8>>(1)?));
    let (size, frontier) = raw.query_row("SELECT size, frontier FROM tree", [], end).unwrap();
    let root = Frontier::from_bytes(size, &frontier).unwrap().root();
    let text = Checkpoint { origin: signer().name().to_owned(), size, root, extension: String::new() }.to_string();
    format!("{text}\n{}\n", signer().sign("something else\n"))
}

#[tokio::test]
async fn a_recomputed_history_with_a_forged_checkpoint_is_not_signed_on() {
    // In the middle, and the last ones.
    for victim in [8, 10, 11] {
        let desk = busy().await;
        let raw = unguarded(&desk.file);
        raw.execute_batch(&format!(
            "DELETE FROM events WHERE sequence = {victim}; DELETE FROM details WHERE sequence = {victim};
             DELETE FROM checkpoints WHERE size >= {victim}"
        ))
        .unwrap();
        shift(&raw, victim, -1);
        recompute(&raw);
        let note = forged(&raw);
        raw.execute("UPDATE tree SET checkpoint = ?", [&note]).unwrap();
        // The one that was open all the while, and one that sees the file for the first time, as a restart or a command.
        let fresh = crate::ledger::Ledger::open(&desk.file, signer()).unwrap();
        for ledger in [&desk.ledger, &fresh] {
            let why = ledger.record(event(Kind::SessionEnded)).await.unwrap_err().to_string();
            assert!(why.contains("not signed by the log's key") && why.contains("audit verify"), "{victim}: {why}");
            assert!(ledger.accept(crate::ledger::testing::ended("harbour", "late.csv", at(99))).await.is_err());
        }
        assert_eq!(fresh.last_event().await.unwrap(), 10);
        assert_found(&find(&desk.file, &[]), &["every checkpoint is signed by the log's key"], "forged");

        // Cut back to a checkpoint that was truly signed, which a fresh one cannot tell, and the open one can.
        let cut = "DELETE FROM events WHERE sequence > 7; DELETE FROM details WHERE sequence > 7;
             UPDATE tree SET checkpoint = (SELECT note FROM checkpoints WHERE size = 7)";
        raw.execute_batch(cut).unwrap();
        recompute(&raw);
        let why = desk.ledger.record(event(Kind::SessionEnded)).await.unwrap_err().to_string();
        assert!(why.contains("11 events were signed, and the log ends with event 7"), "{why}");
    }
}

/// More than one stretch and several tiles, changed at the seams.
#[tokio::test]
async fn a_change_in_a_long_log_is_named_by_its_number() {
    let desk = Desk::new();
    let recorder = desk.ledger.recorder();
    for n in 0..STRETCH + 700 {
        recorder.record(event(Kind::SessionEnded).with("n", n)).await;
    }
    desk.accept("a.csv", at(1)).await;
    desk.assert_whole().await;
    desk.ledger.close().await.unwrap();
    settle(&desk.file);
    let pristine: PathBuf = desk.file.with_extension("pristine");
    std::fs::copy(&desk.file, &pristine).unwrap();
    for number in [1, 256, 257, STRETCH, STRETCH + 1, STRETCH + 512, STRETCH + 701] {
        std::fs::copy(&pristine, &desk.file).unwrap();
        let raw = unguarded(&desk.file);
        let sql = "UPDATE events SET leaf = replace(leaf, '\"at\":\"2023', '\"at\":\"2024') WHERE sequence = ?";
        assert_eq!(raw.execute(sql, [number as i64]).unwrap(), 1);
        let findings = find(&desk.file, &[]);
        assert_found(&findings, &[&format!("event {number}: its leaf was changed")], "edited");
        assert!(findings.iter().all(|found| found.contains(&format!("event {number}"))), "{findings:#?}");

        let leaf: String =
            raw.query_row("SELECT leaf FROM events WHERE sequence = ?", [number as i64], |row| row.get(0)).unwrap();
        let hash = leaf_hash(leaf.as_bytes()).0;
        raw.execute("UPDATE events SET hash = ? WHERE sequence = ?", params![hash, number as i64]).unwrap();
        let findings = find(&desk.file, &[]);
        assert_found(&findings, &["the log was changed after it was signed"], "hashed again");
        if number <= STRETCH + 512 {
            let (from, to) = ((number - 1) / 256 * 256 + 1, (number - 1) / 256 * 256 + 256);
            let node = format!("the stored hash over events {from} to {to} is another");
            assert_found(&findings, &[&node], "hashed again");
        }
    }
}

#[tokio::test]
async fn a_kept_checkpoint_of_nothing_hides_no_other() {
    let (desk, kept) = closed().await;
    let signer = signer();
    let signed = |size, root| {
        let origin = signer.name().to_owned();
        Checkpoint { origin, size, root, extension: String::new() }.sign(&signer)
    };
    let (nothing, fork) = (signed(0, crate::audit::tree::empty_root()), signed(7, Hash([7; 32])));
    assert_eq!(find(&desk.file, &[&nothing, &kept]), [""; 0]);
    for kept in [[&nothing, &fork], [&fork, &nothing]] {
        assert_found(&find(&desk.file, &kept.map(String::as_str)), &["its first 7 events are not those"], "a fork");
    }
    let findings = find(&desk.file, &[&signed(0, Hash([7; 32]))]);
    assert_found(&findings, &["its first 0 events are not those"], "another tree of nothing");
}
