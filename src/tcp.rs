//! TCP connections for ureq. They differ from ureq's own in three things.
//!
//! **A short send queue.** The system takes megabytes from a program at once and sends them when it
//! can. At 100 kB/s, 4 MB take 40 s. For that time `--timeout` would see no byte move, and the progress
//! would be 4 MB ahead. So, on Linux, the queue of bytes that are not sent yet is kept at 64 KiB
//! (`TCP_NOTSENT_LOWAT`): every byte that the program hands over then tells that another one has left.
//!
//! **A time limit for each address.** A host may have several addresses, and some may be dead (IPv6
//! that leads nowhere is the common case). Each address but the last gets 2 s of the 10 s for the
//! connection. For example, with one dead address before a good one, a connection takes 2 s.
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
//! **Plain http to this machine stays on it.** It may carry the AppSecret, as nobody is on the way. But
//! `localhost` can lead to another machine where nobody but the network's name server answers for it,
//! as in a container without `/etc/hosts`. So only loopback addresses are used for such a URL.
//!
//! This room knows nothing about TLS or HTTP, apart from that and those numbers.

use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ureq::Timeout;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::http::uri::Scheme;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};

use crate::known_hosts::KnownHosts;
use crate::url::is_this_machine;

/// Why nothing is sent to a `localhost` that is another machine.
pub const NOT_THIS_MACHINE: &str = "this name leads to another machine, where plain http is not \
                                    sent: check /etc/hosts, or use https";

pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The time for an address, if there are others.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(2);
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

/// Makes connections. It also looks hosts up, for new connections only: ureq asks its resolver for
/// every request, and a look-up can take as long as a round trip. (Only a SOCKS4 proxy needs ureq's
/// resolver, and `proxy_from_env` refuses those.)
#[derive(Debug, Default)]
pub struct TcpConnector {
    known_hosts: KnownHosts,
}

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
        let connect = || {
            let addresses = look_up(details.uri)?;
            connect_to_one_of(&addresses, until)
                .map_err(|error| or_timeout(error, Timeout::Connect))
        };
        let stream = self.known_hosts.connect(details.uri, connect)?;
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

/// Whether a connection to a URL's host can be made now.
pub fn can_connect(uri: &Uri) -> bool {
    let until = Instant::now() + CONNECT_TIMEOUT;
    look_up(uri).is_ok_and(|addresses| connect_to_one_of(&addresses, until).is_ok())
}

/// Returns the addresses of a URL's host. The system's look-up has no time limit, so a thread does
/// it. If the system gives no thread, the look-up has no limit.
fn look_up(uri: &Uri) -> Result<Vec<SocketAddr>, ureq::Error> {
    let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
        return Err(ureq::Error::BadUri("no host".into()));
    };
    let Some(host_and_port) = DefaultResolver::host_and_port(scheme, authority) else {
        return Err(ureq::Error::BadUri("no port".into()));
    };
    let (sender, receiver) = mpsc::channel();
    let name = host_and_port.clone();
    let look_up = move || sender.send(name.to_socket_addrs());
    let addresses = match thread::Builder::new().spawn(look_up) {
        Ok(_) => match receiver.recv_timeout(CONNECT_TIMEOUT) {
            Ok(addresses) => addresses?,
            Err(_) => return Err(ureq::Error::Timeout(Timeout::Resolve)),
        },
        Err(_) => host_and_port.to_socket_addrs()?,
    };
    let mut addresses: Vec<SocketAddr> = addresses.collect();
    if addresses.is_empty() {
        return Err(ureq::Error::HostNotFound);
    }
    if *scheme == Scheme::HTTP && is_this_machine(authority.host()) {
        addresses.retain(|address| address.ip().is_loopback());
        if addresses.is_empty() {
            return Err(io::Error::other(NOT_THIS_MACHINE).into());
        }
    }
    Ok(addresses)
}

/// Tries one address after the other. A dead one leaves time for the others.
fn connect_to_one_of(addresses: &[SocketAddr], until: Instant) -> io::Result<TcpStream> {
    let mut failed = io::Error::from(ErrorKind::NotFound);
    for (index, address) in addresses.iter().enumerate() {
        let is_last = index + 1 == addresses.len();
        let left = until.saturating_duration_since(Instant::now());
        let limit = if is_last {
            left
        } else {
            left.min(ADDRESS_TIMEOUT)
        };
        if limit.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(address, limit) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
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
            return Err(io::Error::other("it sent more than any reply can hold").into());
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

/// Turns the system's error for a time limit into ureq's.
fn or_timeout(error: io::Error, reason: Timeout) -> ureq::Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => ureq::Error::Timeout(reason),
        _ => error.into(),
    }
}
