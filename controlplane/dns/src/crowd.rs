//! Places, of which each asker may take only some: so one pod cannot keep all others out.
//!
//! **Invariant.** As many places are taken as [`Place`]s exist.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) struct Crowd {
    all: usize,
    each: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_asker: HashMap<IpAddr, usize>,
}

/// A place, until it is dropped.
pub(crate) struct Place {
    crowd: Arc<Crowd>,
    asker: IpAddr,
}

impl Crowd {
    /// So many places, and at most so many for one asker.
    pub(crate) fn new(all: usize, each: usize) -> Arc<Crowd> {
        Arc::new(Crowd { all, each, taken: Mutex::default() })
    }

    /// A place, if there is one for this asker.
    pub(crate) fn enter(self: &Arc<Self>, asker: IpAddr) -> Option<Place> {
        let mut taken = self.taken();
        let own = taken.by_asker.get(&asker).copied().unwrap_or(0);
        if taken.all >= self.all || own >= self.each {
            return None;
        }
        taken.all += 1;
        taken.by_asker.insert(asker, own + 1);
        Some(Place { crowd: self.clone(), asker })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.crowd.taken();
        taken.all -= 1;
        if let Some(own) = taken.by_asker.get_mut(&self.asker) {
            *own -= 1;
            if *own == 0 {
                taken.by_asker.remove(&self.asker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all() {
        let crowd = Crowd::new(3, 2);
        let asker = |last: u8| IpAddr::from([10, 0, 0, last]);
        let (first, second) = (crowd.enter(asker(1)).unwrap(), crowd.enter(asker(1)).unwrap());
        assert!(crowd.enter(asker(1)).is_none(), "no more for one");
        let third = crowd.enter(asker(2)).unwrap();
        assert!(crowd.enter(asker(3)).is_none(), "no more at all");
        drop(first);
        assert!(crowd.enter(asker(3)).is_some() && crowd.enter(asker(1)).is_some());
        drop((second, third));
        assert!(crowd.taken().all == 0 && crowd.taken().by_asker.is_empty());
    }
}
