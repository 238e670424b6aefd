//! docs/CLIENTS.md: what a run saw is what it says, or the test fails; `NIGHTSAFE_WRITE_CLIENTS` writes it instead.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::matrix::{COLUMNS, Row};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CLIENTS.md")
}

/// Compares a row with the document, but for the client's version, which differs from machine to machine; or writes it.
///
/// # Errors
/// What differs, and how to mend it.
pub fn settle(row: &Row) -> Result<(), String> {
    let _turn = ONE_AT_A_TIME.lock().unwrap();
    let text = std::fs::read_to_string(file()).map_err(|error| format!("docs/CLIENTS.md: {error}"))?;
    let cells: Vec<_> = row.cells.iter().map(ToString::to_string).collect();
    assert_eq!(cells.len(), COLUMNS.len());
    let line = format!("| {} | {} | {} |", row.title, row.version, cells.join(" | "));
    let shown = row.shown.iter().map(|words| if words.is_empty() { "(nothing)" } else { words });
    let block = shown.collect::<Vec<_>>().join("\n\n");

    if std::env::var_os("NIGHTSAFE_WRITE_CLIENTS").is_some() {
        let text = with_line(&text, row.title, &line).ok_or_else(|| missing(row.title))?;
        let text = with_block(&text, row.title, &block).ok_or_else(|| missing(row.title))?;
        return std::fs::write(file(), text).map_err(|error| format!("docs/CLIENTS.md: {error}"));
    }
    let stands = line_of(&text, row.title).ok_or_else(|| missing(row.title))?;
    if without_version(stands) != without_version(&line) {
        return Err(differs(stands, &line));
    }
    let stands = block_of(&text, row.title).ok_or_else(|| missing(row.title))?;
    if lines_of(stands) != lines_of(&block) { Err(differs(stands, &block)) } else { Ok(()) }
}

/// A client and the `ssh` that it runs write to one terminal, each when it comes to it: their order is no difference.
fn lines_of(block: &str) -> Vec<&str> {
    let mut lines: Vec<_> = block.lines().collect();
    lines.sort_unstable();
    lines
}

fn missing(title: &str) -> String {
    format!(
        "docs/CLIENTS.md has no row, or no block \"<!-- shown: {title} -->\", for {title}: write one, the run fills it"
    )
}

fn differs(stands: &str, seen: &str) -> String {
    format!(
        "docs/CLIENTS.md says\n{stands}\nand the run saw\n{seen}\n(`tests/clients --write` writes what it sees; read the \
         difference)"
    )
}

fn without_version(line: &str) -> Vec<&str> {
    let mut cells: Vec<_> = line.split(" | ").collect();
    if cells.len() > 1 {
        cells.remove(1);
    }
    cells
}

fn line_of<'t>(text: &'t str, title: &str) -> Option<&'t str> {
    let begins = format!("| {title} | ");
    text.lines().find(|line| line.starts_with(&begins))
}

fn with_line(text: &str, title: &str, line: &str) -> Option<String> {
    let stands = line_of(text, title)?;
    Some(text.replacen(stands, line, 1))
}

/// Where the block of a client begins and ends in the text, its fences left out.
fn place_of(text: &str, title: &str) -> Option<(usize, usize)> {
    let mark = format!("<!-- shown: {title} -->\n```text\n");
    let begin = text.find(&mark)? + mark.len();
    Some((begin, begin + text[begin..].find("```")?))
}

fn block_of<'t>(text: &'t str, title: &str) -> Option<&'t str> {
    let (begin, end) = place_of(text, title)?;
    text[begin..end].strip_suffix('\n').or(Some(""))
}

fn with_block(text: &str, title: &str, block: &str) -> Option<String> {
    let (begin, end) = place_of(text, title)?;
    Some(format!("{}{block}\n{}", &text[..begin], &text[end..]))
}

#[test]
fn a_row_and_a_block_are_found_and_replaced_alone() {
    let text =
        "| A | 1 | x |\n| AB | 2 | y |\n<!-- shown: A -->\n```text\nold\n```\n<!-- shown: AB -->\n```text\n```\n";
    assert_eq!(line_of(text, "A"), Some("| A | 1 | x |"));
    assert_eq!(block_of(text, "A"), Some("old"));
    assert_eq!(block_of(text, "AB"), Some(""));
    let text = with_line(text, "AB", "| AB | 3 | z |").unwrap();
    let text = with_block(&text, "AB", "new\nlines").unwrap();
    assert_eq!(block_of(&text, "AB"), Some("new\nlines"));
    assert!(text.starts_with("| A | 1 | x |\n| AB | 3 | z |\n<!-- shown: A -->\n```text\nold\n```\n"));
    assert_eq!(line_of(&text, "C"), None);
    assert_eq!(without_version("| A | 1 | x |"), without_version("| A | 2 | x |"));
}
