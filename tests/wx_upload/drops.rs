//! Servers that drop connections without a word: no file is lost, and no try is spent.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use stand_in::{Fault, Request, StandIn, Step, When};

use crate::harness::{World, assert_takes, at_once};

/// The services that drop connections.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Which {
    Api,
    Cos,
    Both,
    /// Both, and both have one host.
    OneHost,
}

/// A world with this number of files of 20 kB. COS has a host of its own, unless there is one host.
fn world(is_https: bool, which: Which, files: usize) -> World {
    let stand_in = if is_https {
        StandIn::https()
    } else {
        StandIn::http()
    };
    if which != Which::OneHost {
        let cos = stand_in.base().replace("127.0.0.1", "localhost");
        stand_in.set_upload_origin(&cos);
    }
    let world = World::with(stand_in);
    for n in 0..files {
        world.file(format!("files/{n:03}"), vec![n as u8; 20_000]);
    }
    world
}

/// Makes the services misbehave after each answer.
fn misbehave(world: &World, which: Which, fault: &Fault) {
    let steps: &[Step] = match which {
        Which::Api => &[Step::Token, Step::Info, Step::Link],
        Which::Cos => &[Step::Upload],
        Which::Both | Which::OneHost => &[Step::Token, Step::Info, Step::Link, Step::Upload],
    };
    for &step in steps {
        world.stand_in.fault(step, When::Always, fault.clone());
    }
}

/// Runs with no further tries, so that each try that is spent loses a file.
fn assert_nothing_is_lost(world: &World, jobs: usize, files: usize, options: &[&str]) {
    let jobs = jobs.to_string();
    let mut arguments = vec!["-j", &jobs, "--retries", "0", "files"];
    arguments.extend(options);
    let ran = world.run(arguments);
    ran.assert_success();
    assert_eq!(world.keys().len(), files);
    world.assert_proper();
}

/// All cases of services and delays in milliseconds.
fn assert_drops_cost_nothing(files: usize, jobs: usize, is_https: &[bool]) {
    let mut cases = Vec::new();
    for which in [Which::Api, Which::Cos, Which::Both, Which::OneHost] {
        for millis in [0, 10, 100, 500, 2_000] {
            for &is_https in is_https {
                let case = (which, millis, is_https);
                cases.push((format!("{case:?}"), case));
            }
        }
    }
    // A job has up to 3 connections. Each is a descriptor of this process, which may have but 256.
    at_once((64 / jobs).min(16), cases, |(which, millis, is_https)| {
        let world = world(is_https, which, files);
        let fault = Fault::DropAfter(Duration::from_millis(millis));
        misbehave(&world, which, &fault);
        assert_nothing_is_lost(&world, jobs, files, &[]);
    });
}

#[test]
fn a_dropped_connection_costs_no_try() {
    assert_drops_cost_nothing(12, 4, &[false]);
}

#[test]
#[ignore = "takes minutes"]
fn no_file_of_60_is_lost_to_dropped_connections() {
    for jobs in [1, 8, 64] {
        assert_drops_cost_nothing(60, jobs, &[false, true]);
    }
}

#[test]
fn a_connection_that_ignores_its_second_request_costs_the_timeout_alone() {
    for which in [Which::Api, Which::Cos, Which::OneHost] {
        let world = world(false, which, 8);
        misbehave(&world, which, &Fault::Deaf);
        assert_nothing_is_lost(&world, 2, 8, &["--timeout", "1"]);
    }
}

/// FIN can come long after TLS's `close_notify`, or never.
#[test]
fn a_connection_that_tls_has_ended_and_tcp_has_not_costs_no_try() {
    let world = world(true, Which::OneHost, 8);
    misbehave(&world, Which::OneHost, &Fault::CloseNotify);
    assert_nothing_is_lost(&world, 2, 8, &[]);
}

#[test]
fn after_three_drops_a_host_s_connections_are_not_used_again() {
    let world = world(false, Which::OneHost, 30);
    misbehave(&world, Which::OneHost, &Fault::Deaf);
    // Each drop costs the timeout of 1 s. Without a limit there are some 60.
    assert_takes([2.0..10.0], || {
        let ran = world.run(["-j", "1", "--timeout", "1", "--retries", "0", "files"]);
        ran.assert_success();
        [ran.elapsed.as_secs_f64()]
    });
}

#[test]
fn a_balancer_that_closes_each_connection_at_its_third_request_costs_no_file() {
    for is_https in [false, true] {
        let world = world(is_https, Which::OneHost, 20);
        let requests: Mutex<HashMap<usize, usize>> = Mutex::default();
        let close = Fault::custom(move |request: &Request| {
            let mut requests = requests.lock().unwrap();
            let count = requests.entry(request.connection).or_default();
            *count += 1;
            (*count == 3).then_some(Fault::Close)
        });
        misbehave(&world, Which::OneHost, &close);
        assert_nothing_is_lost(&world, 4, 20, &[]);
    }
}

#[test]
fn a_large_upload_on_a_dropped_connection_is_tried_again_on_a_new_one() {
    let world = World::http();
    for n in 0..12 {
        world.file(format!("files/{n:03}"), vec![n; 300_000]);
    }
    misbehave(
        &world,
        Which::OneHost,
        &Fault::DropAfter(Duration::from_millis(50)),
    );
    world.run(["-j", "4", "files"]).assert_success();
    assert_eq!(world.keys().len(), 12);
}

#[test]
fn a_reset_in_the_middle_of_a_large_body_is_a_try() {
    let world = World::http();
    world.file("a", vec![1; 400_000]);
    world.file("b", vec![2; 400_000]);
    let reset = Fault::ResetAt(300_000);
    world.stand_in.fault(Step::Upload, When::Nth(2), reset);
    let ran = world.run(["-j", "1", "--retries", "0", "a", "b"]);
    ran.assert_failure(1, &[": 上传文件失败: ", "1 uploaded", "1 failed"]);
    assert_eq!(world.count(Step::Upload), 2);
}
