//! `nightsafe precheck`: the gateway's verdict on an extract, on the provider's own machine.
//!
//! Needs no server and sends nothing: it reads a dataset (or a schema alone) and the files, and says what the gateway would
//! say, in the gateway's words. What only the gateway can know is named, never guessed. Must never show a cell. Called by
//! `cli`; `rules` finds the demands, `judge` reads a file, `companion` looks at what lies beside it.

mod companion;
mod judge;
mod rules;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::config_file::ConfigFile;
use super::outcome::{Stop, say};
use super::output::{line, tame};
use crate::types::{Clock, FileName};
use judge::Judged;
use rules::Demands;

/// Reasons that are shown for one file; the report in the JSON has all.
const REASONS: usize = 50;

/// Judges files as the gateway would, here, without sending them
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 all accepted, 1 one or more rejected, 2 usage or configuration, 3 a file could not be read."
)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// The dataset: its name in the configuration, or its file as the gateway has it under /contract (x.toml)
    #[arg(long, value_name = "NAME|FILE.toml", required_unless_present = "schema", conflicts_with = "schema")]
    dataset: Option<String>,
    /// A Table Schema alone, all else as it is by default
    #[arg(long, value_name = "FILE.schema.json")]
    schema: Option<PathBuf>,
    /// Judge the file under this name, the one it will be sent as
    #[arg(long, value_name = "NAME")]
    name: Option<FileName>,
    /// Print a line of JSON for each file
    #[arg(long)]
    json: bool,
    /// The extracts; - is standard input (with --name)
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// Exit status 0 when every file would be accepted, 1 when one would not, 3 when one could not be read.
///
/// # Errors
/// The dataset is not valid, the options make no sense, or standard output could not be written to.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    super::no_core_dumps();
    if args.name.is_some() && args.files.len() > 1 {
        return Err(Stop::Usage("--name is for one FILE: name the others in runs of their own".into()).into());
    }
    if args.name.is_none() && args.files.iter().any(|file| judge::is_stdin(file)) {
        return Err(Stop::Usage("standard input has no name: say with --name what it will be sent as".into()).into());
    }
    let demands = match (&args.dataset, &args.schema) {
        (Some(dataset), _) => Demands::of_dataset(dataset, &args.config.path)?,
        (None, Some(schema)) => Demands::of_schema(schema)?,
        (None, None) => return Err(Stop::Usage("say what to judge by: --dataset or --schema".into()).into()),
    };
    let today = jiff::tz::Offset::UTC.to_datetime(Clock::system().now()).date();
    let mut status = 0;
    for file in &args.files {
        match judge::judge(file, args.name.as_ref(), &demands, today) {
            Ok(judged) => {
                if args.json {
                    line(as_json(&judged).to_string())?;
                } else {
                    show(&judged)?;
                }
                if !judged.accepted() {
                    status = status.max(1);
                }
            }
            Err(error) => {
                say(&format!("nightsafe: {error:#}"));
                status = 3;
            }
        }
    }
    Ok(ExitCode::from(status))
}

fn as_json(judged: &Judged) -> serde_json::Value {
    json!({
        "file": judged.file.to_string_lossy(),
        "name": judged.name,
        "dataset": judged.dataset,
        "size": judged.size,
        "sha256": judged.sha256,
        "verdict": judged.verdict().as_str(),
        "reasons": judged.report.reasons(REASONS),
        "report": judged.report,
        "not_judged": judged.not_judged,
    })
}

/// The verdict for a person. A file's name is from outside: it cannot move the cursor.
fn show(judged: &Judged) -> std::io::Result<()> {
    let report = &judged.report;
    let by = judged.dataset.as_deref().map(|dataset| format!(" as {dataset}")).unwrap_or_default();
    let name = tame(&judged.file.to_string_lossy());
    line(format!("{name}: {}{}", judged.verdict().as_str(), tame(&by)))?;
    for reason in report.reasons(REASONS) {
        line(format!("  {}", tame(&reason)))?;
    }
    for flag in &report.flags {
        line(format!("  flag: {}", tame(&flag.sentence())))?;
    }
    if let Some(rows) = report.rows {
        let columns = report.columns.map(|columns| format!(", {}", count(columns, "column"))).unwrap_or_default();
        let so_far = if report.complete { "" } else { " until there" };
        line(format!("  {}{columns}{so_far}", count(rows, "row")))?;
    }
    if report.restricted > 0 {
        let rows = count(report.restricted, "row");
        line(format!("  {rows} restricted: the subject objected or did not consent"))?;
    }
    if let (Some(size), Some(sha256)) = (judged.size, &judged.sha256) {
        line(format!("  {}, SHA-256 {sha256}", count(size, "byte")))?;
    } else {
        line("  the file was not read to its end: what was found is final")?;
    }
    if judged.accepted() && !judged.not_judged.is_empty() {
        line(format!("  judged by the gateway alone: {}", judged.not_judged.join(", ")))?;
    }
    if std::io::stdout().is_terminal() {
        line(format!("  {}", speed(judged.read, judged.took)))?;
    }
    Ok(())
}

fn speed(bytes: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "a figure for people, with three digits")]
    let megabytes = bytes as f64 / 1e6;
    if seconds < 0.1 { format!("{seconds:.2} s") } else { format!("{seconds:.1} s, {:.0} MB/s", megabytes / seconds) }
}

fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
