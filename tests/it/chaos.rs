//! The chaos campaign: connections cut at random bytes, clients that go on, and a daemon that dies with SIGKILL now and then.
//! Every accepted upload is its source, whole; no pair of key and nonce sealed twice; no plaintext on the disk.
//!
//! `NIGHTSAFE_CHAOS_UPLOADS` sets the number of uploads (12 unless said otherwise); `tests/campaign chaos` runs 500.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nightsafe::audit::{Kind, Verdict};
use nightsafe::ledger::Filter;

use crate::harness::{
    Client, Dice, Gateway, PATIENCE, Proxy, Raw, Sealed, Setup, code, csv, digest, files_under, find_bytes, flag,
    fresh_dir, keys, kind, open_with_age, open_with_library, string,
};

/// Clients at once.
const CLIENTS: usize = 3;
/// Attempts that one upload gets: far more than it ever takes.
const ATTEMPTS: usize = 400;
/// Kills during a short run: on a machine where a login takes as long as the time between two, nothing would come through.
const KILLS: usize = 40;
/// Stands in every row of the content.
const MARK: &[u8] = b"-03-01,visit,row 0";

#[test]
fn whatever_breaks_what_is_accepted_is_what_was_sent() {
    let uploads =
        std::env::var("NIGHTSAFE_CHAOS_UPLOADS").map_or(12, |text| text.parse().expect("a number of uploads"));
    let long = uploads > 100;
    let mut dice = Dice::new();
    let mut gateway = Gateway::start(Setup::new().in_memory().limits("sessions_per_account = 1000"));
    let (seed, most) = (dice.within(1..u64::MAX >> 1), if long { 8_000_000 } else { 2_000_000 });
    let proxy = Proxy::start(gateway.port(), seed, most);
    let client = Client::new("harbour-nightly", &keys().ssh("harbour"), &gateway.known_hosts(), proxy.port());
    let sizes: Vec<usize> = (0..uploads).map(|_| size(&mut dice, long)).collect();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let seeds: Vec<u64> = (0..CLIENTS).map(|_| dice.within(1..u64::MAX >> 1)).collect();
    let state = gateway.path("state/ledger.sqlite");
    let (mut sealed, mut kills, began) = (Sealed::default(), 0, Instant::now());

    let attempts: usize = std::thread::scope(|scope| {
        let (next, done, client, sizes, state) = (&next, &done, &client, &sizes, &state);
        let clients: Vec<_> = seeds
            .into_iter()
            .map(|seed| {
                scope.spawn(move || {
                    let (mut dice, mut attempts) = (Dice::seeded(seed), 0);
                    loop {
                        let number = next.fetch_add(1, Ordering::SeqCst);
                        let Some(size) = sizes.get(number) else { return attempts };
                        attempts += Upload::new(number, *size, client, state).comes_through(&mut dice);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        while done.load(Ordering::SeqCst) < uploads && clients.iter().any(|client| !client.is_finished()) {
            // Random is the point here: the moment of the kill is what varies.
            std::thread::sleep(Duration::from_millis(dice.within(300..if long { 4_000 } else { 800 })));
            if kills >= KILLS && !long {
                continue;
            }
            gateway.kill();
            kills += 1;
            sealed.look(&gateway.path("state"), &gateway.runtime().join("spool.key"));
            for file in files_under(&gateway.path("state/spool")) {
                assert!(!find_bytes(&file, MARK), "plaintext in {}", file.display());
            }
            gateway.launch();
            proxy.leads_to(gateway.port());
        }
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });

    sealed.look_again(&gateway.path("state"), &gateway.runtime().join("spool.key"));
    let resumed = gateway.events_of(Kind::DraftResumed).len();
    println!(
        "{uploads} uploads, {} bytes: {attempts} attempts, {} connections cut, {kills} kills, {resumed} resumptions, {} files \
         and {} chunks compared, in {:?}",
        sizes.iter().sum::<usize>(),
        proxy.cuts(),
        sealed.files(),
        sealed.chunks(),
        began.elapsed()
    );
    let accepted = verify(&gateway, &sizes);
    assert_eq!(accepted.len(), uploads, "not every upload was accepted");
    assert!(proxy.cuts() > 0 && kills > 0 && resumed > 0, "nothing broke: the campaign showed nothing");
    for file in files_under(&gateway.path("state")) {
        assert!(!find_bytes(&file, MARK), "plaintext in {}", file.display());
    }
    gateway.settle();
}

/// Mostly small, a few large: up to 50 MB in the long campaign.
fn size(dice: &mut Dice, long: bool) -> usize {
    let bytes = match (dice.within(0..10), long) {
        (0..4, true) => dice.within(200..400_000),
        (4..8, true) | (_, false) => dice.within(400_000..4_000_000),
        (8, true) => dice.within(4_000_000..15_000_000),
        (_, true) => dice.within(15_000_000..50_000_000),
    };
    bytes as usize
}

fn name(number: usize) -> String {
    format!("extract-{number}.csv")
}

/// Every accepted row has its source's digest, and its object opens to that. Returns how often each was accepted.
fn verify(gateway: &Gateway, sizes: &[usize]) -> BTreeMap<String, usize> {
    let mut accepted = BTreeMap::new();
    for row in gateway.uploads().iter().filter(|row| row.receipt.verdict == Verdict::Accepted) {
        let receipt = &row.receipt;
        let number: usize = receipt.name.as_str()["extract-".len()..].strip_suffix(".csv").unwrap().parse().unwrap();
        let sha256 = digest(&csv(sizes[number], number as u64));
        assert_eq!(receipt.sha256.to_string(), sha256, "{} was accepted as something else", receipt.name.as_str());
        let object = gateway.object(&receipt.upload.to_string());
        assert_eq!(open_with_library(&object, "harbour"), sha256, "{}", receipt.name.as_str());
        if number.is_multiple_of(10) {
            assert_eq!(open_with_age(&object, &keys().identity("harbour")), sha256, "{}", receipt.name.as_str());
        }
        *accepted.entry(receipt.name.as_str().to_owned()).or_default() += 1;
    }
    accepted
}

/// One file on its way, with a client that does not give up.
struct Upload<'a> {
    name: String,
    content: Vec<u8>,
    client: &'a Client,
    ledger: &'a Path,
}

impl<'a> Upload<'a> {
    fn new(number: usize, size: usize, client: &'a Client, ledger: &'a Path) -> Self {
        Self { name: name(number), content: csv(size, number as u64), client, ledger }
    }

    /// Tries until it is accepted; returns the number of attempts.
    fn comes_through(&self, dice: &mut Dice) -> usize {
        let dir = fresh_dir("chaos");
        let file = dir.path().join("content");
        std::fs::write(&file, &self.content).unwrap();
        let way = dice.within(0..3);
        for attempt in 1..=ATTEMPTS {
            let through = match way {
                0 => self.by_sftp(&file, attempt),
                1 => self.by_working_name(&file, attempt),
                _ => self.by_odd_writes(dice).is_some(),
            };
            // The answer may have been lost on the way.
            if through || self.is_accepted() {
                return attempt;
            }
        }
        panic!("{} did not come through in {ATTEMPTS} attempts", self.name);
    }

    fn is_accepted(&self) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let ledger = nightsafe::ledger::Ledger::open_to_read(self.ledger).unwrap();
            let uploads =
                ledger.uploads(&Filter { verdict: Some(Verdict::Accepted), ..Filter::default() }).await.unwrap();
            ledger.close().await.unwrap();
            uploads.iter().any(|row| row.receipt.name.as_str() == self.name)
        })
    }

    /// `put`, then `reput` as often as it takes; `put` again now and then, for a draft may be lost before its first chunk.
    fn by_sftp(&self, file: &Path, attempt: usize) -> bool {
        let verb = if attempt % 10 == 1 { "put" } else { "reput" };
        self.client.sftp(&format!("{verb} {} /{}\n", file.display(), self.name)).succeeded()
    }

    fn by_working_name(&self, file: &Path, attempt: usize) -> bool {
        let part = format!("/{}.part", self.name);
        let verb = if attempt % 10 == 1 { "put" } else { "-reput" };
        // A reput of a draft that is whole is an error to sftp; then only the rename is missing.
        let batch = format!("{verb} {} {part}\nrename {part} /{}\n", file.display(), self.name);
        self.client.sftp(&batch).succeeded()
    }

    /// Goes on where the size says, but rewinds, jumps and writes twice.
    fn by_odd_writes(&self, dice: &mut Dice) -> Option<()> {
        let mut session = self.client.raw();
        session.try_init()?;
        let path = format!("/{}", self.name);
        let stat = session.try_request(kind::STAT, &string(path.as_bytes()))?;
        // ATTRS: flags, then the size.
        let size = (stat.kind == 105).then(|| u64::from_be_bytes(stat.body[4..12].try_into().unwrap()) as usize);
        let anew = flag::WRITE | flag::CREATE | flag::TRUNCATE;
        let (flags, from) = match size {
            Some(size) if size < self.content.len() && dice.within(0..20) > 0 => (flag::WRITE, size),
            _ => (anew, 0),
        };
        let open = [string(path.as_bytes()), flags.to_be_bytes().to_vec(), vec![0; 4]].concat();
        let handle = session.try_request(kind::OPEN, &open)?.handle().ok()?;
        let mut from = from.saturating_sub(dice.within(0..200_000) as usize * usize::from(dice.within(0..2) == 0));
        if dice.within(0..3) == 0 {
            // The end first, far past the reorder window when it is long.
            let tail = from + (self.content.len() - from) / 2;
            self.writes(&mut session, &handle, tail, self.content.len())?;
            self.writes(&mut session, &handle, from, tail)?;
            from = tail;
        }
        self.writes(&mut session, &handle, from, self.content.len())?;
        let closed = session.try_request(kind::CLOSE, &string(&handle))?.status();
        (closed.code == code::OK).then_some(())
    }

    fn writes(&self, session: &mut Raw, handle: &[u8], from: usize, to: usize) -> Option<()> {
        let mut at = from;
        for piece in self.content[from..to].chunks(100_000) {
            let body = [&string(handle)[..], &(at as u64).to_be_bytes(), &string(piece)].concat();
            let written = session.try_request(kind::WRITE, &body)?.status();
            if written.code != code::OK {
                return None;
            }
            at += piece.len();
        }
        Some(())
    }
}

/// The proxy itself: what it cuts is cut, and what it lets through is unchanged.
#[test]
fn the_proxy_cuts_and_otherwise_changes_nothing() {
    use std::io::{Read, Write};
    let echo = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = echo.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in echo.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut &stream));
        }
    });
    let proxy = Proxy::start(port, 7, 8_000_000);
    let (mut whole, mut cut) = (0, 0);
    let deadline = Instant::now() + PATIENCE;
    while (whole == 0 || cut == 0) && Instant::now() < deadline {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        let sent: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        let mut back = vec![0; sent.len()];
        let mut reader = stream.try_clone().unwrap();
        let answer = std::thread::spawn(move || reader.read_exact(&mut back).map(|()| back));
        let written = stream.write_all(&sent);
        match (written, answer.join().unwrap()) {
            (Ok(()), Ok(back)) => {
                assert!(back == sent);
                whole += 1;
            }
            _ => cut += 1,
        }
    }
    assert!(whole > 0 && cut > 0 && proxy.cuts() >= cut);
}
