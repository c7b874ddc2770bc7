//! Standard output as bytes, written by a thread of its own.
//!
//! Records leave in large pieces, since a system call for each would cost more than everything else. The thread
//! keeps a reader that is slow, or stands still, from holding up whoever fetches the records or waits for a signal.

use std::io;

use tokio::sync::{mpsc, oneshot};

/// Bytes that are gathered before they are written, and how many such pieces may wait.
const PIECE_SIZE: usize = 256 << 10;
const PIECES_MAX: usize = 4;

/// Gathers bytes and hands them to the thread that writes.
#[derive(Debug)]
pub(crate) struct Output {
    gathered: Vec<u8>,
    pieces: mpsc::Sender<Vec<u8>>,
    ended: oneshot::Receiver<io::Result<()>>,
}

impl Output {
    /// Begins to write to standard output.
    pub(crate) fn to_stdout() -> Self {
        Self::to(io::stdout())
    }

    fn to(mut sink: impl io::Write + Send + 'static) -> Self {
        let (pieces, mut waiting) = mpsc::channel::<Vec<u8>>(PIECES_MAX);
        let (end, ended) = oneshot::channel();
        // It ends with the last piece, or at the first that cannot be written.
        std::thread::spawn(move || {
            let mut write_all = || {
                while let Some(piece) = waiting.blocking_recv() {
                    sink.write_all(&piece)?;
                    sink.flush()?;
                }
                Ok(())
            };
            let result = write_all();
            drop(waiting);
            // Nobody waits for it where the command was interrupted.
            let _ = end.send(result);
        });
        Self {
            gathered: Vec::with_capacity(PIECE_SIZE),
            pieces,
            ended,
        }
    }

    /// Where to put the bytes of whole records.
    pub(crate) const fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.gathered
    }

    /// Hands on what is gathered where it is enough for a write.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub(crate) async fn flush_if_full(&mut self) -> io::Result<()> {
        if self.gathered.len() < PIECE_SIZE {
            return Ok(());
        }
        self.flush().await
    }

    /// Hands on all that is gathered.
    ///
    /// # Errors
    /// What an earlier write has met.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.gathered, Vec::with_capacity(PIECE_SIZE));
        match self.pieces.send(piece).await {
            Ok(()) => Ok(()),
            Err(_) => (&mut self.ended).await.unwrap_or(Ok(())),
        }
    }

    /// Waits until all that was handed on is written.
    ///
    /// # Errors
    /// What a write has met.
    pub(crate) async fn finish(self) -> io::Result<()> {
        let Self {
            gathered,
            pieces,
            ended,
        } = self;
        assert!(gathered.is_empty(), "what is gathered was flushed");
        drop(pieces);
        ended.await.unwrap_or(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<usize>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn many_records_are_written_by_few_writes() {
        let sink = Sink::default();
        let mut output = Output::to(sink.clone());
        for _ in 0..100_000 {
            output.buffer().extend_from_slice(&[7; 100]);
            output.flush_if_full().await.unwrap();
        }
        output.flush().await.unwrap();
        output.finish().await.unwrap();
        let writes = sink.0.lock().unwrap();
        assert_eq!(writes.iter().sum::<usize>(), 10_000_000);
        assert!(writes.len() < 50, "{} writes", writes.len());
    }

    #[tokio::test]
    async fn a_write_that_fails_is_told_to_whoever_comes_next() {
        struct Full;
        impl io::Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut output = Output::to(Full);
        output.buffer().push(1);
        output.flush().await.unwrap();
        let error = output.finish().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);

        let mut output = Output::to(Full);
        let error = loop {
            output.buffer().push(1);
            if let Err(error) = output.flush().await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
