//! The Merkle tree over the audit log's leaves: growing it with each commit, signing it, and making proofs from it.
//!
//! Must never sign a tree that does not continue the one that was signed before: what the file says of itself is believed
//! by its signature alone. Grows once for each group commit, just before COMMIT: what was undone inside the group never was
//! in the tree. Other processes append too, so the tree is read from the file each time. Called by the writer and the facade.

use rusqlite::types::FromSqlError;
use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{Count, all};
use super::{Cosignature, LedgerError, ProofOf, Proven, Result, events};
use crate::audit::leaf::Private;
use crate::audit::tree::{self, TILE_HEIGHT, TILE_WIDTH};
use crate::audit::{Checkpoint, Frontier, Hash, Kind, LogKeys, Nodes, Signature, Signer, VerifierKey, Wrong};

impl From<Wrong> for LedgerError {
    fn from(wrong: Wrong) -> Self {
        LedgerError::Storage(format!("its tree is damaged ({wrong}): see `nightsafe audit verify`"))
    }
}

/// The one row of `tree`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct State {
    frontier: Frontier,
    checkpoint: Option<String>,
}

impl State {
    fn read(connection: &Connection) -> Result<Self> {
        let mut statement = connection.prepare_cached("SELECT size, frontier, checkpoint FROM tree")?;
        let row = statement.query_row([], |row| {
            let (size, frontier) = (row.get::<_, Count>("size")?.0, row.get::<_, Vec<u8>>("frontier")?);
            Ok((size, frontier, row.get::<_, String>("checkpoint")?))
        });
        let Some((size, frontier, checkpoint)) = row.optional()? else {
            return Ok(Self { frontier: Frontier::new(), checkpoint: None });
        };
        let frontier = Frontier::from_bytes(size, &frontier).map_err(|error| Wrong(error.0))?;
        Ok(Self { frontier, checkpoint: Some(checkpoint) })
    }

    /// Believes the row by its checkpoint's signature.
    ///
    /// # Errors
    /// It is not signed by a key of the log, or the frontier is that of another tree.
    fn verify(&self, keys: &LogKeys) -> std::result::Result<(), Wrong> {
        let (size, root) = (self.frontier.size(), self.frontier.root());
        let Some(note) = &self.checkpoint else {
            return match size {
                0 => Ok(()),
                _ => Err(Wrong(format!("nobody signed its {size} events"))),
            };
        };
        let signed = keys.verify(note).map_err(|Wrong(why)| {
            Wrong(format!(
                "its newest checkpoint is not signed by the log's key: {why}; a key that was changed needs the former one in \
                 former_keys, and a restart"
            ))
        })?;
        match signed.size == size && signed.root == root {
            true => Ok(()),
            false => Err(Wrong(format!("that of {size} events is not the one that was signed"))),
        }
    }

    /// Holds the log as it is stored against `known`, an earlier state of it that was verified.
    ///
    /// # Errors
    /// It does not continue that one: its end was cut off, or it was rewritten.
    fn continues(&self, known: &State, connection: &Connection) -> Result<()> {
        let (old, new) = (known.frontier.size(), self.frontier.size());
        if old > new {
            return Err(Wrong(format!(
                "{old} events were signed, and the log ends with event {new}: its end was cut off, or an older copy was put \
                 back, which the file alone cannot tell"
            ))
            .into());
        }
        let proof = tree::consistency(&Stored(connection), old, new)?;
        tree::verify_consistency(old, &known.frontier.root(), new, &self.frontier.root(), &proof)
            .map_err(|_| Wrong(format!("its first {old} events are others than those that were signed")).into())
    }
}

/// Reads the tree at the beginning of a transaction, before anything is appended. `known` is what this process itself
/// committed or verified last: the same is believed at once, anything else was written by another process or another hand.
///
/// # Errors
/// Those of the storage; and when the log or its tree is not one that was signed by `keys` and continues `known`.
pub(super) fn begin(connection: &Connection, keys: &LogKeys, known: Option<&State>) -> Result<State> {
    let state = State::read(connection)?;
    let (size, last) = (state.frontier.size(), events::last(connection)?);
    if last != size {
        return Err(Wrong(format!("{size} events were signed, and the log ends with event {last}")).into());
    }
    if known == Some(&state) {
        return Ok(state);
    }
    state.verify(keys)?;
    if let Some(known) = known {
        state.continues(known, connection)?;
    }
    Ok(state)
}

