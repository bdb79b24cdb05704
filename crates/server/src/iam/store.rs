//! The directory, durably: one JSON file, written aside, synced and renamed, so that after a crash it is what it was before
//! a change or after it.
//!
//! It holds secrets of access keys, and nobody but the user who runs the server may read it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use starmap_asl::Timestamp;
use starmap_iam::directory::{AccessKey, Error, LastUsed, Session, Stamp};
use starmap_iam::{Caller, Directory, Policies};

/// Tells the time.
type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// See the [module](self).
pub struct Store {
    folder: PathBuf,
    clock: Clock,
    directory: Mutex<Directory>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// What a key signs with.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// The secret.
    pub secret: String,
    /// What must come along, for keys of sessions.
    pub token: Option<String>,
    /// When it ends, for keys of sessions; milliseconds since 1970.
    pub expires_at_ms: Option<i64>,
    /// Whose it is.
    pub identity: Identity,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Who asks, and which session it is, if it is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who.
    pub caller: Caller,
    /// The session.
    pub session: Option<Session>,
}

impl Store {
    /// Reads the directory of an account from its folder, or starts an empty one.
    ///
    /// # Errors
    /// When it is there and can't be read.
    pub fn open(folder: &Path, account: &str, clock: Clock) -> io::Result<Self> {
        let directory = Self::load(folder)?.unwrap_or_else(|| Directory::new(account));
        Ok(Self { folder: folder.to_owned(), clock, directory: Mutex::new(directory) })
    }

    /// The directory in a folder, for whoever only reads; `None` if there is none.
    ///
    /// # Errors
    /// When it is there and can't be read.
    pub fn load(folder: &Path) -> io::Result<Option<Directory>> {
        let file = file(folder);
        match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| {
                let hint = "restore it, or move it away to start with an empty directory";
                io::Error::other(format!(
                    "{}: not a directory of roles, users and policies: {error}\nhint: {hint}",
                    file.display()
                ))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", file.display()))),
        }
    }

    /// Looks at the directory.
    pub fn read<T>(&self, look: impl FnOnce(&Directory) -> T) -> T {
        look(&self.directory())
    }

    /// Changes the directory: all of it and durably, or nothing. Blocks.
    ///
    /// # Errors
    /// What the change says; [`ChangeError::Kept`] when it could not be kept.
    pub fn change<T>(&self, change: impl FnOnce(&mut Directory, Stamp) -> Result<T, Error>) -> Result<T, ChangeError> {
        let mut directory = self.directory();
        let mut changed = directory.clone();
        let result = change(&mut changed, self.stamp()).map_err(ChangeError::Refused)?;
        if changed != *directory {
            self.write(&changed).map_err(ChangeError::Kept)?;
            *directory = changed;
        }
        Ok(result)
    }

    /// Notes that a role was used. Kept with the next change: it is not worth a sync by itself.
    pub fn used(&self, identity: &Identity, region: &str, service: &str) {
        let Caller::Session { role_arn, .. } = &identity.caller else { return };
        let Some(name) = role_arn.rsplit('/').next() else { return };
        let used = LastUsed { at_ms: self.now_ms(), region: region.to_owned(), service: service.to_owned() };
        // A role that is gone was not used.
        let _ = self.directory().used(name, used);
    }

    /// What an access key signs with, and whose it is. Inactive keys are nobody's.
    pub fn key(&self, id: &str) -> Option<Key> {
        let directory = self.directory();
        if let Some((user, key)) = directory.user_of_key(id).filter(|(_, key)| key.is_active) {
            let identity = Identity { caller: user.caller(), session: None };
            return Some(Key { secret: key.secret.clone(), token: None, expires_at_ms: None, identity });
        }
        let (role, session) = directory.session_of_key(id)?;
        Some(Key {
            secret: session.secret.clone(),
            token: Some(session.token.clone()),
            expires_at_ms: Some(session.expires_at_ms),
            identity: Identity { caller: role.caller(&session.name), session: Some(session.clone()) },
        })
    }

    /// The policies of whoever asks, without a resource's.
    pub fn policies_of(&self, identity: &Identity) -> Policies {
        self.directory().policies_of(&identity.caller, identity.session.as_ref())
    }

    /// Starts a session of a role with credentials of its own.
    ///
    /// # Errors
    /// `NoSuchEntity`, or when it could not be kept.
    pub fn start_session(&self, role: &str, wanted: Wanted) -> Result<Session, ChangeError> {
        let Wanted { name, source, seconds, policy, policy_arns, replaces } = wanted;
        let started_at_ms = self.now_ms();
        self.change(|directory, stamp| {
            let session = Session {
                name,
                key_id: stamp.id("ASIA")[..20].to_owned(),
                secret: secret(),
                token: (0..6).map(|_| secret()).collect(),
                source,
                started_at_ms,
                expires_at_ms: started_at_ms + i64::from(seconds) * 1000,
                policy,
                policy_arns,
            };
            if replaces {
                let is_same = |other: &Session| other.name == session.name && other.source == session.source;
                directory.role_mut(role)?.sessions.retain(|other| !is_same(other));
            }
            directory.add_session(role, session.clone())?;
            Ok(session)
        })
    }

