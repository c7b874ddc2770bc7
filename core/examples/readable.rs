//! What varve says of record batches that a producer sends: `scenarios/clients/readable` compares it with what clients
//! read.
//!
//! Reads a batch a line, in hexadecimal digits, and prints `refused REASON`, or the records that it reads from what it
//! would store, as `scenarios/clients/readable.py` describes them.

use std::io::{self, BufRead, Write};

use bytes::Bytes;
use varve_core::record::{Depth, Limits, Record, RecordError, examine};

/// Of Produce, the newest.
const API_VERSION: i16 = 13;

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        match judge(&line?) {
            Ok(records) => {
                let records: Vec<_> = records.iter().map(record).collect();
                writeln!(out, "{}", records.join(";"))?;
            }
            Err(error) => writeln!(out, "refused {error}")?,
        }
    }
    Ok(())
}

fn judge(line: &str) -> Result<Vec<Record>, RecordError> {
    let limits = Limits::default();
    let examined = examine(unhex(line), API_VERSION, Depth::Records, limits)?;
    let records = examined.batch.records(limits.uncompressed_size_max);
    let records = records.and_then(Iterator::collect);
    Ok(records.expect("what is taken can be read"))
}

fn record(record: &Record) -> String {
    let headers: Vec<_> = record
        .headers
        .iter()
        .map(|header| format!("{}:{}", hex(Some(&header.key)), hex(header.value.as_ref())))
        .collect();
    let headers = if headers.is_empty() {
        "-".to_owned()
    } else {
        headers.join(",")
    };
    format!(
        "{} {} {} {} {headers}",
        record.offset,
        record.timestamp.0,
        hex(record.key.as_ref()),
        hex(record.value.as_ref())
    )
}

fn hex(bytes: Option<&Bytes>) -> String {
    let Some(bytes) = bytes else {
        return "-".to_owned();
    };
    bytes
        .iter()
        .fold("x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

fn unhex(line: &str) -> Bytes {
    let digit = |digit: u8| char::from(digit).to_digit(16).expect("hexadecimal digits");
    line.as_bytes()
        .chunks(2)
        .map(|pair| {
            let byte = pair.iter().fold(0, |byte, &half| byte << 4 | digit(half));
            u8::try_from(byte).expect("two digits are a byte")
        })
        .collect::<Vec<_>>()
        .into()
}
