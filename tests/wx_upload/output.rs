//! The output: the four formats, errors, the summary, and when each line comes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Write};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    Gate, PATIENCE, Ran, Streams, World, can_be_named, file_id, key, not_on_windows,
    not_under_wine, read_line, spawn_with, wait_until,
};
use stand_in::{Fault, Step, When};

/// Edits the entry for `name` in a reply with links.
fn edit_link(name: &str, edit: impl Fn(&mut Value) + Send + Sync + 'static) -> Fault {
    let fileid = file_id(name);
    Fault::edit(move |reply| {
        let entries = reply["file_list"].as_array_mut().into_iter().flatten();
        entries
            .filter(|entry| entry["fileid"] == *fileid)
            .for_each(&edit);
    })
}

/// Whether the program has asked for the link of this file.
fn is_link_asked_for(world: &World, name: &str) -> bool {
    let calls = world.stand_in.requests(Step::Link);
    let file_id = file_id(name);
    calls.iter().any(|call| {
        let files = call.json()["file_list"].as_array().cloned();
        files
            .unwrap_or_default()
            .iter()
            .any(|file| file["fileid"] == *file_id)
    })
}

// ---- The formats --------------------------------------------------------------------------------

#[test]
fn each_format_has_its_line_for_a_file() {
    for (format, line) in [
        ("text", "a.txt\tBASE/download/temp3/a.txt\tFILE_ID\n"),
        ("url", "BASE/download/temp3/a.txt\n"),
        ("markdown", "[a.txt](BASE/download/temp3/a.txt)\n"),
        (
            "json",
            "{\"name\":\"a.txt\",\"path\":\"some/a.txt\",\"key\":\"temp3/a.txt\",\"size\":10,\
             \"file_id\":\"FILE_ID\",\"url\":\"BASE/download/temp3/a.txt\"}\n",
        ),
    ] {
        let world = World::with_files(&["some/a.txt"]);
        let expected = line
            .replace("BASE", &world.stand_in.base())
            .replace("FILE_ID", &file_id("a.txt"));
        assert_eq!(
            world
                .run(["some/a.txt", "-f", format])
                .assert_success()
                .stdout,
            expected
        );
        assert_eq!(
            world.stand_in.objects()["temp3/a.txt"].file_id,
            file_id("a.txt")
        );
        world.assert_proper();
    }
}

#[test]
fn the_format_is_text_unless_another_is_asked_for() {
    let world = World::with_files(&["a.txt"]);
    let by_default = world.run(["a.txt"]);
    assert_eq!(
        by_default.assert_success().stdout,
        world.run(["a.txt", "-f", "text"]).stdout
    );
    assert_eq!(by_default.lines()[0].split('\t').count(), 3);
}

#[test]
fn a_failed_file_is_a_line_in_json_and_none_in_the_other_formats() {
    for format in ["text", "url", "markdown", "json"] {
        let world = World::with_files(&["dir/a.txt", "dir/b.txt", "dir/c.txt"]);
        world.stand_in.fault(
            Step::Upload,
            key("a.txt"),
            Fault::cos_error(400, "EntityTooLarge"),
        );
        world.stand_in.fault(
            Step::Link,
            When::Always,
            edit_link("b.txt", |entry| {
                entry["errmsg"] = "STORAGE_FILE_NONEXIST".into()
            }),
        );
        let ran = world.run(["dir", "-f", format]);
        ran.assert_failure(
            1,
            &[
                "error: dir/a.txt: 上传文件失败: ",
                "error: dir/b.txt: 获取下载链接失败: ",
            ],
        );
        if format != "json" {
            assert_eq!(ran.lines().len(), 1, "{}", ran.stdout);
            assert!(
                ran.stdout.contains("/download/temp3/c.txt"),
                "{}",
                ran.stdout
            );
            continue;
        }
        let [a, b, c] = <[Value; 3]>::try_from(ran.json()).unwrap();
        let error = a["error"].as_str().unwrap();
        assert!(
            error.starts_with("上传文件失败: ") && error.contains("EntityTooLarge"),
            "{error}"
        );
        assert_eq!(
            a,
            json!({ "name": "a.txt", "path": "dir/a.txt", "key": "temp3/a.txt", "error": error })
        );
        let error = b["error"].as_str().unwrap();
        assert!(error.starts_with("获取下载链接失败: "), "{error}");
        let uploaded = file_id("b.txt");
        assert_eq!(
            b,
            json!({ "name": "b.txt", "path": "dir/b.txt", "key": "temp3/b.txt", "error": error, "file_id": uploaded })
        );
        assert_eq!((&c["name"], c.get("error")), (&json!("c.txt"), None));
    }
}

