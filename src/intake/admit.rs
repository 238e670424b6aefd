//! Whether an upload may begin: which dataset it is for, whether its name fits, whether there is room.
//!
//! Decides, and changes nothing. Called by `intake` at the beginning, as an upload grows, and at a RENAME.

use std::collections::BTreeMap;

use super::facts::{Demands, Vouches};
use super::{Inner, companion, working};
use crate::check::Rules;
use crate::config::units::format_size;
use crate::config::{Completion, Config, Dataset, OnReject, Org};
use crate::types::*;

/// Where an upload belongs.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    pub org: &'a Org,
    pub dataset: &'a Dataset,
    /// The name it will have: `name` itself, or what a working name stands for.
    pub final_name: FileName,
    /// `name` is a working name: CLOSE leaves a draft.
    pub working: bool,
    /// It vouches for an extract of the dataset; none for an extract.
    pub vouches: Option<Vouches>,
    /// The named parts of the extract's name.
    pub parts: BTreeMap<String, String>,
}

impl Admitted<'_> {
    pub(super) fn demands(&self) -> Demands {
        Demands {
            quarantine: self.dataset.on_reject == OnReject::Quarantine,
            repeated: self.dataset.repeated,
            companion: self.dataset.companion.clone(),
            complete: self.dataset.complete.clone(),
            interrupted: self.dataset.interrupted,
            vouches: self.vouches,
            parts: self.parts.clone(),
        }
    }
}

/// Decides the dataset of a file put into `place` as `name`, and whether the name fits it.
pub(super) fn admit<'a>(
    config: &'a Config,
    org: &OrgId,
    place: &Place,
    name: &FileName,
) -> Result<Admitted<'a>, Refusal> {
    if config.orgs.get(org).is_some_and(|org| org.disabled) {
        return Err(turned_off());
    }
    admit_draft(config, org, place, name)
}

fn turned_off() -> Refusal {
    Refusal::denied("your organisation's access is turned off: ask the operator of this gateway")
}

/// The same for a draft that is here, at a start: its organisation may be turned off just now, and on again before it
/// expires.
pub(super) fn admit_draft<'a>(
    config: &'a Config,
    org: &OrgId,
    place: &Place,
    name: &FileName,
) -> Result<Admitted<'a>, Refusal> {
    let org = config.orgs.get(org).ok_or_else(turned_off)?;
    let stands_for = working::stands_for(name, &config.intake.working_suffixes);
    let working = !stands_for.is_empty();
    let names = if working { stands_for } else { vec![name.clone()] };
    let mut refused = None;
    for final_name in names {
        match fit(config, org, place, &final_name) {
            Ok((dataset, vouches, parts)) => return Ok(Admitted { org, dataset, final_name, working, vouches, parts }),
            Err(refusal) => refused = refused.or(Some(refusal)),
        }
    }
    // There was at least one name.
    Err(refused.unwrap_or_else(|| Refusal::rejected("this name cannot be used: choose another")))
}

type Fit<'a> = (&'a Dataset, Option<Vouches>, BTreeMap<String, String>);

/// The dataset that takes a final name, as an extract's or, where it takes such, as a companion's or a marker's.
fn fit<'a>(config: &'a Config, org: &'a Org, place: &Place, name: &FileName) -> Result<Fit<'a>, Refusal> {
    let extract = |name: &FileName| {
        let dataset = dataset(config, org, place, name)?;
        let parts = dataset.rules.parts(name);
        let fits = dataset.rules.name_fits(name).and_then(|()| Rules::parts_agree(&parts, &org.codes));
        fits.map(|()| (dataset, parts)).map_err(|fault| Refusal::rejected(fault.0))
    };
    if let Some((about, kind)) = companion::split(name)
        && let Ok((dataset, parts)) = extract(&about)
        && dataset.companion.kinds.contains(&kind)
    {
        return Ok((dataset, Some(Vouches::Companion(kind)), parts));
    }
    for marked in org.datasets.iter().filter_map(|name| config.datasets.get(name)) {
        if let Completion::Marker(marker) = &marked.complete
            && let Some(about) = marker.about(name)
            && let Ok((dataset, parts)) = extract(&about)
            && dataset.name == marked.name
        {
            return Ok((dataset, Some(Vouches::Marker), parts));
        }
    }
    extract(name).map(|(dataset, parts)| (dataset, None, parts))
}

