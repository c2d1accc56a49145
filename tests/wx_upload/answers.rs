//! Answers that are not as the services document them: from COS, from the API, and from what stands on
//! the way.

use std::net::TcpListener;

use serde_json::Value;
use stand_in::{Fault, Step, When, file_id_of};

use crate::harness::{Ran, World, not_under_wine, read_line};

/// Runs with one file, where each answer of `step` is `fault`.
fn run_with(step: Step, fault: Fault, arguments: &[&str]) -> (World, Ran) {
    let world = World::with_files(&["a.txt"]);
    world.stand_in.fault(step, When::Always, fault);
    let ran = world.run(["--retries", "0", "a.txt"].iter().chain(arguments));
    (world, ran)
}

// ---- COS ----------------------------------------------------------------------------------------

#[test]
fn white_space_and_entities_in_a_refusal_are_read() {
    let xml = "<Error>\n  <Code>\n    PaymentRequired\n  </Code>\n  <Message> top &lt;up&gt; &amp;amp; go \
               </Message>\n</Error>";
    let (_, ran) = run_with(Step::Upload, Fault::status(400, &[], xml), &[]);
    let told =
        "HTTP 400 Bad Request: PaymentRequired: top <up> &amp; go: the account is in arrears";
    ran.assert_failure(1, &[told, "the run was stopped"]);
}

