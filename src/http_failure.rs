//! Failures of HTTP and of the network below it: in plain words, each with its cure.
//!
//! Only describes failures; `retry.rs` acts on them.

use std::env;
use std::io::{self, ErrorKind};
use std::time::Duration;

use ureq::http::{Response, Uri};
use ureq::{Agent, Body, Proxy, Timeout};

use crate::connect::{can_connect, not_this_machine};
use crate::failure::{Cure, Failure, Kind, Obstacle, Stage, quote};
use crate::known_hosts::Away;

/// A whole reply may take this many times `--timeout`. Without a limit, a reply that comes byte by
/// byte would never end.
pub const REPLY_TIMEOUT_FACTOR: u32 = 10;

/// What a bad HTTP status means. `told` holds the server's words about it.
pub fn status_failure(stage: Stage, reply: &Response<Body>, told: &str) -> Failure {
    let status = reply.status();
    let cure = match status.as_u16() {
        429 => Cure::SlowDown(Obstacle::TooFast(retry_after(reply))),
        408 | 500.. => Cure::Wait(retry_after(reply)),
        _ => Cure::Nothing,
    };
    let why = if status.is_redirection() {
        ": redirects are not followed"
    } else {
        ""
    };
    let detail = format!("HTTP {status}{why}{told}");
    Failure::new(stage, Kind::Status(status.as_u16()), cure, detail)
}

/// Returns how long a server asks to wait; zero if it does not say.
pub fn retry_after(reply: &Response<Body>) -> Duration {
    let value = reply.headers().get("retry-after");
    let seconds = value.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Duration::from_secs(seconds.unwrap_or_default())
}

/// Puts an error of ureq into our own words. Its own message may hold a URL with the access token.
pub fn request_failure(agent: &Agent, stage: Stage, url: &str, error: ureq::Error) -> Failure {
    let uri: Uri = url.parse().unwrap_or_default();
    let host = match uri.scheme() {
        Some(_) => quote(uri.host().unwrap_or("the upload URL"), &[]),
        None => "the upload URL".to_owned(),
    };
    let proxies = agent.config().proxy();
    let proxy = proxies.filter(|proxy| !proxy.is_no_proxy(&uri));
    let via = match proxy {
        Some(proxy) => format!(", through the proxy {}:{}", proxy.host(), proxy.port()),
        None => String::new(),
    };
    let (error, was_known) = match error {
        ureq::Error::Other(other) => match other.downcast::<Away>() {
            Ok(away) => (away.0, true),
            Err(other) => (ureq::Error::Other(other), false),
        },
        error => (error, false),
    };
    let HttpFailure {
        kind,
        mut cure,
        what,
    } = failure_of(agent, error);
    let way = proxy.map_or(&uri, Proxy::uri);
    if was_known && is_missing(kind) || is_broken(kind) && !can_connect(way) {
        cure = Cure::SlowDown(Obstacle::NobodyThere);
    }
    let help = match kind {
        UNREACHABLE if !via.is_empty() => "",
        UNREACHABLE if uri.scheme_str() == Some("http") => ": is the network up?",
        UNREACHABLE => ": is the network up? behind a proxy, set HTTPS_PROXY",
        _ => "",
    };
    Failure::new(stage, kind, cure, format!("{host}{via}: {what}{help}"))
}

/// The host could not be looked up, or nothing leads to it.
const UNREACHABLE: Kind = Kind::Network(ErrorKind::HostUnreachable);

/// Whether no connection could be made.
fn is_missing(kind: Kind) -> bool {
    matches!(
        kind,
        UNREACHABLE | Kind::Network(ErrorKind::ConnectionRefused)
    )
}

/// Whether a connection that was made is lost.
fn is_broken(kind: Kind) -> bool {
    let Kind::Network(kind) = kind else {
        return false;
    };
    matches!(
        kind,
        ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
            | ErrorKind::TimedOut
    )
}

/// What an error of ureq means.
struct HttpFailure {
    kind: Kind,
    cure: Cure,
    what: String,
}

impl HttpFailure {
    fn temporary(kind: ErrorKind, what: impl Into<String>) -> HttpFailure {
        HttpFailure {
            kind: Kind::Network(kind),
            cure: Cure::Wait(Duration::ZERO),
            what: what.into(),
        }
    }

    fn permanent(kind: ErrorKind, what: impl Into<String>) -> HttpFailure {
        HttpFailure {
            kind: Kind::Network(kind),
            cure: Cure::Nothing,
            what: what.into(),
        }
    }
}

