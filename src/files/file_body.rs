//! The bytes of a file on their way into a form: read from disk piece by piece, counted, and summed
//! up in a CRC-64.
//!
//! A file may be written to while it is read. Then its bytes are half of the old file and half of the
//! new one. So `FileBody` looks at the file again before it hands over the last bytes. If the file has
//! changed, reading fails, and COS gets no complete form. Some file systems show a change only after a
//! moment. So there is another look, `check_unchanged`, for the time after the upload.
//!
//! Does not know where the bytes go.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek};
use std::mem;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use super::listing::ListedFile;
use super::own_files::{OwnFiles, never_uploaded};
use super::secrets;
use super::skipped::why_private;
use crate::cli::Progress;
use crate::cloud_rules::too_large;
use crate::disk;
use crate::failure::{Cure, Failure, Stage};
use crate::words::{either, io_words, words};

/// The encoding of a text file is judged by this many bytes at its beginning. Few texts are longer,
/// and reading them takes some 5 ms.
const JUDGED_BYTES: u64 = 4 << 20;

/// An open file, which is read up to the length that it had when it was opened.
pub struct FileBody<'a> {
    file: File,
    metadata: Metadata,
    left: u64,
    crc: crc64fast::Digest,
    progress: &'a Progress,
    /// Bytes that were read last. They do not count in the progress yet.
    in_hand: u64,
    /// What the CRC-64 of all bytes must be, if that is known.
    expected_crc64: Option<u64>,
    failed: Option<Failure>,
}

