//! The virtual tree: a client's path becomes a node of what its account may see, and nothing else.
//!
//! Must never let one role see a node of the other: each has a tree of its own. Called by the operations; calls `provider`
//! and `loader`.

use std::collections::VecDeque;

use super::attrs::{Entry, Stat};
use super::handles::File;
use super::shared::Shared;
use super::{loader, names, provider};
use crate::types::{Refusal, Role};

/// Names in one answer to READDIR.
pub(super) const PAGE: usize = 100;

pub(super) enum Node {
    Provider(provider::Node),
    Loader(loader::Node),
}

/// # Errors
/// A path that leads nowhere, or breaks a rule for names.
pub(super) fn locate(shared: &Shared, path: &[u8]) -> Result<Node, Refusal> {
    let components = names::components(path)?;
    match shared.principal.role() {
        Role::Provider => provider::locate(provider::org(&shared.config(), shared)?, &components).map(Node::Provider),
        Role::Loader => loader::locate(&components).map(Node::Loader),
    }
}

/// # Errors
/// When there is nothing at the node.
pub(super) async fn stat(shared: &Shared, node: &Node) -> Result<Stat, Refusal> {
    match node {
        Node::Provider(node) => provider::stat(shared, node).await,
        Node::Loader(node) => loader::stat(shared, node).await,
    }
}

/// Opens a file for reading, audited.
///
/// # Errors
/// When there is nothing at the node, or it is not to be read.
pub(super) async fn read(shared: &Shared, node: &Node) -> Result<File, Refusal> {
    match node {
        Node::Provider(node) => provider::read(shared, node).await,
        Node::Loader(node) => loader::read(shared, node).await,
    }
}

/// # Errors
/// When there is no directory at the node.
pub(super) async fn list(shared: &Shared, node: &Node) -> Result<Listing, Refusal> {
    match node {
        Node::Provider(node) => provider::list(shared, node),
        Node::Loader(node) => loader::list(shared, node).await,
    }
}

pub(super) fn missing() -> Refusal {
    Refusal::not_found("no such file or directory")
}
pub(super) fn not_a_directory() -> Refusal {
    Refusal::rejected("that is a file, not a directory")
}
pub(super) fn is_a_directory() -> Refusal {
    Refusal::rejected("that is a directory, not a file: name the file in it")
}

/// A directory being read: what is known at once, then pages from the ledger. Holds one page at a time.
pub(super) struct Listing {
    ready: VecDeque<Entry>,
    more: More,
    /// For FSTAT and fstatvfs of the handle.
    pub stat: Stat,
}

pub(super) enum More {
    Nothing,
    Uploads(provider::Uploads),
    Receipts(provider::Receipts),
    Deliveries(loader::Deliveries),
}

impl Listing {
    /// A directory that begins with `.` and `..`, then `entries`.
    pub fn new(stat: Stat, parent: Stat, entries: impl IntoIterator<Item = Entry>, more: More) -> Self {
        let dots = [Entry { name: ".".into(), stat }, Entry { name: "..".into(), stat: parent }];
        Self { ready: dots.into_iter().chain(entries).collect(), more, stat }
    }

    /// The next names, at most [`PAGE`]; none at the end. Cancelled, it loses nothing.
    pub async fn page(&mut self, shared: &Shared) -> Result<Vec<Entry>, Refusal> {
        while self.ready.is_empty() {
            let next = match &mut self.more {
                More::Nothing => return Ok(Vec::new()),
                More::Uploads(uploads) => uploads.next(shared).await?,
                More::Receipts(receipts) => receipts.next(shared).await?,
                More::Deliveries(deliveries) => deliveries.next(shared).await?,
            };
            match next {
                Some(entries) => self.ready.extend(entries),
                None => self.more = More::Nothing,
            }
        }
        let page = self.ready.len().min(PAGE);
        Ok(self.ready.drain(..page).collect())
    }
}
