//! Real files: the log directory of a node's store.
//!
//! [`RealDisk`] implements the log store's disk operations with system calls. It decides nothing: no retry, no caching,
//! no buffering. Every call blocks, so only the threads of [`crate::disk_thread`] make it, never an asynchronous task.
//! This module alone classifies errors: the disk is full, it has failed, or the process or the system has no descriptor
//! or no memory left.
//!
//! One log directory belongs to one process: [`RealDisk::open`] takes an exclusive lock on the file `.lock` in
//! it, which the operating system drops with the process, however it ends.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use varve_core::store::{Disk, DiskError, DiskFile};

use crate::peer_link::LogThrottle;
use crate::uncached::{self, Window};

/// The lock file, named as in Kafka. The store never sees it.
const LOCK_FILE: &str = ".lock";

/// The most parts that one vectored write takes (`IOV_MAX` on Linux).
const PARTS_MAX: usize = 1024;

/// A log directory on a real disk, locked for this process.
#[derive(Clone, Debug)]
pub struct RealDisk {
    root: Arc<Root>,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
    /// The throttle for messages about missing descriptors and memory.
    shortages: Mutex<LogThrottle>,
    /// Holds the lock until the last clone of the disk is dropped.
    _lock: File,
}

/// Why a log directory could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has it open.
    InUse(PathBuf),
    /// The directory, or the lock file in it, could not be created or opened.
    Io(PathBuf, io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(path) => write!(
                f,
                "the log directory {} is in use by another process",
                path.display()
            ),
            Self::Io(path, error) => {
                write!(
                    f,
                    "cannot open the log directory {}: {error}",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::InUse(_) => None,
            Self::Io(_, error) => Some(error),
        }
    }
}

impl RealDisk {
    /// Opens a log directory, creating it where it does not exist, and locks it for this process.
    ///
    /// # Errors
    /// [`OpenError::InUse`] where another process, or another open in this one, holds the lock.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Io(path.to_owned(), error);
        fs::create_dir_all(path).map_err(failed)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK_FILE))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        Ok(Self {
            root: Arc::new(Root {
                path: path.to_owned(),
                shortages: Mutex::default(),
                _lock: lock,
            }),
        })
    }

    /// Where the directory is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root.path
    }

    fn file(&self, file: File, window: Option<Arc<Mutex<Window>>>) -> RealFile {
        RealFile {
            root: Arc::clone(&self.root),
            file: Arc::new(file),
            window,
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        if path.is_empty() {
            self.root.path.clone()
        } else {
            self.root.path.join(path)
        }
    }
}

impl Disk for RealDisk {
    type File = RealFile;

