//! The recipes of the README, as other programs use them: Typora, cron, a container.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::harness::{World, binary};
use stand_in::{ENV, Fault, Step, When};

/// A world with another directory, `elsewhere`, which has no config.
fn world() -> World {
    let world = World::http();
    fs::create_dir(world.path("elsewhere")).unwrap();
    world
}

/// A shell command that runs in `directory` with only these variables. The path of the program is
/// `$0`.
fn shell(directory: &Path, line: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", line])
        .arg(binary())
        .current_dir(directory);
    command.env_clear().envs(variables.iter().copied());
    command
}

// ---- Typora: Preferences, Image, Custom Command -------------------------------------------------

#[test]
fn typora_gets_a_url_for_each_path_in_their_order_and_nothing_else() {
    let world = world();
    let names = ["Typora/图片 1.png", "Typora/b (copy).jpg", "other/a.gif"];
    let paths = names.map(|name| world.file(name, name));
    let config = world.path("config.json");
    for count in [1, 3] {
        let mut command = world.command(["-f", "url", "-c"]);
        command
            .arg(&config)
            .args(&paths[..count])
            .current_dir(world.path("elsewhere"));
        let ran = world.finish(command);
        ran.assert_success();
        let urls = ["图片 1.png", "b (copy).jpg", "a.gif"]
            .map(|name| format!("{}/download/temp3/{}", world.stand_in.base(), encoded(name)));
        assert_eq!(ran.lines(), urls[..count]);
    }
    assert_eq!(world.keys().len(), 3);
    assert_eq!(fs::read_dir(world.path("elsewhere")).unwrap().count(), 0);
    world.assert_proper();
}

/// Percent-encodes a name, except for letters, digits and `-._~`.
fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[cfg(unix)]
#[test]
fn typora_finds_the_urls_in_the_last_lines_even_if_both_outputs_are_one() {
    let world = world();
    let paths = ["a.png", "b.png"].map(|name| world.file(name, name).to_str().unwrap().to_owned());
    let line = format!(
        "exec \"$0\" -q -f url -c ../config.json '{}' '{}' 2>&1",
        paths[0], paths[1]
    );
    let ran = world.finish(shell(&world.path("elsewhere"), &line, &[]));
    let urls =
        ["a.png", "b.png"].map(|name| format!("{}/download/temp3/{name}", world.stand_in.base()));
    assert_eq!(
        (ran.status, ran.lines()),
        (Some(0), urls.iter().map(String::as_str).collect())
    );
}

#[test]
fn typora_gets_fewer_lines_and_a_bad_exit_status_if_an_upload_fails() {
    let world = world();
    let paths = ["a.png", "b.png"].map(|name| world.file(name, name));
    world.stand_in.fault(
        Step::Upload,
        When::Key("temp3/a.png".into()),
        Fault::cos_error(400, "EntityTooLarge"),
    );
    let ran = world.run([
        "-f".as_ref(),
        "url".as_ref(),
        paths[0].as_os_str(),
        paths[1].as_os_str(),
    ]);
    ran.assert_failure(1, &["a.png: 上传文件失败: HTTP 400"]);
    assert_eq!(
        ran.lines(),
        [format!("{}/download/temp3/b.png", world.stand_in.base())]
    );
}

// ---- cron ---------------------------------------------------------------------------------------

#[cfg(unix)]
#[test]
fn under_cron_a_success_is_silent_and_a_failure_is_a_sentence() {
    let world = world();
    world.file("154190339_附件/a.txt", "a");
    world.file("154190339_附件/directory/b.txt", "b");
    let root = world.dir.path();
    // There is no TERM, HOME, PATH or standard input. cron would mail all output.
    let line = "exec \"$0\" -q --manifest sent.jsonl <&- >links.txt";
    for round in 0..2 {
        let ran = world.finish(shell(root, line, &[]));
        assert_eq!(
            (ran.status, ran.stdout.as_str(), ran.stderr.as_str()),
            (Some(0), "", "")
        );
        assert_eq!(
            fs::read_to_string(world.path("links.txt"))
                .unwrap()
                .lines()
                .count(),
            1
        );
        assert_eq!(
            world.stand_in.requests(Step::Upload).len(),
            1,
            "round {round}"
        );
    }
    // A failure is one sentence.
    world.file("154190339_附件/c.txt", "c");
    world.stand_in.fault(
        Step::Upload,
        When::Always,
        Fault::cos_error(400, "EntityTooLarge"),
    );
    let ran = world.finish(shell(root, line, &[]));
    ran.assert_failure(
        1,
        &["error: ./154190339_附件/c.txt: 上传文件失败: HTTP 400 "],
    );
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    // Without a config, the message says what to do.
    let ran = world.finish(shell(&world.path("elsewhere"), line, &[]));
    ran.assert_failure(2, &["config.json", "--init"]);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
}

// ---- In a container -----------------------------------------------------------------------------

#[test]
fn in_a_container_the_environment_id_is_enough() {
    let world = world();
    world.file("a.txt", "a");
    world.stand_in.auth_none(true);
    world.file(
        "config.json",
        json!({ "auth": "none", "api_base": world.stand_in.base() }).to_string(),
    );
    let mut command = world.command(["--manifest", "sent.jsonl", "a.txt"]);
    command.env("WX_ENV", ENV);
    world.finish(command).assert_success();
    assert!(world.stand_in.requests(Step::Token).is_empty());
    assert_eq!(world.keys(), ["temp3/a.txt"]);
    world.assert_proper();
}

// ---- The first minutes --------------------------------------------------------------------------

#[test]
fn from_nothing_to_the_first_upload_each_step_says_what_is_next() {
    let world = world();
    fs::remove_file(world.path("config.json")).unwrap();
    world.file("a.txt", "a");
    // There is no config yet.
    world.assert_refused(&world.run(["a.txt"]), &["config.json", "wx-upload --init"]);
    // There is a config to fill in.
    world
        .run(["--init"])
        .assert_failure(0, &["config.json", "`appid`", "`secret`", "`env`"]);
    world.assert_refused(&world.run(["a.txt"]), &["config.json", "`"]);
    // The config is complete, but the fixed directory is missing.
    let mut config = world.config();
    let filled = [
        ("appid", stand_in::APPID),
        ("secret", stand_in::SECRET),
        ("env", ENV),
    ];
    filled
        .iter()
        .for_each(|(key, value)| config[*key] = json!(value));
    config["api_base"] = world.stand_in.base().into();
    world.file("config.json", config.to_string());
    world.assert_refused(&world.run([""; 0]), &["154190339_附件", "upload_dir"]);
    world.run(["a.txt"]).assert_success();
    assert_eq!(world.keys(), ["temp3/a.txt"]);
}
