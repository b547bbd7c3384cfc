//! The policy in force: a bundle, compiled, with a transform program for each of its plans.
//!
//! Reload is parse, check, compile, swap: a bad bundle, or a bundle that needs a key we don't
//! have, changes nothing and says why. A snapshot is immutable; a request decides under exactly
//! one. The clock is part of the decision: dates in the policy make a table valid for a stretch
//! of time only, and while the clock has leapt, or is behind a time that has passed, everything is
//! refused.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use ring::rand::SecureRandom;
use sluicegate_audit::{CLOCK_TOLERANCE_US, SearchKey};
use sluicegate_policies::{
    Bundle, BundleDigest, Dataset, RefusalCode, Report, Source, Table, UnixMillis,
};
use sluicegate_protect::{
    Program, Randomness,
    keys::{KeyError, Keyring, Masters},
};

use crate::{
    ambient::Ambient,
    classify::Classifier,
    config::Config,
    contribute::Contributor,
    digests::{Digests, SearchKeyError},
    files,
    keys::{Fetched, KeySource, KeyringError, KeyringFile},
    record::Refused,
    telemetry::cut,
    treatments::Treatments,
};

/// So much of a file that is no policy is looked at, to tell whether it was meant as one.
const GLANCE_BYTES: u64 = 64 << 10;
/// What is wrong with a policy is told up to here, in the log and by `POST /v1/reload`; `policy check`
/// tells all of it.
const POLICY_ERROR_BYTES_MAX: usize = 16 << 10;
/// A bundle larger than this is refused.
const BUNDLE_BYTES_MAX: u64 = 16 << 20;
const BUNDLE_FILES_MAX: usize = 2_000;

/// A compiled policy and what it needs to be applied.
pub struct Snapshot {
    pub table: Arc<Table>,
    programs: Vec<Program>,
    pub treatments: Treatments,
    /// By dataset.
    classifiers: HashMap<Arc<str>, Classifier>,
    /// By dataset, in the table's order of its releases.
    contributors: HashMap<Arc<str>, Vec<Arc<Contributor>>>,
}

impl Snapshot {
    /// A table's programs and contributors, with the keys they need.
    pub fn new(
        table: Arc<Table>,
        tenant: &str,
        keyring: &dyn Keyring,
        random: &Arc<dyn SecureRandom + Send + Sync>,
    ) -> Result<Self, ReloadError> {
        let randomness = Arc::new(Randomness::new(&**random)?);
        let programs = table
            .plans()
            .iter()
            .map(|plan| Program::compile(plan, tenant, keyring, &randomness))
            .collect::<Result<_, _>>()?;
        let mut contributors: HashMap<Arc<str>, Vec<Arc<Contributor>>> = HashMap::new();
        for plan in table.releases() {
            let made = Contributor::new(plan.clone(), tenant, keyring, random.clone())?;
            contributors.entry(plan.dataset.clone()).or_default().push(Arc::new(made));
        }
        let classifier = |dataset: &Dataset| (dataset.name.clone(), Classifier::new(dataset));
        let classifiers = table.datasets().iter().map(classifier).collect();
        let treatments = Treatments::default();
        Ok(Self { table, programs, treatments, classifiers, contributors })
    }

    /// The contributors of all datasets.
    pub fn all_contributors(&self) -> impl Iterator<Item = &Arc<Contributor>> {
        self.contributors.values().flatten()
    }

    /// What makes contributions to the releases of a dataset.
    pub fn contributors(&self, dataset: &str) -> &[Arc<Contributor>] {
        self.contributors.get(dataset).map_or(&[], Vec::as_slice)
    }

    /// What is asked of each record of a dataset.
    pub fn classifier(&self, dataset: &str) -> Option<&Classifier> {
        self.classifiers.get(dataset)
    }

    /// The program of a plan of this snapshot's table.
    pub fn program(&self, plan_id: u32) -> Option<&Program> {
        self.programs.get(plan_id as usize)
    }
}