/// Takes the events that the open transaction appended into the tree, and signs it. Without any, does nothing. `state` is
/// what [`begin`] read in this transaction; returns what stands there once it is committed.
///
/// # Errors
/// Those of the storage.
pub(super) fn append(connection: &Connection, state: State, signer: &Signer) -> Result<State> {
    let (size, last) = (state.frontier.size(), events::last(connection)?);
    if last == size {
        return Ok(state);
    }
    let mut frontier = state.frontier;
    let mut stays = last / TILE_WIDTH != size / TILE_WIDTH;
    {
        let mut statement =
            connection.prepare_cached("SELECT hash, kind FROM events WHERE sequence > ? ORDER BY sequence")?;
        let mut node = connection.prepare_cached("INSERT INTO nodes (level, n, hash) VALUES (?, ?, ?)")?;
        let mut new = statement.query([Count(size)])?;
        let mut complete = Vec::new();
        while let Some(row) = new.next()? {
            stays |= has_a_receipt(row.get_ref("kind")?.as_str().map_err(rusqlite::Error::from)?);
            frontier.push(Hash(row.get("hash")?), |level, n, root| {
                if level % TILE_HEIGHT == 0 {
                    complete.push((level, n, root));
                }
            });
            for (level, n, root) in complete.drain(..) {
                node.execute(params![level, Count(n), root.0])?;
            }
        }
    }
    if frontier.size() != last {
        return Err(Wrong(format!("there is a gap between events {size} and {last}")).into());
    }
    let origin = signer.name().to_owned();
    let checkpoint = Checkpoint { origin, size: last, root: frontier.root(), extension: String::new() }.sign(signer);
    if stays {
        connection
            .prepare_cached("INSERT INTO checkpoints (size, note) VALUES (?, ?)")?
            .execute(params![Count(last), checkpoint])?;
    }
    connection
        .prepare_cached(
            "INSERT INTO tree (only, size, frontier, checkpoint) VALUES (1, ?, ?, ?)
             ON CONFLICT DO UPDATE SET size = excluded.size, frontier = excluded.frontier, checkpoint = excluded.checkpoint",
        )?
        .execute(params![Count(last), frontier.to_bytes(), checkpoint])?;
    Ok(State { frontier, checkpoint: Some(checkpoint) })
}

/// Kinds of events whose proofs are handed out: the checkpoint of their commit stays.
pub(super) fn has_a_receipt(kind: &str) -> bool {
    [Kind::UploadAccepted, Kind::UploadRejected, Kind::DeliveryAcknowledged, Kind::UploadErased]
        .iter()
        .any(|one| one.as_str() == kind)
}

/// The newest checkpoint, signed; none while the log is empty.
pub(super) fn checkpoint(connection: &Connection) -> Result<Option<String>> {
    let mut statement = connection.prepare_cached("SELECT checkpoint FROM tree")?;
    Ok(statement.query_row([], |row| row.get("checkpoint")).optional()?)
}

/// The tree's hashes as they are stored.
pub(super) struct Stored<'c>(pub &'c Connection);

impl Nodes for Stored<'_> {
    type Error = LedgerError;

    fn hashes(&self, level: u32, first: u64, count: usize) -> Result<Vec<Hash>> {
        let sql = match level {
            // Leaf number n is event n + 1.
            0 => "SELECT hash FROM events WHERE sequence > ?1 AND sequence <= ?1 + ?2 ORDER BY sequence",
            _ => "SELECT hash FROM nodes WHERE n >= ?1 AND n < ?1 + ?2 AND level = ?3 ORDER BY n",
        };
        let mut statement = self.0.prepare_cached(sql)?;
        let hash = |row: &rusqlite::Row<'_>| Ok(Hash(row.get("hash")?));
        let (first, count) = (Count(first), Count(count as u64));
        match level {
            0 => all(&mut statement, params![first, count], hash),
            _ => all(&mut statement, params![first, count, level], hash),
        }
    }
}

/// Everyone who ever cosigned.
fn witnesses(connection: &Connection) -> Result<Vec<String>> {
    let mut statement =
        connection.prepare_cached("SELECT witness FROM cosignatures WHERE witness > ? ORDER BY witness LIMIT 1")?;
    let mut witnesses: Vec<String> = Vec::new();
    while let Some(next) =
        statement.query_row([witnesses.last().map_or("", String::as_str)], |row| row.get(0)).optional()?
    {
        witnesses.push(next);
    }
    Ok(witnesses)
}

/// The size of the first checkpoint from `from` on that this witness has cosigned.
fn first_cosigned(connection: &Connection, witness: &str, from: u64) -> Result<Option<u64>> {
    let mut statement = connection
        .prepare_cached("SELECT size FROM cosignatures WHERE witness = ? AND size >= ? ORDER BY size LIMIT 1")?;
    Ok(statement.query_row(params![witness, Count(from)], |row| Ok(row.get::<_, Count>(0)?.0)).optional()?)
}

