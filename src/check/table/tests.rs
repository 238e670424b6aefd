use super::*;
use crate::check::{Report, Severity};

const SCHEMA: &str = r#"{
    "fields": [
        {"name": "Id", "type": "string", "constraints": {"required": true, "maxLength": 8}},
        {"name": "Sex", "type": "string", "constraints": {"enum": ["F", "M"]}},
        {"name": "Born", "type": "date"},
        {"name": "Notes", "type": "string"}
    ],
    "primaryKey": "Id",
    "missingValues": [""]
}"#;

fn rules() -> TableRules {
    TableRules { schema: Some(Schema::read(SCHEMA).unwrap().0), ..TableRules::default() }
}

fn context() -> Context {
    Context { parts: Default::default(), today: jiff::civil::date(2026, 1, 31), last_rows: None }
}

fn check(rules: &Arc<TableRules>, pieces: &[&[u8]]) -> Report {
    let mut out = Collector::new(rules.limits.errors);
    let mut table = Table::begin(Arc::clone(rules), &context());
    let pushed = pieces.iter().try_for_each(|piece| table.push(piece, &mut out));
    assert_eq!(pushed.is_err(), pushed.is_err() && out.errors() > 0, "a fault is an error too");
    table.finish(&mut out);
    out.finish()
}

/// The report, which is the same wherever the file is cut.
fn report(rules: TableRules, file: impl AsRef<[u8]>) -> Report {
    let rules = Arc::new(rules);
    let file = file.as_ref();
    let whole = check(&rules, &[file]);
    for cut in 0..file.len() {
        let (left, right) = file.split_at(cut);
        assert_eq!(check(&rules, &[left, right]), whole, "cut at {cut}");
    }
    let single: Vec<&[u8]> = file.chunks(1).collect();
    assert_eq!(check(&rules, &single), whole, "byte by byte");
    whole
}

/// `row field rule` of each error.
fn errors(rules: TableRules, file: impl AsRef<[u8]>) -> Vec<String> {
    let report = report(rules, file);
    let text = |row: Option<u64>, field: &Option<String>, column: Option<u64>, rule: &str| {
        let column = column.map_or("-".into(), |column| column.to_string());
        let row = row.map_or("-".into(), |row| row.to_string());
        format!("{row} {} {rule}", field.clone().unwrap_or(column))
    };
    report.first.iter().map(|error| text(error.row, &error.field, error.column, &error.rule)).collect()
}

fn found(file: impl AsRef<[u8]>) -> Vec<String> {
    errors(rules(), file)
}

/// The rows below a header that fits.
fn below(rows: &str) -> Vec<String> {
    found(format!("Id,Sex,Born,Notes\r\n{rows}"))
}

#[test]
fn a_good_file_is_counted() {
    let file = "\u{FEFF}Id,Sex,Born,Notes\r\n1,F,1950-01-02,\"said \"\"no\"\", twice\"\r\n2,,,caf\u{E9}\r\n";
    let report = report(rules(), file);
    assert_eq!((report.errors, report.rows, report.columns, report.complete), (0, Some(2), Some(4), true));
    assert_eq!(report.flag_names(), [""; 0]);
    assert_eq!(found("Id,Sex,Born,Notes\r\n"), [""; 0]);
}

#[test]
fn a_wrong_header_ends_the_looking_with_all_that_is_wrong_in_it() {
    let wrong = "Id,sex,Born\r\nx,y,z,w\r\n";
    let report = report(rules(), wrong);
    assert_eq!((report.rows, report.complete, report.errors), (None, false, 2));
    assert_eq!(found(wrong), ["1 Sex label", "1 Notes label"]);
    assert_eq!(found("\u{FEFF}\u{FEFF}Id,Sex,Born,Notes\n"), ["1 Id label"]);
    assert_eq!(found("Id,S\0ex,Born,Notes\n1,2,3,4\n"), ["1 2 nul", "1 Sex label"]);
    assert_eq!(found(b"Id,Sex,Born,Not\xE9s\n"), ["1 Notes encoding"]);
    assert_eq!(found("\"Id,Sex,Born,Notes\n1,F,,\n"), ["1 1 unclosed-quote"]);
    for nothing in ["", "\r\n", "\n\n\n", "   \r\n  \r\n\r\n", ",,,\r\n", "\r\nId,Sex,Born,Notes\r\n"] {
        assert_eq!(found(nothing), ["1 - blank-header"], "{nothing:?}");
    }
}

