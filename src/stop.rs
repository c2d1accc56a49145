//! Whether the run goes on. A failure that every other file would meet stops it.
//!
//! The run stops:
//!
//! - after a failure with the cure `StopRun`: every other file would fail, too;
//! - if nothing has succeeded yet, and 8 files that got as far as the network have failed. The network is
//!   down, say, or a firewall is in the way. (A link that is refused for good does not count: the
//!   call itself got through.) A run of 10,000 files then costs 4 s (44 s if the firewall
//!   does not answer), and not hours. 8 is the default of `--jobs`: with a lower limit the run would
//!   stop although some of the first uploads may still succeed. Those 8 files have failed. A file that
//!   fails after them counts as not attempted.
//!
//! A run that is stopped takes no more files, and ends the waits of uploads, but for a wait for a file's lock
//! (`disk.rs`). It still asks for the links of all that it has uploaded, with all tries: an upload without
//! its link is lost work.
//!
//! Makes no call, and prints nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Cure, Failure, Kind, Stage};

/// The run stops when this number of files have failed, and nothing has succeeded.
pub const FAILED_TO_STOP: usize = 8;
/// A thread that waits looks again at this interval: the time for which it waits may have come, or the
/// run may be stopped. Nothing else wakes the thread for these.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why a run was stopped.
pub enum Stop {
    /// Every other file would fail in this way, too.
    Failed(Failure),
    /// Nothing had succeeded when `FAILED_TO_STOP` files had failed.
    NothingSucceeded,
    /// Something on this machine, in a sentence.
    OnThisMachine(String),
}

/// Tells all threads whether the run is stopped.
#[derive(Default)]
pub struct StopSignal {
    stop: OnceLock<Stop>,
    has_succeeded: AtomicBool,
    /// Files that got as far as the network and failed.
    failed: AtomicUsize,
    /// Ends the waits that look at no clock.
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl StopSignal {
    /// Stops the run. The first reason is the one that is told.
    pub fn stop(&self, why: Stop) {
        let _ = self.stop.set(why); // an error: there was a reason already
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }

    /// Calls `wake` when the run is stopped.
    pub fn when_stopped(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.wake.set(Box::new(wake)); // it is set once, when the run begins
    }

    /// Returns why the run was stopped, if it was.
    pub fn reason(&self) -> Option<&Stop> {
        self.stop.get()
    }

    /// Whether `stage` waits no more, because the run is stopped. The links of what was uploaded are
    /// still waited for, and the token that they need.
    pub fn is_over(&self, stage: Stage) -> bool {
        self.reason().is_some() && matches!(stage, Stage::Info | Stage::Upload)
    }

    /// Waits for this time, or until `stage` waits no more.
    pub fn sleep(&self, time: Duration, stage: Stage) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.is_over(stage) {
            let left = until.saturating_duration_since(Instant::now());
            thread::sleep(left.min(LOOK_EVERY));
        }
    }

    /// Notes that a file is in the cloud or has its link. From now on a failure concerns one file.
    pub fn note_success(&self) {
        self.has_succeeded.store(true, Ordering::Relaxed);
    }

    /// Notes that a file has failed for good, and stops the run if the others would fail, too.
    /// Returns the failure. Its cure is also `StopRun` if 8 files have failed before: then the file
    /// counts as not attempted, as with a failure that stops the run by itself.
    pub fn note_failure(&self, failure: Failure) -> Failure {
        if failure.cure == Cure::StopRun {
            self.stop(Stop::Failed(failure.clone()));
            return failure;
        }
        if failure.kind == Kind::Local || self.has_succeeded.load(Ordering::Relaxed) {
            return failure;
        }
        let failed = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
        if failed == FAILED_TO_STOP {
            self.stop(Stop::NothingSucceeded);
        }
        if failed > FAILED_TO_STOP {
            return failure.with_cure(Cure::StopRun);
        }
        failure
    }
}

/// Waits until `changed` is notified, or for a moment: then the caller looks whether its wait is over.
pub fn wait_a_moment<'a, T>(changed: &Condvar, state: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    let (state, _) = changed.wait_timeout(state, LOOK_EVERY).unwrap();
    state
}
