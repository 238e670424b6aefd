//! zip (APPNOTE.TXT 6.3.10) with one file in it, read from its first byte to its last.
//!
//! Most readers begin at the end and trust the table of contents there; a stream has to begin with the members. Both ways
//! must give the same, so everything that is said twice has to agree, and nothing may stand before, between or after:
//! no comment on the archive (a second end could hide in it), no self-extracting head.
//!
//! Besides the one file there may be directories, and what the Finder of macOS adds by itself: AppleDouble files below
//! `__MACOSX/` and `.DS_Store`. Those are taken for what their first bytes say they are, at most a MiB, and not looked at.
//! Called by `unpack`.

mod records;

use records::{Central, End, End64, Local, Locator, Signature};

use super::inflate::Content;
use super::{AGAIN, Damaged, Meter, Out};

/// Members, directories included. Each is kept until the end, with a name of at most [`records::NAME`] bytes.
const MEMBERS: usize = 100;

/// Bytes of all that the Finder adds.
const FINDER: u64 = 1 << 20;

#[derive(Default)]
pub(super) struct Zip {
    state: State,
    /// The record or descriptor under way.
    record: Vec<u8>,
    content: Content,
    /// In the order of the file.
    members: Vec<Member>,
    directory: Directory,
    /// Bytes of what the Finder added.
    finder: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Before a local header, or the table of contents.
    #[default]
    Members,
    /// Bytes left.
    Stored(u64),
    /// Bytes left, when the local header states them.
    Deflated(Option<u64>),
    Descriptor,
    Directory,
    AfterEnd64,
    AfterLocator,
    End,
}

/// What came of one member, to be compared with the table of contents.
struct Member {
    local: Local,
    role: Role,
    offset: u64,
    packed: u64,
    /// Its first bytes; only of what the Finder adds.
    begins: Vec<u8>,
    listed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Table,
    Directory,
    AppleDouble,
    DsStore,
}

/// The table of contents, as it came.
#[derive(Default)]
struct Directory {
    offset: u64,
    size: u64,
    entries: u64,
    /// Where the ZIP64 end record began.
    end64: Option<u64>,
}

