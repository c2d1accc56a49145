//! The commands and samples of the README, run as they are written there, in each language.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use stand_in::{APPID, ENV, Fault, SECRET, StandIn, Step, When};
use url::Url;

use crate::documents::{Code, LANGUAGES, Language, code_blocks, read};
use crate::harness::{Ran, World};
use crate::shell::{link_program, run_lines, shell, with_program};
use crate::unix::is_installed;

/// Where the links of the service lead.
const BUCKET: &str = "https://7072-prod-1g2h3j4k5l-1300000000.tcb.qcloud.la/";

/// The block of code that contains `word`.
fn recipe(language: &Language, word: &str) -> Code {
    let blocks = code_blocks(&read(language.readme)).into_iter();
    let mut with_word = blocks.filter(|block| block.text.contains(word));
    let block = with_word.next();
    block.unwrap_or_else(|| panic!("{}: no code with {word}", language.readme))
}

/// The line of the block with `word` that contains `word`, without its comment.
fn recipe_line(language: &Language, word: &str) -> String {
    let block = recipe(language, word);
    let line = block.text.lines().find(|line| line.contains(word));
    line.unwrap().split("  #").next().unwrap().trim().to_owned()
}

/// Makes the stand-in give links like those of the service.
fn lead_to_bucket(stand_in: &StandIn) {
    let edit = |reply: &mut Value| {
        for file in reply["file_list"].as_array_mut().unwrap() {
            let link = file["download_url"].as_str().unwrap();
            let (_, key) = link.split_once("/download/").unwrap();
            file["download_url"] = format!("{BUCKET}{key}").into();
        }
    };
    stand_in.fault(Step::Link, When::Always, Fault::edit(edit));
}

fn file_id(key: &str) -> String {
    stand_in::file_id_of(key)
}

// ---- Two minutes to the first link --------------------------------------------------------------

#[test]
fn with_the_config_of_the_script_the_first_commands_work_as_they_are() {
    for language in &LANGUAGES {
        let world = World::with_files(&["154190339_附件/说明.txt", "photo.jpg"]);
        link_program(world.dir.path());
        let block = recipe(language, "./wx-upload photo.jpg");
        let ran = run_lines(&world, &block.text, &[]);
        assert_eq!(
            (ran.status, ran.lines().len()),
            (Some(0), 2),
            "{}",
            ran.stderr
        );
        assert_eq!(world.keys(), ["temp3/photo.jpg", "temp3/说明.txt"]);
    }
}

#[test]
fn from_nothing_the_commands_lead_to_the_line_that_is_shown() {
    for language in &LANGUAGES {
        let world = World::with_files(&["photo.jpg"]);
        lead_to_bucket(&world.stand_in);
        fs::remove_file(world.path("config.json")).unwrap();
        link_program(world.dir.path());
        assert!(read(language.readme).contains("`./wx-upload --init`"));
        let base = world.stand_in.base();
        let variables = [("WX_API_BASE", base.as_str())];
        run_lines(&world, "./wx-upload --init", &variables).assert_failure(0, &["config.json"]);
        // Fills in the texts between the quotes.
        let mut config = fs::read_to_string(world.path("config.json")).unwrap();
        for (key, value) in [("appid", APPID), ("secret", SECRET), ("env", ENV)] {
            config = config.replace(
                &format!("\"{key}\": \"\""),
                &format!("\"{key}\": \"{value}\""),
            );
        }
        world.file("config.json", config);
        let line = "./wx-upload photo.jpg\n";
        assert!(
            code_blocks(&read(language.readme))
                .iter()
                .any(|block| block.text == line)
        );
        let ran = run_lines(&world, line, &variables);
        ran.assert_success();
        assert_eq!(ran.stdout, recipe(language, BUCKET).text);
    }
}

