//! `nightsafe init`: a configuration to edit, commented, with fresh host keys.
//!
//! Must never overwrite a configuration or a host key. Called by `cli`, and by `quickstart` through [`write`].

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, EcdsaCurve, PrivateKey, PublicKey};
use serde_json::json;

use super::edit::{document, files, keyfile};
use super::outcome::Stop;
use super::output;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder to make the configuration in
    dir: PathBuf,
    /// The gateway's name, as providers reach it
    #[arg(long, default_value = "sftp.example.org")]
    name: String,
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:2222")]
    listen: SocketAddr,
    /// For systemd/nightsafe.service: nightsafe.toml right in DIR, host keys as credentials, state in /var/lib/nightsafe
    #[arg(long)]
    service: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What the configuration begins with.
#[derive(Debug, Clone)]
pub struct Options {
    pub name: String,
    /// Whom providers may ask; shown to them.
    pub contact: String,
    pub listen: SocketAddr,
    pub layout: Layout,
}

/// Where things lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `config/`, `keys/`, `state/` and `run/` side by side, so that the whole can be moved.
    Portable,
    /// As systemd/nightsafe.service expects it: the folder is /etc/nightsafe, what changes is elsewhere.
    Service,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "sftp.example.org".into(),
            contact: "the data team".into(),
            listen: SocketAddr::from(([0, 0, 0, 0], 2222)),
            layout: Layout::Portable,
        }
    }
}

impl Layout {
    /// nightsafe.toml under `dir`.
    pub fn configuration(self, dir: &Path) -> PathBuf {
        match self {
            Self::Portable => dir.join("config/nightsafe.toml"),
            Self::Service => dir.join("nightsafe.toml"),
        }
    }
}

/// The host keys, best first: ed25519, and an ECDSA one for clients that know nothing newer.
const HOST_KEYS: [(&str, Algorithm); 2] = [
    ("ssh_host_ed25519_key", Algorithm::Ed25519),
    ("ssh_host_ecdsa_key", Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }),
];

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    init(args)?;
    Ok(ExitCode::SUCCESS)
}

fn init(args: &Args) -> anyhow::Result<()> {
    let layout = if args.service { Layout::Service } else { Layout::Portable };
    let options = Options { name: args.name.clone(), listen: args.listen, layout, ..Options::default() };
    write(&args.dir, &options)?;
    let configuration = layout.configuration(&args.dir);
    let keys = host_keys(&args.dir)?;
    if args.json {
        let keys: Vec<_> = keys
            .iter()
            .map(|(file, key)| {
                let known_hosts = known_hosts(&options, key);
                json!({ "file": file, "fingerprint": keyfile::fingerprint(key), "known_hosts": known_hosts })
            })
            .collect();
        return Ok(output::json(&json!({ "configuration": configuration, "host_keys": keys }))?);
    }
    output::line(format!("written: {}\n\nHost keys, for providers and loaders to compare:", configuration.display()))?;
    for (_, key) in &keys {
        output::line(format!("  {:<20} {}", key.algorithm().as_str(), keyfile::fingerprint(key)))?;
    }
    let absolute = std::path::absolute(&configuration).unwrap_or_else(|_| configuration.clone());
    let export = match args.service {
        true => String::new(),
        false => format!("     export NIGHTSAFE_CONFIG={}   (or --config with each command)\n", absolute.display()),
    };
    let datasets = configuration.with_file_name("datasets");
    output::line(format!(
        "\nNext:
  1. Read {file}, and set the contact.
{export}  2. Describe what may be sent: cp {datasets}/example.toml.sample {datasets}/ims-interventions.toml
  3. On the data team's machine, not here: age-keygen -o identity.txt   (it prints the recipient, age1...)
  4. Who sends:
     nightsafe org add harbour --name \"Harbour Street Services\" --dataset ims-interventions --recipient age1...
     nightsafe account add harbour-nightly --org harbour
     nightsafe key add --account harbour-nightly harbour.pub
  5. Who loads:
     nightsafe org add datateam --name \"Data team\"
     nightsafe account add datateam-loader --org datateam --role loader --take-org '*'
     nightsafe key add --account datateam-loader loader.pub
  6. nightsafe check
  7. {serve}",
        file = configuration.display(),
        datasets = datasets.display(),
        serve =
            if args.service { "systemctl enable --now nightsafe.socket nightsafe.service" } else { "nightsafe serve" },
    ))?;
    Ok(())
}

