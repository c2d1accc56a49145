//! The manifest: what earlier runs uploaded. It is a file of JSON Lines, one object for each upload.
//! A later line replaces an earlier one with the same key.
//!
//! A file that has the size and the times of its line is not read. But a time is no proof while it is
//! young: FAT counts in steps of 2 s, so a file that was written to twice in 2 s has the same time
//! after both. If a time is younger than that when it is recorded, or lies in the future, the line has
//! the time 0, and the next run reads the file. For example, a run right after the file was written
//! records 0. A run 10 s later reads the file, finds the same CRC-64, and records the true time. From
//! then on, the file is not read.
//!
//! Does not know how or when a file is uploaded.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
#[cfg(unix)]
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::file_body::Fingerprint;
use super::listing::ListedFile;
use super::stored::{Origin, Stored};
use crate::cli::{Console, Reading, Settings, escape, text_in};
use crate::cloud_rules::{is_file_id, without_crc64};
use crate::disk::{lock_file, no_directory, open_regular_with};
use crate::words::{either, io_words, words};

/// A line has some 300 bytes. A file with a longer line than this is not a manifest.
const MAX_LINE: u64 = 64 << 10;
/// The beginning of each line that `record` writes.
const LINE_START: &[u8] = b"{\"key\":\"";
/// A time that is younger than this is not recorded, in nanoseconds. (FAT counts in steps of 2 s.)
const TIME_STEP: i64 = 2_000_000_000;
/// Stands in a line for a time that proves nothing.
const NO_TIME: i64 = 0;

/// The manifest of a run. Without `--manifest` it knows no file and records none.
pub struct Manifest<'a> {
    console: &'a Console,
    env: String,
    /// What COS stores with each object of this run.
    cache_control: Option<String>,
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

/// An upload of an earlier run, with the `cache_control` of this run.
struct Upload {
    size: u64,
    times: Times,
    /// CRC-64/XZ
    crc64: Option<u64>,
    file_id: String,
}

