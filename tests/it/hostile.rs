//! Bad input: each kind ends or refuses its own session, while another session goes on unharmed and memory stays bounded.

use std::io::Write;
use std::time::Duration;

use nightsafe::audit::Kind;

use crate::harness::{Dice, Gateway, Raw, Setup, code, csv, eventually, files_under, flag, kind, packet, string};

/// Beyond what any test here may need; the daemon's own bounds are far below.
const MEMORY: u64 = 128 << 20;

/// A session of the other organisation that must not notice anything: it uploads before, during and after.
struct Bystander {
    session: Raw,
    count: u32,
}

impl Bystander {
    fn new(gateway: &Gateway) -> Self {
        let mut bystander = Self { session: gateway.meadow().session(), count: 0 };
        bystander.goes_on();
        bystander
    }

    fn goes_on(&mut self) {
        self.count += 1;
        let handle = self.session.create(&format!("/unharmed-{}.csv", self.count));
        self.session.write(&handle, 0, &csv(200_000, u64::from(self.count))).unwrap();
        assert_eq!(self.session.close(&handle).code, code::OK);
    }
}

/// Runs `attack` beside a bystander, then checks that nothing of it is left.
fn harms_nobody(setup: Setup, attack: impl FnOnce(&Gateway, &mut Bystander)) {
    let mut gateway = Gateway::start(setup);
    let mut bystander = Bystander::new(&gateway);
    attack(&gateway, &mut bystander);
    bystander.goes_on();
    // A new session of the attacked account works as well.
    gateway.put(&gateway.harbour(), &csv(1_000, 99), "/afterwards.csv");
    let peak = gateway.peak_memory();
    println!("peak resident memory: {} KiB", peak / 1024);
    assert!(peak < MEMORY, "peak resident memory {peak} bytes");
    drop(bystander);
    gateway.settle();
}

#[test]
fn an_over_long_packet_ends_the_session_and_its_body_is_not_read_as_packets() {
    harms_nobody(Setup::new(), |gateway, bystander| {
        for length in [1u32 << 20, 1 << 24, 0x7fff_ffff, u32::MAX] {
            let mut session = gateway.harbour().session();
            let mut bytes = length.to_be_bytes().to_vec();
            for id in 0..100u32 {
                bytes.extend(packet(kind::STAT, &[&id.to_be_bytes()[..], &string(b"/")].concat()));
            }
            session.send(&bytes).ok();
            assert_eq!(session.await_end(), 0, "the body of a packet of {length} bytes was answered");
        }
        bystander.goes_on();
    });
}

#[test]
fn a_packet_of_no_bytes_ends_the_session() {
    harms_nobody(Setup::new(), |gateway, _| {
        let mut session = gateway.harbour().session();
        session.send(&[0; 4]).unwrap();
        assert_eq!(session.await_end(), 0);
    });
}

#[test]
fn a_packet_cut_by_the_end_of_the_stream_leaves_a_draft() {
    harms_nobody(Setup::new(), |gateway, bystander| {
        let mut session = gateway.harbour().session();
        let handle = session.create("/cut.csv");
        session.write(&handle, 0, &csv(100_000, 1)).unwrap();
        let body =
            [&7u32.to_be_bytes()[..], &string(&handle), &100_000u64.to_be_bytes(), &string(&[b'x'; 5000])].concat();
        let write = packet(kind::WRITE, &body);
        session.send(&write[..write.len() / 2]).unwrap();
        session.close_input();
        session.await_end();
        let kept = gateway.await_events(Kind::DraftKept, 1);
        assert_eq!(kept[0].event.detail["size"], 65_536, "what is sealed of what came whole");
        bystander.goes_on();
    });
}

