//! Files that must not be lost or shown: replaced whole, locked, private from their first byte.
//!
//! Does not know what is in them.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
#[cfg(unix)]
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Replaces the file at `path`: at any moment there is either the old one or the new one, whole.
/// Its permissions and its owner stay, and a link to it stays a link.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = path.canonicalize()?;
    let old = fs::metadata(&path)?;
    let new_path = path.with_added_extension("new");
    let _ = fs::remove_file(&new_path); // a run that was killed may have left it
    let mut new = create_private(&new_path)?;
    let replaced = write_like(&mut new, bytes, &old).and_then(|()| rename(&new_path, &path));
    if replaced.is_err() {
        let _ = fs::remove_file(&new_path); // the error that is told is the one before
    }
    replaced
}

/// Writes `bytes` to the disk, into a file that gets the permissions and the owner of the `old`.
fn write_like(new: &mut File, bytes: &[u8], old: &Metadata) -> io::Result<()> {
    #[cfg(unix)] // only root can give it to its owner, and only root needs to
    let _ = std::os::unix::fs::fchown(&*new, Some(old.uid()), Some(old.gid()));
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
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Takes an advisory lock for the file at `path`, until what is returned is dropped. It is held on
/// a file of its own beside it, as the file itself may be replaced. `None` where there can be none.
pub fn lock(path: &Path) -> Option<File> {
    let path = path.canonicalize().ok()?.with_added_extension("lock");
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).open(&path);
    let file = file.or_else(|_| File::open(&path)).ok()?; // another user's can be locked, too
    file.lock().ok()?;
    Some(file)
}
