//! The audit log at size: a ledger of so many events made by its own verbs, and what it then takes to append, verify,
//! list, prove and erase.
//!
//! `cargo run --release --example log -- [EVENTS] [SESSIONS] [FOLDER]`; a million events, 32 sessions at once, a folder in
//! the temporary directory that goes away. With a FOLDER the ledger stays there, and is used again if it is there. The last
//! line has all figures as JSON: benches/audit-log makes the table of docs/PROOF.md from it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark: it prints, and ends when something fails")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nightsafe::audit::{Event, Kind, Receipt, Report, Signer, Verdict};
use nightsafe::ledger::{Claim, Ended, Erasure, Filter, Ledger, Policy, ProofOf, Verification};
use nightsafe::types::*;

const POLICY: Policy = Policy { attempts: 5, backoff: Duration::from_secs(60), backoff_max: Duration::from_secs(3600) };

/// Events that one upload leaves: admitted, begun, accepted, ended, claimed, acknowledged.
const EACH: u64 = 6;
const ORGS: u64 = 300;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let events: u64 = arguments.next().map_or(1_000_000, |text| text.parse().unwrap());
    let sessions: u64 = arguments.next().map_or(32, |text| text.parse().unwrap());
    let folder = arguments.next().map(PathBuf::from);
    let temporary = tempfile::tempdir().unwrap();
    let folder = folder.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(folder).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run(folder, events, sessions));
}

