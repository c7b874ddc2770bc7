//! A disk in memory that keeps written and durable bytes apart, and loses power on command.
//!
//! The simulator has the full model; this one is what the store's own tests need: sectors that a power cut loses
//! or tears each on its own, names that are lost until their directory is synced, a countdown to the cut. It counts
//! the files that are open, and can be short of resources.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

use crate::store::{Disk, DiskError, DiskFile};

const SECTOR: usize = 512;
const PAGE: u64 = 4096;

#[derive(Clone, Debug)]
pub(super) struct TestDisk(Rc<RefCell<State>>, Rc<Descriptors>);

/// The files that are open.
#[derive(Debug, Default)]
struct Descriptors {
    open: RefCell<BTreeMap<u64, usize>>,
    most: Cell<usize>,
    /// Files of which the last descriptor was closed with bytes that were not synced.
    closed_unsynced: Cell<usize>,
}

/// One descriptor, for all clones of a file.
#[derive(Debug)]
struct Descriptor {
    disk: TestDisk,
    id: u64,
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        let TestDisk(state, descriptors) = &self.disk;
        let mut open = descriptors.open.borrow_mut();
        let count = open.get_mut(&self.id).unwrap();
        *count -= 1;
        if *count > 0 {
            return;
        }
        open.remove(&self.id);
        let state = state.borrow();
        let is_named = state.names.values().any(|&id| id == self.id);
        if is_named && !state.files[&self.id].dirty.is_empty() {
            let closed = &descriptors.closed_unsynced;
            closed.set(closed.get() + 1);
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct TestFile {
    disk: TestDisk,
    id: u64,
    _descriptor: Rc<Descriptor>,
    /// Reads what is durable.
    uncached: bool,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<u64, File>,
    next_id: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    directories: BTreeSet<String>,
    durable_directories: BTreeSet<String>,
    /// Operations until every operation fails; the test then cuts the power.
    operations_left: Option<u64>,
    free: u64,
    syncs_fail: bool,
    /// Unreadable bytes of a file, and how many reads fail; `None` for all.
    unreadable: Option<(u64, Range<u64>, Option<u32>)>,
    /// How many of seven operations fail for lack of a descriptor or memory.
    shortage: u64,
    operations: u64,
    may_not_open: bool,
}

#[derive(Clone, Debug, Default)]
struct File {
    written: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors written since the last sync, with the bytes that were.
    dirty: BTreeMap<usize, (usize, usize)>,
    /// Cut since the last sync, so that bytes changed which no write touched.
    resized: bool,
}

impl TestDisk {
    pub(super) fn new() -> Self {
        let state = State {
            free: 1 << 40,
            ..State::default()
        };
        Self(Rc::new(RefCell::new(state)), Rc::default())
    }

    /// Makes this many of seven operations, except syncs of files, fail for lack of a descriptor or memory.
    pub(super) fn set_shortage(&self, of_seven: u64) {
        self.0.borrow_mut().shortage = of_seven;
    }

    /// Whether every operation that needs a descriptor finds none.
    pub(super) fn forbid_opening(&self, forbidden: bool) {
        self.0.borrow_mut().may_not_open = forbidden;
    }

    /// The most descriptors that were open at once.
    pub(super) fn most_open(&self) -> usize {
        self.1.most.get()
    }

    /// How often the last descriptor of a file was closed with bytes that were not synced.
    pub(super) fn closed_unsynced(&self) -> usize {
        self.1.closed_unsynced.get()
    }

    fn find_resources(&self) -> Result<(), DiskError> {
        let state = &mut *self.0.borrow_mut();
        state.operations += 1;
        // Seven and eleven are coprime, so that no operation in a repeating sequence fails every time.
        if state.operations * 11 / 3 % 7 < state.shortage {
            let reason = "too many open files".to_owned();
            return Err(DiskError::OutOfResources(reason));
        }
        Ok(())
    }

    /// After this many more operations that change something, all fail.
    pub(super) fn fail_after(&self, operations: u64) {
        self.0.borrow_mut().operations_left = Some(operations);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.0.borrow().operations_left == Some(0)
    }

    pub(super) fn set_free(&self, bytes: u64) {
        self.0.borrow_mut().free = bytes;
    }

    pub(super) fn fail_syncs(&self) {
        self.0.borrow_mut().syncs_fail = true;
    }

    pub(super) fn mend_syncs(&self) {
        self.0.borrow_mut().syncs_fail = false;
    }

    /// Makes reads of the pages of these bytes fail: this many times, or until the pages are rewritten as a whole.
    pub(super) fn fail_reads(&self, path: &str, bytes: Range<u64>, times: Option<u32>) {
        let state = &mut *self.0.borrow_mut();
        state.unreadable = Some((state.names[path], bytes, times));
    }

    /// The process dies, the page cache lives.
    pub(super) fn kill(&self) {
        let state = &mut *self.0.borrow_mut();
        state.operations_left = None;
    }

    /// The power fails: of what was not synced, each sector and name is kept, lost or torn as `draw` says.
    pub(super) fn power_cut(&self, draw: &mut dyn FnMut(u64) -> u64) {
        let state = &mut *self.0.borrow_mut();
        state.operations_left = None;
        let mut names = state.durable_names.clone();
        for (name, &id) in &state.names {
            if state.durable_names.get(name) != Some(&id) && draw(2) == 0 {
                names.insert(name.clone(), id);
            }
        }
        let lost: Vec<_> = state
            .durable_names
            .keys()
            .filter(|name| !state.names.contains_key(*name))
            .cloned()
            .collect();
        for name in lost {
            if draw(2) == 0 {
                names.remove(&name);
            }
        }
        // A name in a directory that was lost is lost with it.
        let mut directories = state.durable_directories.clone();
        for directory in &state.directories {
            if draw(2) == 0 {
                directories.insert(directory.clone());
            }
        }
        names.retain(|name, _| parent(name).is_empty() || directories.contains(parent(name)));
        for file in state.files.values_mut() {
            file.power_cut(draw);
        }
        state.names.clone_from(&names);
        state.durable_names = names;
        state.directories.clone_from(&directories);
        state.durable_directories = directories;
    }

    /// Flips a bit of what is stored.
    pub(super) fn rot(&self, path: &str, at: usize) {
        self.flip(path, at, 6);
    }

    /// Flips this bit of a byte of what is stored.
    pub(super) fn flip(&self, path: &str, at: usize, bit: u32) {
        let state = &mut *self.0.borrow_mut();
        let id = state.names[path];
        let file = state.files.get_mut(&id).unwrap();
        file.written[at] ^= 1 << bit;
        if let Some(byte) = file.durable.get_mut(at) {
            *byte ^= 1 << bit;
        }
    }

    /// Flips a bit of the durable bytes; the page cache keeps the intact byte.
    pub(super) fn rot_under_cache(&self, path: &str, at: usize) {
        let state = &mut *self.0.borrow_mut();
        let id = state.names[path];
        let file = state.files.get_mut(&id).unwrap();
        assert!(file.dirty.is_empty(), "what is not synced is on no disk");
        file.durable[at] ^= 0x40;
    }

    pub(super) fn bytes(&self, path: &str) -> Vec<u8> {
        let state = self.0.borrow();
        state.files[&state.names[path]].written.clone()
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.0.borrow().names.keys().cloned().collect()
    }

    pub(super) fn drop_file(&self, path: &str) {
        let state = &mut *self.0.borrow_mut();
        state.names.remove(path);
        state.durable_names.remove(path);
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, DiskError>,
    ) -> Result<T, DiskError> {
        self.find_resources()?;
        self.change_for_sure(change)
    }

    fn change_for_sure<T>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, DiskError>,
    ) -> Result<T, DiskError> {
        let state = &mut *self.0.borrow_mut();
        match &mut state.operations_left {
            Some(0) => return Err(DiskError::Io("the power is gone".to_owned())),
            Some(left) => *left -= 1,
            None => {}
        }
        change(state)
    }

    fn file(&self, id: u64) -> TestFile {
        let disk = self.clone();
        let mut open = self.1.open.borrow_mut();
        *open.entry(id).or_default() += 1;
        let most = self.1.most.get().max(open.values().sum());
        self.1.most.set(most);
        TestFile {
            disk: self.clone(),
            id,
            _descriptor: Rc::new(Descriptor { disk, id }),
            uncached: false,
        }
    }
}

impl File {
    fn sync(&mut self) {
        if self.resized {
            self.durable.clone_from(&self.written);
        } else {
            self.durable.resize(self.written.len(), 0);
            for &sector in self.dirty.keys() {
                let range = sector * SECTOR..((sector + 1) * SECTOR).min(self.written.len());
                self.durable[range.clone()].copy_from_slice(&self.written[range]);
            }
        }
        self.resized = false;
        self.dirty.clear();
    }

