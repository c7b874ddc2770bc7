//! The `varve` binary: one node of a distributed log that speaks the Kafka protocol, and the commands around it.

mod address;
mod commands;
mod config;
mod logging;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::UsageError;
use commands::show::say_error;
use config::ConfigError;

/// A distributed log that speaks the Kafka protocol.
#[derive(Debug, Parser)]
#[command(
    name = "varve",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole cluster in this process, to try things on.
    Dev(commands::dev::Arguments),
    /// Make the first node of a new cluster. The other nodes need none: they join when they are started.
    Format(commands::format::Arguments),
    #[command(name = "accept-loss")]
    AcceptLoss(commands::accept_loss::Arguments),
    /// Run one node of a cluster.
    Start(commands::start::Arguments),
    /// Create, list, describe and delete topics of any Kafka cluster.
    Topic(commands::topic::Arguments),
    Produce(commands::produce::Arguments),
    Consume(commands::consume::Arguments),
    /// See how a cluster is.
    Cluster(commands::cluster::Arguments),
    /// Replay and hunt failures in a simulated cluster.
    Sim(commands::sim::Arguments),
}

impl Command {
    /// Whether a program reads what this one says.
    const fn json(&self) -> bool {
        match self {
            Self::Topic(arguments) => arguments.access.json,
            Self::Produce(arguments) => arguments.access.json,
            Self::Consume(arguments) => arguments.access.json,
            Self::Cluster(arguments) => arguments.access.json,
            Self::Dev(_)
            | Self::Format(_)
            | Self::AcceptLoss(_)
            | Self::Start(_)
            | Self::Sim(_) => false,
        }
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return say_usage(&error),
    };
    let json = arguments.command.json();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            say_error!("varve: the operating system gives no threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match arguments.command {
            Command::Dev(arguments) => commands::dev::run(arguments).await,
            Command::Format(arguments) => commands::format::run(&arguments),
            Command::AcceptLoss(arguments) => commands::accept_loss::run(&arguments),
            Command::Start(arguments) => commands::start::run(&arguments).await,
            Command::Topic(arguments) => commands::topic::run(arguments).await,
            Command::Produce(arguments) => commands::produce::run(arguments).await,
            Command::Consume(arguments) => commands::consume::run(arguments).await,
            Command::Cluster(arguments) => commands::cluster::run(arguments).await,
            Command::Sim(arguments) => commands::sim::run(arguments).await,
        }
    });
    // Connections of clients may still be open; nobody waits for them.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough, as in `varve consume TOPIC | head`.
        Err(reason) if is_broken_pipe(&*reason) => ExitCode::SUCCESS,
        Err(reason) => {
            if json {
                say_error!("{}", commands::failure_as_json(&*reason));
            } else {
                say_error!("varve: {reason}");
            }
            if reason.is::<UsageError>() || reason.is::<ConfigError>() {
                ExitCode::from(USAGE_ERROR)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// The status of a command that was called wrongly.
const USAGE_ERROR: u8 = 2;

/// Says how the command is called: because that was asked for, or because it was called wrongly.
fn say_usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Whoever read the help has seen enough.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    // The call could not be read, so this is all that is known of it.
    if std::env::args_os().any(|argument| argument == "--json") {
        let words = error.to_string();
        let words = words.strip_prefix("error: ").unwrap_or(&words);
        let reason = words.split("\n\n").next().unwrap_or(words).trim();
        say_error!("{}", serde_json::json!({ "error": reason }));
    } else {
        let _ = error.print();
    }
    ExitCode::from(USAGE_ERROR)
}

fn is_broken_pipe(reason: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    reason
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