#[test]
fn from_nothing_to_the_first_upload_each_step_says_what_is_next() {
    let world = World::with_files(&["a.txt"]);
    fs::remove_file(world.path("config.json")).unwrap();
    // There is no config yet.
    world.assert_refused(&world.run(["a.txt"]), &["config.json", "--init"]);
    // There is a config to fill in.
    let words = ["config.json", "`appid`", "`secret`", "`env`"];
    world.run(["--init"]).assert_failure(0, &words);
    world.assert_refused(&world.run(["a.txt"]), &["config.json", "`"]);
    // The config is complete, but the fixed directory is missing.
    let mut config = world.config();
    for (key, value) in [("appid", APPID), ("secret", SECRET), ("env", ENV)] {
        config[key] = json!(value);
    }
    config["api_base"] = world.stand_in.base().into();
    world.file("config.json", config.to_string());
    world.assert_refused(&world.run([""; 0]), &["154190339_附件", "upload_dir"]);
    world.run(["a.txt"]).assert_success();
    assert_eq!(world.keys(), ["temp3/a.txt"]);
}

// ---- Common commands ----------------------------------------------------------------------------

const COMMON: &str = "wx-upload a.jpg b.pdf";

/// Runs the line of the common commands that contains `word`.
fn run_common(language: &Language, world: &World, word: &str) -> Ran {
    let block = recipe(language, COMMON).text;
    assert_eq!(block.lines().count(), 8, "eight common commands");
    let mut lines = block.lines();
    let line = lines.find(|line| line.contains(word)).expect(word);
    let ran = run_lines(world, line, &[]);
    assert_eq!(ran.status, Some(0), "{line}: {}", ran.stderr);
    ran
}

#[test]
fn each_common_command_does_what_its_comment_says() {
    for language in &LANGUAGES {
        let files = [
            "a.jpg",
            "b.pdf",
            "c.png",
            "pictures/1.png",
            "pictures/sub/2.png",
            "pictures/.hidden.png",
            "pictures/sub/2.psd",
        ];
        let world = World::with_files(&files);
        let run = |word| run_common(language, &world, word);

        assert_eq!(
            run("-n -r").lines(),
            ["1.png\ttemp3/1.png", "sub/2.png\ttemp3/sub/2.png"]
        );
        assert_eq!(world.requests(), 0);

        assert_eq!(run(COMMON).lines().len(), 2);
        assert_eq!(world.keys(), ["temp3/a.jpg", "temp3/b.pdf"]);

        run("-r -t");
        let keys = world.keys();
        assert!(keys.starts_with(&["img/2026/1.png", "img/2026/sub/2.png"].map(str::to_owned)));

        let links = run("-f url").stdout;
        assert_eq!(
            links,
            format!("{}/download/temp3/1.png\n", world.stand_in.base())
        );

        run("-f markdown");
        let article = fs::read_to_string(world.path("article.md")).unwrap();
        assert!(article.starts_with("![c.png](http"), "{article}");

        run("-u ");
        let is_unique = |key: &String| key.starts_with("temp3/1-") && key.ends_with(".png");
        assert!(world.keys().iter().any(is_unique), "{:?}", world.keys());

        run("--manifest");
        let uploads = world.count(Step::Upload);
        assert_eq!(run("--manifest").lines().len(), 1);
        assert_eq!(world.count(Step::Upload), uploads);

        let link = run("cloud://").stdout;
        assert!(
            link.starts_with("a.jpg\thttp")
                && link.ends_with(&format!("\t{}\n", file_id("temp3/a.jpg")))
        );
        assert_eq!(world.count(Step::Upload), uploads);
        world.assert_proper();
    }
}

#[test]
fn a_file_that_is_named_like_an_option_gets_into_the_article() {
    for language in &LANGUAGES {
        let world = World::with_files(&["-c.png", "b.png"]);
        run_common(language, &world, "-f markdown");
        assert_eq!(world.keys(), ["temp3/-c.png", "temp3/b.png"]);
    }
}

