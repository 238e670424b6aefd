//! Verdicts as a stock client meets them: reports, repeats, companions, the quarantine, and what an operator does with it.

use nightsafe::audit::{Kind, Verdict};

use crate::harness::{Client, Gateway, Setup, csv, digest, fresh_dir, keys, open_with_age};

const DATASET: &str = "config/datasets/interventions.toml";

/// A gateway whose `interventions` asks for more.
fn gateway(more: &str) -> Gateway {
    let mut gateway = Gateway::prepare(Setup::new());
    gateway.edit(DATASET, "format =", &format!("{more}\nformat ="));
    gateway.launch();
    gateway
}

/// The same with TOML tables behind the rest.
fn gateway_with_tables(tables: &str) -> Gateway {
    let mut gateway = Gateway::prepare(Setup::new());
    let file = gateway.path(DATASET);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}{tables}\n")).unwrap();
    gateway.launch();
    gateway
}

/// Puts it, and gives what the client printed when it was not taken.
#[track_caller]
fn refused(client: &Client, content: &[u8], remote: &str) -> String {
    let dir = fresh_dir("refused");
    let local = dir.path().join("content");
    std::fs::write(&local, content).unwrap();
    client.sftp(&format!("put {} {remote}\n", local.display())).fails().stderr
}

#[test]
fn a_rejected_upload_is_quarantined_opened_by_the_data_team_alone_and_discarded_by_the_operator() {
    let mut gateway = gateway("on_reject = \"quarantine\"");
    let content = [b"%PDF-1.7\n".as_slice(), &csv(50_000, 1)].concat();
    let told = refused(&gateway.harbour(), &content, "/visits.csv");
    assert!(told.contains("PDF"), "{told}");

    let row = gateway.uploads().remove(0);
    let upload = row.receipt.upload.to_string();
    assert_eq!((row.receipt.verdict, row.receipt.quarantined), (Verdict::Rejected, true));
    assert_eq!(open_with_age(&gateway.object(&upload), &keys().identity("harbour")), digest(&content));
    assert_eq!(gateway.deliveries().len(), 0);
    assert!(!gateway.harbour().list("/").contains(&"visits.csv".to_owned()));
    let report = fresh_dir("report");
    let local = report.path().join("report.txt");
    let get = format!("get /receipts/visits.csv.{upload}.report.txt {}\n", local.display());
    gateway.harbour().sftp(&get).ok();
    let text = std::fs::read_to_string(&local).unwrap();
    assert!(text.contains("What is wrong:\n- ") && text.contains("is kept for a while, sealed"), "{text}");

    // A restart keeps it, with the mark of what it is.
    gateway.terminate();
    gateway.launch();
    let listed = gateway.command(&["upload", "list", "--quarantined"]).ok().stdout;
    assert!(listed.contains(&upload) && listed.contains("quarantined"), "{listed}");
    let shown = gateway.command(&["upload", "show", &upload]).ok().stdout;
    assert!(shown.contains("age --decrypt -i IDENTITY") && shown.contains(&format!("{upload}.age")), "{shown}");

    let discard = ["upload", "discard", &upload, "--why", "looked at with the provider"];
    gateway.command(&discard).ok();
    gateway.command(&discard).fails();
    let removed = gateway.events_of(Kind::ObjectRemoved);
    assert_eq!((removed.len(), &removed[0].event.detail["reason"]), (1, &"looked at with the provider".into()));
    assert!(!gateway.command(&["upload", "list", "--quarantined"]).ok().stdout.contains(&upload));
    assert!(gateway.command(&["upload", "list", "--rejected"]).ok().stdout.contains(&upload), "the report stays");
}

#[test]
fn by_default_nothing_of_a_rejected_upload_is_kept() {
    let gateway = gateway("max_size = \"1MiB\"");
    let told = refused(&gateway.harbour(), &csv(2 << 20, 1), "/visits.csv");
    assert!(told.contains("larger than 1 MiB"), "{told}");
    let rows = gateway.uploads();
    assert_eq!((rows.len(), rows[0].receipt.quarantined, rows[0].sealed_size), (1, false, 0));
}

#[test]
fn the_same_bytes_again_are_taken_with_a_remark_unless_the_dataset_refuses_them() {
    let flagging = gateway("");
    let content = csv(1_000, 1);
    flagging.put(&flagging.harbour(), &content, "/may.csv");
    flagging.put(&flagging.harbour(), &content, "/june.csv");
    flagging.put(&flagging.meadow(), &content, "/may.csv");
    let flags = flagging.uploads().iter().map(|row| row.receipt.report.flag_names().len()).collect::<Vec<_>>();
    assert_eq!(flags, [0, 1, 0], "what another organisation sent is nobody's business");

    let refusing = gateway("repeated = \"reject\"");
    refusing.put(&refusing.harbour(), &content, "/may.csv");
    let told = refused(&refusing.harbour(), &content, "/june.csv");
    assert!(told.contains("accepted before, as \"may.csv\""), "{told}");
}

#[test]
fn a_checksum_beside_an_extract_is_demanded_compared_and_not_listed() {
    let gateway = gateway_with_tables("[companion]\nkinds = [\"sha256\"]\nrequired = true");
    let client = gateway.harbour();
    let (whole, cut) = (csv(200_000, 1), csv(150_000, 1));
    let told = refused(&client, &whole, "/visits.csv");
    assert!(told.contains("send \"visits.csv.sha256\" beside it first"), "{told}");
    gateway.put(&client, format!("{}  visits.csv\n", digest(&whole)).as_bytes(), "/visits.csv.sha256");
    let told = refused(&client, &cut, "/visits.csv");
    assert!(told.contains("does not have the digest that \"visits.csv.sha256\" states"), "{told}");
    gateway.put(&client, &whole, "/visits.csv");
    assert!(!client.list("/").iter().any(|name| name.ends_with(".sha256")));
    let told = refused(&client, b"no digest at all", "/visits.csv.sha256");
    assert!(told.contains("sha256sum"), "{told}");

    // What a kill leaves behind: the companion waits in the ledger, not in memory.
    let mut gateway = gateway;
    gateway.put(&client, format!("{}\n", digest(&cut)).as_bytes(), "/visits.csv.sha256");
    gateway.kill();
    gateway.launch();
    gateway.put(&gateway.harbour(), &cut, "/visits.csv");
    assert_eq!(gateway.deliveries().len(), 2);
}
