//! The soak campaign: everyone at work for long. Providers put, abort, rename and are rejected; loaders load, fail and are
//! killed; operators list and change the configuration. After each round the promises stand in the ledger, and what the daemon
//! holds (descriptors, threads, memory) is what it held after the first rounds.
//!
//! `NIGHTSAFE_SOAK_SECONDS` sets the time (3 unless said otherwise); `tests/campaign soak --minutes 30` runs the long one.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nightsafe::audit::{Kind, Verdict};
use nightsafe::ledger::{DeliveryState, Filter, UploadRow};

use crate::harness::{
    Client, Dice, Gateway, PATIENCE, Setup, TempDir, code, csv, digest, eventually, files_under, fresh_dir, run, start,
};
use crate::loading::load_command;

/// Rounds after which what the daemon holds is taken as what it needs.
const WARM_UP: u64 = 3;
/// Rounds after the warm-up that there are even when the time is over.
const AT_LEAST: u64 = 2;
/// Between rounds there may never be more than this, as parts of a hundred of the most after a warm-up round.
const DESCRIPTORS: u64 = 150;
const THREADS: u64 = 200;
const MEMORY: u64 = 200;

/// What a client was promised: name and digest of each upload answered OK.
type Promises = BTreeMap<String, String>;

#[test]
fn after_each_round_of_everyone_at_work_promises_are_kept_and_the_daemon_holds_no_more_than_before() {
    let time = std::env::var("NIGHTSAFE_SOAK_SECONDS").map_or(3, |text| text.parse().expect("a number of seconds"));
    let end = Instant::now() + Duration::from_secs(time);
    let mut dice = Dice::new();
    let queue = "attempts = 50\nbackoff = \"100ms\"\nbackoff_max = \"200ms\"";
    let mut gateway = Gateway::start(Setup::new().queue(queue));
    let loader = Loader::new();
    let mut newest: Option<UploadRow> = None;
    let (mut warm, mut most) = (Held::default(), Held::default());
    let (mut promised, mut round) = (0, 0);

    while round < WARM_UP + AT_LEAST || Instant::now() < end {
        round += 1;
        let promises = work(&gateway, round, &mut dice, newest.as_ref(), &loader);
        newest = Some(verify(&gateway, &promises, newest.as_ref()));
        promised += promises.len();
        remove_drafts(&gateway);
        eventually("an empty spool", || files_under(&gateway.path("state/spool")).is_empty().then_some(()));

        if round <= WARM_UP {
            warm = warm.most(Held::by(&gateway));
            continue;
        }
        // The last connections go a moment after their clients, and idle threads a little later.
        let mut seen = Held::default();
        let held = crate::harness::within(PATIENCE, "descriptors, threads and memory as after the warm-up", || {
            let held = Held::by(&gateway);
            if held != seen {
                println!("round {round}: {held:?}, after the warm-up {warm:?}");
                seen = held;
            }
            held.is_within(warm).then_some(held)
        });
        most = most.most(held);
    }
    println!("{round} rounds, {promised} promises kept; after the warm-up {warm:?}, at most {most:?}");

    // What killed loaders left comes back when its lease is over.
    crate::harness::within(3 * PATIENCE, "all deliveries to be loaded", || {
        loader.loads(&gateway);
        gateway.deliveries().iter().all(|delivery| delivery.state == DeliveryState::Loaded).then_some(())
    });
    for delivery in gateway.deliveries() {
        let sum = std::fs::read_to_string(loader.loaded(delivery.delivery.to_string())).unwrap();
        assert_eq!(
            sum.trim(),
            delivery.receipt.sha256.to_string(),
            "{} was loaded as something else",
            delivery.receipt.name.as_str()
        );
    }
    gateway.settle();
}

/// One round: everyone at once. Returns what was answered OK.
fn work(gateway: &Gateway, round: u64, dice: &mut Dice, receipt: Option<&UploadRow>, loader: &Loader) -> Promises {
    let (harbour, meadow) = (gateway.harbour(), gateway.meadow());
    let mut draw = || Dice::seeded(dice.within(1..u64::MAX >> 1));
    let (mut stock_dice, mut raw_dice, mut loader_dice, mut operator_dice) = (draw(), draw(), draw(), draw());
    std::thread::scope(|scope| {
        let stock = scope.spawn(move || puts_with_stock_clients(&harbour, round, &mut stock_dice, receipt));
        let raw = scope.spawn(move || puts_and_aborts(&meadow, round, &mut raw_dice));
        let loading = scope.spawn(move || match loader_dice.within(0..3) {
            0 => loader.dies(gateway, &mut loader_dice),
            _ => loader.loads(gateway),
        });
        changes_and_lists(gateway, round, &mut operator_dice);
        loading.join().unwrap();
        let mut promises = stock.join().unwrap();
        promises.append(&mut raw.join().unwrap());
        promises
    })
}

