//! What people see of the checks: the demands in /help.txt and /contract, verdicts on a terminal, reports, restricted rows.
//!
//! With OpenSSH's own clients, against a dataset with a schema, a rule of consent and a code list.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use nightsafe::audit::Verdict;
use nightsafe::ledger::DeliveryState;

use crate::harness::{Done, Gateway, PATIENCE, Setup, digest, digest_of_file, files_under, fresh_dir, keys, run};
use crate::loading::{claim_one, load_command, load_into, text};

const DATASET: &str = r#"title = "Interventions"
description = "One row for each visit."
format = "csv"
schema = "interventions.schema.json"
name_hint = "anything.csv"
on_reject = "discard"

[rows]
least = 1

[[rules]]
kind = "consent"
column = "Consent"
given = ["Y"]
"#;

const SCHEMA: &str = r#"{
  "fields": [
    {"name": "Visit ID", "type": "string", "constraints": {"required": true, "pattern": "[A-Z]{2}[0-9]{6}"}},
    {"name": "Practice", "type": "string", "constraints": {"required": true}},
    {"name": "Day", "type": "date", "format": "%d/%m/%Y", "constraints": {"required": true}},
    {"name": "Visits", "type": "integer", "constraints": {"minimum": 0}},
    {"name": "Remarks", "type": "string"},
    {"name": "Consent", "type": "string", "constraints": {"required": true, "enum": ["Y", "N"]}}
  ],
  "primaryKey": "Visit ID",
  "foreignKeys": [{"fields": "Practice", "reference": {"resource": "practices", "fields": "code"}}]
}
"#;

const HEADER: &str = "Visit ID,Practice,Day,Visits,Remarks,Consent\r\n";
/// A value that no report, status, log or listing may ever show.
const SECRET: &str = "Zaphod-Beeblebrox";

/// A gateway whose `interventions` is checked against a schema; `toml` is added to the dataset's file.
pub fn strict_gateway(toml: &str) -> Gateway {
    let mut gateway = Gateway::prepare(Setup::new().queue("backoff = \"1s\""));
    let put = |file: &str, text: &str| std::fs::write(gateway.path("config/datasets").join(file), text).unwrap();
    put("interventions.toml", &format!("{toml}\n{DATASET}"));
    put("interventions.schema.json", SCHEMA);
    put("practices.csv", "code,name\nP1,Harbour Street\nP2,Mill Lane\n");
    gateway.launch();
    gateway
}

/// A good extract of so many rows; `change` may break some of them. It is given the row's number, the header being 1.
pub fn extract(rows: u64, change: impl Fn(u64, &mut [String; 6])) -> Vec<u8> {
    let mut text = HEADER.to_owned();
    for number in 2..rows + 2 {
        let mut cells = [format!("HS{number:06}"), "P1".into(), "01/03/2026".into(), "3".into(), "".into(), "Y".into()];
        change(number, &mut cells);
        let _ = write!(text, "{}\r\n", cells.join(","));
    }
    text.into_bytes()
}

fn good(rows: u64) -> Vec<u8> {
    extract(rows, |_, _| {})
}

/// Puts `content` as `name`; what came of it is the caller's to judge.
fn put(gateway: &Gateway, content: &[u8], name: &str) -> Done {
    let dir = fresh_dir("put");
    let file = dir.path().join("content");
    std::fs::write(&file, content).unwrap();
    gateway.harbour().sftp(&format!("put {} /interventions/{name}\n", file.display()))
}

fn get(gateway: &Gateway, remote: &str) -> String {
    let dir = fresh_dir("get");
    let file = dir.path().join("file");
    gateway.harbour().sftp(&format!("get {remote} {}\n", file.display())).ok();
    std::fs::read_to_string(&file).unwrap()
}

/// The lines that OpenSSH's client showed of the gateway.
fn told(done: &Done) -> Vec<&str> {
    done.stderr.lines().filter_map(|line| line.trim_end().strip_prefix("nightsafe: ")).collect()
}

#[test]
fn the_help_says_what_the_dataset_demands() {
    let gateway = strict_gateway("");
    let help = get(&gateway, "/help.txt");
    for part in [
        "these 6, in this order",
        "\"Visit ID\": ",
        "\"Day\": date",
        "Keys            \"Visit ID\": in every row",
        "code list \"practices\"",
        "nightsafe precheck --dataset interventions.toml FILE",
        "any file",
    ] {
        assert!(help.contains(part), "{part:?} is not in:\n{help}");
    }
}

