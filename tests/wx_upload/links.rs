//! Links: what the API says about each file, objects that it does not find yet, and fresh links for
//! files that are in the cloud already.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use stand_in::{ENV, Fault, Request, SECRET, Step, When};

use crate::harness::{World, file_id, side_by_side};

/// Answers for the file with this name with `status` and `errmsg`, and without a link.
fn refuse_link(name: &str, status: i64, errmsg: &str) -> Fault {
    let (id, errmsg) = (file_id(name), errmsg.to_owned());
    Fault::edit(move |reply| {
        for entry in reply["file_list"].as_array_mut().into_iter().flatten() {
            if entry["fileid"] == id {
                entry["status"] = status.into();
                entry["errmsg"] = errmsg.as_str().into();
                entry["download_url"] = "".into();
            }
        }
    })
}

/// The names of the files in each call for links.
fn asked(world: &World) -> Vec<Vec<String>> {
    let name = |entry: &Value| {
        let file_id = entry["fileid"].as_str().unwrap();
        file_id.rsplit('/').next().unwrap().to_owned()
    };
    let calls = world.stand_in.requests(Step::Link);
    calls
        .iter()
        .map(|call| {
            call.json()["file_list"]
                .as_array()
                .unwrap()
                .iter()
                .map(name)
                .collect()
        })
        .collect()
}

// ---- What the API says --------------------------------------------------------------------------

#[test]
fn an_object_that_is_not_found_right_after_its_upload_is_asked_for_again() {
    let world = World::with_files(&["a.txt"]);
    world.stand_in.hide_new_objects(2);
    world.run(["a.txt"]).assert_success();
    assert_eq!((world.count(Step::Link), world.count(Step::Upload)), (3, 1));
    let world = World::with_files(&["a.txt"]);
    world.stand_in.hide_new_objects(9);
    let ran = world.run(["--retries", "1", "a.txt"]);
    let told = "error: a.txt: 获取下载链接失败: COS took the file, but the API does not find it yet \
                (STORAGE_FILE_NONEXIST): for its link, run wx-upload later with the file_id as PATH (tried 2 \
                times); its file_id is cloud://";
    ran.assert_failure(1, &[told]);
    assert_eq!((world.count(Step::Link), world.count(Step::Upload)), (2, 1));
}

#[test]
fn only_the_links_that_are_missing_are_asked_for_again() {
    let world = World::with_files(&["0", "1", "2", "3", "4"]);
    let refused = AtomicUsize::new(0);
    let hide = move |request: &Request| {
        let has_3 = request.json().to_string().contains(&file_id("3"));
        let is_hidden = has_3 && refused.fetch_add(1, Ordering::Relaxed) < 2;
        is_hidden.then(|| refuse_link("3", 1, "STORAGE_FILE_NONEXIST"))
    };
    let hide = Fault::custom(hide);
    world.stand_in.fault(Step::Link, When::Always, hide);
    let ran = world.run(["0", "1", "2", "3", "4"]);
    assert_eq!(ran.assert_success().lines().len(), 5);
    let mut calls = asked(&world);
    calls.retain(|names| names.contains(&"3".to_owned()));
    assert_eq!(calls[1..], [["3"], ["3"]], "{calls:?}");
    assert_eq!(world.count(Step::Upload), 5);
}

#[test]
fn each_link_that_is_asked_for_in_vain_tells_its_tries() {
    let world = World::with_many(20);
    let refuse = Fault::edit(|reply| {
        for entry in reply["file_list"].as_array_mut().unwrap() {
            let is_even = entry["fileid"]
                .as_str()
                .unwrap()
                .ends_with(['0', '2', '4', '6', '8']);
            let errmsg = if is_even {
                "STORAGE_FILE_NONEXIST"
            } else {
                "SYS_ERR"
            };
            entry["status"] = 1.into();
            entry["errmsg"] = errmsg.into();
        }
    });
    world.stand_in.fault(Step::Link, When::Always, refuse);
    let ran = world.run(["--retries", "1", "files"]);
    ran.assert_failure(1, &["20 failed"]);
    let tried = ran.stderr.matches("(tried 2 times)").count();
    assert_eq!(tried, 20, "{}", ran.stderr);
}

