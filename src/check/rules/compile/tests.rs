use super::super::spec::ChangeSpec;
use super::super::tests::columns;
use super::*;

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// What is wrong with one rule, beside a column list and the parts `agency` and `period`.
fn fault_of(kind: Kind) -> (String, String) {
    let fine =
        Spec { kind: Kind::AnyPresent { columns: strings(&["Local ID"]) }, verdict: Severity::Flag, label: None };
    let specs = Specs { rules: vec![fine, Spec { kind, verdict: Severity::Reject, label: None }], ..Specs::default() };
    let mut faults = compile(&specs, Some(&columns()), &["agency", "period"]).expect_err("it should be refused");
    assert_eq!((faults.len(), faults[0].place), (1, Place::Rule(1)));
    let fault = faults.remove(0);
    (fault.message, fault.help)
}

#[test]
fn a_column_that_the_schema_does_not_have_is_refused_with_the_one_that_was_meant() {
    let (message, help) = fault_of(Kind::NhsNumber { columns: strings(&["NHS Nmber"]) });
    assert_eq!(message, "\"NHS Nmber\" is no field of the schema");
    assert_eq!(help, "did you mean \"NHS Number\"?");
    assert!(!fault_of(Kind::NhsNumber { columns: strings(&["Elephant"]) }).1.contains("did you mean"));
}

#[test]
fn a_type_that_a_rule_cannot_judge_is_refused() {
    let within = Kind::WithinPeriod { columns: strings(&["Start", "Local ID"]), part: "period".into() };
    assert_eq!(fault_of(within).0, "the schema's field \"Local ID\" is not a date");
    let product = Kind::Product { column: "Total".into(), factors: strings(&["Start"]), tolerance: String::new() };
    assert_eq!(fault_of(product).0, "the schema's field \"Start\" is not a number");
    assert!(fault_of(Kind::UkPostcode { columns: strings(&["Start"]) }).0.contains("not text"));
    let totals = Specs { totals: strings(&["Local ID"]), ..Specs::default() };
    assert_eq!(compile(&totals, Some(&columns()), &[]).unwrap_err()[0].place, Place::Totals);
}

#[test]
fn a_part_that_the_name_does_not_have_is_refused() {
    let (message, help) = fault_of(Kind::SameAsName { column: "Local ID".into(), part: "agenci".into() });
    assert_eq!(
        (message.as_str(), help.as_str()),
        ("the name pattern has no part \"agenci\"", "did you mean \"agency\"?")
    );
    let specs = Specs {
        rules: vec![Spec {
            kind: Kind::SameAsName { column: "Local ID".into(), part: "agency".into() },
            verdict: Severity::Reject,
            label: None,
        }],
        ..Specs::default()
    };
    let faults = compile(&specs, Some(&columns()), &[]).unwrap_err();
    assert!(faults[0].help.contains("(?P<agency>"), "{faults:?}");
}

#[test]
fn a_rule_with_nothing_to_compare_is_refused() {
    assert!(fault_of(Kind::AnyPresent { columns: vec![] }).0.contains("no columns"));
    assert!(fault_of(Kind::InOrder { columns: strings(&["Start"]) }).0.contains("nothing to compare"));
    assert!(fault_of(Kind::InOrder { columns: strings(&["Start", "Start"]) }).0.contains("twice"));
    assert!(fault_of(Kind::Consent { column: "Consent".into(), given: vec![] }).0.contains("given is empty"));
    assert!(fault_of(Kind::Objection { when: vec![], partial: Severity::Flag }).0.contains("no columns"));
    let square = Kind::Product { column: "Total".into(), factors: strings(&["Total"]), tolerance: String::new() };
    assert!(fault_of(square).0.contains("its own factors"));
    let vague = Kind::Product { column: "Total".into(), factors: strings(&["Fee"]), tolerance: "1e-2".into() };
    assert!(fault_of(vague).0.contains("tolerance"));
}

