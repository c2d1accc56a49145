//! The pace of the run: how fast it calls the services, and with how many calls at once.
//!
//! A call can fail for three reasons that concern the run and not the file. They cost the file no try
//! (with two exceptions, below):
//!
//! - *Too fast*: the service limits the calls in a second or a minute.
//! - *Too many at once*: it limits the calls that are under way together, or the line is too thin for
//!   all uploads.
//! - *Nobody there*: no connection can be made, although one could before. The network is down.
//!
//! The steps are kept apart: a limit on uploads is no reason to ask for fewer links. This file makes no
//! calls, and tells the user nothing.
//!
//! **The number of calls.** Each step has a number `at_once`: a call begins if fewer calls than that
//! are under way. It starts with room for all threads, so a service without limits notices nothing.
//! (More threads than `--jobs` prepare files. So the uploads start with room for `--jobs`, and never
//! get more.) A call that gets through raises it by one. This doubles it in each round trip: two calls
//! get through, four begin. Calls that began before the step last slowed down do not count: the service
//! may have admitted them before.
//!
//! A thread without room waits until a call ends, or the run is stopped. Only while all hold back does
//! it look at the clock.
//!
//! **Too many at once.** The first refusal sets `at_once` to half of the calls under way: a crowded
//! line needs relief soon, and TCP halves for the same reason. The other calls under way then show
//! the limit. A second number of the step, `admitted`, is the number of calls that the service seems
//! to take at once. Each time that *too many* slows the step down, it becomes the number of those
//! calls, and each of them that is refused makes it one less. Then:
//!
//! - Up to `admitted`, `at_once` grows as above.
//! - At `admitted`, the run tests whether one more call is taken. It waits until `at_once` times
//!   `caution` calls got through in a row. Then it raises `at_once` and `admitted` by one.
//! - `caution`, the third number, says how long the run waits before a test. Each test halves it, down
//!   to 1. Each time that *too many* slows the step down, it becomes four times as large, up to 16.
//!   (The first refusal slows the step down. The refusals of calls that were under way then do not.)
//!   So a limit that stays is tested less and less, and a limit that has gone is soon forgotten.
//!
//! For example, an API takes 20 calls at once, and there are 64 workers. 64 calls begin, and 44 are
//! refused. The first refusal allows 32 at once, and `caution` becomes 4. The other 43 leave 20. After
//! 4 · 20 calls one more begins and is refused: 10 are allowed, and after 10 more calls 20 again. The
//! next test comes after 8 · 20 calls, and later ones after 16 · 20 each. So more than nine tenths of
//! the 20 are in use, and one call in 300 is refused.
//!
//! If only one call was allowed, there is no lower number: all hold back as below. If no other call
//! of this service (the API, or COS) was under way from the beginning of the call to its end, too many
//! calls are not the cause: the refusal costs the file a try.
//!
//! **Too fast.** All threads hold back from the step for 0.5 s. Then one call tries. If it is
//! refused, all hold back for an eighth of the time since the first refusal, at least 0.5 s and at
//! most 8 s, and so on. If the service names a wait, all hold back for that time (`turns.rs` cuts
//! it to 60 s). When a call gets through, `at_once` grows again from the number of calls under way.
//!
//! For example, an API takes 60 calls, and 20 more in each second. After the first refusal all hold
//! back for 0.5 s, which makes room for 10 calls. 1, 2 and 4 calls get through, and then 3 of 8. All
//! hold back again, and so on: no room is lost, and a third of the calls is refused. Another API
//! takes 100 calls in each 10 s. While all hold back, a call tries at least every 1.25 s (an eighth of
//! 10 s). So the run misses at most 1.25 s of the next 10 s. With shorter waits more calls would be
//! refused, and with longer waits more time would be missed. 8 s is about an eighth of a minute, which
//! is the longest usual limit.
//!
//! If `at_once` allows it, the next call tries after the same wait, even if the last one has no answer
//! yet: a large upload takes minutes.
//!
//! **Nobody there.** All hold back in the same way. But before anything has got through it costs the
//! file a try: a network that was never there is no reason to wait. A call that lasts for more than
//! 65 s has had a connection, so the network was there, and nothing holds the step back any more.
//!
//! **The first call through a proxy** goes alone until it is answered, however it is answered: a proxy that
//! wants another password may lock the account after a few wrong ones. After that nobody waits.
//!
//! **The end.** The run stops if a call is refused that began three minutes after the step was first
//! held back, and no upload and no link got through meanwhile: other files would fail in the same way.
//! Time for which the program was suspended, by Ctrl-Z or as the machine slept, does not count.
//! An answer of step 2 does not count, because COS may still refuse every upload.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::cli::{LINK_CALLS, MOST_AHEAD, MOST_JOBS};
use crate::failure::{Obstacle, Stage};
use crate::stop::wait_a_moment;

