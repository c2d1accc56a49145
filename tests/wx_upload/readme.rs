//! The README: its options, keys, variables and messages are in both languages and in the program,
//! and its recipes run as they are written.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use stand_in::{APPID, ENV, SECRET, Step};

use crate::harness::{Ran, World};
use crate::unix::skipped;

const README: &str = include_str!("../../README.md");

/// The English part and the Chinese part.
fn parts() -> [&'static str; 2] {
    let (english, chinese) = README.split_once("\n# 中文\n").expect("two parts");
    [english, chinese]
}

/// The program's own source.
fn source() -> String {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = fs::read_dir(src)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let texts: Vec<String> = files
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    // A text in two lines is one text.
    let text = texts.concat();
    let lines: Vec<&str> = text.split("\\\n").map(str::trim_start).collect();
    lines.concat()
}

/// The words of a text that begin with `start` and go on with characters that belong to a word.
fn words<'a>(text: &'a str, start: &str, belongs: fn(char) -> bool) -> BTreeSet<&'a str> {
    let mut words = BTreeSet::new();
    for (at, _) in text.match_indices(start) {
        let rest = &text[at..];
        let end = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        words.insert(&rest[..end]);
    }
    words
}

fn options(text: &str) -> BTreeSet<&str> {
    let options = words(text, "--", |c| c.is_ascii_lowercase() || c == '-');
    options
        .into_iter()
        .filter(|option| option.len() > 3)
        .collect()
}

/// The cells in the first column of the table whose first line begins with `head`.
fn first_column<'a>(part: &'a str, head: &str) -> Vec<&'a str> {
    let table = &part[part.find(head).unwrap_or_else(|| panic!("no table {head}"))..];
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('|').nth(1).unwrap().trim())
        .collect()
}

/// The texts between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    match cell.strip_prefix("``") {
        Some(rest) => vec![rest.trim_end_matches('`').trim()],
        None => cell.split('`').skip(1).step_by(2).collect(),
    }
}

#[test]
fn the_options_are_those_of_the_program() {
    let help = World::http().run(["--help"]).stdout;
    let known = options(&help);
    let of_cargo = ["--example", "--path", "--release"];
    for part in parts() {
        let mut named = options(part);
        of_cargo
            .iter()
            .for_each(|option| assert!(named.remove(option) || *option == "--path"));
        assert_eq!(named, known);
    }
}

#[test]
fn the_config_keys_are_those_of_the_program() {
    let [english, chinese] = parts().map(|part| {
        let head = if part.contains("| key |") {
            "| key |"
        } else {
            "| 键 |"
        };
        first_column(part, head)
    });
    assert_eq!(english, chinese);
    let source = source();
    for cell in english {
        for key in quoted(cell) {
            assert!(source.contains(&format!("\"{key}\"")), "{key}");
        }
    }
}

#[test]
fn the_variables_are_those_of_the_program() {
    let belongs = |c: char| c.is_ascii_uppercase() || c == '_';
    let of = |text| {
        let mut variables = words(text, "WX_", belongs);
        variables.extend(words(text, "SSL_", belongs));
        variables
    };
    let source = source();
    for part in parts() {
        assert_eq!(of(part), of(&source));
        for variable in ["https_proxy", "all_proxy", "no_proxy"] {
            assert!(
                part.contains(variable) && source.contains(variable),
                "{variable}"
            );
        }
    }
}

#[test]
fn the_messages_are_those_of_the_program() {
    let [english, chinese] = parts().map(|part| {
        let head = if part.contains("| the message") {
            "| the message"
        } else {
            "| 提示 |"
        };
        first_column(part, head)
    });
    assert_eq!(english, chinese);
    let source = source();
    let of_rustls = "certificate expired";
    for message in english.iter().flat_map(|cell| quoted(cell)) {
        for piece in message.split('…') {
            let piece = piece.trim_matches(|c: char| c == ' ' || c == ':');
            let piece = piece
                .trim_start_matches("errcode ")
                .trim_start_matches("config.json: ");
            let piece = piece.split(" 60 s").next().unwrap();
            let piece = piece.split(" cloud://").next().unwrap();
            assert!(
                source.contains(piece) || piece == of_rustls,
                "{message}: {piece:?}"
            );
        }
    }
    for phrase in [
        "获取access token失败",
        "获取文件上传链接失败",
        "上传文件失败",
        "获取下载链接失败",
    ] {
        assert!(parts().iter().all(|part| part.contains(phrase)) && source.contains(phrase));
    }
}

#[test]
fn both_parts_have_the_same_samples() {
    let code = |part: &'static str| -> Vec<String> {
        let blocks = part.split("```").skip(1).step_by(2);
        let without_comments = |line: &str| line.split("  #").next().unwrap().trim().to_owned();
        blocks
            .flat_map(|block| block.lines().map(without_comments).collect::<Vec<_>>())
            .collect()
    };
    let [english, chinese] = parts().map(code);
    assert_eq!(english, chinese);
}

