//! The first process: arguments, directory, user, capabilities, limits.

use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process};

use super::{Context, Inputs, environment, security};
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
        .set_oom_score_adj(Some(oom_score(context)))
        .set_apparmor_profile(None)
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

fn oom_score(context: &Context<'_>) -> i32 {
    let asked = context.resources.oom_score_adj.clamp(-1000, 1000) as i32;
    asked.max(context.host.oom_score_floor)
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
