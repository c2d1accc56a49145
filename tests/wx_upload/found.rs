//! Where the program finds its config, and what it says if there is none.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Ran, World, install_program, not_under_wine};

/// A world without a config, and another directory with the program itself.
struct Machine {
    world: World,
    programs: TempDir,
}

impl Machine {
    fn new() -> Machine {
        let world = World::with_files(&["a.txt"]);
        fs::remove_file(world.path("config.json")).unwrap();
        let programs = TempDir::new().unwrap();
        install_program(programs.path());
        Machine { world, programs }
    }

    fn program(&self) -> PathBuf {
        self.programs.path().join("wx-upload")
    }

    /// Runs the program, or a link to it, in the world's directory.
    fn run(&self, program: &Path, arguments: &[&str]) -> Ran {
        let command = self.world.command_of(program, arguments);
        self.world.finish(command)
    }

    /// The same, with this text as the name by which it is called.
    fn run_typed(&self, typed: &str, arguments: &[&str]) -> Ran {
        let mut command = self.world.command_of(&self.program(), arguments);
        command.arg0(typed);
        self.world.finish(command)
    }
}

fn saved_token(directory: &Path) -> Value {
    let config = fs::read(directory.join("config.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    config["access_token"].clone()
}

#[test]
fn a_config_beside_the_program_is_found_from_everywhere() {
    let machine = Machine::new();
    let world = &machine.world;
    world.stand_in.config_json(machine.programs.path());
    machine.run(&machine.program(), &["a.txt"]).assert_success();
    assert_eq!(world.keys(), ["temp3/a.txt"]);
    // It is used as the config in all ways: the token is saved there, and it is never uploaded.
    assert_ne!(saved_token(machine.programs.path()), Value::Null);
    let config = machine.programs.path().join("config.json");
    let ran = machine.run(&machine.program(), &[config.to_str().unwrap()]);
    ran.assert_failure(0, &["never uploaded"]);
    assert!(!world.path("config.json").exists());
}

#[test]
fn links_to_the_program_are_followed_to_its_config() {
    let machine = Machine::new();
    let world = &machine.world;
    world.stand_in.config_json(machine.programs.path());
    fs::create_dir(world.path("bin")).unwrap();
    symlink(machine.program(), world.path("bin/second")).unwrap();
    symlink("second", world.path("bin/first")).unwrap();
    // A config beside the link is another program's.
    world.file("bin/config.json", "{}");
    let ran = machine.run(&world.path("bin/first"), &["a.txt"]);
    ran.assert_success();
    assert_eq!(world.keys(), ["temp3/a.txt"]);
}

#[test]
fn the_config_here_comes_before_the_one_beside_the_program() {
    let machine = Machine::new();
    let world = &machine.world;
    world.stand_in.config_json(world.dir.path());
    fs::write(machine.programs.path().join("config.json"), "{}").unwrap();
    machine.run(&machine.program(), &["a.txt"]).assert_success();
    assert_ne!(saved_token(world.dir.path()), Value::Null);
    // It is looked at, even if it is of no use.
    world.file("config.json", "no JSON");
    world.stand_in.config_json(machine.programs.path());
    let ran = machine.run(&machine.program(), &["a.txt"]);
    ran.assert_failure(2, &["error: ./config.json: is not valid JSON"]);
}

#[test]
fn a_config_that_c_names_is_not_looked_for_elsewhere() {
    if not_under_wine("the name by which the program was called") {
        return;
    }
    let machine = Machine::new();
    let world = &machine.world;
    world.stand_in.config_json(machine.programs.path());
    for named in ["config.json", "./config.json", "other.json"] {
        let ran = machine.run_typed("wx-upload", &["-c", named, "a.txt"]);
        let help = format!("error: {named}: there is no such file: `wx-upload --init -c {named}` ");
        world.assert_refused(&ran, &[&help]);
    }
}

#[test]
fn without_a_config_both_places_and_the_command_that_helps_are_named() {
    if not_under_wine("the name by which the program was called") {
        return;
    }
    let machine = Machine::new();
    let world = &machine.world;
    let here = world.dir.path().canonicalize().unwrap().join("config.json");
    let beside = machine.programs.path().join("config.json");
    let places = format!("neither {} nor {}", here.display(), beside.display());
    for (typed, shown) in [
        ("wx-upload", "wx-upload"),
        ("./wx-upload", "./wx-upload"),
        ("/opt/tools/wx-upload", "/opt/tools/wx-upload"),
        ("../其他 tools/wx-upload", "\"../其他 tools/wx-upload\""),
        // Nothing that a shell would run is shown to be pasted.
        ("./$(touch x)/wx-upload", "wx-upload"),
        ("", "wx-upload"),
    ] {
        let ran = machine.run_typed(typed, &["a.txt"]);
        world.assert_refused(&ran, &[&places, &format!("`{shown} --init`")]);
    }
    // The command helps.
    let ran = machine.run(&machine.program(), &["--init"]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    machine
        .run(&machine.program(), &["a.txt"])
        .assert_failure(2, &["error: ./config.json: ", "missing"]);
}

#[test]
fn a_place_that_is_both_is_named_once() {
    if not_under_wine("the name by which the program was called") {
        return;
    }
    let machine = Machine::new();
    let directory = machine.programs.path();
    let mut command = machine.world.command_of(&machine.program(), ["x.txt"]);
    command.arg0("./wx-upload").current_dir(directory);
    let ran = machine.world.finish(command);
    let place = directory.join("config.json").display().to_string();
    let command = "`./wx-upload --init` writes";
    machine.world.assert_refused(&ran, &[command]);
    assert_eq!(ran.stderr.matches(&place).count(), 1, "{}", ran.stderr);
}

#[test]
fn the_command_that_helps_names_the_config_as_a_shell_takes_it() {
    if not_under_wine("the name by which the program was called") {
        return;
    }
    let machine = Machine::new();
    for (named, shown) in [
        ("sub/配置.json", "sub/配置.json"),
        ("my config.json", "\"my config.json\""),
        ("$(touch x).json", "…"),
        ("'", "…"),
    ] {
        let ran = machine.run_typed("./wx-upload", &["-c", named, "a.txt"]);
        let command = format!("`./wx-upload --init -c {shown}`");
        machine.world.assert_refused(&ran, &[named, &command]);
    }
}

#[test]
fn a_word_that_is_no_file_leads_to_the_help() {
    if not_under_wine("the name by which the program was called") {
        return;
    }
    let machine = Machine::new();
    let world = &machine.world;
    // Whether there is a config or not.
    for _ in 0..2 {
        for word in ["help", "init", "version", "login", "帮助"] {
            let ran = machine.run_typed("./wx-upload", &[word]);
            world.assert_refused(&ran, &[word, " `./wx-upload --help`"]);
        }
        world.stand_in.config_json(world.dir.path());
    }
    // A file of this name is a file.
    world.file("help", "text");
    let ran = machine.run(&machine.program(), &["help"]);
    assert_eq!(ran.assert_success().lines().len(), 1);
    assert_eq!(world.keys(), ["temp3/help"]);
}
