//! The socket programs: connect, sendmsg, recvmsg and getpeername.
//!
//! Sockets of namespaces that are not in NAMESPACES are left alone. An IPv6 socket that talks to an IPv4-mapped
//! address is an IPv4 one to us.

use abi::{Backend, Counter, Ip4, Ip6, Namespace, SocketKey, SocketName};
use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::choose;
use crate::kernel::{Kernel4, Kernel6, count, settings};
use crate::maps;
use crate::name::{self, Call};
use crate::world::World as _;

const ALLOW: i32 = 1;
const DENY: i32 = 0;
const ECONNREFUSED: i32 = 111;
/// The third word of ::ffff:0:0/96.
const MAPPED: u32 = 0x0000_ffff_u32.to_be();

type Context = *mut bpf_sock_addr;

#[cgroup_sock_addr(connect4)]
pub fn connect4(context: SockAddrContext) -> i32 {
    call4(context.sock_addr, is_bound(context.sock_addr))
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(context: SockAddrContext) -> i32 {
    call6(context.sock_addr, is_bound(context.sock_addr))
}

#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(context: SockAddrContext) -> i32 {
    call4(context.sock_addr, true)
}

#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(context: SockAddrContext) -> i32 {
    call6(context.sock_addr, true)
}

#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(context: SockAddrContext) -> i32 {
    name4(context.sock_addr)
}

#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(context: SockAddrContext) -> i32 {
    name6(context.sock_addr)
}

#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(context: SockAddrContext) -> i32 {
    name4(context.sock_addr)
}

#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(context: SockAddrContext) -> i32 {
    name6(context.sock_addr)
}

/// Whether the socket has a source port.
#[inline(always)]
fn is_bound(context: Context) -> bool {
    // SAFETY: the kernel gives the hook its socket; the verifier wants to see it compared with null.
    unsafe {
        let socket = (*context).__bindgen_anon_1.sk;
        !socket.is_null() && (*socket).src_port != 0
    }
}

#[inline(always)]
fn namespace(context: Context) -> Option<&'static Namespace> {
    // SAFETY: the context is the program's own; entries are replaced whole and freed after programs end.
    unsafe { maps::NAMESPACES.get(bpf_get_netns_cookie(context.cast())) }
}

#[inline(always)]
fn refuse() -> i32 {
    // SAFETY: a helper that takes a number only.
    unsafe { bpf_set_retval(-ECONNREFUSED) };
    DENY
}

#[inline(always)]
fn key<A>(context: Context, kind: u8, address: A, port: u16) -> SocketKey<A> {
    // SAFETY: the context is the program's own.
    let (cookie, protocol) = unsafe { (bpf_get_socket_cookie(context.cast()), (*context).protocol) };
    SocketKey {
        cookie_high: (cookie >> 32) as u32,
        cookie_low: cookie as u32,
        address,
        port,
        protocol: protocol as u8,
        kind,
    }
}

/// What the socket called the backend that it is given.
#[inline(always)]
fn remember4(context: Context, address: Ip4, port: u16, backend: Backend<Ip4>) {
    let name = SocketName { address, port, pad: 0 };
    let _ = maps::SOCKETS4.insert(key(context, 0, backend.address, backend.port), name, 0);
    count(Counter::Sockets);
}

#[inline(always)]
fn remember6(context: Context, address: Ip6, port: u16, backend: Backend<Ip6>) {
    let name = SocketName { address, port, pad: 0 };
    let _ = maps::SOCKETS6.insert(key(context, 0, backend.address, backend.port), name, 0);
    count(Counter::Sockets);
}

