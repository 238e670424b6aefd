//! Tests of `tree`, and of the queries over the log.

use super::*;
use crate::audit::tree::{inclusion_length, leaf_hash, verify_consistency, verify_inclusion};
use crate::audit::{Event, note::VerifierKey};
use crate::ledger::testing::{Desk, POLICY, actor, at, believing, ended, event, org, signer};
use crate::ledger::{Filter, Ledger};
use crate::types::{Actor, UploadId};

fn read(note: &str) -> Checkpoint {
    Checkpoint::verify(note, signer().verifier_key()).unwrap()
}

async fn fill(ledger: &Ledger, events: u64) {
    let recorder = ledger.recorder();
    for n in 1..events {
        recorder.record(event(Kind::SessionEnded).with("n", n)).await;
    }
    ledger.record(event(Kind::SessionEnded)).await.unwrap();
}

#[tokio::test]
async fn every_event_is_proven_against_a_checkpoint_that_was_signed_with_it() {
    let desk = Desk::new();
    assert_eq!(desk.ledger.checkpoint().await.unwrap(), None);
    fill(&desk.ledger, 300).await;
    let (receipt, delivery) = desk.accept("a.csv", at(1)).await;
    fill(&desk.ledger, 10).await;
    let lease = desk.claim("loader", 1, at(2)).await[0].lease.unwrap();
    desk.ledger.acknowledge(delivery, lease, actor("loader"), POLICY, at(3)).await.unwrap().unwrap();
    fill(&desk.ledger, 400).await;

    let leaves = desk.ledger.leaves(1, 10_000).await.unwrap();
    assert_eq!(leaves.len(), 300 + 1 + 10 + 2 + 400);
    for leaf in &leaves {
        assert_eq!(leaf.hash, leaf_hash(leaf.leaf.as_bytes()));
        let proven = desk.ledger.proof(ProofOf::Event(leaf.sequence)).await.unwrap().unwrap();
        let checkpoint = read(&proven.checkpoint);
        assert_eq!((proven.index + 1, &proven.leaf, proven.size), (leaf.sequence, &leaf.leaf, checkpoint.size));
        verify_inclusion(&leaf.hash, proven.index, checkpoint.size, &proven.hashes, &checkpoint.root).unwrap();
        let outline = desk.ledger.proof_outlines(vec![ProofOf::Event(leaf.sequence)]).await.unwrap().remove(0).unwrap();
        assert_eq!(inclusion_length(outline.index, outline.size), proven.hashes.len());
        assert_eq!((outline.checkpoint, outline.hashes), (proven.checkpoint, Vec::new()));
    }
    // The end of an upload and its loading: against the checkpoint of their own commit, for ever.
    for (about, kind, number) in [
        (ProofOf::End(receipt.upload), Kind::UploadAccepted, 301),
        (ProofOf::Loading(receipt.upload), Kind::DeliveryAcknowledged, 313),
    ] {
        let proven = desk.ledger.proof(about).await.unwrap().unwrap();
        assert_eq!((proven.index + 1, proven.size), (number, number));
        assert!(proven.leaf.contains(kind.as_str()) && proven.private.is_some());
    }
    assert_eq!(desk.ledger.proof(ProofOf::Event(0)).await.unwrap(), None);
    assert_eq!(desk.ledger.proof(ProofOf::Event(9999)).await.unwrap(), None);
    assert_eq!(desk.ledger.proof(ProofOf::End(UploadId::new(at(9)))).await.unwrap(), None);

    let newest = read(&desk.ledger.checkpoint().await.unwrap().unwrap());
    assert_eq!((newest.size, newest.root), (713, desk.ledger.root(713).await.unwrap()));
    for old in [1, 255, 256, 257, 301, 512, 713] {
        let (old_root, proof) =
            (desk.ledger.root(old).await.unwrap(), desk.ledger.consistency(old, 713).await.unwrap());
        verify_consistency(old, &old_root, 713, &newest.root, &proof).unwrap();
    }
    assert_eq!(desk.ledger.nodes(8, 0, 9).await.unwrap().len(), 2);
    desk.assert_whole().await;
}

