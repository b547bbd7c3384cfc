//! Files that change while the gateway runs: policies, keyring, certificates, key sets. The
//! operating system tells of changes to their folders; SIGHUP and a slow tick make up for
//! notifications that are lost, as they are on some network file systems.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Without any notification, files are looked at this often.
const TICK: Duration = Duration::from_secs(30);
/// While something is wrong, they are looked at this often, so that the gateway recovers by itself.
const TICK_IN_TROUBLE: Duration = Duration::from_secs(1);
/// A burst of changes is taken as one.
const SETTLE: Duration = Duration::from_millis(20);

/// Wakes its owner when files may have changed.
pub struct Watch {
    changes: mpsc::Receiver<()>,
    _watcher: Option<notify::RecommendedWatcher>,
}

impl Watch {
    /// Watches files by their folders (a file is often replaced, not written) and folders with
    /// all below them.
    pub fn new(paths: &[PathBuf]) -> Self {
        let (sender, changes) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // A full channel means that a wake-up is waiting already.
                let _waiting = sender.try_send(());
            }
        });
        let watcher = match watcher {
            Ok(mut watcher) => {
                watch_all(&mut watcher, paths);
                Some(watcher)
            }
            Err(error) => {
                tracing::warn!(event = "watch-failed", %error, "files are looked at by a timer only");
                None
            }
        };
        Self { changes, _watcher: watcher }
    }

    /// Returns when files may have changed.
    pub async fn changed(&mut self, in_trouble: bool) {
        let tick = if in_trouble { TICK_IN_TROUBLE } else { TICK };
        if let Ok(Some(())) = tokio::time::timeout(tick, self.changes.recv()).await {
            tokio::time::sleep(SETTLE).await;
            while self.changes.try_recv().is_ok() {}
        }
    }
}

fn watch_all(watcher: &mut notify::RecommendedWatcher, paths: &[PathBuf]) {
    let folders: BTreeSet<(PathBuf, bool)> = paths
        .iter()
        .filter_map(|path| match path.is_dir() {
            true => Some((path.clone(), true)),
            false => path.parent().map(|parent| (parent.to_owned(), false)),
        })
        .collect();
    for (folder, below) in folders {
        let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
        let mode = if below { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
        if let Err(error) = watcher.watch(&folder, mode) {
            tracing::warn!(event = "watch-failed", folder = %folder.display(), %error);
        }
    }
}
