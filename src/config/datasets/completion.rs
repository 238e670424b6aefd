//! `complete`, `marker` and `interrupted`: when an upload is whole, and whether its end is believed.
//!
//! Reads; called by [`super::read`].

use toml::de::DeValue;

use super::super::section::{At, Section, Wrong};
use super::super::value::{choice, text};
use super::{Completion, Dataset, Marker, SEVERITIES};
use crate::check::Severity;

const NAME: &str = "{name}";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Close,
    Companion,
    Marker,
}

pub(super) fn read(file: &mut Section<'_>, dataset: &mut Dataset) {
    let by = file
        .optional("complete", choice(&[("close", By::Close), ("companion", By::Companion), ("marker", By::Marker)]));
    let marker = file.optional("marker", marker);
    dataset.interrupted = file.or("interrupted", Severity::Flag, choice(&SEVERITIES));
    match (by, marker) {
        (Some(At { value: By::Marker, .. }), Some(marker)) => dataset.complete = Completion::Marker(marker.value),
        (Some(At { value: By::Marker, span }), None) => {
            if file.stands("marker").is_none() {
                let help = "write marker = \"{name}.done\", where {name} stands for the extract's name";
                file.error(Some(span), "complete: which file is the marker is not said", help);
            }
        }
        (_, Some(marker)) => {
            let help = "write complete = \"marker\", or take marker away";
            file.error(Some(marker.span), "marker: nothing waits for one", help);
        }
        (Some(At { value: By::Companion, .. }), None) => dataset.complete = Completion::Companion,
        (Some(At { value: By::Close, .. }) | None, None) => {}
    }
}

fn marker(value: &DeValue<'_>) -> Result<Marker, Wrong> {
    let text = text(value)?;
    let wrong = |what: String| {
        Wrong::new(
            what,
            "write the extract's name as {name} and what the marker's has besides, such as \"{name}.done\"",
        )
    };
    let Some((before, after)) = text.split_once(NAME) else { return Err(wrong(format!("{text:?} has no {{name}}"))) };
    if before.is_empty() && after.is_empty() || after.contains(NAME) {
        return Err(wrong(format!("{text:?} does not tell a marker from its extract")));
    }
    if format!("{before}a{after}").parse::<crate::types::FileName>().is_err() || before.len() + after.len() > 64 {
        return Err(wrong(format!("{text:?} is no file name")));
    }
    Ok(Marker { before: before.to_owned(), after: after.to_owned() })
}

/// Refuses what could never complete anything. Called when companions and the name are known.
pub(super) fn look(file: &Section<'_>, dataset: &Dataset, takes: impl Fn(&str, &str) -> bool) {
    match &dataset.complete {
        Completion::Companion if dataset.companion.kinds.is_empty() => {
            let help = "add [companion] with kinds = [\"sha256\"], or write complete = \"close\"";
            file.error(file.stands("complete"), "complete: no kind of companion is taken", help);
        }
        Completion::Marker(marker) if takes(&marker.before, &marker.after) => {
            let help = "write a name pattern that does not fit them, such as name = '.+\\.csv'";
            file.error(file.stands("marker"), "marker: names like that are taken as extracts, too", help);
        }
        _ => {}
    }
}
