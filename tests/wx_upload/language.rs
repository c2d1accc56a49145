//! Messages in the user's language, each kind once in Chinese.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Shutdown, TcpListener};
#[cfg(unix)]
use std::os::unix::fs::chown;
#[cfg(unix)]
use std::os::unix::process::CommandExt;
use std::thread;

use serde_json::json;
use stand_in::{Certificate, ENV, Fault, StandIn, Step, When, one_of_two};

use crate::faults::refusing_port;
use crate::harness::{
    PATIENCE, Ran, World, judges_windows, not_on_windows, not_under_wine, read_line, side_by_side,
    spawn,
};
use crate::services::proxy;
#[cfg(unix)]
use crate::unix::{ProgramForAll, after, is_root, set_mode, world_for_all};

/// Runs the program in Chinese, with these variables.
fn run_with(world: &World, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let mut command = world.command_in_chinese(arguments);
    command.envs(variables.iter().copied());
    world.finish(command)
}

/// Checks that the upload of the file `a.txt` fails like this, in Chinese, if a step always fails
/// with this fault.
fn assert_fails(step: Step, fault: Fault, told: &str) {
    let world = World::with_files(&["a.txt"]);
    world.stand_in.fault(step, When::Always, fault);
    world
        .run_in_chinese(["--retries", "0", "a.txt"])
        .assert_failure(1, &[told]);
}

// ---- Which language -----------------------------------------------------------------------------

