//! Every file of a configuration, put together and checked against each other.
//!
//! One fault never hides another: each file is read to its end whatever was wrong with the others. Called by `daemon`,
//! `cli` and [`super::reload`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::datasets::Place;
use super::diagnostic::{Diagnostic, Findings, Warning};
use super::model::*;
use super::orgs::{self, Known, Taken};
use super::source::{Source, absolute};
use super::{datasets, keys, server};
use crate::types::{DatasetName, Invalid, OrgId, Role, Sha256};

/// Names that providers and loaders see for something else.
const RESERVED: [&str; 4] = ["receipts", "help.txt", "contract", "queue"];

/// A configuration, and what is worth saying about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// What is odd, but no error.
    pub warnings: Vec<Warning>,
    /// SHA-256 of each schema's text: a schema can change without any other file.
    pub schemas: BTreeMap<DatasetName, Sha256>,
    /// How many keys of each organisation are disabled (`#disabled DATE# ...`).
    pub disabled_keys: BTreeMap<OrgId, usize>,
}

impl Loaded {
    /// Whether both say the same, comments and layout aside.
    pub(super) fn says_the_same_as(&self, other: &Loaded) -> bool {
        self.schemas == other.schemas && self.is(&other.config)
    }

    pub(super) fn is(&self, config: &Config) -> bool {
        // The model has no equality (a compiled pattern has none); its debug form shows every field of it.
        format!("{:?}", self.config) == format!("{config:?}")
    }
}

/// Reads and validates everything that FILE leads to.
///
/// # Errors
/// Every fault at once, never only the first.
pub fn load(file: &Path) -> Result<Config, Vec<Diagnostic>> {
    load_with_warnings(file).map(|loaded| loaded.config).map_err(|(errors, _)| errors)
}

/// As [`load`], with the warnings, in both cases.
pub fn load_with_warnings(file: &Path) -> Result<Loaded, (Vec<Diagnostic>, Vec<Warning>)> {
    let findings = Findings::default();
    let main = open_main(file, &findings);
    let folder = main.as_ref().map(|main| main.path.parent().unwrap_or(Path::new("")).to_owned());
    let settings = main.as_ref().and_then(|main| server::read(main, &findings));
    // Without the first file nothing else is known to belong together.
    let folder = match folder {
        Some(folder) => folder,
        None => return Err(findings.sorted(file)),
    };
    // Where nightsafe.toml itself cannot be read, what it has is unknown: no second fault of that.
    let place = match &settings {
        Some(settings) if settings.scan.is_some() == settings.has_scan => {
            Place::Gateway { scans: settings.scan.as_ref().map(|scan| scan.max_size) }
        }
        _ => Place::Alone,
    };
    let mut all = Everything::read(&folder, place, &findings);
    if let Some(settings) = &settings {
        all.read_keys(&settings.keys, &findings);
        all.look_for_gaps(&settings.server, file, &findings);
    }
    let (errors, warnings) = findings.sorted(file);
    let Some(settings) = settings.filter(|_| errors.is_empty()) else { return Err((errors, warnings)) };
    let mut orgs = BTreeMap::new();
    let mut accounts = BTreeMap::new();
    let mut disabled_keys = BTreeMap::new();
    for read in all.orgs {
        disabled_keys.insert(read.org.org.id.clone(), read.disabled_keys);
        for account in read.org.accounts {
            accounts.insert(account.value.name.clone(), account.value);
        }
        orgs.insert(read.org.org.id.clone(), read.org.org);
    }
    let schemas = all.datasets.iter().filter_map(|read| Some((read.dataset.name.clone(), read.schema?))).collect();
    let datasets = all.datasets.into_iter().map(|read| (read.dataset.name.clone(), read.dataset)).collect();
    let config = Config {
        file: absolute(file),
        server: settings.server,
        limits: settings.limits,
        paths: settings.paths,
        intake: settings.intake,
        queue: settings.queue,
        scan: settings.scan,
        audit: settings.audit,
        log: settings.log,
        orgs,
        datasets,
        accounts,
    };
    Ok(Loaded { config, warnings, schemas, disabled_keys })
}

