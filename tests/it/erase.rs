//! Erasure through the real daemon: nothing private of the upload is left in any byte of the state directory, and the log
//! still verifies, against what was kept before too.

use std::process::Command;

use nightsafe::audit::evidence;

use crate::harness::{Gateway, NIGHTSAFE, PATIENCE, Setup, csv, files_under, find_bytes, fresh_dir, keys, run};
use crate::loading::{claim_one, load_into, text};

const NAME: &str = "very-telling-name_2025-02.csv";

#[test]
fn after_an_erasure_no_byte_of_the_state_tells_of_the_person_and_the_log_still_verifies() {
    let gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/stays.csv");
    gateway.put(&gateway.meadow(), &csv(3_000, 2), &format!("/{NAME}"));
    let row = gateway.uploads().into_iter().find(|row| row.receipt.name.as_str() == NAME).unwrap();
    let upload = row.receipt.upload;
    let id = upload.to_string();
    let object = gateway.object(&id);
    let kept = gateway.path("kept").display().to_string();
    std::fs::write(&kept, gateway.command(&["audit", "checkpoint"]).ok().stdout).unwrap();

    // What must be gone: the salts of all its events, the name, the account, its key's fingerprint.
    let pack = fresh_dir("pack").path().join("pack");
    std::fs::create_dir_all(pack.parent().unwrap()).unwrap();
    gateway.command(&["audit", "prove", &id, "--out", pack.to_str().unwrap()]).ok();
    let key = keys().verifier().parse().unwrap();
    let mut private: Vec<Vec<u8>> =
        vec![NAME.into(), "meadow-nightly".into(), keys().fingerprint("meadow").trim_start_matches("SHA256:").into()];
    for proof in files_under(&pack.join("proofs")) {
        let verified = evidence::verify(&std::fs::read(proof).unwrap(), std::slice::from_ref(&key), &[]).unwrap();
        private.push(verified.private.unwrap().salt.to_vec());
    }
    assert!(private.len() >= 3 + 4, "begun, accepted, admitted, ended");
    let holders = |needle: &[u8]| {
        let files = files_under(&gateway.path("state"));
        files.into_iter().filter(|file| find_bytes(file, needle)).collect::<Vec<_>>()
    };
    for needle in &private {
        assert!(!holders(needle).is_empty(), "the test looks for what never was there: {needle:?}");
    }

    // Nobody there to ask.
    let asked = gateway.command(&["upload", "erase", &id, "--why", "asked for"]).exits(2);
    assert!(asked.stderr.contains("--yes"), "{asked:#?}");
    let told = gateway.command(&["upload", "erase", &id, "--why", "asked for", "--yes"]).ok().stdout;
    for words in [
        "Confirmation of an erasure",
        &id,
        "Tombstone:     entry ",
        &keys().verifier(),
        "had not been loaded",
        "— sftp.example.org/audit ",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(!told.contains("meadow-nightly") && !told.contains(NAME), "{told}");
    for needle in &private {
        assert_eq!(holders(needle), Vec::<std::path::PathBuf>::new(), "{}", String::from_utf8_lossy(needle));
    }
    assert!(!object.exists());

    let verified = gateway.command(&["audit", "verify", "--checkpoint", &kept]).ok().stdout;
    assert!(verified.contains("Erased:        the private parts of "), "{verified}");
    let listed = gateway.command(&["upload", "list"]).ok().stdout;
    assert!(listed.contains(" erased ") && listed.contains("stays.csv") && !listed.contains(NAME), "{listed}");
    let shown = gateway.command(&["upload", "show", &id]).ok().stdout;
    assert!(shown.contains("An upload that was erased") && shown.contains("upload.erased"), "{shown}");
    let events = gateway.command(&["audit", "list", "--upload", &id]).ok().stdout;
    assert!(events.contains(" upload.accepted erased - "), "{events}");
    for format in ["jsonl", "csv", "ocsf"] {
        let exported = gateway.command(&["audit", "export", "--format", format, "--upload", &id]).ok().stdout;
        assert!(exported.contains("erased") && !exported.contains(NAME), "{format}: {exported}");
    }
    // The pack of what stays, and the tombstone's proof, which names nobody.
    gateway.command(&["audit", "prove", &id, "--out", gateway.path("after.zip").to_str().unwrap()]).ok();
    let again = gateway.command(&["upload", "erase", &id, "--why", "again", "--yes", "--json"]).ok().stdout;
    let again: serde_json::Value = serde_json::from_str(&again).unwrap();
    let mut verify = Command::new(NIGHTSAFE);
    verify.args(["receipt", "verify", "-", "--key", &keys().verifier()]);
    let told = run(verify, again["proof"].as_str().unwrap().as_bytes(), PATIENCE).ok().stdout;
    assert!(told.contains("PROVEN: this upload was erased") && told.contains("not told by this proof"), "{told}");

    // For its provider and for loaders it is gone; what stayed is there.
    let status = gateway.meadow().exec("status").ok().stdout;
    assert!(status.contains(" erased ") && status.contains(&id) && !status.contains("accepted"), "{status}");
    let status = gateway.meadow().exec("status --json").ok().json_lines();
    assert_eq!((&status[0]["state"], status[0].get("path")), (&"erased".into(), None), "{status:?}");
    assert!(gateway.meadow().list("/receipts").is_empty() && !gateway.meadow().list("/").contains(&NAME.to_owned()));
    assert_eq!(gateway.harbour().list("/receipts").len(), 3);
    load_into(&gateway, "loader-all", &gateway.path("out")).ok();
    let loaded = files_under(&gateway.path("out"));
    assert!(loaded.iter().any(|file| file.ends_with("stays.csv")) && !loaded.iter().any(|file| file.ends_with(NAME)));
}

#[test]
fn what_a_loader_has_in_hand_and_what_is_unknown_is_not_erased() {
    let mut gateway = Gateway::start(Setup::new());
    gateway.may_hold_leases = true;
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/a.csv");
    let claimed = claim_one(&gateway.loader(), "");
    let id = text(&claimed, "upload");
    let refused = gateway.command(&["upload", "erase", &id, "--why", "asked for", "--yes"]).exits(1);
    assert!(
        refused.stderr.contains("loader-all has it in hand") && refused.stderr.contains("queue release"),
        "{refused:#?}"
    );
    let delivery = text(&claimed, "delivery");
    gateway.command(&["queue", "release", &delivery]).ok();
    gateway.command(&["upload", "erase", &id, "--why", "asked for", "--yes"]).ok();
    // The loader that was released cannot acknowledge, and nobody is given it again.
    assert!(!gateway.loader().exec(&format!("ack {delivery} --lease {}", text(&claimed, "lease"))).succeeded());
    assert!(gateway.loader().exec("claim --max 1").ok().stdout.trim().is_empty());

    let unknown = gateway.command(&["upload", "erase", &delivery, "--why", "asked for", "--yes"]).exits(1);
    assert!(unknown.stderr.contains("nothing to erase"), "{unknown:#?}");
    gateway.command(&["upload", "erase", &id, "--yes"]).exits(2);
    gateway.command(&["audit", "verify"]).ok();
}
