//! Canonical JSON: one spelling for each value, so that a digest over it means something.
//!
//! RFC 8785 restricted to what an audit log needs: objects, arrays, strings, booleans, null, and integers from -(2^53 - 1)
//! to 2^53 - 1, which every JSON reader holds exactly. Anything else is an error, never a guess. Does no input or output.
//! Used for leaves, private parts and what a proof carries besides.

use serde_json::Value;

use crate::types::Invalid;

/// The largest integer that a canonical text may hold, 2^53 - 1, and the negative of the smallest.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;
/// How deep arrays and objects may be nested; below what any reader refuses.
const DEPTH_MAX: usize = 32;

/// The one canonical text of a value.
///
/// # Errors
/// A fraction, an integer beyond [`INTEGER_MAX`], nesting beyond 32 levels.
pub fn to_string(value: &Value) -> Result<String, Invalid> {
    let mut text = String::new();
    write(value, 0, &mut text)?;
    Ok(text)
}

/// Reads a canonical text.
///
/// # Errors
/// What is no JSON, or JSON in any other spelling than its canonical one: spaces, names out of order or twice, needless
/// escapes, `1.0` for `1`.
pub fn parse(text: &str) -> Result<Value, Invalid> {
    let value: Value = serde_json::from_str(text).map_err(|e| Invalid(format!("this is not JSON: {e}")))?;
    match to_string(&value)? == text {
        true => Ok(value),
        false => Err(Invalid("this is JSON, but not in its canonical form (RFC 8785)".into())),
    }
}

fn write(value: &Value, depth: usize, text: &mut String) -> Result<(), Invalid> {
    if depth > DEPTH_MAX {
        return Err(Invalid(format!("the JSON is nested deeper than {DEPTH_MAX} levels")));
    }
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => text.push_str(&scalar(value)?),
        Value::Number(number) => {
            let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            if magnitude.is_none_or(|magnitude| magnitude > INTEGER_MAX) {
                return Err(Invalid(format!("{number} is no integer within 2^53 - 1: write it as a string")));
            }
            text.push_str(&scalar(value)?);
        }
        Value::Array(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write(item, depth + 1, text)?;
            }
            text.push(']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            // RFC 8785, section 3.2.3: names are sorted by their UTF-16 code units.
            fields.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            text.push('{');
            for (place, (name, item)) in fields.into_iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                text.push_str(&scalar(name)?);
                text.push(':');
                write(item, depth + 1, text)?;
            }
            text.push('}');
        }
    }
    Ok(())
}

/// Strings and what has one spelling anyway: serde_json escapes exactly as RFC 8785, section 3.2.2.2 demands.
fn scalar(value: &(impl serde::Serialize + ?Sized)) -> Result<String, Invalid> {
    serde_json::to_string(value).map_err(|e| Invalid(format!("this cannot be written as JSON: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_sorted_by_utf_16_and_strings_escaped_as_the_rfc_shows() {
        // RFC 8785, section 3.2.3, with its example's names.
        let value = json!({
            "\u{20ac}": "Euro Sign", "\r": "Carriage Return", "\u{fb33}": "Hebrew Letter Dalet With Dagesh",
            "1": "One", "\u{1f600}": "Emoji: Grinning Face", "\u{80}": "Control", "\u{f6}": "Latin Small Letter O With Diaeresis",
        });
        let expected = "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\
             \"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}";
        assert_eq!(to_string(&value).unwrap(), expected);
        assert_eq!(parse(expected).unwrap(), value);
        // RFC 8785, section 3.2.2: the string of its example.
        let text = to_string(&json!("\u{20ac}$\u{f}\nA'B\"\\\\\"/\u{7f}")).unwrap();
        assert_eq!(text, "\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\u{7f}\"");
    }

    #[test]
    fn what_has_another_spelling_is_refused() {
        let others = [
            "{\"a\": 1}",
            "{\"b\":1,\"a\":2}",
            "{\"a\":1,\"a\":1}",
            "[1.0]",
            "[1e2]",
            "[-0]",
            "[\"\\u0041\"]",
            "[\"\\/\"]",
            "[\"\\u000F\"]",
            "[1]\n",
            " [1]",
            "[01]",
            "",
            "[",
            "[1][2]",
        ];
        for text in others {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_that_some_readers_would_change_are_refused() {
        for (text, fine) in [
            ("9007199254740991", true),
            ("-9007199254740991", true),
            ("9007199254740992", false),
            ("-9007199254740992", false),
            ("18446744073709551615", false),
            ("0.5", false),
            ("0", true),
        ] {
            assert_eq!(parse(text).is_ok(), fine, "{text}");
        }
        let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
        assert!(parse(&deep).is_err());
        assert!(parse(&format!("{}{}", "[".repeat(30), "]".repeat(30))).is_ok());
    }
}
