//! The manifest: what earlier runs uploaded. It is a file of JSON Lines, one object for each upload.
//! A later line replaces an earlier one with the same key.
//!
//! Does not know how or when a file is uploaded.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::file_body::Fingerprint;
use super::listing::ListedFile;
use crate::cli::{Console, Settings, text_in};
use crate::cloud_rules::{is_file_id, without_crc64};
use crate::disk::{lock_file, open_regular_with};
use crate::words::{either, io_words, words};

/// A line has some 300 bytes. A file with a longer line than this is not a manifest.
const MAX_LINE: u64 = 64 << 10;
/// The beginning of each line that `record` writes.
const LINE_START: &[u8] = b"{\"key\":\"";

/// The manifest of a run. Without `--manifest` it knows no file and records none.
pub struct Manifest<'a> {
    console: &'a Console,
    env: String,
    /// The last upload of each key.
    known: HashMap<String, Upload>,
    /// Uploads are recorded here, by one thread at a time.
    records: Option<Mutex<Records>>,
}

/// The manifest's file, open for appending. It stays open, so that no other file that takes its place
/// is written to.
struct Records {
    file: File,
    shown: String,
    /// The file could not be locked. Then locking is not tried again.
    cannot_lock: bool,
}

/// The cloud names of a run.
struct Wanted<'a> {
    keys: HashSet<&'a str>,
    /// With `--unique`, more will be put into each of them.
    unique: bool,
}

impl Wanted<'_> {
    fn has(&self, key: &str) -> bool {
        if self.unique {
            return without_crc64(key).is_some_and(|key| self.keys.contains(&*key));
        }
        self.keys.contains(key)
    }
}

/// An upload of an earlier run.
struct Upload {
    size: u64,
    mtime: i64,
    /// CRC-64/XZ in decimal.
    crc64: String,
    file_id: String,
}

impl Manifest<'_> {
    /// Opens or creates the manifest, and reads what it knows about `files`. A last line that a power
    /// cut tore is cut off. A file that is not a manifest is an error, and is not changed. A dry run
    /// changes nothing.
    pub fn open<'a>(
        settings: &Settings,
        files: &[ListedFile],
        console: &'a Console,
    ) -> Result<Manifest<'a>, String> {
        let mut manifest = Manifest {
            console,
            env: settings.env.clone(),
            known: HashMap::new(),
            records: None,
        };
        let Some(path) = &settings.options.manifest else {
            return Ok(manifest);
        };
        if settings.options.dry_run && !path.exists() {
            return Ok(manifest);
        }
        let wanted = Wanted {
            keys: files.iter().map(|file| &*file.key).collect(),
            unique: settings.options.unique,
        };
        let read = manifest.read(path, settings.options.dry_run, &wanted);
        read.map_err(|error| {
            let why = match error.kind() {
                // A missing manifest is created. A missing directory is not.
                io::ErrorKind::NotFound => either(
                    "its directory does not exist: make it first",
                    "它的目录不存在：请先创建",
                )
                .to_owned(),
                _ => io_words(&error),
            };
            format!("--manifest {}: {why}", path.display())
        })?;
        Ok(manifest)
    }

    fn read(&mut self, path: &Path, dry_run: bool, wanted: &Wanted) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true);
        if dry_run {
            let file = open_regular_with(&mut options, path)?;
            self.read_lines(&file, file.metadata()?.len(), wanted)?;
            return Ok(());
        }
        if cfg!(windows) {
            options.write(true); // Windows cannot cut a file that is opened for appending
        } else {
            options.append(true);
        }
        let file = open_regular_with(options.create(true), path)?;
        let mut records = Records {
            file,
            shown: path.display().to_string(),
            cannot_lock: false,
        };
        records.lock_out_other_runs(self.console);
        let size = records.file.metadata()?.len();
        let whole = self.read_lines(&records.file, size, wanted)?;
        if whole < size {
            records.file.set_len(whole)?;
        }
        records.unlock();
        self.records = Some(Mutex::new(records));
        Ok(())
    }

    /// Reads the lines of a file of `size` bytes. Returns the length of all complete lines. A file
    /// without a line of a manifest is an error.
    fn read_lines(&mut self, file: &File, size: u64, wanted: &Wanted) -> io::Result<u64> {
        let mut lines = BufReader::new(file);
        let mut line = Vec::new();
        let mut whole = 0;
        let mut has_upload = false;
        while lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? > 0 {
            let entry: Value = serde_json::from_slice(&line).unwrap_or_default();
            let is_upload = entry["key"].is_string() && entry["file_id"].is_string();
            has_upload |= is_upload;
            if !line.ends_with(b"\n") && !is_upload {
                let ends_the_file = whole + line.len() as u64 == size;
                let is_torn_upload = entry.is_null() && begins_like_an_upload(&line);
                let is_manifest = has_upload || (whole == 0 && is_torn_upload);
                if ends_the_file && is_manifest {
                    return Ok(whole); // without the torn line
                }
                return Err(not_a_manifest());
            }
            whole += line.len() as u64;
            line.clear();
            self.learn(&entry, wanted);
        }
        if has_upload || size == 0 {
            Ok(whole)
        } else {
            Err(not_a_manifest())
        }
    }

    /// Keeps an entry, if it concerns this run.
    fn learn(&mut self, entry: &Value, wanted: &Wanted) {
        let Some(key) = entry["key"].as_str() else {
            return;
        };
        if entry["env"] != *self.env || !wanted.has(key) {
            return;
        }
        if let Some(size) = entry["size"].as_u64()
            && let Some(mtime) = entry["mtime"].as_i64()
            && let Some(file_id) = entry["file_id"].as_str()
            && is_file_id(file_id)
        {
            let upload = Upload {
                size,
                mtime,
                crc64: text_in(entry, "crc64").unwrap_or_default().to_owned(),
                file_id: file_id.to_owned(),
            };
            self.known.insert(key.to_owned(), upload);
        }
    }

    /// Returns the `file_id` of the file at `path`, if its content has not changed since it was
    /// uploaded as `key`. If only
    /// its time has changed, as in a fresh checkout, the file is read, and its new time is recorded.
    pub fn unchanged(&self, key: &str, path: &Path) -> Option<&str> {
        let upload = self.known.get(key)?;
        let now = fs::metadata(path).ok()?;
        if now.len() != upload.size {
            return None;
        }
        if modified(&now) != upload.mtime {
            let fingerprint = Fingerprint::of(path).ok()?; // the error shows again at the upload
            let is_same_size = fingerprint.metadata.len() == upload.size;
            if !is_same_size || fingerprint.crc64.to_string() != upload.crc64 {
                return None;
            }
            self.record(key, &fingerprint, &upload.file_id);
        }
        Some(&upload.file_id)
    }

    /// Appends what is in the cloud under `key`.
    pub fn record(&self, key: &str, fingerprint: &Fingerprint, file_id: &str) {
        let Some(records) = &self.records else {
            return;
        };
        let entry = json!({
            "key": key,
            "env": self.env,
            "size": fingerprint.metadata.len(),
            "mtime": modified(&fingerprint.metadata),
            "crc64": fingerprint.crc64.to_string(), // jq and JavaScript round numbers of this length
            "file_id": file_id,
        });
        let mut records = records.lock().unwrap();
        records.lock_out_other_runs(self.console);
        let appended = records.append(&entry);
        records.unlock();
        if let Err(error) = appended {
            let (shown, error) = (&records.shown, io_words(&error));
            self.console.warn(&words!(
                "the manifest {shown} cannot be written: {error}: the next run uploads again",
                "清单 {shown} 无法写入：{error}；下次运行会重新上传"
            ));
        }
    }
}

