//! Helpers for tests on Unix: permissions, FIFOs, and runs through other programs, with limits, as
//! another user or on another system.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::thread;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};
use tempfile::TempDir;

use crate::harness::{World, binary};

/// Gives the test process, and all that it starts, a usual umask and enough open files, whatever the
/// tester's shell gave it. A shell of macOS gives 256 files: less than the connections of two tests.
pub fn forget_limits_of_the_shell() {
    const FILES: u64 = 8192; // more than all tests need at once, and less than macOS allows
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        umask(Mode::from_raw_mode(0o022));
        let of_shell = getrlimit(Resource::Nofile);
        let raised = |limit: Option<u64>| limit.map(|limit| limit.max(FILES));
        let [most, current] = [of_shell.maximum, of_shell.current].map(raised);
        // Only root may have more than the maximum.
        for maximum in [most, of_shell.maximum] {
            let current = match maximum {
                Some(maximum) => current.map(|current| current.min(maximum)),
                None => current,
            };
            if setrlimit(Resource::Nofile, Rlimit { current, maximum }).is_ok() {
                return;
            }
        }
    });
}

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
    // The command says which variables it sets, but not that it inherits no others.
    let variables = command.get_envs();
    longer.env_clear();
    longer.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    longer
}

/// The same command, after a shell script: with `ulimit -n 8` it can open 8 files.
pub fn after(script: &str, command: &Command) -> Command {
    let script = format!("{script}; exec \"$0\" \"$@\"");
    through(&["sh", "-c", &script], command)
}

/// The same command, on a machine where the file `hosts` of its directory is `/etc/hosts`. There is
/// none where the system does not let the test change that: in many containers not even root may.
pub fn with_own_hosts(command: &Command) -> Option<Command> {
    const UNSHARE: [&str; 2] = ["unshare", "-m"];
    if !is_root() {
        return None;
    }
    let mut tried = Command::new(UNSHARE[0]);
    tried.arg(UNSHARE[1]).arg("true").stderr(Stdio::null());
    if !tried.status().is_ok_and(|status| status.success()) {
        skipped("a system that lets root mount files");
        return None;
    }
    let mount = "mount --bind hosts /etc/hosts";
    Some(through(&UNSHARE, &after(mount, command)))
}

// ---- Other users --------------------------------------------------------------------------------

/// Copies a program. Another process writes the copy: a program can't be started as long as somebody
/// has it open for writing, and the processes that other tests start inherit what this one has open.
pub fn install(from: &Path, to: &Path) {
    let mut command = Command::new("install");
    command.args(["-m", "755"]).args([from, to]);
    assert!(command.status().unwrap().success());
}

/// A directory that all users can enter.
fn dir_for_all() -> TempDir {
    let of_tester = env::temp_dir();
    let can_enter = |dir: &Path| fs::metadata(dir).is_ok_and(|dir| dir.mode() & 0o1 != 0);
    let is_open = of_tester.ancestors().all(can_enter);
    let parent = if is_open {
        &of_tester
    } else {
        Path::new("/tmp")
    };
    let dir = TempDir::new_in(parent).unwrap();
    set_mode(dir.path(), 0o755);
    dir
}

/// The program where all users can start it. Few can where cargo puts it, if the checkout lies in
/// somebody's home.
pub struct ProgramForAll(TempDir);

impl ProgramForAll {
    pub fn new() -> ProgramForAll {
        let dir = dir_for_all();
        install(&binary(), &dir.path().join("wx-upload"));
        ProgramForAll(dir)
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("wx-upload")
    }
}

/// A world over http, whose directory and files (but for the config) are open to all users. The
/// files contain their own names.
pub fn world_for_all(names: &[&str]) -> World {
    let mut world = World::http();
    world.dir = dir_for_all();
    set_mode(world.dir.path(), 0o777);
    world.stand_in.config_json(world.dir.path());
    world.and_files(names)
}

// ---- Other systems ------------------------------------------------------------------------------

/// A system that answers some calls of the program in another way. There is none for a static binary,
/// which would not notice, and where no C compiler is.
pub struct OtherSystem(TempDir);

