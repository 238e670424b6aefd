//! Tests of `uploads`.

use super::*;
use crate::ledger::testing::{Desk, actor, at, ended, org, rejected};
use crate::ledger::{Companion, Vouched, companions, earlier, objects};

#[tokio::test]
async fn acceptance_records_upload_event_object_and_delivery() {
    let desk = Desk::new();
    let (receipt, delivery) = desk.accept("a.csv", at(1)).await;
    assert_eq!((receipt.verdict, receipt.supersedes), (Verdict::Accepted, None));
    let events = desk.ledger.events(&Filter::default()).await.unwrap();
    let event = &events[0].event;
    assert_eq!((events.len(), event.kind, event.delivery), (1, Kind::UploadAccepted, Some(delivery)));
    for (name, value) in [("name", "a.csv"), ("place", "/"), ("sha256", &receipt.sha256.to_string())] {
        assert_eq!(event.detail[name], value);
    }
    assert_eq!((&event.detail["size"], &event.detail["sealed_size"]), (&10.into(), &200.into()));
    let queued = desk.ledger.delivery(delivery).await.unwrap().unwrap();
    assert_eq!((queued.receipt, queued.available, queued.attempt), (receipt.clone(), at(1), 0));
    assert!(desk.ledger.expected_objects().await.unwrap().contains(&receipt.upload));
    assert_eq!(desk.ledger.stored_bytes(&org("harbour")).await.unwrap(), 200);
    desk.assert_whole().await;
}

#[tokio::test]
async fn a_rejection_has_a_report_and_an_event_but_no_place_in_listing_or_queue() {
    let desk = Desk::new();
    let mut bad = ended("harbour", "a.csv", at(1));
    bad.receipt.reasons = vec!["The file is empty.".into()];
    let report = desk.ledger.reject(bad).await.unwrap();
    assert_eq!(report.verdict, Verdict::Rejected);
    let found = desk.ledger.receipt(&org("harbour"), report.upload, at(0)).await.unwrap();
    assert_eq!(found, Some(report));
    assert_eq!(desk.ledger.list(&org("harbour"), &Place::Inbox, at(0), None, 10).await.unwrap(), []);
    assert_eq!(desk.ledger.queue(&Take::default(), None, 10).await.unwrap(), []);
    assert_eq!(desk.ledger.stored_bytes(&org("harbour")).await.unwrap(), 0);
    assert_eq!(desk.kinds().await, ["upload.rejected"]);
    desk.assert_whole().await;
}

#[tokio::test]
async fn a_later_upload_of_a_name_supersedes_and_replaces_it_in_the_listing() {
    let desk = Desk::new();
    let (first, _) = desk.accept("a.csv", at(1)).await;
    let mut elsewhere = ended("harbour", "a.csv", at(2));
    elsewhere.place = Place::Dataset("ims-interventions".parse().unwrap());
    assert_eq!(desk.ledger.accept(elsewhere).await.unwrap().0.supersedes, None);
    desk.ledger.reject(ended("harbour", "a.csv", at(3))).await.unwrap();
    let (second, _) = desk.accept("a.csv", at(4)).await;
    assert_eq!(second.supersedes, Some(first.upload));
    let listed = desk.ledger.list(&org("harbour"), &Place::Inbox, at(0), None, 10).await.unwrap();
    assert_eq!(listed.iter().map(|listed| listed.upload).collect::<Vec<_>>(), [second.upload]);
    assert!(desk.ledger.receipt(&org("harbour"), first.upload, at(0)).await.unwrap().is_some());
    desk.assert_whole().await;
}

#[tokio::test]
async fn setting_the_time_changes_the_listing_and_not_the_receipt() {
    let desk = Desk::new();
    let (first, _) = desk.accept("a.csv", at(1)).await;
    desk.ledger.touch(first.upload, at(-500)).await.unwrap();
    let name = "a.csv".parse().unwrap();
    let find = || desk.ledger.find(&first.organisation, &Place::Inbox, &name, at(0));
    assert_eq!(find().await.unwrap().unwrap().modified, at(-500));
    assert_eq!(desk.ledger.receipt(&org("harbour"), first.upload, at(0)).await.unwrap().unwrap().time, at(1));

    let (second, _) = desk.accept("a.csv", at(2)).await;
    desk.ledger.touch(first.upload, at(-900)).await.unwrap();
    let listed = find().await.unwrap().unwrap();
    assert_eq!((listed.upload, listed.modified), (second.upload, at(2)));
}

