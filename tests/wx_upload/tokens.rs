//! Access tokens: all threads and runs share one. A refused token is renewed once, and saved at
//! once.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::faults::stage;
use crate::harness::{
    Gate, PATIENCE, World, key, not_on_windows, now, read_line, shown, side_by_side,
};
use stand_in::{APPID, Fault, Request, SECRET, Step, When};

const API: [Step; 3] = [Step::Token, Step::Info, Step::Link];

fn token_of(request: &Request) -> String {
    request
        .target
        .split_once("access_token=")
        .map(|(_, token)| token.to_owned())
        .unwrap_or_default()
}

fn errors(stderr: &str) -> Vec<&str> {
    stderr
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect()
}

// ---- A token that is refused --------------------------------------------------------------------

#[test]
fn a_refused_token_is_renewed_once_however_many_threads_notice() {
    let codes = [40001, 40014, 41001, 42001];
    let cases = codes
        .iter()
        .flat_map(|&code| ["8", "64"].map(|jobs| (code, jobs)));
    let cases = cases.flat_map(|case| {
        [Step::Info, Step::Link].map(|step| (format!("{case:?} at {step:?}"), (case, step)))
    });
    side_by_side(cases, |((code, jobs), step)| {
        let world = World::with_many(100);
        world.save_token("old-token", json!({}));
        let refuse = move |request: &Request| {
            (token_of(request) == "old-token").then_some(Fault::Errcode(code))
        };
        world
            .stand_in
            .fault(step, When::Always, Fault::custom(refuse));
        world
            .run(["--retries", "0", "-j", jobs, "files"])
            .assert_success();
        assert_eq!(
            (
                world.count(Step::Token),
                world.keys().len(),
                world.count(Step::Upload)
            ),
            (1, 100, 100)
        );
        assert_eq!(
            world.config()["access_token"],
            world.stand_in.tokens_issued()[0]
        );
        world.assert_proper();
    });
}

#[test]
fn a_token_that_another_user_of_the_account_kills_is_renewed() {
    let world = World::with_many(40);
    world.save_token("old-token", json!({}));
    world.stand_in.kill_tokens();
    world
        .run(["--retries", "0", "-j", "16", "files"])
        .assert_success();
    assert_eq!((world.count(Step::Token), world.keys().len()), (1, 40));
    world.assert_proper();
}

#[test]
fn a_late_refusal_of_the_old_token_does_not_count_against_the_new_one() {
    let world = World::with_many(2);
    world.save_token("old-token", json!({}));
    let refuse = |reply: &mut Value| {
        *reply = json!({ "errcode": 40001, "errmsg": "invalid credential" });
    };
    let [first_refusal, late_refusal, new_token] = [(); 3].map(|()| Gate::default());
    let refused_first = first_refusal.hold_and(refuse);
    let refused_late = late_refusal.hold_and(refuse);
    let held = new_token.hold();
    let answer = move |request: &Request| {
        let is_first_file = request.key.as_deref() == Some("temp3/000");
        match (is_first_file, &*token_of(request)) {
            (true, "old-token") => Some(refused_first.clone()),
            (false, "old-token") => Some(refused_late.clone()),
            (true, _) => Some(held.clone()),
            (false, _) => None,
        }
    };
    world
        .stand_in
        .fault(Step::Info, When::Always, Fault::custom(answer));
    let child = world.start(["--retries", "0", "-j", "2", "files"]);
    // Both files ask with the old token. The first one is refused, and asks with a new token.
    assert!(world.stand_in.wait_for(Step::Info, 2, PATIENCE));
    first_refusal.open();
    assert!(world.stand_in.wait_for(Step::Info, 3, PATIENCE));
    // No call has worked with the new token yet when the old one is refused for the second file.
    late_refusal.open();
    assert!(world.stand_in.wait_for(Step::Info, 4, PATIENCE));
    new_token.open();
    world.wait(child).assert_success();
    assert_eq!((world.count(Step::Token), world.count(Step::Info)), (1, 4));
}

