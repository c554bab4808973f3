//! One call of the plugin: variables and stdin in, one object on stdout and an exit code out.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use cni_api::{CniError, Code, Command, Environment, Network, Version, supported_versions};
use serde_json::Value;

use crate::config::Config;
use crate::verb;

/// Larger configurations are nobody's.
const INPUT_BYTES_MAX: u64 = 1 << 20;

/// Serves one call. Without CNI_COMMAND it says what it is.
#[must_use]
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    if std::env::var_os("CNI_COMMAND").is_none() {
        let name = arguments.first().map_or("keelson-cni".into(), |name| name.to_string_lossy().into_owned());
        let versions: Vec<&str> = Version::ALL.iter().map(|version| version.as_str()).collect();
        eprintln!(
            "{name} is a CNI plugin: a container runtime calls it with CNI_COMMAND and a configuration on stdin."
        );
        eprintln!("Versions of the specification: {}", versions.join(", "));
        return ExitCode::SUCCESS;
    }
    let mut input = Vec::new();
    let read = std::io::stdin().lock().take(INPUT_BYTES_MAX).read_to_end(&mut input);
    let outcome = match read {
        Ok(_) => answer(|name| std::env::var(name).ok(), &input),
        Err(error) => Err(CniError::new(Code::Io, format!("reading the configuration from stdin: {error}"))),
    };
    let (object, code) = match outcome {
        Ok(object) => (object, ExitCode::SUCCESS),
        Err(error) => (Some(error.to_json(&Network::version_of(&input))), ExitCode::FAILURE),
    };
    match object.map(|object| writeln!(std::io::stdout(), "{object}")) {
        // The runtime will not learn what was done; it must DEL.
        Some(Err(_)) => ExitCode::FAILURE,
        _ => code,
    }
}

/// What goes to stdout, if anything does.
fn answer(variable: impl Fn(&str) -> Option<String>, input: &[u8]) -> Result<Option<Value>, CniError> {
    let environment = Environment::read(variable)?;
    if environment.command == Command::Version {
        return Ok(Some(supported_versions(&Network::version_of(input))));
    }
    let config = Config::read(Network::parse(input)?)?;
    refuse_too_old(environment.command, config.version)?;
    match environment.command {
        Command::Add => {
            let success = verb::add(&config, &environment)?;
            return Ok(Some(success.to_json(config.version)));
        }
        Command::Del => verb::del(&config, &environment)?,
        Command::Check => verb::check(&config, &environment)?,
        Command::Gc => verb::gc(&config)?,
        Command::Status => verb::status(&config)?,
        Command::Version => {}
    }
    Ok(None)
}

fn refuse_too_old(command: Command, version: Version) -> Result<(), CniError> {
    let known = match command {
        Command::Check => version.has_check(),
        Command::Gc | Command::Status => version.has_gc(),
        Command::Add | Command::Del | Command::Version => true,
    };
    if known {
        return Ok(());
    }
    let msg = format!("cniVersion {version} does not have {}", command.as_str());
    Err(CniError::new(Code::IncompatibleVersion, msg))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(variables: &[(&str, &str)], input: &str) -> Result<Option<Value>, CniError> {
        let get =
            |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        answer(get, input.as_bytes())
    }

    #[test]
    fn versions_are_told_in_the_callers_words() {
        let told = call(&[("CNI_COMMAND", "VERSION")], r#"{"cniVersion":"0.2.0"}"#).unwrap().unwrap();
        assert_eq!(told["cniVersion"], "0.2.0");
        assert_eq!(told["supportedVersions"].as_array().unwrap().len(), 5);
    }

    #[test]
    fn refusals_come_before_deeds() {
        let pod = [
            ("CNI_COMMAND", "CHECK"),
            ("CNI_CONTAINERID", "c"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_NETNS", "/nowhere"),
        ];
        let old = r#"{"cniVersion":"0.3.1","name":"n","type":"t","mode":"plain","podCIDRs":["10.0.0.0/24"]}"#;
        assert_eq!(call(&pod, old).unwrap_err().code, 1);
        assert_eq!(call(&[("CNI_COMMAND", "ADD")], old).unwrap_err().code, 4);
        assert_eq!(call(&[("CNI_COMMAND", "FROBNICATE")], old).unwrap_err().code, 4);
        assert_eq!(call(&[("CNI_COMMAND", "GC")], old).unwrap_err().code, 1);
        assert_eq!(call(&[("CNI_COMMAND", "STATUS")], "{").unwrap_err().code, 6);
        let add = [
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "c"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_NETNS", "/nowhere"),
        ];
        assert_eq!(call(&add, old).unwrap_err().code, 3);
        let auto = r#"{"cniVersion":"1.1.0","name":"n","type":"t","agentSocket":"/nowhere/net.sock","podCIDRs":["10.0.0.0/24"]}"#;
        let error = call(&[("CNI_COMMAND", "STATUS")], auto).unwrap_err();
        assert_eq!(error.code, 50, "{error}");
        assert!(error.details.contains("/nowhere/net.sock"), "{error}");
    }
}
