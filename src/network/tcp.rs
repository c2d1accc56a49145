//! TCP connections for ureq. They differ from ureq's own connections in what follows.
//!
//! **A short send queue.** The system takes megabytes from a program at once and sends them when it
//! can. At 100 kB/s, 4 MB take 40 s. For that time the program would know nothing, and a failure would
//! come 40 s late. So the queue is kept short. On Linux, it holds at most 64 KiB that are not sent yet
//! (`TCP_NOTSENT_LOWAT`). Bytes that are sent, but not acknowledged, do not count: the line is busy
//! with them, and the system measures how many it needs. Windows and macOS have only one limit, for
//! sent and unsent bytes together. There it is 256 KiB, which is enough for 70 Mbit/s over 30 ms.
//! Less would slow down a fast line.
//!
//! **A slow peer is not a silent one.** A write may block for `--timeout`. A reply may take
//! `--timeout`, and longer while the system may still be sending: up to twice `--timeout` after 64 KiB
//! or more that nobody has answered. For example, 60 kB go over a line of 8 kB/s. The system takes all
//! at once, and the line is busy for 7.5 s. With `--timeout 4`, the reply may take 4 s and
//! 60/65.5 of 4 s more, 7.7 s in all. No system tells how long its queue takes to empty, so this is a
//! guess: it serves each line that carries 64 KiB in the time of `--timeout`.
//!
//! **An ear for an early refusal.** A server that refuses an upload may answer, and close the
//! connection, before it has read the whole body. Then sending fails, though the answer has arrived.
//! So the connection reads what has arrived while it sends: after 64 KiB, and after 128 KiB more. The
//! interval grows up to 1 MiB. (When a connection is reset, the system throws away what was not read.)
//! An answer alone does not end the sending. But if sending fails then, the rest of the body counts as
//! sent, and ureq goes on to read the answer. If no answer is there, the request fails at once, and
//! the rest of the file is not read from disk.
//!
//! TLS also sends bytes by itself, which are no answer: session tickets at the beginning of a
//! connection (two of some 250 bytes, so up to 1 KiB counts as tickets), and `close_notify` at the
//! end (up to 31 bytes).
//!
//! **A connection that the server has dropped.** Servers close idle connections, some without a word, and
//! the next request on such a connection gets nothing. That says nothing about the request. So it is made
//! again at once, on a new connection, if the connection was used before, no byte of a reply has come,
//! and at most 64 KiB of the request were handed over (`send` in `agent.rs`). What has broken off later
//! costs a try. After three drops, a host's connections are not used again.
//!
//! **Two limits against a hostile peer.** A reply has at most 2 MiB, and a proxy's reply takes at
//! most 10 s, even if each of its bytes comes in time.
//!
//! Knows nothing about TLS and HTTP but those numbers. Does not know how a host is found.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::Timeout;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};

use super::connect::{Connected, Host, connect, is_timeout, or_timeout};
use super::proxy::check_proxy;
use crate::words::either;

/// The limit of a reply, with its head and TLS. ureq itself would read interim replies for ever.
const MAX_RECEIVED: usize = 2 << 20;
pub const INPUT_BUFFER: usize = 32 << 10;
pub const OUTPUT_BUFFER: usize = 64 << 10;
/// The limit of the send queue where sent and unsent bytes count together.
#[cfg(not(target_os = "linux"))]
const SEND_QUEUE: usize = 256 << 10;
/// Longer than any reply may take.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// After this number of bytes without an answer, a reply may take twice as long.
const UNANSWERED_AT_MOST: usize = 64 << 10;
/// A connection looks for an answer each time it has sent this number of bytes; at first, sooner.
const LISTEN_EVERY: usize = 1 << 20;
/// At most this number of bytes are TLS's session tickets.
const TICKET_BYTES: usize = 1 << 10;
/// TLS's `close_notify` has at most this number of bytes (in TLS 1.2; 24 in TLS 1.3).
const CLOSE_NOTIFY_BYTES: usize = 31;
/// A request is repeated if at most this number of its bytes were handed over: 64 KiB, and TLS's own.
const REPEATED_AT_MOST: usize = OUTPUT_BUFFER + 1024;

thread_local! {
    /// On the last connection of this thread that was used before, nothing of a reply has come yet.
    static UNANSWERED: Cell<Option<Unanswered>> = const { Cell::new(None) };
}

/// A request on a connection that was used before. If it has failed, the server had dropped the
/// connection.
struct Unanswered {
    host: Arc<Host>,
    can_repeat: bool,
}

/// Notes the drop, if the failed request of this thread met one. Returns whether the request can be
/// repeated. (Each request stays on its thread.)
pub fn note_drop() -> bool {
    let Some(request) = UNANSWERED.take() else {
        return false;
    };
    request.host.dropped();
    request.can_repeat
}

/// Forgets the requests before.
pub fn forget_drops() {
    UNANSWERED.set(None);
}

