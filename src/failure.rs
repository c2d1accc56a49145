//! What a failure is: where it happened, what can be done about it, and how it is told.
//!
//! Does nothing about it.

use std::fmt;
use std::io;
use std::time::Duration;

/// Of a server's own words in an error line.
const MAX_QUOTE_CHARS: usize = 300;
/// What is shorter is no secret, but a word that may stand anywhere.
const MIN_SECRET_BYTES: usize = 8;

/// Where something failed. Each is shown as the script's own phrase.
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
    /// The service asks to slow down, at least for so long: that is the business of the whole run,
    /// and costs the file no try.
    SlowDown(Duration),
    /// COS refused the signature: once more, with a new one.
    NewSignature,
    /// The API refused the access token: once more, with a new one.
    NewToken,
    /// The object is not in the cloud: upload the file, if only the manifest said that it was.
    UploadAgain,
    /// No other file will fare better.
    StopRun,
    /// This file failed, the others go on.
    Nothing,
}

/// What went wrong, apart from the words, which hold a number of the request: failures of the same
/// stage and kind are alike.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// On this machine.
    Local,
    Network(io::ErrorKind),
    Errcode(i64),
    Status(u16),
    /// A reply that is not what it should be.
    OddReply,
}

/// Why something failed.
#[derive(Clone)]
pub struct Failure {
    pub stage: Stage,
    pub kind: Kind,
    pub cure: Cure,
    /// As an error line says it: `STAGE: DETAIL`.
    pub message: String,
}

impl Failure {
    pub fn new(stage: Stage, kind: Kind, cure: Cure, detail: impl fmt::Display) -> Failure {
        let message = format!("{stage}: {detail}");
        Failure {
            stage,
            kind,
            cure,
            message,
        }
    }

    /// A reply that is not what it should be.
    pub fn odd_reply(stage: Stage, cure: Cure, why: &str) -> Failure {
        Failure::new(stage, Kind::OddReply, cure, why)
    }

    /// Whether it is of the same stage and kind.
    pub fn is_like(&self, other: &Failure) -> bool {
        self.stage == other.stage && self.kind == other.kind
    }
}

/// Quotes a server, cut to a readable length and without the `secrets` that it may have echoed.
pub fn quote(told: &str, secrets: &[&str]) -> String {
    let mut told = told.to_owned();
    for secret in secrets {
        told = without(told, secret);
        // In XML and in a URL some characters are spelled otherwise: what is between them is looked
        // for by itself, too.
        for part in secret.split(|c: char| !c.is_alphanumeric()) {
            told = without(told, part);
        }
    }
    told.chars().take(MAX_QUOTE_CHARS).collect()
}

/// `told` without `secret`, unless that is too short to be one.
fn without(told: String, secret: &str) -> String {
    if secret.len() >= MIN_SECRET_BYTES {
        told.replace(secret, "***")
    } else {
        told
    }
}
