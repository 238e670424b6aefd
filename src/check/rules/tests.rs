//! Rules as rows meet them.

use super::*;
use crate::check::row::Span;

/// Column names and types that the tests' rows have.
const COLUMNS: [(&str, Type); 8] = [
    ("NHS Number", Type::Text),
    ("Local ID", Type::Text),
    ("Start", Type::Date),
    ("End", Type::Date),
    ("Quantity", Type::Integer),
    ("Fee", Type::Number),
    ("Total", Type::Number),
    ("Consent", Type::Text),
];

pub(super) fn columns() -> Vec<Column<'static>> {
    COLUMNS.iter().map(|(name, kind)| Column { name, kind: *kind, judge: Box::new(judge) }).collect()
}

/// Empty is missing, `!` is wrong, `d5` is a date, `1.5` a number, `@` cannot be.
fn judge(text: &str) -> (Value, bool) {
    let value = match text {
        "" => Value::Missing,
        "!" | "@" => Value::Wrong,
        text => match (text.strip_prefix('d').and_then(|day| day.parse().ok()), text.split_once('.')) {
            (Some(day), _) => Value::Date(day),
            (None, Some((whole, part))) => match format!("{whole}{part}").parse() {
                Ok(mantissa) => Value::Number { mantissa, scale: part.len() as u8 },
                Err(_) => Value::Text,
            },
            (None, None) => text.parse().map_or(Value::Text, Value::Integer),
        },
    };
    (value, value != Value::Wrong)
}

fn rule(kind: Kind) -> Specs {
    Specs { rules: vec![Spec { kind, verdict: Severity::Reject, label: None }], ..Specs::default() }
}

fn rule_set(specs: &Specs) -> RuleSet {
    RuleSet(Arc::new(compile::compile(specs, Some(&columns()), &["agency", "period"]).unwrap()))
}

