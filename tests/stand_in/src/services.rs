//! The answers of the services: tokens, upload permits, COS, links and downloads.
//!
//! They are stricter than the real services: everything that a careful client never does becomes a
//! complaint. This file does not know sockets, and it does not know faults.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::forms::FormFile;
use crate::reply::{Refusal, Reply};
use crate::request::{Request, Step};
use crate::state::{Object, Permit, Shared, State, Token, TokenKind};
use crate::text::{ALPHANUMERIC, HEX, percent_decode, percent_encode, random, to_headers};
use crate::{APPID, ENV, SECRET};

pub(crate) const BUCKET: &str = "7072-prod-1g2h3j4k5l-1300000000";
const MAX_KEY_BYTES: usize = 850;
const LINKS_PER_CALL: usize = 50;
/// The fields of the upload form, in their order.
const FORM_FIELDS: [&str; 7] = [
    "key",
    "Signature",
    "x-cos-security-token",
    "x-cos-meta-fileid",
    "Content-Type",
    "Cache-Control",
    "file",
];
const OPTIONAL_FIELDS: [&str; 2] = ["Content-Type", "Cache-Control"];

impl Shared {
    pub(crate) fn serve_api(&self, request: &Request) -> Reply {
        let mut state = self.lock();
        if request.step == Step::Download {
            return state.download(request);
        }
        if let Some(refusal) = state.sidecar_refusal(request) {
            return refusal;
        }
        let result = match request.path() {
            "/cgi-bin/token" => state.token(request),
            "/cgi-bin/stable_token" => state.stable_token(request),
            "/tcb/uploadfile" => state.upload_info(request),
            _ => state.links(request),
        };
        result.map_or_else(Reply::from, |value| Reply::json(&value))
    }

    pub(crate) fn store_object(&self, request: &Request, file: FormFile) -> Reply {
        self.lock().store_object(request, file)
    }
}

impl State {
    /// Refuses a request that a careful client never sends, and keeps a complaint.
    fn offence(&mut self, request: &Request, errcode: i64, errmsg: impl Into<String>) -> Refusal {
        let errmsg = errmsg.into();
        self.complain(format!("{}: {errmsg}", request.path()));
        Refusal::new(errcode, errmsg)
    }

    /// Returns the refusal of the container's sidecar, if it does not let the call through.
    fn sidecar_refusal(&self, request: &Request) -> Option<Reply> {
        let permitted = self.permission_list.as_ref().filter(|_| self.auth_none)?;
        if permitted.iter().any(|path| path == request.path()) {
            return None;
        }
        let message = "URL不在白名单内，请在控制台「云调用权限配置」中添加";
        Some(Reply::sidecar(200, "SafeLinkError", "85107", message))
    }

    fn token(&mut self, request: &Request) -> Result<Value, Refusal> {
        if request.method != "GET" {
            return Err(self.offence(request, 43002, "require GET method"));
        }
        let query = Value::Object(
            request
                .query()
                .into_iter()
                .map(|(name, value)| (name, value.into()))
                .collect(),
        );
        self.check_account(request, &query)?;
        let dies = Instant::now() + self.token_grace;
        self.tokens
            .iter_mut()
            .filter(|token| token.kind != TokenKind::Stable)
            .for_each(|token| token.die(dies));
        Ok(self.new_token(TokenKind::Plain))
    }

    fn stable_token(&mut self, request: &Request) -> Result<Value, Refusal> {
        let body = self.json_body(request)?;
        if !request.query().is_empty() {
            return Err(self.offence(request, 40097, "a query in the URL"));
        }
        self.check_account(request, &body)?;
        let now = Instant::now();
        if body["force_refresh"] == true {
            let stable = self
                .tokens
                .iter_mut()
                .filter(|token| token.kind == TokenKind::Stable);
            stable.for_each(|token| token.die(now));
        }
        let lives = |token: &&Token| {
            token.kind == TokenKind::Stable && !token.is_dead(now) && !token.is_expired(now)
        };
        let Some(token) = self.tokens.iter().find(lives) else {
            return Ok(self.new_token(TokenKind::Stable));
        };
        let seconds_left = token.expires.duration_since(now).as_secs();
        Ok(json!({ "access_token": token.value, "expires_in": seconds_left }))
    }

