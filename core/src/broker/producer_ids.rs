//! InitProducerId: producer ids for idempotent producers, from blocks that the controller allocates.
//!
//! Ids are unique because blocks are, so a broker assigns ids of its block without coordination. It requests the next
//! block before the present one is used up. Producers that arrive while there is none wait for it.
//!
//! A transactional id is refused with `UNSUPPORTED_VERSION`: transactions are not served, and silence or an
//! authorization error would mislead clients. (FindCoordinator says the same before.)
//!
//! Source: `KafkaApis.handleInitProducerIdRequest`, `RPCProducerIdManager`, KIP-360, KIP-730.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use crate::effect::{Effects, RequestId};
use crate::ids::{ProducerEpoch, ProducerId};
use crate::input::RequestContext;
use crate::peer;
use crate::wire::{ErrorCode, InitProducerIdRequest, InitProducerIdResponse, RequestMessage as _};

use super::Broker;
use super::admin::Purpose;
use super::purgatory::Delayed;

/// With fewer ids left than this, the next block is requested.
const LEFT_MIN: i64 = 100;
/// How long a producer waits for an id.
const ID_TIMEOUT: Duration = Duration::from_secs(5);

/// The ids that this broker may assign, and the producers that wait for one.
#[derive(Debug)]
pub(super) struct ProducerIds {
    present: Range<i64>,
    next: Option<Range<i64>>,
    /// A request for a block is under way.
    requested: bool,
    waiting: VecDeque<RequestId>,
}

impl Default for ProducerIds {
    fn default() -> Self {
        Self {
            present: 0..0,
            next: None,
            requested: false,
            waiting: VecDeque::new(),
        }
    }
}

impl ProducerIds {
    fn take(&mut self) -> Option<ProducerId> {
        if self.present.is_empty() {
            self.present = self.next.take()?;
        }
        self.present.next().map(ProducerId)
    }

    fn needs_block(&self) -> bool {
        let left = self.present.end - self.present.start;
        !self.requested && self.next.is_none() && left < LEFT_MIN
    }

    /// The controller has no block to allocate. The next producer's request triggers another attempt.
    pub(super) const fn refused(&mut self) {
        self.requested = false;
    }
}

/// A producer that waits for an id.
#[derive(Debug)]
struct WaitingProducer(RequestContext);

impl Delayed for WaitingProducer {
    fn context(&self) -> &RequestContext {
        &self.0
    }

    /// Answers with a retriable error.
    fn expire(self: Box<Self>, _broker: &mut Broker, fx: &mut Effects) {
        refuse(&self.0, ErrorCode::CoordinatorLoadInProgress, fx);
    }

    fn fail(self: Box<Self>, broker: &mut Broker, fx: &mut Effects) {
        self.expire(broker, fx);
    }

    fn forget(&self, broker: &mut Broker) {
        let waiting = &mut broker.requests.producer_ids.waiting;
        waiting.retain(|waiting| *waiting != self.0.id);
    }
}

impl Broker {
    pub(super) fn on_init_producer_id(
        &mut self,
        context: RequestContext,
        body: &InitProducerIdRequest,
        fx: &mut Effects,
    ) {
        let id = context.id;
        if let Err(code) = check(body) {
            refuse(&context, code, fx);
            return;
        }
        match self.requests.producer_ids.take() {
            Some(producer_id) => grant(id, producer_id, fx),
            None => {
                self.requests.producer_ids.waiting.push_back(id);
                let producer = Box::new(WaitingProducer(context));
                self.requests
                    .purgatory
                    .insert(self.now + ID_TIMEOUT, producer);
            }
        }
        self.request_producer_ids(fx);
    }

    /// Requests a block if one will be needed.
    fn request_producer_ids(&mut self, fx: &mut Effects) {
        if self.requests.producer_ids.needs_block() {
            self.requests.producer_ids.requested = true;
            self.put_controller_request(
                peer::ControllerRequest::AllocateProducerIds,
                Purpose::ProducerIds,
                None,
                fx,
            );
        }
    }

    /// The controller has allocated a block.
    pub(super) fn on_producer_ids(&mut self, block: Range<i64>, fx: &mut Effects) {
        let ids = &mut self.requests.producer_ids;
        ids.requested = false;
        ids.next = Some(block);
        while let Some(&id) = self.requests.producer_ids.waiting.front()
            && let Some(producer_id) = self.requests.producer_ids.take()
        {
            self.requests.producer_ids.waiting.pop_front();
            self.requests.purgatory.take::<WaitingProducer>(id);
            grant(id, producer_id, fx);
        }
        self.request_producer_ids(fx);
    }
}

fn check(body: &InitProducerIdRequest) -> Result<(), ErrorCode> {
    let known_id = body.producer_id != ProducerId::NONE.0;
    let known_epoch = body.producer_epoch != ProducerEpoch::NONE.0;
    match &body.transactional_id {
        Some(id) if id.is_empty() => Err(ErrorCode::InvalidRequest),
        _ if known_id != known_epoch => Err(ErrorCode::InvalidRequest),
        Some(_) => Err(ErrorCode::UnsupportedVersion),
        None => Ok(()),
    }
}

fn grant(id: RequestId, producer_id: ProducerId, fx: &mut Effects) {
    let response = InitProducerIdResponse {
        producer_id: producer_id.0,
        producer_epoch: 0,
        ..InitProducerIdResponse::default()
    };
    fx.respond(id, response);
}

fn refuse(context: &RequestContext, code: ErrorCode, fx: &mut Effects) {
    let body = InitProducerIdRequest::default();
    let response = body.error_response(context.api_version, &code.into());
    fx.respond(context.id, response);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_on_into_the_next_block_and_none_is_given_twice() {
        let mut ids = ProducerIds {
            present: 0..2,
            next: Some(1000..1002),
            ..ProducerIds::default()
        };
        let taken: Vec<_> = std::iter::from_fn(|| ids.take()).map(|id| id.0).collect();
        assert_eq!(taken, [0, 1, 1000, 1001]);
        assert!(ids.needs_block());
    }

    #[test]
    fn a_transactional_id_is_refused_and_an_id_goes_with_an_epoch() {
        let plain = InitProducerIdRequest::default();
        assert_eq!(check(&plain), Ok(()));
        let transactional = |id: &str| InitProducerIdRequest {
            transactional_id: Some(id.into()),
            ..plain.clone()
        };
        assert_eq!(
            check(&transactional("t")),
            Err(ErrorCode::UnsupportedVersion)
        );
        assert_eq!(check(&transactional("")), Err(ErrorCode::InvalidRequest));
        let half = InitProducerIdRequest {
            producer_id: 7,
            ..plain
        };
        assert_eq!(check(&half), Err(ErrorCode::InvalidRequest));
    }
}
