//! What is private stays on this machine: what links lead to, and what holds a secret.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};
use stand_in::{APPID, Fault, SECRET, Step};

use crate::harness::{Gate, MOST_KIB, PATIENCE, Ran, World, key, not_on_windows, not_under_wine};

/// Makes links, and the directories that they are in.
fn links(world: &World, links: &[(&str, &str)]) {
    for (link, target) in links {
        let path = world.path(link);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }
}

// ---- Links below a directory --------------------------------------------------------------------

#[test]
fn with_r_a_link_out_of_the_directory_or_to_what_is_hidden_is_skipped() {
    if not_under_wine("links of Unix") {
        return;
    }
    let world = World::with_files(&[
        "pub/good.txt",
        "pub/sub/real.txt",
        "pub/.git/config",
        "pub/.git/objects/pack",
        "pub/sub/.env",
        ".ssh/id_rsa",
        "public/a.txt",
    ]);
    let absolute = world.path(".ssh/id_rsa");
    let out = [
        ("pub/x.txt", "../.ssh/id_rsa"),
        ("pub/sub/x.txt", "../../.ssh/id_rsa"),
        ("pub/absolute", absolute.to_str().unwrap()),
        ("pub/neighbour", "../public/a.txt"), // its path begins like that of the directory
        ("pub/chain", "chain-2"),
        ("pub/chain-2", "sub/x.txt"),
    ];
    let hidden = [
        ("pub/y.txt", ".git/config"),
        ("pub/deep", "sub/../.git/objects/pack"),
        ("pub/env", "sub/.env"),
    ];
    links(&world, &out);
    links(&world, &hidden);
    links(&world, &[("pub/inside", "sub/real.txt"), ("way", "pub")]);
    for directory in ["pub", "./pub/", "way", "public/../pub"] {
        let ran = world.run(["-r", directory]);
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        // The link that stays inside has the name of what it leads to.
        let keys = ["good.txt", "real.txt", "sub/real.txt"];
        assert_eq!(world.keys(), keys.map(|key| format!("temp3/{key}")));
        assert_eq!(ran.lines().len(), keys.len());
        for (links, why) in [
            (&out[..], "a link that leads out of the directory"),
            (&hidden[..], "a link to what is hidden"),
        ] {
            for (link, _) in links {
                let link = link.replacen("pub", directory.trim_end_matches('/'), 1);
                let note = format!("note: {link}: skipped: {why}");
                assert!(
                    ran.stderr.contains(&note),
                    "{note} is not in {}",
                    ran.stderr
                );
            }
        }
    }
}

#[test]
fn a_link_that_is_named_is_followed_wherever_it_leads() {
    let world = World::with_files(&[".ssh/config", ".git/HEAD"]);
    links(
        &world,
        &[("pub/x", "../.ssh/config"), ("pub/y", "../.git/HEAD")],
    );
    world.run(["-r", "pub/x", "pub/y"]).assert_success();
    assert_eq!(world.keys(), ["temp3/HEAD", "temp3/config"]);
}

#[test]
fn links_of_the_fixed_directory_are_followed_as_by_the_script() {
    if not_under_wine("links of Unix") {
        return;
    }
    let world = World::with_files(&["elsewhere/.hidden"]);
    links(&world, &[("pub/x", "../elsewhere/.hidden")]);
    // If the user names the directory, or with -r, they are not.
    world.configure(json!({ "upload_dir": "pub" }));
    for arguments in [["pub"], ["-r"]] {
        let ran = world.run(arguments);
        ran.assert_failure(0, &["note: pub/x: skipped: a link that leads out "]);
    }
    assert_eq!(world.keys(), [""; 0]);
    world.run([""; 0]).assert_success();
    assert_eq!(world.keys(), ["temp3/.hidden"]);
}

