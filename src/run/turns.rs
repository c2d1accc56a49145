//! Makes each call when it is its turn, as the pace of the run allows it (`pace.rs`), and sets the pace by
//! the answer. Tells the user when the run slows down or waits.
//!
//! This file does not know how a request is made: it is given a function to call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::pace::{Begun, PATIENCE, Pace, Verdict};
use super::retry::LONGEST_WAIT;
use crate::cli::Console;
use crate::failure::{Cure, Failure, Kind, Obstacle, Stage};
use crate::stop::{Stop, StopSignal};
use crate::words::{either, words};

/// Makes the calls of a run in their turn.
pub struct Turns<'a> {
    console: &'a Console,
    stop: &'a StopSignal,
    pace: Arc<Pace>,
    noted_slow_down: AtomicBool,
    noted_network: AtomicBool,
    has_upload_got_through: AtomicBool,
}

impl Turns<'_> {
    /// Never lets more than `jobs` uploads be under way at once.
    pub fn new<'a>(jobs: usize, console: &'a Console, stop: &'a StopSignal) -> Turns<'a> {
        let pace = Arc::new(Pace::new(jobs));
        let waits = Arc::clone(&pace);
        stop.when_stopped(move || waits.wake_all());
        Turns {
            console,
            stop,
            pace,
            noted_slow_down: AtomicBool::new(false),
            noted_network: AtomicBool::new(false),
            has_upload_got_through: AtomicBool::new(false),
        }
    }

    /// Makes one call of a service as soon as the pace of the run allows it. The service's answer then
    /// sets the pace. The first call that `is_proxied` goes alone: a proxy that wants another password (HTTP
    /// 407) may lock the account after a few wrong ones.
    pub fn call<T>(
        &self,
        stage: Stage,
        is_proxied: bool,
        call: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let is_over = || self.stop.is_over(stage);
        let Some(begun) = self.pace.begin(stage, is_proxied, is_over) else {
            return Err(Failure::stopped(stage));
        };
        if is_proxied
            && let Some(Stop::Failed(failure)) = self.stop.reason()
            && failure.kind == Kind::Proxy
        {
            // A stop does not end calls for links, and eight of them may have waited for the first
            // answer.
            self.pace.failed(&begun, Instant::now());
            return Err(Failure::stopped(stage));
        }
        match call() {
            Ok(value) => {
                self.go_on(&begun, stage);
                Ok(value)
            }
            // Another call failed within this one: an upload can ask for a new signature. That call has
            // set the pace of its own step.
            Err(failure) if failure.stage != stage => {
                self.pace.failed(&begun, Instant::now());
                Err(failure)
            }
            Err(failure) => Err(self.adapt_to(&begun, failure)),
        }
    }

    /// Whether COS has answered an upload, and did not refuse it for the pace.
    pub fn has_upload_got_through(&self) -> bool {
        self.has_upload_got_through.load(Ordering::Relaxed)
    }

    /// Sets the pace after a call that failed, and tells the user if it changes. Returns the failure,
    /// with another cure if the pace cannot help.
    fn adapt_to(&self, begun: &Begun, failure: Failure) -> Failure {
        let obstacle = match failure.cure {
            Cure::SlowDown(Obstacle::TooFast(wait)) => Obstacle::TooFast(wait.min(LONGEST_WAIT)),
            Cure::SlowDown(obstacle) => obstacle,
            _ => {
                self.end(begun, &failure);
                return failure;
            }
        };
        match self.pace.refused(begun, obstacle, Instant::now()) {
            Verdict::CostsNoTry => {
                self.tell_of(obstacle, &failure);
                failure
            }
            // Alone it took too long, too.
            Verdict::CostsATry if failure.kind == Kind::SignatureTooOld => {
                failure.with_cure(Cure::Nothing)
            }
            Verdict::CostsATry => failure.with_cure(Cure::TRY_AGAIN),
            Verdict::GiveUp => {
                let (why, minutes) = (&failure.message, PATIENCE.as_secs() / 60);
                Failure {
                    cure: Cure::StopRun,
                    message: words!(
                        "{why}: nothing got through for {minutes} minutes: try again later",
                        "{why}；{minutes} 分钟内没有一次成功：请稍后再试"
                    ),
                    ..failure
                }
            }
        }
    }

    /// Ends a call whose failure has nothing to do with the pace.
    fn end(&self, begun: &Begun, failure: &Failure) {
        if failure.cure == Cure::StopRun {
            // The run is stopped before the next call may begin.
            self.stop.stop(Stop::Failed(failure.clone()));
        }
        if failure.kind.is_without_connection() {
            // The tries can take half a minute before an error tells why.
            self.console
                .progress
                .show_waiting(Some(reason(Obstacle::NobodyThere)));
        }
        match failure.kind {
            // The service did not answer, so nothing is known about its pace.
            Kind::Local | Kind::Network(_) | Kind::Proxy => self.pace.failed(begun, Instant::now()),
            // The service answered: the call failed, but it got through.
            _ => self.go_on(begun, failure.stage),
        }
    }

    /// Notes that a call got through, and shows what the run still waits for.
    fn go_on(&self, begun: &Begun, stage: Stage) {
        if stage == Stage::Upload {
            self.has_upload_got_through.store(true, Ordering::Relaxed);
        }
        let held_for = self.pace.got_through(begun, Instant::now());
        self.console.progress.show_waiting(held_for.map(reason));
    }

    /// Tells why the run adapts its pace, in a note the first time. The progress tells it, too, but not
    /// after *too many at once*: most often other calls are under way then.
    fn tell_of(&self, obstacle: Obstacle, failure: &Failure) {
        let why = &failure.message;
        let (noted, reaction) = match obstacle {
            Obstacle::TooFast(_) | Obstacle::TooMany => (
                &self.noted_slow_down,
                either("the run slows down and goes on", "放慢速度，继续上传"),
            ),
            Obstacle::NobodyThere => (
                &self.noted_network,
                either("the run waits for the network", "等待网络恢复"),
            ),
        };
        if !noted.swap(true, Ordering::Relaxed) {
            self.console
                .note(&words!("{why}: {reaction}", "{why}；{reaction}"));
        }
        if obstacle != Obstacle::TooMany {
            self.console.progress.show_waiting(Some(reason(obstacle)));
        }
    }
}

/// What the progress says about a run that waits.
fn reason(obstacle: Obstacle) -> &'static str {
    match obstacle {
        Obstacle::TooFast(_) | Obstacle::TooMany => {
            either("the service asked to slow down", "服务要求放慢")
        }
        Obstacle::NobodyThere => either("no connection can be made", "无法建立连接"),
    }
}
