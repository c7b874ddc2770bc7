//! Whether an append leaves the reserve alone.

use crate::store::Disk;

/// What is known of a disk's free space, so that it is not asked with every append.
#[derive(Debug, Default)]
pub(super) struct FreeSpace {
    /// Bytes that appends may take before the disk is asked again.
    left: u64,
}

impl FreeSpace {
    /// Whether `size` more bytes leave `reserve` alone, and takes them if so. What the disk says is believed for a quarter
    /// of the reserve, since others may fill the disk as well.
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

    /// Has the disk asked again with the next append.
    pub(super) const fn forget(&mut self) {
        self.left = 0;
    }
}

/// Bytes that can still be written. Where the disk does not say, the write will tell.
pub(super) fn free_bytes<D: Disk>(disk: &D) -> u64 {
    disk.free_bytes().unwrap_or(u64::MAX)
}
