//! What was rejected in this session, and why: for clients that pass over the answer to CLOSE and learn from the next
//! request that their file is not there (paramiko asks for its size, curl renames it).
//!
//! Must never hold more than a few. Called by the operations that end an upload or miss one.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::provider::Spot;
use super::tree::missing;
use crate::types::{Refusal, RefusalKind};

/// Rejections that are remembered.
const MOST: usize = 16;

#[derive(Default)]
pub(super) struct Rejections(Mutex<VecDeque<(Spot, String)>>);

impl Rejections {
    /// An upload begins at a spot: what was there before does not matter any more.
    pub fn begin(&self, spot: &Spot) {
        self.with(|all| all.retain(|(at, _)| at != spot));
    }

    /// What an upload at a spot came to.
    pub fn note(&self, spot: &Spot, refusal: &Refusal) {
        if refusal.kind != RefusalKind::Rejected {
            return;
        }
        self.with(|all| {
            all.retain(|(at, _)| at != spot);
            all.push_front((spot.clone(), refusal.reason.clone()));
            all.truncate(MOST);
        });
    }

    /// The refusal of a request for what is not at a spot.
    pub fn missing(&self, spot: &Spot) -> Refusal {
        let why = self.with(|all| all.iter().find(|(at, _)| at == spot).map(|(_, reason)| reason.clone()));
        match why {
            Some(reason) => {
                Refusal::not_found(format!("no such file: {:?} was rejected: {reason}", spot.name.as_str()))
            }
            None => missing(),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut VecDeque<(Spot, String)>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Place;

    fn spot(name: &str) -> Spot {
        Spot { place: Place::Inbox, name: name.parse().unwrap() }
    }

    #[test]
    fn a_missing_file_that_was_rejected_says_why_until_it_is_sent_again() {
        let rejections = Rejections::default();
        let a = spot("a.csv");
        rejections.note(&a, &Refusal::rejected("row 3 is short"));
        rejections.note(&spot("b.csv"), &Refusal::failure("the disk is full"));
        assert_eq!(rejections.missing(&a), Refusal::not_found("no such file: \"a.csv\" was rejected: row 3 is short"));
        assert_eq!(rejections.missing(&spot("b.csv")), missing(), "what the gateway failed at was not rejected");
        rejections.begin(&a);
        assert_eq!(rejections.missing(&a), missing());
    }

    #[test]
    fn only_the_latest_are_remembered() {
        let rejections = Rejections::default();
        for n in 0..100 {
            rejections.note(&spot(&n.to_string()), &Refusal::rejected("no"));
        }
        assert_eq!(rejections.with(|all| all.len()), MOST);
        assert_eq!(rejections.missing(&spot("0")), missing());
        assert_ne!(rejections.missing(&spot("99")), missing());
    }
}