    fn new_token(&mut self, kind: TokenKind) -> Value {
        let value = format!(
            "92_{}-{}_",
            random(60, ALPHANUMERIC),
            random(70, ALPHANUMERIC)
        );
        self.add_token(kind, value.clone());
        json!({ "access_token": value, "expires_in": self.expires_in })
    }

    fn check_account(&mut self, request: &Request, account: &Value) -> Result<(), Refusal> {
        if self.auth_none {
            self.complain("the client asked for a token that it does not need");
        }
        if account["grant_type"] != "client_credential" {
            return Err(self.offence(request, 40002, "invalid grant_type"));
        }
        if account["appid"] != APPID {
            return Err(self.offence(request, 40013, "invalid appid"));
        }
        if account["secret"] != SECRET {
            // AppSecret错误或者AppSecret不属于这个小程序
            return Err(self.offence(request, 40001, "invalid credential, secret is wrong"));
        }
        Ok(())
    }

    fn check_access_token(&mut self, request: &Request) -> Result<(), Refusal> {
        if let Some((name, _)) = request
            .query()
            .into_iter()
            .find(|(name, _)| name != "access_token")
        {
            return Err(self.offence(request, 40097, format!("unknown query parameter {name}")));
        }
        let access_token = request.query_value("access_token");
        let access_token = match (self.auth_none, access_token) {
            (true, None) => return Ok(()),
            (true, Some(_)) => {
                return Err(self.offence(request, 40001, "access_token sent where none is needed"));
            }
            (false, None) => return Err(self.offence(request, 41001, "access_token missing")),
            (false, Some(access_token)) => access_token,
        };
        let invalid =
            format!("invalid credential, access_token is invalid or not latest: {access_token}");
        let now = Instant::now();
        match self
            .tokens
            .iter()
            .rev()
            .find(|token| token.value == access_token)
        {
            None => Err(self.offence(request, 40001, invalid)),
            Some(token) if token.is_dead(now) => Err(Refusal::new(40001, invalid)),
            Some(token) if token.is_expired(now) => {
                Err(Refusal::new(42001, "access_token expired"))
            }
            Some(_) => Ok(()),
        }
    }

    /// Returns the body of an API call. It must be a POST with JSON in raw UTF-8.
    fn json_body(&mut self, request: &Request) -> Result<Value, Refusal> {
        if request.method != "POST" {
            return Err(self.offence(request, 43002, "require POST method"));
        }
        if request.body.is_empty() {
            return Err(self.offence(request, 44002, "empty post data"));
        }
        let media_type = request
            .header("Content-Type")
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default();
        if !media_type.trim().eq_ignore_ascii_case("application/json") {
            return Err(self.offence(request, 47001, format!("Content-Type is {media_type:?}")));
        }
        if has_unicode_escape(&request.body) {
            self.complain(format!("{}: a \\u escape in the JSON", request.path()));
        }
        match serde_json::from_slice(&request.body) {
            Ok(body @ Value::Object(_)) => Ok(body),
            _ => Err(self.offence(request, 47001, "data format error")),
        }
    }

    /// Returns the body of a call below `/tcb/`, after checking its token and `env`.
    fn tcb_body(&mut self, request: &Request) -> Result<Value, Refusal> {
        self.check_access_token(request)?;
        let body = self.json_body(request)?;
        if body["env"] != ENV {
            let errmsg = format!("INVALID_ENV: {} env not exists", body["env"]);
            return Err(self.offence(request, -501_000, errmsg));
        }
        Ok(body)
    }

