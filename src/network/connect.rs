//! Connects to a host: finds an address that answers, and remembers what is known about the host.
//!
//! A connection must be made within 10 s after the host was looked up. But a host may have several
//! addresses, and some may be dead: nothing comes back from them, not even a refusal. (IPv6 that leads
//! nowhere is the common case.) Three rules keep the dead ones from taking all the time:
//!
//! **The time is shared.** The addresses are tried one after the other. Each gets the time that is
//! left, divided by the number of addresses that are left, but at most 2 s. The last one gets all
//! that is left. For example, with five dead addresses before a good one, each dead one takes
//! 10 s / 6 = 1.7 s, and the connection is made after 8.3 s. With one dead address before a good one,
//! it is made after 2 s. That is enough for a live address: an answer from the other side of the world
//! takes 0.3 s, and a first packet that was lost is sent again after 1 s.
//!
//! **The two families take turns.** The resolver's first address comes first, then the first one of
//! the other family (IPv4 or IPv6), and so on, as in RFC 8305. If all of IPv6 is dead, only one
//! address is tried in vain, however many there are.
//!
//! **The address that worked last comes first.** All threads share it. So only the first
//! connection to a host pays for its dead addresses. It also tells what a failure means. If a host
//! that was connected can't be reached any more, the network is down, and the whole run waits for it.
//! If a host was never connected, its address may be wrong, and waiting would not help: only the file
//! fails.
//!
//! **Plain http to this machine stays on it.** It may carry the AppSecret, as nobody is on the way. But
//! `localhost` can lead to another machine where nobody but the network's name server answers for it,
//! as in a container without `/etc/hosts`. So only loopback addresses are used for such a URL.
//!
//! This file does not know what the connection is for.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ureq::Timeout;
use ureq::http::Uri;
use ureq::http::uri::Scheme;

use super::look_up::look_up;
use crate::url::is_this_machine;

/// The time for a connection, after the host was looked up.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The most time for an address, unless it is the last one.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(2);

/// A host's connections are not used again after this number of drops.
const MOST_DROPS: usize = 3;

/// What this run knows about the hosts that it has connected to. The keys are hosts with their ports, as
/// the URLs have them.
static HOSTS: Mutex<BTreeMap<String, Arc<Host>>> = Mutex::new(BTreeMap::new());

/// What this run knows about a host. All threads share it.
#[derive(Debug, Default)]
pub struct Host {
    state: Mutex<HostState>,
}

#[derive(Debug, Default)]
struct HostState {
    /// The address that worked last; `None` if the host was never connected.
    worked_last: Option<SocketAddr>,
    /// The number of idle connections that the host dropped without a word.
    drops: usize,
    /// The last time that a connection broke.
    broke: Option<Instant>,
}

impl Host {
    /// Returns what is known about the host of a URL.
    fn of(uri: &Uri) -> Arc<Host> {
        let name = uri
            .authority()
            .map(|host| host.to_string().to_ascii_lowercase());
        let mut hosts = HOSTS.lock().unwrap();
        Arc::clone(hosts.entry(name.unwrap_or_default()).or_default())
    }

    /// Notes that a connection broke.
    pub fn broke(&self) {
        self.state.lock().unwrap().broke = Some(Instant::now());
    }

    /// Notes that the host had dropped a connection while it was idle.
    pub fn dropped(&self) {
        self.state.lock().unwrap().drops += 1;
    }

    /// Whether a connection that was made at this time may be used again. If one broke since, this one
    /// may be dead, too.
    pub fn may_reuse(&self, connected: Instant) -> bool {
        let state = self.state.lock().unwrap();
        let is_newest = state.broke.is_none_or(|broke| broke < connected);
        is_newest && state.drops < MOST_DROPS
    }
}

/// A connection that was just made.
pub struct Connected {
    pub stream: TcpStream,
    pub host: Arc<Host>,
    /// A proxy's reply and TLS's handshake belong to connecting. They must be complete at this time.
    pub until: Instant,
}

/// Why no connection can be made, where neither the system nor ureq has an error for it. (`failure.rs` has
/// the words.)
#[derive(Debug)]
pub enum NoConnection {
    /// The host was connected before, and now there is this error.
    Away(ureq::Error),
    /// This host has no address.
    NotFound(String),
    /// A `localhost` that is another machine: plain http is not sent there.
    NotThisMachine,
}

impl fmt::Display for NoConnection {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for NoConnection {}

impl From<NoConnection> for ureq::Error {
    fn from(why: NoConnection) -> ureq::Error {
        ureq::Error::Other(Box::new(why))
    }
}

/// Connects to the host of a URL. If that fails although the host was connected before, the error is
/// `Away`.
pub fn connect(uri: &Uri) -> Result<Connected, ureq::Error> {
    let host = Host::of(uri);
    let worked_last = host.state.lock().unwrap().worked_last;
    match connect_to(uri, host, worked_last) {
        Err(error) if worked_last.is_some() => Err(NoConnection::Away(error).into()),
        connected => connected,
    }
}

fn connect_to(
    uri: &Uri,
    host: Arc<Host>,
    worked_last: Option<SocketAddr>,
) -> Result<Connected, ureq::Error> {
    let addresses = addresses_of(uri)?;
    let until = Instant::now() + CONNECT_TIMEOUT;
    let (stream, address) = connect_to_one_of(&in_order(addresses, worked_last), until)
        .map_err(|error| or_timeout(error, Timeout::Connect))?;
    host.state.lock().unwrap().worked_last = Some(address);
    Ok(Connected {
        stream,
        host,
        until,
    })
}

/// Whether a connection to a URL's host can be made now.
pub fn can_connect(uri: &Uri) -> bool {
    connect(uri).is_ok()
}

/// Returns the addresses of a URL's host.
fn addresses_of(uri: &Uri) -> Result<Vec<SocketAddr>, ureq::Error> {
    let Some(name) = uri.host() else {
        return Err(ureq::Error::BadUri("no host".into()));
    };
    let is_http = uri.scheme() == Some(&Scheme::HTTP);
    let port = uri.port_u16().unwrap_or(if is_http { 80 } else { 443 });
    let literal = name.trim_start_matches('[').trim_end_matches(']');
    let mut addresses = match literal.parse() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => {
            let found = look_up(name, port);
            found.ok_or_else(|| NoConnection::NotFound(name.to_owned()))?
        }
    };
    if is_http && is_this_machine(name) {
        addresses.retain(|address| address.ip().is_loopback());
        if addresses.is_empty() {
            return Err(NoConnection::NotThisMachine.into());
        }
    }
    Ok(addresses)
}

