//! The scanner's client and the real clamd: found, clean, over its limit, stopped in the middle, down.

use std::time::Duration;

use nightsafe::scan::{Address, Scan, Scanned, Settings, Unscanned, ping};

use crate::harness::{Clamd, MARK};

fn settings(clamd: &Clamd, max_size: u64) -> Settings {
    Settings { address: Address::Path(clamd.socket().to_owned()), max_size, timeout: Duration::from_secs(30) }
}

fn scan(settings: &Settings, bytes: &[u8]) -> Result<Scanned, Unscanned> {
    let mut scan = Scan::begin(settings)?;
    for piece in bytes.chunks(32 << 10) {
        if scan.push(piece).is_err() {
            break;
        }
    }
    scan.finish(bytes.len() as u64)
}

fn rows(bytes: usize) -> Vec<u8> {
    b"id,name\r\n1,x\r\n".iter().copied().cycle().take(bytes).collect()
}

#[test]
fn clamd_finds_its_signature_and_calls_the_rest_clean() {
    let clamd = Clamd::start(25 << 20);
    let settings = settings(&clamd, 25 << 20);
    let (engine, signatures) = ping(&settings).unwrap();
    assert!(engine.starts_with("ClamAV ") && signatures == "not told", "{engine} {signatures}");
    for size in [0, 1, 100_000, 3 << 20] {
        let scanned = scan(&settings, &rows(size)).unwrap();
        assert_eq!((scanned.found, scanned.size, &scanned.engine), (None, size as u64, &engine));
    }
    for before in [0, 65_530, 2 << 20] {
        let bytes = [rows(before), MARK.as_bytes().to_vec(), rows(1000)].concat();
        let found = scan(&settings, &bytes).unwrap().found.expect("it is found");
        assert!(found.starts_with("Nightsafe.Test.Mark"), "{found}");
    }
}

#[test]
fn a_file_over_clamds_own_limit_is_not_clean() {
    let clamd = Clamd::start(1 << 20);
    for size in [(1 << 20) + 1, 8 << 20] {
        let unscanned = scan(&settings(&clamd, 25 << 20), &rows(size)).unwrap_err();
        assert!(unscanned.too_large, "{unscanned:?}");
    }
    assert_eq!(scan(&settings(&clamd, 25 << 20), &rows(1 << 20)).unwrap().found, None);
}

#[test]
fn clamd_stopped_in_the_middle_gives_no_verdict_and_none_when_it_is_down() {
    let mut clamd = Clamd::start(25 << 20);
    let settings = settings(&clamd, 25 << 20);
    let mut scan = Scan::begin(&settings).unwrap();
    scan.push(&rows(1 << 20)).unwrap();
    clamd.kill();
    // The rest fits into nobody's buffer.
    let pushed = scan.push(&rows(4 << 20));
    let unscanned = scan.finish(5 << 20).unwrap_err();
    assert!(!unscanned.too_large && pushed == Err(unscanned.clone()), "{pushed:?}, {unscanned:?}");
    let mut settings = settings;
    settings.timeout = Duration::from_secs(2);
    let down = Scan::begin(&settings).err().expect("nobody answers");
    assert!(!down.too_large && down.reason.contains("again later"), "{down:?}");
}
