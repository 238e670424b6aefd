//! Primary key, unique keys and fields, foreign keys: sets of keys in bounded memory.
//!
//! A key is kept as 96 bits of a keyed hash and the row where it first stood, never as its text. The hash's key is random
//! for each upload, so that nobody can make keys collide; that two different keys of one upload are taken for one has a
//! chance of less than 1 in 10^12 at 10^8 rows. Keys are looked up a few dozen at a time, since memory answers many
//! questions at once in the time of one: what is found comes that many rows late. Must never say what a key is, only
//! where it stood. Called by `table`.

mod held;

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};

use siphasher::sip128::SipHasher13;

use super::report::{At, Collector, ErrorType};
use super::row::Row;
use super::schema::{Schema, Value};
use super::{Fault, bytes_in_words};
use held::{Hash, Held, Room};

/// The members of a code list.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Codes {
    pub rows: BTreeSet<Vec<String>>,
}

/// How many they are: a list may have a million.
impl std::fmt::Debug for Codes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codes").field("rows", &self.rows.len()).finish()
    }
}

/// All keys of one upload.
pub struct Keys {
    sets: Vec<Set>,
    lists: Vec<List>,
    room: Room,
    hashes: Hashes,
    /// Reused for each key.
    bytes: Vec<u8>,
    /// Rows that were looked at.
    rows: u64,
}

/// One key of the schema and what was seen of it.
struct Set {
    role: Role,
    /// Indices of the schema's fields.
    fields: Vec<usize>,
    /// The fields' names, joined with `+`.
    name: String,
    seen: Held,
    /// Keys that are still to be looked up, at most [`AT_ONCE`].
    waiting: Vec<Waiting>,
}

struct Waiting {
    hash: Hash,
    row: u64,
    column: Option<u64>,
}

/// Keys that are looked up together.
const AT_ONCE: usize = 32;

#[derive(Clone)]
enum Role {
    /// By part: whether a missing value is for this module to report; the field's own `required` says it otherwise.
    Primary {
        wanted: Vec<bool>,
    },
    Unique,
    UniqueKey,
}

/// One foreign key with the code list that it points to.
struct List {
    fields: Vec<usize>,
    name: String,
    resource: String,
    /// None when there was no memory for all of them: then nothing can be said of any row.
    members: Option<Held>,
}

/// A key of a schema by itself; what [`Keys`] is made from.
struct KeySpec {
    role: Role,
    fields: Vec<usize>,
    name: String,
}

impl Keys {
    /// `most`: bytes that all sets together may take.
    pub fn begin(schema: &Schema, most: usize) -> Self {
        let mut keys = Self::of(specs(schema), most);
        for key in &schema.foreign_keys {
            let name = joined(schema, &key.fields);
            keys.look_up_in(key.fields.clone(), name, &key.resource, &key.codes);
        }
        keys
    }

    fn of(specs: Vec<KeySpec>, most: usize) -> Self {
        let set = |KeySpec { role, fields, name }| Set {
            role,
            fields,
            name,
            seen: Held::default(),
            waiting: Vec::with_capacity(AT_ONCE),
        };
        Self {
            sets: specs.into_iter().map(set).collect(),
            lists: Vec::new(),
            room: Room::new(most),
            hashes: Hashes::default(),
            bytes: Vec::new(),
            rows: 0,
        }
    }

    /// Code lists are the operator's, and as large as they are: they do not count towards the upload's bound.
    fn look_up_in(&mut self, fields: Vec<usize>, name: String, resource: &str, codes: &Codes) {
        let mut members = Held::default();
        let mut room = Room::new(usize::MAX);
        let all = codes.rows.iter().all(|row| {
            self.bytes.clear();
            row.iter().for_each(|cell| text_part(cell, &mut self.bytes));
            members.enter(self.hashes.of(&self.bytes), 1, &mut room).is_ok()
        });
        self.lists.push(List { fields, name, resource: resource.to_owned(), members: all.then_some(members) });
    }

    /// Indices of the schema's fields whose cells and values [`Keys::row`] looks at.
    pub fn fields(&self) -> impl Iterator<Item = usize> {
        let sets = self.sets.iter().flat_map(|set| &set.fields);
        sets.chain(self.lists.iter().flat_map(|list| &list.fields)).copied()
    }

