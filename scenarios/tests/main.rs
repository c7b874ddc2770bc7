//! Every scenario, in one binary: what is told, claimed and shown stands in the scenario's own file.

mod amnesiac_voter;
mod asymmetric_partition;
mod completion_of_another_append;
mod controller_lost;
mod crash_before_sync;
mod deposed_leader;
mod disk_that_hangs;
mod divergence;
mod dropped_opening;
mod duplicate_across_failover;
mod early_duplicate;
mod elections;
mod failing_fsync;
mod leader_back_too_soon;
mod nobody_may_lead;
mod phantom_epoch;
mod power_cut_of_all;
mod rolling_restart;
mod rot_below_the_durable_end;
mod rot_under_a_reader;
mod second_restart;
mod sleeper;
mod slow_follower;
mod torn_tail;
mod two_authorities;
mod unreachable_leader;