/// Why a policy was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("couldn't read the policies in `{}`: {why}", dir.display())]
    Read { dir: PathBuf, why: String },
    #[error("the policies have errors:\n{0}")]
    Policy(String),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    SearchKey(#[from] SearchKeyError),
    #[error("the policies name region `{0}`, which is not in the configuration")]
    Region(String),
    #[error("reading the policies was interrupted")]
    Interrupted,
}

/// What a reload did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activated {
    pub digest: BundleDigest,
    pub previous: Option<BundleDigest>,
}

struct InForce {
    bundle: Bundle,
    keyring: Masters,
    digests: Digests,
    /// Of bundle and keyring files as read.
    fingerprint: blake3::Hash,
}

/// Holds the policy in force.
pub struct Policy {
    dir: PathBuf,
    keys: Arc<dyn KeySource>,
    tenant: String,
    regions: Vec<String>,
    ambient: Ambient,
    floor_us: AtomicI64,
    snapshot: ArcSwapOption<Snapshot>,
    in_force: Mutex<Option<InForce>>,
    /// Segments that the ledger keeps, with the search keys that they need.
    kept: Mutex<Vec<(u32, SearchKey)>>,
    trouble: Mutex<Option<String>>,
}

impl Policy {
    /// Holds nothing yet; [`Policy::reload`] fills it.
    pub fn new(config: &Config, ambient: &Ambient) -> Self {
        Self {
            dir: config.policies.clone(),
            keys: key_source(config),
            tenant: config.tenant.clone(),
            regions: config.regions.keys().cloned().collect(),
            ambient: ambient.clone(),
            floor_us: AtomicI64::new(i64::MIN),
            snapshot: ArcSwapOption::empty(),
            in_force: Mutex::new(None),
            kept: Mutex::default(),
            trouble: Mutex::new(None),
        }
    }

    /// Tells the latest time that is known to have passed: that of the node's last row.
    pub fn has_passed(&self, us: i64) {
        self.floor_us.fetch_max(us, Ordering::Relaxed);
    }

