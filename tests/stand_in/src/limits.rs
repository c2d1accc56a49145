//! Limits, such as the services have: on the number of calls in a time, on the number of calls at
//! once, and a line that is too thin. This file does not know the calls.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::faults::Fault;

/// The number of calls that are let in.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// Lets in `calls` at once. After that, `per_second` more calls every second.
    Bucket { calls: f64, per_second: f64 },
    /// Lets in `calls` during each window of this `length`. A window begins with the first call
    /// after the end of the one before.
    Window { calls: usize, length: Duration },
}

impl Limit {
    /// Returns a fault that strikes the calls beyond the limit. Set it with [`crate::When::Always`].
    pub fn refuse_with(self, refusal: Fault) -> Fault {
        let began = Instant::now();
        let spent = Mutex::new(Spent {
            since: began,
            calls: 0.0,
        });
        Fault::custom(move |_| {
            let mut spent = spent.lock().expect("no panic under the lock");
            (!self.admits(&mut spent, Instant::now())).then(|| refusal.clone())
        })
    }

    fn admits(self, spent: &mut Spent, now: Instant) -> bool {
        let passed = now - spent.since;
        let most = match self {
            Limit::Bucket { calls, per_second } => {
                spent.calls = (spent.calls - passed.as_secs_f64() * per_second).max(0.0);
                spent.since = now;
                calls
            }
            Limit::Window { calls, length } => {
                if passed >= length {
                    *spent = Spent {
                        since: now,
                        calls: 0.0,
                    };
                }
                calls as f64
            }
        };
        let admitted = spent.calls + 1.0 <= most;
        if admitted {
            spent.calls += 1.0;
        }
        admitted
    }
}

/// The used part of a limit.
struct Spent {
    since: Instant,
    calls: f64,
}

// ---- At once ------------------------------------------------------------------------------------

/// Returns a fault that lets in this number of calls at once, and strikes the others with
/// `refusal`. A call that is let in takes the time `takes`. Set the fault with
/// [`crate::When::Always`]. Clones of it count together: set them for the steps that share a limit.
pub fn at_once(calls: usize, takes: Duration, refusal: Fault) -> Fault {
    let under_way = Arc::new(AtomicUsize::new(0));
    Fault::custom(move |_| {
        let Some(place) = Place::take(&under_way, calls) else {
            return Some(refusal.clone());
        };
        // The place is free before the reply goes out: the client may send its next request at once.
        let place = Mutex::new(Some(place));
        Some(Fault::after_body(move |_| {
            thread::sleep(takes);
            drop(place.lock().expect("no panic under the lock").take());
            None
        }))
    })
}

/// Returns a fault that waits until two calls are under way, and then strikes one of them with
/// `refusal`. Set it with [`crate::When::Times`] for two calls.
pub fn one_of_two(refusal: Fault) -> Fault {
    let both_are_here = Barrier::new(2);
    Fault::after_body(move |_| both_are_here.wait().is_leader().then(|| refusal.clone()))
}

/// A place among the calls under way. It is free again when this is dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(under_way: &Arc<AtomicUsize>, places: usize) -> Option<Place> {
        let one_more = |taken| (taken < places).then_some(taken + 1);
        under_way
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more)
            .ok()?;
        Some(Place(Arc::clone(under_way)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

// ---- A thin line --------------------------------------------------------------------------------

/// The time between two looks at the progress of an upload.
const TICK: Duration = Duration::from_millis(5);

/// Returns a fault that plays a line with room for this number of `uploads` at once. With room, an
/// upload takes the time `takes`. More uploads share the line, and all of them become slower. One
/// that has not come through after `patience` is struck with `refusal`. Set the fault with
/// [`crate::When::Always`], for uploads.
pub fn thin_line(uploads: usize, takes: Duration, patience: Duration, refusal: Fault) -> Fault {
    let under_way = Arc::new(AtomicUsize::new(0));
    Fault::after_body(move |_| {
        let place = Place::take(&under_way, usize::MAX)?;
        let began = Instant::now();
        let mut looked_at = began;
        let mut done = Duration::ZERO;
        loop {
            thread::sleep(TICK);
            let share = uploads as f64 / place.0.load(Ordering::SeqCst) as f64;
            done += looked_at.elapsed().mul_f64(share.min(1.0));
            looked_at = Instant::now();
            if done >= takes {
                return None;
            }
            if began.elapsed() >= patience {
                return Some(refusal.clone());
            }
        }
    })
}
