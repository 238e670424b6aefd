//! `nightsafe dataset new`: a sample extract in, a draft of a dataset out.
//!
//! Must never overwrite a file, nor print a cell. The sample is read in pieces, once for the guesses (twice when it turns
//! out to be windows-1252) and once to see that the draft takes it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use encoding_rs::DecoderResult;
use indicatif::{ProgressBar, ProgressStyle};

use super::columns::{Columns, is_datum};
use super::draft::{self, Draft, Sample};
use super::records::Records;
use super::{demands, guess};
use crate::check::{Check, Dialect, Encoding, Format, Outcome, Policy, Rules, Severity, TableRules};
use crate::cli::outcome::Stop;
use crate::cli::output::{self, Table, tame};
use crate::config;
use crate::types::{Clock, DatasetName, FileName};

/// Bytes that the first guesses are made from.
const HEAD: u64 = 1 << 20;
const PIECE: usize = 64 << 10;
/// From this size on, on a terminal, reading shows its progress. Bytes.
const SHOWN_FROM: u64 = 8 << 20;
/// Reasons that are shown of a sample that is no sound CSV.
const REASONS: usize = 10;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A sample extract, unpacked; nothing of it is kept but what stands in the draft
    file: PathBuf,
    /// The dataset's name [default: from the file's name]
    #[arg(long)]
    name: Option<DatasetName>,
    /// The folder to write to, such as the datasets folder of the configuration
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Print the draft, write nothing
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    crate::cli::no_core_dumps();
    Ok(make(args)?.iter().try_for_each(output::line)?)
}

/// Drafts; what is to be said of it.
fn make(args: &Args) -> anyhow::Result<Vec<String>> {
    let file = args.file.file_name().and_then(|name| name.to_str()).unwrap_or("extract.csv");
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_from(file),
    };
    let toml = args.out.join(format!("{name}.toml"));
    let schema = args.out.join(format!("{name}.schema.json"));
    for path in [&toml, &schema] {
        if !args.dry_run && fs::symlink_metadata(path).is_ok() {
            let what =
                format!("{} is there already, and was left alone: choose another --name or --out", path.display());
            return Err(Stop::No(what).into());
        }
    }
    let read = read(&args.file)?;
    // A draft names its columns by their labels: without a header they would be the first person's data.
    if let Some(column) = read.columns.all.iter().position(|column| is_datum(&column.label)) {
        let what = format!("its first row is data, not labels (look at column {}): put a header above it", column + 1);
        return Err(unsound(&args.file, &[what]));
    }
    let sample = Sample { file, encoding: read.encoding, delimiter: read.delimiter, habits: read.habits };
    let draft = draft::draft(&name, &sample, &read.columns);
    if args.dry_run {
        return Ok(vec![format!("# {}\n{}\n# {}\n{}", toml.display(), draft.toml, schema.display(), draft.schema)]);
    }
    write(&toml, &schema, &draft)?;
    let mut said = told(&draft, &read.columns, &sample);
    said.extend(accepted(&args.file, &toml)?);
    said.push(format!(
        "\nwritten: {}\n         {}\n\nNext: read both and mend what was guessed wrong; put them into the configuration's datasets \
         folder; nightsafe check",
        toml.display(),
        schema.display()
    ));
    Ok(said)
}

/// Letters and hyphens of the file's name: `LIV9814_2024-06.csv` is `liv`.
fn name_from(file: &str) -> DatasetName {
    let stem = file.split('.').next().unwrap_or_default().to_lowercase();
    let words: Vec<&str> = stem.split(|c: char| !c.is_ascii_lowercase()).filter(|word| !word.is_empty()).collect();
    let name: String = words.join("-").chars().take(40).collect();
    let usual = || "extract".parse::<DatasetName>();
    match name.trim_end_matches('-').parse().or_else(|_| usual()) {
        Ok(name) => name,
        #[allow(clippy::unreachable, reason = "\"extract\" is a dataset's name, as a test shows")]
        Err(_) => unreachable!("\"extract\" is a dataset's name"),
    }
}

