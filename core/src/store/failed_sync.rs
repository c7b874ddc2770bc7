//! A failed sync is recorded in a file of its own, so that it is known after a restart of the process.
//!
//! A failed sync may leave pages in the page cache that look clean but are not on the disk. A process that opens the
//! directory in the same run of the operating system would read them, and its syncs would succeed without writing
//! anything. So the directory does not open again in that run. After a reboot the cache is gone, and reads return what
//! is on the disk.
//!
//! ```text
//!  0  magic "VSF1"        4  crc u32 (CRC-32C of all that follows)
//!  8  boot id 16 bytes   24  what the disk said, UTF-8, zeros to 512
//! ```
//!
//! The file gets its size in advance, so that the failure can be recorded on a full disk. It is not synced: the process
//! that must see it reads it from the same page cache.

use crate::store::codec::{Decoded, Malformed, Put, Take};
use crate::store::journal::{check, seal};
use crate::store::{BootId, Disk, DiskError, DiskFile, OpenError, bad_sectors};

const PATH: &str = "failed-sync";
const MAGIC: u32 = u32::from_be_bytes(*b"VSF1");
const SIZE: usize = 512;
const HEADER: usize = 24;

/// Whether a name in the directory is this file's.
pub(super) fn is_name(name: &str) -> bool {
    name == PATH
}

/// The file in which a failed sync is recorded. It is opened in advance, so that the failure can be recorded without a
/// free descriptor.
#[derive(Clone, Debug)]
pub(super) struct FailedSync<F> {
    file: F,
    boot: BootId,
}

impl<F: DiskFile> FailedSync<F> {
    /// Opens the file, creating it if needed.
    pub(super) fn open<D: Disk<File = F>>(disk: &D, boot: BootId) -> Result<Self, DiskError> {
        let file = match disk.open(PATH) {
            Err(DiskError::NotFound) => disk.create(PATH)?,
            file => file?,
        };
        Ok(Self { file, boot })
    }

    /// Checks that no sync has failed in this run of the operating system, and clears a record of an earlier run.
    ///
    /// # Errors
    /// [`OpenError::SyncFailed`] if the record may be of this run; otherwise the disk's.
    pub(super) fn check_none(&self) -> Result<(), OpenError> {
        let mut bytes = [0; SIZE];
        let length = bad_sectors::try_read(&self.file, 0, &mut bytes)?;
        // Only a power cut can tear the record, and that ended the run.
        if let Ok((run, reason)) = decode(&bytes[..length])
            && (self.boot == run || self.boot == BootId::UNKNOWN || run == BootId::UNKNOWN)
        {
            return Err(OpenError::SyncFailed(reason));
        }
        bad_sectors::overwrite(&self.file, 0, &[&[0; SIZE]])?;
        Ok(())
    }

    /// Records a failed sync, after which it is unknown what is durable. Passes the outcome on.
    pub(super) fn record<T>(&self, outcome: Result<T, DiskError>) -> Result<T, DiskError> {
        if let Err(DiskError::SyncFailed(reason)) = &outcome {
            // If recording fails too, nothing more can be done; the failure of the sync itself is what counts.
            let _ = bad_sectors::overwrite(&self.file, 0, &[&encode(self.boot, reason)]);
        }
        outcome
    }
}

fn encode(boot: BootId, reason: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SIZE);
    bytes.u32(MAGIC);
    bytes.u32(0);
    bytes.u128(boot.0);
    let end = reason.floor_char_boundary(SIZE - HEADER);
    bytes.extend_from_slice(&reason.as_bytes()[..end]);
    bytes.resize(SIZE, 0);
    seal(&mut bytes, 0);
    bytes
}

fn decode(bytes: &[u8]) -> Decoded<(BootId, String)> {
    check(bytes, MAGIC, 0)?;
    let mut take = Take(bytes);
    take.bytes(8)?;
    let boot = BootId(take.u128()?);
    let reason = std::str::from_utf8(take.0).map_err(|_| Malformed)?;
    Ok((boot, reason.trim_end_matches('\0').to_owned()))
}
