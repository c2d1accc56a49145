//! The user's own machine: a run loses nothing there, gives nothing away, and never waits for ever.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stand_in::{Fault, SECRET, Step, When};

use crate::harness::{
    Gate, MOST_KIB, PATIENCE, Ran, World, assert_takes, key, not_on_windows, not_under_wine,
    read_line, side_by_side, spawn, wait_until,
};
use crate::unix::{
    ProgramForAll, after, is_installed, is_root, make_fifo, set_mode, through, world_for_all,
};

pub fn config_bytes(world: &World) -> Vec<u8> {
    fs::read(world.path("config.json")).unwrap()
}

/// Starts the program, and waits until it has asked for a token. The reply is held back.
pub fn start_and_hold_the_token(world: &World, arguments: &[&str]) -> Child {
    world.stand_in.fault(Step::Token, When::Always, Fault::Hold);
    let child = world.start(arguments);
    assert!(world.stand_in.wait_for(Step::Token, 1, PATIENCE));
    child
}

// ---- The config ---------------------------------------------------------------------------------

#[test]
fn a_config_whose_owner_cannot_be_kept_is_left_alone() {
    if not_on_windows("owners") {
        return;
    }
    if !is_root() {
        return;
    }
    let program = ProgramForAll::new();
    for quiet in [&["a.txt"][..], &["-q", "a.txt"]] {
        let world = world_for_all(&["a.txt"]);
        let config = world.path("config.json");
        set_mode(&config, 0o660);
        chown(&config, Some(1111), Some(5555)).unwrap();
        let before = config_bytes(&world);
        let mut command = world.command_of(&program.path(), quiet);
        command.uid(2222).gid(5555);
        let ran = world.finish(command);
        ran.assert_failure(0, &["warning: ./config.json: ", "owner"]);
        let after = fs::metadata(&config).unwrap();
        let owner = (after.uid(), after.gid(), after.mode() & 0o777);
        assert_eq!(owner, (1111, 5555, 0o660));
        assert_eq!(config_bytes(&world), before);
        assert_eq!(fs::read_dir(world.dir.path()).unwrap().count(), 2);
    }
}

#[test]
fn an_edit_that_is_made_while_a_token_is_fetched_stays() {
    let world = World::with_files(&["a.txt"]);
    let child = start_and_hold_the_token(&world, &["a.txt"]);
    world.configure(json!({ "secret": "rotated", "note": "mine" }));
    world.stand_in.open_gate();
    world.wait(child).assert_success();
    let config = world.config();
    assert_eq!(
        (&config["secret"], &config["note"]),
        (&json!("rotated"), &json!("mine"))
    );
    assert_eq!(config["access_token"], *world.stand_in.tokens_issued()[0]);
}

