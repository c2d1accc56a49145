//! Limits on the number of calls, such as the services have. This file does not know the calls.

use std::sync::Mutex;
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
