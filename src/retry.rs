//! What happens to a run when something fails: it tries again, slows down, or stops.
//!
//! **Trying again.** A failure knows its cure (`failure.rs`), and `with_retries` is the one loop that
//! applies it:
//!
//! - `Wait`: the failure can pass by itself. The loop waits 0.5 s, 1 s, 2 s … and tries again, at
//!   most `--retries` times. Each of these waits is up to an eighth longer or shorter, at random, so
//!   that many threads (and many machines) do not come back at the same moment. If the server asks for
//!   a longer time by `Retry-After`, the loop waits for exactly that. No wait is longer than 60 s.
//! - `SlowDown`: the service is asked too often, or by too many at once, or the network is down. This is
//!   no fault of the file, so it costs no try. `paced` makes the next call wait until the pace of the
//!   run (`pace.rs`) allows it.
//! - `NewSignature`: COS did not take the signature. It lives 15 minutes, so one new signature is
//!   worth a try; a second refusal has another reason.
//! - Any other failure ends the loop.
//!
//! For example, `--retries 3` and a server that answers HTTP 503: tries at 0 s, 0.5 s, 1.5 s and 3.5 s,
//! then the file has failed. The defaults let a file survive a restart of a server, and tell the user
//! about one that stays down within 4 s.
//!
//! **Stopping.** Each failure that ends an upload, or a call for links, comes to `note_failure`. So does
//! each link that fails after all tries. (A link that the API refuses for good concerns one file.)
//! `note_failure` decides about the rest of the run:
//!
//! - The cure is `StopRun`: every other file would fail, too. The run stops, and one message tells why.
//! - Nothing has succeeded yet, and the first 8 files have all failed alike: the network is down, say,
//!   or a firewall is in the way. The run stops. A run of 10,000 files then costs 4 s (44 s if the
//!   firewall does not answer), and not hours. 8 is the default of `--jobs`: each worker has one failed
//!   file then. With a lower limit the run would stop although some workers may still succeed. Those 8
//!   files have failed. A file that fails alike after them counts as not attempted.
//!
//! A run that is stopped takes no more files, and ends the waits of uploads. But it still asks for the
//! links of all that it has uploaded, with all tries: an upload without its link is lost work.
//!
//! **The first call behind a proxy.** A proxy that wants another password (HTTP 407) may lock the account
//! after a few wrong ones. So calls go one at a time until it is known whether the proxy lets them
//! through. When one gets past the proxy, the others need not wait any more. If one gets a 407, the
//! others fail with it, and are not sent. After any other answer of the proxy itself, the next call
//! tries, alone. The others also stop waiting after a call that does not reach the proxy, or goes around
//! it (`no_proxy`). Then each worker may get a 407 once.
//!
//! This file does not know how a request is made: it is given a function to call.

use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::console::Console;
use crate::failure::{Cure, Failure, Kind, Obstacle, Stage};
use crate::pace::{Begun, LOOK_EVERY, Pace, Verdict};
use crate::words::{either, words};

/// No wait is longer, whether the server asks for it or not.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The run stops when this number of files, the first ones, have failed alike.
const ALIKE_TO_STOP: usize = 8;

/// The course of a run: its tries, its pace, and whether it goes on.
pub struct Course<'a> {
    retries: u32,
    console: &'a Console,
    pace: Pace,
    noted_slow_down: AtomicBool,
    noted_network: AtomicBool,
    proxy: Mutex<ProxyState>,
    first_results: Mutex<FirstResults>,
    stopped: OnceLock<Stop>,
}

/// Why a run was stopped.
pub struct Stop {
    /// The failure for which the run was stopped.
    pub failure: Option<Failure>,
    /// The reason if there is no `failure`, or words to add to it. May be empty.
    pub words: String,
}

enum ProxyState {
    /// Calls need not wait for each other. (There may be no proxy.)
    Open,
    /// No call has got past the proxy so far, and none got a 407.
    Unknown,
    /// The proxy wants another password (407).
    Closed(Failure),
}

/// The results of the first files that used the network.
enum FirstResults {
    Unknown,
    /// This number of files failed like the first one, and nothing has succeeded.
    Alike {
        files: usize,
        first: Failure,
    },
    /// Something succeeded, or two files failed differently.
    Mixed,
}

