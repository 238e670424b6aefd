//! No input makes the check large, and each is refused for what it is: what `benches/nasty` measures at full size, small.
//!
//! Memory is no speed: the bounds hold on any machine. Nothing here looks at a clock.

use std::path::Path;
use std::process::Command;

use crate::harness::{NIGHTSAFE, PATIENCE, run};

#[test]
fn no_input_makes_the_check_large_and_each_is_refused_for_what_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join("benches/nasty"));
    // The command itself fails when a verdict is not the one that it must be, or when memory passes its bound.
    command.args(["--size", "2MiB", "--json", "--binary", NIGHTSAFE]);
    let done = run(command, b"", 5 * PATIENCE).ok();
    let lines = done.json_lines();
    assert!(lines.len() >= 20, "not all inputs were tried: {done:#?}");
    for line in lines {
        let peak = line["peak_rss_bytes"].as_u64().unwrap();
        let bound = line["bound_bytes"].as_u64().unwrap();
        assert!(peak > 0 && peak <= bound && bound <= 96 << 20, "{line:#}");
        assert_eq!(line["verdict"], line["expected"], "{line:#}");
    }
}
