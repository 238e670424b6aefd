//! Which private parts tell of an upload: those of its own events, of its companions', of its sessions', and those of others
//! that name its file.
//!
//! Reads alone. What names the file and stays, since another upload of that name does, is counted: nobody may be told that
//! nothing is left when something is. Called by `erase`.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::super::rows::{Count, Micros, all};
use super::super::{NotErased, Result, events};
use super::TELLING;
use crate::audit::Kind;
use crate::audit::leaf::ERASED;
use crate::types::*;

/// What goes, and what stays though it tells of the upload.
#[derive(Default)]
pub(super) struct Parts {
    /// Events whose private parts go, in order.
    pub sequences: Vec<u64>,
    /// Their salts and texts.
    pub needles: BTreeSet<Vec<u8>>,
    /// Whether one of them may have been longer than a page has room for.
    pub overflow: bool,
    /// Private parts that name the file and stay: those of `others`, and requests that may have meant one of them.
    pub named: u64,
    pub others: BTreeSet<String>,
    /// Private parts of its sessions that stay, since another upload of the session does.
    pub sessions: u64,
    names: BTreeSet<String>,
    /// Of its sessions, without an upload.
    staying: BTreeSet<u64>,
}

/// Place and name.
type Label = (String, String);

/// Uploads that brought a companion of this one's name. Which file one was for, when another of its kind has taken its
/// place since, is not recorded: all go but those that wait, or stand beside another upload.
const COMPANIONS: &str = "SELECT upload FROM companions WHERE used = ?1 UNION SELECT e.upload FROM uploads u
     JOIN events e ON e.kind = 'companion.received' AND +e.org = u.org AND +e.dataset = u.dataset
     JOIN details d ON d.sequence = e.sequence
     WHERE u.id = ?1 AND u.erased IS NULL AND e.upload IS NOT NULL
       AND d.body ->> '$.detail.about' = u.name AND d.body ->> '$.detail.place' = u.place
       AND NOT EXISTS (SELECT 1 FROM companions c WHERE c.upload = e.upload AND c.used IS NOT ?1)";

/// The upload's own events that still have a private part, but for tombstones.
const OWN: &str = "SELECT e.sequence, e.kind, d.salt, d.body FROM events e JOIN details d ON d.sequence = e.sequence
     WHERE e.upload = ? AND +e.kind <> 'upload.erased'";

/// Whether a text of that size may have gone on in an overflow page: a page of 4 KiB has room for 4,061 bytes of a row, of
/// which the other columns take less than the rest.
pub(super) fn has_overflow(bytes: usize) -> bool {
    bytes > 3000
}

/// The upload, and those that brought its companions.
fn with_companions(connection: &Connection, upload: &str) -> Result<Vec<String>> {
    let mut companions = connection.prepare_cached(COMPANIONS)?;
    let mut uploads = all(&mut companions, [upload], |row| row.get::<_, String>(0))?;
    uploads.insert(0, upload.to_owned());
    Ok(uploads)
}

impl Parts {
    /// `label` is what the upload's row has; its events have those that it had before.
    pub fn of(connection: &Connection, upload: &str, org: Option<&OrgId>, label: Option<Label>) -> Result<Self> {
        let mut parts = Self::default();
        let uploads = with_companions(connection, upload)?;
        let mut found = BTreeSet::new();
        let mut sessions = BTreeSet::new();
        let mut labels: BTreeSet<Label> = label.into_iter().collect();
        for upload in &uploads {
            let mut statement = connection.prepare_cached(OWN)?;
            let mut rows = statement.query([upload])?;
            while let Some(row) = rows.next()? {
                let (kind, body): (String, String) = (row.get("kind")?, row.get("body")?);
                let read: Value = serde_json::from_str(&body).unwrap_or_default();
                if kind == Kind::ObjectRemoved.as_str() && read["detail"]["reason"] == ERASED {
                    // An earlier erasure's own.
                    continue;
                }
                found.insert(row.get::<_, Count>("sequence")?.0);
                parts.remember(row.get("salt")?, &body, &read);
                labels.extend(labels_of(&read["detail"]));
                sessions.extend(session_of_sender(&kind, &read));
            }
        }
        for session in &sessions {
            parts.session(connection, session, &uploads, &mut found)?;
        }
        parts.names = labels.iter().map(|(_, name)| name.clone()).collect();
        if let Some(org) = org.filter(|_| !labels.is_empty()) {
            parts.naming(connection, org, &labels, &uploads, &mut found)?;
        }
        parts.sessions = parts.staying.difference(&found).count() as u64;
        parts.sequences = found.into_iter().collect();
        Ok(parts)
    }

