//! Runs the real binary, each test in its own directory and against its own stand-in, and checks
//! the results.
//!
//! Does not know what a test is about. A test waits for events ([`StandIn::wait_for`], [`Gate`],
//! [`read_line`]) where it can, and repeats what it measures ([`assert_takes`]).

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;

use stand_in::{Fault, StandIn, Step, When, file_id_of};

/// A run that takes longer than this hangs. It is less than the two minutes that the program waits
/// for a lock, and more than a busy machine needs for any test.
const HANG: Duration = Duration::from_secs(100);

/// How long a test waits for an event before it fails: far longer than it takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(50);

/// The pauses between two looks at a program that runs.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// How many times [`assert_takes`] measures before it fails.
const MEASUREMENTS: usize = 10;

/// The most memory that a run may use, whatever a server sends, in KiB.
pub const MOST_KIB: u64 = 64 << 10;

/// The variables of the tester that a program under test gets: what Windows and Wine need, and where
/// the system's own programs are. All others (proxies, locale, accounts …) are the test's.
const KEPT: [&str; 4] = ["PATH", "SystemRoot", "WINEPREFIX", "WINEDEBUG"];

/// The binary under test: cargo's, or the one that `WX_UPLOAD_BIN` names.
pub fn binary() -> PathBuf {
    std::env::var_os("WX_UPLOAD_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_wx-upload").into(), PathBuf::from)
}

/// The program itself. `.ci/run` calls a binary for another system by a script of two lines, which
/// ends with the binary in quotes and the arguments.
pub fn program() -> PathBuf {
    let binary = binary();
    let beginning = File::open(&binary).map(|file| io::read_to_string(file.take(4096)));
    match beginning {
        Ok(Ok(script)) if script.starts_with("#!") => {
            let quoted = script.split('"').nth(1);
            quoted.expect("a path in quotes").into()
        }
        _ => binary,
    }
}

/// Copies the program into a directory, and returns the path by which it is called there. A program for
/// Windows has its libraries and Wine's script beside it.
pub fn install_program(directory: &Path) -> PathBuf {
    let (binary, program) = (binary(), program());
    #[cfg(unix)]
    if binary == program {
        let command = directory.join("wx-upload");
        crate::unix::install(&binary, &command);
        return command;
    }
    let there = directory.join(program.file_name().expect("a name"));
    let beside = fs::read_dir(program.parent().expect("a directory")).expect("entries");
    for file in beside.map(|file| file.expect("an entry").path()) {
        if file == program || file.extension() == Some(OsStr::new("dll")) {
            fs::copy(&file, directory.join(file.file_name().expect("a name"))).expect("a copy");
        }
    }
    if binary == program {
        return there;
    }
    let text = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
    let script = fs::read_to_string(&binary).expect("a script");
    let command = directory.join("wx-upload");
    fs::copy(&binary, &command).expect("a copy"); // with its permissions
    let script = script.replace(&text(&program), &text(&there));
    fs::write(&command, script).expect("a script");
    command
}

/// Whether the program is one for Windows: on Windows, or under Wine.
pub fn judges_windows() -> bool {
    static IS_EXE: LazyLock<bool> =
        LazyLock::new(|| program().extension() == Some(OsStr::new("exe")));
    *IS_EXE
}

