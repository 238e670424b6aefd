//! The kill campaign: the daemon dies with SIGKILL at random moments under load, and keeps every promise it made.
//!
//! `NIGHTSAFE_KILL_ROUNDS` sets the number of kills (15 unless said otherwise); `tests/campaign kill --rounds 200` runs the
//! long one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nightsafe::audit::Verdict;

use crate::harness::{
    Client, Dice, Gateway, Raw, Setup, code, csv, digest, flag, fresh_dir, keys, kind, open_with_age,
    open_with_library, settle, string,
};

/// What a client was promised: name and digest of each upload answered OK.
type Promises = Arc<Mutex<BTreeMap<String, String>>>;

#[test]
fn killed_at_random_moments_the_daemon_keeps_every_promise() {
    let rounds = std::env::var("NIGHTSAFE_KILL_ROUNDS").map_or(15, |text| text.parse().expect("a number of rounds"));
    let mut dice = Dice::new();
    let mut gateway = Gateway::start(Setup::new());
    let promises = Promises::default();
    let counter = Arc::new(AtomicU64::new(0));
    let mut verified = BTreeMap::new();

    for round in 1..=rounds {
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..4)
            .map(|number| {
                let client = if number % 2 == 0 { gateway.harbour() } else { gateway.meadow() };
                let (stop, promises, counter) = (stop.clone(), promises.clone(), counter.clone());
                let seed = dice.within(1..u64::MAX >> 1);
                std::thread::spawn(move || match number {
                    0 | 1 => put_in_one_session(&client, seed, &stop, &promises, &counter),
                    2 => put_and_rename(&client, seed, &stop, &promises, &counter),
                    _ => put_with_stock_clients(&client, seed, &stop, &promises, &counter),
                })
            })
            .collect();
        // Random is the point here: the moment of the kill is what varies.
        std::thread::sleep(Duration::from_millis(dice.within(50..1200)));
        gateway.kill();
        stop.store(true, Ordering::SeqCst);
        for client in clients {
            client.join().unwrap();
        }

        gateway.launch();
        settle::nothing_under_way(&gateway);
        settle::rows_and_objects_match(&gateway);
        settle::each_accepted_upload_is_audited_and_queued_once(&gateway);
        let new = verify(&gateway, &promises, &mut verified);
        println!("round {round}: {new} new promises kept, {} in all", verified.len());
    }
    assert!(!verified.is_empty(), "no upload was ever answered OK: the campaign showed nothing");
}

/// Every promise stands in the ledger with its digest, and its object opens to those bytes. Returns how many were new.
fn verify(gateway: &Gateway, promises: &Promises, verified: &mut BTreeMap<String, String>) -> usize {
    let rows = gateway.uploads();
    let accepted = rows.iter().filter(|row| row.receipt.verdict == Verdict::Accepted);
    let by_name: BTreeMap<&str, _> = accepted.map(|row| (row.receipt.name.as_str(), row)).collect();
    let mut new = 0;
    for (name, sha256) in promises.lock().unwrap().iter() {
        let row = by_name.get(name.as_str()).unwrap_or_else(|| panic!("{name} was answered OK and is lost"));
        assert_eq!(row.receipt.sha256.to_string(), *sha256, "{name}");
        if verified.insert(name.clone(), sha256.clone()).is_some() {
            continue;
        }
        new += 1;
        let org = row.receipt.organisation.as_str();
        let object = gateway.object(&row.receipt.upload.to_string());
        assert_eq!(open_with_library(&object, org), *sha256, "{name} opens to something else");
        // One of each round with the program too: it knows nothing of this project's code.
        if new == 1 {
            assert_eq!(open_with_age(&object, &keys().identity(org)), *sha256, "{name} opens to something else");
        }
    }
    // What was accepted without its client hearing so (the answer was lost) must open as well.
    for row in by_name.values() {
        let (name, sha256) = (row.receipt.name.as_str(), row.receipt.sha256.to_string());
        if verified.insert(name.to_owned(), sha256.clone()).is_none() {
            let object = gateway.object(&row.receipt.upload.to_string());
            assert_eq!(open_with_library(&object, row.receipt.organisation.as_str()), sha256, "{name}");
        }
    }
    new
}

