//! Many files at once: workers upload, and the calling thread asks for links together and reports
//! the files in their order.
//!
//! There are more workers than uploads at once. While a file is on its way, another worker has the next
//! one open, with its signature. So an upload waits for step 2 only if that signature has become too old
//! (`is_fresh` in `cos.rs`). `pace.rs` makes the workers wait for their turn. The additional workers start
//! once it shows that uploads take time: when nothing has finished for 50 ms, or when the quickest upload
//! has taken more than 5 ms. Quicker ones, to a service on this machine, have little to gain from more threads.
//!
//! Files wait for their links together: one call asks for all that finished while the last call was under
//! way. If those are more than one call can name, up to seven other calls go out beside it, each of them
//! full. So a run that uploads makes no more calls, and one over many unchanged files does not wait for
//! one call after the other. For example, 430 unchanged files need nine calls. After the first eight
//! calls, which are answered in one round trip, the last one asks for 30.
//!
//! Knows when something is done, but not how: it is given the functions.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::cli::{LINK_CALLS, Options};
use crate::disk::open_files_left;
use crate::failure::{Cure, Failure};
use crate::files::{ListedFile, Origin, Stored};
use crate::stop::{Stop, StopSignal};
use crate::words::{io_words, words};

/// The limit of batchdownloadfile.
const LINKS_PER_CALL: usize = 50;
/// Files that finish within this time share a call for links.
const GATHER_TIME: Duration = Duration::from_millis(5);
/// An upload that takes no longer, with all its steps, has little to gain from an additional worker.
const QUICK: Duration = Duration::from_millis(5);
/// If nothing finishes for this time, uploads take time. The first one of a run needs six round trips.
const LONG_WAIT: Duration = Duration::from_millis(50);
/// The workers get at most this number of files before the first of them is reported. It limits the
/// memory for results that wait to be reported.
const MAX_UNREPORTED: usize = 1_000;
/// A worker needs a file, two connections, and another file while it looks a host up.
const OPEN_FILES_PER_WORKER: usize = 4;
/// A call for links needs a connection, and a file while it looks the host up. The rest is for a new
/// token, which is saved in another file.
const OTHER_OPEN_FILES: usize = 2 * LINK_CALLS + 6;

/// How a file ended.
pub enum Outcome {
    Linked {
        stored: Stored,
        url: String,
    },
    Failed {
        why: Failure,
    },
    /// It is in the cloud, but the service gave no link.
    NoLink {
        stored: Stored,
        why: Failure,
    },
}

/// Returns the number of workers. It is lower if the system's limit of open files is low. With more
/// workers, no open file would be left to save a new token with.
pub fn worker_count(options: &Options) -> usize {
    let wanted = OTHER_OPEN_FILES + options.workers() * OPEN_FILES_PER_WORKER;
    let left = open_files_left(wanted);
    (left.saturating_sub(OTHER_OPEN_FILES) / OPEN_FILES_PER_WORKER).max(1)
}

/// Uploads `files` with at most this number of workers. At most `jobs` of them start first, and the
/// additional ones once it shows that uploads take time. Reports each file as soon as it and all files
/// before it are done. A file that a stopped run did not attempt is not reported. A file that is in the
/// list twice is uploaded once, and its outcome is reported at each place.
///
/// - `upload` puts a file into the cloud; with `true`, even if the manifest knows it.
/// - `get_links` asks for the links of up to 50 files, and returns a result for each, in order.
/// - `report` tells the user how a file ended.
pub fn run_pipeline(
    files: &[ListedFile],
    workers: usize,
    jobs: usize,
    stop: &StopSignal,
    upload: impl Fn(&ListedFile, bool) -> Result<Stored, Failure> + Sync,
    get_links: impl Fn(&[&Stored]) -> Vec<Result<String, Failure>> + Sync,
    mut report: impl FnMut(&ListedFile, &Outcome),
) {
    let (queue, tasks) = mpsc::channel();
    let (results, finished) = mpsc::channel();
    let tasks = Mutex::new(tasks);
    thread::scope(|scope| {
        let start_workers = |count, results: &Sender<Finished>| -> io::Result<()> {
            for _ in 0..count {
                let (tasks, upload, results) = (&tasks, &upload, results.clone());
                let work = move || upload_files(files, stop, tasks, upload, &results);
                thread::Builder::new().spawn_scoped(scope, work)?;
            }
            Ok(())
        };
        let workers = workers.min(files.len());
        let at_first = workers.min(jobs);
        if let Err(error) = start_workers(at_first.min(1), &results) {
            stop.stop(no_worker(&error));
        }
        // If the system gives no more threads, the started ones do the work, here and below.
        let _ = start_workers(at_first.saturating_sub(1), &results);
        // It owns the last `results` that is not a worker's: without it, `finished` ends with the workers.
        let mut start_additional = Some(move || start_workers(workers - at_first, &results));
        let mut under_way = UnderWay::new(files, queue, jobs);
        loop {
            if stop.reason().is_some() || under_way.is_complete() {
                under_way.close_queue();
                start_additional = None;
            }
            under_way.queue_next_files();
            if !under_way.receive_results(&finished) {
                break;
            }
            if let Some(start) = start_additional.take_if(|_| under_way.takes_time) {
                let _ = start();
            }
            under_way.ask_for_links(&get_links);
            under_way.report_in_order(&mut report);
        }
        under_way.report_the_rest(&mut report);
    });
}