#[test]
fn names_are_relative_to_the_given_directory_in_every_format() {
    for (format, starts) in [
        ("text", ["a b.txt\t", "子/图.png\t"]),
        ("markdown", ["[a b.txt](", "![子/图.png]("]),
        (
            "json",
            ["{\"name\":\"a b.txt\",", "{\"name\":\"子/图.png\","],
        ),
    ] {
        let world = World::with_files(&["some/where/a b.txt", "some/where/子/图.png"]);
        let ran = world.run(["-r", "some/where", "-f", format]);
        for (line, start) in ran.assert_success().lines().into_iter().zip(starts) {
            assert!(line.starts_with(start), "{line}");
        }
        assert_eq!(ran.lines().len(), 2);
        world.assert_proper();
    }
}

#[test]
fn markdown_shows_images_and_names_the_rest_and_survives_brackets() {
    for (name, line) in [
        ("图.png", "![图.png](URL)"),
        ("a.JPEG", "![a.JPEG](URL)"),
        ("a.svg", "![a.svg](URL)"),
        ("a.pdf", "[a.pdf](URL)"),
        ("a.mp4", "[a.mp4](URL)"),
        ("png", "[png](URL)"),
        ("a [1](2).png", r"![a \[1\](2).png](URL)"),
        ("](x.txt", r"[\](x.txt](URL)"),
        (r"back\slash.txt", r"[back\\slash.txt](URL)"),
    ] {
        if !can_be_named(name) {
            continue;
        }
        let world = World::with_files(&[name]);
        let ran = world.run([name, "-f", "markdown"]);
        let (before, url) = line.split_once("URL").unwrap();
        let printed = ran.assert_success().stdout.trim_end();
        assert!(
            printed.starts_with(before) && printed.ends_with(url),
            "{printed}"
        );
        let link = &printed[before.len()..printed.len() - url.len()];
        assert!(link.starts_with(&world.stand_in.base()), "{link}");
        assert!(!link.contains(['(', ')', ' ']), "{link}");
    }
}

#[test]
fn markdown_encodes_characters_that_would_end_a_link() {
    let world = World::with_files(&["a.txt"]);
    let edit = edit_link("a.txt", |entry| {
        entry["download_url"] = "https://x.example/a (1).txt?sign=a)b".into()
    });
    world.stand_in.fault(Step::Link, When::Once, edit);
    let ran = world.run(["a.txt", "-f", "markdown"]);
    assert_eq!(
        ran.stdout,
        "[a.txt](https://x.example/a%20%281%29.txt?sign=a%29b)\n"
    );
}

// ---- Order and time ----------------------------------------------------------------------------

