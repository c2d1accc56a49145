//! A network that goes away and comes back: that costs time, and no file.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::json;
use stand_in::{Fault, StandIn, Step, When};

use crate::faults::refusing_port;
use crate::harness::{
    Gate, PATIENCE, Ran, World, file_id, key, not_on_windows, side_by_side, spawn,
};
use crate::pace::run_for_long;
use crate::unix::{is_installed, skipped, through};

/// Longer than a file is tried: 3.5 s.
const FOR_A_WHILE: Duration = Duration::from_secs(6);

/// Lets the network go away: all connections break, and no new one can be made.
fn go_away(stand_in: &StandIn) {
    stand_in.close_port();
    stand_in.break_connections();
}

/// Checks that all went well, and that a note told about the network, and nothing more.
fn assert_waited_for_network(ran: &Ran, files: usize) {
    let counts = format!("{files} uploaded");
    ran.assert_failure(0, &[&counts, "note: ", ": the run waits for the network"]);
    // There is also a note a minute.
    let lines = ran.stderr.lines().filter(|line| !line.contains(" files, "));
    assert_eq!(lines.count(), 2, "{}", ran.stderr);
    assert_eq!(ran.lines().len(), files);
}

#[test]
fn a_network_that_is_away_for_25_s_costs_no_file() {
    const FILES: usize = 400;
    let cases = ["8", "64"].map(|jobs| (format!("{jobs} jobs"), jobs));
    side_by_side(cases, |jobs| {
        let world = World::with_many(FILES);
        let child = world.start(["-j", jobs, "files"]);
        assert!(world.stand_in.wait_for(Step::Upload, FILES / 2, PATIENCE));
        go_away(&world.stand_in);
        thread::sleep(Duration::from_secs(25));
        world.stand_in.open_port();
        let ran = world.wait(child);
        assert_waited_for_network(&ran, FILES);
        assert_eq!(world.keys().len(), FILES);
        world.assert_proper();
    });
}

#[test]
fn an_upload_that_breaks_with_the_network_costs_no_try() {
    let cases = ["1", "8"].map(|jobs| (format!("{jobs} jobs"), jobs));
    side_by_side(cases, |jobs| {
        let world = World::with_many(8);
        world
            .stand_in
            .fault(Step::Upload, When::Nth(1), Fault::Silence);
        let child = world.start(["-j", jobs, "--retries", "0", "files"]);
        assert!(world.stand_in.wait_for(Step::Upload, 1, PATIENCE));
        go_away(&world.stand_in);
        thread::sleep(FOR_A_WHILE);
        world.stand_in.open_port();
        assert_waited_for_network(&world.wait(child), 8);
    });
}

#[test]
fn an_upload_that_goes_silent_with_the_network_costs_no_try() {
    let world = World::with_files(&["a.txt"]);
    world
        .stand_in
        .fault(Step::Upload, When::Once, Fault::Silence);
    let child = world.start(["--timeout", "2", "--retries", "0", "a.txt"]);
    assert!(world.stand_in.wait_for(Step::Upload, 1, PATIENCE));
    world.stand_in.close_port();
    thread::sleep(FOR_A_WHILE);
    world.stand_in.open_port();
    assert_waited_for_network(&world.wait(child), 1);
}

#[test]
fn links_wait_for_the_network() {
    // COS is another machine, and stays.
    let cos = StandIn::http();
    let world = World::with_many(3);
    let go_on = Gate::default();
    let hold = go_on.hold();
    world.stand_in.set_upload_origin(&cos.base());
    world.stand_in.fault(Step::Link, When::Once, hold);
    cos.fault(Step::Upload, When::Always, Fault::status(204, &[], ""));
    let child = world.start(["--retries", "0", "files"]);
    assert!(world.stand_in.wait_for(Step::Link, 1, PATIENCE));
    go_away(&world.stand_in);
    go_on.open();
    thread::sleep(FOR_A_WHILE);
    let answer = Fault::edit(|reply| {
        for entry in reply["file_list"].as_array_mut().unwrap() {
            entry["status"] = json!(0);
            entry["errmsg"] = json!("ok");
            entry["download_url"] = json!("https://x/");
        }
    });
    world.stand_in.fault(Step::Link, When::Always, answer);
    world.stand_in.open_port();
    assert_waited_for_network(&world.wait(child), 3);
}

