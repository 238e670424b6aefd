//! Witnesses: each is asked to cosign the newest checkpoint, in a task of its own, and what it said is kept in the ledger.
//!
//! All are asked for the same checkpoints, as far as each keeps up, so that proofs can have the word of all. Nobody waits
//! for one: a dead, slow or lying witness costs a log line. Must never store a cosignature that does not fit the witness's
//! configured key, nor ask for less than was cosigned. Called by `daemon`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::trouble::Trouble;
use super::witness::{Answer, agent, ask, body};
use super::{CONTRADICTION, Seen, Source};
use crate::audit::Checkpoint;
use crate::config::Witness;

/// How often the ledger is looked at for a new checkpoint.
const EVERY: Duration = Duration::from_secs(1);
/// The least time between two requests that went well: a busy log need not be cosigned each second.
const BETWEEN: Duration = Duration::from_secs(5);
/// The longest pause after a fault.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// Asks the configured witnesses until told to quit; changes of the configuration take effect at once.
///
/// # Errors
/// None: what fails is told, and tried again.
pub async fn run(source: Source, quit: CancellationToken) -> anyhow::Result<()> {
    let mut live = source.config.clone();
    loop {
        let witnesses = live.borrow_and_update().audit.witnesses.clone();
        let (mut tasks, common) = (JoinSet::new(), Common::default());
        for witness in witnesses.clone() {
            tasks.spawn(Conversation::new(witness, source.clone(), common.clone()).go_on());
        }
        // Until others are configured; the tasks are dropped then, in the middle of what they wait for.
        loop {
            tokio::select! {
                () = quit.cancelled() => return Ok(()),
                changed = live.changed() => match changed {
                    Ok(()) if live.borrow_and_update().audit.witnesses == witnesses => {}
                    Ok(()) => break,
                    // Nobody can change it any more.
                    Err(_) => {
                        quit.cancelled().await;
                        return Ok(());
                    }
                },
            }
        }
    }
}

/// The checkpoint that the witnesses are asked for at present, and its size. Whoever has cosigned it brings the next.
type Common = Arc<Mutex<(u64, String)>>;

struct Conversation {
    witness: Witness,
    source: Source,
    common: Common,
    agent: ureq::Agent,
    /// The size that the witness cosigned last, as far as is known here.
    knows: Option<u64>,
    /// The size of the checkpoint that it cosigned last.
    cosigned: u64,
    /// The same with its root, if it was since this start.
    seen: Option<Seen>,
    trouble: Trouble,
}

/// What came of one look at the ledger.
enum Step {
    /// There is nothing new.
    Idle,
    /// It has cosigned.
    Done,
    /// It knows more or less of the log than was supposed, and is asked again at once.
    Again,
    Failed(String),
    Contradicted(String),
}

impl Conversation {
    fn new(witness: Witness, source: Source, common: Common) -> Self {
        let trouble = Trouble::new(LONGEST);
        Self { witness, source, common, agent: agent(), knows: None, cosigned: 0, seen: None, trouble }
    }

    async fn go_on(mut self) {
        loop {
            let pause = self.once().await;
            tokio::time::sleep(pause).await;
        }
    }

    /// One look, and how long to wait after it.
    async fn once(&mut self) -> Duration {
        let mut step = self.step().await;
        if matches!(step, Step::Again) {
            step = self.step().await;
        }
        let name = self.witness.key.name().to_owned();
        match step {
            Step::Idle => EVERY,
            Step::Done => {
                if self.trouble.is_over() {
                    tracing::info!(witness = name, "the witness cosigns");
                }
                BETWEEN
            }
            // It changes its mind from one moment to the next: another client of the same log, or a liar.
            Step::Again => self.failed("it does not stay with the size that it says it knows"),
            Step::Failed(why) => self.failed(&why),
            Step::Contradicted(why) => {
                // Once, whatever it says: a liar must not fill the log.
                if self.trouble.is_news(CONTRADICTION) {
                    self.source.contradicted(&format!("the witness {name}"), &why).await;
                }
                self.trouble.pause()
            }
        }
    }

    fn failed(&mut self, why: &str) -> Duration {
        if self.trouble.is_news(why) {
            let witness = self.witness.key.name();
            tracing::warn!(witness, reason = why, "the witness does not cosign; it is asked again");
        }
        self.trouble.pause()
    }

    async fn step(&mut self) -> Step {
        match self.try_step().await {
            Ok(step) => step,
            Err(error) => Step::Failed(format!("{error:#}")),
        }
    }

    async fn try_step(&mut self) -> anyhow::Result<Step> {
        let ledger = &self.source.ledger;
        let key = &self.witness.key;
        let known = match self.knows {
            Some(known) => known,
            None => {
                let stored = ledger.cosignatures().await?;
                self.cosigned = stored.iter().filter(|one| one.witness == *key).map(|one| one.size).max().unwrap_or(0);
                self.cosigned
            }
        };
        if let Some(seen) = self.seen
            && let Some(why) = self.source.contradicts(seen, "cosigned").await?
        {
            return Ok(Step::Contradicted(why));
        }
        let Some(newest) = ledger.checkpoint().await? else { return Ok(Step::Idle) };
        let size = Checkpoint::read(&newest)?.0.size;
        if size == self.cosigned {
            return Ok(Step::Idle);
        }
        if known > size {
            return Ok(Step::Contradicted(format!(
                "it has seen {known} events of this log, and the ledger has {size}: the ledger is an older copy, or its end was cut off"
            )));
        }
        let (size, note) = self.next(known, size, newest);
        let request = body(known, &ledger.consistency(known, size).await?, &note);
        let answer = match self.asked(request, note.clone()).await? {
            Ok(answer) => answer,
            Err(error) => return Ok(Step::Failed(error)),
        };
        Ok(match answer {
            Answer::Cosigned(signature) => {
                let root = Checkpoint::read(&note)?.0.root;
                self.source.ledger.cosigned(note, vec![(self.witness.key.clone(), signature)]).await?;
                (self.knows, self.cosigned, self.seen) = (Some(size), size, Some(Seen { size, root }));
                Step::Done
            }
            Answer::Knows(other) if other == known => Step::Contradicted(format!(
                "it says that the first {known} events of this log are others than those that it has seen (409)"
            )),
            Answer::Knows(other) => {
                self.knows = Some(other);
                Step::Again
            }
            Answer::Contradicts(why) => Step::Contradicted(why),
            Answer::Refuses(why) => Step::Failed(why),
        })
    }

    /// The checkpoint to ask for: that which the others are asked for too; or, when this witness has it or is beyond it
    /// already, the newest, which is then theirs.
    fn next(&self, known: u64, size: u64, newest: String) -> (u64, String) {
        let mut common = self.common.lock().unwrap_or_else(PoisonError::into_inner);
        if common.0 <= self.cosigned || common.0 < known || common.0 > size {
            *common = (size, newest);
        }
        common.clone()
    }

    /// Asks on a thread of its own: one that hangs must not hold up the daemon's end, as one of the runtime's would.
    async fn asked(&self, request: String, note: String) -> anyhow::Result<Result<Answer, String>> {
        let (agent, Witness { url, key }) = (self.agent.clone(), self.witness.clone());
        let (answer, answered) = tokio::sync::oneshot::channel();
        std::thread::Builder::new().name("witness".into()).spawn(move || {
            // Nobody may be waiting any more.
            let _ = answer.send(ask(&agent, &url, &request, &note, &key));
        })?;
        Ok(answered.await?)
    }
}

#[cfg(test)]
mod tests;
