//! Whole uploads, from an admitted account to the ledger, on a real vault and ledger.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::pipeline::tests::{Bench, plaintext};
use super::*;
use crate::access::{Access, Admission, fixture};
use crate::audit::{Event, Verdict};
use crate::check::{Format, Rules};
use crate::config::{Config, Dataset, OnReject, Severity};
use crate::ledger::{Filter, Logged};

mod companions;
mod drafts;
mod sizes;
mod waiting;

struct House {
    bench: Bench,
    intake: Intake,
    ledger: Ledger,
    clock: Clock,
    principal: Principal,
    key: SpoolKey,
    config: Arc<Config>,
    _config: watch::Sender<Arc<Config>>,
}

fn config(bench: &Bench, key: &russh::keys::PublicKey) -> Config {
    let mut config = fixture::config([fixture::account("harbour-nightly", "harbour", Role::Provider, &[key])]);
    let rules = Rules::of(Format::Csv, 4 << 20);
    let name: DatasetName = "ims".parse().unwrap();
    let dataset = Dataset::of(name.clone(), rules);
    config.datasets.insert(name.clone(), dataset);
    config.intake.working_suffixes = vec![".part".into(), ".filepart".into()];
    for org in config.orgs.values_mut() {
        org.datasets.insert(name.clone());
        org.recipients = vec![bench.recipient.clone()];
    }
    config
}

impl House {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With a changed dataset.
    async fn asking(change: impl FnOnce(&mut Dataset)) -> Self {
        Self::with(|config| config.datasets.values_mut().next().map(change).unwrap()).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let bench = Bench::new();
        let ledger = Ledger::open(&bench.dir.path().join("ledger.sqlite"), crate::ledger::testing::signer()).unwrap();
        let clock = Clock::fixed("2026-03-01T12:00:00Z".parse().unwrap());
        let key = fixture::key().public_key().clone();
        let mut config = config(&bench, &key);
        change(&mut config);
        let config = Arc::new(config);
        let (sender, live) = watch::channel(config.clone());
        let access = Access::new(live.clone(), ledger.recorder(), clock.clone());
        let mut arrival = access.arrive("192.0.2.9:40000".parse().unwrap()).await.unwrap();
        let admission = access.admit(&mut arrival, &fixture::listener(), "harbour-nightly", &key, "SSH-2.0-Test").await;
        let Admission::Admitted(principal) = admission else { panic!("not admitted") };
        let key = SpoolKey::generate().unwrap();
        let intake = Intake::new(live, bench.vault.clone(), ledger.clone(), clock.clone(), key.clone());
        Self { bench, intake, ledger, clock, principal, key, config, _config: sender }
    }

    async fn recover(&self, ledger: &Ledger) -> Recovered {
        recover(&self.bench.vault, ledger, &self.clock, &self.key, &self.config).await.unwrap()
    }

    async fn begin(&self, name: &str) -> Result<Upload, Refusal> {
        self.intake.begin(&self.principal, &Place::Inbox, &name.parse().unwrap(), 0).await
    }

    async fn put(&self, name: &str, plain: &[u8]) -> Result<Closed, Refusal> {
        let mut upload = self.begin(name).await.unwrap();
        for (index, piece) in plain.chunks(32_000).enumerate() {
            upload.write(index as u64 * 32_000, piece).await?;
        }
        upload.close().await
    }

    async fn resume(&self, name: &str, append: bool) -> Result<Upload, Refusal> {
        self.intake.resume(&self.principal, &Place::Inbox, &name.parse().unwrap(), append).await
    }

    async fn remove(&self, name: &str) {
        self.intake.remove(&self.principal, &Place::Inbox, &name.parse().unwrap()).await.unwrap();
    }

    fn size(&self, name: &str) -> Option<u64> {
        let view = self.intake.draft(self.principal.org(), &Place::Inbox, &name.parse().unwrap());
        view.map(|view| view.size)
    }

