//! Failures of HTTP and of the network below it: in plain words, each with its cure.
//!
//! Makes no request. But it tries to connect, to tell a dead network from one lost connection.

use std::env;
use std::io::{self, ErrorKind};
use std::time::Duration;

use ureq::http::{Response, Uri};
use ureq::{Agent, Body, Proxy, ResponseExt, Timeout};

use super::connect::{NoConnection, can_connect};
use super::proxy::proxy_for;
use crate::failure::{Cure, Failure, Kind, Obstacle, Stage, quote};
use crate::words::{either, io_words, words};

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
    let redirect = redirect_words(reply);
    let detail = format!("HTTP {status}{redirect}{told}");
    Failure::new(stage, Kind::Status(status.as_u16()), cure, detail)
}

/// Returns words about a redirect; empty if the reply is none. The other address is told by its host
/// alone, as its query may hold a secret.
fn redirect_words(reply: &Response<Body>) -> String {
    if !reply.status().is_redirection() {
        return String::new();
    }
    let location = reply.headers().get("location");
    let target: Option<Uri> = location.and_then(|url| url.to_str().ok()?.parse().ok());
    let from = quote(reply.get_uri().host().unwrap_or_default(), &[]);
    let to = match target.as_ref().and_then(Uri::host) {
        Some(host) => {
            let host = quote(host, &[]);
            words!(" to {host}", "到 {host}")
        }
        None => String::new(),
    };
    words!(
        ": {from} redirects{to}, and redirects are not followed: perhaps it is the login page of a \
         network (open a page in a browser), or `api_base` is wrong",
        "：{from} 要求重定向{to}，而本程序不跟随重定向：可能是网络的登录页面（请先用浏览器打开网页），也可能是 \
         `api_base` 不对"
    )
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
    let named = uri.scheme().and_then(|_| uri.host());
    let host = quote(named.unwrap_or(either("the upload URL", "上传地址")), &[]);
    let proxy = proxy_for(agent.config(), &uri);
    let via = match proxy {
        Some(proxy) => {
            let (host, port) = (proxy.host(), proxy.port());
            words!(
                ", through the proxy {host}:{port}",
                "（经代理 {host}:{port}）"
            )
        }
        None => String::new(),
    };
    let HttpFailure {
        kind,
        mut cure,
        what,
    } = failure_of(agent, error);
    let way = proxy.map_or(&uri, Proxy::uri);
    if is_broken(kind) && !can_connect(way) {
        cure = Cure::SlowDown(Obstacle::NobodyThere);
    }
    let is_http = uri.scheme_str() == Some("http");
    let help = match kind {
        UNREACHABLE if proxy.is_none() && is_http => {
            either(": is the network up?", "：网络是否正常？")
        }
        UNREACHABLE if proxy.is_none() => either(
            ": is the network up? behind a proxy, set HTTPS_PROXY",
            "：网络是否正常？如需经代理上网，请设置 HTTPS_PROXY",
        ),
        Kind::Network(ErrorKind::ConnectionRefused) if proxy.is_some() => either(
            ": is the proxy running? if none is needed, unset HTTPS_PROXY (or ALL_PROXY)",
            "：代理是否在运行？不需要代理的，请取消 HTTPS_PROXY（或 ALL_PROXY）",
        ),
        _ => "",
    };
    let detail = words!("{host}{via}: {what}{help}", "{host}{via}：{what}{help}");
    Failure::new(stage, kind, cure, detail)
}

/// The host could not be looked up, or nothing leads to it.
const UNREACHABLE: Kind = Kind::Network(ErrorKind::HostUnreachable);

/// Whether a connection that was made is lost.
fn is_broken(kind: Kind) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
    matches!(
        kind,
        Kind::Network(ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof | TimedOut)
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
            cure: Cure::TRY_AGAIN,
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
        ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) => {
            let what = either("the reply is not HTTP", "应答不是 HTTP");
            HttpFailure::temporary(ErrorKind::InvalidData, what)
        }
        ureq::Error::BodyExceedsLimit(limit) => {
            let limit = limit >> 10;
            let what = words!(
                "its reply is longer than {limit} KiB",
                "应答超过 {limit} KiB"
            );
            HttpFailure::temporary(ErrorKind::InvalidData, what)
        }
        ureq::Error::Other(why) => match why.downcast() {
            Ok(why) => no_connection(agent, *why),
            Err(_) => cannot_be_used(),
        },
        ureq::Error::ConnectProxyFailed(why) => proxy_failure(&why),
        ureq::Error::InvalidProxyUrl => HttpFailure {
            kind: Kind::Proxy,
            cure: Cure::StopRun,
            what: either(
                "this kind of proxy is not supported: it must be like http://HOST:PORT, or name the \
                 host in no_proxy",
                "不支持这种代理：应形如 http://HOST:PORT，或把该主机写入 no_proxy",
            )
            .to_owned(),
        },
        ureq::Error::RequireHttpsOnly(_) => {
            let what = either(
                "plain http is refused, as `api_base` is https",
                "`api_base` 是 https，因此不使用明文 http",
            );
            HttpFailure::permanent(ErrorKind::InvalidInput, what)
        }
        _ => cannot_be_used(),
    }
}

