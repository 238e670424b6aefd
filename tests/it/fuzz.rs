//! The fuzz campaign: SFTP streams that are nearly right. Valid requests are made, then bent (flipped bits, lying lengths,
//! cut and spliced packets), and sent by a provider and by a loader through real sessions to the real daemon.
//!
//! Everything sent is read here by a second, simple reader (`stream`), which knows what may have been accepted: only what a
//! handle was given before its CLOSE, as a plain file, without a gap. Of the few drafts that were gone on with by another
//! handle each byte must have been sent for its place. `NIGHTSAFE_FUZZ_CASES` sets the number of cases (300 unless said
//! otherwise); `tests/campaign fuzz --cases 20000` runs the long one.

mod bends;
mod requests;
mod stream;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use nightsafe::audit::Verdict;

use crate::harness::{
    Client, Dice, Gateway, PATIENCE, Raw, Reply, Setup, code, csv, digest, eventually, files_under, flag, kind,
    open_with_library, opened, packet, string,
};
use crate::loading::{claim_one, text};
use bends::{bend, bend_bytes};
use requests::{Held, QUESTIONS, READDIR, any_path, numbered, opening, request, writing};
use stream::{Known, Stand, Stream, number, text_field};

/// The daemon's resident memory may never have been above this.
const MEMORY: u64 = 128 << 20;
/// A healthy session that starts while the fuzzer is at work has its upload accepted within this.
const HEALTHY: Duration = Duration::from_secs(30);
/// Cases between two healthy sessions.
const HEALTH_EVERY: u64 = 25;
/// Cases that one session may live through.
const SESSION_CASES: u32 = 24;
/// Sessions of one account that are on their way, so that their handshakes cost no time.
const AHEAD: usize = 3;

#[test]
fn bent_streams_end_their_own_session_at_worst_and_nothing_is_accepted_but_what_was_put_whole() {
    let cases = std::env::var("NIGHTSAFE_FUZZ_CASES").map_or(300, |text| text.parse().expect("a number of cases"));
    let mut dice = Dice::new();
    let mut gateway = Gateway::start(Setup::new());
    gateway.may_hold_leases = true;
    let mut healthy = Healthy::default();
    healthy.puts(&gateway);
    let claimed = claim_one(&gateway.loader(), "");
    let queue = vec![text(&claimed, "object"), text(&claimed, "manifest"), "/queue".to_owned(), "/help.txt".to_owned()];

    let mut provider = Fuzzer::new(gateway.harbour(), provider_paths());
    let mut loader = Fuzzer::new(gateway.loader(), queue);
    for case in 1..=cases {
        // Each case has dice of its own, so that what one does not ask for changes none after it.
        let mut own = Dice::seeded(dice.within(1..u64::MAX >> 1));
        match own.within(0..10) {
            0..2 => provider.puts(&mut own),
            2..8 => provider.bends(&mut own),
            _ => loader.bends(&mut own),
        }
        assert!(!gateway.has_ended(), "the daemon died in case {case}");
        if case % HEALTH_EVERY == 0 {
            healthy.puts(&gateway);
        }
        if case % 1_000 == 0 {
            provider.clears_drafts();
            println!("case {case}: peak resident memory {} KiB", gateway.peak_memory() / 1024);
        }
    }
    loader.ends();
    provider.ends();
    provider.clears_drafts();
    provider.ends();
    healthy.puts(&gateway);
    eventually("an empty spool", || files_under(&gateway.path("state/spool")).is_empty().then_some(()));

    let peak = gateway.peak_memory();
    let accepted = verify(&gateway, &provider, &healthy);
    println!(
        "{cases} cases: {accepted} uploads accepted, {} of them promised; {} sessions were ended; peak resident memory {} KiB",
        provider.promised.len(),
        provider.broken + loader.broken,
        peak / 1024
    );
    assert!(provider.promised.len() as u64 >= cases / 20, "too few clean uploads: the campaign showed little");
    assert!(provider.broken > 0 && provider.survived > 0, "the cases are all of one kind");
    assert!(peak < MEMORY, "peak resident memory {peak} bytes");
    gateway.settle();
}