/// Writes a configuration under `dir`, with host keys; one that `check` passes.
///
/// A host key that is there already is kept: that is how a gateway moves to another machine. nightsafe.toml comes last,
/// so that a run that was cut short can be run again.
///
/// # Errors
/// When there is a configuration already, a value does not fit, or a file cannot be written.
pub fn write(dir: &Path, options: &Options) -> anyhow::Result<()> {
    let configuration = options.layout.configuration(dir);
    for (what, value) in [("name", &options.name), ("contact", &options.contact)] {
        if value.trim().is_empty() || value.chars().any(|c| c.is_control() || crate::types::deceives(c)) {
            return Err(Stop::Usage(format!(
                "the {what} {value:?} cannot be shown to people: use printable characters"
            ))
            .into());
        }
    }
    let taken = [dir.join("config/nightsafe.toml"), dir.join("nightsafe.toml")];
    if let Some(there) = taken.iter().find(|file| fs::symlink_metadata(file).is_ok()) {
        let what =
            format!("{} is there already, and was left alone: choose another folder, or edit it", there.display());
        return Err(Stop::No(what).into());
    }
    let orgs = configuration.with_file_name("orgs");
    let datasets = configuration.with_file_name("datasets");
    let host = dir.join("keys/host");
    for folder in [&orgs, &datasets, &host] {
        make_folder(folder)?;
    }
    for (name, algorithm) in HOST_KEYS {
        host_key(&host.join(name), algorithm, &options.name)?;
    }
    let example = include_str!("template/org.toml").replace("{{settings}}", include_str!("template/org-example.toml"));
    write_text(&orgs.join("example.toml.sample"), &example)?;
    write_text(&datasets.join("example.toml.sample"), include_str!("template/dataset.toml"))?;
    write_text(&configuration, &configuration_text(options))
}

fn configuration_text(options: &Options) -> String {
    let (host_keys, state, runtime, keys) = match options.layout {
        Layout::Portable => {
            (HOST_KEYS.map(|(name, _)| format!("../keys/host/{name}")), "../state", "../run", "../keys")
        }
        Layout::Service => {
            (HOST_KEYS.map(|(name, _)| format!("credential:{name}")), "/var/lib/nightsafe", "/run/nightsafe", "keys")
        }
    };
    include_str!("template/nightsafe.toml")
        .replace("{{state}}", &document::quoted(state))
        .replace("{{runtime}}", &document::quoted(runtime))
        .replace("{{keys}}", &document::quoted(keys))
        .replace("{{host_keys}}", &document::list(host_keys))
        .replace("{{listen}}", &document::quoted(&options.listen.to_string()))
        // Last: what people chose may hold anything.
        .replace("{{contact}}", &document::quoted(options.contact.trim()))
        .replace("{{name}}", &document::quoted(options.name.trim()))
}

fn make_folder(folder: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(folder)
        .with_context(|| format!("{} cannot be made", folder.display()))
}

fn write_text(path: &Path, text: &str) -> anyhow::Result<()> {
    files::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}

/// Draws a host key and writes both halves, unless the private one is there.
fn host_key(path: &Path, algorithm: Algorithm, name: &str) -> anyhow::Result<()> {
    let failed = || format!("the host key {} cannot be written", path.display());
    let mut key = match fs::read(path) {
        Ok(text) => PrivateKey::from_openssh(&text)
            .map_err(|error| Stop::Usage(format!("{} is there, but is no host key: {error}", path.display())))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key =
                PrivateKey::random(&mut russh::keys::key::safe_rng(), algorithm).context("no key can be drawn")?;
            key.set_comment(name);
            let text = key.to_openssh(LineEnding::LF).with_context(failed)?;
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(failed)?;
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(failed)?;
            key
        }
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
    };
    key.set_comment(name);
    let public = key.public_key().to_openssh().with_context(failed)?;
    write_text(&path.with_extension("pub"), &format!("{public}\n"))
}

fn host_keys(dir: &Path) -> anyhow::Result<Vec<(PathBuf, PublicKey)>> {
    let read = |(name, _): (&str, Algorithm)| {
        let file = dir.join("keys/host").join(name);
        let key = PublicKey::read_openssh_file(file.with_extension("pub"))
            .with_context(|| format!("{}.pub cannot be read", file.display()))?;
        Ok((file, key))
    };
    HOST_KEYS.into_iter().map(read).collect()
}