#[test]
fn a_title_above_the_header_is_told_as_one() {
    for title in ["sep=,\r\n", "Extract of May,,,\r\n", "Title\r\n\r\n", "Title\r\nRun on Monday,at noon\r\n\r\n"] {
        assert_eq!(found(format!("{title}Id,Sex,Born,Notes\r\n1,F,,\r\n")), ["1 Id title-above-header"]);
    }
    assert_eq!(found("Title\r\n1,F,,\r\n").len(), 4);
}

#[test]
fn rows_of_the_wrong_shape_are_judged_up_to_the_first_misfit() {
    assert_eq!(below("1,F,1950-01-02\r\n"), ["2 Notes missing-cell"]);
    assert_eq!(below("1\r\n"), ["2 Sex missing-cell", "2 Born missing-cell", "2 Notes missing-cell"]);
    // The cell for Sex was lost: that the date does not fit there shows it, the rest says nothing new.
    assert_eq!(below("1,1950-01-02,x\r\n"), ["2 Notes missing-cell", "2 Sex enum"]);
    assert_eq!(below("1,F,,a,b,c\r\n2,F,,\r\n"), ["2 - extra-cell"]);
    assert_eq!(below("1,F,1950-0"), ["2 Notes cut-row"]);
    assert_eq!(below("1,F,,x\r\n2,F,1950-0"), ["3 Notes cut-row"]);
}

#[test]
fn blank_rows_are_named_where_they_stand() {
    assert_eq!(below("1,F,,\r\n\r\n,,,\r\n2,F,,\r\n"), ["3 - blank-row", "4 - blank-row"]);
    assert_eq!(below("1,F,,\r\n\r\n\r\n"), ["3 - trailing-blank-row", "4 - trailing-blank-row"]);
    let mut lenient = rules();
    lenient.policy.trailing_blank_rows = Severity::Flag;
    let report = report(lenient, "Id,Sex,Born,Notes\n1,F,,\n\n\n");
    assert_eq!((report.errors, report.rows, report.flag_names()), (0, Some(1), vec!["trailing-blank-row".into()]));
}

#[test]
fn a_header_that_comes_again_is_no_row() {
    assert_eq!(below("1,F,,\r\nId,Sex,Born,Notes\r\n2,F,,\r\n"), ["3 - repeated-header"]);
    assert_eq!(below("1,F,,\r\n\u{FEFF}Id,Sex,Born,Notes\r\n2,F,,\r\n"), ["3 - repeated-header"]);
    assert_eq!(below("1,F,,\r\n\u{FEFF}\"Id\",\"Sex\",\"Born\",\"Notes\"\r\n2,F,,\r\n"), ["3 - repeated-header"]);
    assert_eq!(below("Id,F,,\r\n"), [""; 0]);
}

#[test]
fn quotes_are_reported_where_they_open_and_the_rows_behind_are_judged() {
    assert_eq!(below("1,\"F,,\r\n2,X,,\r\n3,F,,\"a\"\r\n"), ["2 Sex unclosed-quote", "3 Sex enum"]);
    assert_eq!(below("1,F,,\"never\r\n"), ["2 Notes unclosed-quote"]);
    assert_eq!(below("1,F,,\"a\"b\r\n2,F,,a\"\r\n"), ["2 Notes stray-quote", "3 Notes stray-quote"]);
    let quotes = "1,\"F,,\r\n".repeat(60);
    let report = report(rules(), format!("Id,Sex,Born,Notes\r\n{quotes}"));
    assert_eq!((report.complete, report.groups.len(), report.errors), (false, 1, 17));
}

#[test]
fn damage_is_named_at_its_cell_and_the_others_are_judged() {
    let rows = [&b"Id,Sex,Born,Notes\n1,X,,\xE9\n2,F,,a\0b\n3,F,,\x1B[1m\n"[..], "4,F,,\u{9B}x\n".as_bytes()].concat();
    let wanted =
        ["2 Sex enum", "2 Notes encoding", "3 Notes nul", "4 Notes control-character", "5 Notes control-character"];
    assert_eq!(found(rows), wanted);
}

#[test]
fn habits_are_flags_unless_the_policy_says_otherwise() {
    let file = "Id,Sex,Born,Notes\n1,F,,=1+1\n2,F,,a\u{202E}b\n3,F,,\u{C2}£5\r\n4,F,,x";
    let wanted = ["formula", "hidden-character", "mojibake", "mixed-line-ends", "no-final-line-end"];
    let flags = report(rules(), file);
    assert_eq!((flags.errors, flags.flag_names()), (0, wanted.map(String::from).to_vec()));
    let mut strict = rules();
    strict.policy.formulas = Severity::Reject;
    strict.policy.no_final_line_end = Severity::Reject;
    strict.policy.mojibake = Severity::Accept;
    assert_eq!(errors(strict, file), ["2 Notes formula", "5 - no-final-line-end"]);
}