/// Why a run ends for which the system gives no thread.
fn no_worker(error: &io::Error) -> Stop {
    let error = io_words(error);
    Stop::OnThisMachine(words!(
        "cannot start a thread: {error}",
        "无法启动线程：{error}"
    ))
}

/// A file for a worker.
struct Task {
    index: usize,
    /// Upload it even if the manifest knows it.
    again: bool,
}

/// The result of a worker's task.
struct Finished {
    index: usize,
    result: Result<Stored, Failure>,
    took: Duration,
}

/// A worker: uploads one file after the other, until no file is left or the run is stopped.
fn upload_files(
    files: &[ListedFile],
    stop: &StopSignal,
    tasks: &Mutex<Receiver<Task>>,
    upload: impl Fn(&ListedFile, bool) -> Result<Stored, Failure>,
    results: &Sender<Finished>,
) {
    loop {
        let next = tasks.lock().unwrap().recv();
        let Ok(Task { index, again }) = next else {
            return;
        };
        if stop.reason().is_some() {
            return;
        }
        let began = Instant::now();
        let finished = Finished {
            index,
            result: upload(&files[index], again),
            took: began.elapsed(),
        };
        let _ = results.send(finished); // the receiver outlives all workers
    }
}

/// Files for one call for links, by the order of the report.
type Batch = BTreeMap<usize, Stored>;

/// Runs `ask` for each batch, and for all at once. Returns all results in order. If the system gives no
/// more threads, the calling one asks for the batches that are left.
fn beside_each_other<T: Send>(
    batches: &[Batch],
    ask: &(impl Fn(&Batch) -> Vec<T> + Sync),
) -> Vec<T> {
    let Some((first, others)) = batches.split_first() else {
        return Vec::new();
    };
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for batch in others {
            let work = move || ask(batch);
            threads.push((batch, thread::Builder::new().spawn_scoped(scope, work)));
        }
        let mut results = ask(first);
        for (batch, thread) in threads {
            results.extend(match thread {
                Ok(thread) => thread.join().unwrap(),
                Err(_) => ask(batch),
            });
        }
        results
    })
}

/// The state of all files: handed out, in the cloud without a link yet, done, reported.
struct UnderWay<'a> {
    files: &'a [ListedFile],
    /// The workers' queue; `None` once they are to end.
    queue: Option<Sender<Task>>,
    handed_out: usize,
    /// In the cloud, and waiting for their links, by the order of the report.
    awaiting_link: Batch,
    /// Why the service gives no more links, once that is known.
    no_links: Option<Failure>,
    /// Done, and waiting for the files before them.
    done: BTreeMap<usize, Outcome>,
    /// The outcomes of the files that are in the list twice; `None` until they are reported.
    repeated: BTreeMap<usize, Option<Outcome>>,
    reported: usize,
    jobs: usize,
    /// The number of files that this run has uploaded.
    uploads: usize,
    /// The time of the quickest of them.
    quickest: Duration,
    /// It has shown that uploads take time.
    takes_time: bool,
}

