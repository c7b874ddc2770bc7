//! One client's connection: bytes in, requests to core, responses out.
//!
//! Requests are decoded and produced batches examined here, on the connection's own task, so that a costly or hostile
//! client costs core nothing. Requests enter core in the order of their arrival, several at a time; responses leave in
//! that order too, as Kafka's clients expect, whatever the order in which core answers.
//!
//! What is bounded: the bytes of requests in flight (per connection and, by the [`Budget`], per node), their number,
//! how long a client may be idle, and how long it may read no byte of a response, which is less while unread
//! [`Answers`] fill the node's memory.
//!
//! Only what Kafka decides before it has a request is decided here: an invalid frame closes the connection, after the
//! requests before it are answered; an `ApiVersions` of an unknown version is answered with the known versions
//! (KIP-511).

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use varve_core::effect::RequestId;
use varve_core::input::{ClientRequest, ConnectionId, RequestContext};
use varve_core::record::{Depth, Examined, Limits, RecordError, examine};
use varve_core::wire::{
    ApiKey, ApiVersionsResponse, EncodeError, Request, RequestError, RequestHeader, Response, Str,
    decode_request, encode_response, served_versions,
};

use crate::frame::{Answers, Budget, Frame, FrameError, FrameReader, write_segments};

/// The most requests of one connection in flight.
const IN_FLIGHT_MAX: usize = 128;

/// The most requests of one connection in flight other than Produce: a response can be a thousand times as large as its
/// request, and a client that does not read one gets no other. As in Kafka, which processes one request of a connection
/// at a time; responses leave in order in any case.
const NON_PRODUCE_IN_FLIGHT_MAX: usize = 1;

/// How long a client may read no byte of a response while responses take more memory than they should.
const CROWDED_STALL_MAX: Duration = Duration::from_secs(1);

/// A connection that is being closed must have no request in flight for this long. A client that sends one request
/// after another moves away by itself: its responses say that this broker leads nothing.
const QUIET: Duration = Duration::from_millis(20);

/// How long a new client may take for its first request before the node closes its connection on shutdown. franz-go
/// treats the end of a connection without any response as a configuration error, and fails its records.
const FIRST_REQUEST_WAIT: Duration = Duration::from_secs(1);

/// How long a client may take to hang up after the node has shut down its side of the connection. Bytes that it still
/// sends are read and dropped: otherwise the system would reset the connection, and the last responses would be lost.
const HANG_UP_WAIT: Duration = Duration::from_millis(500);

/// What all client connections of a node share.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Kafka's `socket.request.max.bytes`: the longest frame, and the most bytes of requests that one connection may
    /// have in flight.
    pub request_bytes_max: usize,
    /// Kafka's `connections.max.idle.ms`.
    pub idle_max: Duration,
    /// How long a client may read no byte of a response.
    pub stall_max: Duration,
    /// The memory of requests in flight, all connections together (Kafka's `queued.max.request.bytes`).
    pub budget: Budget,
    /// The memory of responses that clients have not read, all connections together.
    pub answers: Answers,
}

/// Events of connections for the driver. Of each connection: first `Connected`, last `Disconnected`.
#[derive(Debug)]
pub enum ClientEvent {
    /// A client has connected.
    Connected(ConnectionId, ReplyQueue),
    /// It sends a request. The driver drops the permits once core has taken it.
    Request(Box<ClientRequest>, Option<Held>),
    /// Its connection is closed.
    Disconnected(ConnectionId),
}

/// The queue of a connection's responses.
///
/// Sending never waits: the queue has room for a response to every request that may be in flight.
#[derive(Clone, Debug)]
pub struct ReplyQueue(mpsc::Sender<Reply>);

#[derive(Debug)]
enum Reply {
    Response {
        number: u64,
        response: Box<Response>,
    },
    Close,
    /// Close once no request is in flight.
    Finish,
}

impl ReplyQueue {
    /// Answers a request.
    pub fn respond(&self, number: u64, response: Box<Response>) {
        self.put(Reply::Response { number, response });
    }

    /// Closes the connection.
    pub fn close(&self) {
        self.put(Reply::Close);
    }

    /// Closes the connection once its requests are answered, and a new client has had at least one response.
    pub fn finish(&self) {
        self.put(Reply::Finish);
    }

    fn put(&self, reply: Reply) {
        match self.0.try_send(reply) {
            // A connection that has ended needs no response.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                panic!("a request was answered more than once")
            }
        }
    }
}

