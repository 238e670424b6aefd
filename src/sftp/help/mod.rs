//! /help.txt: what may be sent here and what is demanded of it, how to send it, whom to ask. Made from the configuration
//! in force; `dataset` says what one dataset demands, `table` what its content must be, `habits` how strict it is.
//!
//! Must never name another organisation, or a dataset that this one may not send. Does no input or output. Called by
//! `provider`.

mod dataset;
mod habits;
mod table;

use std::fmt::Write as _;
use std::time::Duration;

use crate::config::{Config, Dataset, Org};
use crate::types::DigestKind;

pub(super) fn text(config: &Config, org: &Org) -> String {
    let mut text = format!("{}: sending files for {}\n\n", config.server.name, org.name);
    let datasets: Vec<&Dataset> = org.datasets.iter().filter_map(|name| config.datasets.get(name)).collect();
    if datasets.is_empty() {
        text.push_str("No datasets are set up for your organisation yet: nothing can be sent.\n\n");
    } else {
        text.push_str("What may be sent\n----------------\n");
        for dataset in datasets {
            dataset::describe(&mut text, config, org, dataset);
        }
        where_to(&mut text, org);
    }
    how(&mut text, config, org);
    let _ = write!(text, "\nWhom to ask\n-----------\n{}\n", config.server.contact);
    text
}

fn where_to(text: &mut String, org: &Org) {
    text.push_str("Put a file into its dataset's directory. ");
    match &org.default_dataset {
        Some(default) => {
            let _ = writeln!(
                text,
                "A file put into / goes to the dataset whose file name it has;\nif that does not decide it, to {default}."
            );
        }
        None => text.push_str("A file put into / goes to the dataset whose file name it has.\n"),
    }
}

fn how(text: &mut String, config: &Config, org: &Org) {
    let _ = write!(
        text,
        "\nHow it works\n------------\n\
         - A file is taken when your client's upload ends without an error. It is checked while it arrives; a file that\n  \
           is not as it should be is rejected as a whole, with the reason.\n\
         - What makes the rest pointless (a wrong header, a wrong type of file) ends the upload at once. Other errors are\n  \
           gathered to the end: the report counts them by column and rule, with the first rows of each, and never shows\n  \
           what is in a cell.\n\
         - A file may be taken with remarks: it is loaded, and the receipt says what looked odd.\n\
         - /contract/ has the demands as files: the dataset's settings, its schema and its code lists. With these the\n  \
           program nightsafe checks a file on your own machine, as it is checked here: see \"Before sending\" above.\n\
         - /receipts/ holds a receipt for each accepted file and a report for each rejected one, as JSON and as text,\n  \
           for {listed}. Accepted files stay listed as long.\n\
         - Files cannot be read back or renamed once they are accepted: they are sealed, and this gateway has no key to\n  \
           open them. To correct a file, upload it again under the same name: it supersedes the old one. One that you\n  \
           remove is no longer listed; it stays accepted.\n\
         - To upload under a working name first, use one that ends in {suffixes},\n  \
           then rename it; only then is it taken.\n\
         - An upload that breaks off is not taken. What came of it stays listed, with its size, as a draft: resume it\n  \
           there (reput, put -a, put -c, curl -C -), or upload the file again. Drafts are removed after {drafts}.\n\
         - For scripts, over ssh: \"status\" tells what came of the latest uploads, \"receipt ID\" of one of them, and\n  \
           \"sha256sum FILE\"{sums} what was received; \"help\" lists them.\n\
         - All files of your organisation here may hold {quota} together; {handles} files may be open at a time.\n\
         - File names: at most 255 bytes of UTF-8, without '/', control characters and characters that hide or reorder text.\n",
        listed = span(org.retention.listed),
        suffixes = suffixes(config),
        sums = sums(org),
        drafts = span(config.intake.drafts_expire),
        quota = size(org.quota),
        handles = config.limits.handles_per_session,
    );
}

/// The further programs that tell digests.
fn sums(org: &Org) -> String {
    let others = org.digests.iter().filter(|kind| **kind != DigestKind::Sha256);
    others.map(|kind| format!(", \"{}sum FILE\"", kind.as_str())).collect()
}

fn suffixes(config: &Config) -> String {
    match config.intake.working_suffixes.as_slice() {
        [] => "(none are configured)".into(),
        suffixes => list(suffixes, "or"),
    }
}

/// `a, b and c`; nothing for nothing.
fn list(words: &[impl AsRef<str>], join: &str) -> String {
    match words {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [most @ .., last] => {
            let most: Vec<&str> = most.iter().map(AsRef::as_ref).collect();
            format!("{} {join} {}", most.join(", "), last.as_ref())
        }
    }
}

