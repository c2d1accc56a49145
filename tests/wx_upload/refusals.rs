//! Refusals of the services: each code passes by itself, stops the run or concerns one file, as the
//! services document it, and its message tells what helps.

use serde_json::{Value, json};
use stand_in::{Certificate, ENV, Fault, Request, StandIn, Step, When, one_of_two};

use crate::harness::{PATIENCE, Ran, World, file_id, key, side_by_side};

const LISTS: [&str; 3] = ["云调用权限配置", "微信令牌权限配置", "cloud.weixin.qq.com"];

/// A container's world: no account and no token, and the files `000` … in `files`.
fn container(files: usize) -> World {
    let world = World::with_many(files);
    world.stand_in.auth_none(true);
    world.configure(json!({ "auth": "none", "appid": null, "secret": null }));
    world
}

/// The run was stopped with one message, and no file was attempted but for those under way.
fn assert_stopped(ran: &Ran, words: &[&str], not_attempted: usize) {
    ran.assert_failure(1, words);
    let errors = ran.stderr.matches("error: ").count();
    assert_eq!(errors, 1, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("; the run was stopped\n"),
        "{}",
        ran.stderr
    );
    let counts = ["failed", "skipped", "not attempted"].map(|ended| ran.count(ended));
    assert_eq!(counts, [0, 0, not_attempted], "{}", ran.stderr);
}

// ---- COS's codes --------------------------------------------------------------------------------

#[test]
fn what_cos_says_in_its_code_decides_what_passes() {
    let cases = [
        (400, "IncompleteBody"),
        (400, "EntitySizeNotMatch"),
        (400, "UserNetworkTooSlow"),
        (400, "RequestTimeout"),
        (400, "InternalError"),
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
    ];
    side_by_side(
        cases.map(|case| (format!("{case:?}"), case)),
        |(status, code)| {
            let refuse = || Fault::cos_error(status, code);
            let world = World::with_files(&["a.txt"]);
            world.stand_in.fault(Step::Upload, When::Times(2), refuse());
            world.run(["a.txt"]).assert_success();
            assert_eq!((world.count(Step::Info), world.count(Step::Upload)), (3, 3));
            let world = World::with_files(&["a.txt"]);
            world.stand_in.fault(Step::Upload, When::Always, refuse());
            let ran = world.run(["--retries", "1", "a.txt"]);
            let told = format!("error: a.txt: 上传文件失败: HTTP {status}");
            ran.assert_failure(1, &[&told, code, "(tried 2 times)"]);
        },
    );
}

#[test]
fn an_expired_token_of_cos_wants_a_new_signature() {
    for (status, code) in [
        (400, "ExpiredToken"),
        (403, "ExpiredToken"),
        (403, "AccessDenied"),
    ] {
        let world = World::with_files(&["a.txt"]);
        world
            .stand_in
            .fault(Step::Upload, When::Once, Fault::cos_error(status, code));
        world.run(["--retries", "0", "a.txt"]).assert_success();
        assert_eq!((world.count(Step::Info), world.count(Step::Upload)), (2, 2));
        let world = World::with_files(&["a.txt"]);
        world
            .stand_in
            .fault(Step::Upload, When::Always, Fault::cos_error(status, code));
        world
            .run(["a.txt"])
            .assert_failure(1, &[code, "(tried 2 times)"]);
        assert_eq!(world.count(Step::Upload), 2);
    }
}

#[test]
fn a_refusal_of_cos_that_does_not_pass_is_not_tried_again() {
    let cases = [
        (400, "MalformedPOSTRequest", "bug of wx-upload"),
        (
            403,
            "PathStyleDomainForbidden",
            "the address that the API gave",
        ),
        (400, "EntityTooLarge", ""),
        (400, "InvalidDigest", ""),
        (404, "NoSuchBucket", ""),
    ];
    for (status, code, help) in cases {
        let world = World::with_files(&["a.txt", "b.txt"]);
        let refuse = Fault::cos_error(status, code);
        world.stand_in.fault(Step::Upload, key("a.txt"), refuse);
        let ran = world.run(["a.txt", "b.txt"]);
        let told = format!("error: a.txt: 上传文件失败: HTTP {status}");
        ran.assert_failure(1, &[&told, code, help, "1 uploaded", "1 failed"]);
        assert!(!ran.stderr.contains("tried"), "{}", ran.stderr);
        assert_eq!(world.count(Step::Upload), 2);
    }
}

