//! wx-upload puts files into WeChat CloudRun (微信云托管) object storage and prints their links.
//!
//! Each file goes through the four steps of the script that this program replaces:
//!
//! 1. `get_access_token`: `GET /cgi-bin/token`, once for all files; kept in `config.json`
//! 2. `get_upload_file_info`: `POST /tcb/uploadfile` returns the URL and the signature for the upload
//! 3. `upload_file`: `POST` to COS as a form; the file is streamed from disk
//! 4. `get_download_link`: `POST /tcb/batchdownloadfile`, for up to 50 files in one call
//!
//! `wx_upload_file` does 1, 2 and 3 for one file, once. If 2 or 3 fails and another try may help,
//! `upload_with_retries` has it done again. `upload_all` does this in worker threads for many files at
//! once, asks for the links, and prints the results in the order of the input.
//!
//! This file tells the script's story, in the script's order, but the config comes first. The machinery
//! that the script did not have stands behind five doors: `cli` (what the user wants and sees), `files`
//! (which files), `network` (the HTTP agent), `service` (WeChat and COS), and `run` (when, how many at
//! once, how it ended). The other modules are the ground that all stand on.

#![forbid(unsafe_code)]

mod cli;
mod cloud_rules;
mod disk;
mod failure;
mod files;
mod network;
mod run;
mod service;
mod stop;
mod url;
mod words;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use ureq::Agent;

use cli::{
    Auth, Command, Console, Options, Settings, appid, cannot_print, config_of_environment,
    find_config, init_config, note_misspelled_keys, parse_config, parse_options, say, show,
};
use cloud_rules::is_file_id_of;
use failure::{Cure, Failure, Stage};
use files::{
    Claim, Claimed, CloudName, CloudNames, FileBody, ListedFile, Listing, Manifest, Origin,
    OwnFiles, Stored, list_files,
};
use network::{http_agent, is_proxied};
use run::{
    Outcome, Pace, Report, Retries, dry_run, note_new_token, print_notes, run_pipeline,
    worker_count,
};
use service::{
    AccessToken, Call, SharedToken, call_api, content_type, judged_by_packets, judged_by_signature,
    link_in, post_object, signature_life, text_field, unusable_field,
};
use stop::{Stop, StopSignal};
use words::{either, io_words, words};

fn main() -> ExitCode {
    try_main(Instant::now()).unwrap_or_else(|message| {
        say(&format!("error: {message}"));
        ExitCode::from(2)
    })
}

/// Sets up the run, which began at `began`, and runs it. An error here is a sentence: `main` prints it
/// and exits with 2, and nothing has been sent.
fn try_main(began: Instant) -> Result<ExitCode, String> {
    let options = match parse_options()? {
        Command::Show(text) => return Ok(show(&text)),
        Command::Init(options) => return init_config(&options).map(|()| ExitCode::SUCCESS),
        Command::Upload(options) => options,
    };
    let (path, config) = find_and_load_config(&options)?;
    let saved_token = AccessToken::saved_in(&config, appid(&config).as_deref());
    let settings = Settings::new(options, path, &config, saved_token.is_none())?;
    let own = OwnFiles::of(&settings);
    let console = Console::new(settings.options.quiet);
    let listing = list_files(&settings, &own, &console)?;
    // A dry run makes no connection, so no setting of the network can refuse it.
    let agent = if settings.options.dry_run {
        None
    } else {
        Some(http_agent(&settings)?)
    };
    let manifest = Manifest::open(&settings, &listing.files, &console)?;
    let names = CloudNames::new(settings.options.unique, &own, &console.progress);
    let token = SharedToken::new(saved_token);
    print_notes(&settings, &config, &console, &listing);
    // A dry run prints its list and ends here.
    let Some(agent) = agent else {
        let secrets = known_secrets(&settings, &token);
        let format = settings.options.format;
        return Ok(dry_run(format, &listing, &console, |file| {
            name_if_sent(file, &secrets, &names, &manifest)
        }));
    };
    let stop = StopSignal::default();
    let run = Run {
        began,
        agent,
        retries: Retries::new(settings.options.retries, &stop),
        pace: Pace::new(settings.options.jobs, &console, &stop),
        stop: &stop,
        console: &console,
        own: &own,
        names,
        token,
        settings,
        manifest,
    };
    Ok(upload_all(&run, &listing))
}

