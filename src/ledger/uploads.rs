//! Uploads: recording their end, listing them for providers and operators, and what the vault must hold.
//!
//! Must never record an upload without its event (and an accepted one without its object and delivery), nor show an
//! organisation another's. Called by the facade.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::filter::{Where, bound};
use super::rows::{self, Count, Micros, RECEIPT, all, json_list, rows_at_most, whole_micros};
use super::writer::Tx;
use super::{Ended, Filter, LedgerError, Listed, Result, UploadRow};
use crate::audit::{Event, Kind, Receipt, Verdict};
use crate::types::*;

/// A page of a directory, by key: the primary key of `names` leads straight to its beginning.
pub(super) const LIST: &str = "SELECT n.name, n.upload, n.modified, u.dataset, u.size
     FROM names n JOIN uploads u ON u.id = n.upload
     WHERE n.org = ? AND n.place = ? AND n.name > ? AND n.accepted > ?
     ORDER BY n.name LIMIT ?";

/// A page of an organisation's receipts, by id.
const RECEIPTS: &str = "u.org = ? AND u.id > ? AND u.time > ? ORDER BY u.id LIMIT ?";

pub(super) fn accept(tx: &Tx<'_>, ended: Ended) -> Result<(Receipt, DeliveryId)> {
    let Ended { mut receipt, place, sealed_size, actor } = ended;
    receipt.verdict = Verdict::Accepted;
    receipt.time = whole_micros(receipt.time);
    let at = receipt.time;
    let place = place.path();
    let upload = receipt.upload.to_string();
    let (org, name) = (receipt.organisation.as_str(), receipt.name.as_str());
    let delivery = DeliveryId::new(at);

    let mut earlier =
        tx.connection.prepare_cached("SELECT upload FROM names WHERE org = ? AND place = ? AND name = ?")?;
    let earlier = earlier.query_row(params![org, place, name], |row| rows::parsed(row, "upload")).optional()?;
    receipt.supersedes = earlier;

    insert(tx, &receipt, &place, sealed_size)?;
    tx.connection
        .prepare_cached("INSERT INTO objects (upload, org, sealed_size) VALUES (?, ?, ?)")?
        .execute(params![upload, org, Count(sealed_size)])?;
    tx.connection
        .prepare_cached(
            "INSERT INTO names (org, place, name, upload, accepted, modified) VALUES (?1, ?2, ?3, ?4, ?5, ?5)
             ON CONFLICT DO UPDATE SET upload = excluded.upload, accepted = excluded.accepted, modified = excluded.modified",
        )?
        .execute(params![org, place, name, upload, Micros(at)])?;
    tx.connection
        .prepare_cached(
            "INSERT INTO deliveries (id, upload, org, dataset, state, available) VALUES (?, ?, ?, ?, 'ready', ?)",
        )?
        .execute(params![delivery.to_string(), upload, org, receipt.dataset.as_str(), Micros(at)])?;

    let event = event_of(Kind::UploadAccepted, &receipt, &place, actor)
        .delivery(delivery)
        .with("sealed_size", sealed_size)
        .with("supersedes", receipt.supersedes.map(|id| id.to_string()));
    tx.record(&event)?;
    tx.wake();
    Ok((receipt, delivery))
}

pub(super) fn reject(tx: &Tx<'_>, ended: Ended) -> Result<Receipt> {
    let Ended { mut receipt, place, actor, .. } = ended;
    receipt.verdict = Verdict::Rejected;
    receipt.time = whole_micros(receipt.time);
    receipt.supersedes = None;
    let place = place.path();
    insert(tx, &receipt, &place, 0)?;
    tx.record(&event_of(Kind::UploadRejected, &receipt, &place, actor).with("reasons", receipt.reasons.clone()))?;
    Ok(receipt)
}

