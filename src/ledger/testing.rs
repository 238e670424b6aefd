//! What the ledger's tests share: a ledger in a directory of its own, uploads, loaders, times.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::audit::{Signer, Verdict};

pub struct Desk {
    pub ledger: Ledger,
    pub file: PathBuf,
    pub _dir: tempfile::TempDir,
}

impl Desk {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ledger.sqlite");
        Self { ledger: Ledger::open(&file, signer()).unwrap(), file, _dir: dir }
    }

    pub async fn accept(&self, name: &str, at: Timestamp) -> (Receipt, DeliveryId) {
        self.ledger.accept(ended("harbour", name, at)).await.unwrap()
    }

    pub async fn claim(&self, account: &str, max: usize, now: Timestamp) -> Vec<Delivery> {
        self.ledger.claim(claim(account, max), POLICY, now).await.unwrap()
    }

    pub async fn kinds(&self) -> Vec<&'static str> {
        let events = self.ledger.events(&Filter::default()).await.unwrap();
        events.iter().map(|logged| logged.event.kind.as_str()).collect()
    }

    /// Copies the ledger as it is now, as a backup would.
    pub fn copy_to(&self, file: &Path) {
        let raw = rusqlite::Connection::open(&self.file).unwrap();
        raw.execute("VACUUM INTO ?", [file.to_str().unwrap()]).unwrap();
    }

    /// The promises hold, whatever the test did.
    pub async fn assert_whole(&self) {
        assert_eq!(self.ledger.verify(believing()).await.unwrap().findings, []);
    }
}

/// The key that signs the tests' logs.
pub fn signer() -> Signer {
    static KEY: std::sync::LazyLock<Signer> =
        std::sync::LazyLock::new(|| Signer::generate("sftp.example.org/audit").unwrap().0);
    KEY.clone()
}

/// A verification that believes the tests' key.
pub fn believing() -> Verification {
    Verification { keys: vec![signer().verifier_key().clone()], ..Verification::default() }
}

pub const POLICY: Policy =
    Policy { attempts: 3, backoff: Duration::from_secs(30), backoff_max: Duration::from_secs(40) };

/// A moment, in seconds of a day long ago.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

pub fn org(id: &str) -> OrgId {
    id.parse().unwrap()
}

pub fn actor(account: &str) -> Actor {
    Actor { account: account.into(), ..Actor::gateway() }
}

pub fn claim(account: &str, max: usize) -> Claim {
    Claim {
        actor: actor(account),
        account: account.parse().unwrap(),
        take: Take::default(),
        orgs: None,
        datasets: None,
        max,
        lease: Duration::from_secs(60),
    }
}

pub fn ended(org: &str, name: &str, at: Timestamp) -> Ended {
    let receipt = Receipt {
        gateway: "sftp.example.org".into(),
        upload: UploadId::new(at),
        verdict: Verdict::Accepted,
        reasons: Vec::new(),
        name: name.parse().unwrap(),
        size: 10,
        sha256: Sha256([1; 32]),
        time: at,
        organisation: org.parse().unwrap(),
        dataset: "ims-interventions".parse().unwrap(),
        account: format!("{org}-nightly").parse().unwrap(),
        fingerprint: Fingerprint("SHA256:abc".into()),
        supersedes: None,
        report: crate::audit::Report::default(),
        scan: None,
        quarantined: false,
    };
    let actor = Actor { org: Some(receipt.organisation.clone()), ..actor(receipt.account.as_str()) };
    let restricted = crate::audit::Restricted::default();
    let envelope = Some(Envelope { header: Sha256([2; 32]), recipients: vec![Sha256([3; 32])] });
    let (place, md5, sha1, vouched) = (Place::Inbox, None, None, vec![]);
    Ended { receipt, place, sealed_size: 200, restricted, md5, sha1, vouched, envelope, actor }
}

/// A rejection; quarantined when told so.
pub fn rejected(org: &str, name: &str, at: Timestamp, quarantined: bool) -> Ended {
    let mut ended = ended(org, name, at);
    ended.receipt.verdict = Verdict::Rejected;
    ended.receipt.reasons = vec!["the file is empty".into()];
    ended.receipt.quarantined = quarantined;
    ended
}

pub fn event(kind: crate::audit::Kind) -> Event {
    Event::new(at(0), kind, Actor::gateway())
}

/// What another hand does to the file while it is open: every row of every table is that of `older`.
pub fn put_back(file: &Path, older: &Path) {
    let raw = rusqlite::Connection::open(file).unwrap();
    raw.busy_timeout(Duration::from_secs(10)).unwrap();
    raw.execute("ATTACH ? AS older", [older.to_str().unwrap()]).unwrap();
    raw.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
    let mut tables = raw.prepare("SELECT name FROM main.sqlite_schema WHERE type = 'table'").unwrap();
    let mut sql = "BEGIN IMMEDIATE; PRAGMA defer_foreign_keys = ON;".to_owned();
    for table in tables.query_map([], |row| row.get::<_, String>(0)).unwrap().map(|table| table.unwrap()) {
        sql += &format!("DELETE FROM main.{table}; INSERT INTO main.{table} SELECT * FROM older.{table};");
    }
    drop(tables);
    raw.execute_batch(&(sql + "COMMIT")).unwrap();
}
