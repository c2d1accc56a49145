//! Requests, as they came in.

use std::time::Instant;

use serde_json::Value;

use crate::text::percent_decode;

/// What a request is for.
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

/// A request as it came in. An upload is logged when its head has arrived, its form when that is
/// complete.
#[derive(Clone, Debug)]
pub struct Request {
    pub step: Step,
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// An API call's body; empty for an upload.
    pub body: Vec<u8>,
    /// An upload's fields in the order sent; the value of `file` is the file name that its part
    /// states.
    pub fields: Vec<(String, String)>,
    /// The type that an upload's `file` part states.
    pub file_type: Option<String>,
    /// Bytes in an upload's `file`.
    pub file_size: u64,
    /// The cloud key: what [`Step::Info`] asks for, what the URL of an upload or download names.
    pub key: Option<String>,
    /// The number of the connection that it came on, from 1.
    pub connection: usize,
    pub at: Instant,
}

impl Request {
    /// The first header of this name, in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The value of an upload's form field, of those before `file`: COS ignores what comes after.
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

    /// The query's pairs, decoded as a web form's.
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
