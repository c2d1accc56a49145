//! `--exclude`: what is found in a directory and left out.

use std::fs;

use serde_json::json;

use crate::harness::{World, judges_windows, not_under_wine, side_by_side};

const TREE: [&str; 10] = [
    "a.png",
    "a.psd",
    "node_modules/m/i.js",
    "raw/deep/y.nef",
    "raw/x.nef",
    "sub/b.psd",
    "sub/node_modules/n.js",
    "sub/raw/z.nef",
    "草稿/1.txt",
    "草稿/a[1].txt",
];

fn world() -> World {
    World::with_files(&TREE.map(|name| format!("dir/{name}")))
}

/// Runs the program with each pattern, and without notes. Returns the files of `TREE` that were left
/// out.
fn left_out(world: &World, patterns: &[&str], arguments: &[&str]) -> Vec<&'static str> {
    let patterns = patterns.iter().flat_map(|pattern| ["-x", pattern]);
    let ran = world.run(patterns.chain(arguments.iter().copied()));
    ran.assert_success(); // no note
    let names: Vec<_> = ran
        .lines()
        .iter()
        .map(|line| line.split('\t').next().unwrap())
        .collect();
    TREE.into_iter()
        .filter(|name| !names.contains(name))
        .collect()
}

#[test]
fn a_pattern_without_a_slash_is_for_names_and_one_with_a_slash_for_paths() {
    let cases: [(&[&str], &[&str]); 22] = [
        (&["*.psd"], &["a.psd", "sub/b.psd"]),
        (&["a.*"], &["a.png", "a.psd"]),
        (&["?.txt"], &["草稿/1.txt"]),
        (
            &["[!a-f].???"],
            &["raw/deep/y.nef", "raw/x.nef", "sub/raw/z.nef", "草稿/1.txt"],
        ),
        (&["a[[]1[]].txt"], &["草稿/a[1].txt"]),
        (
            &["node_modules"],
            &["node_modules/m/i.js", "sub/node_modules/n.js"],
        ),
        (
            &["node_modules/"],
            &["node_modules/m/i.js", "sub/node_modules/n.js"],
        ),
        (&["raw/**"], &["raw/deep/y.nef", "raw/x.nef"]),
        (&["raw/"], &["raw/deep/y.nef", "raw/x.nef", "sub/raw/z.nef"]),
        (&["/raw"], &["raw/deep/y.nef", "raw/x.nef"]),
        (&["./raw/"], &["raw/deep/y.nef", "raw/x.nef"]),
        (&["raw/*.nef"], &["raw/x.nef"]),
        (&["raw/*"], &["raw/deep/y.nef", "raw/x.nef"]),
        (&["*/raw"], &["sub/raw/z.nef"]),
        (
            &["**/raw"],
            &["raw/deep/y.nef", "raw/x.nef", "sub/raw/z.nef"],
        ),
        (&["raw/**/y.nef"], &["raw/deep/y.nef"]),
        (
            &["**/*.nef"],
            &["raw/deep/y.nef", "raw/x.nef", "sub/raw/z.nef"],
        ),
        (&["*/*.psd"], &["sub/b.psd"]),
        (
            &["sub/b.psd", "草稿"],
            &["sub/b.psd", "草稿/1.txt", "草稿/a[1].txt"],
        ),
        (&["dir/raw"], &[]), // the path below the directory
        (&["**"], &TREE),
        (&[], &[]),
    ];
    let cases = cases.map(|case| (format!("{:?}", case.0), case));
    side_by_side(cases, |(patterns, expected)| {
        let mut expected = expected.to_vec();
        expected.sort();
        for directory in ["dir", "./dir/"] {
            let world = world();
            if patterns == ["**"] {
                let ran = world.run(["-r", "-x", "**", directory]);
                ran.assert_failure(
                    0,
                    &[
                        "note: there are no files to upload",
                        "\n0 uploaded (0 B) in ",
                    ],
                );
            } else {
                assert_eq!(left_out(&world, patterns, &["-r", directory]), expected);
                assert_eq!(world.keys().len(), TREE.len() - expected.len());
            }
        }
    });
}

#[test]
fn what_is_left_out_has_no_note_also_without_r() {
    let world = World::with_files(&[
        "dir/a",
        "dir/.git/x",
        "dir/raw/x",
        "dir/Thumbs.db",
        "dir/b.tmp",
    ]);
    let ran = world.run([
        "-x.git",
        "-xraw/**",
        "--exclude=Thumbs.db",
        "-x",
        "*.tmp",
        "dir",
    ]);
    ran.assert_success();
    assert_eq!(ran.counts(), "1 uploaded (5 B)");
}

#[test]
fn the_fixed_directory_obeys_too() {
    let world = world();
    world.configure(json!({ "upload_dir": "dir/草稿" }));
    world.run(["-x", "1.*"]).assert_success();
    assert_eq!(world.keys(), ["temp3/a[1].txt"]);
}