#[test]
fn a_token_that_dies_again_later_is_renewed_again() {
    for jobs in ["1", "8"] {
        let world = World::with_many(90);
        let (dead, seen) = (
            Mutex::new(HashSet::new()),
            Mutex::new(HashMap::<String, usize>::new()),
        );
        // Each of the first two tokens dies after 30 calls.
        let refuse = move |request: &Request| {
            let (mut dead, mut seen) = (dead.lock().unwrap(), seen.lock().unwrap());
            let uses = seen.entry(token_of(request)).or_default();
            *uses += 1;
            if *uses > 30 && dead.len() < 2 {
                dead.insert(token_of(request));
            }
            dead.contains(&token_of(request))
                .then_some(Fault::Errcode(40001))
        };
        world.stand_in.set_token_grace(Duration::from_secs(300));
        world
            .stand_in
            .fault(Step::Info, When::Always, Fault::custom(refuse));
        world
            .run(["--retries", "0", "-j", jobs, "files"])
            .assert_success();
        assert_eq!((world.count(Step::Token), world.keys().len()), (3, 90));
    }
}

#[test]
fn a_second_refusal_stops_the_run_with_one_message() {
    let cases = ["1", "8", "64"]
        .into_iter()
        .flat_map(|jobs| [true, false].map(|saved| (jobs, saved)));
    side_by_side(
        cases.map(|case| (format!("{case:?}"), case)),
        |(jobs, saved)| {
            let world = World::with_many(64);
            if saved {
                world.save_token("old-token", json!({}));
            }
            world
                .stand_in
                .fault(Step::Info, When::Always, Fault::Errcode(40001));
            let ran = world.run(["-j", jobs, "files"]);
            ran.assert_failure(
                1,
                &[
                    "获取文件上传链接失败: errcode 40001 ",
                    "a new one did not help",
                    "stable_token",
                ],
            );
            assert_eq!(errors(&ran.stderr).len(), 1, "{}", ran.stderr);
            assert!(
                ran.summary()
                    .starts_with("0 uploaded (0 B), 64 not attempted"),
                "{}",
                ran.stderr
            );
            assert_eq!(
                (world.count(Step::Token), world.count(Step::Upload)),
                (2 - usize::from(saved), 0)
            );
        },
    );
}

#[test]
fn a_token_that_only_links_refuse_is_not_renewed_for_ever() {
    // Each call costs the account one of its 2,000 tokens a day.
    let world = World::with_many(300);
    world.stand_in.set_token_grace(Duration::from_secs(300));
    // The refusal comes late, and in the meantime the new token works for uploads.
    let refuse = |reply: &mut Value| {
        thread::sleep(Duration::from_millis(50));
        *reply = json!({ "errcode": 40001, "errmsg": "invalid credential" });
    };
    world
        .stand_in
        .fault(Step::Link, When::Always, Fault::edit(refuse));
    let ran = world.run(["-j", "16", "files"]);
    ran.assert_failure(1, &["获取下载链接失败: errcode 40001 "]);
    assert!(
        world.count(Step::Token) <= 3,
        "{} tokens",
        world.count(Step::Token)
    );
}

// ---- A token that is saved ----------------------------------------------------------------------

#[test]
fn a_new_token_is_saved_before_it_is_used() {
    for step in [Step::Info, Step::Upload, Step::Link] {
        let world = World::with_many(1);
        world.stand_in.fault(step, When::Always, Fault::Hold);
        let child = world.start(["files"]);
        assert!(world.stand_in.wait_for(step, 1, PATIENCE));
        let config = world.config();
        assert_eq!(config["access_token"], world.stand_in.tokens_issued()[0]);
        assert_eq!(config["expires_in"], 7200);
        let age = now() - config["create_time"].as_i64().unwrap();
        assert!((0..60).contains(&age), "{age}");
        world.stand_in.open_gate();
        world.wait(child).assert_success();
    }
}