// ---- cron, CI, containers, other programs -------------------------------------------------------

#[test]
fn under_cron_a_dead_network_leaves_the_old_links_alone() {
    for language in &LANGUAGES {
        let world = World::with_files(&["public/a.txt", "public/sub/b.txt"]);
        let line = recipe_line(language, "links.new");
        for _ in 0..2 {
            let ran = run_lines(&world, &line, &[]);
            assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
        }
        assert_eq!(world.count(Step::Upload), 2);
        let links = fs::read_to_string(world.path("links.txt")).unwrap();
        assert_eq!(links.lines().count(), 2);
        world.configure(json!({ "api_base": "http://127.0.0.1:1" }));
        let line = line.replace("wx-upload -q", "wx-upload -q --retries 0");
        assert_eq!(run_lines(&world, &line, &[]).status, Some(1));
        assert_eq!(fs::read_to_string(world.path("links.txt")).unwrap(), links);
    }
}

#[test]
fn under_cron_a_success_is_silent_and_a_failure_is_a_sentence() {
    let world = World::with_files(&["154190339_附件/a.txt", "154190339_附件/directory/b.txt"]);
    fs::create_dir(world.path("elsewhere")).unwrap();
    let root = world.dir.path();
    // There is no TERM, HOME, PATH or standard input. cron would mail all output.
    let line = "exec \"$0\" -q --manifest sent.jsonl <&- >links.txt";
    for round in 0..2 {
        let ran = world.finish(shell(root, line, &[]));
        let silent = (Some(0), "", "");
        assert_eq!(
            (ran.status, ran.stdout.as_str(), ran.stderr.as_str()),
            silent
        );
        let links = fs::read_to_string(world.path("links.txt")).unwrap();
        assert_eq!(links.lines().count(), 1);
        assert_eq!(world.count(Step::Upload), 1, "round {round}");
    }
    // A failure is one sentence.
    world.file("154190339_附件/c.txt", "c");
    let refusal = Fault::cos_error(400, "EntityTooLarge");
    world.stand_in.fault(Step::Upload, When::Always, refusal);
    let ran = world.finish(shell(root, line, &[]));
    ran.assert_failure(
        1,
        &["error: ./154190339_附件/c.txt: 上传文件失败: HTTP 400 "],
    );
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    // Without a config, the message says what to do.
    let ran = world.finish(shell(&world.path("elsewhere"), line, &[]));
    ran.assert_failure(2, &["config.json", "--init"]);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
}

#[test]
fn in_ci_the_program_comes_from_an_archive_and_the_secrets_from_the_environment() {
    if !is_installed("curl") {
        return;
    }
    // Of a debug build tens of megabytes: it is made once, and with little compression.
    let archived = World::http();
    let release = archived.path("release/wx-upload-VERSION-TARGET");
    fs::create_dir_all(&release).unwrap();
    link_program(&release);
    archived.file(release.join("README.md"), "of the archive");
    let mut tar = Command::new("tar");
    tar.args(["--use-compress-program", "gzip -1", "-chf"]);
    tar.args(["archive.tar.gz", "-C", "release"]);
    tar.arg("wx-upload-VERSION-TARGET");
    tar.current_dir(archived.dir.path());
    assert!(tar.status().unwrap().success());

    for language in &LANGUAGES {
        // The repository has a README and a config of its own.
        let files = ["public/a.txt", "public/sub/b.txt", "README.md"];
        let world = World::with_files(&files);
        let own = r#"{"port": 3000}"#;
        world.file("config.json", own);
        let base = world.stand_in.base();
        let archive = Url::from_file_path(archived.path("archive.tar.gz")).unwrap();
        let variables = [
            ("ARCHIVE_URL", archive.as_str()),
            ("WX_APPID", APPID),
            ("WX_SECRET", SECRET),
            ("WX_ENV", ENV),
            ("WX_API_BASE", &base),
        ];
        let block = recipe(language, "ARCHIVE_URL").text;
        for _ in 0..2 {
            let ran = run_lines(&world, &format!("set -e\n{block}"), &variables);
            assert_eq!(ran.status, Some(0), "{}", ran.stderr);
            assert_eq!(world.keys(), ["site/a.txt", "site/sub/b.txt"]);
            assert_eq!(world.count(Step::Upload), 2);
        }
        for (file, content) in [("config.json", own), ("README.md", "README.md")] {
            assert_eq!(fs::read_to_string(world.path(file)).unwrap(), content);
        }
    }
}

