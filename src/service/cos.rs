//! COS's "POST Object": a form with the file as its last field, and what COS answers.
//!
//! Does not know where the fields come from.

use std::io::{self, Read};
use std::time::{Duration, SystemTime};

use ureq::http::{Response, StatusCode};
use ureq::unversioned::multipart::{Form, Part};
use ureq::{Agent, Body, SendBody};

use crate::failure::{Cure, Failure, Kind, Obstacle, Stage, first_words, quote};
use crate::files::FileBody;
use crate::network::{request_failure, retry_after, send, status_failure};
use crate::words::{colon, either, human_time, words};

const MAX_REPLY_BYTES: u64 = 64 << 10;

/// POSTs a form of `fields` and `file` to `url`, which is percent-encoded. Returns the CRC-64/XZ of the
/// object that COS stored, if COS tells it.
pub fn post_object(
    agent: &Agent,
    url: &str,
    fields: &[(&str, &str)],
    file: &mut FileBody,
) -> Result<Option<u64>, Failure> {
    let sent = send(|idle_at_most| send_form(agent, url, fields, file, idle_at_most));
    if let Some(failure) = file.read_failure() {
        return Err(failure); // ureq would only say that reading failed
    }
    let mut reply = sent.map_err(|error| request_failure(agent, Stage::Upload, url, error))?;
    // Read the body of a success, too: ureq reuses a connection only after its body was read.
    let mut text = Vec::new();
    let body = reply.body_mut().as_reader();
    let read = body.take(MAX_REPLY_BYTES).read_to_end(&mut text);
    if !reply.status().is_success() {
        let failure = refusal(&reply, &text, fields);
        if read.is_err() && failure.cure == Cure::Nothing {
            // The missing part may hold the reason, so another try may help.
            return Err(failure.with_cure(Cure::TRY_AGAIN));
        }
        return Err(failure);
    }
    let crc64 = reply.headers().get("x-cos-hash-crc64ecma");
    Ok(crc64.and_then(|crc64| crc64.to_str().ok()?.trim().parse().ok()))
}

/// Sends the form, over no connection that was idle for longer than `idle_at_most`.
fn send_form(
    agent: &Agent,
    url: &str,
    fields: &[(&str, &str)],
    file: &mut FileBody,
    idle_at_most: Duration,
) -> Result<Response<Body>, ureq::Error> {
    file.rewind()?;
    // COS refuses chunked bodies, and ureq cannot know the length of a reader. So the length is set
    // here: the length of the form with an empty file, plus the size of the file.
    let size = file.size();
    let around = io::copy(&mut form(fields, &mut io::empty())?, &mut io::sink())?;
    let whole = form(fields, file)?;
    let content_type = format!("multipart/form-data; boundary={}", whole.boundary());
    let request = agent.post(url).config().max_idle_age(idle_at_most).build();
    request
        .header("Content-Type", content_type)
        .header("Content-Length", around + size)
        .send(SendBody::from_reader(&mut WholePieces(whole)))
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
fn refusal(reply: &Response<Body>, text: &[u8], fields: &[(&str, &str)]) -> Failure {
    let text = String::from_utf8_lossy(text);
    let mut secrets = Vec::new();
    for (name, value) in fields {
        if ["Signature", "x-cos-security-token"].contains(name) {
            secrets.push(*value);
        }
    }
    let code = element(&text, "Code").unwrap_or_default();
    let message = element(&text, "Message").unwrap_or_default();
    let mut reasons = vec![quote(&code, &secrets), quote(&message, &secrets)];
    if code.is_empty() && message.is_empty() {
        reasons.push(first_words(&quote(&text, &secrets)));
    }
    reasons.push(help_for(&code, reply.status()).unwrap_or_default().into());
    reasons.retain(|reason| !reason.is_empty());
    if reasons.is_empty() && reply.status() == StatusCode::FORBIDDEN {
        reasons.push(help_for_bare_refusal().to_owned());
    }
    let mut told = String::new();
    for reason in reasons {
        told += colon();
        told += &reason;
    }
    let failure = status_failure(Stage::Upload, reply, &told);
    match cure_of(&code, reply) {
        Some(cure) => failure.with_cure(cure),
        None => failure,
    }
}

/// What tells of a 403 without a reason.
fn help_for_bare_refusal() -> &'static str {
    either(
        "no reason was given: COS refused the signature, or a proxy or firewall on the way does not let \
         uploads through",
        "对方没有说明原因：可能是 COS 不接受签名，也可能是途中的代理或防火墙不放行上传",
    )
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

/// The entities that XML has by itself. `&amp;` comes last: its `&` begins no other.
const ENTITIES: [(&str, &str); 6] = [
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&quot;", "\""),
    ("&apos;", "'"),
    ("&#39;", "'"),
    ("&amp;", "&"),
];

/// Returns the text of the first XML element `tag`, which holds nothing but text.
fn element(xml: &str, tag: &str) -> Option<String> {
    let (_, after) = xml.split_once(&format!("<{tag}>"))?;
    let (text, _) = after.split_once("</")?;
    let mut text = text.trim().to_owned();
    for (entity, character) in ENTITIES {
        text = text.replace(entity, character);
    }
    Some(text)
}

