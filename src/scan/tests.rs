//! A scripted clamd that does wrong: none of it may come out as clean.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::*;

/// What the fake does with the connection that streams.
enum Act {
    /// Reads the stream to its end, then says this (NUL included).
    Says(&'static [u8]),
    /// Reads so many bytes, says this and closes.
    Stops(usize, &'static [u8]),
    /// Reads so many bytes, says this, and stays.
    Hangs(usize, &'static [u8]),
    /// Reads nothing; once nothing more comes, since there is no room for it, says this, and stays.
    Fills(&'static [u8]),
}

trait Both: Read + Write + AsFd + Send {}
impl<T: Read + Write + AsFd + Send> Both for T {}

/// Serves one scan on its own thread; gives the stream's content when it came whole.
fn serve(
    mut accept: impl FnMut() -> Box<dyn Both> + Send + 'static,
    version: &'static [u8],
    act: Act,
    over: Receiver<()>,
) -> JoinHandle<Option<Vec<u8>>> {
    std::thread::spawn(move || {
        let mut asks = accept();
        let mut command = [0; 9];
        asks.read_exact(&mut command).unwrap();
        assert_eq!(&command, b"zVERSION\0");
        asks.write_all(version).unwrap();
        drop(asks);
        let mut scan = accept();
        let mut command = [0; 10];
        scan.read_exact(&mut command).unwrap();
        assert_eq!(&command, b"zINSTREAM\0");
        match act {
            Act::Says(answer) => {
                let content = stream(&mut scan);
                scan.write_all(answer).unwrap();
                Some(content)
            }
            Act::Stops(bytes, answer) => {
                scan.read_exact(&mut vec![0; bytes]).unwrap();
                scan.write_all(answer).unwrap();
                None
            }
            Act::Fills(answer) => {
                let (mut waiting, mut same) = (0, 0);
                while same < 20 {
                    std::thread::sleep(Duration::from_millis(5));
                    let now = rustix::io::ioctl_fionread(&*scan).unwrap();
                    same = if now > 0 && now == waiting { same + 1 } else { 0 };
                    waiting = now;
                }
                scan.write_all(answer).unwrap();
                let _ = over.recv();
                None
            }
            Act::Hangs(bytes, answer) => {
                scan.read_exact(&mut vec![0; bytes]).unwrap();
                scan.write_all(answer).unwrap();
                // Until the test is over with it.
                let _ = over.recv();
                None
            }
        }
    })
}

fn stream(from: &mut impl Read) -> Vec<u8> {
    let mut content = Vec::new();
    loop {
        let mut length = [0; 4];
        from.read_exact(&mut length).unwrap();
        let length = u32::from_be_bytes(length) as usize;
        if length == 0 {
            return content;
        }
        let start = content.len();
        content.resize(start + length, 0);
        from.read_exact(&mut content[start..]).unwrap();
    }
}

struct Fake {
    settings: Settings,
    server: JoinHandle<Option<Vec<u8>>>,
    /// Dropped with the fake: a server that hangs ends.
    _over: Sender<()>,
    _dir: Option<tempfile::TempDir>,
}

const VERSION: &[u8] = b"ClamAV 1.4.3/27400/Mon Nov 17 09:26:00 2026\0";

fn settings(address: Address) -> Settings {
    Settings { address, max_size: 10 << 20, timeout: Duration::from_secs(10) }
}

fn fake(act: Act) -> Fake {
    fake_of(VERSION, act)
}

fn fake_of(version: &'static [u8], act: Act) -> Fake {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clamd.ctl");
    let listener = UnixListener::bind(&path).unwrap();
    let (over, ends) = channel();
    let server = serve(move || Box::new(listener.accept().unwrap().0), version, act, ends);
    Fake { settings: settings(Address::Path(path)), server, _over: over, _dir: Some(dir) }
}

fn fake_tcp(act: Act) -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (over, ends) = channel();
    let server = serve(move || Box::new(listener.accept().unwrap().0), VERSION, act, ends);
    Fake { settings: settings(Address::Tcp(address)), server, _over: over, _dir: None }
}

fn scan(settings: &Settings, bytes: &[u8], piece: usize) -> Result<Scanned, Unscanned> {
    let mut scan = Scan::begin(settings)?;
    for piece in bytes.chunks(piece) {
        if let Err(failed) = scan.push(piece) {
            assert_eq!(scan.push(b"more"), Err(failed.clone()), "it fails once and for all");
            return scan.finish(bytes.len() as u64);
        }
    }
    scan.finish(bytes.len() as u64)
}

#[track_caller]
fn unavailable(done: Result<Scanned, Unscanned>, detail: &str) {
    let unscanned = done.expect_err("it became a verdict");
    assert!(!unscanned.too_large && unscanned.detail.contains(detail), "{unscanned:?}");
    assert!(unscanned.reason.contains("send it again later"), "{unscanned:?}");
}

#[test]
fn everything_that_was_pushed_is_scanned_in_its_order() {
    let bytes: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    for piece in [1000, 32 << 10, 64 << 10, 1 << 20] {
        for fake in [fake(Act::Says(b"stream: OK\0")), fake_tcp(Act::Says(b"stream: OK\0"))] {
            let scanned = scan(&fake.settings, &bytes, piece).unwrap();
            assert_eq!((scanned.found, scanned.size), (None, bytes.len() as u64));
            assert_eq!((&*scanned.engine, &*scanned.signatures), ("ClamAV 1.4.3", "27400 Mon Nov 17 09:26:00 2026"));
            assert!(fake.server.join().unwrap().unwrap() == bytes);
        }
    }
}

#[test]
fn an_empty_file_is_scanned_too() {
    let fake = fake(Act::Says(b"stream: OK\0"));
    assert_eq!(scan(&fake.settings, b"", 1).unwrap().size, 0);
    assert_eq!(fake.server.join().unwrap().unwrap(), b"");
}

#[test]
fn what_is_found_is_named() {
    let fake = fake(Act::Says(b"stream: Test.Mark.UNOFFICIAL FOUND\0"));
    assert_eq!(scan(&fake.settings, b"x", 1).unwrap().found.as_deref(), Some("Test.Mark.UNOFFICIAL"));
}

#[test]
fn answers_that_are_no_clear_verdict_are_none() {
    for (answer, detail) in [
        (&b"stream: OK"[..], "before an answer; it had said"),
        (b"", "before an answer"),
        (b"stream: OK\0stream: OK\0", "more than one"),
        (b"stream: OK\n\0", "it said"),
        (b"INSTREAM: Can't open temporary file. ERROR\0", "Can't open"),
        (b"UNKNOWN COMMAND\0", "UNKNOWN"),
    ] {
        let fake = fake(Act::Says(answer));
        unavailable(scan(&fake.settings, b"some bytes", 3), detail);
    }
    let fake = fake(Act::Says(&[b'x'; 5000]));
    unavailable(scan(&fake.settings, b"some bytes", 3), "too long");
}

#[test]
fn an_answer_before_the_end_is_none() {
    for answer in [&b"stream: OK\0"[..], b"stream: Mark FOUND\0", b"stream: OK"] {
        for end in [Act::Stops(100, answer), Act::Hangs(100, answer)] {
            let mut fake = fake(end);
            if !answer.ends_with(b"\0") {
                // The rest of the answer is waited for in vain.
                fake.settings.timeout = Duration::from_secs(3);
            }
            let done = scan(&fake.settings, &vec![b'x'; 4 << 20], 1 << 16);
            unavailable(
                done,
                if answer.ends_with(b"\0") { "before it had the whole file" } else { "it had said \"stream: OK\"" },
            );
        }
    }
}

#[test]
fn an_answer_that_comes_while_there_is_no_room_to_send_is_read() {
    let mut fake = fake(Act::Fills(b"stream: OK\0"));
    fake.settings.timeout = Duration::from_secs(2);
    unavailable(scan(&fake.settings, &vec![b'x'; 4 << 20], 1 << 16), "before it had the whole file");
}

#[test]
fn a_scanner_that_ends_in_the_middle_gives_no_verdict() {
    for fake in [fake(Act::Stops(100_000, b"")), fake_tcp(Act::Stops(100_000, b""))] {
        unavailable(scan(&fake.settings, &vec![b'x'; 4 << 20], 1 << 16), "clamd: ");
        fake.server.join().unwrap();
    }
}

#[test]
fn a_scanner_over_its_limit_says_so_and_it_is_understood() {
    let fake = fake(Act::Stops(100_000, b"INSTREAM size limit exceeded. ERROR\0"));
    let unscanned = scan(&fake.settings, &vec![b'x'; 4 << 20], 1 << 16).unwrap_err();
    assert!(unscanned.too_large && unscanned.detail.contains("size limit exceeded"), "{unscanned:?}");
    assert!(unscanned.reason.contains("too large"), "{unscanned:?}");
}

#[test]
fn a_file_past_the_limit_is_not_even_sent_whole() {
    let mut fake = fake(Act::Stops(1, b""));
    fake.settings.max_size = 1000;
    let mut scan = Scan::begin(&fake.settings).unwrap();
    assert_eq!(scan.push(&[b'x'; 1000]), Ok(()));
    let unscanned = scan.push(b"x").unwrap_err();
    assert!(unscanned.too_large && unscanned.detail.contains("1000 bytes"), "{unscanned:?}");
    assert_eq!(scan.finish(1001), Err(unscanned));
}

#[test]
fn what_was_scanned_must_be_what_was_received() {
    let fake = fake(Act::Says(b"stream: OK\0"));
    let mut scan = Scan::begin(&fake.settings).unwrap();
    scan.push(b"12345").unwrap();
    unavailable(scan.finish(6), "6 bytes were received and 5 scanned");
}

#[test]
fn a_scanner_that_hangs_is_given_up_in_time() {
    // It does not read: the socket's buffer fills up. It does not answer: the verdict is waited for in vain.
    for (bytes, sent) in [(0, 4 << 20), (4 + 10 + 4, 10)] {
        let mut fake = fake(Act::Hangs(bytes, b""));
        fake.settings.timeout = Duration::from_millis(600);
        let begun = std::time::Instant::now();
        let done = scan(&fake.settings, &vec![b'x'; sent], 1 << 16);
        unavailable(done, "no answer within the time");
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn a_scanner_that_is_not_there_or_is_something_else_is_told_when_a_scan_begins() {
    let nowhere = settings(Address::Path("/nonexistent/clamd.ctl".into()));
    unavailable(scan(&nowhere, b"", 1), "No such file");
    // Nobody else gets this port meanwhile: it is bound, and does not listen.
    let bound = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&bound, &std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = std::net::SocketAddr::try_from(rustix::net::getsockname(&bound).unwrap()).unwrap();
    unavailable(scan(&settings(Address::Tcp(port)), b"", 1), "refused");
    let long = settings(Address::Path(format!("/{}", "x".repeat(200)).into()));
    unavailable(scan(&long, b"", 1), "clamd: ");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"220 smtp\0").unwrap());
    let unscanned = ping(&settings(Address::Path(path))).unwrap_err();
    assert!(unscanned.detail.contains("220 smtp") || unscanned.detail.contains("ipe"), "{unscanned:?}");
    server.join().unwrap();
}

#[test]
fn a_backlog_that_is_full_does_not_hold_a_scan_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    // Nobody accepts: the first connection waits for an answer, and in the end even connecting waits.
    let _listener = UnixListener::bind(&path).unwrap();
    let mut settings = settings(Address::Path(path.clone()));
    settings.timeout = Duration::from_millis(100);
    unavailable(ping(&settings).map(|_| unreachable!()), "no answer within the time");
    // No wait can be told from a full backlog but by filling it.
    let mut waiting = Vec::new();
    while let Ok(line) = Line::connect(&settings.address, settings.timeout) {
        waiting.push(line);
        assert!(waiting.len() < 10_000, "the backlog never fills");
    }
}
