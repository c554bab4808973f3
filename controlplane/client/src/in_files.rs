//! A client certificate in files that somebody replaces in time: what is shown is what they hold at the dial.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;

use crate::kubeconfig::read_pair;

/// Reads the files at every handshake; keeps the last good pair where they cannot be read.
#[derive(Debug)]
pub(crate) struct InFiles {
    chain: PathBuf,
    key: PathBuf,
    last: Mutex<Option<Arc<CertifiedKey>>>,
}

impl InFiles {
    pub(crate) fn new(chain: PathBuf, key: PathBuf) -> InFiles {
        InFiles { chain, key, last: Mutex::new(None) }
    }

    fn read(&self) -> Result<CertifiedKey, String> {
        let (chain, key) = read_pair(&self.chain, &self.key).map_err(|error| error.to_string())?;
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| error.to_string())
    }
}

impl ResolvesClientCert for InFiles {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let read = self.read();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(pair) => *last = Some(Arc::new(pair)),
            Err(error) => {
                tracing::warn!(file = %self.chain.display(), error, "the client certificate cannot be read");
            }
        }
        last.clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}
