//! `--unique`: the CRC-64 of the content is a part of each cloud name.

use std::fs;

use serde_json::json;
use stand_in::{Fault, SECRET, Step, When};

use crate::harness::{Gate, PATIENCE, Ran, World, file_id, judges_windows, key};

const MIB: usize = 1 << 20;

/// The CRC-64 in a name.
fn crc64(bytes: impl AsRef<[u8]>) -> String {
    let crc = crc::Crc::<u64>::new(&crc::CRC_64_XZ);
    format!("{:016x}", crc.checksum(bytes.as_ref()))
}

/// The first columns of the lines: the names.
fn names(ran: &Ran) -> Vec<&str> {
    ran.lines()
        .into_iter()
        .map(|line| line.split('\t').next().unwrap())
        .collect()
}

#[test]
fn the_checksum_stands_before_the_extension() {
    assert_eq!(crc64("123456789"), "995dc9bbdf1939fa");
    let crc = "995dc9bbdf1939fa";
    let cases = [
        ("图 2.tar.gz", format!("图 2.tar-{crc}.gz")),
        (".env", format!(".env-{crc}")),
        ("dir.d/none", format!("none-{crc}")),
    ];
    for (name, unique) in cases {
        for option in ["-u", "--unique"] {
            let world = World::https();
            world.file(name, "123456789");
            let ran = world.run([option, "-f", "json", name]);
            let line = &ran.assert_success().json()[0];
            let key = format!("temp3/{unique}");
            assert_eq!(line["key"], key);
            assert_eq!(line["name"], name.rsplit('/').next().unwrap());
            assert_eq!(line["file_id"], file_id(&unique));
            assert_eq!(world.keys(), [key]);
            world.assert_proper();
        }
    }
}

#[test]
fn two_files_with_one_name_do_not_meet() {
    let world = World::with_files(&["one/1.png", "two/1.png", "three/1.png"]);
    let directories = ["one", "two", "three"];
    let refused = world.run(directories);
    world.assert_refused(&refused, &["would both become temp3/1.png", "--unique"]);
    let ran = world.run(["-u"].iter().chain(&directories));
    assert_eq!(names(ran.assert_success()), ["1.png"; 3]);
    let mut keys: Vec<String> = directories
        .iter()
        .map(|directory| format!("temp3/1-{}.png", crc64(format!("{directory}/1.png"))))
        .collect();
    for (line, key) in ran.lines().iter().zip(&keys) {
        assert!(line.contains(key), "{line}");
    }
    keys.sort();
    assert_eq!(world.keys(), keys);
    let object = &world.stand_in.objects()[&keys[0]];
    assert_eq!(object.content_type.as_deref(), Some("image/png"));
}

#[test]
fn a_changed_file_gets_another_name_and_the_old_one_stays() {
    let world = World::with_files(&["1.png"]);
    world.run(["-u", "1.png"]).assert_success();
    world.file("1.png", "another picture");
    world.run(["-u", "1.png"]).assert_success();
    assert_eq!(world.keys().len(), 2);
    for bytes in ["1.png", "another picture"] {
        let object = &world.stand_in.objects()[&format!("temp3/1-{}.png", crc64(bytes))];
        assert_eq!(object.bytes.as_deref(), Some(bytes.as_bytes()));
    }
}

#[test]
fn one_content_under_one_name_is_uploaded_once() {
    for jobs in ["1", "8", "64"] {
        let world = World::http();
        for n in 0..30 {
            world.file(format!("{n:02}/1.png"), vec![n % 3; 200_000]);
        }
        let directories: Vec<String> = (0..30).map(|n| format!("{n:02}")).collect();
        let mut arguments = vec!["-u", "-j", jobs, "-f", "url"];
        arguments.extend(directories.iter().map(String::as_str));
        let ran = world.run(arguments);
        ran.assert_success();
        assert_eq!(world.count(Step::Upload), 3);
        assert_eq!((ran.count("uploaded"), ran.count("skipped")), (3, 27));
        // Each file has its link.
        let lines = ran.lines();
        assert_eq!(lines.len(), 30);
        for (n, line) in lines.iter().enumerate() {
            assert_eq!(*line, lines[n % 3]);
        }
    }
}

