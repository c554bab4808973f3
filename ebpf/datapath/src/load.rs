//! Loads the programs and enters what they must know of their node.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use abi::{Ip4, Ip6, PROGRAMS, ProgramKind, Settings, SettingsFlag};
use aya::maps::{Array, MapData};
use aya::programs::{ProgramError, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};

use crate::attach::{self, Means, Place};
use crate::config::{Acceleration, Config};
use crate::error::DatapathError;
use crate::migrate::{self, Migration};
use crate::namespaces::Namespaces;
use crate::pins::{self, Pins};
use crate::remove;
use crate::tables::{Table, Tables, failed, open};

/// Made by build.rs.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/programs.o"));

/// A data path that is loaded, pinned and attached. Dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct Datapath {
    tables: Tables,
    programs: PathBuf,
    means: Means,
    acceleration: Acceleration,
    lost: Vec<&'static str>,
}

impl Deref for Datapath {
    type Target = Tables;

    fn deref(&self) -> &Tables {
        &self.tables
    }
}

impl Datapath {
    /// Loads what is not loaded, takes over what is, attaches the socket hooks and enters the settings.
    /// To be called in the node's own network namespace. Idempotent.
    pub fn ensure(config: &Config) -> Result<Datapath, DatapathError> {
        let pins = Pins::of(config);
        pins.make(config)?;
        let _lock = pins.lock()?;
        let programs = pins.programs(object_hash());
        let others = remove::other_versions(&pins)?;
        others.iter().try_for_each(|version| Migration::new(version, &pins).share())?;
        load(&pins, &programs)?;
        migrate::tell(&pins)?;
        others.iter().try_for_each(|version| Migration::new(version, &pins).everything())?;
        let lost: Vec<&str> = others
            .iter()
            .flat_map(|version| Migration::new(version, &pins).lost().collect::<Vec<_>>())
            .collect();
        if !lost.is_empty() {
            tracing::warn!(maps = ?lost, "another version of the data path has kept these in a form that this one does not understand: they are filled anew; where flows are among them, connections that are translated may end");
        }
        enter(config, &pins)?;
        if let Some(cgroup) = &config.cgroup {
            attach::sockets(cgroup, &pins, &programs)?;
        }
        attach::refresh(&pins, &programs, config.acceleration)?;
        let means = if config.filters { Means::Clsact } else { Means::of_this_kernel() };
        remove::others(&pins, means, &programs)?;
        Ok(Datapath { tables: Tables { pins }, programs, means, acceleration: config.acceleration, lost })
    }

    /// Maps of which nothing could be taken over from another version that was loaded.
    #[must_use]
    pub fn lost(&self) -> &[&'static str] {
        &self.lost
    }

    /// The host's end of a pod's veth: what the pod sends is checked, translated and delivered. Returns the
    /// index of the link. Idempotent.
    pub fn attach_host_device(&self, link: &str) -> Result<u32, DatapathError> {
        let index = self.attach(&Place::Pod { link: link.to_owned() })?;
        allow_forwarding(link);
        Ok(index)
    }

    /// Puts a link in the place of one filter of a pod, by which its packets take a shorter way; whether there was one to
    /// replace. The kernel's lock of all links is held for a grace period: to be called while no pod waits.
    pub fn promote(&self) -> Result<bool, DatapathError> {
        if self.means != Means::Tcx {
            return Ok(false);
        }
        let _lock = self.tables.pins.lock()?;
        attach::promote(&self.tables.pins, &self.programs)
    }

    /// A link by which other machines are reached. The first one is where masqueraded packets leave if the
    /// kernel's routes cannot be asked. Idempotent.
    pub fn attach_uplink(&self, link: &str) -> Result<u32, DatapathError> {
        let index = self.attach(&Place::Uplink { link: link.to_owned() })?;
        change_settings(&self.tables.pins, |settings| {
            if settings.uplink == 0 {
                settings.uplink = index;
            }
        })?;
        Ok(index)
    }