/// The context of one connection.
#[derive(Debug)]
pub struct ClientContext {
    /// Its number.
    pub id: ConnectionId,
    /// The client's address.
    pub host: String,
    /// Index of the listener that it came through.
    pub listener: u16,
    /// The limits.
    pub settings: ClientSettings,
    /// The driver.
    pub driver: mpsc::Sender<ClientEvent>,
}

/// Why a connection ended.
#[derive(Debug)]
enum Ended {
    /// The client hung up.
    Closed,
    /// The client sent no request for too long.
    Idle,
    /// Its bytes were not a valid frame.
    Frame(FrameError),
    /// Its frame was not a valid request.
    Refused(RequestError),
    /// Its request was of an API that can be read, but that clients are not told of.
    NotServed(ApiKey),
    /// Core closed it.
    ByBroker,
    /// The socket failed, or the client stalled.
    Io(io::Error),
    /// A response could not be encoded in the version of its request: a bug.
    Unencodable(EncodeError),
    /// The node stops, and no request was in flight.
    Finished,
    /// The node stops.
    NodeStops,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the client hung up"),
            Self::Idle => f.write_str("the client was idle for too long"),
            Self::Frame(error) => error.fmt(f),
            Self::Refused(error) => error.fmt(f),
            Self::NotServed(api_key) => write!(f, "{} is not served", api_key.name()),
            Self::ByBroker => f.write_str("the broker closed it"),
            Self::Io(error) => error.fmt(f),
            Self::Unencodable(error) => write!(f, "a response cannot be encoded: {error}"),
            Self::Finished | Self::NodeStops => f.write_str("the node stops"),
        }
    }
}

/// Serves a connection until it ends.
pub async fn serve_client<S: AsyncRead + AsyncWrite>(stream: S, context: ClientContext) {
    let (reply_sender, replies) = mpsc::channel(IN_FLIGHT_MAX + 2);
    let connected = ClientEvent::Connected(context.id, ReplyQueue(reply_sender));
    if context.driver.send(connected).await.is_err() {
        return;
    }
    let ended = serve_requests(stream, replies, &context).await;
    match &ended {
        Ended::Frame(_) | Ended::Refused(_) | Ended::NotServed(_) => {
            tracing::info!(client = %context.host, reason = %ended, "closed a client's connection");
        }
        Ended::Unencodable(_) => {
            tracing::error!(client = %context.host, reason = %ended, "closed a client's connection");
        }
        Ended::Closed
        | Ended::Idle
        | Ended::ByBroker
        | Ended::Io(_)
        | Ended::Finished
        | Ended::NodeStops => {
            tracing::debug!(client = %context.host, reason = %ended, "a client's connection ended");
        }
    }
    // Where the driver has ended, nothing needs the event.
    let _ = context
        .driver
        .send(ClientEvent::Disconnected(context.id))
        .await;
}

async fn serve_requests<S: AsyncRead + AsyncWrite>(
    stream: S,
    replies: mpsc::Receiver<Reply>,
    context: &ClientContext,
) -> Ended {
    let (read, write) = tokio::io::split(stream);
    let (pending_sender, pending) = mpsc::channel(IN_FLIGHT_MAX + 1);
    let finished = AtomicBool::new(false);
    let mut reading = std::pin::pin!(read_requests(read, pending_sender, context, &finished));
    let mut writing = std::pin::pin!(write_responses(write, pending, replies, &context.settings));
    tokio::select! {
        biased;
        ended = &mut writing => {
            if let Ended::Finished = ended {
                finished.store(true, Ordering::Relaxed);
                let _ = timeout(HANG_UP_WAIT, reading).await;
            }
            ended
        }
        ended = &mut reading => {
            if let Ended::Refused(_) | Ended::NotServed(_) | Ended::Frame(_) = ended {
                // The requests before the end are answered. The reader has dropped its end, so the writer ends by
                // itself.
                let _ = timeout(context.settings.stall_max, writing).await;
            }
            ended
        }
    }
}

/// A request whose response is awaited. Dropped when the response is written, and its memory with it.
#[derive(Debug)]
struct Pending {
    number: u64,
    correlation_id: i32,
    api_version: i16,
    /// The response, where it needs no input to core.
    known: Option<Box<Response>>,
    /// It is an ApiVersions request, as the first of a connection is.
    is_api_versions: bool,
    _held: Held,
}

