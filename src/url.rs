//! URLs as the services give them: perhaps raw, perhaps percent-encoded.
//!
//! Does not know what they lead to.

use percent_encoding::{AsciiSet, CONTROLS, PercentEncode, utf8_percent_encode};

/// What RFC 3986 allows nowhere in a path or a query. (Nothing but ASCII is allowed, either.)
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

/// `url` with what is raw in it percent-encoded, as the script's `requests` did.
pub fn encoded(url: &str) -> String {
    let after_scheme = url.find("://").map_or(0, |at| at + "://".len());
    let origin_end = position(url, after_scheme, &['/', '?', '#']);
    let path_end = position(url, origin_end, &['?', '#']);
    let query_end = position(url, path_end, &['#']);
    let origin = utf8_percent_encode(&url[..origin_end], CONTROLS); // an IPv6 address has brackets
    format!(
        "{origin}{}{}{}",
        part_encoded(&url[origin_end..path_end]),
        part_encoded(&url[path_end..query_end]),
        part_encoded(&url[query_end..]),
    )
}

/// Where the first of `ends` stands from `start` on, or else the end.
fn position(url: &str, start: usize, ends: &[char]) -> usize {
    url[start..].find(ends).map_or(url.len(), |at| start + at)
}

/// What is encoded stays as it is; but where one `%` of a path, say, begins no escape, none does.
fn part_encoded(part: &str) -> PercentEncode<'_> {
    let raw = if is_encoded(part) {
        RAW
    } else {
        RAW_AND_PERCENT
    };
    utf8_percent_encode(part, raw)
}

/// Whether each `%` begins an escape.
fn is_encoded(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        let digits = after.bytes().take_while(u8::is_ascii_hexdigit);
        digits.take(2).count() == 2
    })
}
