//! A leader appends a record that reaches nobody else. Its disk loses the record, and it leads again, with a voter that
//! has less.
//!
//! Breaks if: the leader stands still for ever at the hole, which nobody can fill; or a voter denies that it ever had the
//! record while it can still forget the epoch, and with it the denial.

use varve_core::hooks::Probe;
use varve_scenarios::{Acks, Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(11).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let a = s.elect_leader();
    let [b, c] = s.followers()[..] else {
        panic!("two follow");
    };
    let client = s.client_of(a);
    s.produce_acked(&client, 2);
    s.run_until_converged(secs(1));
    s.trace();
    s.kill(b);
    s.kill(c);
    s.produce(&client, 1, Acks::All);
    s.run_until(|s| s.view(a).durable.end_offset.0 == 3, secs(1));
    s.rot(a, 2);
    s.stop(a);
    s.start(a);
    s.start(b);
    s.run_until(|s| !s.view(a).holes.is_empty(), secs(10));
    s.run_for(secs(1));
    assert_eq!(
        s.log_end_offset(a),
        3,
        "one that never had it is no majority"
    );
    s.start(c);
    s.run_until(|s| s.reached(Probe::HoleGivenUp), secs(10));
    let client = s.client();
    s.produce_acked(&client, 1);
    s.run_until_converged(secs(5));
}

#[test]
fn a_leader_gives_up_what_it_has_lost_and_a_majority_never_had() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
