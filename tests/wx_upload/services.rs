//! The services as their documents describe them, and the network between: URLs, names that COS
//! would change, dead networks and proxies.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use serde_json::json;
use stand_in::{Fault, Request, Step, When};

use crate::harness::{World, assert_takes, key, not_on_windows, side_by_side};
#[cfg(target_os = "linux")]
use crate::unix::{after, is_installed, through};

/// Names, and how the script encodes them if the URL is raw. (It uses `requests` 2.34 with urllib3
/// 2.7.)
const URLS: [(&str, &str); 12] = [
    ("图片 1.jpg", "%E5%9B%BE%E7%89%87%201.jpg"),
    ("a b.txt", "a%20b.txt"),
    ("a<b>.txt", "a%3Cb%3E.txt"),
    ("`tick`.txt", "%60tick%60.txt"),
    ("{x}|^.txt", "%7Bx%7D%7C%5E.txt"),
    ("[1].txt", "%5B1%5D.txt"),
    ("\"q\".txt", "%22q%22.txt"),
    ("100%.txt", "100%25.txt"),
    ("a+b&c=d.txt", "a+b&c=d.txt"),
    ("it's (1)!.txt", "it's%20(1)!.txt"),
    ("é~-_.txt", "%C3%A9~-_.txt"),
    ("😀.png", "%F0%9F%98%80.png"),
];

/// The part of a URL after the host, and how `requests` 2.34 sends it.
const TARGETS: [(&str, &str); 9] = [
    ("/100%.txt?sign=%E4%BD", "/100%25.txt?sign=%E4%BD"),
    ("/a%20b?x=100%", "/a%20b?x=100%25"),
    (
        "/图 片.txt?sign=a b&t=图#f g",
        "/%E5%9B%BE%20%E7%89%87.txt?sign=a%20b&t=%E5%9B%BE",
    ),
    ("/%zz?%zz=1", "/%25zz?%25zz=1"),
    ("/a\\b", "/a%5Cb"),
    ("/%E5%9B%BE 1.jpg", "/%E5%9B%BE%201.jpg"),
    ("/a;b,c=d@e:f$g!*'()", "/a;b,c=d@e:f$g!*'()"),
    ("/x?y=[1]&z={2}|^`", "/x?y=%5B1%5D&z=%7B2%7D%7C%5E%60"),
    ("/q?a?b/c", "/q?a?b/c"),
];