#[test]
fn an_edit_that_is_made_while_the_config_is_saved_stays() {
    if not_on_windows("permissions") {
        return;
    }
    if !is_installed("strace") {
        return;
    }
    let world = World::with_files(&["a.txt"]);
    let others = world.dir.path().join("others");
    fs::create_dir(&others).unwrap();
    // strace stops the run when it has written the new file and has not yet renamed it.
    let stop = "strace -f -o /dev/null -e trace=fsync -e inject=fsync:signal=STOP:when=1";
    let stop: Vec<&str> = stop.split(' ').collect();
    let command = after("echo $$ >others/pid", &world.command(["a.txt"]));
    let child = spawn(through(&stop, &command));
    wait_until("the new file is there", || {
        fs::read_dir(world.dir.path()).unwrap().count() == 4
    });
    world.configure(json!({ "secret": "rotated" }));
    set_mode(&world.path("config.json"), 0o640);
    // This repeats, as the run may not have been stopped yet.
    let go_on = "while kill -CONT $(cat others/pid); do sleep 0.02; done 2>/dev/null";
    let mut going_on = Command::new("sh")
        .args(["-c", go_on])
        .current_dir(world.dir.path())
        .spawn()
        .unwrap();
    world.wait(child).assert_success();
    going_on.wait().unwrap();
    fs::remove_dir_all(&others).unwrap();
    assert_eq!(world.config()["secret"], "rotated");
    assert_eq!(
        world.config()["access_token"],
        *world.stand_in.tokens_issued()[0]
    );
    let mode = fs::metadata(world.path("config.json")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(fs::read_dir(world.dir.path()).unwrap().count(), 2);
}

#[test]
fn a_config_that_becomes_a_link_while_a_token_is_fetched_stays_a_link() {
    let world = World::with_files(&["a.txt"]);
    let child = start_and_hold_the_token(&world, &["a.txt"]);
    fs::rename(world.path("config.json"), world.path("other.json")).unwrap();
    symlink("other.json", world.path("config.json")).unwrap();
    world.stand_in.open_gate();
    world.wait(child).assert_success();
    let link = fs::read_link(world.path("config.json")).unwrap();
    assert_eq!(link, Path::new("other.json"));
    assert!(world.config()["access_token"].is_string());
}

#[test]
fn a_config_that_gets_another_owner_while_a_token_is_fetched_keeps_that_owner() {
    if not_on_windows("owners") {
        return;
    }
    if !is_root() {
        return;
    }
    let world = World::with_files(&["a.txt"]);
    let child = start_and_hold_the_token(&world, &["a.txt"]);
    let config = world.path("config.json");
    chown(&config, Some(1111), Some(1111)).unwrap();
    world.stand_in.open_gate();
    world.wait(child).assert_success();
    let saved = fs::metadata(&config).unwrap();
    assert_eq!((saved.uid(), saved.gid()), (1111, 1111));
    assert_eq!(saved.mode() & 0o777, 0o600);
    assert!(world.config()["access_token"].is_string());
}

#[test]
fn numbers_of_any_length_survive_a_save() {
    let world = World::with_files(&["a.txt"]);
    let numbers = "18446744073709551616, 1.10, 123456789012345678901234567890.5, -0.0";
    let text = String::from_utf8(config_bytes(&world)).unwrap();
    let text = text.replacen('{', &format!("{{\n    \"numbers\": [{numbers}],"), 1);
    world.file("config.json", text);
    set_mode(&world.path("config.json"), 0o600);
    world.run(["a.txt"]).assert_success();
    let saved = String::from_utf8(config_bytes(&world)).unwrap();
    let saved = saved.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(saved.contains(numbers), "{saved}");
}

#[test]
fn all_missing_keys_are_named_at_once() {
    let world = World::with_files(&["a.txt"]);
    world.configure(json!({ "appid": null, "secret": "", "env": null }));
    let ran = world.run(["a.txt"]);
    world.assert_refused(
        &ran,
        &["./config.json: ", "`appid`", "`secret`", "`env`", "missing"],
    );
}

#[test]
fn a_config_that_is_not_a_regular_file_is_refused_at_once() {
    if not_on_windows("FIFOs and devices") {
        return;
    }
    let world = World::with_files(&["a.txt"]);
    make_fifo(&world.path("fifo"));
    for config in ["fifo", "/dev/zero", "."] {
        let ran = world.run(["-c", config, "a.txt"]);
        world.assert_refused(&ran, &[config, "not a regular file"]);
    }
}

#[test]
fn a_secret_that_everybody_can_read_is_noted_with_a_command_that_helps() {
    if not_on_windows("permissions") {
        return;
    }
    let world = World::with_files(&["a.txt"]);
    let config = world.path("config.json");
    set_mode(&config, 0o644);
    let ran = world.run(["a.txt"]);
    let mend = "chmod o-r './config.json'";
    ran.assert_failure(0, &["note: ./config.json: everybody on this machine", mend]);
    let mended = Command::new("sh")
        .args(["-c", mend])
        .current_dir(world.dir.path())
        .status();
    assert!(mended.unwrap().success());
    world.run(["a.txt"]).assert_success();
}

#[test]
fn a_command_to_paste_is_shown_only_if_it_is_safe() {
    if not_on_windows("permissions") {
        return;
    }
    for directory in ["it's", "x'; touch pwned; '", "$HOME", "a\nb"] {
        let world = World::with_files(&["a.txt"]);
        fs::create_dir(world.path(directory)).unwrap();
        let config = format!("{directory}/c.json");
        fs::rename(world.path("config.json"), world.path(&config)).unwrap();
        set_mode(&world.path(&config), 0o644);
        let ran = world.run(["-c", &config, "a.txt"]);
        ran.assert_failure(0, &["everybody on this machine can read its `secret`\n"]);
        assert!(!ran.stderr.contains("chmod"), "{}", ran.stderr);
    }
}

#[test]
fn certificates_are_read_only_from_a_regular_file() {
    if not_on_windows("FIFOs and devices") {
        return;
    }
    let world = World::with_files(&["a.txt"]);
    make_fifo(&world.path("fifo"));
    for path in ["fifo", "/dev/zero", "."] {
        let mut command = world.command(["a.txt"]);
        command.env("SSL_CERT_FILE", path);
        world.assert_refused(
            &world.finish(command),
            &["SSL_CERT_FILE: ", "not a regular file"],
        );
    }
}

// ---- Locks --------------------------------------------------------------------------------------

/// The files that runs lock, and the arguments of a run that needs the lock.
const LOCKED: [(&str, &[&str]); 2] = [
    ("config.json", &["a.txt"]),
    ("manifest", &["--manifest", "manifest", "a.txt"]),
];

fn world_with_locked(name: &str) -> (World, File) {
    let world = World::with_files(&["a.txt"]);
    world.file("manifest", "");
    let lock = File::open(world.path(name)).unwrap();
    lock.lock().unwrap();
    (world, lock)
}

#[test]
fn a_wait_for_another_run_is_noted_and_ends_with_that_run() {
    if not_under_wine("locks of other programs") {
        return;
    }
    for (locked, arguments) in LOCKED {
        let (world, lock) = world_with_locked(locked);
        let mut child = world.start(arguments);
        let told = read_line(child.stderr.as_mut().unwrap());
        assert!(told.starts_with("note: waiting for another run"), "{told}");
        assert_eq!(world.requests(), 0);
        drop(lock);
        world.wait(child).assert_success(); // there was only one note
    }
}

#[test]
fn a_wait_for_one_run_after_the_other_is_noted_once() {
    if not_under_wine("locks of other programs") {
        return;
    }
    let (world, first) = world_with_locked("config.json");
    let mut child = world.start(["a.txt"]);
    let told = read_line(child.stderr.as_mut().unwrap());
    assert!(told.starts_with("note: waiting for another run"), "{told}");
    // The first run replaces the config, and the second run locks the new file.
    fs::copy(world.path("config.json"), world.path("new")).unwrap();
    let second = File::open(world.path("new")).unwrap();
    second.lock().unwrap();
    fs::rename(world.path("new"), world.path("config.json")).unwrap();
    drop(first);
    thread::sleep(Duration::from_millis(1500)); // a second note would come after a second
    drop(second);
    world.wait(child).assert_success();
}

#[test]
fn a_wait_for_another_run_is_not_noted_with_quiet() {
    if not_under_wine("locks of other programs") {
        return;
    }
    for (locked, arguments) in LOCKED {
        let (world, lock) = world_with_locked(locked);
        let mut child = world.start(arguments.iter().chain(&["-q"]));
        thread::sleep(Duration::from_millis(1500)); // the note would come after a second
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "{locked}: it did not wait");
        drop(lock);
        let ran = world.wait(child);
        assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
    }
}