/// All threads hold back for at least this time.
const SHORTEST_HOLD: Duration = Duration::from_millis(500);
/// The next try comes after at most this time, unless the service names a longer wait.
const LONGEST_HOLD: Duration = Duration::from_secs(8);
/// The run stops if a call is refused that began after this time, and no upload and no link got
/// through meanwhile.
pub const PATIENCE: Duration = Duration::from_secs(3 * 60);
/// A call that lasts longer has had a connection. To look up a host takes at most 20 s and to connect
/// 10 s, and then the program looks for as long whether it can connect at all.
const LONGER_THAN_CONNECTING: Duration = Duration::from_secs(65);
/// A thread that holds back looks every 50 ms. If nobody has looked for this time, the program was
/// suspended: by Ctrl-Z, or as the machine slept.
const SUSPENDED: Duration = Duration::from_secs(5);
/// The number of steps, and so of stages.
const STEPS: usize = 4;
/// The number of calls that can be under way: of all workers, and for links.
const ROOM_FOR_ALL: usize = MOST_JOBS + MOST_AHEAD + LINK_CALLS;
/// The limit of `caution`.
const MOST_CAUTION: usize = 16;

/// Decides when each call may begin.
#[derive(Default)]
pub struct Pace {
    state: Mutex<State>,
    /// For each step: another call may be able to begin.
    changed: [Condvar; STEPS],
}

#[derive(Default)]
struct State {
    first_through_proxy: FirstThroughProxy,
    /// In the order of `Stage`.
    steps: [Step; STEPS],
    /// The number of calls so far.
    calls: u64,
    /// Some call has got through.
    has_got_through: bool,
    /// The last time that an upload or links got through.
    progress: Option<Instant>,
    last_look: Option<Instant>,
    /// The time for which the program was suspended while a thread waited.
    suspended: Duration,
}

/// How far the first call through a proxy is.
#[derive(Default, PartialEq)]
enum FirstThroughProxy {
    #[default]
    NotBegun,
    UnderWay,
    Answered,
}

struct Step {
    /// Threads that wait until a call may begin.
    waiting: usize,
    under_way: usize,
    /// The number of the newest call.
    newest: u64,
    /// A call may begin if fewer calls than this are under way.
    at_once: usize,
    /// The limit of `at_once`.
    most: usize,
    /// The number of calls at once that the service takes, as far as is known. Up to it, `at_once`
    /// grows fast.
    admitted: usize,
    /// Calls that got through in a row while `at_once` was as high as `admitted`.
    in_a_row: usize,
    /// `at_once` grows above `admitted` after `at_once` times `caution` calls in a row.
    caution: usize,
    /// The number of the newest call when this step last slowed down. A call with this number or a
    /// lower one began before that: its success does not raise `at_once`, and its refusal does not slow
    /// the step down again.
    newest_at_slow_down: u64,
    hold: Option<Hold>,
}

/// All threads hold back from a step.
struct Hold {
    because: Obstacle,
    since: Instant,
    next_try: Instant,
}

/// A call that has begun.
pub struct Begun {
    stage: Stage,
    /// The first call of the run is number 1.
    number: u64,
    at: Instant,
    /// No other call of its service was under way when it began.
    began_alone: bool,
    is_proxied: bool,
}

/// What a refusal means for the file.
pub enum Verdict {
    /// It is tried again, and this try does not count.
    CostsNoTry,
    /// It is tried again, and this try counts.
    CostsATry,
    /// The run stops.
    GiveUp,
}

impl Pace {
    /// At most `jobs` uploads are under way at once.
    pub fn new(jobs: usize) -> Pace {
        let pace = Pace::default();
        let mut state = pace.state.lock().unwrap();
        state.steps[Stage::Upload as usize] = Step::with_room_for(jobs);
        drop(state);
        pace
    }

