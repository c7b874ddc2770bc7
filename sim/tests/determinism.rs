//! The same seed gives the same run, step by step, in another process too.

use std::process::Command;

use varve_sim::run::{RunOptions, run};

const SEEDS: std::ops::Range<u64> = 100..104;

fn chains() -> String {
    let options = RunOptions {
        safety: Some(std::time::Duration::from_secs(3)),
        ..RunOptions::default()
    };
    SEEDS
        .map(|seed| {
            let outcome = run(seed, &options);
            assert!(outcome.steps > 100, "seed {seed} ran");
            format!("chain {seed} {:016x} {}\n", outcome.chain, outcome.steps)
        })
        .collect()
}

/// Run by the test below in a process of its own; by itself it shows that a run can be repeated.
#[test]
fn prints_the_chains_of_some_seeds() {
    print!("{}", chains());
}

#[test]
fn two_processes_arrive_at_the_same_state_hash_chains() {
    let here = chains();
    let there = Command::new(std::env::current_exe().unwrap())
        .args(["prints_the_chains_of_some_seeds", "--exact", "--nocapture"])
        .output()
        .unwrap();
    assert!(there.status.success());
    let printed = String::from_utf8(there.stdout).unwrap();
    let there: String = printed
        .lines()
        .filter(|line| line.starts_with("chain "))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(there, here);
}

/// Nothing enters a broker but what its inputs say: told the same, another one orders the same.
#[test]
fn a_fresh_broker_that_is_told_the_same_orders_the_same() {
    let options = RunOptions {
        replays: true,
        ..RunOptions::default()
    };
    for seed in SEEDS {
        let outcome = run(seed, &options);
        assert!(outcome.violation.is_none(), "{outcome}");
    }
}

/// The first thing that a reader can hold against the program, on any machine.
#[test]
fn the_readme_shows_what_seed_3_prints() {
    let readme = include_str!("../../README.md");
    let outcome = run(3, &RunOptions::default());
    let printed = format!("{outcome:#}");
    assert!(
        readme.contains(&format!("$ varve sim run --seed 3\n{printed}\n```")),
        "README.md is to show:\n{printed}"
    );
}
