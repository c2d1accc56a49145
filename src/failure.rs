//! Describes a failure: where it happened, what can be done about it, and what the user is told.
//!
//! Does nothing about a failure.

use std::fmt;
use std::io;
use std::iter;
use std::time::Duration;

use crate::words::{either, words};

/// A server's own words are cut to this length in an error line.
const MAX_QUOTE_CHARS: usize = 300;
/// Shorter strings are not hidden: they would match ordinary words.
pub const MIN_SECRET_BYTES: usize = 8;
/// The services' tokens have at least this length. The ids of their requests are shorter, and are shown.
const MIN_TOKEN_BYTES: usize = 100;

/// Where something failed. Each stage is shown as the script's own phrase.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Token,
    Info,
    Upload,
    Link,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Stage::Token => "获取access token失败",
            Stage::Info => "获取文件上传链接失败",
            Stage::Upload => "上传文件失败",
            Stage::Link => "获取下载链接失败",
        })
    }
}

/// What can be done about a failure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cure {
    /// It can pass by itself: wait, at least as long as the server asks for, and try again.
    Wait(Duration),
    /// The whole run must adapt its pace (`pace.rs`). This costs the file no try.
    SlowDown(Obstacle),
    /// COS refused the signature: try once more, with a new one.
    NewSignature,
    /// The API refused the access token: use another one (see `post_json`).
    NewToken,
    /// The manifest says that the object is in the cloud, but it is not: upload the file again.
    UploadAgain,
    /// Every other file would fail, too.
    StopRun,
    /// This file failed, the others go on.
    Nothing,
}

impl Cure {
    /// Wait as usual, and try again.
    pub const TRY_AGAIN: Cure = Cure::Wait(Duration::ZERO);
}

/// Why the run must adapt its pace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// The service was called too often. It asks the run to wait, for at least this time.
    TooFast(Duration),
    /// Too many calls were under way at once.
    TooMany,
    /// No connection can be made any more.
    NobodyThere,
}

/// What went wrong, without the words. Two failures with the same stage and kind are alike, though
/// their words differ: the words hold the number of the request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something on this machine.
    Local,
    Network(io::ErrorKind),
    /// The proxy does not let the request through.
    Proxy,
    Errcode(i64),
    Status(u16),
    /// A reply that is not as the service documents it.
    OddReply,
    /// The API does not find the object, though it should be in the cloud.
    NotFound,
    /// The upload took longer than its signature lives.
    SignatureTooOld,
}

impl Kind {
    /// Whether no connection could be made.
    pub fn is_without_connection(self) -> bool {
        matches!(
            self,
            Kind::Network(io::ErrorKind::HostUnreachable | io::ErrorKind::ConnectionRefused)
        )
    }
}

/// Why something failed.
#[derive(Clone)]
pub struct Failure {
    pub stage: Stage,
    pub kind: Kind,
    pub cure: Cure,
    /// As an error line says it, apart from the number of tries: `STAGE: DETAIL`.
    pub message: String,
    pub tries: u32,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.message)?;
        let tries = self.tries;
        if tries > 1 {
            f.write_str(&words!(" (tried {tries} times)", "（共尝试 {tries} 次）"))?;
        }
        Ok(())
    }
}

impl Failure {
    pub fn new(stage: Stage, kind: Kind, cure: Cure, detail: impl fmt::Display) -> Failure {
        let message = format!("{stage}: {detail}");
        Failure {
            stage,
            kind,
            cure,
            message,
            tries: 1,
        }
    }

    /// A failure on this machine that concerns one file.
    pub fn local(stage: Stage, why: impl fmt::Display) -> Failure {
        Failure::new(stage, Kind::Local, Cure::Nothing, why)
    }

    /// A reply that is not as the service documents it. It concerns one file.
    pub fn odd_reply(stage: Stage, why: impl fmt::Display) -> Failure {
        Failure::new(stage, Kind::OddReply, Cure::Nothing, why)
    }

    /// The run was stopped while something waited.
    pub fn stopped(stage: Stage) -> Failure {
        let why = either("the run is stopped", "运行已中止");
        Failure::local(stage, why).with_cure(Cure::StopRun)
    }