    /// Why the clock is not believed, if it is not.
    pub fn clock_trouble(&self) -> Option<&'static str> {
        let clock = &self.ambient.clock;
        match clock.leapt_us() {
            Some(1..) => return Some("the clock has leapt ahead of the time that has passed"),
            Some(_) => return Some("the clock has leapt back behind the time that has passed"),
            None => {}
        }
        let floor_us = self.floor_us.load(Ordering::Relaxed);
        (clock.now_us() < floor_us.saturating_sub(CLOCK_TOLERANCE_US))
            .then_some("the clock is behind a time that has already passed")
    }

    /// The time, as decisions see it.
    pub fn clock_ms(&self) -> i64 {
        self.ambient.clock.now_ms().0
    }

    /// The policy for a decision now.
    pub fn now(&self) -> Result<Arc<Snapshot>, Refused> {
        if let Some(trouble) = self.clock_trouble() {
            return Err(not_in_force(trouble));
        }
        let now = self.ambient.clock.now_ms();
        if let Some(snapshot) = self.snapshot.load_full()
            && (snapshot.table.valid_from()..snapshot.table.valid_until()).contains(&now)
        {
            return Ok(snapshot);
        }
        self.recompile(now)
    }

    /// A date in the policy has passed: the same bundle, seen from now.
    fn recompile(&self, now: UnixMillis) -> Result<Arc<Snapshot>, Refused> {
        let in_force = self.in_force.lock().unwrap_or_else(|e| e.into_inner());
        let Some(current) = in_force.as_ref() else {
            return Err(not_in_force("no policy is in force"));
        };
        match self.compile(&current.bundle, &current.keyring, now) {
            Ok(snapshot) => {
                self.snapshot.store(Some(snapshot.clone()));
                Ok(snapshot)
            }
            Err(error) => {
                tracing::error!(event = "policy-recompile-failed", %error);
                Err(not_in_force("the policy could not be compiled for the current date"))
            }
        }
    }

    /// Reads everything again. `Ok(None)` when nothing changed.
    pub async fn reload(self: &Arc<Self>) -> Result<Option<Activated>, ReloadError> {
        let (policy, fetched) = (self.clone(), self.keys.fetch().await);
        // Reading may hang with its file system, and compiling takes as long as it takes.
        let outcome = tokio::task::spawn_blocking(move || policy.take(fetched)).await;
        let outcome = outcome.unwrap_or(Err(ReloadError::Interrupted));
        let mut trouble = self.trouble.lock().unwrap_or_else(|e| e.into_inner());
        *trouble = outcome.as_ref().err().map(ToString::to_string);
        outcome
    }

    fn take(
        &self,
        fetched: Result<Fetched, KeyringError>,
    ) -> Result<Option<Activated>, ReloadError> {
        let sources = read_bundle(&self.dir)?;
        let Fetched { keys: keyring, fingerprint: of_keys } = fetched?;
        let fingerprint = fingerprint(&sources, of_keys);
        let mut in_force = self.in_force.lock().unwrap_or_else(|e| e.into_inner());
        if in_force.as_ref().is_some_and(|current| current.fingerprint == fingerprint) {
            return Ok(None);
        }
        let bundle = Bundle::compile(&sources).map_err(|r| policy_error(&r, &sources))?;
        let digests = Digests::of(&keyring, &self.tenant)?;
        digests.fit(&self.kept.lock().unwrap_or_else(|e| e.into_inner()))?;
        let now = self.ambient.clock.now_ms();
        let snapshot = self.compile(&bundle, &keyring, now)?;
        let previous = in_force.as_ref().map(|current| current.bundle.digest());
        let digest = bundle.digest();
        *in_force = Some(InForce { bundle, keyring, digests, fingerprint });
        for file in overlooked(&self.dir) {
            tracing::warn!(event = "policy-file-ignored", file, "its name does not end in .yaml");
        }
        self.snapshot.store(Some(snapshot));
        Ok(Some(Activated { digest, previous }))
    }

    fn compile(
        &self,
        bundle: &Bundle,
        keyring: &Masters,
        now: UnixMillis,
    ) -> Result<Arc<Snapshot>, ReloadError> {
        let table = bundle.table(now).map_err(|r| policy_error(&r, &[]))?;
        if let Some(unknown) = table.regions().find(|r| !self.regions.iter().any(|k| k == r)) {
            return Err(ReloadError::Region(unknown.to_owned()));
        }
        let snapshot = Snapshot::new(table, &self.tenant, keyring, &self.ambient.random)?;
        Ok(Arc::new(snapshot))
    }

    /// Tells which search keys a keyring must have from now on, as they are.
    pub fn keep(&self, segments: Vec<(u32, SearchKey)>) {
        *self.kept.lock().unwrap_or_else(|e| e.into_inner()) = segments;
    }

    /// The search keys of the keyring in force.
    pub fn digests(&self) -> Option<Digests> {
        let in_force = self.in_force.lock().unwrap_or_else(|e| e.into_inner());
        in_force.as_ref().map(|current| current.digests.clone())
    }

    /// Whether a bundle was ever taken.
    pub fn is_in_force(&self) -> bool {
        self.in_force.lock().unwrap_or_else(|e| e.into_inner()).is_some()
    }

    /// Why the last reload failed, if it did.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// The files and folders to watch.
    pub fn files(&self) -> Vec<PathBuf> {
        [vec![self.dir.clone()], self.keys.files()].concat()
    }
}

fn not_in_force(detail: &str) -> Refused {
    Refused {
        code: RefusalCode::PolicyNotInForce,
        rule: None,
        pointer: None,
        detail: Arc::from(detail),
        help: None,
    }
}