#[tokio::test]
async fn checkpoints_stay_where_a_receipt_or_a_tile_needs_them_and_others_do_not() {
    let desk = Desk::new();
    for _ in 0..5 {
        desk.ledger.record(event(Kind::SessionEnded)).await.unwrap();
    }
    desk.accept("a.csv", at(1)).await;
    desk.ledger.reject(ended("harbour", "b.csv", at(2))).await.unwrap();
    desk.ledger.record(event(Kind::SessionEnded)).await.unwrap();
    fill(&desk.ledger, 250).await;
    let sizes = |connection: &Connection| {
        all(&mut connection.prepare("SELECT size FROM checkpoints")?, [], |row| Ok(row.get::<_, Count>(0)?.0))
    };
    let sizes = desk.ledger.0.readers.read(sizes).await.unwrap();
    assert_eq!(sizes[..2], [6, 7]);
    assert_eq!(sizes.iter().filter(|size| **size >= 256).count(), 1, "{sizes:?}");
    assert_eq!(sizes.len(), 3);
    assert!(desk.ledger.checkpoint_of(7).await.unwrap().is_some());
    assert!(desk.ledger.checkpoint_of(5).await.unwrap().is_none());
    assert!(desk.ledger.checkpoint_of(258).await.unwrap().is_some(), "the newest");
}

#[tokio::test]
async fn what_changes_nothing_in_the_log_signs_nothing() {
    let desk = Desk::new();
    let (receipt, _) = desk.accept("a.csv", at(1)).await;
    let before = desk.ledger.checkpoint().await.unwrap();
    desk.ledger.touch(receipt.upload, at(-5)).await.unwrap();
    desk.ledger.answers().await.unwrap();
    assert_eq!(desk.ledger.checkpoint().await.unwrap(), before);
}

#[tokio::test]
async fn two_processes_that_write_in_turns_grow_one_tree() {
    let desk = Desk::new();
    let other = Ledger::open(&desk.file, signer()).unwrap();
    for round in 0..40 {
        for (ledger, name) in [(&desk.ledger, "ours"), (&other, "theirs")] {
            ledger.accept(ended("harbour", &format!("{name}-{round}.csv"), at(round))).await.unwrap();
        }
        // And at once.
        let (ours, theirs) = tokio::join!(fill(&desk.ledger, 5), fill(&other, 5));
        let ((), ()) = (ours, theirs);
    }
    other.close().await.unwrap();
    assert_eq!(desk.ledger.last_event().await.unwrap(), 480);
    desk.assert_whole().await;
}

#[tokio::test]
async fn a_tree_that_was_changed_by_another_hand_is_not_signed() {
    for sql in [
        "UPDATE tree SET frontier = zeroblob(length(frontier))",
        "UPDATE tree SET size = size + 1, frontier = zeroblob(64)",
        "UPDATE tree SET size = 3, frontier = randomblob(64)",
        "DROP TRIGGER events_keep; DELETE FROM events WHERE sequence = 4",
        "DELETE FROM tree",
        "UPDATE tree SET checkpoint = replace(checkpoint, 'sftp', 'xftp') WHERE 0 = 1; UPDATE tree SET checkpoint = 'x'",
    ] {
        let desk = Desk::new();
        for second in 0..4 {
            desk.accept(&format!("{second}.csv"), at(second)).await;
        }
        rusqlite::Connection::open(&desk.file).unwrap().execute_batch(sql).unwrap();
        let refused = desk.ledger.accept(ended("harbour", "late.csv", at(9))).await.unwrap_err().to_string();
        assert!(refused.contains("audit verify") || refused.contains("contradicts"), "{sql}: {refused}");
        assert!(!desk.ledger.verify(believing()).await.unwrap().findings.is_empty(), "{sql}");
    }
}

