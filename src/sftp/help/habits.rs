//! How strict a dataset is where it differs from the default: the habits of exports, each with what becomes of it.
//!
//! Must never be silent on a habit that another dataset would take. Does no input or output. Called by `dataset`.

use super::dataset::entry;
use crate::config::{Policy, Severity};

pub(super) fn describe(text: &mut String, policy: &Policy) {
    let usual = named(&Policy::default());
    let mut label = "Strictness";
    for ((habit, verdict), (_, default)) in named(policy).into_iter().zip(usual) {
        if verdict != default {
            entry(text, label, &format!("{habit}: {}", word(verdict)));
            label = "";
        }
    }
}

fn named(policy: &Policy) -> [(&'static str, Severity); 11] {
    // All fields, so that a new one cannot be forgotten here.
    let Policy {
        formulas,
        hidden_characters,
        mojibake,
        control_characters,
        mixed_line_ends,
        cr_line_ends,
        no_final_line_end,
        trailing_blank_rows,
        label_spaces,
        value_spaces,
        unpadded_dates,
    } = *policy;
    [
        ("cells that a spreadsheet would take for a formula (they begin with =, +, - or @)", formulas),
        ("characters that hide or reorder text", hidden_characters),
        ("text that was converted twice (such as \u{c3}\u{a9} for \u{e9})", mojibake),
        ("control characters in a cell", control_characters),
        ("rows that end in different ways (CRLF, LF)", mixed_line_ends),
        ("rows that end in CR alone", cr_line_ends),
        ("a last row without a line end", no_final_line_end),
        ("blank rows after the last", trailing_blank_rows),
        ("spaces around a label", label_spaces),
        ("spaces around a number, date or boolean", value_spaces),
        ("dates without leading zeros (1/2/2026 for 01/02/2026)", unpadded_dates),
    ]
}

fn word(verdict: Severity) -> &'static str {
    match verdict {
        Severity::Accept => "taken",
        Severity::Flag => "taken, with a remark",
        Severity::Reject => "rejected",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_said_and_what_it_comes_to() {
        let mut text = String::new();
        describe(&mut text, &Policy::default());
        assert_eq!(text, "");
        let policy = Policy {
            formulas: Severity::Reject,
            value_spaces: Severity::Flag,
            mojibake: Severity::Accept,
            ..Policy::default()
        };
        describe(&mut text, &policy);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("    Strictness") && lines[0].ends_with(": rejected"), "{text}");
        assert!(lines[1].ends_with(": taken") && lines[2].ends_with(": taken, with a remark"), "{text}");
    }
}
