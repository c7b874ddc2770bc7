//! Decoding allocates no more than the bytes that are there could mean.
//!
//! The measure is everything that one call allocates, whether it is kept or not. The dearest honest frame is a
//! list of empty strings: one byte on the wire, one `Str` in memory. A struct of a few such fields takes no more
//! room for a byte, and what a length promises at one depth is not promised again at the next, but for the room
//! made just before a frame turns out to be damaged; twice the dearest covers that.

use bytes::Bytes;
use proptest::prelude::*;
use varve_core::wire::{ApiKey, Str, decode_request, decode_response};

/// Memory that one byte of a frame may cost.
const BYTES_PER_BYTE_MAX: u64 = 2 * size_of::<Str>() as u64;

/// What a frame may cost however short it is: the header and the first element of every array in it.
const BYTES_FIXED_MAX: u64 = 1_024;

/// Key, version, correlation id and client id, then whatever else.
fn frame(api_key: ApiKey, version: i16, rest: &[u8]) -> Bytes {
    [
        &api_key.code().to_be_bytes()[..],
        &version.to_be_bytes(),
        &[0, 0, 0, 7, 0, 1, b'x'],
        rest,
    ]
    .concat()
    .into()
}

fn assert_bounded(rest: &[u8]) -> u64 {
    let mut most = 0;
    for &api_key in ApiKey::ALL {
        let (first, last) = api_key.versions();
        for version in first..=last {
            let request = frame(api_key, version, rest);
            let response = Bytes::copy_from_slice(rest);
            let measured = [
                allocation_counter::measure(|| drop(decode_request(&request))),
                allocation_counter::measure(|| drop(decode_response(api_key, version, &response))),
            ];
            for info in measured {
                let len = u64::try_from(rest.len()).expect("a length fits");
                assert!(
                    info.bytes_total <= BYTES_FIXED_MAX + BYTES_PER_BYTE_MAX * len,
                    "{} version {version}: {} bytes for a frame of {len}: {:?}",
                    api_key.name(),
                    info.bytes_total,
                    &rest[..rest.len().min(40)]
                );
                most = most.max(info.bytes_total);
            }
        }
    }
    most
}

#[test]
fn monotonous_frames_cost_no_more_than_their_length_allows() {
    let mut most = 0;
    for byte in [0, 1, 2, 3, 4, 8, 0x10, 0x40, 0x7f, 0x80, 0xc0, 0xff] {
        for len in [0, 1, 12, 64, 300, 3_000] {
            most = most.max(assert_bounded(&vec![byte; len]));
        }
    }
    assert!(
        most > 3_000,
        "nothing was allocated, so nothing was measured"
    );
}

#[test]
fn the_greatest_length_in_front_of_little_costs_little() {
    for classic in [[0x7f, 0xff, 0xff, 0xff], [0, 0, 0xff, 0xff], [0, 0, 0, 40]] {
        for compact in [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0xff, 0x7f], &[40]] {
            for before in 0..40 {
                for length in [&classic[..], compact] {
                    let rest = [&vec![0; before][..], length, &[0; 40]].concat();
                    assert_bounded(&rest);
                }
            }
        }
    }
}

#[test]
fn a_list_of_empty_strings_is_the_dearest_frame() {
    // FindCoordinator 4: tagged fields of the header, kind of key, 3,000 keys (one more in the length), tagged fields.
    let rest = [&[0, 0, 0xb9, 0x17][..], &[1; 3_000], &[0]].concat();
    let request = frame(ApiKey::FindCoordinator, 4, &rest);
    let info = allocation_counter::measure(|| {
        assert!(decode_request(&request).is_ok());
    });
    // Room is made for a thousand, and made anew for all once those were there.
    let expected = (1_000 + 3_000) * size_of::<Str>() as u64;
    assert!((expected..expected + 1_024).contains(&info.bytes_total));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn arbitrary_frames_cost_no_more_than_their_length_allows(
        rest in prop::collection::vec(
            prop_oneof![Just(0u8), Just(1), Just(2), Just(3), Just(0x7f), Just(0xff), any::<u8>()],
            0..300,
        ),
    ) {
        assert_bounded(&rest);
    }
}
