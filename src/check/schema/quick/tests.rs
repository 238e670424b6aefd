//! The quick way against the slow one: they must agree on every cell that the quick way takes.

use super::*;
use crate::check::Severity;
use crate::check::schema::Schema;

/// Each with cells that are nearly right: those of the others are tried too.
const FIELDS: &[(&str, &[&str])] = &[
    (r#""type": "string""#, &["", "x", "a text of more than sixteen bytes", "é", "=1"]),
    (r#""type": "any""#, &["NULL"]),
    (r#""type": "string", "constraints": {"required": true}"#, &["", "NULL", "NULLS", "n/k"]),
    (
        r#""type": "string", "constraints": {"minLength": 2, "maxLength": 9}"#,
        &["a", "ab", "abcdefghi", "abcdefghij", "ééééé"],
    ),
    (r#""type": "string", "constraints": {"enum": ["M", "F", "NULL"]}"#, &["M", "F", "m", "MF"]),
    (
        r#""type": "string", "constraints": {"required": true, "enum": ["Needle and syringe exchange", "aaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaa", "Zoë", "twelve bytes."]}"#,
        &[
            "Needle and syringe exchangE",
            "needle and syringe exchange",
            "aaaaaaaaaaaaaaaaaa",
            "Needle and Xyringe exchange",
            "twelve bytes",
        ],
    ),
    (
        r#""type": "string", "constraints": {"enum": ["a word of forty bytes, which is too long..", "b"], "pattern": "[a-z ,.]+", "maxLength": 60}"#,
        &["a word of forty bytes, which is too long..", "b"],
    ),
    (
        r#""type": "string", "constraints": {"pattern": "[A-Z]{3}[0-9]{4}"}"#,
        &["LIV0123", "LIV012", "LIV01234", "LIV012٣", "liv0123"],
    ),
    (
        r#""type": "string", "constraints": {"pattern": "IMS[0-9]{9}", "required": true}"#,
        &["IMS000000001", "IMS00000000", "IMSX00000001"],
    ),
    (
        r#""type": "string", "constraints": {"pattern": "[A-Z]{1,2}[0-9][A-Z0-9]? [0-9][A-Z]{2}"}"#,
        &["L1 8JQ", "ZZ99 3VZ", "W1A 1AA", "L18JQ", "L1 8JQ ", "EC1A 1BB"],
    ),
    (r#""type": "string", "constraints": {"pattern": "[A-Z]+", "minLength": 2, "maxLength": 2}"#, &["AB", "A", "ABC"]),
    (
        r#""type": "string", "constraints": {"pattern": "[A-Za-z0-9]*"}"#,
        &["Az09", "sixteenbytesAz09", "seventeenbytesAz0", "a_"],
    ),
    (
        r#""type": "string", "constraints": {"pattern": "[0-9]{10}|[A-Z]{2}[0-9]{6}|-?"}"#,
        &["0123456789", "AB123456", "-", "--"],
    ),
    (r#""type": "string", "constraints": {"pattern": "(ab|c)*d"}"#, &["abcd", "d", "ab"]),
    (r#""type": "string", "constraints": {"pattern": "."}"#, &["\u{7F}", "\u{80}", "\t"]),
    (r#""type": "string", "format": "email""#, &["a@b.org"]),
    (r#""type": "boolean""#, &["true", "1", "TRUE", "tRue", "0"]),
    (
        r#""type": "boolean", "trueValues": ["Y"], "falseValues": ["N"], "constraints": {"required": true}"#,
        &["Y", "N", "y"],
    ),
    (r#""type": "boolean", "constraints": {"enum": [true]}"#, &["true", "false"]),
    (
        r#""type": "integer""#,
        &[
            "0",
            "7",
            "+7",
            "-7",
            "007",
            "12345678",
            "123456789",
            "00000000",
            " 1",
            "1 ",
            "1.0",
            "٣",
            "1/",
            "1:",
            "9223372036854775808",
        ],
    ),
    (
        r#""type": "integer", "constraints": {"minimum": 14, "maximum": 70}"#,
        &["13", "14", "70", "71", "0014", "99999999"],
    ),
    (r#""type": "integer", "constraints": {"exclusiveMinimum": 0, "enum": [1, 2]}"#, &["0", "1", "3"]),
    (r#""type": "number", "constraints": {"minimum": 0.5}"#, &["0.5", "0.49", "1e3"]),
    (
        r#""type": "date""#,
        &[
            "2024-02-29",
            "2023-02-29",
            "1900-02-29",
            "2000-02-29",
            "0000-01-01",
            "0001-01-01",
            "9999-12-31",
            "2024-00-10",
            "2024-13-01",
            "2024-04-31",
            "2024-1-01",
            "2024/01/01",
            "20240101",
            "2024-01-00",
        ],
    ),
    (
        r#""type": "date", "format": "%d/%m/%Y", "constraints": {"minimum": "01/04/2013", "maximum": "31/03/2030", "required": true}"#,
        &[
            "01/04/2013",
            "31/03/2013",
            "31/03/2030",
            "01/04/2030",
            "29/02/2024",
            "29/02/2023",
            "1/4/2013",
            "01-04-2013",
            "01/04/2013 ",
        ],
    ),
    (r#""type": "date", "format": "%Y%m%d""#, &["20240229", "20230229", "2024022", "2024-2-2"]),
    (r#""type": "date", "format": "%d %b %Y""#, &["05 May 2024"]),
    (r#""type": "date", "format": "the %d. of %m in %Y""#, &["the 01. of 02 in 2024"]),
    (r#""type": "datetime""#, &["2024-01-26T15:00:00"]),
    (r#""type": "year""#, &["2024"]),
];

fn schema(field: &str, missing: &str) -> Schema {
    let text = format!("{{\"fields\": [{{\"name\": \"f\", {field}}}], \"missingValues\": {missing}}}");
    Schema::read(&text).map_err(|faults| format!("{field}: {faults:#?}")).unwrap().0
}

/// Judges cells together, and each by itself.
fn compare(field: &Field, policy: &Policy, cells: &[String]) {
    for padding in [Cells::PADDING, 0] {
        for some in cells.chunks(Cells::MOST) {
            let mut text = String::new();
            let spans: Vec<Span> = some
                .iter()
                .map(|cell| {
                    let start = text.len() as u32;
                    text.push_str(cell);
                    Span { start, end: text.len() as u32 }
                })
                .collect();
            text.extend(std::iter::repeat_n('7', padding));
            let cells = Cells { text: &text, spans: &spans };
            let mut values = [Value::Wrong; Cells::MOST];
            let right = field.judge_column(cells, u64::MAX, policy, Some(&mut values));
            assert_eq!(right, field.judge_column(cells, u64::MAX, policy, None), "{some:?}");
            assert_eq!(right & !cells.all(), 0);
            for (place, cell) in some.iter().enumerate() {
                let mut violations = Violations::default();
                let value = field.judge(cell, policy, &mut violations);
                assert_eq!(
                    right >> place & 1 == 1,
                    violations.is_empty(),
                    "{} {cell:?}: {violations:?}",
                    field.type_name()
                );
                assert_eq!(values[place], value, "{} {cell:?}", field.type_name());
            }
        }
    }
}

/// xorshift64, so that a failing test fails again.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

#[test]
fn the_quick_way_and_the_slow_one_agree_on_cells_that_are_right_or_nearly() {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let mut cells: Vec<String> =
        FIELDS.iter().flat_map(|(_, cells)| cells.iter().map(|cell| (*cell).to_owned())).collect();
    cells.extend(
        ["", "NULL", "n/k", "NULL\0", "\0", "a\0", "-1", "Nul", "a missing value, and a long one"].map(str::to_owned),
    );
    for at in 0..cells.len() {
        // The same, bent at one place.
        let mut chars: Vec<char> = cells[at].chars().collect();
        let place = dice.next(chars.len() + 1);
        let odd = ['0', '9', ':', '/', 'A', 'Z', '[', 'a', '@', ' ', '\0', '\u{7F}', 'é', '\u{80}'];
        match dice.next(3) {
            0 => chars.insert(place, odd[dice.next(odd.len())]),
            1 if place < chars.len() => chars[place] = odd[dice.next(odd.len())],
            _ => chars.truncate(place),
        }
        cells.push(chars.into_iter().collect());
    }
    let lenient = Policy { value_spaces: Severity::Flag, unpadded_dates: Severity::Accept, ..Policy::default() };
    for (field, _) in FIELDS {
        for missing in
            [r#"["", "NULL", "n/k"]"#, "[]", r#"["-1", "a missing value, and a long one", ""]"#, r#"["0", "a\u0000"]"#]
        {
            let field = &schema(field, missing).fields[0];
            for policy in [&Policy::default(), &lenient] {
                compare(field, policy, &cells);
            }
        }
    }
}

#[test]
fn every_day_of_four_centuries_and_what_is_none_is_told_as_the_calendar_does() {
    for (format, write) in [
        ("%Y%m%d", (|y, m, d| format!("{y:04}{m:02}{d:02}")) as fn(u32, u32, u32) -> String),
        ("%d/%m/%Y", |y, m, d| format!("{d:02}/{m:02}/{y:04}")),
    ] {
        let field = &schema(&format!("\"type\": \"date\", \"format\": \"{format}\""), r#"[""]"#).fields[0];
        assert!(matches!(field.quick.way, Way::Dates(_)));
        let years = (0..3).chain(1896..1905).chain(1996..2005).chain([9999]);
        for year in years {
            let days = (0..=14).flat_map(|month| (0..=33).map(move |day| (month, day)));
            compare(field, &Policy::default(), &days.map(|(month, day)| write(year, month, day)).collect::<Vec<_>>());
        }
    }
}

#[test]
fn simple_fields_have_a_quick_way() {
    let way = |json: &str| schema(json, r#"["", "NULL", "n/k"]"#).fields[0].quick.way.clone();
    assert!(matches!(way(r#""type": "string""#), Way::Text(0, usize::MAX)));
    assert!(matches!(way(r#""type": "string", "constraints": {"enum": ["a", "b"]}"#), Way::Known(_)));
    assert!(matches!(way(r#""type": "boolean""#), Way::Known(_)));
    assert!(matches!(way(r#""type": "string", "constraints": {"pattern": "[A-Z]{2}[0-9]?"}"#), Way::ShortShape(_)));
    assert!(matches!(way(r#""type": "integer", "constraints": {"minimum": 1}"#), Way::Integers(_)));
    assert!(matches!(way(r#""type": "date""#), Way::Dates(_)));
    assert!(matches!(way(r#""type": "number""#), Way::Slow));
}

#[test]
fn only_rows_that_are_still_right_are_judged_the_slow_way() {
    let field = &schema(r#""type": "number""#, "[]").fields[0];
    let spans = [Span { start: 0, end: 1 }; 3];
    assert_eq!(field.judge_column(Cells { text: "1", spans: &spans }, 0b101, &Policy::default(), None), 0b101);
}
