//! Operations that wait for the disk: run beside the session, answered when they are done, in turn for each name.
//!
//! Must never hold up the session, but when more of them run than it may have. Called by the operations.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_util::sync::{CancellationToken, DropGuard};

use super::Out;
use super::dispatch::{Operation, Request};
use super::provider::Spot;
use super::reply::{self, Answer};
use super::session::Core;
use super::shared::{About, Shared};
use super::status::No;
use crate::types::Refusal;

/// Who works on which name: requests about one name are done in the order in which they came (section 6.1 of the draft).
#[derive(Default)]
pub(super) struct Turns(HashMap<Spot, CancellationToken>);

/// A place in the order. Dropping it lets the next one go.
pub(super) struct Turn {
    before: Vec<CancellationToken>,
    _mine: DropGuard,
}

impl Turns {
    pub fn take(&mut self, spots: &[Spot]) -> Turn {
        // What is done leaves the map here; it holds no more than the operations that a session may have, twice.
        self.0.retain(|_, turn| !turn.is_cancelled());
        let mine = CancellationToken::new();
        let before: Vec<_> = spots.iter().filter_map(|spot| self.0.get(spot).cloned()).collect();
        for spot in spots {
            self.0.insert(spot.clone(), mine.clone());
        }
        Turn { before, _mine: mine.drop_guard() }
    }

    /// Whether an operation on that name is under way.
    pub fn is_busy(&self, spot: &Spot) -> bool {
        self.0.get(spot).is_some_and(|turn| !turn.is_cancelled())
    }

    /// Waits until no operation on that name is under way.
    pub async fn settled(&self, spot: &Spot) {
        if let Some(turn) = self.0.get(spot) {
            turn.cancelled().await;
        }
    }
}

impl Turn {
    async fn comes(&self) {
        for before in &self.before {
            before.cancelled().await;
        }
    }
}

impl Core {
    /// Runs `work` beside the session, after whatever is under way on the names `spots`, and answers with what it comes to.
    pub async fn later<const N: usize>(
        &mut self,
        request: &Request<'_>,
        spots: [Spot; N],
        work: impl Future<Output = Result<Answer, Refusal>> + Send + 'static,
    ) -> Result<Answer, No> {
        let closed = |_| Refusal::failure("the session is ending");
        let place = self.shared.operations.clone().acquire_owned().await.map_err(closed)?;
        let turn = self.turns.take(&spots);
        let (shared, id, operation) = (self.shared.clone(), request.id, request.operation);
        let about = std::mem::take(&mut self.about);
        tokio::spawn(async move {
            turn.comes().await;
            // A task of its own: should it panic, the client still gets an answer.
            let outcome = tokio::spawn(work).await.unwrap_or_else(|error| {
                tracing::error!(error = %error, "an operation failed inside");
                Err(Refusal::failure("the gateway failed over this request: ask the people who run it"))
            });
            // Next in turn, and a place for another, before anything is sent: the connection may be waiting for just
            // that, and takes nothing meanwhile.
            drop(turn);
            drop(place);
            answer(&shared, id, operation, &about, outcome).await;
        });
        Ok(Answer::Later)
    }
}

async fn answer(shared: &Arc<Shared>, id: u32, operation: &Operation, about: &About, outcome: Result<Answer, Refusal>) {
    let mut packet = Vec::with_capacity(64);
    match outcome {
        Ok(answer) => {
            if let Answer::Accepted(receipt) = &answer {
                say(shared, shared.lines.accepted(receipt)).await;
            }
            reply::answer(&mut packet, id, &answer);
        }
        Err(refusal) => {
            say(shared, shared.refused(operation, about, &refusal).await).await;
            reply::refusal(&mut packet, id, &refusal);
        }
    }
    shared.send_late(Out::Data(packet)).await;
}

async fn say(shared: &Shared, lines: Vec<String>) {
    for line in lines {
        shared.send_late(Out::Line(line)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Place;

    fn spot(name: &str) -> Spot {
        Spot { place: Place::Inbox, name: name.parse().unwrap() }
    }

    fn is_ready(turn: &Turn) -> bool {
        turn.before.iter().all(CancellationToken::is_cancelled)
    }

    #[tokio::test]
    async fn operations_on_one_name_go_in_turn_and_others_do_not_wait() {
        let mut turns = Turns::default();
        let close = turns.take(&[spot("a.part")]);
        let rename = turns.take(&[spot("a.part"), spot("a")]);
        let stat = turns.take(&[spot("a")]);
        let other = turns.take(&[spot("b")]);
        assert!(is_ready(&close) && is_ready(&other));
        assert!(!is_ready(&rename) && !is_ready(&stat));
        drop(close);
        assert!(is_ready(&rename) && !is_ready(&stat));
        rename.comes().await;
        drop(rename);
        assert!(is_ready(&stat));
        assert!(turns.is_busy(&spot("a")) && !turns.is_busy(&spot("a.part")));
        drop(stat);
        turns.settled(&spot("a")).await;
    }

    #[tokio::test]
    async fn a_rename_onto_itself_does_not_wait_for_itself() {
        let mut turns = Turns::default();
        assert!(is_ready(&turns.take(&[spot("a"), spot("a")])));
    }

    #[test]
    fn what_is_done_is_forgotten() {
        let mut turns = Turns::default();
        for n in 0..1000 {
            drop(turns.take(&[spot(&n.to_string())]));
        }
        assert!(turns.0.len() <= 1);
    }
}
