//! Replies that no service should give. The program has a sentence for each of them. It does not
//! panic or hang, and it shows no secret.

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::faults::stage;
use crate::harness::{MOST_KIB, Ran, World, assert_takes, many_files, side_by_side};
use stand_in::{Fault, Request, Step, When};

const API: [Step; 3] = [Step::Token, Step::Info, Step::Link];
const STEPS: [Step; 4] = [Step::Token, Step::Info, Step::Upload, Step::Link];

/// No sentence needs more, even if it quotes a server.
const MOST_CHARACTERS: usize = 600;

/// A longer `file_id` is refused.
const MOST_BYTES_OF_FILE_ID: usize = 4 << 10;

/// Checks that the run ended in order: each line of standard error is one of the program's own, and
/// the summary counts all files.
fn assert_orderly(ran: &Ran, files: usize) {
    ran.assert_ended(files);
    assert_ne!(ran.status, Some(2), "{}", ran.stderr);
    let all_uploaded = ran.count("uploaded") == files;
    assert_eq!(ran.status == Some(0), all_uploaded, "{}", ran.stderr);
    for line in ran.stderr.lines().filter(|line| *line != ran.summary()) {
        assert!(line.starts_with("error: "), "{line}");
        let has_stage = |&step: &Step| line.contains(&format!("{}: ", stage(step)));
        let tells_of_all =
            line.ends_with(" files failed before any succeeded; the run was stopped");
        assert!(STEPS.iter().any(has_stage) || tells_of_all, "{line}");
        // A file_id is told whole, so that nothing is lost.
        let (sentence, file_id) = line.split_once("cloud://").unwrap_or((line, ""));
        let escaped = sentence.matches("\\u").count(); // each is one character in six
        assert!(
            sentence.chars().count() - 5 * escaped <= MOST_CHARACTERS,
            "{line}"
        );
        assert!(file_id.len() <= MOST_BYTES_OF_FILE_ID, "{line}");
    }
    assert!(ran.peak_kib <= MOST_KIB, "{} KiB", ran.peak_kib);
}

// ---- Fields -------------------------------------------------------------------------------------