fn next(counter: &AtomicU64, dice: &mut Dice) -> (String, Vec<u8>) {
    let number = counter.fetch_add(1, Ordering::SeqCst);
    // Mostly small ones, some of several chunks, a few of some mebibytes.
    let size = match dice.within(0..10) {
        0..6 => dice.within(128..20_000),
        6..9 => dice.within(20_000..400_000),
        _ => dice.within(1_000_000..6_000_000),
    };
    (format!("extract-{number}.csv"), csv(size as usize, number))
}

fn put_with_stock_clients(client: &Client, seed: u64, stop: &AtomicBool, promises: &Promises, counter: &AtomicU64) {
    let mut dice = Dice::seeded(seed);
    let dir = fresh_dir("kill");
    while !stop.load(Ordering::SeqCst) {
        let (name, content) = next(counter, &mut dice);
        let file = dir.path().join(&name);
        std::fs::write(&file, &content).unwrap();
        let done = client.sftp(&format!("put {} /{name}\n", file.display()));
        if done.succeeded() {
            promises.lock().unwrap().insert(name, digest(&content));
        }
        std::fs::remove_file(&file).unwrap();
    }
}

fn put_in_one_session(client: &Client, seed: u64, stop: &AtomicBool, promises: &Promises, counter: &AtomicU64) {
    let mut dice = Dice::seeded(seed);
    let mut session = client.raw();
    while !stop.load(Ordering::SeqCst) {
        let (name, content) = next(counter, &mut dice);
        let Some(()) = try_put(&mut session, &format!("/{name}"), &content) else { return };
        promises.lock().unwrap().insert(name, digest(&content));
    }
}

fn put_and_rename(client: &Client, seed: u64, stop: &AtomicBool, promises: &Promises, counter: &AtomicU64) {
    let mut dice = Dice::seeded(seed);
    let mut session = client.raw();
    while !stop.load(Ordering::SeqCst) {
        let (name, content) = next(counter, &mut dice);
        let Some(()) = try_put(&mut session, &format!("/{name}.filepart"), &content) else { return };
        let names = [string(format!("/{name}.filepart").as_bytes()), string(format!("/{name}").as_bytes())].concat();
        let Some(renamed) = session.try_request(kind::RENAME, &names) else { return };
        assert_eq!(renamed.status().code, code::OK, "{name}: {renamed:?}");
        promises.lock().unwrap().insert(name, digest(&content));
    }
}

/// One upload; none when the session broke on the way. A refusal fails the test: nothing here deserves one.
fn try_put(session: &mut Raw, path: &str, content: &[u8]) -> Option<()> {
    session.try_init()?;
    let flags = flag::WRITE | flag::CREATE | flag::TRUNCATE;
    let open = [string(path.as_bytes()), flags.to_be_bytes().to_vec(), 0u32.to_be_bytes().to_vec()].concat();
    let handle =
        session.try_request(kind::OPEN, &open)?.handle().unwrap_or_else(|refused| panic!("{path}: {refused:?}"));
    let mut offset = 0u64;
    for part in content.chunks(32 * 1024) {
        let body = [&string(&handle)[..], &offset.to_be_bytes(), &string(part)].concat();
        let written = session.try_request(kind::WRITE, &body)?.status();
        assert_eq!(written.code, code::OK, "{path}: {written:?}");
        offset += part.len() as u64;
    }
    let closed = session.try_request(kind::CLOSE, &string(&handle))?.status();
    assert_eq!(closed.code, code::OK, "{path}: {closed:?}");
    Some(())
}
