//! Kubernetes kinds as data: paths, selectors, quantities, patches, validation, printers, wire formats.
