//! The command line: its options, and what is probably meant where it is not right.
//!
//! Does not open files.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use super::exclude::Exclude;
use super::help::{command_to_type, help_text, version_text};
use crate::disk;
use crate::words::{either, words};

/// The shape of a result line.
#[derive(Clone, Copy)]
pub enum Format {
    Text,
    Url,
    Markdown,
    Json,
}

/// The task that the command line names.
pub enum Command {
    /// `--help` or `--version`: show this text.
    Show(String),
    /// `--init`
    Init(Options),
    Upload(Options),
}

/// The command line.
pub struct Options {
    /// The config that `-c` names.
    pub config: Option<PathBuf>,
    /// The files and directories that were typed.
    pub paths: Vec<PathBuf>,
    pub to: Option<String>,
    pub recursive: bool,
    /// What is left out of directories.
    pub exclude: Exclude,
    pub jobs: usize,
    pub format: Format,
    /// Put the CRC-64 of the content into each cloud name.
    pub unique: bool,
    pub manifest: Option<PathBuf>,
    pub retries: u32,
    /// Seconds. A connection on which no byte moves for this time is given up (see `tcp.rs`).
    pub timeout: u32,
    pub dry_run: bool,
    pub quiet: bool,
}

/// The limit of `--jobs`.
pub const MOST_JOBS: usize = 64;
/// The workers prepare at most this number of files beyond those that are uploaded at once.
pub const MOST_AHEAD: usize = 16;
/// The number of calls for links that can be under way at once.
pub const LINK_CALLS: usize = 8;

impl Options {
    /// Returns the number of threads that upload. `--jobs` of them upload at once, while the others
    /// prepare the next files.
    pub fn workers(&self) -> usize {
        self.jobs + self.jobs.min(MOST_AHEAD)
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            config: None,
            paths: Vec::new(),
            to: None,
            recursive: false,
            exclude: Exclude::default(),
            jobs: 8,
            format: Format::Text,
            unique: false,
            manifest: None,
            retries: 3,
            timeout: 60,
            dry_run: false,
            quiet: false,
        }
    }
}

/// Reads the command line. The error is a sentence about it.
pub fn parse_options() -> Result<Command, String> {
    parse(lexopt::Parser::from_env()).map_err(|error| {
        let (error, help) = (words_of(&error), command_to_type("--help"));
        if error.ends_with(['?', '？']) {
            return words!("{error} See `{help}`", "{error}详见 `{help}`");
        }
        words!("{error}; see `{help}`", "{error}；详见 `{help}`")
    })
}

/// Returns the words for an error in the command line. In English they are lexopt's own.
fn words_of(error: &lexopt::Error) -> String {
    use lexopt::Error::{MissingValue, NonUnicodeValue, UnexpectedOption, UnexpectedValue};
    match error {
        UnexpectedOption(option) => {
            let meant = did_you_mean(option_like(option));
            words!(
                "invalid option '{option}'{meant}",
                "无法识别的选项“{option}”{meant}"
            )
        }
        MissingValue {
            option: Some(option),
        } => words!(
            "missing argument for option '{option}'",
            "{option} 后面缺少参数"
        ),
        UnexpectedValue { option, value } => {
            let value = value.display();
            words!(
                "unexpected argument for option '{option}': '{value}'",
                "{option} 不接受参数，却写了“{value}”"
            )
        }
        NonUnicodeValue(value) => words!(
            "argument is invalid unicode: {value:?}",
            "参数 {value:?} 不是有效的 Unicode 文本"
        ),
        error => error.to_string(), // the words of this file
    }
}

/// Returns the options that may be misspelled: those in `--help`.
fn long_options() -> impl Iterator<Item = &'static str> {
    let words = help_text().split([' ', '\n', ':', '：']);
    words.filter(|word| word.starts_with("--"))
}

/// Returns the option that was meant by one that there is not.
fn option_like(option: &str) -> Option<&'static str> {
    if option == "-v" {
        return Some("-V");
    }
    let is_meant = |known: &&str| {
        let is_beginning = option.len() > "--x".len() && known.starts_with(option);
        is_beginning || is_misspelled(option, known)
    };
    long_options().find(is_meant)
}