/// Whether the program speaks Chinese with these variables.
fn is_chinese(variables: &[(&str, &str)]) -> bool {
    let world = World::with_files(&["a.txt"]);
    let mut command = world.command(["--manifest", "a.txt", "a.txt"]);
    for name in ["WX_LANG", "LC_ALL", "LC_MESSAGES", "LANG"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    let ran = world.finish(command);
    let is_chinese = ran.stderr.contains("不是清单，未作改动：请换一个文件");
    let is_english = ran.stderr.contains("this file is not a manifest");
    assert!(is_chinese != is_english, "{}", ran.stderr);
    is_chinese
}

#[test]
fn the_locale_decides_about_the_language_and_wx_lang_above_it() {
    let chinese: [&[_]; 8] = [
        &[("LANG", "zh_CN.UTF-8")],
        &[("LANG", "zh")],
        &[("LANG", "zh_TW.Big5")],
        &[("LC_MESSAGES", "zh_CN.UTF-8"), ("LANG", "en_US.UTF-8")],
        &[("LC_ALL", "zh_CN.UTF-8"), ("LC_MESSAGES", "en_US.UTF-8")],
        &[("WX_LANG", "zh"), ("LANG", "en_US.UTF-8")],
        &[("WX_LANG", "zh-CN"), ("LC_ALL", "C")],
        &[
            ("WX_LANG", ""),
            ("LC_ALL", ""),
            ("LC_MESSAGES", ""),
            ("LANG", "zh_CN.UTF-8"),
        ],
    ];
    let english: [&[_]; 8] = [
        &[("LANG", "C.UTF-8")],
        &[("LANG", "en_US.UTF-8")],
        &[("LANG", "POSIX")],
        &[("LANG", "dz_BT.UTF-8")],
        &[("LC_MESSAGES", "C"), ("LANG", "zh_CN.UTF-8")],
        &[("LC_ALL", "de_DE"), ("LC_MESSAGES", "zh_CN.UTF-8")],
        &[("WX_LANG", "en"), ("LANG", "zh_CN.UTF-8")],
        &[("WX_LANG", "en"), ("LC_ALL", "zh_CN.UTF-8")],
    ];
    for variables in chinese {
        assert!(is_chinese(variables), "{variables:?}");
    }
    for variables in english {
        assert!(!is_chinese(variables), "{variables:?}");
    }
}

/// Elsewhere the system has a locale of its own.
#[cfg(target_os = "linux")]
#[test]
fn without_a_locale_messages_are_english() {
    assert!(!is_chinese(&[]));
    assert!(!is_chinese(&[
        ("WX_LANG", ""),
        ("LC_ALL", ""),
        ("LANG", "")
    ]));
}

// ---- The API ------------------------------------------------------------------------------------

/// What codes tell at each step.
const CODES: [(i64, &str); 30] = [
    (-1, "服务繁忙：请稍后再试"),
    (-503001, "存储或服务的内部网络出错：请稍后再试"),
    (
        45009,
        "当天的调用次数已用完：北京时间零点恢复（也可用“clear quota”接口立即恢复）",
    ),
    (-501003, "环境套餐的额度已用完：套餐的下一周期恢复"),
    (-501015, "套餐的读取额度已用完：套餐的下一周期恢复"),
    (-501016, "套餐的写入额度已用完：套餐的下一周期恢复"),
    (-501017, "存储空间已满：请删除文件，或在云托管控制台扩容"),
    (
        -501018,
        "环境的某项资源不可用，可能是账号欠费：请查看云托管控制台",
    ),
    (40013, "请检查 `appid`"),
    (41004, "请检查 `secret`"),
    (40243, "AppSecret 已被冻结：请在 mp.weixin.qq.com 解冻"),
    (
        40164,
        "请在 mp.weixin.qq.com → 管理 → 开发管理 → 开发设置中，把括号中的公网 IP 加入 IP 白名单，几分钟后生效",
    ),
    (89503, "须由管理员在微信中确认来自此 IP 的调用"),
    (89506, "管理员已两次拒绝来自此 IP 的调用：请一天后再试"),
    (89507, "管理员已拒绝来自此 IP 的调用：请一小时后再试"),
    (48001, "该账号无权调用此 API：请检查其权限"),
    (
        50002,
        "账号已被冻结，或接口已被封禁：请查看 mp.weixin.qq.com 上的通知",
    ),
    (
        85088,
        "未开通云托管：请检查 `env` 与 `appid` 是否属于同一账号",
    ),
    (47001, "请检查 `env` 和云端文件名"),
    (-501019, "请检查账号的权限、`env` 和云端文件名"),
    (
        -503002,
        "该账号无权读写此文件：请在云托管控制台检查存储的权限",
    ),
    (-503003, "存储中没有此文件，或签名有误：以括号中的原文为准"),
    (43002, "这是 wx-upload 的缺陷，请反馈"),
    (-501005, "请检查 `env`，以及它在云托管控制台中的状态"),
    (
        -501000,
        "请检查 `env`：应为本账号的环境 ID，与云托管控制台（cloud.weixin.qq.com/cloudrun）中的一致",
    ),
    (
        40001,
        "access_token 被拒绝，换新的也不行：请检查 `appid`，以及是否有其他程序在获取它的 \
         access_token（改用 `\"auth\": \"stable_token\"` 可互不影响）",
    ),
    (
        42001,
        "access_token 被拒绝，换新的也不行：请检查 `appid`，以及是否有其他程序在获取它的 \
         access_token（改用 `\"auth\": \"stable_token\"` 可互不影响）",
    ),
    (-77, "请查阅 developers.weixin.qq.com 上的“云开发错误码”"),
    (77, "请查阅 developers.weixin.qq.com 上的“全局错误码”"),
    (61004, "请在 mp.weixin.qq.com → 管理"),
];

#[test]
fn each_errcode_tells_in_chinese_what_helps() {
    let cases = CODES.map(|case| (format!("{case:?}"), case));
    side_by_side(cases, |(code, help)| {
        let world = World::with_files(&["a.txt"]);
        let refuse = Fault::refusal(code, "as it is");
        world.stand_in.fault(Step::Info, When::Always, refuse);
        let ran = world.run_in_chinese(["--retries", "0", "a.txt"]);
        let told = format!("获取文件上传链接失败: errcode {code}（as it is rid: ");
        ran.assert_failure(1, &[&told, &format!("）：{help}")]);
    });
}

#[test]
fn a_wrong_secret_is_told_in_chinese() {
    let world = World::with_files(&["a.txt"]);
    world.configure(json!({ "secret": "wrong" }));
    let ran = world.run_in_chinese(["a.txt"]);
    let help = "：请检查 `secret`：填错了，或不属于这个 `appid`";
    ran.assert_failure(1, &["error: 获取access token失败: errcode 40001（", help]);
}

#[test]
fn a_refused_stable_token_is_told_in_chinese() {
    let world = World::with_files(&["a.txt"]);
    world.configure(json!({ "auth": "stable_token" }));
    let refuse = Fault::Errcode(40001);
    world.stand_in.fault(Step::Info, When::Always, refuse);
    let help = "：access_token 被拒绝，换新的也不行：请检查 `appid` 与 `env` 是否属于同一账号";
    world.run_in_chinese(["a.txt"]).assert_failure(1, &[help]);
}

#[test]
fn the_refusals_in_a_container_are_told_in_chinese() {
    let lists = "容器无权调用此路径：请在云托管控制台（cloud.weixin.qq.com/cloudrun/openapi）的云调用 → \
                 云调用权限配置（原名“微信令牌权限配置”）中加入 /tcb/uploadfile 和 \
                 /tcb/batchdownloadfile，每行一个，然后保存";
    let not_ready = "平台还没有为此容器准备好令牌：请几分钟后再试；如果“开放接口服务”是在此版本发布之后\
                     开启的，请发布新版本；不在容器中运行的，请写 \"auth\": \"stable_token\"";
    let shared = "该账号无权调用此 API，或环境是从其他账号共享来的（资源复用，wx-upload 不支持）：请检查\
                  账号的权限";
    let broken = "平台自身有故障：请向微信云托管提交工单，附上环境 ID、AppID、时间和此 request_id";
    let none = "`auth` 为 none，只适用于开启了“开放接口服务”的容器：请检查其设置";
    let sidecar = |code| Fault::sidecar(200, code);
    let bare = Fault::status(502, &[], "");
    let cases = [
        (
            "/tcb/uploadfile（GatewayError 85107: ",
            sidecar("85107"),
            lists,
        ),
        (
            "HTTP 502 Bad Gateway（/tcb/uploadfile）：多半是因为",
            bare,
            lists,
        ),
        (
            "/tcb/uploadfile（GatewayError 85113: ",
            sidecar("85113"),
            not_ready,
        ),
        ("errcode 41001（", Fault::Errcode(41001), not_ready),
        (
            "/tcb/uploadfile（GatewayError 85112: ",
            sidecar("85112"),
            broken,
        ),
        ("errcode 48001（", Fault::Errcode(48001), shared),
        ("errcode 40014（", Fault::Errcode(40014), none),
    ];
    for (told, fault, help) in cases {
        let world = World::with_files(&["a.txt"]);
        world.stand_in.auth_none(true);
        world.configure(json!({ "auth": "none", "appid": null, "secret": null }));
        world.stand_in.fault(Step::Info, When::Always, fault);
        let ran = world.run_in_chinese(["--retries", "0", "a.txt"]);
        ran.assert_failure(1, &[&format!("获取文件上传链接失败: {told}"), help]);
    }
}

#[test]
fn odd_replies_of_the_api_are_told_in_chinese() {
    let refused = json!({ "errcode": 7, "errmsg": "no such route" });
    let refused = Fault::status(404, &[], &refused.to_string());
    let only_words = Fault::status(404, &[], r#"{"errmsg":"no such route"}"#);
    let elsewhere = Fault::status(302, &[("Location", "http://localhost:1/")], "");
    let cases = [
        ("127.0.0.1：应答不是 JSON（", Fault::Body(b"<html>".into())),
        (
            "应答中没有可用的 `errcode`",
            Fault::edit(|reply| reply["errcode"] = json!("7")),
        ),
        (
            "应答中没有可用的 `url`",
            Fault::edit(|reply| reply["url"] = json!(7)),
        ),
        ("HTTP 404 Not Found：errcode 7（no such route）", refused),
        ("HTTP 404 Not Found：no such route", only_words),
        (
            "HTTP 302 Found：127.0.0.1 要求重定向到 localhost，而本程序不跟随重定向",
            elsewhere,
        ),
    ];
    for (told, fault) in cases {
        assert_fails(Step::Info, fault, &format!("获取文件上传链接失败: {told}"));
    }
}

#[test]
fn links_that_the_api_refuses_are_told_in_chinese() {
    let cases = [
        (1, "SYS_ERR", "：服务繁忙：请稍后再试"),
        (
            1,
            "STORAGE_EXCEED_AUTHORITY",
            "：该账号无权读写此文件：请在云托管控制台检查存储的权限",
        ),
        (
            1,
            "INVALID_PARAM",
            "：请检查 `env` 和云端文件名，以及配置中的 `max_age`（如果有）",
        ),
        (7, "as it is", ""),
    ];
    for (status, errmsg, help) in cases {
        let refuse = Fault::edit(move |reply| {
            reply["file_list"][0]["status"] = json!(status);
            reply["file_list"][0]["errmsg"] = json!(errmsg);
        });
        let told = format!("获取下载链接失败: status {status}：{errmsg}{help}");
        assert_fails(Step::Link, refuse, &told);
    }
}

// ---- COS ----------------------------------------------------------------------------------------

#[test]
fn each_code_of_cos_tells_in_chinese_what_helps() {
    let cases = [
        (403, "RequestTimeTooSkewed", "：COS 不接受签名中的时间"),
        (400, "IncompleteBody", "：上传中途断开"),
        (
            403,
            "PathStyleDomainForbidden",
            "：此存储不接受该上传地址（由 API 给出）：请联系微信云托管的客服",
        ),
        (
            400,
            "MalformedPOSTRequest",
            "：这是 wx-upload 的缺陷，请反馈",
        ),
        (
            402,
            "PaymentRequired",
            "：账号已欠费：请在云托管控制台（cloud.weixin.qq.com/cloudrun）充值",
        ),
        (
            451,
            "UnavailableForLegalReasons",
            "：存储已被封禁：请查看账号收到的通知，或联系微信云托管的客服",
        ),
    ];
    for (status, code, help) in cases {
        let world = World::with_files(&["a.txt"]);
        let refuse = Fault::cos_error(status, code);
        world.stand_in.fault(Step::Upload, When::Always, refuse);
        let ran = world.run_in_chinese(["--retries", "0", "a.txt"]);
        let words = ["上传文件失败: HTTP ", &format!("：{code}：injected "), help];
        ran.assert_failure(1, &words);
    }
}

#[test]
fn a_request_to_slow_down_is_noted_in_chinese() {
    let cases = [
        ("SlowDown", ""),
        ("UserNetworkTooSlow", "：网络带不动这么多并发上传"),
    ];
    for (code, help) in cases {
        let world = World::with_many(4);
        // A call that is alone costs a try instead.
        let refuse = one_of_two(Fault::cos_error(503, code));
        world.stand_in.fault(Step::Upload, When::Times(2), refuse);
        let ran = world.run_in_chinese(["files"]);
        let told = format!("note: 上传文件失败: HTTP 503 Service Unavailable：{code}：");
        let reaction = format!("{help}；放慢速度，继续上传\n");
        ran.assert_failure(0, &[&told, &reaction]);
    }
}

// ---- The course of a run ------------------------------------------------------------------------

#[test]
fn the_number_of_tries_is_told_in_chinese_and_a_failure_once() {
    let world = World::with_files(&["a.txt", "b.txt"]);
    world
        .stand_in
        .fault(Step::Upload, When::Always, Fault::status(503, &[], ""));
    let ran = world.run_in_chinese(["-j1", "--retries", "1", "a.txt", "b.txt"]);
    let told = "error: a.txt: 上传文件失败: HTTP 503 Service Unavailable（共尝试 2 次）\n";
    ran.assert_failure(1, &[told, "error: b.txt: 上传文件失败: "]);
    assert_eq!(ran.stderr.matches("HTTP 503").count(), 1, "{}", ran.stderr);
    let ran = world.run_in_chinese(["-f", "json", "--retries", "1", "a.txt"]);
    let told = "上传文件失败: HTTP 503 Service Unavailable（共尝试 2 次）";
    assert_eq!(ran.json()[0]["error"], told);
}

#[test]
fn eight_files_that_failed_are_told_in_chinese() {
    let world = World::with_many(20);
    let refuse = Fault::status(404, &[], "");
    world.stand_in.fault(Step::Info, When::Always, refuse);
    let ran = world.run_in_chinese(["files"]);
    ran.assert_failure(
        1,
        &["error: 在任何文件成功之前，已有 8 个文件失败；运行已中止"],
    );
}

// ---- The network --------------------------------------------------------------------------------

#[test]
fn hosts_that_cannot_be_reached_are_told_in_chinese() {
    let (_socket, port) = refusing_port();
    let cases = [
        (
            "https://nobody.invalid".to_owned(),
            "nobody.invalid：域名解析失败，找不到 nobody.invalid 的地址：网络是否正常？如需经代理上网，请设置 HTTPS_PROXY",
        ),
        (
            format!("https://127.0.0.1:{port}"),
            "127.0.0.1：连接被拒绝（os error ",
        ),
    ];
    for (base, told) in cases {
        let world = World::with_files(&["a.txt"]);
        world.configure(json!({ "api_base": base }));
        let ran = world.run_in_chinese(["--retries", "0", "a.txt"]);
        ran.assert_failure(1, &[&format!("获取access token失败: {told}")]);
    }
}

#[test]
fn servers_that_do_not_answer_properly_are_told_in_chinese() {
    let cases = [
        ("1 秒没有收发数据（--timeout）\n", Fault::Silence),
        ("连接被对方提前关闭\n", Fault::Close),
        ("连接被对方重置（", Fault::ResetAfterBody),
        ("应答超过 64 KiB\n", Fault::Body(vec![b' '; 100 << 10])),
    ];
    for (told, fault) in cases {
        let world = World::with_files(&["a.txt"]);
        world.stand_in.fault(Step::Info, When::Always, fault);
        let ran = world.run_in_chinese(["--retries", "0", "--timeout", "1", "a.txt"]);
        let told = format!("获取文件上传链接失败: 127.0.0.1：{told}");
        // Windows may tell that a connection has ended, and not that it was reset.
        let is_ended = judges_windows() && ran.stderr.contains("连接被对方提前关闭\n");
        let told = if is_ended { "127.0.0.1" } else { &told };
        ran.assert_failure(1, &[told]);
    }
}

/// A server that says something else than HTTP. Returns its address.
fn chatterbox(words: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            client.write_all(words).ok();
        }
    });
    address
}

