//! Secrets that must not get out: where the secret is sent, who can read it, and the config as a file.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use stand_in::{SECRET, Step};

use crate::harness::{Ran, World, not_on_windows};
use crate::unix::{set_mode, with_own_hosts};

// ---- Where the secret is sent ---------------------------------------------------------------------------------

#[test]
fn a_host_that_only_looks_like_this_machine_gets_no_secret_over_http() {
    let world = World::with_files(&["a.txt"]);
    for host in [
        "127.0.0.1.example",
        "127.0.0.1.",
        "localhost.example",
        "xlocalhost",
        "0.0.0.0",
        "[::]",
        "128.0.0.1",
        "[::1:1]",
        "api.weixin.qq.com",
    ] {
        let base = format!("http://{host}:1");
        world.configure(json!({ "api_base": base }));
        world.assert_refused(&world.run(["a.txt"]), &["`api_base`", &base, "https"]);
    }
    world.configure(json!({ "api_base": "http://[127.0.0.1]:1" })); // no address
    world.assert_refused(&world.run(["a.txt"]), &["`api_base` must be like https"]);
}

#[test]
fn all_addresses_of_this_machine_may_be_used_over_http() {
    let world = World::with_files(&["a.txt"]);
    for host in ["127.0.0.1", "127.255.255.254", "[::1]", "LocalHost"] {
        // Nobody listens there, but the run does try.
        world.configure(json!({ "api_base": format!("http://{host}:1") }));
        let ran = world.run(["--retries", "0", "a.txt"]);
        ran.assert_failure(1, &["获取access token失败: "]);
    }
}

#[test]
fn the_environment_can_name_no_other_host_over_http_either() {
    let world = World::with_files(&["a.txt"]);
    world.configure(json!({ "api_base": null }));
    let mut command = world.command(["a.txt"]);
    command.env("WX_API_BASE", "http://192.0.2.1");
    let words = ["error: WX_API_BASE is http://192.0.2.1: ", "https"];
    world.assert_refused(&world.finish(command), &words);
    let mut command = world.command(["a.txt"]);
    command.env("WX_API_BASE", "192.0.2.1");
    world.assert_refused(
        &world.finish(command),
        &["error: WX_API_BASE must be like "],
    );
}

#[test]
fn requests_to_this_machine_use_no_proxy() {
    for host in ["127.0.0.1", "localhost"] {
        for proxy in ["ALL_PROXY", "HTTPS_PROXY"] {
            let world = World::with_files(&["a.txt"]);
            let port = world.stand_in.base().rsplit(':').next().unwrap().to_owned();
            let base = format!("http://{host}:{port}");
            world.configure(json!({ "secret": null, "api_base": base }));
            let mut command = world.command(["--retries", "0", "a.txt"]);
            command.envs([("WX_SECRET", SECRET), ("WX_API_BASE", &base)]);
            command.env(proxy, "http://127.0.0.1:1"); // nobody is there
            world.finish(command);
            assert_eq!((world.count(Step::Token), world.count(Step::Info)), (1, 1));
        }
    }
}

#[test]
fn the_configs_base_is_not_replaced_by_the_environments() {
    let world = World::with_files(&["a.txt"]);
    let mut command = world.command(["a.txt"]);
    command.env("WX_API_BASE", "http://127.0.0.1:1");
    world.finish(command).assert_success();
}

#[test]
fn a_refusal_to_send_a_secret_shows_no_secret_and_comes_before_any_token() {
    let world = World::with_files(&["a.txt"]);
    world.configure(json!({ "secret": "", "api_base": "https://wx.example" }));
    let mut command = world.command(["a.txt"]);
    command.env("WX_SECRET", SECRET); // every run is checked for not showing it
    let words = ["./config.json", "WX_SECRET", "https://wx.example"];
    world.assert_refused(&world.finish(command), &words);
}

#[test]
fn a_secret_of_the_environment_is_not_sent_to_the_configs_own_base_on_this_machine() {
    // Any program may listen there.
    let world = World::with_files(&["a.txt"]);
    let port = world.stand_in.base().rsplit(':').next().unwrap().to_owned();
    for host in ["127.0.0.1", "localhost", "[::1]", "127.1.2.3"] {
        for scheme in ["http", "https"] {
            let base = format!("{scheme}://{host}:{port}");
            for auth in ["token", "stable_token"] {
                world.configure(json!({ "secret": null, "api_base": base, "auth": auth }));
                let mut command = world.command(["a.txt"]);
                command.env("WX_SECRET", SECRET);
                let words = [base.as_str(), "WX_SECRET", "WX_API_BASE"];
                world.assert_refused(&world.finish(command), &words);
            }
        }
    }
}

