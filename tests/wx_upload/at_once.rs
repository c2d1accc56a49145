//! Services that take only so many calls at once, and lines too thin for all uploads: that costs
//! time, and no file.

use std::thread;
use std::time::Duration;

use stand_in::{Fault, Step, When, at_once, thin_line};

use crate::harness::{Ran, World, many_files, not_under_wine, side_by_side};
use crate::pace::run_for_long;

/// Checks that all went well, and that a note told the first refusal, and nothing more.
fn assert_adapted(ran: &Ran, files: usize, words: &str) {
    let summary = format!("{files} uploaded ({files} B)");
    ran.assert_failure(0, &[&summary, "note: ", words, "the run slows down"]);
    assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
    assert_eq!(ran.lines().len(), files);
}

#[test]
fn too_many_calls_at_once_cost_no_file() {
    const FILES: usize = 200;
    const TAKES: Duration = Duration::from_millis(60);
    type Refusal = (&'static [Step], &'static str, fn() -> Fault);
    let refusals: [Refusal; 4] = [
        (&[Step::Info], "errcode -501004 ", || {
            Fault::Errcode(-501004)
        }),
        (&[Step::Info, Step::Link], "errcode -501004 ", || {
            Fault::Errcode(-501004)
        }),
        (
            &[Step::Upload],
            "HTTP 400 Bad Request: UserNetworkTooSlow",
            || Fault::cos_error(400, "UserNetworkTooSlow"),
        ),
        (
            &[Step::Upload],
            "HTTP 400 Bad Request: RequestTimeout",
            || Fault::cos_error(400, "RequestTimeout"),
        ),
    ];
    let mut cases = Vec::new();
    for (steps, words, refusal) in refusals {
        for admitted in [4, 5, 20] {
            for jobs in [8, 64] {
                let name = format!("{steps:?} {words}, {admitted} at once, {jobs} jobs");
                cases.push((name, (steps, words, refusal, admitted, jobs)));
            }
        }
    }
    let files = many_files(FILES);
    side_by_side(cases, |(steps, words, refusal, admitted, jobs)| {
        let world = World::http();
        let limit = at_once(admitted, TAKES, refusal());
        for step in steps {
            world.stand_in.fault(*step, When::Always, limit.clone());
        }
        let mut command = world.command(["--retries", "0", "-j", &jobs.to_string()]);
        command.arg(files.path());
        let ran = world.finish(command);
        let refused = world.count(steps[0]) - FILES;
        if refused == 0 {
            ran.assert_success();
        } else {
            assert_adapted(&ran, FILES, words);
        }
        assert_eq!(world.keys().len(), FILES);
        world.assert_proper();
    });
}

#[test]
fn on_a_thin_line_no_file_fails() {
    const FILES: usize = 40;
    let mut cases = Vec::new();
    for room in [1, 2, 3] {
        for jobs in [2, 8, 64] {
            cases.push((format!("room for {room}, {jobs} jobs"), (room, jobs)));
        }
    }
    side_by_side(cases, |(room, jobs)| {
        let world = World::with_many(FILES);
        let takes = Duration::from_millis(100);
        let line = thin_line(
            room,
            takes,
            takes * 9 / 5,
            Fault::cos_error(400, "UserNetworkTooSlow"),
        );
        world.stand_in.fault(Step::Upload, When::Always, line);
        let ran = world.run(["--retries", "0", "-j", &jobs.to_string(), "files"]);
        let in_vain = world.count(Step::Upload) - FILES;
        match in_vain {
            0 => drop(ran.assert_success()),
            _ => assert_adapted(&ran, FILES, "UserNetworkTooSlow"),
        }
        // The first ones can't know, then one more is tried now and then.
        assert!(in_vain <= jobs.min(FILES) + 12, "{in_vain}");
        assert_eq!(world.keys().len(), FILES);
        world.assert_proper();
    });
}

