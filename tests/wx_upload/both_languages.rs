//! The messages in the sources: each stands in both languages, and no message mixes the two.
//!
//! A pair is an English and a Chinese text: the two arguments of `words!` or of `either`, or two texts
//! side by side in a table. The tests read all texts of the sources with their lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// The script's phrases, names in the services' consoles and documents, and the script's directory:
/// they are Chinese in both languages. A name that contains another one comes first.
const CHINESE_IN_BOTH: [&str; 17] = [
    "获取access token失败",
    "获取文件上传链接失败",
    "上传文件失败",
    "获取下载链接失败",
    "微信云托管",
    "云托管",
    "云调用权限配置",
    "微信令牌权限配置",
    "云调用",
    "开放接口服务",
    "资源复用",
    "云开发错误码",
    "全局错误码",
    "工单",
    "开发设置",
    "开发管理",
    "管理",
];

/// The names of things that have blanks in them. They are English in both languages.
const ENGLISH_IN_BOTH: [&str; 1] = ["clear quota"];

/// Texts that are no message, though they look like one.
const NO_MESSAGES: [&str; 6] = [
    "not valid yet", // rustls' words
    "not valid for",
    "env not exists", // the API's words
    "storage file not exists",
    "resource system error",
    "./154190339_附件/", // the script's directory
];

/// Here are the Chinese words for errors of the system. The English ones are the system's own.
const SYSTEM_ERRORS: &str = "words.rs";

/// Chinese texts that do not hold the same values as the English ones. English quotes a library,
/// Chinese has words of its own.
const OTHER_VALUES: [&str; 5] = [
    "第 {line} 行第 {column} 列不是有效的 JSON：{hint}",
    "域名解析失败",
    "TLS 连接失败（{name}）",
    "代理没有应答",
    "服务器的证书无效（{reason}）：{help}",
];

// ---- The texts of a source ----------------------------------------------------------------------

#[derive(Clone)]
struct Text {
    line: usize,
    words: String,
}

struct Pair {
    english: Text,
    chinese: Text,
}

/// All texts of a source, apart from comments and attributes.
#[derive(Default)]
struct Texts {
    pairs: Vec<Pair>,
    alone: Vec<Text>,
    /// The constants that are texts.
    constants: BTreeMap<String, Text>,
    /// The names of two constants that are a pair.
    constant_pairs: Vec<[String; 2]>,
}

impl Texts {
    fn of(source: &str) -> Texts {
        let mut texts = Texts::default();
        let tokens: TokenStream = source.parse().expect("Rust");
        texts.read(&Vec::from_iter(tokens));
        for [english, chinese] in &texts.constant_pairs {
            if let Some(english) = texts.constants.remove(english)
                && let Some(chinese) = texts.constants.remove(chinese)
            {
                texts.pairs.push(Pair { english, chinese });
            }
        }
        texts.alone.extend(texts.constants.values().cloned());
        texts
    }

    fn read(&mut self, tokens: &[TokenTree]) {
        let mut at = 0;
        while at < tokens.len() {
            at += match &tokens[at..] {
                // An attribute. A comment with `///` or `//!` is one, too.
                [TokenTree::Punct(hash), TokenTree::Group(_), ..] if hash.as_char() == '#' => 2,
                [
                    TokenTree::Punct(hash),
                    TokenTree::Punct(_),
                    TokenTree::Group(_),
                    ..,
                ] if hash.as_char() == '#' => 3,
                [TokenTree::Ident(word), TokenTree::Ident(name), rest @ ..] if word == "const" => {
                    2 + self.read_constant(&name.to_string(), rest)
                }
                [TokenTree::Ident(name), TokenTree::Group(group), ..] if name == "either" => {
                    self.read_pair(group);
                    2
                }
                [
                    TokenTree::Ident(name),
                    TokenTree::Punct(_),
                    TokenTree::Group(group),
                    ..,
                ] if name == "words" => {
                    self.read_pair(group);
                    3
                }
                [TokenTree::Group(group), ..] => {
                    self.read_group(group);
                    1
                }
                [token, ..] => {
                    self.alone.extend(text(token));
                    1
                }
                [] => unreachable!(),
            };
        }
    }

