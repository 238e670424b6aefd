//! One row: everything that a client is put through, each cell judged by what the gateway recorded.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use nightsafe::audit::Verdict;
use nightsafe::ledger::UploadRow;

use super::document;
use super::site::{Site, Way};
use crate::harness::{Done, digest_of_file, patterned_file};

/// The name that only a client with UTF-8 in its veins gets across.
const ODD_NAME: &str = "Übergabe März 2026 (1).bin";
/// 2024-03-31T10:00:00Z: what a file's time is set to.
const MODIFIED: u64 = 1_711_879_200;
const LARGE: u64 = 200_000_000;
const MANY: usize = 50;
/// A file whose connection is cut, and how many of the client's bytes go through before.
const CUT_SIZE: u64 = 20_000_000;
const CUT_AFTER: u64 = 10_000_000;
/// A row whose cells are not all there, judged at its end.
const REJECTED_AT_THE_END: &[u8] = b"id,visits\n1,2\n3\n";
/// A ZIP archive that calls itself CSV: refused while more of it is on its way.
const REJECTED_AT_ONCE: &str = "PK\u{3}\u{4}";

/// What a client made of one task.
#[derive(Debug, Clone)]
pub struct Did {
    /// Exit status 0, or each answer OK.
    pub ok: bool,
    /// All that it showed.
    pub words: String,
}

impl From<Done> for Did {
    fn from(done: Done) -> Self {
        let ok = done.succeeded();
        let words = format!("{}\n{}", done.stdout.trim_end(), done.stderr.trim_end());
        Self { ok, words: words.trim().to_owned() }
    }
}

/// A client. What it has no command for is none.
pub trait Program {
    /// Its name in the table.
    fn title(&self) -> &'static str;
    fn version(&self) -> String;
    fn put(&self, way: &Way<'_>, local: &Path, remote: &str) -> Did;
    fn put_many(&self, way: &Way<'_>, locals: &[PathBuf], directory: &str) -> Did;
    /// Goes on with an upload that was cut.
    fn resume(&self, way: &Way<'_>, local: &Path, remote: &str) -> Option<Did>;
    fn put_and_rename(&self, way: &Way<'_>, local: &Path, working: &str, remote: &str) -> Option<Did>;
    fn put_with_times(&self, way: &Way<'_>, local: &Path, remote: &str) -> Option<Did>;
    fn list(&self, way: &Way<'_>, directory: &str) -> Option<Did>;
    fn get(&self, way: &Way<'_>, remote: &str, local: &Path) -> Did;
}

/// What stands in a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    Yes,
    /// The client has nothing of the kind.
    Absent,
    /// Works, in the way that the word says.
    Word(&'static str),
    Failed(String),
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Yes => f.write_str("yes"),
            Cell::Absent => f.write_str("—"),
            Cell::Word(word) => f.write_str(word),
            Cell::Failed(_) => f.write_str("**no**"),
        }
    }
}

type Judged = Result<Cell, String>;

/// The columns, in order.
pub const COLUMNS: [&str; 14] = [
    "0 bytes",
    "1 byte",
    "5 MB",
    "200 MB",
    "50 files",
    "odd name",
    "overwrite",
    "resume",
    "rename",
    "times",
    "list",
    "receipt",
    "no reading back",
    "rejection",
];

/// What a row came to.
pub struct Row {
    pub title: &'static str,
    pub version: String,
    pub cells: Vec<Cell>,
    /// What it shows of a file that is rejected at its end, of one that is rejected while it is sent, and, if it shows
    /// nothing of the first, of one that it renames at the end.
    pub shown: Vec<String>,
}

/// Runs a client's row, and compares it with docs/CLIENTS.md.
pub fn row(program: &dyn Program) {
    let site = Site::new();
    let mut run = Run { program, site: &site, shown: Vec::new() };
    let judges: [fn(&mut Run<'_>) -> Judged; 14] = [
        |run| run.put("empty.bin", 0),
        |run| run.put("one.bin", 1),
        |run| run.put("five.bin", 5_000_000),
        |run| run.large(),
        |run| run.many(),
        |run| run.put(ODD_NAME, 70_000),
        |run| run.overwrite(),
        |run| run.resume(),
        |run| run.rename(),
        |run| run.times(),
        |run| run.list(),
        |run| run.receipt(),
        |run| run.no_reading_back(),
        |run| run.rejection(),
    ];
    let mut cells = Vec::new();
    let mut failures = Vec::new();
    for (column, judge) in COLUMNS.iter().zip(judges) {
        let begun = Instant::now();
        let judged = catch_unwind(AssertUnwindSafe(|| judge(&mut run)));
        let cell = match judged {
            Ok(Ok(cell)) => cell,
            Ok(Err(why)) => Cell::Failed(why),
            Err(panic) => Cell::Failed(words_of(&*panic)),
        };
        if let Cell::Failed(why) = &cell {
            failures.push(format!("{column}: {why}"));
        }
        println!("{}: {column}: {cell} ({:.1} s)", program.title(), begun.elapsed().as_secs_f64());
        cells.push(cell);
    }
    let shown = run.shown.iter().map(|words| site.without_accidents(words)).collect();
    let row = Row { title: program.title(), version: program.version(), cells, shown };
    let differs = document::settle(&row);
    assert!(failures.is_empty(), "{}:\n{}", row.title, failures.join("\n"));
    differs.unwrap();
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}

struct Run<'r> {
    program: &'r dyn Program,
    site: &'r Site,
    shown: Vec<String>,
}

/// The file of 200 MB that every row sends.
fn large_file() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients-200-mb.bin");
        if std::fs::metadata(&file).map_or(0, |metadata| metadata.len()) != LARGE {
            let making = file.with_extension(format!("{}.new", std::process::id()));
            patterned_file(&making, LARGE);
            std::fs::rename(&making, &file).unwrap();
        }
        file
    })
}

impl Run<'_> {
    fn local(&self, name: &str, size: u64) -> PathBuf {
        let file = self.site.path(name);
        patterned_file(&file, size);
        std::fs::File::open(&file)
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(MODIFIED))
            .unwrap();
        file
    }