/// The permits of a request in flight, of its connection's and its node's limits.
#[derive(Debug)]
pub struct Held {
    _in_flight: OwnedSemaphorePermit,
    _connection_bytes: OwnedSemaphorePermit,
    _node_bytes: OwnedSemaphorePermit,
    /// The additional permit of all requests but Produce, until the response is written.
    non_produce: Option<OwnedSemaphorePermit>,
}

async fn read_requests<R: AsyncRead + Unpin>(
    read: R,
    pending: mpsc::Sender<Pending>,
    context: &ClientContext,
    finished: &AtomicBool,
) -> Ended {
    let settings = &context.settings;
    let mut reader = FrameReader::new(read, settings.request_bytes_max, settings.budget.clone());
    let slots = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let bytes = Arc::new(Semaphore::new(settings.request_bytes_max.max(1)));
    let non_produce = Arc::new(Semaphore::new(NON_PRODUCE_IN_FLIGHT_MAX));
    let mut number = 0;
    loop {
        let slot = acquire(&slots, 1).await;
        let (frame, connection_bytes) =
            match read_frame(&mut reader, &slots, &bytes, settings).await {
                Ok(Some(read)) => read,
                Ok(None) => return Ended::Closed,
                Err(ended) => return ended,
            };
        if finished.load(Ordering::Relaxed) {
            continue; // nobody answers any more
        }
        let held = Held {
            _in_flight: slot,
            _connection_bytes: connection_bytes,
            _node_bytes: frame.permit,
            non_produce: None,
        };
        number += 1;
        let taken = take_request(&frame.bytes, number, held, &non_produce, &pending, context);
        if let Err(ended) = taken.await {
            return ended;
        }
    }
}

async fn acquire(semaphore: &Arc<Semaphore>, permits: u32) -> OwnedSemaphorePermit {
    let permit = Arc::clone(semaphore).acquire_many_owned(permits).await;
    permit.expect("the semaphore is never closed")
}

/// The next frame, once the connection has the memory for all of it.
async fn read_frame<R: AsyncRead + Unpin>(
    reader: &mut FrameReader<R>,
    slots: &Semaphore,
    bytes: &Arc<Semaphore>,
    settings: &ClientSettings,
) -> Result<Option<(Frame, OwnedSemaphorePermit)>, Ended> {
    let length = loop {
        match timeout(settings.idle_max, reader.next_length()).await {
            Ok(length) => break length.map_err(Ended::Frame)?,
            // A client that waits for a response is not idle. One slot is reserved for the request that is being read.
            Err(_) if slots.available_permits() + 1 < IN_FLIGHT_MAX => {}
            Err(_) => return Err(Ended::Idle),
        }
    };
    let Some(length) = length else {
        return Ok(None);
    };
    let wanted = u32::try_from(length).expect("a frame is shorter than 2 GiB");
    let permit = acquire(bytes, wanted).await;
    match timeout(settings.idle_max, reader.body(length)).await {
        Ok(Ok(frame)) => Ok(Some((frame, permit))),
        Ok(Err(error)) => Err(Ended::Frame(error)),
        Err(_) => Err(Ended::Idle),
    }
}

/// Passes one request to core, or answers it here.
async fn take_request(
    frame: &Bytes,
    number: u64,
    mut held: Held,
    non_produce: &Arc<Semaphore>,
    pending: &mpsc::Sender<Pending>,
    context: &ClientContext,
) -> Result<(), Ended> {
    let await_response = |header: &RequestHeader, held, known| Pending {
        number,
        correlation_id: header.correlation_id,
        api_version: header.api_version,
        known,
        is_api_versions: header.api_key == ApiKey::ApiVersions,
        _held: held,
    };
    let (header, mut body) = match decode_request(frame) {
        Ok((header, _)) if served_versions(header.api_key).is_none() => {
            return Err(Ended::NotServed(header.api_key));
        }
        Ok(decoded) => decoded,
        Err(RequestError::UnsupportedVersion(mut header))
            if header.api_key == ApiKey::ApiVersions =>
        {
            header.api_version = 0;
            let known = Response::from(ApiVersionsResponse::unsupported_version());
            let entry = await_response(&header, held, Some(Box::new(known)));
            return pending.send(entry).await.map_err(|_| Ended::NodeStops);
        }
        Err(error) => return Err(Ended::Refused(error)),
    };
    if !matches!(body, Request::Produce(_)) {
        held.non_produce = Some(acquire(non_produce, 1).await);
    }
    let examined = examine_produced(&mut body, header.api_version);
    // A request without a response gives its permits to the driver.
    let taken_along = if !body.has_response() {
        Some(held)
    } else {
        let entry = await_response(&header, held, None);
        pending.send(entry).await.map_err(|_| Ended::NodeStops)?;
        None
    };
    let client_id = header.client_id.as_ref().map(Str::as_str);
    let request = ClientRequest {
        context: RequestContext {
            id: RequestId {
                connection: context.id,
                number,
            },
            api_version: header.api_version,
            client_id: client_id.map(str::to_owned),
            client_host: context.host.clone(),
            listener: context.listener,
        },
        body,
        examined,
    };
    let event = ClientEvent::Request(Box::new(request), taken_along);
    context
        .driver
        .send(event)
        .await
        .map_err(|_| Ended::NodeStops)
}

