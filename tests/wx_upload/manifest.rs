//! `--manifest`: which files it remembers, which files are not sent again, and how it stays whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
#[cfg(unix)]
use std::os::unix::fs::MetadataExt;
use std::process::Child;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::harness::{
    Gate, PATIENCE, Ran, World, file_id, key, not_on_windows, side_by_side, wait_until,
};
#[cfg(target_os = "linux")]
use crate::unix::OtherSystem;
#[cfg(unix)]
use crate::unix::{after, make_fifo, set_mode, through};
use stand_in::{ENV, Fault, Request, StandIn, Step, When, file_id_of};

const MANIFEST: &str = "sent.jsonl";

static CRC64: crc::Crc<u64> = crc::Crc::<u64>::new(&crc::CRC_64_XZ);

/// A world with the files `000`, `001` … in `files`, which contain their own names. They are so old
/// that a time tells whether they have changed.
fn world(count: usize) -> World {
    let world = World::http();
    for index in 0..count {
        let name = format!("files/{index:03}");
        world.file(&name, format!("{index:03}"));
        set_mtime(&world, &name, an_hour_ago());
    }
    world
}

fn an_hour_ago() -> SystemTime {
    SystemTime::now() - Duration::from_secs(3600)
}

/// Runs the program with the manifest, for all of `files`.
fn run(world: &World) -> Ran {
    world.run(["--manifest", MANIFEST, "files"])
}

fn start(world: &World, arguments: &[&str]) -> Child {
    world.start(["--manifest", MANIFEST].iter().chain(arguments))
}

fn manifest(world: &World) -> String {
    fs::read_to_string(world.path(MANIFEST)).expect("a manifest")
}

/// The entries of the manifest. Checks that all lines are whole.
fn entries(world: &World) -> Vec<Value> {
    let text = manifest(world);
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    let entry =
        |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
    text.lines().map(entry).collect()
}

/// The keys in the manifest.
fn recorded(world: &World) -> BTreeSet<String> {
    entries(world)
        .iter()
        .map(|entry| entry["key"].as_str().expect("a key").to_owned())
        .collect()
}

/// The keys of the uploads after the first `before` ones.
fn uploaded_since(world: &World, before: usize) -> Vec<String> {
    world
        .stand_in
        .requests(Step::Upload)
        .into_iter()
        .skip(before)
        .filter_map(|request| request.key)
        .collect()
}

/// The numbers of files in the calls for links after the first `before` ones.
fn sizes_of_link_calls(world: &World, before: usize) -> Vec<usize> {
    let calls = world.stand_in.requests(Step::Link).split_off(before);
    let size = |call: &Request| call.json()["file_list"].as_array().unwrap().len();
    calls.iter().map(size).collect()
}

/// Runs the program, and checks that it sends the files with these keys and no others.
fn assert_sends(world: &World, keys: &[&str]) {
    let (infos, uploads) = (world.count(Step::Info), world.count(Step::Upload));
    let ran = run(world);
    ran.assert_success();
    let mut sent = uploaded_since(world, uploads);
    sent.sort();
    assert_eq!(sent, keys);
    assert_eq!(world.count(Step::Info), infos + keys.len());
    let unchanged = ran.lines().len() - keys.len();
    let counts = ["uploaded", "unchanged", "skipped"].map(|ended| ran.count(ended));
    assert_eq!(counts, [keys.len(), unchanged, 0], "{}", ran.stderr);
}

fn set_mtime(world: &World, name: &str, mtime: SystemTime) {
    File::options()
        .write(true)
        .open(world.path(name))
        .unwrap()
        .set_modified(mtime)
        .unwrap();
}

// ---- What is in it ------------------------------------------------------------------------------

#[test]
fn each_file_has_one_line_of_json_with_exactly_the_fields_of_the_design() {
    if not_on_windows("times to the nanosecond, and quotes in names") {
        return;
    }
    let world = World::http();
    let big: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
    let after = |seconds, nanoseconds| UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    let files = [
        ("empty", Vec::new(), after(0, 0), 0),
        (
            "图片 \"1\".jpg",
            b"123456789".to_vec(),
            after(1_700_000_000, 123_456_789),
            1_700_000_000_123_456_789_i64,
        ),
        (
            "sub/深/x",
            big,
            after(1_600_000_000, 1),
            1_600_000_000_000_000_001,
        ),
        (
            "before 1970",
            b"x".to_vec(),
            UNIX_EPOCH - Duration::from_millis(1500),
            -1_500_000_000,
        ),
    ];
    for (name, bytes, mtime, _) in &files {
        world.file(format!("files/{name}"), bytes);
        set_mtime(&world, &format!("files/{name}"), *mtime);
    }
    world
        .run(["--manifest", MANIFEST, "-r", "-t", "云", "files"])
        .assert_success();
    let entries: BTreeMap<_, _> = entries(&world)
        .into_iter()
        .map(|entry| (entry["key"].as_str().unwrap().to_owned(), entry))
        .collect();
    assert_eq!(entries.len(), files.len());
    for (name, bytes, _, mtime) in files {
        let key = format!("云/{name}");
        let mut entry = json!({
            "key": key, "env": ENV, "size": bytes.len(), "mtime": mtime,
            "crc64": CRC64.checksum(&bytes).to_string(), "file_id": file_id_of(&key),
            "cache_control": null,
        });
        #[cfg(unix)]
        {
            let metadata = fs::metadata(world.path(format!("files/{name}"))).unwrap();
            entry["ctime"] = (metadata.ctime() * 1_000_000_000 + metadata.ctime_nsec()).into();
        }
        // Compared as text, as the design also gives the order of the fields.
        assert_eq!(entries[&key].to_string(), entry.to_string());
    }
    assert!(
        manifest(&world).contains(&format!("\"{}\"", 0x995D_C9BB_DF19_39FA_u64)),
        "the check value"
    );
    assert!(
        manifest(&world).contains("图片 \\\"1\\\".jpg"),
        "raw UTF-8: {}",
        manifest(&world)
    );
    world.assert_proper();
}