    /// The client must have said that all is well, and the gateway must have accepted just what was sent.
    fn accepted(&self, did: &Did, local: &Path, remote: &str) -> Result<UploadRow, String> {
        if !did.ok {
            return Err(format!("the client failed: {}", did.words));
        }
        let sha256 = digest_of_file(local);
        let found = self.site.await_upload(remote, |row| row.receipt.verdict == Verdict::Accepted);
        let row = found.ok_or_else(|| format!("{remote} was not accepted; the client showed: {}", did.words))?;
        if row.receipt.sha256.to_string() != sha256 || row.receipt.size != std::fs::metadata(local).unwrap().size() {
            return Err(format!("{remote} is not what was sent: {:?}", row.receipt));
        }
        Ok(row)
    }

    fn put(&mut self, name: &str, size: u64) -> Judged {
        let local = self.local(name, size);
        let remote = format!("/bulk/{name}");
        let did = self.program.put(&self.site.way(), &local, &remote);
        self.accepted(&did, &local, &remote)?;
        Ok(Cell::Yes)
    }

    fn large(&mut self) -> Judged {
        let did = self.program.put(&self.site.way(), large_file(), "/bulk/large.bin");
        self.accepted(&did, large_file(), "/bulk/large.bin")?;
        Ok(Cell::Yes)
    }

    fn many(&mut self) -> Judged {
        std::fs::create_dir_all(self.site.path("many")).unwrap();
        let names: Vec<_> = (0..MANY).map(|n| format!("many/file-{n:02}.bin")).collect();
        let locals: Vec<_> = names.iter().zip(1..).map(|(name, n)| self.local(name, 1000 + n)).collect();
        let did = self.program.put_many(&self.site.way(), &locals, "/bulk");
        for local in &locals {
            self.accepted(&did, local, &format!("/bulk/{}", local.file_name().unwrap().to_str().unwrap()))?;
        }
        Ok(Cell::Yes)
    }

    fn overwrite(&mut self) -> Judged {
        let first = self.local("again.bin", 300_000);
        let did = self.program.put(&self.site.way(), &first, "/bulk/again.bin");
        let earlier = self.accepted(&did, &first, "/bulk/again.bin")?;
        let second = self.local("again.bin", 200_000);
        let did = self.program.put(&self.site.way(), &second, "/bulk/again.bin");
        let later = self.site.await_upload("/bulk/again.bin", |row| {
            row.receipt.verdict == Verdict::Accepted && row.receipt.upload != earlier.receipt.upload
        });
        if later.is_none() {
            return Err(format!("the second file was not accepted; the client showed: {}", did.words));
        }
        let later = self.accepted(&did, &second, "/bulk/again.bin")?;
        let size = self.site.stat("/bulk/again.bin").map(|(size, _)| size);
        if size != Some(later.receipt.size) {
            return Err(format!("the listing shows {size:?} bytes"));
        }
        Ok(Cell::Yes)
    }

    /// The connection is cut in the middle of a file; then the client is told to go on with it, where it did not by itself.
    fn resume(&mut self) -> Judged {
        let local = self.local("cut.bin", CUT_SIZE);
        let cutter = self.site.cutter(CUT_AFTER);
        let did = self.program.put(&cutter.way(), &local, "/bulk/cut.bin");
        if !cutter.has_cut() {
            return Err(format!("nothing was cut: {}", did.words));
        }
        let whole = self.site.uploads("/bulk/cut.bin");
        let did = match whole.iter().any(|row| row.receipt.verdict == Verdict::Accepted) {
            true => did,
            false => match self.program.resume(&cutter.way(), &local, "/bulk/cut.bin") {
                Some(resumed) => resumed,
                None => {
                    let again = self.program.put(&cutter.way(), &local, "/bulk/cut.bin");
                    self.accepted(&again, &local, "/bulk/cut.bin")?;
                    return Ok(Cell::Absent);
                }
            },
        };
        self.accepted(&did, &local, "/bulk/cut.bin")?;
        let sent = cutter.carried();
        println!("{}: {sent} bytes sent of {CUT_SIZE}, cut after {CUT_AFTER}", self.program.title());
        // What was on its way, or not sealed yet, is sent again; and there are heads around everything.
        Ok(if sent < CUT_SIZE + CUT_AFTER / 2 { Cell::Yes } else { Cell::Word("anew") })
    }

