//! Processes and their streams over deaths: real keepers, real daemons, plain commands for containers.
//!
//! This executable is everybody: the tests, the keeper, a daemon, a program that counts.

#[path = "survival/bench.rs"]
mod bench;
#[path = "survival/deaths.rs"]
mod deaths;
#[path = "survival/execs.rs"]
mod execs;
#[path = "../../keeper/tests/support/plain.rs"]
mod plain;
#[path = "survival/roles.rs"]
mod roles;
#[path = "../../keeper/tests/support/runner.rs"]
mod runner;
#[path = "survival/streams.rs"]
mod streams;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = plain::dispatch().or_else(roles::dispatch) {
        return code;
    }
    if !harness::root_or_skip("survival") {
        return ExitCode::SUCCESS;
    }
    runner::run(&[
        ("output_is_logged_and_ends_are_known", streams::output_is_logged_and_ends_are_known),
        ("a_log_is_rotated_without_a_gap", streams::a_log_is_rotated_without_a_gap),
        ("attached_clients", streams::attached_clients),
        ("stdin_ends_once", streams::stdin_ends_once),
        ("a_terminal", streams::a_terminal),
        ("a_slow_client_is_cut_off", streams::a_slow_client_is_cut_off),
        ("odd_writers_are_not_stuck", streams::odd_writers_are_not_stuck),
        (
            "a_container_that_reads_its_own_output_harms_nobody",
            streams::a_container_that_reads_its_own_output_harms_nobody,
        ),
        ("throughput", streams::throughput),
        ("exec_sync_results", execs::exec_sync_results),
        ("exec_sync_limits", execs::exec_sync_limits),
        ("exec_with_pipes", execs::exec_with_pipes),
        ("exec_with_a_terminal", execs::exec_with_a_terminal),
        ("an_exec_ends_with_its_client", execs::an_exec_ends_with_its_client),
        ("launches_survive_dying_keepers", deaths::launches_survive_dying_keepers),
        ("ends_are_known_after_each_death", deaths::ends_are_known_after_each_death),
        ("listeners_survive_both", deaths::listeners_survive_both),
        ("no_line_is_lost_to_random_deaths", deaths::no_line_is_lost_to_random_deaths),
    ])
}
