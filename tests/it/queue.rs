//! The queue through the door: leases, backoff, dead letters, waiting; and many deliveries with loaders that die.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use nightsafe::audit::Kind;
use nightsafe::ledger::DeliveryState;

use crate::harness::{Dice, Gateway, PATIENCE, Setup, code, csv, eventually, fresh_dir, start, within};
use crate::loading::{claim_one, load_command, text};

#[test]
fn a_claim_can_be_extended_and_acknowledged_and_the_acknowledgement_repeated() {
    let gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/visits.csv");
    let loader = gateway.loader();
    let claimed = claim_one(&loader, "--lease 1m");
    let (delivery, lease) = (text(&claimed, "delivery"), text(&claimed, "lease"));
    assert_eq!(loader.exec("claim").ok().json_lines().len(), 0, "claimed twice");

    let extended = loader.exec(&format!("extend {delivery} --lease {lease} --for 30m")).ok().json_lines().remove(0);
    let time = |value: &serde_json::Value| text(value, "lease_expires").parse::<nightsafe::types::Timestamp>().unwrap();
    assert!(time(&extended) > time(&claimed), "{extended} after {claimed}");

    let ack = format!("ack {delivery} --lease {lease}");
    assert_eq!(loader.exec(&ack).ok().json_lines()[0]["state"], "loaded");
    loader.exec(&ack).exits(0);
    assert_eq!(gateway.events_of(Kind::DeliveryAcknowledged).len(), 1);
    let late = loader.exec(&format!("nack {delivery} --lease {lease} --reason too late")).exits(1);
    assert!(!late.stderr.is_empty());
}

#[test]
fn claims_can_be_narrowed_by_organisation_dataset_and_number() {
    let mut gateway = Gateway::start(Setup::new());
    gateway.may_hold_leases = true;
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/interventions/a.csv");
    gateway.put(&gateway.harbour(), &csv(1_000, 2), "/outreach/b.csv");
    gateway.put(&gateway.meadow(), &csv(1_000, 3), "/interventions/c.csv");
    gateway.put(&gateway.meadow(), &csv(1_000, 4), "/interventions/d.csv");
    let loader = gateway.loader();
    let names = |line: &str| -> Vec<String> {
        loader.exec(line).ok().json_lines().iter().map(|claim| text(claim, "name")).collect()
    };
    assert_eq!(names("claim --org harbour --dataset outreach --max 10"), ["b.csv"]);
    assert_eq!(names("claim --org meadow --max 1"), ["c.csv"]);
    assert_eq!(names("claim --org meadow --org harbour --dataset interventions --max 10"), ["a.csv", "d.csv"]);
    assert!(names("claim --max 10").is_empty());
}

#[test]
fn a_command_that_makes_no_sense_is_a_usage_error() {
    let gateway = Gateway::start(Setup::new());
    let loader = gateway.loader();
    for line in ["claim --nonsense", "claim --max many", "ack", "ack not-an-id --lease x", "extend", "nack"] {
        let refused = loader.exec(line).exits(2);
        assert!(refused.stdout.is_empty() && !refused.stderr.is_empty(), "{refused:#?}");
    }
    let nobody = "01890a5d-ac96-774b-bcce-b302099a8057";
    let no = loader.exec(&format!("ack {nobody} --lease {nobody}")).exits(1);
    let error: serde_json::Value = serde_json::from_str(no.stderr.trim()).unwrap();
    assert!(error["error"].is_string(), "{error}");
}

#[test]
fn a_lease_that_runs_out_puts_the_delivery_back() {
    let gateway = Gateway::start(Setup::new().queue("lease = \"1s\"\nbackoff = \"1s\"\nbackoff_max = \"1s\""));
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/visits.csv");
    let loader = gateway.loader();
    let first = claim_one(&loader, "");
    let delivery = text(&first, "delivery");
    gateway.await_events(Kind::DeliveryExpired, 1);
    loader.exec(&format!("ack {delivery} --lease {}", text(&first, "lease"))).exits(1);

    let again = claim_one(&loader, "--wait 30s --lease 5m");
    assert_eq!(text(&again, "delivery"), delivery, "the delivery's id is stable");
    assert_eq!(again["attempt"], 2);
    assert_ne!(again["lease"], first["lease"]);
    loader.exec(&format!("ack {delivery} --lease {}", text(&again, "lease"))).exits(0);
}

