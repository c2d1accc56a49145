//! Connections: reads requests and writes replies, as the faults want it.
//!
//! This file does not know what the services answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ServerConnection, StreamOwned};
use socket2::SockRef;

use crate::faults::{Fault, edit_reply, substitute};
use crate::forms::{Body, CHUNK, FormError, Keep, MAX_STORED, read_form};
use crate::io::{Io, Socket, Wire, shrink_receive_buffer};
use crate::reply::{Answer, Ending, Reply};
use crate::request::{Request, Step};
use crate::services::BUCKET;
use crate::state::Shared;
use crate::text::percent_decode;

const MAX_HEAD: u64 = 64 << 10;
const MAX_API_BODY: u64 = 1 << 20;

/// Starts a thread for each connection, until the stand-in stops.
pub(crate) fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    for tcp in listener.incoming() {
        if shared.lock().stopped {
            break;
        }
        let Ok(tcp) = tcp else {
            shared.wait(Duration::MAX, |state| !state.port_is_closed);
            continue;
        };
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // An I/O error ends the connection. Every client may cause one.
            serve_connection(&shared, tcp).ok();
        });
    }
}

/// Serves the requests of one connection and ends it.
fn serve_connection(shared: &Shared, tcp: TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let tcp = Arc::new(tcp); // no second descriptor: a test may have hundreds of connections
    let number = shared.change(|state| {
        state.connections += 1;
        if state.stopped || state.port_is_closed {
            return None; // all others are closed already
        }
        state.open.insert(state.connections, Arc::clone(&tcp));
        Some(state.connections)
    });
    let Some(number) = number else {
        return Ok(());
    };
    let received = Arc::clone(&shared.received);
    let wire = Wire {
        tcp: Arc::clone(&tcp),
        received,
    };
    let io = match &shared.tls {
        None => Io::Plain(wire),
        Some(config) => {
            let tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
            Io::Tls(Box::new(StreamOwned::new(
                tls,
                Socket(BufReader::with_capacity(CHUNK, wire)),
            )))
        }
    };
    let mut connection = Connection {
        io: BufReader::new(io),
        tcp: Arc::clone(&tcp),
        number,
    };
    let ended = match connection.serve(shared) {
        Err(error) => Err(error),
        Ok(Ending::Close) => connection.io.get_mut().close(),
        Ok(Ending::CloseAfter(time)) => {
            wait_unless_closed(shared, &tcp, time);
            connection.io.get_mut().close()
        }
        Ok(Ending::Reset) => SockRef::from(&*tcp).set_linger(Some(Duration::ZERO)),
        Ok(Ending::Silence) => io::copy(&mut &*tcp, &mut io::sink()).map(drop),
        Ok(Ending::StopReading) => {
            shared.wait(Duration::MAX, |_| false);
            Ok(())
        }
    };
    shared.lock().open.remove(&number);
    ended
}

/// Waits for this time, but no longer than the client keeps the connection. Leaves unread what it sends.
fn wait_unless_closed(shared: &Shared, tcp: &TcpStream, time: Duration) {
    let until = Instant::now() + time;
    let has_closed = tcp
        .set_read_timeout(Some(time))
        .and_then(|()| tcp.peek(&mut [0]))
        .is_ok_and(|count| count == 0);
    if !has_closed {
        shared.wait(until.saturating_duration_since(Instant::now()), |_| false);
    }
}

/// Tells whether RFC 3986 allows a byte in the path or the query of a URL.
fn belongs_in_a_url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?@!$&'()*+,;=%".contains(&byte)
}

struct Connection {
    io: BufReader<Io>,
    /// The connection that `io` has, too.
    tcp: Arc<TcpStream>,
    number: usize,
}

impl Connection {
    /// Answers one request after another. Returns how to end the connection.
    fn serve(&mut self, shared: &Shared) -> io::Result<Ending> {
        while let Some(mut request) = self.read_head(shared)? {
            let upload = (request.step == Step::Upload).then(|| UploadUnderWay::begin(shared));
            if let Some(ending) = self.answer(shared, &mut request, upload)? {
                return Ok(ending);
            }
        }
        Ok(Ending::Close)
    }

    /// Reads the lines of the next head. Returns `None` at the end of the connection.
    fn read_head_lines(&mut self, shared: &Shared) -> io::Result<Option<Vec<u8>>> {
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
        Ok(Some(head))
    }

