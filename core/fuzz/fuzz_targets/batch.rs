//! What a client produces.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use varve_core::record::{Depth, HEADER_SIZE, Limits, examine};

/// Bytes after decompression: above what an input can hold honestly, so that bombs meet it.
const CAP: usize = 1 << 20;

fuzz_target!(|input: &[u8]| {
    let mut bytes = input.to_vec();
    if bytes.len() >= HEADER_SIZE {
        let length = i32::try_from(bytes.len() - 12).expect("inputs are short");
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[16] = 2;
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    let limits = Limits {
        uncompressed_size_max: CAP,
    };
    let Ok(examined) = examine(Bytes::from(bytes), 11, Depth::Records, limits) else {
        return;
    };
    examined
        .batch
        .verify()
        .expect("the CRC was true or was mended");
    let records = examined
        .batch
        .records(CAP)
        .expect("it was decompressed before");
    let mut count = 0;
    for record in records {
        let record = record.expect("it was walked before");
        assert_eq!(record.offset.0, i64::from(count));
        assert!(record.key.is_some() || examined.facts.null_key.is_some());
        count += 1;
    }
    assert_eq!(count, examined.batch.header.record_count);
});
