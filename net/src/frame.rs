//! Frames: Kafka's four bytes of length, and as many bytes of content.
//!
//! Reading trusts no length: memory is allocated as bytes arrive, from a [`Budget`] that the whole node shares: 16 KiB
//! at first, then never more than twice what has arrived. Writing takes a list of segments and hands them to the socket
//! as they are, so records are never copied.
//!
//! [`crate::connection`] and [`crate::peer_link`] decode the content.

#[cfg(any(test, fuzzing))]
pub mod property;

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Bytes of a frame's length field.
pub const LENGTH_SIZE: usize = 4;

/// What an idle connection keeps allocated for reading.
const BUFFER_SIZE: usize = 8 * 1024;

/// The first allocation for a frame whose length is greater than this.
const FIRST_ALLOCATION: usize = 16 * 1024;

/// How often the limit of a stalled write is checked again.
const STALL_STEP: Duration = Duration::from_secs(1);

/// The most segments handed to the socket in one call.
const SLICES_MAX: usize = 64;

/// The memory of requests in flight, all connections of a node together.
#[derive(Clone, Debug)]
pub struct Budget {
    bytes: Arc<Semaphore>,
    wait_max: Duration,
}

impl Budget {
    /// A budget of this many bytes, for which a request waits no longer than `wait_max`.
    #[must_use]
    pub fn new(bytes: usize, wait_max: Duration) -> Self {
        Self {
            bytes: Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))),
            wait_max,
        }
    }

    async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, FrameError> {
        let bytes = u32::try_from(bytes).expect("a frame is shorter than 2 GiB");
        match timeout(
            self.wait_max,
            Arc::clone(&self.bytes).acquire_many_owned(bytes),
        )
        .await
        {
            Ok(permit) => Ok(permit.expect("the semaphore is never closed")),
            Err(_) => Err(FrameError::NoMemory),
        }
    }
}

/// A frame's bytes after its length, with the memory that they take. The memory goes back to the budget when
/// the permit is dropped, which is when the request has been answered.
#[derive(Debug)]
pub struct Frame {
    /// The bytes: an allocation of their own, so that keeping a slice of them keeps nothing else.
    pub bytes: Bytes,
    /// Their part of the budget.
    pub permit: OwnedSemaphorePermit,
}

/// Why no frame could be read.
#[derive(Debug)]
pub enum FrameError {
    /// The length is negative or above the limit.
    Length {
        /// The length of the frame.
        length: i32,
        /// The limit, inclusive.
        limit: usize,
    },
    /// The connection ended within a frame.
    Truncated,
    /// The node's memory for requests stayed exhausted.
    NoMemory,
    /// The socket failed.
    Io(io::Error),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { length, limit } => {
                write!(
                    f,
                    "a frame of {length} bytes is announced, the limit is {limit}"
                )
            }
            Self::Truncated => f.write_str("the connection ended within a frame"),
            Self::NoMemory => f.write_str("the node's memory for requests is exhausted"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FrameError {}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads frames from a stream.
#[derive(Debug)]
pub struct FrameReader<R> {
    reader: R,
    buffer: BytesMut,
    limit: usize,
    budget: Budget,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads frames of at most `limit` bytes.
    pub fn new(reader: R, limit: usize, budget: Budget) -> Self {
        Self {
            reader,
            buffer: BytesMut::with_capacity(BUFFER_SIZE),
            limit: limit.min(i32::MAX as usize),
            budget,
        }
    }

    /// The length of the next frame, once it has been announced; `None` when the stream ended before.
    ///
    /// # Errors
    /// [`FrameError`], after which the stream must not be read again.
    pub async fn next_length(&mut self) -> Result<Option<usize>, FrameError> {
        while self.buffer.len() < LENGTH_SIZE {
            if self.fill().await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(FrameError::Truncated)
                };
            }
        }
        let length =
            i32::from_be_bytes(*self.buffer.first_chunk().expect("the loop has filled it"));
        match usize::try_from(length) {
            Ok(announced) if announced <= self.limit => {
                self.buffer.advance(LENGTH_SIZE);
                Ok(Some(announced))
            }
            Ok(_) | Err(_) => Err(FrameError::Length {
                length,
                limit: self.limit,
            }),
        }
    }

    /// The bytes of a frame whose length [`FrameReader::next_length`] has returned.
    ///
    /// # Errors
    /// [`FrameError`], after which the stream must not be read again.
    pub async fn body(&mut self, length: usize) -> Result<Frame, FrameError> {
        let first = length.min(FIRST_ALLOCATION);
        let mut permit = self.budget.take(first).await?;
        let mut body = BytesMut::with_capacity(first);
        let buffered = length.min(self.buffer.len());
        body.put_slice(&self.buffer[..buffered]);
        self.buffer.advance(buffered);
        while body.len() < length {
            if body.len() == body.capacity() {
                let more = body.len().min(length - body.len());
                permit.merge(self.budget.take(more).await?);
                body.reserve(more);
            }
            // Never past the frame: what follows belongs to the next one.
            let room = (length - body.len()).min(body.capacity() - body.len());
            if self.reader.read_buf(&mut (&mut body).limit(room)).await? == 0 {
                return Err(FrameError::Truncated);
            }
        }
        Ok(Frame {
            bytes: body.freeze(),
            permit,
        })
    }

