//! Tests of `leases`.

use super::*;
use crate::ledger::Filter;
use crate::ledger::testing::{Desk, POLICY, actor, at, claim as claim_as, ended, org};

#[tokio::test]
async fn the_oldest_are_claimed_first_and_none_twice() {
    let desk = Desk::new();
    let mut expected = Vec::new();
    for i in 0..5 {
        expected.push(desk.accept(&format!("{i}.csv"), at(i)).await.1);
    }
    let mut claimed = Vec::new();
    for account in ["loader", "second", "loader"] {
        let got = desk.claim(account, 2, at(10)).await;
        assert!(got.iter().all(|delivery| delivery.holder.as_ref().unwrap().as_str() == account));
        claimed.extend(got);
    }
    assert_eq!(claimed.iter().map(|delivery| delivery.delivery).collect::<Vec<_>>(), expected);
    assert!(claimed.iter().all(|d| d.attempt == 1 && d.lease_expires == Some(at(70)) && d.lease.is_some()));
    assert_eq!(desk.claim("loader", 9, at(10)).await, []);
    desk.assert_whole().await;
}

#[tokio::test]
async fn nothing_is_claimed_before_its_time_or_past_what_the_account_may_take() {
    let desk = Desk::new();
    desk.accept("later.csv", at(100)).await;
    assert_eq!(desk.claim("loader", 9, at(99)).await, []);
    desk.ledger.accept(ended("mill-lane", "m.csv", at(1))).await.unwrap();
    let set = |ids: &[&str]| Some(ids.iter().map(|id| org(id)).collect());
    for (may, wants, orgs) in [
        (set(&["harbour"]), set(&["mill-lane"]), 0),
        (set(&["harbour"]), None, 1),
        (None, set(&["nowhere"]), 0),
        (set(&[]), None, 0),
        (None, set(&["mill-lane", "nowhere"]), 1),
    ] {
        let mut claim = claim_as("loader", 9);
        claim.take.orgs = may;
        claim.orgs = wants;
        assert_eq!(desk.ledger.claim(claim, POLICY, at(200)).await.unwrap().len(), orgs);
    }
    let mut claim = claim_as("loader", 9);
    claim.datasets = Some(["other".parse().unwrap()].into());
    assert_eq!(desk.ledger.claim(claim, POLICY, at(900)).await.unwrap(), []);
}

#[tokio::test]
async fn acknowledging_loads_once_and_may_be_repeated_under_the_same_lease() {
    let desk = Desk::new();
    let (_, id) = desk.accept("a.csv", at(0)).await;
    let lease = desk.claim("loader", 1, at(1)).await[0].lease.unwrap();
    let ack = |account, lease, now| desk.ledger.acknowledge(id, lease, actor(account), POLICY, now);
    assert_eq!(ack("other", lease, at(2)).await.unwrap(), Err(LeaseError::Unknown));
    assert_eq!(ack("loader", LeaseId::new(at(1)), at(2)).await.unwrap(), Err(LeaseError::NotHeld));
    assert_eq!(ack("loader", lease, at(2)).await.unwrap(), Ok(()));
    assert_eq!(ack("loader", lease, at(999)).await.unwrap(), Err(LeaseError::AlreadyAcknowledged));
    assert_eq!(ack("other", lease, at(3)).await.unwrap(), Err(LeaseError::Unknown));
    assert_eq!(ack("loader", LeaseId::new(at(1)), at(3)).await.unwrap(), Err(LeaseError::NotHeld));
    let loaded = desk.ledger.delivery(id).await.unwrap().unwrap();
    assert_eq!((loaded.state, loaded.lease), (DeliveryState::Loaded, None));
    assert_eq!(desk.claim("loader", 9, at(9999)).await, []);
    assert_eq!(desk.kinds().await, ["upload.accepted", "delivery.claimed", "delivery.acknowledged"]);
    desk.assert_whole().await;
}

