//! healthCheckNodePort: tells a load balancer whether this node has endpoints of a Service.
//!
//! One listener per Service that asks for it. A port that cannot be bound is tried again, later and later.
//!
//! Reference: upstream's pkg/proxy/healthcheck/service_health.go, whose JSON and headers these are.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use client::{Backoff, Key};
use serve::{HealthListener, ListenError, Report};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::health::Health;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The listeners of all Services; they end with it.
pub(crate) struct Responders {
    health: Arc<Health>,
    random: fn(u64) -> u64,
    running: HashMap<Key, Running>,
    tasks: JoinSet<()>,
}

struct Running {
    port: u16,
    endpoints: Arc<AtomicUsize>,
    stopping: CancellationToken,
}

impl Responders {
    pub(crate) fn new(health: Arc<Health>, random: fn(u64) -> u64) -> Responders {
        Responders { health, random, running: HashMap::new(), tasks: JoinSet::new() }
    }

    /// A Service wants to be asked about on this port, or on none; it has so many endpoints here.
    pub(crate) fn set(&mut self, service: &Key, port: Option<u16>, endpoints: usize) {
        // What has ended is not kept.
        while self.tasks.try_join_next().is_some() {}
        if let Some(running) = self.running.get(service) {
            if port == Some(running.port) {
                running.endpoints.store(endpoints, Ordering::Relaxed);
                return;
            }
            running.stopping.cancel();
            self.running.remove(service);
        }
        let Some(port) = port else { return };
        let running = Running {
            port,
            endpoints: Arc::new(AtomicUsize::new(endpoints)),
            stopping: CancellationToken::new(),
        };
        let report = {
            let (service, endpoints, health) =
                (service.clone(), running.endpoints.clone(), self.health.clone());
            move |_: &str| report(&service, endpoints.load(Ordering::Relaxed), health.is_healthy())
        };
        self.tasks.spawn(serve(service.clone(), port, report, self.random, running.stopping.clone()));
        self.running.insert(service.clone(), running);
    }

    /// Ends all listeners and waits for that.
    pub(crate) async fn stop(mut self) {
        for running in self.running.values() {
            running.stopping.cancel();
        }
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn serve(
    service: Key,
    port: u16,
    report: impl Fn(&str) -> Report + Send + Sync + 'static,
    random: fn(u64) -> u64,
    stopping: CancellationToken,
) {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    let listener = loop {
        match bind(port).await {
            Ok(listener) => break listener,
            Err(error) => {
                let wait = backoff.next(random);
                tracing::warn!(service = %service, port, %error, ?wait, "load balancers cannot ask about it");
                tokio::select! { () = stopping.cancelled() => return, () = tokio::time::sleep(wait) => {} }
            }
        }
    };
    listener.serve(report, stopping).await;
}

/// On every address; of both families where the kernel has both.
async fn bind(port: u16) -> Result<HealthListener, ListenError> {
    match HealthListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
        Ok(listener) => Ok(listener),
        Err(_) => HealthListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await,
    }
}

fn report(service: &Key, endpoints: usize, healthy: bool) -> Report {
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": {:?},\n\t\t\"name\": {:?}\n\t}},\n\t\"localEndpoints\": {endpoints},\n\t\"serviceProxyHealthy\": {healthy}\n}}",
        service.namespace, service.name
    );
    let headers = vec![
        ("x-content-type-options", "nosniff".to_owned()),
        ("x-load-balancing-endpoint-weight", endpoints.to_string()),
    ];
    let code = if endpoints > 0 && healthy { 200 } else { 503 };
    Report { headers, ..Report::json(code, body) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    async fn ask(port: u16) -> Option<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    /// Waits for a listener to come or go.
    async fn until(port: u16, expect: Option<&str>) {
        for _ in 0..6_000 {
            let answer = ask(port).await;
            match (&answer, expect) {
                (None, None) => return,
                (Some(answer), Some(expect)) if answer.contains(expect) => return,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        panic!("port {port}: {:?}, not {expect:?}", ask(port).await);
    }

    #[tokio::test]
    async fn follows_its_service() {
        let health = Arc::new(Health::new(jiff::Timestamp::now));
        let mut responders = Responders::new(health, |_| 0);
        let (key, first, second) = (Key::new("n", "s"), harness::api::free_port(), harness::api::free_port());
        responders.set(&key, Some(first), 2);
        until(first, Some("\"localEndpoints\": 2")).await;
        until(first, Some("x-load-balancing-endpoint-weight: 2")).await;
        responders.set(&key, Some(first), 0);
        until(first, Some("503 Service Unavailable")).await;
        responders.set(&key, Some(second), 1);
        until(second, Some("200 OK")).await;
        until(first, None).await;
        responders.set(&key, None, 0);
        until(second, None).await;
        responders.stop().await;
    }
}