#[test]
fn what_is_not_http_or_tls_is_told_in_chinese() {
    let address = chatterbox(b"220 smtp.example\r\n");
    let cases = [
        ("http", "127.0.0.1：应答不是 HTTP"),
        ("https", "127.0.0.1：TLS 连接失败（InvalidContentType）"),
    ];
    for (scheme, told) in cases {
        let world = World::with_files(&["a.txt"]);
        world.save_token("the-token", json!({}));
        world.configure(json!({ "api_base": format!("{scheme}://{address}") }));
        let ran = world.run_in_chinese(["--retries", "0", "a.txt"]);
        ran.assert_failure(1, &[told]);
    }
}

#[test]
fn bad_certificates_are_told_in_chinese() {
    use Certificate::{Authority, Expired, OtherHost, UnknownAuthority};
    let dates = "已过期）：请检查本机时间；如果无误，需要由服务器更换证书";
    let proxy = "UnknownIssuer）：如果经公司代理上网，请用 SSL_CERT_FILE 指定代理的 CA 证书文件";
    let own = "UnknownIssuer）：SSL_CERT_FILE 指定的文件取代了内置的 CA 证书，而其中没有签发此证书的 \
               CA：请把它的证书加入该文件，或取消 SSL_CERT_FILE";
    let container = "UnknownIssuer）：在云托管容器中，请在配置中设置 \"auth\": \"none\"，这样会以明文 http \
                     访问 API，不需要证书";
    let both = "，不需要证书；并取消 SSL_CERT_FILE，它会取代内置的 CA 证书";
    let is_container = [("CBR_ENV_ID", ENV)];
    let no_file = [("SSL_CERT_FILE", "")];
    let in_container = [("CBR_ENV_ID", ENV), ("SSL_CERT_FILE", "")];
    let cases = [
        (Expired, &[][..], dates),
        (
            OtherHost,
            &[],
            "域名不符）：应答的是另一台服务器，请检查地址",
        ),
        (
            Authority,
            &[],
            "CaUsedAsEndEntity）：服务器把 CA 证书当作自己的证书，它需要一个由该 CA 签发的证书",
        ),
        (UnknownAuthority, &[], own),
        (UnknownAuthority, &no_file, proxy),
        (UnknownAuthority, &in_container, container),
        (UnknownAuthority, &is_container, both),
    ];
    for (certificate, variables, told) in cases {
        let world = World::with(StandIn::https_with(certificate)).and_files(&["a.txt"]);
        let ran = run_with(&world, variables, &["--retries", "0", "a.txt"]);
        let start = "获取access token失败: localhost：服务器的证书无效（";
        ran.assert_failure(1, &[start, told]);
    }
}