    /// Waits until a call may begin, which goes through a proxy if it `is_proxied`. Returns `None` once
    /// `is_over` is true. `wake_all` must be called when it becomes true.
    pub fn begin(
        &self,
        stage: Stage,
        is_proxied: bool,
        is_over: impl Fn() -> bool,
    ) -> Option<Begun> {
        let mut state = self.state.lock().unwrap();
        let mut is_in_line = state.steps[stage as usize].has_room_in_line();
        while !is_over() {
            let now = state.look(Instant::now());
            if is_in_line && let Some(begun) = state.begin(stage, is_proxied, now) {
                return Some(begun);
            }
            state = self.wait(stage, state);
            is_in_line = true;
        }
        None
    }

    /// Waits until another call may be able to begin. Only a thread that holds back needs a look at the
    /// clock. Any other waits for the end of a call, which wakes it.
    fn wait<'a>(&self, stage: Stage, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let changed = &self.changed[stage as usize];
        let holds_back = state.first_through_proxy == FirstThroughProxy::UnderWay
            || state.steps[stage as usize].hold.is_some();
        state.steps[stage as usize].waiting += 1;
        if holds_back {
            state = wait_a_moment(changed, state);
            state.look(Instant::now());
        } else {
            state = changed.wait(state).unwrap();
        }
        state.steps[stage as usize].waiting -= 1;
        state
    }

    /// Lets all threads that wait look again.
    pub fn wake_all(&self) {
        let _state = self.state.lock().unwrap(); // no thread is between its look and its wait
        self.changed.iter().for_each(Condvar::notify_all);
    }

    /// The service answered the call, and did not refuse it for its pace. Returns the obstacle that
    /// some step is still held back for.
    pub fn got_through(&self, begun: &Begun, now: Instant) -> Option<Obstacle> {
        let mut state = self.state.lock().unwrap();
        let now = state.look(now);
        state.has_got_through = true;
        if matches!(begun.stage, Stage::Upload | Stage::Link) {
            state.progress = Some(now);
        }
        let step = state.end(begun, now);
        if begun.number > step.newest_at_slow_down {
            step.raise();
        }
        self.wake(begun.stage, &state);
        let mut holds = state.steps.iter().filter_map(|step| step.hold.as_ref());
        holds.next().map(|hold| hold.because)
    }

    /// The call failed for a reason that has nothing to do with the pace.
    pub fn failed(&self, begun: &Begun, now: Instant) {
        let mut state = self.state.lock().unwrap();
        let now = state.look(now);
        state.end(begun, now);
        self.wake(begun.stage, &state);
    }

    /// The call was refused for its pace.
    pub fn refused(&self, begun: &Begun, obstacle: Obstacle, now: Instant) -> Verdict {
        let mut state = self.state.lock().unwrap();
        let now = state.look(now);
        let verdict = state.refuse(begun, obstacle, now);
        self.wake(begun.stage, &state);
        verdict
    }

    /// Wakes a thread for each call of `stage` that may begin. If all hold back, wakes all: from then on
    /// they look at the clock.
    fn wake(&self, stage: Stage, state: &State) {
        let step = &state.steps[stage as usize];
        let mut to_wake = step.waiting;
        if step.hold.is_none() {
            to_wake = to_wake.min(step.at_once.saturating_sub(step.under_way));
        }
        for _ in 0..to_wake {
            self.changed[stage as usize].notify_one();
        }
    }
}

impl State {
    /// Adapts the pace to a call that was refused.
    fn refuse(&mut self, begun: &Begun, obstacle: Obstacle, now: Instant) -> Verdict {
        let newest_call = self.calls;
        let newest_of_service = self.of_service(begun.stage).map(|step| step.newest).max();
        let stayed_alone = begun.began_alone && newest_of_service == Some(begun.number);
        let progress = self.progress;
        let was_never_there = obstacle == Obstacle::NobodyThere && !self.has_got_through;
        let step = self.end(begun, now);
        if was_never_there {
            return Verdict::CostsATry;
        }
        if begun.number > step.newest_at_slow_down {
            step.newest_at_slow_down = newest_call;
            step.slow_down(obstacle, now);
        } else if obstacle == Obstacle::TooMany {
            step.set_admitted(step.admitted - 1);
        }
        if obstacle == Obstacle::TooMany && stayed_alone {
            return Verdict::CostsATry;
        }
        if let Some(hold) = &mut step.hold {
            if let Obstacle::TooFast(at_least) = obstacle {
                hold.next_try = hold.next_try.max(now + at_least);
            }
            let patient_since = progress.map_or(hold.since, |progress| progress.max(hold.since));
            // A try counts from its beginning: a large upload may be refused only after minutes.
            if begun.at.saturating_duration_since(patient_since) > PATIENCE {
                return Verdict::GiveUp;
            }
        }
        Verdict::CostsNoTry
    }

