//! One request of the API, and what its refusals mean. What an errcode does to the run is on one
//! screen (`cure_of`), what it tells the user is on another (`help_for`).
//!
//! Does not know what is done about a failure.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;

use crate::failure::{Cure, Failure, Kind, Stage, quote};
use crate::http_failure::{request_failure, status_failure};
use crate::options::{Auth, Settings, text_in};

/// The limit of a reply with links. 50 links take some 30 KiB.
const MAX_LINKS_REPLY_BYTES: u64 = 1 << 20;
/// The limit of any other reply.
const MAX_REPLY_BYTES: u64 = 64 << 10;
/// The limit of JSON values in a reply. 50 links are some 250 values.
const MAX_VALUES: usize = 2_000;

/// A request of the API.
pub struct Call<'a> {
    pub stage: Stage,
    path: &'a str,
    query: &'a [(&'a str, &'a str)],
    /// The body of a POST; a GET has none.
    body: Option<&'a Value>,
}

impl<'a> Call<'a> {
    pub fn get(stage: Stage, path: &'a str, query: &'a [(&str, &str)]) -> Call<'a> {
        Call {
            stage,
            path,
            query,
            body: None,
        }
    }

    pub fn post(
        stage: Stage,
        path: &'a str,
        query: &'a [(&str, &str)],
        body: &'a Value,
    ) -> Call<'a> {
        Call {
            stage,
            path,
            query,
            body: Some(body),
        }
    }
}

/// Sends one request to the API and returns its reply, which must be JSON with no `errcode` or with
/// the errcode 0. The error quotes the API's words without the secrets of request and reply.
pub fn call_api(agent: &Agent, settings: &Settings, call: &Call) -> Result<Value, Failure> {
    let stage = call.stage;
    let base = &settings.api_base;
    let url = format!("{base}{}", call.path);
    let query = call.query.iter().copied();
    let sent = match call.body {
        None => agent.get(url).query_pairs(query).call(),
        Some(body) => {
            // The service wants Chinese as raw UTF-8, and serde_json writes it so. With `\u`
            // escapes the upload seems to work, but the service gives no link for the file.
            let request = agent.post(url).query_pairs(query);
            request
                .content_type("application/json;charset=UTF-8")
                .send(body.to_string())
        }
    };
    let broken = |error| request_failure(agent, stage, base, error);
    let mut reply = sent.map_err(broken)?;
    let is_success = reply.status().is_success();
    let limit = match (is_success, stage) {
        (true, Stage::Link) => MAX_LINKS_REPLY_BYTES,
        _ => MAX_REPLY_BYTES,
    };
    let json = reply.body_mut().with_config().limit(limit).read_to_vec();
    if !is_success {
        let told = words_about_status(settings, call, &json.unwrap_or_default());
        return Err(status_failure(stage, &reply, &told));
    }
    let Some(reply) = parse(&json.map_err(broken)?) else {
        let failure = Failure::odd_reply(stage, "the reply is not JSON");
        return Err(failure.with_cure(Cure::Wait(Duration::ZERO)));
    };
    match reply.get("errcode").map_or(Some(0), Value::as_i64) {
        Some(0) => Ok(reply),
        Some(errcode) => Err(errcode_failure(settings, call, errcode, &reply)),
        None => {
            let why = "the reply's `errcode` is not a whole number";
            Err(Failure::odd_reply(stage, why))
        }
    }
}

