//! wx-upload puts files into WeChat CloudRun (微信云托管) object storage and prints their links.
//!
//! Each file goes through the four steps of the script that this program replaces:
//!
//! 1. `get_access_token`: `GET /cgi-bin/token`, if `config.json` has no usable token
//! 2. `get_upload_file_info`: `POST /tcb/uploadfile` returns the URL and the signature for the upload
//! 3. `upload_file`: `POST` to COS as a form; the file is streamed from disk
//! 4. `get_download_link`: `POST /tcb/batchdownloadfile`, for up to 50 files in one call
//!
//! `wx_upload_file` makes one try of 1, 2 and 3 for one file. `upload_unless_stored` calls it, unless the
//! file is in the cloud already. `upload_with_retries` repeats this while another try may help. `upload_all`
//! does it in several threads, asks for the links meanwhile, and prints the results in the order of the
//! input.
//!
//! The functions stand in the order of the script, but the config comes first. What the script did not have
//! is in five folders: `cli` (what the user wants and sees), `files` (which files), `network` (the HTTP
//! agent), `service` (WeChat and COS), and `run` (when, how many at once, how it ended). The remaining
//! modules help all of them.

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
use std::time::{Instant, SystemTime};

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
    Outcome, Report, Retries, Turns, dry_run, note_new_token, print_notes, run_pipeline,
    worker_count,
};
use service::{
    AccessToken, Call, SharedToken, Signature, call_api, content_type, link_in, post_object,
    text_field, unusable_field, with_mtu_hint,
};
use stop::{Stop, StopSignal};
use words::{either, io_words, words};

fn main() -> ExitCode {
    try_main(Instant::now()).unwrap_or_else(|message| {
        say(&format!("error: {message}"));
        ExitCode::from(2)
    })
}

/// Sets up the run, and runs it. The program began at `began`. The error is a sentence: `main` prints it and
/// exits with 2, and nothing has been sent.
fn try_main(began: Instant) -> Result<ExitCode, String> {
    let options = match parse_options()? {
        Command::Show(text) => return Ok(show(&text)),
        Command::Init(options) => return init_config(&options).map(|()| ExitCode::SUCCESS),
        Command::Upload(options) => options,
    };
    let (path, config) = find_and_load_config(&options)?;
    let saved_token = AccessToken::saved_in(&config, appid(&config).as_deref());
    let needs_account = saved_token.is_none(); // to fetch one. (`fetch_token` checks it again.)
    let settings = Settings::new(options, path, &config, needs_account)?;
    let own_files = OwnFiles::of(&settings);
    let console = Console::new(settings.options.quiet);
    let listing = list_files(&settings, &own_files, &console)?;
    // A dry run needs no agent, so a wrong setting of the network must not stop it. Any other run is stopped
    // before it creates a manifest.
    let agent = if settings.options.dry_run {
        None
    } else {
        Some(http_agent(&settings)?)
    };
    let manifest = Manifest::open(&settings, &listing.files, &console)?;
    let names = CloudNames::new(settings.options.unique, &own_files, &console.progress);
    let token = SharedToken::new(saved_token);
    print_notes(&settings, &config, &console, &listing);
    // A dry run prints its list and ends here.
    let Some(agent) = agent else {
        let secrets = known_secrets(&settings, &token);
        let format = settings.options.format;
        return Ok(dry_run(
            format, &listing, &console, &names, &manifest, &secrets,
        ));
    };
    let stop = StopSignal::default();
    let run = Run {
        began,
        agent,
        retries: Retries::new(settings.options.retries, &stop),
        turns: Turns::new(settings.options.jobs, &console, &stop),
        stop: &stop,
        console: &console,
        own_files: &own_files,
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
    own_files: &'a OwnFiles,
    names: CloudNames<'a>,
    retries: Retries<'a>,
    /// Limits how fast, and how many at once, the services are called.
    turns: Turns<'a>,
    stop: &'a StopSignal,
    manifest: Manifest<'a>,
    token: SharedToken,
}

impl Run<'_> {
    /// Makes one call of the API, as soon as it may begin.
    fn call(&self, call: Call) -> Result<Value, Failure> {
        let send = || call_api(&self.agent, &self.settings, &call);
        let proxied = is_proxied(&self.agent, &self.settings.api_base);
        self.turns.call(call.stage, proxied, send)
    }
}

