//! Which files a run uploads, in which order, and under which names.

use std::fs;

use serde_json::json;

use crate::harness::{Ran, World, can_be_named, not_on_windows, not_under_wine};
use stand_in::{Fault, Step, When};

/// The names printed, in their order.
fn names(ran: &Ran) -> Vec<&str> {
    ran.lines()
        .into_iter()
        .map(|line| line.split('\t').next().unwrap_or_default())
        .collect()
}

#[test]
fn without_a_path_the_fixed_directory_is_taken() {
    let world = World::with_files(&["154190339_附件/b.txt", "154190339_附件/a.txt", "other.txt"]);
    let ran = world.run([""; 0]);
    assert_eq!(names(ran.assert_success()), ["a.txt", "b.txt"]);
    assert_eq!(world.keys(), ["temp3/a.txt", "temp3/b.txt"]);
    world.assert_proper();
}

#[test]
fn the_config_may_name_another_fixed_directory() {
    let world = World::with_files(&["154190339_附件/a.txt", "上传/b.txt"]);
    world.configure(json!({ "upload_dir": "上传" }));
    assert_eq!(names(world.run([""; 0]).assert_success()), ["b.txt"]);
    // A PATH takes the place of that directory.
    assert_eq!(
        names(world.run(["154190339_附件"]).assert_success()),
        ["a.txt"]
    );
}

#[test]
fn a_missing_fixed_directory_is_refused_with_a_hint() {
    let world = World::http();
    for arguments in [[].as_slice(), &["-n"], &["-r"]] {
        world.assert_refused(
            &world.run(arguments),
            &[
                "/154190339_附件/: ",
                "without a PATH the program uploads this directory",
                "set `upload_dir` in ./config.json",
            ],
        );
    }
    world.configure(json!({ "upload_dir": "没有" }));
    let full = world.dir.path().canonicalize().unwrap().join("没有");
    world.assert_refused(
        &world.run([""; 0]),
        &[
            &full.to_string_lossy(),
            "correct `upload_dir` in ./config.json",
        ],
    );
}

#[test]
fn an_empty_directory_is_no_error_and_the_run_says_so() {
    let world = World::http();
    fs::create_dir(world.path("154190339_附件")).unwrap();
    for arguments in [[].as_slice(), &["154190339_附件"], &["-r"]] {
        let ran = world.run(arguments);
        assert_eq!(
            (ran.status, ran.stdout.as_str()),
            (Some(0), ""),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.contains("no file"), "{}", ran.stderr);
        assert_eq!(ran.counts(), "0 uploaded (0 B)");
    }
    assert_eq!(world.run(["-q"]).stderr, "");
    assert_eq!(world.stand_in.connections(), 0);
}

#[test]
fn paths_are_taken_in_the_order_given_and_a_directory_is_sorted() {
    let sorted = [
        "-", "1", "10", "2", "B", "a b", "a-b", "a.txt", "ab", "b", "é", "中", "文",
    ];
    let world = World::with_files(&["z.txt", "y.txt"]);
    sorted
        .iter()
        .rev()
        .for_each(|name| drop(world.file(format!("dir/{name}"), name)));
    let ran = world.run(["z.txt", "./dir/", "y.txt"]);
    let expected: Vec<_> = ["z.txt"]
        .into_iter()
        .chain(sorted)
        .chain(["y.txt"])
        .collect();
    assert_eq!(names(ran.assert_success()), expected);
    assert_eq!(world.keys().len(), expected.len());
    world.assert_proper();
}

#[test]
fn a_directory_may_be_written_in_any_way() {
    for (directory, path) in [
        (".", "./a.txt"),
        ("..", "../a.txt"),
        ("sub/..", "sub/../a.txt"),
        ("./sub/../", "./sub/../a.txt"),
    ] {
        let world = World::with_files(&["dir/a.txt", "dir/sub/b.txt"]);
        let mut command = world.command(["-c", "../config.json", "-f", "json", directory]);
        command.current_dir(world.path("dir"));
        if directory == ".." {
            command = world.command(["-c", "../../config.json", "-f", "json", directory]);
            command.current_dir(world.path("dir/sub"));
        }
        let ran = world.finish(command);
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        assert_eq!(
            (&ran.json()[0]["name"], &ran.json()[0]["path"]),
            (&json!("a.txt"), &json!(path))
        );
        assert_eq!(world.keys(), ["temp3/a.txt"]);
    }
}

