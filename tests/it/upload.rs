//! The main job, with a stock OpenSSH client: put, list, read the receipt; what comes out is what went in.

use std::time::Duration;

use nightsafe::audit::Verdict;

use crate::harness::{Gateway, Setup, csv, digest, digest_of_file, fresh_dir, keys, open_with_age, patterned_file};
use crate::loading::{load_into, the_only_file};

const MIB: u64 = 1 << 20;

#[test]
fn an_empty_file_is_rejected_with_its_reason_and_a_report() {
    let gateway = Gateway::start(Setup::new());
    let dir = fresh_dir("empty");
    let file = dir.path().join("empty.csv");
    std::fs::write(&file, "").unwrap();

    let done = gateway.harbour().sftp(&format!("put {}\n", file.display())).fails();
    assert!(done.stderr.to_lowercase().contains("empty"), "the reason is not on standard error: {done:#?}");

    let rows = gateway.uploads();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].receipt.verdict, Verdict::Rejected);
    assert_eq!(rows[0].receipt.size, 0);
    assert!(!rows[0].receipt.reasons.is_empty());
    assert_eq!(gateway.deliveries().len(), 0);

    let receipts = gateway.harbour().list("/receipts");
    let upload = rows[0].receipt.upload;
    assert!(receipts.contains(&format!("empty.csv.{upload}.report.json")), "{receipts:?}");
    assert!(receipts.contains(&format!("empty.csv.{upload}.report.txt")), "{receipts:?}");
    assert!(!gateway.harbour().list("/").contains(&"empty.csv".to_owned()), "a rejected file is listed");
    let report = dir.path().join("report");
    let get = format!("get /receipts/empty.csv.{upload}.report.json {}\n", report.display());
    gateway.harbour().sftp(&get).ok();
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    assert_eq!(report["verdict"], "rejected");
    assert_eq!(report["reasons"][0], rows[0].receipt.reasons[0].as_str());
}

#[test]
fn one_byte_comes_out_as_it_went_in() {
    comes_out_as_it_went_in(1);
}

#[test]
fn one_whole_chunk_comes_out_as_it_went_in() {
    comes_out_as_it_went_in(65_536);
}

#[test]
fn one_byte_more_than_a_chunk_comes_out_as_it_went_in() {
    comes_out_as_it_went_in(65_537);
}

#[test]
fn several_chunks_come_out_as_they_went_in() {
    comes_out_as_it_went_in(5 * 65_536);
}

#[test]
fn one_gibibyte_comes_out_as_it_went_in_within_64_mib_of_memory() {
    let gateway = comes_out_as_it_went_in(1 << 30);
    let peak = gateway.peak_memory();
    println!("peak resident memory: {} KiB", peak / 1024);
    assert!(peak < 64 * MIB, "peak resident memory {peak} bytes");
}

