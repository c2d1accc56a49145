//! Connections: requests are read, and replies written, as the faults that strike them want it.
//!
//! Does not know what the services answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ServerConnection, StreamOwned};
use socket2::SockRef;

use crate::faults::{Fault, instead};
use crate::forms::{Body, CHUNK, FormError, MAX_STORED, read_form};
use crate::io::{Io, Socket, shrink_receive_buffer};
use crate::reply::Reply;
use crate::request::{Request, Step};
use crate::services::BUCKET;
use crate::state::Shared;
use crate::text::percent_decode;

const MAX_HEAD: u64 = 64 << 10;
const MAX_API_BODY: u64 = 1 << 20;

pub(crate) fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    for tcp in listener.incoming() {
        if shared.lock().stopped {
            break;
        }
        let Ok(tcp) = tcp else { continue };
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // An I/O error is the end of a connection, which every client may bring about.
            serve_connection(&shared, tcp).ok();
        });
    }
}

pub(crate) fn serve_connection(shared: &Shared, tcp: TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let control = tcp.try_clone()?;
    let registered = tcp.try_clone()?;
    let number = shared.change(|state| {
        state.connections += 1;
        state.open.insert(state.connections, registered);
        state.connections
    });
    if shared.lock().stopped {
        return Ok(()); // too late for `drop` to have closed it
    }
    let io = match &shared.tls {
        None => Io::Plain(tcp),
        Some(config) => {
            let tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
            Io::Tls(Box::new(StreamOwned::new(
                tls,
                Socket(BufReader::with_capacity(CHUNK, tcp)),
            )))
        }
    };
    let mut connection = Connection {
        io: BufReader::new(io),
        control,
        number,
    };
    let ended = match connection.serve(shared) {
        Err(error) => Err(error),
        Ok(Ending::Close) => connection.io.get_mut().close(),
        Ok(Ending::Reset) => SockRef::from(&connection.control).set_linger(Some(Duration::ZERO)),
        Ok(Ending::Silence) => io::copy(&mut connection.control, &mut io::sink()).map(drop),
        Ok(Ending::StopReading) => {
            shared.wait(Duration::MAX, |_| false);
            Ok(())
        }
    };
    shared.lock().open.remove(&number);
    ended
}

/// How a connection ends.
pub(crate) enum Ending {
    Close,
    Reset,
    /// Say nothing until the peer leaves.
    Silence,
    /// Say nothing and read nothing until the stand-in ends.
    StopReading,
}

/// Either the reply to a request, or the end of the connection without one.
pub(crate) type Answer = Result<Reply, Ending>;

pub(crate) struct Connection {
    pub(crate) io: BufReader<Io>,
    pub(crate) control: TcpStream,
    pub(crate) number: usize,
}

impl Connection {
    fn serve(&mut self, shared: &Shared) -> io::Result<Ending> {
        while let Some(mut request) = self.read_head(shared)? {
            let is_upload = request.step == Step::Upload;
            if is_upload {
                shared.change(|state| {
                    state.uploads += 1;
                    state.most_uploads = state.most_uploads.max(state.uploads);
                });
            }
            let ending = self.answer(shared, &mut request);
            if is_upload {
                shared.change(|state| state.uploads -= 1);
            }
            if let Some(ending) = ending? {
                return Ok(ending);
            }
        }
        Ok(Ending::Close)
    }