/// Compares the ledger with what the fuzzer knows; returns how many uploads were accepted.
fn verify(gateway: &Gateway, provider: &Fuzzer, healthy: &Healthy) -> usize {
    let mut accepted: BTreeMap<(String, String), u64> = BTreeMap::new();
    let rows: Vec<_> = gateway.uploads().into_iter().filter(|row| row.receipt.verdict == Verdict::Accepted).collect();
    for row in &rows {
        let (org, sum) = (row.receipt.organisation.to_string(), row.receipt.sha256.to_string());
        *accepted.entry((org.clone(), sum)).or_default() += 1;
        let name = row.receipt.name.as_str();
        assert!(
            org == "meadow" || provider.known.names.contains(name.as_bytes()),
            "nobody ever sent the name {name:?}"
        );
    }
    let mut gone_on = 0;
    for ((org, sum), count) in &accepted {
        let known = if org == "harbour" { &provider.known.whole } else { &healthy.whole };
        let may = known.get(sum).copied().unwrap_or(0);
        if *count > may && org == "harbour" {
            let row = rows.iter().find(|row| row.receipt.sha256.to_string() == *sum).unwrap();
            let file = opened(&gateway.object(&row.receipt.upload.to_string()), org);
            let name = row.receipt.name.as_str();
            assert!(provider.known.explains(&file), "{name} ({sum}) was accepted with bytes that nobody sent there");
            gone_on += count - may;
            continue;
        }
        assert!(*count <= may, "{sum} of {org} was accepted {count} times, and put whole {may} times");
    }
    println!("{gone_on} of {} were drafts that another handle went on with", rows.len());
    assert!(gone_on * 20 <= rows.len() as u64 + 40, "the reader could not follow {gone_on} of {}", rows.len());
    for sum in &provider.promised {
        assert!(accepted.contains_key(&("harbour".to_owned(), sum.clone())), "{sum} was answered OK and is lost");
    }
    for sum in healthy.whole.keys() {
        assert!(accepted.contains_key(&("meadow".to_owned(), sum.clone())), "{sum} was answered OK and is lost");
    }
    // Some of them opened too: to open thousands would take longer than all else.
    for row in rows.iter().step_by(rows.len() / 50 + 1) {
        let object = gateway.object(&row.receipt.upload.to_string());
        let opened = open_with_library(&object, row.receipt.organisation.as_str());
        assert_eq!(opened, row.receipt.sha256.to_string(), "{} opens to something else", row.receipt.name.as_str());
    }
    rows.len()
}

// -- the bystander --

/// Uploads of another organisation, each in a fresh session.
#[derive(Default)]
struct Healthy {
    count: u64,
    whole: BTreeMap<String, u64>,
}

impl Healthy {
    fn puts(&mut self, gateway: &Gateway) {
        self.count += 1;
        let content = csv(5_000, self.count);
        let begun = Instant::now();
        let mut session = gateway.meadow().session();
        let handle = session.create(&format!("/healthy-{}.csv", self.count % 20));
        session.write(&handle, 0, &content).unwrap();
        assert_eq!(session.close(&handle).code, code::OK);
        assert!(begun.elapsed() < HEALTHY, "a healthy session took {:?}", begun.elapsed());
        *self.whole.entry(digest(&content)).or_default() += 1;
    }
}

// -- the fuzzer --

/// Kinds of replies: VERSION, STATUS to ATTRS, EXTENDED_REPLY.
const REPLIES: [u8; 7] = [kind::VERSION, 101, 102, 103, 104, 105, 201];

/// Few names, so that listings stay short; of every kind that the tree knows.
fn provider_paths() -> Vec<String> {
    let mut paths: Vec<String> =
        ["/", "/receipts", "/help.txt", "/interventions", "/bulk", "/nowhere/x.csv", ".", ".."]
            .map(str::to_owned)
            .into();
    for number in 0..6 {
        paths.extend([format!("/f{number}.csv"), format!("/interventions/g{number}.csv"), format!("/bulk/h{number}")]);
        paths.extend([format!("/f{number}.csv.part"), format!("/bulk/.in.h{number}.")]);
    }
    paths
}

struct Live {
    raw: Raw,
    stream: Stream,
    cases: u32,
    next: u32,
}

