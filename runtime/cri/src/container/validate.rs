//! What a container request must be, before anything is made.

use std::path::{Component, Path};

use cri_api::v1;

use super::spec::HostFacts;
use crate::fault::{Fault, Outcome};
use crate::sandbox;

/// Refuses what cannot be served, by field.
pub fn config(config: &v1::ContainerConfig, host: &HostFacts) -> Outcome<()> {
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
        return Err(Fault::invalid("cdi_devices are not supported by this runtime yet"));
    }
    let linux = config.linux.clone().unwrap_or_default();
    if let Some(security) = &linux.security_context {
        sandbox::validate::namespaces(&security.namespace_options.clone().unwrap_or_default())?;
        super::spec::refuse_unenforced(security, host)?;
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
    use crate::options::UnsetSeccomp;
    use cri_api::v1::security_profile::ProfileType;

    fn host(modules: bool) -> HostFacts {
        HostFacts {
            cgroups: sys::cgroup::Mode::Unified,
            oom_score_floor: -1000,
            open_files: 1024,
            last_capability: 40,
            user_namespaces: Ok(()),
            unset_seccomp: UnsetSeccomp::Unconfined,
            apparmor: modules,
            selinux: modules,
        }
    }

    fn valid() -> v1::ContainerConfig {
        v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name: "c".into(), attempt: 0 }),
            image: Some(v1::ImageSpec { image: "busybox".into(), ..Default::default() }),
            log_path: "c/0.log".into(),
            ..Default::default()
        }
    }

    fn security(config: &mut v1::ContainerConfig) -> &mut v1::LinuxContainerSecurityContext {
        config.linux.get_or_insert_default().security_context.get_or_insert_default()
    }

    #[test]
    fn wrong_requests_name_the_field() {
        let check = |change: fn(&mut v1::ContainerConfig), part: &str| {
            let mut changed = valid();
            change(&mut changed);
            for modules in [false, true] {
                let said = config(&changed, &host(modules)).unwrap_err().to_string();
                assert!(said.contains(part), "{said}");
            }
        };
        assert!(config(&valid(), &host(false)).is_ok() && config(&valid(), &host(true)).is_ok());
        check(|c| c.metadata = None, "metadata");
        check(|c| c.image = None, "image");
        check(|c| c.log_path = "../0.log".into(), "log_path");
        check(|c| c.log_path = "/0.log".into(), "log_path");
        check(|c| c.envs = vec![v1::KeyValue { key: "A=B".into(), value: String::new() }], "A=B");
        check(|c| c.command = vec!["a\0".into()], "NUL");
        check(|c| c.cdi_devices = vec![v1::CdiDevice { name: "vendor.com/gpu=0".into() }], "cdi_devices");
        check(
            |c| {
                let options = security(c).namespace_options.get_or_insert_default();
                options.userns_options = Some(v1::UserNamespace::default());
            },
            "userns_options",
        );
    }

    /// The words of the refusal, or none: on a host without AppArmor and SELinux, and on one that has both on.
    #[test]
    fn what_cannot_be_enforced_is_refused_where_it_would_matter() {
        let check = |change: &dyn Fn(&mut v1::LinuxContainerSecurityContext), off: &str, on: &str| {
            let mut changed = valid();
            change(security(&mut changed));
            for (modules, expect) in [(false, off), (true, on)] {
                let said = config(&changed, &host(modules)).err().map(|fault| fault.to_string());
                let said = said.unwrap_or_default();
                assert_eq!(said.is_empty(), expect.is_empty(), "{modules}: {said}");
                assert!(said.contains(expect), "{modules}: {said}");
            }
        };
        let profile = |kind: ProfileType, name: &'static str| {
            move |security: &mut v1::LinuxContainerSecurityContext| {
                security.apparmor =
                    Some(v1::SecurityProfile { profile_type: kind.into(), localhost_ref: name.into() });
            }
        };
        #[allow(deprecated)]
        let legacy = |text: &'static str| {
            move |security: &mut v1::LinuxContainerSecurityContext| security.apparmor_profile = text.into()
        };
        let off = "apparmor is not supported";
        check(&profile(ProfileType::Unconfined, ""), "", "");
        check(&profile(ProfileType::RuntimeDefault, ""), off, "");
        check(&profile(ProfileType::Localhost, "strict"), off, "");
        check(&legacy(""), "", "");
        check(&legacy("unconfined"), "", "");
        check(&legacy("runtime/default"), off, "");
        check(&legacy("localhost/strict"), off, "");
        check(&legacy("strict"), "apparmor_profile", "apparmor_profile");
        let label = |level: &'static str| {
            move |security: &mut v1::LinuxContainerSecurityContext| {
                let level = level.to_owned();
                security.selinux_options = Some(v1::SeLinuxOption { level, ..Default::default() });
            }
        };
        check(&label(""), "", "");
        check(&label("s0:c1,c2"), "", "selinux_options");
    }
}
