//! TLS for both interfaces: gRPC speaks HTTP/2, most clients of OpenAI's interface HTTP/1.1.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

use crate::auth::Tls;
use crate::error::ServerError;

/// What is spoken, the better one first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// How long a peer may take to agree on a key.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at once; further peers wait in the system's queue.
const MAX_HANDSHAKES: usize = 64;
/// A pause where accepting fails, as it does when files run out.
const PAUSE: Duration = Duration::from_millis(100);

/// Encrypted connections, as they come.
pub(crate) type Incoming = ReceiverStream<io::Result<TlsStream<TcpStream>>>;

/// Begins to accept; ends when what it gives is dropped.
///
/// # Errors
/// [`ServerError::Transport`] for a certificate or key that cannot be used.
pub(crate) fn incoming(listener: TcpListener, tls: &Tls) -> Result<Incoming, ServerError> {
    let config = config(tls).map_err(|detail| ServerError::Transport {
        action: "use the TLS certificate and key",
        detail,
    })?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(accept(listener, acceptor, sender));
    Ok(ReceiverStream::new(receiver))
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    sender: mpsc::Sender<io::Result<TlsStream<TcpStream>>>,
) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        let place = Arc::clone(&handshakes).acquire_owned().await;
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = sender.closed() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        tokio::spawn(async move {
            // Small events must not wait for each other; where it cannot be set, they do.
            let _ = stream.set_nodelay(true);
            let agreed = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await;
            drop(place);
            match agreed {
                Ok(Ok(stream)) => drop(sender.send(Ok(stream)).await),
                Ok(Err(error)) => tracing::debug!(%error, "a peer did not agree on a key"),
                Err(_) => tracing::debug!("a peer took too long to agree on a key"),
            }
        });
    }
}

fn config(tls: &Tls) -> Result<ServerConfig, String> {
    let chain = CertificateDer::pem_slice_iter(&tls.certificate_pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| format!("the certificate: {error}"))?;
    if chain.is_empty() {
        return Err("the certificate: the file holds none in PEM".to_string());
    }
    let key = PrivateKeyDer::from_pem_slice(&tls.key_pem);
    let key = key.map_err(|error| format!("the key: {error}"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}