    /// Ends a call. After a long call, nobody waits for the network any more.
    fn end(&mut self, begun: &Begun, now: Instant) -> &mut Step {
        if begun.is_proxied {
            self.first_through_proxy = FirstThroughProxy::Answered;
        }
        let step = &mut self.steps[begun.stage as usize];
        step.under_way -= 1;
        if let Some(hold) = &step.hold
            && hold.because == Obstacle::NobodyThere
            && now - begun.at > LONGER_THAN_CONNECTING
        {
            step.hold = None;
        }
        step
    }

    /// Returns the steps of one service: step 3 asks COS, the others ask the API.
    fn of_service(&self, stage: Stage) -> impl Iterator<Item = &Step> {
        let upload = Stage::Upload as usize;
        let asks_cos = stage == Stage::Upload;
        let steps = self.steps.iter().enumerate();
        steps.filter_map(move |(n, step)| ((n == upload) == asks_cos).then_some(step))
    }

    /// Returns the time of a look, without the time for which the program was suspended: that is no
    /// waiting. While a thread holds back, the last look was 50 ms ago.
    fn look(&mut self, now: Instant) -> Instant {
        let before = self.last_look.replace(now).unwrap_or(now);
        let holds_back = |step: &Step| step.waiting > 0 && step.hold.is_some();
        let gap = now.saturating_duration_since(before);
        if self.steps.iter().any(holds_back) && gap > SUSPENDED {
            self.suspended += gap;
        }
        now - self.suspended
    }

    /// Begins a call, if one may begin now.
    fn begin(&mut self, stage: Stage, is_proxied: bool, now: Instant) -> Option<Begun> {
        let first = &mut self.first_through_proxy;
        let waits_for_first = is_proxied && *first == FirstThroughProxy::UnderWay;
        if waits_for_first || !self.steps[stage as usize].take_turn(now) {
            return None;
        }
        if is_proxied && *first == FirstThroughProxy::NotBegun {
            *first = FirstThroughProxy::UnderWay;
        }
        let began_alone = self.of_service(stage).all(|step| step.under_way == 0);
        self.calls += 1;
        let step = &mut self.steps[stage as usize];
        step.under_way += 1;
        step.newest = self.calls;
        Some(Begun {
            stage,
            number: self.calls,
            at: now,
            began_alone,
            is_proxied,
        })
    }
}

impl Default for Step {
    fn default() -> Step {
        Step::with_room_for(ROOM_FOR_ALL)
    }
}

impl Step {
    fn with_room_for(calls: usize) -> Step {
        Step {
            waiting: 0,
            under_way: 0,
            newest: 0,
            at_once: calls,
            most: calls,
            admitted: calls,
            in_a_row: 0,
            caution: 1,
            newest_at_slow_down: 0,
            hold: None,
        }
    }

    /// Whether there is room for another call after those that wait.
    fn has_room_in_line(&self) -> bool {
        self.under_way + self.waiting < self.at_once
    }

    /// Returns whether a call may begin now. While all hold back, one call may try after each wait:
    /// then the next wait begins.
    fn take_turn(&mut self, now: Instant) -> bool {
        if self.under_way >= self.at_once {
            return false;
        }
        match &mut self.hold {
            None => true,
            Some(hold) if now < hold.next_try => false,
            Some(hold) => {
                hold.next_try = now + hold.wait(now);
                true
            }
        }
    }

    /// Raises `at_once` after a call that got through, or counts the call. All stop holding back.
    fn raise(&mut self) {
        if self.hold.take().is_some() {
            self.at_once = self.under_way.clamp(1, self.admitted);
        }
        if self.at_once < self.admitted {
            self.at_once += 1;
            return;
        }
        self.in_a_row += 1;
        if self.at_once < self.most && self.in_a_row >= self.at_once * self.caution {
            self.at_once += 1;
            self.admitted = self.at_once;
            self.in_a_row = 0;
            self.caution = (self.caution / 2).max(1);
        }
    }

