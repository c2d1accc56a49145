//! What earlier runs uploaded: JSON Lines, one object a file, later lines win.
//!
//! Does not know how a file is uploaded, nor when.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::cloud_name::is_file_id;
use crate::disk::{lock_file, open_regular_with};
use crate::file_body::FileBody;
use crate::listing::LocalFile;
use crate::options::Settings;
use crate::output::Console;

/// A line is some 300 bytes. What has longer ones is something else.
const MAX_LINE: u64 = 64 << 10;
/// What a line begins with, as `record` writes it.
const BEGINNING: &[u8] = b"{\"key\":\"";

/// The manifest of a run; without `--manifest`, one that knows nothing.
pub struct Manifest<'a> {
    console: &'a Console,
    path: Option<PathBuf>,
    env: String,
    /// By key.
    known: HashMap<String, Upload>,
    /// Locked by the thread that writes. Whether the file itself can't be: then that is not tried
    /// again. Let there be one run at a time.
    is_lockless: Mutex<bool>,
}

/// An upload of an earlier run.
struct Upload {
    size: u64,
    mtime: i64,
    file_id: String,
}

impl Manifest<'_> {
    /// Opens the manifest, or begins it, and reads what it knows of `files`. A last line that a
    /// power cut tore is cut off. Something else than a manifest is refused and stays as it is. In
    /// a dry run nothing is changed.
    pub fn open<'a>(
        settings: &Settings,
        files: &[LocalFile],
        console: &'a Console,
    ) -> Result<Manifest<'a>, String> {
        let mut manifest = Manifest {
            console,
            path: None,
            env: settings.env.clone(),
            known: HashMap::new(),
            is_lockless: Mutex::new(false),
        };
        let Some(path) = &settings.manifest else {
            return Ok(manifest);
        };
        if settings.dry_run && !path.exists() {
            return Ok(manifest);
        }
        manifest.path = Some(path.clone());
        let keys = files.iter().map(|file| &*file.key).collect();
        let read = manifest.read(path, !settings.dry_run, &keys);
        read.map_err(|error| format!("--manifest {}: {error}", path.display()))?;
        Ok(manifest)
    }

    fn read(&mut self, path: &Path, writable: bool, keys: &HashSet<&str>) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).write(writable).create(writable);
        let file = open_regular_with(&mut options, path)?;
        if writable {
            *self.is_lockless.lock().unwrap() = !self.lock(&file, path);
        }
        let size = file.metadata()?.len();
        let whole = self.read_lines(&file, size, keys)?;
        if writable && whole < size {
            file.set_len(whole)?;
        }
        Ok(())
    }

    /// Locks the file against other runs. Returns whether that could be.
    fn lock(&self, file: &File, path: &Path) -> bool {
        let path = path.display();
        let note = format!("note: waiting for another run, which is using {path}");
        lock_file(file, || self.console.note(&note))
    }

    /// Reads the lines of a file of `size` bytes. Returns the length of those that are whole. What
    /// has no line of a manifest in it is refused.
    fn read_lines(&mut self, file: &File, size: u64, keys: &HashSet<&str>) -> io::Result<u64> {
        let mut lines = BufReader::new(file);
        let mut line = Vec::new();
        let mut whole = 0;
        let mut has_upload = false;
        while lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? > 0 {
            let entry: Value = serde_json::from_slice(&line).unwrap_or_default();
            has_upload |= entry["key"].is_string() && entry["file_id"].is_string();
            if !line.ends_with(b"\n") {
                let ends_the_file = whole + line.len() as u64 == size;
                let is_torn_upload = entry.is_null() && begins_like_an_upload(&line);
                let is_manifest = has_upload || (whole == 0 && is_torn_upload);
                return if ends_the_file && is_manifest {
                    Ok(whole)
                } else {
                    Err(no_manifest())
                };
            }
            whole += line.len() as u64;
            line.clear();
            self.learn(&entry, keys);
        }
        if has_upload || size == 0 {
            Ok(whole)
        } else {
            Err(no_manifest())
        }
    }

    /// Takes in an entry, if it concerns this run.
    fn learn(&mut self, entry: &Value, keys: &HashSet<&str>) {
        let Some(key) = entry["key"].as_str() else {
            return;
        };
        if entry["env"] != *self.env || !keys.contains(key) {
            return;
        }
        if let Some(size) = entry["size"].as_u64()
            && let Some(mtime) = entry["mtime"].as_i64()
            && let Some(file_id) = entry["file_id"].as_str()
            && is_file_id(file_id)
        {
            let file_id = file_id.to_owned();
            let upload = Upload {
                size,
                mtime,
                file_id,
            };
            self.known.insert(key.to_owned(), upload);
        }
    }

    /// The `file_id` of a file that has not changed since it was uploaded.
    pub fn unchanged(&self, file: &LocalFile) -> Option<&str> {
        let upload = self.known.get(&file.key)?;
        let now = fs::metadata(&file.path).ok()?;
        let same = now.len() == upload.size && modified(&now) == upload.mtime;
        same.then_some(&upload.file_id)
    }

    /// Appends what was uploaded: `file`, as it was when it was opened.
    pub fn record(&self, key: &str, file: &FileBody, file_id: &str) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let entry = json!({
            "key": key,
            "env": self.env,
            "size": file.size(),
            "mtime": modified(file.metadata()),
            "crc64": file.crc64().to_string(), // too long for the numbers of jq and JavaScript
            "file_id": file_id,
        });
        let mut is_lockless = self.is_lockless.lock().unwrap();
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        let mut manifest = open_regular_with(&mut options, path)?;
        if !*is_lockless {
            *is_lockless = !self.lock(&manifest, path); // till it is closed
        }
        let mut last = [b'\n'];
        if manifest.seek(SeekFrom::End(-1)).is_ok() {
            manifest.read_exact(&mut last)?;
        }
        let after_torn = if last == *b"\n" { "" } else { "\n" };
        manifest.write_all(format!("{after_torn}{entry}\n").as_bytes())
    }
}

fn no_manifest() -> io::Error {
    io::Error::other("this file is not a manifest, and was not changed: name another")
}

/// Whether a line, which may be torn anywhere, begins as those do that `record` writes.
fn begins_like_an_upload(line: &[u8]) -> bool {
    line.starts_with(BEGINNING) || BEGINNING.starts_with(line)
}

/// When a file was modified, in nanoseconds since 1970.
fn modified(metadata: &Metadata) -> i64 {
    let nanoseconds = |time: Duration| time.as_nanos() as i64;
    let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
    match modified.duration_since(UNIX_EPOCH) {
        Ok(since) => nanoseconds(since),
        Err(before) => -nanoseconds(before.duration()),
    }
}
