//! The client half of SSH: connect, check the host key, run a command, open SFTP.