#[test]
fn a_line_is_printed_in_input_order_as_soon_as_all_files_up_to_it_are_done() {
    let world = World::with_files(&["dir/a", "dir/b", "dir/c", "dir/d"]);
    world.stand_in.fault(Step::Upload, key("b"), Fault::Hold);
    let mut child = world.start(["dir", "-j", "3"]);
    let (send, lines) = mpsc::channel();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let reader = thread::spawn(move || {
        stdout
            .lines()
            .for_each(|line| drop(send.send(line.unwrap())))
    });
    let first = lines
        .recv_timeout(PATIENCE)
        .expect("the first line while the second file is under way");
    assert!(first.starts_with("a\t"), "{first}");
    // The files after it are done, too. Their lines have to wait.
    wait_until("the links of c and d are asked for", || {
        ["c", "d"]
            .iter()
            .all(|name| is_link_asked_for(&world, name))
    });
    assert_eq!(
        lines.recv_timeout(Duration::from_millis(100)),
        Err(mpsc::RecvTimeoutError::Timeout)
    );
    world.stand_in.open_gate();
    let ran = world.wait(child);
    reader.join().unwrap();
    let rest: Vec<_> = lines
        .try_iter()
        .map(|line| line.split('\t').next().unwrap().to_owned())
        .collect();
    assert_eq!(
        (ran.status, rest),
        (Some(0), ["b", "c", "d"].map(String::from).to_vec())
    );
    world.assert_proper();
}

#[test]
fn results_are_in_input_order_when_uploads_finish_in_reverse() {
    let names = ["a", "b", "c", "d", "e"];
    let world = World::with_files(&names);
    let gates = names.map(|name| (name, Gate::default()));
    for (name, gate) in &gates {
        world.stand_in.fault(Step::Info, key(name), gate.hold());
    }
    let child = world.start(["-f", "json"].iter().chain(&names));
    for (name, gate) in gates.iter().rev() {
        gate.open();
        wait_until("the next link is asked for", || {
            is_link_asked_for(&world, name)
        });
    }
    let ran = world.wait(child);
    let printed: Vec<_> = ran
        .assert_success()
        .json()
        .iter()
        .map(|object| object["name"].clone())
        .collect();
    assert_eq!(printed, names);
}

// ---- Failures -----------------------------------------------------------------------------------

#[test]
fn a_failed_file_is_named_with_its_stage_and_the_others_go_on() {
    let nonexistent = edit_link("b.txt", |entry| {
        entry["errmsg"] = "STORAGE_FILE_NONEXIST".into();
        entry["download_url"] = "".into();
    });
    let cases: Vec<(Step, When, Fault, &str, &str)> = vec![
        (
            Step::Info,
            key("b.txt"),
            Fault::Errcode(40097),
            "获取文件上传链接失败",
            "errcode 40097",
        ),
        (
            Step::Info,
            key("b.txt"),
            Fault::status(404, &[], ""),
            "获取文件上传链接失败",
            "HTTP 404",
        ),
        (
            Step::Info,
            key("b.txt"),
            Fault::Body(b"{}".into()),
            "获取文件上传链接失败",
            "`url`",
        ),
        (
            Step::Upload,
            key("b.txt"),
            Fault::cos_error(403, "AccessDenied"),
            "上传文件失败",
            "AccessDenied",
        ),
        (
            Step::Upload,
            key("b.txt"),
            Fault::cos_error(400, "EntityTooLarge"),
            "上传文件失败",
            "EntityTooLarge",
        ),
        (
            Step::Upload,
            key("b.txt"),
            Fault::status(404, &[], "no XML"),
            "上传文件失败",
            "HTTP 404",
        ),
        (
            Step::Upload,
            key("b.txt"),
            Fault::status(302, &[("Location", "http://127.0.0.1:1/")], ""),
            "上传文件失败",
            "redirect",
        ),
        (
            Step::Link,
            When::Always,
            nonexistent,
            "获取下载链接失败",
            "STORAGE_FILE_NONEXIST",
        ),
    ];
    for (step, when, fault, stage, detail) in cases {
        let world = World::with_files(&["dir/a.txt", "dir/b.txt", "dir/c.txt"]);
        world.stand_in.fault(step, when, fault);
        let ran = world.run(["dir", "-f", "url"]);
        ran.assert_failure(1, &[detail]);
        assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
        assert!(
            ran.stderr
                .starts_with(&format!("error: dir/b.txt: {stage}: ")),
            "{}",
            ran.stderr
        );
        assert_eq!(ran.lines().len(), 2, "{}", ran.stdout);
        assert!(!ran.stdout.contains("b.txt"), "{}", ran.stdout);
        assert_eq!(ran.counts(), "2 uploaded (18 B), 1 failed");
        // A file that was not uploaded has no link. One that was uploaded is not lost.
        let uploaded = step == Step::Link;
        assert_eq!(
            ran.stderr.contains(&file_id("b.txt")),
            uploaded,
            "{}",
            ran.stderr
        );
        assert_eq!(world.keys().contains(&"temp3/b.txt".into()), uploaded);
        assert_eq!(is_link_asked_for(&world, "b.txt"), uploaded);
        world.assert_proper();
    }
}

