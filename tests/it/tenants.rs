//! Two organisations and three kinds of account: nothing of one can be learned by another.

use nightsafe::ledger::DeliveryState;

use crate::harness::{Client, Gateway, Raw, Setup, Status, csv, flag, fresh_dir, kind, string};
use crate::loading::{claim_one, load_into, text};

/// A gateway where harbour has one accepted and one rejected upload, and an upload under way; meadow has nothing.
struct Neighbours {
    gateway: Gateway,
    /// Holds harbour's upload under way.
    under_way: Raw,
    accepted: String,
    rejected: String,
}

impl Neighbours {
    fn new() -> Self {
        let gateway = Gateway::start(Setup::new());
        gateway.put(&gateway.harbour(), &csv(5_000, 1), "/interventions/quarter.csv");
        let dir = fresh_dir("neighbours");
        let empty = dir.path().join("empty.csv");
        std::fs::write(&empty, "").unwrap();
        gateway.harbour().sftp(&format!("put {} /interventions/empty.csv\n", empty.display())).fails();
        let mut under_way = gateway.harbour().session();
        let handle = under_way.create("/interventions/under-way.csv");
        under_way.write(&handle, 0, &csv(100_000, 2)).unwrap();
        let id = |name: &str| {
            let rows = gateway.uploads();
            rows.iter().find(|row| row.receipt.name.as_str() == name).unwrap().receipt.upload.to_string()
        };
        let (accepted, rejected) = (id("quarter.csv"), id("empty.csv"));
        Self { gateway, under_way, accepted, rejected }
    }

    /// Ends harbour's upload under way, so that the gateway can settle.
    fn end(mut self) {
        self.under_way.close_input();
        self.under_way.await_end();
    }
}

/// The gateway's answer to a path, its own words about the path made alike.
fn asked(session: &mut Raw, request: u8, path: &str) -> Status {
    let body = match request {
        kind::OPEN => [&string(path.as_bytes())[..], &flag::READ.to_be_bytes(), &0u32.to_be_bytes()].concat(),
        _ => string(path.as_bytes()),
    };
    let reply = session.request(request, &body);
    assert_eq!(reply.kind, kind::STATUS, "{path} is there for the neighbour: {reply:?}");
    let Status { code, message } = reply.status();
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap();
    Status { code, message: message.replace(path, "PATH").replace(name, "NAME") }
}

#[test]
fn a_neighbours_files_and_receipts_answer_as_if_they_did_not_exist() {
    let neighbours = Neighbours::new();
    let Neighbours { gateway, accepted, rejected, .. } = &neighbours;
    let mut meadow = gateway.meadow().session();
    let nobody = "01890a5d-ac96-774b-bcce-b302099a8057";
    let pairs = [
        ("/interventions/quarter.csv".to_owned(), "/interventions/missing.csv".to_owned()),
        ("/interventions/under-way.csv".into(), "/interventions/missing-too.csv".into()),
        ("/outreach".into(), "/no-such-place".into()),
        ("/outreach/x.csv".into(), "/no-such-place/x.csv".into()),
        (
            format!("/receipts/quarter.csv.{accepted}.receipt.json"),
            format!("/receipts/quarter.csv.{nobody}.receipt.json"),
        ),
        (
            format!("/receipts/quarter.csv.{accepted}.receipt.txt"),
            format!("/receipts/quarter.csv.{nobody}.receipt.txt"),
        ),
        (format!("/receipts/empty.csv.{rejected}.report.json"), format!("/receipts/empty.csv.{nobody}.report.json")),
        (format!("/receipts/quarter.csv.{accepted}.tlog-proof"), format!("/receipts/quarter.csv.{nobody}.tlog-proof")),
    ];
    for (theirs, missing) in pairs {
        for request in [kind::STAT, kind::OPEN, kind::OPENDIR, kind::REMOVE] {
            let (existing, none) = (asked(&mut meadow, request, &theirs), asked(&mut meadow, request, &missing));
            assert_eq!(existing, none, "request {request}: {theirs} can be told from {missing}");
        }
    }
    drop(meadow);
    neighbours.end();
}

