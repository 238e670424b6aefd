//! Operators' commands: they write the files that a person would write, and tell all that is wrong with them at once.

use std::path::Path;
use std::process::Command;

use nightsafe::audit::Kind;

use crate::harness::{Done, Gateway, PATIENCE, Setup, csv, fresh_dir, keys, kind, run, string};

/// `nightsafe WORDS...`
fn nightsafe(words: &[&str]) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nightsafe"));
    command.args(words);
    run(command, b"", PATIENCE)
}

#[test]
fn transcripts() {
    // `TRYCMD=overwrite cargo test --test it transcripts` writes what the commands print now; read the difference before
    // committing it.
    trycmd::TestCases::new().env("COLUMNS", "100").env("NO_COLOR", "1").case("tests/cmd/*.trycmd");
}

#[test]
fn a_configuration_made_by_commands_alone_is_valid_and_runs() {
    let dir = fresh_dir("init");
    let root = dir.path().join("gate");
    nightsafe(&["init", root.to_str().unwrap(), "--name", "gate.example.org", "--listen", "127.0.0.1:0"]).ok();
    let config = root.join("config/nightsafe.toml");
    std::fs::write(root.join("config/datasets/visits.toml"), "# Ours.\ntitle = \"Visits\"\n").unwrap();
    let at = |words: &[&str]| nightsafe(&[words, &["--config", config.to_str().unwrap()]].concat());

    let recipient = keys().recipient("harbour");
    let add = [
        "org",
        "add",
        "harbour",
        "--name",
        "Harbour Street Services",
        "--dataset",
        "visits",
        "--recipient",
        &recipient,
    ];
    at(&add).ok();
    at(&["account", "add", "harbour-nightly", "--org", "harbour"]).ok();
    let key = keys().ssh("harbour").with_extension("pub");
    at(&["key", "add", key.to_str().unwrap(), "--account", "harbour-nightly"]).ok();
    at(&["check"]).ok();

    for (words, wanted) in [
        (&["org", "list", "--json"][..], "harbour"),
        (&["org", "show", "harbour", "--json"], "Harbour Street Services"),
        (&["account", "list", "--json"], "harbour-nightly"),
        (&["account", "show", "harbour-nightly", "--json"], "harbour"),
        (&["key", "list", "--json"], &keys().fingerprint("harbour")),
    ] {
        let done = at(words).ok();
        assert!(done.stdout.contains(wanted), "{words:?} does not tell {wanted}: {done:#?}");
        serde_json::from_str::<serde_json::Value>(&done.stdout).unwrap_or_else(|e| panic!("{words:?}: {e}: {done:#?}"));
    }
    at(&["org", "add", "harbour", "--name", "Again"]).exits(1);
    at(&["account", "show", "nobody"]).exits(1);
}

#[test]
fn commands_keep_the_comments_that_people_wrote() {
    let gateway = Gateway::prepare(Setup::new());
    let note = "# Ours: rung up on 3 March, wants Tuesdays.\n";
    gateway.edit("config/orgs/harbour.toml", "name =", &format!("{note}name ="));
    gateway.edit("config/orgs/harbour.toml", "[[accounts]]\n", &format!("{note}[[accounts]] # their first\n"));
    let spare = keys().public("harbour-spare");
    gateway.edit("keys/harbour/authorized_keys", &spare, &format!("{note}{spare}"));

    gateway.command(&["account", "add", "harbour-weekly", "--org", "harbour", "--from", "192.0.2.0/24"]).ok();
    gateway.command(&["key", "add", &keys().public("stranger"), "--account", "harbour-weekly"]).ok();
    gateway.command(&["key", "disable", &keys().fingerprint("harbour-spare")]).ok();
    gateway.command(&["account", "disable", "harbour-nightly"]).ok();
    gateway.command(&["check"]).ok();
    let text = |file: &str| std::fs::read_to_string(gateway.path(file)).unwrap();
    let org = text("config/orgs/harbour.toml");
    assert_eq!(org.matches(note).count(), 2, "a comment is lost:\n{org}");
    assert!(org.contains("# their first"), "a comment is lost:\n{org}");
    let authorized = text("keys/harbour/authorized_keys");
    assert!(authorized.contains(note), "a comment is lost:\n{authorized}");
    assert!(authorized.contains("#disabled "), "{authorized}");

    gateway.command(&["key", "enable", &keys().fingerprint("harbour-spare")]).ok();
    gateway.command(&["account", "remove", "harbour-weekly"]).ok();
    gateway.command(&["account", "enable", "harbour-nightly"]).ok();
    gateway.command(&["check"]).ok();
    assert!(!text("keys/harbour/authorized_keys").contains("#disabled"));
}

#[test]
fn an_operators_command_reaches_the_live_gateway_and_its_audit_log() {
    let gateway = Gateway::start(Setup::new());
    let spare = gateway.harbour().with_key(&keys().ssh("harbour-spare"));
    let mut session = spare.session();
    assert_eq!(session.request(kind::REALPATH, &string(b".")).kind, kind::NAME);
    gateway.command(&["key", "disable", &keys().fingerprint("harbour-spare")]).ok();
    session.await_end();
    let told = gateway.await_events(Kind::OperatorCommand, 1).remove(0).event;
    assert!(told.actor.account.starts_with("operator:"), "{told:?}");
    assert!(serde_json::to_string(&told).unwrap().contains(&keys().fingerprint("harbour-spare")), "{told:?}");
}

