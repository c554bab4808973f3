//! AppArmor: the profile a container runs under, and our default one, loaded when it is first asked for.
//!
//! As other CRI servers have it: where the kernel has no AppArmor, a request for a profile is refused, so that nobody
//! believes it is in force; a profile of the host has to be loaded already. A request that names none gets the default one where that
//! can be loaded; a privileged container that names none, or asks for the default, is not confined.
//!
//! Reference: CRI `SecurityProfile`; apparmor.d(5), apparmor_parser(8).

use std::io::Write as _;
use std::process::{Command, Stdio};

use cri_api::v1;
use cri_api::v1::security_profile::ProfileType;

use crate::fault::{Doing as _, Fault, Outcome};

/// The name of the profile that `RuntimeDefault` means.
pub const DEFAULT: &str = "keelson-default";

/// Processes of one profile may signal and trace each other; the host may signal them. What they may not: mount, write
/// to the kernel's settings, look into its memory. The kernel's own parts of /sys are read-only mounts besides.
const DEFAULT_TEXT: &str = "
profile keelson-default flags=(attach_disconnected, mediate_deleted) {
  network,
  capability,
  file,
  umount,

  signal (receive) peer=unconfined,
  signal (send, receive) peer=keelson-default,
  ptrace (trace, read, tracedby, readby) peer=keelson-default,

  deny mount,
  deny /proc/sys/** w,
  deny /proc/sysrq-trigger rwklx,
  deny /proc/kcore rwklx,
  deny /sys/firmware/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
";

/// Loaded profiles, one a line: `name (mode)`.
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";

/// What a request chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppArmor {
    Unconfined,
    RuntimeDefault,
    /// The default one, but where nobody can load it none.
    Unset,
    /// A profile that the host has loaded, by name.
    Localhost(String),
}

/// Whether the kernel has AppArmor and shows it.
pub fn on_this_host() -> bool {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    enabled.is_ok_and(|text| text.starts_with('Y')) && std::path::Path::new(LOADED).exists()
}

/// What the request chooses, or why it cannot be had where AppArmor is `enabled` or not.
pub fn apparmor(security: &v1::LinuxContainerSecurityContext, enabled: bool) -> Outcome<AppArmor> {
    let chosen = chosen(security)?;
    match (chosen, enabled) {
        (AppArmor::Unconfined, _) | (AppArmor::Unset, false) => Ok(AppArmor::Unconfined),
        (named, false) => Err(Fault::invalid(format!(
            "apparmor is not supported by this host's kernel: profile {} cannot be enforced",
            named.name()
        ))),
        (AppArmor::RuntimeDefault | AppArmor::Unset, true) if security.privileged => Ok(AppArmor::Unconfined),
        (named, true) => Ok(named),
    }
}

#[allow(deprecated)]
fn chosen(security: &v1::LinuxContainerSecurityContext) -> Outcome<AppArmor> {
    let Some(profile) = &security.apparmor else { return legacy(&security.apparmor_profile) };
    let kind = ProfileType::try_from(profile.profile_type)
        .map_err(|_| Fault::invalid(format!("unknown apparmor profile type {}", profile.profile_type)))?;
    match kind {
        ProfileType::Localhost => localhost(&profile.localhost_ref),
        _ if !profile.localhost_ref.is_empty() => {
            Err(Fault::invalid("apparmor: localhost_ref must only be set if profile_type is Localhost"))
        }
        ProfileType::RuntimeDefault => Ok(AppArmor::RuntimeDefault),
        ProfileType::Unconfined => Ok(AppArmor::Unconfined),
    }
}

/// The deprecated field: a word, or `localhost/` and a name.
fn legacy(text: &str) -> Outcome<AppArmor> {
    match text {
        "" => Ok(AppArmor::Unset),
        "unconfined" => Ok(AppArmor::Unconfined),
        "runtime/default" | "docker/default" => Ok(AppArmor::RuntimeDefault),
        other if other.starts_with("localhost/") => localhost(other),
        other => Err(Fault::invalid(format!("invalid apparmor_profile {other:?}: expected localhost/NAME"))),
    }
}

fn localhost(reference: &str) -> Outcome<AppArmor> {
    let name = reference.strip_prefix("localhost/").unwrap_or(reference);
    // It is written to the kernel after a word of ours.
    if name.is_empty() || name.contains(['\0', '\n']) {
        return Err(Fault::invalid(format!("apparmor profile {reference:?} is not a profile's name")));
    }
    Ok(AppArmor::Localhost(name.to_owned()))
}

// === impl AppArmor ===

impl AppArmor {
    fn name(&self) -> &str {
        match self {
            AppArmor::Unconfined => "unconfined",
            AppArmor::RuntimeDefault | AppArmor::Unset => DEFAULT,
            AppArmor::Localhost(name) => name,
        }
    }

    /// The profile for the specification. The default one is loaded if it is not, any other has to be there.
    pub fn into_profile(self) -> Outcome<Option<String>> {
        if self == AppArmor::Unconfined {
            return Ok(None);
        }
        let loaded = std::fs::read_to_string(LOADED).doing(|| format!("reading {LOADED}"))?;
        match (&self, has(&loaded, self.name())) {
            (_, true) => {}
            (AppArmor::RuntimeDefault, false) => load(DEFAULT_TEXT)?,
            (AppArmor::Unset, false) => {
                if let Err(error) = load(DEFAULT_TEXT) {
                    tracing::warn!(%error, "a container that names no profile is not confined by one");
                    return Ok(None);
                }
            }
            _ => return Err(Fault::invalid(format!("apparmor profile not found {}", self.name()))),
        }
        Ok(Some(self.name().to_owned()))
    }
}

fn has(loaded: &str, name: &str) -> bool {
    loaded.lines().any(|line| line.rsplit_once(" (").is_some_and(|(profile, _)| profile == name))
}

/// Only this program knows the kernel's form of a profile.
fn load(text: &str) -> Outcome<()> {
    let what =
        || format!("loading apparmor profile {DEFAULT} with apparmor_parser (Debian: package apparmor)");
    let mut command = Command::new("apparmor_parser");
    let command = command.args(["--replace", "--skip-cache"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().doing(what)?;
    let written = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(text.as_bytes()));
    let output = child.wait_with_output().doing(what)?;
    if output.status.success() {
        return written.doing(what);
    }
    Err(Fault::failed(what(), String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_taken_where_the_kernel_can_enforce_them() {
        let check = |change: &dyn Fn(&mut v1::LinuxContainerSecurityContext), off: Option<AppArmor>, on| {
            let mut security = v1::LinuxContainerSecurityContext::default();
            change(&mut security);
            for (enabled, expect) in [(false, off), (true, on)] {
                match (apparmor(&security, enabled), expect) {
                    (Ok(found), Some(expect)) => assert_eq!(found, expect, "{enabled} {security:?}"),
                    (Err(fault), None) => {
                        assert!(matches!(fault, Fault::Invalid(_)), "{fault}");
                        assert!(fault.to_string().contains("apparmor"), "{fault}");
                    }
                    (found, expect) => panic!("{found:?}, not {expect:?}: {enabled} {security:?}"),
                }
            }
        };
        let of = |kind: ProfileType, name: &str| {
            Some(v1::SecurityProfile { profile_type: kind.into(), localhost_ref: name.into() })
        };
        use AppArmor::{Localhost, RuntimeDefault, Unconfined, Unset};
        let strict = || Some(Localhost("strict".into()));
        check(&|_| (), Some(Unconfined), Some(Unset));
        check(&|s| s.privileged = true, Some(Unconfined), Some(Unconfined));
        check(&|s| s.apparmor = of(ProfileType::Unconfined, ""), Some(Unconfined), Some(Unconfined));
        check(&|s| s.apparmor = of(ProfileType::RuntimeDefault, ""), None, Some(RuntimeDefault));
        check(&|s| s.apparmor = of(ProfileType::RuntimeDefault, "strict"), None, None);
        check(&|s| s.apparmor = of(ProfileType::Localhost, "strict"), None, strict());
        check(&|s| s.apparmor = of(ProfileType::Localhost, "localhost/strict"), None, strict());
        check(&|s| s.apparmor = of(ProfileType::Localhost, ""), None, None);
        check(&|s| s.apparmor = of(ProfileType::Localhost, "a\nb"), None, None);
        check(&|s| s.apparmor.get_or_insert_default().profile_type = 9, None, None);
        let privileged = |kind: ProfileType, name: &'static str| {
            move |s: &mut v1::LinuxContainerSecurityContext| {
                s.privileged = true;
                s.apparmor = of(kind, name);
            }
        };
        check(&privileged(ProfileType::RuntimeDefault, ""), None, Some(Unconfined));
        check(&privileged(ProfileType::Localhost, "strict"), None, strict());
        #[allow(deprecated)]
        let legacy = |text: &'static str| {
            move |s: &mut v1::LinuxContainerSecurityContext| s.apparmor_profile = text.into()
        };
        check(&legacy("unconfined"), Some(Unconfined), Some(Unconfined));
        check(&legacy("runtime/default"), None, Some(RuntimeDefault));
        check(&legacy("localhost/strict"), None, strict());
        check(&legacy("strict"), None, None);
    }

    #[test]
    fn a_loaded_profile_is_found_by_its_whole_name() {
        let loaded = "man_groff (enforce)\n/usr/bin/man (complain)\na (b) (enforce)\n";
        let check = |name: &str, expect: bool| assert_eq!(has(loaded, name), expect, "{name}");
        check("man_groff", true);
        check("/usr/bin/man", true);
        check("a (b)", true);
        check("man", false);
        check("a", false);
        check("", false);
    }

    /// The kernel is not asked: only whether the program understands it.
    #[test]
    fn the_default_profile_is_one() {
        let mut command = Command::new("apparmor_parser");
        let command = command.args(["--skip-kernel-load", "--skip-cache", "--names"]);
        let Ok(mut child) = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
            return harness::skip("the_default_profile_is_one", "no apparmor_parser");
        };
        child.stdin.take().unwrap().write_all(DEFAULT_TEXT.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), DEFAULT);
    }
}