#[test]
fn plain_http_where_the_api_is_https_is_told_in_chinese() {
    let (world, elsewhere) = (World::https().and_files(&["a.txt"]), StandIn::http());
    world.stand_in.set_upload_origin(&elsewhere.base());
    let told = "上传文件失败: 127.0.0.1：`api_base` 是 https，因此不使用明文 http\n";
    world.run_in_chinese(["a.txt"]).assert_failure(1, &[told]);
}

#[test]
fn an_upload_url_that_is_none_is_told_in_chinese() {
    let odd = Fault::edit(|reply| reply["url"] = json!("/no/host"));
    assert_fails(Step::Info, odd, "上传文件失败: 上传地址：无法使用\n");
}

#[test]
fn a_network_that_goes_away_is_noted_in_chinese() {
    let world = World::with_many(8);
    world
        .stand_in
        .fault(Step::Upload, When::Nth(1), Fault::Silence);
    let mut child = spawn(world.command_in_chinese(["-j1", "files"]));
    assert!(world.stand_in.wait_for(Step::Upload, 1, PATIENCE));
    world.stand_in.close_port();
    world.stand_in.break_connections();
    let note = read_line(child.stderr.as_mut().unwrap());
    world.stand_in.open_port();
    world.wait(child).assert_success();
    // The upload meets it, or step 2 of the next file.
    assert!(note.contains("失败: 127.0.0.1："), "{note}");
    assert!(note.ends_with("；等待网络恢复\n"), "{note}");
}