#[test]
fn check_tells_every_fault_at_once_with_its_place() {
    let gateway = Gateway::prepare(Setup::new());
    gateway.edit("config/nightsafe.toml", "contact =", "contcat =");
    gateway.edit("config/orgs/harbour.toml", "\"outreach\"", "\"outraech\"");
    gateway.edit("config/orgs/meadow.toml", "meadow-nightly", "harbour-nightly");
    gateway.edit("config/datasets/bulk.toml", "\"4GiB\"", "\"4 gigs\"");
    gateway.edit("config/orgs/datateam.toml", "\"loader-all\"", "\"erased\"");
    gateway.edit("config/nightsafe.toml", "signing.key\"\n", "signing.key\"\nsyslog = \"udp\"\n");
    gateway.edit("keys/meadow/authorized_keys", "ssh-ed25519 ", "ssh-ed25519 not-a-key-");
    std::fs::write(gateway.path("keys/meadow/recipients.txt"), "# nobody\n").unwrap();

    let done = gateway.command(&["check"]).fails();
    let text = format!("{}{}", done.stdout, done.stderr);
    for (place, word) in [
        ("nightsafe.toml:4:1", "contact"),
        ("orgs/harbour.toml:2:", "outreach"),
        ("orgs/meadow.toml:5:", "harbour-nightly"),
        ("datasets/bulk.toml:3:", "4 gigs"),
        ("orgs/datateam.toml:4:", "erased"),
        ("nightsafe.toml:17:", "unix:/dev/log"),
        ("meadow/authorized_keys:1:", "key"),
        ("meadow", "recipients.txt"),
    ] {
        assert!(text.contains(place), "no fault at {place}:\n{text}");
        assert!(text.contains(word), "no word of {word}:\n{text}");
    }
    assert!(text.lines().any(|line| line.trim_start_matches([' ', '|']).starts_with('^')), "no caret:\n{text}");
}

#[test]
fn listings_on_the_box_tell_what_is_there() {
    let gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/visits.csv");
    let upload = gateway.uploads()[0].receipt.upload.to_string();
    for words in [&["upload", "list"][..], &["upload", "show", &upload], &["queue", "list"], &["audit", "list"]] {
        let done = gateway.command(words).ok();
        assert!(done.stdout.contains(&upload) || done.stdout.contains("visits.csv"), "{words:?}: {done:#?}");
        let json = gateway.command(&[words, &["--json"]].concat()).ok();
        assert!(json.stdout.contains(&upload), "{words:?} --json: {json:#?}");
    }
    gateway.command(&["audit", "verify"]).ok();
}

#[test]
fn the_example_configuration_of_the_repository_is_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The example has no host key and no keys of its own: those are made, the files are used as they are.
    let dir = fresh_dir("example");
    copy(&root.join("config"), &dir.path().join("config"));
    copy(&root.join("keys.example"), &dir.path().join("keys.example"));
    let config = dir.path().join("config/nightsafe.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    for line in text.lines().filter(|line| line.trim_start().starts_with("host_keys")) {
        for path in line.split('"').filter(|part| part.contains("ssh_host")) {
            let key = dir.path().join("config").join(path);
            std::fs::create_dir_all(key.parent().unwrap()).unwrap();
            std::fs::copy(keys().ssh("host"), &key).unwrap();
        }
    }
    nightsafe(&["check", "--config", config.to_str().unwrap()]).ok();
}

fn copy(from: &Path, to: &Path) {
    for file in crate::harness::files_under(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&file, &target).unwrap();
    }
}

#[test]
fn quickstart_once_goes_the_whole_round() {
    let dir = fresh_dir("quickstart");
    let mut command = Command::new(env!("CARGO_BIN_EXE_nightsafe"));
    command.args(["quickstart", "--once", "--dir"]).arg(dir.path().join("demo")).env("HOME", dir.path());
    run(command, b"", 2 * PATIENCE).ok();
}

#[test]
fn the_readmes_first_set_up_works_as_it_stands() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("## A first real set-up").unwrap();
    let block = section.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0;
    // What is installed is the binary under test; the port is one that is free.
    let block = block.strip_prefix("cargo install --locked --path . && ").expect("it begins with the installation");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let block = block.replace("2222", &port);

    let dir = fresh_dir("readme");
    let sample = "src/cli/quickstart";
    copy(&root.join(sample), &dir.path().join(sample));
    copy(&root.join("config/datasets"), &dir.path().join("config/datasets"));
    let mut command = Command::new("bash");
    let script = format!("set -e\ntrap 'kill %1; wait' EXIT\n{block}nightsafe audit list\n");
    command.args(["-c", &script]).current_dir(dir.path());
    let binary = Path::new(env!("CARGO_BIN_EXE_nightsafe")).parent().unwrap();
    command.env("PATH", format!("{}:{}", binary.display(), std::env::var("PATH").unwrap()));
    command.env("HOME", dir.path()).env_remove("SSH_AUTH_SOCK");
    let done = run(command, b"", 2 * PATIENCE).ok();
    let loaded = crate::harness::files_under(&dir.path().join("out"));
    let loaded =
        loaded.iter().find(|file| file.ends_with("LIV9814_2024-06.csv")).unwrap_or_else(|| panic!("{done:#?}"));
    assert_eq!(std::fs::read(loaded).unwrap(), std::fs::read(root.join(sample).join("LIV9814_2024-06.csv")).unwrap());
    assert!(done.stdout.contains("delivery.acknowledged") || done.stdout.contains("upload.accepted"), "{done:#?}");
}