/// What a sample came to.
struct Sampled {
    encoding: Encoding,
    delimiter: u8,
    columns: Columns,
    habits: BTreeSet<&'static str>,
}

fn read(path: &Path) -> anyhow::Result<Sampled> {
    let shown = path.display();
    let file = open(path)?;
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head).with_context(|| format!("{shown} cannot be read"))?;
    let whole = (head.len() as u64) < HEAD;
    let encoding = guess::encoding(&head);
    let delimiter = delimiter(&head, encoding, whole);
    match pass(path, &head, encoding, delimiter)? {
        Some(sampled) => Ok(sampled),
        // Not UTF-8: what else has no mark and no NULs is windows-1252, or near enough to be seen by a person.
        None => match pass(path, &head, Encoding::Windows1252, delimiter)? {
            Some(sampled) => Ok(sampled),
            None => Err(unsound(path, &["it is no text in an encoding that a dataset may have".into()])),
        },
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    let file = File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
    let found = file.metadata().with_context(|| format!("{} cannot be read", path.display()))?;
    if !found.is_file() {
        return Err(Stop::Usage(format!("{} is not a file: name a sample extract", path.display())).into());
    }
    Ok(file)
}

fn delimiter(head: &[u8], encoding: Encoding, whole: bool) -> u8 {
    let mut text = String::with_capacity(head.len() * 3);
    let _ = guess::decoder(encoding, head).decode_to_string(head, &mut text, false);
    guess::delimiter(&text, whole)
}

/// Reasons never hold a cell.
fn unsound(path: &Path, reasons: &[String]) -> anyhow::Error {
    let reasons: Vec<String> = reasons.iter().map(|reason| tame(reason)).collect();
    Stop::No(format!("{} cannot be a sample: {}", path.display(), reasons.join("\n  "))).into()
}

/// One reading of all of it; none when it is not UTF-8, though that was guessed.
fn pass(path: &Path, head: &[u8], encoding: Encoding, delimiter: u8) -> anyhow::Result<Option<Sampled>> {
    let table = TableRules {
        encoding,
        dialect: Dialect { delimiter, ..Dialect::default() },
        policy: all_flagged(),
        ..TableRules::default()
    };
    let mut rules = Rules::of(Format::Csv, u64::MAX);
    rules.table = Some(Arc::new(table));
    let mut check = begin(&rules, None)?;
    let mut columns = Columns::new()?;
    let mut records = Records::new(delimiter);
    let mut decoder = guess::decoder(encoding, head);
    // What a piece becomes at the most, in any of the encodings.
    let mut text = String::with_capacity(PIECE * 3 + 16);
    let mut read = |bytes: &[u8], last: bool| {
        text.clear();
        let (result, _) = decoder.decode_to_string_without_replacement(bytes, &mut text, last);
        records.push(&text, &mut |cells| columns.record(cells));
        matches!(result, DecoderResult::InputEmpty)
    };
    let (mut fault, mut readable) = (None, true);
    feed(path, "reading", &mut |bytes| {
        fault = check.push(bytes).err();
        readable = read(bytes, false);
        fault.is_none() && readable
    })?;
    readable = readable && read(&[], true);
    if let Some(fault) = fault {
        return Err(unsound(path, &[fault.0]));
    }
    if !readable && encoding == Encoding::Utf8 {
        return Ok(None);
    }
    records.finish(&mut |cells| columns.record(cells));
    let Outcome { report, .. } = check.finish();
    if report.errors > 0 || !readable {
        return Err(unsound(path, &report.reasons(REASONS)));
    }
    let habits = report.flags.iter().filter_map(|flag| habit(&flag.rule)).collect();
    Ok(Some(Sampled { encoding, delimiter, columns, habits }))
}