#[test]
fn a_saved_token_survives_a_run_that_fails_or_is_killed() {
    let world = World::with_many(1);
    world
        .stand_in
        .fault(Step::Info, When::Once, Fault::status(400, &[], ""));
    world.run(["files"]).assert_failure(1, &["HTTP 400"]);
    world
        .stand_in
        .fault(Step::Info, When::Once, Fault::Errcode(85088));
    world.run(["files"]).assert_failure(1, &["85088"]);
    world
        .stand_in
        .fault(Step::Upload, When::Once, Fault::Silence);
    let mut child = world.start(["files"]);
    assert!(world.stand_in.wait_for(Step::Upload, 1, PATIENCE));
    child.kill().unwrap();
    child.wait().unwrap();
    world.run(["files"]).assert_success();
    assert_eq!(world.count(Step::Token), 1);
    assert_eq!(
        world.config()["access_token"],
        world.stand_in.tokens_issued()[0]
    );
}

#[test]
fn a_save_keeps_unknown_keys() {
    let world = World::with_many(1);
    let more = json!({
        "备注": "中文 \"quoted\" \\ \n", "nested": { "z": [1, 2.5, null], "a": true }, "big": u64::MAX,
    });
    world.configure(more.clone());
    let before: Vec<String> = world
        .config()
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    world.run(["files"]).assert_success();
    let config = world.config();
    assert_eq!(
        config
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>(),
        [before, vec!["token_appid".to_owned()]].concat()
    );
    assert!(
        more.as_object()
            .unwrap()
            .iter()
            .all(|(key, value)| &config[key] == value),
        "{config}"
    );
    let text = fs::read_to_string(world.path("config.json")).unwrap();
    assert!(
        text.contains("\n    \"备注\": \"中文 ") && text.contains("\n        \"z\": ["),
        "{text}"
    );
    assert_eq!(
        (&config["appid"], &config["secret"]),
        (&json!(APPID), &json!(SECRET))
    );
}

/// Kills a run this long after its request for a token. Checks that the config is whole, and returns
/// whether it has the new token.
fn kill_during_a_save(world: &World, delay: Duration) -> bool {
    let keys = |config: &Value| -> Vec<String> {
        let config = config.as_object().unwrap();
        config.keys().cloned().collect()
    };
    let old = json!({ "create_time": 1, "expires_in": 7200, "access_token": "old-token", "token_appid": null, "备注": "留着" });
    world.configure(old);
    let keys_before = keys(&world.config());
    let tokens = world.count(Step::Token);
    let mut child = world.start(["files"]);
    assert!(world.stand_in.wait_for(Step::Token, tokens + 1, PATIENCE));
    thread::sleep(delay);
    child.kill().unwrap();
    child.wait().unwrap();
    let config = world.config();
    assert_eq!(keys(&config), keys_before);
    assert_eq!(config["备注"], "留着");
    let is_new = config["access_token"] != "old-token";
    if is_new {
        let issued = world.stand_in.tokens_issued();
        assert_eq!(config["access_token"], *issued.last().unwrap());
    }
    assert_eq!(config["create_time"] == 1, !is_new);
    is_new
}

#[test]
fn a_kill_at_any_moment_of_the_save_leaves_a_whole_config() {
    if not_on_windows("permissions") {
        return;
    }
    const KILLS: usize = 25;
    let worlds = ["a", "b", "c", "d"].map(|name| (name.to_owned(), World::with_many(1)));
    side_by_side(worlds, |world| {
        let late = Fault::Delay(Duration::from_millis(5));
        world.stand_in.fault(Step::Token, When::Always, late);
        // The delay becomes longer after a kill before the save, and shorter after a kill that came
        // later. So most kills are close to the save, even on a slow machine.
        let mut delay = Duration::from_millis(10);
        let mut kills = [0, 0];
        while kills.contains(&0) || kills.iter().sum::<usize>() < KILLS {
            let is_new = kill_during_a_save(&world, delay);
            kills[usize::from(is_new)] += 1;
            delay = if is_new { delay * 2 / 3 } else { delay * 3 / 2 };
            delay = delay.max(Duration::from_micros(100));
            let all = kills.iter().sum::<usize>();
            assert!(all < 10 * KILLS, "before and after the save: {kills:?}");
        }
        // A killed run may leave a file behind. It does not disturb, and nobody else can read it.
        world.run(["files"]).assert_success();
        for entry in fs::read_dir(world.dir.path()).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let is_left = name.starts_with("config.json.");
            assert!(
                is_left || ["config.json", "files"].contains(&&*name),
                "{name}"
            );
            #[cfg(unix)]
            if is_left {
                use std::os::unix::fs::PermissionsExt;
                assert_eq!(
                    entry.metadata().unwrap().permissions().mode() & 0o777,
                    0o600
                );
            }
        }
    });
}

