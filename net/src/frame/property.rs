//! What reading frames promises whatever arrives, for a property test and a fuzz target.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};

use super::{Budget, FrameError, FrameReader, LENGTH_SIZE};

/// Memory that no reading waits for: the streams here are shorter.
const BUDGET: usize = 1 << 24;

/// A stream whose bytes arrive in pieces. A piece of no bytes is a moment in which nothing has come.
#[derive(Debug)]
struct Pieces<'a> {
    stream: &'a [u8],
    /// What is left of each piece; behind them all comes the rest at once.
    sizes: VecDeque<usize>,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let piece = self.sizes.pop_front();
        if piece == Some(0) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let left = self.stream.len();
        let taken = piece.unwrap_or(left).min(left).min(buffer.remaining());
        let (now, later) = self.stream.split_at(taken);
        buffer.put_slice(now);
        self.stream = later;
        if let Some(rest) = piece.filter(|&piece| piece > taken && !later.is_empty()) {
            self.sizes.push_front(rest - taken);
        }
        Poll::Ready(Ok(()))
    }
}

/// Reads a stream of any bytes that arrives in pieces of any sizes. Tells how many frames there were.
///
/// # Panics
/// Where a frame is not what was sent, where an end is told as another one, or a frame is paid for with more memory
/// than it has bytes.
pub async fn read_in_pieces(stream: &[u8], sizes: &[u8], limit: usize) -> usize {
    let pieces = Pieces {
        stream,
        sizes: sizes.iter().map(|&size| usize::from(size)).collect(),
    };
    let budget = Budget::new(BUDGET, Duration::from_secs(60));
    let mut reader = FrameReader::new(pieces, limit, budget.clone());
    let (mut left, mut count) = (stream, 0);
    loop {
        let due = next(&mut left, limit);
        let read = reader.frame().await;
        match (due, read) {
            (Due::Frame(body), Ok(Some(frame))) => {
                assert_eq!(frame.bytes, body);
                assert_eq!(frame.permit.num_permits(), body.len());
                count += 1;
            }
            (Due::End, Ok(None)) | (Due::Half, Err(FrameError::Truncated)) => break,
            (Due::Absurd(due), Err(FrameError::Length { length, .. })) if length == due => break,
            (due, read) => panic!("{due:?} was due, not {read:?}"),
        }
    }
    assert_eq!(budget.bytes.available_permits(), BUDGET);
    count
}

/// What a stream begins with.
#[derive(Debug)]
enum Due<'a> {
    Frame(&'a [u8]),
    End,
    Half,
    Absurd(i32),
}

fn next<'a>(stream: &mut &'a [u8], limit: usize) -> Due<'a> {
    if stream.is_empty() {
        return Due::End;
    }
    let Some((announced, rest)) = stream.split_first_chunk::<LENGTH_SIZE>() else {
        return Due::Half;
    };
    let announced = i32::from_be_bytes(*announced);
    let Some(length) = usize::try_from(announced).ok().filter(|&l| l <= limit) else {
        return Due::Absurd(announced);
    };
    let Some((body, rest)) = rest.split_at_checked(length) else {
        return Due::Half;
    };
    *stream = rest;
    Due::Frame(body)
}

#[cfg(test)]
mod tests {
    use super::super::{BUFFER_SIZE, FIRST_ALLOCATION};
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// The parts of a stream: whole frames, garbage, lengths without content.
    fn part() -> impl Strategy<Value = Vec<u8>> {
        let frame = |size: usize| {
            let mut bytes = (size as u32).to_be_bytes().to_vec();
            bytes.extend((0..size).map(|i| (i % 251) as u8));
            bytes
        };
        prop_oneof![
            6 => (0..300_usize).prop_map(frame),
            2 => (8_000..60_000_usize).prop_map(frame),
            1 => vec(any::<u8>(), 0..40),
            1 => any::<i32>().prop_map(|length| length.to_be_bytes().to_vec()),
        ]
    }

    proptest! {
        #[test]
        fn frames_survive_any_splitting_and_garbage_costs_no_more_than_it_is_long(
            parts in vec(part(), 0..8),
            cut in any::<prop::sample::Index>(),
            sizes in vec(any::<u8>(), 0..200),
            limit in prop_oneof![Just(100), Just(1 << 16), Just(usize::MAX)],
        ) {
            let mut stream = parts.concat();
            stream.truncate(cut.index(stream.len() + 1).max(stream.len() / 2));
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap();
            // A panic must not leave what counts: it would be a second one.
            let mut read = Ok(0);
            let spent = allocation_counter::measure(|| {
                let reading = || runtime.block_on(read_in_pieces(&stream, &sizes, limit));
                read = catch_unwind(AssertUnwindSafe(reading));
            });
            prop_assert!(read.is_ok());
            // Doubling takes twice what has arrived, beside what is being copied from.
            let bound = BUFFER_SIZE + FIRST_ALLOCATION + 3 * stream.len() + 4096;
            prop_assert!(spent.bytes_max <= bound as u64, "{} of {bound}", spent.bytes_max);
        }

        #[test]
        fn whole_frames_all_come_through(
            sizes_of_frames in vec(0..20_000_usize, 0..10),
            sizes in vec(any::<u8>(), 0..200),
        ) {
            let stream: Vec<u8> = sizes_of_frames
                .iter()
                .flat_map(|&size| [(size as u32).to_be_bytes().to_vec(), vec![7; size]].concat())
                .collect();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap();
            let count = runtime.block_on(read_in_pieces(&stream, &sizes, 20_000));
            prop_assert_eq!(count, sizes_of_frames.len());
        }
    }
}
