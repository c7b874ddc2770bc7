//! A disk that forgets what was not synced, and fails in every way that disks fail.
//!
//! One log directory in memory. What was *written* and what is *durable* are kept apart: bytes by sector, a
//! file's length, and the names in each directory. A process that is killed leaves everything written in
//! place; a power cut keeps any subset of what was not synced, each sector on its own, a torn one with
//! garbage where it was being written. Faults are armed by the owner and strike the operation that they name. While the
//! process is short of descriptors or memory, operations fail that need any, and nothing is wrong with the disk.
//!
//! The model assumes what file systems promise and no more: a rename is atomic, and a sector that is torn
//! keeps the bytes that no write touched since the last sync (SQLite calls it *powersafe overwrite*).
//! Nor does it put a sector where its bytes and the front of a batch's header, which no CRC covers, pass for a whole batch.
//! It does not model the order in which a real file system would keep names: every subset of the name changes
//! that were not synced may survive.

mod file;
mod journal;
mod operations;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use varve_core::store::DiskError;

use crate::draw::{Draw, Draws, Subsystem};

pub use journal::{JOURNAL_BLOCK, journal_groups};

use file::File;

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
    /// A read fails, and would not were it tried again: nothing is damaged.
    ReadFails,
    /// All writes fail from now on, a part of each done.
    WritesFail,
    /// One sector of a sync is reported done and was not written.
    LostWrite,
    /// One sector of a sync is written at another sector of the same file.
    MisdirectedWrite,
    /// A read returns what stood in a sector before its last sync.
    StaleRead,
    /// A read returns another sector of the same file in place of one of its own.
    MisdirectedRead,
}

/// What a process may be short of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// Nothing can be opened, created, listed, or synced by name; what is open can be used.
    Descriptors,
    /// Nothing can be done at all, but that what is open can be synced.
    Memory,
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
    /// Operations that found no descriptor or no memory.
    pub refused_short: u64,
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
    /// Reads what the disk has and not what the page cache has.
    uncached: bool,
    _descriptor: Rc<Descriptor>,
}

/// What all clones of an open file share.
#[derive(Debug)]
struct Descriptor {
    /// How many there are.
    open: Rc<Cell<usize>>,
}

