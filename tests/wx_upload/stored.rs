//! What is stored beside the bytes: the type, the charset, how long caches keep it.

use serde_json::json;
use stand_in::Step;

use crate::harness::World;

const MIB: usize = 1 << 20;
const GBK: &[u8] = b"\xd6\xd0\xce\xc4";

fn ascii(length: usize) -> Vec<u8> {
    b"a".repeat(length)
}

/// Uploads files, and checks the type that is stored with each.
fn assert_types(files: &[(&str, Vec<u8>, &str)]) {
    let world = World::http();
    for (name, bytes, _) in files {
        world.file(format!("files/{name}"), bytes);
    }
    world.run(["files"]).assert_success();
    let objects = world.stand_in.objects();
    for (name, bytes, content_type) in files {
        let stored = &objects[&format!("temp3/{name}")];
        assert_eq!(
            stored.content_type.as_deref(),
            Some(*content_type),
            "{name}"
        );
        assert!(stored.bytes.as_ref() == Some(bytes), "{name}");
    }
    world.assert_proper();
}

#[test]
fn a_charset_is_stated_only_where_all_of_a_text_is_utf8() {
    let chinese = "中".repeat(5 * MIB / 3).into_bytes();
    let utf8 = "; charset=utf-8";
    let cases = [
        ("ascii then GBK", [ascii(64 << 10), GBK.into()].concat(), ""),
        (
            "much ascii, then GBK",
            [ascii(4 * MIB - 4), GBK.into()].concat(),
            "",
        ),
        (
            "ascii then UTF-8",
            [ascii(64 << 10), "中".into()].concat(),
            utf8,
        ),
        (
            "a character over 64 KiB",
            [ascii((64 << 10) - 1), "中".into()].concat(),
            utf8,
        ),
        (
            "a long one over 128 KiB",
            [ascii((128 << 10) - 2), "😀".into()].concat(),
            utf8,
        ),
        (
            "a last character cut off",
            "中文".as_bytes()[..5].to_vec(),
            "",
        ),
        ("GBK, then UTF-8", [GBK, "中文".as_bytes()].concat(), ""),
        ("4 MiB of ascii", ascii(4 * MIB), utf8),
        ("more than 4 MiB of ascii", ascii(4 * MIB + 1), ""),
        ("5 MiB of Chinese", chinese.clone(), utf8),
        ("cut off at 4 MiB", [b"ab", &chinese[..]].concat(), utf8),
        ("cut off there, too", [b"a", &chinese[..]].concat(), utf8),
        (
            "5 MiB, soon GBK",
            [ascii(100_000), GBK.into(), ascii(5 * MIB)].concat(),
            "",
        ),
    ];
    let mut files = Vec::new();
    for (case, bytes, charset) in cases {
        for (extension, mime) in [("html", "text/html"), ("txt", "text/plain")] {
            files.push((
                format!("{case}.{extension}"),
                bytes.clone(),
                format!("{mime}{charset}"),
            ));
        }
    }
    let files: Vec<_> = files
        .iter()
        .map(|(name, bytes, stored)| (name.as_str(), bytes.clone(), stored.as_str()))
        .collect();
    assert_types(&files);
}

#[test]
fn a_ts_file_is_a_video_or_a_program() {
    let video = [&[0x47, 0x40, 0x00, 0x10, 0x00][..], &[0xff; 183]].concat();
    let program = b"export const x: number = 1;\n".to_vec();
    assert_types(&[
        ("a.ts", video.clone(), "video/mp2t"),
        ("B.TS", video, "video/mp2t"),
        ("c.ts", program, "text/plain; charset=utf-8"),
        ("d.ts", "// 中文".into(), "text/plain; charset=utf-8"),
        ("empty.ts", Vec::new(), "text/plain; charset=utf-8"),
        (
            "other.ts",
            b"\0\xff\xfe".to_vec(),
            "video/vnd.dlna.mpeg-tts",
        ),
    ]);
}

#[test]
fn cache_control_of_the_config_is_stored_with_each_object() {
    let value = "max-age=31536000, immutable";
    let world = World::with_files(&["files/a.txt", "files/b.bin", "files/c"]);
    world.configure(json!({ "cache_control": value }));
    world.run(["files"]).assert_success();
    for (key, object) in world.stand_in.objects() {
        assert_eq!(object.cache_control.as_deref(), Some(value), "{key}");
    }
    world.assert_proper();
    for upload in world.stand_in.requests(Step::Upload) {
        assert_eq!(
            upload
                .fields
                .iter()
                .filter(|(name, _)| name == "Cache-Control")
                .count(),
            1
        );
    }
}

#[test]
fn without_cache_control_no_such_field_is_sent() {
    for value in [json!(null), json!(""), json!("  ")] {
        let world = World::with_files(&["a.txt"]);
        world.configure(json!({ "cache_control": value }));
        world.run(["a.txt"]).assert_success();
        assert_eq!(world.stand_in.objects()["temp3/a.txt"].cache_control, None);
    }
}

#[test]
fn a_cache_control_that_is_no_header_is_refused() {
    let odd = [json!(3600), json!(true), json!(["no-cache"]), json!({})];
    let bad = [
        "a\nb",
        "a\r\nSet-Cookie: x",
        "a\u{0}b",
        "a\tb",
        "\u{7f}",
        "缓存",
        "a\u{202e}",
    ];
    for value in odd.into_iter().chain(bad.map(|value| json!(value))) {
        let world = World::with_files(&["a.txt"]);
        world.configure(json!({ "cache_control": value }));
        let ran = world.run(["a.txt"]);
        world.assert_refused(&ran, &["config.json: `cache_control` must be"]);
    }
}
