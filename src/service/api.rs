//! One request of the API, and what its refusals mean. For each code, `cure_of` says what can be done,
//! and `help_for` and `ADVICE` say what the user is told.
//!
//! Sends each request once: `retry.rs` decides whether there is another try.

use std::time::Duration;

use serde_json::Value;
use ureq::http::{Response, Uri};
use ureq::{Agent, Body};

use crate::cli::{Auth, Settings, text_in};
use crate::failure::{Cure, Failure, Kind, Obstacle, Stage, first_words, quote};
use crate::network::{request_failure, send, status_failure};
use crate::words::{colon, either, words};

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
    let broken = |error| request_failure(agent, stage, base, error);
    let mut reply =
        send(|idle_at_most| send_call(agent, base, call, idle_at_most)).map_err(broken)?;
    let is_success = reply.status().is_success();
    let limit = match (is_success, stage) {
        (true, Stage::Link) => MAX_LINKS_REPLY_BYTES,
        _ => MAX_REPLY_BYTES,
    };
    let body = reply.body_mut().with_config().limit(limit).read_to_vec();
    if !is_success {
        let json = parse(&body.unwrap_or_default()).unwrap_or(Value::Null);
        return Err(bad_status(settings, call, &reply, &json));
    }
    let body = body.map_err(broken)?;
    let Some(reply) = parse(&body) else {
        return Err(not_json(settings, call, &reply, &body));
    };
    if let Some(failure) = refused_by_sidecar(settings, call, &reply) {
        return Err(failure);
    }
    match reply.get("errcode").map_or(Some(0), Value::as_i64) {
        Some(0) => Ok(reply),
        Some(errcode) => Err(errcode_failure(settings, call, errcode, &reply)),
        None => Err(unusable_field(stage, "errcode")),
    }
}

/// Sends one request, over no connection that was idle for longer than `idle_at_most`.
fn send_call(
    agent: &Agent,
    base: &str,
    call: &Call,
    idle_at_most: Duration,
) -> Result<Response<Body>, ureq::Error> {
    let url = format!("{base}{}", call.path);
    let query = call.query.iter().copied();
    let Some(body) = call.body else {
        let request = agent.get(url).query_pairs(query).config();
        return request.max_idle_age(idle_at_most).build().call();
    };
    let request = agent.post(url).query_pairs(query).config();
    // The service wants Chinese as raw UTF-8, and serde_json writes it so. With `\u` escapes the upload
    // seems to work, but the service gives no link for the file.
    request
        .max_idle_age(idle_at_most)
        .build()
        .content_type("application/json;charset=UTF-8")
        .send(body.to_string())
}

/// The failure of a reply that is not JSON.
fn not_json(settings: &Settings, call: &Call, reply: &Response<Body>, body: &[u8]) -> Failure {
    let base: Uri = settings.api_base.parse().unwrap_or_default();
    let host = base.host().unwrap_or_default();
    let mime = reply.body().mime_type().unwrap_or("-");
    let text = String::from_utf8_lossy(body);
    let secrets = secrets(settings, call, &Value::Null);
    let [mime, told] = [mime, &text].map(|words| first_words(&quote(words, &secrets)));
    let help = if told.starts_with('<') {
        either(
            ": perhaps it is the login page of a network (open a page in a browser), or `api_base` is \
             wrong",
            "：可能是网络的登录页面（请先用浏览器打开网页），也可能是 `api_base` 不对",
        )
    } else {
        ""
    };
    let why = words!(
        "{host}: the reply is not JSON ({mime}: {told}){help}",
        "{host}：应答不是 JSON（{mime}：{told}）{help}"
    );
    Failure::odd_reply(call.stage, why).with_cure(Cure::TRY_AGAIN)
}

/// Reads JSON, unless it has more values than any reply of the API: JSON of many brackets takes up to 150
/// times its length in memory, and each thread reads a reply. Where the API quotes its users' words, it
/// has sent raw control characters, bytes that are not UTF-8, and a NUL at the end. So what is not JSON
/// is read once more without them, as the SDKs do.
fn parse(json: &[u8]) -> Option<Value> {
    parse_strictly(json).or_else(|| {
        let mut text = String::from_utf8_lossy(json).into_owned();
        text.retain(|c| !c.is_control() && c != '\u{feff}');
        parse_strictly(text.as_bytes())
    })
}