/// A signature of COS lives for this time, unless it says another.
const SIGNATURE_LIFE: Duration = Duration::from_secs(15 * 60);

/// The signature that permits an upload.
pub struct Signature {
    text: String,
    /// When it was asked for. (An `Instant` may stand still while the machine sleeps.)
    asked: SystemTime,
}

impl Signature {
    pub fn new(text: String, asked: SystemTime) -> Signature {
        Signature { text, asked }
    }

    /// Returns the signature itself. No output may show it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether an upload may begin with it: at most a tenth of its life is spent, 90 s of 15 minutes. An
    /// upload that waits longer for its turn costs a second call of step 2.
    pub fn is_fresh(&self) -> bool {
        self.age() <= self.life() / 10
    }

    fn age(&self) -> Duration {
        self.asked.elapsed().unwrap_or_default()
    }

    /// Returns the time for which the signature is good. It says so itself: `q-sign-time=BEGIN;END`, in
    /// seconds since 1970.
    fn life(&self) -> Duration {
        let life = || {
            let (_, times) = self.text.split_once("q-sign-time=")?;
            let (begin, rest) = times.split_once(';')?;
            let end = rest.split('&').next()?;
            let seconds = end.parse::<u64>().ok()?.checked_sub(begin.parse().ok()?)?;
            (seconds > 0).then(|| Duration::from_secs(seconds))
        };
        life().unwrap_or(SIGNATURE_LIFE)
    }

    /// Returns the failure of an upload to which the answer came just now. If COS refused the signature, and
    /// its life was over, the line is too thin for so many uploads at once.
    pub fn judge(&self, failure: Failure) -> Failure {
        let (age, life) = (self.age(), self.life());
        if failure.cure != Cure::NewSignature || age <= life {
            return failure;
        }
        let [age, life] = [age, life].map(|time| human_time(time.as_secs()));
        let why = &failure.message;
        Failure {
            kind: Kind::SignatureTooOld,
            cure: Cure::SlowDown(Obstacle::TooMany),
            message: words!(
                "{why}: the answer came {age} after the signature was made, but a signature lives {life}",
                "{why}：收到应答时签名已过去 {age}，而签名的有效期只有 {life}"
            ),
            ..failure
        }
    }
}

/// An upload that stalls before this number of bytes has perhaps sent no large packet.
const STALLED_AT_MOST: u64 = 256 << 10;

/// Returns the failure of an upload of which `sent` bytes were handed over, where no upload of the run
/// has had an answer yet, but small calls have. If it stalled at its beginning, the way may be the
/// reason: some VPNs and PPPoE lines drop packets of over 1,300 bytes. (It is not, if no connection can be
/// made at all: then the failure has another cure.)
pub fn with_mtu_hint(failure: Failure, sent: u64) -> Failure {
    let is_silent = failure.kind == Kind::Network(io::ErrorKind::TimedOut);
    if !is_silent || failure.cure != Cure::TRY_AGAIN || sent > STALLED_AT_MOST {
        return failure;
    }
    let why = &failure.message;
    Failure {
        message: words!(
            "{why}: small requests get through, but no upload does: the way there may drop large packets \
             (a VPN, PPPoE): set a smaller MTU on this machine, such as 1280",
            "{why}：小请求能通，上传却不通：途中可能丢弃大包（常见于 VPN、PPPoE）：请把本机的 MTU 改小，\
             如 1280"
        ),
        ..failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_the_text_between_its_tags_without_entities() {
        let xml =
            "<Error>\n<Code> SlowDown\n</Code><Message>&amp;lt; &quot;&#39;</Message></Error>";
        let text = |tag| element(xml, tag);
        assert_eq!(text("Code").as_deref(), Some("SlowDown"));
        assert_eq!(text("Message").as_deref(), Some("&lt; \"'"));
        assert_eq!(text("Resource"), None);
        assert_eq!(element("<Code>Slow", "Code"), None); // it broke off
    }

    #[test]
    fn a_signature_says_how_long_it_lives_or_lives_15_minutes() {
        let life = |text: &str| {
            let signature = Signature::new(text.to_owned(), SystemTime::now());
            signature.life().as_secs()
        };
        assert_eq!(life("q-ak=x&q-sign-time=1557307130;1557307190&q-x=1"), 60);
        assert_eq!(life("q-sign-time=1;2"), 1);
        for odd in ["", "q-sign-time=1", "q-sign-time=2;1", "q-sign-time=a;b"] {
            assert_eq!(life(odd), 15 * 60, "{odd}");
        }
    }

    #[test]
    fn pieces_fill_the_buffer_until_the_end() {
        let parts = b"a".chain(&b"bc"[..]).chain(&b"defg"[..]);
        let mut pieces = WholePieces(parts);
        let mut buffer = [0; 5];
        assert_eq!(pieces.read(&mut buffer).unwrap(), 5);
        assert_eq!(&buffer, b"abcde");
        assert_eq!(pieces.read(&mut buffer).unwrap(), 2);
        assert_eq!(pieces.read(&mut buffer).unwrap(), 0);
    }
}
