//! `nightsafe precheck` as people and scripts use it: exit statuses, both outputs, names, companions; and that no report
//! holds a value, wherever one could come from.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::corpora::{dataset_file, gateway_with_the_datasets};
use crate::harness::{
    Dice, Done, NIGHTSAFE, PATIENCE, digest, files_under, find_bytes, flag, fresh_dir, kind, run, string,
};

fn corpus(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora").join(file)
}

fn case(id: &str) -> PathBuf {
    corpus(&format!("cases/{id}.csv"))
}

/// `nightsafe precheck OPTIONS... FILES...`
fn precheck(options: &[&str], files: &[&Path], input: &[u8]) -> Done {
    let mut command = Command::new(NIGHTSAFE);
    command.env_remove("NIGHTSAFE_CONFIG").arg("precheck").args(options).args(files);
    run(command, input, PATIENCE)
}

/// By the dataset `ims-interventions`.
fn by_ims(options: &[&str], files: &[&Path]) -> Done {
    let dataset = dataset_file("ims-interventions");
    precheck(&[&["--dataset", dataset.to_str().unwrap()], options].concat(), files, b"")
}

#[test]
fn each_verdict_has_its_exit_status_and_the_worst_of_several_counts() {
    let good = case("valid.ims.bulk.400-rows");
    let bad = case("invalid.ims.bad-date.iso-in-dmy-field");
    let gone = Path::new("no/such/file.csv");
    by_ims(&[], &[&good]).exits(0);
    by_ims(&[], &[&good, &bad]).exits(1);
    let done = by_ims(&["--json"], &[&bad, gone, &good]).exits(3);
    assert_eq!(done.json_lines().len(), 2, "the files that can be read are judged all the same: {done:#?}");
    assert!(done.stderr.contains("no/such/file.csv"), "{done:#?}");
    let folder = corpus("cases");
    assert!(by_ims(&[], &[&folder]).exits(3).stderr.contains("is a folder"));
}

#[test]
fn what_makes_no_sense_is_status_2_with_what_to_do() {
    let good = case("valid.ims.bulk.400-rows");
    for (options, words) in [
        (&["--dataset", "no-such.toml"][..], "no-such.toml"),
        (&["--dataset", "ims", "--config", "/nowhere/nightsafe.toml"], "there is no dataset ims"),
        (&["--schema", "no-such.schema.json"], "no-such.schema.json"),
        (&["--schema", "Cargo.toml"], "Cargo.toml"),
        (&[], "--dataset"),
    ] {
        let done = precheck(options, &[&good], b"").exits(2);
        assert!(done.stderr.contains(words) && done.stdout.is_empty(), "{options:?}: {done:#?}");
    }
    assert!(by_ims(&[], &[Path::new("-")]).exits(2).stderr.contains("--name"));
    assert!(by_ims(&["--name", "a.csv"], &[&good, &good]).exits(2).stderr.contains("--name"));
}

#[test]
fn the_json_names_what_was_judged_and_what_was_not() {
    let file = case("invalid.ims.bad-date.iso-in-dmy-field");
    let done = by_ims(&["--json"], &[&file]).exits(1);
    let line = &done.json_lines()[0];
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(line["sha256"], digest(&bytes));
    assert_eq!(line["size"], bytes.len());
    assert_eq!((&line["verdict"], &line["dataset"]), (&"rejected".into(), &"ims-interventions".into()));
    assert_eq!(line["report"]["first"][0]["row"], 4);
    assert_eq!(line["report"]["first"][0]["field"], "Intervention Date");
    assert!(line["reasons"][0].as_str().unwrap().contains("row 4"), "{line:#}");
    assert!(line["not_judged"].as_array().unwrap().contains(&"scan".into()), "{line:#}");
    assert!(done.stderr.is_empty(), "nothing but the verdict: {done:#?}");
}

#[test]
fn a_person_reads_the_verdict_the_reasons_and_the_flags() {
    let rejected = by_ims(&[], &[&case("invalid.ims.bad-date.iso-in-dmy-field")]).exits(1).stdout;
    assert!(rejected.contains(": rejected as ims-interventions\n"), "{rejected}");
    assert!(rejected.contains("row 4, \"Intervention Date\""), "{rejected}");
    let flagged = by_ims(&[], &[&case("policy.ims.formula-injection.cmd-dde")]).ok().stdout;
    assert!(flagged.contains(": accepted") && flagged.contains("flag: "), "{flagged}");
    assert!(!flagged.contains("MB/s"), "a speed is for a terminal: {flagged}");
    let restricted = by_ims(&[], &[&case("valid.ims.consent-no.one-row")]).ok().stdout;
    assert!(restricted.contains("1 row restricted"), "{restricted}");
}

