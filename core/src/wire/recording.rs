//! How requests and responses are written into a flight recording: by bincode, with every field that they have,
//! whichever version they came in, so that a replay sees exactly what the broker saw.

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bytes::Bytes;

use super::api::ApiKey;
use super::error_code::ErrorCode;
use super::field::{At, Field};
use super::read::Reader;
use super::records::Records;
use super::text::Str;
use super::write::Writer;

/// Writes a struct with all its fields.
pub(crate) fn record<T: Field, E: Encoder>(value: &T, encoder: &mut E) -> Result<(), EncodeError> {
    let mut writer = Writer::default();
    value
        .encode(&mut writer, At::EVERY_FIELD, true)
        .map_err(|error| EncodeError::OtherString(error.to_string()))?;
    bincode::Encode::encode(&writer.finish().to_bytes()[..], encoder)
}

/// Reads what [`record`] wrote.
pub(crate) fn replay<T: Field, D: Decoder>(decoder: &mut D) -> Result<T, DecodeError> {
    let bytes = Bytes::from(<Vec<u8> as bincode::Decode<D::Context>>::decode(decoder)?);
    let mut reader = Reader::new(&bytes);
    T::decode(&mut reader, At::EVERY_FIELD, true)
        .and_then(|value| reader.finish().map(|()| value))
        .map_err(|error| DecodeError::OtherString(error.to_string()))
}

recorded!(
    ApiKey,
    value, encoder => bincode::Encode::encode(&value.code(), encoder),
    decoder => {
        let code = <i16 as bincode::Decode<D::Context>>::decode(decoder)?;
        Self::from_code(code).ok_or(DecodeError::Other("no API has this key"))
    }
);

recorded!(
    ErrorCode,
    value, encoder => bincode::Encode::encode(&value.code(), encoder),
    decoder => {
        let code = <i16 as bincode::Decode<D::Context>>::decode(decoder)?;
        Self::from_code(code).ok_or(DecodeError::Other("no error has this code"))
    }
);

recorded!(
    Str,
    value, encoder => bincode::Encode::encode(value.as_str(), encoder),
    decoder => <String as bincode::Decode<D::Context>>::decode(decoder).map(Self::from)
);

recorded!(
    Records,
    value, encoder => bincode::Encode::encode(&value.to_bytes()[..], encoder),
    decoder => {
        let bytes = <Vec<u8> as bincode::Decode<D::Context>>::decode(decoder)?;
        Ok(Self::from(Bytes::from(bytes)))
    }
);
