//! Which files are uploaded, their bytes and their cloud names, and what earlier runs sent.

mod file_body;
mod listing;
mod manifest;
mod own_files;
mod secrets;
mod skipped;
mod stored;
mod unique;

pub use file_body::FileBody;
pub use listing::{ListedFile, Listing, list_files};
pub use manifest::Manifest;
pub use own_files::OwnFiles;
pub use stored::{Origin, Stored};
pub use unique::{Claim, Claimed, CloudName, CloudNames};
