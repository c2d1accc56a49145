//! What users of the services reported: pasted white space, proxies that are not used, checkouts
//! with new times, links for files that are in the cloud already.

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use stand_in::{APPID, ENV, Fault, SECRET, Step, When, file_id_of};

use crate::harness::{Ran, World, file_id};

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
        ran.assert_failure(1, &[told, help, "0 failed, 0 skipped, 20 not attempted"]);
        assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
        assert!(!ran.stderr.contains("pa55w0rd"), "{}", ran.stderr);
        assert_eq!(world.count(Step::Upload), 0);
    }
}
