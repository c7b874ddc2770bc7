//! A disk that forgets what was not synced, and fails in every way that disks fail.
//!
//! One log directory in memory. What was *written* and what is *durable* are kept apart: bytes by sector, a
//! file's length, and the names in each directory. A process that is killed leaves everything written in
//! place; a power cut keeps any subset of what was not synced, each sector on its own, a torn one with
//! garbage where it was being written. Faults are armed by the owner and strike the operation that they name.
//!
//! The model assumes what file systems promise and no more: a rename is atomic, and a sector that is torn
//! keeps the bytes that no write touched since the last sync (SQLite calls it *powersafe overwrite*).
//! It does not model the order in which a real file system would keep names: every subset of the name changes
//! that were not synced may survive.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use varve_core::store::{Disk, DiskError, DiskFile};

use crate::draw::{Draw, Draws, Subsystem};

/// The unit that a power cut tears and that rots.
pub const SECTOR_SIZE: usize = 512;

/// Sectors are kept in pages, so that a large file costs what was touched of it.
const PAGE_SIZE: usize = 4096;
const SECTORS_PER_PAGE: usize = PAGE_SIZE / SECTOR_SIZE;

/// What can be wrong with one operation of a disk. An armed fault strikes the next operation of its kind on a
/// file whose path starts with its prefix, once, unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A sync of a file or directory fails. Its pages are marked clean: later syncs succeed and prove nothing.
    SyncFails,
    /// All syncs fail from now on.
    SyncsFail,
    /// A read fails.
    ReadFails,
    /// A write fails, a part of it done.
    WriteFails,
    /// One sector of a sync is reported done and was not written.
    LostWrite,
    /// One sector of a sync is written at another sector of the same file.
    MisdirectedWrite,
    /// A read returns what stood in a sector before its last sync.
    StaleRead,
    /// A read returns another sector of the same file in place of one of its own.
    MisdirectedRead,
}

/// How often each thing happened, for a run's summary and its probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounts {
    /// Syncs of files and directories that succeeded.
    pub syncs: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Sectors that a power cut lost.
    pub sectors_lost: u64,
    /// Sectors that a power cut tore.
    pub sectors_torn: u64,
    /// Name changes that a power cut lost.
    pub names_lost: u64,
    /// Faults that struck.
    pub faults_struck: u64,
    /// Sectors that were damaged: at rest, by rot or by a write that went elsewhere or nowhere, or in a read.
    pub sectors_damaged: u64,
    /// Writes refused for want of space.
    pub refused_full: u64,
}

/// One simulated log directory. Clones are handles of the same one.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Rc<RefCell<State>>,
}

/// An open file of a [`SimDisk`].
#[derive(Clone, Debug)]
pub struct SimFile {
    state: Rc<RefCell<State>>,
    id: FileId,
    path: Rc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct FileId(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    File(FileId),
    Directory,
}

/// Names of one directory.
type Names = BTreeMap<String, Entry>;

/// A change of names that is durable once every directory in `unsynced` is synced. Atomic.
#[derive(Clone, Debug)]
struct NameChange {
    ordinal: u64,
    /// (directory, name, what it names from then on).
    changes: Vec<(String, String, Option<Entry>)>,
    unsynced: BTreeSet<String>,
}

#[derive(Debug)]
struct State {
    draws: Draws,
    entity: u64,
    /// Numbers the draws that this disk makes by itself.
    ordinal: u64,
    files: BTreeMap<FileId, File>,
    next_file: u64,
    written: BTreeMap<String, Names>,
    durable: BTreeMap<String, Names>,
    /// The last durable change of each name, so that changes may become durable out of order.
    durable_changes: BTreeMap<(String, String), u64>,
    pending: Vec<NameChange>,
    next_change: u64,
    capacity: u64,
    used: u64,
    armed: Vec<(String, Fault)>,
    dead: bool,
    counts: DiskCounts,
}

#[derive(Debug, Default)]
struct File {
    pages: BTreeMap<u64, Page>,
    /// Pages with sectors that were written since their last sync.
    dirty: BTreeSet<u64>,
    length: u64,
    durable_length: u64,
    /// Bytes of the disk that it takes.
    allocated: u64,
    /// Sectors that cannot be read until they are written again.
    unreadable: BTreeSet<u64>,
    /// A sector as it was before its last sync.
    stale: Option<(u64, Box<[u8]>)>,
}

/// Eight sectors. `durable` is there while any of them differs, or may differ, from what is on the disk.
#[derive(Debug)]
struct Page {
    written: Box<[u8; PAGE_SIZE]>,
    durable: Option<Box<[u8; PAGE_SIZE]>>,
    /// By sector: the bytes written since the last sync; empty where start == end.
    dirty: [(u16, u16); SECTORS_PER_PAGE],
    /// By sector: a failed sync marked it clean, and the disk does not have it.
    phantom: [bool; SECTORS_PER_PAGE],
}

impl SimDisk {
    /// An empty directory of `capacity` bytes. `entity` names its draws among those of the run.
    #[must_use]
    pub fn new(draws: Draws, entity: u64, capacity: u64) -> Self {
        let root = BTreeMap::from([(String::new(), Names::new())]);
        Self {
            state: Rc::new(RefCell::new(State {
                draws,
                entity,
                ordinal: 0,
                files: BTreeMap::new(),
                next_file: 0,
                written: root.clone(),
                durable: root,
                durable_changes: BTreeMap::new(),
                pending: Vec::new(),
                next_change: 0,
                capacity,
                used: 0,
                armed: Vec::new(),
                dead: false,
                counts: DiskCounts::default(),
            })),
        }
    }

