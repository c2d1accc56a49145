//! The terminal: lines on standard output and standard error. The one place that makes text safe for a
//! terminal.
//!
//! Does not know what the lines are about.

use std::env;
#[cfg(unix)]
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
#[cfg(unix)]
use std::os::fd::AsFd;
use std::process::ExitCode;
#[cfg(unix)]
use std::sync::LazyLock;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use terminal::{Color, style};

use super::progress::Progress;
use crate::words::{io_words, words};

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
    if error.kind() == ErrorKind::BrokenPipe {
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
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(FULL_PIPE_WAIT),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes text safe for a terminal. Characters that are unsafe to show are written like `\u001b`, which JSON
/// understands, too.
pub fn escape(text: &str) -> String {
    let is_plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte)); // a quick look, for long lists
    if is_plain || !text.contains(is_unsafe) {
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

// ---- Standard error ---------------------------------------------------------------------------

/// The terminal while a run goes on: lines, and the progress below them.
pub struct Console {
    quiet: bool,
    pub progress: Progress,
    said_once: Mutex<Vec<String>>,
}

impl Console {
    /// If `quiet`, the console prints no notes and shows no progress. It shows progress if standard error
    /// is a terminal.
    pub fn new(quiet: bool) -> Console {
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Console {
            quiet,
            progress: Progress::new(!quiet && !is_dumb && io::stderr().is_terminal()),
            said_once: Mutex::default(),
        }
    }

    /// Prints a line on standard error, above the progress.
    pub fn say(&self, line: &str) {
        self.progress.hidden_while(|| say(line));
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
            return self.progress.hidden_while(|| print(line));
        }
        // A pipe may take long. The progress, and so the workers, must not wait for it.
        print(line)
    }

    /// Shows the progress over this number of files and bytes while `work` runs, or tells it in notes
    /// where there is no terminal.
    pub fn while_shown(&self, files: usize, bytes: u64, work: impl FnOnce()) {
        self.progress
            .while_shown(files, bytes, |progress| self.note(progress), work);
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
}