/// Every habit is taken, and told.
fn all_flagged() -> Policy {
    use Severity::Flag;
    Policy {
        formulas: Flag,
        hidden_characters: Flag,
        mojibake: Flag,
        control_characters: Flag,
        mixed_line_ends: Flag,
        cr_line_ends: Flag,
        no_final_line_end: Flag,
        trailing_blank_rows: Flag,
        label_spaces: Flag,
        value_spaces: Flag,
        unpadded_dates: Flag,
    }
}

/// The key of `[policy]` for a habit that is rejected by default.
fn habit(rule: &str) -> Option<&'static str> {
    match rule {
        "control-character" => Some("control_characters"),
        "cr-line-ends" => Some("cr_line_ends"),
        "trailing-blank-row" => Some("trailing_blank_rows"),
        _ => None,
    }
}

fn begin(rules: &Rules, name: Option<FileName>) -> anyhow::Result<Check> {
    let name = match name {
        Some(name) => name,
        None => "sample.csv".parse()?,
    };
    let today = jiff::tz::Offset::UTC.to_datetime(Clock::system().now()).date();
    Ok(rules.begin(&name, today, None))
}

/// Gives the file in pieces until `take` says stop, with a bar on a terminal when it is long.
fn feed(path: &Path, what: &'static str, take: &mut dyn FnMut(&[u8]) -> bool) -> anyhow::Result<()> {
    let mut file = open(path)?;
    let size = file.metadata().map_or(0, |found| found.len());
    let bar = (size >= SHOWN_FROM && std::io::stderr().is_terminal()).then(|| {
        let bar = ProgressBar::new(size);
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {eta}") {
            bar.set_style(style);
        }
        bar.with_message(what)
    });
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece).with_context(|| format!("{} cannot be read", path.display()))?;
        if read == 0 || !take(&piece[..read]) {
            break;
        }
        if let Some(bar) = &bar {
            bar.inc(read as u64);
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(())
}

/// Writes both, each anew; neither stays when one fails.
fn write(toml: &Path, schema: &Path, draft: &Draft) -> anyhow::Result<()> {
    let folder = toml.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    let create = |path: &Path, text: &str| {
        let mut file = File::options().write(true).create_new(true).open(path)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all())
    };
    create(schema, &draft.schema).with_context(|| format!("{} cannot be written", schema.display()))?;
    let written = create(toml, &draft.toml).with_context(|| format!("{} cannot be written", toml.display()));
    if written.is_err() {
        let _ = fs::remove_file(schema);
    }
    written
}

fn told(draft: &Draft, columns: &Columns, sample: &Sample<'_>) -> Vec<String> {
    let mut table = Table::new(&["FIELD", "TYPE", "SEEN"]);
    draft.fields.iter().for_each(|field| table.row(field.clone()));
    let mut said = vec![
        format!(
            "{}: {} rows, {} columns; guessed: {}, cells separated by {}\n",
            tame(sample.file),
            columns.rows,
            columns.all.len(),
            demands::encoding(sample.encoding),
            demands::delimiter(sample.delimiter)
        ),
        table.to_string(),
        "To look at:".into(),
    ];
    if columns.all.len() == 1 {
        said.push("  - there is only one column: is the delimiter another one?".into());
    }
    said.extend(draft.notes.iter().map(|note| format!("  - {}", tame(note))));
    said
}

