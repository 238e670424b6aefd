//! The proof of authentication, and the farewell at a session's end.
//!
//! Must never be made but by `access`, of facts that stand in the configuration. Carried by everyone behind the door.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use super::sessions::Sessions;
use crate::audit::{Event, Kind, Recorder};
use crate::types::*;

/// An authenticated account in one session. Cheap to clone; its place among the account's sessions is free again when
/// the last clone is dropped.
#[derive(Clone)]
pub struct Principal(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub actor: Actor,
    pub account: AccountName,
    pub org: OrgId,
    pub role: Role,
    pub take: Take,
    pub fingerprint: Fingerprint,
    pub session: SessionId,
    pub ended: CancellationToken,
    pub why_ended: Arc<OnceLock<&'static str>>,
    pub begun: Timestamp,
    /// Whether `session.ended` was told, or nothing is to be told.
    pub left: AtomicBool,
    pub sessions: Arc<Sessions>,
    pub recorder: Recorder,
    pub clock: Clock,
}

/// How a session ended, for its audit event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Farewell {
    /// A few words: `client`, `idle`, or what took the account away.
    pub reason: String,
    /// Bytes of the connection, as they were on the wire.
    pub received: u64,
    pub sent: u64,
    /// Requests that were refused, those included that got no event of their own.
    pub refused_requests: u64,
}

impl Principal {
    pub fn actor(&self) -> &Actor {
        &self.0.actor
    }
    pub fn account(&self) -> &AccountName {
        &self.0.account
    }
    pub fn org(&self) -> &OrgId {
        &self.0.org
    }
    pub fn role(&self) -> Role {
        self.0.role
    }
    /// For loaders.
    pub fn take(&self) -> &Take {
        &self.0.take
    }
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.0.fingerprint
    }
    pub fn session(&self) -> SessionId {
        self.0.session
    }
    /// Cancelled when the account or key was taken away: the session must end.
    pub fn ended(&self) -> &CancellationToken {
        &self.0.ended
    }
    /// Why [`ended`](Self::ended) was cancelled, in words that the peer may read.
    pub fn why_ended(&self) -> Option<&'static str> {
        self.0.why_ended.get().copied()
    }

    /// Tells the audit log that the session is over. The first call counts; a session that is dropped without one is
    /// told too, with fewer facts.
    pub async fn leave(&self, farewell: Farewell) {
        if self.0.left.swap(true, Ordering::Relaxed) {
            return;
        }
        let event = self.0.ended_event(&farewell.reason);
        tracing::info!(
            session.id = %self.session(),
            peer.address = self.actor().address.map(tracing::field::display),
            account = %self.account(),
            org = %self.org(),
            reason = farewell.reason,
            received_bytes = farewell.received,
            sent_bytes = farewell.sent,
            "session ended"
        );
        let event = event
            .with("received_bytes", farewell.received)
            .with("sent_bytes", farewell.sent)
            .with("refused_requests", farewell.refused_requests);
        self.0.recorder.record(event).await;
    }

    /// The session was refused after all: there is no end to tell of.
    pub(super) fn never_came(&self) {
        self.0.left.store(true, Ordering::Relaxed);
    }
}

impl Inner {
    fn ended_event(&self, reason: &str) -> Event {
        let now = self.clock.now();
        let seconds = now.duration_since(self.begun).as_secs().max(0);
        Event::new(now, Kind::SessionEnded, self.actor.clone()).with("reason", reason).with("duration_seconds", seconds)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.sessions.leave(self.session);
        if *self.left.get_mut() {
            return;
        }
        // The session's task died without a farewell. Recording may have to wait, so it gets a task of its own.
        let (event, recorder) = (self.ended_event("broken off"), self.recorder.clone());
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move { recorder.record(event).await })),
            Err(_) => tracing::error!(session.id = %self.session, "the end of a session could not be audited"),
        }
    }
}