/// Takes the records out of a produce request and examines them, partition by partition.
fn examine_produced(body: &mut Request, api_version: i16) -> Vec<Result<Examined, RecordError>> {
    let Request::Produce(produce) = body else {
        return Vec::new();
    };
    let topics = produce.topic_data.iter_mut();
    topics
        .flat_map(|topic| &mut topic.partition_data)
        .map(|partition| {
            let records = partition.records.take().map(|records| records.to_bytes());
            examine(
                records.unwrap_or_default(),
                api_version,
                Depth::Records,
                Limits::default(),
            )
        })
        .collect()
}

async fn write_responses<W: AsyncWrite + Unpin>(
    mut write: W,
    mut pending: mpsc::Receiver<Pending>,
    mut replies: mpsc::Receiver<Reply>,
    settings: &ClientSettings,
) -> Ended {
    let answers = &settings.answers;
    let stall_max = || match answers.are_crowded() {
        true => settings.stall_max.min(CROWDED_STALL_MAX),
        false => settings.stall_max,
    };
    let mut outbox = Outbox::default();
    loop {
        if let Some(ended) = collect(&mut outbox, &mut pending, &mut replies).await {
            if let Ended::Finished = ended {
                // A client that has hung up already needs no end of stream.
                let _ = write.shutdown().await;
            }
            return ended;
        }
        let mut segments = VecDeque::new();
        let mut written = Vec::new();
        while let Some((entry, response)) = outbox.next() {
            match encode_response(entry.correlation_id, entry.api_version, &response) {
                Ok(encoded) => segments.extend(encoded.iter().cloned()),
                Err(error) => return Ended::Unencodable(error),
            }
            outbox.has_served |= !entry.is_api_versions;
            written.push(entry);
        }
        if segments.is_empty() {
            continue;
        }
        let _held = answers.hold(segments.iter().map(Bytes::len).sum());
        if let Err(error) = write_segments(&mut write, &mut segments, stall_max).await {
            return Ended::Io(error);
        }
    }
}

/// Waits for new entries and responses and takes all of them. Returns when no more can come.
async fn collect(
    outbox: &mut Outbox,
    pending: &mut mpsc::Receiver<Pending>,
    replies: &mut mpsc::Receiver<Reply>,
) -> Option<Ended> {
    tokio::select! {
        biased;
        entry = pending.recv(), if !outbox.reader_ended => outbox.expect(entry),
        reply = replies.recv() => match reply {
            Some(Reply::Response { number, response }) => outbox.take(number, response),
            Some(Reply::Close) => return Some(Ended::ByBroker),
            Some(Reply::Finish) => outbox.finishing = true,
            None => return Some(Ended::NodeStops),
        },
        () = sleep(outbox.quiet_time()), if outbox.finishing && outbox.awaited.is_empty() => {
            return Some(Ended::Finished);
        }
    }
    while let Ok(entry) = pending.try_recv() {
        outbox.expect(Some(entry));
    }
    while let Ok(reply) = replies.try_recv() {
        match reply {
            Reply::Response { number, response } => outbox.take(number, response),
            Reply::Close => return Some(Ended::ByBroker),
            Reply::Finish => outbox.finishing = true,
        }
    }
    (outbox.reader_ended && outbox.awaited.is_empty()).then_some(Ended::Closed)
}

