//! How many connections each client has, where `server.limits.connections_per_client` asks.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::request::{Peer, TrustedProxies};

/// Everybody who is connected. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Crowd {
    /// 0: nobody is counted.
    most: usize,
    exempt: TrustedProxies,
    present: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection among those of its client.
#[derive(Debug)]
pub(super) struct Ticket(Option<(IpAddr, Crowd)>);

impl Crowd {
    /// A crowd in which one client has at most `most` connections; `exempt` speak for many.
    pub(super) fn new(most: usize, exempt: TrustedProxies) -> Self {
        Self { most, exempt, present: Arc::default() }
    }

    /// A place for one more connection of `peer`; `None` when it has its share.
    pub(super) fn enter(&self, peer: &Peer) -> Option<Ticket> {
        let address = match peer {
            Peer::Tcp(address) if self.most > 0 && !self.exempt.trusts(peer) => address.ip(),
            Peer::Tcp(_) | Peer::Unix => return Some(Ticket(None)),
        };
        let client = network(address);
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let count = present.entry(client).or_insert(0);
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Ticket(Some((client, self.clone()))))
    }
}

/// One household has a /64 of IPv6 addresses (RFC 6177).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some((client, crowd)) = self.0.take() else { return };
        let mut present = crowd.present.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = present.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                present.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::Tcp(address.parse().unwrap())
    }

    #[test]
    fn a_client_has_its_share_and_gets_it_back() {
        let crowd = Crowd::new(2, TrustedProxies::parse(["10.0.0.0/8"]).unwrap());
        let first = crowd.enter(&peer("192.0.2.1:1")).unwrap();
        let _second = crowd.enter(&peer("[::ffff:192.0.2.1]:2")).unwrap();
        assert!(crowd.enter(&peer("192.0.2.1:3")).is_none());
        assert!(crowd.enter(&peer("192.0.2.2:1")).is_some());
        drop(first);
        assert!(crowd.enter(&peer("192.0.2.1:3")).is_some());
        let ingress: Vec<_> =
            (1..9).map(|n| crowd.enter(&peer(&format!("10.0.0.1:{n}")))).collect();
        assert!(ingress.iter().all(Option::is_some));
        assert!(crowd.enter(&Peer::Unix).is_some());
    }

    #[test]
    fn a_household_is_one_client_and_nobody_is_remembered() {
        let crowd = Crowd::new(1, TrustedProxies::default());
        let ticket = crowd.enter(&peer("[2001:db8::1]:1")).unwrap();
        assert!(crowd.enter(&peer("[2001:db8::ffff:1]:1")).is_none());
        assert!(crowd.enter(&peer("[2001:db8:0:1::1]:1")).is_some());
        drop(ticket);
        assert!(crowd.present.lock().unwrap().is_empty());
    }

    #[test]
    fn nobody_is_counted_unless_that_is_asked_for() {
        let crowd = Crowd::new(0, TrustedProxies::default());
        let tickets: Vec<_> = (1..9).map(|_| crowd.enter(&peer("192.0.2.1:1"))).collect();
        assert!(tickets.iter().all(Option::is_some));
        assert!(crowd.present.lock().unwrap().is_empty());
    }
}
