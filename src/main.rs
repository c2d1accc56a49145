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
//! the links itself, and prints in the order of the input. Steps make one attempt; who calls them
//! tries again.
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
use api::{Call, call_api, odd_reply, text_field};
use cloud_name::is_file_id;
use cos::{content_type, post_object};
use disk::Owner;
use failure::{Cure, Failure, Kind, Stage, quote};
use file_body::FileBody;
use listing::{Listing, LocalFile, list_files};
use manifest::Manifest;
use network::http_agent;
use options::{Auth, Command, Format, Options, Settings, parse_options, text_in};
use output::{Console, complain, failed_line, human_bytes, linked_line, listed_line, print};
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
    let Listing { files, notes } = list_files(&settings)?;
    let console = Console::new(&settings, &files);
    let manifest = Manifest::open(&settings, &files, &console)?;
    say_beforehand(&settings, &config, &console, &notes);
    if files.is_empty() {
        console.note("note: there is no file to upload");
    }
    let skipped = notes.len();
    if settings.dry_run {
        return Ok(dry_run(&settings, &files, &manifest, &console, skipped));
    }
    let run = Run {
        agent: http_agent(&settings)?,
        course: Course::new(settings.retries, &console),
        console: &console,
        token: SharedToken::new(token),
        settings,
        manifest,
    };
    Ok(upload_all(&run, &files, skipped))
}

/// What all steps and threads share.
struct Run<'a> {
    settings: Settings,
    agent: Agent,
    console: &'a Console,
    course: Course<'a>,
    manifest: Manifest<'a>,
    token: SharedToken,
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

/// Replaces the config file whole, if it still is `owner`'s. Four spaces of indentation, as the
/// script wrote it.
fn save_config(config: &Value, path: &Path, owner: Option<Owner>) -> io::Result<()> {
    let mut json = String::new();
    // serde_json indents by two, and its strings hold no raw newline.
    for line in format!("{config:#}").lines() {
        let indent = line.len() - line.trim_start().len();
        json += &format!("{:indent$}{line}\n", "");
    }
    disk::replace_file(path, json.as_bytes(), owner)
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
    let waiting = "note: waiting for another run, which fetches a token";
    let _lock = disk::lock(path, || run.console.note(waiting));
    if let Ok(config) = load_config(path)
        && let Some(saved) = AccessToken::saved_in(&config)
        && saved.is_usable(refused)
    {
        return Ok(saved);
    }
    let owner = Owner::of(path);
    match run.course.with_retries(Stage::Token, || fetch_token(run)) {
        Ok(fetched) => {
            let token = AccessToken::new(&fetched.text, fetched.expires_in, refused.is_some());
            if let Err(why) = save_token(path, owner, &fetched) {
                let path = path.display();
                run.console.warn(&format!(
                    "{path}: the new token could not be saved, so the next run needs another: {why}"
                ));
            }
            Ok(token)
        }
        Err(failure) => Err(run.course.stop_for(failure)),
    }
}

/// Saves a new token in the config, which is read again: it may have been edited meanwhile. The
/// error is a sentence.
fn save_token(path: &Path, owner: Option<Owner>, token: &NewToken) -> Result<(), String> {
    let mut config = load_config(path)?;
    config["create_time"] = unix_seconds().into();
    config["expires_in"] = token.expires_in.into();
    config["access_token"] = token.text.as_str().into();
    save_config(&config, path, owner).map_err(|error| error.to_string())
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
    let account = run.settings.account();
    let account = account.map_err(|why| Failure::new(stage, Kind::Local, Cure::Nothing, why))?;
    let reply = if run.settings.auth == Auth::StableToken {
        let body = json!({
            "grant_type": "client_credential",
            "appid": account.appid,
            "secret": account.secret,
            "force_refresh": false,
        });
        ask(run, Call::post(stage, "/cgi-bin/stable_token", &[], &body))?
    } else {
        let query = [
            ("grant_type", "client_credential"),
            ("appid", account.appid),
            ("secret", account.secret),
        ];
        ask(run, Call::get(stage, "/cgi-bin/token", &query))?
    };
    let text = text_field(stage, &reply, "access_token")?;
    match reply["expires_in"].as_i64() {
        Some(expires_in @ 1..) => Ok(NewToken { text, expires_in }),
        _ => Err(odd_reply(
            stage,
            Cure::Nothing,
            "the reply lacks a usable `expires_in`",
        )),
    }
}