/// Here a line is too thin even for one upload, for a moment. The uploads take longer than the run
/// holds back, so the next one waits for the end of the last one.
#[test]
fn after_a_refusal_one_at_a_time_means_one_at_a_time() {
    const FILES: usize = 5;
    let takes = Duration::from_millis(800);
    let refusal = || Fault::cos_error(400, "UserNetworkTooSlow");
    let world = World::with_many(FILES);
    let line = at_once(1, takes, refusal());
    world.stand_in.fault(Step::Upload, When::Nth(3), refusal());
    world.stand_in.fault(Step::Upload, When::Always, line);
    let ran = world.run(["-j", "2", "files"]);
    assert_adapted(&ran, FILES, "UserNetworkTooSlow");
    let in_vain = world.count(Step::Upload) - FILES;
    assert!(in_vain <= 2, "{in_vain}");
}

/// Takes three minutes: `.ci/run` runs it.
#[test]
#[ignore = "takes three minutes"]
fn an_upload_that_is_refused_after_minutes_does_not_stop_the_run() {
    let cases = [(400, "UserNetworkTooSlow"), (503, "SlowDown")];
    let cases = cases.map(|(status, code)| (code.to_owned(), (status, code)));
    side_by_side(cases, |(status, code)| {
        let refusal = Fault::cos_error(status, code);
        let world = World::with_files(&["a.txt"]);
        let refuse = refusal.clone();
        world.stand_in.fault(Step::Upload, When::Times(2), refuse);
        let refuse_late = Fault::after_body(move |_| {
            thread::sleep(Duration::from_secs(185));
            Some(refusal.clone())
        });
        world
            .stand_in
            .fault(Step::Upload, When::Nth(3), refuse_late);
        let (status, stderr) = run_for_long(&world, &["--timeout", "600", "a.txt"]);
        assert_eq!(status, Some(0), "{stderr}");
        assert_eq!(world.count(Step::Upload), 4);
    });
}

#[test]
fn a_refusal_of_the_only_call_costs_a_try() {
    let world = World::with_files(&["a.txt"]);
    let refusal = Fault::Errcode(-501004);
    world.stand_in.fault(Step::Info, When::Always, refusal);
    let ran = world.run(["--retries", "1", "a.txt"]);
    ran.assert_failure(1, &["errcode -501004 ", "(tried 2 times)"]);
    assert_eq!(world.count(Step::Info), 2);
}

/// COS refuses an upload at its end, if its signature has expired by then.
fn expired() -> Fault {
    Fault::cos_error(403, "AccessDenied")
}

#[test]
fn uploads_that_outlive_their_signatures_are_fewer_at_once() {
    if not_under_wine("a run that is quick enough for signatures of one second") {
        return;
    }
    const FILES: usize = 12;
    let world = World::with_many(FILES);
    world
        .stand_in
        .set_signature_lifetime(Duration::from_secs(1));
    // Two uploads together take 0.8 s, four take 1.6 s.
    let takes = Duration::from_millis(400);
    let line = thin_line(1, takes, Duration::from_millis(1_200), expired());
    world.stand_in.fault(Step::Upload, When::Always, line);
    let ran = world.run(["-j", "8", "--retries", "0", "files"]);
    assert_adapted(&ran, FILES, "but a signature lives 1 s");
    assert_eq!(world.keys().len(), FILES);
}

#[test]
fn an_upload_that_alone_outlives_its_signature_fails_with_both_times() {
    for (language, told) in [
        (
            "en",
            "the answer came 1 s after the signature was made, but a signature lives 1 s",
        ),
        ("zh", "收到应答时签名已过去 1 秒，而签名的有效期只有 1 秒"),
    ] {
        let world = World::with_files(&["a.txt"]);
        world
            .stand_in
            .set_signature_lifetime(Duration::from_secs(1));
        let hour = Duration::from_secs(3600);
        let line = thin_line(1, hour, Duration::from_millis(1_200), expired());
        world.stand_in.fault(Step::Upload, When::Always, line);
        let mut command = world.command(["a.txt"]);
        command.env("WX_LANG", language);
        let ran = world.finish(command);
        ran.assert_failure(1, &["error: a.txt: 上传文件失败: HTTP 403", told]);
        assert_eq!(world.count(Step::Upload), 1, "{}", ran.stderr);
    }
}