    fn power_cut(&mut self, draw: &mut dyn FnMut(u64) -> u64) {
        let mut bytes = self.durable.clone();
        // The new length may have got there or not, wherever bytes did.
        if draw(2) == 0 {
            bytes.resize(self.written.len(), 0);
        }
        for (&sector, &(from, to)) in &self.dirty {
            let fate = draw(3);
            for at in sector * SECTOR + from..(sector * SECTOR + to).min(self.written.len()) {
                if let Some(byte) = bytes.get_mut(at) {
                    match fate {
                        0 => *byte = self.written[at],
                        1 => {}
                        _ => *byte = u8::try_from(draw(256)).unwrap(),
                    }
                }
            }
        }
        self.dirty.clear();
        self.resized = false;
        self.written.clone_from(&bytes);
        self.durable = bytes;
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Disk for TestDisk {
    type File = TestFile;

    fn open(&self, path: &str) -> Result<TestFile, DiskError> {
        self.find_resources()?;
        if self.0.borrow().may_not_open {
            let reason = "too many open files".to_owned();
            return Err(DiskError::OutOfResources(reason));
        }
        let id = self.0.borrow().names.get(path).copied();
        id.map(|id| self.file(id)).ok_or(DiskError::NotFound)
    }

    fn open_uncached(&self, path: &str) -> Result<TestFile, DiskError> {
        let file = self.open(path)?;
        Ok(TestFile {
            uncached: true,
            ..file
        })
    }

    fn create(&self, path: &str) -> Result<TestFile, DiskError> {
        let id = self.change(|state| {
            if state.names.contains_key(path) {
                return Err(DiskError::Exists);
            }
            if !parent(path).is_empty() && !state.directories.contains(parent(path)) {
                return Err(DiskError::NotFound);
            }
            let id = state.next_id;
            state.next_id += 1;
            state.names.insert(path.to_owned(), id);
            state.files.insert(id, File::default());
            Ok(id)
        })?;
        Ok(self.file(id))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.change(|state| {
            let id = state.names.remove(from).ok_or(DiskError::NotFound)?;
            state.names.insert(to.to_owned(), id);
            Ok(())
        })
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.change(|state| {
            state.names.remove(path).ok_or(DiskError::NotFound)?;
            Ok(())
        })
    }

    fn list(&self, path: &str) -> Result<Vec<String>, DiskError> {
        self.find_resources()?;
        let state = self.0.borrow();
        if !path.is_empty() && !state.directories.contains(path) {
            return Err(DiskError::NotFound);
        }
        let names = state.names.keys().chain(&state.directories);
        let inside = names.filter(|name| parent(name) == path);
        let mut list: Vec<String> = inside
            .map(|name| name.rsplit('/').next().unwrap().to_owned())
            .collect();
        list.sort();
        Ok(list)
    }

    fn create_directory(&self, path: &str) -> Result<(), DiskError> {
        self.change(|state| {
            state.directories.insert(path.to_owned());
            Ok(())
        })
    }

    fn remove_directory(&self, path: &str) -> Result<(), DiskError> {
        self.change(|state| {
            assert!(!state.names.keys().any(|name| parent(name) == path));
            state.directories.remove(path);
            Ok(())
        })
    }

    fn sync_directory(&self, path: &str) -> Result<(), DiskError> {
        self.change(|state| {
            if state.syncs_fail {
                return Err(DiskError::SyncFailed("input/output error".to_owned()));
            }
            if !path.is_empty() && !state.directories.contains(path) {
                return Err(DiskError::NotFound);
            }
            state.durable_names.retain(|name, _| parent(name) != path);
            let names = state.names.iter().filter(|(name, _)| parent(name) == path);
            let names: Vec<_> = names.map(|(name, id)| (name.clone(), *id)).collect();
            state.durable_names.extend(names);
            if path.is_empty() {
                state.durable_directories.clone_from(&state.directories);
            }
            Ok(())
        })
    }

    fn free_bytes(&self) -> Result<u64, DiskError> {
        self.find_resources()?;
        Ok(self.0.borrow().free)
    }
}

impl DiskFile for TestFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        self.disk.find_resources()?;
        let state = &mut *self.disk.0.borrow_mut();
        if let Some((id, bytes, times)) = &mut state.unreadable
            && *id == self.id
            && offset < bytes.end.next_multiple_of(PAGE)
            && bytes.start / PAGE * PAGE < offset + buffer.len() as u64
            && *times != Some(0)
        {
            *times = times.map(|left| left - 1);
            return Err(DiskError::Io("input/output error".to_owned()));
        }
        let file = &state.files[&self.id];
        let from = usize::try_from(offset).unwrap().min(file.written.len());
        let count = buffer.len().min(file.written.len() - from);
        buffer[..count].copy_from_slice(&file.written[from..from + count]);
        if self.uncached {
            let range = from..(from + count).min(file.durable.len());
            for at in range.filter(|at| !file.dirty.contains_key(&(at / SECTOR))) {
                buffer[at - from] = file.durable[at];
            }
        }
        Ok(count)
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        self.disk.change(|state| {
            let file = state.files.get_mut(&self.id).unwrap();
            let at = usize::try_from(offset).unwrap();
            let bytes = parts.concat();
            let end = offset + bytes.len() as u64;
            if let Some((id, unreadable, _)) = &state.unreadable
                && *id == self.id
            {
                let page = unreadable.start / PAGE * PAGE..unreadable.end.next_multiple_of(PAGE);
                if offset <= page.start && page.end <= end {
                    state.unreadable = None;
                } else if offset < page.end && page.start < end {
                    return Err(DiskError::Io("input/output error".to_owned()));
                }
            }
            let grown = (at + bytes.len()).saturating_sub(file.written.len());
            if grown as u64 > state.free {
                return Err(DiskError::NoSpace);
            }
            state.free -= grown as u64;
            file.written
                .resize(file.written.len().max(at + bytes.len()), 0);
            for (at, byte) in (at..).zip(bytes) {
                file.written[at] = byte;
                let dirty = file.dirty.entry(at / SECTOR).or_insert((SECTOR, 0));
                *dirty = (dirty.0.min(at % SECTOR), dirty.1.max(at % SECTOR + 1));
            }
            Ok(())
        })
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.disk.change_for_sure(|state| {
            if state.syncs_fail {
                return Err(DiskError::SyncFailed("input/output error".to_owned()));
            }
            let file = state.files.get_mut(&self.id).unwrap();
            file.sync();
            Ok(())
        })
    }

