//! Schemas as they are written, and what their fields make of cells.

use super::*;
use crate::check::Policy;
use crate::check::report::ErrorType;

/// A schema of one field, whose JSON this is (without its braces and name).
fn field(json: &str) -> Field {
    let text = format!("{{\"fields\": [{{\"name\": \"f\", {json}}}]}}");
    let (schema, warnings) = Schema::read(&text).map_err(|faults| format!("{json}: {faults:#?}")).unwrap();
    assert_eq!(warnings, [], "{json}");
    schema.fields.into_iter().next().unwrap()
}

/// Rules that a cell violates; "" is for none.
fn rules(field: &Field, cell: &str) -> Vec<&'static str> {
    let mut violations = Violations(u32::MAX);
    field.judge(cell, &Policy::default(), &mut violations);
    let found = field.explain(violations);
    assert!(found.iter().all(|(_, _, words)| !words.is_empty()));
    found.into_iter().map(|(_, rule, _)| rule).collect()
}

/// Cells that a field takes, and cells that violate just the one rule.
fn judged(json: &str, good: &[&str], rule: &str, bad: &[&str]) {
    let field = field(json);
    for cell in good {
        assert_eq!(rules(&field, cell), [""; 0], "{json} {cell:?}");
    }
    for cell in bad {
        assert_eq!(rules(&field, cell), [rule], "{json} {cell:?}");
    }
}

/// Faults of a schema: what each points at, and its message.
fn faults(text: &str) -> Vec<(String, String)> {
    let faults = match Schema::read(text) {
        Ok((_, warnings)) => warnings,
        Err(faults) => faults,
    };
    faults.into_iter().map(|fault| (text[fault.span].to_owned(), fault.message + ": " + &fault.help)).collect()
}

/// The first fault of a field; it must be an error.
fn refused(json: &str) -> (String, String) {
    let text = format!("{{\"fields\": [{{\"name\": \"f\", {json}}}]}}");
    let found = Schema::read(&text).map(|(_, warnings)| format!("{json}: {warnings:?}")).unwrap_err();
    assert!(found.iter().any(|fault| !fault.warning), "{json}");
    let first = found.into_iter().find(|fault| !fault.warning).unwrap();
    (text[first.span].to_owned(), format!("{}: {}", first.message, first.help))
}