async fn run(folder: &Path, events: u64, sessions: u64) {
    let file = folder.join("ledger.sqlite");
    let key = folder.join("signing.key");
    let signer: Signer = match std::fs::read_to_string(&key) {
        Ok(secret) => secret.parse().unwrap(),
        Err(_) => {
            let (signer, secret) = Signer::generate("sftp.example.org/audit").unwrap();
            std::fs::write(&key, secret.as_bytes()).unwrap();
            signer
        }
    };
    let ledger = Ledger::open(&file, signer.clone()).unwrap();
    let mut done = ledger.last_event().await.unwrap() / EACH;
    let (mut appended, mut figures) = (Vec::new(), serde_json::Map::new());
    while done * EACH < events {
        let tenth = events.div_ceil(10 * EACH).max(1);
        let (before, commits) = (Instant::now(), ledger.commits());
        let tasks: Vec<_> = (0..sessions)
            .map(|session| {
                let (ledger, numbers) = (ledger.clone(), (done..done + tenth).filter(move |n| n % sessions == session));
                tokio::spawn(async move {
                    for n in numbers {
                        upload(&ledger, n).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        done += tenth;
        let (took, commits) = (before.elapsed(), ledger.commits() - commits);
        let each = took.as_secs_f64() * 1e6 / (tenth * EACH) as f64;
        println!("appended, {:>9} events in all: {each:6.1} us each, {commits} commits", done * EACH);
        appended.push(each);
    }
    figures.insert("appended_us".into(), appended.into());
    let size = std::fs::metadata(&file).unwrap().len();
    let each = size / ledger.last_event().await.unwrap();
    println!("the file has {each} bytes for each event");
    figures.insert("bytes".into(), each.into());

    let keys = vec![signer.verifier_key().clone()];
    let before = Instant::now();
    let verified = ledger.verify(Verification { keys, ..Verification::default() }).await.unwrap();
    let (took, findings) = (before.elapsed(), verified.findings.len());
    println!(
        "verify: {took:.2?}, {} events, {} checkpoints, {findings} findings",
        verified.events, verified.checkpoints
    );
    assert_eq!(findings, 0, "{:#?}", verified.findings);
    figures.insert("events".into(), verified.events.into());
    figures.insert("checkpoints".into(), verified.checkpoints.into());
    figures.insert("verify_s".into(), took.as_secs_f64().into());

    let middle = ledger.leaves(events / 2, 1).await.unwrap().remove(0);
    let some =
        ledger.events(&Filter { after: Some(middle.sequence), limit: Some(20), ..Filter::default() }).await.unwrap();
    let upload = some.iter().find_map(|logged| logged.event.upload);
    let account = some.iter().map(|logged| logged.event.actor.account.clone()).find(|name| name.starts_with("acc"));
    let at = some[0].event.at;
    let filters = [
        ("upload", Filter { upload, ..Filter::default() }),
        ("account", Filter { account: account.clone(), limit: Some(1000), ..Filter::default() }),
        ("account since", Filter { account, since: Some(at), limit: Some(1000), ..Filter::default() }),
        ("organisation", Filter { org: some[0].event.org.clone(), limit: Some(1000), ..Filter::default() }),
        ("kind", Filter { kind: Some(Kind::DeliveryAcknowledged), limit: Some(1000), ..Filter::default() }),
        ("time", Filter { since: Some(at), limit: Some(1000), ..Filter::default() }),
    ];
    for (name, filter) in filters {
        let before = Instant::now();
        let found = ledger.events(&filter).await.unwrap().len();
        let took = before.elapsed();
        println!("list by {name}: {took:.2?}, {found} events");
        figures.insert(format!("list_{}_ms", name.replace(' ', "_")), (took.as_secs_f64() * 1e3).into());
    }
    let mut worst = Duration::ZERO;
    for n in 0..200 {
        let before = Instant::now();
        let sequence = n * events / 200 + 1;
        ledger.proof(ProofOf::Event(sequence)).await.unwrap().unwrap();
        worst = worst.max(before.elapsed());
    }
    println!("proof, the slowest of 200: {worst:.2?}");
    figures.insert("proof_ms".into(), (worst.as_secs_f64() * 1e3).into());
    let (old, new) = (events / 3, events - events % EACH);
    let before = Instant::now();
    ledger.consistency(old, new).await.unwrap();
    let took = before.elapsed();
    println!("consistency: {took:.2?}");
    figures.insert("consistency_ms".into(), (took.as_secs_f64() * 1e3).into());
    erase(&ledger, upload.unwrap(), done, &mut figures).await;
    println!("{}", serde_json::Value::from(figures));
    ledger.close().await.unwrap();
}

/// Erases an upload while others come, one after the other.
async fn erase(ledger: &Ledger, id: UploadId, first: u64, figures: &mut serde_json::Map<String, serde_json::Value>) {
    let over = Arc::new(AtomicBool::new(false));
    let (others, ended) = (ledger.clone(), over.clone());
    let others = tokio::spawn(async move {
        let (mut longest, mut n) = (Duration::ZERO, first);
        while !ended.load(Ordering::Relaxed) {
            let before = Instant::now();
            upload(&others, n).await;
            longest = longest.max(before.elapsed());
            n += 1;
        }
        (longest, n - first)
    });
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let actor = Actor { account: "operator".into(), ..Actor::gateway() };
    let erasure = Erasure { upload: id, actor, why: "asked for".into(), daemon_runs: false };
    let before = Instant::now();
    let taken = ledger.erase(erasure, now).await.unwrap().unwrap();
    let transaction = before.elapsed();
    ledger.scrub(taken, |step| println!("erasure: {step:?}")).await.unwrap();
    let whole = before.elapsed();
    over.store(true, Ordering::Relaxed);
    let (longest, count) = others.await.unwrap();
    println!(
        "erasure: {whole:.2?}, of it {transaction:.2?} in its transaction; {count} uploads meanwhile, the slowest {longest:.2?}"
    );
    for (name, took) in [("erase_transaction_s", transaction), ("erase_s", whole), ("erase_others_s", longest)] {
        figures.insert(name.into(), took.as_secs_f64().into());
    }
}

/// One upload of an organisation, and its loading.
async fn upload(ledger: &Ledger, n: u64) {
    let at = Timestamp::from_second(1_700_000_000 + n as i64).unwrap();
    let org: OrgId = format!("org{:03}", n % ORGS).parse().unwrap();
    let actor = Actor {
        org: Some(org.clone()),
        account: format!("acc{:03}-nightly", n % ORGS),
        fingerprint: Some(Fingerprint("SHA256:qgwFLzrCcnJdLhwAZLSqIU0vWAjmUVz6S3eMoEwZBfI".into())),
        address: Some("192.0.2.7:50122".parse().unwrap()),
        session: Some(SessionId::new(at)),
        client: Some("OpenSSH_9.6p1 Ubuntu-3".into()),
    };
    let upload = UploadId::new(at);
    let dataset: DatasetName = "ims-interventions".parse().unwrap();
    let recorder = ledger.recorder();
    let admitted = Event::new(at, Kind::SessionAdmitted, actor.clone()).with("role", "provider");
    recorder.record(admitted.with("listener", "0.0.0.0:2222")).await;
    let begun = Event::new(at, Kind::UploadBegun, actor.clone()).dataset(&dataset).upload(upload);
    recorder.record(begun.with("place", "/").with("name", format!("extract-{n:07}.csv")).with("size", 0)).await;
    let mut sha256 = [0; 32];
    sha256[..8].copy_from_slice(&n.to_le_bytes());
    let receipt = Receipt {
        gateway: "sftp.example.org".into(),
        upload,
        verdict: Verdict::Accepted,
        reasons: Vec::new(),
        name: format!("extract-{n:07}.csv").parse().unwrap(),
        size: 12_345,
        sha256: Sha256(sha256),
        time: at,
        organisation: org.clone(),
        dataset: dataset.clone(),
        account: actor.account.parse().unwrap(),
        fingerprint: actor.fingerprint.clone().unwrap(),
        supersedes: None,
        report: Report { rows: Some(300), complete: true, ..Report::default() },
        scan: None,
        quarantined: false,
    };
    let envelope = Some(Envelope { header: Sha256(sha256), recipients: vec![Sha256([1; 32]), Sha256([2; 32])] });
    let (place, restricted) = (Place::Inbox, nightsafe::audit::Restricted::default());
    let ended = Ended {
        receipt,
        place,
        sealed_size: 12_800,
        restricted,
        md5: None,
        sha1: None,
        vouched: Vec::new(),
        envelope,
        actor: actor.clone(),
    };
    let (_, delivery) = ledger.accept(ended).await.unwrap();
    recorder.record(Event::new(at, Kind::SessionEnded, actor).with("reason", "the client left")).await;
    let account: AccountName = "loader".parse().unwrap();
    let loader = Actor { account: account.to_string(), ..Actor::gateway() };
    let take = Take { orgs: Some([org].into()), datasets: None };
    let claim = Claim {
        actor: loader.clone(),
        account,
        take,
        orgs: None,
        datasets: None,
        max: 1,
        lease: Duration::from_secs(600),
    };
    let claimed = ledger.claim(claim, POLICY, at).await.unwrap();
    let claimed = claimed.iter().find(|claimed| claimed.delivery == delivery).unwrap();
    ledger.acknowledge(delivery, claimed.lease.unwrap(), loader, POLICY, at).await.unwrap().unwrap();
}
