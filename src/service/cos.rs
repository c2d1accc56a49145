//! COS's "POST Object": a form with the file as its last field, and what COS answers.
//!
//! Does not know where the fields come from.

use std::io::{self, Read};

use ureq::http::{Response, StatusCode};
use ureq::unversioned::multipart::{Form, Part};
use ureq::{Agent, Body, SendBody};

use crate::failure::{Cure, Failure, Obstacle, Stage, quote};
use crate::files::FileBody;
use crate::network::{request_failure, retry_after, status_failure};
use crate::words::{colon, either};

const MAX_REPLY_BYTES: u64 = 64 << 10;

/// What COS says of an object that it stored.
pub struct StoredObject {
    /// CRC-64/XZ in decimal, if COS tells.
    pub crc64: Option<String>,
}

/// POSTs a form of `fields` and `file` to `url`, which is percent-encoded.
pub fn post_object(
    agent: &Agent,
    url: &str,
    fields: &[(&str, &str)],
    file: &mut FileBody,
) -> Result<StoredObject, Failure> {
    let sent = send(agent, url, fields, file);
    if let Some(failure) = file.read_failure() {
        return Err(failure); // ureq would only say that reading failed
    }
    let mut reply = sent.map_err(|error| request_failure(agent, Stage::Upload, url, error))?;
    // Read the body of a success, too: ureq reuses a connection only after its body was read.
    let mut xml = Vec::new();
    let body = reply.body_mut().as_reader();
    let read = body.take(MAX_REPLY_BYTES).read_to_end(&mut xml);
    if !reply.status().is_success() {
        let failure = refusal(&reply, &xml, fields);
        if read.is_err() && failure.cure == Cure::Nothing {
            // The missing part may hold the reason, so another try may help.
            return Err(failure.with_cure(Cure::TRY_AGAIN));
        }
        return Err(failure);
    }
    let crc64 = reply.headers().get("x-cos-hash-crc64ecma");
    let crc64 = crc64.map(|crc64| String::from_utf8_lossy(crc64.as_bytes()).into_owned());
    Ok(StoredObject { crc64 })
}

fn send(
    agent: &Agent,
    url: &str,
    fields: &[(&str, &str)],
    file: &mut FileBody,
) -> Result<Response<Body>, ureq::Error> {
    // COS refuses chunked bodies, and ureq cannot know the length of a reader. So the length is set
    // here: the length of the form with an empty file, plus the size of the file.
    let size = file.size();
    let around = io::copy(&mut form(fields, &mut io::empty())?, &mut io::sink())?;
    let whole = form(fields, file)?;
    let content_type = format!("multipart/form-data; boundary={}", whole.boundary());
    let request = agent
        .post(url)
        .header("Content-Type", content_type)
        .header("Content-Length", around + size);
    request.send(SendBody::from_reader(&mut WholePieces(whole)))
}

/// The body of an upload, in pieces that fill ureq's buffer of 64 KiB. ureq reads a piece, sends it, and
/// reads the next one. A form alone returns after each field, and each would go in a packet of its own:
/// a small file would need 8 packets instead of 2.
struct WholePieces<R>(R);

impl<R: Read> Read for WholePieces<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read(&mut buffer[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }
}

/// Makes the form of an upload. Its `filename` is always `file`, as in the script's form: COS takes
/// the name from `key`, so no name has to be escaped here.
fn form<'a>(
    fields: &[(&'a str, &'a str)],
    file: &'a mut dyn Read,
) -> Result<Form<'a>, ureq::Error> {
    let mut form = Form::new();
    for (name, value) in fields {
        form = form.text(name, value);
    }
    // Some form parsers treat a part without a type as a text field.
    let part = Part::reader(file).file_name("file");
    let part = part.mime_str("application/octet-stream")?;
    Ok(form.part("file", part))
}

/// Returns the value of the form field `Content-Type`, which COS stores. COS ignores the type of the
/// `file` part. Without a type, browsers download the object instead of showing it. Without a
/// charset, they show Chinese text garbled. A wrong charset is worse: browsers believe it more than
/// the page's own `<meta charset>`.
pub fn content_type(path: &str, file: &mut FileBody) -> Option<String> {
    let guessed = mime_guess::from_path(path).first_raw()?;
    let mime = match guessed {
        MPEG_OR_TYPESCRIPT if file.first_byte() == Some(MPEG_SYNC) => "video/mp2t",
        MPEG_OR_TYPESCRIPT if file.is_utf8() => "text/plain",
        other => other,
    };
    if mime.starts_with("text/") && file.is_utf8() {
        Some(format!("{mime}; charset=utf-8"))
    } else {
        Some(mime.to_owned())
    }
}

