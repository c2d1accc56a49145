//! Distinguishes a slow peer from a silent one.
//!
//! A peer is silent if it sends no byte and takes no byte for `--timeout`. It has taken a byte if its
//! system has acknowledged it. A byte in the queue of this machine proves nothing.
//!
//! For example, 60 kB go over a line of 8 kB/s. The system takes all at once, and the program
//! waits for the reply. The line is busy for 7.5 s. With `--timeout 4`, a plain wait would end after
//! 4 s, in the middle of the work. So a wait has parts of an eighth of `--timeout`, here 0.5 s. After
//! each part, the send queue is looked at. If the peer has taken something, its time begins again. So
//! this upload goes on. Two kinds of peers count as silent, after `--timeout` or an eighth more:
//!
//! - one that is gone: it acknowledges nothing, and the queue stays as it is;
//! - one that takes everything and does not answer: its time begins with the last byte that it took.
//!
//! Why an eighth? Eight looks cost little, and a failure that comes an eighth later disturbs nobody.
//!
//! Where the system does not report its queue, the program can't know how long it takes to empty. So
//! it waits longer: after 64 KiB or more, twice `--timeout`; after 32 KiB, one and a half times.
//!
//! Does not know what is sent and received.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::send_queue::SendQueue;

/// A wait has this number of parts.
const PARTS: u32 = 8;
/// Where the system does not report its queue, the wait after this number of bytes is twice as
/// long.
const FULL_QUEUE: u64 = 64 << 10;

/// The silence of the peer of one connection.
#[derive(Debug)]
pub struct Silence {
    queue: SendQueue,
    /// `--timeout`
    timeout: Duration,
    /// The last time that the peer, or this machine's queue, took a byte; or the beginning of the
    /// wait.
    since: Instant,
    /// Bytes that the system took in all.
    written: u64,
    /// Those of them that the peer had taken at the last look.
    taken: u64,
    /// Those of them that the system took since the peer sent something.
    unanswered: u64,
}

impl Silence {
    /// Of the peer of a new connection.
    pub fn of(stream: &TcpStream, timeout: Duration) -> Silence {
        Silence {
            queue: SendQueue::of(stream),
            timeout,
            since: Instant::now(),
            written: 0,
            taken: 0,
            unanswered: 0,
        }
    }

    /// Notes that the system took bytes.
    pub fn wrote(&mut self, bytes: usize) {
        self.since = Instant::now();
        self.written += bytes as u64;
        self.unanswered += bytes as u64;
    }

    /// Notes that the peer sent something.
    pub fn received(&mut self) {
        self.unanswered = 0;
    }

    /// Begins a wait for the peer. Returns the length of its first part.
    pub fn begin_wait(&mut self) -> Duration {
        self.since = Instant::now();
        self.longest_part()
    }

    /// Looks at the send queue after a part of a wait. Returns the length of the next part: zero if
    /// the peer was silent for too long.
    pub fn next_part(&mut self) -> Duration {
        let limit = self.timeout_after_look();
        self.left(limit).min(self.longest_part())
    }

    /// The part of `limit` that is left.
    pub fn left(&self, limit: Duration) -> Duration {
        limit.saturating_sub(self.since.elapsed())
    }

    fn timeout_after_look(&mut self) -> Duration {
        let Some(queued) = self.queue.bytes() else {
            return self.timeout_without_look();
        };
        let taken = self.written.saturating_sub(queued);
        if taken > self.taken {
            self.taken = taken;
            self.since = Instant::now();
        }
        self.timeout
    }

    /// The most time between two looks. Outside of Linux there is nothing to look at, and a wait has
    /// only one part. (Windows may also lose bytes if a wait ends and begins again.)
    fn longest_part(&self) -> Duration {
        if cfg!(target_os = "linux") {
            self.timeout / PARTS
        } else {
            self.timeout_without_look()
        }
    }

    /// How long the peer may be silent if the system does not report its queue.
    fn timeout_without_look(&self) -> Duration {
        let unanswered = self.unanswered.min(FULL_QUEUE) as u32;
        self.timeout + self.timeout * unanswered / FULL_QUEUE as u32
    }
}
