//! What the program of a container finds itself to be: user, capabilities, limits, environment, terminal.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::Stdio;

use serde_json::json;

use crate::oci_bundle::{Bundle, ready};

#[test]
fn identity_limits_and_environment() {
    if !ready("identity_limits_and_environment") {
        return;
    }
    let guard = harness::host::exclusive("identity_limits_and_environment");
    let mut bundle = Bundle::new(guard.tag());
    bundle.edit(|spec| {
        spec["hostname"] = json!("box");
        spec["process"]["user"] =
            json!({ "uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 0o027 });
        spec["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }]);
        spec["process"]["oomScoreAdj"] = json!(500);
        spec["process"]["cwd"] = json!("/made/for/me");
        spec["root"]["readonly"] = json!(false);
        spec["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1", "kernel.shmmax": "123456" });
    });
    for (line, expect) in [
        ("id -u", "1000"),
        ("grep -h ^Groups: /proc/self/status", "Groups:\t5 6"),
        ("hostname", "box"),
        ("umask", "0027"),
        ("ulimit -n; ulimit -Hn", "100\n200"),
        ("cat /proc/self/oom_score_adj", "500"),
        ("pwd", "/made/for/me"),
        ("echo $HOME", "/home/web"),
        ("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax", "1\n123456"),
        ("ls /proc/self/fd | wc -l", "4"),
        ("echo $$", "1"),
    ] {
        let (code, said) = bundle.run(line);
        assert_eq!((code, said.trim()), (0, expect), "{line}");
    }
    // A lower one is what this host lets a process have: itself, or what was inherited.
    let own = "{ echo -500 > /proc/self/oom_score_adj; } 2>/dev/null; cat /proc/self/oom_score_adj";
    let own = std::process::Command::new("sh").args(["-c", own]).output().expect("a shell").stdout;
    bundle.edit(|spec| spec["process"]["oomScoreAdj"] = json!(-500));
    let (code, said) = bundle.run("cat /proc/self/oom_score_adj");
    assert_eq!((code, said.as_bytes()), (0, own.as_slice()));
    guard.finish();
}

#[test]
fn capabilities_and_no_new_privileges() {
    if !ready("capabilities_and_no_new_privileges") {
        return;
    }
    let guard = harness::host::exclusive("capabilities_and_no_new_privileges");
    let mut bundle = Bundle::new(guard.tag());
    let status = "grep -hE '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status";
    let expected = |inherited: &str, own: &str, ambient: &str, rest: &str| {
        format!(
            "CapInh:\t{inherited}\nCapPrm:\t{own}\nCapEff:\t{own}\nCapBnd:\t0000000000000421\nCapAmb:\t{ambient}\n{rest}"
        )
    };
    // CAP_CHOWN, CAP_KILL, CAP_NET_BIND_SERVICE.
    let names = json!(["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let all = "0000000000000421";
    let none = "0000000000000000";
    for (uid, ambient, new_privileges, expect) in [
        (0, false, false, expected(none, all, none, "NoNewPrivs:\t1\nSeccomp:\t0")),
        (0, false, true, expected(none, all, none, "NoNewPrivs:\t0\nSeccomp:\t0")),
        // A user other than root keeps over execve only what is ambient.
        (1000, false, false, expected(none, none, none, "NoNewPrivs:\t1\nSeccomp:\t0")),
        (1000, true, false, expected(all, all, all, "NoNewPrivs:\t1\nSeccomp:\t0")),
    ] {
        bundle.edit(|spec| {
            let some = if ambient { names.clone() } else { json!([]) };
            spec["process"]["user"] = json!({ "uid": uid, "gid": uid });
            spec["process"]["noNewPrivileges"] = json!(!new_privileges);
            spec["process"]["capabilities"] = json!({
                "bounding": names, "permitted": names, "effective": names, "inheritable": some, "ambient": some,
            });
        });
        let (code, said) = bundle.run(status);
        assert_eq!((code, said.trim()), (0, expect.as_str()), "{uid} {ambient} {new_privileges}");
    }
    guard.finish();
}

#[test]
fn seccomp_with_and_without_new_privileges() {
    if !ready("seccomp_with_and_without_new_privileges") {
        return;
    }
    let guard = harness::host::exclusive("seccomp_with_and_without_new_privileges");
    let mut bundle = Bundle::new(guard.tag());
    for no_new_privileges in [true, false] {
        bundle.edit(|spec| {
            spec["root"]["readonly"] = json!(false);
            spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
            spec["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 }],
            });
        });
        let (code, said) = bundle.run("mkdir /x");
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("not implemented"), "{said}");
    }
    guard.finish();
}

#[test]
fn exec_has_the_containers_world_and_its_own_settings() {
    if !ready("exec_has_the_containers_world_and_its_own_settings") {
        return;
    }
    let guard = harness::host::exclusive("exec_has_the_containers_world_and_its_own_settings");
    let mut bundle = Bundle::new(guard.tag());
    bundle.shell("sleep 1000").edit(|spec| spec["hostname"] = json!("box"));
    let id = bundle.id.clone();
    bundle.create();
    bundle.must(&["start", &id]);
    for (flags, line, expect) in [
        (vec![], "hostname", "box"),
        (vec!["--user", "1000:1002"], "id -u; id -g", "1000\n1002"),
        (vec!["--cwd", "/tmp"], "pwd", "/tmp"),
        (vec!["--env", "A=b c"], "echo $A", "b c"),
        (vec!["--cap", "CAP_SYS_TIME"], "grep -h ^CapEff /proc/self/status", "CapEff:\t0000000022000420"),
        (vec!["-t"], "tty", "/dev/pts/0"),
        (
            vec![],
            "for n in mnt pid net ipc uts cgroup; do test $(readlink /proc/self/ns/$n) = $(readlink /proc/1/ns/$n) || echo $n; done",
            "",
        ),
        (vec![], "test \"$(cat /proc/self/cgroup)\" = \"$(cat /proc/1/cgroup)\" && echo same", "same"),
    ] {
        let mut arguments = vec!["exec"];
        arguments.extend(&flags);
        arguments.extend([id.as_str(), "sh", "-c", line]);
        let said = bundle.must(&arguments);
        assert_eq!(said.replace('\r', "").trim(), expect, "{flags:?} {line}");
    }
    let process = bundle.path().join("process.json");
    let text = json!({
        "args": ["sh", "-c", "echo $X; id -u"], "cwd": "/", "user": { "uid": 7, "gid": 7 },
        "env": ["PATH=/bin", "X=from the file"],
    });
    std::fs::write(&process, text.to_string()).expect("process.json");
    let said = bundle.must(&["exec", "--process", process.to_str().expect("UTF-8"), &id]);
    assert_eq!(said, "from the file\n7\n");
    let pid_file = bundle.path().join("pid");
    let detached = ["exec", "--detach", "--pid-file", pid_file.to_str().expect("UTF-8"), &id, "sleep", "999"];
    let status = bundle.command(&detached).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.expect("keelson oci starts").success());
    let pid: i32 = std::fs::read_to_string(&pid_file).expect("a PID").parse().expect("a number");
    assert!(std::fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("alive").contains("999"));
    bundle.must(&["delete", "--force", &id]);
    guard.finish();
}

/// What the caller hands on is there under its number, sockets of a service manager first; the caller's root
/// is gone either way.
#[test]
fn descriptors_are_handed_on() {
    if !ready("descriptors_are_handed_on") {
        return;
    }
    let guard = harness::host::exclusive("descriptors_are_handed_on");
    let mut bundle = Bundle::new(guard.tag());
    for name in ["first", "second"] {
        std::fs::write(bundle.path().join(name), name).expect("a file");
    }
    let run = |bundle: &Bundle, environment: &str, flags: &[&str]| {
        let line = format!("exec 3<first 4<second; {environment} exec \"$@\"");
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", &line, "sh", env!("CARGO_BIN_EXE_keelson"), "oci", "--root"]);
        command.arg(bundle.path().join("state")).arg("run").args(flags).arg(&bundle.id);
        let output = command.current_dir(bundle.path()).stdin(Stdio::null()).output().expect("it runs");
        crate::oci_bundle::text(&output)
    };
    bundle.shell("echo ${LISTEN_FDS-none}; { cat <&3; cat <&4; } 2>/dev/null; true");
    assert_eq!(run(&bundle, "", &[]), "none\n");
    assert_eq!(run(&bundle, "", &["--preserve-fds", "1"]), "none\nfirst");
    assert_eq!(run(&bundle, "", &["--preserve-fds", "2"]), "none\nfirstsecond");
    assert_eq!(run(&bundle, "LISTEN_FDS=1", &[]), "1\nfirst");
    assert_eq!(run(&bundle, "LISTEN_FDS=1", &["--preserve-fds", "1"]), "1\nfirstsecond");
    assert_eq!(run(&bundle, "", &["--no-pivot", "--preserve-fds", "1"]), "none\nfirst");
    bundle.shell("ls / | tr '\\n' ' '");
    assert_eq!(run(&bundle, "", &["--no-pivot"]), "bin dev etc proc sys tmp ");
    guard.finish();
}

#[test]
fn the_console_socket_gets_a_working_terminal() {
    if !ready("the_console_socket_gets_a_working_terminal") {
        return;
    }
    let guard = harness::host::exclusive("the_console_socket_gets_a_working_terminal");
    let mut bundle = Bundle::new(guard.tag());
    bundle.shell("tty; stty size; ls -l /dev/console; read line; echo got $line").edit(|spec| {
        spec["process"]["terminal"] = json!(true);
        spec["process"]["consoleSize"] = json!({ "height": 31, "width": 97 });
    });
    let id = bundle.id.clone();
    let refused = bundle.oci(&["create", &id]);
    assert_eq!(refused.status.code(), Some(1), "a terminal nobody receives");
    let path = bundle.path().join("console");
    let listener = UnixListener::bind(&path).expect("a socket");
    bundle.must(&["create", "--console-socket", path.to_str().expect("UTF-8"), &id]);
    let (connection, _) = listener.accept().expect("a connection");
    let mut terminal = std::fs::File::from(receive(connection.into()));
    bundle.must(&["start", &id]);
    terminal.write_all(b"hello\n").expect("the terminal takes input");
    let mut said = Vec::new();
    // The end of a terminal whose last user has gone is an error, EIO.
    let _end = terminal.read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said);
    for words in ["/dev/pts/0", "31 97", "/dev/console", "got hello"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    bundle.must(&["delete", "--force", &id]);
    guard.finish();
}

fn receive(socket: OwnedFd) -> OwnedFd {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0u8; 64];
    let mut buffers = [std::io::IoSliceMut::new(&mut name)];
    rustix::net::recvmsg(&socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC).expect("a message");
    let received = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    received.expect("a descriptor")
}

#[test]
fn a_user_namespace_maps_root() {
    if !ready("a_user_namespace_maps_root") {
        return;
    }
    let guard = harness::host::exclusive("a_user_namespace_maps_root");
    let mut bundle = Bundle::new(guard.tag());
    let path = bundle.path().to_owned();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    bundle.edit(|spec| {
        let maps = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
        spec["linux"]["uidMappings"] = maps.clone();
        spec["linux"]["gidMappings"] = maps;
        spec["linux"]["namespaces"].as_array_mut().expect("a list").push(json!({ "type": "user" }));
    });
    let (code, said) = bundle.run("id -u; cat /proc/self/uid_map; echo x > /dev/null && echo null works");
    assert_eq!(code, 0, "{said}");
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "100000", "65536", "null", "works"], "{said}");
    guard.finish();
}
