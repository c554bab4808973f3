//! Keys and values that programs and their users share.

#![no_std]
