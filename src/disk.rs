//! Careful work with files. A file is replaced whole. A new file is private from its first byte (in
//! Windows, as private as its directory). Opening waits for no other program, and a wait for a lock has
//! a limit, whether the run is stopped or not.
//!
//! Does not know what a file holds.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, PipeReader, Read, Write};
#[cfg(unix)]
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::Duration;

use crate::words::either;

/// If a wait for a lock takes longer than this, the user is told.
const NOTE_AFTER: Duration = Duration::from_secs(1);
/// A wait for a lock ends after this time.
const LOCK_PATIENCE: Duration = Duration::from_secs(120);
const TRY_EVERY: Duration = Duration::from_millis(20);

/// Two paths with equal identities lead to the same file: device and inode.
#[cfg(unix)]
pub type Identity = (u64, u64);
/// Two paths with equal identities lead to the same file: its real path. Nothing else is known.
#[cfg(not(unix))]
pub type Identity = PathBuf;

/// Returns the identity of the file at `path`, whose `metadata` are known.
#[cfg(unix)]
pub fn identity(_: &Path, metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// Returns the identity of the file at `path`.
#[cfg(not(unix))]
pub fn identity(path: &Path, _: &Metadata) -> Identity {
    real_path(path)
}

/// Returns the identity of the file that is at `path` now.
pub fn identity_of(path: &Path) -> Option<Identity> {
    let metadata = fs::metadata(path).ok()?;
    Some(identity(path, &metadata))
}

/// Returns the path with all links followed, or `path` itself where that fails.
pub fn real_path(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Returns the path with all links followed, but for a link at `path` itself.
pub fn real_place(path: &Path) -> PathBuf {
    let Some(name) = path.file_name() else {
        return real_path(path); // such as `..`
    };
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    real_path(directory).join(name)
}

/// Returns a real path as users type it: Windows puts `\\?\` before it.
pub fn without_verbatim_prefix(real: PathBuf) -> PathBuf {
    let plain = real.to_str().and_then(|text| text.strip_prefix(r"\\?\"));
    match plain {
        Some(plain) if !plain.starts_with("UNC") => plain.into(), // D:\config.json
        _ => real,
    }
}

/// Whether nothing is at `path`, as far as the system tells. A link that leads nowhere is nothing.
pub fn is_missing(path: &Path) -> bool {
    matches!(path.try_exists(), Ok(false))
}

/// Returns the words for a file that cannot be made because its directory is missing.
pub fn no_directory() -> &'static str {
    either(
        "its directory does not exist: make it first",
        "它的目录不存在：请先创建",
    )
}

/// Replaces the file at `path`, which held the bytes `old`, with one that holds `new`. At any moment
/// the old file is there or the new one, whole. Owner and permissions stay, or else the file is left
/// alone. A link to the file stays a link. Returns false where the file does not hold `old` any
/// more: then nothing has changed.
pub fn replace_file(path: &Path, old: &[u8], new: &[u8]) -> io::Result<bool> {
    let path = path.canonicalize()?;
    let metadata = fs::metadata(&path)?;
    #[cfg(unix)]
    if metadata.nlink() > 1 {
        return Err(io::Error::other(either(
            "it has another hard link, which would keep the old content: remove that link",
            "文件另有硬链接，替换后那里仍是旧内容：请删除那个硬链接",
        )));
    }
    let new_path = random_name_beside(&path);
    let mut file = create_private(&new_path)?;
    let replaced = match write_owned(&mut file, new, &metadata) {
        Ok(()) => put_in_place(file, &new_path, &path, old),
        Err(error) => Err(error),
    };
    if !matches!(replaced, Ok(true)) {
        let _ = fs::remove_file(&new_path); // the user is told about the first error only
    }
    replaced
}

fn random_name_beside(path: &Path) -> PathBuf {
    // The standard library's hashers are seeded at random.
    let random = RandomState::new().hash_one(process::id());
    path.with_added_extension(format!("{random:016x}"))
}

/// Writes `bytes` to the disk, into a file that gets the owner of the `old` one.
fn write_owned(file: &mut File, bytes: &[u8], old: &Metadata) -> io::Result<()> {
    take_owner_of(old, file)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(unix)]
fn take_owner_of(old: &Metadata, file: &File) -> io::Result<()> {
    let new = file.metadata()?;
    if (new.uid(), new.gid()) == (old.uid(), old.gid()) {
        return Ok(());
    }
    std::os::unix::fs::fchown(file, Some(old.uid()), Some(old.gid())).map_err(|_| {
        let why = if new.uid() == old.uid() {
            either(
                "its group could not be kept: give it a group of yours, with chgrp",
                "无法保持属组：请用 chgrp 把它改为自己所在的组",
            )
        } else {
            either(
                "its owner and group could not be kept: run wx-upload as its owner",
                "无法保持属主和属组：请以文件属主的身份运行 wx-upload",
            )
        };
        io::Error::other(why)
    })
}

/// Windows gives a new file the owner by itself.
#[cfg(not(unix))]
fn take_owner_of(_: &Metadata, _: &File) -> io::Result<()> {
    Ok(())
}

/// Renames the `file` at `new_path` to `path`, if the file there still holds the bytes `old`. Returns
/// whether it does. The new file gets the permissions of the old one at the last moment: if the run is
/// killed before, it leaves a file that only its owner can read.
fn put_in_place(file: File, new_path: &Path, path: &Path, old: &[u8]) -> io::Result<bool> {
    if read_regular(path)? != old {
        return Ok(false);
    }
    file.set_permissions(fs::metadata(path)?.permissions())?;
    drop(file); // Windows renames no open file
    rename(new_path, path).map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy => io::Error::other(either(
            "it can't be replaced; if this file alone is mounted, as into a container, mount its \
             directory instead",
            "文件无法替换；如果单独挂载了这个文件（例如挂载到容器中），请改为挂载它所在的目录",
        )),
        _ => error,
    })?;
    Ok(true)
}

/// Renames `from` to `to`. Windows refuses it while another program reads the file at `to`: then it
/// is tried for a second.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    for _ in 0..20 {
        match fs::rename(from, to) {
            Err(error) if cfg!(windows) && error.kind() == io::ErrorKind::PermissionDenied => {
                thread::sleep(Duration::from_millis(50));
            }
            renamed => return renamed,
        }
    }
    fs::rename(from, to)
}

