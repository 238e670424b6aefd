//! Any sequence of opens, writes, truncations, renames, removals, closes, cuts and restarts gives what a plain file would
//! have given, or a refusal; never anything else.
//!
//! A model keeps each name's bytes as a plain file would. What is accepted must have the model's digest, no gap, and at
//! least the size that a plain file would have; what a handle or a name shows must have the model's size. A lost connection
//! or a kill may shorten the draft that was being written, to a beginning of what the model has, shorter than what came;
//! such a draft is closed no more. A draft that waited, or was only opened, stays as it was, to the byte.
//! `NIGHTSAFE_MODEL_CASES` sets the number of sequences (100 unless said otherwise), `NIGHTSAFE_TEST_SEED` the first seed.
//! That no pair of key and nonce is used twice, every sealed chunk of these tests is asked (`seal::run::tests::once`).

use std::collections::{BTreeMap, BTreeSet};

use ring::digest::{SHA256, digest};

use self::content::{APPEND, CREAT, Caught, Content, Dice, Draft, EXCL, Handle, Named, TRUNC, WRITE};
use super::*;
use crate::types::UploadId;

mod content;

const NAMES: [&str; 3] = ["/notes/a.bin", "/notes/b.bin", "/notes/a.bin.part"];

struct Model {
    house: House,
    client: Option<Client>,
    names: BTreeMap<&'static str, Named>,
    open: Option<Handle>,
    known: BTreeSet<UploadId>,
    /// No write is longer.
    scale: u64,
    story: Vec<String>,
}

impl Model {
    async fn new(scale: u64) -> Self {
        let house = House::new();
        house.configure(|config| {
            config.intake.reorder_window = 64 << 10;
            config.intake.segments = 24;
        });
        let client = Some(house.client("nightly").await);
        Self { house, client, names: BTreeMap::new(), open: None, known: BTreeSet::new(), scale, story: Vec::new() }
    }

    fn client(&mut self) -> &mut Client {
        self.client.as_mut().unwrap()
    }

    async fn step(&mut self, dice: &mut Dice) {
        match (dice.below(40), self.open.is_some()) {
            (0..=27, false) => self.opens(dice).await,
            (0..=17, true) => self.writes(dice).await,
            (18..=22, true) => self.truncates(dice).await,
            (23..=27, true) => self.closes().await,
            (28..=31, _) => self.renames(dice).await,
            (32, _) => self.removes(dice).await,
            (33, true) => self.opens_again(dice).await,
            (33, false) => self.cuts_by_path(dice).await,
            (34..=36, _) => self.loses_the_connection().await,
            _ => self.is_killed(dice).await,
        }
        self.sizes_agree().await;
    }

    /// The size that a plain file system would show.
    fn shown(&self, name: &str) -> Option<usize> {
        let named = self.names.get(name)?;
        let draft = named.draft.as_ref().map(|draft| draft.content.len());
        draft.or(named.accepted.as_ref().map(Vec::len))
    }

    fn draft(&mut self, name: &'static str) -> &mut Option<Draft> {
        &mut self.names.entry(name).or_default().draft
    }