/// Sends a call to a service to a backend. The address is as the caller gave it.
#[inline(always)]
fn to_backend4(context: Context, address: Ip4, bound: bool) -> Result<Option<Backend<Ip4>>, ()> {
    let Some(namespace) = namespace(context) else { return Ok(None) };
    let Some(settings) = settings() else { return Ok(None) };
    // SAFETY: the context is the program's own.
    let (port, protocol) = unsafe { ((*context).user_port as u16, (*context).protocol as u8) };
    let world = Kernel4 { packet: None };
    let of_the_node = namespace.address4 == Ip4::default() && namespace.address6 == Ip6::default();
    let call = Call { address, port, protocol, bound, of_the_node };
    let Some(service) = name::service(&world, settings, &call) else { return Ok(None) };
    let forward = key(context, 1, address, port);
    if bound {
        // Datagrams of one socket to one service stay with one backend.
        // SAFETY: as in `namespace`.
        if let Some(known) = unsafe { maps::SOCKETS4.get(forward) }
            && choose::is_member(&world, service.set, known.address, known.port)
        {
            return Ok(Some(Backend { address: known.address, port: known.port, pad: 0 }));
        }
    }
    if !of_the_node && !choose::admits(&world, service, namespace.address4) {
        return Err(());
    }
    let Some(backend) = choose::backend(&world, service, namespace.address4, world.random()) else {
        return Err(());
    };
    remember4(context, address, port, backend);
    if bound {
        let name = SocketName { address: backend.address, port: backend.port, pad: 0 };
        let _ = maps::SOCKETS4.insert(forward, name, 0);
    }
    Ok(Some(backend))
}

#[inline(always)]
fn to_backend6(context: Context, address: Ip6, bound: bool) -> Result<Option<Backend<Ip6>>, ()> {
    let Some(namespace) = namespace(context) else { return Ok(None) };
    let Some(settings) = settings() else { return Ok(None) };
    // SAFETY: the context is the program's own.
    let (port, protocol) = unsafe { ((*context).user_port as u16, (*context).protocol as u8) };
    let world = Kernel6 { packet: None };
    let of_the_node = namespace.address4 == Ip4::default() && namespace.address6 == Ip6::default();
    let call = Call { address, port, protocol, bound, of_the_node };
    let Some(service) = name::service(&world, settings, &call) else { return Ok(None) };
    if !of_the_node && !choose::admits(&world, service, namespace.address6) {
        return Err(());
    }
    let Some(backend) = choose::backend(&world, service, namespace.address6, world.random()) else {
        return Err(());
    };
    remember6(context, address, port, backend);
    Ok(Some(backend))
}

/// Sends a call of the node's own process to the pod behind a host port. Apart from the services: a value that two ways of
/// finding a backend share has been undefined on a third.
#[inline(always)]
fn host_port4(context: Context, address: Ip4) -> Option<Backend<Ip4>> {
    let (namespace, settings) = (namespace(context)?, settings()?);
    // SAFETY: the context is the program's own.
    let (port, protocol) = unsafe { ((*context).user_port as u16, (*context).protocol as u8) };
    let of_the_node = namespace.address4 == Ip4::default() && namespace.address6 == Ip6::default();
    let call = Call { address, port, protocol, bound: false, of_the_node };
    let backend = name::host_port(&Kernel4 { packet: None }, settings, &call)?;
    remember4(context, address, port, backend);
    Some(backend)
}

#[inline(always)]
fn host_port6(context: Context, address: Ip6) -> Option<Backend<Ip6>> {
    let (namespace, settings) = (namespace(context)?, settings()?);
    // SAFETY: the context is the program's own.
    let (port, protocol) = unsafe { ((*context).user_port as u16, (*context).protocol as u8) };
    let of_the_node = namespace.address4 == Ip4::default() && namespace.address6 == Ip6::default();
    let call = Call { address, port, protocol, bound: false, of_the_node };
    let backend = name::host_port(&Kernel6 { packet: None }, settings, &call)?;
    remember6(context, address, port, backend);
    Some(backend)
}

#[inline(always)]
fn call4(context: Context, bound: bool) -> i32 {
    // SAFETY: the context is the program's own.
    let address = Ip4 { bits: unsafe { (*context).user_ip4 } };
    match to_backend4(context, address, bound) {
        Ok(Some(backend)) => set4(context, backend),
        Ok(None) => match host_port4(context, address) {
            Some(backend) => set4(context, backend),
            None => ALLOW,
        },
        Err(()) => refuse(),
    }
}

