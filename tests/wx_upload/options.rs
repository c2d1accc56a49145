//! The command line: every option, with good and bad values.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{PATIENCE, World, assert_takes, judges_windows, not_on_windows, shown};
use stand_in::{APPID, ENV, Fault, SECRET, Step, When};

/// All options, as in the table of the design.
const OPTIONS: [&str; 14] = [
    "-c, --config",
    "-t, --to",
    "-r, --recursive",
    "-x, --exclude",
    "-j, --jobs",
    "-f, --format",
    "--manifest",
    "--retries",
    "--timeout",
    "-n, --dry-run",
    "--init",
    "-q, --quiet",
    "-h, --help",
    "-V, --version",
];

#[test]
fn a_bad_command_line_is_refused_and_the_bad_part_is_named() {
    let long_folder = "x".repeat(850);
    let cases: &[(&[&str], &[&str])] = &[
        (&["--jobs", "0"], &["--jobs", "'0'", "1 to 64"]),
        (&["-j", "65"], &["--jobs", "'65'"]),
        (&["-jabc"], &["--jobs", "'abc'"]),
        (&["--jobs", "-1"], &["--jobs", "'-1'"]),
        (&["-j", "1.5"], &["--jobs", "'1.5'"]),
        (&["-j", ""], &["--jobs", "''"]),
        (
            &["--jobs=99999999999999999999"],
            &["--jobs", "'99999999999999999999'"],
        ),
        (&["--retries", "11"], &["--retries", "'11'", "0 to 10"]),
        (&["--retries=-1"], &["--retries", "'-1'"]),
        (&["--retries", "few"], &["--retries", "'few'"]),
        (&["--timeout", "0"], &["--timeout", "'0'", "1 to 3600"]),
        (&["--timeout", "3601"], &["--timeout", "'3601'"]),
        (&["--timeout", "60s"], &["--timeout", "'60s'"]),
        (&["--format", "xml"], &["--format", "'xml'"]),
        (&["-f", "JSON"], &["--format", "'JSON'"]),
        (&["-f="], &["--format", "''"]),
        (&["--unknown"], &["--unknown"]),
        (&["-x"], &["-x"]),
        (&["-rx"], &["-x"]),
        (&["--conf", "config.json"], &["--conf"]),
        (&["-c"], &["-c"]),
        (&["--config"], &["--config"]),
        (&["-t"], &["-t"]),
        (&["--to"], &["--to"]),
        (&["-j"], &["-j"]),
        (&["--jobs"], &["--jobs"]),
        (&["-f"], &["-f"]),
        (&["--format"], &["--format"]),
        (&["--manifest"], &["--manifest"]),
        (&["--retries"], &["--retries"]),
        (&["--timeout"], &["--timeout"]),
        (&["--recursive=yes"], &["--recursive"]),
        (&["--dry-run=no"], &["--dry-run"]),
        (&["--quiet=1"], &["--quiet"]),
        (&[""], &["PATH"]),
        (&["--config", ""], &["--config"]),
        (&["--to", ".."], &["--to", "'..'"]),
        (&["--to", "a/../b"], &["--to", "'a/../b'"]),
        (&["--to", "/../b"], &["--to", "'/../b'"]),
        (&["--to", "./a"], &["--to", "'./a'"]),
        (&["--to", "a//b"], &["--to", "'a//b'"]),
        (&["--to", "//a"], &["--to", "'//a'"]),
        (&["--to", "a//"], &["--to", "'a//'"]),
        (&["--to", "a\nb"], &["--to", r"'a\u000ab'"]),
        (&["--to", "\x1b[31m"], &["--to", r"'\u001b[31m'"]),
        (&["--to", "a\u{85}b"], &["--to", r"'a\u0085b'"]),
        (&["--to", &long_folder], &["--to", "850 bytes"]),
    ];
    let world = World::http();
    world.file("a.txt", "a");
    for (arguments, words) in cases {
        let ran = world.run(["a.txt"].iter().chain(*arguments));
        world.assert_refused(&ran, words);
    }
}

#[cfg(unix)]
#[test]
fn a_folder_that_is_not_utf8_is_refused() {
    if not_on_windows("names that are not Unicode") {
        return;
    }
    use std::os::unix::ffi::OsStringExt;
    let world = World::http();
    world.file("a.txt", "a");
    let mut command = world.command(["a.txt", "--to"]);
    command.arg(std::ffi::OsString::from_vec(b"caf\xe9".to_vec()));
    world.assert_refused(&world.finish(command), &["caf"]);
}