/// Returns messages with the same paths on all systems: what Windows shows as `Z:\tmp\a`, where `Z:` is
/// Wine's name for the root, is `/tmp/a`. An escape (`\u001b`) stays, and a `\` in words: `for each \`.
fn with_slashes(messages: String) -> String {
    if !judges_windows() {
        return messages;
    }
    let is_escape = |rest: &str| {
        let digits = rest.strip_prefix('u').and_then(|rest| rest.get(..4));
        digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let mut slashed = String::new();
    for part in messages.replace(r"Z:\", "/").split_inclusive('\\') {
        let in_words = [r" \", r"\\", r"`\", "\"\\"];
        let is_path = slashed.ends_with('\\') && !in_words.iter().any(|end| slashed.ends_with(end));
        if is_path && !is_escape(part) {
            slashed.pop();
            slashed.push('/');
        }
        slashed += part;
    }
    slashed
}

/// Returns a relative path as the program shows it.
pub fn shown(path: &str) -> String {
    if judges_windows() {
        return path.replace('/', "\\");
    }
    path.to_owned()
}

/// Returns the path by which the program knows a file of this machine.
pub fn full_path(path: &Path) -> String {
    let path = path.to_str().expect("a path in UTF-8");
    if judges_windows() && !cfg!(windows) {
        return shown(&format!("Z:{path}")); // Wine's name for the root
    }
    path.to_owned()
}

/// Whether a file of the judged system can have this name, or this relative path.
pub fn can_be_named(path: &str) -> bool {
    let is_free = |name: &str| !name.contains(['<', '>', ':', '"', '\\', '|', '?', '*']);
    let is_kept = |name: &str| !name.ends_with(['.', ' ']);
    !judges_windows() || path.split('/').all(|name| is_free(name) && is_kept(name))
}

/// Whether a test is passed over, as `what` it is about is not in Windows. `.ci/run` counts these tests.
pub fn not_on_windows(what: &str) -> bool {
    if judges_windows() {
        tell_passed_over(what);
    }
    judges_windows()
}

/// The same for what Windows has, but not a Windows program that Wine runs.
pub fn not_under_wine(what: &str) -> bool {
    !cfg!(windows) && not_on_windows(what)
}

/// Writes to standard error itself, as the test harness hides what a test prints if it passes.
fn tell_passed_over(what: &str) {
    let line = format!("passed over: {:?}: {what}\n", thread::current().name());
    io::stderr().write_all(line.as_bytes()).ok();
}

/// The time in seconds since 1970.
pub fn now() -> i64 {
    let elapsed = UNIX_EPOCH.elapsed().expect("a clock after 1970");
    elapsed.as_secs() as i64
}

/// The requests for a file in the default cloud folder.
pub fn key(name: impl std::fmt::Display) -> When {
    When::Key(format!("temp3/{name}"))
}

/// The `file_id` of a file in the default cloud folder.
pub fn file_id(name: &str) -> String {
    file_id_of(&format!("temp3/{name}"))
}

/// The three streams of a program.
pub struct Streams {
    pub stdin: Stdio,
    pub stdout: Stdio,
    pub stderr: Stdio,
}

impl Streams {
    /// No input, and both outputs in pipes, which `World::wait` reads.
    pub fn piped() -> Streams {
        Streams {
            stdin: Stdio::null(),
            stdout: Stdio::piped(),
            stderr: Stdio::piped(),
        }
    }
}

/// Starts a command with its outputs in pipes, for `World::wait`.
pub fn spawn(command: Command) -> Child {
    spawn_with(Streams::piped(), command)
}

/// Starts a command with these streams, for `World::wait`.
pub fn spawn_with(streams: Streams, mut command: Command) -> Child {
    command
        .stdin(streams.stdin)
        .stdout(streams.stdout)
        .stderr(streams.stderr);
    command.spawn().expect("the program starts")
}

/// Waits for the next line of a program's output and returns it. Takes nothing after that line: the
/// rest is still there for `World::wait`.
pub fn read_line(output: &mut impl Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\n") && output.read(&mut byte).expect("output") == 1 {
        line.push(byte[0]);
    }
    String::from_utf8(line).expect("output in UTF-8")
}

/// Returns how long to wait until the next look at a program that has run for this time. The looks
/// at a long run are rarer: they cost the tests more than the run itself. The pause is at most a
/// 32nd of the run, so that little of its memory's growth can be missed.
fn pause_after(elapsed: Duration) -> Duration {
    (elapsed / 32).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

/// Waits until `happened` returns true; fails if that does not happen within `PATIENCE`.
pub fn wait_until(what: &str, happened: impl Fn() -> bool) {
    let started = Instant::now();
    while !happened() {
        assert!(started.elapsed() < PATIENCE, "this never happened: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Checks that the seconds that `measure` returns are within their ranges. A busy machine can make a
/// run take longer, but not shorter, and not every time. So a time that is too short is an error at
/// once; a time that is too long is an error only if it is too long ten times in a row.
pub fn assert_takes<const N: usize>(
    ranges: [Range<f64>; N],
    mut measure: impl FnMut() -> [f64; N],
) {
    let mut measured = Vec::new();
    while measured.len() < MEASUREMENTS {
        let times = measure();
        measured.push(times);
        let all = |is_right: fn(&Range<f64>, f64) -> bool| {
            let mut pairs = ranges.iter().zip(times);
            pairs.all(|(range, time)| is_right(range, time))
        };
        assert!(
            all(|range, time| time >= range.start),
            "too short: {times:?} s, not {ranges:?}"
        );
        if all(|range, time| time < range.end) {
            return;
        }
    }
    panic!("always too long: {measured:?} s, not {ranges:?}");
}

/// Holds replies back until a test opens it. It works as `Fault::Hold` does, but a test can have
/// several gates, and opens each by itself. For the replies of the API, which are JSON.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        let (is_open, changed) = &*self.0;
        *is_open.lock().unwrap() = true;
        changed.notify_all();
    }

    /// Answers properly, once the gate is open.
    pub fn hold(&self) -> Fault {
        self.hold_and(|_| {})
    }

    /// The same, with the reply edited.
    pub fn hold_and(&self, edit: impl Fn(&mut Value) + Send + Sync + 'static) -> Fault {
        let gate = self.clone();
        Fault::edit(move |reply| {
            gate.wait();
            edit(reply);
        })
    }

    /// Waits until the gate is open.
    pub fn wait(&self) {
        let (is_open, changed) = &*self.0;
        let is_closed = |is_open: &mut bool| !*is_open;
        // A test that has failed opens no gate.
        let waited = changed.wait_timeout_while(is_open.lock().unwrap(), HANG, is_closed);
        drop(waited.unwrap());
    }
}

/// The most memory that this process has used as the program, in KiB. It is 0 as long as the
/// program has not begun (until then the process has the memory and the name of the test), and on
/// systems other than Linux, which do not tell.
fn peak_memory(process: u32) -> u64 {
    // The name is read before the rest. While the program begins, a `status` can have the new name
    // and still the memory of the test.
    let of_process = |file| fs::read_to_string(format!("/proc/{process}/{file}"));
    let name = of_process("comm").unwrap_or_default();
    if Some(OsStr::new(name.trim_end())) != binary().file_name() {
        return 0;
    }
    let status = of_process("status").unwrap_or_default();
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
    let peak = field("VmHWM:").and_then(|peak| peak.trim().strip_suffix(" kB"));
    peak.map_or(0, |kib| kib.parse().expect("a number"))
}

/// Control characters, and characters that turn the direction of writing, break lines or hide.
fn is_unseen(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}' => true,
        '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        _ => c.is_control(),
    }
}

/// A directory with `count` files of one byte, for many runs that only read them. To make and remove
/// thousands of files takes the system longer than the runs take.
pub fn many_files(count: usize) -> TempDir {
    let dir = TempDir::new().expect("a temporary directory");
    for n in 0..count {
        fs::write(dir.path().join(format!("{n:03}")), "x").expect("a file that can be written");
    }
    dir
}

/// A stand-in, and a directory that holds only a `config.json` for it.
pub struct World {
    pub stand_in: StandIn,
    pub dir: TempDir,
}

/// The result of a run of the program.
pub struct Ran {
    /// `None` if a signal ended it.
    pub status: Option<i32>,
    pub stdout: String,
    /// With the same paths on all systems.
    pub stderr: String,
    pub elapsed: Duration,
    /// The most memory that it used, in KiB; 0 where the system does not tell.
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
        #[cfg(unix)]
        crate::unix::forget_limits_of_the_shell();
        let dir = TempDir::new().expect("a temporary directory");
        stand_in.config_json(dir.path());
        World { stand_in, dir }
    }

    /// A world over http, with files that contain their own names.
    pub fn with_files<S: AsRef<str>>(names: &[S]) -> World {
        World::http().and_files(names)
    }

    /// The same world, with more files that contain their own names.
    pub fn and_files<S: AsRef<str>>(self, names: &[S]) -> World {
        for name in names {
            self.file(name.as_ref(), name.as_ref());
        }
        self
    }

    /// A world over http, with `count` files of one byte in the directory `files`: `000`, `001` …
    pub fn with_many(count: usize) -> World {
        let world = World::http();
        for n in 0..count {
            world.file(format!("files/{n:03}"), "x");
        }
        world
    }

    /// Lets the uploads begin in this order, though another thread prepares the next one.
    pub fn put_in_order(&self, names: &[String]) {
        for pair in names.windows(2) {
            let gate = Gate::default();
            self.stand_in.fault(Step::Info, key(&pair[1]), gate.hold());
            let open = Fault::custom(move |_| {
                gate.open();
                None
            });
            self.stand_in.fault(Step::Upload, key(&pair[0]), open);
        }
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

    /// Saves a token in the config that is as good as new, and sets other keys of the config, too.
    /// The stand-in knows the token.
    pub fn save_token(&self, token: &str, mut other_keys: Value) {
        other_keys["access_token"] = token.into();
        other_keys["create_time"] = json!(now());
        other_keys["expires_in"] = json!(7200);
        self.configure(other_keys);
        self.stand_in.accept_token(token);
    }

    /// Locks the config as another run does: in Windows, the file beside it.
    pub fn lock_config(&self) -> File {
        let name = if judges_windows() {
            "config.json.lock"
        } else {
            "config.json"
        };
        let mut options = File::options();
        let options = options.write(true).create(true).truncate(false);
        let file = options.open(self.path(name)).expect("a file to lock");
        file.lock().expect("a file that nobody has locked");
        file
    }

    pub fn config(&self) -> Value {
        let text = fs::read_to_string(self.path("config.json")).expect("a config");
        serde_json::from_str(&text).expect("a config that is JSON")
    }

    /// The program with these arguments, ready to run in the directory. Of the tester's environment it
    /// inherits only `KEPT`.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        self.command_of(&binary(), arguments)
    }

    /// The same in Chinese.
    pub fn command_in_chinese<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = self.command(arguments);
        command.env("WX_LANG", "zh");
        command
    }

    /// Runs the program in Chinese, as `run` does.
    pub fn run_in_chinese<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        self.finish(self.command_in_chinese(arguments))
    }

    /// The same as `command` for a copy of the program.
    pub fn command_of<S: AsRef<OsStr>>(
        &self,
        program: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.dir.path());
        command.env_clear();
        let kept = KEPT
            .iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.envs(kept);
        command.env("LC_ALL", "C.UTF-8"); // in which Wine reads the names of files
        command.env("WX_LANG", "en");
        if !self.stand_in.ca_pem.is_empty() {
            command.env("SSL_CERT_FILE", self.stand_in.ca_file(self.dir.path()));
        }
        command
    }

    /// Runs the program to its end. Checks that it tells no secret and does not panic, as in every
    /// run.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        self.finish(self.command(arguments))
    }

    /// The same as `run`, for a command that a test has changed.
    pub fn finish(&self, command: Command) -> Ran {
        let started = Instant::now();
        self.wait_since(spawn(command), started)
    }

    /// Starts the program. `wait` does the rest of what `run` does.
    pub fn start<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Child {
        spawn(self.command(arguments))
    }

    /// The same as `run`, for a program that runs already with its outputs in pipes.
    pub fn wait(&self, child: Child) -> Ran {
        self.wait_since(child, Instant::now())
    }

    /// The same; the time of the run is counted from `started`.
    fn wait_since(&self, mut child: Child, started: Instant) -> Ran {
        let (ended, both_ended) = mpsc::channel::<()>();
        let reader = |stream: Option<Box<dyn Read + Send>>| {
            let ended = ended.clone();
            thread::spawn(move || {
                let mut bytes = Vec::new();
                stream.map(|mut stream| stream.read_to_end(&mut bytes));
                drop(ended);
                bytes
            })
        };
        let stdout = reader(child.stdout.take().map(|stream| Box::new(stream) as _));
        let stderr = reader(child.stderr.take().map(|stream| Box::new(stream) as _));
        drop(ended);
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
            let pause = pause_after(started.elapsed());
            // Its outputs end a moment before the program does. Nothing is ever sent.
            if both_ended.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                thread::sleep(SHORTEST_PAUSE);
            }
        };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output in UTF-8");
        let stderr = text(stderr.join().unwrap());
        assert!(!stderr.contains(r"\\?\"), "nobody types that: {stderr}");
        let ran = Ran {
            status: status.code(),
            stdout: text(stdout.join().unwrap()),
            stderr: with_slashes(stderr),
            elapsed: started.elapsed(),
            peak_kib,
        };
        self.check_discretion(&ran);
        ran
    }

    /// Checks that the output has no secret, no panic, and no character that nobody can see.
    fn check_discretion(&self, ran: &Ran) {
        let output = format!("{}{}", ran.stdout, ran.stderr);
        let secret = self.stand_in.secret_within(&output);
        assert_eq!(secret, None, "this secret is in the output:\n{output}");
        assert!(!output.contains("panicked"), "{output}");
        let unseen = output.chars().find(|&c| is_unseen(c));
        assert_eq!(unseen, None, "this is raw in the output: {output:?}");
    }

    /// The number of requests of a step so far.
    pub fn count(&self, step: Step) -> usize {
        self.stand_in.count(step)
    }

    /// The keys in the bucket.
    pub fn keys(&self) -> Vec<String> {
        self.stand_in.objects().into_keys().collect()
    }

    /// Checks that the program sent nothing that a careful client would not send.
    pub fn assert_proper(&self) {
        assert_eq!(self.stand_in.complaints(), [""; 0]);
    }

    /// Checks that the program refused to begin: it said one sentence, which contains each of
    /// `words`, and it printed and sent nothing.
    pub fn assert_refused(&self, ran: &Ran, words: &[&str]) {
        ran.assert_failure(2, words);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
        assert_eq!((ran.stdout.as_str(), self.stand_in.connections()), ("", 0));
    }

    /// The number of requests of all steps so far.
    pub fn requests(&self) -> usize {
        use stand_in::Step::{Download, Info, Link, Token, Upload};
        [Token, Info, Upload, Link, Download]
            .map(|step| self.count(step))
            .iter()
            .sum()
    }
}

impl Ran {
    /// Checks that all went well: exit status 0, and standard error has only the summary.
    pub fn assert_success(&self) -> &Ran {
        assert_eq!(self.status, Some(0), "{}", self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        self
    }

    /// Checks the exit status, and that standard error contains each of `words`.
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

    /// Checks that the run ended well or with a sentence. Unless it never began, the summary must
    /// count all files.
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

    /// The number of files that the summary has for this word: 5 for `uploaded` in
    /// `5 uploaded (1.2 MiB), …`. It is 0 for a word that the summary leaves out.
    pub fn count(&self, ended: &str) -> usize {
        let mut counts = self.counts().split(", ");
        let words = counts.find_map(|count| {
            let (number, word) = count.split_once(' ')?;
            let is_this = word == ended || word.starts_with(&format!("{ended} ("));
            is_this.then_some(number)
        });
        let number = words.map_or(Ok(0), str::parse);
        number.unwrap_or_else(|_| panic!("{ended} is no number in {}", self.stderr))
    }

    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }

    /// Standard output as JSON Lines, with the same paths on all systems.
    pub fn json(&self) -> Vec<Value> {
        self.lines()
            .iter()
            .map(|line| {
                let mut object: Value = serde_json::from_str(line).expect("a line of JSON");
                if let Some(path) = object["path"].as_str() {
                    object["path"] = with_slashes(path.to_owned()).into();
                }
                object
            })
            .collect()
    }

    /// The summary without the time at its end. Checks that the time has one decimal.
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

/// Checks the cases of a table, and names the cases that fail. Checks 16 at once, as most of them
/// only wait.
pub fn side_by_side<T: Send>(
    cases: impl IntoIterator<Item = (String, T)>,
    check: impl Fn(T) + Sync,
) {
    at_once(16, cases, check);
}

/// Checks the cases of a table like `side_by_side`, but this number at once.
pub fn at_once<T: Send>(
    number: usize,
    cases: impl IntoIterator<Item = (String, T)>,
    check: impl Fn(T) + Sync,
) {
    let cases: Mutex<Vec<_>> = Mutex::new(cases.into_iter().collect());
    let failed = Mutex::new(Vec::new());
    let next = || cases.lock().unwrap().pop();
    thread::scope(|scope| {
        for _ in 0..number {
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
