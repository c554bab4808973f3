//! `lifecycle.stopSignal` in the words of CRI, which are the same but for the sign in real-time signals.

use cri_api::v1;
use serde_json::Value;

/// The image's own, where nothing or something unknown is said.
pub fn of(name: &Value) -> v1::Signal {
    let name = name.as_str().unwrap_or_default();
    let name = name.replace("RTMIN+", "RTMINPLUS").replace("RTMAX-", "RTMAXMINUS");
    v1::Signal::from_str_name(&name).unwrap_or(v1::Signal::RuntimeDefault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, expect) in [
            ("", v1::Signal::RuntimeDefault),
            ("SIGUSR1", v1::Signal::Sigusr1),
            ("SIGRTMIN+3", v1::Signal::Sigrtminplus3),
            ("SIGRTMAX-2", v1::Signal::Sigrtmaxminus2),
            ("SIGNONE", v1::Signal::RuntimeDefault),
        ] {
            assert_eq!(of(&name.into()), expect, "{name}");
        }
    }
}