    /// Reads the head of the next request. Returns `None` at the end of the connection, and after a
    /// request that the stand-in does not serve.
    fn read_head(&mut self, shared: &Shared) -> io::Result<Option<Request>> {
        let Some(head) = self.read_head_lines(shared)? else {
            return Ok(None);
        };
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
        if !target.bytes().all(belongs_in_a_url) {
            // haproxy, envoy, node, Tomcat and PHP refuse this, too.
            shared.complain(format!("{method} {target}: raw bytes in the request line"));
            let reply = Reply::empty(400).closing();
            self.io.get_mut().write_all(&reply.bytes())?;
            return Ok(None);
        }
        let Some((step, key)) = route(target) else {
            shared.complain(format!("{method} {target}: unknown path"));
            let reply = Reply::empty(404).closing();
            self.io.get_mut().write_all(&reply.bytes())?;
            return Ok(None);
        };
        if key.is_some()
            && target
                .split('?')
                .next()
                .is_some_and(|path| path.contains('+'))
        {
            shared.complain(format!(
                "{target}: a raw `+`, which some servers take for a space"
            ));
        }
        let request = Request {
            step,
            method: method.to_owned(),
            target: target.to_owned(),
            headers: headers.collect(),
            body: Vec::new(),
            fields: Vec::new(),
            file_type: None,
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

    /// Reads the rest of a request and replies. Returns how the connection ends, if it ends.
    fn answer(
        &mut self,
        shared: &Shared,
        request: &mut Request,
        upload: Option<UploadUnderWay>,
    ) -> io::Result<Option<Ending>> {
        let length = body_length(request);
        if let Some(length) = length
            && request.step != Step::Upload
        {
            if length > MAX_API_BODY {
                shared.complain(format!("{}: a body of {length} bytes", request.path()));
                return Ok(Some(Ending::Close));
            }
            self.read_api_body(request, length)?;
        }
        let (index, nth) = shared.change(|state| {
            let index = state.log(request.clone());
            (index, state.count(request.step))
        });
        let fault = shared.strike(request, nth);
        let answer = match (length, &fault) {
            (None, _) => {
                shared.complain(format!("{}: chunked, or no Content-Length", request.path()));
                let message = "You must provide the Content-Length HTTP header.";
                Ok(Reply::xml(411, "MissingContentLength", message).closing())
            }
            (
                _,
                Some(Fault::EarlyStatus {
                    code,
                    headers,
                    body,
                }),
            ) => Ok(Reply::new(*code, headers.clone(), body.clone()).closing()),
            (_, Some(Fault::ResetBeforeReply)) => Err(Ending::Reset),
            (Some(length), fault) if request.step == Step::Upload => {
                self.receive_upload(shared, request, index, length, fault.as_ref())?
            }
            (Some(_), fault) => {
                substitute(fault.as_ref(), request).unwrap_or_else(|| Ok(shared.serve_api(request)))
            }
        };
        match answer {
            Ok(reply) => self.reply(shared, request.step, fault, reply, upload),
            Err(ending) => Ok(Some(ending)),
        }
    }

    fn read_api_body(&mut self, request: &mut Request, length: u64) -> io::Result<()> {
        self.expect_body(request)?;
        request.body = Body::new(&mut self.io, length).read(length as usize)?;
        if request.step == Step::Info {
            request.key = request.json()["path"].as_str().map(Into::into);
        }
        Ok(())
    }

    /// Reads the form and returns the answer of the fault or of COS. The request stands in the log
    /// at `index`.
    fn receive_upload(
        &mut self,
        shared: &Shared,
        request: &mut Request,
        index: usize,
        length: u64,
        fault: Option<&Fault>,
    ) -> io::Result<Answer> {
        self.expect_body(request)?;
        if let Some(Fault::Slow { .. } | Fault::StopReading | Fault::At(..)) = fault {
            shrink_receive_buffer(SockRef::from(&*self.tcp));
        }
        let mut body = Body::new(&mut self.io, length);
        match fault {
            Some(Fault::ResetAt(bytes)) => body.stop_at = (*bytes).min(length),
            Some(Fault::StopReading) => body.stop_at = length / 2,
            Some(Fault::Slow { chunk, pause }) => body.pace = Some((*chunk, *pause)),
            Some(Fault::At(bytes, call)) => {
                body.call_at = Some(((*bytes).min(length), Arc::clone(call)));
            }
            Some(Fault::NewKeys(bytes)) => body.new_keys_at = Some(*bytes),
            _ => {}
        }
        let keep = {
            let state = shared.lock();
            Keep {
                checksum: state.check_crc,
                bytes: state.store && length < MAX_STORED + MAX_HEAD,
            }
        };
        let form = futures_executor::block_on(read_form(&mut body, request, keep));
        if body.stop_at < length {
            return Ok(Err(match fault {
                Some(Fault::StopReading) => Ending::StopReading,
                _ => Ending::Reset,
            }));
        }
        shared.change(|state| state.requests[index].clone_from(request));
        match form {
            Ok(file) => Ok(substitute(fault, request)
                .unwrap_or_else(|| Ok(shared.store_object(request, file)))),
            Err(error) => refuse_form(shared, request, &mut body, error),
        }
    }

    /// Sends `100 Continue` if the client waits for it. curl does, before a larger body.
    fn expect_body(&mut self, request: &Request) -> io::Result<()> {
        match request.header("Expect") {
            Some(_) => self
                .io
                .get_mut()
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\n"),
            None => Ok(()),
        }
    }

    /// Sends the reply, late or changed if the fault says so. Returns how the connection ends, if
    /// it ends.
    fn reply(
        &mut self,
        shared: &Shared,
        step: Step,
        fault: Option<Fault>,
        mut reply: Reply,
        upload: Option<UploadUnderWay>,
    ) -> io::Result<Option<Ending>> {
        match &fault {
            Some(Fault::Delay(delay)) => shared.wait(*delay, |_| false),
            Some(Fault::Hold) => shared.wait(Duration::MAX, |state| state.gate_is_open),
            Some(fault) => edit_reply(fault, &mut reply),
            None => {}
        }
        drop(upload); // the client may begin the next one as soon as it has the reply
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
            Some(Fault::DropAfter(time)) => {
                io.write_all(&bytes)?;
                return Ok(Some(Ending::CloseAfter(time)));
            }
            Some(Fault::Deaf) => {
                io.write_all(&bytes)?;
                return Ok(Some(Ending::Silence));
            }
            Some(Fault::CloseNotify) => {
                io.write_all_and_close_notify(&bytes)?;
                return Ok(Some(Ending::Silence));
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

/// Counts an upload as under way until it is dropped.
struct UploadUnderWay<'a>(&'a Shared);

impl UploadUnderWay<'_> {
    fn begin(shared: &Shared) -> UploadUnderWay<'_> {
        shared.change(|state| {
            state.uploads += 1;
            state.most_uploads = state.most_uploads.max(state.uploads);
        });
        UploadUnderWay(shared)
    }
}

impl Drop for UploadUnderWay<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.uploads -= 1);
    }
}

