-- The ledger, version 2. Times are microseconds since the Unix epoch, ids hyphenated UUIDs, lists JSON arrays.
-- What a row of `uploads` or `events` says is a fact: triggers hold it fast against every process that opens the file, but
-- for what an erasure takes: the private part of a fact.

-- Every upload that came to an end, accepted or rejected, in the order of recording.
CREATE TABLE uploads (
    number      INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    verdict     TEXT NOT NULL CHECK (verdict IN ('accepted', 'rejected')),
    gateway     TEXT NOT NULL,
    org         TEXT NOT NULL,
    dataset     TEXT NOT NULL,
    place       TEXT NOT NULL,
    name        TEXT NOT NULL,
    size        INTEGER NOT NULL CHECK (size >= 0),
    sha256      TEXT NOT NULL,
    sealed_size INTEGER NOT NULL CHECK (sealed_size >= 0),
    time        INTEGER NOT NULL,
    account     TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    supersedes  TEXT REFERENCES uploads (id),
    reasons     TEXT NOT NULL,
    report      TEXT NOT NULL,
    scan        TEXT,
    -- A rejected upload whose sealed bytes were kept.
    quarantined INTEGER NOT NULL CHECK (quarantined IN (0, 1)),
    -- Lines of record numbers: what /queue/<delivery>/restricted.txt holds.
    restricted  TEXT,
    -- In hex, where the dataset takes .md5 companions (one may come after its file), or the organisation's clients compare
    -- by it.
    md5         TEXT,
    sha1        TEXT,
    -- When what is private of it was erased.
    erased      INTEGER,
    CHECK (quarantined = 0 OR verdict = 'rejected')
) STRICT;
-- Receipts of an organisation by id; `time` is in it so that those too old are passed over in the index alone.
CREATE INDEX uploads_of_org ON uploads (org, id, time);
CREATE INDEX uploads_by_time ON uploads (time);
-- An organisation's last accepted upload of a dataset; the same bytes once more.
CREATE INDEX uploads_accepted ON uploads (org, dataset, number) WHERE verdict = 'accepted';
CREATE INDEX uploads_by_content ON uploads (org, dataset, sha256, number) WHERE verdict = 'accepted';
-- What operators look at: few among many.
CREATE INDEX uploads_quarantined ON uploads (number) WHERE quarantined = 1;

CREATE TRIGGER uploads_keep BEFORE DELETE ON uploads
BEGIN SELECT RAISE(ABORT, 'uploads are never deleted'); END;
CREATE TRIGGER uploads_hold BEFORE UPDATE ON uploads
WHEN NOT (OLD.erased IS NULL AND NEW.erased IS NOT NULL
    AND NEW.place = 'erased' AND NEW.name = 'erased' AND NEW.account = 'erased' AND NEW.fingerprint = 'erased'
    AND NEW.reasons = '[]' AND NEW.scan IS NULL AND NEW.restricted IS NULL AND NEW.md5 IS NULL
    AND NEW.sha1 IS NULL
    AND (NEW.report -> '$.groups', NEW.report -> '$.first', NEW.report -> '$.flags') = ('[]', '[]', '[]')
    AND (NEW.number, NEW.id, NEW.verdict, NEW.gateway, NEW.org, NEW.dataset, NEW.size, NEW.sha256, NEW.sealed_size,
         NEW.time, NEW.quarantined)
      = (OLD.number, OLD.id, OLD.verdict, OLD.gateway, OLD.org, OLD.dataset, OLD.size, OLD.sha256, OLD.sealed_size,
         OLD.time, OLD.quarantined)
    AND NEW.supersedes IS OLD.supersedes)
BEGIN SELECT RAISE(ABORT, 'what was recorded of an upload never changes'); END;
-- INSERT OR REPLACE would delete without asking the trigger above.
CREATE TRIGGER uploads_once BEFORE INSERT ON uploads
WHEN EXISTS (SELECT 1 FROM uploads WHERE id = NEW.id OR number = NEW.number)
BEGIN SELECT RAISE(ABORT, 'an upload is recorded once'); END;

