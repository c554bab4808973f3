//! One connection to the system bus: calls to systemd's manager, and the end of its jobs.
//!
//! Synchronous, in the calling thread. Messages are zbus's; what is here is a unix socket, the handshake and the frames
//! around messages.
//!
//! Reference: D-Bus Specification, "Message Protocol" and "Authentication Protocol".

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;
use zbus::message::{Header, Message, Type};
use zbus::zvariant::serialized::{Context, Data};
use zbus::zvariant::{DynamicType, Endian, OwnedObjectPath, Value};

const DEFAULT_PATH: &str = "/run/dbus/system_bus_socket";
/// As every D-Bus program takes it.
const ADDRESS: &str = "DBUS_SYSTEM_BUS_ADDRESS";

/// As runc waits for a unit.
const JOB_TIMEOUT: Duration = Duration::from_secs(30);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// systemd's answers are a few hundred bytes; the bus itself allows 128 MiB.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
const LINE_BYTES_MAX: usize = 512;
/// Ends of other jobs that are kept while ours is not known yet.
const JOBS_MAX: usize = 4096;

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";
const JOBS: &str = "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager',member='JobRemoved',path='/org/freedesktop/systemd1'";

pub(super) const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
pub(super) const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// The bytes before a header's fields, the length of these included.
const FIXED_BYTES: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error(
        "no system bus at {address}: --systemd-cgroup needs a running systemd; without one use the cgroupfs driver"
    )]
    NoBus {
        address: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{ADDRESS}={0} is not an address this runtime can use: unix:path=... or unix:abstract=...")]
    Address(String),
    #[error("the system bus does not take this process: it says `{0}`")]
    Handshake(String),
    #[error("{member} of systemd: {error}: {message}")]
    Refused { member: String, error: String, message: String },
    #[error("systemd did not answer {what} within {seconds} s")]
    Late { what: String, seconds: u64 },
    #[error("the system bus: {0}")]
    Io(#[source] std::io::Error),
    #[error("a message of the system bus cannot be {action}: {source}")]
    Message { action: &'static str, source: Box<zbus::Error> },
    #[error("the system bus sent what is no message")]
    Garbled,
}

pub(super) struct Bus {
    socket: UnixStream,
    /// Jobs that have ended, with how.
    ended: Vec<(String, String)>,
}

struct Incoming {
    bytes: Vec<u8>,
    body: usize,
    endian: Endian,
}

impl Bus {
    pub(super) fn connect() -> Result<Bus, BusError> {
        let given = std::env::var(ADDRESS).ok().filter(|address| !address.is_empty());
        let (address, name) = match &given {
            Some(address) => {
                (parse(address).ok_or_else(|| BusError::Address(address.clone()))?, address.as_str())
            }
            None => (SocketAddr::from_pathname(DEFAULT_PATH).map_err(BusError::Io)?, DEFAULT_PATH),
        };
        let socket = UnixStream::connect_addr(&address)
            .map_err(|source| BusError::NoBus { address: name.to_owned(), source })?;
        Bus::over(socket)
    }

    fn over(socket: UnixStream) -> Result<Bus, BusError> {
        let mut bus = Bus { socket, ended: Vec::new() };
        bus.shake_hands()?;
        bus.call(BUS, BUS_PATH, BUS, "Hello", &())?;
        Ok(bus)
    }

    /// From here on the ends of jobs are heard of: systemd tells them only to those who asked.
    pub(super) fn subscribe(&mut self) -> Result<(), BusError> {
        self.call(BUS, BUS_PATH, BUS, "AddMatch", &JOBS)?;
        self.manager("Subscribe", &()).map(drop)
    }

    /// The job that starts the unit.
    pub(super) fn start_unit<N: Serialize + AsRef<str>>(
        &mut self,
        name: &str,
        properties: &[(N, Value<'static>)],
    ) -> Result<String, BusError> {
        let properties: Vec<(&str, &Value<'static>)> =
            properties.iter().map(|(name, value)| (name.as_ref(), value)).collect();
        let others: Vec<(&str, Vec<(&str, &Value<'static>)>)> = Vec::new();
        self.job("StartTransientUnit", &(name, "replace", properties, others))
    }

    pub(super) fn stop_unit(&mut self, name: &str) -> Result<String, BusError> {
        self.job("StopUnit", &(name, "replace"))
    }

    /// Until the next start of the unit, as everything about a transient one.
    pub(super) fn set_properties(
        &mut self,
        name: &str,
        properties: &[(&'static str, Value<'static>)],
    ) -> Result<(), BusError> {
        let runtime = true;
        self.manager("SetUnitProperties", &(name, runtime, properties)).map(drop)
    }

    /// Forgets that it failed. One that did not, or is gone, is refused, which is as good.
    pub(super) fn reset_failed(&mut self, name: &str) {
        let _fine = self.manager("ResetFailedUnit", &name);
    }

    /// How the job ended: `done` is well.
    pub(super) fn wait_for_job(&mut self, job: &str, unit: &str) -> Result<String, BusError> {
        let deadline = Instant::now() + JOB_TIMEOUT;
        let what = format!("the job of unit `{unit}`");
        loop {
            if let Some(at) = self.ended.iter().position(|(known, _)| known == job) {
                return Ok(self.ended.swap_remove(at).1);
            }
            let incoming = self.receive(deadline, &what)?;
            self.note(&incoming)?;
        }
    }

    fn job<B: Serialize + DynamicType>(&mut self, member: &str, body: &B) -> Result<String, BusError> {
        let answer = self.manager(member, body)?;
        let (path, _): (OwnedObjectPath, usize) = answer.body().deserialize().map_err(read)?;
        Ok(path.to_string())
    }

    fn manager<B: Serialize + DynamicType>(&mut self, member: &str, body: &B) -> Result<Incoming, BusError> {
        self.call(SYSTEMD, MANAGER_PATH, MANAGER, member, body)
    }

    fn call<B: Serialize + DynamicType>(
        &mut self,
        destination: &str,
        path: &str,
        interface: &str,
        member: &str,
        body: &B,
    ) -> Result<Incoming, BusError> {
        let message = Message::method_call(path, member)
            .and_then(|builder| builder.destination(destination))
            .and_then(|builder| builder.interface(interface))
            .and_then(|builder| builder.build(body))
            .map_err(|source| BusError::Message { action: "written", source: Box::new(source) })?;
        let deadline = Instant::now() + CALL_TIMEOUT;
        self.socket.set_write_timeout(Some(CALL_TIMEOUT)).map_err(BusError::Io)?;
        self.socket.write_all(message.data()).map_err(BusError::Io)?;
        let serial = message.primary_header().serial_num();
        loop {
            let incoming = self.receive(deadline, member)?;
            let (answers, kind) =
                incoming.header(|header| (header.reply_serial() == Some(serial), header.message_type()))?;
            if !answers {
                self.note(&incoming)?;
                continue;
            }
            return match kind {
                Type::MethodReturn => Ok(incoming),
                _ => Err(incoming.refusal(member)),
            };
        }
    }

    /// Keeps the end of a job; other signals are nothing to us.
    fn note(&mut self, incoming: &Incoming) -> Result<(), BusError> {
        let removed = incoming.header(|header| {
            header.message_type() == Type::Signal
                && header.member().is_some_and(|member| member.as_str() == "JobRemoved")
        })?;
        if removed && self.ended.len() < JOBS_MAX {
            let ((_, job, _, result), _): ((u32, OwnedObjectPath, String, String), usize) =
                incoming.body().deserialize().map_err(read)?;
            self.ended.push((job.to_string(), result));
        }
        Ok(())
    }

    // === bytes ===

    fn shake_hands(&mut self) -> Result<(), BusError> {
        let uid = rustix::process::geteuid().as_raw().to_string();
        let name: String = uid.bytes().map(|byte| format!("{byte:02x}")).collect();
        let deadline = Instant::now() + CALL_TIMEOUT;
        self.socket.write_all(format!("\0AUTH EXTERNAL {name}\r\n").as_bytes()).map_err(BusError::Io)?;
        let answer = self.line(deadline)?;
        if !answer.starts_with("OK ") {
            return Err(BusError::Handshake(answer));
        }
        self.socket.write_all(b"BEGIN\r\n").map_err(BusError::Io)
    }

    /// The bus says nothing after its line until we go on, so nothing is read too far.
    fn line(&mut self, deadline: Instant) -> Result<String, BusError> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.read(&mut byte, deadline, "the handshake")?;
            line.push(byte[0]);
            if line.len() > LINE_BYTES_MAX {
                return Err(BusError::Garbled);
            }
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn receive(&mut self, deadline: Instant, what: &str) -> Result<Incoming, BusError> {
        let mut bytes = vec![0; FIXED_BYTES];
        self.read(&mut bytes, deadline, what)?;
        let endian = match bytes[0] {
            b'l' => Endian::Little,
            b'B' => Endian::Big,
            _ => return Err(BusError::Garbled),
        };
        let word = |at: usize| {
            let word = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
            (if endian == Endian::Little { u32::from_le_bytes(word) } else { u32::from_be_bytes(word) })
                as usize
        };
        let (body_bytes, field_bytes) = (word(4), word(12));
        if body_bytes > MESSAGE_BYTES_MAX || field_bytes > MESSAGE_BYTES_MAX {
            return Err(BusError::Garbled);
        }
        let body = (FIXED_BYTES + field_bytes).next_multiple_of(8);
        bytes.resize(body + body_bytes, 0);
        self.read(&mut bytes[FIXED_BYTES..], deadline, what)?;
        Ok(Incoming { bytes, body, endian })
    }

    fn read(&mut self, buffer: &mut [u8], deadline: Instant, what: &str) -> Result<(), BusError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let late = || BusError::Late { what: what.to_owned(), seconds: JOB_TIMEOUT.as_secs() };
        if left.is_zero() {
            return Err(late());
        }
        self.socket.set_read_timeout(Some(left)).map_err(BusError::Io)?;
        self.socket.read_exact(buffer).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => late(),
            _ => BusError::Io(error),
        })
    }
}

impl Incoming {
    /// A header borrows from what reads it, so it is looked at here.
    fn header<R>(&self, look: impl FnOnce(&Header<'_>) -> R) -> Result<R, BusError> {
        let data = Data::new(&self.bytes[..self.body], Context::new_dbus(self.endian, 0));
        let (header, _): (Header<'_>, usize) = data.deserialize().map_err(read)?;
        Ok(look(&header))
    }

    fn body(&self) -> Data<'_, '_> {
        Data::new(&self.bytes[self.body..], Context::new_dbus(self.endian, 0))
    }

    fn refusal(&self, member: &str) -> BusError {
        let error = self.header(|header| header.error_name().map(ToString::to_string)).ok().flatten();
        let message: Result<(String, usize), _> = self.body().deserialize();
        BusError::Refused {
            member: member.to_owned(),
            error: error.unwrap_or_default(),
            message: message.map(|(text, _)| text).unwrap_or_default(),
        }
    }
}

fn read(source: zbus::zvariant::Error) -> BusError {
    BusError::Message { action: "read", source: Box::new(source.into()) }
}

/// The first address of a list that is a unix socket.
fn parse(addresses: &str) -> Option<SocketAddr> {
    addresses.split(';').find_map(|address| {
        let keys = address.strip_prefix("unix:")?;
        keys.split(',').find_map(|pair| match pair.split_once('=')? {
            ("path", path) => SocketAddr::from_pathname(PathBuf::from(unescape(path)?)).ok(),
            ("abstract", name) => SocketAddr::from_abstract_name(unescape(name)?).ok(),
            _ => None,
        })
    })
}

/// `%20` and the like.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
