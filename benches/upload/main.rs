//! Measures the figures of docs/benchmarks.md: `cargo bench`. For one part alone: `cargo bench -- memory`
//!
//! The parts are `picture`, `files`, `again`, `pace`, `cpu`, `large`, `memory` and `start`. If
//! `WX_UPLOAD_BEFORE` names an older build, all but `pace` and `large` run both in turn, and the table has
//! the ratios. Then all parts take about nine minutes. Each part runs the release binary over TLS against a
//! stand-in in this process. To simulate a distant service, a relay between the two delays every byte. The
//! table then also shows the shortest possible time of an upload: see [`least_time_per_file`].
//!
//! CPU time comes from bash's `time`, peak memory from Linux's `/proc`. If one is missing, the
//! table says so. This file does not know how the program works.

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
use stand_in::{ENV, Fault, Limit, StandIn, Step, When, at_once, file_id_of};
use tempfile::TempDir;

use relay::{lateness, start_relay};
use table::Table;

const FILES: usize = 200;
const FILE_BYTES: usize = 20_000;
/// The number of runs whose median is shown.
const ROUNDS: usize = 5;
/// To a service in the same region.
const SHORT_ROUND_TRIP: Duration = Duration::from_millis(5);
const ROUND_TRIP: Duration = Duration::from_millis(40);
const LONG_ROUND_TRIP: Duration = Duration::from_millis(150);
const LARGE_MIB: u64 = 512;
const NAMES: usize = 100_000;
/// The size of files if only their number matters.
const TINY_BYTES: usize = 1000;
/// The program should reach this part of the rate that the service allows.
const RATE_WANTED: f64 = 0.9;
/// The same where the service limits the number of calls at once …
const AT_ONCE_WANTED: f64 = 0.8;
/// … each of which takes this time.
const CALL_TAKES: Duration = Duration::from_millis(100);
/// The config has this token and the stand-in accepts it, so that no figure includes a request for
/// a token.
const TOKEN: &str = "92_token-of-the-bench";

fn main() {
    // Cargo adds `--bench`.
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .unwrap_or_default();
    let mut table = Table::new(["what", "wx-upload", "compared with", "note"]);
    let mut part = |name: &str, measure: fn(&mut Table)| {
        if name.contains(&filter) {
            eprintln!("{name} …");
            measure(&mut table);
        }
    };
    part("picture", picture);
    part("files", files);
    part("again", again);
    part("pace", pace);
    part("cpu", cpu);
    part("large", large);
    part("memory", memory);
    part("start", start);
    println!("{}; {}", machine(), name_and_size(&binary()));
    println!("All connections use TLS. The access token is in the config.\n\n{table}");
}

// ---- The parts ----------------------------------------------------------------------------------

/// Uploads one file, as an editor does.
fn picture(table: &mut Table) {
    /// Two connections, TLS on each, and one round trip each for the URL, the upload and the link.
    const ROUND_TRIPS: u32 = 7;
    for round_trip in [ROUND_TRIP, LONG_ROUND_TRIP] {
        let (walls, walls_before) = in_turn(ROUNDS, |program| {
            upload_files(program, 1, round_trip, 8).wall
        });
        let wall = median(walls).unwrap_or_default();
        let least = (round_trip * ROUND_TRIPS).as_millis();
        let (kb, ms) = (FILE_BYTES / 1000, round_trip.as_millis());
        table.row(
            format!("1 file of {kb} kB, round trip {ms} ms"),
            format!("{:.0} ms", wall * 1000.0),
            format!("at least {least} ms"),
            ratio_to_before(wall, median(walls_before)),
        );
    }
}

/// Runs the program `rounds` times, in turn with the build before if there is one. Returns the results of
/// both.
fn in_turn<T>(rounds: usize, mut run: impl FnMut(PathBuf) -> T) -> (Vec<T>, Vec<T>) {
    let (mut ours, mut before) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(run(binary()));
        before.extend(build_before().map(&mut run));
    }
    (ours, before)
}

