//! The identity file: cluster, broker and directory id.
//!
//! ```text
//!  0  magic "VID1"        4  crc u32 (CRC-32C of all that follows)
//!  8  version u16        10  cluster known u8        11  cluster id 16 bytes
//! 27  broker id i32      31  directory id 16 bytes
//! ```

use crate::ids::{BrokerId, ClusterId, DirectoryId};
use crate::store::codec::{Decoded, Malformed, Put, Take};
use crate::store::journal::{check, seal};
use crate::store::{Disk, DiskError, DiskFile, Identity, OpenError, bad_sectors};

const PATH: &str = "identity";
const TEMPORARY: &str = "identity.tmp";
const MAGIC: u32 = u32::from_be_bytes(*b"VID1");
/// Format version of the whole directory. Opening a directory of an earlier version upgrades it to this one: an earlier
/// program could not read what is written there from then on, and refuses the directory by its version.
const VERSION: u16 = 4;
/// The earliest version that can be read.
const VERSION_MIN: u16 = 1;
const SIZE: usize = 47;

/// Whether a name in the directory is one of this file's.
pub(super) fn is_name(name: &str) -> bool {
    [PATH, TEMPORARY].contains(&name)
}

/// Whether the directory has been formatted.
pub(super) fn exists<D: Disk>(disk: &D) -> Result<bool, DiskError> {
    match disk.open(PATH) {
        Ok(_) => Ok(true),
        Err(DiskError::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) fn read<D: Disk>(disk: &D) -> Result<Identity, OpenError> {
    Ok(read_with_version(disk)?.1)
}

fn read_with_version<D: Disk>(disk: &D) -> Result<(u16, Identity), OpenError> {
    let file = match disk.open(PATH) {
        Ok(file) => file,
        Err(DiskError::NotFound) => return Err(OpenError::NotFormatted),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = [0; SIZE];
    bad_sectors::read(&file, 0, &mut bytes)?;
    let (version, identity) =
        decode(&bytes).map_err(|Malformed| OpenError::Damaged("the identity file".to_owned()))?;
    if (VERSION_MIN..=VERSION).contains(&version) {
        Ok((version, identity))
    } else {
        Err(OpenError::Version(version))
    }
}

/// Rewrites the identity file if it is of an earlier version. Otherwise syncs its name: a process that was killed may
/// have left the name in the page cache only.
pub(super) fn upgrade_or_sync<D: Disk>(disk: &D, identity: Identity) -> Result<(), OpenError> {
    if read_with_version(disk)?.0 < VERSION {
        write(disk, identity)?;
    } else {
        disk.sync_directory("")?;
    }
    Ok(())
}

/// Replaces the file atomically and durably.
pub(super) fn write<D: Disk>(disk: &D, identity: Identity) -> Result<(), DiskError> {
    match disk.remove(TEMPORARY) {
        Ok(()) | Err(DiskError::NotFound) => {}
        Err(error) => return Err(error),
    }
    let file = disk.create(TEMPORARY)?;
    file.write_at(0, &[&encode(identity)])?;
    file.sync()?;
    disk.rename(TEMPORARY, PATH)?;
    disk.sync_directory("")
}

fn encode(identity: Identity) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SIZE);
    bytes.u32(MAGIC);
    bytes.u32(0);
    bytes.u16(VERSION);
    bytes.u8(u8::from(identity.cluster.is_some()));
    bytes.u128(identity.cluster.unwrap_or_default().0);
    bytes.i32(identity.broker.0);
    bytes.u128(identity.directory.0);
    seal(&mut bytes, 0);
    bytes
}

fn decode(bytes: &[u8]) -> Decoded<(u16, Identity)> {
    check(bytes, MAGIC, 0)?;
    let mut take = Take(bytes);
    take.bytes(8)?;
    let version = take.u16()?;
    let known = take.u8()? == 1;
    let cluster = ClusterId(take.u128()?);
    Ok((
        version,
        Identity {
            cluster: known.then_some(cluster),
            broker: BrokerId(take.i32()?),
            directory: DirectoryId(take.u128()?),
        },
    ))
}