#[test]
fn arrears_and_bans_stop_the_run() {
    let xml = |status, code| Fault::cos_error(status, code);
    let cases = [
        ("HTTP 402", "arrears", xml(402, "PaymentRequired")),
        ("HTTP 402", "arrears", Fault::status(402, &[], "")),
        ("PaymentRequired", "arrears", xml(403, "PaymentRequired")),
        ("HTTP 451", "banned", xml(451, "UnavailableForLegalReasons")),
        ("HTTP 451", "banned", Fault::status(451, &[], "")),
    ];
    for (told, help, fault) in cases {
        let world = World::with_many(30);
        world.stand_in.fault(Step::Upload, When::Always, fault);
        let ran = world.run(["-j", "1", "files"]);
        assert_stopped(&ran, &["error: 上传文件失败: ", told, help], 30);
        assert_eq!(world.count(Step::Upload), 1);
    }
}

// ---- The sidecar of a container -----------------------------------------------------------------

#[test]
fn a_path_that_is_not_on_the_permission_list_stops_the_run_after_a_call_of_each_thread() {
    for jobs in [1, 8] {
        let world = container(30);
        world.stand_in.permit_paths(&["/tcb/batchdownloadfile"]);
        let ran = world.run(["-j", &jobs.to_string(), "files"]);
        let words = [
            "error: 获取文件上传链接失败: ",
            "85107",
            "URL不在白名单内",
            "/tcb/uploadfile",
        ];
        assert_stopped(&ran, &words, 30);
        ran.assert_failure(1, &LISTS);
        assert!((1..=2 * jobs).contains(&world.count(Step::Info)));
        assert_eq!(world.keys(), [""; 0]);
    }
}

#[test]
fn a_container_that_may_not_ask_for_links_is_told_of_that_path_and_loses_no_upload() {
    let world = container(2);
    world.stand_in.permit_paths(&["/tcb/uploadfile"]);
    world.stand_in.fault(Step::Link, When::Nth(1), Fault::Hold);
    let child = world.start(["files"]);
    assert!(world.stand_in.wait_for(Step::Upload, 2, PATIENCE));
    world.stand_in.open_gate();
    let ran = world.wait(child);
    let words = [": 获取下载链接失败: /tcb/batchdownloadfile (", "85107"];
    ran.assert_failure(1, &words);
    ran.assert_failure(1, &LISTS);
    let stopped = "\nerror: 获取下载链接失败: as above; the run was stopped\n";
    ran.assert_failure(1, &[stopped, &file_id("000"), &file_id("001")]);
    assert_eq!(ran.stderr.matches("85107").count(), 1, "{}", ran.stderr);
    assert_eq!(ran.counts(), "0 uploaded (0 B), 2 failed");
    assert_eq!(world.count(Step::Link), 1);
}

#[test]
fn a_refusal_of_the_sidecar_that_lasts_stops_the_run() {
    let cases: [(&str, &[&str]); 3] = [
        ("85107", &LISTS),
        ("85105", &["account", "permissions"]),
        (
            "85112",
            &["ticket", "工单", "微信云托管", "AppID", "request_id"],
        ),
    ];
    let cases = cases
        .iter()
        .flat_map(|case| [200, 502].map(|status| (status, case)));
    side_by_side(
        cases.map(|case| (format!("{case:?}"), case)),
        |(status, (code, words))| {
            let world = container(30);
            let refuse = Fault::sidecar(status, code);
            world.stand_in.fault(Step::Info, When::Always, refuse);
            let ran = world.run(["-j", "1", "files"]);
            assert_stopped(&ran, words, 30);
            let quoted = [
                &format!("/tcb/uploadfile (GatewayError {code}: injected for /tcb/uploadfile"),
                "; request_id ",
            ];
            ran.assert_failure(1, &quoted);
            assert!(world.count(Step::Info) <= 2);
        },
    );
}

#[test]
fn a_sidecar_without_its_token_is_asked_again() {
    let not_ready = [
        ("85113", Fault::sidecar(200, "85113")),
        ("85113", Fault::sidecar(502, "85113")),
        ("errcode 41001", Fault::Errcode(41001)),
    ];
    for (told, fault) in not_ready {
        for step in [Step::Info, Step::Link] {
            let world = container(1);
            world.stand_in.fault(step, When::Times(2), fault.clone());
            world.run(["files"]).assert_success();
            assert_eq!(world.count(step), 3);
            let world = container(1);
            world.stand_in.fault(step, When::Always, fault.clone());
            let ran = world.run(["--retries", "1", "files"]);
            let help = ["开放接口服务", "publish a new version", "(tried 2 times)"];
            ran.assert_failure(1, &help);
            ran.assert_failure(1, &[told, "1 failed"]);
        }
    }
}

