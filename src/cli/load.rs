//! `nightsafe load`: the comfortable loader. Arguments in, lines out; the work is `loader`'s.
//!
//! Called by `cli`.

use std::collections::{BTreeSet, HashMap};
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::outcome::say;
use super::receipt;
use crate::loader::gateway::{Address, Door};
use crate::loader::login::KeyRing;
use crate::loader::{self, Demand, Ended, Event, Exec, HandOver, Keys, LoadError, Observer, Options, Outcome, Sealed};
use crate::seal::{Identities, Recipient};
use crate::types::{Clock, DatasetName, DeliveryId, Invalid, OrgId, Sha256};

/// From this size on, on a terminal, a fetch shows its progress. Bytes.
const SHOWN_FROM: u64 = 8 * 1024 * 1024;

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("hand-over").required(true).args(["exec", "into"]))]
#[command(
    after_help = "Each delivery is claimed, fetched, opened and verified whole, handed over, and acknowledged. The \
    same one may come again, under the same NIGHTSAFE_DELIVERY, when something broke in between: loading it twice must \
    do no harm. Exit status: 0 done, 1 a delivery failed, 2 usage, keys or host key, 3 the network or this machine failed."
)]
pub struct Args {
    /// The gateway: ssh://ACCOUNT@HOST:PORT
    #[arg(long, value_name = "ADDRESS")]
    gateway: Address,
    /// An age identity file, or an unencrypted SSH private key; may be given more than once
    #[arg(long, value_name = "FILE", required = true)]
    identity: Vec<PathBuf>,
    /// Run CMD with sh for each delivery: plaintext on standard input, the facts in NIGHTSAFE_* variables
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
    /// Write each delivery to DIR/<delivery>/: the file under its name, and manifest.json
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// End when the queue is empty
    #[arg(long)]
    once: bool,
    /// Deliveries at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// Refuse a delivery that is not proven to stand in the gateway's log, as it came and sealed to this loader
    #[arg(long, requires = "audit_key")]
    require_proof: bool,
    /// For --require-proof: a verifier key of the log, or a file that has it; may be given more than once
    #[arg(long, value_name = "VKEY", requires = "require_proof")]
    audit_key: Vec<String>,
    /// For --require-proof: a witness's verifier key, or a file that has it: it must have cosigned, and is waited for; may be given more than once
    #[arg(long, value_name = "VKEY", requires = "require_proof")]
    witness: Vec<String>,
    /// For --require-proof: recipients, one a line; deliveries must be sealed to exactly these [default: to one of the identities]
    #[arg(long, value_name = "FILE", requires = "require_proof")]
    recipients: Option<PathBuf>,
    /// Only deliveries of this organisation; may be given more than once
    #[arg(long, value_name = "ORG")]
    org: Vec<OrgId>,
    /// Only deliveries of this dataset; may be given more than once
    #[arg(long, value_name = "DATASET")]
    dataset: Vec<DatasetName>,
    /// How long a delivery stays claimed without a word from here; extended while the work lasts
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = lease)]
    lease: Duration,
    /// The SSH private key to log in with; else an identity that is one, the SSH agent, ~/.ssh/id_*
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Where host keys are recorded, as OpenSSH does [default: ~/.ssh/known_hosts]
    #[arg(long, value_name = "FILE")]
    known_hosts: Option<PathBuf>,
    /// Record the host key of a gateway not seen before; a changed one is refused all the same
    #[arg(long)]
    accept_new_host_key: bool,
    /// Where sealed objects are fetched to [default: ~/.cache/nightsafe/load]
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// After SIGTERM or Ctrl-C: how long the work in hand may take before it is given back
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    grace: Duration,
    /// One JSON line on standard output for each delivery's end
    #[arg(long)]
    json: bool,
}

