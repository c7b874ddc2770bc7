//! Whole frames: a header and a message.
//!
//! A request starts with its API key, version and correlation id, so these can be read whatever follows; the
//! client id comes next, a classic nullable string even in the flexible header (version 2). A response starts
//! with the correlation id; the flexible header (version 1) adds tagged fields, but never for `ApiVersions`,
//! whose reader does not know yet what the broker speaks.

use std::fmt;

use bytes::Bytes;

use super::api::{ApiKey, Request, Response};
use super::field::{At, Nullable as _};
use super::read::{DecodeError, Reader};
use super::text::Str;
use super::write::{EncodeError, Segments, Writer};

/// What stands before a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API.
    pub api_key: ApiKey,
    /// The version that the request is written in, and that its response must be written in.
    pub api_version: i16,
    /// The client's number for the request, which the response repeats.
    pub correlation_id: i32,
    /// The client's name for itself.
    pub client_id: Option<Str>,
}

/// Why a frame is not a request that can be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// No such API is declared. Kafka closes the connection.
    UnknownApiKey {
        /// The number on the wire.
        api_key: i16,
        /// The version on the wire.
        api_version: i16,
        /// The client's number for the request.
        correlation_id: i32,
    },
    /// The API has no such version. Kafka closes the connection, but for `ApiVersions`, which it answers in
    /// version 0 with `UNSUPPORTED_VERSION` (KIP-511); see
    /// [`ApiVersionsResponse::unsupported_version`](super::ApiVersionsResponse::unsupported_version).
    UnsupportedVersion(RequestHeader),
    /// The bytes are not the request that they claim to be. Kafka closes the connection.
    Malformed {
        /// What could be read of the header.
        header: Option<RequestHeader>,
        /// What is wrong.
        error: DecodeError,
    },
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownApiKey {
                api_key,
                api_version,
                ..
            } => write!(f, "no API has the key {api_key} (version {api_version})"),
            Self::UnsupportedVersion(header) => write!(
                f,
                "{} has no version {}",
                header.api_key.name(),
                header.api_version
            ),
            Self::Malformed {
                header: Some(header),
                error,
            } => write!(
                f,
                "malformed {} version {}: {error}",
                header.api_key.name(),
                header.api_version
            ),
            Self::Malformed {
                header: None,
                error,
            } => write!(f, "malformed request header: {error}"),
        }
    }
}

impl std::error::Error for RequestError {}

/// Headers are read and written alike in all versions but for the tagged fields at the end of flexible ones.
const CLASSIC: At = At {
    version: 1,
    flexible: false,
};

/// Reads a request out of a frame, which comes without its four length bytes. Strings and records of the
/// request are slices of the frame. Bytes behind the request are left unread, as Kafka leaves them: librdkafka
/// puts four there when it asks for the metadata of all topics.
///
/// # Errors
/// Each with what Kafka does about it; see [`RequestError`].
pub fn decode_request(frame: &Bytes) -> Result<(RequestHeader, Request), RequestError> {
    let mut reader = Reader::of_request(frame);
    let header = match read_request_header(&mut reader) {
        Ok(header) => header?,
        Err(error) => {
            return Err(RequestError::Malformed {
                header: None,
                error,
            });
        }
    };
    let body = skip_tagged_fields(&mut reader, header.api_key.is_flexible(header.api_version))
        .and_then(|()| Request::read(&mut reader, header.api_key, header.api_version));
    match body {
        Ok(request) => Ok((header, request)),
        Err(error) => Err(RequestError::Malformed {
            header: Some(header),
            error,
        }),
    }
}

/// The header up to the client id: bytes that are no header, a header that is refused, or a header.
fn read_request_header(
    reader: &mut Reader<'_>,
) -> Result<Result<RequestHeader, RequestError>, DecodeError> {
    let key = reader.i16()?;
    let api_version = reader.i16()?;
    let correlation_id = reader.i32()?;
    let Some(api_key) = ApiKey::from_code(key) else {
        return Ok(Err(RequestError::UnknownApiKey {
            api_key: key,
            api_version,
            correlation_id,
        }));
    };
    let (first, last) = api_key.versions();
    if !(first..=last).contains(&api_version) {
        // A version that is not known could have another header. The client id is worth a try.
        let client_id = Str::decode_nullable(reader, CLASSIC).unwrap_or(None);
        return Ok(Err(RequestError::UnsupportedVersion(RequestHeader {
            api_key,
            api_version,
            correlation_id,
            client_id,
        })));
    }
    let client_id = Str::decode_nullable(reader, CLASSIC)?;
    Ok(Ok(RequestHeader {
        api_key,
        api_version,
        correlation_id,
        client_id,
    }))
}