#[test]
fn what_is_hidden_and_also_named_has_no_note() {
    let world = World::with_files(&["pub/.env", "pub/.git", "pub/a.txt", "pub/.x/b", "pub/y/c"]);
    let ran = world.run(["pub", "./pub/.env", "pub/.x/", "pub/y"]);
    let note = "note: pub/.git: skipped: hidden (give its path to upload it)\n";
    assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
    ran.assert_failure(0, &[note, "4 uploaded (32 B), 1 skipped in "]);
    assert_eq!(
        world.keys(),
        ["temp3/.env", "temp3/a.txt", "temp3/b", "temp3/c"]
    );
    let ran = world.run(["pub", "pub/y/.."]); // nobody named `pub/y`
    let notes = ran.stderr.matches("/y: skipped: ").count();
    assert_eq!(notes, 2, "{}", ran.stderr);
}

#[test]
fn what_is_below_a_hidden_directory_that_is_named_is_not_hidden() {
    if not_under_wine("links of Unix") {
        return;
    }
    let world = World::with_files(&[".site/sub/a.txt"]);
    links(&world, &[(".site/b.txt", "sub/a.txt")]);
    world.run(["-r", ".site"]).assert_success();
    assert_eq!(world.keys(), ["temp3/a.txt", "temp3/sub/a.txt"]);
}

/// Starts a run over the directory `pub`. While its first file `a` is sent, `swap` changes what else
/// is there.
fn swap_while_a_is_sent(world: &World, arguments: &[&str], swap: impl Fn(&Path)) -> Ran {
    world.file("pub/a", "a");
    let a_is_on_its_way = Gate::default();
    for other in ["b", "sub/id_rsa"] {
        let hold = a_is_on_its_way.hold();
        world.stand_in.fault(Step::Info, key(other), hold);
    }
    world.stand_in.fault(Step::Upload, key("a"), Fault::Hold);
    let child = world.start(["-j", "1", "pub"].iter().chain(arguments));
    assert!(world.stand_in.wait_for(Step::Upload, 1, PATIENCE));
    // The next file is open by now. Else it could be opened in the middle of the swap.
    assert!(world.stand_in.wait_for(Step::Info, 2, PATIENCE));
    swap(world.dir.path());
    a_is_on_its_way.open();
    world.stand_in.open_gate();
    world.wait(child)
}

#[test]
fn with_r_what_becomes_a_link_out_of_the_directory_after_it_was_listed_is_not_uploaded() {
    let swaps: [fn(&Path); 4] = [
        |dir| symlink("../../.ssh/id_rsa", dir.join("pub/sub/id_rsa")).unwrap(),
        |dir| symlink("../.git/config", dir.join("pub/sub/id_rsa")).unwrap(),
        |dir| {
            fs::remove_dir(dir.join("pub/sub")).unwrap();
            symlink("../.ssh", dir.join("pub/sub")).unwrap();
        },
        |dir| {
            fs::rename(dir.join("pub"), dir.join("old")).unwrap();
            fs::create_dir(dir.join("pub")).unwrap();
            symlink("../.ssh", dir.join("pub/sub")).unwrap();
        },
    ];
    for swap in swaps {
        let names = ["pub/sub/id_rsa", ".ssh/id_rsa", "pub/.git/config"];
        let world = World::with_files(&names);
        let ran = swap_while_a_is_sent(&world, &["-r"], |dir| {
            fs::remove_file(dir.join("pub/sub/id_rsa")).unwrap();
            swap(dir);
        });
        ran.assert_failure(
            1,
            &["error: pub/sub/id_rsa: 上传文件失败: a link ", "1 failed"],
        );
        assert_eq!(world.keys(), ["temp3/a"]);
    }
}

#[test]
fn what_becomes_a_link_that_stays_inside_is_uploaded() {
    let world = World::with_files(&["pub/b", "pub/sub/c"]);
    let ran = swap_while_a_is_sent(&world, &["-r"], |dir| {
        fs::remove_file(dir.join("pub/b")).unwrap();
        symlink("sub/c", dir.join("pub/b")).unwrap();
    });
    ran.assert_success();
    let object = &world.stand_in.objects()["temp3/b"];
    assert_eq!(object.bytes.as_deref(), Some(&b"pub/sub/c"[..]));
}

