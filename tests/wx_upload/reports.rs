//! What users reported: pasted white space, proxies that are not used, checkouts with new times.

use std::fs;
use std::io::Write;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use stand_in::{APPID, ENV, Fault, SECRET, Step, When};

use crate::harness::{PATIENCE, World, spawn};
use crate::services::proxy;

// ---- Pasted white space -------------------------------------------------------------------------

const SPACES: [&str; 7] = [" ", "\n", "\r\n", "\r", "\t ", "\u{a0}", "\u{3000}"];

#[test]
fn white_space_around_the_keys_of_the_config_is_cut_off() {
    for auth in ["token", "stable_token"] {
        for space in SPACES {
            let world = World::with_files(&["a.txt"]);
            let [appid, secret, env] =
                [APPID, SECRET, ENV].map(|value| format!("{space}{value}{space}"));
            world.configure(json!({ "appid": appid, "secret": secret, "env": env, "auth": auth }));
            world.run(["a.txt"]).assert_success();
            world.assert_proper();
            // What the user typed stays in the file.
            assert_eq!(world.config()["secret"], secret);
        }
    }
}

#[test]
fn white_space_around_the_variables_is_cut_off() {
    for space in SPACES {
        let world = World::with_files(&["a.txt"]);
        let base = world.stand_in.base();
        world.configure(json!({ "appid": " ", "secret": "\n", "env": "\u{3000}", "api_base": "" }));
        let mut command = world.command(["a.txt"]);
        for (name, value) in [
            ("WX_APPID", APPID),
            ("WX_SECRET", SECRET),
            ("WX_ENV", ENV),
            ("WX_API_BASE", &base),
        ] {
            command.env(name, format!("{space}{value}{space}"));
        }
        world.finish(command).assert_success();
        world.assert_proper();
    }
}

#[test]
fn what_is_only_white_space_is_missing() {
    let world = World::with_files(&["a.txt"]);
    world.configure(json!({ "appid": " \n", "secret": "\t", "env": "\r" }));
    let mut command = world.command(["a.txt"]);
    command.envs([("WX_SECRET", " "), ("WX_ENV", "\n")]);
    let ran = world.finish(command);
    world.assert_refused(&ran, &["`appid`, `secret` and `env` are missing"]);
}

#[test]
fn a_secret_of_the_environment_stays_away_from_the_configs_base_also_beside_white_space() {
    let world = World::with_files(&["a.txt"]);
    world.configure(json!({ "secret": " ", "api_base": "https://api.example" }));
    let mut command = world.command(["a.txt"]);
    command.env("WX_SECRET", SECRET);
    let ran = world.finish(command);
    world.assert_refused(
        &ran,
        &["the WX_SECRET of the environment is not sent there"],
    );
}

// ---- Proxies that are not used ------------------------------------------------------------------

/// Proxies that the program cannot use.
const BAD_PROXIES: [&str; 4] = [
    "socks5://127.0.0.1:1",
    "socks5h://user:pa55w0rd@127.0.0.1:1",
    "http://user:pa55w0rd@",
    "::",
];

fn with_proxy(command: &mut Command, name: &str, proxy: &str, no_proxy: &str) {
    command.env(name, proxy).env("no_proxy", no_proxy);
}

#[test]
fn a_proxy_that_no_host_needs_refuses_nothing() {
    for proxy in BAD_PROXIES {
        for name in ["all_proxy", "ALL_PROXY", "https_proxy"] {
            for no_proxy in ["*", " * ", "localhost", "example.com,localhost"] {
                let world = World::https();
                world.file("a.txt", "a");
                let mut command = world.command(["a.txt"]);
                with_proxy(&mut command, name, proxy, no_proxy);
                world.finish(command).assert_success();
            }
        }
    }
}

