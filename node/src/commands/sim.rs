//! `varve sim`: whole clusters in virtual time, each a function of one seed.

use std::fs::File;
use std::io::Write as _;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use clap::Subcommand;
use varve_core::hooks::{Mutant, Probe};
use varve_net::rt;
use varve_sim::run::{FuzzSummary, Outcome, RunOptions, run as run_seed};

use super::show::{print_line, progress};
use super::{Failure, UsageError, jobs};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run one seed, the same way on every machine.
    Run {
        /// The seed.
        #[arg(long)]
        seed: u64,
        /// Write down everything that happens, in this file; `-` is standard output.
        #[arg(long, value_name = "FILE")]
        trace: Option<PathBuf>,
        /// Break one clause of the protocol on purpose, to see a checker find it.
        #[arg(long, value_parser = parse_mutant)]
        mutant: Option<Mutant>,
    },
    /// Run many seeds and report those that fail.
    Fuzz(Hunt),
}

/// Which seeds a fuzz runs, and how.
#[derive(Debug, clap::Args)]
struct Hunt {
    /// How many seeds.
    #[arg(
        long,
        conflicts_with = "for_",
        required_unless_present = "for_",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    seeds: Option<u64>,
    /// For how long, as in 90s, 10m or 2h.
    #[arg(long = "for", id = "for_", value_name = "TIME", value_parser = parse_duration)]
    for_: Option<Duration>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// How many seeds to run at once; as many as this machine has cores where it is not given. What is found and
    /// printed does not depend on it.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// Break one clause of the protocol on purpose, to see a checker find it.
    #[arg(long, value_parser = parse_mutant)]
    mutant: Option<Mutant>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.action {
        Action::Run {
            seed,
            trace,
            mutant,
        } => one(seed, trace, mutant),
        Action::Fuzz(hunt) => {
            let asked = Arc::<OnceLock<&'static str>>::default();
            let listener = Arc::clone(&asked);
            let listening = tokio::spawn(async move {
                let _ = listener.set(rt::stop_signal().await);
            });
            let done = tokio::task::spawn_blocking(move || many(&hunt, &asked)).await?;
            listening.abort();
            done
        }
    }
}

fn one(seed: u64, trace: Option<PathBuf>, mutant: Option<Mutant>) -> Result<(), Failure> {
    let options = RunOptions {
        mutant,
        trace: trace.is_some(),
        ..RunOptions::default()
    };
    let failed =
        |path: &Path, error| format!("cannot write the trace to {}: {error}", path.display());
    let path = trace.as_deref().filter(|path| path.as_os_str() != "-");
    // A file that cannot be written is told before a long run, not after it.
    let mut file = path
        .map(|path| File::create(path).map_err(|error| UsageError(failed(path, error))))
        .transpose()?;
    let outcome = run_seed(seed, &options);
    match (&mut file, path, &outcome.trace) {
        (Some(file), Some(path), Some(text)) => file
            .write_all(text.as_bytes())
            .map_err(|error| failed(path, error))?,
        (_, _, Some(text)) => print_line(text)?,
        (_, _, None) => {}
    }
    print_line(&format!("{outcome:#}"))?;
    if outcome.violation.is_some() {
        Err("the run violates what must hold".into())
    } else {
        Ok(())
    }
}

/// Runs seeds until all are run, the time is over, or `asked` says by which signal the run is asked to stop: then those that
/// are under way are the last.
fn many(hunt: &Hunt, asked: &OnceLock<&'static str>) -> Result<(), Failure> {
    let options = RunOptions {
        mutant: hunt.mutant,
        ..RunOptions::default()
    };
    let last = hunt.seeds.map_or(u64::MAX, |seeds| {
        hunt.first.saturating_add(seeds).saturating_sub(1)
    });
    let started = Instant::now();
    let goes_on =
        |_: &u64| asked.get().is_none() && hunt.for_.is_none_or(|time| started.elapsed() < time);
    let cores = || thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let bar = progress(hunt.seeds, "seeds");
    let summary = fuzz(
        (hunt.first..=last).take_while(goes_on),
        hunt.jobs.unwrap_or_else(cores),
        &options,
        |outcome| {
            bar.inc(1);
            if outcome.violation.is_some() {
                bar.suspend(|| eprintln!("{outcome}\n"));
            }
        },
    );
    bar.finish_and_clear();
    tell_missed(&summary)?;
    print_line(&summary.to_string())?;
    match summary.failures.len() {
        0 if let Some(signal) = asked.get() => {
            let behind = hunt.first + summary.runs;
            Err(format!("{signal}: seed {behind} and those behind it were not run").into())
        }
        0 => Ok(()),
        1 => Err("1 seed failed".into()),
        failed => Err(format!("{failed} seeds failed").into()),
    }
}

/// Runs seeds, so many at once, and shows each outcome to `each`, in the order of the seeds.
fn fuzz(
    seeds: impl Iterator<Item = u64> + Send,
    jobs: NonZero<usize>,
    options: &RunOptions,
    mut each: impl FnMut(&Outcome),
) -> FuzzSummary {
    let mut summary = FuzzSummary::default();
    let run = |seed| run_seed(seed, options);
    jobs::in_order(seeds, jobs, run, |outcome| {
        each(&outcome);
        summary.add(outcome);
    });
    summary
}

/// Silence means something only where the rare places were reached.
fn tell_missed(summary: &FuzzSummary) -> Result<(), Failure> {
    let missed: Vec<&str> = summary.missed().map(Probe::name).collect();
    if missed.is_empty() {
        return Ok(());
    }
    print_line(&format!(
        "not reached by any of these seeds: {}",
        missed.join(", ")
    ))
}

fn parse_mutant(name: &str) -> Result<Mutant, String> {
    let known = |mutant: &Mutant| mutant.name().eq_ignore_ascii_case(name);
    Mutant::ALL.iter().copied().find(known).ok_or_else(|| {
        let names: Vec<&str> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
        format!("no such mutant; there are {}", names.join(", "))
    })
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a number with s, m or h behind it, as in 10m".to_owned();
    let unit = text.chars().last().ok_or_else(expected)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return Err(expected()),
    };
    let number: u64 = text[..text.len() - unit.len_utf8()]
        .parse()
        .map_err(|_| expected())?;
    number
        .checked_mul(factor)
        .map(Duration::from_secs)
        .ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_fuzz_finds_does_not_depend_on_how_many_seeds_it_runs_at_once() {
        let options = RunOptions {
            mutant: Some(Mutant::CountsLearners),
            safety: Some(Duration::from_secs(3)),
            ..RunOptions::default()
        };
        let found_with = |jobs: usize| {
            let mut outcomes = String::new();
            let summary = fuzz(1..=12, NonZero::new(jobs).unwrap(), &options, |outcome| {
                outcomes += &format!("{outcome}\n");
            });
            let failed: Vec<u64> = summary.failures.iter().map(|it| it.seed).collect();
            assert!((1..12).contains(&failed.len()), "{failed:?} fail of twelve");
            format!("{outcomes}{failed:?}\n{summary}")
        };
        let one_at_a_time = found_with(1);
        assert_eq!(found_with(2), one_at_a_time);
        assert_eq!(found_with(5), one_at_a_time);
    }
}