    /// The same failure with another cure.
    pub fn with_cure(self, cure: Cure) -> Failure {
        Failure { cure, ..self }
    }

    /// Whether both have the same stage and kind.
    pub fn is_like(&self, other: &Failure) -> bool {
        self.stage == other.stage && self.kind == other.kind
    }

    /// Whether both tell the user the same, apart from the number of the request and of the tries.
    pub fn says_same(&self, other: &Failure) -> bool {
        self.is_like(other) && gist(&self.message) == gist(&other.message)
    }
}

/// Returns a message up to the number of the request, which the API writes as `rid: …`.
fn gist(message: &str) -> &str {
    let (gist, _) = message.split_once(" rid: ").unwrap_or((message, ""));
    gist
}

/// Quotes a server: cuts its words to a readable length and hides the `secrets` that it may have
/// repeated. Signatures and tokens are hidden by their form, too: a server can have put a new one
/// into the wrong field.
pub fn quote(words: &str, secrets: &[&str]) -> String {
    let mut quoted = String::new();
    for word in words.split_inclusive(is_between_words) {
        let end = word.trim_end_matches(is_between_words).len();
        let (word, between) = word.split_at(end);
        quoted += if is_key(word) { "***" } else { word };
        quoted += between;
    }
    for secret in secrets {
        // XML and URLs write some characters in another way. So the parts between such characters
        // are hidden, too.
        let parts = secret.split(|c: char| !c.is_alphanumeric());
        for part in iter::once(*secret).chain(parts) {
            if part.len() >= MIN_SECRET_BYTES {
                quoted = quoted.replace(part, "***");
            }
        }
    }
    quoted.chars().take(MAX_QUOTE_CHARS).collect()
}

/// A server's words in place of a proper reply are cut to this length.
const MAX_FIRST_CHARS: usize = 80;

/// Returns the first words of a text, in one line.
pub fn first_words(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(MAX_FIRST_CHARS).collect()
}

fn is_between_words(c: char) -> bool {
    c.is_whitespace() || "\"'<>(),:?".contains(c)
}

/// Whether `word` has the form of a signature of COS, or of a token in Base64.
fn is_key(word: &str) -> bool {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte);
    word.contains("q-signature=") || word.len() >= MIN_TOKEN_BYTES && word.bytes().all(is_base64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_hides_the_secrets_and_what_is_left_of_them_in_xml_and_in_urls() {
        let secrets = ["app-secret-0123456789", "short"];
        let hidden = |words| quote(words, &secrets);
        assert_eq!(hidden("wrong app-secret-0123456789!"), "wrong ***!");
        assert_eq!(hidden("app%2Dsecret%2D0123456789"), "app%2Dsecret%2D***");
        assert_eq!(hidden("a short word"), "a short word"); // too short for a secret
    }

    #[test]
    fn a_quote_hides_signatures_and_long_tokens_that_nobody_knows() {
        let token = "aB3+/=-_".repeat(13); // 104 characters
        assert_eq!(quote(&format!("<T>{token}</T>"), &[]), "<T>***</T>");
        assert_eq!(quote(&format!("t: \"{token}\", x"), &[]), "t: \"***\", x");
        let id = "a".repeat(99);
        assert_eq!(quote(&id, &[]), id);
        assert_eq!(quote("x?q-signature=1 y", &[]), "x?*** y");
    }

    #[test]
    fn a_quote_has_300_characters() {
        assert_eq!(quote(&"长 ".repeat(400), &[]), "长 ".repeat(150));
    }

    #[test]
    fn failures_that_differ_in_the_number_of_the_request_say_the_same() {
        let failure = |kind, words: &str| Failure::new(Stage::Info, kind, Cure::Nothing, words);
        let first = failure(Kind::Errcode(1), "no rid: 6a1b");
        assert!(first.says_same(&failure(Kind::Errcode(1), "no rid: 7c2d")));
        assert!(!first.says_same(&failure(Kind::Errcode(2), "no rid: 6a1b")));
        assert!(!first.says_same(&failure(Kind::Errcode(1), "yes rid: 6a1b")));
    }
}