    /// The head of the next request; none at the end of the connection, or if it is no request for
    /// us.
    fn read_head(&mut self, shared: &Shared) -> io::Result<Option<Request>> {
        let mut head = Vec::new();
        let mut limited = (&mut self.io).take(MAX_HEAD);
        while !head.ends_with(b"\r\n\r\n") {
            if limited.read_until(b'\n', &mut head)? == 0 {
                if limited.limit() == 0 {
                    shared.complain("the head of a request is over 64 KiB");
                }
                return Ok(None);
            }
        }
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut headers);
        let (Ok(httparse::Status::Complete(_)), Some(method), Some(target)) =
            (parsed.parse(&head), parsed.method, parsed.path)
        else {
            shared.complain(format!(
                "not an HTTP request: {:?}",
                String::from_utf8_lossy(&head)
            ));
            return Ok(None);
        };
        let headers = parsed
            .headers
            .iter()
            .map(|h| (h.name.to_owned(), String::from_utf8_lossy(h.value).into()));
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let (step, key) = match path {
            "/cgi-bin/token" | "/cgi-bin/stable_token" => (Step::Token, None),
            "/tcb/uploadfile" => (Step::Info, None),
            "/tcb/batchdownloadfile" => (Step::Link, None),
            _ => match (
                path.strip_prefix(&format!("/cos/{BUCKET}/")),
                path.strip_prefix("/download/"),
            ) {
                (Some(key), _) => (Step::Upload, Some(percent_decode(key))),
                (_, Some(key)) => (Step::Download, Some(percent_decode(key))),
                _ => {
                    shared.complain(format!("{method} {target}: there is no such thing"));
                    self.io
                        .get_mut()
                        .write_all(&Reply::empty(404).closing().bytes())?;
                    return Ok(None);
                }
            },
        };
        let request = Request {
            step,
            method: method.to_owned(),
            target: target.to_owned(),
            headers: headers.collect(),
            body: Vec::new(),
            fields: Vec::new(),
            file_size: 0,
            key,
            connection: self.number,
            at: Instant::now(),
        };
        if request.header("Host").is_none() {
            shared.complain(format!("{method} {target}: no Host"));
        }
        Ok(Some(request))
    }

    /// Reads the rest of a request and replies; says how the connection ends, if it does.
    fn answer(&mut self, shared: &Shared, request: &mut Request) -> io::Result<Option<Ending>> {
        let length = request
            .header("Content-Length")
            .and_then(|length| length.parse().ok());
        let length_is_clear = length.is_some() || request.method == "GET";
        let readable = request.header("Transfer-Encoding").is_none() && length_is_clear;
        let length: u64 = length.unwrap_or(0);
        if readable && request.step != Step::Upload {
            if length > MAX_API_BODY {
                shared.complain(format!("{}: a body of {length} bytes", request.path()));
                return Ok(Some(Ending::Close));
            }
            self.expect_body(request)?;
            request.body = Body::new(&mut self.io, length).read(length as usize)?;
            if request.step == Step::Info {
                request.key = request.json()["path"].as_str().map(Into::into);
            }
        }

        let (index, nth) = shared.change(|state| {
            state.requests.push(request.clone());
            (state.requests.len() - 1, state.count(request.step))
        });
        let fault = shared.strike(request, nth);
        let answer = if !readable {
            shared.complain(format!("{}: chunked, or no Content-Length", request.path()));
            Ok(Reply::xml(
                411,
                "MissingContentLength",
                "You must provide the Content-Length HTTP header.",
            )
            .closing())
        } else if let Some(Fault::EarlyStatus {
            code,
            headers,
            body,
        }) = &fault
        {
            Ok(Reply::new(*code, headers.clone(), body.clone()).closing())
        } else if let Some(Fault::ResetBeforeReply) = fault {
            Err(Ending::Reset)
        } else if request.step == Step::Upload {
            self.receive_upload(shared, request, index, length, fault.as_ref())?
        } else {
            instead(fault.as_ref(), request).unwrap_or_else(|| Ok(shared.serve_api(request)))
        };
        match answer {
            Ok(reply) => self.reply(shared, request.step, fault, reply),
            Err(ending) => Ok(Some(ending)),
        }
    }

    fn receive_upload(
        &mut self,
        shared: &Shared,
        request: &mut Request,
        index: usize,
        length: u64,
        fault: Option<&Fault>,
    ) -> io::Result<Answer> {
        self.expect_body(request)?;
        if let Some(Fault::Slow { .. } | Fault::StopReading) = fault {
            shrink_receive_buffer(SockRef::from(&self.control));
        }
        let mut body = Body::new(&mut self.io, length);
        match fault {
            Some(Fault::ResetAt(bytes)) => body.stop_at = (*bytes).min(length),
            Some(Fault::StopReading) => body.stop_at = length / 2,
            Some(Fault::Slow { chunk, pause }) => body.pace = Some((*chunk, *pause)),
            _ => {}
        }
        let (check_crc, store) = {
            let state = shared.lock();
            (
                state.check_crc,
                state.store && length < MAX_STORED + MAX_HEAD,
            )
        };
        let form = futures_executor::block_on(read_form(&mut body, request, check_crc, store));
        if body.stop_at < length {
            return Ok(Err(match fault {
                Some(Fault::StopReading) => Ending::StopReading,
                _ => Ending::Reset,
            }));
        }
        shared.change(|state| state.requests[index].clone_from(request));
        match form {
            Ok(form) => {
                Ok(instead(fault, request)
                    .unwrap_or_else(|| Ok(shared.store_object(request, form))))
            }
            Err(FormError::Io(error)) => Err(error),
            Err(FormError::Malformed(complaint)) => {
                while !body.read(CHUNK)?.is_empty() {}
                let reply = Reply::xml(400, "MalformedPOSTRequest", &complaint).closing();
                shared.complain(format!("{}: {complaint}", request.path()));
                Ok(Ok(reply))
            }
            Err(FormError::TooLarge) => {
                shared.complain(format!("{}: over 5 GiB", request.path()));
                Ok(Ok(Reply::xml(
                    400,
                    "EntityTooLarge",
                    "Your proposed upload exceeds the maximum",
                )
                .closing()))
            }
        }
    }

    /// curl asks before it sends a larger body.
    fn expect_body(&mut self, request: &Request) -> io::Result<()> {
        match request.header("Expect") {
            Some(_) => self
                .io
                .get_mut()
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\n"),
            None => Ok(()),
        }
    }

    fn reply(
        &mut self,
        shared: &Shared,
        step: Step,
        fault: Option<Fault>,
        mut reply: Reply,
    ) -> io::Result<Option<Ending>> {
        match &fault {
            Some(Fault::Edit(edit)) => {
                if let Ok(mut value) = serde_json::from_slice(&reply.body) {
                    edit(&mut value);
                    reply.body = value.to_string().into();
                }
            }
            Some(Fault::Headers(changes)) => {
                for (name, value) in changes {
                    reply.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
                    reply
                        .headers
                        .extend(value.clone().map(|value| (name.clone(), value)));
                }
            }
            Some(Fault::Delay(delay)) => shared.wait(*delay, |_| false),
            Some(Fault::Hold) => shared.wait(Duration::MAX, |state| state.gate_is_open),
            _ => {}
        }
        let mut bytes = reply.bytes();
        let io = self.io.get_mut();
        match fault {
            Some(Fault::EditBytes(edit)) => {
                edit(&mut bytes);
                io.write_all(&bytes)?;
                return Ok(Some(Ending::Close));
            }
            Some(Fault::HalfReply) => {
                io.write_all(&bytes[..bytes.len() / 2])?;
                return Ok(Some(Ending::Close));
            }
            Some(Fault::Slow { chunk, pause }) if step != Step::Upload => {
                for chunk in bytes.chunks(chunk) {
                    io.write_all(chunk)?;
                    shared.wait(pause, |_| false);
                }
            }
            _ => io.write_all(&bytes)?,
        }
        Ok(reply.close.then_some(Ending::Close))
    }
}
