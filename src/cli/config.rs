//! Where the config is, what helps if there is none, or if it is not JSON, and a config to fill in.
//!
//! Does not check the keys of a config.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{self, Path, PathBuf};

use serde_json::Value;

use super::console::say;
use super::help::{command_to_type, shell_word};
use super::options::Options;
use crate::disk::{create_private, is_missing, without_bom};
use crate::words::{either, io_words, words};

const EXAMPLE_CONFIG: &str = include_str!("../../config.example.json");

/// Returns what helps if a `\` in a text was lost, or was taken for the beginning of an escape.
pub fn help_for_backslashes() -> &'static str {
    either(
        r"in JSON, write / or \\ for each \ of a path",
        r"JSON 中，路径里的每个 \ 要写成 / 或 \\",
    )
}

/// Returns the path of the config. It is the one that `-c` names. Without `-c` it is the one in the
/// current directory, or else the one beside the program. The error is a sentence with the command
/// that helps.
pub fn find_config(options: &Options) -> Result<PathBuf, String> {
    let config = &options.config;
    if !is_missing(config) {
        return Ok(config.clone());
    }
    if options.has_named_config {
        let name = shell_word(config.as_os_str()).unwrap_or_else(|| "…".to_owned());
        let command = command_to_type(&format!("--init -c {name}"));
        let shown = config.display();
        return Err(words!(
            "{shown}: there is no such file: `{command}` writes a config to fill in",
            "{shown}: 没有这个文件：用 `{command}` 生成待填写的配置文件"
        ));
    }
    let beside = beside_program(config);
    if let Some(beside) = &beside
        && !is_missing(beside)
    {
        return Ok(beside.clone());
    }
    let here = path::absolute(config).unwrap_or_else(|_| config.clone());
    let (shown, command) = (here.display(), command_to_type("--init"));
    Err(match beside {
        Some(beside) if beside != here => {
            let beside = beside.display();
            words!(
                "there is no config, neither {shown} nor {beside}: `{command}` writes one to fill in",
                "没有配置文件（{shown} 和 {beside} 都不存在）：用 `{command}` 生成一个，再填写"
            )
        }
        _ => words!(
            "there is no config, {shown}: `{command}` writes one to fill in",
            "没有配置文件（{shown} 不存在）：用 `{command}` 生成一个，再填写"
        ),
    })
}

/// Returns the path of the config in the directory of the program itself. Links to the program are
/// followed.
fn beside_program(config: &Path) -> Option<PathBuf> {
    let program = env::current_exe().ok()?.canonicalize().ok()?;
    let beside = program.with_file_name(config.file_name()?);
    // Windows puts `\\?\` before a real path, which users do not type.
    match beside.to_str()?.strip_prefix(r"\\?\") {
        Some(plain) if !plain.starts_with("UNC") => Some(plain.into()),
        _ => Some(beside),
    }
}

/// Reads a config, which must be a JSON object. The error says what helps.
pub fn parse_config(bytes: &[u8]) -> Result<Value, String> {
    let json = without_bom(bytes);
    let example = r#"{ "appid": "wx…", … }"#;
    if json.trim_ascii().is_empty() {
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
    let has_utf16_mark = config.starts_with(b"\xff\xfe") || config.starts_with(b"\xfe\xff");
    if has_utf16_mark || config.iter().take(2).any(|&byte| byte == 0) {
        return either(
            "is in UTF-16, which Windows also calls Unicode: save it as UTF-8",
            "是 UTF-16 编码（旧版记事本称为“Unicode”）：请另存为，编码选 UTF-8",
        )
        .to_owned();
    }
    if let Err(error) = str::from_utf8(config) {
        let before = config[..error.valid_up_to()].iter();
        let line = 1 + before.filter(|&&byte| byte == b'\n').count();
        return words!(
            "is not in UTF-8 (line {line}): save it as UTF-8",
            "第 {line} 行不是 UTF-8 编码：请另存为，编码选 UTF-8"
        );
    }
    let (line, column, error) = (error.line(), error.column(), error.to_string());
    let hint = if error.starts_with("invalid escape") {
        help_for_backslashes()
    } else if error.starts_with("control character") {
        // The text goes on behind the end of the line.
        either(
            r#"a closing " is missing, or there is a \ before it: write / or \\ for each \ of a path"#,
            r#"缺少结尾的 "，或者它前面有 \：路径里的每个 \ 要写成 / 或 \\"#,
        )
    } else {
        either(
            "check the commas, quotes and brackets; no // comments",
            "请检查逗号、引号和括号，都要用半角；不能有 // 注释",
        )
    };
    words!(
        "is not valid JSON: {error} ({hint})",
        "第 {line} 行第 {column} 列不是有效的 JSON：{hint}"
    )
}

/// Writes a config to fill in, for `--init`, but never over another one. The error is a sentence.
pub fn init_config(options: &Options) -> Result<(), String> {
    let path = &options.config;
    let shown = path.display();
    let mut file = create_private(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => words!(
            "{shown} already exists: nothing was changed",
            "{shown} 已存在，未作改动"
        ),
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
