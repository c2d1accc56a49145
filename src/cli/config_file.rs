//! Where the config is, what helps if there is none, or if it is not JSON, and a config to fill in.
//!
//! Does not check the values of a config.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::iter;
use std::path::{self, Path, PathBuf};

use serde_json::{Map, Value, json};

use super::console::say;
use super::help::{command_to_type, shell_word};
use super::options::{Options, is_misspelled};
use crate::disk::{
    create_private, is_missing, no_directory, read_regular, without_bom, without_verbatim_prefix,
};
use crate::words::{either, io_words, listed, words};

const EXAMPLE_CONFIG: &str = include_str!("../../config.example.json");

/// Returns what helps if a `\` in a text was lost, or was taken for the beginning of an escape.
pub fn help_for_backslashes() -> &'static str {
    either(
        r"in JSON, write / or \\ for each \ of a path",
        r"JSON 中，路径里的每个 \ 要写成 / 或 \\",
    )
}

/// The config, where `-c` names none.
const CONFIG: &str = "./config.json";

/// Returns the path of a config, or that of the default one where there is none.
pub fn or_default(config: Option<&Path>) -> &Path {
    config.unwrap_or(Path::new(CONFIG))
}

/// The keys of a config that hold a text.
pub const TEXT_KEYS: [&str; 8] = [
    "appid",
    "secret",
    "env",
    "upload_dir",
    "upload_path",
    "auth",
    "api_base",
    "cache_control",
];
/// The other keys of a config. (A token that is no text counts as none.)
const OTHER_KEYS: [&str; 5] = [
    "create_time",
    "expires_in",
    "access_token",
    "token_appid",
    "max_age",
];

fn keys() -> impl Iterator<Item = &'static str> {
    TEXT_KEYS.into_iter().chain(OTHER_KEYS)
}

/// Prints a note for each key of the config at `path` that is probably a misspelled one of ours.
pub fn note_misspelled_keys(path: &Path, config: &Value) {
    let shown = path.display();
    for (key, known) in misspelled_keys(config) {
        say(&words!(
            "note: {shown}: the key `{key}` is not known: did you mean `{known}`?",
            "note: {shown}: 不认识配置项 `{key}`：是否想写 `{known}`？"
        ));
    }
}

/// Returns each key that is probably a misspelled one of ours, with the one that was meant.
fn misspelled_keys(config: &Value) -> Vec<(&str, &str)> {
    let mut misspelled = Vec::new();
    for key in config.as_object().into_iter().flat_map(Map::keys) {
        let is_meant = |known: &&str| config.get(known).is_none() && is_misspelled(key, known);
        if let Some(known) = keys().find(is_meant) {
            misspelled.push((key.as_str(), known));
        }
    }
    misspelled
}

/// Whether a config has a key of this program, apart from `others`.
pub fn has_own_key(config: &Value, others: &[&str]) -> bool {
    let is_own = |key| !others.contains(&key) && config.get(key).is_some();
    keys().any(is_own)
}

/// Returns the path of the config. It is the one that `-c` names. Without `-c` it is the one in the
/// current directory, or else the one beside the program, but not the `config.json` of another program.
/// Returns `None` if there is none, and the environment is enough. The error is a sentence with the
/// command that helps.
pub fn find_config(options: &Options) -> Result<Option<PathBuf>, String> {
    if let Some(named) = &options.config {
        return find_named(named).map(Some);
    }
    let here = Path::new(CONFIG);
    let beside = beside_program(here);
    let mut others = None;
    for path in iter::once(here).chain(beside.as_deref()) {
        if is_missing(path) {
            continue;
        }
        let Some(config) = config_of_another_program(path) else {
            return Ok(Some(path.to_owned()));
        };
        others = others.or(Some((path, config)));
    }
    if config_of_environment().is_some() {
        return Ok(None);
    }
    Err(match others {
        Some((path, config)) => why_not_own(path, &config),
        None => why_none(here, beside.as_deref()),
    })
}

fn find_named(config: &Path) -> Result<PathBuf, String> {
    if !is_missing(config) {
        return Ok(config.to_owned());
    }
    let name = shell_word(config.as_os_str()).unwrap_or_else(|| "…".to_owned());
    let command = command_to_type(&format!("--init -c {name}"));
    let shown = config.display();
    Err(words!(
        "{shown}: there is no such file: `{command}` writes a config to fill in",
        "{shown}: 没有这个文件：用 `{command}` 生成待填写的配置文件"
    ))
}

/// Returns the config in the file, if it is one of another program: a JSON object with keys, but none of
/// ours.
fn config_of_another_program(path: &Path) -> Option<Value> {
    let config = parse_config(&read_regular(path).ok()?).ok()?;
    (config != json!({}) && !has_own_key(&config, &[])).then_some(config)
}

