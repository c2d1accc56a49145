//! A stand-in of the WeChat CloudRun API and of Tencent COS, for tests, the demo and the bench.
//!
//! [`StandIn`] listens on 127.0.0.1, over http or https, and answers as the services do: access tokens,
//! `/tcb/uploadfile`, the COS form upload, `/tcb/batchdownloadfile`, and the downloads that its links name. It is
//! as strict as the services and stricter: what a careful client never does is also kept in
//! [`StandIn::complaints`]. It logs every request, and goes wrong on demand: see [`StandIn::fault`].
// Compiled into each test, example and bench on its own, and none uses all of it.
#![allow(dead_code)]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::stream;
use multer::Multipart;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use socket2::SockRef;

/// The account that the stand-in knows, and no other.
pub const APPID: &str = "wx0123456789abcdef";
pub const SECRET: &str = "5ec3e75ec3e75ec3e75ec3e75ec3e75e";
pub const ENV: &str = "prod-1g2h3j4k5l";

const BUCKET: &str = "7072-prod-1g2h3j4k5l-1300000000";
const MAX_KEY_BYTES: usize = 850;
const MAX_UPLOAD: u64 = 5 << 30;
const LINKS_PER_CALL: usize = 50;
/// The fields of the upload form, in their order; `Content-Type` alone is optional.
const FORM_FIELDS: [&str; 6] =
    ["key", "Signature", "x-cos-security-token", "x-cos-meta-fileid", "Content-Type", "file"];

/// Larger objects are kept as size and checksum only, so that a test can send gigabytes.
const MAX_STORED: u64 = 8 << 20;
const MAX_HEAD: u64 = 64 << 10;
const MAX_API_BODY: u64 = 1 << 20;
const CHUNK: usize = 64 << 10;
/// What a reader that is meant to be slow lets pile up; the kernel rounds it up to its own least.
const SLOW_RECEIVE_BUFFER: usize = 4 << 10;

/// CRC-64/XZ, which is what COS calls crc64ecma.
static CRC64: crc::Crc<u64, crc::Table<16>> = crc::Crc::<u64, crc::Table<16>>::new(&crc::CRC_64_XZ);

const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const HEX: &[u8] = b"0123456789abcdef";

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// `GET /cgi-bin/token` and `POST /cgi-bin/stable_token`
    Token,
    /// `POST /tcb/uploadfile`
    Info,
    /// the form `POST` to COS
    Upload,
    /// `POST /tcb/batchdownloadfile`
    Link,
    /// `GET` of a link's `download_url`
    Download,
}

/// A request as it came in. An upload is logged when its head has arrived, its form when that is complete.
#[derive(Clone, Debug)]
pub struct Request {
    pub step: Step,
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// An API call's body; empty for an upload.
    pub body: Vec<u8>,
    /// An upload's fields in the order sent; the value of `file` is the file name that its part states.
    pub fields: Vec<(String, String)>,
    /// Bytes in an upload's `file`.
    pub file_size: u64,
    /// The cloud key: what [`Step::Info`] asks for, what the URL of an upload or download names.
    pub key: Option<String>,
    /// The number of the connection that it came on, from 1.
    pub connection: usize,
    pub at: Instant,
}

impl Request {
    /// The first header of this name, in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The value of an upload's form field, of those before `file`: COS ignores what comes after.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut before_file = self.fields.iter().take_while(|(n, _)| n != "file");
        before_file.find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }

    /// The query's pairs, decoded as a web form's.
    fn query(&self) -> Vec<(String, String)> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let decode = |text: &str| percent_decode(&text.replace('+', " "));
        query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (decode(name), decode(value)))
            .collect()
    }

    fn query_value(&self, name: &str) -> Option<String> {
        self.query().into_iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }
}

/// An object in the bucket.
#[derive(Clone, Debug)]
pub struct Object {
    pub size: u64,
    /// The bytes, unless there are more than 8 MiB or [`StandIn::store`] is off.
    pub bytes: Option<Vec<u8>>,
    /// CRC-64/XZ of the bytes; 0 if [`StandIn::check_crc`] is off.
    pub crc64: u64,
    /// The form's `Content-Type` field. COS ignores the type that the `file` part states.
    pub content_type: Option<String>,
    pub file_id: String,
    /// Whether links can be had: not without the right `x-cos-meta-fileid`, nor if the path was asked for with `\u`
    /// escapes.
    pub linkable: bool,
}

/// Which requests of a step a [`Fault`] strikes. Where several faults would strike, the one set first does.
#[derive(Clone, Debug)]
pub enum When {
    /// The next.
    Once,
    /// The next so many.
    Times(usize),
    Always,
    /// The n-th of the step since the stand-in was started, from 1.
    Nth(usize),
    /// All for this cloud key (of [`Request::key`]).
    Key(String),
}

type Headers = Vec<(String, String)>;
type EditJson = dyn Fn(&mut Value) + Send + Sync;
type EditBytes = dyn Fn(&mut Vec<u8>) + Send + Sync;
type ChooseFault = dyn Fn(&Request) -> Option<Fault> + Send + Sync;

