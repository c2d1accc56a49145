//! Services that limit their callers: this costs time, but no file fails.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use stand_in::{Fault, Limit, Step, When};

use crate::harness::{
    Gate, PATIENCE, Ran, World, assert_takes, many_files, not_under_wine, side_by_side,
};

const FILES: usize = 600;

/// How a service asks a run to slow down: the step, a part of the message, and the reply.
type Refusal = (Step, &'static str, fn() -> Fault);

/// Those that mean "too fast". (`at_once.rs` has the others.)
const REFUSALS: [Refusal; 6] = [
    (Step::Info, "errcode 45011 ", || Fault::Errcode(45011)),
    (Step::Info, "HTTP 429 ", || Fault::status(429, &[], "")),
    (Step::Link, "errcode 45011 ", || Fault::Errcode(45011)),
    (Step::Link, "HTTP 429 ", || Fault::status(429, &[], "")),
    (Step::Upload, "HTTP 429 ", || Fault::status(429, &[], "")),
    (Step::Upload, "SlowDown", || {
        Fault::cos_error(503, "SlowDown")
    }),
];

/// Checks that all files were uploaded, and that there was one note, about the first refusal.
fn assert_slowed_down<'a>(ran: &'a Ran, files: usize, words: &str) -> &'a Ran {
    let summary = format!("{files} uploaded ({files} B)");
    ran.assert_failure(0, &[&summary, "note: ", words, "the run slows down"]);
    assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
    assert_eq!(ran.lines().len(), files);
    ran
}

/// The same fault for one that chooses its requests, and the number of requests that it has struck.
fn counted(fault: Fault) -> (Fault, Arc<AtomicUsize>) {
    let Fault::Custom(choose) = fault else {
        panic!("a fault that chooses");
    };
    let struck = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&struck);
    let counting = Fault::custom(move |request| {
        let fault = choose(request);
        count.fetch_add(usize::from(fault.is_some()), Ordering::Relaxed);
        fault
    });
    (counting, struck)
}

#[test]
fn no_file_fails_with_any_limit_and_any_number_of_jobs() {
    if not_under_wine("quick starts: it takes minutes") {
        return;
    }
    let bucket = Limit::Bucket {
        calls: 60.0,
        per_second: 80.0,
    };
    let window = Limit::Window {
        calls: 150,
        length: Duration::from_secs(2),
    };
    let mut cases = Vec::new();
    for limit in [bucket, window] {
        for refusal in REFUSALS {
            for jobs in ["1", "8", "64"] {
                let name = format!("{limit:?} {:?} {} {jobs} jobs", refusal.0, refusal.1);
                cases.push((name, (limit, refusal, jobs)));
            }
        }
    }
    let files = many_files(FILES);
    side_by_side(cases, |(limit, (step, words, refusal), jobs)| {
        let limit = match (step, limit) {
            // One call asks for many links.
            (Step::Link, Limit::Bucket { .. }) => Limit::Bucket {
                calls: 2.0,
                per_second: 5.0,
            },
            (Step::Link, Limit::Window { length, .. }) => Limit::Window { calls: 2, length },
            _ => limit,
        };
        let world = World::http();
        let (refuse, refusals) = counted(limit.refuse_with(refusal()));
        world.stand_in.fault(step, When::Always, refuse);
        let mut command = world.command(["--retries", "0", "-j", jobs]);
        command.arg(files.path());
        let ran = world.finish(command);
        match refusals.load(Ordering::Relaxed) {
            0 => ran.assert_success(), // with one job, or on a busy machine, the run can be slow enough
            _ => assert_slowed_down(&ran, FILES, words),
        };
        assert_eq!(world.keys().len(), FILES);
        world.assert_proper();
    });
}

#[test]
fn a_refusal_costs_no_try() {
    let world = World::with_many(1);
    world
        .stand_in
        .fault(Step::Info, When::Times(4), Fault::Errcode(45011));
    let ran = world.run(["--retries", "0", "files"]);
    assert_slowed_down(&ran, 1, "errcode 45011 ");
    assert_eq!(world.count(Step::Info), 5);
}

