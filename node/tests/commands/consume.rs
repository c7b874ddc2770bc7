//! `varve consume`: where it begins, and how it shows records.

use std::io::Read as _;
use std::process::Stdio;

use crate::cluster::{Cluster, send_signal};

#[test]
fn reading_begins_where_it_is_told_to() {
    let cluster = Cluster::start();
    cluster.create("t", 1);
    for (value, time) in [("a\n", "1000"), ("b\n", "2000"), ("c\n", "3000")] {
        cluster
            .run(&["produce", "t", "--timestamp", time], value.as_bytes())
            .ok();
    }
    let from = |options: &[&str]| {
        let command = [&["consume", "t"], options].concat();
        cluster.run(&command, b"").text()
    };
    assert_eq!(from(&["--offset", "1"]), "b\nc\n");
    assert_eq!(from(&["--offset", "-2"]), "b\nc\n");
    assert_eq!(from(&["--offset=-1"]), "c\n");
    assert_eq!(from(&["--offset", "-100"]), "a\nb\nc\n");
    assert_eq!(from(&["--offset", "beginning"]), "a\nb\nc\n");
    assert_eq!(from(&["--offset", "end"]), "");
    assert_eq!(from(&["--offset", "3"]), "");
    assert_eq!(from(&["--from-time", "2000"]), "b\nc\n");
    assert_eq!(from(&["--from-time", "1970-01-01T00:00:02.001Z"]), "c\n");
    assert_eq!(from(&["--from-time", "1h ago"]), "");
    assert_eq!(from(&["--from-time", "0", "--max", "1"]), "a\n");
    let beyond = cluster.run(&["consume", "t", "--offset", "4"], b"");
    assert_eq!(beyond.status, 1);
    assert_eq!(
        beyond.err,
        "varve: partition 0 of topic `t`: OFFSET_OUT_OF_RANGE: it holds [0,3), and offset 4 is not in it\n"
    );
}

#[test]
fn records_are_shown_as_they_are_asked_for() {
    let cluster = Cluster::start();
    cluster.create("t", 1);
    let produce = |options: &[&str], input: &[u8]| {
        let command = [&["produce", "t", "--timestamp", "7"], options].concat();
        cluster.run(&command, input).ok();
    };
    produce(
        &["--header", "a=1,2", "--header", "n", "--key", "k\t"],
        b"(null)\n",
    );
    produce(&["--null-value"], b"\n");
    let shown = |options: &[&str]| {
        let command = [&["consume", "t"], options].concat();
        cluster.run(&command, b"").text()
    };
    assert_eq!(shown(&[]), "(null)\n\n");
    assert_eq!(shown(&["--null-value", "NULL"]), "(null)\nNULL\n");
    assert_eq!(
        shown(&["--verbose"]),
        "0\t0\t7\tk\\t\t(null)\ta=1\\x2c2,n=\\N\n0\t1\t7\t\\N\t\\N\n"
    );
    assert_eq!(
        shown(&["--format", r"%t/%p/%o@%T %k=%s (%K, %S) %h;\n"]),
        "t/0/0@7 k\t=(null) (2, 6) a=1,2,n;\nt/0/1@7 = (-1, -1) ;\n"
    );
    assert_eq!(
        shown(&[
            "--key-separator",
            "=",
            "--delimiter",
            r"\n--\n",
            "--null-value",
            "-"
        ]),
        "k\t=(null)\n--\n-=-\n--\n"
    );
}

#[test]
fn keys_and_nulls_go_through_a_pipe_too() {
    let cluster = Cluster::start();
    cluster.create("from", 1);
    cluster.create("to", 1);
    let form = [
        "--key-separator",
        r"\x01",
        "--delimiter",
        r"\x02\n",
        "--null-value",
        r"\N",
    ];
    let input = b"k\n\x01v\r\n\xff\x02\n\\N\x01\\N\x02\n\x01\x02\n";
    cluster
        .run(&[&["produce", "from"], &form[..]].concat(), input)
        .ok();
    let printed = cluster
        .run(&[&["consume", "from"], &form[..]].concat(), b"")
        .ok();
    assert_eq!(printed, input);
    cluster
        .run(&[&["produce", "to"], &form[..]].concat(), &printed)
        .ok();
    let json = |topic| {
        let text = cluster.run(&["consume", topic, "--json"], b"").text();
        let lines = text
            .lines()
            .map(|line| line.split_once("\"key\"").unwrap().1.to_owned());
        lines.collect::<Vec<_>>()
    };
    assert_eq!(json("from"), json("to"));
    assert!(json("to")[1].starts_with(":null,\"value\":null"));
}

#[test]
fn whoever_follows_a_topic_ends_well_when_interrupted() {
    let cluster = Cluster::start();
    cluster.create("t", 2);
    let mut process = cluster
        .command(&["consume", "t", "--follow"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = process.stdout.take().unwrap();
    for round in 0..3 {
        cluster.run(&["produce", "t"], b"a line\n").ok();
        let mut line = [0; 7];
        out.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"a line\n", "in round {round}");
    }
    send_signal(&process, "-INT");
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
    let ended = process.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(ended.stderr, b"");
}

#[test]
fn whoever_is_interrupted_before_the_end_ends_with_a_whole_record() {
    let cluster = Cluster::start();
    cluster.create("t", 1);
    let line = [vec![b'x'; 999], vec![b'\n']].concat();
    cluster.run(&["produce", "t"], &line.repeat(20_000)).ok();
    let mut process = cluster
        .command(&["consume", "t"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = process.stdout.take().unwrap();
    let mut read = vec![0; 5_000];
    out.read_exact(&mut read).unwrap();
    send_signal(&process, "-INT");
    // The reader goes on, slowly; nothing is torn.
    out.read_to_end(&mut read).unwrap();
    assert_eq!(read.len() % line.len(), 0, "{} bytes", read.len());
    assert!(read.chunks(line.len()).all(|record| record == line));
    let ended = process.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(said, "varve: interrupted before the end of topic `t`\n");
}