/// Uploads many small files, with and without a slow network.
fn files(table: &mut Table) {
    for round_trip in [
        Duration::ZERO,
        SHORT_ROUND_TRIP,
        ROUND_TRIP,
        LONG_ROUND_TRIP,
    ] {
        for jobs in [1, 8, 16] {
            let rounds = match (round_trip, jobs) {
                (Duration::ZERO, _) => 41, // each takes a tenth of a second, and they differ by a quarter
                (LONG_ROUND_TRIP, 1) => 1, // it mostly waits
                _ => 3,
            };
            let upload = |program| upload_files(program, FILES, round_trip, jobs);
            let (mut runs, before) = in_turn(rounds, upload);
            let walls_before = before.iter().map(|run| run.wall).collect();
            runs.sort_by(|one, other| one.wall.total_cmp(&other.wall));
            let run = &runs[rounds / 2];
            files_row(table, round_trip, jobs, run, median(walls_before));
        }
    }
}

/// The result of [`upload_files`].
struct FilesRun {
    /// In seconds.
    wall: f64,
    connections: usize,
    link_calls: usize,
    most_uploads: usize,
}

fn upload_files(program: PathBuf, files: usize, round_trip: Duration, jobs: usize) -> FilesRun {
    let mut world = World::new();
    world.program = program;
    world.small_files(files, FILE_BYTES);
    world.put_relay_between(round_trip);
    let ran = world.watch(world.upload(&["--jobs", &jobs.to_string()]));
    world.check(files);
    FilesRun {
        wall: ran.wall,
        connections: world.stand_in.connections(),
        link_calls: world.stand_in.count(Step::Link),
        most_uploads: world.stand_in.max_concurrent_uploads(),
    }
}

fn files_row(
    table: &mut Table,
    round_trip: Duration,
    jobs: usize,
    run: &FilesRun,
    wall_before: Option<f64>,
) {
    let measured = run.wall * 1000.0 / FILES as f64;
    let least = least_time_per_file(round_trip, jobs);
    let (compared, ratio) = match least {
        0.0 => (String::new(), String::new()),
        _ => (
            format!("at least {least:.2} ms"),
            format!("{:.2} of the highest possible rate, ", least / measured),
        ),
    };
    let kb = FILE_BYTES / 1000;
    let ms = round_trip.as_millis();
    let jobs = count_of_jobs(jobs);
    let (connections, link_calls) = (run.connections, run.link_calls);
    let (uploads, ratio_before) = (run.most_uploads, ratio_to_before(run.wall, wall_before));
    table.row(
        format!("{FILES} files of {kb} kB, round trip {ms} ms, {jobs}"),
        format!("{measured:.2} ms per file"),
        compared,
        format!(
            "{ratio_before}{ratio}at most {uploads} uploads at once, {connections} connections, \
             {link_calls} link calls"
        ),
    );
}

/// Returns the shortest possible time per file, in milliseconds, for a client with `jobs` uploads at
/// once. Each upload needs one round trip. The one for its URL goes beside the upload before.
fn least_time_per_file(round_trip: Duration, jobs: usize) -> f64 {
    round_trip.as_secs_f64() * 1000.0 / jobs as f64
}

/// Returns the beginning of a note. It is empty if no build before was measured.
fn ratio_to_before(ours: f64, before: Option<f64>) -> String {
    before.map_or(String::new(), |before| {
        format!("{:.2} of the build before, ", ours / before)
    })
}

/// Runs the program again after all files were uploaded: nothing is sent, and links are asked for.
fn again(table: &mut Table) {
    let delays = [ROUND_TRIP, LONG_ROUND_TRIP];
    for (files, delays) in [(2_000, &delays[..]), (20_000, &delays[..1])] {
        for round_trip in delays {
            let world = World::new();
            world.small_files(files, TINY_BYTES);
            let arguments = ["--manifest", "sent.jsonl"];
            world.watch(world.upload(&arguments));
            world.put_relay_between(*round_trip);
            let what = format!("{files} unchanged files");
            again_row(table, &what, world, *round_trip, &arguments, files);
        }
    }
    for round_trip in delays {
        const FILES: usize = 500;
        let world = World::new();
        world.small_files(FILES, TINY_BYTES);
        world.watch(world.upload(&[]));
        world.put_relay_between(round_trip);
        let keys = world.stand_in.objects().into_keys();
        let file_ids: Vec<String> = keys.map(|key| file_id_of(&key)).collect();
        let arguments: Vec<&str> = file_ids.iter().map(String::as_str).collect();
        let what = format!("{FILES} `file_id`s");
        again_row(table, &what, world, round_trip, &arguments, FILES);
    }
}

