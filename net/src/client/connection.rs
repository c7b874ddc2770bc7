//! One connection to one broker.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use varve_core::wire::{
    ApiKey, ApiVersionsRequest, ErrorCode, Request, RequestHeader, Response, Segments, Str,
    decode_response, encode_request,
};

use super::{ANSWER_TIMEOUT, ClientError};
use crate::peer_codec::is_greeting;

/// The longest response that is accepted, in bytes.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A connection whose broker's versions are known.
#[derive(Debug)]
pub(super) struct Connection {
    address: String,
    stream: TcpStream,
    next_correlation_id: i32,
    /// Least and greatest version that the broker serves, by API key.
    served: BTreeMap<i16, (i16, i16)>,
}

impl Connection {
    /// Connects and gets the versions, within this time. The system of a paused broker still accepts connections: only
    /// a response shows that the broker is alive.
    pub(super) async fn open(address: &str, open_max: Duration) -> Result<Self, ClientError> {
        timeout(open_max, Self::greet(address))
            .await
            .map_err(|_| ClientError::Timeout(address.to_owned(), open_max))?
    }

    async fn greet(address: &str) -> Result<Self, ClientError> {
        let broken = |error| ClientError::Broken(address.to_owned(), error);
        let stream = TcpStream::connect(address).await.map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        let mut connection = Self {
            address: address.to_owned(),
            stream,
            next_correlation_id: 0,
            served: BTreeMap::new(),
        };
        connection.negotiate().await?;
        Ok(connection)
    }

    /// Requests the served versions. Every broker understands version 0.
    async fn negotiate(&mut self) -> Result<(), ClientError> {
        let request = Request::ApiVersions(ApiVersionsRequest::default());
        let Response::ApiVersions(answer) = self.send_version(0, &request).await? else {
            unreachable!("an answer is read as that of its request");
        };
        if answer.error_code != ErrorCode::None {
            return Err(ClientError::Refused(answer.error_code, None));
        }
        self.served = answer
            .api_keys
            .iter()
            .map(|api| (api.api_key, (api.min_version, api.max_version)))
            .collect();
        Ok(())
    }

    /// Sends a request in the highest version that both sides support.
    pub(super) async fn send(&mut self, request: &Request) -> Result<Response, ClientError> {
        let api_key = request.api_key();
        let (ours_min, ours_max) = api_key.versions();
        let served = self.served.get(&api_key.code());
        let version = served.map(|&(min, max)| (min.max(ours_min), max.min(ours_max)));
        match version {
            Some((min, max)) if min <= max => self.send_version(max, request).await,
            Some(_) | None => Err(ClientError::UnsupportedApi(api_key.name())),
        }
    }

    async fn send_version(
        &mut self,
        api_version: i16,
        request: &Request,
    ) -> Result<Response, ClientError> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        let api_key = request.api_key();
        let client_id = Some(Str::from_static("varve"));
        let header = RequestHeader {
            api_key,
            api_version,
            correlation_id,
            client_id,
        };
        let frame = encode_request(&header, request).map_err(ClientError::Unencodable)?;
        let exchange = timeout(ANSWER_TIMEOUT, exchange(&mut self.stream, &frame)).await;
        let answer = exchange
            .map_err(|_| ClientError::Timeout(self.address.clone(), ANSWER_TIMEOUT))?
            .map_err(|error| ClientError::Broken(self.address.clone(), error))?;
        if self.served.is_empty() && is_greeting(&answer) {
            let words =
                "this is the peer listener of a varve node: clients connect to its client listener";
            let error = io::Error::new(io::ErrorKind::InvalidData, words);
            return Err(ClientError::Broken(self.address.clone(), error));
        }
        self.read(api_key, api_version, correlation_id, &answer)
    }

    fn read(
        &self,
        api_key: ApiKey,
        api_version: i16,
        correlation_id: i32,
        answer: &Bytes,
    ) -> Result<Response, ClientError> {
        let (answered, response) = decode_response(api_key, api_version, answer)
            .map_err(|error| ClientError::Unreadable(self.address.clone(), error))?;
        if answered != correlation_id {
            let error = io::Error::new(io::ErrorKind::InvalidData, "it answers another request");
            return Err(ClientError::Broken(self.address.clone(), error));
        }
        Ok(response)
    }
}

/// Writes a request and reads the answer, both frames.
async fn exchange(stream: &mut TcpStream, request: &Segments) -> io::Result<Bytes> {
    for segment in request.iter() {
        stream.write_all(segment).await?;
    }
    stream.flush().await?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > ANSWER_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it claims an absurd length",
        ));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Ok(Bytes::from(answer))
}
