//! Somebody changes the ledger's file under the running daemon: what has left the machine stays, and nothing is accepted.

use std::path::Path;
use std::time::Duration;

use nightsafe::audit::Kind;
use rusqlite::Connection;

use super::{Published, Syslog, published};
use crate::harness::{Gateway, Setup, csv, eventually, files_under, fresh_dir};

fn open(file: &Path) -> Connection {
    let raw = Connection::open(file).unwrap();
    raw.busy_timeout(Duration::from_secs(10)).unwrap();
    raw
}

/// Copies the live ledger, as a backup would.
fn copy(gateway: &Gateway, to: &Path) {
    open(&gateway.path("state/ledger.sqlite")).execute("VACUUM INTO ?", [to.to_str().unwrap()]).unwrap();
}

/// Makes every row of the live ledger that of a copy.
fn put_back(gateway: &Gateway, copy: &Path) {
    let raw = open(&gateway.path("state/ledger.sqlite"));
    raw.execute("ATTACH ? AS copy", [copy.to_str().unwrap()]).unwrap();
    raw.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
    let mut tables = raw.prepare("SELECT name FROM main.sqlite_schema WHERE type = 'table'").unwrap();
    let mut sql = "BEGIN IMMEDIATE; PRAGMA defer_foreign_keys = ON;".to_owned();
    for table in tables.query_map([], |row| row.get::<_, String>(0)).unwrap().map(|table| table.unwrap()) {
        sql += &format!("DELETE FROM main.{table}; INSERT INTO main.{table} SELECT * FROM copy.{table};");
    }
    drop(tables);
    raw.execute_batch(&(sql + "COMMIT")).unwrap();
}

#[test]
fn an_older_copy_under_the_running_daemon_is_told_overwrites_nothing_and_takes_no_upload() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("log");
    let syslog = Syslog::start(&socket);
    let settings = format!("tiles = \"../public/audit\"\nsyslog = \"unix:{}\"", socket.display());
    let gateway = Gateway::start(Setup::new().audit(&settings));
    let put = |number: u64| gateway.put(&gateway.harbour(), &csv(1_000, number), &format!("/file-{number}.csv"));
    put(1);
    gateway.await_events(Kind::SessionEnded, 1);
    let copies = fresh_dir("copies");
    let (yesterday, today) = (copies.path().join("yesterday"), copies.path().join("today"));
    copy(&gateway, &yesterday);
    put(2);
    gateway.await_events(Kind::SessionEnded, 2);
    let newest = published(&gateway);
    syslog.until(Kind::SessionEnded, newest.size - 1);
    copy(&gateway, &today);

    put_back(&gateway, &yesterday);
    let told = |words: &[&str]| {
        eventually(&format!("{words:?} in the log"), || {
            let lines = gateway.log_lines();
            lines.iter().any(|line| words.iter().all(|word| line.contains(word))).then_some(())
        });
    };
    let (ends, size) = (gateway.events().len(), newest.size);
    told(&[
        "contradicts the ledger",
        "public/audit",
        &format!("{size} events were published, and the ledger has {ends}"),
    ]);
    told(&["contradicts the ledger", "/log", &format!("{size} events were copied, and the ledger has {ends}")]);
    // The provider is told that it is not taken, and the operator why.
    let file = fresh_dir("put");
    let local = file.path().join("content");
    std::fs::write(&local, csv(1_000, 3)).unwrap();
    let refused = gateway.harbour().sftp(&format!("put {} /file-3.csv\n", local.display())).fails();
    assert!(refused.words().contains("could not record the file, so it was not taken"), "{refused:#?}");
    told(&[
        "a commit failed",
        &format!("{size} events were signed, and the log ends with event {ends}"),
        "audit verify",
    ]);
    assert_eq!(gateway.uploads().len(), 1);
    assert_eq!(gateway.events().len(), ends, "nothing was signed on");
    let objects = files_under(&gateway.path("state/vault"));
    assert_eq!(objects.iter().filter(|file| file.extension().is_some_and(|it| it == "age")).count(), 2, "{objects:?}");
    let there = Published::read(&gateway.path("public/audit")).unwrap();
    assert_eq!((there.size, there.entries), (newest.size, newest.entries.clone()));

    // With the right ledger it goes on by itself: what happened meanwhile is recorded, published and copied.
    put_back(&gateway, &today);
    put(4);
    assert_eq!(gateway.uploads().len(), 3);
    gateway.await_events(Kind::SessionEnded, 4);
    published(&gateway).continues(&newest);
    syslog.until(Kind::SessionEnded, newest.size);
}

#[test]
fn a_ledger_that_nobody_signed_is_not_started_with_and_no_object_is_removed() {
    let mut gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "/file.csv");
    let upload = gateway.uploads()[0].receipt.upload.to_string();
    let object = gateway.object(&upload);
    gateway.terminate();
    // An object that this ledger does not know: a start removes it.
    let mut stray = upload.clone();
    // Of the same folder, which the id's end names.
    let turned = if &upload[30..31] == "0" { "1" } else { "0" };
    stray.replace_range(30..31, turned);
    let stray = object.with_file_name(format!("{stray}.age"));
    std::fs::copy(&object, &stray).unwrap();

    let raw = open(&gateway.path("state/ledger.sqlite"));
    let note: String = raw.query_row("SELECT checkpoint FROM tree", [], |row| row.get(0)).unwrap();
    let (head, tail) = note.split_at(note.len() - 20);
    let turned: String = tail
        .chars()
        .map(|c| {
            if c == 'A' {
                'B'
            } else if c.is_ascii_alphabetic() {
                'A'
            } else {
                c
            }
        })
        .collect();
    let set = |note: &str| raw.execute("UPDATE tree SET checkpoint = ?", [note]).unwrap();
    set(&format!("{head}{turned}"));
    let refused = gateway.command(&["serve"]).fails();
    let why = refused.words();
    assert!(why.contains("not signed by the log's key") && why.contains("audit verify"), "{refused:#?}");
    // Nor does an operator's command go on with it.
    let delivery = gateway.deliveries()[0].delivery.to_string();
    assert!(gateway.command(&["queue", "release", &delivery]).fails().words().contains("audit verify"));
    assert!(stray.exists());

    set(&note);
    gateway.launch();
    assert!(!stray.exists());
    assert_eq!(gateway.uploads().len(), 1);
}
