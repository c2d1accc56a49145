//! The config: which values the program reads and refuses, and what it saves.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::harness::{Ran, World, judges_windows, not_on_windows, now};
use stand_in::{APPID, ENV, SECRET, StandIn, Step};

const OLD_TOKEN: &str = "92_an_old_token_that_stands_in_the_config";

/// A world with one file to upload.
fn world() -> World {
    let world = World::http();
    world.file("a.txt", "a");
    world
}

fn upload(world: &World) -> Ran {
    world.run(["a.txt"])
}

/// Uploads with these variables, which give values that the config lacks.
fn upload_with(world: &World, variables: &[(&str, &str)]) -> Ran {
    let mut command = world.command(["a.txt"]);
    command.envs(variables.iter().copied());
    world.finish(command)
}

/// Removes one key from the config.
fn remove_key(world: &World, key: &str) {
    let mut config: Map<String, Value> = world.config().as_object().unwrap().clone();
    config.shift_remove(key);
    world.file("config.json", Value::Object(config).to_string());
}

fn config_text(world: &World) -> String {
    fs::read_to_string(world.path("config.json")).unwrap()
}

/// The names in the directory.
fn entries(world: &World) -> Vec<String> {
    let entries = fs::read_dir(world.dir.path()).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

// ---- Configs that are refused ----------------------------------------------------------------------------

#[test]
fn a_config_that_is_not_a_json_object_is_refused_and_the_line_is_named() {
    let deep = "[".repeat(100_000);
    let cases: &[(&[u8], &str)] = &[
        (b"", "empty"),
        (b"{\n    \"appid\": \"x\",\n    \"secret\": \"y\"", "line 3"),
        (
            b"{\n    \"appid\": \"x\",\n\n}",
            "a comma too many at the end of line 2",
        ),
        (
            b"\xef\xbb\xbf{\"appid\":\"x\",}",
            "a comma too many at the end of line 1",
        ),
        (&[0; 4096], "empty"), // a power cut
        (b"{\n    // mine\n    \"appid\": \"x\"\n}", "line 2"),
        (b"{\n    'appid': 'x'\n}", "line 2"),
        (
            b"{\n    \"appid\": \"x\"\n    \"secret\": \"y\"\n}",
            "line 3",
        ),
        (b"{}\n{}", "line 2"),
        (b"{\n    \"upload_dir\": \"\xb8\xbd\xbc\xfe\"\n}", "line 2"), // GBK
        (deep.as_bytes(), "line 1"),
        (b"[]", "object"),
        (b"null", "object"),
        (b"\"text\"", "object"),
        (b"17", "object"),
    ];
    let world = world();
    for (text, word) in cases {
        world.file("config.json", text);
        world.assert_refused(&upload(&world), &["config.json", word]);
    }
}

#[test]
fn a_config_that_cannot_be_read_is_refused() {
    let world = world();
    let missing = world.run(["-c", "missing.json", "a.txt"]);
    world.assert_refused(&missing, &["missing.json", "--init"]);
    fs::create_dir(world.path("directory")).unwrap();
    world.assert_refused(&world.run(["-c", "directory", "a.txt"]), &["directory"]);
}

#[test]
fn a_value_that_is_not_text_is_refused_and_its_key_is_named() {
    let world = world();
    for key in [
        "appid",
        "secret",
        "env",
        "upload_dir",
        "upload_path",
        "auth",
        "api_base",
    ] {
        for odd in [json!(1), json!(true), json!(["x"]), json!({ "x": "y" })] {
            world.configure(json!({ key: odd }));
            world.assert_refused(&upload(&world), &["config.json", &format!("`{key}`")]);
            // The dry run refuses it, too.
            world.assert_refused(&world.run(["-n", "a.txt"]), &[&format!("`{key}`")]);
        }
    }
}

#[test]
fn a_config_without_env_is_always_refused() {
    let world = world();
    for token in [Value::Null, json!(OLD_TOKEN)] {
        for env in [Value::Null, json!(""), json!("missing")] {
            world.configure(json!({
                "env": env, "access_token": token, "create_time": now(), "expires_in": 7200
            }));
            if env == "missing" {
                remove_key(&world, "env");
            }
            world.assert_refused(&upload(&world), &["config.json", "`env`"]);
            world.assert_refused(&world.run(["-n", "a.txt"]), &["config.json", "`env`"]);
        }
    }
}

#[test]
fn a_missing_appid_or_secret_is_named_before_anything_is_sent() {
    let world = world();
    for auth in ["token", "stable_token"] {
        for key in ["appid", "secret"] {
            let named = format!("`{key}`");
            world.configure(json!({ key: null, "auth": auth }));
            world.assert_refused(&upload(&world), &[&named]);
            world.configure(json!({ key: "", "auth": auth }));
            world.assert_refused(&upload(&world), &[&named]);
            remove_key(&world, key);
            world.assert_refused(&upload(&world), &[&named]);
        }
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let world = world();
    let cases: &[(&str, &[&str])] = &[
        ("auth", &["foo", "Token", "NONE", " "]),
        (
            "api_base",
            &[
                "api.weixin.qq.com",
                "ftp://api.weixin.qq.com",
                "https://",
                "https://a b",
                "https://host?x=1",
                "/path",
                "http://host:99999",
                "\u{1b}[31m",
            ],
        ),
        (
            "upload_path",
            &["../x", "a/..", "./x", "a//b", "a\nb", "\u{1b}[31m"],
        ),
    ];
    for (key, values) in cases {
        for value in *values {
            world.configure(json!({ *key: value }));
            world.assert_refused(&upload(&world), &["config.json", &format!("`{key}`")]);
        }
    }
}

// ---- The keys -------------------------------------------------------------------------

#[test]
fn keys_that_are_null_missing_or_empty_have_their_defaults() {
    for key in ["upload_dir", "upload_path", "auth"] {
        for value in [Some(Value::Null), Some(json!("")), None] {
            let world = World::http();
            world.file("154190339_附件/a.txt", "a");
            world.configure(json!({ key: value }));
            if value.is_none() {
                remove_key(&world, key);
            }
            assert_eq!(world.run([""; 0]).status, Some(0));
            assert_eq!(world.keys(), ["temp3/a.txt"]);
            assert!(
                world.stand_in.requests(Step::Token)[0]
                    .target
                    .starts_with("/cgi-bin/token?")
            );
            world.assert_proper();
        }
    }
}

#[test]
fn upload_path_names_the_cloud_folder() {
    for (folder, key) in [
        ("图片", "图片/a.txt"),
        ("/x/y/", "x/y/a.txt"),
        ("/", "a.txt"),
    ] {
        let world = world();
        world.configure(json!({ "upload_path": folder }));
        upload(&world).assert_success();
        assert_eq!(world.keys(), [key]);
        world.assert_proper();
    }
}

#[test]
fn upload_dir_names_the_directory() {
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("a.txt"), "a").unwrap();
    for (directory, key) in [
        (Path::new("上 传"), "temp3/b.txt"),
        (Path::new("./上 传/"), "temp3/b.txt"),
        (elsewhere.path(), "temp3/a.txt"),
    ] {
        let world = World::http();
        world.file("上 传/b.txt", "b");
        world.configure(json!({ "upload_dir": directory }));
        world.run([""; 0]).assert_success();
        assert_eq!(world.keys(), [key]);
        world.assert_proper();
    }
}

#[test]
fn auth_says_where_the_token_comes_from() {
    for (auth, method, path) in [
        ("token", "GET", "/cgi-bin/token?"),
        ("stable_token", "POST", "/cgi-bin/stable_token"),
    ] {
        let world = world();
        world.configure(json!({ "auth": auth }));
        upload(&world).assert_success();
        let requests = world.stand_in.requests(Step::Token);
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].method, method);
        assert!(
            requests[0].target.starts_with(path),
            "{}",
            requests[0].target
        );
        if auth == "stable_token" {
            let body = json!({
                "grant_type": "client_credential", "appid": APPID, "secret": SECRET, "force_refresh": false
            });
            assert_eq!(requests[0].json(), body);
        }
        assert_eq!(
            world.config()["access_token"],
            *world.stand_in.tokens_issued()[0]
        );
        world.assert_proper();
    }
}

