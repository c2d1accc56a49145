//! Files that must not be lost, shown, or waited for: replaced whole, private, opened and locked with
//! care.
//!
//! Does not know what is in them.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
#[cfg(unix)]
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

/// A wait for a lock is told after so long …
const TOLD_AFTER: Duration = Duration::from_secs(1);
/// … and ends after so long.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
const TRY_EVERY: Duration = Duration::from_millis(20);

/// What makes a file the same under another name: device and inode, where the system tells.
#[cfg(unix)]
pub type Identity = (u64, u64);

#[cfg(unix)]
pub fn identity(_: &Path, metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
pub type Identity = PathBuf;

#[cfg(not(unix))]
pub fn identity(path: &Path, _: &Metadata) -> Identity {
    real_path(path)
}

/// That of what is at `path` now.
pub fn identity_of(path: &Path) -> Option<Identity> {
    let metadata = fs::metadata(path).ok()?;
    Some(identity(path, &metadata))
}

/// Where a file really is, as far as that can be told.
pub fn real_path(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// A file as it was when it was looked at.
pub struct FileState {
    /// Where it really is.
    real: PathBuf,
    metadata: Metadata,
}

impl FileState {
    /// What is at `path` now.
    pub fn of(path: &Path) -> io::Result<FileState> {
        let real = path.canonicalize()?;
        let metadata = fs::metadata(&real)?;
        Ok(FileState { real, metadata })
    }

    /// Whether the file that was at this place before belonged to the same owner.
    pub fn has_owner_of(&self, before: &FileState) -> bool {
        self.real == before.real && owner(&self.metadata) == owner(&before.metadata)
    }

    /// Whether the same file is still there, and nobody has written to it or made it another's.
    fn is_current(&self) -> bool {
        let Ok(now) = fs::metadata(&self.real) else {
            return false;
        };
        let seen = &self.metadata;
        identity(&self.real, &now) == identity(&self.real, seen)
            && now.len() == seen.len()
            && now.modified().ok() == seen.modified().ok()
            && changed(&now) == changed(seen)
    }
}

/// User and group. (Only Unix tells.)
#[cfg(unix)]
fn owner(metadata: &Metadata) -> (u32, u32) {
    (metadata.uid(), metadata.gid())
}

#[cfg(not(unix))]
fn owner(_: &Metadata) -> (u32, u32) {
    (0, 0)
}

/// When a file was last changed in any way. (Only Unix tells.)
#[cfg(unix)]
fn changed(metadata: &Metadata) -> (i64, i64) {
    (metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn changed(_: &Metadata) -> (i64, i64) {
    (0, 0)
}

/// Replaces the file that was looked at as `seen`: at any moment there is either the old one or the
/// new one, whole. Its owner and permissions stay, or else the file is left alone; a link to it
/// stays a link. Returns whether it was replaced: not where it has changed since it was seen.
pub fn replace_file(seen: &FileState, bytes: &[u8]) -> io::Result<bool> {
    if has_other_names(&seen.metadata) {
        let why = "it has another hard link, which would keep the old content: remove that link";
        return Err(io::Error::other(why));
    }
    let new_path = name_of_its_own(&seen.real);
    let mut new = create_private(&new_path)?;
    let written = write_like(&mut new, bytes, &seen.metadata);
    let replaced = match written {
        Ok(()) if seen.is_current() => rename(&new_path, &seen.real).map(|()| true),
        Ok(()) => Ok(false),
        Err(error) => Err(error),
    };
    if !matches!(replaced, Ok(true)) {
        let _ = fs::remove_file(&new_path); // what is told is the error before
    }
    replaced
}

#[cfg(unix)]
fn has_other_names(metadata: &Metadata) -> bool {
    metadata.nlink() > 1
}

#[cfg(not(unix))]
fn has_other_names(_: &Metadata) -> bool {
    false
}

/// A name beside `path` that no other run uses.
fn name_of_its_own(path: &Path) -> PathBuf {
    let random = RandomState::new().hash_one(process::id());
    path.with_added_extension(format!("{random:016x}"))
}

/// Writes `bytes` to the disk, into a file that gets the owner and the permissions of the `old`.
fn write_like(new: &mut File, bytes: &[u8], old: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    if owner(old) != owner(&new.metadata()?) {
        std::os::unix::fs::fchown(&*new, Some(old.uid()), Some(old.gid())).map_err(|_| {
            io::Error::other("its owner and group could not be kept: run wx-upload as its owner")
        })?;
    }
    new.write_all(bytes)?;
    new.set_permissions(old.permissions())?;
    new.sync_all()
}

/// Renames `new` to `old`. Windows forbids it while another program reads the old one.
fn rename(new: &Path, old: &Path) -> io::Result<()> {
    for _ in 0..20 {
        match fs::rename(new, old) {
            Err(error) if cfg!(windows) && error.kind() == io::ErrorKind::PermissionDenied => {
                thread::sleep(Duration::from_millis(50));
            }
            renamed => return renamed,
        }
    }
    fs::rename(new, old)
}

/// Makes a file that was not there, and that only its owner can read.
pub fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    options.open(path)
}

/// Opens a regular file for reading, and nothing else.
pub fn open_regular(path: &Path) -> io::Result<File> {
    open_regular_with(OpenOptions::new().read(true), path)
}

/// Opens a regular file, and nothing else: to open a FIFO would wait for its other end, and to open
/// a device may do anything.
pub fn open_regular_with(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let odd = || io::Error::other("it is not a regular file");
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(odd()),
        _ => {}
    }
    #[cfg(unix)]
    options.custom_flags(libc::O_NONBLOCK); // it may have become a FIFO in between
    let file = options.open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(odd())
    }
}

/// Whether everybody on this machine may read the file. (Only Unix tells.)
#[cfg(unix)]
pub fn is_public(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o004 != 0)
}

