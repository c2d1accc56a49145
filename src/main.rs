//! wx-upload puts files into WeChat CloudRun (微信云托管) object storage and prints their links.
//!
//! Every file goes the way of the script that this program replaces:
//!
//! 1. `get_access_token`: `GET /cgi-bin/token`, once for all files; kept in `config.json`
//! 2. `get_upload_file_info`: `POST /tcb/uploadfile` says where to upload, and signs it
//! 3. `upload_file`: `POST` to COS as a form, the file streamed from disk
//! 4. `get_download_link`: `POST /tcb/batchdownloadfile`, for up to 50 files in one call
//!
//! `upload_all` has worker threads do 2 and 3 for many files at once (`wx_upload_file`), asks for
//! the links itself, and prints in the order of the input. Where a step fails, 2 and 3 are tried
//! again together; 1 and 4 are many files' affair, and try again themselves.
//!
//! This file is the script. What the script had no need of stands in the files beside it.

#![forbid(unsafe_code)]

mod access_token;
mod api;
mod cloud_name;
mod cos;
mod disk;
mod failure;
mod file_body;
mod listing;
mod manifest;
mod network;
mod options;
mod output;
mod own_files;
mod pace;
mod pipeline;
mod retry;
mod tcp;
mod trouble;
mod url;

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::Agent;

use access_token::{AccessToken, SharedToken, unix_seconds};
use api::{Call, call_api, text_field};
use cloud_name::is_file_id;
use cos::{content_type, post_object};
use disk::FileState;
use failure::{Cure, Failure, Kind, Stage, quote};
use file_body::FileBody;
use listing::{Listing, LocalFile, list_files};
use manifest::Manifest;
use network::http_agent;
use options::{Auth, Command, Format, Options, Settings, parse_options, text_in};
use output::{Console, complain, failed_line, human_bytes, linked_line, listed_line, print};
use own_files::OwnFiles;
use pipeline::{Outcome, Stored};
use retry::Course;

const EXAMPLE_CONFIG: &str = include_str!("../config.example.json");

fn main() -> ExitCode {
    try_main().unwrap_or_else(|message| {
        complain(&format!("error: {message}"));
        ExitCode::from(2)
    })
}

/// Everything up to the run itself. What is wrong until then is an `Err`: a sentence, exit status
/// 2, and nothing was attempted.
fn try_main() -> Result<ExitCode, String> {
    let options = match parse_options()? {
        Command::Show(text) => return Ok(show(text)),
        Command::Init(options) => return init_config(&options),
        Command::Upload(options) => options,
    };
    let config = load_config(&options.config)?;
    let token = AccessToken::saved_in(&config);
    let settings = Settings::new(options, &config, token.is_none())?;
    let own = OwnFiles::of(&settings);
    let listing = list_files(&settings, &own)?;
    let agent = http_agent(&settings)?;
    let console = Console::new(&settings, &listing.files);
    let manifest = Manifest::open(&settings, &listing.files, &console)?;
    say_beforehand(&settings, &config, &console, &listing);
    if settings.dry_run {
        return Ok(dry_run(&settings, &listing, &manifest, &console));
    }
    let run = Run {
        agent,
        course: Course::new(settings.retries, &console),
        console: &console,
        own: &own,
        token: SharedToken::new(token),
        settings,
        manifest,
    };
    Ok(upload_all(&run, &listing))
}

/// What all steps and threads share.
struct Run<'a> {
    settings: Settings,
    agent: Agent,
    console: &'a Console,
    own: &'a OwnFiles,
    course: Course<'a>,
    manifest: Manifest<'a>,
    token: SharedToken,
}

impl Run<'_> {
    /// Makes one call of the API, as soon as the pace of the run allows it.
    fn call(&self, call: Call) -> Result<Value, Failure> {
        let send = || call_api(&self.agent, &self.settings, &call);
        self.course.paced(call.stage, send)
    }
}

/// Answers `--help` and `--version`.
fn show(text: &str) -> ExitCode {
    match print(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            complain(&format!("error: {why}"));
            ExitCode::FAILURE
        }
    }
}

