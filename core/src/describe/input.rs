//! What a broker is told, in a line.

use std::fmt::Write as _;

use crate::input::Input;
use crate::store::{Completion, QueryResult, StoreFailure};

use super::Offsets;

/// What a broker is told.
#[must_use]
pub fn input(input: &Input) -> String {
    match input {
        Input::Tick => "that time has passed".to_owned(),
        Input::Request(request) => {
            let call = super::request(request.context.id.number, &request.body);
            let api = || request.body.api_key().name().to_owned();
            format!(
                "{} from {}",
                call.unwrap_or_else(api),
                request.context.client_host
            )
        }
        Input::Disconnected(_) => "that a client is gone".to_owned(),
        Input::LinkUp(peer) => format!("that n{} is linked", peer.broker),
        Input::LinkDown(peer) => format!("that n{peer} is not linked"),
        Input::DialRefused(peer) => format!("that n{peer} refuses to connect"),
        Input::SessionClosed { from, session } => {
            format!("that session {session} of n{} is closed", from.broker)
        }
        Input::Hello { from, session } => {
            format!("a hello of n{} for session {session}", from.broker)
        }
        Input::RejectedByPeer(reason) => format!("that it is rejected: {reason}"),
        Input::Peer { from, message, .. } => {
            format!("{message} from n{}", from.broker)
        }
        Input::Stored(completions) => {
            let mut text = String::from("stored:");
            for Completion {
                seq,
                position,
                stage,
                ..
            } in completions
            {
                let _ = write!(text, " #{} {stage:?} to {};", seq.0, position);
            }
            text.trim_end_matches(';').to_owned()
        }
        Input::StoreFailed(StoreFailure::Offline(reason)) => format!("directory offline: {reason}"),
        Input::SpaceReturned => "that there is room again".to_owned(),
        Input::QueryDone { result, .. } => match result {
            QueryResult::Records(bytes) => format!("{} bytes of records", bytes.len()),
            QueryResult::Found(Some((offset, ..))) => format!("found {offset}"),
            QueryResult::Found(None) => "found nothing".to_owned(),
            QueryResult::Failed(error) => format!("a read fails: {error}"),
        },
        Input::HolesFound { holes, .. } => {
            let holes: Vec<String> = holes
                .iter()
                .map(|hole| Offsets(hole.start, hole.end).to_string())
                .collect();
            format!("holes {}", holes.join(" "))
        }
        Input::Stop => "to stop".to_owned(),
        Input::ClientsClosed => "that its clients are gone".to_owned(),
    }
}
