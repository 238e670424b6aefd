use super::*;
use crate::check::row::Span;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Rows of three cells: empty is missing, `!` is of the wrong type, digits are an integer.
fn judge(keys: &mut Keys, number: u64, cells: [&str; 3], out: &mut Collector) -> Result<(), Fault> {
    judge_in(keys, number, cells, [1, 2, 3], out)
}

fn judge_in(
    keys: &mut Keys,
    number: u64,
    cells: [&str; 3],
    columns: [u32; 3],
    out: &mut Collector,
) -> Result<(), Fault> {
    let text = cells.concat();
    let mut start = 0;
    let spans = cells.map(|cell| {
        let span = Span { start, end: start + cell.len() as u32 };
        start = span.end;
        Some(span)
    });
    let values = cells.map(|cell| match cell {
        "" => Value::Missing,
        "!" => Value::Wrong,
        cell => cell.parse().map_or(Value::Text, Value::Integer),
    });
    let row = Row { number, text: &text, cells: &spans, values: &values, columns: &columns };
    let canonical = |value: Value, cell: &str, into: &mut Vec<u8>| match value {
        Value::Integer(n) => into.extend_from_slice(&n.to_le_bytes()),
        _ => text_part(cell, into),
    };
    keys.judge(&|field| NAMES[field], &row, out, canonical)
}

fn key(role: Role, fields: &[usize]) -> KeySpec {
    let names: Vec<&str> = fields.iter().map(|field| NAMES[*field]).collect();
    KeySpec { role, fields: fields.to_vec(), name: names.join("+") }
}

fn keys(specs: Vec<KeySpec>) -> Keys {
    Keys::of(specs, 1 << 20)
}

fn primary(fields: &[usize]) -> KeySpec {
    key(Role::Primary { wanted: vec![true; fields.len()] }, fields)
}

/// Rows from 2 on; (rule, row, field) of each error.
fn found(mut keys: Keys, rows: &[[&str; 3]]) -> Vec<(String, u64, String)> {
    let mut out = Collector::new(100);
    for (number, cells) in (2..).zip(rows) {
        judge(&mut keys, number, *cells, &mut out).unwrap();
    }
    keys.finish(&mut out).unwrap();
    let problems = out.finish().first.into_iter();
    problems.map(|p| (p.rule, p.row.unwrap_or(0), p.field.unwrap_or_default())).collect()
}

fn error(rule: &str, row: u64, field: &str) -> (String, u64, String) {
    (rule.into(), row, field.into())
}

#[test]
fn a_primary_key_that_comes_again_is_an_error_at_the_later_row() {
    let rows = [["x", "", ""], ["y", "", ""], ["x", "", ""], ["x", "", ""]];
    assert_eq!(found(keys(vec![primary(&[0])]), &rows), [error("primaryKey", 4, "a"), error("primaryKey", 5, "a")]);
    let mut out = Collector::new(9);
    let mut set = keys(vec![primary(&[0])]);
    judge(&mut set, 7, ["secret", "", ""], &mut out).unwrap();
    judge(&mut set, 9, ["secret", "", ""], &mut out).unwrap();
    set.finish(&mut out).unwrap();
    let problem = out.finish().first.remove(0);
    assert_eq!(problem.message, "has the same primary key as row 7");
    assert_eq!((problem.kind, problem.column), (ErrorType::PrimaryKey, Some(1)));
}

#[test]
fn a_key_of_several_fields_is_the_same_only_when_all_are_and_by_value() {
    let rows = [["x", "1", ""], ["x", "2", ""], ["y", "1", ""], ["x", "01", ""]];
    assert_eq!(found(keys(vec![primary(&[0, 1])]), &rows), [error("primaryKey", 5, "a+b")]);
    // Cells do not run together.
    let rows = [["ab", "c", "z"], ["a", "bc", "z"]];
    assert_eq!(found(keys(vec![primary(&[0, 1])]), &rows), []);
}

#[test]
fn a_missing_part_of_the_primary_key_is_said_unless_the_field_says_it() {
    let rows = [["x", "", ""], ["x", "", ""]];
    let expected = [error("required", 2, "b"), error("required", 3, "b")];
    assert_eq!(found(keys(vec![primary(&[0, 1])]), &rows), expected);
    let quiet = key(Role::Primary { wanted: vec![true, false] }, &[0, 1]);
    assert_eq!(found(keys(vec![quiet]), &rows), []);
}

#[test]
fn a_column_of_the_primary_key_that_the_file_does_not_have_is_said_once() {
    let mut out = Collector::new(9);
    let mut set = keys(vec![primary(&[0, 1])]);
    for row in 2..5 {
        judge_in(&mut set, row, ["x", "", ""], [1, 0, 2], &mut out).unwrap();
    }
    set.finish(&mut out).unwrap();
    let report = out.finish();
    assert_eq!((report.errors, report.first[0].row, report.first[0].field.as_deref()), (1, None, Some("b")));
}