#[test]
fn in_a_container_no_token_is_asked_for_or_sent() {
    let world = world();
    world.stand_in.auth_none(true);
    // An account or a token in the config does not change that.
    let with_token = json!({ "auth": "none", "access_token": OLD_TOKEN, "create_time": now(), "expires_in": 7200 });
    for changes in [
        json!({ "auth": "none" }),
        json!({ "auth": "none", "appid": null, "secret": null }),
        with_token,
    ] {
        world.configure(changes);
        let before = config_text(&world);
        upload(&world).assert_success();
        assert_eq!(config_text(&world), before);
    }
    assert!(world.stand_in.requests(Step::Token).is_empty());
    for step in [Step::Info, Step::Link] {
        for request in world.stand_in.requests(step) {
            assert!(!request.target.contains('?'), "{}", request.target);
        }
    }
    world.assert_proper();
}

#[test]
fn api_base_may_end_with_slashes() {
    for slashes in ["", "/", "//"] {
        let world = world();
        world.configure(json!({ "api_base": world.stand_in.base() + slashes }));
        upload(&world).assert_success();
        world.assert_proper();
    }
}

#[test]
fn by_default_the_api_is_wechats_own_over_https_or_http_in_a_container() {
    for (auth, asked_for) in [
        ("token", ["CONNECT api.weixin.qq.com:443 "].as_slice()),
        (
            "none",
            &[
                "CONNECT api.weixin.qq.com:80 ",
                "POST http://api.weixin.qq.com/",
            ],
        ),
    ] {
        // This proxy only records the first line of a request.
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", proxy.local_addr().unwrap());
        let asked = std::thread::spawn(move || {
            let mut line = String::new();
            BufReader::new(proxy.accept().unwrap().0)
                .read_line(&mut line)
                .unwrap();
            line
        });
        let world = world();
        world.configure(json!({ "auth": auth }));
        remove_key(&world, "api_base");
        let mut command = world.command(["a.txt", "--retries", "0"]);
        command.env("ALL_PROXY", address);
        world
            .finish(command)
            .assert_failure(1, &["api.weixin.qq.com"]);
        let asked = asked.join().unwrap();
        assert!(
            asked_for.iter().any(|start| asked.starts_with(start)),
            "{asked}"
        );
    }
}