#[test]
fn a_dry_run_asks_nobody_so_no_proxy_and_no_certificates_refuse_it() {
    for proxy in BAD_PROXIES {
        let world = World::https();
        world.file("a.txt", "a");
        let mut command = world.command(["-n", "a.txt"]);
        with_proxy(&mut command, "all_proxy", proxy, "");
        command.env("SSL_CERT_FILE", world.path("missing.pem"));
        let ran = world.finish(command);
        assert_eq!(ran.assert_success().lines(), ["a.txt\ttemp3/a.txt"]);
        assert_eq!(world.stand_in.connections(), 0);
    }
}

#[test]
fn nothing_goes_around_a_proxy_that_the_storage_alone_needs() {
    for proxy in BAD_PROXIES {
        let world = World::https();
        (0..20).for_each(|n| drop(world.file(format!("files/{n}"), "x")));
        let elsewhere = world.stand_in.base().replace("localhost", "127.0.0.1");
        world.stand_in.set_upload_origin(&elsewhere);
        let mut command = world.command(["files"]);
        with_proxy(&mut command, "all_proxy", proxy, "localhost");
        let ran = world.finish(command);
        let told = "error: 上传文件失败: 127.0.0.1, through the proxy ";
        let help = ": this kind of proxy is not supported: it must be like http://HOST:PORT, or \
                    name the host in no_proxy; the run was stopped\n";
        ran.assert_failure(1, &[told, help, "0 uploaded (0 B), 20 not attempted"]);
        assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
        assert!(!ran.stderr.contains("pa55w0rd"), "{}", ran.stderr);
        assert_eq!(world.count(Step::Upload), 0);
    }
}

/// The API is asked without the proxy. So the first upload is the first request that the proxy gets.
#[test]
fn a_proxy_that_the_storage_alone_needs_is_asked_for_its_password_once() {
    let (proxy, asked) = proxy(|client| {
        thread::sleep(Duration::from_millis(300)); // the others could come meanwhile
        let answer = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
        client.write_all(answer).ok();
    });
    let world = World::https();
    (0..20).for_each(|n| drop(world.file(format!("files/{n}"), "x")));
    let elsewhere = world.stand_in.base().replace("localhost", "127.0.0.1");
    world.stand_in.set_upload_origin(&elsewhere);
    let mut command = world.command(["files"]);
    with_proxy(&mut command, "https_proxy", &proxy, "localhost");
    let ran = world.finish(command);
    ran.assert_failure(1, &["上传文件失败: 127.0.0.1, through", "20 not attempted"]);
    assert_eq!(*asked.lock().unwrap(), 1);
}

#[test]
fn an_upload_that_needs_no_proxy_waits_for_no_other() {
    let world = World::https();
    world.stand_in.raw_urls(true);
    (0..4).for_each(|n| drop(world.file(format!("files/{n}"), "x")));
    let first = When::Key("a b/0".to_owned());
    world.stand_in.fault(Step::Upload, first, Fault::Hold);
    let mut command = world.command(["-t", "a b", "files"]);
    with_proxy(
        &mut command,
        "https_proxy",
        "http://127.0.0.1:1",
        "localhost",
    );
    let child = spawn(command);
    assert!(world.stand_in.wait_for(Step::Upload, 4, PATIENCE));
    world.stand_in.open_gate();
    world.wait(child).assert_success();
}

// ---- Checkouts with new times -------------------------------------------------------------------

const MANIFEST: [&str; 3] = ["--manifest", "sent.jsonl", "files"];

/// Gives each file in `files` another time, as a checkout does.
fn touch_all(world: &World, time: SystemTime) {
    for entry in fs::read_dir(world.path("files")).unwrap() {
        let file = fs::File::options()
            .write(true)
            .open(entry.unwrap().path())
            .unwrap();
        file.set_modified(time).unwrap();
    }
}

fn time(days: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400)
}