// ---- The recipes --------------------------------------------------------------------------------

/// The recipe that contains `word`: a shell command in one line.
fn recipe(word: &str) -> &'static str {
    let recipes = parts()[0].split_once("\n## Recipes\n").expect("recipes").1;
    let mut lines = recipes
        .split("```sh\n")
        .skip(1)
        .map(|block| block.lines().next().unwrap());
    lines
        .find(|line| line.contains(word))
        .unwrap_or_else(|| panic!("no recipe with {word}"))
}

/// Runs a shell command in the directory of the world, with `wx-upload` in the PATH.
fn run_line(world: &World, line: &str, variables: &[(&str, &str)]) -> Ran {
    let bin = world.path("bin");
    fs::create_dir_all(&bin).unwrap();
    let program = fs::canonicalize(crate::harness::binary()).unwrap();
    std::os::unix::fs::symlink(program, bin.join("wx-upload")).ok();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command
        .args(["-c", line])
        .current_dir(world.dir.path())
        .env("PATH", path);
    for name in ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    world.finish(command)
}

#[test]
fn typora_gets_the_links_of_the_paths_that_it_appends() {
    let world = World::with_files(&["a.png", "b.png"]);
    let ran = run_line(&world, &format!("{} a.png b.png", recipe("-f url")), &[]);
    let links =
        ["a.png", "b.png"].map(|name| format!("{}/download/temp3/{name}", world.stand_in.base()));
    assert_eq!(
        (ran.status, ran.lines()),
        (Some(0), links.iter().map(|link| link.as_str()).collect())
    );
}

#[test]
fn under_cron_a_dead_network_leaves_the_old_links_alone() {
    let world = World::with_files(&["public/a.txt", "public/sub/b.txt"]);
    let line = recipe("links.new");
    let ran = run_line(&world, line, &[]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
    let links = fs::read_to_string(world.path("links.txt")).unwrap();
    assert_eq!(links.lines().count(), 2);
    world.configure(json!({ "api_base": "http://127.0.0.1:1" }));
    let ran = run_line(
        &world,
        &line.replace("wx-upload", "wx-upload --retries 0"),
        &[],
    );
    assert_eq!(ran.status, Some(1));
    assert_eq!(fs::read_to_string(world.path("links.txt")).unwrap(), links);
}

#[test]
fn links_go_into_an_article() {
    let world = World::with_files(&["a.png", "b.png"]);
    world.file("article.md", "text\n");
    assert_eq!(run_line(&world, recipe("article.md"), &[]).status, Some(0));
    let article = fs::read_to_string(world.path("article.md")).unwrap();
    assert!(
        article.starts_with("text\n![a.png](http") && article.lines().count() == 3,
        "{article}"
    );
}

#[test]
fn another_program_gets_the_links_and_learns_of_failures() {
    if Command::new("jq").arg("--version").output().is_err() {
        return skipped("jq");
    }
    let world = World::with_files(&["pics/a.txt", "pics/b\u{1}.txt"]);
    let ran = run_line(&world, recipe("jq"), &[]);
    let link = format!("{}/download/temp3/a.txt", world.stand_in.base());
    assert_eq!((ran.status, ran.lines()), (Some(1), vec![link.as_str()]));
}

#[test]
fn in_ci_the_secrets_come_from_the_environment() {
    let world = World::with_files(&["public/a.txt"]);
    fs::remove_file(world.path("config.json")).unwrap();
    let base = world.stand_in.base();
    let variables = [
        ("WX_APPID", APPID),
        ("WX_SECRET", SECRET),
        ("WX_ENV", ENV),
        ("WX_API_BASE", &base),
    ];
    let ran = run_line(&world, recipe("{\"auth\":\"stable_token\"}"), &variables);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert_eq!(
        world.keys(),
        ["temp3/a.txt"].map(|key| key.replace("temp3", "site"))
    );
    let config = fs::read_to_string(world.path("config.json")).unwrap();
    assert!(
        !config.contains(SECRET) && config.contains("stable_token"),
        "{config}"
    );
}

#[test]
fn in_a_container_nothing_secret_is_needed() {
    let world = World::with_files(&["public/a.txt"]);
    fs::remove_file(world.path("config.json")).unwrap();
    world.stand_in.auth_none(true);
    let base = world.stand_in.base();
    let ran = run_line(
        &world,
        recipe("CBR_ENV_ID"),
        &[("CBR_ENV_ID", ENV), ("WX_API_BASE", &base)],
    );
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert_eq!(
        (world.keys(), world.count(Step::Token)),
        (vec!["temp3/a.txt".to_owned()], 0)
    );
}