    /// Whether a text names the file.
    pub fn is_told_by(&self, text: &str) -> bool {
        self.names.iter().any(|name| names(text, name))
    }

    /// Events of a session without an upload; none when the session sent another upload, which stays.
    fn session(
        &mut self,
        connection: &Connection,
        session: &str,
        uploads: &[String],
        found: &mut BTreeSet<u64>,
    ) -> Result<()> {
        let first = first_of(connection, session)?;
        let mut statement = connection.prepare_cached(
            "SELECT d.sequence, d.salt, d.body, e.upload FROM details d JOIN events e ON e.sequence = d.sequence
             WHERE d.sequence >= ? AND instr(d.body, ?) > 0",
        )?;
        let mut rows = statement.query(params![first, session])?;
        let mut own = Vec::new();
        let mut stays = false;
        while let Some(row) = rows.next()? {
            let (salt, body): ([u8; 32], String) = (row.get("salt")?, row.get("body")?);
            let read: Value = serde_json::from_str(&body).unwrap_or_default();
            if read["actor"]["session"].as_str() != Some(session) {
                continue;
            }
            match row.get::<_, Option<String>>("upload")? {
                Some(upload) => stays |= !uploads.contains(&upload),
                None => own.push((row.get::<_, Count>("sequence")?.0, salt, body, read)),
            }
        }
        if stays {
            self.staying.extend(own.iter().map(|(sequence, ..)| sequence));
            return Ok(());
        }
        for (sequence, salt, body, read) in own {
            found.insert(sequence);
            self.remember(salt, &body, &read);
        }
        Ok(())
    }

    /// What other events of the organisation say of the file's name. Those of no upload (refused requests) go, unless
    /// another upload of that name and place stays: they may have meant that one.
    fn naming(
        &mut self,
        connection: &Connection,
        org: &OrgId,
        labels: &BTreeSet<Label>,
        uploads: &[String],
        found: &mut BTreeSet<u64>,
    ) -> Result<()> {
        let quoted: Vec<String> =
            self.names.iter().flat_map(|name| spellings(name)).map(|name| in_json(&name)).collect();
        // All of them, one after the other: looking up the organisation of each would take longer, and everybody waits.
        let mut statement = connection.prepare_cached("SELECT sequence, salt, body FROM details")?;
        let mut event = connection.prepare_cached("SELECT upload FROM events WHERE sequence = ? AND org = ?")?;
        let mut rows = statement.query([])?;
        let mut requests = Vec::new();
        // Where there are others of a name.
        let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let (sequence, body) =
                (row.get::<_, Count>("sequence")?.0, row.get_ref("body")?.as_str().unwrap_or_default());
            if found.contains(&sequence) || !quoted.iter().any(|name| body.contains(name.as_str())) {
                continue;
            }
            let read: Value = serde_json::from_str(body).unwrap_or_default();
            let named: Vec<&String> = self.names.iter().filter(|name| tells_of(&read["detail"], name)).collect();
            if named.is_empty() {
                continue;
            }
            let of_org = event.query_row(params![Count(sequence), org.as_str()], |row| row.get::<_, Option<String>>(0));
            let Some(upload) = of_org.optional()? else { continue };
            match upload {
                Some(upload) => {
                    // A tombstone says nothing of the file, unless somebody named it as the reason.
                    self.named += 1;
                    for (place, name) in labels_of(&read["detail"]) {
                        places.entry(name).or_default().insert(place);
                    }
                    if !uploads.contains(&upload) {
                        self.others.insert(upload);
                    }
                }
                None => {
                    let named: Vec<String> = named.into_iter().cloned().collect();
                    requests.push((sequence, row.get::<_, [u8; 32]>("salt")?, body.to_owned(), read, named));
                }
            }
        }
        for (sequence, salt, body, read, named) in requests {
            let place = place_of(&read["detail"]);
            let is_free = |name: &String| match (places.get(name), &place) {
                (None, _) => true,
                (Some(places), Some(place)) => {
                    !places.contains(place) && labels.contains(&(place.clone(), name.clone()))
                }
                (Some(_), None) => false,
            };
            // A receipt's name has the id of its upload.
            let of_other = self.others.iter().any(|other| body.contains(other.as_str()));
            let of_this = uploads.iter().any(|upload| body.contains(upload.as_str()));
            if of_this || (!of_other && named.iter().all(is_free)) {
                found.insert(sequence);
                self.remember(salt, &body, &read);
            } else {
                self.named += 1;
            }
        }
        Ok(())
    }

    /// Adds a private part's salt and all its texts to the needles.
    fn remember(&mut self, salt: [u8; 32], body: &str, read: &Value) {
        self.needles.insert(salt.to_vec());
        self.overflow |= has_overflow(body.len());
        texts(read, &mut self.needles);
    }
}

