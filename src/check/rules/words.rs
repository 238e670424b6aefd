//! The rules in plain sentences, for people who make the extracts.

use super::compiled::{Compiled, Restriction, Rule, Test};
use super::period;
use super::spec::{ForbiddenSet, ForbiddenSpec, RowsSpec};
use crate::check::Severity;

pub(super) fn describe(all: &Compiled) -> Vec<String> {
    let rules = all.rules.iter().map(|rule| {
        let mut sentence = of_rule(all, rule);
        if rule.verdict == Severity::Flag {
            sentence.push_str(" Otherwise the file is taken with a remark.");
        }
        sentence
    });
    let restrictions = all.restrictions.iter().map(|restriction| of_restriction(all, restriction));
    rules.chain(restrictions).chain(of_forbidden(&all.forbidden_spec)).chain(of_rows(&all.rows)).collect()
}

fn of_rule(all: &Compiled, rule: &Rule) -> String {
    match &rule.test {
        Test::AnyPresent { columns, .. } => match columns[..] {
            [one] => format!("{} must be filled in.", quoted(all, &[one], "")),
            _ => format!("At least one of {} must be filled in.", quoted(all, columns, "or")),
        },
        Test::Shape { shape, columns } => {
            format!("{} must hold {}.", quoted(all, columns, "and"), shape.words())
        }
        Test::NotInFuture { columns } => format!("{} must not be in the future.", quoted(all, columns, "and")),
        Test::InOrder { columns } => {
            let pairs = columns.windows(2).filter_map(|pair| match pair {
                [earlier, later] => {
                    Some(format!("{} must not be before {}", quoted(all, &[*later], ""), quoted(all, &[*earlier], "")))
                }
                _ => None,
            });
            format!("{}.", list(&pairs.collect::<Vec<_>>(), "and"))
        }
        Test::WithinPeriod { columns, part } => format!(
            "{} must be within the period that the file's name gives ({part}: {}).",
            quoted(all, columns, "and"),
            period::FORMS
        ),
        Test::SameAsName { column, part } => {
            format!("{} must be the same as {part} in the file's name.", quoted(all, &[*column], ""))
        }
        Test::Product { column, factors, tolerance } => {
            let factors: Vec<String> = factors.iter().map(|factor| quoted(all, &[*factor], "")).collect();
            let tolerance = match tolerance.to_string() {
                none if none == "0" => String::new(),
                some => format!(", give or take {some}"),
            };
            format!("{} must be {}{tolerance}.", quoted(all, &[*column], ""), factors.join(" times "))
        }
    }
}

fn of_restriction(all: &Compiled, restriction: &Restriction) -> String {
    match restriction {
        Restriction::Consent { column, given } => {
            let given: Vec<String> = given.iter().map(|text| format!("{text:?}")).collect();
            let column = quoted(all, &[*column], "");
            format!("Rows in which {column} is not {} are marked as restricted.", given.join(" or "))
        }
        Restriction::Objection { when, .. } => {
            let when = when
                .iter()
                .map(|condition| format!("{} is {:?}", quoted(all, &[condition.column], ""), condition.text));
            format!("Rows in which {} are marked as restricted.", when.collect::<Vec<_>>().join(" and "))
        }
    }
}

fn of_forbidden(spec: &ForbiddenSpec) -> Option<String> {
    let sets = spec.sets.iter().map(|set| match set {
        ForbiddenSet::Names => "people's names".to_owned(),
        ForbiddenSet::Addresses => "addresses".into(),
        ForbiddenSet::Contacts => "telephone numbers, e-mail addresses or other contact details".into(),
        ForbiddenSet::Identifiers => "official identifiers such as National Insurance numbers".into(),
    });
    let labels = spec.labels.iter().map(|label| format!("{label:?}"));
    let what: Vec<String> = sets.chain(labels).collect();
    (!what.is_empty()).then(|| format!("There must be no column for {}.", list(&what, "or")))
}

fn of_rows(rows: &RowsSpec) -> Vec<String> {
    let mut sentences = Vec::new();
    match (rows.least, rows.most) {
        (Some(least), Some(most)) => sentences.push(format!("A file has {least} to {most} rows below the header.")),
        (Some(least), None) => {
            sentences.push(format!("A file has at least {} below the header.", rows_in_words(least)))
        }
        (None, Some(most)) => sentences.push(format!("A file has at most {} below the header.", rows_in_words(most))),
        (None, None) => {}
    }
    let Some(change) = rows.change.filter(|change| change.verdict != Severity::Accept) else { return sentences };
    let bounds =
        [change.less.map(|less| format!("fewer than {less}%")), change.more.map(|more| format!("more than {more}%"))];
    let bounds: Vec<String> = bounds.into_iter().flatten().collect();
    let what = if change.verdict == Severity::Reject { "is refused" } else { "is taken with a remark" };
    if !bounds.is_empty() {
        sentences.push(format!("A file with {} of the rows of your last one {what}.", bounds.join(" or ")));
    }
    sentences
}

fn rows_in_words(rows: u64) -> String {
    if rows == 1 { "1 row".into() } else { format!("{rows} rows") }
}

fn quoted(all: &Compiled, columns: &[usize], before_last: &str) -> String {
    let names: Vec<String> =
        columns.iter().filter_map(|column| all.fields.get(*column)).map(|name| format!("{name:?}")).collect();
    list(&names, before_last)
}

/// `a, b and c`
fn list(items: &[String], before_last: &str) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} {before_last} {last}", most.join(", ")),
    }
}
