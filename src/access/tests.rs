//! Admissions and reloads, as `ssh` and `daemon` use them.

use std::sync::Arc;
use std::time::Duration;

use russh::keys::PublicKey;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::fixture::{account, config, key, listener};
use super::*;
use crate::config::{Config, Network};

struct Gateway {
    access: Access,
    config: watch::Sender<Arc<Config>>,
    events: mpsc::Receiver<Event>,
    clock: Clock,
}

fn gateway(config: Config) -> Gateway {
    let (recorder, events) = Recorder::new(64);
    let (sender, live) = watch::channel(Arc::new(config));
    let clock = Clock::fixed("2026-03-01T12:00:00Z".parse().unwrap());
    Gateway { access: Access::new(live, recorder, clock.clone()), config: sender, events, clock }
}

impl Gateway {
    async fn admit_from(&self, from: &str, account: &str, key: &PublicKey) -> (Arrival, Admission) {
        let mut arrival = self.access.arrive(from.parse().unwrap()).await.unwrap();
        let admission = self.access.admit(&mut arrival, &listener(), account, key, "SSH-2.0-Test\u{7}_1").await;
        (arrival, admission)
    }

    async fn admit(&self, account: &str, key: &PublicKey) -> Admission {
        self.admit_from("192.0.2.9:40000", account, key).await.1
    }

    fn change(&self, change: impl FnOnce(&mut Config)) {
        self.config.send_modify(|config| {
            let mut next = Config::clone(config);
            change(&mut next);
            *config = Arc::new(next);
        });
    }

    fn reason(&mut self) -> String {
        let event = self.events.try_recv().unwrap();
        assert_eq!(event.kind, Kind::SessionRefused);
        event.detail["reason"].as_str().unwrap().to_owned()
    }
}

fn admitted(admission: Admission) -> Principal {
    match admission {
        Admission::Admitted(principal) => principal,
        Admission::Unknown => panic!("unknown"),
        Admission::TooManySessions => panic!("too many sessions"),
    }
}

#[tokio::test]
async fn the_principal_is_made_of_the_configurations_facts_alone() {
    let (own, other) = (key(), key());
    let mut gateway = gateway(config([
        account("harbour-nightly", "harbour", Role::Provider, &[own.public_key()]),
        account("datateam-loader", "datateam", Role::Loader, &[other.public_key()]),
    ]));
    let mut claimed = own.public_key().clone();
    claimed.set_comment("root@datateam");
    let principal = admitted(gateway.admit("harbour-nightly", &claimed).await);
    assert_eq!(principal.org().as_str(), "harbour");
    assert_eq!(principal.role(), Role::Provider);
    assert_eq!(principal.fingerprint().0, own.public_key().fingerprint(russh::keys::HashAlg::Sha256).to_string());
    assert_eq!(principal.actor().client.as_deref(), Some("Test_1"));
    let event = gateway.events.recv().await.unwrap();
    assert_eq!(event.kind, Kind::SessionAdmitted);
    assert_eq!(event.actor, *principal.actor());
}

#[tokio::test]
async fn a_key_lets_in_nobody_but_its_own_account() {
    let (own, other) = (key(), key());
    let mut gateway = gateway(config([
        account("harbour-nightly", "harbour", Role::Provider, &[own.public_key()]),
        account("datateam-loader", "datateam", Role::Loader, &[other.public_key()]),
    ]));
    assert!(matches!(gateway.admit("datateam-loader", own.public_key()).await, Admission::Unknown));
    assert_eq!(gateway.reason(), "the key is not one of the account's");
    assert!(matches!(gateway.admit("nobody", own.public_key()).await, Admission::Unknown));
    assert_eq!(gateway.reason(), "unknown account");
    assert_eq!(gateway.access.sessions(), 0);
}

#[tokio::test]
async fn each_rule_of_account_and_key_is_kept() {
    type Change = fn(&mut Config);
    fn acc(config: &mut Config) -> &mut crate::config::Account {
        config.accounts.values_mut().next().unwrap()
    }
    fn net() -> Vec<Network> {
        vec![Network { address: "198.51.100.0".parse().unwrap(), prefix: 24 }]
    }
    let rules: [(Change, &str); 6] = [
        (|c| acc(c).disabled = true, "the account is disabled"),
        (|c| c.orgs.values_mut().for_each(|org| org.disabled = true), "the organisation is disabled"),
        (|c| acc(c).from = net(), "the account may not come from this address"),
        (|c| acc(c).keys[0].from = net(), "the key may not be used from this address"),
        (|c| acc(c).keys[0].expires = Some("2026-03-01T12:00:00Z".parse().unwrap()), "the key has expired"),
        (|c| c.server.listeners[0].roles = [Role::Loader].into(), "the listener does not admit the account's role"),
    ];
    for (change, reason) in rules {
        let own = key();
        let mut config = config([account("harbour-nightly", "harbour", Role::Provider, &[own.public_key()])]);
        change(&mut config);
        let mut gateway = gateway(config);
        assert!(matches!(gateway.admit("harbour-nightly", own.public_key()).await, Admission::Unknown), "{reason}");
        assert_eq!(gateway.reason(), reason);
    }
}

