//! `keelson store status` and `keelson store members`.

use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use serde_json::{Value, json};
use store::raft::{Change, Client, Member, Peer, Role, Status};

use super::DEGRADED;

/// A change of who the members are.
#[derive(Debug, Subcommand)]
pub enum MemberCommand {
    /// List them
    List,
    /// Take in a member that waits for it, without a vote; `keelson server --join` does so by itself
    Add {
        /// Its number, as it tells it.
        id: String,
        /// Address and port by which others reach it.
        address: String,
        /// Its name.
        #[arg(long, default_value = "")]
        name: String,
    },
    /// Give a member a vote, once it has caught up
    Promote {
        /// Its number or name.
        member: String,
    },
    /// Take a member out; a dead one is replaced by removing it and joining another
    Remove {
        /// Its number or name.
        member: String,
    },
    /// Have another member lead
    Transfer {
        /// Its number or name.
        member: String,
    },
}

pub async fn run(client: &Client, command: Option<MemberCommand>) -> anyhow::Result<ExitCode> {
    let status = client.status().await?;
    let change = match command {
        None | Some(MemberCommand::List) => {
            print!("{}", list(&status));
            return Ok(ExitCode::SUCCESS);
        }
        Some(MemberCommand::Add { id, address, name }) => {
            let id = u64::from_str_radix(&id, 16).map_err(|_| {
                anyhow::anyhow!("{id:?} is not a member's number: hexadecimal digits are wanted")
            })?;
            Change::AddLearner { id, peer: Peer { name, address } }
        }
        Some(MemberCommand::Promote { member }) => Change::Promote { id: find(&status, &member)? },
        Some(MemberCommand::Remove { member }) => Change::Remove { id: find(&status, &member)? },
        Some(MemberCommand::Transfer { member }) => Change::Transfer { to: find(&status, &member)? },
    };
    client.change(&change).await?;
    print!("{}", list(&client.status().await?));
    Ok(ExitCode::SUCCESS)
}

/// A member by its number or name.
fn find(status: &Status, wanted: &str) -> anyhow::Result<u64> {
    let named: Vec<&Member> = status
        .members
        .iter()
        .filter(|member| format!("{:x}", member.id) == wanted || member.peer.name == wanted)
        .collect();
    match named[..] {
        [member] => Ok(member.id),
        [] => bail!("there is no member {wanted:?}; `keelson store members` lists them"),
        _ => bail!("several members are called {wanted:?}: give the number"),
    }
}

fn list(status: &Status) -> String {
    let mut rows = vec![["ID", "NAME", "ADDRESS", "VOTE", "LEADER"].map(String::from).to_vec()];
    for member in &status.members {
        rows.push(vec![
            format!("{:x}", member.id),
            member.peer.name.clone(),
            member.peer.address.clone(),
            if member.voter { "yes" } else { "no" }.into(),
            if Some(member.id) == status.leader { "yes" } else { "" }.into(),
        ]);
    }
    table(&rows)
}

/// Asks every member and says how each does.
pub async fn status(client: &Client, as_json: bool) -> anyhow::Result<ExitCode> {
    let first = client.status().await?;
    let mut answers = Vec::new();
    for member in &first.members {
        let answer = if member.id == first.id {
            Ok(first.clone())
        } else {
            client.status_of(member.id, &member.peer).await.map_err(|error| error.to_string())
        };
        answers.push((member, answer));
    }
    let well = first.leader.is_some()
        && answers.iter().all(|(_, answer)| {
            answer.as_ref().is_ok_and(|status| !status.failed && !status.full && status.role != Role::Stopped)
        });
    if as_json {
        let members: Vec<Value> = answers.iter().map(|(member, answer)| as_value(member, answer)).collect();
        let cluster = format!("{:x}", first.cluster);
        println!("{}", json!({"cluster": cluster, "healthy": well, "members": members}));
    } else {
        print!("{}", shown(&answers));
        if first.leader.is_none() {
            println!("No member leads: reads may be old, writes are refused until a majority answers.");
        }
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::from(DEGRADED) })
}

