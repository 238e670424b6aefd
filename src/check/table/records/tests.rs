use super::unclosed::REWINDS;
use super::*;

/// One line for each record: its cells between bars, how it ends, and what is wrong with it.
fn told(record: &Record<'_>) -> String {
    let cells: Vec<String> = record
        .cells
        .iter()
        .map(|cell| {
            let text = String::from_utf8_lossy(&record.bytes[cell.start as usize..cell.end as usize]).into_owned();
            let flags = match (cell.doubled, cell.stray) {
                (_, true) => "!",
                (true, _) => "~",
                _ => "",
            };
            format!("{flags}{text}")
        })
        .collect();
    let broken = match record.broken {
        None => String::new(),
        Some(Broken::TooLong) => " TooLong".into(),
        Some(broken) => format!(" {broken:?} at {}", record.count),
    };
    let invalid = if record.text.is_none() { " invalid" } else { "" };
    let control = if record.marks.control && record.broken.is_none() { " control" } else { "" };
    format!("{} {:?}{broken}{invalid}{control}", cells.join("|"), record.end)
}

fn read(pieces: &[&[u8]], dialect: Dialect, limit: usize) -> Vec<String> {
    let mut records = Records::new(dialect, limit, 100);
    let mut out = Vec::new();
    let mut sink = |record: Record<'_>| {
        out.push(told(&record));
        match record.broken {
            Some(Broken::Hopeless) => Err(Fault("hopeless".into())),
            _ => Ok(()),
        }
    };
    let pushed = pieces.iter().try_for_each(|piece| records.push(piece, &mut sink));
    let _ = pushed.and_then(|()| records.finish(&mut sink));
    out
}

/// The records, which are the same wherever the text is cut in two, and byte by byte.
fn records_within(text: &[u8], limit: usize) -> Vec<String> {
    let whole = read(&[text], Dialect::default(), limit);
    for cut in 0..text.len() {
        let (left, right) = text.split_at(cut);
        assert_eq!(read(&[left, right], Dialect::default(), limit), whole, "cut at {cut}");
    }
    let single: Vec<&[u8]> = text.chunks(1).collect();
    assert_eq!(read(&single, Dialect::default(), limit), whole, "byte by byte");
    whole
}

fn records(text: &str) -> Vec<String> {
    records_within(text.as_bytes(), 1000)
}

#[test]
fn records_and_cells_are_those_of_rfc_4180() {
    assert_eq!(records("a,b\r\n1,2\n"), ["a|b CrLf", "1|2 Lf"]);
    assert_eq!(records("a,b"), ["a|b None"]);
    assert_eq!(records(""), [""; 0]);
    assert_eq!(records(",\n\n"), ["| Lf", " Lf"]);
    assert_eq!(records("\"a\",\"b,c\"\n"), ["a|b,c Lf"]);
    assert_eq!(records("\"a\"\"b\",\"\"\n\"\"\"\"\"\"\n"), ["~a\"\"b| Lf", "~\"\"\"\" Lf"]);
    assert_eq!(records("\"a\r\nb\",c\r\n\"d\""), ["a\r\nb|c CrLf", "d None"]);
    assert_eq!(records("é,\"日本\"\n"), ["é|日本 Lf"]);
    assert_eq!(records(&"long,cell,".repeat(30)).len(), 1);
}

#[test]
fn line_ends_are_told_apart() {
    assert_eq!(records("a\rb\r"), ["a Cr", "b Cr"]);
    assert_eq!(records("a\r\r\nb\r\n"), ["a CrCrLf", "b CrLf"]);
    assert_eq!(records("a\r\rb"), ["a Cr", " Cr", "b None"]);
    assert_eq!(records("a\r\r\r\nb"), ["a Cr", " CrCrLf", "b None"]);
    assert_eq!(records("\r\r\r\r\r\r"), [" Cr"; 6]);
    assert_eq!(records("a\n\rb\n"), ["a Lf", " Cr", "b Lf"]);
    assert_eq!(records("\"a\"\rb"), ["a Cr", "b None"]);
}

#[test]
fn stray_quotes_spoil_their_cell_alone() {
    assert_eq!(records("1,a\"b,2\n3,4,5\n"), ["1|!a\"b|2 Lf", "3|4|5 Lf"]);
    assert_eq!(records("1,\"a\"b,2\n"), ["1|!\"a\"b|2 Lf"]);
    assert_eq!(records("1,\"a\"b\"c\r\n2"), ["1|!\"a\"b\"c CrLf", "2 None"]);
    assert_eq!(records("1,\"a\" ,2\n"), ["1|!\"a\" |2 Lf"]);
    assert_eq!(records("1,\"a\"\x01,2\n"), ["1|!\"a\"\x01|2 Lf control"]);
    assert_eq!(records("\"a\"b"), ["!\"a\"b None"]);
    assert_eq!(records("a\"\n"), ["!a\" Lf"]);
}

#[test]
fn after_a_quote_that_does_not_close_the_rows_it_swallowed_are_read() {
    assert_eq!(records("1,\"a\n2,b\n3,c\n"), ["1 Swallowed Unclosed at 1", "2|b Lf", "3|c Lf"]);
    assert_eq!(records("1,\"a\n2,\"b\"\n"), ["1 Swallowed Unclosed at 1", "2|b Lf"]);
    assert_eq!(records("1,\"a\r\n2,\"b\"\r\n3,4\r\n"), ["1 Swallowed Unclosed at 1", "2|b CrLf", "3|4 CrLf"]);
    assert_eq!(records("1,\"a\n2,\"b\n3,4"), ["1 Swallowed Unclosed at 1", "2 Swallowed Unclosed at 1", "3|4 None"]);
    assert_eq!(records("1,\"a"), ["1 None Unclosed at 1"]);
    assert_eq!(records("1,\"a\r"), ["1 Swallowed Unclosed at 1"]);
    assert_eq!(records("1,\"a\n\"b"), ["1 Swallowed Unclosed at 1", " None Unclosed at 0"]);
    assert_eq!(records("1,\"a\r\r\n\"b\r\r"), ["1 Swallowed Unclosed at 1", " Swallowed Unclosed at 0", " Cr"]);
}

