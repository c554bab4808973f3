//! Commands that need no container: the first word says what happens.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;
use keelson_streaming::{AttachRequest, Backend, ByteStream, ExecRequest, Stdio, StreamError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};

/// The backend, and what it has seen.
#[derive(Default)]
pub struct Fake {
    pub written: AtomicU64,
    pub seen: Mutex<Vec<String>>,
}

impl Fake {
    fn note(&self, what: impl Into<String>) {
        self.seen.lock().expect("no panic").push(what.into());
    }

    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no panic").clone()
    }

    async fn run(&self, request: ExecRequest, mut stdio: Stdio) -> Result<i32, StreamError> {
        let words: Vec<&str> = request.command.iter().map(String::as_str).collect();
        let stdout = stdio.stdout.take();
        match words[..] {
            ["cat"] => {
                let (mut stdin, mut stdout) = (stdio.stdin.take().expect("stdin"), stdout.expect("stdout"));
                copy(&mut stdin, &mut stdout).await?;
                Ok(0)
            }
            ["exit", code] => Ok(code.parse().expect("a number")),
            ["both"] => {
                stdout.expect("stdout").write_all(b"to stdout").await?;
                stdio.stderr.take().expect("stderr").write_all(b"to stderr").await?;
                Ok(0)
            }
            ["size"] => {
                let size = stdio.resize.recv().await.expect("a size");
                let line = format!("{}x{}", size.width, size.height);
                stdout.expect("stdout").write_all(line.as_bytes()).await?;
                Ok(0)
            }
            ["deaf"] => {
                drop(stdio.stdin.take());
                stdout.expect("stdout").write_all(b"not listening").await?;
                Ok(7)
            }
            ["flood", total] => {
                let (mut stdout, mut left) =
                    (stdout.expect("stdout"), total.parse::<u64>().expect("a number"));
                let block = vec![b'x'; 64 * 1024];
                while left > 0 {
                    let n = stdout.write(&block[..block.len().min(left as usize)]).await? as u64;
                    left -= n;
                    self.written.fetch_add(n, Ordering::Relaxed);
                }
                Ok(0)
            }
            ["hang"] => {
                stdio.hangup.cancelled().await;
                let stdin = stdio.stdin.take();
                if let Some(mut stdin) = stdin {
                    let end = stdin.read(&mut [0; 16]).await.map_err(|error| error.kind());
                    self.note(format!("hung up, stdin {end:?}"));
                }
                Ok(0)
            }
            _ => Err(StreamError::Failed(format!("no such command: {}", words.join(" ")))),
        }
    }
}

impl Backend for Fake {
    fn exec(&self, request: ExecRequest, stdio: Stdio) -> BoxFuture<'_, Result<i32, StreamError>> {
        Box::pin(self.run(request, stdio))
    }

    fn attach(&self, request: AttachRequest, mut stdio: Stdio) -> BoxFuture<'_, Result<(), StreamError>> {
        Box::pin(async move {
            if request.container == "gone" {
                return Err(StreamError::NotFound("container gone".into()));
            }
            let (Some(mut stdin), Some(mut stdout)) = (stdio.stdin.take(), stdio.stdout.take()) else {
                return Ok(());
            };
            copy(&mut stdin, &mut stdout).await?;
            Ok(())
        })
    }

    fn port_forward(
        &self,
        sandbox: String,
        port: u16,
        mut stream: Box<dyn ByteStream>,
    ) -> BoxFuture<'_, Result<(), StreamError>> {
        Box::pin(async move {
            self.note(format!("{sandbox}:{port}"));
            match port {
                7 => {
                    let (mut reader, mut writer) = tokio::io::split(&mut stream);
                    copy(&mut reader, &mut writer).await?;
                    Ok(())
                }
                13 => {
                    stream.write_all(b"daytime").await?;
                    Ok(())
                }
                _ => Err(StreamError::Failed(format!("dial tcp4 127.0.0.1:{port}: connection refused"))),
            }
        })
    }
}
