//! One call of one plugin: variables, stdin, and what it printed, within bounds.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cni_api::{CniError, Environment};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

/// A plugin that takes longer is ended; IPAM over a network may take its time.
const TIMEOUT: Duration = Duration::from_secs(120);
/// More output is no CNI document.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    #[error("{} cannot be executed: install the plugin, or see --cni-bin-dir", .path.display())]
    Execute { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Refused(CniError),
    #[error("ended with {status} and said: {said}")]
    Failed { status: std::process::ExitStatus, said: String },
    #[error("talking to it")]
    Io(#[from] std::io::Error),
    #[error("still running after {} seconds", TIMEOUT.as_secs())]
    TimedOut,
}

/// Executes the plugin; the answer is its stdout.
pub async fn run(path: &Path, environment: &Environment, input: Vec<u8>) -> Result<Vec<u8>, PluginError> {
    let mut child = Command::new(path)
        .env_clear()
        .envs(environment.variables())
        // Plugins such as bridge and portmap call other programs.
        .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| PluginError::Execute { path: path.to_owned(), source })?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let talk = async {
        let write = async {
            if let Some(mut stdin) = stdin {
                // A plugin may exit without reading; what it printed says more than the broken pipe.
                let _ = stdin.write_all(&input).await;
            }
        };
        let ((), out, err) = tokio::join!(write, collect(stdout), collect(stderr));
        Ok::<_, std::io::Error>((out?, err?, child.wait().await?))
    };
    let (out, err, status) =
        tokio::time::timeout(TIMEOUT, talk).await.map_err(|_| PluginError::TimedOut)??;
    if status.success() {
        return Ok(out);
    }
    match CniError::parse(&out) {
        Ok(error) => Err(PluginError::Refused(error)),
        Err(_) => {
            let said = if err.is_empty() { out } else { err };
            Err(PluginError::Failed { status, said: String::from_utf8_lossy(&said).trim().to_owned() })
        }
    }
}

/// Everything up to the bound; the rest is read and dropped, so that the writer does not hang.
async fn collect(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut collected = Vec::new();
    if let Some(mut stream) = stream {
        (&mut stream).take(OUTPUT_BYTES_MAX).read_to_end(&mut collected).await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    }
    Ok(collected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_api::{Attachment, Command as Verb};
    use std::io::Write as _;

    /// By a process of its own: a descriptor of ours would be copied into children that other tests fork, and what is open
    /// for writing is not executed.
    fn write_executable(path: &Path, content: &str) {
        let mut writer = std::process::Command::new("sh");
        writer.args(["-c", r#"cat > "$0" && chmod 755 "$0""#]).arg(path).stdin(Stdio::piped());
        let mut writer = writer.spawn().unwrap();
        writer.stdin.take().unwrap().write_all(content.as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
    }

    async fn call(script: &str) -> Result<Vec<u8>, PluginError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plugin");
        write_executable(&path, &format!("#!/bin/sh\n{script}\n"));
        let environment = Environment {
            command: Verb::Add,
            attachment: Attachment { container: "c".into(), ifname: "eth0".into() },
            netns: "/run/ns".into(),
            args: vec![("K8S_POD_NAME".into(), "web".into())],
            path: "/opt/cni/bin".into(),
        };
        run(&path, &environment, b"{}".to_vec()).await
    }

    #[tokio::test]
    async fn output_and_failures_come_back() {
        let out = call(r#"cat; echo " $CNI_COMMAND $CNI_IFNAME $CNI_ARGS""#).await.unwrap();
        assert_eq!(String::from_utf8(out).unwrap().trim(), "{} ADD eth0 K8S_POD_NAME=web");
        let refused = call(r#"echo '{"code":7,"msg":"no subnet"}'; exit 1"#).await.unwrap_err();
        assert!(matches!(&refused, PluginError::Refused(error) if error.code == 7), "{refused}");
        let failed = call("echo oops >&2; exit 3").await.unwrap_err();
        assert!(failed.to_string().contains("oops"), "{failed}");
        let missing = run(Path::new("/nonexistent/plugin"), &environment_of_nothing(), Vec::new()).await;
        assert!(matches!(missing, Err(PluginError::Execute { .. })));
    }

    fn environment_of_nothing() -> Environment {
        Environment {
            command: Verb::Del,
            attachment: Attachment { container: "c".into(), ifname: "eth0".into() },
            netns: String::new(),
            args: Vec::new(),
            path: String::new(),
        }
    }
}
