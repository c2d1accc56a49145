//! URLs as the services give them: perhaps raw, perhaps percent-encoded.
//!
//! Does not know where a URL leads.

use percent_encoding::{AsciiSet, CONTROLS, PercentEncode, utf8_percent_encode};

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

/// Percent-encodes what is raw in `url`, as the script's `requests` did.
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

/// Returns the position of the first of `ends` from `start` on, or the end of `url`.
fn position(url: &str, start: usize, ends: &[char]) -> usize {
    url[start..].find(ends).map_or(url.len(), |at| start + at)
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