fn cannot_be_used() -> HttpFailure {
    HttpFailure::permanent(
        ErrorKind::InvalidInput,
        either("cannot be used", "无法使用"),
    )
}

fn timeout_failure(agent: &Agent, timeout: Timeout) -> HttpFailure {
    let silence = agent.config().timeout_per_read().unwrap_or_default();
    match timeout {
        Timeout::Connect => {
            let what = either("no connection within 10 s", "10 秒内无法建立连接");
            HttpFailure::temporary(ErrorKind::HostUnreachable, what)
        }
        Timeout::RecvResponse | Timeout::RecvBody => {
            let limit = (silence * REPLY_TIMEOUT_FACTOR).as_secs();
            let what = words!(
                "no complete reply within {limit} s",
                "{limit} 秒内没有收到完整的应答"
            );
            HttpFailure::temporary(ErrorKind::TimedOut, what)
        }
        _ => {
            let silence = silence.as_secs();
            let what = words!(
                "silent for {silence} s (--timeout)",
                "{silence} 秒没有收发数据（--timeout）"
            );
            HttpFailure::temporary(ErrorKind::TimedOut, what)
        }
    }
}

fn no_connection(agent: &Agent, why: NoConnection) -> HttpFailure {
    match why {
        NoConnection::Away(error) => {
            let mut failure = failure_of(agent, error);
            if failure.kind.is_without_connection() {
                failure.cure = Cure::SlowDown(Obstacle::NobodyThere);
            }
            failure
        }
        NoConnection::NotFound(host) => {
            let what = words!(
                "no address found for {host}",
                "域名解析失败，找不到 {host} 的地址"
            );
            HttpFailure::temporary(ErrorKind::HostUnreachable, what)
        }
        NoConnection::NotThisMachine => {
            let what = either(
                "this name leads to another machine, where plain http is not sent: check /etc/hosts, or \
                 use https",
                "这个名字指向另一台机器，明文 http 不会发往那里：请检查 /etc/hosts，或改用 https",
            );
            HttpFailure {
                cure: Cure::StopRun,
                ..HttpFailure::permanent(ErrorKind::AddrNotAvailable, what)
            }
        }
    }
}

fn connection_failure(error: &io::Error) -> HttpFailure {
    let told = error.to_string();
    match error.kind() {
        ErrorKind::UnexpectedEof => {
            let what = either("it closed the connection too early", "连接被对方提前关闭");
            HttpFailure::temporary(ErrorKind::UnexpectedEof, what)
        }
        kind @ ErrorKind::InvalidData if told.contains("certificate") => {
            HttpFailure::permanent(kind, certificate_words(&told))
        }
        ErrorKind::InvalidData if error.get_ref().is_some() => {
            let name = told.rsplit(' ').next().unwrap_or_default(); // rustls' own name for it
            let what = words!("{told}", "TLS 连接失败（{name}）");
            HttpFailure::temporary(ErrorKind::InvalidData, what)
        }
        ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            HttpFailure::temporary(ErrorKind::HostUnreachable, io_words(error))
        }
        kind => HttpFailure::temporary(kind, io_words(error)),
    }
}

