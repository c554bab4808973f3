//! Limits that the running kernel keeps, in cgroups of this host.

use super::devices::apply_v2;
use super::{apply, devices, stats, update};
use oci_spec::runtime::LinuxResources;
use std::io::Write as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use sys::cgroup::{Cgroup, Layout, Version};

/// How long the kernel may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// /dev/kmsg, which root may read and no container may by default.
const KMSG: &str = r#"{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}"#;

fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

/// A fresh cgroup, with the host to itself; afterwards whoever is left in it is killed.
fn in_cgroup(test: &str, body: impl FnOnce(&Cgroup)) {
    if !harness::root_or_skip(test) {
        return;
    }
    let layout = Layout::detect().unwrap();
    let guard = harness::host::exclusive(test);
    let cgroup = Cgroup::create(&layout, &format!("keelson-test-{}", guard.tag())).unwrap();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(&cgroup)));
    cgroup.kill().unwrap();
    cgroup.delete().unwrap();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
    guard.finish();
}

/// Starts a shell command whose first act is inside the cgroup.
fn start(cgroup: &Cgroup, command: &str) -> Child {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("read line; {command}")]).stdin(Stdio::piped());
    let mut child = shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    cgroup.add(child.id() as i32).unwrap();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    child
}

fn run(cgroup: &Cgroup, command: &str) -> ExitStatus {
    start(cgroup, command).wait().unwrap()
}

