//! The other side of the vault: claims through the door, fetches, verifies whole, hands over, acknowledges.
//!
//! Must never hand on a byte before the whole object verified, nor acknowledge before the work is done. Runs on the data
//! team's machine, never in the daemon. Called by `cli` (`load`, `quickstart`).
//!
//! `run` holds the loop, `deliver` one delivery's way through `fetch`, `open`, then `exec` or `into`; `link` keeps
//! connection and lease alive; `queue` speaks the verbs over `gateway`, the client half of SSH, which asks `known_hosts`
//! and `login`; `disk` is the folder of sealed objects; `proof` what the log must say of a delivery; `restricted` are the rows that the command must treat otherwise.

mod deliver;
mod disk;
mod exec;
mod fetch;
pub mod gateway;
mod into;
pub mod known_hosts;
mod link;
pub mod login;
mod open;
mod proof;
mod queue;
mod restricted;
mod run;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use deliver::{Ended, Outcome};
pub use exec::Exec;
pub use open::Keys;
pub use proof::{Demand, Sealed};
pub use queue::{Claimed, Manifest};

use crate::types::{Clock, DatasetName, OrgId};
use gateway::{Address, Door};

/// Everything that a loader is told.
pub struct Options {
    pub door: Arc<Door>,
    pub keys: Keys,
    pub hand_over: HandOver,
    /// What the log must prove of each delivery; none takes the gateway's word.
    pub demand: Option<Demand>,
    /// Only these; none means all that the account may take.
    pub orgs: Vec<OrgId>,
    pub datasets: Vec<DatasetName>,
    /// Asked for with each claim, and extended at a third of its time.
    pub lease: Duration,
    /// Deliveries at once, each on a connection of its own.
    pub jobs: usize,
    /// End when there is nothing to claim.
    pub once: bool,
    /// Where sealed objects are fetched to.
    pub work: PathBuf,
    /// What the deliveries in hand get when the loader is stopped, before they are given back.
    pub grace: Duration,
    /// Ends the grace: what is in hand is given back at once.
    pub hard_stop: CancellationToken,
    pub clock: Clock,
}

/// What happens with the plaintext.
#[derive(Debug, Clone)]
pub enum HandOver {
    Exec(Exec),
    /// A folder: each delivery becomes a folder in it.
    Into(PathBuf),
}

/// What goes with the plaintext to whoever takes it.
#[derive(Debug, Default)]
struct Enclosed {
    restricted: restricted::Rows,
    /// The proof as it was verified; none when none was demanded.
    proof: Option<Vec<u8>>,
}

/// What a loader did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub loaded: u64,
    /// Given back or abandoned.
    pub failed: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A person has to change something: keys, known_hosts, arguments.
    #[error("{0}")]
    Setup(String),
    /// The gateway understood and said no.
    #[error("{0}")]
    Declined(String),
    /// The network, the gateway or this machine failed.
    #[error("{0}")]
    System(String),
}

/// What happens on the way, for whoever shows it.
pub enum Event<'a> {
    /// So many bytes of the sealed object are here.
    Fetching {
        claimed: &'a Arc<Claimed>,
        done: u64,
    },
    /// The connection broke or could not be made; it is tried again.
    Trouble {
        address: &'a Address,
        why: &'a str,
        retry_in: Duration,
    },
    /// It can only be loaded when others have done something; it stays claimed.
    Waiting {
        claimed: &'a Arc<Claimed>,
        why: &'a str,
    },
    Ended(&'a Ended),
}

/// Hears of events, from any worker.
pub type Observer = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// Loads until the queue is empty (`once`) or `stop` is cancelled; then what is in hand is finished, or given back after
/// the grace.
///
/// # Errors
/// See [`LoadError`]. Deliveries that failed are no error here but counted.
pub async fn run(options: Options, observer: Observer, stop: CancellationToken) -> Result<Summary, LoadError> {
    run::run(options, observer, stop).await
}