#[test]
fn a_fresh_checkout_sends_only_what_differs_and_records_the_new_times() {
    let world = World::with_many(20);
    touch_all(&world, time(20_000));
    world.run(MANIFEST).assert_success();
    for n in [3, 7] {
        world.file(format!("files/{n:03}"), "y"); // of the same size
    }
    touch_all(&world, time(20_001));
    let dry = world.run(["-n"].iter().chain(&MANIFEST));
    assert_eq!(dry.lines(), ["003\ttemp3/003", "007\ttemp3/007"]);
    let ran = world.run(MANIFEST);
    assert_eq!(ran.assert_success().lines().len(), 20);
    assert_eq!(ran.counts(), "2 uploaded (2 B), 18 unchanged");
    assert_eq!(world.count(Step::Upload), 22);
    let manifest = fs::read_to_string(world.path("sent.jsonl")).unwrap();
    let entries: Vec<Value> = manifest
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(entries.len(), 40);
    let nanoseconds = 20_001 * 86_400 * 1_000_000_000_i64;
    for (old, new) in entries[..20].iter().flat_map(|old| {
        let new = entries[20..].iter().find(|new| new["key"] == old["key"]);
        Some((old, new.expect("a line with the new time")))
    }) {
        assert_eq!(new["mtime"], nanoseconds);
        assert_eq!(new["file_id"], old["file_id"]);
        let keys =
            |entry: &Value| -> Vec<String> { entry.as_object().unwrap().keys().cloned().collect() };
        assert_eq!(keys(new), keys(old));
    }
    // The new times are known now: not even reading the files is needed.
    let again = world.run(MANIFEST);
    assert_eq!(again.counts(), "0 uploaded (0 B), 20 unchanged");
    let unchanged = fs::read_to_string(world.path("sent.jsonl")).unwrap();
    assert_eq!(unchanged, manifest);
}

#[test]
fn a_dry_run_over_a_fresh_checkout_records_nothing() {
    let world = World::with_many(3);
    world.run(MANIFEST).assert_success();
    let manifest = fs::read_to_string(world.path("sent.jsonl")).unwrap();
    touch_all(&world, time(20_000));
    let dry = world.run(["-n"].iter().chain(&MANIFEST));
    assert_eq!(dry.summary(), "0 would be uploaded (0 B), 3 unchanged");
    assert_eq!(
        fs::read_to_string(world.path("sent.jsonl")).unwrap(),
        manifest
    );
}

#[test]
fn a_manifest_without_a_usable_checksum_sends_a_touched_file_again() {
    for crc64 in [json!(null), json!(""), json!("x"), json!(7), json!([])] {
        let world = World::with_many(1);
        touch_all(&world, time(10_000));
        world.run(MANIFEST).assert_success();
        let manifest = fs::read_to_string(world.path("sent.jsonl")).unwrap();
        let mut entry: Value = serde_json::from_str(&manifest).unwrap();
        entry["crc64"] = crc64;
        world.file("sent.jsonl", format!("{entry}\n"));
        world.run(MANIFEST).assert_success();
        assert_eq!(world.count(Step::Upload), 1);
        touch_all(&world, time(20_000));
        world.run(MANIFEST).assert_success();
        assert_eq!(world.count(Step::Upload), 2);
    }
}

#[test]
fn a_touched_file_that_is_gone_from_the_cloud_is_uploaded_again() {
    let world = World::with_many(2);
    world.run(MANIFEST).assert_success();
    touch_all(&world, time(20_000));
    world.stand_in.remove_object("temp3/001");
    let ran = world.run(MANIFEST);
    assert_eq!(ran.assert_success().lines().len(), 2);
    assert_eq!(ran.counts(), "1 uploaded (1 B), 1 unchanged");
    assert_eq!(world.keys(), ["temp3/000", "temp3/001"]);
}

#[test]
fn a_large_touched_file_is_read_without_being_held_in_memory() {
    let world = World::http();
    world.file("files/large.bin", vec![7; 48 << 20]);
    world.run(MANIFEST).assert_success();
    touch_all(&world, time(20_000));
    let ran = world.run(MANIFEST);
    assert_eq!(ran.counts(), "0 uploaded (0 B), 1 unchanged");
    assert!(ran.peak_kib < 24 << 10, "{} KiB", ran.peak_kib);
}
