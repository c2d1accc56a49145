//! The hosts that were connected in this run, each with the address that worked last. All threads
//! share them.
//!
//! If a host that was connected can't be reached any more, the network is down, and the whole run waits
//! for it. If a host was never connected, its address may be wrong, and waiting would not help: only
//! the file fails.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Mutex;

/// The keys are hosts with their ports, as the URLs have them.
static ADDRESSES: Mutex<BTreeMap<String, SocketAddr>> = Mutex::new(BTreeMap::new());

/// Returns the address of a host that worked last. `None` if the host was never connected.
pub fn address_of(host: &str) -> Option<SocketAddr> {
    ADDRESSES.lock().unwrap().get(host).copied()
}

/// Remembers the address that a host was connected at.
pub fn remember(host: String, address: SocketAddr) {
    ADDRESSES.lock().unwrap().insert(host, address);
}

/// Why no connection can be made to a host that was there before.
#[derive(Debug)]
pub struct Away(pub ureq::Error);

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Away {}
