//! wx-upload puts files into WeChat CloudRun (微信云托管) object storage and prints their links.
//!
//! Every file goes the way of the script that this program replaces:
//!
//! 1. `get_access_token`: `GET /cgi-bin/token`, once for all files; kept in `config.json`
//! 2. `get_upload_file_info`: `POST /tcb/uploadfile` says where to upload, and signs it
//! 3. `upload_file`: `POST` to COS as a form, the file streamed from disk
//! 4. `get_download_link`: `POST /tcb/batchdownloadfile`, for up to 50 files in one call
//!
//! Worker threads do 2 and 3 (`wx_upload_file`). The main thread collects what they finished (`collect`), does 4 for
//! all that has piled up meanwhile, and prints the results in the order of the input.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::hash::BuildHasher;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use ureq::config::Config;
use ureq::http::{Response, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::multipart::{Form, Part};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, RustlsConnector,
    Transport,
};
use ureq::{Agent, Body, Proxy, ProxyProtocol, Timeout};

// ---- What users see --------------------------------------------------------------------------------------------

const HELP: &str = "\
Upload files to WeChat CloudRun (微信云托管) storage and print their links.

Usage: wx-upload [OPTIONS] [PATH]...

A PATH is a file, or a directory: the files in it. Default: config's upload_dir.

  -c, --config FILE      the config file [./config.json]
  -t, --to PREFIX        the cloud folder [config's upload_path, else temp3/]
  -r, --recursive        also files in subdirectories
  -j, --jobs N           files uploaded at once, 1 to 64 [8]
  -f, --format FORMAT    text, url, markdown or json [text]
      --manifest FILE    remember uploads there, skip what has not changed since
      --retries N        tries after the first, 0 to 10 [3]
      --timeout SECONDS  give up on a silent connection, 1 to 3600 [60]
  -n, --dry-run          list what would be uploaded, touch no network
      --init             write a config file to fill in
  -q, --quiet            only errors on standard error
  -h, --help             this text;  -V, --version: the version

  wx-upload --init                                 first of all
  wx-upload -r -t img/ --manifest sent.jsonl pics  again later: only what is new";

const EXAMPLE_CONFIG: &str = include_str!("../config.example.json");

// The script's own four phrases: the STAGE of an error line.
const TOKEN_FAILED: &str = "获取access token失败";
const INFO_FAILED: &str = "获取文件上传链接失败";
const UPLOAD_FAILED: &str = "上传文件失败";
const LINK_FAILED: &str = "获取下载链接失败";

const TOO_LARGE: &str = "it is larger than the 5 GiB that COS takes";
const CANNOT_PRINT: &str = "standard output cannot be written";

/// What a user can do about an `errcode` of the API, and what the program does.
fn remedy(errcode: i64) -> (&'static str, Cure) {
    match errcode {
        -1 | -1000 => ("the service is busy: try again later", Cure::Wait(None)),
        45011 => ("too many calls a minute: wait, or use fewer --jobs", Cure::Wait(None)),
        40001 | 40014 | 41001 | 42001 => (
            "the access token is refused, and a new one did not help: check `appid`, and whether another program \
             fetches tokens for it (`\"auth\": \"stable_token\"` keeps out of its way)",
            Cure::NewToken,
        ),
        45009 => ("the daily quota is used up: it returns at midnight, Beijing time", Cure::StopRun),
        48001 => ("this account may not use the API: check its permissions", Cure::StopRun),
        85088 => ("CloudRun is not enabled: check that `env` and `appid` belong together", Cure::StopRun),
        40013 => ("check `appid`", Cure::Nothing),
        40125 => ("check `secret`", Cure::Nothing),
        40164 => ("add this machine's address to the IP whitelist on mp.weixin.qq.com, 开发设置", Cure::Nothing),
        40243 => ("the AppSecret is frozen: unfreeze it on mp.weixin.qq.com", Cure::Nothing),
        40097 | 40101 | 47001 => ("check `env`, and the file's cloud path", Cure::Nothing),
        43002 | 44002 => ("this is a bug of wx-upload: please report it", Cure::Nothing),
        _ => ("not in the list of known errors", Cure::Nothing),
    }
}

// ---- Facts and choices -----------------------------------------------------------------------------------------

const DEFAULT_DIR: &str = "./154190339_附件/"; // the script's own directory
const DEFAULT_PREFIX: &str = "temp3/"; // and its cloud folder
const LINKS_PER_CALL: usize = 50; // the limit of batchdownloadfile
const MAX_KEY_BYTES: usize = 850; // 官方文件名命名限制
const MAX_FILE_BYTES: u64 = 5 << 30; // the limit of COS "POST Object"
const MAX_REPLY_BYTES: u64 = 1 << 20; // 50 links are some 30 KiB
const MAX_RECEIVED: usize = 2 << 20; // with its head, with TLS: ureq itself would read interim replies for ever
const MAX_COS_REPLY_BYTES: u64 = 64 << 10;
const MAX_QUOTE_CHARS: usize = 300; // of a server's own words in an error line
const TOKEN_MARGIN: i64 = 60; // seconds: a token that is about to expire is not used any more
const MAX_REFUSALS: u32 = 2; // of a call by different tokens: its own, one that another run saved; then a new one
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REPLY_TIMEOUTS: u32 = 10; // so many times `--timeout` for a reply that comes byte by byte, and would never end
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const MAX_MANIFEST_LINE: u64 = 64 << 10;
const SIDE_BY_SIDE: Duration = Duration::from_millis(5); // files that finish within so long share a call for links
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
const INPUT_BUFFER: usize = 32 << 10; // per connection and layer (TCP, TLS), as is the next
const OUTPUT_BUFFER: usize = 64 << 10;
const MAX_AHEAD: usize = 10_000; // files finished before the first unfinished one: bounds what waits to be printed

// ---- main ------------------------------------------------------------------------------------------------------

fn main() -> ExitCode {
    try_main().unwrap_or_else(|message| {
        complain(&format!("error: {message}"));
        ExitCode::from(2)
    })
}

/// Everything up to the run itself. What is wrong until then is an `Err`: a sentence, exit status 2, and nothing was
/// attempted.
fn try_main() -> Result<ExitCode, String> {
    let options = parse_options().map_err(|error| format!("{error}; see `wx-upload --help`"))?;
    if options.init {
        return init_config(&options);
    }
    let config = load_config(&options.config)?;
    let settings = Settings::new(&config, &options)?;
    let (files, notes) = list_files(&options, &config, &settings.prefix)?;
    let manifest = match &options.manifest {
        Some(path) if options.dry_run && !path.exists() => None,
        Some(path) => Some(Manifest::open(path, &settings, &files, !options.dry_run)?),
        None => None,
    };
    if !options.dry_run && settings.auth != Auth::None && fresh_token(&config, TOKEN_MARGIN).is_none() {
        settings.credentials()?;
    }
    let run = Run {
        agent: if options.dry_run { Agent::new_with_defaults() } else { http_agent(&options, &settings)? },
        progress: progress_bar(&options, &files),
        token: Mutex::new(TokenCache { config, margin: TOKEN_MARGIN, unproven: false, lost: None }),
        queue: Mutex::default(),
        queue_changed: Condvar::new(),
        options,
        settings,
        files,
        manifest,
    };
    notes.iter().for_each(|note| run.note(&format!("note: {note}")));
    if run.files.is_empty() {
        run.note("note: there is no file to upload");
    }
    Ok(if run.options.dry_run { dry_run(&run, notes.len()) } else { upload_all(&run, notes.len()) })
}

// ---- Options ---------------------------------------------------------------------------------------------------

struct Options {
    config: PathBuf,
    paths: Vec<PathBuf>,
    to: Option<String>,
    recursive: bool,
    jobs: usize,
    format: Format,
    manifest: Option<PathBuf>,
    retries: u32,
    timeout: Duration,
    dry_run: bool,
    init: bool,
    quiet: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Text,
    Url,
    Markdown,
    Json,
}

/// Reads the command line. Answers `--help` and `--version` itself, and ends.
fn parse_options() -> Result<Options, lexopt::Error> {
    use lexopt::prelude::*;
    let mut arguments = lexopt::Parser::from_env();
    let mut options = Options {
        config: "./config.json".into(),
        paths: Vec::new(),
        to: None,
        recursive: false,
        jobs: 8,
        format: Format::Text,
        manifest: None,
        retries: 3,
        timeout: Duration::from_secs(60),
        dry_run: false,
        init: false,
        quiet: false,
    };
    while let Some(argument) = arguments.next()? {
        match argument {
            Short('c') | Long("config") => options.config = file_named("--config", arguments.value()?)?,
            Short('t') | Long("to") => options.to = Some(arguments.value()?.string()?),
            Short('r') | Long("recursive") => options.recursive = true,
            Short('j') | Long("jobs") => options.jobs = number("--jobs", arguments.value()?, 1, 64)? as usize,
            Short('f') | Long("format") => options.format = format_named(&arguments.value()?.to_string_lossy())?,
            Long("manifest") => options.manifest = Some(file_named("--manifest", arguments.value()?)?),
            Long("retries") => options.retries = number("--retries", arguments.value()?, 0, 10)?,
            Long("timeout") => {
                options.timeout = Duration::from_secs(number("--timeout", arguments.value()?, 1, 3600)?.into());
            }
            Short('n') | Long("dry-run") => options.dry_run = true,
            Long("init") => options.init = true,
            Short('q') | Long("quiet") => options.quiet = true,
            Short('h') | Long("help") => show(HELP),
            Short('V') | Long("version") => show(concat!("wx-upload ", env!("CARGO_PKG_VERSION"))),
            Value(path) => options.paths.push(file_named("PATH", path)?),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(options)
}

fn show(text: &str) -> ! {
    let printed = print(text).map_err(|error| complain(&format!("error: {CANNOT_PRINT}: {error}")));
    std::process::exit(if printed.is_ok() { 0 } else { 1 })
}

fn file_named(option: &str, name: OsString) -> Result<PathBuf, lexopt::Error> {
    if name.is_empty() { Err(format!("{option} is empty, and names no file").into()) } else { Ok(name.into()) }
}

/// The value of `option`, a whole number from `least` to `most`.
fn number(option: &str, value: OsString, least: u32, most: u32) -> Result<u32, lexopt::Error> {
    let text = value.to_string_lossy();
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("{option} takes a whole number from {least} to {most}, not '{text}'").into())
}

fn format_named(name: &str) -> Result<Format, lexopt::Error> {
    match name {
        "text" => Ok(Format::Text),
        "url" => Ok(Format::Url),
        "markdown" => Ok(Format::Markdown),
        "json" => Ok(Format::Json),
        _ => Err(format!("--format takes text, url, markdown or json, not '{name}'").into()),
    }
}

// ---- Config ----------------------------------------------------------------------------------------------------

/// Reads the config: the script's keys and the optional ones beside them, in their own order.
///
/// # Errors
/// A sentence that names the file, the key or line, and what to do.
fn load_config(path: &Path) -> Result<Map<String, Value>, String> {
    let shown = path.display();
    let bytes = fs::read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("{shown}: no such file: `wx-upload --init` writes a config to fill in"),
        _ => format!("{shown}: cannot be read: {error}"),
    })?;
    let json = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes); // Windows Notepad's byte-order mark
    let config = match serde_json::from_slice(json) {
        Ok(Value::Object(config)) => config,
        Ok(_) => return Err(format!("{shown}: is no JSON object: it must be like {{ \"appid\": \"wx…\", … }}")),
        Err(error) => return Err(format!("{shown}: is no JSON in UTF-8 (which has no comments either): {error}")),
    };
    for key in ["appid", "secret", "env", "upload_dir", "upload_path", "auth", "api_base"] {
        if !matches!(config.get(key), None | Some(Value::Null | Value::String(_))) {
            return Err(format!("{shown}: `{key}` must be a text in quotes"));
        }
    }
    Ok(config)
}

