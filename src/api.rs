//! One request of the API, and what the services' refusals mean: errcodes, HTTP statuses and COS's
//! codes, each with its remedy.
//!
//! Does not know the steps, nor what is done about a failure.

use std::time::Duration;

use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body};

use crate::network::request_failed;
use crate::options::{Auth, Settings, text_in};
use crate::retry::{Cure, Failure, Stage};

/// 50 links are some 30 KiB.
const MAX_REPLY_BYTES: u64 = 1 << 20;
/// Of a server's own words in an error line.
const MAX_QUOTE_CHARS: usize = 300;

/// A request of the API.
pub struct Call<'a> {
    stage: Stage,
    path: &'a str,
    query: &'a [(&'a str, &'a str)],
    /// What is POSTed; without it, it is a GET.
    body: Option<&'a Value>,
}

impl<'a> Call<'a> {
    pub fn get(stage: Stage, path: &'a str, query: &'a [(&str, &str)]) -> Call<'a> {
        let body = None;
        Call {
            stage,
            path,
            query,
            body,
        }
    }

    pub fn post(
        stage: Stage,
        path: &'a str,
        query: &'a [(&str, &str)],
        body: &'a Value,
    ) -> Call<'a> {
        let body = Some(body);
        Call {
            stage,
            path,
            query,
            body,
        }
    }
}

/// Sends one request to the API. Its reply must be JSON without an `errcode`, or with 0. What it
/// says about an error is quoted without secrets, of the request or of its own.
pub fn call_api(agent: &Agent, settings: &Settings, call: &Call) -> Result<Value, Failure> {
    let stage = call.stage;
    let base = &settings.api_base;
    let url = format!("{base}{}", call.path);
    let query = call.query.iter().copied();
    let sent = match call.body {
        None => agent.get(url).query_pairs(query).call(),
        Some(body) => {
            // The service wants Chinese as raw UTF-8, which is how serde_json writes it: with `\u`
            // escapes the upload seems to work, and no link can be had for it.
            let request = agent.post(url).query_pairs(query);
            request
                .content_type("application/json;charset=UTF-8")
                .send(body.to_string())
        }
    };
    let mut reply = sent.map_err(|error| request_failed(agent, stage, base, error))?;
    if !reply.status().is_success() {
        return Err(status_failed(stage, &reply, ""));
    }
    let json = reply
        .body_mut()
        .with_config()
        .limit(MAX_REPLY_BYTES)
        .read_to_vec();
    let json = json.map_err(|error| request_failed(agent, stage, base, error))?;
    let Ok(reply) = serde_json::from_slice::<Value>(&json) else {
        return Err(Failure::new(
            stage,
            Cure::Wait(None),
            "the reply is no JSON",
        ));
    };
    match reply.get("errcode").map_or(Some(0), Value::as_i64) {
        Some(0) => Ok(reply),
        Some(errcode) => Err(refused(settings, call, errcode, &reply)),
        None => Err(Failure::new(
            stage,
            Cure::Nothing,
            "the reply's `errcode` is no number",
        )),
    }
}

/// What a reply with an `errcode` means.
fn refused(settings: &Settings, call: &Call, errcode: i64, reply: &Value) -> Failure {
    let mut secrets = Vec::new();
    secrets.extend(["access_token", "authorization", "token"].map(|name| text_in(reply, name)));
    secrets.push(settings.secret());
    for (name, value) in call.query {
        if *name == "access_token" {
            secrets.push(Some(value));
        }
    }
    let secrets: Vec<&str> = secrets.into_iter().flatten().collect();
    let told = quote(text_in(reply, "errmsg").unwrap_or_default(), &secrets);
    let Remedy { help, cure } = remedy(errcode, settings.auth);
    Failure::new(
        call.stage,
        cure,
        format!("errcode {errcode} ({told}): {help}"),
    )
}

/// What a user can do about an `errcode`, and what the program does.
struct Remedy {
    help: &'static str,
    cure: Cure,
}

