//! A stand-in of the WeChat CloudRun API and of Tencent COS, for tests, the demo and the bench.
//!
//! [`StandIn`] listens on 127.0.0.1, over http or https, and answers as the services do: access
//! tokens, `/tcb/uploadfile`, the COS form upload, `/tcb/batchdownloadfile`, and the downloads that
//! its links name. It is as strict as the services and stricter: what a careful client never does
//! is also kept in [`StandIn::complaints`]. It logs every request, and goes wrong on demand: see
//! [`StandIn::fault`].

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
use std::net::{Shutdown, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use serde_json::{Value, json};
use socket2::SockRef;
use ureq::Agent;
use ureq::tls::{Certificate as PemCertificate, RootCerts, TlsConfig};

pub use faults::{Fault, When};
pub use limits::Limit;
pub use request::{Request, Step};
pub use services::file_id_of;
pub use state::Object;
pub use tls::Certificate;

use connections::accept;
use faults::Rule;
use io::shrink_receive_buffer;
use state::{Shared, State, TokenKind};
use tls::tls;

/// The account that the stand-in knows, and no other.
pub const APPID: &str = "wx0123456789abcdef";
pub const SECRET: &str = "5ec3e75ec3e75ec3e75ec3e75ec3e75e";
pub const ENV: &str = "prod-1g2h3j4k5l";

/// The services. Dropping it closes the listener and all connections.
pub struct StandIn {
    /// The certificate authority to trust, as PEM; empty over http.
    pub ca_pem: String,
    shared: Arc<Shared>,
    /// Not in `shared`, which connections hold on to: its port has to close with the stand-in.
    listener: Arc<TcpListener>,
    acceptor: Option<JoinHandle<()>>,
}

impl StandIn {
    pub fn http() -> Self {
        Self::start(None, String::new())
    }

    /// With a certificate for `localhost` and 127.0.0.1, made on the spot.
    pub fn https() -> Self {
        Self::https_with(Certificate::Good)
    }

    pub fn https_with(certificate: Certificate) -> Self {
        let (config, ca_pem) = tls(certificate);
        Self::start(Some(Arc::new(config)), ca_pem)
    }

    fn start(tls: Option<Arc<ServerConfig>>, ca_pem: String) -> Self {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").expect("a free port"));
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

    /// Where the API is, without a last `/`.
    pub fn base(&self) -> String {
        self.shared.lock().base.clone()
    }

    /// Names another address, of a relay say, in [`base`](Self::base) and in every URL of a reply.
    pub fn set_base(&self, base: &str) {
        self.shared.lock().base = base.to_owned();
    }

    /// Names another origin in the `url` that `/tcb/uploadfile` answers.
    pub fn set_upload_origin(&self, origin: &str) {
        self.shared.lock().upload_origin = Some(origin.to_owned());
    }

    /// Whether URLs in replies are raw: the key as it is, with nothing percent-encoded.
    pub fn raw_urls(&self, on: bool) {
        self.shared.lock().raw_urls = on;
    }

    /// Writes `config.json` as the script had it, and `api_base`, into `dir`.
    pub fn config_json(&self, dir: &Path) -> PathBuf {
        self.config_json_with(dir, json!({}))
    }

    /// The same, with the keys of the object `changes` replaced or added.
    pub fn config_json_with(&self, dir: &Path, changes: Value) -> PathBuf {
        let mut config = json!({
            "appid": APPID, "secret": SECRET, "env": ENV,
            "create_time": null, "expires_in": null, "access_token": null,
            "api_base": self.base(),
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
        #[cfg(unix)] // as the program writes it: it holds a secret
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("our own file");
        path
    }

    /// Writes [`ca_pem`](Self::ca_pem) into `dir`, for `SSL_CERT_FILE`.
    pub fn ca_file(&self, dir: &Path) -> PathBuf {
        let path = dir.join("ca.pem");
        fs::write(&path, &self.ca_pem).expect("a certificate file that can be written");
        path
    }

    /// Sets what goes wrong, and when. Faults add up: two that strike `Once` strike the next two
    /// requests. To strike one key a few times only, use [`Fault::Custom`] under [`When::Times`].
    pub fn fault(&self, step: Step, when: When, fault: Fault) {
        if matches!(fault, Fault::Slow { .. } | Fault::StopReading) {
            // Connections inherit it, and it has to be there before the first window is announced.
            shrink_receive_buffer(SockRef::from(self.listener.as_ref()));
        }
        self.shared.lock_rules().push(Rule {
            step,
            when,
            fault,
            strikes: 0,
        });
    }

    /// Ends all faults set so far.
    pub fn clear_faults(&self) {
        self.shared.lock_rules().clear();
    }

    /// Lets the replies go that [`Fault::Hold`] holds back, now and from now on.
    pub fn open_gate(&self) {
        self.shared.change(|state| state.gate_is_open = true);
    }

    /// Waits until `n` requests of the step have come in; false if they have not within `patience`.
    pub fn wait_for(&self, step: Step, n: usize, patience: Duration) -> bool {
        let came = |state: &State| state.count(step) >= n;
        self.shared.wait(patience, came);
        came(&self.shared.lock())
    }

    /// Plays the side of a CloudRun container with 开放接口服务: no `access_token` may be sent.
    pub fn auth_none(&self, on: bool) {
        self.shared.lock().auth_none = on;
    }

    /// Makes a token valid that was not asked for here: one that stands in a test's config.
    pub fn accept_token(&self, token: &str) {
        self.shared
            .lock()
            .add_token(TokenKind::Accepted, token.to_owned());
    }

    /// Makes all tokens dead, as another user of the account does who asks for one: errcode 40001.
    pub fn kill_tokens(&self) {
        let now = Instant::now();
        self.shared
            .lock()
            .tokens
            .iter_mut()
            .for_each(|token| token.die(now));
    }

    /// The seconds that later tokens live and that the reply states; 7200 to begin with.
    pub fn set_expires_in(&self, seconds: u64) {
        self.shared.lock().expires_in = seconds;
    }

    /// How long an old token of `/cgi-bin/token` outlives a new one: within 5 minutes at the
    /// service, 0 here.
    pub fn set_token_grace(&self, grace: Duration) {
        self.shared.lock().token_grace = grace;
    }

    /// How long later signatures are good; 15 minutes to begin with.
    pub fn set_signature_lifetime(&self, lifetime: Duration) {
        self.shared.lock().signature_lifetime = lifetime;
    }

    /// Whether checksums are made and sent (`x-cos-hash-crc64ecma`, which the service may leave out
    /// too).
    pub fn check_crc(&self, on: bool) {
        self.shared.lock().check_crc = on;
    }

    /// Whether the bytes of objects are kept.
    pub fn store(&self, on: bool) {
        self.shared.lock().store = on;
    }

    /// The requests of a step, in the order in which they came.
    pub fn requests(&self, step: Step) -> Vec<Request> {
        let state = self.shared.lock();
        state
            .requests
            .iter()
            .filter(|request| request.step == step)
            .cloned()
            .collect()
    }

    /// The number of requests of a step so far.
    pub fn count(&self, step: Step) -> usize {
        self.shared.lock().count(step)
    }

    /// An HTTP client that trusts the stand-in's certificate, whatever proxy is set.
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

    /// The number of connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// What is in the bucket, by key.
    pub fn objects(&self) -> BTreeMap<String, Object> {
        self.shared.lock().objects.clone()
    }

    /// The access tokens made here, oldest first.
    pub fn tokens_issued(&self) -> Vec<String> {
        let state = self.shared.lock();
        let issued = state
            .tokens
            .iter()
            .filter(|token| token.kind != TokenKind::Accepted);
        issued.map(|token| token.value.clone()).collect()
    }

    /// The most uploads that were under way at once, from the head of the request to the reply.
    pub fn max_concurrent_uploads(&self) -> usize {
        self.shared.lock().most_uploads
    }

    /// Everything that a client must never show: the appsecret, all access tokens, all
    /// `authorization`s, their signatures proper, and all security tokens.
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

    /// What came in that a careful client never sends, refused or not: a token or account that
    /// never was valid, an escape in the JSON, form fields out of order, and so on. An expired or
    /// killed token is no offence.
    pub fn complaints(&self) -> Vec<String> {
        self.shared.lock().complaints.clone()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.shared.change(|state| {
            state.stopped = true;
            for tcp in state.open.values() {
                tcp.shutdown(Shutdown::Both).ok();
            }
        });
        // A connection of our own wakes the acceptor.
        let woken = self.listener.local_addr().and_then(TcpStream::connect);
        if let (Ok(_), Some(acceptor)) = (woken, self.acceptor.take()) {
            acceptor.join().ok();
        }
    }
}