/// The number from which on a session's events are.
fn first_of(connection: &Connection, session: &str) -> Result<Count> {
    // Ids tell their time: nothing of the session is older, but for a clock that was set meanwhile.
    let begun = session.parse::<SessionId>().ok().and_then(|session| session.time());
    let since = begun.and_then(|begun| begun.checked_sub(std::time::Duration::from_secs(3600)).ok());
    let Some(since) = since else { return Ok(Count(0)) };
    let mut statement = connection.prepare_cached(events::FIRST_SINCE)?;
    Ok(statement.query_row([Micros(since)], |row| row.get::<_, Option<Count>>(0))?.unwrap_or(Count(0)))
}

/// The session of who sent the upload: a loader's session is about what it takes.
fn session_of_sender(kind: &str, body: &Value) -> Option<String> {
    let of_sender = ["upload.", "draft.", "companion."].iter().any(|sender| kind.starts_with(sender));
    body["actor"]["session"].as_str().filter(|_| of_sender).map(str::to_owned)
}

/// A session of who sent the upload that has not ended, and may go on: its end would bring back who that was. One from
/// before the daemon's latest start was lost with that daemon.
pub(super) fn open_session(connection: &Connection, upload: &str) -> Result<Option<NotErased>> {
    let started = "SELECT coalesce(max(sequence), 0) FROM events WHERE kind = 'daemon.started'";
    let started = connection.prepare_cached(started)?.query_row([], |row| row.get::<_, Count>(0))?.0;
    for upload in with_companions(connection, upload)? {
        let open = open_session_of(connection, &upload, started)?;
        if open.is_some() {
            return Ok(open);
        }
    }
    Ok(None)
}

fn open_session_of(connection: &Connection, upload: &str, started: u64) -> Result<Option<NotErased>> {
    let mut statement = connection.prepare_cached(OWN)?;
    let mut rows = statement.query([upload])?;
    while let Some(row) = rows.next()? {
        let (sequence, kind) = (row.get::<_, Count>("sequence")?, row.get::<_, String>("kind")?);
        let body: Value = serde_json::from_str(row.get_ref("body")?.as_str().unwrap_or_default()).unwrap_or_default();
        let Some(session) = session_of_sender(&kind, &body).filter(|_| sequence.0 > started) else { continue };
        let account = body["actor"]["account"].as_str().unwrap_or_default().to_owned();
        let mut ended = connection.prepare_cached(
            "SELECT 1 FROM details d JOIN events e ON e.sequence = d.sequence
             WHERE d.account = ? AND d.sequence >= ? AND +e.kind = 'session.ended' AND instr(d.body, ?) > 0",
        )?;
        // What a lost connection left is told of after the session's end.
        if !ended.exists(params![account, first_of(connection, &session)?, session])? {
            return Ok(Some(NotErased::OpenSession { account }));
        }
    }
    Ok(None)
}