#[test]
fn a_dry_run_waits_for_no_lock() {
    let world = World::with_files(&["a.txt", "manifest"]);
    world.file("manifest", "");
    let locks = ["config.json", "manifest"].map(|name| File::open(world.path(name)).unwrap());
    locks.iter().for_each(|lock| lock.lock().unwrap());
    // If it waited, it would say so, and then take longer than a run may take here.
    let ran = world.run(["-n", "--manifest", "manifest", "a.txt"]);
    ran.assert_success();
    drop(locks);
}

#[test]
fn files_beside_the_config_are_not_opened_and_not_created() {
    let world = World::with_files(&["a.txt"]);
    make_fifo(&world.path("config.json.lock"));
    symlink("nowhere", world.path("config.json.new")).unwrap();
    world.run(["a.txt"]).assert_success();
    assert!(!world.path("nowhere").exists());
    assert_eq!(
        world.config()["access_token"],
        *world.stand_in.tokens_issued()[0]
    );
    assert_eq!(fs::read_dir(world.dir.path()).unwrap().count(), 4);
}

/// Takes two minutes: `.ci/run` runs it.
#[test]
#[ignore = "takes two minutes"]
fn the_wait_for_a_lock_ends_after_two_minutes() {
    let cases = LOCKED.map(|case| (case.0.to_owned(), case));
    side_by_side(cases, |(locked, arguments)| {
        let (world, _lock) = world_with_locked(locked);
        let began = Instant::now();
        let mut command = through(&["timeout", "150"], &world.command(arguments));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let waited = began.elapsed().as_secs();
        assert!((119..140).contains(&waited), "{waited}");
        assert_eq!(world.keys(), ["temp3/a.txt"]);
    });
}

