//! What the user sees: result lines on standard output; notes, errors and progress on standard
//! error. The one place that makes text safe for a terminal.
//!
//! Does not know when something is said.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use crate::listing::LocalFile;
use crate::options::{Format, Settings};

const PROGRESS_EVERY: Duration = Duration::from_millis(200);

// ---- Lines ------------------------------------------------------------------------------------

/// Prints a line on standard output, at once. The error is a sentence.
pub fn print(line: &str) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    let printed = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    printed.map_err(|error| format!("standard output cannot be written: {error}"))
}

/// Prints a line on standard error. There is nobody to tell when that fails.
pub fn complain(line: &str) {
    let line = escape(line) + "\n";
    let _ = io::stderr().write_all(line.as_bytes());
}

/// The result line of a file that is in the cloud and has a link.
pub fn linked_line(
    format: Format,
    file: &LocalFile,
    size: u64,
    file_id: &str,
    url: &str,
) -> String {
    match format {
        Format::Text => columns(&[&file.name, url, file_id]),
        Format::Url => escape(url),
        Format::Markdown => escape(&markdown(&file.name, url)),
        Format::Json => json_line(
            file,
            json!({ "size": size, "file_id": file_id, "url": url }),
        ),
    }
}

/// The result line of a file that failed, `file_id` where the upload itself succeeded. Only JSON
/// has one.
pub fn failed_line(
    format: Format,
    file: &LocalFile,
    error: &str,
    file_id: Option<&str>,
) -> Option<String> {
    let rest = match file_id {
        Some(file_id) => json!({ "error": error, "file_id": file_id }),
        None => json!({ "error": error }),
    };
    match format {
        Format::Json => Some(json_line(file, rest)),
        Format::Text | Format::Url | Format::Markdown => None,
    }
}

/// The line of a file that a dry run lists.
pub fn listed_line(format: Format, file: &LocalFile) -> String {
    match format {
        Format::Json => json_line(file, json!({ "size": file.size })),
        Format::Text | Format::Url | Format::Markdown => columns(&[&file.name, &file.key]),
    }
}

fn columns(columns: &[&str]) -> String {
    let columns: Vec<String> = columns.iter().map(|column| escape(column)).collect();
    columns.join("\t")
}

fn json_line(file: &LocalFile, rest: Value) -> String {
    let mut line = Map::new();
    line.insert("name".into(), file.name.as_str().into());
    line.insert("path".into(), file.path.to_string_lossy().into());
    line.insert("key".into(), file.key.as_str().into());
    if let Value::Object(rest) = rest {
        line.extend(rest);
    }
    escape(&Value::Object(line).to_string())
}

fn markdown(name: &str, url: &str) -> String {
    let mime = mime_guess::from_path(name).first();
    let is_image = mime.is_some_and(|mime| mime.type_() == "image");
    let mark = if is_image { "!" } else { "" };
    let mut text = String::new();
    for c in name.chars() {
        if r"\[]<>*_`".contains(c) {
            text.push('\\');
        }
        text.push(c);
    }
    let url = url.replace('(', "%28").replace(')', "%29");
    format!("{mark}[{text}]({url})")
}

