//! `varve consume`: records in, lines out, byte for byte.

use std::io::{self, IsTerminal as _, Write as _};
use std::iter;
use std::time::Duration;

use indicatif::ProgressBar;
use tokio::time::timeout;
use varve_core::ids::Offset;
use varve_core::record::Record;
use varve_net::client::{Consumed, Consumer, Start};
use varve_net::rt;

use super::Failure;
use super::escapes::{NULL, escape};
use super::output::Output;
use super::record_json::RecordJson;
use super::show::{Access, progress};

/// How long what has been read may take to be written after the command was interrupted.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// Read records from the start of a topic to its end, or follow it.
///
/// Prints each value as it is and a newline behind it; a null value as nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) access: Access,
    /// The topic.
    topic: String,
    /// Read this partition only.
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Begin at this offset, in each partition that is read.
    #[arg(
        long,
        conflicts_with = "latest",
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(i64).range(0..)
    )]
    offset: Option<i64>,
    /// Begin with the next record that is written.
    #[arg(long)]
    latest: bool,
    /// Go on at the end, until stopped.
    #[arg(long, short)]
    follow: bool,
    /// Stop after so many records.
    #[arg(long, value_name = "N")]
    max: Option<u64>,
    /// How long a partition may be without a leader, in seconds. With --follow it is waited for longer, and told.
    #[arg(long, default_value_t = 120)]
    timeout: u64,
    /// Print partition, offset, timestamp and key before each value, and headers behind it, separated by tabs. Bytes
    /// that would break a column are shown as escapes, and null as \N.
    #[arg(long)]
    verbose: bool,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let client = arguments.access.connect().await?;
    let start = match arguments.offset {
        Some(offset) => Start::At(Offset(offset)),
        None if arguments.latest => Start::Latest,
        None => Start::Earliest,
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
    if arguments.access.json {
        serde_json::to_writer(&mut *out, &RecordJson::of(consumed.partition, record))?;
    } else if arguments.verbose {
        put_columns(consumed, out)?;
    } else {
        out.extend_from_slice(record.value.as_deref().unwrap_or_default());
    }
    out.push(b'\n');
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
