//! Real cgroups of this host, under names of their own.

use super::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A shell that waits for a line before it becomes something else, so that it can be moved first.
struct Waiting {
    child: Child,
}

impl Waiting {
    fn spawn(then: &str) -> Waiting {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("read line; {then}")]).stdin(Stdio::piped());
        Waiting { child: shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap() }
    }

    fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    fn go(&mut self) {
        self.child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs with the host to itself and a path that nobody else uses.
fn on_host(test: &str, body: impl FnOnce(&Layout, &str)) {
    if !harness::root_or_skip(test) {
        return;
    }
    let layout = Layout::detect().unwrap();
    let guard = harness::host::exclusive(test);
    body(&layout, &format!("keelson-test-{}", guard.tag()));
    guard.finish();
}

fn exists_in(layout: &Layout, path: &str) -> usize {
    layout.hierarchies.iter().filter(|hierarchy| hierarchy.mount.join(path).is_dir()).count()
}

#[test]
fn paths() {
    for (path, expect) in [
        ("/a/b", Some("a/b")),
        ("a//b/", Some("a/b")),
        ("/", None),
        ("", None),
        ("a/../b", None),
        ("./a", None),
    ] {
        assert_eq!(normal_path(path).ok().as_deref(), expect, "{path:?}");
    }
}

#[test]
fn made_everywhere_and_removed_everywhere() {
    on_host("made_everywhere_and_removed_everywhere", |layout, root| {
        let path = format!("/{root}/pod/c1");
        let cgroup = Cgroup::create(layout, &path).unwrap();
        assert_eq!(cgroup.path(), path.trim_start_matches('/'));
        assert_eq!(exists_in(layout, cgroup.path()), layout.hierarchies.len());
        assert_eq!(cgroup.v2_dir().unwrap().is_some(), layout.unified().is_some());
        let v1 = layout.hierarchies.iter().filter(|h| h.version == Version::V1).count();
        assert_eq!(cgroup.v1_procs().len(), v1);
        assert!(cgroup.pids().unwrap().is_empty());
        // Again is fine, and so is a cgroup below that somebody made.
        Cgroup::create(layout, &format!("{path}/inner/most")).unwrap();
        Cgroup::open(layout, &path).unwrap();
        cgroup.delete().unwrap();
        assert_eq!(exists_in(layout, cgroup.path()), 0);
        cgroup.delete().unwrap();
        layout.delete(&path).unwrap();
        assert!(matches!(Cgroup::open(layout, &path), Err(CgroupError::Missing(_))));
        layout.prune_parents(&path).unwrap();
        assert_eq!(exists_in(layout, root), 0);
    });
}

#[test]
fn a_failure_at_any_step_leaves_nothing() {
    on_host("a_failure_at_any_step_leaves_nothing", |layout, root| {
        let path = format!("{root}/pod/c1");
        let steps = plan_create(layout, &path).len();
        assert!(steps >= 3 * layout.hierarchies.len());
        for failing in 0..steps {
            let mut count = 0;
            let made = create::create(layout, &path, |_| {
                count += 1;
                if count > failing { Err(CgroupError::Path("injected".to_owned())) } else { Ok(()) }
            });
            assert!(matches!(made, Err(CgroupError::Path(_))), "step {failing}");
            assert_eq!(exists_in(layout, root), 0, "after a failure at step {failing}");
        }
    });
}

#[test]
fn kills_a_hundred() {
    on_host("kills_a_hundred", |layout, root| {
        let cgroup = Cgroup::create(layout, root).unwrap();
        // Not in the parent itself: on v2 a cgroup with controllers below it has no processes.
        let leaves = ["a", "b/c"].map(|leaf| Cgroup::create(layout, &format!("{root}/{leaf}")).unwrap());
        let mut waiting: Vec<Waiting> = (0..100).map(|_| Waiting::spawn("true")).collect();
        for (at, one) in waiting.iter().enumerate() {
            leaves[at % 2].add(one.pid()).unwrap();
        }
        assert_eq!(cgroup.pids().unwrap().len(), 100);
        let busy = cgroup.delete_within(Duration::from_millis(20));
        assert!(matches!(busy, Err(CgroupError::Busy { pids, .. }) if pids.len() == 100));
        let events = cgroup.populated_events().unwrap();
        let started = Instant::now();
        cgroup.kill().unwrap();
        if let Some(events) = events {
            assert!(events.wait(Duration::from_secs(60), |now| !now.populated).unwrap());
        }
        println!("100 processes gone after {:?}", started.elapsed());
        for one in &mut waiting {
            use std::os::unix::process::ExitStatusExt;
            assert_eq!(one.child.wait().unwrap().signal(), Some(9));
        }
        cgroup.delete().unwrap();
    });
}

#[test]
fn kills_what_is_in_a_v1_tree_only() {
    on_host("kills_what_is_in_a_v1_tree_only", |layout, root| {
        if layout.mode == Mode::Unified {
            return harness::skip("kills_what_is_in_a_v1_tree_only", "needs a v1 hierarchy");
        }
        let cgroup = Cgroup::create(layout, root).unwrap();
        let mut lonely = Waiting::spawn("true");
        std::fs::write(&cgroup.v1_procs()[0], lonely.pid().to_string()).unwrap();
        cgroup.kill().unwrap();
        lonely.child.wait().unwrap();
        cgroup.delete().unwrap();
    });
}

#[test]
fn freezes_and_thaws() {
    on_host("freezes_and_thaws", |layout, root| {
        let cgroup = Cgroup::create(layout, root).unwrap();
        let mut spinning = Waiting::spawn("while :; do :; done");
        cgroup.add(spinning.pid()).unwrap();
        spinning.go();
        let used = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", spinning.pid())).unwrap();
            stat.split(' ').nth(13).unwrap().parse::<u64>().unwrap()
        };
        cgroup.freeze().unwrap();
        let before = used();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(used(), before);
        cgroup.thaw().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while used() == before {
            assert!(Instant::now() < deadline, "still frozen");
            std::thread::sleep(Duration::from_millis(10));
        }
        // Killing works on a frozen cgroup as well.
        cgroup.freeze().unwrap();
        cgroup.kill().unwrap();
        spinning.child.wait().unwrap();
        cgroup.delete().unwrap();
    });
}