fn as_value(member: &Member, answer: &Result<Status, String>) -> Value {
    let mut value = json!({
        "id": format!("{:x}", member.id), "name": member.peer.name, "address": member.peer.address, "voter": member.voter
    });
    match answer {
        Ok(status) => {
            value["role"] = json!(role(status.role));
            value["term"] = json!(status.term);
            value["applied"] = json!(status.applied);
            value["revision"] = json!(status.revision.0);
            value["lastSyncMicroseconds"] = json!(status.last_sync_micros);
            value["slowestSyncMicroseconds"] = json!(status.slowest_sync_micros);
            value["logFailed"] = json!(status.failed);
            value["diskFull"] = json!(status.full);
        }
        Err(error) => value["error"] = json!(error),
    }
    value
}

fn shown(answers: &[(&Member, Result<Status, String>)]) -> String {
    let head = ["ID", "NAME", "ADDRESS", "ROLE", "TERM", "APPLIED", "REVISION", "SYNC", "SLOWEST", "STATE"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for (member, answer) in answers {
        let mut row = vec![format!("{:x}", member.id), member.peer.name.clone(), member.peer.address.clone()];
        match answer {
            Ok(status) => row.extend([
                role(status.role).to_owned(),
                status.term.to_string(),
                status.applied.to_string(),
                status.revision.to_string(),
                millis(status.last_sync_micros),
                millis(status.slowest_sync_micros),
                state(status).to_owned(),
            ]),
            Err(error) => {
                row.extend(std::iter::repeat_n(String::from("-"), 6));
                row.push(format!("does not answer: {error}"));
            }
        }
        rows.push(row);
    }
    table(&rows)
}

/// A sync of the log that took longer is worth a word.
const SLOW_SYNC_MICROS: u64 = 500_000;

fn role(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Stopped => "stopped",
    }
}

fn state(status: &Status) -> &'static str {
    if status.failed {
        "its log failed: restart it"
    } else if status.full {
        "its disk is full"
    } else if status.last_sync_micros > SLOW_SYNC_MICROS {
        "its disk is slow"
    } else {
        "ok"
    }
}

fn millis(micros: u64) -> String {
    format!("{}.{:01}ms", micros / 1000, micros % 1000 / 100)
}

fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("   ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_number_or_name() {
        let member = |id, name: &str| Member {
            id,
            peer: Peer { name: name.into(), address: format!("192.0.2.{id}:2380") },
            voter: id != 0x1c,
            matched: None,
        };
        let status = Status {
            id: 1,
            cluster: 9,
            role: Role::Leader,
            term: 3,
            leader: Some(0x1b),
            last: 5,
            applied: 5,
            revision: store::Revision(4),
            members: vec![member(0x1b, "a"), member(0x1c, "b"), member(0x1d, "b")],
            syncs: 1,
            last_sync_micros: 1234,
            slowest_sync_micros: 98_765,
            failed: false,
            full: false,
        };
        assert_eq!(find(&status, "1b").unwrap(), 0x1b);
        assert_eq!(find(&status, "a").unwrap(), 0x1b);
        assert!(find(&status, "b").unwrap_err().to_string().contains("several"));
        assert!(find(&status, "c").unwrap_err().to_string().contains("no member"));
        let expected = "ID   NAME   ADDRESS           VOTE   LEADER\n\
                        1b   a      192.0.2.27:2380   yes    yes\n\
                        1c   b      192.0.2.28:2380   no\n\
                        1d   b      192.0.2.29:2380   yes\n";
        assert_eq!(list(&status), expected);
        let answers = [(&status.members[0], Ok(status.clone())), (&status.members[1], Err("refused".into()))];
        let lines: Vec<String> = shown(&answers).lines().map(str::to_owned).collect();
        assert!(
            lines[1].ends_with("leader   3      5         4          1.2ms   98.7ms    ok"),
            "{}",
            lines[1]
        );
        assert!(lines[2].ends_with("does not answer: refused"), "{}", lines[2]);
    }
}