    fn open(&self, path: &str) -> Result<RealFile, DiskError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.at(path))
            .map_err(|error| self.root.describe(error))?;
        Ok(self.file(file, None))
    }

    fn open_uncached(&self, path: &str) -> Result<RealFile, DiskError> {
        let file = uncached::open(&self.at(path)).map_err(|error| self.root.describe(error))?;
        Ok(self.file(file, Some(Arc::default())))
    }

    fn create(&self, path: &str) -> Result<RealFile, DiskError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.at(path))
            .map_err(|error| self.root.describe(error))?;
        Ok(self.file(file, None))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        fs::rename(self.at(from), self.at(to)).map_err(|error| self.root.describe(error))
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        fs::remove_file(self.at(path)).map_err(|error| self.root.describe(error))
    }

    fn list(&self, path: &str) -> Result<Vec<String>, DiskError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.at(path)).map_err(|error| self.root.describe(error))? {
            let name = entry
                .map_err(|error| self.root.describe(error))?
                .file_name();
            // The store writes ASCII names only; other files are not its own.
            if let Ok(name) = name.into_string()
                && !(path.is_empty() && name == LOCK_FILE)
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_directory(&self, path: &str) -> Result<(), DiskError> {
        match fs::create_dir(self.at(path)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result.map_err(|error| self.root.describe(error)),
        }
    }

    fn remove_directory(&self, path: &str) -> Result<(), DiskError> {
        fs::remove_dir(self.at(path)).map_err(|error| self.root.describe(error))
    }

    fn sync_directory(&self, path: &str) -> Result<(), DiskError> {
        // A directory that cannot be opened has not been synced; that is not a failed sync.
        let directory = File::open(self.at(path)).map_err(|error| self.root.describe(error))?;
        directory.sync_all().map_err(sync_failed)
    }

    fn free_bytes(&self) -> Result<u64, DiskError> {
        let stat = rustix::fs::statvfs(&self.root.path)
            .map_err(|error| self.root.describe(error.into()))?;
        // `f_bavail`, not `f_bfree`: the superuser's reserve is not available to this process.
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// An open file of a [`RealDisk`].
#[derive(Clone, Debug)]
pub struct RealFile {
    root: Arc<Root>,
    file: Arc<File>,
    /// The window of a file that is read past the page cache.
    window: Option<Arc<Mutex<Window>>>,
}

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        if let Some(window) = &self.window {
            // A poisoned lock means that a thread has met a bug, which stops the process.
            let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
            return window
                .read_at(&self.file, offset, buffer)
                .map_err(|error| self.root.describe(error));
        }
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.root.describe(error)),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut left = slices.as_mut_slice();
        IoSlice::advance_slices(&mut left, 0);
        let mut offset = offset;
        while !left.is_empty() {
            let some = &left[..left.len().min(PARTS_MAX)];
            match rustix::io::pwritev(&*self.file, some, offset) {
                Ok(0) => return Err(DiskError::Io("a write wrote nothing".to_owned())),
                Ok(n) => {
                    offset += n as u64;
                    IoSlice::advance_slices(&mut left, n);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.root.describe(error.into())),
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        // fdatasync: bytes and length, but not the modification time, which varve never reads. After any error, even
        // one for lack of memory, a page may be marked clean without having been written: so it is never retried.
        self.file.sync_data().map_err(sync_failed)
    }

    fn truncate(&self, length: u64) -> Result<(), DiskError> {
        self.file
            .set_len(length)
            .map_err(|error| self.root.describe(error))
    }

    fn allocate(&self, length: u64) -> Result<(), DiskError> {
        if length == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(&*self.file, FallocateFlags::empty(), 0, length) {
            Ok(()) => Ok(()),
            // Some file systems cannot reserve. The length is then set without the space, and a full disk
            // shows at the write instead.
            Err(Errno::OPNOTSUPP) => {
                if self.length()? < length {
                    self.truncate(length)?;
                }
                Ok(())
            }
            Err(error) => Err(self.root.describe(error.into())),
        }
    }

    fn discard(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&*self.file, flags, offset, length)
            .map_err(|error| self.root.describe(error.into()))
    }

    fn length(&self) -> Result<u64, DiskError> {
        Ok(self
            .file
            .metadata()
            .map_err(|error| self.root.describe(error))?
            .len())
    }
}

/// The kernel's boot id, by which the store distinguishes a restarted process from a restarted machine; `None` where
/// the system has none.
#[must_use]
pub fn boot_id() -> Option<u128> {
    let mut text = String::new();
    File::open("/proc/sys/kernel/random/boot_id")
        .and_then(|file| file.take(64).read_to_string(&mut text))
        .ok()?;
    let hex: String = text.trim().chars().filter(|&c| c != '-').collect();
    u128::from_str_radix(&hex, 16).ok()
}

impl Root {
    /// Classifies an error of any operation but a sync.
    fn describe(&self, error: io::Error) -> DiskError {
        let kind = error.kind();
        if kind == io::ErrorKind::NotFound {
            DiskError::NotFound
        } else if kind == io::ErrorKind::AlreadyExists {
            DiskError::Exists
        } else if matches!(
            kind,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            DiskError::NoSpace
        } else if is_shortage(&error) {
            let reason = error.to_string();
            let mut shortages = self
                .shortages
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if shortages.should_log(&reason) {
                tracing::warn!(
                    reason,
                    "out of descriptors or memory: what needs one waits for it"
                );
            }
            DiskError::OutOfResources(reason)
        } else {
            DiskError::Io(error.to_string())
        }
    }
}

/// Whether an operation failed because the process or the system has no descriptor or no memory left, which is no
/// failure of the disk.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    Errno::from_io_error(error).is_some_and(|errno| shortages.contains(&errno))
}