#[test]
fn a_file_may_be_anywhere_and_has_its_own_name() {
    let world = World::with_files(&["some/where/a.txt"]);
    let absolute = world.path("some/where/a.txt");
    for path in [
        "some/where/a.txt",
        "./some/../some/where/a.txt",
        absolute.to_str().unwrap(),
    ] {
        assert_eq!(names(world.run([path]).assert_success()), ["a.txt"]);
    }
    assert_eq!(world.keys(), ["temp3/a.txt"]);
}

#[test]
fn a_directory_that_is_named_like_a_copy_of_the_config_is_a_directory() {
    let world = World::with_files(&["config.json.d/a.txt"]);
    let ran = world.run(["-r", "."]);
    assert_eq!(
        (ran.status, names(&ran)),
        (Some(0), vec!["config.json.d/a.txt"])
    );
}

#[test]
fn a_subdirectory_is_skipped_with_a_note() {
    let world = World::with_files(&["dir/a.txt", "dir/sub/b.txt", "dir/sub/deeper/c.txt"]);
    let ran = world.run(["dir"]);
    assert_eq!((ran.status, names(&ran)), (Some(0), vec!["a.txt"]));
    assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
    assert!(
        ran.stderr.starts_with("note: dir/sub: skipped: "),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("-r"), "{}", ran.stderr);
    assert_eq!(ran.counts(), "1 uploaded (9 B), 1 skipped");
    assert_eq!(world.keys(), ["temp3/a.txt"]);
}

#[test]
fn recursive_keeps_relative_paths() {
    let world = World::with_files(&[
        "dir/a.txt",
        "dir/b/a.txt",
        "dir/b/c 中/d.txt",
        "dir/b/.e",
        "dir/c.txt",
        "dir/..c/f",
    ]);
    fs::create_dir(world.path("dir/empty")).unwrap();
    let ran = world.run(["-r", "dir", "-t", "x"]);
    let names_below = ["a.txt", "b/a.txt", "b/c 中/d.txt", "c.txt"];
    assert_eq!((ran.status, names(&ran)), (Some(0), names_below.to_vec()));
    assert_eq!(world.keys(), names_below.map(|name| format!("x/{name}")));
    // Hidden files may be private: they are uploaded only if they are named.
    for hidden in ["dir/..c", "dir/b/.e"] {
        let note = format!("note: {hidden}: skipped: hidden (give its path");
        assert!(ran.stderr.contains(&note), "{}", ran.stderr);
    }
    assert_eq!(
        world.stand_in.objects()["x/b/a.txt"].bytes.as_deref(),
        Some(b"dir/b/a.txt".as_slice())
    );
    let ran = world.run(["-r", "dir/..c", "dir/b/.e", "-t", "y"]);
    assert_eq!(names(ran.assert_success()), ["f", ".e"]);
    world.assert_proper();
}

#[test]
fn hidden_files_and_files_with_odd_dots_are_uploaded_from_the_fixed_directory() {
    let mut odd = vec!["...", "..a", ".a.", ".hidden", "a.", "a..b"];
    odd.retain(|name| can_be_named(name));
    let world = World::http();
    odd.iter()
        .for_each(|name| drop(world.file(format!("dir/{name}"), name)));
    world.configure(json!({ "upload_dir": "dir" }));
    assert_eq!(names(world.run([""; 0]).assert_success()), odd);
    let keys: Vec<_> = odd.iter().map(|name| format!("temp3/{name}")).collect();
    assert_eq!(world.keys(), keys);
    world.assert_proper();
}

#[test]
fn a_path_that_does_not_exist_is_refused_before_anything_is_sent() {
    let world = World::with_files(&["a.txt", "dir/b.txt"]);
    for missing in [
        "missing.txt",
        "没有/x",
        "a.txt/",
        "a.txt/x",
        "dir/c.txt",
        "-",
        "\u{1b}[31m",
    ] {
        let shown = missing.replace('\u{1b}', r"\u001b");
        for arguments in [["a.txt", missing, "dir"], ["-n", "dir", missing]] {
            world.assert_refused(&world.run(arguments), &[&shown]);
        }
    }
}

