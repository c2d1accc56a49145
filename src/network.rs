//! The one agent of all threads: TLS roots, proxies, TCP, time limits; and in plain words what goes
//! wrong below HTTP.
//!
//! Does not know what is sent.

use std::env;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout,
    RustlsConnector, Transport,
};
use ureq::{Agent, Proxy, ProxyProtocol, Timeout};

use crate::failure::{Cure, Failure, Kind, Stage, quote};
use crate::options::{Settings, variable};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For an address where there are others.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(2);
/// So many times `--timeout` for a whole reply: one that comes byte by byte would never end.
const REPLY_TIMEOUTS: u32 = 10;
/// With its head, with TLS: ureq itself would read interim replies for ever.
const MAX_RECEIVED: usize = 2 << 20;
/// Per connection and layer (TCP, TLS), as is the next.
const INPUT_BUFFER: usize = 32 << 10;
const OUTPUT_BUFFER: usize = 64 << 10;
/// After so many bytes sent, a connection takes in what the peer says meanwhile; at first sooner.
const LISTEN_EVERY: usize = 1 << 20;
/// What a peer that closes a TLS connection may say last: `close_notify`, in a record of 24 bytes.
const LAST_WORDS: usize = 24;

/// The one agent of all threads, with the connections that they keep alive. The error is a sentence
/// about the environment.
pub fn http_agent(settings: &Settings) -> Result<Agent, String> {
    let threads = settings.jobs + 1; // the workers, and the main thread
    let timeout = Duration::from_secs(settings.timeout.into());
    let config = Agent::config_builder()
        .user_agent(concat!("wx-upload/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .https_only(settings.https_only())
        .max_redirects(0)
        .proxy(proxy_from_env(settings)?)
        .tls_config(TlsConfig::builder().root_certs(root_certs()?).build())
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(timeout * REPLY_TIMEOUTS))
        .timeout_recv_body(Some(timeout * REPLY_TIMEOUTS))
        .timeout_per_read(Some(timeout))
        .timeout_per_write(Some(timeout))
        .input_buffer_size(INPUT_BUFFER)
        .output_buffer_size(OUTPUT_BUFFER)
        .max_idle_connections_per_host(threads)
        .max_idle_connections(2 * threads) // the API's host and COS's
        .build();
    let connector =
        ().chain(ProxyConnector::default())
            .chain(TcpConnector)
            .chain(RustlsConnector::default());
    Ok(Agent::with_parts(config, connector, TcpConnector))
}

/// Puts what ureq says into words of our own: its messages may hold a URL with the access token in
/// it.
pub fn request_failed(agent: &Agent, stage: Stage, url: &str, error: ureq::Error) -> Failure {
    let uri: Uri = url.parse().unwrap_or_default();
    let host = match uri.scheme() {
        Some(_) => uri.host().unwrap_or("its URL"),
        None => "its URL",
    };
    let via = match agent.config().proxy() {
        Some(proxy) if !proxy.is_no_proxy(&uri) => {
            format!(", through the proxy {}:{}", proxy.host(), proxy.port())
        }
        _ => String::new(),
    };
    let Trouble { kind, cure, what } = in_words(agent, error);
    Failure::new(
        stage,
        Kind::Network(kind),
        cure,
        format!("{host}{via}: {what}"),
    )
}

/// What an error of ureq's means.
struct Trouble {
    kind: io::ErrorKind,
    cure: Cure,
    what: String,
}

fn in_words(agent: &Agent, error: ureq::Error) -> Trouble {
    let timeout = agent.config().timeout_per_read().unwrap_or_default();
    let can_pass = |kind, what: &str| Trouble {
        kind,
        cure: Cure::Wait(Duration::ZERO),
        what: what.to_owned(),
    };
    let lasts = |kind, what: &str| Trouble {
        kind,
        cure: Cure::Nothing,
        what: what.to_owned(),
    };
    match error {
        ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            can_pass(ErrorKind::TimedOut, "no connection within 10 s")
        }
        ureq::Error::Timeout(Timeout::RecvResponse | Timeout::RecvBody) => {
            let limit = (timeout * REPLY_TIMEOUTS).as_secs();
            can_pass(
                ErrorKind::TimedOut,
                &format!("no whole reply within {limit} s"),
            )
        }
        ureq::Error::Timeout(_) => {
            let limit = timeout.as_secs();
            can_pass(
                ErrorKind::TimedOut,
                &format!("silent for {limit} s (--timeout)"),
            )
        }
        ureq::Error::Io(error) => match error.to_string() {
            told if told.contains("certificate") => {
                lasts(ErrorKind::InvalidData, &certificate_refused(&told))
            }
            told => can_pass(error.kind(), &told),
        },
        ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) => {
            can_pass(ErrorKind::InvalidData, "no proper HTTP")
        }
        ureq::Error::HostNotFound => can_pass(ErrorKind::NotFound, "no such host"),
        ureq::Error::BodyExceedsLimit(limit) => {
            let limit = limit >> 10;
            can_pass(
                ErrorKind::InvalidData,
                &format!("its reply is longer than {limit} KiB"),
            )
        }
        ureq::Error::ConnectProxyFailed(why) => proxy_refused(&why),
        ureq::Error::RequireHttpsOnly(_) => lasts(
            ErrorKind::InvalidInput,
            "plain http is refused, as `api_base` is https",
        ),
        _ => lasts(ErrorKind::InvalidInput, "cannot be used"),
    }
}

