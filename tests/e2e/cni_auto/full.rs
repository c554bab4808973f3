//! A table of flows that is full: what the agent says, and how it comes out of it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt as _;

use aya::maps::{HashMap, Map, MapData, MapError};
use harness::netns::TestHost;
use serde_json::Value;

use super::{Node, PATIENCE};

/// As the data path's ABI has it: ends, ports and protocol; what they become, flags, the second in which it was seen, Service
/// and epoch.
type Flow = [u8; 16];
type FlowState = [u8; 28];
const UDP: u8 = 17;
/// Far enough from now, either way, to stay or to go at once.
const HOUR: u32 = 3_600;
const CAPACITY: u32 = 262_144;

/// The programs' own table, by its pin.
struct Flows(HashMap<MapData, Flow, FlowState>);

impl Flows {
    fn open(node: &Node) -> Flows {
        let versions = std::fs::read_dir(node.folder.path().join("bpf").join(&node.tag)).unwrap().flatten();
        let is_version = |name: &std::ffi::OsStr| name.as_bytes().starts_with(b"v");
        let version =
            versions.map(|entry| entry.path()).find(|path| path.file_name().is_some_and(is_version));
        let pin = version.unwrap().join("maps/FLOWS4");
        Flows(Map::from_map_data(MapData::from_pin(pin).unwrap()).unwrap().try_into().unwrap())
    }

    /// A flow that nobody has, seen then. Whether there is room for it.
    fn put(&mut self, number: u32, seen: u32) -> bool {
        let mut flow = [0; 16];
        flow[..4].copy_from_slice(&(0x0b00_0000 + number).to_be_bytes());
        flow[12] = UDP;
        let mut state = [0; 28];
        state[16..20].copy_from_slice(&seen.to_ne_bytes());
        match self.0.insert(flow, state, 0) {
            Ok(()) => true,
            Err(MapError::SyscallError(error)) => {
                assert_eq!(error.io_error.raw_os_error(), Some(rustix::io::Errno::TOOBIG.raw_os_error()));
                false
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn now() -> u32 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u32::try_from(now.tv_sec).expect("a machine that has not run for long")
}

#[test]
fn a_full_table_of_flows_is_reported_and_empties() {
    let test = "cni_auto::a_full_table_of_flows_is_reported_and_empties";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let node = Node::ready(&guard);
    let pods = ["a", "b"].map(|name| TestHost::create(guard.tag(), name));
    let _ = node.add("a", &pods[0]);
    let there: SocketAddr = format!("{}:80", node.add("b", &pods[1])).parse().unwrap();
    let listener = pods[1].inside(|| TcpListener::bind(there).unwrap());
    let dial = || pods[0].inside(|| TcpStream::connect_timeout(&there, super::LOOK * 10));
    let mut near = pods[0].inside(|| TcpStream::connect_timeout(&there, PATIENCE)).expect("there is room");
    let (mut far, _) = listener.accept().unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut talks = || {
        near.write_all(b"x").expect("a connection that stands");
        far.read_exact(&mut [0]).expect("a connection that stands");
    };
    talks();
    let pressure = "keelson_bpf_map_pressure{map_name=\"flows4\"}";
    let drops = "keelson_drop_count_total{reason=\"FLOWS_FULL\",direction=\"UNKNOWN\"}";
    assert!(node.metric(pressure) < 0.1 && node.metric(drops) == 0.0);

    let mut flows = Flows::open(&node);
    let said = "the table of flows is full: new ones are dropped, idle ones go";
    let later = now() + HOUR;
    let filled = (0..CAPACITY).take_while(|number| flows.put(*number, later)).count();
    assert!(filled > 200_000, "{filled}");
    dial().expect_err("there is no room");
    talks();
    node.until("its log", || node.log().contains(said));
    node.until("the map's metric", || node.metric(pressure) > 0.95);
    node.until("the drops' metric", || node.metric(drops) > 0.0);
    talks();

    // Now nobody has been heard of for an hour: the agent's own look ends them.
    let before = now().wrapping_sub(HOUR);
    for number in 0..u32::try_from(filled).unwrap() {
        flows.put(number, before);
    }
    node.until("room", || dial().is_ok());
    node.until("the map's metric", || node.metric(pressure) < 0.1);
    // Told when the look is over, which makes room from its beginning on.
    node.until("the removals' metric", || node.metric("keelson_conntrack_gc_deleted_total") > 100_000.0);
    talks();
    for (name, pod) in ["a", "b"].iter().zip(&pods) {
        node.succeeded(node.call("DEL", name, Some(pod), &Value::Null));
    }
    drop(pods);
    node.end(guard);
}
