//! Every scenario, in one binary: what is told, claimed and shown stands in the scenario's own file.

mod deposed_leader;
