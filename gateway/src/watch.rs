//! Files that change while the gateway runs: policies, keyring, certificates, key sets. The
//! operating system tells of changes in their folders, and only events on their names count: the
//! gateway writes, too, and must not wake itself. SIGHUP and a slow tick make up for notifications
//! that are lost, as they are on some network file systems.

use std::{
    collections::{BTreeSet, VecDeque},
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use notify::{
    Event, EventKind, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::sync::mpsc;

/// Without any notification, files are looked at this often.
const TICK: Duration = Duration::from_secs(30);
/// While something is wrong, they are looked at this often, so that the gateway recovers by itself.
const TICK_IN_TROUBLE: Duration = Duration::from_secs(1);
/// A burst of changes is taken as one.
const SETTLE: Duration = Duration::from_millis(20);
/// As many links as Linux follows in one path.
const LINKS_MAX: usize = 40;

/// What events are about, if they are about our files. All paths are absolute.
#[derive(Default)]
struct Interest {
    /// Files, and the links that lead to them or to folders.
    names: BTreeSet<PathBuf>,
    /// Folders that are policies as a whole.
    folders: BTreeSet<PathBuf>,
}

/// Wakes its owner when files may have changed.
pub struct Watch {
    paths: Vec<PathBuf>,
    interest: Arc<Mutex<Interest>>,
    /// Folders that are watched, and whether with all below them.
    watched: BTreeSet<(PathBuf, bool)>,
    changes: mpsc::Receiver<()>,
    watcher: Option<notify::RecommendedWatcher>,
}

impl Watch {
    /// Watches files by name, in their folders (a file is often replaced, not written), and the
    /// policy files of folders with all below them.
    pub fn new(paths: &[PathBuf]) -> Self {
        let (sender, changes) = mpsc::channel(1);
        let interest = Arc::new(Mutex::new(Interest::default()));
        let ours = interest.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let ours = ours.lock().unwrap_or_else(|e| e.into_inner());
            if event.is_ok_and(|event| ours.concerns(&event)) {
                // A full channel means that a wake-up is waiting already.
                let _waiting = sender.try_send(());
            }
        });
        let failed = |error| {
            tracing::warn!(event = "watch-failed", %error, "files are checked by a timer only");
        };
        let watcher = watcher.map_err(failed).ok();
        let paths = paths.to_vec();
        let mut watch = Self { paths, interest, watched: BTreeSet::new(), changes, watcher };
        for (folder, error) in watch.follow() {
            tracing::warn!(event = "watch-failed", folder = %folder.display(), %error);
        }
        watch
    }

    /// Returns when files may have changed.
    pub async fn changed(&mut self, in_trouble: bool) {
        let tick = if in_trouble { TICK_IN_TROUBLE } else { TICK };
        if let Ok(Some(())) = tokio::time::timeout(tick, self.changes.recv()).await {
            tokio::time::sleep(SETTLE).await;
            while self.changes.try_recv().is_ok() {}
        }
        // Links may lead elsewhere now, and a folder that was made anew has lost its watch. What
        // cannot be watched is tried again next time.
        let _next_time = self.follow();
    }

    /// Watches what the paths lead to now. Returns what could not be watched.
    fn follow(&mut self) -> Vec<(PathBuf, notify::Error)> {
        let Some(watcher) = &mut self.watcher else { return Vec::new() };
        let mut interest = Interest::default();
        for path in &self.paths {
            let mut names = names(path);
            let last = names.last().filter(|last| last.is_dir()).cloned();
            if last.is_some() {
                names.pop();
            }
            interest.names.extend(names);
            interest.folders.extend(last);
        }
        let of_names = interest.names.iter().filter_map(|name| name.parent());
        let mut wanted: BTreeSet<_> = of_names.map(|folder| (folder.to_owned(), false)).collect();
        wanted.extend(interest.folders.iter().map(|folder| (folder.clone(), true)));
        for (gone, _) in self.watched.difference(&wanted) {
            let _gone_already = watcher.unwatch(gone);
        }
        *self.interest.lock().unwrap_or_else(|e| e.into_inner()) = interest;
        let failures = wanted.iter().filter_map(|(folder, below)| {
            let mode = if *below { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
            watcher.watch(folder, mode).err().map(|error| (folder.clone(), error))
        });
        let failures = failures.collect();
        self.watched = wanted;
        failures
    }
}

impl Interest {
    fn concerns(&self, event: &Event) -> bool {
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        if event.kind.is_access() && event.kind != written {
            return false;
        }
        let content = !matches!(
            event.kind,
            EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
        );
        let of_folder = |path: &PathBuf| {
            self.folders.iter().any(|folder| path.starts_with(folder)) && of_policies(path, content)
        };
        event.need_rescan()
            || event.paths.iter().any(|path| self.names.contains(path) || of_folder(path))
    }
}

/// Whether an event on a path in a policy folder may change the policies: on a policy file, on
/// the folders and links that Kubernetes swaps (`..data`), or, unless it is about content, on what
/// may be a folder.
fn of_policies(path: &Path, content: bool) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
    let folder = path.extension().is_none() && !content;
    name.starts_with("..") || (!name.starts_with('.') && (yaml || folder))
}