#[test]
fn missing_and_wrong_values_are_not_compared() {
    let rows = [["", "1", ""], ["", "1", ""], ["!", "2", ""], ["!", "2", ""]];
    assert_eq!(found(keys(vec![key(Role::Unique, &[0])]), &rows), []);
    assert_eq!(found(keys(vec![key(Role::UniqueKey, &[0, 1])]), &rows), []);
    assert_eq!(found(keys(vec![primary(&[0])]), &[["!", "", ""], ["!", "", ""]]), []);
    let sets = vec![key(Role::Unique, &[1]), key(Role::UniqueKey, &[1, 2])];
    let rows = [["", "1", "u"], ["", "1", "u"]];
    assert_eq!(found(keys(sets), &rows), [error("unique", 3, "b"), error("uniqueKeys", 3, "b+c")]);
}

#[test]
fn a_foreign_key_is_looked_up_as_text_and_a_missing_one_is_not() {
    let codes = Codes { rows: [vec!["01".to_owned(), "p".to_owned()]].into() };
    let mut set = keys(vec![]);
    set.look_up_in(vec![0, 2], "a+c".into(), "practices", &codes);
    let rows = [["01", "", "p"], ["1", "", "p"], ["", "", "p"], ["!", "", "p"], ["01p", "", ""], ["0", "", "1p"]];
    assert_eq!(found(set, &rows), [error("foreignKeys", 3, "a+c"), error("foreignKeys", 7, "a+c")]);
}

#[test]
fn past_the_bound_the_fault_says_how_many_rows_and_which_limit() {
    let mut set = Keys::of(vec![primary(&[0])], 40 << 10);
    let mut out = Collector::new(9);
    let mut cell = String::new();
    let (last, fault) = (2..)
        .find_map(|row| {
            cell = format!("key {row}");
            judge(&mut set, row, [&cell, "", ""], &mut out).err().map(|fault| (row, fault))
        })
        .unwrap();
    assert!(fault.0.contains(&format!("about {} rows", last - 1)), "{fault:?}");
    assert!(fault.0.contains("40 KiB") && fault.0.contains("[limits] keys") && !fault.0.contains("key 2"), "{fault:?}");
    assert!(last > 40 * 1024 / 32, "{last}");
    let report = out.finish();
    assert_eq!((report.errors, &report.first[0].rule[..]), (1, "keys"));
}

#[test]
fn rows_past_what_a_number_holds_are_still_compared() {
    let mut set = keys(vec![primary(&[0])]);
    let mut out = Collector::new(9);
    judge(&mut set, 1 << 40, ["x", "", ""], &mut out).unwrap();
    judge(&mut set, (1 << 40) + 1, ["x", "", ""], &mut out).unwrap();
    set.finish(&mut out).unwrap();
    assert_eq!(out.finish().first[0].message, "has the same primary key as an earlier row");
}

#[test]
fn what_is_found_late_is_listed_in_the_order_of_the_file() {
    let mut set = keys(vec![primary(&[0])]);
    let mut out = Collector::new(9);
    for number in 2..100 {
        judge(&mut set, number, [if number < 5 { "x" } else { "" }, "", ""], &mut out).unwrap();
    }
    set.finish(&mut out).unwrap();
    let rows: Vec<Option<u64>> = out.finish().first.iter().map(|problem| problem.row).collect();
    assert_eq!(rows, (3..=11).map(Some).collect::<Vec<_>>());
}

#[test]
fn a_schema_gives_a_set_for_each_key_and_none_twice() {
    let schema = r#"{"fields": [
        {"name": "a", "type": "integer", "constraints": {"required": true, "unique": true}},
        {"name": "b", "type": "string", "constraints": {"unique": true}},
        {"name": "c", "type": "string"}
    ], "primaryKey": ["a"], "uniqueKeys": [["b", "c"], ["c", "b"]]}"#;
    let schema = Schema::read(schema).unwrap().0;
    let specs = specs(&schema);
    let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "b+c"]);
    assert!(matches!(&specs[0].role, Role::Primary { wanted } if *wanted == [false]));
}

#[test]
fn keys_are_compared_as_their_types_compare() {
    let schema = r#"{"fields": [{"name": "a", "type": "integer"}], "primaryKey": "a"}"#;
    let schema = Schema::read(schema).unwrap().0;
    let mut keys = Keys::begin(&schema, 1 << 20);
    let mut out = Collector::new(9);
    for (number, text) in (2..).zip(["0100", "200", "100"]) {
        let span = [Some(Span { start: 0, end: text.len() as u32 })];
        let values = [Value::Integer(text.parse().unwrap())];
        keys.row(&schema, &Row { number, text, cells: &span, values: &values, columns: &[1] }, &mut out).unwrap();
    }
    keys.finish(&mut out).unwrap();
    let report = out.finish();
    assert_eq!((report.errors, report.first[0].row, report.first[0].field.as_deref()), (1, Some(4), Some("a")));
}
