//! `orgs/<org>.toml`: an organisation, its accounts, and what each may do.
//!
//! Reads; keys and recipients come later, from [`super::keys`]. Called by [`super::load`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use toml::de::DeValue;

use super::diagnostic::{Findings, nearest};
use super::model::{Account, Org, Retention};
use super::section::{At, Section, Wrong, document, kind};
use super::source::Source;
use super::value::{boolean, choice, duration, line, network, parsed, size, text};
use crate::audit::leaf::ERASED;
use crate::types::{AccountName, DatasetName, DigestKind, Invalid, OrgId, Role, Take};

const DAY: Duration = Duration::from_secs(86_400);
/// 100 GiB.
const QUOTA: u64 = 100 << 30;

/// What the names in a file may refer to.
pub(super) struct Known {
    pub orgs: BTreeSet<OrgId>,
    pub datasets: BTreeSet<DatasetName>,
    /// The named parts of each dataset's file names.
    pub parts: BTreeMap<DatasetName, BTreeSet<String>>,
}

/// Names of accounts that were read, and where each stands.
pub(super) type Taken = BTreeMap<AccountName, (OrgId, String)>;

/// One file's account, with the place of its name.
pub(super) type ReadAccount = At<Account>;

pub(super) struct Read {
    pub org: Org,
    /// Without keys yet.
    pub accounts: Vec<ReadAccount>,
    /// Where `datasets` stands, for a fault about their recipients.
    pub datasets_span: Option<Range<usize>>,
    /// Whether every account of the file is in `accounts`: only then can a key's `account=` be called wrong.
    pub complete: bool,
}

/// Reads one file. It always gives an organisation, so that what names it elsewhere is no second fault.
pub(super) fn read(source: &Source, id: OrgId, known: &Known, taken: &mut Taken, findings: &Findings) -> Read {
    let mut read = Read {
        org: Org {
            name: id.to_string(),
            id,
            disabled: false,
            datasets: BTreeSet::new(),
            default_dataset: None,
            recipients: Vec::new(),
            quota: QUOTA,
            digests: [DigestKind::Sha256].into(),
            retention: Retention::default(),
            codes: BTreeMap::new(),
        },
        accounts: Vec::new(),
        datasets_span: None,
        complete: false,
    };
    let Some(table) = document(source, findings) else { return read };
    let mut file = Section::root(source, findings, &table);
    let org = &mut read.org;
    if let Some(name) = file.required("name", "name = \"...\", as people know the organisation", line) {
        org.name = name.value;
    }
    org.disabled = file.or("disabled", false, boolean);
    let datasets = file.list("datasets", |value| dataset(value, known));
    let listed = datasets.is_some();
    for item in datasets.iter().flat_map(|list| &list.value) {
        if !org.datasets.insert(item.value.clone()) {
            file.error(Some(item.span.clone()), format!("{} is listed twice", item.value), "list each dataset once");
        }
    }
    read.datasets_span = datasets.map(|list| list.span);
    if let Some(default) = file.optional("default_dataset", |value| dataset(value, known)) {
        // Where `datasets` itself is wrong, the one fault is enough.
        if !org.datasets.contains(&default.value) && (listed || file.stands("datasets").is_none()) {
            let message = format!("default_dataset: {} is not among this organisation's datasets", default.value);
            let help = match org.datasets.is_empty() {
                true => format!("write datasets = [\"{}\"] too", default.value),
                false => nearest(default.value.as_str(), org.datasets.iter().map(DatasetName::as_str)),
            };
            file.error(Some(default.span.clone()), message, help);
        }
        org.default_dataset = Some(default.value);
    }
    org.quota = file.or("quota", QUOTA, size(1..=1 << 60));
    org.digests = digests(&mut file);
    org.retention = retention(file.table("retention"));
    if let Some(codes) = file.entries("codes", codes) {
        for (part, values) in codes.value {
            look_for_part(&file, &part, org, known);
            org.codes.insert(part.value, values);
        }
    }
    let sections = file.tables("accounts");
    let all = sections.len();
    let used: Vec<_> = sections.into_iter().filter_map(|section| account(section, org, known)).collect();
    file.finish();
    read.complete = used.len() == all;
    for account in used {
        let place = source.at(account.span.clone(), "", "");
        let name = &account.value.name;
        if let Some((_, first)) = taken.get(name) {
            findings.error(source.at(
                account.span.clone(),
                format!("the account name {:?} is used twice", name.as_str()),
                format!("the first is at {first}; account names are unique in the whole gateway, so choose another"),
            ));
            continue;
        }
        taken.insert(name.clone(), (read.org.id.clone(), place.place()));
        if account.value.role == Role::Provider && read.org.datasets.is_empty() && !listed {
            findings.warning(source.at(
                account.span.clone(),
                format!("{name} is a provider's account, but its organisation may send no dataset"),
                "add datasets = [\"...\"] to the organisation, or role = \"loader\" to the account",
            ));
        }
        read.accounts.push(account);
    }
    read
}

