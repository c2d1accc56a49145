//! Replies in the words of the API and of COS. This file does not know when they are sent.

use std::time::Duration;

use serde_json::{Value, json};

use crate::text::{ALPHANUMERIC, HEX, random, to_headers};

pub(crate) type Headers = Vec<(String, String)>;

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
    pub(crate) close: bool,
}

impl Reply {
    pub(crate) fn new(status: u16, headers: Headers, body: Vec<u8>) -> Self {
        Self {
            status,
            headers,
            body,
            close: false,
        }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self::new(status, Vec::new(), Vec::new())
    }

    pub(crate) fn json(value: &Value) -> Self {
        let headers = to_headers(&[("Content-Type", "application/json; encoding=utf-8")]);
        Self::new(200, headers, value.to_string().into())
    }

    /// Returns a refusal in the form that COS uses.
    pub(crate) fn xml(status: u16, code: &str, message: &str) -> Self {
        let message = message
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        let request_id = random(40, ALPHANUMERIC);
        let body = format!(
            "<?xml version='1.0' encoding='utf-8' ?>\n<Error>\n\t<Code>{code}</Code>\n\
             \t<Message>{message}</Message>\n\
             \t<RequestId>{request_id}</RequestId>\n</Error>\n"
        );
        let headers = to_headers(&[
            ("Content-Type", "application/xml"),
            ("x-cos-request-id", &request_id),
        ]);
        Self::new(status, headers, body.into())
    }

    /// Returns a refusal of the container's sidecar. It has no `errcode`, and its code is a text.
    pub(crate) fn sidecar(status: u16, kind: &str, code: &str, message: &str) -> Self {
        let reply = json!({
            "request_id": random(36, HEX),
            "error_type": kind,
            "error_code": code,
            "error_message": message,
        });
        Self {
            status,
            ..Self::json(&reply)
        }
    }

    pub(crate) fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 {} Stand-in\r\n", self.status).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if self.status != 204 {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
        }
        if self.close {
            bytes.extend_from_slice(b"Connection: close\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// A refusal in the form that the API uses. Its HTTP status is 200.
pub(crate) struct Refusal {
    pub(crate) errcode: i64,
    pub(crate) errmsg: String,
}

impl Refusal {
    pub(crate) fn new(errcode: i64, errmsg: impl Into<String>) -> Self {
        Self {
            errcode,
            errmsg: errmsg.into(),
        }
    }
}

impl From<Refusal> for Reply {
    fn from(Refusal { errcode, errmsg }: Refusal) -> Self {
        let rid = random(8, HEX);
        Reply::json(&json!({ "errcode": errcode, "errmsg": format!("{errmsg} rid: {rid}") }))
    }
}

/// How a connection ends.
pub(crate) enum Ending {
    Close,
    /// Close after this time, without reading anything more.
    CloseAfter(Duration),
    Reset,
    /// Send nothing until the peer closes.
    Silence,
    /// Send nothing and read nothing until the stand-in stops.
    StopReading,
}

/// Either the reply to a request, or the way in which the connection ends without a reply.
pub(crate) type Answer = Result<Reply, Ending>;
