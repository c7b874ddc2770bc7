//! Reads from the disk past the page cache (`O_DIRECT`).
//!
//! Such reads are of whole blocks into block-aligned memory, and each goes to the disk. A sequential reader reads
//! little at a time, so a [`Window`] reads much at once and serves from it.
//!
//! Where a file system does not support them (tmpfs before Linux 6.6, for one), the file is read through the page
//! cache.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// A block size that suits every current disk and file system: offset, length and memory are multiples of it.
const BLOCK: u64 = 4096;

/// Bytes read at once.
const WINDOW: u64 = 256 << 10;

/// Opens a file for reading past the page cache, where that can be done.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::DIRECT.bits()).expect("flags of open fit an int");
    let uncached = OpenOptions::new().read(true).custom_flags(flags).open(path);
    match uncached {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => File::open(path),
        opened => opened,
    }
}

/// The part of a file that was read last.
#[derive(Default)]
pub(crate) struct Window {
    memory: Vec<u8>,
    /// Index in `memory` of the first byte: the first aligned one.
    start: usize,
    /// Which bytes of the file they are.
    held: Range<u64>,
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

impl Window {
    /// Reads until the buffer is full or the file ends. Returns how much.
    pub(crate) fn read_at(
        &mut self,
        file: &File,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        let end = offset + buffer.len() as u64;
        if offset < self.held.start || end > self.held.end {
            let much = end.max(offset + WINDOW);
            // An unreadable sector must not fail reads of the sectors around it.
            self.fill(file, offset..much)
                .or_else(|_| self.fill(file, offset..end))?;
        }
        let end = end.min(self.held.end);
        let count = usize::try_from(end.saturating_sub(offset)).expect("no more than the buffer");
        let within =
            |at: u64| self.start + usize::try_from(at - self.held.start).expect("in memory");
        if count > 0 {
            buffer[..count].copy_from_slice(&self.memory[within(offset)..within(end)]);
        }
        Ok(count)
    }

    /// Reads the blocks of this range, as far as the file has them.
    fn fill(&mut self, file: &File, range: Range<u64>) -> io::Result<()> {
        self.held = 0..0;
        let block = usize::try_from(BLOCK).expect("a small number");
        let from = range.start / BLOCK * BLOCK;
        let length = usize::try_from(range.end.next_multiple_of(BLOCK) - from)
            .map_err(|_| io::ErrorKind::OutOfMemory)?;
        if self.memory.len() < length + block {
            self.memory = vec![0; length + block];
        }
        self.start = self.memory.as_ptr().align_offset(block);
        let memory = &mut self.memory[self.start..self.start + length];
        let mut read = 0;
        // A read that ends within a block has reached the end of the file.
        while read < length && read % block == 0 {
            match file.read_at(&mut memory[read..], from + read as u64) {
                Ok(0) => break,
                Ok(n) => read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.held = from..from + read as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_of_a_file_reads_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let bytes: Vec<u8> = (0..700_001_u32).map(|n| (n * 7 % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let file = open(&path).unwrap();
        let mut window = Window::default();
        for offset in [
            0, 1, 4095, 4096, 5000, 262_143, 262_144, 3, 699_000, 700_000, 700_001, 900_000,
        ] {
            for length in [0, 1, 61, 4096, 16_384, 300_000] {
                let mut buffer = vec![0; length];
                let read = window.read_at(&file, offset as u64, &mut buffer).unwrap();
                let end = (offset + length).min(bytes.len());
                let is = &bytes[offset.min(end)..end];
                assert_eq!(&buffer[..read], is, "{length} bytes at {offset}");
            }
        }
    }
}
