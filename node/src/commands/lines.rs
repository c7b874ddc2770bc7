//! Lines of a file or of standard input, whatever bytes they hold.
//!
//! A thread reads pieces of it, a few ahead: neither is ever whole in memory, and whoever waits for a line can wait
//! for something else besides.

use std::io::{self, Read};

use tokio::sync::mpsc;

/// Bytes read at once, and how many pieces may wait.
const PIECE_SIZE: usize = 256 << 10;
const PIECES_MAX: usize = 4;

/// What is being read.
#[derive(Debug)]
pub(crate) struct Lines {
    pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
    /// What has come and was not taken as a line yet.
    buffer: Vec<u8>,
    /// Where the next line begins in the buffer, and how far it has been searched for the line's end.
    begin: usize,
    searched: usize,
}

impl Lines {
    /// Begins to read.
    pub(crate) fn of(mut input: impl Read + Send + 'static) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        // It ends with its input, or when nobody takes the next piece; the process does not wait for it.
        std::thread::spawn(move || {
            loop {
                let mut piece = vec![0; PIECE_SIZE];
                let read = match input.read(&mut piece) {
                    Ok(0) => return,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Ok(length) => {
                        piece.truncate(length);
                        Ok(piece)
                    }
                    Err(error) => Err(error),
                };
                let failed = read.is_err();
                if sender.blocking_send(read).is_err() || failed {
                    return;
                }
            }
        });
        Self {
            pieces,
            buffer: Vec::new(),
            begin: 0,
            searched: 0,
        }
    }

    /// The next line, without its end; `None` after the last. A call that is given up loses nothing.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let found = self.buffer[self.searched..]
                .iter()
                .position(|&b| b == b'\n');
            if let Some(length) = found {
                let end = self.searched + length;
                let line = self.buffer[self.begin..end].to_vec();
                (self.begin, self.searched) = (end + 1, end + 1);
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            match self.pieces.recv().await {
                Some(piece) => {
                    self.buffer.drain(..self.begin);
                    self.searched -= self.begin;
                    self.begin = 0;
                    self.buffer.extend_from_slice(&piece?);
                }
                None if self.begin < self.buffer.len() => {
                    let line = self.buffer.split_off(self.begin);
                    (self.begin, self.searched) = (self.buffer.len(), self.buffer.len());
                    return Ok(Some(line));
                }
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Trickle(Vec<u8>);

    impl Read for Trickle {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            into[0] = self.0.remove(0);
            Ok(1)
        }
    }

    async fn all(mut lines: Lines) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            all.push(line);
        }
        assert_eq!(lines.next().await.unwrap(), None);
        all
    }

    #[tokio::test]
    async fn lines_are_the_same_however_the_input_comes() {
        let cases: [(&[u8], &[&[u8]]); 5] = [
            (b"", &[]),
            (b"\n", &[b""]),
            (b"a\n\xff\r\n", &[b"a", b"\xff\r"]),
            (b"a\n\nb", &[b"a", b"", b"b"]),
            (b"last", &[b"last"]),
        ];
        for (text, lines) in cases {
            assert_eq!(all(Lines::of(io::Cursor::new(text))).await, lines);
            assert_eq!(all(Lines::of(Trickle(text.to_vec()))).await, lines);
        }
        let long = vec![b'x'; 3 * PIECE_SIZE + 5];
        let text = [&long[..], b"\n", &long].concat();
        assert_eq!(
            all(Lines::of(io::Cursor::new(text))).await,
            [long.clone(), long]
        );
    }

    #[tokio::test]
    async fn input_that_fails_is_an_error_and_no_end() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::IsADirectory.into())
            }
        }
        assert!(Lines::of(Fails).next().await.is_err());
    }
}