/// The values that a field gets; with `None` the field is missing.
fn oddities() -> [(&'static str, Option<Value>); 9] {
    [
        ("missing", None),
        ("null", Some(Value::Null)),
        ("empty", Some("".into())),
        ("number", Some(7.into())),
        ("fraction", Some(0.5.into())),
        ("true", Some(true.into())),
        ("array", Some(json!(["x"]))),
        ("object", Some(json!({ "x": "y" }))),
        ("text", Some("text".into())),
    ]
}

fn put(object: &mut Value, field: &str, oddity: &str) {
    let object = object.as_object_mut().expect("an object");
    match oddities().into_iter().find(|(name, _)| *name == oddity) {
        Some((_, Some(value))) => drop(object.insert(field.to_owned(), value)),
        _ => drop(object.shift_remove(field)),
    }
}

/// The names of files, one for each field and each value that it gets.
fn names_for(fields: &[&str]) -> Vec<String> {
    fields
        .iter()
        .flat_map(|field| oddities().map(|(oddity, _)| format!("{field}.{oddity}")))
        .collect()
}

/// Uploads all files. Returns the messages of those that failed, by name.
fn failures(world: &World) -> Map<String, Value> {
    // One after the other, and a good file first: otherwise eight similar failures stop the run.
    world.file("files/!", "x");
    let ran = world.run(["--retries", "0", "-j", "1", "-f", "json", "files"]);
    let objects = ran.json();
    assert_orderly(&ran, objects.len());
    let failed = objects
        .into_iter()
        .filter(|object| object.get("error").is_some());
    failed
        .map(|object| {
            (
                object["name"].as_str().unwrap().to_owned(),
                object["error"].clone(),
            )
        })
        .collect()
}

#[test]
fn each_field_of_uploadfiles_reply_may_be_odd() {
    let fields = [
        "errcode",
        "errmsg",
        "url",
        "token",
        "authorization",
        "file_id",
        "cos_file_id",
    ];
    // Eight that fail before the first has succeeded stop the run.
    for names in names_for(&fields).chunks(7) {
        let paths: Vec<_> = names.iter().map(|name| format!("files/{name}")).collect();
        let world = World::with_files(&paths);
        let odd = |request: &Request| {
            let (field, oddity) = request
                .key
                .as_ref()?
                .strip_prefix("temp3/")?
                .split_once('.')?;
            let (field, oddity) = (field.to_owned(), oddity.to_owned());
            Some(Fault::edit(move |reply| put(reply, &field, &oddity)))
        };
        world
            .stand_in
            .fault(Step::Info, When::Always, Fault::custom(odd));
        let failed = failures(&world);
        for name in names {
            let (field, oddity) = name.split_once('.').unwrap();
            let words = match (field, oddity) {
                ("errmsg", _) | ("errcode", "missing") => None,
                ("errcode", "number") => Some("获取文件上传链接失败: errcode 7 "),
                ("url", "text") => Some("上传文件失败: "),
                ("token" | "authorization", "text") => Some("上传文件失败: HTTP 403 "),
                ("cos_file_id", "text") => Some("获取下载链接失败: COS took the file"),
                _ => Some("获取文件上传链接失败: the reply"),
            };
            let error = failed.get(name).and_then(Value::as_str);
            assert_eq!(error.is_some(), words.is_some(), "{name}: {error:?}");
            assert!(
                error
                    .unwrap_or_default()
                    .starts_with(words.unwrap_or_default()),
                "{name}: {error:?}"
            );
            if words.is_some_and(|words| words.ends_with("the reply")) {
                assert!(
                    error.unwrap().contains(&format!("`{field}`")),
                    "{name}: {error:?}"
                );
            }
        }
    }
}

#[test]
fn each_field_of_a_link_may_be_odd() {
    let names = names_for(&["fileid", "download_url", "status", "errmsg"]);
    let paths: Vec<_> = names.iter().map(|name| format!("files/{name}")).collect();
    let world = World::with_files(&paths);
    let odd = |reply: &mut Value| {
        for link in reply["file_list"].as_array_mut().into_iter().flatten() {
            let file_id = link["fileid"].as_str().unwrap_or_default().to_owned();
            if let Some((field, oddity)) = file_id
                .rsplit('/')
                .next()
                .and_then(|name| name.split_once('.'))
            {
                put(link, field, oddity);
            }
        }
    };
    world
        .stand_in
        .fault(Step::Link, When::Always, Fault::edit(odd));
    let failed = failures(&world);
    for name in names {
        let words = match name.split_once('.').unwrap() {
            ("errmsg", _) | ("status", "missing") => None,
            ("status", "number") => Some("获取下载链接失败: status 7"),
            _ => Some("获取下载链接失败: the reply"),
        };
        let error = failed.get(&name).and_then(Value::as_str);
        assert_eq!(error.is_some(), words.is_some(), "{name}: {error:?}");
        assert!(
            error
                .unwrap_or_default()
                .starts_with(words.unwrap_or_default()),
            "{name}: {error:?}"
        );
    }
    assert_eq!(world.keys().len(), 36 + 1); // with the good one
}

#[test]
fn each_field_around_the_links_may_be_odd() {
    let names = names_for(&["errcode", "errmsg", "file_list"]);
    side_by_side(names.into_iter().map(|name| (name.clone(), name)), |name| {
        let world = World::with_files(&["files/a"]);
        let (field, oddity) = name
            .split_once('.')
            .map(|(field, oddity)| (field.to_owned(), oddity.to_owned()))
            .unwrap();
        let is_good = matches!((&*field, &*oddity), ("errmsg", _) | ("errcode", "missing"));
        world.stand_in.fault(
            Step::Link,
            When::Always,
            Fault::edit(move |reply| put(reply, &field, &oddity)),
        );
        let failed = failures(&world);
        assert_eq!(failed.is_empty(), is_good, "{failed:?}");
    });
}

#[test]
fn each_field_of_a_tokens_reply_may_be_odd() {
    let names = names_for(&["access_token", "expires_in", "errcode", "errmsg"]);
    side_by_side(names.into_iter().map(|name| (name.clone(), name)), |name| {
        let world = World::with_files(&["files/a"]);
        let (field, oddity) = name
            .split_once('.')
            .map(|(field, oddity)| (field.to_owned(), oddity.to_owned()))
            .unwrap();
        let words = match (&*field, &*oddity) {
            ("errmsg", _) | ("errcode", "missing") | ("expires_in", "number") => "",
            ("access_token", "text") => "获取文件上传链接失败: errcode 40001 ",
            ("errcode", "number") => "获取access token失败: errcode 7 ",
            _ => "获取access token失败: the reply",
        };
        world.stand_in.fault(
            Step::Token,
            When::Always,
            Fault::edit(move |reply| put(reply, &field, &oddity)),
        );
        let ran = world.run(["--retries", "0", "files"]);
        assert_orderly(&ran, 1);
        assert_eq!(
            ran.status,
            Some(i32::from(!words.is_empty())),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
        // Only a proper token is saved.
        let saved = &world.config()["access_token"];
        assert_eq!(
            saved.is_null(),
            words.contains("获取access token失败"),
            "{saved}"
        );
    });
}

#[test]
fn huge_numbers_are_only_numbers() {
    let huge = [
        "1e400",
        "-1e400",
        "99999999999999999999999",
        "9223372036854775807",
        "-9223372036854775808",
        "1e308",
        "-0",
    ];
    let cases = huge
        .iter()
        .flat_map(|number| ["errcode", "expires_in", "status"].map(|field| (field, *number)));
    side_by_side(
        cases.map(|case| (format!("{case:?}"), case)),
        |(field, number)| {
            let world = World::with_files(&["files/a"]);
            let step = if field == "status" {
                Step::Link
            } else {
                Step::Token
            };
            let edit = move |bytes: &mut Vec<u8>| {
                let text = String::from_utf8(std::mem::take(bytes)).unwrap();
                let (_, body) = text.split_once("\r\n\r\n").unwrap();
                let mut reply: Value = serde_json::from_str(body).unwrap();
                if field == "status" {
                    reply["file_list"][0][field] = "NUMBER".into();
                } else {
                    reply[field] = "NUMBER".into();
                }
                let body = reply.to_string().replace("\"NUMBER\"", number);
                *bytes = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )
                .into();
            };
            world
                .stand_in
                .fault(step, When::Always, Fault::edit_bytes(edit));
            let ran = world.run(["--retries", "0", "files"]);
            assert_orderly(&ran, 1);
            assert_eq!(
                world.config()["access_token"].is_null(),
                ran.stderr.contains("获取access token失败")
            );
        },
    );
}

#[test]
fn a_reply_that_is_not_an_object_is_reported() {
    let bodies = ["null", "7", "true", "\"text\"", "[]", "[{}]", "{}"];
    let cases = bodies
        .iter()
        .flat_map(|body| API.map(|step| (format!("{body} at {step:?}"), (*body, step))));
    side_by_side(cases, |(body, step)| {
        let world = World::with_files(&["files/a"]);
        world
            .stand_in
            .fault(step, When::Always, Fault::Body(body.into()));
        let ran = world.run(["files"]);
        assert_orderly(&ran, 1);
        ran.assert_failure(1, &[stage(step), ": the reply "]);
        assert_eq!(world.stand_in.requests(step).len(), 1);
    });
}

// ---- Random replies -----------------------------------------------------------------------------------

/// Random numbers by xorshift64*, which is small and gives the same numbers on every machine.
struct Random(u64);

impl Random {
    /// The sequence of random numbers for `name`. It does not depend on the order of names.
    fn new(seed: u64, name: &str) -> Random {
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325 ^ seed, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let mut random = Random(hash | 1);
        random.below(1);
        random
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..=self.below(most))
            .map(|_| self.below(256) as u8)
            .collect()
    }

    fn range(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let start = self.below(bytes.len() + 1);
        start..start + self.below((bytes.len() - start).min(64) + 1)
    }
}