    /// Mostly the name that drafts have.
    fn name(dice: &mut Dice) -> &'static str {
        NAMES[dice.below(4).min(2) as usize]
    }

    async fn opens(&mut self, dice: &mut Dice) {
        let name = Self::name(dice);
        let flags = [
            WRITE | CREAT | TRUNC,
            WRITE | CREAT,
            WRITE | CREAT,
            WRITE,
            WRITE,
            WRITE | CREAT | APPEND,
            WRITE | APPEND,
            WRITE | TRUNC,
            WRITE | CREAT | EXCL,
        ][dice.below(9) as usize];
        self.story.push(format!("open {name} {flags:#x}"));
        let reply = self.client().open(name, flags).await;
        let shown = self.shown(name);
        if reply.kind != 102 {
            return;
        }
        assert!(shown.is_some() || flags & CREAT != 0, "a file that is not there was opened");
        assert!(shown.is_none() || flags & EXCL == 0, "EXCL over a file");
        let wire = reply.handle();
        let size = self.client().ask(8, &text(&wire)).await.size() as usize;
        let named = self.names.entry(name).or_default();
        let before = named.draft.take().filter(|_| flags & TRUNC == 0);
        let mut content = before.as_ref().map_or_else(Content::default, |draft| draft.content.clone());
        if let (None, Some(accepted), 0) = (&before, &named.accepted, flags & TRUNC) {
            // What was accepted is not here any more: all of it must come again.
            content.set(accepted.len());
        }
        assert_eq!(size, content.len(), "the size at OPEN");
        named.draft = Some(before.clone().unwrap_or(Draft { content: content.clone(), closed: false }));
        let (append, declared) = (flags & APPEND != 0, content.due);
        let touched = before.is_none();
        self.open =
            Some(Handle { wire, name, content, append, spoiled: false, nameless: false, touched, before, declared });
    }

    async fn writes(&mut self, dice: &mut Dice) {
        let scale = self.scale;
        let handle = self.open.as_ref().unwrap();
        let (wire, end, append) = (handle.wire.clone(), handle.content.len() as u64, handle.append);
        let offset = match (append, dice.below(14)) {
            (true, _) | (_, 0..=7) => end,
            (_, 8..=9) => dice.below(end + 1),
            (_, 10) => end + dice.below(scale / 4 + 1),
            (_, 11) => end + dice.below(2 * scale),
            _ => end.saturating_sub(dice.below(scale)),
        };
        let length = match dice.below(4) {
            0 => 1 + dice.below(200),
            1 => scale.min(65_536),
            _ => 1 + dice.below(scale),
        };
        // Who jumps mostly comes back, and who was cut off goes on to the end.
        let owed = handle.content.due as u64 - end;
        let (offset, length) = match (handle.content.gap(), append, dice.below(8)) {
            (Some((from, to)), false, 0..=4) => (from, (to - from).min(200_000)),
            (_, _, 5..=7) if owed > 0 => (end, owed.min(200_000)),
            _ => (offset, length),
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
        handle.touched = true;
        handle.content.write(offset as usize, &bytes);
        self.remember();
    }

    async fn truncates(&mut self, dice: &mut Dice) {
        let handle = self.open.as_ref().unwrap();
        let (wire, end) = (handle.wire.clone(), handle.content.len() as u64);
        let size = match dice.below(6) {
            0..=1 => end + dice.below(self.scale),
            2 => end,
            _ => dice.below(end + 1),
        };
        self.story.push(format!("fsetstat size {size}"));
        let body = [&text(&wire)[..], &1u32.to_be_bytes(), &size.to_be_bytes()].concat();
        let code = self.client().ask(10, &body).await.code();
        let handle = self.open.as_mut().unwrap();
        if code != OK {
            handle.spoiled = true;
            return;
        }
        if size != end {
            handle.touched = true;
            handle.content.set(size as usize);
            handle.declared = size as usize;
        }
        self.remember();
    }

    fn remember(&mut self) {
        let handle = self.open.as_ref().unwrap();
        let draft = Draft { content: handle.content.clone(), closed: false };
        self.names.get_mut(handle.name).unwrap().draft = Some(draft);
    }

    async fn closes(&mut self) {
        let handle = self.open.take().unwrap();
        self.story.push(format!("close {}", handle.name));
        let reply = self.client().close(&handle.wire).await;
        if reply.code() == OK {
            assert!(!handle.spoiled, "what was refused was closed with OK");
            if handle.name.ends_with(".part") {
                let lost = handle.before.is_some_and(|draft| !draft.closed) && !handle.touched;
                assert!(!lost, "a lost draft was closed, and nothing was sent");
                *self.draft(handle.name) = Some(Draft { content: handle.content, closed: true });
            } else {
                self.is_accepted(handle.name, handle.content).await;
            }
            return;
        }
        self.story.push(format!("  refused: {}", reply.message()));
        if handle.nameless {
            return self.settles(handle.name).await;
        }
        // A draft that was gone on with stays what it was, if nothing was written; and as after a loss, if not all was that a
        // loss before took. Else it was rejected, and is gone.
        let (touched, spoiled, due) = (handle.touched, handle.spoiled, handle.content.due);
        if handle.before.as_ref().is_some_and(|draft| !touched || spoiled || !draft.closed) {
            return self.is_cut_off(handle, due).await;
        }
        *self.draft(handle.name) = None;
        assert!(!self.is_a_draft(handle.name), "{} is a draft still", handle.name);
    }

    /// The ledger has one more accepted upload, and that is it.
    async fn is_accepted(&mut self, name: &'static str, content: Content) {
        assert_eq!(content.gap(), None, "{name} was accepted with a gap");
        assert!(content.len() >= content.due, "{name} was accepted with {} of {} bytes", content.len(), content.due);
        let content = content.bytes;
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
        let (from, to) = match dice.below(3) {
            0 => (NAMES[dice.below(3) as usize], NAMES[dice.below(3) as usize]),
            _ => (NAMES[2], NAMES[dice.below(2) as usize]),
        };
        self.story.push(format!("rename {from} {to}"));
        let reply = self.client().ask(18, &[text(from), text(to)].concat()).await;
        if reply.code() != OK {
            self.story.push(format!("  refused: {}", reply.message()));
            let unfit = |draft: &Draft| draft.content.gap().is_some() || draft.content.len() == 0;
            if self.is_a_draft(from) || !self.draft(from).as_ref().is_some_and(unfit) {
                self.settles(from).await;
            } else {
                // It was judged, and is gone.
                *self.draft(from) = None;
            }
            return;
        }
        assert!(self.open.as_ref().is_none_or(|handle| handle.name != from), "an open file was renamed");
        if let Some(handle) = self.open.as_mut().filter(|handle| handle.name == to) {
            // As with a plain file: what is written to it now stands under no name.
            (handle.spoiled, handle.nameless) = (true, true);
        }
        let draft = self.draft(from).take().expect("only drafts are renamed");
        if to.ends_with(".part") {
            *self.draft(to) = Some(draft);
        } else {
            assert!(draft.closed, "{from} was not closed, and became {to}");
            self.is_accepted(to, draft.content).await;
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
            (handle.spoiled, handle.nameless) = (true, true);
        }
    }

    async fn cuts_by_path(&mut self, dice: &mut Dice) {
        let name = Self::name(dice);
        let length = self.shown(name).unwrap_or(0) as u64;
        let size = match dice.below(4) {
            0 => 0,
            1 => length,
            _ => dice.below(length + 1),
        };
        self.story.push(format!("setstat {name} size {size}"));
        let body = [&text(name)[..], &1u32.to_be_bytes(), &size.to_be_bytes()].concat();
        if self.client().ask(9, &body).await.code() != OK {
            return;
        }
        let shown = self.shown(name).expect("only what is there is cut") as u64;
        match self.draft(name) {
            _ if size == shown => {}
            Some(draft) => draft.content.set(size as usize),
            none => {
                assert_eq!(size, 0, "an accepted file was cut");
                *none = Some(Draft { content: Content::default(), closed: false });
            }
        }
    }

    /// A second session opens what the first still writes.
    async fn opens_again(&mut self, dice: &mut Dice) {
        let Some(handle) = self.open.as_ref().filter(|handle| !handle.nameless) else { return };
        let (name, mut content) = (handle.name, handle.content.clone());
        let flags = [WRITE, WRITE | CREAT | APPEND, WRITE | CREAT | TRUNC][dice.below(3) as usize];
        self.story.push(format!("a second session opens {name} {flags:#x}"));
        let upload = self.upload(name);
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
        let mut before = None;
        let old = self.open.take().unwrap();
        if flags & TRUNC != 0 {
            content = Content::default();
        } else if upload != self.upload(name) {
            // Nothing was kept of it: it begins anew.
            content = Content::default();
            content.set(size);
        } else if old.touched {
            content.shows(size);
            before = Some(Draft { content: content.clone(), closed: false });
        } else {
            assert_eq!(size, content.len(), "a draft that nothing was written to");
            before = old.before;
        }
        if let Some(mut first) = self.client.replace(second)
            && flags & TRUNC == 0
        {
            // Otherwise these are two uploads of one name: the first is not closed, and goes with its session.
            assert_ne!(first.write(&old.wire, 0, b"late").await.code(), OK, "what was taken over was written");
        }
        *self.draft(name) = Some(before.clone().unwrap_or(Draft { content: content.clone(), closed: false }));
        let (append, declared, touched) = (flags & APPEND != 0, content.due, before.is_none());
        self.open =
            Some(Handle { wire, name, content, append, spoiled: false, nameless: false, touched, before, declared });
        self.idle(1).await;
    }

    async fn loses_the_connection(&mut self) {
        self.story.push("the connection is lost".into());
        self.client = None;
        let lost = self.open.take();
        self.idle(0).await;
        self.client = Some(self.house.client("nightly").await);
        if let Some(handle) = lost {
            let due = handle.content.due;
            self.is_cut_off(handle, due).await;
        }
    }

    async fn is_killed(&mut self, dice: &mut Dice) {
        self.story.push("killed".into());
        let lost = self.open.take();
        if let Some(handle) = lost.as_ref().filter(|_| dice.below(2) == 0) {
            self.story.push("  after fsync".into());
            let _ = self.client().ask(200, &[text("fsync@openssh.com"), text(&handle.wire)].concat()).await;
        }
        // So that no worker of the old one is at it any more.
        self.house.services.intake.workers_rest().await;
        std::mem::forget(self.client.take());
        self.house.restart().await;
        self.client = Some(self.house.client("nightly").await);
        let name = lost.as_ref().map(|handle| handle.name);
        if let Some(handle) = lost {
            let due = handle.declared;
            self.is_cut_off(handle, due).await;
        }
        for other in NAMES.into_iter().filter(|other| Some(*other) != name) {
            self.settles(other).await;
        }
    }

    /// What a session wrote that is gone: less of it than there was is kept, or nothing; what it only opened is what it was.
    async fn is_cut_off(&mut self, handle: Handle, due: usize) {
        let Handle { name, mut content, touched, before, nameless, .. } = handle;
        if nameless {
            return self.settles(name).await;
        }
        if let (Some(before), false) = (before, touched) {
            // One that nothing is kept of may go.
            let empty = before.content.len() == 0 && !before.closed && !self.is_a_draft(name);
            *self.draft(name) = Some(before).filter(|_| !empty);
            return self.settles(name).await;
        }
        if !self.is_a_draft(name) {
            *self.draft(name) = None;
            return;
        }
        let size = self.client().stat(name).await.size() as usize;
        content.shows(size);
        content.due = due.max(size);
        *self.draft(name) = Some(Draft { content, closed: false });
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

    /// The upload that is no accepted file under that name.
    fn upload(&self, name: &str) -> Option<UploadId> {
        let (org, place) = (&"harbour".parse().unwrap(), &crate::types::Place::Dataset("notes".parse().unwrap()));
        let listed = self.house.services.intake.drafts(org, place);
        listed.iter().find(|view| name.ends_with(&format!("/{}", view.name))).map(|view| view.upload)
    }

    fn is_a_draft(&self, name: &str) -> bool {
        self.upload(name).is_some()
    }

    /// What waited is what it was.
    async fn settles(&mut self, name: &'static str) {
        if self.open.as_ref().is_some_and(|handle| handle.name == name && handle.spoiled) {
            return;
        }
        let size = self.shown(name);
        let stat = self.client().stat(name).await;
        assert_eq!((stat.kind == 105).then(|| stat.size() as usize), size, "STAT of {name}");
        assert_eq!(self.is_a_draft(name), self.draft(name).is_some(), "whether {name} is a draft");
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
            let size = self.shown(name).map(|size| size as u64);
            let stat = self.client().stat(name).await;
            let told = (stat.kind == 105).then(|| stat.size());
            assert_eq!(told, size, "STAT of {name}");
        }
    }
}

