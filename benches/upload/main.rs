//! The figures that the README quotes: `cargo bench`, or one part of them: `cargo bench -- memory`
//!
//! The parts are `files`, `pace`, `cpu`, `large`, `memory` and `start`; all of them take some four
//! minutes. Each runs the release binary over TLS against a stand-in of the services in this
//! process. Where a round trip is to take time, there is a relay between them, so that the least
//! time that an upload can take is known: see [`limit`].
//!
//! CPU time comes from bash's `time`, peak memory from Linux's `/proc`. Where they are missing, the
//! table says so.

#![forbid(unsafe_code)]

mod relay;
mod table;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use stand_in::{ENV, Fault, Limit, StandIn, Step, When};
use tempfile::TempDir;

use relay::{lateness, start_relay};
use table::Table;

const FILES: usize = 200;
const FILE_BYTES: usize = 20_000;
const ROUND_TRIP: Duration = Duration::from_millis(40);
const LARGE_MIB: u64 = 512;
const NAMES: usize = 100_000;
/// Of files that are there for their number alone.
const TINY_BYTES: usize = 1000;
/// The part of the admitted rate that is to be reached.
const RATE_WANTED: f64 = 0.9;
/// In the config, and known to the stand-in: fetching a token is not in any of the figures.
const TOKEN: &str = "92_token-of-the-bench";

fn main() {
    // cargo itself adds `--bench`.
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .unwrap_or_default();
    let mut table = Table::new(["what", "wx-upload", "beside it", "note"]);
    let mut part = |name: &str, measure: fn(&mut Table)| {
        if name.contains(&filter) {
            eprintln!("{name} …");
            measure(&mut table);
        }
    };
    part("files", files);
    part("pace", pace);
    part("cpu", cpu);
    part("large", large);
    part("memory", memory);
    part("start", start);
    println!("{}; {}", machine(), name_and_size(&binary()));
    println!("everything over TLS; the access token is in the config\n\n{table}");
}

// ---- The parts ----------------------------------------------------------------------------------

/// Many small files, with and without a network between.
fn files(table: &mut Table) {
    for round_trip in [Duration::ZERO, ROUND_TRIP] {
        for jobs in [1, 8, 16] {
            let mut runs = [(); 3].map(|()| upload_files(round_trip, jobs));
            runs.sort_by(|one, other| one.wall.total_cmp(&other.wall));
            let [_, median, _] = &runs;
            files_row(table, round_trip, jobs, median);
        }
    }
}

/// What [`upload_files`] measured.
struct FilesRun {
    /// In seconds.
    wall: f64,
    connections: usize,
    link_calls: usize,
}

fn upload_files(round_trip: Duration, jobs: usize) -> FilesRun {
    let world = World::new();
    world.small_files(FILES, FILE_BYTES);
    world.put_relay_between(round_trip);
    let ran = world.watch(world.upload(&["--jobs", &jobs.to_string()]));
    world.check(FILES);
    FilesRun {
        wall: ran.wall,
        connections: world.stand_in.connections(),
        link_calls: world.stand_in.count(Step::Link),
    }
}

fn files_row(table: &mut Table, round_trip: Duration, jobs: usize, run: &FilesRun) {
    let measured = run.wall * 1000.0 / FILES as f64;
    let limit = limit(round_trip, jobs);
    let (beside, ratio) = match limit {
        0.0 => (String::new(), String::new()),
        _ => (
            format!("limit {limit:.2} ms"),
            format!("{:.2} of the limit, ", limit / measured),
        ),
    };
    let kb = FILE_BYTES / 1000;
    let ms = round_trip.as_millis();
    let jobs = count_of_jobs(jobs);
    let (connections, link_calls) = (run.connections, run.link_calls);
    table.row(
        format!("{FILES} files of {kb} kB, round trip {ms} ms, {jobs}"),
        format!("{measured:.2} ms a file"),
        beside,
        format!("{ratio}{connections} connections, {link_calls} link calls"),
    );
}