fn mutate(random: &mut Random, reply: &mut Vec<u8>) {
    for _ in 0..=random.below(2) {
        match random.below(10) {
            0 => {
                for _ in 0..=random.below(4) {
                    let at = random.below(reply.len());
                    reply
                        .iter_mut()
                        .skip(at)
                        .take(1)
                        .for_each(|byte| *byte ^= 1 << random.below(8));
                }
            }
            1 => reply.truncate(random.below(reply.len())),
            2 => {
                let (at, inserted) = (random.below(reply.len() + 1), random.bytes(64));
                reply.splice(at..at, inserted).for_each(drop);
            }
            3 => drop(reply.drain(random.range(reply))),
            4 => {
                let range = random.range(reply);
                let again = reply[range.clone()].repeat(1 + random.below(50));
                reply.splice(range.end..range.end, again).for_each(drop);
            }
            5..7 => mutate_json(random, reply),
            7 => mutate_status(random, reply),
            8 => mutate_chunks(random, reply),
            _ => mutate_headers(random, reply),
        }
    }
}

fn odd_value(random: &mut Random) -> Value {
    let texts = [
        "",
        "\u{1b}[31m",
        "\n\r\0",
        "\u{202e}",
        "http://",
        "https://[::1",
        "//x",
        "http://127.0.0.1:1/",
        "\u{feff}",
    ];
    match random.below(8) {
        0 => Value::Null,
        1 => random.of(&[
            json!(-1),
            json!(0),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(1e308),
            json!(40001),
        ]),
        2 => (0..random.below(200)).fold(json!([]), |inner, _| json!([inner])),
        3 => (0..random.below(200)).fold(json!({}), |inner, _| json!({ "errcode": inner })),
        4 => "长".repeat(random.below(5000)).into(),
        5 => String::from_utf8_lossy(&random.bytes(40)).into(),
        6 => json!(random.below(2) == 0),
        _ => random.of(&texts).into(),
    }
}

/// Swaps or replaces values of a JSON reply. Its `Content-Length` stays right.
fn mutate_json(random: &mut Random, reply: &mut Vec<u8>) {
    let Some(end) = reply.windows(4).position(|window| window == b"\r\n\r\n") else {
        return;
    };
    let Ok(Value::Object(mut object)) = serde_json::from_slice(&reply[end + 4..]) else {
        return;
    };
    // A reply with links gets most of its mutations within a link.
    let inner = object
        .get_mut("file_list")
        .and_then(|list| list.get_mut(0))
        .and_then(Value::as_object_mut);
    let target = match inner {
        Some(inner) if random.below(4) > 0 => inner,
        _ => &mut object,
    };
    let keys: Vec<String> = target.keys().cloned().collect();
    if keys.is_empty() {
        return;
    }
    let (one, other) = (random.of(&keys), random.of(&keys));
    if random.below(2) == 0 {
        let value = odd_value(random);
        target.insert(one, value);
    } else {
        // Swaps and does not copy: the program would be right to print a signature that is a copy
        // in `file_id`.
        let (old, new) = (target[&one].clone(), target[&other].clone());
        target.insert(one, new);
        target.insert(other, old);
    }
    let body = Value::Object(object).to_string();
    *reply = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into();
}