/// One dataset by itself, with its schema and code lists beside it, and no nightsafe.toml: for whoever was given the files
/// of /contract. `scan = "required"` is as good as any there; the file's stem is the dataset's name.
///
/// # Errors
/// Every fault at once.
pub fn dataset_file(path: &Path) -> Result<(Dataset, Vec<Warning>), Vec<Diagnostic>> {
    let findings = Findings::default();
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let name = match stem.parse::<DatasetName>() {
        Ok(name) => name,
        Err(Invalid(reason)) => {
            return Err(vec![Diagnostic::of_file(path, reason, "rename the file: its stem is the dataset's name")]);
        }
    };
    let Some(source) = Source::open(path, &findings) else {
        if findings.errors() == 0 {
            let help = "give the path of a dataset's TOML, as under /contract or in the gateway's datasets folder";
            findings.error(Diagnostic::of_file(path, "there is no such file", help));
        }
        return Err(findings.sorted(path).0);
    };
    let mut read = vec![datasets::read(&source, name, Place::Alone, &findings)];
    give_contracts(&mut read, &findings);
    let (errors, warnings) = findings.sorted(path);
    match read.pop() {
        Some(read) if errors.is_empty() => Ok((read.dataset, warnings)),
        _ => Err(errors),
    }
}

/// What providers may read of each dataset, under names that are unique among all of them.
fn give_contracts(datasets: &mut [datasets::Read], findings: &Findings) {
    let files = datasets::unite(&datasets.iter().map(|read| &read.contract).collect::<Vec<_>>());
    for (read, files) in datasets.iter_mut().zip(files) {
        match files {
            Ok(files) => read.dataset.contract = files,
            Err(why) => {
                let path = read.dataset.schema.clone().unwrap_or_default();
                findings.error(Diagnostic::of_file(&path, why, "rename one of the two code lists"));
            }
        }
    }
}

fn open_main(file: &Path, findings: &Findings) -> Option<Source> {
    let main = Source::open(file, findings);
    if main.is_none() && findings.errors() == 0 {
        let help = "nightsafe init DIR writes a configuration; --config FILE or NIGHTSAFE_CONFIG says where one is";
        findings.error(Diagnostic::of_file(file, "there is no such file", help));
    }
    main
}

/// An organisation, its file, and its keys.
struct OrgRead {
    org: orgs::Read,
    source: Option<Source>,
    disabled_keys: usize,
}

/// The files beside nightsafe.toml.
struct Everything {
    orgs: Vec<OrgRead>,
    datasets: Vec<datasets::Read>,
    taken: Taken,
}

impl Everything {
    fn read(folder: &Path, place: Place, findings: &Findings) -> Self {
        let dataset_files: Vec<(DatasetName, PathBuf)> = named_files(&folder.join("datasets"), findings);
        let org_files: Vec<(OrgId, PathBuf)> = named_files(&folder.join("orgs"), findings);
        let mut known = Known {
            orgs: org_files.iter().map(|(id, _)| id.clone()).collect(),
            datasets: dataset_files.iter().map(|(name, _)| name.clone()).collect(),
            parts: BTreeMap::new(),
        };
        let mut datasets: Vec<datasets::Read> = Vec::new();
        for (name, path) in dataset_files {
            if RESERVED.contains(&name.as_str()) {
                let message = format!("a dataset cannot be called {name}: people see something else under that name");
                findings.error(Diagnostic::of_file(&path, message, "rename the file: its stem is the dataset's name"));
            }
            if let Some(source) = Source::open(&path, findings) {
                let read = datasets::read(&source, name.clone(), place, findings);
                known.parts.insert(name, datasets::parts(&read.dataset));
                datasets.push(read);
            }
        }
        give_contracts(&mut datasets, findings);
        let mut taken = Taken::new();
        let mut orgs = Vec::new();
        for (id, path) in org_files {
            // A file that vanishes between the listing and here is an organisation that is not there.
            if let Some(source) = Source::open(&path, findings) {
                let org = orgs::read(&source, id, &known, &mut taken, findings);
                orgs.push(OrgRead { org, source: Some(source), disabled_keys: 0 });
            }
        }
        Self { orgs, datasets, taken }
    }

    fn read_keys(&mut self, folder: &Path, findings: &Findings) {
        let mut seen = keys::Seen::new();
        for read in &mut self.orgs {
            let folder = folder.join(read.org.org.id.as_str());
            let before = findings.errors();
            let path = folder.join("recipients.txt");
            if let Some(source) = Source::open(&path, findings) {
                read.org.org.recipients = keys::read_recipients(&source, findings);
            }
            let lacking = !read.org.org.datasets.is_empty() && read.org.org.recipients.is_empty();
            // Where a recipient is there but wrong, that was told.
            if let (true, true, Some(source)) = (lacking, findings.errors() == before, &read.source) {
                findings.error(source.at(
                    read.org.datasets_span.clone().unwrap_or(0..0),
                    format!("{} may send files, but nobody could open them: it has no recipient", read.org.org.id),
                    format!("write an age recipient (age1..., from age-keygen) to {}", path.display()),
                ));
            }
            if let Some(source) = Source::open(&folder.join("authorized_keys"), findings) {
                let (lines, disabled) = keys::read_keys(&source, findings);
                read.disabled_keys = disabled;
                for line in lines {
                    give_to_owner(&source, line, &mut read.org, &self.taken, &mut seen, findings);
                }
            }
        }
        self.look_for_strays(folder, findings);
    }

