//! The file operations that the log store needs.
//!
//! Synchronous and few, so that a simulated disk can inject a fault into every operation. Paths are relative to one log
//! directory, with `/` between parts. Nothing is durable before [`DiskFile::sync`] (bytes and length of the file) and
//! [`Disk::sync_directory`] (names in the directory) have returned without error. After a failed sync the state of the
//! file is unknown, and the store never retries it.
//!
//! Any operation but [`DiskFile::sync`] may fail with [`DiskError::OutOfResources`], which says nothing about the disk:
//! the operation can be retried.

use std::fmt;

/// One log directory. Clones are handles of the same directory, so that one thread can sync names while others work.
pub trait Disk: Clone {
    /// An open file. Clones are handles of the same file, so that a sync can run while others write.
    type File: DiskFile;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// [`DiskError::NotFound`] or [`DiskError::Io`].
    fn open(&self, path: &str) -> Result<Self::File, DiskError>;

    /// Opens an existing file for reading what the disk itself holds, bypassing caches as far as possible. Bytes that
    /// were written and not synced read as written.
    ///
    /// # Errors
    /// [`DiskError::NotFound`] or [`DiskError::Io`].
    fn open_uncached(&self, path: &str) -> Result<Self::File, DiskError>;

    /// Creates an empty file; its name is durable after [`Disk::sync_directory`] of its parent.
    ///
    /// # Errors
    /// [`DiskError::Exists`], [`DiskError::NoSpace`] or [`DiskError::Io`].
    fn create(&self, path: &str) -> Result<Self::File, DiskError>;

    /// Renames a file, replacing `to` where it exists. Atomic; durable after both parents are synced.
    ///
    /// # Errors
    /// [`DiskError::NotFound`] or [`DiskError::Io`].
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Removes a file.
    ///
    /// # Errors
    /// [`DiskError::NotFound`] or [`DiskError::Io`].
    fn remove(&self, path: &str) -> Result<(), DiskError>;

    /// Names of the files and directories directly in `path` (`""` is the log directory itself), sorted.
    ///
    /// # Errors
    /// [`DiskError::NotFound`] or [`DiskError::Io`].
    fn list(&self, path: &str) -> Result<Vec<String>, DiskError>;

    /// Creates a directory, unless it exists.
    ///
    /// # Errors
    /// [`DiskError::NoSpace`] or [`DiskError::Io`].
    fn create_directory(&self, path: &str) -> Result<(), DiskError>;

    /// Removes a directory, which must be empty.
    ///
    /// # Errors
    /// [`DiskError::NotFound`] or [`DiskError::Io`].
    fn remove_directory(&self, path: &str) -> Result<(), DiskError>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// [`DiskError::SyncFailed`]; the directory is then taken offline.
    fn sync_directory(&self, path: &str) -> Result<(), DiskError>;

    /// Bytes that can still be written.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    fn free_bytes(&self) -> Result<u64, DiskError>;
}

/// One open file.
pub trait DiskFile: Clone {
    /// Reads up to `buffer.len()` bytes at `offset`; fewer only at the end of the file. Returns how many.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError>;

    /// Writes the parts consecutively from `offset` on, extending the file if needed.
    ///
    /// # Errors
    /// [`DiskError::NoSpace`] or [`DiskError::Io`]; any part of the bytes may then be written.
    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError>;

    /// Makes bytes and length durable.
    ///
    /// # Errors
    /// [`DiskError::SyncFailed`].
    fn sync(&self) -> Result<(), DiskError>;

    /// Shortens the file, or extends it with zeros.
    ///
    /// # Errors
    /// [`DiskError::NoSpace`] or [`DiskError::Io`].
    fn truncate(&self, length: u64) -> Result<(), DiskError>;

    /// Reserves space up to `length` without changing existing bytes, so that writes below it cannot run out of space.
    ///
    /// # Errors
    /// [`DiskError::NoSpace`] or [`DiskError::Io`].
    fn allocate(&self, length: u64) -> Result<(), DiskError>;

    /// Discards whole pages of 4096 bytes, which then read as zeros until they are written again: for pages that cannot
    /// be read. The file keeps its length.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    fn discard(&self, offset: u64, length: u64) -> Result<(), DiskError>;

    /// Length in bytes.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    fn length(&self) -> Result<u64, DiskError>;
}

/// Why a disk operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// No such file or directory.
    NotFound,
    /// The file exists.
    Exists,
    /// The disk is full.
    NoSpace,
    /// The process or the system has no descriptor or no memory left, in the operating system's words. The operation
    /// had no effect, except that any part of a write may have been written.
    OutOfResources(String),
    /// A sync failed, in the operating system's words: what is durable is unknown, and a later success proves nothing.
    SyncFailed(String),
    /// Anything else, in the operating system's words.
    Io(String),
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("no such file or directory"),
            Self::Exists => f.write_str("the file exists"),
            Self::NoSpace => f.write_str("the disk is full"),
            Self::SyncFailed(reason) => write!(f, "a sync failed: {reason}"),
            Self::OutOfResources(reason) | Self::Io(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for DiskError {}