/// Uploads to a URL with this part after the host. Returns the target in the request line.
fn sent_to(target: &str) -> String {
    let world = World::with_files(&["a.txt"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}{target}", listener.local_addr().unwrap());
    let answer = Fault::edit(move |reply| reply["url"] = url.as_str().into());
    world.stand_in.fault(Step::Info, When::Always, answer);
    let child = world.start(["--retries", "0", "a.txt"]);
    let mut line = String::new();
    let (client, _) = listener.accept().unwrap();
    BufReader::new(&client).read_line(&mut line).unwrap();
    drop(client);
    world.wait(child).assert_failure(1, &["上传文件失败"]);
    drop(listener); // not before: the program would wait for a server that is away
    let target = line
        .strip_prefix("POST ")
        .and_then(|line| line.strip_suffix(" HTTP/1.1\r\n"));
    target.unwrap_or_else(|| panic!("{line}")).to_owned()
}

#[test]
fn raw_and_encoded_urls_make_the_request_line_that_the_script_sent() {
    for (target, sent) in TARGETS {
        assert_eq!(sent_to(target), sent);
        assert_eq!(sent_to(sent), sent);
    }
    for (name, encoded) in URLS {
        let encoded = format!("/{encoded}");
        assert_eq!(sent_to(&format!("/{name}")), encoded);
        assert_eq!(sent_to(&encoded), encoded);
    }
}

#[test]
fn a_cloud_name_that_cos_would_change_is_refused() {
    let world = World::with_files(&["${filename}.txt", "file.txt"]);
    let ran = world.run(["${filename}.txt", "file.txt"]);
    ran.assert_failure(
        1,
        &[
            "error: ${filename}.txt: 上传文件失败: ",
            "1 uploaded",
            "1 failed",
        ],
    );
    assert_eq!(world.keys(), ["temp3/file.txt"]);
    assert_eq!(world.count(Step::Info), 1);
    let world = World::with_files(&["a.txt"]);
    let ran = world.run(["-t", "x${filename}", "a.txt"]);
    world.assert_refused(&ran, &["--to", "${filename}"]);
}

#[test]
fn the_file_part_states_a_type_of_its_own() {
    let world = World::with_files(&["a.txt"]);
    world.run(["a.txt"]).assert_success();
    let request = &world.stand_in.requests(Step::Upload)[0];
    assert_eq!(
        request.file_type.as_deref(),
        Some("application/octet-stream")
    );
    assert_eq!(
        request.field("Content-Type"),
        Some("text/plain; charset=utf-8")
    );
}

#[test]
fn text_in_utf8_is_stored_with_its_charset() {
    let long = "中".repeat(100_000); // pieces of 64 KiB end within a character
    let gbk = b"\xd6\xd0\xce\xc4".to_vec();
    let files: [(&str, Vec<u8>, &str); 7] = [
        ("ascii.txt", b"plain".to_vec(), "text/plain; charset=utf-8"),
        ("empty.txt", Vec::new(), "text/plain; charset=utf-8"),
        (
            "long.md",
            long.clone().into(),
            "text/markdown; charset=utf-8",
        ),
        (
            "bom.csv",
            "\u{feff}名称,数量".into(),
            "text/csv; charset=utf-8",
        ),
        ("gbk.txt", gbk, "text/plain"),
        ("cut.html", long.as_bytes()[1..].to_vec(), "text/html"),
        ("a.json", b"{}".to_vec(), "application/json"),
    ];
    let world = World::http();
    for (name, bytes, _) in &files {
        world.file(format!("files/{name}"), bytes);
    }
    world.run(["files"]).assert_success();
    let objects = world.stand_in.objects();
    for (name, bytes, content_type) in files {
        let stored = &objects[&format!("temp3/{name}")];
        assert_eq!(stored.content_type.as_deref(), Some(content_type), "{name}");
        assert_eq!(stored.bytes.as_ref(), Some(&bytes), "{name}");
    }
}

#[test]
fn a_dead_network_is_reported_once() {
    let cases = ["8", "64"].map(|jobs| (jobs.to_owned(), jobs));
    side_by_side(cases, |jobs| {
        let world = World::with_many(1000);
        world.save_token("the-token", json!({ "api_base": "http://127.0.0.1:1" }));
        assert_takes([0.0..15.0], || {
            let ran = world.run(["-j", jobs, "files"]);
            let words = [
                ": 获取文件上传链接失败: 127.0.0.1: ",
                "\nerror: 8 files failed before any succeeded; the run was stopped\n",
                "0 uploaded (0 B), 8 failed, 992 not attempted",
            ];
            ran.assert_failure(1, &words);
            assert_eq!(ran.stderr.matches("127.0.0.1").count(), 1, "{}", ran.stderr);
            assert_eq!(ran.stderr.lines().count(), 10, "{}", ran.stderr);
            [ran.elapsed.as_secs_f64()]
        });
    });
}

#[test]
fn a_dead_network_is_reported_once_even_if_only_links_are_missing() {
    let world = World::with_many(1000);
    let arguments = ["--manifest", "sent.jsonl", "files"];
    world.run(arguments).assert_success();
    world.save_token("the-token", json!({ "api_base": "http://127.0.0.1:1" }));
    assert_takes([0.0..15.0], || {
        let ran = world.run(arguments);
        let counts = "0 uploaded (0 B), 8 failed, 992 not attempted";
        ran.assert_failure(1, &[": 获取下载链接失败: 127.0.0.1: ", counts]);
        assert_eq!(ran.stderr.matches("127.0.0.1").count(), 1, "{}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 10, "{}", ran.stderr);
        [ran.elapsed.as_secs_f64()]
    });
}

#[test]
fn a_wrong_env_is_reported_once() {
    for (jobs, ahead) in [(1, 1), (8, 8), (64, 16)] {
        let world = World::with_many(100);
        world.configure(json!({ "env": "prod-wrong" }));
        let ran = world.run(["-j", &jobs.to_string(), "files"]);
        let words = [
            "error: 获取文件上传链接失败: errcode -501000 (INVALID_ENV: ",
            "check `env`: it must be the id of an environment of this account",
            "0 uploaded (0 B), 100 not attempted",
        ];
        ran.assert_failure(1, &words);
        assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
        assert!(world.count(Step::Info) <= jobs + ahead);
    }
}

#[test]
fn eight_files_that_fail_in_different_ways_stop_the_run_with_eight_messages() {
    let world = World::with_many(30);
    for n in 0..30 {
        let errcode = if n % 4 == 1 { 40097 } else { 99_999 };
        world
            .stand_in
            .fault(Step::Info, key(format!("{n:03}")), Fault::Errcode(errcode));
    }
    let ran = world.run(["-j", "1", "files"]);
    // Two files ask at once: which 8 are the first to fail is open, but not that both kinds do.
    ran.assert_failure(
        1,
        &[
            "获取文件上传链接失败: errcode 40097 ",
            "获取文件上传链接失败: errcode 99999 ",
            "\nerror: 8 files failed before any succeeded; the run was stopped\n",
            "0 uploaded (0 B), 8 failed, 22 not attempted",
        ],
    );
    assert_eq!(ran.stderr.matches("error: files/").count(), 8);
}

#[test]
fn after_a_success_any_number_of_files_may_fail_alike() {
    let world = World::with_many(30);
    let refuse = |request: &Request| {
        (request.key.as_deref() != Some("temp3/000")).then_some(Fault::Errcode(99_999))
    };
    world
        .stand_in
        .fault(Step::Info, When::Always, Fault::custom(refuse));
    let ran = world.run(["-j", "1", "files"]);
    ran.assert_failure(1, &["1 uploaded (1 B), 29 failed"]);
}

#[test]
fn bad_names_do_not_count_as_failures_of_the_network() {
    let world = World::with_many(0);
    for n in 0..10 {
        world.file(format!("files/{n}\u{1}"), "x");
    }
    world.file("files/good", "x");
    let ran = world.run(["files"]);
    ran.assert_failure(1, &["1 uploaded (1 B), 10 failed"]);
}

/// A proxy that answers each CONNECT with `answer`. Returns its URL and the number of requests.
pub fn proxy(
    answer: fn(&mut std::net::TcpStream),
) -> (String, std::sync::Arc<std::sync::Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://user:pa55w0rd@{}", listener.local_addr().unwrap());
    let count = std::sync::Arc::new(std::sync::Mutex::new(0));
    let seen = std::sync::Arc::clone(&count);
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let seen = std::sync::Arc::clone(&seen);
            thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                // The head comes in several packets.
                while !head.ends_with(b"\r\n\r\n") && client.read_exact(&mut byte).is_ok() {
                    head.extend(byte);
                }
                if !head.is_empty() {
                    *seen.lock().unwrap() += 1;
                    answer(&mut client);
                }
            });
        }
    });
    (url, count)
}