/// What goes wrong. Unless it says "properly", the request has no effect.
///
/// The body of an API call, which is small, has been read in any case: there the faults in the middle of the body
/// differ from those at its end in nothing that a client could notice.
#[derive(Clone)]
pub enum Fault {
    /// RST before the body.
    ResetBeforeReply,
    /// RST after so many bytes of the body.
    ResetAt(u64),
    /// RST after the body.
    ResetAfterBody,
    /// An orderly close after the body, without a reply.
    Close,
    /// Served properly, but an orderly close comes after half of the reply.
    HalfReply,
    /// No answer, and the connection stays open until the peer leaves.
    Silence,
    /// As `Silence`, but also the second half of the body is never read.
    StopReading,
    /// This reply.
    Status { code: u16, headers: Headers, body: Vec<u8> },
    /// This reply before the body is read, then a close, which cuts off a peer that is still sending.
    EarlyStatus { code: u16, headers: Headers, body: Vec<u8> },
    /// A status and COS's XML with this code. Its message repeats the form's secrets.
    CosError(u16, String),
    /// Status 200 with this body.
    Body(Vec<u8>),
    /// A JSON reply with this errcode. Its errmsg repeats the caller's secrets, as the API's does for tokens.
    Errcode(i64),
    /// Served properly, with the JSON reply edited.
    Edit(Arc<EditJson>),
    /// Served properly, with the bytes of the reply, head and all, edited, and then an orderly close.
    EditBytes(Arc<EditBytes>),
    /// Served properly, with these headers of the reply replaced, added or (`None`) left out.
    Headers(Vec<(String, Option<String>)>),
    /// Served properly, at this pace: an upload's body on its way in, any other step's reply on its way out.
    Slow { chunk: usize, pause: Duration },
    /// Served properly, with the reply so much later.
    Delay(Duration),
    /// Served properly, with the reply held back until [`StandIn::open_gate`].
    Hold,
    /// What the function chooses, knowing the request; `None` does not count as a strike.
    Custom(Arc<ChooseFault>),
}

impl Fault {
    pub fn status(code: u16, headers: &[(&str, &str)], body: &str) -> Self {
        Self::Status { code, headers: owned(headers), body: body.into() }
    }

    /// COS's refusal with this code, `SlowDown` say.
    pub fn cos_error(status: u16, code: &str) -> Self {
        Self::CosError(status, code.to_owned())
    }

    pub fn edit(edit: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        Self::Edit(Arc::new(edit))
    }

    pub fn edit_bytes(edit: impl Fn(&mut Vec<u8>) + Send + Sync + 'static) -> Self {
        Self::EditBytes(Arc::new(edit))
    }

    pub fn headers(headers: &[(&str, Option<&str>)]) -> Self {
        Self::Headers(headers.iter().map(|(name, value)| (name.to_string(), value.map(Into::into))).collect())
    }

    pub fn custom(choose: impl Fn(&Request) -> Option<Fault> + Send + Sync + 'static) -> Self {
        Self::Custom(Arc::new(choose))
    }
}

/// What is wrong with the certificate of [`StandIn::https_with`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    Good,
    Expired,
    OtherHost,
    /// [`StandIn::ca_pem`] is another authority's.
    UnknownAuthority,
}

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
        Self { ca_pem, shared, listener, acceptor: Some(acceptor) }
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
        let lines: Vec<_> = lines.map(|(key, value)| format!("    {}: {value}", json!(key))).collect();
        let path = dir.join("config.json");
        fs::write(&path, format!("{{\n{}\n}}", lines.join(",\n"))).expect("a config that can be written");
        path
    }

    /// Writes [`ca_pem`](Self::ca_pem) into `dir`, for `SSL_CERT_FILE`.
    pub fn ca_file(&self, dir: &Path) -> PathBuf {
        let path = dir.join("ca.pem");
        fs::write(&path, &self.ca_pem).expect("a certificate file that can be written");
        path
    }

    /// Sets what goes wrong, and when. Faults add up: two that strike `Once` strike the next two requests. To
    /// strike one key a few times only, use [`Fault::Custom`] under [`When::Times`].
    pub fn fault(&self, step: Step, when: When, fault: Fault) {
        if matches!(fault, Fault::Slow { .. } | Fault::StopReading) {
            // Connections inherit it, and it has to be there before the first window is announced.
            shrink_receive_buffer(SockRef::from(self.listener.as_ref()));
        }
        self.shared.lock_rules().push(Rule { step, when, fault, strikes: 0 });
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
        self.shared.lock().add_token(TokenKind::Accepted, token.to_owned());
    }

    /// Makes all tokens dead, as another user of the account does who asks for one: errcode 40001.
    pub fn kill_tokens(&self) {
        let now = Instant::now();
        self.shared.lock().tokens.iter_mut().for_each(|token| token.die(now));
    }

    /// The seconds that later tokens live and that the reply states; 7200 to begin with.
    pub fn set_expires_in(&self, seconds: u64) {
        self.shared.lock().expires_in = seconds;
    }

    /// How long an old token of `/cgi-bin/token` outlives a new one: within 5 minutes at the service, 0 here.
    pub fn set_token_grace(&self, grace: Duration) {
        self.shared.lock().token_grace = grace;
    }

    /// How long later signatures are good; 15 minutes to begin with.
    pub fn set_signature_lifetime(&self, lifetime: Duration) {
        self.shared.lock().signature_lifetime = lifetime;
    }

    /// Whether checksums are made and sent (`x-cos-hash-crc64ecma`, which the service may leave out too).
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
        state.requests.iter().filter(|request| request.step == step).cloned().collect()
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
        let issued = state.tokens.iter().filter(|token| token.kind != TokenKind::Accepted);
        issued.map(|token| token.value.clone()).collect()
    }

    /// The most uploads that were under way at once, from the head of the request to the reply.
    pub fn max_concurrent_uploads(&self) -> usize {
        self.shared.lock().most_uploads
    }

    /// Everything that a client must never show: the appsecret, all access tokens, all `authorization`s, their
    /// signatures proper, and all security tokens.
    pub fn secrets(&self) -> Vec<String> {
        let state = self.shared.lock();
        let mut secrets = vec![SECRET.to_owned()];
        secrets.extend(state.tokens.iter().map(|token| token.value.clone()));
        for (authorization, permit) in &state.permits {
            let signature = authorization.rsplit('=').next().unwrap_or_default();
            secrets.extend([authorization.clone(), signature.to_owned(), permit.token.clone()]);
        }
        secrets
    }

    /// What came in that a careful client never sends, refused or not: a token or account that never was valid, an
    /// escape in the JSON, form fields out of order, and so on. An expired or killed token is no offence.
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum TokenKind {
    Plain,
    Stable,
    Accepted,
}

struct Token {
    kind: TokenKind,
    value: String,
    expires: Instant,
    dies: Option<Instant>,
}