/// The times of a file, in nanoseconds since 1970.
#[derive(Clone, Copy, PartialEq)]
struct Times {
    /// The time of the last change of the content, or `NO_TIME`.
    mtime: i64,
    /// The time of the last change of the content or of the times. Programs can set `mtime`, but not
    /// this one. Only Unix has it, and wx-upload 0.3 did not record it.
    ctime: Option<i64>,
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
            cache_control: settings.cache_control.clone(),
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
                io::ErrorKind::NotFound => no_directory().to_owned(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => cannot_append(&error),
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
        let is_new = fs::symlink_metadata(path).is_err();
        let file = open_regular_with(options.create(true), path)?;
        let mut records = Records {
            file,
            shown: path.display().to_string(),
            cannot_lock: false,
        };
        records.lock_out_other_runs(self.console);
        if let Err(error) = records.try_to_append() {
            if is_new {
                let _ = fs::remove_file(path); // it is empty, and the user is told about the error
            }
            return Err(io::Error::other(cannot_append(&error)));
        }
        let size = records.file.metadata()?.len();
        records.file.rewind()?;
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
        let mut reading = Reading::new(&self.console.progress, |count| {
            words!(
                "reading the manifest: {count} lines so far",
                "正在读取清单：已读 {count} 行"
            )
        });
        let mut lines = BufReader::new(file);
        let mut line = Vec::new();
        let mut whole = 0;
        let mut has_upload = false;
        while lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? > 0 {
            reading.count_one();
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
        // wx-upload 0.3 did not record it.
        if let Some(stored) = entry.get("cache_control")
            && stored.as_str() != self.cache_control.as_deref()
        {
            self.known.remove(key); // it counts as changed
            return;
        }
        if let Some(size) = entry["size"].as_u64()
            && let Some(mtime) = entry["mtime"].as_i64()
            && let Some(file_id) = entry["file_id"].as_str()
            && is_file_id(file_id)
        {
            let ctime = entry["ctime"].as_i64();
            let crc64 = text_in(entry, "crc64").and_then(|crc64| crc64.parse().ok());
            let upload = Upload {
                size,
                times: Times { mtime, ctime },
                crc64,
                file_id: file_id.to_owned(),
            };
            self.known.insert(key.to_owned(), upload);
        }
    }

    /// Returns the file if it is in the cloud already, as `key`. There are two cases: the user gave its
    /// `file_id`, or an earlier run uploaded it and it has not changed since. To find that out, the file may
    /// be read.
    pub fn stored_before(&self, file: &ListedFile, key: &str) -> Option<Stored> {
        if let Some(file_id) = file.file_id() {
            return Some(Stored::unsent(file, key, file_id, Origin::Named));
        }
        let file_id = self.unchanged(key, &file.path)?;
        Some(Stored::unsent(file, key, file_id, Origin::EarlierRun))
    }

    /// Returns the `file_id` of the file at `path`, if its content has not changed since it was
    /// uploaded as `key`. If its times have changed, as in a fresh checkout, or if they prove nothing,
    /// the file is read. Then its new times are recorded.
    fn unchanged(&self, key: &str, path: &Path) -> Option<&str> {
        let upload = self.known.get(key)?;
        let now = fs::metadata(path).ok()?;
        if now.len() != upload.size {
            return None;
        }
        if !upload.times.prove_unchanged(Times::of(&now)) {
            let fingerprint = Fingerprint::of(path).ok()?; // the error shows again at the upload
            let is_same_size = fingerprint.metadata.len() == upload.size;
            if !is_same_size || Some(fingerprint.crc64) != upload.crc64 {
                return None;
            }
            if Times::to_record(&fingerprint.metadata, SystemTime::now()) != upload.times {
                self.record(key, &fingerprint, &upload.file_id);
            }
        }
        Some(&upload.file_id)
    }

    /// Appends what is in the cloud under `key`.
    pub fn record(&self, key: &str, fingerprint: &Fingerprint, file_id: &str) {
        let Some(records) = &self.records else {
            return;
        };
        let times = Times::to_record(&fingerprint.metadata, SystemTime::now());
        let mut entry = json!({
            "key": key,
            "env": self.env,
            "size": fingerprint.metadata.len(),
            "mtime": times.mtime,
            "crc64": fingerprint.crc64.to_string(), // jq and JavaScript round numbers of this length
            "file_id": file_id,
            "cache_control": self.cache_control,
        });
        if let Some(ctime) = times.ctime {
            entry["ctime"] = ctime.into();
        }
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
        let after_torn = match self.last_byte()? {
            None | Some(b'\n') => "",
            Some(_) => "\n",
        };
        self.file.seek(SeekFrom::End(0))?;
        // JSON may hold U+2028, but some readers of lines take it for the end of one.
        let entry = escape(&entry.to_string());
        self.file
            .write_all(format!("{after_torn}{entry}\n").as_bytes())
    }

    /// Returns the last byte of the file; `None` if the file is empty.
    fn last_byte(&mut self) -> io::Result<Option<u8>> {
        let mut last = [0];
        if self.file.seek(SeekFrom::End(-1)).is_err() {
            return Ok(None);
        }
        self.file.read_exact(&mut last)?;
        Ok(Some(last[0]))
    }

    /// Tries whether the file system can do what `append` does. Some can only write a file from its
    /// beginning to its end, such as a mount of rclone with its default flags. An empty file gets the
    /// beginning of a line, in two parts, and is empty again afterwards; if the program is killed
    /// before that, it is a torn line for the next run. Without a lock nothing is written: another run
    /// may be writing. A full disk is no error here: it costs only a warning later.
    fn try_to_append(&mut self) -> io::Result<()> {
        if self.last_byte()?.is_some() || self.cannot_lock {
            return Ok(());
        }
        let (first, second) = LINE_START.split_at(1);
        let appended = self
            .append_part(first)
            .and_then(|()| self.append_part(second));
        let emptied = self.file.set_len(0);
        match appended.and(emptied) {
            Err(error) if is_full(&error) => Ok(()),
            tried => tried,
        }
    }

    fn append_part(&mut self, part: &[u8]) -> io::Result<()> {
        self.file.write_all(part)?;
        self.last_byte()?;
        Ok(())
    }
}

/// Whether there is no room for more bytes.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

fn cannot_append(error: &io::Error) -> String {
    let error = io_words(error);
    words!(
        "its file system seems unable to append to a file ({error}), as some mounts of cloud storage \
         are: name a file on a local disk",
        "所在的文件系统似乎不支持追加写入（{error}），某些云存储的挂载就是这样：请换成本地磁盘上的文件"
    )
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

impl Times {
    fn of(metadata: &Metadata) -> Times {
        #[cfg(unix)]
        let ctime = {
            let seconds = metadata.ctime().saturating_mul(1_000_000_000);
            Some(seconds.saturating_add(metadata.ctime_nsec()))
        };
        #[cfg(not(unix))]
        let ctime = None;
        Times {
            mtime: nanoseconds(metadata.modified().unwrap_or(UNIX_EPOCH)),
            ctime,
        }
    }

    /// Returns the times for a line that is written at the time `now`. An mtime that is too young is
    /// left out, and so is one in the future: nobody knows how young it is.
    fn to_record(metadata: &Metadata, now: SystemTime) -> Times {
        let mut times = Times::of(metadata);
        if nanoseconds(now).saturating_sub(times.mtime) < TIME_STEP {
            times.mtime = NO_TIME;
        }
        times
    }

    /// Whether a file that had these times has the same content if it has the times `now`.
    fn prove_unchanged(self, now: Times) -> bool {
        let is_same_ctime = self.ctime.is_none_or(|ctime| now.ctime == Some(ctime));
        self.mtime != NO_TIME && self.mtime == now.mtime && is_same_ctime
    }
}

/// Returns a time in nanoseconds since 1970.
fn nanoseconds(time: SystemTime) -> i64 {
    let nanoseconds = |time: Duration| time.as_nanos() as i64;
    match time.duration_since(UNIX_EPOCH) {
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
        let console = Console::new(true);
        let mut manifest = Manifest {
            console: &console,
            env: "e".to_owned(),
            cache_control: None,
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

    /// What is known after these lines, in a run with this `cache_control`.
    fn known_with(cache_control: Option<&str>, lines: &[&str]) -> Option<Times> {
        let console = Console::new(true);
        let mut manifest = Manifest {
            console: &console,
            env: "e".to_owned(),
            cache_control: cache_control.map(str::to_owned),
            known: HashMap::new(),
            records: None,
        };
        let wanted = Wanted {
            keys: HashSet::from(["temp3/a"]),
            unique: false,
        };
        for line in lines {
            manifest.learn(&serde_json::from_str(line).unwrap(), &wanted);
        }
        let known = manifest.known.remove("temp3/a");
        known.map(|upload| upload.times)
    }

    #[test]
    fn an_upload_counts_only_with_the_cache_control_of_this_run() {
        let with = |value: &str| LINE.replace('}', &format!(r#","cache_control":{value}}}"#));
        let [none, one, two] = ["null", r#""one""#, r#""two""#].map(with);
        let cases: [(Option<&str>, &[&str], bool); 8] = [
            (None, &[&none], true),
            (Some("one"), &[&one], true),
            (Some("one"), &[&two, &one], true),
            (Some("one"), &[LINE], true), // of wx-upload 0.3
            (None, &[LINE], true),
            (Some("one"), &[&none], false),
            (None, &[&one], false),
            (Some("one"), &[&one, &two], false), // the later line wins
        ];
        for (cache_control, lines, is_known) in cases {
            let known = known_with(cache_control, lines);
            assert_eq!(known.is_some(), is_known, "{cache_control:?}: {lines:?}");
        }
    }

    #[test]
    fn times_prove_that_a_file_is_unchanged_unless_they_were_too_young() {
        let times = |mtime, ctime| Times { mtime, ctime };
        let now = times(5, Some(7));
        assert!(times(5, Some(7)).prove_unchanged(now));
        assert!(times(5, None).prove_unchanged(now)); // of wx-upload 0.3
        assert!(!times(5, Some(8)).prove_unchanged(now));
        assert!(!times(6, Some(7)).prove_unchanged(now));
        assert!(!times(NO_TIME, Some(7)).prove_unchanged(now));
        assert!(!times(NO_TIME, Some(7)).prove_unchanged(times(NO_TIME, Some(7))));
    }

    #[test]
    fn a_time_is_recorded_once_it_is_2_s_old() {
        let file = tempfile::tempfile().unwrap();
        let mtime = UNIX_EPOCH + Duration::from_secs(1_000_000);
        file.set_modified(mtime).unwrap();
        let recorded = |now| Times::to_record(&file.metadata().unwrap(), now).mtime;
        let true_time = 1_000_000_000_000_000;
        assert_eq!(recorded(mtime + Duration::from_secs(2)), true_time);
        assert_eq!(recorded(mtime + Duration::from_millis(1999)), NO_TIME);
        assert_eq!(recorded(mtime - Duration::from_secs(9)), NO_TIME); // from the future
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
