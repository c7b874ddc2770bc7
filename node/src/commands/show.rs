//! How commands show what they found: tables for people, JSON for programs.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};

use clap::Args;
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use varve_net::client::{Client, ClientError};

use super::Failure;
use crate::address::Address;

/// Where the cluster is, and how to show what it says.
#[derive(Debug, Args)]
pub(crate) struct Access {
    /// Brokers to ask first, `host:port`, separated by commas.
    #[arg(
        long,
        default_value = "127.0.0.1:9092",
        value_name = "HOST:PORT,...",
        value_delimiter = ',',
        global = true
    )]
    pub(crate) bootstrap: Vec<Address>,
    /// Print JSON, for programs.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Access {
    /// Reaches the cluster.
    pub(crate) async fn connect(&self) -> Result<Client, ClientError> {
        Client::connect(self.bootstrap.iter().map(ToString::to_string).collect()).await
    }

    /// Says on standard error what is no failure.
    pub(crate) fn note(&self, words: &str) {
        if self.json {
            say_error!("{}", serde_json::json!({ "note": words }));
        } else {
            say_error!("varve: note: {words}");
        }
    }

    /// Prints rows under their headings, or the same as JSON.
    pub(crate) fn show<T: Serialize>(
        &self,
        headings: &[&str],
        rows: &[T],
        cells: impl Fn(&T) -> Vec<String>,
    ) -> Result<(), Failure> {
        if self.json {
            return print_line(&serde_json::to_string_pretty(rows)?);
        }
        print_table(headings, rows.iter().map(cells))
    }

    /// Says that something was done.
    pub(crate) fn done<T: Serialize>(&self, words: &str, what: &T) -> Result<(), Failure> {
        if self.json {
            print_line(&serde_json::to_string(what)?)
        } else {
            print_line(words)
        }
    }
}

/// Prints rows under their headings.
pub(crate) fn print_table(
    headings: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headings.to_vec());
    for row in rows {
        table.add_row(row);
    }
    let text = table.to_string();
    text.lines()
        .try_for_each(|line| print_line(line.trim_end()))
}

/// A number and what it counts.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    let noun = if number == 1 { one } else { many };
    format!("{number} {noun}")
}

/// Prints a line. A reader that has gone away (`| head`) is an error like any other, not a panic.
pub(crate) fn print_line(line: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout().lock(), "{line}")?;
    Ok(())
}

/// Prints a line to standard output, whether or not anybody takes it: a node runs on when its terminal has gone.
macro_rules! say {
    ($($words:tt)*) => { $crate::commands::show::write_line(&mut std::io::stdout().lock(), format_args!($($words)*)) };
}

/// The same to standard error.
macro_rules! say_error {
    ($($words:tt)*) => { $crate::commands::show::write_line(&mut std::io::stderr().lock(), format_args!($($words)*)) };
}

pub(crate) use {say, say_error};

pub(crate) fn write_line(out: &mut impl std::io::Write, words: fmt::Arguments<'_>) {
    // Nobody is left to be told that it failed.
    let _ = out.write_fmt(words).and_then(|()| out.write_all(b"\n"));
}

/// Shows how far long work has come, where somebody watches.
pub(crate) fn progress(total: Option<u64>, what: &'static str) -> ProgressBar {
    match total {
        Some(total) => bar(
            ProgressBar::new(total).with_message(what),
            "{msg} {wide_bar} {human_pos}/{human_len} {per_sec}",
        ),
        None => bar(
            ProgressBar::new_spinner().with_message(what),
            "{spinner} {msg} {human_pos} {per_sec}",
        ),
    }
}

/// Shows how much of so many bytes is done.
pub(crate) fn progress_in_bytes(total: u64) -> ProgressBar {
    bar(
        ProgressBar::new(total),
        "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec}",
    )
}

fn bar(bar: ProgressBar, template: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    bar.with_style(ProgressStyle::with_template(template).expect("the template is a constant"))
}

/// Numbers, separated by commas.
pub(crate) fn list(numbers: &[i32]) -> String {
    numbers
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}