#[test]
fn after_cos_asks_to_slow_down_a_try_gets_a_new_signature() {
    let world = World::with_files(&["a.txt"]);
    let refusal = Fault::cos_error(503, "SlowDown");
    world.stand_in.fault(Step::Upload, When::Times(3), refusal);
    let ran = world.run(["a.txt"]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert_eq!((world.count(Step::Upload), world.count(Step::Info)), (4, 4));
    assert_eq!(
        world.stand_in.objects()["temp3/a.txt"].bytes.as_deref(),
        Some(&b"a.txt"[..])
    );
}

#[test]
fn all_threads_wait_together_and_one_at_a_time_tries_again() {
    const TRIES: usize = 5;
    let world = World::with_many(64);
    // The first 64 calls are all refused at the same time, and then a few more.
    let all_have_asked = Gate::default();
    let burst = all_have_asked.hold_and(|reply| {
        *reply = json!({ "errcode": 45011, "errmsg": "reach minute quota limit" });
    });
    world.stand_in.fault(Step::Info, When::Times(64), burst);
    world
        .stand_in
        .fault(Step::Info, When::Times(TRIES), Fault::Errcode(45011));
    let child = world.start(["-j", "64", "files"]);
    assert!(world.stand_in.wait_for(Step::Info, 64, PATIENCE));
    let refused_at = Instant::now();
    all_have_asked.open();
    let ran = world.wait(child);
    assert_slowed_down(&ran, 64, "errcode 45011 ");
    // There is one call every half second, so the n-th comes after n half seconds.
    let requests = world.stand_in.requests(Step::Info);
    for (n, request) in (1..=TRIES as u32).zip(&requests[64..]) {
        let waited = request.at - refused_at;
        assert!(waited >= n * Duration::from_millis(500), "{n}: {waited:?}");
    }
}

#[test]
fn a_longer_retry_after_is_obeyed() {
    assert_takes([2.0..3.0], || {
        let world = World::with_many(1);
        world.stand_in.fault(
            Step::Info,
            When::Once,
            Fault::status(429, &[("Retry-After", "2")], ""),
        );
        assert_slowed_down(&world.run(["files"]), 1, "HTTP 429 ");
        let requests = world.stand_in.requests(Step::Info);
        [(requests[1].at - requests[0].at).as_secs_f64()]
    });
}

#[test]
fn quiet_silences_the_note_about_the_pace() {
    let world = World::with_many(1);
    world
        .stand_in
        .fault(Step::Info, When::Once, Fault::Errcode(45011));
    let ran = world.run(["-q", "files"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
}

#[test]
fn too_many_requests_for_a_token_cost_only_time() {
    let world = World::with_many(1);
    world
        .stand_in
        .fault(Step::Token, When::Times(2), Fault::Errcode(45011));
    let ran = world.run(["--retries", "0", "files"]);
    assert_slowed_down(&ran, 1, "获取access token失败: errcode 45011 ");
}

/// Runs the program to its end, with no time limit. Returns its exit status and standard error.
pub fn run_for_long(world: &World, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = world.command(arguments);
    let stderr = File::create(world.path("stderr")).unwrap();
    let status = command.stderr(stderr).status().unwrap();
    let stderr = std::fs::read_to_string(world.path("stderr")).unwrap();
    (status.code(), stderr)
}

/// Takes three minutes: `.ci/run` runs it.
#[test]
#[ignore = "takes three minutes"]
fn a_run_without_progress_for_three_minutes_is_stopped() {
    // With COS, the calls of step 2 get through, but they are no progress.
    let at_cos = (Step::Upload, Fault::cos_error(503, "SlowDown"));
    let at_api = (Step::Info, Fault::Errcode(45011));
    let cases = [("COS", at_cos), ("the API", at_api)];
    let cases = cases.map(|(name, case)| (name.to_owned(), case));
    side_by_side(cases, |(step, refusal)| {
        let world = World::with_many(100);
        world.stand_in.fault(step, When::Always, refusal);
        let (status, stderr) = run_for_long(&world, &["files"]);
        assert_eq!(status, Some(1), "{stderr}");
        let words = [
            "note: ",
            "\nerror: ",
            "nothing got through for 3 minutes: try again later; the run was stopped\n",
            "0 uploaded (0 B), 100 not attempted in 1",
        ];
        for words in words {
            assert!(stderr.contains(words), "{words}: {stderr}");
        }
        // There is also a note a minute.
        let lines = stderr.lines().filter(|line| !line.contains(" files, "));
        assert_eq!(lines.count(), 3, "{stderr}");
    });
}

/// Takes three minutes: `.ci/run` runs it.
#[test]
#[ignore = "takes three minutes"]
fn a_first_refusal_after_three_minutes_stops_nothing() {
    let world = World::with_many(1);
    world.stand_in.fault(
        Step::Info,
        When::Once,
        Fault::Delay(Duration::from_secs(185)),
    );
    world
        .stand_in
        .fault(Step::Upload, When::Once, Fault::cos_error(503, "SlowDown"));
    let (status, stderr) = run_for_long(&world, &["--timeout", "300", "files"]);
    assert_eq!(status, Some(0), "{stderr}");
    assert!(stderr.contains("1 uploaded (1 B) in "), "{stderr}");
}