/// The milliseconds a file that no client can go below that has `jobs` uploads under way at once:
/// one round trip to ask where to upload, and one to upload.
fn limit(round_trip: Duration, jobs: usize) -> f64 {
    2.0 * round_trip.as_secs_f64() * 1000.0 / jobs as f64
}

fn count_of_jobs(jobs: usize) -> String {
    format!("{jobs} job{}", if jobs == 1 { "" } else { "s" })
}

/// The rate reached beside the rate admitted, of an API with a limit.
fn pace(table: &mut Table) {
    let bucket = Limit::Bucket {
        calls: 60.0,
        per_second: 20.0,
    };
    let window = Limit::Window {
        calls: 100,
        length: Duration::from_secs(10),
    };
    // Side by side, as they mostly wait.
    thread::scope(|scope| {
        let mut runs = Vec::new();
        for (limit, files) in [(bucket, 360), (window, 500)] {
            for jobs in [8, 64] {
                runs.push(scope.spawn(move || upload_at_limit(limit, files, jobs)));
            }
        }
        for run in runs {
            pace_row(table, &run.join().expect("a run that ends"));
        }
    });
}

/// What [`upload_at_limit`] measured, and of what.
struct PaceRun {
    limit: Limit,
    files: usize,
    jobs: usize,
    /// In seconds.
    wall: f64,
    refused_calls: usize,
}

fn upload_at_limit(limit: Limit, files: usize, jobs: usize) -> PaceRun {
    let world = World::new();
    world.small_files(files, TINY_BYTES);
    let refusal = limit.refuse_with(Fault::Errcode(45011));
    world.stand_in.fault(Step::Info, When::Always, refusal);
    let ran = world.watch(world.upload(&["--jobs", &jobs.to_string()]));
    world.check(files);
    PaceRun {
        limit,
        files,
        jobs,
        wall: ran.wall,
        refused_calls: world.stand_in.count(Step::Info) - files,
    }
}

fn pace_row(table: &mut Table, run: &PaceRun) {
    let admitted = match run.limit {
        Limit::Bucket { calls, per_second } => {
            format!("{calls} calls at once, {per_second} a second")
        }
        Limit::Window { calls, length } => format!("{calls} calls in {} s", length.as_secs()),
    };
    let least = least_time(run.limit, run.files);
    let ratio = least / run.wall;
    let verdict = if ratio >= RATE_WANTED {
        "as wanted"
    } else {
        "NOT as wanted"
    };
    let (files, jobs, refused) = (run.files, count_of_jobs(run.jobs), run.refused_calls);
    table.row(
        format!("{files} files, admitted {admitted}, {jobs}"),
        format!("{:.1} s", run.wall),
        format!("least {least:.1} s"),
        format!(
            "{ratio:.2} of the admitted rate ({verdict}: at least {RATE_WANTED:.2}), \
             {refused} calls refused"
        ),
    );
}

/// The seconds before a limit admits the last of so many calls, if each comes as soon as it may.
fn least_time(limit: Limit, calls_made: usize) -> f64 {
    match limit {
        Limit::Bucket { calls, per_second } => (calls_made as f64 - calls) / per_second,
        Limit::Window { calls, length } => {
            (calls_made.div_ceil(calls) - 1) as f64 * length.as_secs_f64()
        }
    }
}