/// What was broken off is a draft by now, or was too small to be one.
fn remove_drafts(gateway: &Gateway) {
    eventually("all sessions to be over", || {
        let drafts = gateway.command(&["upload", "list", "--drafts"]).ok().stdout;
        (!drafts.contains("writing")).then_some(())
    });
    for name in gateway.meadow().list("/") {
        if name.starts_with("left-") || name.starts_with("broken-") {
            gateway.meadow().sftp(&format!("rm /{name}\n"));
        }
    }
}

/// Every promise of the round stands in the ledger with its digest; returns the newest row.
fn verify(gateway: &Gateway, promises: &Promises, newest: Option<&UploadRow>) -> UploadRow {
    let filter = Filter { since: newest.map(|row| row.receipt.time), ..Filter::default() };
    let rows = gateway.ledger(|ledger| async move { ledger.uploads(&filter).await });
    for (name, sha256) in promises {
        let kept = rows.iter().any(|row| {
            let receipt = &row.receipt;
            receipt.verdict == Verdict::Accepted
                && receipt.name.as_str() == name
                && receipt.sha256.to_string() == *sha256
        });
        assert!(kept, "{name} was answered OK and is lost");
    }
    let accepted = rows.into_iter().filter(|row| row.receipt.verdict == Verdict::Accepted);
    accepted.max_by_key(|row| row.receipt.time).expect("a round has uploads")
}

// -- providers --

fn content(round: u64, number: u64, dice: &mut Dice) -> Vec<u8> {
    let size = if dice.within(0..10) == 0 { 1_500_000 } else { dice.within(128..100_000) };
    csv(size as usize, round * 100 + number)
}

/// Whole, under a working name, and nothing at all, which is rejected; and the receipt of an earlier one.
fn puts_with_stock_clients(client: &Client, round: u64, dice: &mut Dice, receipt: Option<&UploadRow>) -> Promises {
    let dir = fresh_dir("soak");
    let file = |name: &str, content: &[u8]| {
        let file = dir.path().join(name);
        std::fs::write(&file, content).unwrap();
        file.display().to_string()
    };
    let (whole, renamed) = (content(round, 1, dice), content(round, 2, dice));
    let batch = format!(
        "put {} /whole-{round}.csv\nput {} /outreach/renamed-{round}.csv.part\n\
         rename /outreach/renamed-{round}.csv.part /outreach/renamed-{round}.csv\n",
        file("whole", &whole),
        file("renamed", &renamed)
    );
    client.sftp(&batch).ok();
    client.sftp(&format!("put {} /empty-{round}.csv\n", file("empty", b""))).fails();
    if let Some(row) = receipt.filter(|row| row.receipt.organisation.as_str() == "harbour") {
        let (name, upload) = (row.receipt.name.as_str(), row.receipt.upload);
        let local = dir.path().join("receipt");
        client.sftp(&format!("get /receipts/{name}.{upload}.receipt.json {}\n", local.display())).ok();
        let read: serde_json::Value = serde_json::from_slice(&std::fs::read(&local).unwrap()).unwrap();
        assert_eq!(read["sha256"], row.receipt.sha256.to_string());
    }
    [(format!("whole-{round}.csv"), digest(&whole)), (format!("renamed-{round}.csv"), digest(&renamed))].into()
}

/// In raw sessions: whole ones, one that a loader finds fault with at first, and two that are broken off.
fn puts_and_aborts(client: &Client, round: u64, dice: &mut Dice) -> Promises {
    let mut session = client.session();
    let mut promises = Promises::new();
    for (number, name) in [(3, format!("raw-{round}.csv")), (4, format!("flaky-{round}.csv"))] {
        let content = content(round, number, dice);
        let handle = session.create(&format!("/{name}"));
        session.write(&handle, 0, &content).unwrap();
        let closed = session.close(&handle);
        assert_eq!(closed.code, code::OK, "{name}: {closed:?}");
        promises.insert(name, digest(&content));
    }
    let handle = session.create(&format!("/left-{round}.csv"));
    session.write(&handle, 0, &content(round, 5, dice)).unwrap();
    session.close_input();
    session.await_end();

    let mut broken = client.session();
    let handle = broken.create(&format!("/broken-{round}.csv"));
    broken.write(&handle, 0, &content(round, 6, dice)).unwrap();
    broken.kill();
    promises
}

// -- loaders --