impl Descriptor {
    fn new(open: &Rc<Cell<usize>>) -> Self {
        open.set(open.get() + 1);
        let open = Rc::clone(open);
        Self { open }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
    }
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
    /// What there is not enough of, and how many of a million operations do not get it.
    shortage: Option<(Shortage, u32)>,
    /// Descriptors of open files, those of the journal apart.
    open: Rc<Cell<usize>>,
    open_journal: Rc<Cell<usize>>,
    /// Files of which something was damaged since the disk was last empty, removed ones included.
    damaged: BTreeSet<String>,
    dead: bool,
    /// Something that changes the disk has failed since it was last empty or mended.
    refuses: bool,
    counts: DiskCounts,
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
                shortage: None,
                open: Rc::default(),
                open_journal: Rc::default(),
                damaged: BTreeSet::new(),
                dead: false,
                refuses: false,
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
            evicted |= file.evict_phantoms(|| draw.chance(500_000));
        }
        state.collect_unnamed();
        evicted
    }

    /// Every page that needs no sync leaves the cache: from now on it reads as the disk has it.
    pub fn drop_cache(&self) {
        for file in self.state.borrow_mut().files.values_mut() {
            file.evict_phantoms(|| true);
        }
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
        state.shortage = None;
        state.damaged.clear();
        state.dead = false;
        state.refuses = false;
    }

    /// Arms a fault for files and directories whose path starts with `prefix`. Reads that fail once do so one at a time.
    pub fn arm(&self, prefix: &str, fault: Fault) {
        let armed = &mut self.state.borrow_mut().armed;
        let fault = (prefix.to_owned(), fault);
        if fault.1 != Fault::ReadFails || !armed.contains(&fault) {
            armed.push(fault);
        }
    }

    /// Takes back every armed fault, and a dead disk works again.
    pub fn disarm(&self) {
        let mut state = self.state.borrow_mut();
        state.armed.clear();
        state.dead = false;
        state.refuses = false;
    }

    /// Whether an armed fault that can cost anything still waits to strike.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        let state = self.state.borrow();
        state
            .armed
            .iter()
            .any(|(_, fault)| *fault != Fault::ReadFails)
    }

    /// Whether a write or a sync has failed since the disk was last empty or mended: what a directory may be given up
    /// for.
    #[must_use]
    pub fn has_refused(&self) -> bool {
        self.state.borrow().refuses
    }

    /// So many of a million operations that need what is short fail from now on.
    pub fn run_short(&self, of: Shortage, per_million: u32) {
        self.state.borrow_mut().shortage = Some((of, per_million));
    }

    /// There is enough of everything again.
    pub fn end_shortage(&self) {
        self.state.borrow_mut().shortage = None;
    }

    /// Descriptors that are open, but for those of the journal, of which there is one a file.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        self.state.borrow().open.get()
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

    /// What a file has, as written and as it was damaged; empty where there is no such file. No fault strikes.
    #[must_use]
    pub fn bytes(&self, path: &str) -> Vec<u8> {
        let state = &mut *self.state.borrow_mut();
        let Ok(id) = state.lookup(path) else {
            return Vec::new();
        };
        let file = state.file(id);
        let mut bytes = vec![0; usize::try_from(file.length).expect("files are in memory")];
        file.read(0, &mut bytes);
        bytes
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
        file.rot(offset, bit);
        state.damage(path);
        true
    }

    /// One bit of a file rots on the disk while the page cache has it whole, until the process or the machine dies and
    /// the page may have left the cache. False where there is no such byte on the disk.
    pub fn rot_under_cache(&self, path: &str, offset: u64, bit: u8) -> bool {
        let state = &mut *self.state.borrow_mut();
        let Ok(id) = state.lookup(path) else {
            return false;
        };
        let file = state.file(id);
        let rotted = offset < file.length && file.rot_under_cache(offset, bit);
        if rotted {
            state.damage(path);
        }
        rotted
    }

    /// The sector with this byte cannot be read until its page is written again or discarded. False where there is no such byte.
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
        state.damage(path);
        true
    }

    /// Whether something has been damaged, since the disk was last empty, of a file whose path is wanted.
    #[must_use]
    pub fn has_damaged(&self, wanted: impl Fn(&str) -> bool) -> bool {
        let state = self.state.borrow();
        state.damaged.iter().any(|path| wanted(path))
    }

    /// Nothing written is still unsynced: neither bytes, lengths nor names.
    #[must_use]
    pub fn is_all_durable(&self) -> bool {
        let state = self.state.borrow();
        state.pending.is_empty() && state.files.values().all(File::is_durable)
    }
}

impl State {
    fn draw(&mut self) -> Draw {
        self.ordinal += 1;
        self.draws.at(Subsystem::Disk, self.entity, self.ordinal)
    }

    /// Counts a sector of this file as damaged.
    fn damage(&mut self, path: &str) {
        self.counts.sectors_damaged += 1;
        self.damaged.insert(path.to_owned());
    }

    fn alive(&mut self) -> Result<(), DiskError> {
        if self.dead {
            self.refuses = true;
            Err(io("the device is gone"))
        } else {
            Ok(())
        }
    }

    /// Whether an operation gets what it needs: memory, and perhaps a descriptor.
    fn find_resources(&mut self, needs: Shortage) -> Result<(), DiskError> {
        self.alive()?;
        let Some((short_of, per_million)) = self.shortage else {
            return Ok(());
        };
        if short_of != needs && short_of == Shortage::Descriptors {
            return Ok(());
        }
        if !self.draw().chance(per_million) {
            return Ok(());
        }
        self.counts.refused_short += 1;
        let reason = match short_of {
            Shortage::Descriptors => "too many open files",
            Shortage::Memory => "cannot allocate memory",
        };
        Err(DiskError::OutOfResources(reason.to_owned()))
    }

    fn descriptor(&self, path: &str) -> Rc<Descriptor> {
        let is_journal = path.starts_with("journal/");
        let open = if is_journal {
            &self.open_journal
        } else {
            &self.open
        };
        Rc::new(Descriptor::new(open))
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
        if !matches!(fault, Fault::SyncsFail | Fault::WritesFail) {
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

#[cfg(test)]
mod tests;
