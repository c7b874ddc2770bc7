//! `varve produce`: lines in, records out.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use indicatif::ProgressBar;
use memchr::memmem;
use serde::Serialize;
use tokio::time::timeout;
use varve_core::ids::Timestamp;
use varve_core::record::{Compression, HeaderRef};
use varve_core::wire::ErrorCode;
use varve_net::client::{DeliveryError, Outgoing, Producer};
use varve_net::rt;

use super::escapes::Separator;
use super::lines::Lines;
use super::record_json::RecordJson;
use super::show::{Access, counted, progress, progress_in_bytes};
use super::times::parse_time;
use super::topic::parse_name;
use super::{Failure, UsageError, draw_seed};

/// Records that are waited for until they are sent, where the input is a person's typing.
const IDLE: Duration = Duration::from_millis(50);

/// How much input is read before a key separator that was never found is a mistake. It is less than is sent at once,
/// so nothing is written then.
const SEPARATOR_BYTES_MAX: u64 = 256 << 10;
const SEPARATOR_LINES_MAX: u64 = 10_000;

/// How long what was read may take to be acknowledged after the command was interrupted.
const SETTLE_MAX: Duration = Duration::from_secs(5);

const EXAMPLES: &str = r"Examples:
  echo hello | varve produce greetings
  varve produce orders --file orders.tsv --key-separator '\t' --header source=import
  echo | varve produce users --key user-7 --null-value
  varve consume from --json | varve produce to --json-lines";

/// Write the lines of a file, or of standard input, as records.
///
/// Each line is a value, byte for byte, without what ends it. The last line needs no end.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) access: Access,
    /// The topic.
    #[arg(value_parser = parse_name)]
    topic: String,
    /// Read this file instead of standard input.
    #[arg(long)]
    file: Option<PathBuf>,
    /// What ends a line. \n, \r, \t, \0, \xHH and \\ stand for bytes.
    #[arg(long, value_name = "TEXT", default_value = r"\n", value_parser = Separator::parse)]
    delimiter: Separator,
    /// What separates key and value in a line, with the same escapes. A line without it has no key; that no line has it
    /// is an error.
    #[arg(long, value_name = "TEXT", value_parser = Separator::parse)]
    key_separator: Option<Separator>,
    /// The key of every record, but for lines with one of their own.
    #[arg(long, value_name = "TEXT")]
    key: Option<OsString>,
    /// A header of every record; NAME alone is one whose value is null. May be given more than once.
    #[arg(
        long = "header",
        value_name = "NAME=VALUE",
        value_parser = OsStringValueParser::new().try_map(Header::parse)
    )]
    headers: Vec<Header>,
    /// Write to this partition, whatever the keys.
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// The timestamp of every record: milliseconds since 1970, 2026-01-31T12:00:00Z, or "2h ago". Otherwise the time
    /// when its line was read.
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, value_parser = parse_time)]
    timestamp: Option<Timestamp>,
    /// A value that is TEXT is null, which makes a tombstone; so is a key before a separator. Without TEXT, what is
    /// empty is null.
    #[arg(long, value_name = "TEXT", num_args = 0..=1, default_missing_value = "")]
    null_value: Option<OsString>,
    /// Each line is a record as JSON, as `varve consume --json` prints it. Its partition and timestamp are kept, its
    /// offset is not.
    #[arg(
        long,
        conflicts_with_all = ["delimiter", "key_separator", "key", "headers", "timestamp", "null_value"]
    )]
    json_lines: bool,
    /// How batches are compressed.
    #[arg(long, value_enum, default_value_t = Codec::None)]
    compression: Codec,
    /// How long a record may take to be acknowledged, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::None => Self::None,
            Codec::Gzip => Self::Gzip,
            Codec::Snappy => Self::Snappy,
            Codec::Lz4 => Self::Lz4,
            Codec::Zstd => Self::Zstd,
        }
    }
}

/// A header as it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Header {
    name: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl Header {
    fn parse(text: OsString) -> Result<Self, String> {
        let text = bytes_of(&text);
        let (name, value) = match split_once(text, b"=") {
            Some((name, value)) => (name, Some(value.to_vec())),
            None => (text, None),
        };
        if name.is_empty() {
            return Err("a header has a name: NAME=VALUE, or NAME for a null value".to_owned());
        }
        Ok(Self {
            name: name.to_vec(),
            value,
        })
    }
}