#[test]
fn a_neighbours_names_are_in_no_listing_and_no_text() {
    let neighbours = Neighbours::new();
    let meadow = neighbours.gateway.meadow();
    let dir = fresh_dir("listing");
    let help = dir.path().join("help.txt");
    let batch =
        format!("ls -la /\nls -la /interventions\nls -la /bulk\nls -la /receipts\nget /help.txt {}\n", help.display());
    let seen = meadow.sftp(&batch).ok().words() + &std::fs::read_to_string(&help).unwrap().to_lowercase();
    for theirs in ["harbour", "quarter", "under-way", "outreach", &neighbours.accepted, &neighbours.rejected] {
        assert!(!seen.contains(theirs), "meadow sees {theirs:?}:\n{seen}");
    }
    // Nor do the neighbour's stored bytes show in what the quota says is used.
    let quota = meadow.sftp("df /\n").ok().stdout;
    let numbers: Vec<&str> = quota.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(numbers[1], "0", "bytes in use by somebody else: {quota}");
    neighbours.end();
}

#[test]
fn the_same_names_in_two_organisations_do_not_meet() {
    let gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.harbour(), &csv(5_000, 1), "/same.csv");
    gateway.put(&gateway.meadow(), &csv(6_000, 2), "/same.csv");
    let rows = gateway.uploads();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.receipt.supersedes.is_none()), "one supersedes the other's: {rows:?}");
    assert_eq!(gateway.harbour().list("/receipts").len(), 3);
    assert_eq!(gateway.meadow().list("/receipts").len(), 3);
    // A working name of one is not the other's draft either.
    let mut harbour = gateway.harbour().session();
    let handle = harbour.create("/draft.csv.part");
    harbour.write(&handle, 0, &csv(1_000, 3)).unwrap();
    harbour.close(&handle);
    let mut meadow = gateway.meadow().session();
    let stolen = meadow.rename("/draft.csv.part", "/mine.csv");
    let missing = meadow.rename("/nothing.csv.part", "/mine.csv");
    assert_ne!(stolen.code, 0);
    assert_eq!(stolen.code, missing.code);
    assert_eq!(stolen.message.replace("draft", "NAME"), missing.message.replace("nothing", "NAME"));
    assert_eq!(harbour.rename("/draft.csv.part", "/draft.csv").code, 0);
}

#[test]
fn a_provider_sees_no_queue_and_cannot_claim() {
    let gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.harbour(), &csv(5_000, 1), "/visits.csv");
    let delivery = gateway.deliveries()[0].delivery;
    let harbour = gateway.harbour();
    assert!(!harbour.list("/").contains(&"queue".to_owned()));
    let mut session = harbour.session();
    for path in ["/queue".to_owned(), format!("/queue/{delivery}"), format!("/queue/{delivery}/object.age")] {
        for request in [kind::STAT, kind::OPEN, kind::OPENDIR] {
            asked(&mut session, request, &path);
        }
    }
    drop(session);
    let lease = "01890a5d-ac96-774b-bcce-b302099a8057";
    for line in
        ["claim".to_owned(), format!("ack {delivery} --lease {lease}"), format!("extend {delivery} --lease {lease}")]
    {
        let refused = harbour.exec(&line).fails();
        assert!(refused.stdout.is_empty(), "{refused:#?}");
    }
    assert_eq!(gateway.deliveries()[0].state, DeliveryState::Ready);
    assert_eq!(gateway.deliveries()[0].attempt, 0);
}

