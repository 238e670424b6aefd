//! Proof from end to end: what a provider fetches with sftp is verified offline, by our own command and by a script that
//! shares nothing with it; what a loader demands of the log; what an operator compares with what was kept elsewhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use nightsafe::audit::Kind;
use nightsafe::ledger::DeliveryState;

use crate::harness::{Client, Dice, Done, Gateway, NIGHTSAFE, PATIENCE, Setup, TempDir, csv, fresh_dir, keys, run};
use crate::loading::{load_command, load_into};

/// A machine that has nothing but the binary and what is put there: no configuration, no state, no home.
struct Elsewhere(TempDir);

impl Elsewhere {
    fn new() -> Self {
        Self(fresh_dir("elsewhere"))
    }
    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    fn put(&self, name: &str, content: &[u8]) -> PathBuf {
        let file = self.file(name);
        std::fs::write(&file, content).unwrap();
        file
    }
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.0.path())
            .env_clear()
            .env("HOME", self.0.path())
            .env("PATH", std::env::var("PATH").unwrap());
        command
    }
    /// `nightsafe receipt verify WORDS... --key VKEY`
    fn verify(&self, words: &[&str], input: &[u8]) -> Done {
        let mut command = self.command(NIGHTSAFE);
        command.args(["receipt", "verify"]).args(words).args(["--key", &keys().verifier()]);
        run(command, input, PATIENCE)
    }
    /// The script of docs/examples, by another implementation.
    fn script(&self, words: &[&str]) -> Done {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/verify.py");
        let mut command = self.command("python3");
        command.arg(script).args(words);
        run(command, b"", PATIENCE)
    }
}

/// Fetches the files under /receipts that end in `suffix`, and gives the last one's local path.
fn fetch(client: &Client, suffix: &str, to: &Path) -> PathBuf {
    let name = client.list("/receipts").into_iter().rfind(|name| name.ends_with(suffix));
    let name = name.unwrap_or_else(|| panic!("no {suffix} among {:?}", client.list("/receipts")));
    let local = to.join(&name);
    client.sftp(&format!("get \"/receipts/{name}\" \"{}\"\n", local.display())).ok();
    local
}

/// The proof of the end of the last upload whose name begins so.
fn fetch_proof(client: &Client, named: &str, to: &Path) -> PathBuf {
    let mut names = client.list("/receipts").into_iter().filter(|name| name.starts_with(named));
    let is_end = |name: &String| name.ends_with(".tlog-proof") && !name.ends_with(".loaded.tlog-proof");
    let name = names.rfind(is_end).unwrap();
    let local = to.join(&name);
    client.sftp(&format!("get \"/receipts/{name}\" \"{}\"\n", local.display())).ok();
    local
}

#[test]
fn a_receipt_is_verified_on_a_machine_with_nothing_but_the_binary_the_proof_and_the_key() {
    let gateway = Gateway::start(Setup::new());
    let content = csv(50_000, 1);
    gateway.put(&gateway.harbour(), &content, "/visits.csv");
    let elsewhere = Elsewhere::new();
    let proof = fetch_proof(&gateway.harbour(), "", elsewhere.0.path());
    let receipt = fetch(&gateway.harbour(), ".receipt.json", elsewhere.0.path());
    let listed = gateway.harbour().sftp("ls -l /receipts\n").ok().stdout;
    let size = std::fs::metadata(&proof).unwrap().len().to_string();
    assert!(listed.lines().any(|line| line.contains(&size) && line.ends_with("tlog-proof")), "{size}: {listed}");
    drop(gateway);

    let (proof, receipt) = (proof.to_str().unwrap().to_owned(), receipt.to_str().unwrap().to_owned());
    let extract = elsewhere.put("visits.csv", &content);
    let told = elsewhere.verify(&[&proof, "--extract", "visits.csv", "--receipt", &receipt], b"").ok().stdout;
    for words in [
        "PROVEN: this file was received whole, accepted",
        "File:          visits.csv",
        "Size:          50,000 bytes",
        "Gateway:       sftp.example.org",
        "Account:       harbour-nightly",
        "Log:           sftp.example.org/audit",
        "visits.csv is the file that is meant",
        "says what stands in the log",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    // Through a pipe, and for a program.
    let json = elsewhere.verify(&["-", "--json"], &std::fs::read(&proof).unwrap()).ok().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["proven"], &json["kind"], &json["event"]["detail"]["size"]),
        (&true.into(), &"upload.accepted".into(), &50_000.into())
    );

    // Another file, another receipt, another key, a witness that never signed.
    std::fs::write(&extract, csv(50_000, 2)).unwrap();
    let other = elsewhere.verify(&[&proof, "--extract", "visits.csv"], b"").exits(1);
    assert!(other.stderr.contains("NOT THIS FILE") && other.stderr.contains("SHA-256"), "{other:#?}");
    std::fs::write(&extract, &content[..100]).unwrap();
    assert!(elsewhere.verify(&[&proof, "--extract", "visits.csv"], b"").exits(1).stderr.contains("100 bytes"));
    let forged = std::fs::read_to_string(&receipt).unwrap().replace("visits.csv", "other.csv");
    elsewhere.put("forged.json", forged.as_bytes());
    let forged = elsewhere.verify(&[&proof, "--receipt", "forged.json"], b"").exits(1);
    assert!(forged.stderr.contains("name is \"other.csv\""), "{forged:#?}");
    let added = std::fs::read_to_string(&receipt).unwrap().replacen('{', "{ \"loaded\": \"all rows, confirmed\",", 1);
    elsewhere.put("added.json", added.as_bytes());
    let added = elsewhere.verify(&[&proof, "--receipt", "added.json"], b"").exits(1);
    assert!(added.stderr.contains("loaded is added"), "{added:#?}");
    let (mut stranger, mut key) = (elsewhere.command(NIGHTSAFE), elsewhere.command(NIGHTSAFE));
    key.args(["audit", "key", "--name", "sftp.example.org/audit", "--new", "stranger.key"]);
    let key = run(key, b"", PATIENCE).ok().stdout;
    stranger.args(["receipt", "verify", &proof, "--key", key.trim()]);
    assert!(run(stranger, b"", PATIENCE).exits(1).stderr.contains("NOT PROVEN"));
    elsewhere.verify(&["absent.tlog-proof"], b"").exits(2);
    let json = elsewhere.verify(&["-", "--json"], b"nothing").exits(1).stdout;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["proven"], false);
}

