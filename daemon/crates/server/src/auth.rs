//! Who may call: anyone who can open the Unix socket; over TCP, who knows the token.

use std::fmt;
use std::hint::black_box;

use autodidact_domain::Digest;
use autodidact_proto::v1::ErrorReason;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tonic::Status;

use crate::error::ServerError;
use crate::openai;
use crate::status::refuse;

/// 128 bits take 22 characters of base64; fewer than this could be guessed.
pub(crate) const MIN_TOKEN_LENGTH: usize = 22;
/// Bounds what a header must carry.
pub(crate) const MAX_TOKEN_LENGTH: usize = 512;

/// What callers over TCP must show, and what is shown to them.
#[derive(Clone, Debug, Default)]
pub struct Auth {
    /// The bearer token; without one the server listens on no TCP address.
    pub token: Option<Token>,
    /// The certificate; without one the server listens on loopback addresses alone. With one, every TCP address uses it.
    pub tls: Option<Tls>,
}

/// A certificate chain and its private key, both PEM.
#[derive(Clone)]
pub struct Tls {
    /// The certificate chain, the server's own first.
    pub certificate_pem: Vec<u8>,
    /// The private key of the first certificate.
    pub key_pem: Vec<u8>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

/// A bearer token. Only its digest is kept.
#[derive(Clone)]
pub struct Token(Digest);

impl Token {
    /// Checks and wraps a token.
    ///
    /// # Errors
    /// [`ServerError::BadToken`] when it is short, long or holds other than visible ASCII characters.
    pub fn new(text: &str) -> Result<Self, ServerError> {
        let good = (MIN_TOKEN_LENGTH..=MAX_TOKEN_LENGTH).contains(&text.len());
        if !good || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ServerError::BadToken);
        }
        Ok(Self(Digest::of(text.as_bytes())))
    }

    /// Compares in constant time: digests, every byte of them.
    fn matches(&self, text: &str) -> bool {
        let shown = Digest::of(text.as_bytes());
        let difference = self
            .0
            .as_bytes()
            .iter()
            .zip(shown.as_bytes())
            .fold(0u8, |all, (a, b)| black_box(all | (a ^ b)));
        difference == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Refuses calls without the token; with no token, as on a Unix socket, lets every call pass.
#[derive(Clone)]
pub(crate) struct Gate(pub(crate) Option<Token>);

impl Gate {
    /// Looks at a call's headers.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Status> {
        let Some(token) = &self.0 else {
            return Ok(());
        };
        let shown = headers.get(AUTHORIZATION);
        let shown = shown.and_then(|value| value.to_str().ok());
        match shown.and_then(bearer) {
            Some(text) if token.matches(text) => Ok(()),
            Some(_) => Err(refuse(
                ErrorReason::Unauthenticated,
                "the bearer token is wrong",
            )),
            None => Err(refuse(
                ErrorReason::Unauthenticated,
                "this address needs `authorization: Bearer TOKEN`",
            )),
        }
    }
}

/// Lets a call pass to its service, or refuses it in its own interface's way.
pub(crate) async fn guard(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    match gate.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(status) if openai::is_ours(request.uri().path()) => {
            openai::ApiError::from(status).into_response()
        }
        Err(status) => status.into_http(),
    }
}

/// Reads the token of an `authorization` header; the scheme's case does not matter (RFC 9110, 11.1).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn tokens_that_can_be_guessed_or_sent_by_no_header_are_refused() {
        for bad in [
            "",
            "short",
            &"x".repeat(513),
            "0123456789abcdef 0123456789abcdef",
            "名名名名名名名名名名名名",
        ] {
            assert!(Token::new(bad).is_err(), "{bad:?}");
        }
        assert!(Token::new(TOKEN).is_ok());
    }

    #[test]
    fn the_gate_opens_to_the_token_alone() {
        let gate = Gate(Some(Token::new(TOKEN).unwrap()));
        let call = |header: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert(AUTHORIZATION, header.parse().unwrap());
            }
            gate.check(&headers).map_err(|status| status.code())
        };
        assert_eq!(call(Some(&format!("Bearer {TOKEN}"))), Ok(()));
        assert_eq!(call(Some(&format!("bearer {TOKEN}"))), Ok(()));
        let refused = Err(tonic::Code::Unauthenticated);
        for wrong in [
            None,
            Some(""),
            Some(TOKEN),
            Some("Bearer "),
            Some("Basic abc"),
            Some(&format!("Bearer {TOKEN}0")),
        ] {
            assert_eq!(call(wrong), refused, "{wrong:?}");
        }
        assert!(Gate(None).check(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn secrets_are_not_shown() {
        let auth = Auth {
            token: Some(Token::new(TOKEN).unwrap()),
            tls: Some(Tls {
                certificate_pem: b"certificate".to_vec(),
                key_pem: b"key".to_vec(),
            }),
        };
        assert_eq!(
            format!("{auth:?}"),
            "Auth { token: Some(Token(..)), tls: Some(Tls(..)) }"
        );
    }
}