impl Zip {
    pub(super) fn push(&mut self, bytes: &[u8], meter: &mut Meter, out: Out<'_>) -> Result<(), Damaged> {
        let mut rest = bytes;
        while !rest.is_empty() && !meter.stopped {
            let used = match self.state {
                State::Stored(_) | State::Deflated(_) => self.content(rest, meter, &mut *out)?,
                State::End => return Err(Damaged::trailing()),
                _ => {
                    let used = rest.len().min(self.needed(self.record.len())?.saturating_sub(self.record.len()));
                    self.record.extend_from_slice(&rest[..used]);
                    meter.taken += used as u64;
                    used
                }
            };
            rest = &rest[used..];
            if !meter.stopped {
                self.complete(meter)?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(&self) -> Result<(), Damaged> {
        if self.state == State::End { Ok(()) } else { Err(Damaged::truncated()) }
    }

    /// Bytes of the record under way, as far as its first `have` bytes tell.
    fn needed(&self, have: usize) -> Result<usize, Damaged> {
        if have < 4 {
            return Ok(4);
        }
        if self.state == State::Descriptor {
            return Ok(records::descriptor_length(&self.record, self.wide_descriptor()));
        }
        Signature::of(&self.record)?.length(&self.record)
    }

    /// Does all that needs no further byte.
    fn complete(&mut self, meter: &Meter) -> Result<(), Damaged> {
        if matches!(self.state, State::Stored(0)) {
            self.member_ends()?;
        }
        if matches!(self.state, State::Stored(_) | State::Deflated(_) | State::End) {
            return Ok(());
        }
        if self.record.len() >= 4 && self.record.len() == self.needed(self.record.len())? {
            let record = std::mem::take(&mut self.record);
            let offset = meter.taken - record.len() as u64;
            self.take(&record, offset, meter)?;
        }
        Ok(())
    }

    /// Takes a whole record that began at `offset`.
    fn take(&mut self, record: &[u8], offset: u64, meter: &Meter) -> Result<(), Damaged> {
        if self.state == State::Descriptor {
            return self.descriptor(record);
        }
        match (Signature::of(record)?, self.state) {
            (Signature::Local, State::Members) => self.member_begins(Local::read(record)?, offset, meter),
            (Signature::Central, State::Members) => {
                self.one_table()?;
                self.directory.offset = offset;
                self.state = State::Directory;
                self.listed(&Central::read(record)?, record.len())
            }
            (Signature::Central, State::Directory) => self.listed(&Central::read(record)?, record.len()),
            (Signature::End64, State::Directory) => {
                self.directory.end64 = Some(offset);
                self.state = State::AfterEnd64;
                self.agrees(End64::read(record)?.states(
                    self.directory.entries,
                    self.directory.size,
                    self.directory.offset,
                ))
            }
            (Signature::Locator, State::AfterEnd64) => {
                self.state = State::AfterLocator;
                self.agrees(Some(Locator::read(record)?.offset) == self.directory.end64)
            }
            (Signature::End, State::Members) => self.one_table(),
            (Signature::End, State::Directory | State::AfterLocator) => {
                let end = End::read(record)?;
                self.state = State::End;
                let wide = self.directory.end64.is_some();
                let states = end.states(wide, self.directory.entries, self.directory.size, self.directory.offset);
                self.agrees(states && self.members.iter().all(|member| member.listed))
            }
            _ => Err(Damaged::structure("its parts are not in their order")),
        }
    }

    fn agrees(&self, agrees: bool) -> Result<(), Damaged> {
        if agrees { Ok(()) } else { Err(Damaged::structure("its table of contents does not agree with what is in it")) }
    }

    fn one_table(&self) -> Result<(), Damaged> {
        if self.members.iter().any(|member| member.role == Role::Table) {
            return Ok(());
        }
        Err(Damaged::new("members", "the ZIP archive has no file in it: put the one table in it, and send it again"))
    }

    fn member_begins(&mut self, local: Local, offset: u64, meter: &Meter) -> Result<(), Damaged> {
        let role = role(&local.name);
        let tables = self.members.iter().filter(|member| member.role == Role::Table).count();
        if role == Role::Table && tables > 0 || self.members.len() >= MEMBERS {
            return Err(Damaged::new(
                "members",
                "the ZIP archive has more than one file in it, this dataset takes one table: send each file by itself",
            ));
        }
        if !local.streamed && meter.given.saturating_add(local.size) > meter.limits.size {
            return Err(meter.too_large());
        }
        self.state = match (local.deflated, local.streamed) {
            (false, _) => State::Stored(local.packed),
            (true, false) => State::Deflated(Some(local.packed)),
            (true, true) => State::Deflated(None),
        };
        self.content.reset();
        self.members.push(Member { local, role, offset, packed: 0, begins: Vec::new(), listed: false });
        if self.state == State::Stored(0) { self.member_ends() } else { Ok(()) }
    }

    /// Content of the member under way: how many bytes were used.
    fn content(&mut self, bytes: &[u8], meter: &mut Meter, out: Out<'_>) -> Result<usize, Damaged> {
        let Some(member) = self.members.last_mut() else { return Err(Damaged::structure("content without a header")) };
        let left = match self.state {
            State::Stored(left) | State::Deflated(Some(left)) => left,
            _ => u64::MAX,
        };
        let bytes = &bytes[..bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        let before = self.content.size();
        let begins = &mut member.begins;
        let mut keep = |piece: &[u8]| {
            begins.extend(piece.iter().take(4 - begins.len().min(4)));
            true
        };
        let out: Out<'_> = if member.role == Role::Table { out } else { &mut keep };
        let (used, ended) = match self.state {
            State::Stored(_) => (self.content.stored(bytes, meter, out).map(|()| bytes.len())?, false),
            _ => {
                let taken = self.content.inflate(bytes, meter, out)?;
                (taken.bytes, taken.ended)
            }
        };
        member.packed += used as u64;
        if meter.stopped {
            return Ok(used);
        }
        let grown = self.content.size() - before;
        match member.role {
            Role::Table => {}
            Role::Directory if grown > 0 => return Err(Damaged::structure("a directory in it has content")),
            _ => self.finder += grown,
        }
        if self.finder > FINDER {
            return Err(Damaged::new(
                "members",
                format!(
                    "the ZIP archive has too much in it besides the table (data of the macOS Finder); {AGAIN} without it"
                ),
            ));
        }
        let left = left - used as u64;
        self.state = match self.state {
            State::Stored(_) => State::Stored(left),
            State::Deflated(Some(_)) if !ended && left == 0 => {
                return Err(Damaged::structure("its content is longer than it states"));
            }
            State::Deflated(Some(_)) if ended && left > 0 => {
                return Err(Damaged::structure("its content is shorter than it states"));
            }
            State::Deflated(_) if ended => return self.member_ends().map(|()| used),
            State::Deflated(Some(_)) => State::Deflated(Some(left)),
            state => state,
        };
        Ok(used)
    }

    fn member_ends(&mut self) -> Result<(), Damaged> {
        let Some(member) = self.members.last_mut() else { return Err(Damaged::structure("content without a header")) };
        let finder = match member.role {
            Role::AppleDouble => member.begins == [0, 5, 0x16, 7],
            Role::DsStore => member.begins == [0, 0, 0, 1],
            Role::Table | Role::Directory => true,
        };
        if !finder {
            return Err(Damaged::new(
                "members",
                "the ZIP archive has more than one file in it: one has a name as the macOS Finder gives, but is something else",
            ));
        }
        if !member.local.streamed {
            self.state = State::Members;
            return self.stated(|local| (local.crc, local.packed, local.size));
        }
        self.state = State::Descriptor;
        // The header may state what is known when it is written, and otherwise has zeros.
        let Some(Member { local, packed, .. }) = self.members.last() else { return Ok(()) };
        let known = |stated: u64, actual: u64| stated == 0 || stated == actual;
        let crc = u64::from(self.content.crc());
        if !known(local.packed, *packed) || !known(local.size, self.content.size()) || !known(local.crc.into(), crc) {
            return Err(Damaged::structure("the header of its file states another size or checksum"));
        }
        Ok(())
    }

    /// Compares what a record states (CRC-32, packed size, size) with what came.
    fn stated(&self, of: impl FnOnce(&Local) -> (u32, u64, u64)) -> Result<(), Damaged> {
        let Some(Member { local, packed, .. }) = self.members.last() else { return Ok(()) };
        let (stated_crc, stated_packed, size) = of(local);
        if stated_packed != *packed || size != self.content.size() {
            return Err(Damaged::structure("its content does not have the size that is stated"));
        }
        if stated_crc != self.content.crc() { Err(Damaged::checksum()) } else { Ok(()) }
    }

    /// APPNOTE 4.3.9.2: eight bytes for each size when the local header has the ZIP64 field; writers that did not expect
    /// so much data leave it out.
    fn wide_descriptor(&self) -> bool {
        let long = |size: u64| size > u64::from(u32::MAX);
        self.members.last().is_some_and(|member| member.local.wide || long(member.packed) || long(self.content.size()))
    }

    fn descriptor(&mut self, record: &[u8]) -> Result<(), Damaged> {
        let stated = records::descriptor(record, self.wide_descriptor())?;
        self.state = State::Members;
        self.stated(|_| stated)?;
        // From here on the local header counts as if it had known.
        let (crc, packed, size) = stated;
        if let Some(member) = self.members.last_mut() {
            member.local = Local { crc, packed, size, ..std::mem::take(&mut member.local) };
        }
        Ok(())
    }

    /// An entry of the table of contents.
    fn listed(&mut self, entry: &Central, length: usize) -> Result<(), Damaged> {
        self.directory.entries += 1;
        self.directory.size += length as u64;
        let member = self.members.iter_mut().find(|member| !member.listed && member.offset == entry.offset);
        let Some(member) = member else { return self.agrees(false) };
        member.listed = true;
        let same = entry.agrees(&member.local);
        self.agrees(same)
    }
}

/// What a member is, by its name; the bytes of what the Finder adds are looked at too.
fn role(name: &[u8]) -> Role {
    let base = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    match base {
        b"" => Role::Directory,
        b".DS_Store" => Role::DsStore,
        base if name.starts_with(b"__MACOSX/") && base.starts_with(b"._") => Role::AppleDouble,
        _ => Role::Table,
    }
}
