//! Looks for secrets in a small file before it is sent. A copy of the config can have any name, and a
//! log or a note can hold the AppSecret, too. Files of that kind are small.
//!
//! Does not know where the secrets come from.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::sync::Mutex;

use serde_json::value::RawValue;

use crate::disk::{PIECE_BYTES, read_piece, without_bom};
use crate::failure::MIN_SECRET_BYTES;
use crate::words::either;

/// A larger file is not looked into.
const MAX_BYTES: u64 = 1 << 20;

/// Held while a file is read whole, so that only one is in memory.
static WHOLE_FILE: Mutex<()> = Mutex::new(());

/// Returns why `file`, which has `size` bytes, must not be sent: it holds one of `secrets`, or it is a
/// JSON object with `appid` and `secret`. A file that may be sent is left at its beginning.
pub fn found_in(
    file: &mut File,
    size: u64,
    secrets: &[String],
) -> io::Result<Option<&'static str>> {
    if size > MAX_BYTES {
        return Ok(None);
    }
    let needles = needles(secrets);
    let longest = needles.iter().map(Vec::len).max().unwrap_or_default();
    let mut bytes = file.by_ref().take(size);
    let mut piece = Vec::with_capacity(PIECE_BYTES.min(size as usize) + longest);
    let mut count = read_piece(&mut bytes, &mut piece)?;
    let may_be_config = begins_object(&piece);
    while count > 0 {
        if needles.iter().any(|needle| contains(&piece, needle)) {
            return Ok(Some(either(
                "it holds the AppSecret or the access token, so it is never uploaded",
                "文件含有 AppSecret 或 access_token，不会上传",
            )));
        }
        // A secret may begin in this piece and end in the next one.
        piece.drain(..piece.len().saturating_sub(longest));
        count = read_piece(&mut bytes, &mut piece)?;
    }
    file.rewind()?;
    if may_be_config {
        let _only_this_one = WHOLE_FILE.lock().unwrap();
        let mut json = Vec::new();
        file.take(size).read_to_end(&mut json)?;
        if is_like_config(&json) {
            return Ok(Some(either(
                "it is JSON with an `appid` and a `secret`, like a config, so it is never uploaded",
                "文件是含有 `appid` 和 `secret` 的 JSON，与配置文件相似，不会上传",
            )));
        }
        file.rewind()?;
    }
    Ok(None)
}

/// Returns the secrets as bytes to look for: in UTF-8 and in UTF-16, as PowerShell writes texts.
fn needles(secrets: &[String]) -> Vec<Vec<u8>> {
    let mut needles = Vec::new();
    for secret in secrets {
        if secret.len() < MIN_SECRET_BYTES {
            continue; // it would be found in ordinary files, and an empty one in all
        }
        needles.push(secret.clone().into_bytes());
        let mut utf16: Vec<u8> = secret.bytes().flat_map(|byte| [byte, 0]).collect();
        utf16.pop(); // without the last 0, these bytes occur in both byte orders of UTF-16
        needles.push(utf16);
    }
    needles
}

/// Whether `needle` is in `bytes`. The way of Horspool: looks at the last byte of each window, and
/// moves on by as many bytes as that byte allows, for most bytes by the length of the needle.
fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    let last = needle.len() - 1;
    let mut steps = [needle.len(); 256];
    for (index, byte) in needle[..last].iter().enumerate() {
        steps[usize::from(*byte)] = last - index;
    }
    let mut at = 0;
    while let Some(window) = bytes.get(at..at + needle.len()) {
        if window[last] == needle[last] && window == needle {
            return true;
        }
        at += steps[usize::from(window[last])];
    }
    false
}

/// Whether a file that begins with `piece` may be a JSON object.
fn begins_object(piece: &[u8]) -> bool {
    let json = without_bom(piece).trim_ascii_start();
    matches!(json.first(), None | Some(b'{'))
}

/// Whether `bytes` are a JSON object with texts under `appid` and `secret` that are not empty.
fn is_like_config(bytes: &[u8]) -> bool {
    let json = without_bom(bytes);
    // The values stay text: values of serde_json take up to 150 times the memory.
    let Ok(object) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(json) else {
        return false;
    };
    let has_text = |key| match object.get(key) {
        Some(value) => value.get().starts_with('"') && value.get() != "\"\"",
        None => false,
    };
    has_text("appid") && has_text("secret")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_needle_is_found_wherever_it_stands_and_nowhere_else() {
        // All texts of 8 letters, and all needles of 1 to 4: with two letters, they often repeat.
        let text = |bits: u32, length| (0..length).map(|n| b'a' + (bits >> n & 1) as u8).collect();
        for length in 1..5 {
            for bits in 0..1 << length {
                let needle: Vec<u8> = text(bits, length);
                for bits in 0..1 << 8 {
                    let bytes: Vec<u8> = text(bits, 8);
                    let is_there = bytes.windows(length).any(|window| window == needle);
                    assert_eq!(contains(&bytes, &needle), is_there, "{bytes:?} {needle:?}");
                }
            }
        }
        assert!(!contains(b"", b"a"));
    }

    #[test]
    fn a_secret_is_looked_for_in_utf_8_and_in_both_kinds_of_utf_16() {
        let needles = needles(&["12345678".to_owned(), "1234567".to_owned(), String::new()]);
        let holds = |bytes: &[u8]| needles.iter().any(|needle| contains(bytes, needle));
        let utf16 = "x12345678y".encode_utf16();
        let little: Vec<u8> = utf16.clone().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = utf16.flat_map(u16::to_be_bytes).collect();
        assert!(holds(b"x12345678y") && holds(&little) && holds(&big));
        assert!(!holds(b"1234567")); // too short for a secret
    }

    #[test]
    fn json_with_an_appid_and_a_secret_is_like_a_config() {
        for json in [
            r#"{"appid":"a","secret":"b"}"#,
            "\u{feff} {\"secret\": \"b\", \"more\": [{}], \"appid\": \"a\"}",
        ] {
            assert!(
                begins_object(json.as_bytes()) && is_like_config(json.as_bytes()),
                "{json}"
            );
        }
        for json in [
            r#"{"appid":"","secret":"b"}"#,
            r#"{"appid":1,"secret":"b"}"#,
            r#"{"appid":"a"}"#,
            r#"{"a":{"appid":"a","secret":"b"}}"#,
            r#"{"appid":"a","secret":"b""#,
            r#"["appid","secret"]"#,
        ] {
            assert!(!is_like_config(json.as_bytes()), "{json}");
        }
        assert!(begins_object(b" \n") && !begins_object(b"[{") && !begins_object(b"x{"));
    }
}
