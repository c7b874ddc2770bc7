//! Whether an append leaves the reserve untouched.

use crate::store::Disk;

/// An estimate of the disk's free space, so that not every append has to query the disk.
#[derive(Debug, Default)]
pub(super) struct FreeSpace {
    /// Bytes that appends may use before the disk is queried again.
    left: u64,
}

impl FreeSpace {
    /// Whether `size` more bytes leave `reserve` untouched; if so, counts them as used. One query of the disk is good
    /// for a quarter of the reserve, since others may fill the disk as well.
    pub(super) fn take<D: Disk>(&mut self, disk: &D, size: u64, reserve: u64) -> bool {
        if self.left < size {
            let room = free_bytes(disk).saturating_sub(reserve);
            if room < size {
                return false;
            }
            self.left = room.min(reserve / 4).max(size);
        }
        self.left -= size;
        true
    }

    /// Makes the next append query the disk.
    pub(super) const fn forget(&mut self) {
        self.left = 0;
    }
}

/// Bytes that can still be written; unlimited if the disk does not say, and the write then fails instead.
pub(super) fn free_bytes<D: Disk>(disk: &D) -> u64 {
    disk.free_bytes().unwrap_or(u64::MAX)
}