    /// The next frame, length and bytes; `None` when the stream ended before it.
    ///
    /// # Errors
    /// [`FrameError`], after which the stream must not be read again.
    pub async fn frame(&mut self) -> Result<Option<Frame>, FrameError> {
        match self.next_length().await? {
            Some(length) => Ok(Some(self.body(length).await?)),
            None => Ok(None),
        }
    }

    async fn fill(&mut self) -> Result<usize, FrameError> {
        if self.buffer.capacity() - self.buffer.len() < LENGTH_SIZE {
            self.buffer.reserve(BUFFER_SIZE);
        }
        let room = self.buffer.capacity() - self.buffer.len();
        Ok(self
            .reader
            .read_buf(&mut (&mut self.buffer).limit(room))
            .await?)
    }
}

/// Responses that clients have not read, all connections of a node together.
///
/// The size of a response is known only once it exists, so nothing waits for room here: while unread responses exceed
/// the bound, clients get less time to read theirs.
#[derive(Clone, Debug)]
pub struct Answers {
    bytes: Arc<AtomicUsize>,
    bytes_max: usize,
}

impl Answers {
    /// No responses, with this bound in bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes: Arc::default(),
            bytes_max,
        }
    }

    /// Counts a response until the result is dropped.
    #[must_use]
    pub fn hold(&self, bytes: usize) -> HeldAnswer {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        HeldAnswer {
            bytes,
            total: Arc::clone(&self.bytes),
        }
    }

    /// Whether they exceed the bound.
    #[must_use]
    pub fn are_crowded(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.bytes_max
    }
}

/// A response that is not read completely.
#[derive(Debug)]
pub struct HeldAnswer {
    bytes: usize,
    total: Arc<AtomicUsize>,
}

impl Drop for HeldAnswer {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Writes segments one after the other, and flushes them. A reader may be slow, but not stall: some bytes must move
/// within `stall_max`, which is evaluated again while none do.
///
/// # Errors
/// Those of the socket, and [`io::ErrorKind::TimedOut`] when the reader stalled.
pub async fn write_segments<W: AsyncWrite + Unpin>(
    writer: &mut W,
    segments: &mut VecDeque<Bytes>,
    stall_max: impl Fn() -> Duration,
) -> io::Result<()> {
    drop_written(segments, 0);
    while !segments.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        for (slice, segment) in slices.iter_mut().zip(segments.iter()) {
            *slice = IoSlice::new(segment);
        }
        let used = segments.len().min(SLICES_MAX);
        let written = with_stall_limit(&stall_max, writer.write_vectored(&slices[..used])).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        drop_written(segments, written);
    }
    with_stall_limit(&stall_max, writer.flush()).await
}

/// Waits for a step of writing until it is done or has stalled for too long.
async fn with_stall_limit<T>(
    stall_max: impl Fn() -> Duration,
    step: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let mut step = std::pin::pin!(step);
    let mut stood = Duration::ZERO;
    loop {
        let left = stall_max().saturating_sub(stood);
        if left.is_zero() {
            let words = "the reader stands still";
            return Err(io::Error::new(io::ErrorKind::TimedOut, words));
        }
        let wait = left.min(STALL_STEP);
        match timeout(wait, &mut step).await {
            Ok(done) => return done,
            Err(_) => stood += wait,
        }
    }
}

