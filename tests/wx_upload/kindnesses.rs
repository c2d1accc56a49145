//! What makes the program easy to live with: for those who call it from an editor, mistype, or start
//! from nothing.

use std::fs;

use serde_json::json;

use crate::documents::options;
use crate::harness::{Ran, World};
use stand_in::{Fault, Step, When};

// ---- Editors ------------------------------------------------------------------------------------

#[test]
fn a_first_path_upload_that_is_no_file_is_passed_over() {
    for word in ["upload", "u"] {
        let world = World::with_files(&["a.png", "b.png", "154190339_附件/private.txt"]);
        let ran = world.run([word, "-f", "url", "a.png", "b.png"]);
        assert_eq!(ran.assert_success().lines().len(), 2);
        assert_eq!(world.keys(), ["temp3/a.png", "temp3/b.png"]);
        world.assert_proper();
    }
}

#[test]
fn upload_alone_uploads_nothing() {
    let world = World::with_files(&["154190339_附件/private.txt"]);
    for arguments in [
        ["upload"].as_slice(),
        &["u"],
        &["-q", "-f", "url", "upload"],
    ] {
        let ran = world.run(arguments);
        world.assert_refused(&ran, &["upload", "PATH", "--help"]);
    }
    assert_eq!(world.stand_in.connections(), 0);
}

#[test]
fn a_file_or_directory_upload_is_uploaded() {
    let world = World::with_files(&["u", "upload/a.png", "b.png"]);
    let ran = world.run(["upload", "b.png"]);
    assert_eq!(ran.assert_success().lines().len(), 2);
    world.run(["u"]).assert_success();
    assert_eq!(world.keys(), ["temp3/a.png", "temp3/b.png", "temp3/u"]);
}

#[test]
fn only_the_first_path_is_passed_over() {
    let world = World::with_files(&["a.png"]);
    for arguments in [["a.png", "upload"], ["upload", "u"], ["u", "uploads"]] {
        let ran = world.run(arguments);
        world.assert_refused(&ran, &[arguments[1]]);
    }
}

// ---- Windows, and its shells --------------------------------------------------------------------

#[test]
fn a_star_that_no_shell_expands_leads_to_the_directory() {
    let world = World::with_files(&["pics/a.png"]);
    for path in ["*.jpg", "pics/*", "图片/*.png"] {
        let ran = world.run([path]);
        world.assert_refused(&ran, &[path, "*", "name the directory"]);
    }
}

/// The text in UTF-16.
fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(to_bytes).collect()
}

#[test]
fn a_config_in_utf16_is_named_as_such() {
    let world = World::with_files(&["a.txt"]);
    let text = r#"{ "appid": "wx", "upload_dir": "附件" }"#;
    for to_bytes in [u16::to_le_bytes, u16::to_be_bytes] {
        for mark in ["\u{feff}", ""] {
            world.file("config.json", utf16(&format!("{mark}{text}"), to_bytes));
            let ran = world.run(["a.txt"]);
            world.assert_refused(
                &ran,
                &["./config.json: ", "is in UTF-16", "save it as UTF-8"],
            );
        }
    }
    // Other configs are not.
    for text in ["x", "{ \"appid\": \"\0\" }"] {
        world.file("config.json", text);
        let ran = world.run(["a.txt"]);
        world.assert_refused(&ran, &["is not valid JSON: "]);
        assert!(!ran.stderr.contains("UTF-16"), "{}", ran.stderr);
    }
}

#[test]
fn a_config_that_is_empty_or_in_another_encoding_is_named_as_such() {
    let world = World::with_files(&["a.txt"]);
    let gbk = b"{\n\"upload_dir\": \"\xb8\xbd\xbc\xfe\" }";
    let cases: [(&[u8], &str, &str); 4] = [
        (b"", "is empty: it must look like {", "是空的：应形如 {"),
        (b" \r\n", "is empty: ", "是空的："),
        (b"\xef\xbb\xbf", "is empty: ", "是空的："),
        (
            gbk,
            "is not in UTF-8 (line 2): save it as UTF-8\n",
            "第 2 行不是 UTF-8 编码：请另存为，编码选 UTF-8\n",
        ),
    ];
    for (config, english, chinese) in cases {
        world.file("config.json", config);
        world.assert_refused(&world.run(["a.txt"]), &["./config.json: ", english]);
        world.assert_refused(&world.run_in_chinese(["a.txt"]), &[chinese]);
    }
}