#[test]
fn the_errmsg_of_a_link_says_what_happened_whatever_its_status() {
    const MISSING: &str = "STORAGE_FILE_NONEXIST";
    // What the manifest knew is uploaded again if it is gone, and only then.
    let gone = [0, 1, -1, -503003].map(|status| (status, MISSING, true));
    let there = [
        (1, "SYS_ERR", false),
        (-1, "SYS_ERR", false),
        (-501001, "resource system error SYS_ERR", false),
        (1, "resource system error", false),
        (45009, "SYS_ERR", false), // the name counts, or it would stop the run
    ];
    let in_the_words_of_the_sdk = [
        (-503003, "storage file not exists", true),
        (1, "[-503003] storage file not exists", true),
    ];
    // Codes of the table that pass by themselves, whatever is said about them.
    let passing = [-1, -501001, -501002, -501004, -503001, -601008, 45011];
    let there = there.into_iter().chain(in_the_words_of_the_sdk);
    let there = there.chain(passing.map(|status| (status, "", false)));
    // A user would see the first 300 characters of it only.
    let long = format!("{} {MISSING}", "resp ".repeat(100));
    let cases = gone.into_iter().chain(there).chain([(1, &*long, true)]);
    side_by_side(
        cases.map(|case| (format!("{case:?}"), case)),
        |(status, errmsg, is_gone)| {
            let world = World::with_files(&["a.txt"]);
            let arguments = ["--manifest", "sent.jsonl", "a.txt"];
            world.run(arguments).assert_success();
            world
                .stand_in
                .fault(Step::Link, When::Once, refuse_link("a.txt", status, errmsg));
            world.run(arguments).assert_success();
            assert_eq!(world.count(Step::Upload), 1 + usize::from(is_gone));
            assert_eq!(world.count(Step::Link), 3);
        },
    );
}

#[test]
fn a_link_that_is_refused_for_good_is_told_and_neither_asked_for_nor_uploaded_again() {
    let cases = [
        (
            1,
            "STORAGE_EXCEED_AUTHORITY",
            "check the permissions of the storage",
        ),
        (
            -503002,
            "STORAGE_EXCEED_AUTHORITY",
            "check the permissions of the storage",
        ),
        (1, "INVALID_PARAM", "cloud name, and `max_age` if"),
        (1, "", ""),
        (
            -503003,
            "STORAGE_SIGN_PARAM_INVALID",
            "or a signature is wrong",
        ),
        (-503004, "bad signature", "the file's cloud name"),
        (-999_999, "new", "see 云开发错误码"),
        (42001, "access_token expired", ""), // the call itself had a good one
        (7, "something new", ""),
    ];
    side_by_side(
        cases.map(|case| (format!("{case:?}"), case)),
        |(status, errmsg, help)| {
            let world = World::with_files(&["a.txt", "b.txt"]);
            let arguments = ["--manifest", "sent.jsonl", "-j", "1", "a.txt", "b.txt"];
            world.run(arguments).assert_success();
            let calls = world.count(Step::Link);
            world.stand_in.fault(
                Step::Link,
                When::Always,
                refuse_link("a.txt", status, errmsg),
            );
            let ran = world.run(arguments);
            let told = format!("error: a.txt: 获取下载链接失败: status {status}");
            ran.assert_failure(
                1,
                &[
                    &told,
                    errmsg,
                    help,
                    &file_id("a.txt"),
                    "1 unchanged, 1 failed",
                ],
            );
            assert!(!ran.stderr.contains("tried"), "{}", ran.stderr);
            // An earlier run has uploaded it, and nobody knows what is there now.
            assert!(!ran.stderr.contains("is uploaded"), "{}", ran.stderr);
            assert_eq!(world.count(Step::Upload), 2);
            let of_a = asked(&world)[calls..].concat();
            assert_eq!(of_a.iter().filter(|name| *name == "a.txt").count(), 1);
        },
    );
}

