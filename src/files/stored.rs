//! A file that is in the cloud, and how it came there.
//!
//! Does not know how a file is uploaded.

use super::listing::ListedFile;

/// A file that is in the cloud.
pub struct Stored {
    /// Its cloud name.
    pub key: String,
    pub file_id: String,
    pub size: u64,
    pub origin: Origin,
}

/// How a file came into the cloud.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This run uploaded it.
    ThisRun,
    /// This run uploaded it for another file, which has the same name and content (`--unique`).
    OtherFile,
    /// An earlier run uploaded it, as the manifest knows.
    EarlierRun,
    /// The user named its `file_id`.
    Named,
}

impl Stored {
    /// A file that is not sent, because it is in the cloud already.
    pub fn unsent(file: &ListedFile, key: &str, file_id: &str, origin: Origin) -> Stored {
        Stored {
            key: key.to_owned(),
            file_id: file_id.to_owned(),
            size: file.size,
            origin,
        }
    }

    /// Whether this run uploaded this file.
    pub fn is_new(&self) -> bool {
        self.origin == Origin::ThisRun
    }
}