/// Says what a user should know before anything is sent.
fn say_beforehand(settings: &Settings, config: &Value, console: &Console, listing: &Listing) {
    if text_in(config, "secret").is_some() && disk::is_public(&settings.config) {
        let path = settings.config.display();
        console.note(&format!(
            "note: {path}: everybody on this machine can read its `secret`{}",
            mend_by_chmod(&path.to_string())
        ));
    }
    for note in &listing.notes {
        console.note(&format!("note: {note}"));
    }
    if listing.files.is_empty() {
        console.note("note: there are no files to upload");
    }
}

/// The command that keeps the config private, with a colon before it: for who pastes it, and so only
/// where the path holds nothing that a shell understands.
fn mend_by_chmod(path: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || " /._-".contains(c);
    if path.starts_with('-') || !path.chars().all(is_plain) {
        return String::new();
    }
    format!(": chmod o-r '{path}'")
}

// ---- The config -------------------------------------------------------------------------------

/// Reads the config: the script's keys and the optional ones beside them, in their own order. What
/// is wrong with it is said in a sentence that names the file, the key or line, and what to do.
fn load_config(path: &Path) -> Result<Value, String> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let read = disk::open_regular(path).and_then(|mut file| file.read_to_end(&mut bytes));
    read.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            format!("{shown}: no such file: `wx-upload --init` writes a config to fill in")
        }
        _ => format!("{shown}: cannot be read: {error}"),
    })?;
    // Windows Notepad's byte-order mark
    let json = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let config: Value = serde_json::from_slice(json).map_err(|error| {
        format!("{shown}: is not valid JSON: {error} (no // comments; save it as UTF-8)")
    })?;
    if !config.is_object() {
        let example = "{ \"appid\": \"wx…\", … }";
        return Err(format!(
            "{shown}: is not a JSON object: it must look like {example}"
        ));
    }
    for key in [
        "appid",
        "secret",
        "env",
        "upload_dir",
        "upload_path",
        "auth",
        "api_base",
    ] {
        if !config[key].is_null() && !config[key].is_string() {
            return Err(format!("{shown}: `{key}` must be text in quotes"));
        }
    }
    Ok(config)
}

/// Replaces the config file whole, with four spaces of indentation, as the script wrote it. Returns
/// whether it did: not where the file has changed since it was `seen`.
fn save_config(config: &Value, seen: &FileState) -> io::Result<bool> {
    let mut json = String::new();
    // serde_json indents by two, and its strings hold no raw newline.
    for line in format!("{config:#}").lines() {
        let indent = line.len() - line.trim_start().len();
        json += &format!("{:indent$}{line}\n", "");
    }
    disk::replace_file(seen, json.as_bytes())
}

