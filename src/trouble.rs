//! What goes wrong below HTTP, in plain words, and what can be done about it.
//!
//! Does nothing about it.

use std::io::ErrorKind;
use std::time::Duration;

use ureq::http::Uri;
use ureq::{Agent, Timeout};

use crate::failure::{Cure, Failure, Kind, Stage, quote};

/// So many times `--timeout` for a whole reply: one that comes byte by byte would never end.
pub const REPLY_TIMEOUTS: u32 = 10;

/// Puts what ureq says into words of our own: its messages may hold a URL with the access token in
/// it.
pub fn request_failed(agent: &Agent, stage: Stage, url: &str, error: ureq::Error) -> Failure {
    let uri: Uri = url.parse().unwrap_or_default();
    let host = match uri.scheme() {
        Some(_) => uri.host().unwrap_or("the upload URL"),
        None => "the upload URL",
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
    kind: ErrorKind,
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
                &format!("no complete reply within {limit} s"),
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
            told if told.starts_with("failed to lookup address") => can_pass(
                ErrorKind::NotFound,
                &format!("{told}: is the network up? behind a proxy, set HTTPS_PROXY"),
            ),
            told => can_pass(error.kind(), &told),
        },
        ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) => {
            can_pass(ErrorKind::InvalidData, "the reply is not HTTP")
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

pub fn is_password_wanted(why: &str) -> bool {
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
