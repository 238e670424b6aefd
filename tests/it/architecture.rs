//! Who may know whom: the walls between the top-level modules, read off the sources. docs/ARCHITECTURE.md has the reasons.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A module and those that it may use, besides `types`.
const ROOMS: &[(&str, &[&str])] = &[
    (
        "cli",
        &[
            "access", "audit", "check", "config", "daemon", "intake", "ledger", "loader", "publish", "queue", "scan",
            "seal", "sftp", "ssh", "vault",
        ],
    ),
    (
        "daemon",
        &[
            "access", "audit", "check", "config", "intake", "ledger", "loader", "publish", "queue", "seal", "sftp",
            "ssh", "vault",
        ],
    ),
    ("ssh", &["access", "sftp", "queue", "config", "audit"]),
    ("sftp", &["access", "intake", "ledger", "vault", "audit", "config"]),
    ("queue", &["access", "ledger", "config", "audit"]),
    ("intake", &["access", "check", "scan", "seal", "vault", "ledger", "audit", "config"]),
    ("access", &["config", "audit"]),
    ("config", &["seal", "check", "audit"]),
    ("ledger", &["audit"]),
    ("publish", &["audit", "ledger", "config"]),
    ("loader", &["seal", "audit"]),
    ("seal", &[]),
    ("check", &[]),
    ("vault", &[]),
    ("scan", &[]),
    ("audit", &["check"]),
    ("types", &[]),
];

/// Every source file, but for unit tests that have a file of their own: those may use what they like.
fn sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = crate::harness::files_under(&root);
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    let is_test = |part: std::path::Component<'_>| ["tests", "tests.rs"].iter().any(|name| part.as_os_str() == *name);
    files.retain(|file| !file.strip_prefix(&root).unwrap().components().any(is_test));
    assert!(files.len() > 10, "the sources were not found");
    files
}

/// The top-level module that a file belongs to; none for `lib.rs` and `main.rs`.
fn room(file: &Path) -> Option<String> {
    let inside = file.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!["lib", "main"].contains(&name)).then(|| name.to_owned())
}

/// A file without comments and without its tests, which may use what they like.
fn code_of(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            let next = lines.next().unwrap_or_default();
            if next.trim_end().ends_with('{') {
                // The module or function ends where a brace closes at its own depth.
                let end = next.len() - next.trim_start().len();
                let closes = |line: &str| line.starts_with(&(" ".repeat(end) + "}"));
                lines.by_ref().find(|line| closes(line));
            }
            continue;
        }
        code.push_str(line.split("//").next().unwrap());
        code.push('\n');
    }
    code
}

/// Names that follow `crate::`, in paths and in groups such as `use crate::{queue, sftp::Out}`.
fn used(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            names.insert(first_word(rest));
            continue;
        };
        let mut depth = 0;
        let mut at_start = true;
        for (place, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => at_start = true,
                c if at_start && !c.is_whitespace() => {
                    names.insert(first_word(&group[place..]));
                    at_start = false;
                }
                _ => {}
            }
        }
    }
    names
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

#[test]
fn each_module_knows_only_those_that_it_may_know() {
    let mut trespasses = Vec::new();
    for file in sources() {
        let Some(name) = room(&file) else { continue };
        let (_, may) = ROOMS.iter().find(|(room, _)| *room == name).unwrap_or_else(|| {
            panic!("{name} is a new top-level module: say in tests/it/architecture.rs and docs/ARCHITECTURE.md whom it may know")
        });
        for other in used(&code_of(&file)) {
            let known = other == name || other == "types" || may.contains(&other.as_str());
            if !known && ROOMS.iter().any(|(room, _)| *room == other) {
                trespasses.push(format!("{}: {name} may not know {other}", file.display()));
            }
        }
    }
    assert!(trespasses.is_empty(), "{}", trespasses.join("\n"));
}

#[test]
fn every_file_opens_with_what_it_owns() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|file| room(file).is_some() || file.ends_with("lib.rs"))
        .filter(|file| !std::fs::read_to_string(file).unwrap().starts_with("//! "))
        .collect();
    assert!(silent.is_empty(), "these files do not open with `//!`: {silent:?}");
}

#[test]
fn no_file_outgrows_its_purpose() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|file| (code_of(&file).lines().count(), file))
        .filter(|(lines, _)| *lines > 450)
        .collect();
    assert!(long.is_empty(), "split these by responsibility: {long:?}");
}

#[test]
fn only_the_rooms_that_own_a_package_use_it() {
    // The package, and the modules in whose code it may appear.
    let owners: &[(&str, &[&str])] = &[
        ("age::", &["seal"]),
        ("rusqlite::", &["ledger"]),
        ("notify::", &["config"]),
        ("clap::", &["cli"]),
        ("ureq::", &["publish"]),
        ("toml_edit::", &["cli", "config"]),
    ];
    let mut strays = Vec::new();
    for file in sources() {
        let Some(name) = room(&file) else { continue };
        let code = code_of(&file);
        for (package, rooms) in owners {
            // A whole path segment, not the tail of another name.
            let appears = code.match_indices(package).any(|(at, _)| {
                let before = code[..at].chars().next_back();
                !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
            });
            if appears && !rooms.contains(&name.as_str()) {
                strays.push(format!("{}: {package} belongs to {rooms:?}", file.display()));
            }
        }
    }
    assert!(strays.is_empty(), "{}", strays.join("\n"));
}

/// From acceptance on the daemon cannot decrypt: no code of its has a name for what could.
#[test]
fn only_loaders_have_a_word_for_identities() {
    let may = ["src/seal/", "src/loader/", "src/cli/load.rs", "src/cli/quickstart"];
    let (mut holders, mut strays) = (0, Vec::new());
    for file in sources() {
        let code = code_of(&file);
        let names_it = code.match_indices("Identities").any(|(at, word)| {
            let after = code[at + word.len()..].chars().next();
            !after.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        });
        let path = file.display().to_string();
        match names_it {
            true if may.iter().any(|allowed| path.contains(allowed)) => holders += 1,
            true => strays.push(path),
            false => {}
        }
    }
    assert!(holders > 0, "the search does not find those that may");
    assert!(strays.is_empty(), "the daemon's side must not open what it sealed: {strays:?}");
}

#[test]
fn the_reading_of_uses_is_right() {
    let code = "use crate::{queue, sftp::{Out, Session}};\nuse crate::types::*;\nfn f() { crate::ledger::open() }\n";
    assert_eq!(used(code), ["ledger", "queue", "sftp", "types"].map(str::to_owned).into());
}