-- The sealed object of each accepted upload, and of each rejected one that was quarantined: in the vault until `removed`.
CREATE TABLE objects (
    upload      TEXT PRIMARY KEY REFERENCES uploads (id),
    org         TEXT NOT NULL,
    sealed_size INTEGER NOT NULL CHECK (sealed_size >= 0),
    removed     INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX objects_kept ON objects (org) WHERE removed IS NULL;

CREATE TRIGGER objects_keep BEFORE DELETE ON objects
BEGIN SELECT RAISE(ABORT, 'objects are marked as removed, never deleted'); END;
CREATE TRIGGER objects_hold BEFORE UPDATE ON objects
WHEN OLD.removed IS NOT NULL OR NEW.upload <> OLD.upload OR NEW.org <> OLD.org OR NEW.sealed_size <> OLD.sealed_size
BEGIN SELECT RAISE(ABORT, 'an object is removed once, and nothing else of it changes'); END;

-- What each organisation has in the vault: each upload asks for it, so it is not summed up anew each time.
CREATE TABLE stored (
    org   TEXT PRIMARY KEY,
    bytes INTEGER NOT NULL CHECK (bytes >= 0)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER objects_come AFTER INSERT ON objects WHEN NEW.removed IS NULL
BEGIN
    INSERT INTO stored (org, bytes) VALUES (NEW.org, NEW.sealed_size)
    ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER objects_go AFTER UPDATE OF removed ON objects WHEN OLD.removed IS NULL AND NEW.removed IS NOT NULL
BEGIN UPDATE stored SET bytes = bytes - OLD.sealed_size WHERE org = OLD.org; END;

-- The newest accepted upload of each name in a place: what a provider's directory lists. BINARY order is byte order.
CREATE TABLE names (
    org      TEXT NOT NULL,
    place    TEXT NOT NULL,
    name     TEXT NOT NULL,
    upload   TEXT NOT NULL REFERENCES uploads (id),
    accepted INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    PRIMARY KEY (org, place, name)
) STRICT, WITHOUT ROWID;

-- What companion files (NAME.sha256, NAME.md5, NAME.totals) said of the file NAME: the newest of each kind. `used` is the
-- accepted upload that it vouched for; one without waits for its file.
CREATE TABLE companions (
    org      TEXT NOT NULL,
    dataset  TEXT NOT NULL,
    place    TEXT NOT NULL,
    name     TEXT NOT NULL,
    kind     TEXT NOT NULL,
    upload   TEXT NOT NULL UNIQUE,
    content  TEXT NOT NULL,
    received INTEGER NOT NULL,
    used     TEXT REFERENCES uploads (id),
    PRIMARY KEY (org, dataset, place, name, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX companions_waiting ON companions (org, received) WHERE used IS NULL;

-- One queue entry for each accepted upload. `lease` stays after the acknowledgement: it says which lease did it.
CREATE TABLE deliveries (
    number        INTEGER PRIMARY KEY,
    id            TEXT NOT NULL UNIQUE,
    upload        TEXT NOT NULL UNIQUE REFERENCES uploads (id),
    org           TEXT NOT NULL,
    dataset       TEXT NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('ready', 'leased', 'loaded', 'dead')),
    attempt       INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    available     INTEGER NOT NULL,
    lease         TEXT,
    lease_expires INTEGER,
    holder        TEXT,
    last_reason   TEXT,
    loaded        INTEGER,
    CHECK ((lease IS NOT NULL) = (state IN ('leased', 'loaded'))),
    CHECK ((lease_expires IS NOT NULL) = (state = 'leased')),
    CHECK ((loaded IS NOT NULL) = (state = 'loaded')),
    CHECK (lease IS NULL OR holder IS NOT NULL)
) STRICT;
-- Partial, so that what was loaded long ago costs the queue nothing.
-- With what a claim asks for: passing over other organisations' entries reads no row.
CREATE INDEX deliveries_ready ON deliveries (number, available, org, dataset) WHERE state = 'ready';
CREATE INDEX deliveries_waiting ON deliveries (available) WHERE state = 'ready';
CREATE INDEX deliveries_leased ON deliveries (lease_expires) WHERE state = 'leased';
CREATE INDEX deliveries_open ON deliveries (id) WHERE state IN ('ready', 'leased');
CREATE INDEX deliveries_dead ON deliveries (number) WHERE state = 'dead';

CREATE TRIGGER deliveries_keep BEFORE DELETE ON deliveries
BEGIN SELECT RAISE(ABORT, 'deliveries are never deleted'); END;
CREATE TRIGGER deliveries_hold BEFORE UPDATE ON deliveries
WHEN OLD.state = 'loaded' OR NEW.id <> OLD.id OR NEW.number <> OLD.number OR NEW.upload <> OLD.upload
    OR NEW.org <> OLD.org OR NEW.dataset <> OLD.dataset
BEGIN SELECT RAISE(ABORT, 'a delivery is loaded once and stays that of its upload'); END;

-- The audit log. `leaf` is an event's public part as it stands in the tree for ever (audit/leaf.rs), `hash` the leaf's hash;
-- the other columns are copies of its fields, to search by.
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    org      TEXT,
    dataset  TEXT,
    upload   TEXT,
    delivery TEXT,
    leaf     TEXT NOT NULL,
    hash     BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
-- Each ends in the sequence, so that the newest of many come without sorting.
CREATE INDEX events_by_time ON events (at);
CREATE INDEX events_of_kind ON events (kind);
CREATE INDEX events_of_org ON events (org) WHERE org IS NOT NULL;
CREATE INDEX events_of_upload ON events (upload) WHERE upload IS NOT NULL;
CREATE INDEX events_of_delivery ON events (delivery, kind) WHERE delivery IS NOT NULL;

CREATE TRIGGER events_keep BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER events_hold BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER events_follow BEFORE INSERT ON events
WHEN NEW.sequence <> (SELECT coalesce(max(sequence), 0) + 1 FROM events)
BEGIN SELECT RAISE(ABORT, 'the audit log has no gaps'); END;

-- The private part of each event, until it is erased; `account` is a copy of a field of the body.
CREATE TABLE details (
    sequence INTEGER PRIMARY KEY,
    account  TEXT NOT NULL,
    salt     BLOB NOT NULL CHECK (length(salt) = 32),
    body     TEXT NOT NULL
) STRICT;
CREATE INDEX details_of_account ON details (account);

CREATE TRIGGER details_hold BEFORE UPDATE ON details
BEGIN SELECT RAISE(ABORT, 'a private part is erased, never changed'); END;
CREATE TRIGGER details_once BEFORE INSERT ON details
WHEN NEW.sequence <> (SELECT max(sequence) FROM events) OR EXISTS (SELECT 1 FROM details WHERE sequence = NEW.sequence)
BEGIN SELECT RAISE(ABORT, 'a private part comes with its event, once'); END;
-- The tombstone comes first: nothing goes without one.
CREATE TRIGGER details_keep BEFORE DELETE ON details
WHEN (SELECT kind FROM events ORDER BY sequence DESC LIMIT 1) IS NOT 'upload.erased'
BEGIN SELECT RAISE(ABORT, 'a private part goes by an erasure alone'); END;

-- Erasures whose copies in the file's free space were not sought out yet: one that was cut short is finished with the next,
-- or when the daemon starts.
CREATE TABLE scrubs (
    upload TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- The Merkle tree over the leaves (RFC 6962): how far it has come, and the newest checkpoint, signed. One row, rewritten
-- with each commit that brings events.
CREATE TABLE tree (
    only       INTEGER PRIMARY KEY CHECK (only = 1),
    size       INTEGER NOT NULL CHECK (size > 0),
    -- The roots of its complete subtrees, 32 bytes each, the largest first.
    frontier   BLOB NOT NULL,
    checkpoint TEXT NOT NULL
) STRICT;

-- The roots of complete subtrees of 256, 65,536, ... leaves (level 8, 16, ...), from which proofs are made.
CREATE TABLE nodes (
    level INTEGER NOT NULL,
    n     INTEGER NOT NULL,
    hash  BLOB NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (level, n)
) STRICT, WITHOUT ROWID;

-- Checkpoints that stay: those of commits that recorded the end of an upload or its loading, since proofs name them; the
-- first past each multiple of 256; and those that a witness cosigned.
CREATE TABLE checkpoints (
    size INTEGER PRIMARY KEY,
    note TEXT NOT NULL
) STRICT;
CREATE TABLE cosignatures (
    size      INTEGER NOT NULL REFERENCES checkpoints (size),
    -- Its verifier key.
    witness   TEXT NOT NULL,
    -- The line of the note.
    signature TEXT NOT NULL,
    PRIMARY KEY (size, witness)
) STRICT, WITHOUT ROWID;
-- The next one of a witness, and its newest.
CREATE INDEX cosignatures_of_witness ON cosignatures (witness, size);
