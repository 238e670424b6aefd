//! `nightsafe load` as the tests call it, and the ways of loading by hand: `ssh`, `sftp` and `age`, and the examples in docs/.

use std::path::{Path, PathBuf};
use std::process::Command;

use nightsafe::ledger::DeliveryState;

use crate::harness::{
    Client, Done, Gateway, PATIENCE, Setup, csv, digest, digest_of_file, fresh_dir, keys, open_with_age, run,
};

/// `nightsafe load` of an account, without what to do with the files. `work` names its folder for fetched objects.
pub fn load_command(gateway: &Gateway, account: &str, work: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nightsafe"));
    command.arg("load").arg("--gateway").arg(format!("ssh://{account}@127.0.0.1:{}", gateway.port()));
    command.arg("--key").arg(keys().ssh(account)).arg("--known-hosts").arg(gateway.known_hosts());
    command.arg("--identity").arg(keys().all_identities());
    command.arg("--work").arg(gateway.path(work));
    command.env("TMPDIR", gateway.path("tmp")).env_remove("SSH_AUTH_SOCK");
    command
}

/// Loads all there is into a directory, and ends.
pub fn load_into(gateway: &Gateway, account: &str, into: &Path) -> Done {
    std::fs::create_dir_all(into).unwrap();
    let mut command = load_command(gateway, account, "work");
    command.arg("--once").arg("--into").arg(into);
    run(command, b"", 5 * PATIENCE)
}

/// The one loaded file whose name ends in `name`, manifests left out.
pub fn the_only_file(into: &Path, name: &str) -> PathBuf {
    let mut files = crate::harness::files_under(into);
    files.retain(|file| file.to_string_lossy().ends_with(name));
    assert_eq!(files.len(), 1, "files ending in {name}: {files:?} of {:?}", crate::harness::files_under(into));
    files.remove(0)
}

/// One claim's JSON line.
pub fn claim_one(loader: &Client, options: &str) -> serde_json::Value {
    let mut lines = loader.exec(&format!("claim --max 1 {options}")).ok().json_lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

/// A text field of a JSON object.
pub fn text(value: &serde_json::Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}")).to_owned()
}

#[test]
fn load_by_hand_with_ssh_sftp_and_age() {
    let gateway = Gateway::start(Setup::new());
    let content = csv(200_000, 3);
    gateway.put(&gateway.harbour(), &content, "/visits.csv");
    let loader = gateway.loader();

    let claimed = claim_one(&loader, "");
    let (delivery, lease) = (text(&claimed, "delivery"), text(&claimed, "lease"));
    assert_eq!(claimed["attempt"], 1);
    assert_eq!(claimed["organisation"], "harbour");
    assert_eq!(claimed["dataset"], "interventions");
    assert_eq!(claimed["name"], "visits.csv");
    assert_eq!(claimed["size"], content.len());
    assert_eq!(claimed["sha256"], digest(&content).as_str());
    assert_eq!(claimed["account"], "harbour-nightly");

    let dir = fresh_dir("by-hand");
    let (object, manifest) = (dir.path().join("object.age"), dir.path().join("manifest.json"));
    let batch = format!(
        "get {} {}\nget {} {}\n",
        text(&claimed, "object"),
        object.display(),
        text(&claimed, "manifest"),
        manifest.display()
    );
    loader.sftp(&batch).ok();
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    for field in ["delivery", "upload", "organisation", "dataset", "name", "size", "sha256", "account", "fingerprint"] {
        assert_eq!(manifest[field], claimed[field], "{field} differs between claim and manifest");
    }
    assert_eq!(manifest["sealed_size"], std::fs::metadata(&object).unwrap().len());
    assert_eq!(manifest["receipt"]["verdict"], "accepted");
    assert_eq!(open_with_age(&object, &keys().identity("harbour")), digest(&content));

    let answer = loader.exec(&format!("ack {delivery} --lease {lease}")).ok().json_lines();
    assert_eq!(answer[0]["state"], "loaded");
    assert_eq!(loader.exec("claim").ok().json_lines().len(), 0, "an acknowledged delivery is claimed again");
}

#[test]
fn a_broken_fetch_can_be_resumed_at_any_offset() {
    let gateway = Gateway::start(Setup::new());
    let content = csv(300_000, 4);
    gateway.put(&gateway.harbour(), &content, "/visits.csv");
    let loader = gateway.loader();
    let claimed = claim_one(&loader, "");
    let whole = std::fs::read(gateway.object(&text(&claimed, "upload"))).unwrap();
    let dir = fresh_dir("resume");
    let object = dir.path().join("object.age");
    std::fs::write(&object, &whole[..100_001]).unwrap();
    loader.sftp(&format!("reget {} {}\n", text(&claimed, "object"), object.display())).ok();
    assert_eq!(digest_of_file(&object), digest(&whole));
    loader.exec(&format!("ack {} --lease {}", text(&claimed, "delivery"), text(&claimed, "lease"))).ok();
}

