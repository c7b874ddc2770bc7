//! Taking bytes off the front of a slice.

pub(super) fn byte(rest: &mut &[u8]) -> Option<u8> {
    rest.split_off_first().copied()
}

pub(super) fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    rest.split_off(..length)
}

pub(super) fn u32_le(rest: &mut &[u8]) -> Option<u32> {
    take(rest, 4)?
        .first_chunk()
        .map(|bytes| u32::from_le_bytes(*bytes))
}
