//! Any sequence of opens, writes, truncations, renames, removals, closes, cuts and restarts gives what a plain file would
//! have given, or a refusal; never anything else.
//!
//! A model keeps each name's bytes as a plain file would. What is accepted must have the model's digest; what a handle or a
//! name shows must have the model's size. A lost connection may shorten a draft, to a beginning of what the model has.
//! `NIGHTSAFE_MODEL_CASES` sets the number of sequences (25 unless said otherwise), `NIGHTSAFE_TEST_SEED` the first seed. That
//! no pair of key and nonce is used twice, every sealed chunk of these tests is asked (`seal::run::tests::once`).

use std::collections::{BTreeMap, BTreeSet};

use ring::digest::{SHA256, digest};

use super::*;
use crate::types::UploadId;

const NAMES: [&str; 3] = ["/notes/a.bin", "/notes/b.bin", "/notes/a.bin.part"];
const WRITE: u32 = 2;
const APPEND: u32 = 4;
const CREAT: u32 = 8;
const TRUNC: u32 = 16;
const EXCL: u32 = 32;

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % end
    }
    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let salt = self.below(u64::MAX);
        (0..length as u64).map(|at| (at.wrapping_mul(0x9E37_79B9).wrapping_add(salt) >> 11) as u8).collect()
    }
}

/// What stands under a name.
#[derive(Default, Clone)]
struct Named {
    accepted: Option<Vec<u8>>,
    draft: Option<Vec<u8>>,
}

struct Handle {
    wire: Vec<u8>,
    name: &'static str,
    content: Vec<u8>,
    append: bool,
    /// Something was refused: it may not be accepted any more.
    spoiled: bool,
    touched: bool,
    /// What a jump left out.
    gap: Option<(u64, u64)>,
}

struct Model {
    house: House,
    client: Option<Client>,
    names: BTreeMap<&'static str, Named>,
    open: Option<Handle>,
    known: BTreeSet<UploadId>,
    story: Vec<String>,
}

impl Model {
    async fn new() -> Self {
        let house = House::new();
        house.configure(|config| {
            config.intake.reorder_window = 64 << 10;
            config.intake.segments = 12;
        });
        let client = Some(house.client("nightly").await);
        Self { house, client, names: BTreeMap::new(), open: None, known: BTreeSet::new(), story: Vec::new() }
    }

    fn client(&mut self) -> &mut Client {
        self.client.as_mut().unwrap()
    }

    async fn step(&mut self, dice: &mut Dice) {
        match (dice.below(20), self.open.is_some()) {
            (0..=14, false) => self.opens(dice).await,
            (0..=9, true) => self.writes(dice).await,
            (10, true) => self.truncates(dice).await,
            (11..=14, true) => self.closes().await,
            (15, _) => self.renames(dice).await,
            (16, _) => self.removes(dice).await,
            (17, true) => self.opens_again(dice).await,
            (17, false) => self.cuts_by_path(dice).await,
            (18, _) => self.loses_the_connection().await,
            _ => self.is_killed().await,
        }
        self.sizes_agree().await;
    }

    /// What a plain file system would show.
    fn shown(&self, name: &str) -> Option<&Vec<u8>> {
        let named = self.names.get(name)?;
        named.draft.as_ref().or(named.accepted.as_ref())
    }

    async fn opens(&mut self, dice: &mut Dice) {
        let name = NAMES[dice.below(3) as usize];
        let flags = [
            WRITE | CREAT | TRUNC,
            WRITE | CREAT,
            WRITE,
            WRITE | CREAT | APPEND,
            WRITE | APPEND,
            WRITE | TRUNC,
            WRITE | CREAT | EXCL,
        ][dice.below(7) as usize];
        self.story.push(format!("open {name} {flags:#x}"));
        let reply = self.client().open(name, flags).await;
        let shown = self.shown(name).cloned();
        if reply.kind != 102 {
            return;
        }
        assert!(shown.is_some() || flags & CREAT != 0, "a file that is not there was opened");
        assert!(shown.is_none() || flags & EXCL == 0, "EXCL over a file");
        let mut content = if flags & TRUNC != 0 { Vec::new() } else { shown.unwrap_or_default() };
        let wire = reply.handle();
        let size = self.client().ask(8, &text(&wire)).await.size() as usize;
        // A draft that another session wrote, or that was closed before, is what it is; a lost one was cut before.
        assert_eq!(size, content.len(), "the size at OPEN");
        content.truncate(size);
        self.names.entry(name).or_default().draft = Some(content.clone());
        let append = flags & APPEND != 0;
        self.open =
            Some(Handle { wire, name, content, append, spoiled: false, touched: flags & TRUNC != 0, gap: None });
    }