// ---- Several runs --------------------------------------------------------------------------

#[test]
fn ten_runs_at_once_fetch_one_token() {
    let world = World::with_many(1);
    world.stand_in.fault(Step::Token, When::Always, Fault::Hold);
    let start = |folder: usize| world.start(["--to", &folder.to_string(), "files"]);
    let first = start(0);
    assert!(world.stand_in.wait_for(Step::Token, 1, PATIENCE));
    let mut others: Vec<_> = (1..10).map(start).collect();
    for other in &mut others {
        let told = read_line(other.stderr.as_mut().unwrap());
        assert!(told.starts_with("note: waiting for another run"), "{told}");
    }
    assert_eq!(world.count(Step::Token), 1);
    world.stand_in.open_gate();
    world.wait(first).assert_success();
    for other in others {
        world.wait(other).assert_success();
    }
    assert_eq!((world.count(Step::Token), world.keys().len()), (1, 10));
    world.assert_proper();
}

#[test]
fn two_runs_with_the_same_dead_token_renew_it_once() {
    let world = World::with_many(1);
    world.save_token("old-token", json!({}));
    world.stand_in.kill_tokens();
    world
        .stand_in
        .fault(Step::Info, When::Times(2), Fault::Hold);
    let children = [
        world.start(["files"]),
        world.start(["files", "--to", "other"]),
    ];
    assert!(world.stand_in.wait_for(Step::Info, 2, PATIENCE));
    world.stand_in.open_gate();
    for child in children {
        world.wait(child).assert_success();
    }
    assert_eq!((world.count(Step::Token), world.keys().len()), (1, 2));
    world.assert_proper();
}

#[cfg(unix)]
#[test]
fn a_config_that_is_a_link_is_locked_and_replaced_where_it_really_is() {
    let world = World::with_many(1);
    fs::create_dir(world.path("real")).unwrap();
    fs::rename(world.path("config.json"), world.path("real/config.json")).unwrap();
    std::os::unix::fs::symlink("real/config.json", world.path("config.json")).unwrap();
    world.stand_in.fault(
        Step::Token,
        When::Always,
        Fault::Delay(Duration::from_millis(300)),
    );
    let children = [
        world.start(["files"]),
        world.start(["files", "-c", "real/config.json", "--to", "other"]),
    ];
    for child in children {
        world.wait(child).assert_success();
    }
    assert_eq!(world.count(Step::Token), 1);
    assert!(world.path("config.json").is_symlink());
    assert_eq!(
        world.config()["access_token"],
        world.stand_in.tokens_issued()[0]
    );
}

// ---- Failures that stop the run -------------------------------------------------------------------------

/// Words of the advice for each errcode.
const HINTS: &[(i64, &[&str])] = &[
    (-1, &["busy", "try again"]),
    (-1000, &["busy", "try again"]),
    (-501001, &["busy", "try again"]),
    (-501002, &["busy", "try again"]),
    (40014, &["token", "new one"]),
    (41001, &["token", "new one"]),
    (42001, &["token", "new one"]),
    (40013, &["`appid`"]),
    (41002, &["`appid`"]),
    (40125, &["`secret`"]),
    (41004, &["`secret`"]),
    (
        40164,
        &[
            "public address",
            "whitelist",
            "mp.weixin.qq.com",
            "开发设置",
        ],
    ),
    (89503, &["administrator", "WeChat"]),
    (40243, &["frozen", "unfreeze", "mp.weixin.qq.com"]),
    (40097, &["`env`", "cloud name"]),
    (40101, &["`env`", "cloud name"]),
    (47001, &["`env`", "cloud name"]),
    (-501007, &["`env`", "cloud name"]),
    (-501005, &["`env`", "console"]),
    (40002, &["bug"]),
    (43002, &["bug"]),
    (44002, &["bug"]),
    (45009, &["quota", "midnight", "Beijing"]),
    (-501003, &["quota", "plan"]),
    (48001, &["account", "permissions"]),
    (85088, &["CloudRun", "`env`", "`appid`"]),
    (99_999, &["全局错误码", "developers.weixin.qq.com"]),
    (-99_999, &["云开发错误码", "developers.weixin.qq.com"]),
];