/// An argument as it came: any bytes but zero.
fn bytes_of(text: &OsStr) -> &[u8] {
    text.as_encoded_bytes()
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let (mut lines, total) = open(&arguments)?;
    let client = arguments.access.connect().await?;
    let mut producer = Producer::new(
        client,
        &arguments.topic,
        arguments.compression.into(),
        Duration::from_secs(arguments.timeout),
        draw_seed()?,
    )
    .await?;
    let bar = match total {
        Some(bytes) => progress_in_bytes(bytes),
        // Whoever types sees what is typed.
        None if arguments.file.is_none() && io::stdin().is_terminal() => ProgressBar::hidden(),
        None => progress(None, "records written"),
    };
    let fed = tokio::select! {
        biased;
        _ = rt::stop_signal() => Err(StopReason::Interrupted),
        fed = feed(&arguments, &mut lines, &mut producer, &bar) => fed,
    };
    let finished = finish(fed, &mut producer).await;
    bar.finish_and_clear();
    finished?;
    #[derive(Serialize)]
    struct Written {
        topic: String,
        records: u64,
    }
    let written = Written {
        topic: arguments.topic.clone(),
        records: producer.acknowledged(),
    };
    let words = format!(
        "{} written to {}, all acknowledged",
        counted(written.records, "record", "records"),
        written.topic
    );
    arguments.access.done(&words, &written)
}

/// What to read, and how long it is where that is known.
fn open(arguments: &Arguments) -> Result<(Lines, Option<u64>), Failure> {
    let delimiter = &arguments.delimiter.0;
    let Some(path) = arguments.file.as_deref() else {
        return Ok((Lines::of(io::stdin(), delimiter), None));
    };
    let unreadable = |error| UsageError(unreadable(Some(path), &error));
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let total = metadata.is_file().then_some(metadata.len());
    Ok((Lines::of(file, delimiter), total))
}

fn unreadable(path: Option<&Path>, error: &io::Error) -> String {
    match path {
        Some(path) => format!("cannot read {}: {error}", path.display()),
        None => format!("cannot read standard input: {error}"),
    }
}

/// Why no more lines are taken before their end.
#[derive(Debug)]
enum StopReason {
    /// By a signal.
    Interrupted,
    /// A line is no record, or no more can be read.
    Input { line: Option<u64>, reason: String },
    /// No line has the key separator.
    SeparatorNeverFound(String),
    /// Records could not be written.
    Delivery(DeliveryError),
}

impl From<DeliveryError> for StopReason {
    fn from(failure: DeliveryError) -> Self {
        Self::Delivery(failure)
    }
}

/// Hands every line to the producer, and has all of them acknowledged.
async fn feed(
    arguments: &Arguments,
    lines: &mut Lines,
    producer: &mut Producer,
    bar: &ProgressBar,
) -> Result<(), StopReason> {
    let mut parser = LineParser::of(arguments);
    loop {
        if !lines.is_here() {
            // Whoever types wants to see each line go; a file is sent in large batches.
            let more = match timeout(IDLE, lines.wait()).await {
                Ok(more) => more,
                Err(_) => {
                    producer.flush().await?;
                    lines.wait().await
                }
            };
            let more = more.map_err(|error| StopReason::Input {
                line: None,
                reason: unreadable(arguments.file.as_deref(), &error),
            })?;
            if !more {
                parser.check_separator(producer.taken(), true)?;
                return Ok(producer.flush().await?);
            }
            bar.set_position(match bar.length() {
                Some(_) => parser.read,
                None => producer.acknowledged(),
            });
        }
        let line = lines.take();
        parser.read += (line.len() + arguments.delimiter.0.len()) as u64;
        if arguments.json_lines {
            let number = producer.taken() + 1;
            let record = RecordJson::parse(line).map_err(|reason| StopReason::Input {
                line: Some(number),
                reason,
            })?;
            producer
                .send(of_json(arguments, &record, &record.headers()))
                .await?;
        } else {
            let keyed = parser.split(line);
            parser.check_separator(producer.taken() + 1, false)?;
            producer.send(parser.record(line, keyed)).await?;
        }
    }
}

/// Makes records of lines.
#[derive(Debug)]
struct LineParser<'a> {
    arguments: &'a Arguments,
    separator: Option<memmem::Finder<'a>>,
    headers: Vec<HeaderRef<'a>>,
    /// Bytes read.
    read: u64,
    separator_found: bool,
}

impl<'a> LineParser<'a> {
    fn of(arguments: &'a Arguments) -> Self {
        let separator = arguments.key_separator.as_ref();
        let headers = arguments.headers.iter();
        Self {
            arguments,
            separator: separator.map(|separator| memmem::Finder::new(&separator.0)),
            headers: headers
                .map(|header| (&*header.name, header.value.as_deref()))
                .collect(),
            read: 0,
            separator_found: false,
        }
    }