fn why_not_own(path: &Path, config: &Value) -> String {
    let (shown, command) = (path.display(), command_to_type("--init -c wx.json"));
    let meant = match misspelled_keys(config).first() {
        Some((key, known)) => words!(
            " (did you mean `{known}` by `{key}`?)",
            "（是否想写 `{known}`，而不是 `{key}`？）"
        ),
        None => String::new(),
    };
    words!(
        "{shown} is not wx-upload's: it has none of the keys `appid`, `secret`, `env` …{meant}: \
         `{command}` writes a config to fill in, and -c wx.json names it",
        "{shown} 不是 wx-upload 的配置文件，其中没有 `appid`、`secret`、`env` 等键{meant}：用 `{command}` \
         生成一个并填写，再用 -c wx.json 指定"
    )
}

fn why_none(here: &Path, beside: Option<&Path>) -> String {
    let here = path::absolute(here).unwrap_or_else(|_| here.to_owned());
    let (shown, command) = (here.display(), command_to_type("--init"));
    if here.with_added_extension("txt").exists() {
        return words!(
            "there is no config, {shown}, but a config.json.txt: rename it to config.json (Windows hides \
             the .txt)",
            "没有配置文件 {shown}，但有 config.json.txt：请改名为 config.json（Windows 默认隐藏 .txt 扩展名）"
        );
    }
    let mut variables = vec!["WX_APPID", "WX_SECRET", "WX_ENV"];
    variables.retain(|name| variable(name).is_none()); // perhaps a CI has set only some of them
    let variables = listed(&variables);
    match beside {
        Some(beside) if beside != here => {
            let beside = beside.display();
            words!(
                "there is no config, neither {shown} nor {beside}: `{command}` writes one to fill in; \
                 or set {variables}",
                "没有配置文件（{shown} 和 {beside} 都不存在）：用 `{command}` 生成一个，再填写；\
                 也可以设置 {variables}"
            )
        }
        _ => words!(
            "there is no config, {shown}: `{command}` writes one to fill in; or set {variables}",
            "没有配置文件（{shown} 不存在）：用 `{command}` 生成一个，再填写；也可以设置 {variables}"
        ),
    }
}

/// Returns the config that the environment alone makes: for an account, or in a CloudRun container.
/// The variables stand in for keys that are missing.
pub fn config_of_environment() -> Option<Value> {
    let env = variable("WX_ENV");
    if variable("WX_SECRET").is_some() {
        let is_complete = variable("WX_APPID").is_some() && env.is_some();
        return is_complete.then(|| json!({ "auth": "stable_token" }));
    }
    let container = variable("CBR_ENV_ID")?;
    Some(json!({ "auth": "none", "env": env.unwrap_or(container) }))
}

/// Returns the path of the config in the directory of the program itself. Links to the program are
/// followed.
fn beside_program(config: &Path) -> Option<PathBuf> {
    let program = env::current_exe().ok()?.canonicalize().ok()?;
    let beside = program.with_file_name(config.file_name()?);
    Some(without_verbatim_prefix(beside))
}

/// Reads a config, which must be a JSON object. The error says what helps.
pub fn parse_config(bytes: &[u8]) -> Result<Value, String> {
    let json = without_bom(bytes);
    let example = r#"{ "appid": "wx…", … }"#;
    // A power cut can leave zeros.
    if json
        .iter()
        .all(|byte| *byte == 0 || byte.is_ascii_whitespace())
    {
        return Err(words!(
            "is empty: it must look like {example}",
            "是空的：应形如 {example}"
        ));
    }
    let config: Value =
        serde_json::from_slice(json).map_err(|error| why_not_json(bytes, &error))?;
    if !config.is_object() {
        return Err(words!(
            "is not a JSON object: it must look like {example}",
            "不是 JSON 对象：应形如 {example}"
        ));
    }
    Ok(config)
}

fn why_not_json(config: &[u8], error: &serde_json::Error) -> String {
    if let Some(why) = why_not_utf8(config) {
        return why;
    }
    let config = without_bom(config);
    let (line, column, error) = (error.line(), error.column(), error.to_string());
    let (_, rest) = split_at_column(config, line, column.saturating_sub(1));
    if error.starts_with("trailing comma")
        && let Some(line) = line_of_last_comma(config, line, column)
    {
        return words!(
            "is not valid JSON: there is a comma too many at the end of line {line}",
            "不是有效的 JSON：第 {line} 行末尾多了逗号"
        );
    }
    if error.starts_with("control character") {
        return why_control_character(line, column, rest);
    }
    if rest.starts_with(b"//") || rest.starts_with(b"/*") {
        return words!(
            "is not valid JSON: there is a comment in line {line}: delete it",
            "不是有效的 JSON：第 {line} 行有注释：请删除"
        );
    }
    let hint = if error.starts_with("invalid escape") {
        help_for_backslashes()
    } else {
        either(
            "check this line and the one before: commas, brackets, and quotes, which must be \"",
            "请检查这一行和上一行的逗号、引号和括号，都要用半角",
        )
    };
    words!(
        "is not valid JSON: {error} ({hint})",
        "第 {line} 行第 {column} 列不是有效的 JSON：{hint}"
    )
}