#[test]
fn line_ends_that_lose_data_are_errors() {
    assert_eq!(found("Id,Sex,Born,Notes\r1,F,,\r"), ["1 - cr-line-ends"]);
    assert_eq!(found("Id,Sex,Born,Notes\r\r\n1,F,,\r\r\n"), ["1 - line-end", "2 - line-end"]);
}

#[test]
fn bounds_are_said() {
    let mut narrow = rules();
    narrow.limits.row = 30;
    let file = format!("Id,Sex,Born,Notes\n1,F,,{}\n2,F,,\n", "x".repeat(50));
    assert_eq!(errors(narrow, file), ["2 - row-too-long"]);
    let wide = TableRules { limits: Limits { columns: 3, ..Limits::default() }, ..TableRules::default() };
    assert_eq!(errors(wide, "a,b,c,d\n1,2,3,4\n"), ["1 - too-many-columns"]);
}

#[test]
fn a_file_without_labels_or_without_a_schema_is_judged_by_what_there_is() {
    let mut bare = rules();
    bare.dialect.header = false;
    assert_eq!(errors(bare, "1,F,,\n2,X,,\n"), ["2 Sex enum"]);
    assert_eq!(errors(TableRules::default(), "a,b\n1,2\n3\n"), ["3 2 missing-cell"]);
    assert_eq!(errors(TableRules::default(), "a,,a\n1,2,3\n"), ["1 2 label", "1 3 label"]);
    let dialect = Dialect { header: false, ..Dialect::default() };
    assert_eq!(errors(TableRules { dialect, ..TableRules::default() }, "1,2\n3\n"), ["2 2 missing-cell"]);
}

#[test]
fn other_encodings_are_judged_alike() {
    let encoded = |encoding| TableRules { encoding, ..rules() };
    let utf16 = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let file = "\u{FEFF}Id,Sex,Born,Notes\r\n1,F,,caf\u{E9}\r\n2,X,,\r\n";
    assert_eq!(errors(encoded(Encoding::Utf16), utf16(file)), ["3 Sex enum"]);
    assert_eq!(errors(encoded(Encoding::Utf16), utf16(&file[3..])), ["1 - byte-order-mark"]);
    assert_eq!(errors(encoded(Encoding::Utf16Le), utf16(&file[3..])), ["3 Sex enum"]);
    assert_eq!(errors(encoded(Encoding::Windows1252), b"Id,Sex,Born,Notes\n1,F,,caf\xE9\n2,X,,\n"), ["3 Sex enum"]);
}

#[test]
fn no_value_of_a_cell_is_in_any_message() {
    let file = "Id,Sex,Born,Notes\r\nSECRET-IS-TOO-LONG,SECRET,SECRET,\"SECRET\"SECRET\r\nSECRET\r\n1,\"SECRET";
    let report = report(rules(), file);
    assert!(report.errors >= 7);
    assert!(!serde_json::to_string(&report).unwrap().contains("SECRET"));
    let headless = check(&Arc::new(rules()), &[b"SECRET1,SECRET2,SECRET3,SECRET4,SECRET5\r\n1,2,3,4\r\n"]);
    assert!(headless.errors == 5 && !serde_json::to_string(&headless).unwrap().contains("SECRET"));
}

/// Errors of each column's missing cells, and the rows that are named.
fn missing(report: &Report) -> Vec<(Option<u64>, u64, Vec<u64>)> {
    let groups = report.groups.iter().filter(|group| group.rule == "missing-cell");
    groups.map(|group| (group.column, group.count, group.rows.clone())).collect()
}

#[test]
fn rows_that_are_short_cost_their_own_length_and_are_counted_all_the_same() {
    let fields: Vec<String> = (0..4000).map(|field| format!("{{\"name\": \"f{field}\"}}")).collect();
    let schema = Schema::read(&format!("{{\"fields\": [{}]}}", fields.join(","))).unwrap().0;
    let labels: Vec<&str> = schema.fields.iter().map(|field| field.name.as_str()).collect();
    // 2 bytes in a row and 3999 cells that are missing: told one by one this would take hours.
    let rows = 500_000;
    let file = format!("{}\n{}1,2\n", labels.join(","), "x\n".repeat(rows));
    let whole = check(&Arc::new(TableRules { schema: Some(schema), ..TableRules::default() }), &[file.as_bytes()]);
    let rows = rows as u64;
    assert_eq!((whole.errors, whole.rows, whole.first.len()), (rows * 3999 + 3998, Some(rows + 1), 1000));
    let groups = missing(&whole);
    assert_eq!(groups.len(), 3999);
    assert_eq!(groups[0], (Some(2), rows, (2..12).collect()));
    assert_eq!(groups[3998], (Some(4000), rows + 1, (2..12).collect()));
}

