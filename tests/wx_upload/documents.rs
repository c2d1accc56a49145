//! The documents: what they name is in the program, both languages say the same, and links lead to
//! what is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::both_languages::{message_pairs, read_source, sources};
use crate::harness::World;

/// The documents of a language.
pub struct Language {
    /// As in `WX_LANG`.
    pub tag: &'static str,
    pub readme: &'static str,
    pub manual: &'static str,
}

pub const LANGUAGES: [Language; 2] = [
    Language {
        tag: "en",
        readme: "README.md",
        manual: "docs/manual.md",
    },
    Language {
        tag: "zh",
        readme: "docs/README.zh-CN.md",
        manual: "docs/manual.zh-CN.md",
    },
];

// ---- Reading Markdown ---------------------------------------------------------------------------

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A block of code: the word behind its first fence, and its text.
#[derive(Debug, PartialEq)]
pub struct Code {
    pub kind: String,
    pub text: String,
}

/// The blocks of code in a document.
pub fn code_blocks(document: &str) -> Vec<Code> {
    let fenced = document.split("```").skip(1).step_by(2);
    let blocks = fenced.map(|block| {
        let (kind, text) = block.split_once('\n').expect("a block of lines");
        let [kind, text] = [kind, text].map(str::to_owned);
        Code { kind, text }
    });
    blocks.collect()
}

/// The document without its blocks of code.
fn prose(document: &str) -> String {
    document.split("```").step_by(2).collect()
}

/// The headings, each with its level.
fn headings(document: &str) -> Vec<(usize, String)> {
    let prose = prose(document);
    let marked = prose.lines().filter(|line| line.starts_with('#'));
    let headings = marked.map(|line| {
        let level = line.bytes().take_while(|byte| *byte == b'#').count();
        (level, line[level..].trim().to_owned())
    });
    headings.collect()
}

/// The `number`-th section, from 1.
fn section(document: &str, number: usize) -> &str {
    let section = document.split("\n## ").nth(number);
    section.expect("a section of that number")
}

/// The texts between backticks in a line. Some have two backticks on each side.
fn code_spans(line: &str) -> Vec<&str> {
    let mut spans = Vec::new();
    let mut rest = line;
    while let Some(start) = rest.find('`') {
        let ticks = rest[start..].len() - rest[start..].trim_start_matches('`').len();
        let fence = &rest[start..start + ticks];
        let after = &rest[start + ticks..];
        let end = after.find(fence).expect("backticks in pairs");
        spans.push(after[..end].trim());
        rest = &after[end + ticks..];
    }
    spans
}