#[test]
fn plain_http_is_refused_however_https_is_spelled() {
    let other = StandIn::http();
    for base in ["https", "HTTPS", "Https"] {
        let world = World::https();
        world.file("a.txt", "a");
        world.configure(json!({ "api_base": world.stand_in.base().replacen("https", base, 1) }));
        world.stand_in.set_upload_origin(&other.base());
        let ran = upload(&world);
        assert_eq!(other.connections(), 0, "{base}");
        ran.assert_failure(1, &["http"]);
    }
}

#[test]
fn the_environment_gives_the_values_that_the_config_lacks_and_they_are_never_saved() {
    for value in [Some(Value::Null), Some(json!("")), None] {
        let world = world();
        let base = world.stand_in.base();
        let variables = [
            ("WX_APPID", APPID),
            ("WX_SECRET", SECRET),
            ("WX_ENV", ENV),
            ("WX_API_BASE", &base),
        ];
        world.configure(json!({ "appid": value, "secret": value, "env": value }));
        if value.is_none() {
            ["appid", "secret", "env"]
                .iter()
                .for_each(|key| remove_key(&world, key));
        }
        let before = world.config();
        upload_with(&world, &variables).assert_success();
        world.assert_proper();
        let after = world.config();
        assert_eq!(after["access_token"], *world.stand_in.tokens_issued()[0]);
        for key in ["appid", "secret", "env"] {
            assert_eq!(after.get(key), before.get(key), "{key}");
        }
        assert!(!config_text(&world).contains(SECRET));
    }
}

#[test]
fn the_configs_own_values_win_over_the_environment() {
    let world = world();
    let ran = upload_with(
        &world,
        &[
            ("WX_APPID", "wx_other"),
            ("WX_SECRET", "other"),
            ("WX_ENV", "other"),
        ],
    );
    ran.assert_success();
    world.assert_proper();
}