/// Every name on which the content of a path depends: the links on the way, and where they lead.
fn names(path: &Path) -> Vec<PathBuf> {
    let mut names = Vec::new();
    let parts = |path: &Path| -> VecDeque<OsString> {
        path.components().map(|part| part.as_os_str().to_owned()).collect()
    };
    let mut ahead = parts(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let mut at = PathBuf::new();
    while let Some(part) = ahead.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        // A root begins anew.
        let next = at.join(part);
        match std::fs::read_link(&next) {
            Ok(target) if names.len() < LINKS_MAX => {
                names.push(next);
                let mut all = parts(&target);
                all.append(&mut ahead);
                ahead = all;
            }
            _ => at = next,
        }
    }
    names.push(at);
    names
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    /// Longer than a notification takes, shorter than a tick.
    const QUIET: Duration = Duration::from_millis(300);

    async fn wakes(watch: &mut Watch) -> bool {
        tokio::time::timeout(QUIET, watch.changed(false)).await.is_ok()
    }

    fn replace(file: &Path, text: &str) {
        let beside = file.with_extension("new");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, file).unwrap();
    }

    #[tokio::test]
    async fn what_the_gateway_writes_beside_its_files_wakes_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let [keys, policies] = ["keys.yaml", "policies"].map(|name| dir.path().join(name));
        fs::create_dir(&policies).unwrap();
        fs::write(&keys, "1").unwrap();
        fs::write(policies.join("a.yaml"), "1").unwrap();
        let mut watch = Watch::new(&[policies.clone(), keys.clone()]);
        while wakes(&mut watch).await {}
        for place in [dir.path(), &policies] {
            for name in ["ledger.db", "ledger.db-wal", "gateway.log", ".a.yaml.swp"] {
                fs::write(place.join(name), "x").unwrap();
                fs::write(place.join(name), "xx").unwrap();
            }
            fs::remove_file(place.join("ledger.db-wal")).unwrap();
        }
        let _read = fs::read(&keys).unwrap();
        assert!(!wakes(&mut watch).await);
        fs::write(&keys, "2").unwrap();
        assert!(wakes(&mut watch).await, "written");
        replace(&keys, "3");
        assert!(wakes(&mut watch).await, "replaced");
        replace(&policies.join("a.yaml"), "2");
        assert!(wakes(&mut watch).await, "a policy");
        fs::create_dir(policies.join("packs")).unwrap();
        assert!(wakes(&mut watch).await, "a folder of policies");
        fs::write(policies.join("packs/b.yml"), "1").unwrap();
        assert!(wakes(&mut watch).await, "a policy in it");
        fs::remove_file(&keys).unwrap();
        assert!(wakes(&mut watch).await, "removed");
    }

    /// As Kubernetes mounts a Secret or a ConfigMap: each file is a link through `..data`, which is
    /// a link that is replaced.
    #[tokio::test]
    async fn swapped_links_wake_the_watch_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys.yaml");
        let policies = dir.path().join("policies");
        let mount = |folder: &Path, version: &str, file: &str| {
            fs::create_dir_all(folder.join(version)).unwrap();
            fs::write(folder.join(version).join(file), version).unwrap();
            symlink(version, folder.join("..data.new")).unwrap();
            fs::rename(folder.join("..data.new"), folder.join("..data")).unwrap();
        };
        mount(dir.path(), "..v0", "keys.yaml");
        mount(&policies, "..v0", "a.yaml");
        symlink("..data/keys.yaml", &keys).unwrap();
        symlink("..data/a.yaml", policies.join("a.yaml")).unwrap();
        let mut watch = Watch::new(&[policies.clone(), keys.clone()]);
        for version in ["..v1", "..v2", "..v3"] {
            while wakes(&mut watch).await {}
            mount(dir.path(), version, "keys.yaml");
            assert!(wakes(&mut watch).await, "keys {version}");
            while wakes(&mut watch).await {}
            mount(&policies, version, "a.yaml");
            assert!(wakes(&mut watch).await, "policies {version}");
        }
        // Written where the link leads to now.
        while wakes(&mut watch).await {}
        fs::write(dir.path().join("..v3/keys.yaml"), "x").unwrap();
        assert!(wakes(&mut watch).await);
        while wakes(&mut watch).await {}
        fs::write(dir.path().join("..v1/keys.yaml"), "x").unwrap();
        assert!(!wakes(&mut watch).await, "nothing leads there any more");
    }
}
