//! How a run goes about what fails: tries it again, slows down, or stops.
//!
//! Knows nothing of requests: what is tried is a function that it is given.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Cure, Failure, Kind, Stage};
use crate::output::Console;
use crate::pace::{Begun, Flow, Pace, Refused, STOP_SEEN_WITHIN};

/// The longest wait that a server's `Retry-After` can ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Where so many files fail alike before one succeeds, the others will, too.
const ALIKE_TO_STOP: usize = 8;

/// The course of a run: how often it tries again, how fast it goes, and whether it goes on at all.
pub struct Course<'a> {
    retries: u32,
    console: &'a Console,
    pace: Pace,
    told_to_slow_down: AtomicBool,
    beginning: Mutex<Beginning>,
    stopped: OnceLock<String>,
}

/// What became of the first files that got as far as the network.
enum Beginning {
    Unknown,
    /// So many files failed like this one, and nothing has succeeded.
    Alike {
        files: usize,
        first: Failure,
    },
    /// Something succeeded, or two files failed differently.
    Mixed,
}

impl Course<'_> {
    /// A run that tries so often after the first time, and tells `console` when it slows down.
    pub fn new(retries: u32, console: &Console) -> Course<'_> {
        Course {
            retries,
            console,
            pace: Pace::new(),
            told_to_slow_down: AtomicBool::new(false),
            beginning: Mutex::new(Beginning::Unknown),
            stopped: OnceLock::new(),
        }
    }

    /// Lets no more files be taken. The first reason is the one that is told.
    pub fn stop(&self, why: String) {
        let _ = self.stopped.set(why); // an error means that there was a reason already
    }

    /// Why the run takes no more files, if it does not.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.get().map(String::as_str)
    }

    /// Stops the run because of `failure`.
    pub fn stop_for(&self, failure: Failure) -> Failure {
        self.stop(failure.message.clone());
        Failure {
            cure: Cure::StopRun,
            ..failure
        }
    }

    /// Whether it is too late for a step: a run that is stopped uploads no more, but asks for the
    /// links of what it has uploaded.
    fn is_over(&self, stage: Stage) -> bool {
        self.stopped().is_some() && matches!(stage, Stage::Info | Stage::Upload)
    }

    /// The one retry loop: runs `attempt` until it succeeds, fails for good, or the tries are used
    /// up. A failure that no other file will escape stops the run.
    pub fn with_retries<T>(
        &self,
        stage: Stage,
        mut attempt: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut waits = 0;
        let mut signed_again = false;
        loop {
            let mut failure = match attempt() {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            let tries = 1 + waits + u32::from(signed_again);
            let try_again = match failure.cure {
                Cure::SlowDown(_) => !self.is_over(stage), // `paced` lets it wait
                Cure::Wait(at_least) if waits < self.retries => {
                    self.wait(backoff(waits, at_least), stage);
                    waits += 1;
                    !self.is_over(stage)
                }
                Cure::NewSignature if !signed_again => {
                    signed_again = true;
                    !self.is_over(stage)
                }
                _ => false,
            };
            if try_again {
                continue;
            }
            if tries > 1 {
                failure.message += &format!(" (tried {tries} times)");
            }
            return Err(match failure.cure {
                // That a stopped run was asked to slow down says nothing about the file.
                Cure::StopRun | Cure::SlowDown(_) => self.stop_for(failure),
                _ => failure,
            });
        }
    }

    fn wait(&self, time: Duration, stage: Stage) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.is_over(stage) {
            let left = until.saturating_duration_since(Instant::now());
            thread::sleep(left.min(STOP_SEEN_WITHIN));
        }
    }

    /// Makes one call of a service as soon as the pace of the run allows it, which then follows the
    /// service's answer.
    pub fn paced<T>(
        &self,
        stage: Stage,
        call: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Some(begun) = self.pace.begin(stage, || self.is_over(stage)) else {
            let why = self.stopped().unwrap_or_default();
            return Err(Failure {
                stage,
                kind: Kind::Local,
                cure: Cure::StopRun,
                message: why.to_owned(),
            });
        };
        match call() {
            Err(failure) if matches!(failure.cure, Cure::SlowDown(_)) => {
                Err(self.slow_down(begun, failure))
            }
            answer => {
                if self.pace.got_through(begun) == Flow::Free {
                    self.console.hold_back(false);
                }
                answer
            }
        }
    }

    /// Lets the run hold back, and says so the first time. Where nothing has got through for too
    /// long, there is no hope for the other files either.
    fn slow_down(&self, begun: Begun, failure: Failure) -> Failure {
        let Cure::SlowDown(at_least) = failure.cure else {
            return failure;
        };
        if !self.told_to_slow_down.swap(true, Ordering::Relaxed) {
            let why = &failure.message;
            let note = format!("note: {why}: the run slows down and goes on");
            self.console.note(&note);
        }
        self.console.hold_back(true);
        match self.pace.refused(begun, at_least.min(LONGEST_WAIT)) {
            Refused::HoldBack => failure,
            Refused::GiveUp => {
                let help = "nothing got through for 3 minutes: try again later";
                Failure {
                    cure: Cure::StopRun,
                    message: format!("{}: {help}", failure.message),
                    ..failure
                }
            }
        }
    }

    /// A file is in the cloud, or has its link: what fails from now on is that file's own.
    pub fn count_success(&self) {
        *self.beginning.lock().unwrap() = Beginning::Mixed;
    }

    /// A file failed for good. Where the first of the run all failed alike, the others would, too:
    /// then the run is stopped, and the failure is told once.
    pub fn count_failure(&self, failure: Failure) -> Failure {
        if failure.kind == Kind::Local || failure.cure == Cure::StopRun {
            return failure;
        }
        let mut beginning = self.beginning.lock().unwrap();
        match &mut *beginning {
            Beginning::Mixed => failure,
            Beginning::Unknown => {
                let first = failure.clone();
                *beginning = Beginning::Alike { files: 1, first };
                failure
            }
            Beginning::Alike { first, .. } if !failure.is_like(first) => {
                *beginning = Beginning::Mixed;
                failure
            }
            Beginning::Alike { files, .. } => {
                *files += 1;
                if *files < ALIKE_TO_STOP {
                    return failure;
                }
                let message = format!(
                    "{}; the first {files} files all failed alike",
                    failure.message
                );
                self.stop_for(Failure { message, ..failure })
            }
        }
    }
}

/// How long to wait for the `n`-th time, from 0: 0.5 s, 1 s, 2 s … (an eighth more or less, at
/// random), or longer if a server's `Retry-After` asks for it.
fn backoff(n: u32, at_least: Duration) -> Duration {
    let random = RandomState::new().hash_one(()) % 125;
    let usual = Duration::from_millis((437 + random) << n);
    usual.max(at_least).min(LONGEST_WAIT)
}
