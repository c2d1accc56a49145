//! Faults: the ways in which the stand-in fails on purpose.
//!
//! This file knows the faults and the answers that some of them give instead of the service. The
//! connection does the rest. This file does not know sockets.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::reply::{Answer, Ending, Headers, Refusal, Reply};
use crate::request::{Request, Step};
use crate::text::{percent_decode, to_headers};

/// The requests of a step that a fault strikes.
#[derive(Clone, Debug)]
pub enum When {
    /// The next request.
    Once,
    /// The next n requests.
    Times(usize),
    /// All requests.
    Always,
    /// The n-th request since the start of the stand-in. The first one is 1.
    Nth(usize),
    /// All requests with this cloud key ([`Request::key`]).
    Key(String),
}

type EditJson = dyn Fn(&mut Value) + Send + Sync;
type EditBytes = dyn Fn(&mut Vec<u8>) + Send + Sync;
pub(crate) type Call = dyn Fn() + Send + Sync;
type ChooseFault = dyn Fn(&Request) -> Option<Fault> + Send + Sync;

/// A way to fail. The request has no effect, unless the description says "Serves the request".
///
/// The body of an API call is small and is always read whole. So for an API call a fault in the
/// middle of the body looks to the client like one at its end.
#[derive(Clone)]
pub enum Fault {
    /// Resets the connection (RST) before the body.
    ResetBeforeReply,
    /// Resets the connection after this number of bytes of the body.
    ResetAt(u64),
    /// Resets the connection after the body.
    ResetAfterBody,
    /// Closes in an orderly way after the body, without a reply.
    Close,
    /// Serves the request, but sends half of the reply and closes.
    HalfReply,
    /// Sends no answer and keeps the connection open until the peer closes it.
    Silence,
    /// Does as `Silence`, and never reads the second half of the body.
    StopReading,
    /// Sends this reply.
    Status {
        code: u16,
        headers: Headers,
        body: Vec<u8>,
    },
    /// Sends this reply before the body is read, then closes. This cuts off a peer that is still
    /// sending.
    EarlyStatus {
        code: u16,
        headers: Headers,
        body: Vec<u8>,
    },
    /// Sends this status and COS's XML with this code. The message repeats the secrets of the form.
    CosError(u16, String),
    /// Sends this body with status 200.
    Body(Vec<u8>),
    /// Sends JSON with this errcode. The errmsg repeats the secrets of the caller, as the API does
    /// with tokens.
    Errcode(i64),
    /// Sends JSON with this errcode and errmsg.
    Refusal(i64, String),
    /// Refuses with this status and code as the sidecar of a container does. Its message repeats
    /// the target of the request.
    Sidecar(u16, String),
    /// Serves the request and edits the JSON of the reply.
    Edit(Arc<EditJson>),
    /// Serves the request, edits the bytes of the reply (head and body), and closes after it.
    EditBytes(Arc<EditBytes>),
    /// Serves the request, and replaces, adds or (`None`) removes these headers of the reply.
    Headers(Vec<(String, Option<String>)>),
    /// Serves the request slowly. Reads the body of an upload at this pace; for any other step,
    /// writes the reply at this pace.
    Slow { chunk: usize, pause: Duration },
    /// Serves the request, and calls the function after this number of bytes of the body, or at its
    /// end. Meanwhile it reads nothing, so the client is not far ahead.
    At(u64, Arc<Call>),
    /// Serves the request, and sends new keys of TLS after this number of bytes of the body.
    NewKeys(u64),
    /// Serves the request, but sends the reply this much later.
    Delay(Duration),
    /// Serves the request, but drops the connection without a word: closes it after this time, and reads
    /// nothing before.
    DropAfter(Duration),
    /// Serves the request, and answers no other on this connection.
    Deaf,
    /// Does as `Deaf`, and sends TLS's `close_notify` after the reply.
    CloseNotify,
    /// Serves the request, but holds the reply back until [`StandIn::open_gate`].
    Hold,
    /// Calls the function with the request and does what it returns. With `None` the request is
    /// served, and [`When`] does not count it.
    Custom(Arc<ChooseFault>),
    /// Calls the function after the body has come in. The function may take its time. Sends the
    /// answer of the fault that it returns, or serves the request with `None`.
    AfterBody(Arc<ChooseFault>),
}