/// Python's `str.splitlines` ends a line there, too.
#[test]
fn a_line_has_no_other_end_than_its_newline() {
    let world = World::with_files(&["files/a\u{2028}b"]);
    run(&world).assert_success();
    assert!(!manifest(&world).contains('\u{2028}'));
    assert_eq!(entries(&world)[0]["key"], "temp3/a\u{2028}b");
    assert_sends(&world, &[]);
}

#[test]
fn each_file_is_recorded_as_soon_as_it_is_uploaded() {
    let world = world(3);
    world
        .stand_in
        .fault(Step::Upload, When::Key("temp3/002".into()), Fault::Hold);
    let child = start(&world, &["files"]);
    assert!(world.stand_in.wait_for(Step::Upload, 3, PATIENCE));
    let others = BTreeSet::from(["temp3/000", "temp3/001"].map(str::to_owned));
    wait_until("the others are recorded", || recorded(&world) == others);
    world.stand_in.open_gate();
    world.wait(child).assert_success();
    assert_eq!(entries(&world).len(), 3);
}

#[test]
fn a_file_that_failed_is_not_recorded() {
    let world = world(3);
    world.stand_in.fault(
        Step::Upload,
        When::Key("temp3/001".into()),
        Fault::cos_error(400, "EntityTooLarge"),
    );
    run(&world).assert_failure(1, &["files/001"]);
    assert_eq!(
        recorded(&world),
        BTreeSet::from(["temp3/000", "temp3/002"].map(str::to_owned))
    );
    world.stand_in.clear_faults();
    assert_sends(&world, &["temp3/001"]);
}

#[test]
fn an_upload_whose_link_failed_is_recorded_and_the_next_run_only_asks_for_the_link() {
    let world = world(3);
    world
        .stand_in
        .fault(Step::Link, When::Always, Fault::Errcode(40097));
    run(&world).assert_failure(1, &["3 failed", &file_id_of("temp3/002")]);
    assert_eq!(entries(&world).len(), 3);
    world.stand_in.clear_faults();
    assert_sends(&world, &[]);
    world.assert_proper();
}

#[test]
fn a_file_that_is_written_to_while_it_is_sent_gets_into_the_cloud_with_the_next_run() {
    let world = world(1);
    let path = world.path("files/000");
    let write = move |_: &Request| {
        let mut file = File::options().write(true).open(&path).unwrap(); // not truncated: the program may be reading it
        file.write_all(b"001").unwrap();
        file.set_modified(UNIX_EPOCH).unwrap();
        Some(Fault::Delay(Duration::ZERO))
    };
    world
        .stand_in
        .fault(Step::Upload, When::Once, Fault::custom(write));
    run(&world).assert_success();
    assert_eq!(uploaded_since(&world, 0), ["temp3/000", "temp3/000"]);
    assert_eq!(
        world.stand_in.objects()["temp3/000"].bytes.as_deref(),
        Some(b"001".as_slice())
    );
    assert_sends(&world, &[]); // the manifest knows what was sent last
}

// ---- Which files are sent again --------------------------------------------------------

#[test]
fn a_second_run_sends_nothing_and_prints_as_usual() {
    let world = world(120);
    let first = run(&world);
    let (infos, uploads, links) = (
        world.count(Step::Info),
        world.count(Step::Upload),
        world.count(Step::Link),
    );
    let before = manifest(&world);
    let second = run(&world);
    assert_eq!(
        second.assert_success().counts(),
        "0 uploaded (0 B), 120 unchanged"
    );
    assert_eq!(second.stdout, first.stdout);
    let third = world.run(["--manifest", MANIFEST, "-f", "json", "files"]);
    assert!(
        third
            .json()
            .iter()
            .all(|object| object["size"] == 3 && object["file_id"].is_string()),
        "{}",
        third.stdout
    );
    assert_eq!(
        (world.count(Step::Info), world.count(Step::Upload)),
        (infos, uploads)
    );
    let sizes = sizes_of_link_calls(&world, links);
    assert!(
        sizes.iter().all(|size| *size <= 50) && sizes.iter().sum::<usize>() == 240,
        "{sizes:?}"
    );
    assert_eq!(manifest(&world), before);
    world.assert_proper();
}

#[test]
fn only_files_with_another_size_or_time_are_sent_again() {
    let world = world(4);
    assert_sends(
        &world,
        &["temp3/000", "temp3/001", "temp3/002", "temp3/003"],
    );
    let mtime = fs::metadata(world.path("files/001"))
        .unwrap()
        .modified()
        .unwrap();
    // Another size at the same time.
    world.file("files/001", "longer");
    set_mtime(&world, "files/001", mtime);
    assert_sends(&world, &["temp3/001"]);
    // The same size at another time, a nanosecond later and earlier, and with another content.
    for (other, content) in [
        (mtime + Duration::from_nanos(1), "one"),
        (UNIX_EPOCH, "two"),
        (UNIX_EPOCH - Duration::from_secs(1), "six"),
    ] {
        world.file("files/002", content);
        set_mtime(&world, "files/002", other);
        assert_sends(&world, &["temp3/002"]);
        assert_sends(&world, &[]);
    }
    // A new one.
    world.file("files/004", "new");
    assert_sends(&world, &["temp3/004"]);
    // A file that is gone from the disk does not matter.
    fs::remove_file(world.path("files/003")).unwrap();
    assert_sends(&world, &[]);
    assert_eq!(entries(&world).len(), 4 + 1 + 3 + 1);
}

