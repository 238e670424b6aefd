//! The loader's commands: claim, extend, ack, nack; JSON lines out. What a loader may see of the queue.
//!
//! Must never show a delivery that the account's `take` does not cover. Called by `ssh` (exec); calls `ledger`.
//!
//! Each answer is one JSON object on a line of its own, on standard output; an error is one on standard error:
//! `{"error": "…", "delivery": "…"}`. Exit status: 0 done, 1 the answer is no, 2 usage, 3 the gateway failed. A claim
//! that finds nothing prints nothing and exits 0, after its wait if it has one.

mod answer;
mod claim;
mod parse;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::access::Principal;
use crate::config::{Live, QueueSettings};
use crate::ledger::{Ledger, LedgerError, Policy};
use crate::types::{AccountName, Actor, Clock, DeliveryId, Role, Take};
use parse::Command;

pub struct Services {
    pub config: Live,
    pub ledger: Ledger,
    pub clock: Clock,
}

/// A line for the client, without line end.
#[derive(Debug)]
pub enum Out {
    Line(String),
    Error(String),
}

/// Whether `command` names one of these commands (its first word), for this account's role.
pub fn knows(principal: &Principal, command: &str) -> bool {
    principal.role() == Role::Loader && parse::is_ours(command)
}

/// Runs one command line; returns its exit status (0 done, 1 the answer is no, 2 usage, 3 failed). Cancel-safe: dropping
/// the future while `claim --wait` waits claims nothing.
pub async fn run(command: &str, principal: &Principal, services: &Arc<Services>, out: &mpsc::Sender<Out>) -> u32 {
    let caller = Caller {
        account: principal.account().clone(),
        actor: principal.actor().clone(),
        take: principal.take().clone(),
        ended: principal.ended().clone(),
    };
    if principal.role() != Role::Loader {
        return refuse(No::new("this account is not a loader's: it has no queue"), out).await;
    }
    // As they are now: a reload does not change a command that runs.
    let settings = services.config.borrow().queue.clone();
    let desk = Desk { caller, settings, ledger: &services.ledger, clock: &services.clock };
    desk.serve(command, out).await
}

/// Who asks.
struct Caller {
    account: AccountName,
    actor: Actor,
    take: Take,
    /// The session must end: the account or key was taken away.
    ended: CancellationToken,
}

/// All that one command needs.
struct Desk<'s> {
    caller: Caller,
    settings: QueueSettings,
    ledger: &'s Ledger,
    clock: &'s Clock,
}

impl Desk<'_> {
    async fn serve(&self, command: &str, out: &mpsc::Sender<Out>) -> u32 {
        let answer = match parse::parse(command) {
            Ok(Command::Claim(ask)) => self.claim(ask, out).await,
            Ok(Command::Extend { delivery, lease, by }) => self.extend(delivery, lease, by).await,
            Ok(Command::Ack { delivery, lease }) => self.acknowledge(delivery, lease).await,
            Ok(Command::Nack { delivery, lease, reason }) => self.give_back(delivery, lease, &reason).await,
            Err(usage) => Err(No::usage(usage)),
        };
        match answer {
            Ok(lines) => {
                for line in lines {
                    if out.send(Out::Line(line.to_string())).await.is_err() {
                        break;
                    }
                }
                0
            }
            Err(no) => refuse(no, out).await,
        }
    }

    fn policy(&self) -> Policy {
        let QueueSettings { attempts, backoff, backoff_max, .. } = self.settings;
        Policy { attempts, backoff, backoff_max }
    }
}

/// Why there is no answer, and the exit status that says so.
#[derive(Debug)]
struct No {
    status: u32,
    error: String,
    delivery: Option<DeliveryId>,
}

impl No {
    fn new(error: impl ToString) -> Self {
        Self { status: 1, error: error.to_string(), delivery: None }
    }
    fn usage(error: impl ToString) -> Self {
        Self { status: 2, ..Self::new(error) }
    }
    fn about(mut self, delivery: DeliveryId) -> Self {
        self.delivery = Some(delivery);
        self
    }
}

impl From<LedgerError> for No {
    fn from(error: LedgerError) -> Self {
        let error = match error {
            LedgerError::Closed => "the gateway is closing: try again in a minute".to_owned(),
            failed @ LedgerError::Storage(_) => format!("{failed}; nothing was changed, try again later"),
        };
        Self { status: 3, error, delivery: None }
    }
}

async fn refuse(no: No, out: &mpsc::Sender<Out>) -> u32 {
    let mut line = serde_json::json!({ "error": no.error });
    if let Some(delivery) = no.delivery {
        line["delivery"] = delivery.to_string().into();
    }
    // A client that went away needs no reason.
    let _ = out.send(Out::Error(line.to_string())).await;
    no.status
}
