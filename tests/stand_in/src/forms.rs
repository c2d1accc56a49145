//! Reads the upload form. The parser is not the library that writes the form.
//!
//! This file does not know which fields COS wants, and not what COS answers.

use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use futures_util::stream;
use multer::{Field, Multipart};

use crate::faults::Call;
use crate::io::Io;
use crate::request::Request;

/// Of larger objects only size and checksum are kept, so that a test can send gigabytes.
pub(crate) const MAX_STORED: u64 = 8 << 20;
const MAX_UPLOAD: u64 = 5 << 30;
pub(crate) const CHUNK: usize = 64 << 10;

/// CRC-64/XZ. COS calls it crc64ecma.
static CRC64: crc::Crc<u64, crc::Table<16>> = crc::Crc::<u64, crc::Table<16>>::new(&crc::CRC_64_XZ);

/// Reads the body of a request in chunks.
pub(crate) struct Body<'a> {
    io: &'a mut BufReader<Io>,
    pub(crate) done: u64,
    pub(crate) length: u64,
    /// Reading beyond this byte is an error. It is `length`, unless a fault stops in the middle.
    pub(crate) stop_at: u64,
    pub(crate) pace: Option<(usize, Duration)>,
    /// Is called once this number of bytes has been read.
    pub(crate) call_at: Option<(u64, Arc<Call>)>,
    /// Sends new keys of TLS once this number of bytes has been read.
    pub(crate) new_keys_at: Option<u64>,
    /// The last bytes read, enough of them for a closing boundary.
    pub(crate) tail: Vec<u8>,
}

impl<'a> Body<'a> {
    const TAIL: usize = 80;

    pub(crate) fn new(io: &'a mut BufReader<Io>, length: u64) -> Self {
        Self {
            io,
            done: 0,
            length,
            stop_at: length,
            pace: None,
            call_at: None,
            new_keys_at: None,
            tail: Vec::new(),
        }
    }

    /// Reads `most` bytes, or one chunk of `pace`. Reads fewer only at the end of the body.
    pub(crate) fn read(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let most = self.pace.map_or(most, |(chunk, _)| chunk) as u64;
        let mut wanted = most.min(self.stop_at - self.done);
        if let Some((at, _)) = &self.call_at {
            wanted = wanted.min(at - self.done);
        }
        if wanted == 0 && self.done < self.length {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut chunk = Vec::with_capacity(wanted as usize);
        self.io.by_ref().take(wanted).read_to_end(&mut chunk)?;
        if (chunk.len() as u64) < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.done += wanted;
        if let Some((_, call)) = self.call_at.take_if(|(at, _)| *at == self.done) {
            call();
        }
        if self.new_keys_at.take_if(|at| *at <= self.done).is_some() {
            self.io.get_mut().send_new_keys()?;
        }
        self.tail
            .extend_from_slice(&chunk[chunk.len().saturating_sub(Self::TAIL)..]);
        self.tail
            .drain(..self.tail.len().saturating_sub(Self::TAIL));
        if let Some((_, pause)) = self.pace {
            thread::sleep(pause);
        }
        Ok(chunk)
    }
}

pub(crate) enum FormError {
    Io(io::Error),
    Malformed(String),
    TooLarge,
}

impl From<multer::Error> for FormError {
    fn from(error: multer::Error) -> Self {
        match error {
            multer::Error::StreamReadFailed(error) => Self::Io(io::Error::other(error)),
            error => Self::Malformed(format!("the form: {error}")),
        }
    }
}

/// The content of the `file` part.
pub(crate) struct FormFile {
    pub(crate) crc64: u64,
    pub(crate) bytes: Option<Vec<u8>>,
}

/// Tells what to keep of `file`. Its size is always kept.
#[derive(Clone, Copy)]
pub(crate) struct Keep {
    pub(crate) checksum: bool,
    pub(crate) bytes: bool,
}

/// Reads the form of an upload and adds its fields to the request.
pub(crate) async fn read_form(
    body: &mut Body<'_>,
    request: &mut Request,
    keep: Keep,
) -> Result<FormFile, FormError> {
    let boundary = multer::parse_boundary(request.header("Content-Type").unwrap_or_default())?;
    let mut file = None;
    let mut pause = true;
    let chunks = stream::poll_fn(|context| {
        // multer takes everything that is ready and would hold the whole body in memory. So every
        // second call says that nothing is ready.
        pause = !pause;
        if pause {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(
            body.read(CHUNK)
                .map(|chunk| (!chunk.is_empty()).then_some(chunk))
                .transpose(),
        )
    });
    let mut form = Multipart::new(chunks, &boundary);
    while let Some(field) = form.next_field().await? {
        let name = field.name().unwrap_or_default().to_owned();
        if name == "file" {
            file = Some(read_file(field, request, keep).await?);
            continue;
        }
        let value = String::from_utf8(field.bytes().await?.into());
        let value =
            value.map_err(|_| FormError::Malformed(format!("the field {name} is not UTF-8")))?;
        request.fields.push((name, value));
    }
    drop(form);
    let end = format!("--{boundary}--");
    let tail = body.tail.strip_suffix(b"\r\n").unwrap_or(&body.tail);
    if body.done < body.length || !tail.ends_with(end.as_bytes()) {
        return Err(FormError::Malformed(
            "the form ends before Content-Length does".into(),
        ));
    }
    file.ok_or_else(|| FormError::Malformed("the form has no file".into()))
}

async fn read_file(
    mut field: Field<'_>,
    request: &mut Request,
    keep: Keep,
) -> Result<FormFile, FormError> {
    let file_name = field.file_name().unwrap_or_default().to_owned();
    request.file_type = field.content_type().map(ToString::to_string);
    request.fields.push(("file".to_owned(), file_name));
    let mut digest = CRC64.digest();
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await? {
        request.file_size += chunk.len() as u64;
        if request.file_size > MAX_UPLOAD {
            return Err(FormError::TooLarge);
        }
        if keep.checksum {
            digest.update(&chunk);
        }
        if keep.bytes {
            bytes.extend_from_slice(&chunk);
        }
    }
    let crc64 = if keep.checksum { digest.finalize() } else { 0 };
    let bytes = (keep.bytes && request.file_size <= MAX_STORED).then_some(bytes);
    Ok(FormFile { crc64, bytes })
}