fn dataset(value: &DeValue<'_>, known: &Known) -> Result<DatasetName, Wrong> {
    one_of(text(value)?, "dataset", &known.datasets, "datasets")
}

/// A name that must be in `known`; a file of that name in `folder` makes it so.
fn one_of<T>(name: &str, what: &str, known: &BTreeSet<T>, folder: &str) -> Result<T, Wrong>
where
    T: std::str::FromStr<Err = Invalid> + Ord + std::fmt::Display,
{
    let parsed: T = name.parse()?;
    if known.contains(&parsed) {
        return Ok(parsed);
    }
    let names: Vec<String> = known.iter().map(T::to_string).collect();
    let help = match nearest(name, names.iter().map(String::as_str)) {
        near if near.starts_with("did you mean") => near,
        near if near.is_empty() => format!("describe it in {folder}/{name}.toml"),
        near => format!("describe it in {folder}/{name}.toml, or use one of the {near}"),
    };
    Err(Wrong::new(format!("unknown {what} {name:?}"), help))
}

/// Which digests clients may ask for; SHA-256 alone when the file does not say.
fn digests(file: &mut Section<'_>) -> BTreeSet<DigestKind> {
    let kinds = DigestKind::ALL.map(|kind| (kind.as_str(), kind));
    let Some(listed) = file.list("digests", choice(&kinds)) else { return [DigestKind::Sha256].into() };
    let mut digests = BTreeSet::new();
    for item in listed.value {
        if !digests.insert(item.value) {
            let name = item.value.as_str();
            file.error(Some(item.span), format!("{name} is listed twice"), "list each digest once");
        }
    }
    digests
}

fn retention(mut section: Section<'_>) -> Retention {
    let usual = Retention::default();
    let retention = Retention {
        listed: section.or("listed", usual.listed, duration(Duration::from_secs(1)..=3660 * DAY)),
        loaded: section.or("loaded", usual.loaded, duration(Duration::ZERO..=3660 * DAY)),
        quarantined: section.or("quarantined", usual.quarantined, duration(Duration::ZERO..=3660 * DAY)),
    };
    section.finish();
    retention
}

/// What one part of the names may be.
fn codes(value: &DeValue<'_>) -> Result<BTreeSet<String>, Wrong> {
    let help = "write a list of texts: agency = [\"LIV0123\"]";
    let DeValue::Array(items) = value else {
        return Err(Wrong::new(format!("is {}, not a list", kind(value)), help));
    };
    if items.is_empty() {
        return Err(Wrong::new("is empty, so no name could fit", help));
    }
    let mut codes = BTreeSet::new();
    for item in items {
        if !codes.insert(line(item.get_ref())?) {
            return Err(Wrong::new("has the same code twice", "list each code once"));
        }
    }
    Ok(codes)
}

