//! What goes on beside the uploads: step 2 of the next files, and calls for links beside each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use stand_in::{Fault, Request, Step, When};

use crate::harness::{Gate, PATIENCE, World, key};

// ---- Step 2 of the next files -------------------------------------------------------------------

#[test]
fn while_files_are_on_their_way_the_next_ones_have_their_signatures() {
    for (jobs, ahead) in [(1, 1), (3, 3), (20, 16)] {
        let files = 3 * (jobs + ahead);
        let world = World::with_many(files);
        world
            .stand_in
            .fault(Step::Upload, When::Always, Fault::Hold);
        let child = world.start(["-j", &jobs.to_string(), "files"]);
        assert!(world.stand_in.wait_for(Step::Info, jobs + ahead, PATIENCE));
        assert!(world.stand_in.wait_for(Step::Upload, jobs, PATIENCE));
        world.stand_in.open_gate();
        world.wait(child).assert_success();
        assert_eq!(world.stand_in.max_concurrent_uploads(), jobs);
        assert_eq!(world.keys().len(), files);
        assert_eq!(world.count(Step::Info), files);
        world.assert_proper();
    }
}

/// The time of a service in the same region.
const A_FEW_MS: Duration = Duration::from_millis(4);

#[test]
fn beside_uploads_of_a_few_milliseconds_the_next_signature_is_asked_for() {
    let world = World::with_many(20);
    let is_on_its_way = Arc::new(AtomicBool::new(false));
    let was_beside = Arc::new(AtomicBool::new(false));
    let on_its_way = Arc::clone(&is_on_its_way);
    let upload = Fault::after_body(move |_| {
        on_its_way.store(true, Ordering::SeqCst);
        thread::sleep(A_FEW_MS);
        on_its_way.store(false, Ordering::SeqCst);
        None
    });
    let beside = Arc::clone(&was_beside);
    let info = Fault::custom(move |_| {
        beside.fetch_or(is_on_its_way.load(Ordering::SeqCst), Ordering::SeqCst);
        thread::sleep(A_FEW_MS);
        None
    });
    world.stand_in.fault(Step::Upload, When::Always, upload);
    world.stand_in.fault(Step::Info, When::Always, info);
    world.run(["-j", "1", "files"]).assert_success();
    assert!(was_beside.load(Ordering::SeqCst));
}

/// A world whose first upload, of `a.txt`, is under way, while `b.txt` waits for its turn.
fn with_b_waiting() -> (World, std::process::Child) {
    let world = World::with_files(&["a.txt", "b.txt"]);
    // A waiting upload gets a new signature after a tenth of this time.
    world
        .stand_in
        .set_signature_lifetime(Duration::from_secs(5));
    let a_is_on_its_way = Gate::default();
    let hold = a_is_on_its_way.hold();
    world.stand_in.fault(Step::Info, key("b.txt"), hold);
    world
        .stand_in
        .fault(Step::Upload, key("a.txt"), Fault::Hold);
    let child = world.start(["-j", "1", "a.txt", "b.txt"]);
    assert!(world.stand_in.wait_for(Step::Upload, 1, PATIENCE));
    assert!(world.stand_in.wait_for(Step::Info, 2, PATIENCE));
    a_is_on_its_way.open();
    (world, child)
}

#[test]
fn an_upload_that_waited_for_long_begins_with_a_new_signature() {
    let (world, child) = with_b_waiting();
    thread::sleep(Duration::from_millis(600));
    world.stand_in.open_gate();
    world.wait(child).assert_success();
    let is_of_b = |request: &&Request| request.json()["path"] == "temp3/b.txt";
    let calls = world.stand_in.requests(Step::Info);
    assert_eq!(calls.iter().filter(is_of_b).count(), 2);
    world.assert_proper();
}

#[test]
fn a_file_that_changes_while_it_waits_is_sent_as_it_is_then() {
    let (world, child) = with_b_waiting();
    world.file("b.txt", "another text");
    world.stand_in.open_gate();
    world.wait(child).assert_success();
    assert_eq!(
        world.stand_in.objects()["temp3/b.txt"].bytes.as_deref(),
        Some(&b"another text"[..])
    );
}