#[tokio::test]
async fn a_lease_that_ran_out_is_over_for_its_holder_before_any_sweep() {
    for verb in ["extend", "ack", "nack"] {
        let desk = Desk::new();
        let (_, id) = desk.accept("a.csv", at(0)).await;
        let lease = desk.claim("loader", 1, at(0)).await[0].lease.unwrap();
        let (ledger, loader) = (&desk.ledger, actor("loader"));
        let refused = match verb {
            "extend" => {
                let by = Duration::from_secs(60);
                ledger.extend(id, lease, by, loader, POLICY, at(60)).await.unwrap().map(drop)
            }
            "ack" => ledger.acknowledge(id, lease, loader, POLICY, at(60)).await.unwrap(),
            _ => ledger.give_back(id, lease, "x", loader, POLICY, at(60)).await.unwrap().map(drop),
        };
        assert_eq!(refused, Err(LeaseError::NotHeld), "{verb}");
        let back = ledger.delivery(id).await.unwrap().unwrap();
        assert_eq!((back.state, back.available), (DeliveryState::Ready, at(90)), "{verb}");
        assert_eq!(desk.kinds().await.last(), Some(&"delivery.expired"));
        desk.assert_whole().await;
    }
}

#[tokio::test]
async fn extending_moves_the_end_and_never_back() {
    let desk = Desk::new();
    let (_, id) = desk.accept("a.csv", at(0)).await;
    let lease = desk.claim("loader", 1, at(0)).await[0].lease.unwrap();
    let extend = |by, now| desk.ledger.extend(id, lease, Duration::from_secs(by), actor("loader"), POLICY, now);
    assert_eq!(extend(60, at(59)).await.unwrap(), Ok(at(119)));
    assert_eq!(extend(1, at(60)).await.unwrap(), Ok(at(119)));
    assert_eq!(desk.ledger.next_change(at(60)).await.unwrap(), Some(at(119)));
    assert_eq!(desk.claim("other", 1, at(118)).await, []);
    let other = extend(60, at(119)).await.unwrap();
    assert_eq!(other, Err(LeaseError::NotHeld));
}

#[tokio::test]
async fn what_fails_waits_longer_each_time_and_ends_in_the_dead_letters() {
    let desk = Desk::new();
    let (_, id) = desk.accept("a.csv", at(0)).await;
    let mut now = 0;
    for (attempt, wait) in [(1, 30), (2, 40)] {
        let got = desk.claim("loader", 1, at(now)).await;
        assert_eq!(got[0].attempt, attempt);
        let lease = got[0].lease.unwrap();
        let back = desk.ledger.give_back(id, lease, "no\nroom\u{202E}", actor("loader"), POLICY, at(now + 1));
        let available = at(now + 1 + wait);
        let expected = Returned { state: DeliveryState::Ready, available: Some(available) };
        assert_eq!(back.await.unwrap(), Ok(expected));
        assert_eq!(desk.ledger.next_change(at(now + 1)).await.unwrap(), Some(available));
        assert_eq!(desk.claim("loader", 1, at(now + wait)).await, []);
        now += 1 + wait;
    }
    // The last attempt is lost to a loader that never came back.
    assert_eq!(desk.claim("loader", 1, at(now)).await[0].attempt, 3);
    assert_eq!(desk.ledger.expire(POLICY, at(now + 59)).await.unwrap(), 0);
    assert_eq!(desk.ledger.expire(POLICY, at(now + 60)).await.unwrap(), 1);
    let dead = desk.ledger.delivery(id).await.unwrap().unwrap();
    assert_eq!((dead.state, dead.last_reason.as_deref()), (DeliveryState::Dead, Some("the lease ran out")));
    assert_eq!(desk.claim("loader", 1, at(99_999)).await, []);
    assert_eq!(desk.ledger.next_change(at(now)).await.unwrap(), None);
    let kinds = desk.kinds().await;
    assert_eq!(kinds[kinds.len() - 2..], ["delivery.expired", "delivery.dead"]);
    let returned = Filter { kind: Some(Kind::DeliveryReturned), ..Filter::default() };
    assert_eq!(desk.ledger.events(&returned).await.unwrap()[0].event.detail["reason"], "no room");
    desk.assert_whole().await;

    assert!(desk.ledger.retry(id, Actor::operator("eve"), at(now + 100)).await.unwrap());
    assert_eq!(desk.claim("loader", 1, at(now + 100)).await[0].attempt, 1);
    desk.assert_whole().await;
}

