//! Plays the WeChat CloudRun API and Tencent COS for the tests, the demo and the benchmarks.
//!
//! [`StandIn`] listens on 127.0.0.1, over http or https, and answers as the services do: access
//! tokens, `/tcb/uploadfile`, the COS form upload, `/tcb/batchdownloadfile`, and the downloads
//! behind its links. It is stricter than the services: it also keeps a list of everything that a
//! careful client never does ([`StandIn::complaints`]). It logs every request. A test can make it
//! fail on purpose ([`StandIn::fault`]).
//!
//! Tests call the functions of this file. It does not know HTTP, and not what the services answer.

mod connections;
mod faults;
mod forms;
mod io;
mod limits;
mod reply;
mod request;
mod services;
mod state;
mod text;
mod tls;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use serde_json::{Value, json};
use socket2::{Domain, SockRef, Socket, Type};
use ureq::Agent;
use ureq::tls::{Certificate as PemCertificate, RootCerts, TlsConfig};

pub use faults::{Fault, When};
pub use limits::{Limit, at_once, one_of_two, thin_line};
pub use request::{Request, Step};
pub use services::file_id_of;
pub use state::Object;
pub use tls::Certificate;

use connections::accept;
use faults::Rule;
use io::shrink_receive_buffer;
use state::{Shared, State, TokenKind};
use text::find_any;
use tls::tls;

/// The only account that the stand-in knows.
pub const APPID: &str = "wx0123456789abcdef";
pub const SECRET: &str = "5ec3e75ec3e75ec3e75ec3e75ec3e75e";
pub const ENV: &str = "prod-1g2h3j4k5l";

/// The number of connections that wait until they are accepted.
const BACKLOG: i32 = 128;

/// The running services. Dropping it closes the listener and all connections.
pub struct StandIn {
    /// The certificate authority to trust, as PEM. Empty over http.
    pub ca_pem: String,
    shared: Arc<Shared>,
    /// Not in `shared`: connections keep that alive, but the port must close with the stand-in.
    listener: Arc<TcpListener>,
    acceptor: Option<JoinHandle<()>>,
}

impl StandIn {
    /// Starts over http.
    pub fn http() -> Self {
        Self::start(None, String::new())
    }

    /// Starts over https, with a certificate for `localhost` and 127.0.0.1.
    pub fn https() -> Self {
        Self::https_with(Certificate::Good)
    }

    /// Starts over https with a certificate of this kind.
    pub fn https_with(certificate: Certificate) -> Self {
        let (config, ca_pem) = tls(certificate);
        Self::start(Some(Arc::new(config)), ca_pem)
    }