// ---- What holds a secret ------------------------------------------------------------------------

const MIB: usize = 1 << 20;
const PIECE: usize = 64 << 10;
const TOKEN: &str = "92_a-token-that-is-in-use_0123456789abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJ";

/// A file of `size` bytes that holds `text` at the position `at`.
fn with_text_at(at: usize, text: &str, size: usize) -> Vec<u8> {
    let mut bytes = vec![b'5'; size]; // the first byte of the secret, to be found again and again
    bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
    bytes
}

/// JSON of 1 MiB with an account at its end, after many small values.
fn large_json() -> Vec<u8> {
    let mut json = format!("{{\"x\":[{}", "[],".repeat(MIB / 3 - 40)).into_bytes();
    json.extend(b"0],\"appid\":\"wx1\",\"secret\":\"s\"}");
    json
}

/// Files that must not leave this machine, and a word of the reason.
fn private_files(world: &World) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let config = fs::read(world.path("config.prod.json")).unwrap();
    let of_other = json!({ "appid": "wx1", "secret": "another account's" });
    let of_other_with =
        |before: &str, after: &str| format!("{before}{of_other}{after}").into_bytes();
    let utf16 = |text: &str, order: fn(u16) -> [u8; 2]| -> Vec<u8> {
        let mark = ['\u{feff}' as u16];
        mark.into_iter()
            .chain(text.encode_utf16())
            .flat_map(order)
            .collect()
    };
    let log = format!("GET /cgi-bin/token?appid={APPID}&secret={SECRET}&grant_type=x\n");
    let token = format!("https://api.weixin.qq.com/tcb/uploadfile?access_token={TOKEN}&x=1");
    let (secret, is_config) = (
        "the AppSecret or the access token",
        "`appid` and a `secret`",
    );
    let cut = SECRET.len() / 2;
    vec![
        (
            "config.json",
            [b"\xef\xbb\xbf", &of_other_with("", "")[..]].concat(),
            is_config,
        ),
        (
            "config - 副本.json",
            of_other_with(" \n\t", "\n"),
            is_config,
        ),
        ("config copy.json", config.clone(), secret),
        (
            "old.json",
            of_other.to_string().replace("appid", "app\\u0069d").into(),
            is_config,
        ),
        ("large.json", large_json(), is_config),
        (
            "padded.json",
            of_other_with(&" ".repeat(PIECE + 1), ""),
            is_config,
        ),
        ("app.log", log.repeat(100).into(), secret),
        (
            "prod.env",
            format!("export WX_SECRET={SECRET}").into(),
            secret,
        ),
        (
            "图.png",
            [b"\x89PNG\0\xff", SECRET.as_bytes(), b"\0"].concat(),
            secret,
        ),
        ("only", SECRET.into(), secret),
        ("token.txt", token.into(), secret),
        ("powershell.txt", utf16(&log, u16::to_le_bytes), secret),
        ("big-endian.txt", utf16(TOKEN, u16::to_be_bytes), secret),
        ("first", with_text_at(0, SECRET, 3 * PIECE), secret),
        (
            "across",
            with_text_at(PIECE - cut, SECRET, 3 * PIECE),
            secret,
        ),
        (
            "across-2",
            with_text_at(2 * PIECE - TOKEN.len() + 1, TOKEN, 3 * PIECE),
            secret,
        ),
        (
            "last",
            with_text_at(MIB - SECRET.len(), SECRET, MIB),
            secret,
        ),
    ]
}

