//! `varve produce`: lines in, records out.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;
use tokio::time::timeout;
use varve_core::record::Compression;
use varve_net::client::{Outgoing, Producer};
use varve_net::rt;

use super::lines::Lines;
use super::show::{Access, counted, progress, progress_in_bytes};
use super::{Failure, draw_seed};

/// Records that are waited for until they are sent, where the input is a person's typing.
const IDLE: Duration = Duration::from_millis(50);

/// Write the lines of a file, or of standard input, as records.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) access: Access,
    /// The topic.
    topic: String,
    /// Read this file instead of standard input.
    #[arg(long)]
    file: Option<PathBuf>,
    /// What separates key and value in a line; lines without it have no key.
    #[arg(long, value_name = "TEXT")]
    key_separator: Option<String>,
    /// How batches are compressed.
    #[arg(long, value_enum, default_value_t = Codec::None)]
    compression: Codec,
    /// How long a record may take to be acknowledged, in seconds.
    #[arg(long, default_value_t = 120)]
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

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let (mut lines, total) = open(arguments.file.as_deref())?;
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
        None => progress(None, "records written"),
    };
    let unreadable = |error| match &arguments.file {
        Some(path) => format!("{}: {error}", path.display()),
        None => format!("standard input: {error}"),
    };
    let mut read = 0;
    loop {
        // Whoever types wants to see each line go; a file is sent in large batches.
        if !lines.is_here() {
            let more = match timeout(IDLE, lines.wait()).await {
                Ok(more) => more,
                Err(_) => {
                    producer.flush().await?;
                    lines.wait().await
                }
            };
            if !more.map_err(unreadable)? {
                break;
            }
            bar.set_position(match total {
                Some(_) => read,
                None => producer.acknowledged(),
            });
        }
        let line = lines.take();
        read += line.len() as u64 + 1;
        producer
            .send(record(line, arguments.key_separator.as_deref()))
            .await?;
    }
    producer.flush().await?;
    bar.finish_and_clear();
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
fn open(path: Option<&Path>) -> Result<(Lines, Option<u64>), Failure> {
    let Some(path) = path else {
        return Ok((Lines::of(std::io::stdin(), b"\n"), None));
    };
    let unreadable = |error| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let total = metadata.is_file().then_some(metadata.len());
    Ok((Lines::of(file, b"\n"), total))
}

/// A line as a record. It holds any bytes, a carriage return included.
fn record<'a>(line: &'a [u8], key_separator: Option<&str>) -> Outgoing<'a> {
    let keyed = key_separator.and_then(|separator| split_once(line, separator.as_bytes()));
    let (key, value) = keyed.map_or((None, line), |(key, value)| (Some(key), value));
    Outgoing {
        key,
        value: Some(value),
        timestamp: rt::wall_clock().0,
        ..Outgoing::default()
    }
}

fn split_once<'a>(line: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = line
        .windows(separator.len().max(1))
        .position(|window| window == separator)?;
    Some((&line[..at], &line[at + separator.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(line: &[u8], separator: Option<&str>) -> (Option<Vec<u8>>, Vec<u8>) {
        let record = record(line, separator);
        (
            record.key.map(<[u8]>::to_vec),
            record.value.unwrap().to_vec(),
        )
    }

    #[test]
    fn a_line_is_a_value_or_a_key_and_a_value_whatever_its_bytes() {
        assert_eq!(parts(b"a:b", None), (None, b"a:b".to_vec()));
        assert_eq!(
            parts(b"a:b\r", Some(":")),
            (Some(b"a".to_vec()), b"b\r".to_vec())
        );
        assert_eq!(parts(b"\xff::\0", Some("::")), (Some(vec![0xff]), vec![0]));
        assert_eq!(parts(b"no", Some("::")), (None, b"no".to_vec()));
        assert_eq!(parts(b"a", Some("")), (None, b"a".to_vec()));
    }
}