/// Returns the AppSecret and the access token of the run, if it has them. A file that holds one of them is
/// not uploaded, and nothing that holds one is printed.
fn known_secrets(settings: &Settings, token: &SharedToken) -> Vec<String> {
    settings
        .secret
        .clone()
        .into_iter()
        .chain(token.text())
        .collect()
}

// ---- The config -------------------------------------------------------------------------------

/// Returns the path of the config, and the config. The path is `None` if there is no config, but the
/// variables of the environment are enough. The error is a sentence.
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

/// Reads the config: the script's keys and the optional keys. The error is a sentence that names the file
/// and, for wrong JSON, the line.
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
    // serde_json indents by two, so the indentation of each line is written twice. (JSON has no raw line
    // break within a string.)
    for line in format!("{config:#}").lines() {
        let indentation = &line[..line.len() - line.trim_start().len()];
        json += &format!("{indentation}{line}\n");
    }
    disk::replace_file(path, old, json.as_bytes())
}

// ---- Step 1: the access token -----------------------------------------------------------------

/// Step 1: returns the access token of the run, for a call of `stage`. If the run has no usable one, takes
/// the one in the config, which another run may have saved. If that is not usable either, fetches a new one
/// and saves it at once. With `auth` `none`, no token is needed, as the platform of the container adds its
/// own. An error stops the run.
/// <https://developers.weixin.qq.com/miniprogram/dev/api-backend/open-api/access-token/auth.getAccessToken.html>
fn get_access_token(run: &Run, stage: Stage) -> Result<String, Failure> {
    match run.settings.auth {
        Auth::None => Ok(String::new()),
        Auth::Token | Auth::StableToken => {
            // After a stop, only the calls for links go on, and wait for a token.
            let is_over = || run.stop.is_over(stage);
            run.token.get_or(|| saved_or_new_token(run), is_over)
        }
    }
}

/// Returns the token in the config, if it is usable. Otherwise fetches one and saves it.
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
    let mut result = save_token(run, path, &fetched);
    if result.is_err() {
        // The lock keeps the file open, and some network shares cannot replace an open file. Without the
        // lock, `save_config` still replaces nothing that another run has changed.
        drop(lock);
        result = save_token(run, path, &fetched);
    }
    if let Err(why) = result {
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
    if run.settings.auth_is_default {
        // The user did not choose this way, and it ends the tokens of other programs.
        note_new_token(&run.settings, run.console);
    }
    Ok(fetched)
}

/// `save_token` gives up after this number of tries, if the config changes during each of them. (A try
/// takes some milliseconds.)
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
        Some(expires_in @ 1..) => Ok(AccessToken::fetched(text, expires_in)),
        _ => Err(unusable_field(stage, "expires_in")),
    }
}

// ---- Steps 2 and 4 call the API with the token ------------------------------------------------

/// A call is made with at most this number of tokens: the current one, one that another run has just
/// saved, and a new one.
const TOKENS_PER_CALL: usize = 3;

