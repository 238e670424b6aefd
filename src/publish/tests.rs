//! What the tests of this room share: a ledger with events, and a configuration that can be changed.

use std::sync::Arc;

use tokio::sync::watch;

use super::Source;
use crate::access::fixture;
use crate::audit::Kind;
use crate::config::{AuditSettings, Config};
use crate::ledger::Filter;
use crate::ledger::testing::{Desk, at, event, signer};
use crate::types::Clock;

pub struct Study {
    pub desk: Desk,
    pub source: Source,
    pub config: watch::Sender<Arc<Config>>,
}

impl Study {
    pub fn new() -> Self {
        let desk = Desk::new();
        let mut config = fixture::config([]);
        config.paths.state = desk._dir.path().to_owned();
        let (config, live) = watch::channel(Arc::new(config));
        let key = signer().verifier_key().clone();
        let source = Source { config: live, ledger: desk.ledger.clone(), key, clock: Clock::fixed(at(0)) };
        Self { desk, source, config }
    }

    pub fn configure(&self, change: impl FnOnce(&mut AuditSettings)) {
        self.config.send_modify(|config| change(&mut Arc::make_mut(config).audit));
    }

    /// Appends this many events, each by a commit that tells `what`.
    pub async fn tell(&self, count: usize, what: &str) {
        let one = |n: usize| self.desk.ledger.record(event(Kind::SessionEnded).with("what", format!("{what} {n}")));
        // Handed over at once, so that they share commits.
        let mut all = tokio::task::JoinSet::new();
        for n in 0..count {
            let (ledger, event) =
                (self.desk.ledger.clone(), event(Kind::SessionEnded).with("what", format!("{what} {n}")));
            if count < 10 {
                one(n).await.unwrap();
            } else {
                all.spawn(async move { ledger.record(event).await.unwrap() });
            }
        }
        all.join_all().await;
    }

    /// How often a contradiction was audited, and the last reason.
    pub async fn contradictions(&self) -> (usize, String) {
        let filter = Filter { kind: Some(Kind::LogContradicted), ..Filter::default() };
        let events = self.desk.ledger.events(&filter).await.unwrap();
        let last = events.last().map(|logged| logged.event.detail["reason"].as_str().unwrap().to_owned());
        (events.len(), last.unwrap_or_default())
    }
}
