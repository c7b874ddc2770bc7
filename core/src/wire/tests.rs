//! Claims about the codec.

use proptest::prelude::*;

use super::api::for_each_api;
use super::field::At;
use super::sample::Source;
use super::*;

/// A message of this version, drawn from the tape.
fn sample<M: Message>(tape: Vec<u8>, version: i16) -> M {
    let at = At {
        version,
        flexible: version >= M::FLEXIBLE_FROM,
    };
    M::sample(&mut Source::new(tape), at, false)
}

fn versions<M: Message>() -> std::ops::RangeInclusive<i16> {
    M::VERSION_MIN..=M::VERSION_MAX
}

fn tape() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..400)
}

fn reads_back_what_it_writes<M: Message + Clone + std::fmt::Debug + PartialEq>(tape: &[u8]) {
    for version in versions::<M>() {
        let message: M = sample(tape.to_vec(), version);
        let segments = message
            .to_body(version)
            .unwrap_or_else(|error| panic!("{} {version}: {error}", M::NAME));
        let body = segments.to_bytes();
        assert_eq!(body.len(), segments.len());
        assert_eq!(
            M::from_body(&body, version).as_ref(),
            Ok(&message),
            "{} {version}",
            M::NAME
        );
        for cut in 0..body.len() {
            assert!(
                M::from_body(&body.slice(..cut), version).is_err(),
                "{} {version} is whole after {cut} bytes",
                M::NAME
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_message_reads_back_at_every_version_and_no_prefix_of_it_is_one(tape in tape()) {
        macro_rules! check {
            ($name:ident, $module:ident, $request:ident, $response:ident) => {
                reads_back_what_it_writes::<$module::$request>(&tape);
                reads_back_what_it_writes::<$module::$response>(&tape);
            };
        }
        for_each_api!(check);
    }
}