#[test]
fn the_contract_judges_alike_on_the_providers_own_machine() {
    let gateway = strict_gateway("");
    let names = gateway.harbour().list("/contract");
    for name in ["interventions.toml", "interventions.schema.json", "practices.csv", "bulk.toml", "outreach.toml"] {
        assert!(names.iter().any(|listed| listed == name), "{name} is not in {names:?}");
    }
    let dir = fresh_dir("contract");
    gateway.harbour().sftp(&format!("get /contract/* {}/\n", dir.path().display())).ok();
    let here = std::fs::read_to_string(gateway.path("config/datasets/interventions.schema.json")).unwrap();
    assert_eq!(std::fs::read_to_string(dir.path().join("interventions.schema.json")).unwrap(), here);

    let precheck = |content: &[u8]| {
        let file = dir.path().join("visits.csv");
        std::fs::write(&file, content).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_nightsafe"));
        command.args(["precheck", "--dataset"]).arg(dir.path().join("interventions.toml")).arg(&file);
        run(command, b"", PATIENCE)
    };
    precheck(&good(10)).exits(0);
    put(&gateway, &good(10), "visits.csv").ok();
    let bad = extract(10, |number, cells| {
        if number == 7 {
            cells[2] = SECRET.into();
        }
    });
    let here = precheck(&bad).exits(1);
    assert!(here.stdout.contains("Day") || here.stderr.contains("Day"), "{here:?}");
    put(&gateway, &bad, "visits.csv").fails();
    let uploads = gateway.uploads();
    let there = &uploads.last().unwrap().receipt;
    assert_eq!(there.verdict, Verdict::Rejected);
    let words = format!("{}{}", here.stdout, here.stderr);
    assert!(words.contains(&there.report.groups[0].message), "{words}\n{there:?}");
    assert!(!words.contains(SECRET), "{words}");
}

#[test]
fn the_contract_is_read_only_and_each_organisations_own() {
    let gateway = strict_gateway("");
    let (harbour, meadow) = (gateway.harbour(), gateway.meadow());
    assert!(!meadow.list("/contract").contains(&"outreach.toml".to_owned()));
    meadow.sftp("ls -l /contract/outreach.toml\n").fails();
    meadow.sftp("get /contract/outreach.toml /dev/null\n").fails();

    let dir = fresh_dir("contract-write");
    let file = dir.path().join("x.csv");
    std::fs::write(&file, good(1)).unwrap();
    for line in [
        &format!("put {} /contract/", file.display()),
        &format!("put {} /contract/bulk.toml", file.display()),
        "rm /contract/bulk.toml",
        "rename /contract/bulk.toml /contract/b.toml",
        "chmod 666 /contract/bulk.toml",
        "mkdir /contract/x",
        "rmdir /contract",
    ] {
        let done = harbour.sftp(&format!("{line}\n")).fails();
        assert!(!told(&done).is_empty(), "{line}: no words: {done:?}");
    }
    assert_eq!(gateway.uploads().len(), 0);

    // A reload shows at once.
    gateway.edit("config/datasets/bulk.toml", "Anything", "Everything");
    crate::harness::eventually("the new contract", || {
        get(&gateway, "/contract/bulk.toml").contains("Everything").then_some(())
    });
}

#[test]
fn the_report_in_the_docs_is_one_that_this_gateway_makes() {
    let guide = include_str!("../../docs/PROVIDERS.md");
    let block = |mark: &str| {
        let (_, rest) = guide.split_once(&format!("\n```{mark}\n")).unwrap();
        rest.split_once("\n```").unwrap().0
    };
    let receipt: nightsafe::audit::Receipt = serde_json::from_str(block("json")).unwrap();
    assert_eq!(receipt.text().trim_end(), block("text"));
    assert_eq!(receipt.reasons, receipt.report.reasons(20));
    assert!(guide.contains(&receipt.file_name(nightsafe::audit::Form::Text)));
}

#[test]
fn no_dataset_can_be_called_contract() {
    let gateway = Gateway::prepare(Setup::new());
    std::fs::write(gateway.path("config/datasets/contract.toml"), "title = \"x\"\nformat = \"csv\"\n").unwrap();
    let check = gateway.command(&["check"]).fails();
    assert!(check.words().contains("cannot be called contract"), "{check:?}");
}

#[test]
fn a_wrong_header_ends_the_upload_long_before_the_file_does() {
    let gateway = strict_gateway("");
    let mut wrong = good(400_000);
    wrong[..8].copy_from_slice(b"VisitREF");
    assert!(wrong.len() > 10_000_000);
    let done = put(&gateway, &wrong, "visits.csv").fails();
    let lines = told(&done);
    assert!(lines[0].starts_with("rejected visits.csv: "), "{lines:?}");
    assert!(done.stderr.contains("Visit ID"), "{done:?}");
    let rows = gateway.uploads();
    assert_eq!((rows.len(), rows[0].receipt.verdict), (1, Verdict::Rejected));
    assert!(!rows[0].receipt.report.complete && rows[0].receipt.size < wrong.len() as u64, "{:?}", rows[0].receipt);
    let reports = gateway.harbour().list("/receipts");
    let said = reports.iter().filter(|name| name.contains(".report.")).count();
    assert!(reports.len() == 3 && said == 2 && reports[2].ends_with(".tlog-proof"), "{reports:?}");
}