    /// The power fails: any subset of what was not synced survives, and becomes durable. The handles of the
    /// process that died must not be used again.
    pub fn power_cut(&self) {
        let state = &mut *self.state.borrow_mut();
        let mut draw = state.draw();
        state.counts.power_cuts += 1;
        state.cut_names(&mut draw);
        for file in state.files.values_mut() {
            file.power_cut(&mut draw, &mut state.counts);
        }
        state.collect_unnamed();
    }

    /// The process dies and the machine goes on: what was written stays, but a page that a failed sync marked
    /// clean may have left the cache. Whether any has: then what was written is not all there.
    pub fn kill(&self) -> bool {
        let state = &mut *self.state.borrow_mut();
        let mut draw = state.draw();
        let mut evicted = false;
        for file in state.files.values_mut() {
            evicted |= file.evict_phantoms(&mut draw);
        }
        state.collect_unnamed();
        evicted
    }

    /// Everything is gone, as on a new disk.
    pub fn wipe(&self) {
        let state = &mut *self.state.borrow_mut();
        let root = BTreeMap::from([(String::new(), Names::new())]);
        state.files.clear();
        state.written.clone_from(&root);
        state.durable = root;
        state.durable_changes.clear();
        state.pending.clear();
        state.used = 0;
        state.armed.clear();
        state.dead = false;
    }

    /// Arms a fault for files and directories whose path starts with `prefix`.
    pub fn arm(&self, prefix: &str, fault: Fault) {
        self.state
            .borrow_mut()
            .armed
            .push((prefix.to_owned(), fault));
    }

    /// Takes back every armed fault, and a dead disk works again.
    pub fn disarm(&self) {
        let mut state = self.state.borrow_mut();
        state.armed.clear();
        state.dead = false;
    }

    /// Whether an armed fault still waits to strike.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        !self.state.borrow().armed.is_empty()
    }

    /// Every operation fails from now on.
    pub fn die(&self) {
        self.state.borrow_mut().dead = true;
    }

    /// Sets how many bytes the disk holds. What is there stays, even where it is more.
    pub fn set_capacity(&self, capacity: u64) {
        self.state.borrow_mut().capacity = capacity;
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.state.borrow().used
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> DiskCounts {
        self.state.borrow().counts
    }

    /// Paths and lengths of all files as written, in order of path.
    #[must_use]
    pub fn files(&self) -> Vec<(String, u64)> {
        let state = self.state.borrow();
        let mut files = Vec::new();
        for (directory, names) in &state.written {
            for (name, entry) in names {
                if let Entry::File(id) = entry {
                    files.push((join(directory, name), state.files[id].length));
                }
            }
        }
        files.sort();
        files
    }

    /// One bit of a file rots, on the disk and in every cache. False where there is no such byte.
    pub fn rot(&self, path: &str, offset: u64, bit: u8) -> bool {
        let state = &mut *self.state.borrow_mut();
        let Ok(id) = state.lookup(path) else {
            return false;
        };
        let file = state.file(id);
        if offset >= file.length {
            return false;
        }
        let page = file
            .pages
            .entry(offset / PAGE_SIZE as u64)
            .or_insert_with(Page::zeros);
        let at = within_page(offset);
        page.written[at] ^= 1 << (bit & 7);
        if let Some(durable) = &mut page.durable {
            durable[at] ^= 1 << (bit & 7);
        }
        state.counts.sectors_damaged += 1;
        true
    }

    /// The sector with this byte cannot be read until it is written again. False where there is no such byte.
    pub fn make_unreadable(&self, path: &str, offset: u64) -> bool {
        let state = &mut *self.state.borrow_mut();
        let Ok(id) = state.lookup(path) else {
            return false;
        };
        let file = state.file(id);
        if offset >= file.length {
            return false;
        }
        file.unreadable.insert(offset / SECTOR_SIZE as u64);
        state.counts.sectors_damaged += 1;
        true
    }

    /// Nothing written is still unsynced: neither bytes, lengths nor names.
    #[must_use]
    pub fn is_all_durable(&self) -> bool {
        let state = self.state.borrow();
        state.pending.is_empty()
            && state
                .files
                .values()
                .all(|file| file.dirty.is_empty() && file.length == file.durable_length)
    }
}

impl State {
    fn draw(&mut self) -> Draw {
        self.ordinal += 1;
        self.draws.at(Subsystem::Disk, self.entity, self.ordinal)
    }

    fn alive(&self) -> Result<(), DiskError> {
        if self.dead {
            Err(io("the device is gone"))
        } else {
            Ok(())
        }
    }

    fn file(&mut self, id: FileId) -> &mut File {
        self.files
            .get_mut(&id)
            .expect("a handle outlives its process: files are collected only when it died")
    }

    fn lookup(&self, path: &str) -> Result<FileId, DiskError> {
        let (directory, name) = split(path);
        match self
            .written
            .get(directory)
            .and_then(|names| names.get(name))
        {
            Some(Entry::File(id)) => Ok(*id),
            Some(Entry::Directory) => Err(io("is a directory")),
            None => Err(DiskError::NotFound),
        }
    }

    /// Takes the first armed fault for this path that `wanted` accepts.
    fn strike(&mut self, path: &str, wanted: impl Fn(Fault) -> bool) -> Option<Fault> {
        if self.armed.is_empty() {
            return None;
        }
        let place = self
            .armed
            .iter()
            .position(|(prefix, fault)| path.starts_with(prefix.as_str()) && wanted(*fault))?;
        self.counts.faults_struck += 1;
        let fault = self.armed[place].1;
        if fault != Fault::SyncsFail {
            self.armed.remove(place);
        }
        Some(fault)
    }

