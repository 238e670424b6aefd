//! A dataset's demands, one after the other, as a stock client meets them: the dataset that the repository ships, and its
//! sample, each time with one thing changed.

use std::process::Command;

use nightsafe::audit::Verdict;

use crate::harness::{Client, Done, Gateway, PATIENCE, Setup, code, digest, files_under, fresh_dir, run};
use crate::loading::{claim_one, text};

const DATASET: &str = "config/datasets/ims-interventions.toml";
const TOML: &str = include_str!("../../config/datasets/ims-interventions.toml");
const SCHEMA: &str = include_str!("../../config/datasets/ims-interventions.schema.json");
const NAME: &str = "LIV9814_2024-06.csv";
const SAMPLE: &str = include_str!("../../src/cli/quickstart/LIV9814_2024-06.csv");

/// A gateway where harbour, whose agency is LIV9814, sends the shipped dataset; each change replaces a text that is there.
fn gateway(changes: &[(&str, &str)]) -> Gateway {
    let mut gateway = Gateway::prepare(Setup::new());
    std::fs::write(gateway.path(DATASET), TOML).unwrap();
    std::fs::write(gateway.path("config/datasets/ims-interventions.schema.json"), SCHEMA).unwrap();
    gateway.edit("config/orgs/harbour.toml", "\"interventions\", ", "\"interventions\", \"ims-interventions\", ");
    gateway.edit("config/orgs/harbour.toml", "[[accounts]]", "[codes]\nagency = [\"LIV9814\"]\n[[accounts]]");
    for (from, to) in changes {
        gateway.edit(DATASET, from, to);
    }
    gateway.launch();
    gateway
}

fn put(client: &Client, content: &[u8], name: &str) -> Done {
    let dir = fresh_dir("demands");
    let local = dir.path().join("content");
    std::fs::write(&local, content).unwrap();
    client.sftp(&format!("put {} /ims-interventions/{name}\n", local.display()))
}

/// The rules that the last upload broke, and those that it was flagged for.
fn rules(gateway: &Gateway) -> (Verdict, Vec<String>, Vec<String>) {
    let uploads = gateway.uploads();
    let receipt = &uploads.iter().max_by_key(|row| row.receipt.upload).unwrap().receipt;
    let names = |groups: &[nightsafe::check::Group]| groups.iter().map(|group| group.rule.to_string()).collect();
    (receipt.verdict, names(&receipt.report.groups), names(&receipt.report.flags))
}

#[track_caller]
fn rejected_for(gateway: &Gateway, content: &[u8], name: &str, rule: &str) -> Done {
    let done = put(&gateway.harbour(), content, name).fails();
    let (verdict, broken, _) = rules(gateway);
    assert!(verdict == Verdict::Rejected && broken.iter().any(|broken| broken == rule), "{rule}: {broken:?} {done:?}");
    done
}

/// What an upload may have left in the state directory: sealed objects, and files under way.
fn left(gateway: &Gateway) -> usize {
    ["state/vault", "state/spool"].iter().map(|dir| files_under(&gateway.path(dir)).len()).sum()
}

fn program(command: &mut Command) {
    run(std::mem::replace(command, Command::new("true")), b"", PATIENCE).ok();
}

#[test]
fn the_names_parts_must_be_the_organisations_and_the_contents() {
    let gateway = gateway(&[]);
    let client = gateway.harbour();
    for (name, why) in [("visits.csv", "AGENCY_YYYY-MM.csv"), ("LIV0123_2024-06.csv", "agency")] {
        let done = put(&client, SAMPLE.as_bytes(), name).fails();
        assert!(done.stderr.contains(why), "{name}: {done:?}");
    }
    rejected_for(&gateway, SAMPLE.as_bytes(), "LIV9814_2024-07.csv", "within-period");
    let other = SAMPLE.replacen("LIV9814,IMS000000003", "LIV0123,IMS000000003", 1);
    let told = rejected_for(&gateway, other.as_bytes(), NAME, "same-as-name");
    assert!(told.stderr.contains("row 3, \"Agency Code\"") && !told.stderr.contains("LIV0123"), "{told:?}");
    put(&client, SAMPLE.as_bytes(), NAME).ok();
    assert_eq!((gateway.deliveries().len(), left(&gateway)), (1, 1));
}

#[test]
fn a_forbidden_column_is_refused_on_the_write_that_shows_it() {
    let gateway = gateway(&[]);
    let mut wide = SAMPLE.replacen("Notes\n", "Notes,Surname\n", 1).into_bytes();
    wide.resize(3 << 20, b'x');
    let mut session = gateway.harbour().session();
    let handle = session.create(&format!("/ims-interventions/{NAME}"));
    let refused = session.write(&handle, 0, &wide).expect_err("a WRITE is refused");
    assert!(refused.message.contains("Surname"), "{refused:?}");
    assert_ne!(session.close(&handle).code, code::OK);
    let (_, broken, _) = rules(&gateway);
    assert!(broken.iter().any(|rule| rule == "forbidden-column"), "{broken:?}");
    assert_eq!(left(&gateway), 0);
}

