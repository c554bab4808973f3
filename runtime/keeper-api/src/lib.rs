//! Messages between the daemon and its keeper.