    /// Changes names as written, and remembers the change until its directories are synced.
    fn change_names(&mut self, changes: Vec<(String, String, Option<Entry>)>) {
        self.next_change += 1;
        let mut unsynced = BTreeSet::new();
        for (directory, name, entry) in &changes {
            set_name(&mut self.written, directory, name, *entry);
            unsynced.insert(directory.clone());
        }
        self.pending.push(NameChange {
            ordinal: self.next_change,
            changes,
            unsynced,
        });
    }

    fn sync_names(&mut self, directory: &str) {
        let mut synced = Vec::new();
        self.pending.retain_mut(|change| {
            change.unsynced.remove(directory);
            let done = change.unsynced.is_empty();
            if done {
                synced.push(change.clone());
            }
            !done
        });
        for change in synced {
            self.make_durable(&change);
        }
    }

    fn make_durable(&mut self, change: &NameChange) {
        for (directory, name, entry) in &change.changes {
            let last = self
                .durable_changes
                .entry((directory.clone(), name.clone()))
                .or_default();
            if *last < change.ordinal {
                *last = change.ordinal;
                set_name(&mut self.durable, directory, name, *entry);
            }
        }
    }

    /// Keeps a drawn subset of the unsynced name changes.
    fn cut_names(&mut self, draw: &mut Draw) {
        for change in std::mem::take(&mut self.pending) {
            // A directory cannot have gone while the disk still names files in it.
            let removes_full = change.changes.iter().any(|(directory, name, entry)| {
                entry.is_none()
                    && self
                        .durable
                        .get(&join(directory, name))
                        .is_some_and(|names| !names.is_empty())
            });
            if removes_full || draw.chance(500_000) {
                self.counts.names_lost += 1;
            } else {
                self.make_durable(&change);
            }
        }
        // What was made durable in a directory whose own name was lost is lost with it.
        let mut reachable = BTreeMap::from([(String::new(), Names::new())]);
        let mut open = vec![String::new()];
        while let Some(directory) = open.pop() {
            let names = self.durable.remove(&directory).unwrap_or_default();
            for (name, entry) in &names {
                if *entry == Entry::Directory {
                    open.push(join(&directory, name));
                }
            }
            reachable.insert(directory, names);
        }
        self.durable = reachable;
        self.durable_changes.clear();
        self.written.clone_from(&self.durable);
    }

    /// Forgets files that have no name, now that nobody can hold a handle.
    fn collect_unnamed(&mut self) {
        let mut named = BTreeSet::new();
        for names in self.written.values().chain(self.durable.values()) {
            for entry in names.values() {
                if let Entry::File(id) = entry {
                    named.insert(*id);
                }
            }
        }
        for change in &self.pending {
            for (_, _, entry) in &change.changes {
                if let Some(Entry::File(id)) = entry {
                    named.insert(*id);
                }
            }
        }
        self.files.retain(|id, _| named.contains(id));
        self.used = self.files.values().map(|file| file.allocated).sum();
    }

    /// Reserves space for a file up to `length`; what does not fit is refused.
    fn reserve(&mut self, id: FileId, length: u64) -> Result<(), DiskError> {
        let allocated = self.file(id).allocated;
        let wanted = length.next_multiple_of(SECTOR_SIZE as u64);
        if wanted <= allocated {
            return Ok(());
        }
        if self.used + (wanted - allocated) > self.capacity {
            self.counts.refused_full += 1;
            return Err(DiskError::NoSpace);
        }
        self.used += wanted - allocated;
        self.file(id).allocated = wanted;
        Ok(())
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn open(&self, path: &str) -> Result<SimFile, DiskError> {
        let state = self.state.borrow();
        state.alive()?;
        Ok(SimFile {
            state: Rc::clone(&self.state),
            id: state.lookup(path)?,
            path: path.into(),
        })
    }

    fn create(&self, path: &str) -> Result<SimFile, DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.alive()?;
        let (directory, name) = split(path);
        let names = state.written.get(directory).ok_or(DiskError::NotFound)?;
        if names.contains_key(name) {
            return Err(DiskError::Exists);
        }
        if state.used >= state.capacity {
            state.counts.refused_full += 1;
            return Err(DiskError::NoSpace);
        }
        let id = FileId(state.next_file);
        state.next_file += 1;
        state.files.insert(id, File::default());
        state.change_names(vec![(
            directory.to_owned(),
            name.to_owned(),
            Some(Entry::File(id)),
        )]);
        Ok(SimFile {
            state: Rc::clone(&self.state),
            id,
            path: path.into(),
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.alive()?;
        let id = state.lookup(from)?;
        let (from_directory, from_name) = split(from);
        let (to_directory, to_name) = split(to);
        if !state.written.contains_key(to_directory) {
            return Err(DiskError::NotFound);
        }
        if from == to {
            return Ok(());
        }
        state.change_names(vec![
            (from_directory.to_owned(), from_name.to_owned(), None),
            (
                to_directory.to_owned(),
                to_name.to_owned(),
                Some(Entry::File(id)),
            ),
        ]);
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.alive()?;
        let id = state.lookup(path)?;
        let (directory, name) = split(path);
        state.change_names(vec![(directory.to_owned(), name.to_owned(), None)]);
        // The space is free at once, although a power cut may bring the file back.
        let allocated = std::mem::take(&mut state.file(id).allocated);
        state.used -= allocated;
        Ok(())
    }

    fn list(&self, path: &str) -> Result<Vec<String>, DiskError> {
        let state = self.state.borrow();
        state.alive()?;
        let names = state.written.get(path).ok_or(DiskError::NotFound)?;
        Ok(names.keys().cloned().collect())
    }

    fn create_directory(&self, path: &str) -> Result<(), DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.alive()?;
        if state.written.contains_key(path) {
            return Ok(());
        }
        let (parent, name) = split(path);
        if !state.written.contains_key(parent) {
            return Err(DiskError::NotFound);
        }
        state.change_names(vec![(
            parent.to_owned(),
            name.to_owned(),
            Some(Entry::Directory),
        )]);
        Ok(())
    }

    fn remove_directory(&self, path: &str) -> Result<(), DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.alive()?;
        let names = state.written.get(path).ok_or(DiskError::NotFound)?;
        if !names.is_empty() || path.is_empty() {
            return Err(io("the directory is not empty"));
        }
        let (parent, name) = split(path);
        state.change_names(vec![(parent.to_owned(), name.to_owned(), None)]);
        Ok(())
    }