/// One account's sessions, one after another.
struct Fuzzer {
    client: Client,
    paths: Vec<String>,
    ahead: VecDeque<Raw>,
    live: Option<Live>,
    known: Known,
    /// Digests of uploads that were answered OK.
    promised: Vec<String>,
    contents: u64,
    broken: u64,
    survived: u64,
}

impl Fuzzer {
    fn new(client: Client, paths: Vec<String>) -> Self {
        let (ahead, known) = (VecDeque::new(), Known::default());
        Self { client, paths, ahead, live: None, known, promised: Vec::new(), contents: 0, broken: 0, survived: 0 }
    }

    /// A session past INIT: the one of the last case if it lives.
    fn ready(&mut self) {
        if self.live.as_ref().is_some_and(|live| live.cases >= SESSION_CASES) {
            self.finish();
        }
        if self.live.is_none() {
            while self.ahead.len() < AHEAD {
                self.ahead.push_back(self.client.raw());
            }
            let mut raw = self.ahead.pop_front().unwrap();
            raw.try_init().expect("a fresh session is let in");
            self.live = Some(Live { raw, stream: Stream::default(), cases: 0, next: 1 });
        }
        self.live.as_mut().unwrap().cases += 1;
    }

    fn content(&mut self, dice: &mut Dice) -> Vec<u8> {
        self.contents += 1;
        let size = if dice.within(0..20) == 0 { 300_000 } else { dice.within(128..20_000) };
        csv(size as usize, self.contents)
    }

    /// Sends what is right, and waits for its answer.
    fn ask(&mut self, kind: u8, fields: &[u8]) -> Reply {
        let live = self.live.as_mut().unwrap();
        let id = QUESTIONS + live.next;
        live.next += 1;
        let bytes = packet(kind, &[&id.to_be_bytes(), fields].concat());
        assert_eq!(live.stream.read(&bytes, &mut self.known), Stand::Between);
        live.raw.send(&bytes).expect("a session that answered lives");
        loop {
            let reply = live.raw.next_reply().expect("a session that answered lives");
            if reply.id == id {
                return reply;
            }
        }
    }

    /// A clean upload among the bent ones, some of its WRITEs out of order; under a working name, a rename follows.
    fn puts(&mut self, dice: &mut Dice) {
        self.ready();
        let number = dice.within(0..30);
        let name = format!("/clean{number}.csv");
        let working = if dice.within(0..3) == 0 { format!("{name}.part") } else { name.clone() };
        let content = self.content(dice);
        let flags = flag::WRITE | flag::CREATE | flag::TRUNCATE;
        // Refused when bent requests left the session without handles: then another session takes the next.
        let Ok(handle) = self.ask(kind::OPEN, &opening(working.as_bytes(), flags)).handle() else {
            self.finish();
            return;
        };
        let mut parts = Vec::new();
        let mut at = 0;
        while at < content.len() {
            let end = (at + dice.within(1..40_000) as usize).min(content.len());
            parts.push((at, end));
            at = end;
        }
        let last = parts.len() - 1;
        if last > 0 && dice.within(0..2) == 0 {
            parts.swap(last - 1, last);
        }
        for (start, end) in parts {
            let written = self.ask(kind::WRITE, &writing(&handle, start as u64, &content[start..end])).status();
            assert_eq!(written.code, code::OK, "{working}: {written:?}");
        }
        let closed = self.ask(kind::CLOSE, &string(&handle)).status();
        assert_eq!(closed.code, code::OK, "{working}: {closed:?}");
        if working != name {
            let renamed =
                self.ask(kind::RENAME, &[string(working.as_bytes()), string(name.as_bytes())].concat()).status();
            assert_eq!(renamed.code, code::OK, "{working}: {renamed:?}");
        }
        self.promised.push(digest(&content));
    }