#[test]
fn a_file_that_is_as_it_was_two_uploads_ago_is_sent_again() {
    let world = world(1);
    let times = [1, 2, 1, 2].map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
    for (time, text) in times.into_iter().zip(["old", "new", "old", "new"]) {
        world.file("files/000", text);
        set_mtime(&world, "files/000", time);
        assert_sends(&world, &["temp3/000"]);
        assert_eq!(
            world.stand_in.objects()["temp3/000"].bytes.as_deref(),
            Some(text.as_bytes())
        );
    }
    assert_sends(&world, &[]);
}

#[test]
fn another_folder_or_environment_is_another_upload() {
    let world = world(2);
    assert_sends(&world, &["temp3/000", "temp3/001"]);
    for folder in ["other/", "", "temp3/sub/", "temp"] {
        let before = world.count(Step::Upload);
        for sent in [2, 0] {
            let ran = world.run(["--manifest", MANIFEST, "-t", folder, "files"]);
            assert!(
                ran.assert_success()
                    .counts()
                    .starts_with(&format!("{sent} uploaded")),
                "{}",
                ran.stderr
            );
        }
        assert_eq!(uploaded_since(&world, before).len(), 2, "{folder}");
    }
    // The manifest still knows the files in the first folder.
    assert_sends(&world, &[]);
    // Entries of another environment say nothing about this one.
    let elsewhere =
        manifest(&world).replace(&format!("\"env\":\"{ENV}\""), "\"env\":\"prod-elsewhere\"");
    world.file(MANIFEST, elsewhere);
    assert_sends(&world, &["temp3/000", "temp3/001"]);
    assert_sends(&world, &[]);
    world.assert_proper();
}

#[test]
fn later_lines_win() {
    let world = world(1);
    run(&world).assert_success();
    world.file("files/000", "other bytes in the cloud");
    run(&world).assert_success();
    let [older, newer] = &entries(&world)[..] else {
        panic!("{}", manifest(&world))
    };
    let mut elsewhere = newer.clone();
    elsewhere["file_id"] = file_id_of("temp3/gone").into();
    let (older, newer, elsewhere) = (older.to_string(), newer.to_string(), elsewhere.to_string());
    for (lines, sent) in [
        ([&older, &newer], &[][..]),
        ([&newer, &older], &["temp3/000"]),
        // The link is asked for with the later file_id.
        ([&elsewhere, &newer], &[]),
        ([&newer, &elsewhere], &["temp3/000"]),
    ] {
        world.file(MANIFEST, format!("{}\n{}\n", lines[0], lines[1]));
        assert_sends(&world, sent);
    }
}

#[test]
fn lines_that_make_no_sense_are_ignored_and_kept() {
    let world = world(3);
    run(&world).assert_success();
    let lines: Vec<_> = manifest(&world).lines().map(str::to_owned).collect();
    let odd = [
        "",
        "null",
        "[]",
        "7",
        "{}",
        "{\"key\":\"temp3/000\"}",
        "{\"key\":7,\"env\":[],\"size\":-1}",
        "# mine",
        "{\"key\":\"temp3/000\",\"env\":\"prod-1g2h3j4k5l\",\"size\":\"3\",\"mtime\":\"x\",\"crc64\":0,\"file_id\":[]}",
        "\u{1b}[31m",
        "{\"key\":\"temp3/0",
    ];
    let text = format!(
        "{}\n{}\n{}\n{}\n",
        lines[0],
        odd.join("\n"),
        lines[1],
        lines[2]
    );
    world.file(MANIFEST, &text);
    assert_sends(&world, &[]);
    assert_eq!(manifest(&world), text);
    // With the line ends of a Windows editor, and a field of a later version.
    let text = manifest(&world).replace("}\n", ",\"later\":1}\r\n");
    world.file(MANIFEST, &text);
    assert_sends(&world, &[]);
}

// ---- Files that look unchanged ---------------------------------------------------------------------

#[cfg(unix)]
#[test]
fn a_file_with_another_content_and_the_same_size_and_time_is_sent_again() {
    if not_on_windows("the time of change (ctime)") {
        return;
    }
    let world = world(2);
    let mtime = an_hour_ago();
    set_mtime(&world, "files/001", mtime);
    assert_sends(&world, &["temp3/000", "temp3/001"]);
    world.file("files/001", "new");
    set_mtime(&world, "files/001", mtime);
    assert_sends(&world, &["temp3/001"]);
    let bytes = world.stand_in.objects()["temp3/001"].bytes.clone();
    assert_eq!(bytes.as_deref(), Some(b"new".as_slice()));
    assert_sends(&world, &[]);
}

/// A change of its permissions gives a file another ctime.
#[cfg(unix)]
#[test]
fn a_file_of_which_only_the_ctime_has_changed_is_read_once_and_not_sent() {
    if not_on_windows("the time of change (ctime)") {
        return;
    }
    let world = world(2);
    assert_sends(&world, &["temp3/000", "temp3/001"]);
    set_mode(&world.path("files/001"), 0o600);
    assert_sends(&world, &[]);
    let text = manifest(&world);
    assert_eq!(text.lines().count(), 3, "{text}");
    assert_sends(&world, &[]);
    assert_eq!(manifest(&world), text, "the new ctime is known");
}

