//! The clients that providers use, each doing all that an upload can come to. docs/CLIENTS.md has the table, made by this.
//!
//! `matrix` is the row of one client, cell by cell; `programs` are the clients, `replays` those that run on Windows alone,
//! packet by packet; `site` is where a row is run; `document` compares what was seen with docs/CLIENTS.md, or writes it
//! (`tests/clients --write`); `asked` is what clients ask beside the transfer; `cancelled` stops them in the middle of it.

mod asked;
mod cancelled;
mod document;
mod matrix;
mod programs;
mod replays;
mod site;

use matrix::row;
use programs::{curl, jsch, lftp, node, openssh, paramiko, putty, rclone, sshfs};
use replays::{filezilla, winscp};

#[test]
fn openssh_sftp() {
    row(&openssh::Sftp);
}

#[test]
fn openssh_scp() {
    row(&openssh::Scp);
}

#[test]
fn sshfs() {
    row(&sshfs::Sshfs);
}

#[test]
fn lftp() {
    row(&lftp::Lftp);
}

#[test]
fn rclone() {
    row(&rclone::Rclone);
}

#[test]
fn curl_with_libssh2() {
    row(&curl::Curl);
}

#[test]
fn putty_psftp() {
    row(&putty::Psftp);
}

#[test]
fn putty_pscp() {
    row(&putty::Pscp);
}

#[test]
fn paramiko_of_debian() {
    row(&paramiko::DEBIAN);
}

#[test]
fn paramiko_newest() {
    row(&paramiko::NEWEST);
}

#[test]
fn ssh2_sftp_client() {
    row(&node::Node);
}

#[test]
fn jsch() {
    row(&jsch::Jsch);
}

#[test]
fn winscp_replayed() {
    row(&winscp::WinScp);
}

#[test]
fn filezilla_replayed() {
    row(&filezilla::FileZilla);
}
