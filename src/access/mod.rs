//! Who may come in, when, from where. The only maker of a [`Principal`]: holding one is the proof of authentication.
//!
//! Must never decide anything from a name that a peer merely claims; identity is the verified key. Called by `ssh`
//! (arrivals, admissions) and `daemon` (reloads); everyone behind the door carries the `Principal`.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::audit::Recorder;
use crate::config::{Listener, Live};
use crate::types::*;

#[derive(Clone)]
pub struct Access {}

/// A connection that was let in as far as the authentication; its place in the limits is free again when it is dropped.
pub struct Arrival {}

/// Why a connection is closed before its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooMany {
    Connections,
    FromAddress,
    Unauthenticated,
}

pub enum Admission {
    Admitted(Principal),
    /// Unknown account, wrong key, disabled, wrong network, expired, role not admitted here: all the same to the peer.
    Unknown,
    /// The key is right, but the account has its number of sessions: the peer may be told.
    TooManySessions,
}

/// An authenticated account in one session. Cheap to clone; its place among the account's sessions is free again when
/// the last clone is dropped.
#[derive(Clone)]
pub struct Principal(Arc<Inner>);

struct Inner {
    actor: Actor,
    account: AccountName,
    org: OrgId,
    role: Role,
    take: Take,
    fingerprint: Fingerprint,
    ended: CancellationToken,
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
    /// Cancelled when the account or key was taken away: the session must end.
    pub fn ended(&self) -> &CancellationToken {
        &self.0.ended
    }
}

impl Access {
    pub fn new(_config: Live, _recorder: Recorder, _clock: Clock) -> Self {
        unimplemented!()
    }
    /// Takes a place for a new connection, within `limits`; refusals are counted and audited in a bounded way.
    pub async fn arrive(&self, _from: SocketAddr) -> Result<Arrival, TooMany> {
        unimplemented!()
    }
    /// Decides who it is by the verified key. Audits admissions and refusals. `client` is the peer's identification.
    pub async fn admit(
        &self,
        _arrival: &mut Arrival,
        _listener: &Listener,
        _account: &str,
        _key: &russh::keys::PublicKey,
        _client: &str,
    ) -> Admission {
        unimplemented!()
    }
    /// Ends the live sessions whose account, key, role or network the configuration in force no longer admits. Runs until `stop`.
    pub async fn follow_reloads(&self, _stop: CancellationToken) {
        unimplemented!()
    }
    /// Live sessions, for status and the drain.
    pub fn sessions(&self) -> usize {
        unimplemented!()
    }
}