fn policy_error(report: &Report, sources: &[Source]) -> ReloadError {
    ReloadError::Policy(cut(report.render(sources), POLICY_ERROR_BYTES_MAX))
}

fn fingerprint(sources: &[Source], keys: blake3::Hash) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for source in sources {
        hasher.update(blake3::hash(source.path.as_bytes()).as_bytes());
        hasher.update(blake3::hash(source.text.as_bytes()).as_bytes());
    }
    hasher.update(keys.as_bytes());
    hasher.finalize()
}

/// The `.yaml` and `.yml` files of a folder and its subfolders, in the order of their paths,
/// which are given relative to the folder. Links are followed, each folder is read once, and only
/// regular files are read: a pipe or device would never end.
pub fn read_bundle(dir: &Path) -> Result<Vec<Source>, ReloadError> {
    let failed = |why: String| ReloadError::Read { dir: dir.to_owned(), why };
    let policies = bundle_files(dir).map_err(failed)?.policies;
    if policies.is_empty() {
        return Err(failed("it contains no `.yaml` file".to_owned()));
    }
    let mut left = BUNDLE_BYTES_MAX;
    let mut source = |file: PathBuf| {
        if std::fs::metadata(&file).is_ok_and(|file| file.len() > left) {
            return Err(failed(format!("more than {BUNDLE_BYTES_MAX} bytes")));
        }
        let text = files::read_text(&file, left)
            .map_err(|why| failed(format!("`{}`: {why}", file.display())))?;
        left = left.saturating_sub(text.len() as u64);
        let path = file.strip_prefix(dir).unwrap_or(&file).display().to_string();
        Ok(Source { path, text })
    };
    policies.into_iter().map(&mut source).collect()
}

/// Files of the folder that are not read, and look as if they should be: policies by their text, not
/// by their name. Relative to the folder.
pub fn overlooked(dir: &Path) -> Vec<String> {
    let Ok(Files { others, .. }) = bundle_files(dir) else { return Vec::new() };
    let looks = |file: &PathBuf| {
        let begin = files::begin_of(file, GLANCE_BYTES).unwrap_or_default();
        begin.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"apiVersion: sluicegate/"))
    };
    let relative = |file: &PathBuf| file.strip_prefix(dir).unwrap_or(file).display().to_string();
    others.iter().filter(|file| looks(file)).map(relative).collect()
}

/// The files below a folder that are not hidden.
#[derive(Default)]
struct Files {
    policies: Vec<PathBuf>,
    others: Vec<PathBuf>,
}

fn bundle_files(dir: &Path) -> Result<Files, String> {
    let words = |error: std::io::Error| error.kind().to_string();
    let mut found = Files::default();
    let mut folders = vec![dir.to_owned()];
    let mut seen = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        if !seen.insert(folder.canonicalize().map_err(words)?) {
            continue;
        }
        for entry in std::fs::read_dir(&folder).map_err(words)? {
            let path = entry.map_err(words)?.path();
            let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
            let yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
            if hidden {
                continue;
            } else if path.is_dir() {
                folders.push(path);
            } else if yaml {
                found.policies.push(path);
            } else if found.others.len() < BUNDLE_FILES_MAX {
                found.others.push(path);
            }
            let count = found.policies.len();
            if count > BUNDLE_FILES_MAX || seen.len() + folders.len() > BUNDLE_FILES_MAX {
                return Err(format!("more than {BUNDLE_FILES_MAX} files or folders"));
            }
        }
    }
    found.policies.sort();
    found.others.sort();
    Ok(found)
}

/// Where a configuration's keys come from.
fn key_source(config: &Config) -> Arc<dyn KeySource> {
    Arc::new(KeyringFile::new(&config.keys.file))
}

/// The search keys of a configuration's keyring and tenant.
pub async fn digests_of(config: &Config) -> Result<Digests, ReloadError> {
    Ok(Digests::of(&key_source(config).fetch().await?.keys, &config.tenant)?)
}

#[cfg(test)]
mod tests;