#[test]
fn no_bit_of_a_proof_may_change() {
    let gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/visits.csv");
    let elsewhere = Elsewhere::new();
    let proof = std::fs::read(fetch_proof(&gateway.harbour(), "", elsewhere.0.path())).unwrap();
    elsewhere.verify(&["-"], &proof).ok();
    // The formats' own tests try every bit; this is the way through the command.
    let mut dice = Dice::new();
    for _ in 0..60 {
        let (byte, bit) = (dice.within(0..proof.len() as u64) as usize, dice.within(0..8));
        let mut bent = proof.clone();
        bent[byte] ^= 1 << bit;
        let done = elsewhere.verify(&["-"], &bent).exits(1);
        assert!(done.stderr.contains("NOT PROVEN"), "byte {byte}, bit {bit}: {done:#?}");
    }
    for cut in [0, 1, proof.len() / 2, proof.len() - 1] {
        elsewhere.verify(&["-"], &proof[..cut]).exits(1);
    }
    elsewhere.verify(&["-"], &[&proof[..], b"\n"].concat()).exits(1);
}

#[test]
fn a_script_that_shares_nothing_with_us_verifies_the_same_proofs() {
    let gateway = Gateway::start(Setup::new());
    let content = csv(2_000, 1);
    // Entries enough for a path with several hashes.
    for number in 0..6 {
        gateway.put(&gateway.harbour(), &content, &format!("/visits{number}.csv"));
    }
    gateway.put(&gateway.harbour(), &content, "/ünïcode.csv");
    let elsewhere = Elsewhere::new();
    let proof = fetch_proof(&gateway.harbour(), "", elsewhere.0.path()).display().to_string();
    elsewhere.put("extract.csv", &content);
    let told = elsewhere.script(&[&proof, &keys().verifier(), "extract.csv"]).ok().stdout;
    assert!(told.starts_with("PROVEN: entry ") && told.contains("is the one that is meant"), "{told}");

    elsewhere.put("other.csv", &csv(2_000, 2));
    elsewhere.script(&[&proof, &keys().verifier(), "other.csv"]).exits(1);
    let bent = std::fs::read_to_string(&proof).unwrap().replacen("\nindex ", "\nindex 1", 1);
    let bent = elsewhere.put("bent.tlog-proof", bent.as_bytes()).display().to_string();
    elsewhere.script(&[&bent, &keys().verifier()]).exits(1);
}

