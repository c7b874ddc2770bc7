//! Real files that hang or fail on command.

use std::sync::{Arc, Condvar, Mutex};

use varve_core::store::{Disk, DiskError, DiskFile};
use varve_net::files::{RealDisk, RealFile};

/// How a disk is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Condition {
    #[default]
    Sound,
    /// What changes it waits until it is another way.
    Hangs,
    /// What changes it fails.
    Fails,
}

/// The condition of a disk, which a test changes.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    condition: Mutex<Condition>,
    changed: Condvar,
}

impl Switch {
    pub(crate) fn set(&self, condition: Condition) {
        *self.condition.lock().unwrap() = condition;
        self.changed.notify_all();
    }

    /// Waits while the disk hangs.
    fn pass(&self) -> Result<(), DiskError> {
        let condition = self.condition.lock().unwrap();
        let hangs = |condition: &mut Condition| *condition == Condition::Hangs;
        let condition = self.changed.wait_while(condition, hangs).unwrap();
        if *condition == Condition::Fails {
            return Err(DiskError::SyncFailed("input/output error".to_owned()));
        }
        Ok(())
    }
}

/// A real disk with a switch.
#[derive(Clone, Debug)]
pub(crate) struct FailingDisk {
    pub(crate) disk: RealDisk,
    pub(crate) switch: Arc<Switch>,
}

/// A file of it.
#[derive(Clone, Debug)]
pub(crate) struct FailingFile {
    file: RealFile,
    switch: Arc<Switch>,
}

impl FailingDisk {
    fn wrap(&self, file: RealFile) -> FailingFile {
        let switch = Arc::clone(&self.switch);
        FailingFile { file, switch }
    }
}

impl Disk for FailingDisk {
    type File = FailingFile;

    fn open(&self, path: &str) -> Result<FailingFile, DiskError> {
        self.disk.open(path).map(|file| self.wrap(file))
    }

    fn open_uncached(&self, path: &str) -> Result<FailingFile, DiskError> {
        self.disk.open_uncached(path).map(|file| self.wrap(file))
    }

    fn create(&self, path: &str) -> Result<FailingFile, DiskError> {
        self.switch.pass()?;
        self.disk.create(path).map(|file| self.wrap(file))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.disk.remove(path)
    }

    fn list(&self, path: &str) -> Result<Vec<String>, DiskError> {
        self.disk.list(path)
    }

    fn create_directory(&self, path: &str) -> Result<(), DiskError> {
        self.disk.create_directory(path)
    }

    fn remove_directory(&self, path: &str) -> Result<(), DiskError> {
        self.disk.remove_directory(path)
    }

    fn sync_directory(&self, path: &str) -> Result<(), DiskError> {
        self.switch.pass()?;
        self.disk.sync_directory(path)
    }

    fn free_bytes(&self) -> Result<u64, DiskError> {
        self.disk.free_bytes()
    }
}

impl DiskFile for FailingFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        self.switch.pass()?;
        self.file.write_at(offset, parts)
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.switch.pass()?;
        self.file.sync()
    }

    fn truncate(&self, length: u64) -> Result<(), DiskError> {
        self.file.truncate(length)
    }

    fn allocate(&self, length: u64) -> Result<(), DiskError> {
        self.file.allocate(length)
    }

    fn discard(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        self.file.discard(offset, length)
    }

    fn length(&self) -> Result<u64, DiskError> {
        self.file.length()
    }
}
