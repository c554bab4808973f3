//! One certificate: asked for, waited for.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::{Client, ClientError, Event, Resource, Watch};
use pki::{Certificate, SigningRequest};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::JoinError;

const REQUESTS: Resource = Resource::fixed(
    "certificates.k8s.io",
    "v1",
    "certificatesigningrequests",
    "CertificateSigningRequest",
    false,
);
/// How long approval and signing may take: both are controllers' work.
const LIMIT: Duration = Duration::from_secs(30);

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Ask<'a> {
    pub signer: &'a str,
    pub common_name: &'a str,
    pub organization: &'a str,
    /// Names and addresses of a server.
    pub names: &'a [String],
    /// `client auth` or `server auth`.
    pub purpose: &'a str,
    /// How long it shall be good; the signer's own time unless given.
    pub seconds: Option<i64>,
}

/// Makes a key, asks for a certificate, waits for it.
pub(crate) async fn ask(client: &Client, ask: &Ask<'_>) -> Result<Certificate, JoinError> {
    let request = SigningRequest::create(ask.common_name, Some(ask.organization), ask.names)?;
    let mut object = json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"generateName": "csr-"},
        "spec": {"request": STANDARD.encode(request.pem()), "signerName": ask.signer,
            "usages": ["digital signature", ask.purpose]},
    });
    if let Some(seconds) = ask.seconds {
        object["spec"]["expirationSeconds"] = seconds.into();
    }
    let made = client.create(&REQUESTS, "", &object).await?;
    let name = made["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    tracing::info!(
        request = name,
        signer = ask.signer,
        subject = ask.common_name,
        "a certificate is asked for"
    );
    let certificate = answer(client, &name).await?;
    Ok(request.answered(&name, &certificate)?)
}

/// The certificate, once it is there.
async fn answer(client: &Client, name: &str) -> Result<String, JoinError> {
    let deadline = Instant::now() + LIMIT;
    let late = || JoinError::NotInTime { name: name.to_owned(), seconds: LIMIT.as_secs() };
    let fields = format!("metadata.name={name}");
    loop {
        // A watch from nowhere begins with what is there.
        let opened = timeout_at(deadline, client.watch(&REQUESTS, "", &[("fieldSelector", &fields)])).await;
        let mut watch = opened.map_err(|_| late())??;
        let answer = timeout_at(deadline, decided(&mut watch)).await.map_err(|_| late())??;
        // None: the server ended the watch. Another one.
        if let Some(certificate) = answer {
            return Ok(certificate);
        }
    }
}

async fn decided(watch: &mut Watch) -> Result<Option<String>, JoinError> {
    loop {
        match watch.next().await {
            Ok(Some(Event::Applied(request))) => {
                if let Some(answer) = read(request.value()) {
                    return answer.map(Some);
                }
            }
            Ok(Some(Event::Deleted(_))) => {
                return Err(JoinError::NotSigned("the request was removed".into()));
            }
            Ok(Some(Event::Bookmark { .. })) => {}
            Ok(None) | Err(ClientError::Unreachable { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The certificate, or why there is none; nothing while it is open.
fn read(request: &Value) -> Option<Result<String, JoinError>> {
    let status = &request["status"];
    for condition in status["conditions"].as_array().into_iter().flatten() {
        let message = condition["message"].as_str().unwrap_or_default().to_owned();
        match condition["type"].as_str() {
            Some("Denied") => return Some(Err(JoinError::Denied(message))),
            Some("Failed") => return Some(Err(JoinError::NotSigned(message))),
            _ => {}
        }
    }
    let encoded = status["certificate"].as_str().filter(|text| !text.is_empty())?;
    let pem = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    Some(pem.ok_or_else(|| JoinError::NotSigned("the certificate cannot be read".into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let check = |status: Value, expect: Option<Result<&str, &str>>| {
            let got =
                read(&json!({"status": status})).map(|answer| answer.map_err(|error| error.to_string()));
            match (got, expect) {
                (None, None) => {}
                (Some(Ok(got)), Some(Ok(wanted))) => assert_eq!(got, wanted),
                (Some(Err(got)), Some(Err(part))) => assert!(got.contains(part), "{got}"),
                (got, _) => panic!("{status}: {got:?}"),
            }
        };
        let condition = |of: &str| json!([{"type": of, "status": "True", "message": "because"}]);
        check(json!({}), None);
        check(json!({"conditions": condition("Approved")}), None);
        check(
            json!({"conditions": condition("Approved"), "certificate": STANDARD.encode("PEM")}),
            Some(Ok("PEM")),
        );
        check(json!({"conditions": condition("Denied")}), Some(Err("does not take this machine: because")));
        check(json!({"conditions": condition("Failed")}), Some(Err("could not sign: because")));
    }
}