    /// Looks the row's keys up, soon, and adds them. A part of the primary key that is missing is an error too.
    ///
    /// # Errors
    /// The bound is reached: final.
    pub fn row(&mut self, schema: &Schema, row: &Row<'_>, out: &mut Collector) -> Result<(), Fault> {
        let name = |field: usize| schema.fields.get(field).map_or("", |field| field.name.as_str());
        self.judge(&name, row, out, Value::canonical)
    }

    /// The end of the rows: looks up what still waits.
    ///
    /// # Errors
    /// As [`Keys::row`].
    pub fn finish(mut self, out: &mut Collector) -> Result<(), Fault> {
        for set in &mut self.sets {
            if let Err(held::Full) = set.look_up(&mut self.room, out) {
                return Err(full(self.rows, &self.room, out));
            }
        }
        Ok(())
    }

    fn judge<'n>(
        &mut self,
        name: &dyn Fn(usize) -> &'n str,
        row: &Row<'_>,
        out: &mut Collector,
        canonical: impl Fn(Value, &str, &mut Vec<u8>),
    ) -> Result<(), Fault> {
        self.rows += 1;
        for set in &mut self.sets {
            if !set.whole(self.rows, name, row, out) {
                continue;
            }
            self.bytes.clear();
            for field in &set.fields {
                canonical(row.value(*field), row.cell(*field), &mut self.bytes);
            }
            let column = set.fields.iter().find_map(|field| row.column(*field));
            set.waiting.push(Waiting { hash: self.hashes.of(&self.bytes), row: row.number, column });
            if set.waiting.len() < AT_ONCE {
                continue;
            }
            if let Err(held::Full) = set.look_up(&mut self.room, out) {
                return Err(full(self.rows, &self.room, out));
            }
        }
        for list in &self.lists {
            self.bytes.clear();
            let judged = |field: &usize| !matches!(row.value(*field), Value::Missing | Value::Wrong);
            if !list.fields.iter().all(judged) {
                continue;
            }
            list.fields.iter().for_each(|field| text_part(row.cell(*field), &mut self.bytes));
            match &list.members {
                Some(members) if members.contains(self.hashes.of(&self.bytes)) => {}
                Some(_) => list.unknown(row, out),
                None => return Err(list.unread(out)),
            }
        }
        Ok(())
    }
}

/// A set for each key of the schema. A key over the same fields as one before says nothing more, and has none: one fault
/// is one error.
fn specs(schema: &Schema) -> Vec<KeySpec> {
    let mut specs: Vec<KeySpec> = Vec::new();
    let mut add = |role: Role, fields: Vec<usize>| {
        let sorted = |fields: &[usize]| fields.iter().copied().collect::<BTreeSet<_>>();
        if !fields.is_empty() && !specs.iter().any(|spec| sorted(&spec.fields) == sorted(&fields)) {
            let name = joined(schema, &fields);
            specs.push(KeySpec { role, fields, name });
        }
    };
    let required = |field: &usize| schema.fields.get(*field).is_some_and(|field| field.required);
    let wanted = schema.primary_key.iter().map(|field| !required(field)).collect();
    add(Role::Primary { wanted }, schema.primary_key.clone());
    for (index, _) in schema.fields.iter().enumerate().filter(|(_, field)| field.unique) {
        add(Role::Unique, vec![index]);
    }
    schema.unique_keys.iter().for_each(|fields| add(Role::UniqueKey, fields.clone()));
    specs
}

fn joined(schema: &Schema, fields: &[usize]) -> String {
    let names: Vec<&str> =
        fields.iter().filter_map(|field| schema.fields.get(*field)).map(|f| f.name.as_str()).collect();
    names.join("+")
}

