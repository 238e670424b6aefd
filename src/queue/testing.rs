//! What the queue's tests share: a ledger, a clock that is moved by hand, a loader, and what the client saw.

use std::time::Duration;

use serde_json::Value;

use super::*;
pub use crate::ledger::testing::{Desk as Books, at, ended, org};

pub struct Counter {
    pub books: Books,
    pub clock: Clock,
    pub settings: QueueSettings,
}

impl Counter {
    pub fn new() -> Self {
        let settings = QueueSettings {
            lease: Duration::from_secs(60),
            lease_max: Duration::from_secs(3600),
            attempts: 2,
            backoff: Duration::from_secs(30),
            backoff_max: Duration::from_secs(3600),
        };
        Self { books: Books::new(), clock: Clock::fixed(at(1000)), settings }
    }

    pub async fn put(&self, org: &str, name: &str) -> DeliveryId {
        self.books.ledger.accept(ended(org, name, at(0))).await.unwrap().1
    }

    pub fn desk(&self, account: &str, take: Take) -> Desk<'_> {
        let actor = Actor { account: account.into(), ..Actor::gateway() };
        let caller = Caller { account: account.parse().unwrap(), actor, take, ended: CancellationToken::new() };
        Desk { caller, settings: self.settings.clone(), ledger: &self.books.ledger, clock: &self.clock }
    }

    /// Status, lines and errors of a command by a loader who may take everything.
    pub async fn ask(&self, account: &str, command: &str) -> (u32, Vec<Value>, Vec<Value>) {
        heard(&self.desk(account, Take::default()), command).await
    }

    /// A claim's only delivery: its id and lease.
    pub async fn claimed(&self, account: &str) -> (String, String) {
        let (status, lines, _) = self.ask(account, "claim").await;
        assert_eq!((status, lines.len()), (0, 1));
        let text = |name: &str| lines[0][name].as_str().unwrap().to_owned();
        (text("delivery"), text("lease"))
    }
}

pub async fn heard(desk: &Desk<'_>, command: &str) -> (u32, Vec<Value>, Vec<Value>) {
    let (out, mut client) = mpsc::channel(200);
    let status = desk.serve(command, &out).await;
    drop(out);
    let (mut lines, mut errors) = (Vec::new(), Vec::new());
    while let Some(said) = client.recv().await {
        match said {
            Out::Line(line) => lines.push(serde_json::from_str(&line).unwrap()),
            Out::Error(line) => errors.push(serde_json::from_str(&line).unwrap()),
        }
    }
    (status, lines, errors)
}