/// A run on a machine whose `/etc/hosts` has these lines, with an API at `localhost` over http. There
/// is none where the system does not let the test change that.
#[cfg(target_os = "linux")]
fn run_with_hosts(world: &World, lines: &str) -> Option<Ran> {
    let by_name = world.stand_in.base().replace("127.0.0.1", "localhost");
    world.configure(json!({ "api_base": by_name }));
    world.file("hosts", lines);
    let command = with_own_hosts(&world.command(["a.txt"]))?;
    Some(world.finish(command))
}

#[cfg(target_os = "linux")]
#[test]
fn a_localhost_that_is_another_machine_is_sent_nothing_over_http() {
    let world = World::with_files(&["a.txt"]);
    // Linux connects 0.0.0.0 to the stand-in. So a run that is not careful sends it the secret.
    for lines in ["0.0.0.0 localhost\n", "192.0.2.1 localhost\n"] {
        let Some(ran) = run_with_hosts(&world, lines) else {
            return;
        };
        ran.assert_failure(1, &["获取access token失败: localhost: ", "another machine"]);
        assert!(!ran.stderr.contains("tried"), "{}", ran.stderr);
        assert_eq!(world.stand_in.connections(), 0);
    }
    // Of several addresses, those of this machine are used.
    let both = "192.0.2.1 localhost\n0.0.0.0 localhost\n127.0.0.1 localhost\n";
    run_with_hosts(&world, both).unwrap().assert_success();
}

// ---- Who can read the secret ----------------------------------------------------------------------------

#[test]
fn only_a_secret_or_a_token_that_everybody_may_read_is_noted() {
    if not_on_windows("permissions") {
        return;
    }
    let noted = |mode: u32, changes: Value, arguments: &[&str]| {
        let world = World::with_files(&["a.txt"]);
        world.configure(changes);
        set_mode(&world.path("config.json"), mode);
        let mut command = world.command(arguments);
        let base = world.stand_in.base();
        command.envs([("WX_SECRET", SECRET), ("WX_API_BASE", &base)]);
        let ran = world.finish(command);
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        let words = [
            " can read its `secret`: chmod",
            " can read the access token",
        ];
        words.map(|words| ran.stderr.contains(words))
    };
    let secret = || json!({});
    let secret_elsewhere = || json!({ "secret": null });
    let token = || json!({ "secret": "", "access_token": "old-token" });
    assert_eq!(noted(0o604, secret(), &["a.txt"]), [true, false]);
    assert_eq!(noted(0o666, secret(), &["-n", "a.txt"]), [true, false]);
    assert_eq!(noted(0o604, secret(), &["-q", "a.txt"]), [false, false]);
    assert_eq!(noted(0o660, secret(), &["a.txt"]), [false, false]);
    // The token that the run fetches is saved in the config, and is there for two hours.
    assert_eq!(noted(0o644, secret_elsewhere(), &["a.txt"]), [false, true]);
    assert_eq!(noted(0o604, token(), &["-n", "a.txt"]), [false, true]);
    assert_eq!(noted(0o604, token(), &["-q", "a.txt"]), [false, false]);
    assert_eq!(noted(0o640, token(), &["a.txt"]), [false, false]);
    // A dry run fetches none.
    let dry_run = noted(0o644, secret_elsewhere(), &["-n", "a.txt"]);
    assert_eq!(dry_run, [false, false]);
}

#[test]
fn where_no_token_is_used_a_config_may_be_read_by_everybody() {
    let world = World::with_files(&["a.txt"]);
    world.stand_in.auth_none(true);
    world.configure(json!({ "appid": null, "secret": null, "auth": "none" }));
    set_mode(&world.path("config.json"), 0o644);
    world.run(["a.txt"]).assert_success();
}

#[test]
fn a_command_is_not_shown_where_the_file_system_has_no_permissions() {
    if not_on_windows("permissions") {
        return;
    }
    // There every file looks like this, and chmod does nothing.
    for mode in [0o777, 0o755, 0o555] {
        for secret in [json!(SECRET), Value::Null] {
            let world = World::with_files(&["a.txt"]);
            world.configure(json!({ "secret": secret, "access_token": "old-token" }));
            set_mode(&world.path("config.json"), mode);
            let ran = world.run(["-n", "a.txt"]);
            ran.assert_failure(
                0,
                &["note: ./config.json: everybody on this machine can read "],
            );
            assert!(!ran.stderr.contains("chmod"), "{}", ran.stderr);
        }
    }
}

