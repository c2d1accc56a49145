//! Limits of the system, and limits for replies: a run works within them, or ends with a sentence.

use stand_in::{Certificate, Fault, StandIn, Step, When, file_id_of};

use crate::harness::{PATIENCE, World, not_on_windows, side_by_side};
use crate::unix::after;

// ---- Limits of the system -------------------------------------------------------------------------------

#[test]
fn with_few_open_files_a_run_works_or_ends_with_a_sentence() {
    if not_on_windows("ulimit") {
        return;
    }
    let limits = (3..=20).map(|limit| (format!("{limit} open files"), limit));
    side_by_side(limits, |limit| {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
        let world = World::with_files(&names);
        let command = world.command(["--retries", "1", "-j", "8", "."]);
        let ran = world.finish(after(&format!("ulimit -n {limit}"), &command));
        match ran.status {
            // Only a binary that is not static has this loader.
            Some(127) => assert!(ran.stderr.contains("shared libraries"), "{}", ran.stderr),
            _ => ran.assert_ended(names.len()),
        }
    });
}

#[test]
fn with_a_small_stack_a_deep_tree_is_listed() {
    if not_on_windows("ulimit") {
        return;
    }
    let world = World::http();
    let (deep, deeper) = ("d/".repeat(400), "e/".repeat(450));
    world.file(format!("dir/{deep}good.txt"), "good");
    world.file(format!("dir/{deeper}too-deep.txt"), "too deep");
    let command = world.command(["-r", "dir"]);
    let ran = world.finish(after("ulimit -s 1024", &command));
    ran.assert_failure(1, &["error: dir/e/e", "850 bytes"]);
    assert_eq!((ran.count("uploaded"), ran.count("failed")), (1, 1));
    assert_eq!(world.keys(), [format!("temp3/{deep}good.txt")]);
}

// ---- Limits for replies ---------------------------------------------------------------------------------

/// A proper reply with spaces at its end, which make it `length` bytes long.
fn padded(length: usize) -> Fault {
    Fault::edit_bytes(move |reply| {
        let head = reply.windows(4).position(|end| end == b"\r\n\r\n");
        let mut body = reply.split_off(head.unwrap() + 4);
        body.resize(length, b' ');
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
        *reply = format!("{head}Content-Length: {length}\r\n\r\n").into();
        reply.extend(body);
    })
}

#[test]
fn a_reply_may_have_64_kib_and_one_with_links_1_mib() {
    let cases = [
        (Step::Token, 64 << 10),
        (Step::Info, 64 << 10),
        (Step::Link, 1 << 20),
    ];
    let cases = cases.map(|(step, most)| (format!("{step:?}"), (step, most)));
    side_by_side(cases, |(step, most)| {
        let run_with_reply_of = |length| {
            let world = World::with_files(&["a.txt"]);
            world.stand_in.fault(step, When::Always, padded(length));
            world.run(["--retries", "0", "a.txt"])
        };
        run_with_reply_of(most - 1).assert_success();
        let longer = format!("its reply is longer than {} KiB", most >> 10);
        run_with_reply_of(most + 1).assert_failure(1, &[&longer]);
    });
}

#[test]
fn links_that_wait_for_a_slow_first_file_take_little_memory() {
    const FILES: usize = 1000;
    let world = World::with_many(FILES);
    world
        .stand_in
        .fault(Step::Upload, When::Nth(1), Fault::Hold);
    let long = format!("https://x/{}", " ".repeat(1_000_000 / 50));
    let answer = Fault::edit(move |reply| {
        for entry in reply["file_list"].as_array_mut().unwrap() {
            entry["download_url"] = long.as_str().into();
        }
    });
    world.stand_in.fault(Step::Link, When::Always, answer);
    let child = world.start(["-j", "2", "files"]);
    assert!(world.stand_in.wait_for(Step::Upload, FILES, PATIENCE));
    world.stand_in.open_gate();
    let ran = world.wait(child);
    ran.assert_failure(1, &["its link is longer than 8 KiB"]);
    // Up to eight calls at once have a reply of 1 MiB each. All links together have 20 MB.
    assert!(ran.peak_kib < 32 << 10, "{} KiB", ran.peak_kib);
}

#[test]
fn a_file_id_may_have_4_kib() {
    let of_length = |length: usize| {
        let name = "/temp3/a.txt";
        let place = "x".repeat(length - file_id_of(name).len());
        let file_id = file_id_of(&format!("{place}{name}"));
        Fault::edit(move |reply| reply["file_id"] = file_id.as_str().into())
    };
    let cases: [(usize, &[&str]); 2] = [
        (4096, &["获取下载链接失败: "]), // the stand-in knows no such file
        (4097, &["获取文件上传链接失败: ", "`file_id`"]),
    ];
    for (length, words) in cases {
        let world = World::with_files(&["a.txt"]);
        let fault = of_length(length);
        world.stand_in.fault(Step::Info, When::Always, fault);
        let ran = world.run(["--retries", "0", "a.txt"]);
        ran.assert_failure(1, words);
    }
}

#[test]
fn a_certificate_with_800_names_is_reported_in_a_readable_line() {
    let world = World::with(StandIn::https_with(Certificate::ManyOtherHosts));
    world.file("a.txt", "a");
    let ran = world.run(["a.txt"]);
    ran.assert_failure(1, &["certificate", "other0.example", "another server"]);
    for line in ran.stderr.lines() {
        assert!(line.chars().count() <= 600, "{line}");
    }
}
