//! One function per program of `abi::PROGRAMS`.

use aya_ebpf::bindings::TC_ACT_OK;
use aya_ebpf::macros::{cgroup_sock_addr, classifier};
use aya_ebpf::programs::{SockAddrContext, TcContext};

#[classifier]
pub fn from_pod(_: TcContext) -> i32 {
    if let Some(at) = crate::maps::COUNTERS.get_ptr_mut(0) {
        // SAFETY: the kernel gives each CPU its own cell, and nothing preempts us on it.
        unsafe { *at += 1 };
    }
    TC_ACT_OK
}

#[classifier]
pub fn to_pod(_: TcContext) -> i32 {
    TC_ACT_OK
}

#[classifier]
pub fn from_host(_: TcContext) -> i32 {
    TC_ACT_OK
}

#[classifier]
pub fn from_uplink(_: TcContext) -> i32 {
    TC_ACT_OK
}

#[classifier]
pub fn to_uplink(_: TcContext) -> i32 {
    TC_ACT_OK
}

#[cgroup_sock_addr(connect4)]
pub fn connect4(_: SockAddrContext) -> i32 {
    1
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(_: SockAddrContext) -> i32 {
    1
}

#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(_: SockAddrContext) -> i32 {
    1
}

#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(_: SockAddrContext) -> i32 {
    1
}

#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(_: SockAddrContext) -> i32 {
    1
}

#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(_: SockAddrContext) -> i32 {
    1
}

#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(_: SockAddrContext) -> i32 {
    1
}

#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(_: SockAddrContext) -> i32 {
    1
}
