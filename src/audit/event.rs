//! Events of the audit log: who, from where, what and when.

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::types::{Actor, DatasetName, DeliveryId, OrgId, Timestamp, UploadId};

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
            tracing::error!(event.kind = lost.0.kind.as_str(), "the ledger is closed: an audit event was lost");
        }
    }
}