/// Codes that are compared with nothing protect nobody.
fn look_for_part(file: &Section<'_>, part: &At<String>, org: &Org, known: &Known) {
    let parts = || org.datasets.iter().filter_map(|dataset| known.parts.get(dataset)).flatten();
    if org.datasets.is_empty() || parts().any(|known| *known == part.value) {
        return;
    }
    let message = format!("no dataset of this organisation has a part {:?} in its file names", part.value);
    let help = match nearest(&part.value, parts().map(String::as_str)) {
        near if near.is_empty() => {
            format!(
                "name that part in the dataset's name pattern: (?P<{}>...); until then nothing is compared",
                part.value
            )
        }
        near => near,
    };
    file.warning(Some(part.span.clone()), message, help);
}

/// Names in the place of an account's in the audit log: the gateway itself, and one that was erased.
const RESERVED: [&str; 2] = ["gateway", ERASED];

fn account(mut section: Section<'_>, org: &Org, known: &Known) -> Option<ReadAccount> {
    let name = section.required("name", &format!("name = \"{}-nightly\"", org.id), parsed::<AccountName>);
    if let Some(at) = name.as_ref().filter(|at| RESERVED.contains(&at.value.as_str())) {
        let message = format!("an account cannot be called {}: the audit log means something else by it", at.value);
        section.error(Some(at.span.clone()), message, "choose another name");
    }
    let roles = [("provider", Role::Provider), ("loader", Role::Loader)];
    let role = section.or("role", Role::Provider, choice(&roles));
    let disabled = section.or("disabled", false, boolean) || org.disabled;
    let from = section.list("from", network);
    if let Some(from) = from.as_ref().filter(|from| from.value.is_empty()) {
        let help = "list the networks, or take from away to allow every address";
        section.warning(Some(from.span.clone()), "from is empty, which allows every address", help);
    }
    let take = take(&mut section, role, known);
    section.finish();
    let name = name?;
    Some(At {
        span: name.span,
        value: Account {
            name: name.value,
            org: org.id.clone(),
            role,
            disabled,
            from: from.into_iter().flat_map(|list| list.value).map(|at| at.value).collect(),
            keys: Vec::new(),
            take,
        },
    })
}

fn take(account: &mut Section<'_>, role: Role, known: &Known) -> Take {
    let example = "take = { orgs = [\"*\"], datasets = [\"*\"] }";
    let stands = account.stands("take");
    let mut section = account.table("take");
    // Nothing may be taken until the file says so.
    let mut take = Take { orgs: Some(BTreeSet::new()), datasets: Some(BTreeSet::new()) };
    match (role, stands) {
        (Role::Provider, None) => return take,
        (Role::Loader, None) => {
            account.error(None, "a loader needs take, which says what it may take", format!("add {example}"));
            return take;
        }
        (Role::Provider, Some(span)) => {
            let help = "take it away, or write role = \"loader\"";
            account.error(Some(span), "take is for loaders, and this account is a provider", help);
        }
        (Role::Loader, Some(_)) => {}
    }
    take.orgs = all_or(&mut section, "orgs", example, |name| one_of(name, "organisation", &known.orgs, "orgs"));
    take.datasets =
        all_or(&mut section, "datasets", example, |name| one_of(name, "dataset", &known.datasets, "datasets"));
    section.finish();
    take
}

/// A list of names, or `["*"]` for all of them, which is none here.
fn all_or<T: Ord>(
    section: &mut Section<'_>,
    key: &'static str,
    example: &str,
    parse: impl Fn(&str) -> Result<T, Wrong>,
) -> Option<BTreeSet<T>> {
    let items = section.list(key, |value| match text(value)? {
        "*" => Ok(None),
        name => parse(name).map(Some),
    });
    let Some(items) = items else {
        section.absent(key, example);
        return Some(BTreeSet::new());
    };
    let written = section.items(key);
    if written == 0 {
        section.error(
            Some(items.span),
            format!("{key} is empty: this loader could take nothing"),
            format!("write {example}"),
        );
        return Some(BTreeSet::new());
    }
    let star = items.value.iter().find(|item| item.value.is_none()).map(|item| item.span.clone());
    match star {
        Some(_) if written == 1 => None,
        Some(span) => {
            section.error(Some(span), "\"*\" beside names", "write [\"*\"] alone for everything, or the names alone");
            None
        }
        None => Some(items.value.into_iter().filter_map(|item| item.value).collect()),
    }
}
