//! What leaves the machine by itself, so that who rules the machine cannot rewrite it unseen: the log as static tiles,
//! checkpoints for witnesses to cosign, a copy of each event for syslog or the journal.
//!
//! Follows the ledger by reading it, whoever wrote; nobody waits for anything here. A directory, witness or receiver that
//! fails is told of once, tried again ever more rarely, and gets what it missed when it is back. Must never overwrite what
//! contradicts the ledger. Started by `daemon`, one task for each of the three; each reads the configuration in force.

mod copy;
mod directory;
mod message;
mod tiles;
mod trouble;
mod witness;
mod witnesses;

pub use copy::run as copy;
pub use tiles::run as tiles;
pub use witnesses::run as witnesses;

use crate::audit::{Event, Hash, Kind, VerifierKey};
use crate::config::Live;
use crate::ledger::{self, Ledger};
use crate::types::{Actor, Clock};

/// What a contradiction is to [`trouble::Trouble`].
const CONTRADICTION: &str = "contradiction";

/// What each of the three reads.
#[derive(Clone)]
pub struct Source {
    pub config: Live,
    pub ledger: Ledger,
    /// The key that signs the log.
    pub key: VerifierKey,
    pub clock: Clock,
}

/// How far the log had come when it was last seen here, and the root over it: whatever is read later must continue it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    size: u64,
    root: Hash,
}

impl Source {
    /// Why the ledger as it stands now does not continue `seen`, which was `published`, say; none when it does.
    async fn contradicts(&self, seen: Seen, published: &str) -> ledger::Result<Option<String>> {
        let Seen { size, root } = seen;
        let here = self.ledger.last_event().await?;
        if size > here {
            return Ok(Some(format!(
                "{size} events were {published}, and the ledger has {here}: it is an older copy, or its end was cut off"
            )));
        }
        let others = self.ledger.root(size).await? != root;
        Ok(others.then(|| format!("the {size} events that were {published} are others than the ledger's")))
    }

    /// Tells loudly that somebody outside holds another log than this ledger: an error in the process's log, and an event.
    async fn contradicted(&self, by: &str, why: &str) {
        tracing::error!(
            peer = by,
            reason = why,
            "what was published contradicts the ledger: see OPERATING.md, Publication"
        );
        let event = Event::new(self.clock.now(), Kind::LogContradicted, Actor::gateway());
        if let Err(error) = self.ledger.record(event.with("by", by).with("reason", why)).await {
            tracing::error!(error = %error, "the contradiction could not be audited");
        }
    }
}

#[cfg(test)]
mod tests;