#[test]
fn a_rejection_and_a_loading_are_proven_too() {
    let gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.meadow(), &csv(1_000, 1), "/visits.csv");
    let elsewhere = Elsewhere::new();
    elsewhere.put("bad.csv", b"");
    gateway.meadow().sftp(&format!("put {} /bad.csv\n", elsewhere.file("bad.csv").display())).fails();
    let names = gateway.meadow().list("/receipts");
    assert_eq!(names.iter().filter(|name| name.ends_with(".tlog-proof")).count(), 2, "{names:?}");
    let bad = fetch_proof(&gateway.meadow(), "bad", elsewhere.0.path()).display().to_string();
    let report = fetch(&gateway.meadow(), ".report.json", elsewhere.0.path()).display().to_string();
    // Whoever asks by the exit status asks whether it was accepted.
    let words = [&bad, "--extract", "bad.csv", "--receipt", &report];
    let no = elsewhere.verify(&words, b"").exits(1);
    assert!(no.stdout.starts_with("PROVEN, and it was REJECTED: ") && no.stdout.contains("\nReason:  "), "{no:#?}");
    assert!(no.stderr.contains("REJECTED") && no.stderr.contains("--rejected"), "{no:#?}");
    let json = elsewhere.verify(&[&bad, "--json"], b"").exits(1).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["proven"], &json["kind"]), (&true.into(), &"upload.rejected".into()));
    let told = elsewhere.verify(&[&words[..], &["--rejected"]].concat(), b"").ok().stdout;
    assert_eq!(told, no.stdout);
    let script = elsewhere.script(&[&bad, &keys().verifier(), "bad.csv"]).exits(1);
    assert!(script.stdout.starts_with("PROVEN, and it was REJECTED: ") && script.stderr.contains("--rejected"));
    elsewhere.script(&["--rejected", &bad, &keys().verifier(), "bad.csv"]).ok();
    // An acceptance is no rejection.
    let good = fetch_proof(&gateway.meadow(), "visits", elsewhere.0.path()).display().to_string();
    elsewhere.verify(&[&good], b"").ok();
    assert!(elsewhere.verify(&[&good, "--rejected"], b"").exits(1).stderr.contains("ACCEPTED"));
    elsewhere.script(&["--rejected", &good, &keys().verifier()]).exits(1);
    assert!(elsewhere.verify(&["-", "--rejected"], b"nothing").exits(1).stderr.contains("NOT PROVEN"));

    load_into(&gateway, "loader-all", &gateway.path("out")).ok();
    gateway.await_events(Kind::DeliveryAcknowledged, 1);
    let loaded = fetch(&gateway.meadow(), ".loaded.tlog-proof", elsewhere.0.path()).display().to_string();
    let told = elsewhere.verify(&[&loaded], b"").ok().stdout;
    assert!(told.contains("PROVEN: this file was loaded") && told.contains("Loader:        loader-all"), "{told}");
    let wrong = elsewhere.verify(&[&loaded, "--extract", "bad.csv"], b"").exits(1);
    assert!(wrong.stderr.contains("names no extract"), "{wrong:#?}");
    elsewhere.script(&[&loaded, &keys().verifier()]).ok();
    elsewhere.script(&[&loaded, &keys().verifier(), "bad.csv"]).exits(1);
    assert!(elsewhere.verify(&[&loaded, "--rejected"], b"").exits(1).stderr.contains("delivery.acknowledged"));
    // What another organisation sent is not there to be read.
    assert!(gateway.harbour().list("/receipts").is_empty());
}