impl Token {
    fn die(&mut self, at: Instant) {
        self.dies = Some(self.dies.map_or(at, |dies| dies.min(at)));
    }

    fn is_dead(&self, now: Instant) -> bool {
        self.dies.is_some_and(|dies| dies <= now)
    }

    fn is_expired(&self, now: Instant) -> bool {
        self.expires <= now
    }
}

/// What one reply of `/tcb/uploadfile` permits; kept under its `authorization`.
struct Permit {
    key: String,
    token: String,
    file_id: String,
    cos_file_id: String,
    expires: Instant,
    /// The path was asked for with `\u` escapes.
    escaped: bool,
}

struct Rule {
    step: Step,
    when: When,
    fault: Fault,
    strikes: usize,
}

impl Rule {
    fn concerns(&self, request: &Request, nth: usize) -> bool {
        self.step == request.step
            && match &self.when {
                When::Once => self.strikes < 1,
                When::Times(n) => self.strikes < *n,
                When::Always => true,
                When::Nth(n) => nth == *n,
                When::Key(key) => request.key.as_ref() == Some(key),
            }
    }
}

#[derive(Default)]
struct State {
    base: String,
    upload_origin: Option<String>,
    auth_none: bool,
    expires_in: u64,
    token_grace: Duration,
    signature_lifetime: Duration,
    check_crc: bool,
    store: bool,

    tokens: Vec<Token>,
    permits: HashMap<String, Permit>,
    objects: BTreeMap<String, Object>,
    requests: Vec<Request>,
    complaints: Vec<String>,
    connections: usize,
    open: HashMap<usize, TcpStream>,
    uploads: usize,
    most_uploads: usize,
    gate_is_open: bool,
    stopped: bool,
}

impl State {
    fn new(base: String) -> Self {
        Self {
            base,
            expires_in: 7200,
            signature_lifetime: Duration::from_secs(15 * 60),
            check_crc: true,
            store: true,
            ..Self::default()
        }
    }

    fn count(&self, step: Step) -> usize {
        self.requests.iter().filter(|request| request.step == step).count()
    }

    fn complain(&mut self, complaint: impl Into<String>) {
        self.complaints.push(complaint.into());
    }

    fn add_token(&mut self, kind: TokenKind, value: String) {
        let expires = Instant::now() + Duration::from_secs(self.expires_in);
        self.tokens.push(Token { kind, value, expires, dies: None });
    }
}

struct Shared {
    state: Mutex<State>,
    /// Told of each request, of the gate, and of the end.
    changed: Condvar,
    /// Apart from the state, so that a `Fault::Custom` may look at the stand-in.
    rules: Mutex<Vec<Rule>>,
    tls: Option<Arc<ServerConfig>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until `done`, but no longer than `patience`, nor past the end of the stand-in.
    fn wait(&self, patience: Duration, done: impl Fn(&State) -> bool) {
        let go_on = |state: &mut State| !state.stopped && !done(state);
        drop(self.changed.wait_timeout_while(self.lock(), patience, go_on));
    }

    fn complain(&self, complaint: impl Into<String>) {
        self.lock().complain(complaint);
    }

    /// The fault for the `nth` request of its step.
    fn strike(&self, request: &Request, nth: usize) -> Option<Fault> {
        self.lock_rules().iter_mut().filter(|rule| rule.concerns(request, nth)).find_map(|rule| {
            let fault = match &rule.fault {
                Fault::Custom(choose) => choose(request)?,
                fault => fault.clone(),
            };
            rule.strikes += 1;
            Some(fault)
        })
    }
}

// ---- Connections ------------------------------------------------------------------------------------------------

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    for tcp in listener.incoming() {
        if shared.lock().stopped {
            break;
        }
        let Ok(tcp) = tcp else { continue };
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // An I/O error is the end of a connection, which every client may bring about.
            serve_connection(&shared, tcp).ok();
        });
    }
}

fn serve_connection(shared: &Shared, tcp: TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let control = tcp.try_clone()?;
    let registered = tcp.try_clone()?;
    let number = shared.change(|state| {
        state.connections += 1;
        state.open.insert(state.connections, registered);
        state.connections
    });
    if shared.lock().stopped {
        return Ok(()); // too late for `drop` to have closed it
    }
    let io = match &shared.tls {
        None => Io::Plain(tcp),
        Some(config) => {
            let tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
            Io::Tls(Box::new(StreamOwned::new(tls, Socket(BufReader::with_capacity(CHUNK, tcp)))))
        }
    };
    let mut connection = Connection { io: BufReader::new(io), control, number };
    let ended = match connection.serve(shared) {
        Err(error) => Err(error),
        Ok(Ending::Close) => connection.io.get_mut().close(),
        Ok(Ending::Reset) => SockRef::from(&connection.control).set_linger(Some(Duration::ZERO)),
        Ok(Ending::Silence) => io::copy(&mut connection.control, &mut io::sink()).map(drop),
        Ok(Ending::StopReading) => {
            shared.wait(Duration::MAX, |_| false);
            Ok(())
        }
    };
    shared.lock().open.remove(&number);
    ended
}

/// How a connection ends.
enum Ending {
    Close,
    Reset,
    /// Say nothing until the peer leaves.
    Silence,
    /// Say nothing and read nothing until the stand-in ends.
    StopReading,
}

/// Either the reply to a request, or the end of the connection without one.
type Answer = Result<Reply, Ending>;

struct Connection {
    io: BufReader<Io>,
    control: TcpStream,
    number: usize,
}

impl Connection {
    fn serve(&mut self, shared: &Shared) -> io::Result<Ending> {
        while let Some(mut request) = self.read_head(shared)? {
            let is_upload = request.step == Step::Upload;
            if is_upload {
                shared.change(|state| {
                    state.uploads += 1;
                    state.most_uploads = state.most_uploads.max(state.uploads);
                });
            }
            let ending = self.answer(shared, &mut request);
            if is_upload {
                shared.change(|state| state.uploads -= 1);
            }
            if let Some(ending) = ending? {
                return Ok(ending);
            }
        }
        Ok(Ending::Close)
    }