/// Replaces the config file: at any moment there is either the old one or the new one, whole. Its permissions and its
/// owner stay, and a link to it stays a link.
fn save_config(config: &Map<String, Value>, path: &Path) -> io::Result<()> {
    // Four spaces, as the script wrote it. serde_json's own are two, and its strings hold no raw newline.
    let mut json = String::new();
    for line in format!("{:#}", Value::Object(config.clone())).lines() {
        let indent = line.len() - line.trim_start().len();
        json += &format!("{:indent$}{line}\n", "");
    }
    let path = path.canonicalize()?;
    let old = fs::metadata(&path)?;
    let new_path = with_suffix(&path, ".new");
    let _ = fs::remove_file(&new_path); // a run that was killed may have left it
    let mut new = create_private(&new_path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        let _ = fchown(&new, Some(old.uid()), Some(old.gid())); // only root can, and only root needs to
    }
    let saved = (new.write_all(json.as_bytes()))
        .and_then(|()| new.set_permissions(old.permissions()))
        .and_then(|()| new.sync_all())
        .and_then(|()| replace(&new_path, &path));
    if saved.is_err() {
        let _ = fs::remove_file(&new_path);
    }
    saved
}

/// Takes the advisory lock under which a token is fetched, so that runs side by side share one. It is a file of its
/// own, as the config is replaced, not rewritten. Where there can be none, the token is fetched without.
fn lock_config(path: &Path) -> Option<File> {
    let path = with_suffix(&path.canonicalize().ok()?, ".lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.or_else(|_| File::open(&path)).ok()?; // another user's can be locked, too
    file.lock().ok()?;
    Some(file)
}

/// Writes the config to fill in, for `--init`.
fn init_config(options: &Options) -> Result<ExitCode, String> {
    let shown = options.config.display();
    let written = create_private(&options.config).and_then(|mut file| file.write_all(EXAMPLE_CONFIG.as_bytes()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => format!("{shown}: is there already, and stays as it is"),
        _ => format!("{shown}: cannot be written whole: {error}: remove it"),
    })?;
    if !options.quiet {
        complain(&format!("{shown} is written: fill in `appid`, `secret` and `env`"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The token in `config`, if it is good for `margin` seconds more. One whose times are odd is not.
fn fresh_token(config: &Map<String, Value>, margin: i64) -> Option<&str> {
    let age = unix_seconds().checked_sub(config.get("create_time")?.as_i64()?)?;
    let life = config.get("expires_in")?.as_i64()?.checked_sub(margin)?;
    let token = config.get("access_token")?.as_str()?;
    (!token.is_empty() && (0..=life).contains(&age)).then_some(token)
}

/// A text in the config or in a reply; null, missing and empty are the same.
fn text_in<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str().filter(|text| !text.is_empty())
}

#[derive(Clone, Copy, PartialEq)]
enum Auth {
    Token,
    StableToken,
    None,
}

/// What the config, the environment and the options say together, checked.
struct Settings {
    config: PathBuf,
    appid: Option<String>,
    secret: Option<String>,
    env: String,
    prefix: String,
    auth: Auth,
    api_base: String,
    https_only: bool,
}

impl Settings {
    fn new(config: &Map<String, Value>, options: &Options) -> Result<Settings, String> {
        let shown = options.config.display();
        let auth = match text_in(config, "auth") {
            None | Some("token") => Auth::Token,
            Some("stable_token") => Auth::StableToken,
            Some("none") => Auth::None,
            Some(_) => return Err(format!("{shown}: `auth` must be token, stable_token or none")),
        };
        // In a container the platform itself signs the calls, for which it must be able to read them.
        let default_base = if auth == Auth::None { "http://api.weixin.qq.com" } else { "https://api.weixin.qq.com" };
        let api_base = text_in(config, "api_base").unwrap_or(default_base).trim_end_matches('/').to_owned();
        let base: Uri = api_base.parse().unwrap_or_default();
        let has_host = base.authority().is_some_and(|host| host == host.host() || host.port().is_some());
        if !matches!(base.scheme_str(), Some("http" | "https")) || !has_host || api_base.contains(['?', '#', '@']) {
            return Err(format!("{shown}: `api_base` must be like https://api.weixin.qq.com"));
        }
        let (source, prefix) = match (&options.to, text_in(config, "upload_path")) {
            (Some(to), _) => ("--to".into(), to.as_str()),
            (None, path) => (format!("{shown}: `upload_path`"), path.unwrap_or(DEFAULT_PREFIX)),
        };
        let prefix = cloud_folder(prefix).map_err(|why| format!("{source} '{prefix}': {why}"))?;
        let or_environment = |key, variable| {
            let configured = text_in(config, key).map(str::to_owned);
            configured.or_else(|| std::env::var(variable).ok().filter(|text| !text.is_empty()))
        };
        let env = or_environment("env", "WX_ENV");
        Ok(Settings {
            config: options.config.clone(),
            appid: or_environment("appid", "WX_APPID"),
            secret: or_environment("secret", "WX_SECRET"),
            env: env
                .ok_or_else(|| format!("{shown}: `env` is missing: the id of the 云托管 environment, like prod-…"))?,
            prefix,
            auth,
            https_only: base.scheme_str() != Some("http"),
            api_base,
        })
    }

    /// What a new token is asked for with: `appid` and `secret`.
    fn credentials(&self) -> Result<(&str, &str), String> {
        let missing = |key| format!("{}: `{key}` is missing: see mp.weixin.qq.com, 开发设置", self.config.display());
        let appid = self.appid.as_deref().ok_or_else(|| missing("appid"))?;
        Ok((appid, self.secret.as_deref().ok_or_else(|| missing("secret"))?))
    }
}

/// A folder as the beginning of a cloud name: no leading `/`, and a last one unless it is the root.
fn cloud_folder(folder: &str) -> Result<String, &'static str> {
    let folder = if cfg!(windows) { folder.replace('\\', "/") } else { folder.to_owned() };
    let mut folder = folder.strip_prefix('/').unwrap_or(&folder).to_owned();
    if !folder.is_empty() && !folder.ends_with('/') {
        folder.push('/');
    }
    check_cloud_name(&format!("{folder}x")).map(|()| folder)
}

/// The service's rules for names (官方文件名命名限制), and no way up.
fn check_cloud_name(key: &str) -> Result<(), &'static str> {
    if key.chars().any(char::is_control) {
        Err("a cloud name can't have control characters")
    } else if key.starts_with('/') || key.contains("//") {
        Err("a cloud name can't begin with `/` or have `//` in it")
    } else if key.split('/').any(|segment| segment == "." || segment == "..") {
        Err("a cloud name can't have `.` or `..` between slashes")
    } else if key.len() > MAX_KEY_BYTES {
        Err("the cloud name is longer than 850 bytes")
    } else {
        Ok(())
    }
}

// ---- What goes wrong, and what helps ---------------------------------------------------------------------------

#[derive(Clone)]
struct Failure {
    stage: &'static str,
    cure: Cure,
    detail: String,
}

/// What the program does about a failure.
#[derive(Clone, Copy, PartialEq)]
enum Cure {
    /// It can pass by itself: wait, at least as long as the server asks for, and try again.
    Wait(Option<Duration>),
    /// COS refused the signature: once more, with a new one.
    NewSignature,
    /// The API refused the access token: once more, with a new one.
    NewToken,
    /// The object is not in the cloud: upload the file, if only the manifest said it was.
    UploadAgain,
    /// No other file will fare better.
    StopRun,
    /// This file failed, the others go on.
    Nothing,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.stage, self.detail)
    }
}

