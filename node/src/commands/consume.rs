//! `varve consume`: records in, lines out.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::ProgressBar;
use serde::Serialize;
use varve_core::ids::Offset;
use varve_core::record::Record;
use varve_net::client::{Consumed, Consumer, Start};

use super::Failure;
use super::show::{Access, print_line, progress};

/// Read records from the start of a topic to its end, or follow it.
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
    /// Print partition, offset, timestamp and key before each value.
    #[arg(long)]
    verbose: bool,
}

/// A record as JSON. Bytes that are no UTF-8 are shown with replacement characters.
#[derive(Debug, Serialize)]
struct Shown {
    partition: i32,
    offset: i64,
    timestamp: i64,
    key: Option<String>,
    value: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, Option<String>)>,
}

impl Shown {
    fn of(consumed: &Consumed) -> Self {
        let Record {
            offset,
            timestamp,
            key,
            value,
            headers,
        } = &consumed.record;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            partition: consumed.partition,
            offset: offset.0,
            timestamp: timestamp.0,
            key: key.as_deref().map(text),
            value: value.as_deref().map(text),
            headers: headers
                .iter()
                .map(|header| (text(&header.key), header.value.as_deref().map(text)))
                .collect(),
        }
    }
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
    let mut left = arguments.max.unwrap_or(u64::MAX);
    let follow = arguments.follow || arguments.latest;
    let bar = watch((!follow).then(|| consumer.left().min(left)));
    while left > 0 && (follow || !consumer.is_at_end()) {
        let records = match consumer.poll().await {
            Err(error) if follow && error.is_transient() => {
                arguments.access.note(&format!("still trying: {error}"));
                continue;
            }
            other => other?,
        };
        for consumed in records {
            if left == 0 {
                break;
            }
            left -= 1;
            print(&arguments, &consumed)?;
            bar.inc(1);
        }
        if !follow {
            bar.set_length(bar.position() + consumer.left().min(left));
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Shows how far reading has come, unless the records themselves show it. A topic that is followed has no end.
fn watch(total: Option<u64>) -> ProgressBar {
    if std::io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    progress(total, "records read")
}

fn print(arguments: &Arguments, consumed: &Consumed) -> Result<(), Failure> {
    let shown = Shown::of(consumed);
    if arguments.access.json {
        return print_line(&serde_json::to_string(&shown)?);
    }
    let value = shown.value.as_deref().unwrap_or("(null)");
    if arguments.verbose {
        let key = shown.key.as_deref().unwrap_or("(null)");
        return print_line(&format!(
            "{}\t{}\t{}\t{key}\t{value}",
            shown.partition, shown.offset, shown.timestamp
        ));
    }
    print_line(value)
}