    /// Reads a constant after its name, if it is a text. Returns the number of tokens that were read.
    fn read_constant(&mut self, name: &str, tokens: &[TokenTree]) -> usize {
        let is_end = |token: &TokenTree| token.to_string() == ";";
        let Some(end) = tokens.iter().position(is_end) else {
            return 0;
        };
        match &tokens[..end] {
            [.., TokenTree::Punct(equals), last] if equals.as_char() == '=' => match text(last) {
                Some(text) => {
                    self.constants.insert(name.to_owned(), text);
                    end
                }
                None => 0,
            },
            _ => 0,
        }
    }

    /// Reads the arguments of `words!` or `either`.
    fn read_pair(&mut self, group: &Group) {
        let arguments = arguments(group);
        if let [[TokenTree::Ident(english)], [TokenTree::Ident(chinese)]] =
            arguments.iter().map(Vec::as_slice).collect::<Vec<_>>()[..]
        {
            self.constant_pairs
                .push([english.to_string(), chinese.to_string()]);
        }
        self.read_arguments(&arguments, |_| true);
    }

    /// Reads what is in brackets. There, two texts side by side are a pair if the second is Chinese.
    fn read_group(&mut self, group: &Group) {
        if group.delimiter() == Delimiter::Brace {
            return self.read(&Vec::from_iter(group.stream()));
        }
        self.read_arguments(&arguments(group), |second| second.words.contains(is_han));
    }

    fn read_arguments(&mut self, arguments: &[Vec<TokenTree>], is_pair: impl Fn(&Text) -> bool) {
        let only_text = |argument: &Vec<TokenTree>| match &argument[..] {
            [token] => text(token),
            _ => None,
        };
        let mut at = 0;
        while at < arguments.len() {
            let second = arguments.get(at + 1).and_then(only_text);
            match (only_text(&arguments[at]), second) {
                (Some(english), Some(chinese)) if is_pair(&chinese) => {
                    self.pairs.push(Pair { english, chinese });
                    at += 2;
                }
                _ => {
                    self.read(&arguments[at]);
                    at += 1;
                }
            }
        }
    }
}

/// Returns the parts between the commas.
fn arguments(group: &Group) -> Vec<Vec<TokenTree>> {
    let tokens = Vec::from_iter(group.stream());
    let is_comma = |token: &TokenTree| token.to_string() == ",";
    let mut arguments: Vec<_> = tokens.split(is_comma).map(<[_]>::to_vec).collect();
    arguments.retain(|argument| !argument.is_empty());
    arguments
}

fn text(token: &TokenTree) -> Option<Text> {
    let TokenTree::Literal(literal) = token else {
        return None;
    };
    match syn::Lit::new(literal.clone()) {
        syn::Lit::Str(text) => Some(Text {
            line: literal.span().start().line,
            words: text.value(),
        }),
        _ => None,
    }
}

// ---- The rules ----------------------------------------------------------------------------------

fn is_han(c: char) -> bool {
    ('\u{4e00}'..='\u{9fff}').contains(&c)
}

fn is_fullwidth(c: char) -> bool {
    "，。：；？！（）“”、".contains(c)
}

/// Returns the offences of a source, each with the name of the file and the line.
fn offences(file: &str, source: &str) -> Vec<String> {
    let texts = Texts::of(source);
    let mut offences = Vec::new();
    let mut blame = |text: &Text, why: &str| {
        offences.push(format!("{file}:{}: {why}: {:?}", text.line, text.words));
    };
    for Pair { english, chinese } in &texts.pairs {
        if let Some(why) = wrong_in_english(&english.words) {
            blame(english, why);
        }
        if let Some(why) = wrong_in_chinese(&chinese.words) {
            blame(chinese, why);
        }
        if english.words == chinese.words {
            blame(chinese, "it is the same in both languages");
        }
        let has_others = OTHER_VALUES.contains(&&*chinese.words);
        if values(&english.words) != values(&chinese.words) && !has_others {
            blame(chinese, "it has other values than the English text");
        }
    }
    for text in &texts.alone {
        let is_other = NO_MESSAGES.contains(&&*text.words) || file.ends_with(SYSTEM_ERRORS);
        if is_sentence(&text.words) && !is_other {
            blame(text, "it stands in one language only");
        }
    }
    offences
}