/// The HTTP status in ureq's words for a proxy's refusal, which end with it.
fn proxy_status(why: &str) -> Option<u16> {
    why.rsplit('/').next()?.parse().ok()
}

fn is_password_wanted(why: &str) -> bool {
    proxy_status(why) == Some(407)
}

/// What a proxy's refusal means.
fn proxy_refused(why: &str) -> Trouble {
    let (cure, what) = match proxy_status(why) {
        Some(407) => {
            let help = "it wants a user name and a password, and not the ones it was given: \
                        HTTPS_PROXY must be like http://USER:PASSWORD@HOST:PORT";
            (Cure::StopRun, format!("HTTP 407: {help}"))
        }
        Some(status @ 400..500) => (
            Cure::Nothing,
            format!("HTTP {status}: it does not let this program through"),
        ),
        Some(status) => (Cure::Wait(Duration::ZERO), format!("HTTP {status}")),
        None => (Cure::Wait(Duration::ZERO), why.to_owned()),
    };
    Trouble {
        kind: ErrorKind::PermissionDenied,
        cure,
        what,
    }
}

/// What rustls says of a certificate, cut to a readable length, and what helps.
fn certificate_refused(told: &str) -> String {
    let help = if told.contains("UnknownIssuer") {
        "behind a company proxy, name the file with its authority's certificate in SSL_CERT_FILE"
    } else if told.contains("expired") || told.contains("not valid yet") {
        "see that this machine's clock is right; else the server's certificate must be renewed"
    } else if told.contains("not valid for") {
        "another server has answered: see that the address is right"
    } else {
        "the server's certificate cannot be used"
    };
    format!("{}: {help}", quote(told, &[]))
}

/// The proxy that the environment names, with the precedence that curl has for https. (ureq's own
/// puts ALL_PROXY first, which often is a SOCKS proxy beside an HTTPS_PROXY, takes HTTP_PROXY for
/// everything, and prefers capitals.)
fn proxy_from_env(settings: &Settings) -> Result<Option<Proxy>, String> {
    let names = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    let named = names.iter().find_map(|name| Some((name, variable(name)?)));
    let Some((name, url)) = named else {
        return Ok(None);
    };
    let unusable = || {
        format!("{name}: must be like http://HOST:PORT: other kinds of proxies are not supported")
    };
    let proxy = Proxy::new(&url).map_err(|_| unusable())?;
    if !matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https) {
        return Err(unusable());
    }
    // A copy, to which exceptions can be added.
    let mut copy = Proxy::builder(proxy.protocol())
        .host(proxy.host())
        .port(proxy.port());
    if let Some(username) = proxy.username() {
        copy = copy.username(username);
    }
    if let Some(password) = proxy.password() {
        copy = copy.password(password);
    }
    let no_proxy = variable("no_proxy").or_else(|| variable("NO_PROXY"));
    let mut exceptions = no_proxy.unwrap_or_default();
    if !settings.https_only() && name.eq_ignore_ascii_case("HTTPS_PROXY") {
        // The API is plain http: in a container, nobody else may carry the calls that the platform
        // signs.
        let api: Uri = settings.api_base.parse().unwrap_or_default();
        exceptions += ",";
        exceptions += api.host().unwrap_or_default();
    }
    for host in exceptions.split(',') {
        let host = host.trim().trim_start_matches('.');
        if !host.is_empty() {
            copy = copy.no_proxy(host).no_proxy(&format!(".{host}")); // the host, and all below it
        }
    }
    copy.build().map(Some).map_err(|_| unusable())
}

