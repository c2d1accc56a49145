//! The send queues of this program's connections: bytes that the system took from the program, but
//! that the peer has not taken yet (its system has not acknowledged them).
//!
//! Only Linux tells them without `unsafe` code, in a table of all TCP connections. Reading the table
//! takes 1 ms on most machines, but 0.1 s on a server with 50,000 connections. So all threads share
//! what was read, and it is not read again before 20 times that time has passed: at most a
//! twentieth of a processor goes into it.
//!
//! Does not know what is sent, nor for whom a queue is looked at.

#[cfg(target_os = "linux")]
use std::fs;
use std::net::TcpStream;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What was read is good for this time …
const GOOD_FOR: Duration = Duration::from_millis(100);
/// … or for this many times the time that reading took.
const READING_COSTS: u32 = 20;

static QUEUES: Mutex<Queues> = Mutex::new(Queues {
    of_inodes: Vec::new(),
    good_until: None,
});

struct Queues {
    /// Each socket's number in the system, and the bytes in its queue when the table was read last:
    /// `None` if it did not stand there.
    of_inodes: Vec<(u64, Option<u64>)>,
    good_until: Option<Instant>,
}

/// The queue of one connection.
#[derive(Debug)]
pub struct SendQueue {
    /// `None` if the system does not tell.
    inode: Option<u64>,
}

impl SendQueue {
    /// The queue of a new connection.
    pub fn of(stream: &TcpStream) -> SendQueue {
        let inode = inode_of(stream);
        if let Some(inode) = inode {
            QUEUES.lock().unwrap().of_inodes.push((inode, None));
        }
        SendQueue { inode }
    }

    /// Returns the bytes in the queue. They may be 0.1 s old. `None` if the system does not tell.
    pub fn bytes(&self) -> Option<u64> {
        let mut queues = QUEUES.lock().unwrap();
        queues.update();
        let mut of_inodes = queues.of_inodes.iter();
        let (_, bytes) = of_inodes.find(|(inode, _)| Some(*inode) == self.inode)?;
        *bytes
    }
}

impl Drop for SendQueue {
    fn drop(&mut self) {
        let of_inodes = &mut QUEUES.lock().unwrap().of_inodes;
        of_inodes.retain(|(inode, _)| Some(*inode) != self.inode);
    }
}

/// Returns the bytes that are now in the queues of all connections, as far as the system tells. `None`
/// if it is too early to look again.
pub fn bytes_queued() -> Option<u64> {
    let mut queues = QUEUES.lock().unwrap();
    let is_new = queues.update();
    let of_inodes = queues.of_inodes.iter();
    is_new.then(|| of_inodes.filter_map(|(_, bytes)| *bytes).sum())
}

impl Queues {
    /// Reads the system's table, unless what was read is still good. Returns whether all is new.
    #[cfg(target_os = "linux")]
    fn update(&mut self) -> bool {
        let began = Instant::now();
        if self.of_inodes.is_empty() {
            return true;
        }
        if self.good_until.is_some_and(|until| began < until) {
            return false;
        }
        for (_, bytes) in &mut self.of_inodes {
            *bytes = None;
        }
        for name in ["tcp", "tcp6"] {
            let table = fs::read_to_string(format!("/proc/self/net/{name}")).unwrap_or_default();
            for line in table.lines() {
                self.take_line(line);
            }
        }
        let took = began.elapsed();
        self.good_until = Some(began + took + GOOD_FOR.max(took * READING_COSTS));
        true
    }

    #[cfg(not(target_os = "linux"))]
    fn update(&mut self) -> bool {
        true
    }

    /// Takes the queue from a line of the table, if it is that of an own connection:
    ///
    /// ```text
    /// sl local_address rem_address st tx_queue:rx_queue tr:when retrnsmt uid timeout inode …
    /// 3: 0100007F:9C4E 0100007F:1F90 01 0000FA00:00000000 01:00000014 00000000 0 0 163720 …
    /// ```
    #[cfg(target_os = "linux")]
    fn take_line(&mut self, line: &str) {
        let mut columns = line.split_ascii_whitespace();
        let queue = columns.nth(4).and_then(|queues| queues.get(..8));
        let inode = columns.nth(4).and_then(|inode| inode.parse::<u64>().ok());
        let (Some(queue), Some(inode)) = (queue, inode) else {
            return;
        };
        for (own, bytes) in &mut self.of_inodes {
            if *own == inode {
                *bytes = u64::from_str_radix(queue, 16).ok();
            }
        }
    }
}

/// Returns the number of a socket, as the system's table has it.
fn inode_of(stream: &TcpStream) -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        // It looks like `socket:[163720]`.
        let link = fs::read_link(format!("/proc/self/fd/{}", stream.as_raw_fd())).ok()?;
        let digits = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        digits.parse().ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = stream;
        None
    }
}