    /// Some handles, then a bent stream; then the session answers still, or it ends.
    fn bends(&mut self, dice: &mut Dice) {
        self.ready();
        let mut held = Vec::new();
        for _ in 0..dice.within(0..3) {
            let path = any_path(dice, &self.paths);
            let (kind, fields) = match dice.within(0..4) {
                0 => (kind::OPENDIR, string(&path)),
                1 => (kind::OPEN, opening(&path, flag::READ)),
                _ => (kind::OPEN, opening(&path, flag::WRITE | flag::CREATE | flag::TRUNCATE)),
            };
            if let Ok(handle) = self.ask(kind, &fields).handle() {
                held.push(Held { handle, content: self.content(dice), at: 0 });
            }
        }
        let mut packets: Vec<_> = (0..dice.within(1..14)).map(|_| request(dice, &self.paths, &mut held)).collect();
        // Most uploads are brought to their end, so that what is bent could be accepted.
        for held in &mut held {
            while dice.within(0..8) > 0 && held.at < held.content.len() {
                let fields = held.next(dice);
                packets.push(numbered(dice, kind::WRITE, &fields));
            }
            packets.push(numbered(dice, kind::CLOSE, &string(&held.handle)));
        }
        let mut bytes = packets.concat();
        if dice.within(0..10) > 0 {
            for _ in 0..dice.within(0..3) {
                bend(dice, &mut packets);
            }
            bytes = packets.concat();
            for _ in 0..dice.within(0..3) {
                bend_bytes(dice, &mut bytes);
            }
        }
        self.sends(dice, &bytes);
    }

    fn sends(&mut self, dice: &mut Dice, bytes: &[u8]) {
        let live = self.live.as_mut().unwrap();
        let stand = live.stream.read(bytes, &mut self.known);
        let cut = dice.within(0..bytes.len() as u64 + 1) as usize;
        // A failing send is fine: the gateway ended the session at what came before.
        let sent = live.raw.send(&bytes[..cut]).and_then(|()| live.raw.send(&bytes[cut..]));
        if sent.is_ok() && stand == Stand::Between {
            let id = QUESTIONS + live.next;
            live.next += 1;
            let question = packet(kind::REALPATH, &[&id.to_be_bytes()[..], &string(b"/")].concat());
            assert_eq!(live.stream.read(&question, &mut self.known), Stand::Between);
            live.raw.send(&question).ok();
            while let Some(reply) = live.raw.next_reply() {
                assert!(REPLIES.contains(&reply.kind), "not a reply: {reply:?}");
                if reply.id == id {
                    self.survived += 1;
                    return;
                }
            }
        } else if stand == Stand::Inside {
            if dice.within(0..4) == 0 { live.raw.kill() } else { live.raw.close_input() }
        }
        // A length that no packet has ends the session though its client waits.
        live.raw.await_end_within(PATIENCE);
        self.broken += 1;
        self.live = None;
    }

    /// Ends the session at hand, as a client that is done does.
    fn finish(&mut self) {
        if let Some(mut live) = self.live.take() {
            live.raw.close_input();
            live.raw.await_end();
        }
    }

    /// Ends every session.
    fn ends(&mut self) {
        self.finish();
        self.ahead.clear();
    }

    /// Removes what bent uploads left under working names: all of it that is listed, by the names that the gateway gives.
    fn clears_drafts(&mut self) {
        self.finish();
        self.ready();
        for directory in ["/", "/interventions/", "/bulk/", "/outreach/"] {
            let handle = self.ask(kind::OPENDIR, &string(directory.as_bytes())).handle().unwrap();
            let mut names = Vec::new();
            loop {
                let page = self.ask(READDIR, &string(&handle));
                if page.kind != kind::NAME {
                    break;
                }
                names.extend(names_of(&page));
            }
            self.ask(kind::CLOSE, &string(&handle));
            for name in names {
                // What was accepted is refused, and directories are.
                self.ask(kind::REMOVE, &string(&[directory.as_bytes(), &name].concat()));
            }
        }
    }
}

/// The names of a READDIR's answer.
fn names_of(page: &Reply) -> Vec<Vec<u8>> {
    let mut fields = &page.body[..];
    let count = number(&mut fields).unwrap();
    (0..count)
        .map(|_| {
            let name = text_field(&mut fields).unwrap().to_vec();
            text_field(&mut fields).unwrap();
            // Size, owner and group, mode, two times: all there, as this gateway says.
            assert_eq!(number(&mut fields), Some(0xf));
            fields = &fields[8 + 8 + 4 + 8..];
            name
        })
        .collect()
}