/// Puts responses into the order of their requests.
#[derive(Debug, Default)]
struct Outbox {
    /// In the order of the requests.
    awaited: VecDeque<Pending>,
    /// Responses that came before their turn, or before the reader registered their request.
    early: BTreeMap<u64, Box<Response>>,
    reader_ended: bool,
    /// The connection closes once no request is in flight.
    finishing: bool,
    /// A request other than ApiVersions has been answered.
    has_served: bool,
}

impl Outbox {
    /// How long a connection that is being closed must have no request in flight.
    const fn quiet_time(&self) -> Duration {
        if self.has_served {
            QUIET
        } else {
            FIRST_REQUEST_WAIT
        }
    }

    fn expect(&mut self, entry: Option<Pending>) {
        match entry {
            Some(entry) => self.awaited.push_back(entry),
            None => self.reader_ended = true,
        }
    }

    fn take(&mut self, number: u64, response: Box<Response>) {
        self.early.insert(number, response);
    }

    fn next(&mut self) -> Option<(Pending, Box<Response>)> {
        let front = self.awaited.front_mut()?;
        let response = front
            .known
            .take()
            .or_else(|| self.early.remove(&front.number))?;
        let entry = self.awaited.pop_front().expect("there is a front");
        Some((entry, response))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, DuplexStream};
    use tokio::task::JoinHandle;
    use varve_core::wire::{
        ErrorCode, FetchRequest, FetchResponse, JoinGroupRequest, MetadataRequest,
        MetadataResponse, ProduceRequest, ProduceResponse, decode_response, encode_request,
    };

    const SOON: Duration = Duration::from_secs(5);
    const STALL: Duration = Duration::from_millis(100);

    /// A client, the connection that serves it, and a core that the test plays.
    struct Fixture {
        client: DuplexStream,
        core: mpsc::Receiver<ClientEvent>,
        replies: ReplyQueue,
        serving: JoinHandle<()>,
    }

    impl Fixture {
        async fn new(pipe: usize, idle_max: Duration) -> Self {
            let (client, server) = tokio::io::duplex(pipe);
            let (driver, mut core) = mpsc::channel(16);
            let settings = ClientSettings {
                request_bytes_max: 1 << 20,
                idle_max,
                stall_max: STALL,
                budget: Budget::new(1 << 24, STALL),
                answers: Answers::new(1 << 24),
            };
            let context = ClientContext {
                id: ConnectionId(7),
                host: "192.0.2.1".to_owned(),
                listener: 1,
                settings,
                driver,
            };
            let serving = tokio::spawn(serve_client(server, context));
            let Some(ClientEvent::Connected(ConnectionId(7), replies)) = core.recv().await else {
                panic!("a connection first says that it is there");
            };
            Self {
                client,
                core,
                replies,
                serving,
            }
        }

        async fn send(&mut self, correlation_id: i32, version: i16, request: impl Into<Request>) {
            let request = request.into();
            let header = RequestHeader {
                api_key: request.api_key(),
                api_version: version,
                correlation_id,
                client_id: Some("test".into()),
            };
            let frame = encode_request(&header, &request).unwrap();
            for piece in frame.iter() {
                self.client.write_all(piece).await.unwrap();
            }
        }

        async fn request(&mut self) -> Box<ClientRequest> {
            match timeout(SOON, self.core.recv()).await.unwrap() {
                Some(ClientEvent::Request(request, _)) => request,
                other => panic!("a request was due, not {other:?}"),
            }
        }

        async fn response(&mut self, key: ApiKey, version: i16) -> (i32, Response) {
            let length = timeout(SOON, self.client.read_u32())
                .await
                .unwrap()
                .unwrap();
            let mut frame = vec![0; length as usize];
            timeout(SOON, self.client.read_exact(&mut frame))
                .await
                .unwrap()
                .unwrap();
            decode_response(key, version, &frame.into()).unwrap()
        }

        /// The client sees the end of the connection, and core gets its input.
        async fn ends(mut self) {
            let mut rest = Vec::new();
            let _ = timeout(SOON, self.client.read_to_end(&mut rest))
                .await
                .unwrap();
            assert_eq!(rest, [], "nothing more is answered");
            loop {
                match timeout(SOON, self.core.recv()).await.unwrap() {
                    Some(ClientEvent::Request(..)) => {}
                    Some(ClientEvent::Disconnected(ConnectionId(7))) => break,
                    other => panic!("the end was due, not {other:?}"),
                }
            }
            timeout(SOON, self.serving).await.unwrap().unwrap();
        }
    }

