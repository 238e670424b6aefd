//! A draft that was broken off often has many segments: when it is gone on with, each stretch of them without a gap is sealed
//! anew as one, so that no draft grows past the number of its places.
//!
//! Must never write a byte that is not sealed, nor end a segment before the ticket names what stands for it. Called by
//! `drafts`.

use std::sync::Arc;

use super::facts::Facts;
use super::pipeline::Broken;
use super::registry::Body;
use super::sealing::{Origin, Sealing};
use super::segments::Segments;
use super::ticket::Tickets;

/// From half of its places on: the other half is for what its client does next.
pub(super) fn is_due(segments: &Segments, most: usize) -> bool {
    let count = segments.all().len();
    count >= most / 2 && segments.stretches().len() < count
}

/// Joins them. Gives back what the draft consists of then: as it was, when that failed.
pub(super) async fn join(
    tickets: &Tickets,
    facts: &Arc<Facts>,
    origin: Origin,
    segments: Segments,
    closed: bool,
) -> (Segments, Result<(), Broken>) {
    let (tickets, facts) = (tickets.clone(), facts.clone());
    let work = move || match sealed_anew(origin, &segments) {
        Ok(joined) => {
            let body = Body::Pieces(joined);
            tickets.keep(&facts, &body, closed);
            drop(segments);
            let Body::Pieces(joined) = body else { return (Segments::default(), Ok(())) };
            (joined, Ok(()))
        }
        Err(broken) => (segments, Err(broken)),
    };
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|error| (Segments::default(), Err(Broken::store(error.to_string()))))
}

fn sealed_anew(mut origin: Origin, segments: &Segments) -> Result<Segments, Broken> {
    origin.number = segments.next_number();
    let mut joined = Segments::default();
    for (from, to) in segments.stretches() {
        let mut sealing = Sealing::begin(&mut origin)?;
        let mut pushed = Ok(());
        segments.read_between(from, to, |bytes| {
            pushed = sealing.push(bytes);
            pushed.is_ok()
        })?;
        pushed?;
        joined.push(sealing.end(from)?);
    }
    Ok(joined)
}