fn drop_written(segments: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(first) = segments.front_mut() {
        if first.len() > written {
            first.advance(written);
            return;
        }
        written -= first.len();
        segments.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(50);

    fn budget() -> Budget {
        Budget::new(1 << 20, WAIT)
    }

    async fn frames(bytes: &[u8], limit: usize) -> (Vec<Bytes>, Option<FrameError>) {
        let mut reader = FrameReader::new(bytes, limit, budget());
        let mut frames = Vec::new();
        loop {
            match reader.frame().await {
                Ok(Some(frame)) => frames.push(frame.bytes),
                Ok(None) => return (frames, None),
                Err(error) => return (frames, Some(error)),
            }
        }
    }

    fn framed(body: &[u8]) -> Vec<u8> {
        let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    #[tokio::test]
    async fn frames_come_out_as_they_went_in_whatever_their_size() {
        let bodies: Vec<Vec<u8>> = [0, 1, 5, 8_188, 8_192, 8_193, 70_000, 300_000]
            .map(|size| (0..size).map(|i| (i % 251) as u8).collect())
            .to_vec();
        let stream: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
        let (frames, error) = frames(&stream, 1 << 20).await;
        assert!(error.is_none(), "{error:?}");
        assert_eq!(frames, bodies);
    }

    #[tokio::test]
    async fn a_reader_that_stands_still_is_let_go_sooner_once_answers_are_many() {
        let answers = Answers::new(100);
        let held = answers.hold(100);
        assert!(!answers.are_crowded());
        let (mut server, _client) = tokio::io::duplex(10);
        let mut segments = VecDeque::from([Bytes::from_static(&[7; 1000])]);
        let stall_max = || {
            if answers.are_crowded() {
                WAIT
            } else {
                WAIT * 1000
            }
        };
        let writing = write_segments(&mut server, &mut segments, stall_max);
        let one_more = async {
            tokio::task::yield_now().await;
            answers.hold(1)
        };
        let (written, more) = tokio::join!(writing, one_more);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop((held, more));
        assert!(!answers.are_crowded());
    }

    #[tokio::test]
    async fn a_frame_in_many_pieces_is_one_frame() {
        let (mut client, server) = tokio::io::duplex(3);
        let sent = framed(&[7; 1000]);
        let writing = async {
            client.write_all(&sent).await.unwrap();
            drop(client);
        };
        let mut reader = FrameReader::new(server, 1 << 20, budget());
        let (frame, ()) = tokio::join!(reader.frame(), writing);
        assert_eq!(frame.unwrap().unwrap().bytes, vec![7; 1000]);
        assert!(reader.frame().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn half_a_frame_and_half_a_length_are_errors() {
        let (got, error) = frames(&framed(&[1; 10])[..9], 100).await;
        assert!(got.is_empty() && matches!(error, Some(FrameError::Truncated)));
        let (got, error) = frames(&[0, 0], 100).await;
        assert!(got.is_empty() && matches!(error, Some(FrameError::Truncated)));
    }

    #[tokio::test]
    async fn an_absurd_length_is_refused_before_anything_is_allocated() {
        for length in [i32::MAX, -1, i32::MIN, 101] {
            let (_, error) = frames(&length.to_be_bytes(), 100).await;
            assert!(
                matches!(error, Some(FrameError::Length { length: l, limit: 100 }) if l == length)
            );
        }
    }

    #[tokio::test]
    async fn a_claimed_length_costs_what_has_arrived_and_no_more() {
        let budget = Budget::new(1 << 20, WAIT);
        let (mut client, server) = tokio::io::duplex(64);
        client
            .write_all(&(100 * 1024 * 1024_i32).to_be_bytes())
            .await
            .unwrap();
        let mut reader = FrameReader::new(server, usize::MAX, budget.clone());
        let mut reading = Box::pin(reader.frame());
        assert!(
            timeout(WAIT, &mut reading).await.is_err(),
            "it waits for the bytes"
        );
        assert_eq!(
            budget.bytes.available_permits(),
            (1 << 20) - FIRST_ALLOCATION
        );
        client.write_all(&[0; 64]).await.unwrap();
        assert!(
            timeout(WAIT, &mut reading).await.is_err(),
            "it waits for the bytes"
        );
        assert_eq!(
            budget.bytes.available_permits(),
            (1 << 20) - FIRST_ALLOCATION
        );
    }

    #[tokio::test]
    async fn memory_goes_back_when_the_request_is_done_and_a_frame_waits_for_it_no_longer_than_allowed()
     {
        let budget = Budget::new(10, WAIT);
        let stream = [framed(&[1; 8]), framed(&[2; 8]), framed(&[3; 8])].concat();
        let mut reader = FrameReader::new(&stream[..], 100, budget);
        let first = reader.frame().await.unwrap().unwrap();
        drop(first);
        let _second = reader.frame().await.unwrap().unwrap();
        assert!(matches!(reader.frame().await, Err(FrameError::NoMemory)));
    }

    #[tokio::test]
    async fn segments_arrive_in_order_through_a_narrow_pipe() {
        let (mut client, mut server) = tokio::io::duplex(7);
        let mut segments: VecDeque<Bytes> = (0..200_u8)
            .map(|i| Bytes::from(vec![i; usize::from(i % 5)]))
            .collect();
        let expected: Vec<u8> = segments.iter().flatten().copied().collect();
        let writing = async {
            write_segments(&mut server, &mut segments, || WAIT)
                .await
                .unwrap();
            drop(server);
        };
        let mut got = Vec::new();
        let ((), n) = tokio::join!(writing, client.read_to_end(&mut got));
        n.unwrap();
        assert_eq!(got, expected);
    }

    #[tokio::test]
    async fn a_reader_that_stands_still_is_given_up() {
        let (_client, mut server) = tokio::io::duplex(7);
        let mut segments = VecDeque::from([Bytes::from_static(&[0; 100])]);
        let error = write_segments(&mut server, &mut segments, || WAIT)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
