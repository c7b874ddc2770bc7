//! What a broker answers, as our own clients read it.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use varve_core::wire::{ApiKey, decode_response, encode_response};

fuzz_target!(|input: &[u8]| {
    let Some(([key_high, key_low, version_high, version_low], frame)) = input.split_first_chunk()
    else {
        return;
    };
    let Some(api_key) = ApiKey::from_code(i16::from_be_bytes([*key_high, *key_low])) else {
        return;
    };
    let version = i16::from_be_bytes([*version_high, *version_low]);
    let frame = Bytes::copy_from_slice(frame);
    let Ok((correlation_id, response)) = decode_response(api_key, version, &frame) else {
        return;
    };
    let segments = encode_response(correlation_id, version, &response)
        .expect("what was read can be written");
    let again = segments.to_bytes().slice(4..);
    let read = decode_response(api_key, version, &again);
    assert_eq!(read, Ok((correlation_id, response)));
});
