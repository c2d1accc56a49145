//! wx-upload puts files into WeChat CloudRun (微信云托管) object storage and prints their links.
//!
//! Every file goes the way of the script that this program replaces:
//!
//! 1. `get_access_token`: `GET /cgi-bin/token`, once for all files; kept in `config.json`
//! 2. `get_upload_file_info`: `POST /tcb/uploadfile` says where to upload, and signs it
//! 3. `upload_file`: `POST` to COS as a form, the file streamed from disk
//! 4. `get_download_link`: `POST /tcb/batchdownloadfile`, for up to 50 files in one call
//!
//! Worker threads do 2 and 3 (`wx_upload_file`). The main thread hands out the files, collects what is finished, does 4
//! for all that has piled up meanwhile, and prints the results in the order of the input (`collect`).

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::env;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::hash::BuildHasher;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
#[cfg(unix)]
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use ureq::config::Config;
use ureq::http::{Response, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::multipart::{Form, Part};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::*;
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

/// What a user can do about an `errcode` of the API, and what the program does.
fn remedy(errcode: i64, auth: &str) -> (&'static str, Cure) {
    match errcode {
        -1 | -1000 => ("the service is busy: try again later", Cure::Wait(None)),
        45011 => ("too many calls a minute: wait, or use fewer --jobs", Cure::Wait(None)),
        40001 | 40014 | 41001 | 42001 if auth == "none" => (
            "`auth` is none, which works in a container with 开放接口服务 switched on: see its settings",
            Cure::StopRun,
        ),
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
const TOKENS_PER_CALL: usize = 3; // the call's own, one that another run saved, a new one
const TOKEN_MARGIN: i64 = 60; // seconds: a token that is about to expire is not used any more
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REPLY_TIMEOUTS: u32 = 10; // so many times `--timeout` for a reply that comes byte by byte, and would never end
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const MAX_MANIFEST_LINE: u64 = 64 << 10;
const SIDE_BY_SIDE: Duration = Duration::from_millis(5); // files that finish within so long share a call for links
const STOP_SEEN_WITHIN: Duration = Duration::from_millis(50); // by a thread that waits to try again
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
    let settings = settings(&config, &options)?;
    let (files, notes) = list_files(&options, &config, &settings.prefix)?;
    let manifest = Manifest::open(&options, &settings.env, &files)?;
    let token = token_in(&config);
    if !options.dry_run && settings.auth != "none" && token.is_none() {
        settings.account.clone()?;
    }
    let run = Run {
        agent: http_agent(&options, &settings)?,
        progress: progress_bar(&options, &files),
        token: Mutex::new(token),
        unproven: Mutex::default(),
        stopped: OnceLock::new(),
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

#[derive(Default)]
struct Options {
    config: PathBuf,
    paths: Vec<PathBuf>,
    to: Option<String>,
    recursive: bool,
    jobs: usize,
    format: &'static str,
    manifest: Option<PathBuf>,
    retries: u32,
    timeout: u32, // seconds
    dry_run: bool,
    init: bool,
    quiet: bool,
}

/// Reads the command line. Answers `--help` and `--version` itself, and ends.
fn parse_options() -> Result<Options, lexopt::Error> {
    use lexopt::prelude::*;
    let mut arguments = lexopt::Parser::from_env();
    let mut options = Options {
        config: "./config.json".into(),
        format: "text",
        jobs: 8,
        retries: 3,
        timeout: 60,
        ..Options::default()
    };
    while let Some(argument) = arguments.next()? {
        match argument {
            Short('c') | Long("config") => options.config = file_named("--config", arguments.value()?)?,
            Short('t') | Long("to") => options.to = Some(arguments.value()?.string()?),
            Short('r') | Long("recursive") => options.recursive = true,
            Short('j') | Long("jobs") => options.jobs = number("--jobs", arguments.value()?, 1, 64)? as usize,
            Short('f') | Long("format") => {
                let (value, formats) = (arguments.value()?, ["text", "url", "markdown", "json"]);
                let other = || format!("--format takes text, url, markdown or json, not '{}'", value.to_string_lossy());
                options.format = formats.into_iter().find(|format| value == *format).ok_or_else(other)?;
            }
            Long("manifest") => options.manifest = Some(file_named("--manifest", arguments.value()?)?),
            Long("retries") => options.retries = number("--retries", arguments.value()?, 0, 10)?,
            Long("timeout") => options.timeout = number("--timeout", arguments.value()?, 1, 3600)?,
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
    let printed = print(text).map_err(|why| complain(&format!("error: {why}")));
    std::process::exit(printed.is_err().into())
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

// ---- Config ----------------------------------------------------------------------------------------------------

/// Reads the config: the script's keys and the optional ones beside them, in their own order. What is wrong with it is
/// said in a sentence that names the file, the key or line, and what to do.
fn load_config(path: &Path) -> Result<Value, String> {
    let shown = path.display();
    let bytes = fs::read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("{shown}: no such file: `wx-upload --init` writes a config to fill in"),
        _ => format!("{shown}: cannot be read: {error}"),
    })?;
    let json = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes); // Windows Notepad's byte-order mark
    let config: Value = serde_json::from_slice(json)
        .map_err(|error| format!("{shown}: is no JSON in UTF-8 (which has no comments either): {error}"))?;
    if !config.is_object() {
        return Err(format!("{shown}: is no JSON object: it must be like {{ \"appid\": \"wx…\", … }}"));
    }
    let texts = ["appid", "secret", "env", "upload_dir", "upload_path", "auth", "api_base"];
    match texts.iter().find(|key| !config[**key].is_null() && !config[**key].is_string()) {
        Some(key) => Err(format!("{shown}: `{key}` must be a text in quotes")),
        None => Ok(config),
    }
}

/// Replaces the config file: at any moment there is either the old one or the new one, whole. Its permissions and its
/// owner stay, and a link to it stays a link.
fn save_config(config: &Value, path: &Path) -> io::Result<()> {
    // Four spaces, as the script wrote it. serde_json's own are two, and its strings hold no raw newline.
    let mut json = String::new();
    for line in format!("{config:#}").lines() {
        let indent = line.len() - line.trim_start().len();
        json += &format!("{:indent$}{line}\n", "");
    }
    let path = path.canonicalize()?;
    let old = fs::metadata(&path)?;
    let new_path = path.with_added_extension("new");
    let _ = fs::remove_file(&new_path); // a run that was killed may have left it
    let mut new = create_private(&new_path)?;
    #[cfg(unix)] // only root can give it to its owner, and only root needs to
    let _ = std::os::unix::fs::fchown(&new, Some(old.uid()), Some(old.gid()));
    let saved = (new.write_all(json.as_bytes()))
        .and_then(|()| new.set_permissions(old.permissions()))
        .and_then(|()| new.sync_all())
        .and_then(|()| replace(&new_path, &path));
    saved.inspect_err(|_| _ = fs::remove_file(&new_path))
}

/// Takes the advisory lock under which a token is fetched, so that runs side by side share one. It is a file of its
/// own, as the config is replaced, not rewritten. Where there can be none, the token is fetched without.
fn lock_config(path: &Path) -> Option<File> {
    let path = path.canonicalize().ok()?.with_added_extension("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.or_else(|_| File::open(&path)).ok()?; // another user's can be locked, too
    file.lock().ok().map(|()| file)
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

/// A text in the config or in a reply; null, missing and empty are the same.
fn text_in<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object[key].as_str().filter(|text| !text.is_empty())
}

/// An access token, and when it is not used any more, in seconds since 1970.
type Token = (String, i64);

/// The token in `config`, if it is good. One whose times are odd is not.
fn token_in(config: &Value) -> Option<Token> {
    let (created, life) = (config["create_time"].as_i64()?, config["expires_in"].as_i64()?);
    let use_until = created.saturating_add(life).saturating_sub(TOKEN_MARGIN);
    let token = (text_in(config, "access_token")?.to_owned(), use_until);
    (created..=use_until).contains(&unix_seconds()).then_some(token)
}

/// What the config, the environment and the options say together, checked.
struct Settings {
    account: Result<(String, String), String>, // `appid` and `secret`, or what to say where they are needed
    env: String,
    prefix: String,
    auth: String, // token, stable_token or none
    api_base: String,
    https_only: bool,
}

fn settings(config: &Value, options: &Options) -> Result<Settings, String> {
    let shown = options.config.display();
    let auth = text_in(config, "auth").unwrap_or("token").to_owned();
    if !["token", "stable_token", "none"].contains(&&*auth) {
        return Err(format!("{shown}: `auth` must be token, stable_token or none"));
    }
    // In a container the platform itself signs the calls, for which it must be able to read them.
    let default_base = if auth == "none" { "http://api.weixin.qq.com" } else { "https://api.weixin.qq.com" };
    let api_base = text_in(config, "api_base").unwrap_or(default_base).trim_end_matches('/').to_owned();
    let base: Uri = api_base.parse().unwrap_or_default();
    let has_host = base.authority().is_some_and(|host| host == host.host() || host.port().is_some());
    if !matches!(base.scheme_str(), Some("http" | "https")) || !has_host || api_base.contains(['?', '#', '@']) {
        return Err(format!("{shown}: `api_base` must be like https://api.weixin.qq.com"));
    }
    let (source, folder) = match &options.to {
        Some(to) => ("--to".into(), to.as_str()),
        None => (format!("{shown}: `upload_path`"), text_in(config, "upload_path").unwrap_or(DEFAULT_PREFIX)),
    };
    let slashed = if cfg!(windows) { folder.replace('\\', "/") } else { folder.to_owned() };
    let mut prefix = slashed.strip_prefix('/').unwrap_or(&slashed).to_owned();
    if !prefix.is_empty() && !prefix.ends_with('/') {
        prefix.push('/');
    }
    if let Some(why) = broken_rule(&format!("{prefix}x")) {
        return Err(format!("{source} '{folder}': {why}"));
    }
    let needed = |key, name, hint| {
        let given = text_in(config, key).map(str::to_owned).or_else(|| variable(name));
        given.ok_or_else(|| format!("{shown}: `{key}` is missing: {hint}"))
    };
    let env = needed("env", "WX_ENV", "the id of the 云托管 environment, like prod-…")?;
    let hint = "see mp.weixin.qq.com, 开发设置";
    let account = needed("appid", "WX_APPID", hint).and_then(|appid| Ok((appid, needed("secret", "WX_SECRET", hint)?)));
    Ok(Settings { account, env, prefix, auth, https_only: base.scheme_str() != Some("http"), api_base })
}

/// The rule for names in the cloud (官方文件名命名限制, and no way up) that `key` breaks.
fn broken_rule(key: &str) -> Option<&'static str> {
    let rules = [
        (key.chars().any(char::is_control), "a cloud name can't have control characters"),
        (key.starts_with('/') || key.contains("//"), "a cloud name can't begin with `/` or have `//` in it"),
        (key.split('/').any(|part| part == "." || part == ".."), "a cloud name can't have `.` or `..` between slashes"),
        (key.len() > MAX_KEY_BYTES, "the cloud name is longer than 850 bytes"),
    ];
    rules.into_iter().find_map(|(broken, rule)| broken.then_some(rule))
}

// ---- What goes wrong, and what helps ---------------------------------------------------------------------------

#[derive(Clone)]
struct Failure {
    cure: Cure,
    message: String, // `STAGE: DETAIL`, as in an error line
}

/// What the program does about a failure.
#[derive(Clone, Copy, PartialEq)]
enum Cure {
    Wait(Option<Duration>), // it can pass by itself: wait, at least as long as the server asks for, and try again
    NewSignature,           // COS refused the signature: once more, with a new one
    NewToken,               // the API refused the access token: once more, with a new one
    UploadAgain,            // the object is not in the cloud: upload the file, if only the manifest said it was
    StopRun,                // no other file will fare better
    Nothing,                // this file failed, the others go on
}

fn failure(stage: &str, cure: Cure, detail: impl std::fmt::Display) -> Failure {
    Failure { cure, message: format!("{stage}: {detail}") }
}

/// How long to wait for the `n`-th time, from 0: 0.5 s, 1 s, 2 s … (an eighth more or less, at random), or longer if a
/// server's `Retry-After` asks for it.
fn backoff(n: u32, asked: Option<Duration>) -> Duration {
    let random = std::hash::RandomState::new().hash_one(()) % 125;
    Duration::from_millis((437 + random) << n).max(asked.unwrap_or_default()).min(LONGEST_WAIT)
}

/// The one retry loop: runs `attempt` until it succeeds, fails for good, or the tries are used up.
fn with_retries<T>(run: &Run, mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let (mut waits, mut signed_again) = (0, false);
    loop {
        let mut failure = match attempt() {
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        match failure.cure {
            Cure::Wait(asked) if waits < run.options.retries && run.pause(backoff(waits, asked)) => waits += 1,
            Cure::NewSignature if !signed_again => signed_again = true,
            _ => {
                let tries = 1 + waits + u32::from(signed_again);
                if tries > 1 {
                    failure.message += &format!(" (tried {tries} times)");
                }
                return Err(if failure.cure == Cure::StopRun { run.give_up(failure) } else { failure });
            }
        }
    }
}

/// Puts what ureq says into words of our own: its messages may hold a URL with the access token in it.
fn request_failed(run: &Run, stage: &str, url: &str, error: ureq::Error) -> Failure {
    let mut cure = Cure::Wait(None);
    let what = match error {
        ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => "no connection within 10 s".into(),
        ureq::Error::Timeout(Timeout::RecvResponse | Timeout::RecvBody) => {
            format!("no whole reply within {} s", run.options.timeout * REPLY_TIMEOUTS)
        }
        ureq::Error::Timeout(_) => format!("silent for {} s (--timeout)", run.options.timeout),
        ureq::Error::Io(error) if error.to_string().contains("certificate") => {
            cure = Cure::Nothing;
            let proxied = "behind a company proxy, name the file with its CA in SSL_CERT_FILE";
            format!("{error}: {proxied}; else see that this machine's clock is right")
        }
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) => "no proper HTTP".into(),
        ureq::Error::HostNotFound => "no such host".into(),
        ureq::Error::BodyExceedsLimit(_) => "its reply is longer than 1 MiB".into(),
        ureq::Error::ConnectProxyFailed(why) => why,
        error => {
            cure = Cure::Nothing;
            let is_plain = matches!(error, ureq::Error::RequireHttpsOnly(_));
            if is_plain { "plain http is refused, as `api_base` is https" } else { "cannot be used" }.into()
        }
    };
    let uri: Uri = url.parse().unwrap_or_default();
    let host = uri.scheme().and(uri.host()).unwrap_or("its URL");
    let via = match run.agent.config().proxy() {
        Some(proxy) if !proxy.is_no_proxy(&uri) => format!(", through the proxy {}:{}", proxy.host(), proxy.port()),
        _ => String::new(),
    };
    failure(stage, cure, format!("{host}{via}: {what}"))
}

/// What a bad HTTP status means; `told` is what the server said about it.
fn status_failed(stage: &str, reply: &Response<Body>, told: &str) -> Failure {
    let status = reply.status();
    let retry_after = reply.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let cure = match status.as_u16() {
        408 | 429 | 500.. => Cure::Wait(retry_after.map(Duration::from_secs)),
        _ => Cure::Nothing,
    };
    let why = if status.is_redirection() { ": redirects are not followed" } else { "" };
    failure(stage, cure, format!("HTTP {status}{why}{told}"))
}

/// Quotes a server, cut to a readable length and without the `secrets` that it may have echoed.
fn quote(told: &str, secrets: &[&str]) -> String {
    let mut told = told.to_owned();
    for secret in secrets {
        // In XML and in a URL some characters are spelled otherwise: what is between them is looked for by itself, too.
        let parts = secret.split(|c: char| !c.is_alphanumeric());
        for part in std::iter::once(*secret).chain(parts).filter(|part| part.len() >= 8) {
            told = told.replace(part, "***");
        }
    }
    told.chars().take(MAX_QUOTE_CHARS).collect()
}

// ---- The four steps of the API ---------------------------------------------------------------------------------

/// Step 1: the access token, from the config if it is still good there, else a new one, which is saved at once.
/// `refused` is a token that the API did not take: however many threads come with it, one new token is fetched. With
/// `auth` `none` the token is empty.
/// <https://developers.weixin.qq.com/miniprogram/dev/api-backend/open-api/access-token/auth.getAccessToken.html>
fn get_access_token(run: &Run, refused: Option<&str>) -> Result<String, Failure> {
    if run.settings.auth == "none" {
        return Ok(String::new());
    }
    let is_good = |(token, use_until): &Token| unix_seconds() <= *use_until && refused != Some(token);
    let mut cache = run.token.lock().unwrap(); // kept while a token is fetched, so that the other threads wait for it
    if let Some((token, _)) = cache.as_ref().filter(|token| is_good(token)) {
        return Ok(token.clone());
    }
    if let Some(why) = run.stopped.get() {
        return Err(Failure { cure: Cure::StopRun, message: why.clone() });
    }
    let path = &run.options.config;
    let _lock = lock_config(path);
    let config = load_config(path);
    if let Some(saved) = config.as_ref().ok().and_then(token_in).filter(is_good) {
        return Ok(cache.insert(saved).0.clone()); // another run has fetched it
    }
    let (token, expires_in) = with_retries(run, || fetch_token(run)).map_err(|failure| run.give_up(failure))?;
    let margin = TOKEN_MARGIN.min(expires_in / 2); // stable_token may give one that is about to expire
    *cache = Some((token.clone(), unix_seconds().saturating_add(expires_in - margin)));
    *run.unproven.lock().unwrap() = refused.map(|_| token.clone());
    // A config that cannot be read now is perhaps being edited: it is left alone.
    let saved = config.and_then(|mut config| {
        config["create_time"] = unix_seconds().into();
        config["expires_in"] = expires_in.into();
        config["access_token"] = token.as_str().into();
        save_config(&config, path).map_err(|error| error.to_string())
    });
    if let Err(why) = saved {
        let shown = path.display();
        run.note(&format!("warning: {shown}: cannot be written, so the next run needs a new token: {why}"));
    }
    Ok(token)
}

/// Asks for a new token. Returns it and its life in seconds.
fn fetch_token(run: &Run) -> Result<(String, i64), Failure> {
    let account = run.settings.account.as_ref();
    let (appid, secret) = account.map_err(|why| failure(TOKEN_FAILED, Cure::Nothing, why))?;
    let reply = if run.settings.auth == "stable_token" {
        let body = json!({
            "grant_type": "client_credential", "appid": appid, "secret": secret, "force_refresh": false
        });
        call_api(run, TOKEN_FAILED, "/cgi-bin/stable_token", &[], Some(&body))?
    } else {
        let query = [("grant_type", "client_credential"), ("appid", appid), ("secret", secret)];
        call_api(run, TOKEN_FAILED, "/cgi-bin/token", &query, None)?
    };
    let access_token = text_field(TOKEN_FAILED, &reply, "access_token")?;
    let expires_in = reply["expires_in"].as_i64().filter(|seconds| *seconds > 0);
    let odd = || failure(TOKEN_FAILED, Cure::Nothing, "the reply has no proper `expires_in`");
    Ok((access_token, expires_in.ok_or_else(odd)?))
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
    if !info.file_id.starts_with("cloud://") {
        // It will be printed, so it must not be one of the secrets beside it.
        return Err(failure(INFO_FAILED, Cure::Nothing, "the reply has no proper `file_id`"));
    }
    Ok(info)
}

/// Step 3: uploads `file` under the cloud name `request_path`, as the form that COS's "POST Object" takes.
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
        return Err(failure(UPLOAD_FAILED, Cure::Nothing, why));
    }
    let mut reply = sent.map_err(|error| request_failed(run, UPLOAD_FAILED, &info.url, error))?;
    let mut xml = Vec::new();
    // Also that of a success, so that the connection can be used again. The status has said what counts.
    let _ = reply.body_mut().as_reader().take(MAX_COS_REPLY_BYTES).read_to_end(&mut xml);
    if !reply.status().is_success() {
        let xml = String::from_utf8_lossy(&xml);
        let element = |tag: &str| Some(xml.split_once(&format!("<{tag}>"))?.1.split_once("</")?.0);
        let mut told = String::new();
        if let Some(code) = element("Code").filter(|code| !code.is_empty()) {
            let clock = if code == "RequestTimeTooSkewed" { ": see that this machine's clock is right" } else { "" };
            told = format!(": {code}{clock}: {}", element("Message").unwrap_or_default());
        }
        let told = quote(&told, &[&info.authorization, &info.token]);
        let refused = status_failed(UPLOAD_FAILED, &reply, &told);
        let cure = if reply.status() == 403 { Cure::NewSignature } else { refused.cure };
        return Err(Failure { cure, ..refused });
    }
    match reply.headers().get("x-cos-hash-crc64ecma") {
        Some(stored) if stored != &file.crc.sum64().to_string() => {
            Err(failure(UPLOAD_FAILED, Cure::Wait(None), "COS stored other bytes than were sent: its CRC-64 differs"))
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
/// <https://developers.weixin.qq.com/miniprogram/dev/wxcloudrun/src/development/storage/service/download.html>
fn get_download_link(run: &Run, file_ids: &[&str]) -> Vec<Result<String, Failure>> {
    let file_list: Vec<Value> = file_ids.iter().map(|file_id| json!({ "fileid": file_id })).collect();
    let body = json!({ "env": run.settings.env, "file_list": file_list });
    let reply = with_retries(run, || post_json(run, LINK_FAILED, "/tcb/batchdownloadfile", &body));
    let token = run.token.lock().unwrap().clone().unwrap_or_default().0;
    let link = |file_id: &&str| {
        let entries = reply.as_ref().map_err(Failure::clone)?["file_list"].as_array();
        let failed = |cure, why: &str| Err(failure(LINK_FAILED, cure, why));
        let Some(entry) = entries.into_iter().flatten().find(|entry| entry["fileid"] == *file_id) else {
            return failed(Cure::Nothing, "the reply has no link for it");
        };
        match entry.get("status").map_or(Some(0), Value::as_i64) {
            Some(0) => text_field(LINK_FAILED, entry, "download_url"),
            Some(1) => failed(Cure::UploadAgain, "it is not in the cloud (STORAGE_FILE_NONEXIST)"),
            Some(status) => {
                let told = quote(text_in(entry, "errmsg").unwrap_or_default(), &[&token]);
                failed(Cure::Nothing, &format!("status {status}: {told}"))
            }
            None => failed(Cure::Nothing, "the reply's `status` is no number"),
        }
    };
    file_ids.iter().map(link).collect()
}

/// One call of the API: POSTs `body` to `path` with the access token, and again with a new one where that is refused.
/// A new token that is refused before it ever worked stops the run.
fn post_json(run: &Run, stage: &str, path: &str, body: &Value) -> Result<Value, Failure> {
    let mut refused: Vec<String> = Vec::new();
    loop {
        let token = get_access_token(run, refused.last().map(String::as_str))?;
        let query: &[_] = if run.settings.auth == "none" { &[] } else { &[("access_token", &*token)] };
        let reply = call_api(run, stage, path, query, Some(body));
        let mut unproven = run.unproven.lock().unwrap();
        match reply {
            Err(failure) if failure.cure == Cure::NewToken => {
                refused.push(token);
                if unproven.as_ref() == refused.last() || refused.len() == TOKENS_PER_CALL {
                    return Err(run.give_up(failure));
                }
            }
            Err(failure) => return Err(failure),
            Ok(reply) => {
                unproven.take_if(|unproven| *unproven == token);
                return Ok(reply);
            }
        }
    }
}

/// One request of the API. Its reply must be JSON without an `errcode`, or with 0. What it says about an error is
/// quoted without secrets, of the request or of its own.
fn call_api(
    run: &Run,
    stage: &str,
    path: &str,
    query: &[(&str, &str)],
    body: Option<&Value>,
) -> Result<Value, Failure> {
    let broken = |error| request_failed(run, stage, &run.settings.api_base, error);
    let url = format!("{}{path}", run.settings.api_base);
    let sent = match body {
        None => run.agent.get(url).query_pairs(query.iter().copied()).call(),
        Some(body) => {
            // The service wants Chinese as raw UTF-8, which is how serde_json writes it: with `\u` escapes the upload
            // seems to work, and no link can be had for it.
            let request = run.agent.post(url).query_pairs(query.iter().copied());
            request.content_type("application/json;charset=UTF-8").send(body.to_string())
        }
    };
    let mut reply = sent.map_err(broken)?;
    if !reply.status().is_success() {
        return Err(status_failed(stage, &reply, ""));
    }
    let json = reply.body_mut().with_config().limit(MAX_REPLY_BYTES).read_to_vec().map_err(broken)?;
    let reply = serde_json::from_slice::<Value>(&json);
    let reply = reply.map_err(|_| failure(stage, Cure::Wait(None), "the reply is no JSON"))?;
    let errcode = reply.get("errcode").map_or(Some(0), Value::as_i64);
    let errcode = errcode.ok_or_else(|| failure(stage, Cure::Nothing, "the reply's `errcode` is no number"))?;
    if errcode == 0 {
        return Ok(reply);
    }
    let mut secrets =
        ["access_token", "authorization", "token"].map(|name| text_in(&reply, name).unwrap_or("")).to_vec();
    secrets.extend(query.iter().filter(|(name, _)| *name == "access_token").map(|(_, token)| token));
    secrets.extend(run.settings.account.iter().map(|(_, secret)| secret.as_str()));
    let told = quote(text_in(&reply, "errmsg").unwrap_or_default(), &secrets);
    let (help, cure) = remedy(errcode, &run.settings.auth);
    Err(failure(stage, cure, format!("errcode {errcode} ({told}): {help}")))
}

/// The text that a reply must have under `name`.
fn text_field(stage: &str, reply: &Value, name: &str) -> Result<String, Failure> {
    let odd = || failure(stage, Cure::Nothing, format!("the reply has no proper `{name}`"));
    text_in(reply, name).map(str::to_owned).ok_or_else(odd)
}

// ---- One file --------------------------------------------------------------------------------------------------

/// A file to upload, as it was listed.
struct LocalFile {
    path: PathBuf,
    name: String, // the path below the directory given, or the file's own name
    key: String,  // its name in the cloud: the prefix, and `name`
    size: u64,
    problem: Option<String>, // why it cannot be uploaded
}

/// A file that is in the cloud.
struct Stored {
    file_id: String,
    size: u64,
    unchanged: bool, // it was there already, as the manifest knew
}

/// The bytes of a file on their way: as many as it had when it was opened, counted and summed up.
struct FileBody<'a> {
    file: File,
    left: u64,
    crc: crc64fast::Digest,
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
        self.progress.inc(count as u64);
        Ok(count)
    }
}

/// Uploads one file: steps 1 to 3, and again from there where that can help. Its link is the main thread's to ask for.
/// What the manifest knows is not sent, unless `again`.
fn wx_upload_file(run: &Run, file: &LocalFile, again: bool) -> Result<Stored, Failure> {
    let unusable = |why: &str| failure(UPLOAD_FAILED, Cure::Nothing, why);
    let unreadable = |error| unusable(&format!("cannot be opened: {error}"));
    if let Some(problem) = &file.problem {
        return Err(unusable(problem));
    }
    if let (false, Some(file_id)) = (again, run.manifest.unchanged(file)) {
        run.progress.dec_length(file.size);
        return Ok(Stored { file_id: file_id.to_owned(), size: file.size, unchanged: true });
    }
    with_retries(run, || {
        // Asked before it is opened: to open a FIFO would wait for its other end.
        if !fs::metadata(&file.path).map_err(unreadable)?.is_file() {
            return Err(unusable("is no regular file any more"));
        }
        let opened = File::open(&file.path).map_err(unreadable)?;
        let metadata = opened.metadata().map_err(unreadable)?;
        let size = metadata.len();
        if size > MAX_FILE_BYTES {
            return Err(unusable(TOO_LARGE));
        }
        let info = get_upload_file_info(run, &file.key)?;
        let crc = crc64fast::Digest::new();
        let mut body = FileBody { file: opened, left: size, crc, progress: &run.progress, failed: None };
        upload_file(run, &info, &file.key, &mut body).inspect_err(|_| run.progress.dec(size - body.left))?;
        let recorded = run.manifest.record(&run.settings.env, &file.key, &metadata, body.crc.sum64(), &info.file_id);
        if let Err(error) = recorded {
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
    manifest: Manifest,
    agent: Agent,
    token: Mutex<Option<Token>>,
    unproven: Mutex<Option<String>>, // a token that took the place of a refused one, and has not worked yet
    stopped: OnceLock<String>,       // why no more files are taken
    progress: ProgressBar,
}

impl Run {
    /// Lets no more files be taken. The first reason is the one that is told.
    fn give_up(&self, failure: Failure) -> Failure {
        let _ = self.stopped.set(failure.message.clone());
        Failure { cure: Cure::StopRun, ..failure }
    }

    /// Waits. Returns whether to go on: the run may be stopped meanwhile.
    fn pause(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while self.stopped.get().is_none() && Instant::now() < until {
            thread::sleep(STOP_SEEN_WITHIN.min(until.saturating_duration_since(Instant::now())));
        }
        self.stopped.get().is_none()
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
    let (queue, taken) = mpsc::channel();
    let (done, finished) = mpsc::channel();
    let taken = Mutex::new(taken);
    let tally = thread::scope(|scope| {
        for worker in 0..run.options.jobs.min(run.files.len()) {
            let (taken, done) = (&taken, done.clone());
            // Where the system gives no more threads, those that there are do the work.
            let started = thread::Builder::new().spawn_scoped(scope, move || work(run, taken, &done));
            if let (Err(error), 0) = (started, worker) {
                let _ = run.stopped.set(format!("no thread can be started: {error}"));
            }
        }
        drop(done);
        let progress = thread::Builder::new().spawn_scoped(scope, || show_progress(run));
        let tally = collect(run, queue, &finished);
        run.progress.finish_and_clear();
        _ = progress.map(|progress| progress.thread().unpark());
        tally
    });
    let stopped = run.stopped.get();
    if let Some(why) = stopped {
        complain(&format!("error: {why}"));
    }
    let Tally { uploaded, bytes, failed, unchanged } = tally;
    let left = run.files.len() - uploaded - failed - unchanged;
    let (bytes, skipped, time) = (human_bytes(bytes), notes + unchanged, started.elapsed().as_secs_f64());
    let counts = format!("{uploaded} uploaded ({bytes}), {failed} failed, {skipped} skipped, {left} not attempted");
    run.note(&format!("{counts} in {time:.1} s"));
    if failed > 0 || stopped.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

type Finished = (usize, Result<Stored, Failure>);

/// A worker: uploads file after file (`again`: even if the manifest knows it), until none is left or the run is
/// stopped.
fn work(run: &Run, queue: &Mutex<mpsc::Receiver<(usize, bool)>>, done: &mpsc::Sender<Finished>) {
    let next = || queue.lock().unwrap().recv().ok().filter(|_| run.stopped.get().is_none());
    while let Some((index, again)) = next() {
        let file = &run.files[index];
        let result = wx_upload_file(run, file, again).inspect_err(|_| run.progress.dec_length(file.size));
        let _ = done.send((index, result)); // the receiver lives until all workers are gone
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

/// The main thread's part: hands out the files, asks for the links of those that are in the cloud, for as many at once
/// as have piled up during the call before, and prints each file's outcome as soon as it and all before it are done.
fn collect(run: &Run, queue: mpsc::Sender<(usize, bool)>, finished: &mpsc::Receiver<Finished>) -> Tally {
    let (mut queue, mut handed_out, mut printed) = (Some(queue), 0, 0);
    let mut linkless: BTreeMap<usize, Stored> = BTreeMap::new(); // in the order in which they are to be printed
    let mut ended: BTreeMap<usize, Outcome> = BTreeMap::new();
    let mut no_links = None; // why none are to be had any more
    let mut tally = Tally::default();
    loop {
        if run.stopped.get().is_some() || printed == run.files.len() {
            queue = None; // which ends the workers
            linkless.retain(|_, stored| !stored.unchanged);
        }
        while let Some(queue) = &queue
            && handed_out < run.files.len().min(printed + MAX_AHEAD)
        {
            let _ = queue.send((handed_out, false));
            handed_out += 1;
        }
        let mut arrived = None;
        if linkless.is_empty() {
            let Ok(first) = finished.recv() else { break };
            arrived = Some(first);
            thread::sleep(SIDE_BY_SIDE);
        }
        for (index, result) in arrived.into_iter().chain(finished.try_iter()) {
            match result {
                Ok(stored) => _ = linkless.insert(index, stored),
                Err(failure) if failure.cure == Cure::StopRun => {} // told once; the file counts as not attempted
                Err(failure) => _ = ended.insert(index, Err((failure, None))),
            }
        }
        let batch: Vec<_> = std::iter::from_fn(|| linkless.pop_first()).take(LINKS_PER_CALL).collect();
        let file_ids: Vec<&str> = batch.iter().map(|(_, stored)| &*stored.file_id).collect();
        let links = match &no_links {
            Some(failure) => vec![Err(Failure::clone(failure)); batch.len()],
            None if batch.is_empty() => Vec::new(),
            None => get_download_link(run, &file_ids),
        };
        for ((index, stored), link) in batch.into_iter().zip(links) {
            let outcome = match link {
                Ok(url) => Ok((stored, url)),
                Err(failure) if failure.cure == Cure::UploadAgain && stored.unchanged => {
                    run.progress.inc_length(stored.size);
                    _ = queue.as_ref().map(|queue| queue.send((index, true)));
                    continue;
                }
                Err(failure) => {
                    if failure.cure == Cure::StopRun {
                        no_links = Some(failure.clone());
                    }
                    Err((failure, Some(stored.file_id)))
                }
            };
            ended.insert(index, outcome);
        }
        while let Some(outcome) = ended.remove(&printed) {
            finish(run, &run.files[printed], outcome, &mut tally);
            printed += 1;
        }
        run.progress.set_prefix(printed.to_string()); // for `show_progress`
    }
    // A stopped run leaves gaps, and behind them files that are done.
    for (index, outcome) in ended {
        finish(run, &run.files[index], outcome, &mut tally);
    }
    tally
}

/// Shows progress until the bar is finished.
fn show_progress(run: &Run) {
    let bar = &run.progress;
    while !bar.is_hidden() && !bar.is_finished() {
        let (printed, files) = (bar.prefix(), run.files.len());
        let [done, total, rate] = [bar.position(), bar.length().unwrap_or_default(), bar.per_sec() as u64];
        let left = if rate > 0 { format!(", {:#} left", HumanDuration(bar.eta())) } else { String::new() };
        let [done, total, rate] = [done, total, rate].map(human_bytes);
        bar.set_message(format!("{printed}/{files} files, {done}/{total}, {rate}/s{left}"));
        thread::park_timeout(PROGRESS_EVERY);
    }
}

// ---- The manifest ----------------------------------------------------------------------------------------------

/// What earlier runs uploaded: JSON Lines, one object a file, later lines win.
#[derive(Default)]
struct Manifest {
    path: Option<PathBuf>,
    known: HashMap<String, (u64, i64, String)>, // size, mtime and `file_id`, by key
}

impl Manifest {
    /// Opens the manifest, or begins it, and reads what it knows of `files` in `env`. A last line that a power cut tore
    /// is cut off. Something else than a manifest is refused and stays as it is. In a dry run nothing is changed.
    fn open(options: &Options, env: &str, files: &[LocalFile]) -> Result<Manifest, String> {
        let (mut known, writable) = (HashMap::new(), !options.dry_run);
        let Some(path) = options.manifest.as_ref().filter(|path| writable || path.exists()) else {
            return Ok(Manifest::default());
        };
        let unusable = |error: io::Error| format!("--manifest {}: {error}", path.display());
        let no_manifest = || Err(unusable(io::Error::other("is no manifest, and stays as it is")));
        if path.exists() && !path.is_file() {
            return no_manifest(); // to open a FIFO would wait for its other end
        }
        let file = OpenOptions::new().read(true).write(writable).create(writable).open(path).map_err(unusable)?;
        let _ = file.lock(); // another run may be writing; where there are no locks, let there be one run at a time
        let size = file.metadata().map_err(unusable)?.len();
        let keys: HashSet<&str> = files.iter().map(|file| &*file.key).collect();
        let (mut lines, mut line, mut whole, mut is_one) = (BufReader::new(&file), Vec::new(), 0, size == 0);
        while lines.by_ref().take(MAX_MANIFEST_LINE).read_until(b'\n', &mut line).map_err(unusable)? > 0 {
            let entry: Value = serde_json::from_slice(&line).unwrap_or_default();
            let (key, file_id) = (entry["key"].as_str(), entry["file_id"].as_str());
            is_one |= key.is_some() && file_id.is_some();
            if !line.ends_with(b"\n") {
                let begins_like_one = line.iter().zip(b"{\"key\":\"").all(|(a, b)| a == b);
                is_one |= whole == 0 && entry.is_null() && begins_like_one;
                is_one &= whole + line.len() as u64 == size;
                break; // torn
            }
            whole += line.len() as u64;
            line.clear();
            if let (Some(key), Some(file_id)) = (key, file_id)
                && let (Some(size), Some(mtime)) = (entry["size"].as_u64(), entry["mtime"].as_i64())
                && (entry["env"] == env && keys.contains(key))
            {
                known.insert(key.to_owned(), (size, mtime, file_id.to_owned()));
            }
        }
        if !is_one {
            return no_manifest();
        }
        if writable && whole < size {
            file.set_len(whole).map_err(unusable)?;
        }
        Ok(Manifest { path: Some(path.clone()), known })
    }

    /// The `file_id` of a file that has not changed since it was uploaded.
    fn unchanged(&self, file: &LocalFile) -> Option<&str> {
        let (size, mtime, file_id) = self.known.get(&file.key)?;
        let metadata = fs::metadata(&file.path).ok()?;
        (metadata.len() == *size && modified(&metadata) == *mtime).then_some(file_id)
    }

    /// Appends what was uploaded. `metadata` is that of the moment when the file was opened.
    fn record(&self, env: &str, key: &str, metadata: &Metadata, crc64: u64, file_id: &str) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let (size, mtime, crc64) = (metadata.len(), modified(metadata), crc64.to_string());
        let entry = json!({ "key": key, "env": env, "size": size, "mtime": mtime, "crc64": crc64, "file_id": file_id });
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let _ = file.lock(); // till it is closed: other threads, and other runs, write, too
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(-1)).is_ok() {
            file.read_exact(&mut last)?;
        }
        let after_torn = if last == *b"\n" { "" } else { "\n" };
        file.write_all(format!("{after_torn}{entry}\n").as_bytes())
    }
}

/// When a file was modified, in nanoseconds since 1970.
fn modified(metadata: &Metadata) -> i64 {
    let nanoseconds = |time: Duration| time.as_nanos() as i64;
    let since_1970 = metadata.modified().unwrap_or(UNIX_EPOCH).duration_since(UNIX_EPOCH);
    since_1970.map_or_else(|before| -nanoseconds(before.duration()), nanoseconds)
}

// ---- Which files -----------------------------------------------------------------------------------------------

/// The files to upload, in the order given, and notes on what is skipped. What a person typed is checked here.
fn list_files(options: &Options, config: &Value, prefix: &str) -> Result<(Vec<LocalFile>, Vec<String>), String> {
    let config_path = options.config.canonicalize().unwrap_or_default();
    let manifest = options.manifest.as_ref().and_then(|path| path.canonicalize().ok());
    let beside = [config_path.with_added_extension("new"), config_path.with_added_extension("lock")];
    let own = beside.into_iter().chain([config_path]).chain(manifest).collect();
    let mut listing = Listing { recursive: options.recursive, prefix, own, files: Vec::new(), notes: Vec::new() };
    let default = [PathBuf::from(text_in(config, "upload_dir").unwrap_or(DEFAULT_DIR))];
    let hint = format!(": name files to upload, or set `upload_dir` in {}", options.config.display());
    let (paths, hint) = if options.paths.is_empty() { (&default[..], &*hint) } else { (&*options.paths, "") };
    for path in paths {
        let added = listing.add(path.clone(), "", &mut Vec::new());
        added.map_err(|error| format!("{}: {error}{hint}", path.display()))?;
    }
    let mut taken: HashMap<&str, &Path> = HashMap::new();
    for LocalFile { path, key, .. } in listing.files.iter().filter(|file| file.problem.is_none()) {
        if let Some(other) = taken.insert(key, path) {
            let (one, other) = (other.display(), path.display());
            return Err(format!("{one} and {other} would both become {key} in the cloud: nothing is sent"));
        }
    }
    Ok((listing.files, listing.notes))
}

struct Listing<'a> {
    recursive: bool,
    prefix: &'a str,
    own: Vec<PathBuf>, // the program's own files, which are never uploaded: the config holds secrets
    files: Vec<LocalFile>,
    notes: Vec<String>,
}

impl Listing<'_> {
    /// Adds a file, or the files in a directory, sorted by name. `below` is put before their names. `above` are the
    /// real paths of the directories that led here: a link back to one of them would lead round and round.
    ///
    /// As in the script, a link is followed, and the name of a file is that of what it really is.
    fn add(&mut self, path: PathBuf, below: &str, above: &mut Vec<PathBuf>) -> io::Result<()> {
        let real = path.canonicalize()?;
        let metadata = fs::metadata(&real)?;
        let own_name = if metadata.is_dir() { &path } else { &real }.file_name().unwrap_or_default();
        let name = format!("{below}{}", own_name.to_string_lossy());
        let key = format!("{}{name}", self.prefix);
        let problem = match own_name.to_str() {
            None => Some("its name is not UTF-8: rename it"),
            Some(_) if metadata.is_file() && metadata.len() > MAX_FILE_BYTES => Some(TOO_LARGE),
            Some(_) => broken_rule(&key),
        };
        let (is_dir, is_file, is_typed) = (metadata.is_dir(), metadata.is_file(), above.is_empty());
        let reasons = [
            (is_dir && !is_typed && !self.recursive, "a directory (-r takes what is in it)"),
            (is_dir && above.contains(&real), "a link to a directory above it"),
            (self.own.contains(&real), "a file of wx-upload's own"),
            (!is_dir && !is_file, "no regular file"),
        ];
        if let Some((_, why)) = reasons.iter().find(|(skipped, _)| *skipped) {
            self.notes.push(format!("{}: skipped: {why}", path.display()));
        } else if is_dir && (is_typed || own_name.to_str().is_some()) {
            let below = if is_typed { String::new() } else { name + "/" };
            let mut entries = fs::read_dir(&path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
            entries.sort();
            above.push(real);
            for entry in entries {
                if let Err(error) = self.add(entry.clone(), &below, above) {
                    let name = below.clone() + &entry.file_name().unwrap_or_default().to_string_lossy();
                    let (key, problem) = (format!("{}{name}", self.prefix), Some(error.to_string()));
                    self.files.push(LocalFile { path: entry, name, key, size: 0, problem });
                }
            }
            above.pop();
        } else {
            let problem = problem.map(str::to_owned);
            self.files.push(LocalFile { path, name, key, size: metadata.len(), problem });
        }
        Ok(())
    }
}

// ---- Output ----------------------------------------------------------------------------------------------------

/// Prints and counts how a file ended.
fn finish(run: &Run, file: &LocalFile, outcome: Outcome, tally: &mut Tally) {
    let path = file.path.display();
    let printed = match result_line(run.options.format, file, &outcome) {
        None => Ok(()),
        Some(line) if io::stdout().is_terminal() => run.progress.suspend(|| print(&line)),
        Some(line) => print(&line), // may take its time, in which progress, and so the workers, must not stand still
    };
    match outcome {
        Ok((Stored { file_id, size, unchanged }, _)) => {
            tally.unchanged += usize::from(unchanged);
            tally.uploaded += usize::from(!unchanged);
            tally.bytes += if unchanged { 0 } else { size };
            if printed.is_err() {
                run.complain(&format!("error: {path}: is uploaded, as {file_id}, but could not be printed"));
            }
        }
        Err((failure, file_id)) => {
            tally.failed += 1;
            let uploaded = file_id.map(|file_id| format!("; the file is uploaded, as {file_id}")).unwrap_or_default();
            run.complain(&format!("error: {path}: {}{uploaded}", failure.message));
        }
    }
    if let Err(why) = printed {
        let _ = run.stopped.set(why);
    }
}

/// A file's line on standard output. One that failed has a line in JSON alone.
fn result_line(format: &str, file: &LocalFile, outcome: &Outcome) -> Option<String> {
    Some(match (format, outcome) {
        ("text", Ok((stored, url))) => columns(&[&file.name, url, &stored.file_id]),
        ("url", Ok((_, url))) => escape(url),
        ("markdown", Ok((_, url))) => escape(&markdown(&file.name, url)),
        ("json", Ok((stored, url))) => {
            json_line(file, json!({ "size": stored.size, "file_id": stored.file_id, "url": url }))
        }
        ("json", Err((failure, file_id))) => json_line(file, json!({ "error": failure.message, "file_id": file_id })),
        _ => return None,
    })
}

fn columns(columns: &[&str]) -> String {
    columns.iter().map(|column| escape(column)).collect::<Vec<_>>().join("\t")
}

fn json_line(file: &LocalFile, rest: Value) -> String {
    let mut line = json!({ "name": file.name, "path": file.path.to_string_lossy(), "key": file.key });
    if let (Value::Object(line), Value::Object(rest)) = (&mut line, rest) {
        line.extend(rest.into_iter().filter(|(_, value)| !value.is_null()));
    }
    escape(&line.to_string())
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
            finish(run, file, Err((failure(UPLOAD_FAILED, Cure::Nothing, problem), None)), &mut tally);
        } else if run.manifest.unchanged(file).is_none() {
            (listed, bytes) = (listed + 1, bytes + file.size);
            let printed = print(&match run.options.format {
                "json" => json_line(file, json!({ "size": file.size })),
                _ => columns(&[&file.name, &file.key]),
            });
            if let Err(why) = printed {
                complain(&format!("error: {why}"));
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
    let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    if options.quiet || options.dry_run || dumb || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    // A message is cut to the width of the terminal. Lines that wrap would take result lines with them.
    let style = ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(files.iter().map(|file| file.size).fold(0, u64::saturating_add)).with_style(style).with_prefix("0")
}

/// Prints a line on standard output, at once.
fn print(line: &str) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    let printed = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    printed.map_err(|error| format!("standard output cannot be written: {error}"))
}

/// Prints a line on standard error. There is nobody to tell when that fails.
fn complain(line: &str) {
    let _ = io::stderr().write_all((escape(line) + "\n").as_bytes());
}

/// The one place that makes text safe for a terminal: control characters, and those that turn the direction of writing,
/// are spelled `\u001b`, which JSON understands, too.
fn escape(text: &str) -> String {
    let is_unsafe = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.contains(is_unsafe) {
        return text.to_owned();
    }
    let show = |c| if is_unsafe(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    text.chars().map(show).collect()
}

fn human_bytes(bytes: u64) -> String {
    let unit = [(30, "GiB"), (20, "MiB"), (10, "KiB")].into_iter().find(|(shift, _)| bytes >> shift > 0);
    unit.map_or(format!("{bytes} B"), |(shift, unit)| format!("{:.1} {unit}", bytes as f64 / f64::from(1 << shift)))
}

// ---- Network ---------------------------------------------------------------------------------------------------

/// The one agent of all threads, with the connections that they keep alive.
fn http_agent(options: &Options, settings: &Settings) -> Result<Agent, String> {
    let threads = options.jobs + 1; // the workers, and the main thread
    let timeout = Duration::from_secs(options.timeout.into());
    let config = Agent::config_builder()
        .user_agent(concat!("wx-upload/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .https_only(settings.https_only)
        .max_redirects(0)
        .proxy(proxy_from_env(settings)?)
        .tls_config(TlsConfig::builder().root_certs(root_certs()?).build())
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(timeout * REPLY_TIMEOUTS))
        .timeout_recv_body(Some(timeout * REPLY_TIMEOUTS))
        .timeout_per_read(Some(timeout))
        .timeout_per_write(Some(timeout))
        .input_buffer_size(INPUT_BUFFER)
        .output_buffer_size(OUTPUT_BUFFER)
        .max_idle_connections_per_host(threads)
        .max_idle_connections(2 * threads) // the API's host and COS's
        .build();
    let connector = ().chain(ConnectProxyConnector::default()).chain(TcpConnector).chain(RustlsConnector::default());
    Ok(Agent::with_parts(config, connector, TcpConnector))
}

/// The proxy that the environment names, with the precedence that curl has for https. (ureq's own puts ALL_PROXY first,
/// which often is a SOCKS proxy beside an HTTPS_PROXY, and takes HTTP_PROXY for everything.)
fn proxy_from_env(settings: &Settings) -> Result<Option<Proxy>, String> {
    let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let Some((name, url)) = names.iter().find_map(|name| Some((name, variable(name)?))) else { return Ok(None) };
    let unusable = || format!("{name}: must be like http://HOST:PORT: other kinds of proxies are not supported");
    let is_http = |proxy: &Proxy| matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https);
    let proxy = Proxy::new(&url).ok().filter(is_http).ok_or_else(unusable)?;
    // A copy, to which exceptions can be added.
    let mut copy = Proxy::builder(proxy.protocol()).host(proxy.host()).port(proxy.port());
    copy = proxy.username().into_iter().fold(copy, |copy, username| copy.username(username));
    copy = proxy.password().into_iter().fold(copy, |copy, password| copy.password(password));
    let mut except = variable("NO_PROXY").or_else(|| variable("no_proxy")).unwrap_or_default();
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
    let Some(path) = env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) else {
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

/// Connects as ureq's own does, but keeps the system's send queue short. That can hold megabytes, which a slow network
/// takes minutes for: all the while `--timeout` would see no byte move, and progress would be ahead of the truth.
///
/// And it looks hosts up itself, for new connections alone. ureq asks its resolver for every request, and a look-up can
/// take as long as a round trip. (A SOCKS4 proxy would need an address there: `proxy_from_env` lets none through.)
#[derive(Debug)]
struct TcpConnector;

impl Resolver for TcpConnector {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}

impl<In: Transport> Connector<In> for TcpConnector {
    type Out = Either<In, Tcp>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        if let Some(tunnel) = chained {
            return Ok(Some(Either::A(tunnel)));
        }
        let addresses = DefaultResolver::default().resolve(details.uri, details.config, details.timeout)?;
        let share = CONNECT_TIMEOUT / addresses.len() as u32;
        let mut stream = Err(io::ErrorKind::NotFound.into());
        for address in addresses.iter() {
            stream = stream.or_else(|_| TcpStream::connect_timeout(address, share)); // where the one before failed
        }
        let stream = stream.map_err(|error| or_timeout(error, Timeout::Connect))?;
        let _ = stream.set_nodelay(true);
        stream.set_write_timeout(details.config.timeout_per_write())?; // writes have no other limit
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(OUTPUT_BUFFER as u32);
        let buffers = LazyBuffers::new(INPUT_BUFFER, OUTPUT_BUFFER);
        Ok(Some(Either::B(Tcp { stream, received: 0, broken: false, buffers })))
    }
}

#[derive(Debug)]
struct Tcp {
    stream: TcpStream,
    received: usize, // since something was sent
    broken: bool,    // the peer takes nothing more
    buffers: LazyBuffers,
}

impl Transport for Tcp {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        self.received = 0;
        match self.stream.write_all(&self.buffers.output()[..amount]) {
            // Who refuses an upload may say so and close, without reading the rest: what it said is still to be read.
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                self.broken = true;
                Ok(())
            }
            sent => sent.map_err(|error| or_timeout(error, Timeout::PerWrite)),
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let timeout = timeout.for_read();
        self.stream.set_read_timeout(timeout.not_zero().as_deref().copied())?;
        let read = loop {
            match self.stream.read(self.buffers.input_append_buf()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {} // Linux, after Ctrl-Z and fg
                read => break read,
            }
        };
        let amount = read.map_err(|error| or_timeout(error, timeout.reason))?;
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
        self.stream.set_nonblocking(true).is_ok()
            && self.stream.read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
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

/// What the environment says; an empty text is none.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|text| !text.is_empty())
}

fn unix_seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as i64)
}

/// Renames `new` to `old`. Windows forbids it while another program reads the old one.
fn replace(new: &Path, old: &Path) -> io::Result<()> {
    for _ in 0..20 {
        match fs::rename(new, old) {
            Err(error) if cfg!(windows) && error.kind() == io::ErrorKind::PermissionDenied => {
                thread::sleep(Duration::from_millis(50));
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