#[test]
fn a_bare_502_in_a_container_mentions_the_permission_list() {
    for body in ["", "<html>502 Bad Gateway</html>", "{}"] {
        let bare = || Fault::status(502, &[], body);
        let world = container(1);
        world.stand_in.fault(Step::Info, When::Once, bare());
        world.run(["files"]).assert_success();
        let world = container(1);
        world.stand_in.fault(Step::Info, When::Always, bare());
        let ran = world.run(["--retries", "1", "files"]);
        ran.assert_failure(1, &["HTTP 502", "/tcb/uploadfile", "(tried 2 times)"]);
        ran.assert_failure(1, &LISTS);
        // Elsewhere there is no such list.
        let world = World::with_many(1);
        world.stand_in.fault(Step::Info, When::Always, bare());
        let ran = world.run(["--retries", "0", "files"]);
        assert!(!ran.stderr.contains("权限配置"), "{}", ran.stderr);
    }
}

#[test]
fn an_unknown_code_of_the_sidecar_is_told_and_its_status_decides() {
    let words = "/tcb/uploadfile (GatewayError 80000: injected for ";
    for (status, calls) in [(200, 1), (502, 2)] {
        let world = container(1);
        let refuse = Fault::sidecar(status, "80000");
        world.stand_in.fault(Step::Info, When::Always, refuse);
        let ran = world.run(["--retries", "1", "files"]);
        ran.assert_failure(1, &[words, "1 failed"]);
        assert_eq!(world.count(Step::Info), calls);
    }
    let odd = [json!("X"), json!(7), json!(null), json!([]), json!("")];
    for code in odd {
        let world = container(1);
        let edit = move |reply: &mut Value| {
            *reply =
                json!({ "error_type": "GatewayError", "error_code": code, "error_message": 1 });
        };
        world
            .stand_in
            .fault(Step::Info, When::Always, Fault::edit(edit));
        let ran = world.run(["--retries", "0", "files"]);
        ran.assert_failure(1, &["error: files/000: 获取文件上传链接失败: ", "1 failed"]);
    }
}

#[test]
fn errcode_48001_in_a_container_is_not_the_permission_list() {
    let world = container(30);
    world
        .stand_in
        .fault(Step::Info, When::Always, Fault::Errcode(48001));
    let ran = world.run(["-j", "1", "files"]);
    assert_stopped(
        &ran,
        &["errcode 48001 ", "account", "permissions", "shared"],
        30,
    );
    assert!(!ran.stderr.contains("权限配置"), "{}", ran.stderr);
}

#[test]
fn where_an_authority_is_unknown_the_hint_fits_what_is_set() {
    let run = |variables: &[(&str, &str)], with_file: bool| {
        let world = World::with(StandIn::https_with(Certificate::UnknownAuthority));
        world.file("a.txt", "a");
        let mut command = world.command(["a.txt"]);
        if !with_file {
            command.env_remove("SSL_CERT_FILE");
        }
        command
            .env_remove("CBR_ENV_ID")
            .envs(variables.iter().copied());
        world.finish(command).stderr
    };
    let container = [("CBR_ENV_ID", ENV)];
    let name_a_file = "name the file with its authority's certificate in SSL_CERT_FILE";
    let own_file = "the file in SSL_CERT_FILE replaces the built-in authorities";
    let none = "\"auth\": \"none\"";
    let stderr = run(&[], false);
    assert!(
        stderr.contains(name_a_file) && !stderr.contains(none),
        "{stderr}"
    );
    let stderr = run(&[], true);
    assert!(
        stderr.contains(own_file) && !stderr.contains(name_a_file),
        "{stderr}"
    );
    assert!(!stderr.contains(none), "{stderr}");
    for with_file in [false, true] {
        let stderr = run(&container, with_file);
        assert!(
            stderr.contains(none) && !stderr.contains(name_a_file),
            "{stderr}"
        );
    }
}

// ---- Errcodes -----------------------------------------------------------------------------------

