//! Real cgroups of this host under names of their own.
