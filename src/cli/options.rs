//! The user's wishes, checked: the command line, the config's keys and the environment, in one
//! `Settings`.
//!
//! Does not open files and does not send anything.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{self, Path, PathBuf};

use percent_encoding::percent_decode_str;
use serde_json::Value;
use ureq::http::Uri;

use super::config::{has_own_key, or_default};
use super::exclude::Exclude;
use super::help::{command_to_type, help_text, version_text};
use crate::url::{is_this_machine, web_address};
use crate::words::{either, words};
use crate::{cloud_rules, disk};

pub const DEFAULT_DIR: &str = "./154190339_附件/"; // the script's own directory
const DEFAULT_FOLDER: &str = "temp3/"; // the script's own cloud folder

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
    to: Option<String>,
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

/// The options that may be misspelled.
const LONG_OPTIONS: [&str; 15] = [
    "--config",
    "--to",
    "--recursive",
    "--exclude",
    "--jobs",
    "--format",
    "--unique",
    "--manifest",
    "--retries",
    "--timeout",
    "--dry-run",
    "--init",
    "--quiet",
    "--help",
    "--version",
];

/// Returns the option that was meant by one that there is not.
fn option_like(option: &str) -> Option<&'static str> {
    if option == "-v" {
        return Some("-V");
    }
    let is_meant = |known: &&str| {
        let is_beginning = option.len() > "--x".len() && known.starts_with(option);
        is_beginning || is_misspelled(option, known)
    };
    LONG_OPTIONS.into_iter().find(is_meant)
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
        let meant = did_you_mean(LONG_OPTIONS.into_iter().find(|known| *known == option));
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

/// The source of the access token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// The script's way, `/cgi-bin/token`.
    Token,
    /// `/cgi-bin/stable_token`
    StableToken,
    /// No token is needed, in a CloudRun container with 开放接口服务.
    None,
}

/// A request for a token needs these.
pub struct Account<'a> {
    pub appid: &'a str,
    pub secret: &'a str,
}

/// The settings of a run, from the command line, the config and the environment, checked.
pub struct Settings {
    pub options: Options,
    /// The config. `None` if the variables of the environment are enough.
    pub config: Option<PathBuf>,
    saves_token: bool,
    /// The directory that is uploaded if the user names no path.
    pub upload_dir: PathBuf,
    appid: Option<String>,
    secret: Option<String>,
    secret_may_be_sent: bool,
    pub env: String,
    /// The prefix of each cloud name: empty, or with a last `/`.
    pub prefix: String,
    pub auth: Auth,
    /// The config has no `auth`, so it is `token`, as in the script.
    pub auth_is_missing: bool,
    /// The URL of the API, without a last `/`.
    pub api_base: String,
    /// Seconds. A link lives for this time.
    pub max_age: Option<u64>,
    /// The header `Cache-Control` that COS stores with each object.
    pub cache_control: Option<String>,
}

impl Settings {
    /// Puts the settings together and checks them. `path` is where the `config` is. `needs_account` says
    /// that there is no token yet, so one will be fetched. The error is a sentence that names the keys.
    pub fn new(
        options: Options,
        path: Option<PathBuf>,
        config: &Value,
        needs_account: bool,
    ) -> Result<Settings, String> {
        let shown_path = or_default(path.as_deref());
        let in_config = |why| format!("{}: {why}", shown_path.display());
        check_texts(config).map_err(in_config)?;
        let auth = auth(config).map_err(in_config)?;
        let max_age = max_age(config).map_err(in_config)?;
        let cache_control = cache_control(config).map_err(in_config)?;
        let prefix = key_prefix(&options, shown_path, config)?;
        let base = Base::of(shown_path, config, auth)?;
        let is_named = options.config.is_some();
        let settings = Settings {
            saves_token: path.is_some() && (is_named || has_own_key(config, &["env"])),
            upload_dir: text_in(config, "upload_dir").unwrap_or(DEFAULT_DIR).into(),
            appid: appid(config),
            secret: text_or_variable(config, "secret", "WX_SECRET"),
            secret_may_be_sent: trimmed_in(config, "secret").is_some() || base.is_trusted,
            env: text_or_variable(config, "env", "WX_ENV").unwrap_or_default(),
            prefix,
            auth,
            auth_is_missing: text_in(config, "auth").is_none(),
            api_base: base.url,
            max_age,
            cache_control,
            options,
            config: path,
        };
        let needs_account = needs_account && auth != Auth::None && !settings.options.dry_run;
        settings.check_complete(needs_account)?;
        Ok(settings)
    }

