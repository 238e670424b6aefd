//! The decision: may whoever holds this key come in as this account, from there, through this listener, now?
//!
//! A pure function of the configuration, so that an admission and a later review of the same session cannot differ.

use std::net::IpAddr;

use russh::keys::ssh_key::public::KeyData;

use crate::config::{Account, AuthorizedKey, Config, Listener, Network};
use crate::types::Timestamp;

/// Why a peer is not let in. For the audit log and the operator; a peer that is not authenticated never learns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    TooManyConnections,
    TooManyFromAddress,
    TooManyUnauthenticated,
    NotInTime,
    NoCommonAlgorithm,
    NotByPublicKey,
    SignatureAlgorithm,
    UnknownAccount,
    WrongKey,
    OrganisationDisabled,
    AccountDisabled,
    AddressNotAllowed,
    AddressNotAllowedForKey,
    KeyExpired,
    RoleNotAdmittedHere,
    TooManySessions,
}

impl Why {
    pub fn as_str(self) -> &'static str {
        match self {
            Why::TooManyConnections => "too many connections",
            Why::TooManyFromAddress => "too many connections from this address",
            Why::TooManyUnauthenticated => "too many connections that have not authenticated",
            Why::NotInTime => "not authenticated in time",
            Why::NoCommonAlgorithm => "no algorithm in common",
            Why::NotByPublicKey => "tried a password, a certificate or another way than a public key",
            Why::SignatureAlgorithm => "a key or signature of an algorithm that is not accepted",
            Why::UnknownAccount => "unknown account",
            Why::WrongKey => "the key is not one of the account's",
            Why::OrganisationDisabled => "the organisation is disabled",
            Why::AccountDisabled => "the account is disabled",
            Why::AddressNotAllowed => "the account may not come from this address",
            Why::AddressNotAllowedForKey => "the key may not be used from this address",
            Why::KeyExpired => "the key has expired",
            Why::RoleNotAdmittedHere => "the listener does not admit the account's role",
            Why::TooManySessions => "the account has too many sessions",
        }
    }
}

/// What a peer brings: a name that it claims, and a key that it has proven to hold.
pub(super) struct Claim<'a> {
    pub account: &'a str,
    pub key: &'a KeyData,
    pub from: IpAddr,
    pub listener: &'a Listener,
}

/// The account and line of authorized_keys that let a peer in.
pub(super) struct Grant<'c> {
    pub account: &'c Account,
    pub key: &'c AuthorizedKey,
}

/// Decides. Always looks at every key of every account, so that a name that exists costs what any other does.
pub(super) fn judge<'c>(config: &'c Config, claim: &Claim<'_>, now: Timestamp) -> Result<Grant<'c>, Why> {
    let mut named = None;
    let mut matched = None;
    for account in config.accounts.values() {
        let is_named = account.name.as_str() == claim.account;
        if is_named {
            named = Some(account);
        }
        for key in &account.keys {
            let same = key.key.key_data() == claim.key;
            if same & is_named {
                matched = Some(key);
            }
        }
    }
    let account = named.ok_or(Why::UnknownAccount)?;
    let key = matched.ok_or(Why::WrongKey)?;
    if config.orgs.get(&account.org).is_none_or(|org| org.disabled) {
        return Err(Why::OrganisationDisabled);
    }
    if account.disabled {
        return Err(Why::AccountDisabled);
    }
    if !within(&account.from, claim.from) {
        return Err(Why::AddressNotAllowed);
    }
    if !within(&key.from, claim.from) {
        return Err(Why::AddressNotAllowedForKey);
    }
    if key.expires.is_some_and(|end| now >= end) {
        return Err(Why::KeyExpired);
    }
    if !admits(config, claim.listener, account) {
        return Err(Why::RoleNotAdmittedHere);
    }
    Ok(Grant { account, key })
}

/// An empty list of networks is anywhere.
fn within(networks: &[Network], address: IpAddr) -> bool {
    networks.is_empty() || networks.iter().any(|network| network.contains(address))
}

/// Whether the listener admits the account's role, by the configuration in force; a listener that is no longer in it
/// goes by what it was opened with.
fn admits(config: &Config, listener: &Listener, account: &Account) -> bool {
    let mut same = config.server.listeners.iter().filter(|other| other.address == listener.address).peekable();
    if same.peek().is_none() {
        return listener.roles.contains(&account.role);
    }
    same.any(|other| other.roles.contains(&account.role))
}
