//! A run can demand progress of a few nodes while the others stay broken.

use std::time::Duration;

use varve_sim::liveness::HealedFirst;
use varve_sim::run::{RunOptions, run};

#[test]
fn a_core_makes_progress_while_the_others_are_broken() {
    let options = RunOptions {
        safety: Some(Duration::from_secs(3)),
        ..RunOptions::default()
    };
    let healed_a_core = |seed: &u64| {
        let outcome = run(*seed, &options);
        assert_eq!(outcome.violation, None, "{outcome}");
        match outcome.healed_first {
            HealedFirst::Core(core) => {
                assert!(!core.nodes.is_empty() && !core.rest.is_empty());
                true
            }
            HealedFirst::Everything => false,
            HealedFirst::Nothing => panic!("seed {seed} came to no end"),
        }
    };
    let cores = (1..=10).filter(healed_a_core).count();
    assert!((1..10).contains(&cores), "{cores} of ten seeds");
}