/// Reads the draft back as the gateway would, and judges the sample by it.
fn accepted(path: &Path, toml: &Path) -> anyhow::Result<Vec<String>> {
    let (dataset, _) = config::dataset_file(toml).map_err(crate::daemon::InvalidConfig)?;
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<FileName>().ok());
    let mut said = Vec::new();
    if let Some(Err(fault)) = name.as_ref().map(|name| dataset.rules.name_fits(name)) {
        said.push(format!("\nThe sample's own name would be refused: {}", tame(&fault.0)));
    }
    let mut check = begin(&dataset.rules, name)?;
    feed(path, "checking", &mut |bytes| check.push(bytes).is_ok())?;
    let report = check.finish().report;
    if report.errors == 0 {
        said.push("\nThe draft takes the sample.".into());
    } else {
        said.push("\nThe draft does not take the sample:".into());
        said.extend(report.reasons(REASONS).iter().map(|reason| format!("  {}", tame(reason))));
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dataset_is_named_after_the_letters_of_its_sample() {
        for (file, name) in
            [("LIV9814_2024-06.csv", "liv"), ("GP billing claims 3.CSV", "gp-billing-claims"), ("2024.csv", "extract")]
        {
            assert_eq!(name_from(file).as_str(), name, "{file}");
        }
    }

    /// The sample's draft in a folder, and what `run` said.
    fn drafted(name: &str, content: &[u8]) -> (tempfile::TempDir, anyhow::Result<Vec<String>>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        fs::write(&file, content).unwrap();
        let args = Args { file, name: Some("x".parse().unwrap()), out: folder.path().join("out"), dry_run: false };
        let done = make(&args);
        (folder, done)
    }

    fn takes(folder: &tempfile::TempDir, name: &str, content: &[u8]) -> Vec<String> {
        let (dataset, warnings) = config::dataset_file(&folder.path().join("out/x.toml")).unwrap();
        assert_eq!(warnings, []);
        let name: FileName = name.parse().unwrap();
        dataset.rules.name_fits(&name).unwrap();
        let mut check = begin(&dataset.rules, Some(name)).unwrap();
        let _ = check.push(content);
        check.finish().report.reasons(20)
    }

    fn schema(folder: &tempfile::TempDir) -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(folder.path().join("out/x.schema.json")).unwrap()).unwrap()
    }

    #[test]
    fn a_sample_without_a_header_gives_no_draft_and_none_of_its_values() {
        for label in ["01/02/1980", "1980-02-01", "1.2.80", "9991234567"] {
            let (folder, done) = drafted("x.csv", format!("Smithson,{label}\nJones,{label}\n").as_bytes());
            let said = format!("{:#}", done.unwrap_err());
            assert!(said.contains("column 2") && !said.contains(label) && !said.contains("Smithson"), "{said}");
            assert!(!folder.path().join("out").exists());
        }
        for label in ["2023-24", "2024", "Q1 2024/25", "%", "a/b", "6m", "202405"] {
            assert!(!is_datum(label), "{label}");
        }
    }

    #[test]
    fn a_draft_takes_its_sample_and_says_what_the_cells_are() {
        let mut text = String::from("claim_id,Sex,Postcode,Seen On,units,fee,first name,code,open,when\r\n");
        for row in 0..60 {
            let sex = if row % 2 == 0 { "F" } else { "M" };
            text += &format!(
                "C{row:04},{sex},M1 {}AB,{:02}/05/2024,{row},{row}.50,Ann{},0{row},true,2024-05-01T10:00:00Z\r\n",
                row % 10,
                row % 28 + 1,
                row % 3
            );
        }
        let (folder, done) = drafted("abc_2024-05.csv", text.as_bytes());
        let said = done.unwrap().join("\n");
        assert!(
            said.contains("The draft takes the sample.") && !said.contains("Ann") && !said.contains("C0001"),
            "{said}"
        );
        assert_eq!(takes(&folder, "abc_2024-05.csv", text.as_bytes()), [""; 0]);
        let schema = schema(&folder);
        let types: Vec<&str> =
            schema["fields"].as_array().unwrap().iter().map(|field| field["type"].as_str().unwrap()).collect();
        assert_eq!(
            types,
            ["string", "string", "string", "date", "integer", "number", "string", "string", "boolean", "datetime"]
        );
        assert_eq!(schema["primaryKey"], serde_json::json!(["claim_id"]));
        assert_eq!(schema["fields"][1]["constraints"]["enum"], serde_json::json!(["F", "M"]));
        assert_eq!(schema["fields"][3]["format"], "%d/%m/%Y");
        assert_eq!(schema["fields"][4]["constraints"], serde_json::json!({"required": true}));
        let text = schema.to_string();
        assert!(!text.contains("Ann"), "a name of the sample is in the schema: {text}");
        let toml = fs::read_to_string(folder.path().join("out/x.toml")).unwrap();
        assert!(
            toml.contains("#kind = \"uk-postcode\"\n#columns = [\"Postcode\"]") && toml.contains("first name"),
            "{toml}"
        );
        assert!(!toml.contains("Ann") && !toml.contains("C0001"), "{toml}");
        // What it suggests holds, too.
        let open: Vec<&str> =
            toml.lines().map(|line| line.strip_prefix('#').filter(|l| !l.starts_with(' ')).unwrap_or(line)).collect();
        fs::write(folder.path().join("out/x.toml"), open.join("\n")).unwrap();
        config::dataset_file(&folder.path().join("out/x.toml")).unwrap();
    }

    #[test]
    fn days_and_months_that_could_be_either_are_told() {
        let (folder, done) = drafted("a.csv", b"on,n\n01/02/2024,1\n03/04/2024,2\n");
        done.unwrap();
        let toml = fs::read_to_string(folder.path().join("out/x.toml")).unwrap();
        assert!(toml.contains("%d/%m/%Y was taken, but %m/%d/%Y fits all cells, too"), "{toml}");
    }

    #[test]
    fn other_encodings_delimiters_and_habits_are_guessed_and_declared() {
        let cases: [(&[u8], &str); 4] = [
            (b"id;place\n1;caf\xe9\n2;b\n", "encoding = \"windows-1252\""),
            (b"id\tplace\r\n1\tx\r\n2\ty\r\n", "delimiter = \"\\t\""),
            (b"id,on \n1,1/2/2024\n2,11/12/2024\n", "unpadded_dates = \"flag\""),
            (b"id,on\n1,a\n2,b\n\n\n", "trailing_blank_rows = \"flag\""),
        ];
        for (text, wanted) in cases {
            let (folder, done) = drafted("a.csv", text);
            done.unwrap();
            let toml = fs::read_to_string(folder.path().join("out/x.toml")).unwrap();
            assert!(toml.contains(wanted), "{wanted}: {toml}");
            assert_eq!(takes(&folder, "a.csv", text), [""; 0], "{wanted}");
        }
        let utf16: Vec<u8> = "\u{FEFF}id,b\r\n1,é\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let (folder, done) = drafted("a.csv", &utf16);
        done.unwrap();
        assert_eq!(takes(&folder, "a.csv", &utf16), [""; 0]);
    }

    #[test]
    fn what_is_no_csv_is_refused_and_nothing_is_written() {
        let cases: [(&[u8], &str); 5] = [
            (b"", "empty"),
            (b"PK\x03\x04\x14\0\0\0\x08\0 and more", "ZIP"),
            (b"a,b\n1,2,3\n", "1 cell more"),
            (b"a,b\n1,\"2\n", "quote"),
            (b"a,a\n1,2\n", "label"),
        ];
        for (content, word) in cases {
            let (folder, done) = drafted("a.csv", content);
            let error = done.unwrap_err().to_string();
            assert!(error.to_lowercase().contains(&word.to_lowercase()), "{word}: {error}");
            assert!(!folder.path().join("out").exists(), "{word}");
        }
    }

    #[test]
    fn a_file_that_is_there_is_left_alone() {
        let (folder, done) = drafted("a.csv", b"a,b\n1,2\n");
        done.unwrap();
        let args = |file: &str| Args {
            file: folder.path().join(file),
            name: Some("x".parse().unwrap()),
            out: folder.path().join("out"),
            dry_run: false,
        };
        let error = make(&args("a.csv")).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Stop::No(_))), "{error:#}");
        fs::remove_file(folder.path().join("out/x.toml")).unwrap();
        assert!(make(&args("a.csv")).is_err(), "the schema is still there");
    }
}