/// Writes the config to fill in, for `--init`.
fn init_config(options: &Options) -> Result<ExitCode, String> {
    let shown = options.config.display();
    let mut file = disk::create_private(&options.config).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => format!("{shown} already exists: nothing was changed"),
        _ => format!("{shown}: cannot be written: {error}"),
    })?;
    if let Err(error) = file.write_all(EXAMPLE_CONFIG.as_bytes()) {
        let _ = fs::remove_file(&options.config); // half a config would be in the way
        return Err(format!("{shown}: cannot be written: {error}"));
    }
    if !options.quiet {
        complain(&format!(
            "{shown} was written: fill in `appid`, `secret` and `env`"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

// ---- Step 1: the access token -----------------------------------------------------------------

/// Step 1: the access token, from the config if it is still good there, else a new one, which is
/// saved at once. `refused` is a token that the API did not take: however many threads come with
/// it, one new token is fetched. With `auth` `none` the token is empty.
/// <https://developers.weixin.qq.com/miniprogram/dev/api-backend/open-api/access-token/auth.getAccessToken.html>
fn get_access_token(run: &Run, refused: Option<&str>) -> Result<String, Failure> {
    match run.settings.auth {
        Auth::None => Ok(String::new()),
        Auth::Token | Auth::StableToken => {
            run.token.get_or(refused, || new_access_token(run, refused))
        }
    }
}

/// The token that another run has saved meanwhile, or else a new one. Where none is to be had, the
/// run is stopped.
fn new_access_token(run: &Run, refused: Option<&str>) -> Result<AccessToken, Failure> {
    let path = &run.settings.config;
    // Runs side by side share one token; where no lock can be had, each fetches its own.
    let waiting = "note: waiting for another run, which is fetching a token";
    let _lock = disk::lock(path, || run.console.note(waiting));
    if let Ok(config) = load_config(path)
        && let Some(saved) = AccessToken::saved_in(&config)
        && saved.is_usable(refused)
    {
        return Ok(saved);
    }
    let before = FileState::of(path);
    match run.course.with_retries(Stage::Token, || fetch_token(run)) {
        Ok(fetched) => {
            let token = AccessToken::new(&fetched.text, fetched.expires_in, refused.is_some());
            if let Err(why) = save_token(path, before, &fetched) {
                let path = path.display();
                run.console.warn(&format!(
                    "{path}: the new token could not be saved, so the next run asks for another: {why}"
                ));
            }
            Ok(token)
        }
        Err(failure) => Err(run.course.stop_for(failure)),
    }
}

/// So often the config may be edited, or saved by another run, just when a token is to be saved.
const SAVE_TRIES: usize = 100;

/// Saves a new token in the config, which is read again, for it may have been edited since: the
/// three keys of the token are changed and nothing else. `before` the token was fetched it was this
/// file. The error is a sentence.
fn save_token(path: &Path, before: io::Result<FileState>, token: &NewToken) -> Result<(), String> {
    let before = before.map_err(|error| error.to_string())?;
    for _ in 0..SAVE_TRIES {
        let seen = FileState::of(path).map_err(|error| error.to_string())?;
        if !seen.has_owner_of(&before) {
            return Err("it belongs to somebody else now, or is elsewhere".into());
        }
        let mut config = load_config(path)?;
        config["create_time"] = unix_seconds().into();
        config["expires_in"] = token.expires_in.into();
        config["access_token"] = token.text.as_str().into();
        if save_config(&config, &seen).map_err(|error| error.to_string())? {
            return Ok(());
        }
    }
    Err("it is edited all the time".into())
}

/// What the API gives for `appid` and `secret`.
struct NewToken {
    text: String,
    /// Seconds.
    expires_in: i64,
}

/// Asks for a new token.
fn fetch_token(run: &Run) -> Result<NewToken, Failure> {
    let stage = Stage::Token;
    let account = match run.settings.account() {
        Ok(account) => account,
        Err(why) => return Err(Failure::new(stage, Kind::Local, Cure::Nothing, why)),
    };
    let reply = if run.settings.auth == Auth::StableToken {
        let body = json!({
            "grant_type": "client_credential",
            "appid": account.appid,
            "secret": account.secret,
            "force_refresh": false,
        });
        run.call(Call::post(stage, "/cgi-bin/stable_token", &[], &body))?
    } else {
        let query = [
            ("grant_type", "client_credential"),
            ("appid", account.appid),
            ("secret", account.secret),
        ];
        run.call(Call::get(stage, "/cgi-bin/token", &query))?
    };
    let text = text_field(stage, &reply, "access_token")?;
    match reply["expires_in"].as_i64() {
        Some(expires_in @ 1..) => Ok(NewToken { text, expires_in }),
        _ => {
            let why = "the reply has no usable `expires_in`";
            Err(Failure::odd_reply(stage, Cure::Nothing, why))
        }
    }
}

// ---- What steps 2 and 4 have in common --------------------------------------------------------

/// The call's own, one that another run saved, a new one.
const TOKENS_PER_CALL: usize = 3;

/// POSTs `body` to `path` of the API with the access token, and again with a new one where that is
/// refused. A new token that is refused before it ever worked stops the run.
fn post_json(run: &Run, stage: Stage, path: &str, body: &Value) -> Result<Value, Failure> {
    let mut refused: Option<String> = None;
    let mut tokens = 0;
    loop {
        let token = get_access_token(run, refused.as_deref())?;
        tokens += 1;
        let mut query = Vec::new();
        if run.settings.auth != Auth::None {
            query.push(("access_token", token.as_str()));
        }
        match run.call(Call::post(stage, path, &query, body)) {
            Ok(reply) => {
                run.token.worked(&token);
                return Ok(reply);
            }
            Err(failure) if failure.cure == Cure::NewToken => {
                let was_new = run.token.refuse(&token);
                if was_new || tokens == TOKENS_PER_CALL {
                    return Err(run.course.stop_for(failure));
                }
                refused = Some(token);
            }
            Err(failure) => return Err(failure),
        }
    }
}

// ---- Step 2: where to upload ------------------------------------------------------------------

/// Where a file is to be uploaded to, and what proves that it may be.
struct UploadFileInfo {
    url: String,
    /// COS's security token, not the access token.
    token: String,
    authorization: String,
    file_id: String,
    cos_file_id: String,
}

/// Step 2: asks where to upload the file with the cloud name `path`. The answer is good for 15
/// minutes.
/// <https://developers.weixin.qq.com/miniprogram/dev/wxcloudrun/src/development/storage/service/upload.html>
fn get_upload_file_info(run: &Run, path: &str) -> Result<UploadFileInfo, Failure> {
    let body = json!({ "env": run.settings.env, "path": path });
    let reply = post_json(run, Stage::Info, "/tcb/uploadfile", &body)?;
    let text = |name| text_field(Stage::Info, &reply, name);
    let info = UploadFileInfo {
        url: text("url")?,
        token: text("token")?,
        authorization: text("authorization")?,
        file_id: text("file_id")?,
        cos_file_id: text("cos_file_id")?,
    };
    if !is_file_id(&info.file_id) {
        let why = "the reply has no usable `file_id`";
        return Err(Failure::odd_reply(Stage::Info, Cure::Nothing, why));
    }
    Ok(info)
}

// ---- Step 3: the upload -----------------------------------------------------------------------

/// Step 3: uploads `file` under the cloud name `request_path`, as the form that COS's "POST Object"
/// takes.
/// <https://developers.weixin.qq.com/miniprogram/dev/wxcloudrun/src/development/storage/service/upload.html>
fn upload_file(
    run: &Run,
    info: &UploadFileInfo,
    request_path: &str,
    file: &mut FileBody,
) -> Result<(), Failure> {
    let content_type = content_type(request_path, file);
    let mut form = vec![
        ("key", request_path),
        ("Signature", &info.authorization),
        ("x-cos-security-token", &info.token),
        ("x-cos-meta-fileid", &info.cos_file_id),
    ];
    if let Some(content_type) = &content_type {
        form.push(("Content-Type", content_type));
    }
    let stored = post_object(&run.agent, &info.url, &form, file)?;
    match stored.crc64 {
        Some(crc64) if crc64 != file.crc64().to_string() => {
            let why = "what COS stored differs from what was sent (CRC-64)";
            let cure = Cure::Wait(Duration::ZERO);
            Err(Failure::odd_reply(Stage::Upload, cure, why))
        }
        _ => Ok(()),
    }
}

// ---- Step 4: the links ------------------------------------------------------------------------

/// Step 4: asks for the links of up to 50 files at once. Returns a result for each of `file_ids`,
/// in their order.
/// <https://developers.weixin.qq.com/miniprogram/dev/wxcloudrun/src/development/storage/service/download.html>
fn get_download_link(run: &Run, file_ids: &[&str]) -> Vec<Result<String, Failure>> {
    let mut file_list = Vec::new();
    for file_id in file_ids {
        file_list.push(match run.settings.max_age {
            Some(max_age) => json!({ "fileid": file_id, "max_age": max_age }),
            None => json!({ "fileid": file_id }),
        });
    }
    let body = json!({ "env": run.settings.env, "file_list": file_list });
    let attempt = || post_json(run, Stage::Link, "/tcb/batchdownloadfile", &body);
    let reply = match run.course.with_retries(Stage::Link, attempt) {
        Ok(reply) => reply,
        Err(mut failure) => {
            // That many files have failed: where nothing has succeeded yet, it stops the run.
            for _ in file_ids {
                failure = run.course.count_failure(failure);
            }
            return vec![Err(failure); file_ids.len()];
        }
    };
    let mut links = Vec::new();
    for file_id in file_ids {
        links.push(link_in(run, &reply, file_id));
    }
    if links.iter().any(Result::is_ok) {
        run.course.count_success();
    }
    links
}

/// Many links may wait for the file that is printed before them.
const MAX_LINK_BYTES: usize = 8 << 10;

/// The link of one file in the reply.
fn link_in(run: &Run, reply: &Value, file_id: &str) -> Result<String, Failure> {
    let odd = |why: &str| Err(Failure::odd_reply(Stage::Link, Cure::Nothing, why));
    let entries = reply["file_list"].as_array().map_or(&[][..], Vec::as_slice);
    let Some(entry) = entries.iter().find(|entry| entry["fileid"] == *file_id) else {
        return odd("the reply has no link for it");
    };
    let Some(status) = entry.get("status").map_or(Some(0), Value::as_i64) else {
        return odd("the reply's `status` is not a whole number");
    };
    match status {
        0 => {
            let url = url::encoded(&text_field(Stage::Link, entry, "download_url")?);
            if url.len() > MAX_LINK_BYTES {
                return odd("its link is longer than 8 KiB");
            }
            Ok(url)
        }
        1 => {
            let why = "COS took the file, but the API does not find it (STORAGE_FILE_NONEXIST): \
                       run again";
            Err(Failure::odd_reply(Stage::Link, Cure::UploadAgain, why))
        }
        _ => {
            let token = run.token.text();
            let secrets = [&token, run.settings.secret().unwrap_or_default()];
            let told = quote(text_in(entry, "errmsg").unwrap_or_default(), &secrets);
            odd(&format!("status {status}: {told}"))
        }
    }
}

// ---- One file ---------------------------------------------------------------------------------

/// Uploads one file, with as many tries as there are. Its link is asked for together with others'.
/// What the manifest knows is not sent, unless `again`.
fn wx_upload_file(run: &Run, file: &LocalFile, again: bool) -> Result<Stored, Failure> {
    if let Some(problem) = &file.problem {
        return Err(Failure::new(
            Stage::Upload,
            Kind::Local,
            Cure::Nothing,
            problem,
        ));
    }
    if !again && let Some(file_id) = run.manifest.unchanged(file) {
        return Ok(Stored {
            file_id: file_id.to_owned(),
            size: file.size,
            unchanged: true,
        });
    }
    run.course
        .with_retries(Stage::Upload, || upload_once(run, file))
}

/// Signatures live 15 minutes.
const SIGNATURE_USE: Duration = Duration::from_secs(10 * 60);

/// One try: steps 1 to 3. (Step 1 is a part of 2: see `post_json`.)
fn upload_once(run: &Run, file: &LocalFile) -> Result<Stored, Failure> {
    let mut body = FileBody::open(&file.path, run.own, run.console)?;
    let info = get_upload_file_info(run, &file.key)?;
    let signed = Instant::now();
    loop {
        let upload = || upload_file(run, &info, &file.key, &mut body);
        match run.course.paced(Stage::Upload, upload) {
            Ok(()) => break,
            Err(failure) => {
                body.start_again()?;
                // Asked to come later, the file needs no other signature, for as long as that lives.
                let is_good = signed.elapsed() < SIGNATURE_USE;
                if !is_good || !matches!(failure.cure, Cure::SlowDown(_)) {
                    return Err(failure);
                }
            }
        }
    }
    let recorded = run.manifest.record(&file.key, &body, &info.file_id);
    if let Err(error) = recorded {
        run.console.warn(&format!(
            "the manifest cannot be written: {error}: the next run uploads again"
        ));
    }
    Ok(Stored {
        file_id: info.file_id,
        size: body.size(),
        unchanged: false,
    })
}

// ---- All files --------------------------------------------------------------------------------

/// How many files ended how.
#[derive(Default)]
struct Tally {
    uploaded: usize,
    bytes: u64,
    failed: usize,
    unchanged: usize,
}

impl Tally {
    fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Linked { stored, .. } if stored.unchanged => self.unchanged += 1,
            Outcome::Linked { stored, .. } => {
                self.uploaded += 1;
                self.bytes += stored.size;
            }
            Outcome::Linkless { .. } | Outcome::Failed { .. } => self.failed += 1,
        }
    }

    fn total(&self) -> usize {
        self.uploaded + self.failed + self.unchanged
    }
}

/// Uploads all files, prints their results and the summary.
fn upload_all(run: &Run, listing: &Listing) -> ExitCode {
    let started = Instant::now();
    let files = &listing.files;
    let mut tally = Tally::default();
    let mut told_of_links = String::new();
    let upload = |file: &LocalFile, again| upload_and_count(run, file, again);
    let get_links = |file_ids: &[&str]| get_download_link(run, file_ids);
    let report = |file: &LocalFile, outcome: Outcome| {
        report_file(run, file, &outcome, &mut told_of_links);
        tally.count(&outcome);
        run.console.files_done(tally.total());
    };
    let jobs = run.settings.jobs;
    run.console
        .while_shown(|| pipeline::run(files, jobs, &run.course, upload, get_links, report));
    let stopped = run.course.stopped();
    if let Some(why) = stopped {
        complain(&format!("error: {why}; the run was stopped"));
    }
    run.console.note(&format!(
        "{} uploaded ({}), {} failed, {} skipped, {} not attempted in {:.1} s",
        tally.uploaded,
        human_bytes(tally.bytes),
        tally.failed,
        listing.notes.len() + tally.unchanged,
        files.len() - tally.total(),
        started.elapsed().as_secs_f64(),
    ));
    exit_status(tally.failed == 0 && stopped.is_none())
}

fn exit_status(all_well: bool) -> ExitCode {
    if all_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Uploads one file, and counts what becomes of it: for the progress, and for whether the run goes
/// on.
fn upload_and_count(run: &Run, file: &LocalFile, again: bool) -> Result<Stored, Failure> {
    if again {
        run.console.put_back(file.size);
    }
    match wx_upload_file(run, file, again) {
        Ok(stored) => {
            if stored.unchanged {
                run.console.leave_out(file.size);
            } else {
                run.course.count_success();
            }
            Ok(stored)
        }
        Err(failure) => {
            run.console.leave_out(file.size);
            Err(run.course.count_failure(failure))
        }
    }
}

/// Tells how a file ended: its result line, and what went wrong. Where standard output takes no
/// more, the run is stopped. `told_of_links` is why links could not be had, as it was told last.
fn report_file(run: &Run, file: &LocalFile, outcome: &Outcome, told_of_links: &mut String) {
    let mut trouble = match outcome {
        Outcome::Linked { .. } => None,
        Outcome::Linkless { file_id, why } => Some(without_link(file_id, why, told_of_links)),
        Outcome::Failed { why } => Some(why.message.clone()),
    };
    if let Some(line) = result_line(run.settings.format, file, outcome)
        && let Err(why) = run.console.print(&line)
    {
        run.course.stop(why);
        if let Outcome::Linked { stored, .. } = outcome {
            let file_id = &stored.file_id;
            let why = format!("uploaded as {file_id}, but its line could not be printed");
            trouble = Some(why);
        }
    }
    if let Some(trouble) = trouble {
        let path = file.path.display();
        run.console.complain(&format!("error: {path}: {trouble}"));
    }
}

/// What is said of a file that is uploaded, but whose link could not be had. What is the same as for
/// the file before, which is `told`, is not said again.
fn without_link(file_id: &str, why: &Failure, told: &mut String) -> String {
    let what = if *told == why.message {
        format!("{}: as above", Stage::Link)
    } else {
        why.message.clone()
    };
    why.message.clone_into(told);
    let named = match why.cure {
        Cure::UploadAgain => "its file_id is", // the API does not find it: is it uploaded?
        _ => "the file is uploaded, as",
    };
    format!("{what}; {named} {file_id}")
}

/// A file's line on standard output, if it has one.
fn result_line(format: Format, file: &LocalFile, outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Linked { stored, url } => {
            Some(linked_line(format, file, stored.size, &stored.file_id, url))
        }
        Outcome::Linkless { file_id, why } => {
            failed_line(format, file, &why.message, Some(file_id))
        }
        Outcome::Failed { why } => failed_line(format, file, &why.message, None),
    }
}

/// Lists what would be uploaded.
fn dry_run(
    settings: &Settings,
    listing: &Listing,
    manifest: &Manifest,
    console: &Console,
) -> ExitCode {
    let mut listed = 0;
    let mut bytes = 0;
    let mut failed = 0;
    for file in &listing.files {
        let line = if let Some(problem) = &file.problem {
            failed += 1;
            let why = format!("{}: {problem}", Stage::Upload);
            complain(&format!("error: {}: {why}", file.path.display()));
            failed_line(settings.format, file, &why, None)
        } else if manifest.unchanged(file).is_some() {
            None
        } else {
            listed += 1;
            bytes += file.size;
            Some(listed_line(settings.format, file))
        };
        if let Some(line) = line
            && let Err(why) = print(&line)
        {
            complain(&format!("error: {why}"));
            return ExitCode::FAILURE;
        }
    }
    let bytes = human_bytes(bytes);
    let skipped = listing.notes.len() + listing.files.len() - listed - failed;
    console.note(&format!(
        "{listed} would be uploaded ({bytes}), {failed} failed, {skipped} skipped"
    ));
    exit_status(failed == 0)
}