#[test]
fn a_backslash_in_the_config_leads_to_a_slash() {
    let world = World::with_files(&["a.txt"]);
    // What JSON takes for an escape is lost: the last one has a tab in it, and is no directory.
    for (path, words) in [
        (
            r"D:\pictures",
            "is not valid JSON: invalid escape at line 1 ",
        ),
        (
            r"C:\users\me",
            "is not valid JSON: invalid escape at line 1 ",
        ),
        (
            r"D:\",
            "is not valid JSON: in line 1 a closing \" is missing",
        ),
        (r"D:\temp", r"\u0009emp: "),
    ] {
        for line_end in ["\n", "\r\n"] {
            world.file(
                "config.json",
                format!("{{ \"env\": \"e\", \"upload_dir\": \"{path}\"{line_end}}}"),
            );
            let ran = world.run(["-n"]);
            world.assert_refused(&ran, &["./config.json", words, r"write / or \\ for each \"]);
        }
    }
}

#[test]
fn a_comment_in_the_config_is_told_with_its_line() {
    let world = World::with_files(&["a.txt"]);
    for (config, line) in [
        ("{ // the account\n\"env\": \"e\" }", 1),
        ("{\n\"env\": \"e\", // mine\n\"appid\": \"a\" }", 2),
        ("\u{feff}{\n\"env\": \"e\" /* mine */\n}", 2),
    ] {
        world.file("config.json", config);
        let told = format!("is not valid JSON: there is a comment in line {line}: delete it\n");
        world.assert_refused(&world.run(["-n"]), &[&told]);
    }
}

#[test]
fn a_pasted_tab_in_the_config_is_told_with_its_line() {
    let world = World::with_files(&["a.txt"]);
    world.file("config.json", "{\n\"env\": \"e\t\",\n\"appid\": \"a\" }");
    let told = "a tab or another control character within quotes in line 2: delete it\n";
    world.assert_refused(&world.run(["-n"]), &[told]);
}

// ---- A config to fill in ------------------------------------------------------------------------

#[test]
fn only_what_is_missing_is_named_with_its_variable_and_its_place() {
    let world = World::with_files(&["a.txt"]);
    let keys = [
        ("appid", "WX_APPID", "mp.weixin.qq.com"),
        ("secret", "WX_SECRET", "mp.weixin.qq.com"),
        ("env", "WX_ENV", "cloud.weixin.qq.com/cloudrun"),
    ];
    for missing in [
        [true, false, false],
        [false, true, false],
        [false, false, true],
        [true, true, false],
        [true, false, true],
        [false, true, true],
        [true, true, true],
    ] {
        let mut changes = json!({});
        for ((key, ..), is_missing) in keys.into_iter().zip(missing) {
            if is_missing {
                changes[key] = "".into();
            }
        }
        world.configure(changes);
        let ran = world.run(["a.txt"]);
        world.assert_refused(&ran, &["error: ./config.json: ", "missing: fill "]);
        for ((key, variable, place), is_missing) in keys.into_iter().zip(missing) {
            let says = |words: &str| ran.stderr.contains(words);
            assert_eq!(says(&format!("`{key}`")), is_missing, "{}", ran.stderr);
            assert_eq!(says(variable), is_missing, "{}", ran.stderr);
            assert!(says(place) || !is_missing, "{}", ran.stderr);
        }
        let has_place = ran.stderr.contains("mp.weixin.qq.com");
        assert_eq!(has_place, missing[0] || missing[1], "{}", ran.stderr);
    }
}

// ---- Notes --------------------------------------------------------------------------------------

/// Whether a run said that a new token ends the token of other programs.
fn has_token_note(ran: &Ran) -> bool {
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    let notes: Vec<_> = ran
        .stderr
        .lines()
        .filter(|line| line.contains("other programs"))
        .collect();
    let advice = "write \"auth\": \"stable_token\"";
    let is_right = |note: &&str| note.starts_with("note: ./config.json: ") && note.contains(advice);
    assert!(
        notes.len() <= 1 && notes.iter().all(is_right),
        "{}",
        ran.stderr
    );
    !notes.is_empty()
}

#[test]
fn a_token_that_ends_another_is_noted_once_where_the_user_has_not_chosen() {
    let world = World::with_files(&["a.txt", "b.txt", "c.txt"]);
    for auth in [
        json!(null),
        json!(""),
        json!("token"),
        json!("stable_token"),
    ] {
        world.configure(json!({ "auth": auth }));
        let has_chosen = auth.as_str().is_some_and(|auth| !auth.is_empty());
        assert_eq!(
            has_token_note(&world.run(["a.txt", "b.txt", "c.txt"])),
            !has_chosen
        );
        // The token is in the config now, and none is fetched.
        assert!(!has_token_note(&world.run(["a.txt"])));
    }
    world.configure(json!({ "auth": null }));
    assert!(!has_token_note(&world.run(["-n", "a.txt"])));
    assert!(!has_token_note(&world.run(["-q", "a.txt"])));
}

#[test]
fn a_run_that_fetches_two_tokens_notes_it_once() {
    let world = World::with_files(&["a.txt"]);
    world.configure(json!({ "auth": null }));
    world
        .stand_in
        .fault(Step::Info, When::Once, Fault::Errcode(42001));
    assert!(has_token_note(&world.run(["a.txt"])));
    assert_eq!(world.stand_in.tokens_issued().len(), 2);
}

#[test]
fn more_than_ten_that_are_skipped_for_one_reason_share_a_note() {
    for (name, options, why) in [
        ("sub", [].as_slice(), "a directory (use -r "),
        (".sub", &["-r"], "hidden "),
        ("~$sub", &[], "put there by the system "),
    ] {
        let world = World::with_files(&["dir/a.txt"]);
        let options = || options.iter().chain(&["dir"]);
        for count in 1..=12 {
            fs::create_dir(world.path(format!("dir/{name}{count:02}"))).unwrap();
            let ran = world.run(options());
            let notes: Vec<_> = ran
                .stderr
                .lines()
                .filter(|line| line.starts_with("note: "))
                .collect();
            let first = if count <= 10 {
                format!("note: dir/{name}01: skipped: {why}")
            } else {
                format!("note: dir/{name}01 and {} more: skipped: {why}", count - 1)
            };
            assert!(notes[0].starts_with(&first), "{}", ran.stderr);
            assert_eq!(notes.len(), if count <= 10 { count } else { 1 });
            assert_eq!(ran.count("skipped"), count);
        }
    }
}

#[test]
fn each_reason_has_its_own_note_if_many_are_skipped() {
    let world = World::with_files(&["dir/a.txt", "dir/Thumbs.db", "dir/desktop.ini"]);
    for count in 0..20 {
        world.file(format!("dir/.f{count}"), "x");
    }
    let ran = world.run(["-r", "dir"]);
    let words = [
        "dir/Thumbs.db: skipped: ",
        "dir/desktop.ini: skipped: ",
        "note: dir/.f0 and 19 more: skipped: hidden",
    ];
    ran.assert_failure(0, &words);
    assert_eq!(ran.stderr.matches("note: ").count(), 3, "{}", ran.stderr);
    assert_eq!(ran.count("skipped"), 22);
}

// ---- Mistypes -----------------------------------------------------------------------------------

#[test]
fn a_mistyped_option_word_or_format_is_told_with_what_was_meant() {
    let world = World::with_files(&["a.txt"]);
    let cases: [(&[&str], &str); 13] = [
        (&["--recusive"], "--recursive"),
        (&["--dryrun"], "--dry-run"),
        (&["--dry"], "--dry-run"),
        (&["--DRY_RUN"], "--dry-run"),
        (&["--excldue", "x"], "--exclude"),
        (&["--manifests", "x"], "--manifest"),
        (&["-v"], "-V"),
        (&["help"], "--help"),
        (&["version"], "--version"),
        (&["init"], "--init"),
        (&["-f", "md"], "markdown"),
        (&["-f", "txt"], "text"),
        (&["-f", "JSON"], "json"),
    ];
    for (arguments, meant) in cases {
        let ran = world.run(arguments);
        world.assert_refused(&ran, &[&format!(": did you mean {meant}?")]);
    }
    for arguments in [["--verbose"].as_slice(), &["-z"], &["-f", "png"], &["--x"]] {
        let ran = world.run(arguments);
        assert!(!ran.stderr.contains("did you mean"), "{}", ran.stderr);
    }
}

#[test]
fn each_option_of_the_help_is_told_for_one_in_capitals() {
    let world = World::http();
    for option in options(&world.run(["--help"]).stdout) {
        let ran = world.run([&option.to_ascii_uppercase()]);
        world.assert_refused(&ran, &[&format!(": did you mean {option}?")]);
    }
}

#[test]
fn a_misspelled_key_is_noted_with_the_key_that_was_meant() {
    let cases = [
        ("uplaod_path", "upload_path"),
        ("Upload_Path", "upload_path"),
        ("cache-control", "cache_control"),
        ("maxage", "max_age"),
        ("MAX-AGE", "max_age"),
    ];
    for (key, meant) in cases {
        let world = World::with_files(&["a.txt"]);
        world.configure(json!({ key: "x" }));
        let note =
            format!("note: ./config.json: the key `{key}` is not known: did you mean `{meant}`?");
        world.run(["-n", "a.txt"]).assert_failure(0, &[&note]);
        let ran = world.run(["-q", "-n", "a.txt"]);
        assert_eq!(ran.stderr, "");
    }
    let world = World::with_files(&["a.txt"]);
    // Two letters, a short key, a key that is there already.
    world.configure(json!({ "uplaod_paht": 1, "authx": 1, "en": 1, "ENV": 1 }));
    let ran = world.run(["-n", "a.txt"]);
    assert!(!ran.stderr.contains("did you mean"), "{}", ran.stderr);
}

#[test]
fn a_config_with_a_hidden_txt_behind_its_name_is_noticed() {
    let world = World::with_files(&["a.txt"]);
    fs::rename(world.path("config.json"), world.path("config.json.txt")).unwrap();
    let ran = world.run(["a.txt"]);
    world.assert_refused(&ran, &["a config.json.txt: rename it to config.json"]);
}

#[test]
fn an_address_is_told_as_one_and_an_encoded_path_is_found() {
    let world = World::with_files(&["图 片.png", "100%25.png"]);
    for address in ["https://example.com/a.png", "http://example.com/a.png"] {
        let told = format!("{address} is an address");
        world.assert_refused(&world.run([address]), &[&told]);
    }
    world.assert_refused(&world.run(["%E5%9B%BE.png"]), &["%E5%9B%BE.png: "]);
    let encoded = "%E5%9B%BE%20%E7%89%87.png";
    world.run([encoded, "100%25.png"]).assert_success();
    assert_eq!(world.keys(), ["temp3/100%25.png", "temp3/图 片.png"]);
}
