//! A file is stored as it was at one moment, also where a program writes to it meanwhile.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use stand_in::{Fault, Step, When};

use crate::harness::{World, not_on_windows, side_by_side};
use crate::unix::OtherSystem;

/// A file of up to 1 MiB is looked into before it is sent, a larger one is not.
const SIZES: [usize; 2] = [300 << 10, 2 << 20];

/// Bytes that differ from those of another `seed` at every place.
fn content(seed: u8, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    for (n, thousand) in bytes.chunks_mut(1000).enumerate() {
        thousand.fill((n * 2) as u8 ^ seed);
    }
    bytes
}

// ---- Changes ------------------------------------------------------------------------------------

/// What happens to the file at a path, which held `content(0, size)`.
type Change = fn(&Path, usize);

fn open(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

/// Writes other bytes over those that are there, in two parts.
fn rewrite(path: &Path, size: usize) {
    let mut file = open(path);
    let bytes = content(1, size);
    let (first, second) = bytes.split_at(size / 2);
    file.seek(SeekFrom::Start(first.len() as u64)).unwrap();
    file.write_all(second).unwrap();
    file.rewind().unwrap();
    file.write_all(first).unwrap();
}

fn rewrite_and_set_the_time_back(path: &Path, size: usize) {
    let before = fs::metadata(path).unwrap().modified().unwrap();
    rewrite(path, size);
    open(path).set_modified(before).unwrap();
}

fn grow(path: &Path, _: usize) {
    let mut file = open(path);
    file.seek(SeekFrom::End(0)).unwrap();
    file.write_all(b"more").unwrap();
}

fn truncate(path: &Path, size: usize) {
    open(path).set_len(size as u64 / 3).unwrap();
}

fn save_anew(path: &Path, size: usize) {
    fs::write(path, content(1, size + 1000)).unwrap();
}

fn replace(path: &Path, size: usize) {
    let new = path.with_extension("new");
    fs::write(&new, content(1, size)).unwrap();
    fs::rename(new, path).unwrap();
}

const CHANGES: [(&str, Change); 6] = [
    ("rewritten", rewrite),
    (
        "rewritten, its time set back",
        rewrite_and_set_the_time_back,
    ),
    ("grown", grow),
    ("truncated", truncate),
    ("saved anew", save_anew),
    ("replaced", replace),
];

// ---- Moments ------------------------------------------------------------------------------------

/// When it happens.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    /// The file is listed, and not open yet.
    TokenAsked,
    /// The file is open, and waits for the answer of step 2.
    InfoAsked,
    /// This part of the body has arrived, in quarters.
    Sent(u64),
}

const MOMENTS: [Moment; 5] = [
    Moment::TokenAsked,
    Moment::InfoAsked,
    Moment::Sent(1),
    Moment::Sent(3),
    Moment::Sent(4),
];

/// Lets `change` happen to the file at this moment of its next upload.
fn happens(world: &World, when: When, moment: Moment, path: &Path, size: usize, change: Change) {
    let path = path.to_owned();
    let change = move || change(&path, size);
    let (step, fault) = match moment {
        Moment::TokenAsked => (Step::Token, Fault::edit(move |_| change())),
        Moment::InfoAsked => (Step::Info, Fault::edit(move |_| change())),
        Moment::Sent(4) => (Step::Upload, Fault::at(u64::MAX, change)),
        Moment::Sent(quarters) => {
            let at = size as u64 / 4 * quarters;
            (Step::Upload, Fault::at(at, change))
        }
    };
    world.stand_in.fault(step, when, fault);
}

fn stored(world: &World) -> Vec<u8> {
    let object = &world.stand_in.objects()["temp3/file.png"];
    object.bytes.clone().expect("bytes that are kept")
}

#[test]
fn what_is_stored_is_one_whole_state_of_the_file() {
    if not_on_windows("the time of change (ctime)") {
        return;
    }
    let mut cases = Vec::new();
    for size in SIZES {
        for (what, change) in CHANGES {
            for moment in MOMENTS {
                for tls in [false, true] {
                    let name = format!("{size} bytes, {what} at {moment:?}, TLS: {tls}");
                    cases.push((name, (size, what, change, moment, tls)));
                }
            }
        }
    }
    side_by_side(cases, |(size, what, change, moment, tls)| {
        let world = if tls { World::https() } else { World::http() };
        let path = world.file("file.png", content(0, size));
        happens(&world, When::Once, moment, &path, size, change);
        let ran = world.run(["file.png"]);
        ran.assert_success();
        let stored = stored(&world);
        let is_old = stored == content(0, size);
        assert!(
            is_old || stored == fs::read(&path).unwrap(),
            "neither old nor new"
        );
        // A file that is replaced while it is read is still whole. And what is seen before the file
        // is sent costs nothing.
        let is_sending = matches!(moment, Moment::Sent(_));
        let is_replaced = what == "replaced";
        assert_eq!(is_old, is_sending && is_replaced);
        let uploads = if is_sending && !is_replaced { 2 } else { 1 };
        assert_eq!(world.count(Step::Upload), uploads);
        world.assert_proper();
    });
}