    /// Lowers `at_once`, or makes all hold back, after a call that was refused. Does both if only one
    /// call was allowed.
    fn slow_down(&mut self, obstacle: Obstacle, now: Instant) {
        self.in_a_row = 0;
        if obstacle != Obstacle::TooMany || self.at_once == 1 {
            let since = self.hold.as_ref().map_or(now, |hold| hold.since);
            let mut hold = Hold {
                because: obstacle,
                since,
                next_try: now,
            };
            hold.next_try += hold.wait(now);
            self.hold = Some(hold);
        }
        if obstacle == Obstacle::TooMany {
            self.caution = (self.caution * 4).min(MOST_CAUTION);
            // `under_way` does not count the refused call any more. If 63 are left of 64, half is 32.
            self.at_once = self.under_way.div_ceil(2);
            self.set_admitted(self.under_way);
        }
    }

    /// Notes that the service admits this number of calls at once.
    fn set_admitted(&mut self, calls: usize) {
        self.admitted = calls.max(1);
        self.at_once = self.at_once.clamp(1, self.admitted);
    }
}

impl Hold {
    /// The wait for the next try.
    fn wait(&self, now: Instant) -> Duration {
        ((now - self.since) / 8).clamp(SHORTEST_HOLD, LONGEST_HOLD)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const TOO_FAST: Obstacle = Obstacle::TooFast(Duration::ZERO);
    const WORKERS: usize = 64;

    /// A run with a clock of its own. All calls are of one step, if a test names no other.
    struct Run {
        pace: Pace,
        began: Instant,
        now: Instant,
    }

    impl Run {
        fn new() -> Run {
            let now = Instant::now();
            Run {
                pace: Pace::new(WORKERS),
                began: now,
                now,
            }
        }

        fn wait(&mut self, seconds: f64) {
            self.now += Duration::from_secs_f64(seconds);
        }

        /// Waits until a call may begin. Returns the seconds since the run began.
        fn wait_for_try(&mut self) -> (Begun, f64) {
            loop {
                if let Some(begun) = self.begin(Stage::Upload) {
                    return (begun, (self.now - self.began).as_secs_f64());
                }
                self.wait(0.001);
            }
        }

        fn begin(&self, stage: Stage) -> Option<Begun> {
            self.pace
                .state
                .lock()
                .unwrap()
                .begin(stage, false, self.now)
        }

        /// Begins as many calls as the pace allows, if there are workers for them.
        fn begin_all(&self) -> Vec<Begun> {
            let mut calls = Vec::new();
            while calls.len() < WORKERS
                && let Some(begun) = self.begin(Stage::Upload)
            {
                calls.push(begun);
            }
            calls
        }

        fn get_through(&self, calls: &[Begun]) {
            for begun in calls {
                self.pace.got_through(begun, self.now);
            }
        }

        fn refuse(&self, begun: &Begun, obstacle: Obstacle) -> Verdict {
            self.pace.refused(begun, obstacle, self.now)
        }

        /// Begins as many calls as the pace allows. The service takes `room` of them, and refuses the
        /// others as too fast. Returns the number of all.
        fn round(&self, room: &mut usize) -> usize {
            let calls = self.begin_all();
            let (taken, refused) = calls.split_at(calls.len().min(*room));
            *room -= taken.len();
            self.get_through(taken);
            for begun in refused {
                self.refuse(begun, TOO_FAST);
            }
            calls.len()
        }

        /// Returns `at_once`, `admitted` and `caution`.
        fn numbers(&self) -> [usize; 3] {
            let step = &self.pace.state.lock().unwrap().steps[Stage::Upload as usize];
            [step.at_once, step.admitted, step.caution]
        }

        /// 64 calls have begun, and an API that takes 20 at once has refused the others. Returns the 20.
        fn with_20_of_64() -> (Run, VecDeque<Begun>) {
            let run = Run::new();
            let mut calls = run.begin_all();
            for begun in calls.drain(20..) {
                run.refuse(&begun, Obstacle::TooMany);
            }
            (run, calls.into())
        }
    }

    fn is_free(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::CostsNoTry)
    }

    // ---- The number of calls, and too many at once

    #[test]
    fn a_service_without_limits_notices_nothing() {
        let run = Run::new();
        for _ in 0..10 {
            let calls = run.begin_all();
            assert_eq!(calls.len(), WORKERS);
            run.get_through(&calls);
        }
        assert_eq!(run.numbers(), [WORKERS, WORKERS, 1]);
    }

    #[test]
    fn at_most_jobs_uploads_begin_however_many_got_through() {
        let mut run = Run::new();
        run.pace = Pace::new(3);
        for _ in 0..10 {
            let calls = run.begin_all();
            assert_eq!(calls.len(), 3);
            run.get_through(&calls);
        }
        let infos = std::iter::from_fn(|| run.begin(Stage::Info));
        assert_eq!(infos.take(WORKERS).count(), WORKERS);
    }

