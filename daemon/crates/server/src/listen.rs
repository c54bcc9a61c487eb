//! Sockets: bound before heavy work, so that a second daemon or a bad address shows at once.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener};

use crate::auth::Auth;
use crate::error::ServerError;

/// A bound socket, ready to serve.
#[derive(Debug)]
pub struct Listener(pub(crate) Bound);

#[derive(Debug)]
pub(crate) enum Bound {
    Unix(UnixListener, SocketFile),
    Tcp {
        listener: TcpListener,
        address: SocketAddr,
        scheme: &'static str,
    },
}

impl Listener {
    /// Binds a Unix socket that this user alone can open. Its folder is made with mode 0700 where it is missing.
    ///
    /// A socket left behind by a killed daemon is replaced; one that a daemon answers on is not.
    ///
    /// # Errors
    /// [`ServerError::AlreadyServed`], [`ServerError::NotASocket`], [`ServerError::OpenFolder`] when others can reach
    /// into the folder, [`ServerError::Io`] otherwise.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn unix(path: &Path) -> Result<Self, ServerError> {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        close_folder(folder)?;
        remove_stale(path)?;
        let listener = UnixListener::bind(path).map_err(ServerError::io(format!(
            "bind the socket {}",
            path.display()
        )))?;
        let describe = || format!("read the socket {}", path.display());
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))
            .map_err(ServerError::io(describe()))?;
        let made = fs::symlink_metadata(path).map_err(ServerError::io(describe()))?;
        let file = SocketFile {
            path: path.to_path_buf(),
            identity: (made.dev(), made.ino()),
        };
        Ok(Self(Bound::Unix(listener, file)))
    }

    /// Binds a TCP address; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ServerError::NoToken`] without a token, [`ServerError::NoTls`] when others can reach the address and there is
    /// no certificate, [`ServerError::Io`] when it cannot be bound.
    pub async fn tcp(address: SocketAddr, auth: &Auth) -> Result<Self, ServerError> {
        if auth.token.is_none() {
            return Err(ServerError::NoToken(address));
        }
        if !address.ip().is_loopback() && auth.tls.is_none() {
            return Err(ServerError::NoTls(address));
        }
        let action = format!("listen on {address}");
        let listener = TcpListener::bind(address)
            .await
            .map_err(ServerError::io(action.clone()))?;
        let address = listener.local_addr().map_err(ServerError::io(action))?;
        let scheme = if auth.tls.is_some() { "https" } else { "http" };
        Ok(Self(Bound::Tcp {
            listener,
            address,
            scheme,
        }))
    }

    /// Shows where it listens, such as `unix:/run/user/1000/autodidact/socket` or `http://127.0.0.1:7070`.
    pub fn address(&self) -> String {
        match &self.0 {
            Bound::Unix(_, file) => format!("unix:{}", file.path.display()),
            Bound::Tcp {
                address, scheme, ..
            } => format!("{scheme}://{address}"),
        }
    }

    /// Tells the bound TCP address; none for a Unix socket.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match &self.0 {
            Bound::Unix(..) => None,
            Bound::Tcp { address, .. } => Some(*address),
        }
    }
}

/// Removes the socket when the server is gone, unless another one took its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let still_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if still_ours {
            // A socket that stays behind is replaced at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn close_folder(folder: &Path) -> Result<(), ServerError> {
    let action = || format!("make the socket's folder {}", folder.display());
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(ServerError::io(action()))?;
    let mode = fs::metadata(folder)
        .map_err(ServerError::io(action()))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        return Err(ServerError::OpenFolder {
            path: folder.to_path_buf(),
            mode,
        });
    }
    Ok(())
}

fn remove_stale(path: &Path) -> Result<(), ServerError> {
    let action = || format!("replace the socket {}", path.display());
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(ServerError::io(action())(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ServerError::NotASocket(path.to_path_buf()));
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(ServerError::AlreadyServed(path.to_path_buf())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(ServerError::io(action()))
        }
        Err(error) => Err(ServerError::io(action())(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Tls, Token};

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        folder
    }

    #[tokio::test]
    async fn a_socket_is_this_users_alone_and_goes_with_its_listener() {
        let folder = folder();
        let path = folder.path().join("inner/socket");
        let listener = Listener::unix(&path).unwrap();
        assert_eq!(listener.address(), format!("unix:{}", path.display()));
        assert_eq!(
            fs::metadata(path.parent().unwrap())
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o700
        );
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn only_a_socket_that_nobody_answers_on_is_replaced() {
        let folder = folder();
        let path = folder.path().join("socket");
        // Dropping the plain listener leaves its file behind, as a kill does.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let first = Listener::unix(&path).unwrap();
        assert!(matches!(
            Listener::unix(&path),
            Err(ServerError::AlreadyServed(_))
        ));
        drop(first);
        fs::write(&path, "notes").unwrap();
        assert!(matches!(
            Listener::unix(&path),
            Err(ServerError::NotASocket(_))
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), "notes");
    }

    #[tokio::test]
    async fn a_later_daemons_socket_is_left_alone() {
        let folder = folder();
        let path = folder.path().join("socket");
        let first = Listener::unix(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _second = Listener::unix(&path).unwrap();
        drop(first);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_folder_open_to_others_is_refused() {
        let folder = folder();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let refused = Listener::unix(&folder.path().join("socket"));
        assert!(matches!(
            refused,
            Err(ServerError::OpenFolder { mode: 0o755, .. })
        ));
    }

    #[tokio::test]
    async fn tcp_needs_a_token_and_beyond_loopback_tls() {
        let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let anywhere: SocketAddr = "0.0.0.0:0".parse().unwrap();
        let token = Some(Token::new("0123456789abcdef0123456789abcdef").unwrap());
        let tls = Some(Tls {
            certificate_pem: Vec::new(),
            key_pem: Vec::new(),
        });
        let open = Auth::default();
        let closed = Auth {
            token: token.clone(),
            tls: None,
        };
        let encrypted = Auth { token, tls };
        assert!(matches!(
            Listener::tcp(loopback, &open).await,
            Err(ServerError::NoToken(_))
        ));
        assert!(matches!(
            Listener::tcp(anywhere, &closed).await,
            Err(ServerError::NoTls(_))
        ));
        assert!(
            Listener::tcp(loopback, &closed)
                .await
                .unwrap()
                .address()
                .starts_with("http://127.0.0.1:")
        );
        assert!(
            Listener::tcp(anywhere, &encrypted)
                .await
                .unwrap()
                .address()
                .starts_with("https://0.0.0.0:")
        );
    }
}
