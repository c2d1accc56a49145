//! Which files are uploaded, under which names in the cloud.
//!
//! Looks at names, kinds and sizes; opens no file.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use crate::cloud_name::broken_rule;
use crate::options::Settings;

/// The limit of COS's "POST Object".
pub const MAX_FILE_BYTES: u64 = 5 << 30;
pub const TOO_LARGE: &str = "it is larger than the 5 GiB that COS takes";

/// A file to upload, as it was listed.
pub struct LocalFile {
    pub path: PathBuf,
    /// The path below the directory given, or the file's own name.
    pub name: String,
    /// Its name in the cloud: the prefix, and `name`.
    pub key: String,
    pub size: u64,
    /// Why it cannot be uploaded.
    pub problem: Option<String>,
}

/// The files to upload, in the order given, and notes on what is skipped.
pub struct Listing {
    pub files: Vec<LocalFile>,
    pub notes: Vec<String>,
}

/// Lists what the user named, or else the fixed directory. What a person typed is checked here: the
/// error is a sentence about it.
pub fn list_files(settings: &Settings) -> Result<Listing, String> {
    let mut lister = Lister {
        settings,
        own: own_files(settings),
        above: Vec::new(),
        files: Vec::new(),
        notes: Vec::new(),
    };
    for path in &settings.paths {
        let added = lister.add_typed(path);
        added.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if settings.paths.is_empty() {
        let path = &settings.upload_dir;
        lister.add_typed(path).map_err(|error| {
            let config = settings.config.display();
            let hint = format!("name files to upload, or set `upload_dir` in {config}");
            format!("{}: {error}: {hint}", path.display())
        })?;
    }
    let Lister { files, notes, .. } = lister;
    check_keys(&files)?;
    Ok(Listing { files, notes })
}

/// The program's own files, which are never uploaded: the config holds secrets.
fn own_files(settings: &Settings) -> Vec<PathBuf> {
    let config = settings.config.canonicalize().unwrap_or_default();
    let mut own = vec![
        config.with_added_extension("new"),
        config.with_added_extension("lock"),
        config,
    ];
    if let Some(manifest) = &settings.manifest {
        own.extend(manifest.canonicalize().ok());
    }
    own
}

/// Two files that would become one in the cloud are an error before anything is sent.
fn check_keys(files: &[LocalFile]) -> Result<(), String> {
    let mut taken: HashMap<&str, &Path> = HashMap::new();
    for file in files.iter().filter(|file| file.problem.is_none()) {
        if let Some(other) = taken.insert(&file.key, &file.path) {
            let (one, other) = (other.display(), file.path.display());
            let key = &file.key;
            return Err(format!(
                "{one} and {other} would both become {key} in the cloud: nothing is sent"
            ));
        }
    }
    Ok(())
}

/// What is known while directories are walked.
struct Lister<'a> {
    settings: &'a Settings,
    own: Vec<PathBuf>,
    /// The real paths of the directories that led here: a link back to one would lead round and
    /// round.
    above: Vec<PathBuf>,
    files: Vec<LocalFile>,
    notes: Vec<String>,
}

impl Lister<'_> {
    /// Adds a file, or the files in a directory, that the user named.
    fn add_typed(&mut self, path: &Path) -> io::Result<()> {
        let real = path.canonicalize()?;
        let metadata = fs::metadata(&real)?;
        if metadata.is_dir() {
            self.add_directory(path, real, "")
        } else {
            self.add_file(path, &real, &metadata, "");
            Ok(())
        }
    }

    /// Adds the files in a directory, sorted by name. `below` is put before their names; `real` is
    /// the directory's real path.
    fn add_directory(&mut self, path: &Path, real: PathBuf, below: &str) -> io::Result<()> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(path)? {
            paths.push(entry?.path());
        }
        paths.sort();
        self.above.push(real);
        for path in paths {
            if let Err(error) = self.add_entry(&path, below) {
                let name = format!("{below}{}", file_name(&path));
                self.push(path, name, 0, Some(error.to_string()));
            }
        }
        self.above.pop();
        Ok(())
    }

    /// Adds what stands in a directory. As in the script, a link is followed.
    fn add_entry(&mut self, path: &Path, below: &str) -> io::Result<()> {
        let real = path.canonicalize()?;
        let metadata = fs::metadata(&real)?;
        if !metadata.is_dir() {
            self.add_file(path, &real, &metadata, below);
        } else if !self.settings.recursive {
            self.skip(path, "a directory (-r takes what is in it)");
        } else if self.above.contains(&real) {
            self.skip(path, "a link to a directory above it");
        } else if path.file_name().is_some_and(|name| name.to_str().is_none()) {
            let name = format!("{below}{}", file_name(path));
            self.push(path.into(), name, metadata.len(), Some(NOT_UTF8.into()));
        } else {
            let below = format!("{below}{}/", file_name(path));
            self.add_directory(path, real, &below)?;
        }
        Ok(())
    }

    /// Adds what is no directory. Its name is that of the file that it really is, as in the script.
    fn add_file(&mut self, path: &Path, real: &Path, metadata: &Metadata, below: &str) {
        if self.own.iter().any(|own| own == real) {
            return self.skip(path, "a file of wx-upload's own");
        }
        if !metadata.is_file() {
            return self.skip(path, "no regular file");
        }
        let name = format!("{below}{}", file_name(real));
        let problem = if real.file_name().is_some_and(|name| name.to_str().is_none()) {
            Some(NOT_UTF8)
        } else if metadata.len() > MAX_FILE_BYTES {
            Some(TOO_LARGE)
        } else {
            broken_rule(&format!("{}{name}", self.settings.prefix))
        };
        let problem = problem.map(str::to_owned);
        self.push(path.into(), name, metadata.len(), problem);
    }

    fn push(&mut self, path: PathBuf, name: String, size: u64, problem: Option<String>) {
        let key = format!("{}{name}", self.settings.prefix);
        self.files.push(LocalFile {
            path,
            name,
            key,
            size,
            problem,
        });
    }

    fn skip(&mut self, path: &Path, why: &str) {
        self.notes
            .push(format!("{}: skipped: {why}", path.display()));
    }
}

const NOT_UTF8: &str = "its name is not UTF-8: rename it";

/// The last part of a path, as far as it is UTF-8.
fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