/// What a proxy's refusal means. `why` is in ureq's words, and ends with the HTTP status.
fn proxy_failure(why: &str) -> HttpFailure {
    let status = why.rsplit('/').next().and_then(|end| end.parse().ok());
    let (cure, what) = match status {
        Some(407) => {
            let what = either(
                "HTTP 407: it wants a user name and a password, or other ones than it was given: \
                 HTTPS_PROXY must be like http://USER:PASSWORD@HOST:PORT; only Basic is supported: if \
                 the proxy wants NTLM or Kerberos, a local proxy such as cntlm helps",
                "HTTP 407：代理需要用户名和密码，或现有的不对：HTTPS_PROXY 应形如 \
                 http://USER:PASSWORD@HOST:PORT；只支持 Basic 认证：如果代理要求 NTLM 或 Kerberos，\
                 可在本机运行 cntlm 之类的代理",
            );
            (Cure::StopRun, what.to_owned())
        }
        Some(status @ 400..500) => (
            Cure::Nothing,
            words!(
                "HTTP {status}: it does not let this program through",
                "HTTP {status}：代理不放行本程序"
            ),
        ),
        Some(status) => (Cure::TRY_AGAIN, format!("HTTP {status}")),
        None => (
            Cure::TRY_AGAIN,
            words!("{why}", "代理没有应答"), // ureq gives no other reason
        ),
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
        (true, false) => either(
            "in a CloudRun container, set \"auth\": \"none\" in the config: then the API is asked \
             over plain http, and needs no certificate",
            "在云托管容器中，请在配置中设置 \"auth\": \"none\"，这样会以明文 http 访问 API，不需要证书",
        ),
        (true, true) => either(
            "in a CloudRun container, set \"auth\": \"none\" in the config: then the API is asked \
             over plain http, and needs no certificate; and unset SSL_CERT_FILE, which replaces the \
             built-in authorities",
            "在云托管容器中，请在配置中设置 \"auth\": \"none\"，这样会以明文 http 访问 API，不需要证书；\
             并取消 SSL_CERT_FILE，它会取代内置的 CA 证书",
        ),
        (false, true) => either(
            "the file in SSL_CERT_FILE replaces the built-in authorities, and the authority of this \
             server is not in it: add its certificate to the file, or unset SSL_CERT_FILE",
            "SSL_CERT_FILE 指定的文件取代了内置的 CA 证书，而其中没有签发此证书的 CA：请把它的证书加入该\
             文件，或取消 SSL_CERT_FILE",
        ),
        (false, false) => either(
            "behind a company proxy, name the file with its authority's certificate in \
             SSL_CERT_FILE",
            "如果经公司代理上网，请用 SSL_CERT_FILE 指定代理的 CA 证书文件",
        ),
    }
}

/// The marks of rustls' own types in its messages.
const RUSTLS_TYPES: [&str; 4] = ["Other(OtherError(", "))", "DnsName(\"", "\")"];

/// What rustls says in a sentence about a certificate, and the Chinese for it. Other faults have a
/// name, such as `UnknownIssuer`.
const CERTIFICATE_FAULTS: [(&str, &str); 3] = [
    ("expired", "已过期"),
    ("not valid yet", "尚未生效"),
    ("not valid for", "域名不符"),
];

/// Returns what rustls says about a certificate, cut to a readable length, and what helps.
fn certificate_words(told: &str) -> String {
    let mut told = told.to_owned();
    for dump in RUSTLS_TYPES {
        told = told.replace(dump, "");
    }
    let told = quote(&told, &[]);
    let name = told.rsplit(": ").next().unwrap_or_default();
    let in_a_sentence = CERTIFICATE_FAULTS
        .iter()
        .find(|(fault, _)| told.contains(fault));
    let (fault, reason) = in_a_sentence.copied().unwrap_or((name, name));
    let help = match fault {
        "UnknownIssuer" => help_for_unknown_authority(),
        "expired" | "not valid yet" => either(
            "check this machine's clock; if it is right, the server's certificate must be renewed",
            "请检查本机时间；如果无误，需要由服务器更换证书",
        ),
        "not valid for" => either(
            "another server has answered: check the address",
            "应答的是另一台服务器，请检查地址",
        ),
        "CaUsedAsEndEntity" => either(
            "the server shows an authority's certificate as its own: it needs one that the \
             authority signed",
            "服务器把 CA 证书当作自己的证书，它需要一个由该 CA 签发的证书",
        ),
        _ => either("the server's certificate cannot be used", "无法使用"),
    };
    words!("{told}: {help}", "服务器的证书无效（{reason}）：{help}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, retry_after: &str) -> Response<Body> {
        let reply = Response::builder().status(status);
        let reply = reply.header("Retry-After", retry_after);
        reply.body(Body::builder().data("")).unwrap()
    }

    #[test]
    fn a_retry_after_is_read_if_it_is_a_number_of_seconds() {
        for (value, seconds) in [("2", 2), (" 120 ", 120), ("0", 0)] {
            assert_eq!(
                retry_after(&reply(503, value)),
                Duration::from_secs(seconds)
            );
        }
        for value in [
            "-5",
            "1.5",
            "18446744073709551616",
            "soon",
            "",
            "Fri, 31 Dec 1999 23:59:59 GMT",
        ] {
            assert_eq!(retry_after(&reply(503, value)), Duration::ZERO, "{value}");
        }
    }

    #[test]
    fn a_status_that_can_pass_is_tried_again_and_another_is_not() {
        let cure = |status| status_failure(Stage::Info, &reply(status, "7"), "").cure;
        let wait = Duration::from_secs(7);
        for status in [408, 500, 502, 503, 504, 599] {
            assert!(cure(status) == Cure::Wait(wait), "{status}");
        }
        assert!(cure(429) == Cure::SlowDown(Obstacle::TooFast(wait)));
        for status in [400, 403, 404, 413] {
            assert!(cure(status) == Cure::Nothing, "{status}");
        }
    }
}