    /// Key and value of a line that has a separator.
    fn split<'r>(&mut self, line: &'r [u8]) -> Option<(&'r [u8], &'r [u8])> {
        let separator = self.separator.as_ref()?;
        let at = separator.find(line)?;
        self.separator_found = true;
        Some((&line[..at], &line[at + separator.needle().len()..]))
    }

    /// A line as a record. It holds any bytes, a carriage return included.
    fn record<'r>(&'r self, line: &'r [u8], keyed: Option<(&'r [u8], &'r [u8])>) -> Outgoing<'r> {
        let arguments = self.arguments;
        let null = arguments.null_value.as_deref().map(bytes_of);
        let or_null = |bytes: &'r [u8]| (null != Some(bytes)).then_some(bytes);
        let (key, value) = match keyed {
            Some((key, value)) => (or_null(key), value),
            None => (arguments.key.as_deref().map(bytes_of), line),
        };
        Outgoing {
            partition: arguments.partition,
            key,
            value: or_null(value),
            headers: &self.headers,
            timestamp: arguments.timestamp.unwrap_or_else(rt::wall_clock).0,
        }
    }

    /// Whether the separator was in one of so many lines, as far as these can tell.
    fn check_separator(&self, lines: u64, all: bool) -> Result<(), StopReason> {
        let Some(separator) = self.arguments.key_separator.as_ref() else {
            return Ok(());
        };
        let enough = all || self.read > SEPARATOR_BYTES_MAX || lines > SEPARATOR_LINES_MAX;
        if self.separator_found || !enough || lines == 0 {
            return Ok(());
        }
        let reason = match lines {
            1 => format!("the key separator `{separator}` is not in the only line"),
            lines => format!("the key separator `{separator}` is in none of {lines} lines"),
        };
        Err(StopReason::SeparatorNeverFound(reason))
    }
}

/// A record as it was printed. Where it is to go may be said anew.
fn of_json<'r>(
    arguments: &Arguments,
    record: &'r RecordJson<'_>,
    headers: &'r [HeaderRef<'r>],
) -> Outgoing<'r> {
    Outgoing {
        partition: arguments.partition.or(record.partition),
        key: record.key(),
        value: record.value(),
        headers,
        timestamp: record.timestamp.unwrap_or_else(|| rt::wall_clock().0),
    }
}

fn split_once<'a>(text: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = memmem::find(text, separator)?;
    Some((&text[..at], &text[at + separator.len()..]))
}

/// Has what was taken acknowledged, and says what is written where that is not everything.
async fn finish(fed: Result<(), StopReason>, producer: &mut Producer) -> Result<(), ProduceError> {
    let mut code = None;
    let (line, reason) = match fed {
        Ok(()) => return Ok(()),
        // The line could not be taken, and those before it are still to be delivered.
        Err(StopReason::Delivery(failure)) if failure.record == Some(producer.taken()) => {
            code = failure.error.code();
            (Some(producer.taken() + 1), failure.to_string())
        }
        Err(StopReason::Delivery(failure)) => return Err(ProduceError::of(failure)),
        Err(StopReason::SeparatorNeverFound(reason)) => {
            let written = producer.acknowledged();
            return Err(ProduceError::because(reason, None, written, Some(written)));
        }
        Err(StopReason::Interrupted) => (None, "interrupted".to_owned()),
        Err(StopReason::Input { line, reason }) => (line, reason),
    };
    let settled = tokio::select! {
        biased;
        _ = rt::stop_signal() => None,
        flushed = timeout(SETTLE_MAX, producer.flush()) => flushed.ok(),
    };
    let first_unwritten = match settled {
        Some(Ok(())) => Some(producer.acknowledged()),
        Some(Err(failure)) => Some(failure.first_unacknowledged),
        None => None,
    };
    let written = producer.acknowledged();
    Err(ProduceError {
        code,
        ..ProduceError::because(reason, line, written, first_unwritten)
    })
}

/// Why not every line is written, and which are. Every line is one record, so records and lines have the same numbers.
#[derive(Debug)]
pub(crate) struct ProduceError {
    reason: String,
    pub(crate) code: Option<ErrorCode>,
    /// The line that is at fault, from 1 on.
    pub(crate) line: Option<u64>,
    /// How many lines are acknowledged.
    pub(crate) written: u64,
    /// How many are before the first that is not, where that is known.
    written_before: Option<u64>,
}

impl ProduceError {
    fn of(failure: DeliveryError) -> Self {
        Self {
            code: failure.error.code(),
            line: failure.record.map(|number| number + 1),
            written: failure.acknowledged,
            written_before: Some(failure.first_unacknowledged),
            reason: failure.error.to_string(),
        }
    }

    const fn because(
        reason: String,
        line: Option<u64>,
        written: u64,
        written_before: Option<u64>,
    ) -> Self {
        Self {
            reason,
            code: None,
            line,
            written,
            written_before,
        }
    }
}

