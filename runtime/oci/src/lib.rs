//! OCI bundle to plan to child stage.
