//! `varve produce`: every option, and what is said when not everything is written.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::cluster::{Cluster, CommandOutput, run, send_signal};

fn records(cluster: &Cluster, topic: &str) -> Vec<Value> {
    let text = cluster.run(&["consume", topic, "--json"], b"").text();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn failed(ended: &CommandOutput, words: &str) {
    assert_eq!(ended.status, 1, "{ended:?}");
    assert!(ended.err.contains(words), "{}", ended.err);
    assert_eq!(ended.out, b"");
}

#[test]
fn options_make_the_records() {
    let cluster = Cluster::start();
    cluster.create("t", 3);
    let options = [
        "produce",
        "t",
        "--key",
        "k",
        "--header",
        "a=1",
        "--header",
        "b",
        "--header",
        "a=x=y",
        "--partition",
        "2",
        "--timestamp",
        "2026-01-31T12:00:00Z",
        "--null-value",
        "NULL",
        "--delimiter",
        r"\0",
    ];
    cluster.run(&options, b"one\n\0NULL\0").ok();
    let record = |offset, value: Value| {
        json!({
            "partition": 2, "offset": offset, "timestamp": 1_769_860_800_000_i64, "key": "k",
            "value": value, "headers": [["a", "1"], ["b", null], ["a", "x=y"]],
        })
    };
    assert_eq!(
        records(&cluster, "t"),
        [record(0, json!("one\n")), record(1, Value::Null)]
    );
}

#[test]
fn what_consume_prints_as_json_is_taken_back_unchanged() {
    let cluster = Cluster::start();
    for topic in ["from", "to", "one"] {
        cluster.create(topic, if topic == "one" { 1 } else { 3 });
    }
    let input = b"k1\t\xff\xfe\0\nk2\t\n\tv\r\nk3\tNULL\nNULL\t\"\\\n";
    let options = [
        "produce",
        "from",
        "--key-separator",
        r"\t",
        "--null-value=NULL",
        "--header",
        "h=\u{e9}",
        "--header",
        "null",
    ];
    cluster.run(&options, input).ok();
    let printed = cluster.run(&["consume", "from", "--json"], b"").ok();
    assert_eq!(printed.iter().filter(|&&byte| byte == b'\n').count(), 5);
    cluster
        .run(&["produce", "to", "--json-lines"], &printed)
        .ok();
    assert_eq!(cluster.run(&["consume", "to", "--json"], b"").ok(), printed);

    // Where there are fewer partitions, another may be named.
    let refused = cluster.run(&["produce", "one", "--json-lines"], &printed);
    failed(&refused, "topic `one` has no partition");
    let named = ["produce", "one", "--json-lines", "--partition", "0"];
    cluster.run(&named, &printed).ok();
    assert!(records(&cluster, "one").len() >= 5);
}

#[test]
fn a_line_that_is_no_record_is_named_and_those_before_it_are_written() {
    let cluster = Cluster::start();
    cluster.create("t", 1);
    let input = b"{\"value\":\"a\"}\n{\"value\":\"b\"}\n{\"vaule\":\"c\"}\n{\"value\":\"d\"}\n";
    let ended = cluster.run(&["produce", "t", "--json-lines"], input);
    failed(
        &ended,
        "line 3: it is no record as JSON: unknown field `vaule`",
    );
    failed(&ended, "; the first 2 lines are written and acknowledged\n");
    assert_eq!(cluster.run(&["consume", "t"], b"").ok(), b"a\nb\n");

    let input = b"{\"value\":\"c\"}\n{\"value\":\"d\",\"partition\":7}\n";
    let ended = cluster.run(&["produce", "t", "--json-lines"], input);
    failed(
        &ended,
        "line 2: UNKNOWN_TOPIC_OR_PARTITION: topic `t` has no partition 7",
    );
    failed(&ended, "; the first line is written and acknowledged\n");
    assert_eq!(cluster.run(&["consume", "t"], b"").ok(), b"a\nb\nc\n");

    let ended = cluster.run(&["produce", "t", "--json-lines", "--json"], b"[]\n");
    assert_eq!(ended.status, 1);
    let told: Value = serde_json::from_str(&ended.err).unwrap();
    assert_eq!(told["line"], 1);
    assert_eq!(told["lines_written"], 0);
}

#[test]
fn a_line_that_is_too_large_is_named_and_those_before_it_are_written() {
    let cluster = Cluster::start();
    cluster.create("t", 1);
    let input = [b"a\nb\n", &vec![b'x'; 2_000_000][..], b"\nc\n"].concat();
    let ended = cluster.run(&["produce", "t"], &input);
    failed(&ended, "line 3: a record of ");
    failed(
        &ended,
        "bytes is too large for topic `t`, whose max.message.bytes is 1048588",
    );
    failed(&ended, "; the first 2 lines are written and acknowledged\n");
    assert_eq!(cluster.run(&["consume", "t"], b"").ok(), b"a\nb\n");
}

#[test]
fn a_key_separator_that_is_never_found_is_an_error_and_nothing_is_written() {
    let cluster = Cluster::start();
    cluster.create("t", 1);
    let options = ["produce", "t", "--key-separator", r"\t"];
    let ended = cluster.run(&options, b"a;b\nc;d\n");
    failed(
        &ended,
        r"the key separator `\t` is in none of 2 lines; no line is written",
    );
    let long = b"a;b\n".repeat(1_000_000);
    let ended = cluster.run(&options, &long);
    failed(
        &ended,
        r"the key separator `\t` is in none of 10001 lines; no line is written",
    );
    assert_eq!(cluster.run(&["consume", "t"], b"").ok(), b"");
    // No line is none that lacks it; and a line may.
    cluster.run(&options, b"").ok();
    cluster.run(&options, b"a\nb\tc\n").ok();
    assert_eq!(records(&cluster, "t")[0]["key"], Value::Null);
    assert_eq!(records(&cluster, "t")[1]["key"], "b");
}

#[test]
fn whoever_is_interrupted_says_how_many_lines_are_written() {
    let cluster = Cluster::start();
    cluster.create("t", 1);
    let mut process = cluster
        .command(&["produce", "t"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(b"a\nb\nc\nnot ended").unwrap();
    stdin.flush().unwrap();
    for _ in 0..200 {
        sleep(Duration::from_millis(50));
        if cluster.run(&["consume", "t"], b"").ok() == b"a\nb\nc\n" {
            break;
        }
    }
    send_signal(&process, "-INT");
    let ended = process.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(ended.stderr).unwrap(),
        "varve: interrupted; the first 3 lines are written and acknowledged\n"
    );
    assert_eq!(cluster.run(&["consume", "t"], b"").ok(), b"a\nb\nc\n");
    drop(stdin);
}

#[test]
fn whoever_waits_for_a_broker_that_is_paused_can_be_interrupted() {
    let cluster = Cluster::start();
    cluster.create("t", 1);
    let mut process = cluster
        .command(&["produce", "t"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(b"a\n").unwrap();
    while cluster.run(&["consume", "t"], b"").ok() != b"a\n" {
        sleep(Duration::from_millis(50));
    }
    cluster.signal("-STOP");
    stdin.write_all(b"b\n").unwrap();
    drop(stdin);
    sleep(Duration::from_millis(500));
    let begun = Instant::now();
    send_signal(&process, "-INT");
    let ended = process.wait_with_output().unwrap();
    cluster.signal("-CONT");
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(ended.stderr).unwrap(),
        "varve: interrupted; 1 line is written and acknowledged\n"
    );
}

#[test]
fn input_that_is_empty_or_cannot_be_read_is_said() {
    let cluster = Cluster::start();
    cluster.create("t", 1);
    let said = cluster.run(&["produce", "t"], b"").text();
    assert_eq!(said, "0 records written to t, all acknowledged\n");
    let missing = cluster.run(&["produce", "t", "--file", "/no/such/file"], b"");
    assert_eq!(missing.status, 2, "a wrong call: {missing:?}");
    assert!(
        missing
            .err
            .contains("/no/such/file: No such file or directory"),
        "{missing:?}"
    );
    let directory = cluster.run(&["produce", "t", "--file", "/"], b"");
    failed(
        &directory,
        "/: Is a directory (os error 21); no line is written",
    );
    // A standard input that is closed is an empty one.
    let mut closed = Command::new("sh");
    closed.args(["-c", "exec \"$0\" \"$@\" <&-", env!("CARGO_BIN_EXE_varve")]);
    closed.args(["produce", "t", "--bootstrap", &cluster.bootstrap()]);
    let said = run(closed, b"").text();
    assert_eq!(said, "0 records written to t, all acknowledged\n");
}

#[test]
fn the_time_of_an_append_lies_between_request_and_answer() {
    let cluster = Cluster::start();
    let stamped = ["--config", "message.timestamp.type=LogAppendTime"];
    let create = ["topic", "create", "t"];
    cluster.run(&[&create[..], &stamped].concat(), b"").ok();
    let now = || {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        i64::try_from(since.unwrap().as_millis()).unwrap()
    };
    let mut times = Vec::new();
    for _ in 0..10 {
        let before = now();
        cluster
            .run(&["produce", "t", "--partition", "0"], b"a\n")
            .ok();
        times.push(before..=now());
    }
    let records = records(&cluster, "t");
    let stamps = records
        .iter()
        .map(|record| record["timestamp"].as_i64().unwrap());
    for (stamp, time) in stamps.zip(&times) {
        assert!(time.contains(&stamp), "{stamp} is not in {time:?}");
    }
    assert_eq!(records.len(), times.len());
}