#[test]
fn a_rejection_is_told_on_standard_error_with_the_reports_path_and_no_value() {
    let gateway = strict_gateway("");
    let bad = extract(2_000, |number, cells| match number {
        40 => cells[0] = "HS000039".into(),
        50 | 60 | 70 => cells[2] = SECRET.into(),
        80 => cells[1] = SECRET.into(),
        90 => cells[3] = "-1".into(),
        100 => cells[5] = SECRET.into(),
        _ => {}
    });
    let done = put(&gateway, &bad, "visits.csv").fails();
    let lines = told(&done);
    assert!((2..=5).contains(&lines.len()), "{lines:#?}");
    assert!(lines[0].starts_with("rejected visits.csv: ") && done.stderr.contains("row "), "{lines:#?}");
    let receipt = gateway.uploads().remove(0).receipt;
    let path = format!("/receipts/visits.csv.{}.report.txt", receipt.upload);
    assert!(lines.last().unwrap().ends_with(&path), "{lines:#?}");

    let words = get(&gateway, &path);
    let json = get(&gateway, &path.replace(".txt", ".json"));
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["report"]["errors"], 7);
    assert_eq!(report["report"]["rows"], 2_000);
    let groups = report["report"]["groups"].as_array().unwrap();
    let dates = groups.iter().find(|group| group["field"] == "Day").unwrap();
    assert_eq!((&dates["type"], &dates["count"]), (&"type-error".into(), &3.into()));
    assert_eq!(dates["rows"], serde_json::json!([50, 60, 70]));
    for field in ["Visit ID", "Practice", "Day", "Visits", "Consent"] {
        assert!(words.contains(field), "{field} is not in:\n{words}");
    }
    let log = gateway.log_lines().join("\n");
    for told in [&done.stderr, &words, &json, &log] {
        assert!(!told.contains(SECRET), "{told}");
    }
    for file in files_under(&gateway.path("state")) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "{file:?} holds a value");
    }
}

#[test]
fn many_rejections_in_one_session_end_in_silence_and_a_failure() {
    let gateway = strict_gateway("");
    let dir = fresh_dir("many");
    let mut batch = String::new();
    for number in 0..80 {
        let file = dir.path().join(format!("{number}.csv"));
        std::fs::write(&file, "nonsense\n").unwrap();
        let _ = writeln!(batch, "-put {} /interventions/{number}.csv", file.display());
    }
    batch.push_str(&format!("put {} /interventions/last.csv\n", dir.path().join("0.csv").display()));
    let done = gateway.harbour().sftp(&batch).fails();
    let lines = told(&done);
    assert_eq!(lines.len(), 65, "{lines:#?}");
    assert!(lines[64].starts_with("further messages are left out"), "{lines:#?}");
    assert_eq!(gateway.uploads().len(), 81);
}

#[test]
fn an_acceptance_with_remarks_says_so_in_one_line() {
    let gateway = strict_gateway("");
    let odd = extract(100, |number, cells| {
        if number == 9 {
            cells[4] = "=HYPERLINK(\"x\")".replace('"', "");
        }
    });
    let done = put(&gateway, &odd, "visits.csv").ok();
    let lines = told(&done);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("accepted visits.csv (") && lines[0].ends_with("remarks, see its receipt: formula"));
    let receipt = get(&gateway, "/receipts/*.receipt.txt");
    assert!(receipt.contains("Remark:"), "{receipt}");
    let claimed = claim_one(&gateway.loader(), "");
    assert_eq!((&claimed["rows"], &claimed["flags"]), (&100.into(), &serde_json::json!(["formula"])));
    let words = (text(&claimed, "delivery"), text(&claimed, "lease"));
    gateway.loader().exec(&format!("nack {} --lease {} --reason looked at it only", words.0, words.1)).ok();
}

#[test]
fn a_draft_is_judged_when_it_is_renamed_at_the_latest() {
    let gateway = strict_gateway("");
    let dir = fresh_dir("draft");
    let file = dir.path().join("x");
    std::fs::write(&file, extract(100, |_, cells| cells[5] = "maybe".into())).unwrap();
    let batch = format!(
        "put {} /interventions/v.csv.part\nrename /interventions/v.csv.part /interventions/v.csv\n",
        file.display()
    );
    let done = gateway.harbour().sftp(&batch).fails();
    assert!(done.stderr.contains("Consent"), "{done:?}");
    assert_eq!((gateway.uploads().len(), gateway.deliveries().len()), (1, 0));
}