#[test]
fn a_file_is_read_until_its_time_is_old_enough_to_tell() {
    let world = world(1);
    // A time in the future stays young for the whole test.
    let young = SystemTime::now() + Duration::from_secs(600);
    set_mtime(&world, "files/000", young);
    assert_sends(&world, &["temp3/000"]);
    world.file("files/000", "new");
    set_mtime(&world, "files/000", young);
    assert_sends(&world, &["temp3/000"]);
    let mtimes = || -> Vec<i64> {
        let mtime = |entry: &Value| entry["mtime"].as_i64().unwrap();
        entries(&world).iter().map(mtime).collect()
    };
    // It is read, but there is nothing new to record.
    assert_sends(&world, &[]);
    assert_eq!(mtimes(), [0, 0]);
    set_mtime(&world, "files/000", UNIX_EPOCH + Duration::from_secs(7));
    for _ in 0..2 {
        assert_sends(&world, &[]);
        assert_eq!(mtimes(), [0, 0, 7_000_000_000]);
    }
}

/// Whoever writes to a file right after the run leaves it the same time where clocks tick every 2 s.
#[test]
fn the_time_of_a_file_that_was_just_written_is_not_recorded() {
    let world = world(1);
    let mtime = SystemTime::now();
    set_mtime(&world, "files/000", mtime);
    assert_sends(&world, &["temp3/000"]);
    let is_young = mtime.elapsed().unwrap() < Duration::from_secs(2); // the machine may be busy
    let recorded = entries(&world)[0]["mtime"].as_i64().unwrap();
    assert!(recorded == 0 || !is_young, "{recorded}");
}

#[test]
fn a_manifest_of_0_3_is_read_as_it_is() {
    let world = world(2);
    assert_sends(&world, &["temp3/000", "temp3/001"]);
    let old_lines = entries(&world).into_iter().map(|mut entry| {
        let fields = entry.as_object_mut().unwrap();
        fields.remove("cache_control");
        fields.remove("ctime");
        assert_eq!(fields.len(), 6);
        format!("{entry}\n")
    });
    let text = old_lines.collect::<String>();
    for cache_control in [json!(null), json!("no-cache")] {
        world.file(MANIFEST, &text);
        world.configure(json!({ "cache_control": cache_control }));
        assert_sends(&world, &[]);
        assert_eq!(manifest(&world), text);
    }
}

#[test]
fn another_cache_control_counts_as_changed_and_then_is_quiet_again() {
    let world = world(2);
    assert_sends(&world, &["temp3/000", "temp3/001"]);
    for cache_control in [json!("no-cache"), json!("max-age=60"), json!(null)] {
        world.configure(json!({ "cache_control": cache_control }));
        assert_sends(&world, &["temp3/000", "temp3/001"]);
        let stored = world.stand_in.objects()["temp3/001"].cache_control.clone();
        assert_eq!(stored.as_deref(), cache_control.as_str());
        assert_eq!(
            entries(&world).last().unwrap()["cache_control"],
            cache_control
        );
        assert_sends(&world, &[]);
    }
    world.configure(json!({ "cache_control": "no-cache" }));
    let dry = world.run(["-n", "--manifest", MANIFEST, "files"]);
    assert_eq!(dry.summary(), "2 would be uploaded (6 B)");
    world.assert_proper();
}

// ---- File systems that cannot append ---------------------------------------------------------------