#[test]
fn two_files_with_one_cloud_name_are_refused_and_both_are_named() {
    let world = World::with_files(&[
        "one/a.txt",
        "two/a.txt",
        "two/sub/a.txt",
        "b.txt",
        "one/b.txt",
    ]);
    let cases: &[(&[&str], [&str; 2])] = &[
        (&["one", "two"], ["one/a.txt", "two/a.txt"]),
        (&["one/a.txt", "b.txt", "two"], ["one/a.txt", "two/a.txt"]),
        (&["b.txt", "one"], ["b.txt", "one/b.txt"]),
        (&["-r", "one", "two/sub"], ["one/a.txt", "two/sub/a.txt"]),
        (&["-n", "one", "two"], ["one/a.txt", "two/a.txt"]),
        (&["-t", "", "one", "two"], ["one/a.txt", "two/a.txt"]),
    ];
    for (arguments, [one, other]) in cases {
        world.assert_refused(&world.run(*arguments), &[one, other]);
    }
    // Without the conflict they are uploaded.
    assert_eq!(
        names(world.run(["-r", "two", "b.txt"]).assert_success()),
        ["a.txt", "sub/a.txt", "b.txt"]
    );
}

#[test]
fn a_cloud_name_may_have_850_bytes_and_no_more() {
    let folder = "x".repeat(799); // 800 with its slash
    let (fits, too_long) = ("图".repeat(16) + ".x", "图".repeat(17)); // 50 and 51 bytes
    let world = World::with_files(&[
        "dir/a.txt",
        &format!("dir/{fits}"),
        &format!("dir/{too_long}"),
    ]);
    let ran = world.run(["-t", &folder, "dir"]);
    ran.assert_failure(
        1,
        &[
            &format!("error: dir/{too_long}: 上传文件失败: "),
            "850 bytes",
        ],
    );
    assert_eq!(names(&ran), ["a.txt", &*fits]);
    assert_eq!(
        world.keys(),
        [format!("{folder}/a.txt"), format!("{folder}/{fits}")]
    );
    assert_eq!(world.keys()[1].len(), 850);
    assert_eq!(ran.counts(), "2 uploaded (63 B), 1 failed");
    world.assert_proper();
}

// A file without read permission would be simpler, but root can read it.
#[test]
fn a_file_that_is_gone_when_its_turn_comes_fails_alone() {
    let world = World::with_files(&["dir/a", "dir/b", "dir/c"]);
    let gone = world.path("dir/b");
    let delete = Fault::custom(move |_| {
        fs::remove_file(&gone).ok();
        None
    });
    // No file is open yet.
    world.stand_in.fault(Step::Token, When::Once, delete);
    let ran = world.run(["dir"]);
    ran.assert_failure(1, &["error: dir/b: 上传文件失败: "]);
    assert_eq!(names(&ran), ["a", "c"]);
    assert_eq!(ran.counts(), "2 uploaded (10 B), 1 failed");
    world.assert_proper();
}

/// Tests with links, pipes, sockets and names that are not text.
#[cfg(unix)]
mod unix {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use super::*;
    use crate::unix::make_fifo;

    #[test]
    fn a_link_to_a_file_is_uploaded_under_the_name_of_its_target() {
        if not_under_wine("links of Unix") {
            return;
        }
        for (arguments, path, name, key) in [
            (
                ["link.txt"].as_slice(),
                "link.txt",
                "target.png",
                "temp3/target.png",
            ),
            (&["chain"], "chain", "target.png", "temp3/target.png"),
            (&[], "dir/link.txt", "target.png", "temp3/target.png"),
        ] {
            let world = World::with_files(&["elsewhere/target.png"]);
            fs::create_dir(world.path("dir")).unwrap();
            symlink("elsewhere/target.png", world.path("link.txt")).unwrap();
            symlink("link.txt", world.path("chain")).unwrap();
            symlink("../elsewhere/target.png", world.path("dir/link.txt")).unwrap();
            world.configure(json!({ "upload_dir": "dir" }));
            let ran = world.run(["-f", "json"].iter().chain(arguments));
            let object = &ran.assert_success().json()[0];
            assert_eq!(
                [&object["path"], &object["name"], &object["key"]],
                [path, name, key]
            );
            assert_eq!(world.keys(), [key]);
            assert_eq!(
                world.stand_in.objects()[key].content_type.as_deref(),
                Some("image/png")
            );
            world.assert_proper();
        }
    }