#[test]
fn lying_string_lengths_are_refused_or_end_the_session() {
    harms_nobody(Setup::new(), |gateway, _| {
        for lie in [5u32, 1000, 0x7fff_ffff, u32::MAX] {
            for kind in [kind::OPEN, kind::STAT, kind::OPENDIR, kind::REMOVE, kind::RENAME, kind::CLOSE, kind::WRITE] {
                let mut session = gateway.harbour().session();
                let body = [&1u32.to_be_bytes()[..], &lie.to_be_bytes(), b"/x"].concat();
                session.send(&packet(kind, &body)).unwrap();
                // Either is fine: a status that says no, or an end. Answering with data is not.
                if let Some(reply) = session.next_reply() {
                    assert_ne!(reply.status().code, code::OK, "type {kind}, length {lie}");
                }
            }
        }
    });
}

#[test]
fn requests_before_init_get_no_answer_but_the_end() {
    harms_nobody(Setup::new(), |gateway, _| {
        for kind in [kind::STAT, kind::OPENDIR, kind::REALPATH] {
            let mut session = gateway.harbour().raw();
            session.send(&packet(kind, &[&1u32.to_be_bytes()[..], &string(b"/")].concat())).unwrap();
            assert_eq!(session.await_end(), 0, "a request before INIT was answered");
        }
    });
}

#[test]
fn unknown_requests_are_refused_and_the_session_goes_on() {
    harms_nobody(Setup::new(), |gateway, _| {
        let mut session = gateway.harbour().session();
        for kind in [0u8, 21, 50, 99, 199, 255] {
            assert_ne!(session.request(kind, b"whatever this is").status().code, code::OK, "type {kind}");
        }
        let extended = session.request(200, &[string(b"no-such-extension@example.org"), b"rest".to_vec()].concat());
        assert_ne!(extended.status().code, code::OK);
        assert_eq!(session.request(kind::REALPATH, &string(b".")).kind, kind::NAME);
    });
}

#[test]
fn noise_in_place_of_packets_harms_nobody() {
    harms_nobody(Setup::new(), |gateway, bystander| {
        let mut dice = Dice::new();
        for _ in 0..20 {
            let mut session = gateway.harbour().session();
            for _ in 0..50 {
                // A true length and a random body, so that the noise comes as far as the table of operations.
                let body: Vec<u8> = (0..dice.within(4..200)).map(|_| dice.within(0..256) as u8).collect();
                if session.send(&packet(dice.within(0..256) as u8, &body)).is_err() {
                    break;
                }
            }
            session.close_input();
            session.await_end();
        }
        bystander.goes_on();
    });
}

#[test]
fn ten_thousand_opens_are_bounded_and_each_is_answered() {
    harms_nobody(Setup::new(), |gateway, bystander| {
        let mut session = gateway.harbour().session();
        let mut taken = 0;
        for batch in 0..100 {
            let ids: Vec<u32> = (0..100)
                .map(|n| {
                    let path = string(format!("/open-{batch}-{n}.csv").as_bytes());
                    let flags = flag::WRITE | flag::CREATE;
                    session.post(kind::OPEN, &[&path[..], &flags.to_be_bytes(), &0u32.to_be_bytes()].concat())
                })
                .collect();
            for id in ids {
                taken += usize::from(session.reply(id).handle().is_ok());
            }
            if batch == 50 {
                bystander.goes_on();
            }
        }
        // `handles_per_session` is 64 by default.
        assert!((1..=64).contains(&taken), "{taken} of 10,000 opens were taken");
        session.close_input();
        session.await_end();
        eventually("an empty spool", || files_under(&gateway.path("state/spool")).is_empty().then_some(()));
        drop(session);
    });
}

#[test]
fn ten_thousand_opens_of_a_directory_are_bounded() {
    harms_nobody(Setup::new(), |gateway, _| {
        let mut session = gateway.harbour().session();
        let taken = (0..10_000).filter(|_| session.request(kind::OPENDIR, &string(b"/")).handle().is_ok()).count();
        assert!((1..=64).contains(&taken), "{taken} of 10,000 opens were taken");
    });
}

