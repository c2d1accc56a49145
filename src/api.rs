//! One request of the API, and what its refusals mean: errcodes and HTTP statuses, each with its
//! remedy.
//!
//! Does not know what is done about a failure.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;

use crate::failure::{Cure, Failure, Kind, Stage, quote};
use crate::options::{Auth, Settings, text_in};
use crate::trouble::{request_failed, status_failed};

/// 50 links are some 30 KiB.
const MAX_LINKS_BYTES: u64 = 1 << 20;
/// 50 links are some 250 values.
const MAX_VALUES: usize = 2_000;
/// Of any other reply.
const MAX_REPLY_BYTES: u64 = 64 << 10;

/// A request of the API.
pub struct Call<'a> {
    pub stage: Stage,
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
    let broken = |error| request_failed(agent, stage, base, error);
    let mut reply = sent.map_err(broken)?;
    let is_success = reply.status().is_success();
    let limit = match (is_success, stage) {
        (true, Stage::Link) => MAX_LINKS_BYTES,
        _ => MAX_REPLY_BYTES,
    };
    let json = reply.body_mut().with_config().limit(limit).read_to_vec();
    if !is_success {
        let told = told_by(settings, call, &json.unwrap_or_default());
        return Err(status_failed(stage, &reply, &told));
    }
    let Some(reply) = parse(&json.map_err(broken)?) else {
        let cure = Cure::Wait(Duration::ZERO);
        return Err(Failure::odd_reply(stage, cure, "the reply is not JSON"));
    };
    match reply.get("errcode").map_or(Some(0), Value::as_i64) {
        Some(0) => Ok(reply),
        Some(errcode) => Err(refused(settings, call, errcode, &reply)),
        None => Err(Failure::odd_reply(
            stage,
            Cure::Nothing,
            "the reply's `errcode` is not a whole number",
        )),
    }
}

/// Reads JSON, unless it has so many values that it would take forty times its length in memory, and
/// that in each thread.
fn parse(json: &[u8]) -> Option<Value> {
    let begins_value = |byte: &&u8| matches!(byte, b'{' | b'[' | b',');
    if json.iter().filter(begins_value).count() > MAX_VALUES {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// What the API says about a bad HTTP status, with a colon before it; empty if it says nothing.
fn told_by(settings: &Settings, call: &Call, json: &[u8]) -> String {
    let reply = parse(json).unwrap_or_default();
    let errmsg =
        text_in(&reply, "errmsg").map(|told| quote(told, &secrets(settings, call, &reply)));
    match (reply["errcode"].as_i64(), errmsg) {
        (Some(0), _) | (_, None) => String::new(),
        (Some(errcode), Some(errmsg)) => format!(": errcode {errcode} ({errmsg})"),
        (None, Some(errmsg)) => format!(": {errmsg}"),
    }
}

/// What a reply to `call` may not be quoted with: what the request held, and what it holds itself.
fn secrets<'a>(settings: &'a Settings, call: &Call<'a>, reply: &'a Value) -> Vec<&'a str> {
    let mut secrets = Vec::new();
    for name in ["access_token", "authorization", "token"] {
        secrets.extend(text_in(reply, name));
    }
    secrets.extend(settings.secret());
    for (name, value) in call.query {
        if *name == "access_token" {
            secrets.push(value);
        }
    }
    secrets
}

/// What a reply with an `errcode` means.
fn refused(settings: &Settings, call: &Call, errcode: i64, reply: &Value) -> Failure {
    let errmsg = text_in(reply, "errmsg").unwrap_or_default();
    let told = quote(errmsg, &secrets(settings, call, reply));
    let (help, cure) = remedy(errcode, call.stage, settings.auth);
    let detail = format!("errcode {errcode} ({told}): {help}");
    Failure::new(call.stage, Kind::Errcode(errcode), cure, detail)
}

/// What a user can do about an `errcode`, and what the program does: the codes of the API itself
/// (全局错误码), and the negative ones of the CloudBase behind it (云开发错误码).
fn remedy(errcode: i64, stage: Stage, auth: Auth) -> (&'static str, Cure) {
    let wait = Cure::Wait(Duration::ZERO);
    let slow_down = Cure::SlowDown(Duration::ZERO);
    match errcode {
        -1 | -1000 | -501001 | -501002 => ("the service is busy: try again later", wait),
        45011 => ("too many calls per minute", slow_down),
        -501004 => ("too many calls at once", slow_down),
        40001 if stage == Stage::Token => (
            "check `secret`: it is wrong, or is not that of this `appid`",
            Cure::Nothing,
        ),
        40001 | 40014 | 41001 | 42001 => token_refused(auth),
        45009 => (
            "the daily quota is used up: it is reset at midnight, Beijing time",
            Cure::StopRun,
        ),
        -501003 => (
            "the quota of the environment's plan is used up: it is reset with the plan's next period",
            Cure::StopRun,
        ),
        48001 if auth == Auth::None => (
            "add this path in the 云托管 console, 微信令牌权限配置",
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
        40013 | 41002 => ("check `appid`", Cure::Nothing),
        40125 | 41004 => ("check `secret`", Cure::Nothing),
        40164 => (
            "add the public address that is named here to the IP whitelist on mp.weixin.qq.com, \
             开发设置",
            Cure::Nothing,
        ),
        89503 => (
            "the administrator has to confirm calls from this address, in WeChat",
            Cure::Nothing,
        ),
        40243 => (
            "the AppSecret is frozen: unfreeze it on mp.weixin.qq.com",
            Cure::Nothing,
        ),
        40097 | 40101 | 47001 | -501007 => {
            ("check `env`, and the file's cloud path", Cure::Nothing)
        }
        -501005 => (
            "check `env`, and its state in the 云托管 console",
            Cure::Nothing,
        ),
        40002 | 43002 | 44002 => (
            "this is a bug of wx-upload: please report it",
            Cure::Nothing,
        ),
        ..0 => (
            "see 云开发错误码 on developers.weixin.qq.com",
            Cure::Nothing,
        ),
        _ => ("see 全局错误码 on developers.weixin.qq.com", Cure::Nothing),
    }
}

/// What helps where the access token was refused.
fn token_refused(auth: Auth) -> (&'static str, Cure) {
    match auth {
        Auth::None => (
            "`auth` is none, which works in a container with 开放接口服务 switched on: see its \
             settings",
            Cure::StopRun,
        ),
        Auth::StableToken => (
            "the access token is refused, and a new one did not help: check that `appid` is that \
             of the account that `env` belongs to",
            Cure::NewToken,
        ),
        Auth::Token => (
            "the access token is refused, and a new one did not help: check `appid`, and whether \
             another program fetches tokens for it (`\"auth\": \"stable_token\"` keeps out of its \
             way)",
            Cure::NewToken,
        ),
    }
}

/// The text that a reply must have under `name`.
pub fn text_field(stage: Stage, reply: &Value, name: &str) -> Result<String, Failure> {
    match text_in(reply, name) {
        Some(text) => Ok(text.to_owned()),
        None => {
            let why = format!("the reply has no usable `{name}`");
            Err(Failure::odd_reply(stage, Cure::Nothing, &why))
        }
    }
}