/// Makes text safe for a terminal: control characters, and those that turn the direction of writing,
/// break lines or hide, are spelled `\u001b`, which JSON understands, too.
fn escape(text: &str) -> String {
    if !text.contains(is_unsafe) {
        return text.to_owned();
    }
    let mut escaped = String::new();
    for c in text.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                escaped += &format!("\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// What turns the direction of writing, breaks lines or hides. U+200D, which joins emoji, is fine.
const UNSEEN: [RangeInclusive<char>; 10] = [
    '\u{ad}'..='\u{ad}',
    '\u{61c}'..='\u{61c}',
    '\u{180e}'..='\u{180e}',
    '\u{200b}'..='\u{200c}',
    '\u{200e}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{feff}'..='\u{feff}',
    '\u{fff9}'..='\u{fffb}',
    '\u{e0000}'..='\u{e007f}',
];

fn is_unsafe(c: char) -> bool {
    c.is_control() || UNSEEN.iter().any(|range| range.contains(&c))
}

/// A number of bytes, as people read it.
pub fn human_bytes(bytes: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >> shift > 0 {
            let count = bytes as f64 / f64::from(1 << shift);
            return format!("{count:.1} {unit}");
        }
    }
    format!("{bytes} B")
}

// ---- Standard error ---------------------------------------------------------------------------

/// What is said while the run goes on: lines, and under them the progress.
pub struct Console {
    quiet: bool,
    bar: ProgressBar,
    files: usize,
    holds_back: AtomicBool,
    warnings: Mutex<Vec<String>>,
}

impl Console {
    /// Progress over `files`, hidden where standard error is no terminal, or is not wanted.
    pub fn new(settings: &Settings, files: &[LocalFile]) -> Console {
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let is_shown = io::stderr().is_terminal() && !is_dumb;
        let bar = if is_shown && !settings.quiet && !settings.dry_run {
            let bytes = files
                .iter()
                .fold(0, |sum: u64, file| sum.saturating_add(file.size));
            ProgressBar::new(bytes)
                .with_style(one_line())
                .with_prefix("0")
        } else {
            ProgressBar::hidden()
        };
        Console {
            quiet: settings.quiet,
            bar,
            files: files.len(),
            holds_back: AtomicBool::new(false),
            warnings: Mutex::default(),
        }
    }

    /// A line on standard error, above the progress.
    pub fn complain(&self, line: &str) {
        self.bar.suspend(|| complain(line));
    }

    /// A warning, also where it is quiet. What was said before is not said again.
    pub fn warn(&self, warning: &str) {
        let mut warnings = self.warnings.lock().unwrap();
        if !warnings.iter().any(|said| said == warning) {
            self.complain(&format!("warning: {warning}"));
            warnings.push(warning.to_owned());
        }
    }

    /// A line above the progress, unless quiet.
    pub fn note(&self, line: &str) {
        if !self.quiet {
            self.complain(line);
        }
    }

    /// A line on standard output. The error is a sentence.
    pub fn print(&self, line: &str) -> Result<(), String> {
        if io::stdout().is_terminal() {
            return self.bar.suspend(|| print(line));
        }
        // It may take its time, in which progress, and so the workers, must not stand still.
        print(line)
    }

    /// So many bytes more were sent.
    pub fn count_bytes(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// So many bytes were sent for nothing.
    pub fn take_back_bytes(&self, bytes: u64) {
        self.bar.dec(bytes);
    }

    /// A file of so many bytes will not be sent.
    pub fn leave_out(&self, bytes: u64) {
        self.bar.dec_length(bytes);
    }

    /// A file of so many bytes, which was left out, will be sent after all.
    pub fn put_back(&self, bytes: u64) {
        self.bar.inc_length(bytes);
    }

    /// So many files are done.
    pub fn files_done(&self, files: usize) {
        self.bar.set_prefix(files.to_string());
    }

    /// Whether the run waits, as a service asks it to slow down.
    pub fn hold_back(&self, holds_back: bool) {
        self.holds_back.store(holds_back, Ordering::Relaxed);
    }

    /// Shows progress while `work` is done: in a thread of its own, if there is one to be had.
    pub fn while_shown(&self, work: impl FnOnce()) {
        thread::scope(|scope| {
            let progress = thread::Builder::new().spawn_scoped(scope, || self.show_progress());
            work();
            self.bar.finish_and_clear();
            if let Ok(progress) = progress {
                progress.thread().unpark();
            }
        });
    }

    fn show_progress(&self) {
        while !self.bar.is_hidden() && !self.bar.is_finished() {
            self.bar.set_message(self.progress());
            thread::park_timeout(PROGRESS_EVERY);
        }
    }

    fn progress(&self) -> String {
        let bar = &self.bar;
        let rate = bar.per_sec() as u64;
        let pace = if self.holds_back.load(Ordering::Relaxed) {
            "waiting: the service asked to slow down".to_owned()
        } else if rate == 0 {
            format!("{}/s", human_bytes(rate))
        } else {
            format!(
                "{}/s, {:#} left",
                human_bytes(rate),
                HumanDuration(bar.eta())
            )
        };
        format!(
            "{}/{} files, {}/{}, {pace}",
            bar.prefix(),
            self.files,
            human_bytes(bar.position()),
            human_bytes(bar.length().unwrap_or_default()),
        )
    }
}

/// A message that is cut to the width of the terminal: a line that wraps would take result lines
/// with it when it is redrawn.
fn one_line() -> ProgressStyle {
    let style = ProgressStyle::with_template("{wide_msg}");
    style.unwrap_or_else(|_| ProgressStyle::default_bar())
}
