//! The report of a run: result lines, error lines, and counts. Also the list that a dry run prints.
//!
//! Does not know how or when a file is uploaded.

use std::io;
use std::process::ExitCode;
use std::time::Instant;

use super::format::{failed_line, linked_line, listed_line};
use super::pipeline::Outcome;
use crate::cli::{Console, Format, Settings, end_of_output, print, say};
use crate::failure::{Failure, Kind};
use crate::files::{CloudNames, ListedFile, Listing, Manifest, Origin, Stored};
use crate::stop::{FAILED_TO_STOP, Stop};
use crate::words::{either, human_bytes, words};

/// Tells how each file of a run ended, and counts.
pub struct Report<'a> {
    format: Format,
    console: &'a Console,
    began: Instant,
    /// The last failure of a service. It is not told in full again for the next file.
    last_failure: Option<Failure>,
    counts: Counts,
    /// The `file_id`s of files whose lines could not be printed.
    unprinted: Vec<String>,
}

/// How many files ended in which way, as the summary tells it.
#[derive(Default)]
struct Counts {
    uploaded: usize,
    uploaded_bytes: u64,
    /// The manifest knew them.
    unchanged: usize,
    /// The user named their `file_id`s, and got their links.
    links: usize,
    /// Other files with their name and content were uploaded (`--unique`).
    doubles: usize,
    failed: usize,
}

impl Report<'_> {
    /// `began` is the time when the program began.
    pub fn new<'a>(settings: &Settings, console: &'a Console, began: Instant) -> Report<'a> {
        Report {
            format: settings.options.format,
            console,
            began,
            last_failure: None,
            counts: Counts::default(),
            unprinted: Vec::new(),
        }
    }

    /// Prints the result line of a file and its error line, if it has them, and counts the file. At its
    /// second place in the list a file has a result line only. The error is that of standard output.
    pub fn file(&mut self, file: &ListedFile, outcome: &Outcome) -> io::Result<()> {
        let stands_again = file.same_as.is_some();
        if !stands_again {
            self.count(outcome);
        }
        let printed = match self.result_line(file, outcome) {
            Some(line) => self.console.print(&line),
            None => Ok(()),
        };
        if stands_again {
            return printed;
        }
        let problem = match outcome {
            Outcome::Linked { stored, .. } => {
                if printed.is_err() {
                    self.unprinted.push(stored.file_id.clone());
                }
                None
            }
            Outcome::NoLink { stored, why } => {
                let file_id = &stored.file_id;
                let named = match why.kind {
                    Kind::NotFound => its_file_id_is(), // perhaps it is not there
                    _ => named(stored),
                };
                let why = self.tell_once(why);
                Some(words!(
                    "{why}; {named} {file_id}",
                    "{why}；{named} {file_id}"
                ))
            }
            Outcome::Failed { why } => Some(self.tell_once(why)),
        };
        if let Some(problem) = problem {
            self.console.say(&error_line(file, &problem));
        }
        printed
    }

    fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Linked { stored, .. } => self.counts.add(stored),
            Outcome::NoLink { .. } | Outcome::Failed { .. } => self.counts.failed += 1,
        }
        self.console.progress.show_files_done(self.counts.files());
    }

    /// Returns the words for a failure. If a service failed in the same way for the file before, they
    /// are not repeated.
    fn tell_once(&mut self, why: &Failure) -> String {
        if why.kind == Kind::Local {
            return why.to_string();
        }
        let before = self.last_failure.replace(why.clone());
        match before {
            Some(before) if before.says_same(why) => as_above(why),
            _ => why.to_string(),
        }
    }

    /// Returns the words for the end of a run that was stopped. A failure that was told for a file
    /// is not repeated.
    fn stop_words(&self, stop: &Stop) -> String {
        let why = match stop {
            Stop::Failed(failure) => match &self.last_failure {
                Some(last) if last.says_same(failure) => as_above(failure),
                _ => failure.to_string(),
            },
            Stop::NothingSucceeded => words!(
                "{FAILED_TO_STOP} files failed before any succeeded",
                "在任何文件成功之前，已有 {FAILED_TO_STOP} 个文件失败"
            ),
            Stop::OnThisMachine(why) => why.clone(),
        };
        why + &self.unprinted_words()
    }

    /// Returns what must not be lost if standard output cannot be written: the files in the cloud whose
    /// lines nobody gets.
    fn unprinted_words(&self) -> String {
        let count = self.unprinted.len();
        let first: Vec<&str> = self.unprinted.iter().map(String::as_str).take(3).collect();
        let more = if count > first.len() { " …" } else { "" };
        let first = first.join(" ");
        match count {
            0 => String::new(),
            _ => words!(
                "; in the cloud, but not printed: {count} ({first}{more})",
                "；已在云端但没有输出：{count} 个（{first}{more}）"
            ),
        }
    }

    /// Returns a file's line on standard output, if it has one.
    fn result_line(&self, file: &ListedFile, outcome: &Outcome) -> Option<String> {
        match outcome {
            Outcome::Linked { stored, url } => Some(linked_line(self.format, file, stored, url)),
            Outcome::NoLink { stored, why } => {
                failed_line(self.format, file, &why.to_string(), Some(stored))
            }
            Outcome::Failed { why } => failed_line(self.format, file, &why.to_string(), None),
        }
    }

    /// Prints the last lines of a run, and returns its exit status. `stopped` is the reason why the
    /// run was stopped, if it was.
    pub fn end(&self, listing: &Listing, stopped: Option<&Stop>) -> ExitCode {
        if let Some(stop) = stopped {
            let why = self.stop_words(stop);
            say(&words!(
                "error: {why}; the run was stopped",
                "error: {why}；运行已中止"
            ));
        }
        let not_attempted = listing.each_once().count() - self.counts.files();
        let rest = self.counts.rest(listing.skipped, not_attempted);
        let (uploaded, bytes) = (
            self.counts.uploaded,
            human_bytes(self.counts.uploaded_bytes),
        );
        let seconds = self.began.elapsed().as_secs_f64();
        self.console.say_unless_quiet(&words!(
            "{uploaded} uploaded ({bytes}){rest} in {seconds:.1} s",
            "上传 {uploaded} 个（{bytes}）{rest}，用时 {seconds:.1} 秒"
        ));
        exit_status(self.counts.failed == 0 && stopped.is_none())
    }
}

