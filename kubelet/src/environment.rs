//! A container's environment: services, envFrom, env, in upstream's order.

use crate::facts::NodeFacts;
use crate::pod::{Addresses, Container, Pod};
use crate::volumes::Volumes;

/// Why there is no environment: the container waits with `CreateContainerConfigError` and this message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct EnvironmentError(pub String);

/// Names and values in order; asks [`Volumes`] for ConfigMaps, Secrets and Services.
pub async fn of(
    _pod: &Pod,
    _container: &Container,
    _addresses: &Addresses,
    _node: &NodeFacts,
    _volumes: &Volumes,
) -> Result<Vec<(String, String)>, EnvironmentError> {
    Ok(Vec::new())
}