fn insert(tx: &Tx<'_>, receipt: &Receipt, place: &str, sealed_size: u64) -> Result<()> {
    let mut statement = tx.connection.prepare_cached(
        "INSERT INTO uploads (id, verdict, gateway, org, dataset, place, name, size, sha256, sealed_size, time, account,
             fingerprint, supersedes, reasons, flags)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    statement.execute(params![
        receipt.upload.to_string(),
        receipt.verdict.as_str(),
        receipt.gateway,
        receipt.organisation.as_str(),
        receipt.dataset.as_str(),
        place,
        receipt.name.as_str(),
        Count(receipt.size),
        receipt.sha256.to_string(),
        Count(sealed_size),
        Micros(receipt.time),
        receipt.account.as_str(),
        receipt.fingerprint.0,
        receipt.supersedes.map(|id| id.to_string()),
        json_list(&receipt.reasons),
        json_list(&receipt.flags),
    ])?;
    Ok(())
}

fn event_of(kind: Kind, receipt: &Receipt, place: &str, actor: Actor) -> Event {
    Event::new(receipt.time, kind, actor)
        .org(&receipt.organisation)
        .dataset(&receipt.dataset)
        .upload(receipt.upload)
        .with("place", place)
        .with("name", receipt.name.as_str())
        .with("size", receipt.size)
        .with("sha256", receipt.sha256.to_string())
        .with("flags", receipt.flags.clone())
}

pub(super) fn touch(tx: &Tx<'_>, upload: UploadId, modified: Timestamp) -> Result<()> {
    // Only what is listed: when a later upload took the name, there is nothing to touch.
    let mut statement = tx.connection.prepare_cached(
        "UPDATE names SET modified = ?2 WHERE upload = ?1
         AND (org, place, name) = (SELECT org, place, name FROM uploads WHERE id = ?1)",
    )?;
    statement.execute(params![upload.to_string(), Micros(modified)])?;
    Ok(())
}

pub(super) fn find(
    connection: &Connection,
    org: &OrgId,
    place: &Place,
    name: &FileName,
    since: Timestamp,
) -> Result<Option<Listed>> {
    let mut statement = connection.prepare_cached(
        "SELECT n.name, n.upload, n.modified, u.dataset, u.size FROM names n JOIN uploads u ON u.id = n.upload
         WHERE n.org = ? AND n.place = ? AND n.name = ? AND n.accepted > ?",
    )?;
    let params = params![org.as_str(), place.path(), name.as_str(), Micros(since)];
    Ok(statement.query_row(params, rows::listed).optional()?)
}

pub(super) fn list(
    connection: &Connection,
    org: &OrgId,
    place: &Place,
    since: Timestamp,
    after: Option<&FileName>,
    limit: usize,
) -> Result<Vec<Listed>> {
    let mut statement = connection.prepare_cached(LIST)?;
    // No name is empty: all come after it.
    let after = after.map_or("", FileName::as_str);
    all(&mut statement, params![org.as_str(), place.path(), after, Micros(since), rows_at_most(limit)], rows::listed)
}

pub(super) fn receipt(
    connection: &Connection,
    org: &OrgId,
    upload: UploadId,
    since: Timestamp,
) -> Result<Option<Receipt>> {
    let sql = format!("SELECT {RECEIPT} FROM uploads u WHERE u.id = ? AND u.org = ? AND u.time > ?");
    let mut statement = connection.prepare_cached(&sql)?;
    let params = params![upload.to_string(), org.as_str(), Micros(since)];
    Ok(statement.query_row(params, rows::receipt).optional()?)
}

pub(super) fn receipts(
    connection: &Connection,
    org: &OrgId,
    since: Timestamp,
    after: Option<UploadId>,
    limit: usize,
) -> Result<Vec<Receipt>> {
    let sql = format!("SELECT {RECEIPT} FROM uploads u WHERE {RECEIPTS}");
    let mut statement = connection.prepare_cached(&sql)?;
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    all(&mut statement, params![org.as_str(), after, Micros(since), rows_at_most(limit)], rows::receipt)
}