    fn metadata(marker: i32) -> Box<Response> {
        let response = MetadataResponse {
            throttle_time_ms: marker,
            ..Default::default()
        };
        Box::new(response.into())
    }

    fn produce() -> ProduceRequest {
        ProduceRequest {
            acks: -1,
            ..Default::default()
        }
    }

    fn produced(marker: i32) -> Box<Response> {
        let response = ProduceResponse {
            throttle_time_ms: marker,
            ..Default::default()
        };
        Box::new(response.into())
    }

    #[tokio::test]
    async fn requests_reach_core_in_order_and_responses_leave_in_order_whatever_core_does() {
        let mut f = Fixture::new(1 << 16, SOON).await;
        for correlation_id in 10..20 {
            f.send(correlation_id, 9, produce()).await;
        }
        let mut numbers = Vec::new();
        for _ in 0..10 {
            let request = f.request().await;
            let context = &request.context;
            assert_eq!(context.id.connection, ConnectionId(7));
            assert_eq!((context.listener, context.api_version), (1, 9));
            assert_eq!(context.client_id.as_deref(), Some("test"));
            numbers.push(context.id.number);
        }
        assert!(numbers.is_sorted());
        for (marker, &number) in numbers.iter().enumerate().rev() {
            f.replies.respond(number, produced(marker as i32));
        }
        for (marker, correlation_id) in (10..20).enumerate() {
            let expected = (correlation_id, *produced(marker as i32));
            assert_eq!(f.response(ApiKey::Produce, 9).await, expected);
        }
    }

    #[tokio::test]
    async fn a_client_has_no_more_requests_under_way_than_allowed() {
        let mut f = Fixture::new(1 << 20, SOON).await;
        for correlation_id in 0..200 {
            f.send(correlation_id, 9, produce()).await;
        }
        let mut numbers = Vec::new();
        for _ in 0..IN_FLIGHT_MAX {
            numbers.push(f.request().await.context.id.number);
        }
        assert!(
            timeout(STALL, f.core.recv()).await.is_err(),
            "the next one waits"
        );
        f.replies.respond(numbers[0], produced(0));
        f.request().await;
    }

    #[tokio::test]
    async fn what_asks_reaches_core_only_when_the_answer_before_it_is_written() {
        let mut f = Fixture::new(1 << 16, SOON).await;
        f.send(1, 12, FetchRequest::default()).await;
        f.send(2, 12, MetadataRequest::default()).await;
        let first = f.request().await.context.id.number;
        assert!(
            timeout(STALL, f.core.recv()).await.is_err(),
            "the second one waits"
        );
        let answer = FetchResponse::default();
        f.replies.respond(first, Box::new(answer.into()));
        assert_eq!(f.response(ApiKey::Fetch, 12).await.0, 1);
        f.request().await;
    }

