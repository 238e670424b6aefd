//! A TCP proxy that cuts connections at random bytes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::Dice;

/// Leads to one gateway, also after that came back on another port.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    to: AtomicU16,
    cuts: AtomicUsize,
    over: AtomicBool,
    dice: Mutex<Dice>,
    most: u64,
}

impl Proxy {
    /// `most`: bytes after which a connection is cut at the latest, if it is.
    pub fn start(to: u16, seed: u64, most: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            to: to.into(),
            cuts: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            dice: Mutex::new(Dice::seeded(seed)),
            most,
        });
        let accepts = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepts.over.load(Ordering::SeqCst) {
                    return;
                }
                accepts.relay(stream);
            }
        });
        Self { port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
    /// Connections that come from now on lead there.
    pub fn leads_to(&self, port: u16) {
        self.shared.to.store(port, Ordering::SeqCst);
    }
    /// How many it has cut.
    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

impl Shared {
    fn relay(self: &Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.to.load(Ordering::SeqCst))) else { return };
        client.set_nodelay(true).ok();
        server.set_nodelay(true).ok();
        // One in four goes through whole, the others are cut after so many bytes of what the client sends: small and large
        // ones alike, so the handshake is hit too.
        let limit = {
            let mut dice = self.dice.lock().unwrap();
            match dice.within(0..4) {
                0 => u64::MAX,
                1 => dice.within(0..100_000),
                _ => dice.within(0..self.most),
            }
        };
        for (from, to, limit) in [(&client, &server, limit), (&server, &client, u64::MAX)] {
            let (from, to, shared) = (from.try_clone().unwrap(), to.try_clone().unwrap(), self.clone());
            std::thread::spawn(move || shared.pump(from, to, limit));
        }
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, mut left: u64) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read) = from.read(&mut buffer) {
            if read == 0 {
                to.shutdown(Shutdown::Write).ok();
                return;
            }
            let through = usize::try_from(left).unwrap_or(usize::MAX).min(read);
            let broken = to.write_all(&buffer[..through]).is_err();
            left = left.saturating_sub(through as u64);
            if left == 0 || broken {
                self.cuts.fetch_add(usize::from(left == 0), Ordering::SeqCst);
                break;
            }
        }
        from.shutdown(Shutdown::Both).ok();
        to.shutdown(Shutdown::Both).ok();
    }
}
