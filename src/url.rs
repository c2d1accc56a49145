//! URLs as the services give them: perhaps raw, perhaps percent-encoded.
//!
//! Does not know what they lead to.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

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

/// `url` with what is raw in it percent-encoded. What is encoded stays as it is; but where one `%`
/// begins no escape, none does, as in the script's `requests`.
pub fn encoded(url: &str) -> String {
    let after_scheme = url.find("://").map_or(0, |at| at + "://".len());
    let path = url[after_scheme..].find(['/', '?', '#']);
    let (origin, path) = url.split_at(path.map_or(url.len(), |at| after_scheme + at));
    let raw = if is_encoded(path) {
        RAW
    } else {
        RAW_AND_PERCENT
    };
    let origin = utf8_percent_encode(origin, CONTROLS); // an IPv6 address has brackets
    format!("{origin}{}", utf8_percent_encode(path, raw))
}

/// Whether each `%` begins an escape.
fn is_encoded(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        let digits = after.bytes().take_while(u8::is_ascii_hexdigit);
        digits.take(2).count() == 2
    })
}