    #[test]
    fn a_link_to_a_directory_counts_as_a_directory_if_it_is_named() {
        if not_under_wine("links of Unix") {
            return;
        }
        let world = World::with_files(&["real/a.txt", "real/sub/b.txt", "dir/c.txt"]);
        symlink("../real", world.path("dir/link")).unwrap();
        symlink("dir", world.path("link")).unwrap();
        let ran = world.run(["link"]);
        assert_eq!((ran.status, names(&ran)), (Some(0), vec!["c.txt"]));
        assert!(
            ran.stderr.starts_with("note: link/link: skipped: "),
            "{}",
            ran.stderr
        );
        let ran = world.run(["-r", "link"]);
        assert_eq!((ran.status, names(&ran)), (Some(0), vec!["c.txt"]));
        let ran = world.run(["-r", "dir/link"]);
        assert_eq!(names(ran.assert_success()), ["a.txt", "sub/b.txt"]);
    }

    #[test]
    fn links_in_a_circle_are_noted_and_not_followed() {
        if not_under_wine("links of Unix") {
            return;
        }
        let world = World::with_files(&["dir/a.txt", "dir/sub/b.txt", "one/1", "two/2"]);
        symlink(".", world.path("dir/self")).unwrap();
        symlink("..", world.path("dir/sub/up")).unwrap();
        symlink("../../dir/sub", world.path("dir/sub/here")).unwrap();
        let ran = world.run(["-r", "dir"]);
        assert_eq!(
            (ran.status, names(&ran)),
            (Some(0), vec!["a.txt", "sub/b.txt"]),
            "{}",
            ran.stderr
        );
        for link in ["dir/self", "dir/sub/up", "dir/sub/here"] {
            assert!(
                ran.stderr.contains(&format!("note: {link}: skipped: ")),
                "{}",
                ran.stderr
            );
        }
        assert_eq!(ran.counts(), "2 uploaded (22 B), 3 skipped");
        // Two directories with links to each other.
        symlink("../two", world.path("one/two")).unwrap();
        symlink("../one", world.path("two/one")).unwrap();
        let ran = world.run(["-r", "one"]);
        assert_eq!(
            (ran.status, names(&ran)),
            (Some(0), vec!["1"]),
            "{}",
            ran.stderr
        );
    }

    #[test]
    fn a_link_to_nothing_fails_alone_in_a_directory_and_is_refused_as_a_path() {
        if not_under_wine("links of Unix") {
            return;
        }
        let world = World::with_files(&["dir/a.txt", "dir/z.txt"]);
        symlink("nothing", world.path("dangling")).unwrap();
        symlink("ring", world.path("ring")).unwrap();
        for link in ["dangling", "ring"] {
            world.assert_refused(&world.run(["dir", link]), &[link]);
        }
        symlink("nothing", world.path("dir/dangling")).unwrap();
        symlink("ring", world.path("dir/ring")).unwrap();
        let ran = world.run(["dir"]);
        ran.assert_failure(
            1,
            &[
                "error: dir/dangling: 上传文件失败: ",
                "error: dir/ring: 上传文件失败: ",
            ],
        );
        assert_eq!(names(&ran), ["a.txt", "z.txt"]);
        assert_eq!(ran.counts(), "2 uploaded (18 B), 2 failed");
        world.assert_proper();
    }

    #[test]
    fn the_note_about_a_skipped_file_names_the_uploaded_one() {
        if not_under_wine("links of Unix") {
            return;
        }
        let world = World::with_files(&["dir/z.txt"]);
        for link in ["a", "b"] {
            symlink("z.txt", world.path("dir").join(link)).unwrap();
        }
        let ran = world.run(["dir"]);
        let words = [
            "dir/b: skipped: the same file as dir/a\n",
            "dir/z.txt: skipped: the same file as dir/a\n",
        ];
        ran.assert_failure(0, &words);
        assert_eq!(names(&ran), ["z.txt"]);
    }

