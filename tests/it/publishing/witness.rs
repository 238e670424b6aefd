//! A witness of the tests' own (c2sp.org/tlog-witness): verifies with independent code, remembers what it has seen, cosigns.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use data_encoding::{BASE64, HEXLOWER};
use ring::signature::{Ed25519KeyPair, KeyPair};
use tlog_tiles::{Hash, check_tree};

use super::oracle::checkpoint;

pub struct Witness {
    port: u16,
    memory: Arc<Mutex<Memory>>,
}

struct Memory {
    name: String,
    pair: Ed25519KeyPair,
    /// Answers nobody just now.
    away: bool,
    log: String,
    size: u64,
    root: Hash,
    refused: Vec<String>,
}

impl Witness {
    /// For the log with this verifier key.
    pub fn start(log: &str) -> Self {
        Self::named("witness.example.org", log)
    }

    /// One of several.
    pub fn named(name: &str, log: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let pair = Ed25519KeyPair::from_seed_unchecked(&[name.len() as u8; 32]).unwrap();
        let (name, log) = (name.to_owned(), log.to_owned());
        let memory =
            Memory { name, pair, away: false, log, size: 0, root: tlog_tiles::EMPTY_HASH, refused: Vec::new() };
        let memory = Arc::new(Mutex::new(memory));
        let shared = memory.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &shared);
            }
        });
        Self { port, memory }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn key(&self) -> String {
        let memory = self.memory.lock().unwrap();
        let public = public(&memory.pair);
        format!("{}+{}+{}", memory.name, HEXLOWER.encode(&id(&memory.name, &public)), BASE64.encode(&public))
    }

    /// Lines for `[audit]`.
    pub fn settings(&self) -> String {
        self.settings_at(&format!("http://127.0.0.1:{}", self.port))
    }

    /// As [`Witness::settings`], for who reaches it elsewhere.
    pub fn settings_at(&self, url: &str) -> String {
        format!("[[audit.witnesses]]\nurl = \"{url}\"\nkey = \"{}\"", self.key())
    }

    /// Whether it answers nobody from now on.
    pub fn stay_away(&self, away: bool) {
        self.memory.lock().unwrap().away = away;
    }

    /// How far it has seen the log.
    pub fn size(&self) -> u64 {
        self.memory.lock().unwrap().size
    }

    /// What it would not cosign, and why.
    pub fn refused(&self) -> Vec<String> {
        self.memory.lock().unwrap().refused.clone()
    }
}

/// The type (cosignature/v1) and the key.
fn public(pair: &Ed25519KeyPair) -> Vec<u8> {
    [&[4], pair.public_key().as_ref()].concat()
}

fn id(name: &str, public: &[u8]) -> Vec<u8> {
    let text = [name.as_bytes(), b"\n", public].concat();
    ring::digest::digest(&ring::digest::SHA256, &text).as_ref()[..4].to_vec()
}

fn serve(stream: TcpStream, memory: &Mutex<Memory>) {
    let mut reader = BufReader::new(stream);
    // Connections may be kept, as the specification wants.
    while let Some(body) = request(&mut reader) {
        let mut memory = memory.lock().unwrap();
        let judged = if memory.away { Err((503, String::new())) } else { memory.judge(&body) };
        let (status, kind, answer) = match judged {
            Err((503, away)) => (503, "text/plain", away),
            Ok(line) => (200, "text/plain", line),
            Err((409, size)) => (409, "text/x.tlog.size", size),
            Err((status, why)) => {
                memory.refused.push(why.clone());
                (status, "text/plain", why)
            }
        };
        let length = answer.len();
        let head = format!("HTTP/1.1 {status} Answer\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
        drop(memory);
        // The daemon may have gone away meanwhile.
        if reader.get_mut().write_all(format!("{head}{answer}").as_bytes()).is_err() {
            return;
        }
    }
}

/// The body of the next request; none at the connection's end.
fn request(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    assert!(line.starts_with("POST /add-checkpoint HTTP/1.1"), "{line}");
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).ok()?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(String::from_utf8(body).unwrap())
}

impl Memory {
    /// The cosignature's line; or the status of a refusal and its body.
    fn judge(&mut self, body: &str) -> Result<String, (u16, String)> {
        let refuse = |status: u16, why: &str| (status, why.to_owned());
        let (head, note) = body.split_once("\n\n").ok_or(refuse(400, "no checkpoint"))?;
        let mut lines = head.split('\n');
        let old: u64 =
            lines.next().and_then(|line| line.strip_prefix("old ")?.parse().ok()).ok_or(refuse(400, "no old"))?;
        let proof = lines
            .map(|line| Hash::parse_hash(line).map_err(|_| refuse(400, "no hash")))
            .collect::<Result<Vec<_>, _>>()?;
        let new = checkpoint(note.as_bytes(), &self.log).map_err(|why| (403, why))?;
        if old > new.size() {
            return Err(refuse(400, "old is larger than the checkpoint"));
        }
        if old != self.size {
            return Err((409, format!("{}\n", self.size)));
        }
        if old > 0 {
            check_tree(&proof, new.size(), *new.hash(), old, self.root).map_err(|why| (422, why.to_string()))?;
        } else if !proof.is_empty() {
            return Err(refuse(422, "a proof from nothing"));
        }
        (self.size, self.root) = (new.size(), *new.hash());
        let seconds = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let text = note.rsplit_once("\n\n").unwrap().0;
        let signature = self.pair.sign(format!("cosignature/v1\ntime {seconds}\n{text}\n").as_bytes());
        let id = id(&self.name, &public(&self.pair));
        let line = BASE64.encode(&[&id[..], &seconds.to_be_bytes(), signature.as_ref()].concat());
        Ok(format!("— {} {line}\n", self.name))
    }
}
