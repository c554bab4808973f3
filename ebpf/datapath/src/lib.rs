//! Loads, pins and attaches the programs; typed maps.
