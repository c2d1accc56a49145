//! URLs as the services give them: raw or percent-encoded.
//!
//! Makes no connection.

use std::net::{Ipv4Addr, Ipv6Addr};

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use ureq::http::Uri;

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

/// Reads a URL that is http or https, with a host and perhaps a port. Anything else, such as
/// `javascript:`, `https://<script>` or a user before the host, can harm the reader of a page.
pub fn web_address(url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority()?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let host = authority.host();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_name = !host.is_empty() && host.bytes().all(is_plain);
    let is_host = is_name || ipv6_address(host).is_some();
    let has_user = authority.as_str().contains('@');
    let has_good_port = authority == host || authority.port().is_some();
    (is_web && is_host && !has_user && has_good_port).then_some(uri)
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
    if let Some(address) = ipv6_address(host) {
        return address.is_loopback();
    }
    match host.parse::<Ipv4Addr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// Returns the IPv6 address that a host in brackets is.
fn ipv6_address(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_name_at_the_end_of_the_path_is_encoded_segment_by_segment() {
        let cases = [
            ("C#入门.pdf", "C%23%E5%85%A5%E9%97%A8.pdf"),
            ("a/b c/what?.png", "a/b%20c/what%3F.png"),
            ("100%25+.png", "100%2525%2B.png"),
            ("%E5%9F%83.jpg", "%25E5%259F%2583.jpg"),
            ("a-b._~", "a-b._~"),
        ];
        for (key, name) in cases {
            for host in [
                "https://7072-x.tcb.qcloud.la",
                "http://[::1]:80",
                "https://h/c",
            ] {
                for query in ["", "?sign=0f&t=1", "?path=/a?b&c=%2F"] {
                    let raw = format!("{host}/{key}{query}");
                    assert_eq!(encoded(&raw, key), format!("{host}/{name}{query}"));
                }
            }
        }
    }

    #[test]
    fn what_is_encoded_stays_and_what_is_raw_is_encoded_as_by_requests() {
        let cases = [
            (
                "https://h/C%23%E5%85%A5.pdf?t=1",
                "https://h/C%23%E5%85%A5.pdf?t=1",
            ),
            ("https://h/图 1.jpg", "https://h/%E5%9B%BE%201.jpg"),
            ("https://h/100%/x%41", "https://h/100%25/x%2541"), // one raw % makes all raw
            ("https://h/%41?a=100%#100%", "https://h/%41?a=100%25#100%25"), // each part by itself
            ("https://h/a+b(1)!*'", "https://h/a+b(1)!*'"),
            ("https://h?a b", "https://h?a%20b"),
        ];
        for (url, expected) in cases {
            assert_eq!(encoded(url, "another name"), expected);
        }
    }

    #[test]
    fn a_name_that_only_stands_in_the_query_or_within_a_segment_is_not_the_raw_name() {
        for url in [
            "https://h/x?y=/a%20b",
            "https://h/xa%20b",
            "https://h/x#/a%20b",
        ] {
            assert_eq!(encoded(url, "a%20b"), url);
        }
        assert_eq!(encoded("https://h/x/a%20b", "a%20b"), "https://h/x/a%2520b");
    }

    #[test]
    fn only_http_and_https_with_a_host_are_links() {
        for url in [
            "https://x.example/a",
            "HTTPS://X.example/a",
            "https://a_b-c.9.example:8443/a?b#c",
            "http://127.0.0.1:1/a",
            "http://[::1]:80/a",
            "https://x.example",
        ] {
            assert!(web_address(url).is_some(), "{url}");
        }
        for url in [
            "javascript:alert(1)",
            "javascript://x.example/%0Aalert(1)",
            "ftp://x.example/a",
            "//x.example/a",
            "https://",
            "https:///x.example/a",
            "https://:80/a",
            "https:x.example/a",
            " https://x.example/a",
            "https://x .example/a",
            "https://<script>/a",
            "https://x.example:80)/a",
            "https://user:password@x.example/a",
            "https://x%2eexample/a",
            "https://x'y.example/a",
            "https://[::1/a",
            "https://[x]/a",
        ] {
            assert!(web_address(url).is_none(), "{url}");
        }
    }

    #[test]
    fn localhost_and_loopback_addresses_are_this_machine() {
        for host in ["localhost", "LocalHost", "127.0.0.1", "127.9.9.9", "[::1]"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in [
            "localhost.",
            "localhost.example",
            "127.0.0.1.example",
            "10.0.0.1",
            "0.0.0.0",
        ] {
            assert!(!is_this_machine(host), "{host}");
        }
        for host in ["", "[::]", "::1", "[::ffff:127.0.0.1]", "127.1"] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