/// Explains a control character within quotes: most often the end of the line. `rest` begins with it.
fn why_control_character(line: usize, column: usize, rest: &[u8]) -> String {
    if column != 0 && !rest.starts_with(b"\r") {
        return words!(
            "is not valid JSON: there is a tab or another control character within quotes in line {line}: \
             delete it",
            "不是有效的 JSON：第 {line} 行的引号内有制表符或其他控制字符：请删除"
        );
    }
    // The text goes on behind the end of its line. Column 0 is that end, too, but in the next line.
    let line = if column == 0 { line - 1 } else { line };
    words!(
        "is not valid JSON: in line {line} a closing \" is missing, or there is a \\ before it: \
         write / or \\\\ for each \\ of a path",
        "不是有效的 JSON：第 {line} 行缺少结尾的 \"，或者它前面有 \\：路径里的每个 \\ 要写成 / 或 \\\\"
    )
}

/// Returns what helps if a text is not in UTF-8.
fn why_not_utf8(config: &[u8]) -> Option<String> {
    let has_utf16_mark = config.starts_with(b"\xff\xfe") || config.starts_with(b"\xfe\xff");
    if has_utf16_mark || config.iter().take(2).any(|&byte| byte == 0) {
        let why = either(
            "is in UTF-16, which Windows also calls Unicode: save it as UTF-8",
            "是 UTF-16 编码（旧版记事本称为“Unicode”）：请另存为，编码选 UTF-8",
        );
        return Some(why.to_owned());
    }
    if let Err(error) = str::from_utf8(config) {
        let before = config[..error.valid_up_to()].iter();
        let line = 1 + before.filter(|&&byte| byte == b'\n').count();
        return Some(words!(
            "is not in UTF-8 (line {line}): save it as UTF-8",
            "第 {line} 行不是 UTF-8 编码：请另存为，编码选 UTF-8"
        ));
    }
    None
}

/// Splits a text after this number of columns of a line.
fn split_at_column(text: &[u8], line: usize, column: usize) -> (&[u8], &[u8]) {
    let lines_before = text
        .split_inclusive(|&byte| byte == b'\n')
        .take(line.saturating_sub(1));
    let offset = lines_before.map(<[u8]>::len).sum::<usize>() + column;
    text.split_at(offset.min(text.len()))
}

/// Returns the line with the last comma before a place in a text.
fn line_of_last_comma(text: &[u8], line: usize, column: usize) -> Option<usize> {
    let (before, _) = split_at_column(text, line, column);
    let comma = before.iter().rposition(|&byte| byte == b',')?;
    let line_ends = before[..comma].iter().filter(|&&byte| byte == b'\n');
    Some(1 + line_ends.count())
}

/// Writes a config to fill in, for `--init`, but never over another one. The error is a sentence.
pub fn init_config(options: &Options) -> Result<(), String> {
    let path = or_default(options.config.as_deref());
    let shown = path.display();
    let mut file = create_private(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => words!(
            "{shown} already exists, and was not changed: edit it, or name another file with -c",
            "{shown} 已存在，未作改动：请直接编辑它，或用 -c 指定别的文件"
        ),
        io::ErrorKind::PermissionDenied => words!(
            "{shown}: cannot be written here: run this in a directory of yours, or name a file with -c",
            "{shown}: 这里不允许写入：请在自己的目录中运行，或用 -c 指定文件"
        ),
        io::ErrorKind::NotFound => format!("{shown}: {}", no_directory()),
        _ => cannot_write(path, &error),
    })?;
    if let Err(error) = file.write_all(EXAMPLE_CONFIG.as_bytes()) {
        let _ = fs::remove_file(path); // half a config would be in the way
        return Err(cannot_write(path, &error));
    }
    if !options.quiet {
        say(&words!(
            "{shown} was written: fill in `appid`, `secret` and `env`",
            "已生成 {shown}：请填写 `appid`、`secret` 和 `env`"
        ));
    }
    Ok(())
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    let (shown, error) = (path.display(), io_words(error));
    words!(
        "{shown}: cannot be written: {error}",
        "{shown}: 无法写入：{error}"
    )
}

/// Returns a text in the config or in a reply. A text that is null, missing or empty is `None`.
pub fn text_in<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object[key].as_str().filter(|text| !text.is_empty())
}

/// Returns a variable of the environment without the white space around it: many tools leave a
/// newline at the end. docker's `--env-file` keeps quotes: they are left out, too. An empty variable is
/// `None`.
pub fn variable(name: &str) -> Option<String> {
    let text = env::var(name).ok()?;
    let mut trimmed = text.trim();
    for quote in ['"', '\''] {
        let unquoted = trimmed
            .strip_prefix(quote)
            .and_then(|text| text.strip_suffix(quote));
        trimmed = unquoted.unwrap_or(trimmed);
    }
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}
