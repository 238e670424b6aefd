//! One worker's connection to the gateway, made anew when it broke; and a lease, kept alive for as long as the work lasts.
//!
//! Must never call a lease held that may have run out: when the gateway says no, or cannot be reached until the end that
//! was last confirmed, the lease is lost and the work is to stop. Called by `run` and `deliver`.

use std::sync::Arc;
use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::gateway::{Door, Gateway, GatewayError};
use super::queue::{self, Claimed, VerbError};
use crate::types::{Clock, Timestamp};

/// Waits that double from one second to a minute, each shortened by up to half, so that many loaders do not come back
/// in step after the gateway restarted.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
}

impl Backoff {
    pub fn new() -> Self {
        Self { next: Duration::from_secs(1) }
    }

    pub fn next(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(Duration::from_secs(60));
        let mut byte = [0u8];
        // Without randomness there is no jitter, which still works.
        let _ = SystemRandom::new().fill(&mut byte);
        full - full.mul_f64(f64::from(byte[0]) / 512.0)
    }
}

/// A connection that is made when it is needed.
pub struct Link {
    door: Arc<Door>,
    current: Mutex<Option<Arc<Gateway>>>,
}

impl Link {
    pub fn new(door: Arc<Door>) -> Self {
        Self { door, current: Mutex::new(None) }
    }

    /// The live connection, or a new one.
    ///
    /// # Errors
    /// Those of [`Gateway::connect`].
    pub async fn gateway(&self) -> Result<Arc<Gateway>, GatewayError> {
        let mut current = self.current.lock().await;
        if let Some(gateway) = current.as_ref().filter(|g| !g.is_closed()) {
            return Ok(Arc::clone(gateway));
        }
        *current = None;
        let gateway = Arc::new(Gateway::connect(&self.door).await?);
        *current = Some(Arc::clone(&gateway));
        Ok(gateway)
    }

    /// Forgets `gateway`, which did not do what it should, so that the next use connects anew.
    pub async fn drop_broken(&self, gateway: &Arc<Gateway>) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|held| Arc::ptr_eq(held, gateway)) {
            *current = None;
        }
    }

    pub async fn close(&self) {
        if let Some(gateway) = self.current.lock().await.take() {
            gateway.close().await;
        }
    }

    /// Says `verb` until the gateway answers, at most until `deadline`. Each verb may be said twice without harm.
    ///
    /// # Errors
    /// The gateway's no, or the last failure when time is up.
    pub async fn insist(&self, verb: &Verb<'_>, claimed: &Claimed, deadline: Instant) -> Result<Told, VerbError> {
        let mut backoff = Backoff::new();
        let mut last = VerbError::Failed("there was no time left to say it".into());
        loop {
            match timeout_at(deadline, self.say(verb, claimed)).await {
                Ok(Ok(told)) => return Ok(told),
                Ok(Err(error @ (VerbError::No(_) | VerbError::Usage(_)))) => return Err(error),
                Ok(Err(error)) => last = error,
                Err(_) => return Err(last),
            }
            let wait = backoff.next();
            if Instant::now() + wait >= deadline {
                return Err(last);
            }
            sleep(wait).await;
        }
    }

    async fn say(&self, verb: &Verb<'_>, claimed: &Claimed) -> Result<Told, VerbError> {
        let gateway = self.gateway().await?;
        let told = match verb {
            Verb::Extend(by) => queue::extend(&gateway, claimed, *by).await.map(Told::Extended),
            Verb::Acknowledge => queue::acknowledge(&gateway, claimed).await.map(|()| Told::Acknowledged),
            Verb::GiveBack(reason) => {
                queue::give_back(&gateway, claimed, reason).await.map(|dead| Told::GivenBack { dead })
            }
        };
        if matches!(told, Err(VerbError::Gateway(_))) {
            self.drop_broken(&gateway).await;
        }
        told
    }
}

pub enum Verb<'a> {
    Extend(Duration),
    Acknowledge,
    GiveBack(&'a str),
}

pub enum Told {
    /// Until when, by the gateway's clock.
    Extended(Timestamp),
    Acknowledged,
    GivenBack {
        dead: bool,
    },
}

/// Keeps a lease alive from its making until it is dropped.
pub struct Keeper {
    /// Cancelled when the lease is lost.
    pub lost: CancellationToken,
    expires: watch::Receiver<Instant>,
    task: tokio::task::JoinHandle<()>,
}

impl Keeper {
    /// `claimed_at` is when the claim was answered.
    pub fn start(link: Arc<Link>, claimed: Arc<Claimed>, length: Duration, claimed_at: Instant, clock: Clock) -> Self {
        let lost = CancellationToken::new();
        let end = claimed_at + confirmed(length, claimed.lease_expires, &clock);
        let (sender, expires) = watch::channel(end);
        let task = tokio::spawn(keep(link, claimed, length, clock, sender, lost.clone()));
        Self { lost, expires, task }
    }

    /// When the lease ends unless it is extended again.
    pub fn expires(&self) -> Instant {
        *self.expires.borrow()
    }

    /// Stops extending; what is left of the lease stays.
    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(
    link: Arc<Link>,
    claimed: Arc<Claimed>,
    length: Duration,
    clock: Clock,
    expires: watch::Sender<Instant>,
    lost: CancellationToken,
) {
    loop {
        let end = *expires.borrow();
        let left = end.saturating_duration_since(Instant::now());
        sleep(left.min(length) / 3).await;
        let asked = Instant::now();
        match link.insist(&Verb::Extend(length), &claimed, end).await {
            Ok(Told::Extended(until)) => {
                // Nobody listens any more: the work is done.
                if expires.send(asked + confirmed(length, until, &clock)).is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(error) => {
                if !matches!(error, VerbError::No(_)) {
                    // It may still be ours until its end, and is treated so.
                    tokio::time::sleep_until(end).await;
                }
                tracing::debug!(delivery.id = %claimed.manifest.delivery, %error, "the lease is lost");
                lost.cancel();
                return;
            }
        }
    }
}

/// How long the lease surely lasts from the moment it was asked for: what was asked for, or less if the gateway granted
/// less. The two clocks may differ, so that an end in the past means nothing.
fn confirmed(asked: Duration, until: Timestamp, clock: &Clock) -> Duration {
    match Duration::try_from(until.duration_since(clock.now())) {
        Ok(left) if !left.is_zero() => left.min(asked),
        _ => asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_minute_and_are_jittered_downwards() {
        let mut backoff = Backoff::new();
        let mut full = 1.0;
        for _ in 0..12 {
            let wait = backoff.next().as_secs_f64();
            assert!(wait <= full && wait >= full / 2.0, "{wait} of {full}");
            full = f64::min(full * 2.0, 60.0);
        }
    }

    #[test]
    fn a_lease_is_never_taken_for_longer_than_granted() {
        let now: Timestamp = "2025-07-10T12:00:00Z".parse().unwrap();
        let clock = Clock::fixed(now);
        let lease = Duration::from_secs(900);
        let at = |text: &str| text.parse().unwrap();
        assert_eq!(confirmed(lease, at("2025-07-10T12:15:00Z"), &clock), lease);
        assert_eq!(confirmed(lease, at("2025-07-10T12:01:00Z"), &clock), Duration::from_secs(60));
        assert_eq!(confirmed(lease, at("2025-07-10T13:00:00Z"), &clock), lease, "our clock is behind");
        assert_eq!(confirmed(lease, at("2025-07-10T11:00:00Z"), &clock), lease, "our clock is ahead");
    }
}
