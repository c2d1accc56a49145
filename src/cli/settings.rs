//! The settings of a run: the command line, the config's keys and the environment, put together and
//! checked.
//!
//! Does not open files and does not send anything.

use std::path::{self, Path, PathBuf};

use serde_json::Value;
use ureq::http::Uri;

use super::config_file::{TEXT_KEYS, has_own_key, or_default, text_in, variable};
use super::options::Options;
use crate::cloud_rules;
use crate::url::{is_this_machine, web_address};
use crate::words::{either, listed, words};

pub const DEFAULT_DIR: &str = "./154190339_附件/"; // the script's own directory
const DEFAULT_FOLDER: &str = "temp3/"; // the script's own cloud folder

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
    pub appid: Option<String>,
    /// The AppSecret, which no output may show.
    pub secret: Option<String>,
    secret_may_be_sent: bool,
    pub env: String,
    /// The prefix of each cloud name: empty, or with a last `/`.
    pub prefix: String,
    pub auth: Auth,
    /// The config has no `auth`, so it is `token`, as in the script.
    pub auth_is_default: bool,
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
            auth_is_default: text_in(config, "auth").is_none(),
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

/// Checks that the keys that hold texts hold nothing else.
fn check_texts(config: &Value) -> Result<(), String> {
    for key in TEXT_KEYS {
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