#[cfg(target_os = "linux")]
#[test]
fn one_at_a_time_tries_whether_the_network_is_back() {
    if not_on_windows("system calls that strace shows") {
        return;
    }
    if !is_installed("strace") {
        return skipped("strace");
    }
    let world = World::with_many(300);
    let trace = ["strace", "-f", "-ttt", "-e", "trace=connect", "-o", "trace"];
    let command = world.command(["-j", "64", "files"]);
    let child = spawn(through(&trace, &command));
    assert!(world.stand_in.wait_for(Step::Upload, 100, PATIENCE));
    go_away(&world.stand_in);
    thread::sleep(Duration::from_secs(2)); // all of them notice
    let seconds = || UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let began = seconds();
    thread::sleep(FOR_A_WHILE);
    let ended = seconds();
    world.stand_in.open_port();
    assert_waited_for_network(&world.wait(child), 300);
    let trace = fs::read_to_string(world.path("trace")).unwrap();
    let tries = trace.lines().filter(|line| {
        let time: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        line.contains("connect(") && (began..ended).contains(&time)
    });
    // One at each of the three steps each half second.
    let tries = tries.count();
    assert!((3..=3 * 13).contains(&tries), "{tries}: {trace}");
}

/// One file whose upload URL names a host that is not there says nothing about the network.
#[test]
fn a_wrong_upload_url_is_not_taken_for_a_network_that_is_away() {
    let (_socket, port) = refusing_port();
    let world = World::with_many(50);
    let dead = format!("http://127.0.0.1:{port}/cos");
    let answer = Fault::edit(move |reply| reply["url"] = json!(dead));
    world.stand_in.fault(Step::Info, key("007"), answer);
    let ran = world.run(["--retries", "1", "files"]);
    ran.assert_failure(
        1,
        &["49 uploaded", "1 failed", "error: files/007: ", "refused"],
    );
    assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
}

#[test]
fn a_network_that_was_never_there_ends_the_run_within_15_s() {
    let (_socket, port) = refusing_port();
    let dead = format!("http://127.0.0.1:{port}");
    type Setting<'a> = (&'static str, &'a dyn Fn(&World));
    let settings: [Setting; 3] = [
        ("no API, and no token", &|world| {
            world.configure(json!({ "api_base": dead }));
        }),
        ("no API, and a token", &|world| {
            world.save_token("saved", json!({ "api_base": dead }));
        }),
        ("no COS", &|world| world.stand_in.set_upload_origin(&dead)),
    ];
    for (name, set) in settings {
        let world = World::with_many(100);
        set(&world);
        let ran = world.run(["files"]);
        ran.assert_failure(1, &["refused", "the run was stopped"]);
        assert!(
            ran.elapsed < Duration::from_secs(15),
            "{name}: {:?}",
            ran.elapsed
        );
    }
}

/// Runs the program to its end, which comes when the network has been away for three minutes.
fn run_until_it_gives_up(world: &World, step: Step, calls: usize, arguments: &[&str]) -> Ran {
    let (status, stderr, waited) = thread::scope(|scope| {
        let leaver = scope.spawn(|| {
            assert!(world.stand_in.wait_for(step, calls, PATIENCE));
            go_away(&world.stand_in);
            Instant::now()
        });
        let (status, stderr) = run_for_long(world, arguments);
        (status, stderr, leaver.join().unwrap().elapsed().as_secs())
    });
    assert!((180..200).contains(&waited), "{waited}: {stderr}");
    let ran = Ran {
        status,
        stdout: String::new(),
        stderr,
        elapsed: Duration::from_secs(waited),
        peak_kib: 0,
    };
    let words = [
        ": the run waits for the network\n",
        ": nothing got through for 3 minutes: try again later",
    ];
    ran.assert_failure(1, &words);
    ran
}