#[test]
fn bad_names_are_refused_with_a_reason() {
    harms_nobody(Setup::new(), |gateway, _| {
        let mut session = gateway.harbour().session();
        let long = [b"/".as_slice(), &[b'a'; 252], b".csv"].concat();
        let names: &[&[u8]] = &[
            b"/\xff\xfe.csv",
            b"/a\xc0\xaf.csv",
            b"/caf\xe9.csv",
            b"/a\0b.csv",
            b"/line\nbreak.csv",
            b"/escape\x1b[31m.csv",
            b"/del\x7f.csv",
            "/annual\u{202e}vsc.csv".as_bytes(),
            "/zero\u{200b}width.csv".as_bytes(),
            "/\u{2066}isolate.csv".as_bytes(),
            "/\u{feff}mark.csv".as_bytes(),
            &long,
            b"/..",
            b"/.",
            b"",
            b"/",
            b"/interventions/",
            b"/interventions/..",
            b"/receipts/mine.csv",
            b"/help.txt",
        ];
        for name in names {
            let shown = String::from_utf8_lossy(name);
            let refused = session.open(name, flag::WRITE | flag::CREATE | flag::TRUNCATE);
            let refused = refused.expect_err(&format!("taken: {shown:?}"));
            assert!(refused.message.len() > 10, "no reason for {shown:?}: {refused:?}");
            let printable = refused.message.chars().all(|c| !c.is_control() && !nightsafe::types::deceives(c));
            assert!(printable, "the reason repeats what was refused: {refused:?}");
        }
        assert_eq!(gateway.uploads().len(), 1, "only the bystander's upload stands in the ledger");
    });
}

#[test]
fn dots_lead_nowhere() {
    harms_nobody(Setup::new(), |gateway, _| {
        let mut session = gateway.harbour().session();
        let outside = gateway.path("evil.csv");
        let paths = [
            "/../../../../../../../../tmp/evil.csv",
            "../evil.csv",
            "/interventions/../../../evil.csv",
            "/receipts/../../state/evil.csv",
            "/./../evil.csv/../../x/evil.csv",
            "..\\evil.csv",
            &format!("/..{}", outside.display()),
            &format!("//{}", outside.display()),
            "/etc/cron.d/evil.csv",
        ];
        for path in paths {
            // A name such as `..\evil.csv` may be taken as the odd label that it is; it must only never be a path.
            if let Ok(handle) = session.open(path.as_bytes(), flag::WRITE | flag::CREATE | flag::TRUNCATE) {
                session.close(&handle);
            }
            let read = session.open(path.as_bytes(), flag::READ);
            assert!(read.is_err(), "{path} can be read");
        }
        for path in
            ["/../../../../../../etc/passwd", "/etc/passwd", "../../config/nightsafe.toml", "/../state/ledger.sqlite"]
        {
            let read = session.open(path.as_bytes(), flag::READ);
            assert!(read.is_err(), "{path} can be read");
            let looked = session.request(kind::STAT, &string(path.as_bytes()));
            assert_eq!(looked.kind, kind::STATUS, "{path} has attributes: {looked:?}");
        }
        let evil: Vec<_> = files_under(gateway.root()).into_iter().filter(|f| f.ends_with("evil.csv")).collect();
        assert!(evil.is_empty(), "{evil:?}");
        assert!(
            !std::path::Path::new("/tmp/evil.csv").exists() && !std::path::Path::new("/etc/cron.d/evil.csv").exists()
        );
    });
}

