//! The one agent of all threads: its time limits, TLS roots and proxy.
//!
//! Does not know what is sent.

use std::env;
use std::io::Read;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::{
    ConnectProxyConnector, ConnectionDetails, Connector, Either, RustlsConnector, Transport,
};
use ureq::{Agent, Proxy, ProxyProtocol};

use crate::disk::open_regular;
use crate::options::{Settings, is_this_machine, variable};
use crate::tcp::{CONNECT_TIMEOUT, INPUT_BUFFER, OUTPUT_BUFFER, TcpConnector};
use crate::trouble::{REPLY_TIMEOUTS, is_password_wanted};

/// All authorities that there are take a few hundred KiB.
const MAX_PEM_BYTES: u64 = 16 << 20;

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
        format!(
            "{name}: must be like http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, where special \
             characters are percent-encoded: other kinds of proxies are not supported"
        )
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
    if exceptions.trim() == "*" {
        return Ok(None);
    }
    let api: Uri = settings.api_base.parse().unwrap_or_default();
    let api_host = api.host().unwrap_or_default();
    // Where the API is plain http, HTTPS_PROXY is not meant; and what may be sent to this machine
    // alone must not go to another one, whose own "localhost" it would become.
    let is_for_https = name.eq_ignore_ascii_case("HTTPS_PROXY");
    if !settings.https_only() && (is_for_https || is_this_machine(api_host)) {
        exceptions += ",";
        exceptions += api_host;
    }
    for host in exceptions.split([',', ' ']) {
        let host = host.trim_matches('.');
        // Among others, `*` says nothing, as in curl.
        if !host.is_empty() && host != "*" {
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
    let mut pem = Vec::new();
    let read = open_regular(Path::new(&path))
        .and_then(|file| file.take(MAX_PEM_BYTES).read_to_end(&mut pem));
    read.map_err(|error| format!("SSL_CERT_FILE: {shown}: {error}"))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let Ok(PemItem::Certificate(certificate)) = item {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(format!(
            "SSL_CERT_FILE: {shown}: has no PEM certificate in it"
        ));
    }
    Ok(RootCerts::from(certificates))
}

/// So long threads may wait for a proxy's answer to another one.
const SOON: Duration = Duration::from_millis(200);

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
    /// It led through, or the proxy did not answer soon: then to wait for one thread after the
    /// other would take too long.
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
        let began = Instant::now();
        let connected = self.inner.connect(details, chained);
        match &connected {
            Ok(None) => {} // NO_PROXY leads around it
            Err(ureq::Error::ConnectProxyFailed(why)) if is_password_wanted(why) => {
                *first = First::WantsPassword(why.clone());
            }
            // Of the password it said nothing; and to ask it again takes no time.
            Err(ureq::Error::ConnectProxyFailed(_)) if began.elapsed() < SOON => {}
            _ => *first = First::Tried,
        }
        connected
    }
}
