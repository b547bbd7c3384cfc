//! The places of a listener: so many connections in total, so many of one address. When they are
//! taken, a new connection gets the place of the one that has waited longest without a request; if
//! all work, the new one is closed. So a flood of silent connections shuts nobody out.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard},
};

use super::pace::Pace;
use crate::config::Limits;

/// Open files that are kept for ledger, pipelines and policies.
const FILES_RESERVED: usize = 256;
/// An IPv6 host has a whole network of this prefix.
const V6_PREFIX_BITS: u32 = 64;

pub struct Places {
    total: usize,
    per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    by_id: HashMap<u64, (IpAddr, Arc<Pace>)>,
    by_address: HashMap<IpAddr, usize>,
    next: u64,
}

/// A connection's place, until it is dropped.
pub struct Place {
    places: Arc<Places>,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().leave(self.id);
    }
}

impl Places {
    /// One address never takes more than half of the places.
    pub fn new(total: usize, per_address: usize) -> Arc<Self> {
        let per_address = per_address.min(total.div_ceil(2));
        Arc::new(Self { total, per_address, taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A place for a new connection; `None` when all others are at work.
    pub fn take(self: &Arc<Self>, address: IpAddr, pace: &Arc<Pace>) -> Option<Place> {
        let address = host(address);
        let mut taken = self.taken();
        if taken.by_address.get(&address).is_some_and(|count| *count >= self.per_address) {
            taken.evict(Some(address))?;
        } else if taken.by_id.len() >= self.total {
            taken.evict(None)?;
        }
        let id = taken.next;
        taken.next += 1;
        taken.by_id.insert(id, (address, pace.clone()));
        *taken.by_address.entry(address).or_default() += 1;
        Some(Place { places: self.clone(), id })
    }
}

/// The places of the data and of the admin listener. A connection is an open file: those of the
/// admin listener and of everything else are set aside, so that probes get through when the data
/// listener is full.
pub fn of(limits: &Limits) -> [Arc<Places>; 2] {
    let admin = limits.admin_connections;
    let data = match open_files() {
        Some(files) => limits.connections.min(files.saturating_sub(admin + FILES_RESERVED).max(2)),
        None => limits.connections,
    };
    if data < limits.connections {
        let help = "raise the limit on open files (`ulimit -n`, `LimitNOFILE`)";
        tracing::warn!(event = "connections-bounded", connections = data, help);
    }
    [data, admin].map(|total| Places::new(total, limits.connections_per_address))
}

/// How many files this process may have open, where the system says it.
fn open_files() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

impl Taken {
    /// Those that never sent a request go first, then by how long they have waited.
    fn evict(&mut self, of: Option<IpAddr>) -> Option<()> {
        let candidates = self.by_id.iter().filter(|(_, (at, _))| of.is_none_or(|of| of == *at));
        let waiting = candidates.filter_map(|(id, (_, pace))| Some((pace.waiting()?, *id)));
        let (_, id) = waiting.min()?;
        self.leave(id)?.evict();
        Some(())
    }

    fn leave(&mut self, id: u64) -> Option<Arc<Pace>> {
        let (address, pace) = self.by_id.remove(&id)?;
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
        Some(pace)
    }
}

/// What counts as one address.
fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let mask = u128::MAX << (128 - V6_PREFIX_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::listen::pace::{Over, Times};

    fn pace() -> Arc<Pace> {
        let long = Duration::from_secs(60);
        Pace::new(Times { first: long, idle: long, write: long })
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    async fn evicted(pace: &Pace) -> bool {
        let over = tokio::time::timeout(Duration::from_millis(20), pace.over()).await;
        over == Ok(Over::Evicted)
    }

    #[test]
    fn the_system_says_how_many_files() {
        assert!(open_files().unwrap() >= 64);
    }

    #[tokio::test]
    async fn the_longest_silent_gives_its_place_and_one_that_works_does_not() {
        let places = Places::new(3, 3);
        let (working, served, silent) = (pace(), pace(), pace());
        let _open = working.open();
        drop(served.open());
        let _places: Vec<_> = [(1, &working), (2, &served), (3, &silent)]
            .map(|(n, p)| places.take(address(n), p))
            .into();
        let (fourth, fifth, sixth) = (pace(), pace(), pace());
        let _fourth = places.take(address(4), &fourth).unwrap();
        assert!(evicted(&silent).await && !evicted(&served).await);
        let _at_work = (served.open(), fourth.open());
        assert!(places.take(address(5), &fifth).is_none(), "all work");
        drop(_at_work);
        let _sixth = places.take(address(6), &sixth).unwrap();
        assert!(!evicted(&working).await);
    }

    #[tokio::test]
    async fn an_address_takes_its_share_only() {
        let places = Places::new(8, 2);
        let of_one: Vec<_> = (0..3).map(|_| pace()).collect();
        let neighbor = pace();
        let _neighbor = places.take(address(9), &neighbor);
        let _taken: Vec<_> = of_one.iter().map(|p| places.take(address(1), p)).collect();
        assert!(evicted(&of_one[0]).await && !evicted(&of_one[1]).await);
        assert!(!evicted(&neighbor).await);
        assert_eq!(host("2001:db8::1".parse().unwrap()), host("2001:db8::2".parse().unwrap()));
        assert_eq!(host("::ffff:192.0.2.1".parse().unwrap()), address(1));
    }
}