// ---- Proxies ------------------------------------------------------------------------------------

#[test]
fn the_refusals_of_a_proxy_are_told_in_chinese() {
    let (wants_password, _) = proxy(|client| {
        let answer = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
        client.write_all(answer).ok();
    });
    let (refuses, _) = proxy(|client| {
        client.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").ok();
    });
    let (says_nothing, _) = proxy(|client| {
        client.shutdown(Shutdown::Write).ok();
        io::copy(client, &mut io::sink()).ok();
    });
    let password = "HTTP 407：代理需要用户名和密码，或现有的不对：HTTPS_PROXY 应形如 \
                    http://USER:PASSWORD@HOST:PORT";
    let cases = [
        (wants_password, password),
        (refuses, "HTTP 403：代理不放行本程序"),
        (says_nothing, "代理没有应答"),
    ];
    for (url, told) in cases {
        let world = World::with_files(&["a.txt"]);
        world.save_token("the-token", json!({ "api_base": "https://localhost:1" }));
        let arguments = ["--retries", "0", "a.txt"];
        let ran = run_with(&world, &[("https_proxy", &url)], &arguments);
        let (_, host) = url.split_once('@').unwrap();
        let start = format!("获取文件上传链接失败: localhost（经代理 {host}）：");
        ran.assert_failure(1, &[&format!("{start}{told}")]);
    }
}