/// Whether a word is another one but for its case, `-` for `_`, or, from five letters on, one letter that
/// is wrong, missing, too many or swapped with its neighbour.
pub fn is_misspelled(word: &str, known: &str) -> bool {
    let [one, two] = [word, known].map(|word| word.to_ascii_lowercase().replace('-', "_"));
    let (mut one, mut two) = (one.as_bytes(), two.as_bytes());
    let is_long = two.len() >= 5;
    while let ([first, one_rest @ ..], [other, two_rest @ ..]) = (one, two)
        && first == other
    {
        (one, two) = (one_rest, two_rest);
    }
    while let ([one_rest @ .., last], [two_rest @ .., other]) = (one, two)
        && last == other
    {
        (one, two) = (one_rest, two_rest);
    }
    match (one, two) {
        ([], []) => true,
        ([_], [_] | []) | ([], [_]) => is_long,
        ([a, b], [c, d]) => is_long && (a, b) == (d, c),
        _ => false,
    }
}

/// Returns what the user probably meant, as the end of a message.
pub fn did_you_mean(meant: Option<&str>) -> String {
    match meant {
        Some(meant) => words!(": did you mean {meant}?", "：是否想写 {meant}？"),
        None => String::new(),
    }
}

fn parse(mut arguments: lexopt::Parser) -> Result<Command, lexopt::Error> {
    use lexopt::prelude::*;
    let mut init = false;
    let mut options = Options::default();
    while let Some(argument) = arguments.next()? {
        match argument {
            Short('c') | Long("config") => {
                options.config = Some(file_named("--config", arguments.value()?)?);
            }
            Short('t') | Long("to") => {
                let to = arguments.value()?;
                check_quotes("--to", &to)?;
                options.to = Some(to.string()?);
            }
            Short('r') | Long("recursive") => options.recursive = true,
            Short('x') | Long("exclude") => {
                let glob = arguments.value()?;
                check_quotes("--exclude", &glob)?;
                options.exclude.add(&glob.string()?)?;
            }
            Short('j') | Long("jobs") => {
                options.jobs = number("--jobs", arguments.value()?, 1, MOST_JOBS as u32)? as usize;
            }
            Short('f') | Long("format") => options.format = format_named(arguments.value()?)?,
            Short('u') | Long("unique") => options.unique = true,
            Long("manifest") => {
                options.manifest = Some(file_named("--manifest", arguments.value()?)?);
            }
            Long("retries") => options.retries = number("--retries", arguments.value()?, 0, 10)?,
            Long("timeout") => options.timeout = number("--timeout", arguments.value()?, 1, 3600)?,
            Short('n') | Long("dry-run") => options.dry_run = true,
            Long("init") => init = true,
            Short('q') | Long("quiet") => options.quiet = true,
            Short('h') | Long("help") => return Ok(Command::Show(help_text().to_owned())),
            Short('V') | Long("version") => return Ok(Command::Show(version_text())),
            Value(path) => options.paths.push(file_named(path_word(), path)?),
            _ => return Err(argument.unexpected()),
        }
    }
    if init {
        if !options.paths.is_empty() {
            return Err(either("--init takes no PATH", "--init 不能与路径一起使用").into());
        }
        return Ok(Command::Init(options));
    }
    take_as_meant(&mut options.paths)?;
    Ok(Command::Upload(options))
}

/// Checks the PATHs, and takes them as the user or the editor means them.
fn take_as_meant(paths: &mut Vec<PathBuf>) -> Result<(), lexopt::Error> {
    leave_out_upload(paths)?;
    check_single_word(paths)?;
    for path in paths {
        check_address(path)?;
        decode_missing(path);
    }
    Ok(())
}

/// Leaves out a first PATH `upload` or `u` that is no file: Obsidian's uploader puts this word before
/// its paths. For a pasted picture it passes the word alone. This must not upload the fixed directory.
fn leave_out_upload(paths: &mut Vec<PathBuf>) -> Result<(), lexopt::Error> {
    let Some(first) = paths.first() else {
        return Ok(());
    };
    let is_word = first == Path::new("upload") || first == Path::new("u");
    if !is_word || !disk::is_missing(first) {
        return Ok(());
    }
    let word = paths.remove(0);
    if paths.is_empty() {
        let word = word.display();
        let why = words!(
            "after '{word}' there is no PATH, so nothing was uploaded",
            "“{word}”后面没有路径，因此什么也没有上传"
        );
        return Err(why.into());
    }
    Ok(())
}

