//! Limits of calls, as the services set them.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::faults::Fault;

/// How many calls are admitted.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// So many at once; what is used up comes back at so many a second.
    Bucket { calls: f64, per_second: f64 },
    /// So many in each stretch of time; it begins with a call, and the next begins with the first
    /// call after it.
    Window { calls: usize, length: Duration },
}

impl Limit {
    /// Strikes the calls that are beyond the limit. To be set for [`crate::When::Always`].
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

/// What has been used of a limit.
struct Spent {
    since: Instant,
    calls: f64,
}
