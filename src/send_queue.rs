//! The send queues of this program's connections: bytes that the system took from the program, but
//! that the peer has not taken yet (its system has not acknowledged them).
//!
//! Only Linux reports them without `unsafe` code: it answers messages about a connection (`man 7
//! sock_diag`; `ss` uses them, too). An answer takes some 30 µs, however many connections there are. In
//! some sandboxes, Linux does not answer either.
//!
//! Does not know what is sent, and does not know who asks.

use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;

/// All connections of this program.
static CONNECTIONS: Mutex<Vec<Connection>> = Mutex::new(Vec::new());

/// A connection, as the system knows it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Connection {
    local: SocketAddr,
    peer: SocketAddr,
}

/// The queue of one connection.
#[derive(Debug)]
pub struct SendQueue(Option<Connection>);

impl SendQueue {
    /// The queue of a new connection.
    pub fn of(stream: &TcpStream) -> SendQueue {
        let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else {
            return SendQueue(None); // it is closed already
        };
        let connection = Connection { local, peer };
        CONNECTIONS.lock().unwrap().push(connection);
        SendQueue(Some(connection))
    }

    /// Returns the bytes in the queue. `None` if the system does not report it.
    pub fn bytes(&self) -> Option<u64> {
        system::queue_of(self.0?)
    }
}

impl Drop for SendQueue {
    fn drop(&mut self) {
        let mut connections = CONNECTIONS.lock().unwrap();
        connections.retain(|connection| Some(*connection) != self.0);
    }
}

/// Returns the bytes in the queues of all connections, as far as the system reports them.
pub fn bytes_queued() -> u64 {
    let connections = CONNECTIONS.lock().unwrap().clone();
    connections.into_iter().filter_map(system::queue_of).sum()
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub fn queue_of(_: super::Connection) -> Option<u64> {
        None
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::io::{Read, Write};
    use std::net::IpAddr;

    use socket2::{Domain, Protocol, Socket, Type};

    use super::Connection;

    // From <linux/sock_diag.h> and <linux/inet_diag.h>.
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const REQUEST_BYTES: u32 = 72;
    /// The place of the queue in an answer.
    const IDIAG_WQUEUE: usize = 76;

    /// Asks the system for the bytes in the queue of a connection.
    pub fn queue_of(connection: Connection) -> Option<u64> {
        let netlink = Domain::from(libc::AF_NETLINK);
        let protocol = Protocol::from(libc::NETLINK_SOCK_DIAG);
        let mut socket = Socket::new(netlink, Type::DGRAM, Some(protocol)).ok()?;
        socket.set_nonblocking(true).ok()?; // the answer comes before `write` ends, or not at all
        socket.write_all(&request(connection)).ok()?;
        let mut answer = [0; 512];
        let count = socket.read(&mut answer).ok()?;
        let kind: [u8; 2] = answer[4..6].try_into().ok()?;
        let queue = answer[..count].get(IDIAG_WQUEUE..IDIAG_WQUEUE + 4)?;
        if u16::from_ne_bytes(kind) != SOCK_DIAG_BY_FAMILY {
            return None; // it is an error
        }
        Some(u32::from_ne_bytes(queue.try_into().ok()?).into())
    }

    fn request(connection: Connection) -> Vec<u8> {
        let Connection { local, peer } = connection;
        let family = match local.is_ipv4() {
            true => libc::AF_INET,
            false => libc::AF_INET6,
        };
        let mut request = Vec::new();
        // struct nlmsghdr: length, type, flags, number of the request, sender
        request.extend(REQUEST_BYTES.to_ne_bytes());
        request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        request.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
        request.extend([0; 8]);
        // struct inet_diag_req_v2: family, protocol, no extensions, padding, any state
        request.extend([family as u8, libc::IPPROTO_TCP as u8, 0, 0]);
        request.extend([0xff; 4]);
        // struct inet_diag_sockid: ports, addresses, any interface, any cookie
        request.extend(local.port().to_be_bytes());
        request.extend(peer.port().to_be_bytes());
        request.extend(in_16_bytes(local.ip()));
        request.extend(in_16_bytes(peer.ip()));
        request.extend([0; 4]);
        request.extend([0xff; 8]);
        request
    }

    fn in_16_bytes(address: IpAddr) -> [u8; 16] {
        let mut bytes = [0; 16];
        match address {
            IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => bytes = address.octets(),
        }
        bytes
    }
}