#[test]
fn a_value_that_the_schema_never_lets_through_is_refused() {
    assert!(
        fault_of(Kind::Consent { column: "Consent".into(), given: strings(&["Y", "@"]) })
            .0
            .contains("could never apply")
    );
    assert!(fault_of(Kind::Consent { column: "Consent".into(), given: strings(&[""]) }).0.contains("missing"));
    let when = vec![("Start".to_owned(), "@".to_owned())];
    assert!(fault_of(Kind::Objection { when, partial: Severity::Flag }).0.contains("could never apply"));
}

#[test]
fn without_a_schema_only_what_needs_none_may_be_said() {
    let specs = Specs {
        rules: vec![Spec {
            kind: Kind::AnyPresent { columns: strings(&["a"]) },
            verdict: Severity::Reject,
            label: None,
        }],
        totals: strings(&["a"]),
        ..Specs::default()
    };
    let places: Vec<Place> = compile(&specs, None, &[]).unwrap_err().iter().map(|fault| fault.place).collect();
    assert_eq!(places, [Place::Rule(0), Place::Totals]);
    let specs = Specs {
        rows: RowsSpec { least: Some(1), ..RowsSpec::default() },
        forbidden: ForbiddenSpec { sets: vec![], labels: strings(&["Surname"]) },
        ..Specs::default()
    };
    assert!(compile(&specs, None, &[]).is_ok());
}

#[test]
fn numbers_of_rows_that_no_file_could_have_are_refused() {
    let change = |less, more| Some(ChangeSpec { less, more, verdict: Severity::Flag });
    for rows in [
        RowsSpec { least: Some(9), most: Some(1), change: None },
        RowsSpec { change: change(None, None), ..RowsSpec::default() },
        RowsSpec { change: change(Some(101), None), ..RowsSpec::default() },
        RowsSpec { change: change(None, Some(99)), ..RowsSpec::default() },
    ] {
        let faults = compile(&Specs { rows, ..Specs::default() }, None, &[]).unwrap_err();
        assert_eq!((faults.len(), faults[0].place), (1, Place::Rows), "{rows:?}");
    }
}

#[test]
fn a_field_that_is_forbidden_and_a_label_without_letters_are_refused() {
    let forbidden = ForbiddenSpec { sets: vec![], labels: strings(&["local id", "--"]) };
    let faults = compile(&Specs { forbidden, ..Specs::default() }, Some(&columns()), &[]).unwrap_err();
    assert!(faults.iter().all(|fault| fault.place == Place::Forbidden));
    assert!(faults[0].message.contains("\"--\"") && faults[1].message.contains("\"Local ID\""), "{faults:?}");
}

#[test]
fn a_real_schema_gives_names_types_and_readings() {
    let schema = r#"{"fields": [
        {"name": "initials", "type": "string"},
        {"name": "born", "type": "date", "format": "%d/%m/%Y"},
        {"name": "month", "type": "yearmonth"},
        {"name": "consent", "type": "string", "constraints": {"enum": ["Y", "N"]}}
    ]}"#;
    let schema = crate::check::schema::Schema::read(schema).unwrap().0;
    let compiled = |kind: Kind| {
        let rules = vec![Spec { kind, verdict: Severity::Reject, label: None }];
        super::super::RuleSet::compile(&Specs { rules, ..Specs::default() }, Some(&schema), None)
    };
    let when = |date: &str| vec![("initials".to_owned(), "XX".to_owned()), ("born".to_owned(), date.to_owned())];
    assert!(compiled(Kind::Objection { when: when("05/05/1955"), partial: Severity::Flag }).is_ok());
    assert!(compiled(Kind::Objection { when: when("1955-05-05"), partial: Severity::Flag }).is_err());
    assert!(compiled(Kind::InOrder { columns: strings(&["born", "month"]) }).is_ok());
    assert!(compiled(Kind::NotInFuture { columns: strings(&["initials"]) }).is_err());
    assert!(compiled(Kind::Consent { column: "consent".into(), given: strings(&["yes"]) }).is_err());
    assert!(compiled(Kind::Consent { column: "consent".into(), given: strings(&["Y"]) }).is_ok());
}
