//! Clients that are stopped in the middle of an upload, by a limit of their own or by a signal. Most leave, and a draft is
//! left of it; some close what they sent, as if that were all: then the receipt says how it looks.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::programs::{curl, lftp, paramiko, putty, rclone};
use super::site::Site;
use crate::harness::{PATIENCE, eventually, start};

/// More than any of them sends meanwhile.
const SIZE: u64 = 1 << 30;

fn large(site: &Site) -> PathBuf {
    let path = site.path("large");
    std::fs::File::create(&path).unwrap().set_len(SIZE).unwrap();
    path
}

/// Starts an upload to /bulk/NAME, and stops it in the middle; without a signal it stops by itself. Each further signal is
/// for one that did not end by the one before. Whether it was closed, which one that hangs must not have been.
fn stopped(site: &Site, name: &str, command: Command, signals: &[Signal]) -> bool {
    let mut running = start(command, b"");
    // One that stops by itself may have done so already.
    let remote = format!("/bulk/{name}");
    eventually("a part of it to be sealed", || {
        let drafts = site.gateway.command(&["upload", "list", "--drafts"]).ok().stdout;
        (drafts.contains(name) || !site.uploads(&remote).is_empty()).then_some(())
    });
    let mut hung = false;
    for (number, signal) in signals.iter().enumerate() {
        let patience = Instant::now() + PATIENCE / 6;
        while number > 0 && !running.ended() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(15));
        }
        if !running.ended() {
            hung |= number > 0;
            running.signal(*signal);
        }
    }
    running.wait(PATIENCE).fails();
    site.await_nothing_under_way();
    let rows = site.uploads(&remote);
    assert!(!hung || rows.is_empty(), "{name} waits for the answer to a CLOSE that came: {rows:?}");
    for row in &rows {
        assert!(row.receipt.size < SIZE);
        assert!(row.receipt.report.flag_names().contains(&"interrupted".into()), "{name}: {:?}", row.receipt);
    }
    !rows.is_empty()
}

#[test]
fn curl_that_reaches_a_limit_closes_what_it_sent_and_that_is_noticed() {
    let site = Site::new();
    let (file, way) = (large(&site), site.way());
    let limit = ["--limit-rate", "4M", "--speed-limit", "1000000000", "--speed-time", "2"];
    assert!(stopped(&site, "limit.bin", curl::putting(&way, &limit, &file, "/bulk/limit.bin"), &[]));
    let killed = curl::putting(&way, &limit[..2], &file, "/bulk/killed.bin");
    stopped(&site, "killed.bin", killed, &[Signal::TERM]);
}

#[test]
fn psftp_and_paramiko_that_are_told_to_stop_are_noticed() {
    let site = Site::new();
    let (file, way) = (large(&site), site.way());
    for (name, signal) in [("int.bin", Signal::INT), ("term.bin", Signal::TERM)] {
        stopped(&site, name, putty::putting(&way, &file, &format!("/bulk/{name}")), &[signal]);
    }
    // Its `with` closes the file on the way out of a KeyboardInterrupt, unless that tore a packet.
    let put = paramiko::DEBIAN.command(&way, &["put", file.to_str().unwrap(), "/bulk/script.bin"]);
    // Then its CLOSE goes as the rest of that packet, and it waits for the answer for ever: it is killed.
    stopped(&site, "script.bin", put, &[Signal::INT, Signal::KILL]);
}

#[test]
fn lftp_and_rclone_that_are_told_to_stop_are_noticed() {
    let site = Site::new();
    let (file, way) = (large(&site), site.way());
    for (word, signal) in [("int", Signal::INT), ("term", Signal::TERM)] {
        let (name, other) = (format!("lftp-{word}.bin"), format!("rclone-{word}.bin"));
        stopped(&site, &name, lftp::putting(&way, &file, &format!("/bulk/{name}")), &[signal]);
        stopped(&site, &other, rclone::putting(&way, &file, &format!("/bulk/{other}")), &[signal]);
    }
}