/// CPU time a file, of many tiny ones, where nothing has to be waited for.
fn cpu(table: &mut Table) {
    const FILES: usize = 1000;
    let a_file = |jobs: usize| {
        let runs = [(); 3].map(|()| cpu_time(FILES, jobs));
        median(runs.into_iter().flatten().collect()).map(|cpu| cpu * 1000.0 / FILES as f64)
    };
    let [at_1, at_8, at_64] = [1, 8, 64].map(a_file);
    let ratio = at_64.zip(at_8).map(|(at_64, at_8)| at_64 / at_8);
    let note = ratio.map_or(String::new(), |ratio| {
        format!("{ratio:.2} of that at 8 jobs")
    });
    let kb = TINY_BYTES / 1000;
    for (jobs, measured, note) in [
        (1, at_1, String::new()),
        (8, at_8, String::new()),
        (64, at_64, note),
    ] {
        table.row(
            format!(
                "{FILES} files of {kb} kB, CPU time, {}",
                count_of_jobs(jobs)
            ),
            measured.map_or("no bash to time it".into(), |ms| {
                format!("{ms:.2} ms a file")
            }),
            String::new(),
            note,
        );
    }
}

/// In seconds; `None` without bash.
fn cpu_time(files: usize, jobs: usize) -> Option<f64> {
    let world = World::new();
    world.small_files(files, TINY_BYTES);
    let timed = world.timed(&world.upload(&["--jobs", &jobs.to_string()]))?;
    world.check(files);
    Some(timed.cpu)
}

/// One large file, beside curl sending the same form to the same server.
fn large(table: &mut Table) {
    const ROUNDS: usize = 9;
    let world = World::new();
    world.sparse_file("large.bin", LARGE_MIB);
    let has_curl = Command::new("curl")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok();
    // Each finds the file in memory, whatever the system has done with its pages since.
    let timed = |command: Command| {
        let file = File::open(world.path("upload/large.bin"))
            .and_then(|mut file| io::copy(&mut file, &mut io::sink()));
        file.ok().and_then(|_| world.timed(&command))
    };
    let (mut ours, mut curls) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.extend(timed(world.upload(&[])));
        world.check(1);
        curls.extend(has_curl.then(|| timed(world.curl("large.bin"))).flatten());
    }
    let mut row = |kind: &str, seconds: fn(&Timed) -> f64| {
        let middle = |runs: &[Timed]| median(runs.iter().map(seconds).collect());
        let (our, curl) = (middle(&ours), middle(&curls));
        let show = |time: Option<f64>, none: &str| {
            time.map_or(none.to_owned(), |time| format!("{time:.3} s"))
        };
        table.row(
            format!("{LARGE_MIB} MiB, {kind} time"),
            show(our, "no bash to time it"),
            format!("curl {}", show(curl, "is missing")),
            our.zip(curl).map_or(String::new(), |(our, curl)| {
                format!("{:.2} of curl's", our / curl)
            }),
        );
    };
    row("wall", |timed| timed.wall);
    row("CPU", |timed| timed.cpu);
}

/// Peak memory for a small file, a large one, and many large ones at once.
fn memory(table: &mut Table) {
    for (count, mib) in [(1, 1), (1, LARGE_MIB), (8, LARGE_MIB)] {
        let world = World::new();
        // The program is past its peak when it waits for this, so that the peak is not missed.
        world.stand_in.fault(
            Step::Link,
            When::Always,
            Fault::Delay(Duration::from_millis(50)),
        );
        world.sparse_file("0.bin", mib);
        for n in 1..count {
            // Not a copy: one file in the page cache is enough.
            fs::hard_link(
                world.path("upload/0.bin"),
                world.path(&format!("upload/{n}.bin")),
            )
            .expect("a link");
        }
        let ran = world.watch(world.upload(&[]));
        world.check(count);
        let what = if count == 1 {
            format!("{mib} MiB")
        } else {
            format!("{count} files of {mib} MiB at once")
        };
        table.row(
            what + ", peak memory",
            ran.peak(),
            String::new(),
            format!("in {:.1} s", ran.wall),
        );
    }
}