impl Fault {
    pub fn status(code: u16, headers: &[(&str, &str)], body: &str) -> Self {
        Self::Status {
            code,
            headers: to_headers(headers),
            body: body.into(),
        }
    }

    /// Refuses as COS does, with this code (such as `SlowDown`).
    pub fn cos_error(status: u16, code: &str) -> Self {
        Self::CosError(status, code.to_owned())
    }

    /// Refuses with this errcode and errmsg.
    pub fn refusal(errcode: i64, errmsg: &str) -> Self {
        Self::Refusal(errcode, errmsg.to_owned())
    }

    /// Refuses as the sidecar of a container does, with this code (such as `85107`).
    pub fn sidecar(status: u16, code: &str) -> Self {
        Self::Sidecar(status, code.to_owned())
    }

    pub fn edit(edit: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        Self::Edit(Arc::new(edit))
    }

    pub fn edit_bytes(edit: impl Fn(&mut Vec<u8>) + Send + Sync + 'static) -> Self {
        Self::EditBytes(Arc::new(edit))
    }

    pub fn headers(headers: &[(&str, Option<&str>)]) -> Self {
        Self::Headers(
            headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.map(Into::into)))
                .collect(),
        )
    }

    pub fn at(bytes: u64, call: impl Fn() + Send + Sync + 'static) -> Self {
        Self::At(bytes, Arc::new(call))
    }

    pub fn custom(choose: impl Fn(&Request) -> Option<Fault> + Send + Sync + 'static) -> Self {
        Self::Custom(Arc::new(choose))
    }

    pub fn after_body(choose: impl Fn(&Request) -> Option<Fault> + Send + Sync + 'static) -> Self {
        Self::AfterBody(Arc::new(choose))
    }
}

pub(crate) struct Rule {
    pub(crate) step: Step,
    pub(crate) when: When,
    pub(crate) fault: Fault,
    pub(crate) strikes: usize,
}

impl Rule {
    pub(crate) fn concerns(&self, request: &Request, nth: usize) -> bool {
        self.step == request.step
            && match &self.when {
                When::Once => self.strikes < 1,
                When::Times(n) => self.strikes < *n,
                When::Always => true,
                When::Nth(n) => nth == *n,
                When::Key(key) => request.key.as_ref() == Some(key),
            }
    }
}

/// Returns the answer that a fault gives instead of the service, if it gives one.
pub(crate) fn substitute(fault: Option<&Fault>, request: &Request) -> Option<Answer> {
    Some(match fault? {
        Fault::Status {
            code,
            headers,
            body,
        } => Ok(Reply::new(*code, headers.clone(), body.clone())),
        Fault::Body(body) => Ok(Reply {
            body: body.clone(),
            ..Reply::json(&Value::Null)
        }),
        Fault::Errcode(errcode) => {
            let body = String::from_utf8_lossy(&request.body);
            let errmsg = format!("injected for {} {body}", percent_decode(&request.target));
            Ok(Refusal::new(*errcode, errmsg).into())
        }
        Fault::Refusal(errcode, errmsg) => Ok(Refusal::new(*errcode, errmsg.as_str()).into()),
        Fault::Sidecar(status, code) => {
            let message = format!("injected for {}", percent_decode(&request.target));
            Ok(Reply::sidecar(*status, "GatewayError", code, &message))
        }
        Fault::CosError(status, code) => {
            let message = format!("injected for {:?}", request.fields);
            Ok(Reply::xml(*status, code, &message))
        }
        Fault::ResetAt(_) | Fault::ResetAfterBody => Err(Ending::Reset),
        Fault::Close => Err(Ending::Close),
        Fault::Silence | Fault::StopReading => Err(Ending::Silence),
        Fault::AfterBody(choose) => return substitute(choose(request).as_ref(), request),
        _ => return None,
    })
}

/// Makes the changes of a fault in the reply of the service.
pub(crate) fn edit_reply(fault: &Fault, reply: &mut Reply) {
    match fault {
        Fault::Edit(edit) => {
            if let Ok(mut value) = serde_json::from_slice(&reply.body) {
                edit(&mut value);
                reply.body = value.to_string().into();
            }
        }
        Fault::Headers(changes) => {
            for (name, value) in changes {
                reply.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
                let header = value.clone().map(|value| (name.clone(), value));
                reply.headers.extend(header);
            }
        }
        _ => {}
    }
}