fn parse_strictly(json: &[u8]) -> Option<Value> {
    if values_begun(json) > MAX_VALUES {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// Counts `[`, `{` and `,` outside of strings. Each value but the first follows one.
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

/// What a reply with a bad HTTP status means. `json` is its body, or null.
fn bad_status(settings: &Settings, call: &Call, reply: &Response<Body>, json: &Value) -> Failure {
    let mut told = words_about_status(settings, call, json);
    if reply.status() == 502 && told.is_empty() && settings.auth == Auth::None {
        let (path, why) = (call.path, not_permitted());
        told = words!(
            " for {path}: most often, {why}",
            "（{path}）：多半是因为{why}"
        );
    }
    let failure = status_failure(call.stage, reply, &told);
    match refused_by_sidecar(settings, call, json) {
        Some(refused) if refused.cure == Cure::Nothing => refused.with_cure(failure.cure),
        Some(refused) => refused,
        None => failure,
    }
}

/// Returns what the API says about a bad HTTP status, with a colon before it; empty if nothing.
fn words_about_status(settings: &Settings, call: &Call, reply: &Value) -> String {
    let Some(errmsg) = text_in(reply, "errmsg") else {
        return String::new();
    };
    let errmsg = quote(errmsg, &secrets(settings, call, reply));
    match reply["errcode"].as_i64() {
        Some(0) => String::new(),
        Some(errcode) => words!(
            ": errcode {errcode} ({errmsg})",
            "：errcode {errcode}（{errmsg}）"
        ),
        None => colon().to_owned() + &errmsg,
    }
}

/// Returns the secrets that a quoted reply to `call` must not show: those of the request, and those
/// of the reply itself.
fn secrets<'a>(settings: &'a Settings, call: &Call<'a>, reply: &'a Value) -> Vec<&'a str> {
    let mut secrets = Vec::new();
    for name in ["access_token", "authorization", "token"] {
        secrets.extend(text_in(reply, name));
    }
    secrets.extend(settings.secret.as_deref());
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
    let code = code_meant(errcode, errmsg);
    let help = help_for(code, call.stage, settings.auth);
    let detail = words!(
        "errcode {errcode} ({told}): {help}",
        "errcode {errcode}（{told}）：{help}"
    );
    let cure = cure_of(code, settings.auth);
    Failure::new(call.stage, Kind::Errcode(errcode), cure, detail)
}

/// What a refusal of the sidecar means. In a CloudRun container a sidecar of the platform answers for
/// the API, with HTTP status 200 or 502 and words of its own, such as
/// `{"request_id":"…","error_type":"SafeLinkError","error_code":"85107","error_message":"…"}`.
fn refused_by_sidecar(settings: &Settings, call: &Call, reply: &Value) -> Option<Failure> {
    let code = match &reply["error_code"] {
        Value::Null => return None,
        Value::String(code) => code.clone(),
        code => code.to_string(),
    };
    let secrets = secrets(settings, call, reply);
    let words = |name| quote(text_in(reply, name).unwrap_or_default(), &secrets);
    let told = format!(
        "{} {}: {}; request_id {}",
        words("error_type"),
        quote(&code, &secrets),
        words("error_message"),
        words("request_id"),
    );
    let code = code.parse().unwrap_or_default();
    let (path, help) = (call.path, help_for(code, call.stage, settings.auth));
    let detail = words!("{path} ({told}): {help}", "{path}（{told}）：{help}");
    let cure = cure_of(code, settings.auth);
    Some(Failure::new(call.stage, Kind::Errcode(code), cure, detail))
}

/// What the code of one file in a reply means: its cure, and what helps (empty if that is unknown).
/// The call itself got through. So a code that slows a run down is tried again as a busy service is,
/// and no code asks for another token.
pub fn refused_entry(code: i64, errmsg: &str, auth: Auth) -> (Cure, &'static str) {
    let code = code_meant(code, errmsg);
    let cure = match cure_of(code, auth) {
        Cure::SlowDown(_) => Cure::TRY_AGAIN,
        Cure::NewToken => Cure::Nothing,
        cure => cure,
    };
    // Small numbers, such as 1, are no errcodes.
    let is_errcode = !(0..40_000).contains(&code);
    let help = if is_errcode {
        help_for(code, Stage::Link, auth)
    } else {
        ""
    };
    (cure, help)
}

// ---- The codes: errcodes of the API (全局错误码), negative errcodes of the CloudBase behind it
// (云开发错误码), and codes of a container's sidecar (851xx)

