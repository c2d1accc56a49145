//! The terminal: lines on standard output and standard error, and the progress below them. The one
//! place that makes text safe for a terminal.
//!
//! Does not know what the lines are about, apart from the progress.

use std::env;
#[cfg(unix)]
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::mem;
#[cfg(unix)]
use std::os::fd::AsFd;
use std::process::ExitCode;
#[cfg(unix)]
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use terminal::{Color, Term, style};

use crate::words::{either, io_words, is_chinese, words};

const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// Without a terminal, a note tells the progress this often.
const NOTE_EVERY: Duration = Duration::from_secs(60);
/// The number of entries that were read is shown only after this time.
const READING_IS_LONG: Duration = Duration::from_secs(1);
/// The progress is drawn at most this number of times per second, and once more after each line.
const DRAWN_PER_SECOND: u8 = 20;
/// A terminal with fewer columns gets a shorter progress.
const NARROW: u16 = 60;
/// A non-blocking output that takes no more bytes is tried again after this.
const FULL_PIPE_WAIT: Duration = Duration::from_millis(10);

// ---- Lines ------------------------------------------------------------------------------------

/// Prints a line on standard output, at once. A tab stays: it stands between two columns.
pub fn print(line: &str) -> io::Result<()> {
    let columns: Vec<String> = line.split('\t').map(escape).collect();
    let line = columns.join("\t") + "\n";
    #[cfg(unix)]
    if let Some(mut output) = OUTPUT.as_ref() {
        return write_all(&mut output, line.as_bytes());
    }
    write_all(&mut io::stdout().lock(), line.as_bytes())
}

/// A duplicate of standard output. std takes each write to standard output for done if that is open for
/// reading only, and fails with a duplicate. `None` if the system gives no more open files: then such an
/// output is not noticed.
#[cfg(unix)]
static OUTPUT: LazyLock<Option<File>> = LazyLock::new(|| {
    let duplicate = io::stdout().as_fd().try_clone_to_owned();
    duplicate.map(File::from).ok()
});

/// Returns the words for an error of `print`.
pub fn cannot_print(error: &io::Error) -> String {
    let error = io_words(error);
    words!(
        "standard output cannot be written: {error}",
        "无法写入标准输出：{error}"
    )
}

/// Returns the exit status of `--help` or a dry run that cannot print more. To stop reading is no fault
/// of the reader: `wx-upload --help | head -1` ends well.
pub fn end_of_output(error: &io::Error) -> ExitCode {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return ExitCode::SUCCESS;
    }
    say(&format!("error: {}", cannot_print(error)));
    ExitCode::FAILURE
}

/// Prints a line on standard error.
pub fn say(line: &str) {
    let line = with_colour(escape(line)) + "\n";
    let _ = write_all(&mut io::stderr(), line.as_bytes()); // an error cannot be told anywhere
}

/// Colours the first word of an error or a warning, on a terminal that has colours, unless NO_COLOR is
/// set.
fn with_colour(line: String) -> String {
    let (word, colour) = match line.split_once(' ') {
        Some((word @ "error:", _)) => (word, Color::Red),
        Some((word @ "warning:", _)) => (word, Color::Yellow),
        _ => return line,
    };
    let rest = &line[word.len()..];
    format!("{}{rest}", style(word).fg(colour).for_stderr())
}