#[tokio::test]
async fn an_account_has_no_more_sessions_than_its_number_and_a_place_is_free_when_one_is_dropped() {
    let own = key();
    let mut config = config([account("harbour-nightly", "harbour", Role::Provider, &[own.public_key()])]);
    config.limits.sessions_per_account = 2;
    let gateway = gateway(config);
    let first = admitted(gateway.admit("harbour-nightly", own.public_key()).await);
    let _second = admitted(gateway.admit("harbour-nightly", own.public_key()).await);
    assert!(matches!(gateway.admit("harbour-nightly", own.public_key()).await, Admission::TooManySessions));
    let copy = first.clone();
    drop(first);
    assert!(matches!(gateway.admit("harbour-nightly", own.public_key()).await, Admission::TooManySessions));
    drop(copy);
    admitted(gateway.admit("harbour-nightly", own.public_key()).await);
}

#[tokio::test]
async fn a_reload_ends_exactly_the_sessions_that_it_takes_away() {
    let (one, two, three) = (key(), key(), key());
    let gateway = gateway(config([
        account("harbour-nightly", "harbour", Role::Provider, &[one.public_key(), two.public_key()]),
        account("datateam-loader", "datateam", Role::Loader, &[three.public_key()]),
    ]));
    let stop = CancellationToken::new();
    let following = tokio::spawn({
        let (access, stop) = (gateway.access.clone(), stop.clone());
        async move { access.follow_reloads(stop).await }
    });
    let taken = admitted(gateway.admit("harbour-nightly", one.public_key()).await);
    let stays = admitted(gateway.admit("harbour-nightly", two.public_key()).await);
    let narrowed = admitted(gateway.admit("datateam-loader", three.public_key()).await);
    gateway.change(|config| {
        let accounts = &mut config.accounts;
        accounts.get_mut(taken.account()).unwrap().keys.remove(0);
        accounts.get_mut(narrowed.account()).unwrap().take.orgs = Some(Default::default());
    });
    let both = async {
        taken.ended().cancelled().await;
        narrowed.ended().cancelled().await;
    };
    tokio::time::timeout(Duration::from_secs(5), both).await.unwrap();
    assert_eq!(taken.why_ended(), Some("the key is not one of the account's"));
    assert!(!stays.ended().is_cancelled());
    stop.cancel();
    following.await.unwrap();
}

#[tokio::test]
async fn a_key_that_expires_during_a_session_ends_it() {
    let own = key();
    let mut config = config([account("harbour-nightly", "harbour", Role::Provider, &[own.public_key()])]);
    let expires = Some("2026-03-01T12:01:00Z".parse().unwrap());
    config.accounts.values_mut().for_each(|account| account.keys[0].expires = expires);
    let gateway = gateway(config);
    let principal = admitted(gateway.admit("harbour-nightly", own.public_key()).await);
    gateway.access.review();
    assert!(!principal.ended().is_cancelled());
    gateway.clock.advance(Duration::from_secs(60));
    gateway.access.review();
    assert!(principal.ended().is_cancelled());
    assert_eq!(principal.why_ended(), Some("the key has expired"));
}

#[tokio::test]
async fn a_session_is_told_to_have_ended_once_even_when_nobody_said_farewell() {
    let own = key();
    let mut gateway = gateway(config([account("harbour-nightly", "harbour", Role::Provider, &[own.public_key()])]));
    let principal = admitted(gateway.admit("harbour-nightly", own.public_key()).await);
    assert_eq!(gateway.events.recv().await.unwrap().kind, Kind::SessionAdmitted);
    gateway.clock.advance(Duration::from_secs(90));
    let farewell = Farewell { reason: "client".into(), received: 7, sent: 9, refused_requests: 0 };
    principal.leave(farewell.clone()).await;
    principal.leave(farewell).await;
    drop(principal);
    let event = gateway.events.recv().await.unwrap();
    assert_eq!((event.kind, event.detail["duration_seconds"].as_i64()), (Kind::SessionEnded, Some(90)));
    assert_eq!(event.detail["received_bytes"].as_u64(), Some(7));
    assert!(gateway.events.try_recv().is_err());

    drop(admitted(gateway.admit("harbour-nightly", own.public_key()).await));
    assert_eq!(gateway.events.recv().await.unwrap().kind, Kind::SessionAdmitted);
    assert_eq!(gateway.events.recv().await.unwrap().detail["reason"], "broken off");
}

#[tokio::test]
async fn what_a_refused_peer_calls_itself_is_cut_and_cleaned() {
    let own = key();
    let mut gateway = gateway(config([]));
    let name = format!("\u{1b}[2J\u{202e}{}", "x".repeat(100));
    gateway.admit(&name, own.public_key()).await;
    let actor = gateway.events.recv().await.unwrap().actor;
    assert_eq!(actor.account, format!("[2J{}", "x".repeat(61)));
    assert!(actor.fingerprint.is_some());
}
