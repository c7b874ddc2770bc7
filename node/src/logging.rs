//! Where the log goes: to standard error, one line an event.
//!
//! `VARVE_LOG` says what is told, in the words of tracing's filter: `debug`, or `warn,varve_net=debug`.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging, at this level unless `VARVE_LOG` says otherwise.
pub(crate) fn start(level: &str) {
    let filter = EnvFilter::try_from_env("VARVE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // It would be written to the same place, and would end the node where that is gone.
        .log_internal_errors(false)
        .init();
}