#[test]
fn an_empty_variable_counts_as_missing() {
    let world = world();
    world.configure(json!({ "env": null }));
    world.assert_refused(&upload_with(&world, &[("WX_ENV", "")]), &["`env`"]);
    world.configure(json!({ "appid": null, "secret": null }));
    world.assert_refused(
        &upload_with(&world, &[("WX_APPID", ""), ("WX_SECRET", SECRET)]),
        &["`appid`"],
    );
    world.assert_refused(
        &upload_with(&world, &[("WX_APPID", APPID), ("WX_SECRET", "")]),
        &["`secret`"],
    );
}

// ---- The token ----------------------------------------------------------------------------------

/// Returns whether a run with these keys in its config uses the saved token. If it does not, checks
/// that it fetches and saves a new one. `None` means that the run used the token, and then had to
/// replace it.
fn use_of(changes: Value) -> Option<bool> {
    let world = world();
    world.stand_in.accept_token(OLD_TOKEN);
    let mut config = json!({ "access_token": OLD_TOKEN });
    config
        .as_object_mut()
        .unwrap()
        .extend(changes.as_object().unwrap().clone());
    world.configure(config);
    let before = config_text(&world);
    upload(&world).assert_success();
    world.assert_proper();
    let sent = world.stand_in.requests(Step::Info)[0].target.clone();
    let issued = world.stand_in.tokens_issued();
    if issued.is_empty() {
        assert!(sent.ends_with(OLD_TOKEN), "{sent}");
        assert_eq!(config_text(&world), before);
        return Some(true);
    }
    assert_eq!(issued.len(), 1);
    if sent.ends_with(OLD_TOKEN) {
        return None;
    }
    assert!(sent.ends_with(&issued[0]), "{sent}");
    let saved = world.config();
    assert_eq!(
        (&saved["access_token"], &saved["expires_in"]),
        (&json!(issued[0]), &json!(7200))
    );
    assert!((now() - saved["create_time"].as_i64().unwrap()).abs() < 60);
    Some(false)
}

fn is_used(changes: Value) -> bool {
    use_of(changes).expect("the token is not replaced within the run")
}

/// Calls `check` with the time in seconds. If a new second begins before it returns, which can happen
/// on a busy machine, calls it again at the beginning of a second.
fn within_one_second<T>(check: impl Fn(i64) -> T) -> T {
    for _ in 0..100 {
        let started = now();
        let checked = check(started);
        if now() == started {
            return checked;
        }
        let into_the_second = UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
        thread::sleep(Duration::from_nanos(
            1_000_000_000 - u64::from(into_the_second),
        ));
    }
    panic!("it never took less than a second");
}

#[test]
fn a_token_is_used_until_60_seconds_before_its_end() {
    for (left, used) in [
        (7200, true),
        (61, true),
        (60, true),
        (59, false),
        (0, false),
        (-7200, false),
    ] {
        let verdict = within_one_second(|now| {
            use_of(json!({ "create_time": now + left - 7200, "expires_in": 7200 }))
        });
        assert_eq!(verdict, Some(used), "{left}");
    }
}

#[test]
fn a_token_whose_times_are_odd_counts_as_expired() {
    let good = now() - 100;
    for (create_time, expires_in) in [
        (json!(good + 1000), json!(7200)),
        (json!(good.to_string()), json!(7200)),
        (json!(-1), json!(7200)),
        (json!(0), json!(7200)),
        (json!(i64::MIN), json!(7200)),
        (json!(i64::MIN), json!(i64::MAX)),
        (json!(i64::MAX), json!(7200)),
        (json!(u64::MAX), json!(7200)),
        (json!(1e300), json!(7200)),
        (json!(null), json!(7200)),
        (json!([good]), json!(7200)),
        (json!(good), json!("7200")),
        (json!(good), json!(-7200)),
        (json!(good), json!(0)),
        (json!(good), json!(i64::MIN)),
        (json!(good), json!(u64::MAX)),
        (json!(good), json!(null)),
        (json!(good), json!(true)),
        (json!({}), json!([])),
    ] {
        let changes = json!({ "create_time": create_time, "expires_in": expires_in });
        assert!(!is_used(changes.clone()), "{changes}");
    }
    assert!(is_used(
        json!({ "create_time": good, "expires_in": i64::MAX })
    ));
    // Python writes `time.time()`.
    assert!(is_used(
        json!({ "create_time": good as f64 + 0.5, "expires_in": 7200.5 })
    ));
}