impl UnderWay<'_> {
    fn new(files: &[ListedFile], queue: Sender<Task>, jobs: usize) -> UnderWay<'_> {
        let firsts = files.iter().filter_map(|file| file.same_as);
        UnderWay {
            files,
            queue: Some(queue),
            handed_out: 0,
            awaiting_link: BTreeMap::new(),
            no_links: None,
            done: BTreeMap::new(),
            repeated: firsts.map(|first| (first, None)).collect(),
            reported: 0,
            jobs,
            uploads: 0,
            quickest: Duration::MAX,
            takes_time: false,
        }
    }

    fn is_complete(&self) -> bool {
        self.reported == self.files.len()
    }

    /// Lets the workers end after the files that they work on.
    fn close_queue(&mut self) {
        self.queue = None;
    }

    /// Gives the workers the next files.
    fn queue_next_files(&mut self) {
        let Some(queue) = &self.queue else {
            return;
        };
        let end = self.files.len().min(self.reported + MAX_UNREPORTED);
        for index in self.handed_out..end {
            if self.files[index].same_as.is_some() {
                continue;
            }
            let task = Task {
                index,
                again: false,
            };
            let _ = queue.send(task); // cannot fail: the receiver lives until `run_pipeline` ends
        }
        self.handed_out = end;
    }

    /// Takes the results of the workers. Waits for one if there is nothing else to do, but not for longer
    /// than `LONG_WAIT` until it shows that uploads take time. Returns false when all is done: the workers
    /// have ended, and no file waits for its link.
    fn receive_results(&mut self, finished: &Receiver<Finished>) -> bool {
        if self.awaiting_link.is_empty() {
            let first = if self.takes_time {
                finished.recv().map_err(RecvTimeoutError::from)
            } else {
                finished.recv_timeout(LONG_WAIT)
            };
            match first {
                Ok(first) => self.keep_result(first),
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => {
                    self.takes_time = true;
                    return true;
                }
            }
            thread::sleep(GATHER_TIME);
        }
        for next in finished.try_iter() {
            self.keep_result(next);
        }
        true
    }

    fn keep_result(&mut self, finished: Finished) {
        let index = finished.index;
        match finished.result {
            Ok(stored) => {
                if stored.is_new() {
                    self.note_time(finished.took);
                }
                self.awaiting_link.insert(index, stored);
            }
            // Told once, for the whole run. The file counts as not attempted.
            Err(why) if why.cure == Cure::StopRun => {}
            Err(why) => {
                self.done.insert(index, Outcome::Failed { why });
            }
        }
    }

    /// Notes how long an upload took. The first one of each job makes connections, so the quickest counts
    /// only after the second ones.
    fn note_time(&mut self, took: Duration) {
        self.uploads += 1;
        self.quickest = self.quickest.min(took);
        self.takes_time |= self.uploads >= 2 * self.jobs && self.quickest > QUICK;
    }

    /// Asks for the links of the files that wait for them, with up to eight calls at once. When the queue
    /// is closed, only files that this run uploaded still get their links. Any other file counts as not
    /// attempted: the next run can ask for its link.
    fn ask_for_links(
        &mut self,
        get_links: &(impl Fn(&[&Stored]) -> Vec<Result<String, Failure>> + Sync),
    ) {
        if self.queue.is_none() {
            self.awaiting_link.retain(|_, stored| stored.is_new());
        }
        let batches = self.next_batches();
        let ask = |batch: &Batch| match &self.no_links {
            Some(why) => vec![Err(why.clone()); batch.len()],
            None => get_links(&batch.values().collect::<Vec<_>>()),
        };
        let links = beside_each_other(&batches, &ask);
        for ((index, stored), link) in batches.into_iter().flatten().zip(links) {
            self.take_link(index, stored, link);
        }
    }

    /// Takes the files for the next calls for links. Only the first call need not be full.
    fn next_batches(&mut self) -> Vec<Batch> {
        let mut batches = Vec::new();
        let mut least = 1;
        while self.awaiting_link.len() >= least && batches.len() < LINK_CALLS {
            let mut batch = Batch::new();
            while batch.len() < LINKS_PER_CALL
                && let Some((index, stored)) = self.awaiting_link.pop_first()
            {
                batch.insert(index, stored);
            }
            batches.push(batch);
            least = LINKS_PER_CALL;
        }
        batches
    }

    fn take_link(&mut self, index: usize, stored: Stored, link: Result<String, Failure>) {
        let why = match link {
            Ok(url) => {
                self.done.insert(index, Outcome::Linked { stored, url });
                return;
            }
            Err(why) => why,
        };
        if why.cure == Cure::UploadAgain {
            if let Some(queue) = &self.queue {
                let _ = queue.send(Task { index, again: true }); // cannot fail, as above
            }
            return;
        }
        if why.cure == Cure::StopRun {
            self.no_links = Some(why.clone());
            if !stored.is_new() {
                return; // it can get its link in the next run
            }
        }
        if stored.origin == Origin::Named {
            self.done.insert(index, Outcome::Failed { why });
            return;
        }
        self.done.insert(index, Outcome::NoLink { stored, why });
    }

    /// Reports the files that are done, up to the first that is not.
    fn report_in_order(&mut self, report: &mut impl FnMut(&ListedFile, &Outcome)) {
        while self.reported < self.files.len() && self.report_file(self.reported, report) {
            self.reported += 1;
        }
    }

    /// Reports the files that are done after the first that is not: a stopped run has such gaps.
    fn report_the_rest(mut self, report: &mut impl FnMut(&ListedFile, &Outcome)) {
        for index in self.reported..self.files.len() {
            self.report_file(index, report);
        }
    }

    /// Reports a file, if it is done. Returns whether it is.
    fn report_file(
        &mut self,
        index: usize,
        report: &mut impl FnMut(&ListedFile, &Outcome),
    ) -> bool {
        let file = &self.files[index];
        if let Some(first) = file.same_as {
            let Some(Some(outcome)) = self.repeated.get(&first) else {
                return false;
            };
            report(file, outcome);
            return true;
        }
        let Some(outcome) = self.done.remove(&index) else {
            return false;
        };
        report(file, &outcome);
        if let Some(kept) = self.repeated.get_mut(&index) {
            *kept = Some(outcome);
        }
        true
    }
}
