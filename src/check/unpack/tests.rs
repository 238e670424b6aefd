//! What the real programs write is opened; what could be read in two ways, or would grow without end, is refused.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

const LIMITS: Limits = Limits { size: 1 << 30, ratio: 200 };

fn unpacked(compression: Compression, limits: Limits, packed: &[u8], piece: usize) -> (Vec<u8>, Result<(), Damaged>) {
    let mut unpack = Unpack::begin(compression, limits);
    let mut given = Vec::new();
    let mut done = Ok(());
    for piece in packed.chunks(piece.max(1)) {
        done = unpack.push(piece, &mut |out| {
            assert!(!out.is_empty() && out.len() <= 64 << 10);
            given.extend_from_slice(out);
            true
        });
        if done.is_err() {
            break;
        }
    }
    (given, done.and_then(|()| unpack.finish()))
}

/// The same, however it is cut.
fn whole(compression: Compression, packed: &[u8]) -> (Vec<u8>, Result<(), Damaged>) {
    let once = unpacked(compression, LIMITS, packed, packed.len());
    for piece in [1, 13] {
        let cut = unpacked(compression, LIMITS, packed, piece);
        assert!(
            cut == once,
            "in pieces of {piece}: {:?}, {} bytes; at once: {:?}, {} bytes",
            cut.1,
            cut.0.len(),
            once.1,
            once.0.len()
        );
    }
    once
}

#[track_caller]
fn opens(compression: Compression, packed: &[u8], text: &[u8]) {
    let (given, done) = whole(compression, packed);
    assert_eq!(done, Ok(()));
    assert!(given == text, "{} bytes instead of {}", given.len(), text.len());
}

#[track_caller]
fn refused(compression: Compression, packed: &[u8]) -> &'static str {
    let damaged = whole(compression, packed).1.expect_err("it was opened");
    assert!(damaged.message.len() > 40, "{damaged:?}");
    damaged.rule
}

fn csv() -> Vec<u8> {
    let rows = (0..800).map(|row: u32| format!("{row},{},\"x\"\r\n", row.wrapping_mul(2_654_435_761)));
    std::iter::once("id,number,text\r\n".to_owned()).chain(rows).collect::<String>().into_bytes()
}

/// Runs a program with `input`, and gives its output.
fn run(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}");
    output.stdout
}

/// Python's zipfile: `body` makes the archive `z` (a ZipFile on `out`, from the text `data`).
fn python_zip(body: &str, data: &[u8]) -> Vec<u8> {
    let script = format!(
        "import sys, io, zipfile, struct\nfrom zipfile import *\ndata = sys.stdin.buffer.read()\nout = io.BytesIO()\n\
         class Stream:\n  def write(self, b): return out.write(b)\n  def flush(self): pass\n\
         {body}\nsys.stdout.buffer.write(out.getvalue())"
    );
    run("python3", &["-c", &script], data)
}

fn zip_of(body: &str) -> Vec<u8> {
    python_zip(&format!("with ZipFile(out, 'w', ZIP_DEFLATED) as z:\n  {body}"), &csv())
}

fn gzip_of(text: &[u8]) -> Vec<u8> {
    run("gzip", &["-c"], text)
}

#[test]
fn what_gzip_writes_is_opened() {
    for text in [&b""[..], b"a", &csv(), &csv().repeat(200)] {
        for level in ["-1", "-6", "-9"] {
            let packed = run("gzip", &["-c", level], text);
            if text.len() < 100_000 {
                opens(Compression::Gzip, &packed, text);
            } else {
                assert!(unpacked(Compression::Gzip, LIMITS, &packed, 32 << 10) == (text.to_vec(), Ok(())));
            }
        }
    }
}

#[test]
fn all_optional_fields_of_a_gzip_header_are_skipped_and_its_own_checksum_is_checked() {
    let text = csv();
    let plain = gzip_of(&text);
    let mut header = vec![0x1f, 0x8b, 8, FULL, 1, 2, 3, 4, 0, 3];
    const FULL: u8 = 1 | 2 | 4 | 8 | 16;
    header.extend(b"\x05\0extra");
    header.extend(b"name.csv\0a comment\0");
    let mut sum = flate2::Crc::new();
    sum.update(&header);
    header.extend(&sum.sum().to_le_bytes()[..2]);
    let packed = [&header, &plain[10..]].concat();
    opens(Compression::Gzip, &packed, &text);
    for at in 0..header.len() {
        let mut flipped = packed.clone();
        flipped[at] ^= 0x40;
        refused(Compression::Gzip, &flipped);
    }
    let endless = [&[0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3][..], &[b'n'; 5000]].concat();
    assert_eq!(refused(Compression::Gzip, &endless), "structure");
}