/// Files that look like those, but are not.
fn other_files() -> Vec<(&'static str, Vec<u8>)> {
    let nearly = format!("{}x{}", &SECRET[..31], &TOKEN[1..]);
    vec![
        (
            "config.example.json",
            include_bytes!("../../config.example.json").to_vec(),
        ),
        (
            "appid.json",
            json!({ "appid": "wx1", "secret": "" }).to_string().into(),
        ),
        (
            "number.json",
            json!({ "appid": "wx1", "secret": 5 }).to_string().into(),
        ),
        (
            "list.json",
            json!([{ "appid": "wx1", "secret": "s" }])
                .to_string()
                .into(),
        ),
        (
            "nested.json",
            json!({ "a": { "appid": "wx1", "secret": "s" } })
                .to_string()
                .into(),
        ),
        ("no.json", "{\"appid\": \"wx1\", \"secret\": \"s\"".into()),
        ("readme.md", "fill in `appid` and `secret`".into()),
        ("nearly", nearly.into()),
        ("empty", Vec::new()),
        (
            "large",
            with_text_at(MIB - SECRET.len() + 1, SECRET, MIB + 1),
        ),
    ]
}

/// A world with a token in use, and with the secret in the config or in the environment.
fn world_with_secret(in_environment: bool) -> World {
    let world = World::http();
    let secret = if in_environment {
        Value::Null
    } else {
        json!(SECRET)
    };
    world.save_token(TOKEN, json!({ "secret": secret }));
    fs::rename(world.path("config.json"), world.path("config.prod.json")).unwrap();
    world
}

fn run_with_secret(world: &World, in_environment: bool, arguments: &[&str]) -> Ran {
    let base = world.stand_in.base();
    let mut command = world.command(["-c", "config.prod.json"].iter().chain(arguments));
    if in_environment {
        command.envs([("WX_SECRET", SECRET), ("WX_API_BASE", &base)]);
    }
    world.finish(command)
}

/// Each file failed for its reason, and nothing of it was sent.
fn assert_private(world: &World, ran: &Ran, files: &[(&str, Vec<u8>, &str)]) {
    for (name, _, reason) in files {
        let line = ran
            .stderr
            .lines()
            .find(|line| line.contains(&format!("/{name}: ")));
        let line = line.unwrap_or_else(|| panic!("{name} is not in {}", ran.stderr));
        assert!(
            line.starts_with("error: ") && line.contains("上传文件失败: it "),
            "{line}"
        );
        assert!(
            line.contains(reason) && line.ends_with("never uploaded"),
            "{line}"
        );
        let key = format!("temp3/{name}");
        for step in [Step::Info, Step::Upload] {
            let requests = world.stand_in.requests(step);
            let sent = requests
                .iter()
                .any(|request| request.key.as_ref() == Some(&key));
            assert!(!sent, "{name}: {step:?}");
        }
    }
}

#[test]
fn a_file_that_holds_a_secret_is_not_sent_whatever_its_name() {
    for in_environment in [false, true] {
        let world = world_with_secret(in_environment);
        let private = private_files(&world);
        let other = other_files();
        for (name, bytes, _) in &private {
            world.file(format!("dir/{name}"), bytes);
        }
        for (name, bytes) in &other {
            world.file(format!("dir/{name}"), bytes);
        }
        for arguments in [&["-j", "64", "dir"][..], &["-j", "1", "dir"]] {
            let ran = run_with_secret(&world, in_environment, arguments);
            assert_eq!(ran.status, Some(1));
            assert_private(&world, &ran, &private);
            assert_eq!(ran.count("failed"), private.len(), "{}", ran.stderr);
            assert_eq!(ran.count("uploaded"), other.len(), "{}", ran.stderr);
            assert!(ran.peak_kib <= MOST_KIB, "{} KiB", ran.peak_kib);
        }
        assert_eq!(world.count(Step::Token), 0);
    }
}

#[test]
fn beside_another_config_the_usual_one_is_not_uploaded() {
    let world = World::with_files(&["good.txt"]);
    fs::copy(world.path("config.json"), world.path("config.prod.json")).unwrap();
    for recursive in [&[][..], &["-r"]] {
        let ran = run_with_secret(&world, false, &[recursive, &["."]].concat());
        ran.assert_failure(
            1,
            &["error: ./config.json: 上传文件失败: it ", "1 uploaded"],
        );
        assert_eq!(world.keys(), ["temp3/good.txt"]);
    }
}