// ---- Where the secret may go --------------------------------------------------------------------

fn with_variables(world: &World, variables: &[(&str, &str)]) -> Ran {
    let mut command = world.command(["--retries", "0", "a.txt"]);
    command.envs(variables.iter().copied());
    command.env("https_proxy", "http://127.0.0.1:1"); // nothing leaves this machine
    world.finish(command)
}

#[test]
fn over_http_the_secret_goes_to_this_machine_only() {
    for auth in ["token", "stable_token"] {
        let world = World::with_files(&["a.txt"]);
        world.run(["a.txt"]).assert_success(); // the stand-in is on this machine
        for base in [
            "http://api.weixin.qq.com",
            "HTTP://192.0.2.1:80",
            "http://localhost.example",
        ] {
            world.configure(json!({ "auth": auth, "api_base": base }));
            let ran = with_variables(&world, &[]);
            ran.assert_failure(2, &["error: ./config.json: `api_base` is ", "https"]);
        }
        for base in ["http://127.0.0.2:1", "http://[::1]:1", "http://localhost:1"] {
            world.configure(json!({ "auth": auth, "api_base": base }));
            with_variables(&world, &[]).assert_failure(1, &["获取access token失败"]);
        }
    }
}

#[test]
fn a_secret_from_the_environment_goes_where_the_user_said() {
    let elsewhere = "https://wx.example";
    let world = World::with_files(&["a.txt"]);
    let secret = ("WX_SECRET", SECRET);
    let refused = |config: Value, variables: &[(&str, &str)]| {
        world.configure(config);
        let ran = with_variables(&world, variables);
        match ran.status {
            Some(2) => {
                ran.assert_failure(2, &["error: ./config.json: ", "WX_SECRET", "WX_API_BASE"]);
                true
            }
            _ => {
                ran.assert_failure(1, &["获取access token失败", "through the proxy"]);
                false
            }
        }
    };
    let without_secret = |base: Value| json!({ "secret": null, "api_base": base });
    assert!(refused(without_secret(json!(elsewhere)), &[secret]));
    assert!(!refused(without_secret(Value::Null), &[secret]));
    assert!(!refused(
        without_secret(Value::Null),
        &[secret, ("WX_API_BASE", elsewhere)]
    ));
    let named = [secret, ("WX_API_BASE", "https://wx.example/")];
    assert!(!refused(without_secret(json!(elsewhere)), &named));
    let other = [secret, ("WX_API_BASE", "https://other.example")];
    assert!(refused(without_secret(json!(elsewhere)), &other));
    // A secret in the config may go to the base in the config.
    assert!(!refused(json!({ "api_base": elsewhere }), &[secret]));
}

#[test]
fn the_environment_may_name_the_api() {
    let world = World::with_files(&["a.txt"]);
    let base = world.stand_in.base();
    world.configure(json!({ "api_base": null }));
    let mut command = world.command(["a.txt"]);
    command.env("WX_API_BASE", base);
    world.finish(command).assert_success();
    assert_eq!(world.config()["api_base"], Value::Null);
}

// ---- Files that must not become public ------------------------------------------------------------------------