    /// Waits until no session's part is under way.
    async fn idle(&self) {
        while self.intake.under_way() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn rename(&self, from: &str, to: &str) -> Result<Closed, Refusal> {
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        self.intake.rename(&self.principal, (&Place::Inbox, &from), (&Place::Inbox, &to)).await
    }

    /// Events about uploads and drafts, in order.
    async fn told(&self) -> Vec<Event> {
        // Recorded events are stored in order: when this one is, those before it are.
        let is_mark = |logged: &&Logged| logged.event.kind == Kind::DaemonStopped;
        let before = self.ledger.events(&Filter::default()).await.unwrap().iter().filter(is_mark).count();
        self.ledger.recorder().record(Event::new(self.clock.now(), Kind::DaemonStopped, Actor::gateway())).await;
        loop {
            let events = self.ledger.events(&Filter::default()).await.unwrap();
            if events.iter().filter(is_mark).count() > before {
                return events.into_iter().map(|logged| logged.event).filter(|event| event.upload.is_some()).collect();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn kinds(&self) -> Vec<&'static str> {
        self.told().await.iter().map(|event| event.kind.as_str()).collect()
    }

    /// Nothing is under way, the spool is empty, and vault and ledger agree.
    async fn assert_settled(&self) {
        for _ in 0..15_000 {
            if self.bench.spooled() == 0 && self.intake.under_way() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!((self.bench.spooled(), self.intake.under_way()), (0, 0));
        let expected: Vec<_> = self.ledger.expected_objects().await.unwrap().into_iter().collect();
        assert_eq!(self.bench.vault.objects().unwrap(), expected);
        assert_eq!(self.ledger.verify(crate::ledger::testing::believing()).await.unwrap().findings, []);
    }
}

fn accepted(closed: Result<Closed, Refusal>) -> Receipt {
    match closed {
        Ok(Closed::Accepted(receipt)) => receipt,
        other => panic!("{other:?}"),
    }
}

fn rejected(closed: Result<Closed, Refusal>) -> String {
    match closed {
        Err(refusal) if refusal.kind == RefusalKind::Rejected => refusal.reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_is_sealed_stored_and_recorded_when_close_answers() {
    let house = House::new().await;
    for (name, size) in [("a.csv", 1), ("b.csv", 65_536), ("c.csv", 3_000_000)] {
        let plain = plaintext(size);
        let receipt = accepted(house.put(name, &plain).await);
        assert_eq!(
            (receipt.verdict, receipt.size, receipt.sha256),
            (Verdict::Accepted, size as u64, Sha256::of(&plain))
        );
        assert!(house.bench.opened(receipt.upload) == plain);
    }
    assert_eq!(house.kinds().await, ["upload.begun", "upload.accepted"].repeat(3));
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_are_rejected_with_a_report_and_nothing_is_kept() {
    let house = House::new().await;
    assert!(rejected(house.put("a.csv", b"").await).contains("0 bytes"));
    assert!(rejected(house.put("b.csv", b"%PDF-1.7 x").await).contains("PDF"));
    assert!(house.put("c.csv", &plaintext(5 << 20)).await.is_err());
    let mut reports = house.ledger.receipts(house.principal.org(), Timestamp::UNIX_EPOCH, None, 10).await.unwrap();
    // Ids of one millisecond have no order.
    reports.sort_by(|a, b| a.name.cmp(&b.name));
    let verdicts: Vec<_> = reports.iter().map(|report| (report.name.as_str(), report.verdict)).collect();
    assert_eq!(verdicts[..2], [("a.csv", Verdict::Rejected), ("b.csv", Verdict::Rejected)]);
    assert_eq!((reports[1].size, reports[1].sha256), (10, Sha256::of(b"%PDF-1.7 x")));
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_or_a_refused_write_is_never_accepted() {
    let house = House::new().await;
    let mut gap = house.begin("a.csv").await.unwrap();
    gap.write(0, b"abc").await.unwrap();
    gap.write(10, b"xyz").await.unwrap();
    assert!(rejected(gap.close().await).contains("bytes 3 to 9"));

    let mut far = house.begin("b.csv").await.unwrap();
    far.write(0, b"abc").await.unwrap();
    assert!(far.write(u64::MAX - 1, b"xyz").await.is_err());
    assert!(far.write(3, b"d").await.is_err(), "the fault stays");
    assert!(rejected(far.close().await).contains("no file is that long"));

    let mut jumbled = house.begin("c.csv").await.unwrap();
    for (offset, bytes) in [(3, b"def"), (6, b"ghi"), (0, b"abc")] {
        jumbled.write(offset, bytes).await.unwrap();
    }
    assert_eq!(jumbled.size(), 9);
    let receipt = accepted(jumbled.close().await);
    assert_eq!(house.bench.opened(receipt.upload), b"abcdefghi");
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_connection_leaves_is_a_draft_or_an_audited_abort() {
    let house = House::new().await;
    let mut upload = house.begin("a.csv").await.unwrap();
    upload.write(0, &plaintext(1_000_000)).await.unwrap();
    drop(upload);
    let mut small = house.begin("b.csv").await.unwrap();
    small.write(0, b"less than a chunk").await.unwrap();
    drop(small);
    house.begin("c.csv").await.unwrap().leave("the client said so").await;
    house.idle().await;
    let told = house.told().await;
    let aborts: Vec<_> = told.iter().filter(|e| e.kind == Kind::UploadAborted).collect();
    let mut reasons: Vec<_> = aborts.iter().map(|e| e.detail["reason"].as_str().unwrap()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["the client said so", "the connection was lost"]);
    let kept: Vec<_> = told.iter().filter(|e| e.kind == Kind::DraftKept).collect();
    assert_eq!((kept.len(), kept[0].detail["size"].as_u64()), (1, Some(15 * 65_536)));
    let view = house.intake.draft(house.principal.org(), &Place::Inbox, &"a.csv".parse().unwrap()).unwrap();
    assert_eq!((view.size, view.closed), (15 * 65_536, false));
    house.remove("a.csv").await;
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_goes_on_without_its_session() {
    let house = House::new().await;
    let mut upload = house.begin("a.csv").await.unwrap();
    upload.write(0, &plaintext(100_000)).await.unwrap();
    drop(upload.close());
    house.assert_settled().await;
    assert_eq!(house.kinds().await, ["upload.begun", "upload.accepted"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draft_is_completed_by_its_rename() {
    let house = House::new().await;
    let plain = plaintext(300_000);
    assert!(matches!(house.put("a.csv.part", &plain).await, Ok(Closed::Draft { size: 300_000 })));
    let view = &house.intake.drafts(house.principal.org(), &Place::Inbox)[0];
    assert_eq!((view.name.as_str(), view.size, view.closed), ("a.csv.part", 300_000, true));
    assert!(matches!(house.rename("a.csv.part", "a.csv.filepart").await, Ok(Closed::Draft { size: 300_000 })));
    assert_eq!(house.rename("a.csv.part", "a.csv").await.unwrap_err().kind, RefusalKind::NotFound);
    assert!(house.rename("a.csv.filepart", "a.xlsx").await.is_err(), "the draft stays");
    let receipt = accepted(house.rename("a.csv.filepart", "a.csv").await);
    assert_eq!((receipt.name.as_str(), receipt.sha256), ("a.csv", Sha256::of(&plain)));
    assert!(house.bench.opened(receipt.upload) == plain);
    house.assert_settled().await;
    assert_eq!(house.kinds().await.last(), Some(&"upload.accepted"));
    assert!(rejected(house.put("b.csv.part", b"%PDF-").await).contains("PDF"), "at CLOSE already");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drafts_end_by_removal_or_expiry() {
    let house = House::new().await;
    let (inbox, name) = (Place::Inbox, "a.csv.part".parse().unwrap());
    house.put("a.csv.part", b"x").await.unwrap();
    house.intake.remove(&house.principal, &inbox, &name).await.unwrap();
    assert_eq!(house.intake.remove(&house.principal, &inbox, &name).await.unwrap_err().kind, RefusalKind::NotFound);

    house.put("a.csv.part", b"x").await.unwrap();
    house.intake.expire_drafts().await;
    assert_eq!(house.intake.drafts(house.principal.org(), &inbox).len(), 1);
    house.clock.advance(Duration::from_secs(86_400));
    house.intake.expire_drafts().await;
    assert_eq!(house.intake.drafts(house.principal.org(), &inbox).len(), 0);

    let mut running = house.begin("b.csv").await.unwrap();
    running.write(0, b"x").await.unwrap();
    house.intake.leave_all("the gateway stops").await;
    assert!(running.write(1, b"y").await.unwrap_err().reason.contains("the gateway stops"));
    assert!(running.close().await.is_err());
    house.assert_settled().await;
    let kinds = house.kinds().await;
    let count = |kind: &str| kinds.iter().filter(|known| **known == kind).count();
    assert_eq!((count("draft.removed"), count("draft.expired"), count("upload.aborted")), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_stops_begins_nothing_and_lets_what_runs_come_to_its_end() {
    let house = House::new().await;
    let lately = Duration::from_secs(5);
    let mut running = house.begin("a.csv.part").await.unwrap();
    house.intake.begin_no_more();
    let refused = house.begin("b.csv").await.err().unwrap();
    assert!(refused.kind == RefusalKind::Failure && refused.reason.contains("stopping"), "{}", refused.reason);
    running.write(0, b"x").await.unwrap();
    running.close().await.unwrap();
    assert_eq!((house.intake.under_way(), house.intake.unsettled(lately)), (0, 1), "its RENAME is still to come");
    accepted(house.rename("a.csv.part", "a.csv").await);
    assert_eq!(house.intake.unsettled(lately), 0);
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_removed_by_another_session_fails() {
    let house = House::new().await;
    let mut upload = house.begin("a.csv").await.unwrap();
    upload.write(0, &plaintext(600_000)).await.unwrap();
    house.intake.remove(&house.principal, &Place::Inbox, &"a.csv".parse().unwrap()).await.unwrap();
    assert!(upload.write(600_000, b"x").await.is_err());
    assert!(upload.close().await.unwrap_err().reason.contains("removed it"));
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quota_space_and_number_are_limits() {
    let house = House::with(|config| {
        config.intake.uploads_per_org = 2;
        config.orgs.values_mut().for_each(|org| org.quota = 10_000);
    })
    .await;
    let (first, _second) = (house.begin("a.csv").await.unwrap(), house.begin("b.csv").await.unwrap());
    assert!(house.begin("c.csv").await.err().unwrap().reason.contains("unfinished uploads"));
    first.leave("x").await;
    accepted(house.put("c.csv", &plaintext(20_000)).await);
    assert!(house.begin("d.csv").await.err().unwrap().reason.contains("quota"));

    let full = House::with(|config| config.intake.reserve = u64::MAX).await;
    assert_eq!(full.begin("a.csv").await.err().unwrap().kind, RefusalKind::Failure);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_or_a_ledger_that_fails_keeps_nothing_and_says_so() {
    // With repeats the ledger would be asked before it is told, and the object removed at once.
    let house = House::asking(|dataset| dataset.repeated = Severity::Accept).await;
    let mut upload = house.begin("a.csv").await.unwrap();
    upload.write(0, b"x").await.unwrap();
    let spool = house.bench.dir.path().join("spool");
    std::fs::remove_dir(&spool).unwrap();
    assert_eq!(upload.close().await.unwrap_err().kind, RefusalKind::Failure);
    std::fs::create_dir(&spool).unwrap();
    assert_eq!(house.kinds().await, ["upload.begun", "upload.aborted"]);

    let mut upload = house.begin("b.csv").await.unwrap();
    upload.write(0, b"x").await.unwrap();
    let id = upload.id();
    house.ledger.close().await.unwrap();
    assert_eq!(upload.close().await.unwrap_err().kind, RefusalKind::Failure);
    // A closed ledger does not say whether it recorded the upload: the next start decides.
    let ledger = Ledger::open(&house.bench.dir.path().join("ledger.sqlite"), crate::ledger::testing::signer()).unwrap();
    let recovered = house.recover(&ledger).await;
    assert_eq!((recovered.unrecorded, recovered.aborted), (vec![id], vec![id]));
    assert_eq!((house.bench.vault.objects().unwrap(), house.bench.spooled()), (vec![], 0));
    assert_eq!(ledger.verify(crate::ledger::testing::believing()).await.unwrap().findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovery_removes_what_is_half_tells_what_is_missing_and_can_be_repeated() {
    let house = House::new().await;
    let whole = accepted(house.put("a.csv", b"whole").await);
    let lost = accepted(house.put("b.csv", b"lost").await);
    house.bench.vault.remove(lost.upload).unwrap();
    // A killed daemon: nothing ran that an end would run.
    let mut killed = house.begin("c.csv").await.unwrap();
    killed.write(0, b"in memory alone").await.unwrap();
    let killed_id = killed.id();
    house.told().await;
    std::mem::forget(killed);
    let orphan = UploadId::new(house.clock.now());
    house.bench.vault.create(orphan, 0).unwrap().keep().unwrap();

    let recovered = house.recover(&house.ledger).await;
    assert_eq!((recovered.unrecorded, recovered.missing), (vec![orphan], vec![lost.upload]));
    assert_eq!(recovered.aborted, [killed_id]);
    assert_eq!(house.bench.vault.objects().unwrap(), [whole.upload]);
    let events = house.told().await;
    let abort = events.iter().find(|event| event.kind == Kind::UploadAborted).unwrap();
    assert_eq!((abort.org.as_ref(), abort.detail["name"].as_str()), (Some(house.principal.org()), Some("c.csv")));

    let again = house.recover(&house.ledger).await;
    assert!(again.aborted.is_empty() && again.unrecorded.is_empty() && again.missing.len() == 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_upload_is_kept_sealed_where_the_dataset_quarantines() {
    let house = House::asking(|dataset| dataset.on_reject = OnReject::Quarantine).await;
    let plain = [b"%PDF-1.7 ".as_slice(), &plaintext(3_000_000)].concat();
    let mut upload = house.begin("a.csv").await.unwrap();
    for (index, piece) in plain.chunks(32_000).enumerate() {
        if upload.write(index as u64 * 32_000, piece).await.is_err() {
            break;
        }
    }
    let told = rejected(upload.close().await);
    assert!(told.contains("PDF"), "{told}");
    let rows = house.ledger.uploads(&Filter { quarantined: true, ..Filter::default() }).await.unwrap();
    let receipt = &rows[0].receipt;
    assert!(receipt.quarantined && receipt.report.errors == 1 && !receipt.report.complete);
    // A client that heard of the fault may have stopped; what came is what is kept.
    let opened = house.bench.opened(receipt.upload);
    assert!(opened.len() as u64 == receipt.size && plain.starts_with(&opened) && Sha256::of(&opened) == receipt.sha256);
    assert_eq!(house.ledger.stored_bytes(house.principal.org()).await.unwrap(), rows[0].sealed_size);
    assert_eq!(house.ledger.deliveries(&Filter::default()).await.unwrap(), []);
    house.assert_settled().await;

    assert!(rejected(house.put("b.csv.part", b"%PDF-1.7 x").await).contains("PDF"), "a draft at its CLOSE");
    let mut gap = house.begin("c.csv").await.unwrap();
    gap.write(0, b"abc").await.unwrap();
    gap.write(10, b"xyz").await.unwrap();
    rejected(gap.close().await);
    let kept = house.ledger.uploads(&Filter { quarantined: true, ..Filter::default() }).await.unwrap();
    assert_eq!(kept.len(), 3);
    let gap = kept.iter().find(|row| row.receipt.name.as_str() == "c.csv").unwrap();
    assert_eq!(
        (house.bench.opened(gap.receipt.upload), gap.receipt.report.groups[0].rule.as_str()),
        (b"abc".to_vec(), "transfer")
    );
    house.assert_settled().await;

    let recovered = house.recover(&house.ledger).await;
    assert!(recovered.unrecorded.is_empty() && recovered.missing.is_empty(), "a restart leaves it alone");
    assert_eq!(house.bench.vault.objects().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_not_even_quarantined_and_its_report_says_so() {
    let house = House::asking(|dataset| {
        dataset.on_reject = OnReject::Quarantine;
        dataset.rules = Rules::of(Format::Csv, 100_000);
    })
    .await;
    let mut upload = house.begin("a.csv").await.unwrap();
    upload.write(0, &plaintext(200_000)).await.unwrap();
    rejected(upload.close().await);
    let receipt = &house.ledger.uploads(&Filter::default()).await.unwrap()[0].receipt;
    assert!(!receipt.quarantined && receipt.reasons.iter().any(|why| why.contains("too large to be quarantined")));
    assert!(receipt.text().contains("\nReason:        it is too large to be quarantined"), "{}", receipt.text());
    assert_eq!(house.bench.vault.objects().unwrap(), []);
    house.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_bytes_again_are_flagged_rejected_or_taken_as_the_dataset_says() {
    let house = House::new().await;
    let first = accepted(house.put("a.csv", b"x,y\n1,2\n").await);
    assert_eq!(first.report.flags, []);
    let again = accepted(house.put("b.csv", b"x,y\n1,2\n").await);
    assert_eq!(again.report.flag_names(), ["repeated"]);
    assert!(
        again.report.flags[0].message.contains("as \"a.csv\" on 2026-03-01 12:00:00 UTC"),
        "{:?}",
        again.report.flags
    );
    assert_eq!(accepted(house.put("b.csv", b"x,y\n1,3\n").await).report.flags, []);

    let strict = House::asking(|dataset| dataset.repeated = Severity::Reject).await;
    accepted(strict.put("a.csv", b"x\n").await);
    let told = rejected(strict.put("b.csv", b"x\n").await);
    assert!(told.contains("the same bytes were accepted before"), "{told}");
    strict.put("c.csv.part", b"x\n").await.unwrap();
    rejected(strict.rename("c.csv.part", "c.csv").await);
    assert_eq!(strict.bench.vault.objects().unwrap().len(), 1, "nothing of the repeats is kept");
    strict.assert_settled().await;

    let open = House::asking(|dataset| dataset.repeated = Severity::Accept).await;
    accepted(open.put("a.csv", b"x\n").await);
    assert_eq!(accepted(open.put("b.csv", b"x\n").await).report.flags, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restricted_rows_go_with_the_upload_also_through_a_draft() {
    let house = House::new().await;
    for name in ["a.csv", "b.csv.part"] {
        let upload = house.begin(name).await.unwrap();
        let facts = upload.facts.clone();
        let mut sealing = sealing::Sealing::begin(&mut house.bench.seed_of(facts.upload).origin).unwrap();
        sealing.push(b"sealed").unwrap();
        let spool = sealing.finish().unwrap();
        let mut outcome = crate::check::Outcome::default();
        (outcome.report.complete, outcome.report.restricted) = (true, 2);
        assert!(outcome.restricted.add(3) && outcome.restricted.add(4));
        let (size, sha256, stored) = (6, Sha256::of(name.as_bytes()), pipeline::Stored::Draft(spool));
        let finished = pipeline::Finished {
            size,
            sha256,
            md5: None,
            sha1: None,
            outcome,
            scan: None,
            stored,
            envelope: None,
            unkept: None,
        };
        assert!(facts.end());
        let receipt = if name == "a.csv" {
            let (intake, actor) = (house.intake.0.clone(), house.principal.actor().clone());
            let end = ending::End {
                intake,
                facts: facts.clone(),
                actor,
                gateway: "x".into(),
                place: Place::Inbox,
                name: name.parse().unwrap(),
                interrupted: false,
                renamed: false,
                segments: None,
            };
            let receipt = accepted(end.comes_to(finished).await);
            house.intake.0.registry.leave(facts.upload);
            receipt
        } else {
            let body = registry::Body::Whole(finished);
            house.intake.0.registry.keep(registry::Draft { facts, body, closed: true, since: house.clock.now() });
            accepted(house.rename(name, "b.csv").await)
        };
        assert_eq!(receipt.report.restricted, 2);
        assert_eq!(house.ledger.restricted(receipt.upload).await.unwrap().as_deref(), Some("3-4\n"));
    }
    house.assert_settled().await;
}
