//! Gives each file its name in the cloud. With `--unique` the name holds the CRC-64 of the content. So
//! different files never overwrite each other, and a file with the name and the content of another one
//! need not be uploaded again.
//!
//! Does not know how a file is uploaded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::cloud_rules::with_crc64;
use crate::console::Console;
use crate::failure::{Failure, Stage};
use crate::file_body::FileBody;
use crate::listing::ListedFile;
use crate::own_files::OwnFiles;

/// The name of a file in the cloud.
pub struct CloudName {
    pub key: String,
    /// The CRC-64 in the name: the content that is uploaded must have it.
    pub crc64: Option<u64>,
}

/// The `file_id` of a file; `None` until it is uploaded. A thread locks this while it uploads the file.
pub type SharedFileId = Arc<Mutex<Option<String>>>;

/// The cloud names of a run.
pub struct CloudNames<'a> {
    unique: bool,
    own: &'a OwnFiles,
    console: &'a Console,
    /// With `--unique`, the files of this run by their cloud names.
    file_ids: Mutex<HashMap<String, SharedFileId>>,
}

impl CloudNames<'_> {
    pub fn new<'a>(unique: bool, own: &'a OwnFiles, console: &'a Console) -> CloudNames<'a> {
        CloudNames {
            unique,
            own,
            console,
            file_ids: Mutex::default(),
        }
    }

    /// Returns the cloud name of `file`. With `--unique`, the file is read for it, and must hold none
    /// of `secrets`. The error says why the file cannot be uploaded.
    pub fn of(&self, file: &ListedFile, secrets: &[String]) -> Result<CloudName, Failure> {
        if let Some(problem) = &file.problem {
            return Err(Failure::local(Stage::Upload, problem));
        }
        if !self.unique || file.file_id.is_some() {
            return Ok(CloudName {
                key: file.key.clone(),
                crc64: None,
            });
        }
        let crc64 = FileBody::open(file, self.own, secrets, self.console)?.into_crc64()?;
        Ok(CloudName {
            key: with_crc64(&file.key, crc64),
            crc64: Some(crc64),
        })
    }

    /// Returns the `file_id` that all files with this cloud name share. Without a checksum in the name,
    /// there is only one such file.
    pub fn file_id_of(&self, name: &CloudName) -> SharedFileId {
        if name.crc64.is_none() {
            return SharedFileId::default();
        }
        let mut file_ids = self.file_ids.lock().unwrap();
        Arc::clone(file_ids.entry(name.key.clone()).or_default())
    }
}
