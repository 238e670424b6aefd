//! Who may come in, when, from where. The only maker of a [`Principal`]: holding one is the proof of authentication.
//!
//! Must never decide anything from a name that a peer merely claims; identity is the verified key. Called by `ssh`
//! (arrivals, admissions) and `daemon` (reloads); everyone behind the door carries the `Principal`.
//!
//! `limits` counts places, `judge` decides, `sessions` knows who is inside, `floods` keeps refusals from growing the
//! audit log.

#[cfg(test)]
pub(crate) mod fixture;
mod floods;
mod judge;
mod limits;
mod principal;
mod sessions;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::audit::{Event, Kind, Recorder};
use crate::config::{Listener, Live};
use crate::types::*;

use floods::{Floods, Refused};
pub use judge::Why;
use judge::{Claim, judge};
pub use limits::{Arrival, TooMany};
use limits::{Places, Source};
use principal::Inner;
pub use principal::{Farewell, Principal};
use sessions::{Inside, Sessions};

/// How often keys that expire during a session are looked for, and counted refusals are written.
const SWEEP: Duration = Duration::from_secs(10);

/// Most characters kept of the name that a refused peer called itself.
const CLAIMED_NAME_MAX: usize = 64;

/// Most bytes kept of a peer's identification.
const CLIENT_MAX: usize = 100;

#[derive(Clone)]
pub struct Access {
    config: Live,
    recorder: Recorder,
    clock: Clock,
    places: Arc<Places>,
    sessions: Arc<Sessions>,
    floods: Arc<Floods>,
}

pub enum Admission {
    Admitted(Principal),
    /// Unknown account, wrong key, disabled, wrong network, expired, role not admitted here: all the same to the peer.
    Unknown,
    /// The key is right, but the account has its number of sessions: the peer may be told.
    TooManySessions,
}

impl Access {
    pub fn new(config: Live, recorder: Recorder, clock: Clock) -> Self {
        Self { config, recorder, clock, places: Arc::default(), sessions: Arc::default(), floods: Arc::default() }
    }

    /// Takes a place for a new connection, within `limits`; refusals are counted and audited in a bounded way.
    ///
    /// # Errors
    /// Which limit is reached: the connection is to be closed without a word.
    pub async fn arrive(&self, from: SocketAddr) -> Result<Arrival, TooMany> {
        let taken = Places::take(&self.places, from, &self.config.borrow().limits);
        if let Err(full) = taken {
            let why = match full {
                TooMany::Connections => Why::TooManyConnections,
                TooMany::FromAddress => Why::TooManyFromAddress,
                TooMany::Unauthenticated => Why::TooManyUnauthenticated,
            };
            self.refuse(from, "", None, "", why).await;
        }
        taken
    }

    /// Decides who it is by the verified key. Audits admissions and refusals. `client` is the peer's identification.
    ///
    /// `key` must be one whose possession the peer has just proven. Every refusal takes the same way through here,
    /// with the same work; how long it takes on the wire is evened out by the caller.
    pub async fn admit(
        &self,
        arrival: &mut Arrival,
        listener: &Listener,
        account: &str,
        key: &russh::keys::PublicKey,
        client: &str,
    ) -> Admission {
        let claim = Claim { account, key: key.key_data(), from: arrival.from().ip(), listener };
        let why = match self.let_in(&claim, arrival.from(), client) {
            Ok(principal) => {
                arrival.authenticated();
                self.tell_admitted(&principal, listener).await;
                return Admission::Admitted(principal);
            }
            Err(why) => why,
        };
        let fingerprint = Fingerprint(key.fingerprint(russh::keys::HashAlg::Sha256).to_string());
        self.refuse(arrival.from(), account, Some(fingerprint), client, why).await;
        if why == Why::TooManySessions { Admission::TooManySessions } else { Admission::Unknown }
    }

    /// Audits that a connection was ended before anyone was admitted, such as at the deadline. Counted like a refusal.
    pub async fn gave_up(&self, from: SocketAddr, client: &str, why: Why) {
        self.refuse(from, "", None, client, why).await;
    }

    /// Audits an attempt in a way that nobody can be admitted by, under the name that the peer claims.
    pub async fn turned_down(&self, from: SocketAddr, account: &str, client: &str, why: Why) {
        self.refuse(from, account, None, client, why).await;
    }