/// What it takes when nothing is sent.
fn start(table: &mut Table) {
    let world = World::new();
    for n in 0..NAMES {
        File::create(world.path(&format!("upload/图片 {n:06}.jpg"))).expect("a file");
    }
    let runs = [(); 5].map(|()| world.watch(world.upload(&["--dry-run"])));
    assert_eq!(world.lines_printed(), NAMES, "not all names were listed");
    let wall = median(runs.iter().map(|ran| ran.wall).collect()).unwrap_or_default();
    table.row(
        format!("`--dry-run` over {NAMES} names"),
        format!("{wall:.2} s"),
        String::new(),
        format!("peak memory {}", runs[0].peak()),
    );
    let version = || {
        let started = Instant::now();
        let status = Command::new(binary())
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "--version failed"
        );
        started.elapsed().as_secs_f64()
    };
    let wall = median((0..50).map(|_| version()).collect()).unwrap_or_default();
    let note = "from start to end, median of 50";
    table.row(
        "`--version`".into(),
        format!("{:.2} ms", wall * 1000.0),
        String::new(),
        note.into(),
    );
}

// ---- The program and its world ------------------------------------------------------------------

/// A stand-in, and a directory with a config for it and an empty `upload` in it.
struct World {
    stand_in: StandIn,
    dir: TempDir,
}

/// What [`World::watch`] saw.
struct Watched {
    /// In seconds, from start to end of the process.
    wall: f64,
    peak_kib: Option<u64>,
}

/// What [`World::timed`] measured, in seconds.
struct Timed {
    wall: f64,
    /// In the program and in the kernel on its behalf.
    cpu: f64,
}

impl World {
    fn new() -> World {
        let stand_in = StandIn::https();
        // It shares the processors with the program, so it does no more than it must.
        stand_in.check_crc(false);
        stand_in.store(false);
        stand_in.accept_token(TOKEN);
        let world = World {
            stand_in,
            dir: TempDir::new().expect("a temporary directory"),
        };
        world.stand_in.ca_file(world.dir.path());
        world.write_config();
        fs::create_dir(world.path("upload")).expect("a directory");
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// So many files of so many bytes.
    fn small_files(&self, count: usize, bytes: usize) {
        for n in 0..count {
            let path = self.path(&format!("upload/图片 {n:04}.jpg"));
            fs::write(path, vec![n as u8; bytes]).expect("a file");
        }
    }

    fn write_config(&self) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock after 1970")
            .as_secs();
        let token = json!({
            "create_time": now, "expires_in": 7200, "access_token": TOKEN, "upload_dir": "upload",
        });
        self.stand_in.config_json_with(self.dir.path(), token);
    }

    /// Makes the network that the program sees a slow one.
    fn put_relay_between(&self, round_trip: Duration) {
        if !round_trip.is_zero() {
            let port = self
                .stand_in
                .base()
                .rsplit(':')
                .next()
                .and_then(|port| port.parse().ok())
                .expect("a port");
            let port = start_relay(port, round_trip.saturating_sub(lateness())).expect("a relay");
            self.stand_in.set_base(&format!("https://localhost:{port}"));
            self.write_config();
        }
    }

    /// A file of zeros, which takes no room on the disk.
    fn sparse_file(&self, name: &str, mib: u64) {
        let file = File::create(self.path("upload").join(name)).expect("a file");
        file.set_len(mib << 20).expect("a long file");
    }

    /// The program, about to upload what is in `upload`.
    fn upload(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .arg("--quiet")
            .args(arguments)
            .current_dir(&self.dir);
        command
            .env("SSL_CERT_FILE", "ca.pem")
            .env("NO_PROXY", "localhost");
        command
    }

