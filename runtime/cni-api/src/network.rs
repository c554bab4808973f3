//! What a plugin reads on stdin: its own configuration, completed by the runtime for this call.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::environment::is_identifier;
use crate::field::{self, Maybe as _};
use crate::{Attachment, CniError, Dns, Field, Misfit, RuntimeConfig, Success, Version};

#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    pub version: Version,
    /// Name of the network; state is kept under it.
    pub name: String,
    /// `type`: the plugin's file name.
    pub kind: String,
    pub capabilities: BTreeMap<String, bool>,
    pub runtime_config: RuntimeConfig,
    pub prev_result: Option<Success>,
    pub dns: Dns,
    /// GC only: every attachment that still exists.
    pub valid_attachments: Option<Vec<Attachment>>,
    /// The whole document, for members that belong to the plugin.
    pub document: Map<String, Value>,
}

impl Network {
    /// Reads stdin. The version is checked first: an unknown one may have another shape.
    pub fn parse(input: &[u8]) -> Result<Network, CniError> {
        let value = field::document(input)?;
        let root = Field::root(&value);
        let document = root.object()?.clone();
        let version = root.get("cniVersion").and_read(Field::text)?.unwrap_or("0.1.0").parse()?;
        Ok(Network::read(&root, version, document)?)
    }

    /// The version that the caller's document names, also if nothing else in it can be read: errors are
    /// printed in it.
    #[must_use]
    pub fn version_of(input: &[u8]) -> String {
        let version =
            field::document(input).ok().and_then(|value| Some(value.get("cniVersion")?.as_str()?.to_owned()));
        version.unwrap_or_else(|| Version::default().to_string())
    }

    /// A view of the plugin's own members.
    pub fn own<T>(&self, read: impl FnOnce(&Field<'_>) -> Result<T, Misfit>) -> Result<T, Misfit> {
        read(&Field::root(&Value::Object(self.document.clone())))
    }

    fn read(root: &Field<'_>, version: Version, document: Map<String, Value>) -> Result<Network, Misfit> {
        let name = root.need("name", "the name of a network")?;
        if !is_identifier(name.text()?) {
            return Err(name.wrong("letters, digits, '_', '.', '-', first a letter or digit"));
        }
        Ok(Network {
            version,
            name: name.text()?.to_owned(),
            kind: root.need("type", "the file name of a plugin")?.text()?.to_owned(),
            capabilities: root.get("capabilities").and_read(read_capabilities)?.unwrap_or_default(),
            runtime_config: root.get("runtimeConfig").and_read(RuntimeConfig::read)?.unwrap_or_default(),
            prev_result: root.get("prevResult").and_read(Success::read)?,
            dns: root.get("dns").and_read(Dns::read)?.unwrap_or_default(),
            valid_attachments: valid_attachments(root, &document)?,
            document,
        })
    }
}

pub(crate) fn read_capabilities(field: &Field<'_>) -> Result<BTreeMap<String, bool>, Misfit> {
    let flag = |name: &String| {
        let on = field.get(name).and_read(Field::flag)?.unwrap_or(false);
        Ok((name.clone(), on))
    };
    field.object()?.keys().map(flag).collect()
}

/// The list is `null` where a runtime written in Go has no pod left; under the second name for plugins that took the
/// specification's example at its word.
fn valid_attachments(
    root: &Field<'_>,
    document: &Map<String, Value>,
) -> Result<Option<Vec<Attachment>>, Misfit> {
    let names = ["cni.dev/valid-attachments", "cni.dev/attachments"];
    let Some(name) = names.into_iter().find(|name| document.contains_key(*name)) else { return Ok(None) };
    Ok(Some(root.get(name).and_read(read_attachments)?.unwrap_or_default()))
}

fn read_attachments(field: &Field<'_>) -> Result<Vec<Attachment>, Misfit> {
    let read = |field: &Field<'_>| {
        Ok(Attachment {
            container: field.need("containerID", "the id of a container")?.text()?.to_owned(),
            ifname: field.need("ifname", "the name of a link")?.text()?.to_owned(),
        })
    };
    field.list()?.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_document_is_read() {
        let text = br#"{
            "cniVersion": "1.1.0", "name": "pods", "type": "keelson-cni", "mode": "plain",
            "capabilities": {"portMappings": true, "mac": false},
            "runtimeConfig": {
                "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "TCP", "hostIP": ""}],
                "bandwidth": {"ingressRate": 1000}, "ips": ["10.1.2.3/24"], "mac": "02:00:00:00:00:01",
                "ipRanges": [[{"subnet": "10.1.0.0/16", "rangeStart": "10.1.0.9"}]], "aliases": ["a"],
                "cgroupPath": "/kubepods/x", "deviceID": "0000:01:02.3"
            },
            "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}],
            "prevResult": {"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.2/24"}]}
        }"#;
        let network = Network::parse(text).unwrap();
        assert_eq!(network.runtime_config.port_mappings[0].protocol, "tcp");
        assert_eq!(network.runtime_config.other["deviceID"], "0000:01:02.3");
        assert_eq!(network.valid_attachments.as_ref().unwrap()[0].container, "c1");
        assert_eq!(network.prev_result.as_ref().unwrap().ips.len(), 1);
        let written = Value::Object(network.runtime_config.to_json());
        assert_eq!(RuntimeConfig::read(&Field::root(&written)).unwrap(), network.runtime_config);
    }

    #[test]
    fn attachments_may_be_none_or_unsaid() {
        let check = |member: &str, expect: Option<usize>| {
            let text = format!(r#"{{"cniVersion": "1.1.0", "name": "n", "type": "t"{member}}}"#);
            let network = Network::parse(text.as_bytes()).unwrap();
            assert_eq!(network.valid_attachments.map(|list| list.len()), expect, "{text}");
        };
        check("", None);
        check(r#", "cni.dev/valid-attachments": null"#, Some(0));
        check(r#", "cni.dev/attachments": [{"containerID": "c", "ifname": "e"}]"#, Some(1));
    }

    #[test]
    fn errors_have_codes_and_places() {
        let check = |text: &str, code: u32, part: &str| {
            let error = Network::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.code, code, "{text}: {error}");
            assert!(error.to_string().contains(part), "{text}: {error}");
        };
        check("{", 6, "not JSON");
        check("[]", 7, "expected an object");
        check(r#"{"name":"n","type":"t"}"#, 1, "0.1.0");
        check(r#"{"cniVersion":"1.2.0","name":"n","type":"t"}"#, 1, "1.2.0");
        check(r#"{"cniVersion":"1.0.0","type":"t"}"#, 7, "name is missing");
        check(r#"{"cniVersion":"1.0.0","name":"../n","type":"t"}"#, 7, r#"name is "../n""#);
        check(
            r#"{"cniVersion":"1.0.0","name":"n","type":"t","runtimeConfig":{"ips":"x"}}"#,
            7,
            "runtimeConfig.ips",
        );
    }
}