    /// Ends the live sessions whose account, key, role or network the configuration in force no longer admits, or whose
    /// key has expired. Runs until `stop`; then writes the refusals that are still only counted.
    pub async fn follow_reloads(&self, stop: CancellationToken) {
        let mut config = self.config.clone();
        let mut reloads = true;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                changed = config.changed(), if reloads => reloads = changed.is_ok(),
                () = tokio::time::sleep(SWEEP) => self.tell(self.floods.sweep(self.clock.now())).await,
            }
            self.review();
        }
        self.tell(self.floods.drain(self.clock.now())).await;
    }

    /// Live sessions, for status and the drain.
    pub fn sessions(&self) -> usize {
        self.sessions.count()
    }

    /// Ends the sessions that would not be admitted now.
    fn review(&self) {
        let config = self.config.borrow().clone();
        self.sessions.review(&config, self.clock.now());
    }

    /// Judges the claim and, if it holds, makes the session's principal in one step with its place among the account's.
    fn let_in(&self, claim: &Claim<'_>, from: SocketAddr, client: &str) -> Result<Principal, Why> {
        let config = self.config.borrow().clone();
        let now = self.clock.now();
        let grant = judge(&config, claim, now)?;
        // From here on, every fact is the configuration's own: nothing that the peer wrote goes into the identity.
        let session = SessionId::new(now);
        let actor = Actor {
            org: Some(grant.account.org.clone()),
            account: grant.account.name.to_string(),
            fingerprint: Some(grant.key.fingerprint.clone()),
            address: Some(from),
            session: Some(session),
            client: shown_client(client),
        };
        let inside = Inside {
            account: grant.account.name.clone(),
            org: grant.account.org.clone(),
            role: grant.account.role,
            take: grant.account.take.clone(),
            key: grant.key.key.key_data().clone(),
            from: from.ip(),
            listener: claim.listener.clone(),
            ended: CancellationToken::new(),
            why_ended: Arc::default(),
        };
        let principal = Principal(Arc::new(Inner {
            account: inside.account.clone(),
            org: inside.org.clone(),
            role: inside.role,
            take: inside.take.clone(),
            fingerprint: grant.key.fingerprint.clone(),
            ended: inside.ended.clone(),
            why_ended: inside.why_ended.clone(),
            actor,
            session,
            begun: now,
            left: false.into(),
            sessions: self.sessions.clone(),
            recorder: self.recorder.clone(),
            clock: self.clock.clone(),
        }));
        if !self.sessions.enter(session, inside, config.limits.sessions_per_account) {
            principal.never_came();
            return Err(Why::TooManySessions);
        }
        // A reload between the judgement and the entry would have missed this session: look once more.
        let current = self.config.borrow().clone();
        if let Err(why) = judge(&current, claim, now) {
            principal.never_came();
            return Err(why);
        }
        Ok(principal)
    }

    async fn tell_admitted(&self, principal: &Principal, listener: &Listener) {
        let actor = principal.actor();
        tracing::info!(
            session.id = %principal.session(),
            peer.address = actor.address.map(tracing::field::display),
            account = %principal.account(),
            org = %principal.org(),
            listener.address = %listener.address,
            "session admitted"
        );
        let event = Event::new(self.clock.now(), Kind::SessionAdmitted, actor.clone())
            .with("role", principal.role().as_str())
            .with("listener", listener.address.to_string());
        self.recorder.record(event).await;
    }

    async fn refuse(&self, from: SocketAddr, account: &str, fingerprint: Option<Fingerprint>, client: &str, why: Why) {
        let actor = Actor {
            org: None,
            account: shown_account(account),
            fingerprint,
            address: Some(from),
            session: None,
            client: shown_client(client),
        };
        let events = self.floods.note(Refused { source: Source::of(from.ip()), actor, why }, self.clock.now());
        self.tell(events).await;
    }

    /// Logs and records refusals; only what goes to the audit log is logged, so neither can be flooded.
    async fn tell(&self, events: Vec<Event>) {
        for event in events {
            tracing::info!(
                peer.address = event.actor.address.map(tracing::field::display),
                account = event.actor.account.as_str(),
                reason = event.detail.get("reason").and_then(|reason| reason.as_str()).unwrap_or_default(),
                count = event.detail.get("count").and_then(|count| count.as_u64()).unwrap_or(1),
                "session refused"
            );
            self.recorder.record(event).await;
        }
    }
}

/// The name that a peer claimed, fit for logs: no control or deceiving characters, cut.
fn shown_account(claimed: &str) -> String {
    claimed.chars().filter(|&c| !c.is_control() && !deceives(c)).take(CLAIMED_NAME_MAX).collect()
}

/// A peer's identification, fit for logs: without `SSH-2.0-`, printable ASCII only, cut.
fn shown_client(identification: &str) -> Option<String> {
    let software = identification.strip_prefix("SSH-2.0-").unwrap_or(identification);
    let shown: String = software.chars().filter(|c| matches!(c, ' '..='~')).take(CLIENT_MAX).collect();
    (!shown.is_empty()).then_some(shown)
}