    #[test]
    fn of_64_calls_44_are_refused_and_20_are_left() {
        let run = Run::new();
        let calls = run.begin_all();
        assert_eq!(calls.len(), 64);
        assert!(is_free(&run.refuse(&calls[20], Obstacle::TooMany)));
        assert_eq!(run.numbers(), [32, 63, 4]);
        for (refused, begun) in (1..).zip(&calls[21..]) {
            assert!(is_free(&run.refuse(begun, Obstacle::TooMany)));
            let left = 63 - refused;
            assert_eq!(run.numbers(), [left.min(32), left, 4]);
        }
        assert_eq!(run.numbers(), [20, 20, 4]);
        assert!(run.begin(Stage::Upload).is_none());
    }

    #[test]
    fn calls_that_began_before_the_refusal_do_not_raise_the_number() {
        let (run, calls) = Run::with_20_of_64();
        run.get_through(&Vec::from(calls));
        assert_eq!(run.numbers(), [20, 20, 4]);
        assert_eq!(run.begin_all().len(), 20);
    }

    #[test]
    fn after_4_times_20_calls_one_more_begins_and_its_refusal_allows_10() {
        let (run, calls) = Run::with_20_of_64();
        run.get_through(&Vec::from(calls));
        let mut under_way = VecDeque::from(run.begin_all());
        for _ in 0..4 * 20 {
            assert_eq!(run.numbers(), [20, 20, 4]);
            run.get_through(&[under_way.pop_front().unwrap()]);
            under_way.extend(run.begin_all());
        }
        assert_eq!(run.numbers(), [21, 21, 2]);
        assert_eq!(under_way.len(), 21);
        run.refuse(&under_way.pop_back().unwrap(), Obstacle::TooMany);
        assert_eq!(run.numbers(), [10, 20, 8]);
        run.get_through(&Vec::from(under_way));
        for through in 0..10 {
            assert_eq!(run.numbers(), [10 + through, 20, 8]);
            run.get_through(&[run.begin(Stage::Upload).unwrap()]);
        }
        assert_eq!(run.numbers(), [20, 20, 8]);
    }

    #[test]
    fn the_limit_is_tested_after_4_then_8_then_16_times_20_calls() {
        let (run, mut under_way) = Run::with_20_of_64();
        let (mut through, mut under_way_in_all) = (0, 0);
        let mut counted = 0;
        let mut tests = Vec::new();
        while tests.len() < 20 {
            under_way_in_all += under_way.len();
            let is_at_limit = run.numbers()[0] == 20;
            let begun = under_way.pop_front().unwrap();
            let counts = begun.number
                > run.pace.state.lock().unwrap().steps[Stage::Upload as usize].newest_at_slow_down;
            run.get_through(&[begun]);
            through += 1;
            counted += usize::from(is_at_limit && counts);
            under_way.extend(run.begin_all());
            if under_way.len() > 20 {
                run.refuse(&under_way.pop_back().unwrap(), Obstacle::TooMany);
                tests.push(counted / 20);
                counted = 0;
            }
        }
        assert_eq!(tests[..4], [4, 8, 16, 16]);
        assert_eq!(tests[4..], [16; 16]);
        assert!(through / tests.len() > 300, "{through} calls");
        let in_use = under_way_in_all as f64 / through as f64;
        assert!(in_use > 18.0, "{in_use} of 20");
    }

    #[test]
    fn a_limit_that_has_gone_is_soon_forgotten() {
        let (run, mut under_way) = Run::with_20_of_64();
        let mut calls = 0;
        while run.numbers()[0] < WORKERS {
            run.get_through(&[under_way.pop_front().unwrap()]);
            under_way.extend(run.begin_all());
            calls += 1;
        }
        // 4 · 20 for the first test, 2 · 21 for the second one, and then one round each.
        assert!((80 + 42..3_000).contains(&calls), "{calls}");
        assert_eq!(run.numbers()[2], 1);
    }

    #[test]
    fn a_call_that_is_refused_alone_costs_a_try() {
        let run = Run::new();
        let begun = run.begin(Stage::Upload).unwrap();
        let verdict = run.refuse(&begun, Obstacle::TooMany);
        assert!(matches!(verdict, Verdict::CostsATry));
    }