fn context() -> Context {
    let parts = [("agency", "LIV0123"), ("period", "1970-01")].map(|(part, text)| (part.to_owned(), text.to_owned()));
    // The tests' day 100.
    Context { parts: parts.into(), today: jiff::civil::date(1970, 4, 11), last_rows: Some(1000) }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

struct Pass {
    checks: RowChecks,
    out: Collector,
    next: u64,
}

impl Pass {
    fn of(specs: &Specs) -> Self {
        Self::with(specs, &context())
    }

    fn with(specs: &Specs, context: &Context) -> Self {
        Self { checks: rule_set(specs).begin(context), out: Collector::new(100), next: 2 }
    }

    /// The cells of [`COLUMNS`]; those that are left out are empty.
    fn row(&mut self, cells: &[&str]) -> Result<(), Fault> {
        let text = cells.concat();
        let mut start = 0;
        let mut spans = Vec::new();
        let mut values = Vec::new();
        for cell in cells {
            spans.push(Some(Span { start, end: start + cell.len() as u32 }));
            start += cell.len() as u32;
            values.push(judge(cell).0);
        }
        let columns: Vec<u32> = (1..=COLUMNS.len() as u32).collect();
        let row = Row { number: self.next, text: &text, cells: &spans, values: &values, columns: &columns };
        self.next += 1;
        self.checks.row(&row, &mut self.out)
    }

    fn end(self) -> (super::super::Report, RulesOutcome) {
        let Self { checks, mut out, next } = self;
        let outcome = checks.finish(next - 2, &mut out);
        (out.finish(), outcome)
    }
}

/// (rule, row, field) of what is found in rows from 2 on.
fn found(specs: &Specs, rows: &[&[&str]]) -> Vec<(String, u64, String)> {
    let mut pass = Pass::of(specs);
    for row in rows {
        pass.row(row).unwrap();
    }
    let problems = pass.end().0.first.into_iter();
    problems.map(|p| (p.rule, p.row.unwrap_or(0), p.field.unwrap_or_default())).collect()
}

fn at(rule: &str, row: u64, field: &str) -> (String, u64, String) {
    (rule.into(), row, field.into())
}

#[test]
fn at_least_one_of_several_must_be_filled_in() {
    let specs = rule(Kind::AnyPresent { columns: strings(&["NHS Number", "Local ID"]) });
    let rows: [&[&str]; 5] = [&["a", ""], &["", "b"], &["", ""], &["!", ""], &[" ", "\t"]];
    let joined = "NHS Number+Local ID";
    assert_eq!(found(&specs, &rows), [at("any-present", 4, joined), at("any-present", 6, joined)]);
}

#[test]
fn shapes_are_judged_where_there_is_a_value_of_the_type() {
    let specs = rule(Kind::NhsNumber { columns: strings(&["NHS Number", "Local ID"]) });
    let rows: [&[&str]; 3] = [&["9434765919", ""], &["9434765918", "123"], &["!", ""]];
    assert_eq!(found(&specs, &rows), [at("nhs-number", 3, "NHS Number"), at("nhs-number", 3, "Local ID")]);
    let specs = rule(Kind::OdsCode { columns: strings(&["Local ID"]) });
    assert_eq!(found(&specs, &[&["", "N82001"], &["", "n82001"]]), [at("ods-code", 3, "Local ID")]);
    let specs = rule(Kind::UkPostcode { columns: strings(&["Local ID"]) });
    assert_eq!(found(&specs, &[&["", "L69 3BX"], &["", "L693BX"]]), [at("uk-postcode", 3, "Local ID")]);
}

#[test]
fn dates_are_held_against_today_and_the_files_period() {
    let specs = rule(Kind::NotInFuture { columns: strings(&["Start"]) });
    assert_eq!(found(&specs, &[&["", "", "d100"], &["", "", "d101"]]), [at("not-in-future", 3, "Start")]);
    let specs = rule(Kind::WithinPeriod { columns: strings(&["Start"]), part: "period".into() });
    let rows: [&[&str]; 5] = [&["", "", "d0"], &["", "", "d30"], &["", "", "d31"], &["", "", "d-1"], &["", "", ""]];
    assert_eq!(found(&specs, &rows), [at("within-period", 4, "Start"), at("within-period", 5, "Start")]);
}

#[test]
fn dates_stand_in_order_and_one_that_is_missing_is_passed_over() {
    let specs = rule(Kind::InOrder { columns: strings(&["Start", "End"]) });
    let rows: [&[&str]; 4] = [&["", "", "d5", "d5"], &["", "", "d5", "d4"], &["", "", "", "d4"], &["", "", "!", "d4"]];
    assert_eq!(found(&specs, &rows), [at("in-order", 3, "End")]);
}

#[test]
fn a_cell_must_be_what_the_files_name_says() {
    let specs = rule(Kind::SameAsName { column: "Local ID".into(), part: "agency".into() });
    assert_eq!(found(&specs, &[&["", "LIV0123"], &["", "liv0123"], &["", ""]]), [at("same-as-name", 3, "Local ID")]);
}

#[test]
fn a_name_that_does_not_give_what_a_rule_needs_is_one_error_of_the_file() {
    let mut specs = rule(Kind::WithinPeriod { columns: strings(&["Start"]), part: "period".into() });
    specs.rules.extend(rule(Kind::WithinPeriod { columns: strings(&["End"]), part: "period".into() }).rules);
    specs.rules.extend(rule(Kind::SameAsName { column: "Local ID".into(), part: "agency".into() }).rules);
    let parts = [("period".to_owned(), "May".to_owned())].into();
    let mut pass = Pass::with(&specs, &Context { parts, ..context() });
    pass.row(&["", "x", "d400"]).unwrap();
    pass.row(&["", "x", "d400"]).unwrap();
    let report = pass.end().0;
    let rules: Vec<(&str, Option<u64>)> = report.first.iter().map(|p| (p.rule.as_str(), p.row)).collect();
    assert_eq!(rules, [("name-part", None), ("name-part", None)]);
    assert!(report.first[0].message.contains("2026-Q2") && report.first[1].message.contains("agency"), "{report:?}");
    assert_eq!(rule_set(&specs).parts_faults(&BTreeMap::new()).len(), 2);
    assert!(rule_set(&specs).parts_faults(&context().parts).is_empty());
}

#[test]
fn a_product_is_exact_but_for_its_tolerance() {
    let product = |tolerance: &str| {
        let factors = strings(&["Quantity", "Fee"]);
        rule(Kind::Product { column: "Total".into(), factors, tolerance: tolerance.into() })
    };
    let row = |quantity, fee, total| ["", "", "", "", quantity, fee, total];
    let rows = [row("3", "10.06", "30.18"), row("3", "10.06", "30.19"), row("3", "", "1"), row("!", "1", "2")];
    let rows: Vec<&[&str]> = rows.iter().map(|row| &row[..]).collect();
    assert_eq!(found(&product(""), &rows), [at("product", 3, "Total")]);
    assert_eq!(found(&product("0.01"), &rows), []);
    let nines = "9".repeat(18);
    let wide = row(&nines, "99999999999999999999999999.9", "1");
    assert_eq!(found(&product(""), &[&wide[..]]), [at("product", 2, "Total")]);
}

#[test]
fn a_rule_may_flag_instead_in_words_of_its_own_or_be_switched_off() {
    let mut specs = rule(Kind::OdsCode { columns: strings(&["Local ID"]) });
    specs.rules[0].verdict = Severity::Flag;
    specs.rules[0].label = Some("is not one of our codes".into());
    let mut pass = Pass::of(&specs);
    pass.row(&["", "secret value"]).unwrap();
    let report = pass.end().0;
    assert_eq!((report.errors, report.flag_names()), (0, vec!["ods-code".to_owned()]));
    assert_eq!(report.flags[0].message, "is not one of our codes");
    specs.rules[0].verdict = Severity::Accept;
    assert_eq!(found(&specs, &[&["", "x"]]), []);
}

#[test]
fn no_message_holds_a_cell() {
    let dates = || strings(&["Start", "End"]);
    let mut specs = rule(Kind::NhsNumber { columns: strings(&["NHS Number"]) });
    for kind in [
        Kind::UkPostcode { columns: strings(&["NHS Number"]) },
        Kind::OdsCode { columns: strings(&["NHS Number"]) },
        Kind::SameAsName { column: "NHS Number".into(), part: "agency".into() },
        Kind::InOrder { columns: dates() },
        Kind::NotInFuture { columns: dates() },
        Kind::WithinPeriod { columns: dates(), part: "period".into() },
        Kind::Product { column: "Total".into(), factors: strings(&["Quantity"]), tolerance: String::new() },
        Kind::Objection {
            when: vec![("Local ID".into(), "XX".into()), ("Consent".into(), "N".into())],
            partial: Severity::Flag,
        },
    ] {
        specs.rules.extend(rule(kind).rules);
    }
    specs.totals = strings(&["Quantity"]);
    let mut pass = Pass::of(&specs);
    pass.row(&["canary-7731", "XX", "d77319", "d77318", "77313", "", "77314"]).unwrap();
    let report = pass.end().0;
    assert_eq!(report.errors, 10);
    let text = serde_json::to_string(&report).unwrap();
    assert!(!text.contains("7731") && !text.contains("canary"), "{text}");
}

#[test]
fn rows_without_consent_are_restricted_also_when_it_is_missing_or_wrong() {
    let specs = rule(Kind::Consent { column: "Consent".into(), given: strings(&["Y", "yes"]) });
    let mut pass = Pass::of(&specs);
    for consent in ["Y", "N", "", "!", "yes", "y"] {
        pass.row(&["", "", "", "", "", "", "", consent]).unwrap();
    }
    let (report, outcome) = pass.end();
    assert_eq!((report.errors, outcome.restricted.ranges, outcome.restricted.count), (0, vec![(3, 5), (7, 7)], 4));
}

#[test]
fn an_objection_restricts_its_row_and_half_an_objection_is_flagged() {
    let when = vec![("Local ID".to_owned(), "XX".to_owned()), ("Start".to_owned(), "d5".to_owned())];
    let specs = |partial| rule(Kind::Objection { when: when.clone(), partial });
    let run = |partial| {
        let mut pass = Pass::of(&specs(partial));
        // The third is the same day written otherwise, the last a date that cannot be read.
        for (initials, date) in [("XX", "d5"), ("AB", "d6"), ("xx ", "d05"), ("XX", "d6"), ("AB", "d5"), ("XX", "!")] {
            pass.row(&["", initials, date]).unwrap();
        }
        pass.end()
    };
    let (report, outcome) = run(Severity::Flag);
    assert_eq!(outcome.restricted.ranges, [(2, 2), (4, 4)]);
    assert_eq!(
        (report.errors, report.flags[0].rule.as_str(), &report.flags[0].rows[..]),
        (0, "half-objection", &[5, 6, 7][..])
    );
    assert_eq!(report.flags[0].field.as_deref(), Some("Local ID+Start"));
    assert!(run(Severity::Accept).0.flags.is_empty());
}

#[test]
fn a_row_that_two_rules_restrict_counts_once() {
    let mut specs = rule(Kind::Consent { column: "Consent".into(), given: strings(&["Y"]) });
    let when = vec![("Local ID".to_owned(), "XX".to_owned())];
    specs.rules.extend(rule(Kind::Objection { when, partial: Severity::Flag }).rules);
    let mut pass = Pass::of(&specs);
    pass.row(&["", "XX", "", "", "", "", "", "N"]).unwrap();
    assert_eq!(pass.end().1.restricted.count, 1);
}

#[test]
fn restricted_rows_in_too_many_places_are_a_final_fault() {
    let specs = rule(Kind::Consent { column: "Consent".into(), given: strings(&["Y"]) });
    let mut pass = Pass::of(&specs);
    for n in 0..Restricted::MOST as u64 {
        assert!(pass.checks.restricted.add(2 + 2 * n));
    }
    pass.next = 1 << 40;
    let fault = pass.row(&["", "", "", "", "", "", "", "N"]).unwrap_err();
    assert!(fault.0.contains("1048576"), "{fault:?}");
    assert_eq!(pass.end().0.errors, 1);
}

#[test]
fn rows_are_counted_and_compared_with_the_last_upload() {
    let change = |verdict| Some(ChangeSpec { less: Some(50), more: Some(200), verdict });
    let specs = |rows| Specs { rows, ..Specs::default() };
    let count = |rows_spec: RowsSpec, rows: u64, last_rows: Option<u64>| {
        let checks = rule_set(&specs(rows_spec)).begin(&Context { last_rows, ..context() });
        let mut out = Collector::new(9);
        checks.finish(rows, &mut out);
        let report = out.finish();
        let errors: Vec<String> = report.first.iter().map(|problem| problem.rule.clone()).collect();
        (errors, report.flag_names())
    };
    let bounds = RowsSpec { least: Some(1), most: Some(9), change: None };
    assert_eq!(count(bounds, 0, None).0, ["row-count"]);
    assert_eq!(count(bounds, 10, None).0, ["row-count"]);
    assert_eq!((count(bounds, 1, None), count(bounds, 9, None)), (Default::default(), Default::default()));
    let flag = RowsSpec { change: change(Severity::Flag), ..RowsSpec::default() };
    assert_eq!(count(flag, 499, Some(1000)).1, ["row-count-change"]);
    assert_eq!(count(flag, 2001, Some(1000)).1, ["row-count-change"]);
    for (rows, last) in [(500, Some(1000)), (2000, Some(1000)), (5, None), (5, Some(0)), (u64::MAX, Some(u64::MAX))] {
        assert_eq!(count(flag, rows, last), Default::default(), "{rows} after {last:?}");
    }
    let reject = RowsSpec { change: change(Severity::Reject), ..RowsSpec::default() };
    assert_eq!(count(reject, 0, Some(1000)).0, ["row-count-change"]);
}

#[test]
fn totals_are_exact_and_one_that_does_not_fit_is_said_once() {
    let specs = Specs { totals: strings(&["Fee", "Quantity", "Total"]), ..Specs::default() };
    let large = format!("{}.0", "9".repeat(37));
    let mut pass = Pass::of(&specs);
    for (fee, quantity) in [("0.1", "2"), ("0.2", "!"), ("", "40"), ("10.70", "")] {
        pass.row(&["", "", "", "", quantity, fee, &large]).unwrap();
    }
    for _ in 0..20 {
        pass.row(&["", "", "", "", "", "", &large]).unwrap();
    }
    let (report, outcome) = pass.end();
    let sums: Vec<(&str, &str)> = outcome.sums.iter().map(|(field, sum)| (field.as_str(), sum.as_str())).collect();
    assert_eq!(sums, [("Fee", "11"), ("Quantity", "42")]);
    assert_eq!((report.errors, report.first[0].rule.as_str()), (1, "control-total"));
}

#[test]
fn forbidden_labels_are_found_also_when_undeclared() {
    let forbidden = ForbiddenSpec { sets: vec![ForbiddenSet::Names], labels: strings(&["GP notes"]) };
    let set = rule_set(&Specs { forbidden, ..Specs::default() });
    let labels = ["NHS Number", "PATIENT SURNAME", "GP-Notes", "Start"];
    assert_eq!(set.forbidden(&labels), [(2, "a person's name".into()), (3, "\"GP notes\"".into())]);
}

#[test]
fn people_are_told_in_plain_sentences() {
    let mut specs = rule(Kind::AnyPresent { columns: strings(&["NHS Number", "Local ID"]) });
    let factors = strings(&["Quantity", "Fee"]);
    specs.rules.extend(rule(Kind::Product { column: "Total".into(), factors, tolerance: "0.01".into() }).rules);
    specs.rules.extend(rule(Kind::InOrder { columns: strings(&["Start", "End"]) }).rules);
    specs.rules.extend(rule(Kind::Consent { column: "Consent".into(), given: strings(&["Y"]) }).rules);
    specs.rules[1].verdict = Severity::Flag;
    specs.forbidden.sets = vec![ForbiddenSet::Names, ForbiddenSet::Addresses];
    specs.rows = RowsSpec { least: Some(1), most: None, change: None };
    assert_eq!(
        rule_set(&specs).describe(),
        [
            "At least one of \"NHS Number\" or \"Local ID\" must be filled in.",
            "\"Total\" must be \"Quantity\" times \"Fee\", give or take 0.01. Otherwise the file is taken with a remark.",
            "\"End\" must not be before \"Start\".",
            "Rows in which \"Consent\" is not \"Y\" are marked as restricted.",
            "There must be no column for people's names or addresses.",
            "A file has at least 1 row below the header.",
        ]
    );
    assert!(RuleSet::default().describe().is_empty());
}

#[test]
fn the_same_rules_have_the_same_debug_text() {
    let mut specs = rule(Kind::OdsCode { columns: strings(&["Local ID"]) });
    specs.forbidden.sets = ForbiddenSet::ALL.to_vec();
    let text = format!("{:?}", rule_set(&specs));
    assert_eq!(text, format!("{:?}", rule_set(&specs)));
    specs.rules[0].verdict = Severity::Flag;
    assert_ne!(text, format!("{:?}", rule_set(&specs)));
}