impl FileBody<'_> {
    /// Opens a regular file that is not one of the program's `own`, and that holds none of `secrets`.
    /// Bytes that are read count in the `progress` when the next ones are read: by then
    /// they were handed over to the system. (The last piece of a file counts a little early.)
    pub fn open<'a>(
        listed: &ListedFile,
        own: &OwnFiles,
        secrets: &[String],
        progress: &'a Progress,
    ) -> Result<FileBody<'a>, Failure> {
        let path = &listed.path;
        let mut file = disk::open_regular(path).map_err(cannot_be_opened)?;
        if let Some(root) = &listed.root {
            // It may be another file than the one that was listed.
            let real = real_path_of(&file, path).map_err(cannot_be_opened)?;
            if let Some(why) = why_private(root, &real) {
                return Err(unusable(why));
            }
        }
        let metadata = settled_metadata(&file)?;
        if own.is_own_opened(path, &metadata) {
            return Err(unusable(never_uploaded()));
        }
        if let Some(why) = too_large(metadata.len()) {
            return Err(unusable(why));
        }
        let found = secrets::found_in(&mut file, metadata.len(), secrets);
        if let Some(why) = found.map_err(cannot_be_read)? {
            return Err(unusable(why));
        }
        Ok(FileBody {
            file,
            left: metadata.len(),
            metadata,
            crc: crc64fast::Digest::new(),
            progress,
            in_hand: 0,
            expected_crc64: None,
            failed: None,
        })
    }

    /// The same file. Reading its last bytes fails if its CRC-64 is not the one that is `expected`.
    /// With `None`, every CRC-64 is right.
    pub fn expecting(self, expected: Option<u64>) -> Self {
        FileBody {
            expected_crc64: expected,
            ..self
        }
    }

    /// Reads the file to its end. Returns its CRC-64.
    pub fn into_crc64(mut self) -> Result<u64, Failure> {
        let mut piece = vec![0; disk::PIECE_BYTES];
        while self.read_checked(&mut piece)? > 0 {}
        Ok(self.crc64())
    }

    /// Returns the number of bytes to read in all.
    pub fn size(&self) -> u64 {
        self.metadata.len()
    }

    /// Returns the number of bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.size() - self.left
    }

    /// Returns the CRC-64/XZ of the bytes read so far. COS calls it crc64ecma.
    pub fn crc64(&self) -> u64 {
        self.crc.sum64()
    }

    /// Returns the fingerprint of the file. All bytes must have been read.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            metadata: self.metadata.clone(),
            crc64: self.crc64(),
        }
    }

    /// Returns why reading failed, if it did. If so, it is also why the request failed.
    pub fn read_failure(&self) -> Option<Failure> {
        self.failed.clone()
    }

    /// Whether another file is at `path` now, or this one has changed since it was opened.
    pub fn is_outdated(&self, path: &Path) -> bool {
        // If no file is there any more, this one is still as good as it was.
        fs::metadata(path).is_ok_and(|now| !disk::is_unchanged(&self.metadata, &now))
    }

    /// Checks that the file has not changed since it was opened.
    pub fn check_unchanged(&self) -> Result<(), Failure> {
        let now = self.file.metadata().map_err(cannot_be_read)?;
        if disk::is_unchanged(&self.metadata, &now) {
            Ok(())
        } else {
            Err(changed())
        }
    }

    /// Whether the file is known to be UTF-8. A file of at most 4 MiB is judged by all of its bytes. A
    /// larger file is judged by its first 4 MiB. If those are pure ASCII, the rest may be GBK, so the
    /// answer is no. Must be called before the file is read.
    pub fn is_utf8(&mut self) -> bool {
        let judged = judge_text((&self.file).take(JUDGED_BYTES));
        let rewound = self.file.rewind();
        let (Ok(Some(text)), Ok(())) = (judged, rewound) else {
            return false; // an error shows again when the file is sent
        };
        if self.size() <= JUDGED_BYTES {
            !text.is_cut
        } else {
            !text.is_ascii
        }
    }

    /// Returns the first byte. Must be called before the file is read.
    pub fn first_byte(&mut self) -> Option<u8> {
        let mut first = [0];
        let read = self.file.read_exact(&mut first);
        let rewound = self.file.rewind();
        read.and(rewound).ok()?; // an error shows again when the file is sent
        Some(first[0])
    }

    /// Takes the bytes read so far out of the progress again, because they were sent in vain.
    pub fn take_back_progress(&self) {
        self.progress
            .take_back_bytes(self.bytes_read() - self.in_hand);
    }

    /// Goes back to the beginning. The bytes read so far, if any, were sent in vain.
    pub fn rewind(&mut self) -> io::Result<()> {
        if self.bytes_read() == 0 {
            return Ok(());
        }
        self.take_back_progress();
        self.file.rewind()?;
        self.left = self.size();
        self.in_hand = 0;
        self.crc = crc64fast::Digest::new();
        Ok(())
    }

    /// Reads the next bytes. Before it returns the last ones, it checks that the file has not changed
    /// since it was opened.
    fn read_checked(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(most);
        let count = self.read_some(&mut buffer[..wanted])?;
        if count == 0 && wanted > 0 {
            // Not `Ok(0)`: then ureq would ask for the rest of the promised length for ever.
            self.check_unchanged()?;
            return Err(unusable(either(
                "it is shorter than the system says",
                "实际内容比系统报告的短",
            )));
        }
        self.crc.write(&buffer[..count]);
        if count as u64 == self.left {
            self.check_end()?;
        }
        self.left -= count as u64;
        Ok(count)
    }

    /// Checks that the file ends here and has not changed.
    fn check_end(&mut self) -> Result<(), Failure> {
        let more = self.read_some(&mut [0])?;
        self.check_unchanged()?;
        if more > 0 {
            return Err(unusable(either(
                "it is longer than the system says, as files in /proc are: copy it, and upload the \
                 copy",
                "实际内容比系统报告的长（/proc 中的文件就是这样）：请复制一份，上传副本",
            )));
        }
        match self.expected_crc64 {
            Some(expected) if expected != self.crc64() => Err(changed()),
            _ => Ok(()),
        }
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        loop {
            match self.file.read(buffer) {
                // A signal came, as after Ctrl-Z and fg.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read.map_err(cannot_be_read),
            }
        }
    }
}

/// The clocks of most file systems tick every 1 to 10 ms, and later where the machine is busy. If a file
/// changes twice in a tick, the second change does not show in its times. (FAT's clock ticks every 2 s.)
const TICK: Duration = Duration::from_millis(30);
/// A file that is written to for this number of ticks is not read.
const MOST_TICKS: usize = 30;

/// Returns what the system tells about an open file, when its last change is older than a tick.
fn settled_metadata(file: &File) -> Result<Metadata, Failure> {
    for _ in 0..MOST_TICKS {
        let metadata = file.metadata().map_err(cannot_be_opened)?;
        let modified = metadata.modified().map_err(cannot_be_opened)?;
        match SystemTime::now().duration_since(modified) {
            Ok(age) if age < TICK => thread::sleep(TICK - age),
            _ => return Ok(metadata), // a time in the future is from a machine whose clock is ahead
        }
    }
    Err(changed())
}

/// Returns the real path of the file that was opened at `path`. Linux knows it; elsewhere another file
/// may have come to `path` since.
fn real_path_of(file: &File, path: &Path) -> io::Result<PathBuf> {
    #[cfg(target_os = "linux")]
    if let Ok(real) = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())) {
        return Ok(real);
    }
    let _ = file;
    path.canonicalize()
}

