//! `varve consume`: records in, lines out, byte for byte.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::iter;
use std::time::Duration;

use indicatif::ProgressBar;
use tokio::time::timeout;
use varve_core::ids::{Offset, Timestamp};
use varve_core::record::Record;
use varve_net::client::{Consumed, Consumer, Start};
use varve_net::rt;

use super::Failure;
use super::escapes::{NULL, Separator, escape};
use super::output::Output;
use super::record_format::Format;
use super::record_json::RecordJson;
use super::show::{Access, progress};
use super::times::parse_time;
use super::topic::parse_name;

/// How long what has been read may take to be written after the command was interrupted.
const DRAIN_MAX: Duration = Duration::from_secs(1);

const EXAMPLES: &str = r"Examples:
  varve consume greetings --offset -10
  varve consume greetings --from-time '1h ago' --follow
  varve consume greetings --format '%p@%o %T %k: %s\n'
  varve consume greetings --json | jq .value";

/// Read records from the start of a topic to its end, or follow it.
///
/// Prints each value byte for byte and a newline behind it; a null value as nothing.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) access: Access,
    /// The topic.
    #[arg(value_parser = parse_name)]
    topic: String,
    /// Read this partition only.
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Begin at this offset, in each partition that is read: a number; -N for the last N records; `beginning` or
    /// `end`.
    #[arg(
        long,
        conflicts_with_all = ["latest", "from_time"],
        allow_negative_numbers = true,
        value_parser = parse_start
    )]
    offset: Option<Start>,
    /// Begin with the first record of this time or later, in each partition that is read: milliseconds since 1970,
    /// 2026-01-31T12:00:00Z, or "2h ago".
    #[arg(
        long,
        value_name = "TIME",
        conflicts_with = "latest",
        allow_negative_numbers = true,
        value_parser = parse_time
    )]
    from_time: Option<Timestamp>,
    /// Begin with the next record that is written, and go on until stopped.
    #[arg(long)]
    latest: bool,
    /// Go on at the end, until stopped.
    #[arg(long, short)]
    follow: bool,
    /// Stop after so many records.
    #[arg(long, value_name = "N")]
    max: Option<u64>,
    /// How long a partition may be without a leader, in seconds. With --follow it is waited for longer, and told.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
    /// What is printed behind each record. \n, \r, \t, \0, \xHH and \\ stand for bytes.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = r"\n",
        value_parser = Separator::parse,
        conflicts_with_all = ["format", "json"]
    )]
    delimiter: Separator,
    /// Print the key before each value, and this in between, with the same escapes.
    #[arg(
        long,
        value_name = "TEXT",
        value_parser = Separator::parse,
        conflicts_with_all = ["format", "json", "verbose"]
    )]
    key_separator: Option<Separator>,
    /// What is printed for a key or value that is null.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true,
        conflicts_with_all = ["json", "verbose"]
    )]
    null_value: OsString,
    /// Print each record in this form, with kcat's letters: %s value, %S its length, %R the same as 4 bytes, %k key, %K
    /// its length, %T timestamp, %h headers, %t topic, %p partition, %o offset, %% a percent sign. Lengths of null are
    /// -1. Escapes as in --delimiter.
    #[arg(long, value_parser = Format::parse, conflicts_with_all = ["json", "verbose"])]
    format: Option<Format>,
    /// Print partition, offset, timestamp and key before each value, and headers behind it, separated by tabs. Bytes
    /// that would break a column are shown as escapes, and null as \N.
    #[arg(long, conflicts_with = "json")]
    verbose: bool,
}