/// The size of the first checkpoint from `from` on that all of these have cosigned. Those who are asked for the same ones
/// agree within a few: it is not searched for for ever.
fn agreed(connection: &Connection, witnesses: &[String], from: u64) -> Result<Option<u64>> {
    let (mut size, mut agreed) = (from, 0);
    for witness in witnesses.iter().cycle().take(256) {
        let Some(next) = first_cosigned(connection, witness, size)? else { return Ok(None) };
        agreed = if next == size { agreed + 1 } else { 1 };
        size = next;
        if agreed == witnesses.len() {
            return Ok(Some(size));
        }
    }
    Ok(None)
}

/// The size of the checkpoint with whose cosignatures event number `sequence` is proven: the first that all witnesses have
/// cosigned who cosigned any since. Where there is none, those do not count who fell silent long ago, and then not those
/// who came last, until there is one.
fn witnessed(connection: &Connection, sequence: u64) -> Result<Option<u64>> {
    let mut known = Vec::new();
    for witness in witnesses(connection)? {
        if let Some(first) = first_cosigned(connection, &witness, sequence)? {
            known.push((first, witness));
        }
    }
    known.sort();
    let Some((first, _)) = known.first().cloned() else { return Ok(None) };
    let mut witnesses: Vec<String> = known.into_iter().map(|(_, witness)| witness).collect();
    if let Some(size) = agreed(connection, &witnesses, sequence)? {
        return Ok(Some(size));
    }
    // Dead, or not asked any more: nothing in so many rows.
    let mut statement =
        connection.prepare_cached("SELECT size FROM cosignatures ORDER BY size DESC LIMIT 1 OFFSET ?")?;
    let long_ago =
        statement.query_row([16 * witnesses.len() as i64], |row| Ok(row.get::<_, Count>(0)?.0)).optional()?;
    if let Some(long_ago) = long_ago {
        let mut live = Vec::new();
        for witness in witnesses {
            if first_cosigned(connection, &witness, long_ago)?.is_some() {
                live.push(witness);
            }
        }
        witnesses = live;
    }
    while !witnesses.is_empty() {
        if let Some(size) = agreed(connection, &witnesses, sequence)? {
            return Ok(Some(size));
        }
        witnesses.pop();
    }
    Ok(Some(first))
}

/// The checkpoint that proves event number `sequence`: one that has the word of witnesses, or else the first that stays, or
/// else the newest. Its size, its note and who cosigned; none when it is not in the tree.
fn proving(connection: &Connection, sequence: u64) -> Result<Option<(u64, String, Vec<VerifierKey>)>> {
    let read = |sql: &str, size: u64| -> Result<Option<(u64, String)>> {
        let mut statement = connection.prepare_cached(sql)?;
        let row = statement.query_row([Count(size)], |row| Ok((row.get::<_, Count>("size")?.0, row.get("note")?)));
        Ok(row.optional()?)
    };
    let cosigned = match witnessed(connection, sequence)? {
        Some(size) => read("SELECT size, note FROM checkpoints WHERE size = ?", size)?,
        None => None,
    };
    if let Some((size, mut note)) = cosigned {
        let mut keys = Vec::new();
        for Cosignature { witness, signature, .. } in cosignatures(connection, size)? {
            note = note + &signature + "\n";
            keys.push(witness);
        }
        return Ok(Some((size, note, keys)));
    }
    let alone = match read("SELECT size, note FROM checkpoints WHERE size >= ? ORDER BY size LIMIT 1", sequence)? {
        Some(found) => Some(found),
        None => read("SELECT size, checkpoint AS note FROM tree WHERE size >= ?", sequence)?,
    };
    Ok(alone.map(|(size, note)| (size, note, Vec::new())))
}

/// All that proves an event, without the hashes of its path.
fn outline(connection: &Connection, sequence: u64) -> Result<Option<Proven>> {
    let mut statement = connection.prepare_cached(
        "SELECT e.leaf, d.salt, d.body FROM events e LEFT JOIN details d ON d.sequence = e.sequence WHERE e.sequence = ?",
    )?;
    let row = statement.query_row([Count(sequence)], |row| {
        let private = match row.get::<_, Option<[u8; 32]>>("salt")? {
            Some(salt) => Some(Private { salt, body: row.get("body")? }),
            None => None,
        };
        Ok((row.get::<_, String>("leaf")?, private))
    });
    let Some((leaf, private)) = row.optional()? else { return Ok(None) };
    let Some((size, checkpoint, witnesses)) = proving(connection, sequence)? else { return Ok(None) };
    Ok(Some(Proven { index: sequence - 1, leaf, private, size, checkpoint, witnesses, hashes: Vec::new() }))
}