#[tokio::test]
async fn nothing_recorded_too_long_ago_or_of_another_organisation_is_shown() {
    let desk = Desk::new();
    let (receipt, _) = desk.accept("a.csv", at(10)).await;
    let (name, upload) = (receipt.name.clone(), receipt.upload);
    for (who, since, shown) in [("harbour", 9, true), ("harbour", 10, false), ("mill-lane", 0, false)] {
        let (who, since) = (org(who), at(since));
        let ledger = &desk.ledger;
        assert_eq!(ledger.find(&who, &Place::Inbox, &name, since).await.unwrap().is_some(), shown);
        assert_eq!(ledger.list(&who, &Place::Inbox, since, None, 9).await.unwrap().len(), usize::from(shown));
        assert_eq!(ledger.receipt(&who, upload, since).await.unwrap().is_some(), shown);
        assert_eq!(ledger.receipts(&who, since, None, 9).await.unwrap().len(), usize::from(shown));
    }
    assert_eq!(desk.ledger.stored_bytes(&org("mill-lane")).await.unwrap(), 0);
}

#[tokio::test]
async fn odd_names_list_in_byte_order_page_by_page() {
    let desk = Desk::new();
    let mut names = vec![
        "a'b\"c.csv",
        "%_.csv",
        "A.csv",
        "a.csv",
        "é.csv",
        "漢字.csv",
        "-rf",
        "a b.csv",
        "\\.csv",
        "';DROP TABLE uploads;--",
        "~",
        "😀",
        "\u{10FFFF}",
    ];
    for (i, name) in names.iter().enumerate() {
        desk.accept(name, at(i as i64)).await;
    }
    names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    let (mut listed, mut after) = (Vec::<Listed>::new(), None);
    loop {
        let page = desk.ledger.list(&org("harbour"), &Place::Inbox, at(-1), after.as_ref(), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.name.clone());
        listed.extend(page);
    }
    assert_eq!(listed.iter().map(|listed| listed.name.as_str()).collect::<Vec<_>>(), names);
    desk.assert_whole().await;
}

