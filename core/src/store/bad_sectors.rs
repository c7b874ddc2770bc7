//! Reading and writing where the disk has bytes that it cannot read: these are damage, and no failure of the directory.
//!
//! A read that fails is tried again, page by page. A page that still cannot be read is taken for bytes that mean
//! nothing, and so is judged like every other damage where it is met: a batch is a hole, a group of the journal is
//! torn or lost, an entry of an index is not believed.
//!
//! A write of a part of a page needs the rest of it, and fails where that cannot be read. An append goes into a new
//! segment then. Whatever makes good what is lost gives the page up and is written once more: what else stood in the
//! page is damage too, and made good in its turn.

use crate::store::{DiskError, DiskFile};

/// How often something is tried.
const ATTEMPTS: usize = 3;

/// What an operating system reads and writes at once: no less than a sector of any disk.
const PAGE: u64 = 4096;

/// What stands for a byte that cannot be read. Not zero, which is what was never written.
const UNREADABLE: u8 = 0xff;

/// Reads up to `buffer.len()` bytes at `offset`; fewer only at the end of the file. Returns how many.
///
/// # Errors
/// Whatever keeps the file from being read at all; not that bytes of it are unreadable.
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

/// The same for bytes without which nothing can be said.
///
/// # Errors
/// Also where some of them are unreadable.
pub(super) fn try_read<F: DiskFile>(
    file: &F,
    offset: u64,
    buffer: &mut [u8],
) -> Result<usize, DiskError> {
    with_retries(|| file.read_at(offset, buffer))
}

/// Writes the parts one after the other from `offset` on, extending the file where needed.
///
/// # Errors
/// As [`DiskFile::write_at`], where that does not go away.
pub(super) fn write<F: DiskFile>(file: &F, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
    with_retries(|| file.write_at(offset, parts))
}

/// The same for what is lost where it stood, or can be made anew: pages that cannot be read are given up for it.
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
            // Whether it can be read is not known, and the write is tried again.
            Err(error) => return Err(error),
        }
    }
    file.write_at(offset, parts)
}

/// Cuts what stands behind `length`, as far as it can be read: the rest of a page that cannot be stays.
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
