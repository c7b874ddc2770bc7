//! The files of segments, indexes and snapshots that are open: never more than so many at once.
//!
//! A directory may have more files with data than its process may have descriptors, so a file is opened when it is
//! written, and the one that was used longest ago makes room for it.
//!
//! **A file that was written is not closed before it is synced.** An operating system that fails to bring a page to the
//! disk tells whoever has the file open, at the next sync, and takes the page for clean. With the last descriptor
//! the file may leave memory, and what was to be told with it: a sync of a descriptor that is opened later succeeds and
//! proves nothing. So a file with unsynced bytes that is to make room is synced first, and a failure of that is one
//! like any other. A ticket holds handles of what it syncs, which stay open until it is done; so at any time up to
//! three times as many are open: here, for a commit, and for a checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use crate::hooks::{Hooks, Mutant};
use crate::ids::{Offset, TopicPartition};
use crate::store::segment::{self, FileKind};
use crate::store::{Disk, DiskError, DiskFile};

/// A file of a replica, by its segment or snapshot.
pub(super) type FileName = (TopicPartition, Offset, FileKind);

/// The open files of one directory.
#[derive(Debug)]
pub(super) struct OpenFiles<F> {
    hooks: Hooks,
    /// Never more than this, and two at least: indexes are written in pairs.
    max: usize,
    /// Each with its last use.
    files: BTreeMap<FileName, (u64, F)>,
    /// The same, by use.
    by_use: BTreeMap<u64, FileName>,
    uses: u64,
    /// Those that the next group commit must sync.
    unsynced: BTreeSet<FileName>,
    /// Those that were written and not synced since the last checkpoint was begun.
    dirty: BTreeSet<FileName>,
}

/// Whether a file had to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// It was open.
    AlreadyOpen,
    /// It was there.
    Existing,
    /// It has been made.
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

    /// The file, if it is open, for a reader: that does not keep it open for longer.
    pub(super) fn get(&self, name: FileName) -> Option<&F> {
        self.files.get(&name).map(|(_, file)| file)
    }

    /// The file for a writer, opened or made where need be: the next checkpoint syncs it. To be written before another
    /// one is opened, but for one.
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

    /// The same for a file at a path of its own, in place of any other of its name.
    pub(super) fn open_at<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        name: FileName,
        path: &str,
    ) -> Result<(F, Opened), DiskError> {
        self.close(name)?;
        self.make_room()?;
        let (file, made) = match segment::open_or_create(disk, name.0, path) {
            // The descriptors that are held here are the store's to give.
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

    /// Closes the file that was used longest ago. Whether there was one.
    fn close_oldest(&mut self) -> Result<bool, DiskError> {
        let Some((_, &name)) = self.by_use.first_key_value() else {
            return Ok(false);
        };
        self.close(name)?;
        Ok(true)
    }

    /// Closes a file, if it is open, once nothing of it is unsynced.
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

    /// Closes a file of which nothing is needed any more.
    pub(super) fn forget(&mut self, name: FileName) {
        if let Some((last, _)) = self.files.remove(&name) {
            self.by_use.remove(&last);
        }
        self.unsynced.remove(&name);
        self.dirty.remove(&name);
    }

    /// The same of all files of a replica.
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

    /// Whether a group commit would have to sync any.
    pub(super) fn is_commit_clean(&self) -> bool {
        self.unsynced.is_empty()
    }

    /// Whether a file can be opened without another one being synced for it.
    pub(super) fn has_room(&self) -> bool {
        let oldest = self.by_use.first_key_value();
        self.files.len() < self.max || oldest.is_none_or(|(_, &name)| self.is_clean(name))
    }

    /// Handles of what a group commit must sync. The next one need not.
    pub(super) fn take_unsynced(&mut self) -> Vec<F> {
        let names = std::mem::take(&mut self.unsynced).into_iter();
        names.map(|name| self.files[&name].1.clone()).collect()
    }

    /// Handles of what a checkpoint must sync. The next one need not.
    pub(super) fn take_dirty(&mut self) -> Vec<F> {
        let names = std::mem::take(&mut self.dirty).into_iter();
        names.map(|name| self.files[&name].1.clone()).collect()
    }
}