#[test]
fn what_is_only_counted_is_the_same_as_what_is_told() {
    let rows = "1\n2,F\n3,F,\n\n4\n".repeat(60);
    let file = format!("Id,Sex,Born,Notes\n{rows}\n\n1,F,,\n");
    let of = |errors: usize| {
        let limits = Limits { errors, ..Limits::default() };
        check(&Arc::new(TableRules { limits, ..rules() }), &[file.as_bytes()])
    };
    let (few, all) = (of(5), of(100_000));
    assert_eq!((few.errors, few.rows), (all.errors, all.rows));
    assert_eq!(few.groups, all.groups);
    assert_eq!(few.first, all.first[..5]);
    assert_eq!(all.errors, 60 * (3 + 2 + 1 + 1 + 3) + 2);
}

#[test]
fn many_blank_rows_are_counted_and_the_first_are_named() {
    let report =
        check(&Arc::new(rules()), &[format!("Id,Sex,Born,Notes\n1,F,,\n{}", "\n".repeat(3_000_000)).as_bytes()]);
    assert_eq!((report.errors, report.first.len(), report.groups[0].count), (3_000_000, 1000, 3_000_000));
    assert_eq!(report.groups[0].rows, (3..13).collect::<Vec<_>>());
}

#[test]
fn a_quote_that_closes_in_a_later_cell_is_one_fault_and_what_it_took_is_not_missing() {
    assert_eq!(found("Id,Sex,Born,Notes\n\"1,F,,\"a, b\"\n2,X,,\n"), ["2 Id stray-quote", "3 Sex enum"]);
    // Cells before the quote have not moved.
    assert_eq!(found("Id,Sex,Born,Notes\n1,X,\"x,\"y\n"), ["2 Sex enum", "2 Born stray-quote"]);
    // A quote inside a cell takes nothing with it.
    assert_eq!(found("Id,Sex,Born,Notes\n1,F,2\"\n")[..2], ["2 Notes missing-cell", "2 Born stray-quote"]);
}

#[test]
fn rows_that_are_judged_together_are_judged_as_each_by_itself() {
    use super::body::batch::EACH_AT_ONCE;
    // xorshift64, so that a failing test fails again.
    let mut dice = 0x9E37_79B9_7F4A_7C15u64;
    let mut roll = |below: usize| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        (dice % below as u64) as usize
    };
    let odd = [
        "=1",
        "-",
        "caf\u{E9}",
        "\u{C3}\u{A9}",
        "a\u{202E}",
        "\u{9B}",
        "\u{1}",
        "\"a,b\"",
        "\"a\"\"b\"",
        "\"a\"b",
        "a\"b",
        "\"a\nb\"",
        "x",
        "123456789",
        "2024-02-30",
        "1950-1-2",
        " F",
        "",
    ];
    let odd_rows = [
        "\r\n",
        ",,,\r\n",
        "Id,Sex,Born,Notes\r\n",
        "9,F\r\n",
        "9,F,,,,\r\n",
        "8,F,,\n",
        "7,F,,\r\r\n",
        "\u{FEFF}Id,Sex,Born,Notes\n",
    ];
    for often in [1, 20, 400] {
        let mut file = String::from("Id,Sex,Born,Notes\r\n");
        for number in 0..700 {
            let mut cells = [format!("{}", number % 600), "F".into(), "1950-01-02".into(), "a note".into()];
            if roll(often) == 0 {
                cells[roll(4)] = odd[roll(odd.len())].into();
            }
            file += &(cells.join(",") + "\r\n");
            if roll(often * 3) == 0 {
                file += odd_rows[roll(odd_rows.len())];
            }
        }
        let mut rules = rules();
        rules.limits.errors = 50;
        let rules = Arc::new(rules);
        let together = check(&rules, &[file.as_bytes()]);
        let pieces: Vec<&[u8]> = file.as_bytes().chunks(777).collect();
        assert_eq!(check(&rules, &pieces), together);
        EACH_AT_ONCE.set(true);
        let each = check(&rules, &[file.as_bytes()]);
        EACH_AT_ONCE.set(false);
        assert!(together.errors > 0 && each == together, "{each:#?} {together:#?}");
    }
}