/// Writes all bytes. std's own `write_all` loses some where the output is non-blocking, as whoever
/// has the other end of a pipe or a terminal can make it.
fn write_all(output: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    loop {
        let written = if bytes.is_empty() {
            output.flush().map(|()| 0)
        } else {
            output.write(bytes)
        };
        match written {
            Ok(0) if bytes.is_empty() => return Ok(()),
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(FULL_PIPE_WAIT)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes text safe for a terminal. Characters that are unsafe to show are written like `\u001b`, which JSON
/// understands, too.
pub fn escape(text: &str) -> String {
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

/// Whether a character is a control character, or one of those that change the direction of writing,
/// break the line, or are invisible. (U+200D joins emoji, and is safe.)
fn is_unsafe(c: char) -> bool {
    let is_odd = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200c}' | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    );
    is_odd || c.is_control()
}

/// Writes a number of bytes like `1.2 MiB`.
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

/// Standard error while a run goes on: lines, and the progress below them.
pub struct Console {
    quiet: bool,
    /// The progress. It counts as finished while nothing is shown.
    bar: ProgressBar,
    /// Bytes of files that the system took to send, without those that were sent in vain.
    sent: AtomicU64,
    /// Bytes of files that COS has confirmed.
    stored: AtomicU64,
    waiting_because: Mutex<Option<&'static str>>,
    said_once: Mutex<Vec<String>>,
}

impl Console {
    /// If `quiet`, the console prints no notes and shows no progress. It shows progress if standard error
    /// is a terminal.
    pub fn new(quiet: bool) -> Console {
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let target = if !quiet && !is_dumb && io::stderr().is_terminal() {
            let terminal = Box::new(Narrower(Term::buffered_stderr()));
            ProgressDrawTarget::term_like_with_hz(terminal, DRAWN_PER_SECOND)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target)
            .with_style(one_line())
            .with_prefix("0");
        bar.finish_and_clear();
        Console {
            quiet,
            bar,
            sent: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            waiting_because: Mutex::new(None),
            said_once: Mutex::default(),
        }
    }

    /// Prints a line on standard error, above the progress.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| say(line));
    }

    /// Prints a warning, also if quiet. The same warning is not printed again.
    pub fn warn(&self, warning: &str) {
        self.say_once(format!("warning: {warning}"));
    }

    /// Prints a note, unless quiet. The same note is not printed again.
    pub fn note_once(&self, note: &str) {
        if !self.quiet {
            self.say_once(format!("note: {note}"));
        }
    }

    fn say_once(&self, line: String) {
        let mut said_once = self.said_once.lock().unwrap();
        if !said_once.contains(&line) {
            self.say(&line);
            said_once.push(line);
        }
    }

    /// Prints a note, unless quiet.
    pub fn note(&self, note: &str) {
        self.say_unless_quiet(&format!("note: {note}"));
    }

    /// Prints a line on standard error, unless quiet.
    pub fn say_unless_quiet(&self, line: &str) {
        if !self.quiet {
            self.say(line);
        }
    }

    /// Prints a line on standard output.
    pub fn print(&self, line: &str) -> io::Result<()> {
        if io::stdout().is_terminal() {
            return self.bar.suspend(|| print(line));
        }
        // A pipe may take long. The progress, and so the workers, must not wait for it.
        print(line)
    }

    /// Adds bytes that the system took to send.
    pub fn count_bytes(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes away bytes that were sent in vain.
    pub fn take_back_bytes(&self, bytes: u64) {
        self.sent.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Adds the size of a file that COS has confirmed.
    pub fn count_stored(&self, bytes: u64) {
        self.stored.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Subtracts from the total the size of a file that will not be sent.
    pub fn take_from_total(&self, bytes: u64) {
        self.bar.dec_length(bytes);
    }

    /// Adds to the total the size of a file that will be sent after all.
    pub fn add_to_total(&self, bytes: u64) {
        self.bar.inc_length(bytes);
    }

    /// Shows the number of files that are done.
    pub fn show_files_done(&self, files: usize) {
        self.bar.set_prefix(files.to_string());
    }

    /// Shows why the run waits, if it does.
    pub fn show_waiting(&self, why: Option<&'static str>) {
        let before = mem::replace(&mut *self.waiting_because.lock().unwrap(), why);
        if before.is_some() && why.is_none() {
            self.bar.reset_eta(); // the rate is that since the wait
        }
    }

    /// Shows the progress over this number of files and bytes while `work` runs, or tells it in notes
    /// where there is no terminal. This has a thread of its own; if the system gives no thread, there is
    /// no progress.
    pub fn while_shown(&self, files: usize, bytes: u64, work: impl FnOnce()) {
        self.bar.set_length(bytes);
        self.bar.reset();
        thread::scope(|scope| {
            let show = || match (self.bar.is_hidden(), self.quiet) {
                (false, _) => self.show_progress(files),
                (true, false) => self.note_progress(files),
                (true, true) => {}
            };
            let progress = thread::Builder::new().spawn_scoped(scope, show);
            work();
            self.bar.finish_and_clear();
            if let Ok(progress) = progress {
                progress.thread().unpark();
            }
        });
    }

    fn show_progress(&self, files: usize) {
        while !self.bar.is_finished() {
            self.bar.set_position(self.sent.load(Ordering::Relaxed));
            self.bar.set_message(self.progress(files));
            thread::park_timeout(PROGRESS_EVERY);
        }
    }

    fn note_progress(&self, files: usize) {
        let mut next = Instant::now() + NOTE_EVERY;
        while !self.bar.is_finished() {
            if Instant::now() >= next {
                self.note(&self.progress_in_a_note(files));
                next = Instant::now() + NOTE_EVERY; // one note after the program was suspended
            }
            thread::park_timeout(next.saturating_duration_since(Instant::now()));
        }
    }

    fn progress_in_a_note(&self, files: usize) -> String {
        let files_done = self.bar.prefix();
        let sent = human_bytes(self.sent.load(Ordering::Relaxed));
        let of_all = human_bytes(self.bar.length().unwrap_or_default());
        words!(
            "{files_done} of {files} files, {sent} of {of_all}",
            "已完成 {files_done}/{files} 个文件，{sent}/{of_all}"
        )
    }

    fn progress(&self, files: usize) -> String {
        let bar = &self.bar;
        let files_done = bar.prefix();
        let (position, length) = (bar.position(), bar.length().unwrap_or_default());
        let rate = bar.per_sec() as u64;
        let pace = human_bytes(rate);
        let state = if let Some(why) = *self.waiting_because.lock().unwrap() {
            words!("waiting: {why}", "等待中：{why}")
        } else if position >= length && self.stored.load(Ordering::Relaxed) < position {
            either("waits for COS to confirm", "等待 COS 确认").to_owned()
        } else if position >= length || rate == 0 {
            format!("{pace}/s")
        } else {
            let left = human_time((length - position).div_ceil(rate));
            words!("{pace}/s, {left} left", "{pace}/s，剩余 {left}")
        };
        let (_, columns) = Term::stderr().size();
        if columns < NARROW {
            let percent = (position * 100).checked_div(length).unwrap_or(100);
            return words!(
                "{files_done}/{files}, {percent}%, {state}",
                "{files_done}/{files}，{percent}%，{state}"
            );
        }
        let sent = human_bytes(position);
        let of_all = human_bytes(length);
        words!(
            "{files_done}/{files} files, {sent}/{of_all}, {state}",
            "{files_done}/{files} 个文件，{sent}/{of_all}，{state}"
        )
    }
}

/// Counts the entries of a list that may be long, and shows their number on a terminal if that takes
/// longer than a second. `words` puts the number into a line, with at most `CHINESE_CHARACTERS`.
pub struct Reading<'a> {
    bar: &'a ProgressBar,
    words: fn(usize) -> String,
    count: usize,
    /// When the number is shown next; `None` where it is never shown.
    next: Option<Instant>,
}

impl Reading<'_> {
    pub fn new(console: &Console, words: fn(usize) -> String) -> Reading<'_> {
        let bar = &console.bar;
        let next = (!bar.is_hidden()).then(|| Instant::now() + READING_IS_LONG);
        Reading {
            bar,
            words,
            count: 0,
            next,
        }
    }

    /// Counts one more entry.
    pub fn count_one(&mut self) {
        self.count += 1;
        if let Some(next) = self.next
            && Instant::now() >= next
        {
            if self.bar.is_finished() {
                self.bar.reset();
            }
            self.bar.set_message((self.words)(self.count));
            self.next = Some(Instant::now() + PROGRESS_EVERY);
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Writes a number of seconds like `5 s`, `3 min 5 s` or `2 h 3 min`.
pub fn human_time(seconds: u64) -> String {
    let (h, min, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match seconds {
        0..60 => words!("{s} s", "{s} 秒"),
        60..3600 => words!("{min} min {s} s", "{min} 分 {s} 秒"),
        _ => words!("{h} h {min} min", "{h} 小时 {min} 分"),
    }
}

/// A style that cuts the message to the width of the terminal. A line that wraps would overwrite
/// result lines when it is drawn again.
fn one_line() -> ProgressStyle {
    let style = ProgressStyle::with_template("{wide_msg}");
    style.unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The Chinese progress has at most this number of Chinese characters.
const CHINESE_CHARACTERS: u16 = 16;

/// A terminal that seems narrower than it is, by one column and, in Chinese, by one more for each
/// Chinese character. The Windows console wraps a line when its last column is written to, and
/// indicatif takes a Chinese character for one column, though it takes two. Each redraw of a progress
/// that wraps would leave a line behind.
#[derive(Debug)]
struct Narrower(Term);

impl TermLike for Narrower {
    fn width(&self) -> u16 {
        let (_, columns) = self.0.size();
        let kept_free = if is_chinese() {
            1 + CHINESE_CHARACTERS
        } else {
            1
        };
        columns.saturating_sub(kept_free).max(1)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_left(n)
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.0.write_line(line)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_or_hide_is_escaped() {
        for text in ["plain", "图片 1.jpg", "👩\u{200d}👧", ""] {
            assert_eq!(escape(text), text);
        }
        let cases = [
            ("\u{1b}[31m\r\n", r"\u001b[31m\u000d\u000a"),
            ("a\tb", r"a\u0009b"),
            ("\u{7f}\u{9b}", r"\u007f\u009b"),
            ("gpj.\u{202e}exe", r"gpj.\u202eexe"),
            ("\u{2028}\u{feff}\u{200b}", r"\u2028\ufeff\u200b"),
            ("\u{e0041}", r"\udb40\udc41"),
        ];
        for (text, escaped) in cases {
            assert_eq!(escape(text), escaped);
        }
    }

    #[test]
    fn bytes_are_written_in_units_that_people_read() {
        let cases = [
            (0, "0 B"),
            (1, "1 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1 << 20, "1.0 MiB"),
            (5 << 18, "1.2 MiB"),
            (5 << 30, "5.0 GiB"),
        ];
        for (bytes, shown) in cases {
            assert_eq!(human_bytes(bytes), shown);
        }
    }

    #[test]
    fn a_note_about_the_progress_has_files_and_bytes() {
        let console = Console::new(true);
        console.while_shown(12, 3 << 20, || {
            console.count_bytes(5 << 18);
            console.show_files_done(3);
            console.take_from_total(1 << 20);
            let note = console.progress_in_a_note(12);
            assert_eq!(note, "3 of 12 files, 1.2 MiB of 2.0 MiB");
        });
    }

    #[test]
    fn seconds_are_written_as_people_say_them() {
        let cases = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (185, "3 min 5 s"),
            (3599, "59 min 59 s"),
            (3600, "1 h 0 min"),
            (7_384, "2 h 3 min"),
        ];
        for (seconds, shown) in cases {
            assert_eq!(human_time(seconds), shown);
        }
    }
}