fn run_through(url: &str, files: usize, arguments: &[&str]) -> crate::harness::Ran {
    let world = World::with_many(files);
    world.save_token("the-token", json!({ "api_base": "https://localhost:1" }));
    let mut command = world.command(arguments);
    command.env("https_proxy", url);
    world.finish(command)
}

#[test]
fn a_proxy_that_wants_another_password_is_asked_once() {
    let (url, asked) = proxy(|client| {
        client
            .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            .ok();
    });
    let ran = run_through(&url, 10, &["files"]);
    let help = "HTTPS_PROXY must be like http://USER:PASSWORD@HOST:PORT";
    ran.assert_failure(
        1,
        &[
            "through the proxy ",
            "407",
            help,
            "0 uploaded (0 B), 10 not attempted",
        ],
    );
    assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
    assert_eq!(*asked.lock().unwrap(), 1);
}

#[test]
fn only_the_first_call_through_a_slow_proxy_goes_alone() {
    let (url, _) = proxy(|client| {
        thread::sleep(Duration::from_millis(300));
        let answer = b"HTTP/1.1 503 Service Unavailable\r\n\r\n";
        client.write_all(answer).ok();
    });
    // One after the other, 64 calls take 19 s.
    assert_takes([0.5..10.0], || {
        let ran = run_through(&url, 64, &["-j", "64", "--retries", "1", "files"]);
        ran.assert_failure(1, &["HTTP 503", "(tried 2 times)", "8 failed"]);
        [ran.elapsed.as_secs_f64()]
    });
}

#[test]
fn another_refusal_of_a_proxy_is_not_tried_again_but_a_5xx_is() {
    let (url, asked) = proxy(|client| {
        client.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").ok();
    });
    let ran = run_through(&url, 1, &["files"]);
    ran.assert_failure(1, &["through the proxy ", "HTTP 403"]);
    assert_eq!(*asked.lock().unwrap(), 1);
    let (url, asked) = proxy(|client| {
        client.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").ok();
    });
    let ran = run_through(&url, 1, &["--retries", "1", "files"]);
    ran.assert_failure(1, &["through the proxy ", "HTTP 502", "(tried 2 times)"]);
    assert_eq!(*asked.lock().unwrap(), 2);
}