// ---- Files --------------------------------------------------------------------------------------

#[test]
fn files_that_cannot_be_uploaded_are_told_in_chinese() {
    let world = World::http();
    world.file("secret.txt", stand_in::SECRET);
    world.file("other.json", r#"{"appid":"wx0","secret":"0"}"#);
    world.file("config.json.bak", "");
    world.file("${filename}", "");
    let huge = File::create(world.path("huge.bin")).unwrap();
    huge.set_len((5 << 30) + 1).unwrap();
    let cases = [
        ("secret.txt", "文件含有 AppSecret 或 access_token，不会上传"),
        (
            "other.json",
            "文件是含有 `appid` 和 `secret` 的 JSON，与配置文件相似，不会上传",
        ),
        ("huge.bin", "文件超过 COS 的 5 GiB 上限"),
        (
            "${filename}",
            "云端文件名不能含有 `${filename}`：COS 会把它换成别的名字",
        ),
    ];
    for (name, why) in cases {
        let told = format!("error: {name}: 上传文件失败: {why}\n");
        world.run_in_chinese([name]).assert_failure(1, &[&told]);
    }
    let ran = world.run_in_chinese(["."]);
    ran.assert_failure(1, &["配置文件及其副本、本次运行的清单不会上传\n"]);
}

#[test]
fn cloud_folders_that_the_cloud_does_not_take_are_told_in_chinese() {
    let world = World::with_files(&["a.txt"]);
    let long = "x".repeat(851);
    let cases = [
        (long.as_str(), "云端文件名超过 850 字节"),
        ("a//b", "云端文件名不能含有 `//`"),
        ("a/../b", "云端文件名的任何一级都不能是 `.` 或 `..`"),
        ("a\tb", "云端文件名不能含有控制字符"),
    ];
    for (folder, why) in cases {
        let ran = world.run_in_chinese(["-t", folder, "a.txt"]);
        world.assert_refused(&ran, &[why]);
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_told_in_chinese() {
    let world = World::http();
    let path = world.file("app.log", "a line\n".repeat(1000));
    let grow = move || {
        let mut log = File::options().append(true).open(&path).unwrap();
        log.write_all(b"a line\n").unwrap();
    };
    world
        .stand_in
        .fault(Step::Upload, When::Always, Fault::at(u64::MAX, grow));
    let ran = world.run_in_chinese(["--retries", "1", "app.log"]);
    let told = "上传文件失败: 读取期间文件有变化：请等没有程序写入时再上传（共尝试 2 次）\n";
    ran.assert_failure(1, &[told]);
}

#[test]
fn files_that_cannot_be_opened_are_told_in_chinese() {
    let world = World::with_files(&["a", "b", "c"]);
    let [gone, folder] = ["b", "c"].map(|name| world.path(name));
    let change = Fault::custom(move |_| {
        fs::remove_file(&gone).unwrap();
        fs::remove_file(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        None
    });
    world.stand_in.fault(Step::Token, When::Once, change); // no file is open yet
    let ran = world.run_in_chinese(["a", "b", "c"]);
    let missing = "error: b: 上传文件失败: 无法打开：没有这个文件或目录（os error 2）\n";
    let odd = "error: c: 上传文件失败: 无法打开：不是普通文件\n";
    ran.assert_failure(1, &[missing, odd]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_goes_on_after_its_size_is_told_in_chinese() {
    let world = World::http();
    let told = "error: /proc/version: 上传文件失败: 实际内容比系统报告的长（/proc 中的文件就是这样）：\
                请复制一份，上传副本\n";
    world
        .run_in_chinese(["/proc/version"])
        .assert_failure(1, &[told]);
}

// ---- The manifest and the config ----------------------------------------------------------------

#[test]
fn manifests_that_cannot_be_used_are_told_in_chinese() {
    let world = World::with_files(&["a.txt"]);
    fs::create_dir(world.path("directory")).unwrap();
    let cases = [
        ("config.json", "不是清单，未作改动：请换一个文件\n"),
        ("directory", "不是普通文件\n"),
        ("missing/sent.jsonl", "它的目录不存在：请先创建\n"),
    ];
    for (name, why) in cases {
        let ran = world.run_in_chinese(["--manifest", name, "a.txt"]);
        world.assert_refused(&ran, &[&format!("--manifest {name}: {why}")]);
    }
}

#[cfg(unix)]
#[test]
fn a_manifest_that_cannot_be_written_is_told_in_chinese() {
    if not_on_windows("ulimit") {
        return;
    }
    let world = World::with_files(&["a.txt"]);
    world.run(["a.txt"]).assert_success(); // saves a token
    let command = world.command_in_chinese(["--manifest", "sent.jsonl", "a.txt"]);
    let ran = world.finish(after("ulimit -f 0; trap '' XFSZ", &command));
    let start = "warning: 清单 sent.jsonl 无法写入：文件太大（os error ";
    ran.assert_failure(0, &[start, "）；下次运行会重新上传\n"]);
}

#[cfg(unix)]
#[test]
fn a_wait_for_the_manifest_is_noted_in_chinese() {
    if not_under_wine("locks of other programs") {
        return;
    }
    let world = World::with_files(&["a.txt"]);
    world.file("sent.jsonl", "");
    let lock = File::open(world.path("sent.jsonl")).unwrap();
    lock.lock().unwrap();
    let mut child = spawn(world.command_in_chinese(["--manifest", "sent.jsonl", "a.txt"]));
    let note = read_line(child.stderr.as_mut().unwrap());
    drop(lock);
    assert_eq!(note, "note: 正在等待另一个 wx-upload 用完 sent.jsonl\n");
    world.wait(child).assert_success();
}

#[cfg(unix)]
#[test]
fn a_token_that_cannot_be_saved_is_told_in_chinese() {
    if not_on_windows("permissions") {
        return;
    }
    let world = World::with_files(&["a.txt"]);
    fs::hard_link(world.path("config.json"), world.path("link")).unwrap();
    let told = "warning: ./config.json: 新的 access_token 无法保存，下次运行会重新获取：";
    let why = "文件另有硬链接，替换后那里仍是旧内容：请删除那个硬链接\n";
    world
        .run_in_chinese(["a.txt"])
        .assert_failure(0, &[told, why]);
    if !is_root() {
        return;
    }
    let program = ProgramForAll::new();
    let world = world_for_all(&["a.txt"]);
    let config = world.path("config.json");
    set_mode(&config, 0o660);
    chown(&config, Some(1111), Some(5555)).unwrap();
    let mut command = world.command_of(&program.path(), ["a.txt"]);
    command.env("WX_LANG", "zh").uid(2222).gid(5555);
    let why = "无法保持属主和属组：请以文件属主的身份运行 wx-upload\n";
    world.finish(command).assert_failure(0, &["warning: ", why]);
}
