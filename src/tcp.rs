//! TCP connections for ureq. They differ from ureq's own in two things.
//!
//! **A short send queue.** The system takes megabytes from a program at once and sends them when it
//! can. At 100 kB/s, 4 MB take 40 s. For that time `--timeout` would see no byte move, and the progress
//! would be 4 MB ahead. So, on Linux, the queue of bytes that are not sent yet is kept at 64 KiB
//! (`TCP_NOTSENT_LOWAT`): every byte that the program hands over then tells that another one has left.
//!
//! **An ear for an early refusal.** A server that refuses an upload may answer, and close the
//! connection, before it has read the whole body. Then sending fails, though the answer has arrived.
//! So the connection reads what has come from time to time: after 64 KiB sent, after 128 KiB more, then
//! at longer intervals, at most every MiB. It also reads when sending fails. If an answer is there, the
//! rest of the body counts as sent, and ureq goes on to read the answer. If none is there, sending
//! fails at once, and the rest of the file is not read from disk.
//!
//! An answer is told from what TLS sends by itself: session tickets at the beginning of a connection
//! (two of some 250 bytes, so up to 1 KiB counts as tickets), and `close_notify` at the end (24 bytes).
//!
//! Two more limits protect against a hostile peer: a reply of over 2 MiB, and a proxy that sends its
//! reply byte by byte.
//!
//! This room knows nothing about TLS or HTTP, apart from those numbers. It does not know how a host is
//! found.

use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::TcpStream;
use std::time::Instant;

use ureq::Timeout;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};

use crate::connect::{CONNECT_TIMEOUT, connect, or_timeout};
use crate::words::either;

/// The limit of a reply, with its head and TLS. ureq itself would read interim replies for ever.
const MAX_RECEIVED: usize = 2 << 20;
/// Each connection has two buffers of each kind: one for TCP, one for TLS.
pub const INPUT_BUFFER: usize = 32 << 10;
pub const OUTPUT_BUFFER: usize = 64 << 10;
/// A connection reads what has come after this number of bytes sent; at first, sooner.
const LISTEN_EVERY: usize = 1 << 20;
/// At most this number of bytes are TLS's session tickets.
const TICKETS: usize = 1 << 10;
/// TLS's `close_notify` has this number of bytes.
const LAST_WORDS: usize = 24;

/// Makes connections. Hosts are looked up for new connections only: ureq asks its resolver for every
/// request, and a look-up can take as long as a round trip. (Only a SOCKS4 proxy needs ureq's
/// resolver, and `proxy_from_env` refuses those.)
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
        let until = Instant::now() + CONNECT_TIMEOUT;
        let stream = connect(details.uri, until)?;
        let _ = stream.set_nodelay(true); // an error makes the connection slower, but not wrong
        stream.set_write_timeout(details.config.timeout_per_write())?; // the only limit of a write
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(OUTPUT_BUFFER as u32);
        Ok(Some(Either::B(Tcp {
            stream,
            connect_until: until,
            received: 0,
            sent: 0,
            listen_after: OUTPUT_BUFFER,
            heard: false,
            tickets_due: details.uri.scheme_str() == Some("https"),
            replied: false,
            broken: false,
            timed_out: false,
            buffers: LazyBuffers::new(INPUT_BUFFER, OUTPUT_BUFFER),
        })))
    }
}

#[derive(Debug)]
pub struct Tcp {
    stream: TcpStream,
    /// A proxy's reply, which belongs to connecting, must be complete at this time.
    connect_until: Instant,
    /// Bytes received since something was sent.
    received: usize,
    /// Bytes sent since the connection was read last …
    sent: usize,
    /// … and the number at which it is read next.
    listen_after: usize,
    /// Something was received that ureq has not waited for. It may have used it since.
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
    /// Reads what the peer has sent, without waiting. Returns the number of bytes.
    fn listen(&mut self) -> io::Result<usize> {
        self.sent = 0;
        self.stream.set_nonblocking(true)?;
        let read = self.stream.read(self.buffers.input_append_buf());
        self.stream.set_nonblocking(false)?;
        let amount = read.unwrap_or(0); // an error comes again when ureq reads the reply
        self.buffers.input_appended(amount);
        self.heard |= amount > 0;
        Ok(amount)
    }

    /// Reads what the peer has sent while a request is sent, and notes whether it is a reply.
    fn listen_for_reply(&mut self) -> io::Result<()> {
        let amount = self.listen()?;
        let of_tls = if self.tickets_due {
            TICKETS
        } else {
            LAST_WORDS
        };
        self.replied |= amount > of_tls;
        self.tickets_due &= amount == 0;
        Ok(())
    }

    /// Decides what a failed write means. If the peer has replied, the rest of the request counts as
    /// sent, and ureq reads the reply next. If not, the error ends the request.
    fn hear_last_words(&mut self, error: io::Error) -> Result<(), ureq::Error> {
        let _ = self.listen_for_reply(); // its error has the same reason as `error`
        if self.replied {
            self.broken = true;
            return Ok(());
        }
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
        self.received = 0;
        if self.broken {
            return Ok(());
        }
        if self.timed_out {
            return Err(ureq::Error::Timeout(Timeout::PerWrite));
        }
        if let Err(error) = self.stream.write_all(&self.buffers.output()[..amount]) {
            return self.hear_last_words(error);
        }
        self.sent += amount;
        if self.sent >= self.listen_after {
            self.listen_after = (self.listen_after * 2).min(LISTEN_EVERY);
            self.listen_for_reply()?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.replied = false;
        if mem::take(&mut self.heard) && !self.buffers.input().is_empty() {
            return Ok(true);
        }
        let mut limit = timeout.for_read();
        if timeout.reason == Timeout::Connect {
            // ureq starts its limit again for each byte of a proxy's reply.
            let left = self.connect_until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ureq::Error::Timeout(Timeout::Connect));
            }
            limit.after = limit.after.min(left.into());
        }
        self.stream
            .set_read_timeout(limit.not_zero().as_deref().copied())?;
        let read = loop {
            match self.stream.read(self.buffers.input_append_buf()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {} // Ctrl-Z and fg
                read => break read,
            }
        };
        let amount = read.map_err(|error| or_timeout(error, limit.reason))?;
        if self.broken && amount == 0 {
            return Err(io::Error::from(ErrorKind::ConnectionReset).into());
        }
        self.buffers.input_appended(amount);
        self.received += amount;
        if self.received > MAX_RECEIVED {
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
        let would_block = |error: io::Error| error.kind() == ErrorKind::WouldBlock;
        self.stream.set_nonblocking(true).is_ok()
            && self.stream.read(&mut [0]).is_err_and(would_block)
            && self.stream.set_nonblocking(false).is_ok()
    }
}