/// Identifies the content of a file, by its size, its times and its CRC-64.
pub struct Fingerprint {
    /// What the system told about the file when it was opened.
    pub metadata: Metadata,
    /// CRC-64/XZ
    pub crc64: u64,
}

impl Fingerprint {
    /// Reads the file at `path`, up to the length that it had when it was opened.
    pub fn of(path: &Path) -> io::Result<Fingerprint> {
        let file = disk::open_regular(path)?;
        let metadata = file.metadata()?;
        let mut bytes = file.take(metadata.len());
        let mut crc = crc64fast::Digest::new();
        let mut piece = Vec::new();
        while disk::read_piece(&mut bytes, &mut piece)? > 0 {
            crc.write(&piece);
            piece.clear();
        }
        Ok(Fingerprint {
            metadata,
            crc64: crc.sum64(),
        })
    }
}

/// A text in UTF-8.
struct Utf8 {
    is_ascii: bool,
    /// It ends within a character.
    is_cut: bool,
}

/// Reads a text to its end. Returns `None` if it is not UTF-8.
fn judge_text(mut text: impl Read) -> io::Result<Option<Utf8>> {
    let mut is_ascii = true;
    let mut piece = Vec::new();
    loop {
        let count = disk::read_piece(&mut text, &mut piece)?;
        let whole = match str::from_utf8(&piece) {
            Ok(_) => piece.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return Ok(None),
        };
        is_ascii &= piece.is_ascii();
        piece.drain(..whole); // the rest is a character that goes on in the next piece
        if count == 0 {
            let is_cut = !piece.is_empty();
            return Ok(Some(Utf8 { is_ascii, is_cut }));
        }
    }
}

fn unusable(why: &str) -> Failure {
    Failure::local(Stage::Upload, why)
}

/// The next try opens the file anew.
fn changed() -> Failure {
    let why = either(
        "it changed while it was read: upload it when no program writes to it",
        "读取期间文件有变化：请等没有程序写入时再上传",
    );
    unusable(why).with_cure(Cure::TRY_AGAIN)
}

fn cannot_be_read(error: io::Error) -> Failure {
    let error = io_words(&error);
    unusable(&words!("cannot be read: {error}", "无法读取：{error}"))
}

fn cannot_be_opened(error: io::Error) -> Failure {
    let words = io_words(&error);
    let failure = unusable(&words!("cannot be opened: {words}", "无法打开：{words}"));
    if can_pass(&error) {
        return failure.with_cure(Cure::TRY_AGAIN);
    }
    failure
}

/// Whether an error at opening passes by itself: too many files are open, in this program or in the
/// system; or another program, such as Samba, has a lease on the file, and the system tells it first.
fn can_pass(error: &io::Error) -> bool {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    let is_out_of_descriptors = matches!(error.raw_os_error(), Some(EMFILE | ENFILE));
    cfg!(unix) && (is_out_of_descriptors || error.kind() == io::ErrorKind::WouldBlock)
}

impl Read for FileBody<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.progress.count_bytes(mem::take(&mut self.in_hand));
        match self.read_checked(buffer) {
            Ok(count) => {
                self.in_hand = count as u64;
                Ok(count)
            }
            Err(failure) => {
                let error = io::Error::other(failure.message.clone());
                self.failed = Some(failure);
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(bytes: &[u8]) -> Option<[bool; 2]> {
        let judged = judge_text(bytes).unwrap();
        judged.map(|text| [text.is_ascii, text.is_cut])
    }

    #[test]
    fn a_text_is_judged_by_its_bytes_wherever_a_piece_ends() {
        assert_eq!(judged(b""), Some([true, false]));
        assert_eq!(judged(b"plain"), Some([true, false]));
        assert_eq!(judged("中文".as_bytes()), Some([false, false]));
        assert_eq!(judged(&"中文".as_bytes()[..5]), Some([false, true]));
        assert_eq!(judged(b"\xd6\xd0\xce\xc4"), None); // GBK
        for before in disk::PIECE_BYTES - 3..=disk::PIECE_BYTES {
            let mut text = vec![b'x'; before];
            text.extend("中".as_bytes());
            assert_eq!(judged(&text), Some([false, false]), "{before}");
            text.extend(b"\xd6x");
            assert_eq!(judged(&text), None, "{before}");
        }
    }
}