/// All that proves event number `sequence`; none when there is no such event.
pub(super) fn proven(connection: &Connection, sequence: u64) -> Result<Option<Proven>> {
    // One moment: a commit between two statements would bring another checkpoint.
    let moment = connection.unchecked_transaction()?;
    let Some(mut proven) = outline(&moment, sequence)? else { return Ok(None) };
    proven.hashes = tree::inclusion(&Stored(&moment), proven.index, proven.size)?;
    Ok(Some(proven))
}

/// The number of the event that ended an upload, or that acknowledged its delivery.
pub(super) fn event_of(connection: &Connection, about: ProofOf) -> Result<Option<u64>> {
    let (upload, kinds) = match about {
        ProofOf::Event(sequence) => return Ok(Some(sequence)),
        ProofOf::End(upload) => (upload, [Kind::UploadAccepted, Kind::UploadRejected]),
        ProofOf::Loading(upload) => (upload, [Kind::DeliveryAcknowledged, Kind::DeliveryAcknowledged]),
    };
    let mut statement = connection.prepare_cached(EVENT_OF)?;
    let params = params![upload.to_string(), kinds[0].as_str(), kinds[1].as_str()];
    Ok(statement.query_row(params, |row| Ok(row.get::<_, Count>("sequence")?.0)).optional()?)
}

pub(super) const EVENT_OF: &str =
    "SELECT sequence FROM events WHERE upload = ? AND +kind IN (?, ?) ORDER BY sequence LIMIT 1";

/// As [`proven`] without hashes, for each of these that there is: what a listing needs to know of proofs.
pub(super) fn outlines(connection: &Connection, about: &[ProofOf]) -> Result<Vec<Option<Proven>>> {
    let moment = connection.unchecked_transaction()?;
    let outline = |about: &ProofOf| match event_of(&moment, *about)? {
        Some(sequence) => outline(&moment, sequence),
        None => Ok(None),
    };
    about.iter().map(outline).collect()
}

/// Keeps a checkpoint with cosignatures of witnesses, which the caller has verified. One that a witness signs again takes
/// the place of its earlier one.
///
/// # Errors
/// It is no checkpoint of this tree.
pub(super) fn cosigned(connection: &Connection, note: &str, signatures: &[(VerifierKey, Signature)]) -> Result<()> {
    let (checkpoint, _) = Checkpoint::read(note).map_err(|error| Wrong(error.0))?;
    let size = checkpoint.size;
    let known = State::read(connection)?.frontier.size();
    if size == 0 || size > known || tree::root(&Stored(connection), size)? != checkpoint.root {
        return Err(LedgerError::Storage(format!("the checkpoint of {size} events is none of this log")));
    }
    connection
        .prepare_cached("INSERT INTO checkpoints (size, note) VALUES (?, ?) ON CONFLICT DO NOTHING")?
        .execute(params![Count(size), note])?;
    let mut statement =
        connection.prepare_cached("INSERT OR REPLACE INTO cosignatures (size, witness, signature) VALUES (?, ?, ?)")?;
    for (witness, signature) in signatures {
        statement.execute(params![Count(size), witness.to_string(), signature.to_string()])?;
    }
    Ok(())
}

/// Those of one checkpoint, by the witnesses' names.
pub(super) fn cosignatures(connection: &Connection, size: u64) -> Result<Vec<Cosignature>> {
    let mut statement = connection
        .prepare_cached("SELECT size, witness, signature FROM cosignatures WHERE size = ? ORDER BY witness")?;
    all(&mut statement, [Count(size)], cosignature)
}

/// The newest cosignature of each witness, by their names.
pub(super) fn newest_cosignatures(connection: &Connection) -> Result<Vec<Cosignature>> {
    let mut statement = connection.prepare_cached(
        "SELECT size, witness, signature FROM cosignatures WHERE witness = ? ORDER BY size DESC LIMIT 1",
    )?;
    let newest = |witness: String| Ok(statement.query_row([witness], cosignature)?);
    witnesses(connection)?.into_iter().map(newest).collect()
}

fn cosignature(row: &rusqlite::Row<'_>) -> rusqlite::Result<Cosignature> {
    let witness: VerifierKey = row.get_ref("witness")?.as_str()?.parse().map_err(FromSqlError::other)?;
    let signature = row.get("signature")?;
    Ok(Cosignature { size: row.get::<_, Count>("size")?.0, witness, signature })
}

/// The stored checkpoint of that size, as it was signed; the newest one too.
pub(super) fn checkpoint_of(connection: &Connection, size: u64) -> Result<Option<String>> {
    let mut statement = connection.prepare_cached(
        "SELECT note FROM checkpoints WHERE size = ?1 UNION ALL SELECT checkpoint FROM tree WHERE size = ?1 LIMIT 1",
    )?;
    Ok(statement.query_row([Count(size)], |row| row.get(0)).optional()?)
}

#[cfg(test)]
mod tests;