#[test]
fn each_known_errcode_comes_with_advice() {
    let cases = HINTS.iter().flat_map(|hint| API.map(|step| (step, hint)));
    side_by_side(
        cases.map(|case| (format!("{case:?}"), case)),
        |(step, (code, words))| {
            let world = World::with_many(1);
            world
                .stand_in
                .fault(step, When::Always, Fault::Errcode(*code));
            let ran = world.run(["--retries", "0", "files"]);
            ran.assert_failure(1, &[stage(step), &format!("errcode {code} (injected for ")]);
            ran.assert_failure(1, words);
        },
    );
}

#[test]
fn a_run_that_gets_no_token_is_stopped() {
    let faults = [
        40013, 40125, 40164, 40243, 45009, 48001, 85088, 40001, 99_999,
    ]
    .map(|code| (format!("errcode {code}"), Fault::Errcode(code)));
    let others = [
        ("HTTP 403".to_owned(), Fault::status(403, &[], "")),
        ("HTTP 500".to_owned(), Fault::status(500, &[], "")),
    ];
    side_by_side(
        faults
            .into_iter()
            .chain(others)
            .map(|case| (case.0.clone(), case)),
        |(words, fault)| {
            let world = World::with_many(30);
            world.stand_in.fault(Step::Token, When::Always, fault);
            let ran = world.run(["--retries", "0", "files"]);
            ran.assert_failure(1, &["error: 获取access token失败: ", &words]);
            assert_eq!(errors(&ran.stderr).len(), 1, "{}", ran.stderr);
            assert!(
                ran.summary()
                    .starts_with("0 uploaded (0 B), 30 not attempted"),
                "{}",
                ran.stderr
            );
            assert_eq!(world.requests(), 1);
        },
    );
}

#[test]
fn an_errcode_that_concerns_all_files_stops_the_run_at_uploadfile() {
    let cases = [45009, 48001, 85088]
        .into_iter()
        .flat_map(|code| [1, 8].map(|jobs| (code, jobs)));
    side_by_side(
        cases.map(|case| (format!("{case:?}"), case)),
        |(code, jobs)| {
            let world = World::with_many(30);
            let sent = Mutex::new(0);
            let refuse = move |_: &Request| {
                *sent.lock().unwrap() += 1;
                (*sent.lock().unwrap() > 10).then_some(Fault::Errcode(code))
            };
            world
                .stand_in
                .fault(Step::Info, When::Always, Fault::custom(refuse));
            let ran = world.run(["-j", &jobs.to_string(), "files"]);
            ran.assert_failure(
                1,
                &[&format!("error: 获取文件上传链接失败: errcode {code} ")],
            );
            assert_eq!(errors(&ran.stderr).len(), 1, "{}", ran.stderr);
            // Those that waited for their turn are not sent any more.
            let uploaded = world.keys().len();
            assert!(uploaded <= 10, "{}", ran.stderr);
            let summary = format!(
                "{uploaded} uploaded ({uploaded} B), {} not attempted",
                30 - uploaded
            );
            assert!(ran.summary().starts_with(&summary), "{}", ran.stderr);
            assert_eq!(ran.lines().len(), uploaded);
            // The other threads may have asked at the same time, but not after that.
            assert!(
                (11..=10 + 2 * jobs).contains(&world.count(Step::Info)),
                "{}",
                world.count(Step::Info)
            );
            world.assert_proper();
        },
    );
}