#[test]
fn the_smallest_and_largest_numbers_are_accepted() {
    for arguments in [
        ["--jobs", "1"].as_slice(),
        &["--jobs=64"],
        &["-j1"],
        &["-j=64"],
        &["--retries", "0"],
        &["--retries=10"],
        &["--timeout", "1"],
        &["--timeout=3600"],
        &["-j", "8"],
    ] {
        let world = World::http();
        world.file("a.txt", "a");
        world
            .run(["a.txt"].iter().chain(arguments))
            .assert_success();
        assert_eq!(world.keys(), ["temp3/a.txt"], "{arguments:?}");
        world.assert_proper();
    }
}

#[test]
fn to_names_the_cloud_folder() {
    for (folder, key) in [
        ("img", "img/a.txt"),
        ("img/", "img/a.txt"),
        ("/img", "img/a.txt"),
        ("/img/", "img/a.txt"),
        ("", "a.txt"),
        ("/", "a.txt"),
        ("图 片/日本/🎉", "图 片/日本/🎉/a.txt"),
        (".../..a", ".../..a/a.txt"),
        ("-x", "-x/a.txt"),
    ] {
        for option in ["-t", "--to"] {
            let world = World::http();
            world.configure(json!({ "upload_path": "from-config" }));
            world.file("a.txt", "a");
            world.run([option, folder, "a.txt"]).assert_success();
            assert_eq!(world.keys(), [key]);
            world.assert_proper();
        }
    }
}

