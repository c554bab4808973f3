//! The programs one by one: what they call, what they make of a packet, what they cost.

mod calls;
mod figures;
mod frame;
mod instructions;
mod packets;
