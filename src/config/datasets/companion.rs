//! `[companion]`: the small files that vouch for an extract.
//!
//! Reads; called by [`super::read`].

use std::ops::Range;

use super::super::section::Section;
use super::super::value::{boolean, choice};
use super::{Companion, CompanionKind, Dataset};
use crate::check::Format;
use crate::types::FileName;

const KINDS: [(&str, CompanionKind); 3] =
    [("sha256", CompanionKind::Sha256), ("md5", CompanionKind::Md5), ("totals", CompanionKind::Totals)];

/// What is taken, and where the file says so.
pub(super) fn read(file: &mut Section<'_>) -> (Companion, Option<Range<usize>>) {
    let mut section = file.table("companion");
    let kinds = section.list("kinds", choice(&KINDS));
    let span = kinds.as_ref().map(|list| list.span.clone());
    let some = section.items("kinds") > 0;
    let required = section.optional("required", boolean);
    if let Some(at) = required.as_ref().filter(|at| at.value && !some) {
        let help = "add kinds = [\"sha256\"], or take required away";
        section.error(Some(at.span.clone()), "required: no kind of companion is taken", help);
    }
    section.finish();
    let kinds = kinds.into_iter().flat_map(|list| list.value).map(|at| at.value).collect();
    (Companion { kinds, required: required.is_some_and(|at| at.value) }, span)
}

/// Refuses companions that could not be told from extracts, and totals that nobody could state.
pub(super) fn look(
    file: &Section<'_>,
    companion: &Companion,
    span: Option<Range<usize>>,
    dataset: &Dataset,
    totals: Option<Range<usize>>,
) {
    let opaque = dataset.rules.format == Format::Opaque;
    if opaque && companion.kinds.contains(&CompanionKind::Totals) {
        let help = "leave sha256 and md5, or write format = \"csv\"";
        file.error(span.clone(), "companion: an opaque dataset has no rows or columns to sum up", help);
    }
    if let (Some(totals), false, false) = (totals, companion.kinds.contains(&CompanionKind::Totals), opaque) {
        let help = "add \"totals\" to kinds under [companion], or take [totals] away";
        file.error(Some(totals), "totals: no companion is taken that could state them", help);
    }
    // The name was refused: what it takes is unknown.
    if dataset.rules.name.is_none() && file.stands("name").is_some() {
        return;
    }
    for (ending, kind) in KINDS {
        if companion.kinds.contains(&kind) && takes(dataset, "", &format!(".{ending}")) {
            let message = format!("companion: names that end in .{ending} are taken as extracts, too");
            let help = "write a name pattern that does not fit them, such as name = '.+\\.csv'";
            return file.error(span, message, help);
        }
    }
}

/// Whether the dataset itself takes a name with this before and after it. A pattern is asked with likely names, its own hint among them.
pub(super) fn takes(dataset: &Dataset, before: &str, after: &str) -> bool {
    let hint = dataset.rules.name_hint.as_deref().unwrap_or_default();
    let words = hint.split([' ', ',', ';']).filter(|word| !word.is_empty());
    let names = ["a", "x.csv", "extract.csv", "A1.dat", "2026-05.csv"].into_iter().chain(words);
    let fits = |name: &str| {
        let name = format!("{before}{name}{after}").parse::<FileName>();
        name.is_ok_and(|name| dataset.rules.name_fits(&name).is_ok())
    };
    names.into_iter().any(fits)
}