#[test]
fn a_file_that_holds_a_secret_is_not_sent_through_a_link() {
    let world = World::with_files(&["dir/good.txt"]);
    world.file("dir/app.log", SECRET);
    links(
        &world,
        &[("link", "dir/app.log"), ("chain", "link"), ("way", "dir")],
    );
    fs::hard_link(world.path("dir/app.log"), world.path("hard.txt")).unwrap();
    let paths = [
        "link",
        "chain",
        "hard.txt",
        "way/app.log",
        "dir/../dir/app.log",
    ];
    for path in paths {
        let ran = world.run(["dir/good.txt", path]);
        let line = format!("error: {path}: 上传文件失败: it holds the AppSecret");
        ran.assert_failure(1, &[&line, "1 uploaded"]);
        let ran = world.run(["-r", "dir/good.txt", path]);
        ran.assert_failure(1, &[&line, "1 uploaded"]);
    }
    assert_eq!(world.keys(), ["temp3/good.txt"]);
}

#[test]
fn a_file_that_gets_a_secret_after_it_was_listed_is_not_sent() {
    let swaps: [fn(&Path, &Path); 5] = [
        |log, b| assert!(fs::copy(log, b).is_ok()),
        |log, b| fs::rename(log, b).unwrap(),
        |log, b| {
            fs::remove_file(b).unwrap();
            symlink(log, b).unwrap();
        },
        |log, b| {
            fs::remove_file(b).unwrap();
            fs::hard_link(log, b).unwrap();
        },
        |_, b| fs::write(b, r#"{"appid":"x","secret":"y"}"#).unwrap(),
    ];
    for swap in swaps {
        let world = World::with_files(&["pub/b"]);
        let log = world.file("pub/sub/app.log", SECRET);
        let ran = swap_while_a_is_sent(&world, &[], |dir| swap(&log, &dir.join("pub/b")));
        ran.assert_failure(
            1,
            &[
                "error: pub/b: 上传文件失败: it ",
                "never uploaded",
                "1 failed",
            ],
        );
        assert_eq!(world.keys(), ["temp3/a"]);
    }
}

#[test]
fn a_file_with_the_token_that_the_run_itself_fetches_is_not_sent() {
    // Another program may use the same token: `stable_token` gives it to both.
    let world = World::with_files(&["a.txt"]);
    world.configure(json!({ "auth": "stable_token" }));
    world.run(["a.txt"]).assert_success();
    let token = &world.stand_in.tokens_issued()[0];
    for n in 0..8 {
        world.file(format!("dir/{n}"), format!("token = {token}"));
    }
    world.configure(json!({ "auth": "stable_token" })); // without the token
    let ran = world.run(["dir"]);
    ran.assert_failure(
        1,
        &["it holds the AppSecret or the access token", "8 failed"],
    );
    assert_eq!(world.keys(), ["temp3/a.txt"]);
    assert_eq!(world.stand_in.tokens_issued().len(), 1);
}

#[test]
fn a_dry_run_lists_what_a_run_would_not_send() {
    let world = World::http();
    world.file("app.log", SECRET);
    let ran = world.run(["-n", "app.log"]);
    assert_eq!(ran.assert_success().stdout, "app.log\ttemp3/app.log\n");
}

#[cfg(target_os = "linux")]
#[test]
fn a_look_into_many_files_at_once_takes_little_memory() {
    if not_on_windows("VmHWM, the most memory of a process") {
        return;
    }
    let world = World::http();
    for n in 0..64 {
        world.file(format!("dir/{n}"), large_json());
    }
    let ran = world.run(["-j", "64", "dir"]);
    ran.assert_failure(1, &["64 failed"]);
    assert!(
        (1..=MOST_KIB).contains(&ran.peak_kib),
        "{} KiB",
        ran.peak_kib
    );
}