    async fn writes(&mut self, dice: &mut Dice) {
        let handle = self.open.as_ref().unwrap();
        let (wire, end) = (handle.wire.clone(), handle.content.len() as u64);
        let (append, gap) = (handle.append, handle.gap);
        let offset = match (append, dice.below(14)) {
            (true, _) | (_, 0..=8) => end,
            (_, 9) => dice.below(end + 1),
            (_, 10) => end + dice.below(50_000),
            (_, 11) => end + dice.below(400_000),
            _ => end.saturating_sub(dice.below(200_000)),
        };
        let length = match dice.below(4) {
            0 => 1 + dice.below(200),
            1 => 65_536,
            _ => 1 + dice.below(200_000),
        };
        // Who jumps mostly comes back.
        let (offset, length) = match gap.filter(|_| !append && dice.below(4) > 0) {
            Some((from, to)) => (from, (to - from).min(200_000)),
            None => (offset, length),
        };
        let bytes = dice.bytes(length as usize);
        self.story.push(format!("write {length} at {offset}"));
        let code = self.client().write(&wire, offset, &bytes).await.code();
        let handle = self.open.as_mut().unwrap();
        if code != OK {
            handle.spoiled = true;
            return;
        }
        assert!(!handle.spoiled, "a write was taken after a refusal");
        handle.touched |= !bytes.is_empty();
        if let Some((from, to)) = handle.gap.filter(|(from, _)| *from == offset) {
            handle.gap = (from + length < to).then_some((from + length, to));
        } else if offset > end {
            handle.gap = Some((end, offset));
        }
        let (from, to) = (offset as usize, offset as usize + bytes.len());
        if !bytes.is_empty() {
            handle.content.resize(handle.content.len().max(to), 0);
            handle.content[from..to].copy_from_slice(&bytes);
        }
        self.remember();
    }

    async fn truncates(&mut self, dice: &mut Dice) {
        let handle = self.open.as_ref().unwrap();
        let (wire, end) = (handle.wire.clone(), handle.content.len() as u64);
        let size = if dice.below(6) == 0 { end + dice.below(100_000) } else { dice.below(end + 1) };
        self.story.push(format!("fsetstat size {size}"));
        let body = [&text(&wire)[..], &1u32.to_be_bytes(), &size.to_be_bytes()].concat();
        let code = self.client().ask(10, &body).await.code();
        let handle = self.open.as_mut().unwrap();
        if code != OK {
            handle.spoiled = true;
            return;
        }
        handle.touched |= size != end;
        handle.content.resize(size as usize, 0);
        self.remember();
    }

    fn remember(&mut self) {
        let handle = self.open.as_ref().unwrap();
        self.names.get_mut(handle.name).unwrap().draft = Some(handle.content.clone());
    }

    async fn closes(&mut self) {
        let handle = self.open.take().unwrap();
        self.story.push(format!("close {}", handle.name));
        let reply = self.client().close(&handle.wire).await;
        if reply.code() == OK {
            assert!(!handle.spoiled, "what was refused was closed with OK");
            let named = self.names.get_mut(handle.name).unwrap();
            if handle.name.ends_with(".part") {
                named.draft = Some(handle.content);
            } else {
                self.is_accepted(handle.name, handle.content).await;
            }
            return;
        }
        self.story.push(format!("  refused: {}", reply.message()));
        let named = self.names.get_mut(handle.name).unwrap();
        // Rejected, and gone; or nothing was written, and it stays what it was.
        let untouched = !handle.spoiled && !handle.touched && !handle.content.is_empty();
        named.draft = untouched.then_some(handle.content);
        self.settles(handle.name).await;
    }

