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
use crate::listing::LocalFile;
use crate::manifest::Manifest;
use crate::own_files::OwnFiles;

/// The name of a file in the cloud.
pub struct CloudName {
    pub key: String,
    /// The CRC-64 in the name: the content that is uploaded must have it.
    pub crc64: Option<u64>,
}

/// The `file_id` of an uploaded file; `None` before that. A thread locks this while it uploads the
/// file.
pub type Upload = Arc<Mutex<Option<String>>>;

/// The cloud names of a run.
pub struct CloudNames<'a> {
    unique: bool,
    own: &'a OwnFiles,
    console: &'a Console,
    /// With `--unique`, the uploads of this run by their cloud names.
    uploads: Mutex<HashMap<String, Upload>>,
}

impl CloudNames<'_> {
    pub fn new<'a>(unique: bool, own: &'a OwnFiles, console: &'a Console) -> CloudNames<'a> {
        CloudNames {
            unique,
            own,
            console,
            uploads: Mutex::default(),
        }
    }

    /// Returns the cloud name of `file`. With `--unique`, the file is read for it, and must hold none
    /// of `secrets`.
    pub fn of(&self, file: &LocalFile, secrets: &[String]) -> Result<CloudName, Failure> {
        if !self.unique {
            return Ok(CloudName {
                key: file.key.clone(),
                crc64: None,
            });
        }
        let crc64 = FileBody::open(file, self.own, secrets, self.console)?.read_to_end()?;
        Ok(CloudName {
            key: with_crc64(&file.key, crc64),
            crc64: Some(crc64),
        })
    }

    /// Returns the cloud name of a file that a run would send, and `None` for one that is in the cloud
    /// already. (With `--unique`, files of one name and one content are sent once, but count here.)
    pub fn to_send(
        &self,
        file: &LocalFile,
        secrets: &[String],
        manifest: &Manifest,
    ) -> Result<Option<String>, Failure> {
        if let Some(problem) = &file.problem {
            return Err(Failure::local(Stage::Upload, problem));
        }
        if file.file_id.is_some() {
            return Ok(None);
        }
        let name = self.of(file, secrets)?;
        let is_unchanged = manifest.unchanged(&name.key, &file.path).is_some();
        Ok((!is_unchanged).then_some(name.key))
    }

    /// Returns the upload of a cloud name. Without `--unique`, no two files have the same one.
    pub fn upload_of(&self, name: &CloudName) -> Upload {
        if !self.unique {
            return Upload::default();
        }
        let mut uploads = self.uploads.lock().unwrap();
        Arc::clone(uploads.entry(name.key.clone()).or_default())
    }
}