    /// Accelerates an uplink, or ceases to, as the configuration wishes. Not for tunnels. Idempotent.
    pub fn accelerate(&self, link: &str) -> Result<(), DatapathError> {
        let _lock = self.tables.pins.lock()?;
        let index = attach::index_of(link)?;
        attach::wire::ensure(self.acceleration, (index, link), &self.tables.pins, &self.programs)
    }

    /// The veth pair between the node itself and its pods and services: `link` holds the routes, the program
    /// goes on `peer`. Both in this namespace, both up. Idempotent.
    pub fn attach_gateway(&self, link: &str, peer: &str) -> Result<u32, DatapathError> {
        let mut socket =
            netlink::Socket::open().map_err(|source| DatapathError::Netlink { source: Box::new(source) })?;
        let found = socket
            .link_named(link)
            .map_err(|source| DatapathError::Netlink { source: Box::new(source) })?
            .ok_or_else(|| DatapathError::NoLink { name: link.to_owned() })?;
        let mac = found.mac.ok_or_else(|| DatapathError::NotAVeth { place: link.to_owned() })?;
        let index = self.attach(&Place::Gateway { peer: peer.to_owned() })?;
        allow_forwarding(peer);
        change_settings(&self.tables.pins, |settings| {
            settings.gateway_mac = mac.0.into();
            settings.gateway_peer = index;
            settings.flags |= SettingsFlag::GATEWAY;
        })?;
        Ok(index)
    }

    /// Whether the programs have been told of the gateway.
    pub fn knows_gateway(&self) -> Result<bool, DatapathError> {
        let mut knows = false;
        change_settings(&self.tables.pins, |settings| knows = settings.flags & SettingsFlag::GATEWAY != 0)?;
        Ok(knows)
    }

    /// Forgets links that no longer exist: the kernel detached their programs when they went. Call it after
    /// pods were removed, in the node's own network namespace. Returns the number of pins that went.
    pub fn forget_vanished(&self) -> Result<usize, DatapathError> {
        let _lock = self.tables.pins.lock()?;
        attach::forget_vanished(&self.tables.pins)
    }

    /// Takes every program off its place; maps and programs stay loaded.
    pub fn detach_all(&self) -> Result<(), DatapathError> {
        let _lock = self.tables.pins.lock()?;
        attach::clsact::detach_all(&self.tables.pins)?;
        pins::remove(&self.tables.pins.links())?;
        pins::make_folder(&self.tables.pins.links())
    }

    /// One of the packet programs, for tests and measurements.
    pub fn program(&self, name: &'static str) -> Result<SchedClassifier, DatapathError> {
        SchedClassifier::from_pin(self.programs.join(name))
            .map_err(|source| DatapathError::Program { program: name, source: Box::new(source) })
    }

    /// The program of an uplink's driver, for tests and measurements.
    pub fn wire_program(&self) -> Result<Xdp, DatapathError> {
        let program = attach::wire::PROGRAM;
        attach::wire::open(&self.programs)
            .map_err(|source| DatapathError::Program { program, source: Box::new(source) })
    }

    fn attach(&self, place: &Place) -> Result<u32, DatapathError> {
        let _lock = self.tables.pins.lock()?;
        attach::link(place, self.means, &self.tables.pins, &self.programs)
    }
}

/// The kernel answers a program's question about a route only for a link that may forward. It is our own link,
/// and nothing else is forwarded by it: all that arrives there is taken by the program.
fn allow_forwarding(link: &str) {
    for family in ["ipv4", "ipv6"] {
        let path = format!("/proc/sys/net/{family}/conf/{link}/forwarding");
        if let Err(error) = std::fs::write(&path, "1") {
            tracing::debug!(path, %error, "forwarding cannot be allowed; packets leave by the first uplink");
        }
    }
}