/// The guess for `.ts`, which is a video (MPEG transport stream) or a program in TypeScript.
const MPEG_OR_TYPESCRIPT: &str = "video/vnd.dlna.mpeg-tts";
/// Every packet of an MPEG transport stream begins with this byte.
const MPEG_SYNC: u8 = 0x47;

/// What COS's refusal of an upload means. A refusal has a bad status, and most often a reason in XML.
fn refusal(reply: &Response<Body>, xml: &[u8], fields: &[(&str, &str)]) -> Failure {
    let xml = String::from_utf8_lossy(xml);
    let mut secrets = Vec::new();
    for (name, value) in fields {
        if ["Signature", "x-cos-security-token"].contains(name) {
            secrets.push(*value);
        }
    }
    let code = element(&xml, "Code").unwrap_or_default();
    let message = element(&xml, "Message").unwrap_or_default();
    let mut told = String::new();
    for words in [code, message] {
        if !words.is_empty() {
            told += colon();
            told += &quote(words, &secrets);
        }
    }
    if let Some(help) = help_for(code, reply.status()) {
        told += colon();
        told += help;
    }
    let failure = status_failure(Stage::Upload, reply, &told);
    match cure_of(code, reply) {
        Some(cure) => failure.with_cure(cure),
        None => failure,
    }
}

/// What the program does about a `Code` of COS. The same HTTP status comes with failures that can pass
/// and with others, so the status counts only where the code does not tell.
fn cure_of(code: &str, reply: &Response<Body>) -> Option<Cure> {
    match (code, reply.status().as_u16()) {
        ("SlowDown", _) => Some(Cure::SlowDown(Obstacle::TooFast(retry_after(reply)))),
        ("UserNetworkTooSlow" | "RequestTimeout", _) => Some(Cure::SlowDown(Obstacle::TooMany)),
        ("IncompleteBody" | "EntitySizeNotMatch", _)
        | ("InternalError" | "ServiceUnavailable", _) => Some(Cure::Wait(retry_after(reply))),
        ("PathStyleDomainForbidden" | "MalformedPOSTRequest", _) => Some(Cure::Nothing),
        ("PaymentRequired" | "UnavailableForLegalReasons", _) | (_, 402 | 451) => {
            Some(Cure::StopRun)
        }
        // A signature lives 15 minutes.
        ("ExpiredToken", _) | (_, 403) => Some(Cure::NewSignature),
        _ => None,
    }
}

/// Returns words about a `Code` of COS, or else about the status: the cause, or what to do.
fn help_for(code: &str, status: StatusCode) -> Option<&'static str> {
    Some(match (code, status.as_u16()) {
        ("RequestTimeTooSkewed", _) => either(
            "COS does not accept the time in the signature, which the API made: try again later",
            "COS 不接受签名中的时间（签名由 API 生成）：请稍后再试",
        ),
        ("UserNetworkTooSlow" | "RequestTimeout", _) => either(
            "the line is too slow for so many uploads at once",
            "网络带不动这么多并发上传",
        ),
        ("IncompleteBody", _) => either("the upload broke off on its way", "上传中途断开"),
        ("PathStyleDomainForbidden", _) => either(
            "this storage takes no uploads at the address that the API gave: ask the support of \
             微信云托管",
            "此存储不接受该上传地址（由 API 给出）：请联系微信云托管的客服",
        ),
        ("MalformedPOSTRequest", _) => either(
            "this is a bug of wx-upload: please report it",
            "这是 wx-upload 的缺陷，请反馈",
        ),
        ("PaymentRequired", _) | (_, 402) => either(
            "the account is in arrears: top it up in the 云托管 console \
             (cloud.weixin.qq.com/cloudrun)",
            "账号已欠费：请在云托管控制台（cloud.weixin.qq.com/cloudrun）充值",
        ),
        ("UnavailableForLegalReasons", _) | (_, 451) => either(
            "the storage is banned: see the notices of the account, or ask the support of 微信云托管",
            "存储已被封禁：请查看账号收到的通知，或联系微信云托管的客服",
        ),
        _ => return None,
    })
}

/// Returns the text of the first XML element `tag`, which holds nothing but text.
fn element<'a>(xml: &'a str, tag: &str) -> Option<&'a str> {
    let (_, after) = xml.split_once(&format!("<{tag}>"))?;
    let (text, _) = after.split_once("</")?;
    Some(text)
}