#[test]
fn a_memory_hog_is_killed_and_counted() {
    in_cgroup("a_memory_hog_is_killed_and_counted", |cgroup| {
        const LIMIT: u64 = 32 << 20;
        apply(cgroup, &resources(r#"{"memory":{"limit":33554432,"swap":33554432,"reservation":16777216}}"#))
            .unwrap();
        let before = stats(cgroup).unwrap().memory;
        assert_eq!((before.limit, before.oom_kills, before.swap_limit.unwrap_or(0)), (Some(LIMIT), 0, 0));
        let mut well_behaved = start(cgroup, "head -c 8000000 /dev/zero | tail | sleep 1000");
        let deadline = Instant::now() + PATIENCE;
        while stats(cgroup).unwrap().memory.rss < 4_000_000 {
            assert!(Instant::now() < deadline, "{:?}", stats(cgroup).unwrap().memory);
            std::thread::sleep(Duration::from_millis(10));
        }
        let during = stats(cgroup).unwrap().memory;
        assert!(during.working_set <= during.usage && during.usage <= LIMIT, "{during:?}");
        assert_eq!(during.available, Some(LIMIT - during.working_set));
        assert!(during.page_faults > 1000);
        cgroup.kill().unwrap();
        well_behaved.wait().unwrap();
        // dash reports its child's SIGKILL as 137.
        assert_eq!(run(cgroup, "tail /dev/zero; exit $?").code(), Some(137));
        assert_eq!(stats(cgroup).unwrap().memory.oom_kills, 1);
    });
}

#[test]
fn memory_limits_move_both_ways() {
    in_cgroup("memory_limits_move_both_ways", |cgroup| {
        for limit in [64, 256, 128, 32, 512] {
            let bytes: u64 = limit << 20;
            update(cgroup, &resources(&format!(r#"{{"memory":{{"limit":{bytes},"swap":{bytes}}}}}"#)))
                .unwrap();
            assert_eq!(stats(cgroup).unwrap().memory.limit, Some(bytes));
        }
        update(cgroup, &resources(r#"{"memory":{"limit":-1}}"#)).unwrap();
        assert_eq!(stats(cgroup).unwrap().memory.limit, None);
    });
}

#[test]
fn a_fork_bomb_stops_at_its_limit() {
    in_cgroup("a_fork_bomb_stops_at_its_limit", |cgroup| {
        apply(cgroup, &resources(r#"{"pids":{"limit":20}}"#)).unwrap();
        let mut bomb = start(cgroup, "while :; do sleep 1000 & done");
        let deadline = Instant::now() + PATIENCE;
        while stats(cgroup).unwrap().pids.current < 20 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(100));
        let pids = stats(cgroup).unwrap().pids;
        assert_eq!(pids.limit, Some(20));
        // dash gives up at the first refused fork, so all but the shell stand at the limit.
        assert!((19..=20).contains(&pids.current), "{pids:?}");
        cgroup.kill().unwrap();
        bomb.wait().unwrap();
    });
}

#[test]
fn cpu_time_stays_within_its_quota() {
    in_cgroup("cpu_time_stays_within_its_quota", |cgroup| {
        apply(cgroup, &resources(r#"{"cpu":{"shares":512,"quota":10000,"period":100000,"cpus":"0"}}"#))
            .unwrap();
        let started = Instant::now();
        let mut spinning = start(cgroup, "while :; do :; done");
        let (cpu, passed) = loop {
            std::thread::sleep(Duration::from_millis(100));
            let (cpu, passed) = (stats(cgroup).unwrap().cpu, started.elapsed());
            // It may have to wait for others before it has used what it is given.
            if cpu.throttled_periods >= 2 && cpu.usage_ns >= 20_000_000 && passed > Duration::from_millis(700)
            {
                break (cpu, passed);
            }
            assert!(passed < PATIENCE, "{cpu:?}");
        };
        println!("10 % for {passed:?}: {cpu:?}");
        assert!(cpu.periods >= cpu.throttled_periods, "{cpu:?}");
        assert!(cpu.throttled_ns > 0);
        // A tenth of the time, and one period's allowance more for where the measurement starts.
        assert!(u128::from(cpu.usage_ns) <= passed.as_nanos() / 10 + 25_000_000, "{cpu:?} in {passed:?}");
        update(cgroup, &resources(r#"{"cpu":{"quota":-1}}"#)).unwrap();
        update(cgroup, &resources(r#"{"cpu":{"quota":400000,"period":200000,"burst":100000}}"#)).unwrap();
        update(cgroup, &resources(r#"{"cpu":{"quota":20000,"period":10000,"burst":0}}"#)).unwrap();
        cgroup.kill().unwrap();
        spinning.wait().unwrap();
    });
}

#[test]
fn devices_by_the_host_controller() {
    in_cgroup("devices_by_the_host_controller", |cgroup| {
        let reads = |device: &str| run(cgroup, &format!("exec head -c0 {device}")).success();
        assert!(reads("/dev/kmsg"));
        apply(cgroup, &resources("{}")).unwrap();
        assert!(!reads("/dev/kmsg"));
        assert!(reads("/dev/null"));
        update(cgroup, &resources("{}")).unwrap();
        assert!(!reads("/dev/kmsg"));
        update(cgroup, &resources(&format!(r#"{{"devices":[{{"allow":false}},{KMSG}]}}"#))).unwrap();
        assert!(reads("/dev/kmsg"));
        update(cgroup, &resources(r#"{"devices":[{"allow":false}]}"#)).unwrap();
        assert!(!reads("/dev/kmsg"));
        update(cgroup, &resources(r#"{"devices":[{"allow":true}]}"#)).unwrap();
        assert!(reads("/dev/kmsg"));
    });
}

/// The program for cgroup2, on whatever cgroup2 tree there is.
#[test]
fn devices_by_a_program() {
    in_cgroup("devices_by_a_program", |cgroup| {
        let Some(directory) = cgroup.unified() else {
            return harness::skip("devices_by_a_program", "no cgroup2 is mounted");
        };
        let reads = |device: &str| run(cgroup, &format!("exec head -c0 {device}")).success();
        let with = |json: &str| {
            let rules = devices::rules(resources(json).devices().as_deref().unwrap_or_default()).unwrap();
            apply_v2(cgroup, &rules).unwrap();
            let attached = sys::bpf::attached_device(directory).unwrap();
            assert_eq!(attached.len(), 1, "one takes the place of the other: {attached:?}");
        };
        assert!(reads("/dev/kmsg"));
        with("{}");
        assert!(!reads("/dev/kmsg"));
        assert!(reads("/dev/null") && reads("/dev/urandom"));
        with(&format!(r#"{{"devices":[{{"allow":false}},{KMSG}]}}"#));
        assert!(reads("/dev/kmsg"));
        assert!(!run(cgroup, "exec 3>>/dev/kmsg").success(), "only reading was allowed");
        with(
            r#"{"devices":[{"allow":true},{"allow":false,"type":"c","major":1,"minor":11,"access":"rwm"}]}"#,
        );
        assert!(!reads("/dev/kmsg"));
        assert!(reads("/dev/full"));
        // Making a node needs no right to use it.
        let node = format!("/dev/keelson-{}", std::process::id());
        with("{}");
        assert!(
            run(cgroup, &format!("mknod {node} c 1 11 && ! head -c0 {node}; r=$?; rm -f {node}; exit $r"))
                .success()
        );
    });
}

#[test]
fn a_whole_pod_of_limits() {
    in_cgroup("a_whole_pod_of_limits", |cgroup| {
        let json = r#"{"cpu":{"shares":204,"quota":20000,"period":100000},"memory":{"limit":67108864},
            "pids":{"limit":100},"devices":[{"allow":false,"access":"rwm"}]}"#;
        apply(cgroup, &resources(json)).unwrap();
        apply(cgroup, &resources(json)).unwrap();
        if cgroup.layout().version("cpu") == Some(Version::V1) {
            assert_eq!(cgroup.read("cpu", "cpu.shares").unwrap().trim(), "204");
        } else {
            assert_eq!(cgroup.read("cpu", "cpu.max").unwrap().trim(), "20000 100000");
        }
        if cgroup.controller("hugetlb").is_some() {
            update(cgroup, &resources(r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#)).unwrap();
        }
        let mut reader = super::StatsReader::open(cgroup).unwrap();
        let (mut readings, started) = (0, Instant::now());
        while started.elapsed() < Duration::from_millis(100) {
            reader.read().unwrap();
            readings += 1;
        }
        println!("one reading takes {:?}", started.elapsed() / readings);
    });
}

/// What a kubelet sends to a cgroup2 node: one process over the limit takes its whole container with it.
#[test]
fn an_oom_takes_the_whole_group() {
    in_cgroup("an_oom_takes_the_whole_group", |cgroup| {
        if cgroup.layout().version("memory") != Some(Version::V2) {
            return harness::skip("an_oom_takes_the_whole_group", "the memory controller is v1's");
        }
        let json =
            r#"{"memory":{"limit":33554432},"unified":{"memory.oom.group":"1","memory.high":"33554432"}}"#;
        apply(cgroup, &resources(json)).unwrap();
        assert_eq!(cgroup.read("memory", "memory.oom.group").unwrap().trim(), "1");
        let mut bystander = start(cgroup, "exec sleep 1000");
        run(cgroup, "exec tail /dev/zero");
        assert!(!bystander.wait().unwrap().success());
        assert!(stats(cgroup).unwrap().memory.oom_kills >= 2);
    });
}

/// Everything that has a file of its own on cgroup2, as the kernel tells it afterwards.
#[test]
fn cgroup2_takes_every_resource() {
    in_cgroup("cgroup2_takes_every_resource", |cgroup| {
        if cgroup.layout().version("memory") != Some(Version::V2) {
            return harness::skip("cgroup2_takes_every_resource", "the memory controller is v1's");
        }
        let disk = std::fs::read_dir("/sys/block").unwrap().flatten().find_map(|entry| {
            let name = entry.file_name().into_string().ok().filter(|name| !name.starts_with("loop"))?;
            let device = std::fs::read_to_string(format!("/sys/block/{name}/dev")).ok()?;
            let (major, minor) = device.trim().split_once(':')?;
            Some((major.parse::<u64>().ok()?, minor.parse::<u64>().ok()?))
        });
        let (major, minor) = disk.expect("a disk");
        let json = format!(
            r#"{{"cpu":{{"shares":1024,"quota":50000,"period":100000,"idle":0,"cpus":"0","mems":"0"}},
            "memory":{{"limit":67108864,"swap":100663296,"reservation":33554432}},"pids":{{"limit":50}},
            "blockIO":{{"weight":100,"throttleReadBpsDevice":[{{"major":{major},"minor":{minor},"rate":1048576}}],
              "throttleWriteIOPSDevice":[{{"major":{major},"minor":{minor},"rate":100}}]}},
            "hugepageLimits":[{{"pageSize":"2MB","limit":4194304}}],
            "unified":{{"memory.oom.group":"1","memory.high":"50331648"}}}}"#
        );
        apply(cgroup, &resources(&json)).unwrap();
        let io = format!("{major}:{minor} rbps=1048576 wbps=max riops=max wiops=100");
        for (controller, file, expect) in [
            ("cpu", "cpu.weight", "100"),
            ("cpu", "cpu.max", "50000 100000"),
            ("cpuset", "cpuset.cpus", "0"),
            ("cpuset", "cpuset.mems", "0"),
            ("memory", "memory.max", "67108864"),
            ("memory", "memory.swap.max", "33554432"),
            ("memory", "memory.low", "33554432"),
            ("memory", "memory.high", "50331648"),
            ("memory", "memory.oom.group", "1"),
            ("pids", "pids.max", "50"),
            ("io", "io.max", io.as_str()),
            ("hugetlb", "hugetlb.2MB.max", "4194304"),
        ] {
            assert_eq!(cgroup.read(controller, file).unwrap().trim(), expect, "{file}");
        }
    });
}