#[test]
fn a_gzip_file_that_is_cut_anywhere_is_truncated() {
    let packed = gzip_of(&csv()[..2000]);
    for end in 0..packed.len() {
        assert_eq!(refused(Compression::Gzip, &packed[..end]), "truncated", "after {end} bytes");
    }
}

#[test]
fn a_gzip_file_whose_bytes_were_changed_is_refused() {
    let text = &csv()[..3000];
    let packed = gzip_of(text);
    let rule = |at: usize, bits: u8| {
        let mut flipped = packed.clone();
        flipped[at] ^= bits;
        whole(Compression::Gzip, &flipped).1.err().map(|damaged| damaged.rule)
    };
    assert_eq!(
        (rule(0, 1), rule(1, 1), rule(2, 1), rule(3, 0x80)),
        (Some("structure"), Some("structure"), Some("method"), Some("structure"))
    );
    let end = packed.len();
    assert!((end - 8..end).all(|at| rule(at, 4) == Some("checksum")));
    // Time, extra flags and system say nothing about the content.
    assert!((4..10).all(|at| rule(at, 1).is_none()));
    for at in 10..end - 8 {
        assert!(rule(at, 1 << (at % 8)).is_some(), "byte {at}");
    }
}

#[test]
fn nothing_follows_a_gzip_member() {
    let packed = gzip_of(&csv());
    assert_eq!(refused(Compression::Gzip, &[&packed[..], &packed].concat()), "members");
    for more in [&b"\0"[..], b"\x1f", b"\x1f\x8c", b"x"] {
        assert_eq!(refused(Compression::Gzip, &[&packed[..], more].concat()), "trailing-bytes");
    }
}