    fn sync_directory(&self, path: &str) -> Result<(), DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.alive()?;
        if !state.written.contains_key(path) {
            return Err(DiskError::NotFound);
        }
        if state
            .strike(path, |fault| {
                matches!(fault, Fault::SyncFails | Fault::SyncsFail)
            })
            .is_some()
        {
            return Err(sync_failed());
        }
        state.sync_names(path);
        state.counts.syncs += 1;
        Ok(())
    }

    fn free_bytes(&self) -> Result<u64, DiskError> {
        let state = self.state.borrow();
        state.alive()?;
        Ok(state.capacity.saturating_sub(state.used))
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.alive()?;
        let struck = state.strike(&self.path, |fault| {
            matches!(
                fault,
                Fault::ReadFails | Fault::StaleRead | Fault::MisdirectedRead
            )
        });
        let mut draw = struck.map(|_| state.draw());
        state.counts.sectors_damaged += u64::from(struck.is_some());
        let file = state.file(self.id);
        let available = file.length.saturating_sub(offset);
        let length = usize::try_from(available).unwrap_or(usize::MAX);
        let length = length.min(buffer.len());
        if length == 0 {
            return Ok(0);
        }
        let sectors =
            offset / SECTOR_SIZE as u64..=(offset + length as u64 - 1) / SECTOR_SIZE as u64;
        if struck == Some(Fault::ReadFails)
            || file.unreadable.range(sectors.clone()).next().is_some()
        {
            return Err(io("input/output error"));
        }
        file.read(offset, &mut buffer[..length]);
        if let (Some(fault), Some(draw)) = (struck, &mut draw) {
            let other = match fault {
                Fault::StaleRead => file
                    .stale
                    .clone()
                    .filter(|(sector, _)| sectors.contains(sector)),
                _other_reads => {
                    let all = file.length.div_ceil(SECTOR_SIZE as u64);
                    let mut bytes = vec![0; SECTOR_SIZE].into_boxed_slice();
                    file.read(draw.below(all) * SECTOR_SIZE as u64, &mut bytes);
                    Some((draw.between(*sectors.start(), *sectors.end()), bytes))
                }
            };
            if let Some((sector, bytes)) = other {
                overlay(
                    offset,
                    &mut buffer[..length],
                    sector * SECTOR_SIZE as u64,
                    &bytes,
                );
            }
        }
        Ok(length)
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.alive()?;
        let length: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let fails = state
            .strike(&self.path, |fault| fault == Fault::WriteFails)
            .is_some();
        let refused = if fails {
            Err(io("input/output error"))
        } else {
            state.reserve(self.id, offset + length)
        };
        let mut allowed = length;
        if refused.is_err() {
            // Some of the bytes are written nevertheless, as far as the file has space.
            let allocated = state.file(self.id).allocated;
            let room = allocated.saturating_sub(offset).min(length);
            allowed = state.draw().between(0, room);
        }
        state.counts.bytes_written += allowed;
        let file = state.file(self.id);
        let mut at = offset;
        for part in parts {
            let left = usize::try_from(offset + allowed - at).unwrap_or(usize::MAX);
            let part = &part[..part.len().min(left)];
            file.write(at, part);
            at += part.len() as u64;
        }
        refused
    }

    fn sync(&self) -> Result<(), DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.alive()?;
        let struck = state.strike(&self.path, |fault| {
            matches!(
                fault,
                Fault::SyncFails | Fault::SyncsFail | Fault::LostWrite | Fault::MisdirectedWrite
            )
        });
        match struck {
            None => state.file(self.id).sync(),
            Some(Fault::LostWrite | Fault::MisdirectedWrite) => {
                let mut draw = state.draw();
                let elsewhere = struck == Some(Fault::MisdirectedWrite);
                state.file(self.id).sync_but_one(&mut draw, elsewhere);
                state.counts.sectors_damaged += 1;
            }
            Some(_fails) => {
                let mut draw = state.draw();
                state.file(self.id).sync_failing(&mut draw);
                return Err(sync_failed());
            }
        }
        state.counts.syncs += 1;
        Ok(())
    }

    fn truncate(&self, length: u64) -> Result<(), DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.alive()?;
        if length > state.file(self.id).length {
            state.reserve(self.id, length)?;
        }
        let file = state.file(self.id);
        file.truncate(length);
        let kept = length.next_multiple_of(SECTOR_SIZE as u64);
        let freed = file.allocated.saturating_sub(kept);
        file.allocated -= freed;
        state.used -= freed;
        Ok(())
    }

    fn allocate(&self, length: u64) -> Result<(), DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.alive()?;
        state.reserve(self.id, length)?;
        let file = state.file(self.id);
        file.length = file.length.max(length);
        Ok(())
    }

    fn length(&self) -> Result<u64, DiskError> {
        let mut state = self.state.borrow_mut();
        state.alive()?;
        Ok(state.file(self.id).length)
    }
}

