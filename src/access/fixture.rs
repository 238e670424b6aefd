//! A configuration made by hand, for tests of `access` and `ssh`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use russh::keys::ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey};
use russh::keys::{HashAlg, PrivateKey, PublicKey};

use crate::config::*;
use crate::types::*;

/// A new ed25519 key pair, different on each call; not a secret.
pub(crate) fn key() -> PrivateKey {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let seed = [NEXT.fetch_add(1, Ordering::Relaxed); 32];
    PrivateKey::from(Ed25519Keypair::from(Ed25519PrivateKey::from_bytes(&seed)))
}

pub(crate) fn authorized(key: &PublicKey) -> AuthorizedKey {
    AuthorizedKey {
        key: key.clone(),
        fingerprint: Fingerprint(key.fingerprint(HashAlg::Sha256).to_string()),
        comment: String::new(),
        from: Vec::new(),
        expires: None,
    }
}

pub(crate) fn listener() -> Listener {
    Listener { address: "127.0.0.1:0".parse().unwrap(), roles: BTreeSet::from([Role::Provider, Role::Loader]) }
}

pub(crate) fn account(name: &str, org: &str, role: Role, keys: &[&PublicKey]) -> Account {
    Account {
        name: name.parse().unwrap(),
        org: org.parse().unwrap(),
        role,
        disabled: false,
        from: Vec::new(),
        keys: keys.iter().map(|key| authorized(key)).collect(),
        take: Take::default(),
    }
}

/// A gateway with these accounts and the default limits.
pub(crate) fn config(accounts: impl IntoIterator<Item = Account>) -> Config {
    let accounts: BTreeMap<_, _> = accounts.into_iter().map(|account| (account.name.clone(), account)).collect();
    let orgs = accounts.values().map(|account| (account.org.clone(), org(&account.org))).collect();
    Config {
        file: "/nowhere/nightsafe.toml".into(),
        server: Server {
            name: "gateway.example".into(),
            contact: "Data team, data@example.org".into(),
            listeners: vec![listener()],
            host_keys: Vec::new(),
            algorithms: AlgorithmSet::Standard,
            drain: Duration::from_secs(60),
        },
        limits: Limits {
            connections: 512,
            connections_per_address: 64,
            unauthenticated: 64,
            authentication: Duration::from_secs(20),
            sessions_per_account: 64,
            channels_per_connection: 8,
            handles_per_session: 64,
            reply_debt: 1 << 20,
            idle: Duration::from_secs(600),
            keepalive: Duration::from_secs(30),
        },
        paths: Paths { state: "/nowhere".into(), runtime: "/nowhere".into(), keys: "/nowhere".into() },
        intake: IntakeSettings {
            drafts_expire: Duration::from_secs(86_400),
            segments: 64,
            reorder_window: 1 << 20,
            uploads_per_org: 256,
            working_suffixes: Vec::new(),
            reserve: 0,
        },
        queue: QueueSettings {
            lease: Duration::from_secs(900),
            lease_max: Duration::from_secs(86_400),
            attempts: 10,
            backoff: Duration::from_secs(30),
            backoff_max: Duration::from_secs(3_600),
        },
        scan: None,
        audit: AuditSettings::default(),
        log: LogSettings { format: LogFormat::Text, level: "info".into() },
        orgs,
        datasets: BTreeMap::new(),
        accounts,
    }
}

fn org(id: &OrgId) -> Org {
    Org {
        id: id.clone(),
        name: id.to_string(),
        disabled: false,
        datasets: BTreeSet::new(),
        default_dataset: None,
        recipients: Vec::new(),
        quota: 1 << 30,
        digests: crate::types::DigestKind::ALL.into(),
        retention: Retention {
            listed: Duration::from_secs(86_400),
            loaded: Duration::from_secs(86_400),
            ..Retention::default()
        },
        codes: Default::default(),
    }
}