/// Returns the code that counts: several codes come with words for a wrong `env`.
fn code_meant(code: i64, errmsg: &str) -> i64 {
    let says_wrong_env = errmsg.contains("INVALID_ENV") || errmsg.contains("env not exists");
    match code {
        -501005 => code, // it has advice of its own
        _ if says_wrong_env => -501000,
        _ => code,
    }
}

/// What the program does about a code.
fn cure_of(code: i64, auth: Auth) -> Cure {
    let has_no_token = auth == Auth::None;
    match code {
        -501000 | -501005 | -501009 | -601027 => Cure::StopRun, // `env` is wrong
        -1 | -1000 | -501001 | -501002 | -503001 | -601001 | -601003 | -601008 => Cure::TRY_AGAIN,
        45011 => Cure::SlowDown(Obstacle::TooFast(Duration::ZERO)),
        -501004 => Cure::SlowDown(Obstacle::TooMany),
        41001 if has_no_token => Cure::TRY_AGAIN, // the platform has no token yet
        40001 | 40014 | 42001 if has_no_token => Cure::StopRun,
        // (At step 1, 40001 is about the AppSecret. Every failure of step 1 stops the run.)
        40001 | 40014 | 41001 | 42001 => Cure::NewToken,
        45009 | -501003 | -501018..=-501015 => Cure::StopRun, // something is used up
        48001 | 48004 | 50002 | 85088 => Cure::StopRun,       // the account
        40164 | 61004 | 89501 | 89503 | 89506 | 89507 => Cure::StopRun, // this machine's address
        85113 => Cure::TRY_AGAIN,
        85105 | 85107 | 85112 => Cure::StopRun,
        _ => Cure::Nothing,
    }
}

/// What a code tells the user: what to do about it.
fn help_for(code: i64, stage: Stage, auth: Auth) -> &'static str {
    let has_no_token = auth == Auth::None;
    match code {
        -501005 => either(
            "check `env`, and its state in the 云托管 console",
            "请检查 `env`，以及它在云托管控制台中的状态",
        ),
        -501000 | -501009 | -601027 => either(
            "check `env`: it must be the id of an environment of this account, as the 云托管 console \
             (cloud.weixin.qq.com/cloudrun) shows it",
            "请检查 `env`：应为本账号的环境 ID，与云托管控制台（cloud.weixin.qq.com/cloudrun）中的一致",
        ),
        40001 if stage == Stage::Token => wrong_secret(),
        40125 => wrong_secret(),
        41001 if has_no_token => no_token_yet(),
        40001 | 40014 | 41001 | 42001 => help_for_refused_token(auth),
        48001 if has_no_token => either(
            "this account may not use the API, or the environment is shared by another account \
             (资源复用), which wx-upload does not support: check the account's permissions",
            "该账号无权调用此 API，或环境是从其他账号共享来的（资源复用，wx-upload 不支持）：请检查账号的\
             权限",
        ),
        -501007 if stage == Stage::Link => either(
            "check `env`, the file's cloud name, and `max_age` if the config has it",
            "请检查 `env` 和云端文件名，以及配置中的 `max_age`（如果有）",
        ),
        85107 => not_permitted(),
        85113 => no_token_yet(),
        code => match ADVICE.iter().find(|advice| advice.codes.contains(&code)) {
            Some(advice) => either(advice.english, advice.chinese),
            None if code < 0 => either(
                "see 云开发错误码 on developers.weixin.qq.com",
                "请查阅 developers.weixin.qq.com 上的“云开发错误码”",
            ),
            None => either(
                "see 全局错误码 on developers.weixin.qq.com",
                "请查阅 developers.weixin.qq.com 上的“全局错误码”",
            ),
        },
    }
}

/// What tells that a path is not on the container's permission list.
fn not_permitted() -> &'static str {
    either(
        "the container may not call this path: add /tcb/uploadfile and /tcb/batchdownloadfile, one \
         a line, to the permission list in the 云托管 console \
         (cloud.weixin.qq.com/cloudrun/openapi): 云调用 → 云调用权限配置 (called 微信令牌权限配置 \
         before), and save it",
        "容器无权调用此路径：请在云托管控制台（cloud.weixin.qq.com/cloudrun/openapi）的云调用 → \
         云调用权限配置（原名“微信令牌权限配置”）中加入 /tcb/uploadfile 和 /tcb/batchdownloadfile，\
         每行一个，然后保存",
    )
}

