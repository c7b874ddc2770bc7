//! Drawing messages out of bytes, so that a property test shrinks the message by shrinking the bytes.

/// A tape of bytes. Past its end every byte is zero, which draws the smallest value.
#[derive(Debug)]
pub(crate) struct Tape {
    tape: std::vec::IntoIter<u8>,
}

impl Tape {
    pub(crate) fn new(tape: Vec<u8>) -> Self {
        Self {
            tape: tape.into_iter(),
        }
    }

    fn byte(&mut self) -> u8 {
        self.tape.next().unwrap_or(0)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    pub(crate) fn bool(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number from 0 up to but not including `bound`, which is at most 256.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    /// Short text of one-, two- and four-byte characters, now and then longer than one length byte can say.
    pub(crate) fn text(&mut self) -> String {
        const CHARS: [char; 8] = ['a', 'Z', '0', '-', '_', '.', 'é', '🌲'];
        let len = self.below(8) * if self.below(32) == 1 { 40 } else { 1 };
        (0..len).map(|_| CHARS[self.below(CHARS.len())]).collect()
    }

    /// Few bytes, or more than the codec copies.
    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        let len = self.below(8) * if self.below(4) == 1 { 80 } else { 1 };
        let seed = self.byte();
        (0..=u8::MAX)
            .cycle()
            .take(len)
            .map(|i| i.wrapping_mul(31) ^ seed)
            .collect()
    }
}