fn failure<T>(stage: &'static str, cure: Cure, detail: impl Into<String>) -> Result<T, Failure> {
    Err(Failure { stage, cure, detail: detail.into() })
}

/// The one retry loop: runs `attempt` until it succeeds, fails for good, or the tries are used up. Waits 0.5 s, 1 s,
/// 2 s … (an eighth more or less, at random), or longer if a server's `Retry-After` asks for it.
fn with_retries<T>(run: &Run, mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let (mut waits, mut signed_again) = (0, false);
    loop {
        let mut failure = match attempt() {
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        match failure.cure {
            Cure::Wait(asked) if waits < run.options.retries => {
                let random = std::hash::RandomState::new().hash_one(()) % 125;
                let backoff = Duration::from_millis((437 + random) << waits);
                if !run.pause(backoff.max(asked.unwrap_or_default()).min(LONGEST_WAIT)) {
                    return Err(failure);
                }
                waits += 1;
            }
            Cure::NewSignature if !signed_again => signed_again = true,
            _ => {
                let tries = 1 + waits + u32::from(signed_again);
                if tries > 1 {
                    failure.detail += &format!(" (tried {tries} times)");
                }
                return Err(failure);
            }
        }
    }
}

/// Puts what ureq says into words of our own: its messages may hold a URL with the access token in it.
fn request_failed(run: &Run, stage: &'static str, url: &str, error: ureq::Error) -> Failure {
    let uri: Uri = url.parse().unwrap_or_default();
    let host = uri.scheme().and(uri.host()).unwrap_or("its URL");
    let (cure, what) = match error {
        ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            (Cure::Wait(None), "no connection within 10 s".into())
        }
        ureq::Error::Timeout(Timeout::RecvResponse | Timeout::RecvBody) => {
            let seconds = (run.options.timeout * REPLY_TIMEOUTS).as_secs();
            (Cure::Wait(None), format!("no whole reply within {seconds} s"))
        }
        ureq::Error::Timeout(_) => {
            (Cure::Wait(None), format!("silent for {} s (--timeout)", run.options.timeout.as_secs()))
        }
        ureq::Error::Io(error) if error.to_string().contains("certificate") => (
            Cure::Nothing,
            format!(
                "{error}: behind a company proxy, name the file with its CA in SSL_CERT_FILE; else see that this \
                 machine's clock is right"
            ),
        ),
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            (Cure::Wait(None), "closed the connection before its reply was whole".into())
        }
        ureq::Error::Io(error) => (Cure::Wait(None), error.to_string()),
        ureq::Error::HostNotFound => (Cure::Wait(None), "no such host".into()),
        ureq::Error::ConnectProxyFailed(why) => (Cure::Wait(None), why),
        ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) => (Cure::Wait(None), "no proper HTTP".into()),
        ureq::Error::RequireHttpsOnly(_) => (Cure::Nothing, "plain http is refused, as `api_base` is https".into()),
        _ => (Cure::Nothing, "cannot be used".into()),
    };
    let via = match run.agent.config().proxy() {
        Some(proxy) if !proxy.is_no_proxy(&uri) => format!(", through the proxy {}:{}", proxy.host(), proxy.port()),
        _ => String::new(),
    };
    Failure { stage, cure, detail: format!("{host}{via}: {what}") }
}

/// What a bad HTTP status means; `told` is what the server said about it.
fn status_failed(stage: &'static str, reply: &Response<Body>, told: &str) -> Failure {
    let status = reply.status();
    let retry_after = reply.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let (cure, why) = match status.as_u16() {
        408 | 429 | 500.. => (Cure::Wait(retry_after.map(Duration::from_secs)), ""),
        301..=303 | 307 | 308 => (Cure::Nothing, ": redirects are not followed"),
        _ => (Cure::Nothing, ""),
    };
    let reason = status.canonical_reason().unwrap_or_default();
    Failure { stage, cure, detail: format!("HTTP {} {reason}{why}{told}", status.as_u16()) }
}

/// Quotes a server, cut to a readable length and without the `secrets` that it may have echoed.
fn quote(told: &str, secrets: &[&str]) -> String {
    let mut told = told.to_owned();
    for secret in secrets.iter().filter(|secret| secret.len() >= 8) {
        told = told.replace(secret, "***");
        // In XML and in a URL some characters are spelled otherwise: what is between them is looked for by itself, too.
        for part in secret.split(|c: char| !c.is_alphanumeric()).filter(|part| part.len() >= 8) {
            told = told.replace(part, "***");
        }
    }
    match told.char_indices().nth(MAX_QUOTE_CHARS) {
        Some((end, _)) => format!("{}…", &told[..end]),
        None => told,
    }
}

// ---- The four steps of the API ---------------------------------------------------------------------------------

/// Step 1: the access token, from the config if it is still good there, else a new one, which is saved at once.
///
/// `refused` is a token that the API did not take, and what it said. However many threads come with it, one new token
/// is fetched. A new token that is refused before it ever worked stops the run. With `auth` `none` the token is empty.
///
/// <https://developers.weixin.qq.com/miniprogram/dev/api-backend/open-api/access-token/auth.getAccessToken.html>
fn get_access_token(run: &Run, refused: Option<&(String, Failure)>) -> Result<String, Failure> {
    if run.settings.auth == Auth::None {
        return Ok(String::new());
    }
    let is_refused = |token: &str| refused.is_some_and(|(refused, _)| refused == token);
    let mut cache = lock(&run.token); // kept while a token is fetched, so that the other threads wait for it
    if let Some(lost) = &cache.lost {
        return Err(lost.clone());
    }
    if let Some(token) = fresh_token(&cache.config, cache.margin).filter(|token| !is_refused(token)) {
        return Ok(token.to_owned());
    }
    let config_path = &run.options.config;
    let _lock = lock_config(config_path);
    let on_disk = load_config(config_path);
    let mut config = on_disk.as_ref().unwrap_or(&cache.config).clone();
    if fresh_token(&config, TOKEN_MARGIN).is_none_or(is_refused) {
        let fetched = match refused {
            Some((_, failure)) if cache.unproven => Err(failure.clone()),
            _ => with_retries(run, || fetch_token(run)),
        };
        let (access_token, expires_in) =
            fetched.map_err(|failure| cache.lost.insert(Failure { cure: Cure::StopRun, ..failure }).clone())?;
        cache.unproven = refused.is_some();
        cache.margin = TOKEN_MARGIN.min(expires_in / 2); // stable_token may give one that is about to expire
        config.insert("create_time".into(), unix_seconds().into());
        config.insert("expires_in".into(), expires_in.into());
        config.insert("access_token".into(), access_token.into());
        // One that cannot be read now is perhaps being edited: it is left alone.
        let saved = on_disk.and_then(|_| save_config(&config, config_path).map_err(|error| error.to_string()));
        if let Err(why) = saved {
            let shown = config_path.display();
            run.note(&format!("warning: {shown}: cannot be written, so the next run needs a new token: {why}"));
        }
    }
    cache.config = config;
    Ok(text_in(&cache.config, "access_token").unwrap_or_default().to_owned())
}

