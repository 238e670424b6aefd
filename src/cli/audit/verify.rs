//! `nightsafe audit verify`: everything recomputed, and what is wrong named.

use std::fmt::Write as _;

use serde_json::json;

use super::super::outcome::Stop;
use super::super::output::{self, line, tame};
use crate::config::{self, Config};
use crate::ledger::{Finding, Ledger, Verification};

#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub async fn run(&self, ledger: &Ledger, config: &Config) -> anyhow::Result<()> {
        let mut keys = config.audit.former_keys.clone();
        keys.push(config::signing_key(&config.audit)?.verifier_key().clone());
        let findings = ledger.verify(Verification { keys, ..Verification::default() }).await?.findings;
        if self.json {
            output::json(&json!({ "whole": findings.is_empty(), "findings": findings }))?;
        } else {
            line(verdict(&findings).trim_end())?;
        }
        if findings.is_empty() { Ok(()) } else { Err(Stop::Told.into()) }
    }
}

fn verdict(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let _ = writeln!(text, "NOT SO: {}: {}", finding.check, tame(&finding.what));
    }
    text.push_str(match findings.is_empty() {
        true => "The audit log and the ledger are complete and consistent.\n",
        false => {
            "The audit log or the ledger is not whole: keep the file as it is, and compare it with your backups.\n"
        }
    });
    text.push_str("(Checked for completeness and consistency; events are not signed, so this is no proof against whoever can write the file.)\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_says_what_was_and_was_not_checked() {
        assert!(verdict(&[]).starts_with("The audit log and the ledger are complete and consistent.\n(Checked for"));
        let finding =
            Finding { check: "the sequence of events has no gaps", what: "after event 1 comes 3".into(), event: None };
        let text = verdict(&[finding]);
        assert!(text.starts_with("NOT SO: the sequence of events has no gaps: after event 1 comes 3\n"), "{text}");
        assert!(text.contains("not signed"));
    }
}
