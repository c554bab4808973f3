//! CNI 1.1 configuration and result types.
