//! The show: containers print numbered lines while their daemon and its keeper are killed at random.
//!
//! Twenty containers print 5,000 lines a second together. Thirty times SIGKILL hits `keelson cri` or the
//! keeper. Then every log has every number, in order, with at most one buffer doubled at each death, and
//! every container has exited with a code of its own that its status reports.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use cri_api::v1::{ContainerState, NamespaceMode, PodSandboxConfig, RemoveContainerRequest};

use crate::cri_node::{Client, Stage, stage};

const CONTAINERS: u32 = 20;
const LINES: u64 = 2_500;
/// Each container's: 5,000 in all.
const LINES_PER_SECOND: u64 = 250;
const DEATHS: u32 = 30;
/// What a FIFO holds.
const BUFFER: usize = 64 * 1024;
/// Exit codes begin here.
const FIRST_CODE: i32 = 100;
const POD: &str = "show";

#[derive(Debug, Default)]
struct Deaths {
    daemons: u32,
    keepers: u32,
}

#[test]
fn no_line_and_no_exit_code_is_lost() {
    stage("no_line_and_no_exit_code_is_lost", async |stage, mut client| {
        let pod = pod(&client);
        let sandbox = client.run(&pod).await.expect("a sandbox");
        let containers = launch_all(&mut client, &sandbox, &pod).await;
        let deaths = kill_at_random(stage).await;
        let began = Instant::now();
        let mut client = stage.connect().await;
        check(&mut client, &containers).await;
        println!(
            "{CONTAINERS} containers, {} lines, {deaths:?}: every line in order, every code known, \
             {:.1} s after the last death",
            u64::from(CONTAINERS) * LINES,
            began.elapsed().as_secs_f64()
        );
        for container_id in containers {
            let remove = RemoveContainerRequest { container_id };
            client.runtime.remove_container(remove).await.expect("removed");
        }
        client.end(&sandbox).await.expect("removed");
    });
}

/// The daemon is killed between the write of an end's record and its sync, in every way in which that can look.
#[test]
fn a_cut_record_of_an_end_is_no_end() {
    stage("a_cut_record_of_an_end_is_no_end", async |stage, mut client| {
        let pod = pod(&client);
        let sandbox = client.run(&pod).await.expect("a sandbox");
        let config = client.container("ends", "trap 'exit 7' TERM; echo up; sleep 1000 & wait");
        let id = client.create(&sandbox, &pod, config).await.expect("a container");
        client.start(&id).await.expect("started");
        client.until_logged(POD, "ends", "stdout F up").await;
        stage.kill();
        let folder = stage.folder.path().join("root/containers").join(&id);
        let whole = std::fs::read(folder.join("record.json")).expect("a record");
        let record: serde_json::Value = serde_json::from_slice(&whole).expect("JSON");
        let pid = record["pid"].as_i64().expect("a number") as i32;
        for torn in [&whole[..0], &whole[..whole.len() / 2], &vec![0; whole.len()]] {
            std::fs::write(folder.join("record.next"), torn).expect("written");
            stage.start();
            let mut client = stage.connect().await;
            let status = client.status(&id).await.expect("a status");
            assert_eq!(status.state(), ContainerState::ContainerRunning, "{}", stage.log());
            stage.kill();
        }
        std::fs::write(folder.join("record.next"), &whole[..whole.len() / 2]).expect("written");
        let pid = rustix::process::Pid::from_raw(pid).expect("a PID");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("asked to end");
        stage.start();
        let mut client = stage.connect().await;
        let status = client.exited(&id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (7, "Error"));
        assert!(!folder.join("record.next").exists(), "the end is written down whole");
        client.runtime.remove_container(RemoveContainerRequest { container_id: id }).await.expect("removed");
        client.end(&sandbox).await.expect("removed");
    });
}

/// A pod on the host's network: nothing here needs one.
fn pod(client: &Client) -> PodSandboxConfig {
    let mut pod = client.pod(POD);
    let security = pod.linux.get_or_insert_default().security_context.get_or_insert_default();
    security.namespace_options.get_or_insert_default().network = NamespaceMode::Node.into();
    pod
}

/// Containers that count, each at the same pace, each with its own exit code.
async fn launch_all(client: &mut Client, sandbox: &str, pod: &PodSandboxConfig) -> Vec<String> {
    let mut containers = Vec::new();
    for number in 0..CONTAINERS {
        let (each, code) = (LINES_PER_SECOND / 10, FIRST_CODE + number as i32);
        let script = format!(
            "i=0; while [ $i -lt {LINES} ]; do echo \"line $i of container {number}\"; i=$((i+1)); \
             [ $((i % {each})) -eq 0 ] && sleep 0.1; done; exit {code}"
        );
        let config = client.container(&number.to_string(), &script);
        containers.push(client.create(sandbox, pod, config).await.expect("a container"));
    }
    let began = Instant::now();
    for container in &containers {
        client.start(container).await.expect("started");
    }
    println!("StartContainer: {:?} each", began.elapsed() / CONTAINERS);
    containers
}

/// SIGKILL after SIGKILL; a daemon is started again at once, a keeper by its daemon.
async fn kill_at_random(stage: &mut Stage) -> Deaths {
    let mut deaths = Deaths::default();
    let mut random = seed();
    for _ in 0..DEATHS {
        let mut below = |limit: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % limit
        };
        tokio::time::sleep(Duration::from_millis(50 + below(300))).await;
        if below(2) == 0 {
            kill_keeper(stage.folder.path());
            deaths.keepers += 1;
        } else {
            stage.kill();
            stage.start();
            deaths.daemons += 1;
        }
    }
    deaths
}

async fn check(client: &mut Client, containers: &[String]) {
    for (number, id) in containers.iter().enumerate() {
        let status = client.exited(id).await;
        assert_eq!(status.exit_code, FIRST_CODE + number as i32, "container {number}: {}", status.reason);
        let log = client.log(POD, &number.to_string());
        check_log(&log).unwrap_or_else(|wrong| panic!("container {number}: {wrong}"));
    }
}

/// Every number in order; where it goes back, by no more than a buffer.
fn check_log(log: &str) -> Result<(), String> {
    let mut next = 0;
    for line in log.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, "stdout", "F", "line", number, "of", "container", _] = words[..] else {
            return Err(format!("torn: {line:?}"));
        };
        let number: u64 = number.parse().map_err(|_| format!("torn: {line:?}"))?;
        if number > next {
            return Err(format!("{next} is missing before {number}"));
        }
        let doubled = (next - number) as usize * "line 9999 of container 99\n".len();
        if doubled > BUFFER {
            return Err(format!("{doubled} bytes doubled at {number}"));
        }
        next = number + 1;
    }
    if next == LINES { Ok(()) } else { Err(format!("ends before {next} of {LINES}")) }
}

/// Kills whoever listens as the keeper; the kernel knows who that is.
fn kill_keeper(folder: &Path) {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket, sockopt};
    let socket: OwnedFd = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("a socket");
    let address = SocketAddrUnix::new(folder.join("state/keeper.sock")).expect("an address");
    if connect(&socket, &address).is_ok() {
        let keeper = sockopt::socket_peercred(&socket).expect("its identity").pid;
        let _ended_already = rustix::process::kill_process(keeper, rustix::process::Signal::KILL);
    }
}

/// `SEED` repeats a run.
fn seed() -> u64 {
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |since| since.as_nanos() as u64 | 1)
    });
    println!("SEED={seed}");
    seed
}
