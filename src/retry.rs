//! What a failure means and what is done about it: wait and try again, or stop the run.
//!
//! Knows nothing of requests: what is tried is a function that it is given.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// The longest wait that a server's `Retry-After` can ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A thread that waits looks so often whether the run was stopped.
const STOP_SEEN_WITHIN: Duration = Duration::from_millis(50);

/// Where something failed. Each is shown as the script's own phrase.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Token,
    Info,
    Upload,
    Link,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Stage::Token => "获取access token失败",
            Stage::Info => "获取文件上传链接失败",
            Stage::Upload => "上传文件失败",
            Stage::Link => "获取下载链接失败",
        })
    }
}

/// What can be done about a failure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cure {
    /// It can pass by itself: wait, at least as long as the server asks for, and try again.
    Wait(Option<Duration>),
    /// COS refused the signature: once more, with a new one.
    NewSignature,
    /// The API refused the access token: once more, with a new one.
    NewToken,
    /// The object is not in the cloud: upload the file, if only the manifest said that it was.
    UploadAgain,
    /// No other file will fare better.
    StopRun,
    /// This file failed, the others go on.
    Nothing,
}

/// Why something failed, as an error line says it, and what can be done.
#[derive(Clone)]
pub struct Failure {
    pub cure: Cure,
    /// `STAGE: DETAIL`
    pub message: String,
}

impl Failure {
    pub fn new(stage: Stage, cure: Cure, detail: impl fmt::Display) -> Failure {
        Failure {
            cure,
            message: format!("{stage}: {detail}"),
        }
    }
}

/// How a run goes about what fails: how often it tries again, and whether it goes on at all.
pub struct Course {
    retries: u32,
    stopped: OnceLock<String>,
}

impl Course {
    /// A run that tries so often after the first time.
    pub fn new(retries: u32) -> Course {
        Course {
            retries,
            stopped: OnceLock::new(),
        }
    }

    /// Lets no more files be taken. The first reason is the one that is told.
    pub fn stop(&self, why: String) {
        // An error means that there was a reason already.
        let _ = self.stopped.set(why);
    }

    /// Why the run takes no more files, if it does not.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.get().map(String::as_str)
    }

    /// Stops the run because of `failure`.
    pub fn give_up(&self, failure: Failure) -> Failure {
        self.stop(failure.message.clone());
        Failure {
            cure: Cure::StopRun,
            ..failure
        }
    }

    /// The one retry loop: runs `attempt` until it succeeds, fails for good, or the tries are used
    /// up. A failure that no other file will escape stops the run.
    pub fn with_retries<T>(
        &self,
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
                Cure::Wait(asked) if waits < self.retries => {
                    let go_on = self.pause(backoff(waits, asked));
                    waits += 1;
                    go_on
                }
                Cure::NewSignature if !signed_again => {
                    signed_again = true;
                    true
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
                Cure::StopRun => self.give_up(failure),
                _ => failure,
            });
        }
    }

    /// Waits. Returns whether to go on: the run may be stopped meanwhile.
    fn pause(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while self.stopped().is_none() && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            thread::sleep(left.min(STOP_SEEN_WITHIN));
        }
        self.stopped().is_none()
    }
}

/// How long to wait for the `n`-th time, from 0: 0.5 s, 1 s, 2 s … (an eighth more or less, at
/// random), or longer if a server's `Retry-After` asks for it.
fn backoff(n: u32, asked: Option<Duration>) -> Duration {
    let random = RandomState::new().hash_one(()) % 125;
    let usual = Duration::from_millis((437 + random) << n);
    usual.max(asked.unwrap_or_default()).min(LONGEST_WAIT)
}
