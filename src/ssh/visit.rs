//! What the two halves of a connection tell each other: the handler inside russh's task, and the one that watches over it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::socket::Wire;
use crate::access::Principal;
use crate::config::Listener;

pub(super) struct Visit {
    pub peer: SocketAddr,
    pub listener: Arc<Listener>,
    pub wire: Arc<Wire>,
    /// Requests that were refused.
    pub refused: AtomicU64,
    begun: Instant,
    /// Milliseconds from `begun` to the client's latest doing.
    active: AtomicU64,
    /// Commands under way; while one is, the connection is not idle.
    commands: AtomicUsize,
    principal: OnceLock<Principal>,
    admitted: Notify,
    words: OnceLock<String>,
    over: CancellationToken,
}

impl Visit {
    pub fn new(peer: SocketAddr, listener: Arc<Listener>, wire: Arc<Wire>) -> Self {
        Self {
            peer,
            listener,
            wire,
            refused: AtomicU64::new(0),
            begun: Instant::now(),
            active: AtomicU64::new(0),
            commands: AtomicUsize::new(0),
            principal: OnceLock::new(),
            admitted: Notify::new(),
            words: OnceLock::new(),
            over: CancellationToken::new(),
        }
    }

    /// The client did something; answers to keepalives are not counted.
    pub fn touch(&self) {
        let elapsed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.active.store(elapsed, Ordering::Relaxed);
    }

    /// Completes when the client has done nothing for this long, and no command runs; zero is never.
    pub async fn idle(&self, most: Duration) {
        if most.is_zero() {
            return std::future::pending().await;
        }
        loop {
            let end = self.begun + Duration::from_millis(self.active.load(Ordering::Relaxed)) + most;
            tokio::time::sleep_until(end).await;
            if self.commands.load(Ordering::Relaxed) > 0 {
                self.touch();
            } else if self.begun + Duration::from_millis(self.active.load(Ordering::Relaxed)) + most <= Instant::now() {
                return;
            }
        }
    }

    pub fn admit(&self, principal: Principal) {
        let _admitted_once = self.principal.set(principal);
        self.admitted.notify_one();
    }

    /// Completes when the peer is admitted.
    pub async fn admitted(&self) -> Principal {
        loop {
            if let Some(principal) = self.principal.get() {
                return principal.clone();
            }
            self.admitted.notified().await;
        }
    }

    /// The handler wants the connection to end.
    pub fn end(&self, words: &str) {
        let _first_words_stay = self.words.set(words.to_owned());
        self.over.cancel();
    }

    /// Completes when the handler wants the connection to end; says why.
    pub async fn over(&self) -> String {
        self.over.cancelled().await;
        self.words.get().cloned().unwrap_or_default()
    }

    /// A command begins; it is over when the result is dropped.
    pub fn command(self: &Arc<Self>) -> Command {
        self.commands.fetch_add(1, Ordering::Relaxed);
        Command(self.clone())
    }
}

pub(super) struct Command(Arc<Visit>);

impl Drop for Command {
    fn drop(&mut self) {
        self.0.touch();
        self.0.commands.fetch_sub(1, Ordering::Relaxed);
    }
}