    /// curl, about to upload a file of `upload` with the form that the program sends.
    fn curl(&self, name: &str) -> Command {
        let agent = self.stand_in.agent();
        let key = format!("temp3/{name}");
        let url = format!(
            "{}/tcb/uploadfile?access_token={TOKEN}",
            self.stand_in.base()
        );
        let request = agent.post(url).content_type("application/json");
        let mut reply = request
            .send(json!({ "env": ENV, "path": key }).to_string())
            .expect("a reply");
        let info = reply.body_mut().read_to_string().expect("a body");
        let info: Value = serde_json::from_str(&info).expect("JSON");
        let text = |name: &str| info[name].as_str().expect("a text").to_owned();

        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--show-error",
            "--fail",
            "--http1.1",
            "--noproxy",
            "*",
            "--cacert",
            "ca.pem",
        ]);
        command.current_dir(&self.dir);
        for (field, value) in [
            ("key", key),
            ("Signature", text("authorization")),
            ("x-cos-security-token", text("token")),
            ("x-cos-meta-fileid", text("cos_file_id")),
            ("Content-Type", "application/octet-stream".into()),
        ] {
            command.arg("--form-string").arg(format!("{field}={value}"));
        }
        command
            .arg("--form")
            .arg(format!("file=@upload/{name}"))
            .arg(text("url"));
        command
    }

    /// Runs a command to its end, its output in a file.
    fn watch(&self, mut command: Command) -> Watched {
        let output = File::create(self.path("output.txt")).expect("a file");
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(output)
            .spawn()
            .expect("a program that starts");
        let mut peak_kib = None;
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                break status;
            }
            peak_kib = peak_memory(child.id()).or(peak_kib);
            thread::sleep(Duration::from_millis(1));
        };
        let wall = started.elapsed().as_secs_f64();
        assert!(status.success(), "{status}");
        Watched { wall, peak_kib }
    }

    /// Runs a command to its end and measures its CPU time as well, which std cannot. `None`
    /// without bash.
    fn timed(&self, command: &Command) -> Option<Timed> {
        let output = File::create(self.path("output.txt")).expect("a file");
        let mut bash = Command::new("bash");
        bash.args(["-c", "TIMEFORMAT='%3R %3U %3S'; time \"$@\"", "bash"])
            .env("LC_ALL", "C"); // a decimal point
        bash.arg(command.get_program())
            .args(command.get_args())
            .current_dir(&self.dir);
        bash.envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        let output = bash.stdin(Stdio::null()).stdout(output).output().ok()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        let seconds: Vec<f64> = stderr
            .split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
        let [wall, user, kernel] = seconds[..] else {
            panic!("bash's `time` printed {stderr:?}")
        };
        Some(Timed {
            wall,
            cpu: user + kernel,
        })
    }

    fn lines_printed(&self) -> usize {
        fs::read_to_string(self.path("output.txt"))
            .expect("the output")
            .lines()
            .count()
    }

    /// Sees that the last run uploaded and printed everything, and only sent what it should.
    fn check(&self, files: usize) {
        assert_eq!(self.lines_printed(), files, "not all files were printed");
        assert_eq!(
            self.stand_in.objects().len(),
            files,
            "not all files were uploaded"
        );
        assert_eq!(self.stand_in.complaints(), [""; 0]);
        assert_eq!(self.stand_in.count(Step::Token), 0, "a token was asked for");
    }
}

impl Watched {
    fn peak(&self) -> String {
        self.peak_kib.map_or("known on Linux only".into(), |kib| {
            format!("{:.1} MiB", kib as f64 / 1024.0)
        })
    }
}

/// The program: cargo's release build of it, or the one that `WX_UPLOAD_BIN` names.
fn binary() -> PathBuf {
    std::env::var_os("WX_UPLOAD_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_wx-upload").into(), PathBuf::from)
}

/// What is measured, without saying where on this machine it is.
fn name_and_size(binary: &Path) -> String {
    let name = binary.file_name().unwrap_or_default().to_string_lossy();
    let size = fs::metadata(binary).map_or(0, |metadata| metadata.len());
    format!("{name}, {size} bytes")
}

/// The most memory that a running process had so far, in KiB.
fn peak_memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}

fn machine() -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!(
        "{cores} cores, {}, {}",
        model.map_or("CPU unknown", |(_, model)| model),
        std::env::consts::OS
    )
}