/// One sequence: how many were accepted by it, and the losses.
async fn sequence(seed: u64) -> (u64, u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let scale = [300, 5_000, 200_000, 200_000][dice.below(4) as usize];
    let mut model = Model::new(scale).await;
    for step in 0..40 {
        let mut next = Box::pin(model.step(&mut dice));
        let outcome = Caught(std::panic::AssertUnwindSafe(&mut next)).await;
        drop(next);
        if let Err(panic) = outcome {
            println!("NIGHTSAFE_TEST_SEED={seed}, step {step}:\n  {}", model.story.join("\n  "));
            std::panic::resume_unwind(panic);
        }
    }
    assert_eq!(model.house.services.ledger.verify(crate::ledger::testing::believing()).await.unwrap().findings, []);
    let lost = model.story.iter().filter(|line| line.starts_with("the connection") || *line == "killed");
    (model.known.len() as u64, lost.count() as u64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_sequence_gives_what_a_plain_file_would_have_given_or_a_refusal() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let cases = number("NIGHTSAFE_MODEL_CASES").unwrap_or(100);
    let first = number("NIGHTSAFE_TEST_SEED").unwrap_or(1);
    // Most of a sequence's time is spent waiting for the disk.
    let (mut seeds, mut running) = (first..first + cases, tokio::task::JoinSet::new());
    let (mut accepted, mut lost) = (0, 0);
    loop {
        while running.len() < 8
            && let Some(seed) = seeds.next()
        {
            running.spawn(sequence(seed));
        }
        let Some(done) = running.join_next().await else { break };
        let (more, losses) = done.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
        (accepted, lost) = (accepted + more, lost + losses);
    }
    println!("{cases} sequences: {accepted} accepted, {lost} connections lost or kills");
    assert!(accepted * 2 >= cases, "too few were accepted: the model showed little");
}