fn failure_of(agent: &Agent, error: ureq::Error) -> HttpFailure {
    match error {
        ureq::Error::Timeout(timeout) => timeout_failure(agent, timeout),
        ureq::Error::Io(error) => connection_failure(&error),
        ureq::Error::HostNotFound => {
            HttpFailure::temporary(ErrorKind::HostUnreachable, "no such host")
        }
        ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) => {
            HttpFailure::temporary(ErrorKind::InvalidData, "the reply is not HTTP")
        }
        ureq::Error::BodyExceedsLimit(limit) => {
            let what = format!("its reply is longer than {} KiB", limit >> 10);
            HttpFailure::temporary(ErrorKind::InvalidData, what)
        }
        ureq::Error::ConnectProxyFailed(why) => proxy_failure(&why),
        ureq::Error::InvalidProxyUrl => HttpFailure {
            kind: Kind::Proxy,
            cure: Cure::StopRun,
            what: "this kind of proxy is not supported: it must be like http://HOST:PORT, or name \
                   the host in no_proxy"
                .to_owned(),
        },
        ureq::Error::RequireHttpsOnly(_) => {
            let what = "plain http is refused, as `api_base` is https";
            HttpFailure::permanent(ErrorKind::InvalidInput, what)
        }
        _ => HttpFailure::permanent(ErrorKind::InvalidInput, "cannot be used"),
    }
}

fn timeout_failure(agent: &Agent, timeout: Timeout) -> HttpFailure {
    let silence = agent.config().timeout_per_read().unwrap_or_default();
    match timeout {
        Timeout::Connect | Timeout::Resolve => {
            HttpFailure::temporary(ErrorKind::HostUnreachable, "no connection within 10 s")
        }
        Timeout::RecvResponse | Timeout::RecvBody => {
            let limit = (silence * REPLY_TIMEOUT_FACTOR).as_secs();
            let what = format!("no complete reply within {limit} s");
            HttpFailure::temporary(ErrorKind::TimedOut, what)
        }
        _ => {
            let what = format!("silent for {} s (--timeout)", silence.as_secs());
            HttpFailure::temporary(ErrorKind::TimedOut, what)
        }
    }
}

fn connection_failure(error: &io::Error) -> HttpFailure {
    if error.kind() == ErrorKind::UnexpectedEof {
        let what = "it closed the connection too early";
        return HttpFailure::temporary(ErrorKind::UnexpectedEof, what);
    }
    let told = error.to_string();
    if told == not_this_machine() {
        return HttpFailure {
            kind: Kind::Network(ErrorKind::AddrNotAvailable),
            cure: Cure::StopRun,
            what: told,
        };
    }
    if told.contains("certificate") {
        return HttpFailure::permanent(ErrorKind::InvalidData, certificate_words(&told));
    }
    let is_lookup = if cfg!(windows) {
        matches!(error.raw_os_error(), Some(11001..=11004)) // WSAHOST_NOT_FOUND …
    } else {
        told.starts_with("failed to lookup address")
    };
    let is_route = matches!(
        error.kind(),
        ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown
    );
    let kind = if is_lookup || is_route {
        ErrorKind::HostUnreachable
    } else {
        error.kind()
    };
    HttpFailure::temporary(kind, told)
}

/// What a proxy's refusal means. `why` is in ureq's words, and ends with the HTTP status.
fn proxy_failure(why: &str) -> HttpFailure {
    let status = why.rsplit('/').next().and_then(|end| end.parse().ok());
    let (cure, what) = match status {
        Some(407) => {
            let help = "it wants a user name and a password, or other ones than it was given: \
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
    HttpFailure {
        kind: Kind::Proxy,
        cure,
        what,
    }
}

/// What the user can do where the authority that signed a certificate is unknown.
fn help_for_unknown_authority() -> &'static str {
    let has_own_file = env::var_os("SSL_CERT_FILE").is_some_and(|path| !path.is_empty());
    let is_container = env::var_os("CBR_ENV_ID").is_some();
    match (is_container, has_own_file) {
        (true, false) => {
            "in a CloudRun container, set \"auth\": \"none\" in the config: then the API is asked \
             over plain http, and needs no certificate"
        }
        (true, true) => {
            "in a CloudRun container, set \"auth\": \"none\" in the config: then the API is asked \
             over plain http, and needs no certificate; and unset SSL_CERT_FILE, which replaces the \
             built-in authorities"
        }
        (false, true) => {
            "the file in SSL_CERT_FILE replaces the built-in authorities, and the authority of this \
             server is not in it: add its certificate to the file, or unset SSL_CERT_FILE"
        }
        (false, false) => {
            "behind a company proxy, name the file with its authority's certificate in \
             SSL_CERT_FILE"
        }
    }
}

/// The marks of rustls' own types in its messages.
const RUSTLS_TYPES: [&str; 4] = ["Other(OtherError(", "))", "DnsName(\"", "\")"];

/// Returns what rustls says about a certificate, cut to a readable length, and what helps.
fn certificate_words(told: &str) -> String {
    let mut told = told.to_owned();
    for dump in RUSTLS_TYPES {
        told = told.replace(dump, "");
    }
    let help = if told.contains("UnknownIssuer") {
        help_for_unknown_authority()
    } else if told.contains("expired") || told.contains("not valid yet") {
        "check this machine's clock; if it is right, the server's certificate must be renewed"
    } else if told.contains("not valid for") {
        "another server has answered: check the address"
    } else if told.contains("CaUsedAsEndEntity") {
        "the server shows an authority's certificate as its own: it needs one that the authority signed"
    } else {
        "the server's certificate cannot be used"
    };
    format!("{}: {help}", quote(&told, &[]))
}