    /// The ledger has one more accepted upload, and that is it.
    async fn is_accepted(&mut self, name: &'static str, content: Vec<u8>) {
        let uploads = self.house.services.ledger.uploads(&Filter::default()).await.unwrap();
        let accepted: Vec<_> = uploads
            .iter()
            .map(|row| &row.receipt)
            .filter(|receipt| {
                receipt.verdict == crate::audit::Verdict::Accepted && !self.known.contains(&receipt.upload)
            })
            .collect();
        assert_eq!(accepted.len(), 1, "one more was accepted");
        assert_eq!(accepted[0].name.as_str(), name.rsplit('/').next().unwrap());
        assert_eq!(accepted[0].size, content.len() as u64);
        assert!(accepted[0].sha256.0 == digest(&SHA256, &content).as_ref(), "{name} was accepted as something else");
        self.known.insert(accepted[0].upload);
        self.names.insert(name, Named { accepted: Some(content), draft: None });
    }

    async fn renames(&mut self, dice: &mut Dice) {
        let (from, to) = (NAMES[dice.below(3) as usize], NAMES[dice.below(3) as usize]);
        self.story.push(format!("rename {from} {to}"));
        let reply = self.client().ask(18, &[text(from), text(to)].concat()).await;
        if reply.code() != OK {
            self.story.push(format!("  refused: {}", reply.message()));
            // A draft may have been judged by it, and be gone.
            self.settles(from).await;
            return;
        }
        assert!(self.open.as_ref().is_none_or(|handle| handle.name != from), "an open file was renamed");
        if let Some(handle) = self.open.as_mut().filter(|handle| handle.name == to) {
            // As with a plain file: what is written to it now stands under no name.
            handle.spoiled = true;
        }
        let content = self.names.get_mut(from).unwrap().draft.take().expect("only drafts are renamed");
        if to.ends_with(".part") {
            self.names.entry(to).or_default().draft = Some(content);
        } else {
            self.is_accepted(to, content).await;
        }
    }

    async fn removes(&mut self, dice: &mut Dice) {
        let name = NAMES[dice.below(3) as usize];
        self.story.push(format!("remove {name}"));
        if self.client().ask(13, &text(name)).await.code() != OK {
            return;
        }
        let named = self.names.get_mut(name).expect("what is not there is not removed");
        if named.draft.take().is_none() {
            named.accepted = None;
        }
        if let Some(handle) = self.open.as_mut().filter(|handle| handle.name == name) {
            handle.spoiled = true;
        }
    }

    async fn cuts_by_path(&mut self, dice: &mut Dice) {
        let name = NAMES[dice.below(3) as usize];
        let length = self.shown(name).map_or(0, |content| content.len() as u64);
        let size = if dice.below(2) == 0 { 0 } else { dice.below(length + 1) };
        self.story.push(format!("setstat {name} size {size}"));
        let body = [&text(name)[..], &1u32.to_be_bytes(), &size.to_be_bytes()].concat();
        if self.client().ask(9, &body).await.code() != OK {
            return;
        }
        let mut content = self.shown(name).cloned().expect("only what is there is cut");
        if content.len() as u64 != size {
            content.truncate(size as usize);
            self.names.get_mut(name).unwrap().draft = Some(content);
        }
    }

    /// A second session opens what the first still writes.
    async fn opens_again(&mut self, dice: &mut Dice) {
        let handle = self.open.as_ref().unwrap();
        let (name, mut content) = (handle.name, handle.content.clone());
        let flags = [WRITE, WRITE | CREAT | APPEND, WRITE | CREAT | TRUNC][dice.below(3) as usize];
        self.story.push(format!("a second session opens {name} {flags:#x}"));
        let mut second = self.house.client("nightly").await;
        let reply = second.open(name, flags).await;
        if reply.kind != 102 {
            // It may have been taken from the first, and have nothing to keep.
            second.session = None;
            self.loses_the_connection().await;
            return;
        }
        let wire = reply.handle();
        let size = second.ask(8, &text(&wire)).await.size() as usize;
        if flags & TRUNC != 0 {
            content.clear();
        }
        assert!(size <= content.len(), "{size} of {} bytes", content.len());
        content.truncate(size);
        if let Some(mut first) = self.client.replace(second) {
            let old = self.open.take().unwrap();
            if flags & TRUNC == 0 {
                assert_ne!(first.write(&old.wire, 0, b"late").await.code(), OK, "what was taken over was written");
            } else {
                // Two uploads of one name: the first is not closed, and goes with its session.
            }
        }
        self.names.get_mut(name).unwrap().draft = Some(content.clone());
        self.open = Some(Handle {
            wire,
            name,
            content,
            append: flags & APPEND != 0,
            spoiled: false,
            touched: flags & TRUNC != 0,
            gap: None,
        });
        self.idle(1).await;
    }

