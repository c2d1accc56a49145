//! The one HTTP agent of all threads: its time limits and certificate authorities.
//!
//! Does not know what is sent.

use std::env;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, KeyProvider, ring};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use ureq::http::Response;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, RustlsConnector};
use ureq::{Agent, Body};

use super::connect::CONNECT_TIMEOUT;
use super::failure::REPLY_TIMEOUT_FACTOR;
use super::look_up::LOOK_UP_TIMEOUT;
use super::proxy::proxy_from_env;
use super::tcp::{INPUT_BUFFER, OUTPUT_BUFFER, TcpConnector, forget_drops, note_drop};
use crate::cli::{LINK_CALLS, Settings};
use crate::disk::open_regular;
use crate::words::{io_words, words};

/// An idle connection is used again for this time. (It is ureq's own default.)
const MAX_IDLE_AGE: Duration = Duration::from_secs(15);
/// A file with all of Mozilla's authorities has a few hundred KiB.
const MAX_PEM_BYTES: u64 = 16 << 20;

/// Makes the one agent of all threads, which keeps their connections alive. The error is a sentence
/// about the environment.
pub fn http_agent(settings: &Settings) -> Result<Agent, String> {
    // More are in use if the API is slower than COS. Those beyond this number are closed when idle.
    let most_idle = settings.options.jobs + LINK_CALLS;
    let timeout = Duration::from_secs(settings.options.timeout.into());
    let config = Agent::config_builder()
        .user_agent(concat!("wx-upload/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .https_only(settings.https_only())
        .max_redirects(0)
        .proxy(proxy_from_env(settings)?)
        .tls_config(tls_config()?)
        .timeout_connect(Some(LOOK_UP_TIMEOUT + CONNECT_TIMEOUT))
        .timeout_recv_response(Some(timeout * REPLY_TIMEOUT_FACTOR))
        .timeout_recv_body(Some(timeout * REPLY_TIMEOUT_FACTOR))
        .timeout_per_read(Some(timeout))
        .input_buffer_size(INPUT_BUFFER)
        .output_buffer_size(OUTPUT_BUFFER)
        .max_idle_connections_per_host(most_idle)
        .max_idle_connections(2 * most_idle) // the API's host and COS's
        .build();
    let connector =
        ().chain(ConnectProxyConnector::default())
            .chain(TcpConnector)
            .chain(RustlsConnector::default());
    Ok(Agent::with_parts(config, connector, TcpConnector))
}

/// Sends a request. If the server had dropped the idle connection that was used (`tcp.rs` says when),
/// sends it again at once, on a new connection. `request` sends it, and uses no connection that was
/// idle for longer than the time it is given.
pub fn send(
    mut request: impl FnMut(Duration) -> Result<Response<Body>, ureq::Error>,
) -> Result<Response<Body>, ureq::Error> {
    forget_drops();
    let reply = request(MAX_IDLE_AGE);
    let Err(error) = &reply else {
        return reply;
    };
    // Then the file could not be read, and the connection is not the reason.
    let is_of_file = matches!(error, ureq::Error::Io(error) if error.kind() == ErrorKind::Other);
    if !is_of_file && note_drop() {
        return request(Duration::ZERO);
    }
    reply
}

fn tls_config() -> Result<TlsConfig, String> {
    let provider = CryptoProvider {
        key_provider: &NoKeys,
        ..ring::default_provider()
    };
    let config = TlsConfig::builder().root_certs(root_certs()?);
    let config = config.unversioned_rustls_crypto_provider(Arc::new(provider));
    Ok(config.build())
}

/// The keys of this program: none, as it shows no certificate. So what signs with keys is not linked.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(
        &self,
        _: PrivateKeyDer<'static>,
    ) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("no keys".to_owned()))
    }
}

/// Returns the certificate authorities to trust: those in SSL_CERT_FILE, or else the built-in ones,
/// which are Mozilla's.
fn root_certs() -> Result<RootCerts, String> {
    let Some(path) = env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) else {
        return Ok(RootCerts::WebPki);
    };
    let shown = Path::new(&path).display();
    let unreadable = |error| {
        let error = io_words(&error);
        words!(
            "SSL_CERT_FILE: {shown}: {error}: name another file in it, or unset it",
            "SSL_CERT_FILE: {shown}: {error}：请指定别的文件，或取消这个变量"
        )
    };
    let file = open_regular(Path::new(&path)).map_err(unreadable)?;
    let mut pem = Vec::new();
    let read = file.take(MAX_PEM_BYTES).read_to_end(&mut pem);
    read.map_err(unreadable)?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let Ok(PemItem::Certificate(certificate)) = item {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(words!(
            "SSL_CERT_FILE: {shown}: has no PEM certificate in it",
            "SSL_CERT_FILE: {shown}: 文件中没有 PEM 证书"
        ));
    }
    Ok(RootCerts::from(certificates))
}
