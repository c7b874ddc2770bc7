//! A client's request on its way to the controller, and the response on its way back.
//!
//! Both travel as the bytes that the client and a broker would send (as in KIP-590's Envelope), at the API version that
//! the client chose. Kafka never changes a released version, so a controller of another build reads them as it reads
//! its own clients; it can tell an unknown API or version from damaged bytes, and refuses it.

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};
use bytes::Bytes;

use crate::cluster::AdminRequest;
use crate::peer::Newer;
use crate::wire::{
    ApiKey, RequestError, RequestHeader, Response, Str, decode_request, decode_response,
    encode_request, encode_response,
};

/// Bytes that say how long a frame is.
const LENGTH: usize = 4;

/// A client's request that only the controller decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardedRequest {
    /// The API version that it was sent in, and is answered in.
    pub api_version: i16,
    /// The client id of the request; none where a broker sends the request for itself.
    pub client_id: Option<String>,
    /// The client's address.
    pub client_host: Newer<Option<String>>,
    /// The request; `None` where it came from a later build, and this one does not know the API or the version.
    pub request: Option<AdminRequest>,
}

/// What the controller answers to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardedResponse {
    /// The API version of the request.
    pub api_version: i16,
    /// The response; `None` where this version cannot carry the controller's answer.
    pub response: Option<Response>,
}

impl Encode for ForwardedRequest {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let Some(request) = &self.request else {
            return Err(EncodeError::Other(
                "a request that was not read is not passed on",
            ));
        };
        let header = RequestHeader {
            api_key: request.api_key(),
            api_version: self.api_version,
            correlation_id: 0,
            client_id: self.client_id.as_deref().map(Str::from),
        };
        let frame = encode_request(&header, &request.clone().into())
            .map_err(|error| EncodeError::OtherString(error.to_string()))?;
        Encode::encode(&frame.to_bytes()[LENGTH..], encoder)
    }
}

impl<Context> Decode<Context> for ForwardedRequest {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let frame = Bytes::from(<Vec<u8> as Decode<Context>>::decode(decoder)?);
        match decode_request(&frame) {
            Ok((header, request)) => Ok(Self {
                api_version: header.api_version,
                client_id: header.client_id.map(|id| id.as_str().to_owned()),
                client_host: Newer::default(),
                request: AdminRequest::try_from(request).ok(),
            }),
            Err(
                RequestError::UnknownApiKey { api_version, .. }
                | RequestError::UnsupportedVersion(RequestHeader { api_version, .. }),
            ) => Ok(Self {
                api_version,
                client_id: None,
                client_host: Newer::default(),
                request: None,
            }),
            Err(error @ RequestError::Malformed { .. }) => {
                Err(DecodeError::OtherString(error.to_string()))
            }
        }
    }
}

impl Encode for ForwardedResponse {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let carried = self.response.as_ref().and_then(|response| {
            let frame = encode_response(0, self.api_version, response).ok()?;
            Some((response.api_key().code(), frame.to_bytes()))
        });
        Encode::encode(&self.api_version, encoder)?;
        Encode::encode(
            &carried.as_ref().map(|(key, frame)| (key, &frame[LENGTH..])),
            encoder,
        )
    }
}

impl<Context> Decode<Context> for ForwardedResponse {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let api_version = <i16 as Decode<Context>>::decode(decoder)?;
        let carried = <Option<(i16, Vec<u8>)> as Decode<Context>>::decode(decoder)?;
        let response = match carried {
            Some((key, frame)) => {
                let api_key =
                    ApiKey::from_code(key).ok_or(DecodeError::Other("no API has this key"))?;
                let (_, response) = decode_response(api_key, api_version, &Bytes::from(frame))
                    .map_err(|error| DecodeError::OtherString(error.to_string()))?;
                Some(response)
            }
            None => None,
        };
        Ok(Self {
            api_version,
            response,
        })
    }
}

bincode::impl_borrow_decode!(ForwardedRequest);
bincode::impl_borrow_decode!(ForwardedResponse);