#[cfg(not(unix))]
pub fn is_public(_: &Path) -> bool {
    false
}

/// Takes the advisory lock for the file at `path`, until what is returned is dropped. Who waits for
/// it is told so by `waits`. `None` where there can be none, or not for two minutes.
///
/// On Unix it is on the file itself, so that who can't read that can't hold it up. On Windows, where
/// a lock keeps readers out, it is on a file beside it.
pub fn lock(path: &Path, waits: impl Fn()) -> Option<File> {
    let mut wait = Wait::new(waits);
    loop {
        let file = open_for_locking(path).ok()?;
        if !wait.for_lock(&file) {
            return None;
        }
        if is_still_there(&file, path) || wait.is_over() {
            return Some(file);
        }
    }
}

#[cfg(unix)]
fn open_for_locking(path: &Path) -> io::Result<File> {
    open_regular(path)
}

#[cfg(not(unix))]
fn open_for_locking(path: &Path) -> io::Result<File> {
    let path = path.canonicalize()?.with_added_extension("lock");
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// Whether the file that was locked is the one at `path`: who had the lock before has replaced it.
#[cfg(unix)]
fn is_still_there(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(locked), Ok(now)) => identity(path, &locked) == identity(path, &now),
        _ => true,
    }
}

#[cfg(not(unix))]
fn is_still_there(_: &File, _: &Path) -> bool {
    true
}

/// Takes the lock on an open file. Returns whether it has it: after two minutes it gives up.
pub fn lock_file(file: &File, waits: impl Fn()) -> bool {
    Wait::new(waits).for_lock(file)
}

/// A wait for a lock, perhaps on one file after the other.
struct Wait<F: Fn()> {
    began: Instant,
    /// Tells that it takes long, once.
    tell: Option<F>,
}

impl<F: Fn()> Wait<F> {
    fn new(tell: F) -> Wait<F> {
        Wait {
            began: Instant::now(),
            tell: Some(tell),
        }
    }

    fn is_over(&self) -> bool {
        self.began.elapsed() > LONGEST_WAIT
    }

    /// Returns whether the lock was to be had.
    fn for_lock(&mut self, file: &File) -> bool {
        loop {
            match file.try_lock() {
                Ok(()) => return true,
                Err(TryLockError::Error(_)) => return false,
                Err(TryLockError::WouldBlock) => {}
            }
            if self.is_over() {
                return false;
            }
            if self.began.elapsed() > TOLD_AFTER
                && let Some(tell) = self.tell.take()
            {
                tell();
            }
            thread::sleep(TRY_EVERY);
        }
    }
}
