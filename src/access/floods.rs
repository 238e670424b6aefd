//! Refusals, told in a bounded way: the first from an address at once, those that follow as one count a minute.
//!
//! So nobody outside the door can grow the audit log or this table: it holds a fixed number of addresses, and what does
//! not fit is counted together.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::SignedDuration;

use super::judge::Why;
use super::limits::Source;
use crate::audit::{Event, Kind};
use crate::types::{Actor, Timestamp};

/// Addresses, with a reason each, that are told apart at one time.
const TABLE: usize = 512;
/// How long refusals of one address for one reason are gathered into one event.
const WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// One refusal.
pub(super) struct Refused {
    pub source: Source,
    pub actor: Actor,
    pub why: Why,
}

#[derive(Default)]
pub(super) struct Floods(Mutex<HashMap<Key, Counted>>);

/// No source means everyone for whom the table had no room.
type Key = (Option<Source>, Why);

/// Refusals since the last event that told of them.
struct Counted {
    since: Timestamp,
    count: u64,
    /// The latest of them.
    actor: Actor,
}

impl Floods {
    /// Counts a refusal; returns what is to be recorded now.
    pub fn note(&self, refused: Refused, now: Timestamp) -> Vec<Event> {
        let mut table = self.lock();
        let mut key = (Some(refused.source), refused.why);
        if !table.contains_key(&key) && table.len() >= TABLE {
            key.0 = None;
        }
        let first = !table.contains_key(&key);
        let counted =
            table.entry(key).or_insert_with(|| Counted { since: now, count: 0, actor: refused.actor.clone() });
        if first {
            return vec![told(&refused.actor, refused.why, now)];
        }
        counted.count += 1;
        counted.actor = refused.actor;
        if due(counted.since, now) { vec![counted.tell(key, now)] } else { Vec::new() }
    }

    /// Returns the counts whose minute is over, and forgets addresses that have fallen silent.
    pub fn sweep(&self, now: Timestamp) -> Vec<Event> {
        let mut table = self.lock();
        table.retain(|_, counted| counted.count > 0 || !due(counted.since, now));
        table.iter_mut().filter(|(_, counted)| due(counted.since, now)).map(|(key, c)| c.tell(*key, now)).collect()
    }

    /// Returns every count that was not told yet; for the end.
    pub fn drain(&self, now: Timestamp) -> Vec<Event> {
        let counts = std::mem::take(&mut *self.lock());
        counts.into_iter().filter(|(_, counted)| counted.count > 0).map(|(key, mut c)| c.tell(key, now)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Counted>> {
        // A map stays whole even if a thread died while it held the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the window is over; a clock that was set back counts as over.
fn due(since: Timestamp, now: Timestamp) -> bool {
    let elapsed = now.duration_since(since);
    elapsed >= WINDOW || elapsed.is_negative()
}

fn told(actor: &Actor, why: Why, now: Timestamp) -> Event {
    Event::new(now, Kind::SessionRefused, actor.clone()).with("reason", why.as_str())
}

impl Counted {
    /// One event for all of them; counting begins anew.
    fn tell(&mut self, (source, why): Key, now: Timestamp) -> Event {
        let event = told(&self.actor, why, now).with("count", self.count).with("since", self.since.to_string());
        (self.since, self.count) = (now, 0);
        if source.is_none() { event.with("addresses", "several") } else { event }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn refused(address: u32, why: Why) -> Refused {
        let source = Source::of(IpAddr::V4(Ipv4Addr::from(address)));
        Refused { source, actor: Actor { account: "someone".into(), ..Actor::gateway() }, why }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_780_000_000 + second).unwrap()
    }

    fn count(event: &Event) -> Option<u64> {
        event.detail.get("count").and_then(|count| count.as_u64())
    }

    #[test]
    fn the_first_refusal_is_told_at_once_and_the_rest_of_the_minute_as_one_count() {
        let floods = Floods::default();
        assert_eq!(floods.note(refused(1, Why::WrongKey), at(0)).len(), 1);
        for second in 1..60 {
            assert!(floods.note(refused(1, Why::WrongKey), at(second)).is_empty());
        }
        let events = floods.note(refused(1, Why::WrongKey), at(60));
        assert_eq!(events.len(), 1);
        assert_eq!(count(&events[0]), Some(60));
        assert!(floods.note(refused(1, Why::WrongKey), at(61)).is_empty());
    }

    #[test]
    fn a_count_is_told_by_the_sweep_when_the_flood_has_stopped() {
        let floods = Floods::default();
        floods.note(refused(1, Why::WrongKey), at(0));
        floods.note(refused(1, Why::WrongKey), at(1));
        assert!(floods.sweep(at(59)).is_empty());
        assert_eq!(floods.sweep(at(60)).iter().map(count).collect::<Vec<_>>(), [Some(1)]);
        assert!(floods.sweep(at(120)).is_empty());
        assert_eq!(floods.lock().len(), 0);
    }

    #[test]
    fn another_reason_from_the_same_address_is_told_by_itself() {
        let floods = Floods::default();
        assert_eq!(floods.note(refused(1, Why::WrongKey), at(0)).len(), 1);
        assert_eq!(floods.note(refused(1, Why::KeyExpired), at(0)).len(), 1);
    }

    #[test]
    fn a_flood_from_countless_addresses_grows_neither_the_table_nor_the_log() {
        let floods = Floods::default();
        let events: usize =
            (0..100_000).map(|address| floods.note(refused(address, Why::TooManyUnauthenticated), at(0)).len()).sum();
        assert_eq!(events, TABLE + 1);
        assert_eq!(floods.lock().len(), TABLE + 1);
        let drained = floods.drain(at(1));
        assert_eq!(drained.len(), 1);
        assert_eq!(count(&drained[0]), Some(100_000 - TABLE as u64 - 1));
    }
}