/// Places and names that an event gives a file.
fn labels_of(detail: &Value) -> impl Iterator<Item = Label> {
    let label = |place: &str, name: &str| Some((detail[place].as_str()?.to_owned(), detail[name].as_str()?.to_owned()));
    [label("place", "name"), label("to_place", "to_name")].into_iter().flatten()
}

/// In which directory a request's file is, ending in `/`; none when it does not say.
fn place_of(detail: &Value) -> Option<String> {
    let path = detail["path"].as_str()?.trim_end_matches('/');
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let inner = directory.trim_start_matches("./").trim_matches(['/', '.']);
    Some(if inner.is_empty() { "/".into() } else { format!("/{inner}/") })
}

/// Whether one of the texts in a value names the file.
fn tells_of(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => names(text, name),
        Value::Array(list) => list.iter().any(|item| tells_of(item, name)),
        Value::Object(fields) => fields.values().any(|item| tells_of(item, name)),
        _ => false,
    }
}

/// Whether a text has the name, and not merely a longer one that it is a part of. What is added with a point (a working name,
/// a companion's or a receipt's) is of the file. A very short name is found in a path or in quotes alone.
fn names(text: &str, name: &str) -> bool {
    let is_end = |c: Option<char>| match c {
        None | Some('/' | '"') => true,
        Some(c) => name.len() >= TELLING && !c.is_alphanumeric() && c != '_' && c != '-',
    };
    spellings(name).any(|name| {
        text.match_indices(name.as_str())
            .any(|(at, _)| is_end(text[..at].chars().next_back()) && is_end(text[at + name.len()..].chars().next()))
    })
}

/// A name as it is, and as reasons quote it.
fn spellings(name: &str) -> impl Iterator<Item = String> {
    let quoted = format!("{name:?}");
    let inner = quoted[1..quoted.len() - 1].to_owned();
    let other = (inner != name).then_some(inner);
    [Some(name.to_owned()), other].into_iter().flatten()
}

/// A text as it stands inside of quotes in JSON.
fn in_json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Adds every text in a value, as it stands in JSON and as it is.
pub(super) fn texts(value: &Value, needles: &mut BTreeSet<Vec<u8>>) {
    match value {
        Value::String(text) => {
            needles.insert(text.clone().into_bytes());
            needles.insert(in_json(text).into_bytes());
        }
        Value::Array(list) => list.iter().for_each(|item| texts(item, needles)),
        Value::Object(fields) => fields.values().for_each(|item| texts(item, needles)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_is_found_where_it_stands_and_not_in_a_longer_one() {
        for text in [
            "/ims/a b.csv",
            "a b.csv",
            "\"a b.csv\" is taken",
            "sha256sum a b.csv",
            "/a b.csv.part",
            "x/a b.csv.0-1.json",
        ] {
            assert!(names(text, "a b.csv"), "{text}");
        }
        for text in ["/ba b.csv", "a b.csvx", "a b.csv_2", "-a b.csv", "a_b.csv"] {
            assert!(!names(text, "a b.csv"), "{text}");
        }
        assert!(names("/a", "a") && names("\"a\" is no dataset", "a"));
        assert!(!names("this is a file", "a") && !names("/b.a", "a"));
        assert!(names("\"a\\\"b.csv\" is taken", "a\"b.csv"), "as a reason quotes it");
    }

    #[test]
    fn a_request_is_of_the_directory_that_its_path_says() {
        for (path, place) in
            [("/a.csv", "/"), ("a.csv", "/"), ("./a.csv", "/"), ("/ims/a.csv", "/ims/"), ("ims/a.csv/", "/ims/")]
        {
            assert_eq!(place_of(&json!({ "path": path })).unwrap(), place, "{path}");
        }
        assert_eq!(place_of(&json!({ "asked": "sha256sum a.csv" })), None);
    }
}