/// Names the directory of the programs: another build, another directory.
fn object_hash() -> u64 {
    OBJECT.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Loads and pins maps and programs unless all of them are there.
fn load(pins: &Pins, programs: &std::path::Path) -> Result<(), DatapathError> {
    if PROGRAMS.iter().all(|program| programs.join(program.name).exists()) {
        return Ok(());
    }
    pins::make_folder(programs)?;
    let mut object = EbpfLoader::new()
        .default_map_pin_directory(pins.maps())
        .load(OBJECT)
        .map_err(|source| DatapathError::Load { source: Box::new(source) })?;
    for program in PROGRAMS {
        let at = programs.join(program.name);
        if !at.exists() {
            load_program(&mut object, program.name, program.kind, &at)?;
        }
    }
    Ok(())
}

fn load_program(
    object: &mut Ebpf,
    name: &'static str,
    kind: ProgramKind,
    at: &std::path::Path,
) -> Result<(), DatapathError> {
    let refused = |source: ProgramError| DatapathError::refused(name, source);
    let pinned = |source| DatapathError::Pin { path: at.to_owned(), source: Box::new(source) };
    let program = object.program_mut(name).ok_or_else(|| DatapathError::Config {
        problem: format!("the object that was built into this executable has no program {name}"),
    })?;
    match kind {
        ProgramKind::Packet => {
            let program: &mut SchedClassifier = program.try_into().map_err(refused)?;
            program.load().map_err(refused)?;
            program.pin(at).map_err(pinned)
        }
        ProgramKind::Wire => {
            let program: &mut Xdp = program.try_into().map_err(refused)?;
            program.load().map_err(refused)?;
            program.pin(at).map_err(pinned)
        }
        ProgramKind::Socket(_) => {
            let program: &mut aya::programs::CgroupSockAddr = program.try_into().map_err(refused)?;
            program.load().map_err(refused)?;
            program.pin(at).map_err(pinned)
        }
    }
}

/// The node's addresses, its settings and its own network namespace.
fn enter(config: &Config, pins: &Pins) -> Result<(), DatapathError> {
    let mut before = Settings::default();
    change_settings(pins, |settings| before = *settings)?;
    let wanted = config.settings(&before)?;
    change_settings(pins, |settings| *settings = wanted)?;
    let mut wanted4 = Vec::new();
    let mut wanted6 = Vec::new();
    for address in &config.node_addresses {
        match address {
            std::net::IpAddr::V4(address) => wanted4.push(Ip4::from(*address)),
            std::net::IpAddr::V6(address) => wanted6.push(Ip6::from(*address)),
        }
    }
    replace(Table::open(pins, "LOCAL4")?, &wanted4)?;
    replace(Table::open(pins, "LOCAL6")?, &wanted6)?;
    if config.cgroup.is_some() {
        let cookie = Namespaces::cookie(None)?;
        Namespaces::open(pins)?.put(cookie, &[])?;
    }
    Ok(())
}

/// Adds first, removes afterwards.
fn replace<K: aya::Pod + PartialEq>(mut table: Table<K, u32>, wanted: &[K]) -> Result<(), DatapathError> {
    for key in wanted {
        table.put(*key, 1)?;
    }
    for (key, _) in table.entries()? {
        if !wanted.contains(&key) {
            table.remove(&key)?;
        }
    }
    Ok(())
}

pub(crate) fn change_settings(pins: &Pins, change: impl FnOnce(&mut Settings)) -> Result<(), DatapathError> {
    /// The record is read, changed and written: by one at a time.
    static CHANGING: Mutex<()> = Mutex::new(());
    let _alone = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
    let map = open(pins, "SETTINGS")?;
    let mut map: Array<MapData, Settings> = Array::try_from(map).map_err(failed("SETTINGS", "opening it"))?;
    let before = map.get(&0, 0).map_err(failed("SETTINGS", "reading it"))?;
    let mut after = before;
    change(&mut after);
    if after != before {
        map.set(0, after, 0).map_err(failed("SETTINGS", "writing it"))?;
    }
    Ok(())
}