#[test]
fn what_is_given_back_waits_longer_each_time_and_then_is_dead_until_retried() {
    let gateway = Gateway::start(Setup::new().queue("attempts = 3\nbackoff = \"300ms\"\nbackoff_max = \"10s\""));
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/visits.csv");
    let loader = gateway.loader();
    let mut delivery = String::new();
    for attempt in 1..=3 {
        let claimed = claim_one(&loader, "--wait 30s");
        assert_eq!(claimed["attempt"], attempt);
        delivery = text(&claimed, "delivery");
        let nack = format!("nack {delivery} --lease {} --reason the table is locked", text(&claimed, "lease"));
        let answer = loader.exec(&nack).ok().json_lines().remove(0);
        assert_eq!(answer["state"], if attempt == 3 { "dead" } else { "ready" }, "{answer}");
    }
    assert_eq!(gateway.events_of(Kind::DeliveryDead).len(), 1);
    let dead = gateway.deliveries().remove(0);
    assert_eq!(dead.state, DeliveryState::Dead);
    assert_eq!(dead.last_reason.as_deref(), Some("the table is locked"));
    assert_eq!(loader.exec("claim --wait 2s").ok().json_lines().len(), 0, "a dead delivery is claimed");

    let listed = gateway.command(&["queue", "list", "--json"]).ok();
    assert!(listed.stdout.contains(&delivery) && listed.stdout.contains("dead"), "{listed:#?}");
    gateway.command(&["queue", "retry", &delivery]).ok();
    let claimed = claim_one(&loader, "--wait 30s");
    assert_eq!(text(&claimed, "delivery"), delivery);
    loader.exec(&format!("ack {delivery} --lease {}", text(&claimed, "lease"))).exits(0);
}

#[test]
fn an_operator_can_release_a_lease() {
    let gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/visits.csv");
    let loader = gateway.loader();
    let first = claim_one(&loader, "");
    let delivery = text(&first, "delivery");
    gateway.command(&["queue", "release", &delivery]).ok();
    loader.exec(&format!("ack {delivery} --lease {}", text(&first, "lease"))).exits(1);
    let again = claim_one(&loader, "--wait 30s");
    loader.exec(&format!("ack {delivery} --lease {}", text(&again, "lease"))).exits(0);
}

#[test]
fn claim_wait_wakes_when_there_is_work_and_gives_up_when_there_is_none() {
    let gateway = Gateway::start(Setup::new());
    let loader = gateway.loader();
    let begun = Instant::now();
    assert_eq!(loader.exec("claim --wait 1s").ok().json_lines().len(), 0);
    assert!(begun.elapsed() >= Duration::from_secs(1), "it did not wait");

    let waiting = loader.start_exec("claim --wait 5m");
    gateway.await_events(Kind::SessionAdmitted, 2);
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/visits.csv");
    let claimed = waiting.wait(PATIENCE).ok().json_lines().remove(0);
    loader.exec(&format!("ack {} --lease {}", text(&claimed, "delivery"), text(&claimed, "lease"))).exits(0);
}

#[test]
fn two_waiting_claims_never_get_the_same_delivery() {
    let gateway = Gateway::start(Setup::new());
    let loader = gateway.loader();
    let waiting: Vec<_> = (0..2).map(|_| loader.start_exec("claim --max 1 --wait 5m")).collect();
    gateway.await_events(Kind::SessionAdmitted, 2);
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/a.csv");
    gateway.put(&gateway.harbour(), &csv(1_000, 2), "/b.csv");
    let mut names = Vec::new();
    for claim in waiting {
        let claimed = claim.wait(PATIENCE).ok().json_lines().remove(0);
        names.push(text(&claimed, "name"));
        loader.exec(&format!("ack {} --lease {}", text(&claimed, "delivery"), text(&claimed, "lease"))).exits(0);
    }
    names.sort();
    assert_eq!(names, ["a.csv", "b.csv"]);
}

#[test]
fn a_claim_whose_loader_went_away_while_waiting_claims_nothing() {
    let gateway = Gateway::start(Setup::new());
    let waiting = gateway.loader().start_exec("claim --wait 5m");
    gateway.await_events(Kind::SessionAdmitted, 1);
    waiting.kill();
    gateway.await_events(Kind::SessionEnded, 1);
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/visits.csv");
    assert_eq!(gateway.deliveries()[0].attempt, 0);
    assert_eq!(gateway.deliveries()[0].state, DeliveryState::Ready);
}

const DELIVERIES: u64 = 200;

