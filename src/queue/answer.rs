//! `extend`, `ack`, `nack`: what the holder of a lease says of its delivery.
//!
//! Must never tell an account of a delivery that it did not claim. Called by `mod`.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Desk, No};
use crate::ledger::LeaseError;
use crate::types::{DeliveryId, LeaseId};

impl Desk<'_> {
    pub(super) async fn extend(
        &self,
        delivery: DeliveryId,
        lease: LeaseId,
        by: Option<Duration>,
    ) -> Result<Vec<Value>, No> {
        let by = by.unwrap_or(self.settings.lease);
        if by > self.settings.lease_max {
            return Err(No::usage(self.too_long("--for")).about(delivery));
        }
        // A right that was taken away is not prolonged; what is held may still be acknowledged or given back.
        let found = self.ledger.delivery(delivery).await?;
        let covered =
            |receipt: &crate::audit::Receipt| self.caller.take.covers(&receipt.organisation, &receipt.dataset);
        if !found.is_some_and(|found| covered(&found.receipt)) {
            return Err(No::new(LeaseError::Unknown).about(delivery));
        }
        let actor = self.caller.actor.clone();
        let extended = self.ledger.extend(delivery, lease, by, actor, self.policy(), self.clock.now()).await?;
        let expires = extended.map_err(|refused| No::new(refused).about(delivery))?;
        Ok(vec![json!({ "delivery": delivery, "lease_expires": expires })])
    }

    /// Repeating it under the same lease is fine: the answer may have been lost on the way.
    pub(super) async fn acknowledge(&self, delivery: DeliveryId, lease: LeaseId) -> Result<Vec<Value>, No> {
        let actor = self.caller.actor.clone();
        match self.ledger.acknowledge(delivery, lease, actor, self.policy(), self.clock.now()).await? {
            Ok(()) | Err(LeaseError::AlreadyAcknowledged) => {
                Ok(vec![json!({ "delivery": delivery, "state": "loaded" })])
            }
            Err(refused) => Err(No::new(refused).about(delivery)),
        }
    }

    pub(super) async fn give_back(&self, delivery: DeliveryId, lease: LeaseId, reason: &str) -> Result<Vec<Value>, No> {
        let actor = self.caller.actor.clone();
        let given = self.ledger.give_back(delivery, lease, reason, actor, self.policy(), self.clock.now()).await?;
        let returned = given.map_err(|refused| No::new(refused).about(delivery))?;
        Ok(vec![json!({ "delivery": delivery, "state": returned.state, "available": returned.available })])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Counter, at, heard, org};
    use crate::ledger::DeliveryState;
    use crate::types::{LeaseId, Take, Timestamp};
    use std::time::Duration;

    #[tokio::test]
    async fn an_acknowledgement_may_be_repeated_but_not_by_others() {
        let counter = Counter::new();
        counter.put("harbour", "a.csv").await;
        let (delivery, lease) = counter.claimed("loader").await;
        let ack = format!("ack {delivery} --lease {lease}");
        let (status, lines, errors) = counter.ask("other", &ack).await;
        assert_eq!((status, lines.len(), &errors[0]["error"]), (1, 0, &"no such delivery".into()));
        assert_eq!(errors[0]["delivery"], delivery);
        for _ in 0..2 {
            let (status, lines, _) = counter.ask("loader", &ack).await;
            assert_eq!((status, lines), (0, vec![serde_json::json!({"delivery": delivery, "state": "loaded"})]));
        }
        let wrong = format!("ack {delivery} --lease {}", LeaseId::new(at(0)));
        assert_eq!(counter.ask("loader", &wrong).await.0, 1);
    }

    #[tokio::test]
    async fn extending_answers_the_new_end_within_the_bound() {
        let counter = Counter::new();
        counter.put("harbour", "a.csv").await;
        let (delivery, lease) = counter.claimed("loader").await;
        let (_, lines, _) = counter.ask("loader", &format!("extend {delivery} --lease {lease} --for 30m")).await;
        assert_eq!(lines[0]["lease_expires"].as_str().unwrap().parse::<Timestamp>().unwrap(), at(2800));
        let (status, _, errors) = counter.ask("loader", &format!("extend {delivery} --lease {lease} --for 61m")).await;
        assert_eq!((status, &errors[0]["error"]), (2, &"--for may be 1h at most".into()));
    }

    #[tokio::test]
    async fn a_right_that_was_taken_away_is_not_prolonged_but_may_be_ended() {
        let counter = Counter::new();
        counter.put("harbour", "a.csv").await;
        let (delivery, lease) = counter.claimed("loader").await;
        let narrow = counter.desk("loader", Take { orgs: Some([org("mill-lane")].into()), datasets: None });
        assert_eq!(heard(&narrow, &format!("extend {delivery} --lease {lease}")).await.0, 1);
        assert_eq!(heard(&narrow, &format!("ack {delivery} --lease {lease}")).await.0, 0);
    }

    #[tokio::test]
    async fn giving_back_answers_when_it_is_available_until_it_is_dead() {
        let counter = Counter::new();
        let id = counter.put("harbour", "a.csv").await;
        let (delivery, lease) = counter.claimed("loader").await;
        let (status, lines, _) =
            counter.ask("loader", &format!("nack {delivery} --lease {lease} --reason can't load")).await;
        assert_eq!((status, &lines[0]["state"]), (0, &"ready".into()));
        assert_eq!(lines[0]["available"].as_str().unwrap().parse::<Timestamp>().unwrap(), at(1030));
        assert_eq!(counter.ask("loader", "claim").await.1.len(), 0);

        counter.clock.advance(Duration::from_secs(30));
        let (_, lease) = counter.claimed("loader").await;
        let (_, lines, _) = counter.ask("loader", &format!("nack {delivery} --lease {lease} --reason again")).await;
        assert_eq!(lines[0], serde_json::json!({"delivery": delivery, "state": "dead", "available": null}));
        let dead = counter.books.ledger.delivery(id).await.unwrap().unwrap();
        assert_eq!((dead.state, dead.last_reason.as_deref()), (DeliveryState::Dead, Some("again")));
        counter.books.assert_whole().await;
    }

    #[tokio::test]
    async fn a_lease_that_ran_out_is_told_so() {
        let counter = Counter::new();
        counter.put("harbour", "a.csv").await;
        let (delivery, lease) = counter.claimed("loader").await;
        counter.clock.advance(Duration::from_secs(60));
        for command in ["ack", "extend", "nack"] {
            let reason = if command == "nack" { " --reason late" } else { "" };
            let (status, _, errors) =
                counter.ask("loader", &format!("{command} {delivery} --lease {lease}{reason}")).await;
            assert_eq!(
                (status, &errors[0]["error"]),
                (1, &"this lease is over: the delivery went back to the queue".into())
            );
        }
    }

    #[tokio::test]
    async fn usage_and_a_closed_ledger_have_their_own_exit_statuses() {
        let counter = Counter::new();
        let (status, _, errors) = counter.ask("loader", "claim --orgs x").await;
        assert_eq!((status, errors.len()), (2, 1));
        counter.books.ledger.close().await.unwrap();
        let (status, _, errors) = counter.ask("loader", "claim").await;
        assert_eq!((status, &errors[0]["error"]), (3, &"the gateway is closing: try again in a minute".into()));
    }
}