#[test]
fn reading_does_not_begin_again_for_ever() {
    let text = "\"a\n".repeat(60);
    // Every second quote closes the cell before it, and text follows.
    let all = records(&text);
    assert_eq!(all.len(), REWINDS + 1);
    assert_eq!(all.last().map(String::as_str), Some(" Swallowed Hopeless at 0"));
}

#[test]
fn a_record_past_the_limit_is_left_out_and_the_next_is_read() {
    let within = |text: &str| records_within(text.as_bytes(), 8);
    assert_eq!(within("12345678\n123456789\n1\n"), ["12345678 Lf", " Lf TooLong", "1 Lf"]);
    assert_eq!(within("1,2,3,4,5,6,7\r\n1"), [" CrLf TooLong", "1 None"]);
    assert_eq!(within("1234567890"), [" None TooLong"]);
    assert_eq!(within("\"23456\"\n\"234567890\"\n1\n"), ["23456 Lf", " Lf TooLong", "1 Lf"]);
    assert_eq!(within("\"234567890\n1\n"), [" Lf Unclosed at 0", "1 Lf"]);
    assert_eq!(within("\"234567890"), [" None Unclosed at 0"]);
    assert_eq!(within("\"2\n34\n567890\n1"), [" Swallowed Unclosed at 0", "34 Lf", "567890 Lf", "1 None"]);
    assert_eq!(
        within("1,\"2\n3\n\n\n\n\n\n\n"),
        ["1 Swallowed Unclosed at 1", "3 Lf", " Lf", " Lf", " Lf", " Lf", " Lf", " Lf"]
    );
}

#[test]
fn bytes_that_are_not_utf8_spoil_their_record_alone() {
    let text = b"a,b\n\xFF,1\nc,d\n\xC3,\x80\n\xED\xA0\x80,x\n\xC3\xA9,y\nz";
    let wanted = ["a|b Lf", "\u{FFFD}|1 Lf invalid", "c|d Lf", "\u{FFFD}|\u{FFFD} Lf invalid"];
    let all = records_within(text, 100);
    assert_eq!(all[..4], wanted);
    assert!(all[4].ends_with("|x Lf invalid"));
    assert_eq!(all[5..], ["é|y Lf", "z None"]);
}

#[test]
fn the_dialect_is_obeyed() {
    let dialect = |delimiter, quote| Dialect { delimiter, quote, header: true };
    assert_eq!(read(&[b"a\t'b\tc'\t\"\n"], dialect(b'\t', Some(b'\'')), 99), ["a|b\tc|\" Lf"]);
    assert_eq!(read(&[b"a;\"b;c\n"], dialect(b';', None), 99), ["a|\"b|c Lf"]);
}

#[test]
fn records_are_the_same_however_a_large_text_is_cut() {
    let mut seed = 7u64;
    let mut next = move |most: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % most
    };
    let parts: [&[u8]; 12] = [
        b",",
        b"\"",
        b"\n",
        b"\r\n",
        b"\r",
        b"a",
        b"plain text",
        "é".as_bytes(),
        b"\xFF",
        b"\0",
        b"\"quoted, \"\"\"",
        b",,,",
    ];
    for _ in 0..150 {
        let mut text = Vec::new();
        for _ in 0..next(120) {
            // Ordinary text far more often than trouble.
            let part = if next(3) == 0 { next(12) } else { 5 + next(2) };
            text.extend_from_slice(parts[part as usize]);
        }
        for limit in [60, 4000] {
            let whole = read(&[&text], Dialect::default(), limit);
            for _ in 0..12 {
                let mut rest = &text[..];
                let mut pieces = Vec::new();
                while !rest.is_empty() {
                    let (piece, left) = rest.split_at((1 + next(90) as usize).min(rest.len()));
                    pieces.push(piece);
                    rest = left;
                }
                assert_eq!(read(&pieces, Dialect::default(), limit), whole, "{text:?} limit {limit}");
            }
        }
    }
}

#[test]
fn memory_is_bounded_whatever_the_bytes() {
    let limit = 64 * 1024;
    let big = |fill: &[u8]| fill.iter().copied().cycle().take(256 << 10).collect::<Vec<u8>>();
    for fill in [&b"a"[..], b",", b"\"", b"\"\"", b"\"a", b"\r", b"a\n\"", b"\0", b"\xFF"] {
        let buffer = big(fill);
        let mut records = Records::new(Dialect::default(), limit, 100);
        let mut sink = |record: Record<'_>| match record.broken {
            Some(Broken::Hopeless) => Err(Fault("hopeless".into())),
            _ => Ok(()),
        };
        // Text that has little to tell is read fast also in a debug build: 64 MiB in one line.
        for _ in 0..if fill == b"a" { 256 } else { 8 } {
            // A quote that opens the text and never closes, too.
            let pushed = records.push(b"\"", &mut sink).and_then(|()| records.push(&buffer, &mut sink));
            assert!(records.carry.capacity() <= limit * 2 + (1 << 20), "{fill:?}: {}", records.carry.capacity());
            assert!(records.cells.capacity() <= 256, "{fill:?}");
            if pushed.is_err() {
                break;
            }
        }
    }
}
