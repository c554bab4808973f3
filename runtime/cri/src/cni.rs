//! The pod network: a CNI configuration from a folder, and its plugins as programs.
//!
//! ```text
//! <conf dir>/10-keelson.conflist --inotify--> Networks::current() --> attach: ADD of each plugin in order
//!                                                                 --> detach: DEL in reverse
//! ```
//!
//! The first `*.conflist`, `*.conf` or `*.json` by name that can be read is the network, as with other runtimes.
//! A pod is detached with the configuration it was attached with, whatever the folder says by then.
//!
//! Reference: CNI 1.1, sections 2 (runtime protocol) and 3 (execution).

mod folder;
mod plugin;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use cni_api::{Attachment, Call, Code, Command, NetworkList, RuntimeConfig, Success};
use serde::{Deserialize, Serialize};

pub use folder::watch;
pub use plugin::PluginError;

/// The link a pod's network is: the kubelet and every CNI plugin expect this name.
pub const LINK: &str = "eth0";

/// The networks of the node.
pub struct Networks {
    conf_dir: PathBuf,
    bin_dir: PathBuf,
    current: RwLock<Result<Arc<Configuration>, String>>,
}

/// One configuration that could be read.
#[derive(Debug)]
pub struct Configuration {
    pub file: PathBuf,
    /// As it stands in the file: kept with every pod that uses it.
    pub text: String,
    pub list: NetworkList,
}

/// What a sandbox has of the network; kept in its record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attached {
    /// The configuration's text.
    pub configuration: String,
    /// The last plugin's result.
    pub result: serde_json::Value,
    pub addresses: Vec<String>,
}

/// Which pod is attached or detached.
#[derive(Clone, Debug)]
pub struct Pod {
    pub id: String,
    pub netns: PathBuf,
    pub args: Vec<(String, String)>,
    pub config: RuntimeConfig,
}

#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("cni plugin not initialized: {0}")]
    NotConfigured(String),
    #[error("the network configuration this pod was attached with is unreadable")]
    Configuration(#[source] cni_api::CniError),
    #[error("plugin type={kind:?} name={network:?} failed ({verb})")]
    Plugin { kind: String, network: String, verb: &'static str, source: PluginError },
    #[error("plugin {kind:?} printed no CNI result")]
    Result { kind: String, source: cni_api::Misfit },
}

// === impl Networks ===

impl Networks {
    /// Reads the folder once; [`watch`] keeps it current.
    pub fn new(conf_dir: PathBuf, bin_dir: PathBuf) -> Networks {
        let networks = Networks {
            conf_dir,
            bin_dir,
            current: RwLock::new(Err("no network configuration read yet".into())),
        };
        networks.reload();
        networks
    }

    pub fn reload(&self) {
        let loaded = folder::load(&self.conf_dir).map(Arc::new);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
    }

    /// The network of new pods, or why there is none.
    pub fn current(&self) -> Result<Arc<Configuration>, String> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn conf_dir(&self) -> &std::path::Path {
        &self.conf_dir
    }

    /// Attaches a pod. When a plugin fails, the ones before it are taken back.
    pub async fn attach(&self, pod: &Pod) -> Result<Attached, NetworkError> {
        let current = self.current().map_err(NetworkError::NotConfigured)?;
        let list = &current.list;
        let mut last: Option<Success> = None;
        for index in 0..list.plugins.len() {
            let call =
                Call { runtime_config: pod.config.clone(), prev_result: last.as_ref(), ..Call::default() };
            let kind = list.plugin_type(index).to_owned();
            let result = self.execute(list, index, Command::Add, pod, &call).await.and_then(|output| {
                Success::parse(&output)
                    .map(|(success, _)| success)
                    .map_err(|source| NetworkError::Result { kind, source })
            });
            match result {
                Ok(success) => last = Some(success),
                Err(error) => {
                    if let Err(undo) = self.detach_list(list, pod, last.as_ref()).await {
                        tracing::warn!(sandbox = %pod.id, error = %undo, "taking back a failed network attachment");
                    }
                    return Err(error);
                }
            }
        }
        let success = last.unwrap_or_default();
        let addresses = success.ips.iter().map(|ip| ip.address.addr().to_string()).collect();
        let result = success.to_json(list.version);
        Ok(Attached { configuration: current.text.clone(), result, addresses })
    }

    /// Detaches a pod; one that is detached already is fine.
    pub async fn detach(&self, pod: &Pod, attached: &Attached) -> Result<(), NetworkError> {
        let list =
            NetworkList::parse(attached.configuration.as_bytes()).map_err(NetworkError::Configuration)?;
        let result = Success::parse(attached.result.to_string().as_bytes()).ok().map(|(success, _)| success);
        self.detach_list(&list, pod, result.as_ref()).await
    }

    async fn detach_list(
        &self,
        list: &NetworkList,
        pod: &Pod,
        result: Option<&Success>,
    ) -> Result<(), NetworkError> {
        let mut failed = None;
        for index in (0..list.plugins.len()).rev() {
            let call = Call { runtime_config: pod.config.clone(), prev_result: result, ..Call::default() };
            if let Err(error) = self.execute(list, index, Command::Del, pod, &call).await {
                failed = failed.or(Some(error));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn execute(
        &self,
        list: &NetworkList,
        index: usize,
        command: Command,
        pod: &Pod,
        call: &Call<'_>,
    ) -> Result<Vec<u8>, NetworkError> {
        let kind = list.plugin_type(index);
        let environment = cni_api::Environment {
            command,
            attachment: Attachment { container: pod.id.clone(), ifname: LINK.to_owned() },
            netns: pod.netns.display().to_string(),
            args: pod.args.clone(),
            path: self.bin_dir.display().to_string(),
        };
        let input = list.input(index, call);
        match plugin::run(&self.bin_dir.join(kind), &environment, input).await {
            // The container is unknown to the plugin: nothing to take back.
            Err(PluginError::Refused(error))
                if command == Command::Del && error.code == Code::UnknownContainer as u32 =>
            {
                Ok(Vec::new())
            }
            outcome => outcome.map_err(|source| NetworkError::Plugin {
                kind: kind.to_owned(),
                network: list.name.clone(),
                verb: command.as_str(),
                source,
            }),
        }
    }
}