/// Makes connections. Hosts are looked up for new connections only: ureq asks its resolver for every
/// request, and a look-up can take as long as a round trip. (Only a SOCKS4 proxy needs ureq's
/// resolver, and such proxies are refused.)
#[derive(Debug)]
pub struct TcpConnector;

impl Resolver for TcpConnector {
    fn resolve(
        &self,
        _: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}

impl<In: Transport> Connector<In> for TcpConnector {
    type Out = Either<In, Tcp>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        if let Some(tunnel) = chained {
            return Ok(Some(Either::A(tunnel)));
        }
        check_proxy(details)?;
        let Connected {
            stream,
            host,
            until,
        } = connect(details.uri)?;
        let timeout = details.config.timeout_per_read().unwrap_or(A_DAY);
        stream.set_write_timeout(Some(timeout))?;
        let _ = stream.set_nodelay(true); // an error makes the connection slower, but not wrong
        keep_queue_short(&stream);
        Ok(Some(Either::B(Tcp {
            stream,
            host,
            connected: Instant::now(),
            timeout,
            read_timeout: Duration::ZERO,
            connect_until: until,
            unanswered: 0,
            was_used: false,
            heard_in_all: 0,
            handed_over: 0,
            listen_at: OUTPUT_BUFFER,
            heard: false,
            tickets_due: details.uri.scheme_str() == Some("https"),
            replied: false,
            broken: false,
            timed_out: false,
            buffers: LazyBuffers::new(INPUT_BUFFER, OUTPUT_BUFFER),
        })))
    }
}

/// Sets the limit of the send queue. If that fails, progress is less true, but nothing else is wrong.
fn keep_queue_short(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_notsent_lowat(OUTPUT_BUFFER as u32);
    #[cfg(not(target_os = "linux"))]
    let _ = socket.set_send_buffer_size(SEND_QUEUE);
}

/// Returns how long the peer may send nothing: `timeout`, and up to twice that after 64 KiB that it has
/// not answered.
fn longest_silence(timeout: Duration, unanswered: usize) -> Duration {
    let unanswered = unanswered.min(UNANSWERED_AT_MOST) as u32;
    timeout + timeout * unanswered / UNANSWERED_AT_MOST as u32
}

#[derive(Debug)]
pub struct Tcp {
    stream: TcpStream,
    host: Arc<Host>,
    connected: Instant,
    /// `--timeout`
    timeout: Duration,
    /// The time limit that the system has now for one read.
    read_timeout: Duration,
    /// A proxy's reply and TLS's handshake belong to connecting. They must be complete at this time.
    connect_until: Instant,
    /// Bytes that the system took since the peer sent something.
    unanswered: usize,
    /// An earlier request was answered on this connection.
    was_used: bool,
    /// Bytes that the peer sent since that answer.
    heard_in_all: usize,
    /// Bytes that the system took since that answer.
    handed_over: usize,
    /// When `handed_over` has reached this number, the connection looks for an answer.
    listen_at: usize,
    /// `listen_for_reply` has received bytes. ureq may have used them since.
    heard: bool,
    /// The first bytes to come may be TLS's session tickets.
    tickets_due: bool,
    /// More was received than TLS sends by itself: the reply.
    replied: bool,
    /// The peer takes no more bytes, but has replied.
    broken: bool,
    /// The peer took no byte for too long. TLS does not report this at once, but sends again.
    timed_out: bool,
    buffers: LazyBuffers,
}