/// Errcodes that concern one file or pass by themselves, and words that tell what helps.
const HELP: [(&[i64], &str); 12] = [
    (
        &[-1, -1000, -501001, -501002],
        "the service is busy: try again later",
    ),
    (
        &[-503001, -601001, -601003, -601008],
        "behind the service failed: try again later",
    ),
    (&[40013, 41002], "check `appid`"),
    (&[40125, 41004], "check `secret`"),
    (&[40243], "unfreeze it on mp.weixin.qq.com"),
    (
        &[40097, 40101, 47001, -501006, -501007, -503004],
        "check `env`, and the file's cloud name",
    ),
    (
        &[
            -501008, -501019, -501020, -501021, -601002, -601004, -601010, -601011, -601012,
            -601016, -601018,
        ],
        "check the account's permissions, `env`, and the file's cloud name",
    ),
    (&[-503002], "check the permissions of the storage"),
    (&[-503003], "or a signature is wrong"),
    (&[40002, 43002, 44002], "bug of wx-upload"),
    (&[-999999], "see 云开发错误码"),
    (&[99999], "see 全局错误码"),
];

#[test]
fn an_errcode_that_stops_no_run_tells_what_helps() {
    let mut cases = Vec::new();
    for (codes, help) in HELP {
        cases.extend(codes.iter().map(|code| (code.to_string(), (*code, help))));
    }
    side_by_side(cases, |(code, help)| {
        let world = World::with_files(&["a.txt"]);
        world
            .stand_in
            .fault(Step::Info, When::Always, Fault::Errcode(code));
        let ran = world.run(["--retries", "0", "a.txt"]);
        let told = format!("获取文件上传链接失败: errcode {code} (");
        ran.assert_failure(1, &[&told, help]);
    });
    for (code, help) in [
        (45011, "too many calls per minute"),
        (-501004, "too many calls at once"),
    ] {
        let world = World::with_many(8);
        let refuse = one_of_two(Fault::Errcode(code)); // a call that is alone costs a try instead
        world.stand_in.fault(Step::Info, When::Times(2), refuse);
        let ran = world.run(["files"]);
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        let told = format!("note: 获取文件上传链接失败: errcode {code} (");
        assert!(ran.stderr.contains(&told), "{}", ran.stderr);
        assert!(ran.stderr.contains(help), "{}", ran.stderr);
    }
}

#[test]
fn an_errcode_of_the_storage_or_its_network_passes() {
    let cases = [-503001, -601001, -601003, -601008, -501001, -1].into_iter();
    let cases = cases.flat_map(|code| [Step::Info, Step::Link].map(|step| (code, step)));
    side_by_side(
        cases.map(|case| (format!("{case:?}"), case)),
        |(code, step)| {
            let world = World::with_many(1);
            world
                .stand_in
                .fault(step, When::Times(2), Fault::Errcode(code));
            world.run(["files"]).assert_success();
            assert_eq!(world.count(step), 3);
            let world = World::with_many(1);
            world
                .stand_in
                .fault(step, When::Always, Fault::Errcode(code));
            let ran = world.run(["--retries", "1", "files"]);
            ran.assert_failure(
                1,
                &[&format!("errcode {code} "), "try again", "(tried 2 times)"],
            );
        },
    );
}

/// Refusals that every other file would meet, too, and words of what they tell.
const STOPS: [(i64, &str, &[&str]); 25] = [
    (45009, "", &["quota", "midnight"]),
    (45009, "SYS_ERR", &["quota", "midnight"]), // names count for links alone
    (-501003, "", &["quota", "plan"]),
    (-501015, "", &["quota of reads", "plan"]),
    (-501016, "", &["quota of writes", "plan"]),
    (-501017, "", &["storage is full"]),
    (-501018, "", &["arrears", "console"]),
    (-501000, "", &["`env`", "console"]),
    (-501005, "", &["`env`", "console"]),
    (-501005, "INVALID_ENV", &["`env`", "its state"]),
    (-501009, "", &["`env`", "console"]),
    (-601027, "", &["`env`", "console"]),
    (-501007, "env not exists", &["`env`", "console"]),
    (-501007, "INVALID_ENV: no such", &["`env`", "console"]),
    (40097, "invalid request: INVALID_ENV", &["`env`", "console"]),
    (50002, "", &["frozen", "notices"]),
    (48004, "", &["banned", "notices"]),
    (48001, "", &["permissions"]),
    (85088, "", &["CloudRun"]),
    (61004, "access clientip", &["whitelist", "address"]),
    (40164, "invalid ip 1.2.3.4", &["whitelist", "address"]),
    (89501, "", &["administrator", "confirm"]),
    (89503, "", &["administrator", "confirm"]),
    (89506, "", &["administrator", "in a day"]),
    (89507, "", &["administrator", "in an hour"]),
];