#[test]
fn a_loader_takes_what_the_log_proves_and_gives_back_what_it_does_not() {
    let gateway = Gateway::start(Setup::new().queue("attempts = 2\nbackoff = \"100ms\"\nbackoff_max = \"100ms\"\n"));
    gateway.put(&gateway.harbour(), &csv(100_000, 1), "/visits.csv");
    let load = |words: &[&str], into: &str| {
        let into = gateway.path(into);
        std::fs::create_dir_all(&into).unwrap();
        let mut command = load_command(&gateway, "loader-all", "work");
        command.arg("--once").arg("--into").arg(&into).arg("--require-proof").args(words);
        run(command, b"", 5 * PATIENCE)
    };
    let key = keys().verifier();
    let folder = fresh_dir("recipients");
    let recipients = |content: &str| {
        let file = folder.path().join("recipients.txt");
        std::fs::write(&file, content).unwrap();
        file.display().to_string()
    };
    // One recipient of two, in the place of both.
    let fewer = recipients(&keys().recipient("harbour"));
    let refused = load(&["--audit-key", &key, "--recipients", &fewer], "out1").exits(1);
    assert!(refused.stderr.contains("not sealed to exactly the recipients"), "{refused:#?}");
    assert_eq!(gateway.deliveries()[0].state, DeliveryState::Ready);
    assert!(gateway.deliveries()[0].last_reason.as_ref().unwrap().contains("its proof is refused"));

    let both = recipients(&format!("# both\n{}\n{}\n", keys().recipient("harbour"), keys().public("age-over-ssh")));
    let loaded = crate::harness::eventually("the delivery's backoff", || {
        let done = load(&["--audit-key", &key, "--recipients", &both], "out2").ok();
        done.stderr.contains("1 loaded").then_some(done)
    });
    assert!(!loaded.stderr.contains("failed"), "{loaded:#?}");
    // What was verified is kept with the file, and still holds without the gateway.
    let elsewhere = Elsewhere::new();
    let kept = crate::loading::the_only_file(&gateway.path("out2"), "/receipt.tlog-proof");
    let file = kept.with_file_name("visits.csv");
    elsewhere.verify(&[kept.to_str().unwrap(), "--extract", file.to_str().unwrap()], b"").ok();
    gateway.await_events(Kind::DeliveryAcknowledged, 1);

    // By another key nothing is proven: the second time it goes to the dead letters.
    let stranger = folder.path().join("stranger.key");
    let mut made = Command::new(NIGHTSAFE);
    made.args(["audit", "key", "--name", "sftp.example.org/audit", "--new"]).arg(&stranger);
    run(made, b"", PATIENCE).ok();
    gateway.put(&gateway.meadow(), &csv(1_000, 2), "/visits.csv");
    let stranger = format!("{}.pub", stranger.display());
    let refused = load(&["--audit-key", &stranger], "out3").exits(1);
    assert!(refused.stderr.contains("its proof is refused"), "{refused:#?}");
    // With the loader's own identity as recipient, which is the default, it passes; a command is given the proof.
    let given = gateway.path("given.tlog-proof");
    crate::harness::eventually("the delivery's backoff", || {
        let mut command = load_command(&gateway, "loader-all", "work");
        let script = format!("cat > /dev/null && cp \"$NIGHTSAFE_PROOF_FILE\" {}", given.display());
        command.args(["--once", "--require-proof", "--audit-key", &key, "--exec", &script]);
        run(command, b"", 5 * PATIENCE).ok().stderr.contains("1 loaded").then_some(())
    });
    elsewhere.verify(&[given.to_str().unwrap()], b"").ok();
    assert!(load(&[], "out4").exits(2).stderr.contains("--audit-key"));
}

#[test]
fn the_log_verifies_against_a_checkpoint_kept_elsewhere_and_an_older_copy_does_not() {
    let mut gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/a.csv");
    gateway.terminate();
    let each = |from: &Path, to: &Path, act: fn(&Path, &Path)| {
        std::fs::create_dir_all(to).unwrap();
        for name in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
            if from.join(name).exists() {
                act(&from.join(name), &to.join(name));
            }
        }
    };
    let copied = |from: &Path, to: &Path| {
        std::fs::copy(from, to).unwrap();
    };
    let moved = |from: &Path, to: &Path| std::fs::rename(from, to).unwrap();
    let (state, yesterday, today) = (gateway.path("state"), gateway.path("yesterday"), gateway.path("today"));
    each(&state, &yesterday, copied);
    gateway.launch();
    gateway.put(&gateway.harbour(), &csv(1_000, 2), "/b.csv");
    let note = gateway.command(&["audit", "checkpoint"]).ok().stdout;
    let file = gateway.path("kept").display().to_string();
    std::fs::write(&file, &note).unwrap();
    gateway.put(&gateway.harbour(), &csv(1_000, 3), "/c.csv");

    let told = gateway.command(&["audit", "verify", "--checkpoint", &file]).ok().stdout;
    assert!(told.contains("continues what was kept elsewhere") && told.contains(&file), "{told}");
    let json = gateway.command(&["audit", "verify", "--json", "--checkpoint", &file]).ok().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["whole"], &json["findings"]), (&true.into(), &serde_json::json!([])));
    assert_eq!(json["keys"][0], keys().verifier());

    gateway.terminate();
    each(&state, &today, moved);
    each(&yesterday, &state, moved);
    let alone = gateway.command(&["audit", "verify"]);
    assert!(alone.succeeded(), "yesterday's copy is whole in itself: {alone:#?}");
    let cut = gateway.command(&["audit", "verify", "--checkpoint", &file]).exits(1);
    assert!(cut.stdout.contains("NOT SO"), "{cut:#?}");
    each(&state, &yesterday, moved);
    each(&today, &state, moved);

    // A signed checkpoint of another log.
    let bent = note.replace("sftp.example.org/audit", "other.example/audit");
    std::fs::write(&file, bent).unwrap();
    gateway.command(&["audit", "verify", "--checkpoint", &file]).exits(1);
    std::fs::write(&file, "nothing").unwrap();
    gateway.command(&["audit", "verify", "--checkpoint", &file]).exits(2);
    gateway.launch();
}
