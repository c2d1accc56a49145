//! Configs of other programs, and runs without any config.

use std::fs;

use serde_json::{Value, json};
use stand_in::{APPID, ENV, SECRET, Step};

use crate::harness::{Ran, World, install_program};

/// A config that is another program's.
const FOREIGN: &str = r#"{"port": 3000, "database": {"host": "localhost"}}"#;

/// A world with one file, and this `config.json` in place of its own; `None` for none.
fn world(config: Option<&str>) -> World {
    let world = World::with_files(&["a.txt"]);
    match config {
        Some(text) => drop(world.file("config.json", text)),
        None => fs::remove_file(world.path("config.json")).unwrap(),
    }
    world
}

/// Uploads `a.txt` with these variables, and with the stand-in as the API.
fn run_with(world: &World, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let mut command = world.command(arguments);
    command.env("WX_API_BASE", world.stand_in.base());
    command.envs(variables.iter().copied());
    world.finish(command)
}

const ACCOUNT: [(&str, &str); 3] = [("WX_APPID", APPID), ("WX_SECRET", SECRET), ("WX_ENV", ENV)];

#[test]
fn the_config_of_another_program_is_passed_over_and_stays_as_it_is() {
    let world = world(Some(FOREIGN));
    let ran = world.run(["a.txt"]);
    world.assert_refused(
        &ran,
        &[
            "./config.json is not wx-upload's",
            "--init -c wx.json",
            "-c wx.json names it",
        ],
    );
    // Nobody is told to put an AppSecret into it.
    assert!(!ran.stderr.contains("fill it in"), "{}", ran.stderr);
    let ran = run_with(&world, &ACCOUNT, &["a.txt", "config.json"]);
    ran.assert_failure(0, &["2 uploaded"]);
    assert_eq!(
        fs::read_to_string(world.path("config.json")).unwrap(),
        FOREIGN
    );
    // It is a file as any other.
    assert_eq!(world.keys(), ["temp3/a.txt", "temp3/config.json"]);
}

#[test]
fn behind_the_config_of_another_program_the_one_beside_the_program_is_taken() {
    let world = world(Some(FOREIGN));
    fs::create_dir(world.path("bin")).unwrap();
    let program = install_program(&world.path("bin"));
    world.stand_in.config_json(&world.path("bin"));
    world
        .finish(world.command_of(&program, ["a.txt"]))
        .assert_success();
    assert_eq!(
        fs::read_to_string(world.path("config.json")).unwrap(),
        FOREIGN
    );
    let saved = fs::read_to_string(world.path("bin/config.json")).unwrap();
    assert!(
        saved.contains(&world.stand_in.tokens_issued()[0]),
        "{saved}"
    );
}

#[test]
fn a_config_that_is_named_or_empty_or_has_one_of_our_keys_is_ours() {
    let missing = "`secret` and `env` are missing";
    for config in ["{}", r#"{"upload_dir": "x", "port": 3000}"#] {
        let world = world(Some(config));
        world.assert_refused(&world.run(["a.txt"]), &[missing]);
    }
    let world = world(Some(FOREIGN));
    world.assert_refused(&world.run(["-c", "config.json", "a.txt"]), &[missing]);
}

#[test]
fn the_variables_of_an_account_are_enough() {
    let world = world(None);
    let ran = run_with(&world, &ACCOUNT, &["a.txt"]);
    ran.assert_failure(0, &["note: there is no config: ", "the token is not kept"]);
    assert!(
        world.stand_in.requests(Step::Token)[0]
            .target
            .ends_with("stable_token")
    );
    // No file is made.
    assert_eq!(fs::read_dir(world.dir.path()).unwrap().count(), 1);
    for left_out in 0..3 {
        let mut variables = ACCOUNT.to_vec();
        variables.remove(left_out);
        let ran = run_with(&world, &variables, &["a.txt"]);
        assert_eq!(ran.status, Some(2), "{}", ran.stderr);
        let told = format!("or set {}", ["WX_APPID", "WX_SECRET", "WX_ENV"][left_out]);
        assert!(ran.stderr.trim_end().ends_with(&told), "{}", ran.stderr);
    }
}

#[test]
fn in_a_container_nothing_has_to_be_set() {
    for (variables, env) in [
        ([("CBR_ENV_ID", ENV), ("WX_ENV", "")], ENV),
        ([("CBR_ENV_ID", "prod-other"), ("WX_ENV", ENV)], ENV),
    ] {
        let world = world(None);
        world.stand_in.auth_none(true);
        run_with(&world, &variables, &["a.txt"]).assert_success();
        assert_eq!(world.count(Step::Token), 0);
        assert_eq!(world.stand_in.requests(Step::Info)[0].json()["env"], env);
    }
}

#[test]
fn quotes_that_docker_keeps_around_a_variable_are_cut_off() {
    let world = world(None);
    let quoted: Vec<(&str, String)> = ACCOUNT
        .iter()
        .map(|(name, value)| (*name, format!("\"{value}\"")))
        .collect();
    let variables: Vec<(&str, &str)> = quoted
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    let ran = run_with(&world, &variables, &["a.txt"]);
    ran.assert_failure(0, &["1 uploaded"]);
}

#[test]
fn no_token_is_saved_into_a_config_that_has_only_env() {
    let config = json!({ "env": ENV, "port": 3000 }).to_string();
    let world = world(Some(&config));
    let account = &ACCOUNT[..2];
    let ran = run_with(&world, account, &["a.txt"]);
    ran.assert_failure(
        0,
        &[
            "note: ./config.json: may be another program's",
            "not kept there",
        ],
    );
    assert_eq!(
        fs::read_to_string(world.path("config.json")).unwrap(),
        config
    );
    // A config that the user names is the user's own.
    run_with(&world, account, &["-c", "config.json", "a.txt"]).assert_failure(0, &["1 uploaded"]);
    let saved: Value = world.config();
    assert_eq!(saved["access_token"], world.stand_in.tokens_issued()[1]);
}