impl Course<'_> {
    /// A run that tries each thing `1 + retries` times, and tells `console` when it slows down.
    pub fn new(retries: u32, has_proxy: bool, console: &Console) -> Course<'_> {
        let proxy = if has_proxy {
            ProxyState::Unknown
        } else {
            ProxyState::Open
        };
        Course {
            retries,
            console,
            pace: Pace::default(),
            noted_slow_down: AtomicBool::new(false),
            noted_network: AtomicBool::new(false),
            proxy: Mutex::new(proxy),
            first_results: Mutex::new(FirstResults::Unknown),
            stopped: OnceLock::new(),
        }
    }

    /// Stops the run: it takes no more files. The first reason is the one that is told.
    pub fn stop(&self, words: String) {
        self.set_stopped(None, words);
    }

    fn set_stopped(&self, failure: Option<Failure>, words: String) {
        let _ = self.stopped.set(Stop { failure, words }); // an error: there was a reason already
    }

    /// Returns why the run was stopped, if it was.
    pub fn stopped(&self) -> Option<&Stop> {
        self.stopped.get()
    }

    /// Whether `stage` waits no more, because the run is stopped. A stopped run ends the waits of
    /// uploads. But it still asks for the links of the files that it has uploaded.
    fn is_over(&self, stage: Stage) -> bool {
        self.stopped().is_some() && matches!(stage, Stage::Info | Stage::Upload)
    }

    /// The one retry loop: runs `attempt` until it succeeds, fails for good, or no tries are left.
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
            let may_pass = match failure.cure {
                Cure::SlowDown(_) => true, // `paced` makes the next call wait
                Cure::Wait(at_least) if waits < self.retries => {
                    self.wait(backoff(waits, at_least), stage);
                    waits += 1;
                    true
                }
                Cure::NewSignature if !signed_again => {
                    signed_again = true;
                    true
                }
                _ => false,
            };
            if may_pass && !self.is_over(stage) {
                continue;
            }
            failure.tries = failure.tries.max(tries); // a call of another step may have counted its own
            if matches!(failure.cure, Cure::SlowDown(_)) {
                // The run was stopped while it held back, so the file counts as not attempted.
                failure.cure = Cure::StopRun;
            }
            return Err(failure);
        }
    }

    /// Like `with_retries`, for many items together, such as files whose links are asked for. A further
    /// try asks only for the items that another try may help. Notes a success if any item succeeded,
    /// and a failure for each item that is left at the end. Returns a result for each item, in order.
    pub fn each_with_retries<I: Copy, T>(
        &self,
        stage: Stage,
        items: &[I],
        attempt: impl Fn(&[I]) -> Result<Vec<Result<T, Failure>>, Failure>,
    ) -> Vec<Result<T, Failure>> {
        let mut results: Vec<Option<Result<T, Failure>>> = items.iter().map(|_| None).collect();
        let mut left: Vec<usize> = (0..items.len()).collect();
        let tried = self.with_retries(stage, || {
            let items_left: Vec<I> = left.iter().map(|&index| items[index]).collect();
            let answers = attempt(&items_left)?;
            let mut last_failure = None;
            for (index, answer) in mem::take(&mut left).into_iter().zip(answers) {
                if let Err(failure) = &answer
                    && matches!(failure.cure, Cure::Wait(_))
                {
                    left.push(index);
                    last_failure = Some(failure.clone());
                }
                results[index] = Some(answer);
            }
            match last_failure {
                Some(failure) => Err(failure),
                None => Ok(()),
            }
        });
        if results.iter().flatten().any(Result::is_ok) {
            self.note_success();
        }
        // The failure of the last item, or of the whole last call. It has the number of tries.
        if let Err(last) = tried {
            for index in left {
                let failure = self.note_failure(last.clone());
                let tries = failure.tries;
                let told = match results[index].take() {
                    // It failed in its own way.
                    Some(Err(own)) if !own.is_like(&failure) => Failure { tries, ..own },
                    _ => failure,
                };
                results[index] = Some(Err(told));
            }
        }
        results.into_iter().flatten().collect()
    }

    fn wait(&self, time: Duration, stage: Stage) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.is_over(stage) {
            let left = until.saturating_duration_since(Instant::now());
            thread::sleep(left.min(LOOK_EVERY));
        }
    }

    /// Makes one call of a service as soon as the pace of the run allows it. The service's answer
    /// then sets the pace.
    pub fn paced<T>(
        &self,
        stage: Stage,
        call: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Some(begun) = self.pace.begin(stage, || self.is_over(stage)) else {
            let failure = Failure::local(stage, either("the run is stopped", "运行已中止"));
            return Err(failure.with_cure(Cure::StopRun));
        };
        match self.through_proxy(call) {
            Ok(value) => {
                self.go_on(&begun);
                Ok(value)
            }
            // Another call failed within this one: an upload can ask for a new signature. That call has
            // set the pace of its own step.
            Err(failure) if failure.stage != stage => {
                self.pace.failed(&begun);
                Err(failure)
            }
            Err(failure) => Err(self.adapt_to(&begun, failure)),
        }
    }

    /// Makes a call. While it is not known whether the proxy lets calls through, the lock is held during
    /// the call, so calls go one at a time. (An upload can make a call of step 2 inside it. That does
    /// not lock twice: an earlier call of step 2 has got past the proxy, so the state is `Open`.)
    fn through_proxy<T>(&self, call: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        let mut proxy = self.proxy.lock().unwrap();
        match &*proxy {
            ProxyState::Open => {
                drop(proxy);
                return call();
            }
            ProxyState::Closed(failure) => return Err(failure.clone()),
            ProxyState::Unknown => {}
        }
        let answer = call();
        match &answer {
            Err(failure) if failure.kind == Kind::Proxy => {
                if failure.cure == Cure::StopRun {
                    *proxy = ProxyState::Closed(failure.clone());
                }
            }
            _ => *proxy = ProxyState::Open,
        }
        answer
    }

    /// Sets the pace after a call that failed, and tells the user if it changes. Returns the failure,
    /// with another cure if the pace cannot help.
    fn adapt_to(&self, begun: &Begun, failure: Failure) -> Failure {
        let obstacle = match (failure.cure, failure.kind) {
            (Cure::SlowDown(Obstacle::TooFast(wait)), _) => {
                Obstacle::TooFast(wait.min(LONGEST_WAIT))
            }
            (Cure::SlowDown(obstacle), _) => obstacle,
            // The service did not answer, so nothing is known about its pace.
            (_, Kind::Local | Kind::Network(_) | Kind::Proxy) => {
                self.pace.failed(begun);
                return failure;
            }
            // The service answered: the call failed, but it got through.
            _ => {
                self.go_on(begun);
                return failure;
            }
        };
        match self.pace.refused(begun, obstacle) {
            Verdict::CostsNoTry => {
                self.tell_of(obstacle, &failure);
                failure
            }
            Verdict::CostsATry => failure.with_cure(Cure::TRY_AGAIN),
            Verdict::GiveUp => {
                let why = &failure.message;
                Failure {
                    cure: Cure::StopRun,
                    message: words!(
                        "{why}: nothing got through for 3 minutes: try again later",
                        "{why}；3 分钟内没有一次成功：请稍后再试"
                    ),
                    ..failure
                }
            }
        }
    }

    /// Notes that a call got through, and shows what the run still waits for.
    fn go_on(&self, begun: &Begun) {
        let held_for = self.pace.got_through(begun);
        self.console.show_waiting(held_for.map(reason));
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
            self.console.note(&words!(
                "note: {why}: {reaction}",
                "note: {why}；{reaction}"
            ));
        }
        if obstacle != Obstacle::TooMany {
            self.console.show_waiting(Some(reason(obstacle)));
        }
    }

    /// Notes that a file is in the cloud or has its link. From now on a failure concerns one file.
    pub fn note_success(&self) {
        *self.first_results.lock().unwrap() = FirstResults::Mixed;
    }

    /// Notes that a file has failed for good, and stops the run if the others would fail, too.
    /// Returns the failure. Its cure is also `StopRun` if 8 files have failed like this one before:
    /// then the file counts as not attempted, as with a failure that stops the run by itself.
    pub fn note_failure(&self, failure: Failure) -> Failure {
        if failure.cure == Cure::StopRun {
            self.set_stopped(Some(failure.clone()), String::new());
            return failure;
        }
        match self.count_alike(&failure) {
            Some(ALIKE_TO_STOP) => {
                let words = words!(
                    "the first {ALIKE_TO_STOP} files all failed alike",
                    "前 {ALIKE_TO_STOP} 个文件都因同样的原因失败"
                );
                self.set_stopped(Some(failure.clone()), words);
                failure
            }
            Some(files) if files > ALIKE_TO_STOP => failure.with_cure(Cure::StopRun),
            _ => failure,
        }
    }

    /// Counts a failure. Returns the number of files that have failed, if all have failed alike.
    fn count_alike(&self, failure: &Failure) -> Option<usize> {
        if failure.kind == Kind::Local || failure.cure == Cure::StopRun {
            return None;
        }
        let mut first_results = self.first_results.lock().unwrap();
        match &mut *first_results {
            FirstResults::Alike { files, first } if failure.is_like(first) => {
                *files += 1;
                Some(*files)
            }
            FirstResults::Unknown => {
                let first = failure.clone();
                *first_results = FirstResults::Alike { files: 1, first };
                Some(1)
            }
            FirstResults::Alike { .. } | FirstResults::Mixed => {
                *first_results = FirstResults::Mixed;
                None
            }
        }
    }
}

/// What the progress says about a run that waits.
fn reason(obstacle: Obstacle) -> &'static str {
    match obstacle {
        Obstacle::TooFast(_) | Obstacle::TooMany => {
            either("the service asked to slow down", "服务要求放慢")
        }
        Obstacle::NobodyThere => either("the network is down", "网络不通"),
    }
}

/// Returns the `n`-th wait, from 0: 0.5 s, 1 s, 2 s … (an eighth more or less, at random), or longer
/// if a server's `Retry-After` asks for it.
fn backoff(n: u32, at_least: Duration) -> Duration {
    let random = RandomState::new().hash_one(()) % 125; // its seed is random
    let usual = Duration::from_millis((437 + random) << n); // 437 ms is 500 ms less an eighth
    usual.max(at_least).min(LONGEST_WAIT)
}