#[tokio::test]
async fn receipts_page_by_id() {
    let desk = Desk::new();
    let mut ids = Vec::new();
    for i in 0..7 {
        ids.push(desk.accept(&format!("{i}.csv"), at(i)).await.0.upload);
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = desk.ledger.receipts(&org("harbour"), at(-1), after, 3).await.unwrap();
        seen.extend(page.iter().map(|receipt| receipt.upload));
        let Some(last) = page.last() else { break };
        after = Some(last.upload);
    }
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn pages_of_ten_thousand_rows_come_from_an_index() {
    let desk = Desk::new();
    let fill = |tx: &Tx<'_>| {
        for i in 0..10_000 {
            accept(tx, ended("harbour", &format!("{i:05}.csv"), at(i)))?;
        }
        Ok(())
    };
    desk.ledger.write(fill).await.unwrap();
    let after = "07499.csv".parse().unwrap();
    let page = desk.ledger.list(&org("harbour"), &Place::Inbox, at(-1), Some(&after), 100).await.unwrap();
    assert_eq!((page.len(), page[0].name.as_str()), (100, "07500.csv"));

    let plans = desk.ledger.0.readers.read(|connection| {
        let mut plans = Vec::new();
        for sql in [
            LIST,
            &format!("SELECT {RECEIPT} FROM uploads u WHERE {RECEIPTS}"),
            earlier::LAST_ROWS,
            earlier::SAME_BYTES,
            earlier::UNDER_NAME,
            objects::QUARANTINED,
            companions::OF,
            companions::EXPIRE,
            companions::WAITING_COUNT,
        ] {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let parameters = vec![rusqlite::types::Null; statement.parameter_count()];
            let plan =
                all(&mut statement, rusqlite::params_from_iter(parameters), |row| row.get::<_, String>("detail"))?;
            plans.push(plan.join("; "));
        }
        Ok(plans)
    });
    for plan in plans.await.unwrap() {
        assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[tokio::test]
async fn an_object_leaves_once_with_its_event_and_counts_no_more() {
    let desk = Desk::new();
    let (receipt, delivery) = desk.accept("a.csv", at(1)).await;
    let lease = desk.claim("loader", 1, at(2)).await[0].lease.unwrap();
    let policy = crate::ledger::testing::POLICY;
    desk.ledger.acknowledge(delivery, lease, actor("loader"), policy, at(10)).await.unwrap().unwrap();
    let loaded = |before| desk.ledger.loaded_before(&receipt.organisation, before);
    assert_eq!(loaded(at(10)).await.unwrap(), []);
    assert_eq!(loaded(at(11)).await.unwrap(), [receipt.upload]);
    for _ in 0..2 {
        desk.ledger.object_removed(receipt.upload, "retention", at(20)).await.unwrap();
    }
    assert_eq!(loaded(at(11)).await.unwrap(), []);
    assert_eq!(desk.ledger.stored_bytes(&receipt.organisation).await.unwrap(), 0);
    assert!(desk.ledger.expected_objects().await.unwrap().is_empty());
    assert_eq!(desk.kinds().await.iter().filter(|kind| **kind == "object.removed").count(), 1);
    assert_eq!(desk.ledger.uploads(&Filter::default()).await.unwrap()[0].removed, Some(at(20)));
    assert!(desk.ledger.object_removed(UploadId::new(at(3)), "", at(20)).await.is_err());
    desk.assert_whole().await;
}

#[tokio::test]
async fn beginnings_without_an_end_are_found_however_many_came_after_them() {
    let desk = Desk::new();
    let about = |kind: Kind, second: i64| {
        Event::new(at(second), kind, Actor::gateway()).upload(UploadId::new(at(second))).with("name", "x")
    };
    let recorder = desk.ledger.recorder();
    // Before the latest start: told by the recovery then.
    recorder.record(about(Kind::UploadBegun, 1)).await;
    recorder.record(Event::new(at(2), Kind::DaemonStarted, Actor::gateway())).await;
    let lost = about(Kind::UploadBegun, 3);
    recorder.record(lost.clone()).await;
    for second in 10..10_100 {
        let begun = about(Kind::UploadBegun, second);
        let end = Event { kind: Kind::UploadAborted, ..begun.clone() };
        recorder.record(begun).await;
        recorder.record(end).await;
    }
    desk.ledger.record(about(Kind::RecoveryRemoved, 3)).await.unwrap();
    assert_eq!(desk.ledger.unfinished().await.unwrap(), [lost]);
}

#[tokio::test]
async fn operators_see_the_newest_in_the_order_of_recording_as_they_filter() {
    let desk = Desk::new();
    for i in 0..5 {
        desk.accept(&format!("{i}.csv"), at(i)).await;
    }
    desk.ledger.accept(ended("mill-lane", "m.csv", at(6))).await.unwrap();
    let names = async |filter: Filter| {
        let rows = desk.ledger.uploads(&filter).await.unwrap();
        rows.into_iter().map(|row| row.receipt.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(Filter { limit: Some(2), ..Filter::default() }).await, ["4.csv", "m.csv"]);
    let harbour = Filter { org: Some(org("harbour")), since: Some(at(3)), ..Filter::default() };
    assert_eq!(names(harbour).await, ["3.csv", "4.csv"]);
    assert_eq!(names(Filter { account: Some("mill-lane-nightly".into()), ..Filter::default() }).await, ["m.csv"]);
}

#[tokio::test]
async fn a_quarantined_upload_is_kept_and_counted_but_neither_listed_nor_queued() {
    let desk = Desk::new();
    let report = desk.ledger.reject(rejected("harbour", "bad.csv", at(1), true)).await.unwrap();
    let harbour = org("harbour");
    assert_eq!(desk.ledger.stored_bytes(&harbour).await.unwrap(), 200);
    assert!(desk.ledger.expected_objects().await.unwrap().contains(&report.upload));
    assert_eq!(desk.ledger.list(&harbour, &Place::Inbox, at(0), None, 10).await.unwrap(), []);
    assert_eq!(desk.ledger.queue(&Take::default(), None, 10).await.unwrap(), []);
    assert_eq!(desk.ledger.deliveries(&Filter::default()).await.unwrap(), []);
    desk.assert_whole().await;

    assert_eq!(desk.ledger.loaded_before(&harbour, at(9)).await.unwrap(), []);
    assert_eq!(desk.ledger.quarantined_before(&harbour, at(1)).await.unwrap(), []);
    assert_eq!(desk.ledger.quarantined_before(&org("mill-lane"), at(9)).await.unwrap(), []);
    assert_eq!(desk.ledger.quarantined_before(&harbour, at(2)).await.unwrap(), [report.upload]);
    desk.ledger.object_removed(report.upload, "retention", at(20)).await.unwrap();
    assert_eq!(desk.ledger.quarantined_before(&harbour, at(2)).await.unwrap(), []);
    assert_eq!(desk.ledger.stored_bytes(&harbour).await.unwrap(), 0);
    assert_eq!(desk.ledger.receipt(&harbour, report.upload, at(0)).await.unwrap(), Some(report), "the report stays");
    desk.assert_whole().await;
}

#[tokio::test]
async fn only_what_is_in_quarantine_can_be_discarded_and_once() {
    let desk = Desk::new();
    let (accepted, _) = desk.accept("good.csv", at(1)).await;
    let plain = desk.ledger.reject(rejected("harbour", "bad.csv", at(2), false)).await.unwrap().upload;
    let kept = desk.ledger.reject(rejected("harbour", "kept.csv", at(3), true)).await.unwrap().upload;
    let discard = async |upload| desk.ledger.discard(upload, Actor::operator("eve"), "seen", at(9)).await.unwrap();
    for other in [accepted.upload, plain, UploadId::new(at(4))] {
        assert!(!discard(other).await);
    }
    assert!(discard(kept).await && !discard(kept).await);
    let rows = desk.ledger.uploads(&Filter { verdict: Some(Verdict::Rejected), ..Filter::default() }).await.unwrap();
    assert_eq!((rows.len(), rows[1].removed), (2, Some(at(9))));
    let kept = Filter { quarantined: true, ..Filter::default() };
    assert_eq!(desk.ledger.uploads(&kept).await.unwrap(), []);
    let events = desk.ledger.events(&Filter { kind: Some(Kind::ObjectRemoved), ..Filter::default() }).await.unwrap();
    let told = &events[0].event;
    assert_eq!(
        (told.actor.account.as_str(), &told.detail["reason"]),
        (Actor::operator("eve").account.as_str(), &"seen".into())
    );
    desk.assert_whole().await;
}

#[tokio::test]
async fn events_tell_counts_and_names_of_rules() {
    let desk = Desk::new();
    let mut bad = rejected("harbour", "bad.csv", at(1), false);
    bad.receipt.report.rows = Some(7);
    bad.receipt.report.add(crate::check::ErrorType::HashCount, "companion", "x".into());
    bad.receipt.report.add(crate::check::ErrorType::HashCount, "companion", "y".into());
    bad.receipt.report.remark(crate::check::ErrorType::HashCount, "repeated", "z".into());
    desk.ledger.reject(bad).await.unwrap();
    let told = desk.ledger.events(&Filter::default()).await.unwrap()[0].event.detail.clone();
    assert_eq!((&told["rows"], &told["errors"]), (&7.into(), &2.into()));
    assert_eq!(
        (&told["rules"], &told["flags"]),
        (&serde_json::json!({"companion": 2}), &serde_json::json!(["repeated"]))
    );
}

#[tokio::test]
async fn later_uploads_are_compared_with_the_last_accepted_one_of_the_same_organisation_and_dataset() {
    let desk = Desk::new();
    let (harbour, ims): (_, DatasetName) = (org("harbour"), "ims-interventions".parse().unwrap());
    let last = async |org: &OrgId, dataset: &DatasetName| desk.ledger.last_rows(org, dataset).await.unwrap();
    assert_eq!(last(&harbour, &ims).await, None);
    for (second, rows) in [(1, Some(10)), (2, Some(20))] {
        let mut end = ended("harbour", &format!("{second}.csv"), at(second));
        end.receipt.report.rows = rows;
        end.receipt.sha256 = Sha256([second as u8; 32]);
        desk.ledger.accept(end).await.unwrap();
    }
    let mut bad = rejected("harbour", "bad.csv", at(3), false);
    bad.receipt.report.rows = Some(99);
    bad.receipt.sha256 = Sha256([9; 32]);
    desk.ledger.reject(bad).await.unwrap();
    assert_eq!(last(&harbour, &ims).await, Some(20));
    assert_eq!(last(&org("mill-lane"), &ims).await, None);
    assert_eq!(last(&harbour, &"other".parse().unwrap()).await, None);

    let same = async |org: &OrgId, byte| desk.ledger.same_bytes(org, &ims, Sha256([byte; 32])).await.unwrap();
    let earlier = same(&harbour, 1).await.unwrap();
    assert_eq!((earlier.name.as_str(), earlier.time, earlier.rows), ("1.csv", at(1), Some(10)));
    assert_eq!(same(&harbour, 9).await, None, "a rejection is no earlier upload");
    assert_eq!(same(&org("mill-lane"), 1).await, None);

    let mut opaque = ended("harbour", "3.bin", at(4));
    opaque.receipt.report.rows = None;
    desk.ledger.accept(opaque).await.unwrap();
    assert_eq!(last(&harbour, &ims).await, None, "its rows are not known");
}

#[tokio::test]
async fn restricted_rows_are_told_as_they_were_recorded() {
    let desk = Desk::new();
    let mut end = ended("harbour", "a.csv", at(1));
    for row in [4, 5, 9] {
        assert!(end.restricted.add(row));
    }
    let (receipt, _) = desk.ledger.accept(end).await.unwrap();
    assert_eq!(desk.ledger.restricted(receipt.upload).await.unwrap().as_deref(), Some("4-5\n9\n"));
    let (none, _) = desk.accept("b.csv", at(2)).await;
    assert_eq!(desk.ledger.restricted(none.upload).await.unwrap(), None);
    assert_eq!(desk.ledger.restricted(UploadId::new(at(3))).await.unwrap(), None);
}

#[tokio::test]
async fn companions_wait_vouch_once_and_are_forgotten_with_an_event() {
    let desk = Desk::new();
    let (dataset, place): (DatasetName, _) = ("ims-interventions".parse().unwrap(), Place::Inbox);
    let about = Vouched { org: org("harbour"), dataset, place, name: "a.csv".parse().unwrap() };
    let record = async |about: &Vouched, kind: &str, second: i64| {
        let (upload, received) = (UploadId::new(at(second)), at(second));
        let content = serde_json::json!(second);
        let companion = Companion { upload, kind: kind.into(), content, received, used: None };
        let event = Event::new(received, Kind::CompanionReceived, actor("x")).upload(upload);
        assert!(desk.ledger.companion(about.clone(), companion, event).await.unwrap());
        upload
    };
    record(&about, "sha256", 1).await;
    let newest = record(&about, "sha256", 2).await;
    let totals = record(&about, "totals", 3).await;
    let (earlier, known) = desk.ledger.companions(&about).await.unwrap();
    assert_eq!((earlier, known.len(), known[0].upload, known[1].upload), (None, 2, newest, totals));
    let elsewhere = Vouched { place: Place::Dataset(about.dataset.clone()), ..about.clone() };
    assert_eq!(desk.ledger.companions(&elsewhere).await.unwrap().1, []);

    let mut end = ended("harbour", "a.csv", at(4));
    end.vouched = vec![newest];
    let (receipt, _) = desk.ledger.accept(end).await.unwrap();
    let (earlier, known) = desk.ledger.companions(&about).await.unwrap();
    assert_eq!(earlier.unwrap().upload, receipt.upload);
    assert_eq!((known[0].used, known[1].used), (Some(receipt.upload), None));
    desk.assert_whole().await;

    assert_eq!(desk.ledger.expire_companions(&about.org, at(3), at(9)).await.unwrap(), 0);
    assert_eq!(desk.ledger.expire_companions(&org("mill-lane"), at(9), at(9)).await.unwrap(), 0);
    assert_eq!(desk.ledger.expire_companions(&about.org, at(9), at(9)).await.unwrap(), 1);
    assert_eq!(desk.ledger.companions(&about).await.unwrap().1.len(), 1, "the used one stays");
    assert_eq!(desk.kinds().await.last(), Some(&"companion.removed"));
    assert_eq!(desk.ledger.unfinished().await.unwrap(), []);
    desk.assert_whole().await;
}

#[tokio::test]
async fn companions_whose_files_never_come_are_bounded() {
    let desk = Desk::new();
    let (dataset, place): (DatasetName, _) = ("ims".parse().unwrap(), Place::Inbox);
    let about = Vouched { org: org("harbour"), dataset, place, name: "a.csv".parse().unwrap() };
    let companion = |second: i64| Companion {
        upload: UploadId::new(at(second)),
        kind: "md5".into(),
        content: serde_json::Value::Null,
        received: at(second),
        used: None,
    };
    let told = |of: &Companion| Event::new(at(1), Kind::CompanionReceived, actor("x")).upload(of.upload);
    let fill = move |tx: &Tx<'_>| {
        for second in 0..1000 {
            let (name, companion) = (format!("{second}.csv"), companion(second));
            let about = Vouched { name: name.parse().unwrap(), ..about.clone() };
            assert!(companions::record(tx, &about, &companion, told(&companion))?);
        }
        let one_more = companion(1000);
        companions::record(tx, &about, &one_more, told(&one_more))
    };
    assert!(!desk.ledger.write(fill).await.unwrap());
    assert_eq!(desk.kinds().await.len(), 1000);
    desk.assert_whole().await;
}
