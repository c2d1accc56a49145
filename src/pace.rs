//! How fast the services let the run go. Where one asks to slow down, all threads hold back from
//! that step together, and try one call at a time whether they are let in again.
//!
//! Does not know what the calls are, nor what is said about the wait.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::failure::Stage;

/// How long all hold back after the first refusal.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The wait doubles with each refusal that follows, up to this …
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// … and up to this part of the time held back so far: or else the end of a short limit, of ten
/// seconds say, would be overslept by half as much again.
const PART_OF_HOLD: u32 = 8;
/// For so long nothing at all may get on before there is no hope.
const PATIENCE: Duration = Duration::from_secs(3 * 60);
/// A thread that waits looks so often whether the run was stopped.
pub const STOP_SEEN_WITHIN: Duration = Duration::from_millis(50);
/// Each call that gets through lets so many others in, so that their number doubles …
const LET_IN_BY_EACH: u32 = 2;
/// … until there is room for all threads: 64 workers, and the one that asks for links.
const ROOM_FOR_ALL: u32 = 65;

/// The pace of a run.
pub struct Pace {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What the run holds back from, by `Stage`: a limit of one service is none of another's.
    holds: [Option<Hold>; 4],
    /// When COS or the links last answered anything but a refusal.
    progress: Option<Instant>,
}

/// The run holds back.
struct Hold {
    /// When nothing got through any more.
    since: Instant,
    refused_at: Instant,
    /// The first of the refusals since a call got through.
    refused_since: Option<Instant>,
    wait: Duration,
    /// When the next call may try whether it is let in.
    next_try: Instant,
    /// So many calls may begin before that.
    let_in: u32,
}

/// A call that may begin, or did.
pub struct Begun {
    stage: Stage,
    at: Instant,
}

/// What follows where a call gets through.
#[derive(PartialEq, Eq)]
pub enum Flow {
    Free,
    HeldBack,
}

/// What follows where a call is refused.
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

    /// The call was not refused for coming too soon.
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

    /// The call was refused for coming too soon; the service wants it to wait `at_least` so long.
    pub fn refused(&self, begun: Begun, at_least: Duration) -> Refused {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap();
        let progress = state.progress;
        let hold = state.holds[begun.stage as usize].get_or_insert_with(|| Hold::new(now));
        hold.hold_longer(now, begun.at);
        hold.next_try = hold.next_try.max(now + at_least);
        // Calls of other steps don't count: to be told where to upload, again and again, is no
        // progress while COS refuses the uploads.
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
            self.next_try = now + self.wait; // so that the others wait for what becomes of it
            return true;
        }
        false
    }

    /// A call that began at `begun` got through: others may. What was under way when the service
    /// began to refuse says nothing of what it lets in now.
    fn let_more_in(&mut self, begun: Instant) {
        if begun > self.refused_at {
            self.let_in += LET_IN_BY_EACH;
            self.since = Instant::now();
            self.refused_since = None;
            self.wait = FIRST_WAIT;
        }
    }

    /// A call that began at `begun` was refused. Those that were under way at the refusal before
    /// are refused with it, and don't count.
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
