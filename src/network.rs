//! The one agent of all threads: TLS roots, proxies, TCP, time limits; and in plain words what goes
//! wrong below HTTP.
//!
//! Does not know what is sent.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout,
    RustlsConnector, Transport,
};
use ureq::{Agent, Proxy, ProxyProtocol, Timeout};

use crate::options::{Settings, variable};
use crate::retry::{Cure, Failure, Stage};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// So many times `--timeout` for a whole reply: one that comes byte by byte would never end.
const REPLY_TIMEOUTS: u32 = 10;
/// With its head, with TLS: ureq itself would read interim replies for ever.
const MAX_RECEIVED: usize = 2 << 20;
/// Per connection and layer (TCP, TLS), as is the next.
const INPUT_BUFFER: usize = 32 << 10;
const OUTPUT_BUFFER: usize = 64 << 10;

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
        ().chain(ConnectProxyConnector::default())
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
    let (cure, what) = in_words(agent, error);
    Failure::new(stage, cure, format!("{host}{via}: {what}"))
}

/// What can be done about an error of ureq's, and what it means.
fn in_words(agent: &Agent, error: ureq::Error) -> (Cure, String) {
    let timeout = agent.config().timeout_per_read().unwrap_or_default();
    let can_pass = |what: String| (Cure::Wait(None), what);
    match error {
        ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            can_pass("no connection within 10 s".into())
        }
        ureq::Error::Timeout(Timeout::RecvResponse | Timeout::RecvBody) => {
            let limit = (timeout * REPLY_TIMEOUTS).as_secs();
            can_pass(format!("no whole reply within {limit} s"))
        }
        ureq::Error::Timeout(_) => {
            let limit = timeout.as_secs();
            can_pass(format!("silent for {limit} s (--timeout)"))
        }
        ureq::Error::Io(error) if error.to_string().contains("certificate") => {
            let proxied = "behind a company proxy, name the file with its CA in SSL_CERT_FILE";
            let clock = "else see that this machine's clock is right";
            (Cure::Nothing, format!("{error}: {proxied}; {clock}"))
        }
        ureq::Error::Io(error) => can_pass(error.to_string()),
        ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) => {
            can_pass("no proper HTTP".into())
        }
        ureq::Error::HostNotFound => can_pass("no such host".into()),
        ureq::Error::BodyExceedsLimit(_) => can_pass("its reply is longer than 1 MiB".into()),
        ureq::Error::ConnectProxyFailed(why) => can_pass(why),
        ureq::Error::RequireHttpsOnly(_) => {
            let what = "plain http is refused, as `api_base` is https";
            (Cure::Nothing, what.into())
        }
        _ => (Cure::Nothing, "cannot be used".into()),
    }
}

/// The proxy that the environment names, with the precedence that curl has for https. (ureq's own
/// puts ALL_PROXY first, which often is a SOCKS proxy beside an HTTPS_PROXY, and takes HTTP_PROXY
/// for everything.)
fn proxy_from_env(settings: &Settings) -> Result<Option<Proxy>, String> {
    let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
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
    let no_proxy = variable("NO_PROXY").or_else(|| variable("no_proxy"));
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
        let resolver = DefaultResolver::default();
        let addresses = resolver.resolve(details.uri, details.config, details.timeout)?;
        let stream = connect_to_one_of(&addresses)?;
        let _ = stream.set_nodelay(true); // slower without, but right
        stream.set_write_timeout(details.config.timeout_per_write())?; // writes have no other limit
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(OUTPUT_BUFFER as u32);
        Ok(Some(Either::B(Tcp {
            stream,
            received: 0,
            broken: false,
            buffers: LazyBuffers::new(INPUT_BUFFER, OUTPUT_BUFFER),
        })))
    }
}

/// Tries one address after the other.
fn connect_to_one_of(addresses: &ResolvedSocketAddrs) -> Result<TcpStream, ureq::Error> {
    let share = CONNECT_TIMEOUT / addresses.len() as u32;
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses.iter() {
        match TcpStream::connect_timeout(address, share) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(or_timeout(failed, Timeout::Connect))
}

#[derive(Debug)]
struct Tcp {
    stream: TcpStream,
    /// Bytes since something was sent.
    received: usize,
    /// The peer takes nothing more.
    broken: bool,
    buffers: LazyBuffers,
}

impl Transport for Tcp {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        self.received = 0;
        match self.stream.write_all(&self.buffers.output()[..amount]) {
            Ok(()) => Ok(()),
            // Who refuses an upload may say so and close, without reading the rest: what it said is
            // still to be read.
            Err(error) if is_broken(&error) => {
                self.broken = true;
                Ok(())
            }
            Err(error) => Err(or_timeout(error, Timeout::PerWrite)),
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let timeout = timeout.for_read();
        self.stream
            .set_read_timeout(timeout.not_zero().as_deref().copied())?;
        let read = loop {
            match self.stream.read(self.buffers.input_append_buf()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {} // Ctrl-Z and fg
                read => break read,
            }
        };
        let amount = read.map_err(|error| or_timeout(error, timeout.reason))?;
        if self.broken && amount == 0 {
            return Err(io::Error::from(io::ErrorKind::ConnectionReset).into());
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
        let would_block = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
        self.stream.set_nonblocking(true).is_ok()
            && self.stream.read(&mut [0]).is_err_and(would_block)
            && self.stream.set_nonblocking(false).is_ok()
    }
}

fn is_broken(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionReset)
}

/// What the system says of a time that is up, in ureq's words.
fn or_timeout(error: io::Error, reason: Timeout) -> ureq::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ureq::Error::Timeout(reason),
        _ => error.into(),
    }
}
