//! What can go wrong, one thing at a time, or several.

use std::time::Duration;

use keelson_store::raft::Change;

use super::cluster::Cluster;
use super::network::Weather;
use super::random::Random;

/// One fault; a seed chooses.
#[derive(Debug)]
pub enum Fault {
    /// A member and the others do not hear each other.
    Isolated(usize),
    /// It hears nobody, and everybody hears it.
    Deaf(usize),
    /// Everybody hears nothing of it, and it hears them.
    Mute(usize),
    /// Two members do not hear each other; both hear the third.
    Split(usize, usize),
    /// Messages get lost, come twice, late and out of order, everywhere.
    Storm { loss: u64, doubled: u64, delay_millis: u64 },
    /// A member ends, perhaps in the middle of a write, and comes back.
    Crash(usize),
    /// The leader does, whoever it is.
    CrashLeader,
    /// All end at once and come back.
    CrashAll,
    /// The leader hands over.
    Transfer(usize),
    /// A member ends while the network is bad.
    CrashInStorm(usize),
    /// A member stands still as others see it; what was said to it and by it arrives later, all at once.
    Paused(usize),
    /// A member's disk is gone for good; another member takes its place.
    Replaced(usize),
}

impl Fault {
    pub fn choose(random: &mut Random, members: usize) -> Fault {
        let at = random.below(members as u64) as usize;
        let other = (at + 1 + random.below(members as u64 - 1) as usize) % members;
        match random.below(12) {
            0 => Fault::Isolated(at),
            1 => Fault::Deaf(at),
            2 => Fault::Mute(at),
            3 => Fault::Split(at, other),
            4 => Fault::Storm {
                loss: random.below(20),
                doubled: random.below(20),
                delay_millis: random.below(80),
            },
            5 => Fault::Crash(at),
            6 => Fault::CrashLeader,
            7 => Fault::CrashAll,
            8 => Fault::Transfer(at),
            9 => Fault::CrashInStorm(at),
            10 => Fault::Paused(at),
            _ => Fault::Replaced(at),
        }
    }

    /// Makes it happen for a while. The network is healed by who calls.
    pub async fn inflict(&self, cluster: &Cluster, random: &mut Random) {
        let members = 3;
        let cut = Weather { cut: true, ..Weather::default() };
        let held = Weather { held: true, ..Weather::default() };
        let while_it_lasts = Duration::from_millis(300 + random.below(1500));
        let set = |from, to, weather| cluster.network.set(from, to, weather);
        let others = |at| (0..members).filter(move |other| *other != at);
        match *self {
            Fault::Isolated(at) => others(at).for_each(|other| {
                set(at, other, cut);
                set(other, at, cut);
            }),
            Fault::Paused(at) => others(at).for_each(|other| {
                set(at, other, held);
                set(other, at, held);
            }),
            Fault::Replaced(at) => return cluster.replace(at, random).await,
            Fault::Deaf(at) => others(at).for_each(|other| set(other, at, cut)),
            Fault::Mute(at) => others(at).for_each(|other| set(at, other, cut)),
            Fault::Split(at, other) => {
                set(at, other, cut);
                set(other, at, cut);
            }
            Fault::Storm { loss, doubled, delay_millis } => {
                storm(cluster, members, Weather { loss, doubled, delay_millis, ..Weather::default() });
            }
            Fault::Crash(at) => return restart(cluster, &[at], random, while_it_lasts).await,
            Fault::CrashLeader => {
                let leader = cluster.leader().unwrap_or(0);
                return restart(cluster, &[leader], random, while_it_lasts).await;
            }
            Fault::CrashAll => return restart(cluster, &[0, 1, 2], random, while_it_lasts / 3).await,
            Fault::Transfer(at) => {
                let Some(store) = cluster.store(at) else { return };
                let member = store.member().unwrap();
                // It may be refused: another election can be under way.
                let asked = member.change(Change::Transfer { to: member.id() });
                let _ = tokio::time::timeout(while_it_lasts, asked).await;
                return;
            }
            Fault::CrashInStorm(at) => {
                storm(
                    cluster,
                    members,
                    Weather { loss: 10, doubled: 10, delay_millis: 30, ..Weather::default() },
                );
                return restart(cluster, &[at], random, while_it_lasts).await;
            }
        }
        tokio::time::sleep(while_it_lasts).await;
    }
}

fn storm(cluster: &Cluster, members: usize, weather: Weather) {
    for from in 0..members {
        for to in (0..members).filter(|to| *to != from) {
            cluster.network.set(from, to, weather);
        }
    }
}

async fn restart(cluster: &Cluster, members: &[usize], random: &mut Random, gone: Duration) {
    for at in members {
        cluster.crash(*at, random).await;
    }
    tokio::time::sleep(gone).await;
    for at in members {
        tokio::task::block_in_place(|| cluster.open(*at, false));
    }
}