#[test]
fn the_config_is_not_uploaded_under_any_name() {
    if not_on_windows("identities of files: two hard links are two files") {
        return;
    }
    let world = World::with_files(&["good.txt", "sub/good.txt"]);
    for backup in [
        "config.json.bak",
        "config.json~",
        "config.json.1a2b",
        "Config.JSON.old",
        ".config.json.swp",
        "#config.json#",
    ] {
        fs::copy(world.path("config.json"), world.path(backup)).unwrap();
    }
    for other in ["hard", "sub/hard"] {
        fs::hard_link(world.path("config.json"), world.path(other)).unwrap();
    }
    symlink("../config.json~", world.path("sub/soft")).unwrap();
    fs::write(world.path("manifest"), "").unwrap();
    fs::hard_link(world.path("manifest"), world.path("sub/manifest-too")).unwrap();
    let never = "the config, its copies and the manifest of this run are never uploaded";
    let runs: [&[&str]; 3] = [&["."], &["-r", "."], &["hard", "sub/manifest-too"]];
    for arguments in runs {
        let ran = world.run(["--manifest", "manifest"].iter().chain(arguments));
        ran.assert_failure(0, &[&format!(" skipped: {never}")]);
    }
    // A copy that the user named fails.
    for copy in ["config.json~", "sub/../config.json.bak", "sub/soft"] {
        let ran = world.run([copy]);
        ran.assert_failure(1, &[&format!("error: {copy}: 上传文件失败: {never}")]);
    }
    assert_eq!(world.keys(), ["temp3/good.txt", "temp3/sub/good.txt"]);
}

/// Uploads `a` and then `b`. Calls `swap` after the run has listed both and before it opens `b`.
fn swap_while_a_is_sent(world: &World, arguments: &[&str], swap: impl Fn(&Path)) -> Ran {
    world.file("a", "a");
    world.file("b", "b");
    let a_is_on_its_way = Gate::default();
    let hold = a_is_on_its_way.hold();
    world.stand_in.fault(Step::Info, key("b"), hold);
    world.stand_in.fault(Step::Upload, key("a"), Fault::Hold);
    let child = world.start(["-j", "1", "a", "b"].iter().chain(arguments));
    assert!(world.stand_in.wait_for(Step::Upload, 1, PATIENCE));
    swap(world.dir.path());
    a_is_on_its_way.open();
    world.stand_in.open_gate();
    world.wait(child)
}

#[test]
fn a_file_that_becomes_the_config_after_it_was_listed_is_not_uploaded() {
    if not_under_wine("links of Unix") {
        return;
    }
    let swaps: [fn(&Path); 2] = [
        |dir| symlink("config.json", dir.join("b")).unwrap(),
        |dir| fs::hard_link(dir.join("config.json"), dir.join("b")).unwrap(),
    ];
    for swap in swaps {
        // This config holds no secret that would be found in it.
        let world = World::http();
        world.stand_in.auth_none(true);
        world.configure(json!({ "appid": null, "secret": null, "auth": "none" }));
        let ran = swap_while_a_is_sent(&world, &[], |dir| {
            fs::remove_file(dir.join("b")).unwrap();
            swap(dir);
        });
        ran.assert_failure(
            1,
            &["error: b: 上传文件失败: the config, its copies", "1 failed"],
        );
        assert_eq!(world.keys(), ["temp3/a"]);
    }
}

#[test]
fn a_file_that_replaces_the_manifest_during_a_run_is_not_written_to() {
    let world = World::http();
    world.file("precious", "keep me");
    let ran = swap_while_a_is_sent(&world, &["--manifest", "m"], |dir| {
        fs::remove_file(dir.join("m")).unwrap();
        symlink("precious", dir.join("m")).unwrap();
    });
    ran.assert_success();
    assert_eq!(fs::read(world.path("precious")).unwrap(), b"keep me");
}

#[test]
fn a_temporary_file_beside_the_config_may_vanish() {
    if not_under_wine("links of Unix") {
        return;
    }
    let world = World::with_files(&["a.txt"]);
    // As a link to nothing it looks like a file that has just vanished.
    symlink("gone", world.path("config.json.0123456789abcdef")).unwrap();
    let ran = world.run(["."]);
    assert_eq!(ran.counts(), "1 uploaded (5 B), 2 skipped");
}

