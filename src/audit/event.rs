//! Events of the audit log: who, from where, what and when.
//!
//! Must never hold a file's content or a secret. Made by everyone; written by `ledger` alone.

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::types::{Actor, DatasetName, DeliveryId, Invalid, OrgId, Timestamp, UploadId};

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// What happened. The text form is what the log stores, and is never changed once released.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Kind {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)*
        }
        impl Kind {
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)*];
            pub fn as_str(self) -> &'static str {
                match self { $(Kind::$variant => $text,)* }
            }
        }
    };
}

impl std::str::FromStr for Kind {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Kind::ALL.iter().copied().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let all: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
            Invalid(format!("{text:?} is no kind of event; there are {}", all.join(", ")))
        })
    }
}

kinds! {
    DaemonStarted = "daemon.started",
    DaemonStopped = "daemon.stopped",
    /// Start-up recovery removed what a crash left behind; detail says what.
    RecoveryRemoved = "recovery.removed",
    /// Start-up recovery found an accepted upload without its object.
    RecoveryMissing = "recovery.missing",
    ConfigReloaded = "config.reloaded",
    ConfigRefused = "config.refused",
    SessionAdmitted = "session.admitted",
    /// A connection or an authentication refused; many from one address are counted into one event.
    SessionRefused = "session.refused",
    SessionEnded = "session.ended",
    /// A request inside a session that was refused: shell, forwarding, mkdir, reading back, a bad name.
    RequestRefused = "request.refused",
    UploadBegun = "upload.begun",
    UploadAccepted = "upload.accepted",
    UploadRejected = "upload.rejected",
    UploadAborted = "upload.aborted",
    /// What was private of an upload is gone: its object, its names, and the private parts of these events.
    UploadErased = "upload.erased",
    /// A companion file (checksums, totals) was recorded; it ends the upload that brought it.
    CompanionReceived = "companion.received",
    /// A companion whose file never came was forgotten.
    CompanionRemoved = "companion.removed",
    DraftClosed = "draft.closed",
    DraftRenamed = "draft.renamed",
    DraftRemoved = "draft.removed",
    ReceiptRead = "receipt.read",
    DeliveryClaimed = "delivery.claimed",
    DeliveryExtended = "delivery.extended",
    DeliveryAcknowledged = "delivery.acknowledged",
    DeliveryReturned = "delivery.returned",
    DeliveryExpired = "delivery.expired",
    DeliveryDead = "delivery.dead",
    DeliveryRetried = "delivery.retried",
    DeliveryReleased = "delivery.released",
    ObjectRead = "object.read",
    ObjectRemoved = "object.removed",
    OperatorCommand = "operator.command",
    /// What was published, or a witness, holds another log than the ledger; detail says which and why.
    LogContradicted = "log.contradicted",
}

/// One event, as it is told; its sequence number comes from the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub at: Timestamp,
    pub kind: Kind,
    pub actor: Actor,
    /// The organisation that the event is about.
    pub org: Option<OrgId>,
    pub dataset: Option<DatasetName>,
    pub upload: Option<UploadId>,
    pub delivery: Option<DeliveryId>,
    /// Further facts by name: file name, size, reason. Never content, never a secret.
    pub detail: serde_json::Map<String, serde_json::Value>,
}

impl Event {
    pub fn new(at: Timestamp, kind: Kind, actor: Actor) -> Self {
        let org = actor.org.clone();
        Self { at, kind, actor, org, dataset: None, upload: None, delivery: None, detail: serde_json::Map::new() }
    }
    pub fn org(mut self, org: &OrgId) -> Self {
        self.org = Some(org.clone());
        self
    }
    pub fn dataset(mut self, dataset: &DatasetName) -> Self {
        self.dataset = Some(dataset.clone());
        self
    }
    pub fn upload(mut self, upload: UploadId) -> Self {
        self.upload = Some(upload);
        self
    }
    pub fn delivery(mut self, delivery: DeliveryId) -> Self {
        self.delivery = Some(delivery);
        self
    }
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.detail.insert(name.to_owned(), value.into());
        self
    }
}

/// The way to tell the audit log of something that is no change in the ledger (a refusal, a read, an admission).
/// Facts that the ledger records carry their event themselves.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Event>,
}

impl Recorder {
    /// The ledger takes the receiving end, and stores what comes in order.
    pub fn new(capacity: usize) -> (Self, mpsc::Receiver<Event>) {
        let (queue, events) = mpsc::channel(capacity);
        (Self { queue }, events)
    }

    /// Hands the event over; waits while the queue is full, so that nothing is lost and nobody outruns the log.
    pub async fn record(&self, event: Event) {
        if let Err(lost) = self.queue.send(event).await {
            let body = serde_json::to_string(&lost.0).unwrap_or_default();
            let kind = lost.0.kind.as_str();
            tracing::error!(
                event.kind = kind,
                event.body = body,
                "the ledger is closed: an audit event could not be stored"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_back_from_its_text_and_its_json() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse::<Kind>().unwrap(), *kind);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert!("upload.eaten".parse::<Kind>().is_err());
    }

    #[test]
    fn an_event_tells_its_facts_by_name_in_json() {
        let actor = Actor { org: Some("harbour".parse().unwrap()), ..Actor::gateway() };
        let event = Event::new(Timestamp::UNIX_EPOCH, Kind::UploadBegun, actor).with("name", "x.csv").with("size", 3);
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["org"], "harbour");
        assert_eq!(json["detail"], serde_json::json!({"name": "x.csv", "size": 3}));
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
    }

    #[tokio::test]
    async fn a_recorder_waits_while_its_queue_is_full() {
        let (recorder, mut events) = Recorder::new(1);
        let event = || Event::new(Timestamp::UNIX_EPOCH, Kind::SessionEnded, Actor::gateway());
        recorder.record(event()).await;
        let mut second = Box::pin(recorder.record(event()));
        assert!(futures_pending(&mut second).await);
        assert!(events.recv().await.is_some());
        second.await;
        assert!(events.recv().await.is_some());
    }

    async fn futures_pending(future: &mut (impl Future<Output = ()> + Unpin)) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
        })
        .await
    }
}