/// Everything that all steps and threads share.
struct Run<'a> {
    began: Instant,
    settings: Settings,
    agent: Agent,
    console: &'a Console,
    /// The config and the manifest, which are never uploaded.
    own: &'a OwnFiles,
    names: CloudNames<'a>,
    retries: Retries<'a>,
    /// Holds each call back to the pace of the run.
    pace: Pace<'a>,
    stop: &'a StopSignal,
    manifest: Manifest<'a>,
    token: SharedToken,
}

impl Run<'_> {
    /// Makes one call of the API, as soon as the pace of the run allows it.
    fn call(&self, call: Call) -> Result<Value, Failure> {
        let send = || call_api(&self.agent, &self.settings, &call);
        let is_proxied = is_proxied(&self.agent, &self.settings.api_base);
        self.pace.in_turn(call.stage, is_proxied, send)
    }
}

/// Returns the AppSecret and the run's access token. Each is empty where there is none.
fn known_secrets(settings: &Settings, token: &SharedToken) -> [String; 2] {
    let secret = settings.secret.clone().unwrap_or_default();
    [secret, token.text()]
}

// ---- The config -------------------------------------------------------------------------------

/// Returns the path of the config, and the config. There is no path if the variables of the environment
/// are enough. The error is a sentence.
fn find_and_load_config(options: &Options) -> Result<(Option<PathBuf>, Value), String> {
    let Some(path) = find_config(options)? else {
        return Ok((None, config_of_environment().unwrap_or_default()));
    };
    let config = load_config(&path)?;
    if !options.quiet {
        note_misspelled_keys(&path, &config);
    }
    Ok((Some(path), config))
}

/// Reads the config: the script's keys and the optional keys, in the order of the file. The
/// error is a sentence that names the file and, for wrong JSON, the line.
fn load_config(path: &Path) -> Result<Value, String> {
    let config = read_config(path).and_then(|bytes| parse_config(&bytes));
    config.map_err(|why| format!("{}: {why}", path.display()))
}

fn read_config(path: &Path) -> Result<Vec<u8>, String> {
    disk::read_regular(path).map_err(|error| {
        let error = io_words(&error);
        words!("cannot be read: {error}", "无法读取：{error}")
    })
}

/// Replaces the file at `path` with `config`, indented by four spaces as in the script. If the file
/// does not hold the bytes `old` any more, changes nothing and returns false.
fn save_config(config: &Value, path: &Path, old: &[u8]) -> io::Result<bool> {
    let mut json = String::new();
    // serde_json indents by two, and its strings hold no raw newline.
    for line in format!("{config:#}").lines() {
        let indent = line.len() - line.trim_start().len();
        json += &format!("{:indent$}{line}\n", ""); // doubles the indentation
    }
    disk::replace_file(path, old, json.as_bytes())
}

// ---- Step 1: the access token -----------------------------------------------------------------

/// Step 1: returns the access token of the run, for a call of `stage`. If the run has no good one, takes
/// the one in the config. If that is not good either, fetches a new one and saves it at once. With `auth`
/// `none`, the token is empty. An error stops the run.
/// <https://developers.weixin.qq.com/miniprogram/dev/api-backend/open-api/access-token/auth.getAccessToken.html>
fn get_access_token(run: &Run, stage: Stage) -> Result<String, Failure> {
    match run.settings.auth {
        Auth::None => Ok(String::new()),
        Auth::Token | Auth::StableToken => {
            // After a stop, only a call for links waits for a token.
            let is_over = || run.stop.is_over(stage);
            run.token.get_or(|| saved_or_new_token(run), is_over)
        }
    }
}

