//! Wrong calls end with status 2, before anything is tried; what fails names the topic, and ends with 1.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::cluster::{Cluster, run, send_signal, varve};

#[test]
fn a_wrong_call_is_status_2_and_asks_nobody() {
    let calls: &[&[&str]] = &[
        &[],
        &["no-such-command"],
        &["topic", "create", "a b"],
        &["topic", "create", ""],
        &["topic", "create", "t", "--partitions", "0"],
        &["topic", "create", "t", "--partitions", "-3"],
        &["topic", "create", "t", "--replication-factor", "0"],
        &["topic", "create", "t", "--config", "retention.ms"],
        &["topic", "reassign", "t", "--replicas", "1"],
        &[
            "topic",
            "reassign",
            "t",
            "--partition",
            "0",
            "--replicas",
            "1,x",
        ],
        &[
            "topic",
            "reassign",
            "t",
            "--partition",
            "0",
            "--replicas",
            "1",
            "--cancel",
        ],
        &["topic", "describe", ".."],
        &["topic", "delete", "a/b"],
        &["topic", "list", "--bootstrap", "nowhere"],
        &["produce"],
        &["produce", "a b"],
        &["produce", "t", "--key-separator", ""],
        &["produce", "t", "--key-separator", r"\q"],
        &["produce", "t", "--delimiter", ""],
        &["produce", "t", "--header", "=1"],
        &["produce", "t", "--partition", "-1"],
        &["produce", "t", "--timestamp", "yesterday"],
        &["produce", "t", "--compression", "zip"],
        &["produce", "t", "--json-lines", "--key", "k"],
        &["produce", "t", "--json-lines", "--delimiter", ";"],
        &["consume", "t", "--offset", "first"],
        &["consume", "t", "--offset", "1", "--latest"],
        &["consume", "t", "--offset", "1", "--from-time", "0"],
        &["consume", "t", "--from-time", "-1"],
        &["consume", "t", "--format", "%q"],
        &["consume", "t", "--format", ""],
        &["consume", "t", "--format", "%s", "--json"],
        &["consume", "t", "--verbose", "--json"],
        &["consume", "t", "--max", "-1"],
        &["dev", "--nodes", "0"],
        &["dev", "--set", "num.partitions"],
        &["dev", "--set", "num.partition=3"],
        &["dev", "--set", "num.partitions=many"],
        &["dev", "--set", "log.dirs=/tmp"],
        &["start"],
        &["format", "--config", "/no/such/file"],
        &["accept-loss", "--config", "/no/such/file"],
        &["sim", "run", "--seed", "x"],
    ];
    for call in calls {
        let mut command = varve();
        command.args(*call);
        let ended = run(command, b"");
        assert_eq!(ended.status, 2, "{call:?}: {ended:?}");
        assert_ne!(ended.err, "", "{call:?}");
        assert_eq!(ended.out, b"", "{call:?}");
    }
}

#[test]
fn a_program_is_told_of_a_wrong_call_as_of_any_failure() {
    let mut command = varve();
    command.args(["consume", "t", "--offset", "first", "--json"]);
    let ended = run(command, b"");
    assert_eq!(ended.status, 2);
    let told: Value = serde_json::from_str(&ended.err).unwrap();
    let words = told["error"].as_str().unwrap();
    assert!(words.contains("-N for the last N records"), "{words}");
}

#[test]
fn help_and_version_are_no_wrong_calls() {
    for call in [
        &["--help"][..],
        &["--version"],
        &["produce", "--help"],
        &["consume", "-h"],
    ] {
        let mut command = varve();
        command.args(call);
        assert_ne!(run(command, b"").ok(), b"");
    }
}

#[test]
fn what_fails_names_the_topic() {
    let cluster = Cluster::start();
    cluster.create("known", 1);
    let calls: &[&[&str]] = &[
        &["topic", "create", "known"],
        &["topic", "create", "other", "--config", "no.such=1"],
        &["topic", "create", "other", "--replication-factor", "9"],
        &["topic", "describe", "missing"],
        &["topic", "delete", "missing"],
        &["produce", "missing"],
        &["produce", "known", "--partition", "7"],
        &["consume", "missing"],
        &["consume", "known", "--partition", "7"],
        &["consume", "known", "--offset", "7"],
    ];
    for call in calls {
        let ended = cluster.run(call, b"a line\n");
        assert_eq!(ended.status, 1, "{call:?}: {ended:?}");
        let topic = ["known", "other", "missing"]
            .into_iter()
            .find(|name| call.contains(name));
        let topic = format!("topic `{}`", topic.unwrap());
        assert!(ended.err.contains(&topic), "{call:?}: {}", ended.err);
    }
}

#[test]
fn a_fuzz_that_is_asked_to_stop_says_what_it_has_run() {
    let mut fuzz = varve();
    fuzz.args(["sim", "fuzz", "--for", "1h", "--mutant", "CountsLearners"]);
    fuzz.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut fuzz = fuzz.spawn().unwrap();
    // Once a seed has failed it runs, and knows what to do with signals.
    let mut errors = BufReader::new(fuzz.stderr.take().unwrap());
    errors.read_line(&mut String::new()).unwrap();
    send_signal(&fuzz, "-TERM");
    std::io::copy(&mut errors, &mut std::io::sink()).unwrap();
    let ended = fuzz.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let summary = String::from_utf8(ended.stdout).unwrap();
    assert!(summary.contains(" seeds, "), "{summary}");
}
