//! Runs the real binary in a directory of its own against a stand-in of its own, and looks at what
//! it leaves.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use stand_in::{StandIn, Step, When, file_id_of};

/// No test takes the program so long: it hangs.
const HANG: Duration = Duration::from_secs(60);

/// So long a test waits for what is to happen: far longer than it takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The most memory that a run may have, whatever a server sends, in KiB.
pub const MOST_KIB: u64 = 64 << 10;

/// The binary under test: cargo's, or the one that `WX_UPLOAD_BIN` names.
pub fn binary() -> PathBuf {
    std::env::var_os("WX_UPLOAD_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_wx-upload").into(), PathBuf::from)
}

/// The requests for a file in the default cloud folder.
pub fn key(name: impl std::fmt::Display) -> When {
    When::Key(format!("temp3/{name}"))
}

/// The `file_id` of a file in the default cloud folder.
pub fn file_id(name: &str) -> String {
    file_id_of(&format!("temp3/{name}"))
}

/// Starts a command, its output piped: for `World::wait`.
pub fn spawn(mut command: Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

/// The most memory that the program had so far as this process, in KiB: 0 while it has not begun,
/// when the process has the tester's memory and name, and where this is not told, which only Linux
/// does.
fn peak_memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
    if field("Name:\t").map(OsStr::new) != binary().file_name() {
        return 0;
    }
    let peak = field("VmHWM:").and_then(|peak| peak.trim().strip_suffix(" kB"));
    peak.map_or(0, |kib| kib.parse().expect("a number"))
}

/// Control characters, and those that turn the direction of writing, break lines or hide.
fn is_unseen(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}' => true,
        '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        _ => c.is_control(),
    }
}

/// A stand-in and an empty directory with a `config.json` for it.
pub struct World {
    pub stand_in: StandIn,
    pub dir: TempDir,
}

/// What a run of the program left.
pub struct Ran {
    /// `None` if a signal ended it.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub elapsed: Duration,
    /// The most memory that it had, in KiB; 0 where that is not told.
    pub peak_kib: u64,
}

impl World {
    pub fn http() -> World {
        World::with(StandIn::http())
    }

    pub fn https() -> World {
        World::with(StandIn::https())
    }

    pub fn with(stand_in: StandIn) -> World {
        let dir = TempDir::new().expect("a temporary directory");
        stand_in.config_json(dir.path());
        World { stand_in, dir }
    }

    /// A world over http, with files that hold their names.
    pub fn with_files(names: &[&str]) -> World {
        let world = World::http();
        for name in names {
            world.file(name, name);
        }
        world
    }

    /// A world over http, with so many files of one byte in the directory `files`: `000`, `001` …
    pub fn with_many(count: usize) -> World {
        let world = World::http();
        for n in 0..count {
            world.file(format!("files/{n:03}"), "x");
        }
        world
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, and the directories above it.
    pub fn file(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory that can be made");
        fs::write(&path, bytes).expect("a file that can be written");
        path
    }

    /// Sets keys of the config.
    pub fn configure(&self, changes: Value) {
        self.stand_in.config_json_with(self.dir.path(), changes);
    }

    pub fn config(&self) -> Value {
        let text = fs::read_to_string(self.path("config.json")).expect("a config");
        serde_json::from_str(&text).expect("a config that is JSON")
    }

    /// The program with these arguments, about to run in the directory, with nothing of the
    /// tester's own environment that could lead it elsewhere.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(self.dir.path());
        for name in [
            "WX_APPID",
            "WX_SECRET",
            "WX_ENV",
            "WX_API_BASE",
            "SSL_CERT_FILE",
            "NO_PROXY",
            "no_proxy",
        ] {
            command.env_remove(name);
        }
        for name in [
            "HTTPS_PROXY",
            "https_proxy",
            "HTTP_PROXY",
            "http_proxy",
            "ALL_PROXY",
            "all_proxy",
        ] {
            command.env_remove(name);
        }
        if !self.stand_in.ca_pem.is_empty() {
            command.env("SSL_CERT_FILE", self.stand_in.ca_file(self.dir.path()));
        }
        command
    }

