//! The reply of step 4: the link of each file, or why a file has none.
//!
//! Does not ask for links.

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::api::{refused_entry, text_field, unusable_field};
use crate::cli::{Auth, text_in};
use crate::failure::{Cure, Failure, Kind, MIN_SECRET_BYTES, Stage, quote};
use crate::files::{Origin, Stored};
use crate::url;
use crate::words::{colon, either};

/// A longer link is refused. Up to 1,000 links wait in memory until they are printed. If the user
/// named a file twice, its link is kept until the end.
const MAX_URL_BYTES: usize = 8 << 10;

/// Returns the link of the file `stored` in `reply`. A link that holds one of `secrets` is refused, and
/// a failure hides them.
pub fn link_in(
    reply: &Value,
    stored: &Stored,
    auth: Auth,
    secrets: &[&str],
) -> Result<String, Failure> {
    let odd = |why: &str| Err(Failure::odd_reply(Stage::Link, why));
    let mut entries = reply["file_list"].as_array().into_iter().flatten();
    let Some(entry) = entries.find(|entry| entry["fileid"] == stored.file_id) else {
        return odd(either("the reply has no link for it", "应答中没有它的链接"));
    };
    let Some(status) = entry.get("status").map_or(Some(0), Value::as_i64) else {
        return Err(unusable_field(Stage::Link, "status"));
    };
    if let Some(failure) = failure_of(entry, status, stored.origin, auth, secrets) {
        return Err(failure);
    }
    let url = text_field(Stage::Link, entry, "download_url")?;
    if holds_secret(&url, secrets) {
        return odd(either(
            "the reply's link holds the AppSecret or the access token, and is not shown",
            "应答中的链接含有 AppSecret 或 access_token，不予显示",
        ));
    }
    let url = url::encoded(&url, &stored.key);
    if url.len() > MAX_URL_BYTES {
        return odd(either("its link is longer than 8 KiB", "链接超过 8 KiB"));
    }
    if url::web_address(&url).is_none() {
        return odd(either(
            "the reply's link is not an http or https address",
            "应答中的链接不是 http 或 https 地址",
        ));
    }
    Ok(url)
}

/// Whether a link holds one of `secrets`, raw or percent-encoded.
fn holds_secret(url: &str, secrets: &[&str]) -> bool {
    let decoded = percent_decode_str(url).decode_utf8_lossy();
    secrets.iter().any(|secret| {
        let is_secret = secret.len() >= MIN_SECRET_BYTES;
        is_secret && (url.contains(secret) || decoded.contains(secret))
    })
}

/// Names of codes, and the SDK's words for them. In the `errmsg` of a file they count for more than the
/// number beside it.
const NAMES: [(&str, i64); 4] = [
    ("STORAGE_EXCEED_AUTHORITY", -503002),
    ("SYS_ERR", -501001),
    ("resource system error", -501001),
    ("INVALID_PARAM", -501007),
];

/// Returns the failure that the API reports for one file, if it does. Only the `status` 0 is
/// documented. The SDK takes the others from the table of errcodes.
fn failure_of(
    entry: &Value,
    status: i64,
    origin: Origin,
    auth: Auth,
    secrets: &[&str],
) -> Option<Failure> {
    let errmsg = text_in(entry, "errmsg").unwrap_or_default();
    let says = |words: &str| errmsg.contains(words);
    if says("STORAGE_FILE_NONEXIST") || says("storage file not exists") {
        return Some(not_found(origin));
    }
    let code = match NAMES.iter().find(|(name, _)| says(name)) {
        Some((_, code)) => *code,
        None if status == 0 => return None,
        None => status,
    };
    let (cure, help) = refused_entry(code, errmsg, auth);
    let mut detail = format!("status {status}");
    for words in [&*quote(errmsg, secrets), help] {
        if !words.is_empty() {
            detail += colon();
            detail += words;
        }
    }
    let kind = Kind::Errcode(status);
    Some(Failure::new(Stage::Link, kind, cure, detail))
}

/// The failure if the API does not find an object. Just after an upload, the API may need a moment.
fn not_found(origin: Origin) -> Failure {
    let gone = either(
        "there is no such file in the cloud (STORAGE_FILE_NONEXIST): check the file_id",
        "云端没有这个文件（STORAGE_FILE_NONEXIST）：请检查 file_id",
    );
    let (cure, why) = match origin {
        Origin::ThisRun | Origin::OtherFile => (
            Cure::TRY_AGAIN,
            either(
                "COS took the file, but the API does not find it yet (STORAGE_FILE_NONEXIST): for its \
                 link, run wx-upload later with the file_id as PATH",
                "COS 已收下文件，但 API 还查不到（STORAGE_FILE_NONEXIST）：请稍后再试，以 file_id 为路径\
                 获取链接",
            ),
        ),
        Origin::EarlierRun => (Cure::UploadAgain, gone),
        Origin::Named => (Cure::Nothing, gone),
    };
    Failure::new(Stage::Link, Kind::NotFound, cure, why)
}