    /// Checks that no key is missing that will be needed. The error names all missing keys.
    fn check_complete(&self, needs_account: bool) -> Result<(), String> {
        let (mut keys, mut variables, mut places) = (Vec::new(), Vec::new(), Vec::new());
        if needs_account && self.appid.is_none() {
            keys.push("`appid`");
            variables.push("WX_APPID");
        }
        if needs_account && self.secret.is_none() {
            keys.push("`secret`");
            variables.push("WX_SECRET");
        }
        if !keys.is_empty() {
            places.push(where_account_is());
        }
        if self.env.is_empty() {
            keys.push("`env`");
            variables.push("WX_ENV");
            places.push(either(
                "the id of the environment, like prod-…, is on cloud.weixin.qq.com/cloudrun",
                "环境 ID 形如 prod-…，在 cloud.weixin.qq.com/cloudrun 查看",
            ));
        }
        if keys.is_empty() {
            if needs_account {
                self.account()?; // the secret may be missing for another reason
            }
            return Ok(());
        }
        let (keys, are_more) = (listed(&keys), keys.len() > 1);
        let missing = if are_more {
            words!("{keys} are missing: fill them in", "缺少 {keys}：请填写")
        } else {
            words!("{keys} is missing: fill it in", "缺少 {keys}：请填写")
        };
        let shown = self.shown_config();
        let (variables, places) = (listed(&variables), places.join(either("; ", "；")));
        Err(words!(
            "{shown}: {missing}, or set {variables} ({places})",
            "{shown}: {missing}，或设置 {variables}（{places}）"
        ))
    }

    /// Returns `appid` and `secret`, or a sentence that says why they cannot be sent.
    pub fn account(&self) -> Result<Account<'_>, String> {
        let shown = self.shown_config();
        let (Some(appid), Some(secret)) = (&self.appid, &self.secret) else {
            let place = where_account_is();
            return Err(words!(
                "{shown}: `appid` or `secret` is missing: {place}",
                "{shown}: 缺少 `appid` 或 `secret`：{place}"
            ));
        };
        if !self.secret_may_be_sent {
            let base = &self.api_base;
            return Err(words!(
                "{shown}: `api_base` is {base}, and the WX_SECRET of the environment is not sent \
                 there: set WX_API_BASE={base}, too, if that is where it belongs",
                "{shown}: `api_base` 为 {base}，环境变量 WX_SECRET 不会发往该地址：如果确实要发往那里，\
                 请同时设置 WX_API_BASE={base}"
            ));
        }
        Ok(Account { appid, secret })
    }

    /// Returns the config, if a new token is saved in it.
    pub fn token_file(&self) -> Option<&Path> {
        self.config.as_deref().filter(|_| self.saves_token)
    }

    /// Returns the path of the config for a message.
    pub fn shown_config(&self) -> path::Display<'_> {
        or_default(self.config.as_deref()).display()
    }

    /// Whether `config`, which was read again, belongs to another account than this run.
    pub fn is_of_other_account(&self, config: &Value) -> bool {
        self.appid.is_some() && appid(config).is_some_and(|other| Some(other) != self.appid)
    }

    /// Returns the account's `appid`, if it is known.
    pub fn appid(&self) -> Option<&str> {
        self.appid.as_deref()
    }

    /// Returns the AppSecret, which no output may show.
    pub fn secret(&self) -> Option<&str> {
        self.secret.as_deref()
    }

    /// Whether plain http is refused. It is, unless the API's own URL is plain http.
    pub fn https_only(&self) -> bool {
        let base: Uri = self.api_base.parse().unwrap_or_default();
        base.scheme_str() != Some("http")
    }
}

/// Returns the account's `appid`, from the config or the environment.
pub fn appid(config: &Value) -> Option<String> {
    text_or_variable(config, "appid", "WX_APPID")
}

/// Tells where a user finds AppID and AppSecret.
fn where_account_is() -> &'static str {
    either(
        "AppID and AppSecret are on mp.weixin.qq.com → 管理 → 开发管理 → 开发设置; an AppSecret is \
         shown once, when it is made, and a reset ends the old one",
        "AppID 和 AppSecret 在 mp.weixin.qq.com → 管理 → 开发管理 → 开发设置中；AppSecret 只在生成或重置\
         时显示一次，重置后旧的立即失效",
    )
}

/// Joins words like `a, b and c`.
pub fn listed(words: &[&str]) -> String {
    match words {
        [all_but_last @ .., last] if !all_but_last.is_empty() => {
            let first = all_but_last.join(either(", ", "、"));
            words!("{first} and {last}", "{first} 和 {last}")
        }
        _ => words.concat(),
    }
}

/// Checks that the keys that hold texts hold nothing else.
fn check_texts(config: &Value) -> Result<(), String> {
    for key in [
        "appid",
        "secret",
        "env",
        "upload_dir",
        "upload_path",
        "auth",
        "api_base",
        "cache_control",
    ] {
        if !config[key].is_null() && !config[key].is_string() {
            return Err(words!(
                "`{key}` must be text in quotes",
                "`{key}` 应为带引号的文本"
            ));
        }
    }
    Ok(())
}

