// SPDX-License-Identifier: Apache-2.0
//! Listening sockets in the file system.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use tokio::net::{UnixListener, UnixStream};

use crate::error::{Error, Result};

/// Links that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

/// A socket that is listened on. Its file goes with it.
#[derive(Debug)]
pub struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
}

impl SocketFile {
    /// Listens on `path`. Takes the place of a socket that nobody listens on any more, and of nothing else. With `mode`,
    /// whom the file does not permit cannot connect, not even for a moment; without, the process's umask decides.
    pub async fn listen(path: &Path, mode: Option<u32>) -> io::Result<Self> {
        let listener = match bind(path, mode) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path).await => {
                fs::remove_file(path)?;
                bind(path, mode)?
            }
            outcome => outcome?,
        };
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next link, and who is at its other end. Cancel-safe.
    pub async fn accept(&self) -> io::Result<(UnixStream, String)> {
        let (stream, _) = self.listener.accept().await?;
        let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
        let peer = pid.map_or_else(|| self.path.display().to_string(), |pid| format!("process {pid}"));
        Ok((stream, peer))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether `path` is a socket that nobody listens on.
pub async fn is_stale(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    is_socket && UnixStream::connect(path).await.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Checks that `path` fits into a socket's address, of which `sun_path` takes 108 bytes on Linux and 104 elsewhere, with
/// the end; and that it stands in a URL as it is.
pub fn check_path(path: String) -> Result<String> {
    let limit = if cfg!(target_os = "linux") { 107 } else { 103 };
    if path.len() <= limit && !path.contains(['%', '?', '#']) {
        return Ok(path);
    }
    let limits = format!("a socket's path has at most {limit} bytes, none of them %, ? or #");
    Err(Error::config(format!("{limits}; {path} has {}", path.len())))
}

fn bind(path: &Path, mode: Option<u32>) -> io::Result<UnixListener> {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    if let Some(mode) = mode {
        // Before anybody can connect: until `listen` they are refused.
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    rustix::net::listen(&socket, BACKLOG)?;
    let listener = net::UnixListener::from(socket);
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_gives_way_and_nothing_else_does() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let first = SocketFile::listen(&path, Some(0o600)).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = SocketFile::listen(&path, None).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let (dialled, accepted) = tokio::join!(UnixStream::connect(&path), first.accept());
        dialled.unwrap();
        assert_eq!(accepted.unwrap().1, format!("process {}", std::process::id()));
        drop(first);
        assert!(!path.exists());
        // As a process that was killed leaves it.
        drop(net::UnixListener::bind(&path).unwrap());
        assert!(is_stale(&path).await);
        drop(SocketFile::listen(&path, None).await.unwrap());
        fs::write(&path, "not a socket").unwrap();
        assert!(SocketFile::listen(&path, None).await.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"not a socket");
    }

    #[test]
    fn paths_that_do_not_fit_are_refused() {
        assert!(check_path("/tmp/x.sock".into()).is_ok());
        for bad in ["/tmp/a?b".to_owned(), format!("/{}", "x".repeat(120))] {
            assert!(check_path(bad).is_err());
        }
    }
}
