//! The CNI executable.