/// Puts addresses in the order in which they are tried: the one that worked last, then the two
/// families by turns, beginning with the resolver's first.
fn in_order(addresses: Vec<SocketAddr>, worked_last: Option<SocketAddr>) -> Vec<SocketAddr> {
    let count = addresses.len();
    let begins_with_ipv6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let of_first_family = |address: &SocketAddr| address.is_ipv6() == begins_with_ipv6;
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(of_first_family);
    let mut ordered = Vec::new();
    for turn in 0..count {
        ordered.extend(first.get(turn));
        ordered.extend(second.get(turn));
    }
    let known = ordered
        .iter()
        .position(|address| Some(*address) == worked_last);
    if let Some(known) = known {
        ordered[..=known].rotate_right(1);
    }
    ordered
}

/// Returns the time for the next address, if this time and this number of addresses are left.
fn share_of(left: Duration, addresses_left: usize) -> Duration {
    match addresses_left {
        1 => left,
        _ => ADDRESS_TIMEOUT.min(left / addresses_left as u32),
    }
}

/// Tries one address after the other. Returns the connection and its address.
fn connect_to_one_of(
    addresses: &[SocketAddr],
    until: Instant,
) -> io::Result<(TcpStream, SocketAddr)> {
    let mut failed = io::Error::from(ErrorKind::NotFound);
    for (tried, address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let limit = share_of(left, addresses.len() - tried);
        if limit.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(address, limit) {
            Ok(stream) => return Ok((stream, *address)),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Turns the system's error for a time limit into ureq's.
pub fn or_timeout(error: io::Error, reason: Timeout) -> ureq::Error {
    if is_timeout(&error) {
        ureq::Error::Timeout(reason)
    } else {
        error.into()
    }
}

/// Whether a time limit of the system has passed.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns addresses of documentation, `4` for each IPv4 address and `6` for each IPv6 one. Each
    /// has its position as the port.
    fn addresses(families: &str) -> Vec<SocketAddr> {
        let address = |(port, family)| match family {
            '4' => SocketAddr::from(([192, 0, 2, 1], port)),
            _ => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], port)),
        };
        (0..).zip(families.chars()).map(address).collect()
    }

    /// Returns the positions of addresses in the order in which they are tried.
    fn order(families: &str, worked_last: Option<usize>) -> Vec<u16> {
        let addresses = addresses(families);
        let worked_last = worked_last.map(|position| addresses[position]);
        let ordered = in_order(addresses, worked_last);
        ordered.iter().map(SocketAddr::port).collect()
    }

    #[test]
    fn the_two_families_take_turns_beginning_with_the_resolvers_first() {
        assert_eq!(order("666444", None), [0, 3, 1, 4, 2, 5]);
        assert_eq!(order("446666", None), [0, 2, 1, 3, 4, 5]);
        assert_eq!(order("666664", None), [0, 5, 1, 2, 3, 4]);
        assert_eq!(order("444", None), [0, 1, 2]);
        assert_eq!(order("", None), [0; 0]);
    }

    #[test]
    fn the_address_that_worked_last_comes_first_and_the_others_keep_their_order() {
        assert_eq!(order("666444", Some(4)), [4, 0, 3, 1, 2, 5]);
        assert_eq!(order("666444", Some(0)), [0, 3, 1, 4, 2, 5]);
        let gone = addresses("4444")[3];
        let ordered = in_order(addresses("644"), Some(gone));
        assert_eq!(ordered, in_order(addresses("644"), None));
    }

    /// Returns when each of some dead addresses has used up its share of 10 s, in seconds.
    fn ends(count: usize) -> Vec<f64> {
        let mut left = CONNECT_TIMEOUT;
        let mut ends = Vec::new();
        for addresses_left in (1..=count).rev() {
            left -= share_of(left, addresses_left);
            ends.push((CONNECT_TIMEOUT - left).as_secs_f64());
        }
        ends
    }

    #[test]
    fn five_dead_addresses_leave_a_sixth_of_the_10_s_to_a_good_one() {
        let ends = ends(6);
        assert!((ends[0] - 10.0 / 6.0).abs() < 0.001, "{ends:?}");
        assert!((ends[4] - 8.333).abs() < 0.001, "{ends:?}");
        assert!((ends[5] - 10.0).abs() < 0.001, "{ends:?}");
    }

    #[test]
    fn a_dead_address_takes_2_s_and_the_last_one_all_that_is_left() {
        assert_eq!(ends(1), [10.0]);
        assert_eq!(ends(2), [2.0, 10.0]);
        assert_eq!(ends(4), [2.0, 4.0, 6.0, 10.0]);
    }
}