/// Put, list, receipt, no reading back; then the object through `age`, and the delivery through `load --into`.
fn comes_out_as_it_went_in(size: u64) -> Gateway {
    let gateway = Gateway::start(Setup::new());
    let dir = fresh_dir("upload");
    let file = dir.path().join("extract.bin");
    let sha256 = patterned_file(&file, size);
    let client = gateway.harbour();

    let put = format!("put {} /bulk/extract.bin\nls -l /bulk\n", file.display());
    let listing = client.sftp(&put).ok().stdout;
    let line = listing.lines().find(|line| line.ends_with("extract.bin") && !line.starts_with("sftp>"));
    let line = line.unwrap_or_else(|| panic!("ls -l does not show it: {listing}"));
    assert!(line.split_whitespace().any(|word| word == size.to_string()), "ls -l shows another size: {line}");

    let rows = gateway.uploads();
    assert_eq!(rows.len(), 1);
    let receipt = &rows[0].receipt;
    let upload = receipt.upload.to_string();
    let local = dir.path().join("receipt.json");
    let get = format!("get /receipts/extract.bin.{upload}.receipt.json {}\n", local.display());
    client.sftp(&get).ok();
    let read: serde_json::Value = serde_json::from_slice(&std::fs::read(&local).unwrap()).unwrap();
    assert_eq!(read["upload"], upload.as_str());
    assert_eq!(read["sha256"], sha256.as_str());
    assert_eq!(read["size"], size);
    assert_eq!(read["name"], "extract.bin");
    assert_eq!(read["verdict"], "accepted");
    assert_eq!(read["dataset"], "bulk");
    assert_eq!(read["organisation"], "harbour");
    assert_eq!(read["account"], "harbour-nightly");
    assert_eq!(read["fingerprint"], keys().fingerprint("harbour").as_str());
    let text = dir.path().join("receipt.txt");
    client.sftp(&format!("get /receipts/extract.bin.{upload}.receipt.txt {}\n", text.display())).ok();
    let text = std::fs::read_to_string(&text).unwrap();
    for fact in [upload.as_str(), "extract.bin", &sha256, "bulk", "harbour-nightly", &keys().fingerprint("harbour")] {
        assert!(text.contains(fact), "the text receipt does not tell {fact}:\n{text}");
    }

    let back = dir.path().join("back");
    let refused = client.sftp(&format!("get /bulk/extract.bin {}\n", back.display())).fails();
    assert!(!back.exists() || std::fs::metadata(&back).unwrap().len() == 0, "an upload can be read back");
    assert!(!refused.stderr.is_empty());

    let object = gateway.object(&upload);
    assert_eq!(std::fs::metadata(&object).unwrap().len(), rows[0].sealed_size);
    assert_eq!(open_with_age(&object, &keys().identity("harbour")), sha256);

    let into = dir.path().join("into");
    load_into(&gateway, "loader-all", &into).ok();
    assert_eq!(digest_of_file(&the_only_file(&into, "extract.bin")), sha256);
    gateway
}

#[test]
fn every_recipient_of_the_organisation_can_open_it() {
    let gateway = Gateway::start(Setup::new());
    let content = csv(10_000, 1);
    gateway.put(&gateway.harbour(), &content, "/visits.csv");
    let object = gateway.object(&gateway.uploads()[0].receipt.upload.to_string());
    assert_eq!(open_with_age(&object, &keys().identity("harbour")), digest(&content));
    assert_eq!(open_with_age(&object, &keys().ssh("age-over-ssh")), digest(&content));
}

#[test]
fn an_empty_file_is_taken_where_the_dataset_allows_it() {
    let mut gateway = Gateway::prepare(Setup::new());
    gateway.edit("config/datasets/bulk.toml", "format =", "allow_empty = true\nformat =");
    gateway.launch();
    gateway.put(&gateway.harbour(), b"", "/bulk/nothing.bin");
    let rows = gateway.uploads();
    assert_eq!(rows[0].receipt.sha256.to_string(), digest(b""));
    let object = gateway.object(&rows[0].receipt.upload.to_string());
    assert_eq!(open_with_age(&object, &keys().identity("harbour")), digest(b""));
}

#[test]
fn the_same_name_again_supersedes_and_both_are_delivered() {
    let gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/visits.csv");
    gateway.put(&gateway.harbour(), &csv(2_000, 2), "/visits.csv");
    let mut rows = gateway.uploads();
    rows.sort_by_key(|row| row.receipt.upload);
    assert_eq!(rows[0].receipt.supersedes, None);
    assert_eq!(rows[1].receipt.supersedes, Some(rows[0].receipt.upload));
    assert_eq!(gateway.deliveries().len(), 2);
    let listed = gateway.harbour().list("/");
    assert_eq!(listed.iter().filter(|name| *name == "visits.csv").count(), 1, "{listed:?}");
}

#[test]
fn a_name_or_type_that_the_dataset_does_not_take_is_refused_with_the_reason() {
    let gateway = Gateway::start(Setup::new());
    let dir = fresh_dir("refused");
    let file = dir.path().join("file");
    // A ZIP archive's beginning, sent as a csv.
    std::fs::write(&file, [b"PK\x03\x04".as_slice(), &[0; 4000]].concat()).unwrap();
    let put = |remote: &str| gateway.harbour().sftp(&format!("put {} {remote}\n", file.display())).fails();

    let wrong_name = put("/interventions/visits.xlsx");
    assert!(wrong_name.words().contains("csv"), "no word of what is wanted: {wrong_name:#?}");
    let wrong_type = put("/interventions/visits.csv");
    assert!(wrong_type.words().contains("zip") || wrong_type.words().contains("archive"), "{wrong_type:#?}");
    assert_eq!(gateway.deliveries().len(), 0);
}