/// Asks for a new token. Returns it and its life in seconds.
fn fetch_token(run: &Run) -> Result<(String, i64), Failure> {
    let (appid, secret) = run.settings.credentials().or_else(|why| failure(TOKEN_FAILED, Cure::StopRun, why))?;
    let base = &run.settings.api_base;
    let sent = if run.settings.auth == Auth::StableToken {
        let body = json!({
            "grant_type": "client_credential", "appid": appid, "secret": secret, "force_refresh": false
        });
        let request = run.agent.post(format!("{base}/cgi-bin/stable_token"));
        request.content_type("application/json;charset=UTF-8").send(body.to_string())
    } else {
        let request = run.agent.get(format!("{base}/cgi-bin/token")).query("grant_type", "client_credential");
        request.query("appid", appid).query("secret", secret).call()
    };
    let reply = read_reply(run, TOKEN_FAILED, sent, &[secret])?;
    let access_token = text_field(TOKEN_FAILED, &reply, "access_token")?;
    match reply.get("expires_in").and_then(Value::as_i64) {
        Some(expires_in) if expires_in > 0 => Ok((access_token, expires_in)),
        _ => failure(TOKEN_FAILED, Cure::Nothing, "the reply has no proper `expires_in`"),
    }
}

/// Where a file is to be uploaded to, and what proves that it may be.
struct UploadFileInfo {
    url: String,
    token: String,
    authorization: String,
    file_id: String,
    cos_file_id: String,
}

/// Step 2: asks where to upload the file with the cloud name `path`. The answer is good for 15 minutes.
///
/// <https://developers.weixin.qq.com/miniprogram/dev/wxcloudrun/src/development/storage/service/upload.html>
fn get_upload_file_info(run: &Run, path: &str) -> Result<UploadFileInfo, Failure> {
    let body = json!({ "env": run.settings.env, "path": path });
    let reply = post_json(run, INFO_FAILED, "/tcb/uploadfile", &body)?;
    let text = |name| text_field(INFO_FAILED, &reply, name);
    let info = UploadFileInfo {
        url: text("url")?,
        token: text("token")?,
        authorization: text("authorization")?,
        file_id: text("file_id")?,
        cos_file_id: text("cos_file_id")?,
    };
    // It will be printed, so it must not be one of the secrets beside it.
    match info.file_id.starts_with("cloud://") {
        true => Ok(info),
        false => failure(INFO_FAILED, Cure::Nothing, "the reply has no proper `file_id`"),
    }
}

/// Step 3: uploads `file` under the cloud name `request_path`, as the form that COS's "POST Object" takes.
///
/// <https://developers.weixin.qq.com/miniprogram/dev/wxcloudrun/src/development/storage/service/upload.html>
fn upload_file(run: &Run, info: &UploadFileInfo, request_path: &str, file: &mut FileBody) -> Result<(), Failure> {
    let mut fields = vec![
        ("key", request_path),
        ("Signature", &info.authorization),
        ("x-cos-security-token", &info.token),
        ("x-cos-meta-fileid", &info.cos_file_id),
    ];
    // COS ignores the type that the `file` part states, and browsers download what is stored without one.
    fields.extend(mime_guess::from_path(request_path).first_raw().map(|mime| ("Content-Type", mime)));
    // COS takes no chunked body, and a reader has no length: that of the form around it is measured.
    let around = io::copy(&mut cos_form(&fields, &mut io::empty()), &mut io::sink()).unwrap_or_default();
    let request = run.agent.post(&info.url).header("Content-Length", around + file.left);
    let sent = request.send(cos_form(&fields, file));
    if let Some(why) = file.failed.take() {
        return failure(UPLOAD_FAILED, Cure::Nothing, why);
    }
    let mut reply = sent.map_err(|error| request_failed(run, UPLOAD_FAILED, &info.url, error))?;
    let mut xml = Vec::new();
    // Also that of a success, so that the connection can be used again. That it breaks off changes nothing: the status
    // has said what counts.
    let _ = reply.body_mut().as_reader().take(MAX_COS_REPLY_BYTES).read_to_end(&mut xml);
    if !reply.status().is_success() {
        let xml = String::from_utf8_lossy(&xml);
        let element = |tag: &str| Some(xml.split_once(&format!("<{tag}>"))?.1.split_once("</")?.0);
        let (code, message) = (element("Code").unwrap_or_default(), element("Message").unwrap_or_default());
        let told = match code {
            "" => String::new(),
            "RequestTimeTooSkewed" => format!(": {code}: see that this machine's clock is right: {message}"),
            _ => format!(": {code}: {message}"),
        };
        let told = quote(&told, &[&info.authorization, &info.token]);
        let refused = status_failed(UPLOAD_FAILED, &reply, &told);
        let cure = if reply.status() == 403 { Cure::NewSignature } else { refused.cure };
        return Err(Failure { cure, ..refused });
    }
    match reply.headers().get("x-cos-hash-crc64ecma") {
        Some(stored) if stored != &file.crc.sum64().to_string() => {
            failure(UPLOAD_FAILED, Cure::Wait(None), "COS stored other bytes than were sent: its CRC-64 differs")
        }
        _ => Ok(()),
    }
}

/// The form of an upload: the fields, the file last. Its `filename` is the one in the script's form; COS names the
/// object by `key` alone, and so no name has to be escaped here.
fn cos_form<'a>(fields: &[(&'a str, &'a str)], file: &'a mut dyn Read) -> Form<'a> {
    let form = fields.iter().fold(Form::new(), |form, (name, value)| form.text(name, value));
    form.part("file", Part::reader(file).file_name("file"))
}

/// Step 4: asks for the links of up to 50 files at once. Returns a result for each of `file_ids`, in their order.
///
/// <https://developers.weixin.qq.com/miniprogram/dev/wxcloudrun/src/development/storage/service/download.html>
fn get_download_link(run: &Run, file_ids: &[&str]) -> Vec<Result<String, Failure>> {
    if file_ids.is_empty() {
        return Vec::new();
    }
    let file_list: Vec<Value> = file_ids.iter().map(|file_id| json!({ "fileid": file_id })).collect();
    let body = json!({ "env": run.settings.env, "file_list": file_list });
    let reply = match with_retries(run, || post_json(run, LINK_FAILED, "/tcb/batchdownloadfile", &body)) {
        Ok(reply) => reply,
        Err(failure) => return vec![Err(failure); file_ids.len()],
    };
    let token = text_in(&lock(&run.token).config, "access_token").unwrap_or_default().to_owned();
    let entries = reply.get("file_list").and_then(Value::as_array).into_iter().flatten();
    let by_id: HashMap<&str, &Map<String, Value>> =
        entries.filter_map(|entry| Some((entry.get("fileid")?.as_str()?, entry.as_object()?))).collect();
    let link = |file_id: &&str| match by_id.get(file_id) {
        None => failure(LINK_FAILED, Cure::Nothing, "the reply has no link for it"),
        Some(entry) => match entry.get("status").map_or(Some(0), Value::as_i64) {
            Some(0) => text_field(LINK_FAILED, entry, "download_url"),
            Some(1) => failure(LINK_FAILED, Cure::UploadAgain, "it is not in the cloud (STORAGE_FILE_NONEXIST)"),
            Some(status) => {
                let errmsg = entry.get("errmsg").and_then(Value::as_str).unwrap_or_default();
                failure(LINK_FAILED, Cure::Nothing, format!("status {status}: {}", quote(errmsg, &[&token])))
            }
            None => failure(LINK_FAILED, Cure::Nothing, "the reply's `status` is no number"),
        },
    };
    file_ids.iter().map(link).collect()
}

/// One call of the API: POSTs `body` to `path` with the access token, and again with a new one where that is refused.
fn post_json(run: &Run, stage: &'static str, path: &str, body: &Value) -> Result<Map<String, Value>, Failure> {
    let (mut refused, mut refusals) = (None, 0);
    loop {
        let token = get_access_token(run, refused.as_ref())?;
        let mut request = run.agent.post(format!("{}{path}", run.settings.api_base));
        if run.settings.auth != Auth::None {
            request = request.query("access_token", &token);
        }
        // The service wants Chinese as raw UTF-8, which is how serde_json writes it: with `\u` escapes the upload
        // seems to work, and no link can be had for it.
        let sent = request.content_type("application/json;charset=UTF-8").send(body.to_string());
        match read_reply(run, stage, sent, &[&token]) {
            Err(failure) if failure.cure == Cure::NewToken && refusals == MAX_REFUSALS => {
                return Err(Failure { cure: Cure::StopRun, ..failure });
            }
            Err(failure) if failure.cure == Cure::NewToken => {
                refused = Some((token, failure));
                refusals += 1;
            }
            Err(failure) => return Err(failure),
            Ok(reply) => {
                let mut cache = lock(&run.token);
                cache.unproven &= text_in(&cache.config, "access_token") != Some(&token);
                return Ok(reply);
            }
        }
    }
}