#[test]
fn a_link_to_a_hidden_file_is_skipped_too_with_r() {
    if not_under_wine("links of Unix") {
        return;
    }
    let world = World::with_files(&["dir/.env", "dir/good.txt"]);
    symlink(".env", world.path("dir/visible")).unwrap();
    let ran = world.run(["-r", "dir"]);
    assert_eq!(ran.counts(), "1 uploaded (12 B), 2 skipped");
    assert_eq!(world.keys(), ["temp3/good.txt"]);
}

#[test]
fn a_file_with_two_hard_links_is_the_same_file() {
    if not_on_windows("identities of files: two hard links are two files") {
        return;
    }
    let world = World::with_files(&["one/a.txt"]);
    fs::create_dir(world.path("two")).unwrap();
    fs::hard_link(world.path("one/a.txt"), world.path("two/a.txt")).unwrap();
    let ran = world.run(["one", "two"]);
    ran.assert_failure(
        0,
        &[
            "two/a.txt: skipped: the same file as one/a.txt",
            "1 uploaded",
        ],
    );
}

#[test]
fn a_tree_that_is_too_deep_is_not_searched() {
    if not_under_wine("quick listings") {
        return;
    }
    let world = World::with_files(&["dir/good.txt"]);
    let deep = "d/".repeat(1900);
    // The system does not accept the whole path at once.
    let mut dir = world.path("dir");
    for part in deep.as_bytes().chunks(1000) {
        let part = str::from_utf8(part).unwrap();
        let script = format!("mkdir -p '{part}' && cd '{part}' && pwd -P >/dev/null && echo x > f");
        let made = Command::new("sh")
            .args(["-c", &script])
            .current_dir(&dir)
            .status();
        assert!(made.unwrap().success());
        dir = dir.join(part);
        if dir.as_os_str().len() > 3000 {
            break;
        }
    }
    assert_takes([0.0..5.0], || {
        let ran = world.run(["-r", "dir"]);
        let words = [
            "the cloud name is longer than 850 bytes",
            "1 uploaded",
            "1 failed",
        ];
        ran.assert_failure(1, &words);
        [ran.elapsed.as_secs_f64()]
    });
}

// ---- Limits of the system, and hostile peers ----------------------------------------------------

