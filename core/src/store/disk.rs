//! What the log store asks of a disk.
//!
//! Synchronous and small, so that a simulated disk can fault every operation. Paths are relative to one log
//! directory, with `/` between parts. Nothing is durable before [`DiskFile::sync`] (bytes and length of the
//! file) and [`Disk::sync_directory`] (names in the directory) have returned without error; after a failed
//! sync nothing is known of the file, and the store never retries one.
//!
//! Any operation but [`DiskFile::sync`] may fail with [`DiskError::OutOfResources`], which says nothing of the disk: it
//! can be tried again.

use std::fmt;

/// One log directory. Clones are handles of the same directory, so that names can be made durable while others work.
pub trait Disk: Clone {
    /// An open file. Clones are handles of the same file, so that a sync can run while others write.
    type File: DiskFile;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// [`DiskError::NotFound`] or [`DiskError::Io`].
    fn open(&self, path: &str) -> Result<Self::File, DiskError>;

    /// Opens an existing file for reading what the disk itself holds, past every cache, as far as that can be had.
    /// What was written and not synced reads as written.
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

    /// Creates a directory; nothing happens where it exists.
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

    /// Writes the parts one after the other from `offset` on, extending the file where needed.
    ///
    /// # Errors
    /// [`DiskError::NoSpace`] or [`DiskError::Io`]; any part of the bytes may then be written.
    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError>;

    /// Makes bytes and length durable.
    ///
    /// # Errors
    /// [`DiskError::SyncFailed`].
    fn sync(&self) -> Result<(), DiskError>;

    /// Cuts or extends with zeros.
    ///
    /// # Errors
    /// [`DiskError::NoSpace`] or [`DiskError::Io`].
    fn truncate(&self, length: u64) -> Result<(), DiskError>;

    /// Reserves space up to `length` without changing the bytes that are there, so that writing below cannot run out of it.
    ///
    /// # Errors
    /// [`DiskError::NoSpace`] or [`DiskError::Io`].
    fn allocate(&self, length: u64) -> Result<(), DiskError>;

    /// Gives up the bytes of whole pages of 4096, which read as zeros until they are written again: for those that
    /// cannot be read. The file keeps its length.
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

/// What a disk answers when it cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// No such file or directory.
    NotFound,
    /// The file exists.
    Exists,
    /// The disk is full.
    NoSpace,
    /// The process or the system has no descriptor or no memory left for it, in the operating system's words. Nothing was
    /// done, but that any part of a write may be.
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