/// Reads JSON, unless it has more values than any reply of the API. JSON of many small values takes
/// forty times its length in memory, and each thread reads a reply.
fn parse(json: &[u8]) -> Option<Value> {
    if values_begun(json) > MAX_VALUES {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// Counts the brackets, braces and commas outside of strings. Each value but the first follows one.
fn values_begun(json: &[u8]) -> usize {
    let mut count = 0;
    let mut in_string = false;
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => drop(bytes.next()), // an escaped `"` does not end the string
            b'{' | b'[' | b',' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

/// Returns what the API says about a bad HTTP status, with a colon before it; empty if nothing.
fn words_about_status(settings: &Settings, call: &Call, json: &[u8]) -> String {
    let reply = parse(json).unwrap_or_default();
    let errmsg =
        text_in(&reply, "errmsg").map(|told| quote(told, &secrets(settings, call, &reply)));
    match (reply["errcode"].as_i64(), errmsg) {
        (Some(0), _) | (_, None) => String::new(),
        (Some(errcode), Some(errmsg)) => format!(": errcode {errcode} ({errmsg})"),
        (None, Some(errmsg)) => format!(": {errmsg}"),
    }
}

/// Returns the secrets that a quoted reply to `call` must not show: those of the request, and those
/// of the reply itself.
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
fn errcode_failure(settings: &Settings, call: &Call, errcode: i64, reply: &Value) -> Failure {
    let errmsg = text_in(reply, "errmsg").unwrap_or_default();
    let told = quote(errmsg, &secrets(settings, call, reply));
    let help = help_for(errcode, call.stage, settings.auth);
    let detail = format!("errcode {errcode} ({told}): {help}");
    let cure = cure_of(errcode, call.stage, settings.auth);
    Failure::new(call.stage, Kind::Errcode(errcode), cure, detail)
}

// ---- The errcodes: those of the API (全局错误码), and negative ones of the CloudBase (云开发错误码)

/// What the program does about an `errcode`.
fn cure_of(errcode: i64, stage: Stage, auth: Auth) -> Cure {
    match errcode {
        -1 | -1000 | -501001 | -501002 => Cure::Wait(Duration::ZERO),
        45011 | -501004 => Cure::SlowDown(Duration::ZERO),
        40001 if stage == Stage::Token => Cure::Nothing, // at this step: a wrong AppSecret
        40001 | 40014 | 41001 | 42001 if auth == Auth::None => Cure::StopRun,
        40001 | 40014 | 41001 | 42001 => Cure::NewToken,
        45009 | -501003 | 48001 | 85088 => Cure::StopRun,
        _ => Cure::Nothing,
    }
}

/// What an `errcode` tells the user: what to do about it.
fn help_for(errcode: i64, stage: Stage, auth: Auth) -> &'static str {
    match errcode {
        -1 | -1000 | -501001 | -501002 => "the service is busy: try again later",
        45011 => "too many calls per minute",
        -501004 => "too many calls at once",
        40001 if stage == Stage::Token => {
            "check `secret`: it is wrong, or is not that of this `appid`"
        }
        40001 | 40014 | 41001 | 42001 => help_for_refused_token(auth),
        45009 => "the daily quota is used up: it is reset at midnight, Beijing time",
        -501003 => {
            "the quota of the environment's plan is used up: it is reset with the plan's next period"
        }
        48001 if auth == Auth::None => "add this path in the 云托管 console, 微信令牌权限配置",
        48001 => "this account may not use the API: check its permissions",
        85088 => "CloudRun is not enabled: check that `env` and `appid` belong together",
        40013 | 41002 => "check `appid`",
        40125 | 41004 => "check `secret`",
        40164 => {
            "add the public address that is named here to the IP whitelist on mp.weixin.qq.com, \
             开发设置"
        }
        89503 => "the administrator has to confirm calls from this address, in WeChat",
        40243 => "the AppSecret is frozen: unfreeze it on mp.weixin.qq.com",
        40097 | 40101 | 47001 | -501007 => "check `env`, and the file's cloud path",
        -501005 => "check `env`, and its state in the 云托管 console",
        40002 | 43002 | 44002 => "this is a bug of wx-upload: please report it",
        ..0 => "see 云开发错误码 on developers.weixin.qq.com",
        _ => "see 全局错误码 on developers.weixin.qq.com",
    }
}

/// Returns advice for an access token that stays refused.
fn help_for_refused_token(auth: Auth) -> &'static str {
    match auth {
        Auth::None => {
            "`auth` is none, which works in a container with 开放接口服务 switched on: see its \
             settings"
        }
        Auth::StableToken => {
            "the access token is refused, and a new one did not help: check that `appid` is that \
             of the account that `env` belongs to"
        }
        Auth::Token => {
            "the access token is refused, and a new one did not help: check `appid`, and whether \
             another program fetches tokens for it (`\"auth\": \"stable_token\"` keeps out of its \
             way)"
        }
    }
}

/// Returns the text that a reply must have under `name`.
pub fn text_field(stage: Stage, reply: &Value, name: &str) -> Result<String, Failure> {
    match text_in(reply, name) {
        Some(text) => Ok(text.to_owned()),
        None => {
            let why = format!("the reply has no usable `{name}`");
            Err(Failure::odd_reply(stage, why))
        }
    }
}