fn wrong_in_english(text: &str) -> Option<&'static str> {
    let text = without(text, &CHINESE_IN_BOTH);
    if text.contains(is_han) {
        return Some("there is Chinese in the English text");
    }
    text.contains(is_fullwidth)
        .then_some("there is Chinese punctuation in the English text")
}

fn wrong_in_chinese(text: &str) -> Option<&'static str> {
    let text = without(text, &CHINESE_IN_BOTH[..4]); // one of the script's phrases has English in it
    let prose = without(&without_names(&text), &ENGLISH_IN_BOTH);
    if longest_run(&prose, |_| true) >= 2 {
        return Some("there is English in the Chinese text");
    }
    let ascii_mark = |c: char| ",;:?!()".contains(c);
    let mut neighbours = text.chars().zip(text.chars().skip(1));
    if neighbours.any(|(a, b)| is_han(a) && ascii_mark(b) || is_han(b) && ascii_mark(a)) {
        return Some("there is English punctuation in the Chinese text");
    }
    let is_latin = |c: char| c.is_ascii_alphanumeric();
    let mut neighbours = text.chars().zip(text.chars().skip(1));
    neighbours
        .any(|(a, b)| is_han(a) && is_latin(b) || is_latin(a) && is_han(b))
        .then_some("there is no blank between Chinese and other letters")
}

/// Whether a text that stands alone is a message: Chinese, or at least three small words.
fn is_sentence(text: &str) -> bool {
    let rest = without(text, &CHINESE_IN_BOTH[..4]);
    let is_small = |word: &str| word.chars().all(|c| c.is_ascii_lowercase());
    rest.contains(is_han) || longest_run(&without_names(text), is_small) >= 3
}

/// Returns the text with `|` in the place of each of the `names`.
fn without(text: &str, names: &[&str]) -> String {
    let text = text.to_owned();
    names
        .iter()
        .fold(text, |text, name| text.replace(name, "|"))
}

/// Returns the text with `|` in the place of what is in backticks, in braces or in straight quotes.
fn without_names(text: &str) -> String {
    let mut rest = String::new();
    let mut ends_with = None;
    for c in text.chars() {
        if let Some(end) = ends_with {
            if c == end {
                ends_with = None;
            }
            continue;
        }
        ends_with = match c {
            '`' | '"' => Some(c),
            '{' => Some('}'),
            _ => None,
        };
        rest.push(if ends_with.is_some() { '|' } else { c });
    }
    rest
}

/// Returns the length of the longest run of words that are `counted`. A word has only letters, perhaps
/// an apostrophe, and perhaps a mark after it. Anything else ends a run.
fn longest_run(text: &str, counted: impl Fn(&str) -> bool) -> usize {
    let mut longest = 0;
    for part in text.split(|c: char| !c.is_ascii()) {
        let mut run = 0;
        for word in part.split_whitespace() {
            let word = word.trim_end_matches([',', '.', ':', ';', '?']);
            let letters = word.replace('\'', "");
            let is_word = !letters.is_empty() && letters.chars().all(|c| c.is_ascii_alphabetic());
            run = if is_word && counted(&letters) {
                run + 1
            } else {
                0
            };
            longest = longest.max(run);
        }
    }
    longest
}

/// Returns the names of the values that a text takes, as `path` in `{path} is a directory`.
fn values(text: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for part in text.split('{').skip(1) {
        if let Some((name, _)) = part.split_once('}') {
            names.insert(name.split(':').next().unwrap_or_default());
        }
    }
    names
}

/// Reads a source without its unit tests, which stand at its end.
pub fn read_source(path: &Path) -> String {
    let source = fs::read_to_string(path).unwrap();
    let end = source.find("#[cfg(test)]").unwrap_or(source.len());
    source[..end].to_owned()
}