impl File {
    fn read(&self, offset: u64, buffer: &mut [u8]) {
        buffer.fill(0);
        let end = offset + buffer.len() as u64;
        let first = offset / PAGE_SIZE as u64;
        let last = end.div_ceil(PAGE_SIZE as u64);
        for (&number, page) in self.pages.range(first..last) {
            overlay(offset, buffer, number * PAGE_SIZE as u64, &page.written[..]);
        }
    }

    fn write(&mut self, offset: u64, mut bytes: &[u8]) {
        let mut at = offset;
        while !bytes.is_empty() {
            let number = at / PAGE_SIZE as u64;
            let within = within_page(at);
            let taken = bytes.len().min(PAGE_SIZE - within);
            let page = self.pages.entry(number).or_insert_with(Page::zeros);
            page.write(within, &bytes[..taken]);
            self.dirty.insert(number);
            at += taken as u64;
            bytes = &bytes[taken..];
        }
        if !self.unreadable.is_empty() {
            for sector in offset / SECTOR_SIZE as u64..at.div_ceil(SECTOR_SIZE as u64) {
                self.unreadable.remove(&sector);
            }
        }
        self.length = self.length.max(at);
    }

    fn truncate(&mut self, length: u64) {
        if length < self.length {
            let first = length / PAGE_SIZE as u64;
            for (&number, page) in self.pages.range_mut(first..) {
                let start = number * PAGE_SIZE as u64;
                let from = usize::try_from(length.saturating_sub(start)).unwrap_or(PAGE_SIZE);
                if from < PAGE_SIZE {
                    page.write(from, &[0; PAGE_SIZE][from..]);
                    self.dirty.insert(number);
                }
            }
        }
        self.length = length;
    }

    fn sync(&mut self) {
        for number in std::mem::take(&mut self.dirty) {
            let page = self.pages.get_mut(&number).expect("a dirty page is there");
            let old = page.flush_all();
            if let Some((sector, bytes)) = old {
                self.stale = Some((number * SECTORS_PER_PAGE as u64 + sector as u64, bytes));
            }
        }
        self.durable_length = self.length;
    }

    /// A sync that reports success and loses one sector, or puts it elsewhere.
    fn sync_but_one(&mut self, draw: &mut Draw, elsewhere: bool) {
        let dirty = self.dirty_sectors();
        let victim = draw.pick(&dirty).copied();
        self.sync_keeping(|sector| Some(sector) != victim);
        if let Some(victim) = victim {
            let number = victim / SECTORS_PER_PAGE as u64;
            let page = self.pages.get_mut(&number).expect("a dirty page is there");
            let range = sector_range(victim);
            let lost: Box<[u8]> = page.written[range.clone()].into();
            page.revert(within_sectors(victim));
            if elsewhere {
                let all = self.length.div_ceil(SECTOR_SIZE as u64);
                let target = draw.below(all);
                let page = self
                    .pages
                    .entry(target / SECTORS_PER_PAGE as u64)
                    .or_insert_with(Page::zeros);
                let range = sector_range(target);
                page.written[range.clone()].copy_from_slice(&lost);
                if let Some(durable) = &mut page.durable {
                    durable[range].copy_from_slice(&lost);
                }
            }
        }
        self.durable_length = self.length;
    }

    /// A sync that fails: some sectors reach the disk, the others are marked clean and did not.
    fn sync_failing(&mut self, draw: &mut Draw) {
        let mut reached = BTreeSet::new();
        for sector in self.dirty_sectors() {
            if draw.chance(500_000) {
                reached.insert(sector);
            }
        }
        self.sync_keeping(|sector| reached.contains(&sector));
    }

    fn dirty_sectors(&self) -> Vec<u64> {
        let mut sectors = Vec::new();
        for &number in &self.dirty {
            for (place, range) in self.pages[&number].dirty.iter().enumerate() {
                if range.0 < range.1 {
                    sectors.push(number * SECTORS_PER_PAGE as u64 + place as u64);
                }
            }
        }
        sectors
    }

    /// Flushes the dirty sectors that `keep` accepts; the others become phantoms.
    fn sync_keeping(&mut self, keep: impl Fn(u64) -> bool) {
        for number in std::mem::take(&mut self.dirty) {
            let page = self.pages.get_mut(&number).expect("a dirty page is there");
            for place in 0..SECTORS_PER_PAGE {
                if page.dirty[place].0 < page.dirty[place].1 {
                    if keep(number * SECTORS_PER_PAGE as u64 + place as u64) {
                        page.flush(place);
                    } else {
                        page.dirty[place] = (0, 0);
                        page.phantom[place] = true;
                    }
                }
            }
            page.settle();
        }
    }

    fn power_cut(&mut self, draw: &mut Draw, counts: &mut DiskCounts) {
        for page in self.pages.values_mut() {
            page.power_cut(draw, counts);
        }
        self.dirty.clear();
        if self.length != self.durable_length {
            // Of several changes of length any prefix may have been kept.
            let low = self.length.min(self.durable_length);
            let high = self.length.max(self.durable_length);
            self.length = match draw.below(3) {
                0 => self.durable_length,
                1 => self.length,
                _between => draw.between(low, high),
            };
            let length = self.length;
            let first = length / PAGE_SIZE as u64;
            // Bytes behind the end are gone: growing again reads zeros.
            for (&number, page) in self.pages.range_mut(first..) {
                let start = number * PAGE_SIZE as u64;
                let from = usize::try_from(length.saturating_sub(start)).unwrap_or(PAGE_SIZE);
                if from < PAGE_SIZE {
                    page.written[from..].fill(0);
                }
            }
            self.durable_length = length;
        }
        self.allocated = self
            .allocated
            .max(self.length.next_multiple_of(SECTOR_SIZE as u64));
    }

