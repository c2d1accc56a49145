//! Gives each file its name in the cloud. With `--unique` the name holds the CRC-64 of the content. So
//! different files never overwrite each other, and a file with the name and the content of another one
//! need not be uploaded again.
//!
//! Does not know how a file is uploaded.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Condvar, Mutex};

use super::file_body::FileBody;
use super::listing::ListedFile;
use super::own_files::OwnFiles;
use super::stored::Stored;
use crate::cli::Progress;
use crate::cloud_rules::with_crc64;
use crate::failure::{Cure, Failure, Kind, Stage};
use crate::stop::wait_a_moment;

/// The name of a file in the cloud.
pub struct CloudName {
    pub key: String,
    /// The CRC-64 in the name: the content that is uploaded must have it.
    pub crc64: Option<u64>,
}

/// The cloud names of a run.
pub struct CloudNames<'a> {
    unique: bool,
    own: &'a OwnFiles,
    progress: &'a Progress,
    /// With `--unique`, the uploads of this run by their cloud names.
    uploads: Mutex<HashMap<String, Arc<Upload>>>,
}

/// The upload under a cloud name that holds a checksum.
#[derive(Default)]
struct Upload {
    /// `None` while a thread works on it.
    outcome: Mutex<Option<UploadOutcome>>,
    ended: Condvar,
}

#[derive(Clone)]
enum UploadOutcome {
    /// It is in the cloud, with this `file_id`.
    Stored(String),
    Failed(Failure),
    /// The thread could not send it, for a reason that concerns its own file alone.
    GivenUp,
}

/// The answer to a claim on a cloud name.
pub enum Claimed<'a> {
    /// The caller uploads the file.
    Mine(Claim<'a>),
    /// Another thread has uploaded a file with this name and content, with this `file_id`.
    Stored(String),
}

/// The claim of one thread on a cloud name. Other threads with this name wait until it ends.
pub struct Claim<'a> {
    names: &'a CloudNames<'a>,
    key: String,
    upload: Arc<Upload>,
}

impl CloudNames<'_> {
    pub fn new<'a>(unique: bool, own: &'a OwnFiles, progress: &'a Progress) -> CloudNames<'a> {
        CloudNames {
            unique,
            own,
            progress,
            uploads: Mutex::default(),
        }
    }

    /// Returns the cloud name of `file`. With `--unique`, the file is read for it, and must hold none
    /// of `secrets`. The error says why the file cannot be uploaded.
    pub fn of(&self, file: &ListedFile, secrets: &[String]) -> Result<CloudName, Failure> {
        if let Some(problem) = &file.problem {
            return Err(Failure::local(Stage::Upload, &**problem));
        }
        if !self.unique || file.file_id().is_some() {
            return Ok(CloudName {
                key: file.key.clone(),
                crc64: None,
            });
        }
        let crc64 = FileBody::open(file, self.own, secrets, self.progress)?.into_crc64()?;
        Ok(CloudName {
            key: with_crc64(&file.key, crc64),
            crc64: Some(crc64),
        })
    }

    /// Claims a cloud name for an upload. If another thread is uploading a file with the same name and
    /// content, waits for its outcome: a failure of a service is this file's, too. The wait ends if
    /// `is_over`.
    pub fn claim(
        &self,
        name: &CloudName,
        is_over: impl Fn() -> bool,
    ) -> Result<Claimed<'_>, Failure> {
        let claim_on = |upload| {
            let key = name.key.clone();
            let names = self;
            Claimed::Mine(Claim { names, key, upload })
        };
        if name.crc64.is_none() {
            return Ok(claim_on(Arc::default())); // there is only one such file
        }
        loop {
            if is_over() {
                return Err(Failure::stopped(Stage::Upload));
            }
            let others = match self.uploads.lock().unwrap().entry(name.key.clone()) {
                Entry::Vacant(vacant) => {
                    return Ok(claim_on(Arc::clone(vacant.insert(Arc::default()))));
                }
                Entry::Occupied(others) => Arc::clone(others.get()),
            };
            match others.wait(&is_over)? {
                UploadOutcome::Stored(file_id) => return Ok(Claimed::Stored(file_id)),
                UploadOutcome::Failed(why) => return Err(why),
                UploadOutcome::GivenUp => {}
            }
        }
    }
}

impl Upload {
    fn wait(&self, is_over: impl Fn() -> bool) -> Result<UploadOutcome, Failure> {
        let mut outcome = self.outcome.lock().unwrap();
        loop {
            if let Some(outcome) = &*outcome {
                return Ok(outcome.clone());
            }
            if is_over() {
                return Err(Failure::stopped(Stage::Upload));
            }
            outcome = wait_a_moment(&self.ended, outcome);
        }
    }
}

impl Claim<'_> {
    /// Whether the claim is on this cloud name.
    pub fn is_on(&self, name: &CloudName) -> bool {
        self.key == name.key
    }

    /// Ends the claim, and tells the threads that wait how the upload ended.
    pub fn end(self, result: &Result<Stored, Failure>) {
        let outcome = match result {
            Ok(stored) if stored.is_new() => UploadOutcome::Stored(stored.file_id.clone()),
            Err(why) if why.kind != Kind::Local => {
                // It has had all its tries.
                let cure = match why.cure {
                    Cure::StopRun => Cure::StopRun,
                    _ => Cure::Nothing,
                };
                UploadOutcome::Failed(why.clone().with_cure(cure))
            }
            _ => UploadOutcome::GivenUp,
        };
        self.end_with(outcome);
    }

    /// Gives the cloud name to the next thread that waits for it.
    pub fn give_up(self) {
        self.end_with(UploadOutcome::GivenUp);
    }

    fn end_with(self, outcome: UploadOutcome) {
        if !matches!(outcome, UploadOutcome::Stored(_)) {
            // A file that comes later has tries of its own.
            self.names.uploads.lock().unwrap().remove(&self.key);
        }
        *self.upload.outcome.lock().unwrap() = Some(outcome);
        self.upload.ended.notify_all();
    }
}