#[test]
fn a_bomb_is_refused_early() {
    // 10 GiB of zeros, in the making: it is refused long before its end.
    let mut gzip =
        Command::new("sh").args(["-c", "head -c 10G /dev/zero | gzip -9"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut stream = gzip.stdout.take().unwrap();
    let mut unpack = Unpack::begin(Compression::Gzip, Limits { size: 1 << 40, ratio: 200 });
    let (mut given, mut packed) = (0u64, vec![0; 4096]);
    let damaged = loop {
        let read = std::io::Read::read(&mut stream, &mut packed).unwrap();
        assert!(read > 0, "it was unpacked whole");
        let done = unpack.push(&packed[..read], &mut |out| {
            given += out.len() as u64;
            true
        });
        if let Err(damaged) = done {
            break damaged;
        }
    };
    gzip.kill().unwrap();
    gzip.wait().unwrap();
    assert_eq!((damaged.rule, given), ("ratio", 1 << 20));
}

#[test]
fn the_limit_on_the_size_is_exact_and_an_honest_ratio_passes() {
    let text = vec![b'x'; 3 << 20];
    let packed = gzip_of(&text);
    let with = |size, ratio| unpacked(Compression::Gzip, Limits { size, ratio }, &packed, 999);
    assert_eq!(with(3 << 20, 2000).1, Ok(()));
    let (given, done) = with((3 << 20) - 1, 2000);
    assert_eq!((given.len(), done.unwrap_err().rule), ((3 << 20) - 1, "size"));
    assert_eq!(with(3 << 20, 200).1.unwrap_err().rule, "ratio");
    // Below the first MiB nobody asks.
    assert_eq!(
        unpacked(Compression::Gzip, Limits { size: 1 << 20, ratio: 2 }, &gzip_of(&text[..1_000_000]), 9).1,
        Ok(())
    );
}

#[test]
fn when_no_more_is_wanted_nothing_more_is_unpacked() {
    for (compression, packed) in [
        (Compression::Gzip, gzip_of(&csv().repeat(50))),
        (
            Compression::Zip,
            python_zip("with ZipFile(out, 'w', ZIP_DEFLATED) as z: z.writestr('a.csv', data)", &csv().repeat(50)),
        ),
        (Compression::Zip, python_zip("with ZipFile(out, 'w') as z: z.writestr('a.csv', data)", &csv().repeat(50))),
    ] {
        let mut unpack = Unpack::begin(compression, LIMITS);
        let mut pieces = 0;
        for piece in packed.chunks(1000) {
            let done = unpack.push(piece, &mut |_| {
                pieces += 1;
                false
            });
            assert_eq!(done, Ok(()));
        }
        assert_eq!((pieces, unpack.finish()), (1, Ok(())));
    }
}

#[test]
fn what_zip_programs_write_is_opened() {
    let text = csv();
    for (what, body) in [
        ("deflated", "with ZipFile(out, 'w', ZIP_DEFLATED) as z: z.writestr('a.csv', data)"),
        ("stored", "with ZipFile(out, 'w', ZIP_STORED) as z: z.writestr('a.csv', data)"),
        ("to a stream", "with ZipFile(Stream(), 'w', ZIP_DEFLATED) as z: z.writestr('a.csv', data)"),
        (
            "ZIP64",
            "with ZipFile(out, 'w', ZIP_DEFLATED) as z:\n  with z.open('a.csv', 'w', force_zip64=True) as f: f.write(data)",
        ),
        (
            "ZIP64 to a stream",
            "with ZipFile(Stream(), 'w', ZIP_DEFLATED) as z:\n  with z.open('a.csv', 'w', force_zip64=True) as f: f.write(data)",
        ),
        (
            "ZIP64 end",
            "zipfile.ZIP_FILECOUNT_LIMIT = 0\nwith ZipFile(out, 'w', ZIP_DEFLATED) as z: z.writestr('a.csv', data)",
        ),
        (
            "a folder",
            "with ZipFile(out, 'w', ZIP_DEFLATED) as z:\n  z.writestr('x/', b'')\n  z.writestr('x/ä ü.csv', data)\n  z.writestr('y/', b'')",
        ),
        (
            "an entry's comment",
            "i = ZipInfo('a.csv')\ni.comment = b'c'\nwith ZipFile(out, 'w', ZIP_DEFLATED) as z: z.writestr(i, data)",
        ),
    ] {
        println!("{what}");
        opens(Compression::Zip, &python_zip(body, &text), &text);
    }
}

#[test]
fn what_info_zip_writes_is_opened() {
    let text = csv();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    for file in ["a.csv", "sub/b.csv"] {
        std::fs::write(dir.path().join(file), &text).unwrap();
    }
    let at = dir.path().display();
    for (what, script) in [
        ("a file", "zip -q - a.csv > out.zip"),
        ("without compression", "zip -q0 x.zip a.csv; cp x.zip out.zip"),
        ("through a pipe", "zip -q - a.csv | cat > out.zip"),
        ("from standard input", "cat a.csv | zip -q out.zip -"),
        ("from a pipe to a pipe", "cat a.csv | zip -q - - | cat > out.zip"),
        ("ZIP64", "zip -q -fz y.zip a.csv; cp y.zip out.zip"),
        ("a directory", "zip -qr z.zip sub; cp z.zip out.zip"),
    ] {
        println!("{what}");
        run("sh", &["-c", &format!("cd {at} && rm -f out.zip && {script}")], b"");
        opens(Compression::Zip, &std::fs::read(dir.path().join("out.zip")).unwrap(), &text);
    }
}

#[test]
fn what_the_finder_of_macos_adds_is_passed_over_if_it_is_what_it_seems() {
    let table = "z.writestr('d/a.csv', data)";
    let with = |member: &str| zip_of(&format!("{table}; {member}"));
    opens(Compression::Zip, &with("z.writestr('__MACOSX/d/._a.csv', b'\\0\\5\\x16\\7' + b'x' * 300)"), &csv());
    opens(
        Compression::Zip,
        &with("z.writestr('__MACOSX/', b''); z.writestr('d/.DS_Store', b'\\0\\0\\0\\1Bud1')"),
        &csv(),
    );
    for other in [
        "z.writestr('__MACOSX/d/._a.csv', b'id,name')",
        "z.writestr('__MACOSX/d/._a.csv', b'')",
        "z.writestr('.DS_Store', b'id,name')",
        "z.writestr('__MACOSX/a.csv', b'\\0\\5\\x16\\7')",
        "z.writestr('__MACOSX/._a.csv', b'\\0\\5\\x16\\7' + b'x' * 2000000)",
    ] {
        assert_eq!(refused(Compression::Zip, &with(other)), "members", "{other}");
    }
    // Before the table too.
    opens(Compression::Zip, &zip_of(&format!("z.writestr('.DS_Store', b'\\0\\0\\0\\1Bud1'); {table}")), &csv());
}

#[test]
fn an_archive_holds_one_file() {
    assert_eq!(refused(Compression::Zip, &zip_of("z.writestr('a.csv', data); z.writestr('b.csv', data)")), "members");
    assert_eq!(refused(Compression::Zip, &zip_of("pass")), "members");
    assert_eq!(refused(Compression::Zip, &zip_of("z.writestr('x/', b'')")), "members");
    assert_eq!(refused(Compression::Zip, &zip_of("[z.writestr('%d/' % i, b'') for i in range(101)]")), "members");
    assert_eq!(refused(Compression::Zip, &zip_of("z.writestr('x' * 1025, data)")), "structure");
}

#[test]
fn links_ways_out_comments_and_unusual_methods_are_refused() {
    for (rule, body) in [
        ("structure", "with ZipFile(out, 'w', ZIP_DEFLATED) as z: z.writestr('../a.csv', data)"),
        ("structure", "with ZipFile(out, 'w', ZIP_DEFLATED) as z: z.writestr('x\\\\..\\\\a.csv', data)"),
        ("structure", "i = ZipInfo('x'); i.filename = '/etc/passwd'\nwith ZipFile(out, 'w') as z: z.writestr(i, data)"),
        ("structure", "with ZipFile(out, 'w', ZIP_DEFLATED) as z: z.writestr('C:a.csv', data)"),
        (
            "structure",
            "i = ZipInfo('a.csv'); i.create_system = 3; i.external_attr = 0o120777 << 16\nwith ZipFile(out, 'w') as z: z.writestr(i, b'/etc/passwd')",
        ),
        ("structure", "with ZipFile(out, 'w', ZIP_DEFLATED) as z:\n  z.writestr('a.csv', data)\n  z.comment = b'x'"),
        ("structure", "with ZipFile(out, 'w', ZIP_DEFLATED) as z: z.writestr('x/', data)"),
        ("method", "with ZipFile(out, 'w', ZIP_LZMA) as z: z.writestr('a.csv', data)"),
        ("method", "with ZipFile(out, 'w', ZIP_BZIP2) as z: z.writestr('a.csv', data)"),
        ("method", "with ZipFile(Stream(), 'w', ZIP_STORED) as z: z.writestr('a.csv', data)"),
    ] {
        assert_eq!(refused(Compression::Zip, &python_zip(body, &csv())), rule, "{body}");
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.csv"), csv()).unwrap();
    run("sh", &["-c", &format!("cd {} && zip -q -P secret out.zip a.csv", dir.path().display())], b"");
    assert_eq!(refused(Compression::Zip, &std::fs::read(dir.path().join("out.zip")).unwrap()), "encrypted");
}

#[test]
fn an_archive_that_is_cut_anywhere_is_truncated_and_nothing_follows_it() {
    let deflated = zip_of("z.writestr('a.csv', data[:900])");
    let streamed =
        python_zip("with ZipFile(Stream(), 'w', ZIP_DEFLATED) as z: z.writestr('a.csv', data[:900])", &csv());
    let wide = python_zip(
        "zipfile.ZIP_FILECOUNT_LIMIT = 0\nwith ZipFile(out, 'w') as z: z.writestr('a.csv', data[:90])",
        &csv(),
    );
    for packed in [deflated, streamed, wide] {
        for end in 0..packed.len() {
            assert_eq!(refused(Compression::Zip, &packed[..end]), "truncated", "after {end} bytes");
        }
        assert_eq!(refused(Compression::Zip, &[&packed[..], b"\0"].concat()), "trailing-bytes");
        assert_eq!(refused(Compression::Zip, &[&packed[..], &packed].concat()), "trailing-bytes");
        assert_eq!(refused(Compression::Zip, &[b"x", &packed[..]].concat()), "structure");
        assert_eq!(refused(Compression::Zip, &[b"MZ\0\0", &packed[..]].concat()), "structure");
    }
}

/// `harmless`: fields on which nothing depends, and compressed data, in which some bits mean nothing.
fn flips(packed: &[u8], harmless: &[std::ops::Range<usize>]) {
    let opened = whole(Compression::Zip, packed);
    for at in 0..packed.len() {
        for bit in 0..8 {
            let mut flipped = packed.to_vec();
            flipped[at] ^= 1 << bit;
            let (given, done) = unpacked(Compression::Zip, LIMITS, &flipped, packed.len());
            if harmless.iter().any(|range| range.contains(&at)) {
                assert!(done.is_err() || given == opened.0, "bit {bit} of byte {at} changes what is read");
            } else {
                assert!(done.is_err(), "bit {bit} of byte {at} goes unseen");
            }
        }
    }
}

#[test]
fn a_changed_bit_in_an_archive_is_seen_wherever_it_matters() {
    let packed = zip_of("z.writestr('a.csv', data[:300])");
    let central = packed.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    // Version needed, harmless flags, time and date; in the table of contents also versions, attributes.
    let harmless =
        [4..8, 10..14, 35..central, central + 4..central + 10, central + 12..central + 16, central + 36..central + 42];
    flips(&packed, &harmless);
}

#[test]
fn a_changed_bit_in_a_streamed_or_large_archive_is_seen_too() {
    let streamed =
        python_zip("with ZipFile(Stream(), 'w', ZIP_DEFLATED) as z: z.writestr('a.csv', data[:300])", &csv());
    let central = streamed.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    flips(
        &streamed,
        &[
            4..8,
            10..14,
            35..central - 16,
            central + 4..central + 10,
            central + 12..central + 16,
            central + 36..central + 42,
        ],
    );
    let wide = python_zip(
        "zipfile.ZIP_FILECOUNT_LIMIT = 0\nwith ZipFile(out, 'w') as z: z.writestr('a.csv', data[:90])",
        &csv(),
    );
    let central = wide.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    let end = wide.windows(4).position(|window| window == b"PK\x06\x06").unwrap();
    let harmless = [
        4..8,
        10..14,
        central + 4..central + 10,
        central + 12..central + 16,
        central + 36..central + 42,
        end + 12..end + 16,
        end + 72..end + 76,
    ];
    flips(&wide, &harmless);
}

#[test]
fn random_damage_never_panics_nor_grows() {
    let streamed = python_zip("with ZipFile(Stream(), 'w', ZIP_DEFLATED) as z: z.writestr('a.csv', data)", &csv());
    let wide =
        python_zip("zipfile.ZIP_FILECOUNT_LIMIT = 0\nwith ZipFile(out, 'w') as z: z.writestr('a.csv', data)", &csv());
    let seeds = [
        (Compression::Gzip, gzip_of(&csv())),
        (Compression::Zip, zip_of("z.writestr('x/', b''); z.writestr('x/a.csv', data)")),
        (Compression::Zip, streamed),
        (Compression::Zip, wide),
    ];
    let limits = Limits { size: 1 << 20, ratio: 200 };
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut dice = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    for round in 0..4000 {
        let (compression, packed) = &seeds[round % seeds.len()];
        let mut bytes = packed.clone();
        for _ in 0..1 + dice(4) {
            let (at, length) = (dice(bytes.len()), 1 + dice(40));
            let end = (at + length).min(bytes.len());
            match dice(5) {
                0 => bytes[at] = [0, 0xff, 0x7f, 1, b'P'][dice(5)],
                1 => bytes[at] ^= 1 << dice(8),
                2 => drop(bytes.drain(at..end)),
                3 => bytes[at..end].fill(0xff),
                _ => {
                    let copy = bytes[at..end].to_vec();
                    let to = dice(bytes.len());
                    bytes.splice(to..to, copy);
                }
            }
            if bytes.is_empty() {
                bytes.push(0);
            }
        }
        let (given, done) = unpacked(*compression, limits, &bytes, 1 + dice(3000));
        assert!(given.len() <= 1 << 20);
        assert!(done.is_err() || given == csv(), "round {round}: damage changed the content unseen");
    }
}