// ---- What steps 2 and 4 have in common ------------------------------------------------------------

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
        match ask(run, Call::post(stage, path, &query, body)) {
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

/// One call of the API, as soon as the pace of the run allows it.
fn ask(run: &Run, call: Call) -> Result<Value, Failure> {
    let answer = || call_api(&run.agent, &run.settings, &call);
    run.course.paced(call.stage, answer)
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
        let why = "the reply lacks a usable `file_id`";
        return Err(odd_reply(Stage::Info, Cure::Nothing, why));
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
            let why = "COS stored other bytes than were sent: its CRC-64 differs";
            Err(odd_reply(Stage::Upload, Cure::Wait(Duration::ZERO), why))
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
    let ask = || post_json(run, Stage::Link, "/tcb/batchdownloadfile", &body);
    let reply = match run.course.with_retries(Stage::Link, ask) {
        Ok(reply) => reply,
        Err(failure) => return vec![Err(failure); file_ids.len()],
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

/// The link of one file in the reply.
fn link_in(run: &Run, reply: &Value, file_id: &str) -> Result<String, Failure> {
    let odd = |why: &str| Err(odd_reply(Stage::Link, Cure::Nothing, why));
    let entries = reply["file_list"].as_array().map_or(&[][..], Vec::as_slice);
    let Some(entry) = entries.iter().find(|entry| entry["fileid"] == *file_id) else {
        return odd("the reply has no link for it");
    };
    match (entry["status"].as_i64(), entry.get("status")) {
        (Some(0), _) | (_, None) => {
            let url = text_field(Stage::Link, entry, "download_url")?;
            Ok(url::encoded(&url))
        }
        (Some(1), _) => {
            let why = "COS took the file, but the API does not find it (STORAGE_FILE_NONEXIST): \
                       run again";
            Err(odd_reply(Stage::Link, Cure::UploadAgain, why))
        }
        (Some(status), _) => {
            let token = run.token.text();
            let secrets = [&token, run.settings.secret().unwrap_or_default()];
            let told = quote(text_in(entry, "errmsg").unwrap_or_default(), &secrets);
            odd(&format!("status {status}: {told}"))
        }
        (None, Some(_)) => odd("the reply's `status` is not a number"),
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

/// One try: steps 1 to 3. (Step 1 is a part of 2: see `post_json`.)
fn upload_once(run: &Run, file: &LocalFile) -> Result<Stored, Failure> {
    let mut body = FileBody::open(&file.path, run.console)?;
    let info = get_upload_file_info(run, &file.key)?;
    let upload = || upload_file(run, &info, &file.key, &mut body);
    if let Err(failure) = run.course.paced(Stage::Upload, upload) {
        body.uncount();
        return Err(failure);
    }
    let recorded = run.manifest.record(&file.key, &body, &info.file_id);
    if let Err(error) = recorded {
        run.console
            .warn(&format!("the manifest cannot be written: {error}"));
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
    /// Why links could not be had, as it was told last.
    told_of_links: Option<String>,
}

impl Tally {
    /// Counts a file that is in the cloud.
    fn count(&mut self, stored: &Stored) {
        if stored.unchanged {
            self.unchanged += 1;
        } else {
            self.uploaded += 1;
            self.bytes += stored.size;
        }
    }

    fn total(&self) -> usize {
        self.uploaded + self.failed + self.unchanged
    }
}

/// Uploads all files, prints their results and the summary. `skipped` is how many were when they
/// were listed.
fn upload_all(run: &Run, files: &[LocalFile], skipped: usize) -> ExitCode {
    let started = Instant::now();
    let mut tally = Tally::default();
    let upload = |file: &LocalFile, again| upload_and_count(run, file, again);
    let get_links = |file_ids: &[&str]| get_download_link(run, file_ids);
    let report = |file: &LocalFile, outcome| report_file(run, file, outcome, &mut tally);
    run.console.while_shown(|| {
        pipeline::run(
            files,
            run.settings.jobs,
            &run.course,
            upload,
            get_links,
            report,
        );
    });
    let stopped = run.course.stopped();
    if let Some(why) = stopped {
        complain(&format!("error: {why}"));
    }
    let Tally {
        uploaded, failed, ..
    } = tally;
    let bytes = human_bytes(tally.bytes);
    let skipped = skipped + tally.unchanged;
    let not_attempted = files.len() - tally.total();
    let seconds = started.elapsed().as_secs_f64();
    run.console.note(&format!(
        "{uploaded} uploaded ({bytes}), {failed} failed, {skipped} skipped, {not_attempted} not \
         attempted in {seconds:.1} s"
    ));
    match failed > 0 || stopped.is_some() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
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

/// Tells how a file ended, and counts it. Where standard output takes no more, the run is stopped.
fn report_file(run: &Run, file: &LocalFile, outcome: Outcome, tally: &mut Tally) {
    let printed = match result_line(run.settings.format, file, &outcome) {
        Some(line) => run.console.print(&line),
        None => Ok(()),
    };
    let path = file.path.display();
    match outcome {
        Outcome::Linked { stored, .. } => {
            tally.count(&stored);
            if printed.is_err() {
                let file_id = stored.file_id;
                run.console.complain(&format!(
                    "error: {path}: uploaded as {file_id}, but its line could not be printed"
                ));
            }
        }
        Outcome::Linkless { file_id, why } => {
            tally.failed += 1;
            let named = match why.cure {
                Cure::UploadAgain => "its file_id is",
                _ => "the file is uploaded, as",
            };
            // What is the same for every file is said once.
            let is_known = tally.told_of_links.as_ref() == Some(&why.message);
            let what = match is_known {
                true => format!("{}: as above", Stage::Link),
                false => why.message.clone(),
            };
            run.console
                .complain(&format!("error: {path}: {what}; {named} {file_id}"));
            tally.told_of_links = Some(why.message);
        }
        Outcome::Failed { why } => {
            tally.failed += 1;
            run.console
                .complain(&format!("error: {path}: {}", why.message));
        }
    }
    run.console.files_done(tally.total());
    if let Err(why) = printed {
        run.course.stop(why);
    }
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

/// Lists what would be uploaded. `skipped` is how many files were skipped when they were listed.
fn dry_run(
    settings: &Settings,
    files: &[LocalFile],
    manifest: &Manifest,
    console: &Console,
    skipped: usize,
) -> ExitCode {
    let mut listed = 0;
    let mut bytes = 0;
    let mut failed = 0;
    for file in files {
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
    let skipped = skipped + files.len() - listed - failed;
    let bytes = human_bytes(bytes);
    console.note(&format!(
        "{listed} would be uploaded ({bytes}), {failed} failed, {skipped} skipped"
    ));
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Says what a user should know before anything is sent.
fn say_beforehand(settings: &Settings, config: &Value, console: &Console, notes: &[String]) {
    if text_in(config, "secret").is_some() && disk::is_public(&settings.config) {
        let path = settings.config.display();
        console.note(&format!(
            "note: {path}: everybody on this machine can read its `secret`: chmod o-r '{path}'"
        ));
    }
    for note in notes {
        console.note(&format!("note: {note}"));
    }
}
