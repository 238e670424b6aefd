//! Places: how many connections there may be, in all, from one address, and not yet authenticated.
//!
//! Must never let a place leak: each is given back by dropping its [`Arrival`].

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::Limits;

/// Why a connection is closed before its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooMany {
    Connections,
    FromAddress,
    Unauthenticated,
}

/// What counts as one address: an IPv4 address, or the /64 that an IPv6 host usually has to itself (RFC 6177).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Source(IpAddr);

impl Source {
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => Self(IpAddr::V6(Ipv6Addr::from(u128::from(v6) >> 64 << 64))),
            v4 => Self(v4),
        }
    }
}

#[derive(Default)]
pub(super) struct Places(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    connections: usize,
    unauthenticated: usize,
    /// Never holds a zero, so it is no larger than `connections`.
    from: HashMap<Source, usize>,
}

/// A connection that was let in as far as the authentication; its place in the limits is free again when it is dropped.
pub struct Arrival {
    places: Arc<Places>,
    from: SocketAddr,
    authenticated: bool,
}

impl Places {
    pub fn take(places: &Arc<Self>, from: SocketAddr, limits: &Limits) -> Result<Arrival, TooMany> {
        let mut counts = places.lock();
        if counts.connections >= limits.connections {
            return Err(TooMany::Connections);
        }
        let source = Source::of(from.ip());
        if counts.from.get(&source).is_some_and(|&count| count >= limits.connections_per_address) {
            return Err(TooMany::FromAddress);
        }
        if counts.unauthenticated >= limits.unauthenticated {
            return Err(TooMany::Unauthenticated);
        }
        counts.connections += 1;
        counts.unauthenticated += 1;
        *counts.from.entry(source).or_default() += 1;
        Ok(Arrival { places: places.clone(), from, authenticated: false })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Nothing under this lock can panic half-way: the counts are whole even if a thread died.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrival {
    pub fn from(&self) -> SocketAddr {
        self.from
    }

    /// Gives back the place among those not yet authenticated; the others stay taken.
    pub(super) fn authenticated(&mut self) {
        if !std::mem::replace(&mut self.authenticated, true) {
            self.places.lock().unauthenticated -= 1;
        }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let mut counts = self.places.lock();
        counts.connections -= 1;
        if !self.authenticated {
            counts.unauthenticated -= 1;
        }
        let source = Source::of(self.from.ip());
        if let Some(count) = counts.from.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                counts.from.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn limits(connections: usize, connections_per_address: usize, unauthenticated: usize) -> Limits {
        Limits {
            connections,
            connections_per_address,
            unauthenticated,
            authentication: Duration::from_secs(20),
            sessions_per_account: 64,
            channels_per_connection: 8,
            handles_per_session: 64,
            reply_debt: 1 << 20,
            idle: Duration::from_secs(600),
            keepalive: Duration::from_secs(30),
        }
    }

    fn at(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), 40000)
    }

    #[test]
    fn a_place_is_free_again_when_its_arrival_is_dropped() {
        let (places, limits) = (Arc::new(Places::default()), limits(1, 8, 8));
        let first = Places::take(&places, at("192.0.2.1"), &limits).unwrap();
        assert_eq!(Places::take(&places, at("192.0.2.2"), &limits).err(), Some(TooMany::Connections));
        drop(first);
        drop(Places::take(&places, at("192.0.2.2"), &limits).unwrap());
        let counts = places.lock();
        assert_eq!((counts.connections, counts.unauthenticated, counts.from.len()), (0, 0, 0));
    }

    #[test]
    fn one_ipv6_network_counts_as_one_address() {
        let (places, limits) = (Arc::new(Places::default()), limits(8, 2, 8));
        let _a = Places::take(&places, at("2001:db8:0:1::1"), &limits).unwrap();
        let _b = Places::take(&places, at("2001:db8:0:1:ffff::2"), &limits).unwrap();
        assert_eq!(Places::take(&places, at("2001:db8:0:1::3"), &limits).err(), Some(TooMany::FromAddress));
        assert!(Places::take(&places, at("2001:db8:0:2::1"), &limits).is_ok());
    }

    #[test]
    fn an_ipv4_address_mapped_into_ipv6_is_that_ipv4_address() {
        let (places, limits) = (Arc::new(Places::default()), limits(8, 1, 8));
        let _a = Places::take(&places, at("::ffff:192.0.2.1"), &limits).unwrap();
        assert_eq!(Places::take(&places, at("192.0.2.1"), &limits).err(), Some(TooMany::FromAddress));
        assert!(Places::take(&places, at("::ffff:192.0.2.2"), &limits).is_ok());
    }

    #[test]
    fn authenticating_frees_only_the_place_among_the_unauthenticated() {
        let (places, limits) = (Arc::new(Places::default()), limits(8, 8, 1));
        let mut first = Places::take(&places, at("192.0.2.1"), &limits).unwrap();
        assert_eq!(Places::take(&places, at("192.0.2.1"), &limits).err(), Some(TooMany::Unauthenticated));
        first.authenticated();
        first.authenticated();
        let second = Places::take(&places, at("192.0.2.1"), &limits).unwrap();
        drop((first, second));
        assert_eq!(places.lock().unauthenticated, 0);
    }
}
