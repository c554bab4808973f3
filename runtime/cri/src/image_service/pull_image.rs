//! PullImage: with the caller's credentials, which go to no log and to no other host.

use std::sync::Arc;

use cri_api::v1;
use image::{Credentials, Follow};

use crate::fault::{Fault, Outcome};
use crate::node::{Node, to_the_end};

pub async fn call(node: &Arc<Node>, request: v1::PullImageRequest) -> Outcome<v1::PullImageResponse> {
    let name = request.image.unwrap_or_default().image;
    if name.is_empty() {
        return Err(Fault::invalid("PullImage: image is empty"));
    }
    let credentials = request.auth.map(credentials).transpose()?.filter(|given| !given.is_empty());
    let inside = node.clone();
    // The caller's going away gives the pull up; what another pull wants it then fetches itself.
    let (follow, _stop) = Follow::until_dropped();
    let pull = async move {
        let pulled = inside.images.pull_followed(&name, credentials, follow).await;
        inside.gone.notify_one();
        Ok(pulled?)
    };
    let id = to_the_end(node, pull).await?;
    Ok(v1::PullImageResponse { image_ref: id.to_string() })
}

fn credentials(auth: v1::AuthConfig) -> Outcome<Credentials> {
    let mut given = if auth.username.is_empty() && !auth.auth.is_empty() {
        Credentials::from_auth(&auth.auth).map_err(|error| Fault::invalid(format!("PullImage: {error}")))?
    } else {
        Credentials::basic(auth.username, auth.password)
    };
    given.identity_token = auth.identity_token;
    given.registry_token = auth.registry_token;
    given.server_address = auth.server_address;
    Ok(given)
}