/// Runs the program three times over what is in the cloud already.
fn again_row(
    table: &mut Table,
    what: &str,
    mut world: World,
    round_trip: Duration,
    arguments: &[&str],
    files: usize,
) {
    let (ours, before) = in_turn(3, |program| {
        world.program = program;
        let calls_before = world.stand_in.count(Step::Link);
        let wall = world.watch(world.upload(arguments)).wall;
        world.check(files);
        (wall, world.stand_in.count(Step::Link) - calls_before)
    });
    let wall_of = |runs: &[(f64, usize)]| median(runs.iter().map(|(wall, _)| *wall).collect());
    let most_calls = |runs: &[(f64, usize)]| runs.iter().map(|(_, calls)| *calls).max();
    let wall = wall_of(&ours).unwrap_or_default();
    let ratio = ratio_to_before(wall, wall_of(&before));
    let calls = most_calls(&ours).unwrap_or_default();
    let calls_before = most_calls(&before);
    let calls_before = calls_before.map_or(String::new(), |calls| format!(" ({calls} before)"));
    let ms = round_trip.as_millis();
    table.row(
        format!("{what}, round trip {ms} ms"),
        format!("{wall:.2} s"),
        String::new(),
        format!("{ratio}{calls} link calls{calls_before}"),
    );
}

fn count_of_jobs(jobs: usize) -> String {
    format!("{jobs} job{}", if jobs == 1 { "" } else { "s" })
}

/// Compares the rate of uploads with the rate that an API with a limit allows.
fn pace(table: &mut Table) {
    let bucket = Limit::Bucket {
        calls: 60.0,
        per_second: 20.0,
    };
    let window = Limit::Window {
        calls: 100,
        length: Duration::from_secs(10),
    };
    // All at once, as they mostly wait.
    thread::scope(|scope| {
        let mut runs = Vec::new();
        for (limit, files) in [(bucket, 360), (window, 500)] {
            for jobs in [8, 64] {
                runs.push(scope.spawn(move || upload_at_limit(limit, files, jobs)));
            }
        }
        for run in runs {
            pace_row(table, &run.join().expect("the run ends"));
        }
    });
    for (step, at_once) in [(Step::Info, 4), (Step::Info, 20), (Step::Upload, 5)] {
        at_once_row(table, step, at_once);
    }
}

/// The settings and the result of [`upload_at_limit`].
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
            format!("{calls} calls at once, {per_second} per second")
        }
        Limit::Window { calls, length } => format!("{calls} calls in {} s", length.as_secs()),
    };
    let least = least_time_at_limit(run.limit, run.files);
    let ratio = least / run.wall;
    let verdict = if ratio >= RATE_WANTED {
        "good"
    } else {
        "TOO SLOW"
    };
    let (files, jobs, refused) = (run.files, count_of_jobs(run.jobs), run.refused_calls);
    table.row(
        format!("{files} files, limit {admitted}, {jobs}"),
        format!("{:.1} s", run.wall),
        format!("at least {least:.1} s"),
        format!(
            "{ratio:.2} of the allowed rate ({verdict}: at least {RATE_WANTED:.2} wanted), \
             {refused} calls refused"
        ),
    );
}

/// Returns the shortest time in seconds in which a limit lets in this number of calls.
fn least_time_at_limit(limit: Limit, calls_made: usize) -> f64 {
    match limit {
        Limit::Bucket { calls, per_second } => (calls_made as f64 - calls) / per_second,
        Limit::Window { calls, length } => {
            (calls_made.div_ceil(calls) - 1) as f64 * length.as_secs_f64()
        }
    }
}