#[test]
fn far_fewer_rows_than_last_time_are_flagged_or_rejected_as_the_dataset_says() {
    // The header and two rows of six.
    let few: String = SAMPLE.split_inclusive('\n').take(3).collect();
    let flagging = gateway(&[]);
    put(&flagging.harbour(), SAMPLE.as_bytes(), NAME).ok();
    let done = put(&flagging.harbour(), few.as_bytes(), NAME).ok();
    assert!(done.stderr.contains("row-count-change"), "{done:?}");
    assert_eq!(rules(&flagging).2, ["row-count-change"]);
    let claimed = claim_one(&flagging.loader(), "");
    let words = (text(&claimed, "delivery"), text(&claimed, "lease"));
    flagging.loader().exec(&format!("nack {} --lease {} --reason looked at it only", words.0, words.1)).ok();

    let refusing = gateway(&[("verdict = \"flag\" }", "verdict = \"reject\" }")]);
    put(&refusing.harbour(), SAMPLE.as_bytes(), NAME).ok();
    rejected_for(&refusing, few.as_bytes(), NAME, "row-count-change");
    assert_eq!(refusing.deliveries().len(), 1);
}

#[test]
fn totals_and_md5_beside_an_extract_are_compared_before_and_after_it() {
    let kinds = ("kinds = [\"sha256\", \"md5\"]", "kinds = [\"md5\", \"totals\"]");
    let totals = ("[[rules]]", "[totals]\ncolumns = [\"Units Issued\"]\n[[rules]]");
    let gateway = gateway(&[kinds, totals]);
    let client = gateway.harbour();
    let companion = |suffix: &str| format!("{NAME}.{suffix}");

    put(&client, b"rows = 7\n", &companion("totals")).ok();
    rejected_for(&gateway, SAMPLE.as_bytes(), NAME, "control-total");
    put(&client, b"rows = 6\nsum Units Issued = 161\n", &companion("totals")).ok();
    let told = rejected_for(&gateway, SAMPLE.as_bytes(), NAME, "control-total");
    assert!(!told.stderr.contains("160") && !told.stderr.contains("161"), "a sum is told: {told:?}");
    put(&client, b"rows = 6\nsum Units Issued = 160.00\n", &companion("totals")).ok();
    put(&client, SAMPLE.as_bytes(), NAME).ok();

    // A companion that comes late is compared with what was taken.
    put(&client, format!("{}\n", "0".repeat(32)).as_bytes(), &companion("md5")).fails();
    let dir = fresh_dir("md5");
    std::fs::write(dir.path().join(NAME), SAMPLE).unwrap();
    let mut md5sum = Command::new("md5sum");
    md5sum.arg(NAME).current_dir(dir.path());
    let digest = run(md5sum, b"", PATIENCE).ok().stdout;
    put(&client, digest.as_bytes(), &companion("md5")).ok();
    assert_eq!((gateway.deliveries().len(), left(&gateway)), (1, 1));
}

#[test]
fn those_who_objected_and_those_who_did_not_consent_are_restricted() {
    let gateway = gateway(&[]);
    // Row 3 objected by the dummy attributor, row 5 did not consent.
    let marked = SAMPLE.replacen("GE,29/02/2000", "XX,05/05/1955", 1).replacen("18,20,Y,", "18,20,N,", 1);
    put(&gateway.harbour(), marked.as_bytes(), NAME).ok();
    let claimed = claim_one(&gateway.loader(), "");
    assert_eq!((&claimed["rows"], &claimed["restricted"]), (&6.into(), &2.into()));
    let dir = fresh_dir("restricted");
    let list = dir.path().join("list");
    gateway.loader().sftp(&format!("get {} {}\n", text(&claimed, "restricted_rows"), list.display())).ok();
    assert_eq!(std::fs::read_to_string(&list).unwrap(), "3\n5\n");
    let words = (text(&claimed, "delivery"), text(&claimed, "lease"));
    gateway.loader().exec(&format!("nack {} --lease {} --reason looked at it only", words.0, words.1)).ok();
}

#[test]
fn packed_extracts_are_opened_in_the_stream_and_kept_as_they_came() {
    let gateway = gateway(&[]);
    let dir = fresh_dir("packed");
    let at = dir.path();
    std::fs::write(at.join(NAME), SAMPLE).unwrap();
    std::fs::write(at.join("other.csv"), SAMPLE).unwrap();
    std::fs::create_dir(at.join("bad")).unwrap();
    std::fs::write(at.join("bad").join(NAME), SAMPLE.replacen("04/06/2024", "2024-06-04", 1)).unwrap();
    program(Command::new("gzip").args(["-k", NAME]).current_dir(at));
    program(Command::new("gzip").arg(NAME).current_dir(at.join("bad")));
    program(Command::new("zip").args(["-q", "one.zip", NAME]).current_dir(at));
    program(Command::new("zip").args(["-q", "two.zip", NAME, "other.csv"]).current_dir(at));
    let read = |file: &str| std::fs::read(at.join(file)).unwrap();
    let (gz, zip) = (format!("{NAME}.gz"), format!("{NAME}.zip"));

    for (content, name) in [(read(&gz), &gz), (read("one.zip"), &zip)] {
        put(&gateway.harbour(), &content, name).ok();
        let row = gateway.uploads().into_iter().max_by_key(|row| row.receipt.upload).unwrap();
        assert_eq!((row.receipt.report.rows, row.receipt.sha256.to_string()), (Some(6), digest(&content)), "{name}");
    }
    rejected_for(&gateway, &read("two.zip"), &zip, "members");
    let whole = read(&gz);
    rejected_for(&gateway, &whole[..whole.len() - 40], &gz, "truncated");
    let told = rejected_for(&gateway, &read(&format!("bad/{gz}")), &gz, "date");
    assert!(told.stderr.contains("row 3, \"Intervention Date\""), "{told:?}");
    assert_eq!((gateway.deliveries().len(), left(&gateway)), (2, 2));
}
