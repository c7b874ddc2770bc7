//! What outlives a sync that failed: a note of it, beside the identity.
//!
//! A sync that fails may leave pages in the cache that look clean and are not on the disk. Whoever opens the directory in
//! the same run of the operating system reads them, and a sync of theirs succeeds without writing anything. So
//! the directory does not open again in that run; afterwards the cache is gone, and what is read is what is there.
//!
//! ```text
//!  0  magic "VSF1"        4  crc u32 (CRC-32C of all that follows)
//!  8  boot id 16 bytes   24  what the disk said, UTF-8, zeros to 512
//! ```
//!
//! The file has its size before it is needed, so that a full disk cannot keep the note out, and is not synced:
//! whoever must see it reads it from the same cache.

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

/// Where a failure is noted. The file is open before it is needed, so that a want of descriptors cannot keep the note out
/// either.
#[derive(Clone, Debug)]
pub(super) struct FailedSync<F> {
    file: F,
    boot: BootId,
}

impl<F: DiskFile> FailedSync<F> {
    /// Makes room for a note.
    pub(super) fn open<D: Disk<File = F>>(disk: &D, boot: BootId) -> Result<Self, DiskError> {
        let file = match disk.open(PATH) {
            Err(DiskError::NotFound) => disk.create(PATH)?,
            file => file?,
        };
        Ok(Self { file, boot })
    }

    /// Forgets a note of an earlier run of the operating system.
    ///
    /// # Errors
    /// [`OpenError::SyncFailed`] where one may be of this run; else the disk's.
    pub(super) fn check_none(&self) -> Result<(), OpenError> {
        let mut bytes = [0; SIZE];
        let length = bad_sectors::try_read(&self.file, 0, &mut bytes)?;
        // A torn note is one that a power cut has torn: the run is over.
        if let Ok((run, reason)) = decode(&bytes[..length])
            && (self.boot == run || self.boot == BootId::UNKNOWN || run == BootId::UNKNOWN)
        {
            return Err(OpenError::SyncFailed(reason));
        }
        bad_sectors::overwrite(&self.file, 0, &[&[0; SIZE]])?;
        Ok(())
    }

    /// Notes a failure that leaves unknown what is durable. Others pass.
    pub(super) fn record<T>(&self, outcome: Result<T, DiskError>) -> Result<T, DiskError> {
        if let Err(DiskError::SyncFailed(reason)) = &outcome {
            // Where even this fails nothing more can be done, and the sync's own failure is what counts.
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