/// Loads. The exit status is the command's.
///
/// # Errors
/// What the runtime could not do; everything else is shown and told in the status.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    super::no_core_dumps();
    let hard_stop = CancellationToken::new();
    let options = match options(args, &hard_stop) {
        Ok(options) => options,
        Err(why) => {
            say(&format!("nightsafe: {why}"));
            return Ok(ExitCode::from(2));
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let screen = Arc::new(Screen::new(args.json));
    let shown = Arc::clone(&screen);
    let observer: Observer = Arc::new(move |event: Event<'_>| shown.show(&event));
    let done = runtime.block_on(async {
        let stop = CancellationToken::new();
        stop_on_signals(stop.clone(), hard_stop).context("cannot listen for signals")?;
        anyhow::Ok(loader::run(options, observer, stop).await)
    })?;
    // A thread may still wait for a slow disk: the process need not.
    runtime.shutdown_background();
    Ok(match done {
        Ok(summary) => {
            if args.once && !args.json {
                say(&match (summary.loaded, summary.failed) {
                    (0, 0) => "nothing to load".to_owned(),
                    (loaded, 0) => format!("{loaded} loaded"),
                    (loaded, failed) => format!("{loaded} loaded, {failed} failed"),
                });
            }
            if args.once && summary.failed > 0 { ExitCode::from(1) } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            say(&format!("nightsafe: {error}"));
            ExitCode::from(match error {
                LoadError::Declined(_) => 1,
                LoadError::Setup(_) => 2,
                LoadError::System(_) => 3,
            })
        }
    })
}

fn options(args: &Args, hard_stop: &CancellationToken) -> Result<Options, String> {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = var("HOME");
    let needed = |flag: &str| format!("HOME is not set: say {flag}");
    let agent = var("SSH_AUTH_SOCK");
    let keys = match &args.key {
        Some(file) => KeyRing::named(file, agent.as_deref())?,
        None => KeyRing::usual(&args.identity, home.as_deref(), agent.as_deref()),
    };
    let known_hosts = match (&args.known_hosts, &home) {
        (Some(file), _) => file.clone(),
        (None, Some(home)) => home.join(".ssh/known_hosts"),
        (None, None) => return Err(needed("--known-hosts FILE")),
    };
    let cache = var("XDG_CACHE_HOME").filter(|p| p.is_absolute()).or_else(|| home.map(|home| home.join(".cache")));
    let work = match (&args.work, cache) {
        (Some(folder), _) => folder.clone(),
        (None, Some(cache)) => cache.join("nightsafe/load"),
        (None, None) => return Err(needed("--work DIR")),
    };
    let hand_over = match (&args.exec, &args.into) {
        (Some(command), _) => HandOver::Exec(Exec { command: command.clone(), output_to_stderr: args.json }),
        (None, Some(folder)) => HandOver::Into(folder.clone()),
        // The argument group lets nobody through without one.
        (None, None) => return Err("say --exec CMD or --into DIR".into()),
    };
    let identities = args.identity.iter().map(|file| identity(file)).collect::<Result<Vec<_>, _>>()?;
    let demand = if args.require_proof { Some(demand(args, &identities)?) } else { None };
    Ok(Options {
        door: Arc::new(Door {
            address: args.gateway.clone(),
            known_hosts,
            accept_new: args.accept_new_host_key,
            keys,
            patience: Duration::from_secs(30),
        }),
        keys: Keys::new(identities),
        hand_over,
        demand,
        orgs: args.org.clone(),
        datasets: args.dataset.clone(),
        lease: args.lease,
        jobs: usize::from(args.jobs),
        once: args.once,
        work,
        grace: args.grace,
        hard_stop: hard_stop.clone(),
        clock: Clock::system(),
    })
}

fn demand(args: &Args, identities: &[Identities]) -> Result<Demand, String> {
    let recipients = match &args.recipients {
        Some(file) => Sealed::Exactly(recipients(file)?),
        None => Sealed::ToOneOf(identities.iter().flat_map(Identities::recipients).map(Recipient::digest).collect()),
    };
    let keys = |words: &[String]| receipt::keys(words).map_err(|stop| stop.to_string());
    Ok(Demand { keys: keys(&args.audit_key)?, witnesses: keys(&args.witness)?, recipients })
}

/// A file as the gateway's recipients.txt: one a line, `#` comments.
fn recipients(file: &Path) -> Result<BTreeSet<Sha256>, String> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).map_err(|e| format!("cannot read the recipients {shown}: {e}"))?;
    let mut digests = BTreeSet::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            let recipient: Recipient = line.parse().map_err(|why: Invalid| format!("{shown}:{number}: {why}"))?;
            digests.insert(recipient.digest());
        }
    }
    if digests.is_empty() { Err(format!("{shown} has no recipient")) } else { Ok(digests) }
}

fn identity(file: &Path) -> Result<Identities, String> {
    let failed = |e: std::io::Error| format!("cannot read the identity {}: {e}", file.display());
    let mode = std::fs::metadata(file).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        say(&format!("nightsafe: others can read the identity {0}: run chmod 600 {0}", file.display()));
    }
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(file).map_err(failed)?);
    Identities::parse(&text, &file.display().to_string()).map_err(|e| e.to_string())
}

/// The first SIGTERM or SIGINT asks to end, the second insists.
fn stop_on_signals(stop: CancellationToken, hard_stop: CancellationToken) -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        for token in [stop, hard_stop] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            token.cancel();
        }
    });
    Ok(())
}

fn lease(text: &str) -> Result<Duration, String> {
    let lease = duration(text)?;
    if lease < Duration::from_secs(5) { Err("a lease is at least 5s".into()) } else { Ok(lease) }
}

/// `90s`, `15m`, `1h30m`.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok());
    parsed.ok_or_else(|| "write a time like 90s, 15m or 2h".into())
}

/// What a person or a program sees of the events.
struct Screen {
    json: bool,
    bars: Option<(MultiProgress, Mutex<HashMap<DeliveryId, ProgressBar>>)>,
}

impl Screen {
    fn new(json: bool) -> Self {
        let bars = std::io::stderr().is_terminal().then(|| (MultiProgress::new(), Mutex::default()));
        Self { json, bars }
    }