    #[tokio::test]
    async fn a_produce_with_no_acks_takes_its_memory_along_until_core_has_taken_it() {
        let mut f = Fixture::new(1 << 21, SOON).await;
        let unanswered = || ProduceRequest {
            // Stands for the records: any bytes do.
            transactional_id: Some("x".repeat(500 << 10).into()),
            acks: 0,
            ..Default::default()
        };
        for correlation_id in 0..3 {
            f.send(correlation_id, 9, unanswered()).await;
        }
        let mut taken = Vec::new();
        for _ in 0..2 {
            taken.push(timeout(SOON, f.core.recv()).await.unwrap().unwrap());
        }
        assert!(
            timeout(STALL, f.core.recv()).await.is_err(),
            "the connection has no memory for a third one"
        );
        taken.pop();
        assert!(timeout(SOON, f.core.recv()).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn an_unknown_version_of_api_versions_is_answered_with_the_known_ones_in_its_turn() {
        let mut f = Fixture::new(1 << 16, SOON).await;
        f.send(1, 9, produce()).await;
        // Key 18, version 99, correlation id 2, no client id, and what version 99 may hold.
        f.client
            .write_all(&[0, 0, 0, 12, 0, 18, 0, 99, 0, 0, 0, 2, 255, 255, 1, 2])
            .await
            .unwrap();
        f.send(3, 9, produce()).await;
        let (first, third) = (
            f.request().await.context.id.number,
            f.request().await.context.id.number,
        );
        f.replies.respond(third, produced(3));
        f.replies.respond(first, produced(1));
        assert_eq!(f.response(ApiKey::Produce, 9).await.0, 1);
        let (correlation_id, response) = f.response(ApiKey::ApiVersions, 0).await;
        let response = ApiVersionsResponse::try_from(response).unwrap();
        assert_eq!(correlation_id, 2);
        assert_eq!(response.error_code, ErrorCode::UnsupportedVersion);
        assert_eq!(response.api_keys.len(), 1);
        assert_eq!(f.response(ApiKey::Produce, 9).await.0, 3);
    }

    #[tokio::test]
    async fn a_produce_with_no_acks_holds_up_no_response() {
        let mut f = Fixture::new(1 << 16, SOON).await;
        f.send(
            1,
            9,
            ProduceRequest {
                acks: 0,
                ..Default::default()
            },
        )
        .await;
        f.send(2, 12, MetadataRequest::default()).await;
        f.request().await;
        let second = f.request().await.context.id.number;
        f.replies.respond(second, metadata(0));
        assert_eq!(f.response(ApiKey::Metadata, 12).await.0, 2);
    }

    #[tokio::test]
    async fn a_frame_that_is_no_request_closes_the_connection_after_what_came_before_is_answered() {
        let garbage: [&[u8]; 4] = [
            &[0, 0, 0, 4, 0x7f, 0x7f, 0, 0],
            &[0, 0, 0, 0],
            &[0, 0, 0, 12, 0, 3, 0, 99, 0, 0, 0, 2, 255, 255, 1, 2],
            b"GET / HTTP/1.1\r\n\r\n",
        ];
        for bytes in garbage {
            let mut f = Fixture::new(1 << 16, SOON).await;
            f.send(1, 12, MetadataRequest::default()).await;
            f.client.write_all(bytes).await.unwrap();
            let number = f.request().await.context.id.number;
            f.replies.respond(number, metadata(0));
            assert_eq!(f.response(ApiKey::Metadata, 12).await.0, 1);
            f.ends().await;
        }
    }

    #[tokio::test]
    async fn a_request_that_is_declared_but_not_served_closes_the_connection_likewise() {
        let mut f = Fixture::new(1 << 16, SOON).await;
        f.send(1, 12, MetadataRequest::default()).await;
        f.send(2, 9, JoinGroupRequest::default()).await;
        let number = f.request().await.context.id.number;
        f.replies.respond(number, metadata(0));
        assert_eq!(f.response(ApiKey::Metadata, 12).await.0, 1);
        let gone = timeout(SOON, f.core.recv()).await.unwrap();
        assert!(matches!(gone, Some(ClientEvent::Disconnected(_))));
    }

    #[tokio::test]
    async fn an_absurd_length_or_half_a_frame_ends_the_connection() {
        for bytes in [
            &i32::MAX.to_be_bytes()[..],
            &[0, 0],
            &[0, 0, 0, 100, 1, 2, 3],
        ] {
            let mut f = Fixture::new(1 << 16, SOON).await;
            f.client.write_all(bytes).await.unwrap();
            f.client.shutdown().await.unwrap();
            f.ends().await;
        }
    }

    #[tokio::test]
    async fn an_idle_client_is_let_go_but_not_one_that_waits_for_an_answer() {
        let mut f = Fixture::new(1 << 16, STALL).await;
        f.send(1, 12, MetadataRequest::default()).await;
        let number = f.request().await.context.id.number;
        sleep(STALL * 3).await;
        f.replies.respond(number, metadata(0));
        assert_eq!(f.response(ApiKey::Metadata, 12).await.0, 1);
        f.ends().await;
    }

    #[tokio::test]
    async fn a_client_that_takes_no_byte_is_given_up() {
        let mut f = Fixture::new(64, SOON).await;
        let request = MetadataRequest::default();
        f.send(1, 12, request).await;
        let number = f.request().await.context.id.number;
        let response = MetadataResponse {
            cluster_id: Some("x".repeat(10_000).into()),
            ..Default::default()
        };
        f.replies.respond(number, Box::new(response.into()));
        let gone = timeout(SOON, f.core.recv()).await.unwrap();
        assert!(matches!(gone, Some(ClientEvent::Disconnected(_))));
    }

    #[tokio::test]
    async fn core_can_have_a_connection_closed() {
        let f = Fixture::new(1 << 16, SOON).await;
        f.replies.close();
        f.ends().await;
    }
}