#[test]
fn a_code_of_one_link_that_every_file_would_meet_stops_the_run() {
    for (status, help) in [
        (45009, "midnight"),
        (-501005, "`env`"),
        (48001, "may not use"),
    ] {
        let world = World::with_files(&["a.txt"]);
        let arguments = ["--manifest", "sent.jsonl", "a.txt"];
        let refuse = refuse_link("a.txt", status, "no");
        world.stand_in.fault(Step::Link, When::Always, refuse);
        let ran = world.run(arguments);
        let told = format!("error: a.txt: 获取下载链接失败: status {status}: no: ");
        ran.assert_failure(1, &[&told, help, "the file is uploaded, as cloud://"]);
        ran.assert_failure(1, &["as above; the run was stopped\n", ", 1 failed in "]);
        // A file that the manifest knows gets its link in another run.
        let ran = world.run(arguments);
        let told = format!("error: 获取下载链接失败: status {status}: no: ");
        ran.assert_failure(1, &[&told, help, "; the run was stopped\n"]);
        assert_eq!(ran.counts(), "0 uploaded (0 B), 1 not attempted");
    }
}

#[test]
fn a_link_that_holds_the_appsecret_or_the_token_is_refused() {
    const TOKEN: &str = "token-0123456789/+=";
    let encoded = TOKEN.replace('/', "%2F").replace('+', "%2B");
    for secret in [TOKEN, &encoded, SECRET] {
        let world = World::with_files(&["a.txt"]);
        world.save_token(TOKEN, json!({}));
        let url = format!("https://x.example/temp3/a.txt?t={secret}");
        let edit = move |reply: &mut Value| reply["file_list"][0]["download_url"] = json!(url);
        world
            .stand_in
            .fault(Step::Link, When::Always, Fault::edit(edit));
        let ran = world.run(["-f", "json", "a.txt"]);
        let told = "获取下载链接失败: the reply's link holds the AppSecret or the access token";
        ran.assert_failure(1, &[told, &file_id("a.txt")]);
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains(secret));
    }
}

// ---- Fresh links --------------------------------------------------------------------------------

/// A world where `temp3/图 1.png` is in the cloud, and its `file_id`.
fn with_uploaded() -> (World, String) {
    let world = World::with_files(&["图 1.png", "b.txt"]);
    world.run(["图 1.png"]).assert_success();
    (world, file_id("图 1.png"))
}

#[test]
fn a_file_id_gets_a_fresh_link_in_each_format_and_nothing_is_uploaded() {
    let (world, id) = with_uploaded();
    let url = format!("{}/download/temp3/%E5%9B%BE%201.png", world.stand_in.base());
    let json = json!({
        "name": "图 1.png", "path": id, "key": "temp3/图 1.png", "size": null, "file_id": id, "url": url,
    });
    for is_raw in [false, true] {
        world.stand_in.raw_urls(is_raw);
        for (format, line) in [
            ("text", format!("图 1.png\t{url}\t{id}")),
            ("url", url.clone()),
            ("markdown", format!("![图 1.png]({url})")),
            ("json", json.to_string()),
        ] {
            let ran = world.run(["-f", format, &id]);
            assert_eq!(ran.assert_success().lines(), [line]);
            assert_eq!(ran.counts(), "0 uploaded (0 B), 1 link");
        }
    }
    assert_eq!((world.count(Step::Info), world.count(Step::Upload)), (1, 1));
    world.assert_proper();
}