#[test]
fn the_pages_of_a_web_site_come_last_and_nothing_is_sent_twice() {
    for language in &LANGUAGES {
        let world = World::with_files(&["public/index.html", "public/js/app.js", "public/a.css"]);
        let line = recipe_line(language, "-x \"*.html\"");
        for _ in 0..2 {
            let ran = run_lines(&world, &line, &[]);
            assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
        }
        let uploads = world.stand_in.requests(Step::Upload);
        let sent: Vec<_> = uploads
            .iter()
            .filter_map(|upload| upload.key.as_deref())
            .collect();
        assert_eq!((sent.len(), sent[2]), (3, "site/index.html"), "{sent:?}");
    }
}

#[test]
fn in_a_container_nothing_secret_is_needed() {
    for language in &LANGUAGES {
        let world = World::with_files(&["public/a.txt"]);
        // The app in the container has a config of its own.
        let own = r#"{"port": 80}"#;
        world.file("config.json", own);
        world.stand_in.auth_none(true);
        let base = world.stand_in.base();
        let variables = [("CBR_ENV_ID", ENV), ("WX_API_BASE", base.as_str())];
        for _ in 0..2 {
            let line = recipe_line(language, "wx-upload -r public");
            let ran = run_lines(&world, &line, &variables);
            assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        }
        assert_eq!(fs::read_to_string(world.path("config.json")).unwrap(), own);
        assert_eq!(world.keys(), ["temp3/a.txt"]);
        assert_eq!(world.count(Step::Token), 0);
        world.assert_proper();
    }
}

#[test]
fn a_shell_gets_the_links_and_learns_of_failures() {
    if !is_installed("jq") {
        return;
    }
    for language in &LANGUAGES {
        let world = World::with_files(&["pictures/a.png", "pictures/b\u{1}.png"]);
        let ran = run_lines(&world, &recipe_line(language, "jq"), &[]);
        let link = format!("{}/download/temp3/a.png", world.stand_in.base());
        assert_eq!((ran.status, ran.lines()), (Some(1), vec![link.as_str()]));
    }
}

#[test]
fn node_gets_the_links_and_learns_of_failures() {
    if !is_installed("node") {
        return;
    }
    for language in &LANGUAGES {
        let world = World::with_files(&["pictures/a.png", "pictures/b.png"]);
        let refusal = Fault::cos_error(400, "EntityTooLarge");
        let key = When::Key("temp3/b.png".into());
        world.stand_in.fault(Step::Upload, key, refusal);
        let blocks = code_blocks(&read(language.manual)).into_iter();
        let block = blocks
            .into_iter()
            .find(|block| block.text.contains("spawnSync"))
            .unwrap();
        assert_eq!(block.kind, "js");
        world.file("links.js", block.text);
        let ran = world.finish(with_program(&world, "node", &["links.js"], &[]));
        let link = format!("{}/download/temp3/a.png", world.stand_in.base());
        assert_eq!(ran.status, Some(1), "{}", ran.stderr);
        let lines = ran.lines();
        assert_eq!((lines.len(), lines[0]), (2, link.as_str()));
        assert!(
            lines[1].starts_with("pictures/b.png: 上传文件失败"),
            "{lines:?}"
        );
    }
}