    /// Keys that nobody reads: a folder that is spelled otherwise than the organisation.
    fn look_for_strays(&self, folder: &Path, findings: &Findings) {
        let ids: BTreeSet<&str> = self.orgs.iter().map(|read| read.org.org.id.as_str()).collect();
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !ids.contains(name) && !name.starts_with('.')) else {
                continue;
            };
            for file in ["authorized_keys", "recipients.txt"] {
                let path = folder.join(name).join(file);
                if path.is_file() {
                    let message = format!("nobody reads this: there is no organisation {name:?}");
                    let help = super::diagnostic::nearest(name, ids.iter().copied());
                    findings.warning(Diagnostic::of_file(&path, message, help));
                }
            }
        }
    }

    /// What is allowed, but surely not meant.
    fn look_for_gaps(&self, server: &Server, file: &Path, findings: &Findings) {
        if self.orgs.is_empty() {
            let help = "add one: nightsafe org add ID --name \"...\" --dataset DATASET --recipient age1...";
            findings.warning(Diagnostic::of_file(file, "there is no organisation, so nobody could come in", help));
        }
        let admitted: BTreeSet<Role> = server.listeners.iter().flat_map(|listener| &listener.roles).copied().collect();
        for read in &self.orgs {
            let Some(source) = &read.source else { continue };
            for account in &read.org.accounts {
                let Account { name, role, keys, disabled, .. } = &account.value;
                if keys.is_empty() && !disabled {
                    let message = format!("{name} has no key, so nobody can use it");
                    let help = format!("add one: nightsafe key add --account {name} FILE.pub");
                    findings.warning(source.at(account.span.clone(), message, help));
                }
                if !admitted.contains(role) && !server.listeners.is_empty() {
                    let role = role.as_str();
                    let message = format!("{name} is a {role}'s account, but no listener admits {role}s");
                    findings.warning(source.at(
                        account.span.clone(),
                        message,
                        format!("add {role:?} to a listener's roles"),
                    ));
                }
            }
        }
    }
}

fn give_to_owner(
    source: &Source,
    line: keys::Line,
    org: &mut orgs::Read,
    taken: &Taken,
    seen: &mut keys::Seen,
    findings: &Findings,
) {
    let place = source.at(line.span.clone(), "", "").place();
    if let Some(first) = seen.get(&line.key.fingerprint) {
        let help = format!("the first is at {first}; a key belongs to one account, so make another for this one");
        return findings.error(source.at(line.span.clone(), "the same key is in the gateway twice", help));
    }
    seen.insert(line.key.fingerprint.clone(), place);
    if !org.complete {
        return;
    }
    let names: Vec<_> = org.accounts.iter().map(|account| &account.value.name).collect();
    let own = org.org.id.clone();
    let elsewhere = |name: &str| {
        let name = name.parse().ok()?;
        taken.get(&name).map(|(org, _)| org).filter(|org| **org != own).map(OrgId::to_string)
    };
    let Some(owner) = keys::owner(source, &line, &names, elsewhere, findings).cloned() else { return };
    if let Some(account) = org.accounts.iter_mut().find(|account| account.value.name == owner) {
        account.value.keys.push(line.key);
    }
}

/// The `*.toml` files of a folder whose stems are names, in order. A folder that is not there is an empty one.
fn named_files<T: FromStr<Err = Invalid> + Ord>(folder: &Path, findings: &Findings) -> Vec<(T, PathBuf)> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            let help = "make it a folder that the user of the gateway may read";
            findings.error(Diagnostic::of_file(folder, format!("cannot be listed: {error}"), help));
            return Vec::new();
        }
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = match entry {
            Ok(entry) => entry.path(),
            Err(error) => {
                findings.error(Diagnostic::of_file(folder, format!("cannot be listed: {error}"), "see to the disk"));
                continue;
            }
        };
        // Hidden files are editors' and deployers'.
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden || path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        match stem.parse() {
            Ok(name) => files.push((name, path)),
            Err(Invalid(reason)) => {
                findings.error(Diagnostic::of_file(&path, reason, "rename the file: its stem is the name"));
            }
        }
    }
    files.sort();
    files
}
