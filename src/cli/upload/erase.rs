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
use crate::audit::{VerifierKey, grouped};
use crate::config::{self, Config};
use crate::ledger::{Delivery, DeliveryState, Erased, ErasureStep, Filter, Ledger, ProofOf, Proven, UploadRow};
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
        let about = Filter { upload: Some(self.upload), ..Filter::default() };
        let Some(row) = ledger.uploads(&about).await?.into_iter().next() else {
            let what = format!(
                "no upload {} came to an end, so there is nothing to erase: `nightsafe upload list` shows those that did",
                self.upload
            );
            return Err(Stop::No(what).into());
        };
        let delivery = ledger.deliveries(&about).await?.into_iter().next();
        let now = Clock::system().now();
        if let Some(delivery) = &delivery {
            not_in_hand(delivery, now)?;
        }
        if !self.yes {
            ask(&row)?;
        }
        let working = Progress::spinner("erasing");
        let step = |step| match step {
            ErasureStep::Searching => say_if_seen("searching the ledger's files for what was erased"),
            ErasureStep::Rebuilding => say_if_seen("writing the ledger's file anew: others wait meanwhile"),
        };
        let erased = ledger.erase(self.upload, operator(), &self.why, now, step).await?;
        drop(working);
        let erased = erased.with_context(|| format!("the upload {} is gone from the ledger", self.upload))?;
        let vault = Vault::open(&config.paths.state)?;
        vault.remove(self.upload).with_context(|| {
            let path = vault.object_path(self.upload);
            format!("the ledger has erased it, but the sealed object is still there: remove {} by hand", path.display())
        })?;
        let proof = ledger.proof(ProofOf::Event(erased.sequence)).await?;
        let proof = proof.map(|proven| Proven { private: None, ..proven });
        let key = config::verifier_key(&config.audit)?;
        match self.json {
            true => {
                let mut shown = json!(erased);
                shown["gateway"] = config.server.name.clone().into();
                shown["key"] = key.to_string().into();
                shown["loaded"] = delivery.as_ref().is_some_and(is_loaded).into();
                shown["proof"] = proof.map(|proven| proven.file().to_string()).into();
                Ok(output::json(&shown)?)
            }
            false => Ok(line(
                confirmation(&erased, &config.server.name, &key, proof.as_ref(), delivery.as_ref()).trim_end(),
            )?),
        }
    }
}

/// A step that takes long, where a person looks on.
fn say_if_seen(step: &str) {
    if io::stderr().is_terminal() {
        say(&format!("nightsafe: {step}"));
    }
}

fn is_loaded(delivery: &Delivery) -> bool {
    delivery.state == DeliveryState::Loaded
}

/// # Errors
/// A loader's lease on it is running.
fn not_in_hand(delivery: &Delivery, now: Timestamp) -> Result<(), Stop> {
    match (delivery.state, delivery.lease_expires, &delivery.holder) {
        (DeliveryState::Leased, Some(until), Some(holder)) if until > now => Err(Stop::No(format!(
            "the loader {holder} has it in hand until {} and may be reading it: wait until it is loaded, or take the lease \
             away first (nightsafe queue release {}), and ask the data team whether they kept a copy",
            short(until),
            delivery.delivery
        ))),
        _ => Ok(()),
    }
}

fn ask(row: &UploadRow) -> Result<(), Stop> {
    if !io::stdin().is_terminal() {
        return Err(Stop::Usage("erasing asks first, and there is no terminal: say --yes".into()));
    }
    let receipt = &row.receipt;
    let what = match row.erased {
        Some(at) => format!("It was erased {} already; what came since goes too.", short(at)),
        None => format!(
            "{:?} of {}, {} bytes, {}.",
            receipt.name.as_str(),
            receipt.organisation,
            grouped(receipt.size),
            short(receipt.time)
        ),
    };
    say(&format!("Erase the upload {}? {}\nNothing brings it back. Type yes:", receipt.upload, tame(&what)));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    match read.is_ok() && answer.trim() == "yes" {
        true => Ok(()),
        false => Err(Stop::No("nothing was erased".into())),
    }
}

/// What can be given to the person who asked: nothing in it is private.
fn confirmation(
    erased: &Erased,
    gateway: &str,
    key: &VerifierKey,
    proof: Option<&Proven>,
    delivery: Option<&Delivery>,
) -> String {
    let mut lines = vec![
        ("Gateway", gateway.to_owned()),
        ("Upload", erased.upload.to_string()),
        ("Organisation", erased.org.to_string()),
        ("SHA-256", erased.sha256.to_string()),
        ("Erased", erased.at.to_string()),
        ("Entries", format!("the private parts of {}", grouped(erased.parts))),
        ("Log", key.name().to_owned()),
        ("Tombstone", format!("entry {}", grouped(erased.sequence))),
        ("Verifier key", key.to_string()),
    ];
    if erased.parts == 0 {
        lines.retain(|(name, _)| *name != "Entries");
    }
    let mut text = "Confirmation of an erasure\n\n".to_owned();
    for (name, value) in lines {
        text.push_str(&format!("{:<15}{}\n", format!("{name}:"), tame(&value)));
    }
    text.push_str(
        "\nThe sealed file was deleted; this gateway never had a key that opens it. The name of the file, who sent it and from\n\
         where, and what was found in it are no longer stored here. What stays is that a file of this size and digest was\n\
         sent for this organisation at that time, and that it was erased; no person is named in it.\n",
    );
    match delivery {
        Some(delivery) if is_loaded(delivery) => text.push_str(
            "The file had been loaded by the data team before: what they hold is not erased by this, and must be asked of them.\n",
        ),
        Some(_) => text.push_str("The file had not been loaded by the data team.\n"),
        None => {}
    }
    if let Some(proof) = proof {
        text.push_str("\nThe log's signed head that covers the erasure:\n\n");
        text.push_str(&proof.checkpoint);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::testing::{Desk, actor, at, signer};

    #[tokio::test]
    async fn a_delivery_in_hand_is_left_alone_with_what_to_do() {
        let desk = Desk::new();
        desk.accept("a.csv", at(0)).await;
        let claimed = desk.claim("datateam-loader", 1, at(1)).await.remove(0);
        let refused = not_in_hand(&claimed, at(2)).unwrap_err().to_string();
        assert!(refused.contains("datateam-loader") && refused.contains("queue release"), "{refused}");
        not_in_hand(&claimed, at(9999)).unwrap();
    }

    #[tokio::test]
    async fn the_confirmation_names_the_tombstone_and_nobody() {
        let desk = Desk::new();
        let (receipt, _) = desk.accept("alice.csv", at(0)).await;
        let erased = desk
            .ledger
            .erase(receipt.upload, actor("operator:eve"), "asked for", at(5), |_| {})
            .await
            .unwrap()
            .unwrap();
        let proof = desk.ledger.proof(ProofOf::Event(erased.sequence)).await.unwrap().unwrap();
        let text = confirmation(&erased, "sftp.example.org", signer().verifier_key(), Some(&proof), None);
        for line in [
            format!("Upload:        {}", receipt.upload),
            format!("Tombstone:     entry {}", erased.sequence),
            format!("Verifier key:  {}", signer().verifier_key()),
        ] {
            assert!(text.contains(&line), "{line}: {text}");
        }
        assert!(text.contains(&proof.checkpoint) && !text.contains("alice") && !text.contains("nightly"), "{text}");
    }
}