#[test]
fn a_run_that_the_links_stop_loses_no_upload() {
    side_by_side(
        [45009, 48001, 85088].map(|code| (code.to_string(), code)),
        |code| {
            let world = World::with_many(30);
            world.stand_in.fault(Step::Link, When::Nth(1), Fault::Hold);
            world
                .stand_in
                .fault(Step::Upload, When::Nth(2), Fault::Hold);
            world
                .stand_in
                .fault(Step::Link, When::Always, Fault::Errcode(code));
            let child = world.start(["-j", "1", "files"]);
            assert!(world.stand_in.wait_for(Step::Link, 1, PATIENCE));
            world.stand_in.open_gate();
            let ran = world.wait(child);
            let stopped = format!("获取下载链接失败: errcode {code} ");
            assert_eq!(ran.stderr.matches(&stopped).count(), 1, "{}", ran.stderr);
            ran.assert_failure(1, &[]);
            let uploaded = world.keys();
            assert!(ran.lines().len() < uploaded.len());
            // Each uploaded file has a line, or an error names its file_id.
            for key in &uploaded {
                let file_id = &world.stand_in.objects()[key].file_id;
                assert!(
                    ran.stdout.contains(file_id)
                        || ran.stderr.contains(&format!("uploaded, as {file_id}")),
                    "{}",
                    ran.stderr
                );
            }
            let [done, failed] = [ran.lines().len(), uploaded.len() - ran.lines().len()];
            let counts = ["uploaded", "failed", "not attempted"].map(|ended| ran.count(ended));
            let expected = [done, failed, 30 - uploaded.len()];
            assert_eq!(counts, expected, "{}", ran.stderr);
        },
    );
}

// ---- The kinds of authorisation -----------------------------------------------------------------

#[test]
fn a_stable_token_is_asked_for_as_the_service_wants_it() {
    let world = World::with_many(3);
    world.configure(json!({ "auth": "stable_token" }));
    world.run(["files"]).assert_success();
    let asked = world.stand_in.requests(Step::Token);
    assert_eq!(
        (asked.len(), &*asked[0].method, &*asked[0].target),
        (1, "POST", "/cgi-bin/stable_token")
    );
    let body = json!({ "grant_type": "client_credential", "appid": APPID, "secret": SECRET, "force_refresh": false });
    assert_eq!(asked[0].json(), body);
    assert_eq!(
        world.config()["access_token"],
        world.stand_in.tokens_issued()[0]
    );
    world.assert_proper();
}

#[test]
fn a_plain_token_is_asked_for_as_the_script_did() {
    let world = World::with_many(3);
    world.run(["files"]).assert_success();
    let asked = world.stand_in.requests(Step::Token);
    let target =
        format!("/cgi-bin/token?grant_type=client_credential&appid={APPID}&secret={SECRET}");
    assert_eq!(
        (asked.len(), &*asked[0].method, &asked[0].target),
        (1, "GET", &target)
    );
    world.assert_proper();
}

#[test]
fn without_authorisation_no_token_is_asked_for_or_sent() {
    let world = World::with_many(3);
    world.stand_in.auth_none(true);
    world.configure(json!({
        "auth": "none", "appid": null, "secret": null,
        "access_token": "left-over", "create_time": 1, "expires_in": 7200,
    }));
    let config = world.config();
    world.run(["files"]).assert_success();
    assert_eq!(
        (world.count(Step::Token), world.keys().len(), world.config()),
        (0, 3, config)
    );
    assert!(
        world
            .stand_in
            .requests(Step::Info)
            .iter()
            .all(|request| request.target == "/tcb/uploadfile")
    );
    world.assert_proper();

    world
        .stand_in
        .fault(Step::Info, When::Always, Fault::Errcode(40001));
    let ran = world.run(["files"]);
    ran.assert_failure(1, &["errcode 40001", "`auth` is none", "开放接口服务"]);
    assert_eq!(world.count(Step::Token), 0);
}

