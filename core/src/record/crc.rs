//! The CRC-32C of two concatenated pieces, from the CRC of each.
//!
//! A leader changes a header and knows the CRC of the body, which it must not read again. Appending a piece of `n`
//! bytes multiplies the first piece's CRC by x^(8n), modulo the CRC's polynomial, and adds the second's. The powers
//! x^(2^k) are precomputed, so this takes one multiplication for each bit that is set in `n`: a tenth of a microsecond,
//! where `crc32c_combine` squares matrices for ten.

/// CRC-32C's polynomial, reflected: bit 31 is the constant term.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// The polynomial 1.
const ONE: u32 = 1 << 31;
/// The polynomial x.
const X: u32 = 1 << 30;

/// x^(2^k) modulo the polynomial, as far as a length of 32 bits needs them: `8n` has 35.
const POWERS: [u32; 35] = {
    let mut powers = [X; 35];
    let mut k = 1;
    while k < powers.len() {
        powers[k] = multiply(powers[k - 1], powers[k - 1]);
        k += 1;
    }
    powers
};

/// The CRC of a first piece followed by a second of `second_length` bytes.
pub(super) fn combine(first: u32, second: u32, second_length: u32) -> u32 {
    // A byte is eight bits, so bit 0 of the length stands for x^(2^3).
    let powers = (0..u32::BITS).zip(&POWERS[3..]);
    let shifted = powers
        .filter(|(bit, _)| second_length >> bit & 1 == 1)
        .fold(first, |crc, (_, &power)| multiply(power, crc));
    shifted ^ second
}

/// The product of two polynomials modulo CRC-32C's.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut term = ONE;
    while term != 0 {
        if a & term != 0 {
            product ^= b;
        }
        b = if b & 1 == 0 {
            b >> 1
        } else {
            b >> 1 ^ POLYNOMIAL
        };
        term >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_length_may_have_any_bit() {
        for bit in 0..32 {
            let length = 1_u32 << bit;
            let theirs = crc32c::crc32c_combine(
                0x1234_5678,
                0x9abc_def0,
                usize::try_from(length).expect("usize has 32 bits"),
            );
            assert_eq!(combine(0x1234_5678, 0x9abc_def0, length), theirs, "{bit}");
        }
    }

    proptest! {
        #[test]
        fn the_crc_of_the_whole_is_that_of_its_pieces_combined(
            first in prop::collection::vec(any::<u8>(), 0..80),
            second in prop::collection::vec(any::<u8>(), 0..2000),
        ) {
            let whole = crc32c::crc32c(&[&first[..], &second[..]].concat());
            let length = u32::try_from(second.len()).expect("it is short");
            let combined = combine(crc32c::crc32c(&first), crc32c::crc32c(&second), length);
            prop_assert_eq!(combined, whole);
        }
    }
}
