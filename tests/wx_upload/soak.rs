//! Runs the program again and again among services and networks that go wrong at random. Whatever
//! happens, a run ends, its counts add up, and nothing is claimed that is not there.

use std::collections::HashSet;
use std::env;
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use stand_in::{Fault, Request, Step, When, at_once};

use crate::harness::{Ran, World};

/// Random numbers: splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % end
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    fn millis(&mut self, end: u64) -> Duration {
        Duration::from_millis(self.below(end))
    }
}

/// Something that goes wrong with one request.
fn trouble(random: &mut Random, step: Step) -> Fault {
    let common: [fn(&mut Random) -> Fault; 10] = [
        |_| Fault::status(429, &[], ""),
        |_| Fault::status(429, &[("Retry-After", "1")], ""),
        |_| Fault::status(503, &[], ""),
        |_| Fault::ResetBeforeReply,
        |random| Fault::ResetAt(random.below(60_000)),
        |_| Fault::ResetAfterBody,
        |_| Fault::Close,
        |_| Fault::HalfReply,
        |_| Fault::Silence,
        |random| Fault::Delay(random.millis(1500)),
    ];
    let of_api: [fn(&mut Random) -> Fault; 3] = [
        |_| Fault::Errcode(45011),
        |_| Fault::Errcode(-501004),
        |_| Fault::Errcode(-1),
    ];
    let of_cos: [fn(&mut Random) -> Fault; 5] = [
        |_| Fault::cos_error(503, "SlowDown"),
        |_| Fault::cos_error(400, "UserNetworkTooSlow"),
        |_| Fault::cos_error(400, "RequestTimeout"),
        |_| Fault::cos_error(403, "AccessDenied"),
        |_| Fault::StopReading,
    ];
    let choices = match step {
        Step::Upload => [&common[..], &of_cos].concat(),
        _ => [&common[..], &of_api].concat(),
    };
    random.one_of(&choices)(random)
}

/// Makes `percent` of the requests of each step go wrong, and perhaps limits the calls at once.
fn set_faults(world: &World, random: &mut Random) {
    for step in [Step::Token, Step::Info, Step::Upload, Step::Link] {
        let percent = random.one_of(&[0, 1, 5, 10]);
        let own = Mutex::new(Random(random.below(u64::MAX)));
        let strike = move |_: &Request| {
            let mut random = own.lock().unwrap();
            (random.below(100) < percent).then(|| trouble(&mut random, step))
        };
        world
            .stand_in
            .fault(step, When::Always, Fault::custom(strike));
    }
    let (step, refusal) = match random.below(4) {
        0 => (Step::Info, Fault::Errcode(-501004)),
        1 => (Step::Upload, Fault::cos_error(400, "UserNetworkTooSlow")),
        _ => return,
    };
    let limit = at_once(random.one_of(&[1, 4, 20]), random.millis(50), refusal);
    world.stand_in.fault(step, When::Always, limit);
}

/// Lets the network go away and come back until `is_over`.
fn flap(world: &World, random: &mut Random, is_over: &AtomicBool) {
    let pause = |time: Duration| {
        let until = Instant::now() + time;
        while Instant::now() < until && !is_over.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(10));
        }
    };
    while !is_over.load(Ordering::Relaxed) {
        pause(random.millis(6000));
        match random.below(3) {
            0 => world.stand_in.break_connections(),
            1 => {
                world.stand_in.close_port();
                pause(random.millis(3000));
                world.stand_in.open_port();
            }
            _ => {
                world.stand_in.close_port();
                world.stand_in.break_connections();
                pause(random.millis(6000));
                world.stand_in.open_port();
            }
        }
    }
}

/// Checks that the counts add up, and that what is claimed is there.
fn check(world: &World, ran: &Ran, files: usize) {
    ran.assert_ended(files);
    let objects = world.stand_in.objects();
    let mut names = HashSet::new();
    let (mut with_link, mut without) = (0, 0);
    for line in ran.json() {
        let key = line["key"].as_str().unwrap();
        assert!(names.insert(key.to_owned()), "{key} has two lines");
        with_link += usize::from(line["url"].is_string());
        without += usize::from(line["error"].is_string());
        if let Some(file_id) = line["file_id"].as_str() {
            let object = objects
                .get(key)
                .unwrap_or_else(|| panic!("{key} is not there"));
            assert_eq!(object.file_id, file_id);
            assert_eq!(Some(object.size), file_size(world, key), "{key}");
        }
    }
    let counts = (ran.count("uploaded"), ran.count("failed"));
    assert_eq!((with_link, without), counts, "{}", ran.stderr);
}

fn file_size(world: &World, key: &str) -> Option<u64> {
    let name = key.strip_prefix("temp3/")?;
    Some(world.path("files").join(name).metadata().ok()?.len())
}

/// One run of the program.
fn round(seed: u64) {
    let mut random = Random(seed);
    let world = World::http();
    let (jobs, most_files) = random.one_of(&[("1", 20), ("8", 150), ("64", 200)]);
    let files = 1 + random.below(most_files) as usize;
    for n in 0..files {
        let size = random.one_of(&[0, 1, 1000, 1000, 1000, 100_000, 1_000_000]);
        world.file(format!("files/{n:03}"), vec![n as u8; size]);
    }
    set_faults(&world, &mut random);
    let retries = random.one_of(&["0", "3", "3", "10"]);
    let options = [
        "-f",
        "json",
        "--timeout",
        "2",
        "-j",
        jobs,
        "--retries",
        retries,
    ];
    let child = world.start(options.iter().chain(&["files"]));
    eprintln!("seed {seed}: {files} files, {jobs} jobs, {retries} retries …");
    let is_over = AtomicBool::new(false);
    let ran = thread::scope(|scope| {
        if random.below(2) == 0 {
            scope.spawn(|| flap(&world, &mut random, &is_over));
        }
        let ran = catch_unwind(AssertUnwindSafe(|| world.wait(child)));
        is_over.store(true, Ordering::Relaxed);
        ran.unwrap_or_else(|panic| resume_unwind(panic))
    });
    eprintln!(
        "seed {seed}: {jobs} jobs, {retries} retries: {}",
        ran.summary()
    );
    check(&world, &ran, files);
    world.assert_proper();
}

/// Takes `WX_SOAK_SECONDS`, one minute without it: `.ci/run` runs it. `WX_SOAK_SEED` repeats a round.
#[test]
#[ignore = "takes a minute"]
fn whatever_goes_wrong_a_run_ends_and_claims_only_what_is_there() {
    let number = |name| env::var(name).ok().and_then(|text| text.parse().ok());
    if let Some(seed) = number("WX_SOAK_SEED") {
        return round(seed);
    }
    let time = Duration::from_secs(number("WX_SOAK_SECONDS").unwrap_or(60));
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while started.elapsed() < time {
                    round(RandomState::new().hash_one(()));
                }
            });
        }
    });
}
