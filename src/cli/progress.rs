//! The progress below the lines on standard error: on a terminal a line that is drawn again and again,
//! elsewhere a note a minute.
//!
//! Does not know what else is printed.

use std::io;
use std::mem;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use terminal::Term;

use crate::words::{either, human_bytes, human_time, is_chinese, words};

const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// Without a terminal, a note tells the progress this often.
const NOTE_EVERY: Duration = Duration::from_secs(60);
/// The number of entries that were read is shown only after this time.
const READING_IS_LONG: Duration = Duration::from_secs(1);
/// The progress is drawn at most this number of times per second, and once more after each line.
const DRAWN_PER_SECOND: u8 = 20;
/// A terminal with fewer columns gets a shorter progress.
const NARROW: u16 = 60;

/// The progress of a run.
pub struct Progress {
    /// It counts as finished while nothing is shown.
    bar: ProgressBar,
    /// Bytes of files that the system took to send, without those that were sent in vain.
    sent: AtomicU64,
    /// Bytes of files that COS has confirmed.
    stored: AtomicU64,
    waiting_because: Mutex<Option<&'static str>>,
}

impl Progress {
    /// If it `is_on_terminal`, the progress is drawn on standard error.
    pub fn new(is_on_terminal: bool) -> Progress {
        let target = if is_on_terminal {
            let terminal = Box::new(Narrower(Term::buffered_stderr()));
            ProgressDrawTarget::term_like_with_hz(terminal, DRAWN_PER_SECOND)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target)
            .with_style(one_line())
            .with_prefix("0");
        bar.finish_and_clear();
        Progress {
            bar,
            sent: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            waiting_because: Mutex::new(None),
        }
    }

    /// Hides the progress while `print` prints something.
    pub fn hidden_while<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
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

    /// Shows the progress over this number of files and bytes while `work` runs, or passes it to `note`
    /// where it is not drawn. This has a thread of its own; if the system gives no thread, there is no
    /// progress.
    pub fn while_shown(
        &self,
        files: usize,
        bytes: u64,
        note: impl Fn(&str) + Send + Sync,
        work: impl FnOnce(),
    ) {
        self.bar.set_length(bytes);
        self.bar.reset();
        thread::scope(|scope| {
            let show = || {
                if self.bar.is_hidden() {
                    self.note_progress(files, &note);
                } else {
                    self.show_progress(files);
                }
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
            self.bar.set_message(self.for_terminal(files));
            thread::park_timeout(PROGRESS_EVERY);
        }
    }

    fn note_progress(&self, files: usize, note: impl Fn(&str)) {
        let mut next = Instant::now() + NOTE_EVERY;
        while !self.bar.is_finished() {
            if Instant::now() >= next {
                note(&self.for_note(files));
                next = Instant::now() + NOTE_EVERY; // one note after the program was suspended
            }
            thread::park_timeout(next.saturating_duration_since(Instant::now()));
        }
    }

    fn for_note(&self, files: usize) -> String {
        let files_done = self.bar.prefix();
        let sent = human_bytes(self.sent.load(Ordering::Relaxed));
        let of_all = human_bytes(self.bar.length().unwrap_or_default());
        words!(
            "{files_done} of {files} files, {sent} of {of_all}",
            "已完成 {files_done}/{files} 个文件，{sent}/{of_all}"
        )
    }

    fn for_terminal(&self, files: usize) -> String {
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
    pub fn new(progress: &Progress, words: fn(usize) -> String) -> Reading<'_> {
        let bar = &progress.bar;
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
    fn a_note_about_the_progress_has_files_and_bytes() {
        let progress = Progress::new(false);
        let work = || {
            progress.count_bytes(5 << 18);
            progress.show_files_done(3);
            progress.take_from_total(1 << 20);
            let note = progress.for_note(12);
            assert_eq!(note, "3 of 12 files, 1.2 MiB of 2.0 MiB");
        };
        progress.while_shown(12, 3 << 20, |_| {}, work);
    }
}
