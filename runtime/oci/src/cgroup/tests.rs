//! Plans by table, for v1 and v2.

use super::{Missing, Observed, ResourceError, Write, cpu, plan};
use oci_spec::runtime::LinuxResources;
use sys::cgroup::{CgroupError, Version};

const EVERY: [&str; 7] = ["cpu", "cpuset", "memory", "pids", "io", "hugetlb", "rdma"];

fn observed(version: Version) -> Observed {
    let mut observed = Observed {
        versions: EVERY.iter().map(|name| (*name, version)).collect(),
        cpu_period: 100_000,
        huge_pages: vec!["2MB".to_owned()],
        huge_page_reservations: true,
        ..Observed::default()
    };
    if version == Version::V1 {
        observed.files.insert("memory.memsw.limit_in_bytes".to_owned());
    }
    observed
}

fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

fn lines(writes: &[Write]) -> Vec<String> {
    let optional = |write: &Write| if write.missing == Missing::Ignore { "? " } else { "" };
    writes.iter().map(|write| format!("{}{} {}", optional(write), write.file, write.value)).collect()
}

/// `expect` in order, `file value`, with `? ` ahead of one that may be absent.
fn check(json: &str, observed: &Observed, expect: &[&str]) {
    assert_eq!(lines(&plan(&resources(json), observed).unwrap()), expect, "{json}");
}

/// Both versions of one specification, nothing in force before.
fn both(json: &str, v1: &[&str], v2: &[&str]) {
    check(json, &observed(Version::V1), v1);
    check(json, &observed(Version::V2), v2);
}

fn refused(json: &str, version: Version, word: &str) {
    let error = plan(&resources(json), &observed(version)).unwrap_err();
    assert!(matches!(error, ResourceError::Value { .. }), "{error}");
    assert!(error.to_string().contains(word), "{error}");
}

