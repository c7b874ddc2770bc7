//! What the binary can be asked to do, a module each.

pub(crate) mod dev;
pub(crate) mod format;
pub(crate) mod start;
pub(crate) mod topic;
pub(crate) mod produce;
pub(crate) mod consume;
pub(crate) mod accept_loss;
pub(crate) mod cluster;
pub(crate) mod sim;
mod jobs;
mod escapes;
mod lines;
mod output;
mod record_format;
mod record_json;
pub(crate) mod show;
mod times;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use varve_net::client::ClientError;
use varve_net::files::{OpenError, RealDisk};

use show::say;

/// The command was called in a way that cannot work: an option that contradicts another, or names a file that cannot be
/// opened. Exit status 2.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// Why a command failed, in words for whoever gave it.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A failure, for a program: what happened, and Kafka's name for it where it has one.
pub(crate) fn failure_as_json(
    failure: &(dyn std::error::Error + Send + Sync + 'static),
) -> serde_json::Value {
    let mut told = serde_json::json!({ "error": failure.to_string() });
    let mut code = failure
        .downcast_ref::<ClientError>()
        .and_then(ClientError::code);
    if let Some(produce_error) = failure.downcast_ref::<produce::ProduceError>() {
        code = produce_error.code;
        told["line"] = produce_error.line.into();
        told["lines_written"] = produce_error.written.into();
    }
    if let Some(code) = code {
        told["kafka_error"] = code.name().into();
    }
    told
}

/// How long a node waits for its directory while another process has it: one that was killed a moment ago lets go of
/// it when the operating system has cleared it away.
const LET_GO_MAX: Duration = Duration::from_secs(10);
/// How often it looks.
const LET_GO_REST: Duration = Duration::from_millis(100);

/// Opens a log directory for a node that starts.
///
/// # Errors
/// [`OpenError`]; [`OpenError::InUse`] where another process still has it after a while.
pub(crate) async fn open_directory(path: &Path) -> Result<RealDisk, OpenError> {
    let deadline = Instant::now() + LET_GO_MAX;
    let mut waits = false;
    loop {
        match RealDisk::open(path) {
            Err(error @ OpenError::InUse(_)) if Instant::now() < deadline => {
                if !waits {
                    let seconds = LET_GO_MAX.as_secs();
                    say!("Waiting up to {seconds} seconds, since {error}.");
                    waits = true;
                }
                sleep(LET_GO_REST).await;
            }
            opened => return opened,
        }
    }
}

/// A number that nobody has drawn before.
pub(crate) fn draw() -> Result<u128, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| format!("the operating system gives no random numbers: {error}"))?;
    Ok(u128::from_le_bytes(bytes))
}

/// Where the randomness of one start comes from.
pub(crate) fn draw_seed() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|error| format!("the operating system gives no random numbers: {error}"))?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use varve_core::wire::ErrorCode;

    #[test]
    fn a_program_reads_the_words_of_a_failure_and_kafkas_name_for_it() {
        let told = |failure: Failure| failure_as_json(&*failure).to_string();
        assert_eq!(told("why \"not\"".into()), r#"{"error":"why \"not\""}"#);
        let refused = ClientError::Refused(ErrorCode::TopicAlreadyExists, Some("it is".to_owned()));
        assert_eq!(
            told(refused.into()),
            r#"{"error":"TOPIC_ALREADY_EXISTS: it is","kafka_error":"TOPIC_ALREADY_EXISTS"}"#
        );
        let leaderless = ClientError::NoLeader("t".to_owned(), vec![0]);
        assert!(told(leaderless.into()).ends_with(r#""kafka_error":"LEADER_NOT_AVAILABLE"}"#));
    }
}