#[test]
fn without_a_token_there_is_one_message_and_nothing_is_attempted() {
    for (fault, detail) in [
        (Fault::Errcode(40013), "check `appid`"),
        (Fault::Errcode(40125), "check `secret`"),
        (Fault::status(404, &[], ""), "HTTP 404"),
        (Fault::Body(b"{}".into()), "`access_token`"),
    ] {
        let world = World::with_files(&["a.txt", "b.txt"]);
        world.stand_in.fault(Step::Token, When::Always, fault);
        let ran = world.run(["a.txt", "b.txt"]);
        ran.assert_failure(1, &["error: 获取access token失败: ", detail]);
        assert_eq!(
            (ran.stderr.lines().count(), ran.stdout.as_str()),
            (2, ""),
            "{}",
            ran.stderr
        );
        assert_eq!(ran.counts(), "0 uploaded (0 B), 2 not attempted");
        assert_eq!(world.requests(), 1);
    }
}

#[test]
fn without_links_every_file_id_is_named() {
    let world = World::with_files(&["dir/a.txt", "dir/b.txt", "dir/c.txt"]);
    world
        .stand_in
        .fault(Step::Link, When::Always, Fault::Errcode(40097));
    let ran = world.run(["dir", "-f", "json"]);
    ran.assert_failure(1, &["errcode 40097"]);
    for (name, object) in ["a.txt", "b.txt", "c.txt"].into_iter().zip(ran.json()) {
        let line = ran
            .stderr
            .lines()
            .find(|line| line.starts_with(&format!("error: dir/{name}: 获取下载链接失败: ")));
        assert!(
            line.is_some_and(|line| line.contains(&file_id(name))),
            "{}",
            ran.stderr
        );
        assert_eq!(
            (&object["file_id"], object.get("url")),
            (&json!(file_id(name)), None)
        );
    }
    assert_eq!(ran.counts(), "0 uploaded (0 B), 3 failed");
}

#[test]
fn the_summary_counts_bytes_in_units_that_people_read() {
    for (size, shown) in [(0, "0 B"), (1536, "1.5 KiB")] {
        let world = World::http();
        world.file("a", vec![b'x'; size]);
        let ran = world.run(["a"]);
        assert_eq!(
            ran.assert_success().counts(),
            format!("1 uploaded ({shown})")
        );
    }
}

#[test]
fn the_summary_counts_unchanged_files_links_and_skipped_ones_apart() {
    let world = World::with_files(&["known", "new", "bad", "dir/sub/a"]);
    world
        .run(["--manifest", "sent.jsonl", "known"])
        .assert_success();
    let refusal = Fault::cos_error(400, "EntityTooLarge");
    world.stand_in.fault(Step::Upload, key("bad"), refusal);
    let id = file_id("known");
    let named = ["--manifest", "sent.jsonl", &id, "known", "new", "bad"];
    let dry = world.run(named.iter().chain(&["new", "dir", "-n"]));
    let counts = "2 would be uploaded (6 B), 1 unchanged, 1 link, 2 skipped";
    assert_eq!(dry.summary(), counts);
    let ran = world.run(named.iter().chain(&["new", "dir"]));
    ran.assert_failure(1, &["EntityTooLarge"]);
    let counts = "1 uploaded (3 B), 1 unchanged, 1 link, 2 skipped, 1 failed";
    assert_eq!(ran.counts(), counts);
}