#[test]
fn cpu_and_cpuset() {
    both("{}", &[], &[]);
    both(r#"{"cpu":{}}"#, &[], &[]);
    both(
        r#"{"cpu":{"shares":1024,"quota":50000,"period":200000,"cpus":"0-1","mems":"0"}}"#,
        &[
            "cpuset.cpus 0-1",
            "cpuset.mems 0",
            "cpu.shares 1024",
            "cpu.cfs_period_us 200000",
            "cpu.cfs_quota_us 50000",
        ],
        &["cpuset.cpus 0-1", "cpuset.mems 0", "cpu.weight 100", "cpu.max 50000 200000"],
    );
    both(r#"{"cpu":{"shares":0,"quota":-1}}"#, &["cpu.cfs_quota_us -1"], &["cpu.max max 100000"]);
    both(r#"{"cpu":{"shares":1}}"#, &["cpu.shares 2"], &["cpu.weight 1"]);
    both(
        r#"{"cpu":{"idle":0,"shares":2}}"#,
        &["? cpu.idle 0", "cpu.shares 2"],
        &["? cpu.idle 0", "cpu.weight 1"],
    );
    both(r#"{"cpu":{"idle":1,"shares":2}}"#, &["cpu.idle 1"], &["cpu.idle 1"]);
    both(
        r#"{"cpu":{"quota":10000,"burst":5000}}"#,
        &["cpu.cfs_quota_us 10000", "cpu.cfs_burst_us 5000"],
        &["cpu.max 10000 100000", "cpu.max.burst 5000"],
    );
    check(
        r#"{"cpu":{"realtimePeriod":1000000,"realtimeRuntime":950000}}"#,
        &observed(Version::V1),
        &["cpu.rt_period_us 1000000", "cpu.rt_runtime_us 950000"],
    );
    refused(r#"{"cpu":{"realtimeRuntime":950000}}"#, Version::V2, "real-time");
}

#[test]
fn shares_become_weights() {
    for (shares, weight) in [
        (0, 1),
        (2, 1),
        (3, 2),
        (102, 16),
        (512, 60),
        (1024, 100),
        (2048, 174),
        (262_144, 10_000),
        (u64::MAX, 10_000),
    ] {
        let got = cpu::weight(shares);
        assert!(got.abs_diff(weight) <= 1 + weight / 20, "{shares}: {got}, not about {weight}");
    }
    assert_eq!((cpu::weight(2), cpu::weight(1024), cpu::weight(262_144)), (1, 100, 10_000));
    assert!((2..262_144).step_by(97).map(cpu::weight).is_sorted());
}

#[test]
fn bandwidth_changes_without_a_moment_of_more() {
    let json = r#"{"cpu":{"quota":20000,"period":10000,"burst":1000}}"#;
    let mut now = observed(Version::V1);
    now.cpu_quota = Some(200_000);
    now.cpu_burst = 50_000;
    // 2 CPUs stay 2 CPUs: by way of 0.2, not of 20.
    check(json, &now, &["cpu.cfs_burst_us 1000", "cpu.cfs_quota_us 20000", "cpu.cfs_period_us 10000"]);
    now.cpu_quota = None;
    check(json, &now, &["cpu.cfs_burst_us 1000", "cpu.cfs_period_us 10000", "cpu.cfs_quota_us 20000"]);
    let mut now = observed(Version::V2);
    now.cpu_quota = Some(30_000);
    now.cpu_period = 50_000;
    check(r#"{"cpu":{"period":20000}}"#, &now, &["cpu.max 30000 20000"]);
    check(r#"{"cpu":{"quota":-1}}"#, &now, &["cpu.max max 50000"]);
}

#[test]
fn memory_from_nothing() {
    both(
        r#"{"memory":{"limit":100,"swap":150,"reservation":80}}"#,
        &["memory.limit_in_bytes 100", "memory.memsw.limit_in_bytes 150", "memory.soft_limit_in_bytes 80"],
        &["memory.swap.max 50", "memory.max 100", "memory.low 80"],
    );
    both(
        r#"{"memory":{"limit":100,"swap":100}}"#,
        &["memory.limit_in_bytes 100", "memory.memsw.limit_in_bytes 100"],
        &["? memory.swap.max 0", "memory.max 100"],
    );
    both(
        r#"{"memory":{"limit":-1}}"#,
        &["memory.memsw.limit_in_bytes -1", "memory.limit_in_bytes -1"],
        &["? memory.swap.max max", "memory.max max"],
    );
    both(
        r#"{"memory":{"limit":100,"swappiness":10,"disableOOMKiller":true,"kernelTCP":5}}"#,
        &[
            "memory.limit_in_bytes 100",
            "memory.kmem.tcp.limit_in_bytes 5",
            "memory.oom_control 1",
            "memory.swappiness 10",
        ],
        &["memory.max 100"],
    );
    both(r#"{"memory":{"limit":0,"swap":0,"reservation":0}}"#, &[], &[]);
}

#[test]
fn memory_changes_in_the_order_the_kernel_takes() {
    let mut now = observed(Version::V1);
    now.memory_limit = Some(200);
    now.memory_and_swap_limit = Some(200);
    check(
        r#"{"memory":{"limit":300,"swap":300}}"#,
        &now,
        &["memory.memsw.limit_in_bytes 300", "memory.limit_in_bytes 300"],
    );
    check(
        r#"{"memory":{"limit":100,"swap":100}}"#,
        &now,
        &["memory.limit_in_bytes 100", "memory.memsw.limit_in_bytes 100"],
    );
    check(
        r#"{"memory":{"limit":100,"swap":-1}}"#,
        &now,
        &["memory.memsw.limit_in_bytes -1", "memory.limit_in_bytes 100"],
    );
    check(r#"{"memory":{"limit":150}}"#, &now, &["memory.limit_in_bytes 150"]);
    let error = plan(&resources(r#"{"memory":{"limit":300}}"#), &now).unwrap_err().to_string();
    assert!(error.contains("raise memory.swap"), "{error}");
    now.memory_usage = 180;
    let checked = r#"{"memory":{"limit":150,"checkBeforeUpdate":true}}"#;
    assert!(plan(&resources(checked), &now).unwrap_err().to_string().contains("180 bytes are in use"));
    now.files.clear();
    check(r#"{"memory":{"limit":100,"swap":100}}"#, &now, &["memory.limit_in_bytes 100"]);
    let error = plan(&resources(r#"{"memory":{"limit":100,"swap":120}}"#), &now).unwrap_err().to_string();
    assert!(error.contains("swap accounting"), "{error}");
}

#[test]
fn what_memory_cannot_be() {
    for version in [Version::V1, Version::V2] {
        refused(r#"{"memory":{"limit":100,"swap":50}}"#, version, "includes the memory limit");
    }
    refused(r#"{"memory":{"swap":50}}"#, Version::V2, "memory.limit has to be given");
    refused(r#"{"memory":{"swappiness":101}}"#, Version::V1, "percentage");
}

#[test]
fn pids_huge_pages_io_and_rdma() {
    both(r#"{"pids":{"limit":12}}"#, &["pids.max 12"], &["pids.max 12"]);
    both(r#"{"pids":{"limit":-1}}"#, &["pids.max max"], &["pids.max max"]);
    both(r#"{"pids":{"limit":0}}"#, &[], &[]);
    both(
        r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#,
        &["hugetlb.2MB.limit_in_bytes 4194304", "hugetlb.2MB.rsvd.limit_in_bytes 4194304"],
        &["hugetlb.2MB.max 4194304", "hugetlb.2MB.rsvd.max 4194304"],
    );
    refused(r#"{"hugepageLimits":[{"pageSize":"3MB","limit":1}]}"#, Version::V2, "this machine has 2MB");
    both(
        r#"{"blockIO":{"weight":500,"weightDevice":[{"major":8,"minor":0,"weight":10}],
            "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1000}],"throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":0}]}}"#,
        &[
            "blkio.weight 500",
            "blkio.weight_device 8:0 10",
            "blkio.throttle.read_bps_device 8:0 1000",
            "blkio.throttle.write_iops_device 8:0 0",
        ],
        &["io.weight default 4950", "io.weight 8:0 1", "io.max 8:0 rbps=1000", "io.max 8:0 wiops=max"],
    );
    let mut bfq = observed(Version::V2);
    bfq.files.insert("io.bfq.weight".to_owned());
    check(r#"{"blockIO":{"weight":500}}"#, &bfq, &["io.bfq.weight 500"]);
    refused(r#"{"blockIO":{"weight":5}}"#, Version::V1, "10 to 1000");
    let rdma = r#"{"rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000},"mlx4_0":{"hcaObjects":1000}}}"#;
    let expect = ["rdma.max mlx4_0 hca_object=1000", "rdma.max mlx5_1 hca_handle=3 hca_object=10000"];
    both(rdma, &expect, &expect);
}

#[test]
fn unified_comes_last_and_only_on_v2() {
    check(
        r#"{"memory":{"limit":100},"unified":{"memory.oom.group":"1","memory.high":"90","io.max":"8:0 rbps=1\n8:16 rbps=2"}}"#,
        &observed(Version::V2),
        &[
            "memory.max 100",
            "io.max 8:0 rbps=1",
            "io.max 8:16 rbps=2",
            "memory.high 90",
            "memory.oom.group 1",
        ],
    );
    refused(r#"{"unified":{"memory.high":"1"}}"#, Version::V1, "cgroup v1");
    for key in ["cgroup.kill", "nodot", "memory.x/../../y", "bogus.max"] {
        refused(&format!(r#"{{"unified":{{"{key}":"1"}}}}"#), Version::V2, "control file of one of");
    }
}

#[test]
fn a_missing_controller_is_named() {
    let mut bare = observed(Version::V2);
    bare.versions.clear();
    bare.missing.push(("memory", "the running kernel was started without it".to_owned()));
    for (json, name) in [
        (r#"{"memory":{"limit":1}}"#, "memory"),
        (r#"{"cpu":{"shares":2}}"#, "cpu"),
        (r#"{"cpu":{"cpus":"0"}}"#, "cpuset"),
        (r#"{"pids":{"limit":1}}"#, "pids"),
        (r#"{"unified":{"misc.max":"1"}}"#, "misc"),
    ] {
        let error = plan(&resources(json), &bare).unwrap_err();
        let named = matches!(&error, ResourceError::Cgroup(CgroupError::Controller { controller, .. }) if controller == name);
        assert!(named, "{error}");
    }
    // What is not asked for is not missed.
    check(r#"{"memory":{},"cpu":{},"pids":{"limit":0}}"#, &bare, &[]);
}
