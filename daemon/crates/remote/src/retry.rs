//! Sending again what failed for a while: exponential backoff with full jitter.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, SystemTime};

use autodidact_domain::random::Random;

use crate::error::RemoteError;

/// The longest wait before a request is sent again, whatever the server asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How an attempt failed.
pub(crate) enum Failure {
    /// It may work later; `after` is what the server asks to wait.
    Again {
        what: String,
        after: Option<Duration>,
    },
    /// It will not work this way.
    Final(RemoteError),
}

/// How often and how patiently something is asked for again.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    /// Attempts after the first.
    pub(crate) retries: u32,
    /// The first wait lasts at most this long, each next one at most twice as long.
    pub(crate) base: Duration,
    /// What to do when it was in vain.
    pub(crate) advice: String,
}

/// Makes attempts until one is done, refused for good, or the last one allowed.
pub(crate) async fn with_retries<T>(
    patience: &Patience,
    mut attempt: impl AsyncFnMut() -> Result<T, Failure>,
) -> Result<T, RemoteError> {
    let mut random = Random::from_seed(RandomState::new().build_hasher().finish());
    for retry in 0.. {
        let (what, after) = match attempt().await {
            Ok(done) => return Ok(done),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Again { what, after }) => (what, after),
        };
        if retry >= patience.retries {
            return Err(RemoteError::Failed(format!(
                "{what}; asked {} times. {}",
                retry + 1,
                patience.advice
            )));
        }
        let wait = wait_before(patience.base, retry, after, &mut random);
        tracing::info!(%what, wait_ms = wait.as_millis(), "asks again");
        tokio::time::sleep(wait).await;
    }
    unreachable!("the loop ends at the last retry")
}

/// Draws the wait before retry `retry` (from 0): uniformly up to the doubling bound (full jitter, as in AWS's "Exponential
/// Backoff And Jitter"), and at least what the server asked for.
fn wait_before(
    base: Duration,
    retry: u32,
    after: Option<Duration>,
    random: &mut Random,
) -> Duration {
    let bound = base
        .saturating_mul(2u32.saturating_pow(retry.min(16)))
        .min(LONGEST_WAIT);
    let drawn = bound.mul_f64(random.next_f64());
    after.map_or(drawn, |after| (after + drawn).min(LONGEST_WAIT))
}

/// Reads a `Retry-After` header: seconds, or a date (RFC 9110, 10.2.3).
pub(crate) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_their_bounds_and_keep_to_what_the_server_asks() {
        let base = Duration::from_millis(100);
        let mut random = Random::from_seed(1);
        for (retry, bound_ms) in [(0, 100), (1, 200), (4, 1600), (30, 60_000)] {
            let drawn: Vec<Duration> = (0..200)
                .map(|_| wait_before(base, retry, None, &mut random))
                .collect();
            let bound = Duration::from_millis(bound_ms);
            assert!(drawn.iter().all(|wait| *wait <= bound), "{retry}");
            assert!(drawn.iter().any(|wait| *wait > bound / 2), "{retry}");
            assert!(drawn.iter().any(|wait| *wait < bound / 2), "{retry}");
        }
        let asked = Some(Duration::from_secs(3));
        let wait = wait_before(base, 0, asked, &mut random);
        assert!((3000..=3100).contains(&wait.as_millis()), "{wait:?}");
        let for_ever = Some(Duration::from_secs(1_000_000));
        assert_eq!(wait_before(base, 0, for_ever, &mut random), LONGEST_WAIT);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let check = |text, expect| assert_eq!(retry_after(text, now), expect, "{text:?}");
        check("7", Some(Duration::from_secs(7)));
        check(" 0.5 ", Some(Duration::from_millis(500)));
        check(
            "Sun, 06 Nov 1994 08:49:40 GMT",
            Some(Duration::from_secs(3)),
        );
        check("Sun, 06 Nov 1994 08:49:30 GMT", Some(Duration::ZERO));
        for wrong in ["", "soon", "-1", "NaN", "1e300"] {
            check(wrong, None);
        }
    }
}