fn mutate_status(random: &mut Random, reply: &mut Vec<u8>) {
    let lines = [
        "100 Continue",
        "101 Switching Protocols",
        "103 Early Hints",
        "199 x",
        "201 Created",
        "204 No Content",
        "206 x",
        "301 x",
        "304 Not Modified",
        "307 x",
        "400 x",
        "403 Forbidden",
        "404 x",
        "416 x",
        "499 x",
        "599 x",
        "600 x",
        "999 x",
        "000 x",
        "20 x",
        "2000 x",
        "-1 x",
        "",
    ];
    let end = reply.iter().position(|&byte| byte == b'\r').unwrap_or(0);
    let version = random.of(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2", "http/1.1", ""]);
    reply
        .splice(
            ..end,
            format!("{version} {}", random.of(&lines)).into_bytes(),
        )
        .for_each(drop);
}

fn mutate_headers(random: &mut Random, reply: &mut Vec<u8>) {
    let (long, many) = ("x".repeat(70_000), "a: b\r\n".repeat(150));
    let lines = [
        "Content-Length: 5",
        "Content-Length: 18446744073709551615",
        "Content-Length: -1",
        "Content-Length: x",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip",
        "Content-Encoding: gzip",
        "Connection: close",
        "Connection: upgrade",
        "Location: http://127.0.0.1:1/",
        "Location: \u{7f}",
        "Retry-After: 99999999999999999999",
        "x-cos-hash-crc64ecma: -1",
        "x-cos-hash-crc64ecma: 18446744073709551616",
        "no colon",
        ": no name",
        " folded",
        "é: ü",
        &many,
        &long,
    ];
    let Some(end) = reply.iter().position(|&byte| byte == b'\n') else {
        return;
    };
    let line = format!("{}\r\n", random.of(&lines)).into_bytes();
    reply.splice(end + 1..end + 1, line).for_each(drop);
}

/// Sends the body in chunks. Some of them state a wrong or a senseless length.
fn mutate_chunks(random: &mut Random, reply: &mut Vec<u8>) {
    let Some(end) = reply.windows(4).position(|window| window == b"\r\n\r\n") else {
        return;
    };
    let body = reply.split_off(end + 4);
    reply.truncate(end);
    reply.extend(b"\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in body.chunks(1 + random.below(200)) {
        let size = match random.below(20) {
            0 => format!("{:x}", chunk.len() + random.below(9)),
            1 => random
                .of(&["-1", "zz", "", "ffffffffffffffff", "0", ";;"])
                .into(),
            2 => format!("{:064X};name=\"value\"", chunk.len()),
            _ => format!("{:x}", chunk.len()),
        };
        let end = random.of(&["\r\n", "\r\n", "\r\n", "\n"]);
        reply.extend([size.as_bytes(), b"\r\n", chunk, end.as_bytes()].concat());
    }
    let end = random.of(&["0\r\n\r\n", "0\r\n\r\n", "0\r\na: b\r\n\r\n", "0\r\n", ""]);
    reply.extend(end.as_bytes());
}

/// The seed of this run. `WX_UPLOAD_SEED` repeats an earlier run.
fn seed() -> u64 {
    let given = std::env::var("WX_UPLOAD_SEED")
        .ok()
        .map(|seed| seed.parse().expect("a seed is a number"));
    let seed = given.unwrap_or_else(|| UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64);
    println!("WX_UPLOAD_SEED={seed} repeats this");
    seed
}

/// Mutates half of the replies of `step`, and counts them in `count`.
fn mutate_replies(world: &World, step: Step, seed: u64, count: &Arc<AtomicUsize>) {
    let (nth, count) = (AtomicUsize::new(0), Arc::clone(count));
    let fault = Fault::custom(move |request| {
        // The key, if there is one, selects the mutation: the order of requests changes.
        let nth = nth.fetch_add(1, Ordering::Relaxed);
        let name = request.key.clone().unwrap_or_else(|| nth.to_string());
        let random = Random::new(seed, &format!("{step:?} {name}")).0;
        (random.is_multiple_of(2) || step == Step::Token).then(|| {
            count.fetch_add(1, Ordering::Relaxed);
            Fault::edit_bytes(move |reply| mutate(&mut Random(random | 1), reply))
        })
    });
    world.stand_in.fault(step, When::Always, fault);
}

/// A proxy that mutates all its replies, and counts them in `count`.
fn mutating_proxy(seed: u64, count: &Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::clone(count);
    thread::spawn(move || {
        for (nth, mut client) in listener.incoming().flatten().enumerate() {
            count.fetch_add(1, Ordering::Relaxed);
            let mut random = Random::new(seed, &format!("proxy {nth}"));
            let mut reply = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n".to_vec();
            mutate(&mut random, &mut reply);
            if random.below(2) == 0 {
                reply.extend(random.bytes(200)); // where TLS would begin
            }
            thread::spawn(move || {
                let mut request = [0; 4 << 10];
                let _ = client.read(&mut request)?;
                client.write_all(&reply)
            });
        }
    });
    url
}

/// Runs the program with mutated replies of the services.
fn run_with_mutated_services(seed: u64, count: &Arc<AtomicUsize>) {
    const FILES: usize = 300;
    // Steps 2 and 3 need many files, and step 4 a few files at a time, which makes many calls. A
    // token is fetched once in a run.
    let many = (0..18).map(|_| (&[Step::Info, Step::Upload][..], FILES, "64"));
    let links = (0..8).map(|_| (&[Step::Link][..], FILES / 3, "2"));
    let tokens = (0..150).map(|_| (&[Step::Token][..], 1, "1"));
    let runs = many.chain(links).chain(tokens).enumerate();
    let directories = [FILES, FILES / 3, 1].map(|count| (count, many_files(count)));
    let directory_of = |files| {
        let mut directories = directories.iter();
        let (_, dir) = directories.find(|(count, _)| *count == files).unwrap();
        dir.path()
    };
    side_by_side(
        runs.map(|(i, run)| (format!("run {i}"), (i, run))),
        |(i, (steps, files, jobs))| {
            let world = World::http();
            world.stand_in.set_token_grace(Duration::from_secs(300));
            steps
                .iter()
                .for_each(|&step| mutate_replies(&world, step, seed.wrapping_add(i as u64), count));
            // A run with two timeouts, one after the other, would count as hanging.
            let mut command = world.command(["--retries", "0", "-j", jobs]);
            command.arg(directory_of(files));
            assert_orderly(&world.finish(command), files);
        },
    );
}

/// Runs the program through proxies that refuse a connection, or connect it with nothing, and whose
/// replies are mutated.
fn run_with_mutated_proxies(seed: u64, count: &Arc<AtomicUsize>) {
    let runs = (0..60).map(|i| (format!("proxy {i}"), i));
    let files = many_files(20);
    side_by_side(runs, |i| {
        let world = World::https();
        world.configure(json!({ "auth": "none" })); // without a token there is only one connection
        let mut command = world.command(["--retries", "0"]);
        command.arg(files.path());
        let proxy = mutating_proxy(seed.wrapping_add(i as u64), count);
        command.env("https_proxy", proxy);
        let ran = world.finish(command);
        assert_orderly(&ran, 20);
    });
}

/// Mutates at least `wanted` replies, in rounds. A round has about 4,000, and fewer where a run ends early:
/// which of its files fail first depends on the machine, and 8 failures without a success end it.
fn mutate_at_least(wanted: usize) {
    let (seed, count) = (seed(), Arc::new(AtomicUsize::new(0)));
    let so_far = || count.load(Ordering::Relaxed);
    for round in 0.. {
        let before = so_far();
        let seed = seed.wrapping_add(round << 32);
        run_with_mutated_services(seed, &count);
        let of_services = so_far() - before;
        run_with_mutated_proxies(seed, &count);
        let of_proxies = so_far() - before - of_services;
        println!("round {round}: {of_services} replies of services, {of_proxies} of proxies");
        assert!(of_services > 300 && of_proxies > 300);
        if so_far() >= wanted {
            break;
        }
    }
}

#[test]
fn thousands_of_mutated_replies_cause_no_panic_no_hang_and_no_leak() {
    mutate_at_least(3000);
}

/// Takes a minute: `.ci/run` runs it.
#[test]
#[ignore = "takes a minute"]
fn ten_thousand_mutated_replies_cause_no_panic_no_hang_and_no_leak() {
    mutate_at_least(10_000);
}

#[test]
fn a_reply_that_is_hardly_http_is_reported() {
    let heads = [
        "",
        "\r\n\r\n",
        "\0\0\0\0",
        "ICY 200 OK\r\n\r\n",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/9.9 200 OK\r\n\r\n{}",
        "HTTP/1.1 99999999999 OK\r\n\r\n{}",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
        "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\u{1f}\u{8b}",
        "HTTP/1.1 200 OK\r\nContent-Type: \u{1b}[31m\r\nContent-Length: 2\r\n\r\n[]",
    ];
    let cases = heads
        .iter()
        .flat_map(|head| STEPS.map(|step| (format!("{head:?} at {step:?}"), (*head, step))));
    side_by_side(cases, |(head, step)| {
        let world = World::with_files(&["files/a"]);
        let edit = move |reply: &mut Vec<u8>| *reply = head.as_bytes().to_vec();
        world
            .stand_in
            .fault(step, When::Always, Fault::edit_bytes(edit));
        let ran = world.run(["--retries", "0", "--timeout", "60", "files"]);
        assert_orderly(&ran, 1);
        // A 2xx of COS is a success, with any rest of the reply.
        assert!(
            ran.status == Some(1) || (step == Step::Upload && head.contains(" 200")),
            "{}",
            ran.stderr
        );
        assert!(ran.elapsed < Duration::from_secs(50), "{:?}", ran.elapsed); // nothing timed out
    });
}

#[test]
fn headers_may_be_large_and_many_within_limits() {
    let many = |count: usize, size: usize| {
        (0..count)
            .map(|i| (format!("x-{i}"), Some("v".repeat(size))))
            .collect::<Vec<_>>()
    };
    let cases = [
        ("20 of 1 KiB", many(20, 1024), true),
        ("one of 1 MiB", many(1, 1 << 20), false),
        ("1000", many(1000, 10), false),
    ];
    let cases = cases
        .iter()
        .flat_map(|case| STEPS.map(|step| (format!("{} at {step:?}", case.0), (step, case))));
    side_by_side(cases, |(step, (_, headers, is_fine))| {
        let world = World::with_files(&["files/a"]);
        world
            .stand_in
            .fault(step, When::Always, Fault::Headers(headers.clone()));
        let ran = world.run(["--retries", "0", "files"]);
        assert_orderly(&ran, 1);
        assert_eq!(ran.status == Some(0), *is_fine, "{}", ran.stderr);
    });
}

// ---- Endless replies --------------------------------------------------------------------------------

/// A server that answers with `head`, and then with `chunk` for ever. Returns its origin and the
/// number of bytes that it has sent.
fn endless(head: &'static str, chunk: String) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let (sent, chunk) = (Arc::new(AtomicU64::new(0)), Arc::new(chunk));
    let counter = Arc::clone(&sent);
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let (counter, chunk) = (Arc::clone(&counter), Arc::clone(&chunk));
            thread::spawn(move || -> io::Result<()> {
                // The request is so small that it comes as a whole.
                let mut request = [0; 64 << 10];
                let _ = client.read(&mut request)?;
                let mut rest = client.try_clone()?;
                thread::spawn(move || io::copy(&mut rest, &mut io::sink()));
                client.write_all(head.as_bytes())?;
                loop {
                    client.write_all(chunk.as_bytes())?;
                    counter.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                }
            });
        }
    });
    (origin, sent)
}