#[test]
fn the_command_for_cmd_works_in_a_shell_too() {
    for language in &LANGUAGES {
        let world = World::with_files(&["pictures/a.png"]);
        let readme = read(language.readme);
        let (_, after) = readme.split_once("cmd /c").unwrap();
        let command = after.split('"').nth(1).unwrap();
        assert_eq!(run_lines(&world, command, &[]).status, Some(0));
        let links = fs::read_to_string(world.path("links.txt")).unwrap();
        assert_eq!(
            links,
            format!("{}/download/temp3/a.png\n", world.stand_in.base())
        );
    }
}

// ---- The samples of the manual ------------------------------------------------------------------

/// Whether `actual` is like `sample`, where `…` stands for any text, and `⇥` for a tab.
fn is_like(sample: &str, actual: &str) -> bool {
    let sample = sample.replace('⇥', "\t");
    let mut rest = actual;
    let mut pieces = sample.split('…');
    let first = pieces.next().unwrap();
    let Some(after) = rest.strip_prefix(first) else {
        return false;
    };
    rest = after;
    for piece in pieces {
        let Some(at) = rest.find(piece) else {
            return false;
        };
        rest = &rest[at + piece.len()..];
    }
    rest.is_empty()
}

#[test]
fn a_line_of_each_format_is_like_its_sample() {
    for language in &LANGUAGES {
        let world = World::http();
        lead_to_bucket(&world.stand_in);
        world.file("pics/图片.png", vec![7; 7168]);
        let manual = read(language.manual);
        for format in ["text", "url", "markdown", "json"] {
            let row = format!("\n| `{format}` | `");
            let sample = manual.split_once(&row).expect(format).1;
            let sample = sample.split('`').next().unwrap();
            let ran = world.run(["-f", format, "pics"]);
            assert!(
                is_like(sample, ran.stdout.trim_end()),
                "{sample}: {}",
                ran.stdout
            );
        }
    }
}

/// A text with `0` for each number.
fn without_numbers(text: &str) -> String {
    let mut shape = String::new();
    for c in text.chars() {
        let is_number = c.is_ascii_digit() || c == '.' && shape.ends_with('0');
        if !is_number {
            shape.push(c);
        } else if !shape.ends_with('0') {
            shape.push('0');
        }
    }
    shape
}

#[test]
fn a_failure_and_the_summary_are_like_the_sample() {
    for language in &LANGUAGES {
        let world = World::http();
        let arguments = ["--manifest", "sent.jsonl", "pics"];
        world.file("pics/old.jpg", "x");
        world.run(arguments).assert_success();
        for name in ["1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg"] {
            world.file(format!("pics/{name}"), vec![7; 252_000]);
        }
        world.file("pics/大.psd", "x");
        let reason = "<Code>ServiceUnavailable</Code><Message>Please try again.</Message>";
        let fault = Fault::status(503, &[], &format!("<Error>{reason}</Error>"));
        let key = When::Key("temp3/大.psd".into());
        world.stand_in.fault(Step::Upload, key, fault);
        let mut command = world.command(arguments);
        command.env("WX_LANG", language.tag);
        let ran = world.finish(command);
        let blocks = code_blocks(&read(language.manual));
        let sample = blocks
            .iter()
            .find(|block| block.text.starts_with("error: "));
        let sample = without_numbers(&sample.unwrap().text);
        assert_eq!(without_numbers(&ran.stderr), sample);
    }
}

#[test]
fn the_files_that_a_stopped_run_did_not_attempt_have_no_json() {
    let world = World::with_many(20);
    let refusal = Fault::refusal(45009, "reach max api daily quota limit");
    world.stand_in.fault(Step::Info, When::Always, refusal);
    let ran = world.run(["-f", "json", "-j", "1", "files"]);
    ran.assert_failure(1, &["the run was stopped", "20 not attempted"]);
    assert_eq!(ran.stdout, "");
}