#[test]
fn where_the_upload_for_one_file_fails_the_next_one_tries_itself() {
    let world = World::http();
    let name = format!("1-{}.png", crc64("x"));
    for directory in ["a", "b", "c"] {
        world.file(format!("{directory}/1.png"), "x");
    }
    // It keeps the other thread busy until the first file has failed.
    world.file("a/2.png", "y");
    let other = format!("2-{}.png", crc64("y"));
    let gate = Gate::default();
    world.stand_in.fault(Step::Info, key(&other), gate.hold());
    let refusal = Fault::cos_error(403, "AccessDenied");
    world.stand_in.fault(Step::Upload, When::Times(2), refusal); // one new signature is tried
    let child = world.start(["-u", "-j1", "a", "b", "c"]);
    assert!(world.stand_in.wait_for(Step::Upload, 3, PATIENCE));
    gate.open();
    let ran = world.wait(child);
    ran.assert_failure(
        1,
        &["error: a/1.png: ", "2 uploaded", "1 failed", "1 skipped"],
    );
    assert_eq!(
        world.keys(),
        [name, other].map(|name| format!("temp3/{name}"))
    );
    assert_eq!(world.count(Step::Upload), 4);
}

#[test]
fn the_link_of_a_file_that_was_uploaded_for_another_one_is_asked_for_again() {
    let world = World::http();
    world.file("a/1.png", "x");
    world.file("b/1.png", "x");
    world.stand_in.hide_new_objects(1);
    let ran = world.run(["-u", "a", "b"]);
    assert_eq!(ran.assert_success().lines().len(), 2);
    assert_eq!(world.count(Step::Upload), 1);
}

#[test]
fn a_file_that_is_typed_twice_is_uploaded_once_and_gets_two_lines() {
    let world = World::with_files(&["one/1.png", "two/1.png"]);
    let paths = ["one/1.png", "two/1.png", "./two/1.png", "one/../one/1.png"];
    let ran = world.run(["-u"].iter().chain(&paths));
    ran.assert_success();
    assert_eq!((ran.count("uploaded"), world.count(Step::Upload)), (2, 2));
    let lines = ran.lines();
    assert_eq!((lines[2], lines[3]), (lines[1], lines[0]));
}

