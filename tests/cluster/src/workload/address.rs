//! Which IP a pod has, and where it answers.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

/// First two octets of every pod IP, as the API shows it.
const POD_NETWORK: [u8; 2] = [10, 244];

/// First octet of the twin on which the pod really answers: all of 127.0.0.0/8 is this machine.
const LOOPBACK: u8 = 127;

/// Host numbers handed out per value of the third octet; 0 and 255 look like network and broadcast to a reader.
const HOSTS: Range<u8> = 1..255;

/// The loopback twin of a pod IP: `10.244.a.b` answers on `127.244.a.b`; a loopback address is its own twin.
///
/// Any other address has none, so that test traffic cannot leave the machine.
pub(crate) fn loopback_twin(pod_ip: &str) -> Option<Ipv4Addr> {
    let IpAddr::V4(address) = pod_ip.parse().ok()? else {
        return None;
    };
    let [first, second, third, fourth] = address.octets();
    if first == LOOPBACK {
        return Some(address);
    }
    ([first, second] == POD_NETWORK).then(|| Ipv4Addr::new(LOOPBACK, second, third, fourth))
}

/// The pod IPs of one cluster.
#[derive(Clone, Debug)]
pub(super) struct Addresses(Arc<Mutex<Pool>>);

#[derive(Debug)]
struct Pool {
    /// All addresses, in the order in which they are handed out.
    all: Vec<Ipv4Addr>,
    used: BTreeSet<Ipv4Addr>,
    /// Where the search for a free one begins.
    next: usize,
}

impl Addresses {
    /// All of `10.244.a.1` to `10.244.a.254` for each `a` in the range.
    pub(super) fn new(pod_range: Range<u8>) -> Self {
        let [first, second] = POD_NETWORK;
        let all = pod_range
            .flat_map(|third| HOSTS.map(move |fourth| Ipv4Addr::new(first, second, third, fourth)))
            .collect();
        Self(Arc::new(Mutex::new(Pool {
            all,
            used: BTreeSet::new(),
            next: 0,
        })))
    }

    /// Takes the preferred address (one the pod already has in its status) or the next free one; `None` when all are in use.
    ///
    /// A freed address is given out again only after all others: a data plane that has not heard of the pod's end
    /// must not reach another pod there.
    pub(super) fn lease(&self, preferred: Option<Ipv4Addr>) -> Option<Lease> {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let preferred = preferred.filter(|address| pool.all.contains(address) && !pool.used.contains(address));
        let address = match preferred {
            Some(address) => address,
            None => {
                let count = pool.all.len();
                let found = (0..count).map(|step| (pool.next + step) % count).find_map(|index| {
                    pool.all
                        .get(index)
                        .filter(|address| !pool.used.contains(address))
                        .map(|a| (index, *a))
                });
                let (index, address) = found?;
                pool.next = index + 1;
                address
            }
        };
        pool.used.insert(address);
        Some(Lease {
            address,
            pool: self.clone(),
        })
    }
}

/// A pod IP in use; free again when dropped.
#[derive(Debug)]
pub(super) struct Lease {
    address: Ipv4Addr,
    pool: Addresses,
}

impl Lease {
    /// The IP as the API shows it (`10.244.a.b`).
    pub(super) fn pod_ip(&self) -> Ipv4Addr {
        self.address
    }

    /// Where the pod answers (`127.244.a.b`).
    pub(super) fn listen_ip(&self) -> Ipv4Addr {
        let [_, second, third, fourth] = self.address.octets();
        Ipv4Addr::new(LOOPBACK, second, third, fourth)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .used
            .remove(&self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_each_address_once_and_the_freed_one_last() {
        let addresses = Addresses::new(3..4);
        let first = addresses.lease(None).unwrap();
        assert_eq!(first.pod_ip(), Ipv4Addr::new(10, 244, 3, 1));
        assert_eq!(first.listen_ip(), Ipv4Addr::new(127, 244, 3, 1));
        drop(first);
        let rest: Vec<_> = std::iter::from_fn(|| addresses.lease(None)).collect();
        assert_eq!(rest.len(), 254);
        assert_eq!(rest[0].pod_ip(), Ipv4Addr::new(10, 244, 3, 2));
        assert_eq!(rest[253].pod_ip(), Ipv4Addr::new(10, 244, 3, 1));
    }

    #[test]
    fn keeps_the_address_a_pod_already_has() {
        let addresses = Addresses::new(0..1);
        let wanted = Ipv4Addr::new(10, 244, 0, 9);
        let lease = addresses.lease(Some(wanted)).unwrap();
        assert_eq!(lease.pod_ip(), wanted);
        assert_ne!(addresses.lease(Some(wanted)).unwrap().pod_ip(), wanted, "in use");
        assert_ne!(
            addresses.lease(Some(Ipv4Addr::new(10, 0, 0, 1))).unwrap().pod_ip(),
            Ipv4Addr::new(10, 0, 0, 1)
        );
    }

    #[test]
    fn twins_only_what_stays_on_this_machine() {
        assert_eq!(loopback_twin("10.244.1.7"), Some(Ipv4Addr::new(127, 244, 1, 7)));
        assert_eq!(loopback_twin("127.0.0.1"), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(loopback_twin("192.0.2.1"), None);
        assert_eq!(loopback_twin("fd00::1"), None);
    }
}