fn auth(config: &Value) -> Result<Auth, String> {
    match text_in(config, "auth") {
        Some("token") | None => Ok(Auth::Token),
        Some("stable_token") => Ok(Auth::StableToken),
        Some("none") => Ok(Auth::None),
        Some(_) => Err(either(
            "`auth` must be token, stable_token or none",
            "`auth` 应为 token、stable_token 或 none",
        )
        .into()),
    }
}

fn max_age(config: &Value) -> Result<Option<u64>, String> {
    let max_age = &config["max_age"];
    match max_age.as_u64() {
        Some(seconds @ 1..) => Ok(Some(seconds)),
        None if max_age.is_null() => Ok(None),
        _ => Err(either(
            "`max_age` must be a whole number of seconds, from 1",
            "`max_age` 应为整数秒，至少为 1",
        )
        .into()),
    }
}

fn cache_control(config: &Value) -> Result<Option<String>, String> {
    let Some(text) = trimmed_in(config, "cache_control") else {
        return Ok(None);
    };
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Ok(Some(text.to_owned()));
    }
    Err(either(
        "`cache_control` must be plain ASCII in one line, like \"max-age=3600\"",
        "`cache_control` 应为一行 ASCII 文本，如 \"max-age=3600\"",
    )
    .into())
}

/// The base URL of the API.
struct Base {
    /// Without a last `/`.
    url: String,
    /// A secret from the environment may be sent to it.
    is_trusted: bool,
}

impl Base {
    fn of(path: &Path, config: &Value, auth: Auth) -> Result<Base, String> {
        let official = "https://api.weixin.qq.com";
        // In a container the platform itself signs the calls, so it must be able to read them.
        let default = match auth {
            Auth::None => "http://api.weixin.qq.com",
            Auth::Token | Auth::StableToken => official,
        };
        let from_environment = variable("WX_API_BASE");
        let of_config = format!("{}: `api_base`", path.display());
        let (source, url) = match (text_in(config, "api_base"), &from_environment) {
            (Some(url), _) => (of_config, url),
            (None, Some(url)) => ("WX_API_BASE".to_owned(), url.as_str()),
            (None, None) => (of_config, default),
        };
        let url = url.trim_end_matches('/').to_owned();
        let Some(uri) = web_address(&url).filter(|_| !url.contains(['?', '#'])) else {
            return Err(words!(
                "{source} must be like https://api.weixin.qq.com",
                "{source} 应形如 https://api.weixin.qq.com"
            ));
        };
        let is_here = is_this_machine(uri.host().unwrap_or_default());
        if uri.scheme_str() == Some("http") && auth != Auth::None && !is_here {
            return Err(words!(
                "{source} is {url}: over http, everybody on the way could read the secret: use \
                 https",
                "{source} 为 {url}：http 是明文，沿途任何人都能读到 AppSecret：请使用 https"
            ));
        }
        let is_from_environment =
            from_environment.is_some_and(|named| named.trim_end_matches('/') == url);
        let is_trusted = url == official || is_from_environment;
        Ok(Base { url, is_trusted })
    }
}

/// Returns the prefix of all cloud names: from `--to`, or else from the config.
fn key_prefix(options: &Options, path: &Path, config: &Value) -> Result<String, String> {
    let (source, folder) = match &options.to {
        Some(to) => ("--to".to_owned(), to.as_str()),
        None => {
            let source = format!("{}: `upload_path`", path.display());
            let folder = text_in(config, "upload_path").unwrap_or(DEFAULT_FOLDER);
            (source, folder)
        }
    };
    let prefix = cloud_rules::prefix_of(folder);
    match cloud_rules::broken_rule(&format!("{prefix}x")) {
        Some(why) => Err(words!(
            "{source} '{folder}': {why}",
            "{source} 为“{folder}”：{why}"
        )),
        None => Ok(prefix),
    }
}

/// Returns a text in the config or in a reply. A text that is null, missing or empty is `None`.
pub fn text_in<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object[key].as_str().filter(|text| !text.is_empty())
}

/// Returns a text in the config without the white space around it, which comes with pasted texts.
fn trimmed_in<'a>(config: &'a Value, key: &str) -> Option<&'a str> {
    text_in(config, key)
        .map(str::trim)
        .filter(|text| !text.is_empty())
}

fn text_or_variable(config: &Value, key: &str, name: &str) -> Option<String> {
    match trimmed_in(config, key) {
        Some(text) => Some(text.to_owned()),
        None => variable(name),
    }
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
