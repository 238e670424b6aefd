//! Whole sessions: requests in, answers and consequences out.

mod house;
mod loaders;
mod model;

use std::time::Duration;

use self::house::{Client, House, ROOM, packet, text};
use super::Out;
use crate::audit::Kind;
use crate::ledger::Filter;

const OK: u32 = 0;
const NO_SUCH_FILE: u32 = 2;
const PERMISSION_DENIED: u32 = 3;
const FAILURE: u32 = 4;
const OP_UNSUPPORTED: u32 = 8;

fn csv(size: usize) -> Vec<u8> {
    b"id,visits\nA1,3\n".iter().copied().cycle().take(size).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_accepted_at_close_and_seen_at_once() {
    let house = House::new();
    let mut client = house.client("nightly").await;
    let data = csv(600_000);
    let handle = client.create("/ims/a.csv").await;
    // Large WRITEs, cut at awkward places, with more than one on the way.
    let mut stream = Vec::new();
    let mut ids = Vec::new();
    for (n, part) in data.chunks(255 * 1024).enumerate() {
        let (id, bytes) = client.request(6, &Client::write_body(&handle, n as u64 * 255 * 1024, part));
        ids.push(id);
        stream.extend(bytes);
    }
    for piece in stream.chunks(32_768 - 7) {
        client.send(piece).await.unwrap();
    }
    for id in ids {
        assert_eq!(client.reply(id).await.code(), OK);
    }
    assert_eq!(client.ask(8, &text(&handle)).await.size(), 600_000, "FSTAT while it is open");
    assert_eq!(client.close(&handle).await.code(), OK);
    assert_eq!(client.stat("/ims/a.csv").await.size(), 600_000);
    assert_eq!(client.list("/ims").await, ["a.csv"]);
    assert_eq!(client.list("/").await, ["ims", "notes", "contract", "receipts", "help.txt"]);

    let receipts = client.list("/receipts").await;
    assert_eq!(receipts.len(), 3, "two forms, and the proof");
    let receipt = client.get(&format!("/receipts/{}", receipts[0])).await;
    let receipt: crate::audit::Receipt = serde_json::from_slice(&receipt).unwrap();
    assert_eq!(receipt.size, 600_000);
    assert_eq!(receipt.sha256.0, ring::digest::digest(&ring::digest::SHA256, &data).as_ref());
    assert_eq!(client.stat(&format!("/receipts/{}", receipts[1])).await.kind, 105);
    house.event(Kind::ReceiptRead).await;

    let back = client.open("/ims/a.csv", 1).await;
    assert_eq!(back.code(), PERMISSION_DENIED);
    assert!(back.message().contains("sealed"), "{}", back.message());
    assert!(client.lines[0].starts_with("nightsafe: accepted a.csv"), "{:?}", client.lines);
    assert!(client.lines[1].contains("sealed"), "{:?}", client.lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_sent_ahead_are_done_in_turn() {
    let house = House::new();
    let mut client = house.client("nightly").await;
    let handle = client.create("/ims/a.csv.part").await;
    let (write, w) = client.request(6, &Client::write_body(&handle, 0, &csv(1000)));
    let (close, c) = client.request(4, &text(&handle));
    let (rename, r) = client.request(18, &[text("/ims/a.csv.part"), text("/ims/a.csv")].concat());
    let (setstat, s) =
        client.request(9, &[&text("/ims/a.csv")[..], &[0, 0, 0, 8], &[0; 4], &1_700_000_000u32.to_be_bytes()].concat());
    let (stat, t) = client.request(17, &text("/ims/a.csv"));
    client.send(&[w, c, r, s, t].concat()).await.unwrap();
    for id in [write, close, rename, setstat] {
        let reply = client.reply(id).await;
        assert_eq!(reply.code(), OK, "{}", reply.message());
    }
    let stat = client.reply(stat).await;
    assert_eq!(stat.size(), 1000);
    assert_eq!(stat.body[stat.body.len() - 4..], 1_700_000_000u32.to_be_bytes(), "the time that was set");
    assert_eq!(client.list("/ims").await, ["a.csv"]);
    assert_eq!(client.stat("/ims/a.csv.part").await.code(), NO_SUCH_FILE);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_set_on_a_draft_is_kept_for_what_it_becomes() {
    let house = House::new();
    let mut client = house.client("nightly").await;
    assert_eq!(client.put("/ims/a.csv.part", &csv(100)).await.code(), OK);
    let time = [&text("/ims/a.csv.part")[..], &[0, 0, 0, 8], &[0; 4], &1_700_000_000u32.to_be_bytes()].concat();
    assert_eq!(client.ask(9, &time).await.code(), OK);
    let rename = [text("/ims/a.csv.part"), text("/ims/a.csv")].concat();
    assert_eq!(client.ask(18, &rename).await.code(), OK);
    let stat = client.stat("/ims/a.csv").await;
    assert_eq!(stat.body[stat.body.len() - 4..], 1_700_000_000u32.to_be_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_upload_frees_its_name_though_nobody_takes_the_answers() {
    let house = House::new();
    let mut client = house.client("nightly").await;
    for _ in 0..client.answers.max_capacity() {
        let (_, remove) = client.request(13, &text("/ims/none.csv"));
        client.send(&remove).await.unwrap();
    }
    while client.answers.len() < client.answers.max_capacity() {
        tokio::task::yield_now().await;
    }
    let handle = client.create("/ims/a.csv").await;
    assert_eq!(client.write(&handle, 0, &csv(100)).await.code(), OK);
    let (_, close) = client.request(4, &text(&handle));
    client.send(&close).await.unwrap();
    let again = tokio::time::timeout(Duration::from_secs(10), client.open("/ims/a.csv", 0x1a)).await;
    assert_eq!(again.expect("the name is free").kind, 102);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_says_why_in_the_status_in_a_line_and_in_a_report() {
    let house = House::new();
    let mut client = house.client("nightly").await;
    let handle = client.create("/ims/empty.csv").await;
    let closed = client.close(&handle).await;
    assert_eq!(closed.code(), FAILURE);
    assert!(closed.message().contains("empty"), "{}", closed.message());
    let said: String = client.lines.iter().map(|line| line.strip_prefix("nightsafe: ").unwrap()).collect();
    assert_eq!(said, format!("rejected empty.csv: {}", closed.message()));
    assert!(client.list("/receipts").await[0].contains(".report."));
    assert!(client.list("/ims").await.is_empty());
    let missing = client.stat("/ims/empty.csv").await;
    assert_eq!(missing.code(), NO_SUCH_FILE);
    assert_eq!(client.lines.len(), 1, "a STAT of nothing is no news");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_fails_the_upload_whatever_follows() {
    let house = House::new();
    let mut client = house.client("nightly").await;
    let handle = client.create("/ims/a.csv").await;
    assert_eq!(client.write(&handle, 0, &csv(100)).await.code(), OK);
    let jump = client.write(&handle, u64::MAX - 50, &csv(100)).await;
    assert_ne!(jump.code(), OK, "no file is that long");
    let after = client.write(&handle, 100, &csv(100)).await;
    assert_eq!((after.code(), after.message()), (jump.code(), jump.message()));
    assert_ne!(client.close(&handle).await.code(), OK);
    assert!(client.list("/ims").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_offered_is_refused_with_a_reason() {
    let house = House::new();
    let mut client = house.client("nightly").await;
    assert_eq!(client.put("/ims/a.csv", &csv(100)).await.code(), OK);
    let no_attrs: &[u8] = &[0; 4];
    let a = text("/ims/a.csv");
    let refused = [
        (client.ask(14, &[&text("/new")[..], no_attrs].concat()).await, PERMISSION_DENIED),
        (client.ask(14, &[&text("/ims")[..], no_attrs].concat()).await, FAILURE),
        (client.ask(15, &text("/ims")).await, PERMISSION_DENIED),
        (client.ask(13, &text("/help.txt")).await, PERMISSION_DENIED),
        (client.ask(18, &[a.clone(), text("/ims/b.csv")].concat()).await, PERMISSION_DENIED),
        (client.ask(20, &[a.clone(), text("/ims/b.csv")].concat()).await, OP_UNSUPPORTED),
        (client.ask(19, &a).await, OP_UNSUPPORTED),
        (client.ask(200, &[text("copy-data"), vec![9]].concat()).await, OP_UNSUPPORTED),
        (client.ask(200, &[text("hardlink@openssh.com"), a.clone(), a.clone()].concat()).await, OP_UNSUPPORTED),
        (client.ask(99, &[]).await, OP_UNSUPPORTED),
        (client.open("/ims/a.csv", 0x2a).await, FAILURE),
        (client.open("/ims", 0x1a).await, FAILURE),
        (client.open("/receipts/x.csv", 0x1a).await, NO_SUCH_FILE),
        (client.open("/help.txt", 0x1a).await, PERMISSION_DENIED),
        (client.open("/ims/../a.csv", 0x1a).await, FAILURE),
        (client.ask(9, &[&a[..], &[0, 0, 0, 1], &5u64.to_be_bytes()].concat()).await, PERMISSION_DENIED),
        (client.ask(11, &a).await, FAILURE),
        (client.ask(4, &text([0; 8])).await, FAILURE),
    ];
    for (n, (reply, code)) in refused.iter().enumerate() {
        assert_eq!(reply.code(), *code, "{n}: {}", reply.message());
        assert!(reply.message().len() > 10);
    }
    // Modes are ignored, and the size that it has already is no change.
    assert_eq!(client.ask(9, &[&a[..], &[0, 0, 0, 4], &[0; 4]].concat()).await.code(), OK);
    assert_eq!(client.ask(9, &[&a[..], &[0, 0, 0, 1], &100u64.to_be_bytes()].concat()).await.code(), OK);
    let told = house.events(Kind::RequestRefused).await;
    assert_eq!(told[0].event.detail["request"], "MKDIR");
    assert_eq!(told[0].event.detail["path"], "/new");
    assert!(told.iter().any(|told| told.event.detail["path"] == "/ims/a.csv -> /ims/b.csv"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_file_that_is_removed_is_listed_no_more_and_nothing_else_changes() {
    let house = House::new();
    let mut client = house.client("nightly").await;
    assert_eq!(client.put("/ims/a.csv", &csv(100)).await.code(), OK);
    let a = text("/ims/a.csv");
    assert_eq!(client.ask(13, &a).await.code(), OK);
    assert_eq!(client.ask(13, &a).await.code(), NO_SUCH_FILE);
    assert!(client.list("/ims").await.is_empty());
    assert_eq!((client.stat("/ims/a.csv").await.code(), client.list("/receipts").await.len()), (NO_SUCH_FILE, 3));
    let ledger = &house.services.ledger;
    assert_eq!(ledger.deliveries(&Filter::default()).await.unwrap().len(), 1);
    let told = house.events(Kind::UploadUnlisted).await;
    assert_eq!((told.len(), told[0].event.detail["name"].as_str()), (1, Some("a.csv")));
    assert_eq!(ledger.verify(crate::ledger::testing::believing()).await.unwrap().findings, []);

    // As WinSCP overwrites: the old one is removed, then the new one renamed to its name.
    assert_eq!(client.put("/ims/a.csv.part", &csv(200)).await.code(), OK);
    assert_eq!(client.ask(18, &[text("/ims/a.csv.part"), a.clone()].concat()).await.code(), OK);
    assert_eq!(client.stat("/ims/a.csv").await.size(), 200);
    let uploads = ledger.uploads(&Filter::default()).await.unwrap();
    assert_eq!(uploads[1].receipt.supersedes, Some(uploads[0].receipt.upload));
    assert_eq!(ledger.verify(crate::ledger::testing::believing()).await.unwrap().findings, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_session_s_upload_is_listed_with_the_size_to_go_on_at() {
    let house = House::new();
    let content = csv(600_000);
    let mut client = house.client("nightly").await;
    let handle = client.create("/ims/a.csv").await;
    for (n, part) in content[..500_000].chunks(100_000).enumerate() {
        assert_eq!(client.write(&handle, n as u64 * 100_000, part).await.code(), OK);
    }
    assert_eq!(client.stat("/ims/a.csv").await.size(), 500_000, "its own session sees what it wrote");
    drop(client);
    house.event(Kind::DraftKept).await;

    let mut client = house.client("nightly").await;
    assert_eq!(client.list("/ims").await, ["a.csv"]);
    let size = client.stat("/ims/a.csv").await.size();
    assert!((400_000..500_000).contains(&size), "{size}");
    // As OpenSSH's reput opens: WRITE, CREAT and APPEND.
    let handle = client.open("/ims/a.csv", 0xe).await.handle();
    for (n, part) in content[size as usize..].chunks(100_000).enumerate() {
        assert_eq!(client.write(&handle, size + n as u64 * 100_000, part).await.code(), OK);
    }
    assert_eq!(client.close(&handle).await.code(), OK);
    let uploads = house.services.ledger.uploads(&Filter::default()).await.unwrap();
    let sha256 = ring::digest::digest(&ring::digest::SHA256, &content);
    assert_eq!(uploads[0].receipt.sha256.0, sha256.as_ref());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_begins_anew_where_too_little_of_it_was_there_to_go_on_with() {
    let house = House::new();
    let (mut first, mut second) = (house.client("nightly").await, house.client("nightly").await);
    let handle = first.create("/ims/a.csv").await;
    assert_eq!(first.write(&handle, 0, &csv(1000)).await.code(), OK);
    // Without CREAT the client means a file that is there, and it is not any more.
    assert_eq!(second.open("/ims/a.csv", 0x2).await.code(), NO_SUCH_FILE);
    assert!(first.close(&handle).await.message().contains("goes on with it in another session"));
    let handle = first.create("/ims/a.csv").await;
    assert_eq!(first.write(&handle, 0, &csv(1000)).await.code(), OK);
    let anew = second.open("/ims/a.csv", 0xa).await.handle();
    assert_eq!(second.ask(8, &text(&anew)).await.size(), 0);
    assert_eq!(second.write(&anew, 0, &csv(900)).await.code(), OK);
    assert_eq!(second.close(&anew).await.code(), OK);
    assert_eq!(second.stat("/ims/a.csv").await.size(), 900);
    assert_ne!(first.close(&handle).await.code(), OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_may_be_set_by_handle_and_by_path() {
    let house = House::new();
    let mut client = house.client("nightly").await;
    let size = |size: u64| [&1u32.to_be_bytes()[..], &size.to_be_bytes()].concat();
    let handle = client.create("/ims/a.csv").await;
    client.write(&handle, 0, &csv(1000)).await;
    // FSETSTAT, as OpenSSH's interrupted put sends it.
    assert_eq!(client.ask(10, &[text(&handle), size(400)].concat()).await.code(), OK);
    assert_eq!(client.ask(8, &text(&handle)).await.size(), 400);
    assert_eq!(client.close(&handle).await.code(), OK);
    assert_eq!(client.stat("/ims/a.csv").await.size(), 400);
    // SETSTAT to 0 and an OPEN without TRUNC, as sshfs overwrites.
    let path = text("/ims/a.csv");
    assert_eq!(client.ask(9, &[path.clone(), size(0)].concat()).await.code(), OK);
    assert_eq!(client.stat("/ims/a.csv").await.size(), 0);
    let handle = client.open("/ims/a.csv", 2).await.handle();
    client.write(&handle, 0, &csv(300)).await;
    assert_eq!(client.close(&handle).await.code(), OK);
    let uploads = house.services.ledger.uploads(&Filter::default()).await.unwrap();
    assert_eq!(uploads.iter().map(|row| row.receipt.size).collect::<Vec<_>>(), [400, 300]);
}

#[tokio::test(flavor = "multi_thread")]
async fn extensions_answer_as_openssh_expects() {
    let house = House::new();
    let mut client = house.client("nightly").await;
    let numbers = |reply: house::Reply| -> Vec<u64> {
        assert_eq!(reply.kind, 201);
        reply.body.chunks(8).map(|number| u64::from_be_bytes(number.try_into().unwrap())).collect()
    };
    assert_eq!(numbers(client.ask(200, &text("limits@openssh.com")).await), [262_144, 261_120, 261_120, 64]);
    let space = numbers(client.ask(200, &[text("statvfs@openssh.com"), text("/ims")].concat()).await);
    assert_eq!(space[..5], [4096, 4096, (1 << 30) / 4096, (1 << 30) / 4096, (1 << 30) / 4096]);
    client.put("/ims/a.csv", &csv(100_000)).await;
    let space = numbers(client.ask(200, &[text("statvfs@openssh.com"), text("/ims")].concat()).await);
    assert!(space[3] < space[2], "what is stored counts");
    for (path, expanded) in [("~", "/"), ("~/ims", "/ims"), ("x/../ims", "/ims")] {
        let reply = client.ask(200, &[text("expand-path@openssh.com"), text(path)].concat()).await;
        assert_eq!(reply.body[4..8 + expanded.len()], text(expanded), "{path}");
    }
    let handle = client.create("/ims/b.csv").await;
    client.write(&handle, 0, &csv(200_000)).await;
    assert_eq!(client.ask(200, &[text("fsync@openssh.com"), text(&handle)].concat()).await.code(), OK);
    assert_eq!(client.close(&handle).await.code(), OK);
    assert_eq!(client.ask(200, &[text("home-directory"), text("root")].concat()).await.kind, 104);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_audited_up_to_a_number_and_then_counted() {
    let house = House::new();
    let mut client = house.client("nightly").await;
    for n in 0..150 {
        assert_eq!(client.ask(15, &text(format!("/{n}"))).await.code(), PERMISSION_DENIED);
    }
    assert_eq!(house.events(Kind::RequestRefused).await.len(), 100);
    assert_eq!(client.lines.len(), 1, "the same line again is no news");
    drop(client);
    let counted = async {
        while house.events(Kind::RequestRefused).await.len() < 101 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), counted).await.unwrap();
    assert_eq!(house.events(Kind::RequestRefused).await.pop().unwrap().event.detail["count"], 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_end_after_a_number_and_say_so() {
    let house = House::new();
    let mut client = house.client("nightly").await;
    for n in 0..100 {
        let handle = client.create(&format!("/ims/{n}.csv")).await;
        assert_eq!(client.close(&handle).await.code(), FAILURE);
    }
    assert_eq!(client.lines.len(), 65);
    assert!(client.lines[64].starts_with("nightsafe: further messages are left out"), "{:?}", client.lines[64]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_fault_is_answered_on_the_write_that_shows_it_and_recorded_at_close() {
    let house = House::new();
    let mut client = house.client("nightly").await;
    let zip = [b"PK\x03\x04".as_slice(), &[7; 200_000]].concat();
    let handle = client.create("/ims/a.csv").await;
    let (mut offset, mut answered) = (0, None);
    // The worker finds out some time after the bytes came; a client that goes on is told by a later WRITE.
    for _ in 0..200 {
        let reply = client.write(&handle, offset, &zip).await;
        offset += zip.len() as u64;
        if reply.code() != OK {
            answered = Some(reply);
            break;
        }
    }
    let answered = answered.expect("a WRITE is refused before the file ends");
    assert_eq!(answered.code(), FAILURE);
    assert!(answered.message().contains("ZIP archive"), "{}", answered.message());
    assert!(client.lines[0].starts_with("nightsafe: rejected a.csv: this is a ZIP archive"), "{:?}", client.lines);
    let said = client.lines.len();
    // What the client had sent already.
    for _ in 0..3 {
        let next = client.write(&handle, offset, &zip).await;
        assert_eq!((next.code(), next.message()), (answered.code(), answered.message()));
    }
    assert_eq!(client.lines.len(), said, "the same again is no news");
    let closed = client.close(&handle).await;
    assert_eq!(closed.code(), FAILURE);
    assert!(closed.message().contains("ZIP archive"), "{}", closed.message());
    let reports = client.list("/receipts").await;
    let said = reports.iter().filter(|name| name.contains(".report.")).count();
    assert!(reports.len() == 3 && said == 2 && reports[2].ends_with(".tlog-proof"), "{reports:?}");
    assert!(client.list("/ims").await.is_empty());
    assert_eq!(house.events(Kind::UploadRejected).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn listed_sizes_are_those_of_what_is_read() {
    let house = House::new();
    house.contract("ims", "ims.toml", "title = \"ims\"\n");
    let mut client = house.client("nightly").await;
    client.put("/ims/a.csv", &csv(100)).await;
    let handle = client.create("/ims/empty.csv").await;
    client.close(&handle).await;
    let mut read = 0;
    for directory in ["/receipts", "/contract"] {
        for name in client.list(directory).await {
            let path = format!("{directory}/{name}");
            assert_eq!(client.stat(&path).await.size(), client.get(&path).await.len() as u64, "{path}");
            read += 1;
        }
    }
    assert_eq!(read, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_is_read_at_any_offset_and_never_written() {
    let house = House::new();
    house.contract("ims", "ims.toml", "title = \"ims\"\n");
    house.contract("notes", "notes.toml", "title = \"notes\"\n");
    let mut client = house.client("nightly").await;
    assert_eq!(client.list("/contract").await, ["ims.toml", "notes.toml"]);
    assert_eq!(client.get("/contract/ims.toml").await, b"title = \"ims\"\n");
    let handle = client.open("/contract/ims.toml", 1).await.handle();
    assert_eq!(client.read(&handle, 9, 3).await.data(), b"ims");
    assert_eq!(client.read(&handle, 14, 100).await.code(), 1);

    let ims = text("/contract/ims.toml");
    let refused = [
        client.open("/contract/ims.toml", 0x1a).await,
        client.open("/contract/new.csv", 0x1a).await,
        client.ask(13, &ims).await,
        client.ask(18, &[ims.clone(), text("/contract/b.toml")].concat()).await,
        client.ask(18, &[text("/ims/a.csv.part"), ims.clone()].concat()).await,
        client.ask(9, &[&ims[..], &[0, 0, 0, 1], &5u64.to_be_bytes()].concat()).await,
        client.ask(15, &text("/contract")).await,
    ];
    for (n, reply) in refused.iter().enumerate() {
        assert_eq!(reply.code(), PERMISSION_DENIED, "{n}: {}", reply.message());
    }
    assert!(refused[1].message().contains("can only be read"), "{}", refused[1].message());
    assert_eq!(client.open("/contract", 0x1a).await.code(), FAILURE, "a directory");

    let mut meadow = house.client("meadow-it").await;
    assert_eq!(meadow.list("/contract").await, ["ims.toml"]);
    let nothing = meadow.stat("/contract/none.toml").await;
    assert_eq!(meadow.stat("/contract/notes.toml").await.message(), nothing.message());
    assert_eq!(meadow.open("/contract/notes.toml", 1).await.code(), NO_SUCH_FILE);
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_are_capped_and_the_session_goes_on() {
    let house = House::new();
    let mut client = house.client("nightly").await;
    let mut taken = Vec::new();
    for _ in 0..200 {
        let reply = client.ask(11, &text("/")).await;
        if reply.kind == 102 {
            taken.push(reply.handle());
        } else {
            assert!(reply.message().contains("close some first"));
        }
    }
    assert_eq!(taken.len(), 64);
    assert_eq!(client.open("/ims/a.csv", 0x1a).await.code(), FAILURE);
    client.close(&taken[0]).await;
    assert_eq!(client.put("/ims/a.csv", &csv(100)).await.code(), OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_no_answers_is_ended() {
    let house = House::new();
    for late in [false, true] {
        let mut client = house.client("nightly").await;
        let mut count = 0;
        let broken = loop {
            // REMOVE is answered late, REALPATH at once.
            let (_, bytes) = client.request(if late { 13 } else { 16 }, &text("/ims/none.csv"));
            count += 1;
            assert!(count < 200_000, "nothing ended it");
            let session = client.session.as_mut().unwrap();
            if let Err(broken) = session.data(&bytes, 0, &mut client.out).await {
                break broken;
            }
        };
        assert!(broken.0.contains("unread"), "{broken:?}");
        let held: usize = client.out.iter().map(|out| if let Out::Data(bytes) = out { bytes.len() } else { 0 }).sum();
        assert!(held < 2 << 20, "{held} bytes of answers");
        assert_eq!(client.send(&[]).await, Err(broken), "and stays ended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_before_init_and_init_comes_once() {
    let house = House::new();
    let mut client = house.silent_client("nightly").await;
    assert!(client.send(&packet(17, &[&[0; 4], &text("/")[..]].concat())).await.is_err());
    let mut client = house.silent_client("nightly").await;
    assert!(client.send(&packet(6, &[&[0; 4], &Client::write_body(b"", 0, b"x")[..]].concat())).await.is_err());
    assert!(client.out.is_empty());
    let mut client = house.client("nightly").await;
    assert!(client.send(&packet(1, &[0, 0, 0, 3])).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_packet_ends_the_session_and_keeps_what_is_open_as_a_draft() {
    let house = House::new();
    let mut client = house.client("nightly").await;
    let handle = client.create("/ims/a.csv").await;
    client.write(&handle, 0, &csv(100_000)).await;
    // STAT with a byte too many; the REALPATH after it must not be answered.
    let (_, stat) = client.request(17, &[text("/"), vec![0]].concat());
    let (_, realpath) = client.request(16, &text("/"));
    assert!(client.send(&[stat, realpath].concat()).await.is_err());
    assert!(client.all().is_empty());
    house.event(Kind::DraftKept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_stream_aborts_what_is_open_and_lets_the_rest_finish() {
    let house = House::new();
    let mut client = house.client("nightly").await;
    let (open, closed) = (client.create("/ims/open.csv").await, client.create("/ims/closed.csv").await);
    client.write(&open, 0, &csv(1000)).await;
    client.write(&closed, 0, &csv(1000)).await;
    let (id, close) = client.request(4, &text(&closed));
    client.send(&close).await.unwrap();
    let mut session = client.session.take().unwrap();
    assert_eq!(session.eof(ROOM, &mut client.out).await, Ok(true));
    drop(session);
    assert_eq!(client.reply(id).await.code(), OK);
    // The last sender is gone when all is answered and told.
    let end = async { while client.answers.recv().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(10), end).await.expect("the channel can be ended");
    assert_eq!(house.events(Kind::UploadAborted).await.len(), 1);
    assert_eq!(house.client("nightly").await.list("/ims").await, ["closed.csv"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_inside_a_packet_is_broken() {
    let house = House::new();
    let mut client = house.client("nightly").await;
    client.send(&[0, 0, 0, 9, 17]).await.unwrap();
    assert!(client.session.as_mut().unwrap().eof(ROOM, &mut client.out).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_directory_comes_in_pages_with_each_name_once() {
    let house = House::new();
    let mut client = house.client("nightly").await;
    let mut expected: Vec<String> = (0..230).map(|n| format!("{n:03}.csv")).collect();
    for name in &expected {
        assert_eq!(client.put(&format!("/ims/{name}"), &csv(20)).await.code(), OK);
    }
    // One of them is being uploaded again.
    let handle = client.create("/ims/007.csv").await;
    let mut listed = client.list("/ims").await;
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
    assert_eq!(client.list("/receipts").await.len(), 690);
    client.close(&handle).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_organisation_finds_nothing() {
    let house = House::new();
    house.client("nightly").await.put("/ims/a.csv", &csv(100)).await;
    let mut client = house.client("nightly").await;
    let draft = client.create("/ims/b.csv.part").await;
    client.write(&draft, 0, &csv(100)).await;
    let receipt = client.list("/receipts").await.remove(0);
    let mut meadow = house.client("meadow-it").await;
    let nothing = meadow.stat("/ims/none.csv").await;
    for path in ["/ims/a.csv", "/ims/b.csv.part", "/notes", "/notes/a.csv", &format!("/receipts/{receipt}")] {
        for request in [17, 7, 11, 13] {
            let reply = meadow.ask(request, &text(path)).await;
            assert!(reply.code() != OK && (request == 13 || reply.message() == nothing.message()), "{path}");
        }
    }
    assert_eq!(meadow.list("/").await, ["ims", "contract", "receipts", "help.txt"]);
    assert!(meadow.list("/ims").await.is_empty() && meadow.list("/receipts").await.is_empty());
    assert!(!String::from_utf8(meadow.get("/help.txt").await).unwrap().contains("notes"));
}
