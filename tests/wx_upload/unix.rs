//! Helpers for tests on Unix: permissions, FIFOs, and runs through other programs or with limits.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use tempfile::TempDir;

/// Whether the test runs as root. Only root can make files of another user, and run as
/// another user.
pub fn is_root() -> bool {
    let is_root = fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0);
    if !is_root {
        skipped("root");
    }
    is_root
}

/// Says that a test did not run. Writes to standard error itself, as the test harness hides what a
/// test prints if it passes.
pub fn skipped(needs: &str) {
    let line = format!("skipped: {:?} needs {needs}\n", thread::current().name());
    io::stderr().write_all(line.as_bytes()).ok();
}

/// Whether a program with this name is installed.
pub fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null());
    let is_installed = command.status().is_ok();
    if !is_installed {
        skipped(program);
    }
    is_installed
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// The same command, run through the command `prefix`.
pub fn through(prefix: &[&str], command: &Command) -> Command {
    let mut longer = Command::new(prefix[0]);
    longer.args(&prefix[1..]);
    longer.arg(command.get_program()).args(command.get_args());
    longer.current_dir(command.get_current_dir().expect("a directory"));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => longer.env(name, value),
            None => longer.env_remove(name),
        };
    }
    longer
}

/// The same command, after a shell script: with `ulimit -n 8` it can open 8 files.
pub fn after(script: &str, command: &Command) -> Command {
    let script = format!("{script}; exec \"$0\" \"$@\"");
    through(&["sh", "-c", &script], command)
}

/// A system that tells other facts about regular files. (A static binary does not notice.)
pub struct OtherFacts(TempDir);

impl OtherFacts {
    /// `edit` is C that changes the facts in the `struct statx *stat`. `None` if there is no C
    /// compiler.
    pub fn new(edit: &str) -> Option<OtherFacts> {
        if !is_installed("cc") {
            return None;
        }
        let dir = TempDir::new().unwrap();
        let code = [
            "#define _GNU_SOURCE",
            "#include <sys/stat.h>",
            "#include <sys/syscall.h>",
            "#include <unistd.h>",
            "int statx(int dir, const char *path, int flags, unsigned mask, struct statx *stat) {",
            "int result = syscall(SYS_statx, dir, path, flags, mask, stat);",
            &format!("if (result == 0 && S_ISREG(stat->stx_mode)) {{ {edit} }}"),
            "return result; }\n",
        ];
        fs::write(dir.path().join("statx.c"), code.join("\n")).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o", "statx.so", "statx.c"]);
        assert!(compiler.current_dir(&dir).status().unwrap().success());
        Some(OtherFacts(dir))
    }

    /// Makes the program see them.
    pub fn show_to(&self, command: &mut Command) {
        command.env("LD_PRELOAD", self.0.path().join("statx.so"));
    }
}
