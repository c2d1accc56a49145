//! URLs: those of the services may be raw or encoded, with a query or without one. Each link that is
//! printed leads a browser to its file, and each upload arrives under its own name.

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use stand_in::{Fault, Request, StandIn, Step, When};
use url::Url;

use crate::harness::{PATIENCE, Ran, World, can_be_named, file_id, not_on_windows, side_by_side};

const COS_PATH: &str = "/cos/7072-prod-1g2h3j4k5l-1300000000/";

/// Names that mean something else in a URL, or look like a URL that is encoded already.
const NAMES: [&str; 54] = [
    "C#入门.pdf",
    "what?.png",
    "100%25.png",
    "%E5%9F%83.jpg",
    "%e5%9f%83.jpg",
    "%E5%9F.jpg",
    "plain.txt",
    "图片 1.jpg",
    "a b.txt",
    "a+b.txt",
    "+",
    "+%2B+.txt",
    "100%.txt",
    "%.txt",
    "%%.txt",
    "%41.txt",
    "%zz.txt",
    "%23.txt",
    "%3F.txt",
    "%2B.txt",
    "a%2Fb.txt",
    "%2E%2E",
    "x..%2f..%2fx",
    "中%文.txt",
    "中%E4%B8%AD.txt",
    "#",
    "#.txt",
    "a#b#c.txt",
    "?",
    "?.txt",
    "a?b?c.txt",
    "?sign=1&t=2.txt",
    "x?sign=0123456789abcdef0123456789abcdef&t=1557307130",
    "temp3?temp3#temp3",
    "temp3",
    "a&b=c.txt",
    "&amp;.txt",
    "a;b,c.txt",
    "a@b:c$d*!.txt",
    "http:x.txt",
    "it's (1).txt",
    "[1].txt",
    "{x}|^.txt",
    "`tick`.txt",
    "\"q\".txt",
    "<b>.txt",
    "back\\slash.txt",
    "x...",
    "a..b~-_.txt",
    "é.txt",
    "e\u{301}.txt",
    "😀.png",
    "全角？＃％.txt",
    "C#/what?/100%25/%41 +.txt",
];

const QUERIES: [&str; 3] = [
    "",
    "?sign=0123456789abcdef0123456789abcdef&t=1557307130",
    "?sign=a%2Fb%3D&path=/temp3/a?b&t=1",
];

/// The path of a URL as a browser sends it to the server, decoded.
fn path_seen_by_browser(url: &Url) -> String {
    let path = percent_decode_str(url.path());
    path.decode_utf8().expect("a path in UTF-8").into_owned()
}

fn assert_link_leads_to_file(stand_in: &StandIn, link: &str, name: &str, query: &str) {
    let url = Url::parse(link).unwrap_or_else(|error| panic!("{link}: {error}"));
    assert_eq!(url.as_str(), link, "a browser takes it as it is");
    assert_eq!(
        path_seen_by_browser(&url),
        format!("/download/temp3/{name}")
    );
    assert_eq!(
        url.query().unwrap_or_default(),
        query.trim_start_matches('?')
    );
    assert_eq!(url.fragment(), None, "{link}");
    assert!(
        !url.path().contains('+'),
        "{link}: it may be taken for a space"
    );
    let mut reply = stand_in.agent().get(link).call().expect("a download");
    let bytes = reply.body_mut().read_to_vec().expect("its bytes");
    assert_eq!(String::from_utf8_lossy(&bytes), name);
}

fn assert_upload_arrived(request: &Request, origin: &str, query: &str) {
    let url = Url::parse(&format!("{origin}{}", request.target)).expect("a URL");
    let key = request.field("key").expect("a key");
    assert_eq!(path_seen_by_browser(&url), format!("{COS_PATH}{key}"));
    assert_eq!(
        url.query().unwrap_or_default(),
        query.trim_start_matches('?')
    );
}

