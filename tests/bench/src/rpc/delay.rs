//! [`Delay`]: a proxy that holds every byte for a fixed time and throttles nothing.
//!
//! In each direction one thread reads and notes when each piece is due, another waits for that moment and writes.
//! Threads sleep to within some fifty microseconds, the timers of tokio only to the millisecond.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

const PIECE_BYTES: usize = 256 << 10;

/// A proxy on a port of its own. Its threads end with the connections; the one that accepts, with the process.
pub(crate) struct Delay {
    pub(crate) address: SocketAddr,
}

impl Delay {
    /// Starts a proxy to `to` that adds `rtt` to every round trip.
    pub(crate) fn start(to: SocketAddr, rtt: Duration) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let one_way = rtt / 2;
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A peer that does not answer shows as a connection that ends.
                let Ok(server) = TcpStream::connect(to) else {
                    continue;
                };
                if join(&client, &server, one_way).is_err() {
                    return;
                }
            }
        });
        Ok(Self { address })
    }
}

fn join(client: &TcpStream, server: &TcpStream, one_way: Duration) -> Result<()> {
    for stream in [client, server] {
        stream.set_nodelay(true)?;
    }
    pump(client.try_clone()?, server.try_clone()?, one_way);
    pump(server.try_clone()?, client.try_clone()?, one_way);
    Ok(())
}

/// Moves bytes one way until either end closes.
fn pump(mut from: TcpStream, mut to: TcpStream, one_way: Duration) {
    let (queue, due) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            let bytes = piece[..count].to_vec();
            if queue.send((Instant::now() + one_way, bytes)).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (at, bytes) in due {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        // The other end may have closed already.
        let _closed = to.shutdown(Shutdown::Write);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_takes_the_delay_and_bytes_keep_their_order() {
        let echo = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = echo.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = echo.accept().unwrap();
            let mut back = stream.try_clone().unwrap();
            std::io::copy(&mut stream, &mut back).unwrap();
        });
        let rtt = Duration::from_millis(20);
        let proxy = Delay::start(to, rtt).unwrap();
        let mut client = TcpStream::connect(proxy.address).unwrap();
        let sent: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
        let start = Instant::now();
        let mut writer = client.try_clone().unwrap();
        let copy = sent.clone();
        let writing = thread::spawn(move || writer.write_all(&copy).unwrap());
        let mut first = [0];
        client.read_exact(&mut first).unwrap();
        assert!(start.elapsed() >= rtt);
        let mut rest = vec![0; sent.len() - 1];
        client.read_exact(&mut rest).unwrap();
        writing.join().unwrap();
        assert!(first[0] == sent[0] && rest == sent[1..]);
    }
}