#[test]
fn options_may_come_after_paths_and_share_a_dash_and_the_last_one_counts() {
    let world = World::http();
    world.file("dir/sub/a.txt", "a");
    world.file("b.txt", "b");
    let ran = world.run(["dir", "-rqfurl", "--to=x", "b.txt", "-t", "y", "-fjson"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(world.keys(), ["y/b.txt", "y/sub/a.txt"]);
    assert_eq!(ran.json()[0]["key"], "y/sub/a.txt");
}

#[test]
fn an_argument_after_two_dashes_is_a_path() {
    let world = World::http();
    for name in ["-dash.txt", "--help", "--"] {
        world.file(name, name);
    }
    world
        .run(["-j2", "--", "-dash.txt", "--help", "--"])
        .assert_success();
    assert_eq!(
        world.keys(),
        ["temp3/--", "temp3/--help", "temp3/-dash.txt"]
    );
}

#[test]
fn recursive_has_a_short_and_a_long_form() {
    for option in ["-r", "--recursive"] {
        let world = World::http();
        world.file("dir/sub/a.txt", "a");
        world.run([option, "dir"]).assert_success();
        assert_eq!(world.keys(), ["temp3/sub/a.txt"]);
    }
}

#[test]
fn format_has_a_short_and_a_long_form() {
    for arguments in [
        ["-f", "url"].as_slice(),
        &["--format", "url"],
        &["--format=url"],
        &["-furl"],
    ] {
        let world = World::http();
        world.file("a.txt", "a");
        let ran = world.run(["a.txt"].iter().chain(arguments));
        assert_eq!(
            ran.assert_success().stdout,
            format!("{}/download/temp3/a.txt\n", world.stand_in.base())
        );
    }
}

#[test]
fn config_names_another_file() {
    for option in ["-c", "--config"] {
        let world = World::http();
        world.file("a.txt", "a");
        fs::create_dir(world.path("elsewhere")).unwrap();
        fs::rename(world.path("config.json"), world.path("elsewhere/设置.json")).unwrap();
        world
            .run([option, "elsewhere/设置.json", "a.txt"])
            .assert_success();
        let saved: Value =
            serde_json::from_slice(&fs::read(world.path("elsewhere/设置.json")).unwrap()).unwrap();
        assert_eq!(saved["access_token"], *world.stand_in.tokens_issued()[0]);
        assert!(!world.path("config.json").exists());
    }
}

#[test]
fn help_fits_a_terminal_and_has_every_option_in_it() {
    // A Chinese character takes two columns.
    let width = |line: &str| {
        line.chars()
            .map(|c| if c < '\u{1100}' { 1 } else { 2 })
            .sum::<usize>()
    };
    let world = World::http();
    fs::remove_file(world.path("config.json")).unwrap();
    for option in ["-h", "--help"] {
        let ran = world.run([option]);
        assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
        assert!(ran.lines().len() <= 24, "{}", ran.lines().len());
        for option in OPTIONS {
            assert!(ran.stdout.contains(option), "{option}");
        }
        let too_wide: Vec<_> = ran
            .lines()
            .into_iter()
            .filter(|line| width(line) > 80)
            .collect();
        assert_eq!(too_wide, [""; 0]);
    }
    assert_eq!(world.stand_in.connections(), 0);
}

#[test]
fn version_is_the_packages_own() {
    let world = World::http();
    fs::remove_file(world.path("config.json")).unwrap();
    for option in ["-V", "--version"] {
        let ran = world.run([option]);
        assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
        let version = concat!("wx-upload ", env!("CARGO_PKG_VERSION"), " (");
        assert!(ran.stdout.starts_with(version) && ran.stdout.ends_with(")\n"));
        assert_eq!(ran.lines().len(), 1);
    }
}

// ---- --init -------------------------------------------------------------------------------------

#[test]
fn init_writes_a_config_that_lacks_only_the_account() {
    for (arguments, name) in [
        (["--init"].as_slice(), "config.json"),
        (&["--init", "-c", "sub/新.json"], "sub/新.json"),
    ] {
        let world = World::http();
        world.file("a.txt", "a");
        fs::remove_file(world.path("config.json")).unwrap();
        fs::create_dir(world.path("sub")).unwrap();
        let ran = world.run(arguments);
        assert_eq!(
            (ran.status, ran.stdout.as_str()),
            (Some(0), ""),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.contains(name), "{}", ran.stderr);
        #[cfg(unix)]
        if !judges_windows() {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(world.path(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let config: Value = serde_json::from_slice(&fs::read(world.path(name)).unwrap()).unwrap();
        // A value is typed between quotes that are there. What need not be there is not.
        let wanted = json!({ "appid": "", "secret": "", "env": "", "auth": "stable_token" });
        assert_eq!(config, wanted);
        world.assert_refused(&world.run(["-c", name, "a.txt"]), &[name, "`env`"]);
        let mut command = world.command(["-c", name, "a.txt"]);
        command.env("WX_ENV", ENV);
        world.assert_refused(&world.finish(command), &["`appid`"]);
        let mut command = world.command(["-c", name, "-n", "a.txt"]);
        command.envs([("WX_ENV", ENV), ("WX_APPID", APPID), ("WX_SECRET", SECRET)]);
        let ran = world.finish(command);
        assert_eq!(
            (ran.status, ran.stdout.as_str()),
            (Some(0), "a.txt\ttemp3/a.txt\n"),
            "{}",
            ran.stderr
        );
        assert_eq!(world.stand_in.connections(), 0);
    }
}

#[test]
fn init_never_writes_over_anything() {
    let world = World::http();
    let before = fs::read(world.path("config.json")).unwrap();
    fs::create_dir(world.path("directory")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("nowhere.json", world.path("dangling")).unwrap();
    #[cfg(not(unix))]
    world.file("dangling", "");
    for name in [
        "config.json",
        "directory",
        "dangling",
        "missing/config.json",
    ] {
        world.assert_refused(&world.run(["--init", "-c", name]), &[name]);
    }
    assert_eq!(before, fs::read(world.path("config.json")).unwrap());
    assert!(!world.path("nowhere.json").exists());
}

#[test]
fn a_quiet_init_says_nothing() {
    let world = World::http();
    fs::remove_file(world.path("config.json")).unwrap();
    let ran = world.run(["--init", "-q"]);
    assert_eq!(
        (ran.status, ran.stdout.as_str(), ran.stderr.as_str()),
        (Some(0), "", "")
    );
    assert!(world.path("config.json").exists());
}

// ---- --dry-run ----------------------------------------------------------------------------------

#[test]
fn dry_run_lists_in_every_format_and_touches_no_network() {
    let world = World::http();
    // An account is not needed.
    world.configure(json!({ "appid": null, "secret": null }));
    let before = fs::read(world.path("config.json")).unwrap();
    world.file("目录/b c.png", "bb");
    world.file("目录/a.txt", "a");
    let pairs = [("a.txt", 1), ("b c.png", 2)];
    for format in ["text", "url", "markdown", "json"] {
        for option in ["-n", "--dry-run"] {
            let ran = world.run([option, "目录", "--to", "x", "-f", format]);
            ran.assert_success();
            assert_eq!(ran.summary(), "2 would be uploaded (3 B)");
            assert_eq!(ran.lines().len(), 2);
            for ((name, size), line) in pairs.into_iter().zip(ran.lines()) {
                let (path, key) = (format!("目录/{name}"), format!("x/{name}"));
                if format == "json" {
                    let path = shown(&path);
                    let object = json!({ "name": name, "path": path, "key": key, "size": size });
                    assert_eq!(line, object.to_string());
                } else {
                    assert_eq!(line, format!("{name}\t{key}"));
                }
            }
        }
    }
    assert_eq!(world.stand_in.connections(), 0);
    assert_eq!(before, fs::read(world.path("config.json")).unwrap());
}

#[test]
fn dry_run_respects_recursive() {
    let world = World::http();
    world.file("dir/a.txt", "a");
    world.file("dir/sub/b.txt", "b");
    let ran = world.run(["-n", "dir"]);
    assert_eq!(
        (ran.status, ran.stdout.as_str()),
        (Some(0), "a.txt\ttemp3/a.txt\n")
    );
    assert_eq!(ran.summary(), "1 would be uploaded (1 B), 1 skipped");
    let ran = world.run(["-n", "-r", "dir"]);
    assert_eq!(
        ran.stdout,
        "a.txt\ttemp3/a.txt\nsub/b.txt\ttemp3/sub/b.txt\n"
    );
    assert_eq!(ran.summary(), "2 would be uploaded (2 B)");
    assert_eq!(world.stand_in.connections(), 0);
}

#[test]
fn dry_run_has_the_exit_status_of_the_real_run() {
    let folder = format!("{}/", "x".repeat(840));
    let world = World::http();
    world.file("dir/short.txt", "a");
    world.file("dir/too long.txt", "a");
    for arguments in [["-n", "-t"], ["-nq", "-t"]] {
        let ran = world.run(arguments.into_iter().chain([&*folder, "dir"]));
        ran.assert_failure(1, &["error: dir/too long.txt: 上传文件失败: ", "850 bytes"]);
        assert_eq!(ran.stdout, format!("short.txt\t{folder}short.txt\n"));
    }
    world.assert_refused(&world.run(["-n", "dir", "missing.txt"]), &["missing.txt"]);
}

// ---- --quiet and --jobs -------------------------------------------------------------------------

#[test]
fn quiet_leaves_only_errors_on_standard_error() {
    for option in ["-q", "--quiet"] {
        let world = World::http();
        world.file("dir/a.txt", "a");
        world.file("dir/b.txt", "b");
        world.file("dir/sub/c.txt", "c");
        let ran = world.run(["dir", option]);
        assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
        assert_eq!(ran.lines().len(), 2);
        world.stand_in.fault(
            Step::Info,
            When::Key("temp3/b.txt".into()),
            Fault::Errcode(40097),
        );
        let ran = world.run(["dir", option]);
        ran.assert_failure(1, &["error: dir/b.txt: 获取文件上传链接失败: "]);
        assert_eq!((ran.stderr.lines().count(), ran.lines().len()), (1, 1));
    }
}

#[test]
fn jobs_sets_the_number_of_uploads_at_once() {
    for (arguments, jobs) in [
        (["-j", "1"].as_slice(), 1),
        (&["--jobs=3"], 3),
        (&[], 8),
        (&["-j64"], 64),
    ] {
        let world = World::http();
        for number in 0..jobs + 3 {
            world.file(format!("dir/{number}"), "x");
        }
        world
            .stand_in
            .fault(Step::Upload, When::Always, Fault::Hold);
        let child = world.start(["dir"].iter().chain(arguments));
        assert!(
            world.stand_in.wait_for(Step::Upload, jobs, PATIENCE),
            "{arguments:?}"
        );
        assert!(
            !world
                .stand_in
                .wait_for(Step::Upload, jobs + 1, Duration::from_millis(100)),
            "{arguments:?}"
        );
        // Not after the run: the stand-in counts an upload for a moment after its reply.
        assert_eq!(world.stand_in.max_concurrent_uploads(), jobs);
        world.stand_in.open_gate();
        world.wait(child).assert_success();
        assert_eq!(world.keys().len(), jobs + 3);
        world.assert_proper();
    }
}

#[test]
fn retries_sets_how_many_times_a_file_is_tried_again() {
    for (retries, infos, status) in [("0", 1, 1), ("1", 2, 0)] {
        let world = World::http();
        world.file("a.txt", "a");
        world
            .stand_in
            .fault(Step::Info, When::Once, Fault::status(503, &[], ""));
        let ran = world.run(["a.txt", "--retries", retries]);
        assert_eq!(ran.status, Some(status), "{}", ran.stderr);
        assert_eq!(world.stand_in.requests(Step::Info).len(), infos);
    }
}

#[test]
fn timeout_sets_when_a_silent_connection_ends() {
    let world = World::http();
    world.file("a.txt", "a");
    world
        .stand_in
        .fault(Step::Upload, When::Always, Fault::Silence);
    assert_takes([1.0..10.0], || {
        let ran = world.run(["a.txt", "--timeout", "1", "--retries", "0"]);
        ran.assert_failure(1, &["error: a.txt: 上传文件失败: ", "--timeout"]);
        [ran.elapsed.as_secs_f64()]
    });
}
