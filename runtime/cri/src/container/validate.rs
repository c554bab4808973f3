//! What a container request must be, before anything is made.

use std::path::{Component, Path};

use cri_api::v1;

use crate::fault::{Fault, Outcome};
use crate::sandbox;

/// Refuses what cannot be served, by field.
pub fn config(config: &v1::ContainerConfig) -> Outcome<()> {
    let metadata =
        config.metadata.as_ref().ok_or_else(|| Fault::invalid("container config must include metadata"))?;
    if metadata.name.is_empty() {
        return Err(Fault::invalid("container config: metadata.name is empty"));
    }
    if config.image.as_ref().is_none_or(|image| image.image.is_empty()) {
        return Err(Fault::invalid("container config: image is empty"));
    }
    log_path(&config.log_path)?;
    for pair in &config.envs {
        if pair.key.is_empty() || pair.key.contains(['=', '\0']) || pair.value.contains('\0') {
            return Err(Fault::invalid(format!(
                "environment variable {:?} has no usable name or value",
                pair.key
            )));
        }
    }
    if config.command.iter().chain(&config.args).any(|word| word.contains('\0')) {
        return Err(Fault::invalid("command or args contain a NUL byte"));
    }
    if !config.cdi_devices.is_empty() {
        return Err(Fault::invalid("CDI devices are not supported by this runtime yet"));
    }
    let linux = config.linux.clone().unwrap_or_default();
    if let Some(security) = &linux.security_context {
        sandbox::validate::namespaces(&security.namespace_options.clone().unwrap_or_default())?;
        super::spec::refuse_unenforced(security)?;
    }
    Ok(())
}

/// Below the sandbox's log directory, never beside it.
fn log_path(path: &str) -> Outcome<()> {
    let clean = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || clean {
        return Ok(());
    }
    Err(Fault::invalid(format!(
        "log_path {path:?} must be relative to the sandbox's log directory, without `..`"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_requests_name_the_field() {
        let valid = v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name: "c".into(), attempt: 0 }),
            image: Some(v1::ImageSpec { image: "busybox".into(), ..Default::default() }),
            log_path: "c/0.log".into(),
            ..Default::default()
        };
        assert!(config(&valid).is_ok());
        let check = |change: fn(&mut v1::ContainerConfig), part: &str| {
            let mut changed = valid.clone();
            change(&mut changed);
            let said = config(&changed).unwrap_err().to_string();
            assert!(said.contains(part), "{said}");
        };
        check(|c| c.metadata = None, "metadata");
        check(|c| c.image = None, "image");
        check(|c| c.log_path = "../0.log".into(), "log_path");
        check(|c| c.log_path = "/0.log".into(), "log_path");
        check(|c| c.envs = vec![v1::KeyValue { key: "A=B".into(), value: String::new() }], "A=B");
        check(|c| c.command = vec!["a\0".into()], "NUL");
        check(
            |c| {
                let userns = v1::UserNamespace::default();
                let options = v1::NamespaceOption { userns_options: Some(userns), ..Default::default() };
                let security = v1::LinuxContainerSecurityContext {
                    namespace_options: Some(options),
                    ..Default::default()
                };
                c.linux =
                    Some(v1::LinuxContainerConfig { security_context: Some(security), ..Default::default() });
            },
            "userns_options",
        );
    }
}