/// Reads a reply of the API, which must be a JSON object without an `errcode`, or with 0. What it says about an error
/// is quoted without the `secrets`.
fn read_reply(
    run: &Run,
    stage: &'static str,
    sent: Result<Response<Body>, ureq::Error>,
    secrets: &[&str],
) -> Result<Map<String, Value>, Failure> {
    let broken = |error| match error {
        ureq::Error::BodyExceedsLimit(_) => {
            Failure { stage, cure: Cure::Wait(None), detail: "the reply is longer than 1 MiB".into() }
        }
        error => request_failed(run, stage, &run.settings.api_base, error),
    };
    let mut reply = sent.map_err(broken)?;
    if !reply.status().is_success() {
        return Err(status_failed(stage, &reply, ""));
    }
    let json = reply.body_mut().with_config().limit(MAX_REPLY_BYTES).read_to_vec().map_err(broken)?;
    let reply = match serde_json::from_slice(&json) {
        Ok(Value::Object(reply)) => reply,
        Ok(_) => return failure(stage, Cure::Nothing, "the reply is no JSON object"),
        Err(_) => return failure(stage, Cure::Wait(None), "the reply is no JSON"),
    };
    match reply.get("errcode").map_or(Some(0), Value::as_i64) {
        Some(0) => Ok(reply),
        Some(errcode) => {
            let errmsg = reply.get("errmsg").and_then(Value::as_str).unwrap_or_default();
            let (mut help, mut cure) = remedy(errcode);
            if cure == Cure::NewToken && run.settings.auth == Auth::None {
                cure = Cure::StopRun;
                help = "`auth` is none, which works in a container with 开放接口服务 switched on: see its settings";
            }
            let granted =
                ["access_token", "authorization", "token"].map(|name| text_in(&reply, name).unwrap_or_default());
            let told = quote(errmsg, &[secrets, &granted].concat());
            failure(stage, cure, format!("errcode {errcode} ({told}): {help}"))
        }
        None => failure(stage, Cure::Nothing, "the reply's `errcode` is no number"),
    }
}

/// The text that a reply must have under `name`.
fn text_field(stage: &'static str, reply: &Map<String, Value>, name: &str) -> Result<String, Failure> {
    match text_in(reply, name) {
        Some(text) => Ok(text.to_owned()),
        None => failure(stage, Cure::Nothing, format!("the reply has no proper `{name}`")),
    }
}

// ---- One file --------------------------------------------------------------------------------------------------

/// A file to upload, as it was listed.
struct LocalFile {
    path: PathBuf,
    /// The path below the directory given, or the file's own name; with the prefix before it, the cloud name.
    name: String,
    size: u64,
    /// Why it cannot be uploaded.
    problem: Option<String>,
}

/// A file that is in the cloud.
struct Stored {
    file_id: String,
    size: u64,
    /// It was there already, as the manifest knew.
    unchanged: bool,
}

/// The bytes of a file on their way: as many as it had when it was opened, counted and summed up.
struct FileBody<'a> {
    file: File,
    left: u64,
    crc: crc64fast::Digest,
    sent: u64,
    progress: &'a ProgressBar,
    failed: Option<String>,
}

impl Read for FileBody<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = match self.file.read(&mut buffer[..wanted]) {
            // Not `Ok(0)`: ureq would ask for the rest of the promised length for ever.
            Ok(0) if wanted > 0 => Err(io::Error::other("it became shorter while it was read")),
            read => read,
        };
        let count = count.inspect_err(|error| self.failed = Some(format!("cannot be read: {error}")))?;
        self.crc.write(&buffer[..count]);
        self.left -= count as u64;
        self.sent += count as u64;
        self.progress.inc(count as u64);
        Ok(count)
    }
}

/// Uploads one file: steps 1 to 3, and again from there where that can help. Its link is the main thread's to ask for.
fn wx_upload_file(run: &Run, file: &LocalFile) -> Result<Stored, Failure> {
    let unusable = |why: String| Failure { stage: UPLOAD_FAILED, cure: Cure::Nothing, detail: why };
    let unreadable = |error| unusable(format!("cannot be opened: {error}"));
    if let Some(problem) = &file.problem {
        return Err(unusable(problem.clone()));
    }
    let key = run.cloud_name(file);
    with_retries(run, || {
        // Asked before it is opened: to open a FIFO would wait for its other end.
        if !fs::metadata(&file.path).map_err(unreadable)?.is_file() {
            return Err(unusable("is no regular file any more".into()));
        }
        let opened = File::open(&file.path).map_err(unreadable)?;
        let metadata = opened.metadata().map_err(unreadable)?;
        let size = metadata.len();
        if size > MAX_FILE_BYTES {
            return Err(unusable(TOO_LARGE.into()));
        }
        let info = get_upload_file_info(run, &key)?;
        let crc = crc64fast::Digest::new();
        let mut body = FileBody { file: opened, left: size, crc, sent: 0, progress: &run.progress, failed: None };
        upload_file(run, &info, &key, &mut body).inspect_err(|_| run.progress.dec(body.sent))?;
        if let Some(manifest) = &run.manifest
            && let Err(error) = manifest.record(&run.settings.env, &key, &metadata, body.crc.sum64(), &info.file_id)
        {
            run.note(&format!("warning: the manifest cannot be written: {error}"));
        }
        Ok(Stored { file_id: info.file_id, size, unchanged: false })
    })
}

// ---- Many files ------------------------------------------------------------------------------------------------

/// What all threads share.
struct Run {
    options: Options,
    settings: Settings,
    files: Vec<LocalFile>,
    manifest: Option<Manifest>,
    agent: Agent,
    token: Mutex<TokenCache>,
    queue: Mutex<Queue>,
    queue_changed: Condvar,
    progress: ProgressBar,
}

struct TokenCache {
    /// The config with the token in it, as the script had it.
    config: Map<String, Value>,
    /// How many seconds before its end the token is not used any more.
    margin: i64,
    /// The token took the place of a refused one, and has not worked yet.
    unproven: bool,
    /// Why no token is to be had any more.
    lost: Option<Failure>,
}

/// The files that a worker is still to take.
#[derive(Default)]
struct Queue {
    next: usize,
    /// Files that the manifest knew, and the cloud did not.
    again: Vec<usize>,
    /// How many files, from the first on, are done and printed.
    printed: usize,
    /// Why no more files are taken.
    stopped: Option<String>,
}

impl Run {
    fn cloud_name(&self, file: &LocalFile) -> String {
        self.settings.prefix.clone() + &file.name
    }

    /// The next file for a worker, and whether it is uploaded whatever the manifest says. Waits where there may be one
    /// later; `None` when all is done, or the run is stopped.
    fn next_file(&self) -> Option<(&LocalFile, usize, bool)> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.stopped.is_some() || queue.printed == self.files.len() {
                return None;
            }
            if let Some(index) = queue.again.pop() {
                return Some((&self.files[index], index, true));
            }
            let index = queue.next;
            if index < self.files.len().min(queue.printed + MAX_AHEAD) {
                queue.next += 1;
                return Some((&self.files[index], index, false));
            }
            queue = self.queue_changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn change_queue(&self, change: impl FnOnce(&mut Queue)) {
        change(&mut lock(&self.queue));
        self.queue_changed.notify_all();
    }

    /// Lets no more files be taken. The first reason is the one that is told.
    fn stop(&self, why: String) {
        self.change_queue(|queue| queue.stopped = queue.stopped.take().or(Some(why)));
    }