/// Why an event is not recorded.
async fn refusal(ledger: &Ledger) -> String {
    ledger.record(event(Kind::SessionEnded)).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_log_goes_on_under_a_new_key_that_knows_the_former_one() {
    let desk = Desk::new();
    desk.accept("a.csv", at(1)).await;
    let fresh = || Signer::generate(signer().name()).unwrap().0;
    let stranger = Ledger::open(&desk.file, fresh()).unwrap();
    let why = refusal(&stranger).await;
    assert!(why.contains("former_keys") && why.contains("audit verify"), "{why}");
    let former = vec![signer().verifier_key().clone()];
    let keys = LogKeys { signer: fresh(), former };
    let new = Ledger::open(&desk.file, keys.clone()).unwrap();
    for second in 2..4 {
        new.accept(ended("harbour", "b.csv", at(second))).await.unwrap();
    }
    // Whoever still has the old key alone waits for its restart.
    assert!(refusal(&desk.ledger).await.contains("restart"));
    let keys = vec![signer().verifier_key().clone(), keys.signer.verifier_key().clone()];
    let verification = crate::ledger::Verification { keys, ..Default::default() };
    assert_eq!(new.verify(verification).await.unwrap().findings, []);
    assert_eq!(new.last_event().await.unwrap(), 3);
}

#[tokio::test]
async fn an_older_copy_put_back_while_the_ledger_is_open_is_not_signed_on() {
    let desk = Desk::new();
    desk.accept("a.csv", at(1)).await;
    let older = desk.file.with_extension("older");
    desk.copy_to(&older);
    let other = Ledger::open(&desk.file, signer()).unwrap();
    for second in 2..4 {
        desk.accept("b.csv", at(second)).await;
        other.accept(ended("harbour", "c.csv", at(second))).await.unwrap();
    }
    crate::ledger::testing::put_back(&desk.file, &older);
    for ledger in [&desk.ledger, &other] {
        let why = refusal(ledger).await;
        assert!(why.contains("the log ends with event 1") && why.contains("audit verify"), "{why}");
    }
    // A process that saw nothing later takes it for the log that it is, and then it is another history, even when longer.
    let fresh = Ledger::open(&desk.file, signer()).unwrap();
    for second in 4..12 {
        fresh.accept(ended("harbour", "d.csv", at(second))).await.unwrap();
    }
    for ledger in [&desk.ledger, &other] {
        let why = refusal(ledger).await;
        assert!(why.contains("events are others than those that were signed"), "{why}");
    }
    assert_eq!(fresh.last_event().await.unwrap(), 9);
}

#[tokio::test]
async fn with_a_witness_an_event_is_proven_by_the_first_checkpoint_that_it_cosigned() {
    let desk = Desk::new();
    let (first, _) = desk.accept("a.csv", at(1)).await;
    desk.ledger.record(event(Kind::SessionEnded)).await.unwrap();
    let note = desk.ledger.checkpoint().await.unwrap().unwrap();
    desk.accept("b.csv", at(2)).await;
    // A witness's signature is not judged here; any line will do.
    let witness: VerifierKey = signer().verifier_key().clone();
    let (_, parsed) = Checkpoint::read(&note).unwrap();
    let cosignature = parsed.signatures[0].clone();
    desk.ledger.cosigned(note.clone(), vec![(witness.clone(), cosignature.clone())]).await.unwrap();
    desk.ledger.cosigned(note.clone(), vec![(witness, cosignature.clone())]).await.unwrap();
    let proven = desk.ledger.proof(ProofOf::End(first.upload)).await.unwrap().unwrap();
    assert_eq!((proven.size, proven.checkpoint), (2, format!("{note}{cosignature}\n")));
    assert_eq!(desk.ledger.cosignatures().await.unwrap().len(), 1);
    assert_eq!(desk.ledger.proof(ProofOf::Event(3)).await.unwrap().unwrap().size, 3, "not covered by it");
    // Of another log.
    let elsewhere = Desk::new();
    elsewhere.accept("x.csv", at(1)).await;
    let strange = elsewhere.ledger.checkpoint().await.unwrap().unwrap();
    let refused = desk.ledger.cosigned(strange, Vec::new()).await.unwrap_err().to_string();
    assert!(refused.contains("is none of this log"), "{refused}");
    desk.assert_whole().await;
}

/// The newest checkpoint, signed by these witnesses too; its size.
async fn cosign(ledger: &Ledger, witnesses: &[&Signer]) -> u64 {
    let note = ledger.checkpoint().await.unwrap().unwrap();
    let (checkpoint, _) = Checkpoint::read(&note).unwrap();
    let text = checkpoint.to_string();
    let signed = witnesses.iter().map(|witness| (witness.verifier_key().clone(), witness.sign(&text))).collect();
    ledger.cosigned(note, signed).await.unwrap();
    checkpoint.size
}

/// The size of the checkpoint that proves an event, and how many cosigned it.
async fn proven_by(ledger: &Ledger, sequence: u64) -> (u64, usize) {
    let proven = ledger.proof(ProofOf::Event(sequence)).await.unwrap().unwrap();
    (proven.size, proven.witnesses.len())
}

#[tokio::test]
async fn a_proof_has_the_word_of_all_witnesses_as_soon_as_they_gave_it_to_one_checkpoint() {
    let [one, two, three] =
        ["one.example", "two.example", "three.example"].map(|name| Signer::generate(name).unwrap().0);
    let desk = Desk::new();
    desk.accept("a.csv", at(1)).await;
    assert_eq!(proven_by(&desk.ledger, 1).await, (1, 0));
    let mut sizes = Vec::new();
    // Who cosigns the next checkpoint, and then: by which one the first event is proven, and by how many.
    let rounds: [(&[&Signer], usize, usize); 8] = [
        (&[&one], 0, 1),
        (&[&two], 0, 1),
        (&[&one], 0, 1),
        (&[&two], 0, 1),
        (&[&one, &two], 4, 2),
        (&[&one, &two], 4, 2),
        // Another one is asked from now on.
        (&[&three], 4, 2),
        (&[&one, &two, &three], 7, 3),
    ];
    for (witnesses, which, count) in rounds {
        sizes.push(cosign(&desk.ledger, witnesses).await);
        let (size, by) = proven_by(&desk.ledger, 1).await;
        if which == 0 {
            // The first of any of them: nobody has agreed yet.
            assert_eq!((sizes.contains(&size), by), (true, 1));
        } else {
            assert_eq!((size, by), (sizes[which], count), "{sizes:?}");
        }
        desk.ledger.record(event(Kind::SessionEnded)).await.unwrap();
    }
    // One that is given up is left out of what comes after it.
    let last = desk.ledger.last_event().await.unwrap();
    sizes.push(cosign(&desk.ledger, &[&one, &three]).await);
    assert_eq!(proven_by(&desk.ledger, last).await, (sizes[8], 2));
    let newest: Vec<u64> = desk.ledger.cosignatures().await.unwrap().iter().map(|one| one.size).collect();
    assert_eq!(newest, [sizes[8], sizes[8], sizes[7]], "one, three, two");
    // Another takes its place. What came before it came has its word too, once it is clear that nobody waits for the other.
    let four = Signer::generate("four.example").unwrap().0;
    let mut replaced = 0;
    for round in 0..70 {
        desk.ledger.record(event(Kind::SessionEnded)).await.unwrap();
        let size = cosign(&desk.ledger, &[&one, &three, &four]).await;
        replaced = if round == 0 { size } else { replaced };
    }
    assert_eq!(proven_by(&desk.ledger, 1).await, (replaced, 3));
    desk.assert_whole().await;
}

#[tokio::test]
async fn events_are_listed_by_all_that_they_say_alone_and_together() {
    let desk = Desk::new();
    for n in 0..40 {
        let (org_id, account) = (["harbour", "mill-lane"][n % 2], format!("acc{}", n % 4));
        let actor = Actor { org: Some(org(org_id)), ..actor(&account) };
        let kind = [Kind::SessionAdmitted, Kind::SessionEnded][n / 20];
        // Not quite in the order of time.
        desk.ledger.record(Event::new(at((n ^ 1) as i64), kind, actor)).await.unwrap();
    }
    let numbers = async |filter: Filter| -> Vec<u64> {
        desk.ledger.events(&filter).await.unwrap().iter().map(|logged| logged.sequence).collect()
    };
    let all: Vec<u64> = (1..=40).collect();
    let by = |keep: fn(u64) -> bool| -> Vec<u64> { all.iter().copied().filter(|n| keep(*n)).collect() };
    let none = Filter::default;
    let account = Some("acc2".to_owned());
    assert_eq!(numbers(none()).await, all);
    assert_eq!(numbers(Filter { account: account.clone(), ..none() }).await, by(|n| n % 4 == 3));
    assert_eq!(numbers(Filter { org: Some(org("mill-lane")), ..none() }).await, by(|n| n % 2 == 0));
    assert_eq!(numbers(Filter { kind: Some(Kind::SessionEnded), ..none() }).await, by(|n| n > 20));
    let both = Filter { kind: Some(Kind::SessionEnded), account: account.clone(), ..none() };
    assert_eq!(numbers(both.clone()).await, by(|n| n > 20 && n % 4 == 3));
    assert_eq!(numbers(Filter { limit: Some(2), ..both.clone() }).await, [35, 39]);
    assert_eq!(numbers(Filter { limit: Some(2), after: Some(20), ..both }).await, [23, 27]);
    assert_eq!(numbers(Filter { since: Some(at(11)), until: Some(at(13)), ..none() }).await, [11, 14]);
    assert_eq!(numbers(Filter { since: Some(at(11)), account, limit: Some(1), ..none() }).await, [39]);
    assert_eq!(numbers(Filter { since: Some(at(100)), ..none() }).await, [0; 0]);
    assert_eq!(numbers(Filter { until: Some(at(0)), ..none() }).await, [0; 0]);
}

#[tokio::test]
async fn lists_and_proofs_come_from_an_index_whatever_is_asked() {
    let desk = Desk::new();
    desk.accept("a.csv", at(1)).await;
    let (upload, delivery) = (UploadId::new(at(1)), crate::types::DeliveryId::new(at(1)));
    let none = Filter::default;
    let filters = [
        (Filter { upload: Some(upload), org: Some(org("x")), ..none() }, "events_of_upload (upload=?"),
        (
            Filter { delivery: Some(delivery), kind: Some(Kind::DeliveryClaimed), ..none() },
            "events_of_delivery (delivery=? AND kind=?",
        ),
        (
            Filter { account: Some("x".into()), kind: Some(Kind::SessionEnded), ..none() },
            "details_of_account (account=?",
        ),
        (Filter { account: Some("x".into()), since: Some(at(0)), ..none() }, "details_of_account (account=?"),
        (Filter { kind: Some(Kind::SessionEnded), org: Some(org("x")), ..none() }, "events_of_kind (kind=?"),
        (Filter { org: Some(org("x")), since: Some(at(0)), ..none() }, "events_of_org (org=?"),
        (Filter { since: Some(at(0)), until: Some(at(9)), ..none() }, "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        (Filter { after: Some(5), limit: Some(5), ..none() }, "INTEGER PRIMARY KEY (rowid>?"),
    ];
    let plans = desk.ledger.0.readers.read(move |connection| {
        let mut plans = Vec::new();
        let mut explain = |sql: &str, expected: &str| -> Result<()> {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let parameters = vec![rusqlite::types::Null; statement.parameter_count()];
            let plan =
                all(&mut statement, rusqlite::params_from_iter(parameters), |row| row.get::<_, String>("detail"))?;
            plans.push((plan.join("; "), expected.to_owned()));
            Ok(())
        };
        for (filter, expected) in &filters {
            explain(&events::select_sql(connection, filter)?.0, expected)?;
        }
        explain(EVENT_OF, "events_of_upload (upload=?)")?;
        explain(crate::ledger::leases::HELD_BEFORE, "events_of_delivery (delivery=? AND kind=?)")?;
        explain(events::FIRST_SINCE, "COVERING INDEX events_by_time (at>?)")?;
        explain(events::LAST_UNTIL, "COVERING INDEX events_by_time (at<?)")?;
        Ok(plans)
    });
    for (plan, expected) in plans.await.unwrap() {
        assert!(plan.contains(&expected), "{plan}: not {expected}");
        assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}