#[test]
fn a_refusal_that_is_no_xml_shows_its_first_words() {
    let long = "no ".repeat(200);
    let cases = [
        (
            "blocked by  policy\n17",
            "HTTP 400 Bad Request: blocked by policy 17\n",
        ),
        (
            r#"{"why":"quota"}"#,
            "HTTP 400 Bad Request: {\"why\":\"quota\"}\n",
        ),
        (&long, "HTTP 400 Bad Request: no no no no "),
    ];
    for (body, told) in cases {
        let (_, ran) = run_with(Step::Upload, Fault::status(400, &[], body), &[]);
        ran.assert_failure(1, &[told]);
        assert!(
            ran.stderr.lines().next().unwrap().len() < 200,
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn a_403_without_a_reason_says_what_it_may_be() {
    let (_, ran) = run_with(Step::Upload, Fault::status(403, &[], ""), &[]);
    let told = "HTTP 403 Forbidden: no reason was given: COS refused the signature, or a proxy";
    ran.assert_failure(1, &[told]);
}

#[test]
fn a_checksum_that_is_no_number_counts_as_missing() {
    for checksum in ["", "-", "0x1f", "12 34", "18446744073709551616"] {
        let header = Fault::headers(&[("x-cos-hash-crc64ecma", Some(checksum))]);
        let (world, ran) = run_with(Step::Upload, header, &[]);
        ran.assert_success();
        assert_eq!(world.count(Step::Upload), 1);
    }
}

// ---- The API ------------------------------------------------------------------------------------

/// Ways to spoil JSON that the SDKs read all the same. Each leaves `refused` in it.
fn spoiled() -> [(&'static str, Vec<u8>); 5] {
    let json = |words: &[u8]| [br#"{"errcode":40001,"errmsg":"refused "#, words, br#""}"#].concat();
    [
        ("a raw newline", json(b"a\nb")),
        ("a raw control character", json(b"a\x01b")),
        ("bytes that are not UTF-8", json(b"a\xff\xfeb")),
        (
            "a byte-order mark",
            [b"\xef\xbb\xbf", json(b"a").as_slice()].concat(),
        ),
        ("a NUL at the end", [json(b"a").as_slice(), b"\0"].concat()),
    ]
}

#[test]
fn json_with_a_spoiled_text_renews_a_refused_token() {
    for (how, body) in spoiled() {
        let world = World::with_files(&["a.txt"]);
        world.save_token("old", serde_json::json!({}));
        let fault = Fault::Body(body);
        world.stand_in.fault(Step::Info, When::Once, fault);
        let ran = world.run(["--retries", "0", "a.txt"]);
        assert_eq!(ran.status, Some(0), "{how}: {}", ran.stderr);
        assert_eq!(world.count(Step::Token), 1, "{how}");
    }
}

#[test]
fn a_page_in_place_of_json_names_its_host_and_what_to_do() {
    let page = format!("<html><title>Log in</title>{}</html>", " x".repeat(300));
    let headers = [("Content-Type", "text/html")];
    let (_, ran) = run_with(Step::Info, Fault::status(200, &headers, &page), &[]);
    let words = [
        "127.0.0.1: the reply is not JSON (text/html: <html><title>Log in</title> x x",
        "perhaps it is the login page of a network (open a page in a browser), or `api_base` is wrong",
    ];
    ran.assert_failure(1, &words);
    assert!(
        ran.stderr.lines().next().unwrap().len() < 350,
        "{}",
        ran.stderr
    );
}

#[test]
fn a_redirect_names_both_hosts_and_not_the_rest_of_the_address() {
    let headers = [("Location", "https://login.example/in?token=geheim123")];
    for step in [Step::Info, Step::Upload] {
        let (_, ran) = run_with(step, Fault::status(302, &headers, ""), &[]);
        let told = "HTTP 302 Found: 127.0.0.1 redirects to login.example, and redirects are not";
        ran.assert_failure(1, &[told, "login page", "`api_base`"]);
        assert!(!ran.stderr.contains("geheim"), "{}", ran.stderr);
    }
}

#[test]
fn a_file_id_of_another_file_is_refused_before_anything_is_uploaded() {
    for other in [
        "temp3/b.txt",
        "other/a.txt",
        "temp3/aa.txt",
        "temp3/a.txt.bak",
    ] {
        let edit = move |reply: &mut Value| reply["file_id"] = file_id_of(other).into();
        let (world, ran) = run_with(Step::Info, Fault::edit(edit), &[]);
        let told = "获取文件上传链接失败: the reply's `file_id` is not that of this file\n";
        ran.assert_failure(1, &[told]);
        assert_eq!((ran.stdout.as_str(), world.count(Step::Upload)), ("", 0));
    }
}

#[test]
fn a_file_id_may_have_its_name_percent_encoded() {
    let world = World::with_files(&["图 1.png"]);
    let edit = |reply: &mut Value| {
        reply["file_id"] = file_id_of("temp3/%E5%9B%BE%201.png").into();
    };
    world
        .stand_in
        .fault(Step::Info, When::Always, Fault::edit(edit));
    let ran = world.run(["--retries", "0", "图 1.png"]);
    // The stand-in stores it under its raw file_id, and so knows no link for this one.
    ran.assert_failure(1, &["STORAGE_FILE_NONEXIST", "/temp3/%E5%9B%BE%201.png"]);
    assert_eq!(world.count(Step::Upload), 1);
}

// ---- The way ------------------------------------------------------------------------------------

#[test]
fn an_upload_that_stalls_at_its_beginning_may_have_met_a_small_mtu() {
    let told =
        "no upload does: the way there may drop large packets (a VPN, PPPoE): set a smaller MTU";
    let world = World::http();
    world.file("a", vec![1; 100_000]);
    world.file("b", vec![2; 100_000]);
    world
        .stand_in
        .fault(Step::Upload, When::Times(2), Fault::Silence);
    let arguments = ["--timeout", "3", "--retries", "1", "-j", "1"];
    world
        .run(arguments.iter().chain(&["a"]))
        .assert_failure(1, &[told]);
    // After an upload that got through, silence has another reason.
    world
        .stand_in
        .fault(Step::Upload, When::Nth(4), Fault::Silence);
    let arguments = ["--timeout", "3", "--retries", "0", "-j", "1", "a", "b"];
    let ran = world.run(arguments);
    ran.assert_failure(1, &["1 uploaded", "silent for 3 s"]);
    assert!(!ran.stderr.contains("MTU"), "{}", ran.stderr);
}

#[test]
fn a_network_that_is_down_is_not_taken_for_a_small_mtu() {
    if not_under_wine("a process that can be killed by the script that started it") {
        return;
    }
    let world = World::with_files(&["a.txt"]);
    let cos = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", cos.local_addr().unwrap());
    world.stand_in.set_upload_origin(&origin);
    let mut child = world.start(["--timeout", "1", "a.txt"]);
    let _silent = cos.accept().unwrap();
    drop(cos); // no other connection can be made
    let note = read_line(child.stderr.as_mut().unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(note.contains("the run waits for the network"), "{note}");
    assert!(!note.contains("MTU"), "{note}");
}
