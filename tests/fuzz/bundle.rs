//! config.json and process.json: any specification becomes a plan or an error; any plan survives its encoding, and
//! damaged encodings are refused or are plans again.

use oci::{ExecTarget, Plan, PlanOptions, Step, cgroup};
use oci_spec::runtime::Spec;

use crate::mutate::{self, Verdict};

const CORPUS: [&[u8]; 2] = [
    br#"{"ociVersion":"1.2.0","hostname":"h","domainname":"d","root":{"path":"rootfs","readonly":true},"process":{"terminal":true,"consoleSize":{"height":1,"width":2},"cwd":"/w","user":{"uid":1,"gid":2,"umask":18,"additionalGids":[5]},"args":["sh","-c","x"],"env":["PATH=/bin","A=b"],"capabilities":{"bounding":["CAP_CHOWN"],"permitted":["CAP_CHOWN"],"ambient":[]},"rlimits":[{"type":"RLIMIT_NOFILE","soft":1,"hard":2}],"noNewPrivileges":true,"oomScoreAdj":5,"scheduler":{"policy":"SCHED_BATCH","nice":1},"ioPriority":{"class":"IOPRIO_CLASS_BE","priority":4}},"mounts":[{"destination":"/proc","type":"proc","source":"proc"},{"destination":"/dev","type":"tmpfs","options":["nosuid","size=1k","mode=755"]},{"destination":"/v","source":"/s","options":["rbind","rro","idmap","rslave"],"uidMappings":[{"containerID":0,"hostID":1,"size":1}],"gidMappings":[{"containerID":0,"hostID":1,"size":1}]},{"destination":"/c","type":"tmpfs","options":["ro","tmpcopyup"]}],"hooks":{"prestart":[{"path":"/h","args":["h"],"env":["A=b"],"timeout":3}],"createContainer":[{"path":"/h"}]},"annotations":{"a":"b"},"linux":{"namespaces":[{"type":"mount"},{"type":"pid"},{"type":"uts"},{"type":"ipc"},{"type":"network","path":"/n"},{"type":"user"},{"type":"time"},{"type":"cgroup"}],"uidMappings":[{"containerID":0,"hostID":1,"size":1}],"gidMappings":[{"containerID":0,"hostID":1,"size":1}],"timeOffsets":{"monotonic":{"secs":1,"nanosecs":2}},"devices":[{"path":"/dev/x","type":"c","major":1,"minor":2,"fileMode":438}],"sysctl":{"net.ipv4.ip_forward":"1","kernel.shmmax":"5"},"maskedPaths":["/m"],"readonlyPaths":["/r"],"rootfsPropagation":"slave","personality":{"domain":"LINUX32"}}}"#,
    br#"{"ociVersion":"1.0.2","root":{"path":"/r"},"process":{"cwd":"/","user":{"uid":0,"gid":0},"args":["a"],"execCPUAffinity":{"initial":"0-1","final":"0"}},"linux":{"namespaces":[{"type":"mount"}],"cgroupsPath":"/a/b","resources":{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"b","major":8,"minor":0,"access":"r"}],"memory":{"limit":1000,"swap":2000,"reservation":5,"swappiness":1,"checkBeforeUpdate":true},"cpu":{"shares":5,"quota":6,"period":7,"burst":8,"cpus":"0","mems":"0","idle":0},"pids":{"limit":9},"blockIO":{"weight":10,"weightDevice":[{"major":1,"minor":2,"weight":11}],"throttleReadBpsDevice":[{"major":1,"minor":2,"rate":3}]},"hugepageLimits":[{"pageSize":"2MB","limit":4}],"network":{"classID":5,"priorities":[{"name":"eth0","priority":6}]},"rdma":{"mlx":{"hcaHandles":1,"hcaObjects":2}},"unified":{"memory.high":"5","io.weight":"default 6"}},"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/l","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}}}"#,
];

const WORDS: [&str; 26] = [
    "/proc",
    "/dev",
    "/proc/self/attr",
    "..",
    "/",
    "cgroup",
    "cgroup2",
    "bind",
    "ridmap",
    "tmpfs",
    "shared",
    "remount",
    "kernel.core_pattern",
    "net.",
    "1.9.0",
    "SCHED_DEADLINE",
    "SCHED_FIFO",
    "IOPRIO_CLASS_RT",
    "RLIMIT_AS",
    "time",
    "user",
    "0-9999999",
    "cgroup.procs",
    "max",
    "startContainer",
    "poststop",
];

/// How many damaged encodings of one plan are tried.
const ENCODINGS: usize = 8;

#[test]
fn bundles() {
    mutate::run("bundle", &CORPUS, &WORDS, |input| {
        let Ok(spec) = serde_json::from_slice::<Spec>(input) else { return Verdict::Refused };
        if let Some(resources) = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref()) {
            let everything =
                ["cpu", "cpuset", "memory", "pids", "io", "hugetlb", "net_cls", "net_prio", "rdma"];
            for version in [sys::cgroup::Version::V1, sys::cgroup::Version::V2] {
                let versions = everything.map(|name| (name, version)).to_vec();
                let observed = cgroup::Observed { versions, ..cgroup::Observed::default() };
                let _either = cgroup::plan(resources, &observed);
            }
        }
        let exec = spec.process().as_ref().map(|process| Plan::exec(process, &ExecTarget::default()));
        exec.into_iter().flatten().for_each(|plan| survives(&plan));
        // The host's hierarchies are asked for only when a cgroup is mounted.
        let options = PlanOptions { bundle: "/bundle".into(), gate: true, ..PlanOptions::default() };
        match Plan::from_spec(&spec, &options) {
            Ok(plan) => {
                survives(&plan);
                Verdict::Understood
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                Verdict::Refused
            }
        }
    });
}

fn survives(plan: &Plan) {
    let words: usize = plan.steps.iter().map(|step| step.describe().len()).sum();
    assert!(words > 0 && matches!(plan.steps.last(), Some(Step::Exec { .. })));
    let bytes = plan.encode().expect("a plan has an encoding");
    assert_eq!(&Plan::decode(&bytes).expect("its own"), plan);
    for number in 0..ENCODINGS {
        let mut damaged = bytes.clone();
        let place = 2 + (bytes.len() * number / ENCODINGS).min(bytes.len() - 3);
        damaged[place] = damaged[place].wrapping_add(1 + number as u8);
        if let Ok(other) = Plan::decode(&damaged) {
            let again = other.encode().expect("what was read can be written");
            assert_eq!(Plan::decode(&again).expect("its own"), other);
        }
    }
}