#[test]
fn standard_input_is_judged_as_the_file_would_be() {
    let file = case("valid.ims.bulk.400-rows");
    let bytes = std::fs::read(&file).unwrap();
    let dataset = dataset_file("ims-interventions");
    let options = ["--json", "--name", "extract.csv", "--dataset", dataset.to_str().unwrap()];
    let line = precheck(&options, &[Path::new("-")], &bytes).ok().json_lines().remove(0);
    let file = by_ims(&["--json"], &[&file]).ok().json_lines().remove(0);
    assert_eq!((&line["report"], &line["sha256"]), (&file["report"], &file["sha256"]));
    assert_eq!(line["name"], "extract.csv");
}

#[test]
fn a_name_that_the_dataset_does_not_take_is_a_reason_and_the_content_is_judged_too() {
    let file = case("invalid.ims.bad-date.iso-in-dmy-field");
    let line = by_ims(&["--json", "--name", "extract.xlsx"], &[&file]).exits(1).json_lines().remove(0);
    let rules: Vec<_> = line["report"]["groups"].as_array().unwrap().iter().map(|group| &group["rule"]).collect();
    assert_eq!(rules, ["name", "date"]);
    assert_eq!(line["report"]["errors"], 2);
}

#[test]
fn a_schema_alone_judges_with_all_else_at_its_defaults() {
    let schema = corpus("schemas/ims-interventions.schema.json");
    let options = ["--json", "--schema", schema.to_str().unwrap()];
    let line = precheck(&options, &[&case("valid.ims.bulk.400-rows")], b"").ok().json_lines().remove(0);
    assert!(line["dataset"].is_null() && line["report"]["rows"] == 400, "{line:#}");
    precheck(&options, &[&case("invalid.ims.bad-date.iso-in-dmy-field")], b"").exits(1);
}

#[test]
fn companions_beside_the_file_are_compared() {
    let dir = fresh_dir("companion");
    let dataset = dir.path().join("visits.toml");
    let demand = |required: bool| {
        let text = format!(
            "title = \"Visits\"\n[companion]\nkinds = [\"sha256\", \"md5\", \"totals\"]\nrequired = {required}\n"
        );
        std::fs::write(&dataset, text).unwrap();
    };
    demand(false);
    let file = dir.path().join("visits.csv");
    std::fs::write(&file, "id\n1\n").unwrap();
    let judged = || {
        let options = ["--json", "--dataset", dataset.to_str().unwrap()];
        precheck(&options, &[&file], b"").json_lines().remove(0)
    };
    let left = |line: &serde_json::Value| line["not_judged"].as_array().unwrap().contains(&"companion".into());
    let rule = |line: &serde_json::Value| line["report"]["groups"][0]["rule"].as_str().map(str::to_owned);
    let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();

    let without = judged();
    assert!(without["verdict"] == "accepted" && left(&without), "{without:#}");
    demand(true);
    assert_eq!(rule(&judged()).as_deref(), Some("companion"), "one is demanded");
    put("visits.csv.sha256", &format!("{}  visits.csv\n", digest(b"id\n1\n")));
    put("visits.csv.totals", "rows = 1\n");
    let agrees = judged();
    assert!(agrees["verdict"] == "accepted" && !left(&agrees), "{agrees:#}");
    put("visits.csv.totals", "rows = 2\n");
    assert_eq!(rule(&judged()).as_deref(), Some("control-total"));
    put("visits.csv.totals", "rows = 1\n");
    put("visits.csv.md5", "00000000000000000000000000000000  visits.csv\n");
    let differs = judged();
    assert_eq!((&differs["verdict"], rule(&differs).as_deref()), (&"rejected".into(), Some("companion")));
}

