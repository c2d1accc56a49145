//! Runs shell commands as people, cron and editors do.
//!
//! Does not know what the commands are for.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Ran, World, binary};

/// A shell command that runs in `directory` with only these variables. The path of the program is
/// `$0`.
pub fn shell(directory: &Path, line: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", line])
        .arg(binary())
        .current_dir(directory);
    command.env_clear().envs(variables.iter().copied());
    command
}

/// Runs commands of bash in the directory of the world, with `wx-upload` in the PATH.
pub fn run_lines(world: &World, lines: &str, variables: &[(&str, &str)]) -> Ran {
    world.finish(bash(world, &["-c", lines], variables))
}

/// The same for a program with its arguments.
pub fn bash(world: &World, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    with_program(world, "bash", arguments, variables)
}

/// A command that runs in the directory of the world, with `wx-upload` in the PATH.
pub fn with_program(
    world: &World,
    program: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Command {
    let bin = world.path("bin");
    fs::create_dir_all(&bin).unwrap();
    link_program(&bin);
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = world.command_of(Path::new(program), arguments);
    command.env("PATH", path).envs(variables.iter().copied());
    command
}

/// Makes a link to the program in `directory`, unless it is there, and returns its path.
pub fn link_program(directory: &Path) -> PathBuf {
    let link = directory.join("wx-upload");
    if !link.exists() {
        symlink(fs::canonicalize(binary()).unwrap(), &link).unwrap();
    }
    link
}