#[tokio::test]
async fn a_claim_puts_back_what_ran_out_and_the_old_holder_is_told() {
    let desk = Desk::new();
    let (_, id) = desk.accept("a.csv", at(0)).await;
    let first = desk.claim("loader", 1, at(0)).await[0].lease.unwrap();
    assert_eq!(desk.claim("other", 1, at(60)).await, []);
    let second = desk.claim("other", 1, at(90)).await;
    assert_eq!((second[0].delivery, second[0].attempt), (id, 2));
    assert_ne!(second[0].lease, Some(first));
    let ack = |account| desk.ledger.acknowledge(id, first, actor(account), POLICY, at(91));
    assert_eq!(ack("loader").await.unwrap(), Err(LeaseError::NotHeld));
    assert_eq!(ack("other").await.unwrap(), Err(LeaseError::NotHeld));
    assert_eq!(ack("stranger").await.unwrap(), Err(LeaseError::Unknown));
    desk.assert_whole().await;
}

#[tokio::test]
async fn an_operator_releases_leases_and_retries_what_is_dead_or_waits() {
    let desk = Desk::new();
    let (_, id) = desk.accept("a.csv", at(0)).await;
    let eve = || Actor::operator("eve");
    assert!(!desk.ledger.release(id, eve(), at(1)).await.unwrap());
    let lease = desk.claim("loader", 1, at(1)).await[0].lease.unwrap();
    assert!(!desk.ledger.retry(id, eve(), at(2)).await.unwrap());
    assert!(desk.ledger.release(id, eve(), at(2)).await.unwrap());
    let late = desk.ledger.acknowledge(id, lease, actor("loader"), POLICY, at(2)).await.unwrap();
    assert_eq!(late, Err(LeaseError::NotHeld));
    let lease = desk.claim("loader", 1, at(2)).await[0].lease.unwrap();
    desk.ledger.give_back(id, lease, "x", actor("loader"), POLICY, at(3)).await.unwrap().unwrap();
    assert!(desk.ledger.retry(id, eve(), at(3)).await.unwrap());
    assert_eq!(desk.claim("loader", 1, at(3)).await[0].attempt, 1);
    assert!(!desk.ledger.retry(DeliveryId::new(at(0)), eve(), at(3)).await.unwrap());
    let by_eve = Filter { account: Some("operator:eve".into()), ..Filter::default() };
    let kinds: Vec<Kind> = desk.ledger.events(&by_eve).await.unwrap().iter().map(|logged| logged.event.kind).collect();
    assert_eq!(kinds, [Kind::DeliveryReleased, Kind::DeliveryRetried]);
    desk.assert_whole().await;
}

#[tokio::test]
async fn who_waits_hears_of_new_work_here_and_in_another_process() {
    let desk = Desk::new();
    let other = crate::ledger::Ledger::open(&desk.file, crate::ledger::testing::signer()).unwrap();
    let mut here = desk.ledger.deliveries_changed();
    let mut there = other.deliveries_changed();
    desk.accept("a.csv", at(0)).await;
    assert!(here.has_changed().unwrap());
    there.changed().await.unwrap();
    here.borrow_and_update();
    let got = other.claim(claim_as("loader", 1), POLICY, at(1)).await.unwrap();
    assert_eq!(got.len(), 1);
    here.changed().await.unwrap();
    assert_eq!(desk.claim("loader", 1, at(1)).await, []);
}

#[tokio::test]
async fn two_ledgers_on_one_file_never_lease_the_same_delivery() {
    let desk = Desk::new();
    let other = crate::ledger::Ledger::open(&desk.file, crate::ledger::testing::signer()).unwrap();
    for i in 0..100 {
        desk.accept(&format!("{i}.csv"), at(0)).await;
    }
    let claimer = |ledger: crate::ledger::Ledger| {
        tokio::spawn(async move {
            let mut mine = Vec::new();
            loop {
                let got = ledger.claim(claim_as("loader", 3), POLICY, at(1)).await.unwrap();
                if got.is_empty() {
                    return mine;
                }
                mine.extend(got.iter().map(|delivery| delivery.delivery));
            }
        })
    };
    let (one, two) = (claimer(desk.ledger.clone()), claimer(other.clone()));
    let mut all = one.await.unwrap();
    all.extend(two.await.unwrap());
    all.sort();
    let claims = all.len();
    all.dedup();
    assert_eq!((claims, all.len()), (100, 100));
    other.close().await.unwrap();
    desk.assert_whole().await;
}