impl Records {
    /// Locks the file, so that no other run writes to it meanwhile.
    fn lock_out_other_runs(&mut self, console: &Console) {
        let shown = &self.shown;
        let tell = || {
            console.note(&words!(
                "waiting for another run, which is using {shown}",
                "正在等待另一个 wx-upload 用完 {shown}"
            ));
        };
        if !self.cannot_lock {
            self.cannot_lock = !lock_file(&self.file, tell);
        }
    }

    fn unlock(&self) {
        if !self.cannot_lock {
            let _ = self.file.unlock(); // the end of the program unlocks it, too
        }
    }

    fn append(&mut self, entry: &Value) -> io::Result<()> {
        let mut last = [b'\n'];
        if self.file.seek(SeekFrom::End(-1)).is_ok() {
            self.file.read_exact(&mut last)?;
        }
        self.file.seek(SeekFrom::End(0))?;
        let after_torn = if last == *b"\n" { "" } else { "\n" };
        self.file
            .write_all(format!("{after_torn}{entry}\n").as_bytes())
    }
}

fn not_a_manifest() -> io::Error {
    io::Error::other(either(
        "this file is not a manifest, and was not changed: name another",
        "不是清单，未作改动：请换一个文件",
    ))
}

/// Whether a line, which may be torn anywhere, begins like a line that `record` writes.
fn begins_like_an_upload(line: &[u8]) -> bool {
    line.starts_with(LINE_START) || LINE_START.starts_with(line)
}