    /// The head of the next request; none at the end of the connection, or if it is no request for us.
    fn read_head(&mut self, shared: &Shared) -> io::Result<Option<Request>> {
        let mut head = Vec::new();
        let mut limited = (&mut self.io).take(MAX_HEAD);
        while !head.ends_with(b"\r\n\r\n") {
            if limited.read_until(b'\n', &mut head)? == 0 {
                if limited.limit() == 0 {
                    shared.complain("the head of a request is over 64 KiB");
                }
                return Ok(None);
            }
        }
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut headers);
        let (Ok(httparse::Status::Complete(_)), Some(method), Some(target)) =
            (parsed.parse(&head), parsed.method, parsed.path)
        else {
            shared.complain(format!("not an HTTP request: {:?}", String::from_utf8_lossy(&head)));
            return Ok(None);
        };
        let headers = parsed.headers.iter().map(|h| (h.name.to_owned(), String::from_utf8_lossy(h.value).into()));
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let (step, key) = match path {
            "/cgi-bin/token" | "/cgi-bin/stable_token" => (Step::Token, None),
            "/tcb/uploadfile" => (Step::Info, None),
            "/tcb/batchdownloadfile" => (Step::Link, None),
            _ => match (path.strip_prefix(&format!("/cos/{BUCKET}/")), path.strip_prefix("/download/")) {
                (Some(key), _) => (Step::Upload, Some(percent_decode(key))),
                (_, Some(key)) => (Step::Download, Some(percent_decode(key))),
                _ => {
                    shared.complain(format!("{method} {target}: there is no such thing"));
                    self.io.get_mut().write_all(&Reply::empty(404).closing().bytes())?;
                    return Ok(None);
                }
            },
        };
        let request = Request {
            step,
            method: method.to_owned(),
            target: target.to_owned(),
            headers: headers.collect(),
            body: Vec::new(),
            fields: Vec::new(),
            file_size: 0,
            key,
            connection: self.number,
            at: Instant::now(),
        };
        if request.header("Host").is_none() {
            shared.complain(format!("{method} {target}: no Host"));
        }
        Ok(Some(request))
    }

    /// Reads the rest of a request and replies; says how the connection ends, if it does.
    fn answer(&mut self, shared: &Shared, request: &mut Request) -> io::Result<Option<Ending>> {
        let length = request.header("Content-Length").and_then(|length| length.parse().ok());
        let length_is_clear = length.is_some() || request.method == "GET";
        let readable = request.header("Transfer-Encoding").is_none() && length_is_clear;
        let length: u64 = length.unwrap_or(0);
        if readable && request.step != Step::Upload {
            if length > MAX_API_BODY {
                shared.complain(format!("{}: a body of {length} bytes", request.path()));
                return Ok(Some(Ending::Close));
            }
            self.expect_body(request)?;
            request.body = Body::new(&mut self.io, length).read(length as usize)?;
            if request.step == Step::Info {
                request.key = request.json()["path"].as_str().map(Into::into);
            }
        }

        let (index, nth) = shared.change(|state| {
            state.requests.push(request.clone());
            (state.requests.len() - 1, state.count(request.step))
        });
        let fault = shared.strike(request, nth);
        let answer = if !readable {
            shared.complain(format!("{}: chunked, or no Content-Length", request.path()));
            Ok(Reply::xml(411, "MissingContentLength", "You must provide the Content-Length HTTP header.").closing())
        } else if let Some(Fault::EarlyStatus { code, headers, body }) = &fault {
            Ok(Reply::new(*code, headers.clone(), body.clone()).closing())
        } else if let Some(Fault::ResetBeforeReply) = fault {
            Err(Ending::Reset)
        } else if request.step == Step::Upload {
            self.receive_upload(shared, request, index, length, fault.as_ref())?
        } else {
            instead(fault.as_ref(), request).unwrap_or_else(|| Ok(shared.serve_api(request)))
        };
        match answer {
            Ok(reply) => self.reply(shared, request.step, fault, reply),
            Err(ending) => Ok(Some(ending)),
        }
    }

    fn receive_upload(
        &mut self,
        shared: &Shared,
        request: &mut Request,
        index: usize,
        length: u64,
        fault: Option<&Fault>,
    ) -> io::Result<Answer> {
        self.expect_body(request)?;
        if let Some(Fault::Slow { .. } | Fault::StopReading) = fault {
            shrink_receive_buffer(SockRef::from(&self.control));
        }
        let mut body = Body::new(&mut self.io, length);
        match fault {
            Some(Fault::ResetAt(bytes)) => body.stop_at = (*bytes).min(length),
            Some(Fault::StopReading) => body.stop_at = length / 2,
            Some(Fault::Slow { chunk, pause }) => body.pace = Some((*chunk, *pause)),
            _ => {}
        }
        let (check_crc, store) = {
            let state = shared.lock();
            (state.check_crc, state.store && length < MAX_STORED + MAX_HEAD)
        };
        let form = futures_executor::block_on(read_form(&mut body, request, check_crc, store));
        if body.stop_at < length {
            return Ok(Err(match fault {
                Some(Fault::StopReading) => Ending::StopReading,
                _ => Ending::Reset,
            }));
        }
        shared.change(|state| state.requests[index].clone_from(request));
        match form {
            Ok(form) => Ok(instead(fault, request).unwrap_or_else(|| Ok(shared.store_object(request, form)))),
            Err(FormError::Io(error)) => Err(error),
            Err(FormError::Malformed(complaint)) => {
                while !body.read(CHUNK)?.is_empty() {}
                let reply = Reply::xml(400, "MalformedPOSTRequest", &complaint).closing();
                shared.complain(format!("{}: {complaint}", request.path()));
                Ok(Ok(reply))
            }
            Err(FormError::TooLarge) => {
                shared.complain(format!("{}: over 5 GiB", request.path()));
                Ok(Ok(Reply::xml(400, "EntityTooLarge", "Your proposed upload exceeds the maximum").closing()))
            }
        }
    }

    /// curl asks before it sends a larger body.
    fn expect_body(&mut self, request: &Request) -> io::Result<()> {
        match request.header("Expect") {
            Some(_) => self.io.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n"),
            None => Ok(()),
        }
    }

    fn reply(
        &mut self,
        shared: &Shared,
        step: Step,
        fault: Option<Fault>,
        mut reply: Reply,
    ) -> io::Result<Option<Ending>> {
        match &fault {
            Some(Fault::Edit(edit)) => {
                if let Ok(mut value) = serde_json::from_slice(&reply.body) {
                    edit(&mut value);
                    reply.body = value.to_string().into();
                }
            }
            Some(Fault::Headers(changes)) => {
                for (name, value) in changes {
                    reply.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
                    reply.headers.extend(value.clone().map(|value| (name.clone(), value)));
                }
            }
            Some(Fault::Delay(delay)) => shared.wait(*delay, |_| false),
            Some(Fault::Hold) => shared.wait(Duration::MAX, |state| state.gate_is_open),
            _ => {}
        }
        let mut bytes = reply.bytes();
        let io = self.io.get_mut();
        match fault {
            Some(Fault::EditBytes(edit)) => {
                edit(&mut bytes);
                io.write_all(&bytes)?;
                return Ok(Some(Ending::Close));
            }
            Some(Fault::HalfReply) => {
                io.write_all(&bytes[..bytes.len() / 2])?;
                return Ok(Some(Ending::Close));
            }
            Some(Fault::Slow { chunk, pause }) if step != Step::Upload => {
                for chunk in bytes.chunks(chunk) {
                    io.write_all(chunk)?;
                    shared.wait(pause, |_| false);
                }
            }
            _ => io.write_all(&bytes)?,
        }
        Ok(reply.close.then_some(Ending::Close))
    }
}

