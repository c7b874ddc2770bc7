//! Directories of other versions of the format.

use super::*;
use crate::store::journal::seal;

const VERSION: std::ops::Range<usize> = 8..10;

fn identity_file(disk: &TestDisk) -> Vec<u8> {
    let mut bytes = vec![0; 47];
    let file = disk.open("identity").unwrap();
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

fn set_version(disk: &TestDisk, version: u16) {
    let mut bytes = identity_file(disk);
    bytes[VERSION].copy_from_slice(&version.to_be_bytes());
    seal(&mut bytes, 0);
    let file = disk.open("identity").unwrap();
    file.write_at(0, &[&bytes]).unwrap();
}

#[test]
fn a_directory_of_an_earlier_version_is_of_this_one_once_it_was_opened() {
    let disk = formatted();
    let written = identity_file(&disk);
    set_version(&disk, 1);
    drop(open(&disk));
    assert_eq!(identity_file(&disk), written);
}

#[test]
fn a_directory_of_a_later_version_is_refused_by_its_number() {
    let disk = formatted();
    set_version(&disk, 3);
    let opened = LogStore::open(disk, options(), BOOT);
    assert!(matches!(opened, Err(OpenError::Version(3))));
}