/// Returns the token that another run has just saved. If there is none, fetches one and saves it.
fn saved_or_new_token(run: &Run) -> Result<AccessToken, Failure> {
    let Some(path) = run.settings.token_file() else {
        return new_token(run);
    };
    // The lock makes other runs wait, so that they find this run's token. If locks do not work, two
    // runs may each fetch a token.
    let lock = disk::lock(path, || {
        run.console.note(either(
            "waiting for another run, which is fetching a token",
            "正在等待另一个 wx-upload 获取 access_token",
        ));
    });
    if let Ok(config) = load_config(path)
        && !run.settings.is_of_other_account(&config)
        && let Some(saved) = AccessToken::saved_in(&config, run.settings.appid.as_deref())
        && !run.token.has_refused(&saved)
    {
        return Ok(saved);
    }
    let fetched = new_token(run)?;
    let mut saved = save_token(run, path, &fetched);
    if saved.is_err() {
        drop(lock); // some network shares replace no file that is open
        saved = save_token(run, path, &fetched);
    }
    if let Err(why) = saved {
        let path = path.display();
        run.console.warn(&words!(
            "{path}: the new token could not be saved, so the next run asks for another: {why}",
            "{path}: 新的 access_token 无法保存，下次运行会重新获取：{why}"
        ));
    }
    Ok(fetched)
}

/// Fetches a token, with all tries. An error stops the run.
fn new_token(run: &Run) -> Result<AccessToken, Failure> {
    let fetched = run.retries.with_retries(Stage::Token, || fetch_token(run));
    let fetched = fetched.map_err(|failure| failure.with_cure(Cure::StopRun))?;
    if run.settings.auth_is_missing {
        // The script's way ends the tokens of other programs.
        note_new_token(&run.settings, run.console);
    }
    Ok(fetched)
}

/// `save_token` gives up after this number of tries, if the config changes during each of them.
const SAVE_TRIES: usize = 100;

/// Saves a new token in the config. The config is read again, because it may have been edited since
/// the run began, and only the four keys of the token change: the script's three, and the account that
/// the token belongs to. If the config belongs to another account by now, it is left alone. The error is
/// a sentence.
fn save_token(run: &Run, path: &Path, token: &AccessToken) -> Result<(), String> {
    for _ in 0..SAVE_TRIES {
        let old = read_config(path)?;
        let mut config = parse_config(&old)?;
        if run.settings.is_of_other_account(&config) {
            let why = either(
                "it names another `appid` now",
                "其中的 `appid` 已改为另一个",
            );
            return Err(why.to_owned());
        }
        config["create_time"] = token.created.into();
        config["expires_in"] = token.expires_in.into();
        config["access_token"] = token.text.as_str().into();
        config["token_appid"] = run.settings.appid.clone().into();
        if save_config(&config, path, &old).map_err(|error| io_words(&error))? {
            return Ok(());
        }
    }
    Err(words!(
        "it changed during each of {SAVE_TRIES} tries",
        "已尝试 {SAVE_TRIES} 次，每次文件都有变化"
    ))
}

/// Asks for a new token.
fn fetch_token(run: &Run) -> Result<AccessToken, Failure> {
    let stage = Stage::Token;
    let account = run.settings.account();
    let account = account.map_err(|why| Failure::local(stage, why))?;
    let reply = if run.settings.auth == Auth::StableToken {
        let body = json!({
            "grant_type": "client_credential",
            "appid": account.appid,
            "secret": account.secret,
            "force_refresh": false,
        });
        run.call(Call::new(stage, "/cgi-bin/stable_token", &[], Some(&body)))?
    } else {
        let query = [
            ("grant_type", "client_credential"),
            ("appid", account.appid),
            ("secret", account.secret),
        ];
        run.call(Call::new(stage, "/cgi-bin/token", &query, None))?
    };
    let text = text_field(stage, &reply, "access_token")?;
    match reply["expires_in"].as_i64() {
        Some(expires_in @ 1..) => Ok(AccessToken::fetched(text, expires_in)),
        _ => Err(unusable_field(stage, "expires_in")),
    }
}