/// What a fault puts in the place of the proper answer.
fn instead(fault: Option<&Fault>, request: &Request) -> Option<Answer> {
    Some(match fault? {
        Fault::Status { code, headers, body } => Ok(Reply::new(*code, headers.clone(), body.clone())),
        Fault::Body(body) => Ok(Reply { body: body.clone(), ..Reply::json(&Value::Null) }),
        Fault::Errcode(errcode) => {
            let body = String::from_utf8_lossy(&request.body);
            let errmsg = format!("injected for {} {body}", percent_decode(&request.target));
            Ok(Refusal::new(*errcode, errmsg).into())
        }
        Fault::CosError(status, code) => {
            let message = format!("injected for {:?}", request.fields);
            Ok(Reply::xml(*status, code, &message))
        }
        Fault::ResetAt(_) | Fault::ResetAfterBody => Err(Ending::Reset),
        Fault::Close => Err(Ending::Close),
        Fault::Silence | Fault::StopReading => Err(Ending::Silence),
        _ => return None,
    })
}

/// A connection's bytes, in clear.
enum Io {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, Socket>>),
}

impl Io {
    /// An orderly close: TLS's own end, then FIN.
    fn close(&mut self) -> io::Result<()> {
        match self {
            Io::Plain(tcp) => tcp.shutdown(Shutdown::Write),
            Io::Tls(tls) => {
                tls.conn.send_close_notify();
                tls.flush()?;
                tls.sock.0.get_ref().shutdown(Shutdown::Write)
            }
        }
    }
}

impl Read for Io {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Io::Plain(tcp) => tcp.read(buffer),
            Io::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Io {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Io::Plain(tcp) => tcp.write(bytes),
            Io::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Io::Plain(tcp) => tcp.flush(),
            Io::Tls(tls) => tls.flush(),
        }
    }
}

/// Read in large pieces, as rustls by itself asks the kernel for 4 KiB at a time.
struct Socket(BufReader<TcpStream>);

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn shrink_receive_buffer(socket: SockRef<'_>) {
    socket.set_recv_buffer_size(SLOW_RECEIVE_BUFFER).ok();
}

/// A request's body, in chunks.
struct Body<'a> {
    io: &'a mut BufReader<Io>,
    done: u64,
    length: u64,
    /// Reading past it is an error; `length`, unless a fault wants the middle.
    stop_at: u64,
    pace: Option<(usize, Duration)>,
    /// The last bytes read, enough for a closing boundary.
    tail: Vec<u8>,
}

impl<'a> Body<'a> {
    const TAIL: usize = 80;

    fn new(io: &'a mut BufReader<Io>, length: u64) -> Self {
        Self { io, done: 0, length, stop_at: length, pace: None, tail: Vec::new() }
    }

