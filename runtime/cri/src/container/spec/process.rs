//! The first process: arguments, directory, user, capabilities, limits.

use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process};

use super::{Context, Inputs, apparmor, environment, security};
use crate::fault::{Doing as _, Fault, Outcome};

/// What systemd gives a service: many programs size tables by the soft limit.
const OPEN_FILES_SOFT: u64 = 1024;
const OPEN_FILES_HARD: u64 = 524_288;

pub fn build(inputs: &Inputs<'_>, context: &Context<'_>) -> Outcome<Process> {
    let config = inputs.config;
    let mut process = Process::default();
    process
        .set_terminal(Some(config.tty))
        .set_user(inputs.user.to_oci())
        .set_args(Some(arguments(inputs)?))
        .set_env(Some(environment::merge(
            &inputs.image.env,
            &config.envs,
            inputs.sandbox.hostname,
            config.tty,
            &inputs.user.home,
        )))
        .set_cwd(directory(inputs).into())
        .set_capabilities(Some(security::capabilities(context)?))
        .set_no_new_privileges(Some(context.security.no_new_privs))
        .set_rlimits(Some(vec![open_files(context.host.open_files)?]))
        .set_oom_score_adj(Some(oom_score(inputs, context)))
        .set_apparmor_profile(apparmor::apparmor(&context.security, context.host.apparmor)?.into_profile()?)
        .set_selinux_label(None);
    Ok(process)
}

/// The request's command replaces the image's entrypoint and, with it, the image's default arguments.
fn arguments(inputs: &Inputs<'_>) -> Outcome<Vec<String>> {
    let (config, image) = (inputs.config, inputs.image);
    let (command, rest) = match (config.command.is_empty(), config.args.is_empty()) {
        (true, true) => (&image.entrypoint, &image.cmd),
        (true, false) => (&image.entrypoint, &config.args),
        (false, _) => (&config.command, &config.args),
    };
    let arguments: Vec<String> = command.iter().chain(rest).cloned().collect();
    if arguments.is_empty() {
        return Err(Fault::invalid("no command specified: neither the request nor the image has one"));
    }
    Ok(arguments)
}

fn directory(inputs: &Inputs<'_>) -> String {
    let asked = [&inputs.config.working_dir, &inputs.image.working_dir];
    let chosen = asked.into_iter().find(|dir| !dir.is_empty()).map_or("/", String::as_str);
    if chosen.starts_with('/') { chosen.to_owned() } else { format!("/{chosen}") }
}

/// What the request wants, or the lowest that the host allows: a container that runs is worth more than its rank
/// among those the kernel ends first.
fn oom_score(inputs: &Inputs<'_>, context: &Context<'_>) -> i32 {
    let wanted = context.resources.oom_score_adj;
    let given = allowed_oom_score(wanted, context.host.oom_score_floor);
    if i64::from(given) != wanted {
        let metadata = inputs.config.metadata.as_ref();
        tracing::warn!(
            sandbox = inputs.sandbox.id,
            container = metadata.map(|metadata| metadata.name.as_str()),
            wanted,
            given,
            "oom_score_adj is clamped: without CAP_SYS_RESOURCE it cannot be lower than this daemon's own"
        );
    }
    given
}

/// Within the kernel's range, and not below the floor.
fn allowed_oom_score(wanted: i64, floor: i32) -> i32 {
    (wanted.clamp(-1000, 1000) as i32).max(floor)
}

fn open_files(host: u64) -> Outcome<PosixRlimit> {
    let hard = OPEN_FILES_HARD.min(host);
    PosixRlimitBuilder::default()
        .typ(PosixRlimitType::RlimitNofile)
        .hard(hard)
        .soft(OPEN_FILES_SOFT.min(hard))
        .build()
        .doing(|| "limiting open files".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_oom_score_than_the_host_allows_is_clamped() {
        let check = |wanted: i64, floor: i32, expect: i32| {
            assert_eq!(allowed_oom_score(wanted, floor), expect, "{wanted} above {floor}");
        };
        check(-997, 100, 100);
        check(0, 100, 100);
        check(99, 100, 100);
        check(100, 100, 100);
        check(999, 100, 999);
        check(-997, -1000, -997);
        check(i64::MIN, -1000, -1000);
        check(i64::MAX, 100, 1000);
    }
}