    #[test]
    fn the_same_file_is_uploaded_once() {
        if not_under_wine("links of Unix") {
            return;
        }
        let world = World::with_files(&["dir/target.txt"]);
        symlink("target.txt", world.path("dir/link.txt")).unwrap();
        let cases: [&[&str]; 4] = [
            &["dir"],
            &["dir/target.txt", "dir"],
            &["dir", "dir"],
            &["-n", "dir"],
        ];
        for arguments in cases {
            let ran = world.run(arguments);
            ran.assert_failure(0, &["note: ", ": skipped: the same file as dir/"]);
            assert_eq!(names(&ran), ["target.txt"], "{arguments:?}");
        }
        assert_eq!(world.keys(), ["temp3/target.txt"]);
    }

    #[test]
    fn a_file_that_is_not_regular_is_never_opened() {
        if not_on_windows("FIFOs and devices") {
            return;
        }
        let world = World::with_files(&["dir/a.txt"]);
        make_fifo(&world.path("dir/fifo"));
        let _socket = UnixListener::bind(world.path("dir/socket")).unwrap();
        symlink("/dev/null", world.path("dir/device")).unwrap();
        symlink("fifo", world.path("dir/link")).unwrap();
        let odd = ["dir/device", "dir/fifo", "dir/link", "dir/socket"];
        for option in ["-j8", "-n"] {
            // Found in a directory, they are skipped with a note.
            let ran = world.run(["dir", option]);
            assert_eq!(names(&ran), ["a.txt"]);
            ran.assert_failure(
                0,
                &odd.map(|path| format!("note: {path}: skipped: "))
                    .each_ref()
                    .map(|s| s.as_str()),
            );
            assert_eq!(ran.stderr.lines().count(), 5, "{}", ran.stderr);
            assert!(ran.summary().contains(", 4 skipped"), "{}", ran.stderr);
            // Named, they fail, and the others go on.
            let ran = world.run(odd.iter().chain(&["dir/a.txt", option]));
            assert_eq!(names(&ran), ["a.txt"]);
            for path in odd {
                ran.assert_failure(
                    1,
                    &[&format!("error: {path}: 上传文件失败: not a regular file")],
                );
            }
            assert_eq!(ran.stderr.lines().count(), 5, "{}", ran.stderr);
            assert!(ran.summary().contains("B), 4 failed"), "{}", ran.stderr);
            assert!(!ran.summary().contains("skipped"), "{}", ran.stderr);
        }
        let told = "error: /dev/null: 上传文件失败: not a regular file";
        world.run(["/dev/null"]).assert_failure(1, &[told]);
        assert_eq!(world.keys(), ["temp3/a.txt"]);
        world.assert_proper();
    }

    #[test]
    fn a_file_that_has_become_a_fifo_or_a_device_is_not_opened() {
        if not_on_windows("FIFOs and devices") {
            return;
        }
        let becomes: [fn(&Path); 3] = [
            make_fifo,
            |path| symlink("fifo", path).unwrap(),
            |path| symlink("/dev/zero", path).unwrap(),
        ];
        for become_odd in becomes {
            let world = World::with_files(&["dir/a", "dir/b", "dir/c"]);
            make_fifo(&world.path("dir/fifo"));
            let path = world.path("dir/b");
            let replace = Fault::custom(move |_| {
                fs::remove_file(&path).ok();
                become_odd(&path);
                None
            });
            world.stand_in.fault(Step::Token, When::Once, replace);
            let ran = world.run(["dir"]);
            let told = "error: dir/b: 上传文件失败: cannot be opened: it is not a regular file";
            ran.assert_failure(1, &[told]);
            assert_eq!(names(&ran), ["a", "c"]);
        }
    }

