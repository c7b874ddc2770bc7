//! What goes in comes out, byte for byte.

use crate::cluster::Cluster;

#[test]
fn values_go_through_byte_for_byte() {
    let cluster = Cluster::start();
    let every_byte: Vec<u8> = (0..=255).filter(|&byte| byte != b'\n').collect();
    let long = vec![b'x'; 300_000];
    let cases: [&[u8]; 6] = [
        b"",
        b"x\r\n",
        b"\n\nafter two empty ones\n",
        b"(null)\n\xff\xfe\0\x01\n",
        &[&every_byte[..], b"\n", &every_byte, b"\n"].concat(),
        &[&long[..], b"\n", &long, b"\n"].concat(),
    ];
    for (index, input) in cases.into_iter().enumerate() {
        let topic = format!("t{index}");
        cluster.create(&topic, 1);
        cluster.run(&["produce", &topic], input).ok();
        assert_eq!(cluster.run(&["consume", &topic], b"").ok(), input);
    }
}

#[test]
fn a_last_line_is_a_record_also_without_its_end() {
    let cluster = Cluster::start();
    cluster.create("t", 1);
    let said = cluster.run(&["produce", "t"], b"a\nb").text();
    assert_eq!(said, "2 records written to t, all acknowledged\n");
    assert_eq!(cluster.run(&["consume", "t"], b"").ok(), b"a\nb\n");
}

#[test]
fn json_marks_what_is_no_utf8_and_columns_show_it_as_escapes() {
    let cluster = Cluster::start();
    cluster.create("t", 1);
    let separator = ["produce", "t", "--key-separator", ":"];
    cluster
        .run(&separator, b"k\t:\xff\xfe\0\x01\n(null):\\N\n")
        .ok();
    let json = cluster.run(&["consume", "t", "--json"], b"").text();
    let lines: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["key"], "k\t");
    assert_eq!(lines[0]["value"]["base64"], "//4AAQ==");
    assert_eq!(lines[1]["key"], "(null)");
    assert_eq!(lines[1]["value"], "\\N");
    let columns = cluster.run(&["consume", "t", "--verbose"], b"").text();
    let columns: Vec<Vec<&str>> = columns
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!(columns[0][3..], ["k\\t", "\\xff\\xfe\\x00\\x01"]);
    assert_eq!(columns[1][3..], ["(null)", "\\\\N"]);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    use std::io::Read as _;
    use std::process::Stdio;

    let cluster = Cluster::start();
    cluster.create("t", 1);
    let input = [vec![b'x'; 99], vec![b'\n']].concat().repeat(50_000);
    cluster.run(&["produce", "t"], &input).ok();
    let mut reading = cluster
        .command(&["consume", "t"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = reading.stdout.take().unwrap();
    let mut begin = [0; 100];
    pipe.read_exact(&mut begin).unwrap();
    drop(pipe);
    let ended = reading.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(ended.stderr, b"");
}
