//! Exports of the real log: each format whole and readable by what it is for, with hostile names in it.

use crate::harness::{Gateway, Setup, csv};

#[test]
fn exports_are_whole_private_and_safe_to_open() {
    let gateway = Gateway::start(Setup::new());
    gateway.put(&gateway.harbour(), &csv(1_000, 1), "\"/=HYPERLINK(x)1.csv\"");
    gateway.put(&gateway.harbour(), &csv(1_000, 2), "\"/a;@SUM(A1)2.csv\"");
    let count = gateway.events().len();

    let jsonl = gateway.command(&["audit", "export", "--format", "jsonl"]).ok();
    let events = jsonl.json_lines();
    assert!(events.len() >= count && events[0]["sequence"] == 1, "{}", events.len());

    let file = gateway.path("audit.csv");
    let words = ["audit", "export", "--format", "csv", "--kind", "upload.accepted", "--out", file.to_str().unwrap()];
    let done = gateway.command(&words).ok();
    assert!(done.stdout.is_empty() && done.stderr.contains("2 events in "), "{done:#?}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let name = reader.headers().unwrap().iter().position(|header| header == "name").unwrap();
    let names: Vec<String> = reader.records().map(|record| record.unwrap()[name].to_owned()).collect();
    assert_eq!(names, ["'=HYPERLINK(x)1.csv", "a;'@SUM(A1)2.csv"]);
    // Again, in the place of the first.
    gateway.command(&words).ok();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);

    let ocsf = gateway.command(&["audit", "export", "--format", "ocsf", "--type", "upload.accepted"]).ok().json_lines();
    assert_eq!(ocsf.len(), 2);
    assert_eq!((&ocsf[0]["class_uid"], &ocsf[0]["activity_id"]), (&1001.into(), &1.into()));
    assert_eq!(ocsf[0]["file"]["name"], "=HYPERLINK(x)1.csv");

    gateway.command(&["audit", "export", "--format", "xml"]).exits(2);
    gateway.command(&["audit", "export", "--format", "csv", "--out", "/nowhere/x.csv"]).exits(3);
}
