//! `nightsafe upload erase`: what is private of an upload is forgotten, and whoever asked for it gets a confirmation.
//!
//! Must never erase what a loader may be reading, nor without a reason and a yes. The ledger says what goes; here the sealed
//! object's file goes with it. Called by `upload`.

use std::io::{self, BufRead as _, IsTerminal as _};

use anyhow::Context as _;
use serde_json::json;

use super::super::operator::operator;
use super::super::outcome::{Stop, say};
use super::super::output::{self, line, short, tame};
use super::super::progress::Progress;
use super::reason;
use crate::audit::{Kind, VerifierKey, grouped};
use crate::config::{self, Config};
use crate::daemon;
use crate::ledger::{Erased, Erasure, ErasureStep, Filter, Ledger, Loading, Logged, NotErased, ProofOf, Proven};
use crate::types::{Clock, Timestamp, UploadId};
use crate::vault::Vault;

#[derive(Debug, clap::Args)]
pub(super) struct Erase {
    /// Its id, as the receipt and the listing have it
    upload: UploadId,
    /// Why, for the audit log; it stays there, so name no person
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    why: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Erase {
    pub async fn run(&self, ledger: &Ledger, config: &Config) -> anyhow::Result<()> {
        let state = &config.paths.state;
        let runs = daemon::runs_on(state).with_context(|| {
            format!("cannot see whether a daemon has {}: run this as the daemon's user or as root", state.display())
        })?;
        let refused = |why| refused(self.upload, &why);
        let clock = Clock::system();
        ledger.erasable(self.upload, runs, clock.now()).await?.map_err(refused)?;
        if !self.yes {
            ask(self.upload, &about(ledger, self.upload).await?)?;
        }
        let erasure = Erasure {
            upload: self.upload,
            actor: operator(),
            why: self.why.clone(),
            daemon_runs: daemon::runs_on(state)?,
        };
        // The question may have waited: it is looked once more, and the log has the time of the deed.
        let taken = ledger.erase(erasure, clock.now()).await?.map_err(refused)?;
        // Before the search, which may be cut short.
        let vault = Vault::open(state)?;
        let removed = vault.remove(self.upload).with_context(|| {
            let path = vault.object_path(self.upload);
            format!("the ledger has erased it, but the sealed object is still there: remove {} by hand", path.display())
        });
        let working = Progress::spinner("erasing");
        let tell = working.teller();
        let step = move |step| {
            tell(match step {
                ErasureStep::Waiting => {
                    "nightsafe: waiting for others that read the ledger, to empty its write-ahead log"
                }
                ErasureStep::Searching => "nightsafe: searching the ledger's files for what was erased",
                ErasureStep::Rebuilding => "nightsafe: writing the ledger's file anew: others wait meanwhile",
            });
        };
        let erased = ledger.scrub(taken, step).await.context(
            "the upload is erased and its object deleted, but copies of what was erased may be left in the ledger's files \
             (erasing it again seeks them out, and so does the daemon's next start)",
        );
        drop(working);
        removed?;
        self.confirm(ledger, config, &erased?).await
    }

    async fn confirm(&self, ledger: &Ledger, config: &Config, erased: &Erased) -> anyhow::Result<()> {
        let proof = ledger.proof(ProofOf::Event(erased.sequence)).await?;
        let proof = proof.map(|proven| Proven { private: None, ..proven });
        let key = config::verifier_key(&config.audit)?;
        match self.json {
            true => {
                let mut shown = json!(erased);
                shown["gateway"] = config.server.name.clone().into();
                shown["key"] = key.to_string().into();
                shown["loaded"] = (erased.loading == Loading::Loaded).into();
                shown["proof"] = proof.map(|proven| proven.file().to_string()).into();
                Ok(output::json(&shown)?)
            }
            false => Ok(line(confirmation(erased, &config.server.name, &key, proof.as_ref()).trim_end())?),
        }
    }
}

/// Why not, and what to do.
fn refused(upload: UploadId, why: &NotErased) -> Stop {
    Stop::No(match why {
        NotErased::Unknown => format!(
            "the log knows no upload {upload}, so there is nothing to erase: `nightsafe upload list` shows those that came \
             to an end, `nightsafe audit list` all that was begun"
        ),
        NotErased::NotEnded => format!(
            "the upload {upload} is under way, or a draft that can be gone on with (`nightsafe upload list --drafts`): have \
             its provider remove that file, or wait until it is completed or expires (intake.drafts_expire), and erase it \
             then. If the daemon does not run, start it first: it ends what was cut off"
        ),
        NotErased::InHand { delivery, holder, until } => format!(
            "the loader {holder} has it in hand until {} and may be reading it: wait until it is loaded, or take the lease \
             away first (nightsafe queue release {delivery}), and ask the data team whether they kept a copy",
            short(*until)
        ),
        NotErased::OpenSession { account } => format!(
            "a session of {account} that sent it is still open, and its end would tell the log of {account} again: wait \
             until it has ended, or end it (nightsafe account disable {account}, and enable it again; or restart the \
             daemon), and erase the upload then"
        ),
        NotErased::NamedByReason => {
            "--why has the name of the file, and stays in the log: say it without that name".into()
        }
    })
}

/// What the question says of it.
async fn about(ledger: &Ledger, upload: UploadId) -> anyhow::Result<String> {
    let filter = Filter { upload: Some(upload), ..Filter::default() };
    if let Some(row) = ledger.uploads(&filter).await?.first() {
        let receipt = &row.receipt;
        return Ok(match row.erased {
            Some(at) => erased_before(at),
            None => format!(
                "{:?} of {}, {} bytes, {}.",
                receipt.name.as_str(),
                receipt.organisation,
                grouped(receipt.size),
                short(receipt.time)
            ),
        });
    }
    let events = ledger.events(&filter).await?;
    if let Some(tombstone) = events.iter().find(|logged| logged.event.kind == Kind::UploadErased) {
        return Ok(erased_before(tombstone.event.at));
    }
    let Some(Logged { event, .. }) = events.first() else { return Ok(String::new()) };
    let org = event.org.as_ref().map_or("nobody known", |org| org.as_str());
    let name = event.detail.get("name").and_then(|name| name.as_str()).unwrap_or("a file without a name");
    Ok(format!("{name:?} of {org}, begun {}, of which nothing is kept.", short(event.at)))
}

fn erased_before(at: Timestamp) -> String {
    format!("It was erased {} already; what came since goes too.", short(at))
}

fn ask(upload: UploadId, about: &str) -> Result<(), Stop> {
    if !io::stdin().is_terminal() {
        return Err(Stop::Usage("erasing asks first, and there is no terminal: say --yes".into()));
    }
    say(&format!("Erase the upload {upload}? {}\nNothing brings it back. Type yes:", tame(about)));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    match read.is_ok() && answer.trim() == "yes" {
        true => Ok(()),
        false => Err(Stop::No("nothing was erased".into())),
    }
}

/// Other uploads that a confirmation names.
const OTHERS: usize = 5;

/// What can be given to the person who asked: nothing in it is private.
fn confirmation(erased: &Erased, gateway: &str, key: &VerifierKey, proof: Option<&Proven>) -> String {
    let lines = [
        ("Gateway", Some(gateway.to_owned())),
        ("Upload", Some(erased.upload.to_string())),
        ("Organisation", erased.org.as_ref().map(ToString::to_string)),
        ("SHA-256", erased.sha256.map(|sha256| sha256.to_string())),
        ("Erased", Some(erased.at.to_string())),
        ("Entries", (erased.parts > 0).then(|| format!("the private parts of {}", grouped(erased.parts)))),
        ("Log", Some(key.name().to_owned())),
        ("Tombstone", Some(format!("entry {}", grouped(erased.sequence)))),
        ("Verifier key", Some(key.to_string())),
    ];
    let mut text = "Confirmation of an erasure\n\n".to_owned();
    for (name, value) in lines {
        if let Some(value) = value {
            text.push_str(&format!("{:<15}{}\n", format!("{name}:"), tame(&value)));
        }
    }
    let (kept, of) = match erased.sha256 {
        Some(_) => {
            let kept = "What was kept of the file, sealed, was deleted; this gateway never had a key that opens it.";
            (kept, "of this size and digest was")
        }
        None => ("The file did not come whole, or was sent to vouch for another; nothing of it is kept.", "was"),
    };
    text.push_str(&format!(
        "\n{kept}\nIts name, who sent it and from where, and what was found in it were deleted from all that tells of it.\n\
         What stays is that a file {of} sent for this organisation at that time, and that it was erased.\n"
    ));
    text.push_str(match erased.loading {
        Loading::Never => "",
        Loading::Queued => "The file had not been loaded by the data team.\n",
        Loading::Claimed => {
            "A loader of the data team had the file in hand before, and did not report it as loaded: what they may hold is\n\
             not erased by this, and must be asked of them.\n"
        }
        Loading::Loaded => {
            "The file had been loaded by the data team before: what they hold is not erased by this, and must be asked of them.\n"
        }
    });
    text.push_str(&what_stays(erased));
    if let Some(proof) = proof {
        text.push_str("\nThe log's signed head that covers the erasure:\n\n");
        text.push_str(&proof.checkpoint);
    }
    text
}

/// What still tells of the name or the sender, and why.
fn what_stays(erased: &Erased) -> String {
    let mut text = String::new();
    let entries = |number: u64| match number {
        1 => "1 entry".to_owned(),
        more => format!("{} entries", grouped(more)),
    };
    if erased.named > 0 {
        text.push_str(&format!("\nThe name of the file still stands in {} of the log", entries(erased.named)));
        if !erased.others.is_empty() {
            let shown: Vec<String> = erased.others.iter().take(OTHERS).map(ToString::to_string).collect();
            let more = match erased.others.len().saturating_sub(OTHERS) {
                0 => String::new(),
                more => format!(", and {more} more"),
            };
            text.push_str(&format!(", since other uploads have it that were not\nerased: {}{more}", shown.join(",\n")));
        }
        text.push_str(".\n");
    }
    if erased.sessions > 0 {
        text.push_str(&format!(
            "\n{} about the session in which it came, who that was and from where, stay: other files that came in it were\nnot erased.\n",
            entries(erased.sessions)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::testing::{Desk, actor, at, signer};

    async fn erase(desk: &Desk, upload: UploadId, now: Timestamp) -> Result<Erased, NotErased> {
        let erasure = Erasure { upload, actor: actor("operator:eve"), why: "asked for".into(), daemon_runs: true };
        match desk.ledger.erase(erasure, now).await.unwrap() {
            Ok(taken) => Ok(desk.ledger.scrub(taken, |_| {}).await.unwrap()),
            Err(why) => Err(why),
        }
    }

    fn confirmed(erased: &Erased) -> String {
        confirmation(erased, "sftp.example.org", signer().verifier_key(), None)
    }

    #[tokio::test]
    async fn a_delivery_in_hand_is_left_alone_with_what_to_do() {
        let desk = Desk::new();
        let (receipt, _) = desk.accept("a.csv", at(0)).await;
        desk.claim("datateam-loader", 1, at(1)).await;
        let why = erase(&desk, receipt.upload, at(2)).await.unwrap_err();
        let words = refused(receipt.upload, &why).to_string();
        assert!(words.contains("datateam-loader") && words.contains("queue release"), "{words}");
        assert_eq!(desk.ledger.erasable(receipt.upload, true, at(2)).await.unwrap(), Err(why));

        // Its lease ran out without a word.
        let erased = erase(&desk, receipt.upload, at(9999)).await.unwrap();
        assert_eq!((erased.loading, erased.at), (Loading::Claimed, at(9999)));
        let text = confirmed(&erased);
        assert!(text.contains("had the file in hand before") && !text.contains("had not been loaded"), "{text}");
    }

    #[tokio::test]
    async fn the_confirmation_names_the_tombstone_and_nobody() {
        let desk = Desk::new();
        let (receipt, _) = desk.accept("alice.csv", at(0)).await;
        let erased = erase(&desk, receipt.upload, at(5)).await.unwrap();
        let proof = desk.ledger.proof(ProofOf::Event(erased.sequence)).await.unwrap().unwrap();
        let text = confirmation(&erased, "sftp.example.org", signer().verifier_key(), Some(&proof));
        for line in [
            format!("Upload:        {}", receipt.upload),
            format!("Tombstone:     entry {}", erased.sequence),
            format!("Verifier key:  {}", signer().verifier_key()),
        ] {
            assert!(text.contains(&line), "{line}: {text}");
        }
        assert!(text.contains(&proof.checkpoint) && !text.contains("alice") && !text.contains("nightly"), "{text}");
        assert!(text.contains("had not been loaded") && !text.contains("still stands"), "{text}");
    }

    #[tokio::test]
    async fn the_confirmation_tells_what_stays_and_why() {
        let desk = Desk::new();
        let (first, _) = desk.accept("a.csv", at(0)).await;
        let (second, _) = desk.accept("a.csv", at(1)).await;
        let erased = Erased { sessions: 1200, ..erase(&desk, first.upload, at(5)).await.unwrap() };
        let text = confirmed(&erased);
        assert!(text.contains("still stands in 1 entry of the log, since other uploads"), "{text}");
        assert!(
            text.contains(&second.upload.to_string()) && text.contains("1,200 entries about the session"),
            "{text}"
        );
        let erased = Erased { others: vec![second.upload; 7], ..erased };
        assert!(confirmed(&erased).contains(", and 2 more"));
    }
}
