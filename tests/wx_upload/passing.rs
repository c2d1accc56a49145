//! Passing trouble on this machine: it is waited for, and nothing is lost.

use std::io::{self, BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;

use serde_json::json;
use socket2::SockRef;
use stand_in::Step;

use crate::harness::{
    PATIENCE, Streams, World, not_on_windows, read_line, side_by_side, spawn_with,
};
use crate::unix::{after, is_installed, skipped};

/// Takes a write lease on a file, says so, and gives it back when somebody opens the file.
const LEASE: &str = r#"
    $| = 1;
    $SIG{IO} = sub { exit 0 };
    open(my $file, "+<", $ARGV[0]) or die;
    fcntl($file, 1024, 1) or die; # F_SETLEASE, F_WRLCK
    print "leased\n";
    sleep 100;
"#;

#[test]
fn a_file_under_a_write_lease_is_tried_again() {
    if not_on_windows("leases") {
        return;
    }
    let world = World::with_files(&["a.txt"]);
    if !is_installed("perl") {
        return skipped("perl");
    }
    let mut command = Command::new("perl");
    command.args(["-e", LEASE]).arg(world.path("a.txt"));
    let mut holder = spawn_with(Streams::piped(), command);
    let is_leased = read_line(holder.stdout.as_mut().unwrap()) == "leased\n";
    let ran = world.run(["a.txt"]);
    let was_met = holder.wait().unwrap().success();
    if !is_leased {
        return skipped("a system that gives leases");
    }
    ran.assert_success();
    assert!(was_met);
    assert_eq!(world.keys(), ["temp3/a.txt"]);
}

/// A stream that does not wait, and what comes out of its other end.
fn non_blocking() -> (OwnedFd, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    SockRef::from(&theirs)
        .set_send_buffer_size(4 << 10)
        .unwrap();
    (theirs.into(), ours)
}

#[test]
fn a_non_blocking_standard_output_is_waited_for() {
    const FILES: usize = 300;
    let world = World::with_many(FILES);
    let (stdout, reader) = non_blocking();
    let streams = Streams {
        stdout: Stdio::from(stdout),
        ..Streams::piped()
    };
    let child = spawn_with(streams, world.command(["files"]));
    // By then the stream was full many times.
    assert!(world.stand_in.wait_for(Step::Upload, FILES, PATIENCE));
    let lines =
        thread::spawn(|| -> io::Result<Vec<_>> { BufReader::new(reader).lines().collect() });
    world.wait(child).assert_success();
    let lines = lines.join().unwrap().unwrap();
    assert_eq!(lines.len(), FILES);
    for (n, line) in lines.iter().enumerate() {
        let columns: Vec<_> = line.split('\t').collect();
        assert_eq!(columns.len(), 3, "{line}");
        assert_eq!(columns[0], format!("{n:03}"));
        assert!(columns[2].ends_with(&format!("/temp3/{n:03}")), "{line}");
    }
}

#[test]
fn with_few_open_files_and_many_jobs_a_new_token_is_saved() {
    if not_on_windows("ulimit") {
        return;
    }
    let mut cases = Vec::new();
    for limit in (12..=80).step_by(4) {
        for has_old in [false, true] {
            let name = format!("{limit} open files, an old token: {has_old}");
            cases.push((name, (limit, has_old)));
        }
    }
    side_by_side(cases, |(limit, has_old)| {
        let world = World::with_many(64);
        if has_old {
            world.save_token("old", json!({}));
            world.stand_in.kill_tokens();
        }
        let command = world.command(["-j", "64", "files"]);
        let ran = world.finish(after(&format!("ulimit -n {limit}"), &command));
        ran.assert_success();
        let token = &world.stand_in.tokens_issued()[0];
        assert_eq!(world.config()["access_token"], **token);
        assert_eq!(world.count(Step::Token), 1);
        assert_eq!(world.keys().len(), 64);
    });
}