fn sync_failed(error: io::Error) -> DiskError {
    DiskError::SyncFailed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (tempfile::TempDir, RealDisk) {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(directory.path()).unwrap();
        (directory, disk)
    }

    #[test]
    fn what_is_written_in_parts_is_read_back_whole() {
        let (_directory, disk) = disk();
        let file = disk.create("a").unwrap();
        file.write_at(0, &[b"one ", b"", b"two ", b"three"])
            .unwrap();
        file.write_at(4, &[b"TWO"]).unwrap();
        file.sync().unwrap();
        let mut buffer = [0; 64];
        let n = disk.open("a").unwrap().read_at(0, &mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"one TWO three");
        assert_eq!(file.read_at(8, &mut buffer), Ok(5));
        assert_eq!(file.read_at(100, &mut buffer), Ok(0));
        assert_eq!(file.length(), Ok(13));
    }

    #[test]
    fn more_parts_than_one_system_call_takes_arrive_in_order() {
        let (_directory, disk) = disk();
        let file = disk.create("a").unwrap();
        let parts: Vec<[u8; 2]> = (0..3000_u16).map(u16::to_be_bytes).collect();
        let slices: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
        file.write_at(10, &slices).unwrap();
        let mut buffer = vec![0; 6010];
        assert_eq!(file.read_at(0, &mut buffer), Ok(6010));
        assert_eq!(buffer[..10], [0; 10]);
        assert_eq!(buffer[10..], parts.concat());
    }

    #[test]
    fn allocating_keeps_the_bytes_and_truncating_cuts_them() {
        let (_directory, disk) = disk();
        let file = disk.create("a").unwrap();
        file.write_at(0, &[b"kept"]).unwrap();
        file.allocate(4096).unwrap();
        let mut buffer = [0; 4];
        assert_eq!(file.read_at(0, &mut buffer), Ok(4));
        assert_eq!(&buffer, b"kept");
        file.truncate(2).unwrap();
        assert_eq!(file.length(), Ok(2));
    }

    #[test]
    fn names_are_listed_sorted_and_without_the_lock() {
        let (_directory, disk) = disk();
        disk.create_directory("d").unwrap();
        disk.create_directory("d").unwrap();
        for name in ["d/b", "d/a", "c"] {
            disk.create(name).unwrap();
        }
        assert_eq!(disk.list("").unwrap(), ["c", "d"]);
        assert_eq!(disk.list("d").unwrap(), ["a", "b"]);
        disk.rename("d/b", "d/a").unwrap();
        disk.sync_directory("d").unwrap();
        assert_eq!(disk.list("d").unwrap(), ["a"]);
        disk.remove("d/a").unwrap();
        disk.remove_directory("d").unwrap();
        assert_eq!(disk.list("").unwrap(), ["c"]);
    }

    #[test]
    fn errors_keep_their_kind() {
        let (_directory, disk) = disk();
        assert_eq!(disk.open("none").unwrap_err(), DiskError::NotFound);
        assert_eq!(disk.remove("none"), Err(DiskError::NotFound));
        assert_eq!(disk.list("none"), Err(DiskError::NotFound));
        disk.create("a").unwrap();
        assert_eq!(disk.create("a").unwrap_err(), DiskError::Exists);
        assert!(disk.free_bytes().unwrap() > 0);
    }

    #[test]
    fn a_want_of_descriptors_or_memory_is_no_error_of_the_disk() {
        let (_directory, disk) = disk();
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
            let error = disk.root.describe(errno.into());
            assert!(matches!(error, DiskError::OutOfResources(_)), "{error}");
        }
        let failed = disk.root.describe(Errno::IO.into());
        assert!(matches!(failed, DiskError::Io(_)));
        assert_eq!(disk.root.describe(Errno::NOSPC.into()), DiskError::NoSpace);
        // A sync with this error counts as failed: what it has written is unknown.
        let synced = sync_failed(Errno::NOMEM.into());
        assert!(matches!(synced, DiskError::SyncFailed(_)));
    }

    #[test]
    fn the_boot_id_is_the_same_all_boot_long() {
        assert!(boot_id().is_some());
        assert_eq!(boot_id(), boot_id());
    }

    #[test]
    fn a_directory_is_opened_by_one_node_at_a_time() {
        let (directory, disk) = disk();
        let clone = disk.clone();
        drop(disk);
        let second = RealDisk::open(directory.path()).unwrap_err();
        assert!(matches!(second, OpenError::InUse(_)), "{second}");
        drop(clone);
        RealDisk::open(directory.path()).unwrap();
    }
}