pub(super) fn stored_bytes(connection: &Connection, org: &OrgId) -> Result<u64> {
    let mut statement = connection
        .prepare_cached("SELECT coalesce(sum(sealed_size), 0) FROM objects WHERE org = ? AND removed IS NULL")?;
    Ok(statement.query_row([org.as_str()], |row| row.get::<_, Count>(0))?.0)
}

pub(super) fn expected_objects(connection: &Connection) -> Result<BTreeSet<UploadId>> {
    let mut statement = connection.prepare_cached("SELECT upload FROM objects WHERE removed IS NULL")?;
    Ok(all(&mut statement, [], |row| rows::parsed(row, "upload"))?.into_iter().collect())
}

pub(super) fn loaded_before(connection: &Connection, org: &OrgId, before: Timestamp) -> Result<Vec<UploadId>> {
    // From the objects that are there, which the quota bounds, rather than from all that was ever loaded.
    let mut statement = connection.prepare_cached(
        "SELECT o.upload FROM objects o JOIN deliveries d ON d.upload = o.upload
         WHERE o.org = ? AND o.removed IS NULL AND d.state = 'loaded' AND d.loaded < ? ORDER BY d.loaded",
    )?;
    all(&mut statement, params![org.as_str(), Micros(before)], |row| rows::parsed(row, "upload"))
}

pub(super) fn object_removed(tx: &Tx<'_>, upload: UploadId, why: &str, now: Timestamp) -> Result<()> {
    let mut statement = tx.connection.prepare_cached(
        "SELECT o.org, d.dataset, d.id AS delivery, o.sealed_size, o.removed
         FROM objects o JOIN deliveries d ON d.upload = o.upload WHERE o.upload = ?",
    )?;
    let found = statement.query_row([upload.to_string()], |row| {
        let event = Event::new(now, Kind::ObjectRemoved, Actor::gateway())
            .org(&rows::parsed(row, "org")?)
            .dataset(&rows::parsed(row, "dataset")?)
            .delivery(rows::parsed(row, "delivery")?)
            .upload(upload)
            .with("sealed_size", row.get::<_, Count>("sealed_size")?.0)
            .with("reason", why);
        Ok((event, rows::moment_if_any(row, "removed")?))
    });
    let Some((event, removed)) = found.optional()? else {
        return Err(LedgerError::Storage(format!("no object of the upload {upload} is recorded")));
    };
    if removed.is_some() {
        // Said before, and interrupted before the file was gone: once is enough.
        return Ok(());
    }
    tx.connection
        .prepare_cached("UPDATE objects SET removed = ? WHERE upload = ?")?
        .execute(params![Micros(now), upload.to_string()])?;
    tx.record(&event)
}

/// For operators: in the order of recording, the newest `limit`.
pub(super) fn select(connection: &Connection, filter: &Filter) -> Result<Vec<UploadRow>> {
    let (conditions, values) = Where::new()
        .text("u.org = ?", filter.org.as_ref())
        .text("u.dataset = ?", filter.dataset.as_ref())
        .text("u.account = ?", filter.account.as_ref())
        .text("u.id = ?", filter.upload)
        .text("u.id = (SELECT upload FROM deliveries WHERE id = ?)", filter.delivery)
        .moment("u.time >= ?", filter.since)
        .limit(filter.limit.unwrap_or(usize::MAX));
    let sql = format!(
        "SELECT {RECEIPT}, u.place, u.sealed_size, o.removed FROM uploads u LEFT JOIN objects o ON o.upload = u.id
         {conditions} ORDER BY u.number DESC LIMIT ?"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut uploads = all(&mut statement, bound(&values), rows::upload_row)?;
    uploads.reverse();
    Ok(uploads)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Desk, actor, at, ended, org};
    use super::*;

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
            for sql in [LIST, &format!("SELECT {RECEIPT} FROM uploads u WHERE {RECEIPTS}")] {
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
        let policy = super::super::testing::POLICY;
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
}