/// POSTs `body` to `path` of the API with the access token. If the API refuses the token, makes the call
/// again with another one. The run stops if this call has had three tokens refused. It stops earlier if this
/// run has fetched the refused token in place of another one, and no call has worked with it.
fn post_json(run: &Run, stage: Stage, path: &str, body: &Value) -> Result<Value, Failure> {
    let mut tokens = 0;
    loop {
        let token = get_access_token(run, stage)?;
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
                // Keep the last token. If it was dropped, each other thread would fetch another.
                let is_last = tokens == TOKENS_PER_CALL;
                let may_help = !is_last && run.token.drop_refused(&token);
                if !may_help {
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
    /// Percent-encoded.
    url: String,
    /// COS's security token, not the access token.
    security_token: String,
    signature: Signature,
    file_id: String,
    cos_file_id: String,
}

/// Step 2: asks where to upload the file with the cloud name `key` (the script's `uploadpath + filename`).
/// The answer is usually good for 15 minutes.
/// <https://developers.weixin.qq.com/miniprogram/dev/wxcloudrun/src/development/storage/service/upload.html>
fn get_upload_file_info(run: &Run, key: &str) -> Result<UploadFileInfo, Failure> {
    let body = json!({ "env": run.settings.env, "path": key });
    let asked = SystemTime::now();
    let reply = post_json(run, Stage::Info, "/tcb/uploadfile", &body)?;
    let text = |name| text_field(Stage::Info, &reply, name);
    let info = UploadFileInfo {
        url: url::encoded(&text("url")?, key), // the API may write the key raw
        security_token: text("token")?,
        signature: Signature::new(text("authorization")?, asked),
        file_id: text("file_id")?,
        cos_file_id: text("cos_file_id")?,
    };
    if !is_file_id_of(&info.file_id, key) {
        let why = either(
            "the reply's `file_id` is not that of this file",
            "应答中的 `file_id` 不是此文件的",
        );
        return Err(Failure::odd_reply(Stage::Info, why));
    }
    Ok(info)
}

// ---- Step 3: the upload -----------------------------------------------------------------------

/// Step 3: uploads `file` under the cloud name `key`, as the form that COS's "POST Object" expects. If COS
/// reports a CRC-64, it must be that of the bytes sent.
/// <https://developers.weixin.qq.com/miniprogram/dev/wxcloudrun/src/development/storage/service/upload.html>
fn upload_file(
    run: &Run,
    info: &UploadFileInfo,
    key: &str,
    file: &mut FileBody,
) -> Result<(), Failure> {
    let mime = content_type(key, file);
    let mut form = vec![
        ("key", key),
        ("Signature", info.signature.text()),
        ("x-cos-security-token", &info.security_token),
        ("x-cos-meta-fileid", &info.cos_file_id),
    ];
    if let Some(mime) = &mime {
        form.push(("Content-Type", mime));
    }
    if let Some(cache_control) = &run.settings.cache_control {
        form.push(("Cache-Control", cache_control));
    }
    let stored_crc64 = post_object(&run.agent, &info.url, &form, file)?; // the file itself comes last
    if stored_crc64.is_some_and(|crc64| crc64 != file.crc64()) {
        let why = either(
            "what COS stored differs from what was sent (CRC-64)",
            "COS 存下的内容与发送的不一致（CRC-64）",
        );
        let failure = Failure::odd_reply(Stage::Upload, why);
        return Err(failure.with_cure(Cure::TRY_AGAIN));
    }
    file.check_unchanged() // a change while the file was read may show only now
}

// ---- Step 4: the links ------------------------------------------------------------------------

/// Step 4: asks for the links of up to 50 files at once. Returns a result for each of `files`, in order, or
/// an error if the whole call failed.
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
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    let mut links = Vec::new();
    for file in files {
        links.push(link_in(&reply, file, run.settings.auth, &secrets));
    }
    Ok(links)
}

// ---- One file ---------------------------------------------------------------------------------

/// Does steps 1 to 3 for one file, once. Its link is asked for later, together with others.
fn wx_upload_file(run: &Run, file: &ListedFile, name: &CloudName) -> Result<Stored, Failure> {
    // Step 2 gets the token by itself. But the token must be known before the file is opened: `open_body`
    // refuses a file that holds it.
    get_access_token(run, Stage::Info)?;
    let mut body = open_body(run, file, name)?;
    let mut info = get_upload_file_info(run, &name.key)?;
    let proxied = is_proxied(&run.agent, &info.url);
    let uploaded = run.turns.call(Stage::Upload, proxied, || {
        // The upload may have waited for its turn, on a slow line for longer than a signature lives. (Step 2
        // within the upload waits for no upload: the steps have turns of their own.)
        if !info.signature.is_fresh() {
            info = get_upload_file_info(run, &name.key)?;
        }
        if body.is_outdated(&file.path) {
            body = open_body(run, file, name)?;
        }
        let uploaded = upload_file(run, &info, &name.key, &mut body);
        uploaded.map_err(|failure| explained(run, failure, &info, &body))
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

/// Adds to the failure of an upload its probable cause: the signature was too old; or, while no upload of the
/// run has been answered, the way to COS drops large packets.
fn explained(run: &Run, failure: Failure, info: &UploadFileInfo, body: &FileBody) -> Failure {
    let failure = info.signature.judge(failure);
    if run.turns.has_upload_got_through() {
        return failure;
    }
    with_mtu_hint(failure, body.bytes_read())
}

/// Opens a file to upload it under the cloud name `name`. If the name holds a CRC-64, the content must still
/// have it.
fn open_body<'a>(
    run: &Run<'a>,
    file: &ListedFile,
    name: &CloudName,
) -> Result<FileBody<'a>, Failure> {
    let secrets = known_secrets(&run.settings, &run.token);
    let body = FileBody::open(file, run.own_files, &secrets, &run.console.progress)?;
    Ok(body.expecting(name.crc64))
}

/// Uploads one file, with all its tries, unless it is in the cloud already. Tells the progress and the stop
/// signal how it ended. `again`: the manifest said that the file is in the cloud, but step 4 did not find
/// it. Then the manifest is ignored, and the file is sent.
fn upload_with_retries(run: &Run, file: &ListedFile, again: bool) -> Result<Stored, Failure> {
    let progress = &run.console.progress;
    if again {
        progress.add_to_total(file.size); // it was taken away the first time
    }
    let mut claim = None;
    let result = run.retries.with_retries(Stage::Upload, || {
        upload_unless_stored(run, file, again, &mut claim)
    });
    let result = match result {
        Ok(stored) => {
            if stored.is_new() {
                progress.count_stored(stored.size);
                run.stop.note_success();
            } else {
                progress.take_from_total(file.size);
            }
            Ok(stored)
        }
        Err(failure) => {
            progress.take_from_total(file.size);
            Err(run.stop.note_failure(failure))
        }
    };
    if let Some(claim) = claim {
        // After `note_failure`: a thread that waits for this name must see that the run is stopped.
        claim.end(&result);
    }
    result
}

/// Uploads one file, once, unless it is in the cloud already. With `--unique`, another thread may be
/// uploading a file with the same cloud name. Then this thread waits until that one has ended. The `claim`
/// on the name is kept from one try to the next.
fn upload_unless_stored<'a>(
    run: &'a Run,
    file: &ListedFile,
    again: bool,
    claim: &mut Option<Claim<'a>>,
) -> Result<Stored, Failure> {
    let secrets = known_secrets(&run.settings, &run.token);
    let name = run.names.of(file, &secrets)?;
    if let Some(outdated) = claim.take_if(|claim| !claim.is_on(&name)) {
        outdated.give_up(); // the file has changed since the last try
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
    if !again && let Some(stored) = run.manifest.stored_before(file, &name.key) {
        return Ok(stored);
    }
    wx_upload_file(run, file, &name)
}

// ---- All files --------------------------------------------------------------------------------

/// Uploads all files, prints their results and the summary, and returns the exit status.
fn upload_all(run: &Run, listing: &Listing) -> ExitCode {
    let mut report = Report::new(&run.settings, run.console, run.began);
    let upload = |file: &ListedFile, again| upload_with_retries(run, file, again);
    let get_links = |files: &[&Stored]| {
        let ask = |files_left: &[&Stored]| get_download_link(run, files_left);
        run.retries.each_with_retries(Stage::Link, files, ask)
    };
    // Prints what the script printed, in the format that the user wants.
    let report_file = |file: &ListedFile, outcome: &Outcome| {
        if let Err(error) = report.file(file, outcome) {
            run.stop.stop(Stop::OnThisMachine(cannot_print(&error)));
        }
    };
    let files = &listing.files;
    let workers = worker_count(&run.settings.options); // more than `jobs`: some prepare the next files
    let jobs = run.settings.options.jobs;
    let (count, bytes) = (listing.each_once().count(), listing.bytes());
    run.console.while_shown(count, bytes, || {
        run_pipeline(
            files,
            workers,
            jobs,
            run.stop,
            upload,
            get_links,
            report_file,
        );
    });
    report.end(listing, run.stop.reason())
}
