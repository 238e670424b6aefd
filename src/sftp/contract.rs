//! /contract: the files that say what each dataset demands, as they are in force, for the organisation that sends it.
//!
//! Must never show a file of a dataset that the organisation may not send. Does no input or output: what is shown was read
//! with the configuration. Called by `provider`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::attrs::{Entry, Stat};
use super::handles::File;
use super::tree::missing;
use crate::config::{Config, Org};
use crate::types::{Refusal, Timestamp};

/// Since when each file of the contract has been what it is: a client that mirrors /contract by size and time sees every
/// change, and nothing else. One for the whole gateway; as large as the contract.
#[derive(Debug, Default)]
pub struct Since(Mutex<BTreeMap<String, (Arc<str>, Timestamp)>>);

impl Since {
    /// When `content` first stood under this name, as far as this process knows.
    fn of(&self, name: &str, content: &Arc<str>, now: Timestamp) -> Timestamp {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(name) {
            Some((was, since)) if was == content => *since,
            _ => {
                known.insert(name.to_owned(), (content.clone(), now));
                now
            }
        }
    }
}

/// The files by name. A code list that two datasets share is there once.
fn files<'c>(config: &'c Config, org: &Org) -> BTreeMap<&'c str, &'c Arc<str>> {
    let datasets = org.datasets.iter().filter_map(|name| config.datasets.get(name));
    datasets.flat_map(|dataset| &dataset.contract).map(|file| (file.name.as_str(), &file.content)).collect()
}

pub(super) fn list(config: &Config, org: &Org, since: &Since, now: Timestamp) -> Vec<Entry> {
    let entry = |(name, content): (&str, &Arc<str>)| Entry {
        name: name.to_owned(),
        stat: Stat::file(content.len() as u64, since.of(name, content, now)),
    };
    files(config, org).into_iter().map(entry).collect()
}

/// # Errors
/// No dataset of the organisation has such a file.
pub(super) fn file(config: &Config, org: &Org, name: &str, since: &Since, now: Timestamp) -> Result<File, Refusal> {
    let content = files(config, org).get(name).copied().ok_or_else(missing)?;
    Ok(File::shared(content.clone().into(), since.of(name, content, now)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ContractFile;
    use crate::sftp::help::tests::{config, org};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn with(files: &[(&str, &str, &str)]) -> Config {
        let mut config = config();
        for (dataset, name, content) in files {
            let dataset = config.datasets.get_mut(&dataset.parse().unwrap()).unwrap();
            dataset.contract.push(ContractFile { name: (*name).into(), content: Arc::from(*content) });
        }
        config
    }

    fn listed(config: &Config, since: &Since, now: Timestamp) -> Vec<(String, u64, Timestamp)> {
        let entries = list(config, &org(), since, now);
        entries.into_iter().map(|entry| (entry.name, entry.stat.size, entry.stat.modified)).collect()
    }

    #[test]
    fn only_the_files_of_datasets_that_the_organisation_sends_are_there() {
        let config = with(&[
            ("ims-interventions", "ims-interventions.toml", "title"),
            ("ims-interventions", "practices.csv", "code\nA1\n"),
            ("secret-study", "secret-study.toml", "secret"),
            ("secret-study", "practices.csv", "code\nA1\n"),
        ]);
        let since = Since::default();
        let names: Vec<_> = listed(&config, &since, at(1)).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, ["ims-interventions.toml", "practices.csv"]);
        assert!(file(&config, &org(), "ims-interventions.toml", &since, at(1)).is_ok());
        for name in ["secret-study.toml", "", "../ims-interventions.toml", "IMS-interventions.toml"] {
            assert!(file(&config, &org(), name, &since, at(1)).is_err(), "{name}");
        }
    }

    #[test]
    fn the_time_of_a_file_changes_with_its_content_alone() {
        let since = Since::default();
        let strict = with(&[("ims-interventions", "a.toml", "reject"), ("ims-interventions", "b.csv", "x")]);
        let [a, b] = [("a.toml".to_owned(), 6, at(1)), ("b.csv".to_owned(), 1, at(1))];
        assert_eq!(listed(&strict, &since, at(1)), [a.clone(), b.clone()]);
        assert_eq!(listed(&strict, &since, at(2)), [a, b.clone()]);
        // A reload: the same content in a new allocation, and another of the same length.
        let other = with(&[("ims-interventions", "a.toml", "accept"), ("ims-interventions", "b.csv", "x")]);
        assert_eq!(listed(&other, &since, at(3)), [("a.toml".to_owned(), 6, at(3)), b]);
    }
}