    fn evict_phantoms(&mut self, draw: &mut Draw) -> bool {
        let mut evicted = false;
        for page in self.pages.values_mut() {
            for place in 0..SECTORS_PER_PAGE {
                if page.phantom[place] && page.dirty[place] == (0, 0) && draw.chance(500_000) {
                    page.revert(place);
                    evicted = true;
                }
            }
            page.settle();
        }
        evicted
    }
}

impl Page {
    fn zeros() -> Self {
        Self {
            written: Box::new([0; PAGE_SIZE]),
            durable: None,
            dirty: [(0, 0); SECTORS_PER_PAGE],
            phantom: [false; SECTORS_PER_PAGE],
        }
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        if self.durable.is_none() {
            self.durable = Some(self.written.clone());
        }
        self.written[at..at + bytes.len()].copy_from_slice(bytes);
        let end = at + bytes.len();
        for place in at / SECTOR_SIZE..end.div_ceil(SECTOR_SIZE) {
            let start = place * SECTOR_SIZE;
            let from = at.max(start) - start;
            let to = end.min(start + SECTOR_SIZE) - start;
            let range = &mut self.dirty[place];
            let bounded = |n: usize| u16::try_from(n).expect("a sector has 512 bytes");
            *range = if range.0 == range.1 {
                (bounded(from), bounded(to))
            } else {
                (range.0.min(bounded(from)), range.1.max(bounded(to)))
            };
        }
    }

    /// What is written in this sector reaches the disk.
    fn flush(&mut self, place: usize) {
        let range = place * SECTOR_SIZE..(place + 1) * SECTOR_SIZE;
        if let Some(durable) = &mut self.durable {
            durable[range.clone()].copy_from_slice(&self.written[range]);
        }
        self.dirty[place] = (0, 0);
        self.phantom[place] = false;
    }

    /// Flushes all dirty sectors and returns one of them as it was.
    fn flush_all(&mut self) -> Option<(usize, Box<[u8]>)> {
        let mut old = None;
        for place in 0..SECTORS_PER_PAGE {
            if self.dirty[place].0 < self.dirty[place].1 {
                if old.is_none()
                    && let Some(durable) = &self.durable
                {
                    let range = place * SECTOR_SIZE..(place + 1) * SECTOR_SIZE;
                    old = Some((place, durable[range].into()));
                }
                self.flush(place);
            }
        }
        self.settle();
        old
    }

    /// What is written in this sector is replaced by what the disk has.
    fn revert(&mut self, place: usize) {
        let range = place * SECTOR_SIZE..(place + 1) * SECTOR_SIZE;
        if let Some(durable) = &self.durable {
            self.written[range.clone()].copy_from_slice(&durable[range]);
        }
        self.dirty[place] = (0, 0);
        self.phantom[place] = false;
    }

    /// Drops the second copy where nothing differs any more.
    fn settle(&mut self) {
        if self.dirty.iter().all(|range| range.0 == range.1) && !self.phantom.contains(&true) {
            self.durable = None;
        }
    }

    fn power_cut(&mut self, draw: &mut Draw, counts: &mut DiskCounts) {
        if self.durable.is_none() {
            return;
        }
        for place in 0..SECTORS_PER_PAGE {
            let (from, to) = self.dirty[place];
            if from == to {
                if self.phantom[place] {
                    self.revert(place);
                    counts.sectors_lost += 1;
                }
                continue;
            }
            let start = place * SECTOR_SIZE;
            let (from, to) = (start + usize::from(from), start + usize::from(to));
            match draw.below(100) {
                0..45 => self.flush(place),
                45..80 => {
                    self.revert(place);
                    counts.sectors_lost += 1;
                }
                80..90 => {
                    // Torn: the front is new, the rest is old.
                    let cut = from + draw.index(to - from + 1);
                    let durable = self
                        .durable
                        .as_ref()
                        .expect("a dirty page has its old bytes");
                    let old: Vec<u8> = durable[cut..to].to_vec();
                    self.written[cut..to].copy_from_slice(&old);
                    self.flush(place);
                    counts.sectors_torn += 1;
                }
                _garbage => {
                    draw.fill(&mut self.written[from..to]);
                    self.flush(place);
                    counts.sectors_torn += 1;
                }
            }
        }
        self.settle();
    }
}

fn set_name(tree: &mut BTreeMap<String, Names>, directory: &str, name: &str, entry: Option<Entry>) {
    let path = join(directory, name);
    let names = tree.entry(directory.to_owned()).or_default();
    match entry {
        Some(entry) => {
            names.insert(name.to_owned(), entry);
            if entry == Entry::Directory {
                tree.entry(path).or_default();
            }
        }
        None => {
            if names.remove(name) == Some(Entry::Directory) {
                tree.remove(&path);
            }
        }
    }
}

/// Directory and name of a path.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() {
        name.to_owned()
    } else {
        format!("{directory}/{name}")
    }
}

fn sync_failed() -> DiskError {
    DiskError::SyncFailed("input/output error".to_owned())
}

fn io(reason: &str) -> DiskError {
    DiskError::Io(reason.to_owned())
}

fn within_page(offset: u64) -> usize {
    usize::try_from(offset % PAGE_SIZE as u64).expect("below a page")
}

