//! The wall clock as the CRI counts it: nanoseconds since the epoch.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().try_into().unwrap_or(i64::MAX)
}