impl Tcp {
    /// Hands bytes of the output buffer to the system, until it has taken all of them.
    fn write(&mut self, amount: usize) -> io::Result<()> {
        let mut written = 0;
        while written < amount {
            match self.stream.write(&self.buffers.output()[written..amount]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    written += count;
                    self.unanswered += count;
                    self.handed_over += count;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {} // as after Ctrl-Z and fg
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for bytes and reads them. Returns the number of bytes.
    fn read(&mut self, timeout: NextTimeout) -> Result<usize, ureq::Error> {
        loop {
            let left = match timeout.reason {
                // ureq starts its limit again for each byte of a proxy's reply.
                Timeout::Connect => self.connect_until.saturating_duration_since(Instant::now()),
                _ => *timeout.after,
            };
            if left.is_zero() {
                return Err(ureq::Error::Timeout(timeout.reason));
            }
            let silence = longest_silence(self.timeout, self.unanswered);
            let wait = silence.min(left);
            if self.read_timeout != wait {
                let _ = self.stream.set_read_timeout(Some(wait)); // macOS: an error if the peer is gone
                self.read_timeout = wait;
            }
            match self.stream.read(self.buffers.input_append_buf()) {
                Ok(amount) => return Ok(amount),
                Err(error) if error.kind() == ErrorKind::Interrupted => {} // as after Ctrl-Z and fg
                Err(error) if is_timeout(&error) => {
                    let reason = if left < silence {
                        timeout.reason
                    } else {
                        Timeout::PerRead
                    };
                    return Err(ureq::Error::Timeout(reason));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Notes whether nothing of a reply has come so far. (After TLS's `close_notify`, TLS reads no
    /// more, so this may be the last word.)
    fn note_unanswered(&self) {
        let is_unanswered = self.was_used && self.heard_in_all <= CLOSE_NOTIFY_BYTES;
        UNANSWERED.set(is_unanswered.then(|| Unanswered {
            host: Arc::clone(&self.host),
            can_repeat: self.handed_over <= REPEATED_AT_MOST,
        }));
    }

    /// Reads what the peer has sent while a request is sent, without waiting, and notes whether it is a
    /// reply.
    fn listen_for_reply(&mut self) -> io::Result<()> {
        self.stream.set_nonblocking(true)?;
        let read = self.stream.read(self.buffers.input_append_buf());
        self.stream.set_nonblocking(false)?;
        // Most often the error is `WouldBlock`: nothing is there. Any other error comes again when ureq
        // reads the reply.
        let amount = read.unwrap_or(0);
        self.buffers.input_appended(amount);
        self.heard |= amount > 0;
        self.heard_in_all += amount;
        let of_tls = if self.tickets_due {
            TICKET_BYTES
        } else {
            CLOSE_NOTIFY_BYTES
        };
        self.replied |= amount > of_tls;
        self.tickets_due &= amount == 0;
        Ok(())
    }

    /// Decides what a failed write means. If the peer has replied, the rest of the request counts as
    /// sent, and ureq reads the reply next. If not, the error ends the request.
    fn after_failed_write(&mut self, error: io::Error) -> Result<(), ureq::Error> {
        let _ = self.listen_for_reply(); // its error has the same reason as `error`
        self.note_unanswered();
        if self.replied {
            self.broken = true;
            return Ok(());
        }
        self.host.broke();
        let error = or_timeout(error, Timeout::PerWrite);
        self.timed_out = matches!(error, ureq::Error::Timeout(_));
        Err(error)
    }
}

impl Transport for Tcp {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        if self.broken {
            return Ok(());
        }
        if self.timed_out {
            return Err(ureq::Error::Timeout(Timeout::PerWrite));
        }
        if let Err(error) = self.write(amount) {
            return self.after_failed_write(error);
        }
        if self.handed_over >= self.listen_at {
            // After 64 KiB, then after 128 KiB more, and so on.
            self.listen_at += (self.listen_at + OUTPUT_BUFFER).min(LISTEN_EVERY);
            self.listen_for_reply()?;
        }
        // TLS may not even look for a reply: a `close_notify` can have come with the last one.
        self.note_unanswered();
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.replied = false;
        if mem::take(&mut self.heard) && !self.buffers.input().is_empty() {
            return Ok(true);
        }
        let read = self.read(timeout);
        self.heard_in_all += *read.as_ref().unwrap_or(&0);
        self.note_unanswered();
        if !matches!(read, Ok(1..)) {
            self.host.broke();
        }
        let amount = read?;
        if self.broken && amount == 0 {
            return Err(io::Error::from(ErrorKind::ConnectionReset).into());
        }
        self.buffers.input_appended(amount);
        self.unanswered = 0;
        if self.heard_in_all > MAX_RECEIVED {
            let why = either(
                "it sent more than any reply can hold",
                "对方发来的数据超出了应答的长度上限",
            );
            return Err(io::Error::other(why).into());
        }
        Ok(amount > 0)
    }

    /// Whether an idle connection can be used again: the peer has sent nothing and not closed it.
    fn is_open(&mut self) -> bool {
        self.tickets_due = false; // they came with the last reply
        self.was_used = true;
        self.heard_in_all = 0;
        self.handed_over = 0;
        self.listen_at = OUTPUT_BUFFER;
        if !self.host.may_reuse(self.connected) {
            return false;
        }
        if self.stream.set_nonblocking(true).is_err() {
            return false;
        }
        let has_sent_nothing = match self.stream.read(&mut [0]) {
            Err(error) => error.kind() == ErrorKind::WouldBlock,
            Ok(_) => false,
        };
        has_sent_nothing && self.stream.set_nonblocking(false).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_may_take_the_timeout_and_up_to_twice_that_after_64_kib() {
        let cases = [
            (0, 4.0),
            (32 << 10, 6.0),
            (60_000, 7.662), // the example at the top
            (64 << 10, 8.0),
            (5 << 30, 8.0),
        ];
        for (unanswered, seconds) in cases {
            let silence = longest_silence(Duration::from_secs(4), unanswered).as_secs_f64();
            assert!((silence - seconds).abs() < 0.001, "{unanswered}: {silence}");
        }
        let hour = Duration::from_secs(3600);
        assert_eq!(longest_silence(hour, 64 << 10), 2 * hour);
    }
}