#[test]
fn a_token_with_characters_that_no_url_has_is_encoded() {
    let odd = "a b&c=d#e?%41+é/中\"";
    let world = World::with_many(1);
    world.stand_in.fault(
        Step::Token,
        When::Always,
        Fault::edit(move |reply: &mut Value| reply["access_token"] = odd.into()),
    );
    world.run(["files"]).assert_failure(1, &["errcode 40001"]);
    let target = &world.stand_in.requests(Step::Info)[0].target;
    let query = target
        .strip_prefix("/tcb/uploadfile?access_token=")
        .unwrap();
    assert!(
        query.is_ascii() && !query.contains(['&', '#', '=', '"', ' ']) && query.contains("%2541"),
        "{target}"
    );
    assert_eq!(world.config()["access_token"], odd);
}

#[test]
fn a_token_of_a_short_life_serves_more_than_one_call() {
    // stable_token states the seconds that are left, which can be few.
    let world = World::with_many(20);
    world.configure(json!({ "auth": "stable_token" }));
    world.stand_in.set_expires_in(45);
    world.run(["files"]).assert_success();
    assert_eq!(world.count(Step::Token), 1);
}

#[test]
fn a_token_that_ends_during_a_run_is_renewed_before_it_is_refused() {
    // A token is used until 60 s before its end. The replies to the first calls come after that.
    let world = World::with_many(4);
    world.configure(json!({ "access_token": "old-token", "create_time": now(), "expires_in": 62 }));
    world.stand_in.accept_token("old-token");
    // Two threads ask at the same time.
    let delay = Fault::Delay(Duration::from_secs(4));
    world.stand_in.fault(Step::Info, When::Times(2), delay);
    world.run(["-j", "1", "files"]).assert_success();
    let calls = world.stand_in.requests(Step::Info);
    assert_eq!(calls.len(), 4);
    for call in &calls[2..] {
        assert_ne!(token_of(call), "old-token");
    }
    assert_eq!(world.count(Step::Token), 1);
    world.assert_proper();
}

#[test]
fn a_stable_token_that_is_refused_and_given_again_is_asked_for_once() {
    let world = World::with_many(20);
    world.configure(json!({ "auth": "stable_token" }));
    world.run(["files"]).assert_success();
    world
        .stand_in
        .fault(Step::Info, When::Always, Fault::Errcode(40001));
    let before = world.count(Step::Token);
    let ran = world.run(["files"]);
    ran.assert_failure(1, &["errcode 40001 ", "20 not attempted"]);
    assert_eq!(world.count(Step::Token), before + 1);
}

#[test]
fn a_wrong_secret_is_reported_without_advice_about_tokens() {
    for auth in ["token", "stable_token"] {
        let world = World::with_many(1);
        world.configure(json!({ "auth": auth, "secret": "wrong" }));
        let ran = world.run(["files"]);
        let help = "check `secret`: it is wrong, or is not that of this `appid`";
        ran.assert_failure(1, &["error: 获取access token失败: errcode 40001 ", help]);
        assert!(!ran.stderr.contains("stable_token"), "{}", ran.stderr);
        assert_eq!(world.requests(), 1);
    }
}

#[test]
fn a_user_of_stable_tokens_is_not_advised_to_use_them() {
    let world = World::with_many(1);
    world.configure(json!({ "auth": "stable_token" }));
    world
        .stand_in
        .fault(Step::Info, When::Always, Fault::Errcode(40001));
    let ran = world.run(["files"]);
    ran.assert_failure(1, &["errcode 40001 ", "a new one did not help", "`appid`"]);
    assert!(!ran.stderr.contains("stable_token"), "{}", ran.stderr);
}

#[test]
fn the_errmsg_of_a_4xx_is_shown_without_secrets() {
    for step in [Step::Token, Step::Info, Step::Link] {
        let world = World::with_many(1);
        let refuse = move |request: &Request| {
            let errmsg = format!("no such route: {}", request.target);
            let body = json!({ "errcode": 7, "errmsg": errmsg }).to_string();
            Some(Fault::status(404, &[], &body))
        };
        world
            .stand_in
            .fault(step, When::Always, Fault::custom(refuse));
        let ran = world.run(["files"]);
        ran.assert_failure(
            1,
            &["HTTP 404 Not Found: errcode 7 (no such route: /", "***"],
        );
    }
}