#[test]
fn an_odd_or_missing_token_is_replaced() {
    for odd in [json!(null), json!(""), json!(5), json!(["x"]), json!({})] {
        assert!(!is_used(
            json!({ "access_token": odd, "create_time": now(), "expires_in": 7200 })
        ));
    }
    for key in ["create_time", "expires_in", "access_token"] {
        let world = world();
        remove_key(&world, key);
        upload(&world).assert_success();
        assert_eq!(
            world.config()["access_token"],
            *world.stand_in.tokens_issued()[0]
        );
    }
}

#[test]
fn an_account_is_needed_only_where_a_token_must_be_fetched() {
    let world = world();
    for missing in [json!(null), json!("")] {
        world.save_token(OLD_TOKEN, json!({ "appid": missing, "secret": missing }));
        upload(&world).assert_success();
    }
    assert!(world.stand_in.requests(Step::Token).is_empty());
    world.assert_proper();
}

// ---- What a save writes -----------------------------------------------------------------------

#[test]
fn a_save_keeps_keys_order_chinese_and_four_spaces() {
    let world = world();
    let before = format!(
        r#"{{"说明": "我的\u4e2d文 \"配置\" \\ \n 🎉", "expires_in": null, "env": "{ENV}",
        "nested": {{"b": [1, -2.5, 1.0, true, null, "  x  "], "a": {{}}, "e": []}}, "secret": "{SECRET}",
        "access_token": null, "api_base": "{}", "big": 18446744073709551615, "appid": "{APPID}",
        "create_time": null, "": "empty key", "last": "最后"}}"#,
        world.stand_in.base()
    );
    world.file("config.json", before);
    assert_eq!(upload(&world).status, Some(0));
    let saved = world.config();
    let expected = format!(
        r#"{{
    "说明": "我的中文 \"配置\" \\ \n 🎉",
    "expires_in": 7200,
    "env": "{ENV}",
    "nested": {{
        "b": [
            1,
            -2.5,
            1.0,
            true,
            null,
            "  x  "
        ],
        "a": {{}},
        "e": []
    }},
    "secret": "{SECRET}",
    "access_token": "{}",
    "api_base": "{}",
    "big": 18446744073709551615,
    "appid": "{APPID}",
    "create_time": {},
    "": "empty key",
    "last": "最后",
    "token_appid": "{APPID}"
}}"#,
        world.stand_in.tokens_issued()[0],
        world.stand_in.base(),
        saved["create_time"],
    );
    assert_eq!(config_text(&world).trim_end(), expected);
}

#[test]
fn keys_of_the_token_that_were_missing_are_added_at_the_end() {
    let world = world();
    let account =
        json!({ "env": ENV, "secret": SECRET, "appid": APPID, "api_base": world.stand_in.base() });
    world.file("config.json", account.to_string());
    assert_eq!(upload(&world).status, Some(0));
    let keys: Vec<_> = world
        .config()
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(
        keys,
        [
            "env",
            "secret",
            "appid",
            "api_base",
            "create_time",
            "expires_in",
            "access_token",
            "token_appid",
        ]
    );
}

#[test]
fn windows_notepads_byte_order_mark_and_line_ends_are_fine() {
    let world = world();
    let text = format!("\u{feff}{}\r\n", config_text(&world).replace('\n', "\r\n"));
    world.file("config.json", text);
    upload(&world).assert_success();
    upload(&world).assert_success();
    assert_eq!(world.stand_in.tokens_issued().len(), 1);
}

#[test]
fn nothing_is_left_beside_the_config() {
    let world = world();
    world.file("config.json.new", "somebody's own");
    upload(&world).assert_success();
    let mut own = vec!["a.txt", "config.json", "config.json.new"];
    if judges_windows() {
        own.insert(2, "config.json.lock"); // which the next run locks, too
    }
    assert_eq!(entries(&world), own);
    assert_eq!(
        world.config()["access_token"],
        *world.stand_in.tokens_issued()[0]
    );
}

#[test]
fn a_second_run_has_no_note_that_the_first_one_had_not() {
    let world = world();
    let [first, second] = [(); 2].map(|()| world.run(["."]));
    let notes = |ran: &Ran| ran.stderr.matches("note: ").count();
    assert_eq!((notes(&first), notes(&second)), (1, 1), "{}", second.stderr);
    assert_eq!(world.keys(), ["temp3/a.txt"]);
}