    /// Waits. Returns whether to go on: the run may be stopped meanwhile.
    fn pause(&self, time: Duration) -> bool {
        let going_on = |queue: &mut Queue| queue.stopped.is_none();
        let waited = self.queue_changed.wait_timeout_while(lock(&self.queue), time, going_on);
        waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Shows progress until all is done, or the run is stopped.
    fn show_progress(&self) {
        let mut queue = lock(&self.queue);
        while queue.stopped.is_none() && queue.printed < self.files.len() {
            let (bar, printed, files) = (&self.progress, queue.printed, self.files.len());
            let [done, total, rate] = [bar.position(), bar.length().unwrap_or_default(), bar.per_sec() as u64];
            let left = if rate > 0 { format!(", {:#} left", HumanDuration(bar.eta())) } else { String::new() };
            let [done, total, rate] = [done, total, rate].map(human_bytes);
            bar.set_message(format!("{printed}/{files} files, {done}/{total}, {rate}/s{left}"));
            let waited = self.queue_changed.wait_timeout(queue, PROGRESS_EVERY);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A line on standard error, above the progress.
    fn complain(&self, line: &str) {
        self.progress.suspend(|| complain(line));
    }

    /// The same, unless quiet.
    fn note(&self, line: &str) {
        if !self.options.quiet {
            self.complain(line);
        }
    }
}

/// Uploads all files, prints their results and the summary. `notes` is how many were skipped when they were listed.
fn upload_all(run: &Run, notes: usize) -> ExitCode {
    let started = Instant::now();
    let (done, finished) = mpsc::channel();
    let tally = std::thread::scope(|scope| {
        for worker in 0..run.options.jobs.min(run.files.len()) {
            let done = done.clone();
            // Where the system gives no more threads, those that there are do the work.
            match std::thread::Builder::new().spawn_scoped(scope, move || work(run, &done)) {
                Err(error) if worker == 0 => run.stop(format!("no thread can be started: {error}")),
                _ => {}
            }
        }
        drop(done);
        if !run.progress.is_hidden() {
            let _ = std::thread::Builder::new().spawn_scoped(scope, || run.show_progress());
        }
        collect(run, &finished)
    });
    run.progress.finish_and_clear();
    let stopped = lock(&run.queue).stopped.take();
    if let Some(why) = &stopped {
        complain(&format!("error: {why}"));
    }
    run.note(&format!(
        "{} uploaded ({}), {} failed, {} skipped, {} not attempted in {:.1} s",
        tally.uploaded,
        human_bytes(tally.bytes),
        tally.failed,
        tally.unchanged + notes,
        run.files.len() - tally.uploaded - tally.failed - tally.unchanged,
        started.elapsed().as_secs_f64(),
    ));
    if tally.failed > 0 || stopped.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

type Finished = (usize, Result<Stored, Failure>);

/// A worker: uploads file after file.
fn work(run: &Run, done: &mpsc::Sender<Finished>) {
    while let Some((file, index, must_upload)) = run.next_file() {
        let manifest = run.manifest.as_ref().filter(|_| !must_upload);
        let known = manifest.and_then(|manifest| manifest.unchanged(file));
        let result = match known {
            Some(file_id) => Ok(Stored { file_id: file_id.to_owned(), size: file.size, unchanged: true }),
            None => wx_upload_file(run, file),
        };
        if known.is_some() || result.is_err() {
            run.progress.dec_length(file.size); // these bytes are not to be sent any more
        }
        match result {
            Err(failure) if failure.cure == Cure::StopRun => run.stop(failure.to_string()),
            // The receiver lives until all workers are gone.
            result => _ = done.send((index, result)),
        }
    }
}

/// How a file ended: with its link; or else why there is none, and the `file_id` where the upload itself succeeded.
type Outcome = Result<(Stored, String), (Failure, Option<String>)>;

#[derive(Default)]
struct Tally {
    uploaded: usize,
    bytes: u64,
    failed: usize,
    unchanged: usize,
}

/// The main thread's part: asks for the links of what the workers have finished, for as many at once as have piled up
/// during the call before, and prints each file's outcome as soon as it and all before it are done.
fn collect(run: &Run, finished: &mpsc::Receiver<Finished>) -> Tally {
    let mut tally = Tally::default();
    let mut linkless: Vec<(usize, Stored)> = Vec::new();
    let mut ended: BTreeMap<usize, Outcome> = BTreeMap::new();
    let mut no_links = None; // why none are to be had any more
    let mut printed = 0;
    loop {
        let mut arrived = None;
        if linkless.is_empty() {
            let Ok(first) = finished.recv() else { break };
            arrived = Some(first);
            std::thread::sleep(SIDE_BY_SIDE);
        }
        for (index, result) in arrived.into_iter().chain(finished.try_iter()) {
            match result {
                Ok(stored) => linkless.push((index, stored)),
                Err(failure) => _ = ended.insert(index, Err((failure, None))),
            }
        }
        let batch: Vec<_> = linkless.drain(..linkless.len().min(LINKS_PER_CALL)).collect();
        let file_ids: Vec<&str> = batch.iter().map(|(_, stored)| &*stored.file_id).collect();
        let links = match &no_links {
            Some(failure) => vec![Err(Failure::clone(failure)); file_ids.len()],
            None => get_download_link(run, &file_ids),
        };
        for ((index, stored), link) in batch.into_iter().zip(links) {
            let outcome = match link {
                Err(failure) if failure.cure == Cure::UploadAgain && stored.unchanged => {
                    run.progress.inc_length(stored.size);
                    run.change_queue(|queue| queue.again.push(index));
                    continue;
                }
                Err(failure) => {
                    if failure.cure == Cure::StopRun {
                        run.stop(failure.to_string());
                        no_links = Some(failure.clone());
                    }
                    Err((failure, Some(stored.file_id)))
                }
                Ok(url) => Ok((stored, url)),
            };
            ended.insert(index, outcome);
        }
        while let Some(outcome) = ended.remove(&printed) {
            finish(run, &run.files[printed], outcome, &mut tally);
            printed += 1;
        }
        run.change_queue(|queue| queue.printed = printed);
    }
    // A stopped run leaves gaps, and behind them files that are done.
    for (index, outcome) in ended {
        finish(run, &run.files[index], outcome, &mut tally);
    }
    tally
}

// ---- The manifest ----------------------------------------------------------------------------------------------

/// What earlier runs uploaded: JSON Lines, one object a file, later lines win.
struct Manifest {
    path: PathBuf,
    /// By the file's name below the prefix; only what this run may need.
    known: HashMap<String, ManifestEntry>,
}

struct ManifestEntry {
    size: u64,
    mtime: i64,
    file_id: String,
}

impl Manifest {
    /// Opens the manifest, or begins it, and reads what it knows of `files`. A last line that a power cut tore is cut
    /// off, if `writable`. Something else than a manifest is refused and stays as it is.
    fn open(path: &Path, settings: &Settings, files: &[LocalFile], writable: bool) -> Result<Manifest, String> {
        let unusable = |error: io::Error| format!("--manifest {}: {error}", path.display());
        if path.exists() && !path.is_file() {
            return Err(unusable(io::Error::other("is no regular file, and so no manifest")));
        }
        let file = OpenOptions::new().read(true).write(writable).create(writable).open(path).map_err(unusable)?;
        let _ = file.lock(); // another run may be writing; where there are no locks, let there be one run at a time
        let size = file.metadata().map_err(unusable)?.len();
        let names: HashSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
        let mut known = HashMap::new();
        let (mut lines, mut line, mut read, mut is_manifest) = (BufReader::new(&file), Vec::new(), 0, size == 0);
        while lines.by_ref().take(MAX_MANIFEST_LINE).read_until(b'\n', &mut line).map_err(unusable)? > 0 {
            let entry: Value = serde_json::from_slice(&line).unwrap_or_default();
            let beginning = b"{\"key\":\"";
            let is_torn_first = read == 0 && entry.is_null() && line.iter().zip(beginning).all(|(a, b)| a == b);
            is_manifest |= entry["key"].is_string() && entry["file_id"].is_string();
            if !line.ends_with(b"\n") {
                is_manifest &= read + line.len() as u64 == size;
                is_manifest |= is_torn_first && line.len() as u64 == size;
                break;
            }
            read += line.len() as u64;
            line.clear();
            let name = entry["key"].as_str().and_then(|key| key.strip_prefix(&settings.prefix));
            if let Some(name) = name.filter(|name| names.contains(name) && entry["env"] == *settings.env)
                && let (Some(size), Some(mtime)) = (entry["size"].as_u64(), entry["mtime"].as_i64())
                && let Some(file_id) = entry["file_id"].as_str()
            {
                known.insert(name.to_owned(), ManifestEntry { size, mtime, file_id: file_id.to_owned() });
            }
        }
        if !is_manifest {
            return Err(unusable(io::Error::other("is no manifest, and stays as it is")));
        }
        if writable && read < size {
            file.set_len(read).map_err(unusable)?; // torn
        }
        Ok(Manifest { path: path.to_owned(), known })
    }

    /// The `file_id` of a file that has not changed since it was uploaded.
    fn unchanged(&self, file: &LocalFile) -> Option<&str> {
        let entry = self.known.get(&file.name)?;
        let metadata = fs::metadata(&file.path).ok()?;
        (metadata.len() == entry.size && mtime(&metadata) == entry.mtime).then_some(&entry.file_id)
    }

    /// Appends what was uploaded. `metadata` is that of the moment when the file was opened.
    fn record(&self, env: &str, key: &str, metadata: &Metadata, crc64: u64, file_id: &str) -> io::Result<()> {
        let (size, mtime, crc64) = (metadata.len(), mtime(metadata), crc64.to_string());
        let entry = json!({ "key": key, "env": env, "size": size, "mtime": mtime, "crc64": crc64, "file_id": file_id });
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&self.path)?;
        let _ = file.lock(); // till it is closed: other threads, and other runs, write, too
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(-1)).is_ok() {
            file.read_exact(&mut last)?;
        }
        let after_torn = if last == *b"\n" { "" } else { "\n" };
        file.write_all(format!("{after_torn}{entry}\n").as_bytes())
    }
}

/// Nanoseconds since 1970.
fn mtime(metadata: &Metadata) -> i64 {
    let nanoseconds = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    match metadata.modified().unwrap_or(UNIX_EPOCH).duration_since(UNIX_EPOCH) {
        Ok(since) => nanoseconds(since),
        Err(before) => -nanoseconds(before.duration()),
    }
}

// ---- Which files -----------------------------------------------------------------------------------------------

/// The files to upload, in the order given, and notes on what is skipped. What a person typed is checked here.
fn list_files(
    options: &Options,
    config: &Map<String, Value>,
    prefix: &str,
) -> Result<(Vec<LocalFile>, Vec<String>), String> {
    let config_path = options.config.canonicalize().unwrap_or_default();
    let manifest = options.manifest.as_ref().and_then(|path| path.canonicalize().ok());
    let beside = [with_suffix(&config_path, ".new"), with_suffix(&config_path, ".lock")];
    let own = beside.into_iter().chain([config_path]).chain(manifest).collect();
    let mut listing = Listing { recursive: options.recursive, prefix, own, files: Vec::new(), notes: Vec::new() };
    if options.paths.is_empty() {
        let upload_dir = text_in(config, "upload_dir").unwrap_or(DEFAULT_DIR);
        let hint = format!("name files to upload, or set `upload_dir` in {}", options.config.display());
        listing
            .add(upload_dir.into(), "", &mut Vec::new())
            .map_err(|error| format!("{upload_dir}: {error}: {hint}"))?;
    }
    for path in &options.paths {
        let unusable = |error| format!("{}: {error}", path.display());
        listing.add(path.clone(), "", &mut Vec::new()).map_err(unusable)?;
    }
    let mut taken: HashMap<&str, &Path> = HashMap::new();
    for LocalFile { path, name, .. } in listing.files.iter().filter(|file| file.problem.is_none()) {
        if let Some(other) = taken.insert(name, path) {
            let (one, other) = (other.display(), path.display());
            return Err(format!("{one} and {other} would both become {prefix}{name} in the cloud: nothing is sent"));
        }
    }
    Ok((listing.files, listing.notes))
}

struct Listing<'a> {
    recursive: bool,
    prefix: &'a str,
    /// The program's own files, which are never uploaded: the config holds secrets.
    own: Vec<PathBuf>,
    files: Vec<LocalFile>,
    notes: Vec<String>,
}

impl Listing<'_> {
    /// Adds a file, or the files in a directory, sorted by name. `below` is put before their names. `above` are the real
    /// paths of the directories that led here: a link back to one of them would lead round and round.
    ///
    /// As in the script, a link is followed, and the name of a file is that of what it really is.
    fn add(&mut self, path: PathBuf, below: &str, above: &mut Vec<PathBuf>) -> io::Result<()> {
        let real = path.canonicalize()?;
        let metadata = fs::metadata(&real)?;
        let skipped = format!("{}: skipped: ", path.display());
        let own_name = if metadata.is_dir() { &path } else { &real }.file_name().unwrap_or_default();
        let name = format!("{below}{}", own_name.to_string_lossy());
        let problem = match own_name.to_str() {
            None => Some("its name is not UTF-8: rename it"),
            Some(_) if metadata.is_file() && metadata.len() > MAX_FILE_BYTES => Some(TOO_LARGE),
            Some(_) => check_cloud_name(&format!("{}{name}", self.prefix)).err(),
        };
        if metadata.is_dir() && !above.is_empty() && !self.recursive {
            self.notes.push(skipped + "a directory (-r takes what is in it)");
        } else if metadata.is_dir() && above.contains(&real) {
            self.notes.push(skipped + "a link to a directory above it");
        } else if metadata.is_dir() && (above.is_empty() || own_name.to_str().is_some()) {
            let below = if above.is_empty() { String::new() } else { name + "/" };
            let entries: io::Result<Vec<_>> = fs::read_dir(&path)?.map(|entry| Ok(entry?.path())).collect();
            let mut entries = entries?;
            entries.sort();
            above.push(real);
            for entry in entries {
                if let Err(error) = self.add(entry.clone(), &below, above) {
                    let name = below.clone() + &entry.file_name().unwrap_or_default().to_string_lossy();
                    self.files.push(LocalFile { path: entry, name, size: 0, problem: Some(error.to_string()) });
                }
            }
            above.pop();
        } else if self.own.contains(&real) {
            self.notes.push(skipped + "a file of wx-upload's own");
        } else if metadata.is_file() || metadata.is_dir() {
            let problem = problem.map(str::to_owned);
            self.files.push(LocalFile { path, name, size: metadata.len(), problem });
        } else {
            self.notes.push(skipped + "no regular file");
        }
        Ok(())
    }
}