/// The manifest is read before anything is sent, and here another program holds it for a second.
#[test]
fn the_time_of_the_summary_counts_from_the_start_of_the_program() {
    if not_under_wine("locks of other programs") {
        return;
    }
    let world = World::with_files(&["a.txt"]);
    let manifest = File::create(world.path("sent.jsonl")).unwrap();
    manifest.lock().unwrap();
    let mut child = world.start(["--manifest", "sent.jsonl", "a.txt"]);
    let note = read_line(child.stderr.as_mut().unwrap()); // comes after a second
    assert!(note.starts_with("note: waiting for another run"), "{note}");
    manifest.unlock().unwrap();
    let ran = world.wait(child);
    let (_, time) = ran.summary().rsplit_once(" in ").unwrap();
    let seconds: f64 = time.trim_end_matches(" s").parse().unwrap();
    assert!(seconds >= 1.0, "{}", ran.stderr);
}

/// Takes a minute: `.ci/run` runs it.
#[test]
#[ignore = "takes a minute"]
fn without_a_terminal_a_note_a_minute_tells_how_far_the_run_is() {
    let world = World::with_files(&["a", "b"]);
    world.stand_in.fault(Step::Upload, key("b"), Fault::Hold);
    let started = Instant::now();
    let start = |option| world.start(["--timeout", "300", option, "a", "b"]);
    let mut child = start("-fjson");
    let quiet = start("-q");
    let note = read_line(child.stderr.as_mut().unwrap());
    assert!(started.elapsed() >= Duration::from_secs(60));
    assert!(note.starts_with("note: 1 of 2 files, "), "{note}");
    assert!(note.ends_with(" B of 2 B\n"), "{note}");
    world.stand_in.open_gate();
    world.wait(child).assert_success();
    assert_eq!(world.wait(quiet).stderr, "");
}

// ---- Texts of servers ---------------------------------------------------------------------------

#[test]
fn a_servers_words_about_a_failure_are_shown_escaped() {
    let nasty = "\u{1b}[31mred\u{1b}[0m\r\nerror: forged\u{7f}\u{9b}\u{202e}";
    let shown = r"\u001b[31mred\u001b[0m\u000d\u000aerror: forged\u007f\u009b\u202e";
    let errmsg = Fault::Body(
        json!({ "errcode": 40097, "errmsg": nasty })
            .to_string()
            .into(),
    );
    let xml = Fault::status(
        400,
        &[],
        &format!("<Error><Code>Bad</Code><Message>{nasty}</Message></Error>"),
    );
    let code = Fault::status(
        400,
        &[],
        &format!("<Error><Code>{nasty}</Code><Message>no</Message></Error>"),
    );
    let entry = edit_link("a.txt", move |entry| {
        entry["status"] = 2.into();
        entry["errmsg"] = nasty.into();
    });
    for (step, fault) in [
        (Step::Token, errmsg.clone()),
        (Step::Info, errmsg.clone()),
        (Step::Upload, xml),
        (Step::Upload, code),
        (Step::Link, errmsg),
        (Step::Link, entry),
    ] {
        for format in ["text", "json"] {
            let world = World::with_files(&["a.txt"]);
            world.stand_in.fault(step, When::Always, fault.clone());
            let ran = world.run(["a.txt", "-f", format]);
            ran.assert_failure(1, &[shown]);
            assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
            if format == "json" && step != Step::Token {
                let error = ran.json()[0]["error"].as_str().unwrap().to_owned();
                assert!(error.contains(nasty), "{error:?}");
            }
        }
    }
}

