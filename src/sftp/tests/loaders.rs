//! Sessions of loaders: what they may read, and how READs are served.

use std::time::Duration;

use super::house::{House, text};
use super::{NO_SUCH_FILE, PERMISSION_DENIED, csv};
use crate::audit::Kind;
use crate::ledger::{Claim, Policy};
use crate::sftp::Out;
use crate::types::*;

async fn claim(house: &House, account: &str) -> DeliveryId {
    let claim = Claim {
        actor: Actor::gateway(),
        account: account.parse().unwrap(),
        take: Take::default(),
        orgs: None,
        datasets: None,
        max: 1,
        lease: Duration::from_secs(60),
    };
    let policy = Policy { attempts: 5, backoff: Duration::ZERO, backoff_max: Duration::ZERO };
    let services = &house.services;
    services.ledger.claim(claim, policy, services.clock.now()).await.unwrap().remove(0).delivery
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loader_reads_an_object_under_its_live_lease_only() {
    let house = House::new();
    house.client("nightly").await.put("/ims/a.csv", &csv(200_000)).await;
    let (mut loader, mut other) = (house.client("loader").await, house.client("other-loader").await);
    assert_eq!(loader.list("/").await, ["queue"]);
    let id = loader.list("/queue").await.remove(0);
    let object = format!("/queue/{id}/object.age");
    assert_eq!(loader.list(&format!("/queue/{id}")).await, ["manifest.json", "receipt.tlog-proof", "object.age"]);
    let manifest = loader.get(&format!("/queue/{id}/manifest.json")).await;
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!((&manifest["name"], &manifest["size"]), (&"a.csv".into(), &200_000.into()));
    let unclaimed = loader.open(&object, 1).await;
    assert_eq!(unclaimed.code(), PERMISSION_DENIED);
    assert!(unclaimed.message().contains("claim it first"));

    assert_eq!(claim(&house, "loader").await.to_string(), id);
    assert_eq!(other.open(&object, 1).await.code(), PERMISSION_DENIED);
    let sealed = loader.get(&object).await;
    assert!(sealed.starts_with(b"age-encryption.org/v1\n"));
    assert_eq!(sealed.len() as u64, loader.stat(&object).await.size());
    assert_eq!(Some(sealed.len() as u64), manifest["sealed_size"].as_u64());
    house.event(Kind::ObjectRead).await;

    let handle = loader.open(&object, 1).await.handle();
    assert_eq!(loader.read(&handle, 0, 100).await.data().len(), 100);
    house.services.clock.advance(Duration::from_secs(61));
    assert_eq!(loader.read(&handle, 0, 100).await.code(), PERMISSION_DENIED, "the lease ran out");

    for reply in [
        loader.open("/x.csv", 0x1a).await,
        loader.open(&object, 0x1a).await,
        loader.ask(13, &text(&object)).await,
        loader.ask(14, &[text("/x"), vec![0; 4]].concat()).await,
        loader.ask(18, &[text(&object), text("/x")].concat()).await,
    ] {
        assert_eq!(reply.code(), PERMISSION_DENIED);
    }
    assert_eq!(loader.stat("/help.txt").await.code(), NO_SUCH_FILE);
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_wait_for_room_and_come_whole_and_in_order() {
    let house = House::new();
    house.client("nightly").await.put("/ims/a.csv", &csv(6_000_000)).await;
    let id = claim(&house, "loader").await;
    let mut loader = house.client("loader").await;
    let object = format!("/queue/{id}/object.age");
    let whole = loader.get(&object).await;
    let handle = loader.open(&object, 1).await.handle();
    let mut stream = Vec::new();
    for offset in (0..whole.len()).step_by(32_768) {
        let body = [&text(&handle)[..], &(offset as u64).to_be_bytes(), &32_768u32.to_be_bytes()].concat();
        stream.extend(loader.request(5, &body).1);
    }

    // A small window that opens by and by: never much past it.
    let mut session = loader.session.take().unwrap();
    session.data(&stream, 100_000, &mut loader.out).await.unwrap();
    let mut data = Vec::new();
    while data.len() < whole.len() {
        let replies = loader.all();
        let bytes: usize = replies.iter().map(|reply| reply.body.len()).sum();
        assert!((1..100_000 + 33_000).contains(&bytes), "{bytes} bytes for a room of 100,000");
        replies.iter().for_each(|reply| data.extend_from_slice(reply.data()));
        assert_eq!(data.len() == whole.len(), session.eof(0, &mut loader.out).await.unwrap());
        session.writable(100_000, &mut loader.out).await.unwrap();
    }
    assert!(data == whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enormous_window_is_served_to_the_end_without_holding_it_all() {
    let house = House::new();
    house.client("nightly").await.put("/ims/a.csv", &csv(6_000_000)).await;
    let id = claim(&house, "loader").await;
    let mut loader = house.client("loader").await;
    let object = format!("/queue/{id}/object.age");
    let whole = loader.get(&object).await;
    let handle = loader.open(&object, 1).await.handle();
    let (mut stream, mut ids) = (Vec::new(), Vec::new());
    for offset in (0..whole.len()).step_by(261_120) {
        let body = [&text(&handle)[..], &(offset as u64).to_be_bytes(), &261_120u32.to_be_bytes()].concat();
        let (id, bytes) = loader.request(5, &body);
        ids.push(id);
        stream.extend(bytes);
    }
    loader.session.as_mut().unwrap().data(&stream, 0x7fff_ffff, &mut loader.out).await.unwrap();
    let held: usize = loader.out.iter().map(|out| if let Out::Data(bytes) = out { bytes.len() } else { 0 }).sum();
    assert!(held < 2_500_000, "{held} bytes in one call");
    let mut data = Vec::new();
    for id in ids {
        data.extend_from_slice(loader.reply(id).await.data());
    }
    assert!(data == whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn restricted_rows_are_listed_beside_the_manifest_when_there_are_any() {
    let house = House::new();
    house.client("nightly").await.put("/ims/a.csv", &csv(1000)).await;
    let mut ended = crate::ledger::testing::ended("harbour", "b.csv", house.services.clock.now());
    ended.receipt.report.restricted = 6;
    ended.restricted = crate::audit::Restricted { ranges: vec![(17, 17), (20, 24)], count: 6 };
    house.services.ledger.accept(ended).await.unwrap();
    let mut loader = house.client("loader").await;
    let mut with_rows = 0;
    for id in loader.list("/queue").await {
        let manifest = loader.get(&format!("/queue/{id}/manifest.json")).await;
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let path = format!("/queue/{id}/restricted.txt");
        if manifest["restricted"] == 0 {
            assert_eq!(
                loader.list(&format!("/queue/{id}")).await,
                ["manifest.json", "receipt.tlog-proof", "object.age"]
            );
            assert_eq!(loader.stat(&path).await.code(), NO_SUCH_FILE);
            assert_eq!(loader.open(&path, 1).await.code(), NO_SUCH_FILE);
            continue;
        }
        with_rows += 1;
        assert!(loader.list(&format!("/queue/{id}")).await.contains(&"restricted.txt".to_owned()));
        assert_eq!(loader.get(&path).await, b"17\n20-24\n");
        assert_eq!(loader.stat(&path).await.size(), 9);
        assert_eq!(loader.open(&path, 0x1a).await.code(), PERMISSION_DENIED);
    }
    assert_eq!(with_rows, 1);
}