    fn upload_info(&mut self, request: &Request) -> Result<Value, Refusal> {
        let body = self.tcb_body(request)?;
        let Some(key) = body["path"].as_str().filter(|key| is_valid_key(key)) else {
            return Err(self.offence(request, 40097, format!("invalid path {}", body["path"])));
        };
        let start = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let end = start + self.signature_lifetime.as_secs();
        let authorization = format!(
            "q-sign-algorithm=sha1&q-ak=AKID{}&q-sign-time={start};{end}&q-key-time={start};{end}\
             &q-header-list=&q-url-param-list=&q-signature={}",
            random(32, ALPHANUMERIC),
            random(40, HEX)
        );
        let permit = Permit {
            key: key.to_owned(),
            token: format!(
                "{}+/{}==",
                random(40, ALPHANUMERIC),
                random(300, ALPHANUMERIC)
            ),
            file_id: self.file_id(key),
            cos_file_id: format!(
                "{}+/{}==",
                random(20, ALPHANUMERIC),
                random(40, ALPHANUMERIC)
            ),
            expires: Instant::now() + self.signature_lifetime,
            escaped: has_unicode_escape(&request.body),
        };
        let origin = self.upload_origin.as_ref().unwrap_or(&self.base);
        let reply = json!({
            "errcode": 0,
            "errmsg": "ok",
            "url": format!("{origin}/cos/{BUCKET}/{}{}", self.in_url(key), self.url_query),
            "token": permit.token,
            "authorization": authorization,
            "file_id": permit.file_id,
            "cos_file_id": permit.cos_file_id,
        });
        self.permits.insert(authorization, permit);
        Ok(reply)
    }

    fn links(&mut self, request: &Request) -> Result<Value, Refusal> {
        let body = self.tcb_body(request)?;
        let entries = body["file_list"].as_array().map_or(&[][..], Vec::as_slice);
        let file_ids: Option<Vec<_>> = entries
            .iter()
            .map(|entry| entry["fileid"].as_str())
            .collect();
        let Some(file_ids) = file_ids.filter(|ids| (1..=LINKS_PER_CALL).contains(&ids.len()))
        else {
            let refusal = format!("invalid file_list of {} entries", entries.len());
            return Err(self.offence(request, 40097, refusal));
        };
        let links: Vec<_> = file_ids
            .into_iter()
            .map(|file_id| self.link(file_id))
            .collect();
        Ok(json!({ "errcode": 0, "errmsg": "ok", "file_list": links }))
    }

    fn link(&mut self, file_id: &str) -> Value {
        let key = self.key_of(file_id);
        let (url, status, errmsg) = match key.filter(|key| self.finds(key)) {
            Some(key) => (
                format!(
                    "{}/download/{}{}",
                    self.base,
                    self.in_url(&key),
                    self.url_query
                ),
                0,
                "ok",
            ),
            None => (String::new(), -503_003, "STORAGE_FILE_NONEXIST"),
        };
        json!({ "fileid": file_id, "download_url": url, "status": status, "errmsg": errmsg })
    }

    /// Tells whether a call for links finds an object, and counts the call.
    fn finds(&mut self, key: &str) -> bool {
        let Some(object) = self.objects.get_mut(key) else {
            return false;
        };
        let is_found = object.linkable && object.hidden_for == 0;
        object.hidden_for = object.hidden_for.saturating_sub(1);
        is_found
    }

    /// Returns the `file_id` of a key as it stands in a reply.
    fn file_id(&self, key: &str) -> String {
        match self.encoded_file_ids {
            true => file_id_of(&percent_encode(key)),
            false => file_id_of(key),
        }
    }

    /// Returns the key that a `file_id` names.
    fn key_of(&self, file_id: &str) -> Option<String> {
        let key = file_id.strip_prefix(&file_id_of(""))?;
        Some(match self.encoded_file_ids {
            true => percent_decode(key),
            false => key.to_owned(),
        })
    }

    /// Returns the key as it stands in a URL.
    fn in_url(&self, key: &str) -> String {
        match self.raw_urls {
            true => key.to_owned(),
            false => percent_encode(key),
        }
    }

    fn download(&self, request: &Request) -> Reply {
        let object = request
            .key
            .as_ref()
            .and_then(|key| self.objects.get(key))
            .filter(|object| object.linkable);
        let Some((object, bytes)) = object.and_then(|object| Some((object, object.bytes.clone()?)))
        else {
            return Reply::xml(
                404,
                "NoSuchKey",
                "The specified key does not exist, or its bytes were not kept.",
            );
        };
        let mut headers = Vec::new();
        for (name, value) in [
            ("Content-Type", &object.content_type),
            ("Cache-Control", &object.cache_control),
        ] {
            headers.extend(value.clone().map(|value| (name.to_owned(), value)));
        }
        Reply::new(200, headers, bytes)
    }

