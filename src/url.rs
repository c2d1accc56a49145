//! URLs as the services give them: raw or percent-encoded.
//!
//! Does not know where a URL leads.

use std::net::{Ipv4Addr, Ipv6Addr};

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

/// ASCII characters that RFC 3986 does not allow in a path or a query. (It allows none beyond
/// ASCII.)
const RAW: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
const RAW_AND_PERCENT: &AsciiSet = &RAW.add(b'%');
/// All ASCII characters but those that RFC 3986 calls unreserved, and the `/` between segments.
const STRICT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Percent-encodes what is raw in `url`, which leads to the object with the cloud name `key`.
///
/// The looks of a URL do not tell whether it is raw: a name may hold `#` or `%41`. The cloud name
/// tells it: where the path of the URL ends with exactly that name, the name is raw. Example: for
/// the name `C#入门.pdf` the URL `https://host/C#入门.pdf?t=1` becomes
/// `https://host/C%23%E5%85%A5%E9%97%A8.pdf?t=1`. All other URLs are treated as the script's
/// `requests` did.
pub fn encoded(url: &str, key: &str) -> String {
    let (origin, rest) = url.split_at(origin_end(url));
    let origin = utf8_percent_encode(origin, CONTROLS); // an IPv6 address has brackets
    if let Some(raw) = raw_key(rest, key) {
        let before = part_encoded(raw.before);
        let key = utf8_percent_encode(key, STRICT);
        let query = part_encoded(raw.query);
        return format!("{origin}{before}/{key}{query}");
    }
    let (path, rest) = rest.split_at(position(rest, &['?', '#']));
    let (query, fragment) = rest.split_at(position(rest, &['#']));
    format!(
        "{origin}{}{}{}",
        part_encoded(path),
        part_encoded(query),
        part_encoded(fragment),
    )
}

/// What stands around a raw cloud name in a URL.
struct RawKey<'a> {
    /// The path before the name, without the `/` between them.
    before: &'a str,
    /// Everything from the `?` after the name on, or nothing.
    query: &'a str,
}

/// Finds the raw cloud name `key` at the end of a URL's path. `rest` is the URL without its origin.
fn raw_key<'a>(rest: &'a str, key: &str) -> Option<RawKey<'a>> {
    let queries = rest.match_indices('?').map(|(at, _)| at);
    for end in queries.chain([rest.len()]) {
        let (path, query) = rest.split_at(end);
        if let Some(before) = path.strip_suffix(key)
            && let Some(before) = before.strip_suffix('/')
            && !before.contains(['?', '#'])
        {
            return Some(RawKey { before, query });
        }
    }
    None
}

/// Returns whether `url` can be shown as a link: http or https, then a host and perhaps a port.
/// Anything else, such as `javascript:` or `https://<script>`, can harm the reader of a page.
pub fn is_link(url: &str) -> bool {
    let Some((scheme, after)) = url.split_once("://") else {
        return false;
    };
    let is_web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let (authority, _) = after.split_at(position(after, &['/', '?', '#']));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (authority, ""),
    };
    is_web && is_host(host) && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns whether `host` is a name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    if let Some(after) = host.strip_prefix('[') {
        let address = after.strip_suffix(']').unwrap_or_default();
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !host.is_empty() && host.bytes().all(is_plain)
}

/// Returns the position after scheme, host and port.
fn origin_end(url: &str) -> usize {
    let after_scheme = url.find("://").map_or(0, |at| at + "://".len());
    after_scheme + position(&url[after_scheme..], &['/', '?', '#'])
}

/// Returns the position of the first of `ends`, or the end of `text`.
fn position(text: &str, ends: &[char]) -> usize {
    text.find(ends).unwrap_or(text.len())
}

/// Encodes one part of a URL: its path, its query or its fragment. If every `%` in it begins an
/// escape, the part is taken as encoded, and its `%` stay. If one `%` does not, every `%` is raw.
fn part_encoded(part: &str) -> PercentEncode<'_> {
    let raw = if is_encoded(part) {
        RAW
    } else {
        RAW_AND_PERCENT
    };
    utf8_percent_encode(part, raw)
}

/// Whether each `%` begins an escape: two hexadecimal digits follow it.
fn is_encoded(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        let digits = after.bytes().take_while(u8::is_ascii_hexdigit);
        digits.take(2).count() == 2
    })
}

/// Whether the host of a URL is this machine itself. What `localhost` leads to is for the system to
/// say: a connection over plain http checks that it stays on this machine.
pub fn is_this_machine(host: &str) -> bool {
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    if let Some(address) = bracketed {
        return address
            .parse::<Ipv6Addr>()
            .is_ok_and(|address| address.is_loopback());
    }
    match host.parse::<Ipv4Addr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}
