//! A moment as it is given on the command line.

use jiff::{Span, SpanRelativeTo};
use varve_core::ids::Timestamp;
use varve_net::rt;

/// Reads milliseconds since the Unix epoch, a date and time, or how long ago it was.
///
/// # Errors
/// What can be given, in words.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    time_at(text, rt::wall_clock())
}

fn time_at(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let ms = if let Ok(ms) = text.parse::<i64>() {
        Some(ms)
    } else if let Ok(date) = text.parse::<jiff::Timestamp>() {
        Some(date.as_millisecond())
    } else if text.ends_with("ago") {
        text.parse::<Span>()
            .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
            .ok()
            .and_then(|ago| i64::try_from(ago.as_millis()).ok())
            .map(|ago| now.0.saturating_add(ago))
    } else {
        None
    };
    // Kafka keeps what is negative for other meanings.
    ms.filter(|&ms| ms >= 0).map(Timestamp).ok_or_else(|| {
        "a time is milliseconds since 1970, a date as in 2026-01-31T12:00:00Z, or as in \"2h ago\""
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_and_programs_write_them() {
        let now = Timestamp(1_700_000_000_000);
        for (text, ms) in [
            ("0", 0),
            ("1700000000001", 1_700_000_000_001),
            ("1970-01-01T00:00:01Z", 1000),
            ("1970-01-01T01:00:00.5+01:00", 500),
            ("2h ago", now.0 - 7_200_000),
            ("1 day ago", now.0 - 86_400_000),
            ("1h 30m ago", now.0 - 5_400_000),
        ] {
            assert_eq!(time_at(text, now), Ok(Timestamp(ms)), "{text}");
        }
        for text in [
            "",
            "-1",
            "yesterday",
            "2h",
            "1970-01-01",
            "1000000h ago",
            "12:00",
        ] {
            assert!(time_at(text, now).is_err(), "{text}");
        }
    }
}
