//! Who is inside: the live sessions, and what each was admitted for.
//!
//! Must never keep a session alive: it holds facts and a token, not the principal.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use russh::keys::ssh_key::public::KeyData;
use tokio_util::sync::CancellationToken;

use super::judge::{Claim, judge};
use crate::config::{Config, Listener};
use crate::types::{AccountName, OrgId, Role, SessionId, Take, Timestamp};

#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<SessionId, Inside>>);

/// What a session was admitted for; its end comes when the configuration no longer says the same.
pub(super) struct Inside {
    pub account: AccountName,
    pub org: OrgId,
    pub role: Role,
    pub take: Take,
    pub key: KeyData,
    pub from: IpAddr,
    pub listener: Listener,
    pub ended: CancellationToken,
    pub why_ended: Arc<OnceLock<&'static str>>,
}

impl Sessions {
    /// Takes a place among the account's sessions; false when it has all of its `most`.
    pub fn enter(&self, session: SessionId, inside: Inside, most: usize) -> bool {
        let mut sessions = self.lock();
        if sessions.values().filter(|other| other.account == inside.account).count() >= most {
            return false;
        }
        sessions.insert(session, inside);
        true
    }

    pub fn leave(&self, session: SessionId) {
        // Dropped after the lock is given back: a token's drop may wake tasks.
        let _gone = self.lock().remove(&session);
    }

    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Ends every session that `config` would not admit as it is.
    pub fn review(&self, config: &Config, now: Timestamp) {
        for inside in self.lock().values().filter(|inside| !inside.ended.is_cancelled()) {
            let Some(why) = inside.no_longer(config, now) else { continue };
            tracing::info!(account = %inside.account, org = %inside.org, reason = why, "ending a live session");
            let _first_reason_stays = inside.why_ended.set(why);
            inside.ended.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Inside>> {
        // A map stays whole even if a thread died while it held the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    /// Why `config` does not admit this session any more, in words that its peer may read.
    fn no_longer(&self, config: &Config, now: Timestamp) -> Option<&'static str> {
        let claim = Claim { account: self.account.as_str(), key: &self.key, from: self.from, listener: &self.listener };
        let grant = match judge(config, &claim, now) {
            Ok(grant) => grant,
            Err(why) => return Some(why.as_str()),
        };
        let account = grant.account;
        let same = account.org == self.org && account.role == self.role && account.take == self.take;
        (!same).then_some("the account's rights were changed: connect again")
    }
}