/// Takes three minutes: `.ci/run` runs it.
#[test]
#[ignore = "takes three minutes"]
fn a_network_that_stays_away_for_three_minutes_stops_the_run() {
    const FILES: usize = 400;
    let world = World::with_many(FILES);
    let ran = run_until_it_gives_up(&world, Step::Upload, FILES / 2, &["files"]);
    ran.assert_failure(1, &["try again later; the run was stopped\n"]);
    ran.assert_ended(FILES);
    assert!(ran.count("uploaded") + ran.count("failed") >= FILES / 2 - 8);
}

/// The second upload is under way for longer than the three minutes. Then the network goes away again.
///
/// Takes three minutes: `.ci/run` runs it.
#[test]
#[ignore = "takes three minutes"]
fn each_outage_has_its_own_three_minutes() {
    let cos = StandIn::http();
    cos.fault(Step::Upload, When::Times(2), Fault::Silence);
    cos.fault(Step::Upload, When::Always, Fault::status(204, &[], ""));
    let world = World::with_files(&["a.txt"]);
    world.stand_in.set_upload_origin(&cos.base());
    thread::scope(|scope| {
        scope.spawn(|| {
            for (upload, lasts) in [(1, 0), (2, 190)] {
                assert!(cos.wait_for(Step::Upload, upload, PATIENCE));
                thread::sleep(Duration::from_secs(lasts));
                go_away(&cos);
                thread::sleep(FOR_A_WHILE);
                cos.open_port();
            }
        });
        let arguments = ["--retries", "0", "--timeout", "600", "a.txt"];
        let (status, stderr) = run_for_long(&world, &arguments);
        // The API knows nothing about this COS.
        let stored = "COS took the file, but the API does not find it yet";
        assert!(status == Some(1) && stderr.contains(stored), "{stderr}");
    });
    assert_eq!(cos.count(Step::Upload), 3);
}

/// Takes three minutes: `.ci/run` runs it.
#[test]
#[ignore = "takes three minutes"]
fn links_that_the_network_keeps_away_leave_the_file_id() {
    let cos = StandIn::http();
    cos.fault(Step::Upload, When::Always, Fault::status(204, &[], ""));
    let world = World::with_files(&["a.txt"]);
    world.stand_in.set_upload_origin(&cos.base());
    let silence = Fault::Silence;
    world.stand_in.fault(Step::Link, When::Once, silence);
    let ran = run_until_it_gives_up(&world, Step::Link, 1, &["a.txt"]);
    ran.assert_failure(1, &["error: a.txt: 获取下载链接失败: ", &file_id("a.txt")]);
}

/// Takes three minutes: `.ci/run` runs it.
#[test]
#[ignore = "takes three minutes"]
fn a_run_that_was_suspended_while_it_waited_for_the_network_goes_on() {
    const FILES: usize = 400;
    let world = World::with_many(FILES);
    let child = world.start(["files"]);
    assert!(world.stand_in.wait_for(Step::Upload, FILES / 2, PATIENCE));
    go_away(&world.stand_in);
    let signal = |name: &str| {
        let mut kill = Command::new("kill");
        kill.args([name, &child.id().to_string()]);
        assert!(kill.status().unwrap().success());
    };
    thread::sleep(FOR_A_WHILE);
    signal("-STOP");
    thread::sleep(Duration::from_secs(190));
    signal("-CONT");
    thread::sleep(FOR_A_WHILE);
    world.stand_in.open_port();
    assert_waited_for_network(&world.wait(child), FILES);
}