/// No tagged field is known in a header that clients write or read.
fn skip_tagged_fields(reader: &mut Reader<'_>, flexible: bool) -> Result<(), DecodeError> {
    if flexible {
        for _ in 0..reader.tagged_fields()? {
            reader.uvarint()?;
            let size = reader.uvarint()?;
            reader.sized(size)?;
        }
    }
    Ok(())
}

/// Writes a request as a frame, its four length bytes included.
///
/// # Errors
/// If the version in the header cannot carry what the request says.
///
/// # Panics
/// If the header is that of another API.
pub fn encode_request(header: &RequestHeader, request: &Request) -> Result<Segments, EncodeError> {
    assert_eq!(
        header.api_key,
        request.api_key(),
        "a header belongs to its request"
    );
    let mut writer = Writer::frame();
    write_request_header(&mut writer, header)?;
    request.write(&mut writer, header.api_version)?;
    writer.finish_frame()
}

fn write_request_header(writer: &mut Writer, header: &RequestHeader) -> Result<(), EncodeError> {
    writer.put(&header.api_key.code().to_be_bytes());
    writer.put(&header.api_version.to_be_bytes());
    writer.put(&header.correlation_id.to_be_bytes());
    Str::encode_nullable(header.client_id.as_ref(), writer, CLASSIC)?;
    if header.api_key.is_flexible(header.api_version) {
        writer.uvarint(0);
    }
    Ok(())
}

fn write_response_header(
    writer: &mut Writer,
    correlation_id: i32,
    api_key: ApiKey,
    api_version: i16,
) {
    writer.put(&correlation_id.to_be_bytes());
    if is_response_header_flexible(api_key, api_version) {
        writer.uvarint(0);
    }
}

fn is_response_header_flexible(api_key: ApiKey, api_version: i16) -> bool {
    api_key != ApiKey::ApiVersions && api_key.is_flexible(api_version)
}

/// Writes a response as a frame, its four length bytes included, in the version of its request.
///
/// # Errors
/// If the version cannot carry what the response says, which is the sender's mistake.
pub fn encode_response(
    correlation_id: i32,
    api_version: i16,
    response: &Response,
) -> Result<Segments, EncodeError> {
    let mut writer = Writer::frame();
    write_response_header(&mut writer, correlation_id, response.api_key(), api_version);
    response.write(&mut writer, api_version)?;
    writer.finish_frame()
}

/// Reads the response to a request of this API and version out of a frame, which comes without its four length
/// bytes, and the correlation id before it.
///
/// A client that asked for `ApiVersions` in a version that the broker does not know is answered in version 0:
/// if reading fails, it reads the frame again as version 0 (KIP-511).
///
/// # Errors
/// If the frame is not that response.
pub fn decode_response(
    api_key: ApiKey,
    api_version: i16,
    frame: &Bytes,
) -> Result<(i32, Response), DecodeError> {
    let mut reader = Reader::new(frame);
    let correlation_id = reader.i32()?;
    skip_tagged_fields(
        &mut reader,
        is_response_header_flexible(api_key, api_version),
    )?;
    let response = Response::read(&mut reader, api_key, api_version)?;
    reader.finish()?;
    Ok((correlation_id, response))
}

#[cfg(test)]
pub(crate) fn request_header_bytes(header: &RequestHeader) -> Bytes {
    let mut writer = Writer::default();
    write_request_header(&mut writer, header).expect("the client id of a test is short");
    writer.finish().to_bytes()
}

#[cfg(test)]
pub(crate) fn response_header_bytes(
    correlation_id: i32,
    api_key: ApiKey,
    api_version: i16,
) -> Bytes {
    let mut writer = Writer::default();
    write_response_header(&mut writer, correlation_id, api_key, api_version);
    writer.finish().to_bytes()
}
