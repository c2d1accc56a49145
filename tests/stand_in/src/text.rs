//! Small functions for texts: headers, random texts, percent-encoding.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::reply::Headers;

pub(crate) const ALPHANUMERIC: &[u8] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
pub(crate) const HEX: &[u8] = b"0123456789abcdef";

pub(crate) fn to_headers(headers: &[(&str, &str)]) -> Headers {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

/// Returns a random text of these letters.
pub(crate) fn random(length: usize, letters: &[u8]) -> String {
    /// A number of 64 bits is good for 10 letters of an alphabet of 62.
    const LETTERS_OF_A_NUMBER: usize = 10;
    let mut text = String::with_capacity(length);
    let mut number: u64 = 0;
    let count = letters.len() as u64;
    for at in 0..length {
        if at % LETTERS_OF_A_NUMBER == 0 {
            number = RandomState::new().hash_one(at);
        }
        text.push(letters[(number % count) as usize].into());
        number /= count;
    }
    text
}

/// Encodes all bytes except `/` and the unreserved characters of RFC 3986.
pub(crate) fn percent_encode(key: &str) -> String {
    let mut encoded = String::new();
    for byte in key.bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                encoded.push(byte.into())
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

pub(crate) fn percent_decode(text: &str) -> String {
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

/// Returns one of the `needles` that stand in `text`. It goes through the text once: a large run has
/// thousands of secrets.
pub(crate) fn find_any<'a>(text: &str, needles: &'a [String]) -> Option<&'a String> {
    const BEGINNING: usize = 8;
    let mut by_beginning: HashMap<&[u8], Vec<&String>> = HashMap::new();
    for needle in needles {
        match needle.as_bytes().get(..BEGINNING) {
            Some(beginning) => by_beginning.entry(beginning).or_default().push(needle),
            None if text.contains(needle) => return Some(needle),
            None => {}
        }
    }
    let places = text.as_bytes().windows(BEGINNING).enumerate();
    for (at, beginning) in places {
        let alike = by_beginning.get(beginning).into_iter().flatten();
        let rest = &text.as_bytes()[at..];
        for needle in alike {
            if rest.starts_with(needle.as_bytes()) {
                return Some(needle);
            }
        }
    }
    None
}