#[test]
fn every_url_leads_to_its_file_whether_it_came_raw_or_encoded() {
    let kinds = [true, false].into_iter();
    let cases = kinds.flat_map(|is_raw| QUERIES.map(|query| (is_raw, query)));
    side_by_side(
        cases.map(|case| (format!("{case:?}"), case)),
        |(is_raw, query)| {
            let world = World::https();
            let names: Vec<_> = NAMES
                .into_iter()
                .filter(|name| can_be_named(name))
                .collect();
            for name in &names {
                world.file(format!("files/{name}"), name);
            }
            world.stand_in.raw_urls(is_raw);
            world.stand_in.set_url_query(query);
            let ran = world.run(["-r", "-f", "json", "files"]);
            ran.assert_success();
            let results = ran.json();
            assert_eq!(results.len(), names.len());
            for result in results {
                let name = result["name"].as_str().unwrap();
                let link = result["url"].as_str().unwrap();
                assert_link_leads_to_file(&world.stand_in, link, name, query);
            }
            let uploads = world.stand_in.requests(Step::Upload);
            assert_eq!(uploads.len(), names.len());
            for upload in uploads {
                assert_upload_arrived(&upload, &world.stand_in.base(), query);
            }
            world.assert_proper();
        },
    );
}

/// Links that a careful program does not pass on.
const BAD_LINKS: [&str; 30] = [
    "javascript:alert(1)",
    "JavaScript:alert(1)//https://x.example/",
    "javascript://x.example/%0Aalert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript://x.example/",
    "file:///etc/passwd",
    "ftp://x.example/a",
    "cloud://x.example/a",
    "text",
    "/temp3/a",
    "//x.example/a",
    "http:",
    "https://",
    "https:///x.example/a",
    "https://?a",
    "https:x.example/a",
    "https:\\\\x.example\\a",
    "https://x.example\\@evil.example/a",
    " https://x.example/a",
    "\u{1}https://x.example/a",
    "https ://x.example/a",
    "https://x .example/a",
    "https://x.example /a",
    "https://<script>alert(1)</script>/a",
    "https://x.example)<script>/a",
    "https://x.example:80)/a",
    "https://user:password@x.example/a",
    "https://x\u{202e}.example/a",
    "https://x%2eexample/a",
    "https://[::1/a",
];
const GOOD_LINKS: [&str; 7] = [
    "https://x.example/a",
    "http://x.example/a",
    "HTTPS://X.example/a",
    "https://a_b-c.9.example:8443/a?b#c",
    "http://127.0.0.1:1/a",
    "http://[::1]:80/a",
    "https://x.example",
];