/// Compares 64 jobs, where a service takes only `calls` at once, with as many jobs as that.
fn at_once_row(table: &mut Table, step: Step, calls: usize) {
    const JOBS: usize = 64;
    let files = calls * 50;
    let (least, _) = upload_at_once(step, calls, files, calls);
    let (wall, refused) = upload_at_once(step, calls, files, JOBS);
    let ratio = least / wall;
    let verdict = if ratio >= AT_ONCE_WANTED {
        "good"
    } else {
        "TOO SLOW"
    };
    let what = match step {
        Step::Upload => "uploads",
        _ => "calls of the API",
    };
    table.row(
        format!("{files} files, limit {calls} {what} at once, {JOBS} jobs"),
        format!("{wall:.1} s"),
        format!("{calls} jobs {least:.1} s"),
        format!(
            "{ratio:.2} of their rate ({verdict}: at least {AT_ONCE_WANTED:.2} wanted), \
             {refused} calls refused"
        ),
    );
}

/// Returns the time in seconds, and the number of calls that were refused.
fn upload_at_once(step: Step, calls: usize, files: usize, jobs: usize) -> (f64, usize) {
    let world = World::new();
    world.small_files(files, TINY_BYTES);
    let refusal = match step {
        Step::Upload => Fault::cos_error(400, "UserNetworkTooSlow"),
        _ => Fault::Errcode(-501004),
    };
    let limit = at_once(calls, CALL_TAKES, refusal);
    world.stand_in.fault(step, When::Always, limit);
    let ran = world.watch(world.upload(&["--jobs", &jobs.to_string()]));
    world.check(files);
    (ran.wall, world.stand_in.count(step) - files)
}

/// Measures the CPU time per file, with many tiny files and no delays.
fn cpu(table: &mut Table) {
    const FILES: usize = 1000;
    let kb = TINY_BYTES / 1000;
    let mut at_8 = None;
    for jobs in [1, 8, 64] {
        let (ours, before) = in_turn(ROUNDS, |program| cpu_time(program, FILES, jobs));
        let per_file = |cpu: Vec<Option<f64>>| {
            let cpu = median(cpu.into_iter().flatten().collect());
            cpu.map(|cpu| cpu * 1000.0 / FILES as f64)
        };
        let (measured, before) = (per_file(ours), per_file(before));
        let mut note = ratio_to_before(measured.unwrap_or_default(), before);
        match (jobs, measured, at_8) {
            (8, ..) => at_8 = measured,
            (64, Some(at_64), Some(at_8)) => {
                note += &format!("{:.2} of the time with 8 jobs", at_64 / at_8);
            }
            _ => {}
        }
        table.row(
            format!(
                "{FILES} files of {kb} kB, CPU time, {}",
                count_of_jobs(jobs)
            ),
            measured.map_or("no bash to time it".into(), |ms| {
                format!("{ms:.2} ms per file")
            }),
            String::new(),
            note,
        );
    }
}

/// Returns the CPU time of one run in seconds, or `None` without bash.
fn cpu_time(program: PathBuf, files: usize, jobs: usize) -> Option<f64> {
    let mut world = World::new();
    world.program = program;
    world.small_files(files, TINY_BYTES);
    let timed = world.timed(&world.upload(&["--jobs", &jobs.to_string()]))?;
    world.check(files);
    Some(timed.cpu)
}