#[test]
fn help_tells_what_may_be_sent_and_whom_to_ask() {
    let gateway = Gateway::start(Setup::new());
    let dir = fresh_dir("help");
    let file = dir.path().join("help.txt");
    gateway.harbour().sftp(&format!("get /help.txt {}\n", file.display())).ok();
    let text = std::fs::read_to_string(&file).unwrap();
    for word in ["interventions", "bulk", "outreach", "data@example.org"] {
        assert!(text.contains(word), "help.txt does not mention {word}:\n{text}");
    }
    let root = gateway.harbour().list("/");
    for name in ["interventions", "bulk", "outreach", "receipts", "help.txt"] {
        assert!(root.contains(&name.to_owned()), "{root:?}");
    }
}

#[test]
fn clients_habits_are_met() {
    let gateway = Gateway::start(Setup::new());
    let dir = fresh_dir("habits");
    let file = dir.path().join("visits.csv");
    std::fs::write(&file, csv(3_000, 7)).unwrap();
    // -p sets times and mode afterwards; -f asks for fsync; df asks for statvfs.
    let batch = format!("put -p -f {} visits.csv\nchmod 600 visits.csv\ndf /\npwd\ncd interventions\n", file.display());
    gateway.harbour().sftp(&batch).ok();
    assert_eq!(gateway.uploads().len(), 1);
}

#[test]
fn directories_links_and_renames_of_the_accepted_are_refused_and_its_removal_only_takes_it_off_the_list() {
    let gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/visits.csv");
    for line in ["mkdir new", "rmdir interventions", "ln -s visits.csv other.csv", "rename visits.csv other.csv"] {
        let done = gateway.harbour().sftp(&format!("{line}\n")).fails();
        assert!(!done.stderr.trim().is_empty(), "no reason for {line}");
    }
    assert!(gateway.harbour().list("/").contains(&"visits.csv".to_owned()));
    gateway.harbour().sftp("rm visits.csv\n").ok();
    assert!(!gateway.harbour().list("/").contains(&"visits.csv".to_owned()));
    assert_eq!((gateway.uploads().len(), gateway.deliveries().len()), (1, 1), "it stays accepted, and queued");
    assert_eq!(gateway.events_of(nightsafe::audit::Kind::UploadUnlisted).len(), 1);
}

#[test]
fn fifty_sessions_of_20_mib_fit_into_256_mib_of_memory() {
    // Fifty key exchanges at once, on a machine that does more.
    let gateway = Gateway::start(Setup::new().limits("authentication = \"300s\""));
    let dir = fresh_dir("fifty");
    let file = dir.path().join("file");
    let sha256 = patterned_file(&file, 20 * MIB);
    let client = gateway.harbour();
    let puts: Vec<_> =
        (0..50).map(|n| client.start_sftp(&format!("put {} /bulk/part-{n}.bin\n", file.display()))).collect();
    for put in puts {
        put.wait(Duration::from_secs(600)).ok();
    }
    let peak = gateway.peak_memory();
    println!("peak resident memory: {} KiB", peak / 1024);
    let rows = gateway.uploads();
    assert_eq!(rows.len(), 50);
    assert!(rows.iter().all(|row| row.receipt.sha256.to_string() == sha256));
    assert!(peak < 256 * MIB, "peak resident memory {peak} bytes");
}

#[test]
fn every_kind_of_key_gets_in() {
    let gateway = Gateway::start(Setup::new());
    for key in ["harbour", "harbour-spare", "harbour-ecdsa", "harbour-rsa"] {
        gateway.harbour().with_key(&keys().ssh(key)).sftp("ls\n").ok();
    }
}