#[test]
fn a_run_that_is_stopped_sends_no_refused_file_again() {
    let cases = [
        (
            Fault::cos_error(403, "AccessDenied"),
            "0 uploaded (0 B), 2 failed in ",
        ),
        (
            Fault::cos_error(503, "SlowDown"),
            "0 uploaded (0 B), 1 failed, 1 not",
        ),
    ];
    for (refusal, counts) in cases {
        let world = World::with_many(2);
        let (has_begun, is_stopped) = (Gate::default(), Gate::default());
        let (begun, stopped) = (has_begun.clone(), is_stopped.clone());
        let refuse = Fault::after_body(move |_| {
            begun.open();
            stopped.wait();
            Some(refusal.clone())
        });
        world.stand_in.fault(Step::Upload, key("001"), refuse);
        let stop = has_begun.hold_and(|reply| {
            *reply = json!({ "errcode": 45009, "errmsg": "reach max api daily quota limit" });
        });
        world.stand_in.fault(Step::Link, When::Always, stop);
        let mut child = world.start(["-j", "2", "files"]);
        let stopped = read_line(child.stderr.as_mut().unwrap());
        assert!(
            stopped.contains(&shown("files/000: 获取下载链接失败: errcode 45009")),
            "{stopped}"
        );
        is_stopped.open();
        let ran = world.wait(child);
        assert_eq!(world.count(Step::Upload), 2, "{}", ran.stderr);
        ran.assert_failure(1, &[counts]);
    }
}

#[test]
fn a_run_that_is_stopped_asks_for_links_with_all_its_tries() {
    let world = World::with_many(30);
    let all_but_one = Gate::default();
    let refuse = all_but_one.hold_and(|reply| *reply = json!({ "errcode": 45009 }));
    world.stand_in.fault(Step::Info, key("029"), refuse);
    // The run asks for the other links when it has been stopped. These calls fail at first.
    let second_file = Gate::default();
    world
        .stand_in
        .fault(Step::Info, key("001"), second_file.hold());
    world.stand_in.fault(Step::Link, When::Nth(1), Fault::Hold);
    for nth in [2, 3] {
        let busy = Fault::status(503, &[], "");
        world.stand_in.fault(Step::Link, When::Nth(nth), busy);
    }
    let child = world.start(["-j", "1", "files"]);
    assert!(world.stand_in.wait_for(Step::Link, 1, PATIENCE));
    second_file.open();
    assert!(world.stand_in.wait_for(Step::Upload, 29, PATIENCE));
    all_but_one.open();
    world.stand_in.open_gate();
    let ran = world.wait(child);
    ran.assert_failure(1, &["errcode 45009 ", "29 uploaded (29 B), "]);
    assert_eq!(ran.lines().len(), 29);
}

#[test]
fn max_age_goes_with_each_file_whose_link_is_asked_for() {
    for (max_age, sent) in [(json!(null), json!(null)), (json!(86_400), json!(86_400))] {
        let world = World::with_many(2);
        world.configure(json!({ "max_age": max_age }));
        world.run(["files"]).assert_success();
        for request in world.stand_in.requests(Step::Link) {
            for entry in request.json()["file_list"].as_array().unwrap() {
                assert_eq!(entry["max_age"], sent, "{entry}");
            }
        }
        world.assert_proper();
    }
    for odd in [json!(0), json!(-1), json!(1.5), json!("7200"), json!([])] {
        let world = World::with_many(1);
        world.configure(json!({ "max_age": odd }));
        let ran = world.run(["files"]);
        world.assert_refused(&ran, &["config.json: `max_age` must be a whole number"]);
    }
}

#[test]
fn the_error_of_a_link_hides_the_secret_too() {
    let world = World::with_many(1);
    let tell = |reply: &mut Value| {
        reply["file_list"][0]["status"] = json!(7);
        reply["file_list"][0]["errmsg"] = json!(format!("it was {SECRET}"));
    };
    world
        .stand_in
        .fault(Step::Link, When::Always, Fault::edit(tell));
    world
        .run(["files"])
        .assert_failure(1, &["status 7: it was ***"]);
}