    fn rename(&mut self) -> Judged {
        let local = self.local("renamed.bin", 150_000);
        let working = "/bulk/renamed.bin.part";
        let way = self.site.way();
        let Some(did) = self.program.put_and_rename(&way, &local, working, "/bulk/renamed.bin") else {
            return Ok(Cell::Absent);
        };
        self.accepted(&did, &local, "/bulk/renamed.bin")?;
        match self.site.stat(working) {
            Some(_) => Err(format!("{working} is still there")),
            None => Ok(Cell::Yes),
        }
    }

    fn times(&mut self) -> Judged {
        let local = self.local("timed.bin", 1000);
        let Some(did) = self.program.put_with_times(&self.site.way(), &local, "/bulk/timed.bin") else {
            return Ok(Cell::Absent);
        };
        self.accepted(&did, &local, "/bulk/timed.bin")?;
        match self.site.await_modified("/bulk/timed.bin", MODIFIED) {
            true => Ok(Cell::Yes),
            false => Err(format!("its time is {:?}, not {MODIFIED}", self.site.stat("/bulk/timed.bin"))),
        }
    }

    fn list(&mut self) -> Judged {
        for (directory, names) in
            [("/bulk", vec!["one.bin", "five.bin", ODD_NAME]), ("/", vec!["help.txt", "receipts"])]
        {
            let Some(did) = self.program.list(&self.site.way(), directory) else { return Ok(Cell::Absent) };
            if !did.ok {
                return Err(format!("the client failed: {}", did.words));
            }
            if let Some(name) = names.iter().find(|name| !did.words.contains(**name)) {
                return Err(format!("{name} is not in {directory}: {}", did.words));
            }
        }
        Ok(Cell::Yes)
    }

    fn receipt(&mut self) -> Judged {
        let uploads = self.site.uploads("/bulk/one.bin");
        let upload = uploads.first().ok_or("nothing was uploaded")?.receipt.upload;
        let local = self.site.path("receipt.txt");
        let remote = format!("/receipts/one.bin.{upload}.receipt.txt");
        let did = self.program.get(&self.site.way(), &remote, &local);
        let text = std::fs::read_to_string(&local).unwrap_or_default();
        match did.ok && text.contains("Receipt of an accepted upload") && text.contains(&upload.to_string()) {
            true => Ok(Cell::Yes),
            false => Err(format!("{text:?}; the client showed: {}", did.words)),
        }
    }

    fn no_reading_back(&mut self) -> Judged {
        let local = self.site.path("read-back.bin");
        let did = self.program.get(&self.site.way(), "/bulk/five.bin", &local);
        if did.ok {
            return Err(format!("the client believes that it read the upload back: {}", did.words));
        }
        match std::fs::metadata(&local).map_or(0, |metadata| metadata.len()) {
            0 => Ok(Cell::Yes),
            read => Err(format!("{read} bytes were read back")),
        }
    }

    /// What a person sees of a file that is not accepted: the gateway's words, the client's own, or nothing.
    fn rejection(&mut self) -> Judged {
        let way = self.site.way();
        let ragged = self.site.path("ragged.csv");
        std::fs::write(&ragged, REJECTED_AT_THE_END).unwrap();
        let at_the_end = self.program.put(&way, &ragged, "/interventions/ragged.csv");
        let archive = self.site.path("archive.csv");
        std::fs::write(&archive, REJECTED_AT_ONCE.repeat(1_000_000)).unwrap();
        let at_once = self.program.put(&way, &archive, "/interventions/archive.csv");
        self.shown = vec![at_the_end.words.clone(), at_once.words.clone()];
        let rejected =
            self.site.await_upload("/interventions/ragged.csv", |row| row.receipt.verdict == Verdict::Rejected);
        rejected.ok_or(format!("it was not rejected; the client showed: {:?}", self.shown))?;
        // rclone removes what it could not send, which ends it before it is rejected.
        if !self.site.await_no_upload("archive.csv") {
            return Err(format!("the archive's upload has no end; the client showed: {:?}", self.shown));
        }
        if at_once.ok {
            return Err(format!("the client believes that the archive was taken: {}", at_once.words));
        }
        let says_why = at_the_end.words.contains("row 3") && at_once.words.contains("ZIP archive");
        if at_the_end.ok && says_why {
            return Ok(Cell::Word("says why, status 0"));
        }
        if at_the_end.ok {
            // It passes over the answer to CLOSE: the answer to a RENAME it must not pass over.
            let (working, remote) = ("/interventions/ragged.csv.part", "/interventions/ragged.csv");
            let renamed = self.program.put_and_rename(&way, &ragged, working, remote);
            let renamed = renamed.filter(|did| !did.ok).ok_or("the client says nothing, whatever it is told to do")?;
            self.shown.push(renamed.words);
            return Ok(Cell::Word("with a rename"));
        }
        Ok(Cell::Word(if says_why { "says why" } else { "says that" }))
    }
}