// ---- Steps 2 and 4 call the API with the token ------------------------------------------------

/// A call is made with at most this number of tokens: the current one, one that another run has just
/// saved, and a new one.
const TOKENS_PER_CALL: usize = 3;

/// POSTs `body` to `path` of the API with the access token. The API can refuse a token. Then the call
/// is made again with another token. The run stops if three tokens were refused in this call. It also
/// stops if the refused token has never worked, and this run fetched it after another refusal.
fn post_json(run: &Run, stage: Stage, path: &str, body: &Value) -> Result<Value, Failure> {
    let mut tokens = 0;
    loop {
        let token = get_access_token(run, stage)?;
        tokens += 1;
        let mut query = Vec::new();
        if run.settings.auth != Auth::None {
            query.push(("access_token", token.as_str()));
        }
        match run.call(Call::new(stage, path, &query, Some(body))) {
            Ok(reply) => {
                run.token.worked(&token);
                return Ok(reply);
            }
            Err(failure) if failure.cure == Cure::NewToken => {
                // The last token is kept: without it, each other thread would fetch one more.
                let is_last = tokens == TOKENS_PER_CALL;
                if is_last || !run.token.drop_refused(&token) {
                    return Err(failure.with_cure(Cure::StopRun));
                }
            }
            Err(failure) => return Err(failure),
        }
    }
}

// ---- Step 2: where to upload ------------------------------------------------------------------

/// The answer of step 2: the URL for an upload, and the signature that permits it.
struct UploadFileInfo {
    url: String,
    /// COS's security token, not the access token.
    token: String,
    authorization: String,
    file_id: String,
    cos_file_id: String,
    /// When the signature was asked for. (A monotonic clock may stop while the machine sleeps.)
    signed: SystemTime,
}

impl UploadFileInfo {
    /// Whether an upload may begin with the signature: at most a tenth of its life is spent, 90 s of 15
    /// minutes. An upload that waits longer for its turn costs a second call of step 2.
    fn is_fresh(&self) -> bool {
        self.age() <= self.life() / 10
    }

    /// Returns the age of the signature.
    fn age(&self) -> Duration {
        self.signed.elapsed().unwrap_or_default()
    }

    /// Returns the time for which the signature is good.
    fn life(&self) -> Duration {
        signature_life(&self.authorization)
    }
}

/// Step 2: asks where to upload the file with the cloud name `path`. The answer is usually good
/// for 15 minutes.
/// <https://developers.weixin.qq.com/miniprogram/dev/wxcloudrun/src/development/storage/service/upload.html>
fn get_upload_file_info(run: &Run, path: &str) -> Result<UploadFileInfo, Failure> {
    let body = json!({ "env": run.settings.env, "path": path });
    let signed = SystemTime::now();
    let reply = post_json(run, Stage::Info, "/tcb/uploadfile", &body)?;
    let text = |name| text_field(Stage::Info, &reply, name);
    let info = UploadFileInfo {
        url: text("url")?,
        token: text("token")?,
        authorization: text("authorization")?,
        file_id: text("file_id")?,
        cos_file_id: text("cos_file_id")?,
        signed,
    };
    if !is_file_id_of(&info.file_id, path) {
        let why = either(
            "the reply's `file_id` is not that of this file",
            "应答中的 `file_id` 不是此文件的",
        );
        return Err(Failure::odd_reply(Stage::Info, why));
    }
    Ok(info)
}

// ---- Step 3: the upload -----------------------------------------------------------------------

/// Step 3: uploads `file` under the cloud name `request_path`, as the form that COS's "POST Object"
/// expects. If COS reports a CRC-64, it must be that of the bytes sent.
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
    if let Some(cache_control) = &run.settings.cache_control {
        form.push(("Cache-Control", cache_control));
    }
    let url = url::encoded(&info.url, request_path);
    let stored_crc64 = post_object(&run.agent, &url, &form, file)?; // the file itself comes last
    if stored_crc64.is_some_and(|crc64| crc64 != file.crc64()) {
        let why = either(
            "what COS stored differs from what was sent (CRC-64)",
            "COS 存下的内容与发送的不一致（CRC-64）",
        );
        let failure = Failure::odd_reply(Stage::Upload, why);
        return Err(failure.with_cure(Cure::TRY_AGAIN));
    }
    file.check_unchanged() // the file system may show a change only after a moment
}