#[test]
fn file_ids_go_with_files_and_a_manifest_and_keep_their_order() {
    let (world, id) = with_uploaded();
    for uploads in [2, 2] {
        let ran = world.run(["--manifest", "sent.jsonl", &id, "b.txt", &id]);
        let names: Vec<_> = ran
            .assert_success()
            .lines()
            .iter()
            .map(|line| line.split('\t').next())
            .collect();
        assert_eq!(names, [Some("图 1.png"), Some("b.txt"), Some("图 1.png")]);
        assert_eq!(world.count(Step::Upload), uploads);
    }
    let manifest = std::fs::read_to_string(world.path("sent.jsonl")).unwrap();
    assert_eq!(manifest.lines().count(), 1, "{manifest}");
    // The file of the same name is another matter: it may be newer.
    let ran = world.run([id.as_str(), "图 1.png"]);
    assert_eq!(ran.assert_success().lines().len(), 2);
    assert_eq!(world.count(Step::Upload), 3);
}

#[test]
fn a_dry_run_with_a_file_id_lists_no_upload_and_asks_nobody() {
    let (world, id) = with_uploaded();
    let connections = world.stand_in.connections();
    for format in ["text", "json"] {
        let ran = world.run(["-n", "-f", format, &id, "b.txt"]);
        ran.assert_success();
        assert_eq!(ran.lines().len(), 1);
        assert!(ran.lines()[0].contains("temp3/b.txt"), "{}", ran.stdout);
        let counts = "1 would be uploaded (5 B), 1 link";
        assert_eq!(ran.summary(), counts);
    }
    assert_eq!(world.stand_in.connections(), connections);
}

#[test]
fn max_age_goes_with_a_file_id() {
    let (world, id) = with_uploaded();
    world.configure(json!({ "max_age": 600 }));
    world.run([&id]).assert_success();
    let calls = world.stand_in.requests(Step::Link);
    assert_eq!(calls.last().unwrap().json()["file_list"][0]["max_age"], 600);
}

#[test]
fn a_file_id_that_is_not_in_the_cloud_fails_at_once() {
    let (world, id) = with_uploaded();
    let gone = file_id("gone.txt");
    for format in ["text", "json"] {
        let calls = world.count(Step::Link);
        let ran = world.run(["-f", format, "-j", "1", &gone, &id]);
        let told = format!(
            "error: {gone}: 获取下载链接失败: there is no such file in the cloud \
             (STORAGE_FILE_NONEXIST): check the file_id\n"
        );
        ran.assert_failure(1, &[&told, "0 uploaded (0 B), 1 link, 1 failed"]);
        let of_gone = asked(&world)[calls..].concat();
        assert_eq!(of_gone.iter().filter(|name| *name == "gone.txt").count(), 1);
        if format == "json" {
            assert!(ran.json()[0]["error"].is_string() && ran.json()[1]["url"].is_string());
        }
    }
}

#[test]
fn a_file_id_of_another_environment_is_refused_before_anything_is_done() {
    let world = World::with_files(&["a.txt"]);
    let other = "cloud://prod-other.7072-prod-other-1300000000/temp3/a.txt";
    let ran = world.run(["a.txt", other]);
    let told = format!("{other}: this file is in the environment prod-other, but `env` is {ENV}");
    world.assert_refused(&ran, &[&told]);
    // The beginning of an environment's id is another id.
    let longer = file_id("a.txt").replace(ENV, &format!("{ENV}x"));
    let ran = world.run([longer.as_str()]);
    world.assert_refused(&ran, &["this file is in the environment"]);
}

#[test]
fn what_only_begins_like_a_file_id_is_refused() {
    let long = format!("cloud://{ENV}.x/{}", "x".repeat(5000));
    for odd in [
        "cloud://",
        "cloud://a.txt",
        &format!("cloud://{ENV}"),
        &format!("cloud://{ENV}/a.txt"),
        &format!("cloud://{ENV}.bucket"),
        &format!("cloud://{ENV}.bucket/"),
        &format!("cloud://{ENV}.bucket/temp3/"),
        &long,
    ] {
        let world = World::with_files(&["a.txt"]);
        let ran = world.run(["a.txt", odd]);
        world.assert_refused(&ran, &["this is not a file_id", "cloud://ENV.BUCKET/PATH"]);
    }
}
