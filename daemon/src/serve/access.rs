//! What callers over TCP must show, and what is shown to them.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use autodidact_server::{Auth, Tls, Token};

use crate::config::Tcp;
use crate::files;

/// A token is a line; more is no token file.
const MAX_TOKEN_FILE_BYTES: u64 = 4096;

/// Reads token and certificate, making a token where its file is missing.
///
/// # Errors
/// When a file cannot be read or written, or holds no usable token.
pub(super) fn read(tcp: &Tcp) -> anyhow::Result<Auth> {
    if tcp.address.is_none() {
        return Ok(Auth::default());
    }
    let path = tcp
        .token_file
        .as_deref()
        .context("tcp.token_file is not set")?;
    let text = match File::open(path) {
        Ok(file) => {
            let mut text = String::new();
            file.take(MAX_TOKEN_FILE_BYTES)
                .read_to_string(&mut text)
                .with_context(|| format!("read token file {}", path.display()))?;
            text
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            make_token(path).with_context(|| format!("make token file {}", path.display()))?
        }
        Err(error) => {
            return Err(error).with_context(|| format!("read token file {}", path.display()));
        }
    };
    let token =
        Token::new(text.trim()).with_context(|| format!("use token file {}", path.display()))?;
    let tls = match (&tcp.tls_certificate, &tcp.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls {
            certificate_pem: fs::read(certificate)
                .with_context(|| format!("read TLS certificate {}", certificate.display()))?,
            key_pem: fs::read(key).with_context(|| format!("read TLS key {}", key.display()))?,
        }),
        _ => None,
    };
    Ok(Auth {
        token: Some(token),
        tls,
    })
}

/// Draws 256 bits from the system and writes them, for this user alone.
fn make_token(path: &Path) -> std::io::Result<String> {
    let mut bytes = [0u8; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        files::create_private_folder(folder)?;
    }
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{token}")?;
    file.sync_all()?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_missing_token_is_made_for_this_user_alone_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/token");
        let tcp = Tcp {
            address: Some("127.0.0.1:0".parse().unwrap()),
            token_file: Some(path.clone()),
            ..Tcp::default()
        };
        assert!(read(&tcp).unwrap().token.is_some());
        let first = fs::read_to_string(&path).unwrap();
        assert_eq!(first.trim().len(), 64);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        read(&tcp).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), first);
        fs::write(&path, "short").unwrap();
        assert!(read(&tcp).is_err());
    }
}