#[test]
fn it_works_with_directories_links_and_file_ids() {
    let world = World::with_files(&["tree/sub/图.png", "tree/a.txt"]);
    #[cfg(unix)]
    if !judges_windows() {
        std::os::unix::fs::symlink("sub/图.png", world.path("tree/link")).unwrap();
    }
    let picture = format!("图-{}.png", crc64("tree/sub/图.png"));
    let text = format!("a-{}.txt", crc64("tree/a.txt"));
    let ran = world.run(["-u", "-r", "-t", "x", "tree"]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    let mut keys = vec![format!("x/{text}"), format!("x/sub/{picture}")];
    if !judges_windows() {
        keys.push(format!("x/{picture}")); // a link has the name of its target
    }
    keys.sort();
    assert_eq!(world.keys(), keys);
    let file_id = &world.stand_in.objects()[&keys[0]].file_id;
    let ran = world.run(["-u", file_id]);
    ran.assert_success();
    assert!(ran.stdout.contains(&text), "{}", ran.stdout);
    assert_eq!(world.count(Step::Upload), keys.len());
}

#[test]
fn with_a_manifest_only_new_content_is_sent() {
    let world = World::with_files(&["one/1.png", "two/1.png"]);
    let run = || world.run(["-u", "--manifest", "sent.jsonl", "one", "two"]);
    let first = run();
    first.assert_success();
    let counts = |ran: &Ran| (ran.count("uploaded"), ran.count("unchanged"));
    assert_eq!(counts(&first), (2, 0));
    let again = run();
    assert_eq!((counts(&again), again.lines()), ((0, 2), first.lines()));
    // A fresh checkout: only the times differ.
    for name in ["one/1.png", "two/1.png"] {
        let file = fs::File::options().write(true).open(world.path(name));
        file.unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    assert_eq!(counts(&run()), (0, 2));
    // The files change places. Size and time tell nothing about it.
    fs::rename(world.path("one/1.png"), world.path("1.png")).unwrap();
    fs::rename(world.path("two/1.png"), world.path("one/1.png")).unwrap();
    fs::rename(world.path("1.png"), world.path("two/1.png")).unwrap();
    let swapped = run();
    assert_eq!(counts(&swapped), (0, 2));
    assert_eq!(swapped.lines()[0], first.lines()[1]);
    assert_eq!(swapped.lines()[1], first.lines()[0]);
    world.file("two/1.png", "new");
    let changed = run();
    assert_eq!(counts(&changed), (1, 1));
    let key = format!("temp3/1-{}.png", crc64("new"));
    assert!(world.keys().contains(&key));
    // What is gone from the cloud is sent again.
    world.stand_in.remove_object(&key);
    assert_eq!(counts(&run()), (1, 1));
    assert!(world.keys().contains(&key));
    // It is sent once, even if two files have this name and content.
    world.file("one/1.png", "new");
    assert_eq!(counts(&run()), (0, 2));
    world.stand_in.remove_object(&key);
    let again = run();
    assert_eq!((again.count("uploaded"), again.count("skipped")), (1, 1));
    assert!(world.keys().contains(&key));
}

#[test]
fn a_dry_run_reads_the_files_and_lists_their_names() {
    let world = World::with_files(&["one/1.png", "two/1.png"]);
    world.file("app.log", SECRET);
    let arguments = ["-n", "-u", "one", "two", "app.log"];
    let ran = world.run(arguments);
    ran.assert_failure(
        1,
        &[
            "error: app.log: 上传文件失败: it holds the AppSecret",
            "1 failed",
        ],
    );
    let listed = ["one", "two"].map(|directory| {
        let crc = crc64(format!("{directory}/1.png"));
        format!("1.png\ttemp3/1-{crc}.png")
    });
    assert_eq!(ran.lines(), listed);
    assert_eq!(world.stand_in.connections(), 0);
    let ran = world.run(["-n", "-u", "-f", "json", "one"]);
    let key = listed[0].split('\t').nth(1).unwrap();
    assert_eq!(ran.json()[0]["key"], key);
    // What the manifest knows is not listed.
    world.run(["-u", "--manifest", "m", "one"]).assert_success();
    let ran = world.run(["-n", "-u", "--manifest", "m", "one", "two"]);
    assert_eq!(ran.lines(), &listed[1..]);
}

#[test]
fn the_checksum_counts_for_the_850_bytes() {
    for (length, fits) in [(850 - 17, true), (850 - 16, false)] {
        let folder = "x".repeat(length - "/1.png".len());
        let world = World::with_files(&["1.png", "directory/1.png"]);
        let ran = world.run(["-u", "-t", &folder, "1.png"]);
        if fits {
            ran.assert_success();
        } else {
            ran.assert_failure(1, &["850 bytes", "0 uploaded", "1 failed"]);
        }
        assert_eq!(world.keys().len(), usize::from(fits));
        // A directory that leaves no room for any name is not gone into.
        let ran = world.run(["-u", "-r", "-t", &folder, "."]);
        ran.assert_failure(1, &["error: ./directory: 上传文件失败: ", "850 bytes"]);
    }
}

#[test]
fn a_file_that_changes_after_it_was_named_gets_a_new_name() {
    for size in [1000, 2 * MIB] {
        let [old, new] = [b'o', b'n'].map(|byte| vec![byte; size]);
        for at_the_upload in [false, true] {
            let world = World::http();
            let path = world.file("1.png", &old);
            let bytes = new.clone();
            let change = move || fs::write(&path, &bytes).unwrap();
            if at_the_upload {
                world
                    .stand_in
                    .fault(Step::Upload, When::Once, Fault::at(500, change));
            } else {
                world
                    .stand_in
                    .fault(Step::Info, When::Once, Fault::edit(move |_| change()));
            }
            world.run(["-u", "1.png"]).assert_success();
            let objects = world.stand_in.objects();
            for (key, object) in &objects {
                // Whatever is stored has the content that its name says.
                let bytes = object.bytes.as_ref().unwrap();
                assert_eq!(*key, format!("temp3/1-{}.png", crc64(bytes)));
            }
            assert!(objects.contains_key(&format!("temp3/1-{}.png", crc64(&new))));
        }
    }
}

#[test]
fn the_checksum_that_cos_confirms_must_be_that_of_the_name() {
    let world = World::with_files(&["1.png"]);
    let other = Fault::headers(&[("x-cos-hash-crc64ecma", Some("42"))]);
    world.stand_in.fault(Step::Upload, When::Once, other);
    world.run(["-u", "1.png"]).assert_success();
    assert_eq!(world.count(Step::Upload), 2);
    let other = Fault::headers(&[("x-cos-hash-crc64ecma", Some("42"))]);
    world.stand_in.fault(Step::Upload, When::Always, other);
    let ran = world.run(["-u", "--retries", "1", "1.png"]);
    ran.assert_failure(1, &["CRC-64", "(tried 2 times)"]);
}

#[test]
fn progress_and_counts_are_those_of_what_is_sent() {
    let world = World::http();
    world.file("1.bin", vec![7; MIB]);
    let ran = world.run(["-u", "1.bin"]);
    ran.assert_success();
    assert!(
        ran.counts().starts_with("1 uploaded (1.0 MiB)"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_file_that_waits_for_another_one_with_its_content_waits_for_the_end() {
    let world = World::http();
    for directory in ["a", "b"] {
        world.file(format!("{directory}/1.png"), "x");
    }
    let hold = key(format!("1-{}.png", crc64("x")));
    world.stand_in.fault(Step::Upload, hold, Fault::Hold);
    let child = world.start(["-u", "-f", "json", "a", "b"]);
    assert!(world.stand_in.wait_for(Step::Upload, 1, PATIENCE));
    world.stand_in.open_gate();
    let ran = world.wait(child);
    ran.assert_success();
    let file_ids: Vec<_> = ran
        .json()
        .iter()
        .map(|line| line["file_id"].clone())
        .collect();
    assert_eq!(
        file_ids,
        vec![json!(file_id(&format!("1-{}.png", crc64("x")))); 2]
    );
    assert_eq!((world.count(Step::Info), world.count(Step::Upload)), (1, 1));
}

/// A world with this number of files of one name and content, and the program's arguments for them.
fn world_of_one_content(count: usize) -> (World, Vec<String>) {
    let world = World::http();
    let paths = (0..count).map(|n| format!("{n}/a.txt"));
    let arguments: Vec<String> = ["-u".to_owned()].into_iter().chain(paths).collect();
    for path in &arguments[1..] {
        world.file(path, "the same");
    }
    (world, arguments)
}

#[test]
fn files_of_one_content_share_a_failure_and_its_tries() {
    let (world, mut arguments) = world_of_one_content(16);
    world.file("other", "another content"); // succeeds, so the run goes on
    arguments.extend(["other", "-j", "17", "--retries", "2"].map(str::to_owned));
    let refuse = Fault::status(503, &[], "");
    let of_one_content = key(format!("a-{}.txt", crc64("the same")));
    world.stand_in.fault(Step::Upload, of_one_content, refuse);
    let ran = world.run(arguments);
    ran.assert_failure(1, &["1 uploaded (15 B), 16 failed", "(tried 3 times)"]);
    assert_eq!(world.count(Step::Upload), 1 + 3, "{}", ran.stderr);
}

#[test]
fn a_stopped_run_sends_no_file_that_waited_for_one_of_its_content() {
    let (world, mut arguments) = world_of_one_content(16);
    arguments.extend(["-j", "16"].map(str::to_owned));
    let arrears = Fault::status(402, &[], "");
    world.stand_in.fault(Step::Upload, When::Always, arrears);
    let ran = world.run(arguments);
    ran.assert_failure(1, &["HTTP 402", "0 uploaded (0 B), 16 not attempted in "]);
    assert_eq!(world.count(Step::Upload), 1, "{}", ran.stderr);
}

#[test]
fn a_file_that_changes_after_it_was_named_leaves_its_old_name_to_the_others() {
    let (world, mut arguments) = world_of_one_content(4);
    arguments.extend(["-j", "1"].map(str::to_owned));
    // Another file keeps the second thread busy.
    world.file("b.txt", "b");
    arguments.insert(0, "b.txt".to_owned());
    let gate = Gate::default();
    let key_of_b = format!("b-{}.txt", crc64("b"));
    world.stand_in.fault(Step::Info, key(key_of_b), gate.hold());
    // The first file gets another content between its naming and its upload.
    let first = world.path("0/a.txt");
    let rewrite = Fault::edit(move |_| fs::write(&first, "changed!").unwrap());
    let names = ["changed!", "the same"].map(|content| format!("a-{}.txt", crc64(content)));
    world.stand_in.fault(Step::Info, key(&names[1]), rewrite);
    let child = world.start(arguments);
    assert!(world.stand_in.wait_for(Step::Upload, 2, PATIENCE));
    gate.open();
    world.wait(child).assert_success();
    for name in names {
        let key = format!("temp3/{name}");
        assert!(world.keys().contains(&key), "{:?}", world.keys());
    }
    assert_eq!(world.keys().len(), 3);
}

#[cfg(unix)]
#[test]
fn two_files_whose_names_and_paths_together_read_the_same_are_two() {
    // A mirror of full paths, in a directory that is not hidden.
    let root = tempfile::Builder::new().prefix("wx").tempdir().unwrap();
    let root = root.path().canonicalize().unwrap();
    let below = root.strip_prefix("/").unwrap();
    let one = root.join("p");
    let other = root
        .join("u/x")
        .join(below)
        .join("p/x")
        .join(below)
        .join("u");
    let files = [one.join("x").join(below).join("u/x"), other.join("x")];
    for file in &files {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, file.as_os_str().as_encoded_bytes()).unwrap();
    }
    let world = World::http();
    let arguments = [
        "-u".as_ref(),
        "-r".as_ref(),
        one.as_os_str(),
        other.as_os_str(),
    ];
    assert_eq!(world.run(arguments).assert_success().lines().len(), 2);
    assert_eq!(world.keys().len(), 2);
}
