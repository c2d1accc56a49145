//! The text of `--help`, and commands as the user must type them here.
//!
//! Reads nothing of the command line but the name of the program.

use std::env;
use std::env::consts::{ARCH, OS};
use std::ffi::OsStr;
use std::process::ExitCode;

use super::console::{end_of_output, print};
use crate::words::either;

const ENGLISH: &str = "\
Upload files to WeChat CloudRun (微信云托管) storage and print their links.

Usage: wx-upload [OPTIONS] [PATH]...

A PATH is a file, or a directory: the files in it. Default: config's upload_dir.
A PATH like cloud://... is a file_id: nothing is uploaded, its link is printed.

  -c, --config FILE      the config file [./config.json, or beside the program]
  -t, --to PREFIX        the cloud folder [config's upload_path, else temp3/]
  -r, --recursive        also files in subdirectories
  -x, --exclude GLOB     leave out entries that match: \"*.psd\" \"raw/**\"
  -j, --jobs N           files uploaded at once, 1 to 64 [8]
  -f, --format FORMAT    text, url, markdown or json [text]
  -u, --unique           put a checksum of the content into each cloud name
      --manifest FILE    remember uploads there, skip what has not changed since
      --retries N        tries after the first, 0 to 10 [3]
      --timeout SECONDS  give up on a silent connection, 1 to 3600 [60]
  -n, --dry-run          list what would be uploaded, touch no network
      --init             write a config file to fill in, if you have none
  -q, --quiet            only warnings and errors on standard error
  -h, --help             this text;  -V, --version: the version

  wx-upload -r -t img/ --manifest sent.jsonl pics  again later: only what is new";

const CHINESE: &str = "\
把文件上传到微信云托管的对象存储，并输出下载链接。

用法：wx-upload [选项] [路径]...

路径可以是文件，也可以是目录（上传其中的文件）；不写则取配置项 upload_dir。
形如 cloud://... 的路径是 file_id：不上传，只输出它的下载链接。

  -c, --config FILE      配置文件 [./config.json，没有则用程序旁边的]
  -t, --to PREFIX        云端目录 [配置项 upload_path，没有则为 temp3/]
  -r, --recursive        同时上传子目录中的文件
  -x, --exclude GLOB     不上传目录中匹配的文件或目录，如 \"*.psd\" \"raw/**\"
  -j, --jobs N           同时上传的文件数，1 到 64 [8]
  -f, --format FORMAT    输出格式：text、url、markdown 或 json [text]
  -u, --unique           在云端文件名中加入内容哈希，不会覆盖文件
      --manifest FILE    把上传过的文件记入清单，没有改动的不再上传
      --retries N        临时错误的重试次数，0 到 10 [3]
      --timeout SECONDS  连接多少秒没有收发数据就放弃，1 到 3600 [60]
  -n, --dry-run          只列出将要上传的文件，不访问网络
      --init             没有配置文件时，生成一个待填写的
  -q, --quiet            不显示进度、汇总和提示，只输出警告和错误
  -h, --help             显示本帮助；-V, --version：显示版本号

  wx-upload -r -t img/ --manifest sent.jsonl pics  再次运行时，只上传有变化的";

/// Returns the text of `--version`, with the system and the processor that the program was made for.
pub fn version_text() -> String {
    let (version, system, processor) = (env!("CARGO_PKG_VERSION"), OS, ARCH);
    format!("wx-upload {version} ({system}, {processor})")
}

/// Returns the text of `--help`. It fits a terminal with 80 columns and 24 lines; a Chinese character
/// takes two columns.
pub fn help_text() -> &'static str {
    either(ENGLISH, CHINESE)
}

/// Prints the text of `--help` or `--version`.
pub fn show(text: &str) -> ExitCode {
    for line in text.lines() {
        if let Err(error) = print(line) {
            return end_of_output(&error);
        }
    }
    ExitCode::SUCCESS
}

/// Returns the command that calls the program with these arguments, as it must be typed here. A
/// program that was called by its path, such as `./wx-upload`, is perhaps not on the `PATH`.
pub fn command_to_type(arguments: &str) -> String {
    let called = env::args_os().next().and_then(|name| shell_word(&name));
    match called {
        Some(name) if name.contains(['/', '\\']) => format!("{name} {arguments}"),
        _ => format!("wx-upload {arguments}"),
    }
}

/// Returns `text` as a word of a command, with quotes if it needs them. Returns `None` if it has
/// characters that are special in a shell, because users paste the command.
pub fn shell_word(text: &OsStr) -> Option<String> {
    let text = text.to_str()?;
    let is_path = |c: char| "/._-".contains(c) || cfg!(windows) && "\\:".contains(c);
    let is_plain = |c: char| c.is_alphanumeric() || c == ' ' || is_path(c);
    if text.starts_with('-') || !text.chars().all(is_plain) {
        return None;
    }
    if text.contains(' ') {
        return Some(format!("\"{text}\""));
    }
    Some(text.to_owned())
}