#[test]
fn a_run_that_is_stopped_ends_the_waits_for_a_turn() {
    for (jobs, ahead) in [(1, 1), (20, 16)] {
        let world = World::with_many(100);
        let gate = Gate::default();
        let opened = gate.clone();
        let arrears = Fault::after_body(move |_| {
            opened.wait();
            Some(Fault::cos_error(451, "UnavailableForLegalReasons"))
        });
        world.stand_in.fault(Step::Upload, When::Always, arrears);
        let child = world.start(["-j", &jobs.to_string(), "files"]);
        assert!(world.stand_in.wait_for(Step::Info, jobs + ahead, PATIENCE));
        assert!(world.stand_in.wait_for(Step::Upload, jobs, PATIENCE));
        gate.open();
        let ran = world.wait(child);
        ran.assert_failure(1, &["the run was stopped", "100 not attempted"]);
        assert!(world.count(Step::Upload) <= jobs + ahead);
    }
}

// ---- Calls for links ----------------------------------------------------------------------------

/// The number of files in each call for links.
fn files_in_calls(world: &World) -> Vec<usize> {
    let calls = world.stand_in.requests(Step::Link);
    let files = |call: &Request| call.json()["file_list"].as_array().unwrap().len();
    calls.iter().map(files).collect()
}

#[test]
fn up_to_eight_calls_for_links_go_out_beside_each_other() {
    // The first call has at most 50 files. Then there are eight full ones, and some files are left.
    const FILES: usize = 50 + 8 * 50 + 20;
    let world = World::with_many(FILES);
    let (first, later) = (Gate::default(), Gate::default());
    world.stand_in.fault(Step::Link, When::Once, first.hold());
    world.stand_in.fault(Step::Link, When::Always, later.hold());
    let child = world.start(["-f", "url", "files"]);
    assert!(world.stand_in.wait_for(Step::Upload, FILES, PATIENCE));
    first.open();
    assert!(world.stand_in.wait_for(Step::Link, 1 + 8, PATIENCE));
    assert_eq!(files_in_calls(&world)[1..], [50; 8]);
    later.open();
    let ran = world.wait(child);
    let urls = ran.assert_success().lines();
    let in_order = |(n, url): (usize, &&str)| url.contains(&format!("{n:03}"));
    assert!(urls.len() == FILES && urls.iter().enumerate().all(in_order));
    assert_eq!(files_in_calls(&world).iter().sum::<usize>(), FILES);
}

#[test]
fn beside_a_call_for_links_only_a_full_one_goes_out() {
    const FILES: usize = 40;
    let world = World::with_many(FILES);
    let gate = Gate::default();
    world.stand_in.fault(Step::Link, When::Once, gate.hold());
    let child = world.start(["-j", "4", "files"]);
    assert!(world.stand_in.wait_for(Step::Upload, FILES, PATIENCE));
    assert_eq!(world.count(Step::Link), 1);
    gate.open();
    assert_eq!(world.wait(child).assert_success().lines().len(), FILES);
}

#[test]
fn a_run_that_is_stopped_still_gets_all_links_of_what_it_has_uploaded() {
    const FILES: usize = 130;
    let world = World::with_many(FILES);
    let gate = Gate::default();
    world.stand_in.fault(Step::Link, When::Always, gate.hold());
    // The last file stops the run while the first call for links has no answer.
    let last = key(format!("{:03}", FILES - 1));
    let arrears = Fault::cos_error(451, "UnavailableForLegalReasons");
    world.stand_in.fault(Step::Upload, last.clone(), arrears);
    let others_are_sent = Gate::default();
    world
        .stand_in
        .fault(Step::Info, last, others_are_sent.hold());
    let child = world.start(["-j", "1", "files"]);
    assert!(world.stand_in.wait_for(Step::Upload, FILES - 1, PATIENCE));
    others_are_sent.open();
    assert!(world.stand_in.wait_for(Step::Upload, FILES, PATIENCE));
    gate.open();
    let ran = world.wait(child);
    let uploaded = format!("{} uploaded", FILES - 1);
    ran.assert_failure(1, &["the run was stopped", &uploaded, "1 not attempted"]);
    assert_eq!(ran.lines().len(), FILES - 1);
}
