//! The synthetic extracts of tests/corpora: each judged as it must be, in the process, by `precheck`, and as an upload; and
//! faults planted in generated extracts are found where they were planted.
//!
//! `NIGHTSAFE_CUTS=all` cuts every file at every place (minutes; a campaign).

mod faults;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use nightsafe::check::{Outcome, Report, Rules};
use nightsafe::types::FileName;
use serde::Deserialize;

use crate::harness::{
    Dice, Gateway, NIGHTSAFE, PATIENCE, Setup, code, files_under, flag, fresh_dir, kind, run, string,
};

/// One entry of cases.json.
#[derive(Debug, Deserialize)]
pub struct Case {
    pub id: String,
    file: String,
    schema: String,
    pub verdict: String,
    pub faults: Vec<Planted>,
    pub suggested: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct Planted {
    pub kind: String,
    /// None: on every row.
    pub row: Option<u64>,
    /// None: any, or none.
    pub field: Option<String>,
}

impl Case {
    fn path(&self) -> PathBuf {
        corpora().join(&self.file)
    }
    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap()
    }
    fn name(&self) -> &str {
        self.file.rsplit('/').next().unwrap()
    }
    /// `schemas/variants/a.equal.schema.json` is judged by `datasets/a-equal.toml`.
    fn dataset(&self) -> String {
        let schema = self.schema.rsplit('/').next().unwrap();
        schema.strip_suffix(".schema.json").unwrap().replace('.', "-")
    }
}

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora")
}

pub fn dataset_file(dataset: &str) -> PathBuf {
    corpora().join("datasets").join(format!("{dataset}.toml"))
}

fn cases() -> Vec<Case> {
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(corpora().join("cases.json")).unwrap()).unwrap();
    assert!(cases.len() > 150, "the cases are not all there");
    cases
}

fn by_dataset(cases: &[Case]) -> BTreeMap<String, Vec<&Case>> {
    let mut datasets: BTreeMap<String, Vec<&Case>> = BTreeMap::new();
    for case in cases {
        datasets.entry(case.dataset()).or_default().push(case);
    }
    datasets
}

fn rules_of(dataset: &str) -> Rules {
    let read = nightsafe::config::dataset_file(&dataset_file(dataset));
    read.unwrap_or_else(|faults| panic!("{dataset}: {faults:#?}")).0.rules
}

/// All the bytes in these pieces, as a gateway pushes them: no more after a final fault.
fn judge<'b>(rules: &Rules, name: &str, pieces: impl Iterator<Item = &'b [u8]>) -> Outcome {
    let name: FileName = name.parse().unwrap();
    let mut check = rules.begin(&name, jiff::civil::date(2026, 11, 23), None);
    for piece in pieces {
        if check.push(piece).is_err() {
            break;
        }
    }
    check.finish()
}

/// Everything by which a report can be wrong about a case, in words.
fn objections(case: &Case, report: &Report) -> Vec<String> {
    let errors = || report.first.iter().map(faults::brief).collect::<Vec<_>>().join("; ");
    let mut objections = match (case.verdict.as_str(), case.suggested.as_deref()) {
        ("valid", _) if !report.acceptable() => vec![format!("is valid, but: {}", errors())],
        ("policy", Some("reject")) if report.acceptable() => vec!["must be rejected".to_owned()],
        ("policy", Some("accept" | "accept-and-flag")) if !report.acceptable() => {
            vec![format!("must be accepted, but: {}", errors())]
        }
        ("policy", Some("accept-and-flag")) if report.flags.is_empty() => vec!["must be flagged".to_owned()],
        ("policy", Some("accept")) if !report.flags.is_empty() => {
            vec![format!("is flagged: {:?}", report.flag_names())]
        }
        ("valid" | "policy", _) => vec![],
        ("invalid", _) => faults::objections(case, report),
        other => panic!("{}: an unknown verdict {other:?}", case.id),
    };
    objections.iter_mut().for_each(|words| *words = format!("{}: {words}", case.id));
    objections
}