/// Notes the digest of what it is given, and fails on the first attempt of some.
const SCRIPT: &str = r#"#!/bin/sh
set -eu
sum=$(sha256sum | cut -d' ' -f1)
case "$NIGHTSAFE_ATTEMPT $NIGHTSAFE_NAME" in "1 flaky-"*) echo "the table is locked" >&2; exit 7;; esac
note=$(mktemp "$LOADED/.note-XXXXXX")
echo "$sum" > "$note"
mv "$note" "$LOADED/$NIGHTSAFE_DELIVERY"
"#;

/// One machine's loader; its command's notes are what was loaded.
struct Loader {
    dir: TempDir,
}

impl Loader {
    fn new() -> Self {
        let dir = fresh_dir("soak-loader");
        let script = dir.path().join("load");
        std::fs::create_dir(dir.path().join("loaded")).unwrap();
        std::fs::write(&script, SCRIPT).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
        Self { dir }
    }

    fn loaded(&self, delivery: impl AsRef<Path>) -> std::path::PathBuf {
        self.dir.path().join("loaded").join(delivery)
    }

    fn command(&self, gateway: &Gateway) -> std::process::Command {
        let mut command = load_command(gateway, "loader-all", "work");
        command.args(["--jobs", "2", "--lease", "5s", "--once", "--exec"]).arg(self.dir.path().join("load"));
        command.env("LOADED", self.loaded(""));
        command
    }

    /// Loads what there is; 1 says that the command failed on some of it.
    fn loads(&self, gateway: &Gateway) {
        let done = run(self.command(gateway), b"", 2 * PATIENCE);
        assert!(matches!(done.code(), Some(0 | 1)), "{done:#?}");
    }

    fn dies(&self, gateway: &Gateway, dice: &mut Dice) {
        let loader = start(self.command(gateway), b"");
        // Random is the point here: the moment of the kill is what varies.
        std::thread::sleep(Duration::from_millis(dice.within(20..600)));
        loader.kill();
    }
}

// -- operators --

/// Lists, while the configuration changes: sometimes to an invalid one first, which is refused.
fn changes_and_lists(gateway: &Gateway, round: u64, dice: &mut Dice) {
    let from =
        gateway.ledger(|ledger| async move { ledger.events(&Filter { limit: Some(1), ..Filter::default() }).await });
    let from = from.last().map(|logged| logged.sequence);
    let heard = |kind: Kind| {
        eventually(&format!("an event {}", kind.as_str()), || {
            let filter = Filter { kind: Some(kind), after: from, ..Filter::default() };
            let events = gateway.ledger(|ledger| async move { ledger.events(&filter).await });
            (!events.is_empty()).then_some(())
        });
    };
    if dice.within(0..2) == 0 {
        gateway.edit("config/orgs/meadow.toml", "\"interventions\"", "\"no-such-dataset\"");
        heard(Kind::ConfigRefused);
        gateway.command(&["check"]).exits(2);
        gateway.edit("config/orgs/meadow.toml", "\"no-such-dataset\"", "\"interventions\"");
    }
    let contact = |round: u64| {
        format!("Data team, data{}@example.org", if round == 0 { String::new() } else { round.to_string() })
    };
    gateway.edit("config/nightsafe.toml", &contact(round - 1), &contact(round));
    heard(Kind::ConfigReloaded);
    let listings: [&[&str]; 5] =
        [&["upload", "list"], &["queue", "list", "--json"], &["audit", "list", "--json"], &["org", "list"], &["check"]];
    let listing = listings[dice.within(0..listings.len() as u64) as usize];
    let done = gateway.command(listing).ok();
    assert!(!done.stdout.is_empty() || listing[0] == "queue", "{listing:?} says nothing");
}

// -- what the daemon holds --

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Held {
    descriptors: u64,
    threads: u64,
    /// Resident, in KiB.
    memory: u64,
}

impl Held {
    fn by(gateway: &Gateway) -> Self {
        let process = format!("/proc/{}", gateway.pid().as_raw_nonzero());
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
        let number = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        let descriptors = std::fs::read_dir(format!("{process}/fd")).unwrap().count() as u64;
        Self { descriptors, threads: number("Threads:"), memory: number("VmRSS:") }
    }

    fn most(self, other: Self) -> Self {
        Self {
            descriptors: self.descriptors.max(other.descriptors),
            threads: self.threads.max(other.threads),
            memory: self.memory.max(other.memory),
        }
    }

    fn is_within(self, warm: Self) -> bool {
        self.descriptors * 100 <= warm.descriptors * DESCRIPTORS
            && self.threads * 100 <= warm.threads * THREADS
            && self.memory * 100 <= warm.memory * MEMORY
    }
}