/// Bytes in the largest binary unit that says it exactly, or to one decimal.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) if bytes.is_multiple_of(*unit) => format!("{} {name}", bytes / unit),
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} bytes"),
    }
}

pub(super) fn span(duration: Duration) -> String {
    const UNITS: [(u64, &str); 3] = [(24 * 3600, "day"), (3600, "hour"), (60, "minute")];
    let seconds = duration.as_secs();
    let (count, unit) = UNITS
        .iter()
        .find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit))
        .map_or((seconds, "second"), |(unit, name)| (seconds / unit, *name));
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::*;

    /// An organisation that may send `ims-interventions`.
    pub(in crate::sftp) fn org() -> Org {
        Org {
            id: "harbour".parse().unwrap(),
            name: "Harbour Street Services".into(),
            disabled: false,
            datasets: ["ims-interventions".parse().unwrap()].into(),
            default_dataset: None,
            recipients: Vec::new(),
            quota: 100 << 30,
            digests: crate::types::DigestKind::ALL.into(),
            retention: Retention {
                listed: Duration::from_secs(30 * 86_400),
                loaded: Duration::from_secs(86_400),
                ..Retention::default()
            },
            codes: Default::default(),
        }
    }

    pub fn dataset(name: &str, title: &str) -> Dataset {
        let rules = Rules { name_hint: Some("AGENCY_YYYY-MM.csv".into()), ..Rules::of(Format::Csv, 2 << 30) };
        let name: crate::types::DatasetName = name.parse().unwrap();
        Dataset { title: title.into(), description: "One row each.\nUTF-8.".into(), ..Dataset::of(name, rules) }
    }

    pub(in crate::sftp) fn config() -> Config {
        let datasets =
            [dataset("ims-interventions", "IMS interventions"), dataset("secret-study", "A study of others")];
        Config {
            file: "/nightsafe.toml".into(),
            server: Server {
                name: "sftp.example.org".into(),
                contact: "Data team, data@example.org".into(),
                listeners: Vec::new(),
                host_keys: Vec::new(),
                algorithms: AlgorithmSet::Standard,
                drain: Duration::ZERO,
            },
            limits: Limits {
                connections: 1,
                connections_per_address: 1,
                unauthenticated: 1,
                authentication: Duration::ZERO,
                sessions_per_account: 1,
                channels_per_connection: 1,
                handles_per_session: 64,
                reply_debt: 1 << 20,
                idle: Duration::ZERO,
                keepalive: Duration::ZERO,
            },
            paths: Paths { state: "/s".into(), runtime: "/r".into(), keys: "/k".into() },
            intake: IntakeSettings {
                drafts_expire: Duration::from_secs(86_400),
                segments: 64,
                reorder_window: 1 << 20,
                uploads_per_org: 256,
                working_suffixes: vec![".filepart".into(), ".part".into()],
                reserve: 0,
            },
            queue: QueueSettings {
                lease: Duration::ZERO,
                lease_max: Duration::ZERO,
                attempts: 1,
                backoff: Duration::ZERO,
                backoff_max: Duration::ZERO,
            },
            scan: None,
            log: LogSettings { format: LogFormat::Text, level: "info".into() },
            orgs: Default::default(),
            datasets: datasets.into_iter().map(|dataset| (dataset.name.clone(), dataset)).collect(),
            accounts: Default::default(),
        }
    }

    #[test]
    fn the_help_says_what_may_be_sent_how_and_whom_to_ask() {
        let text = text(&config(), &org());
        for part in [
            "sending files for Harbour Street Services",
            "/ims-interventions/  IMS interventions",
            "AGENCY_YYYY-MM.csv",
            "up to 2 GiB; empty files are rejected",
            "for 30 days",
            ".filepart or .part",
            "after 1 day.",
            "100 GiB together",
            "\"sha256sum FILE\", \"sha1sum FILE\", \"md5sum FILE\" what was received",
            "Data team, data@example.org",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }

    #[test]
    fn the_help_names_no_dataset_of_others() {
        let text = text(&config(), &org());
        assert!(!text.contains("study"), "{text}");
    }

    #[test]
    fn an_organisation_without_datasets_is_told_so() {
        let text = text(&config(), &Org { datasets: Default::default(), ..org() });
        assert!(text.contains("nothing can be sent"), "{text}");
    }

    #[test]
    fn sizes_and_spans_read_well() {
        assert_eq!([size(0), size(1023), size(1536), size(1 << 20)], ["0 bytes", "1023 bytes", "1.5 KiB", "1 MiB"]);
        let spans = [1, 90, 120, 3600, 36 * 3600, 86_400].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(spans, ["1 second", "90 seconds", "2 minutes", "1 hour", "36 hours", "1 day"]);
    }
}