/// Checks that the program does not wait for the end of an endless reply, and that it stops reading
/// after a limit.
fn assert_ends(step: Step, head: &'static str, chunk: &str) {
    assert_takes([0.0..20.0], || {
        let (origin, sent) = endless(head, chunk.to_owned());
        let world = World::with_files(&["files/a"]);
        match step {
            Step::Token => world.configure(json!({ "api_base": origin })),
            _ => world.stand_in.set_upload_origin(&origin),
        }
        let ran = world.run(["--retries", "0", "--timeout", "1", "files"]);
        assert_orderly(&ran, 1);
        // The buffers of the system come on top of the program's limit.
        let sent = sent.load(Ordering::Relaxed);
        assert!(sent < 16 << 20, "{sent} bytes");
        // A 2xx of COS is a success, but then the object is not there.
        let uploaded = step == Step::Upload && head.contains(" 200 ") && head.contains("\r\n\r\n");
        ran.assert_failure(1, &[stage(if uploaded { Step::Link } else { step })]);
        [ran.elapsed.as_secs_f64()]
    });
}

#[test]
fn an_endless_reply_is_not_read_for_ever() {
    let chunked = || format!("2000\r\n{}\r\n", "x".repeat(0x2000));
    let cases: [(&'static str, String); 7] = [
        (
            "HTTP/1.1 400 Bad Request\r\n\r\n<Error><Code>A</Code><Message>",
            "x".repeat(8192),
        ),
        (
            "HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n",
            chunked(),
        ),
        ("HTTP/1.1 200 OK\r\n\r\n{\"a\":\"", "x".repeat(8192)),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            chunked(),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;",
            "x".repeat(8192),
        ),
        ("HTTP/1.1 200 OK\r\nx: ", "x".repeat(8192)),
        ("HTTP/1.1 200 OK\r\n", "x: y\r\n".repeat(1000)),
    ];
    let cases = cases
        .iter()
        .flat_map(|case| [Step::Token, Step::Upload].map(|step| (step, case)));
    side_by_side(
        cases.map(|(step, case)| (format!("{:?} at {step:?}", case.0), (step, case))),
        |(step, case)| {
            assert_ends(step, case.0, &case.1);
        },
    );
}

