//! A draft of several segments becomes one age file: opened, digested, checked, scanned and sealed anew in one streaming
//! pass, within the CLOSE or RENAME that completes it.
//!
//! Must never write a byte that is not sealed. Called by `ending`.

use super::admit::admit;
use super::ending::End;
use super::pipeline::{Broken, Finished, Pipeline, Stop, Want};
use super::segments::Segments;
use super::upload::failure_of_draft;
use crate::types::Refusal;

/// Puts the first `size` bytes of a draft together. Gives the segments back in any case: they are needed until what came
/// of them is durable.
///
/// # Errors
/// The gateway failed, or its configuration takes the file no more: the draft is as it was.
pub(super) async fn consolidate(
    end: &End,
    segments: Segments,
    size: u64,
    want: Want,
) -> (Segments, Result<Finished, Refusal>) {
    let config = end.intake.config.borrow().clone();
    let seed = match admit(&config, &end.facts.org, &end.place, &end.name) {
        Ok(admitted) => end.intake.seed(&config, &admitted, &end.facts, segments.next_number(), false).await,
        Err(refusal) => Err(refusal),
    };
    let seed = match seed {
        Ok(seed) => seed,
        Err(refusal) => return (segments, Err(refusal)),
    };
    let pass = move || {
        let came = Pipeline::new(seed).and_then(|pipeline| read(pipeline, &segments, size, want));
        (segments, came)
    };
    match tokio::task::spawn_blocking(pass).await {
        Ok((segments, Ok(finished))) => (segments, Ok(finished)),
        Ok((segments, Err(broken))) => {
            tracing::error!(upload.id = %end.facts.upload, org = %end.facts.org, error = broken.detail, "a draft could not be put together");
            (segments, Err(failure_of_draft(&broken)))
        }
        Err(error) => {
            tracing::error!(upload.id = %end.facts.upload, %error, "putting a draft together failed inside");
            (
                Segments::default(),
                Err(Refusal::failure("the gateway failed over this file: send it again from its beginning")),
            )
        }
    }
}

fn read(mut pipeline: Pipeline, segments: &Segments, size: u64, want: Want) -> Result<Finished, Broken> {
    let mut broken = None;
    segments.read(size, |bytes| match pipeline.push(bytes) {
        // What is faulty is digested to its end, for the report, and sealed where it is quarantined.
        Ok(()) | Err(Stop::Fault(_)) => true,
        Err(Stop::Broken(why)) => {
            broken = Some(why);
            false
        }
    })?;
    match broken {
        Some(broken) => Err(broken),
        None => pipeline.finish(want),
    }
}