/// Uploads one large file, and compares with curl, which sends the same form to the same server.
fn large(table: &mut Table) {
    const ROUNDS: usize = 9;
    let world = World::new();
    world.sparse_file("large.bin", LARGE_MIB);
    let has_curl = Command::new("curl")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok();
    // Reads the file before each run, so that the system has it in its cache.
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

/// Measures the peak memory for a small file, a large file, eight large files at once, and many files
/// with the most jobs.
fn memory(table: &mut Table) {
    for (count, mib, jobs) in [
        (1, 1, 8),
        (1, LARGE_MIB, 8),
        (8, LARGE_MIB, 8),
        (640, 1, 64),
    ] {
        let mut world = World::new();
        // The program has reached its peak when it asks for links. The delay leaves time to read the
        // peak before the program ends.
        world.stand_in.fault(
            Step::Link,
            When::Always,
            Fault::Delay(Duration::from_millis(50)),
        );
        world.sparse_file("0.bin", mib);
        for n in 1..count {
            // Links, as one file in the page cache is enough.
            fs::hard_link(
                world.path("upload/0.bin"),
                world.path(&format!("upload/{n}.bin")),
            )
            .expect("a link");
        }
        let arguments = ["--jobs", &jobs.to_string()];
        let ran = world.watch(world.upload(&arguments));
        world.check(count);
        let what = if count == 1 {
            format!("{mib} MiB")
        } else {
            format!("{count} files of {mib} MiB, {} at once", count.min(jobs))
        };
        let before = build_before().and_then(|build| {
            world.program = build;
            world.watch(world.upload(&arguments)).peak_kib
        });
        let ratio = match (ran.peak_kib, before) {
            (Some(ours), Some(before)) => ratio_to_before(ours as f64, Some(before as f64)),
            _ => String::new(),
        };
        table.row(
            what + ", peak memory",
            ran.peak(),
            String::new(),
            format!("{ratio}in {:.1} s", ran.wall),
        );
    }
}

/// Measures runs that send nothing.
fn start(table: &mut Table) {
    let mut world = World::new();
    for n in 0..NAMES {
        File::create(world.path(&format!("upload/图片 {n:06}.jpg"))).expect("a file");
    }
    let (ours, before) = in_turn(ROUNDS, |program| {
        world.program = program;
        let ran = world.watch(world.upload(&["--dry-run"]));
        assert_eq!(world.lines_printed(), NAMES, "not all names were listed");
        ran
    });
    let wall_of = |runs: &[Watched]| median(runs.iter().map(|ran| ran.wall).collect());
    let peak_of = |runs: &[Watched]| {
        let peaks = runs.iter().filter_map(|ran| ran.peak_kib);
        median(peaks.map(|kib| kib as f64).collect())
    };
    let (wall, peak) = (wall_of(&ours).unwrap_or_default(), peak_of(&ours));
    let what = format!("`--dry-run` over {NAMES} names");
    table.row(
        what.clone(),
        format!("{wall:.2} s"),
        String::new(),
        ratio_to_before(wall, wall_of(&before)),
    );
    table.row(
        what + ", peak memory",
        mebibytes(peak),
        String::new(),
        ratio_to_before(peak.unwrap_or_default(), peak_of(&before)),
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
    let note = "from start to end, median of 50 runs";
    table.row(
        "`--version`".into(),
        format!("{:.2} ms", wall * 1000.0),
        String::new(),
        note.into(),
    );
}

// ---- The program and its world ------------------------------------------------------------------

/// A stand-in, and a directory with a config for it and an empty directory `upload`.
struct World {
    stand_in: StandIn,
    dir: TempDir,
    program: PathBuf,
}

/// The result of [`World::watch`].
struct Watched {
    /// In seconds, from start to end of the process.
    wall: f64,
    peak_kib: Option<u64>,
}

/// The result of [`World::timed`], in seconds.
struct Timed {
    wall: f64,
    /// The time in the program, and in the kernel for the program.
    cpu: f64,
}

impl World {
    fn new() -> World {
        let stand_in = StandIn::https();
        // The stand-in shares the processors with the program, so it does only what is needed.
        stand_in.check_crc(false);
        stand_in.store(false);
        stand_in.accept_token(TOKEN);
        let world = World {
            stand_in,
            dir: TempDir::new().expect("a temporary directory"),
            program: binary(),
        };
        world.stand_in.ca_file(world.dir.path());
        world.put_services_at(world.port());
        world.write_config();
        fs::create_dir(world.path("upload")).expect("a directory");
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes `count` files of `bytes` bytes each, which are a minute old. The program waits some
    /// milliseconds before it reads a file that was just written, which is rare outside of a benchmark.
    fn small_files(&self, count: usize, bytes: usize) {
        let a_minute_ago = SystemTime::now() - Duration::from_secs(60);
        for n in 0..count {
            let path = self.path(&format!("upload/图片 {n:04}.jpg"));
            fs::write(&path, vec![n as u8; bytes]).expect("a file");
            let file = File::options().write(true).open(path).expect("the file");
            file.set_modified(a_minute_ago).expect("its time");
        }
    }

    fn write_config(&self) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("the clock is past 1970")
            .as_secs();
        let token = json!({
            "create_time": now, "expires_in": 7200, "access_token": TOKEN, "upload_dir": "upload",
        });
        self.stand_in.config_json_with(self.dir.path(), token);
    }

    /// Adds this round trip to the program's connections.
    fn put_relay_between(&self, round_trip: Duration) {
        if !round_trip.is_zero() {
            let delay = round_trip.saturating_sub(lateness());
            self.put_services_at(start_relay(self.port(), delay).expect("a relay"));
            self.write_config();
        }
    }

    /// The API and COS are two hosts, each with its own connections.
    fn put_services_at(&self, port: u16) {
        let origin = |host| format!("https://{host}:{port}");
        self.stand_in.set_base(&origin("localhost"));
        self.stand_in.set_upload_origin(&origin("127.0.0.1"));
    }

    fn port(&self) -> u16 {
        let base = self.stand_in.base();
        let port = base.rsplit(':').next();
        port.and_then(|port| port.parse().ok()).expect("a port")
    }

    /// Makes a file of zeros. It takes no space on the disk.
    fn sparse_file(&self, name: &str, mib: u64) {
        let file = File::create(self.path("upload").join(name)).expect("a file");
        file.set_len(mib << 20).expect("a long file");
    }

    /// Returns the command that uploads the directory `upload`.
    fn upload(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--quiet")
            .args(arguments)
            .current_dir(&self.dir);
        command
            .env("SSL_CERT_FILE", "ca.pem")
            .env("NO_PROXY", "localhost,127.0.0.1");
        command
    }

    /// Returns the curl command that uploads a file of `upload` with the same form as the program.
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

    /// Runs a command to its end. Its output goes to a file.
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

    /// Runs a command to its end and measures its CPU time, too. The standard library can't do
    /// this, so bash does. Returns `None` without bash.
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

    /// Checks that the last run uploaded and printed everything and made no mistake.
    fn check(&self, files: usize) {
        assert_eq!(self.lines_printed(), files, "not all files were printed");
        assert_eq!(
            self.stand_in.objects().len(),
            files,
            "not all files were uploaded"
        );
        assert_eq!(self.stand_in.complaints(), [""; 0]);
        assert_eq!(
            self.stand_in.count(Step::Token),
            0,
            "the program asked for a token"
        );
    }
}

impl Watched {
    fn peak(&self) -> String {
        mebibytes(self.peak_kib.map(|kib| kib as f64))
    }
}

fn mebibytes(peak_kib: Option<f64>) -> String {
    peak_kib.map_or("known on Linux only".into(), |kib| {
        format!("{:.1} MiB", kib / 1024.0)
    })
}

/// Returns the path of the program: the one in `WX_UPLOAD_BIN`, or cargo's release build.
fn binary() -> PathBuf {
    std::env::var_os("WX_UPLOAD_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_wx-upload").into(), PathBuf::from)
}

/// Returns the path of an older build, if there is one to compare with.
fn build_before() -> Option<PathBuf> {
    std::env::var_os("WX_UPLOAD_BEFORE").map(PathBuf::from)
}

/// Returns the file name and the size of the program, without its directory.
fn name_and_size(binary: &Path) -> String {
    let name = binary.file_name().unwrap_or_default().to_string_lossy();
    let size = fs::metadata(binary).map_or(0, |metadata| metadata.len());
    format!("{name}, {size} bytes")
}

/// Returns the peak memory of a running process so far, in KiB.
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