/// In a dataset's directory that dataset; in the inbox the one whose pattern fits the name, else the default, else the
/// only one.
fn dataset<'a>(config: &'a Config, org: &'a Org, place: &Place, name: &FileName) -> Result<&'a Dataset, Refusal> {
    let known = |name: &DatasetName| config.datasets.get(name);
    if let Place::Dataset(wanted) = place {
        return known(wanted)
            .filter(|dataset| org.datasets.contains(&dataset.name))
            .ok_or_else(|| Refusal::not_found(format!("there is no directory /{wanted}/ here: {}", directories(org))));
    }
    let allowed = || org.datasets.iter().filter_map(known);
    let mut fitting = allowed().filter(|d| d.rules.name.is_some() && d.rules.name_fits(name).is_ok());
    if let (Some(dataset), None) = (fitting.next(), fitting.next()) {
        return Ok(dataset);
    }
    if let Some(dataset) = org.default_dataset.as_ref().and_then(known) {
        return Ok(dataset);
    }
    let mut all = allowed();
    match (all.next(), all.next()) {
        (Some(dataset), None) => Ok(dataset),
        (None, _) => {
            Err(Refusal::denied("your organisation may not send any files here: ask the operator of this gateway"))
        }
        _ => Err(Refusal::denied(format!(
            "the name {:?} does not say what the file is: {}",
            name.as_str(),
            directories(org)
        ))),
    }
}

/// Where an organisation may put files, in words.
pub fn directories(org: &Org) -> String {
    let names: Vec<String> = org.datasets.iter().map(|dataset| format!("/{dataset}/")).collect();
    match names.as_slice() {
        [] => "there are none for your organisation".into(),
        names => format!("put the file into one of {}", names.join(", ")),
    }
}