impl fmt::Display for ProduceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}; ", self.reason)?;
        let written = self.written;
        match (written, self.written_before) {
            (0, _) => f.write_str("no line is written"),
            (1, Some(1)) => f.write_str("the first line is written and acknowledged"),
            (_, Some(before)) if before == written => {
                write!(f, "the first {written} lines are written and acknowledged")
            }
            (_, before) => {
                let lines = counted(written, "line", "lines");
                let verb = if written == 1 { "is" } else { "are" };
                write!(f, "{lines} {verb} written and acknowledged")?;
                match before {
                    Some(before) => write!(f, ", line {} is the first that is not", before + 1),
                    None => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for ProduceError {}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Called {
        #[command(flatten)]
        produce: Arguments,
    }

    fn arguments(more: &[&str]) -> Arguments {
        let called = ["produce", "t"].iter().chain(more);
        Called::try_parse_from(called).unwrap().produce
    }

    fn parts(line: &[u8], more: &[&str]) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let arguments = arguments(more);
        let mut parser = LineParser::of(&arguments);
        let keyed = parser.split(line);
        let record = parser.record(line, keyed);
        (
            record.key.map(<[u8]>::to_vec),
            record.value.map(<[u8]>::to_vec),
        )
    }

    #[test]
    fn a_line_is_a_value_or_a_key_and_a_value_whatever_its_bytes() {
        let some = |bytes: &[u8]| Some(bytes.to_vec());
        assert_eq!(parts(b"a:b", &[]), (None, some(b"a:b")));
        let colon = ["--key-separator", ":"];
        assert_eq!(parts(b"a:b:c\r", &colon), (some(b"a"), some(b"b:c\r")));
        assert_eq!(parts(b":", &colon), (some(b""), some(b"")));
        let tab = ["--key-separator", r"\t"];
        assert_eq!(parts(b"a\\t\tb", &tab), (some(b"a\\t"), some(b"b")));
        let two = ["--key-separator", "::"];
        assert_eq!(parts(b"\xff::\0", &two), (some(&[0xff]), some(&[0])));
        assert_eq!(parts(b"no:", &two), (None, some(b"no:")));
    }

    #[test]
    fn a_key_for_all_gives_way_to_a_lines_own() {
        let both = ["--key-separator", ":", "--key", "all"];
        let some = |bytes: &[u8]| Some(bytes.to_vec());
        assert_eq!(parts(b"a:b", &both), (some(b"a"), some(b"b")));
        assert_eq!(parts(b"b", &both), (some(b"all"), some(b"b")));
        assert_eq!(parts(b"b", &["--key", ""]), (some(b""), some(b"b")));
    }

    #[test]
    fn null_is_what_was_said_to_be_and_no_other_text() {
        let some = |bytes: &[u8]| Some(bytes.to_vec());
        assert_eq!(parts(b"", &[]), (None, some(b"")));
        assert_eq!(parts(b"", &["--null-value"]), (None, None));
        assert_eq!(parts(b"x", &["--null-value"]), (None, some(b"x")));
        let named = ["--null-value", "NULL", "--key-separator", ":"];
        assert_eq!(parts(b"NULL:NULL", &named), (None, None));
        assert_eq!(parts(b"NULL :", &named), (some(b"NULL "), some(b"")));
    }

    #[test]
    fn a_header_has_a_name_and_perhaps_a_value() {
        let header = |text: &str| Header::parse(text.into());
        let some = |value: &[u8]| Some(value.to_vec());
        for (text, name, value) in [
            ("a=1", "a", some(b"1")),
            ("a=", "a", some(b"")),
            ("a", "a", None),
            ("a=b=c", "a", some(b"b=c")),
        ] {
            let name = name.as_bytes().to_vec();
            assert_eq!(header(text), Ok(Header { name, value }));
        }
        assert!(header("=1").is_err());
        assert!(header("").is_err());
    }

    #[test]
    fn what_is_written_is_said_and_what_is_not() {
        let says = |line, written, before| {
            ProduceError::because("why".to_owned(), line, written, before).to_string()
        };
        assert_eq!(says(Some(1), 0, Some(0)), "line 1: why; no line is written");
        assert_eq!(
            says(None, 1, Some(1)),
            "why; the first line is written and acknowledged"
        );
        assert_eq!(
            says(Some(8), 7, Some(7)),
            "line 8: why; the first 7 lines are written and acknowledged"
        );
        assert_eq!(
            says(None, 7, Some(5)),
            "why; 7 lines are written and acknowledged, line 6 is the first that is not"
        );
        assert_eq!(
            says(None, 7, None),
            "why; 7 lines are written and acknowledged"
        );
    }
}