impl Set {
    /// Whether all parts are there and are what their types want; says which parts of a primary key are missing.
    fn whole<'n>(&self, rows: u64, name: &dyn Fn(usize) -> &'n str, row: &Row<'_>, out: &mut Collector) -> bool {
        let mut whole = true;
        for (part, field) in self.fields.iter().enumerate() {
            match row.value(*field) {
                Value::Wrong => whole = false,
                Value::Missing => {
                    whole = false;
                    if let Role::Primary { wanted } = &self.role {
                        let at = At { row: Some(row.number), field: Some(name(*field)), column: row.column(*field) };
                        match row.column(*field) {
                            Some(_) if !wanted[part] => {}
                            Some(_) => out.error(ErrorType::ConstraintError, "required", at, || {
                                "is missing, but is a part of the primary key".into()
                            }),
                            // The whole column is missing: once is enough.
                            None if rows > 1 => {}
                            None => out.error(ErrorType::PrimaryKey, "primaryKey", At { row: None, ..at }, || {
                                "is a part of the primary key, but the file has no such column".into()
                            }),
                        }
                    }
                }
                _ => {}
            }
        }
        whole
    }

    fn look_up(&mut self, room: &mut Room, out: &mut Collector) -> Result<(), held::Full> {
        let touched = self.waiting.iter().fold(0, |all, key| all ^ self.seen.touch(key.hash));
        std::hint::black_box(touched);
        let mut waiting = std::mem::take(&mut self.waiting);
        for key in waiting.drain(..) {
            let row = u32::try_from(key.row).unwrap_or(u32::MAX).max(1);
            if let Some(first) = self.seen.enter(key.hash, row, room)? {
                self.repeated(first, &key, out);
            }
        }
        self.waiting = waiting;
        Ok(())
    }

    fn repeated(&self, first: u32, key: &Waiting, out: &mut Collector) {
        let (kind, rule, what) = match (&self.role, self.fields.len()) {
            (Role::Primary { .. }, _) => (ErrorType::PrimaryKey, "primaryKey", "has the same primary key as"),
            (Role::Unique, _) => (ErrorType::UniqueError, "unique", "must be unique, but is the same as in"),
            (Role::UniqueKey, 1) => (ErrorType::UniqueError, "uniqueKeys", "must be unique, but is the same as in"),
            (Role::UniqueKey, _) => {
                (ErrorType::UniqueError, "uniqueKeys", "must be unique together, but are the same as in")
            }
        };
        let at = At { row: Some(key.row), field: Some(&self.name), column: key.column };
        out.error(kind, rule, at, || match first {
            u32::MAX => format!("{what} an earlier row"),
            first => format!("{what} row {first}"),
        });
    }
}

impl List {
    fn unknown(&self, row: &Row<'_>, out: &mut Collector) {
        let (fields, resource) = (&self.fields, &self.resource);
        let column = fields.iter().find_map(|field| row.column(*field));
        let at = At { row: Some(row.number), field: Some(&self.name), column };
        out.error(ErrorType::ForeignKey, "foreignKeys", at, || match fields.len() {
            1 => format!("is not in the code list {resource:?}"),
            _ => format!("are not together in one row of the code list {resource:?}"),
        });
    }

    fn unread(&self, out: &mut Collector) -> Fault {
        let fault =
            Fault(format!("there is no memory for the code list {:?}: send the file again later", self.resource));
        out.error(ErrorType::SourceError, "keys", At::default(), || fault.0.clone());
        fault
    }
}

fn full(rows: u64, room: &Room, out: &mut Collector) -> Fault {
    let fault = Fault(format!(
        "the keys of about {} rows fill the {} that this dataset keeps for them: split the file, or ask for a higher \
         limit ([limits] keys)",
        rows,
        bytes_in_words(room.most() as u64)
    ));
    out.error(ErrorType::SourceError, "keys", At::default(), || fault.0.clone());
    fault
}

/// A part of a key as text: its length first, so that it cannot run together with the next.
fn text_part(cell: &str, into: &mut Vec<u8>) {
    into.extend_from_slice(&(cell.len() as u64).to_le_bytes());
    into.extend_from_slice(cell.as_bytes());
}

/// SipHash-1-3 of 128 bits under a random key.
struct Hashes(SipHasher13);

impl Default for Hashes {
    fn default() -> Self {
        // What the standard library's hash makes of nothing, under a random key of its own, is random.
        let [low, high] = [RandomState::new(), RandomState::new()].map(|state| state.build_hasher().finish());
        Self(SipHasher13::new_with_keys(low, high))
    }
}

impl Hashes {
    fn of(&self, bytes: &[u8]) -> Hash {
        let hash = self.0.hash(bytes);
        // Half of the second is enough.
        Hash { low: hash.h1, high: hash.h2 as u32 }
    }
}

#[cfg(test)]
mod tests;