#[test]
fn an_errcode_that_every_file_would_meet_is_told_once_and_stops_the_run() {
    let cases = STOPS
        .iter()
        .flat_map(|case| [1, 8].map(|jobs| (jobs, case)));
    side_by_side(
        cases.map(|case| (format!("{case:?}"), case)),
        |(jobs, (code, errmsg, words))| {
            let world = World::with_many(30);
            let refuse = Fault::refusal(*code, errmsg);
            world.stand_in.fault(Step::Info, When::Always, refuse);
            let ran = world.run(["-j", &jobs.to_string(), "files"]);
            let told = format!("error: 获取文件上传链接失败: errcode {code} ({errmsg}");
            assert_stopped(&ran, &[&told], 30);
            ran.assert_failure(1, words);
            assert!(world.count(Step::Info) <= 2 * jobs);
        },
    );
}

#[test]
fn an_errcode_that_every_file_would_meet_stops_the_run_at_the_links_too() {
    side_by_side(
        STOPS.iter().map(|case| (format!("{case:?}"), case)),
        |(code, errmsg, words)| {
            let world = World::with_many(1);
            let refuse = Fault::refusal(*code, errmsg);
            world.stand_in.fault(Step::Link, When::Always, refuse);
            let ran = world.run(["files"]);
            ran.assert_failure(1, words);
            ran.assert_failure(1, &["the run was stopped", &file_id("000"), "1 failed"]);
            assert_eq!(world.count(Step::Link), 1);
        },
    );
}

#[test]
fn bad_arguments_of_one_file_stop_nothing() {
    for code in [
        -501007, 40097, -503002, -503003, -501019, -501020, -501021, -601002,
    ] {
        let world = World::with_many(10);
        let refuse = Fault::refusal(code, "invalid parameters");
        world.stand_in.fault(Step::Info, key("000"), refuse);
        let ran = world.run(["files"]);
        ran.assert_failure(1, &["error: files/000: ", "9 uploaded (9 B), 1 failed"]);
        assert!(!ran.stderr.contains("tried"), "{}", ran.stderr);
    }
}

// ---- What is the same for all -------------------------------------------------------------------

#[test]
fn eight_files_that_failed_alike_count_as_failed_and_are_told_once() {
    for jobs in ["1", "8", "64"] {
        let world = World::with_many(100);
        let refuse = Fault::refusal(40097, "invalid parameters");
        world.stand_in.fault(Step::Info, When::Always, refuse);
        let ran = world.run(["-j", jobs, "files"]);
        let stopped = "\nerror: 8 files failed before any succeeded; the run was stopped\n";
        let counts = "0 uploaded (0 B), 8 failed, 92 not attempted";
        ran.assert_failure(1, &[stopped, counts]);
        assert_eq!(
            ran.stderr.matches("errcode 40097 ").count(),
            1,
            "{}",
            ran.stderr
        );
        let as_above = ran
            .stderr
            .matches(": 获取文件上传链接失败: as above\n")
            .count();
        assert_eq!(
            (as_above, ran.stderr.lines().count()),
            (7, 10),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn eight_links_that_failed_alike_count_as_failed_and_are_told_once() {
    let world = World::with_many(100);
    let arguments = ["--manifest", "sent.jsonl", "files"];
    world.run(arguments).assert_success();
    let refuse = Fault::refusal(40097, "invalid parameters");
    world.stand_in.fault(Step::Link, When::Always, refuse);
    let ran = world.run(arguments);
    assert_eq!(
        ran.stderr.matches("errcode 40097 ").count(),
        1,
        "{}",
        ran.stderr
    );
    let stopped = "\nerror: 8 files failed before any succeeded; the run was stopped\n";
    let counts = "0 uploaded (0 B), 8 failed, 92 not attempted";
    ran.assert_failure(1, &[stopped, counts]);
}

#[test]
fn a_reason_that_differs_is_told_in_full() {
    let world = World::with_many(6);
    let refuse = |request: &Request| {
        let key = request.key.as_deref()?;
        let errmsg = if key < "temp3/003" {
            "one reason"
        } else {
            "another"
        };
        Some(Fault::refusal(40097, errmsg))
    };
    world
        .stand_in
        .fault(Step::Info, When::Always, Fault::custom(refuse));
    let ran = world.run(["-f", "json", "-j", "1", "files"]);
    for (told, times) in [("(one reason", 1), ("(another", 1), (": as above\n", 4)] {
        assert_eq!(ran.stderr.matches(told).count(), times, "{}", ran.stderr);
    }
    // JSON is read line by line, so each line has it all.
    for line in ran.json() {
        assert!(
            line["error"].as_str().unwrap().contains("errcode 40097 ("),
            "{line}"
        );
    }
}