#[test]
fn every_type_takes_its_values_and_no_others() {
    judged(r#""type": "string""#, &["x", "", " "], "string", &[]);
    judged(r#""type": "string", "format": "email""#, &["a@b.org"], "string", &["a"]);
    judged(r#""type": "string", "format": "uri""#, &["https://a.org"], "string", &["a"]);
    judged(r#""type": "string", "format": "binary""#, &["QQ=="], "string", &["Q"]);
    judged(r#""type": "string", "format": "uuid""#, &["123e4567-e89b-12d3-a456-426614174000"], "string", &["1"]);
    judged(
        r#""type": "number""#,
        &["1.5", "-3", "1e3", "+.5", "NaN", "INF"],
        "number",
        &["1,5", "x", " 1", "１", "< 5"],
    );
    judged(r#""type": "number", "decimalChar": ",", "groupChar": ".""#, &["1.234,5"], "number", &["1,234.5", "1.5"]);
    judged(r#""type": "number", "bareNumber": false, "groupChar": ",""#, &["£1,006.00"], "number", &["(10.06)", "£"]);
    judged(r#""type": "integer""#, &["7", "+7", "007", "-7"], "integer", &["7.0", "7 kg", "1e3", "seven"]);
    judged(r#""type": "integer", "bareNumber": false"#, &["7 kg", "£7"], "integer", &["7.5 kg"]);
    judged(r#""type": "integer", "groupChar": ",""#, &["1,000", "1000"], "integer", &["1,00", ",100"]);
    judged(r#""type": "boolean""#, &["true", "False", "TRUE", "0"], "boolean", &["yes", "tRue", "Y", "2"]);
    judged(
        r#""type": "boolean", "trueValues": ["Y"], "falseValues": ["N"]"#,
        &["Y", "N"],
        "boolean",
        &["true", "y", "0"],
    );
    judged(r#""type": "object""#, &["{}", "{\"a\": 1}"], "object", &["[]", "{", "a"]);
    judged(r#""type": "array""#, &["[]", "[1, \"a\"]"], "array", &["{}", "[", "1,2"]);
    judged(r#""type": "list", "itemType": "integer", "delimiter": "; ""#, &["1", "1; 2"], "list", &["1;2", "a", "1; "]);
    judged(
        r#""type": "date""#,
        &["2024-02-29"],
        "date",
        &["29/02/2024", "2023-02-29", "2024-2-29", "2024-02-29 ", "45000"],
    );
    judged(
        r#""type": "date", "format": "%d/%m/%Y""#,
        &["29/02/2024"],
        "date",
        &["2024-02-29", "29/2/2024", "29/02/24"],
    );
    judged(r#""type": "date", "format": "fmt:%d.%m.%y""#, &["29.02.24"], "date", &["29.02.2024"]);
    judged(r#""type": "date", "format": "any""#, &["5 May 1955", "1955-05-05"], "date", &["05/06/1955"]);
    judged(r#""type": "time""#, &["09:00:00", "09:00:00.5Z"], "time", &["9:00:00", "24:00:00", "09:00"]);
    judged(r#""type": "time", "format": "%H:%M""#, &["09:00"], "time", &["09:00:00"]);
    judged(
        r#""type": "datetime""#,
        &["2024-01-01T00:00:00", "2024-01-01T00:00:00Z"],
        "datetime",
        &["2024-01-01", "2024-01-01T25:00:00", "2024-06-30T23:59:60Z"],
    );
    judged(r#""type": "datetime", "format": "%d/%m/%Y %H:%M""#, &["01/02/2024 10:30"], "datetime", &["01/02/2024"]);
    judged(r#""type": "year""#, &["2024"], "year", &["24", "20245", "-2024"]);
    judged(r#""type": "yearmonth""#, &["2024-05"], "yearmonth", &["2024-5", "05-2024", "2024/05", "2024-13"]);
    judged(r#""type": "duration""#, &["P1Y2M", "PT30M"], "duration", &["1Y", "P"]);
    judged(r#""type": "geopoint""#, &["-2.98, 53.41"], "geopoint", &["-2.98", "200,0"]);
    judged(r#""type": "geopoint", "format": "array""#, &["[1, 2]"], "geopoint", &["1,2"]);
    judged(r#""type": "geopoint", "format": "object""#, &[r#"{"lon": 1, "lat": 2}"#], "geopoint", &["[1,2]"]);
    judged(r#""type": "geojson""#, &[r#"{"type":"Point","coordinates":[1,2]}"#], "geojson", &["{}"]);
    judged(
        r#""type": "geojson", "format": "topojson""#,
        &[r#"{"type":"Topology","objects":{},"arcs":[]}"#],
        "geojson",
        &["{}"],
    );
    judged(r#""type": "any""#, &["x", "1"], "any", &[]);
}

#[test]
fn every_constraint_is_kept_and_broken() {
    let with = |kind: &str, constraints: &str| format!(r#""type": "{kind}", "constraints": {{{constraints}}}"#);
    judged(&with("string", r#""required": true"#), &["x"], "required", &[""]);
    judged(&with("string", r#""minLength": 2"#), &["xy", "éé", ""], "minLength", &["x", "é", "😀"]);
    judged(
        &with("string", r#""maxLength": 2"#),
        &["xy", "éé", "😀😀"],
        "maxLength",
        &["xyz", "ééé", "e\u{301}e", "aaaaaaaaaaaaaaaa"],
    );
    judged(&with("array", r#""maxLength": 1"#), &["[1]"], "maxLength", &["[1,2]"]);
    judged(&with("object", r#""minLength": 1"#), &["{\"a\":1}"], "minLength", &["{}"]);
    judged(&with("list", r#""minLength": 2"#), &["a,b"], "minLength", &["a"]);
    judged(
        &with("integer", r#""minimum": 14"#),
        &["14", "99999999999999999999"],
        "minimum",
        &["13", "-99999999999999999999"],
    );
    let digits = "9".repeat(20_000);
    judged(&with("integer", r#""maximum": 500"#), &["500"], "maximum", &["501", "99999999999999999999", &digits]);
    judged(
        &with("number", r#""maximum": 350"#),
        &["350", "350.0", "349.99999999999999999999"],
        "maximum",
        &["350.01", "350.00000000000000000001", "1e99", "INF", "NaN"],
    );
    judged(
        &with("number", r#""exclusiveMinimum": 0"#),
        &["0.0000000001", "1"],
        "exclusiveMinimum",
        &["0", "-0.0", "-1"],
    );
    judged(&with("number", r#""exclusiveMaximum": "1.5""#), &["1.49"], "exclusiveMaximum", &["1.50", "2"]);
    judged(&with("integer", r#""exclusiveMinimum": 1"#), &["2"], "exclusiveMinimum", &["1"]);
    judged(&with("date", r#""minimum": "2015-04-01""#), &["2015-04-01"], "minimum", &["2015-03-31"]);
    judged(&with("year", r#""maximum": 2030"#), &["2030"], "maximum", &["2031"]);
    judged(&with("yearmonth", r#""minimum": "2020-02""#), &["2020-02"], "minimum", &["2020-01"]);
    judged(&with("time", r#""maximum": "12:00:00""#), &["12:00:00"], "maximum", &["12:00:00.000001"]);
    judged(
        &with("datetime", r#""minimum": "2020-01-01T00:00:00Z""#),
        &["2020-01-01T01:00:00+01:00"],
        "minimum",
        &["2020-01-01T00:59:59+01:00"],
    );
    judged(&with("duration", r#""minimum": "P1M""#), &["P1M", "P32D"], "minimum", &["P27D", "P30D"]);
    judged(
        &with("string", r#""pattern": "[0-9]{10}|[A-Z]{2}""#),
        &["0123456789", "AB"],
        "pattern",
        &["0123456789AB", "a"],
    );
    judged(&with("string", r#""enum": ["M", "F"]"#), &["M", "F", ""], "enum", &["m", "M ", "MF"]);
    judged(&with("integer", r#""enum": [1, "2"]"#), &["1", "02", "+2"], "enum", &["3", "99999999999999999999"]);
    judged(&with("number", r#""enum": [1.50, 2]"#), &["1.5", "2.0"], "enum", &["1"]);
    judged(&with("date", r#""enum": ["2024-01-01"]"#), &["2024-01-01"], "enum", &["2024-01-02"]);
    judged(&with("boolean", r#""enum": [true]"#), &["true", "1"], "enum", &["false"]);
    judged(&with("object", r#""enum": [{"a": 1}]"#), &["{ \"a\": 1 }"], "enum", &["{\"a\": 2}"]);
    judged(&with("geopoint", r#""enum": ["1, 2"]"#), &["1.0,2"], "enum", &["2,1"]);
    judged(&with("list", r#""enum": ["a,b"]"#), &["a,b"], "enum", &["b,a"]);
    judged(&with("any", r#""enum": ["a", 1]"#), &["a", "1"], "enum", &["b", "1.0"]);
    judged(&with("duration", r#""enum": ["P1Y"]"#), &["P12M"], "enum", &["P1M"]);
}

#[test]
fn a_cell_tells_all_constraints_that_it_violates_but_a_type_error_alone() {
    let text = field(r#""type": "string", "constraints": {"maxLength": 2, "enum": ["a"], "pattern": "[a-z]"}"#);
    assert_eq!(rules(&text, "XYZ"), ["maxLength", "enum", "pattern"]);
    let number = field(r#""type": "integer", "constraints": {"minimum": 5, "exclusiveMinimum": 4, "enum": [7]}"#);
    assert_eq!(rules(&number, "4"), ["minimum", "exclusiveMinimum", "enum"]);
    assert_eq!(rules(&number, "x"), ["integer"]);
    let mut violations = Violations::default();
    assert_eq!(number.judge("x", &Policy::default(), &mut violations), Value::Wrong);
    assert_eq!(number.judge("", &Policy::default(), &mut violations), Value::Missing);
    assert!(violations.is_empty());
    assert_eq!(number.judge("007", &Policy::default(), &mut violations), Value::Integer(7));
}

#[test]
fn missing_values_come_before_the_type_and_a_field_s_own_replace_the_schema_s() {
    let text = r#"{"fields": [
        {"name": "a", "type": "integer", "constraints": {"required": true}},
        {"name": "b", "type": "integer", "missingValues": [{"value": "-", "label": "none"}]},
        {"name": "c", "type": "string", "missingValues": []}
    ], "missingValues": ["", "NULL"]}"#;
    let (schema, warnings) = Schema::read(text).unwrap();
    assert_eq!(warnings, []);
    let [a, b, c] = schema.fields.as_slice() else { panic!() };
    assert_eq!((rules(a, "NULL"), rules(a, ""), rules(a, "-")), (vec!["required"], vec!["required"], vec!["integer"]));
    assert_eq!((rules(b, "-").len(), rules(b, "NULL"), rules(b, "")), (0, vec!["integer"], vec!["integer"]));
    let mut violations = Violations::default();
    assert_eq!(c.judge("", &Policy::default(), &mut violations), Value::Text);
}

#[test]
fn habits_are_rejected_flagged_or_taken_as_the_policy_says() {
    let date =
        field(r#""type": "date", "format": "%d/%m/%Y", "constraints": {"minimum": "01/01/1900", "required": true}"#);
    let policy = |spaces, unpadded| Policy { value_spaces: spaces, unpadded_dates: unpadded, ..Policy::default() };
    let judge = |cell: &str, policy: &Policy| {
        let mut violations = Violations::default();
        let value = date.judge(cell, policy, &mut violations);
        let names = |violations| date.explain(violations).into_iter().map(|(_, rule, _)| rule).collect::<Vec<_>>();
        (matches!(value, Value::Date(_)), names(violations.errors()), names(violations.flags()))
    };
    let strict = Policy::default();
    assert_eq!(judge(" 01/02/2024", &strict), (false, vec!["date"], vec![]));
    assert_eq!(judge("1/2/2024", &strict), (false, vec!["date"], vec![]));
    let flag = policy(Severity::Flag, Severity::Flag);
    assert_eq!(judge("01/02/2024", &flag), (true, vec![], vec![]));
    assert_eq!(judge("\u{a0}01/02/2024 ", &flag), (true, vec![], vec!["value-spaces"]));
    assert_eq!(judge("1/2/2024 ", &flag), (true, vec![], vec!["value-spaces", "unpadded-dates"]));
    assert_eq!(judge("1/2/1899", &flag), (true, vec!["minimum"], vec!["unpadded-dates"]));
    assert_eq!(judge("  ", &flag), (false, vec!["required"], vec!["value-spaces"]));
    assert_eq!(judge("1/13/2024", &flag), (false, vec!["date"], vec![]));
    let accept = policy(Severity::Accept, Severity::Accept);
    assert_eq!(judge(" 1/2/2024", &accept), (true, vec![], vec![]));
    assert_eq!(judge("1 /2/2024", &accept), (false, vec!["date"], vec![]));
    let half = policy(Severity::Accept, Severity::Reject);
    assert_eq!(judge(" 1/2/2024", &half), (false, vec!["date"], vec![]));
}

#[test]
fn categories_are_an_enum() {
    judged(r#""type": "string", "categories": ["apple", "orange"]"#, &["apple"], "enum", &["pear"]);
    let json =
        r#""type": "integer", "categories": [{"value": 0, "label": "apple"}, {"value": 1}], "categoriesOrdered": true"#;
    judged(json, &["0", "01"], "enum", &["2"]);
    judged(r#""type": "string", "categories": ["a", "b"], "constraints": {"enum": ["a"]}"#, &["a"], "enum", &["b"]);
    assert_eq!(refused(r#""type": "string", "categories": ["a"], "constraints": {"enum": ["b"]}"#).0, "\"b\"");
    assert_eq!(refused(r#""type": "date", "categories": ["2024-01-01"]"#).0, "\"categories\"");
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_place() {
    for (json, place, words) in [
        (r#""type": "strng""#, "\"strng\"", "did you mean \"string\""),
        (r#""type": 5"#, "5", "a number, not a string"),
        (r#""type": "string", "format": "%d""#, "\"%d\"", "no format"),
        (r#""type": "date", "format": "%d/%Q/%Y""#, "%Q", "%Q is not supported"),
        (r#""type": "date", "format": "DD/MM/YYYY""#, "DD/MM/YYYY", "no directive"),
        (r#""type": "date", "format": "fmt:%d/%U""#, "%U", "not supported"),
        (r#""type": "date", "constraints": {"minimum": "01/01/1900"}"#, "\"01/01/1900\"", "minimum is not a date"),
        (
            r#""type": "date", "format": "%d/%m/%Y", "constraints": {"maximum": "1900-01-01"}"#,
            "\"1900-01-01\"",
            "maximum",
        ),
        (r#""type": "integer", "constraints": {"minimum": 5, "maximum": 4}"#, "5", "both minimum and maximum"),
        (r#""type": "integer", "constraints": {"exclusiveMinimum": 5, "maximum": 5}"#, "5", "exclusiveMinimum"),
        (r#""type": "string", "constraints": {"minLength": 3, "maxLength": 2}"#, "3", "larger than maxLength"),
        (r#""type": "string", "constraints": {"minLength": -1}"#, "-1", "whole number"),
        (r#""type": "string", "constraints": {"maxLength": "2"}"#, "\"2\"", "whole number"),
        (r#""type": "string", "constraints": {"required": "true"}"#, "\"true\"", "true or false"),
        (r#""type": "string", "constraints": {"requierd": true}"#, "\"requierd\"", "did you mean \"required\""),
        (r#""type": "string", "constraints": {"minlength": 1}"#, "\"minlength\"", "did you mean \"minLength\""),
        (r#""type": "string", "constraints": {"colour": 1}"#, "\"colour\"", "no constraint"),
        (r#""type": "string", "required": true"#, "\"required\"", "move it into"),
        (r#""type": "string", "Constraints": {}"#, "\"Constraints\"", "did you mean \"constraints\""),
        (r#""type": "string", "missing_values": [""]"#, "\"missing_values\"", "did you mean \"missingValues\""),
        (r#""type": "string", "constraints": {"minimum": "a"}"#, "\"minimum\"", "does not apply to the type string"),
        (r#""type": "integer", "constraints": {"pattern": "[0-9]"}"#, "\"pattern\"", "does not apply"),
        (r#""type": "integer", "constraints": {"maxLength": 2}"#, "\"maxLength\"", "does not apply"),
        (r#""type": "boolean", "constraints": {"minimum": 0}"#, "\"minimum\"", "does not apply"),
        (r#""type": "object", "constraints": {"jsonSchema": {}}"#, "\"jsonSchema\"", "not supported"),
        (r#""type": "string", "constraints": {"pattern": "a\\d(?=b)"}"#, "(?=", "not supported"),
        (r#""type": "string", "constraints": {"enum": []}"#, "[]", "0 values"),
        (r#""type": "string", "constraints": {"enum": ["a", 5]}"#, "5", "as a string: \"5\""),
        (r#""type": "integer", "constraints": {"enum": [1, "x"]}"#, "\"x\"", "could never occur"),
        (r#""type": "integer", "constraints": {"maximum": 3, "enum": [1, 9]}"#, "9", "field's own maximum"),
        (
            r#""type": "string", "constraints": {"pattern": "[A-Z]", "enum": ["A", "b"]}"#,
            "\"b\"",
            "field's own pattern",
        ),
        (r#""type": "boolean", "trueValues": ["1", "0"]"#, "[\"1\", \"0\"]", "both true and false"),
        (r#""type": "boolean", "trueValues": "Y""#, "\"Y\"", "a string, not an array"),
        (r#""type": "number", "decimalChar": ",", "groupChar": ",""#, "\",\"", "same character"),
        (r#""type": "number", "decimalChar": "..""#, "\"..\"", "not one character"),
        (r#""type": "number", "bareNumber": "false""#, "\"false\"", "true or false"),
        (r#""type": "list", "itemType": "object""#, "\"object\"", "cannot hold"),
        (r#""type": "list", "delimiter": """#, "\"\"", "empty"),
        (r#""type": "number", "constraints": {"maximum": 1e99}"#, "1e99", "38 digits"),
        (r#""missingValues": [0]"#, "0", "not a string"),
        (r#""title": 7"#, "7", "not a string"),
    ] {
        let (found, message) = refused(json);
        assert_eq!(found, place, "{json}: {message}");
        assert!(message.contains(words), "{json}: {message}");
    }
}

#[test]
fn keys_are_read_in_the_forms_of_both_versions() {
    let text = r#"{"$schema": "https://datapackage.org/profiles/2.0/tableschema.json", "fields": [{"name": "a"}, {"name": "b"}],
        "primaryKey": "b", "uniqueKeys": [["a", "b"], ["a"]], "fieldsMatch": ["subset"], "foreignKeys": [
        {"fields": "a", "reference": {"resource": "practices", "fields": "code"}},
        {"fields": ["b", "a"], "reference": {"resource": "x", "fields": ["c", "d"]}}], "title": "T", "owner": "me"}"#;
    let (schema, warnings) = Schema::read(text).unwrap();
    assert_eq!((schema.primary_key, schema.unique_keys), (vec![1], vec![vec![0, 1], vec![0]]));
    assert_eq!((schema.fields_match, schema.title.as_deref()), (FieldsMatch::Subset, Some("T")));
    let keys: Vec<_> = schema
        .foreign_keys
        .iter()
        .map(|key| (key.fields.clone(), key.resource.as_str(), key.reference.join(" ")))
        .collect();
    assert_eq!(keys, [(vec![0], "practices", "code".into()), (vec![1, 0], "x", "c d".into())]);
    assert!(
        warnings.len() == 1 && warnings[0].warning && &text[warnings[0].span.clone()] == "\"owner\"",
        "{warnings:?}"
    );
}

#[test]
fn a_schema_that_is_none_or_not_supported_is_refused() {
    let with = |more: &str| format!(r#"{{"fields": [{{"name": "a"}}, {{"name": "b"}}], {more}}}"#);
    for (text, place, words) in [
        ("[]".to_owned(), "[]", "an array, not an object"),
        ("{}".to_owned(), "{}", "no fields"),
        (r#"{"fields": []}"#.to_owned(), "[]", "0 fields"),
        (r#"{"fields": [{"name": "a"}, {"name": "a"}]}"#.to_owned(), "\"a\"", "twice"),
        (r#"{"fields": [{"type": "string"}]}"#.to_owned(), r#"{"type": "string"}"#, "no name"),
        (r#"{"fields": [{"name": " "}]}"#.to_owned(), "\" \"", "blank"),
        (r#"{"fields": [{"name": "a",}]}"#.to_owned(), "}", "not JSON"),
        (with(r#""primarykey": "a""#), "\"primarykey\"", "did you mean \"primaryKey\""),
        (with(r#""primaryKey": ["a", "A b"]"#), "\"A b\"", "no field of this schema"),
        (with(r#""primaryKey": ["a", "a"]"#), "\"a\"", "twice"),
        (with(r#""uniqueKeys": ["a"]"#), "\"a\"", "not an array"),
        (with(r#""fieldsMatch": "some""#), "\"some\"", "exact, equal"),
        (
            with(r#""foreignKeys": [{"fields": "a", "reference": {"resource": "", "fields": "b"}}]"#),
            "\"\"",
            "same table",
        ),
        (with(r#""foreignKeys": [{"fields": "a", "reference": {"fields": "b"}}]"#), r#"{"fields": "b"}"#, "same table"),
        (
            with(r#""foreignKeys": [{"fields": "a", "reference": {"resource": "../x", "fields": "b"}}]"#),
            "\"../x\"",
            "no path",
        ),
        (
            with(r#""foreignKeys": [{"fields": "a", "reference": {"resource": "x", "fields": ["b", "c"]}}]"#),
            "\"a\"",
            "as many",
        ),
        (with(r#""foreignKeys": [{"fields": "a"}]"#), r#"{"fields": "a"}"#, "lacks"),
        (with(r#""missingValues": "NULL""#), "\"NULL\"", "a string, not an array"),
    ] {
        let found = faults(&text);
        assert!(Schema::read(&text).is_err(), "{text}");
        assert!(found.iter().any(|(at, message)| at == place && message.contains(words)), "{text}: {found:?}");
    }
    let many: Vec<String> = (0..5000).map(|n| format!("{{\"name\": \"{n}\"}}")).collect();
    assert!(Schema::read(&format!("{{\"fields\": [{}]}}", many.join(","))).is_err());
    assert!(Schema::read(&" ".repeat(5 << 20)).is_err());
}

#[test]
fn all_faults_come_at_once_and_oddities_are_warnings() {
    let text = r#"{"fields": [{"name": "a", "type": "strin"}, {"name": "b", "type": "intger"}], "primaryKey": 5}"#;
    assert_eq!(faults(text).len(), 3, "{:?}", faults(text));
    let text = r#"{"fields": [{"name": "a", "type": "string", "decimalChar": ".", "x-note": 1,
        "constraints": {"pattern": "^[A-Z]\\d$", "enum": ["", "A1", "A1"]}}]}"#;
    let (schema, warnings) = Schema::read(text).unwrap();
    let places: Vec<&str> = warnings.iter().map(|fault| &text[fault.span.clone()]).collect();
    assert_eq!(places, ["\"x-note\"", "\"decimalChar\"", "^", "$", "\"\"", "\"A1\""]);
    assert!(warnings.iter().all(|fault| fault.warning));
    assert_eq!((rules(&schema.fields[0], "A1").len(), rules(&schema.fields[0], "A2")), (0, vec!["enum"]));
}

#[test]
fn messages_are_made_of_the_schema_alone() {
    let words = |json: &str, cell: &str| {
        let field = field(json);
        let mut violations = Violations::default();
        field.judge(cell, &Policy::default(), &mut violations);
        field.explain(violations).into_iter().next().map(|(kind, _, words)| (kind, words)).unwrap()
    };
    let date = r#""type": "date", "format": "%d/%m/%Y", "constraints": {"minimum": "01/01/1900"}"#;
    let expected = "is not a date of the form dd/mm/yyyy (for example 31/12/2026)";
    assert_eq!(words(date, "SECRET"), (ErrorType::TypeError, expected.to_owned()));
    assert_eq!(words(date, "31/12/1899"), (ErrorType::ConstraintError, "is before 01/01/1900".to_owned()));
    let long = r#""type": "string", "constraints": {"maxLength": 2}"#;
    assert_eq!(words(long, "SECRET").1, "is longer than 2 characters");
    let one_of = r#""type": "string", "constraints": {"enum": ["M", "F"]}"#;
    assert_eq!(words(one_of, "SECRET").1, "is not one of the 2 allowed values: \"M\", \"F\"");
    let boolean = r#""type": "boolean", "trueValues": ["Y"], "falseValues": ["N"]"#;
    assert_eq!(words(boolean, "SECRET").1, "is neither true (\"Y\") nor false (\"N\")");
}

#[test]
fn a_field_is_described_for_people() {
    for (json, words) in [
        (
            r#""type": "date", "format": "%d/%m/%Y", "constraints": {"required": true, "minimum": "01/01/1900", "maximum": "31/12/2015"}"#,
            "date, dd/mm/yyyy, required, 01/01/1900 to 31/12/2015",
        ),
        (
            r#""type": "string", "constraints": {"minLength": 2, "maxLength": 2, "pattern": "[A-Z]+"}"#,
            "text, 2 characters, pattern [A-Z]+",
        ),
        (r#""type": "integer", "constraints": {"minimum": 0, "unique": true}"#, "whole number, unique, 0 or more"),
        (r#""type": "string", "constraints": {"enum": ["M", "F"]}"#, "text, one of \"M\", \"F\""),
        (r#""type": "boolean", "trueValues": ["Y"], "falseValues": ["N"]"#, "yes or no, Y or N"),
        (r#""type": "number", "groupChar": ",""#, "number, such as 1,234.5"),
    ] {
        assert_eq!(field(json).describe(), words);
    }
}

#[test]
fn free_text_is_what_nothing_binds() {
    let free = |json: &str| field(json).free_text;
    assert!(
        free(r#""type": "string""#)
            && free(r#""type": "string", "constraints": {"maxLength": 9}"#)
            && free(r#""type": "any""#)
    );
    assert!(
        !free(r#""type": "string", "constraints": {"pattern": "a"}"#)
            && !free(r#""type": "string", "categories": ["a"]"#)
    );
    assert!(!free(r#""type": "integer""#) && !free(r#""type": "string", "constraints": {"enum": ["a"]}"#));
}

#[test]
fn a_field_without_a_type_is_a_string_in_version_1_and_anything_in_version_2() {
    let text = r#"{"fields": [{"name": "a", "constraints": {"maxLength": 1}}]}"#;
    assert!(Schema::read(text).is_ok());
    let text = text.replacen('{', r#"{"$schema": "https://datapackage.org/profiles/2.0/tableschema.json", "#, 1);
    assert!(Schema::read(&text).is_err());
}

#[test]
fn the_quickstart_s_schema_is_read_without_a_remark() {
    let (schema, warnings) = Schema::read(include_str!("../../cli/quickstart/ims-interventions.schema.json")).unwrap();
    assert_eq!(warnings, []);
    assert!(!schema.fields.is_empty());
}