/// A mount of rclone with its default flags: a file that is open for appending cannot be read.
#[cfg(target_os = "linux")]
fn unable_to_append() -> Option<OtherSystem> {
    OtherSystem::compiled(&[
        "#define _GNU_SOURCE",
        "#include <errno.h>",
        "#include <fcntl.h>",
        "#include <sys/syscall.h>",
        "#include <unistd.h>",
        "ssize_t read(int fd, void *bytes, size_t count) {",
        "if (fcntl(fd, F_GETFL) & O_APPEND) { errno = EPERM; return -1; }",
        "return syscall(SYS_read, fd, bytes, count); }\n",
    ])
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_system_that_cannot_append_is_told_of_at_the_first_run() {
    let Some(mount) = unable_to_append() else {
        return;
    };
    let help = [
        "error: --manifest sent.jsonl: its file system seems unable to append to a file (",
        ": name a file on a local disk",
    ];
    let world = world(3);
    let run = || {
        let mut command = world.command(["--manifest", MANIFEST, "files"]);
        mount.show_to(&mut command);
        world.finish(command)
    };
    for _ in 0..2 {
        world.assert_refused(&run(), &help);
        assert!(!world.path(MANIFEST).exists());
    }
    // One that is there already stays as it is.
    world.file(MANIFEST, "");
    world.assert_refused(&run(), &help);
    assert_eq!(manifest(&world), "");
    assert_sends(&world, &["temp3/000", "temp3/001", "temp3/002"]);
    let text = manifest(&world);
    let ran = run();
    ran.assert_failure(2, &help);
    assert_eq!(manifest(&world), text);
}

// ---- Files that are gone from the cloud ----------------------------------------------------------------

#[test]
fn files_that_are_gone_from_the_cloud_are_uploaded_again() {
    let world = world(120);
    let first = run(&world);
    let (old_base, World { dir, .. }) = (world.stand_in.base(), world);
    let stand_in = StandIn::http();
    stand_in.config_json(dir.path());
    let world = World { stand_in, dir };
    let ran = run(&world);
    assert_eq!(ran.assert_success().counts(), "120 uploaded (360 B)");
    assert_eq!(
        ran.stdout,
        first.stdout.replace(&old_base, &world.stand_in.base())
    );
    assert_eq!((world.count(Step::Upload), world.keys().len()), (120, 120));
    assert_sends(&world, &[]);
    assert_eq!(recorded(&world).len(), 120);
    world.assert_proper();
}

#[test]
fn only_the_files_that_are_gone_are_uploaded_again_with_any_number_of_jobs() {
    side_by_side(
        ["1", "8", "64"].map(|jobs| (jobs.to_owned(), jobs)),
        |jobs| {
            let world = world(110);
            let first = run(&world);
            let gone: Vec<_> = [0, 1, 48, 49, 50, 51, 99, 108, 109]
                .map(|index| format!("temp3/{index:03}"))
                .into();
            let ids: Vec<_> = gone.iter().map(|key| file_id_of(key)).collect();
            let asked = Mutex::new(BTreeSet::new());
            world.stand_in.fault(
            Step::Link,
            When::Always,
            Fault::edit(move |reply| {
                for entry in reply["file_list"].as_array_mut().into_iter().flatten() {
                    let id = entry["fileid"].as_str().unwrap_or_default().to_owned();
                    if ids.contains(&id) && asked.lock().unwrap().insert(id.clone()) {
                        *entry =
                            json!({ "fileid": id, "download_url": "", "status": 1, "errmsg": "STORAGE_FILE_NONEXIST" });
                    }
                }
            }),
        );
            let ran = world.run(["--manifest", MANIFEST, "-j", jobs, "files"]);
            assert_eq!(
                ran.assert_success().counts(),
                "9 uploaded (27 B), 101 unchanged"
            );
            assert_eq!(ran.stdout, first.stdout);
            let mut again = uploaded_since(&world, 110);
            again.sort();
            assert_eq!(again, gone);
            world.assert_proper();
        },
    );
}

#[test]
fn a_file_that_is_gone_even_after_a_second_upload_has_failed() {
    let world = world(3);
    run(&world).assert_success();
    let gone = |reply: &mut Value| {
        for entry in reply["file_list"].as_array_mut().into_iter().flatten() {
            entry["errmsg"] = "STORAGE_FILE_NONEXIST".into();
        }
    };
    world
        .stand_in
        .fault(Step::Link, When::Always, Fault::edit(gone));
    run(&world).assert_failure(
        1,
        &[
            "获取下载链接失败",
            "STORAGE_FILE_NONEXIST",
            "0 uploaded (0 B), 3 failed",
        ],
    );
    assert_eq!(uploaded_since(&world, 3).len(), 3);
}

#[test]
fn a_file_that_is_gone_from_the_cloud_and_from_the_disk_fails_alone() {
    let world = world(2);
    run(&world).assert_success();
    let path = world.path("files/001");
    let gone = move |reply: &mut Value| {
        fs::remove_file(&path).ok();
        for entry in reply["file_list"].as_array_mut().into_iter().flatten() {
            if entry["fileid"]
                .as_str()
                .is_some_and(|id| id.ends_with("/001"))
            {
                entry["errmsg"] = "STORAGE_FILE_NONEXIST".into();
            }
        }
    };
    world
        .stand_in
        .fault(Step::Link, When::Always, Fault::edit(gone));
    let ran = run(&world);
    ran.assert_failure(
        1,
        &[
            "error: files/001: 上传文件失败: ",
            "0 uploaded (0 B), 1 unchanged, 1 failed",
        ],
    );
    assert_eq!(ran.lines().len(), 1);
}

// ---- Uploads and links side by side -------------------------------------------------------------

#[test]
fn a_new_file_is_sent_while_links_of_known_files_are_asked_for_together() {
    let world = world(120);
    run(&world).assert_success();
    world.file("files/120", "new");
    let links = world.count(Step::Link);
    world.stand_in.fault(Step::Link, When::Always, Fault::Hold);
    let child = start(&world, &["-j", "1", "files"]);
    // The new file comes last, so by then all known files are waiting for their links.
    let was_sent = world.stand_in.wait_for(Step::Upload, 121, PATIENCE);
    world.stand_in.open_gate();
    assert!(was_sent);
    let ran = world.wait(child);
    let sizes = sizes_of_link_calls(&world, links);
    assert!(sizes.len() <= 4, "not together: {sizes:?}");
    assert_eq!(sizes.iter().sum::<usize>(), 121);
    assert_eq!(
        ran.assert_success().counts(),
        "1 uploaded (3 B), 120 unchanged"
    );
    assert_eq!(ran.lines().len(), 121);
}

#[test]
fn the_link_that_is_printed_first_is_asked_for_first() {
    let world = world(900);
    run(&world).assert_success();
    for changed in ["000", "900", "901"] {
        world.file(format!("files/{changed}"), "new");
    }
    let (infos, links) = (world.count(Step::Info), world.count(Step::Link));
    let [first_file, last_files, all_links] = [(); 3].map(|()| Gate::default());
    let gates = [
        (Step::Info, key("000"), &first_file),
        (Step::Info, key("900"), &last_files),
        (Step::Info, key("901"), &last_files),
        (Step::Link, When::Always, &all_links),
    ];
    for (step, when, gate) in gates {
        world.stand_in.fault(step, when, gate.hold());
    }
    let child = start(&world, &["-j", "1", "files"]);
    // One thread waits with the first file. The other has passed all known files and waits with
    // the first of the last files. The first calls for links are on their way, for known files.
    assert!(world.stand_in.wait_for(Step::Info, infos + 2, PATIENCE));
    assert!(world.stand_in.wait_for(Step::Link, links + 1, PATIENCE));
    first_file.open();
    // The thread with the first file has sent it, and now waits with the very last file.
    assert!(world.stand_in.wait_for(Step::Info, infos + 3, PATIENCE));
    all_links.open();
    last_files.open();
    world.wait(child).assert_success();
    let calls = world.stand_in.requests(Step::Link).split_off(links);
    let asks = |call: &Request| call.json()["file_list"][0]["fileid"] == file_id("000");
    // It is among the next eight. There are 18 or more.
    assert!(calls.iter().position(asks) < Some(16) && calls.len() >= 18);
}

#[test]
fn when_the_links_stop_the_run_uploaded_files_get_no_more_links() {
    let world = world(200);
    world.stand_in.fault(Step::Link, When::Always, Fault::Hold);
    let child = start(&world, &["files"]);
    assert!(world.stand_in.wait_for(Step::Link, 1, PATIENCE));
    assert!(world.stand_in.wait_for(Step::Upload, 200, PATIENCE));
    world.stand_in.clear_faults();
    world
        .stand_in
        .fault(Step::Link, When::Always, Fault::Errcode(48001));
    world.stand_in.open_gate();
    let ran = world.wait(child);
    ran.assert_failure(
        1,
        &[
            ": 获取下载链接失败: errcode 48001",
            "the file is uploaded, as cloud://",
        ],
    );
    // The first call, and three others at once, with 50 files each
    assert!((3..=5).contains(&world.count(Step::Link)));
    assert_eq!(recorded(&world).len(), 200);
    assert!(!ran.counts().contains("not attempted"), "{}", ran.counts());
}

#[test]
fn when_the_links_stop_the_run_known_files_get_no_more_links() {
    let world = world(120);
    run(&world).assert_success();
    let before = world.count(Step::Link);
    world
        .stand_in
        .fault(Step::Link, When::Always, Fault::Errcode(45009));
    let ran = run(&world);
    ran.assert_failure(1, &["error: 获取下载链接失败: errcode 45009"]);
    assert_eq!(ran.counts(), "0 uploaded (0 B), 120 not attempted");
    // The first calls go out together.
    assert!((1..=3).contains(&(world.count(Step::Link) - before)));
}

// ---- A torn last line ---------------------------------------------------------------------------

/// Cuts the last line of a manifest at some bytes (a unit test cuts it at each). After the next run every
/// line is whole.
#[test]
fn a_torn_last_line_is_ignored_and_repaired() {
    let world = world(2);
    run(&world).assert_success();
    let mut lines: Vec<_> = manifest(&world)
        .lines()
        .map(|line| format!("{line}\n"))
        .collect();
    lines.sort();
    let [first, last] = &lines[..] else {
        panic!("{lines:?}")
    };
    // A manifest that is cut within its very first bytes could also be another file: the next test
    // is about that.
    let after_another = [0, 1, "{\"key\"".len(), 40, last.len() - 2]
        .map(|cut| (first.as_str(), cut, ["files/000", "files/001"].as_slice()));
    let alone = ["{\"key\"".len(), 40, last.len() - 3, last.len() - 2]
        .map(|cut| ("", cut, ["files/001"].as_slice()));
    let cases = after_another.into_iter().chain(alone).enumerate();
    side_by_side(
        cases.map(|(number, case)| (format!("{case:?}"), (number, case))),
        |(number, (whole, cut, files))| {
            let name = format!("{number}.jsonl");
            world.file(&name, format!("{whole}{}", &last[..cut]));
            let ran = world.run(["--manifest", &name].iter().chain(files));
            ran.assert_success();
            assert_eq!(ran.lines().len(), files.len());
            let text = fs::read_to_string(world.path(&name)).unwrap();
            let parsed: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
            let keys: Vec<_> = parsed
                .unwrap()
                .iter()
                .map(|entry| entry["key"].clone())
                .collect();
            assert_eq!(keys.last(), Some(&json!("temp3/001")), "{text}");
            assert!(
                text.starts_with(whole) && text.ends_with('\n') && keys.len() == files.len(),
                "{text}"
            );
        },
    );
    let uploads = world
        .stand_in
        .requests(Step::Upload)
        .into_iter()
        .filter_map(|request| request.key);
    let of_first = uploads.filter(|key| key == "temp3/000").count();
    assert_eq!(of_first, 1, "the first line was whole");
}

#[test]
fn a_complete_last_line_without_a_newline_stays_and_counts() {
    let world = world(2);
    world.run(["--manifest", MANIFEST, "files/000"]);
    let line = manifest(&world);
    world.file(MANIFEST, line.trim_end());
    assert_sends(&world, &["temp3/001"]);
    assert_eq!(manifest(&world).lines().next(), Some(line.trim_end()));
    assert_eq!(entries(&world).len(), 2);
}

/// The first line of a manifest can be torn, too.
#[test]
fn a_first_line_torn_at_its_first_bytes_is_ignored_and_repaired() {
    let world = world(1);
    world.file(MANIFEST, "{\"k");
    assert_sends(&world, &["temp3/000"]);
    assert_eq!(entries(&world).len(), 1);
}

// ---- Files that are not a manifest ------------------------------------------------------------------------

#[test]
fn a_file_that_is_not_a_manifest_is_refused_and_stays_as_it_is() {
    let others: [&[u8]; 4] = [
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"{\n    \"key\": \"value\",\n    \"env\": \"x\"\n}\n",
        b"{\"key\":\"value\"}",
        b"{\"key\":1,\"file_id\":\"cloud://x\"}",
    ];
    side_by_side(
        others.map(|bytes| (String::from_utf8_lossy(bytes).into_owned(), bytes)),
        |bytes| {
            let world = world(2);
            world.file("other", bytes);
            for options in [&["--manifest", "other"][..], &["-n", "--manifest", "other"]] {
                let ran = world.run(options.iter().chain(&["files"]));
                let left = fs::read(world.path("other")).unwrap();
                assert!(left == bytes, "{}", String::from_utf8_lossy(&left));
                world.assert_refused(&ran, &["--manifest other: ", "manifest"]);
            }
        },
    );
}

#[test]
fn the_config_or_a_file_to_upload_is_not_taken_for_a_manifest() {
    let world = world(2);
    for name in ["config.json", "files/000"] {
        let before = fs::read(world.path(name)).unwrap();
        world.assert_refused(&world.run(["--manifest", name, "files"]), &[name]);
        assert_eq!(fs::read(world.path(name)).unwrap(), before);
    }
}

#[test]
fn a_manifest_that_cannot_be_opened_is_refused_with_a_sentence() {
    let world = world(1);
    fs::create_dir(world.path("directory")).unwrap();
    for path in [
        "directory",
        "directory/",
        "missing/sent.jsonl",
        "config.json/sent.jsonl",
        "new/",
    ] {
        let ran = world.run(["--manifest", path, "files"]);
        world.assert_refused(&ran, &[&format!("--manifest {path}: ")]);
    }
}

/// A file that never begins, one that ends late, and one that never ends.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_is_not_a_manifest_is_not_read_to_its_end() {
    if not_on_windows("ulimit") {
        return;
    }
    let world = world(1);
    make_fifo(&world.path("fifo"));
    File::create(world.path("film"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    side_by_side(
        ["fifo", "film", "/dev/zero"].map(|path| (path.to_owned(), path)),
        |path| {
            let command = world.command(["--manifest", path, "files"]);
            let command = after("ulimit -v 1000000", &through(&["timeout", "30"], &command));
            world.assert_refused(&world.finish(command), &[path]);
        },
    );
}

#[test]
fn a_run_that_is_refused_creates_no_manifest() {
    let world = world(1);
    let mut command = world.command(["--manifest", MANIFEST, "files"]);
    command.env("SSL_CERT_FILE", "nowhere.pem");
    world.assert_refused(&world.finish(command), &["SSL_CERT_FILE: nowhere.pem: "]);
    assert!(!world.path(MANIFEST).exists());
}

#[cfg(unix)]
#[test]
fn a_manifest_may_be_a_link() {
    let world = world(2);
    fs::create_dir(world.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere/real.jsonl", world.path(MANIFEST)).unwrap();
    assert_sends(&world, &["temp3/000", "temp3/001"]);
    assert!(world.path(MANIFEST).is_symlink());
    assert_eq!(
        fs::read_to_string(world.path("elsewhere/real.jsonl"))
            .unwrap()
            .lines()
            .count(),
        2
    );
    assert_sends(&world, &[]);
}

/// A manifest looks like this if its first line was torn and the next run wrote after it.
#[test]
fn a_first_line_that_makes_no_sense_does_not_spoil_a_manifest() {
    for first in ["", "{\"key\":\"temp3/0"] {
        let world = world(2);
        run(&world).assert_success();
        let text = format!("{first}\n{}", manifest(&world));
        world.file(MANIFEST, &text);
        assert_sends(&world, &[]);
        assert_eq!(manifest(&world), text);
    }
}

#[test]
fn an_empty_file_is_a_manifest_that_knows_nothing() {
    let world = world(1);
    world.file(MANIFEST, "");
    assert_sends(&world, &["temp3/000"]);
    assert_sends(&world, &[]);
}

#[cfg(unix)]
#[test]
fn a_full_disk_costs_only_a_warning_and_the_next_run_repairs_the_manifest() {
    let world = world(12);
    world.run(["files/000"]).assert_success(); // saves a token
    let command = world.command(["-j", "1", "--manifest", MANIFEST, "files"]);
    // The limit works like a full disk: only half of the last line is written.
    let ran = world.finish(after("ulimit -f 1; trap '' XFSZ", &command));
    ran.assert_failure(0, &["warning: ", "manifest", "12 uploaded (36 B) in "]);
    assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr); // one warning
    assert_eq!(ran.lines().len(), 12);
    let torn = manifest(&world);
    assert!(!torn.ends_with('\n') && torn.len() >= 512, "{torn}");
    let whole = torn.rfind('\n').map_or("", |end| &torn[..end]);
    let missing: Vec<_> = (0..12)
        .map(|index| format!("temp3/{index:03}"))
        .filter(|key| !whole.contains(&format!("\"{key}\"")))
        .collect();
    assert_sends(
        &world,
        &missing.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    assert_eq!(entries(&world).len(), 12);
}

// ---- Several runs, and runs that are killed -----------------------------------------------------

#[test]
fn four_runs_at_once_do_not_spoil_the_manifest() {
    const FILES: usize = 60;
    let world = world(FILES);
    run(&world).assert_success();
    // All runs find a manifest with a whole line and a torn line.
    let first = manifest(&world).lines().next().unwrap().to_owned();
    world.file(MANIFEST, format!("{first}\n{}", &first[..50]));
    let before = world.count(Step::Upload);
    let children: Vec<_> = ["a", "b", "c", "d"]
        .map(|folder| start(&world, &["-t", folder, "files"]))
        .into();
    for child in children {
        assert!(
            world
                .wait(child)
                .assert_success()
                .counts()
                .starts_with("60 uploaded")
        );
    }
    assert_eq!(uploaded_since(&world, before).len(), 4 * FILES);
    let entries = entries(&world);
    assert_eq!(
        (entries.len(), recorded(&world).len()),
        (4 * FILES + 1, 4 * FILES + 1)
    );
    assert_eq!(entries[0].to_string(), first);
    for folder in ["a", "b", "c", "d"] {
        let ran = world.run(["--manifest", MANIFEST, "-t", folder, "files"]);
        assert!(ran.counts().ends_with(", 60 unchanged"), "{}", ran.stderr);
    }
}

/// Starts a run that is stuck at the upload of `files/001`, and waits until it has recorded the others.
fn start_stuck(world: &World, others: usize) -> Child {
    world.stand_in.fault(Step::Upload, key("001"), Fault::Hold);
    let child = start(world, &["-j", "2", "files"]);
    wait_until("the others are recorded", || {
        let text = fs::read_to_string(world.path(MANIFEST)).unwrap_or_default();
        text.matches('\n').count() == others
    });
    child
}

#[test]
fn a_run_locks_the_manifest_only_while_it_reads_or_writes() {
    let world = world(2);
    let first = start_stuck(&world, 1);
    // The first run has recorded one file and is not at its end. Another run does not wait for it.
    let ran = world.run(["--manifest", MANIFEST, "-t", "other", "files"]);
    ran.assert_success();
    assert_eq!(entries(&world).len(), 3);
    world.stand_in.open_gate();
    world.wait(first).assert_success();
    assert_eq!(entries(&world).len(), 4);
}

/// Another run can tear a line in the meantime: it is killed, or the disk is full for a moment.
#[test]
fn a_line_that_is_torn_during_a_run_does_not_spoil_the_next_one() {
    let world = world(3);
    let child = start_stuck(&world, 2);
    let text = manifest(&world);
    world.file(MANIFEST, format!("{text}{}", &text[..50]));
    world.stand_in.open_gate();
    world.wait(child).assert_success();
    assert_sends(&world, &[]);
}

/// Answers this many requests, a little late, and no more.
fn stuck_after(requests: usize) -> Fault {
    let answered = Mutex::new(0);
    Fault::custom(move |_| {
        let mut answered = answered.lock().unwrap();
        *answered += 1;
        Some(if *answered > requests {
            Fault::Silence
        } else {
            Fault::Delay(Duration::from_millis(2))
        })
    })
}

#[test]
fn a_run_that_is_killed_and_started_again_sends_only_the_missing_files() {
    const FILES: usize = 120;
    const JOBS: usize = 4;
    /// How many uploads each run has sent when it is killed.
    const KILLS: [usize; 4] = [10, 20, 30, 15];
    /// How many more uploads get through if the kill comes late.
    const LATE: usize = 10;
    let world = world(FILES);
    let mut again = 0;
    for uploads in KILLS {
        let (known, before) = if again == 0 {
            Default::default()
        } else {
            (recorded_whole(&world), again)
        };
        world.stand_in.clear_faults();
        let stuck = stuck_after(uploads + LATE);
        world.stand_in.fault(Step::Upload, When::Always, stuck);
        let mut child = start(&world, &["-j", &JOBS.to_string(), "files"]);
        assert!(
            world
                .stand_in
                .wait_for(Step::Upload, before + uploads, PATIENCE)
        );
        child.kill().unwrap();
        child.wait().unwrap();
        // The stand-in may log its last requests a moment later.
        let sent: BTreeSet<_> = uploaded_since(&world, before).into_iter().collect();
        assert_eq!(sent.intersection(&known).count(), 0, "{sent:?}");
        again = world.count(Step::Upload);
    }
    world.stand_in.clear_faults();
    let (known, before) = (recorded_whole(&world), world.count(Step::Upload));
    assert!((1..FILES).contains(&known.len()), "{}", known.len());
    let ran = run(&world);
    assert_eq!(ran.assert_success().lines().len(), FILES);
    let (sent, all): (BTreeSet<_>, BTreeSet<_>) = (
        uploaded_since(&world, before).into_iter().collect(),
        world.keys().into_iter().collect(),
    );
    assert_eq!(sent, &all - &known);
    assert_eq!((all.len(), recorded(&world)), (FILES, all));
    // Only files that were under way when a run was killed, or not yet recorded, were uploaded twice.
    assert!(
        world.count(Step::Upload) <= FILES + KILLS.len() * 2 * JOBS,
        "{}",
        world.count(Step::Upload)
    );
    world.assert_proper();
}

/// The keys in the whole lines of the manifest. The last line may be torn.
fn recorded_whole(world: &World) -> BTreeSet<String> {
    let text = manifest(world);
    let whole = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    let entry = |line| serde_json::from_str::<Value>(line).expect("a line that is whole");
    whole
        .map(|line| entry(line)["key"].as_str().unwrap().to_owned())
        .collect()
}

// ---- The dry run --------------------------------------------------------------------------------

#[test]
fn a_dry_run_lists_the_files_to_send_and_leaves_the_manifest_alone() {
    let world = world(3);
    let dry_run = |file_count: usize| {
        let ran = world.run(["-n", "--manifest", MANIFEST, "files"]);
        let unchanged = match 3 - file_count {
            0 => String::new(),
            count => format!(", {count} unchanged"),
        };
        let summary = format!(
            "{file_count} would be uploaded ({} B){unchanged}",
            3 * file_count
        );
        assert_eq!(ran.assert_success().summary(), summary);
        ran.lines()
            .iter()
            .map(|line| line.split('\t').next_back().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(dry_run(3).len(), 3);
    assert!(!world.path(MANIFEST).exists());
    world
        .run([
            "--manifest",
            MANIFEST,
            "files/000",
            "files/001",
            "files/002",
        ])
        .assert_success();
    assert_eq!(dry_run(0), [""; 0]);
    world.file("files/001", "new");
    set_mtime(&world, "files/001", UNIX_EPOCH);
    assert_eq!(dry_run(1), ["temp3/001"]);
    let mut torn: Vec<_> = manifest(&world)
        .lines()
        .map(|line| format!("{line}\n"))
        .collect();
    torn.sort();
    let torn = torn.concat();
    let torn = &torn[..torn.len() - 20];
    world.file(MANIFEST, torn);
    let (requests, mtime) = (
        world.requests(),
        fs::metadata(world.path(MANIFEST))
            .unwrap()
            .modified()
            .unwrap(),
    );
    assert_eq!(dry_run(2), ["temp3/001", "temp3/002"]);
    assert_eq!(
        (manifest(&world).as_str(), world.requests()),
        (torn, requests)
    );
    assert_eq!(
        fs::metadata(world.path(MANIFEST))
            .unwrap()
            .modified()
            .unwrap(),
        mtime
    );
}