/// An extract in which rows 17 and 20 to 24 are of people who did not consent.
fn with_refusals() -> Vec<u8> {
    extract(40, |number, cells| {
        if number == 17 || (20..=24).contains(&number) {
            cells[5] = "N".into();
        }
    })
}

const RESTRICTED: &str = "17\n20-24\n";

#[test]
fn restricted_rows_go_with_the_delivery() {
    let gateway = strict_gateway("");
    let content = with_refusals();
    gateway.put(&gateway.harbour(), &content, "/interventions/visits.csv");
    let claimed = claim_one(&gateway.loader(), "");
    assert_eq!((&claimed["rows"], &claimed["restricted"]), (&40.into(), &6.into()));
    let dir = fresh_dir("restricted");
    let list = dir.path().join("list");
    let listing = format!(
        "ls -l /queue/{}/\nget {} {}\n",
        text(&claimed, "delivery"),
        text(&claimed, "restricted_rows"),
        list.display()
    );
    let listed = gateway.loader().sftp(&listing).ok();
    assert!(listed.stdout.contains("restricted.txt"), "{listed:?}");
    assert_eq!(std::fs::read_to_string(&list).unwrap(), RESTRICTED);
    let reason = "--reason looked at it only";
    gateway
        .loader()
        .exec(&format!("nack {} --lease {} {reason}", text(&claimed, "delivery"), text(&claimed, "lease")))
        .ok();

    // After its backoff.
    let into = dir.path().join("into");
    crate::harness::eventually("the delivery", || {
        load_into(&gateway, "loader-all", &into).ok();
        (!files_under(&into).is_empty()).then_some(())
    });
    let folder = into.join(text(&claimed, "delivery"));
    assert_eq!(std::fs::read_to_string(folder.join("restricted.txt")).unwrap(), RESTRICTED);
    assert_eq!(digest_of_file(&folder.join("visits.csv")), digest(&content));
}

#[test]
fn a_command_is_given_the_restricted_rows() {
    let gateway = strict_gateway("");
    gateway.put(&gateway.harbour(), &with_refusals(), "/interventions/visits.csv");
    let dir = fresh_dir("exec-restricted");
    let list = dir.path().join("list");
    let mut command = load_command(&gateway, "loader-all", "work");
    let script = format!(
        "cat > /dev/null; test \"$NIGHTSAFE_ROWS $NIGHTSAFE_RESTRICTED\" = '40 6' && cp \"$NIGHTSAFE_RESTRICTED_FILE\" {}",
        list.display()
    );
    command.args(["--once", "--exec", &script]);
    run(command, b"", PATIENCE).ok();
    assert_eq!(std::fs::read_to_string(&list).unwrap(), RESTRICTED);
    assert!(files_under(&gateway.path("work")).is_empty(), "{:?}", files_under(&gateway.path("work")));
}

#[test]
fn the_shell_example_obeys_restricted_rows() {
    the_example_obeys("bash", "load.sh");
}

#[test]
fn the_python_example_obeys_restricted_rows() {
    the_example_obeys("python3", "load.py");
}

fn the_example_obeys(program: &str, name: &str) {
    let gateway = strict_gateway("");
    gateway.put(&gateway.harbour(), &with_refusals(), "/interventions/visits.csv");
    let dir = fresh_dir("example-restricted");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples").join(name);
    let mut command = Command::new(program);
    command.arg(example).args(["sh", "-c", "cat > /dev/null; cp \"$NIGHTSAFE_RESTRICTED_FILE\" \"$LOADED/list\""]);
    command.env("GATEWAY_HOST", "127.0.0.1").env("PORT", gateway.port().to_string()).env("ACCOUNT", "loader-all");
    command.env("KEY", keys().ssh("loader-all")).env("KNOWN_HOSTS", gateway.known_hosts()).env("LOADED", dir.path());
    command.env("IDENTITY", keys().all_identities()).env("WORK", gateway.path("work")).env("LEASE", "60");
    command.env("HOME", dir.path()).env("TMPDIR", gateway.path("tmp")).env_remove("SSH_AUTH_SOCK");
    run(command, b"", 2 * PATIENCE).exits(0);
    assert_eq!(std::fs::read_to_string(dir.path().join("list")).unwrap(), RESTRICTED);
    assert_eq!(gateway.deliveries()[0].state, DeliveryState::Loaded);
}
