//! The operations that a store has of a disk, and the faults that strike them.

use std::rc::Rc;

use varve_core::store::{Disk, DiskError, DiskFile};

use super::file::{File, overlay};
use super::{
    Entry, Fault, FileId, SECTOR_SIZE, Shortage, SimDisk, SimFile, io, split, sync_failed,
};

impl Disk for SimDisk {
    type File = SimFile;

    fn open(&self, path: &str) -> Result<SimFile, DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.find_resources(Shortage::Descriptors)?;
        Ok(SimFile {
            state: Rc::clone(&self.state),
            id: state.lookup(path)?,
            path: path.into(),
            uncached: false,
            _descriptor: state.descriptor(path),
        })
    }

    fn open_uncached(&self, path: &str) -> Result<SimFile, DiskError> {
        let file = self.open(path)?;
        Ok(SimFile {
            uncached: true,
            ..file
        })
    }

    fn create(&self, path: &str) -> Result<SimFile, DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.find_resources(Shortage::Descriptors)?;
        let (directory, name) = split(path);
        let names = state.written.get(directory).ok_or(DiskError::NotFound)?;
        if names.contains_key(name) {
            return Err(DiskError::Exists);
        }
        if state.used >= state.capacity {
            state.counts.refused_full += 1;
            return Err(DiskError::NoSpace);
        }
        let id = FileId(state.next_file);
        state.next_file += 1;
        state.files.insert(id, File::default());
        state.change_names(vec![(
            directory.to_owned(),
            name.to_owned(),
            Some(Entry::File(id)),
        )]);
        Ok(SimFile {
            state: Rc::clone(&self.state),
            id,
            path: path.into(),
            uncached: false,
            _descriptor: state.descriptor(path),
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.find_resources(Shortage::Memory)?;
        let id = state.lookup(from)?;
        let (from_directory, from_name) = split(from);
        let (to_directory, to_name) = split(to);
        if !state.written.contains_key(to_directory) {
            return Err(DiskError::NotFound);
        }
        if from == to {
            return Ok(());
        }
        state.change_names(vec![
            (from_directory.to_owned(), from_name.to_owned(), None),
            (
                to_directory.to_owned(),
                to_name.to_owned(),
                Some(Entry::File(id)),
            ),
        ]);
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.find_resources(Shortage::Memory)?;
        let id = state.lookup(path)?;
        let (directory, name) = split(path);
        state.change_names(vec![(directory.to_owned(), name.to_owned(), None)]);
        // The space is free at once, although a power cut may bring the file back.
        let allocated = std::mem::take(&mut state.file(id).allocated);
        state.used -= allocated;
        Ok(())
    }

    fn list(&self, path: &str) -> Result<Vec<String>, DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.find_resources(Shortage::Descriptors)?;
        let names = state.written.get(path).ok_or(DiskError::NotFound)?;
        Ok(names.keys().cloned().collect())
    }

    fn create_directory(&self, path: &str) -> Result<(), DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.find_resources(Shortage::Memory)?;
        if state.written.contains_key(path) {
            return Ok(());
        }
        let (parent, name) = split(path);
        if !state.written.contains_key(parent) {
            return Err(DiskError::NotFound);
        }
        state.change_names(vec![(
            parent.to_owned(),
            name.to_owned(),
            Some(Entry::Directory),
        )]);
        Ok(())
    }

    fn remove_directory(&self, path: &str) -> Result<(), DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.find_resources(Shortage::Memory)?;
        let names = state.written.get(path).ok_or(DiskError::NotFound)?;
        if !names.is_empty() || path.is_empty() {
            return Err(io("the directory is not empty"));
        }
        let (parent, name) = split(path);
        state.change_names(vec![(parent.to_owned(), name.to_owned(), None)]);
        Ok(())
    }

    fn sync_directory(&self, path: &str) -> Result<(), DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.find_resources(Shortage::Descriptors)?;
        if !state.written.contains_key(path) {
            return Err(DiskError::NotFound);
        }
        if state
            .strike(path, |fault| {
                matches!(fault, Fault::SyncFails | Fault::SyncsFail)
            })
            .is_some()
        {
            state.refuses = true;
            return Err(sync_failed());
        }
        state.sync_names(path);
        state.counts.syncs += 1;
        Ok(())
    }

    fn free_bytes(&self) -> Result<u64, DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.find_resources(Shortage::Memory)?;
        Ok(state.capacity.saturating_sub(state.used))
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.find_resources(Shortage::Memory)?;
        let struck = state.strike(&self.path, |fault| {
            matches!(
                fault,
                Fault::ReadFails | Fault::StaleRead | Fault::MisdirectedRead
            )
        });
        let mut draw = struck.map(|_| state.draw());
        match struck {
            None => {}
            Some(Fault::ReadFails) => return Err(io("input/output error")),
            Some(_gives_what_is_wrong) => state.damage(&self.path),
        }
        let file = state.file(self.id);
        let available = file.length.saturating_sub(offset);
        let length = usize::try_from(available).unwrap_or(usize::MAX);
        let length = length.min(buffer.len());
        if length == 0 {
            return Ok(0);
        }
        let end = offset + length as u64;
        let sectors = offset / SECTOR_SIZE as u64..=(end - 1) / SECTOR_SIZE as u64;
        if file.is_unreadable(offset..end) {
            return Err(io("input/output error"));
        }
        if self.uncached {
            file.read_uncached(offset, &mut buffer[..length]);
        } else {
            file.read(offset, &mut buffer[..length]);
        }
        if let (Some(fault), Some(draw)) = (struck, &mut draw) {
            let other = match fault {
                Fault::StaleRead => file.stale.map(|(sector, bytes)| (sector, sector, bytes)),
                _other_reads => {
                    let all = file.length.div_ceil(SECTOR_SIZE as u64);
                    let from = draw.below(all);
                    let sector = draw.between(*sectors.start(), *sectors.end());
                    Some((from, sector, file.sector(from)))
                }
            };
            if let Some((from, sector, bytes)) = other
                && sectors.contains(&sector)
                && !file.passes_unseen((from, &bytes), (sector, &file.sector(sector)))
            {
                overlay(
                    offset,
                    &mut buffer[..length],
                    sector * SECTOR_SIZE as u64,
                    &bytes,
                );
            }
        }
        Ok(length)
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.alive()?;
        let found = state.find_resources(Shortage::Memory);
        let length: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let fails = state
            .strike(&self.path, |fault| fault == Fault::WritesFail)
            .is_some();
        let refused = if fails {
            state.refuses = true;
            Err(io("input/output error"))
        } else {
            found.and_then(|()| state.reserve(self.id, offset + length))
        };
        let mut allowed = length;
        if refused.is_err() {
            // Some of the bytes are written nevertheless, as far as the file has space.
            let allocated = state.file(self.id).allocated;
            let room = allocated.saturating_sub(offset).min(length);
            allowed = state.draw().between(0, room);
        }
        state.counts.bytes_written += allowed;
        let file = state.file(self.id);
        if file.is_unreadable_around(offset..offset + length) {
            return Err(io("input/output error"));
        }
        let mut at = offset;
        for part in parts {
            let left = usize::try_from(offset + allowed - at).unwrap_or(usize::MAX);
            let part = &part[..part.len().min(left)];
            file.write(at, part);
            at += part.len() as u64;
        }
        refused
    }

    fn sync(&self) -> Result<(), DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.alive()?;
        let struck = state.strike(&self.path, |fault| {
            matches!(
                fault,
                Fault::SyncFails | Fault::SyncsFail | Fault::LostWrite | Fault::MisdirectedWrite
            )
        });
        match struck {
            None => state.file(self.id).sync(),
            Some(Fault::LostWrite | Fault::MisdirectedWrite) => {
                let mut draw = state.draw();
                let elsewhere = struck == Some(Fault::MisdirectedWrite);
                state.file(self.id).sync_but_one(&mut draw, elsewhere);
                state.damage(&self.path);
            }
            Some(_fails) => {
                let mut draw = state.draw();
                state.file(self.id).sync_failing(&mut draw);
                state.refuses = true;
                return Err(sync_failed());
            }
        }
        state.counts.syncs += 1;
        Ok(())
    }

    fn truncate(&self, length: u64) -> Result<(), DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.find_resources(Shortage::Memory)?;
        if length > state.file(self.id).length {
            state.reserve(self.id, length)?;
        }
        let file = state.file(self.id);
        // Zeros follow what is kept, in the page that it ends in.
        let kept = length.min(file.length);
        if file.is_unreadable_around(kept..kept) {
            return Err(io("input/output error"));
        }
        file.truncate(length);
        let kept = length.next_multiple_of(SECTOR_SIZE as u64);
        let freed = file.allocated.saturating_sub(kept);
        file.allocated -= freed;
        state.used -= freed;
        Ok(())
    }

    fn allocate(&self, length: u64) -> Result<(), DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.find_resources(Shortage::Memory)?;
        state.reserve(self.id, length)?;
        let file = state.file(self.id);
        file.length = file.length.max(length);
        Ok(())
    }

    fn discard(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        let state = &mut *self.state.borrow_mut();
        state.find_resources(Shortage::Memory)?;
        state.file(self.id).discard(offset, length);
        Ok(())
    }

    fn length(&self) -> Result<u64, DiskError> {
        let mut state = self.state.borrow_mut();
        state.alive()?;
        Ok(state.file(self.id).length)
    }
}
