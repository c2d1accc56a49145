//! Which files are uploaded, under which names in the cloud, by which rules.
//!
//! Looks at names, kinds and sizes; opens no file.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::vec;

use crate::cloud_name::{self, MAX_FILE_BYTES, TOO_LARGE, TOO_LONG};
use crate::disk::{identity_of, real_path};
use crate::options::Settings;
use crate::own_files::{NEVER_UPLOADED, OwnFiles};

const HIDDEN: &str = "its name begins with a dot (give its path to upload it)";
const NOT_UTF8: &str = "its name is not UTF-8: rename it";

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
pub fn list_files(settings: &Settings, own: &OwnFiles) -> Result<Listing, String> {
    let mut lister = Lister {
        settings,
        own,
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
    without_doubles(files, notes)
}

/// Leaves out what was met before. Two different files that would become one in the cloud are an
/// error, before anything is sent.
fn without_doubles(listed: Vec<LocalFile>, mut notes: Vec<String>) -> Result<Listing, String> {
    let mut doubles = BTreeSet::new();
    let mut taken: HashMap<&str, &Path> = HashMap::new();
    for (index, file) in listed.iter().enumerate() {
        if file.problem.is_some() {
            continue;
        }
        match taken.entry(&file.key) {
            Entry::Vacant(free) => {
                free.insert(&file.path);
            }
            Entry::Occupied(first) => {
                check_double(file, first.get())?;
                let (path, first) = (file.path.display(), first.get().display());
                notes.push(format!("{path}: skipped: the same file as {first}"));
                doubles.insert(index);
            }
        }
    }
    let numbered = listed.into_iter().enumerate();
    let kept = numbered.filter(|(index, _)| !doubles.contains(index));
    let files = kept.map(|(_, file)| file).collect();
    Ok(Listing { files, notes })
}

/// Whether the file at `other`, which has the same cloud name, is the same file.
fn check_double(file: &LocalFile, other: &Path) -> Result<(), String> {
    if let (Some(one), Some(two)) = (identity_of(other), identity_of(&file.path))
        && one == two
    {
        return Ok(());
    }
    let (one, two) = (real_path(other), real_path(&file.path));
    let (one, two, key) = (one.display(), two.display(), &file.key);
    Err(format!(
        "{one} and {two} would both become {key} in the cloud: rename one of them, or upload them \
         one after the other with different -t"
    ))
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// What is known while directories are walked.
struct Lister<'a> {
    settings: &'a Settings,
    own: &'a OwnFiles,
    files: Vec<LocalFile>,
    notes: Vec<String>,
}

/// A directory that is walked.
struct Directory {
    path: PathBuf,
    /// Where it really is.
    real: PathBuf,
    /// What is put before the names of its files: empty, or with a last `/`.
    below: String,
    /// What stands in it and was not come to yet, sorted.
    names: vec::IntoIter<OsString>,
}

impl Directory {
    fn read(path: &Path, real: PathBuf, below: String) -> io::Result<Directory> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.push(entry?.file_name());
        }
        names.sort();
        Ok(Directory {
            path: path.to_owned(),
            real,
            below,
            names: names.into_iter(),
        })
    }
}

impl Lister<'_> {
    /// Adds a file, or the files in a directory, that the user named.
    fn add_typed(&mut self, path: &Path) -> io::Result<()> {
        let real = path.canonicalize()?;
        let metadata = fs::metadata(&real)?;
        if metadata.is_dir() {
            self.walk(Directory::read(path, real, String::new())?);
        } else {
            self.add_file(path, &real, &metadata, "");
        }
        Ok(())
    }

    /// Adds the files in a directory. Without recursion: a tree may be deeper than the stack.
    fn walk(&mut self, top: Directory) {
        let mut open = vec![top];
        while let Some(directory) = open.last_mut() {
            let Some(name) = directory.names.next() else {
                open.pop();
                continue;
            };
            let path = directory.path.join(&name);
            match self.add_entry(directory, &path, &name) {
                Ok(Some(subdirectory)) => open.push(subdirectory),
                Ok(None) => {}
                Err(error) => self.add_problem(directory, &path, &error.to_string()),
            }
        }
    }

    /// Adds what stands in a directory under `name`, or returns it where it is a directory to go
    /// into. As in the script, a link to a file is followed.
    fn add_entry(
        &mut self,
        directory: &Directory,
        path: &Path,
        name: &OsStr,
    ) -> io::Result<Option<Directory>> {
        let recursive = self.settings.recursive;
        if recursive && is_hidden(name) {
            self.skip(path, HIDDEN);
            return Ok(None);
        }
        let mut real = directory.real.join(name);
        let looked_at = fs::symlink_metadata(path);
        let is_directory = looked_at.as_ref().is_ok_and(Metadata::is_dir);
        if !is_directory && self.own.are_beside(&real) {
            self.skip(path, NEVER_UPLOADED); // even if it is gone: a run that saved has removed it
            return Ok(None);
        }
        let mut metadata = looked_at?;
        let is_link = metadata.is_symlink();
        if is_link {
            real = path.canonicalize()?;
            metadata = fs::metadata(&real)?;
        }
        if !metadata.is_dir() {
            if recursive && is_link && real.file_name().is_some_and(is_hidden) {
                self.skip(path, HIDDEN);
            } else {
                self.add_file(path, &real, &metadata, &directory.below);
            }
        } else if !recursive {
            self.skip(path, "a directory (use -r to upload what is in it)");
        } else if is_link {
            self.skip(
                path,
                "a link to a directory (give its path to upload what is in it)",
            );
        } else if let Some(name) = name.to_str() {
            let below = format!("{}{name}/", directory.below);
            if !cloud_name::is_too_long(&format!("{}{below}x", self.settings.prefix)) {
                return Directory::read(path, real, below).map(Some);
            }
            self.add_problem(directory, path, TOO_LONG); // as would be all that is below it
        } else {
            self.add_problem(directory, path, NOT_UTF8);
        }
        Ok(None)
    }

    /// Adds what is no directory. Its name is that of the file that it really is, as in the script.
    fn add_file(&mut self, path: &Path, real: &Path, metadata: &Metadata, below: &str) {
        if self.own.contain(real, metadata) {
            return self.skip(path, NEVER_UPLOADED);
        }
        if !metadata.is_file() {
            return self.skip(path, "not a regular file");
        }
        let own_name = real.file_name().unwrap_or_default();
        let name = format!("{below}{}", own_name.to_string_lossy());
        let problem = if own_name.to_str().is_none() {
            Some(NOT_UTF8)
        } else if metadata.len() > MAX_FILE_BYTES {
            Some(TOO_LARGE)
        } else {
            cloud_name::broken_rule(&format!("{}{name}", self.settings.prefix))
        };
        self.push(path, name, metadata.len(), problem);
    }

    /// Adds something in a directory that cannot be uploaded.
    fn add_problem(&mut self, directory: &Directory, path: &Path, problem: &str) {
        let own_name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{}{own_name}", directory.below);
        self.push(path, name, 0, Some(problem));
    }

    fn push(&mut self, path: &Path, name: String, size: u64, problem: Option<&str>) {
        self.files.push(LocalFile {
            path: path.to_owned(),
            key: format!("{}{name}", self.settings.prefix),
            name,
            size,
            problem: problem.map(str::to_owned),
        });
    }

    fn skip(&mut self, path: &Path, why: &str) {
        self.notes
            .push(format!("{}: skipped: {why}", path.display()));
    }
}