#[test]
fn a_proxys_slow_reply_ends_with_the_time_for_connecting() {
    let (url, _) = proxy(|client| {
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: "
            .iter()
            .chain([b'a'; 60].iter())
        {
            if client.write_all(&[*byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_secs(1));
        }
    });
    assert_takes([9.5..20.0], || {
        let ran = run_through(&url, 1, &["--retries", "0", "files"]);
        ran.assert_failure(1, &["through the proxy ", "no connection within 10 s"]);
        [ran.elapsed.as_secs_f64()]
    });
}

#[test]
fn the_time_for_connecting_is_no_limit_for_a_reply() {
    let world = World::with_many(1);
    let late = Fault::Delay(Duration::from_secs(11)); // connecting may take 10 s
    world.stand_in.fault(Step::Info, When::Always, late);
    world.run(["--retries", "0", "files"]).assert_success();
}

#[test]
fn small_letters_win_among_the_proxy_variables() {
    if not_on_windows("variables that differ only in capitals") {
        return;
    }
    let (good, asked) = proxy(|client| {
        client.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").ok();
    });
    let bad = "http://127.0.0.1:1";
    let cases: [&[(&str, &str)]; 3] = [
        &[("https_proxy", &good), ("HTTPS_PROXY", bad)],
        &[("all_proxy", &good), ("ALL_PROXY", bad)],
        &[
            ("HTTPS_PROXY", &good),
            ("no_proxy", "x.example"),
            ("NO_PROXY", "localhost"),
        ],
    ];
    for (n, variables) in cases.into_iter().enumerate() {
        let world = World::with_many(1);
        world.save_token("the-token", json!({ "api_base": "https://localhost:1" }));
        let mut command = world.command(["files"]);
        command.envs(variables.iter().copied());
        world.finish(command).assert_failure(1, &["HTTP 403"]);
        assert_eq!(*asked.lock().unwrap(), n + 1, "{variables:?}");
    }
}

/// Runs the program to its end, and returns how many bytes it has read. A shell waits for it, and so
/// the system counts them as the shell's, too. (Of an ended process, only root may ask for them.)
#[cfg(target_os = "linux")]
fn bytes_read(world: &World, arguments: &[&str]) -> u64 {
    let then_count = ["sh", "-c", "\"$0\" \"$@\"; cat /proc/$$/io >io"];
    world.finish(through(&then_count, &world.command(arguments)));
    let io = std::fs::read_to_string(world.path("io")).unwrap();
    let read = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    read.expect("a line with this number").parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_is_not_read_any_more_when_its_connection_is_broken() {
    const SIZE: u64 = 1 << 30;
    let worlds = [("http", World::http()), ("https", World::https())];
    side_by_side(
        worlds.map(|(name, world)| (name.to_owned(), world)),
        |world| {
            let file = std::fs::File::create(world.path("large.bin")).unwrap();
            file.set_len(SIZE).unwrap();
            world
                .stand_in
                .fault(Step::Upload, When::Always, Fault::ResetAt(20 << 20));
            let read = bytes_read(&world, &["--retries", "0", "large.bin"]);
            assert!(
                (20 << 20..SIZE / 2).contains(&read),
                "{read} bytes were read"
            );
        },
    );
}

#[cfg(target_os = "linux")]
#[test]
fn listening_for_an_early_refusal_takes_few_system_calls() {
    if not_on_windows("system calls that strace shows") {
        return;
    }
    if !is_installed("strace") {
        return;
    }
    let world = World::http();
    world.file("large.bin", vec![7; 32 << 20]);
    let trace = "strace --seccomp-bpf -f -o calls -e trace=recvfrom";
    let trace: Vec<&str> = trace.split(' ').collect();
    let ran = world.finish(through(&trace, &world.command(["large.bin"])));
    ran.assert_success();
    // It listens after 64 KiB, 128 KiB and so on, and then after each MiB. This makes 36 reads; the
    // others are for replies.
    let calls = std::fs::read_to_string(world.path("calls")).unwrap();
    let reads = calls.matches("recvfrom(").count();
    assert!((36..100).contains(&reads), "{reads}");
}

#[cfg(target_os = "linux")]
#[test]
fn too_many_open_files_can_pass() {
    if not_on_windows("ulimit") {
        return;
    }
    let world = World::with_many(100);
    let command = world.command(["-j", "8", "--retries", "6", "files"]);
    let ran = world.finish(after("ulimit -n 16", &command));
    ran.assert_failure(0, &["100 uploaded (100 B) in "]);
}
