//! The bytes of a file on their way into a form: streamed from disk, counted and summed up.
//!
//! Does not know where they go.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek};
use std::path::Path;
use std::time::Duration;

use crate::cloud_name::{MAX_FILE_BYTES, TOO_LARGE};
use crate::disk;
use crate::failure::{Cure, Failure, Kind, Stage};
use crate::output::Console;
use crate::own_files::{NEVER_UPLOADED, OwnFiles};

/// So much of a text file tells its encoding.
const BEGINNING: u64 = 64 << 10;

/// An open file, to be read to the length that it had when it was opened.
pub struct FileBody<'a> {
    file: File,
    metadata: Metadata,
    left: u64,
    crc: crc64fast::Digest,
    console: &'a Console,
    failed: Option<String>,
}

impl FileBody<'_> {
    /// Opens a regular file that is none of the program's `own`. `console` is told of the bytes
    /// read.
    pub fn open<'a>(
        path: &Path,
        own: &OwnFiles,
        console: &'a Console,
    ) -> Result<FileBody<'a>, Failure> {
        let file = disk::open_regular(path).map_err(unreadable)?;
        if own.contain_opened(path, &file).map_err(unreadable)? {
            return Err(unusable(NEVER_UPLOADED));
        }
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.len() > MAX_FILE_BYTES {
            return Err(unusable(TOO_LARGE));
        }
        Ok(FileBody {
            file,
            left: metadata.len(),
            metadata,
            crc: crc64fast::Digest::new(),
            console,
            failed: None,
        })
    }

    /// What the system said of the file when it was opened.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// How many bytes will be read, or were.
    pub fn size(&self) -> u64 {
        self.metadata.len()
    }

    /// The CRC-64/XZ of what was read, which COS calls crc64ecma.
    pub fn crc64(&self) -> u64 {
        self.crc.sum64()
    }

    /// Why the file could not be read to its end, if that is why a request failed.
    pub fn failed(&self) -> Option<Failure> {
        self.failed.as_deref().map(unusable)
    }

    /// Whether what it begins with is UTF-8, a last character that is cut off included. To be asked
    /// before it is read.
    pub fn begins_as_utf8(&mut self) -> bool {
        let mut beginning = Vec::new();
        let read = self
            .file
            .by_ref()
            .take(BEGINNING)
            .read_to_end(&mut beginning);
        if read.is_err() || self.file.rewind().is_err() {
            return false; // the error shows again when the file is sent
        }
        match str::from_utf8(&beginning) {
            Ok(_) => true,
            Err(error) => error.error_len().is_none(),
        }
    }

    /// What was read has not arrived: takes back what the console was told, and reads from the
    /// beginning again.
    pub fn start_again(&mut self) -> Result<(), Failure> {
        self.console.take_back_bytes(self.size() - self.left);
        self.left = self.size();
        self.crc = crc64fast::Digest::new();
        self.file.rewind().map_err(unreadable)
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(most);
        let count = loop {
            match self.file.read(&mut buffer[..wanted]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {} // Ctrl-Z and fg
                read => break read?,
            }
        };
        if count == 0 && wanted > 0 {
            // Not `Ok(0)`: ureq would ask for the rest of the promised length for ever.
            return Err(io::Error::other("it became shorter while it was read"));
        }
        Ok(count)
    }
}

fn unusable(why: &str) -> Failure {
    Failure::new(Stage::Upload, Kind::Local, Cure::Nothing, why)
}

fn unreadable(error: io::Error) -> Failure {
    let failure = unusable(&format!("cannot be opened: {error}"));
    if is_out_of_descriptors(&error) {
        let cure = Cure::Wait(Duration::ZERO);
        return Failure { cure, ..failure };
    }
    failure
}

/// Too many open files, here or in the system: that passes.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    cfg!(unix) && matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
}

impl Read for FileBody<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.read_some(buffer) {
            Ok(count) => {
                self.crc.write(&buffer[..count]);
                self.left -= count as u64;
                self.console.count_bytes(count as u64);
                Ok(count)
            }
            Err(error) => {
                self.failed = Some(format!("cannot be read: {error}"));
                Err(error)
            }
        }
    }
}
