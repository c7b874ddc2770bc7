//! What arrives at a listener, in the pieces in which it arrives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};
use varve_net::frame::property::read_in_pieces;

/// The most pieces; what is left comes at once.
const PIECES_MAX: usize = 64;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a process can have a timer");
}

fuzz_target!(|input: &[u8]| {
    let Some(([limit, pieces], rest)) = input.split_first_chunk() else {
        return;
    };
    let limit = [100, 1 << 12, 1 << 16, usize::MAX][usize::from(limit % 4)];
    let pieces = usize::from(*pieces).min(PIECES_MAX).min(rest.len());
    let (sizes, stream) = rest.split_at(pieces);
    RUNTIME.with(|runtime| runtime.block_on(read_in_pieces(stream, sizes, limit)));
});