/// Loads what it is given, and leaves a line with the delivery's id and the digest of what it read. `poison.csv` fails.
const SCRIPT: &str = r#"#!/bin/sh
set -eu
all=$(mktemp "$LOADED/.all-XXXXXX")
cat > "$all"
# When the loader itself is killed, the input ends early: the documents say what to do.
[ "$(wc -c < "$all")" -eq "$NIGHTSAFE_SIZE" ] || { rm -f "$all"; echo "cut short" >&2; exit 6; }
sum=$(sha256sum < "$all" | cut -d' ' -f1)
rm -f "$all"
case "$NIGHTSAFE_NAME" in poison.csv) echo "cannot load this" >&2; exit 5;; esac
note=$(mktemp "$LOADED/.note-XXXXXX")
echo "$NIGHTSAFE_DELIVERY $sum" > "$note"
mv "$note" "$LOADED/note-$(basename "$note")"
"#;

#[test]
fn two_loaders_killed_at_random_load_200_deliveries_and_acknowledge_none_twice() {
    let queue = "lease = \"5s\"\nattempts = 10\nbackoff = \"100ms\"\nbackoff_max = \"100ms\"";
    let mut gateway = Gateway::start(Setup::new().queue(queue));
    put_many(&gateway);
    let dir = fresh_dir("loaders");
    let (script, loaded) = (dir.path().join("load"), dir.path().join("loaded"));
    std::fs::create_dir(&loaded).unwrap();
    std::fs::write(&script, SCRIPT).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    // As on two machines, each of which finds its own folder again after a crash.
    let begin = |machine: usize| {
        let mut command = load_command(&gateway, "loader-all", &format!("work-{machine}"));
        command.args(["--jobs", "2", "--lease", "5s", "--exec"]).arg(&script).env("LOADED", &loaded);
        start(command, b"")
    };

    let mut dice = Dice::new();
    let mut loaders = [Some(begin(0)), Some(begin(1))];
    let mut kills = 0;
    let settled = |state| gateway.deliveries().iter().filter(|d| d.state == state).count() as u64;
    within(8 * PATIENCE, "all deliveries to be loaded or dead", || {
        if settled(DeliveryState::Loaded) == DELIVERIES && settled(DeliveryState::Dead) == 1 {
            return Some(());
        }
        for loader in loaders.iter_mut().flatten() {
            assert!(!loader.ended(), "a loader ended by itself: {:#?}", loader.output());
        }
        // Random is the point here: the moment of the kill is what varies. The kills end at last, so that the rest is done.
        std::thread::sleep(Duration::from_millis(dice.within(100..1_500)));
        if kills < 16 {
            let unlucky = dice.within(0..2) as usize;
            // The old one is killed first: two loaders do not share a folder.
            loaders[unlucky] = None;
            loaders[unlucky] = Some(begin(unlucky));
            kills += 1;
        }
        None
    });
    println!("{kills} loaders were killed");
    assert!(kills > 0, "no loader was killed: the test showed nothing");
    drop(loaders);
    gateway.await_events(Kind::DeliveryDead, 1);

    let mut notes = BTreeMap::new();
    for file in std::fs::read_dir(&loaded).unwrap().flatten() {
        if file.file_name().to_string_lossy().starts_with("note-") {
            let note = std::fs::read_to_string(file.path()).unwrap();
            let (delivery, sum) = note.trim().split_once(' ').unwrap();
            notes.insert(delivery.to_owned(), sum.to_owned());
        }
    }
    for delivery in gateway.deliveries() {
        let name = delivery.receipt.name.as_str();
        if name == "poison.csv" {
            assert_eq!(delivery.state, DeliveryState::Dead);
            assert_eq!(delivery.attempt, 10, "{delivery:?}");
            continue;
        }
        // The note is there (loaded), with the bytes that were put (at least once).
        let sum = notes.get(&delivery.delivery.to_string()).unwrap_or_else(|| panic!("{name} was never loaded"));
        assert_eq!(*sum, delivery.receipt.sha256.to_string(), "{name}");
    }
    let acknowledged = gateway.events_of(Kind::DeliveryAcknowledged);
    assert_eq!(acknowledged.len() as u64, DELIVERIES, "acknowledged more or less than once");
    gateway.settle();
}

/// 200 extracts and the one that no loader can take, by one raw session.
fn put_many(gateway: &Gateway) {
    let mut session = gateway.harbour().session();
    let names = (0..DELIVERIES).map(|number| format!("extract-{number}.csv")).chain(["poison.csv".to_owned()]);
    for (number, name) in (0..).zip(names) {
        let content = csv(500 + 37 * number as usize, number);
        let handle = session.create(&format!("/{name}"));
        session.write(&handle, 0, &content).unwrap();
        assert_eq!(session.close(&handle).code, code::OK, "{name}");
    }
    eventually("all deliveries", || (gateway.deliveries().len() as u64 == DELIVERIES + 1).then_some(()));
}
