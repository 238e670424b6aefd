//! HTTPS in front of a witness: Python's `ssl` (OpenSSL), with a certificate of an authority that the test makes.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::{PATIENCE, TempDir, fresh_dir, run};

/// A certificate authority, and a certificate of it for `localhost`.
pub struct Authority(TempDir);

impl Authority {
    pub fn new() -> Self {
        let dir = fresh_dir("authority");
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let ca = ["req", "-x509", "-days", "2", "-subj", "/CN=Inside", "-keyout", "ca.key", "-out", "ca.pem"];
        openssl(dir.path(), &[&ca[..], &key].concat());
        let request = ["req", "-subj", "/CN=witness", "-keyout", "server.key", "-out", "server.csr"];
        openssl(dir.path(), &[&request[..], &key].concat());
        std::fs::write(dir.path().join("names"), "subjectAltName = DNS:localhost\n").unwrap();
        let sign = ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
        openssl(dir.path(), &[&sign[..], &["-days", "2", "-extfile", "names", "-out", "server.pem"]].concat());
        Self(dir)
    }

    /// What whoever trusts it has: a bundle with its certificate.
    pub fn bundle(&self) -> PathBuf {
        self.0.path().join("ca.pem")
    }
}

fn openssl(dir: &Path, words: &[&str]) {
    let mut command = Command::new("openssl");
    command.current_dir(dir).args(words);
    run(command, b"", PATIENCE).ok();
}

/// Takes TLS and passes the bytes on; killed when it goes out of scope.
pub struct Front {
    child: Child,
    url: String,
}

const FRONT: &str = r#"
import socket, ssl, sys, threading

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("server.pem", "server.key")
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)

def copy(source, sink):
    try:
        while True:
            piece = source.recv(65536)
            if not piece:
                break
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass

def serve(plain):
    try:
        inside = context.wrap_socket(plain, server_side=True)
    except OSError:
        return  # Whoever asked does not trust the certificate.
    behind = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    threading.Thread(target=copy, args=(inside, behind), daemon=True).start()
    copy(behind, inside)

while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

impl Front {
    /// Before the server on this port of the loopback address.
    pub fn start(authority: &Authority, port: u16) -> Self {
        let mut command = Command::new("python3");
        command.current_dir(authority.0.path()).args(["-c", FRONT, &port.to_string()]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("python3 starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().expect("the front tells its port");
        Self { child, url: format!("https://localhost:{port}") }
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
