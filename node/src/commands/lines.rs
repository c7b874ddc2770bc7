//! Lines of a file or of standard input, whatever bytes they hold.
//!
//! A thread reads pieces of it, a few ahead: neither is ever whole in memory, and whoever waits for a line can wait
//! for something else besides.

use std::io::{self, Read};

use memchr::memmem::Finder;
use tokio::sync::mpsc;

/// Bytes read at once, and how many pieces may wait.
const PIECE_SIZE: usize = 256 << 10;
const PIECES_MAX: usize = 4;

/// What is being read.
#[derive(Debug)]
pub(crate) struct Lines {
    pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
    delimiter: Finder<'static>,
    /// What has come and was not taken as a line yet.
    buffer: Vec<u8>,
    /// Where the next line begins in the buffer, and how far it has been searched for the line's end.
    begin: usize,
    searched: usize,
    /// Where the line that was waited for ends, and the one behind it begins.
    found: Option<(usize, usize)>,
}

impl Lines {
    /// Begins to read lines that end with these bytes.
    ///
    /// # Panics
    /// Where there are none.
    pub(crate) fn of(mut input: impl Read + Send + 'static, delimiter: &[u8]) -> Self {
        assert!(!delimiter.is_empty(), "a delimiter has bytes");
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
            delimiter: Finder::new(delimiter).into_owned(),
            buffer: Vec::new(),
            begin: 0,
            searched: 0,
            found: None,
        }
    }

    /// Waits for a line, and tells whether there is one more. A call that is given up loses nothing.
    pub(crate) async fn wait(&mut self) -> io::Result<bool> {
        while !self.is_here() {
            match self.pieces.recv().await {
                Some(piece) => {
                    self.buffer.drain(..self.begin);
                    self.searched -= self.begin;
                    self.begin = 0;
                    self.buffer.extend_from_slice(&piece?);
                }
                // The last line may have no end.
                None if self.begin < self.buffer.len() => {
                    self.found = Some((self.buffer.len(), self.buffer.len()));
                }
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Whether a line is here already.
    pub(crate) fn is_here(&mut self) -> bool {
        if self.found.is_none() {
            let delimiter = self.delimiter.needle().len();
            if let Some(place) = self.delimiter.find(&self.buffer[self.searched..]) {
                let end = self.searched + place;
                self.found = Some((end, end + delimiter));
            } else {
                // The end of what is here may be the begin of a delimiter.
                let searched = (self.buffer.len() + 1).saturating_sub(delimiter);
                self.searched = searched.max(self.searched);
            }
        }
        self.found.is_some()
    }

    /// The line that was waited for, without its end.
    ///
    /// # Panics
    /// Where there is none.
    pub(crate) fn take(&mut self) -> &[u8] {
        let (end, next) = self.found.take().expect("a line was waited for");
        let line = self.begin..end;
        (self.begin, self.searched) = (next, next);
        &self.buffer[line]
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

    /// A text, what ends its lines, and the lines.
    type Case<'a> = (&'a [u8], &'a [u8], &'a [&'a [u8]]);

    async fn all(mut lines: Lines) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while lines.wait().await.unwrap() {
            all.push(lines.take().to_vec());
        }
        assert!(!lines.wait().await.unwrap());
        all
    }

    #[tokio::test]
    async fn lines_are_the_same_however_the_input_comes() {
        let cases: [Case<'_>; 9] = [
            (b"", b"\n", &[]),
            (b"\n", b"\n", &[b""]),
            (b"a\n\xff\r\n", b"\n", &[b"a", b"\xff\r"]),
            (b"a\n\nb", b"\n", &[b"a", b"", b"b"]),
            (b"last", b"\n", &[b"last"]),
            (b"a\nb\0c\0", b"\0", &[b"a\nb", b"c"]),
            (b"a--b---c-", b"--", &[b"a", b"b", b"-c-"]),
            (b"aabab", b"aab", &[b"", b"ab"]),
            (b"aaaab", b"aab", &[b"aa"]),
        ];
        for (text, delimiter, lines) in cases {
            assert_eq!(
                all(Lines::of(io::Cursor::new(text), delimiter)).await,
                lines
            );
            assert_eq!(
                all(Lines::of(Trickle(text.to_vec()), delimiter)).await,
                lines
            );
        }
        let long = vec![b'x'; 3 * PIECE_SIZE + 5];
        let text = [&long[..], b"\n", &long].concat();
        assert_eq!(
            all(Lines::of(io::Cursor::new(text), b"\n")).await,
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
        assert!(Lines::of(Fails, b"\n").wait().await.is_err());
    }
}