/// The certificate authorities to trust: those in SSL_CERT_FILE, or else the built-in ones, which
/// are Mozilla's.
fn root_certs() -> Result<RootCerts, String> {
    let Some(path) = env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) else {
        return Ok(RootCerts::WebPki);
    };
    let shown = Path::new(&path).display();
    let pem = fs::read(&path).map_err(|error| format!("SSL_CERT_FILE: {shown}: {error}"))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let Ok(PemItem::Certificate(certificate)) = item {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(format!(
            "SSL_CERT_FILE: {shown}: has no certificate in it (in PEM form)"
        ));
    }
    Ok(RootCerts::from(certificates))
}

/// Connects through a proxy as ureq's own does, but lets one thread go first: a wrong password,
/// sent by all of them, can lock an account.
#[derive(Debug, Default)]
struct ProxyConnector {
    inner: ConnectProxyConnector,
    first: Mutex<First>,
}

/// What became of the first connection through the proxy.
#[derive(Debug, Default)]
enum First {
    #[default]
    Untried,
    Tried,
    /// HTTP 407, in ureq's words.
    WantsPassword(String),
}

impl<In: Transport> Connector<In> for ProxyConnector {
    type Out = Either<In, Box<dyn Transport>>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        if details.config.proxy().is_none() {
            return self.inner.connect(details, chained); // also on the way to the proxy itself
        }
        let mut first = self.first.lock().unwrap();
        match &*first {
            First::Untried => {}
            First::Tried => {
                drop(first);
                return self.inner.connect(details, chained);
            }
            First::WantsPassword(why) => {
                return Err(ureq::Error::ConnectProxyFailed(why.clone()));
            }
        }
        let connected = self.inner.connect(details, chained);
        match &connected {
            Ok(None) => {} // NO_PROXY leads around it
            Err(ureq::Error::ConnectProxyFailed(why)) if is_password_wanted(why) => {
                *first = First::WantsPassword(why.clone());
            }
            _ => *first = First::Tried,
        }
        connected
    }
}

/// Connects as ureq's own does, but keeps the system's send queue short. That can hold megabytes,
/// which a slow network takes minutes for: all the while `--timeout` would see no byte move, and
/// progress would be ahead of the truth.
///
/// And it looks hosts up itself, for new connections alone. ureq asks its resolver for every
/// request, and a look-up can take as long as a round trip. (A SOCKS4 proxy would need an address
/// there: `proxy_from_env` lets none through.)
#[derive(Debug)]
struct TcpConnector;

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
            broken: false,
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
    match addresses.is_empty() {
        true => Err(ureq::Error::HostNotFound),
        false => Ok(addresses),
    }
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
struct Tcp {
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
    /// The peer takes nothing more, but has said something.
    broken: bool,
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

    /// What follows where the peer takes nothing more. Who refuses an upload may say so and close,
    /// without reading the rest: then what it said is still to be read, and ureq comes to that when
    /// it has "sent" everything. But where it said nothing, the rest is not even to be read from
    /// disk.
    fn hear_last_words(&mut self, error: io::Error) -> Result<(), ureq::Error> {
        match self.listen() {
            Ok(amount) if amount > LAST_WORDS => {
                self.broken = true;
                Ok(())
            }
            _ => Err(error.into()),
        }
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
        match self.stream.write_all(&self.buffers.output()[..amount]) {
            Ok(()) => {}
            Err(error) if is_broken(&error) => return self.hear_last_words(error),
            Err(error) => return Err(or_timeout(error, Timeout::PerWrite)),
        }
        // TLS has words of its own at the beginning: what comes after these is the reply.
        self.sent += amount;
        if self.sent >= self.listen_after {
            self.listen_after = (self.listen_after * 2).min(LISTEN_EVERY);
            self.listen()?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
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
            return Err(io::Error::other("sent more than any reply can have").into());
        }
        Ok(amount > 0)
    }

    /// Whether an idle connection can be used again: nothing has come, nor an end.
    fn is_open(&mut self) -> bool {
        let would_block = |error: io::Error| error.kind() == ErrorKind::WouldBlock;
        self.stream.set_nonblocking(true).is_ok()
            && self.stream.read(&mut [0]).is_err_and(would_block)
            && self.stream.set_nonblocking(false).is_ok()
    }
}

fn is_broken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
    )
}

/// What the system says of a time that is up, in ureq's words.
fn or_timeout(error: io::Error, reason: Timeout) -> ureq::Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => ureq::Error::Timeout(reason),
        _ => error.into(),
    }
}