impl OtherSystem {
    /// Tells other facts about regular files. `edit` is C that changes the facts in the
    /// `struct statx *stat`.
    pub fn with_facts(edit: &str) -> Option<OtherSystem> {
        let edit = format!("if (result == 0 && S_ISREG(stat->stx_mode)) {{ {edit} }}");
        OtherSystem::compiled(&[
            "#define _GNU_SOURCE",
            "#include <sys/stat.h>",
            "#include <sys/syscall.h>",
            "#include <unistd.h>",
            "int statx(int dir, const char *path, int flags, unsigned mask, struct statx *stat) {",
            "int result = syscall(SYS_statx, dir, path, flags, mask, stat);",
            &edit,
            "return result; }\n",
        ])
    }

    /// Renames files in another way. `first` is C that may return before the file is renamed.
    pub fn with_rename(first: &str) -> Option<OtherSystem> {
        OtherSystem::compiled(&[
            "#define _GNU_SOURCE",
            "#include <errno.h>",
            "#include <sys/syscall.h>",
            "#include <unistd.h>",
            "int rename(const char *from, const char *to) {",
            first,
            "return syscall(SYS_rename, from, to); }\n",
        ])
    }

    /// Has these addresses for each name of a host, in this order.
    pub fn with_addresses(addresses: &[&str]) -> Option<OtherSystem> {
        OtherSystem::with_name_server("", addresses)
    }

    /// Has these addresses for each name of a host, where its name server answers. `first` is C that may
    /// return an error (`EAI_AGAIN`) for the `node` and the `hints`.
    pub fn with_name_server(first: &str, addresses: &[&str]) -> Option<OtherSystem> {
        let addresses = format!("\"{}\"", addresses.join("\", \""));
        OtherSystem::compiled(&[
            "#include <arpa/inet.h>",
            "#include <netdb.h>",
            "#include <stdlib.h>",
            "#include <string.h>",
            "#include <unistd.h>",
            &format!("static const char *addresses[] = {{ {addresses} }};"),
            "int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,",
            "                struct addrinfo **first) {",
            first,
            "for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {",
            "struct addrinfo *info = *first = calloc(1, sizeof *info);",
            "struct sockaddr_in6 *v6 = calloc(1, sizeof *v6);",
            "struct sockaddr_in *v4 = (void *) v6;",
            "int is_v6 = strchr(addresses[i], ':') != NULL;",
            "v6->sin6_family = info->ai_family = is_v6 ? AF_INET6 : AF_INET;",
            "info->ai_socktype = SOCK_STREAM;",
            "info->ai_addrlen = is_v6 ? sizeof *v6 : sizeof *v4;",
            "info->ai_addr = (void *) v6;",
            "inet_pton(info->ai_family, addresses[i],",
            "          is_v6 ? (void *) &v6->sin6_addr : (void *) &v4->sin_addr);",
            "first = &info->ai_next; }",
            "return 0; }",
            "void freeaddrinfo(struct addrinfo *info) { (void) info; }\n",
        ])
    }

    /// Has a line for each connection that carries this number of bytes a second.
    pub fn with_lines(bytes_per_second: u32) -> Option<OtherSystem> {
        OtherSystem::compiled(&[
            "#define _GNU_SOURCE",
            "#include <netinet/in.h>",
            "#include <netinet/tcp.h>",
            "#include <sys/socket.h>",
            "#include <sys/syscall.h>",
            "#include <unistd.h>",
            "int connect(int fd, const struct sockaddr *address, socklen_t length) {",
            &format!("unsigned rate = {bytes_per_second};"),
            "int segment = 88;", // what leaves at once is a multiple of this
            "setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof rate);",
            "setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);",
            "return syscall(SYS_connect, fd, address, length); }\n",
        ])
    }

    /// Has this C in place of some functions of the system.
    pub fn compiled(code: &[&str]) -> Option<OtherSystem> {
        if env::var_os("WX_UPLOAD_BIN").is_some() {
            skipped("a binary that is not static");
            return None;
        }
        if !is_installed("cc") {
            return None;
        }
        // LD_PRELOAD takes no path with a blank, as the tester's TMPDIR may have one.
        let dir = TempDir::new_in("/tmp").unwrap();
        fs::write(dir.path().join("other.c"), code.join("\n")).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o", "other.so", "other.c"]);
        assert!(compiler.current_dir(&dir).status().unwrap().success());
        Some(OtherSystem(dir))
    }

    /// Makes the program call it.
    pub fn show_to(&self, command: &mut Command) {
        command.env("LD_PRELOAD", self.0.path().join("other.so"));
    }
}