/// The sector's number within its page.
fn within_sectors(sector: u64) -> usize {
    usize::try_from(sector % SECTORS_PER_PAGE as u64).expect("below the sectors of a page")
}

/// The sector's bytes within its page.
fn sector_range(sector: u64) -> std::ops::Range<usize> {
    let start = within_sectors(sector) * SECTOR_SIZE;
    start..start + SECTOR_SIZE
}

/// Copies what overlaps of `bytes` at `at` into `buffer`, which stands at `offset`.
fn overlay(offset: u64, buffer: &mut [u8], at: u64, bytes: &[u8]) {
    let start = offset.max(at);
    let end = (offset + buffer.len() as u64).min(at + bytes.len() as u64);
    if start < end {
        let length = usize::try_from(end - start).expect("no longer than the buffer");
        let to = usize::try_from(start - offset).expect("within the buffer");
        let from = usize::try_from(start - at).expect("within the bytes");
        buffer[to..to + length].copy_from_slice(&bytes[from..from + length]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(seed: u64) -> SimDisk {
        SimDisk::new(Draws::new(seed), 1, 1 << 20)
    }

    fn contents(disk: &SimDisk, path: &str) -> Result<Vec<u8>, DiskError> {
        let file = disk.open(path)?;
        let mut bytes = vec![0; usize::try_from(file.length()?).unwrap()];
        let read = file.read_at(0, &mut bytes)?;
        assert_eq!(read, bytes.len());
        Ok(bytes)
    }

    fn durable_file(disk: &SimDisk, path: &str, bytes: &[u8]) -> SimFile {
        let file = disk.create(path).unwrap();
        file.write_at(0, &[bytes]).unwrap();
        file.sync().unwrap();
        disk.sync_directory("").unwrap();
        file
    }

    #[test]
    fn a_killed_process_leaves_what_it_wrote() {
        let disk = disk(1);
        disk.create("a")
            .unwrap()
            .write_at(3, &[b"xy", b"z"])
            .unwrap();
        disk.kill();
        assert_eq!(contents(&disk, "a").unwrap(), b"\0\0\0xyz");
    }

    #[test]
    fn what_was_synced_survives_every_power_cut() {
        for seed in 0..100 {
            let disk = disk(seed);
            disk.create_directory("d").unwrap();
            disk.sync_directory("").unwrap();
            let file = disk.create("d/a").unwrap();
            let bytes: Vec<u8> = (0..10_000_u32).map(|n| n.to_le_bytes()[0]).collect();
            file.write_at(0, &[&bytes]).unwrap();
            file.sync().unwrap();
            disk.sync_directory("d").unwrap();
            assert!(disk.is_all_durable());
            file.write_at(20_000, &[b"unsynced, and behind what was synced"])
                .unwrap();
            disk.create("d/b").unwrap();
            disk.power_cut();
            assert_eq!(&contents(&disk, "d/a").unwrap()[..10_000], &bytes[..]);
        }
    }

    #[test]
    fn any_subset_of_unsynced_sectors_survives_a_power_cut_and_some_are_torn() {
        let mut survivors = BTreeSet::new();
        let mut torn = false;
        for seed in 0..200 {
            let disk = disk(seed);
            let file = durable_file(&disk, "a", &[1; 3 * SECTOR_SIZE]);
            file.write_at(0, &[&[2; 3 * SECTOR_SIZE]]).unwrap();
            disk.power_cut();
            let bytes = contents(&disk, "a").unwrap();
            assert_eq!(bytes.len(), 3 * SECTOR_SIZE, "the length did not change");
            let sectors: Vec<Option<u8>> = bytes
                .chunks(SECTOR_SIZE)
                .map(|sector| {
                    let first = sector[0];
                    sector.iter().all(|&byte| byte == first).then_some(first)
                })
                .collect();
            torn |= sectors.contains(&None);
            survivors.insert(sectors);
        }
        assert!(torn);
        for sectors in [
            [1, 1, 1],
            [1, 1, 2],
            [1, 2, 1],
            [2, 1, 1],
            [2, 2, 1],
            [1, 2, 2],
            [2, 2, 2],
        ] {
            assert!(survivors.contains(&sectors.map(Some)[..]), "{sectors:?}");
        }
    }

    #[test]
    fn a_torn_sector_keeps_the_bytes_that_nobody_wrote() {
        for seed in 0..200 {
            let disk = disk(seed);
            let file = durable_file(&disk, "a", &[1; SECTOR_SIZE]);
            file.write_at(100, &[&[2; 50]]).unwrap();
            disk.power_cut();
            let bytes = contents(&disk, "a").unwrap();
            assert!(
                bytes[..100]
                    .iter()
                    .chain(&bytes[150..])
                    .all(|&byte| byte == 1)
            );
        }
    }

    #[test]
    fn unsynced_names_and_lengths_are_lost_or_kept() {
        let mut outcomes = BTreeSet::new();
        for seed in 0..100 {
            let disk = disk(seed);
            durable_file(&disk, "old", b"old");
            durable_file(&disk, "cut", b"long enough");
            disk.rename("old", "new").unwrap();
            disk.create("made").unwrap().sync().unwrap();
            disk.open("cut").unwrap().truncate(4).unwrap();
            disk.power_cut();
            let names = disk.list("").unwrap();
            assert_ne!(
                names.contains(&"old".to_owned()),
                names.contains(&"new".to_owned()),
                "a rename is atomic"
            );
            let cut = contents(&disk, "cut").unwrap();
            assert!(cut.len() >= 4 && cut.len() <= 11);
            outcomes.insert((
                names.contains(&"new".to_owned()),
                names.contains(&"made".to_owned()),
                cut.len() == 4,
            ));
        }
        assert_eq!(outcomes.len(), 8, "every combination happens: {outcomes:?}");
    }

    #[test]
    fn a_replaced_file_comes_back_whole_or_is_replaced_whole() {
        let mut seen = BTreeSet::new();
        for seed in 0..50 {
            let disk = disk(seed);
            durable_file(&disk, "table", b"one");
            let next = disk.create("table.next").unwrap();
            next.write_at(0, &[b"two"]).unwrap();
            next.sync().unwrap();
            disk.rename("table.next", "table").unwrap();
            disk.power_cut();
            seen.insert(contents(&disk, "table").unwrap());
        }
        assert_eq!(seen, BTreeSet::from([b"one".to_vec(), b"two".to_vec()]));
    }

    #[test]
    fn a_failed_sync_marks_pages_clean_and_later_success_proves_nothing() {
        let mut lost = false;
        for seed in 0..50 {
            let disk = disk(seed);
            let file = durable_file(&disk, "a", &[1; SECTOR_SIZE]);
            file.write_at(0, &[&[2; SECTOR_SIZE]]).unwrap();
            disk.arm("a", Fault::SyncFails);
            assert_eq!(file.sync(), Err(sync_failed()));
            assert_eq!(file.sync(), Ok(()), "the fault strikes once");
            assert_eq!(
                contents(&disk, "a").unwrap()[0],
                2,
                "the cache still has it"
            );
            disk.power_cut();
            lost |= contents(&disk, "a").unwrap()[0] == 1;
        }
        assert!(lost);
        let disk = disk(0);
        let file = durable_file(&disk, "a", b"a");
        disk.arm("", Fault::SyncsFail);
        assert!(file.sync().is_err() && file.sync().is_err() && disk.sync_directory("").is_err());
    }

    #[test]
    fn lost_and_misdirected_writes_are_reported_done() {
        let disk = disk(3);
        let file = durable_file(&disk, "a", &[1; 4 * SECTOR_SIZE]);
        file.write_at(0, &[&[2; SECTOR_SIZE]]).unwrap();
        disk.arm("a", Fault::LostWrite);
        assert_eq!(file.sync(), Ok(()));
        assert_eq!(contents(&disk, "a").unwrap(), [1; 4 * SECTOR_SIZE]);
        file.write_at(0, &[&[3; SECTOR_SIZE]]).unwrap();
        disk.arm("a", Fault::MisdirectedWrite);
        assert_eq!(file.sync(), Ok(()));
        let sectors: Vec<u8> = contents(&disk, "a")
            .unwrap()
            .chunks(SECTOR_SIZE)
            .map(|s| s[0])
            .collect();
        assert_eq!(
            sectors.iter().filter(|&&byte| byte == 3).count(),
            1,
            "{sectors:?}"
        );
    }

    #[test]
    fn reads_fail_rot_and_lie_when_told_to() {
        let disk = disk(4);
        let file = durable_file(&disk, "a", &[1; 2 * SECTOR_SIZE]);
        disk.arm("a", Fault::ReadFails);
        assert!(file.read_at(0, &mut [0; 8]).is_err());
        assert!(disk.make_unreadable("a", 600));
        assert!(file.read_at(0, &mut [0; 8]).is_ok());
        assert!(file.read_at(500, &mut [0; 20]).is_err());
        file.write_at(512, &[&[2; SECTOR_SIZE]]).unwrap();
        assert!(
            file.read_at(500, &mut [0; 20]).is_ok(),
            "written again, it can be read"
        );
        assert!(disk.rot("a", 3, 0) && !disk.rot("a", 2000, 0));
        disk.power_cut();
        assert_eq!(contents(&disk, "a").unwrap()[3], 0);
        file.write_at(0, &[&[9; SECTOR_SIZE]]).unwrap();
        file.sync().unwrap();
        disk.arm("a", Fault::StaleRead);
        let mut bytes = [0; 1];
        file.read_at(0, &mut bytes).unwrap();
        assert_eq!(bytes, [1]);
        file.read_at(0, &mut bytes).unwrap();
        assert_eq!(bytes, [9]);
    }

    #[test]
    fn a_full_disk_refuses_and_takes_writes_again_when_space_returns() {
        let disk = SimDisk::new(Draws::new(1), 1, 2048);
        let file = disk.create("a").unwrap();
        file.allocate(1024).unwrap();
        assert_eq!(disk.free_bytes(), Ok(1024));
        let other = disk.create("b").unwrap();
        assert_eq!(other.write_at(0, &[&[1; 1025]]), Err(DiskError::NoSpace));
        assert_eq!(other.write_at(0, &[&[1; 1024]]), Ok(()));
        assert_eq!(file.write_at(1000, &[&[1; 24]]), Ok(()), "reserved before");
        assert_eq!(disk.create("c").err(), Some(DiskError::NoSpace));
        disk.remove("b").unwrap();
        assert_eq!(file.write_at(1024, &[&[1; 1024]]), Ok(()));
        file.truncate(0).unwrap();
        assert_eq!(disk.free_bytes(), Ok(2048));
    }

    #[test]
    fn names_in_a_directory_whose_own_name_was_lost_are_lost() {
        let mut lost = false;
        for seed in 0..20 {
            let disk = disk(seed);
            disk.create_directory("d").unwrap();
            let file = disk.create("d/a").unwrap();
            file.sync().unwrap();
            disk.sync_directory("d").unwrap();
            disk.power_cut();
            lost |= disk.open("d/a").is_err();
            assert_eq!(disk.open("d/a").is_err(), disk.list("d").is_err());
        }
        assert!(lost);
    }
}