// ---- Step 4: the links ------------------------------------------------------------------------

/// Step 4: asks for the links of up to 50 files at once. Returns a result for each of `files`, in
/// order. The error is that of the whole call.
/// <https://developers.weixin.qq.com/miniprogram/dev/wxcloudrun/src/development/storage/service/download.html>
fn get_download_link(
    run: &Run,
    files: &[&Stored],
) -> Result<Vec<Result<String, Failure>>, Failure> {
    let mut file_list = Vec::new();
    for Stored { file_id, .. } in files {
        file_list.push(match run.settings.max_age {
            Some(max_age) => json!({ "fileid": file_id, "max_age": max_age }),
            None => json!({ "fileid": file_id }),
        });
    }
    let body = json!({ "env": run.settings.env, "file_list": file_list });
    let reply = post_json(run, Stage::Link, "/tcb/batchdownloadfile", &body)?;
    let secrets = known_secrets(&run.settings, &run.token);
    let secrets = secrets.each_ref().map(String::as_str);
    let mut links = Vec::new();
    for file in files {
        links.push(link_in(&reply, file, run.settings.auth, &secrets));
    }
    Ok(links)
}

// ---- One file ---------------------------------------------------------------------------------

/// Does steps 1 to 3 for one file, once. Its link is asked for later, together with others.
fn wx_upload_file(run: &Run, file: &ListedFile, name: &CloudName) -> Result<Stored, Failure> {
    // Step 2 gets the token by itself. But the token must be known before the file is opened:
    // `open_body` refuses a small file that holds it.
    get_access_token(run, Stage::Info)?;
    let mut body = open_body(run, file, name)?;
    let mut info = get_upload_file_info(run, &name.key)?;
    let is_proxied = is_proxied(&run.agent, &info.url);
    let uploaded = run.pace.in_turn(Stage::Upload, is_proxied, || {
        // The upload may have waited for its turn, on a thin line for longer than a signature lives.
        if !info.is_fresh() {
            info = get_upload_file_info(run, &name.key)?;
        }
        if body.is_outdated(&file.path) {
            body = open_body(run, file, name)?;
        }
        upload_file(run, &info, &name.key, &mut body).map_err(|failure| {
            let failure = judged_by_signature(failure, info.age(), info.life());
            if run.pace.has_upload_got_through() {
                return failure;
            }
            judged_by_packets(failure, body.bytes_read())
        })
    });
    if let Err(failure) = uploaded {
        body.take_back_progress();
        return Err(failure);
    }
    run.manifest
        .record(&name.key, &body.fingerprint(), &info.file_id);
    Ok(Stored {
        key: name.key.clone(),
        file_id: info.file_id,
        size: body.size(),
        origin: Origin::ThisRun,
    })
}

/// Opens a file to upload it under the cloud name `name`.
fn open_body<'a>(
    run: &Run<'a>,
    file: &ListedFile,
    name: &CloudName,
) -> Result<FileBody<'a>, Failure> {
    let secrets = known_secrets(&run.settings, &run.token);
    let body = FileBody::open(file, run.own, &secrets, &run.console.progress)?;
    Ok(body.expecting(name.crc64))
}

/// Returns the file if it is in the cloud already. There are two cases: the user gave its `file_id`, or
/// an earlier run uploaded it and it has not changed since. To find that out, the file may be read.
fn stored_before(file: &ListedFile, key: &str, manifest: &Manifest) -> Option<Stored> {
    if let Some(file_id) = file.file_id() {
        return Some(Stored::unsent(file, key, file_id, Origin::Named));
    }
    let file_id = manifest.unchanged(key, &file.path)?;
    Some(Stored::unsent(file, key, file_id, Origin::EarlierRun))
}