#[test]
fn endless_interim_replies_are_not_read_for_ever() {
    side_by_side(
        [Step::Token, Step::Upload].map(|step| (format!("{step:?}"), step)),
        |step| {
            assert_ends(step, "", &"HTTP/1.1 100 Continue\r\n\r\n".repeat(100));
        },
    );
}

#[test]
fn a_proxys_endless_reply_is_not_read_for_ever() {
    let cases = [
        ("HTTP/1.1 200 OK\r\nx: ", "x".repeat(8192)),
        ("HTTP/1.1 200 OK\r\n", "x: y\r\n".repeat(1000)),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "x".repeat(8192)),
        ("HTTP/1.1 200 OK\r\n\r\n", "x".repeat(8192)), // where TLS would begin
        ("", "x".repeat(8192)),
        ("", "HTTP/1.1 100 Continue\r\n\r\n".repeat(100)),
    ];
    let cases = cases.map(|(head, chunk)| (format!("{head:?}"), (head, chunk)));
    side_by_side(cases, |(head, chunk)| {
        assert_takes([0.0..20.0], || {
            let (proxy, sent) = endless(head, chunk.clone());
            let world = World::https().and_files(&["files/a"]);
            let mut command = world.command(["--retries", "0", "--timeout", "1", "files"]);
            command.env("https_proxy", proxy);
            let ran = world.finish(command);
            assert_orderly(&ran, 1);
            ran.assert_failure(1, &["through the proxy "]);
            let sent = sent.load(Ordering::Relaxed);
            assert!(sent < 16 << 20, "{sent} bytes");
            [ran.elapsed.as_secs_f64()]
        });
    });
}

// ---- Secrets ------------------------------------------------------------------------------------

