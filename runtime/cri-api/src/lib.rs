//! CRI v1 messages and stubs.