/// The files of the program's own source, in `src/` and its folders.
pub fn sources() -> Vec<PathBuf> {
    let mut sources = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = if path.is_dir() {
                &mut folders
            } else {
                &mut sources
            };
            kind.push(path);
        }
    }
    sources
}

/// All messages of the program, each in English and in Chinese.
pub fn message_pairs() -> Vec<[String; 2]> {
    let mut pairs = Vec::new();
    for path in sources() {
        let texts = Texts::of(&read_source(&path));
        let words = |pair: Pair| [pair.english.words, pair.chinese.words];
        pairs.extend(texts.pairs.into_iter().map(words));
    }
    pairs
}

// ---- The tests ----------------------------------------------------------------------------------

#[test]
fn each_message_stands_in_both_languages_and_mixes_them_nowhere() {
    let mut offences_of_all = Vec::new();
    let mut pairs = 0;
    for path in sources() {
        let source = read_source(&path);
        pairs += Texts::of(&source).pairs.len();
        offences_of_all.extend(offences(&path.to_string_lossy(), &source));
    }
    assert!(offences_of_all.is_empty(), "{}", offences_of_all.join("\n"));
    assert!(pairs > 100, "only {pairs} messages were found");
}

/// Returns what is wrong with a source, without the place.
fn wrong_with(source: &str) -> String {
    let found = offences("x.rs", source);
    let whys = found.iter().map(|found| found.split(": ").nth(1).unwrap());
    whys.collect::<Vec<_>>().join("; ")
}

#[test]
fn each_offence_is_found() {
    let cases = [
        (
            r#"either("open the 菜单", "打开菜单");"#,
            "there is Chinese in the English text",
        ),
        (
            r#"either("no：never", "从不");"#,
            "there is Chinese punctuation in the English text",
        ),
        (
            r#"let x = words!("{a} is gone", "{a} is gone 了");"#,
            "there is English in the Chinese text",
        ),
        (
            r#"f(&words!("gone: {a}", "没有了: {a}"))"#,
            "there is English punctuation in the Chinese text",
        ),
        (
            r#"f(either("the API is gone", "没有API了"))"#,
            "there is no blank between Chinese and other letters",
        ),
        (
            r#"f(either("gone", "gone"))"#,
            "it is the same in both languages",
        ),
        (
            r#"f(words!("gone: {a} {b:.1}", "没有：{a}"))"#,
            "it has other values than the English text",
        ),
        (
            r#"f("this file is gone")"#,
            "it stands in one language only",
        ),
        (r#"x = "没有了";"#, "it stands in one language only"),
        (
            r##"const X: &str = r#"it is gone: "x""#;"##,
            "it stands in one language only",
        ),
        (
            "f(\"the word\\\n   continues\")",
            "", // that is `the wordcontinues`
        ),
        (
            "f(\"the word \\\n   continues\")",
            "it stands in one language only",
        ),
        (
            r#"const T: [(i64, &str, &str); 1] = [(1, "the 菜单", "菜单")];"#,
            "there is Chinese in the English text",
        ),
        (
            r#"const A: &str = "it is gone"; const B: &str = "it is 没有"; fn f() { either(A, B) }"#,
            "there is English in the Chinese text",
        ),
    ];
    for (source, wrong) in cases {
        assert_eq!(wrong_with(source), wrong, "{source}");
    }
}

#[test]
fn what_is_right_is_no_offence() {
    let sources = [
        "/// This is a comment with 汉字.\n// so is this one here\nfn f() { /* and this one too */ }",
        r#"#[doc = "this is not a message"] fn f() { f(b"nor are these bytes") }"#,
        r#"f(words!("{a}: see 开发设置", "{a}：见开发设置"))"#,
        r#"f(words!("{a} has `x y` and \"x y\"", "{a} 有 `x y` 和 \"x y\""))"#,
        r#"f(either("see \"clear quota\"", "见“clear quota”"), "two words", '"')"#,
        r#"const T: [(i64, &str, &str); 1] = [(1, "the menu", "菜单")];"#,
        r#"const A: &str = "it is gone"; const B: &str = "没有"; fn f() { either(A, B) }"#,
    ];
    for source in sources {
        assert_eq!(wrong_with(source), "", "{source}");
    }
}