    fn show(&self, event: &Event<'_>) {
        match event {
            Event::Fetching { claimed, done } => {
                let (Some((multi, bars)), true) = (&self.bars, claimed.manifest.sealed_size >= SHOWN_FROM) else {
                    return;
                };
                let mut bars = bars.lock().unwrap_or_else(PoisonError::into_inner);
                let bar = bars.entry(claimed.manifest.delivery).or_insert_with(|| {
                    let bar = multi.add(ProgressBar::new(claimed.manifest.sealed_size));
                    let style = "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
                    if let Ok(style) = ProgressStyle::with_template(style) {
                        bar.set_style(style);
                    }
                    bar.with_message(claimed.manifest.name.to_string())
                });
                bar.set_position(*done);
                if *done == claimed.manifest.sealed_size {
                    bar.finish_and_clear();
                    bars.remove(&claimed.manifest.delivery);
                }
            }
            Event::Trouble { address, why, retry_in } => {
                self.line(&format!("{address}: {why}; trying again in {:.1} s", retry_in.as_secs_f64()));
            }
            Event::Waiting { claimed, why } => {
                let (name, delivery) = (claimed.manifest.name.as_str(), claimed.manifest.delivery);
                self.line(&format!("waiting with {name:?}, delivery {delivery}, which stays claimed: {why}"));
            }
            Event::Ended(ended) => {
                if let Some((_, bars)) = &self.bars {
                    let mut bars = bars.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(bar) = bars.remove(&ended.claimed.manifest.delivery) {
                        bar.finish_and_clear();
                    }
                }
                if self.json {
                    let _ = writeln!(std::io::stdout(), "{}", json(ended));
                } else {
                    self.line(&readable(ended));
                }
            }
        }
    }

    fn line(&self, line: &str) {
        match &self.bars {
            Some((multi, _)) => multi.suspend(|| say(line)),
            None => say(line),
        }
    }
}

fn readable(ended: &Ended) -> String {
    let m = &ended.claimed.manifest;
    let what =
        format!("{}/{} {:?}, {} bytes, delivery {}", m.organisation, m.dataset, m.name.as_str(), m.size, m.delivery);
    let attempt = ended.claimed.attempt;
    match &ended.outcome {
        Outcome::Loaded => format!("loaded {what}, {:.1} s", ended.took.as_secs_f64()),
        Outcome::GivenBack { reason, dead: false } => format!("failed, attempt {attempt}: {what}: {reason}"),
        Outcome::GivenBack { reason, dead: true } => {
            format!("failed, attempt {attempt}, the last (it is in the dead letters now): {what}: {reason}")
        }
        Outcome::Abandoned { reason } => format!("abandoned, attempt {attempt}: {what}: {reason}"),
    }
}

fn json(ended: &Ended) -> serde_json::Value {
    let m = &ended.claimed.manifest;
    let (outcome, reason) = match &ended.outcome {
        Outcome::Loaded => ("loaded", None),
        Outcome::GivenBack { reason, dead: false } => ("given-back", Some(reason)),
        Outcome::GivenBack { reason, dead: true } => ("dead", Some(reason)),
        Outcome::Abandoned { reason } => ("abandoned", Some(reason)),
    };
    serde_json::json!({
        "delivery": m.delivery, "upload": m.upload, "organisation": m.organisation, "dataset": m.dataset, "name": m.name,
        "size": m.size, "sha256": m.sha256, "attempt": ended.claimed.attempt, "outcome": outcome, "reason": reason,
        "seconds": (ended.took.as_secs_f64() * 1000.0).round() / 1000.0,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        load: Args,
    }

    fn parse(words: &str) -> Result<Args, String> {
        let words = std::iter::once("load").chain(words.split(' '));
        Cli::try_parse_from(words).map(|cli| cli.load).map_err(|e| e.to_string())
    }

    #[test]
    fn one_way_to_hand_over_is_needed_and_only_one() {
        let base = "--gateway ssh://a@h:2222 --identity id";
        assert!(parse(base).is_err());
        assert!(parse(&format!("{base} --exec x --into y")).is_err());
        let args = parse(&format!("{base} --into y --org harbour --lease 1h30m --jobs 4")).unwrap();
        assert_eq!(args.lease, Duration::from_secs(5400));
        assert_eq!((args.jobs, args.org.len()), (4, 1));
    }

    #[test]
    fn wrong_values_say_what_to_write() {
        let base = "--identity id --into y --gateway";
        assert!(parse(&format!("{base} host")).err().unwrap().contains("ssh://ACCOUNT@HOST:PORT"));
        assert!(parse(&format!("{base} ssh://a@h --lease 15")).err().unwrap().contains("15m"));
        assert!(parse(&format!("{base} ssh://a@h --lease 1s")).err().unwrap().contains("at least 5s"));
        assert!(parse(&format!("{base} ssh://a@h --jobs 0")).is_err());
        assert!(parse(&format!("{base} ssh://a@h --org Harbour")).is_err());
    }

    #[test]
    fn the_guide_shows_the_examples_as_they_are() {
        let guide = include_str!("../../docs/LOADERS.md");
        assert!(guide.contains(include_str!("../../docs/examples/load.sh")));
        assert!(guide.contains(include_str!("../../docs/examples/load.py")));
    }
}
