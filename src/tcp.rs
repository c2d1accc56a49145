//! TCP, with what ureq's own lacks: a short send queue, a limit for each address, an ear for who
//! refuses early.
//!
//! Does not know TLS, nor HTTP.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ureq::Timeout;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};

pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For an address where there are others.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(2);
/// With its head, with TLS: ureq itself would read interim replies for ever.
const MAX_RECEIVED: usize = 2 << 20;
/// Per connection and layer (TCP, TLS), as is the next.
pub const INPUT_BUFFER: usize = 32 << 10;
pub const OUTPUT_BUFFER: usize = 64 << 10;
/// After so many bytes sent, a connection takes in what the peer says meanwhile; at first sooner.
const LISTEN_EVERY: usize = 1 << 20;
/// What TLS says by itself at the beginning of a connection: session tickets, as a rule two of some
/// 250 bytes.
const TICKETS: usize = 1 << 10;
/// What a peer that closes a TLS connection may say last: `close_notify`, in a record of 24 bytes.
const LAST_WORDS: usize = 24;

/// Connects as ureq's own does, but keeps the system's send queue short. That can hold megabytes,
/// which a slow network takes minutes for: all the while `--timeout` would see no byte move, and
/// progress would be ahead of the truth.
///
/// And it looks hosts up itself, for new connections alone. ureq asks its resolver for every
/// request, and a look-up can take as long as a round trip. (A SOCKS4 proxy would need an address
/// there: `proxy_from_env` lets none through.)
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
        let addresses = look_up(details.uri)?;
        let stream = connect_to_one_of(&addresses, until)
            .map_err(|error| or_timeout(error, Timeout::Connect))?;
        let _ = stream.set_nodelay(true); // slower without, but right
        stream.set_write_timeout(details.config.timeout_per_write())?; // writes have no other limit
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

/// The addresses of a URL's host. As looking it up has no time limit, it is done in a thread of its
/// own; where the system gives none, then without a limit.
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
    let addresses: Vec<SocketAddr> = addresses.collect();
    if addresses.is_empty() {
        return Err(ureq::Error::HostNotFound);
    }
    Ok(addresses)
}

/// Tries one address after the other. One that hangs leaves time for the others.
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
    /// When what belongs to connecting, a proxy's reply, has to be there.
    connect_until: Instant,
    /// Bytes since something was sent.
    received: usize,
    /// Bytes since the peer was listened to …
    sent: usize,
    /// … and after how many it will be again.
    listen_after: usize,
    /// Something came while the peer was listened to, and nobody has been told yet.
    heard: bool,
    /// What comes first may be TLS's own.
    tickets_due: bool,
    /// More came than TLS says by itself: the reply.
    replied: bool,
    /// The peer takes nothing more, but has said something.
    broken: bool,
    /// The peer has taken nothing for too long. TLS does not pass that on at once, but sends again.
    timed_out: bool,
    buffers: LazyBuffers,
}

impl Tcp {
    /// Takes in what the peer has sent meanwhile, without waiting for it. Returns how much came.
    fn listen(&mut self) -> io::Result<usize> {
        self.sent = 0;
        self.stream.set_nonblocking(true)?;
        let read = self.stream.read(self.buffers.input_append_buf());
        self.stream.set_nonblocking(false)?;
        let amount = read.unwrap_or(0); // an error shows again where a reply is waited for
        self.buffers.input_appended(amount);
        self.heard |= amount > 0;
        Ok(amount)
    }

    /// Listens while a request is sent.
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

    /// What follows where the peer takes nothing more. Who refuses an upload may say so and close,
    /// without reading the rest: then what it said is still to be read, and ureq comes to that when
    /// it has "sent" everything. But where it said nothing, the rest is not even to be read from
    /// disk.
    fn hear_last_words(&mut self, error: io::Error) -> Result<(), ureq::Error> {
        let _ = self.listen_for_reply(); // an error is told by `error`, too
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
        if self.heard {
            self.heard = false;
            return Ok(true);
        }
        let mut limit = timeout.for_read();
        if timeout.reason == Timeout::Connect {
            // ureq waits so long again for each byte of a proxy's reply.
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

    /// Whether an idle connection can be used again: nothing has come, nor an end.
    fn is_open(&mut self) -> bool {
        self.tickets_due = false; // they came with the reply before
        let would_block = |error: io::Error| error.kind() == ErrorKind::WouldBlock;
        self.stream.set_nonblocking(true).is_ok()
            && self.stream.read(&mut [0]).is_err_and(would_block)
            && self.stream.set_nonblocking(false).is_ok()
    }
}

/// What the system says of a time that is up, in ureq's words.
fn or_timeout(error: io::Error, reason: Timeout) -> ureq::Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => ureq::Error::Timeout(reason),
        _ => error.into(),
    }
}