#[test]
fn control_characters_are_encoded_in_a_link_and_escaped_in_a_file_id() {
    let nasty_id = "cloud://x\t\u{1b}[31m\u{202e}/temp3/a.txt";
    let nasty_url = "https://x.example/\t\n\u{1b}]0;title\u{7}";
    let (shown_id, shown_url) = (
        r"cloud://x\u0009\u001b[31m\u202e/temp3/a.txt",
        "https://x.example/%09%0A%1B%5D0;title%07",
    );
    for format in ["text", "url", "markdown", "json"] {
        let world = World::with_files(&["a.txt"]);
        world.stand_in.fault(
            Step::Info,
            When::Always,
            Fault::edit(move |reply| reply["file_id"] = nasty_id.into()),
        );
        let link = move |reply: &mut Value| {
            reply["file_list"] =
                json!([{ "fileid": nasty_id, "download_url": nasty_url, "status": 0 }]);
        };
        world
            .stand_in
            .fault(Step::Link, When::Always, Fault::edit(link));
        let ran = world.run(["a.txt", "-f", format]);
        match (format, &ran.lines()[..]) {
            ("text", lines) => assert_eq!(lines, [format!("a.txt\t{shown_url}\t{shown_id}")]),
            ("url", lines) => assert_eq!(lines, [shown_url]),
            ("markdown", lines) => assert_eq!(lines, [format!("[a.txt]({shown_url})")]),
            (_, lines) => {
                assert_eq!(lines.len(), 1);
                assert_eq!(
                    [&ran.json()[0]["file_id"], &ran.json()[0]["url"]],
                    [nasty_id, shown_url]
                );
            }
        }
        assert!(!ran.stdout.contains('\u{202e}'), "{:?}", ran.stdout);
        ran.assert_success();
    }
}

#[test]
fn a_name_that_turns_the_direction_of_writing_is_shown_escaped() {
    let world = World::with_files(&["dir/a\u{202e}gnp.txt"]);
    let ran = world.run(["dir"]);
    assert!(
        ran.assert_success().stdout.starts_with("a\\u202egnp.txt\t"),
        "{}",
        ran.stdout
    );
    assert_eq!(world.keys(), ["temp3/a\u{202e}gnp.txt"]);
}

// ---- Outputs that cannot be written -------------------------------------------------------------

/// Closes the end of a pipe where it is read. If another test starts a program at this moment, that
/// process has the end, too, until the program begins: waits for that.
fn close(reader: PipeReader, writer: &PipeWriter) {
    drop(reader);
    wait_until("nobody reads the pipe", || {
        let mut writer = writer;
        writer.write(b"x").is_err()
    });
}

/// A pipe that nobody reads.
fn closed_pipe() -> Stdio {
    let (reader, writer) = io::pipe().unwrap();
    close(reader, &writer);
    writer.into()
}

/// Runs the program with this standard output.
fn run_into(stdout: Stdio, world: &World, arguments: &[&str]) -> Ran {
    let streams = Streams {
        stdout,
        ..Streams::piped()
    };
    world.wait(spawn_with(streams, world.command(arguments)))
}

#[test]
fn a_standard_output_that_is_closed_ends_the_run_with_a_sentence() {
    if not_under_wine("the usual error of a closed pipe") {
        return;
    }
    for arguments in [["dir", "-j1"], ["dir", "-n"]] {
        let world = World::with_files(&["dir/a", "dir/b", "dir/c"]);
        let ran = run_into(closed_pipe(), &world, &arguments);
        if arguments[1] == "-n" {
            assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
        } else {
            // The uploaded file is not lost. There may be one more on its way.
            let count = world.keys().len();
            let told = format!("; in the cloud, but not printed: {count} ({}", file_id("a"));
            ran.assert_failure(1, &["error: standard output cannot be written: ", &told]);
            assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
        }
        world.assert_proper();
    }
}