impl Counts {
    /// Counts a file that is in the cloud.
    fn add(&mut self, stored: &Stored) {
        match stored.origin {
            Origin::ThisRun => {
                self.uploaded += 1;
                self.uploaded_bytes += stored.size;
            }
            Origin::OtherFile => self.doubles += 1,
            Origin::EarlierRun => self.unchanged += 1,
            Origin::Named => self.links += 1,
        }
    }

    /// Returns the number of files that were counted.
    fn files(&self) -> usize {
        self.uploaded + self.unchanged + self.links + self.doubles + self.failed
    }

    /// Returns the words for all counts but the first, each with a comma before it. A count of 0 has
    /// none.
    fn rest(&self, skipped: usize, not_attempted: usize) -> String {
        let links = match self.links {
            1 => either("link", "链接"),
            _ => either("links", "链接"),
        };
        let counts = [
            (self.unchanged, either("unchanged", "未变")),
            (self.links, links),
            (skipped + self.doubles, either("skipped", "跳过")),
            (self.failed, either("failed", "失败")),
            (not_attempted, either("not attempted", "未处理")),
        ];
        let mut rest = String::new();
        for (count, ended) in counts {
            if count > 0 {
                rest += &words!(", {count} {ended}", "，{ended} {count} 个");
            }
        }
        rest
    }
}

/// Returns the words before the `file_id` of a file. Only a file that this run uploaded is called
/// uploaded.
fn named(stored: &Stored) -> &'static str {
    if stored.is_new() {
        either("the file is uploaded, as", "文件已上传，file_id 为")
    } else {
        its_file_id_is()
    }
}

fn its_file_id_is() -> &'static str {
    either("its file_id is", "file_id 为")
}

/// Returns the words for a failure that was told in full for the file before.
fn as_above(failure: &Failure) -> String {
    let stage = failure.stage;
    words!("{stage}: as above", "{stage}: 同上")
}

fn error_line(file: &ListedFile, why: &str) -> String {
    format!("error: {}: {why}", file.path.display())
}

fn exit_status(all_well: bool) -> ExitCode {
    if all_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Lists the files that a run would upload. A file that holds one of `secrets` would fail. (With
/// `--unique`, two files can have the same name and content. A run sends them once; the dry run lists
/// both.)
pub fn dry_run(
    format: Format,
    listing: &Listing,
    console: &Console,
    names: &CloudNames,
    manifest: &Manifest,
    secrets: &[String],
) -> ExitCode {
    let mut listed = 0;
    let mut bytes = 0;
    let mut counts = Counts::default();
    for file in listing.each_once() {
        let line = match names.of(file, secrets) {
            Err(why) => {
                counts.failed += 1;
                let why = why.to_string();
                say(&error_line(file, &why));
                failed_line(format, file, &why, None)
            }
            Ok(name) => match manifest.stored_before(file, &name.key) {
                Some(stored) => {
                    counts.add(&stored);
                    None
                }
                None => {
                    listed += 1;
                    bytes += file.size;
                    Some(listed_line(format, file, &name.key))
                }
            },
        };
        if let Some(line) = line
            && let Err(error) = print(&line)
        {
            return end_of_output(&error);
        }
    }
    let (bytes, rest) = (human_bytes(bytes), counts.rest(listing.skipped, 0));
    console.say_unless_quiet(&words!(
        "{listed} would be uploaded ({bytes}){rest}",
        "将上传 {listed} 个（{bytes}）{rest}"
    ));
    exit_status(counts.failed == 0)
}
