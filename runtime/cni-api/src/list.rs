//! A network configuration list (`*.conflist`, `*.conf`), and the stdin it makes for each plugin.

use serde_json::{Map, Value, json};

use crate::environment::is_identifier;
use crate::field::{self, Maybe as _};
use crate::network::read_capabilities;
use crate::{Attachment, CniError, Field, Misfit, RuntimeConfig, Success, Version};

/// More plugins than this are nobody's chain.
const PLUGINS_MAX: usize = 32;

#[derive(Clone, Debug, PartialEq)]
pub struct NetworkList {
    /// The newest of `cniVersion` and `cniVersions` that these types speak.
    pub version: Version,
    pub name: String,
    pub disable_check: bool,
    pub disable_gc: bool,
    /// Each plugin's own object. For ADD in order, for DEL in reverse.
    pub plugins: Vec<Map<String, Value>>,
}

/// What the runtime adds to a plugin's configuration for one call.
#[derive(Clone, Debug, Default)]
pub struct Call<'a> {
    pub runtime_config: RuntimeConfig,
    pub prev_result: Option<&'a Success>,
    /// GC only.
    pub valid_attachments: Option<&'a [Attachment]>,
}

impl NetworkList {
    /// Reads a list, or a single plugin's configuration as a list of one.
    pub fn parse(text: &[u8]) -> Result<NetworkList, CniError> {
        let value = field::document(text)?;
        let root = Field::root(&value);
        let version = negotiate(&root)?;
        Ok(NetworkList::read(&root, version)?)
    }

    /// The plugin's file name.
    #[must_use]
    pub fn plugin_type(&self, plugin: usize) -> &str {
        self.plugins.get(plugin).and_then(|plugin| plugin.get("type")?.as_str()).unwrap_or_default()
    }

    /// The stdin of one plugin for one call: its own members, the list's name and version, and of the
    /// runtime's offers those that the plugin has declared a capability for.
    #[must_use]
    pub fn input(&self, plugin: usize, call: &Call<'_>) -> Vec<u8> {
        let mut document = self.plugins.get(plugin).cloned().unwrap_or_default();
        document.insert("name".to_owned(), json!(self.name));
        document.insert("cniVersion".to_owned(), json!(self.version.as_str()));
        let declared = |name: &str| {
            let flag =
                document.get("capabilities").and_then(|capabilities| capabilities.get(name)?.as_bool());
            flag.unwrap_or(false)
        };
        let offered: Map<String, Value> =
            call.runtime_config.to_json().into_iter().filter(|(name, _)| declared(name)).collect();
        if !offered.is_empty() {
            document.insert("runtimeConfig".to_owned(), Value::Object(offered));
        }
        if let Some(result) = call.prev_result {
            document.insert("prevResult".to_owned(), result.to_json(self.version));
        }
        if let Some(attachments) = call.valid_attachments {
            let list = attachments.iter().map(|a| json!({"containerID": a.container, "ifname": a.ifname}));
            document.insert("cni.dev/valid-attachments".to_owned(), list.collect());
        }
        Value::Object(document).to_string().into_bytes()
    }

    fn read(root: &Field<'_>, version: Version) -> Result<NetworkList, Misfit> {
        let name = root.need("name", "the name of a network")?;
        if !is_identifier(name.text()?) {
            return Err(name.wrong("letters, digits, '_', '.', '-', first a letter or digit"));
        }
        let plugins = match root.get("plugins") {
            Some(list) => {
                let plugins = list.list()?;
                if plugins.is_empty() || plugins.len() > PLUGINS_MAX {
                    return Err(list.wrong(format!("1 to {PLUGINS_MAX} plugins")));
                }
                plugins
            }
            None => vec![root.clone()],
        };
        let read_plugin = |plugin: &Field<'_>| {
            let kind = plugin.need("type", "the file name of a plugin")?;
            // It becomes a path below the plugin directories.
            if !is_identifier(kind.text()?) {
                return Err(kind.wrong("the file name of a plugin"));
            }
            plugin.get("capabilities").and_read(read_capabilities)?;
            Ok(plugin.object()?.clone())
        };
        let flag = |name: &str| root.get(name).and_read(Field::flag).map(Option::unwrap_or_default);
        Ok(NetworkList {
            version,
            name: name.text()?.to_owned(),
            disable_check: flag("disableCheck")?,
            disable_gc: flag("disableGC")?,
            plugins: plugins.iter().map(read_plugin).collect::<Result<_, _>>()?,
        })
    }
}

fn negotiate(root: &Field<'_>) -> Result<Version, CniError> {
    let one = root.get("cniVersion").and_read(Field::text)?;
    let many = root.get("cniVersions").and_read(Field::texts)?.unwrap_or_default();
    let offered: Vec<&str> = many.iter().map(String::as_str).chain(one).collect();
    match Version::negotiate(offered.iter().copied()) {
        Some(version) => Ok(version),
        // The error of the one version says what is wrong and what is supported.
        None => offered.last().copied().unwrap_or("0.1.0").parse(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &[u8] = br#"{
        "cniVersion": "0.4.0", "cniVersions": ["0.4.0", "1.0.0", "1.1.0", "7.0.0"], "name": "pods",
        "plugins": [
            {"type": "keelson-cni", "capabilities": {"mac": true, "portMappings": false}, "mode": "auto"},
            {"type": "tuning"}
        ]
    }"#;

    #[test]
    fn a_plugin_gets_its_members_and_what_it_declared() {
        let list = NetworkList::parse(LIST).unwrap();
        assert_eq!(list.version, Version::V1_1_0);
        assert_eq!(list.plugin_type(1), "tuning");
        let offers = json!({"mac": "02:00:00:00:00:01", "portMappings": [], "aliases": ["x"]});
        let call = Call {
            runtime_config: RuntimeConfig::read(&Field::root(&offers)).unwrap(),
            prev_result: Some(&Success::default()),
            ..Call::default()
        };
        let first: Value = serde_json::from_slice(&list.input(0, &call)).unwrap();
        assert_eq!(first["runtimeConfig"], json!({"mac": "02:00:00:00:00:01"}));
        assert_eq!(first["mode"], "auto");
        assert_eq!(first["cniVersion"], "1.1.0");
        assert_eq!(first["prevResult"]["cniVersion"], "1.1.0");
        let second: Value = serde_json::from_slice(&list.input(1, &call)).unwrap();
        assert!(second.get("runtimeConfig").is_none());
        assert_eq!(crate::Network::parse(&list.input(1, &call)).unwrap().name, "pods");
    }

    #[test]
    fn a_single_configuration_is_a_list_of_one() {
        let list = NetworkList::parse(br#"{"cniVersion":"0.3.1","name":"n","type":"bridge"}"#).unwrap();
        assert_eq!(list.plugins.len(), 1);
        assert_eq!(list.plugin_type(0), "bridge");
    }

    #[test]
    fn a_list_that_makes_no_sense_is_refused() {
        let check = |text: &str, code: u32| {
            assert_eq!(NetworkList::parse(text.as_bytes()).unwrap_err().code, code, "{text}");
        };
        check(r#"{"cniVersion":"1.0.0","name":"n","plugins":[]}"#, 7);
        check(r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"../../bin/sh"}]}"#, 7);
        check(r#"{"cniVersion":"3.0.0","name":"n","plugins":[{"type":"x"}]}"#, 1);
    }
}