fn remedy(errcode: i64, auth: Auth) -> Remedy {
    let (help, cure) = match errcode {
        -1 | -1000 => ("the service is busy: try again later", Cure::Wait(None)),
        45011 => (
            "too many calls a minute: wait, or use fewer --jobs",
            Cure::Wait(None),
        ),
        40001 | 40014 | 41001 | 42001 if auth == Auth::None => (
            "`auth` is none, which works in a container with 开放接口服务 switched on: see its \
             settings",
            Cure::StopRun,
        ),
        40001 | 40014 | 41001 | 42001 => (
            "the access token is refused, and a new one did not help: check `appid`, and whether \
             another program fetches tokens for it (`\"auth\": \"stable_token\"` keeps out of its \
             way)",
            Cure::NewToken,
        ),
        45009 => (
            "the daily quota is used up: it returns at midnight, Beijing time",
            Cure::StopRun,
        ),
        48001 => (
            "this account may not use the API: check its permissions",
            Cure::StopRun,
        ),
        85088 => (
            "CloudRun is not enabled: check that `env` and `appid` belong together",
            Cure::StopRun,
        ),
        40013 => ("check `appid`", Cure::Nothing),
        40125 => ("check `secret`", Cure::Nothing),
        40164 => (
            "add this machine's address to the IP whitelist on mp.weixin.qq.com, 开发设置",
            Cure::Nothing,
        ),
        40243 => (
            "the AppSecret is frozen: unfreeze it on mp.weixin.qq.com",
            Cure::Nothing,
        ),
        40097 | 40101 | 47001 => ("check `env`, and the file's cloud path", Cure::Nothing),
        43002 | 44002 => (
            "this is a bug of wx-upload: please report it",
            Cure::Nothing,
        ),
        _ => ("not in the list of known errors", Cure::Nothing),
    };
    Remedy { help, cure }
}

/// What COS's refusal of an upload means: a bad status, and as a rule its reason in XML.
pub fn upload_refused(reply: &Response<Body>, xml: &[u8], secrets: &[&str]) -> Failure {
    let told = quote(&cos_reason(&String::from_utf8_lossy(xml)), secrets);
    let failure = status_failed(Stage::Upload, reply, &told);
    if reply.status() == 403 {
        // Signatures live 15 minutes.
        return Failure {
            cure: Cure::NewSignature,
            ..failure
        };
    }
    failure
}

/// COS's own words for a refusal, with a colon before them; empty if there are none.
fn cos_reason(xml: &str) -> String {
    let message = element(xml, "Message").unwrap_or_default();
    match element(xml, "Code") {
        Some("RequestTimeTooSkewed") => {
            let help = "see that this machine's clock is right";
            format!(": RequestTimeTooSkewed: {help}: {message}")
        }
        None | Some("") => String::new(),
        Some(code) => format!(": {code}: {message}"),
    }
}

/// The text of an XML element that holds nothing else.
fn element<'a>(xml: &'a str, tag: &str) -> Option<&'a str> {
    let (_, after) = xml.split_once(&format!("<{tag}>"))?;
    let (text, _) = after.split_once("</")?;
    Some(text)
}

/// What a bad HTTP status means; `told` is what the server said about it.
fn status_failed(stage: Stage, reply: &Response<Body>, told: &str) -> Failure {
    let status = reply.status();
    let cure = match status.as_u16() {
        408 | 429 | 500.. => Cure::Wait(retry_after(reply)),
        _ => Cure::Nothing,
    };
    let why = match status.is_redirection() {
        true => ": redirects are not followed",
        false => "",
    };
    Failure::new(stage, cure, format!("HTTP {status}{why}{told}"))
}

/// How long a server asks to wait.
fn retry_after(reply: &Response<Body>) -> Option<Duration> {
    let seconds = reply.headers().get("retry-after")?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
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
    match secret.len() {
        8.. => told.replace(secret, "***"),
        _ => told,
    }
}

/// The text that a reply must have under `name`.
pub fn text_field(stage: Stage, reply: &Value, name: &str) -> Result<String, Failure> {
    match text_in(reply, name) {
        Some(text) => Ok(text.to_owned()),
        None => {
            let why = format!("the reply has no proper `{name}`");
            Err(Failure::new(stage, Cure::Nothing, why))
        }
    }
}