impl Inner {
    /// Whether an organisation may store more, and the disk has room. Asked at the beginning and every now and then:
    /// concurrent uploads may overshoot by what comes in between. `besides`: the name that is to begin anew, whose draft
    /// makes room for it.
    pub(super) async fn room(
        &self,
        org: &OrgId,
        quota: u64,
        reserve: u64,
        besides: Option<&(Place, FileName)>,
    ) -> Result<(), Refusal> {
        let stored = self.ledger.stored_bytes(org).await.map_err(|error| {
            tracing::error!(%org, %error, "the ledger did not say how much an organisation stores");
            Refusal::failure("the gateway's records cannot be read at the moment: try again later")
        })?;
        if stored.saturating_add(self.registry.bytes(org, besides)) >= quota {
            return Err(Refusal::denied(format!(
                "your organisation's quota of {} is used up: wait until earlier files were loaded, or ask the operator of \
                 this gateway for more",
                format_size(quota)
            )));
        }
        let vault = self.vault.clone();
        // A disk that hangs must not hold up a thread that serves others.
        let space = tokio::task::spawn_blocking(move || vault.space()).await;
        match space {
            Ok(Ok((free, _))) if free >= reserve => Ok(()),
            Ok(Ok((free, _))) => {
                tracing::error!(
                    free_bytes = free,
                    reserve_bytes = reserve,
                    "the state's file system is nearly full: an upload was refused"
                );
                Err(Refusal::failure(
                    "the gateway is short of disk space, nothing is wrong with your file: try again later",
                ))
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the state's file system does not say how much is free");
                Err(Refusal::failure("the gateway's disk does not answer: try again later"))
            }
            Err(_) => Err(Refusal::failure("the gateway is stopping: try again later")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::check::Format;
    use crate::config::*;

    fn dataset(name: &str, format: Format, pattern: Option<&str>) -> (DatasetName, Dataset) {
        let name: DatasetName = name.parse().unwrap();
        let pattern = pattern.map(|pattern| regex::Regex::new(pattern).unwrap());
        let rules = Rules { name: pattern, ..Rules::of(format, 1) };
        (name.clone(), Dataset::of(name, rules))
    }

    /// The organisation `harbour`, with these datasets.
    fn config(datasets: &[(DatasetName, Dataset)], default: Option<&str>) -> Config {
        let org = Org {
            id: "harbour".parse().unwrap(),
            name: "Harbour".into(),
            disabled: false,
            datasets: datasets.iter().map(|(name, _)| name.clone()).collect(),
            default_dataset: default.map(|name| name.parse().unwrap()),
            recipients: vec![],
            quota: 1,
            digests: Default::default(),
            retention: Retention { listed: Duration::ZERO, loaded: Duration::ZERO, ..Retention::default() },
            codes: Default::default(),
        };
        let limits = Limits {
            connections: 1,
            connections_per_address: 1,
            unauthenticated: 1,
            authentication: Duration::ZERO,
            sessions_per_account: 1,
            channels_per_connection: 1,
            handles_per_session: 1,
            reply_debt: 1,
            idle: Duration::ZERO,
            keepalive: Duration::ZERO,
        };
        Config {
            file: "/x".into(),
            server: Server {
                name: "x".into(),
                contact: "x".into(),
                listeners: vec![],
                host_keys: vec![],
                algorithms: AlgorithmSet::Standard,
                drain: Duration::ZERO,
            },
            limits,
            paths: Paths { state: "/x".into(), runtime: "/x".into(), keys: "/x".into() },
            intake: IntakeSettings {
                drafts_expire: Duration::ZERO,
                segments: 64,
                reorder_window: 0,
                uploads_per_org: 1,
                working_suffixes: vec![".part".into()],
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
            audit: AuditSettings::default(),
            log: LogSettings { format: LogFormat::Text, level: "info".into() },
            orgs: BTreeMap::from([(org.id.clone(), org)]),
            datasets: datasets.iter().cloned().collect(),
            accounts: BTreeMap::new(),
        }
    }

    fn decided(config: &Config, place: &str, name: &str) -> Result<(String, String, bool), String> {
        let place = if place.is_empty() { Place::Inbox } else { Place::Dataset(place.parse().unwrap()) };
        match admit(config, &"harbour".parse().unwrap(), &place, &name.parse().unwrap()) {
            Ok(a) => Ok((a.dataset.name.to_string(), a.final_name.to_string(), a.working)),
            Err(refusal) => Err(refusal.reason),
        }
    }

    fn ok(dataset: &str, name: &str, working: bool) -> Result<(String, String, bool), String> {
        Ok((dataset.into(), name.into(), working))
    }

    #[test]
    fn in_the_inbox_the_name_decides_then_the_default_then_the_only_one() {
        let (a, b) = (dataset("a", Format::Csv, Some(r"A\d+\.csv")), dataset("b", Format::Csv, Some(r".*[0-9]\.csv")));
        let both = config(&[a.clone(), b.clone()], None);
        assert_eq!(decided(&both, "", "x1.csv"), ok("b", "x1.csv", false));
        let why = decided(&both, "", "A1.csv").unwrap_err();
        assert!(why.contains("/a/, /b/"), "two patterns fit: {why}");
        assert!(decided(&both, "", "x.csv").is_err());
        assert_eq!(decided(&config(&[a.clone(), b], Some("a")), "", "A1.csv"), ok("a", "A1.csv", false));
        assert!(decided(&config(&[a], None), "", "x.csv").unwrap_err().contains("name the file like"));
        let only = dataset("only", Format::Csv, None);
        assert_eq!(decided(&config(&[only], None), "", "x.csv"), ok("only", "x.csv", false));
    }

    #[test]
    fn in_a_directory_the_dataset_is_given_and_the_name_must_fit() {
        let config = config(&[dataset("a", Format::Csv, Some(r"A\d+\.csv")), dataset("b", Format::Opaque, None)], None);
        assert_eq!(decided(&config, "b", "anything.bin"), ok("b", "anything.bin", false));
        assert!(decided(&config, "a", "x.csv").is_err());
        assert!(decided(&config, "c", "x.csv").unwrap_err().contains("/a/, /b/"));
    }

    #[test]
    fn a_working_name_is_checked_by_what_it_stands_for() {
        let config = config(&[dataset("a", Format::Csv, Some(r"A\d+\.csv"))], None);
        assert_eq!(decided(&config, "", "A1.csv.part"), ok("a", "A1.csv", true));
        assert_eq!(decided(&config, "", "A1.csv.abcdefgh.partial"), ok("a", "A1.csv", true));
        assert!(decided(&config, "", "x.csv.part").is_err());
    }

    #[test]
    fn a_disabled_organisation_sends_nothing() {
        let mut config = config(&[dataset("a", Format::Csv, None)], None);
        config.orgs.values_mut().for_each(|org| org.disabled = true);
        assert!(decided(&config, "", "x.csv").unwrap_err().contains("turned off"));
    }
}