#[test]
fn a_config_that_cannot_be_written_causes_only_a_warning() {
    for quiet in [false, true] {
        let world = World::http();
        for name in ["dir/a", "dir/b", "dir/c"] {
            world.file(name, name);
        }
        // The name is so long that a temporary file beside it cannot have a name of its own. This
        // stops even root, who needs no permission.
        let config = format!("{}.json", "c".repeat(250));
        fs::rename(world.path("config.json"), world.path(&config)).unwrap();
        let text = || fs::read_to_string(world.path(&config)).unwrap();
        let before = text();
        let quiet_or_not = if quiet { "-q" } else { "-j3" };
        let ran = world.run(["-c", &config, "dir", quiet_or_not]);
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        assert_eq!(world.keys().len(), 3);
        assert_eq!((world.stand_in.tokens_issued().len(), text()), (1, before));
        let lines = if quiet { 1 } else { 2 }; // a warning is never silenced
        assert_eq!(ran.stderr.lines().count(), lines, "{}", ran.stderr);
        assert!(ran.stderr.starts_with("warning: ccc"), "{}", ran.stderr);
        world.assert_proper();
    }
}

#[test]
fn a_directory_in_the_place_of_a_lock_file_is_no_obstacle() {
    let world = world();
    world.file("config.json.lock/in the way", "");
    upload(&world).assert_success();
    assert_eq!(
        world.config()["access_token"],
        *world.stand_in.tokens_issued()[0]
    );
}

#[cfg(unix)]
#[test]
fn a_save_keeps_permissions() {
    if not_on_windows("permissions") {
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    for mode in [0o600, 0o640, 0o644, 0o400] {
        let world = world();
        fs::set_permissions(world.path("config.json"), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(upload(&world).status, Some(0));
        assert_eq!(
            world.config()["access_token"],
            *world.stand_in.tokens_issued()[0]
        );
        let after = fs::metadata(world.path("config.json"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(after & 0o7777, mode, "{after:o}");
    }
}

#[cfg(unix)]
#[test]
fn a_save_by_root_keeps_the_owner() {
    if not_on_windows("owners") {
        return;
    }
    use std::os::unix::fs::{MetadataExt, chown};
    let world = world();
    if chown(world.path("config.json"), Some(4321), Some(1234)).is_err() {
        return; // only root can give a file to another user
    }
    upload(&world).assert_success();
    assert_eq!(
        world.config()["access_token"],
        *world.stand_in.tokens_issued()[0]
    );
    let after = fs::metadata(world.path("config.json")).unwrap();
    assert_eq!((after.uid(), after.gid()), (4321, 1234));
}

#[cfg(unix)]
#[test]
fn a_config_that_is_a_link_stays_one_and_its_target_is_updated() {
    use std::os::unix::fs::symlink;
    let world = world();
    fs::create_dir(world.path("real")).unwrap();
    fs::rename(world.path("config.json"), world.path("real/own.json")).unwrap();
    symlink("real/own.json", world.path("link")).unwrap();
    symlink("link", world.path("config.json")).unwrap();
    upload(&world).assert_success();
    for (link, target) in [("config.json", "link"), ("link", "real/own.json")] {
        assert_eq!(
            fs::read_link(world.path(link)).unwrap().to_str(),
            Some(target)
        );
    }
    assert!(!world.path("real/own.json").is_symlink());
    assert_eq!(
        world.config()["access_token"],
        *world.stand_in.tokens_issued()[0]
    );
    assert_eq!(entries(&world), ["a.txt", "config.json", "link", "real"]);
    assert!(!world.path("real/own.json.new").exists());
}

#[cfg(unix)]
#[test]
fn links_in_the_way_of_a_save_are_not_followed() {
    let world = world();
    for name in ["config.json.new", "config.json.lock"] {
        world.file("precious", "keep me");
        std::os::unix::fs::symlink("precious", world.path(name)).unwrap();
    }
    upload(&world).assert_success();
    assert_eq!(
        fs::read_to_string(world.path("precious")).unwrap(),
        "keep me"
    );
    assert!(!world.path("config.json").is_symlink());
}