/// The line that a client's known_hosts needs.
fn known_hosts(options: &Options, key: &PublicKey) -> String {
    let host = match options.listen.port() {
        22 => options.name.clone(),
        port => format!("[{}]:{port}", options.name),
    };
    let key = PublicKey::from(key.key_data().clone()).to_openssh().unwrap_or_default();
    format!("{host} {key}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// The text with each commented-out setting in force: what stands right behind a `#`, without a blank, is one.
    fn uncommented(text: &str) -> String {
        let open = |line: &str| {
            line.strip_prefix('#').filter(|l| !l.is_empty() && !l.starts_with([' ', '#'])).map(str::to_owned)
        };
        text.lines().map(|line| open(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
    }

    #[test]
    fn what_is_written_reads_as_toml_in_both_layouts() {
        for layout in [Layout::Portable, Layout::Service] {
            let options = Options { name: "sftp.\"odd\".example".into(), layout, ..Options::default() };
            let text = configuration_text(&options);
            assert!(!text.contains("{{"), "{text}");
            let table: toml::Table = text.parse().unwrap();
            assert_eq!(table["server"]["name"].as_str(), Some("sftp.\"odd\".example"));
            assert_eq!(table["server"]["listeners"][0]["address"].as_str(), Some("0.0.0.0:2222"));
            assert_eq!(table["server"]["host_keys"].as_array().map(Vec::len), Some(2));
        }
    }

    #[test]
    fn every_setting_of_the_model_is_explained_with_its_default() {
        let table: toml::Table = uncommented(&configuration_text(&Options::default())).parse().unwrap();
        let keys = |section: &str| table[section].as_table().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
        // In the order of the alphabet, as a table has them.
        assert_eq!(keys("server"), "algorithms contact drain host_keys listeners name");
        assert_eq!(
            keys("limits"),
            "authentication channels_per_connection connections connections_per_address handles_per_session idle \
             keepalive reply_debt sessions_per_account unauthenticated"
        );
        assert_eq!(keys("paths"), "keys runtime state");
        assert_eq!(keys("intake"), "drafts_expire reorder_window reserve segments uploads_per_org working_suffixes");
        assert_eq!(keys("queue"), "attempts backoff backoff_max lease lease_max");
        assert_eq!(keys("scan"), "clamd max_size timeout");
        assert_eq!(keys("log"), "format level");
    }

    #[test]
    fn the_samples_read_as_toml() {
        let dataset: toml::Table = uncommented(include_str!("template/dataset.toml")).parse().unwrap();
        let keys = |section: &str| dataset[section].as_table().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
        for key in [
            "title",
            "description",
            "format",
            "schema",
            "name",
            "name_hint",
            "allow_empty",
            "max_size",
            "encoding",
            "compression",
            "on_reject",
            "scan",
            "repeated",
            "rules",
        ] {
            assert!(dataset.contains_key(key), "{key}");
        }
        assert_eq!(keys("dialect"), "delimiter header quote");
        assert_eq!(keys("limits"), "columns errors keys ratio row unpacked");
        assert_eq!(keys("rows"), "change least most");
        assert_eq!(keys("policy").split(' ').count(), 11);
        assert_eq!(keys("companion"), "kinds required");
        assert_eq!(keys("forbidden_columns"), "labels sets");
        assert_eq!(keys("totals"), "columns");
        let org = include_str!("template/org.toml").replace("{{settings}}", include_str!("template/org-example.toml"));
        org.parse::<toml::Table>().unwrap();
    }

    #[test]
    fn host_keys_are_private_and_a_second_init_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("gateway");
        write(&dir, &Options::default()).unwrap();
        let key = dir.join("keys/host/ssh_host_ed25519_key");
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let first = fs::read(&key).unwrap();
        assert_eq!(host_keys(&dir).unwrap().len(), 2);
        let refused = write(&dir, &Options { layout: Layout::Service, ..Options::default() }).unwrap_err();
        assert!(refused.to_string().contains("left alone"), "{refused}");
        // Moved elsewhere: the configuration is new, the keys are kept.
        fs::remove_file(dir.join("config/nightsafe.toml")).unwrap();
        write(&dir, &Options::default()).unwrap();
        assert_eq!(fs::read(&key).unwrap(), first);
    }

    #[test]
    fn openssh_reads_the_host_keys() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &Options::default()).unwrap();
        for (file, public) in host_keys(folder.path()).unwrap() {
            let Ok(shown) = std::process::Command::new("ssh-keygen").arg("-y").arg("-f").arg(&file).output() else {
                return; // No OpenSSH on this machine.
            };
            let shown = String::from_utf8(shown.stdout).unwrap();
            let words = |text: &str| text.split(' ').take(2).map(|word| word.trim().to_owned()).collect::<Vec<_>>();
            assert_eq!(words(&shown), words(&public.to_openssh().unwrap()));
        }
    }

    #[test]
    fn the_known_hosts_line_names_the_port_unless_it_is_22() {
        let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).unwrap();
        let options = Options::default();
        assert!(known_hosts(&options, key.public_key()).starts_with("[sftp.example.org]:2222 ssh-ed25519 "));
        let options = Options { listen: "[::]:22".parse().unwrap(), ..options };
        assert!(known_hosts(&options, key.public_key()).starts_with("sftp.example.org ssh-ed25519 "));
    }
}