#[test]
fn what_changes_before_it_is_sent_costs_no_try() {
    for (what, change) in CHANGES {
        let size = SIZES[0];
        let world = World::http();
        let path = world.file("file.png", content(0, size));
        happens(&world, When::Once, Moment::InfoAsked, &path, size, change);
        world.run(["--retries", "0", "file.png"]).assert_success();
        assert_eq!(stored(&world), fs::read(&path).unwrap(), "{what}");
    }
}

#[test]
fn a_file_that_changes_during_each_try_fails_and_is_not_stored() {
    if not_on_windows("the time of change (ctime)") {
        return;
    }
    for (what, change) in CHANGES {
        if what == "replaced" || what == "truncated" {
            continue; // the first is never half, and the second is truncated once
        }
        let size = SIZES[1];
        let world = World::http();
        let path = world.file("file.png", content(0, size));
        happens(&world, When::Always, Moment::Sent(1), &path, size, change);
        let ran = world.run(["--retries", "1", "file.png"]);
        let words = [
            "error: file.png: 上传文件失败: it changed while it was read",
            "(tried 2 times)",
        ];
        ran.assert_failure(1, &words);
        assert_eq!(world.keys(), [""; 0], "{what}");
    }
}

#[test]
fn a_log_that_grows_all_the_time_fails() {
    let world = World::http();
    let path = world.file("app.log", "a line\n".repeat(1000));
    // It also grows when it was read to its end.
    let grow = move || grow(&path, 0);
    world
        .stand_in
        .fault(Step::Upload, When::Always, Fault::at(u64::MAX, grow));
    let ran = world.run(["--retries", "1", "app.log"]);
    ran.assert_failure(
        1,
        &["error: app.log: 上传文件失败: it changed while it was read"],
    );
}

#[test]
fn what_happens_around_a_file_does_not_change_it() {
    let around: [Change; 3] = [
        |path, _| fs::hard_link(path, path.with_extension("backup")).unwrap(),
        |path, _| fs::remove_file(path).unwrap(),
        |path, _| drop(fs::read(path).unwrap()),
    ];
    for change in around {
        for moment in &MOMENTS[1..] {
            let size = SIZES[0];
            let world = World::http();
            let path = world.file("file.png", content(0, size));
            happens(&world, When::Once, *moment, &path, size, change);
            world.run(["--retries", "0", "file.png"]).assert_success();
            assert_eq!(stored(&world), content(0, size));
        }
    }
}

#[test]
fn where_the_clock_of_the_file_system_is_coarse_a_second_change_in_a_tick_shows() {
    // The times of files tick every 18 ms, as with older kernels.
    let coarse = "stat->stx_mtime.tv_nsec -= stat->stx_mtime.tv_nsec % 18000000;
                  stat->stx_ctime.tv_nsec -= stat->stx_ctime.tv_nsec % 18000000;";
    let Some(coarse) = OtherSystem::with_facts(coarse) else {
        return;
    };
    let size = SIZES[1];
    let (first, second) = (content(0, size), content(1, size));
    for _ in 0..5 {
        let world = World::http();
        let path = world.file("file.png", content(2, size));
        // The first change comes just before the file is opened anew. The second one comes as soon as
        // it is sent: as a rule in the same tick, if the program does not wait for the next.
        let write = |bytes: &[u8]| {
            let (path, bytes) = (path.clone(), bytes.to_owned());
            move || open(&path).write_all(&bytes).unwrap()
        };
        let (write_first, write_second) = (write(&first), write(&second));
        let at_info = Fault::edit(move |_| write_first());
        world.stand_in.fault(Step::Info, When::Once, at_info);
        let when_sent = Fault::at(1000, write_second);
        world.stand_in.fault(Step::Upload, When::Once, when_sent);
        let mut command = world.command(["file.png"]);
        coarse.show_to(&mut command);
        world.finish(command).assert_success();
        assert!(stored(&world) == second);
    }
}

// ---- Sizes that are not true --------------------------------------------------------------------

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_goes_on_after_its_size_fails() {
    for path in ["/proc/cpuinfo", "/proc/version"] {
        let world = World::with_files(&["good.txt"]);
        assert_eq!(fs::metadata(path).unwrap().len(), 0);
        let ran = world.run([path, "good.txt"]);
        let line = format!("error: {path}: 上传文件失败: it is longer than the system says");
        ran.assert_failure(1, &[&line, "1 uploaded", "1 failed"]);
        assert!(!ran.stderr.contains("tried"), "{}", ran.stderr);
        assert_eq!(world.keys(), ["temp3/good.txt"]);
    }
}

#[test]
fn a_file_that_is_not_as_long_as_the_system_says_fails() {
    let cases = [
        ("stat->stx_size /= 2", "it is longer than the system says"),
        ("stat->stx_size -= 1", "it is longer than the system says"),
        ("stat->stx_size += 1", "it is shorter than the system says"),
    ];
    for (edit, words) in cases {
        // The config is short. It keeps its size.
        let edit = format!("if (stat->stx_size > 100000) {edit};");
        let Some(untrue) = OtherSystem::with_facts(&edit) else {
            return;
        };
        for size in SIZES {
            let world = World::http();
            world.file("file.png", content(0, size));
            let mut command = world.command(["file.png"]);
            untrue.show_to(&mut command);
            let ran = world.finish(command);
            ran.assert_failure(1, &["error: file.png: 上传文件失败: ", words]);
            assert_eq!(world.keys(), [""; 0]);
        }
    }
}