/// Uploads a file for each link, and answers with those links.
fn run_with_links(links: &[&'static str], format: &str) -> Ran {
    let world = World::http();
    let mut answers = Vec::new();
    for (n, link) in links.iter().enumerate() {
        world.file(format!("files/{n:02}"), "x");
        answers.push((file_id(&format!("{n:02}")), *link));
    }
    let edit = move |reply: &mut Value| {
        for entry in reply["file_list"].as_array_mut().into_iter().flatten() {
            let answer = answers.iter().find(|(id, _)| entry["fileid"] == **id);
            entry["download_url"] = answer.expect("a file of the run").1.into();
        }
    };
    world
        .stand_in
        .fault(Step::Link, When::Always, Fault::edit(edit));
    world.run(["-f", format, "files"])
}

#[test]
fn a_link_that_is_no_web_address_is_refused_for_its_file_alone() {
    let links = [&BAD_LINKS[..], &GOOD_LINKS[..]].concat();
    for format in ["text", "url", "markdown", "json"] {
        let ran = run_with_links(&links, format);
        let counts = format!("{} uploaded ({} B), {} failed", 7, 7, BAD_LINKS.len());
        ran.assert_failure(1, &[&counts]);
        let told = "获取下载链接失败: the reply's link is not an http or https address";
        assert_eq!(ran.stderr.matches(&told[..15]).count(), BAD_LINKS.len());
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
        let printed = match format {
            "json" => ran
                .json()
                .iter()
                .filter(|line| line["url"].is_string())
                .count(),
            _ => ran.lines().len(),
        };
        assert_eq!(printed, GOOD_LINKS.len(), "{}", ran.stdout);
        for word in ["javascript", "script>", "data:", "user:password"] {
            assert!(!ran.stdout.to_lowercase().contains(word), "{}", ran.stdout);
        }
        for n in 0..BAD_LINKS.len() {
            let file_id = file_id(&format!("{n:02}"));
            assert!(ran.stderr.contains(&file_id), "{}", ran.stderr);
        }
    }
}

// ---- Long names ---------------------------------------------------------------------------------

/// Names of 850 bytes under the folder `temp3/`, with as many commas as fit in.
fn long_names(count: usize) -> Vec<String> {
    let folder = format!("{}/", ",".repeat(200)).repeat(4);
    let name = |n: usize| {
        let rest = 850 - "temp3/".len() - folder.len();
        format!("{folder}{n:03}{}", ",".repeat(rest - 3))
    };
    (0..count).map(name).collect()
}

#[test]
fn fifty_links_with_names_full_of_commas_are_read() {
    if not_on_windows("paths of 850 characters") {
        return;
    }
    let kinds = [(true, false), (false, false), (true, true), (false, true)];
    let names = long_names(120);
    side_by_side(
        kinds.map(|kind| (format!("{kind:?}"), kind)),
        |(is_raw, is_encoded)| {
            let world = World::http();
            world.stand_in.raw_urls(is_raw);
            world.stand_in.encode_file_ids(is_encoded);
            for name in &names {
                world.file(format!("files/{name}"), "x");
            }
            // While the first call for links waits, all files are uploaded. At least 70 of them are
            // left for the second one.
            world.stand_in.fault(Step::Link, When::Nth(1), Fault::Hold);
            let child = world.start(["-r", "--manifest", "sent.jsonl", "files"]);
            assert!(world.stand_in.wait_for(Step::Upload, 120, PATIENCE));
            world.stand_in.open_gate();
            let ran = world.wait(child);
            ran.assert_success();
            assert_eq!(ran.lines().len(), 120);
            let calls = world.stand_in.requests(Step::Link);
            assert_eq!(calls[1].json()["file_list"].as_array().unwrap().len(), 50);
            world.assert_proper();
            // The manifest takes such `file_id`s, too.
            let again = world.run(["-r", "--manifest", "sent.jsonl", "files"]);
            again.assert_success();
            assert_eq!(again.lines(), ran.lines());
            assert_eq!(world.count(Step::Upload), 120);
        },
    );
}

#[test]
fn a_reply_with_too_many_values_is_still_refused() {
    let world = World::with_files(&["a"]);
    let body = format!("[\"\\\\\",{}1]", "{},".repeat(3_000));
    world
        .stand_in
        .fault(Step::Link, When::Always, Fault::Body(body.into()));
    let ran = world.run(["--retries", "0", "a"]);
    ran.assert_failure(1, &["获取下载链接失败: 127.0.0.1: the reply is not JSON"]);
}

#[test]
fn quotes_and_backslashes_in_a_reply_do_not_mislead_the_guard() {
    if not_on_windows("quotes in names") {
        return;
    }
    let world = World::http();
    let names = ["\",\",\"", "\\", "\\\",,,\\\\\",,", "[[[{{{,,,"];
    for name in names {
        world.file(format!("files/{name}"), "x");
    }
    let commas = ",[{".repeat(3_000);
    let edit = move |reply: &mut Value| reply["more"] = json!(["\\\"", commas, "\\\\"]);
    world
        .stand_in
        .fault(Step::Link, When::Always, Fault::edit(edit));
    world.run(["files"]).assert_success();
}
