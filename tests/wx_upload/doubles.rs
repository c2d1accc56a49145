//! Files that are named twice. Editors pass paths and count the lines that come back.

use std::iter;

use serde_json::{Value, json};

use crate::harness::{Gate, PATIENCE, Ran, World, key};
use stand_in::{Fault, Step};

/// The names in the result lines, each of which is one letter and `.txt`.
fn letters(ran: &Ran) -> String {
    let names = ran.lines().into_iter().map(|line| line.split('\t').next());
    names
        .map(|name| name.unwrap().trim_end_matches(".txt"))
        .collect()
}

fn world() -> World {
    World::with_files(&["a.txt", "dir/b.txt", "dir/c.txt"])
}

#[test]
fn a_file_that_is_typed_twice_has_two_lines_and_is_uploaded_once() {
    let cases: [(&[&str], &str, &str); 5] = [
        (&["a.txt", "a.txt"], "aa", "1 uploaded (5 B), 1 skipped"),
        (
            &["a.txt", "./dir/../a.txt"],
            "aa",
            "1 uploaded (5 B), 1 skipped",
        ),
        (
            &["a.txt", "dir/b.txt", "a.txt", "dir/b.txt", "a.txt"],
            "ababa",
            "2 uploaded (14 B), 3 skipped",
        ),
        (
            &["dir", "a.txt", "dir/b.txt"],
            "bcab",
            "3 uploaded (23 B), 1 skipped",
        ),
        (
            &["-j1", "a.txt", "a.txt", "dir"],
            "aabc",
            "3 uploaded (23 B), 1 skipped",
        ),
    ];
    for (arguments, wanted, counts) in cases {
        let world = world();
        let ran = world.run(arguments);
        assert_eq!(letters(ran.assert_success()), wanted, "{arguments:?}");
        assert_eq!(ran.counts(), counts);
        assert_eq!(world.count(Step::Upload), world.keys().len());
        world.assert_proper();
    }
}

#[test]
fn a_file_that_was_typed_and_is_found_again_in_a_directory_has_one_line() {
    let world = world();
    let ran = world.run(["dir/c.txt", "dir", "dir/c.txt"]);
    ran.assert_failure(
        0,
        &["note: dir/c.txt: skipped: the same file as dir/c.txt\n"],
    );
    assert_eq!(letters(&ran), "cbc");
    assert!(ran.counts().contains("2 skipped"), "{}", ran.stderr);
}

#[test]
fn each_line_stands_at_the_place_of_its_path_whatever_is_ready_first() {
    let world = world();
    let gate = Gate::default();
    world.stand_in.fault(Step::Info, key("a.txt"), gate.hold());
    let run = world.start(["a.txt", "dir/b.txt", "a.txt", "dir/c.txt", "dir/b.txt"]);
    assert!(world.stand_in.wait_for(Step::Link, 1, PATIENCE));
    gate.open();
    assert_eq!(letters(world.wait(run).assert_success()), "abacb");
}

/// The `path`s in lines of JSON.
fn paths(lines: &[Value]) -> Vec<&str> {
    let paths = lines.iter().map(|line| line["path"].as_str());
    paths.flatten().collect()
}

#[test]
fn each_line_of_json_has_the_path_that_was_typed() {
    let world = world();
    let lines = world
        .run(["-f", "json", "a.txt", "dir/b.txt", "./a.txt"])
        .json();
    assert_eq!(paths(&lines), ["a.txt", "dir/b.txt", "./a.txt"]);
    for field in ["name", "key", "size", "file_id", "url"] {
        assert_eq!(lines[0][field], lines[2][field], "{field}");
        assert!(!lines[0][field].is_null(), "{field}");
    }
}

#[test]
fn the_error_of_a_file_that_is_typed_twice_is_told_once_and_stands_in_each_line_of_json() {
    let world = world();
    let refusal = Fault::cos_error(400, "EntityTooLarge");
    world.stand_in.fault(Step::Upload, key("a.txt"), refusal);
    let ran = world.run(["-f", "json", "a.txt", "dir/b.txt", "a.txt"]);
    ran.assert_failure(1, &["error: a.txt: 上传文件失败: HTTP 400"]);
    assert_eq!(ran.stderr.matches("error: ").count(), 1, "{}", ran.stderr);
    let counts = "1 uploaded (9 B), 1 skipped, 1 failed";
    assert_eq!(ran.counts(), counts);
    let lines = ran.json();
    assert_eq!(paths(&lines), ["a.txt", "dir/b.txt", "a.txt"]);
    assert!(lines[0]["error"].is_string() && lines[0] == lines[2]);
    // Without JSON, a file that failed has no line.
    assert_eq!(letters(&world.run(["a.txt", "dir/b.txt", "a.txt"])), "b");
}

#[test]
fn a_run_that_is_stopped_still_has_a_line_at_each_place_of_what_it_uploaded() {
    let world = world();
    let gate = Gate::default();
    // The first file is not done before the second one is, and then the quota is used up.
    let used_up = gate.hold_and(|reply| *reply = json!({ "errcode": 45009, "errmsg": "used up" }));
    world.stand_in.fault(Step::Info, key("a.txt"), used_up);
    let run = world.start(["a.txt", "dir/b.txt", "a.txt", "dir/b.txt"]);
    assert!(world.stand_in.wait_for(Step::Link, 1, PATIENCE));
    gate.open();
    let ran = world.wait(run);
    ran.assert_failure(1, &["errcode 45009", "the run was stopped"]);
    assert_eq!(letters(&ran), "bb");
    let counts = "1 uploaded (9 B), 2 skipped, 1 not attempted";
    assert_eq!(ran.counts(), counts);
}

#[test]
fn a_dry_run_lists_each_upload_once() {
    let world = world();
    let ran = world.run(["-n", "a.txt", "dir/b.txt", "a.txt"]);
    assert_eq!(letters(ran.assert_success()), "ab");
    assert_eq!(ran.summary(), "2 would be uploaded (14 B), 1 skipped");
}

#[test]
fn a_file_that_the_manifest_knows_has_two_lines_too() {
    let world = world();
    let arguments = ["--manifest", "sent.jsonl", "a.txt", "a.txt"];
    let first = world.run(arguments);
    let again = world.run(arguments);
    assert_eq!(again.assert_success().lines(), first.lines());
    let counts = "0 uploaded (0 B), 1 unchanged, 1 skipped";
    assert_eq!((again.counts(), world.count(Step::Upload)), (counts, 1));
}

#[test]
fn a_file_may_be_typed_many_times() {
    let world = world();
    let many = iter::repeat_n("a.txt", 1_500).chain(["dir/b.txt", "a.txt"]);
    let ran = world.run(many);
    let wanted = format!("{}ba", "a".repeat(1_500));
    assert_eq!(letters(ran.assert_success()), wanted);
    assert_eq!(
        (world.count(Step::Upload), world.count(Step::Token)),
        (2, 1)
    );
}