#[inline(always)]
fn set4(context: Context, backend: Backend<Ip4>) -> i32 {
    // SAFETY: the context is the program's own; the kernel lets this hook write both.
    unsafe {
        (*context).user_ip4 = backend.address.bits;
        (*context).user_port = u32::from(backend.port);
    }
    ALLOW
}

/// The address of an IPv6 socket's peer.
#[inline(always)]
fn address6(context: Context) -> Ip6 {
    // SAFETY: the context is the program's own; the kernel wants its words read one by one.
    unsafe {
        let words = &raw const (*context).user_ip6;
        let words = words.cast::<u32>();
        Ip6 {
            a: words.read_volatile(),
            b: words.add(1).read_volatile(),
            c: words.add(2).read_volatile(),
            d: words.add(3).read_volatile(),
        }
    }
}

#[inline(always)]
fn set_address6(context: Context, address: Ip6) {
    // SAFETY: as above.
    unsafe {
        let words = (&raw mut (*context).user_ip6).cast::<u32>();
        words.write_volatile(address.a);
        words.add(1).write_volatile(address.b);
        words.add(2).write_volatile(address.c);
        words.add(3).write_volatile(address.d);
    }
}

#[inline(always)]
fn is_mapped(address: Ip6) -> bool {
    address.a == 0 && address.b == 0 && address.c == MAPPED
}

#[inline(always)]
fn set_port(context: Context, port: u16) {
    // SAFETY: the context is the program's own; the kernel lets these hooks write the port.
    unsafe { (*context).user_port = u32::from(port) };
}

/// Each family writes its own answer: where both meet in one value, the value is undefined for an answer of "not a
/// service", and Linux 6.1 refuses a program that moves an undefined register even when nothing reads it later.
#[inline(always)]
fn call6(context: Context, bound: bool) -> i32 {
    let address = address6(context);
    if is_mapped(address) {
        return match to_backend4(context, Ip4 { bits: address.d }, bound) {
            Ok(Some(found)) => set_mapped(context, found),
            Ok(None) => match host_port4(context, Ip4 { bits: address.d }) {
                Some(found) => set_mapped(context, found),
                None => ALLOW,
            },
            Err(()) => refuse(),
        };
    }
    match to_backend6(context, address, bound) {
        Ok(Some(found)) => set6(context, found),
        Ok(None) => match host_port6(context, address) {
            Some(found) => set6(context, found),
            None => ALLOW,
        },
        Err(()) => refuse(),
    }
}

#[inline(always)]
fn set_mapped(context: Context, found: Backend<Ip4>) -> i32 {
    set_address6(context, Ip6 { a: 0, b: 0, c: MAPPED, d: found.address.bits });
    set_port(context, found.port);
    ALLOW
}

#[inline(always)]
fn set6(context: Context, found: Backend<Ip6>) -> i32 {
    set_address6(context, found.address);
    set_port(context, found.port);
    ALLOW
}

/// Calls a backend by the name that the socket used.
#[inline(always)]
fn name4(context: Context) -> i32 {
    // SAFETY: the context is the program's own; map entries as in `namespace`.
    unsafe {
        let address = Ip4 { bits: (*context).user_ip4 };
        let port = (*context).user_port as u16;
        if let Some(name) = maps::SOCKETS4.get(key(context, 0, address, port)) {
            (*context).user_ip4 = name.address.bits;
            set_port(context, name.port);
        }
    }
    ALLOW
}

#[inline(always)]
fn name6(context: Context) -> i32 {
    let address = address6(context);
    // SAFETY: as in `name4`.
    unsafe {
        let port = (*context).user_port as u16;
        if is_mapped(address) {
            let peer = Ip4 { bits: address.d };
            if let Some(name) = maps::SOCKETS4.get(key(context, 0, peer, port)) {
                set_address6(context, Ip6 { a: 0, b: 0, c: MAPPED, d: name.address.bits });
                set_port(context, name.port);
            }
        } else if let Some(name) = maps::SOCKETS6.get(key(context, 0, address, port)) {
            set_address6(context, name.address);
            set_port(context, name.port);
        }
    }
    ALLOW
}
