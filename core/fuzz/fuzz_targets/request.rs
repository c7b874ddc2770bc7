//! What a client sends.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use varve_core::wire::{decode_request, encode_request};

fuzz_target!(|frame: &[u8]| {
    let Ok((header, request)) = decode_request(&Bytes::copy_from_slice(frame)) else {
        return;
    };
    let segments = encode_request(&header, &request).expect("what was read can be written");
    let again = segments.to_bytes().slice(4..);
    assert_eq!(decode_request(&again), Ok((header, request)));
});
