//! Simulates a slow network: a relay that delays every connection through it.
//!
//! It does not know the data that it passes on.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::{ROUND_TRIP, median};

/// Relays connections to `port` on this machine. Opening a connection takes `round_trip` longer, and
/// every byte arrives half a `round_trip` later, in both directions. Returns the port of the relay,
/// which stays open until the bench ends.
pub fn start_relay(port: u16, round_trip: Duration) -> io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let own_port = listener.local_addr()?.port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || relay(client, port, round_trip));
        }
    });
    Ok(own_port)
}

fn relay(client: TcpStream, port: u16, round_trip: Duration) -> io::Result<()> {
    // A distant client must wait for the TCP handshake before it can send anything.
    thread::sleep(round_trip);
    let server = TcpStream::connect(("127.0.0.1", port))?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    let (from_server, to_client) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || pass_on(from_server, to_client, round_trip / 2));
    pass_on(client, server, round_trip / 2);
    Ok(())
}

/// Passes all bytes on, each `delay` later than it came.
fn pass_on(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    // The number of pieces of up to 64 KiB: more than a real connection holds.
    const UNDER_WAY: usize = 1024;
    let (sender, receiver) = mpsc::sync_channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    thread::spawn(move || {
        for (due, bytes) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        to.shutdown(Shutdown::Write).ok();
    });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if sender
            .send((Instant::now() + delay, buffer[..count].to_vec()))
            .is_err()
        {
            break;
        }
    }
}

/// Returns by how much a round trip through a relay is too long, as threads wake up late. It is the
/// median of 25 round trips.
pub fn lateness() -> Duration {
    static LATENESS: OnceLock<Duration> = OnceLock::new();
    let measure = || -> io::Result<f64> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = start_relay(listener.local_addr()?.port(), ROUND_TRIP)?;
        let mut near = TcpStream::connect(("127.0.0.1", port))?;
        let far = listener.accept()?.0;
        thread::spawn(move || io::copy(&mut &far, &mut &far));
        let mut ping = || {
            let started = Instant::now();
            near.write_all(b"?")
                .and_then(|()| near.read_exact(&mut [0]))?;
            Ok(started.elapsed().saturating_sub(ROUND_TRIP).as_secs_f64())
        };
        let times: io::Result<Vec<f64>> = (0..26).map(|_| ping()).collect();
        // Leaves out the first round trip, which includes opening the connection.
        Ok(median(times?.split_off(1)).unwrap_or_default())
    };
    *LATENESS.get_or_init(|| Duration::from_secs_f64(measure().expect("an echo")))
}
