//! Three servers of one cluster, the second and third joined by a token alone; any of them may stop or die.

use std::collections::BTreeSet;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::machines::{Machine, Segment, Switch, can_run};

/// What the secrets hold, and as kubectl shows it.
const PLAIN: &str = "a word";
const WORD: &str = "YSB3b3Jk";
/// What a server says that has read a new encryption configuration, and has rewritten what is of other keys.
const TAKEN: &str = "the encryption configuration is taken";
const KEYS: &str = "https://127.0.0.1:6443/keelson/v1/server";

#[test]
fn servers_join_by_a_token_and_any_of_them_may_go() {
    const NAME: &str = "servers_join_by_a_token_and_any_of_them_may_go";
    if !can_run(NAME) {
        return;
    }
    let guard = harness::host::exclusive(NAME);
    let switch = Switch::new(&guard);
    let mut machines: Vec<Machine> = ["a", "b", "c"]
        .iter()
        .zip(1..)
        .map(|(letter, last)| {
            Machine::new(&guard, &switch, letter.chars().next().expect("one"), Segment::Near, last)
        })
        .collect();
    machines[0].start_server(&[]);
    machines[0].until_ready("node-a");
    nobody_else_gets_the_keys(&machines[0]);

    let (join, token) =
        (format!("--join=https://{}:6443", machines[0].address()), machines[0].server_token());
    for machine in machines.iter_mut().skip(1) {
        machine.start_server(&[&join, &format!("--token={token}")]);
    }
    let all = BTreeSet::from(["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(str::to_owned));
    for machine in &machines {
        machine.until("its API has all endpoints", || endpoints(machine) == all);
        machine.until_ready(&machine.name);
    }
    machines[0].until("each has its vote", || voters(&machines[0]) == 3);
    written_on_each_read_on_all(&machines, "first");
    encryption_keys_are_rotated_on_all(&machines);
    assert!(
        machines.iter().all(|machine| !command_lines(machine).contains(&token)),
        "the token is on no command line of a child"
    );

    // One stops in order: nobody is sent to it from then on. It comes back without asking anybody for keys.
    let server = machines[2].process("server").expect("it runs");
    kill_process(Pid::from_raw(server).expect("a PID"), Signal::TERM).expect("it is told to stop");
    let two = BTreeSet::from(["192.0.2.1", "192.0.2.2"].map(str::to_owned));
    machines[0].until("who stopped is no endpoint", || endpoints(&machines[0]) == two);
    machines[2].power_off();
    machines[2].power_on();
    machines[0].until("it is back", || endpoints(&machines[0]) == all);

    // The leader loses its power.
    let leader = leader(&machines[0]);
    machines[leader].power_off();
    let rest: Vec<&Machine> =
        machines.iter().enumerate().filter(|(at, _)| *at != leader).map(|(_, machine)| machine).collect();
    create(rest[0], &["configmap"], "after");
    let left: BTreeSet<String> = rest.iter().map(|machine| machine.address().to_string()).collect();
    for machine in &rest {
        machine.until("who died is no endpoint", || endpoints(machine) == left);
        machine.must(&["get", "configmap", "after"]);
        assert_eq!(secret(machine, "first"), WORD, "{}", machine.name);
    }
    drop(machines);
    drop(switch);
    guard.finish();
}

/// Not the administrator, not a node's token, not a token that somebody wrote into a Secret.
fn nobody_else_gets_the_keys(machine: &Machine) {
    let admin = machine.kubectl(&["get", "--raw", "/keelson/v1/server"]);
    let said = String::from_utf8_lossy(&admin.stderr).into_owned();
    assert!(!admin.status.success() && said.contains("not one for servers"), "{said}");
    machine.apply(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: bootstrap-token-abcdef, namespace: kube-system}\n\
         type: bootstrap.kubernetes.io/token\nstringData: {token-id: abcdef, token-secret: 0123456789abcdef, \
         usage-bootstrap-authentication: 'true', auth-extra-groups: 'system:bootstrappers:keelson:servers'}\n",
    );
    let node = machine.token();
    let (_, node) = node.split_once('.').expect("a token");
    for token in ["abcdef.0123456789abcdef", node] {
        let output = machine
            .host
            .command("curl")
            .args(["-sk", "-H", &format!("Authorization: Bearer {token}"), KEYS])
            .output()
            .expect("curl runs");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("a Status");
        assert_eq!(
            (answer["code"].as_u64(), answer["reason"].as_str()),
            (Some(403), Some("Forbidden")),
            "{answer}"
        );
    }
}

/// A joined server reads what another one encrypted. Then the documented steps: the new key behind the old one on all, in
/// front on all, alone on all; at every moment each server reads what each has written.
fn encryption_keys_are_rotated_on_all(machines: &[Machine]) {
    let literal = format!("--from-literal=word={PLAIN}");
    let write = |machine: &Machine, name: &str| create(machine, &["secret", "generic", &literal], name);
    write(&machines[0], "first");
    let file = |machine: &Machine| machine.path("data/pki/encryption.yaml");
    let first = std::fs::read_to_string(file(&machines[0])).expect("the keys");
    for machine in machines {
        assert_eq!(secret(machine, "first"), WORD, "{}", machine.name);
        assert!(std::fs::read_to_string(file(machine)).expect("the keys") == first, "it was handed over");
    }
    let (head, rest) = first.split_once("keys:\n").expect("a list of keys");
    let at = rest.find("  - identity").expect("the last provider");
    let (old, tail) = rest.split_at(at);
    let new = "      - name: second\n        secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n";
    for (step, keys) in
        [("behind", format!("{old}{new}")), ("before", format!("{new}{old}")), ("alone", new.to_owned())]
    {
        for machine in machines {
            let taken = said(machine, TAKEN);
            // In its place: the file keeps its owner.
            std::fs::write(file(machine), format!("{head}keys:\n{keys}{tail}")).expect("the keys");
            machine.until("it has taken the keys", || said(machine, TAKEN) > taken);
            // The others are a step behind.
            let name = format!("{step}-{}", machine.name);
            write(machine, &name);
            for reader in machines {
                reader.until("it reads what was written", || secret(reader, &name) == WORD);
                assert_eq!(secret(reader, "first"), WORD, "{} reads what {} wrote", reader.name, name);
            }
        }
    }
}

/// A word of a secret; empty where it is not there.
fn secret(machine: &Machine, name: &str) -> String {
    let output = machine.kubectl(&["get", "secret", name, "-o", "jsonpath={.data.word}"]);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// How often a machine's log says something.
fn said(machine: &Machine, what: &str) -> usize {
    std::fs::read_to_string(machine.path("node.log")).unwrap_or_default().matches(what).count()
}

/// Until it is there: an answer may be lost where the store's members choose another leader meanwhile.
fn create(machine: &Machine, what: &[&str], name: &str) {
    let written = || machine.kubectl(&[&["create"], what, &[name]].concat()).status.success();
    machine.until("it is written", || written() || machine.kubectl(&["get", what[0], name]).status.success());
}

fn endpoints(machine: &Machine) -> BTreeSet<String> {
    let asked = |resource, path| {
        let output = machine.kubectl_within("10", &["get", resource, "kubernetes", "-o", path]);
        String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let slice = asked("endpointslices", "jsonpath={.endpoints[*].addresses[0]}");
    let old = asked("endpoints", "jsonpath={.subsets[0].addresses[*].ip}");
    // Between the two writes they differ.
    if slice == old { slice } else { BTreeSet::new() }
}

fn written_on_each_read_on_all(machines: &[Machine], what: &str) {
    for machine in machines {
        create(machine, &["configmap"], &format!("{what}-{}", machine.name));
    }
    for machine in machines {
        let names = machine.must(&["get", "configmaps", "-o", "name"]);
        for other in machines {
            assert!(
                names.contains(&format!("{what}-{}", other.name)),
                "{} lacks {}'s: {names}",
                machine.name,
                other.name
            );
        }
    }
}

fn status(machine: &Machine) -> Value {
    let data = machine.path("data").display().to_string();
    let output = machine.keelson(&["store", "status", "-o", "json", "--data-dir", &data]);
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn voters(machine: &Machine) -> usize {
    let told = status(machine);
    let members = told["members"].as_array().expect("members").iter();
    members.filter(|member| member["voter"] == true).count()
}

/// The number of the machine whose member leads.
fn leader(machine: &Machine) -> usize {
    let mut number = None;
    machine.until("somebody leads", || {
        let told = status(machine);
        let mut members = told["members"].as_array().expect("members").iter();
        let leads = members.find(|member| member["role"] == "leader");
        number = ["node-a", "node-b", "node-c"]
            .iter()
            .position(|known| leads.is_some_and(|leads| leads["name"] == *known));
        number.is_some()
    });
    number.expect("it was found")
}

/// What can be read of the children's command lines.
fn command_lines(machine: &Machine) -> String {
    let children =
        machine.processes().into_iter().filter(|(_, words)| words.iter().any(|word| word == "--supervised"));
    children.map(|(_, words)| words.join(" ")).collect()
}
