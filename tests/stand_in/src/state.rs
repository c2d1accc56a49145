//! The memory of the services: settings, tokens, permits, objects, and all requests.
//!
//! This file does not know what the services answer.

use std::collections::{BTreeMap, HashMap};
use std::net::TcpStream;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::ServerConfig;

use crate::faults::{Fault, Rule};
use crate::request::{Request, Step};

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
    /// The form's `Cache-Control` field.
    pub cache_control: Option<String>,
    pub file_id: String,
    /// False if the form's `x-cos-meta-fileid` was wrong, or if the request for the upload URL had
    /// `\u` escapes: the service then gives no link.
    pub linkable: bool,
    /// How many more calls for links do not find it.
    pub(crate) hidden_for: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Plain,
    Stable,
    Accepted,
}

pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) value: String,
    pub(crate) expires: Instant,
    pub(crate) dies: Option<Instant>,
}

impl Token {
    pub(crate) fn die(&mut self, at: Instant) {
        self.dies = Some(self.dies.map_or(at, |dies| dies.min(at)));
    }

    pub(crate) fn is_dead(&self, now: Instant) -> bool {
        self.dies.is_some_and(|dies| dies <= now)
    }

    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.expires <= now
    }
}

/// The upload that one reply of `/tcb/uploadfile` permits. It is stored under its `authorization`.
#[derive(Clone)]
pub(crate) struct Permit {
    pub(crate) key: String,
    pub(crate) token: String,
    pub(crate) file_id: String,
    pub(crate) cos_file_id: String,
    pub(crate) expires: Instant,
    /// The request for the upload URL had `\u` escapes.
    pub(crate) escaped: bool,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) base: String,
    pub(crate) upload_origin: Option<String>,
    pub(crate) auth_none: bool,
    pub(crate) expires_in: u64,
    pub(crate) token_grace: Duration,
    pub(crate) signature_lifetime: Duration,
    pub(crate) raw_urls: bool,
    pub(crate) url_query: String,
    pub(crate) encoded_file_ids: bool,
    /// The calls for links that do not find a new object.
    pub(crate) hidden_for: usize,
    /// The paths on the permission list of the container's sidecar, if it has one.
    pub(crate) permission_list: Option<Vec<String>>,
    pub(crate) check_crc: bool,
    pub(crate) store: bool,

    pub(crate) tokens: Vec<Token>,
    pub(crate) permits: HashMap<String, Permit>,
    pub(crate) objects: BTreeMap<String, Object>,
    pub(crate) requests: Vec<Request>,
    /// The number of requests of each step.
    counts: HashMap<Step, usize>,
    pub(crate) complaints: Vec<String>,
    pub(crate) connections: usize,
    pub(crate) open: HashMap<usize, Arc<TcpStream>>,
    pub(crate) uploads: usize,
    pub(crate) most_uploads: usize,
    pub(crate) gate_is_open: bool,
    pub(crate) port_is_closed: bool,
    pub(crate) stopped: bool,
}

impl State {
    pub(crate) fn new(base: String) -> Self {
        Self {
            base,
            expires_in: 7200,
            signature_lifetime: Duration::from_secs(15 * 60),
            check_crc: true,
            store: true,
            ..Self::default()
        }
    }

    pub(crate) fn count(&self, step: Step) -> usize {
        self.counts.get(&step).copied().unwrap_or_default()
    }

    /// Adds a request to the log. Returns its place there.
    pub(crate) fn log(&mut self, request: Request) -> usize {
        *self.counts.entry(request.step).or_default() += 1;
        self.requests.push(request);
        self.requests.len() - 1
    }

    pub(crate) fn complain(&mut self, complaint: impl Into<String>) {
        self.complaints.push(complaint.into());
    }

    pub(crate) fn add_token(&mut self, kind: TokenKind, value: String) {
        let expires = Instant::now() + Duration::from_secs(self.expires_in);
        self.tokens.push(Token {
            kind,
            value,
            expires,
            dies: None,
        });
    }
}

pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    /// Wakes the threads that wait for a request, the gate or the end.
    pub(crate) changed: Condvar,
    /// Not part of `state`, so that a `Fault::Custom` can look at the stand-in.
    pub(crate) rules: Mutex<Vec<Rule>>,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// The bytes that came over all connections.
    pub(crate) received: Arc<AtomicU64>,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until `done` is true. Gives up after `patience`, or when the stand-in stops.
    pub(crate) fn wait(&self, patience: Duration, done: impl Fn(&State) -> bool) {
        let go_on = |state: &mut State| !state.stopped && !done(state);
        drop(
            self.changed
                .wait_timeout_while(self.lock(), patience, go_on),
        );
    }

    pub(crate) fn complain(&self, complaint: impl Into<String>) {
        self.lock().complain(complaint);
    }

    /// Returns the fault that strikes the `nth` request of its step.
    pub(crate) fn strike(&self, request: &Request, nth: usize) -> Option<Fault> {
        for rule in self.lock_rules().iter_mut() {
            if !rule.concerns(request, nth) {
                continue;
            }
            let fault = match &rule.fault {
                Fault::Custom(choose) => choose(request),
                fault => Some(fault.clone()),
            };
            if fault.is_some() {
                rule.strikes += 1;
                return fault;
            }
        }
        None
    }
}