#[test]
fn with_few_threads_a_run_works_or_ends_with_a_sentence() {
    if not_on_windows("ulimit") {
        return;
    }
    if !is_root() {
        return;
    }
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let program = ProgramForAll::new();
    for limit in 1..=15 {
        for jobs in ["4", "8"] {
            let world = world_for_all(&names);
            let by_name = world.stand_in.base().replace("127.0.0.1", "localhost");
            world.configure(json!({ "api_base": by_name }));
            let user = 50_000 + limit; // the limit counts all processes of a user
            chown(world.path("config.json"), Some(user), None).unwrap();
            let arguments = ["-j", jobs].into_iter().chain(names);
            let command = world.command_of(&program.path(), arguments);
            let limit = format!("ulimit -u {limit} 2>/dev/null || ulimit -p {limit}"); // in dash: -p
            let mut command = after(&limit, &command);
            command.uid(user).gid(50_000);
            let ran = world.finish(command);
            ran.assert_ended(names.len());
            assert!(ran.status != Some(0) || world.keys().len() == names.len());
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_cannot_make_the_program_use_much_memory() {
    let blown_up = |item: &str, bytes: usize| {
        let items = vec![item; bytes / (item.len() + 1)].join(",");
        format!("{{\"x\":[{items}]}}").into_bytes()
    };
    let long_id = |reply: &mut Value| {
        reply["file_id"] = format!("cloud://{}", "x".repeat(50_000)).into();
    };
    let faults: [(&str, Step, Fault); 6] = [
        (
            "objects",
            Step::Info,
            Fault::Body(blown_up("{\"a\":0}", 60_000)),
        ),
        (
            "too many objects",
            Step::Info,
            Fault::Body(blown_up("{\"a\":0}", 8 << 20)),
        ),
        (
            "arrays of links",
            Step::Link,
            Fault::Body(blown_up("[]", 1_000_000)),
        ),
        (
            "objects of links",
            Step::Link,
            Fault::Body(blown_up("{\"a\":0}", 1_000_000)),
        ),
        (
            "too many links",
            Step::Link,
            Fault::Body(blown_up("0", 8 << 20)),
        ),
        ("long file_ids", Step::Info, Fault::edit(long_id)),
    ];
    for (what, step, fault) in faults {
        let world = World::with_many(500);
        world.stand_in.fault(step, When::Always, fault);
        let run = || world.run(["-j", "64", "--retries", "0", "files"]).peak_kib;
        // On a busy machine a short run can end before the harness has looked at its memory.
        let mut peaks = std::iter::repeat_with(run).take(10);
        let peak = peaks.find(|peak| *peak > 0).unwrap_or(0);
        assert!((1..=MOST_KIB).contains(&peak), "{what}: {peak} KiB");
    }
}

#[test]
fn an_odd_file_id_in_a_manifest_is_ignored() {
    let world = World::with_files(&["a.txt", "b.txt", "c.txt"]);
    let options = ["--manifest", "m", "a.txt", "b.txt", "c.txt"];
    world.run(options).assert_success();
    let text = fs::read_to_string(world.path("m")).unwrap();
    let mut lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for line in &mut lines {
        match line["key"].as_str().unwrap() {
            "temp3/a.txt" => line["file_id"] = json!("not-a-file-id"),
            "temp3/b.txt" => line["file_id"] = json!(format!("cloud://{}", "x".repeat(4096))),
            _ => {}
        }
    }
    let lines: Vec<String> = lines.iter().map(|line| format!("{line}\n")).collect();
    world.file("m", lines.concat());
    let ran = world.run(options);
    ran.assert_failure(0, &["2 uploaded", "1 unchanged"]);
}

#[test]
fn characters_that_hide_or_break_lines_are_shown_escaped() {
    let hidden = "\u{2028}\u{2029}\u{200e}\u{200f}\u{feff}\u{200b}\u{2060}\u{61c}\u{202e}";
    let name = format!("a{hidden}👩\u{200d}💻.txt");
    let world = World::with_files(&[&name]);
    for format in ["text", "markdown", "json"] {
        let ran = world.run(["-f", format, &name]);
        ran.assert_success();
        assert!(
            !ran.stdout.contains(|c| hidden.contains(c)),
            "{:?}",
            ran.stdout
        );
        let shown = r"a\u2028\u2029\u200e\u200f\ufeff\u200b\u2060\u061c\u202e";
        assert!(ran.stdout.contains(shown), "{}", ran.stdout);
        assert!(ran.stdout.contains("👩\u{200d}💻"), "{}", ran.stdout);
    }
}

#[test]
fn html_and_markup_in_a_name_are_escaped_in_markdown() {
    if not_on_windows("< and > in names") {
        return;
    }
    let name = "<img src=x onerror=alert(1)> *b* _i_ `c` [d].txt";
    let world = World::with_files(&[name]);
    let ran = world.run(["-f", "markdown", name]);
    let shown = r"[\<img src=x onerror=alert(1)\> \*b\* \_i\_ \`c\` \[d\].txt](http";
    assert!(ran.stdout.starts_with(shown), "{}", ran.stdout);
}

#[test]
fn a_manifest_that_cannot_be_written_is_reported_once_even_with_quiet() {
    if not_on_windows("ulimit") {
        return;
    }
    let names = ["a.txt", "b.txt", "c.txt"];
    let world = World::with_files(&names);
    world.run(["a.txt"]).assert_success(); // saves a token
    let command = world.command(
        ["-q", "-j1", "--manifest", "sent.jsonl"]
            .iter()
            .chain(&names),
    );
    let ran = world.finish(after("ulimit -f 0; trap '' XFSZ", &command));
    assert_eq!(
        (ran.status, ran.lines().len()),
        (Some(0), 3),
        "{}",
        ran.stderr
    );
    let warning = "warning: the manifest sent.jsonl cannot be written: ";
    assert!(ran.stderr.starts_with(warning), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
}

#[test]
fn an_init_that_made_nothing_does_not_ask_to_remove_anything() {
    let world = World::with_files(&["a.txt"]);
    let ran = world.run(["--init", "-c", "nodir/config.json"]);
    world.assert_refused(&ran, &["nodir/config.json: its directory does not exist"]);
    assert!(!ran.stderr.contains("remove"), "{}", ran.stderr);
}