#[test]
fn a_loader_sees_no_inbox_and_cannot_put() {
    let gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.harbour(), &csv(5_000, 1), "/visits.csv");
    let loader = gateway.loader();
    let root = loader.list("/");
    for hidden in ["interventions", "bulk", "outreach", "receipts", "visits.csv"] {
        assert!(!root.contains(&hidden.to_owned()), "{root:?}");
    }
    assert!(root.contains(&"queue".to_owned()), "{root:?}");
    let dir = fresh_dir("loader-puts");
    let file = dir.path().join("mine.csv");
    std::fs::write(&file, csv(1_000, 2)).unwrap();
    for remote in ["/mine.csv", "/interventions/mine.csv", "/queue/mine.csv"] {
        loader.sftp(&format!("put {} {remote}\n", file.display())).fails();
    }
    loader.sftp("ls /receipts\n").fails();
    assert_eq!(gateway.uploads().len(), 1);
}

#[test]
fn an_object_is_readable_only_under_a_live_lease_of_this_account() {
    let gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.harbour(), &csv(5_000, 1), "/visits.csv");
    let delivery = gateway.deliveries()[0].delivery;
    let object = format!("/queue/{delivery}/object.age");
    let readable = |client: &Client| client.session().open(object.as_bytes(), flag::READ).is_ok();
    let (loader, other) = (gateway.loader(), gateway.client("loader-harbour"));
    assert!(!readable(&loader), "readable without a lease");
    let claimed = claim_one(&loader, "");
    assert!(readable(&loader));
    assert!(!readable(&other), "readable under another account's lease");
    let refused = other.exec(&format!("ack {delivery} --lease {}", text(&claimed, "lease")));
    assert!(!refused.succeeded(), "another account acknowledged: {refused:#?}");
    loader.exec(&format!("ack {delivery} --lease {}", text(&claimed, "lease"))).exits(0);
    assert!(!readable(&loader), "readable after the acknowledgement");
}

#[test]
fn a_loader_for_one_organisation_learns_nothing_of_another() {
    let gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.meadow(), &csv(5_000, 1), "/visits.csv");
    let theirs = gateway.deliveries()[0].delivery;
    let (loader, all) = (gateway.client("loader-harbour"), gateway.loader());

    assert_eq!(loader.exec("claim").ok().json_lines().len(), 0);
    assert_eq!(loader.exec("claim --org meadow").json_lines().len(), 0);
    assert!(loader.list("/queue").is_empty());
    let mut session = loader.session();
    let nobody = "01890a5d-ac96-774b-bcce-b302099a8057";
    for (there, missing) in [
        (format!("/queue/{theirs}"), format!("/queue/{nobody}")),
        (format!("/queue/{theirs}/manifest.json"), format!("/queue/{nobody}/manifest.json")),
        (format!("/queue/{theirs}/object.age"), format!("/queue/{nobody}/object.age")),
    ] {
        for request in [kind::STAT, kind::OPEN, kind::OPENDIR] {
            let alike = |status: Status| {
                let message = status.message.replace(&theirs.to_string(), "ID").replace(nobody, "ID");
                Status { message, ..status }
            };
            let (existing, none) = (asked(&mut session, request, &there), asked(&mut session, request, &missing));
            assert_eq!(alike(existing), alike(none), "{there} can be told from {missing}");
        }
    }
    drop(session);

    // Even with the lease that another loader holds.
    let claimed = claim_one(&all, "--org meadow");
    let lease = text(&claimed, "lease");
    for verb in ["ack", "extend"] {
        let existing = loader.exec(&format!("{verb} {theirs} --lease {lease}")).fails();
        let none = loader.exec(&format!("{verb} {nobody} --lease {lease}")).fails();
        assert_eq!(existing.code(), none.code());
        assert_eq!(existing.stderr.replace(&theirs.to_string(), "ID"), none.stderr.replace(nobody, "ID"));
    }
    all.exec(&format!("ack {theirs} --lease {lease}")).ok();

    gateway.put(&gateway.harbour(), &csv(5_000, 2), "/visits.csv");
    let dir = fresh_dir("one-org");
    load_into(&gateway, "loader-harbour", dir.path()).ok();
    assert!(gateway.deliveries().iter().all(|delivery| delivery.state == DeliveryState::Loaded));
}
