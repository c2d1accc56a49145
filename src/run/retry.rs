//! The retry loop, with the waits before another try: after HTTP 5xx, after a connection that broke off,
//! and so on. A failure knows its cure (`failure.rs`), and `with_retries` applies those below. (Another
//! token is the business of `post_json` in `main.rs`, and another upload that of `pipeline.rs`.)
//!
//! - `Wait`: the failure can pass by itself. The loop waits 0.5 s, 1 s, 2 s … and tries again, at
//!   most `--retries` times. Each of these waits is up to an eighth longer or shorter, at random, so
//!   that many threads (and many machines) do not come back at the same moment. If the server asks for
//!   a longer time by `Retry-After`, the loop waits for exactly that. No wait is longer than 60 s.
//! - `SlowDown`: the service is asked too often, or by too many at once, or the network is down. This is
//!   no fault of the file, so it costs no try. The next call waits for its turn (`turns.rs`).
//! - `NewSignature`: COS did not take the signature. It usually lives 15 minutes, so one new signature
//!   is worth a try; a second refusal has another reason.
//! - Any other failure ends the loop.
//!
//! For example, `--retries 3` and a server that answers HTTP 503: tries at 0 s, 0.5 s, 1.5 s and 3.5 s,
//! then the file has failed. The defaults let a file survive a restart of a server, and tell the user
//! about one that stays down within 4 s.
//!
//! This file does not know how a request is made: it is given a function to call.

use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::time::Duration;

use crate::failure::{Cure, Failure, Stage};
use crate::stop::StopSignal;

/// No wait is longer, whether the server asks for it or not.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Tries what can pass by itself again.
pub struct Retries<'a> {
    /// The number of tries after the first.
    most: u32,
    stop: &'a StopSignal,
}

impl Retries<'_> {
    /// Each thing is tried `1 + most` times, until the run stops.
    pub fn new(most: u32, stop: &StopSignal) -> Retries<'_> {
        Retries { most, stop }
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
                Cure::SlowDown(_) => true, // the next call waits for its turn
                Cure::Wait(at_least) if waits < self.most => {
                    let wait = backoff(waits, random_millis()).max(at_least);
                    self.stop.sleep(wait.min(LONGEST_WAIT), stage);
                    waits += 1;
                    true
                }
                Cure::NewSignature if !signed_again => {
                    signed_again = true;
                    true
                }
                _ => false,
            };
            if may_pass && !self.stop.is_over(stage) {
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
    /// and a failure for each item that is left at the end or that stops the run. Returns a result for
    /// each item, in order.
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
            self.stop.note_success();
        }
        for result in results.iter().flatten() {
            if let Err(failure) = result
                && failure.cure == Cure::StopRun
            {
                self.stop.note_failure(failure.clone());
            }
        }
        // The failure of the last item, or of the whole last call. It has the number of tries.
        if let Err(last) = tried {
            for index in left {
                let failure = self.stop.note_failure(last.clone());
                results[index] = Some(Err(in_its_own_way(results[index].take(), failure)));
            }
        }
        results.into_iter().flatten().collect()
    }
}

/// Returns the failure of an item that was tried to the end. It is `last`, that of the last try, unless
/// the item itself failed in another way.
fn in_its_own_way<T>(result: Option<Result<T, Failure>>, last: Failure) -> Failure {
    match result {
        Some(Err(own)) if !own.is_like(&last) => Failure {
            tries: last.tries,
            ..own
        },
        _ => last,
    }
}

/// Returns the `n`-th wait, from 0: 0.5 s, 1 s, 2 s … The first is 437 ms (500 ms less an eighth), and
/// `random`, which is below 125 ms.
fn backoff(n: u32, random: u64) -> Duration {
    Duration::from_millis((437 + random) << n)
}

/// Returns a number of milliseconds from 0 to 124.
fn random_millis() -> u64 {
    RandomState::new().hash_one(()) % 125 // its seed is random
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::failure::Kind;

    /// Counts the tries of something that always fails with this cure.
    fn tries(most: u32, cure: Cure) -> (u32, Failure) {
        let stop = StopSignal::default();
        let tries = Cell::new(0);
        let failed: Result<(), Failure> =
            Retries::new(most, &stop).with_retries(Stage::Info, || {
                tries.set(tries.get() + 1);
                Err(Failure::new(Stage::Info, Kind::OddReply, cure, ""))
            });
        (tries.get(), failed.unwrap_err())
    }

    #[test]
    fn the_waits_are_half_a_second_a_second_and_two_with_an_eighth_of_jitter() {
        for (n, seconds) in [(0, 0.5), (1, 1.0), (2, 2.0), (3, 4.0), (9, 256.0)] {
            let [least, middle, most] = [0, 63, 124].map(|random| backoff(n, random).as_secs_f64());
            assert_eq!(middle, seconds);
            assert!((least - seconds * 7.0 / 8.0).abs() < seconds / 250.0);
            assert!((most - seconds * 9.0 / 8.0).abs() < seconds / 250.0);
        }
    }

    #[test]
    fn the_jitter_is_below_125_ms_and_differs() {
        let randoms = [(); 50].map(|()| random_millis());
        assert!(randoms.iter().all(|random| *random < 125));
        assert!(randoms.iter().any(|random| *random != randoms[0]));
    }

    #[test]
    fn without_retries_there_is_one_try() {
        let (tries, failure) = tries(0, Cure::TRY_AGAIN);
        assert_eq!((tries, failure.tries), (1, 1));
    }

    #[test]
    fn a_new_signature_is_worth_one_more_try() {
        let (tries, failure) = tries(0, Cure::NewSignature);
        assert_eq!((tries, failure.tries), (2, 2));
    }

    #[test]
    fn a_failure_that_no_try_can_help_is_not_tried_again() {
        for cure in [
            Cure::Nothing,
            Cure::NewToken,
            Cure::UploadAgain,
            Cure::StopRun,
        ] {
            assert_eq!(tries(3, cure).0, 1);
        }
    }
}