    #[test]
    fn names_with_control_characters_fail_alone_and_are_shown_escaped() {
        if not_on_windows("control characters in names") {
            return;
        }
        let cases = [
            ("new\nline", r"new\u000aline"),
            ("\u{1b}[31mred", r"\u001b[31mred"),
            ("tab\t", r"tab\u0009"),
        ];
        let cases = cases
            .into_iter()
            .chain([("\u{7f}", r"\u007f"), ("\u{85}", r"\u0085")]);
        for (name, shown) in cases {
            let world = World::with_files(&["dir/a.txt", "dir/中.txt"]);
            world.file(format!("dir/{name}"), "x");
            for path in ["dir".to_owned(), format!("dir/{name}")] {
                let good = if path == "dir" {
                    vec![]
                } else {
                    vec!["dir/a.txt", "dir/中.txt"]
                };
                let ran = world.run([&*path, "-f", "json"].iter().chain(&good));
                ran.assert_failure(
                    1,
                    &[
                        &format!("error: dir/{shown}: 上传文件失败: "),
                        "control character",
                    ],
                );
                assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
                let failed: Vec<_> = ran
                    .json()
                    .into_iter()
                    .filter(|object| object.get("url").is_none())
                    .collect();
                assert_eq!(failed.len(), 1);
                assert_eq!(
                    [&failed[0]["name"], &failed[0]["key"]],
                    [name, &format!("temp3/{name}")]
                );
                assert_eq!(world.keys(), ["temp3/a.txt", "temp3/中.txt"]);
            }
            world.assert_proper();
        }
    }

    #[test]
    fn a_recursive_directory_with_a_control_character_fails_file_by_file() {
        if not_on_windows("control characters in names") {
            return;
        }
        let world = World::with_files(&["dir/a.txt", "dir/b\nad/b.txt", "dir/b\nad/c.txt"]);
        let ran = world.run(["-r", "dir"]);
        ran.assert_failure(
            1,
            &[
                r"error: dir/b\u000aad/b.txt: ",
                r"error: dir/b\u000aad/c.txt: ",
            ],
        );
        assert_eq!(world.keys(), ["temp3/a.txt"]);
        world.assert_proper();
    }

    #[cfg(target_os = "linux")] // other file systems refuse such a name
    #[test]
    fn names_that_are_not_utf8_fail_alone() {
        if not_on_windows("names that are not Unicode") {
            return;
        }
        let bad = OsStr::from_bytes(b"caf\xe9.txt");
        let world = World::with_files(&["dir/a.txt", "dir/z.txt", "tree/a.txt"]);
        world.file(Path::new("dir").join(bad), "x");
        world.file(Path::new("tree").join(bad).join("x.txt"), "x");
        let ran = world.run(["dir"]);
        ran.assert_failure(1, &["error: dir/caf\u{fffd}.txt: 上传文件失败: ", "UTF-8"]);
        assert_eq!(names(&ran), ["a.txt", "z.txt"]);
        let ran = world.run(["-r", "tree"]);
        ran.assert_failure(1, &["error: tree/caf\u{fffd}.txt", "UTF-8"]);
        assert_eq!(names(&ran), ["a.txt"]);
        assert_eq!(world.keys(), ["temp3/a.txt", "temp3/z.txt"]);
        world.assert_proper();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_path_that_is_not_utf8_fails_alone_too() {
        if not_on_windows("names that are not Unicode") {
            return;
        }
        let world = World::with_files(&["a.txt"]);
        let bad = world.file(OsStr::from_bytes(b"caf\xe9.txt"), "x");
        let ran = world.run([OsStr::new("a.txt"), bad.as_os_str()]);
        ran.assert_failure(1, &["caf\u{fffd}.txt: 上传文件失败: ", "UTF-8"]);
        assert_eq!(names(&ran), ["a.txt"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_directory_or_link_that_is_not_utf8_matters_only_if_it_is_part_of_the_name() {
        if not_on_windows("names that are not Unicode") {
            return;
        }
        let world = World::with_files(&["real.txt"]);
        let directory = world.path(OsStr::from_bytes(b"caf\xe9"));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("a.txt"), "a").unwrap();
        let link = world.path(OsStr::from_bytes(b"\xff"));
        symlink("real.txt", &link).unwrap();
        assert_eq!(
            names(world.run([&directory, &link]).assert_success()),
            ["a.txt", "real.txt"]
        );
        assert_eq!(world.keys(), ["temp3/a.txt", "temp3/real.txt"]);
    }
}