/// Checks that the only PATH, if it is a word such as `help`, is a file or a directory.
fn check_single_word(paths: &[PathBuf]) -> Result<(), lexopt::Error> {
    let [path] = paths else {
        return Ok(());
    };
    let word = path.to_string_lossy();
    if word.chars().all(char::is_alphabetic) && disk::is_missing(path) {
        let option = format!("--{word}");
        let meant = did_you_mean(long_options().find(|known| *known == option));
        let why = words!(
            "there is no file or directory '{word}', so nothing was uploaded{meant}",
            "没有名为“{word}”的文件或目录，因此什么也没有上传{meant}"
        );
        return Err(why.into());
    }
    Ok(())
}

/// Checks that a PATH is not the address of a file elsewhere.
fn check_address(path: &Path) -> Result<(), lexopt::Error> {
    let text = path.to_string_lossy();
    if text.starts_with("http://") || text.starts_with("https://") {
        let why = words!(
            "{text} is an address: only files on this machine are uploaded, so download it first (for a \
             fresh link, give the file_id, cloud://…)",
            "{text} 是网址：只能上传本机的文件，请先下载（要重新获取链接，请写 file_id：cloud://…）"
        );
        return Err(why.into());
    }
    Ok(())
}

/// If nothing is at `path`, but something is where it leads percent-decoded, takes that: some editors
/// encode the paths that they pass.
fn decode_missing(path: &mut PathBuf) {
    let Some(text) = path.to_str().filter(|text| text.contains('%')) else {
        return;
    };
    if disk::is_missing(path) {
        let decoded = percent_decode_str(text).decode_utf8().ok();
        let decoded = decoded.map(|text| PathBuf::from(&*text));
        if let Some(decoded) = decoded.filter(|decoded| !disk::is_missing(decoded)) {
            *path = decoded;
        }
    }
}

/// Returns the word for the arguments that are no options, as `--help` has it.
fn path_word() -> &'static str {
    either("PATH", "路径")
}

fn file_named(option: &str, name: OsString) -> Result<PathBuf, lexopt::Error> {
    if name.is_empty() {
        let why = words!(
            "{option} is empty: give the name of a file",
            "{option}: 不能为空，请写明文件名"
        );
        return Err(why.into());
    }
    check_quotes(option, &name)?;
    Ok(name.into())
}

/// Checks that a value does not contain the quote that was meant to end it. Windows takes `\"` for a
/// quote in the middle of a value. A file there has no such name.
fn check_quotes(option: &str, value: &OsStr) -> Result<(), lexopt::Error> {
    let text = value.to_string_lossy();
    if cfg!(windows) && text.contains('"') {
        let help = either(
            r#"leave out the \ before the closing ", or write \\ there"#,
            r#"请去掉结尾 " 前的 \，或把它写成 \\"#,
        );
        let why = words!(
            "{option} is '{text}': {help}",
            "{option}: 值为“{text}”：{help}"
        );
        return Err(why.into());
    }
    Ok(())
}

fn format_named(name: OsString) -> Result<Format, lexopt::Error> {
    Ok(match name.to_string_lossy().as_ref() {
        "text" => Format::Text,
        "url" => Format::Url,
        "markdown" => Format::Markdown,
        "json" => Format::Json,
        other => {
            let formats = ["text", "url", "markdown", "json"];
            let typed = other.to_ascii_lowercase();
            let is_meant = |format: &&str| typed.starts_with(&format[..1]);
            let meant = did_you_mean(formats.into_iter().find(is_meant));
            let why = words!(
                "--format takes text, url, markdown or json, not '{other}'{meant}",
                "--format 应为 text、url、markdown 或 json，而不是“{other}”{meant}"
            );
            return Err(why.into());
        }
    })
}

/// Reads the value of `option`, a whole number from `least` to `most`.
fn number(option: &str, value: OsString, least: u32, most: u32) -> Result<u32, lexopt::Error> {
    let text = value.to_string_lossy();
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => {
            let why = words!(
                "{option} takes a whole number from {least} to {most}, not '{text}'",
                "{option} 应为 {least} 到 {most} 的整数，而不是“{text}”"
            );
            Err(why.into())
        }
    }
}