#[test]
fn load_exec_gives_the_command_the_bytes_and_the_facts() {
    let gateway = Gateway::start(Setup::new());
    let content = csv(150_000, 5);
    gateway.put(&gateway.harbour(), &content, "/visits.csv");
    let dir = fresh_dir("exec");
    let (plain, facts) = (dir.path().join("plain"), dir.path().join("facts"));
    let mut command = load_command(&gateway, "loader-all", "work");
    let script = format!("cat > {} && env | grep ^NIGHTSAFE_ > {}", plain.display(), facts.display());
    command.args(["--once", "--exec", &script]);
    run(command, b"", PATIENCE).ok();

    assert_eq!(digest_of_file(&plain), digest(&content));
    let facts = std::fs::read_to_string(&facts).unwrap();
    let row = &gateway.uploads()[0].receipt;
    for value in ["harbour", "interventions", "visits.csv", &digest(&content), &row.upload.to_string()] {
        assert!(facts.lines().any(|line| line.ends_with(&format!("={value}"))), "no fact is {value}:\n{facts}");
    }
}

#[test]
fn load_gives_back_what_the_command_failed_on() {
    let gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.harbour(), &csv(1_000, 6), "/visits.csv");
    let mut command = load_command(&gateway, "loader-all", "work");
    command.args(["--once", "--exec", "cat > /dev/null; echo the table is locked >&2; exit 7"]);
    run(command, b"", PATIENCE).exits(1);
    let delivery = &gateway.deliveries()[0];
    assert_eq!(delivery.state, DeliveryState::Ready);
    assert_eq!(delivery.attempt, 1);
    assert!(delivery.last_reason.as_deref().unwrap_or_default().contains('7'), "{delivery:?}");
}

#[test]
fn load_hands_over_nothing_of_an_object_that_was_tampered_with() {
    let mut gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.harbour(), &csv(500_000, 8), "/visits.csv");
    let object = gateway.object(&gateway.uploads()[0].receipt.upload.to_string());
    let mut sealed = std::fs::read(&object).unwrap();
    let late = sealed.len() - 10;
    sealed[late] ^= 1;
    std::fs::write(&object, &sealed).unwrap();

    let dir = fresh_dir("tampered");
    let seen = dir.path().join("seen");
    let mut command = load_command(&gateway, "loader-all", "work");
    command.args(["--once", "--exec", &format!("cat > {}", seen.display())]);
    run(command, b"", PATIENCE).fails();
    assert!(!seen.exists(), "the command ran");
    assert_ne!(gateway.deliveries()[0].state, DeliveryState::Loaded);
    gateway.settle();
}

#[test]
fn load_refuses_a_gateway_whose_host_key_it_does_not_know() {
    let gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.harbour(), &csv(1_000, 9), "/visits.csv");
    let stranger = keys().public("stranger");
    std::fs::write(gateway.known_hosts(), format!("[127.0.0.1]:{} {stranger}\n", gateway.port())).unwrap();
    let dir = fresh_dir("unknown-host");
    load_into(&gateway, "loader-all", dir.path()).fails();
    assert_eq!(gateway.deliveries()[0].attempt, 0);
}

#[test]
fn the_shell_example_of_the_docs_loads() {
    the_example_loads("bash", "load.sh");
}

#[test]
fn the_python_example_of_the_docs_loads() {
    the_example_loads("python3", "load.py");
}

/// Runs an example of docs/ as its head says, with a command that keeps what it is given.
fn the_example_loads(program: &str, name: &str) {
    let gateway = Gateway::start(Setup::new());
    let contents = [csv(100_000, 10), csv(65_536, 11), csv(200, 12)];
    for (number, content) in contents.iter().enumerate() {
        gateway.put(&gateway.harbour(), content, &format!("/visits-{number}.csv"));
    }
    let dir = fresh_dir("example");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples").join(name);
    let command = |script: &str| {
        let mut command = Command::new(program);
        command.arg(&example).args(["sh", "-c", script]).env("LOADED", dir.path());
        command.env("GATEWAY_HOST", "127.0.0.1").env("PORT", gateway.port().to_string()).env("ACCOUNT", "loader-all");
        command.env("KEY", keys().ssh("loader-all")).env("KNOWN_HOSTS", gateway.known_hosts());
        command.env("IDENTITY", keys().all_identities()).env("WORK", gateway.path("work")).env("LEASE", "60");
        command.env("HOME", dir.path()).env("TMPDIR", gateway.path("tmp")).env_remove("SSH_AUTH_SOCK");
        run(command, b"", 2 * PATIENCE)
    };
    command("cat > \"$LOADED/$NIGHTSAFE_DELIVERY\"").exits(0);
    for delivery in gateway.deliveries() {
        assert_eq!(delivery.state, DeliveryState::Loaded);
        let loaded = dir.path().join(delivery.delivery.to_string());
        assert_eq!(digest_of_file(&loaded), delivery.receipt.sha256.to_string());
    }

    // What the command cannot load goes back with a reason, and the example says so.
    gateway.put(&gateway.harbour(), &csv(3_000, 13), "/locked.csv");
    command("cat > /dev/null; echo the table is locked >&2; exit 7").exits(1);
    let deliveries = gateway.deliveries();
    let locked = deliveries.iter().find(|delivery| delivery.receipt.name.as_str() == "locked.csv").unwrap();
    assert_eq!(locked.state, DeliveryState::Ready, "{locked:?}");
    assert!(locked.last_reason.as_deref().unwrap_or_default().contains("the table is locked"), "{locked:?}");
}