fn no_token_yet() -> &'static str {
    either(
        "the platform has no token for this container yet: try again in some minutes; if \
         开放接口服务 was switched on after this version was published, publish a new version; outside \
         of a container, write \"auth\": \"stable_token\"",
        "平台还没有为此容器准备好令牌：请几分钟后再试；如果“开放接口服务”是在此版本发布之后开启的，\
         请发布新版本；不在容器中运行的，请写 \"auth\": \"stable_token\"",
    )
}

/// What the user can do about some codes.
struct Advice {
    codes: &'static [i64],
    english: &'static str,
    chinese: &'static str,
}

const fn advice(codes: &'static [i64], english: &'static str, chinese: &'static str) -> Advice {
    Advice {
        codes,
        english,
        chinese,
    }
}

/// Advice about the codes that mean the same at each step.
const ADVICE: [Advice; 26] = [
    advice(
        &[-1, -1000, -501001, -501002],
        "the service is busy: try again later",
        "服务繁忙：请稍后再试",
    ),
    advice(
        &[-503001, -601001, -601003, -601008],
        "the storage or the network behind the service failed: try again later",
        "存储或服务的内部网络出错：请稍后再试",
    ),
    advice(
        &[45011],
        "too many calls per minute",
        "每分钟的调用次数过多",
    ),
    advice(&[-501004], "too many calls at once", "同时进行的调用过多"),
    advice(
        &[45009],
        "the daily quota of calls is used up: it is reset at midnight, Beijing time (or at once, by the \
         API \"clear quota\")",
        "当天的调用次数已用完：北京时间零点恢复（也可用“clear quota”接口立即恢复）",
    ),
    advice(
        &[-501003],
        "the quota of the environment's plan is used up: it is reset with the plan's next period",
        "环境套餐的额度已用完：套餐的下一周期恢复",
    ),
    advice(
        &[-501015],
        "the plan's quota of reads is used up: it is reset with the plan's next period",
        "套餐的读取额度已用完：套餐的下一周期恢复",
    ),
    advice(
        &[-501016],
        "the plan's quota of writes is used up: it is reset with the plan's next period",
        "套餐的写入额度已用完：套餐的下一周期恢复",
    ),
    advice(
        &[-501017],
        "the storage is full: delete files, or get more storage in the 云托管 console",
        "存储空间已满：请删除文件，或在云托管控制台扩容",
    ),
    advice(
        &[-501018],
        "a resource of the environment cannot be used, perhaps because the account is in arrears: \
         see the 云托管 console",
        "环境的某项资源不可用，可能是账号欠费：请查看云托管控制台",
    ),
    advice(&[40013, 41002], "check `appid`", "请检查 `appid`"),
    advice(&[41004], "check `secret`", "请检查 `secret`"),
    advice(
        &[40243],
        "the AppSecret is frozen: unfreeze it on mp.weixin.qq.com",
        "AppSecret 已被冻结：请在 mp.weixin.qq.com 解冻",
    ),
    advice(
        &[40164, 61004],
        "add the public address that is named here to the IP whitelist on mp.weixin.qq.com, 开发设置: it \
         works after some minutes",
        "请在 mp.weixin.qq.com → 管理 → 开发管理 → 开发设置中，把括号中的公网 IP 加入 IP 白名单，几分钟后\
         生效",
    ),
    advice(
        &[89501, 89503],
        "the administrator has to confirm calls from this address, in WeChat",
        "须由管理员在微信中确认来自此 IP 的调用",
    ),
    advice(
        &[89506],
        "the administrator refused calls from this address twice: try again in a day",
        "管理员已两次拒绝来自此 IP 的调用：请一天后再试",
    ),
    advice(
        &[89507],
        "the administrator refused calls from this address: try again in an hour",
        "管理员已拒绝来自此 IP 的调用：请一小时后再试",
    ),
    advice(
        &[48001, 85105],
        "this account may not use the API: check its permissions",
        "该账号无权调用此 API：请检查其权限",
    ),
    advice(
        &[48004, 50002],
        "the account is frozen, or the API is banned for it: see its notices on mp.weixin.qq.com",
        "账号已被冻结，或接口已被封禁：请查看 mp.weixin.qq.com 上的通知",
    ),
    advice(
        &[85088],
        "CloudRun is not enabled: check that `env` and `appid` belong together",
        "未开通云托管：请检查 `env` 与 `appid` 是否属于同一账号",
    ),
    advice(
        &[85112],
        "the platform itself has a problem: open a ticket (工单) for 微信云托管, with the id of the \
         environment, the AppID, the time, and this request_id",
        "平台自身有故障：请向微信云托管提交工单，附上环境 ID、AppID、时间和此 request_id",
    ),
    advice(
        &[40097, 40101, 47001, -501006, -501007, -503004],
        "check `env`, and the file's cloud name",
        "请检查 `env` 和云端文件名",
    ),
    advice(
        &[
            -501008, -501019, -501020, -501021, -601002, -601004, -601010, -601011, -601012,
            -601016, -601018,
        ],
        "check the account's permissions, `env`, and the file's cloud name",
        "请检查账号的权限、`env` 和云端文件名",
    ),
    advice(
        &[-503002],
        "this account may not use the file: check the permissions of the storage in the 云托管 console",
        "该账号无权读写此文件：请在云托管控制台检查存储的权限",
    ),
    advice(
        &[-503003],
        "the storage does not know the file, or a signature is wrong: see what is quoted here",
        "存储中没有此文件，或签名有误：以括号中的原文为准",
    ),
    advice(
        &[40002, 43002, 44002],
        "this is a bug of wx-upload: please report it",
        "这是 wx-upload 的缺陷，请反馈",
    ),
];