#[test]
fn secrets_that_a_server_repeats_stay_secret() {
    // The harness looks for secrets in the output of every run. Here the services repeat the
    // secrets in all the places that the program quotes.
    let errcodes = [40001, 40013, -1, 47001, 85088]
        .into_iter()
        .flat_map(|code| API.map(|step| (step, Fault::Errcode(code))));
    let cos =
        [400, 403, 404, 503].map(|status| (Step::Upload, Fault::cos_error(status, "AccessDenied")));
    let kinds = ["token", "stable_token"];
    let cases = errcodes
        .chain(cos)
        .flat_map(|case| kinds.map(|auth| (auth, case.clone())));
    side_by_side(
        cases.map(|case| (format!("{} {:?}", case.0, case.1.0), case)),
        |(auth, (step, fault))| {
            let world = World::with_files(&["files/a"]);
            world.configure(json!({ "auth": auth }));
            world.stand_in.fault(step, When::Always, fault);
            let ran = world.run(["--retries", "0", "-f", "json", "files"]);
            ran.assert_failure(1, &[stage(step), "injected for", "***"]);
        },
    );
}

#[test]
fn a_refusal_that_repeats_secrets_does_not_show_them() {
    let edit = |reply: &mut Value| {
        reply["errcode"] = 47001.into();
        reply["errmsg"] = format!("bad: {} {}", reply["authorization"], reply["token"]).into();
    };
    let world = World::with_files(&["files/a"]);
    world
        .stand_in
        .fault(Step::Info, When::Always, Fault::edit(edit));
    world
        .run(["--retries", "0", "files"])
        .assert_failure(1, &["errcode 47001"]);
}

#[test]
fn secrets_that_a_refusal_has_in_its_errmsg_alone_are_not_shown() {
    for (step, field) in [
        (Step::Token, "access_token"),
        (Step::Info, "authorization"),
        (Step::Info, "token"),
    ] {
        let world = World::with_files(&["files/a"]);
        let edit = move |reply: &mut Value| {
            reply["errcode"] = 47001.into();
            let secret = reply[field].as_str().unwrap();
            reply["errmsg"] = format!("bad \"{secret}\", {secret}, try again").into();
            reply[field] = Value::Null;
        };
        world.stand_in.fault(step, When::Always, Fault::edit(edit));
        world
            .run(["--retries", "0", "files"])
            .assert_failure(1, &["errcode 47001 (bad \"***\", ***, try again)"]);
    }
}

#[test]
fn an_access_token_in_the_error_of_a_link_is_not_shown() {
    let repeat = |request: &Request| {
        let target = request.target.clone();
        Some(Fault::edit(move |reply| {
            reply["file_list"][0]["status"] = 2.into();
            reply["file_list"][0]["errmsg"] = format!("refused: {target}").into();
        }))
    };
    let world = World::with_files(&["files/a"]);
    world
        .stand_in
        .fault(Step::Link, When::Always, Fault::custom(repeat));
    world
        .run(["--retries", "0", "files"])
        .assert_failure(1, &["获取下载链接失败: status 2"]);
}

#[test]
fn secrets_in_the_wrong_field_are_not_shown() {
    for field in ["token", "authorization"] {
        let world = World::with_files(&["files/a"]);
        world.stand_in.fault(
            Step::Info,
            When::Always,
            Fault::edit(move |reply| reply["url"] = reply[field].clone()),
        );
        world
            .run(["--retries", "0", "files"])
            .assert_failure(1, &["error: files/a: 上传文件失败: "]);
    }
}

#[test]
fn secrets_that_cos_spells_differently_stay_secret() {
    let encode = |text: &str, special: &[(char, &str)]| {
        special
            .iter()
            .fold(text.replace('%', "%25"), |text, (from, to)| {
                text.replace(*from, to)
            })
    };
    const URL: &[(char, &str)] = &[
        ('+', "%2B"),
        ('/', "%2F"),
        ('=', "%3D"),
        (';', "%3B"),
        ('&', "%26"),
    ];
    const XML: &[(char, &str)] = &[
        ('&', "&amp;"),
        ('=', "&#61;"),
        ('+', "&#43;"),
        ('/', "&#x2F;"),
    ];
    for spelling in [URL, XML, &[]] {
        let world = World::with_files(&["files/a"]);
        let permit = Arc::new(Mutex::new((String::new(), String::new())));
        let seen = Arc::clone(&permit);
        world.stand_in.fault(
            Step::Info,
            When::Always,
            Fault::edit(move |reply| {
                let text = |field: &str| reply[field].as_str().unwrap().to_owned();
                *seen.lock().unwrap() = (text("authorization"), text("token"));
            }),
        );
        let shared = Arc::clone(&permit);
        let spelled = move |_: &Request| {
            let (authorization, token) = shared.lock().unwrap().clone();
            let [authorization, token] =
                [authorization, token].map(|secret| encode(&secret, spelling));
            // The token comes first, as the program cuts off the end.
            let message = format!("{token} {authorization}");
            Some(Fault::status(
                400,
                &[],
                &format!("<Error><Code>{token}</Code><Message>{message}</Message></Error>"),
            ))
        };
        world
            .stand_in
            .fault(Step::Upload, When::Always, Fault::custom(spelled));
        let ran = world.run(["--retries", "0", "files"]);
        ran.assert_failure(1, &["上传文件失败: HTTP 400"]);
        let (authorization, token) = permit.lock().unwrap().clone();
        for secret in authorization
            .split(['&', '=', ';'])
            .chain(token.split(['+', '/', '=']))
        {
            assert!(
                secret.len() < 20 || !ran.stderr.contains(secret),
                "{secret} is in {}",
                ran.stderr
            );
        }
    }
}

