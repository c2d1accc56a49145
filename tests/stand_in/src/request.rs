//! Requests as they came in. This file does not know what is right or wrong about them.

use std::time::Instant;

use serde_json::Value;

use crate::text::percent_decode;

/// The step of an upload that a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// `GET /cgi-bin/token` and `POST /cgi-bin/stable_token`
    Token,
    /// `POST /tcb/uploadfile`
    Info,
    /// the form `POST` to COS
    Upload,
    /// `POST /tcb/batchdownloadfile`
    Link,
    /// `GET` of a link's `download_url`
    Download,
}

/// A request in the log. An upload is logged when its head has arrived. Its form is added when it
/// is complete.
#[derive(Clone, Debug)]
pub struct Request {
    pub step: Step,
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// The body of an API call. Empty for an upload.
    pub body: Vec<u8>,
    /// The form fields of an upload, in the order sent. The value of `file` is the file name that
    /// this part states.
    pub fields: Vec<(String, String)>,
    /// The `Content-Type` that the `file` part of an upload states.
    pub file_type: Option<String>,
    /// The number of bytes in the `file` part of an upload.
    pub file_size: u64,
    /// The cloud key: the `path` of a [`Step::Info`], or the key in the URL of an upload or a
    /// download.
    pub key: Option<String>,
    /// The number of the connection on which the request came. The first one is 1.
    pub connection: usize,
    pub at: Instant,
}

impl Request {
    /// Returns the first header of this name. The case of letters does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Returns the body as JSON, or null if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Returns the value of a form field before `file`. COS ignores the fields after `file`.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut before_file = self.fields.iter().take_while(|(n, _)| n != "file");
        before_file
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn path(&self) -> &str {
        self.target
            .split_once('?')
            .map_or(&self.target, |(path, _)| path)
    }

    /// Returns the pairs of the query, decoded like those of a web form.
    pub(crate) fn query(&self) -> Vec<(String, String)> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let decode = |text: &str| percent_decode(&text.replace('+', " "));
        query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (decode(name), decode(value)))
            .collect()
    }

    pub(crate) fn query_value(&self, name: &str) -> Option<String> {
        self.query()
            .into_iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value)
    }
}