/// The first cells of all tables in a text, without their heads.
fn first_cells(text: &str) -> Vec<&str> {
    let mut cells = Vec::new();
    let mut lines = text.lines();
    let mut in_table = false;
    while let Some(line) = lines.next() {
        if line.starts_with('|') && in_table {
            cells.push(line.split('|').nth(1).expect("a cell").trim());
        } else if line.starts_with('|') {
            lines.next(); // the line of dashes
        }
        in_table = line.starts_with('|');
    }
    cells
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

/// The program's own source. A text in two lines is one text.
fn source() -> String {
    let texts: Vec<String> = sources().iter().map(|path| read_source(path)).collect();
    let text = texts.concat();
    let lines: Vec<&str> = text.split("\\\n").map(str::trim_start).collect();
    lines.concat()
}

// ---- Both languages -----------------------------------------------------------------------------

#[test]
fn a_readme_is_short_and_begins_with_a_link_to_the_other_language() {
    for language in &LANGUAGES {
        let readme = read(language.readme);
        assert!(readme.lines().count() <= 220, "{}", language.readme);
        let first_lines: Vec<&str> = readme.lines().take(5).collect();
        let links = links(&first_lines.join("\n"));
        for other in LANGUAGES.iter().filter(|other| other.tag != language.tag) {
            let leads_there =
                |link: &String| resolve(language.readme, link) == Path::new(other.readme);
            assert!(links.iter().any(leads_there), "{}", language.readme);
        }
        assert!(readme.contains("https://qianxu.run/2022/05/01/wx-cloud-upload/"));
        assert!(readme.contains("《用python上传文件到微信小程序云存储》"));
    }
}

#[test]
fn the_documents_have_the_same_outline_in_each_language() {
    let levels = |document: &str| -> Vec<usize> {
        let headings = headings(&read(document)).into_iter();
        headings.map(|(level, _)| level).collect()
    };
    for language in &LANGUAGES {
        assert_eq!(levels(language.readme), levels(LANGUAGES[0].readme));
        assert_eq!(levels(language.manual), levels(LANGUAGES[0].manual));
    }
}

/// A line of code without its comment, and with `NAME` for names, which each language has in its own
/// words.
fn shape(line: &str) -> String {
    let without_comment = line.split("  #").next().unwrap().trim();
    let is_name = |word: &str| {
        let word = word.trim_matches(['"', '\'', ',', ';', ')', ']', '}']);
        !word.is_ascii()
    };
    let words = without_comment.split(' ');
    let shapes = words.map(|word| if is_name(word) { "NAME" } else { word });
    shapes.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_blocks_of_code_are_the_same_in_each_language() {
    let shapes = |document: &str| -> Vec<(String, Vec<String>)> {
        let blocks = code_blocks(&read(document)).into_iter();
        // What the program itself prints is in its own words.
        let blocks = blocks.filter(|block| block.kind != "text" || document.contains("README"));
        let of_block = |block: Code| (block.kind, block.text.lines().map(shape).collect());
        blocks.map(of_block).collect()
    };
    for language in &LANGUAGES {
        assert_eq!(shapes(language.readme), shapes(LANGUAGES[0].readme));
        assert_eq!(shapes(language.manual), shapes(LANGUAGES[0].manual));
    }
}

// ---- Links --------------------------------------------------------------------------------------

/// The targets of all links in a document that are not in code.
fn links(document: &str) -> Vec<String> {
    let prose = prose(document);
    let without_spans: String = prose.split('`').step_by(2).collect();
    let after = without_spans.split("](").skip(1);
    let targets = after.map(|text| text.split(')').next().unwrap().to_owned());
    targets.collect()
}

/// The path to which a link in a document leads, below the root.
fn resolve(document: &str, link: &str) -> PathBuf {
    let mut path = PathBuf::new();
    let directory = Path::new(document).parent().unwrap();
    for part in directory.join(link).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{document}: {link}"),
            part => path.push(part),
        }
    }
    path
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let lower = heading.to_lowercase().replace(' ', "-");
    let belongs = |c: &char| c.is_alphanumeric() || "-_".contains(*c);
    lower.chars().filter(belongs).collect()
}