/// Files in which every kind of fault has the text in its cells. No label of a true header is among them: labels are no
/// values.
fn files_full_of(text: &str) -> Vec<(String, Vec<u8>)> {
    let schema: serde_json::Value =
        serde_json::from_slice(&std::fs::read(corpus("schemas/ims-interventions.schema.json")).unwrap()).unwrap();
    let labels: Vec<&str> = schema["fields"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    let header = labels.join(",") + "\r\n";
    let good = [
        "LIV9814",
        "IMS000000001",
        "AB",
        "01/02/1980",
        "M",
        "L1 1AA",
        "A",
        "GBR",
        "03/04/2024",
        "Outreach contact",
        "GP",
        "GP",
        "Housing problem",
        "Other",
        "50",
        "0",
        "Y",
        "note",
    ];
    let with = |column: usize, cell: &str| {
        let mut cells = good.map(str::to_owned).to_vec();
        cells[column] = cell.to_owned();
        cells.join(",") + "\r\n"
    };
    let all = vec![text; good.len()].join(",") + "\r\n";
    let mut files: Vec<(&str, Vec<u8>)> = Vec::new();
    let mut each = header.clone();
    for column in 0..good.len() {
        for cell in [
            text.to_owned(),
            format!("={text}"),
            format!(" {text} "),
            format!("{text}\u{1b}[2J"),
            format!("\u{202e}{text}"),
            format!("\u{c3}\u{a9}{text}"),
            format!("\"{}\"", text.repeat(60)),
            format!("\"{text},\"\"{text}\"\"\r\n{text}\""),
        ] {
            each.push_str(&with(column, &cell));
        }
    }
    each.push_str(&all);
    each.push_str(&all);
    each.push_str(&format!("{text},{text}\r\n"));
    each.push_str(&format!("{}\r\n", vec![text; 40].join(",")));
    files.push(("each-cell", each.into_bytes()));
    files.push(("no-header", all.repeat(3).into_bytes()));
    files.push(("no-header-short", format!("{text}\n{text}\n").into_bytes()));
    files.push(("title-above-header", format!("{text}\r\n{header}{}", with(0, text)).into_bytes()));
    files.push(("semicolons", all.replace(',', ";").into_bytes()));
    files.push(("stray-quote", format!("{header}{}", with(3, &format!("\"{text}\"{text}"))).into_bytes()));
    files.push(("unclosed-quote", format!("{header}{}{all}", with(3, &format!("\"{text}"))).into_bytes()));
    files.push(("repeated-header", format!("{header}{}{header}{all}", with(0, text)).into_bytes()));
    files.push(("not-utf-8", [header.as_bytes(), text.as_bytes(), b"\xff\xfe,", all.as_bytes()].concat()));
    files.push(("nul", [header.as_bytes(), text.as_bytes(), b"\0,", all.as_bytes()].concat()));
    files.push(("too-long", [header.as_bytes(), text.repeat(60_000).as_bytes()].concat()));
    files.push(("json", format!("[{{\"{text}\": \"{text}\"}}]").into_bytes()));
    files.push(("html", format!("<html><title>{text}</title>").into_bytes()));
    files.push(("pdf", format!("%PDF-1.7\n{text}").into_bytes()));
    let mut files: Vec<(String, Vec<u8>)> =
        files.into_iter().map(|(name, bytes)| (format!("{name}.csv"), bytes)).collect();
    files.push(("no-gzip.csv.gz".into(), all.clone().into_bytes()));
    files.push(("no-zip.csv.zip".into(), [b"PK\x03\x04", all.as_bytes()].concat()));
    files
}

#[test]
fn no_output_report_log_or_ledger_holds_a_value_of_a_cell() {
    let mut dice = Dice::new();
    // Looked for in part, so that a value that was cut short shows too.
    let part: String = (0..8).map(|_| (b'a' + dice.within(0..26) as u8) as char).collect();
    let files = files_full_of(&part.repeat(2));
    let dir = fresh_dir("values");
    let silent = |what: &str, text: &str| {
        let at = text.to_lowercase().find(&part);
        assert!(at.is_none(), "{what} holds a value: ...{}", &text[at.unwrap_or(0).saturating_sub(300)..]);
    };
    for (name, bytes) in &files {
        let file = dir.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        assert!(find_bytes(&file, part.as_bytes()), "the search does not find what is there");
        for options in [&["--json"][..], &[]] {
            let done = by_ims(options, &[&file]).exits(1);
            silent(&format!("precheck {options:?} {name}, standard output"), &done.stdout);
            silent(&format!("precheck {options:?} {name}, standard error"), &done.stderr);
        }
    }

    let gateway = gateway_with_the_datasets();
    let mut session = gateway.harbour().session();
    for (name, bytes) in &files {
        let path = format!("/ims-interventions/{name}");
        let handle = session.open(path.as_bytes(), flag::WRITE | flag::CREATE | flag::TRUNCATE).unwrap();
        if let Err(refused) = session.write(&handle, 0, bytes) {
            silent(&format!("the status of a WRITE of {name}"), &refused.message);
        }
        let closed = session.request(kind::CLOSE, &string(&handle)).status();
        silent(&format!("the status of the CLOSE of {name}"), &closed.message);
    }
    let uploads = gateway.uploads();
    assert_eq!(uploads.len(), files.len(), "not every file has its report");
    assert!(uploads.iter().all(|upload| upload.receipt.verdict.as_str() == "rejected"));
    let reports = dir.path().join("receipts");
    std::fs::create_dir(&reports).unwrap();
    gateway.harbour().sftp(&format!("get /receipts/* {}\n", reports.display())).ok();
    let got = files_under(&reports);
    assert!(got.len() >= 2 * files.len(), "only {} reports came", got.len());
    silent("the log", &gateway.log_lines().join("\n"));
    for file in got.into_iter().chain(files_under(gateway.root())) {
        assert!(!find_bytes(&file, part.as_bytes()), "{} holds a value", file.display());
    }
}
