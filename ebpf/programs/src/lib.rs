//! Packet logic: what runs in the kernel.

#![no_std]