/// Finds the step of a request by its target, and the cloud key in its URL. Returns `None` for an
/// unknown path.
fn route(target: &str) -> Option<(Step, Option<String>)> {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    match path {
        "/cgi-bin/token" | "/cgi-bin/stable_token" => return Some((Step::Token, None)),
        "/tcb/uploadfile" => return Some((Step::Info, None)),
        "/tcb/batchdownloadfile" => return Some((Step::Link, None)),
        _ => {}
    }
    if let Some(key) = path.strip_prefix(&format!("/cos/{BUCKET}/")) {
        return Some((Step::Upload, Some(percent_decode(key))));
    }
    let key = path.strip_prefix("/download/")?;
    Some((Step::Download, Some(percent_decode(key))))
}

/// Returns the length of a request's body, or `None` if it is chunked or states no length.
fn body_length(request: &Request) -> Option<u64> {
    if request.header("Transfer-Encoding").is_some() {
        return None;
    }
    let stated = request.header("Content-Length");
    let length = stated.and_then(|length| length.parse().ok());
    length.or((request.method == "GET").then_some(0))
}

/// Returns COS's answer to a form that it cannot read.
fn refuse_form(
    shared: &Shared,
    request: &Request,
    body: &mut Body,
    error: FormError,
) -> io::Result<Answer> {
    let reply = match error {
        FormError::Io(error) => return Err(error),
        FormError::Malformed(complaint) => {
            while !body.read(CHUNK)?.is_empty() {}
            shared.complain(format!("{}: {complaint}", request.path()));
            Reply::xml(400, "MalformedPOSTRequest", &complaint)
        }
        FormError::TooLarge => {
            shared.complain(format!("{}: over 5 GiB", request.path()));
            let message = "Your proposed upload exceeds the maximum";
            Reply::xml(400, "EntityTooLarge", message)
        }
    };
    Ok(Ok(reply.closing()))
}