/// Creates a file that only its owner can read. It is an error if the file exists.
pub fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    options.open(path)
}

/// Opens a regular file for reading. Anything else is an error.
pub fn open_regular(path: &Path) -> io::Result<File> {
    open_regular_with(OpenOptions::new().read(true), path)
}

/// Returns how many more files the system lets this program open, up to `wanted`. It tries with a pipe.
pub fn open_files_left(wanted: usize) -> usize {
    let mut open = Vec::new();
    if let Ok((reader, _)) = io::pipe() {
        open.push(reader);
    }
    while open.len() < wanted
        && let Some(Ok(file)) = open.last().map(PipeReader::try_clone)
    {
        open.push(file);
    }
    open.len()
}

/// Reads a regular file whole. Anything else is an error.
pub fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a regular file with `options`. Anything else is an error: to open a FIFO would wait for the
/// program at its other end, and to open a device may do anything.
pub fn open_regular_with(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let odd = || io::Error::other(either("it is not a regular file", "不是普通文件"));
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(odd()),
        _ => {} // `options` may create the file; any other error comes again below
    }
    #[cfg(unix)]
    options.custom_flags(libc::O_NONBLOCK); // the file may have become a FIFO since
    let file = options.open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(odd())
    }
}

/// Returns the permissions of a file that everybody on this machine may read. (Only Unix tells.)
pub fn public_mode(path: &Path) -> Option<u32> {
    #[cfg(unix)]
    let mode = fs::metadata(path).ok()?.mode();
    #[cfg(not(unix))]
    let mode = {
        let _ = path;
        0
    };
    (mode & 0o004 != 0).then_some(mode)
}

/// Whether a new private file in the directory of `path` is not private: there `chmod` does nothing.
pub fn ignores_permissions(path: &Path) -> bool {
    let probe = random_name_beside(path);
    if create_private(&probe).is_err() {
        return false;
    }
    let is_public = public_mode(&probe).is_some();
    let _ = fs::remove_file(&probe); // there is nothing in it
    is_public
}