/// For a dry run: returns the cloud name of a file that a run would send. `None` for a file that is in
/// the cloud already.
fn name_if_sent(
    file: &ListedFile,
    secrets: &[String],
    names: &CloudNames,
    manifest: &Manifest,
) -> Result<Option<String>, Failure> {
    let name = names.of(file, secrets)?;
    match stored_before(file, &name.key, manifest) {
        Some(_) => Ok(None),
        None => Ok(Some(name.key)),
    }
}

/// Uploads one file, with all its tries. Counts the result for the progress and for the course of the
/// run. A file that is in the cloud already is not sent. It is sent `again` if the manifest was wrong:
/// the cloud has lost the file.
fn upload_with_retries(run: &Run, file: &ListedFile, again: bool) -> Result<Stored, Failure> {
    if again {
        run.console.progress.add_to_total(file.size);
    }
    let mut claim = None;
    let result = run.retries.with_retries(Stage::Upload, || {
        upload_unless_stored(run, file, again, &mut claim)
    });
    let result = match result {
        Ok(stored) => {
            if stored.is_new() {
                run.console.progress.count_stored(stored.size);
                run.stop.note_success();
            } else {
                run.console.progress.take_from_total(file.size);
            }
            Ok(stored)
        }
        Err(failure) => {
            run.console.progress.take_from_total(file.size);
            Err(run.stop.note_failure(failure))
        }
    };
    if let Some(claim) = claim {
        // Last: if this failure stops the run, no thread that waits for this name begins any more.
        claim.end(&result);
    }
    result
}

/// Uploads one file, once, unless it is in the cloud already. With `--unique`, another thread may be
/// uploading a file with the same cloud name. Then this thread waits for its outcome. The `claim` on
/// the name goes from one try to the next.
fn upload_unless_stored<'a>(
    run: &'a Run,
    file: &ListedFile,
    again: bool,
    claim: &mut Option<Claim<'a>>,
) -> Result<Stored, Failure> {
    let secrets = known_secrets(&run.settings, &run.token);
    let name = run.names.of(file, &secrets)?;
    if let Some(other) = claim.take_if(|claim| !claim.is_on(&name)) {
        other.give_up(); // the file has changed since the last try
    }
    if claim.is_none() {
        let is_over = || run.stop.is_over(Stage::Upload);
        match run.names.claim(&name, is_over)? {
            Claimed::Mine(mine) => *claim = Some(mine),
            Claimed::Stored(file_id) => {
                let origin = Origin::OtherFile;
                return Ok(Stored::unsent(file, &name.key, &file_id, origin));
            }
        }
    }
    if !again && let Some(stored) = stored_before(file, &name.key, &run.manifest) {
        return Ok(stored);
    }
    wx_upload_file(run, file, &name)
}

// ---- All files --------------------------------------------------------------------------------

/// Uploads all files, prints their results and the summary.
fn upload_all(run: &Run, listing: &Listing) -> ExitCode {
    let mut report = Report::new(&run.settings, run.console, run.began);
    let upload = |file: &ListedFile, again| upload_with_retries(run, file, again);
    let get_links = |files: &[&Stored]| {
        let ask = |files_left: &[&Stored]| get_download_link(run, files_left);
        run.retries.each_with_retries(Stage::Link, files, ask)
    };
    let tell = |file: &ListedFile, outcome: &Outcome| {
        if let Err(error) = report.file(file, outcome) {
            run.stop.stop(Stop::Here(cannot_print(&error)));
        }
    };
    let files = &listing.files;
    let workers = worker_count(&run.settings.options);
    let jobs = run.settings.options.jobs;
    let (count, bytes) = (listing.each_once().count(), listing.bytes());
    run.console.while_shown(count, bytes, || {
        run_pipeline(files, workers, jobs, run.stop, upload, get_links, tell);
    });
    report.end(listing, run.stop.reason())
}