    async fn loses_the_connection(&mut self) {
        self.story.push("the connection is lost".into());
        self.client = None;
        let lost = self.open.take();
        self.idle(0).await;
        self.client = Some(self.house.client("nightly").await);
        if let Some(handle) = lost {
            self.settles(handle.name).await;
        }
    }

    async fn is_killed(&mut self) {
        self.story.push("killed".into());
        if let Some(handle) = self.open.take() {
            // So that no worker of the old one is at it any more.
            let _ = self.client().ask(200, &[text("fsync@openssh.com"), text(&handle.wire)].concat()).await;
        }
        std::mem::forget(self.client.take());
        self.house.restart().await;
        self.client = Some(self.house.client("nightly").await);
        for name in NAMES {
            self.settles(name).await;
        }
    }

    /// Waits until no more than `most` uploads are under way.
    async fn idle(&self, most: usize) {
        let idle = async {
            while self.house.services.intake.under_way() > most {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), idle).await.expect("sessions end");
    }

    /// A draft may have become shorter, or be gone; nothing else.
    async fn settles(&mut self, name: &'static str) {
        let stat = self.client().stat(name).await;
        let Some(named) = self.names.get_mut(name) else {
            assert_eq!(stat.kind, 101, "{name} is there, and nothing was written");
            return;
        };
        let (Some(draft), 105) = (&mut named.draft, stat.kind) else {
            named.draft = None;
            return;
        };
        let size = stat.size() as usize;
        let listed = self
            .house
            .services
            .intake
            .drafts(&"harbour".parse().unwrap(), &crate::types::Place::Dataset("notes".parse().unwrap()));
        if listed.iter().any(|view| name.ends_with(&format!("/{}", view.name))) {
            assert!(size <= draft.len(), "{name} has {size} bytes, and had {}", draft.len());
            draft.truncate(size);
        } else {
            named.draft = None;
        }
    }

    async fn sizes_agree(&mut self) {
        if let Some(handle) = &self.open
            && !handle.spoiled
        {
            let (wire, size) = (handle.wire.clone(), handle.content.len() as u64);
            assert_eq!(self.client().ask(8, &text(&wire)).await.size(), size, "FSTAT");
        }
        for name in NAMES {
            if self.open.as_ref().is_some_and(|handle| handle.name == name && handle.spoiled) {
                continue;
            }
            let size = self.shown(name).map(|content| content.len() as u64);
            let stat = self.client().stat(name).await;
            let told = (stat.kind == 105).then(|| stat.size());
            assert_eq!(told, size, "STAT of {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_sequence_gives_what_a_plain_file_would_have_given_or_a_refusal() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let cases = number("NIGHTSAFE_MODEL_CASES").unwrap_or(25);
    let first = number("NIGHTSAFE_TEST_SEED").unwrap_or(1);
    let (mut accepted, mut drafts) = (0, 0);
    for seed in first..first + cases {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut model = Model::new().await;
        for step in 0..40 {
            let mut next = Box::pin(model.step(&mut dice));
            let done = std::panic::AssertUnwindSafe(&mut next);
            let outcome = Caught(done).await;
            drop(next);
            if let Err(panic) = outcome {
                println!("NIGHTSAFE_TEST_SEED={seed}, step {step}:\n  {}", model.story.join("\n  "));
                std::panic::resume_unwind(panic);
            }
        }
        accepted += model.known.len();
        drafts += model.story.iter().filter(|line| line.starts_with("the connection")).count();
        assert_eq!(model.house.services.ledger.verify().await.unwrap(), []);
    }
    println!("{cases} sequences: {accepted} accepted, {drafts} connections lost");
    assert!(accepted as u64 >= cases, "too few were accepted: the model showed little");
}

/// A future whose panic is an answer, so that the story before it can be told.
struct Caught<'a, F>(std::panic::AssertUnwindSafe<&'a mut std::pin::Pin<Box<F>>>);

impl<F: Future> Future for Caught<'_, F> {
    type Output = std::thread::Result<F::Output>;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        let future = &mut self.0;
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => std::task::Poll::Ready(Err(panic)),
        }
    }
}