/// Locks the file at `path` until the returned file is dropped. Calls `tell` once if another run
/// holds the lock for more than a second. Returns `None` where locks do not work, or after two
/// minutes.
///
/// On Unix the lock is on the file itself, so a user who cannot read the file cannot hold it up. On
/// Windows, where a lock keeps readers out, it is on a file beside it.
pub fn lock(path: &Path, tell: impl Fn()) -> Option<File> {
    let mut wait = Wait::new(tell);
    loop {
        let file = open_for_locking(path).ok()?;
        if !wait.take_lock(&file) {
            return None;
        }
        // The run that held the lock before may have replaced the file: then lock the new one.
        let is_current = cfg!(windows) || is_at(path, &file);
        if is_current || wait.is_over() {
            return Some(file);
        }
    }
}

/// Returns the path of the file that Windows locks for the file at the real path `real`.
pub fn lock_beside(real: &Path) -> PathBuf {
    real.with_added_extension("lock")
}

fn open_for_locking(path: &Path) -> io::Result<File> {
    if cfg!(windows) {
        let beside = lock_beside(&path.canonicalize()?);
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .truncate(false)
            .open(beside)
    } else {
        open_regular(path)
    }
}

/// Whether the open `file` is the one at `path`, as far as the system tells. Some file systems (FUSE)
/// have other inode numbers at each look: there it is the file with the same size and times.
fn is_at(path: &Path, file: &File) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(opened), Ok(now)) => {
            identity(path, &opened) == identity(path, &now) || is_unchanged(&opened, &now)
        }
        _ => true,
    }
}

/// Whether a file has not changed between two looks, as far as its size and its times tell. On Unix
/// the time of change tells also what was written by a program that sets the time of modification
/// back. But it changes with the number of hard links, too, as where another file takes the place.
pub fn is_unchanged(then: &Metadata, now: &Metadata) -> bool {
    #[cfg(unix)]
    let is_touched = then.nlink() == now.nlink()
        && (then.ctime(), then.ctime_nsec()) != (now.ctime(), now.ctime_nsec());
    #[cfg(not(unix))]
    let is_touched = false;
    then.len() == now.len() && then.modified().ok() == now.modified().ok() && !is_touched
}

/// Locks an open file. Returns whether it is locked: gives up after two minutes. Calls `tell` once
/// if another run holds the lock for more than a second.
pub fn lock_file(file: &File, tell: impl Fn()) -> bool {
    Wait::new(tell).take_lock(file)
}

/// A wait for a lock, perhaps on one file after the other.
struct Wait<F: Fn()> {
    /// The looks at the lock so far. (Time in which the program was suspended is no waiting.)
    looks: u32,
    /// Tells the user about the wait; `None` once it has.
    tell: Option<F>,
}

impl<F: Fn()> Wait<F> {
    fn new(tell: F) -> Wait<F> {
        Wait {
            looks: 0,
            tell: Some(tell),
        }
    }

    fn is_over(&self) -> bool {
        self.waited() > LOCK_PATIENCE
    }

    /// Locks `file` as soon as no other run has the lock. Returns whether it is locked.
    fn take_lock(&mut self, file: &File) -> bool {
        loop {
            self.looks += 1;
            match file.try_lock() {
                Ok(()) => return true,
                Err(TryLockError::Error(_)) => return false,
                Err(TryLockError::WouldBlock) => {}
            }
            if self.is_over() {
                return false;
            }
            if self.waited() > NOTE_AFTER
                && let Some(tell) = self.tell.take()
            {
                tell();
            }
            thread::sleep(TRY_EVERY);
        }
    }

    fn waited(&self) -> Duration {
        self.looks * TRY_EVERY
    }
}

/// A file is read in pieces of this length, so that memory stays flat.
pub const PIECE_BYTES: usize = 64 << 10;

/// Appends the next piece of a file to `piece`. Returns its length: 0 at the end.
pub fn read_piece(file: &mut impl Read, piece: &mut Vec<u8>) -> io::Result<usize> {
    file.take(PIECE_BYTES as u64).read_to_end(piece)
}

/// Returns a text without its byte-order mark. Windows Notepad puts one first.
pub fn without_bom(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}