    fn start(tls: Option<Arc<ServerConfig>>, ca_pem: String) -> Self {
        let listener = Arc::new(listener().expect("a free port"));
        let port = listener.local_addr().expect("a bound socket").port();
        let base = match tls {
            Some(_) => format!("https://localhost:{port}"),
            None => format!("http://127.0.0.1:{port}"),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(base)),
            changed: Condvar::new(),
            rules: Mutex::default(),
            tls,
            received: Arc::default(),
        });
        let acceptor = thread::spawn({
            let (shared, listener) = (Arc::clone(&shared), Arc::clone(&listener));
            move || accept(&shared, &listener)
        });
        Self {
            ca_pem,
            shared,
            listener,
            acceptor: Some(acceptor),
        }
    }

    /// Returns the address of the API, without a `/` at the end.
    pub fn base(&self) -> String {
        self.shared.lock().base.clone()
    }

    /// Puts another address, such as that of a relay, into [`base`](Self::base) and into every URL
    /// of a reply.
    pub fn set_base(&self, base: &str) {
        self.shared.lock().base = base.to_owned();
    }

    /// Puts another origin into the `url` in replies of `/tcb/uploadfile`.
    pub fn set_upload_origin(&self, origin: &str) {
        self.shared.lock().upload_origin = Some(origin.to_owned());
    }

    /// Makes the URLs in replies raw: the key stands in them as it is, not percent-encoded.
    pub fn raw_urls(&self, on: bool) {
        self.shared.lock().raw_urls = on;
    }

    /// Puts this query, such as `?sign=…&t=…`, behind the URLs in replies.
    pub fn set_url_query(&self, query: &str) {
        self.shared.lock().url_query = query.to_owned();
    }

    /// Makes the `file_id`s in replies percent-encoded.
    pub fn encode_file_ids(&self, on: bool) {
        self.shared.lock().encoded_file_ids = on;
    }

    /// Hides each later object from its first calls for a link (STORAGE_FILE_NONEXIST). At the
    /// service this may last a moment after an upload.
    pub fn hide_new_objects(&self, calls: usize) {
        self.shared.lock().hidden_for = calls;
    }

    /// Removes an object from the bucket.
    pub fn remove_object(&self, key: &str) {
        self.shared.lock().objects.remove(key);
    }

    /// Writes a `config.json` into `dir`: the keys of the script, and `api_base`.
    pub fn config_json(&self, dir: &Path) -> PathBuf {
        self.config_json_with(dir, json!({}))
    }

    /// Writes the same config, but replaces or adds the keys of the object `changes`.
    pub fn config_json_with(&self, dir: &Path, changes: Value) -> PathBuf {
        let mut config = json!({
            "appid": APPID, "secret": SECRET, "env": ENV,
            "create_time": null, "expires_in": null, "access_token": null,
            "auth": "token", "api_base": self.base(),
        });
        for (key, value) in changes.as_object().expect("changes are an object") {
            config[key] = value.clone();
        }
        let lines = config.as_object().into_iter().flatten();
        let lines: Vec<_> = lines
            .map(|(key, value)| format!("    {}: {value}", json!(key)))
            .collect();
        let path = dir.join("config.json");
        let text = format!("{{\n{}\n}}", lines.join(",\n"));
        fs::write(&path, text).expect("a config that can be written");
        #[cfg(unix)] // the program does the same, as the file holds a secret
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("our own file");
        path
    }

    /// Writes [`ca_pem`](Self::ca_pem) into a file in `dir`, for `SSL_CERT_FILE`.
    pub fn ca_file(&self, dir: &Path) -> PathBuf {
        let path = dir.join("ca.pem");
        fs::write(&path, &self.ca_pem).expect("a certificate file that can be written");
        path
    }

    /// Makes requests of a step fail. Later calls add faults: two faults with [`When::Once`] strike
    /// the next two requests. To strike one key a few times, use [`Fault::Custom`] with
    /// [`When::Times`].
    pub fn fault(&self, step: Step, when: When, fault: Fault) {
        if matches!(
            fault,
            Fault::Slow { .. } | Fault::StopReading | Fault::At(..)
        ) {
            // Connections inherit the small buffer. It must be set before TCP announces its first
            // window.
            shrink_receive_buffer(SockRef::from(self.listener.as_ref()));
        }
        self.shared.lock_rules().push(Rule {
            step,
            when,
            fault,
            strikes: 0,
        });
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.shared.lock_rules().clear();
    }

    /// Closes the port: it refuses connections, and no other program can take it. The open
    /// connections stay open.
    pub fn close_port(&self) {
        self.shared.change(|state| state.port_is_closed = true);
        // The socket does not listen any more, but stays bound to the port.
        let listener = SockRef::from(self.listener.as_ref());
        listener
            .shutdown(Shutdown::Both)
            .expect("a listening socket");
    }

    /// Opens the port again.
    pub fn open_port(&self) {
        let listener = SockRef::from(self.listener.as_ref());
        listener.listen(BACKLOG).expect("a bound socket");
        self.shared.change(|state| state.port_is_closed = false);
    }

    /// Breaks all connections, also in the middle of a request or a reply.
    pub fn break_connections(&self) {
        let state = self.shared.lock();
        for tcp in state.open.values() {
            // A reset follows when the thread of the connection notices its end.
            SockRef::from(tcp).set_linger(Some(Duration::ZERO)).ok();
            tcp.shutdown(Shutdown::Both).ok();
        }
    }

    /// Sends the replies that [`Fault::Hold`] holds back, and holds back no later ones.
    pub fn open_gate(&self) {
        self.shared.change(|state| state.gate_is_open = true);
    }

    /// Waits until `n` requests of the step have come in. Returns false after `patience`.
    pub fn wait_for(&self, step: Step, n: usize, patience: Duration) -> bool {
        let have_come = |state: &State| state.count(step) >= n;
        self.shared.wait(patience, have_come);
        have_come(&self.shared.lock())
    }

    /// Plays the API inside a CloudRun container with 开放接口服务: the client must not send
    /// an `access_token`.
    pub fn auth_none(&self, on: bool) {
        self.shared.lock().auth_none = on;
    }

    /// Lets only these paths through the sidecar of the container ([`auth_none`](Self::auth_none)).
    /// Without a list it lets all through.
    pub fn permit_paths(&self, paths: &[&str]) {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        self.shared.lock().permission_list = Some(paths);
    }

    /// Makes a token valid that the stand-in did not issue, such as the one in a test's config.
    pub fn accept_token(&self, token: &str) {
        self.shared
            .lock()
            .add_token(TokenKind::Accepted, token.to_owned());
    }

    /// Makes all tokens invalid (errcode 40001). At the service this happens when another user of
    /// the account asks for a token.
    pub fn kill_tokens(&self) {
        let now = Instant::now();
        self.shared
            .lock()
            .tokens
            .iter_mut()
            .for_each(|token| token.die(now));
    }

    /// Sets the lifetime of later tokens, in seconds. The default is 7200.
    pub fn set_expires_in(&self, seconds: u64) {
        self.shared.lock().expires_in = seconds;
    }

    /// Sets how long an old token of `/cgi-bin/token` stays valid after a new one was issued. The
    /// default is 0; at the service it is up to 5 minutes.
    pub fn set_token_grace(&self, grace: Duration) {
        self.shared.lock().token_grace = grace;
    }

    /// Sets the lifetime of later signatures. The default is 15 minutes.
    pub fn set_signature_lifetime(&self, lifetime: Duration) {
        self.shared.lock().signature_lifetime = lifetime;
    }

    /// Turns checksums on or off (`x-cos-hash-crc64ecma`; the service may leave it out, too).
    pub fn check_crc(&self, on: bool) {
        self.shared.lock().check_crc = on;
    }

    /// Sets whether the bytes of objects are kept.
    pub fn store(&self, on: bool) {
        self.shared.lock().store = on;
    }

    /// Returns the requests of a step, in the order in which they came.
    pub fn requests(&self, step: Step) -> Vec<Request> {
        let state = self.shared.lock();
        state
            .requests
            .iter()
            .filter(|request| request.step == step)
            .cloned()
            .collect()
    }

    /// Returns the number of requests of a step so far.
    pub fn count(&self, step: Step) -> usize {
        self.shared.lock().count(step)
    }

    /// Returns an HTTP client that trusts the stand-in's certificate and uses no proxy.
    pub fn agent(&self) -> Agent {
        let authority = PemCertificate::from_pem(self.ca_pem.as_bytes()).expect("a certificate");
        let roots = RootCerts::new_with_certs(&[authority]);
        let tls = TlsConfig::builder().root_certs(roots).build();
        Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .build()
            .into()
    }

    /// Returns the number of connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// Returns the number of bytes that came over all connections so far, with those of TLS.
    pub fn bytes_received(&self) -> u64 {
        self.shared.received.load(Ordering::SeqCst)
    }

    /// Returns the objects in the bucket, by key.
    pub fn objects(&self) -> BTreeMap<String, Object> {
        self.shared.lock().objects.clone()
    }

    /// Returns the access tokens that the stand-in issued, oldest first.
    pub fn tokens_issued(&self) -> Vec<String> {
        let state = self.shared.lock();
        let issued = state
            .tokens
            .iter()
            .filter(|token| token.kind != TokenKind::Accepted);
        issued.map(|token| token.value.clone()).collect()
    }

    /// Returns the highest number of uploads that ran at once. An upload runs from the head of its
    /// request to its reply.
    pub fn max_concurrent_uploads(&self) -> usize {
        self.shared.lock().most_uploads
    }

    /// Returns everything that a client must never show: the AppSecret, all access tokens, all
    /// `authorization`s, the signatures at their ends, and all security tokens.
    pub fn secrets(&self) -> Vec<String> {
        let state = self.shared.lock();
        let mut secrets = vec![SECRET.to_owned()];
        secrets.extend(state.tokens.iter().map(|token| token.value.clone()));
        for (authorization, permit) in &state.permits {
            let signature = authorization.rsplit('=').next().unwrap_or_default();
            secrets.extend([
                authorization.clone(),
                signature.to_owned(),
                permit.token.clone(),
            ]);
        }
        secrets
    }

    /// Returns one of the [`secrets`](Self::secrets) that stand in this text.
    pub fn secret_within(&self, text: &str) -> Option<String> {
        find_any(text, &self.secrets()).cloned()
    }

    /// Lists what came in that a careful client never sends, even if the request was served: a
    /// token or account that was never valid, an escape in the JSON, form fields in a wrong order,
    /// and so on. An expired or killed token is not listed.
    pub fn complaints(&self) -> Vec<String> {
        self.shared.lock().complaints.clone()
    }
}

/// Returns a listener on a free port. It keeps the port while it does not listen. The system lets go
/// of a port that it has chosen, so the listener asks for it by its number.
fn listener() -> std::io::Result<TcpListener> {
    let bind = |port: u16| -> std::io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], port)).into())?;
        Ok(socket)
    };
    let chosen = bind(0)?;
    let address = chosen.local_addr()?.as_socket();
    let listener = bind(address.map_or(0, |address| address.port()))?;
    listener.listen(BACKLOG)?;
    Ok(listener.into())
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.shared.change(|state| {
            state.stopped = true;
            state.port_is_closed = false;
            for tcp in state.open.values() {
                tcp.shutdown(Shutdown::Both).ok();
            }
        });
        // The acceptor waits for a connection: this one wakes it. With a closed port there is none,
        // and none is needed.
        let woken = self.listener.local_addr().and_then(TcpStream::connect);
        if let (Ok(_), Some(acceptor)) = (woken, self.acceptor.take()) {
            acceptor.join().ok();
        }
    }
}
