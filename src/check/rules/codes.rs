//! The shapes of identifiers that English health and care extracts carry. Shape only: nothing is looked up.
//!
//! Called by `row`.

/// An NHS number: exactly ten ASCII digits of which the last is the Modulus 11 check digit, where a remainder that asks
/// for the check digit 10 is never issued, nor are ten equal digits
/// (NHS Data Model and Dictionary, NHS NUMBER).
pub(super) fn nhs_number(text: &str) -> bool {
    let Ok(digits) = <[u8; 10]>::try_from(text.as_bytes()) else { return false };
    if !digits.iter().all(u8::is_ascii_digit) || digits.iter().all(|digit| *digit == digits[0]) {
        return false;
    }
    let sum: u32 = (2..=10).rev().zip(digits).map(|(weight, digit)| weight * u32::from(digit - b'0')).sum();
    // 11 stands for 0; 10 is no digit.
    (11 - sum % 11) % 11 == u32::from(digits[9] - b'0')
}

/// Ten ASCII digits are an NHS number, or wrong; anything else is a local identifier.
pub(super) fn nhs_number_or_local(text: &str) -> bool {
    let ten_digits = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit());
    !ten_digits || nhs_number(text)
}

/// A UK postcode in upper case with its one space: outward code (A9, A99, AA9, AA99, A9A, AA9A) and inward code (9AA).
/// Letters that Royal Mail uses nowhere in a position are refused (BS 7666): Q, V, X first, I, J, Z second, C, I, K, M,
/// O, V in the inward code. Besides: `GIR 0AA`, and ONS' pseudo-postcodes `ZZ99 9AA` (no fixed abode, not known, abroad).
pub(super) fn uk_postcode(text: &str) -> bool {
    let Some((outward, inward)) = text.split_once(' ') else { return false };
    let [digit, a, b] = inward.as_bytes() else { return false };
    if !digit.is_ascii_digit() || !a.is_ascii_uppercase() || !b.is_ascii_uppercase() {
        return false;
    }
    match outward {
        "GIR" => return inward == "0AA",
        "ZZ99" => return true,
        _ => {}
    }
    let ends = |letter: &u8| !b"CIKMOV".contains(letter);
    let first = |letter: u8| letter.is_ascii_uppercase() && !b"QVX".contains(&letter);
    let second = |letter: u8| letter.is_ascii_uppercase() && !b"IJZ".contains(&letter);
    // Letters after the digit; I, L, O, Q and Z never were among them.
    let last = |letter: u8| letter.is_ascii_digit() || (letter.is_ascii_uppercase() && !b"ILOQZ".contains(&letter));
    let shape = match *outward.as_bytes() {
        [a, d] => first(a) && d.is_ascii_digit(),
        [a, d, x] if d.is_ascii_digit() => first(a) && last(x),
        [a, b, d] => first(a) && second(b) && d.is_ascii_digit(),
        [a, b, d, x] => first(a) && second(b) && d.is_ascii_digit() && last(x),
        _ => false,
    };
    shape && ends(a) && ends(b)
}

/// An organisation code of the Organisation Data Service: 3 to 6 capital letters and digits, at least one of them a
/// digit unless there are three (trusts such as `RXK` have none). That holds for all coding frames that identify health
/// and care organisations and their sites: trusts (`RBN`), sites (`RBN01`), practices (`N82001`), pharmacies (`FA002`),
/// independent providers (`8HA03`), integrated care boards (`QYG`), and the alternating codes given out since 2020
/// (`G7H8J`). (NHS Data Model and Dictionary, ORGANISATION CODE; ODS, ANANA code format.)
pub(super) fn ods_code(text: &str) -> bool {
    let known = text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
    known && (text.len() == 3 || ((4..=6).contains(&text.len()) && text.bytes().any(|byte| byte.is_ascii_digit())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_nhs_number_is_ten_digits_with_their_check_digit() {
        for good in ["9434765919", "9990000026", "4010232137", "1234567881"] {
            assert!(nhs_number(good), "{good}");
        }
        // A digit changed, two swapped, check digit 10, ten alike, spaces, too short, too long, digits of other scripts.
        let bad = [
            "9434765918",
            "9434765991",
            "1234567890",
            "0000000000",
            "1111111111",
            "943 476 5919",
            "943476591",
            "94347659190",
            "٩٤٣٤٧٦٥٩١٩",
            "",
            "943476591X",
            " 9434765919",
        ];
        for bad in bad {
            assert!(!nhs_number(bad), "{bad}");
        }
    }

    #[test]
    fn beside_local_identifiers_only_ten_digits_are_judged() {
        for good in ["9434765919", "AB123456", "943476591", "943476591X"] {
            assert!(nhs_number_or_local(good), "{good}");
        }
        assert!(!nhs_number_or_local("9434765918") && !nhs_number_or_local("0000000000"));
    }

    #[test]
    fn no_check_digit_stands_for_ten() {
        // 987654312 sums to 1 modulo 11, which asks for 10.
        let ten = (0..=9).filter(|digit| nhs_number(&format!("100000001{digit}"))).count();
        let sum = 10 + 2;
        assert_eq!((sum % 11, ten), (1, 0));
    }

    #[test]
    fn a_postcode_has_one_of_six_outward_shapes_one_space_and_an_inward_code() {
        let good = [
            "M1 1AE", "L69 3BX", "CH4 0DQ", "CH41 1JS", "W1A 0AX", "EC1A 1BB", "GIR 0AA", "ZZ99 3VZ", "ZZ99 3WZ",
            "BX9 1AS", "N1P 1AA", "SW1Y 4AA",
        ];
        for good in good {
            assert!(uk_postcode(good), "{good}");
        }
        let bad = [
            "M11AE",
            "M1  1AE",
            " M1 1AE",
            "M1 1AE ",
            "m1 1ae",
            "M1 1A",
            "M1 AAE",
            "QM1 1AE",
            "AI1 1AA",
            "M1 1AC",
            "CH411 1JS",
            "CHA1 1JS",
            "GIR 0AB",
            "ZZ98 3VZ",
            "",
            " ",
            "M1\u{a0}1AE",
            "Ä1 1AE",
            "1M 1AE",
            "A1I 1AA",
        ];
        for bad in bad {
            assert!(!uk_postcode(bad), "{bad}");
        }
    }

    #[test]
    fn an_organisation_code_is_three_to_six_letters_and_digits() {
        for good in ["RXK", "RBN01", "N82001", "FA002", "8HA03", "QYG", "G7H8J", "00A", "Y0401"] {
            assert!(ods_code(good), "{good}");
        }
        for bad in ["rxk", "RX", "N820011", "N82 01", "NULL", "NONE", "OTHER", "", "N8200É", "N-201"] {
            assert!(!ods_code(bad), "{bad}");
        }
    }
}