    fn truncate(&self, length: u64) -> Result<(), DiskError> {
        self.disk.change(|state| {
            let file = state.files.get_mut(&self.id).unwrap();
            let kept = length.min(file.written.len() as u64);
            if let Some((id, unreadable, _)) = &state.unreadable
                && *id == self.id
                && !kept.is_multiple_of(PAGE)
                && unreadable.start < kept.next_multiple_of(PAGE)
                && kept / PAGE * PAGE < unreadable.end
            {
                return Err(DiskError::Io("input/output error".to_owned()));
            }
            let length = usize::try_from(length).unwrap();
            file.written.resize(length, 0);
            file.resized = true;
            Ok(())
        })
    }

    fn allocate(&self, length: u64) -> Result<(), DiskError> {
        self.disk.change(|state| {
            let file = state.files.get_mut(&self.id).unwrap();
            let length = usize::try_from(length).unwrap();
            let grown = length.saturating_sub(file.written.len());
            if grown as u64 > state.free {
                return Err(DiskError::NoSpace);
            }
            state.free -= grown as u64;
            file.written.resize(file.written.len() + grown, 0);
            Ok(())
        })
    }

    fn discard(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        self.disk.change(|state| {
            let range = offset..offset + length;
            let is_in = |bytes: &Range<u64>| range.start <= bytes.start && bytes.end <= range.end;
            state
                .unreadable
                .take_if(|(id, bytes, _)| *id == self.id && is_in(bytes));
            let file = state.files.get_mut(&self.id).unwrap();
            let end = range.end.min(file.written.len() as u64);
            file.written[range.start as usize..end as usize].fill(0);
            file.resized = true;
            Ok(())
        })
    }

    fn length(&self) -> Result<u64, DiskError> {
        Ok(self.disk.0.borrow().files[&self.id].written.len() as u64)
    }
}
