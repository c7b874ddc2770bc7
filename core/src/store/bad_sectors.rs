//! Reading and writing where the disk has unreadable bytes: these are damage, not a failure of the directory.
//!
//! A failed read is retried page by page. A page that still cannot be read is replaced by meaningless bytes, and so is
//! handled like any other damage: a batch becomes a hole, a journal group is torn or lost, an index entry is not used.
//!
//! A write of a part of a page needs the rest of that page, and fails if it cannot be read. An append then goes to a
//! new segment. A write that repairs damage discards the page and is repeated: what else was in the page is damage too,
//! and is repaired in turn.

use crate::store::{DiskError, DiskFile};

/// How often an operation is tried.
const ATTEMPTS: usize = 3;

/// The unit in which an operating system reads and writes: at least a sector of any disk.
const PAGE: u64 = 4096;

/// Replaces a byte that cannot be read. Not zero, which means never written.
const UNREADABLE: u8 = 0xff;

/// Reads up to `buffer.len()` bytes at `offset`; fewer only at the end of the file. Returns how many.
///
/// # Errors
/// If the file cannot be read at all; unreadable bytes are no error.
pub(super) fn read<F: DiskFile>(
    file: &F,
    offset: u64,
    buffer: &mut [u8],
) -> Result<usize, DiskError> {
    match file.read_at(offset, buffer) {
        Err(DiskError::Io(_)) => {}
        read => return read,
    }
    let mut done = 0;
    while done < buffer.len() {
        let at = offset + done as u64;
        let left = usize::try_from(PAGE - at % PAGE).expect("at most a page");
        let length = left.min(buffer.len() - done);
        let piece = &mut buffer[done..done + length];
        match try_read(file, at, piece) {
            Ok(read) if read < length => return Ok(done + read),
            Ok(_) => {}
            Err(DiskError::Io(_)) => piece.fill(UNREADABLE),
            Err(error) => return Err(error),
        }
        done += length;
    }
    Ok(done)
}

/// As [`read`], for bytes without which the caller cannot go on.
///
/// # Errors
/// Also if some of the bytes are unreadable.
pub(super) fn try_read<F: DiskFile>(
    file: &F,
    offset: u64,
    buffer: &mut [u8],
) -> Result<usize, DiskError> {
    with_retries(|| file.read_at(offset, buffer))
}

/// Writes the parts consecutively from `offset` on, extending the file if needed.
///
/// # Errors
/// As [`DiskFile::write_at`], after retries.
pub(super) fn write<F: DiskFile>(file: &F, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
    with_retries(|| file.write_at(offset, parts))
}

/// As [`write()`], for bytes that are lost or can be rebuilt: discards unreadable pages at the edges.
///
/// # Errors
/// As [`write()`].
pub(super) fn overwrite<F: DiskFile>(
    file: &F,
    offset: u64,
    parts: &[&[u8]],
) -> Result<(), DiskError> {
    match write(file, offset, parts) {
        Err(DiskError::Io(_)) => {}
        written => return written,
    }
    let length: usize = parts.iter().map(|part| part.len()).sum();
    for end in [offset, offset + length as u64] {
        let page = end - end % PAGE;
        if page == end {
            continue;
        }
        match try_read(file, page, &mut [0; PAGE as usize]) {
            Ok(_) => {}
            Err(DiskError::Io(_)) => file.discard(page, PAGE)?,
            // It is unknown whether the page is readable; the caller retries the write.
            Err(error) => return Err(error),
        }
    }
    file.write_at(offset, parts)
}

/// Truncates the file to `length`. If the page at that place is unreadable, its rest stays, and the pages after it are
/// cut.
///
/// # Errors
/// As [`DiskFile::truncate`].
pub(super) fn truncate<F: DiskFile>(file: &F, length: u64) -> Result<(), DiskError> {
    match with_retries(|| file.truncate(length)) {
        Err(DiskError::Io(_)) => {}
        cut => return cut,
    }
    let page_end = length.next_multiple_of(PAGE);
    if file.length()? > page_end {
        file.truncate(page_end)?;
    }
    Ok(())
}

fn with_retries<T>(mut operation: impl FnMut() -> Result<T, DiskError>) -> Result<T, DiskError> {
    for _ in 1..ATTEMPTS {
        let done = operation();
        if !matches!(done, Err(DiskError::Io(_))) {
            return done;
        }
    }
    operation()
}
