//! The open segment, index and snapshot files, limited in number.
//!
//! A directory may have more files than its process may have descriptors. So a file is opened when it is written, and
//! the least recently used one is closed for it.
//!
//! **A file that was written is not closed before it is synced.** An operating system that fails to write a page back
//! reports that at the next sync of a descriptor that was open then, and marks the page clean. When the last descriptor
//! is closed, the file's state may leave memory, and the error with it: a sync through a descriptor that is opened
//! later succeeds and proves nothing. So a file with unsynced bytes is synced before it is closed, and a failure of
//! that sync counts like any other. A ticket holds handles of the files that it syncs, so up to three times the limit
//! may be open at a time: here, by a commit, and by a checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use crate::hooks::{Hooks, Mutant};
use crate::ids::{Offset, TopicPartition};
use crate::store::segment::{self, FileKind};
use crate::store::{Disk, DiskError, DiskFile};

/// A replica's file, by the base offset of its segment or the offset of its snapshot.
pub(super) type FileName = (TopicPartition, Offset, FileKind);

/// The open files of one directory.
#[derive(Debug)]
pub(super) struct OpenFiles<F> {
    hooks: Hooks,
    /// The limit; at least two, since the two indexes of a segment are written together.
    max: usize,
    /// The open files, each with the number of its last use.
    files: BTreeMap<FileName, (u64, F)>,
    /// Their names, by last use.
    by_use: BTreeMap<u64, FileName>,
    uses: u64,
    /// The files that the next group commit must sync.
    unsynced: BTreeSet<FileName>,
    /// The files that were opened for writing since the last checkpoint began, and not synced by closing.
    dirty: BTreeSet<FileName>,
}

/// Whether a file had to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// The file was open.
    AlreadyOpen,
    /// The file existed and was opened.
    Existing,
    /// The file was created.
    Created,
}

impl<F: DiskFile> OpenFiles<F> {
    pub(super) fn new(max: usize, hooks: Hooks) -> Self {
        Self {
            hooks,
            max: max.max(2),
            files: BTreeMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            unsynced: BTreeSet::new(),
            dirty: BTreeSet::new(),
        }
    }

    /// The file for a reader, if it is open; does not count as a use.
    pub(super) fn get(&self, name: FileName) -> Option<&F> {
        self.files.get(&name).map(|(_, file)| file)
    }

    /// The file for a writer, opened or created if needed; the next checkpoint syncs it. The caller must write to it
    /// before it opens two more files, which could close it.
    pub(super) fn open<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        name: FileName,
    ) -> Result<(F, Opened), DiskError> {
        if let Some(file) = self.touch(name) {
            return Ok((file, Opened::AlreadyOpen));
        }
        let (replica, segment, kind) = name;
        self.open_at(disk, name, &segment::path(replica, segment, kind))
    }

    /// As [`Self::open`], for a file at a path of its own; closes any open file of that name.
    pub(super) fn open_at<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        name: FileName,
        path: &str,
    ) -> Result<(F, Opened), DiskError> {
        self.close(name)?;
        self.make_room()?;
        let (file, made) = match segment::open_or_create(disk, name.0, path) {
            // The store can free a descriptor by closing one of its own files.
            Err(DiskError::OutOfResources(_)) if self.close_oldest()? => {
                segment::open_or_create(disk, name.0, path)?
            }
            opened => opened?,
        };
        self.insert(name, file.clone());
        let opened = if made {
            Opened::Created
        } else {
            Opened::Existing
        };
        Ok((file, opened))
    }

    fn touch(&mut self, name: FileName) -> Option<F> {
        let (last, file) = self.files.get_mut(&name)?;
        self.uses += 1;
        self.by_use.remove(last);
        *last = self.uses;
        self.by_use.insert(self.uses, name);
        self.dirty.insert(name);
        Some(file.clone())
    }

    fn insert(&mut self, name: FileName, file: F) {
        assert!(self.files.len() < self.max, "there was room for it");
        self.uses += 1;
        self.by_use.insert(self.uses, name);
        self.files.insert(name, (self.uses, file));
        self.dirty.insert(name);
    }

    /// Makes the next group commit sync a file that is open.
    pub(super) fn sync_with_commit(&mut self, name: FileName) {
        assert!(self.files.contains_key(&name), "what is written is open");
        self.unsynced.insert(name);
    }

    /// Closes files until there is room for one more.
    fn make_room(&mut self) -> Result<(), DiskError> {
        while self.files.len() >= self.max {
            self.close_oldest()?;
        }
        Ok(())
    }

    /// Closes the least recently used file. Returns whether there was one.
    fn close_oldest(&mut self) -> Result<bool, DiskError> {
        let Some((_, &name)) = self.by_use.first_key_value() else {
            return Ok(false);
        };
        self.close(name)?;
        Ok(true)
    }

    /// Closes a file, if it is open, after syncing unsynced bytes.
    fn close(&mut self, name: FileName) -> Result<(), DiskError> {
        if !self.is_clean(name) && !self.hooks.is(Mutant::ClosesUnsynced) {
            self.files[&name].1.sync()?;
        }
        self.forget(name);
        Ok(())
    }

    fn is_clean(&self, name: FileName) -> bool {
        !self.dirty.contains(&name) && !self.unsynced.contains(&name)
    }

    /// Closes a file whose bytes are obsolete, without a sync.
    pub(super) fn forget(&mut self, name: FileName) {
        if let Some((last, _)) = self.files.remove(&name) {
            self.by_use.remove(&last);
        }
        self.unsynced.remove(&name);
        self.dirty.remove(&name);
    }

    /// Closes all files of a replica in that way.
    pub(super) fn forget_replica(&mut self, replica: TopicPartition) {
        let first = (replica, Offset(i64::MIN), FileKind::Log);
        let of_replica = self.files.range(first..).map(|(&name, _)| name);
        let names: Vec<_> = of_replica
            .take_while(|(owner, _, _)| *owner == replica)
            .collect();
        for name in names {
            self.forget(name);
        }
    }

    /// Whether a group commit has no file to sync.
    pub(super) fn is_commit_clean(&self) -> bool {
        self.unsynced.is_empty()
    }

    /// Whether a file can be opened without having to sync another one first.
    pub(super) fn has_room(&self) -> bool {
        let oldest = self.by_use.first_key_value();
        self.files.len() < self.max || oldest.is_none_or(|(_, &name)| self.is_clean(name))
    }

    /// Takes handles of the files that a group commit has to sync.
    pub(super) fn take_unsynced(&mut self) -> Vec<F> {
        let names = std::mem::take(&mut self.unsynced).into_iter();
        names.map(|name| self.files[&name].1.clone()).collect()
    }

    /// Takes handles of the files that a checkpoint has to sync.
    pub(super) fn take_dirty(&mut self) -> Vec<F> {
        let names = std::mem::take(&mut self.dirty).into_iter();
        names.map(|name| self.files[&name].1.clone()).collect()
    }
}