#[test]
fn a_client_that_never_reads_its_replies_is_ended() {
    harms_nobody(Setup::new(), |gateway, bystander| {
        let mut session = gateway.harbour().session_unread();
        let mut input = session.take_input();
        let request = |id: u32| packet(kind::REALPATH, &[&id.to_be_bytes()[..], &string(b"/interventions")].concat());
        let batch: Vec<u8> = (0..1000).flat_map(request).collect();
        // More replies than any window, pipe and debt together can hold; the writes fail once the session is over.
        let writer = std::thread::spawn(move || (0..2000).take_while(|_| input.write_all(&batch).is_ok()).count());
        eventually("the end of the session", || {
            let ended = gateway.events_of(Kind::SessionEnded);
            (writer.is_finished() || ended.iter().any(|e| e.event.actor.account == "harbour-nightly")).then_some(())
        });
        bystander.goes_on();
        // What was under way drains now, and then there is an end, before all was answered.
        let answered = session.await_end();
        assert!(answered < 2_000_000, "{answered} requests were answered: nothing bounded them");
        writer.join().unwrap();
    });
}

#[test]
fn a_client_that_hangs_in_the_middle_of_an_upload_is_ended() {
    let setup = Setup::new().limits("keepalive = \"1s\"\nidle = \"6s\"");
    let mut gateway = Gateway::start(setup);
    let mut session = gateway.harbour().session();
    let handle = session.create("/hangs.csv");
    session.write(&handle, 0, &csv(500_000, 1)).unwrap();
    session.freeze();
    let kept = gateway.await_events(Kind::DraftKept, 1);
    assert_eq!(kept[0].event.actor.account, "harbour-nightly");
    // A session that merely waits, but answers keepalives, is not idle in this sense until `idle` is over.
    gateway.put(&gateway.harbour(), &csv(1_000, 2), "/afterwards.csv");
    drop(session);
    gateway.settle();
}

#[test]
fn a_connection_that_breaks_in_the_middle_of_an_upload_leaves_an_audited_draft() {
    harms_nobody(Setup::new(), |gateway, _| {
        let mut session = gateway.harbour().session();
        let handle = session.create("/breaks.csv");
        session.write(&handle, 0, &csv(2_000_000, 1)).unwrap();
        session.kill();
        let kept = gateway.await_events(Kind::DraftKept, 1);
        assert_eq!(kept[0].event.org.as_ref().unwrap().as_str(), "harbour");
        assert!(kept[0].event.upload.is_some());
        assert!(gateway.harbour().list("/").contains(&"breaks.csv".to_owned()));
        assert!(gateway.uploads().iter().all(|row| row.receipt.name.as_str() != "breaks.csv"));
        gateway.harbour().sftp("rm /breaks.csv\n").ok();
        eventually("an empty spool", || files_under(&gateway.path("state/spool")).is_empty().then_some(()));
    });
}

#[test]
fn offsets_that_cannot_be_taken_are_refused_with_what_to_do() {
    harms_nobody(Setup::new(), |gateway, _| {
        let mut session = gateway.harbour().session();
        for offset in [1u64 << 30, u64::MAX - 10, u64::MAX] {
            let handle = session.create("/jumps.csv");
            session.write(&handle, 0, &csv(1_000, 1)).unwrap();
            // Refused at the WRITE, or at the CLOSE when nothing ever filled the gap.
            let written = session.write(&handle, offset, b"far away");
            let closed = session.close(&handle);
            assert!(written.is_err() || closed.code != code::OK, "offset {offset} was taken");
        }
        assert_eq!(gateway.deliveries().len(), 1, "only the bystander's upload was taken");
    });
}

#[test]
fn garbage_in_place_of_ssh_harms_nobody() {
    harms_nobody(Setup::new(), |gateway, bystander| {
        let mut dice = Dice::new();
        for start in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"SSH-1.5-old\r\n", b"\0\0\0\0"] {
            let mut socket = std::net::TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
            socket.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
            let noise: Vec<u8> = (0..20_000).map(|_| dice.within(0..256) as u8).collect();
            // Failing writes are fine: the gateway hung up.
            socket.write_all(start).and_then(|()| socket.write_all(&noise)).ok();
        }
        bystander.goes_on();
    });
}
