use super::*;
use FieldsMatch::{Equal, Exact, Partial, Subset, Superset};

const NAMES: [&str; 5] = ["Id", "Sex", "Date of Birth", "Postcode", "Notes"];

/// `type rule column field`, one for each fault.
fn judge(matching: FieldsMatch, labels: &[&str]) -> Vec<String> {
    let wanted = NAMES.map(|name| Wanted { name, demanded: name == "Id" });
    let out = align(&wanted, matching, labels, Severity::Reject);
    let text = |fault: &LabelFault| {
        let column = fault.column.map_or("-".into(), |column| column.to_string());
        format!("{:?} {} {column} {}", fault.kind, fault.rule, fault.field.as_deref().unwrap_or("-"))
    };
    out.faults.iter().map(text).collect()
}

#[test]
fn the_demanded_header_fits_and_columns_know_their_fields() {
    let wanted = NAMES.map(|name| Wanted { name, demanded: false });
    let out = align(&wanted, Exact, &NAMES, Severity::Reject);
    assert!(out.fits() && out.certain);
    assert_eq!(out.fields, [Some(0), Some(1), Some(2), Some(3), Some(4)]);
    let out = align(&wanted, Partial, &["new", "Notes", "Id"], Severity::Reject);
    assert!(out.fits() && !out.certain);
    assert_eq!(out.fields, [None, Some(4), Some(0)]);
}

#[test]
fn an_exact_header_names_each_field_that_is_not_as_it_should_be() {
    let exact = |labels: &[&str]| judge(Exact, labels);
    assert_eq!(exact(&["Id", "Sex", "Postcode", "Notes"]), ["MissingLabel label - Date of Birth"]);
    assert_eq!(exact(&["Id", "Name", "Sex", "Date of Birth", "Postcode", "Notes"]), ["ExtraLabel label 2 Name"]);
    assert_eq!(
        exact(&["Id", "Date of Birth", "Sex", "Postcode", "Notes"]),
        ["IncorrectLabel label-order 2 Sex", "IncorrectLabel label-order 3 Date of Birth"]
    );
    assert_eq!(exact(&["Id", "Sex", "Sex", "Postcode", "Notes"]), ["DuplicateLabel label 3 Date of Birth"]);
    assert_eq!(exact(&["Id", "Sex", "", "Postcode", "Notes"]), ["BlankLabel label 3 Date of Birth"]);
    assert_eq!(exact(&["id", "Sex", "Date of Birth", "Postcode", "Notes"]), ["IncorrectLabel label 1 Id"]);
    assert_eq!(exact(&["\u{FEFF}Id", "Sex", "Date of Birth", "Postcode", "Notes"]), ["IncorrectLabel label 1 Id"]);
    assert_eq!(exact(&["Id", "Sex ", "Date of Birth", "Postcode", "Notes"]), ["IncorrectLabel label-spaces 2 Sex"]);
    assert_eq!(exact(&["Id", "Sex", "Date of Birth", "Postcode\u{A0}", "Notes"]).len(), 1);
    assert_eq!(exact(&["Id", "Sex", "Date of Birth", "Postcode", "Notes", "Sex"]), ["DuplicateLabel label 6 Sex"]);
    assert_eq!(exact(&["Id", "Sex", "Date of Birth", "Postcode", "Notes", ""]), ["BlankLabel label 6 -"]);
}

#[test]
fn without_a_header_no_value_is_named_and_each_field_is_reported_once() {
    let faults = judge(Exact, &["17", "F", "01/01/1950", "", "seen twice"]);
    let wanted: Vec<String> =
        NAMES.iter().zip(1..).map(|(name, column)| format!("IncorrectLabel label {column} {name}")).collect();
    assert_eq!(faults, wanted);
    let faults = judge(Exact, &["17", "F", "01/01/1950", "F", "seen", "Smith"]);
    assert_eq!(faults.last().map(String::as_str), Some("ExtraLabel label 6 -"));
    assert_eq!(
        judge(Exact, &["a;b;c"])[1..],
        ["Sex", "Date of Birth", "Postcode", "Notes"].map(|name| format!("MissingLabel label - {name}"))
    );
}

#[test]
fn fields_match_says_what_may_be_missing_and_what_may_be_more() {
    let all = ["Notes", "Id", "Sex", "Postcode", "Date of Birth"];
    let more = ["Notes", "Id", "Sex", "Postcode", "Date of Birth", "Name"];
    let fewer = ["Notes", "Id"];
    let keyless = ["Notes", "Sex"];
    for matching in [Equal, Subset, Superset, Partial] {
        assert_eq!(judge(matching, &all), [""; 0], "{matching:?}");
        let twice = ["Notes", "Id", "Sex", "Postcode", "Date of Birth", "Sex"];
        assert_eq!(judge(matching, &twice), ["DuplicateLabel label 6 Sex"], "{matching:?}");
    }
    assert_eq!(judge(Equal, &more), ["ExtraLabel label 6 Name"]);
    assert_eq!(judge(Superset, &more), ["ExtraLabel label 6 Name"]);
    assert!(judge(Subset, &more).is_empty() && judge(Partial, &more).is_empty());
    assert_eq!(judge(Equal, &fewer).len(), 3);
    assert_eq!(judge(Subset, &fewer).len(), 3);
    assert!(judge(Superset, &fewer).is_empty() && judge(Partial, &fewer).is_empty());
    assert_eq!(judge(Superset, &keyless), ["MissingLabel label - Id"]);
    assert_eq!(judge(Partial, &keyless), ["MissingLabel label - Id"]);
    assert_eq!(judge(Partial, &["id", "sex"]), ["MissingLabel no-label-matches - -"]);
    assert_eq!(judge(Superset, &["id", "Sex"]), ["IncorrectLabel label 1 Id"]);
}

#[test]
fn a_file_without_a_schema_has_each_label_once() {
    assert!(alone(&["a", "b"]).fits());
    let faults = alone(&["a", " ", "a"]).faults;
    assert_eq!(
        faults.iter().map(|fault| fault.kind).collect::<Vec<_>>(),
        [ErrorType::BlankLabel, ErrorType::DuplicateLabel]
    );
    assert!(faults.iter().all(|fault| fault.field.is_none()));
}

#[test]
fn a_label_is_shown_short_and_without_tricks() {
    assert_eq!(shown("a\u{202E}b\u{1B}c"), "a\u{FFFD}b\u{FFFD}c");
    assert_eq!(shown(&"x".repeat(1000)).len(), 64);
}
