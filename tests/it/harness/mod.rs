//! What the tests stand on: a gateway of their own, clients with deadlines, content, and the patience to wait.
//!
//! Nothing here sleeps for a fixed time: it polls a condition until a deadline ([`eventually`]).

mod clamd;
mod clients;
mod files;
mod gateway;
mod keys;
mod process;
mod proxy;
mod raw;
mod sealed;
pub mod settle;
mod setup;

use std::time::{Duration, Instant};

pub use clamd::{Clamd, MARK};
pub use clients::Client;
pub use files::{
    TempDir, csv, digest, digest_of_file, files_under, find_bytes, fresh_dir, open_with_age, open_with_library, opened,
    patterned_file,
};
pub use gateway::{Gateway, NIGHTSAFE};
pub use keys::keys;
pub use process::{Done, Running, run, start};
pub use proxy::Proxy;
pub use raw::{Raw, Reply, Status, code, flag, kind, packet, string};
pub use sealed::Sealed;
pub use setup::Setup;

/// How long anything may take before a test gives up. Generous: the tests run side by side on small machines.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Polls `attempt` until it gives something; fails the test after [`PATIENCE`].
pub fn eventually<T>(what: &str, attempt: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, attempt)
}

/// Polls `attempt` until it gives something; fails the test after `limit`.
pub fn within<T>(limit: Duration, what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(15));
    }
}

/// A small random generator (xorshift64*) whose seed is printed, so that a failing round can be had again with
/// `NIGHTSAFE_TEST_SEED`.
pub struct Dice(u64);

impl Dice {
    pub fn new() -> Self {
        let seed = match std::env::var("NIGHTSAFE_TEST_SEED") {
            Ok(text) => text.parse().expect("NIGHTSAFE_TEST_SEED is a number"),
            Err(_) => {
                let drawn = ring::rand::generate::<[u8; 8]>(&ring::rand::SystemRandom::new()).unwrap();
                u64::from_le_bytes(drawn.expose())
            }
        };
        println!("NIGHTSAFE_TEST_SEED={seed}");
        Self::seeded(seed)
    }

    pub fn seeded(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number from `range`, its end excluded.
    pub fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        range.start + (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % (range.end - range.start)
    }
}
