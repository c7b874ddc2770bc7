//! A leader sleeps, and the others elect another. When it goes on it resigns and tells everybody that it leads no more,
//! which is true of its own epoch, and does not reach the new leader. Clients ask a broker that has no replica and knows who leads from announcements alone.
//!
//! Breaks if: the latest announcement is believed: then nobody leads as far as that broker knows, for as long as the leader has
//! nothing new to say.

use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(4).seed(6).quiet().replicas(3)
}

pub(crate) fn story(s: &mut Scenario) {
    let sleeper = s.elect_leader();
    let bystander = s.others()[0];
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    s.pause(sleeper);
    s.run_until(
        |s| {
            let mut followers = s.followers().into_iter();
            followers.any(|node| s.view(node).role == "leader")
        },
        secs(3),
    );
    let leader = s.leader();
    let d = s.client_of(bystander);
    assert_eq!(s.leader_known_to(&d), Some(leader));
    s.cut(sleeper, leader);
    s.resume(sleeper);
    s.run_for(millis(50));
    let e = s.client_of(bystander);
    assert_eq!(s.leader_known_to(&e), Some(leader));
}

#[test]
fn of_claims_on_who_leads_the_highest_epoch_wins() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