    /// Makes sure that there is a user who may do everything. With a key given (id and secret) it is that user's key;
    /// otherwise one is made if the user has none. What was made is answered: nobody will be told again.
    ///
    /// # Errors
    /// When it could not be kept.
    pub fn administrator(&self, name: &str, given: Option<(String, String)>) -> Result<Option<AccessKey>, ChangeError> {
        self.change(|directory, stamp| {
            if directory.user(name).is_err() {
                directory.create_user(name, None, Default::default(), stamp)?;
                let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
                directory.put_inline(starmap_iam::directory::Owner::User(name), "everything", policy)?;
            }
            match given {
                Some((id, secret)) => {
                    let keys = &mut directory.user_mut(name)?.keys;
                    keys.retain(|key| key.id != id);
                    keys.push(AccessKey { id, secret, is_active: true, created_at_ms: stamp.at_ms, last_used: None });
                    Ok(None)
                }
                None if directory.user(name)?.keys.iter().any(|key| key.is_active) => Ok(None),
                None => directory.create_access_key(name, secret(), stamp).cloned().map(Some),
            }
        })
    }

    pub(crate) fn now_ms(&self) -> i64 {
        (self.clock)().0
    }

    fn stamp(&self) -> Stamp {
        Stamp { at_ms: self.now_ms(), random: uuid::Uuid::new_v4().as_u128() ^ uuid::Uuid::new_v4().as_u128() << 1 }
    }

    fn directory(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, directory: &Directory) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let aside = self.folder.join("directory.json.part");
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&aside)?;
        file.write_all(&serde_json::to_vec_pretty(directory)?)?;
        file.sync_all()?;
        fs::rename(&aside, self::file(&self.folder))?;
        File::open(&self.folder)?.sync_all()
    }
}

/// A session to start.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Who takes the role on, as messages name them.
    pub source: String,
    /// How long it lasts.
    pub seconds: u32,
    /// The most that it may do, if limited.
    pub policy: Option<starmap_iam::Policy>,
    /// Managed policies that limit it, too.
    pub policy_arns: Vec<String>,
    /// Whether sessions of the same name and source end with it.
    pub replaces: bool,
}

/// Why the directory was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// IAM refuses.
    #[error(transparent)]
    Refused(Error),
    /// The file could not be written.
    #[error("the directory of roles, users and policies could not be kept: {0}")]
    Kept(io::Error),
}

fn file(folder: &Path) -> PathBuf {
    folder.join("directory.json")
}

/// Forty random characters, as secrets have them.
pub(super) fn secret() -> String {
    let random = [(); 2].map(|()| *uuid::Uuid::new_v4().as_bytes()).concat();
    BASE64.encode(&random[..30])
}

#[cfg(test)]
mod tests {
    use starmap_iam::directory::NewRole;

    use super::*;

    const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

    fn open(folder: &Path) -> Store {
        Store::open(folder, "000000000000", Arc::new(|| Timestamp(5_000))).unwrap()
    }

    #[test]
    fn what_is_changed_is_there_again_and_what_is_refused_is_not() {
        let place = tempfile::tempdir().unwrap();
        let store = open(place.path());
        let new = || NewRole { name: "sky".to_owned(), trust: TRUST.to_owned(), ..NewRole::default() };
        store.change(|directory, stamp| directory.create_role(new(), stamp).map(drop)).unwrap();
        let half = store.change(|directory, stamp| {
            directory.create_user("half", None, Default::default(), stamp)?;
            directory.create_role(new(), stamp).map(drop)
        });
        assert!(matches!(half, Err(ChangeError::Refused(Error::EntityAlreadyExists(_)))));
        let wanted = Wanted { name: "run".to_owned(), seconds: 900, ..Wanted::default() };
        let session = store.start_session("sky", wanted).unwrap();
        let made = store.administrator("admin", None).unwrap().unwrap();
        assert_eq!(store.administrator("admin", None).unwrap(), None);
        assert_eq!((made.id.len(), made.secret.len(), session.key_id.len()), (20, 40, 20));

        let again = open(place.path());
        assert_eq!(again.read(Clone::clone), store.read(Clone::clone));
        assert!(again.read(|directory| directory.user("half").is_err()));
        assert_eq!(again.key(&made.id).unwrap().secret, made.secret);
        let key = again.key(&session.key_id).unwrap();
        assert_eq!((key.expires_at_ms, key.token), (Some(905_000), Some(session.token)));
        assert_eq!(again.key("AKIANOBODY"), None);
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(file(place.path())).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_was_written_half_does_not_count_and_what_is_broken_is_named() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("directory.json.part"), b"{").unwrap();
        assert!(Store::load(place.path()).unwrap().is_none());
        open(place.path()).administrator("admin", Some(("AKIA1".to_owned(), "s".to_owned()))).unwrap();
        assert_eq!(open(place.path()).key("AKIA1").unwrap().secret, "s");
        fs::write(file(place.path()), b"{").unwrap();
        let error = Store::open(place.path(), "000000000000", Arc::new(|| Timestamp(0))).unwrap_err();
        assert!(error.to_string().contains("directory.json"), "{error}");
    }
}
