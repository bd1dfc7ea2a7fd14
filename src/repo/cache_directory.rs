//! The private directory that holds clones, an empty home and short-lived key files.
//!
//! Names of clones cannot be guessed (salted digest), nobody else can enter (mode 0700), and two processes never share
//! one directory: the second gets a place of its own inside, which goes when it ends.

use super::sha::hex;
use sha2::{Digest, Sha256};
use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{Error, Result, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

const SALT_BYTES: usize = 32;

/// Tries for the lock, and the time between two. A child that another thread starts at this very moment holds a copy of
/// a lock that was just given up, until it has become another program.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// See the module.
#[derive(Debug)]
pub(crate) struct CacheDirectory {
    root: PathBuf,
    salt: Vec<u8>,
    /// Held, not read: closing it gives the directory up.
    _lock: Option<File>,
    /// Present when another process has the directory itself.
    _own_place: Option<TempDir>,
}

impl CacheDirectory {
    /// Opens or makes the directory. Key files that a killed process left behind are removed.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        private_directory(directory)?;
        let lock = lock_file(directory)?;
        let (root, lock, own_place) = if is_taken(&lock)? {
            let mode = Permissions::from_mode(0o700);
            let place = tempfile::Builder::new()
                .prefix("second-")
                .permissions(mode)
                .tempdir_in(directory)?;
            (place.path().to_owned(), lock_file(place.path())?, Some(place))
        } else {
            (directory.to_owned(), lock, None)
        };
        let cache = Self {
            salt: salt(&root)?,
            root,
            _lock: Some(lock),
            _own_place: own_place,
        };
        if cache.private().exists() {
            std::fs::remove_dir_all(cache.private())?;
        }
        for folder in [cache.home(), cache.private(), cache.clones()] {
            private_directory(&folder)?;
        }
        Ok(cache)
    }

    /// A directory that does not exist, where nobody reads or writes files.
    pub(crate) fn nowhere() -> Self {
        Self {
            root: PathBuf::from("/nowhere"),
            salt: Vec::new(),
            _lock: None,
            _own_place: None,
        }
    }

    /// An empty directory that stands in for the user's home.
    pub(crate) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// Where key files live for the length of a call.
    pub(crate) fn private(&self) -> PathBuf {
        self.root.join("private")
    }

    fn clones(&self) -> PathBuf {
        self.root.join("clones")
    }

    /// The place of a clone.
    pub(crate) fn clone_of(&self, identity: &str) -> PathBuf {
        let digest = Sha256::new().chain_update(&self.salt).chain_update(identity).finalize();
        self.clones()
            .join(format!("{}.git", hex(digest.get(..20).unwrap_or(&digest))))
    }
}

fn private_directory(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o700))
}

fn lock_file(directory: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(directory.join("lock"))
}

/// Takes the lock, unless another process has it.
fn is_taken(lock: &File) -> Result<bool> {
    for attempt in 1..=LOCK_TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if attempt < LOCK_TRIES => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => {}
        }
    }
    Ok(true)
}

/// The salt of this directory, made on first use.
fn salt(root: &Path) -> Result<Vec<u8>> {
    let path = root.join("salt");
    match std::fs::read(&path) {
        Ok(salt) if salt.len() == SALT_BYTES => return Ok(salt),
        Ok(_cut_short) => std::fs::remove_file(&path)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut salt = vec![0; SALT_BYTES];
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut salt)
        .map_err(|_| Error::other("no random numbers"))?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(&salt)?;
    Ok(salt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn render_dir_unpredictable_and_private() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = one.path().join("cache");
        let cache = CacheDirectory::open(&path).unwrap();
        let other = CacheDirectory::open(&two.path().join("cache")).unwrap();
        let name = |cache: &CacheDirectory| cache.clone_of("https://host/a").file_name().unwrap().to_owned();
        assert_ne!(name(&cache), name(&other), "another installation has other names");
        assert_ne!(cache.clone_of("https://host/a"), cache.clone_of("https://host/b"));
        for folder in [path.clone(), cache.home(), cache.private(), cache.clones()] {
            let mode = std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o700, "{}", folder.display());
        }
    }

    #[test]
    fn a_second_process_gets_its_own_place_and_a_restart_the_same_names() {
        let folder = tempfile::tempdir().unwrap();
        let first = CacheDirectory::open(folder.path()).unwrap();
        let name = first.clone_of("https://host/a");
        std::fs::write(first.private().join("key"), "left behind").unwrap();
        let second = CacheDirectory::open(folder.path()).unwrap();
        assert!(second.root.starts_with(folder.path()) && second.root != folder.path());
        assert!(
            first.private().join("key").exists(),
            "the second does not touch the first"
        );
        let place = second.root.clone();
        drop((first, second));
        assert!(!place.exists());
        let again = CacheDirectory::open(folder.path()).unwrap();
        assert_eq!(again.clone_of("https://host/a"), name);
        assert!(
            !again.private().join("key").exists(),
            "keys of a killed process are removed"
        );
    }
    #[test]
    fn a_directory_given_up_is_had_again_while_children_start() {
        let folder = tempfile::tempdir().unwrap();
        let children = std::thread::spawn(|| {
            for _ in 0..100 {
                std::process::Command::new("true").status().unwrap();
            }
        });
        while !children.is_finished() {
            let cache = CacheDirectory::open(folder.path()).unwrap();
            assert_eq!(cache.root, folder.path());
        }
        children.join().unwrap();
    }
}