    /// Runs the program to its end, and checks what holds for every run: it tells no secret and
    /// does not panic.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        self.finish(self.command(arguments))
    }

    /// The same for a command that a test has changed.
    pub fn finish(&self, command: Command) -> Ran {
        self.wait(spawn(command))
    }

    /// Starts the program; `wait` then is the rest of `run`.
    pub fn start<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Child {
        spawn(self.command(arguments))
    }

    /// The same for a program that runs already, its output piped.
    pub fn wait(&self, mut child: Child) -> Ran {
        let started = Instant::now();
        let reader = |stream: Option<Box<dyn Read + Send>>| {
            thread::spawn(move || {
                let mut bytes = Vec::new();
                stream.map(|mut stream| stream.read_to_end(&mut bytes));
                bytes
            })
        };
        let stdout = reader(child.stdout.take().map(|stream| Box::new(stream) as _));
        let stderr = reader(child.stderr.take().map(|stream| Box::new(stream) as _));
        let mut peak_kib = 0;
        let status = loop {
            peak_kib = peak_memory(child.id()).max(peak_kib);
            if let Some(status) = child.try_wait().expect("a child to wait for") {
                break status;
            }
            if started.elapsed() > HANG {
                child.kill().ok();
                panic!(
                    "the program hangs; stderr: {}",
                    String::from_utf8_lossy(&stderr.join().unwrap())
                );
            }
            thread::sleep(Duration::from_millis(2));
        };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output in UTF-8");
        let ran = Ran {
            status: status.code(),
            stdout: text(stdout.join().unwrap()),
            stderr: text(stderr.join().unwrap()),
            elapsed: started.elapsed(),
            peak_kib,
        };
        self.check_discretion(&ran);
        ran
    }

    /// No secret, no panic, nothing in what the user sees that he would not see.
    fn check_discretion(&self, ran: &Ran) {
        let output = format!("{}{}", ran.stdout, ran.stderr);
        for secret in self.stand_in.secrets() {
            assert!(
                !output.contains(&secret),
                "the secret {secret} is in the output:\n{output}"
            );
        }
        assert!(!output.contains("panicked"), "{output}");
        let unseen = output.chars().find(|&c| is_unseen(c));
        assert_eq!(unseen, None, "it is raw in the output: {output:?}");
    }

    /// The number of requests of a step so far.
    pub fn count(&self, step: Step) -> usize {
        self.stand_in.count(step)
    }

    /// The keys in the bucket.
    pub fn keys(&self) -> Vec<String> {
        self.stand_in.objects().into_keys().collect()
    }

    /// Nothing was sent that a careful client would not send.
    pub fn assert_proper(&self) {
        assert_eq!(self.stand_in.complaints(), [""; 0]);
    }

    /// The program refused to begin: one sentence, which holds each of `words`, and nothing was
    /// printed or sent.
    pub fn assert_refused(&self, ran: &Ran, words: &[&str]) {
        ran.assert_failure(2, words);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
        assert_eq!((ran.stdout.as_str(), self.stand_in.connections()), ("", 0));
    }

    pub fn requests(&self) -> usize {
        use stand_in::Step::{Download, Info, Link, Token, Upload};
        [Token, Info, Upload, Link, Download]
            .map(|step| self.count(step))
            .iter()
            .sum()
    }
}

impl Ran {
    /// All well: exit status 0, and nothing on standard error but the summary.
    pub fn assert_success(&self) -> &Ran {
        assert_eq!(self.status, Some(0), "{}", self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        self
    }

    /// Exit status `status`, and a standard error that holds each of `words`.
    pub fn assert_failure(&self, status: i32, words: &[&str]) -> &Ran {
        assert_eq!(self.status, Some(status), "{}", self.stderr);
        for word in words {
            assert!(
                self.stderr.contains(word),
                "{word:?} is not in: {}",
                self.stderr
            );
        }
        self
    }

    /// It ended well or with a sentence; unless it never began, the summary counts all files.
    pub fn assert_ended(&self, files: usize) {
        let sentence = self.stderr.lines().any(|line| line.starts_with("error: "));
        match self.status {
            Some(0) => {}
            Some(1 | 2) => assert!(sentence, "{}", self.stderr),
            status => panic!("{status:?}: {}", self.stderr),
        }
        if self.status != Some(2) {
            let counts = ["uploaded", "failed", "not attempted"].map(|ended| self.count(ended));
            assert_eq!(counts.iter().sum::<usize>(), files, "{}", self.stderr);
        }
    }

    /// How many files ended so, as the summary says: 5 in `5 uploaded (1.2 MiB), …`.
    pub fn count(&self, ended: &str) -> usize {
        let before = self.summary().split(&format!(" {ended}")).next();
        let number = before.and_then(|before| before.rsplit(' ').next()?.parse().ok());
        number.unwrap_or_else(|| panic!("{ended} is not counted in {}", self.stderr))
    }

    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }

    /// Standard output as JSON Lines.
    pub fn json(&self) -> Vec<Value> {
        self.lines()
            .iter()
            .map(|line| serde_json::from_str(line).expect("a line of JSON"))
            .collect()
    }

    /// The summary up to the time that it took, which has one decimal.
    pub fn counts(&self) -> &str {
        let (counts, time) = self
            .summary()
            .rsplit_once(" in ")
            .unwrap_or_else(|| panic!("{}", self.stderr));
        let seconds = time
            .strip_suffix(" s")
            .and_then(|seconds| seconds.split_once('.'));
        let is_number =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        assert!(
            seconds.is_some_and(|(whole, tenth)| is_number(whole)
                && is_number(tenth)
                && tenth.len() == 1),
            "{time}"
        );
        counts
    }

    /// The last line of standard error.
    pub fn summary(&self) -> &str {
        self.stderr.lines().last().unwrap_or_default()
    }
}

/// Checks the cases of a table, several at once as most of them wait, and names those that fail.
pub fn side_by_side<T: Send>(
    cases: impl IntoIterator<Item = (String, T)>,
    check: impl Fn(T) + Sync,
) {
    const AT_ONCE: usize = 16;
    let cases: Mutex<Vec<_>> = Mutex::new(cases.into_iter().collect());
    let failed = Mutex::new(Vec::new());
    let next = || cases.lock().unwrap().pop();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((name, case)) = next() {
                    if catch_unwind(AssertUnwindSafe(|| check(case))).is_err() {
                        eprintln!("this was the case: {name}");
                        failed.lock().unwrap().push(name);
                    }
                }
            });
        }
    });
    assert_eq!(failed.into_inner().unwrap(), [""; 0]);
}