/// Returns the time of a file's last change, in nanoseconds since 1970.
fn modified(metadata: &Metadata) -> i64 {
    let nanoseconds = |time: Duration| time.as_nanos() as i64;
    let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
    match modified.duration_since(UNIX_EPOCH) {
        Ok(since) => nanoseconds(since),
        Err(before) => -nanoseconds(before.duration()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"key":"temp3/a","env":"e","size":1,"mtime":2,"crc64":"3","file_id":"cloud://e.b/temp3/a"}"#;

    /// Reads a manifest. Returns the length of its complete lines, or `None` if it is none, and the
    /// `file_id` that it knows of `temp3/a`.
    fn read(text: &[u8]) -> (Option<u64>, Option<String>) {
        let console = Console::new(true, false, 0, 0);
        let mut manifest = Manifest {
            console: &console,
            env: "e".to_owned(),
            known: HashMap::new(),
            records: None,
        };
        let wanted = Wanted {
            keys: HashSet::from(["temp3/a"]),
            unique: false,
        };
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        file.rewind().unwrap();
        let whole = manifest.read_lines(&file, text.len() as u64, &wanted);
        let known = manifest.known.remove("temp3/a");
        (whole.ok(), known.map(|upload| upload.file_id))
    }

    #[test]
    fn a_last_line_torn_at_any_byte_is_left_out() {
        let first = LINE.replace("temp3/a", "temp3/b") + "\n";
        for cut in 0..LINE.len() {
            let (whole, known) = read(format!("{first}{}", &LINE[..cut]).as_bytes());
            assert_eq!((whole, known), (Some(first.len() as u64), None), "{cut}");
        }
    }

    #[test]
    fn an_only_line_torn_at_any_byte_is_left_out() {
        for cut in 0..LINE.len() {
            assert_eq!(read(&LINE.as_bytes()[..cut]), (Some(0), None), "{cut}");
        }
    }

    #[test]
    fn a_complete_last_line_counts_with_and_without_a_newline() {
        for end in ["", "\n"] {
            let text = format!("{LINE}{end}");
            let (whole, known) = read(text.as_bytes());
            assert_eq!(whole, Some(text.len() as u64));
            assert_eq!(known.as_deref(), Some("cloud://e.b/temp3/a"));
        }
    }

    #[test]
    fn a_later_line_wins_and_lines_that_make_no_sense_are_passed_over() {
        let later = LINE.replace("cloud://e.b/temp3/a", "cloud://e.b/temp3/a2");
        let other_env = LINE.replace(r#""env":"e""#, r#""env":"f""#);
        let no_size = LINE.replace(r#""size":1"#, r#""size":-1"#);
        let no_file_id = LINE.replace("cloud:", "https:");
        let text = format!(
            "{{\"key\":\"torn\n{LINE}\n{later}\n\n[]\n{other_env}\n{no_size}\n{no_file_id}\n"
        );
        let (whole, known) = read(text.as_bytes());
        assert_eq!(whole, Some(text.len() as u64));
        assert_eq!(known.as_deref(), Some("cloud://e.b/temp3/a2"));
    }

    #[test]
    fn a_file_that_is_not_a_manifest_is_refused() {
        assert_eq!(read(b""), (Some(0), None)); // a new one
        let others: [&[u8]; 24] = [
            b"text\n{\"key\":\"temp3", // a torn line after another text
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            b"\xff\xd8\xff\xe0 no newline",
            b"\0",
            b"\n\n",
            b"text\n",
            b"text",
            b"[]",
            b"[\n]\n",
            b"{}",
            b"{}\n",
            b"7\n",
            b"key,env,size\na,b,3\n",
            b"{\"name\":\"x\",\"version\":1}\n",
            b"{\n    \"key\": \"value\",\n    \"env\": \"x\"\n}\n",
            // These begin like a manifest.
            b"{\"key\":\"value\"}",
            b"{\"key\":\"value\"}\n",
            b"{\"key\":\"value\",\n\"other\":\"value\"\n}",
            b"{\"key\": \"en\", \"text\": \"Hello\"}\n{\"key\": \"de\", \"text\": \"Hallo\"}",
            b"{\"key\":-----BEGIN PRIVATE KEY-----",
            // These have some of the fields of an entry.
            b"{\"errcode\":0,\"url\":\"https://x\",\"file_id\":\"cloud://x\"}",
            b"{\"errcode\":0,\"url\":\"https://x\",\"file_id\":\"cloud://x\"}\n",
            b"{\"key\":1,\"file_id\":\"cloud://x\"}",
            b"{\"key\":\"temp3/000\",\"file_id\":null}",
        ];
        for other in others {
            assert_eq!(read(other), (None, None), "{}", other.escape_ascii());
        }
        let too_long = format!("{{\"key\":\"{}", "x".repeat(MAX_LINE as usize));
        assert_eq!(read(too_long.as_bytes()), (None, None));
    }

    #[test]
    fn with_unique_a_key_is_wanted_without_its_checksum() {
        let wanted = |unique| Wanted {
            keys: HashSet::from(["a.png"]),
            unique,
        };
        assert!(wanted(false).has("a.png") && !wanted(false).has("a-995dc9bbdf1939fa.png"));
        assert!(wanted(true).has("a-995dc9bbdf1939fa.png") && !wanted(true).has("a.png"));
    }
}