fn wrong_secret() -> &'static str {
    either(
        "check `secret`: it is wrong, or is not that of this `appid`",
        "请检查 `secret`：填错了，或不属于这个 `appid`",
    )
}

/// Returns advice for an access token that stays refused.
fn help_for_refused_token(auth: Auth) -> &'static str {
    match auth {
        Auth::None => either(
            "`auth` is none, which works in a container with 开放接口服务 switched on: see its \
             settings",
            "`auth` 为 none，只适用于开启了“开放接口服务”的容器：请检查其设置",
        ),
        Auth::StableToken => either(
            "the access token is refused, and a new one did not help: check that `appid` is that \
             of the account that `env` belongs to",
            "access_token 被拒绝，换新的也不行：请检查 `appid` 与 `env` 是否属于同一账号",
        ),
        Auth::Token => either(
            "the access token is refused, and a new one did not help: check `appid`, and whether \
             another program fetches tokens for it (write `\"auth\": \"stable_token\"`: then each \
             keeps its own)",
            "access_token 被拒绝，换新的也不行：请检查 `appid`，以及是否有其他程序在获取它的 \
             access_token（改用 `\"auth\": \"stable_token\"` 可互不影响）",
        ),
    }
}

/// Returns the text that a reply must have under `name`.
pub fn text_field(stage: Stage, reply: &Value, name: &str) -> Result<String, Failure> {
    match text_in(reply, name) {
        Some(text) => Ok(text.to_owned()),
        None => Err(unusable_field(stage, name)),
    }
}

/// The failure if what a reply has under `name` is missing or of another kind.
pub fn unusable_field(stage: Stage, name: &str) -> Failure {
    let why = words!(
        "the reply has no usable `{name}`",
        "应答中没有可用的 `{name}`"
    );
    Failure::odd_reply(stage, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_but_the_first_is_counted_at_its_bracket_brace_or_comma() {
        let cases = [
            ("", 0),
            ("7", 0),
            ("[]", 1),
            ("[1,2,3]", 3),
            (r#"{"a":1,"b":[{},{}]}"#, 6),
            (r#"["[{,","\"[,","\\",1]"#, 4),
            (r#""a\"#, 0), // ends within an escape
        ];
        for (json, count) in cases {
            assert_eq!(values_begun(json.as_bytes()), count, "{json}");
        }
    }

    #[test]
    fn json_with_more_than_2_000_values_is_not_read() {
        let with = |values: usize| format!("[{}1]", "1,".repeat(values - 1));
        assert!(parse(with(2_000).as_bytes()).is_some());
        assert!(parse(with(2_001).as_bytes()).is_none());
        assert!(parse("[".repeat(2_001).as_bytes()).is_none());
        let text = format!("[\"{}\"]", "[,{\\\"".repeat(2_001));
        assert!(parse(text.as_bytes()).is_some());
        // Without the control character, the text ends before the values.
        let hidden = format!("[\"\\\u{1}\\\"{}]", ",1".repeat(2_001));
        assert!(parse(hidden.as_bytes()).is_none());
        let few = format!("[\"\\\u{1}\\\"{}]", ",1".repeat(3));
        assert!(parse(few.as_bytes()).is_some());
    }
}
