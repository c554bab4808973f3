//! A leader whose disk is full lets another member lead: the cluster goes on writing, and this member follows until it
//! has space again.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use super::Inner;
use super::members::{Change, Member};
use super::message::{Request, Response};
use super::transport::Lane;

/// Between two attempts while the disk stays full.
const AGAIN: Duration = Duration::from_secs(1);
/// How long another member may take to say how it does, and to lead.
const LIMIT: Duration = Duration::from_secs(2);

/// Goes on until the member stops.
pub(super) async fn watch(inner: Arc<Inner>) {
    let work = async {
        loop {
            inner.shared.gauge.filled.notified().await;
            while inner.shared.gauge.why_full().is_some() {
                hand_over(&inner).await;
                tokio::time::sleep(AGAIN).await;
            }
        }
    };
    inner.stopped.run_until_cancelled(work).await;
}

/// Has the member lead that is farthest and has space; nothing where this one does not lead or is alone.
async fn hand_over(inner: &Inner) {
    let status = inner.status();
    if status.leader != Some(inner.id) {
        return;
    }
    for member in candidates(status.members, inner.id) {
        if !has_space(inner, &member).await {
            continue;
        }
        let change = inner.change(Change::Transfer { to: member.id });
        if let Ok(Ok(_)) = tokio::time::timeout(LIMIT, change).await {
            tracing::info!(
                member = member.peer.name,
                "another member leads the store: this one's disk is full"
            );
            return;
        }
    }
}

/// Others with a vote, the farthest first.
fn candidates(members: Vec<Member>, own: u64) -> Vec<Member> {
    let mut others: Vec<Member> =
        members.into_iter().filter(|member| member.voter && member.id != own).collect();
    others.sort_by_key(|member| Reverse(member.matched));
    others
}

async fn has_space(inner: &Inner, member: &Member) -> bool {
    let asked = inner.transport.call(Lane::Forward, member.id, &member.peer, Request::Status, LIMIT).await;
    matches!(asked, Ok(Response::Status(status)) if !status.full && !status.failed)
}

#[cfg(test)]
mod tests {
    use super::super::declared::Peer;
    use super::*;

    #[test]
    fn the_farthest_with_a_vote_comes_first() {
        let member = |id, voter, matched| Member {
            id,
            peer: Peer { name: String::new(), address: String::new() },
            voter,
            matched,
        };
        let members = vec![
            member(1, true, Some(9)),
            member(2, true, Some(7)),
            member(3, true, None),
            member(4, false, Some(9)),
            member(5, true, Some(8)),
        ];
        let order: Vec<u64> = candidates(members, 1).iter().map(|member| member.id).collect();
        assert_eq!(order, [5, 2, 3]);
    }
}
