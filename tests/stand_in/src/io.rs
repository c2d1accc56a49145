//! The bytes of a connection, with or without TLS. This file does not know HTTP.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::{ServerConnection, StreamOwned};
use socket2::SockRef;

/// The receive buffer of a slow reader. The kernel may round it up.
const SLOW_RECEIVE_BUFFER: usize = 4 << 10;

/// Reads and writes plain bytes, and does the TLS.
pub(crate) enum Io {
    Plain(Wire),
    Tls(Box<StreamOwned<ServerConnection, Socket>>),
}

impl Io {
    /// Sends a record of TLS itself, as servers do for tickets and new keys.
    pub(crate) fn send_new_keys(&mut self) -> io::Result<()> {
        let Io::Tls(tls) = self else {
            return Ok(());
        };
        tls.conn.refresh_traffic_keys().map_err(io::Error::other)?;
        tls.flush()
    }

    /// Sends bytes and TLS's own end in one piece, but no FIN.
    pub(crate) fn write_all_and_close_notify(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Io::Tls(tls) = self else {
            return self.write_all(bytes);
        };
        tls.conn.writer().write_all(bytes)?;
        tls.conn.send_close_notify();
        let mut records = Vec::new();
        while tls.conn.wants_write() {
            tls.conn.write_tls(&mut records)?;
        }
        (&*tls.sock.0.get_ref().tcp).write_all(&records)
    }

    /// Closes in an orderly way: first TLS's own end, then FIN.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        match self {
            Io::Plain(wire) => wire.tcp.shutdown(Shutdown::Write),
            Io::Tls(tls) => {
                tls.conn.send_close_notify();
                tls.flush()?;
                tls.sock.0.get_ref().tcp.shutdown(Shutdown::Write)
            }
        }
    }
}

impl Read for Io {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Io::Plain(wire) => wire.read(buffer),
            Io::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Io {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Io::Plain(wire) => (&*wire.tcp).write(bytes),
            Io::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Io::Plain(_) => Ok(()),
            Io::Tls(tls) => tls.flush(),
        }
    }
}

/// A connection of TCP. Counts the bytes that come.
pub(crate) struct Wire {
    pub(crate) tcp: Arc<TcpStream>,
    pub(crate) received: Arc<AtomicU64>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (&*self.tcp).read(buffer)?;
        self.received.fetch_add(count as u64, Ordering::SeqCst);
        Ok(count)
    }
}

/// Reads in large pieces. Without it rustls asks the kernel for 4 KiB at a time.
pub(crate) struct Socket(pub(crate) BufReader<Wire>);

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0.get_ref().tcp).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn shrink_receive_buffer(socket: SockRef<'_>) {
    socket.set_recv_buffer_size(SLOW_RECEIVE_BUFFER).ok();
}