    #[test]
    fn a_call_that_is_refused_beside_another_of_its_service_costs_no_try() {
        for (stage, other, costs_none) in [
            (Stage::Info, Stage::Link, true),
            (Stage::Upload, Stage::Upload, true),
            (Stage::Upload, Stage::Info, false),
        ] {
            let run = Run::new();
            let _before = run.begin(other).unwrap();
            let begun = run.begin(stage).unwrap();
            let verdict = run.refuse(&begun, Obstacle::TooMany);
            assert_eq!(is_free(&verdict), costs_none);
            let run = Run::new();
            let begun = run.begin(stage).unwrap();
            let _meanwhile = run.begin(other).unwrap();
            let verdict = run.refuse(&begun, Obstacle::TooMany);
            assert_eq!(is_free(&verdict), costs_none);
        }
    }

    #[test]
    fn where_one_call_at_once_is_too_many_all_hold_back() {
        let mut run = Run::new();
        let _other = run.begin(Stage::Info);
        for _ in 0..2 {
            let begun = run.begin(Stage::Upload).unwrap();
            run.refuse(&begun, Obstacle::TooMany);
        }
        assert_eq!(run.numbers()[..2], [1, 1]);
        assert!(run.begin(Stage::Upload).is_none());
        run.wait(0.5);
        assert!(run.begin(Stage::Upload).is_some());
    }

    // ---- Too fast

    #[test]
    fn of_60_calls_and_20_a_second_no_room_is_lost_and_a_third_is_refused() {
        let mut run = Run::new();
        let mut room = 60;
        assert_eq!(run.round(&mut room), 64);
        for _ in 0..100 {
            assert!(run.begin(Stage::Upload).is_none());
            run.wait(0.5);
            room += 10;
            let rounds = [(); 4].map(|()| run.round(&mut room));
            assert_eq!(rounds, [1, 2, 4, 8]); // 10 got through, and 5 of 15 were refused
            assert_eq!(room, 0);
        }
    }

    #[test]
    fn of_100_calls_in_each_10_s_at_most_the_first_1_25_s_are_missed() {
        let mut run = Run::new();
        let mut room = 100;
        assert_eq!([run.round(&mut room), run.round(&mut room)], [64, 64]);
        let mut last = 0.0;
        while last < 10.0 {
            let (begun, at) = run.wait_for_try();
            assert!((0.499..1.251).contains(&(at - last)), "{last} s, {at} s");
            if at < 10.0 {
                run.refuse(&begun, TOO_FAST);
            }
            last = at;
        }
        assert!(last < 11.25, "{last} s");
    }

    #[test]
    fn a_wait_grows_from_half_a_second_to_8_s() {
        let mut run = Run::new();
        let (begun, _) = run.wait_for_try();
        run.refuse(&begun, TOO_FAST);
        let mut waits = Vec::new();
        let mut last = 0.0;
        while last < 100.0 {
            let (begun, at) = run.wait_for_try();
            run.refuse(&begun, TOO_FAST);
            waits.push(at - last);
            last = at;
        }
        assert!(waits.is_sorted_by(|one, next| *next > one - 0.002));
        assert!((waits[0] - 0.5).abs() < 0.002, "{waits:?}");
        assert!((waits.last().unwrap() - 8.0).abs() < 0.002, "{waits:?}");
    }

    #[test]
    fn one_call_at_a_time_tries_again_even_if_the_last_has_no_answer() {
        let mut run = Run::new();
        let begun = run.begin(Stage::Upload).unwrap();
        run.refuse(&begun, TOO_FAST);
        for _ in 0..3 {
            assert!(run.begin(Stage::Upload).is_none());
            run.wait(0.5);
            assert!(run.begin(Stage::Upload).is_some());
        }
    }

    #[test]
    fn a_wait_that_the_service_names_is_obeyed() {
        let mut run = Run::new();
        let begun = run.begin(Stage::Upload).unwrap();
        run.refuse(&begun, Obstacle::TooFast(Duration::from_secs(20)));
        let (_, at) = run.wait_for_try();
        assert!((20.0..20.01).contains(&at), "{at}");
    }

    #[test]
    fn a_limit_of_one_step_does_not_hold_back_the_others() {
        let run = Run::new();
        let begun = run.begin(Stage::Upload).unwrap();
        run.refuse(&begun, TOO_FAST);
        assert!(run.begin(Stage::Upload).is_none());
        for stage in [Stage::Token, Stage::Info, Stage::Link] {
            assert!(run.begin(stage).is_some());
        }
    }

    // ---- Nobody there

