//! The pace of a run: how fast the services let it go.
//!
//! A service that is called too often refuses calls ("too many calls a minute", HTTP 429, COS's
//! `SlowDown`). No document tells its limit, so the run has to find out. It must not wait longer than
//! needed, and must not knock again and again with 64 threads.
//!
//! Each step (token, `uploadfile`, upload, links) has its own pace, because each service has its own
//! limit. A step is free until a call of it is refused. Then:
//!
//! 1. *All threads hold back* from that step. After a wait, one call tries. If it is refused, the next
//!    wait is longer.
//! 2. *A call gets through.* It lets two more calls in, each of which lets two more in when it gets
//!    through. The number doubles until all threads have room: then the step is free again.
//! 3. *A call is refused meanwhile.* The step holds back again.
//!
//! An example: a service admits 100 calls in 10 s, and the run has 8 threads. The first 100 calls take
//! 2 s, the 101st is refused. Calls that are under way at that moment are refused with it, and count
//! as the same refusal. Tries follow after 0.5 s, 1.0 s, 1.5 s … At 10 s one gets through, after at most
//! 0.5 s of waiting in vain. After some ten calls all threads run again, and the next 100 calls pass.
//!
//! How long is a wait? It doubles with each refusal, but is at most an eighth of the time held back so
//! far, at least 0.5 s and at most 8 s. If it only doubled, then after 7.5 s the next try would come at
//! 15.5 s, and a limit that ends after 10 s would be overslept by half. With an eighth, a run loses at
//! most an eighth of the time, and a service that is down for minutes is asked once in 8 s.
//!
//! A refusal costs the file no try. But if nothing at all gets through for three minutes, the run has
//! to stop: the longest limit that is documented is one minute.
//!
//! This room does not know what the calls are, or what the user is told about the wait.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::failure::Stage;

/// All threads hold back for this time after the first refusal. It is also the shortest wait.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// A wait is never longer than this …
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// … and at most this part (an eighth) of the time held back so far.
const PART_OF_HOLD: u32 = 8;
/// The run stops if nothing gets through for this time.
const PATIENCE: Duration = Duration::from_secs(3 * 60);
/// A thread that waits checks at this interval whether the run was stopped.
pub const STOP_SEEN_WITHIN: Duration = Duration::from_millis(50);
/// Each call that gets through lets this number of calls in.
const LET_IN_BY_EACH: u32 = 2;
/// The step is free again when it has let in this number of calls: 64 workers, and the thread that
/// asks for links.
const ROOM_FOR_ALL: u32 = 65;

/// The pace of a run.
pub struct Pace {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// For each `Stage`: whether the run holds back from it.
    holds: [Option<Hold>; 4],
    /// The last time at which COS or the API's links answered anything but a refusal.
    progress: Option<Instant>,
}

/// The run holds back from a step.
struct Hold {
    /// Nothing has got through since this time.
    since: Instant,
    /// The last refusal.
    refused_at: Instant,
    /// The first refusal since a call got through.
    refused_since: Option<Instant>,
    wait: Duration,
    /// The next call may try at this time.
    next_try: Instant,
    /// This number of calls may begin before `next_try`.
    let_in: u32,
}

/// A call that may begin.
pub struct Begun {
    stage: Stage,
    at: Instant,
}

/// The state of the run after a call has got through.
#[derive(PartialEq, Eq)]
pub enum Flow {
    Free,
    HeldBack,
}

/// The advice after a refusal.
pub enum Refused {
    HoldBack,
    GiveUp,
}

impl Pace {
    pub fn new() -> Pace {
        Pace {
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Waits until a call may begin; `None` if `is_over` before that.
    pub fn begin(&self, stage: Stage, is_over: impl Fn() -> bool) -> Option<Begun> {
        let mut state = self.state.lock().unwrap();
        loop {
            let at = Instant::now();
            let Some(hold) = &mut state.holds[stage as usize] else {
                return Some(Begun { stage, at });
            };
            if hold.lets_in(at) {
                return Some(Begun { stage, at });
            }
            if is_over() {
                return None;
            }
            let wait = hold.next_try.saturating_duration_since(at);
            let waited = self.changed.wait_timeout(state, wait.min(STOP_SEEN_WITHIN));
            state = waited.unwrap().0;
        }
    }

    /// Notes that the call was not refused for coming too soon.
    pub fn got_through(&self, begun: Begun) -> Flow {
        let mut state = self.state.lock().unwrap();
        if matches!(begun.stage, Stage::Upload | Stage::Link) {
            state.progress = Some(Instant::now());
        }
        let hold = &mut state.holds[begun.stage as usize];
        if let Some(held) = hold {
            held.let_more_in(begun.at);
            if held.let_in >= ROOM_FOR_ALL {
                *hold = None;
            }
            self.changed.notify_all();
        }
        if state.holds.iter().flatten().any(|hold| hold.let_in == 0) {
            Flow::HeldBack
        } else {
            Flow::Free
        }
    }

    /// Notes that the call was refused for coming too soon. The service asks for a wait of
    /// `at_least`.
    pub fn refused(&self, begun: Begun, at_least: Duration) -> Refused {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap();
        let progress = state.progress;
        let hold = state.holds[begun.stage as usize].get_or_insert_with(|| Hold::new(now));
        hold.hold_longer(now, begun.at);
        hold.next_try = hold.next_try.max(now + at_least);
        // Calls of other steps do not count: `uploadfile` may get through again and again while COS
        // refuses the uploads.
        let refused_since = *hold.refused_since.get_or_insert(now);
        let hope = progress.map_or(refused_since, |progress| progress.max(refused_since));
        if now.saturating_duration_since(hope) > PATIENCE {
            Refused::GiveUp
        } else {
            Refused::HoldBack
        }
    }
}

impl Hold {
    fn new(now: Instant) -> Hold {
        Hold {
            since: now,
            refused_at: now,
            refused_since: None,
            wait: FIRST_WAIT,
            next_try: now + FIRST_WAIT,
            let_in: 0,
        }
    }

    /// Whether a call may begin now.
    fn lets_in(&mut self, now: Instant) -> bool {
        if self.let_in > 0 {
            self.let_in -= 1;
            return true;
        }
        if now >= self.next_try {
            self.next_try = now + self.wait; // the others wait for the result of this call
            return true;
        }
        false
    }

    /// A call that began at `begun` got through: lets more calls in. A call that began before the
    /// last refusal does not count, as the service may have admitted it before.
    fn let_more_in(&mut self, begun: Instant) {
        if begun > self.refused_at {
            self.let_in += LET_IN_BY_EACH;
            self.since = Instant::now();
            self.refused_since = None;
            self.wait = FIRST_WAIT;
        }
    }

    /// A call that began at `begun` was refused: waits longer. A call that began before the last
    /// refusal belongs to that one, and does not count.
    fn hold_longer(&mut self, now: Instant, begun: Instant) {
        if begun <= self.refused_at {
            return;
        }
        let held = now.saturating_duration_since(self.since);
        let most = (held / PART_OF_HOLD).clamp(FIRST_WAIT, LONGEST_WAIT);
        self.wait = (self.wait * 2).min(most);
        self.refused_at = now;
        self.next_try = now + self.wait;
        self.let_in = 0;
    }
}