// ---- Output ----------------------------------------------------------------------------------------------------

/// Prints and counts how a file ended.
fn finish(run: &Run, file: &LocalFile, outcome: Outcome, tally: &mut Tally) {
    let path = file.path.display();
    let line = result_line(run, file, &outcome);
    let printed = match line {
        None => Ok(()),
        Some(line) if io::stdout().is_terminal() => run.progress.suspend(|| print(&line)),
        Some(line) => print(&line), // may take its time, in which progress, and so the workers, must not stand still
    };
    match outcome {
        Ok((stored, _)) => {
            if stored.unchanged {
                tally.unchanged += 1;
            } else {
                tally.uploaded += 1;
                tally.bytes += stored.size;
            }
            if printed.is_err() {
                run.complain(&format!("error: {path}: is uploaded, as {}, but could not be printed", stored.file_id));
            }
        }
        Err((failure, file_id)) => {
            tally.failed += 1;
            let uploaded = file_id.map(|file_id| format!("; the file is uploaded, as {file_id}")).unwrap_or_default();
            run.complain(&format!("error: {path}: {failure}{uploaded}"));
        }
    }
    if let Err(error) = printed {
        run.stop(format!("{CANNOT_PRINT}: {error}"));
    }
}

/// A file's line on standard output. One that failed has a line in JSON alone.
fn result_line(run: &Run, file: &LocalFile, outcome: &Outcome) -> Option<String> {
    let mut object = describe(run, file);
    match (run.options.format, outcome) {
        (Format::Text, Ok((stored, url))) => {
            return Some([&file.name, url, &stored.file_id].map(|c| escape(c)).join("\t"));
        }
        (Format::Url, Ok((_, url))) => return Some(escape(url)),
        (Format::Markdown, Ok((_, url))) => return Some(escape(&markdown(&file.name, url))),
        (Format::Json, Ok((stored, url))) => {
            object["size"] = stored.size.into();
            object["file_id"] = stored.file_id.as_str().into();
            object["url"] = url.as_str().into();
        }
        (Format::Json, Err((failure, file_id))) => {
            object["error"] = failure.to_string().into();
            if let Some(file_id) = file_id {
                object["file_id"] = file_id.as_str().into();
            }
        }
        (_, Err(_)) => return None,
    }
    Some(escape(&object.to_string()))
}

/// What JSON says of every file.
fn describe(run: &Run, file: &LocalFile) -> Value {
    json!({ "name": file.name, "path": file.path.to_string_lossy(), "key": run.cloud_name(file) })
}

fn markdown(name: &str, url: &str) -> String {
    let is_image = mime_guess::from_path(name).first().is_some_and(|mime| mime.type_() == "image");
    let mark = if is_image { "!" } else { "" };
    let name = name.replace('\\', "\\\\").replace('[', "\\[").replace(']', "\\]");
    let url = url.replace(' ', "%20").replace('(', "%28").replace(')', "%29");
    format!("{mark}[{name}]({url})")
}