// ---- The config itself --------------------------------------------------------------------------

/// Checks that a run skips the config and its backups, and uploads only `good.txt`.
fn assert_only_good_goes_up(world: &World, arguments: &[&str]) {
    let ran = world.run(arguments);
    assert_eq!(ran.status, Some(0), "{arguments:?}: {}", ran.stderr);
    ran.assert_failure(
        0,
        &["skipped: the config, its copies and the manifest of this run are never uploaded"],
    );
    for object in world.stand_in.objects().into_values() {
        assert_eq!(object.bytes.as_deref(), Some(&b"good.txt"[..]));
    }
}

#[test]
fn the_config_is_not_uploaded_under_any_path() {
    let world = World::with_files(&["good.txt"]);
    fs::create_dir(world.path("sub")).unwrap();
    fs::copy(world.path("config.json"), world.path("config.json.bak")).unwrap();
    symlink(".", world.path("here")).unwrap();
    symlink("config.json", world.path("good-too")).unwrap();
    for name in ["config.json", "good-too"] {
        let absolute = world.path(name);
        for path in [
            absolute.to_str().unwrap(),
            &format!("./{name}"),
            &format!("sub/../{name}"),
            &format!("here/here/{name}"),
        ] {
            assert_only_good_goes_up(&world, &["good.txt", path]);
        }
    }
    for directory in [".", "here", "sub/.."] {
        assert_only_good_goes_up(&world, &[directory]);
    }
}

#[test]
fn a_config_with_any_name_and_its_backups_are_not_uploaded() {
    let world = World::with_files(&["good.txt"]);
    fs::rename(world.path("config.json"), world.path("配置")).unwrap();
    for backup in ["配置~", "配置.json", "配置 (copy)"] {
        fs::copy(world.path("配置"), world.path(backup)).unwrap();
    }
    let absolute = world.path("配置");
    for config in ["配置", "./配置", absolute.to_str().unwrap()] {
        assert_only_good_goes_up(&world, &["-c", config, "."]);
    }
    // A copy that is named is a failure.
    let ran = world.run(["-c", "配置", "good.txt", "配置~"]);
    ran.assert_failure(
        1,
        &["error: 配置~: 上传文件失败: the config, ", "1 uploaded"],
    );
}

#[test]
fn backups_of_the_config_and_of_a_link_to_it_are_not_uploaded() {
    let world = World::with_files(&["good.txt"]);
    fs::create_dir(world.path("real")).unwrap();
    fs::rename(world.path("config.json"), world.path("real/own.json")).unwrap();
    symlink("real/own.json", world.path("config.json")).unwrap();
    for backup in ["config.json.bak", "config.json~", "real/own.json.bak"] {
        fs::copy(world.path("real/own.json"), world.path(backup)).unwrap();
    }
    assert_only_good_goes_up(&world, &["."]);
    assert_only_good_goes_up(&world, &["-c", "config.json", "."]);
    assert_only_good_goes_up(&world, &["-r", "."]);
    for copy in [
        "config.json~",
        "./real/../config.json.bak",
        "real/own.json.bak",
    ] {
        let ran = world.run([copy, "good.txt"]);
        let told = format!("error: {copy}: 上传文件失败: the config, its copies ");
        ran.assert_failure(1, &[&told, "1 uploaded"]);
    }
}

#[test]
fn a_file_elsewhere_with_a_name_like_the_configs_is_uploaded() {
    let world = World::with_files(&["sub/config.json", "sub/config.json.bak", "my-config.json"]);
    let ran = world.run(["sub", "my-config.json"]);
    ran.assert_success();
    assert_eq!(ran.count("uploaded"), 3);
}

#[test]
fn a_longer_word_that_begins_like_the_configs_name_is_another_name() {
    let world = World::with_files(&["conference.jpg", "conf2", "conf.bak"]);
    fs::rename(world.path("config.json"), world.path("conf")).unwrap();
    let ran = world.run(["-c", "conf", "."]);
    ran.assert_failure(0, &["./conf: skipped", "./conf.bak: skipped", "2 skipped"]);
    assert_eq!(world.keys(), ["temp3/conf2", "temp3/conference.jpg"]);
}