#[test]
fn an_oom_kill_wakes() {
    on_host("an_oom_kill_wakes", |layout, root| {
        let Some(version) = layout.version("memory") else {
            return harness::skip("an_oom_kill_wakes", "no memory controller");
        };
        let cgroup = Cgroup::create(layout, root).unwrap();
        let file = if version == Version::V1 { "memory.limit_in_bytes" } else { "memory.max" };
        cgroup.write("memory", file, "16777216").unwrap();
        let events = cgroup.oom_events().unwrap();
        assert_eq!(events.kills().unwrap(), Some(0));
        let mut hog = Waiting::spawn("exec tail /dev/zero");
        cgroup.add(hog.pid()).unwrap();
        hog.go();
        let wanted = if events.interest() == Interest::Priority { PollFlags::PRI } else { PollFlags::IN };
        let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
        assert_eq!(poll(&mut [PollFd::new(&events, wanted)], Some(&limit)).unwrap(), 1);
        hog.child.wait().unwrap();
        assert_eq!(events.kills().unwrap(), Some(1));
        cgroup.delete().unwrap();
        assert_eq!(events.kills().unwrap(), None);
    });
}

#[test]
fn a_controller_that_is_nowhere_is_named() {
    on_host("a_controller_that_is_nowhere_is_named", |layout, root| {
        let cgroup = Cgroup::create(layout, root).unwrap();
        let error = cgroup.write("no_such", "no_such.max", "1").unwrap_err();
        assert!(error.to_string().contains("controller no_such is not available"), "{error}");
        assert!(!cgroup.has("no_such", "no_such.max"));
        cgroup.delete().unwrap();
    });
}
