//! A bug that an assertion finds tells the same story as one that a checker finds.

use std::time::Duration;

use varve_core::hooks::Mutant;
use varve_sim::run::{Outcome, RunOptions, run};

/// The first of these seeds in which the clause of this mutant is missed by an assertion of core.
fn stopped_by_an_assertion(mutant: Mutant) -> Outcome {
    let options = RunOptions {
        mutant: Some(mutant),
        trace: true,
        replays: false,
        safety: Some(Duration::from_secs(5)),
    };
    let mut outcomes = (1..=40).map(|seed| run(seed, &options));
    let by_assertion = |outcome: &Outcome| {
        let violation = outcome.violation.as_ref();
        violation.is_some_and(|violation| violation.checker == "BrokersDoNotPanic")
    };
    outcomes
        .find(by_assertion)
        .expect("one of forty seeds comes to the assertion")
}

#[test]
fn a_panic_leaves_a_trace_that_ends_with_what_the_broker_was_told() {
    let outcome = stopped_by_an_assertion(Mutant::SkipsPreviousEntryCheck);
    let violation = outcome.violation.as_ref().unwrap();
    let (node, message) = violation.what.split_once(": ").unwrap();
    assert!(node.starts_with('n'), "{violation}");
    assert!(message.contains("(core/src/"), "{violation}");
    let trace = outcome.trace.as_ref().unwrap();
    let mut events = trace.lines().filter(|line| !line.starts_with("logs "));
    let last = events.next_back().unwrap();
    assert!(
        last.contains(&format!("{node}    panics, told: ")),
        "{last}"
    );
    assert!(outcome.steps > 100 && outcome.chain != 0);
    assert!(!outcome.faults.is_empty());
}

#[test]
fn a_failure_prints_the_command_that_replays_it() {
    let outcome = stopped_by_an_assertion(Mutant::SkipsPreviousEntryCheck);
    let command = format!(
        "replay with: varve sim run --seed {} --mutant SkipsPreviousEntryCheck",
        outcome.seed
    );
    assert!(outcome.to_string().ends_with(&command), "{outcome}");
}