    /// As many as `most` bytes, or what the pace says; fewer only at the end of the body.
    fn read(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let most = self.pace.map_or(most, |(chunk, _)| chunk) as u64;
        let wanted = most.min(self.stop_at - self.done);
        if wanted == 0 && self.done < self.length {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut chunk = Vec::with_capacity(wanted as usize);
        self.io.by_ref().take(wanted).read_to_end(&mut chunk)?;
        if (chunk.len() as u64) < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.done += wanted;
        self.tail.extend_from_slice(&chunk[chunk.len().saturating_sub(Self::TAIL)..]);
        self.tail.drain(..self.tail.len().saturating_sub(Self::TAIL));
        if let Some((_, pause)) = self.pace {
            thread::sleep(pause);
        }
        Ok(chunk)
    }
}

enum FormError {
    Io(io::Error),
    Malformed(String),
    TooLarge,
}

impl From<multer::Error> for FormError {
    fn from(error: multer::Error) -> Self {
        match error {
            multer::Error::StreamReadFailed(error) => Self::Io(io::Error::other(error)),
            error => Self::Malformed(format!("the form: {error}")),
        }
    }
}

/// What was in `file`.
struct FormFile {
    crc64: u64,
    bytes: Option<Vec<u8>>,
}

/// Reads an upload's form, noting its fields in the request.
async fn read_form(
    body: &mut Body<'_>,
    request: &mut Request,
    check_crc: bool,
    store: bool,
) -> Result<FormFile, FormError> {
    let boundary = multer::parse_boundary(request.header("Content-Type").unwrap_or_default())?;
    let mut file = None;
    let mut rest = true;
    let chunks = stream::poll_fn(|context| {
        // multer takes all that is ready, and would hold the whole body: so be ready every other time only.
        rest = !rest;
        if rest {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(body.read(CHUNK).map(|chunk| (!chunk.is_empty()).then_some(chunk)).transpose())
    });
    let mut form = Multipart::new(chunks, &boundary);
    while let Some(mut field) = form.next_field().await? {
        let name = field.name().unwrap_or_default().to_owned();
        if name != "file" {
            let value = String::from_utf8(field.bytes().await?.into());
            let value = value.map_err(|_| FormError::Malformed(format!("the field {name} is not UTF-8")))?;
            request.fields.push((name, value));
            continue;
        }
        let file_name = field.file_name().unwrap_or_default().to_owned();
        request.fields.push((name, file_name));
        let mut digest = CRC64.digest();
        let mut bytes = Vec::new();
        while let Some(chunk) = field.chunk().await? {
            request.file_size += chunk.len() as u64;
            if request.file_size > MAX_UPLOAD {
                return Err(FormError::TooLarge);
            }
            if check_crc {
                digest.update(&chunk);
            }
            if store {
                bytes.extend_from_slice(&chunk);
            }
        }
        let bytes = (store && request.file_size <= MAX_STORED).then_some(bytes);
        file = Some(FormFile { crc64: if check_crc { digest.finalize() } else { 0 }, bytes });
    }
    drop(form);
    let end = format!("--{boundary}--");
    let tail = body.tail.strip_suffix(b"\r\n").unwrap_or(&body.tail);
    if body.done < body.length || !tail.ends_with(end.as_bytes()) {
        return Err(FormError::Malformed("the form ends before Content-Length does".into()));
    }
    file.ok_or_else(|| FormError::Malformed("the form has no file".into()))
}

// ---- The services -----------------------------------------------------------------------------------------------

struct Reply {
    status: u16,
    headers: Headers,
    body: Vec<u8>,
    close: bool,
}

impl Reply {
    fn new(status: u16, headers: Headers, body: Vec<u8>) -> Self {
        Self { status, headers, body, close: false }
    }

    fn empty(status: u16) -> Self {
        Self::new(status, Vec::new(), Vec::new())
    }

    fn json(value: &Value) -> Self {
        let headers = owned(&[("Content-Type", "application/json; encoding=utf-8")]);
        Self::new(200, headers, value.to_string().into())
    }

    /// COS's way to say no.
    fn xml(status: u16, code: &str, message: &str) -> Self {
        let message = message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let request_id = random(40, ALPHANUMERIC);
        let body = format!(
            "<?xml version='1.0' encoding='utf-8' ?>\n<Error>\n\t<Code>{code}</Code>\n\
             \t<Message>{message}</Message>\n\
             \t<RequestId>{request_id}</RequestId>\n</Error>\n"
        );
        let headers = owned(&[("Content-Type", "application/xml"), ("x-cos-request-id", &request_id)]);
        Self::new(status, headers, body.into())
    }

    fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 {} Stand-in\r\n", self.status).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if self.status != 204 {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
        }
        if self.close {
            bytes.extend_from_slice(b"Connection: close\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// The API's way to say no, with HTTP status 200.
struct Refusal {
    errcode: i64,
    errmsg: String,
}

impl Refusal {
    fn new(errcode: i64, errmsg: impl Into<String>) -> Self {
        Self { errcode, errmsg: errmsg.into() }
    }
}

impl From<Refusal> for Reply {
    fn from(Refusal { errcode, errmsg }: Refusal) -> Self {
        let rid = random(8, HEX);
        Reply::json(&json!({ "errcode": errcode, "errmsg": format!("{errmsg} rid: {rid}") }))
    }
}

impl Shared {
    fn serve_api(&self, request: &Request) -> Reply {
        let mut state = self.lock();
        if request.step == Step::Download {
            return state.download(request);
        }
        let result = match request.path() {
            "/cgi-bin/token" => state.token(request),
            "/cgi-bin/stable_token" => state.stable_token(request),
            "/tcb/uploadfile" => state.upload_info(request),
            _ => state.links(request),
        };
        result.map_or_else(Reply::from, |value| Reply::json(&value))
    }

    fn store_object(&self, request: &Request, file: FormFile) -> Reply {
        self.lock().store_object(request, file)
    }
}

impl State {
    /// A refusal for what a careful client never does.
    fn offence(&mut self, request: &Request, errcode: i64, errmsg: impl Into<String>) -> Refusal {
        let errmsg = errmsg.into();
        self.complain(format!("{}: {errmsg}", request.path()));
        Refusal::new(errcode, errmsg)
    }

    fn token(&mut self, request: &Request) -> Result<Value, Refusal> {
        if request.method != "GET" {
            return Err(self.offence(request, 43002, "require GET method"));
        }
        let query = Value::Object(request.query().into_iter().map(|(name, value)| (name, value.into())).collect());
        self.check_account(request, &query)?;
        let dies = Instant::now() + self.token_grace;
        self.tokens.iter_mut().filter(|token| token.kind != TokenKind::Stable).for_each(|token| token.die(dies));
        Ok(self.new_token(TokenKind::Plain))
    }

    fn stable_token(&mut self, request: &Request) -> Result<Value, Refusal> {
        let body = self.json_body(request)?;
        if !request.query().is_empty() {
            return Err(self.offence(request, 40097, "a query in the URL"));
        }
        self.check_account(request, &body)?;
        let now = Instant::now();
        if body["force_refresh"] == true {
            let stable = self.tokens.iter_mut().filter(|token| token.kind == TokenKind::Stable);
            stable.for_each(|token| token.die(now));
        }
        let lives = |token: &&Token| token.kind == TokenKind::Stable && !token.is_dead(now) && !token.is_expired(now);
        let Some(token) = self.tokens.iter().find(lives) else {
            return Ok(self.new_token(TokenKind::Stable));
        };
        let seconds_left = token.expires.duration_since(now).as_secs();
        Ok(json!({ "access_token": token.value, "expires_in": seconds_left }))
    }

    fn new_token(&mut self, kind: TokenKind) -> Value {
        let value = format!("92_{}-{}_", random(60, ALPHANUMERIC), random(70, ALPHANUMERIC));
        self.add_token(kind, value.clone());
        json!({ "access_token": value, "expires_in": self.expires_in })
    }

    fn check_account(&mut self, request: &Request, account: &Value) -> Result<(), Refusal> {
        if self.auth_none {
            self.complain("a token was asked for where none is needed");
        }
        if account["grant_type"] != "client_credential" {
            return Err(self.offence(request, 40002, "invalid grant_type"));
        }
        if account["appid"] != APPID {
            return Err(self.offence(request, 40013, "invalid appid"));
        }
        if account["secret"] != SECRET {
            return Err(self.offence(request, 40125, "invalid appsecret"));
        }
        Ok(())
    }

    fn check_access_token(&mut self, request: &Request) -> Result<(), Refusal> {
        if let Some((name, _)) = request.query().into_iter().find(|(name, _)| name != "access_token") {
            return Err(self.offence(request, 40097, format!("unknown query parameter {name}")));
        }
        let access_token = request.query_value("access_token");
        let access_token = match (self.auth_none, access_token) {
            (true, None) => return Ok(()),
            (true, Some(_)) => {
                return Err(self.offence(request, 40001, "access_token sent where none is needed"));
            }
            (false, None) => return Err(self.offence(request, 41001, "access_token missing")),
            (false, Some(access_token)) => access_token,
        };
        let invalid = format!("invalid credential, access_token is invalid or not latest: {access_token}");
        let now = Instant::now();
        match self.tokens.iter().rev().find(|token| token.value == access_token) {
            None => Err(self.offence(request, 40001, invalid)),
            Some(token) if token.is_dead(now) => Err(Refusal::new(40001, invalid)),
            Some(token) if token.is_expired(now) => Err(Refusal::new(42001, "access_token expired")),
            Some(_) => Ok(()),
        }
    }

    /// The body of an API call, which must be a POST of raw UTF-8 JSON.
    fn json_body(&mut self, request: &Request) -> Result<Value, Refusal> {
        if request.method != "POST" {
            return Err(self.offence(request, 43002, "require POST method"));
        }
        if request.body.is_empty() {
            return Err(self.offence(request, 44002, "empty post data"));
        }
        let media_type = request.header("Content-Type").unwrap_or_default().split(';').next().unwrap_or_default();
        if !media_type.trim().eq_ignore_ascii_case("application/json") {
            return Err(self.offence(request, 47001, format!("Content-Type is {media_type:?}")));
        }
        if has_unicode_escape(&request.body) {
            self.complain(format!("{}: a \\u escape in the JSON", request.path()));
        }
        match serde_json::from_slice(&request.body) {
            Ok(body @ Value::Object(_)) => Ok(body),
            _ => Err(self.offence(request, 47001, "data format error")),
        }
    }

    /// The body of a call of `/tcb/`.
    fn tcb_body(&mut self, request: &Request) -> Result<Value, Refusal> {
        self.check_access_token(request)?;
        let body = self.json_body(request)?;
        if body["env"] != ENV {
            return Err(self.offence(request, 40097, format!("invalid env {}", body["env"])));
        }
        Ok(body)
    }

    fn upload_info(&mut self, request: &Request) -> Result<Value, Refusal> {
        let body = self.tcb_body(request)?;
        let Some(key) = body["path"].as_str().filter(|key| is_valid_key(key)) else {
            return Err(self.offence(request, 40097, format!("invalid path {}", body["path"])));
        };
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let end = start + self.signature_lifetime.as_secs();
        let authorization = format!(
            "q-sign-algorithm=sha1&q-ak=AKID{}&q-sign-time={start};{end}&q-key-time={start};{end}\
             &q-header-list=&q-url-param-list=&q-signature={}",
            random(32, ALPHANUMERIC),
            random(40, HEX)
        );
        let permit = Permit {
            key: key.to_owned(),
            token: format!("{}+/{}==", random(40, ALPHANUMERIC), random(300, ALPHANUMERIC)),
            file_id: file_id_of(key),
            cos_file_id: format!("{}+/{}==", random(20, ALPHANUMERIC), random(40, ALPHANUMERIC)),
            expires: Instant::now() + self.signature_lifetime,
            escaped: has_unicode_escape(&request.body),
        };
        let origin = self.upload_origin.as_ref().unwrap_or(&self.base);
        let reply = json!({
            "errcode": 0,
            "errmsg": "ok",
            "url": format!("{origin}/cos/{BUCKET}/{}", percent_encode(key)),
            "token": permit.token,
            "authorization": authorization,
            "file_id": permit.file_id,
            "cos_file_id": permit.cos_file_id,
        });
        self.permits.insert(authorization, permit);
        Ok(reply)
    }

    fn links(&mut self, request: &Request) -> Result<Value, Refusal> {
        let body = self.tcb_body(request)?;
        let entries = body["file_list"].as_array().map_or(&[][..], Vec::as_slice);
        let file_ids: Option<Vec<_>> = entries.iter().map(|entry| entry["fileid"].as_str()).collect();
        let Some(file_ids) = file_ids.filter(|ids| (1..=LINKS_PER_CALL).contains(&ids.len())) else {
            let refusal = format!("invalid file_list of {} entries", entries.len());
            return Err(self.offence(request, 40097, refusal));
        };
        let links: Vec<_> = file_ids.into_iter().map(|file_id| self.link(file_id)).collect();
        Ok(json!({ "errcode": 0, "errmsg": "ok", "file_list": links }))
    }

    fn link(&self, file_id: &str) -> Value {
        let key = file_id.strip_prefix(&file_id_of(""));
        let object = key.and_then(|key| self.objects.get_key_value(key));
        let (url, status, errmsg) = match object {
            Some((key, object)) if object.linkable => {
                (format!("{}/download/{}", self.base, percent_encode(key)), 0, "ok")
            }
            _ => (String::new(), 1, "STORAGE_FILE_NONEXIST"),
        };
        json!({ "fileid": file_id, "download_url": url, "status": status, "errmsg": errmsg })
    }

    fn download(&self, request: &Request) -> Reply {
        let object = request.key.as_ref().and_then(|key| self.objects.get(key)).filter(|object| object.linkable);
        let Some((object, bytes)) = object.and_then(|object| Some((object, object.bytes.clone()?))) else {
            return Reply::xml(404, "NoSuchKey", "The specified key does not exist, or its bytes were not kept.");
        };
        let content_type = object.content_type.clone().map(|value| ("Content-Type".to_owned(), value));
        Reply::new(200, content_type.into_iter().collect(), bytes)
    }

    /// COS's part: checks the form and keeps the object.
    fn store_object(&mut self, request: &Request, file: FormFile) -> Reply {
        let path = request.path();
        if request.method != "POST" {
            self.complain(format!("{} {path}", request.method));
            return Reply::xml(405, "MethodNotAllowed", "The specified method is not allowed.");
        }
        let names: Vec<_> = request.fields.iter().map(|(name, _)| name.as_str()).collect();
        let expected = FORM_FIELDS.into_iter().filter(|name| *name != "Content-Type" || names.contains(name));
        if !expected.eq(names.iter().copied()) {
            self.complaints.push(format!("{path}: form fields {names:?}"));
        }
        let signature = request.field("Signature").unwrap_or_default();
        let Some(permit) = self.permits.get(signature) else {
            self.complain(format!("{path}: a Signature that was never given"));
            let message = format!("The Signature you specified is invalid: {signature}");
            return Reply::xml(403, "SignatureDoesNotMatch", &message);
        };
        if permit.expires <= Instant::now() {
            return Reply::xml(403, "AccessDenied", &format!("Request has expired: {signature}"));
        }
        let refused = if request.field("key") != Some(&permit.key) || request.key.as_ref() != Some(&permit.key) {
            Some("the Signature is for another key")
        } else if request.field("x-cos-security-token") != Some(&permit.token) {
            Some("the x-cos-security-token is not the Signature's")
        } else {
            None
        };
        if let Some(refused) = refused {
            self.complain(format!("{path}: {refused}"));
            return Reply::xml(403, "AccessDenied", &format!("{refused}: {signature}"));
        }
        let file_id_is_right = request.field("x-cos-meta-fileid") == Some(&permit.cos_file_id);
        let object = Object {
            size: request.file_size,
            bytes: file.bytes,
            crc64: file.crc64,
            content_type: request.field("Content-Type").map(Into::into),
            file_id: permit.file_id.clone(),
            linkable: file_id_is_right && !permit.escaped,
        };
        self.objects.insert(permit.key.clone(), object);
        if !file_id_is_right {
            self.complain(format!("{path}: x-cos-meta-fileid is wrong or missing"));
        }
        let etag = format!("\"{}\"", random(32, HEX));
        let mut headers = owned(&[("ETag", &etag), ("x-cos-request-id", &random(40, ALPHANUMERIC))]);
        if self.check_crc {
            headers.push(("x-cos-hash-crc64ecma".into(), file.crc64.to_string()));
        }
        Reply::new(204, headers, Vec::new())
    }
}

/// The official naming rules (官方文件名命名限制).
fn is_valid_key(key: &str) -> bool {
    let has_bounds = !key.is_empty() && key.len() <= MAX_KEY_BYTES;
    has_bounds && !key.starts_with('/') && !key.contains("//") && !key.contains(char::is_control)
}

fn file_id_of(key: &str) -> String {
    format!("cloud://{ENV}.{BUCKET}/{key}")
}

/// Whether JSON text has a `\u` escape. An escaped backslash before a `u` is none.
fn has_unicode_escape(json: &[u8]) -> bool {
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        if *byte == b'\\' && bytes.next() == Some(&b'u') {
            return true;
        }
    }
    false
}

// ---- Small helpers ----------------------------------------------------------------------------------------------

/// A server configuration and the authority to trust.
fn tls(certificate: Certificate) -> (ServerConfig, String) {
    let authority = new_authority();
    let name = if certificate == Certificate::OtherHost { "other.example" } else { "localhost" };
    let mut params = CertificateParams::new([name.to_owned()]).expect("a valid name");
    if certificate != Certificate::OtherHost {
        params.subject_alt_names.push(rcgen::SanType::IpAddress([127, 0, 0, 1].into()));
    }
    if certificate == Certificate::Expired {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    }
    params.extended_key_usages.push(rcgen::ExtendedKeyUsagePurpose::ServerAuth);
    let key = KeyPair::generate().expect("a key pair");
    let leaf = params.signed_by(&key, &authority).expect("a signed certificate");

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocol versions of ring")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .expect("a certificate and its key");
    let trusted = if certificate == Certificate::UnknownAuthority { new_authority() } else { authority };
    (config, trusted.pem())
}

/// A self-signed certificate authority, ECDSA P-256.
fn new_authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(rcgen::DnType::CommonName, "stand-in authority");
    let key = KeyPair::generate().expect("a key pair");
    CertifiedIssuer::self_signed(params, key).expect("a self-signed certificate")
}

fn owned(headers: &[(&str, &str)]) -> Headers {
    headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// A text that occurs nowhere else, of the letters given.
fn random(length: usize, letters: &[u8]) -> String {
    let numbers = std::iter::repeat_with(|| RandomState::new().hash_one(0) as usize);
    numbers.take(length).map(|number| char::from(letters[number % letters.len()])).collect()
}

/// Encodes all but `/` and what RFC 3986 calls unreserved.
fn percent_encode(key: &str) -> String {
    let mut encoded = String::new();
    for byte in key.bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
