//! One file, read once: digested and judged on the way, until the end or the first fault that is final.
//!
//! Holds one buffer besides what the check holds. Shows progress on a terminal when it takes long. Called by `precheck`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::civil::Date;

use super::companion;
use super::rules::Demands;
use crate::audit::Verdict;
use crate::check::{ErrorType, Report};
use crate::config::CompanionKind;
use crate::types::{FileName, Sha256};

/// Bytes read at a time.
const PIECE: usize = 256 << 10;
/// Work that ends sooner shows no progress.
const SOON: Duration = Duration::from_millis(700);

/// The verdict on one file.
#[derive(Debug)]
pub struct Judged {
    pub file: PathBuf,
    pub name: String,
    pub dataset: Option<String>,
    /// Bytes of the whole file; none when a final fault ended the reading.
    pub size: Option<u64>,
    /// Of the whole file, likewise.
    pub sha256: Option<Sha256>,
    pub report: Report,
    pub not_judged: Vec<&'static str>,
    /// Bytes that were read.
    pub read: u64,
    pub took: Duration,
}

impl Judged {
    pub fn accepted(&self) -> bool {
        self.report.acceptable()
    }

    pub fn verdict(&self) -> Verdict {
        if self.accepted() { Verdict::Accepted } else { Verdict::Rejected }
    }
}

pub fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// Judges `file` as if it were sent under `name`, or under its own.
///
/// # Errors
/// It cannot be read.
pub fn judge(file: &Path, name: Option<&FileName>, demands: &Demands, today: Date) -> anyhow::Result<Judged> {
    let (mut from, length): (Box<dyn Read>, Option<u64>) = if is_stdin(file) {
        (Box::new(std::io::stdin().lock()), None)
    } else {
        let opened = File::open(file).with_context(|| format!("{} cannot be opened", file.display()))?;
        let facts = opened.metadata().with_context(|| format!("{} cannot be read", file.display()))?;
        anyhow::ensure!(!facts.is_dir(), "{} is a folder: name the files in it", file.display());
        (Box::new(opened), facts.is_file().then_some(facts.len()))
    };
    let began = Instant::now();
    let sent_as = name.map_or_else(|| own_name(file), |name| Ok(name.clone()));
    let misnamed = match &sent_as {
        Ok(name) => demands.rules.name_fits(name).err().map(|fault| fault.0),
        Err(words) => Some(words.clone()),
    };
    // The content is judged under any name: who mends a name wants to know of the rest too.
    let judged_as = match &sent_as {
        Ok(name) => name.clone(),
        Err(_) => "unnamed.csv".parse().context("a name of our own")?,
    };
    let mut check = demands.rules.begin(&judged_as, today, None);
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    let mut md5 = demands.companion.kinds.contains(&CompanionKind::Md5).then(md5::Context::new);
    let mut buffer = vec![0; PIECE];
    let mut progress = Progress::new(length);
    let mut read = 0;
    let whole = loop {
        let count = match from.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            other => other.with_context(|| format!("{} cannot be read", file.display()))?,
        };
        if count == 0 {
            break true;
        }
        digest.update(&buffer[..count]);
        if let Some(md5) = &mut md5 {
            md5.consume(&buffer[..count]);
        }
        read += count as u64;
        if check.push(&buffer[..count]).is_err() {
            break false;
        }
        progress.at(read, began);
    };
    progress.clear();
    let mut outcome = check.finish();
    let sha256 = whole.then(|| sha256(digest));
    let mut not_judged = demands.not_judged.clone();
    // In a part of a file every companion would be wrong.
    if let Some(sha256) = sha256.as_ref().filter(|_| outcome.report.complete && !demands.companion.kinds.is_empty()) {
        let beside = (!is_stdin(file)).then_some(file);
        let md5 = md5.map(|md5| format!("{:x}", md5.finalize()));
        let digests = (sha256, md5.as_deref());
        if !companion::judge(beside, &judged_as, digests, &demands.companion, &mut outcome) {
            not_judged.push("companion");
        }
    }
    let mut report = outcome.report;
    if let Some(words) = misnamed {
        put_first(&mut report, "name", words);
    }
    Ok(Judged {
        file: file.to_owned(),
        name: sent_as.map_or_else(|_| file.to_string_lossy().into_owned(), |name| name.to_string()),
        dataset: demands.dataset.clone(),
        size: whole.then_some(read),
        sha256,
        report,
        not_judged,
        read,
        took: began.elapsed(),
    })
}

fn own_name(file: &Path) -> Result<FileName, String> {
    let name = file.file_name().unwrap_or(file.as_os_str());
    FileName::from_wire(name.as_encoded_bytes()).map_err(|error| error.to_string())
}

fn sha256(digest: ring::digest::Context) -> Sha256 {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.finish().as_ref());
    Sha256(bytes)
}

/// An error of the file as a whole, before those of its content.
fn put_first(report: &mut Report, rule: &str, message: String) {
    report.add(ErrorType::SourceError, rule, message);
    report.first.rotate_right(1);
    report.groups.rotate_right(1);
}

/// A bar on standard error, once the work takes long; none where that is no terminal.
struct Progress {
    length: Option<u64>,
    bar: Option<ProgressBar>,
}

impl Progress {
    fn new(length: Option<u64>) -> Self {
        Self { length, bar: None }
    }

    fn at(&mut self, read: u64, began: Instant) {
        if self.bar.is_none() && began.elapsed() >= SOON {
            let bar = self.length.map_or_else(ProgressBar::no_length, ProgressBar::new);
            let style = match self.length {
                Some(_) => "{wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
                None => "{spinner} {binary_bytes} {binary_bytes_per_sec}",
            };
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.set_position(read);
        }
    }

    fn clear(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