#[test]
fn what_is_named_is_uploaded_all_the_same() {
    let world = world();
    let arguments = ["-r", "-x", "*.psd", "-x", "raw", "dir/a.psd", "dir/raw"];
    world.run(arguments).assert_success();
    let keys = ["temp3/a.psd", "temp3/deep/y.nef", "temp3/x.nef"];
    assert_eq!(world.keys(), keys);
}

#[test]
fn a_dry_run_unique_names_and_a_manifest_obey() {
    let world = world();
    for options in [
        &["-n"][..],
        &["-u"],
        &["--manifest", "sent.jsonl"],
        &["--manifest", "sent.jsonl"],
    ] {
        let arguments = [options, &["-r", "dir"]].concat();
        let ran = world.run(["-x", "*.psd"].iter().chain(&arguments));
        assert_eq!((ran.status, ran.lines().len()), (Some(0), TREE.len() - 2));
        assert!(!ran.stdout.contains("psd"), "{}", ran.stdout);
    }
    let manifest = fs::read_to_string(world.path("sent.jsonl")).unwrap();
    assert_eq!(manifest.lines().count(), TREE.len() - 2);
}

#[test]
fn files_that_are_left_out_can_have_no_name_in_common_with_others() {
    let world = World::with_files(&["one/a.txt", "two/a.txt", "two/b.txt"]);
    world.assert_refused(
        &world.run(["one", "two"]),
        &["one/a.txt and ", "temp3/a.txt"],
    );
    // The named directory itself has no part in the pattern.
    world
        .run(["-x", "a.txt", "one/a.txt", "two"])
        .assert_success();
    assert_eq!(world.keys(), ["temp3/a.txt", "temp3/b.txt"]);
}

#[test]
fn letters_are_compared_as_the_system_does_it() {
    let world = World::with_files(&["dir/A.PSD", "dir/b.psd"]);
    let ran = world.run(["-n", "-x", "*.psd", "dir"]);
    let left = if judges_windows() || cfg!(target_os = "macos") {
        0
    } else {
        1
    };
    assert_eq!(ran.lines().len(), left);
}

#[test]
fn a_bad_pattern_is_refused_before_anything_is_done() {
    let world = World::with_files(&["a.txt"]);
    for (pattern, why) in [
        ("", "--exclude is empty"),
        ("/", "--exclude is empty"),
        ("./", "--exclude is empty"),
        (
            "*.{png,jpg}",
            "--exclude '*.{png,jpg}': {a,b} is not supported",
        ),
        ("[a", "--exclude '[a' is not a pattern"),
        ("***", "is not a pattern"),
        ("a**", "is not a pattern"),
        ("**.png", "is not a pattern"),
    ] {
        world.assert_refused(&world.run(["-x", pattern, "a.txt"]), &[why]);
    }
    world.assert_refused(&world.run(["-x"]), &["missing argument"]);
    // Braces without a list are in names, too.
    world.run(["-x", "{a}", "a.txt"]).assert_success();
}

#[cfg(unix)]
#[test]
fn a_link_is_left_out_by_its_own_name_or_that_of_its_target() {
    if not_under_wine("links of Unix") {
        return;
    }
    use std::os::unix::fs::symlink;
    for (pattern, links_that_stay) in [
        ("*.psd", &["to-nef", "to-module"][..]),
        ("to-psd", &["to-nef", "to-module"]),
        ("raw/**", &["to-psd", "to-module"]),
        ("node_modules", &["to-psd", "to-nef"]),
        ("to-*", &[]),
    ] {
        let world = world();
        for (link, target) in [
            ("to-psd", "a.psd"),
            ("to-nef", "raw/x.nef"),
            ("to-module", "node_modules/m/i.js"),
        ] {
            symlink(target, world.path("dir").join(link)).unwrap();
        }
        // The targets below are not walked to. `a.psd` is found as a link, too.
        let ran = world.run(["-x", pattern, "-x", "a.p*", "-f", "json", "dir"]);
        let paths: Vec<_> = ran
            .json()
            .iter()
            .map(|o| o["path"].as_str().unwrap().to_owned())
            .collect();
        for link in ["to-nef", "to-module"] {
            let stays = paths.contains(&format!("dir/{link}"));
            assert_eq!(stays, links_that_stay.contains(&link), "{pattern}: {link}");
        }
        assert!(
            !paths.contains(&"dir/to-psd".to_owned()),
            "a.p* leaves it out"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_directory_that_is_left_out_is_not_entered() {
    if not_under_wine("links of Unix") {
        return;
    }
    use std::os::unix::fs::symlink;
    let world = world();
    symlink("nothing", world.path("dir/node_modules/dangling")).unwrap();
    world.run(["-r", "dir"]).assert_failure(1, &["dangling"]);
    for pattern in ["node_modules", "node_modules/**"] {
        world.run(["-r", "-x", pattern, "dir"]).assert_success();
    }
    // Links to directories and out of the directory are left out without a note.
    symlink("sub", world.path("dir/link-1")).unwrap();
    symlink("../config.json", world.path("dir/link-2")).unwrap();
    let arguments = ["-r", "-x", "node_modules", "-x", "link-*", "dir"];
    world.run(arguments).assert_success();
}