#[test]
fn each_link_leads_to_a_file_and_a_heading_that_are_there() {
    let mut documents = vec![
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "docs/benchmarks.md",
        "findings/README.md",
    ];
    documents.extend(
        LANGUAGES
            .iter()
            .flat_map(|language| [language.readme, language.manual]),
    );
    for document in documents {
        for link in links(&read(document)) {
            if link.starts_with("https://") {
                continue;
            }
            if link.ends_with("/releases") {
                // GitHub shows a document at /OWNER/REPOSITORY/blob/BRANCH/PATH.
                let page = resolve(&format!("owner/repository/blob/branch/{document}"), &link);
                assert_eq!(page, Path::new("owner/repository/releases"), "{document}");
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let path = match file {
                "" => document.into(),
                file => resolve(document, file),
            };
            assert!(root().join(&path).exists(), "{document}: {link}");
            let headings = headings(&read(path.to_str().unwrap()));
            let is_there = headings.iter().any(|(_, text)| anchor(text) == heading);
            assert!(heading.is_empty() || is_there, "{document}: {link}");
        }
    }
}

#[test]
fn the_picture_shows_links_as_they_are_in_a_window_that_fits_the_page() {
    for (language, path) in LANGUAGES.iter().zip(["docs/run.svg", "docs/run.zh-CN.svg"]) {
        let picture = read(path);
        assert!(picture.contains(".tcb.qcloud.la/") && !picture.contains("localhost"));
        let width = picture.split_once("width=\"").unwrap().1;
        let width: u32 = width.split('"').next().unwrap().parse().unwrap();
        assert!(width <= 830, "GitHub shows at most some 830 pixels");
        let links = links(&read(language.readme)).into_iter();
        let mut pictures = links.filter(|link| link.ends_with(".svg"));
        let shown = pictures.next().unwrap();
        assert_eq!(resolve(language.readme, &shown), Path::new(path));
    }
}

// ---- What the documents name --------------------------------------------------------------------

pub fn options(text: &str) -> BTreeSet<&str> {
    let options = words(text, "--", |c| c.is_ascii_lowercase() || c == '-');
    let of_others = [
        "--example",
        "--release",
        "--path",
        "--strip-components",
        "--method",
        "--picgo-command",
        "--picgo-config",
    ];
    let is_own = |option: &&str| option.len() > 3 && !of_others.contains(option);
    options.into_iter().filter(is_own).collect()
}

#[test]
fn the_options_are_those_of_the_program() {
    let help = World::http().run(["--help"]).stdout;
    let known = options(&help);
    for language in &LANGUAGES {
        assert_eq!(options(&read(language.manual)), known);
        let readme = read(language.readme);
        let strange: Vec<_> = options(&readme).difference(&known).cloned().collect();
        assert_eq!(strange, [""; 0], "{}", language.readme);
    }
}

#[test]
fn the_help_is_in_the_manual() {
    for language in &LANGUAGES {
        let world = World::http();
        let mut command = world.command(["--help"]);
        command.env("WX_LANG", language.tag);
        let help = world.finish(command).stdout;
        let blocks = code_blocks(&read(language.manual));
        assert!(blocks.iter().any(|block| block.text == help), "{help}");
    }
}

/// The keys that the source looks up in the config.
fn config_keys(source: &str) -> BTreeSet<&str> {
    let mut keys = BTreeSet::new();
    for lookup in ["config[\"", "(config, \"", "(&config, \""] {
        for after in source.split(lookup).skip(1) {
            keys.insert(after.split('"').next().unwrap());
        }
    }
    keys
}

#[test]
fn the_config_keys_are_those_of_the_program() {
    let source = source();
    let known = config_keys(&source);
    for language in &LANGUAGES {
        let manual = read(language.manual);
        let table = section(&manual, 2).split("\n\n**").next().unwrap();
        let cells = first_cells(table);
        let named: BTreeSet<&str> = cells.iter().flat_map(|cell| code_spans(cell)).collect();
        assert_eq!(named, known, "{}", language.manual);
    }
}

/// The variables of the environment in a text.
fn variables(text: &str) -> BTreeSet<&str> {
    let belongs = |c: char| c.is_ascii_uppercase() || c == '_';
    let mut variables = words(text, "WX_", belongs);
    variables.extend(words(text, "SSL_", belongs));
    variables
}

#[test]
fn the_variables_are_those_of_the_program() {
    let source = source();
    let known = variables(&source);
    for language in &LANGUAGES {
        let (readme, manual) = (read(language.readme), read(language.manual));
        assert_eq!(variables(&manual), known);
        assert!(
            variables(&readme).is_subset(&known),
            "{:?}",
            variables(&readme)
        );
        for variable in ["https_proxy", "all_proxy", "no_proxy"] {
            assert!(manual.contains(variable) && source.contains(variable));
        }
    }
}

/// The pieces of a quoted message that stand in the source: without names, numbers (but for codes)
/// and what joins them.
fn pieces(message: &str) -> Vec<&str> {
    let message = message.trim_start_matches("errcode ");
    let mut pieces = Vec::new();
    for piece in message.split(['…', '*']) {
        let piece = piece.trim_end_matches("cloud://").trim();
        let is_code = piece.parse::<i64>().is_ok();
        let is_name = piece
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        match is_code || is_name {
            true => pieces.push(piece),
            false => pieces.extend(piece.split(|c: char| c.is_ascii_digit() || "（）".contains(c))),
        }
    }
    let trimmed = pieces
        .into_iter()
        .map(|piece| piece.trim_matches([' ', ':', '：']));
    trimmed.filter(|piece| !piece.is_empty()).collect()
}

#[test]
fn the_messages_are_those_of_the_program() {
    let source = source();
    let of_others = [
        "certificate expired", // rustls
        "AccessDenied",        // COS
        "SignatureDoesNotMatch",
        "EntityTooLarge",
    ];
    for language in &LANGUAGES {
        let (readme, manual) = (read(language.readme), read(language.manual));
        let common = first_cells(section(&readme, 8));
        assert!(common.len() >= 10, "the most common errors");
        let all = first_cells(section(&manual, 7));
        for message in common.iter().chain(&all).flat_map(|cell| code_spans(cell)) {
            for piece in pieces(message) {
                let is_there = source.contains(piece) || of_others.contains(&piece);
                assert!(is_there, "{}: {message}: {piece:?}", language.tag);
            }
        }
    }
}

#[test]
fn each_message_of_the_common_errors_is_in_the_manual_too() {
    for language in &LANGUAGES {
        let (readme, manual) = (read(language.readme), read(language.manual));
        let all = section(&manual, 7);
        let cells = first_cells(section(&readme, 8));
        for message in cells.iter().flat_map(|cell| code_spans(cell)) {
            for piece in pieces(message) {
                let is_there = all.contains(piece);
                assert!(is_there, "{}: {message}: {piece:?}", language.tag);
            }
        }
    }
}

/// Messages that tell no problem: progress, counts, and parts of other messages.
const NO_PROBLEMS: [&str; 20] = [
    "the run is stopped", // nobody sees it
    "its `secret`",
    "the access token that is kept in it",
    "{uploaded} uploaded ({bytes}){rest} in {seconds:.1} s",
    "{listed} would be uploaded ({bytes}){rest}",
    "not attempted",
    "its file_id is",
    "the service asked to slow down",
    "no connection can be made",
    "waits for COS to confirm",
    "the config, its copies and the manifest of this run are never uploaded",
    "the same file as {first}",
    "it is the `upload_dir` of {config}",
    "the upload URL",
    "not valid for", // followed by what helps
    "not valid yet",
    "error: {why}; the run was stopped",
    "; in the cloud, but not printed: {count} ({first}{more})", // stands behind why
    "listing the files: {count} so far",
    "reading the manifest: {count} lines so far",
];

/// A message with one of these words says itself what helps.
const HELPS: [&str; 13] = [
    ": ",
    "check ",
    "must ",
    "takes ",
    "see ",
    "(give ",
    "(use ",
    "like ",
    "write ",
    "name ",
    "on mp.weixin",
    "add ",
    "is on ",
];

/// Whether a message is in the manual's list of errors, with one of its words in backticks there.
fn is_listed(message: &str, cells: &[&str]) -> bool {
    let spans = cells.iter().flat_map(|cell| code_spans(cell));
    let mut pieces = spans
        .flat_map(pieces)
        .filter(|piece| piece.chars().count() >= 3);
    pieces.any(|piece| message.contains(piece))
}

#[test]
fn the_manual_has_each_message_that_does_not_say_itself_what_helps() {
    let manuals = LANGUAGES.each_ref().map(|language| read(language.manual));
    let lists = manuals
        .each_ref()
        .map(|manual| first_cells(section(manual, 7)));
    let mut missing = Vec::new();
    for messages in message_pairs() {
        let [english, _] = &messages;
        let is_short = longest_part(english) < 10;
        let words = english.replace(": {", " {"); // behind the colon is a name or a reason
        let helps = HELPS.iter().any(|help| words.contains(help));
        if is_short || helps || NO_PROBLEMS.contains(&&**english) {
            continue;
        }
        for (message, cells) in messages.iter().zip(&lists) {
            if !is_listed(message, cells) {
                missing.push(message.clone());
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// The length of the longest text between the values of a message.
fn longest_part(message: &str) -> usize {
    let parts = message.split(['{', '}']).step_by(2);
    parts.map(str::len).max().unwrap_or(0)
}

/// The codes of the API that the program knows.
fn api_codes() -> BTreeSet<String> {
    let api = read_source(&root().join("src/service/api.rs"));
    let (_, codes) = api
        .split_once("// ---- The codes")
        .expect("a section of codes");
    let numbers = codes.split(|c: char| !c.is_ascii_digit() && c != '-');
    let is_code = |number: &&str| {
        number
            .parse::<i64>()
            .is_ok_and(|code| !(0..10_000).contains(&code))
    };
    numbers.filter(is_code).map(str::to_owned).collect()
}

/// The codes of COS that the program knows.
fn cos_codes() -> BTreeSet<String> {
    let cos = read_source(&root().join("src/service/cos.rs"));
    let (_, codes) = cos
        .split_once("fn cos_cure")
        .or_else(|| cos.split_once("fn cure_of"))
        .unwrap();
    let texts = codes.split('"').skip(1).step_by(2);
    let is_code = |text: &&str| {
        let mut bytes = text.bytes();
        bytes.next().is_some_and(|byte| byte.is_ascii_uppercase())
            && text.len() > 4
            && bytes.all(|byte| byte.is_ascii_alphanumeric())
    };
    texts.filter(is_code).map(str::to_owned).collect()
}

#[test]
fn the_manual_has_each_code_that_the_program_knows() {
    let known: Vec<String> = api_codes().into_iter().chain(cos_codes()).collect();
    assert!(known.len() > 60, "{known:?}");
    for language in &LANGUAGES {
        let manual = read(language.manual);
        let spans: BTreeSet<&str> = section(&manual, 7).lines().flat_map(code_spans).collect();
        let named: BTreeSet<&str> = spans.iter().flat_map(|span| span.split(' ')).collect();
        let missing: Vec<_> = known
            .iter()
            .filter(|code| !named.contains(code.as_str()))
            .collect();
        assert!(missing.is_empty(), "{}: {missing:?}", language.manual);
    }
}

#[test]
fn the_four_phrases_of_the_script_are_those_of_the_program() {
    let source = source();
    for phrase in [
        "获取access token失败",
        "获取文件上传链接失败",
        "上传文件失败",
        "获取下载链接失败",
    ] {
        assert!(source.contains(phrase));
        assert!(
            LANGUAGES
                .iter()
                .all(|language| read(language.manual).contains(phrase))
        );
    }
}

// ---- What the documents say about a build -------------------------------------------------------

/// The value of a variable in `.ci/run`.
fn limit(name: &str) -> f64 {
    let run = read(".ci/run");
    let value = run
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name}=")));
    value.expect(name).parse().unwrap()
}

#[test]
fn sizes_and_numbers_of_crates_are_the_limits_that_each_change_must_keep() {
    let megabytes = |name| format!("{} MB", limit(name) / 1e6);
    let allowed = [megabytes("max_bytes"), megabytes("max_bytes_elsewhere")];
    let crates = format!("{} crate", limit("max_crates"));
    for language in &LANGUAGES {
        for document in [language.readme, language.manual] {
            let text = read(document);
            for (at, _) in text.match_indices(" MB") {
                let number = text[..at]
                    .rsplit(|c: char| !c.is_ascii_digit() && c != '.')
                    .next();
                let size = format!("{} MB", number.unwrap());
                assert!(allowed.contains(&size), "{document}: {size}");
            }
            for (at, _) in text.match_indices(" crate") {
                let before = &text[..at + " crate".len()];
                let counts = text[..at].ends_with(|c: char| c.is_ascii_digit());
                assert!(!counts || before.ends_with(&crates), "{document}");
            }
        }
    }
}

/// The oldest compiler that builds the program.
fn rust_version() -> String {
    let manifest = read("Cargo.toml");
    let (_, version) = manifest.split_once("\nrust-version = \"").unwrap();
    version.split('"').next().unwrap().to_owned()
}

#[test]
fn what_a_newcomer_needs_and_types_stands_right_under_the_picture() {
    let needs = [
        &format!("Rust {} ", rust_version()),
        "rustup",
        "git",
        "`apt-get install gcc libc6-dev`",
    ];
    let typed = ["cargo run --release --example demo", "cargo test"];
    for document in ["CONTRIBUTING.md", LANGUAGES[0].readme, LANGUAGES[1].readme] {
        let text = read(document);
        let beginning = text.split("\n## ").next().unwrap();
        for need in needs {
            assert!(beginning.contains(need), "{document}: {need}");
        }
        let commands = code_blocks(beginning).remove(0).text;
        let commands = commands.lines().map(|line| line.split("  #").next());
        let commands: Vec<&str> = commands.flatten().map(str::trim).collect();
        assert_eq!(commands, typed, "{document}");
    }
}

#[test]
fn the_install_section_has_the_files_and_the_compiler_of_a_release() {
    let pack = read(".ci/pack");
    let version = rust_version();
    for language in &LANGUAGES {
        let readme = read(language.readme);
        let manual = read(language.manual);
        let install = section(&readme, 1);
        assert!(install.contains(&format!("Rust {version} ")), "{version}");
        for line in pack.lines().filter_map(|line| line.strip_prefix("pack ")) {
            let (target, rest) = line.split_once(' ').unwrap();
            let system = rest.split(' ').next().unwrap();
            let ending = if target.contains("windows") {
                "zip"
            } else {
                "tar.gz"
            };
            assert!(
                install.contains(&format!("`wx-upload-VERSION-{target}.{ending}`")),
                "{target}"
            );
            // The rows of the manual have the names of the packages for pip and npm.
            let row = format!("| `{target}` | ");
            let row = manual.lines().find(|line| line.starts_with(&row));
            let row = row.unwrap_or_else(|| panic!("{target}"));
            assert!(
                row.contains(&format!("`wx-upload-{system}-VERSION.tgz`")),
                "{row}"
            );
        }
    }
}