/// Where to begin, as `--offset` has it.
fn parse_start(text: &str) -> Result<Start, String> {
    let known =
        || "an offset is a number, -N for the last N records, `beginning` or `end`".to_owned();
    match text {
        "beginning" | "earliest" => Ok(Start::Earliest),
        "end" | "latest" => Ok(Start::Latest),
        _ => match text.strip_prefix('-') {
            Some(count) => count.parse().map(Start::BeforeEnd).map_err(|_| known()),
            None => match text.parse() {
                Ok(offset) if offset >= 0 => Ok(Start::At(Offset(offset))),
                Ok(_) | Err(_) => Err(known()),
            },
        },
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let client = arguments.access.connect().await?;
    let start = match (arguments.offset, arguments.from_time) {
        (Some(start), _) => start,
        (None, Some(time)) => Start::Time(time),
        (None, None) if arguments.latest => Start::Latest,
        (None, None) => Start::Earliest,
    };
    let patience = Duration::from_secs(arguments.timeout);
    let mut consumer = Consumer::new(
        client,
        &arguments.topic,
        arguments.partition,
        start,
        patience,
    )
    .await?;
    let follow = arguments.follow || arguments.latest;
    let mut output = Output::to_stdout();
    let bar = watch((!follow).then(|| consumer.left().min(arguments.max.unwrap_or(u64::MAX))));
    let interrupted = tokio::select! {
        biased;
        _ = rt::stop_signal() => true,
        done = read(&arguments, follow, &mut consumer, &mut output, &bar) => {
            done?;
            false
        }
    };
    bar.finish_and_clear();
    if !interrupted {
        return Ok(output.finish().await?);
    }
    // Whoever reads the output may stand still. What is written ends with a whole record.
    if let Ok(written) = timeout(DRAIN_MAX, output.finish()).await {
        written?;
    }
    if follow {
        return Ok(());
    }
    Err(format!("interrupted before the end of topic `{}`", arguments.topic).into())
}

/// Reads to the end, or for ever.
async fn read(
    arguments: &Arguments,
    follow: bool,
    consumer: &mut Consumer,
    output: &mut Output,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let mut left = arguments.max.unwrap_or(u64::MAX);
    while left > 0 && (follow || !consumer.is_at_end()) {
        let mut records = match consumer.poll().await {
            Err(error) if follow && error.is_transient() => {
                arguments.access.note(&format!("still trying: {error}"));
                continue;
            }
            other => other?,
        };
        records.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= records.len() as u64;
        bar.inc(records.len() as u64);
        for consumed in records {
            put(arguments, &consumed, output.buffer())?;
            output.flush_if_full().await?;
        }
        output.flush().await?;
        if !follow {
            bar.set_length(bar.position() + consumer.left().min(left));
        }
    }
    Ok(())
}

/// Shows how far reading has come, unless the records themselves show it. A topic that is followed has no end.
fn watch(total: Option<u64>) -> ProgressBar {
    if io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    progress(total, "records read")
}

/// Appends a record as it is shown, its end included.
fn put(arguments: &Arguments, consumed: &Consumed, out: &mut Vec<u8>) -> io::Result<()> {
    let record = &consumed.record;
    let null = arguments.null_value.as_encoded_bytes();
    if let Some(format) = &arguments.format {
        return format.put(&arguments.topic, consumed, null, out);
    }
    if arguments.access.json {
        serde_json::to_writer(&mut *out, &RecordJson::of(consumed.partition, record))?;
    } else if arguments.verbose {
        put_columns(consumed, out)?;
    } else {
        if let Some(separator) = &arguments.key_separator {
            out.extend_from_slice(record.key.as_deref().unwrap_or(null));
            out.extend_from_slice(&separator.0);
        }
        out.extend_from_slice(record.value.as_deref().unwrap_or(null));
    }
    out.extend_from_slice(&arguments.delimiter.0);
    Ok(())
}

fn put_columns(consumed: &Consumed, out: &mut Vec<u8>) -> io::Result<()> {
    let Record {
        offset,
        timestamp,
        key,
        value,
        headers,
    } = &consumed.record;
    write!(out, "{}\t{offset}\t{}\t", consumed.partition, timestamp.0)?;
    put_escaped(key.as_deref(), b"", out);
    out.push(b'\t');
    put_escaped(value.as_deref(), b"", out);
    for (header, separator) in headers
        .iter()
        .zip(iter::once(b'\t').chain(iter::repeat(b',')))
    {
        out.push(separator);
        escape(&header.key, b"=,", out);
        out.push(b'=');
        put_escaped(header.value.as_deref(), b"=,", out);
    }
    Ok(())
}

fn put_escaped(bytes: Option<&[u8]>, also: &[u8], out: &mut Vec<u8>) {
    match bytes {
        None => out.extend_from_slice(NULL),
        Some(bytes) => escape(bytes, also, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_absolute_or_counted_from_the_end() {
        assert_eq!(parse_start("7"), Ok(Start::At(Offset(7))));
        assert_eq!(parse_start("-7"), Ok(Start::BeforeEnd(7)));
        assert_eq!(parse_start("-0"), Ok(Start::BeforeEnd(0)));
        assert_eq!(parse_start("beginning"), Ok(Start::Earliest));
        assert_eq!(parse_start("end"), Ok(Start::Latest));
        for text in ["", "-", "--1", "1.5", "first", "99999999999999999999"] {
            assert!(parse_start(text).is_err(), "{text}");
        }
    }
}