/// Lists what would be uploaded.
fn dry_run(run: &Run, notes: usize) -> ExitCode {
    let (mut tally, mut listed, mut bytes) = (Tally::default(), 0, 0);
    for file in &run.files {
        if let Some(problem) = &file.problem {
            let failure = Failure { stage: UPLOAD_FAILED, cure: Cure::Nothing, detail: problem.clone() };
            finish(run, file, Err((failure, None)), &mut tally);
        } else if run.manifest.as_ref().is_none_or(|manifest| manifest.unchanged(file).is_none()) {
            (listed, bytes) = (listed + 1, bytes + file.size);
            let mut object = describe(run, file);
            object["size"] = file.size.into();
            let json = run.options.format == Format::Json;
            let columns = || [&file.name, &run.cloud_name(file)].map(|column| escape(column)).join("\t");
            if let Err(error) = print(&if json { escape(&object.to_string()) } else { columns() }) {
                complain(&format!("error: {CANNOT_PRINT}: {error}"));
                return ExitCode::FAILURE;
            }
        }
    }
    let (failed, skipped) = (tally.failed, notes + run.files.len() - listed - tally.failed);
    run.note(&format!("{listed} would be uploaded ({}), {failed} failed, {skipped} skipped", human_bytes(bytes)));
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Progress on standard error; hidden where that is no terminal.
fn progress_bar(options: &Options, files: &[LocalFile]) -> ProgressBar {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if options.quiet || options.dry_run || dumb || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    // A message is cut to the width of the terminal. Lines that wrap would take result lines with them.
    let style = ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(files.iter().map(|file| file.size).fold(0, u64::saturating_add)).with_style(style)
}

/// Prints a line on standard output, at once.
fn print(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Prints a line on standard error. There is nobody to tell when that fails.
fn complain(line: &str) {
    let _ = io::stderr().write_all((escape(line) + "\n").as_bytes());
}

/// The one place that makes text safe for a terminal: control characters, and those that turn the direction of writing,
/// are spelled `\u001b`, which JSON understands, too.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            escaped += &format!("\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

fn human_bytes(bytes: u64) -> String {
    match bytes {
        0..0x400 => format!("{bytes} B"),
        0x400..0x10_0000 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        0x10_0000..0x4000_0000 => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

// ---- Network ---------------------------------------------------------------------------------------------------

/// The one agent of all threads, with the connections that they keep alive.
fn http_agent(options: &Options, settings: &Settings) -> Result<Agent, String> {
    let threads = options.jobs + 1; // the workers, and the main thread
    let config = Agent::config_builder()
        .user_agent(concat!("wx-upload/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .https_only(settings.https_only)
        .max_redirects(0)
        .proxy(proxy_from_env(settings)?)
        .tls_config(TlsConfig::builder().root_certs(root_certs()?).build())
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(options.timeout * REPLY_TIMEOUTS))
        .timeout_recv_body(Some(options.timeout * REPLY_TIMEOUTS))
        .timeout_per_read(Some(options.timeout))
        .timeout_per_write(Some(options.timeout))
        .input_buffer_size(INPUT_BUFFER)
        .output_buffer_size(OUTPUT_BUFFER)
        .max_idle_connections_per_host(threads)
        .max_idle_connections(2 * threads) // the API's host and COS's
        .build();
    let connector = ().chain(ConnectProxyConnector::default()).chain(TcpConnector).chain(RustlsConnector::default());
    Ok(Agent::with_parts(config, connector, NoResolver))
}

/// The proxy that the environment names, with the precedence that curl has for https. (ureq's own puts ALL_PROXY first,
/// which often is a SOCKS proxy beside an HTTPS_PROXY, and takes HTTP_PROXY for everything.)
fn proxy_from_env(settings: &Settings) -> Result<Option<Proxy>, String> {
    let value = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let named =
        ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"].iter().find_map(|name| Some((name, value(name)?)));
    let Some((name, url)) = named else { return Ok(None) };
    let unusable = || format!("{name}: must be like http://HOST:PORT: other kinds of proxies are not supported");
    let proxy =
        Proxy::new(&url).ok().filter(|proxy| matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https));
    let proxy = proxy.ok_or_else(unusable)?;
    let mut copy = Proxy::builder(proxy.protocol()).host(proxy.host()).port(proxy.port());
    copy = proxy.username().into_iter().fold(copy, |copy, username| copy.username(username));
    copy = proxy.password().into_iter().fold(copy, |copy, password| copy.password(password));
    let mut except = value("NO_PROXY").or_else(|| value("no_proxy")).unwrap_or_default();
    if !settings.https_only && name.eq_ignore_ascii_case("HTTPS_PROXY") {
        except += ","; // the API is plain http: in a container, nobody else may carry the calls that the platform signs
        except += settings.api_base.parse::<Uri>().unwrap_or_default().host().unwrap_or_default();
    }
    for host in except.split(',').map(|host| host.trim().trim_start_matches('.')).filter(|host| !host.is_empty()) {
        copy = copy.no_proxy(host).no_proxy(&format!(".{host}")); // the host, and all below it
    }
    copy.build().map(Some).map_err(|_| unusable())
}

/// The certificate authorities to trust: those in SSL_CERT_FILE, or else the built-in ones, which are Mozilla's.
fn root_certs() -> Result<RootCerts, String> {
    let Some(path) = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) else {
        return Ok(RootCerts::WebPki);
    };
    let shown = Path::new(&path).display();
    let pem = fs::read(&path).map_err(|error| format!("SSL_CERT_FILE: {shown}: {error}"))?;
    let certificate = |item| if let Ok(PemItem::Certificate(certificate)) = item { Some(certificate) } else { None };
    let certificates: Vec<_> = parse_pem(&pem).filter_map(certificate).collect();
    if certificates.is_empty() {
        return Err(format!("SSL_CERT_FILE: {shown}: has no certificate in it (in PEM form)"));
    }
    Ok(RootCerts::from(certificates))
}

/// Looks no host up: ureq asks for every request, and a look-up can take as long as a round trip. `TcpConnector` does it,
/// for new connections alone. (A SOCKS4 proxy would need an address here: `proxy_from_env` lets none through.)
#[derive(Debug)]
struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}

/// Connects as ureq's own does, but keeps the system's send queue short. That can hold megabytes, which a slow network
/// takes minutes for: all the while `--timeout` would see no byte move, and progress would be ahead of the truth.
#[derive(Debug)]
struct TcpConnector;

impl<In: Transport> Connector<In> for TcpConnector {
    type Out = Either<In, Tcp>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        if let Some(tunnel) = chained {
            return Ok(Some(Either::A(tunnel)));
        }
        let started = Instant::now();
        let addresses = DefaultResolver::default().resolve(details.uri, details.config, details.timeout)?;
        let mut failed = ureq::Error::HostNotFound;
        for (index, address) in addresses.iter().enumerate() {
            let left = CONNECT_TIMEOUT.saturating_sub(started.elapsed()) / (addresses.len() - index) as u32;
            match TcpStream::connect_timeout(address, left.max(Duration::from_millis(1))) {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    #[cfg(target_os = "linux")]
                    let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(OUTPUT_BUFFER as u32);
                    let buffers = LazyBuffers::new(INPUT_BUFFER, OUTPUT_BUFFER);
                    return Ok(Some(Either::B(Tcp { stream, received: 0, write_limit: None, broken: false, buffers })));
                }
                Err(error) => failed = or_timeout(error, Timeout::Connect),
            }
        }
        Err(failed)
    }
}

#[derive(Debug)]
struct Tcp {
    stream: TcpStream,
    /// How many bytes have come since some were sent.
    received: usize,
    /// The write timeout that is set: it stays the same for a whole upload.
    write_limit: Option<Duration>,
    /// The peer takes nothing more.
    broken: bool,
    buffers: LazyBuffers,
}

impl Transport for Tcp {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let timeout = timeout.for_write();
        let limit = timeout.not_zero().as_deref().copied();
        if self.write_limit != limit {
            self.stream.set_write_timeout(limit)?;
            self.write_limit = limit;
        }
        self.received = 0;
        match self.stream.write_all(&self.buffers.output()[..amount]) {
            // Who refuses an upload may say so and close, without reading the rest: what it said is still to be read.
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                self.broken = true;
                Ok(())
            }
            sent => sent.map_err(|error| or_timeout(error, timeout.reason)),
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let timeout = timeout.for_read();
        self.stream.set_read_timeout(timeout.not_zero().as_deref().copied())?;
        let amount = loop {
            match self.stream.read(self.buffers.input_append_buf()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {} // Linux, after Ctrl-Z and fg
                read => break read.map_err(|error| or_timeout(error, timeout.reason))?,
            }
        };
        if self.broken && amount == 0 {
            return Err(io::Error::from(io::ErrorKind::ConnectionReset).into());
        }
        self.buffers.input_appended(amount);
        self.received += amount;
        if self.received > MAX_RECEIVED {
            return Err(io::Error::other("sent more than any reply can have").into());
        }
        Ok(amount > 0)
    }

    /// Whether an idle connection can be used again: nothing has come, nor an end.
    fn is_open(&mut self) -> bool {
        let nothing_came = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
        self.stream.set_nonblocking(true).is_ok()
            && self.stream.read(&mut [0]).is_err_and(nothing_came)
            && self.stream.set_nonblocking(false).is_ok()
    }
}

/// What the system says of a time that is up, in ureq's words.
fn or_timeout(error: io::Error, reason: Timeout) -> ureq::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ureq::Error::Timeout(reason),
        _ => error.into(),
    }
}

// ---- Small helpers ---------------------------------------------------------------------------------------------

/// Locks. No thread panics half-way: in release, a panic ends the program.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unix_seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as i64)
}

/// The path of the file beside `path` whose name has `suffix` after it.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Renames `new` to `old`. Windows forbids it while another program reads the old one.
fn replace(new: &Path, old: &Path) -> io::Result<()> {
    for _ in 0..20 {
        match fs::rename(new, old) {
            Err(error) if cfg!(windows) && error.kind() == io::ErrorKind::PermissionDenied => {
                std::thread::sleep(Duration::from_millis(50));
            }
            renamed => return renamed,
        }
    }
    fs::rename(new, old)
}

/// Makes a file that was not there, and that only its owner can read.
fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