    /// Checks the form and keeps the object, as COS does.
    fn store_object(&mut self, request: &Request, file: FormFile) -> Reply {
        let path = request.path();
        if request.method != "POST" {
            self.complain(format!("{} {path}", request.method));
            return Reply::xml(
                405,
                "MethodNotAllowed",
                "The specified method is not allowed.",
            );
        }
        self.check_fields(request);
        let permit = match self.permit(request) {
            Ok(permit) => permit,
            Err(refusal) => return refusal,
        };
        let file_id_is_right = request.field("x-cos-meta-fileid") == Some(&permit.cos_file_id);
        let object = Object {
            size: request.file_size,
            bytes: file.bytes,
            crc64: file.crc64,
            content_type: request.field("Content-Type").map(Into::into),
            cache_control: request.field("Cache-Control").map(Into::into),
            file_id: permit.file_id,
            linkable: file_id_is_right && !permit.escaped,
            hidden_for: self.hidden_for,
        };
        // COS puts the file name that the `file` part states in its place.
        let file_name = request.fields.last().map_or("", |(_, name)| name);
        let key = permit.key.replace("${filename}", file_name);
        self.objects.insert(key, object);
        if request.file_type.is_none() {
            // COS accepts this, but some parsers take such a part for a text field.
            self.complain(format!("{path}: the file part states no type"));
        }
        if !file_id_is_right {
            self.complain(format!("{path}: x-cos-meta-fileid is wrong or missing"));
        }
        let etag = format!("\"{}\"", random(32, HEX));
        let mut headers = to_headers(&[
            ("ETag", &etag),
            ("x-cos-request-id", &random(40, ALPHANUMERIC)),
        ]);
        if self.check_crc {
            headers.push(("x-cos-hash-crc64ecma".into(), file.crc64.to_string()));
        }
        Reply::new(204, headers, Vec::new())
    }

    fn check_fields(&mut self, request: &Request) {
        let fields = request.fields.iter();
        let names: Vec<_> = fields.map(|(name, _)| name.as_str()).collect();
        let expected = FORM_FIELDS
            .into_iter()
            .filter(|name| !OPTIONAL_FIELDS.contains(name) || names.contains(name));
        if !expected.eq(names.iter().copied()) {
            self.complain(format!("{}: form fields {names:?}", request.path()));
        }
    }

    /// Finds the permit of the form's `Signature`. The error is COS's reply to the form.
    fn permit(&mut self, request: &Request) -> Result<Permit, Reply> {
        let path = request.path();
        let signature = request.field("Signature").unwrap_or_default();
        let Some(permit) = self.permits.get(signature).cloned() else {
            self.complain(format!("{path}: a Signature that was never given"));
            let message = format!("The Signature you specified is invalid: {signature}");
            return Err(Reply::xml(403, "SignatureDoesNotMatch", &message));
        };
        if permit.expires <= Instant::now() {
            let message = format!("Request has expired: {signature}");
            return Err(Reply::xml(403, "AccessDenied", &message));
        }
        let key = Some(permit.key.as_str());
        let refusal = if request.field("key") != key || request.key.as_deref() != key {
            "the Signature is for another key"
        } else if request.field("x-cos-security-token") != Some(&permit.token) {
            "the x-cos-security-token is not the Signature's"
        } else {
            return Ok(permit);
        };
        self.complain(format!("{path}: {refusal}"));
        let message = format!("{refusal}: {signature}");
        Err(Reply::xml(403, "AccessDenied", &message))
    }
}

/// Checks a key against the official naming rules (官方文件名命名限制).
fn is_valid_key(key: &str) -> bool {
    let has_bounds = !key.is_empty() && key.len() <= MAX_KEY_BYTES;
    has_bounds && !key.starts_with('/') && !key.contains("//") && !key.contains(char::is_control)
}

/// Returns the `file_id` of a cloud key.
pub fn file_id_of(key: &str) -> String {
    format!("cloud://{ENV}.{BUCKET}/{key}")
}

/// Finds a `\u` escape in JSON text. An escaped backslash before a `u` is not one.
fn has_unicode_escape(json: &[u8]) -> bool {
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        if *byte == b'\\' && bytes.next() == Some(&b'u') {
            return true;
        }
    }
    false
}
