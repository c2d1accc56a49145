//! What goes wrong, and when.
//!
//! Knows what a fault is, and what stands in the place of a proper answer; the rest is up to the
//! connection that it strikes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::reply::{Answer, Ending, Headers, Refusal, Reply};
use crate::request::{Request, Step};
use crate::text::{owned, percent_decode};

#[derive(Clone, Debug)]
pub enum When {
    /// The next.
    Once,
    /// The next so many.
    Times(usize),
    Always,
    /// The n-th of the step since the stand-in was started, from 1.
    Nth(usize),
    /// All for this cloud key (of [`Request::key`]).
    Key(String),
}

type EditJson = dyn Fn(&mut Value) + Send + Sync;
type EditBytes = dyn Fn(&mut Vec<u8>) + Send + Sync;
type ChooseFault = dyn Fn(&Request) -> Option<Fault> + Send + Sync;

/// What goes wrong. Unless it says "properly", the request has no effect.
///
/// The body of an API call, which is small, has been read in any case: there the faults in the
/// middle of the body differ from those at its end in nothing that a client could notice.
#[derive(Clone)]
pub enum Fault {
    /// RST before the body.
    ResetBeforeReply,
    /// RST after so many bytes of the body.
    ResetAt(u64),
    /// RST after the body.
    ResetAfterBody,
    /// An orderly close after the body, without a reply.
    Close,
    /// Served properly, but an orderly close comes after half of the reply.
    HalfReply,
    /// No answer, and the connection stays open until the peer leaves.
    Silence,
    /// As `Silence`, but also the second half of the body is never read.
    StopReading,
    /// This reply.
    Status {
        code: u16,
        headers: Headers,
        body: Vec<u8>,
    },
    /// This reply before the body is read, then a close, which cuts off a peer that is still
    /// sending.
    EarlyStatus {
        code: u16,
        headers: Headers,
        body: Vec<u8>,
    },
    /// A status and COS's XML with this code. Its message repeats the form's secrets.
    CosError(u16, String),
    /// Status 200 with this body.
    Body(Vec<u8>),
    /// A JSON reply with this errcode. Its errmsg repeats the caller's secrets, as the API's does
    /// for tokens.
    Errcode(i64),
    /// Served properly, with the JSON reply edited.
    Edit(Arc<EditJson>),
    /// Served properly, with the bytes of the reply, head and all, edited, and then an orderly
    /// close.
    EditBytes(Arc<EditBytes>),
    /// Served properly, with these headers of the reply replaced, added or (`None`) left out.
    Headers(Vec<(String, Option<String>)>),
    /// Served properly, at this pace: an upload's body on its way in, any other step's reply on its
    /// way out.
    Slow { chunk: usize, pause: Duration },
    /// Served properly, with the reply so much later.
    Delay(Duration),
    /// Served properly, with the reply held back until [`StandIn::open_gate`].
    Hold,
    /// What the function chooses, knowing the request; `None` does not count as a strike.
    Custom(Arc<ChooseFault>),
}

impl Fault {
    pub fn status(code: u16, headers: &[(&str, &str)], body: &str) -> Self {
        Self::Status {
            code,
            headers: owned(headers),
            body: body.into(),
        }
    }

    /// COS's refusal with this code, `SlowDown` say.
    pub fn cos_error(status: u16, code: &str) -> Self {
        Self::CosError(status, code.to_owned())
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

    pub fn custom(choose: impl Fn(&Request) -> Option<Fault> + Send + Sync + 'static) -> Self {
        Self::Custom(Arc::new(choose))
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

/// What a fault puts in the place of the proper answer.
pub(crate) fn instead(fault: Option<&Fault>, request: &Request) -> Option<Answer> {
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
        Fault::CosError(status, code) => {
            let message = format!("injected for {:?}", request.fields);
            Ok(Reply::xml(*status, code, &message))
        }
        Fault::ResetAt(_) | Fault::ResetAfterBody => Err(Ending::Reset),
        Fault::Close => Err(Ending::Close),
        Fault::Silence | Fault::StopReading => Err(Ending::Silence),
        _ => return None,
    })
}

/// Changes a reply that is proper otherwise.
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