// ---- Control characters -----------------------------------------------------------------

fn nasty_texts() -> [String; 9] {
    [
        "https://x/\u{1b}[31mred\u{1b}[0m\u{7}".to_owned(),
        "https://x/one\ntwo\r\nerror: three".to_owned(),
        "https://x/a\tb\u{b}\u{c}".to_owned(),
        "https://x/\u{202e}gpj.exe\u{2066}\u{2069}\u{202a}".to_owned(),
        "https://x/\u{85}\u{9b}31m\u{80}".to_owned(),
        "\0".to_owned(),
        "https://x/\\u001b\"]()[".to_owned(),
        "https://x/\u{feff}\u{200b}😀中文".to_owned(),
        format!("https://x/{}", "长".repeat(300_000)),
    ]
}

#[test]
fn a_links_control_characters_are_encoded_in_every_format() {
    let cases = nasty_texts()
        .into_iter()
        .flat_map(|text| ["text", "url", "markdown", "json"].map(|format| (text.clone(), format)));
    side_by_side(
        cases.map(|case| (case.0.chars().take(30).collect::<String>() + case.1, case)),
        |(text, format)| {
            let world = World::with_files(&["files/a"]);
            let url = text.clone();
            let edit = move |reply: &mut Value| {
                reply["file_list"][0]["download_url"] = url.as_str().into()
            };
            world
                .stand_in
                .fault(Step::Link, When::Always, Fault::edit(edit));
            let ran = world.run(["-f", format, "files"]);
            assert_orderly(&ran, 1);
            if text.len() > 8 << 10 {
                let words = [
                    "its link is longer than 8 KiB",
                    "the file is uploaded, as cloud://",
                ];
                ran.assert_failure(1, &words);
                return;
            }
            if !text.starts_with("https://") {
                let words = [
                    "the reply's link is not ",
                    "the file is uploaded, as cloud://",
                ];
                ran.assert_failure(1, &words);
                return;
            }
            ran.assert_success();
            assert_eq!(ran.lines().len(), 1, "{}", ran.stdout);
            match format {
                "json" => {
                    let url = ran.json()[0]["url"].as_str().unwrap().to_owned();
                    assert!(url.chars().all(|c| c.is_ascii_graphic()), "{url}");
                }
                "text" => assert_eq!(ran.lines()[0].split('\t').count(), 3),
                _ => {}
            }
        },
    );
}

#[test]
fn control_characters_in_a_file_id_or_an_upload_url_are_escaped() {
    let cases = nasty_texts().into_iter().flat_map(|text| {
        ["file_id", "url", "token", "cos_file_id"].map(|field| (text.clone(), field))
    });
    side_by_side(
        cases.map(|case| (case.0.chars().take(30).collect::<String>() + case.1, case)),
        |(text, field)| {
            let world = World::with_files(&["files/a"]);
            // The upload URL is invalid, or nobody listens at its address; no name server is asked.
            // A file_id has a proper beginning and end: the program refuses any other and does not show
            // it.
            let beginning = match field {
                "url" => "http://127.0.0.1:1/",
                "file_id" => "cloud://x/",
                _ => "https://x/",
            };
            let mut text = text.replace("https://x/", beginning);
            if field == "file_id" {
                text += "/temp3/a";
            }
            world.stand_in.fault(
                Step::Info,
                When::Always,
                Fault::edit(move |reply| reply[field] = text.as_str().into()),
            );
            for format in ["text", "json"] {
                let ran = world.run(["--retries", "0", "-f", format, "files"]);
                ran.assert_failure(1, &["error: files/a: "]);
                assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
                assert_eq!(ran.lines().len(), usize::from(format == "json"));
                assert!(
                    format == "text" || ran.json()[0]["error"].is_string(),
                    "{}",
                    ran.stdout
                );
            }
        },
    );
}

#[test]
fn control_characters_in_a_servers_error_are_escaped() {
    let cases = nasty_texts()
        .into_iter()
        .flat_map(|text| STEPS.map(|step| (text.clone(), step)));
    side_by_side(
        cases.map(|case| (case.0.chars().take(30).collect::<String>(), case)),
        |(text, step)| {
            let world = World::with_files(&["files/a"]);
            let body = match step {
                Step::Upload => {
                    format!("<Error><Code>{text}</Code><Message>{text}</Message></Error>")
                }
                _ => json!({ "errcode": 47001, "errmsg": text }).to_string(),
            };
            let code = if step == Step::Upload { 400 } else { 200 };
            world
                .stand_in
                .fault(step, When::Always, Fault::status(code, &[], &body));
            let ran = world.run(["--retries", "0", "files"]);
            assert_orderly(&ran, 1);
            ran.assert_failure(1, &[stage(step)]);
            assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
        },
    );
}