    #[test]
    fn a_network_that_was_never_there_costs_a_try_and_nobody_holds_back() {
        let run = Run::new();
        let begun = run.begin(Stage::Upload).unwrap();
        let verdict = run.refuse(&begun, Obstacle::NobodyThere);
        assert!(matches!(verdict, Verdict::CostsATry));
        assert!(run.begin(Stage::Upload).is_some());
    }

    #[test]
    fn a_network_that_has_gone_costs_no_try_and_all_hold_back() {
        let run = Run::new();
        run.get_through(&[run.begin(Stage::Info).unwrap()]);
        let begun = run.begin(Stage::Upload).unwrap();
        assert!(is_free(&run.refuse(&begun, Obstacle::NobodyThere)));
        assert!(run.begin(Stage::Upload).is_none());
    }

    #[test]
    fn a_call_that_lasted_more_than_65_s_shows_that_the_network_is_there() {
        for (seconds, is_there) in [(65.0, false), (65.1, true)] {
            let mut run = Run::new();
            run.get_through(&[run.begin(Stage::Info).unwrap()]);
            let long = run.begin(Stage::Upload).unwrap();
            run.wait(seconds);
            let begun = run.begin(Stage::Upload).unwrap();
            run.refuse(&begun, Obstacle::NobodyThere);
            run.pace.failed(&long, run.now);
            assert_eq!(run.begin(Stage::Upload).is_some(), is_there, "{seconds}");
        }
    }

    // ---- The first call, and the end

    #[test]
    fn behind_a_proxy_the_first_call_goes_alone_until_it_is_answered() {
        let answers: [fn(&Run, &Begun); 3] = [
            |run, begun| run.get_through(std::slice::from_ref(begun)),
            |run, begun| {
                run.refuse(begun, Obstacle::TooMany);
            },
            |run, begun| run.pace.failed(begun, run.now),
        ];
        for answer in answers {
            let run = Run::new();
            let begin = |stage| {
                let mut state = run.pace.state.lock().unwrap();
                state.begin(stage, true, run.now)
            };
            let _beside_it = run.begin(Stage::Info).unwrap();
            let first = begin(Stage::Token).unwrap();
            assert!(begin(Stage::Token).is_none() && begin(Stage::Upload).is_none());
            assert!(run.begin(Stage::Info).is_some()); // goes through no proxy
            answer(&run, &first);
            assert!(begin(Stage::Upload).is_some() && begin(Stage::Upload).is_some());
        }
    }

    /// Refuses an upload, lets a call of `stage` through after 100 s if there is one, and refuses
    /// another upload that begins after `seconds`. Returns whether the run stops.
    fn gives_up(seconds: f64, stage: Option<Stage>) -> bool {
        let mut run = Run::new();
        let begun = run.begin(Stage::Upload).unwrap();
        run.refuse(&begun, TOO_FAST);
        run.wait(100.0);
        if let Some(stage) = stage {
            run.get_through(&[run.begin(stage).unwrap()]);
        }
        run.wait(seconds - 100.0);
        let begun = run.begin(Stage::Upload).unwrap();
        run.wait(1_000.0); // the time of the call itself does not count
        matches!(run.refuse(&begun, TOO_FAST), Verdict::GiveUp)
    }

    #[test]
    fn a_call_that_is_refused_after_three_minutes_without_progress_stops_the_run() {
        assert!(!gives_up(180.0, None));
        assert!(gives_up(180.1, None));
    }

    #[test]
    fn time_for_which_the_program_was_suspended_is_no_waiting() {
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        let mut state = State::default();
        state.look(began);
        // Nobody waits, and a call takes 100 s.
        assert_eq!(state.look(after(100)), after(100));
        // A thread waits for the end of a call, and then it holds back.
        let upload = Stage::Upload as usize;
        state.steps[upload].waiting = 1;
        assert_eq!(state.look(after(200)), after(200));
        state.steps[upload].slow_down(TOO_FAST, after(200));
        assert_eq!(state.look(after(204)), after(204));
        // Ctrl-Z for 190 s
        assert_eq!(state.look(after(394)), after(204));
        assert_eq!(state.look(after(395)), after(205));
    }

    #[test]
    fn a_link_is_progress_and_an_answer_of_step_2_is_none() {
        assert!(gives_up(180.1, Some(Stage::Info)));
        assert!(!gives_up(280.0, Some(Stage::Link)));
        assert!(gives_up(280.1, Some(Stage::Link)));
    }
}