#[test]
fn every_case_is_judged_as_it_must_be_and_each_planted_fault_is_found_at_its_place() {
    let cases = cases();
    let mut wrong = Vec::new();
    for (dataset, cases) in by_dataset(&cases) {
        let rules = rules_of(&dataset);
        for case in cases {
            let bytes = case.bytes();
            wrong.extend(objections(case, &judge(&rules, case.name(), std::iter::once(&bytes[..])).report));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

// The cuts are four tests, so that they run side by side.

#[test]
fn the_cuts_make_no_difference_to_ims() {
    cuts_make_no_difference(|dataset| dataset.starts_with("ims"));
}

#[test]
fn the_cuts_make_no_difference_to_ndtms() {
    cuts_make_no_difference(|dataset| dataset.starts_with("ndtms"));
}

#[test]
fn the_cuts_make_no_difference_to_xpert() {
    cuts_make_no_difference(|dataset| dataset.starts_with("xpert"));
}

#[test]
fn the_cuts_make_no_difference_to_gp() {
    cuts_make_no_difference(|dataset| dataset.starts_with("gp"));
}

/// Bytes that a file costs when it is cut at single places; a file is judged whole for each.
const CUT_BYTES: usize = 60_000;
/// Larger files are not pushed byte by byte, but in small pieces.
const SMALL: usize = 20_000;

fn cuts_make_no_difference(wanted: impl Fn(&str) -> bool) {
    let cases = cases();
    let mut dice = Dice::new();
    for (dataset, cases) in by_dataset(&cases).into_iter().filter(|(dataset, _)| wanted(dataset)) {
        let rules = rules_of(&dataset);
        for case in cases {
            let bytes = case.bytes();
            let whole = judge(&rules, case.name(), std::iter::once(&bytes[..]));
            let same = |outcome: &Outcome, how: &str| {
                assert_eq!(outcome.report, whole.report, "{}, {how}", case.id);
                assert_eq!(outcome.restricted, whole.restricted, "{}, {how}", case.id);
                assert_eq!(outcome.sums, whole.sums, "{}, {how}", case.id);
            };
            let piece = if bytes.len() <= SMALL { 1 } else { 997 };
            same(&judge(&rules, case.name(), bytes.chunks(piece)), &format!("in pieces of {piece}"));
            for at in places(&bytes, &mut dice) {
                let (before, after) = bytes.split_at(at);
                same(&judge(&rules, case.name(), [before, after].into_iter()), &format!("cut at {at}"));
            }
        }
    }
}

/// Where to cut in two: first around what has a meaning of its own, then anywhere.
fn places(bytes: &[u8], dice: &mut Dice) -> Vec<usize> {
    if std::env::var("NIGHTSAFE_CUTS").is_ok_and(|cuts| cuts == "all") && bytes.len() <= SMALL {
        return (0..=bytes.len()).collect();
    }
    let budget = (CUT_BYTES / bytes.len().max(1)).clamp(2, 60);
    let telling: Vec<usize> = (0..bytes.len()).filter(|at| !matches!(bytes[*at], b' '..=b'!' | b'#'..=b'~')).collect();
    let mut places = Vec::new();
    for _ in 0..budget {
        let pick = |dice: &mut Dice, most: usize| usize::try_from(dice.within(0..most as u64 + 1)).unwrap();
        places.push(match telling.len() {
            0 => pick(dice, bytes.len()),
            _ if dice.within(0..3) == 0 => pick(dice, bytes.len()),
            many => telling[pick(dice, many - 1)] + pick(dice, 1),
        });
    }
    places
}

/// What `precheck --json` says of every case, by the file's name: one process for each dataset.
fn prechecked(cases: &[Case]) -> BTreeMap<String, (String, Report)> {
    let mut said = BTreeMap::new();
    for (dataset, cases) in by_dataset(cases) {
        let mut command = Command::new(NIGHTSAFE);
        command.args(["precheck", "--json", "--dataset"]).arg(dataset_file(&dataset));
        command.args(cases.iter().map(|case| case.path()));
        let done = run(command, b"", 3 * PATIENCE).exits(i32::from(
            cases.iter().any(|case| case.verdict == "invalid" || case.suggested.as_deref() == Some("reject")),
        ));
        let lines = done.json_lines();
        assert_eq!(lines.len(), cases.len(), "not a line for each file: {done:#?}");
        for (line, case) in lines.iter().zip(cases) {
            assert_eq!(line["name"], case.name());
            let report: Report = serde_json::from_value(line["report"].clone()).unwrap();
            said.insert(case.name().to_owned(), (line["verdict"].as_str().unwrap().to_owned(), report));
        }
    }
    said
}

#[test]
fn precheck_and_an_upload_give_the_same_verdict_on_every_case() {
    let cases = cases();
    let prechecked = prechecked(&cases);
    let wrong: Vec<String> = cases.iter().flat_map(|case| objections(case, &prechecked[case.name()].1)).collect();
    assert!(wrong.is_empty(), "precheck: {} wrong:\n{}", wrong.len(), wrong.join("\n"));

    let gateway = gateway_with_the_datasets();
    upload_in_random_pieces(&gateway, &cases);
    let uploads = gateway.uploads();
    assert_eq!(uploads.len(), cases.len(), "not every case has its receipt");
    for upload in uploads {
        let mut receipt = upload.receipt;
        // Told of the writes, which came in random pieces, not of the content.
        receipt.report.flags.retain(|flag| flag.rule != "interrupted");
        let (verdict, report) = &prechecked[receipt.name.as_str()];
        assert_eq!(receipt.verdict.as_str(), verdict, "{}: {:?}", receipt.name, receipt.reasons);
        let told = |report: &Report| report.first.iter().map(faults::brief).collect::<Vec<_>>();
        assert_eq!(told(&receipt.report), told(report), "{}: other errors than precheck's", receipt.name);
        assert_eq!(&receipt.report, report, "{}: another report than precheck's", receipt.name);
    }
}

/// A gateway where harbour may send every dataset of the corpora.
pub fn gateway_with_the_datasets() -> Gateway {
    let mut gateway = Gateway::prepare(Setup::new());
    let mut names = Vec::new();
    for file in files_under(&corpora().join("datasets")).into_iter().chain(files_under(&corpora().join("schemas"))) {
        let target = gateway.path("config").join(file.strip_prefix(corpora()).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&file, &target).unwrap();
        if let Some(name) = file.file_name().unwrap().to_str().unwrap().strip_suffix(".toml") {
            names.push(format!("{name:?}"));
        }
    }
    gateway.edit(
        "config/orgs/harbour.toml",
        "\"interventions\", ",
        &format!("\"interventions\", {}, ", names.join(", ")),
    );
    gateway.launch();
    gateway
}

/// Each case put under its own name, in WRITEs cut anywhere; a WRITE that is refused ends it.
fn upload_in_random_pieces(gateway: &Gateway, cases: &[Case]) {
    let mut dice = Dice::new();
    let mut session = gateway.harbour().session();
    for case in cases {
        let path = format!("/{}/{}", case.dataset(), case.name());
        let flags = flag::WRITE | flag::CREATE | flag::TRUNCATE;
        let handle = session.open(path.as_bytes(), flags).unwrap_or_else(|s| panic!("{path}: {s:?}"));
        let bytes = case.bytes();
        let most = if bytes.len() < 10_000 { 400 } else { 30_000 };
        let mut offset = 0;
        while offset < bytes.len() {
            let length = usize::try_from(dice.within(1..most)).unwrap().min(bytes.len() - offset);
            let part = &bytes[offset..offset + length];
            let body = [&string(&handle)[..], &(offset as u64).to_be_bytes(), &string(part)].concat();
            let status = session.request(kind::WRITE, &body).status();
            if status.code != code::OK {
                assert!(!status.message.is_empty(), "{}: refused without a reason", case.id);
                break;
            }
            offset += length;
        }
        session.close(&handle);
    }
}

/// The generator's own faults, at this row of this many.
const AT: u64 = 23;
const ROWS: u64 = 60;

#[test]
fn a_fault_planted_in_a_generated_extract_is_found_at_its_row_and_nothing_else_is() {
    let dir = fresh_dir("planted");
    let script = format!(
        "import sys; sys.path.insert(0, sys.argv[1]); import generate\n\
         for name in generate.DATASETS:\n\
         \x20   for fault in generate.FAULTS:\n\
         \x20       with open(f'{{sys.argv[2]}}/{{generate.DATASETS[name].name}}@{{fault}}.csv', 'wb') as out:\n\
         \x20           generate.stream(name, out, rows={ROWS}, faults=[f'{{fault}}@{AT}'])\n"
    );
    python(&script, dir.path());
    let files = files_under(dir.path());
    assert!(files.len() >= 44, "only {} files were generated", files.len());
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let (dataset, fault) = name.strip_suffix(".csv").unwrap().split_once('@').unwrap();
        let bytes = std::fs::read(&file).unwrap();
        let report = judge(&rules_of(dataset), "generated.csv", std::iter::once(&bytes[..])).report;
        let told: Vec<String> = report.first.iter().map(faults::brief).collect();
        let sought = if fault == "duplicate-key" && dataset == "xpert-audit" { "unique" } else { fault };
        assert!(report.first.iter().any(|problem| faults::is_of(sought, problem)), "{name} is not found: {told:?}");
        assert!(report.first.iter().all(|problem| problem.row == Some(AT)), "{name}: not at row {AT} alone: {told:?}");
    }
}

#[test]
fn generated_extracts_are_accepted_by_every_dataset() {
    let dir = fresh_dir("generated");
    let script = "import sys; sys.path.insert(0, sys.argv[1]); import generate\n\
                  for name in generate.DATASETS:\n\
                  \x20   with open(f'{sys.argv[2]}/{generate.DATASETS[name].name}.csv', 'wb') as out:\n\
                  \x20       generate.stream(name, out, rows=5000, multiline=True)\n";
    python(script, dir.path());
    for file in files_under(dir.path()) {
        let mut command = Command::new(NIGHTSAFE);
        let dataset = file.file_stem().unwrap().to_str().unwrap();
        command.args(["precheck", "--json", "--dataset"]).arg(dataset_file(dataset)).arg(&file);
        let done = run(command, b"", PATIENCE).ok();
        let line = &done.json_lines()[0];
        assert_eq!((&line["verdict"], &line["report"]["rows"]), (&"accepted".into(), &5000.into()), "{line:#}");
    }
}

/// Runs a script that has tests/corpora as its first argument and `dir` as its second.
fn python(script: &str, dir: &Path) {
    let mut command = Command::new("python3");
    command.env("PYTHONDONTWRITEBYTECODE", "1").args(["-c", script]).arg(corpora()).arg(dir);
    run(command, b"", 2 * PATIENCE).ok();
}
