//! Runs the tests in `in_simulated_time.rs`.
//!
//! madsim replaces tokio under the whole build, by a flag that reaches every crate; so a cargo of its own builds the
//! shell again, into a target directory of its own.
#![cfg(not(madsim))]

use std::process::Command;

#[test]
fn the_shell_holds_in_simulated_time() {
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/madsim");
    let output = Command::new(env!("CARGO"))
        .args([
            "test",
            "--package",
            "varve-net",
            "--test",
            "in_simulated_time",
        ])
        .args([
            "--config",
            "build.rustflags=['--cfg','madsim']",
            "--target-dir",
            target,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        // Flags in the environment would silently take the place of those above, and no test would be left.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .expect("cargo can be started, since it has started this test");
    let told = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{complaint}");
    let passed: usize = told
        .lines()
        .find_map(|line| {
            line.strip_prefix("test result: ok. ")?
                .split(' ')
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or_default();
    assert!(
        passed > 0,
        "no test ran in simulated time:\n{told}\n{complaint}"
    );
}