#[test]
fn a_reader_of_help_may_stop_reading() {
    if not_under_wine("the usual error of a closed pipe") {
        return;
    }
    let ran = run_into(closed_pipe(), &World::http(), &["--help"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
}

#[cfg(unix)]
#[test]
fn a_standard_output_that_is_open_for_reading_only_is_an_error() {
    if not_on_windows("descriptors for reading only") {
        return;
    }
    let read_only = || Stdio::from(File::open("/dev/null").unwrap());
    for arguments in [["a.txt"].as_slice(), &["-n", "a.txt"], &["--help"]] {
        let world = World::with_files(&["a.txt"]);
        let ran = run_into(read_only(), &world, arguments);
        ran.assert_failure(1, &["error: standard output cannot be written: "]);
    }
}

#[test]
fn a_file_that_could_not_be_printed_is_named_whatever_stopped_the_run() {
    if not_under_wine("the usual error of a closed pipe") {
        return;
    }
    let world = World::with_files(&["a", "b"]);
    let quota = Gate::default();
    let used_up = json!({ "errcode": -501_003, "errmsg": "quota" });
    let fault = quota.hold_and(move |reply| *reply = used_up.clone());
    world.stand_in.fault(Step::Info, key("b"), fault);
    // The link of `a` is asked for again after 3 s.
    let busy = Fault::status(503, &[("Retry-After", "3")], "");
    world.stand_in.fault(Step::Link, When::Nth(1), busy);
    let streams = Streams {
        stdout: closed_pipe(),
        ..Streams::piped()
    };
    let child = spawn_with(streams, world.command(["a", "b"]));
    assert!(world.stand_in.wait_for(Step::Link, 1, PATIENCE));
    quota.open();
    let ran = world.wait(child);
    let told = format!(
        "; in the cloud, but not printed: 1 ({}); the run",
        file_id("a")
    );
    ran.assert_failure(1, &["error: 获取文件上传链接失败: errcode -501003 ", &told]);
}

#[test]
fn of_many_files_that_could_not_be_printed_the_first_are_named() {
    let world = World::with_many(20);
    world.stand_in.fault(Step::Link, When::Nth(1), Fault::Hold);
    let (reader, writer) = io::pipe().unwrap();
    let streams = Streams {
        stdout: writer.try_clone().unwrap().into(),
        ..Streams::piped()
    };
    let child = spawn_with(streams, world.command(["files"]));
    wait_until("20 uploads", || world.count(Step::Upload) == 20);
    close(reader, &writer);
    world.stand_in.open_gate();
    let ran = world.wait(child);
    let first: Vec<String> = ["000", "001", "002"].map(file_id).into();
    let told = format!(
        "; in the cloud, but not printed: 20 ({} …); the run",
        first.join(" ")
    );
    ran.assert_failure(1, &[&told]);
}

#[test]
fn a_reader_that_takes_one_line_only_ends_the_run_with_a_sentence() {
    let world = World::with_files(&["dir/a", "dir/b", "dir/c"]);
    let first_is_read = Gate::default();
    let hold = first_is_read.hold();
    world.stand_in.fault(Step::Info, key("b"), hold);
    let (mut reader, writer) = io::pipe().unwrap();
    let streams = Streams {
        stdout: writer.try_clone().unwrap().into(),
        ..Streams::piped()
    };
    let child = spawn_with(streams, world.command(["dir", "-j1"]));
    let line = read_line(&mut reader);
    assert!(line.starts_with("a\t"), "{line}");
    close(reader, &writer);
    first_is_read.open();
    let ran = world.wait(child);
    ran.assert_failure(
        1,
        &["error: standard output", &format!("({}", file_id("b"))],
    );
    world.assert_proper();
}

#[cfg(target_os = "linux")]
#[test]
fn a_standard_output_that_is_full_ends_the_run_with_a_sentence() {
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    for arguments in [["dir", "-j1"], ["dir", "-n"]] {
        let world = World::with_files(&["dir/a", "dir/b"]);
        let ran = run_into(full(), &world, &arguments);
        ran.assert_failure(1, &["error: ", "standard output"]);
    }
    assert_eq!(
        run_into(full(), &World::http(), &["--help"]).status,
        Some(1)
    );
}

#[test]
fn a_failed_file_whose_line_cannot_be_printed_is_not_called_uploaded() {
    let world = World::with_files(&["a.txt"]);
    world
        .stand_in
        .fault(Step::Info, When::Always, Fault::Errcode(40097));
    let ran = run_into(closed_pipe(), &world, &["a.txt", "-f", "json"]);
    ran.assert_failure(
        1,
        &["error: a.txt: 获取文件上传链接失败: ", "standard output"],
    );
    assert!(!ran.stderr.contains("is uploaded"), "{}", ran.stderr);
}

#[test]
fn an_uploaded_file_whose_failure_cannot_be_printed_still_has_its_file_id_named() {
    let world = World::with_files(&["a.txt"]);
    world
        .stand_in
        .fault(Step::Link, When::Always, Fault::Errcode(40097));
    let ran = run_into(closed_pipe(), &world, &["a.txt", "-f", "json"]);
    ran.assert_failure(1, &["error: a.txt: 获取下载链接失败: ", "standard output"]);
    for line in ran
        .stderr
        .lines()
        .filter(|line| line.contains("is uploaded"))
    {
        assert!(line.contains(&file_id("a.txt")), "{line}");
    }
    assert!(ran.stderr.contains(&file_id("a.txt")), "{}", ran.stderr);
}

#[test]
fn a_standard_error_that_is_closed_changes_nothing() {
    let world = World::with_files(&["dir/a", "dir/b", "dir/sub/c"]);
    world
        .stand_in
        .fault(Step::Info, key("a"), Fault::Errcode(40097));
    let streams = Streams {
        stderr: closed_pipe(),
        ..Streams::piped()
    };
    let ran = world.wait(spawn_with(streams, world.command(["dir"])));
    assert_eq!((ran.status, ran.lines().len()), (Some(1), 1));
    assert_eq!(world.keys(), ["temp3/b"]);
}

// ---- Uploads -------------------------------------------------------------------------------

#[test]
fn known_extensions_have_a_type_and_unknown_ones_none() {
    let types = [
        ("a.jpg", Some("image/jpeg")),
        ("B.JPG", Some("image/jpeg")),
        ("图.png", Some("image/png")),
        ("a.gif", Some("image/gif")),
        ("a.webp", Some("image/webp")),
        ("a.svg", Some("image/svg+xml")),
        ("a.pdf", Some("application/pdf")),
        ("a.txt", Some("text/plain; charset=utf-8")),
        ("a.html", Some("text/html; charset=utf-8")),
        ("a.mp4", Some("video/mp4")),
        ("a.zip", Some("application/zip")),
        ("a.tar.unknown", None),
        ("no extension", None),
        ("jpg", None),
        (".png", None),
        ("a.", None),
    ];
    let types = types.into_iter().filter(|(name, _)| can_be_named(name));
    let types: Vec<_> = types.collect();
    let world = World::http();
    types
        .iter()
        .for_each(|(name, _)| drop(world.file(format!("dir.jpg/{name}"), "x")));
    world.configure(json!({ "upload_dir": "dir.jpg" })); // also hidden files
    world.run(["-t", "x.png"]).assert_success();
    let objects = world.stand_in.objects();
    for (name, content_type) in types {
        assert_eq!(
            objects[&format!("x.png/{name}")].content_type.as_deref(),
            content_type,
            "{name}"
        );
    }
    world.assert_proper();
}

#[test]
fn an_upload_states_its_exact_length_whatever_the_size() {
    let sizes = [0, 1, 1023, 8191, 8192, 8193, 65535, 65536, 65537, 300_000];
    let world = World::https();
    sizes
        .iter()
        .for_each(|&size| drop(world.file(format!("dir/{size}"), vec![b'-'; size])));
    world.run(["dir"]).assert_success();
    let uploads = world.stand_in.requests(Step::Upload);
    let keys: Vec<_> = uploads.iter().map(|upload| &upload.key).collect();
    assert_eq!(uploads.len(), sizes.len(), "{keys:?}");
    for upload in uploads {
        let size: u64 = upload
            .key
            .as_ref()
            .unwrap()
            .strip_prefix("temp3/")
            .unwrap()
            .parse()
            .unwrap();
        let length: u64 = upload.header("Content-Length").unwrap().parse().unwrap();
        assert_eq!(
            (upload.file_size, upload.header("Transfer-Encoding")),
            (size, None)
        );
        assert!((500..4000).contains(&(length - size)), "{length}");
    }
    world.assert_proper();
}
